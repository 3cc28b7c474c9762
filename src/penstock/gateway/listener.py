"""The connection level: one client connection, HTTP/1.0 and 1.1, on httptools' parser.

State of a connection, all of it changed here and nowhere else:

    state       _current  on data                      on close by the client         timer
    ----------  --------  ---------------------------  -----------------------------  -----------------------
    head        None      parse; at its end `_begin`   -                              HEAD_TIMEOUT_S: 408
    answering   set       body to its exchange; the    every exchange learns it, the  -
                          next requests wait in line   running one is cancelled
    idle        None      as head                      -                              KEEP_ALIVE_S: close

What is refused here, in the error shape of the API and with an x-request-id, and ends the connection:

    a request head above MAX_HEAD_BYTES                   431
    both Content-Length and Transfer-Encoding             400 (RFC 9112 section 6.3: smuggling)
    a header twice, spelt differently                     400: a client's would hide what a proxy added
    bytes that are no HTTP request                        400
    a head that does not arrive within HEAD_TIMEOUT_S     408

An `Upgrade` that is not taken is ignored (RFC 9110 section 7.8): Java's HTTP client asks for h2c with every
first request, and llhttp would end the message before its body. Requests behind one that is being answered
wait, MAX_PIPELINED of them.

uvicorn's server owns the sockets and the shutdown; its own protocol is not used: an answer costs it a third
of our budget (docs/decisions.md).
"""

import asyncio
import fcntl
import http
import re
import sys
import termios
import urllib.parse
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools
import msgspec
import structlog
from uvicorn.server import ServerState

from penstock.gateway.exchange import Exchange
from penstock.lib import tasks
from penstock.lib.ids import new_id

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 75.0  # longer than the 60 s of common load balancers, so that they close first
MAX_PIPELINED = 16

