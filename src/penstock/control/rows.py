"""The store's keys and routes in memory: all of them once, and then only what changed.

    load      every row, in pages
    follow    the rows that were changed since; who was disabled or enabled takes their keys along

Of a key no more is kept than what a request asks (VirtualKey), so a hundred thousand of them fit.
"""

from typing import Final

import msgspec

from penstock.config.stored import key_of
from penstock.types.errors import NotFoundRow
from penstock.types.identity import VirtualKey
from penstock.types.page import MAX_PAGE
from penstock.types.store import E, Key, ServiceAccount, Store, StoredRoute, User

_MOST_CHANGES: Final = 5_000  # beyond that reading everything is the shorter way
_OWNERS: Final[dict[str, tuple[type[User | ServiceAccount], str]]] = {
    "users": (User, "user"),
    "service_accounts": (ServiceAccount, "account"),
}


class News(msgspec.Struct):
    """What `follow` found: whether any key or any route is another, and the keys that are good no more."""

    has_keys: bool = False
    has_routes: bool = False
    ended: set[str] = msgspec.field(default_factory=set)


class Rows:
    """`keys` and `routes` belong to this: copy what must not change."""

    def __init__(self, store: Store) -> None:
        self.revision = 0
        self.keys: dict[bytes, VirtualKey] = {}
        self.routes: dict[str, StoredRoute] = {}
        self._store = store
        self._hashes: dict[str, bytes] = {}  # of the keys that are good, by id
        self._disabled: set[str] = set()

    async def load(self) -> None:
        """Raises StoreUnavailable; then nothing has changed."""
        revision = await self._store.revision()  # before the rows: what is written meanwhile is read again
        disabled = {row.id for row in await self._all(User) if row.disabled is not None}
        disabled |= {row.id for row in await self._all(ServiceAccount) if row.disabled is not None}
        routes = {row.id: row for row in await self._all(StoredRoute)}
        keys: dict[bytes, VirtualKey] = {}
        hashes: dict[str, bytes] = {}
        cursor: str | None = None
        while True:
            page = await self._store.page(Key, cursor=cursor, limit=MAX_PAGE)
            for row in page.rows:
                key = key_of(row, disabled)
                if key is not None:
                    keys[row.hash] = key
                    hashes[row.id] = row.hash
            cursor = page.cursor
            if cursor is None:
                break
        self.revision, self.keys, self.routes = revision, keys, routes
        self._hashes, self._disabled = hashes, disabled

    async def follow(self) -> News:
        """Raises StoreUnavailable; then all of it is found again the next time."""
        revision = await self._store.revision()
        paths = await self._changed()
        if paths is None:
            before = set(self._hashes)
            await self.load()
            return News(has_keys=True, has_routes=True, ended=before - set(self._hashes))
        news = News()
        named: dict[str, set[str]] = {}
        for path in paths:
            table, _, id_ = path.partition("/")
            named.setdefault(table, set()).add(id_)
        changed = {id_: await self._get(Key, id_) for id_ in named.get("keys", ())}
        for table, (kind, field) in _OWNERS.items():
            for id_ in named.get(table, ()):
                owner = await self._get(kind, id_)
                is_disabled = owner is None or owner.disabled is not None
                if is_disabled != (id_ in self._disabled):
                    (self._disabled.add if is_disabled else self._disabled.discard)(id_)
                    changed |= {row.id: row for row in await self._all(Key, **{field: id_})}
        for id_, row in changed.items():
            self._take(id_, row, news)
        for id_ in named.get("routes", ()):
            route = await self._get(StoredRoute, id_)
            if route is None:
                self.routes.pop(id_, None)
            else:
                self.routes[id_] = route
            news.has_routes = True
        self.revision = revision
        return news

    def _take(self, id_: str, row: Key | None, news: News) -> None:
        key = key_of(row, self._disabled) if row is not None else None
        old = self._hashes.pop(id_, None)
        if old is not None:
            del self.keys[old]
        if row is not None and key is not None:
            self.keys[row.hash] = key
            self._hashes[id_] = row.hash
        elif old is not None:
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
