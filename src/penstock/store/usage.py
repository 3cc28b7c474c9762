"""Usage: what is summed, and how a range of time is answered from sums.

A question about [since, until) is split: whole days from usage_days, whole hours around them from
usage_hours, and what is left at both ends from the calls themselves. So 30 days of ten million calls are some
thousand rows. Pages of calls look into usage_hours first, too: only hours that have such calls are read.

One that names no key and no user is answered from usage_team_hours and usage_team_days, which have neither:
however many keys there are, it costs the same. Their dimensions are rows of usage_dims without key and user.
They are there once no older release writes (a post migration): it would write the others alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import add
from typing import Any, Final, NamedTuple

import msgspec

from penstock.store.rows import column, cursor, position
from penstock.store.sql import Ask, Row, Script
from penstock.types.money import Price
from penstock.types.page import MAX_PAGE, Page
from penstock.types.usage_store import (
    DAY_US,
    DIMENSIONS,
    HOUR_US,
    CallWhere,
    Dimension,
    Step,
    UsageRow,
    UsageSum,
    UsageWhere,
)

_MAX_NAME_BYTES: Final = 256  # of a dimension: PostgreSQL's index takes 2,704 bytes of all eight
_HOURS_AT_ONCE: Final = 240
_LATEST: Final = 2**62

DIMS: Final = tuple(map(column, DIMENSIONS))
PARTS: Final = (
    *("cache_write_1h_tokens", "audio_prompt_tokens", "audio_completion_tokens"),
    *("image_prompt_tokens", "image_completion_tokens", "search_units"),
)  # of a call's usage; null in older rows
_OWN: Final = (
    *("id", "status", "error", "is_stream", "attempts"),
    *("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens"),
    *("images", *PARTS, "cost_pico", "price_version"),
    *("is_estimated", "ttft_us", "total_us", "queue_us", "dropped"),
)  # columns of a call, but its time and dimensions
COLUMNS: Final = ("time_us", "seq", "dim", *_OWN)
_FLAGS: Final = ("is_stream", "is_estimated")

_FAILED: Final = "(r.error <> '' OR r.status >= 400)"

# What is summed, and what one call adds to it (usage_batch.py says the same of a call that is not kept yet).
MEASURES: Final[dict[str, str]] = {
    "calls": "1",
    "failed": f"CASE WHEN {_FAILED} THEN 1 ELSE 0 END",
    "streams": "r.is_stream",
    "attempts": "r.attempts",
    "prompt_tokens": "r.prompt_tokens",
    "cached_tokens": "r.cached_tokens",
    "cache_write_tokens": "r.cache_write_tokens",
    "completion_tokens": "r.completion_tokens",
    "reasoning_tokens": "r.reasoning_tokens",
    "images": "r.images",
    "cost_pico": "COALESCE(r.cost_pico, 0)",
    "unpriced": "CASE WHEN r.cost_pico IS NULL THEN 1 ELSE 0 END",
    "estimated": "r.is_estimated",
    "answered": "CASE WHEN r.ttft_us IS NULL THEN 0 ELSE 1 END",
    "ttft_us": "COALESCE(r.ttft_us, 0)",
    "total_us": "r.total_us",
    "queue_us": "r.queue_us",
}


def halved(measures: Mapping[str, str]) -> dict[str, str]:
    """Money is summed in halves: the whole of a large company's may be above 2**63 pico-USD."""
    cost = measures["cost_pico"]
    halves = {"cost_high": f"{cost} >> 32", "cost_low": f"{cost} & 4294967295"}
    return {name: one for name, one in measures.items() if name != "cost_pico"} | halves


class Source(NamedTuple):
    """Where sums are read. `unit_us`: how long one unit of its time column is."""

    table: str
    time: str
    unit_us: int
    is_of_teams: bool = False  # without keys and users, and its money in halves


