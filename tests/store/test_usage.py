"""Usage, for every backend: rows, sums and pages agree, whatever is asked."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_help import NOON_US, Opened, call, count_dims, opened

from penstock.store.usage import CALLS, MEASURES, Part, short, split, widened
from penstock.types.errors import InvalidRequest, StoreUnavailable
from penstock.types.usage_store import (
    DAY_US,
    DIMENSIONS,
    HOUR_US,
    CallWhere,
    Dimension,
    Step,
    UsageRow,
    UsageWhere,
)

TIMES = st.integers(0, 5 * DAY_US)


@given(TIMES, TIMES, st.sampled_from([None, "hour", "day"]))
def test_a_range_is_split_without_gap_or_overlap(since_us: int, until_us: int, step: Step | None) -> None:
    parts = split(since_us, until_us, step)
    at_us = since_us
    for source, start_us, stop_us in parts:
        assert start_us == at_us < stop_us
        assert start_us % source.unit_us == stop_us % source.unit_us == 0
        at_us = stop_us
    assert at_us == max(since_us, until_us) if parts else since_us >= until_us
    of_calls = [part for part in parts if part.source is CALLS]
    assert len(of_calls) <= 2
    assert all(stop_us - start_us < 2 * HOUR_US for _, start_us, stop_us in of_calls)
    assert len(parts) <= 5


def test_thirty_days_are_five_reads() -> None:
    day = 20_000 * DAY_US
    parts = split(day - 30 * DAY_US + 5, day + HOUR_US + 7, None)
    assert [part.source.table for part in parts] == [
        "usage",
        "usage_hours",
        "usage_days",
        "usage_hours",
        "usage",
    ]
    assert split(day, day + DAY_US, "hour") == [Part(parts[1].source, day, day + DAY_US)]


def test_a_range_is_widened_where_calls_are_forgotten() -> None:
    day = 20_000 * DAY_US
    assert widened(day + 5, day + HOUR_US + 5, day + 9) == (day + 5, day + HOUR_US + 5)
    assert widened(day + 5, day + HOUR_US + 5, day + DAY_US) == (day, day + 2 * HOUR_US)
    assert widened(day + 5, day + DAY_US + 5, day + DAY_US + 9) == (day, day + DAY_US + 5)
    assert widened(day + 5, day + 6, None) == (day, day + HOUR_US)


NAMES = st.sampled_from(["", "a", "b"])
COUNTS = st.integers(0, 2**40)
CALL = st.builds(
    UsageRow,
    id=st.sampled_from(["req_1", "req_2"]),
    time_us=st.integers(NOON_US - DAY_US, NOON_US + DAY_US)
    | st.sampled_from([NOON_US, NOON_US + 1, NOON_US + HOUR_US]),
    **dict.fromkeys(("key", "team", "model", "deployment"), NAMES),
    status=st.sampled_from([0, 200, 404, 429, 503]),
    error=st.sampled_from(["", "", "queue_full"]),
    is_stream=st.booleans(),
    attempts=st.integers(0, 3),
    prompt_tokens=COUNTS,
    cached_tokens=COUNTS,
    completion_tokens=COUNTS,
    images=st.integers(0, 9),
    cost_pico=st.none() | st.integers(0, 2**57),
    price_version=st.sampled_from(["", "2026-11-01"]),
    is_estimated=st.booleans(),
    ttft_us=st.none() | COUNTS,
    total_us=COUNTS,
    queue_us=COUNTS,
    dropped=st.sampled_from([(), ("seed",), ("seed", "n")]),
)
CALL_LISTS = st.lists(st.lists(CALL, max_size=8), max_size=4)
RANGES = st.tuples(
    st.integers(NOON_US - DAY_US - 9, NOON_US + DAY_US), st.integers(0, 2 * DAY_US) | st.just(3 * HOUR_US)
)
ASKED: list[tuple[tuple[Dimension, ...], Step | None]] = [
    ((), None),
    (("key",), None),
    (("model", "team"), "day"),
    ((), "hour"),
    (("user", "deployment"), None),
]


def measured(row: UsageRow) -> dict[str, int]:
    """What MEASURES says in SQL, in Python."""
    return {
        "calls": 1,
        "failed": int(bool(row.error) or row.status >= 400),
        "streams": int(row.is_stream),
        "cost_pico": row.cost_pico or 0,
        "unpriced": int(row.cost_pico is None),
        "estimated": int(row.is_estimated),
        "answered": int(row.ttft_us is not None),
        "ttft_us": row.ttft_us or 0,
        **{
            name: getattr(row, name)
            for name in MEASURES
            if hasattr(row, name) and name not in ("cost_pico", "ttft_us")
        },
    }


def added_up(
    rows: Sequence[UsageRow], where: UsageWhere, by: Sequence[Dimension], step: Step | None
) -> list[dict[str, Any]]:
    groups: dict[Any, dict[str, int]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    unit_us = {"hour": HOUR_US, "day": DAY_US, None: 1}[step]
    for row in filter(lambda row: matches(row, where), rows):
        start_us = row.time_us // unit_us * unit_us if step else None
        group = groups[start_us, tuple(getattr(row, name) for name in by)]
        for name, value in measured(row).items():
            group[name] += value
    if not groups and not by and step is None:
        groups[None, ()]
    return [
        {"by": dict(zip(by, names, strict=True)), "start_us": start_us, **group}
        for (start_us, names), group in sorted(groups.items(), key=lambda item: (item[0][0] or 0, item[0][1]))
    ]


def matches(row: UsageRow, where: UsageWhere) -> bool:
    return where.since_us <= row.time_us < where.until_us and all(
        getattr(where, name) in (None, getattr(row, name)) for name in DIMENSIONS
    )


@pytest.mark.timeout(120)
def test_sums_are_what_the_calls_add_up_to(
    backend: str,
    new_url: Callable[[str], str],
    strictly: Callable[[Callable[[], Awaitable[None]]], None],
) -> None:
    @given(CALL_LISTS, RANGES, st.none() | NAMES, st.none() | NAMES)
    @settings(
        max_examples=40 if backend == "sqlite" else 12,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def holds(
        batches: list[list[UsageRow]], range_: tuple[int, int], key: str | None, model: str | None
    ) -> None:
        rows = [row for batch in batches for row in batch]
        for seq, row in enumerate(rows):
            row.seq = seq
        where = CallWhere(since_us=range_[0], until_us=sum(range_), key=key, model=model)

        url = new_url(backend)

        async def check() -> None:
            async with opened(url) as one:
                for batch in batches:
                    await one.add_usage(batch)
                    await one.add_usage(batch)  # once more changes nothing
                first = min((row.time_us for row in rows), default=None)
                since_us, until_us = widened(where.since_us, where.until_us, first)
                wide = msgspec.structs.replace(where, since_us=since_us, until_us=until_us)
                for by, step in ASKED:
                    found = (await one.sum_usage(where, by=by, step=step)).rows
                    assert [msgspec.structs.asdict(row) for row in found] == added_up(rows, wide, by, step)
                newest = sorted(
                    (row for row in rows if matches(row, where)), key=lambda row: (row.time_us, row.seq)
                )[::-1]
                assert list((await one.list_calls(where)).rows) == newest

        strictly(check)

    holds()


def some_calls(count: int) -> list[UsageRow]:
    rng = random.Random(5)  # noqa: S311 - the same calls each time
    return [
        call(
            number,
            time_us=NOON_US + rng.randrange(40) * HOUR_US + rng.randrange(7) * 1_000_000,
            key=rng.choice(["k1", "k2", "k3"]),
            model=rng.choice(["chat", "smart"]),
            team="t",
            status=rng.choice([200, 200, 200, 429, 0]),
            error=rng.choice(["", "", "upstream_cut"]),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": "k1"},
        {"team": "t", "model": "smart"},
        {"key": "nobody"},
        {"status": 429},
        {"status": 200, "key": "k2"},
        {"error": "upstream_cut"},
        {"is_failed": True, "key": "k3"},
        {"is_failed": False},
        {"id": "req_77"},
    ],
    ids=str,
)
async def test_calls_come_in_pages_that_miss_nothing(store: Opened, fields: dict[str, Any]) -> None:
    rows = some_calls(300)
    where = CallWhere(since_us=NOON_US + 5 * HOUR_US, until_us=NOON_US + 30 * HOUR_US + 3_000_000, **fields)

    def is_wanted(row: UsageRow) -> bool:
        is_failed = bool(row.error) or row.status >= 400
        return (
            matches(row, where)
            and where.id in (None, row.id)
            and where.status in (None, row.status)
            and where.error in (None, row.error)
            and where.is_failed in (None, is_failed)
        )

    expected = sorted(filter(is_wanted, rows), key=lambda row: (row.time_us, row.seq))[::-1]
    async with store() as one:
        for start in range(0, 300, 60):
            await one.add_usage(rows[start : start + 60])
        seen: list[UsageRow] = []
        cursor = None
        while True:
            page = await one.list_calls(where, cursor=cursor, limit=7)
            assert len(page.rows) <= 7
            seen += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == expected
        assert bool(expected) == (fields.get("key") != "nobody")


async def test_sums_come_in_pages_that_miss_nothing(store: Opened) -> None:
    async with store() as one:
        await one.add_usage(some_calls(300))
        where = UsageWhere(NOON_US, NOON_US + 2 * DAY_US)
        whole = await one.sum_usage(where, by=("key", "model"), step="hour")
        assert whole.cursor is None
        seen: list[Any] = []
        cursor = None
        while True:
            page = await one.sum_usage(where, by=("key", "model"), step="hour", cursor=cursor, limit=9)
            seen += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        assert tuple(seen) == whole.rows
        with pytest.raises(InvalidRequest):
            await one.sum_usage(where, cursor="x")


async def test_money_above_two_to_the_63_is_exact(store: Opened) -> None:
    async with store() as one:
        rows = [call(number, cost_pico=2**62 + number, key=str(number)) for number in range(8)]
        await one.add_usage(rows)
        (total,) = (await one.sum_usage(UsageWhere(NOON_US, NOON_US + DAY_US))).rows
        assert total.cost_pico == sum(row.cost_pico or 0 for row in rows) > 2**64


async def test_two_processes_add_to_the_same_sums(store: Opened) -> None:
    async with store() as one, store() as other:
        batches = [
            [call(number * 100 + at, key=f"k{(at * number) % 17}", attempts=1) for at in range(100)]
            for number in range(1, 21)
        ]
        await asyncio.gather(*((one, other)[at % 2].add_usage(batch) for at, batch in enumerate(batches)))
        (total,) = (await one.sum_usage(UsageWhere(NOON_US - DAY_US, NOON_US + DAY_US))).rows
        assert (total.calls, total.attempts) == (2000, 2000)
        by_key = (await other.sum_usage(UsageWhere(NOON_US, NOON_US + HOUR_US), by=("key",))).rows
        assert sum(row.calls for row in by_key) == 2000
        assert len(by_key) == 17


async def test_a_batch_with_a_wrong_row_is_not_written(store: Opened) -> None:
    async with store() as one:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each backend has its own
            await one.add_usage([call(1), call(2, prompt_tokens=2**70)])
        assert not isinstance(caught.value, StoreUnavailable)
        (total,) = (await one.sum_usage(UsageWhere(NOON_US, NOON_US + DAY_US))).rows
        assert total.calls == 0


async def test_days_are_forgotten_whole(store: Opened) -> None:
    days = [NOON_US + number * DAY_US for number in range(6)]
    async with store() as one:
        await one.add_usage(
            [call(number, time_us=time_us, key=f"k{number}") for number, time_us in enumerate(days)]
        )
        assert await one.drop_usage(calls_before_us=days[3], sums_before_us=days[1]) == 3
        everything = CallWhere(since_us=0, until_us=2**60)
        assert [row.id for row in (await one.list_calls(everything)).rows] == ["req_5", "req_4", "req_3"]
        by_key = (await one.sum_usage(everything, by=("key",))).rows
        assert [row.by["key"] for row in by_key] == ["k1", "k2", "k3", "k4", "k5"]
        # The second half of an hour whose calls are gone is given whole.
        (hour,) = (await one.sum_usage(UsageWhere(days[2] + 5, days[2] + 6))).rows
        assert hour.calls == 1
        by_hour = (await one.sum_usage(everything, step="hour")).rows
        assert [row.start_us for row in by_hour] == days[1:]
        assert await one.read(count_dims) == 5 + 1  # those of the keys, and that of all of them
        assert await one.drop_usage(calls_before_us=days[3], sums_before_us=days[1]) == 0
        await one.add_usage([call(9, time_us=days[0], key="k0")])  # a late one makes its day anew
        assert len((await one.list_calls(everything)).rows) == 4


async def test_what_a_client_says_does_not_cost_a_call_its_row(store: Opened) -> None:
    """The name of a model at a provider that takes any, fields that were not carried over."""
    async with store() as one:
        odd = call(1, model="a\0b\ud800", id="\0", dropped=("x\0", "y" * 5000))
        await one.add_usage([odd, call(2)])
        (found,) = (await one.list_calls(CallWhere(0, 2**60, model="a\0b\ud800"))).rows
        assert (found.model, found.id) == ("a\ufffdb?", "\ufffd")
        assert ",".join(found.dropped) == "x\ufffd," + "y" * 1997


def test_long_names_are_cut_between_characters() -> None:
    assert short("a" * 64) == "a" * 64
    assert short("a" * 300) == "a" * 256
    assert short("ü" * 200) == "ü" * 128
    assert short("a" + "ü" * 200) == "a" + "ü" * 127
