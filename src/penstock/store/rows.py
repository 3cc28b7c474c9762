"""Entities as rows of tables, and back.

    table               id       unique                 lists of
    ------------------  -------  ---------------------  -------------------
    teams               team_    name
    users               user_    email, in any case
    memberships         mem_     team with user         team, user
    service_accounts    acct_    team with name         team
    keys                key_     hash                   team, user, account
    routes              as said
    webhooks            hook_                           team

A field that names another entity is a column with `_id`; what is no text or number is JSON text.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from penstock.store.sql import Row
from penstock.types.errors import InvalidRequest
from penstock.types.store import (
    E,
    Entity,
    Key,
    Membership,
    ServiceAccount,
    StoredRoute,
    Team,
    User,
    Webhook,
)

P = TypeVar("P")

REFERENCES: Final = frozenset({"key", "team", "user", "account"})
JSON: Final = frozenset({"limits", "budget", "routes", "networks", "events", "body"})
FOLDED: Final = frozenset({"email"})  # is the same in capital letters, of ASCII: lower() knows no others here
HIDDEN: Final = frozenset({"hash", "old_hash", "secret"})  # never in the list of changes
_MAX_INT: Final = 2**63 - 1
_UNTOLD: Final = frozenset({"version", "created", "created_by"})  # a change has its own


class Kind(NamedTuple):
    table: str
    noun: str
    prefix: str  # of ids that the store gives; empty: whoever makes one says its id
    unique: tuple[tuple[str, ...], ...] = ()
    lists: tuple[str, ...] = ()


KINDS: Final[dict[type[Entity], Kind]] = {
    Team: Kind("teams", "team", "team_", (("name",),)),
    User: Kind("users", "user", "user_", (("email",),)),
    Membership: Kind("memberships", "membership", "mem_", (("team", "user"),), ("team", "user")),
    ServiceAccount: Kind("service_accounts", "service account", "acct_", (("team", "name"),), ("team",)),
    Key: Kind("keys", "key", "key_", (("hash",),), ("team", "user", "account")),
    StoredRoute: Kind("routes", "route", ""),
    Webhook: Kind("webhooks", "webhook", "hook_", (), ("team",)),
}


def column(field: str) -> str:
    return f"{field}_id" if field in REFERENCES else field


def columns(kind: type[Entity]) -> tuple[str, ...]:
    return tuple(map(column, kind.__struct_fields__))


def to_row(entity: Entity) -> dict[str, Any]:
    return {column(name): stored(name, getattr(entity, name)) for name in entity.__struct_fields__}


def stored(field: str, value: Any) -> Any:
    """Raises InvalidRequest for what PostgreSQL cannot keep, so SQLite does not either."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidRequest("A text cannot hold a NUL character.", param=field)
    if field in JSON and value is not None:
        return msgspec.json.encode(value).decode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def from_row(kind: type[E], row: Row) -> E:
    values = {
        name: msgspec.json.decode(value)
        if name in JSON and (value := row[column(name)])
        else row[column(name)]
        for name in kind.__struct_fields__
    }
    return msgspec.convert(values, kind)


def difference(old: Entity | None, new: Entity | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What a change is told by: the fields that differ, before and after."""
    before, after = _told(old), _told(new)
    if before is None or after is None:
        return _shown(before), _shown(after)
    changed = [name for name in after if before.get(name) != after[name]]
    return (
        _shown({name: before.get(name) for name in changed}),
        _shown({name: after[name] for name in changed}),
    )


def _told(entity: Entity | None) -> dict[str, Any] | None:
    if entity is None:
        return None
    told = {name: getattr(entity, name) for name in entity.__struct_fields__ if name not in _UNTOLD}
    return dict(msgspec.to_builtins(told))


def _shown(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {name: "(hidden)" if name in HIDDEN and value else value for name, value in told.items()}


def cursor(*position: int | str | tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(text: str | None, shape: type[P], start: P) -> P:
    """Where a cursor points; `start` without one. Raises InvalidRequest."""
    if text is None:
        return start
    try:
        found = msgspec.json.decode(base64.b64decode(text + "==", altchars=b"-_"), type=shape)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as exc:
        raise _no_cursor() from exc
    if not _fits(found):
        raise _no_cursor()
    return found


def _fits(value: Any) -> bool:
    """Whether a database takes it: whoever asks may have made it up."""
    if isinstance(value, tuple | list):
        return all(map(_fits, value))
    return -_MAX_INT <= value <= _MAX_INT if isinstance(value, int) else "\0" not in value


def _no_cursor() -> InvalidRequest:
    return InvalidRequest("The cursor is not one that a page of this list gave.", param="cursor")
