"""The books as they lie in a database: a SQLite file's, or PostgreSQL's."""

import contextlib
import sqlite3
from collections import Counter
from typing import Any, NamedTuple

import asyncpg
from accounts_world import Tokens

from penstock.lib.clock import SystemClock

TURNED_AWAY = {"rate_limit_exceeded", "concurrency_limit_exceeded", "budget_exceeded", "model_not_found"}
SUMMED = (
    *("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "attempts"),
    *("total_us", "queue_us"),
)


class Row(NamedTuple):
    """Of the store."""

    id: str
    key: str
    team: str
    route: str
    model: str
    deployment: str
    status: int
    error: str
    is_stream: int
    attempts: int
    prompt: int
    cached: int
    written: int
    completion: int
    cost: int | None
    is_estimated: int

    @property
    def used(self) -> Tokens:
        return Tokens(self.prompt, self.completion, self.cached, self.written)

    @property
    def is_admitted(self) -> bool:
        """Something was reserved for it."""
        return self.attempts > 0 or self.error not in TURNED_AWAY


async def ask(where: str, text: str) -> list[tuple[Any, ...]]:
    """where: a file's path, or a URL of PostgreSQL."""
    if where.startswith("postgresql:"):
        server = await asyncpg.connect(where)
        try:
            return [tuple(row) for row in await server.fetch(text)]
        finally:
            await server.close()
    with contextlib.closing(sqlite3.connect(f"file:{where}?mode=ro", uri=True)) as file:
        return file.execute(text).fetchall()


def now_us() -> int:
    return int(SystemClock.wall() * 1_000_000)


async def read_rows(where: str, since_us: int) -> list[Row]:
    found = await ask(
        where,
        "SELECT u.id, d.key_id, d.team_id, d.route, d.model, d.deployment, u.status, u.error,"  # noqa: S608 - a number
        " u.is_stream, u.attempts, u.prompt_tokens, u.cached_tokens, u.cache_write_tokens,"
        " u.completion_tokens, u.cost_pico, u.is_estimated"
        f" FROM usage u JOIN usage_dims d ON d.id = u.dim WHERE u.time_us >= {since_us}",
    )
    return [Row(*one) for one in found]


async def sums_that_differ(where: str) -> list[str]:
    """Of the store's own: by hour and by day, against its rows."""
    columns = ", ".join(f"SUM({one})" for one in SUMMED)
    unpriced = "SUM(CASE WHEN cost_pico IS NULL THEN 1 ELSE 0 END)"
    rows = await ask(
        where,
        f"SELECT dim, COUNT(*), SUM(COALESCE(cost_pico, 0)), {unpriced}, {columns}"  # noqa: S608
        " FROM usage GROUP BY dim ORDER BY dim",
    )
    wrong = []
    for table in ("usage_hours", "usage_days"):
        sums = await ask(
            where,
            f"SELECT dim, SUM(calls), SUM(cost_pico), SUM(unpriced), {columns}"  # noqa: S608
            f" FROM {table} GROUP BY dim ORDER BY dim",
        )
        wrong += [
            f"{table}: {one} for {other}" for one, other in zip(sums, rows, strict=True) if one != other
        ]
    of_teams = "d.team_id, d.route, d.model, d.deployment, d.provider, d.operation"
    rows = await ask(
        where,
        f"SELECT {of_teams}, COUNT(*), SUM(COALESCE(cost_pico, 0)), {unpriced}, {columns}"  # noqa: S608
        f" FROM usage u JOIN usage_dims d ON d.id = u.dim GROUP BY {of_teams} ORDER BY {of_teams}",
    )
    for table in ("usage_team_hours", "usage_team_days"):
        sums = await ask(
            where,
            f"SELECT {of_teams}, SUM(calls), SUM(cost_high) * 4294967296 + SUM(cost_low),"  # noqa: S608
            f" SUM(unpriced), {columns}"
            f" FROM {table} u JOIN usage_dims d ON d.id = u.dim GROUP BY {of_teams} ORDER BY {of_teams}",
        )
        wrong += [
            f"{table}: {one} for {other}" for one, other in zip(sums, rows, strict=True) if one != other
        ]
    return wrong


async def kept(where: str, *, of_blocks: bool) -> dict[tuple[str, str, str], int]:
    """What the ledger's tables say was used, by limits that only count: by kind of scope, name and resource.

    of_blocks: what a ledger in memory has promised to budgets.
    """
    columns, table = ("amount", "ledger_blocks") if of_blocks else ("used", "ledger_counts")
    found: Counter[tuple[str, str, str]] = Counter()
    for scope, limit, amount in await ask(where, f"SELECT scope, limit_key, {columns} FROM {table}"):  # noqa: S608
        kind, _, name = scope.partition(":")
        resource, _, window = limit.partition("/")
        if kind != "deployment" and window in {"total", "31622400"}:
            found[kind, name, {"pico_usd": "pico"}.get(resource, resource)] += int(amount)
    return found


async def leases(where: str) -> int:
    """How many are open."""
    ((count,),) = await ask(where, "SELECT COUNT(*) FROM ledger_leases WHERE NOT is_over")
    return int(count)
