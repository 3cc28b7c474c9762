"""A batch of calls that have ended -> rows of usage and sums by hour and by day, in one transaction.

What takes work per call is done here, so that the database has one insert for it: dimensions are looked
up once for those that are alike, and sums reach it summed. Every call of the gateway pays for this.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from penstock.store.sql import Ask, Load, Pause, Script
from penstock.store.usage import (
    COLUMNS,
    DAYS,
    DIMS,
    HOURS,
    MEASURES,
    TEAM_DAYS,
    TEAM_HOURS,
    Source,
    clean,
    halved,
    note_prices,
    short,
    summed,
)
from penstock.types.money import Price
from penstock.types.usage_store import HOUR_US, UsageRow

Names = tuple[str, ...]  # of DIMENSIONS
T = TypeVar("T")

# Calls between two pauses, a tenth of a millisecond. A pause has its price, too: 20 to 50 us of CPU.
_AT_ONCE: Final = 64
_ROWS_AT_ONCE: Final = 16  # to write a row takes longer than all else
_MANY: Final = 2_000  # of so many calls in a batch throughput counts: rows, too, by _AT_ONCE
_MAX_DROPPED_CHARS: Final = 2_000  # of fields that a client made up there is no end


def add_rows(rows: Sequence[UsageRow]) -> Script[None]:
    """The first row tells whether the batch is there already: it is written whole or not at all."""
    first = rows[0]
    if (yield Ask("usage.exists", {"time_us": first.time_us, "seq": first.seq})):
        return
    named: list[Names] = []
    wanted: dict[Names, Names] = {}
    for some in _pieces(rows):
        found = [*map(_names, some)]
        named += found
        wanted |= {names: tuple(map(short, names)) for names in found if names not in wanted}
        yield Pause()
    yield Ask("usage.hold_dims")
    sources = yield from summed()
    ids = yield from _ids(wanted, has_teams=TEAM_HOURS in sources)
    prices: dict[str, Price] = {}
    hours: dict[tuple[int, int, int], list[tuple[int, ...]]] = defaultdict(list)

    def stored() -> Iterator[tuple[Any, ...]]:
        for row, names in sorted(zip(rows, named, strict=True), key=_moment):
            dim, team_dim = ids[names]
            if row.price is not None:
                prices[row.price_version] = row.price
            hours[row.time_us // HOUR_US, dim, team_dim].append(_measured(row))
            yield _stored(row, dim)

    at_once = _ROWS_AT_ONCE if len(rows) < _MANY else _AT_ONCE
    yield Load("usage", COLUMNS, stored(), at_once)
    yield from note_prices(prices)
    yield Ask("usage.batch_sums", {}, (("measures", ", ".join(f"{one} BIGINT" for one in MEASURES)),))
    yield Ask("usage.empty_batch_sums")
    sums: list[tuple[int, ...]] = []
    for groups in _pieces([*hours.items()]):
        sums += [
            (*group, *(each[0] if len(each) == 1 else map(sum, zip(*each, strict=True))))
            for group, each in groups
        ]
        yield Pause()
    yield Load("usage_batch_sums", ("hour", "dim", "team_dim", *MEASURES), sums, _AT_ONCE)
    for source in sources:
        yield Ask("usage.add_sums", {}, _ADDED[source])


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """After each there is a Pause, for whoever answers calls meanwhile."""
    return (items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE))


def _added(source: Source) -> tuple[tuple[str, str], ...]:
    measures = {name: f"b.{name}" for name in MEASURES}
    if source.is_of_teams:
        measures = halved(measures)
    return (
        ("table", source.table),
        ("unit", source.time),
        ("dim", "team_dim" if source.is_of_teams else "dim"),
        ("hours", str(source.unit_us // HOUR_US)),
        ("measures", ", ".join(measures)),
        ("sums", ", ".join(f"SUM({one})" for one in measures.values())),
        ("additions", ", ".join(f"{one} = {source.table}.{one} + excluded.{one}" for one in measures)),
    )


_ADDED: Final = {source: _added(source) for source in (HOURS, DAYS, TEAM_HOURS, TEAM_DAYS)}


def _ids(wanted: Mapping[Names, Names], *, has_teams: bool) -> Script[Mapping[Names, tuple[int, int]]]:
    """Of each the number of its row, and that of the same without key and user, if there are sums of these.

    wanted: as they are kept, by what they are. New ones are added in order, so that two writers cannot wait
    for each other.
    """
    words = (("dims", ", ".join(DIMS)),)
    without: dict[Names, Names] = {}
    for some in _pieces([*wanted.values()]):
        without |= {kept: _without_people(kept) if has_teams else kept for kept in some}
        yield Pause()
    every = sorted({*without, *without.values()})
    yield Ask("usage.batch_dims")
    yield Ask("usage.empty_batch_dims")
    numbered = ((at, *names) for at, names in enumerate(every))
    yield Load("usage_batch_names", ("at", *DIMS), numbered, _AT_ONCE)
    found = yield Ask("usage.find_dims")
    if any(row["id"] is None for row in found):
        yield Ask("usage.add_dims", {}, words)
        found = yield Ask("usage.find_dims")
    rows: dict[Names, int] = {}
    for those in _pieces(found):
        rows |= {every[row["at"]]: row["id"] for row in those}
        yield Pause()
    ids: dict[Names, tuple[int, int]] = {}
    for each in _pieces([*wanted.items()]):
        ids |= {names: (rows[kept], rows[without[kept]]) for names, kept in each}
        yield Pause()
    return ids


def _without_people(names: Names) -> Names:
    _, team, _, *rest = names
    return ("", team, "", *rest)


def _names(row: UsageRow) -> Names:
    return (
        row.key,
        row.team,
        row.user,
        row.route,
        row.model,
        row.deployment,
        row.provider,
        row.operation,
    )


def _stored(row: UsageRow, dim: int) -> tuple[Any, ...]:
    """As COLUMNS."""
    return (
        row.time_us,
        row.seq,
        dim,
        clean(row.id),
        row.status,
        row.error,
        int(row.is_stream),
        row.attempts,
        row.prompt_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
        row.images,
        row.cache_write_1h_tokens,
        row.audio_prompt_tokens,
        row.audio_completion_tokens,
        row.image_prompt_tokens,
        row.image_completion_tokens,
        row.search_units,
        row.cost_pico,
        row.price_version,
        int(row.is_estimated),
        row.ttft_us,
        row.total_us,
        row.queue_us,
        clean(",".join(row.dropped)[:_MAX_DROPPED_CHARS]) if row.dropped else "",
    )


def _measured(row: UsageRow) -> tuple[int, ...]:
    """What it adds, as MEASURES."""
    return (
        1,
        row.error != "" or row.status >= 400,
        row.is_stream,
        row.attempts,
        row.prompt_tokens,
        row.cached_tokens,
        row.cache_write_tokens,
        row.completion_tokens,
        row.reasoning_tokens,
        row.images,
        row.cost_pico or 0,
        row.cost_pico is None,
        row.is_estimated,
        row.ttft_us is not None,
        row.ttft_us or 0,
        row.total_us,
        row.queue_us,
    )


def _moment(named: tuple[UsageRow, Names]) -> int:
    return named[0].time_us
