"""One connection and the response on it. The hot path: every line here is paid per request or per event.

State of a connection, all of it changed here and nowhere else:

    state   response  status  on data                   on close by the peer         timer
    ------  --------  ------  ------------------------  ---------------------------  ----------------------
    idle    None      -       abort: nobody asked       leaves the pool              idle_s: close
    head    set       0       parse; wake at the head   ConnectionCut(before=True)   Write/FirstByteTimeout
    body    set       > 0     collect; wake the reader  until-close body: clean end  Read/TotalTimeout
                                                        else ConnectionCut
    closed  None      -       -                         -                            -

    idle -> head: `start`; head -> body: the parser; body -> idle: `_finish`; any -> closed: `close`, `_fail`

What makes it cheap, each measured:
- body chunks go from the parser straight into a list (`on_body` is that list's `append`);
- one timer per connection that is only ever re-armed when it fires or when a deadline comes nearer: a request
  moves `deadline`, a float, and touches no timer;
- a response that fits in one read costs one wake-up, and its connection is back in the pool before its
  reader runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, Self, cast

import httptools

from penstock.lib.http1.errors import (
    BodyTooLarge,
    ConnectionCut,
    FirstByteTimeout,
    HTTPClientError,
    ProtocolError,
    ReadTimeout,
    TotalTimeout,
    WriteTimeout,
)
from penstock.lib.http1.origin import Timeouts

HIGH_WATER_BYTES = 256 * 1024  # received and not read: stop reading from the socket
SPLIT_WRITE_BYTES = 64 * 1024  # above this, copying a body next to its head costs more than a second buffer
TIMER_SLACK_S = 0.002  # uvloop's timers have a resolution of one millisecond
_NEVER = float("inf")


class Owner(Protocol):
    """What a connection tells its pool."""

    max_header_bytes: int
    idle_s: float

    def released(self, conn: "Connection") -> None:
        """The exchange is over and the connection may carry another one."""

    def lost(self, conn: "Connection") -> None:
        """The socket is closed. Called once."""

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the sender of a streamed request body."""


