"""Calls under corrected prices: rows, sums and the note agree, in either backend, done once or twice."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_help import NOON_US, Opened, call, opened

from penstock.store.base import ScriptedStore
from penstock.store.migrations import OURS
from penstock.store.rerate import MAX_BATCH, rated
from penstock.types.money import FREE, Cost, Price, cost_of, versioned
from penstock.types.store import Team
from penstock.types.usage import Usage
from penstock.types.usage_store import DAY_US, HOUR_US, CallWhere, Rerated, UsageRow, UsageSum, UsageWhere

EVER = UsageWhere(0, 2**60)
ALL = CallWhere(0, 2**60)
PRICE = versioned(Price(input=3, output=15), "2026-11-01")
DEARER = versioned(Price(input=4, output=20), "2026-11-02")
COUNTS = st.integers(0, 10**6)
AMOUNTS = st.integers(0, 10**6)
USAGES = st.builds(
    Usage,
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), COUNTS),
    **dict.fromkeys(("cache_write_tokens", "cache_write_1h_tokens"), COUNTS),
    **dict.fromkeys(("audio_prompt_tokens", "audio_completion_tokens"), COUNTS),
    **dict.fromkeys(("image_prompt_tokens", "image_completion_tokens", "search_units", "images"), COUNTS),
)
PRICES = st.builds(
    Price,
    input=AMOUNTS,
    output=AMOUNTS,
    **dict.fromkeys(("cached", "cache_write", "cache_write_1h"), st.none() | AMOUNTS),
    **dict.fromkeys(("audio_input", "audio_output", "image_input", "query", "image"), st.none() | AMOUNTS),
).map(lambda price: versioned(price, "2026-11-01"))


def used(
    number: int, usage: Usage, price: Price | None, deployment: str = "d", *, time_us: int = NOON_US
) -> UsageRow:
    """As the gateway writes it."""
    row = call(number, time_us=time_us, deployment=deployment, is_estimated=usage.is_estimated)
    for name in usage.__struct_fields__:
        setattr(row, name, getattr(usage, name))
    cost = cost_of(price, usage) if price is not None else None
    row.cost_pico = None if cost is None else cost.total
    row.price_version = "" if cost is None else cost.version
    return row


async def everything(one: ScriptedStore) -> tuple[Sequence[UsageRow], Sequence[UsageSum], Sequence[UsageSum]]:
    """Rows, and the sums by hour and by day."""
    hours = await one.sum_usage(EVER, by=("deployment", "key"), step="hour")
    days = await one.sum_usage(EVER, by=("deployment", "key"), step="day")
    return (await one.list_calls(ALL, limit=1000)).rows, hours.rows, days.rows


async def to_the_end(
    one: ScriptedStore,
    prices: dict[str, Price],
    *,
    where: UsageWhere = EVER,
    limit: int = 2,
    dry: bool = False,
) -> Rerated:
    total = Rerated()
    cursor = None
    while True:
        found = await one.rerate_usage(where, prices, actor="ann", cursor=cursor, limit=limit, is_dry=dry)
        added = {
            name: getattr(total, name) + getattr(found, name)
            for name in Rerated.__struct_fields__
            if name != "cursor"
        }
        total = Rerated(**added)
        cursor = found.cursor
        if cursor is None:
            return total


def summed(rows: Sequence[UsageRow], unit_us: int) -> dict[tuple[int, str, str], tuple[int, int, int]]:
    groups: dict[tuple[int, str, str], tuple[int, int, int]] = {}
    for row in rows:
        group = (row.time_us // unit_us * unit_us, row.deployment, row.key)
        calls, pico, unpriced = groups.get(group, (0, 0, 0))
        groups[group] = (calls + 1, pico + (row.cost_pico or 0), unpriced + (row.cost_pico is None))
    return groups


def without_keys(sums: Sequence[UsageSum]) -> dict[tuple[int | None, str], tuple[int, int]]:
    groups: dict[tuple[int | None, str], tuple[int, int]] = {}
    for one in sums:
        group = (one.start_us, one.by["deployment"])
        pico, unpriced = groups.get(group, (0, 0))
        groups[group] = (pico + one.cost_pico, unpriced + one.unpriced)
    return groups


def of_sums(sums: Sequence[UsageSum]) -> dict[tuple[int, str, str], tuple[int, int, int]]:
    return {
        (one.start_us or 0, one.by["deployment"], one.by["key"]): (one.calls, one.cost_pico, one.unpriced)
        for one in sums
    }


@pytest.mark.timeout(120)
def test_rows_and_sums_are_what_the_new_prices_say(
    backend: str,
    new_url: Callable[[str], str],
    strictly: Callable[[Callable[[], Awaitable[None]]], None],
) -> None:
    spans = st.integers(NOON_US - 2 * HOUR_US, NOON_US + 2 * HOUR_US) | st.just(NOON_US)
    names = st.sampled_from(["d", "e", "gone"])
    calls = st.lists(st.tuples(USAGES, names, spans, st.sampled_from(["", "k"])), max_size=12)

    @given(calls, st.none() | PRICES, PRICES, PRICES)
    @settings(
        max_examples=40 if backend == "sqlite" else 10,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def holds(
        said: list[tuple[Usage, str, int, str]], before: Price | None, of_d: Price, of_e: Price
    ) -> None:
        rows = [
            msgspec.structs.replace(used(at, usage, before, name, time_us=time_us), key=key)
            for at, (usage, name, time_us, key) in enumerate(said)
        ]
        prices = {"d": of_d, "e": of_e}
        url = new_url(backend)

        async def check() -> None:
            async with opened(url) as one:
                await one.add_usage(rows)
                was = await everything(one)
                dry = await to_the_end(one, prices, dry=True)
                assert await everything(one) == was
                done = await to_the_end(one, prices)
                assert done == dry
                now, hours, days = await everything(one)
                by_seq = {row.seq: row for row in now}
                for at, (usage, name, _, _) in enumerate(said):
                    cost: Cost | None = cost_of(prices[name], usage) if name in prices else None
                    uncounted = usage.image_completion_tokens and not usage.images
                    is_older = uncounted and name in prices and prices[name].image
                    kept = cost is None or usage == Usage() or is_older
                    expected = rows[at].cost_pico if cost is None or kept else cost.total
                    assert by_seq[at].cost_pico == expected
                assert of_sums(hours) == summed(now, HOUR_US)
                assert of_sums(days) == summed(now, DAY_US)
                by_team = (await one.sum_usage(EVER, by=("deployment",), step="hour")).rows
                found = {
                    (row.start_us, row.by["deployment"]): (row.cost_pico, row.unpriced) for row in by_team
                }
                assert found == without_keys(hours)
                delta = sum(row.cost_pico or 0 for row in now) - sum(row.cost_pico or 0 for row in rows)
                assert done.after_pico - done.before_pico == delta
                left = done.same + done.no_price + done.no_usage + done.nothing_owed
                assert done.changed + left == len(rows)
                again = await to_the_end(one, prices)
                assert (again.changed, again.same) == (0, done.changed + done.same)

        strictly(check)

    holds()


async def test_each_reason_to_leave_a_call_is_counted(store: Opened) -> None:
    usage = Usage(1000, 10)
    async with store() as one:
        rows = [
            used(0, usage, PRICE),
            used(1, usage, None),  # its price was not known
            used(2, usage, DEARER),  # has it already
            used(3, usage, PRICE, "gone"),
            used(4, Usage(), None),  # nobody said what it used
            msgspec.structs.replace(used(5, usage, None), cost_pico=0),  # nobody was told
        ]
        await one.add_usage(rows)
        found = await one.rerate_usage(EVER, {"d": DEARER}, actor="ann")
        was, now = 1000 * 3 + 10 * 15, 1000 * 4 + 10 * 20
        assert found == Rerated(2, 1, 1, 1, 1, was, 2 * now, 1)
        stored = {row.seq: (row.cost_pico, row.price_version) for row in (await one.list_calls(ALL)).rows}
        assert stored == {
            0: (now, DEARER.version),
            1: (now, DEARER.version),
            2: (now, DEARER.version),
            3: (was, PRICE.version),
            4: (None, ""),
            5: (0, ""),
        }


async def test_only_the_calls_that_were_asked_for(store: Opened) -> None:
    async with store() as one:
        hours = [NOON_US + at * HOUR_US for at in range(6)]
        await one.add_usage(
            [
                msgspec.structs.replace(used(at, Usage(1), PRICE, time_us=time_us), model="ab"[at % 2])
                for at, time_us in enumerate(hours)
            ]
        )
        where = UsageWhere(hours[1] + 1, hours[4] + 1, model="a")
        assert (await to_the_end(one, {"d": DEARER}, where=where, limit=1)).changed == 2
        now = {row.seq for row in (await one.list_calls(ALL)).rows if row.cost_pico == 4}
        assert now == {2, 4}


async def test_it_goes_on_where_it_was_stopped(store: Opened) -> None:
    async with store() as one:
        await one.add_usage([used(at, Usage(at + 1), PRICE) for at in range(10)])
        first = await one.rerate_usage(EVER, {"d": DEARER}, actor="ann", limit=4)
        assert (first.changed, first.cursor is None) == (4, False)
        rest = await one.rerate_usage(EVER, {"d": DEARER}, actor="ann", cursor=first.cursor, limit=MAX_BATCH)
        assert (rest.changed, rest.cursor) == (6, None)
        whole = await to_the_end(one, {"d": DEARER})  # as after a crash: from the beginning
        assert (whole.changed, whole.same) == (0, 10)


async def test_the_items_of_a_cost_are_known_after_its_price_has_changed(store: Opened) -> None:
    usage = Usage(1000, 10, 400, cache_write_tokens=100)
    before = versioned(Price(input=3, output=15, cached=1, cache_write=4), "2026-11-01")
    after = versioned(Price(input=4, output=20, cached=1, cache_write=5), "2026-11-02")
    async with store() as one:
        rows = [used(number, usage, before) for number in (1, 2)]
        for row in rows:
            row.price = before
        await one.add_usage(rows[:1])
        await one.add_usage(rows[1:])
        await one.rerate_usage(EVER, {"d": after}, actor="ann", limit=1)
        newest, oldest = (await one.list_calls(ALL)).rows
        assert (newest.price, oldest.price) == (before, after)
        assert (
            newest.cost
            == cost_of(before, usage)
            == Cost(1500, 400, 400, 150, total=2450, version=before.version)
        )
        assert oldest.cost == cost_of(after, usage)


async def test_an_older_call_has_no_items(store: Opened) -> None:
    async with store() as one:
        await one.add_usage([used(1, Usage(10, 10), PRICE)])
        (row,) = (await one.list_calls(ALL)).rows
        assert (row.price_version, row.price, row.cost) == (PRICE.version, None, None)


async def test_who_corrected_what_is_noted(store: Opened) -> None:
    async with store() as one:
        await one.create(Team(name="t"), actor="bob")
        await one.add_usage([used(1, Usage(5), PRICE), used(2, Usage(7), None)])
        where = UsageWhere(0, 2**60, deployment="d")
        await one.rerate_usage(where, {"d": DEARER}, actor="ann", is_dry=True)
        assert (await one.changes(path="usage/")).rows == ()
        await one.rerate_usage(where, {"d": DEARER}, actor="ann")
        await one.rerate_usage(where, {"d": DEARER}, actor="ann")  # changes nothing: no note
        (note,) = (await one.changes(path="usage/")).rows
        assert (note.actor, note.path, note.revision) == ("ann", "usage/deployment=d", await one.revision())
        assert note.old == {"cost_usd": "0.000000000015", "unpriced": 1}
        assert note.new is not None
        assert (note.new["cost_usd"], note.new["calls"], note.new["unpriced"]) == ("0.000000000048", 2, 0)
        assert note.new["first"] == note.new["last"] == "2024-10-04T12:00:00.000000+00:00"


async def test_calls_that_come_meanwhile_are_counted(store: Opened) -> None:
    """Two processes: one writes calls, the other corrects them."""
    async with store() as one, store() as other:
        await one.add_usage([used(at, Usage(1), PRICE) for at in range(200)])

        async def more() -> None:
            for start in range(200, 1200, 50):
                await one.add_usage([used(at, Usage(1), PRICE) for at in range(start, start + 50)])

        prices = {"d": DEARER}
        await asyncio.gather(more(), to_the_end(other, prices, limit=20), to_the_end(one, prices))
        await to_the_end(other, prices, limit=500)
        (total,) = (await one.sum_usage(EVER)).rows
        assert (total.calls, total.cost_pico) == (1200, 4800)


async def test_calls_of_before_the_parts_were_kept(url: str) -> None:
    heard = versioned(Price(input=4, output=20, audio_input=9), "2026-11-02")
    async with opened(url) as one:
        await one.add_usage([used(1, Usage(5), PRICE, "d"), used(2, Usage(7), PRICE, "e")])
        await one.revert(len(OURS) - 2)  # as it was before 0003
        await one.migrate("pre")
        assert {row.search_units for row in (await one.list_calls(ALL)).rows} == {None}
        found = await one.rerate_usage(EVER, {"d": DEARER, "e": heard}, actor="ann")
        assert (found.changed, found.no_usage, found.after_pico) == (1, 1, 20)
        await one.add_usage([used(3, Usage(7), PRICE, "e")])
        assert (await one.rerate_usage(EVER, {"e": heard}, actor="ann")).changed == 1


async def test_an_image_that_was_not_counted_is_not_free(store: Opened) -> None:
    drawn = Usage(10, 1300, image_completion_tokens=1290)
    rows = [used(1, drawn, None), used(2, msgspec.structs.replace(drawn, images=2), None)]
    async with store() as one:
        await one.add_usage(rows)
        found = await to_the_end(one, {"d": Price(input=1, output=2, image=100, version="v")})
    assert (found.changed, found.no_usage, found.after_pico) == (1, 1, 10 + 20 + 200)


def old_row(**fields: object) -> dict[str, object]:
    """Of before there were columns for the parts of the usage."""
    row = msgspec.structs.asdict(call(1, deployment="d", prompt_tokens=10, completion_tokens=5))
    return row | {"cost_pico": 7, "price_version": "x", **fields}


@pytest.mark.parametrize(
    ("price", "fields", "expected"),
    [
        (Price(input=2, output=3), {}, 35),
        (Price(input=2, output=3, cached=1), {"cached_tokens": 4}, 31),
        (Price(input=2, output=3, audio_input=9), {}, "no_usage"),
        (Price(input=2, output=3, image_output=9), {}, "no_usage"),
        (Price(input=2, output=3, image_output=3), {}, 35),
        (Price(input=2, output=3, cache_write=4, cache_write_1h=8), {}, 35),
        (Price(input=2, output=3, cache_write=4, cache_write_1h=8), {"cache_write_tokens": 1}, "no_usage"),
        (Price(query=5), {}, "no_usage"),
        (Price(input=2, output=3, image=5), {}, "no_usage"),
        (FREE, {}, 0),
    ],
)
def test_an_older_row_suffices_where_its_parts_have_no_price(
    price: Price, fields: dict[str, object], expected: int | str
) -> None:
    found = rated(old_row(**fields), {"d": price})
    assert (found if isinstance(found, str) else found[0]) == expected
