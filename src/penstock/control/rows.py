"""The store's keys, routes and webhooks in memory: all of them once, and then only what changed.

    load      every row, in pages
    follow    the rows that were changed since; what keys depend on (config.stored.Around) takes them along

Of a key no more is kept than what a request asks (VirtualKey), so a hundred thousand of them fit.
"""

from typing import Final

import msgspec

from penstock.config.claims import Claims
from penstock.config.errors import ConfigError
from penstock.config.stored import Around, claims_of_row, hook_of, keys_of, member_of
from penstock.types.control import LeftOut
from penstock.types.errors import NotFoundRow
from penstock.types.identity import RoleName, VirtualKey
from penstock.types.page import MAX_PAGE
from penstock.types.store import E, Key, Membership, ServiceAccount, Store, StoredRoute, Team, User, Webhook
from penstock.types.webhooks import Hook

_MOST_CHANGES: Final = 5_000  # beyond that reading everything is the shorter way
_Neighbour = Team | User | ServiceAccount
_NEIGHBOURS: Final[dict[str, tuple[type[_Neighbour], str]]] = {
    "teams": (Team, "team"),
    "users": (User, "user"),
    "service_accounts": (ServiceAccount, "account"),
}


class News(msgspec.Struct):
    """What `follow` found: what is another than before, and the keys that are good no more.

    has_teams: teams, users, and who is in which.
    """

    has_keys: bool = False
    has_hooks: bool = False
    has_teams: bool = False
    has_routes: bool = False
    ended: set[str] = msgspec.field(default_factory=set)


class Rows:
    """`keys`, `routes` and `hooks` belong to this: copy what must not change."""

    def __init__(self, store: Store, around: Around) -> None:
        self.revision = 0
        self.keys: dict[bytes, VirtualKey] = {}
        self.routes: dict[str, StoredRoute] = {}
        self.hooks: dict[str, Hook] = {}
        self.around = around
        self._store = store
        self._hashes: dict[str, tuple[bytes, ...]] = {}  # of the keys that are good, by id
        self._members: dict[str, tuple[str, str]] = {}  # id of a membership -> user and team
        self._wrong: dict[str, LeftOut] = {}  # by path
        self.is_torn = False  # a `follow` did not come to its end, or `distrust`

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(self._wrong.values())

    async def load(self) -> None:
        """Raises StoreUnavailable; then nothing has changed."""
        revision = await self._store.revision()  # before the rows: what is written meanwhile is read again
        around = Around(self.around.on_failure, self.around.file_teams)
        wrong: dict[str, LeftOut] = {}
        for table, (kind, _) in _NEIGHBOURS.items():
            for row in await self._all(kind):
                _settle(around, table, row.id, row, wrong)
        members: dict[str, tuple[str, str]] = {}
        for member in await self._all(Membership):
            _join(around, members, member.id, member)
        routes = {row.id: row for row in await self._all(StoredRoute)}
        hooks = {row.id: hook for row in await self._all(Webhook) if (hook := hook_of(row)) is not None}
        keys: dict[bytes, VirtualKey] = {}
        hashes: dict[str, tuple[bytes, ...]] = {}
        cursor: str | None = None
        while True:
            page = await self._store.page(Key, cursor=cursor, limit=MAX_PAGE)
            for key_row in page.rows:
                pairs = _keys(key_row, around, wrong)
                keys.update(pairs)
                if pairs:
                    hashes[key_row.id] = tuple(hash_ for hash_, _ in pairs)
            cursor = page.cursor
            if cursor is None:
                break
        self._members = members
        self.revision, self.keys, self.routes, self.around = revision, keys, routes, around
        self._hashes, self._wrong, self.is_torn, self.hooks = hashes, wrong, False, hooks

    async def follow(self) -> News:
        """Raises StoreUnavailable; then all of it is found again the next time."""
        revision = await self._store.revision()
        paths = None if self.is_torn else await self._changed()
        if paths is None:
            before = set(self._hashes)
            await self.load()
            return News(
                has_keys=True,
                has_hooks=True,
                has_teams=True,
                has_routes=True,
                ended=before - set(self._hashes),
            )
        named: dict[str, set[str]] = {}
        for path in paths:
            table, _, id_ = path.partition("/")
            named.setdefault(table, set()).add(id_)
        self.is_torn = True
        changed = {id_: await self._get(Key, id_) for id_ in named.get("keys", ())}
        for table, (kind, field) in _NEIGHBOURS.items():
            for id_ in named.get(table, ()):
                if _settle(self.around, table, id_, await self._get(kind, id_), self._wrong):
                    changed |= {row.id: row for row in await self._all(Key, **{field: id_})}
        for id_ in named.get("memberships", ()):
            place = _join(self.around, self._members, id_, await self._get(Membership, id_))
            if place is not None:
                user, team = place
                changed |= {row.id: row for row in await self._all(Key, user=user, team=team)}
        routes = {id_: await self._get(StoredRoute, id_) for id_ in named.get("routes", ())}
        hooks = {id_: await self._get(Webhook, id_) for id_ in named.get("webhooks", ())}
        news = News(
            has_routes=bool(routes),
            has_hooks=bool(hooks),
            has_teams=not named.keys().isdisjoint(("teams", "users", "memberships")),
        )
        for id_, row in changed.items():
            self._take(id_, row, news)
        for id_, route in routes.items():
            if route is None:
                self.routes.pop(id_, None)
            else:
                self.routes[id_] = route
        for id_, webhook in hooks.items():
            self.hooks.pop(id_, None)
            if webhook is not None and (hook := hook_of(webhook)) is not None:
                self.hooks[id_] = hook
        self.revision = revision
        self.is_torn = False
        return news

    def key(self, id_: str) -> VirtualKey | None:
        """One that is good."""
        hashes = self._hashes.get(id_)
        return None if hashes is None else self.keys[hashes[0]]

    def distrust(self) -> None:
        """All is read again at the next `follow`."""
        self.is_torn = True

    def _take(self, id_: str, row: Key | None, news: News) -> None:
        pairs = _keys(row, self.around, self._wrong) if row is not None else ()
        before = self._hashes.pop(id_, ())
        for hash_ in before:
            del self.keys[hash_]
        self.keys.update(pairs)
        if pairs:
            self._hashes[id_] = tuple(hash_ for hash_, _ in pairs)
        elif before:
            news.ended.add(id_)
        news.has_keys = True

    async def _changed(self) -> set[str] | None:
        """The paths that were written since; None: too many."""
        found: set[str] = set()
        cursor: str | None = None
        while True:
            page = await self._store.changes(cursor=cursor, limit=MAX_PAGE)
            new = [row.path for row in page.rows if row.revision > self.revision]
            found.update(new)
            cursor = page.cursor
            if cursor is None or len(new) < len(page.rows):
                return found
            if len(found) > _MOST_CHANGES:
                return None

    async def _get(self, kind: type[E], id_: str) -> E | None:
        try:
            return await self._store.get(kind, id_)
        except NotFoundRow:
            return None

    async def _all(self, kind: type[E], **fields: str) -> list[E]:
        found: list[E] = []
        cursor: str | None = None
        while True:
            page = await self._store.page(kind, cursor=cursor, limit=MAX_PAGE, **fields)
            found += page.rows
            cursor = page.cursor
            if cursor is None:
                return found


