"""What is written for a client that is behind, while a ping waits beside the answer."""

import asyncio
import zlib
from typing import Any

import pytest
import zstandard

from penstock.gateway.exchange import Exchange
from penstock.lib import tasks


class Behind:
    """A connection whose client takes nothing until `catch_up`."""

    peer = ""

    def __init__(self) -> None:
        self.is_write_paused = True
        self.written = bytearray()
        self._room: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        self.written += data

    async def writable(self) -> None:
        await asyncio.shield(self._room)

    def catch_up(self) -> None:
        self.is_write_paused = False
        self._room.set_result(None)

    def default_lines(self) -> bytes:
        return b""

    def answered(self, _exchange: Exchange) -> None:
        """It stays as it is."""


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


def unpacked(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return zlib.decompress(body, 16 + zlib.MAX_WBITS)
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_what_is_compressed_first_is_written_first(encoding: str) -> None:
    connection: Any = Behind()
    exchange = Exchange(connection, "POST", "/", b"", {b"accept-encoding": encoding.encode()})
    await exchange.start_stream("")
    words = [f"{number} " * 50 for number in range(4)]

    async def answer() -> None:
        for word in words[:3]:  # the second and the third are there when the first has gone
            await exchange.write(word.encode())
        await exchange.end_stream(words[3].encode())

    owner: tasks.Tasks = set()
    answering = tasks.spawn(owner, answer(), "answer")
    await asyncio.sleep(0)
    pinging = tasks.spawn(owner, exchange.write(b": ping\n\n"), "ping")
    await asyncio.sleep(0)
    connection.catch_up()
    await answering
    pinging.cancel()  # as the responder does
    await asyncio.wait([pinging])
    head, _, body = bytes(connection.written).partition(b"\r\n\r\n")
    assert f"content-encoding: {encoding}".encode() in head
    assert unpacked(encoding, unchunked(body)).decode() == "".join(words)
