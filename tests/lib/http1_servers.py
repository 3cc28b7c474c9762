"""Servers that behave as a test says: a script per connection, on a real socket."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from penstock.lib.http1 import Client, Origin, Timeouts

UVLOOP_GONE = RuntimeError  # what uvloop raises for a write to a transport that the peer has closed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


class Server:
    """What a test knows about its server."""

    def __init__(self) -> None:
        self.port = 0
        self.uds: str | None = None
        self.accepted = 0
        self.open = 0
        self.requests: list[bytes] = []  # heads and bodies, as they came

    @property
    def origin(self) -> Origin:
        return Origin("http", "127.0.0.1", self.port, self.uds)

    @property
    def tls_origin(self) -> Origin:
        return Origin("https", "localhost", self.port)

    async def until_open(self, count: int) -> None:
        await until(lambda: self.open == count)

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """The next request: its head, and its body as bytes. EOF ends the script."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if b"\r\ntransfer-encoding: chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                body = await reader.readexactly(int(line[16:]))
        self.requests.append(head + body)
        return head + body


@contextlib.asynccontextmanager
async def serve(
    script: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    uds: str | None = None,
) -> AsyncIterator[Server]:
    state = Server()
    running: set[asyncio.Task[Any]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        state.accepted += 1
        state.open += 1
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, UVLOOP_GONE
            ):
                await script(state, reader, writer)
        finally:
            writer.transport.abort() if tls else writer.close()
            state.open -= 1
            running.discard(task)

    if uds is not None:
        state.uds = uds
        server = await asyncio.start_unix_server(connection, uds, ssl=tls)
    else:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
        state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await server.wait_closed()


async def always(
    state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes
) -> None:
    """Answer every request with the same bytes, for as long as the client stays."""
    while True:
        await state.request(reader)
        writer.write(answer)


def answering(answer: bytes) -> Callable[..., Awaitable[None]]:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await always(state, reader, writer, answer)

    return script


def answering_then_closing(*parts: bytes) -> Callable[..., Awaitable[None]]:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.002)

    return script


async def answering_not(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await state.request(reader)
    await reader.read()


async def get(client: Client, origin: Origin, target: str = "/", timeouts: Timeouts | None = None) -> bytes:
    response = await client.request(origin, "GET", target, timeouts=timeouts or Timeouts())
    return await response.read(1 << 26)
