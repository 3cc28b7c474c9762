"""Copies of a store, and from one backend into the other.

    backup     SQLite: a file of SQLite's own, copied while others write; PostgreSQL: JSON lines, compressed
    restore    either of the two into either backend, in one transaction: all of it or nothing

A dump, line by line:

    {"penstock_store": 1, "schema": [1, 2], "revision": 7}
    {"table": "teams", "columns": ["id", ...]}      then one array per row, in the order of the primary key
    {"rows": 1234}                                  the end; a dump without it was cut off

Restoring makes the schema anew as it was when the copy was made, fills it, and then brings it up to date, so
an old copy can be restored by a newer release. Leases are not copied.
"""

import asyncio
import contextlib
import gzip
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from penstock.store import entities, migrations
from penstock.store.base import ScriptedStore
from penstock.store.sql import Aside, Ask, BrokenReference, Load, Rows, Script
from penstock.store.sqlite import SQLiteStore
from penstock.types.errors import Conflict, InvalidRequest, SchemaMismatch
from penstock.types.usage_store import DAY_US

VERSION: Final = 1
_AT_ONCE: Final = 5_000  # rows
_LEVEL: Final = 5  # of compression
_SQLITE: Final = b"SQLite format 3\0"
_GZIP: Final = b"\x1f\x8b"

# Each after those that it names, with its primary key.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "teams": ("id",),
    "team_terms": ("team", "since"),
    "users": ("id",),
    "memberships": ("id",),
    "service_accounts": ("id",),
    "keys": ("id",),
    "routes": ("id",),
    "webhooks": ("id",),
    "changes": ("revision", "seq"),
    "usage_dims": ("id",),
    "usage": ("time_us", "seq"),
    "usage_prices": ("version",),
    "usage_hours": ("hour", "dim"),
    "usage_days": ("day", "dim"),
    "usage_team_hours": ("hour", "dim"),
    "usage_team_days": ("day", "dim"),
}

Report = Callable[[int], None]  # hears how many rows are done


class Head(msgspec.Struct):
    penstock_store: int
    schema: list[int]
    revision: int


class Chunk(NamedTuple):
    table: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


async def backup(store: ScriptedStore, target: Path, *, report: Report = lambda _: None) -> None:
    """Writes `target`, which appears when it is whole, readable for its owner alone.

    Raises InvalidRequest when there is nothing to copy, or no place for it, and OSError.
    """
    if not await store.read(migrations.applied):
        raise InvalidRequest(f"{store.place} is empty: there is nothing to copy.")
    if isinstance(store, SQLiteStore) and await asyncio.to_thread(_is_same, target, Path(store.place)):
        raise InvalidRequest(f"{target} is the database itself: name another file.")
    half = target.with_name(f"{target.name}.part")
    try:
        await asyncio.to_thread(_begin, half)
        if isinstance(store, SQLiteStore):
            await store.copy_to(half)
        else:
            lines = _Lines(half)
            try:
                await store.read(lambda: _dump(lines, report), is_heavy=True)
            finally:
                await asyncio.to_thread(lines.close)
        await asyncio.to_thread(half.replace, target)
    finally:
        await asyncio.to_thread(half.unlink, missing_ok=True)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _begin(half: Path) -> None:
    half.unlink(missing_ok=True)
    half.touch(mode=0o600)


async def restore(
    store: ScriptedStore, source: Path, *, force: bool = False, report: Report = lambda _: None
) -> int:
    """How many rows. `force`: what the target holds is thrown away; else it must be empty.

    Raises Conflict, SchemaMismatch, and InvalidRequest for a file that is no copy of a store.
    """
    copy = await asyncio.to_thread(open_copy, source)
    try:
        return await store.run(lambda: _restore(store, copy, force, report))
    except _misfits(store) as exc:
        said = str(exc) or "a row names one that there is not"
        said = said.splitlines()[0].rstrip(".")
        raise InvalidRequest(f"{source} cannot be restored: {said}. Nothing was restored.") from exc
    finally:
        await asyncio.to_thread(copy.close)


