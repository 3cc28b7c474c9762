"""The supervisor's engines, as a worker sees them: penstock.types.deployment.Fleet without any process.

replicas    as the supervisor said last, less those suspected here since
acquire     the least used, by this worker's count and what the others said of theirs; waits for news
suspect     at once here; the supervisor asks the replica for its health and tells everybody
release     this worker's count
run         tells what is busy here, many times a second, and once a second though nothing changed: the
            supervisor takes silence for a worker that hangs (watch.py)
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping

from penstock.routing.load import Load
from penstock.runtime.fleet import PoolStatus, ReplicaStatus
from penstock.types.deployment import ReplicaView
from penstock.types.errors import ModelLoading, PenstockError, UpstreamUnavailable
from penstock.workers.messages import Any_, Busy, Engine, Engines, Replica, Suspect

BUSY_S = 0.1
ALIVE_S = 1.0
NOT_TOLD = "The models are being started."


class View:
    """`tell` reaches the supervisor."""

    def __init__(self, tell: Callable[[Any_], None]) -> None:
        self.newest_s = -math.inf
        self._held: dict[str, int] = {}  # replica -> requests of ours
        self._others: Mapping[str, int] = {}
        self._load = Load()
        self._tell = tell
        self._engines: dict[str, Engine] = {}
        self._ready: dict[str, tuple[ReplicaView, ...]] = {}
        self._suspected: dict[int, ReplicaView] = {}
        self._last_suspect = 0
        self._news: asyncio.Future[None] | None = None

    # -- what is busy

    def account_for(self, load: Load) -> None:
        """The account by which this worker chooses."""
        self._load = load

    async def run(self) -> None:
        """Until cancelled."""
        said, silent_s = Busy({}, {}), math.inf
        while True:
            busy = Busy(self._load.own(), self._held.copy())
            if busy != said or silent_s >= ALIVE_S:
                self._tell(busy)
                said, silent_s = busy, 0.0
            await asyncio.sleep(BUSY_S)
            silent_s += BUSY_S

    # -- what the supervisor says

    def take(self, told: Engines) -> None:
        self.newest_s = told.newest_s
        self._suspected = {number: one for number, one in self._suspected.items() if number > told.heard}
        self._engines = {one.pool: one for one in told.pools}
        self._ready = {one.pool: self._views(one) for one in told.pools}
        if (news := self._news) is not None:
            self._news = None
            news.set_result(None)

    def take_busy(self, others: Busy) -> None:
        """What all other workers have."""
        self._others = others.held
        self._load.take(others.load)

    def _views(self, engine: Engine) -> tuple[ReplicaView, ...]:
        """A replica that is what it was stays the same object."""
        known = {_life(view): view for view in self._ready.get(engine.pool, ())}
        doubted = {_life(view) for view in self._suspected.values()}
        found = (_view(one) for one in engine.replicas if one.address is not None)
        return tuple(known.get(_life(view), view) for view in found if _life(view) not in doubted)

    # -- types.deployment.Fleet

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]:
        return self._ready.get(pool, ())

    async def acquire(self, pool: str, wait_s: float, prefer: str = "") -> ReplicaView:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    if ready := self.replicas(pool):
                        chosen = min(ready, key=lambda one: (one.id != prefer, self._in_flight(one.id)))
                        self._held[chosen.id] = self._held.get(chosen.id, 0) + 1
                        return chosen
                    unready = self._unready(pool)
                    if isinstance(unready, UpstreamUnavailable):
                        raise unready
                    await self._changed()
        raise self._unready(pool)

    def suspect(self, replica: ReplicaView) -> None:
        for pool, ready in self._ready.items():
            if replica in ready:
                self._ready[pool] = tuple(one for one in ready if one is not replica)
                self._last_suspect += 1
                self._suspected[self._last_suspect] = replica
                self._tell(Suspect(self._last_suspect, replica.id, replica.ready_s))

    def release(self, replica: ReplicaView) -> None:
        left = self._held[replica.id] - 1
        if left:
            self._held[replica.id] = left
        else:
            del self._held[replica.id]

    # -- for people

    def status(self) -> list[PoolStatus]:
        return [
            PoolStatus(
                one.pool,
                one.engine,
                one.source,
                tuple(self._status(replica) for replica in one.replicas),
                one.fetching,
                one.error,
            )
            for one in self._engines.values()
        ]

    def _status(self, one: Replica) -> ReplicaStatus:
        return ReplicaStatus(
            one.name, one.state, one.pid, self._in_flight(one.name), one.restarts, one.error, one.info
        )

    # -- inside

    def _in_flight(self, replica: str) -> int:
        return self._held.get(replica, 0) + self._others.get(replica, 0)

    def _unready(self, pool: str) -> PenstockError:
        engine = self._engines.get(pool)
        if engine is None:
            return ModelLoading(NOT_TOLD)
        kind = UpstreamUnavailable if engine.has_failed else ModelLoading
        return kind(engine.said, retry_after_s=engine.retry_after_s, detail=engine.detail)

    async def _changed(self) -> None:
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._news)


def _view(one: Replica) -> ReplicaView:
    if one.address is None:
        raise ValueError("a replica that is not ready has no address")
    return ReplicaView(one.name, one.state, one.address, one.headers, one.info, None, one.ready_s)


def _life(view: ReplicaView) -> tuple[str, float | None]:
    return view.id, view.ready_s
