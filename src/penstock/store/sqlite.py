"""The store in one SQLite file: nothing to install.

    writer         one thread. What waits for it is written in one transaction, each job in a savepoint of its
                   own, so one that fails takes no other with it; then all hear of it at once
    two readers    threads with connections that cannot write: small reads do not wait for statements of usage

WAL, so readers never wait for the writer; synchronous=FULL, so what was answered survives a power cut.
Several processes may share the file: they wait for each other's transactions, at most `busy_s`.
"""

import asyncio
import contextlib
import functools
import itertools
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from penstock.lib.clock import Clock, SystemClock
from penstock.store import entities
from penstock.store.base import Make, ScriptedStore
from penstock.store.migrations import Migration
from penstock.store.sql import (
    Aside,
    Ask,
    BrokenReference,
    Dialect,
    Do,
    Load,
    Pause,
    Rows,
    Script,
    Step,
    statement,
)
from penstock.types.errors import InvalidRequest, PenstockError, SchemaMismatch, StoreFull, StoreUnavailable
from penstock.types.store import Change, Entity

T = TypeVar("T")

BUSY_S: Final = 5.0
POLL_S: Final = 0.5  # for changes of other processes
_AT_ONCE: Final = 256  # jobs of one transaction
_DROP_AT_ONCE: Final = 5_000  # calls: some milliseconds
_ROWS_AT_ONCE: Final = 64  # of one INSERT: each hands over the interpreter's lock, and waits for it
_INTERRUPTED_S: Final = 0.05  # until it is tried again
_OLDEST: Final = (3, 37)  # STRICT

_AILING: Final = tuple(
    f"SQLITE_{name}"
    for name in ("IOERR", "CORRUPT", "CANTOPEN", "READONLY", "PROTOCOL", "INTERRUPT", "NOMEM", "PERM", "AUTH")
)
_OF_WRITING: Final = tuple(
    f"SQLITE_{name}"
    for name in ("FULL", "CANTOPEN", "READONLY", "IOERR_WRITE", "IOERR_FSYNC", "IOERR_TRUNCATE")
)

_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",
    "PRAGMA journal_size_limit = 67108864",
)
_READER = ("PRAGMA query_only = ON", "PRAGMA temp_store = MEMORY", "PRAGMA mmap_size = 268435456")


class SQLiteStore(ScriptedStore):
    dialect: Dialect = "sqlite"
    refusals = (sqlite3.Error,)

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        known: Sequence[Migration] | None = None,
        busy_s: float = BUSY_S,
    ) -> None:
        super().__init__(clock or SystemClock(), known)
        path = path.expanduser()
        self.place = str(path)
        self._path = path
        self._busy_s = busy_s
        self._written = asyncio.Event()
        self._writer = _Writer(path, busy_s)
        self._small = _Reader(path, busy_s)
        self._heavy = _Reader(path, busy_s)

    async def open(self) -> None:
        """Makes the file, readable for its owner alone. Raises StoreUnavailable."""
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailable(f"SQLite is {sqlite3.sqlite_version}; the store needs 3.37 or newer.")
        try:
            await asyncio.to_thread(_make, self._path)
        except OSError as exc:
            raise StoreUnavailable(f"{self._path} cannot be used: {exc.strerror or exc}.") from exc
        await self._writer.start()
        await self._small.start()
        await self._heavy.start()

    async def require_writable(self) -> None:
        """Raises StoreUnavailable. Beside the file SQLite keeps its log."""
        if not await asyncio.to_thread(_is_writable, self._path):
            raise StoreUnavailable(
                f"The database {self._path} cannot be written: make it and its folder writable for who runs"
                " the server."
            )

    async def aclose(self) -> None:
        for lane in (self._heavy, self._small, self._writer):
            await lane.aclose()

    async def read(self, make: Make[T], /, *, is_heavy: bool = False) -> T:
        lane = self._heavy if is_heavy else self._small
        return await lane.run(make)

    async def run(self, make: Make[T], /) -> T:
        return await self._writer.run(make)

    async def write(self, changes: Sequence[Change], /, *, actor: str) -> tuple[Entity, ...]:
        rows = await super().write(changes, actor=actor)
        self._written.set()
        self._written = asyncio.Event()  # who waits holds the old one
        return rows

    async def wait_for_revision(self, after: int) -> int:
        while True:
            written = self._written  # before we look: what is written meanwhile wakes us
            now = await self.read(entities.revision)
            if now != after:
                return now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await written.wait()

    async def _drop_calls(self, before_us: int) -> int:
        def some() -> Script[int]:
            return len((yield Ask("usage.drop_some", {"before_us": before_us, "at_most": _DROP_AT_ONCE})))

        dropped = 0
        while count := await self.run(some):
            dropped += count
        return dropped

    async def copy_to(self, target: Path) -> None:
        """A copy of the whole file as it is at one moment, while others write.

        Raises StoreUnavailable, and InvalidRequest where `target` cannot be written.
        """
        await self._heavy.call(lambda connection: _copy(connection, target))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)


