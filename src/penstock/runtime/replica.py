"""One replica: an engine process kept alive by a single-writer state machine.

Only `Replica.run` changes the state, by `step`, which is this table and nothing else; an event that has no
entry in the current state is a bug and raises. Everybody else reads immutable views.

    state      event -> next state
    ---------  ---------------------------------------------------------------------------------------------
    stopped    start -> starting;    gave_up -> failed
    starting   listening -> warming; exited -> stopped; refused -> failed; stop -> stopping
    warming    answered -> ready;    exited -> stopped; refused -> failed; stop -> stopping
    ready      exited -> stopped;    hung -> stopping;  stop -> draining
    draining   drained -> stopping;  exited -> stopped
    stopping   exited -> stopped
    failed     start -> starting;    stop -> stopped

    starting   the process runs; its model loads                 bounded by 5 min + 20 s per GiB of model
    warming    it listens; a real inference is under way         nothing is ready before one was answered
    ready      gets requests; after one that could not reach it, only once it has answered a health check
    stopped    between two lives after a crash: back-off, doubled from 0.5 s to 30 s, from the start again
               after a minute of being ready
    failed     it said it cannot load, or died MAX_FAILURES times without ever being ready:
               tried again every RETRY_FAILED_S, because somebody may have mended the file
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from penstock.lib import http1, tasks
from penstock.lib.clock import Clock
from penstock.runtime.process import Exited, LoadFailed, Process
from penstock.types.deployment import Address, Command, Engine, Pool, ReplicaState, ReplicaView

Event = Literal["start", "listening", "answered", "exited", "refused", "hung", "drained", "stop", "gave_up"]

TRANSITIONS: Mapping[tuple[ReplicaState, Event], ReplicaState] = {
    ("stopped", "start"): "starting",
    ("stopped", "gave_up"): "failed",
    ("starting", "listening"): "warming",
    ("starting", "exited"): "stopped",
    ("starting", "refused"): "failed",
    ("starting", "stop"): "stopping",
    ("warming", "answered"): "ready",
    ("warming", "exited"): "stopped",
    ("warming", "refused"): "failed",
    ("warming", "stop"): "stopping",
    ("ready", "exited"): "stopped",
    ("ready", "hung"): "stopping",
    ("ready", "stop"): "draining",
    ("draining", "drained"): "stopping",
    ("draining", "exited"): "stopped",
    ("stopping", "exited"): "stopped",
    ("failed", "start"): "starting",
    ("failed", "stop"): "stopped",
}

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 60.0  # ready for so long: the next crash is a new story
MAX_FAILURES = 5
RETRY_FAILED_S = 60.0
LOAD_S = 300.0
LOAD_S_PER_GIB = 20.0
HEALTH_EVERY_S = 10.0
HEALTH_TIMEOUT_S = 5.0
HEALTH_MISSES = 3
STOP_GRACE_S = 10.0
# The first inference reads a memory-mapped model from the disk: the load deadline bounds it, nothing else.
_UNTIL_DEADLINE = http1.Timeouts(first_byte_s=None, between_s=None, total_s=None)

_log = structlog.get_logger("penstock.runtime")


def step(state: ReplicaState, event: Event) -> ReplicaState:
    """The next state. Raises KeyError for an event that has no place in this state."""
    return TRANSITIONS[state, event]


def backoff_s(failures: int, roll: float) -> float:
    """How long to wait after the n-th failure in a row (n >= 1), with `roll` in [0, 1) of jitter."""
    return float(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 10))) * (0.5 + roll / 2)


def load_deadline_s(model_path: str) -> float:
    """Loading reads the file once; a disk that gives 50 MiB/s is slow but not broken."""
    path = Path(model_path)
    try:
        size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.iterdir())
    except OSError:
        size = 0
    return LOAD_S + LOAD_S_PER_GIB * size / 2**30


class Replica:
    """Owner of one engine process. `run` until cancelled; `changed` is called after every change of state."""

    def __init__(
        self,
        name: str,
        pool: Pool,
        engine: Engine,
        *,
        client: http1.Client,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.state: ReplicaState = "stopped"
        self.view: ReplicaView | None = None  # set while ready
        self.in_flight = 0
        self.restarts = 0
        self.error = ""  # why the last life ended
        self.pid: int | None = None
        self.log_tail: tuple[str, ...] = ()
        self._pool = pool
        self._engine = engine
        self._client = client
        self._clock = clock
        self._changed = changed
        self._idle = asyncio.Event()
        self._idle.set()
        self._suspicion: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def acquire(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def suspect(self, view: ReplicaView) -> None:
        """Somebody could not reach it: it may have died so recently that we do not know. Asks it at once."""
        if self.view is view:
            self.view = None
            if not self._suspicion.done():
                self._suspicion.set_result(None)

    def release(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def run(self, model_path: str, *, drain_s: float) -> None:
        """Lives until cancelled; then drains for at most `drain_s` and stops the process."""
        failures = 0
        try:
            while True:
                ready_at = await self._live(model_path, drain_s)
                lived_s = 0.0 if ready_at is None else self._clock.monotonic() - ready_at
                failures = 1 if lived_s >= STABLE_S else failures + 1
                self.restarts += 1
                if self.state == "stopped" and ready_at is None and failures >= MAX_FAILURES:
                    self.error = f"gave up after {failures} tries: {self.error}"
                    self._on("gave_up")
                wait_s = RETRY_FAILED_S if self.state == "failed" else backoff_s(failures, random.random())  # noqa: S311 - jitter
                self._tell(wait_s)
                await asyncio.sleep(wait_s)
        finally:
            if self.state == "failed":
                self._on("stop")

    def _tell(self, again_in_s: float) -> None:
        _log.warning(
            "engine ended",
            replica=self.name,
            state=self.state,
            error=self.error,
            again_in_s=round(again_in_s, 1),
            log=self.log_tail[-5:],
        )

    async def _live(self, model_path: str, drain_s: float) -> float | None:
        """One life of the process. Returns when it was ready first; None if it never was."""
        self._on("start")
        process: Process | None = None
        ready_at: float | None = None
        deadline_s = LOAD_S
        try:
            deadline_s, command = await asyncio.to_thread(self._prepare, model_path)
            async with asyncio.timeout(deadline_s):
                process = await Process.start(command)
                self.pid = process.pid
                info = await process.ready()
                view = self._view(process, info)
                self._on("listening")
                await self._warm(process, view)
            ready_at = self._clock.monotonic()
            self.view = view = msgspec.structs.replace(view, ready_s=ready_at)
            self._on("answered")
            self.error = await self._watch(process, view)
        except LoadFailed as exc:
            self.error = str(exc)
            self._on("refused")
        except Exited as exc:
            self.error = str(exc)
        except TimeoutError:
            self.error = f"was not ready within {deadline_s:g} s"
        except asyncio.CancelledError:
            await self._drain(drain_s)
            raise
        finally:
            self.view = None
            self.pid = None
            try:
                if process is not None:
                    self.log_tail = tuple(process.log)
                    await process.stop(STOP_GRACE_S)
            finally:  # a cancellation during the stop kills the process at once: it has exited, too
                if self.state != "failed":
                    self._on("exited")
        return ready_at

    def _prepare(self, model_path: str) -> tuple[float, Command]:
        """What needs the disk: in a thread. The process itself starts on ours: its life hangs on it."""
        return load_deadline_s(model_path), self._engine.command(self._pool, model_path)

    async def _drain(self, drain_s: float) -> None:
        was_ready = self.state == "ready"
        self.view = None
        self._on("stop")
        if was_ready:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._idle.wait()
            self._on("drained")

    async def _warm(self, process: Process, view: ReplicaView) -> None:
        """A real inference. Raises Exited, or LoadFailed with what it answered instead of 200."""
        probe = self._engine.probe(self._pool)
        running: tasks.Tasks = set()
        ended = tasks.spawn(running, process.wait(), "engine-exit")
        asked = tasks.spawn(
            running, self._ask(view, "POST", probe.path, probe.body, _UNTIL_DEADLINE), "engine-probe"
        )
        try:
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise Exited(ended.result())
            status, body = asked.result()
            if status != 200:
                raise LoadFailed(f"the first inference was answered with {status}: {body[:300]!r}")
        except http1.HTTPClientError as exc:
            await asyncio.wait((ended,), timeout=1)
            raise Exited(process.ending() if ended.done() else f"did not answer: {exc}") from exc
        finally:
            for task in (ended, asked):
                await tasks.cancel_and_wait(task)

    async def _watch(self, process: Process, view: ReplicaView) -> str:
        """Until the process ends, or does not answer its health check: why."""
        running: tasks.Tasks = set()
        ended = tasks.spawn(running, process.wait(), "engine-exit")
        try:
            misses = 0
            while misses < HEALTH_MISSES:
                await asyncio.wait(
                    (ended, self._suspicion), timeout=HEALTH_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                if ended.done():
                    return ended.result()
                if self._suspicion.done():
                    self._suspicion = asyncio.get_running_loop().create_future()
                if not await self._is_healthy(view):
                    misses += 1
                    continue
                misses = 0
                if self.view is None:
                    self.view = view
                    self._changed()
            self._on("hung")
            return f"did not answer {HEALTH_MISSES} health checks in a row"
        finally:
            await tasks.cancel_and_wait(ended)

    async def _is_healthy(self, view: ReplicaView) -> bool:
        root = msgspec.structs.replace(view, address=view.address._replace(path=""))
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                status, _ = await self._ask(root, "GET", "/health", b"")
        except (http1.HTTPClientError, TimeoutError):
            return False
        return status < 500

    async def _ask(
        self, view: ReplicaView, method: str, path: str, body: bytes, timeouts: http1.Timeouts | None = None
    ) -> tuple[int, bytes]:
        address = view.address
        origin = http1.Origin(address.scheme, address.host, address.port, address.uds)
        headers = [("content-type", "application/json"), *view.headers]
        response = await self._client.request(
            origin, method, address.path + path, headers, body, timeouts=timeouts or http1.Timeouts()
        )
        return response.status, await response.read(1 << 20)

    def _view(self, process: Process, info: dict[str, Any]) -> ReplicaView:
        address = Address(port=int(info.get("port") or 0), uds=info.get("uds"), path="/v1")
        headers = (("authorization", f"Bearer {process.key}"),)
        return ReplicaView(self.name, "ready", address, headers, info)

    def _on(self, event: Event) -> None:
        self.state = step(self.state, event)
        _log.debug("replica", replica=self.name, event_=event, state=self.state)
        self._changed()
