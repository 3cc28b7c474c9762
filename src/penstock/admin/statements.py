"""What each team used in a month, by public name and provider: as JSON, and as CSV for a spreadsheet.

Sums are those of the usage kept (types/usage_store.py), exact; the lines of a team add up to its total. A
month is one of UTC. While it runs, the statement is of what was used so far.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.admin import rights
from penstock.admin.bodies import Statement, StatementLine, StatementQuery, Statements
from penstock.admin.desk import Desk, Request, missing
from penstock.config.units import format_money
from penstock.types.door import Answer
from penstock.types.errors import InvalidRequest, NotFoundRow
from penstock.types.page import MAX_PAGE
from penstock.types.store import Team
from penstock.types.usage_store import UsageSum, UsageWhere

_SUMMED: Final = tuple(
    name for name in StatementLine.__struct_fields__ if name not in {"route", "provider", "cost_usd"}
)


class Monthly(Desk):
    async def statements(self, request: Request) -> Statements | Answer:
        query: StatementQuery = request.query
        team = self._team(request, query)
        month, since, until = _bounds(query.month, self.clock.wall())
        now_s = self.clock.wall()
        lines: dict[str, list[UsageSum]] = {}
        if team is not None:
            await self._require_known(team)
            lines[team] = []
        where = UsageWhere(_us(since), _us(until), team=team)
        cursor: str | None = None
        while True:
            page = await self.store.sum_usage(
                where, by=("team", "route", "provider"), cursor=cursor, limit=MAX_PAGE
            )
            for row in page.rows:
                lines.setdefault(row.by["team"], []).append(row)
            cursor = page.cursor
            if cursor is None:
                break
        found = Statements(
            month=month,
            since=since.isoformat(),
            until=until.isoformat(),
            is_final=now_s >= until.timestamp(),
            data=[await self._statement(team_id, rows) for team_id, rows in sorted(lines.items())],
        )
        if query.format == "csv":
            return Answer(body=_csv(found).encode(), content_type="text/csv; charset=utf-8")
        return found

    def _team(self, request: Request, query: StatementQuery) -> str | None:
        own = rights.scope(request.caller)
        if own is not None and query.team not in {None, own}:
            raise missing(Team, str(query.team), "team")
        return own if own is not None else query.team

    async def _require_known(self, team: str) -> None:
        if team not in self.configuration.file_teams():
            await self.store.get(Team, team)

    async def _statement(self, team: str, rows: Iterable[UsageSum]) -> Statement:
        name = team
        if team and team not in self.configuration.file_teams():
            try:
                name = (await self.store.get(Team, team)).name
            except NotFoundRow:
                name = team  # it was deleted; what it used stays
        rows = sorted(rows, key=lambda row: (row.by["route"], row.by["provider"]))
        total = _line(rows)
        return Statement(
            team=team,
            name=name,
            lines=[_line([row], row.by["route"], row.by["provider"]) for row in rows],
            **{field: getattr(total, field) for field in (*_SUMMED, "cost_usd")},
        )


def _line(rows: Iterable[UsageSum], route: str = "", provider: str = "") -> StatementLine:
    rows = list(rows)
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMMED}
    cost = format_money(sum(row.cost_pico for row in rows))
    return StatementLine(route=route, provider=provider, cost_usd=cost, **sums)


def _bounds(said: str | None, now_s: float) -> tuple[str, dt.datetime, dt.datetime]:
    """The month's name, its first moment and that of the next."""
    month = said or f"{dt.datetime.fromtimestamp(now_s, dt.UTC):%Y-%m}"
    year, number = int(month[:4]), int(month[5:])
    if not (1970 <= year <= 9998 and 1 <= number <= 12):
        raise InvalidRequest("`month` must be one such as 2026-11.", param="month")
    since = dt.datetime(year, number, 1, tzinfo=dt.UTC)
    return month, since, since.replace(year=year + number // 12, month=number % 12 + 1)


def _us(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def _csv(found: Statements) -> str:
    """One row for each line; a spreadsheet makes the totals."""
    text = io.StringIO()
    columns = StatementLine.__struct_fields__
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["month", "team", "name", *columns])
    for one in found.data:
        for line in one.lines:
            values = msgspec.structs.astuple(line)
            writer.writerow(map(_plain, (found.month, one.team, one.name, *values)))
    return text.getvalue()


def _plain(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
