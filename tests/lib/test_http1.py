"""The upstream client against real sockets, most of them badly behaved."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from http1_servers import (
    CHUNKED,
    OK,
    Server,
    answering,
    answering_not,
    answering_then_closing,
    get,
    serve,
    until,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.lib.http1 import (
    BodyTooLarge,
    Client,
    ConnectError,
    ConnectionCut,
    ConnectTimeout,
    FirstByteTimeout,
    Origin,
    PoolTimeout,
    ProtocolError,
    ReadTimeout,
    Timeouts,
    TotalTimeout,
    WriteTimeout,
)

# -- one exchange --------------------------------------------------------------------------------------


async def test_a_request_is_what_was_asked_for() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        response = await client.request(
            server.origin, "POST", "/v1/x?y=1", [("A", b"1"), (b"b", "2")], b"body", timeouts=Timeouts()
        )
        assert (response.status, await response.read(10)) == (200, b"ok")
        assert server.requests == [
            b"POST /v1/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nA: 1\r\nb: 2\r\n"
            b"content-length: 4\r\n\r\nbody" % server.port
        ]


async def test_get_has_no_framing_and_an_empty_post_has() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        for method in ("GET", "POST", "DELETE"):
            await (await client.request(server.origin, method, "/")).read(10)
        get_, post, delete = server.requests
        assert b"content-length" not in get_
        assert post.endswith(b"\r\ncontent-length: 0\r\n\r\n")
        assert b"content-length" not in delete
        assert server.accepted == 1


async def test_headers_are_lower_case_and_all_there() -> None:
    answer = b"HTTP/1.1 201 Made\r\nX-One: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length:0\r\n\r\n"
    async with serve(answering(answer)) as server, Client() as client:
        response = await client.request(server.origin, "POST", "/")
        assert response.status == 201
        assert response.headers == [
            (b"x-one", b"1"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"content-length", b"0"),
        ]
        assert response.header(b"set-cookie") == b"a"
        assert response.header(b"none") is None
        assert await response.read(0) == b""
        assert await response.read_some() == b""


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", [("a", "x\r\nb: y")]),
        ("GET", "/", [("a", "x\ny")]),
        ("GET", "/", [("a", b"x\ry")]),
        ("GET", "/", [("a", b"x\0y")]),
        ("GET", "/", [("a: b\r\nc", "x")]),
        ("GET", "/", [("", "x")]),
        ("GET", "/", [("a b", "x")]),
        ("GET", "/", [("a", "水")]),
        ("GET", "/", [("Host", "x")]),
        ("GET", "/", [("content-length", "3")]),
        ("GET", "/", [(b"Transfer-Encoding", "chunked")]),
        ("GET", "/", [("connection", "close")]),
        ("GET", "/a b", []),
        ("GET", "/a\r\nb: c", []),
        ("GET", "", []),
        ("GET", "http://x/", []),
        ("GET", "/水", []),
        ("GE T", "/", []),
        ("GET\r\n", "/", []),
        ("", "/", []),
    ],
)
async def test_what_would_not_be_a_request_is_refused_before_a_connection(
    method: str, target: str, headers: list[tuple[str, str]]
) -> None:
    async with serve(answering(OK)) as server, Client() as client:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"\w"):
                await client.request(server.origin, method, target, headers)
        assert server.accepted == 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_bodies_of_any_size_arrive(size: int) -> None:
    body = b"x" * size
    async with serve(answering(OK)) as server, Client() as client:
        for _ in range(2):
            response = await client.request(server.origin, "POST", "/", (), body)
            assert await response.read(10) == b"ok"
        assert all(request.endswith(b"\r\n\r\n" + body) for request in server.requests)
        assert server.accepted == 1


async def pieces(*parts: bytes, count: int = 1) -> AsyncIterator[bytes]:
    for _ in range(count):
        for part in parts:
            await asyncio.sleep(0)
            yield part


async def test_an_iterator_is_sent_chunked_as_it_comes() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        for _ in range(2):
            response = await client.request(server.origin, "POST", "/", (), pieces(b"ab", b"", b"c" * 20))
            assert await response.read(10) == b"ok"
        assert all(request.endswith(b"\r\n\r\nab" + b"c" * 20) for request in server.requests)
        assert b"transfer-encoding: chunked" in server.requests[0]
        assert b"content-length" not in server.requests[0]
        assert server.accepted == 1


async def test_an_iterator_waits_for_a_slow_server() -> None:
    produced = 0
    may_read = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(400):
            produced += 1
            yield b"x" * 65_536

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        await state.request(reader)
        writer.write(OK)
        await reader.read()

    async with serve(script) as server, Client() as client:
        async with asyncio.TaskGroup() as group:
            request = group.create_task(client.request(server.origin, "POST", "/", (), body()))
            last = -1
            while produced != last:
                last = produced
                await asyncio.sleep(0.05)
            assert 0 < produced < 300  # socket buffers hold some megabytes, the client holds nearly nothing
            may_read.set()
            response = await request
        assert await response.read(10) == b"ok"
        assert produced == 400


async def test_a_failing_iterator_fails_the_request_and_closes_the_connection() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("no more")

    async with serve(answering(OK)) as server, Client() as client:
        with pytest.raises(LookupError, match="no more"):
            await client.request(server.origin, "POST", "/", (), body())
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_an_early_answer_is_given_and_the_half_sent_connection_is_not_used_again() -> None:
    never = asyncio.Event()
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await never.wait()
        finally:
            ended.set()

    async def script(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await reader.read()

    async with serve(script) as server, Client() as client:
        response = await client.request(server.origin, "POST", "/", (), body())
        assert (response.status, await response.read(10)) == (413, b"no")
        await ended.wait()
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


# -- bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-trailer: 1\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
    ],
)
async def test_framed_bodies_leave_the_connection_usable(answer: bytes, body: bytes) -> None:
    async with serve(answering(answer)) as server, Client() as client:
        for _ in range(3):
            response = await client.request(server.origin, "GET", "/")
            assert (await response.read(100), response.header(b"link")) == (body, None)
            assert client.connections(server.origin) == (1, 1)
        assert server.accepted == 1


async def test_a_body_without_framing_ends_with_the_connection() -> None:
    async with (
        serve(answering_then_closing(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", b"ef")) as server,
        Client() as client,
    ):
        assert await get(client, server.origin) == b"abcdef"
        assert await get(client, server.origin) == b"abcdef"
        assert server.accepted == 2


@pytest.mark.parametrize("head", [b"content-length: 500\r\n", b"content-length: 0\r\n", b""])
async def test_head_has_no_body_whatever_its_headers_say(head: bytes) -> None:
    async with serve(answering(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")) as server, Client() as client:
        for _ in range(2):
            response = await client.request(server.origin, "HEAD", "/")
            assert (response.status, await response.read(0)) == (200, b"")
        assert server.accepted == (1 if head else 2)


async def test_a_body_after_head_is_dropped_with_its_connection() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        response = await client.request(server.origin, "HEAD", "/")
        assert (response.status, await response.read(0)) == (200, b"")
        await server.until_open(0)
        assert await get(client, server.origin) == b"ok"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
async def test_connection_close_is_honoured(answer: bytes) -> None:
    async with serve(answering(answer + b"content-length: 2\r\n\r\nok")) as server, Client() as client:
        for _ in range(2):
            assert await get(client, server.origin) == b"ok"
        assert server.accepted == 2


async def test_read_some_gives_all_that_has_come_at_once() -> None:
    may_go_on = asyncio.Event()

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n")
        await may_go_on.wait()
        writer.write(b"1\r\nd\r\n0\r\n\r\n")
        await reader.read()

    async with serve(script) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        assert await response.read_some() == b"abc"
        may_go_on.set()
        assert [await response.read_some(), await response.read_some()] == [b"d", b""]


@pytest.mark.parametrize(
    "framing", [b"content-length: 6\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n6\r\n"]
)
async def test_read_refuses_a_body_above_its_limit(framing: bytes) -> None:
    async with (
        serve(answering(b"HTTP/1.1 200 OK\r\n" + framing + b"123456\r\n0\r\n\r\n")) as server,
        Client() as client,
    ):
        response = await client.request(server.origin, "GET", "/")
        with pytest.raises(BodyTooLarge):
            await response.read(5)


async def test_a_fast_server_waits_for_a_slow_reader() -> None:
    size = 50_000_000
    written = 0

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await state.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(100_000)
        while written < size:
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with serve(script) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        last = -1
        while written != last:
            last = written
            await asyncio.sleep(0.05)
        assert written < size // 2  # what is missing was never taken from the server
        got = len(await response.read_some())
        assert got < 1_000_000
        while data := await response.read_some():
            got += len(data)
        assert got == size


def spread(answer: bytes, cuts: list[int]) -> list[bytes]:
    return [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True) if a != b]


@settings(max_examples=20, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=6), data=st.data())
def test_any_cutting_of_the_answer_gives_the_same_body(
    strictly: Callable[..., None], chunks: list[bytes], data: st.DataObject
) -> None:
    answer = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nt: 1\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=12)))

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        for part in spread(answer, cuts):
            writer.write(part)
            await asyncio.sleep(0.0005)
        await reader.read()

    async def check() -> None:
        async with serve(script) as server, Client() as client:
            response = await client.request(server.origin, "GET", "/")
            assert await response.read(10_000) == b"".join(chunks)
            assert response.headers == [(b"x-a", b"b"), (b"transfer-encoding", b"chunked")]
            assert client.connections(server.origin) == (1, 1)

    strictly(check)


# -- servers that break the rules ----------------------------------------------------------------------

BIG = b"x" * 40_000


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad: \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\nlf: only\n\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + BIG + b"\r\nb: " + BIG + b"\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\na: " + BIG + BIG + BIG,
        b"HTTP/1.1 103 Hints\r\nlink: y\r\n\r\n" * 4_000,
    ],
)
async def test_what_is_no_response_is_a_protocol_error(answer: bytes) -> None:
    async with serve(answering(answer)) as server, Client() as client:
        with pytest.raises(ProtocolError):
            await client.request(server.origin, "GET", "/")
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"3\r\nabcd\r\n",
        b"-1\r\nabc\r\n",
        b"FFFFFFFFFFFFFFFFFF\r\nabc",
        b"3;" + BIG * 15,
        b"0\r\nt: " + BIG * 15,
        b"0\r\n" + b"t: x\r\n" * 100_000,
    ],
)
async def test_a_bad_body_is_a_protocol_error_after_what_was_good(body: bytes) -> None:
    async with serve(answering(CHUNKED + b"2\r\nok\r\n" + body)) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        got = b""
        with pytest.raises(ProtocolError):  # noqa: PT012 - what came before counts
            while data := await response.read_some():
                got += data
        assert got.startswith(b"ok")
        with pytest.raises(ProtocolError):
            await response.read(10)
        await server.until_open(0)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\na: b\r\n"])
async def test_a_cut_before_the_head(before: bytes) -> None:
    async with serve(answering_then_closing(before)) as server, Client() as client:
        with pytest.raises(ConnectionCut) as caught:
            await client.request(server.origin, "GET", "/")
        assert caught.value.before_response
        assert server.accepted == 1  # a fresh connection is not tried twice
        assert client.connections(server.origin) == (0, 0)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", CHUNKED + b"4\r\npart\r\n"]
)
async def test_a_cut_in_the_body_comes_after_what_was_received(answer: bytes) -> None:
    async with serve(answering_then_closing(answer)) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        assert await response.read_some() == b"part"
        with pytest.raises(ConnectionCut) as caught:
            await response.read_some()
        assert not caught.value.before_response
        assert client.connections(server.origin) == (0, 0)


async def test_a_second_answer_in_the_same_breath_is_never_given_to_the_next_request() -> None:
    async with serve(answering(OK + OK.replace(b"ok", b"NO"))) as server, Client() as client:
        for _ in range(3):
            assert await get(client, server.origin) == b"ok"
        assert server.accepted == 3


async def test_data_on_an_idle_connection_closes_it() -> None:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        writer.write(OK)
        await asyncio.sleep(0.01)
        writer.write(OK.replace(b"ok", b"NO"))
        await reader.read()

    async with serve(script) as server, Client() as client:
        assert await get(client, server.origin) == b"ok"
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)
        assert await get(client, server.origin) == b"ok"


# -- the pool ------------------------------------------------------------------------------------------


async def test_an_idle_connection_that_the_server_closes_leaves_the_pool() -> None:
    async with serve(answering_then_closing(OK)) as server, Client() as client:
        assert await get(client, server.origin) == b"ok"
        assert client.connections(server.origin) == (1, 1)
        await until(lambda: client.connections(server.origin) == (0, 0))


def closing_on_the_second(state: Server) -> bool:
    return state.accepted == 1 and len(state.requests) == 2


async def stale(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The first connection takes a second request and closes without a word."""
    while True:
        await state.request(reader)
        if closing_on_the_second(state):
            return
        writer.write(OK)


