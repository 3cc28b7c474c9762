"""A stream socket that carries messages: four bytes of length, big-endian, then MessagePack.

`heard` is called for each message that comes, `lost` once when the other side is gone. What is sent after
that goes nowhere.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from penstock.workers.messages import Any_, decode, encode

_HEAD = 4
BEHIND_BYTES = 1 << 20


class Link(asyncio.Protocol):
    def __init__(self, heard: Callable[[Any_], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._closed = asyncio.Event()
        self._is_closing = False

    @classmethod
    async def open(
        cls, end: socket.socket, heard: Callable[[Any_], None], lost: Callable[[], None]
    ) -> "Link":
        """Takes the socket over, also where it fails."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.create_unix_connection(lambda: cls(heard, lost), sock=end)
        except BaseException:
            end.detach()  # uvloop has closed it, and the number may be another file's by now
            raise
        return link

    @property
    def is_behind(self) -> bool:
        """The other side does not read: what it can miss should not be sent."""
        return self._transport is None or self._transport.get_write_buffer_size() > BEHIND_BYTES

    def send(self, message: Any_) -> None:
        self.send_encoded(encode(message))

    def send_encoded(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(data).to_bytes(_HEAD, "big") + data)

    async def aclose(self) -> None:
        """Once what was sent is on its way. Nobody is told of this end."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD:
            end = at + _HEAD + int.from_bytes(buffer[at : at + _HEAD], "big")
            if len(buffer) < end:
                break
            message = decode(memoryview(buffer)[at + _HEAD : end].tobytes())
            at = end
            self._heard(message)
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._transport = None
        self._closed.set()
        if not self._is_closing:
            self._lost()
