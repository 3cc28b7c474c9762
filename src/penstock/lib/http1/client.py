"""Requests in, responses out: the pools, the request head, and the one retry there is.

a REUSED connection that is closed before one byte of the answer came is retried once on a fresh one,
if the body is bytes: the server had closed it while idle. Everything else is the caller's decision.
"""

import asyncio
import os
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Self

from penstock.lib import tasks
from penstock.lib.http1.connection import Connection, Response
from penstock.lib.http1.dial import default_ssl_context, dial
from penstock.lib.http1.errors import (
    ConnectError,
    ConnectionCut,
    ConnectTimeout,
    HTTPClientError,
    PoolTimeout,
)
from penstock.lib.http1.origin import Origin, Timeouts
from penstock.lib.http1.proxy import Proxy, from_environment, proxy_for

Headers = Sequence[tuple[bytes | str, bytes | str]]

_NEVER = float("inf")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te"}
)
_BODYLESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_CACHED = 1024  # heads remembered; they are few, unless a caller makes them up
_DEFAULT_TIMEOUTS = Timeouts()


class Client:
    """Keep-alive connections to any number of origins. Belongs to one event loop; close it in that loop.

    `proxies`: `{"http": url, "https": url, "all": url, "no": "a,.b"}`; None: from the environment.
    `ssl_context`: None verifies against the system's CAs, or certifi's.
    """

    def __init__(
        self,
        *,
        max_connections_per_origin: int = 1000,
        max_idle_per_origin: int = 100,
        idle_s: float = 30.0,
        max_header_bytes: int = 64 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        self.max_connections_per_origin = max_connections_per_origin
        self.max_idle_per_origin = max_idle_per_origin
        self.idle_s = idle_s
        self.max_header_bytes = max_header_bytes
        self.proxies = from_environment(os.environ) if proxies is None else dict(proxies)
        self.senders: tasks.Tasks = set()
        self._ssl_context = ssl_context
        self._pools: dict[Origin, _Pool] = {}
        self.is_closed = False

    async def request(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        timeouts: Timeouts = _DEFAULT_TIMEOUTS,
    ) -> Response:
        """Send a request and return when the head of its response is there.

        `host` and the framing headers are ours; naming one of them is a ValueError, as is any header,
        method or target that would not be one on the wire. An async iterator is sent chunked, as it comes.
        """
        pool = self._pools.get(origin) or self._open_pool(origin)
        head = self._head(pool, method, target, headers, body)
        loop = pool.loop
        total_at = _NEVER if timeouts.total_s is None else loop.time() + timeouts.total_s
        conn = pool.idle_one() or await pool.acquire(timeouts)
        may_retry = conn.used and isinstance(body, bytes)
        while True:
            response, answered = conn.start(
                head, body, is_head=method == "HEAD", timeouts=timeouts, total_at=total_at
            )
            try:
                await answered
            except BaseException:
                response.close()
                raise
            if response.status:
                return response
            error = response._error  # noqa: SLF001 - client and response are one unit
            if not (may_retry and isinstance(error, ConnectionCut) and conn.seen_nothing()):
                raise error or HTTPClientError("an exchange ended without an answer and without an error")
            may_retry = False
            pool = self._pools.get(origin) or self._open_pool(origin)
            conn = await pool.acquire(timeouts, is_fresh=True)

    async def aclose(self) -> None:
        """Close every connection, also those in use, and wait until the sockets are closed."""
        self.is_closed = True
        for pool in list(self._pools.values()):
            await pool.aclose()
        while self.senders:
            await tasks.cancel_and_wait(next(iter(self.senders)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def connections(self, origin: Origin) -> tuple[int, int]:
        """(open, of these idle) connections to an origin."""
        pool = self._pools.get(origin)
        return (0, 0) if pool is None else (pool.open, len(pool.idle))

    async def ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            loop = asyncio.get_running_loop()
            self._ssl_context = await loop.run_in_executor(None, default_ssl_context)
        return self._ssl_context

    def forget(self, pool: "_Pool") -> None:
        """A pool without connections says so; origins may come and go for months."""
        if self._pools.get(pool.origin) is pool:
            del self._pools[pool.origin]

    def _open_pool(self, origin: Origin) -> "_Pool":
        if self.is_closed:
            raise RuntimeError("the client is closed")
        try:
            proxy = proxy_for(origin, self.proxies)
        except ValueError as exc:
            raise ConnectError(f"{origin}: {exc}") from exc
        pool = self._pools[origin] = _Pool(self, asyncio.get_running_loop(), origin, proxy)
        return pool

    def _head(
        self, pool: "_Pool", method: str, target: str, headers: Headers, body: bytes | AsyncIterator[bytes]
    ) -> bytes:
        if headers.__class__ is tuple:  # immutable: most callers send the same ones again and again
            key = (method, target, headers)
            start = pool.heads.get(key) or pool.remember(key, self._start_of_head(pool, *key))
        else:
            start = self._start_of_head(pool, method, target, headers)
        if not isinstance(body, bytes):
            return start + b"\r\ntransfer-encoding: chunked\r\n\r\n"
        if body or method not in _BODYLESS:
            return start + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
        return start + b"\r\n\r\n"

    def _start_of_head(self, pool: "_Pool", method: str, target: str, headers: Headers) -> bytes:
        """All but the framing, without the last line's end."""
        parts = [pool.request_line(method, target)]
        for name, value in headers:
            parts.append(self._name(name))
            parts.append(value if isinstance(value, bytes) else value.encode("latin-1"))
        start = b"".join(parts)
        # Each part was made with its own line ends; one more can only have come in with a value.
        lines = len(headers) + pool.line_ends
        if start.count(b"\n") != lines or start.count(b"\r") != lines or b"\0" in start:
            raise ValueError("a header value holds CR, LF or NUL")
        return start

    def _name(self, name: bytes | str) -> bytes:
        raw = name if isinstance(name, bytes) else name.encode("latin-1")
        if not _TOKEN.fullmatch(raw):
            raise ValueError(f"not a header name: {raw!r}")
        if raw.lower() in _OURS:
            raise ValueError(f"the client sets {raw.decode().lower()} itself")
        return b"\r\n" + raw + b": "


class _Pool:
    """The connections of one origin: idle ones last in, first out, so that what is not needed gets old.

    `open` counts every socket from before it is dialled until it is closed. A waiter is handed either a
    connection or, as None, the right to dial one (already counted).
    """

    def __init__(
        self, client: Client, loop: asyncio.AbstractEventLoop, origin: Origin, proxy: Proxy | None
    ) -> None:
        self.client = client
        self.loop = loop
        self.origin = origin
        self.proxy = proxy
        self.idle: list[Connection] = []
        self.open = 0
        self.heads: dict[tuple[str, str, Headers], bytes] = {}
        self.line_ends = 1  # in a request line with its host
        self.max_header_bytes = client.max_header_bytes
        self.idle_s = client.idle_s
        self._live: set[Connection] = set()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._all_lost: asyncio.Future[None] | None = None
        self._peer = str(origin)
        if proxy is not None and origin.scheme == "http" and proxy.authorization is not None:
            self.line_ends += 1

    def idle_one(self) -> Connection | None:
        idle = self.idle
        while idle:
            conn = idle.pop()
            if not conn.closed:
                return conn
        return None

    async def acquire(self, timeouts: Timeouts, *, is_fresh: bool = False) -> Connection:
        """A connection; with `is_fresh` a new one, at the cost of an idle one where all places are taken."""
        if is_fresh and self.open >= self.client.max_connections_per_origin and self.idle:
            self._give_up(self.idle.pop(0))
        if self.open < self.client.max_connections_per_origin:
            self.open += 1
        else:
            while (given := await self._wait(timeouts.pool_s)) is not None:
                if not given.closed:
                    return given
        try:
            async with asyncio.timeout(_least(timeouts.connect_s, timeouts.total_s)):
                conn = await self._dial()
        except TimeoutError as exc:
            self._uncount()
            raise ConnectTimeout(f"{self._peer}: not connected in time") from exc
        except BaseException:
            self._uncount()
            raise
        conn.counted = True
        self._live.add(conn)
        return conn

    def request_line(self, method: str, target: str) -> bytes:
        """The request line and the host header, without the last line's end."""
        if not (method.isascii() and method.isalpha()):
            raise ValueError(f"not a method: {method!r}")
        is_plain = target.isascii() and target.isprintable() and " " not in target and "#" not in target
        if not is_plain or not target.startswith("/"):
            raise ValueError(f"not a request target: {target!r}")
        proxy = self.proxy if self.origin.scheme == "http" else None
        where = target if proxy is None else f"{self.origin}{target}"
        line = f"{method} {where} HTTP/1.1\r\nhost: {self.origin.authority}".encode("ascii")
        if proxy is not None and proxy.authorization is not None:
            line += b"\r\nproxy-authorization: " + proxy.authorization
        return line

    def remember(self, key: tuple[str, str, Headers], start: bytes) -> bytes:
        if len(self.heads) < _CACHED:
            self.heads[key] = start
        return start

    # -- what connections say --------------------------------------------------------------------------

    def released(self, conn: Connection) -> None:
        if conn.closed:  # between two owners: `lost` takes it off the books
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(conn)
                return
        if len(self.idle) < self.client.max_idle_per_origin:
            self.idle.append(conn)
        else:
            self._give_up(conn)

    def lost(self, conn: Connection) -> None:
        self._live.discard(conn)
        if not self._live and self._all_lost is not None and not self._all_lost.done():
            self._all_lost.set_result(None)
        if conn in self.idle:
            self.idle.remove(conn)
        if conn.counted:
            conn.counted = False
            self._uncount()

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return tasks.spawn(self.client.senders, coro, f"request body to {self._peer}")

    async def aclose(self) -> None:
        for conn in list(self._live):
            conn.cut("the client was closed")
        if self._live:
            self._all_lost = self.loop.create_future()
            await self._all_lost

    # -- inside ----------------------------------------------------------------------------------------

    def _make(self) -> Connection:
        return Connection(self.loop, self, self._peer)

    async def _dial(self) -> Connection:
        client = self.client
        context = None
        if self.origin.scheme == "https" or (self.proxy is not None and self.proxy.is_tls):
            context = await client.ssl_context()
        conn = await dial(self.loop, self.origin, self.proxy, context, self._make)
        if client.is_closed or conn.closed:
            conn.close()
            raise ConnectError(f"{self._peer}: closed as soon as it was connected")
        return conn

    async def _wait(self, pool_s: float | None) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(pool_s):
                return await waiter
        except BaseException as exc:
            if waiter.done() and not waiter.cancelled():  # given in the same moment: pass it on
                if (conn := waiter.result()) is None:
                    self._uncount()
                else:
                    self.released(conn)
            if isinstance(exc, TimeoutError):
                raise PoolTimeout(f"{self._peer}: all {self.open} connections busy for {pool_s} s") from exc
            raise

    def _give_up(self, conn: Connection) -> None:
        conn.counted = False
        conn.close()
        self._uncount()

    def _uncount(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.open -= 1
        if not self.open:
            self.client.forget(self)


def _least(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)
