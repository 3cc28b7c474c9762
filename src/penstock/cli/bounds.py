"""Limits and budgets on the command line, and tables of rows on the terminal.

--requests 60/min, --tokens 20k/min, --concurrency 4   several rates hold all at once
--budget 25, --budget 25/week                          dollars a month; a week
--budget 100/30d:chat,smart                            in any 30 days, for two models
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from penstock.cli.output import note, plain, say
from penstock.types.errors import InvalidRequest

_BUDGET: Final = re.compile(r"\$?(?P<usd>[0-9.]+)(/(?P<window>[0-9a-z.]+))?(:(?P<models>.+))?")
_PERIODS: Final = ("day", "week", "month", "total")

Requests = Annotated[
    list[str] | None,
    typer.Option("--requests", metavar="RATE", help="At most so many calls: 60/min. Repeatable."),
]
Tokens = Annotated[
    list[str] | None,
    typer.Option("--tokens", metavar="RATE", help="At most so many tokens: 20k/min. Repeatable."),
]
Concurrency = Annotated[int | None, typer.Option(min=1, metavar="N", help="At most N calls at once.")]
Budget = Annotated[
    list[str] | None,
    typer.Option(
        "--budget", metavar="USD", help="25 (a month), 25/day, 100/30d, 100/month:chat,smart. Repeatable."
    ),
]
NoLimits = Annotated[bool, typer.Option("--no-limits", help="Take all limits away.")]
NoBudget = Annotated[bool, typer.Option("--no-budget", help="Take all budgets away.")]


def limits(requests: list[str] | None, tokens: list[str] | None, concurrency: int | None) -> dict[str, Any]:
    """What was said, as the admin API takes it."""
    said = {"requests": requests, "tokens": tokens, "concurrency": concurrency}
    return {name: value for name, value in said.items() if value}


def budgets(written: Iterable[str] | None) -> list[dict[str, Any]]:
    """Raises InvalidRequest."""
    return [_budget(one) for one in written or ()]


def _budget(text: str) -> dict[str, Any]:
    from penstock.config.units import DURATION_PATTERN

    found = _BUDGET.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"--budget {text}: write 25, 25/day, 100/30d or 100/month:chat,smart.")
    said: dict[str, Any] = {"usd": found["usd"]}
    window = found["window"]
    if window is not None:
        if window not in _PERIODS and not re.fullmatch(DURATION_PATTERN, window):
            raise InvalidRequest(
                f"--budget {text}: a budget is for a {', '.join(_PERIODS)}, or so long: 30d."
            )
        said["period" if window in _PERIODS else "rolling"] = window
    if found["models"]:
        said["models"] = found["models"].split(",")
    return said


def merged(
    row: Mapping[str, Any],
    said: Mapping[str, Any],
    *,
    budget: list[dict[str, Any]],
    is_free: bool,
    is_unbudgeted: bool,
) -> dict[str, Any]:
    """The fields of an edit: what is not said of the limits stays."""
    fields: dict[str, Any] = {}
    if said or is_free:
        fields["limits"] = {**({} if is_free else row["limits"]), **said}
    if budget or is_unbudgeted:
        fields["budget"] = budget
    return fields


def require_said(fields: Mapping[str, Any]) -> None:
    """An edit of nothing is a word that was forgotten. Raises InvalidRequest."""
    if not fields:
        raise InvalidRequest("Say what is to change; --help lists what can.")


def shown(row: Mapping[str, Any]) -> str:
    """Limits and budgets of a row, as they are written."""
    said = row.get("limits") or {}
    parts = [f"{rate} {name}" for name in ("requests", "tokens") for rate in said.get(name, ())]
    if said.get("concurrency"):
        parts.append(f"{said['concurrency']} at once")
    for one in row.get("budget") or ():
        models = f":{','.join(one['models'])}" if one.get("models") else ""
        parts.append(f"${one['usd']}/{one.get('rolling') or one.get('period', 'month')}{models}")
    return ", ".join(parts) or "-"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as what is in them; numbers to the right."""
    texts = [list(head), *([_one_line(_text(cell)) for cell in row] for row in rows)]
    if not texts[1:]:
        note("(none)")
        return
    kinds = [all(re.fullmatch(r"-?[0-9.,]*", row[at]) for row in texts[1:]) for at in range(len(head))]
    widths = [max(len(row[at]) for row in texts) for at in range(len(head))]
    for row in texts:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, kinds, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _one_line(text: str) -> str:
    return plain(text).replace("\n", " ").replace("\t", " ")


def _text(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value)) or "-"
    return str(value)


def day(stamp: int | None) -> str:
    """Unix seconds -> a day."""
    return f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}" if stamp else "-"


def second(stamp: int) -> str:
    return f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d %H:%M:%S}"


def moment(text: str, now_s: float) -> int:
    """A time from now (90d), a day (the last good one, as in penstock.yaml) or RFC 3339 -> Unix seconds.

    Raises InvalidRequest.
    """
    from penstock.config.units import DURATION_PATTERN, parse_duration, parse_moment

    try:
        if re.fullmatch(DURATION_PATTERN, text):
            return int(now_s + parse_duration(text))
    except ValueError as exc:
        raise InvalidRequest(f"--expires {text}: {exc}.") from None
    try:
        return int(parse_moment(text))
    except ValueError:
        raise InvalidRequest(
            f"--expires {text}: write a time from now (90d), the last good day (2027-01-31) or a time of one"
            " (2027-01-31T18:00:00Z)."
        ) from None
