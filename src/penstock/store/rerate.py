"""Calls that are given the cost that they have by other prices: what a batch of them becomes.

    the call                                               what becomes of it
    -----------------------------------------------------  -------------------------------------------------
    has no version of a price, and a cost (0)              nothing: nobody was told of its answer
    is of a deployment whose price is not known            nothing
    does not say all that this price asks for              nothing
    has this version and this cost already                 nothing, so a batch may be written again
    else                                                   its cost and its version are those of the price

The corrections go into the sums by hour and day, and a note into the changes, in the same transaction. It
keeps writers of usage out, so that two who correct the same sums cannot wait for each other.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.store.rows import cursor, position
from penstock.store.sql import Ask, Load, Row, Script
from penstock.store.usage import (
    DIMS,
    PARTS,
    Source,
    among,
    dimensions,
    halved,
    kept,
    note_prices,
    summed,
    worth_reading,
)
from penstock.types.money import Price, cost_of, format_usd
from penstock.types.page import MAX_PAGE
from penstock.types.usage import Usage
from penstock.types.usage_store import DIMENSIONS, Rerated, UsageWhere

MAX_BATCH: Final = 5 * MAX_PAGE
_WHOLE: Final = (
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens"),
    "images",
)
_COLUMNS: Final = ", ".join(
    (
        *("r.time_us", "r.seq", "r.dim", "d.deployment"),
        *(f"r.{name}" for name in (*_WHOLE, *PARTS, "cost_pico", "price_version", "is_estimated")),
    )
)
# Prices of what older rows do not tell from the rest -> the price of the rest.
_OF_PARTS: Final = {
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}


class Asked(NamedTuple):
    """A batch. prices: by deployment; cursor: that the batch before gave."""

    where: UsageWhere
    prices: Mapping[str, Price]
    cursor: str | None
    limit: int


class _Changed(NamedTuple):
    """As it is loaded, in the order of the columns of usage_rerated."""

    time_us: int
    seq: int
    dim: int
    cost_pico: int
    price_version: str
    more_pico: int
    less_unpriced: int


class _Batch(NamedTuple):
    changed: list[_Changed]
    found: Rerated


def look(asked: Asked) -> Script[Rerated]:
    """What `write` would do."""
    return (yield from _batch(asked)).found


def write(asked: Asked, actor: str, now_s: int) -> Script[Rerated]:
    yield Ask("usage.own_dims")
    changed, found = yield from _batch(asked)
    if not changed:
        return found
    versions = {one.price_version for one in changed}
    yield from note_prices(
        {price.version: price for price in asked.prices.values() if price.version in versions}
    )
    yield Ask("usage.rerated")
    yield Ask("usage.empty_rerated")
    yield Load("usage_rerated", _Changed._fields, changed)
    yield Ask("usage.rerate", {"start": changed[0].time_us, "stop": changed[-1].time_us})
    for source in (yield from summed()):
        yield Ask("usage.rerate_sums", {}, _corrections(source))
    yield Ask("usage.empty_rerated")
    yield from _note(asked.where, changed, found, actor, now_s)
    return found


def _corrections(source: Source) -> tuple[tuple[str, str], ...]:
    more = {"cost_pico": "r.more_pico", "unpriced": "-r.less_unpriced"}
    dim, join = "r.dim", ""
    if source.is_of_teams:
        more, dim = halved(more), "t.id"
        same = " AND ".join(f"t.{name} = d.{name}" for name in DIMS if name not in ("key_id", "user_id"))
        join = (
            " JOIN usage_dims d ON d.id = r.dim"
            f" JOIN usage_dims t ON t.key_id = '' AND t.user_id = '' AND {same}"
        )
    return (
        ("table", source.table),
        ("unit", source.time),
        ("unit_us", str(source.unit_us)),
        ("dim", dim),
        ("join", join),
        ("sums", ", ".join(f"CAST(SUM({one}) AS BIGINT) AS {name}" for name, one in more.items())),
        ("additions", ", ".join(f"{name} = {source.table}.{name} + b.{name}" for name in more)),
    )


def _batch(asked: Asked) -> Script[_Batch]:
    where, limit = asked.where, max(1, min(asked.limit, MAX_BATCH))
    after = position(asked.cursor, tuple[int, int], (-1, 0))
    values, wanted = dimensions(where)
    rows: list[Row] = []
    for start_us, stop_us in reversed((yield from kept(max(where.since_us, after[0]), where.until_us))):
        for since_us, until_us in reversed((yield from worth_reading(start_us, stop_us, where))):
            place = {"start": since_us, "stop": until_us, "after_us": after[0], "after_seq": after[1]}
            words = (("columns", _COLUMNS), ("where", among(wanted)))
            rows += yield Ask("usage.next", {**values, **place, "limit": limit + 1 - len(rows)}, words)
            if len(rows) > limit:
                last = rows[limit - 1]
                return _rated(rows[:limit], asked.prices, cursor(last["time_us"], last["seq"]))
    return _rated(rows, asked.prices, None)


def _rated(rows: Sequence[Row], prices: Mapping[str, Price], next_: str | None) -> _Batch:
    changed: list[_Changed] = []
    counts = dict.fromkeys(("same", "no_price", "no_usage", "nothing_owed"), 0)
    before_pico = after_pico = were_unpriced = 0
    for row in rows:
        was, version = row["cost_pico"], row["price_version"]
        now = rated(row, prices)
        if isinstance(now, str):
            counts[now] += 1
        elif now == (was, version):
            counts["same"] += 1
        else:
            place = (row["time_us"], row["seq"], row["dim"])
            changed.append(_Changed(*place, *now, now[0] - (was or 0), int(was is None)))
            before_pico += was or 0
            after_pico += now[0]
            were_unpriced += was is None
    found = Rerated(
        len(changed),
        **counts,
        before_pico=before_pico,
        after_pico=after_pico,
        were_unpriced=were_unpriced,
        cursor=next_,
    )
    return _Batch(changed, found)


def rated(row: Row, prices: Mapping[str, Price]) -> tuple[int, str] | str:
    """The cost of a call and the version of its price; or why it stays as it is."""
    if row["cost_pico"] is not None and not row["price_version"]:
        return "nothing_owed"
    price = prices.get(row["deployment"])
    if price is None:
        return "no_price"
    usage = _usage_of(row, price)
    cost = None if usage is None else cost_of(price, usage)
    return "no_usage" if cost is None else (cost.total, cost.version)


def _usage_of(row: Row, price: Price) -> Usage | None:
    """None where it was not kept, or not as finely as the price asks for."""
    said = {name: row[name] for name in _WHOLE}
    parts = {name: row[name] for name in PARTS}
    if not any(said.values()) and not any(parts.values()):
        return None  # nobody said what it used, or it is a search of before
    if price.image and parts["image_completion_tokens"] and not said["images"]:
        return None  # it is of a release that did not count them
    if None in parts.values():
        if price.query is not None or price.image:
            return None
        of = price.at(row["prompt_tokens"])
        has_hours = row["cache_write_tokens"] and of.cache_write_1h != of.cache_write
        if has_hours or any(
            getattr(of, kind) not in (None, getattr(of, plain)) for kind, plain in _OF_PARTS.items()
        ):
            return None
        parts = {name: value or 0 for name, value in parts.items()}
    return Usage(**said, **parts, is_estimated=bool(row["is_estimated"]))


def _note(
    where: UsageWhere, changed: Sequence[_Changed], found: Rerated, actor: str, now_s: int
) -> Script[None]:
    """Who corrected what, from which call to which."""
    number = int((yield Ask("revision.next"))[0]["value"])
    asked = {name: value for name in DIMENSIONS if (value := getattr(where, name)) is not None}
    old: dict[str, Any] = {"cost_usd": format_usd(found.before_pico)}
    new: dict[str, Any] = {
        "cost_usd": format_usd(found.after_pico),
        "calls": found.changed,
        "first": _moment(changed[0].time_us),
        "last": _moment(changed[-1].time_us),
    }
    if found.were_unpriced:
        old["unpriced"], new["unpriced"] = found.were_unpriced, 0
    values = {
        "revision": number,
        "seq": 0,
        "time": now_s,
        "actor": actor,
        "path": "usage/" + (",".join(f"{name}={value}" for name, value in asked.items()) or "*"),
        "old": msgspec.json.encode(old).decode(),
        "new": msgspec.json.encode(new).decode(),
    }
    yield Ask("changes.insert", values)


def _moment(time_us: int) -> str:
    moment = dt.datetime.fromtimestamp(time_us // 1_000_000, dt.UTC) + dt.timedelta(
        microseconds=time_us % 1_000_000
    )
    return moment.isoformat(timespec="microseconds")
