"""All pools of this machine: fetches their models, keeps their replicas, hands them to the gateway.

a pool that               what `acquire` does
------------------------  ----------------------------------------------------------------------------
has a ready replica       gives the one that is preferred, else that with the fewest requests in flight
fetches or loads          waits for the first change that makes one ready, at most `wait_s`, then
                          ModelLoading with the progress and, where it can be said, the time left
crashed a moment ago      the same: the restart is on its way
is suspected              the same: the health check is on its way
failed                    UpstreamUnavailable at once: waiting would not help. Why it failed is for the
                          operator (`status`, log): paths and engine logs are no client's business
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from penstock.lib import http1, tasks
from penstock.lib.clock import Clock, SystemClock
from penstock.runtime.replica import RETRY_FAILED_S, Replica, backoff_s
from penstock.types.deployment import Engine, Pool, ReplicaState, ReplicaView
from penstock.types.errors import ModelLoading, PenstockError, UpstreamInvalid, UpstreamUnavailable

DRAIN_S = 5.0  # the gateway has drained its own requests before it stops us
LOADING_RETRY_S = 2.0  # what a client is told to wait where no better estimate exists
_MAX_RETRY_S = 60.0

_log = structlog.get_logger("penstock.runtime")


class Progress(Protocol):
    """A report of a fetch (penstock.models.Progress satisfies this)."""

    @property
    def step(self) -> str: ...
    @property
    def done_bytes(self) -> int: ...
    @property
    def total_bytes(self) -> int | None: ...
    @property
    def note(self) -> str: ...


# source, report (called from any thread) -> local path; cancellation stops the fetch
Resolve = Callable[[str, Callable[[Progress], None]], Awaitable[str]]


@dataclass(frozen=True)
class ReplicaStatus:
    name: str
    state: ReplicaState
    pid: int | None
    in_flight: int
    restarts: int
    error: str
    info: dict[str, Any]


@dataclass(frozen=True)
class PoolStatus:
    """One pool, for people: /health, `penstock up`'s display, metrics."""

    pool: str
    engine: str
    source: str
    replicas: tuple[ReplicaStatus, ...]
    fetching: Progress | None  # None: the model is here
    error: str

    @property
    def restarts(self) -> int:
        return sum(replica.restarts for replica in self.replicas)


