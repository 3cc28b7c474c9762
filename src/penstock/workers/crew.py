"""Worker processes, kept alive.

    a worker                          what follows
    --------------------------------  -------------------------------------------------------------------
    ends before it ever accepted,     WorkerFailed: the configuration, or the machine, is at fault, and the
    while none has yet                log says why
    ends later                        another life of it, after a while: 0.5 s, doubled up to 30 s, from the
                                      start again after a minute of accepting
    hangs: it has said nothing for    is killed, and the log says so; then the same
    half a minute (watch.py), or has
    not accepted for five minutes
    has not ended `drain_s` and a     is killed
    little after it was told to stop

A worker hears that we are gone by the end of its socket, and on Linux is killed by the kernel.
"""

import asyncio
import contextlib
import itertools
import random
import socket
import sys

import structlog

from penstock.lib import exits, tasks
from penstock.lib.clock import Clock
from penstock.runtime.replica import STABLE_S, backoff_s
from penstock.workers import watch
from penstock.workers.hub import Hub, Worker
from penstock.workers.link import Link
from penstock.workers.messages import Begin, Stop
from penstock.workers.sockets import Address

MODULE = "penstock.worker"
STOP_S = 20.0  # beyond its drain: to cut what is left, to settle what it holds, and to write its log
AT_ONCE_S = 10.0
START_S = 300.0  # to accept: to compile, to open a store that may be slow to answer

_log = structlog.get_logger("penstock.workers")


class WorkerFailed(Exception):
    """A worker ended before all were ready. The message says how."""


class Crew:
    """`run` until `stop` was called and all have ended. `work`: what each is to do, pickled."""

    def __init__(
        self, size: int, work: bytes, *, hub: Hub, address: Address, clock: Clock, drain_s: float
    ) -> None:
        self.text: str | None = None  # of the configuration file that was taken last, if one was
        self.restarts = 0
        self.hangs = 0
        self.accepting = asyncio.Event()  # all of them, for the first time
        self._size = size
        self._work = work
        self._hub = hub
        self._address = address
        self._clock = clock
        self._drain_s = drain_s
        self._lives = itertools.count()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    @property
    def size(self) -> int:
        return self._size

    @property
    def ready(self) -> int:
        return sum(worker.is_accepting for worker in self._hub.workers)

    def stop(self) -> None:
        """A second time: without waiting for those who are answered."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()
        self._hub.stop()

    async def run(self) -> None:
        """Raises WorkerFailed. A cancellation kills what is left."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._size):
                tasks.spawn(group, self._keep(number), f"worker {number}")

    async def _keep(self, number: int) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                lived_s, how = await self._live(number)
            except OSError as exc:  # no memory, no file left to open: there may be later
                lived_s, how = 0.0, f"cannot be started: {exc}"
            if self._stopping.is_set():
                return
            if not self.accepting.is_set():
                raise WorkerFailed(f"worker {number} {how} before all were ready; its log lines say why.")
            failures = 1 if lived_s >= STABLE_S else failures + 1
            self.restarts += 1
            wait_s = backoff_s(failures, random.random())  # noqa: S311 - jitter
            _log.error("worker ended", worker=number, how=how, again_in_s=round(wait_s, 1))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()

    async def _live(self, number: int) -> tuple[float, str]:
        """One life: how long it accepted, and how it ended."""
        worker = Worker(number, next(self._lives))
        ours, theirs = socket.socketpair()
        child: asyncio.subprocess.Process | None = None
        link: Link | None = None
        try:
            with theirs, self._address.for_worker() as door:
                child = await _start(theirs, door)
            link = worker.link = await Link.open(
                ours, lambda message: self._hub.heard(worker, message), lambda: self._hub.left(worker)
            )
            worker.send(Begin(number, self._size, self._work, self.text))
            self._hub.joined(worker)
            if self._stopping.is_set():  # said while this one was being started
                worker.send(Stop())
            accepted_s = await self._wait(worker, child)
            is_late = accepted_s is None and child.returncode is None
        finally:
            if child is not None and child.returncode is None:
                child.kill()
            if child is not None:
                await child.wait()
            self._hub.left(worker)
            if link is not None:
                await link.aclose()
            else:
                ours.close()
        lived_s = 0.0 if accepted_s is None else self._clock.monotonic() - accepted_s
        if is_late:
            return lived_s, f"did not accept connections within {START_S:g} s"
        return lived_s, exits.ending(child.returncode or 0)

    async def _wait(self, worker: Worker, child: asyncio.subprocess.Process) -> float | None:
        """Until it has ended, or is to be killed. When it began to accept."""
        watching: tasks.Tasks = set()
        ended = tasks.spawn(watching, child.wait(), "end of a worker")
        accepted = tasks.spawn(watching, worker.accepted.wait(), "worker accepts")
        told = tasks.spawn(watching, self._time_to_go(), "a worker's time")
        accepted_s: float | None = None
        try:
            await asyncio.wait((ended, accepted, told), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if accepted.done() and not ended.done():
                accepted_s = self._clock.monotonic()
                if self.ready == self._size:
                    self.accepting.set()
                silence = watch.silence(worker, watch.LOOK_S, watch.SILENT_S)
                hangs = tasks.spawn(watching, silence, "silence of a worker")
                await asyncio.wait((ended, told, hangs), return_when=asyncio.FIRST_COMPLETED)
                if hangs.done() and not ended.done():
                    self.hangs += 1
                    _log.error(
                        "a worker hangs and is killed",
                        worker=worker.number,
                        pid=child.pid,
                        silent_s=watch.SILENT_S,
                    )
        finally:
            for task in tuple(watching):
                await tasks.cancel_and_wait(task)
        return accepted_s

    async def _time_to_go(self) -> None:
        await self._stopping.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s + STOP_S):
                await self._at_once.wait()
                await asyncio.sleep(AT_ONCE_S)


async def _start(control: socket.socket, door: socket.socket) -> asyncio.subprocess.Process:
    passed = (control.fileno(), door.fileno())
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        MODULE,
        *map(str, passed),
        pass_fds=passed,
        stdin=asyncio.subprocess.DEVNULL,
    )