def _connect(path: Path, busy_s: float, pragmas: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=busy_s, cached_statements=512
    )
    connection.row_factory = sqlite3.Row
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.Error as exc:
        # Of the two only the copy is written.
        if getattr(exc, "sqlite_errorname", "").startswith(_OF_WRITING):
            raise InvalidRequest(f"{target} cannot be written: {exc}.") from exc
        raise


def drive(connection: sqlite3.Connection, script: Script[T]) -> T:
    """Runs a script to its end in the transaction that is open."""
    try:
        step = next(script)
        while True:
            try:
                rows = _do(connection, step)
            except sqlite3.IntegrityError as exc:
                if getattr(exc, "sqlite_errorname", "") != "SQLITE_CONSTRAINT_FOREIGNKEY":
                    raise
                step = script.throw(BrokenReference())
            else:
                step = script.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


def _do(connection: sqlite3.Connection, step: Step) -> Rows:
    match step:
        case Ask(name, values, words):
            rows: list[Any] = connection.execute(statement("sqlite", name, words), values).fetchall()
            return rows
        case Load(table, columns, loaded, at_once):
            _load(connection, table, columns, loaded, at_once)
        case Do(text):
            connection.execute(text)
        case Aside(what):
            return what()
        case Pause():
            _pause()
    return ()


def _pause() -> None:
    """Hands over the interpreter's lock and the processor, for some 60 us (Linux's slack of timers)."""
    time.sleep(0)


def _load(
    connection: sqlite3.Connection,
    table: str,
    columns: tuple[str, ...],
    rows: Iterable[tuple[Any, ...]],
    at_once: int | None,
) -> None:
    """By halves in the end: a statement of each length would have to be compiled."""
    rows = iter(rows)
    size = at_once or _ROWS_AT_ONCE
    while some := [*itertools.islice(rows, size)]:
        at, count = 0, size
        while at < len(some):
            while count > len(some) - at:
                count //= 2
            values = [*itertools.chain.from_iterable(some[at : at + count])]
            connection.execute(_insert(table, columns, count), values)
            at += count
        if at_once:
            _pause()


@functools.lru_cache(maxsize=64)
def _insert(table: str, columns: tuple[str, ...], count: int) -> str:
    places = ", ".join("?" * len(columns))
    rows = ", ".join([f"({places})"] * count)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {rows}"  # noqa: S608 - our own names


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Maps SQLite's errors to ours."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "") or ""
        if name == "SQLITE_FULL":
            raise StoreFull("The database's disk is full; nothing was written.") from exc
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StoreUnavailable("The database is locked by another process; try again.") from exc
        if name == "SQLITE_NOTADB":
            raise SchemaMismatch(f"{path} is no SQLite database.") from exc
        if name.startswith(_AILING):
            raise StoreUnavailable(f"The database {path} does not answer: {exc}.") from exc
        raise


Job = tuple[Make[Any], "Future[Any]"]


