"""What is only read: usage, changes, the configuration, deployments."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from penstock.admin import rights
from penstock.admin.bodies import (
    CallItems,
    CallQuery,
    CallView,
    ChangeQuery,
    ChangeView,
    LimitLine,
    LimitQuery,
    SeriesQuery,
    SumQuery,
    SumView,
    UsageQuery,
)
from penstock.admin.desk import Desk, Paged, Request, missing
from penstock.admin.reading import moment_us
from penstock.config.units import format_money
from penstock.lib.registry import hint
from penstock.types.control import ConfigurationView, DeploymentLine
from penstock.types.errors import InvalidRequest, LimitsUnavailable
from penstock.types.ledger import Claim, LedgerUnavailable, Row, ScopeKind
from penstock.types.money import Cost
from penstock.types.page import Page
from penstock.types.store import Key, StoredRoute, Team, User
from penstock.types.usage_store import DIMENSIONS, CallWhere, Dimension, UsageRow, UsageSum, UsageWhere

_US: Final = 1_000_000


# Of each limit, what is used of it. Raises LedgerUnavailable
UsedOf = Callable[[Sequence[Claim]], Awaitable[list[Row]]]


class Reports(Desk):
    deployment_lines: Callable[[], list[DeploymentLine]]
    used: UsedOf

    async def totals(self, request: Request) -> Paged[SumView]:
        query: SumQuery = request.query
        where = UsageWhere(**self._where(request, query))
        return _sums(
            await self.store.sum_usage(
                where, by=_dimensions(query.by), cursor=query.cursor, limit=query.limit
            )
        )

    async def series(self, request: Request) -> Paged[SumView]:
        query: SeriesQuery = request.query
        where = UsageWhere(**self._where(request, query))
        return _sums(
            await self.store.sum_usage(
                where,
                by=_dimensions(query.by),
                step=query.step,
                cursor=query.cursor,
                limit=query.limit,
            )
        )

    async def calls(self, request: Request) -> Paged[CallView]:
        query: CallQuery = request.query
        where = CallWhere(
            **self._where(request, query),
            id=query.id,
            status=query.status,
            error=query.error,
            is_failed=None if query.failed is None else query.failed == "true",
        )
        found = await self.store.list_calls(where, cursor=query.cursor, limit=query.limit)
        return Paged([_call(row) for row in found.rows], found.cursor)

    async def changes(self, request: Request) -> Paged[ChangeView]:
        query: ChangeQuery = request.query
        found = await self.store.changes(
            path=query.path, actor=query.actor, cursor=query.cursor, limit=query.limit
        )
        rows = [msgspec.convert(row, ChangeView, from_attributes=True) for row in found.rows]
        return Paged(rows, found.cursor)

    async def limits(self, request: Request) -> Paged[LimitLine]:
        """Raises LimitsUnavailable, NotFoundRow."""
        query: LimitQuery = request.query
        is_own = not (query.key or query.team or query.user or query.route)
        own = None if is_own else rights.scope(request.caller)
        asked: list[tuple[ScopeKind, str]] = []
        if query.key is not None:
            if query.key not in self.configuration.file_keys(rights.scope(request.caller)):
                await self.seen(request, Key, query.key)
            asked.append(("key", query.key))
        if query.team is not None:
            if own not in {None, query.team}:
                raise missing(Team, query.team, "team")
            if query.team not in self.configuration.file_teams():
                await self.seen(request, Team, query.team)
            asked.append(("team", query.team))
        if query.user is not None:
            if own is not None:
                raise missing(User, query.user, "user")
            await self.store.get(User, query.user)
            asked.append(("user", query.user))
        if query.route is not None:
            if own is not None:
                raise missing(StoredRoute, query.route, "route")
            asked.append(("route", query.route))
        if asked:
            claims = [claim for kind, name in asked for claim in self.configuration.claims(kind, name)]
        else:
            claims = list({claim.key: claim for claim in rights.claims_of(request.caller)}.values())
        try:
            rows = await self.used(claims) if claims else []
        except LedgerUnavailable as exc:
            raise LimitsUnavailable("The store of the limits does not answer.") from exc
        return Paged([_limit(row) for row in rows])

    async def configuration_view(self, request: Request) -> ConfigurationView:  # noqa: ARG002 - as all handlers
        return self.configuration.view()

    async def deployments(self, request: Request) -> Paged[DeploymentLine]:  # noqa: ARG002
        return Paged(self.deployment_lines())

    def _where(self, request: Request, query: UsageQuery) -> dict[str, Any]:
        """Of who sees one team only, that team's calls. Raises NotFoundRow, InvalidRequest."""
        now_s = self.clock.wall()
        since_us = moment_us(query.since, now_s, "since")
        until_us = moment_us(query.until or f"{int(now_s) + 1}", now_s, "until")
        if until_us < since_us and query.until is None:
            raise InvalidRequest("`since` is in the future.", param="since")
        if until_us < since_us:
            raise InvalidRequest("`until` is before `since`.", param="until")
        asked: dict[str, Any] = {name: getattr(query, name) for name in DIMENSIONS}
        team = rights.scope(request.caller)
        if team is not None:
            if asked["team"] not in {None, team}:
                raise missing(Team, asked["team"], "team")
            asked["team"] = team
        return {"since_us": since_us, "until_us": until_us, **asked}


