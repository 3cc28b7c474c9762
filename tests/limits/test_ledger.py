"""What every ledger does, in the same words: memory, SQLite, Redis, PostgreSQL."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledger_cases import KINDS, SHARED, Places, claim

from penstock.limits.memory import KEPT_S, MemoryLedger
from penstock.limits.postgres import PostgresLedger
from penstock.limits.redis import RedisLedger
from penstock.limits.shared import Seal, SharedLedger
from penstock.limits.sqlite import SqliteLedger
from penstock.testing.servers import RedisServer
from penstock.types.ledger import (
    MOST,
    Claim,
    Cost,
    Lease,
    Ledger,
    LedgerUnavailable,
    Limit,
    Period,
    Scope,
    tightest,
)

pytestmark = pytest.mark.timeout(60)

DAY_S = 86_400.0
TEAM = claim("t", Limit("tokens", 1_000, 60), kind="team")
USD = 10**12


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(request, tmp_path)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, places: Places) -> str:
    found: str = request.param
    places.url(found)  # starts the server outside of the loop, or skips
    return found


# -- all or nothing


async def test_as_much_as_the_limit_and_no_more(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 3, 60))
    async with places.case(kind) as it:
        for _ in range(3):
            await it.hold([ci])
        refusal = await it.refusal([ci])
        assert (refusal.scope, refusal.limit) == (ci.scope, ci.limits[0])
        assert (refusal.used, refusal.reserved) == (0, 3)
        assert await it.sums(ci) == [(0, 3, 0)]


async def test_a_refusal_touches_nothing(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 3, 60), Limit("concurrency", 5))
    async with places.case(kind) as it:
        await it.hold([ci, TEAM], Cost(1, 600))
        refusal = await it.refusal([ci, TEAM], Cost(1, 600))
        assert refusal.scope == TEAM.scope
        assert await it.sums(ci) == [(0, 1, 0), (0, 1, 0)]
        assert await it.sums(TEAM) == [(0, 600, 0)]


async def test_the_refusal_names_what_stands_in_the_way_longest(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 1, 60), Limit("tokens", 10, 1), Limit("concurrency", 1))
    async with places.case(kind) as it:
        await it.hold([ci], Cost(1, 10))
        assert (await it.refusal([ci], Cost(1, 10))).limit.resource == "requests"
        assert (await it.refusal([ci], Cost(1, 11))).limit.resource == "tokens"  # never


async def test_a_scope_without_limits_admits_all(kind: str, places: Places) -> None:
    free = claim("free")
    async with places.case(kind) as it:
        for claims in ([], [free]):
            lease = await it.hold(claims)
            assert await it.extend(lease, Cost(tokens=10)) is None
            await it.beat(lease)
            await it.settle(lease)
            assert list(lease.rests()) == []
        assert await it.rows(free) == []
        await it.settle(await it.hold([free, TEAM], Cost(1, 1_000)), Cost(1, 1_000))
        await it.refusal([free, TEAM], Cost(1, 1))


async def test_what_costs_nothing_is_admitted_where_nothing_is_left(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 10, 60))
    async with places.case(kind) as it:
        await it.settle(await it.hold([ci], Cost(1, 10)), Cost(1, 50))
        await it.hold([ci], Cost(1, 0))
        assert (await it.refusal([ci], Cost(1, 1))).used == 50


async def test_an_amount_of_zero_forbids(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 0, 60))
    async with places.case(kind) as it:
        assert (await it.refusal([ci])).retry_after_s is None


async def test_scopes_do_not_mix(kind: str, places: Places) -> None:
    limit = Limit("requests", 1, 60)
    mine, other, route = claim("a", limit), claim("a:b", limit), claim("a", limit, kind="route")
    async with places.case(kind) as it:
        for one in (mine, other, route):
            await it.hold([one])
            await it.refusal([one])


# -- windows


async def test_a_rolling_window_forgets_what_is_older_than_itself(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 2, 64))  # a slice is 2 s
    async with places.case(kind) as it:
        await it.hold([ci], ttl_s=1000)
        it.clock.advance(30)
        await it.hold([ci], ttl_s=1000)
        it.clock.advance(34)  # the first is 64 s ago
        refusal = await it.refusal([ci])
        assert refusal.retry_after_s == 2.0  # its slice still counts
        it.clock.advance(2.0)
        await it.hold([ci])
        assert (await it.refusal([ci])).retry_after_s == 30.0


async def test_retry_after_is_when_it_is_admitted(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60))
    async with places.case(kind, start_s=1_800_000_000.777) as it:
        for tokens in (50, 30, 20):
            await it.hold([ci], Cost(1, tokens), ttl_s=1000)
            it.clock.advance(11.3)
        for tokens in (1, 50, 51, 80, 100):
            refusal = await it.refusal([ci], Cost(1, tokens))
            assert refusal.retry_after_s is not None
            assert 26.0 < refusal.retry_after_s < 64.0
        wait_s = (await it.refusal([ci], Cost(1, 51))).retry_after_s
        assert wait_s is not None
        it.clock.advance(wait_s - 0.001)
        await it.refusal([ci], Cost(1, 51))
        it.clock.advance(0.002)
        await it.hold([ci], Cost(1, 51))


@pytest.mark.parametrize(
    ("window", "begins", "ends"),
    [
        ("day", "2028-02-28", "2028-02-29"),
        ("day", "2026-12-31", "2027-01-01"),
        ("week", "2027-01-11", "2027-01-18"),
        ("week", "2026-12-28", "2027-01-04"),
        ("month", "2027-01-01", "2027-02-01"),
        ("month", "2028-02-01", "2028-03-01"),
        ("month", "2026-12-01", "2027-01-01"),
        ("month", "2100-02-01", "2100-03-01"),
    ],
)
async def test_a_calendar_window_begins_at_midnight_utc(
    kind: str, places: Places, window: Period, begins: str, ends: str
) -> None:
    ci = claim("ci", Limit("pico_usd", 25 * USD, window))
    async with places.case(kind, start_s=_unix(begins) - 1) as it:
        await it.hold([ci], Cost(pico_usd=25 * USD))
        it.clock.advance(2.0)
        lease = await it.hold([ci], Cost(pico_usd=20 * USD), ttl_s=90 * DAY_S)
        assert tightest(lease.rests(), "pico_usd") is not None
        it.clock.advance(_unix(ends) - it.clock.wall() - 1)
        refusal = await it.refusal([ci], Cost(pico_usd=6 * USD))
        assert refusal.retry_after_s == pytest.approx(1.0)
        it.clock.advance(1.0)
        await it.hold([ci], Cost(pico_usd=25 * USD))


async def test_total_is_never_reset(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("pico_usd", 25 * USD, "total"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(pico_usd=25 * USD))
        assert lease.rests()[0].resets_s is None
        await it.settle(lease, Cost(pico_usd=25 * USD))
        it.clock.advance(4000 * DAY_S)
        assert (await it.refusal([ci], Cost(pico_usd=1))).retry_after_s is None


async def test_a_clock_that_is_set_back_admits_no_more(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 2, 60), Limit("tokens", 10, "day"))
    async with places.case(kind) as it:
        await it.hold([ci], Cost(1, 10), ttl_s=10 * DAY_S)
        it.clock._monotonic -= 2 * DAY_S
        it.clock._wall -= 2 * DAY_S
        assert (await it.refusal([ci], Cost(1, 1))).limit.resource == "tokens"
        await it.hold([ci], Cost(1))
        await it.refusal([ci], Cost(1))


# -- settling


async def test_what_was_not_used_is_refunded(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 5, 60), Limit("tokens", 100, 60), Limit("pico_usd", 100, "month"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 100, 100))
        await it.refusal([ci], Cost(1, 1, 1))
        await it.settle(lease, Cost(1, 40, 0))
        assert await it.sums(ci) == [(1, 0, 0), (40, 0, 0), (0, 0, 0)]
        await it.hold([ci], Cost(1, 60, 100))


async def test_a_call_that_was_not_made_costs_nothing(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 5, 60), Limit("tokens", 100, 60), Limit("concurrency", 1))
    async with places.case(kind) as it:
        await it.settle(await it.hold([ci], Cost(1, 100)), Cost())
        assert await it.sums(ci) == [(0, 0, 0)] * 3


async def test_what_was_used_beyond_is_booked(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 5, 60), Limit("tokens", 100, 60), Limit("pico_usd", 9, "total"))
    async with places.case(kind) as it:
        await it.settle(await it.hold([ci], Cost(1, 10)), Cost(1, 150, 7))
        assert await it.sums(ci) == [(1, 0, 0), (150, 0, 0), (7, 0, 0)]
        refusal = await it.refusal([ci], Cost(1, 1))
        assert (refusal.used, refusal.reserved) == (150, 0)


async def test_refunds_go_where_they_were_reserved(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 64), Limit("tokens", 1_000, "day"))
    async with places.case(kind) as it:
        early = await it.hold([ci], Cost(1, 60), ttl_s=1000)
        it.clock.advance(40)
        await it.settle(await it.hold([ci], Cost(1, 40)), Cost(1, 40))
        it.clock.advance(40)  # the first is out of the rolling window
        assert await it.sums(ci) == [(40, 0, 0), (40, 60, 0)]
        await it.settle(early, Cost(1, 10))
        assert await it.sums(ci) == [(40, 0, 0), (50, 0, 0)]


async def test_used_beyond_by_a_call_that_outlived_its_window_counts_now(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 10))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 30), ttl_s=1000)
        it.clock.advance(100)
        await it.settle(lease, Cost(1, 90))
        assert await it.sums(ci) == [(60, 0, 0)]


async def test_twice_is_once(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60), Limit("concurrency", 2))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 50))
        await it.hold([ci])
        for tokens in (20, 20, 40):
            await it.settle(lease, Cost(1, tokens))
        assert await it.sums(ci) == [(20, 0, 0), (0, 1, 0)]


# -- concurrency and time


async def test_a_slot_is_taken_until_the_call_ends(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 2))
    async with places.case(kind) as it:
        first = await it.hold([ci])
        await it.hold([ci])
        refusal = await it.refusal([ci])
        assert (refusal.used, refusal.reserved, refusal.retry_after_s) == (0, 2, 1.0)
        await it.settle(first)
        await it.hold([ci])
        await it.refusal([ci])


async def test_a_lease_unheard_of_expires(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 1), Limit("tokens", 100, 60), Limit("pico_usd", 100, "month"))
    async with places.case(kind) as it:
        await it.hold([ci], Cost(1, 60, 70), ttl_s=30)
        it.clock.advance(29.999)
        await it.refusal([ci])
        it.clock.advance(0.001)
        assert await it.sums(ci) == [(0, 0, 0), (60, 0, 60), (70, 0, 70)]
        await it.hold([ci], Cost(1, 40, 30))
        assert (await it.refusal([ci], Cost(1, 1, 0))).limit.resource == "tokens"


async def test_an_expired_lease_is_settled_exactly(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 1), Limit("tokens", 100, 60), Limit("pico_usd", 100, "month"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 60, 70), ttl_s=5)
        it.clock.advance(10)
        after = await it.hold([ci], Cost(1, 0, 0))
        await it.settle(lease, Cost(1, 80, 20))
        assert await it.sums(ci) == [(0, 1, 0), (80, 0, 0), (20, 0, 0)]
        await it.settle(after)
        assert (await it.sums(ci))[0] == (0, 0, 0)


async def test_one_that_expired_long_ago_is_booked_whole(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 1), Limit("pico_usd", 100, "total"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 0, 30), ttl_s=5)
        it.clock.advance(5 + KEPT_S)
        await it.settle(lease, Cost(1, 0, 20))
        assert await it.sums(ci) == [(0, 0, 0), (50, 0, 30)]


async def test_a_heartbeat_prolongs(kind: str, places: Places) -> None:
    ci, cd = claim("ci", Limit("concurrency", 2)), claim("cd", Limit("concurrency", 1))
    async with places.case(kind) as it:
        leases = [await it.hold([ci], ttl_s=10), await it.hold([ci, cd], ttl_s=20)]
        left = await it.hold([claim("left", Limit("requests", 1, 60))], ttl_s=10)
        await it.settle(left)
        for _ in range(5):
            it.clock.advance(9)
            await it.beat(*leases)
            await it.beat()
            await it.refusal([ci])
        it.clock.advance(10)
        assert await it.sums(ci) == [(0, 1, 0)]
        it.clock.advance(10)
        assert await it.sums(ci) == [(0, 0, 0)]
        assert await it.sums(cd) == [(0, 0, 0)]


async def test_a_call_that_runs_after_all_has_its_slot_again(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 1), Limit("tokens", 100, "day"))
    async with places.case(kind) as it:
        slow = await it.hold([ci], Cost(1, 10), ttl_s=5)
        it.clock.advance(6)
        quick = await it.hold([ci], Cost(1, 10))
        await it.beat(slow)
        assert await it.sums(ci) == [(0, 2, 0), (10, 10, 10)]
        await it.settle(quick)
        await it.refusal([ci])
        await it.settle(slow, Cost(1, 5))
        assert await it.sums(ci) == [(0, 0, 0), (5, 0, 0)]


async def test_a_call_that_runs_after_all_takes_no_slot_of_a_limit_that_came_later(
    kind: str, places: Places
) -> None:
    before = claim("ci", Limit("tokens", 100, "day"))
    after = claim("ci", Limit("tokens", 100, "day"), Limit("concurrency", 1))
    async with places.case(kind) as it:
        slow = await it.hold([before], Cost(1, 10), ttl_s=5)
        await it.settle(await it.hold([after]))
        it.clock.advance(6)
        await it.beat(slow)
        await it.settle(slow, Cost(1, 5))
        assert await it.sums(after) == [(5, 0, 0), (0, 0, 0)]


# -- extending


async def test_a_call_gets_more_while_it_runs(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 2, 60), Limit("tokens", 100, 60), Limit("concurrency", 1))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 50), ttl_s=10)
        for _ in range(5):
            it.clock.advance(8)
            assert await it.extend(lease, Cost(tokens=10)) is None
        refusal = await it.extend(lease, Cost(tokens=10))
        assert refusal is not None
        assert (refusal.limit.resource, refusal.used, refusal.reserved) == ("tokens", 0, 100)
        assert await it.sums(ci) == [(0, 1, 0), (0, 100, 0), (0, 1, 0)]
        await it.settle(lease, Cost(1, 75))
        assert await it.sums(ci) == [(1, 0, 0), (75, 0, 0), (0, 0, 0)]


async def test_what_was_used_first_was_used_of_the_first_reservation(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 64), Limit("tokens", 300, "total"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 50), ttl_s=1000)
        it.clock.advance(40)
        await it.extend(lease, Cost(tokens=50))
        it.clock.advance(40)
        await it.settle(lease, Cost(1, 70))
        assert await it.sums(ci) == [(20, 0, 0), (70, 0, 0)]


async def test_a_resource_may_be_extended_that_was_not_reserved(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60), Limit("pico_usd", 100, "day"))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1))
        await it.extend(lease, Cost(tokens=50, pico_usd=100))
        assert await it.sums(ci) == [(0, 50, 0), (0, 100, 0)]
        await it.settle(lease, Cost(1, 60, 110))
        assert await it.sums(ci) == [(60, 0, 0), (110, 0, 0)]


async def test_extending_an_expired_lease_revives_it(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 600), Limit("concurrency", 2))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 50), ttl_s=5)
        it.clock.advance(20)
        assert await it.extend(lease, Cost(tokens=30)) is None
        assert await it.sums(ci) == [(50, 30, 50), (0, 1, 0)]
        it.clock.advance(20)
        assert await it.sums(ci) == [(80, 0, 80), (0, 0, 0)]
        await it.settle(lease, Cost(1, 60))
        assert await it.sums(ci) == [(60, 0, 0), (0, 0, 0)]


async def test_extending_a_forgotten_lease_reserves_anew(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60), Limit("concurrency", 1))
    async with places.case(kind) as it:
        lease = await it.hold([ci], Cost(1, 50), ttl_s=5)
        it.clock.advance(5 + KEPT_S)
        between = await it.hold([ci])
        assert (await it.extend(lease, Cost(tokens=30))) is not None
        await it.settle(between)
        assert (await it.extend(lease, Cost(tokens=30))) is None
        assert await it.sums(ci) == [(0, 30, 0), (0, 1, 0)]
        await it.settle(lease, Cost(1, 80))
        assert await it.sums(ci) == [(80, 0, 0), (0, 0, 0)]


# -- answers that nobody heard


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_a_reservation_that_comes_after_its_end_is_void(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60), Limit("concurrency", 1))
    async with places.case(kind) as it:
        store = _shared(it.ledger)
        lease = Lease("lease_late", [ci], 30.0, is_late=True, is_uncertain=True)
        await store.finish(lease, Cost())  # the reservation is still on its way
        with pytest.raises(LedgerUnavailable):
            await store.ask(lease, Cost(1, 50))
        await it.beat(lease)
        assert await it.sums(ci) == [(0, 0, 0), (0, 0, 0)]
        it.clock.advance(2 * KEPT_S)
        await it.rows(ci)
        await it.hold([ci])


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_an_extension_that_comes_after_its_end_is_void(kind: str, places: Places) -> None:
    ci, cd = claim("ci", Limit("tokens", 100, 60)), claim("cd", Limit("concurrency", 2))
    async with places.case(kind) as it:
        store = _shared(it.ledger)
        lease = await it.hold([ci, cd], Cost(1, 50))
        lease.is_late = True
        await it.settle(lease, Cost(1, 40))
        with pytest.raises(LedgerUnavailable):
            await store.ask(lease, Cost(0, 50))
        assert await store.end(lease, Cost(1, 99), is_unknown=False, seal=Seal.NEVER)
        assert await it.sums(ci) == [(40, 0, 0)]
        assert await it.sums(cd) == [(0, 0, 0)]


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_what_nobody_knows_is_booked_once(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, 60), Limit("concurrency", 1))
    async with places.case(kind) as it:
        store = _shared(it.ledger)
        lease = Lease("lease_local", [ci], 30.0, is_unknown=True)
        for _ in range(3):  # the first two answers are lost
            await store.finish(lease, Cost(1, 30))
        assert await it.sums(ci) == [(30, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_what_the_store_lost_is_booked_even_when_an_extension_is_late(
    kind: str, places: Places
) -> None:
    ci = claim("ci", Limit("tokens", 100, 60))
    async with places.case(kind) as it:
        await it.settle(Lease("lease_lost", [ci], 30.0, is_late=True), Cost(1, 30))
        assert await it.sums(ci) == [(30, 0, 0)]


@pytest.mark.parametrize("kind", SHARED, indirect=True)
async def test_a_question_without_an_answer_is_remembered(
    kind: str, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    ci = claim("ci", Limit("tokens", 100, 60))

    async def lost(*_: object) -> None:
        raise LedgerUnavailable

    async with places.case(kind) as it:
        lease = await it.hold([ci])
        assert not lease.is_late
        monkeypatch.setattr(it.ledger, "ask", lost)
        with pytest.raises(LedgerUnavailable):
            await it.extend(lease, Cost(0, 10))
        assert lease.is_late


def _shared(ledger: Ledger) -> SharedLedger:
    assert isinstance(ledger, SharedLedger)
    return ledger


async def test_a_reservation_that_is_cancelled_is_given_back_in_sqlite(places: Places) -> None:
    ci = claim("ci", Limit("tokens", 100, "total"), Limit("concurrency", 1))
    async with places.case("sqlite") as it:
        await it.settle(await it.hold([ci]))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await it.reserve([ci], Cost(1, 50))
        assert await it.sums(ci) == [(0, 0, 0), (0, 0, 0)]


async def test_a_full_disk_is_told_and_over_when_there_is_room(places: Places) -> None:
    async with places.case("sqlite") as it:
        assert isinstance(it.ledger, SqliteLedger)
        run = it.ledger._file.run
        users = [claim(f"u{number}", Limit("requests", 9, 60), kind="user") for number in range(200)]
        await run(lambda connection: connection.execute("PRAGMA max_page_count=12"))

        async def hold_all() -> None:
            for user in users:
                await it.hold([user])

        with pytest.raises(LedgerUnavailable, match="disk is full"):
            await hold_all()
        await run(lambda connection: connection.execute("PRAGMA max_page_count=100000"))
        await hold_all()
        held = [await it.sums(user) for user in users]
        assert {tuple(sums) for sums in held} == {((0, 1, 0),), ((0, 2, 0),)}


# -- numbers, and what clients are told


async def test_amounts_up_to_two_to_the_63rd_are_exact(kind: str, places: Places) -> None:
    ci = claim(
        "ci", Limit("pico_usd", MOST, "month"), Limit("tokens", MOST, 60), Limit("requests", 2**53 + 1, 60)
    )
    async with places.case(kind) as it:
        odd = Cost(1, MOST - 1, 2**53 + 1)
        lease = await it.hold([ci], odd)
        assert await it.sums(ci) == [(0, 2**53 + 1, 0), (0, MOST - 1, 0), (0, 1, 0)]
        await it.refusal([ci], Cost(1, 2))
        small = await it.hold([ci], Cost(2**53, 1))
        assert (await it.refusal([ci], Cost(1, 0))).reserved == 2**53 + 1
        await it.settle(lease, Cost(1, MOST, 2**53 - 1))
        await it.settle(small, Cost(2**53, 1))
        assert await it.sums(ci) == [(2**53 - 1, 0, 0), (MOST + 1, 0, 0), (2**53 + 1, 0, 0)]
        await it.refusal([ci], Cost(0, 1))


async def test_a_lease_says_what_remains(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("requests", 5, 64), Limit("tokens", 5_000, 64), Limit("concurrency", 9))
    async with places.case(kind) as it:
        await it.hold([ci], Cost(1, 100))
        it.clock.advance(1)
        rests = (await it.hold([ci, TEAM], Cost(1, 900))).rests()
        requests, tokens = tightest(rests, "requests"), tightest(rests, "tokens")
        assert requests is not None
        assert tokens is not None
        assert (requests.limit.amount, requests.remaining, requests.resets_s) == (5, 3, 65.0)
        assert (tokens.scope, tokens.limit.amount, tokens.remaining) == (TEAM.scope, 1_000, 100)
        assert tightest(rests, "pico_usd") is None


async def test_a_limit_that_was_changed_keeps_its_count(kind: str, places: Places) -> None:
    before = claim("ci", Limit("requests", 5, 60), Limit("tokens", 10, 60))
    after = claim("ci", Limit("concurrency", 9), Limit("requests", 3, 60))
    async with places.case(kind) as it:
        leases = [await it.hold([before], Cost(1, 3)) for _ in range(3)]
        refusal = await it.refusal([after])
        assert (refusal.limit.amount, refusal.reserved) == (3, 3)
        for lease in leases:
            await it.settle(lease, Cost(0, 1))
        await it.hold([after])
        assert await it.sums(before) == [(0, 1, 0), (3, 0, 0)]


async def test_many_leases_expire_at_once(kind: str, places: Places) -> None:
    ci = claim("ci", Limit("concurrency", 100), Limit("tokens", 10_000, "total"))
    async with places.case(kind) as it:
        leases = [await it.hold([ci], Cost(1, 10), ttl_s=5 + n % 7) for n in range(100)]
        await it.refusal([ci])
        it.clock.advance(8)
        assert await it.sums(ci) == [(0, 42, 0), (580, 420, 580)]
        it.clock.advance(8)
        assert await it.sums(ci) == [(0, 0, 0), (1000, 0, 1000)]
        for lease in leases:
            await it.settle(lease, Cost(1, 1))
        assert await it.sums(ci) == [(0, 0, 0), (100, 0, 0)]


@pytest.mark.parametrize(
    ("resource", "amount", "window"),
    [
        ("requests", -1, 60),
        ("tokens", MOST + 1, 60),
        ("requests", 1, None),
        ("concurrency", 1, 60),
        ("tokens", 1, 0),
    ],
)
def test_limits_that_make_no_sense(resource: str, amount: int, window: int | None) -> None:
    with pytest.raises(ValueError, match=f"{resource}|concurrency"):
        Limit(resource, amount, window)  # type: ignore[arg-type]


def test_a_scope_has_one_limit_for_each_window() -> None:
    with pytest.raises(ValueError, match="two limits"):
        Claim(Scope("key", "ci"), (Limit("requests", 1, 60), Limit("requests", 2, 60)))
    Claim(Scope("key", "ci"), (Limit("requests", 1, 60), Limit("requests", 2, 61)))


def _unix(date: str) -> float:
    return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()


# -- what is left behind


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
async def test_tidying_drops_what_counts_no_more(kind: str, places: Places) -> None:
    async with places.case(kind) as it:
        ledger = it.ledger
        assert isinstance(ledger, SqliteLedger | PostgresLedger)
        budget = claim("kept", Limit("pico_usd", 100, "total"), Limit("tokens", 100, "month"))
        await it.hold([budget], Cost(1, 5, 7), ttl_s=5)
        for number in range(450):
            user = claim(f"u{number}", Limit("requests", 9, 60), Limit("concurrency", 2), kind="user")
            lease = await it.hold([user], ttl_s=5)
            if number % 2:
                await it.settle(lease)
        assert [await ledger.tidy() for _ in range(4)] == [True, True, False, True], "some at a time"
        it.clock.advance(5)
        await it.beat()
        assert await it.sums(budget) == [(7, 0, 7), (5, 0, 5)]
        for _ in range(2):
            it.clock.advance(KEPT_S)
            for _ in range(4):
                await it.beat()
        if isinstance(ledger, SqliteLedger):
            rows = await ledger._file.run(_scopes_of_sqlite)
        else:
            found = await ledger._pool.fetch(COUNTED)
            rows = {row[0] for row in found}
        assert rows == {"key:kept"}
        assert await it.sums(budget) == [(7, 0, 7), (5, 0, 5)]


COUNTED = "SELECT scope FROM ledger_counts UNION SELECT scope FROM ledger_leases"


def _scopes_of_sqlite(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute(COUNTED)}


async def test_keys_in_redis_expire_and_stay_few(places: Places, redis: RedisServer) -> None:
    async with places.case("redis") as it:
        assert isinstance(it.ledger, RedisLedger)
        ci = claim("ci", Limit("requests", 10**6, 60), Limit("tokens", 10**9, "day"), Limit("concurrency", 9))
        for _ in range(300):
            await it.settle(await it.hold([ci], Cost(1, 10)))
            it.clock.advance(1.7)
        ask = it.ledger._connections.ask
        key = "{told}:ledger:2:key:ci"
        assert await ask("KEYS", "*") == [key]
        assert await ask("HLEN", key) <= 40
        assert 86_400 < await ask("TTL", key) <= 2.25 * 86_400
        forever = claim("forever", Limit("pico_usd", 10**6, "total"))
        await it.hold([forever])
        assert await ask("TTL", "{told}:ledger:2:key:forever") == -1


async def test_idle_accounts_are_forgotten_in_memory(places: Places) -> None:
    async with places.case("memory") as it:
        assert isinstance(it.ledger, MemoryLedger)
        budget = claim("kept", Limit("pico_usd", 100, "total"))
        await it.settle(await it.hold([budget], Cost(1, 0, 7)), Cost(1, 0, 7))
        stream = claim("stream", Limit("requests", 9, 1))
        running = await it.hold([stream], ttl_s=10**6)
        for number in range(2_000):
            user = claim(f"u{number}", Limit("requests", 9, 60), kind="user")
            await it.settle(await it.hold([user]))
            it.clock.advance(1.0)
        assert len(it.ledger._accounts) < 200
        assert {"key:kept", "key:stream"} <= set(it.ledger._accounts)
        await it.settle(running)
        assert await it.sums(budget) == [(7, 0, 0)]
