"""What both stores are: scripts, and somewhere to run them.

    read    a transaction that sees one state of the database; may be run again when the connection is lost
    write   a transaction that is written whole or not at all

A script is a generator of steps (sql.py), so the same code decides in a thread of SQLite's and on
PostgreSQL's connections.
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from penstock.lib.clock import Clock
from penstock.store import entities, migrations, rerate, terms, usage
from penstock.store.migrations import Applied, Migration, Phase
from penstock.store.rows import KINDS
from penstock.store.sql import Ask, Dialect, Script
from penstock.store.usage_batch import add_rows
from penstock.types.errors import SchemaMismatch
from penstock.types.money import Price
from penstock.types.page import Page
from penstock.types.store import (
    Change,
    ChangeRow,
    Create,
    Delete,
    E,
    Entity,
    Store,
    StoreLease,
    StoreStatus,
    Terms,
    Update,
)
from penstock.types.usage_store import (
    DAY_US,
    CallWhere,
    Dimension,
    Rerated,
    Step,
    UsageRow,
    UsageSum,
    UsageWhere,
)

T = TypeVar("T")
Make = Callable[[], Script[T]]


class ScriptedStore(Store, abc.ABC):
    dialect: Dialect
    place: str
    refusals: ClassVar[tuple[type[Exception], ...]]  # of the driver: rows that do not fit their table

    def __init__(self, clock: Clock, known: Sequence[Migration] | None = None) -> None:
        self._clock = clock
        self._known = migrations.OURS if known is None else tuple(known)

    @abc.abstractmethod
    async def open(self) -> None:
        """Raises StoreUnavailable."""

    @abc.abstractmethod
    async def read(self, make: Make[T], /, *, is_heavy: bool = False) -> T:
        """is_heavy: it may take a second, and must not keep small ones waiting."""

    @abc.abstractmethod
    async def run(self, make: Make[T], /) -> T:
        """A write."""

    @abc.abstractmethod
    async def wait_for_revision(self, after: int) -> int: ...

    @abc.abstractmethod
    async def _drop_calls(self, before_us: int) -> int: ...

    def make_days(self, days: Iterable[int]) -> Script[None]:
        """Where calls of these days go, as far as there is anything to make."""
        del days
        yield from ()

    @abc.abstractmethod
    async def aclose(self) -> None: ...

    # Entities

    async def get(self, kind: type[E], id_: str, /) -> E:
        return await self.read(lambda: entities.get(kind, id_))

    async def find(self, kind: type[E], /, **field: Any) -> E | None:
        return await self.read(lambda: entities.find(kind, field))

    async def page(
        self, kind: type[E], /, *, cursor: str | None = None, limit: int = 100, **fields: str
    ) -> Page[E]:
        return await self.read(lambda: entities.page(kind, fields, cursor, limit))

    async def write(self, changes: Sequence[Change], /, *, actor: str) -> tuple[Entity, ...]:
        now_s = int(self._clock.wall())
        return await self.run(lambda: entities.write(changes, actor, now_s))

    async def create(self, row: E, /, *, actor: str) -> E:
        return cast("E", (await self.write([Create(row)], actor=actor))[0])

    async def update(self, row: E, /, *, actor: str) -> E:
        return cast("E", (await self.write([Update(row)], actor=actor))[0])

    async def delete(self, row: Entity, /, *, actor: str) -> None:
        await self.write([Delete(row)], actor=actor)

    async def changes(
        self, *, path: str = "", actor: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[ChangeRow]:
        return await self.read(lambda: entities.changes(path, actor, cursor, limit))

    async def terms(self, before_s: int, /, *, team: str | None = None) -> tuple[Terms, ...]:
        return await self.read(lambda: terms.listed(team, before_s))

    async def note_terms(self, of_file: Mapping[str, Terms], /) -> None:
        if await self.read(lambda: terms.unnoted(of_file)):
            now_s = int(self._clock.wall())
            await self.run(lambda: terms.note(of_file, now_s))

    async def revision(self) -> int:
        return await self.read(entities.revision)

    # Leases

    async def acquire_lease(self, name: str, holder: str, ttl_s: float) -> StoreLease | None:
        return await self.run(lambda: entities.acquire_lease(name, holder, ttl_s))

    async def renew_lease(self, lease: StoreLease, ttl_s: float) -> StoreLease | None:
        return await self.run(lambda: entities.renew_lease(lease, ttl_s))

    async def release_lease(self, lease: StoreLease) -> None:
        await self.run(lambda: entities.release_lease(lease))

    async def is_leased(self) -> bool:
        """Whether somebody holds a lease: a server that runs, or one that was killed just now."""
        return await self.read(entities.is_leased)

    # Usage

    async def add_usage(self, rows: Sequence[UsageRow], /) -> None:
        if rows:
            await self.run(lambda: add_rows(rows))

    async def sum_usage(
        self,
        where: UsageWhere,
        /,
        *,
        by: Sequence[Dimension] = (),
        step: Step | None = None,
        cursor: str | None = None,
        limit: int = 1000,
    ) -> Page[UsageSum]:
        return await self.read(lambda: usage.sums(where, by, step, cursor, limit), is_heavy=True)

    async def list_calls(
        self, where: CallWhere, /, *, cursor: str | None = None, limit: int = 100
    ) -> Page[UsageRow]:
        return await self.read(lambda: usage.calls(where, cursor, limit), is_heavy=True)

    async def rerate_usage(
        self,
        where: UsageWhere,
        prices: Mapping[str, Price],
        /,
        *,
        actor: str,
        cursor: str | None = None,
        limit: int = 2000,
        is_dry: bool = False,
    ) -> Rerated:
        asked = rerate.Asked(where, prices, cursor, limit)
        if is_dry:
            return await self.read(lambda: rerate.look(asked), is_heavy=True)
        now_s = int(self._clock.wall())
        return await self.run(lambda: rerate.write(asked, actor, now_s))

    async def drop_usage(self, *, calls_before_us: int, sums_before_us: int) -> int:
        dropped = await self._drop_calls(calls_before_us // DAY_US * DAY_US)
        before = min(sums_before_us, calls_before_us) // DAY_US
        days = await self.read(partial(usage.days_before, before))
        for day in days:  # one by one: nobody who writes waits for a month of them
            await self.run(partial(usage.drop_sums, day + 1))
        if days:
            await self.run(usage.drop_dims)
        return dropped

    # The schema

    @property
    def known(self) -> tuple[Migration, ...]:
        """The migrations of this release."""
        return self._known

    async def migrate(self, phase: Phase) -> list[Migration]:
        """Applies what is pending of a phase; what it applied. Raises SchemaMismatch.

        An empty database gets both phases: no older release uses it.
        """
        done = await self.read(migrations.applied)
        migrations.check(done, self._known)
        return [
            one
            for one in (migrations.pending(done, self._known, phase) if done else self._known)
            if await self.run(partial(migrations.apply_one, one, self._known, self.dialect))
        ]

    async def revert(self, count: int) -> list[Migration]:
        """Takes the last migrations back, and what they held with them."""
        last = migrations.to_revert(await self.read(migrations.applied), self._known, count)
        for one in last:
            await self.run(partial(migrations.revert_one, one, self.dialect))
        return last

    async def require_schema(self) -> None:
        """Raises SchemaMismatch unless this release can work with the database as it is."""
        done = await self.read(migrations.applied)
        migrations.check(done, self._known)
        if lacking := migrations.pending(done, self._known, "pre"):
            names = ", ".join(one.title for one in lacking)
            raise SchemaMismatch(
                f"The database {self.place} lacks {names}. Type: penstock store migrate, with the same"
                " -c FILE (or set `store: {migrate: on}`)."
            )

    async def status(self) -> StoreStatus:
        return await self.read(self._status, is_heavy=True)

    def _status(self) -> Script[StoreStatus]:
        done: list[Applied] = yield from migrations.applied()
        pending = [one for one in self._known if one.number not in {row.number for row in done}]
        numbers = {row.number for row in done}
        revision, counts, calls, since_us = 0, dict[str, int](), 0, None
        if numbers >= {1, 2}:
            revision = yield from entities.revision()
            for kind, row in KINDS.items():
                counts[row.table] = yield from entities.count(kind)
            calls, since_us = yield from usage.status()
        size = yield Ask("schema.size")
        return StoreStatus(
            backend=self.dialect,
            place=self.place,
            schema=tuple(row.number for row in done),
            pending=tuple(one.title for one in pending),
            revision=revision,
            counts=counts,
            usage_calls=calls,
            usage_since_us=since_us,
            bytes=int(size[0]["value"]),
        )
