"""What every handler works with: a request that was read and checked, the store, and the ways to it.

A row that the caller may not see is answered as one that is not there, in the same words.
"""

import bisect
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from penstock.admin import rights
from penstock.lib.clock import Clock
from penstock.store.rows import KINDS
from penstock.types.control import Configuration
from penstock.types.errors import Conflict, InvalidRequest, NotFoundRow
from penstock.types.identity import VirtualKey
from penstock.types.store import Budget, E, Entity, Limits, Membership, Store, StoredRoute, Team

T = TypeVar("T")
V = TypeVar("V", bound=msgspec.Struct)

KEY_PREFIX: Final = "sk-penstock-"
_FILE_CURSOR: Final = "file:"  # no cursor of the store has a colon
SHOWN_CHARS: Final = len(KEY_PREFIX) + 6


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """id: what the path names. version: that the caller has read, where it says so."""

    caller: VirtualKey
    id: str = ""
    body: Any = None
    query: Any = None
    version: int | None = None


class Paged(msgspec.Struct, Generic[T], frozen=True):
    """cursor: gives the next page; null at the end."""

    data: list[T]
    cursor: str | None = None


class Desk:
    def __init__(self, store: Store, configuration: Configuration, clock: Clock) -> None:
        self.store = store
        self.configuration = configuration
        self.clock = clock

    def now_s(self) -> int:
        return int(self.clock.wall())

    async def seen(self, request: Request, kind: type[E], id_: str, *, param: str | None = None) -> E:
        """Raises NotFoundRow."""
        row = await self.store.get(kind, id_)
        team = rights.scope(request.caller)
        if team is not None and team_of(row) != team:
            raise missing(kind, id_, param)
        return row

    async def page(
        self, request: Request, kind: type[E], view: type[V], fields: Mapping[str, str | None] | None = None
    ) -> Paged[V]:
        asked = {name: value for name, value in (fields or {}).items() if value is not None}
        team = rights.scope(request.caller)
        if team is not None and asked.setdefault("team", team) != team:
            raise missing(Team, asked["team"], "team")
        found = await self.store.page(kind, cursor=request.query.cursor, limit=request.query.limit, **asked)
        return Paged([shown(view, row) for row in found.rows], found.cursor)

    async def after_the_file(
        self,
        request: Request,
        written: Mapping[str, Any],
        view: Callable[[str, Any], T],
        page: Callable[[Request], Awaitable[Paged[T]]],
    ) -> Paged[T]:
        """A page of what the file says, by name, and after that of the store."""
        query = request.query
        cursor, names, is_first = query.cursor or "", sorted(written), query.cursor is None
        if not is_first and not cursor.startswith(_FILE_CURSOR):
            return await page(request)
        at = 0 if is_first else bisect.bisect_right(names, cursor.removeprefix(_FILE_CURSOR))
        some = names[at : at + query.limit]
        rows = [view(name, written[name]) for name in some]
        if len(rows) == query.limit:
            return Paged(rows, f"{_FILE_CURSOR}{some[-1]}")
        rest = msgspec.structs.replace(query, cursor=None, limit=query.limit - len(rows))
        found = await page(msgspec.structs.replace(request, query=rest))
        return Paged(rows + found.data, found.cursor)

    async def create(self, request: Request, row: E) -> E:
        return await self.store.create(row, actor=request.caller.name)

    async def edit(self, request: Request, row: E, fields: Mapping[str, Any]) -> E:
        """Raises Conflict where the caller has read another version."""
        require_version(request, row)
        return await self.store.update(msgspec.structs.replace(row, **fields), actor=request.caller.name)

    async def delete(self, request: Request, row: Entity) -> None:
        require_version(request, row)
        await self.store.delete(row, actor=request.caller.name)

    async def bounded(self, caller: VirtualKey, fields: dict[str, Any]) -> dict[str, Any]:
        """With limits and budgets as the store keeps them. Raises InvalidRequest where they make no sense."""
        if "limits" in fields:
            fields["limits"] = _limits(fields["limits"])
        if "budget" in fields:
            fields["budget"] = tuple(map(_budget, fields["budget"]))
        found = self.configuration.check_bounds(fields.get("limits", Limits()), fields.get("budget", ()))
        if found:
            path, what = found[0]
            raise InvalidRequest(f"`{path}`: {what}.", param=path)
        for at, budget in enumerate(fields.get("budget", ())):
            await self.require_models(caller, budget.models, f"budget[{at}].models")
        return fields

    async def require_models(self, caller: VirtualKey, names: Sequence[str], param: str) -> None:
        """That clients may ask for them: a budget of others would never be used up. Raises InvalidRequest.

        Who may use some only gives none but those, and is not told which others there are.
        """
        if caller.routes is not None:
            return
        for at, name in enumerate(names):
            said = self.configuration.check_model(name)
            if said and not await self._is_being_made(name):
                raise InvalidRequest(f"`{param}[{at}]`: {said}.", param=f"{param}[{at}]")

    async def _is_being_made(self, name: str) -> bool:
        """A route that was made a moment ago may not run here yet."""
        try:
            await self.store.get(StoredRoute, name)
        except NotFoundRow:
            return False
        return True

    def own_team(self, caller: VirtualKey, asked: str | None) -> str | None:
        """Of what a caller makes: theirs, where they see no other. Raises NotFoundRow."""
        team = rights.scope(caller)
        if team is None or asked is None:
            return asked or team
        if asked != team:
            raise missing(Team, asked, "team")
        return team

    async def require_place(
        self, caller: VirtualKey, kind: type[Entity], id_: str | None, param: str
    ) -> None:
        """That a row may be named by one the caller makes. Raises NotFoundRow.

        A team of the file gets a row, for others to name.
        """
        if id_ is None:
            return
        try:
            row = await self.store.get(kind, id_)
        except NotFoundRow:
            if kind is not Team or id_ not in self.configuration.file_teams():
                raise missing(kind, id_, param) from None
            row = await self._row_of_the_file(id_, caller)
        team = rights.scope(caller)
        if team is None or team_of(row) == team:
            return
        member = await self.store.find(Membership, team=team, user=id_)
        if member is None:
            raise missing(kind, id_, param)

    async def _row_of_the_file(self, team: str, caller: VirtualKey) -> Team:
        """Its name is not shown as long as the file has the team; one of the store may have it already."""
        try:
            return await self.store.create(Team(id=team, name=team), actor=caller.name)
        except Conflict:
            return await self.store.create(Team(id=team, name=f"{team} (file)"), actor=caller.name)


