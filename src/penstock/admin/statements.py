"""What each team used in a month, by public name and provider, and what it owes: as JSON, and as CSV.

    cost         of the usage kept (types/usage_store.py)
    markup       what `charge` adds to the whole cost, half a pico-USD to even; a line gets what the whole
                 grew by with it, in the order of the lines
    allowance    a credit, at most what there is to pay
    due          the sum of these

All of it is exact: the lines of a team add up to its total. A month is one of UTC; while it runs, the
statement is of what was used so far.

A call is charged by the terms of the hour in which it began (store/terms.py); where they changed within the
month, what was used by each is charged by itself. The allowance is the one at the month's end.
"""

import csv
import datetime as dt
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.admin import rights
from penstock.admin.bodies import Statement, StatementLine, StatementQuery, Statements
from penstock.admin.desk import Desk, Request, missing
from penstock.config.units import parse_money, parse_percent
from penstock.store.terms import next_hour
from penstock.types.door import Answer
from penstock.types.errors import InvalidRequest, NotFoundRow
from penstock.types.money import charges, format_usd
from penstock.types.page import MAX_PAGE
from penstock.types.store import Team, Terms
from penstock.types.usage_store import UsageSum, UsageWhere

FINAL_AFTER_S: Final = (
    86_400.0  # of a month: calls that began in it may run for a while, and are written later
)

_MONEY: Final = frozenset({"cost_usd", "markup_usd", "due_usd"})
_SUMMED: Final = tuple(
    name
    for name in StatementLine.__struct_fields__
    if name not in {"item", "since", "route", "provider", "markup_percent"} | _MONEY
)
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(_SUMMED, 0)
_NUMBER: Final = re.compile(r"-[0-9.]+")
_S: Final = 1_000_000


class Part(NamedTuple):
    """Of a month, with the terms that held in it, and what was used. Unix seconds."""

    since_s: int
    until_s: int
    terms: Terms
    rows: Sequence[UsageSum] = ()


class Kept(Desk):
    def require_kept(self, month: str, until: dt.datetime) -> None:
        """A month whose usage was dropped looks like one in which nothing was used. Raises InvalidRequest."""
        if until.timestamp() <= self.configuration.usage_since_s(self.clock.wall()):
            raise InvalidRequest(
                f"The usage of {month} is no longer kept (`store.usage.keep_sums`).", param="month"
            )


class Monthly(Kept):
    async def statements(self, request: Request) -> Statements | Answer:
        query: StatementQuery = request.query
        team = self._team(request, query)
        now_s = self.clock.wall()
        month, since, until = bounds(query.month, now_s)
        self.require_kept(month, until)
        since_s, until_s = int(since.timestamp()), int(until.timestamp())
        noted: dict[str, list[Terms]] = {}
        for terms in await self.store.terms(until_s, team=team):
            noted.setdefault(terms.team, []).append(terms)
        if team is not None and team not in noted:
            await self._require_known(team)
        used = await self._used(since_s, until_s, team)
        if team is not None:
            used.setdefault(team, [])
        data: list[Statement] = []
        for id_, rows in sorted(used.items()):
            name, terms_now = await self._now(id_)
            parts = parts_of(history(id_, noted.get(id_, []), terms_now, now_s), since_s, until_s)
            if len(parts) == 1:
                parts = [parts[0]._replace(rows=rows)]
            else:
                parts = [
                    part._replace(rows=(await self._used(part.since_s, part.until_s, id_)).get(id_, ()))
                    for part in parts
                ]
            data.append(statement(id_, name, parts))
        found = Statements(
            month=month,
            since=since.isoformat(),
            until=until.isoformat(),
            is_final=now_s >= until_s + FINAL_AFTER_S,
            data=data,
        )
        if query.format == "csv":
            return Answer(body=_csv(found).encode(), content_type="text/csv; charset=utf-8")
        return found

    async def _used(self, since_s: int, until_s: int, team: str | None) -> dict[str, list[UsageSum]]:
        """By team."""
        where = UsageWhere(since_s * _S, until_s * _S, team=team)
        found: dict[str, list[UsageSum]] = {}
        cursor: str | None = None
        while True:
            page = await self.store.sum_usage(
                where, by=("team", "route", "provider"), cursor=cursor, limit=MAX_PAGE
            )
            for row in page.rows:
                found.setdefault(row.by["team"], []).append(row)
            cursor = page.cursor
            if cursor is None:
                return found

    def _team(self, request: Request, query: StatementQuery) -> str | None:
        own = rights.scope(request.caller)
        if own is not None and query.team not in {None, own}:
            raise missing(Team, str(query.team), "team")
        return own if own is not None else query.team

    async def _require_known(self, team: str) -> None:
        if team not in self.configuration.file_terms():
            await self.store.get(Team, team)

    async def _now(self, team: str) -> tuple[str, Terms | None]:
        """Its name and terms; None: there is no such team, or no more."""
        written = self.configuration.file_terms().get(team)
        if written is not None or not team:
            return team, written
        try:
            row = await self.store.get(Team, team)
        except NotFoundRow:
            return team, None
        return row.name, Terms(team, row.markup, row.allowance)