_NEVER = float("inf")
_TIMER_SLACK_S = 0.002  # uvloop's timers have a resolution of one millisecond
_UPGRADE = re.compile(rb"(\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)

_log = structlog.get_logger("penstock.gateway")


class Listener(asyncio.Protocol):
    """One client connection; `serve` answers each of its requests."""

    __slots__ = (
        "_begun",
        "_current",
        "_deadline",
        "_default_lines",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_incoming",
        "_is_lost",
        "_is_reading_paused",
        "_line",
        "_lines_are_of",
        "_loop",
        "_parser",
        "_serve",
        "_state",
        "_task",
        "_timer",
        "_timer_at",
        "_transport",
        "_url",
        "_writable",
        "is_write_paused",
        "on_header",
        "on_url",
        "peer",
        "write",
    )

    def __init__(
        self,
        serve: Callable[[Exchange], Awaitable[None]],
        has_proxies: Callable[[], bool],
        *,
        server_state: ServerState,
        **_: Any,
    ) -> None:
        """has_proxies: whether what proxies say of a client counts."""
        self._serve = serve
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._url: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}  # as they came
        # The parser calls these two straight: no Python function per header, but behind proxies.
        self.on_url = self._url.append
        self.on_header = self._join if has_proxies() else self._headers.__setitem__
        self._parser: httptools.HttpRequestParser = httptools.HttpRequestParser(self)
        # As uvicorn: a client that pipelines after `connection: close` gets its first answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until connection_made
        self.write: Callable[[bytes], None] = _nowhere
        self.peer = ""  # the client's address; empty for a Unix socket
        self._head_bytes = 0  # received of a head that is not complete
        self._in_head = True
        self._incoming: Exchange = cast(Exchange, None)  # whose body is arriving; set with the first head
        self._current: Exchange | None = None  # being answered
        self._line: deque[Exchange] = deque()  # requests behind it
        self._begun: asyncio.Future[None] | None = None  # what the task of an idle connection waits for
        self._task: asyncio.Task[None] | None = None
        self._is_lost = False
        self.is_write_paused = False
        self._is_reading_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._default_lines = b""
        self._lines_are_of: list[tuple[bytes, bytes]] | None = None
        self._deadline = self._timer_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    # -- what the server calls at its end --------------------------------------------------------------

    def let_go(self, rested_s: float) -> bool:
        """The answer that is under way is the last one; a connection that has rested so long is closed.

        False: it rests, and a request may be on its way. Closing would lose that.
        """
        if self._current is not None:
            (self._line[-1] if self._line else self._current).keeps_alive = False
            return True
        began_s = self._deadline - KEEP_ALIVE_S  # before a first request: long ago
        if self._loop.time() < began_s + rested_s or _unread_bytes(self._transport):
            return False
        self._transport.close()
        return True

    def shutdown(self) -> None:
        """The same, whatever is on its way."""
        if self._current is None:
            self._transport.close()
        else:
            self.let_go(0.0)

    # -- what an exchange calls ------------------------------------------------------------------------

    @property
    def is_tls(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is not None

    def certificate(self) -> bytes | None:
        """The client's certificate (DER), verified by the handshake."""
        tls = self._transport.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) if tls is not None else None

    async def writable(self) -> None:
        """Returns once the client has taken enough of what was written."""
        if not self.is_write_paused:
            return
        if self._writable is None:
            self._writable = self._loop.create_future()
        await asyncio.shield(self._writable)  # a ping may wait beside the answer

    def pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def default_lines(self) -> bytes:
        """`date`, made anew by uvicorn's server every second."""
        headers = self._state.default_headers
        if headers is not self._lines_are_of:
            self._lines_are_of = headers
            self._default_lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._default_lines

    def answered(self, exchange: Exchange) -> None:
        """The last byte of an answer was written."""
        if not exchange.keeps_alive:
            self._transport.close()
            return
        self.resume_reading()
        if self._line:
            self._begin(self._line.popleft())
            return
        self._current = None
        self._arm(self._loop.time() + (HEAD_TIMEOUT_S if self._head_bytes else KEEP_ALIVE_S))

    def abort(self) -> None:
        """Cuts the connection at once: what is still unsent is lost."""
        self._transport.abort()

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """What the client sends from now on is `protocol`'s, which tells `connection_lost` when it is.

        For an exchange whose answer was the switch to another protocol. Its task goes on to be this
        connection's, so that a shutdown waits for it.
        """
        self._deadline = _NEVER
        self._transport.set_protocol(protocol)
        return self._transport

    # -- asyncio's side --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = str(peer[0])
        self._state.connections.add(cast(Any, self))
        # One task a connection and not one a request: making a task costs 2 us. uvicorn's set keeps it.
        self._task = tasks.spawn(self._state.tasks, self._answer_all(), "connection")
        self._arm(self._loop.time() + HEAD_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head_bytes == 0 and self._current is None:
                self._deadline = _NEVER  # not idle any more; a head in pieces is timed below
            self._head_bytes += len(data)
            end = data.find(b"\r\n\r\n")
            head = data if end < 0 else data[:end]  # the body may be large
            if b"pgrade" in head or b"PGRADE" in head:
                data = _UPGRADE.sub(rb"\1x-grade", head) + data[len(head) :]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # CONNECT; nothing after it can be parsed
            if self._incoming is not None:
                self._incoming.keeps_alive = False
        except httptools.HttpParserError:
            self._refuse(400, "invalid_request", "Invalid HTTP request received.")
            return
        # A pipelined or large body in the same read is no head; only what is still unparsed counts.
        if self._in_head and self._head_bytes:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "request_too_large", f"The request's head is above {MAX_HEAD_BYTES} bytes.")
            elif self._current is None and self._deadline == _NEVER:
                self._arm(self._loop.time() + HEAD_TIMEOUT_S)

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if (writable := self._writable) is not None:
            self._writable = None
            if not writable.done():
                writable.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._state.connections.discard(cast(Any, self))
        self._is_lost = True
        self.write = _nowhere  # the transport's method would keep the transport
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._current is not None:
            self._current.lost()
        for waiting in self._line:
            waiting.lost()
        self.resume_writing()
        self._line.clear()
        self._current = None
        self._incoming = cast(Exchange, None)
        # It holds our bound methods: a cycle that only the garbage collector would break.
        self._parser = cast(httptools.HttpRequestParser, None)

    # -- the parser's callbacks ------------------------------------------------------------------------

    def _join(self, name: bytes, value: bytes) -> None:
        """Each proxy may add a line of its own (RFC 9110 section 5.3); of another header the last counts."""
        before = self._headers.get(name)
        if before is not None and name.lower() == b"x-forwarded-for":
            value = b"%b, %b" % (before, value)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        headers = {name.lower(): value for name, value in self._headers.items()}
        if len(headers) != len(self._headers):
            raise httptools.HttpParserError("a header twice, each time spelt otherwise")
        self._headers.clear()
        url = self._url[0] if len(self._url) == 1 else b"".join(self._url)
        self._url.clear()
        path, query = _SPLIT.get(url) or _split(url)
        if b"transfer-encoding" in headers and b"content-length" in headers:
            raise httptools.HttpParserError("both Content-Length and Transfer-Encoding")
        parser = self._parser
        is_old = parser.get_http_version() == "1.0"
        exchange = self._incoming = Exchange(
            self,
            parser.get_method().decode("ascii"),
            path,
            query,
            headers,
            is_old,
            not is_old and parser.should_keep_alive(),
        )
        if self._current is None:
            self._begin(exchange)
        elif len(self._line) < MAX_PIPELINED:
            self._line.append(exchange)
        else:
            self.abort()

    def on_body(self, body: bytes) -> None:
        self._incoming.body_arrived(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._headers.clear()  # trailers came after the head: they must not join the next one
        self._incoming.body_ended()

    # -- inside ----------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._deadline = _NEVER
        self._wake()

    def _wake(self) -> None:
        if (begun := self._begun) is not None:
            self._begun = None
            if not begun.done():
                begun.set_result(None)

    async def _answer_all(self) -> None:
        """The connection's task: one request after the other, until one of them was the last."""
        while not self._is_lost:
            exchange = self._current
            if exchange is None:
                self._begun = self._loop.create_future()
                await self._begun
                continue
            try:
                exchange.task = self._task
                await self._serve(exchange)
            except Exception:  # noqa: BLE001 - the border of the event loop
                _log.exception("bug in the gateway", id=exchange.id, path=exchange.path)
            finally:
                exchange.task = None
                if not (exchange.is_ended or exchange.client_left):
                    self._transport.abort()  # it began and will not end: the client must not wait for more
            if self._current is exchange:
                return  # not `answered`, or without keep-alive

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
        if self._deadline == _NEVER or self._transport.is_closing():
            return
        if self._loop.time() + _TIMER_SLACK_S < self._deadline:
            self._arm(self._deadline)
        elif self._head_bytes:
            said = f"The request's head did not arrive in {HEAD_TIMEOUT_S:g} s."
            self._refuse(408, "invalid_request", said)
        else:
            self._transport.close()  # it says nothing

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self._transport.is_closing():
            return
        if self._current is not None:
            self._transport.close()  # an answer is under way: this cannot be said in its middle
            return
        error: dict[str, Any] = {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": code,
        }
        body = msgspec.json.encode({"error": error})
        self._transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
            % (status, http.HTTPStatus(status).phrase.encode(), len(body), new_id("req_").encode(), body)
        )
        self._transport.close()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """What the system has and we have not: to close on it resets the client, and loses its request."""
    if transport.is_closing():
        return 0
    said = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(said, sys.byteorder)


def _nowhere(data: bytes) -> None:
    """Where a connection writes before it is made: nobody does."""


# What `_split` said of short targets. Clients use few of them; one that makes them up fills it, and no more.
_SPLIT: dict[bytes, tuple[str, bytes]] = {}
_MAX_SPLIT = 256
_MAX_SPLIT_BYTES = 64


def _split(url: bytes) -> tuple[str, bytes]:
    """Path, percent-decoded, and query. Raises httptools.HttpParserError."""
    if not url.startswith(b"/"):  # http://host/path, host:port, *
        parsed = httptools.parse_url(url)
        raw, query = parsed.path or b"", parsed.query or b""
    else:
        raw, _, query = url.partition(b"#")[0].partition(b"?")
    path = raw.decode("ascii")
    found = (urllib.parse.unquote(path) if "%" in path else path), query
    if len(url) <= _MAX_SPLIT_BYTES and len(_SPLIT) < _MAX_SPLIT:
        _SPLIT[url] = found
    return found
