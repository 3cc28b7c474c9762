"""A process that makes calls through a shared ledger and writes down what it does, until its time is over.

    python ledger_worker.py redis URL LOG TASKS SECONDS SKEW_S TTL_S

A line of the log is JSON, written at once, so that it survives kill -9; times are CLOCK_MONOTONIC, which all
processes of a machine share. What the ledger is told as `now_s` is wrong by SKEW_S.

    ["ask", call, part, start, claims, tokens]      part 0 is the reservation, others extensions
    ["got", call, part, end]  ["refused", call, part]  ["lost", call, part]
    ["ends", call, at, tokens]  ["ended", call, at]
"""

# ruff: noqa: S311 - chance, no secrets

import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from penstock.lib.clock import SystemClock
from penstock.limits.postgres import PostgresLedger
from penstock.limits.redis import RedisLedger
from penstock.limits.shared import SharedLedger
from penstock.limits.sqlite import SqliteFile, SqliteLedger
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Limit, Refusal, Scope

REQUESTS, TOKENS, SLOTS = 60, 6_000, 6
CLAIMS = (
    Claim(Scope("key", "a"), (Limit("requests", REQUESTS, 1), Limit("tokens", 10**15, "total"))),
    Claim(Scope("key", "b"), (Limit("concurrency", SLOTS), Limit("tokens", 10**15, "total"))),
    Claim(Scope("team", "t"), (Limit("tokens", TOKENS, 2), Limit("tokens", 10**15, "total"))),
)


async def open_ledger(kind: str, url: str, *, timeout_s: float = 5.0) -> SharedLedger:
    if kind == "redis":
        return RedisLedger(url, prefix="hammer", timeout_s=timeout_s)
    if kind == "postgres":
        return await PostgresLedger.open(url, connections=4, timeout_s=timeout_s)
    return SqliteLedger(SqliteFile(Path(url), timeout_s=30.0), SystemClock())


async def open_somehow(kind: str, url: str) -> SharedLedger:
    """The server may be in the middle of a restart."""
    while True:
        try:
            return await open_ledger(kind, url, timeout_s=1.0)
        except LedgerUnavailable:
            await asyncio.sleep(0.1)


async def main(
    kind: str, url: str, log: str, *, tasks: int, seconds: float, skew_s: float, ttl_s: float
) -> None:
    ledger = await open_somehow(kind, url)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    numbers = itertools.count()
    until_s = time.monotonic() + seconds

    def say(*words: object) -> None:
        os.write(out, json.dumps(words).encode() + b"\n")

    async def work() -> None:
        while time.monotonic() < until_s:
            call = f"{os.getpid()}-{next(numbers)}"
            claims = random.sample(range(len(CLAIMS)), random.randint(1, 3))
            lease = await reserve(call, [CLAIMS[number] for number in claims], claims)
            if lease is None:
                await asyncio.sleep(random.random() * 0.02)
                continue
            await asyncio.sleep(random.random() * 0.05)
            if random.random() < 0.3:
                await extend(call, lease, claims)
            if random.random() < 0.1:
                await beat(lease)
            await settle(call, lease)

    async def reserve(call: str, claims: Sequence[Claim], which: list[int]) -> Lease | None:
        tokens = random.randint(1, 200)
        say("ask", call, 0, time.monotonic(), which, tokens)
        try:
            got = await ledger.reserve(claims, Cost(1, tokens), time.monotonic() + skew_s, ttl_s)
        except LedgerUnavailable:
            say("lost", call, 0)
            return None
        if isinstance(got, Refusal):
            say("refused", call, 0)
            return None
        say("got", call, 0, time.monotonic())
        return got

    async def extend(call: str, lease: Lease, which: list[int]) -> None:
        tokens = random.randint(1, 100)
        say("ask", call, 1, time.monotonic(), which, tokens)
        try:
            refusal = await ledger.extend(lease, Cost(0, tokens), time.monotonic() + skew_s)
        except LedgerUnavailable:
            say("lost", call, 1)
        else:
            say(*(("refused", call, 1) if refusal else ("got", call, 1, time.monotonic())))

    async def beat(lease: Lease) -> None:
        try:
            await ledger.heartbeat([lease], time.monotonic() + skew_s)
        except LedgerUnavailable:
            return

    async def settle(call: str, lease: Lease) -> None:
        actual = random.choice([0, random.randint(0, 150), random.randint(150, 400)])
        say("ends", call, time.monotonic(), actual)
        while True:
            try:
                await ledger.settle(lease, Cost(1, actual), time.monotonic() + skew_s)
            except LedgerUnavailable:
                await asyncio.sleep(0.05)
            else:
                say("ended", call, time.monotonic())
                return

    await asyncio.gather(*(work() for _ in range(tasks)))
    await ledger.close()


if __name__ == "__main__":
    kind_, url_, log_, tasks_, seconds_, skew_, ttl_ = sys.argv[1:]
    uvloop.run(
        main(
            *(kind_, url_, log_),
            tasks=int(tasks_),
            seconds=float(seconds_),
            skew_s=float(skew_),
            ttl_s=float(ttl_),
        )
    )
