"""One HTTP request and its answer; no domain words.

before the answer   headers, read_body()
the answer          send() whole, or start_stream(), write()*, end_stream()
meanwhile           watch_client(): the task that serves this request is cancelled when the client leaves

An answer's head leaves together with its first bytes: a second write would cost as much as all of this file.
"""

import asyncio
import http
from collections.abc import Callable
from typing import Protocol

import msgspec

from penstock.lib.compress import StreamCompressor, negotiate
from penstock.types.errors import InvalidRequest, PenstockError, RequestTooLarge, UnsupportedMediaType

BODY_TIMEOUT_S = 60.0  # for the whole request body to arrive
WRITE_STALL_S = 120.0  # a client that has not made room for the next write by then is cut
HIGH_WATER_BYTES = 64 * 1024  # of a body nobody has read: stop reading from the socket
DISCARD_BYTES = 64 * 1024 * 1024  # of a body that is too large, so that the client reads the refusal
UNREAD_BYTES = 1024 * 1024  # of a body nobody wants (no key), likewise
UNREAD_S = 2.0

_JSON = b"application/json"
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in http.HTTPStatus
}


class ClientLeft(Exception):
    """The client closed the connection: there is nobody to answer."""


def header_lines(*headers: tuple[str, str]) -> str:
    """Lines for `send` and `start_stream`. Raises ValueError for a value that would be more than one line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header of the answer holds CR, LF or NUL")
    return lines


class Connection(Protocol):
    """What an exchange asks of the connection below it."""

    peer: str
    is_write_paused: bool

    @property
    def is_tls(self) -> bool: ...

    def certificate(self) -> bytes | None: ...

    @property
    def write(self) -> Callable[[bytes], None]: ...

    async def writable(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def default_lines(self) -> bytes: ...

    def answered(self, exchange: "Exchange") -> None: ...

    def abort(self) -> None: ...


class Exchange(msgspec.Struct, eq=False):
    """Made by the connection when the head of a request has arrived."""

    _connection: Connection
    method: str
    path: str  # percent-decoded
    query: bytes  # as it came
    headers: dict[bytes, bytes]  # names in lower case
    is_old: bool = False  # HTTP/1.0 knows no chunks: a stream ends with its connection
    keeps_alive: bool = True  # the connection, after this answer
    task: asyncio.Task[None] | None = None  # which serves this request
    id: str = ""
    client_left: bool = False
    refused: PenstockError | None = None  # why its caller is not known: found out once, counted once
    # the answer
    status: int = 0
    is_started: bool = False
    is_ended: bool = False
    _is_watched: bool = False
    _is_chunked: bool = False
    _head: bytes = b""  # of a stream, until its first bytes
    _compressor: StreamCompressor | None = None
    # the request's body
    _body: list[bytes] = []  # arrived and not read
    _body_bytes: int = 0
    _is_body_complete: bool = False
    _waiter: asyncio.Future[None] | None = None  # for more of it

    @property
    def connection(self) -> Connection:
        return self._connection

    # -- what the connection says ----------------------------------------------------------------------

    def body_arrived(self, data: bytes) -> None:
        if self.is_ended:
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > HIGH_WATER_BYTES:
            self._connection.pause_reading()
        if self._waiter is not None:
            self._wake()

    def body_ended(self) -> None:
        self._is_body_complete = True
        if self._waiter is not None:
            self._wake()

    def lost(self) -> None:
        """The client is gone."""
        self.client_left = True
        self._wake()
        if self._is_watched and self.task is not None:
            self.task.cancel()

    def _wake(self) -> None:
        if (waiter := self._waiter) is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # -- the request -----------------------------------------------------------------------------------

    async def read_body(self, limit: int) -> bytes:
        """The request's JSON body.

        Raises UnsupportedMediaType, RequestTooLarge above `limit` bytes, InvalidRequest when it does not
        arrive in time, ClientLeft.
        """
        headers = self.headers
        media_type = headers.get(b"content-type", _JSON)
        if media_type != _JSON:
            media_type = media_type.partition(b";")[0].strip().lower()
            if media_type != _JSON and not media_type.endswith(b"+json"):
                raise UnsupportedMediaType(
                    f"Content-Type is {media_type.decode('latin-1')!r}; send application/json."
                )
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Content-Encoding of requests is not supported; send plain JSON.")
        if self._is_body_complete and self._body_bytes <= limit:
            return b"".join(self._take())
        declared = headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise await self._too_large(limit)
        return await self._read_slowly(limit)

    def unread(self, body: bytes) -> None:
        """Puts a body back that `read_body` gave, for who reads it next."""
        self._body, self._body_bytes = [body], len(body)

    async def _read_slowly(self, limit: int) -> bytes:
        """A body that has not arrived yet, all of it."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    size += self._body_bytes
                    parts += self._take()
                    if size > limit:
                        break
                    if self._is_body_complete:
                        return b"".join(parts)
                    await self._more()
        except TimeoutError as exc:
            raise InvalidRequest(f"The request body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc
        raise await self._too_large(limit)

    async def _too_large(self, limit: int) -> RequestTooLarge:
        await self._discard_body(DISCARD_BYTES, BODY_TIMEOUT_S)
        self._body_bytes = limit + 1  # who reads it again is told the same
        return RequestTooLarge(
            f"The request body is above {limit} bytes; shorten it or raise server.body_limit."
        )

    async def _discard_body(self, limit: int, within_s: float) -> None:
        """Reads on without keeping: closing on unread bytes would reset the client before our answer."""
        if self._is_waited_for():
            return  # the client waits for our answer before it sends
        size = 0
        try:
            async with asyncio.timeout(within_s):
                while not self._is_body_complete:
                    size += self._body_bytes
                    self._take()
                    if size >= limit:
                        return
                    await self._more()
        except (TimeoutError, ClientLeft):
            return

    def _is_waited_for(self) -> bool:
        expected = self.headers.get(b"expect")
        return expected is not None and expected.lower() == b"100-continue" and not self._body_bytes

    def _take(self) -> list[bytes]:
        """What has arrived and was not taken yet."""
        body, self._body = self._body, []
        self._body_bytes = 0
        self._connection.resume_reading()
        return body

    async def _more(self) -> None:
        """Returns when there is more of the body, or all of it. Raises ClientLeft."""
        if self.client_left:
            raise ClientLeft
        if self._is_waited_for():
            del self.headers[b"expect"]  # said once
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        if self.client_left:
            raise ClientLeft

    def watch_client(self) -> None:
        """From now on `task` is cancelled once the client leaves; `client_left` says so.

        Raises ClientLeft when it has left already.
        """
        if self.client_left:
            raise ClientLeft
        self._is_watched = True

    def stop_watching(self) -> None:
        self._is_watched = False

    # -- the answer ------------------------------------------------------------------------------------

    async def send(self, status: int, body: bytes, lines: str) -> None:
        """A whole answer. `lines` are header lines, each with its CRLF; values of others: `header_lines`."""
        self._is_watched = False
        if not self._is_body_complete:
            await self._discard_body(UNREAD_BYTES, UNREAD_S)
            if not self._is_body_complete:  # what is left of it must not be taken for the next request
                self.keeps_alive = False
        self.status = status
        head = self._make_head(f"content-length: {len(body)}\r\n{lines}")
        self._write(head if self.method == "HEAD" else head + body)
        self._end()

    async def start_stream(self, lines: str) -> None:
        """Status 200 and headers of an event stream, compressed when the client accepts that."""
        lines += "vary: accept-encoding\r\n"
        accepted = self.headers.get(b"accept-encoding")
        if accepted is not None and (compressor := negotiate(accepted)) is not None:
            self._compressor = compressor
            lines += f"content-encoding: {compressor.encoding}\r\n"
        if self.is_old:
            self.keeps_alive = False
        else:
            self._is_chunked = True
            lines += "transfer-encoding: chunked\r\n"
        self.status = 200
        self._head = self._make_head(lines)

    async def write(self, data: bytes) -> None:
        if self._connection.is_write_paused:
            await (
                self._writable()
            )  # before it is compressed: a ping may wait here, too, and each goes when it can
        if self._compressor is not None:
            data = self._compressor.write(data)
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def end_stream(self, data: bytes) -> None:
        """The last bytes, and the end."""
        self._is_watched = False
        if self._connection.is_write_paused:
            await self._writable()
        if self._compressor is not None:
            data = (self._compressor.write(data) if data else b"") + self._compressor.end()
        if self._is_chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._write(data)
        self._end()

    def _make_head(self, lines: str) -> bytes:
        self.is_started = True
        last = b"\r\n" if self.keeps_alive else b"connection: close\r\n\r\n"
        status_line = _STATUS_LINES[self.status]
        return status_line + self._connection.default_lines() + lines.encode("latin-1") + last

    async def _writable(self) -> None:
        """Waits for a client that is behind. Raises ClientLeft when it takes nothing for too long."""
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await self._connection.writable()
        except TimeoutError as exc:
            self.abort()
            raise ClientLeft from exc

    def _write(self, data: bytes) -> None:
        if self._head:
            data = self._head + data
            self._head = b""
        if not self.client_left:
            self._connection.write(data)

    def _end(self) -> None:
        self.is_ended = True
        self._body.clear()
        if not self.client_left:
            self._connection.answered(self)

    def abort(self) -> None:
        """Cuts the connection at once: what is still unsent is lost."""
        self.client_left = True
        self._connection.abort()
