"""Who is taken for a worker that hangs, and who is not."""

import asyncio
import contextlib
import select
import socket
import threading

import pytest

from penstock.lib import tasks
from penstock.workers import watch
from penstock.workers.link import Link
from penstock.workers.messages import Any_, Busy, encode

LOOK_S = 0.05
SILENT_S = 1.0


class Worker:
    """The other end of a link, in a thread of its own: it speaks while our loop stands still."""

    def __init__(self) -> None:
        self.heard = 0
        self._speaks = threading.Event()
        self._speaks.set()
        self._is_over = threading.Event()
        self._ours, self._theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    async def open(self) -> Link:
        self._thread.start()
        return await Link.open(self._ours, self._hear, lambda: None)

    def hang(self) -> None:
        self._speaks.clear()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._theirs.close()

    def _run(self) -> None:
        said = encode(Busy({}, {}))
        while not self._is_over.wait(LOOK_S / 2):
            if self._speaks.is_set():
                self._theirs.sendall(len(said).to_bytes(4, "big") + said)

    def _hear(self, _: Any_) -> None:
        self.heard += 1


@pytest.mark.timeout(60)
async def test_time_that_we_missed_ourselves_is_no_silence() -> None:
    worker = Worker()
    link = await worker.open()
    running: tasks.Tasks = set()
    silent = tasks.spawn(running, watch.silence(worker, LOOK_S, SILENT_S), "silence")
    try:
        for _ in range(2):
            await asyncio.sleep(LOOK_S)
            select.select([], [], [], SILENT_S)  # the loop stands still, as while this process is stopped
            heard = worker.heard
            while worker.heard == heard:
                await asyncio.sleep(0)
            assert not silent.done()
        worker.hang()
        await silent
    finally:
        worker.close()
        await tasks.cancel_and_wait(silent)
        with contextlib.suppress(OSError):
            await link.aclose()
