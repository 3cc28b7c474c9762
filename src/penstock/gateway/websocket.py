"""A client connection that speaks WebSocket from now on (RFC 6455), taken over from an Exchange.

    socket = await accept(exchange, limit=...)     answers the handshake; HTTP's parser is out of the way
    text = await socket.receive()                  the next message, None once the client has gone
    await socket.send(text)                        waits while the client is behind

websockets' sans-I/O protocol knows the frames; the connection, its task and its shutdown stay the Listener's.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import CloseCode, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from penstock.gateway.exchange import ClientLeft, Exchange
from penstock.gateway.listener import Listener
from penstock.types.errors import InvalidRequest

PING_S = 20.0
CLOSE_WITHIN_S = 5.0
WRITE_STALL_S = 120.0
MAX_WAITING = 16  # messages that came and were not taken: then reading stops


async def accept(exchange: Exchange, *, limit: int) -> "Socket":
    """Answers the handshake. `limit`: bytes of one message. Raises InvalidRequest when it is none."""
    protocol = ServerProtocol(max_size=limit)
    lines = [b"GET %b HTTP/1.1" % exchange.path.encode("ascii", "replace")]
    for name, value in exchange.headers.items():
        # The Listener renames this one, so that HTTP's parser goes on (see there).
        lines.append(b"%b: %b" % (b"upgrade" if name == b"x-grade" else name, value))
    protocol.receive_data(b"\r\n".join(lines) + b"\r\n\r\n")
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    if not requests:
        raise InvalidRequest("The WebSocket handshake failed: it is no request.")
    response = protocol.accept(requests[0])
    if response.status_code != 101:
        said = response.body.decode(errors="replace").strip() if response.body else "no WebSocket handshake"
        raise InvalidRequest(f"The WebSocket handshake failed: {said}")
    response.headers["x-request-id"] = exchange.id
    protocol.send_response(response)
    exchange.status = 101
    listener = exchange.connection
    if not isinstance(listener, Listener):
        raise InvalidRequest("This connection cannot speak WebSocket.")
    return Socket(protocol, listener)


class Socket(asyncio.Protocol):
    """One client; messages are text."""

    def __init__(self, protocol: ServerProtocol, listener: Listener) -> None:
        self._protocol = protocol
        self._listener = listener
        self._transport = listener.hand_over(self)
        self._messages: deque[str] = deque()
        self._parts: list[bytes] = []  # of a message in fragments
        self._is_lost = False
        self._is_write_paused = False
        self._is_reading_paused = False
        self._changed = asyncio.Event()  # a message, or the end
        self._writable = asyncio.Event()
        self._writable.set()
        self._pinger = asyncio.get_running_loop().call_later(PING_S, self._ping)
        self.on_lost: Callable[[], None] | None = None  # what to do at once when the client goes
        self._flush()

    async def receive(self) -> str | None:
        """The next message; None once there is none to come."""
        while not self._messages:
            if self._is_lost or self._protocol.state is not State.OPEN:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        if self._is_reading_paused and len(self._messages) < MAX_WAITING:
            self._is_reading_paused = False
            self._transport.resume_reading()
        return message

    async def send(self, text: bytes) -> None:
        """Raises ClientLeft when the client is gone, or takes nothing for too long."""
        if self._is_write_paused and not self._is_lost:
            try:
                async with asyncio.timeout(WRITE_STALL_S):
                    await self._writable.wait()
            except TimeoutError as exc:
                self.abort()
                raise ClientLeft from exc
        if self._is_lost or self._protocol.state is not State.OPEN:
            raise ClientLeft
        self._protocol.send_text(text)
        self._flush()

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Says goodbye and waits a moment for the client's."""
        if not self._is_lost and self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    while not self._is_lost:
                        self._changed.clear()
                        await self._changed.wait()
        self.abort()

    def abort(self) -> None:
        if not self._is_lost:
            self._transport.abort()

    # -- asyncio's side --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._take()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._take()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._pinger.cancel()
        self._changed.set()
        self._writable.set()
        if self.on_lost is not None:
            self.on_lost()
        self._listener.connection_lost(exc)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._writable.set()

    # -- inside ----------------------------------------------------------------------------------------

    def _take(self) -> None:
        for frame in self._protocol.events_received():
            opcode = getattr(frame, "opcode", None)
            if opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(cast(Any, frame).data))
                if cast(Any, frame).fin:
                    message, self._parts = b"".join(self._parts), []
                    self._messages.append(message.decode("utf-8", "replace"))
        self._flush()
        self._changed.set()
        if len(self._messages) >= MAX_WAITING and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _flush(self) -> None:
        if self._is_lost:
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()  # its word for the end of the stream
        if self._protocol.close_expected():
            self._transport.close()

    def _ping(self) -> None:
        self._pinger = asyncio.get_running_loop().call_later(PING_S, self._ping)
        if not self._is_lost and self._protocol.state is State.OPEN:
            with contextlib.suppress(ConnectionClosed, InvalidHandshake):
                self._protocol.send_ping(b"")
                self._flush()
