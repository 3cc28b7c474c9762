"""The connection level: uvicorn's httptools protocol with the bounds it leaves to a proxy in front.

    a request head above MAX_HEAD_BYTES                   431, close
    both Content-Length and Transfer-Encoding             400, close (RFC 9112 section 6.3: smuggling)
    bytes that are no HTTP request                        400, close
    a head that does not arrive within HEAD_TIMEOUT_S     408, close

All of them answer in the error shape of the API and carry an x-request-id. The scope's extension `LISTENER`
holds the connection itself: whether it takes more bytes, and the way to cut a client that does not read.

An `Upgrade` that is not taken is ignored (RFC 9110 section 7.8): Java's HTTP client asks for h2c with every
first request, and llhttp would end the message before its body. Requests behind one that is being answered
wait, MAX_PIPELINED of them; if the client leaves, all of them learn it.
"""

import asyncio
import re
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from penstock.lib.ids import new_id

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0
LISTENER = "penstock.listener"
MAX_PIPELINED = 16
_UPGRADE = re.compile(rb"(\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


class Listener(HttpToolsProtocol):
    """One client connection."""

    _head_bytes = 0  # received of a head that is not complete
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cycles: list[RequestResponseCycle] = []  # not answered yet, oldest first

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        super().connection_lost(exc)
        for cycle in self._cycles:  # uvicorn tells the last one only
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._cycles.clear()
        self.pipeline.clear()
        if self.scope is not None:
            self.scope.pop("extensions", None)  # it holds us: a cycle only the garbage collector would break

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._expect_head()
            if b"pgrade" in data or b"PGRADE" in data:
                head, blank, rest = data.partition(b"\r\n\r\n")
                data = _UPGRADE.sub(rb"\1x-grade", head) + blank + rest
        super().data_received(data)
        # A pipelined or large body in the same read is no head; only what is still unparsed counts.
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "request_too_large", f"The request's head is above {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {LISTENER: {"connection": self}}

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._cancel_head_timer()
        names = [name for name, _ in self.headers]
        if b"transfer-encoding" in names and b"content-length" in names:
            msg = "both Content-Length and Transfer-Encoding"
            raise httptools.HttpParserError(msg)
        super().on_headers_complete()
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
        self._cycles.append(self.cycle)
        if len(self._cycles) > MAX_PIPELINED:
            self.transport.abort()
        self.flow.resume_reading()  # uvicorn stops behind a pipelined head: it would not see the client leave

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head and self._head_bytes and self._head_timer is None:
            self._expect_head()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_request", msg)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_timed_out)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not self._in_head or is_answering or self.transport.is_closing():
            return
        if self._head_bytes:
            self._refuse(
                408, "invalid_request", f"The request's head did not arrive in {HEAD_TIMEOUT_S:g} s."
            )
        else:
            self.transport.close()  # connected and said nothing

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an answer is under way: this cannot be said in its middle
            return
        error: dict[str, Any] = {
            "message": message,
            "type": "invalid_request_error",
            "param": None,
            "code": code,
        }
        body = msgspec.json.encode({"error": error})
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\n"
            b"x-request-id: %b\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head % (len(body), new_id("req_").encode()) + body)
        self.transport.close()
