"""One ledger of each kind, whose clock a test sets.

Memory and SQLite are given a clock. Scripts for Redis and functions of PostgreSQL ask their server; here they
are told.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from penstock.limits import redis as redis_module
from penstock.limits.memory import MemoryLedger
from penstock.limits.postgres import PostgresLedger
from penstock.limits.redis import RedisLedger, Script
from penstock.limits.sqlite import SqliteFile, SqliteLedger
from penstock.testing.clock import FakeClock
from penstock.types.ledger import Claim, Cost, Lease, Ledger, Limit, Refusal, Row, Scope

KINDS = ("memory", "sqlite", "redis", "postgres")
SHARED = KINDS[1:]
START_S = 1_800_000_000.0  # 2027-01-15 08:00 UTC, a Friday


class ToldRedis(RedisLedger):
    clock: FakeClock

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        told = Script.__new__(Script)
        now_us = int(self.clock.wall() * 1_000_000)
        told.text = script.text.replace(
            "redis.call('TIME')", f"{{'{now_us // 1_000_000}', '{now_us % 1_000_000}'}}"
        )
        told.hash = redis_module.hashed(told.text)
        return await super()._run(told, keys, arguments)


class ToldPostgres(PostgresLedger):
    clock: FakeClock

    async def _call(self, query: str, *arguments: object) -> Any:
        now_us = int(self.clock.wall() * 1_000_000)
        async with self._pool.acquire() as connection:
            await connection.execute(f"SET test.now_us = {now_us}")
            return await connection.fetchval(query, *arguments)


TOLD_NOW = """
CREATE OR REPLACE FUNCTION ledger_now_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT current_setting('test.now_us')::bigint
$$
"""


@dataclass
class Case:
    ledger: Ledger
    clock: FakeClock

    async def reserve(
        self, claims: Sequence[Claim], cost: Cost | None = None, *, ttl_s: float = 30.0
    ) -> Lease | Refusal:
        return await self.ledger.reserve(claims, cost or Cost(requests=1), self.clock.monotonic(), ttl_s)

    async def hold(self, claims: Sequence[Claim], cost: Cost | None = None, *, ttl_s: float = 30.0) -> Lease:
        lease = await self.reserve(claims, cost, ttl_s=ttl_s)
        assert isinstance(lease, Lease), lease
        return lease

    async def refusal(self, claims: Sequence[Claim], cost: Cost | None = None) -> Refusal:
        refusal = await self.reserve(claims, cost)
        assert isinstance(refusal, Refusal), refusal
        return refusal

    async def settle(self, lease: Lease, actual: Cost | None = None) -> None:
        await self.ledger.settle(lease, actual or Cost(requests=1), self.clock.monotonic())

    async def extend(self, lease: Lease, more: Cost) -> Refusal | None:
        return await self.ledger.extend(lease, more, self.clock.monotonic())

    async def beat(self, *leases: Lease) -> None:
        await self.ledger.heartbeat(leases, self.clock.monotonic())

    async def rows(self, *claims: Claim) -> list[Row]:
        return await self.ledger.report(claims, self.clock.monotonic())

    async def sums(self, claim: Claim) -> list[tuple[int, int, int]]:
        return [(row.used, row.reserved, row.expired) for row in await self.rows(claim)]


class Places:
    """Where shared ledgers keep their counts; servers are started when first asked for."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._cases = 0

    def url(self, kind: str) -> str:
        if kind in ("redis", "postgres"):
            return str(self._request.getfixturevalue(kind).url)
        return ""

    @contextlib.asynccontextmanager
    async def case(self, kind: str, *, start_s: float = START_S) -> AsyncIterator[Case]:
        clock = FakeClock(monotonic=start_s, wall=start_s)
        self._cases += 1
        ledger = await self._ledger(kind, clock)
        try:
            yield Case(ledger, clock)
        finally:
            await ledger.close()

    async def _ledger(self, kind: str, clock: FakeClock) -> Ledger:
        if kind == "memory":
            return MemoryLedger(clock)
        if kind == "sqlite":
            return SqliteLedger(SqliteFile(self._folder / f"{self._cases}.db"), clock)
        if kind == "redis":
            redis = ToldRedis(self.url(kind), prefix="told")
            await redis._connections.ask("FLUSHALL")
            redis.clock = clock
            return redis
        connection = await asyncpg.connect(self.url(kind))
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'told'"):
            await connection.execute("CREATE DATABASE told")
        await connection.close()
        postgres = await ToldPostgres.open(self.url(kind).replace("/postgres", "/told"), connections=2)
        postgres.clock = clock
        async with postgres._pool.acquire() as connection:
            await connection.execute(TOLD_NOW + "; TRUNCATE ledger_counts, ledger_leases")
        return postgres


def claim(name: str, *limits: Limit, kind: str = "key") -> Claim:
    return Claim(Scope(kind, name), limits)  # type: ignore[arg-type]