class Response:
    """A response whose head has arrived. Close it, or read it to its end; `async with` does the former."""

    __slots__ = ("_conn", "_error", "_rest", "headers", "status")

    def __init__(self, conn: "Connection") -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case
        self._conn: Connection | None = conn  # None once the exchange is over, well or badly
        self._rest = b""  # what was received and not read by then
        self._error: BaseException | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, named in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read_some(self) -> bytes:
        """Everything received since the last call, joined; b"" at the clean end.

        Raises ReadTimeout, TotalTimeout, ConnectionCut, ProtocolError; what came before is given first.
        """
        conn = self._conn
        if conn is not None:
            if not conn.chunks:
                more = conn.more()
                try:
                    await more
                except BaseException:
                    self.close()
                    raise
                if self._conn is None:
                    return self._take_rest()
            return conn.drain()
        return self._take_rest()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge, and closes, as soon as it is above `limit` bytes."""
        if self._conn is None and self._error is None:
            if len(self._rest) > limit:
                raise BodyTooLarge(f"the response body is above {limit} bytes")
            return self._take_rest()
        parts: list[bytes] = []
        size = 0
        while data := await self.read_some():
            size += len(data)
            if size > limit:
                self.close()
                raise BodyTooLarge(f"the response body is above {limit} bytes")
            parts.append(data)
        return b"".join(parts)

    def limit_reads(self, between_s: float | None) -> None:
        """`Timeouts.between_s` from the next read on: a stream may be slow to begin but not to go on."""
        if self._conn is not None:
            self._conn.between_s = _NEVER if between_s is None else between_s

    def limit_total(self, total_s: float) -> None:
        """`Timeouts.total_s` anew, counted from now: a stream may have less time to begin than to end."""
        if self._conn is not None:
            self._conn.limit_total(total_s)

    def close(self) -> None:
        """Give the exchange up. Unless the body was received whole, the connection is aborted at once."""
        if (conn := self._conn) is not None:
            conn.cut("closed by the reader")
        self._rest = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def _take_rest(self) -> bytes:
        if rest := self._rest:
            self._rest = b""
            return rest
        if self._error is not None:
            raise self._error
        return b""


class Connection(asyncio.Protocol):
    """One socket: at most one exchange at a time, timed by one timer."""

    __slots__ = (
        "_body_is_out",
        "_deadline",
        "_finished",
        "_first_byte_s",
        "_has_no_body",
        "_headers",
        "_held",
        "_is_reading_paused",
        "_is_write_paused",
        "_loop",
        "_owner",
        "_parser",
        "_peer",
        "_refused",
        "_response",
        "_reusable",
        "_sender",
        "_timer",
        "_timer_at",
        "_total_at",
        "_transport",
        "_unsent",
        "_writable",
        "between_s",
        "chunks",
        "closed",
        "counted",
        "on_body",
        "used",
        "waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, peer: str) -> None:
        self._loop = loop
        self._owner = owner
        self._peer = peer
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self.closed = False
        self.counted = False  # the pool counts it among its connections
        self.used = False  # carried an exchange before: it may have gone stale
        self.waiter: asyncio.Future[None] | None = None  # for the head, then for more of the body
        self.chunks: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self.chunks.append
        self._response: Response | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._held = 0  # bytes received since the reader last took some: body, head and framing
        self._has_no_body = False
        self._finished = False
        self._reusable = False
        self._refused = ""
        self._body_is_out = True
        self._sender: asyncio.Task[None] | None = None
        self._is_reading_paused = False
        self._is_write_paused = False
        self._unsent = 0  # bytes, when the write timeout was last looked at
        self._writable: asyncio.Future[None] | None = None
        self._first_byte_s = self.between_s = self._total_at = self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER

    # -- the exchange, called by the client ------------------------------------------------------------

    def start(
        self,
        head: bytes,
        body: bytes | AsyncIterator[bytes],
        *,
        is_head: bool,
        timeouts: Timeouts,
        total_at: float,
    ) -> tuple[Response, asyncio.Future[None]]:
        """Send a request. The future is done when the response has a head, or an error."""
        transport = self._transport
        self._response = response = Response(self)
        self._headers = response.headers
        self._held = 0
        self._finished = False
        self._has_no_body = is_head
        self._total_at = total_at
        _, first_byte_s, between_s, _, _ = timeouts
        self.between_s = _NEVER if between_s is None else between_s
        self._first_byte_s = _NEVER if first_byte_s is None else first_byte_s
        self.waiter = waiter = self._loop.create_future()
        if isinstance(body, bytes):
            if len(body) <= SPLIT_WRITE_BYTES:
                transport.write(head + body)
            else:
                self._body_is_out = False
                transport.writelines((head, body))
            at = _NEVER if first_byte_s is None else self._loop.time() + first_byte_s
        else:
            transport.write(head)
            self._body_is_out = False
            self._sender = self._owner.spawn(self._send(body))
            at = _NEVER
        at = at if at < total_at else total_at  # noqa: FURB136 - min() costs five times as much
        if at < self._timer_at:
            self._arm(at)
        else:
            self._deadline = at
        return response, waiter

    def more(self) -> asyncio.Future[None]:
        """Done when there are chunks, or the exchange is over."""
        if self.waiter is not None:
            raise RuntimeError("two readers on one response")
        self.waiter = waiter = self._loop.create_future()
        at = self._loop.time() + self.between_s
        at = at if at < self._total_at else self._total_at  # noqa: FURB136 - see start
        if at < self._timer_at:
            self._arm(at)
        else:
            self._deadline = at
        return waiter

    def limit_total(self, total_s: float) -> None:
        self._total_at = self._loop.time() + total_s
        self._arm(self._total_at)

    def drain(self) -> bytes:
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()
        return data

    def seen_nothing(self) -> bool:
        """True while not one byte has come in answer to the request."""
        return self._held == 0

    def fail(self, error: BaseException) -> None:
        """End the exchange with an error and close the socket. What was received stays readable."""
        response = self._response
        if response is not None:
            response._error = error  # noqa: SLF001 - the two are halves of one thing
            self._detach(response)
        self.close()

    def cut(self, why: str) -> None:
        """End the exchange, if there is one, as if the peer had closed the socket."""
        response = self._response
        before = response is not None and response.status == 0
        self.fail(ConnectionCut(f"{self._peer}: {why}", before_response=before))

    def close(self) -> None:
        """Close the socket now, dropping what is unsent. `connection_lost` follows."""
        self.closed = True
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's side --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._response is None:  # an answer nobody asked for must not meet the next request
            self.close()
            return
        self._held += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not self._finished:
                self.fail(ProtocolError(f"{self._peer}: {self._refused or exc}"))
                return
            self._reusable = False
        if self._finished:
            self._finish()
        elif self.chunks:
            if (waiter := self.waiter) is not None:
                self.waiter = None
                self._deadline = self._total_at
                if not waiter.done():
                    waiter.set_result(None)
            if self._held > HIGH_WATER_BYTES and not self._is_reading_paused:
                self._is_reading_paused = True
                self._transport.pause_reading()
        elif self._held > 2 * self._owner.max_header_bytes or (
            self._response.status == 0 and self._held > self._owner.max_header_bytes
        ):
            self.fail(ProtocolError(f"{self._peer}: headers, trailers or chunk framing too large"))

    def eof_received(self) -> None:
        if self._response is None:
            self.closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (response := self._response) is not None:
            if exc is None and response.status and not _is_framed(response.headers):
                self._reusable = False
                self._finish()
            else:
                self.fail(_cut(self._peer, response.status, exc))
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        # It holds our bound methods: a cycle that only the garbage collector would break.
        self._parser = cast(httptools.HttpResponseParser, None)
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._unsent = self._transport.get_write_buffer_size()
        if self._sender is not None:
            self._arm(min(self._loop.time() + self._first_byte_s, self._total_at))

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._response is not None and self._response.status == 0:
            at = self._loop.time() + self._first_byte_s if self._sender is None else _NEVER
            self._deadline = _NEVER
            self._arm(min(at, self._total_at))

    # -- the parser's callbacks ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._finished:  # more than was asked for: this answer is good, the connection is not
            self._refuse("an answer to nothing")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._finished:
            return
        parser = self._parser
        headers = self._headers
        limit = self._owner.max_header_bytes
        if self._held > limit and sum(len(name) + len(value) + 4 for name, value in headers) > limit:
            self._refuse("headers too large")
        status = parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                self._refuse(f"status {status} unasked")
            headers.clear()
            return
        for name, value in headers:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                self._refuse("a transfer coding other than chunked")
        self._response.status = status  # type: ignore[union-attr] # a head belongs to an exchange
        self._headers = []  # trailers go there
        self._deadline = self._total_at
        if self._has_no_body:
            self._reusable = parser.should_keep_alive()
            self._finished = True
        if (waiter := self.waiter) is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def on_message_complete(self) -> None:
        if not self._finished and self._response.status:  # type: ignore[union-attr] # as above
            self._reusable = self._parser.should_keep_alive()
            self._finished = True

    # -- inside ----------------------------------------------------------------------------------------

    def _refuse(self, why: str) -> None:
        self._refused = why
        raise ValueError(why)

    def _detach(self, response: Response) -> None:
        """Part response and connection, and wake whoever waits."""
        if chunks := self.chunks:
            response._rest = chunks[0] if len(chunks) == 1 else b"".join(chunks)  # noqa: SLF001 - see fail
            chunks.clear()
        response._conn = None  # noqa: SLF001 - see fail
        self._response = None
        if (waiter := self.waiter) is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _finish(self) -> None:
        """The response is whole: hand the connection back before its reader even runs."""
        response: Response = self._response  # type: ignore[assignment] # only a whole response finishes
        if self._has_no_body:
            if self.chunks:
                self.chunks.clear()
                self._reusable = False
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body
        self._detach(response)
        if self._is_reading_paused:
            self._is_reading_paused = False
            if not self.closed:
                self._transport.resume_reading()
        if not self._reusable or self.closed or (not self._body_is_out and not self._all_is_sent()):
            self.close()
            return
        self.used = True
        self._arm(self._loop.time() + self._owner.idle_s)
        self._owner.released(self)

    def _all_is_sent(self) -> bool:
        """A server may answer before it has the whole request; what is left must not precede the next."""
        if self._sender is not None or self._transport.get_write_buffer_size():
            return False
        self._body_is_out = True
        return True

    async def _send(self, body: AsyncIterator[bytes]) -> None:
        transport = self._transport
        try:
            async for chunk in body:
                if chunk:
                    transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
                while self._is_write_paused and not self.closed:
                    self._writable = self._loop.create_future()
                    await self._writable
            transport.write(b"0\r\n\r\n")
            self._sender = None
            if self._response is not None and self._response.status == 0:
                self._arm(min(self._loop.time() + self._first_byte_s, self._total_at))
        except Exception as exc:  # noqa: BLE001 - whatever the caller's iterator raises is raised by `request`
            self._sender = None
            self.fail(exc)
        finally:
            if (aclose := getattr(body, "aclose", None)) is not None:
                await aclose()

    def _arm(self, at: float) -> None:
        self._deadline = at
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        now = self._loop.time()
        if now + TIMER_SLACK_S < self._deadline:
            self._arm(self._deadline)
        elif self._response is None:
            self.close()
        elif self._is_write_paused and now + TIMER_SLACK_S < self._total_at and self._is_taking():
            self._arm(min(now + self._first_byte_s, self._total_at))
        else:
            self.fail(self._expired(self._response.status, now))

    def _is_taking(self) -> bool:
        """Whether the peer took some of the request since this was last asked."""
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent < before

    def _expired(self, status: int, now: float) -> HTTPClientError:
        if now + TIMER_SLACK_S >= self._total_at:
            return TotalTimeout(f"{self._peer}: not done within the total time allowed")
        if status:
            return ReadTimeout(f"{self._peer}: nothing more of the response within {self.between_s} s")
        if self._is_write_paused:
            return WriteTimeout(f"{self._peer}: took none of the request within {self._first_byte_s} s")
        return FirstByteTimeout(f"{self._peer}: no response within {self._first_byte_s} s")


def _is_framed(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers)


def _cut(peer: str, status: int, exc: Exception | None) -> ConnectionCut:
    why = f" ({type(exc).__name__})" if exc is not None else ""
    what = "before its response was complete" if status else "before it answered"
    error = ConnectionCut(f"{peer}: connection closed {what}{why}", before_response=status == 0)
    error.__cause__ = exc
    return error