async def test_a_stale_connection_is_retried_once_on_a_fresh_one() -> None:
    async with serve(stale) as server, Client() as client:
        for _ in range(2):
            response = await client.request(server.origin, "POST", "/", (), b"same")
            assert await response.read(10) == b"ok"
        assert server.accepted == 2
        assert [request[-4:] for request in server.requests] == [b"same"] * 3


async def test_a_streamed_body_is_not_retried() -> None:
    async with serve(stale) as server, Client() as client:
        assert await get(client, server.origin) == b"ok"
        with pytest.raises(ConnectionCut) as caught:
            await client.request(server.origin, "POST", "/", (), pieces(b"x"))
        assert caught.value.before_response


async def test_an_answer_that_has_begun_is_not_retried() -> None:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        writer.write(OK)
        await state.request(reader)
        writer.write(b"HTTP/1.1 2")

    async with serve(script) as server, Client() as client:
        assert await get(client, server.origin) == b"ok"
        with pytest.raises(ConnectionCut) as caught:
            await get(client, server.origin)
        assert caught.value.before_response
        assert server.accepted == 1


async def test_a_second_stale_connection_is_an_error() -> None:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        if state.accepted == 1:
            writer.write(OK)
            await state.request(reader)

    async with serve(script) as server, Client() as client:
        assert await get(client, server.origin) == b"ok"
        with pytest.raises(ConnectionCut):
            await get(client, server.origin)
        assert server.accepted == 2


