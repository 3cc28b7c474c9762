"""A process that makes calls through a ledger, as the gateway does, and writes down what it does.

    python ledger_worker.py '{"kind": "redis", "url": ..., "log": ..., ...}'     the fields of Work

A line of the log is JSON, written at once, so that it survives kill -9. Its times are CLOCK_MONOTONIC, which
all processes of a machine share and nobody can set. The process itself has clocks that are wrong by `skew_s`.

    ["ask", call, part, start, claims, amount]   part 0 is the reservation, others are extensions
    ["got", call, part, end, by]                 by: 0 the store, else a share of this process, numbered
    ["refused", call, part]                      or the store is known to be down, and was not asked
    ["lost", call, part]
    ["ends", call, at, amount]                   what it took in all; then it is settled
    ["told"]                                     the store knows of all that ended before this line
    ["left", reserved, used, expired]            what a process says of its own ledger at its end, in sums

An amount is in tokens; a token costs PICO.
"""

# ruff: noqa: S311 - chance, no secrets

import asyncio
import itertools
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from penstock.lib.clock import Clock, SystemClock
from penstock.limits.guarded import Guarded, Local
from penstock.limits.memory import MemoryLedger
from penstock.limits.postgres import TIMEOUT_S, PostgresLedger
from penstock.limits.redis import RedisLedger
from penstock.limits.sqlite import SqliteBlocks, SqliteFile, SqliteLedger
from penstock.types.ledger import (
    Claim,
    Cost,
    FailurePolicy,
    Lease,
    Ledger,
    LedgerUnavailable,
    Limit,
    Refusal,
    Scope,
    ScopeKind,
)

REQUESTS, SLOTS, TOKENS, SHARED, OPEN = 60, 6, 1_200, 40, 30
PICO = 10**12 + 1  # so that money is above 2**53, where doubles are not exact
TTL_S = 3.0
A, B, T, P, S, O, OWN = range(7)  # noqa: E741 - as the claims are called


class Work(msgspec.Struct):
    kind: str
    url: str
    log: str
    tasks: int
    seconds: float
    budget: int  # of P, in tokens
    skew_s: float = 0.0
    replicas: int = 1


def claims(budget: int, process: str = "") -> tuple[Claim, ...]:
    """`total` of a quantity that is never reached counts what is booked in all; OWN for this process only."""
    all_of_it = Limit("tokens", 10**15, "total")

    def one(kind: ScopeKind, name: str, *limits: Limit, policy: FailurePolicy = "closed") -> Claim:
        return Claim(Scope(kind, name), limits, policy)

    return (
        one("key", "a", Limit("requests", REQUESTS, 1), all_of_it),
        one("key", "b", Limit("concurrency", SLOTS), all_of_it),
        one("team", "t", Limit("tokens", TOKENS, 2), all_of_it),
        one("user", "p", Limit("pico_usd", budget * PICO, "total")),
        one("user", "s", Limit("requests", SHARED, 1), all_of_it, policy="local-share"),
        one("route", "o", Limit("requests", OPEN, 1), all_of_it, policy="open"),
        one("deployment", process, all_of_it, policy="open"),
    )


class Skewed:
    """The machine's clocks, wrong by so much."""

    def __init__(self, skew_s: float) -> None:
        self._skew_s = skew_s

    def monotonic(self) -> float:
        return time.monotonic() + 1000.0 + self._skew_s

    def wall(self) -> float:
        return SystemClock.wall() + self._skew_s


async def open_ledger(kind: str, url: str, clock: Clock, *, replicas: int = 1) -> Ledger:
    """As the configuration opens it. SQLite goes by the clock of its machine, which its processes share."""
    if kind == "memory":
        ledger = MemoryLedger(clock, SqliteBlocks(SqliteFile(Path(url), timeout_s=30.0)))
        await ledger.open()
        return ledger
    if kind == "sqlite":
        return SqliteLedger(SqliteFile(Path(url), timeout_s=30.0), SystemClock())
    if kind == "redis":
        return Guarded(RedisLedger(url, prefix="hammer"), clock, replicas=replicas)
    while True:
        try:
            store = await PostgresLedger.open(url, connections=6, timeout_s=1.0)
        except LedgerUnavailable:  # it is in the middle of a restart
            await asyncio.sleep(0.1)
        else:
            return Guarded(store, clock, replicas=replicas, timeout_s=TIMEOUT_S)


