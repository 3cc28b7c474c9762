"""Limits while the store does not answer: a real Redis that is stopped, started and silenced."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from penstock.limits import guarded
from penstock.limits.guarded import FAILURES, RETRY_S, Guarded
from penstock.limits.redis import RedisLedger
from penstock.limits.shared import Seal, SharedLedger
from penstock.testing.clock import FakeClock
from penstock.testing.servers import RedisServer
from penstock.types.ledger import (
    Claim,
    Cost,
    FailurePolicy,
    Lease,
    LedgerUnavailable,
    Limit,
    Refusal,
    Row,
    Scope,
)

pytestmark = pytest.mark.timeout(60)
TIMEOUT_S = 0.3  # each call that goes unanswered takes as long; a machine with more to do may need half
NOW_S = FakeClock().monotonic()  # to every call; only the guard's own clock goes on


def ci(*limits: Limit, policy: FailurePolicy = "local-share", name: str = "ci") -> Claim:
    return Claim(Scope("key", name), limits, policy)


@asynccontextmanager
async def guarding(server: RedisServer, clock: FakeClock, *, replicas: int = 2) -> AsyncIterator[Guarded]:
    store = RedisLedger(server.url, prefix="guarded", timeout_s=30.0)
    server.resume()
    await store._connections.ask("FLUSHALL")
    ledger = Guarded(store, clock, replicas=replicas, timeout_s=TIMEOUT_S)
    try:
        yield ledger
    finally:
        server.resume()
        await ledger.close()


async def hold(ledger: Guarded, *claims: Claim, cost: Cost | None = None) -> Lease:
    lease = await ledger.reserve(claims, cost or Cost(1), NOW_S, 30.0)
    assert isinstance(lease, Lease), lease
    return lease


async def go_down(ledger: Guarded) -> None:
    free = ci(Limit("requests", 10**9, 1), policy="open", name="other")
    while not ledger.is_down:
        await hold(ledger, free)


async def come_back(ledger: Guarded, clock: FakeClock) -> None:
    while ledger.is_down or ledger.pending:
        clock.advance(RETRY_S)
        await ledger.heartbeat((), NOW_S)
        await asyncio.sleep(0.01)


async def sums(ledger: Guarded, claim: Claim) -> list[tuple[int, int, int]]:
    rows = await ledger._store.report([claim], NOW_S)
    return [(row.used, row.reserved, row.expired) for row in rows]


async def test_open_admits_all_and_the_store_hears_of_it(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("requests", 2, "total"), Limit("tokens", 100, "total"), policy="open")
    async with guarding(redis, clock) as ledger:
        redis.pause()
        await go_down(ledger)
        for _ in range(5):
            lease = await hold(ledger, claim, cost=Cost(1, 90))
            assert await ledger.extend(lease, Cost(tokens=500), NOW_S) is None
            await ledger.settle(lease, Cost(1, 80), NOW_S)
            await ledger.settle(lease, Cost(1, 80), NOW_S)
        with pytest.raises(LedgerUnavailable):
            await ledger.report([claim], NOW_S)
        redis.resume()
        await come_back(ledger, clock)
        assert await sums(ledger, claim) == [(5, 0, 0), (400, 0, 0)]
        refused = await ledger.reserve([claim], Cost(1), NOW_S, 30.0)
        assert isinstance(refused, Refusal)


async def test_closed_admits_nothing(redis: RedisServer) -> None:
    clock = FakeClock()
    open_, closed = (
        ci(Limit("requests", 9, 60), policy="open"),
        ci(Limit("requests", 9, 60), policy="closed", name="strict"),
    )
    async with guarding(redis, clock) as ledger:
        running = await hold(ledger, closed)
        redis.pause()
        await go_down(ledger)
        with pytest.raises(LedgerUnavailable, match="strict"):
            await ledger.reserve([open_, closed], Cost(1), NOW_S, 30.0)
        with pytest.raises(LedgerUnavailable, match="strict"):
            await ledger.extend(running, Cost(1), NOW_S)
        redis.resume()
        await come_back(ledger, clock)
        await hold(ledger, open_, closed)


async def test_a_share_is_of_what_was_left(redis: RedisServer) -> None:
    clock = FakeClock()
    seen, unseen = ci(Limit("tokens", 100, "total")), ci(Limit("requests", 5, 60), name="unseen")
    async with guarding(redis, clock, replicas=3) as ledger:
        await hold(ledger, seen, cost=Cost(1, 40))
        redis.pause()
        await go_down(ledger)
        mine = await hold(ledger, seen, cost=Cost(1, 20))
        assert [rest.remaining for rest in mine.rests()] == [0]
        refused = await ledger.reserve([seen], Cost(1, 1), NOW_S, 30.0)
        assert isinstance(refused, Refusal)
        assert (refused.limit.amount, refused.reserved) == (20, 20)
        assert await ledger.extend(mine, Cost(tokens=1), NOW_S) is not None
        await hold(ledger, unseen)
        assert isinstance(await ledger.reserve([unseen], Cost(1), NOW_S, 30.0), Refusal)
        await ledger.settle(mine, Cost(1, 7), NOW_S)
        await hold(ledger, seen, cost=Cost(1, 13))
        redis.resume()
        await come_back(ledger, clock)
        assert await sums(ledger, seen) == [(7, 40, 0)]


async def test_a_rest_says_nothing_once_it_is_reset(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("tokens", 100, 60))
    async with guarding(redis, clock, replicas=2) as ledger:
        await hold(ledger, claim, cost=Cost(1, 90))
        redis.pause()
        await go_down(ledger)
        assert isinstance(await ledger.reserve([claim], Cost(1, 6), clock.monotonic(), 30.0), Refusal)
        later_s = clock.monotonic() + 63.0
        assert isinstance(await ledger.reserve([claim], Cost(1, 50), later_s, 30.0), Lease)
        assert isinstance(await ledger.reserve([claim], Cost(1, 1), later_s, 30.0), Refusal)


async def test_what_was_in_flight_is_settled_exactly(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("tokens", 1_000, "total"), Limit("concurrency", 9))
    async with guarding(redis, clock) as ledger:
        leases = [await hold(ledger, claim, cost=Cost(1, 100)) for _ in range(4)]
        redis.pause()
        await ledger.settle(leases[0], Cost(1, 10), NOW_S)  # goes out, but nobody hears it
        await go_down(ledger)
        assert await ledger.extend(leases[1], Cost(tokens=50), NOW_S) is None
        await ledger.settle(leases[1], Cost(1, 130), NOW_S)
        await ledger.heartbeat(leases[2:], NOW_S)
        redis.resume()
        await come_back(ledger, clock)
        assert await sums(ledger, claim) == [(140, 200, 0), (0, 2, 0)]
        await ledger.settle(leases[2], Cost(1, 1), NOW_S)
        assert await sums(ledger, claim) == [(141, 100, 0), (0, 1, 0)]


async def test_a_reservation_that_nobody_heard_of_is_given_back(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("tokens", 1_000, "total"), Limit("concurrency", 9), policy="open")
    async with guarding(redis, clock) as ledger:
        await hold(ledger, claim)  # the scripts are known, a connection is open
        redis.pause()
        local = await hold(ledger, claim, cost=Cost(1, 100))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(TIMEOUT_S / 2):
                await hold(ledger, claim, cost=Cost(1, 100))
        await ledger.settle(local, Cost(1, 60), NOW_S)
        redis.resume()
        await come_back(ledger, clock)
        assert await sums(ledger, claim) == [(60, 0, 0), (0, 1, 0)]


async def test_a_server_that_starts_anew_is_asked_again(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("requests", 3, "total"))
    async with guarding(redis, clock) as ledger:
        for kill in (False, True):
            lease = await hold(ledger, claim)
            await asyncio.to_thread(redis.stop, kill=kill)
            await go_down(ledger)
            await ledger.settle(lease, Cost(1), NOW_S)
            await asyncio.to_thread(redis.start)
            await come_back(ledger, clock)
        assert await sums(ledger, claim) == [(2, 0, 0)]


class Broken(SharedLedger):
    """A store that fails at once, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.works = False
        self.ended: list[tuple[str, Cost]] = []

    async def ask(self, lease: Lease, cost: Cost) -> Refusal | None:
        return self._answer()

    async def end(self, lease: Lease, actual: Cost, *, is_unknown: bool, seal: Seal) -> bool:
        self._answer()
        self.ended.append((lease.id, actual))
        return True

    async def beat(self, leases: Sequence[Lease]) -> None:
        self._answer()

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:
        self._answer()
        return []

    async def close(self) -> None: ...

    def _answer(self) -> None:
        self.asked += 1
        if not self.works:
            raise LedgerUnavailable("broken")