def said(body: msgspec.Struct) -> dict[str, Any]:
    """The fields of an edit that were given."""
    values = {name: getattr(body, name) for name in body.__struct_fields__ if name != "version"}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not msgspec.UNSET
    }


def _limits(body: Any) -> Limits:
    return Limits(_several(body.requests), _several(body.tokens), body.concurrency)


def _several(said: str | list[str]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _budget(body: Any) -> Budget:
    alerts = None if body.alerts is None else tuple(body.alerts)
    return Budget(str(body.usd), body.period, body.rolling, tuple(body.models), alerts)


def of_the_file(name: str) -> dict[str, Any]:
    """What a row would have, of something that the file says."""
    return {"id": name, "created": 0, "created_by": "", "version": 0, "source": "file"}


def bounds_of_the_file(written: Mapping[str, Any]) -> dict[str, Any]:
    limits, budget = dict(written.get("limits", {})), written.get("budget", [])
    for name in ("requests", "tokens"):
        limits[name] = _several(limits.get(name, []))
    budgets = [budget] if isinstance(budget, dict) else budget
    return {
        "limits": msgspec.convert(limits, Limits),
        "budget": [msgspec.convert(one, Budget) for one in budgets],
    }


def switched(row: Any, fields: dict[str, Any], now_s: int) -> dict[str, Any]:
    """`disabled: true` -> since when; who is disabled already stays so since then."""
    if "disabled" in fields:
        is_wanted = fields["disabled"]
        fields["disabled"] = (row.disabled or now_s) if is_wanted else None
    return fields


def shown(view: type[V], row: Entity, **more: Any) -> V:
    if not more:
        return msgspec.convert(row, view, from_attributes=True)
    fields = {name: getattr(row, name) for name in view.__struct_fields__ if hasattr(row, name)}
    return msgspec.convert({**fields, **more}, view)


def team_of(row: Entity) -> str | None:
    """None: it is nobody's, or everybody's."""
    return row.id if isinstance(row, Team) else cast("str | None", getattr(row, "team", None))


def missing(kind: type[Entity], id_: str, param: str | None = None) -> NotFoundRow:
    """As the store says it."""
    return NotFoundRow(f"There is no {KINDS[kind].noun} {id_!r}.", param=param)


def require_version(request: Request, row: Entity) -> None:
    if request.version is not None and request.version != row.version:
        raise Conflict(
            f"The {KINDS[type(row)].noun} {row.id!r} is version {row.version}, not {request.version}:"
            " somebody changed it meanwhile. Read it again."
        )


def new_secret() -> str:
    return KEY_PREFIX + secrets.token_hex(20)