def _limit(row: Row) -> LimitLine:
    limit = row.limit
    is_money = limit.resource == "pico_usd"

    def text(amount: int) -> str:
        return format_money(amount) if is_money else str(amount)

    return LimitLine(
        scope=row.scope.kind,
        id=row.scope.owner,
        models=row.scope.models,
        resource="usd" if limit.resource == "pico_usd" else limit.resource,
        window=None if limit.window is None else str(limit.window),
        limit=text(limit.amount),
        used=text(row.used),
        reserved=text(row.reserved),
        remaining=text(max(0, limit.amount - row.used - row.reserved)),
    )


def _dimensions(by: str) -> tuple[Dimension, ...]:
    found: list[Dimension] = []
    known: dict[str, Dimension] = {one: one for one in DIMENSIONS}
    for name in filter(None, by.split(",")):
        if name not in known or known[name] in found:
            near = "" if name in known else hint(name, known)
            raise InvalidRequest(
                f"`by` names {name!r}; allowed, each once: {', '.join(DIMENSIONS)}{near}", param="by"
            )
        found.append(known[name])
    return tuple(found)


def _sums(found: Page[UsageSum]) -> Paged[SumView]:
    return Paged([_sum(row) for row in found.rows], found.cursor)


def _sum(row: UsageSum) -> SumView:
    return SumView(
        by={str(name): value for name, value in row.by.items()},
        start=None if row.start_us is None else row.start_us // _US,
        calls=row.calls,
        failed=row.failed,
        streams=row.streams,
        attempts=row.attempts,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        cache_write_tokens=row.cache_write_tokens,
        completion_tokens=row.completion_tokens,
        reasoning_tokens=row.reasoning_tokens,
        images=row.images,
        cost_usd=format_money(row.cost_pico),
        unpriced=row.unpriced,
        estimated=row.estimated,
        mean_ttft_ms=round(row.ttft_us / row.answered / 1000, 1) if row.answered else None,
        mean_total_ms=round(row.total_us / row.calls / 1000, 1) if row.calls else None,
    )


def _call(row: UsageRow) -> CallView:
    same = {
        name: getattr(row, name) for name in CallView.__struct_fields__ if name in UsageRow.__struct_fields__
    }
    return CallView(
        **{**same, "dropped": list(row.dropped)},
        time=row.time_us / _US,
        cost_usd=None if row.cost_pico is None else format_money(row.cost_pico),
        items=_items(row.cost),
        ttft_ms=None if row.ttft_us is None else row.ttft_us / 1000,
        total_ms=row.total_us / 1000,
        queue_ms=row.queue_us / 1000,
    )


def _items(cost: Cost | None) -> CallItems | None:
    if cost is None:
        return None
    return CallItems(
        input=format_money(cost.input),
        cached=format_money(cost.cached),
        cache_write=format_money(cost.cache_write),
        output=format_money(cost.output),
        reasoning=format_money(cost.reasoning),
        images=format_money(cost.image),
        audio=format_money(cost.audio),
        searches=format_money(cost.query),
    )
