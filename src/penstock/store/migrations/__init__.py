"""The schema, step by step: `NNNN_name.pre.sql` adds, `NNNN_name.post.sql` takes away.

    pre     before the new release runs, while the old one still does, which must not notice. Works whether or
            not earlier post migrations were applied
    post    once the old release is gone: also for what that would not keep up to date

A file has a section `-- up` and one `-- down`; a statement below `-- sqlite` or `-- postgres` is for that
database alone. It is never edited once released: its checksum is recorded.

    what the database says            what becomes of it
    --------------------------------  ---------------------------------------------------------------------
    a migration that we have not      pre: fine, a newer release prepares itself; post: refused
    another checksum                  refused
    one of ours is missing, pre       SQLite: applied at start; PostgreSQL: refused unless `store.migrate: on`
    one of ours is missing, post      SQLite: at start where nobody holds a lease; PostgreSQL: waits for
                                      `store migrate --post`
"""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final, Literal, NamedTuple

from penstock.store.sql import WORDS, Ask, Dialect, Do, Rows, Script
from penstock.types.errors import InvalidRequest, SchemaMismatch

Phase = Literal["pre", "post"]

_FOR_ONE = re.compile(r"-- (sqlite|postgres)\n")
_FILE = re.compile(r"(\d{4})_(\w+)\.(pre|post)\.sql")


class Migration(NamedTuple):
    number: int
    name: str
    phase: Phase
    checksum: str
    up: str
    down: str

    @property
    def title(self) -> str:
        return f"{self.number:04}_{self.name} ({self.phase})"


class Applied(NamedTuple):
    number: int
    name: str
    phase: str
    checksum: str


def parse(file: str, text: str) -> Migration:
    """Raises ValueError when it is not a migration."""
    found = _FILE.fullmatch(file)
    parts = re.split(r"^-- (up|down)$", text, flags=re.MULTILINE)
    if found is None or parts[1::2] != ["up", "down"]:
        raise ValueError(f"{file} is not a migration")
    phase: Phase = "pre" if found[3] == "pre" else "post"
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(int(found[1]), found[2], phase, checksum, parts[2].strip(), parts[4].strip())


def _ours() -> tuple[Migration, ...]:
    folder = resources.files("penstock.store.migrations")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(parse(name, (folder / name).read_text("utf-8")) for name in files)


OURS: Final = _ours()  # those of this release, by number


def statements(text: str, dialect: Dialect) -> list[str]:
    """The statements of a section, one by one."""
    filled = text.format_map(WORDS[dialect])
    found = [one.strip() for one in re.split(r";\s*(?:\n|$)", filled) if one.strip()]
    return [one for one in found if (only := _FOR_ONE.match(one)) is None or only[1] == dialect]


def check(applied: Sequence[Applied], known: Sequence[Migration]) -> None:
    """Raises SchemaMismatch when this release must not touch the database."""
    have = {one.number: one for one in known}
    for row in applied:
        mine = have.get(row.number)
        if mine is None and row.phase == "post":
            raise SchemaMismatch(
                f"The database belongs to a newer release of Penstock: {row.number:04}_{row.name} was applied"
                " to it. Run that release, or take its migrations back with it:"
                " penstock store migrate --down N."
            )
        if mine is not None and mine.checksum != row.checksum:
            raise SchemaMismatch(
                f"The migration {mine.title} is not the one that was applied to the database: it was edited"
                " since, or another build of Penstock made the database."
            )


def pending(applied: Sequence[Applied], known: Sequence[Migration], phase: Phase) -> list[Migration]:
    done = {row.number for row in applied}
    return [one for one in known if one.phase == phase and one.number not in done]


def to_revert(applied: Sequence[Applied], known: Sequence[Migration], count: int) -> list[Migration]:
    """The last `count`, the newest first. Raises SchemaMismatch, InvalidRequest."""
    if count > len(applied):
        raise InvalidRequest(f"The database has {len(applied)} migrations; {count} cannot be taken back.")
    have = {one.number: one for one in known}
    last = list(reversed(applied))[:count]
    for row in last:
        if row.number not in have:
            raise SchemaMismatch(
                f"Only the release that brought {row.number:04}_{row.name} can take it back:"
                " this one does not know how."
            )
    return [have[row.number] for row in last]


def applied() -> Script[list[Applied]]:
    if not (yield Ask("schema.exists")):
        return []
    rows: Rows = yield Ask("schema.list")
    return [Applied(row["number"], row["name"], row["phase"], row["checksum"]) for row in rows]


def apply_one(one: Migration, known: Sequence[Migration], dialect: Dialect) -> Script[bool]:
    """One transaction; False when another process was faster."""
    yield Ask("schema.hold")
    yield Ask("schema.make")
    done = yield from applied()
    check(done, known)
    if one.number in {row.number for row in done}:
        return False
    for text in statements(one.up, dialect):
        yield Do(text)
    values = {"number": one.number, "name": one.name, "phase": one.phase, "checksum": one.checksum}
    yield Ask("schema.add", values)
    return True


def revert_one(one: Migration, dialect: Dialect) -> Script[None]:
    yield Ask("schema.hold")
    for text in statements(one.down, dialect):
        yield Do(text)
    yield Ask("schema.remove", {"number": one.number})