CALLS: Final = Source("usage", "time_us", 1)
HOURS: Final = Source("usage_hours", "hour", HOUR_US)
DAYS: Final = Source("usage_days", "day", DAY_US)
TEAM_HOURS: Final = Source("usage_team_hours", "hour", HOUR_US, is_of_teams=True)
TEAM_DAYS: Final = Source("usage_team_days", "day", DAY_US, is_of_teams=True)
_WITHOUT_PEOPLE: Final = {HOURS: TEAM_HOURS, DAYS: TEAM_DAYS}


def summed() -> Script[tuple[Source, ...]]:
    """Where sums are kept. Asked while other writers, or the migration, are kept out."""
    if (yield Ask("schema.has_table", {"table": TEAM_HOURS.table})):
        return (HOURS, DAYS, TEAM_HOURS, TEAM_DAYS)
    return (HOURS, DAYS)


class Part(NamedTuple):
    source: Source
    since_us: int
    until_us: int


def split(since_us: int, until_us: int, step: Step | None) -> list[Part]:
    """The range without a gap and without overlap, in order, with as few rows to read as can be."""
    parts = list(_around(since_us, until_us, HOURS))
    if step == "hour":
        return parts
    return [
        small
        for part in parts
        for small in (_around(*part[1:], DAYS, HOURS) if part.source is HOURS else [part])
    ]


