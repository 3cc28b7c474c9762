"""The configuration that runs, kept up to date.

    what happened                    what follows
    -------------------------------  --------------------------------------------------------------------
    a key or its owner changed       the key map is copied with it; of a key that is off, running calls end
    a webhook changed                likewise
    a stored route changed           all is compiled anew, in a thread
    the file changed, or SIGHUP      it is read and compiled in a thread
    ... and it is wrong, or gone     what runs goes on; the log and `view` say what is wrong
    ... and it needs a restart       likewise (restart.py)
    a file that it names is wrong    likewise; what else is new in the store is taken
    the store does not answer        what runs goes on; it is asked again

A new Snapshot is set by one assignment: a request that runs keeps the one it began with.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import structlog

from penstock.auth.policy import Policy
from penstock.config.claims import claims_of_teams
from penstock.config.errors import ConfigError, Problem
from penstock.config.problems import APART, counts_apart
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot, key_hash
from penstock.config.stored import Around, bounds_of, check_route, routes_of, with_rows, with_teams
from penstock.config.units import format_money, format_percent
from penstock.config.writer import Written
from penstock.control.restart import needs_restart
from penstock.control.retention import month_us
from penstock.control.rows import News, Rows
from penstock.control.source import Source
from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.lib.registry import hint
from penstock.types.control import ConfigurationView, LeftOut, Trouble
from penstock.types.deployment import Deployment
from penstock.types.errors import StoreUnavailable
from penstock.types.ledger import Claim, ScopeKind
from penstock.types.store import Budget, Limits, Store, Terms

LOOK_S: Final = 0.4  # at the file; one that is the same twice has been written to its end
PAUSE_S: Final = 0.1  # between two changes of the key map: a thousand keys in a second are ten copies
RETRY_S: Final = 1.0

# Sets a snapshot, and ends the calls of the keys with these names
Take = Callable[[Snapshot, Collection[str]], None]

_log = structlog.get_logger("penstock.control")


class Reload:
    """`start`, then `run`."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        store: Store,
        clock: Clock,
    ) -> None:
        self._source = source
        self._settings = settings
        self._store = store
        self._rows = Rows(store, Around(settings.limits.on_store_failure, claims_of_teams(settings)))
        self._take: Take = _nobody
        self._tell: Callable[[str], None] = _nobody
        self._clock = clock
        self._core: Snapshot | None = None  # with the file's keys alone
        self._policy = Policy()  # of `_core`, with the teams and users of the store
        self._since = 0
        self._trouble: Trouble | None = None
        self._waiting: Trouble | None = None  # why stored routes are not what runs
        self._needs_restart: tuple[str, ...] = ()
        self._left_out: tuple[LeftOut, ...] = ()
        self._is_asked = asyncio.Event()
        self._compiling = asyncio.Lock()

    async def start(self, take: Take) -> None:
        """Makes the first snapshot. Raises StoreUnavailable, ConfigError."""
        self._take = take
        await self._rows.load()
        if counts_apart(self._settings) and (limited := next(self._limited(), None)):
            raise ConfigError([Problem("server.workers", f"the limits of {limited} {APART}")])
        await self._compile(self._settings)

    def _limited(self) -> Iterator[str]:
        """What of the store has limits."""
        yield from self._rows.around.claims
        yield from (key.name for key in self._rows.keys.values() if key.claims or key.model_claims)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks.spawn(group, self._follow_store(), "changes in the store")
            tasks.spawn(group, self._watch_file(), "changes of the file")

    def tells(self, hear: Callable[[str], None]) -> None:
        """`hear` gets the text of each file that is taken."""
        self._tell = hear

    def again(self) -> None:
        """Reads the file again, though it looks as before (SIGHUP)."""
        self._is_asked.set()

    # -- types.control.Configuration

    def view(self) -> ConfigurationView:
        return ConfigurationView(
            origin=self._source.origin,
            since=self._since,
            revision=self._rows.revision,
            trouble=self._trouble,
            needs_restart=self._needs_restart,
            left_out=(*self._left_out, *self._rows.left_out),
        )

    def file_routes(self) -> Mapping[str, dict[str, Any]]:
        return Written(self._settings.routes)

    def file_teams(self) -> Mapping[str, dict[str, Any]]:
        return Written(self._settings.teams)

    def file_terms(self) -> Mapping[str, Terms]:
        return {
            name: Terms(name, format_percent(team.markup), format_money(team.allowance))
            for name, team in self._settings.teams.items()
        }

    def usage_since_s(self, now_s: float) -> float:
        return month_us(now_s - self._settings.store.usage.keep_sums) / 1e6

    def file_webhooks(self) -> Mapping[str, dict[str, Any]]:
        return Written(self._settings.webhooks)

    def file_keys(self, team: str | None = None) -> Mapping[str, dict[str, Any]]:
        keys = self._settings.keys
        return Written(
            keys if team is None else {name: key for name, key in keys.items() if key.team == team}
        )

    def check_route(self, name: str, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        try:
            check_route(self._source.whole(self._settings), name, body)
        except ConfigError as exc:
            prefix = f"routes.{name}"
            return [
                (problem.path.removeprefix(prefix).removeprefix("."), problem.message)
                for problem in exc.problems
            ]
        return []

    def check_bounds(self, limits: Limits, budget: Sequence[Budget]) -> list[tuple[str, str]]:
        try:
            bounds_of(limits, budget)
        except ConfigError as exc:
            return [(problem.path, problem.message) for problem in exc.problems]
        if counts_apart(self._settings) and (budget or limits != Limits()):
            return [("limits", APART)]
        return []

    def check_model(self, name: str) -> str:
        core = self._core
        if core is None or core.find_route(name) is not None or core.refuses(name):
            return ""
        return f"there is no model {name!r}{hint(name, list(core.routes))}"

    def providers(self) -> Collection[str]:
        return self._settings.providers.keys()

    def deployment(self, name: str) -> Deployment | None:
        return self._core.deployment(name) if self._core is not None else None

    def claims(self, kind: ScopeKind, name: str) -> tuple[Claim, ...]:
        found: list[Claim] = []
        around = self._rows.around
        match kind:
            case "team" | "user":
                said = around.file_teams.get(name) if kind == "team" else None
                said = said or around.claims.get(name)
                if said is not None:
                    found = [*said.always, *chain.from_iterable(said.by_model.values())]
            case "key":
                key = self._rows.key(name)
                if key is None and self._core is not None:
                    key = next((one for one in self._core.keys.values() if one.name == name), None)
                if key is not None:
                    found = [*key.claims, *chain.from_iterable(key.model_claims.values())]
            case "route" if self._core is not None and name in self._core.routes:
                found = list(self._core.routes[name].claims)
        return tuple({claim.key: claim for claim in found if claim.scope.kind == kind}.values())

    def hash_of(self, secret: bytes) -> bytes:
        return key_hash(secret, self._core.hash_key if self._core is not None else b"")

    # -- the store

    async def _follow_store(self) -> None:
        is_lost = False
        while True:
            try:
                await self._store.wait_for_revision(self._rows.revision)
                await self.take_rows()
            except StoreUnavailable as exc:
                if not is_lost:
                    _log.error("the store does not answer; what runs goes on", reason=exc.message)
                is_lost = True
                await asyncio.sleep(RETRY_S)
                continue
            if is_lost:
                _log.info("the store answers again")
                is_lost = False
            await asyncio.sleep(PAUSE_S)

    async def take_rows(self) -> None:
        """Raises StoreUnavailable."""
        async with self._compiling:
            news = await self._rows.follow()
            has_routes = news.has_routes or self._waiting is not None
            if has_routes:
                await self._take_routes()
            if (news.has_teams or has_routes) and self._core is not None:
                self._policy = with_teams(self._core.identity, self._rows.around)
            if (has_routes or news != News()) and self._core is not None:
                self._take(self._whole(self._core), news.ended)

    async def _take_routes(self) -> None:
        """What is wrong with a file that the settings name (a certificate, prices) must not hold up the rest:
        a key that was revoked in the same moment is revoked.
        """
        try:
            await self._recompile(self._settings)
        except ConfigError as exc:
            self._refuse(exc.lines())
            self._waiting = self._trouble
        else:
            if self._trouble is self._waiting:
                self._trouble = None
            self._waiting = None

    # -- the file

    async def _watch_file(self) -> None:
        taken = seen = await asyncio.to_thread(self._source.stamp)
        is_first = True  # it may have changed since it was read for the start
        while True:
            is_asked = False
            try:
                async with asyncio.timeout(LOOK_S):
                    is_asked = await self._is_asked.wait()
            except TimeoutError:
                pass
            self._is_asked.clear()
            before, seen = seen, await asyncio.to_thread(self._source.stamp)
            if is_asked or ((is_first or seen != taken) and seen == before):
                taken = seen
                await self._take_file(is_first=is_first and not is_asked)
                is_first = False
            if self._rows.is_torn:  # nothing need change in the store for them to be read again
                with contextlib.suppress(StoreUnavailable):
                    await self.take_rows()

    async def _take_file(self, *, is_first: bool = False) -> None:
        try:
            loaded = await asyncio.to_thread(self._source.read)
            if is_first and loaded.settings == self._settings:
                return
            try:
                await self._compile(loaded.settings, from_file=True)
            except ConfigError as exc:
                raise exc.located(loaded.lines, loaded.origin) from None
        except ConfigError as exc:
            self._needs_restart = ()
            self._refuse(exc.lines())
        else:
            if not self._needs_restart:
                _log.info("configuration taken", origin=self._source.origin)
                if loaded.text is not None:
                    self._tell(loaded.text)

    async def _compile(self, settings: Settings, *, from_file: bool = False) -> None:
        """Raises ConfigError; then nothing has changed."""
        async with self._compiling:
            old_keys, old_teams = set(self._settings.keys), self._settings.teams
            if not await self._recompile(settings, is_new=from_file) or self._core is None:
                return
            self._trouble = self._waiting = None
            ended = old_keys - set(settings.keys)
            if settings.teams != old_teams:
                ended |= await self._take_teams(settings)
            self._policy = with_teams(self._core.identity, self._rows.around)
            self._take(self._whole(self._core), ended)

    def _whole(self, core: Snapshot) -> Snapshot:
        return with_rows(core, self._rows.keys, self._rows.hooks.values(), self._policy)

    async def _take_teams(self, settings: Settings) -> set[str]:
        """Keys of the store may be of the file's teams. The keys that were found to be good no more."""
        self._rows.around.file_teams = claims_of_teams(settings)
        self._rows.distrust()
        routes = self._rows.routes
        try:
            news = await self._rows.follow()
        except StoreUnavailable as exc:
            _log.error("keys of the store keep the limits of before until it answers", reason=exc.message)
            return set()
        if self._rows.routes != routes:  # written since: nobody else will hear of it
            await self._take_routes()
        return news.ended

    async def _recompile(self, settings: Settings, *, is_new: bool = False) -> bool:
        """Whether these settings are what runs now."""
        rows = tuple(self._rows.routes.values())
        whole = self._source.whole(settings)

        def work() -> tuple[Snapshot, tuple[LeftOut, ...]]:
            routes, left_out = routes_of(whole, rows)
            return self._source.compile(settings, routes), left_out

        core, left_out = await asyncio.to_thread(work)
        if is_new and self._core is not None:
            reasons = needs_restart(self._settings, settings, self._core.pools, core.pools)
            self._needs_restart = reasons
            if reasons:
                self._refuse([f"{reason}: needs a restart" for reason in reasons])
                return False
        for row in set(left_out) - set(self._left_out):
            _log.warning("a row of the store does not hold", path=row.path, reason=row.reason)
        self._core, self._settings, self._left_out = core, settings, left_out
        self._since = int(self._clock.wall())
        return True

    def _refuse(self, problems: list[str]) -> None:
        self._trouble = Trouble(int(self._clock.wall()), tuple(problems))
        _log.error("the new configuration is not taken; the old one runs on", problems=problems)


def _nobody(*_: object) -> None:
    """Until somebody wants to hear of it."""
