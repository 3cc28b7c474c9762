"""Reading and changing entities: what happens in one transaction, whichever the database.

A write takes the next revision first. That row is held until the transaction ends, so writes happen one after
the other, and what a script has looked at cannot change under it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.lib.ids import new_id
from penstock.store.rows import (
    FOLDED,
    KINDS,
    column,
    columns,
    cursor,
    difference,
    from_row,
    position,
    stored,
    to_row,
)
from penstock.store.sql import Ask, BrokenReference, Script
from penstock.types.errors import Conflict, NotFoundRow, StoreUnavailable
from penstock.types.page import MAX_PAGE, Page
from penstock.types.store import (
    Change,
    ChangeRow,
    Create,
    Delete,
    E,
    Entity,
    StoreLease,
    Update,
)


def get(kind: type[E], id_: str) -> Script[E]:
    rows = yield Ask("entity.get", {"id": id_}, _words(kind))
    if not rows:
        raise NotFoundRow(f"There is no {KINDS[kind].noun} {id_!r}.")
    return from_row(kind, rows[0])


def find(kind: type[E], fields: dict[str, Any]) -> Script[E | None]:
    if tuple(fields) not in KINDS[kind].unique:
        raise TypeError(f"several entities may have one {' and '.join(fields)}")
    values = {name: stored(name, value) for name, value in fields.items() if value is not None}
    values |= {name: values[name].encode().lower().decode() for name in FOLDED & values.keys()}
    where = " AND ".join(_is(name, is_null=name not in values) for name in fields)
    rows = yield Ask("entity.find", values, (*_words(kind), ("where", where)))
    return from_row(kind, rows[0]) if rows else None


def _is(name: str, *, is_null: bool) -> str:
    if is_null:
        return f"{column(name)} IS NULL"
    return f"lower({column(name)}) = :{name}" if name in FOLDED else f"{column(name)} = :{name}"


def page(kind: type[E], fields: dict[str, str], cursor_: str | None, limit: int) -> Script[Page[E]]:
    if not set(fields) <= set(KINDS[kind].lists):
        raise TypeError(f"{KINDS[kind].table} are not listed by {', '.join(fields)}")
    after = position(cursor_, tuple[int, str], (-1, ""))
    limit = max(1, min(limit, MAX_PAGE))
    values = {"after_created": after[0], "after_id": after[1], "limit": limit + 1, **fields}
    where = "".join(f" AND {column(name)} = :{name}" for name in sorted(fields))
    rows = yield Ask("entity.list", values, (*_words(kind), ("where", where)))
    found = tuple(from_row(kind, row) for row in rows[:limit])
    return Page(found, cursor(found[-1].created, found[-1].id) if len(rows) > limit else None)


def count(kind: type[Entity]) -> Script[int]:
    return int((yield Ask("entity.count", {}, _words(kind)))[0]["value"])


class Replaced(StoreUnavailable):
    """A restore made the tables anew under a read that had begun: it may be asked again."""


def revision() -> Script[int]:
    """Raises Replaced."""
    rows = yield Ask("revision.get")
    if not rows:
        raise Replaced("The database is being restored; try again.")
    return int(rows[0]["value"])


def write(changes: Sequence[Change], actor: str, now_s: int) -> Script[tuple[Entity, ...]]:
    """Raises Conflict and NotFoundRow; then nothing was written."""
    number = int((yield Ask("revision.next"))[0]["value"])
    written: list[Entity] = []
    for seq, change in enumerate(changes):
        old: Entity | None
        new: Entity | None
        match change:
            case Create(row):
                old, new = None, (yield from _create(row, actor, now_s))
            case Update(row):
                old, new = yield from _update(row)
            case Delete(row):
                old, new = (yield from _delete(row)), None
        written.append(new or row)
        before, after = difference(old, new)
        id_ = row.id if new is None else new.id
        values = {
            "revision": number,
            "seq": seq,
            "time": now_s,
            "actor": actor,
            "path": f"{KINDS[type(row)].table}/{id_}",
            "old": None if before is None else msgspec.json.encode(before).decode(),
            "new": None if after is None else msgspec.json.encode(after).decode(),
        }
        yield Ask("changes.insert", values)
    return tuple(written)


def _create(row: E, actor: str, now_s: int) -> Script[E]:
    kind = KINDS[type(row)]
    if not row.id and not kind.prefix:
        raise TypeError(f"a {kind.noun} needs an id")
    new = msgspec.structs.replace(
        row, id=row.id or new_id(kind.prefix), created=now_s, created_by=actor, version=1
    )
    if (yield Ask("entity.get", {"id": new.id}, _words(type(row)))):
        raise Conflict(f"There is a {kind.noun} {new.id!r} already.")
    yield from _require_unique(new)
    values = to_row(new)
    words = (*_words(type(row)), ("values", ", ".join(f":{name}" for name in values)))
    try:
        yield Ask("entity.insert", values, words)
    except BrokenReference:
        raise Conflict(_dangling(new)) from None
    return new


def _update(row: E) -> Script[tuple[E, E]]:
    kind = KINDS[type(row)]
    old = yield from get(type(row), row.id)
    _require_version(old, row)
    new = msgspec.structs.replace(
        row, created=old.created, created_by=old.created_by, version=old.version + 1
    )
    yield from _require_unique(new)
    values = to_row(new)
    assignments = ", ".join(f"{name} = :{name}" for name in values if name != "id")
    try:
        yield Ask("entity.update", values, (("table", kind.table), ("assignments", assignments)))
    except BrokenReference:
        raise Conflict(_dangling(new)) from None
    return old, new


def _delete(row: E) -> Script[E]:
    kind = KINDS[type(row)]
    old = yield from get(type(row), row.id)
    _require_version(old, row)
    try:
        yield Ask("entity.delete", {"id": row.id}, _words(type(row)))
    except BrokenReference:
        raise Conflict(
            f"The {kind.noun} {row.id!r} is still named by others: its keys, accounts, members or webhooks."
        ) from None
    return old


def _require_version(old: Entity, row: Entity) -> None:
    if old.version != row.version:
        noun = KINDS[type(row)].noun
        raise Conflict(
            f"The {noun} {row.id!r} was changed by somebody else meanwhile: it is version {old.version}, not"
            f" {row.version}. Read it again."
        )


def _require_unique(new: Entity) -> Script[None]:
    for fields in KINDS[type(new)].unique:
        found = yield from find(type(new), {name: getattr(new, name) for name in fields})
        if found is not None and found.id != new.id:
            said = (
                "this secret"
                if "hash" in fields
                else " and ".join(f"{n} {value!r}" for n in fields if (value := getattr(new, n)) is not None)
            )
            raise Conflict(f"There is a {KINDS[type(new)].noun} with {said} already.")


def _dangling(new: Entity) -> str:
    named = {name: getattr(new, name, None) for name in ("team", "user", "account")}
    said = ", ".join(f"{name} {value!r}" for name, value in named.items() if value)
    return f"The {KINDS[type(new)].noun} names what does not exist: {said}."


def _words(kind: type[Entity]) -> tuple[tuple[str, str], ...]:
    return (("table", KINDS[kind].table), ("columns", ", ".join(columns(kind))))


def changes(path: str, actor: str | None, cursor_: str | None, limit: int) -> Script[Page[ChangeRow]]:
    before = position(cursor_, tuple[int, int], (2**62, 0))
    limit = max(1, min(limit, MAX_PAGE))
    values: dict[str, Any] = {
        "before_revision": before[0],
        "before_seq": before[1],
        "path": path,
        "limit": limit + 1,
    }
    if actor is not None:
        values["actor"] = actor
    where = "" if actor is None else " AND actor = :actor"
    rows = yield Ask("changes.list", values, (("where", where),))
    found = tuple(
        ChangeRow(
            revision=row["revision"],
            seq=row["seq"],
            time=row["time"],
            actor=row["actor"],
            path=row["path"],
            old=None if row["old"] is None else msgspec.json.decode(row["old"]),
            new=None if row["new"] is None else msgspec.json.decode(row["new"]),
        )
        for row in rows[:limit]
    )
    return Page(found, cursor(found[-1].revision, found[-1].seq) if len(rows) > limit else None)


def acquire_lease(name: str, holder: str, ttl_s: float) -> Script[StoreLease | None]:
    rows = yield Ask("lease.acquire", {"name": name, "holder": holder, "ttl_s": ttl_s})
    return StoreLease(**rows[0]) if rows else None


def renew_lease(lease: StoreLease, ttl_s: float) -> Script[StoreLease | None]:
    rows = yield Ask("lease.renew", {"name": lease.name, "token": lease.token, "ttl_s": ttl_s})
    return StoreLease(**rows[0]) if rows else None


def release_lease(lease: StoreLease) -> Script[None]:
    yield Ask("lease.release", {"name": lease.name, "token": lease.token})


def is_leased() -> Script[bool]:
    return bool((yield Ask("lease.any")))