async def test_stale_with_every_place_taken_still_finds_a_fresh_connection() -> None:
    async with serve(stale) as server, Client(max_connections_per_origin=1) as client:
        assert await get(client, server.origin) == b"ok"
        assert await get(client, server.origin) == b"ok"
        assert client.connections(server.origin) == (1, 1)


async def test_the_last_used_connection_is_used_first() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        await asyncio.gather(*(get(client, server.origin) for _ in range(5)))
        accepted = server.accepted
        for _ in range(5):
            await get(client, server.origin)
        assert server.accepted == accepted


async def test_no_more_connections_than_allowed_and_waiters_take_their_turn() -> None:
    async with serve(answering(OK)) as server, Client(max_connections_per_origin=2) as client:
        bodies = await asyncio.gather(*(get(client, server.origin) for _ in range(20)))
        assert bodies == [b"ok"] * 20
        assert server.accepted == 2


async def test_waiters_dial_when_the_connection_ahead_of_them_closes() -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serve(answering(answer)) as server, Client(max_connections_per_origin=1) as client:
        assert await asyncio.gather(*(get(client, server.origin) for _ in range(5))) == [b"ok"] * 5
        assert server.accepted == 5
        await until(lambda: client.connections(server.origin) == (0, 0))


async def test_a_full_pool_is_a_pool_timeout_and_a_waiter_may_leave() -> None:
    async with serve(answering_not) as server, Client(max_connections_per_origin=1) as client:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(get(client, server.origin))
            await server.until_open(1)
            with pytest.raises(PoolTimeout):
                await get(client, server.origin, timeouts=Timeouts(pool_s=0.01))
            waiting = group.create_task(get(client, server.origin))
            await asyncio.sleep(0.01)
            waiting.cancel()
            first.cancel()
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_idle_connections_are_bounded_in_number_and_in_age() -> None:
    async with serve(answering(OK)) as server, Client(max_idle_per_origin=2, idle_s=0.05) as client:
        responses = await asyncio.gather(*(client.request(server.origin, "GET", "/") for _ in range(6)))
        assert [await response.read(10) for response in responses] == [b"ok"] * 6
        await server.until_open(2)
        assert client.connections(server.origin) == (2, 2)
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_closing_the_client_closes_what_is_in_use() -> None:
    async with serve(answering_not) as server:
        client = Client()

        async def request() -> None:
            with pytest.raises(ConnectionCut) as caught:
                await client.request(server.origin, "GET", "/")
            assert caught.value.before_response

        async with asyncio.TaskGroup() as group:
            group.create_task(request())
            await server.until_open(1)
            await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await client.request(server.origin, "GET", "/")