def _around(since_us: int, until_us: int, whole: Source, edges: Source = CALLS) -> Iterator[Part]:
    first, last = -(-since_us // whole.unit_us) * whole.unit_us, until_us // whole.unit_us * whole.unit_us
    if first >= last:
        if since_us < until_us:
            yield Part(edges, since_us, until_us)
        return
    if since_us < first:
        yield Part(edges, since_us, first)
    yield Part(whole, first, last)
    if last < until_us:
        yield Part(edges, last, until_us)


def widened(since_us: int, until_us: int, oldest_us: int | None) -> tuple[int, int]:
    """Whole hours at an end where single calls are no longer kept: those before the day of the oldest."""
    kept_us = _LATEST if oldest_us is None else oldest_us // DAY_US * DAY_US
    if since_us < kept_us:
        since_us = since_us // HOUR_US * HOUR_US
    if until_us < kept_us:
        until_us = -(-until_us // HOUR_US) * HOUR_US
    return since_us, until_us


def clean(text: str) -> str:
    """As both databases can keep it: what a client says must not cost its call the row."""
    if text.isprintable():  # most
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def short(name: str) -> str:
    """A dimension's value as it is kept."""
    name = clean(name)
    if len(name) * 4 <= _MAX_NAME_BYTES:
        return name
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def sums(
    where: UsageWhere, by: Sequence[Dimension], step: Step | None, cursor_: str | None, limit: int
) -> Script[Page[UsageSum]]:
    limit = max(1, min(limit, MAX_PAGE))
    after = position(cursor_, tuple[int, tuple[str, ...]], (-1, ()))
    oldest = yield Ask("usage.oldest")
    since_us, until_us = widened(where.since_us, where.until_us, oldest[0]["value"] if oldest else None)
    totals: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    names_people = {"key", "user"} & set(by) or where.key is not None or where.user is not None
    is_of_teams = not names_people and TEAM_HOURS in (yield from summed())
    for part in split(since_us, until_us, step):
        if is_of_teams:
            part = part._replace(source=_WITHOUT_PEOPLE.get(part.source, part.source))  # noqa: PLW2901
        for row in (yield _sum_of(part, where, by, step)):
            if row["calls"]:
                group = (row["start"] * _STEP_US[step] if step else 0, tuple(row[f"by_{one}"] for one in by))
                found = _measured(row)
                had = totals.get(group)
                totals[group] = found if had is None else [*map(add, had, found)]
    if not by and step is None and not totals:
        totals[0, ()] = [0] * len(MEASURES)
    groups = sorted(group for group in totals if group > after)
    answer = tuple(
        UsageSum(
            by=dict(zip(by, names, strict=True)),
            start_us=start_us if step else None,
            **dict(zip(MEASURES, totals[start_us, names], strict=True)),
        )
        for start_us, names in groups[:limit]
    )
    more = len(groups) > limit
    return Page(answer, cursor(*groups[limit - 1]) if more else None)


_STEP_US: Final[dict[Step, int]] = {"hour": HOUR_US, "day": DAY_US}


def _sum_of(part: Part, where: UsageWhere, by: Sequence[Dimension], step: Step | None) -> Ask:
    source = part.source
    values, wanted = dimensions(where)
    groups = [(f"d.{column(one)}", f"by_{one}") for one in by]
    if step is not None:
        groups.insert(0, (_step_of(source, step), "start"))
    words = (
        ("table", source.table),
        ("time", source.time),
        ("group", "".join(f"{what} AS {name}, " for what, name in groups)),
        ("sums", ", ".join(f"CAST(SUM({one}) AS BIGINT) AS {name}" for name, one in _read(source).items())),
        ("join", " JOIN usage_dims d ON d.id = r.dim" if by else ""),
        ("where", among(wanted)),
        ("group_by", f" GROUP BY {', '.join(str(at + 1) for at in range(len(groups)))}" if groups else ""),
    )
    range_ = {"start": part.since_us // source.unit_us, "stop": part.until_us // source.unit_us}
    return Ask("usage.sum", {**range_, **values}, words)


def _step_of(source: Source, step: Step) -> str:
    """The column itself where it is the step: it is read in order, so that nothing has to be sorted."""
    units = _STEP_US[step] // source.unit_us
    return f"r.{source.time}" if units == 1 else f"r.{source.time} / {units}"


def _read(source: Source) -> dict[str, str]:
    """What is summed of each row, money in halves."""
    if source is CALLS:
        return halved(MEASURES)
    own = halved({name: f"r.{name}" for name in MEASURES})
    return {name: f"r.{name}" for name in own} if source.is_of_teams else own


def _measured(row: Row) -> list[int]:
    return [
        (row["cost_high"] << 32) + row["cost_low"] if name == "cost_pico" else row[name] for name in MEASURES
    ]


def dimensions(where: UsageWhere) -> tuple[dict[str, Any], str]:
    """The values asked for, and what they say of usage_dims; empty: nothing."""
    asked = {name: value for name in DIMENSIONS if (value := getattr(where, name)) is not None}
    wanted = " AND ".join(f"d.{column(name)} = :{name}" for name in asked)
    return {name: short(value) for name, value in asked.items()}, wanted


def among(wanted: str) -> str:
    return f" AND r.dim IN (SELECT d.id FROM usage_dims d WHERE {wanted})" if wanted else ""  # noqa: S608 - names of ours


def calls(where: CallWhere, cursor_: str | None, limit: int) -> Script[Page[UsageRow]]:
    limit = max(1, min(limit, MAX_PAGE))
    before = position(cursor_, tuple[int, int], (_LATEST, 0))
    values, wanted = dimensions(where)
    own, of_calls = _own_conditions(where)
    must_fail = where.is_failed or bool(where.error) or (where.status or 0) >= 400
    found: list[UsageRow] = []
    for start_us, stop_us in (yield from kept(where.since_us, min(where.until_us, before[0] + 1))):
        for since_us, until_us in (yield from worth_reading(start_us, stop_us, where, must_fail=must_fail)):
            rows = yield Ask(
                "usage.calls",
                {
                    **values,
                    **own,
                    "start": since_us,
                    "stop": until_us,
                    "before_us": before[0],
                    "before_seq": before[1],
                    "limit": limit + 1 - len(found),
                },
                (("columns", _CALL_COLUMNS), ("where", among(wanted) + of_calls)),
            )
            found += map(_call, rows)
            if len(found) > limit:
                last = found[limit - 1]
                return Page(tuple(found[:limit]), cursor(last.time_us, last.seq))
    return Page(tuple(found))


def kept(since_us: int, until_us: int) -> Script[list[tuple[int, int]]]:
    """The part of a range that has calls, in pieces of _HOURS_AT_ONCE, the newest first."""
    oldest = yield Ask("usage.oldest")
    newest = yield Ask("usage.newest")
    if not oldest:
        return []
    since_us = max(since_us, oldest[0]["value"])
    until_us = min(until_us, newest[0]["value"] + 1)
    piece_us = _HOURS_AT_ONCE * HOUR_US
    starts = range(since_us // piece_us * piece_us, until_us, piece_us)
    return [(max(start, since_us), min(start + piece_us, until_us)) for start in reversed(starts)]


def worth_reading(
    since_us: int, until_us: int, where: UsageWhere, *, must_fail: bool = False
) -> Script[list[tuple[int, int]]]:
    """The ranges that may have such calls, the newest first: those hours whose sums say so."""
    values, wanted = dimensions(where)
    if not wanted and not must_fail:
        return [(since_us, until_us)]
    asked = {
        **values,
        "start": since_us // HOUR_US,
        "stop": -(-until_us // HOUR_US),
        "failed": int(must_fail),
    }
    rows = yield Ask("usage.hours_of" if wanted else "usage.hours_failed", asked, (("where", wanted),))
    starts = sorted((row["hour"] * HOUR_US for row in rows), reverse=True)
    return [(max(start, since_us), min(start + HOUR_US, until_us)) for start in starts]


def _own_conditions(where: CallWhere) -> tuple[dict[str, Any], str]:
    asked: dict[str, Any] = {}
    conditions = ""
    for name, value in (("id", where.id), ("status", where.status), ("error", where.error)):
        if value is not None:
            asked[f"call_{name}"] = value
            conditions += f" AND r.{name} = :call_{name}"
    if where.is_failed is not None:
        conditions += f" AND {'' if where.is_failed else 'NOT '}{_FAILED}"
    return asked, conditions


_CALL_COLUMNS: Final = ", ".join(
    [
        *("r.time_us", "r.seq"),
        *(f"d.{column(name)} AS {name}" for name in DIMENSIONS),
        *(f"r.{name}" for name in _OWN),
        "p.price",
    ]
)


def _call(row: Row) -> UsageRow:
    values = dict(row)
    values["price"] = _price(values["price"])
    for name in _FLAGS:
        values[name] = bool(values[name])
    values["dropped"] = tuple(filter(None, values["dropped"].split(",")))
    return UsageRow(**values)


def _price(said: str | None) -> Price | None:
    """None also for one of a newer release that has prices for more."""
    if said is None:
        return None
    try:
        return msgspec.json.decode(said, type=Price)
    except msgspec.ValidationError:
        return None


def note_prices(prices: Mapping[str, Price]) -> Script[None]:
    """By version. In order, so that two writers cannot wait for each other."""
    if not prices:
        return
    known = {row["value"] for row in (yield Ask("usage.known_prices"))}
    for version in sorted(prices.keys() - known):
        said = msgspec.json.encode(prices[version]).decode()
        yield Ask("usage.note_price", {"version": version, "price": said})


def drop_sums(until: int) -> Script[None]:
    """Those of before the day `until`; `own_dims` keeps writers from adding to them meanwhile."""
    yield Ask("usage.own_dims")
    for source in (yield from summed()):
        words = (("table", source.table), ("unit", source.time))
        yield Ask("usage.drop_sums", {"before": until * DAY_US // source.unit_us}, words)


def drop_dims() -> Script[None]:
    """The dimensions that no sum has any more; `own_dims` keeps writers from using them meanwhile."""
    yield Ask("usage.own_dims")
    tables = [source.table for source in (yield from summed()) if source.unit_us == DAY_US]
    used = " UNION ALL ".join(f"SELECT dim FROM {table}" for table in tables)  # noqa: S608 - our own names
    yield Ask("usage.drop_dims", {}, (("used", used),))


def days_before(day: int) -> Script[list[int]]:
    """Those that have sums."""
    return [row["value"] for row in (yield Ask("usage.days_before", {"before": day}))]


def status() -> Script[tuple[int, int | None]]:
    """How many calls the sums know, and the time of the oldest call kept."""
    total = yield Ask("usage.total_calls")
    oldest = yield Ask("usage.oldest")
    return int(total[0]["value"]), oldest[0]["value"] if oldest else None
