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

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from penstock.limits import redis_url, shared
from penstock.limits.sentinel import Sentinels
from penstock.limits.shared import KEPT_US, Seal, SharedLedger, Slices, ttl_us
from penstock.limits.windows import SECOND_US
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Refusal, Row

VERSION: Final = 2  # of what is stored
BILLION: Final = 10**9  # amounts come in two parts
KNOWN: Final = 10_000  # scopes whose arguments are kept ready
PLACES: Final = 3  # that a question is sent to: it was done by none that sent it on
UNHEARD: Final = 3  # questions that were given up, and a node is taken for gone


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


class Connections:
    """`most` of them, each for one question at a time; who finds none free waits, `timeout_s` at most in all.

    They are redis-py's, so that a URL means what it means there. Its client and its pool are left out: for
    each question they make a task, take locks and pack the words one by one, which takes longer than the
    script.

    the node says                    then
    -------------------------------  ----------------------------------------------------------------------
    MOVED: a cluster's, and another  that one is asked from now on, for all keys lie in one slot; once it
    has our slot                     fails or is silent, the URL's, which knows where the slot is now
    READONLY: it was the primary     each connection is made anew: the URL's name leads to the new one

    Of a URL of sentinels these are asked who the primary is: at first, after READONLY, and where one of the
    above would go back to the URL's node.
    """

    def __init__(self, url: str, most: int, timeout_s: float) -> None:
        """Raises ValueError where the URL is none."""
        self._timeout_s = timeout_s
        place = redis_url.parse(url)
        if place is None:
            raise ValueError("this is no URL of Redis")
        self._pool: Any = ConnectionPool.from_url(  # makes and checks them, and holds none
            place.url,
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # what may have been done is not done again
            decode_responses=True,
            protocol=2,
            driver_info=None,  # to find its own version it reads files, for each connection
        )
        self._free = asyncio.Semaphore(most)
        self._made: list[_Connection] = []
        self._idle: list[_Connection] = []
        self._unheard = 0  # questions, since the last answer
        found = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py says nothing of it
        self._home = _Node(found.host, found.port)
        self._node: _Node | None = self._home
        self._looking = asyncio.Lock()
        self._sentinels: Sentinels | None = None
        if place.master is not None:
            self._sentinels, self._node = Sentinels(place.sentinels, place.master), None

    async def ask(self, *words: str | int) -> Any:
        """Raises RedisError, OSError, TimeoutError."""
        try:
            async with asyncio.timeout(self._timeout_s), self._free:
                return await self._ask_where_it_is(pack_command(words))  # type: ignore[arg-type]  # hiredis says: of one word
        except ResponseError:
            raise
        except asyncio.CancelledError:  # by who left, or because nothing came
            self._unheard += 1
            if self._unheard >= UNHEARD:
                self._leave()
            raise
        except (RedisError, OSError, TimeoutError):
            self._leave()
            raise

    def _leave(self) -> None:
        """What was asked is not asked again, unless the URL leads there."""
        self._node = None if self._sentinels else self._home

    async def _found(self) -> "_Node":
        """The primary, by the sentinels; the node of before, where it is that."""
        async with self._looking:
            if self._node is None and self._sentinels is not None:
                host, port = await self._sentinels.primary()
                if (host, port) != (self._home.host, self._home.port):
                    self._home = _Node(host, port)
                self._node = self._home
            return self._node or self._home

    async def _ask_where_it_is(self, packed: bytes) -> Any:
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = _Connection(self._pool.make_connection())
            self._made.append(connection)
        try:
            for _ in range(PLACES - 1):
                try:
                    return await self._ask(connection, packed)
                except MovedError as exc:
                    host = exc.host or connection.link.host
                    if self._node is None or (host, exc.port) != (self._node.host, self._node.port):
                        self._node = _Node(host, exc.port)
                except ReadOnlyError:
                    self._home = _Node(self._home.host, self._home.port)
                    self._leave()
            return await self._ask(connection, packed)
        finally:
            self._idle.append(connection)

    async def _ask(self, connection: "_Connection", packed: bytes) -> Any:
        link = connection.link
        node = self._node or await self._found()
        if connection.node is not node:
            await link.disconnect()
            connection.node = node
            link.host, link.port = node.host, node.port
        await self._pool.ensure_connection(link)
        await link.send_packed_command([packed], check_health=False)
        answer = await link.read_response()  # one that is not waited for closes the connection
        self._unheard = 0
        return answer

    async def close(self) -> None:
        for connection in self._made:
            await connection.link.disconnect()


class _Node:
    """Who is asked, until another is. Two of the same place are two: what leads to the first is made anew."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port


class _Connection:
    """link: redis-py's. node: where it leads, once it was told."""

    def __init__(self, link: Any) -> None:
        self.link = link
        self.node: _Node | None = None


class RedisLedger(SharedLedger):
    """`connections` bounds how many questions are asked at once."""

    def __init__(
        self, url: str, *, prefix: str = "penstock", connections: int = 32, timeout_s: float = 5.0
    ) -> None:
        self._connections = Connections(url, connections, timeout_s)
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
        await self._connections.close()

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        try:
            try:
                return await self._connections.ask("EVALSHA", script.hash, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._connections.ask("EVAL", script.text, len(keys), *keys, *arguments)
        except (RedisError, OSError, TimeoutError) as exc:
            raise LedgerUnavailable(f"Redis: {str(exc) or 'no answer'}") from exc

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
