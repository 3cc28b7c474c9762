"""What limits cost: a reservation and its settlement, in each of the places where a ledger keeps its counts.

In memory it is CPU time against a call that does nothing, alone and as the gateway does it: the key is looked up,
its limits and its team's are reserved, settled by what was used, and the call is accounted, with its cost, its
metrics and its log line (written elsewhere). In the shared stores it is the time until the answer, one call after
the other, against a PING by redis-py in the same round; and how often Redis is asked. Two scopes with two limits
each, unless a row says otherwise. This script is pinned to one core; the servers are on this machine, Redis with its
append-only file, SQLite and PostgreSQL as the ledger and Debian have them.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import redis.asyncio as redis_client

from bench import harness
from bench.harness import Bench
from bench.reach import Reach
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.gateway.account import account
from penstock.gateway.pipeline import authenticate
from penstock.gateway.reservations import Reservations
from penstock.lib.clock import SystemClock
from penstock.limits.memory import MemoryLedger
from penstock.limits.postgres import PostgresLedger
from penstock.limits.redis import RedisLedger
from penstock.limits.sqlite import SqliteFile, SqliteLedger
from penstock.telemetry import log
from penstock.telemetry.metrics import Metrics
from penstock.testing.servers import NotInstalled, postgres_server, redis_server
from penstock.types.call import Attempt, Call
from penstock.types.deployment import Labels
from penstock.types.ledger import Claim, Cost, Lease, Ledger, Limit, Scope
from penstock.types.requests import ChatRequest
from penstock.types.usage import Usage

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
CONFIG = """
builtin: off
providers: {up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: none}}
deployments: {m: {provider: up, model: m}}
prices: {models: {m: {input: $1/1M, output: $2/1M}}}
teams: {red: {limits: {requests: 1000M/day}, budget: {usd: 1000000}}}
keys:
  free: {secret: sk-bench-free}
  ci: {secret: sk-bench-ci, team: red, limits: {requests: 1000M/min, tokens: 1000M/s}}
"""
CALLS = {"no limits": b"sk-bench-free", "2 scopes, 2 limits each": b"sk-bench-ci"}
STORES = ("sqlite", "redis", "postgres")
BOUND_US = 4.0
BOUND_CALL_US = 8.0
BOUND_REDIS = 2.0
BOUND_TRIPS = 1.0

Work = Callable[[], Awaitable[Any]]


def run(bench: Bench) -> dict[str, Any]:
    """{"memory": {"one limit": {"median": 1.2, ...}}, "call": {"no limits": {...}}, "redis": {"pair_us": {...},
    "ping_us": {...}, "ratio": {...}, "server_us": {...}, "trips": 1.0}, "sqlite": {"pair_us": ...},
    "postgres": {"failed": "..."}}
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        return asyncio.run(_run(bench, before))
    finally:
        os.sched_setaffinity(0, before)


