"""The store in PostgreSQL, for several hosts: one setting, the same answers.

    pool        connections for reads and writes; a lost one is made anew, a read on it is asked again once
    listener    a connection of its own that hears of new revisions; while it is lost, they are asked for

Calls are partitioned by day, so that retention drops tables. A day's partition is made, with some days ahead,
by whoever first writes a call of that day.
"""

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from penstock.lib import pooler
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
    numbered,
    statement,
)
from penstock.types.errors import StoreFull, StoreUnavailable
from penstock.types.usage_store import DAY_US, UsageRow

T = TypeVar("T")

CHANNEL: Final = "penstock_revision"
CONNECT_S: Final = 5.0
COMMAND_S: Final = 60.0
ASK_EVERY_S: Final = 1.0  # for revisions: a pooler between may swallow notifications
ASK_LOST_S: Final = 0.5  # without a listener
DAYS_AHEAD: Final = 3
_CONNECTIONS: Final = 8
_ROWS_AT_ONCE: Final = 250  # of one INSERT: nobody is answered while their values are written down

# The server's, or the way to it, and not what was asked: the same may work soon.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
    OSError,
)
_FULL = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
_BUSY = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby; after a failover the URL leads to the new primary
)
_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


class PostgresStore(ScriptedStore):
    dialect: Dialect = "postgres"
    refusals = (asyncpg.PostgresError, asyncpg.DataError)

    def __init__(
        self, url: str, *, clock: Clock | None = None, known: Sequence[Migration] | None = None
    ) -> None:
        super().__init__(clock or SystemClock(), known)
        self.place = without_password(url)
        self._url = url
        self._pool: asyncpg.Pool[Any] | None = None
        self._listener: asyncpg.Connection[Any] | None = None
        self._listening = asyncio.Lock()
        self._told = asyncio.Event()
        self._days: set[int] = set()

    async def open(self) -> None:
        """Raises StoreUnavailable."""
        with _told(self.place):
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=_CONNECTIONS,
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                server_settings={"application_name": "penstock"},
            )

    async def aclose(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.terminate()
        if self._pool is not None:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def read(self, make: Make[T], /, *, is_heavy: bool = False) -> T:
        del is_heavy  # each has a connection of its own
        try:
            return await self._transaction(make, is_read=True)
        except (_Lost, entities.Replaced):
            return await self._transaction(make, is_read=True)

    async def run(self, make: Make[T], /) -> T:
        return await self._transaction(make, is_read=False)

    async def _transaction(self, make: Make[T], *, is_read: bool) -> T:
        if self._pool is None:
            raise StoreUnavailable("The database is closed.")
        with _told(self.place):
            async with self._pool.acquire(timeout=CONNECT_S) as connection:
                isolation = "repeatable_read" if is_read else "read_committed"
                try:
                    async with connection.transaction(isolation=isolation, readonly=is_read):
                        return await _drive(connection, make())
                except asyncpg.DataError:
                    raise
                except (*_LOST, asyncpg.ReadOnlySQLTransactionError):
                    connection.terminate()  # else the pool would clean it up, or keep it: it leads to nothing
                    raise

    # Revisions

    async def wait_for_revision(self, after: int) -> int:
        while True:
            told = self._told  # before we look: what is told meanwhile wakes us
            is_listening = await self._listen()
            now = await self.revision()
            if now != after:
                return now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S if is_listening else ASK_LOST_S):
                    await told.wait()

    async def _listen(self) -> bool:
        """Whether there is a listener, after an attempt to have one."""
        async with self._listening:
            if self._listener is not None and not self._listener.is_closed():
                return True
            try:
                connection = await asyncpg.connect(self._url, timeout=CONNECT_S)
                connection.add_termination_listener(self._wake)
                await connection.add_listener(CHANNEL, self._wake)
            except (*_LOST, *_REFUSED):
                return False
            self._listener = connection
            return True

    def _wake(self, *_: object) -> None:
        self._told.set()
        self._told = asyncio.Event()

    # Usage

    async def add_usage(self, rows: Sequence[UsageRow], /) -> None:
        try:
            await self._add_usage(rows)
        except asyncpg.CheckViolationError:  # a restore made the table anew, without the days that we made
            self._days.clear()
            await self._add_usage(rows)

    async def _add_usage(self, rows: Sequence[UsageRow]) -> None:
        for day in sorted({row.time_us // DAY_US for row in rows} - self._days):
            await self._make_days(day)
        await super().add_usage(rows)

    async def _make_days(self, first: int) -> None:
        days = range(first, first + DAYS_AHEAD + 1)
        await self.run(lambda: self.make_days(days))
        self._days.update(days)

    def make_days(self, days: Iterable[int]) -> Script[None]:
        yield Ask("usage.hold_days")
        for day in days:
            range_ = (("start", str(day * DAY_US)), ("stop", str((day + 1) * DAY_US)))
            yield Ask("usage.make_day", {}, (("table", partition(day)), *range_))

    async def _drop_calls(self, before_us: int) -> int:
        def drop() -> Script[int]:
            yield Ask("usage.hold_days")
            dropped = 0
            for row in (yield Ask("usage.days")):
                table = (("table", row["name"]),)
                if day_of(row["name"]) < before_us // DAY_US:
                    dropped += (yield Ask("usage.count_day", {}, table))[0]["value"]
                    yield Ask("usage.drop_day", {}, table)
            return dropped

        self._days.clear()
        return await self.run(drop)


def partition(day: int) -> str:
    return f"usage_{dt.date(1970, 1, 1) + dt.timedelta(days=day):%Y%m%d}"


def day_of(table: str) -> int:
    return (dt.date.fromisoformat(table.removeprefix("usage_")) - dt.date(1970, 1, 1)).days


def without_password(url: str) -> str:
    """For messages. What follows `?` may hold one, too."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))


class _Lost(StoreUnavailable):
    """The connection; a read may be asked again."""


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Maps PostgreSQL's errors to ours."""
    try:
        yield
    except asyncpg.DataError:  # an InterfaceError by descent: a value that is none of its column's
        raise
    except _FULL as exc:
        raise StoreFull("The database's disk is full; nothing was written.") from exc
    except _BUSY as exc:
        raise StoreUnavailable(f"The database is busy: {exc}.") from exc
    except _REFUSED as exc:
        raise StoreUnavailable(f"The database {place} refuses us: {exc}.") from exc
    except pooler.FORGETS as exc:
        raise StoreUnavailable(f"The database {place} cannot be used so: {pooler.REMEDY}.") from exc
    except _LOST as exc:
        raise _Lost(f"The database {place} cannot be reached: {exc or type(exc).__name__}.") from exc


async def _drive(connection: Any, script: Script[T]) -> T:
    """Runs a script to its end in the transaction that is open."""
    try:
        step = next(script)
        while True:
            try:
                rows = await _do(connection, step)
            except asyncpg.ForeignKeyViolationError:
                step = script.throw(BrokenReference())
            else:
                step = script.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _do(connection: Any, step: Step) -> Rows:
    match step:
        case Ask(name, values, words):
            text, names = numbered(statement("postgres", name, words))
            rows: list[Any] = await connection.fetch(text, *(values[name] for name in names))
            return rows
        case Load(table, columns, loaded, at_once):
            coming = iter(loaded)
            while some := await _next(coming, at_once):
                text = await _insert(connection, table, columns)
                await connection.execute(text, *zip(*some, strict=True))
        case Do(text):
            await connection.execute(text)
        case Aside(what):
            return await asyncio.to_thread(what)
        case Pause():
            await asyncio.sleep(0)
    return ()


async def _next(rows: Iterator[tuple[Any, ...]], at_once: int | None) -> list[tuple[Any, ...]]:
    """Those of one statement."""
    found: list[tuple[Any, ...]] = []
    while len(found) < _ROWS_AT_ONCE and (some := [*itertools.islice(rows, at_once or _ROWS_AT_ONCE)]):
        found += some
        if at_once:
            await asyncio.sleep(0)
    return found


_inserts: dict[tuple[str, tuple[str, ...]], str] = {}


async def _insert(connection: Any, table: str, columns: tuple[str, ...]) -> str:
    """Takes an array for each column.

    COPY would be as fast; but where a connection breaks in one, asyncpg leaves a future that nobody awaits.
    """
    text = _inserts.get((table, columns))
    if text is None:
        names = ", ".join(columns)
        places = ", ".join(f"${at}" for at in range(1, len(columns) + 1))
        one = await connection.prepare(f"INSERT INTO {table} ({names}) VALUES ({places})")  # noqa: S608 - our own names
        arrays = ", ".join(f"${at}::{type_.name}[]" for at, type_ in enumerate(one.get_parameters(), 1))
        text = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608 - likewise
        _inserts[table, columns] = text
    return text
