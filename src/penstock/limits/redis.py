"""The ledger in Redis 7 or Valkey, for several processes: one script, one round trip, the server's clock.

    scope      a hash that expires by itself
    limit      of it at most 33 fields, one for each slice that holds something, whatever the traffic
    lease      one field in each of its scopes, while it runs

Scripts are sent once and called by their hash. All keys lie in one slot of a cluster, for a reservation takes
several at once. The server must neither evict keys (`maxmemory-policy noeviction`) nor set its clock by
leaps. What a crash of it loses (`appendfsync`) is usage of the last moments; settled leases that it lost are
booked whole.

A lost connection leaves open whether a script ran. A lease reserved without our hearing of it expires.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from penstock.limits import shared
from penstock.limits.shared import KEPT_US, Seal, SharedLedger, Slices, ttl_us
from penstock.limits.windows import SECOND_US
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Refusal, Row

VERSION: Final = 2  # of what is stored
BILLION: Final = 10**9  # amounts come in two parts
KNOWN: Final = 10_000  # scopes whose arguments are kept ready


def _text(name: str) -> str:
    return (files("penstock.limits") / "lua" / f"{name}.lua").read_text("utf-8")


def hashed(text: str) -> str:
    """What Redis calls a script."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Script:
    """What stands in a file, after what is common to all."""

    def __init__(self, name: str) -> None:
        self.text = _text("common") + _text(name)
        self.hash = hashed(self.text)


RESERVE, SETTLE, HEARTBEAT, REPORT = (Script(name) for name in ("reserve", "settle", "heartbeat", "report"))


class RedisLedger(SharedLedger):
    """`connections` bounds the pool; a call that finds none free waits, `timeout_s` at most."""

    def __init__(
        self, url: str, *, prefix: str = "penstock", connections: int = 32, timeout_s: float = 5.0
    ) -> None:
        pool = client.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # what may have been done is not done again
            decode_responses=True,
            driver_info=None,  # to find its own version it reads files, for each connection
        )
        self._redis = client.Redis.from_pool(pool)
        self._prefix = f"{{{prefix}}}:ledger:{VERSION}:"
        self._written: dict[str, tuple[object, str, list[str]]] = {}

    async def ask(self, lease: Lease, cost: Cost) -> Refusal | None:
        keys, scopes = self._scopes(lease.claims)
        amounts = (cost.requests, cost.tokens, cost.pico_usd)
        is_held, now_us, *told = await self._run(
            RESERVE, keys, (lease.id, ttl_us(lease), KEPT_US, *amounts, *scopes)
        )
        if not is_held:
            standing = [
                (lease.claims[scope].scope, lease.claims[scope].limits[limit], _slices(slices))
                for scope, limit, slices in told
            ]
            return shared.refused(standing, cost, now_us)
        totals = [(told[at] * BILLION + told[at + 1], told[at + 2]) for at in range(0, len(told), 3)]
        lease.remaining = shared.rests(lease.claims, totals, now_us)
        return None

    async def end(self, lease: Lease, actual: Cost, *, is_unknown: bool, seal: Seal) -> bool:
        keys, scopes = self._scopes(lease.claims)
        amounts = (actual.requests, actual.tokens, actual.pico_usd)
        arguments: tuple[str | int, ...] = (lease.id, int(is_unknown), int(seal), KEPT_US, *amounts, *scopes)
        return bool(await self._run(SETTLE, keys, arguments))

    async def beat(self, leases: Sequence[Lease]) -> None:
        of_scope: dict[str, tuple[Claim, list[Lease]]] = {}
        for lease in leases:
            for claim in lease.claims:
                of_scope.setdefault(claim.key, (claim, []))[1].append(lease)
        keys: list[str] = []
        arguments: list[str | int] = [KEPT_US]
        for claim, beating in of_scope.values():
            keys.append(self._key(claim))
            arguments += (_keep_us(claim), len(beating))
            for lease in beating:
                arguments += (lease.id, ttl_us(lease))
        if keys:
            await self._run(HEARTBEAT, keys, arguments)

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:  # noqa: ARG002
        keys, scopes = self._scopes(claims)
        _, *told = await self._run(REPORT, keys, (KEPT_US, *scopes))
        limits = [(claim.scope, limit) for claim in claims for limit in claim.limits]
        return [
            shared.row(scope, limit, _slices(slices))
            for (scope, limit), slices in zip(limits, told, strict=True)
        ]

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        try:
            try:
                return await self._redis.evalsha(script.hash, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._redis.eval(script.text, len(keys), *keys, *arguments)
        except (RedisError, OSError, TimeoutError) as exc:
            raise LedgerUnavailable(f"Redis: {exc}") from exc

    def _scopes(self, claims: Sequence[Claim]) -> tuple[list[str], list[str]]:
        """Keys and arguments of scopes, as `open` in common.lua reads them."""
        keys: list[str] = []
        arguments: list[str] = []
        for claim in claims:
            found = self._written.get(claim.key)
            if found is None or found[0] is not claim.limits:
                found = self._write(claim)
            keys.append(found[1])
            arguments += found[2]
        return keys, arguments

    def _write(self, claim: Claim) -> tuple[object, str, list[str]]:
        if len(self._written) >= KNOWN:
            self._written.clear()
        arguments = [str(_keep_us(claim)), str(len(claim.limits))]
        for limit in claim.limits:
            window = "" if limit.window is None else str(limit.window)
            arguments += (limit.resource, window, str(limit.amount))
        written = self._written[claim.key] = (claim.limits, self._key(claim), arguments)
        return written

    def _key(self, claim: Claim) -> str:
        return f"{self._prefix}{claim.key}"


def _keep_us(claim: Claim) -> int:
    return shared.keep_s(claim) * SECOND_US


def _slices(told: list[int]) -> Slices:
    """Of each its number, then used, reserved, expired in two parts."""
    return [
        (
            told[at],
            told[at + 1] * BILLION + told[at + 2],
            told[at + 3] * BILLION + told[at + 4],
            told[at + 5] * BILLION + told[at + 6],
        )
        for at in range(0, len(told), 7)
    ]