def _misfits(store: ScriptedStore) -> tuple[type[Exception], ...]:
    """What rows that somebody edited end in."""
    return (*store.refusals, BrokenReference, ValueError)


class _Lines:
    """The file of a dump. Opened by the script: one that is run again begins the file again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._file: gzip.GzipFile | None = None

    def begin(self, head: Head) -> Rows:
        self.close()
        with self._told():
            self._file = gzip.GzipFile(self._path, "wb", _LEVEL)
        return self.write(head)

    def write(self, *lines: Any) -> Rows:
        assert self._file is not None  # noqa: S101 - for the type checker
        with self._told():
            self._file.write(self._encoder.encode_lines(lines))
        return ()

    def write_rows(self, rows: Rows) -> Rows:
        return self.write(*([*dict(row).values()] for row in rows))

    def close(self) -> Rows:
        if self._file is not None:
            with self._told():
                self._file.close()
        return ()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A disk of ours that is full is not the database's."""
        try:
            yield
        except OSError as exc:
            raise InvalidRequest(f"{self._path} cannot be written: {exc.strerror or exc}.") from exc


def _dump(lines: _Lines, report: Report) -> Script[None]:
    applied = yield from migrations.applied()
    head = Head(VERSION, [row.number for row in applied], (yield from entities.revision()))
    yield Aside(partial(lines.begin, head))
    done = 0
    for table, order in TABLES.items():
        words = (
            ("table", table),
            ("order", ", ".join(order)),
            ("last", ", ".join(f":{one}" for one in order)),
        )
        if not (yield Ask("schema.has_table", {"table": table})):
            continue  # of a later migration
        rows = yield Ask("copy.first", {"limit": _AT_ONCE}, words)
        if rows:
            yield Aside(partial(lines.write, {"table": table, "columns": list(rows[0].keys())}))
        while rows:
            yield Aside(partial(lines.write_rows, rows))
            done += len(rows)
            report(done)
            last = {name: rows[-1][name] for name in order}
            rows = yield Ask("copy.next", {**last, "limit": _AT_ONCE}, words)
    yield Aside(partial(lines.write, {"rows": done}))
    yield Aside(lines.close)


class Copy:
    """A copy that was opened: `head`, then its rows; `close` when done."""

    def __init__(self, head: Head, chunks: Iterator[Chunk], close: Callable[[], None]) -> None:
        self.head = head
        self._chunks = chunks
        self.close = close

    def next(self) -> Chunk | None:
        return next(self._chunks, None)


def open_copy(path: Path) -> Copy:
    """Raises InvalidRequest, OSError."""
    with path.open("rb") as file:
        magic = file.read(len(_SQLITE))
    if magic == _SQLITE:
        return _of_sqlite(path)
    if magic.startswith(_GZIP):
        return _of_dump(path)
    raise InvalidRequest(f"{path} is no copy of a store: neither a SQLite file nor a compressed dump.")


def _of_sqlite(path: Path) -> Copy:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    try:
        schema = [
            row[0] for row in connection.execute("SELECT number FROM schema_migrations ORDER BY position")
        ]
        revision = connection.execute("SELECT value FROM revision").fetchone()[0]
        # else it reads on, whatever it finds
        wrong = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except (sqlite3.Error, TypeError) as exc:
        connection.close()
        raise InvalidRequest(f"{path} is no copy of a store: {exc}.") from exc
    if wrong != "ok":
        connection.close()
        said = wrong.splitlines()[-1]
        raise InvalidRequest(f"{path} is damaged: {said}. Nothing was restored.")

    def chunks() -> Iterator[Chunk]:
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            for table, order in TABLES.items():
                if table in names:
                    found = connection.execute(f"SELECT * FROM {table} ORDER BY {', '.join(order)}")  # noqa: S608 - our own names
                    columns = tuple(one[0] for one in found.description)
                    while rows := found.fetchmany(_AT_ONCE):
                        yield Chunk(table, columns, rows)
        except sqlite3.Error as exc:
            raise InvalidRequest(f"{path} cannot be read to its end: {exc}. Nothing was restored.") from exc

    return Copy(Head(VERSION, schema, revision), chunks(), connection.close)


