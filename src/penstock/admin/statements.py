"""What each team used in a month, by public name and provider, and what it owes: as JSON, and as CSV.

    cost         of the usage kept (types/usage_store.py)
    markup       what `charge` adds to the whole cost, half a pico-USD to even; a line gets what the whole
                 grew by with it, in the order of the lines
    allowance    a credit, at most what there is to pay
    due          the sum of these

All of it is exact: the lines of a team add up to its total. A month is one of UTC; while it runs, the
statement is of what was used so far. Terms are those that a team has when the statement is made.
"""

import csv
import datetime as dt
import io
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.admin import rights
from penstock.admin.bodies import Statement, StatementLine, StatementQuery, Statements
from penstock.admin.desk import Desk, Request, missing
from penstock.config.units import format_percent, parse_money, parse_percent
from penstock.types.door import Answer
from penstock.types.errors import InvalidRequest, NotFoundRow
from penstock.types.money import charges, format_usd
from penstock.types.page import MAX_PAGE
from penstock.types.store import Team
from penstock.types.usage_store import UsageSum, UsageWhere

_MONEY: Final = frozenset({"cost_usd", "markup_usd", "due_usd"})
_SUMMED: Final = tuple(
    name for name in StatementLine.__struct_fields__ if name not in {"item", "route", "provider"} | _MONEY
)
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(_SUMMED, 0)
_NUMBER: Final = re.compile(r"-[0-9.]+")


class Terms(NamedTuple):
    """Basis points and pico-USD."""

    name: str
    markup: int = 0
    allowance: int = 0


class Monthly(Desk):
    async def statements(self, request: Request) -> Statements | Answer:
        query: StatementQuery = request.query
        team = self._team(request, query)
        month, since, until = bounds(query.month, self.clock.wall())
        now_s = self.clock.wall()
        lines: dict[str, list[UsageSum]] = {}
        if team is not None:
            await self._require_known(team)
            lines[team] = []
        where = UsageWhere(micros(since), micros(until), team=team)
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

    async def _statement(self, team: str, rows: Sequence[UsageSum]) -> Statement:
        return statement(team, await self._terms(team), rows)

    async def _terms(self, team: str) -> Terms:
        written = self.configuration.file_teams().get(team)
        if written is not None:
            markup, allowance = written.get("markup", "0"), written.get("allowance", "0")
            return Terms(team, parse_percent(markup), parse_money(allowance))
        if not team:
            return Terms(team)
        try:
            row = await self.store.get(Team, team)
        except NotFoundRow:
            return Terms(team)  # it was deleted; what it used stays
        return Terms(row.name, parse_percent(row.markup), parse_money(row.allowance))


def statement(team: str, terms: Terms, rows: Sequence[UsageSum]) -> Statement:
    rows = sorted(rows, key=lambda row: (row.by["route"], row.by["provider"]))
    due = charges([row.cost_pico for row in rows], terms.markup)
    lines = [_line(row, charged) for row, charged in zip(rows, due, strict=True)]
    credit = min(terms.allowance, sum(due))
    if terms.allowance:
        money: dict[str, Any] = {"cost_usd": "0", "markup_usd": "0", "due_usd": format_usd(-credit)}
        lines.append(StatementLine(item="allowance", route="", provider="", **_NOTHING, **money))
    cost = sum(row.cost_pico for row in rows)
    return Statement(
        team=team,
        name=terms.name,
        markup_percent=format_percent(terms.markup),
        lines=lines,
        cost_usd=format_usd(cost),
        markup_usd=format_usd(sum(due) - cost),
        allowance_usd=format_usd(-credit),
        due_usd=format_usd(sum(due) - credit),
        **{name: sum(getattr(row, name) for row in rows) for name in _SUMMED},
    )


def _line(row: UsageSum, charged: int) -> StatementLine:
    return StatementLine(
        route=row.by["route"],
        provider=row.by["provider"],
        cost_usd=format_usd(row.cost_pico),
        markup_usd=format_usd(charged - row.cost_pico),
        due_usd=format_usd(charged),
        **{name: getattr(row, name) for name in _SUMMED},
    )


def bounds(said: str | None, now_s: float) -> tuple[str, dt.datetime, dt.datetime]:
    """The month's name, its first moment and that of the next."""
    month = said or f"{dt.datetime.fromtimestamp(now_s, dt.UTC):%Y-%m}"
    year, number = int(month[:4]), int(month[5:])
    if not (1970 <= year <= 9998 and 1 <= number <= 12):
        raise InvalidRequest("`month` must be one such as 2026-11.", param="month")
    since = dt.datetime(year, number, 1, tzinfo=dt.UTC)
    return month, since, since.replace(year=year + number // 12, month=number % 12 + 1)


def micros(moment: dt.datetime) -> int:
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
            writer.writerow(map(plain, (found.month, one.team, one.name, *values)))
    return text.getvalue()


def plain(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text."""
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula and not _NUMBER.fullmatch(str(value)) else value