class _Reader:
    """A thread with a connection that only reads."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self._path = path
        self._busy_s = busy_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    async def start(self) -> None:
        await self.call(lambda _: None)

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        closing = asyncio.wrap_future(self._thread.submit(self._close))
        while not closing.done():  # nobody waits for a long statement any more, nor for one that begins now
            if self._connection is not None:
                with contextlib.suppress(sqlite3.ProgrammingError):  # it was closed just now
                    self._connection.interrupt()
            await asyncio.wait({closing}, timeout=_INTERRUPTED_S)
        self._thread.shutdown(wait=False)

    async def run(self, make: Make[T]) -> T:
        return await self.call(lambda connection: _read(connection, make()))

    async def call(self, what: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_closed:
            raise StoreUnavailable("The database is closed.")
        return await asyncio.wrap_future(self._thread.submit(self._call, what))

    def _call(self, what: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_closed:
            raise StoreUnavailable("The database is closed.")
        with _told(self._path):
            if self._connection is None:
                self._connection = _connect(self._path, self._busy_s, _READER)
            return what(self._connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read(connection: sqlite3.Connection, script: Script[T]) -> T:
    connection.execute("BEGIN")
    try:
        return drive(connection, script)
    finally:
        if connection.in_transaction:  # what went wrong may have ended it
            connection.execute("ROLLBACK")


class _Writer:
    """The thread that writes; the only one in this process."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self._path = path
        self._busy_s = busy_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._opened: Future[None] = Future()

    async def start(self) -> None:
        self._thread.start()
        await asyncio.wrap_future(self._opened)

    async def aclose(self) -> None:
        """Writes what waits, and ends."""
        self._is_closed = True  # what came after the end in the queue would never be answered
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def run(self, make: Make[T]) -> T:
        if self._is_closed or not self._thread.is_alive():
            raise StoreUnavailable("The database is closed.")
        future: Future[T] = Future()
        self._jobs.put((make, future))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        try:
            with _told(self._path):
                connection = _connect(self._path, self._busy_s, _WRITER)
            file = _File(self._path)
        except (PenstockError, sqlite3.Error) as exc:
            self._opened.set_exception(exc)
            return
        self._opened.set_result(None)
        with contextlib.closing(connection):
            while jobs := self._take():
                _write(connection, file, jobs)
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA optimize")

    def _take(self) -> list[Job]:
        """What waits, at least one; nothing at the end."""
        jobs: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) >= _AT_ONCE:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
        if jobs:
            self._jobs.put(None)  # first what came before the end
        return jobs


class _File:
    """What was opened. SQLite would go on with a file that has no name any more, and nobody would find it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = self._found()

    def require(self) -> None:
        """Raises StoreUnavailable."""
        if self._found() != self._opened:
            raise StoreUnavailable(
                f"The database {self.path} was moved or deleted while it is used: nothing is written. Put it"
                " back, or restart."
            )

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _write(connection: sqlite3.Connection, file: _File, jobs: Sequence[Job]) -> None:
    wanted = [job for job in jobs if job[1].set_running_or_notify_cancel()]
    try:
        file.require()
    except StoreUnavailable as exc:
        for _, future in wanted:
            _answer(future, exc)
        return
    try:
        answers = _transaction(connection, file.path, [make for make, _ in wanted])
    except Exception as exc:  # noqa: BLE001 - each job hears of it
        if len(wanted) == 1:
            _answer(wanted[0][1], exc)
        else:  # the guilty one took the others' transaction with it
            for make, future in wanted:
                _write_alone(connection, file.path, make, future)
        return
    for (_, future), answer in zip(wanted, answers, strict=True):
        _answer(future, answer)


def _write_alone(connection: sqlite3.Connection, path: Path, make: Make[Any], future: "Future[Any]") -> None:
    try:
        _answer(future, _transaction(connection, path, [make])[0])
    except Exception as exc:  # noqa: BLE001 - told to who waits
        _answer(future, exc)


class _Failed(Exception):
    """What a job alone failed with."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


def _answer(future: "Future[Any]", answer: Any) -> None:
    with contextlib.suppress(InvalidStateError):
        match answer:
            case _Failed(cause=cause):
                future.set_exception(cause)
            case Exception():
                future.set_exception(answer)
            case _:
                future.set_result(answer)


def _transaction(connection: sqlite3.Connection, path: Path, jobs: Sequence[Make[Any]]) -> list[Any]:
    """The answer of each job, or how it failed. Raises when nothing was written."""
    with _told(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [_job(connection, path, make) for make in jobs]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return answers


def _job(connection: sqlite3.Connection, path: Path, make: Make[Any]) -> Any:
    connection.execute("SAVEPOINT job")
    try:
        with _told(path):
            answer = drive(connection, make())
    except Exception as exc:
        if not connection.in_transaction:  # a full disk may end it all
            raise
        connection.execute("ROLLBACK TO job")
        answer = _Failed(exc)
    connection.execute("RELEASE job")
    return answer
