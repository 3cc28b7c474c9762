"""Usage kept in SQLite: statements, series and pages over 30 days of calls, and how fast calls are written.

The calls are made by SQLite itself: 200 keys of 20 teams ask 5 models, some of them much more than others, evenly
over 30 days; 1 in 32 fails. What is asked is what an operator's console asks, through the store as a server opens
it. A full scan answers the same statement from the calls alone: what it would cost without sums.
"""

import asyncio
import itertools
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bench import harness
from bench.harness import Bench
from bench.reach import Reach
from penstock.store import migrations, open_store
from penstock.store.base import ScriptedStore
from penstock.store.usage import MEASURES
from penstock.store.usage_writer import UsageWriter
from penstock.types.store import SQLITE
from penstock.types.usage_store import DAY_US, HOUR_US, CallWhere, UsageRow, UsageWhere

NAME = "usage"
TITLE = "Usage: statements and pages over many calls"
IS_LONG = False

ROWS = 2_000_000
ROWS_ALL = 10_000_000
ROWS_QUICK = 20_000
DAYS = 30
END_US: Final = 20_000 * DAY_US
START_US: Final = END_US - DAYS * DAY_US
KEYS, TEAMS, MODELS = 200, 20, 5
BATCH = 1_000
WRITTEN = 100_000  # rows, of the measurement of writing
STATEMENT_MS = 300.0
SCAN = "the same statement by a full scan"
STATEMENT = "statement: 30 days by team and model"

EVER = UsageWhere(START_US, END_US)
ODD = UsageWhere(START_US + 123_456_789, END_US - 987_654_321)


def of_key(number: int, **fields: Any) -> CallWhere:
    return CallWhere(START_US, END_US, key=f"key_{number:024}", **fields)


Question = Callable[[ScriptedStore], Awaitable[Any]]
QUESTIONS: Final[dict[str, Question]] = {
    STATEMENT: lambda store: store.sum_usage(EVER, by=("team", "model")),
    "the same, not from hour to hour": lambda store: store.sum_usage(ODD, by=("team", "model")),
    "one key's total": lambda store: store.sum_usage(of_key(7)),
    "series: 30 days by day and model": lambda store: store.sum_usage(EVER, by=("model",), step="day"),
    "series: 720 hours": lambda store: store.sum_usage(EVER, step="hour"),
    "series: 720 hours by model": lambda store: store.sum_usage(EVER, by=("model",), step="hour"),
    "series: 720 hours of one key": lambda store: store.sum_usage(of_key(7), step="hour"),
    "page: the newest 100 calls": lambda store: store.list_calls(CallWhere(START_US, END_US)),
    "page: 100 of the middle": lambda store: store.list_calls(CallWhere(START_US, START_US + 15 * DAY_US)),
    "page: 100 of a busy key": lambda store: store.list_calls(of_key(0)),
    "page: 100 of the idlest key": lambda store: store.list_calls(of_key(KEYS - 1)),
    "page: 100 that failed, of one key": lambda store: store.list_calls(of_key(7, is_failed=True)),
}


def run(bench: Bench) -> dict[str, Any]:
    """{"rows": 2000000, "sums": 712345, "file_mb": 512, "ms": {STATEMENT: {...}}, "scan_ratio": {...}, ...}"""
    rows = ROWS_QUICK if bench.is_quick else ROWS_ALL if bench.is_all else ROWS
    with harness.scratch() as work:
        return asyncio.run(_run(bench, work / "penstock.db", rows))


async def _run(bench: Bench, path: Path, rows: int) -> dict[str, Any]:
    store = await open_store(f"{SQLITE}{path}")
    try:
        began = time.monotonic()
        sums = await asyncio.to_thread(fill, path, rows)
        size = (await store.status()).bytes
        made_s = time.monotonic() - began
        seen: dict[str, list[float]] = {name: [] for name in QUESTIONS}
        scans: list[float] = []
        for at in range(bench.rounds):
            for name, ask in QUESTIONS.items():
                began = time.monotonic()
                await ask(store)
                seen[name].append((time.monotonic() - began) * 1e3)
            if at < 2:  # it is the long one
                scans.append(await asyncio.to_thread(scan_ms, path))
        statement = harness.spread(seen[STATEMENT])
        return {
            "rows": rows,
            "sums": sums,
            "file_mb": round(size / 1e6),
            "made_s": round(made_s, 1),
            "ms": {name: harness.spread(one) for name, one in seen.items()} | {SCAN: harness.spread(scans)},
            "scan_ratio": harness.spread([one / statement["median"] for one in scans]),
            "rows_per_s": harness.spread([await written_per_s(store, bench) for _ in range(bench.rounds)]),
            "write_us": harness.spread([write_us(store) for _ in range(bench.rounds)]),
        }
    finally:
        await store.aclose()


