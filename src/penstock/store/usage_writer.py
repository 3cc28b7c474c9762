"""Takes the rows of calls without waiting, and writes them in batches.

    waiting rows          what happens
    --------------------  -----------------------------------------------------------------------------------
    some, for 0.5 s       they are written in one transaction
    BATCH                 likewise, at once
    the store fails       they wait; it is tried again after 0.5 s, 1 s, 2 s ... 10 s
    `capacity`            drop-and-count: what comes now is dropped, and counted
                          refuse: `check` raises, so that no call begins whose usage might be lost; calls
                          that run already have as many places again
    one that is wrong     is found by halving its batch, logged and dropped
    kill -9               the rows that wait are lost: of half a second, or of as long as the store fails

A batch that was not answered for is written again as it was; the store knows one that it has.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import deque
from typing import Final, Literal

import structlog

from penstock.types.errors import StoreUnavailable
from penstock.types.usage_store import UsageRow, UsageStore

OnFailure = Literal["drop-and-count", "refuse"]

BATCH: Final = 5_000
CAPACITY: Final = 50_000
FLUSH_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0

_log = structlog.get_logger("penstock.store")


class UsageWriter:
    """`written`, `dropped`, `waiting`: rows. One task runs `run`."""

    def __init__(
        self, store: UsageStore, *, on_failure: OnFailure = "drop-and-count", capacity: int = CAPACITY
    ) -> None:
        self.written = 0
        self.dropped = 0
        self._store = store
        self._rows: list[UsageRow] = []
        self._batches: deque[list[UsageRow]] = deque()  # taken, and not yet known to be written
        self._taken = 0
        self._capacity = capacity
        self._refuses = on_failure == "refuse"
        self._most = capacity * 2 if self._refuses else capacity
        self._seq = itertools.count(secrets.randbits(40))  # of other processes in the same microsecond
        self._has_batch = asyncio.Event()
        self._writing = asyncio.Lock()
        self._pause_s = 0.0

    @property
    def waiting(self) -> int:
        return len(self._rows) + self._taken

    @property
    def is_failing(self) -> bool:
        return self._pause_s > 0

    def write(self, row: UsageRow) -> None:
        """Never waits, never raises."""
        rows = self._rows
        if len(rows) + self._taken >= self._most:
            self.dropped += 1
            return
        row.seq = next(self._seq)
        rows.append(row)
        if len(rows) >= BATCH:
            self._has_batch.set()

    def check(self) -> None:
        """Raises StoreUnavailable while no call may begin."""
        if self._refuses and self.waiting >= self._capacity:
            raise StoreUnavailable(
                "Usage cannot be recorded at present, so no call is taken; try again.",
                retry_after_s=self._pause_s or FLUSH_S,
            )

    async def run(self) -> None:
        """Writes until it is cancelled; `aclose` then writes what is left."""
        while True:
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_S):
                        await self._has_batch.wait()
            async with self._writing:
                self._take()
                await self._write_taken()  # what comes meanwhile waits for its turn: small batches cost more

    async def flush(self) -> int:
        """Writes all that waits; how many rows still do, because the store fails."""
        async with self._writing:
            while self._take():
                if not await self._write_taken():
                    break
        return self.waiting

    async def aclose(self) -> None:
        """Writes what is left; what the store does not take is lost, and told."""
        if left := await self.flush():
            _log.error("usage is lost: it could not be written before the end", rows=left)

    def _take(self) -> bool:
        """Whether there is anything to write."""
        rows, self._rows = self._rows, []
        self._batches.extend(rows[at : at + BATCH] for at in range(0, len(rows), BATCH))
        self._taken += len(rows)
        self._has_batch.clear()
        return bool(self._batches)

    async def _write_taken(self) -> bool:
        """False once the store fails."""
        while self._batches:
            if not await self._write_first():
                return False
        return True

    async def _write_first(self) -> bool:
        """Whether to go on."""
        batch = self._batches[0]
        try:
            await self._store.add_usage(batch)
        except StoreUnavailable as exc:
            if not self._pause_s:
                _log.error("usage cannot be written; its rows wait", reason=exc.message, rows=self.waiting)
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FLUSH_S)
            return False
        except Exception:  # noqa: BLE001 - whatever it is, it must not stop the other rows
            self._batches.popleft()
            if len(batch) == 1:
                _log.exception("a row of usage is wrong; it is dropped", id=batch[0].id)
                self.dropped += 1
                self._taken -= 1
            else:
                half = len(batch) // 2
                self._batches.extendleft((batch[half:], batch[:half]))
            return True
        self._batches.popleft()
        self._taken -= len(batch)
        self.written += len(batch)
        if self._pause_s:
            self._pause_s = 0.0
            _log.info("usage is written again", waiting=self.waiting)
        return True