def _of_dump(path: Path) -> Copy:
    file = gzip.open(path, "rb")  # noqa: SIM115 - closed by who restores
    try:
        head = msgspec.json.decode(file.readline(), type=Head)
    except (OSError, EOFError, msgspec.MsgspecError) as exc:
        file.close()
        raise InvalidRequest(f"{path} is no dump of a store: {exc}.") from exc
    if head.penstock_store != VERSION:
        file.close()
        raise SchemaMismatch(
            f"{path} is a dump of version {head.penstock_store}; this release reads {VERSION}."
        )
    return Copy(head, _chunks(path, file), file.close)


def _chunks(path: Path, file: gzip.GzipFile) -> Iterator[Chunk]:
    chunk = Chunk("", (), [])
    done = 0
    try:
        for line in file:
            said = msgspec.json.decode(line)
            if isinstance(said, list):
                if len(said) != len(chunk.columns):
                    raise ValueError(f"row {done} does not fit its table")
                chunk.rows.append(tuple(said))
                done += 1
                if len(chunk.rows) < _AT_ONCE:
                    continue
            if chunk.rows:
                yield chunk
                chunk = chunk._replace(rows=[])
            if isinstance(said, list):
                continue
            if "rows" in said:
                if said["rows"] != done:
                    break
                return
            if said["table"] not in TABLES:
                raise InvalidRequest(
                    f"{path} has a table {said['table']!r}, which this release does not know."
                )
            chunk = Chunk(said["table"], tuple(map(_column, said["columns"])), [])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as exc:
        raise InvalidRequest(f"{path} cannot be read to its end: {exc}. Nothing was restored.") from exc
    raise InvalidRequest(f"{path} is cut off after {done} rows. Nothing was restored.")


def _column(name: object) -> str:
    """It stands in a statement. Raises ValueError."""
    if not (isinstance(name, str) and name.isidentifier() and name.isascii()):
        raise ValueError(f"{name!r} is no column")
    return name


def _restore(store: ScriptedStore, copy: Copy, force: bool, report: Report) -> Script[int]:
    revision = yield from _make_room(store, force)
    yield from _make_schema(store, copy.head)
    done = 0
    while found := (yield Aside(_reads(copy))):
        chunk: Any = found[0]
        if chunk.table == "usage":
            at = chunk.columns.index("time_us")
            yield from store.make_days(sorted({row[at] // DAY_US for row in chunk.rows}))
        yield Load(chunk.table, chunk.columns, chunk.rows)
        done += len(chunk.rows)
        report(done)
    yield Ask("copy.serial")
    for phase in ("pre", "post"):
        for one in migrations.pending((yield from migrations.applied()), store.known, phase):
            yield from migrations.apply_one(one, store.known, store.dialect)
    # Above both: whoever waits for a change hears of this one.
    yield Ask("revision.raise", {"value": max(revision, copy.head.revision)})
    yield Ask("revision.next")
    return done


def _reads(copy: Copy) -> Callable[[], Rows]:
    def read() -> Any:
        chunk = copy.next()
        return () if chunk is None else (chunk,)

    return read


def _make_room(store: ScriptedStore, force: bool) -> Script[int]:
    """The target's revision; its tables are gone."""
    yield Ask("schema.hold")
    applied = yield from migrations.applied()
    if not applied:
        return 0
    migrations.check(applied, store.known)
    revision = yield from entities.revision()
    if not force:
        for table in TABLES:
            is_there = yield Ask("schema.has_table", {"table": table})
            if is_there and (yield Ask("copy.any", {}, (("table", table),))):
                raise Conflict(
                    f"{store.place} is not empty: it has {table}. Type --force to replace all of it."
                )
    for one in migrations.to_revert(applied, store.known, len(applied)):
        yield from migrations.revert_one(one, store.dialect)
    return revision


def _make_schema(store: ScriptedStore, head: Head) -> Script[None]:
    """As it was when the copy was made."""
    known = {one.number: one for one in store.known}
    for number in head.schema:
        if number not in known:
            raise SchemaMismatch(f"The copy was made by a newer release of Penstock (migration {number:04}).")
        yield from migrations.apply_one(known[number], store.known, store.dialect)