async def _run(bench: Bench, cores: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {"memory": await _memory(bench), "call": await _calls(bench)}
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
        empty_us = await _cpu_us(empty, bench.window_s / 2)
        for name, claims in MEMORY.items():
            seen[name].append(await _cpu_us(_pair(ledger, claims), bench.window_s / 2) - empty_us)
    return {name: harness.spread(values) for name, values in seen.items()}


async def _calls(bench: Bench) -> dict[str, Any]:
    """A call as the gateway has it, before and after the walk to its target."""
    snapshot = compile_settings(load_text(CONFIG), secret=b"bench" * 8)
    route, clock, metrics = snapshot.routes["m"], SystemClock(), Metrics("bench")
    reservations = Reservations(MemoryLedger(clock), clock)
    deployment = route.targets[0].deployment
    asked = ChatRequest("m", {})
    unused: Any = None  # the keys are good always and from everywhere
    labels, usage = Labels("m", "m"), Usage(prompt_tokens=70, completion_tokens=20)

    def begun() -> tuple[Call, float]:
        now_s = clock.monotonic()
        call = Call("call_0123456789", "/v1/chat/completions", "chat", now_s, 1_800_000_000)
        call.labels, call.deployment, call.status, call.usage = labels, "m", 200, usage
        call.body_bytes = 280
        made = Attempt("m", "m", now_s, "m", deployment.price, usage=usage, is_told=True)
        call.attempts = [made]
        return call, now_s

    async def nothing() -> None:
        begun()

    def one(secret: bytes) -> Work:
        exchange: Any = SimpleNamespace(headers={b"authorization": b"Bearer " + secret})

        async def whole() -> None:
            call, now_s = begun()
            metrics.call_started(call)
            call.key = await authenticate(snapshot, exchange, unused)
            if call.key.claims or call.key.model_claims or route.claims:
                await reservations.reserve(call, asked, route)
            account(call, ended_s=now_s + 0.5, metrics=metrics)
            if call.lease is not None:
                await reservations.settle(call, call.lease)

        return whole

    seen: dict[str, list[float]] = {name: [] for name in CALLS}
    with open(os.devnull, "w") as sink:  # noqa: PTH123, ASYNC230 - before anything is measured
        writer = log.configure("info", stream=sink)
        try:
            for _ in range(bench.rounds):
                nothing_us = await _cpu_us(nothing, bench.window_s / 2)
                for name, secret in CALLS.items():
                    seen[name].append(await _cpu_us(one(secret), bench.window_s / 2) - nothing_us)
        finally:
            writer.close()
    await reservations.close()
    return {name: harness.spread(values) for name, values in seen.items()}


def _pair(ledger: Ledger, claims: list[Claim]) -> Work:
    clock = time.monotonic

    async def pair() -> None:
        now_s = clock()
        lease = await ledger.reserve(claims, RESERVED, now_s, TTL_S)
        if isinstance(lease, Lease):
            await ledger.settle(lease, USED, now_s)

    return pair


async def _cpu_us(call: Work, window_s: float) -> float:
    """CPU time of this thread for one call."""
    calls = 0
    until_s = time.monotonic() + window_s
    began_s = time.thread_time()
    while time.monotonic() < until_s:
        for _ in range(200):
            await call()
        calls += 200
    return (time.thread_time() - began_s) / calls * 1e6


async def _wall_us(call: Work, window_s: float) -> float:
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
        trips = await _trips(ledger, client)
    finally:
        await client.aclose()
        await ledger.close()
    return {
        "pair_us": harness.spread(pairs),
        "ping_us": harness.spread(pings),
        "ratio": harness.spread([pair / 2 / ping for pair, ping in zip(pairs, pings, strict=True)]),
        "server_us": harness.spread(scripts),
        "trips": trips,
    }


async def _trips(ledger: Ledger, client: Any) -> float:
    """Questions that a call waits for before it is sent."""
    calls = 100
    await client.config_resetstat()
    for _ in range(calls):
        await ledger.reserve([KEY, TEAM], RESERVED, time.monotonic(), TTL_S)
    stats = await client.info("commandstats")  # with what scripts call: nobody waits for that
    return (
        float(sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")))
        / calls
    )


def table(result: dict[str, Any]) -> str:
    lines = [
        "| ledger | limits | microseconds for both | |",
        "|---|---|---:|---|",
        *(
            f"| memory | {name} | {_spread(seen)} | CPU, above a call that does nothing |"
            for name, seen in result["memory"].items()
        ),
        *(
            f"| memory, with the key and the accounting | {name} | {_spread(seen)} | CPU, the same |"
            for name, seen in result["call"].items()
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
                f" {_spread(row['server_us'])} in the server; a call waits for {row['trips']:g} before it is sent"
            )
        lines.append(f"| {kind} | 2 scopes, 2 limits each | {_spread(row['pair_us'])} | {note} |")
    return "\n".join(lines)


def _spread(seen: dict[str, float]) -> str:
    return f"{seen['median']:g} ({seen['min']:g}-{seen['max']:g})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    memory = float(result["memory"]["2 scopes, 2 limits each"]["median"])
    call = float(result["call"]["2 scopes, 2 limits each"]["median"])
    redis = result["redis"]
    ratio = None if "failed" in redis else float(redis["ratio"]["median"])
    trips = None if "failed" in redis else float(redis["trips"])
    return [
        Reach(
            "CPU of reserve and settle in memory, 2 scopes with 2 limits each", BOUND_US, memory, unit="us"
        ),
        Reach(
            "CPU of key, limits and accounting of a call, limits in memory", BOUND_CALL_US, call, unit="us"
        ),
        Reach("reserving in Redis, against a PING", BOUND_REDIS, ratio),
        Reach("round trips to Redis before a call is sent", BOUND_TRIPS, trips, unit=""),
    ]
