import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from penstock.gateway import media
from penstock.gateway.media import Media
from penstock.lib import http1
from penstock.lib.addresses import is_public
from penstock.types.errors import InvalidRequest

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "fe80::1%eth0"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@asynccontextmanager
async def server(answer: Callable[[str], bytes]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
        writer.write(answer(line))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield running.sockets[0].getsockname()[1]


def page(body: bytes, kind: str = "image/png", status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}"
    return f"{head}connection: close\r\n\r\n".encode() + body


URLS = [
    "http://127.0.0.1/x.png",
    "http://localhost/x.png",
    "http://[::1]/x.png",
    "http://169.254.169.254/latest/meta-data",
    "http://2130706433/x",
    "http://0x7f.1/x",
    "https://user:pass@example.com/x.png",
    "ftp://example.com/x.png",
    "unix:/run/engine.sock",
    "http+unix://%2Frun%2Fengine.sock/x",
    "http://1.1.1.1:22/x",
    "http:///x",
    "http://[x/",
]


@pytest.mark.parametrize("url", URLS)
async def test_what_only_this_machine_can_reach_is_not_fetched(url: str) -> None:
    async with http1.Client() as client:
        with pytest.raises(InvalidRequest):
            await Media(client).fetch(url)


async def test_a_named_private_host_is_fetched_and_its_redirects_are_checked() -> None:
    def answer(path: str) -> bytes:
        if path == "/a.png?v=1":
            return page(b"hi")
        if path == "/moved":
            return page(b"", status="302 Found", more="location: /a.png?v=1\r\n")
        if path == "/away":
            return page(b"", status="302 Found", more="location: http://169.254.169.254/secret\r\n")
        if path == "/loop":
            return page(b"", status="302 Found", more="location: /loop\r\n")
        if path == "/page":
            return page(b"<html>", kind="application/json")
        return page(b"", status="404 Not Found")

    async with server(answer) as port, http1.Client() as client:
        fetching = Media(client, frozenset({"127.0.0.1"}))
        base = f"http://127.0.0.1:{port}"
        expected = ("image/png", base64.b64encode(b"hi").decode())
        assert await fetching.fetch(f"{base}/a.png?v=1") == expected
        assert await fetching.fetch(f"{base}/moved") == expected
        for path, said in (
            ("/away", "only public addresses"),
            ("/loop", "redirected more than"),
            ("/page", "no image"),
            ("/none", "could not be fetched"),
        ):
            with pytest.raises(InvalidRequest, match=said):
                await fetching.fetch(base + path)


async def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LIMIT_BYTES", 10)
    async with server(lambda _: page(b"x" * 11)) as port, http1.Client() as client:
        with pytest.raises(InvalidRequest, match="larger than"):
            await Media(client, frozenset({"127.0.0.1"})).fetch(f"http://127.0.0.1:{port}/x?secret=1")


async def test_an_error_repeats_no_query() -> None:
    async with http1.Client() as client:
        with pytest.raises(InvalidRequest) as raised:
            await Media(client).fetch("http://127.0.0.1/x?signature=abc#f")
    assert "signature" not in raised.value.message
