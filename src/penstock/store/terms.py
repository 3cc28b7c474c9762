"""The terms of teams, as they were and are: what they paid beside costs, from which hour on.

They hold for full hours, because sums of usage are kept by the hour for longer than single calls: what a team
owes for a month can be told as exactly in a year as on the day after.

    a team's terms are noted           they hold
    ---------------------------------  -----------------------------------------
    for the first time                 ever since
    other than before                  from the next full hour on
    twice within an hour               the last of them
"""

from collections.abc import Mapping
from typing import Final

from penstock.store.sql import Ask, Row, Script
from penstock.types.store import Terms

_HOUR_S: Final = 3600


def listed(team: str | None, before_s: int) -> Script[tuple[Terms, ...]]:
    where = "" if team is None else " AND team = :team"
    values = {"before": before_s} | ({} if team is None else {"team": team})
    rows = yield Ask("terms.list", values, (("where", where),))
    return tuple(Terms(**row) for row in rows)


def unnoted(of_file: Mapping[str, Terms]) -> Script[list[Terms]]:
    """Those that are not the last noted: of the file's teams, and of the other ones by their rows."""
    rows = yield Ask("terms.unnoted")
    found = [Terms(**row) for row in rows if row["team"] not in of_file]
    for terms in of_file.values():
        last = yield from _last(terms.team)
        if last is None or not _is_same(last, terms):
            found.append(terms)
    return found


def note(of_file: Mapping[str, Terms], now_s: int) -> Script[int]:
    """How many were noted. One after the other: two at once would both find the same lacking."""
    yield Ask("terms.hold")
    changed = yield from unnoted(of_file)
    for terms in changed:
        last = yield from _last(terms.team)
        # Never before the last: a process whose clock is ahead may have written that.
        since = 0 if last is None else max(next_hour(now_s), last["since"])
        values = {"team": terms.team, "since": since, "markup": terms.markup, "allowance": terms.allowance}
        yield Ask("terms.note", values)
    return len(changed)


def next_hour(now_s: float) -> int:
    """The beginning of the first hour that has not begun."""
    return (int(now_s) // _HOUR_S + 1) * _HOUR_S


def _last(team: str) -> Script[Row | None]:
    rows = yield Ask("terms.last", {"team": team})
    return rows[0] if rows else None


def _is_same(row: Row, terms: Terms) -> bool:
    return bool(row["markup"] == terms.markup and row["allowance"] == terms.allowance)
