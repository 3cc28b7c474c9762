"""Upstreams that fall ill and recover, on the same address: what a fault test needs of each.

    begin()    from now on it misbehaves; connections that stand are cut
    strike()   while a request is under way: nothing, or the end of its process
    heal()     from now on it answers

Its answers are numbered words, so that what a client saw twice, or not at all, can be told.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from penstock.testing.double import Directives
from penstock.testing.upstream import Upstream

WORDS = 20
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def text_of(letter: str) -> str:
    return " ".join(f"{letter}{number}" for number in range(WORDS))


class Steady(Upstream):
    """One that is never ill: it takes no directive from a request."""

    def __init__(self, letter: str) -> None:
        super().__init__(behaviour={"x-test-content": text_of(letter)})

    def directives(self, headers: Mapping[str, str], body: Any) -> Directives:
        return super().directives({}, None)


class Sick:
    url: str

    async def begin(self) -> None:
        raise NotImplementedError

    async def strike(self) -> None:
        """Nothing happens but what has begun."""

    async def heal(self) -> None:
        raise NotImplementedError


class Moody(Sick):
    """The double itself, which answers wrongly."""

    def __init__(self, **behaviour: str) -> None:
        self._bad = {f"x-test-{name.replace('_', '-')}": value for name, value in behaviour.items()}
        self.up = Steady("a")

    async def __aenter__(self) -> Self:
        await self.up.start()
        self.url = self.up.url
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.up.stop()

    async def begin(self) -> None:
        self.up.behaviour |= self._bad

    async def heal(self) -> None:
        for name in self._bad:
            del self.up.behaviour[name]


class Relay(Sick):
    """Passes bytes on to a good upstream, or does to each connection what a test says."""

    def __init__(self, handler: Handler | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self._bad = handler
        self._handler: Handler | None = None
        self._tls = tls
        self._good = Steady("a")
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        await self._good.start()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{self.port}/v1"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.cut()
        await self._good.stop()
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def begin(self) -> None:
        self._handler = self._bad
        self.cut()

    async def heal(self) -> None:
        self._handler = None
        self.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await (self._handler or self._pass_on)(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, onward = await asyncio.open_connection("127.0.0.1", self._good.port)
        self._open.add(onward)
        try:
            await asyncio.gather(_pump(reader, onward), _pump(inner, writer))
        finally:
            self._open.discard(onward)
            onward.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Process(Sick):
    """A double in a process of its own, which `strike` kills when it has said `at` (x-test-log)."""

    def __init__(self, at: str) -> None:
        self._at = at
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end()

    async def begin(self) -> None:
        """It is well until it is killed."""

    async def strike(self) -> None:
        await asyncio.to_thread(self._wait)
        await self._end()

    def _wait(self) -> None:
        said = self._process.stdout
        assert said is not None
        while said.readline().decode().strip() != self._at:
            assert self._process.poll() is None

    async def _end(self) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.communicate)

    async def heal(self) -> None:
        self._process = await asyncio.to_thread(self._start)

    def _start(self) -> "subprocess.Popen[bytes]":
        module = (sys.executable, "-m", "penstock.testing.upstream")
        options = ("--port", str(self.port), "--set", f"x-test-content={text_of('a')}")
        made = subprocess.Popen([*module, *options], stdout=subprocess.PIPE)
        assert made.stdout is not None
        assert made.stdout.readline().decode().strip() == self.url
        return made


# -- what is done to a connection


def event(word: str) -> bytes:
    return (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
        b'"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % word.encode()
    )


async def read_request(reader: asyncio.StreamReader) -> bool:
    """Whether it asks for a stream."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return b'"stream":true' in await reader.readexactly(length)


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing, until the other side has had enough."""
    await read_request(reader)
    await reader.read()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One byte at a time, and never a whole event."""
    await read_request(reader)
    writer.write(HEAD)
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drips_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same after five words."""
    if not await read_request(reader):
        raise AssertionError("only streams have a middle")
    writer.write(HEAD + event("a0") + b"".join(event(f" a{number}") for number in range(1, 5)))
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


class Resets:
    """Each connection is reset at another moment of its life."""

    def __init__(self) -> None:
        self._seen = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._seen += 1
        moment = self._seen % 4
        if moment:
            is_stream = await read_request(reader)
        if moment >= 2:
            writer.write(HEAD if is_stream else b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{")
            await writer.drain()
        if moment == 3 and is_stream:
            writer.write(event("a0") + event(" a1"))
            await writer.drain()
            await asyncio.sleep(0.05)  # so that it is read before the reset, which throws away what is not
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