async def test_not_every_call_waits_for_a_store_that_is_down() -> None:
    store, clock = Broken(), FakeClock()
    ledger = Guarded(store, clock)
    free = ci(Limit("requests", 10**9, 1), policy="open")
    for _ in range(50):
        await hold(ledger, free)
    assert store.asked == FAILURES
    clock.advance(RETRY_S)
    for _ in range(50):
        await hold(ledger, free)
    assert store.asked == FAILURES + 1
    store.works = True
    clock.advance(RETRY_S)
    for _ in range(5):
        await hold(ledger, free)
    assert not ledger.is_down
    await ledger.close()
    assert store.asked == FAILURES + 1 + 5 + len(store.ended)


async def test_what_is_pending_is_told_though_nobody_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "RETRY_S", 0.001)
    store, clock = Broken(), FakeClock()
    ledger = Guarded(store, clock)
    store.works = True
    lease = await hold(ledger, ci(Limit("requests", 10**9, 1)))
    store.works = False
    await ledger.settle(lease, Cost(1, 7), NOW_S)
    while not ledger.is_down:
        await asyncio.sleep(0.001)
    store.works = True
    while ledger.pending:
        clock.advance(1.0)
        await asyncio.sleep(0.001)
    assert [cost.tokens for _, cost in store.ended] == [7]
    assert not ledger.is_down
    await ledger.close()


