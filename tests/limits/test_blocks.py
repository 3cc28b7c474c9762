"""Budgets in memory that outlive the process: promised in blocks, so that a crash costs two at most."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_cases import START_S, Case, claim

from penstock.lib import tasks
from penstock.limits.memory import MemoryLedger
from penstock.limits.rows import BLOCKS
from penstock.limits.sqlite import SqliteBlocks, SqliteFile
from penstock.testing.clock import FakeClock
from penstock.types.ledger import Cost, Lease, LedgerUnavailable, Limit, Refusal, Scope

USD = 10**12
BUDGET = 25 * USD
BLOCK = BUDGET // BLOCKS
CI = claim("ci", Limit("pico_usd", BUDGET, "month"), Limit("requests", 10**6, 60))
DAY_S = 86_400.0


@asynccontextmanager
async def process(path: Path, clock: FakeClock, *, crashes: bool = False) -> AsyncIterator[Case]:
    """A process with such a ledger; `crashes`: it gives nothing back."""
    file = SqliteFile(path)
    ledger = MemoryLedger(clock, SqliteBlocks(file))
    await ledger.open()
    try:
        yield Case(ledger, clock)
        if not crashes:
            await ledger.close()
    finally:
        await file.close()


def clock_at(seconds: float = START_S) -> FakeClock:
    return FakeClock(monotonic=1000.0, wall=seconds)


async def spend(it: Case, pico_usd: int) -> None:
    await it.settle(await it.hold([CI], Cost(1, 0, pico_usd)), Cost(1, 0, pico_usd))


async def left(it: Case) -> int:
    return BUDGET - (await it.sums(CI))[0][0]


async def test_a_clean_end_forgets_nothing_and_costs_nothing(tmp_path: Path) -> None:
    clock = clock_at()
    for spent in range(1, 4):
        async with process(tmp_path / "p.db", clock) as it:
            await spend(it, USD)
            assert await left(it) == BUDGET - spent * USD


async def test_a_crash_costs_the_rest_of_a_block(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        await spend(it, USD)
    async with process(tmp_path / "p.db", clock) as it:
        assert BUDGET - USD - BLOCK <= await left(it) <= BUDGET - USD


async def test_what_calls_refund_is_given_back(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        leases = [await it.hold([CI], Cost(1, 0, 2 * USD)) for _ in range(10)]
        for lease in leases:
            await it.settle(lease, Cost(1, 0, USD // 10))
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        assert BUDGET - USD - 2 * BLOCK <= await left(it) <= BUDGET - USD
        lease = await it.hold([CI], Cost(1, 0, 2 * USD), ttl_s=5)
        clock.advance(6)
        await it.settle(lease, Cost(1, 0, USD))
    async with process(tmp_path / "p.db", clock) as it:
        assert BUDGET - 2 * USD - 4 * BLOCK <= await left(it) <= BUDGET - 2 * USD


async def test_all_of_it_can_be_spent_and_not_more(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock) as it:
        await spend(it, BUDGET - 1)
        refusal = await it.refusal([CI], Cost(1, 0, 2))
        assert (refusal.used, refusal.limit.resource) == (BUDGET - 1, "pico_usd")
        await spend(it, 1)
    async with process(tmp_path / "p.db", clock) as it:
        await it.refusal([CI], Cost(1, 0, 1))


async def test_processes_of_one_file_do_not_spend_it_twice(tmp_path: Path) -> None:
    """As where one is started before the other has ended."""
    clock = clock_at()
    async with process(tmp_path / "p.db", clock) as one, process(tmp_path / "p.db", clock) as other:
        spent, open_ = 0, [one, other]
        while open_:
            for it in [*open_]:
                found = await it.ledger.reserve([CI], Cost(1, 0, USD // 5), clock.monotonic(), 60.0)
                if isinstance(found, Refusal):
                    open_.remove(it)
                else:
                    await it.settle(found, Cost(1, 0, USD // 5))
                    spent += USD // 5
        assert BUDGET - 4 * BLOCK <= spent <= BUDGET


async def test_what_was_used_beyond_is_promised_too(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        await it.settle(await it.hold([CI], Cost(1, 0, 1)), Cost(1, 0, BUDGET + 5))
    async with process(tmp_path / "p.db", clock) as it:
        assert (await it.refusal([CI], Cost(1, 0, 1))).used >= BUDGET + 5


async def test_extensions_are_promised_too(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        lease = await it.hold([CI], Cost(1, 0, 1))
        assert await it.extend(lease, Cost(pico_usd=10 * USD)) is None
        assert await it.extend(lease, Cost(pico_usd=20 * USD)) is not None
    async with process(tmp_path / "p.db", clock) as it:
        assert await left(it) <= 15 * USD


async def test_who_leaves_while_a_promise_is_written_forfeits_nothing(tmp_path: Path) -> None:
    clock, asked = clock_at(), set[asyncio.Task[Any]]()
    async with process(tmp_path / "p.db", clock) as it:
        await tasks.cancel_and_wait(await begun(tasks.spawn(asked, it.hold([CI], Cost(1, 0, USD)), "left")))
        assert await left(it) == BUDGET
    async with process(tmp_path / "p.db", clock) as it:
        assert await left(it) == BUDGET


async def test_what_is_given_back_while_a_promise_is_written_is_nobodys_use(tmp_path: Path) -> None:
    clock, asked = clock_at(), set[asyncio.Task[Any]]()
    async with process(tmp_path / "p.db", clock) as it:
        refunded = await it.hold([CI], Cost(1, 0, 10 * USD))
        lease = await begun(tasks.spawn(asked, it.hold([CI], Cost(1, 0, USD)), "waits for a promise"))
        await it.settle(refunded, Cost(1, 0, USD))
        await it.settle(await lease, Cost(1, 0, USD))
        assert await left(it) == BUDGET - 2 * USD
    async with process(tmp_path / "p.db", clock) as it:
        assert await left(it) == BUDGET - 2 * USD


async def begun(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """It has got as far as it gets at once."""
    await asyncio.sleep(0)
    return task


class Disk(SqliteBlocks):
    """That may be full."""

    is_full = False

    async def take(self, scope: Scope, limit_key: str, period: int, amount: int) -> int:
        if self.is_full:
            raise LedgerUnavailable("database or disk is full")
        return await super().take(scope, limit_key, period, amount)


async def test_a_disk_that_is_full_for_a_while_forfeits_nothing(tmp_path: Path) -> None:
    clock = clock_at()
    disk = Disk(SqliteFile(tmp_path / "p.db"))
    it = Case(MemoryLedger(clock, disk), clock)
    lease = await it.hold([CI], Cost(1, 0, 10 * USD))
    disk.is_full = True
    await it.settle(lease, Cost(1, 0, USD))
    assert await left(it) == BUDGET - USD
    with pytest.raises(LedgerUnavailable):
        await it.hold([CI], Cost(1, 0, 11 * USD))
    await spend(it, USD)  # what is promised already may be used
    disk.is_full = False
    await it.ledger.close()
    async with process(tmp_path / "p.db", clock) as it:
        assert await left(it) == BUDGET - 2 * USD


async def test_a_disk_that_is_full_at_the_end_leaves_no_thread(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "p.db")
    disk = Disk(file)
    it = Case(MemoryLedger(clock_at(), disk), clock_at())
    await spend(it, USD)
    disk.is_full = True
    with pytest.raises(LedgerUnavailable):
        await it.ledger.close()
    assert not file._thread.is_alive()


async def test_each_period_has_its_own_promises(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        await spend(it, 24 * USD)
        clock.advance(31 * DAY_S)
        await spend(it, 24 * USD)
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        assert await left(it) <= USD
        clock.advance(31 * DAY_S)
        await spend(it, BUDGET)


async def test_many_calls_share_a_promise(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock) as it:
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(spend(it, USD // 10))
        assert await left(it) == 20 * USD


async def test_nothing_is_promised_twice_for_calls_that_come_at_once(tmp_path: Path) -> None:
    clock = clock_at()
    async with process(tmp_path / "p.db", clock, crashes=True) as it:
        await asyncio.gather(*(it.hold([CI], Cost(1, 0, USD)) for _ in range(10)))
    async with process(tmp_path / "p.db", clock) as it:
        assert await left(it) >= BUDGET - 10 * USD - 2 * BLOCK
        got = await asyncio.gather(*(it.reserve([CI], Cost(1, 0, USD)) for _ in range(20)))
        assert sum(isinstance(one, Lease) for one in got) == 14


@pytest.mark.timeout(60)
def test_no_crash_ever_overspends(
    tmp_path: Path, strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    lives = st.lists(
        st.tuples(
            st.booleans(), st.lists(st.tuples(st.integers(0, 2 * USD), st.integers(0, 2 * USD)), max_size=12)
        ),
        max_size=6,
    )
    numbers = iter(range(10**6))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lives)
    def check(lives: list[tuple[bool, list[tuple[int, int]]]]) -> None:
        strictly(lambda: live(tmp_path / f"{next(numbers)}.db", lives))

    async def live(path: Path, lives: list[tuple[bool, list[tuple[int, int]]]]) -> None:
        clock = clock_at()
        spent = forfeited = 0
        for crashes, calls in lives:
            async with process(path, clock, crashes=crashes) as it:
                for reserved, wanted in calls:
                    got = await it.reserve([CI], Cost(1, 0, reserved))
                    if isinstance(got, Refusal):
                        assert spent + reserved + forfeited > BUDGET, "refused too early"
                        continue
                    assert isinstance(got, Lease)
                    assert spent + reserved <= BUDGET, "overspent"
                    used = min(wanted, reserved)
                    await it.settle(got, Cost(1, 0, used))
                    spent += used
                forfeited += 2 * BLOCK if crashes else 0

    check()