class Worker:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._claims = claims(work.budget, Path(work.log).stem)
        self._clock = Skewed(work.skew_s)
        self._out = os.open(work.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = itertools.count()
        self._until_s = time.monotonic() + work.seconds
        self._shares: list[MemoryLedger] = []
        self._ledger: Ledger

    async def run(self) -> None:
        work = self._work
        self._ledger = await open_ledger(work.kind, work.url, self._clock, replicas=work.replicas)
        await asyncio.gather(*(self._calls() for _ in range(work.tasks)))
        if work.kind == "memory":
            await asyncio.sleep(TTL_S)
            rows = await self._ledger.report(self._claims, self._now_s())
            rates = [row for row in rows if row.limit.window != "total"]
            self._say(
                *("left", sum(row.reserved for row in rows)),
                *(sum(row.used for row in rates), sum(row.expired for row in rates)),
            )
        await self._ledger.close()
        self._say_told()

    def _say(self, *words: object) -> None:
        os.write(self._out, json.dumps(words).encode() + b"\n")

    def _say_told(self) -> None:
        if not isinstance(self._ledger, Guarded) or not self._ledger.pending:
            self._say("told")

    def _lost(self) -> str:
        """What it means when the ledger is asked now, and says that it is not available."""
        ledger = self._ledger
        if isinstance(ledger, Guarded) and ledger.is_down and self._now_s() < ledger._retry_s - 0.01:
            return "refused"
        return "lost"

    def _now_s(self) -> float:
        return self._clock.monotonic()

    async def _calls(self) -> None:
        while time.monotonic() < self._until_s:
            which = random.sample([A, B, T, P, S, O], random.randint(1, 3))
            if random.random() < 0.3:
                which = random.choice([[S], [O], [S, O]])
            if self._work.kind != "memory":
                which.append(OWN)
            call = f"{os.getpid()}-{next(self._numbers)}"
            lease = await self._reserve(call, which)
            if lease is None:
                await asyncio.sleep(random.random() * 0.02)
            else:
                await self._run(call, lease, which)

    async def _run(self, call: str, lease: Lease, which: list[int]) -> None:
        """Some are long, and are kept alive; some are never settled."""
        if random.random() < 0.01:
            over_s = time.monotonic() + random.uniform(1.0, 2.0) * TTL_S
            while time.monotonic() < min(over_s, self._until_s):
                await asyncio.sleep(TTL_S / 6)
                await self._beat(lease)
        else:
            await asyncio.sleep(random.random() * 0.05)
        if random.random() < 0.3:
            await self._extend(call, lease, which)
        if random.random() < 0.1:
            await self._beat(lease)
        if random.random() > 0.01:
            await self._settle(call, lease)

    async def _reserve(self, call: str, which: list[int]) -> Lease | None:
        tokens = random.randint(1, 200)
        self._say("ask", call, 0, time.monotonic(), which, tokens)
        lost = self._lost()
        try:
            got = await self._ledger.reserve(
                [self._claims[number] for number in which],
                Cost(1, tokens, tokens * PICO),
                self._now_s(),
                TTL_S,
            )
        except LedgerUnavailable:
            self._say(lost, call, 0)
            return None
        if isinstance(got, Refusal):
            self._say("refused", call, 0)
            return None
        self._say("got", call, 0, time.monotonic(), self._by(got))
        return got

    def _by(self, lease: Lease) -> int:
        if not isinstance(lease, Local):
            return 0
        if lease.shares not in self._shares:
            self._shares.append(lease.shares)
        return self._shares.index(lease.shares) + 1

    async def _extend(self, call: str, lease: Lease, which: list[int]) -> None:
        tokens = random.randint(1, 100)
        self._say("ask", call, 1, time.monotonic(), which, tokens)
        lost = self._lost()
        try:
            refusal = await self._ledger.extend(lease, Cost(0, tokens, tokens * PICO), self._now_s())
        except LedgerUnavailable:
            self._say(lost, call, 1)
        else:
            got = ("got", call, 1, time.monotonic(), self._by(lease))
            self._say(*(("refused", call, 1) if refusal else got))

    async def _beat(self, lease: Lease) -> None:
        try:
            await self._ledger.heartbeat([lease], self._now_s())
        except LedgerUnavailable:
            return

    async def _settle(self, call: str, lease: Lease) -> None:
        actual = random.choice([0, random.randint(0, 150), random.randint(150, 400)])
        self._say("ends", call, time.monotonic(), actual)
        while True:
            try:
                await self._ledger.settle(lease, Cost(1, actual, actual * PICO), self._now_s())
            except LedgerUnavailable:
                await asyncio.sleep(0.05)
            else:
                self._say("settled", call)
                self._say_told()
                return


def decoded(text: str) -> Any:
    return msgspec.json.decode(text, type=Work)


if __name__ == "__main__":
    uvloop.run(Worker(decoded(sys.argv[1])).run())