def history(team: str, noted: Sequence[Terms], now: Terms | None, now_s: float) -> list[Terms]:
    """At least one, in the order in which they hold. What was not noted yet holds as it is going to be."""
    found = list(noted)
    last = found[-1] if found else None
    if last is None:
        found.append(now or Terms(team))
    elif now is not None and (last.markup, last.allowance) != (now.markup, now.allowance):
        found.append(msgspec.structs.replace(now, since=max(next_hour(now_s), last.since)))
    return found


def parts_of(terms: Sequence[Terms], since_s: int, until_s: int) -> list[Part]:
    """The range without a gap, cut where other terms began to hold."""
    cuts = [one.since for one in terms if since_s < one.since < until_s]
    edges = sorted({since_s, *cuts, until_s})
    return [
        Part(start, stop, next((one for one in reversed(terms) if one.since <= start), terms[0]))
        for start, stop in itertools.pairwise(edges)
    ]


def statement(team: str, name: str, parts: Sequence[Part]) -> Statement:
    lines: list[StatementLine] = []
    cost = due = 0
    for part in parts:
        rows = sorted(part.rows, key=lambda row: (row.by["route"], row.by["provider"]))
        charged = charges([row.cost_pico for row in rows], parse_percent(part.terms.markup))
        lines += [_line(part, row, one) for row, one in zip(rows, charged, strict=True)]
        cost += sum(row.cost_pico for row in rows)
        due += sum(charged)
    last = parts[-1].terms
    allowance = parse_money(last.allowance)
    credit = min(allowance, due)
    if allowance:
        money: dict[str, Any] = {"cost_usd": "0", "markup_usd": "0", "due_usd": format_usd(-credit)}
        since = moment(parts[0].since_s)
        lines.append(
            StatementLine(
                item="allowance", since=since, route="", provider="", markup_percent="0", **_NOTHING, **money
            )
        )
    rows = [row for part in parts for row in part.rows]
    return Statement(
        team=team,
        name=name,
        markup_percent=last.markup,
        lines=lines,
        cost_usd=format_usd(cost),
        markup_usd=format_usd(due - cost),
        allowance_usd=format_usd(-credit),
        due_usd=format_usd(due - credit),
        **{name: sum(getattr(row, name) for row in rows) for name in _SUMMED},
    )


def _line(part: Part, row: UsageSum, charged: int) -> StatementLine:
    return StatementLine(
        since=moment(part.since_s),
        route=row.by["route"],
        provider=row.by["provider"],
        markup_percent=part.terms.markup,
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
    return int(moment.timestamp()) * _S


def moment(unix_s: int) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).isoformat()


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
