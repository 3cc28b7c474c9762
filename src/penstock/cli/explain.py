"""penstock check --explain PATH: what a setting is, where it was said, and what is known of who said it.

    said in                    source                     told of it
    -------------------------  -------------------------  ---------------------------------------------
    the file                   penstock.yaml:12           whose the file is and when it was last written;
                                                          who changed this line in it, nobody knows
    a variable, an option      PENSTOCK_PORT, --port      nothing: whoever started the program
    the store                  store, version 3           which key changed it and when, from its list of
                                                          changes
    nowhere                    default                    nothing

The file wins: a row of the store that the file names, too, is shown beside it as left out.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.config.load import Loaded
from penstock.config.units import format_moment
from penstock.types.errors import NotFoundRow, StoreUnavailable
from penstock.types.page import MAX_PAGE
from penstock.types.store import (
    SQLITE,
    ChangeRow,
    Entity,
    Key,
    ServiceAccount,
    Store,
    StoredRoute,
    Team,
    User,
)

# section of a path -> the rows, and the fields that name one besides its id
_KINDS: Final[dict[str, tuple[type[Entity], tuple[str, ...]]]] = {
    "routes": (StoredRoute, ()),
    "keys": (Key, ("name", "prefix")),
    "teams": (Team, ("name",)),
    "users": (User, ("email",)),
    "accounts": (ServiceAccount, ("name",)),
}
_TABLES: Final = {"accounts": "service_accounts"}
_UNTOLD: Final = frozenset({"id", "created", "created_by", "version", "hash", "old_hash"})

_MOMENTS: Final = frozenset({"expires", "revoked", "overlap_ends", "disabled"})

Line = dict[str, Any]
_BY_NOBODY: Final[Line] = {"changed_by": None, "changed": None}
_OF_NO_FILE: Final[Line] = {"file_owner": None, "file_written": None}


def explain(loaded: Loaded, settings: list[Line], path: str) -> list[Line]:
    """settings: every leaf of what the file and the like say. Raises NotFoundRow."""
    found = [_of_the_file(loaded, line) for line in settings if _is_at(line["setting"], path)]
    said = [line for line in found if line["source"] != "default"]
    rows, name, trouble = _stored(loaded, path)
    if name.startswith(("routes.", "teams.")) and any(_is_at(line["setting"], name) for line in settings):
        rows = [{**line, "left_out": "the file has one of this name, and the file wins"} for line in rows]
    if not found and not rows:
        near = _near(path, [line["setting"] for line in settings])
        why = f" ({trouble})" if trouble else ""
        raise NotFoundRow(f"Nothing is said of {path!r}{why}{near or '.'}")
    return [*(said or found), *(line for line in found if said and line not in said), *rows]


def lines(explained: list[Line], written: Any) -> Iterator[str]:
    """written: a value -> its text."""
    for line in explained:
        yield f"{line['setting']} = {written(line['value'])}"
        yield f"  from {line['source']}{_told(line)}"
        if line["left_out"]:
            yield f"  left out: {line['left_out']}"


def _told(line: Line) -> str:
    if line["changed"]:
        return f", changed by {line['changed_by']} on {line['changed']}"
    if line["file_written"]:
        owner = f" of {line['file_owner']}" if line["file_owner"] else ""
        return f", a file{owner} that was last written on {line['file_written']}"
    return ""


def _of_the_file(loaded: Loaded, line: Line) -> Line:
    owner, written = None, None
    if loaded.path is not None and line["source"].startswith(f"{loaded.origin}:"):
        owner, written = _file(loaded.path)
    return {**line, "file_owner": owner, "file_written": written, **_BY_NOBODY, "left_out": None}


def _file(path: Path) -> tuple[str | None, str | None]:
    """Whose it is, by the machine's users, and when it was last written."""
    try:
        written = _day(path.stat().st_mtime)
    except OSError:  # gone by now
        return None, None
    try:
        return path.owner(), written
    except (OSError, KeyError):  # a user without a name
        return None, written


