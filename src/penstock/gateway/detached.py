"""A request of ours in a client's stead: the walk is the same, its answer goes to a sink instead of a socket.

Used where an answer outlives its request (background responses), or travels otherwise (WebSocket).
"""

from collections.abc import Callable
from typing import Protocol

from penstock.gateway.exchange import Connection, Exchange


class Sink(Protocol):
    """Who takes the answer. Raises ClientLeft where nobody wants more of it."""

    async def whole(self, status: int, body: bytes) -> None:
        """An answer that is no stream: a refusal, as a streamed request was made."""
        ...

    async def piece(self, data: bytes) -> None: ...


class _NoConnection:
    """What an exchange without a socket is connected to. It knows who asked, though they may have left."""

    is_write_paused = False

    def __init__(self, asked: Connection) -> None:
        self.peer = asked.peer
        self.is_tls = asked.is_tls
        self._certificate = asked.certificate()

    def certificate(self) -> bytes | None:
        return self._certificate

    @property
    def write(self) -> Callable[[bytes], None]:
        return _nowhere

    async def writable(self) -> None:
        return

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def default_lines(self) -> bytes:
        return b""

    def answered(self, exchange: Exchange) -> None: ...

    def abort(self) -> None: ...


def _nowhere(data: bytes) -> None:
    """There is no socket."""


class Detached(Exchange, kw_only=True, eq=False):
    body: bytes
    sink: Sink

    async def read_body(self, limit: int) -> bytes:  # noqa: ARG002 - it was read, and bounded, before
        return self.body

    async def send(self, status: int, body: bytes, lines: str) -> None:  # noqa: ARG002 - there is no head
        self._is_watched = False
        self.status = status
        self.is_started = self.is_ended = True
        await self.sink.whole(status, body)

    async def start_stream(self, lines: str) -> None:  # noqa: ARG002
        self.status = 200
        self.is_started = True

    async def write(self, data: bytes) -> None:
        if data:
            await self.sink.piece(data)

    async def end_stream(self, data: bytes) -> None:
        self._is_watched = False
        self.is_ended = True
        await self.sink.piece(data)


def detached(exchange: Exchange, body: bytes, sink: Sink) -> Detached:
    """`exchange` once more, for `body`; its headers and its query are who asks."""
    return Detached(
        _NoConnection(exchange.connection),
        "POST",
        exchange.path,
        exchange.query,
        dict(exchange.headers),
        body=body,
        sink=sink,
        id=exchange.id,
    )