# -- giving up -----------------------------------------------------------------------------------------


async def endless(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await state.request(reader)
    writer.write(CHUNKED)
    while True:
        writer.write(b"2\r\nok\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def test_close_aborts_at_once_and_the_server_sees_it() -> None:
    async with serve(endless) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        assert (await response.read_some()).startswith(b"ok")
        response.close()
        response.close()
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)
        with pytest.raises(ConnectionCut):
            await response.read_some()


async def test_leaving_the_context_aborts_what_was_not_read() -> None:
    async with serve(endless) as server, Client() as client:
        with pytest.raises(LookupError):  # noqa: PT012 - leaving the block is the subject
            async with await client.request(server.origin, "GET", "/") as response:
                await response.read_some()
                raise LookupError
        await server.until_open(0)


async def test_close_after_the_whole_body_came_keeps_the_connection() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        async with await client.request(server.origin, "GET", "/"):
            pass
        assert await get(client, server.origin) == b"ok"
        assert server.accepted == 1


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with serve(answering_not) as server, Client() as client:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.request(server.origin, "GET", "/"))
            await until(lambda: bool(server.requests))
            task.cancel()
        assert task.cancelled()
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_a_cancelled_read_closes_its_connection() -> None:
    async with serve(answering_then_waiting) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(response.read_some())
            await asyncio.sleep(0.005)
            task.cancel()
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def answering_then_waiting(
    state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await state.request(reader)
    writer.write(CHUNKED)
    await reader.read()


async def test_a_cancelled_streamed_request_ends_its_iterator() -> None:
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    async with serve(answering_not) as server, Client() as client:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.request(server.origin, "POST", "/", (), body()))
            await server.until_open(1)
            task.cancel()
        await ended.wait()
        await server.until_open(0)