def _settle(around: Around, table: str, id_: str, row: _Neighbour | None, wrong: dict[str, LeftOut]) -> bool:
    """Takes a team, user or account into `around`; whether its keys are others now."""
    before = _about(around, id_)
    around.roles.pop(id_, None)
    around.claims.pop(id_, None)
    around.teams.discard(id_)
    around.emails.pop(id_, None)
    around.wrong.discard(id_)
    path = f"{table}/{id_}"
    wrong.pop(path, None)
    if row is None:
        return True
    if isinstance(row, User):
        around.emails[id_] = row.email
    if isinstance(row, Team):
        around.teams.add(id_)
    elif row.disabled is None:
        around.roles[id_] = row.role
    if not isinstance(row, ServiceAccount):
        try:
            claims = claims_of_row(row, around.on_failure)
        except ConfigError as exc:
            wrong[path] = _left_out(path, exc)
            around.wrong.add(id_)
            return True
        if claims != Claims():
            around.claims[id_] = claims
    return before != _about(around, id_)


def _join(
    around: Around, known: dict[str, tuple[str, str]], id_: str, row: Membership | None
) -> tuple[str, str] | None:
    """Takes a membership into `around`; user and team of it, or of what it was."""
    place = known.pop(id_, None)
    if place is not None:
        user, team = place
        if around.members[user][team].since[1] == id_:  # else they were put in again meanwhile
            del around.members[user][team]
    if row is not None:
        place = known[id_] = row.user, row.team
        around.members.setdefault(row.user, {})[row.team] = member_of(row)
    return place


def _about(around: Around, id_: str) -> tuple[RoleName | None, Claims | None, bool]:
    return around.roles.get(id_), around.claims.get(id_), id_ in around.wrong


def _keys(row: Key, around: Around, wrong: dict[str, LeftOut]) -> tuple[tuple[bytes, VirtualKey], ...]:
    path = f"keys/{row.id}"
    wrong.pop(path, None)
    try:
        return keys_of(row, around)
    except ConfigError as exc:
        wrong[path] = _left_out(path, exc)
        return ()


def _left_out(path: str, exc: ConfigError) -> LeftOut:
    return LeftOut(path, "; ".join(f"{one.path}: {one.message}" for one in exc.problems))
