import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.control.leading import lead
from penstock.lib import tasks
from penstock.store import open_store
from penstock.types.errors import StoreUnavailable
from penstock.types.store import Store, StoreLease

TTL_S = 2.0


class Process:
    """One that would lead; `is_leading` while it does."""

    def __init__(self, store: Store) -> None:
        self.is_leading = asyncio.Event()
        self.has_stopped = asyncio.Event()
        self.times = 0
        self._running: tasks.Tasks = set()
        self._task = tasks.spawn(self._running, lead(store, self._work, ttl_s=TTL_S), "lead")

    async def _work(self) -> None:
        self.times += 1
        self.is_leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_leading.clear()
            self.has_stopped.set()

    async def stop(self) -> None:
        await tasks.cancel_and_wait(self._task)


@asynccontextmanager
async def stores(path: Path, number: int) -> AsyncIterator[list[Store]]:
    opened = [await open_store(f"sqlite:///{path / 'x.db'}") for _ in range(number)]
    try:
        yield opened
    finally:
        for store in opened:
            await store.aclose()


async def test_one_leads_and_another_goes_on(tmp_path: Path) -> None:
    async with stores(tmp_path, 3) as opened:
        processes = [Process(store) for store in opened]
        leaders = set()
        for _ in range(3):
            waiting = [asyncio.ensure_future(one.is_leading.wait()) for one in processes]  # noqa: TID251
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in waiting:
                one.cancel()
            await asyncio.sleep(TTL_S)  # long enough for somebody else to take it, if they could
            (leader,) = [one for one in processes if one.is_leading.is_set()]
            leaders.add(leader)
            processes.remove(leader)
            await leader.stop()
            assert leader.times == 1
        assert len(leaders) == 3


class Failing:
    """A store that stops answering questions about leases."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_down = False
        self.is_silent = False

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> StoreLease | None:
        self._check()
        return await self._store.acquire_lease(name, holder, ttl_s)

    async def renew_lease(self, lease: StoreLease, ttl_s: float) -> StoreLease | None:
        self._check()
        if self.is_silent:
            await asyncio.Event().wait()
        return await self._store.renew_lease(lease, ttl_s)

    async def release_lease(self, lease: StoreLease) -> None:
        self._check()
        await self._store.release_lease(lease)

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailable("down")


async def test_who_cannot_renew_stops_and_comes_back(tmp_path: Path) -> None:
    async with stores(tmp_path, 1) as (store,):
        failing = Failing(store)
        process = Process(failing)  # type: ignore[arg-type]
        await process.is_leading.wait()
        failing.is_down = True
        await process.has_stopped.wait()
        assert not process.is_leading.is_set()
        failing.is_down = False
        await process.is_leading.wait()
        assert process.times == 2
        await process.stop()


@pytest.mark.timeout(30)
async def test_who_waits_for_the_store_stops_before_another_begins(tmp_path: Path) -> None:
    async with stores(tmp_path, 2) as (store, other):
        failing = Failing(store)
        process = Process(failing)  # type: ignore[arg-type]
        await process.is_leading.wait()
        failing.is_silent = True
        next_one = Process(other)
        await next_one.is_leading.wait()
        assert not process.is_leading.is_set()
        await process.stop()
        await next_one.stop()


async def test_a_bug_in_the_work_is_raised_and_the_lease_given_back(tmp_path: Path) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    async with stores(tmp_path, 1) as (store,):
        with pytest.raises(RuntimeError, match="a bug"):
            await lead(store, broken, ttl_s=60.0)
        assert await store.acquire_lease("control", "another", 1.0) is not None
