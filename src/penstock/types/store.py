"""What is made at run time and kept: the rows, and the Protocol of a store. Two backends answer it alike.

    Team, User, Membership, ServiceAccount, Key, StoredRoute, Webhook     entities
    Create, Update, Delete       changes of entities, written together or not at all
    ChangeRow                    who changed what when
    Terms                        what a team pays, and since when
    StoreLease                   one holder at a time

Rules
- `id`, `created` and `version` of a new entity are the store's to give; an id may be given by who makes it.
- An Update and a Delete carry the version that was read. Another version in the store is a Conflict.
- Every write makes one new revision. Other processes learn of it within a second (`wait_for_revision`).
- Lists come in pages, oldest first; `cursor` is opaque, and None at the end.
- Stamps are Unix seconds. Those of leases are of the store's clock, which all processes share.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from penstock.types.identity import PriorityName
from penstock.types.page import Page
from penstock.types.usage_store import UsageStore

Role = Literal["owner", "admin", "operator", "developer", "viewer"]
Period = Literal["day", "week", "month", "total"]

SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]{1,5})?")  # one of several, with commas between them


def is_store_url(url: str) -> bool:
    """Whether it names a file or a server; a database in memory would be gone with its connection."""
    if url.startswith(SQLITE):
        return url.removeprefix(SQLITE) not in {"", ":memory:"}
    if not url.startswith(POSTGRES):
        return False
    hosts = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    return all(_HOST.fullmatch(host) for host in hosts.split(","))


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file says under `limits`, units as text: `60/min`. Several rates hold all at once."""

    requests: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    concurrency: int | None = None


class Budget(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file says under `budget`. usd: exact, so it is text. rolling: `30d`, instead of a period.

    alerts: shares of it that webhooks are told of; None: as in a file that does not say.
    """

    usd: str
    period: Period = "month"
    rolling: str | None = None
    models: tuple[str, ...] = ()
    alerts: tuple[float, ...] | None = None


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    created: int = 0
    created_by: str = ""
    version: int = 0


class Team(Entity, frozen=True, kw_only=True):
    """markup: percent on top of costs, below 0 a discount. allowance: USD a month that are free. Exact."""

    name: str
    limits: Limits = Limits()
    budget: tuple[Budget, ...] = ()
    markup: str = "0"
    allowance: str = "0"


class Terms(msgspec.Struct, frozen=True):
    """What a team pays beside costs, as in Team, and since when: Unix seconds, of a full hour; 0: ever."""

    team: str
    markup: str = "0"
    allowance: str = "0"
    since: int = 0


class User(Entity, frozen=True, kw_only=True):
    """`disabled`: since when; nobody is forgotten who did something."""

    email: str
    name: str = ""
    role: Role = "developer"
    limits: Limits = Limits()
    budget: tuple[Budget, ...] = ()
    disabled: int | None = None


class Membership(Entity, frozen=True, kw_only=True):
    team: str
    user: str
    role: Role = "developer"


class ServiceAccount(Entity, frozen=True, kw_only=True):
    """A program's identity. Its keys outlive the person who made it."""

    name: str
    team: str | None = None
    role: Role = "developer"
    disabled: int | None = None


class Key(Entity, frozen=True, kw_only=True):
    """A virtual key.

    hash: the keyed hash of the secret (config.snapshot.key_hash); the secret itself is nowhere.
    prefix: the beginning of the secret, for people to recognise it by.
    routes: public model names it may use; None allows all. networks: CIDR ranges; empty allows all.
    old_hash: of the secret before this one, which works until `overlap_ends`.
    """

    name: str
    hash: bytes
    prefix: str = ""
    team: str | None = None
    user: str | None = None
    account: str | None = None
    role: Role = "developer"
    priority: PriorityName = "default"
    routes: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    limits: Limits = Limits()
    budget: tuple[Budget, ...] = ()
    expires: int | None = None
    revoked: int | None = None
    old_hash: bytes | None = None
    overlap_ends: int | None = None


class StoredRoute(Entity, frozen=True, kw_only=True):
    """A route over those of the file; its id is its public name, `body` what the file would say."""

    body: dict[str, Any]


class Webhook(Entity, frozen=True, kw_only=True):
    """Where events are sent. `secret` signs them, so it is kept as it is."""

    url: str
    events: tuple[str, ...] = ()
    secret: str = ""
    team: str | None = None
    disabled: int | None = None


E = TypeVar("E", bound=Entity)


class Create(msgspec.Struct, frozen=True):
    row: Entity


class Update(msgspec.Struct, frozen=True):
    row: Entity


class Delete(msgspec.Struct, frozen=True):
    row: Entity


Change = Create | Update | Delete


class ChangeRow(msgspec.Struct, frozen=True):
    """`path`: `keys/key_0123`; `old` and `new` hold the fields that differ, None where there was no row."""

    revision: int
    seq: int  # in its revision
    time: int
    actor: str
    path: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None


class StoreLease(msgspec.Struct, frozen=True):
    """`token` rises with every new holder: whoever acts for the holder can refuse an older one."""

    name: str
    holder: str
    expires: float
    token: int


class StoreStatus(msgspec.Struct, frozen=True):
    backend: str
    place: str  # a path, or a URL without its password
    schema: tuple[int, ...]  # migrations that were applied
    pending: tuple[str, ...]  # those that this release has besides
    revision: int
    counts: dict[str, int]
    usage_calls: int
    usage_since_us: int | None  # the oldest call kept
    bytes: int


class Store(UsageStore, Protocol):
    """Raises Conflict, NotFoundRow, StoreUnavailable."""

    async def get(self, kind: type[E], id_: str, /) -> E: ...

    async def find(self, kind: type[E], /, **field: Any) -> E | None:
        """The one entity with this value of a unique field: Key.hash, User.email, Team.name ..."""
        ...

    async def page(
        self, kind: type[E], /, *, cursor: str | None = None, limit: int = 100, **fields: str
    ) -> Page[E]:
        """fields: only those of a team, user or account."""
        ...

    async def write(self, changes: Sequence[Change], /, *, actor: str) -> tuple[Entity, ...]:
        """Writes all or none; the rows as they are now stored, in the order of the changes."""
        ...

    async def create(self, row: E, /, *, actor: str) -> E: ...

    async def update(self, row: E, /, *, actor: str) -> E: ...

    async def delete(self, row: Entity, /, *, actor: str) -> None: ...

    async def changes(
        self, *, path: str = "", actor: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[ChangeRow]:
        """Newest first; of the paths that begin with `path`."""
        ...

    async def terms(self, before_s: int, /, *, team: str | None = None) -> tuple[Terms, ...]:
        """Those noted that began before, by team and in the order in which they hold; also of teams gone."""
        ...

    async def note_terms(self, of_file: Mapping[str, Terms], /) -> None:
        """Notes the terms that are others than the last noted. They hold from the next full hour on; a team's
        first ones ever since. Of a team that the file has they are the file's, else those of its row.
        """
        ...

    async def revision(self) -> int: ...

    async def wait_for_revision(self, after: int) -> int:
        """The newest revision, once it is another one than `after`."""
        ...

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> StoreLease | None:
        """None while another holds it. Its holder prolongs it by the same call."""
        ...

    async def renew_lease(self, lease: StoreLease, ttl_s: float) -> StoreLease | None:
        """None when it has expired or is another's: it is never taken anew."""
        ...

    async def release_lease(self, lease: StoreLease) -> None: ...

    async def status(self) -> StoreStatus: ...

    async def aclose(self) -> None: ...