def fill(path: Path, rows: int) -> int:
    """Makes the calls, and of them the sums as a batch makes them; how many rows of sums."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO usage_dims VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    key * MODELS + model + 1,
                    f"key_{key:024}",
                    f"team_{key % TEAMS:024}",
                    "",
                    *[f"model-{model}"] * 3,
                    "gpus",
                    "chat",
                )
                for key, model in itertools.product(range(KEYS), range(MODELS))
            ],
        )
        connection.execute(CALLS_SQL, {"rows": rows, "start": START_US, "step": DAYS * DAY_US // rows})
        for table, unit, unit_us in (("usage_hours", "hour", HOUR_US), ("usage_days", "day", DAY_US)):
            connection.execute(
                f"INSERT INTO {table} SELECT time_us / {unit_us} AS {unit}, dim,"  # noqa: S608 - our own names
                f" {', '.join(f'SUM({one})' for one in MEASURES.values())} FROM usage r GROUP BY 1, 2"
            )
        for migration in migrations.OURS:  # those without keys, as of calls of before there were any
            if migration.name == "team_sums":
                for text in migrations.statements(migration.up, "sqlite"):
                    if text.startswith("INSERT"):
                        connection.execute(text)
        connection.execute("COMMIT")
        return int(connection.execute("SELECT COUNT(*) FROM usage_hours").fetchone()[0])


# A number's bits are mixed by multiplication; the product of two of them makes small dimensions the busy ones.
CALLS_SQL: Final = f"""
WITH RECURSIVE n(at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM n WHERE at < :rows - 1),
m AS (SELECT at, (at * 2654435761) & 4294967295 AS mixed FROM n)
INSERT INTO usage (time_us, seq, dim, id, status, error, is_stream, attempts, prompt_tokens, cached_tokens,
  cache_write_tokens, completion_tokens, reasoning_tokens, images, cost_pico, price_version, is_estimated, ttft_us,
  total_us, queue_us, dropped)
SELECT :start + at * :step, 500000000000 + at,
  (mixed >> 8) % {KEYS * MODELS} * ((mixed >> 3) % 997) / 997 + 1,
  'req_' || printf('%024x', mixed * 65537 + at),
  CASE WHEN mixed & 31 = 7 THEN 503 ELSE 200 END,
  CASE WHEN mixed & 31 = 7 THEN 'upstream_unavailable' ELSE '' END,
  1, 1, 200 + (mixed >> 5) % 4000, (mixed >> 9) % 200, 0, 20 + (mixed >> 4) % 800, 0, 0,
  1000000 * (mixed >> 7), '2026-11-01', 0, 90000 + (mixed >> 6) % 900000, 4000000 + (mixed >> 2) % 9000000, 0, ''
FROM m
"""  # noqa: S608 - our own numbers


def scan_ms(path: Path) -> float:
    with closing(sqlite3.connect(path)) as connection:
        began = time.monotonic()
        connection.execute(
            "SELECT d.team_id, d.model, COUNT(*), SUM(r.cost_pico), SUM(r.prompt_tokens),"
            " SUM(r.completion_tokens) FROM usage r JOIN usage_dims d ON d.id = r.dim"
            " WHERE r.time_us >= ? AND r.time_us < ? GROUP BY 1, 2",
            (START_US, END_US),
        ).fetchall()
        return (time.monotonic() - began) * 1e3


_seq = itertools.count(1)


def _calls(count: int) -> list[UsageRow]:
    """Of the hour after the last, as they arrive."""
    return [
        UsageRow(
            id=f"req_{at:024x}",
            time_us=END_US + at * 1000,
            seq=at,
            key=f"key_{at % KEYS:024}",
            team=f"team_{at % TEAMS:024}",
            route=f"model-{at % MODELS}",
            model=f"model-{at % MODELS}",
            deployment=f"model-{at % MODELS}",
            provider="gpus",
            operation="chat",
            status=200,
            attempts=1,
            prompt_tokens=1200,
            completion_tokens=300,
            cost_pico=123_456_789,
            ttft_us=350_000,
            total_us=4_200_000,
        )
        for at in itertools.islice(_seq, count)
    ]


async def written_per_s(store: ScriptedStore, bench: Bench) -> float:
    """Rows per second in batches of BATCH, each in a transaction of its own on a synced disk."""
    batches = [
        _calls(BATCH) for _ in range(max(1, (ROWS_QUICK if bench.is_quick else WRITTEN) // BATCH // 5))
    ]
    began = time.monotonic()
    for batch in batches:
        await store.add_usage(batch)
    return len(batches) * BATCH / (time.monotonic() - began)


def write_us(store: ScriptedStore) -> float:
    """CPU of `UsageWriter.write`: what a call pays for its row, but for making it."""
    rows = _calls(10_000)
    write = UsageWriter(store).write
    began = time.process_time()
    for row in rows:
        write(row)
    return (time.process_time() - began) / len(rows) * 1e6


def table(result: dict[str, Any]) -> str:
    calls = f"{result['rows']:,} calls of 30 days, {result['sums']:,} sums by hour, {result['file_mb']:,} MB."
    lines = [calls, "", "| asked | ms |", "|---|---:|"]
    lines += [f"| {name} | {_spread(seen)} |" for name, seen in result["ms"].items()]
    lines.append(
        f"\nThe full scan takes {_spread(result['scan_ratio'])} times as long as the statement from sums."
        f" Calls are written at {result['rows_per_s']['median']:,.0f} rows/s in batches of {BATCH:,}; handing one"
        f" to the writer takes {result['write_us']['median']:.2f} us of CPU."
    )
    return "\n".join(lines)


def _spread(seen: dict[str, float]) -> str:
    return f"{seen['median']:.3g} ({seen['min']:.3g}-{seen['max']:.3g})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    of = f"over {result['rows']:,} calls"
    slowest = max(
        seen["median"]
        for name, seen in result["ms"].items()
        if name.startswith(("statement", "series", "the same,"))
    )
    return [
        Reach(f"statement of 30 days {of}", STATEMENT_MS, result["ms"][STATEMENT]["median"], unit="ms"),
        Reach(f"slowest of statements and series of 30 days {of}", STATEMENT_MS, slowest, unit="ms"),
    ]