class Fleet:
    """Satisfies penstock.types.deployment.Fleet. `run` it; everything else is called in the same loop."""

    def __init__(
        self,
        pools: Sequence[Pool],
        resolve: Resolve,
        engine: Callable[[str], Engine],
        *,
        client: http1.Client,
        clock: Clock | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called after each change that `replicas`, `unready` or `status` show, but for what
        comes by and by: the progress of a fetch.
        """
        own_clock = clock if clock is not None else SystemClock()
        self.newest_s = -math.inf
        self._changed = changed
        self._pools = {
            pool.name: _Pool(
                pool,
                engine(pool.engine),
                resolve,
                client,
                own_clock,
                became_ready=self._became_ready,
                changed=changed,
            )
            for pool in pools
        }
        self._by_id = {replica.name: replica for pool in self._pools.values() for replica in pool.replicas}

    async def run(self) -> None:
        """Until cancelled; then every engine process is stopped before this returns."""
        async with asyncio.TaskGroup() as group:
            for pool in self._pools.values():
                tasks.spawn(group, pool.run(), f"pool {pool.pool.name}")

    def _became_ready(self, at_s: float) -> None:
        self.newest_s = max(self.newest_s, at_s)

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]:
        """The ready ones."""
        return tuple(replica.view for replica in self._pools[pool].replicas if replica.view is not None)

    async def acquire(self, pool: str, wait_s: float, prefer: str = "") -> ReplicaView:
        return await self._pools[pool].acquire(wait_s, prefer)

    def unready(self, pool: str) -> PenstockError:
        """What a request hears that cannot wait: ModelLoading or UpstreamUnavailable."""
        return self._pools[pool].unready()

    def suspect(self, replica: ReplicaView) -> None:
        self._by_id[replica.id].suspect(replica)
        self._changed()

    def release(self, replica: ReplicaView) -> None:
        self._by_id[replica.id].release()

    def status(self) -> list[PoolStatus]:
        return [pool.status() for pool in self._pools.values()]


class _Pool:
    def __init__(
        self,
        pool: Pool,
        engine: Engine,
        resolve: Resolve,
        client: http1.Client,
        clock: Clock,
        *,
        became_ready: Callable[[float], None],
        changed: Callable[[], None],
    ) -> None:
        self.pool = pool
        self.replicas = tuple(
            Replica(f"{pool.name}#{number}", pool, engine, client=client, clock=clock, changed=self._noted)
            for number in range(pool.replicas)
        )
        self._became_ready = became_ready
        self._tell = changed
        self._resolve = resolve
        self._clock = clock
        self._change: asyncio.Future[None] | None = None
        self._fetching: Progress | None = None
        self._first_report: tuple[float, int] | None = None  # when, and what was here already
        self._is_fetched = False
        self._error = ""

    async def run(self) -> None:
        path = await self._fetch()
        async with asyncio.TaskGroup() as group:
            for replica in self.replicas:
                tasks.spawn(group, replica.run(path, drain_s=DRAIN_S), f"replica {replica.name}")

    async def _fetch(self) -> str:
        failures = 0
        while True:
            self._first_report = None
            try:
                path = await self._resolve(self.pool.source, self._on_progress)
            except Exception as error:  # noqa: BLE001 - a full disk costs this pool its model, not all their server
                failures += 1
                self._error = (
                    error.message if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
                )
                self._fetching = None
                self._wake()
                wait_s = _again_in_s(error, failures)
                _log.warning(
                    "model not fetched",
                    pool=self.pool.name,
                    error=self._error,
                    again_in_s=round(wait_s, 1),
                )
                await asyncio.sleep(wait_s)
                continue
            self._error = ""
            self._is_fetched = True
            self._fetching = None
            self._tell()
            return path

    def _on_progress(self, progress: Progress) -> None:
        """Called from the fetching thread: each reference is replaced whole."""
        if self._first_report is None and progress.total_bytes:
            self._first_report = (self._clock.monotonic(), progress.done_bytes)
        self._fetching = progress

    async def acquire(self, wait_s: float, prefer: str = "") -> ReplicaView:
        """See types.deployment.Fleet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    ready = [replica for replica in self.replicas if replica.view is not None]
                    if ready:
                        chosen = min(ready, key=lambda one: (one.name != prefer, one.in_flight))
                        view = chosen.view
                        if view is not None:
                            chosen.acquire()
                            return view
                    if (failure := self._failure()) is not None:
                        raise failure
                    await self._changed()
        raise self._loading()

    def unready(self) -> PenstockError:
        return self._failure() or self._loading()

    def _failure(self) -> UpstreamUnavailable | None:
        if not self._is_fetched and self._error and self._fetching is None:  # else it is being tried again
            return UpstreamUnavailable(
                f"The model {self.pool.name} could not be fetched; the server's log says why.",
                detail=self._error,
            )
        if self._is_fetched and all(replica.state == "failed" for replica in self.replicas):
            reason = self.replicas[0].error if self.replicas else "it has no replicas"
            return UpstreamUnavailable(
                f"The model {self.pool.name} could not be loaded; the server's log says why.", detail=reason
            )
        return None

    def _loading(self) -> ModelLoading:
        progress, name = self._fetching, self.pool.name
        if self._is_fetched:
            states = ", ".join(replica.state for replica in self.replicas)
            return ModelLoading(f"The model {name} is loading ({states}).", retry_after_s=LOADING_RETRY_S)
        if progress is None or not progress.total_bytes or not progress.done_bytes:
            return ModelLoading(f"The model {name} is being fetched.", retry_after_s=LOADING_RETRY_S)
        share = progress.done_bytes / progress.total_bytes
        said = f"{progress.step}, {share:.0%} of {progress.total_bytes / 1e6:.0f} MB"
        eta_s = self._eta_s(progress.done_bytes, progress.total_bytes)
        if eta_s is None:
            return ModelLoading(f"The model {name} is being fetched: {said}.", retry_after_s=LOADING_RETRY_S)
        return ModelLoading(
            f"The model {name} is being fetched: {said}, about {eta_s:.0f} s left.",
            retry_after_s=min(max(eta_s, LOADING_RETRY_S), _MAX_RETRY_S),
        )

    def _eta_s(self, done: int, total: int) -> float | None:
        """At the speed since the first report: what an earlier fetch left here came at no speed at all."""
        if self._first_report is None:
            return None
        began_s, resumed = self._first_report
        if done <= resumed:
            return None
        return (self._clock.monotonic() - began_s) * (total - done) / (done - resumed)

    def _noted(self) -> None:
        for replica in self.replicas:
            if replica.view is not None and replica.view.ready_s is not None:
                self._became_ready(replica.view.ready_s)
        self._wake()

    def _wake(self) -> None:
        self._tell()
        if self._change is not None:
            self._change.set_result(None)
            self._change = None

    async def _changed(self) -> None:
        """Until the next `_wake`. Waiters come back in the order they came."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._change)

    def status(self) -> PoolStatus:
        return PoolStatus(
            pool=self.pool.name,
            engine=self.pool.engine,
            source=self.pool.source,
            replicas=tuple(
                ReplicaStatus(
                    replica.name,
                    replica.state,
                    replica.pid,
                    replica.in_flight,
                    replica.restarts,
                    replica.error,
                    dict(replica.view.info) if replica.view is not None else {},
                )
                for replica in self.replicas
            ),
            fetching=None if self._is_fetched else self._fetching,
            error=self._error,
        )


def _again_in_s(error: Exception, failures: int) -> float:
    """What somebody has to mend first (no such model, a full disk, a wrong checksum) is tried slowly."""
    waits_for_people = isinstance(error, PenstockError) and (
        not error.retryable or isinstance(error, UpstreamInvalid)
    )
    return RETRY_FAILED_S if waits_for_people else backoff_s(failures, random.random())  # noqa: S311 - jitter