async def test_two_readers_are_a_bug() -> None:
    async with serve(answering_then_waiting) as server, Client() as client:
        response = await client.request(server.origin, "GET", "/")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(response.read_some())
            await asyncio.sleep(0.005)
            with pytest.raises(RuntimeError, match="two readers"):
                await response.read_some()
            task.cancel()


# -- time ----------------------------------------------------------------------------------------------


async def test_no_answer_is_a_first_byte_timeout() -> None:
    async with serve(answering_not) as server, Client() as client:
        with pytest.raises(FirstByteTimeout):
            await get(client, server.origin, timeouts=Timeouts(first_byte_s=0.02))
        await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_half_a_head_does_not_stop_the_clock() -> None:
    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await state.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"a: b\r\n")
            await asyncio.sleep(0.005)

    async with serve(script) as server, Client() as client:
        with pytest.raises(FirstByteTimeout):
            await get(client, server.origin, timeouts=Timeouts(first_byte_s=0.03))


async def test_a_silent_body_is_a_read_timeout() -> None:
    async with serve(answering_then_waiting) as server, Client() as client:
        with pytest.raises(ReadTimeout):
            await get(client, server.origin, timeouts=Timeouts(between_s=0.02))
        await server.until_open(0)


async def test_an_endless_body_is_a_total_timeout_also_when_nobody_reads() -> None:
    async with serve(endless) as server, Client() as client:
        timeouts = Timeouts(total_s=0.05)
        with pytest.raises(TotalTimeout):
            await get(client, server.origin, timeouts=timeouts)
        response = await client.request(server.origin, "GET", "/", timeouts=timeouts)
        await server.until_open(0)
        assert (await response.read_some()).startswith(b"ok")
        with pytest.raises(TotalTimeout):
            await response.read_some()