@pytest.mark.parametrize("steps", range(8))
async def test_what_comes_as_the_last_one_is_told_is_told_too(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(guarded, "RETRY_S", 0.001)
    store = Broken()
    ledger = Guarded(store, FakeClock())
    store.works = True
    first, second = [await hold(ledger, ci(Limit("requests", 10**9, 1))) for _ in range(2)]
    store.works = False
    await ledger.settle(first, Cost(1, 1), NOW_S)
    store.works = True
    while ledger.pending:
        await asyncio.sleep(0)
    for _ in range(steps):
        await asyncio.sleep(0)
    store.works = False
    await ledger.settle(second, Cost(1, 2), NOW_S)
    store.works = True
    async with asyncio.timeout(20.0):
        while ledger.pending:
            await asyncio.sleep(0.001)
    assert [cost.tokens for _, cost in store.ended] == [1, 2]
    await ledger.close()


async def test_a_store_that_is_back_at_the_end_is_told(redis: RedisServer) -> None:
    clock = FakeClock()
    claim = ci(Limit("tokens", 1_000, "total"))
    async with guarding(redis, clock) as ledger:
        lease = await hold(ledger, claim, cost=Cost(1, 100))
        redis.pause()
        await go_down(ledger)
        await ledger.settle(lease, Cost(1, 10), NOW_S)
        redis.resume()
    store = RedisLedger(redis.url, prefix="guarded")
    (row,) = await store.report([claim], NOW_S)
    await store.close()
    assert (row.used, row.reserved) == (10, 0)


async def test_what_is_pending_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "PENDING", 5)
    store = Broken()
    ledger = Guarded(store, FakeClock())
    free = ci(Limit("requests", 10**9, 1), policy="open")
    leases = [await hold(ledger, free) for _ in range(20)]
    for number, lease in enumerate(leases):
        await ledger.settle(lease, Cost(1, number), NOW_S)
    assert ledger.pending == 5
    store.works = True
    ledger._failures = 0
    await ledger.close()
    assert [cost.tokens for _, cost in store.ended] == [15, 16, 17, 18, 19]