def _is_at(setting: str, path: str) -> bool:
    return setting == path or setting.startswith((f"{path}.", f"{path}["))


def _split(path: str) -> tuple[str, str]:
    section, _, rest = path.partition(".")
    return section, rest


def _near(path: str, known: list[str]) -> str:
    from penstock.lib.registry import hint

    return hint(path, known)


# -- the store


def _stored(loaded: Loaded, path: str) -> tuple[list[Line], str, str]:
    """What a row says, which it is by its id (`routes.chat`), and why none could be read."""
    section, rest = _split(path)
    file = Path(loaded.store_url.removeprefix(SQLITE)).expanduser()
    if section not in _KINDS or not rest or (loaded.store_url.startswith(SQLITE) and not file.exists()):
        return [], "", ""
    try:
        return *asyncio.run(_read(loaded.store_url, section, rest)), ""
    except StoreUnavailable as exc:
        return [], "", exc.message.rstrip(".")


async def _read(url: str, section: str, rest: str) -> tuple[list[Line], str]:
    from penstock.store import connect

    store = await connect(url)
    try:
        await store.require_schema()
        kind, fields = _KINDS[section]
        found = await _row(store, kind, fields, rest)
        if found is None:
            return [], ""
        row, name = found
        table = _TABLES.get(section, section)
        changes = await _changes(store, f"{table}/{row.id}")
        said = [
            {
                "setting": f"{section}.{name}.{field}",
                "value": value,
                "source": f"store ({table}/{row.id}, version {row.version})",
                **_OF_NO_FILE,
                **_who(row, field, changes),
                "left_out": None,
            }
            for field, value in _values(row)
        ]
        return [line for line in said if _is_at(line["setting"], f"{section}.{rest}")], f"{section}.{row.id}"
    finally:
        await store.aclose()


async def _row(
    store: Store, kind: type[Entity], fields: tuple[str, ...], rest: str
) -> tuple[Entity, str] | None:
    """The row whose id or name the path begins with; names may hold dots, so the longest wins."""
    best: tuple[Entity, str] | None = None
    cursor: str | None = None
    while True:
        page = await store.page(kind, cursor=cursor, limit=MAX_PAGE)
        for row in page.rows:
            for name in (row.id, *(str(getattr(row, field)) for field in fields)):
                if name and _is_at(rest, name) and (best is None or len(name) > len(best[1])):
                    best = (row, name)
        cursor = page.cursor
        if cursor is None:
            return best


async def _changes(store: Store, path: str) -> list[ChangeRow]:
    """Newest first."""
    page = await store.changes(path=path, limit=MAX_PAGE)
    return [row for row in page.rows if row.path == path]


def _values(row: Entity) -> Iterator[tuple[str, Any]]:
    if isinstance(row, StoredRoute):
        yield from _leaves(row.body, "")
        return
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if name in _MOMENTS and value is not None:
            yield name, format_moment(value)
        elif name not in _UNTOLD:
            yield from _leaves(msgspec.to_builtins(value), name)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for name, below in value.items():
                yield from _leaves(below, f"{path}.{name}" if path else str(name))
        case list() | tuple() if any(isinstance(one, dict) for one in value):
            for at, below in enumerate(value):
                yield from _leaves(below, f"{path}[{at}]")
        case dict():
            yield path, None
        case tuple():
            yield path, list(value)
        case _:
            yield path, value


def _who(row: Entity, field: str, changes: list[ChangeRow]) -> Mapping[str, Any]:
    """Who changed this field last; whoever made the row, where nobody did."""
    top = "body" if isinstance(row, StoredRoute) else re.split(r"[.\[]", field, maxsplit=1)[0]
    for change in changes:
        if change.new is not None and top in change.new:
            return {"changed_by": change.actor, "changed": _day(change.time)}
    return {"changed_by": row.created_by, "changed": _day(row.created)}


def _day(stamp: float) -> str:
    return f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d %H:%M:%S}"