async def test_a_slow_reader_is_not_a_slow_server() -> None:
    async with (
        serve(answering(OK.replace(b": 2", b": 600002") + b"x" * 600_000)) as server,
        Client() as client,
    ):
        response = await client.request(server.origin, "GET", "/", timeouts=Timeouts(between_s=0.02))
        got = b""
        while data := await response.read_some():
            got += data
            await asyncio.sleep(0.05)
        assert len(got) == 600_002


async def test_timeouts_off_and_a_connection_with_an_old_timer() -> None:
    async with serve(answering(OK)) as server, Client() as client:
        assert await get(client, server.origin, timeouts=Timeouts(first_byte_s=0.03)) == b"ok"
        await asyncio.sleep(0.05)
        assert await get(client, server.origin, timeouts=Timeouts(None, None, None, None, None)) == b"ok"
        assert server.accepted == 1


async def test_a_server_that_takes_nothing_is_a_write_timeout() -> None:
    async def script(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a stream's transport reads
        await asyncio.sleep(3600)

    async with serve(script) as server, Client() as client:
        timeouts = Timeouts(first_byte_s=0.1)
        with pytest.raises(WriteTimeout):
            await client.request(server.origin, "POST", "/", (), b"x" * 30_000_000, timeouts=timeouts)
        body = pieces(b"x" * 65_536, count=1_000)
        with pytest.raises(WriteTimeout):
            await client.request(server.origin, "POST", "/", (), body, timeouts=timeouts)


async def test_a_server_that_takes_the_request_slowly_is_none() -> None:
    size = 42_000_000

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            is_chunked = b"chunked" in await reader.readuntil(b"\r\n\r\n")
            left = size + is_chunked * (len("ea60\r\n\r\n") * size // 60_000 + len("0\r\n\r\n"))
            while left:
                left -= len(await reader.read(min(left, 500_000)))
                await asyncio.sleep(0.01)
            writer.write(OK)

    async with serve(script) as server, Client() as client:
        for body in (b"x" * size, pieces(b"x" * 60_000, count=size // 60_000)):
            response = await client.request(
                server.origin, "POST", "/", (), body, timeouts=Timeouts(first_byte_s=0.5)
            )
            assert await response.read(10) == b"ok"


async def test_connecting_has_its_own_timeout() -> None:
    async def script(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # takes the TLS hello and says nothing

    async with serve(script) as server, Client() as client:
        with pytest.raises(ConnectTimeout):
            await get(client, server.tls_origin, timeouts=Timeouts(connect_s=0.1))
        assert client.connections(server.tls_origin) == (0, 0)


# -- ways to a server ----------------------------------------------------------------------------------


async def test_nobody_there_is_a_connect_error(tmp_path: Path) -> None:
    async with serve(answering(OK)) as server:
        gone = server.origin
    async with Client() as client:
        for origin in (
            gone,
            Origin("http", "name.invalid", 80),
            Origin("http", "localhost", 80, str(tmp_path / "none")),
        ):
            with pytest.raises(ConnectError, match=r"http://127|name\.invalid|unix:"):
                await client.request(origin, "GET", "/")
            assert client.connections(origin) == (0, 0)


async def test_a_server_that_closes_at_once_is_no_success() -> None:
    async def script(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with serve(script) as server, Client() as client:
        for _ in range(10):
            with pytest.raises((ConnectError, ConnectionCut)):
                await client.request(server.origin, "GET", "/")
            await server.until_open(0)
        assert client.connections(server.origin) == (0, 0)


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with (
        serve(answering(OK), uds=path) as server,
        Client(proxies={"all": "http://no.invalid"}) as client,
    ):
        for _ in range(2):
            assert await get(client, Origin.parse(f"unix:{path}")[0]) == b"ok"
        assert b"\r\nhost: localhost\r\n" in server.requests[0]
        assert server.accepted == 1


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def contexts(ca: trustme.CA, name: str = "localhost") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    of_server, of_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert(name).configure_cert(of_server)
    of_server.set_alpn_protocols(["h2", "http/1.1"])
    of_client.set_alpn_protocols(["http/1.1"])
    ca.configure_trust(of_client)
    return of_server, of_client


async def test_tls_with_a_known_ca(ca: trustme.CA) -> None:
    of_server, of_client = contexts(ca)
    async with serve(answering(OK), tls=of_server) as server, Client(ssl_context=of_client) as client:
        for size in (10, 2_000_000):
            response = await client.request(server.tls_origin, "POST", "/", (), b"x" * size)
            assert await response.read(10) == b"ok"
        assert b"\r\nhost: localhost:%d\r\n" % server.port in server.requests[0]
        assert len(server.requests[1]) > 2_000_000
        assert server.accepted == 1


async def test_tls_with_an_unknown_ca_is_refused_by_the_default_context(ca: trustme.CA) -> None:
    of_server, _ = contexts(ca)
    async with serve(answering(OK), tls=of_server) as server, Client() as client:
        with pytest.raises(ConnectError, match=r"certificate refused: .*issuer"):
            await get(client, server.tls_origin)
        assert server.requests == []
        assert client.connections(server.tls_origin) == (0, 0)


async def test_tls_for_another_host_is_refused(ca: trustme.CA) -> None:
    of_server, of_client = contexts(ca, "other.example")
    async with serve(answering(OK), tls=of_server) as server, Client(ssl_context=of_client) as client:
        with pytest.raises(ConnectError, match=r"certificate refused: .*mismatch"):
            await get(client, server.tls_origin)


async def test_tls_to_a_server_without_it(ca: trustme.CA) -> None:
    async with serve(answering_then_closing(OK)) as server, Client(ssl_context=contexts(ca)[1]) as client:
        with pytest.raises(ConnectError):
            await get(client, server.tls_origin, timeouts=Timeouts(connect_s=0.5))


async def test_a_cancelled_tls_stream_is_aborted(ca: trustme.CA) -> None:
    of_server, of_client = contexts(ca)
    async with serve(endless, tls=of_server) as server, Client(ssl_context=of_client) as client:
        async with await client.request(server.tls_origin, "GET", "/") as response:
            await response.read_some()
        await server.until_open(0)
        assert client.connections(server.tls_origin) == (0, 0)


# -- proxies -------------------------------------------------------------------------------------------


def forwarding(port: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"):  # noqa: ANN201 - a script
    """A CONNECT proxy that leads every tunnel to one port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def script(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if b" 200 " not in answer:
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        finally:
            inner_writer.close()

    return script


async def test_https_goes_through_a_connect_proxy(ca: trustme.CA) -> None:
    of_server, of_client = contexts(ca, "api.example")
    async with serve(answering(OK), tls=of_server) as server, serve(forwarding(server.port)) as proxy:
        proxies = {"https": f"http://me:p%40ss@127.0.0.1:{proxy.port}"}
        async with Client(ssl_context=of_client, proxies=proxies) as client:
            for _ in range(2):
                assert await get(client, Origin("https", "api.example", 443), "/v1") == b"ok"
        assert proxy.requests == [
            (
                b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n"
                b"proxy-authorization: Basic bWU6cEBzcw==\r\n\r\n"
            )
        ]
        assert server.requests[0].startswith(b"GET /v1 HTTP/1.1\r\nhost: api.example\r\n")
        assert b"proxy" not in server.requests[0]


async def test_a_proxy_may_speak_tls_itself(ca: trustme.CA) -> None:
    (of_server, of_client), (of_proxy, _) = contexts(ca, "api.example"), contexts(ca)
    async with (
        serve(answering(OK), tls=of_server) as server,
        serve(forwarding(server.port), tls=of_proxy) as proxy,
    ):
        proxies = {"https": f"https://localhost:{proxy.port}"}
        async with Client(ssl_context=of_client, proxies=proxies) as client:
            for _ in range(2):
                assert await get(client, Origin("https", "api.example", 443)) == b"ok"
        assert proxy.accepted == 1


async def test_the_certificate_is_checked_inside_the_tunnel(ca: trustme.CA) -> None:
    of_server, of_client = contexts(ca, "evil.example")
    async with serve(answering(OK), tls=of_server) as server, serve(forwarding(server.port)) as proxy:
        proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
        async with Client(ssl_context=of_client, proxies=proxies) as client:
            with pytest.raises(ConnectError, match="certificate refused"):
                await get(client, Origin("https", "api.example", 443))
            assert client.connections(Origin("https", "api.example", 443)) == (0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nand more than asked for",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000,
        b"",
    ],
)
async def test_a_proxy_that_refuses(answer: bytes, ca: trustme.CA) -> None:
    async def script(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if answer:
            await reader.read()

    async with serve(script) as proxy:
        proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
        async with Client(ssl_context=contexts(ca)[1], proxies=proxies) as client:
            with pytest.raises(ConnectError, match="refused the tunnel"):
                await get(client, Origin("https", "api.example", 443))
            await proxy.until_open(0)


async def test_http_goes_through_a_proxy_in_absolute_form() -> None:
    async with serve(answering(OK)) as proxy:
        async with Client(proxies={"all": f"http://u:p@127.0.0.1:{proxy.port}"}) as client:
            for _ in range(2):
                assert await get(client, Origin("http", "api.example", 8080), "/v1?x") == b"ok"
        assert proxy.requests[0] == (
            b"GET http://api.example:8080/v1?x HTTP/1.1\r\nhost: api.example:8080\r\n"
            b"proxy-authorization: Basic dTpw\r\n\r\n"
        )


async def test_a_proxy_of_an_unknown_kind_is_a_connect_error_without_its_password() -> None:
    async with Client(proxies={"all": "socks5://me:secret@proxy.example:1080"}) as client:
        with pytest.raises(ConnectError, match="not an http or https proxy") as caught:
            await get(client, Origin("http", "api.example", 80))
        assert "secret" not in str(caught.value)


async def test_loopback_is_never_proxied() -> None:
    async with serve(answering(OK)) as server, Client(proxies={"all": "http://proxy.invalid"}) as client:
        assert await get(client, server.origin) == b"ok"
