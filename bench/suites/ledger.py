"""What limits cost: a reservation and its settlement, in each of the places where a ledger keeps its counts.

In memory it is CPU time against a call that does nothing; in the shared stores the time until the answer, one
call after the other, against a PING through the same client in the same round. Two scopes with two limits each,
unless a row says otherwise. This script is pinned to one core; the servers are on this machine, Redis with its
append-only file, SQLite and PostgreSQL as the ledger and Debian have them.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio as redis_client

from bench import harness
from bench.harness import Bench
from bench.reach import Reach
from penstock.lib.clock import SystemClock
from penstock.limits.memory import MemoryLedger
from penstock.limits.postgres import PostgresLedger
from penstock.limits.redis import RedisLedger
from penstock.limits.sqlite import SqliteFile, SqliteLedger
from penstock.testing.servers import NotInstalled, postgres_server, redis_server
from penstock.types.ledger import Claim, Cost, Lease, Ledger, Limit, Scope

NAME = "ledger"
TITLE = "Limits: a reservation and its settlement"
IS_LONG = False

USD = 10**12
KEY = Claim(Scope("key", "ci"), (Limit("requests", 10**9, 60), Limit("tokens", 10**15, 60)))
TEAM = Claim(Scope("team", "red"), (Limit("tokens", 10**15, "day"), Limit("pico_usd", 10**6 * USD, "month")))
RESERVED, USED = Cost(1, 1_000, 10**9), Cost(1, 700, 7 * 10**8)
TTL_S = 30.0
MEMORY: dict[str, list[Claim]] = {
    "no limits": [],
    "one limit": [Claim(Scope("key", "one"), (Limit("requests", 10**9, 60),))],
    "2 scopes, 2 limits each": [KEY, TEAM],
}
STORES = ("sqlite", "redis", "postgres")
BOUND_US = 4.0
BOUND_REDIS = 2.0

Call = Callable[[], Awaitable[Any]]


def run(bench: Bench) -> dict[str, Any]:
    """{"memory": {"one limit": {"median": 1.2, ...}}, "redis": {"pair_us": {...}, "ping_us": {...},
    "ratio": {...}, "server_us": {...}}, "sqlite": {"pair_us": ...}, "postgres": {"failed": "..."}}
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        return asyncio.run(_run(bench, before))
    finally:
        os.sched_setaffinity(0, before)


async def _run(bench: Bench, cores: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {"memory": await _memory(bench)}
    with harness.scratch() as work:
        for kind in STORES:
            os.sched_setaffinity(0, cores)  # the servers inherit it
            with contextlib.ExitStack() as stack:
                try:
                    url = _serve(kind, stack, work)
                except NotInstalled as exc:
                    result[kind] = {"failed": str(exc)}
                    continue
                os.sched_setaffinity(0, {min(cores)})
                result[kind] = await _shared(bench, kind, url)
    return result


async def _memory(bench: Bench) -> dict[str, Any]:
    ledger, clock = MemoryLedger(SystemClock()), time.monotonic
    seen: dict[str, list[float]] = {name: [] for name in MEMORY}

    async def nothing(*_: object) -> None: ...

    async def empty() -> None:
        now_s = clock()
        await nothing(MEMORY, RESERVED, now_s, TTL_S)
        await nothing(None, USED, now_s)

    for _ in range(bench.rounds):
        empty_us = await _cpu_us(empty, bench.window_s)
        for name, claims in MEMORY.items():
            seen[name].append(await _cpu_us(_pair(ledger, claims), bench.window_s) - empty_us)
    return {name: harness.spread(values) for name, values in seen.items()}


def _pair(ledger: Ledger, claims: list[Claim]) -> Call:
    clock = time.monotonic

    async def pair() -> None:
        now_s = clock()
        lease = await ledger.reserve(claims, RESERVED, now_s, TTL_S)
        if isinstance(lease, Lease):
            await ledger.settle(lease, USED, now_s)

    return pair


async def _cpu_us(call: Call, window_s: float) -> float:
    """CPU time of this thread for one call."""
    calls = 0
    until_s = time.monotonic() + window_s
    began_s = time.thread_time()
    while time.monotonic() < until_s:
        for _ in range(200):
            await call()
        calls += 200
    return (time.thread_time() - began_s) / calls * 1e6


async def _wall_us(call: Call, window_s: float) -> float:
    calls = 0
    began_s = time.monotonic()
    while time.monotonic() < began_s + window_s:
        await call()
        calls += 1
    return (time.monotonic() - began_s) / calls * 1e6


def _serve(kind: str, stack: contextlib.ExitStack, work: Path) -> str:
    if kind == "redis":
        return stack.enter_context(redis_server()).url
    if kind == "postgres":
        return stack.enter_context(postgres_server()).url
    return str(work / "ledger.db")


async def _shared(bench: Bench, kind: str, url: str) -> dict[str, Any]:
    if kind == "redis":
        return await _redis(bench, url)
    ledger: Ledger = (
        SqliteLedger(SqliteFile(Path(url)), SystemClock())
        if kind == "sqlite"
        else await PostgresLedger.open(url)
    )
    try:
        seen = [await _wall_us(_pair(ledger, [KEY, TEAM]), bench.window_s) for _ in range(bench.rounds)]
    finally:
        await ledger.close()
    return {"pair_us": harness.spread(seen)}


async def _redis(bench: Bench, url: str) -> dict[str, Any]:
    ledger, client = RedisLedger(url), redis_client.Redis.from_url(url)
    pairs, pings, scripts = [], [], []
    try:
        for _ in range(bench.rounds):
            pings.append(await _wall_us(client.ping, bench.window_s))
            await client.config_resetstat()
            pairs.append(await _wall_us(_pair(ledger, [KEY, TEAM]), bench.window_s))
            stats: Any = await client.info("commandstats")
            scripts.append(stats["cmdstat_evalsha"]["usec_per_call"])
    finally:
        await client.aclose()
        await ledger.close()
    return {
        "pair_us": harness.spread(pairs),
        "ping_us": harness.spread(pings),
        "ratio": harness.spread([pair / 2 / ping for pair, ping in zip(pairs, pings, strict=True)]),
        "server_us": harness.spread(scripts),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        "| ledger | limits | microseconds for both | |",
        "|---|---|---:|---|",
        *(
            f"| memory | {name} | {_spread(seen)} | CPU, above a call that does nothing |"
            for name, seen in result["memory"].items()
        ),
    ]
    for kind in STORES:
        row = result[kind]
        if "failed" in row:
            lines.append(f"| {kind} | | not measured: {row['failed']} | |")
            continue
        note = "until the answers, one after the other"
        if kind == "redis":
            note += (
                f"; a PING takes {_spread(row['ping_us'])}, so each is {_spread(row['ratio'])} of one;"
                f" {_spread(row['server_us'])} in the server"
            )
        lines.append(f"| {kind} | 2 scopes, 2 limits each | {_spread(row['pair_us'])} | {note} |")
    return "\n".join(lines)


def _spread(seen: dict[str, float]) -> str:
    return f"{seen['median']:g} ({seen['min']:g}-{seen['max']:g})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    memory = float(result["memory"]["2 scopes, 2 limits each"]["median"])
    redis = result["redis"]
    ratio = None if "failed" in redis else float(redis["ratio"]["median"])
    return [
        Reach(
            "CPU of reserve and settle in memory, 2 scopes with 2 limits each", BOUND_US, memory, unit="us"
        ),
        Reach("reserving in Redis, against a PING", BOUND_REDIS, ratio),
    ]
