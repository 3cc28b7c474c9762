"""The ledger in PostgreSQL, for several processes: one function, one round trip, the server's clock.

The functions are in sql/postgres.sql.

A function locks its scopes until its transaction is on disk, so a scope sees as many calls per second as the
disk has commits (`synchronous_commit = off` trades the last moments before a crash of the server for more).
"""

import contextlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, Self

import asyncpg

from penstock.lib import pooler
from penstock.limits import shared
from penstock.limits.shared import KEPT_US, TIDIED, Seal, SharedLedger, ttl_us
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Refusal, Row

SCHEMA: Final = (files("penstock.limits") / "sql" / "postgres.sql").read_text("utf-8")
FAILURES: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError),
)
TIMEOUT_S: Final = 1.0  # a call waits for the disk, and for those before it in its scopes
_SCHEMA_LOCK: Final = 1886678900  # two processes cannot replace one function at once


class PostgresLedger(SharedLedger):
    """Made by `open`."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._tidied = ""  # up to this scope, in their order

    @classmethod
    async def open(cls, url: str, *, connections: int = 16, timeout_s: float = 5.0) -> Self:
        """Creates what is missing. Raises LedgerUnavailable."""
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,
                max_size=connections,
                timeout=timeout_s,
                command_timeout=timeout_s,
                reset=_leave,
            )
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
                await connection.execute(SCHEMA)
        except FAILURES as exc:
            raise LedgerUnavailable(f"PostgreSQL: {exc}") from exc
        return cls(pool)

    async def ask(self, lease: Lease, cost: Cost) -> Refusal | None:
        told = await self._call(
            "SELECT ledger_hold($1, $2, $3, $4, $5)",
            *(lease.id, ttl_us(lease), KEPT_US, _amounts(cost), _claims(lease.claims)),
        )
        now_us, is_held, found = json.loads(told)
        if not is_held:
            standing = [
                (lease.claims[claim].scope, lease.claims[claim].limits[limit], slices)
                for claim, limit, slices in found
            ]
            return shared.refused(standing, cost, now_us)
        lease.remaining = shared.rests(lease.claims, found, now_us)
        return None

    async def end(self, lease: Lease, actual: Cost, *, is_unknown: bool, seal: Seal) -> bool:
        found = await self._call(
            "SELECT ledger_end($1, $2, $3, $4, $5, $6)",
            *(lease.id, is_unknown, int(seal), KEPT_US, _amounts(actual), _claims(lease.claims)),
        )
        return bool(found)

    async def beat(self, leases: Sequence[Lease]) -> None:
        beating = [[lease.id, ttl_us(lease), [claim.key for claim in lease.claims]] for lease in leases]
        await self._call("SELECT ledger_heartbeat($1, $2)", KEPT_US, json.dumps(beating))

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:  # noqa: ARG002
        told = json.loads(await self._call("SELECT ledger_report($1, $2)", KEPT_US, _claims(claims)))
        limits = [(claim.scope, limit) for claim in claims for limit in claim.limits]
        return [shared.row(scope, limit, slices) for (scope, limit), slices in zip(limits, told, strict=True)]

    async def tidy(self) -> bool:
        last = await self._call("SELECT ledger_tidy($1, $2, $3)", KEPT_US, self._tidied, TIDIED)
        self._tidied = last or ""
        return last is not None

    async def close(self) -> None:
        await self._pool.close()

    async def _call(self, query: str, *arguments: object) -> Any:
        try:
            connection = await self._pool.acquire()
            try:
                return await connection.fetchval(query, *arguments)
            except BaseException:
                with contextlib.suppress(asyncpg.InterfaceError):  # the server has closed it
                    connection.terminate()  # it may have stopped: nobody knows what it will still say
                raise
            finally:
                await self._pool.release(connection)
        except pooler.FORGETS as exc:
            raise LedgerUnavailable(f"PostgreSQL: {pooler.REMEDY}") from exc
        except FAILURES as exc:
            raise LedgerUnavailable(f"PostgreSQL: {str(exc) or 'no answer'}") from exc


async def _leave(_: object) -> None:
    """Our calls leave nothing in a session; the pool's own reset is one more round trip."""


def _amounts(cost: Cost) -> str:
    return json.dumps({"requests": cost.requests, "tokens": cost.tokens, "pico_usd": cost.pico_usd})


def _claims(claims: Sequence[Claim]) -> str:
    return json.dumps(
        [
            [
                claim.key,
                [
                    [one.resource, "" if one.window is None else str(one.window), one.key, one.amount]
                    for one in claim.limits
                ],
            ]
            for claim in claims
        ]
    )
