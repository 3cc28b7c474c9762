"""Clients that leave, at every moment of a call, and one that hardly reads: nobody else notices.

After each: the upstream was let go at once, the slot given back, the call accounted once as `client_left`
with what was told until then, and the process holds no more than before.
"""

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from books import Books, logged
from gateways import KEY, Gateway, chat, gateway
from sick import Steady, text_of

from penstock import serve
from penstock.engines import ENGINES
from penstock.lib import http1
from penstock.lib.sse import SSESplitter
from penstock.testing.engine import FakeEngine
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"
STREAMS = 1000


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Of the log."""
    yield from logged()


def config(one: Upstream, two: Upstream, deployment: str = "", route: str = "") -> str:
    return (
        "builtin: off\nproviders:\n"
        f'  one: {{kind: openai-compatible, base_url: "{one.url}", api_key: k}}\n'
        f'  two: {{kind: openai-compatible, base_url: "{two.url}", api_key: k}}\n'
        f"deployments:\n  a: {{provider: one, model: m{deployment}}}\n  b: {{provider: two, model: m}}\n"
        f"routes:\n  m: {{targets: [{{deployment: a, weight: 1000000}}]{route}}}\n"
        "  both: {targets: [{deployment: a, weight: 1000000}, {deployment: b, weight: 0.000001}],"
        " hedge: {after: 50ms, share: 0.5}}\n"
        f"keys:\n  test: {{secret: {KEY}}}\n"
    )


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.005)


class Phase(NamedTuple):
    """When the client leaves. `seen`: how many requests the upstreams have by then."""

    behaviour: dict[str, str]
    seen: int = 1
    words: int = 0  # it was told
    model: str = "m"
    deployment: str = ""
    route: str = ""
    kinds: tuple[bool, ...] = (True, False)  # stream
    is_over: bool = False  # for the upstream: it has answered


PHASES = {
    "before-headers": Phase({"x-test-delay-headers": "30"}),
    "before-content": Phase({"x-test-delay-first": "30"}),
    "midway": Phase({"x-test-hang": "6"}, words=5, kinds=(True,)),
    "hedge": Phase({"x-test-delay-headers": "30"}, seen=2, model="both"),
    "in-a-pause": Phase(
        {"x-test-status": "429", "x-test-retry-after": "5"}, route=", retries: 1", is_over=True
    ),
    "with-a-slot": Phase({"x-test-delay-headers": "30"}, deployment=", concurrency: 1"),
}
TABLE = [
    pytest.param(phase, stream, id=f"{name}-{'stream' if stream else 'whole'}")
    for name, phase in PHASES.items()
    for stream in phase.kinds
]


@pytest.mark.parametrize(("phase", "stream"), TABLE)
async def test_a_client_that_leaves_ends_what_it_began(
    phase: Phase, stream: bool, lines: io.StringIO
) -> None:
    async with (
        Steady("a") as one,
        Steady("b") as two,
        gateway(config(one, two, phase.deployment, phase.route)) as gate,
    ):
        books = Books(gate, lines)
        await books.warm("m", "b")
        before = [*one.requests, *two.requests]
        for up in (one, two):
            up.behaviour |= phase.behaviour

        def new() -> list[Any]:
            return [request for request in (*one.requests, *two.requests) if request not in before]

        leaving = Leaving(gate, chat(stream=stream) | {"model": phase.model})
        await until(lambda: len(new()) == phase.seen)
        await leaving.read(phase.words)
        if phase.is_over:
            await asyncio.wait_for(new()[0].ended.wait(), 10)
            await asyncio.sleep(0.05)  # and the pause has begun
        await leaving.now()
        for request in new():
            await asyncio.wait_for(request.ended.wait(), 10)
            assert (request.cancelled_at is None) is phase.is_over
        await left(gate, 1)
        books.calls += 1
        books.words += phase.words
        for up in (one, two):
            for name in phase.behaviour:
                del up.behaviour[name]
        await books.recovered()
        await books.check()
        assert await gate.metric("penstock_queue_running") == 0
        assert len(new()) - phase.seen <= books.calls, "nobody went on without it"


class Leaving:
    """A request whose client will leave."""

    def __init__(self, gate: Gateway, body: dict[str, Any]) -> None:
        self._client = http1.Client()
        self._task = asyncio.ensure_future(self._ask(gate, body))  # noqa: TID251 - a client
        self._data = b""
        self._more = asyncio.Event()

    async def _ask(self, gate: Gateway, body: dict[str, Any]) -> None:
        headers = [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
        response = await self._client.request(gate.origin, "POST", CHAT, headers, json.dumps(body).encode())
        while data := await response.read_some():
            self._data += data
            self._more.set()

    async def read(self, words: int) -> None:
        """Until it has been told so many."""
        async with asyncio.timeout(5):
            while self._data.count(b'"content":"') - 1 < words and words:  # the first is empty
                self._more.clear()
                await self._more.wait()

    async def now(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._client.aclose()


async def left(gate: Gateway, count: int) -> None:
    requests = ("penstock_requests_total", 'code="client_left"')
    assert await gate.settled(*requests, at_least=count) == count
    assert await gate.metric("penstock_requests_in_flight") == 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_one_that_leaves_the_queue(stream: bool, lines: io.StringIO) -> None:
    async with Steady("a") as up, gateway(config(up, up, ", concurrency: 1")) as gate:
        books = Books(gate, lines)
        await books.warm("m")
        seen = len(up.requests)
        up.behaviour["x-test-hang"] = "6"
        running = Leaving(gate, chat(stream=True))
        await running.read(5)
        waiting = Leaving(gate, chat(stream=stream))
        await gate.settled("penstock_queue_waiting", at_least=1)
        await waiting.now()
        await left_queue(gate)
        assert len(up.requests) == seen + 1, "it never got there"
        await running.now()
        await left(gate, 2)
        books.calls += 2
        books.words += 5
        del up.behaviour["x-test-hang"]
        await books.recovered()
        await books.check()
        assert await gate.metric("penstock_queue_running") == 0


async def left_queue(gate: Gateway) -> None:
    async with asyncio.timeout(5):
        while await gate.metric("penstock_queue_waiting"):
            await asyncio.sleep(0.01)
    assert await gate.metric("penstock_requests_total", 'code="client_left"') == 1


async def test_one_that_leaves_while_it_sends(lines: io.StringIO) -> None:
    async with Steady("a") as up, gateway(config(up, up)) as gate:
        books = Books(gate, lines)
        await books.warm("m")
        seen = len(up.requests)
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            'content-type: application/json\r\ncontent-length: 5000\r\n\r\n{"model":'.encode()
        )
        await writer.drain()
        await gate.settled("penstock_requests_in_flight", at_least=1)
        writer.close()
        await left(gate, 1)
        books.calls += 1
        assert len(up.requests) == seen
        await books.recovered()
        await books.check()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_one_that_leaves_while_a_model_loads(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading goes on: the next one finds it done."""
    go_on = asyncio.Event()

    async def slowly(*_: Any) -> str:
        await go_on.wait()
        return ""

    monkeypatch.setattr(serve, "_resolve", slowly)
    monkeypatch.setattr(FakeEngine, "name", "llamacpp")
    monkeypatch.setitem(ENGINES._loaded, "llamacpp", FakeEngine())
    text = (
        f'builtin: off\ndeployments:\n  m: {{model: "file:{serve.BUILTIN_CHAT_FILE}"}}\n'
        f"keys:\n  test: {{secret: {KEY}}}\n"
    )
    async with gateway(text) as gate:
        leaving = Leaving(gate, chat(stream=stream))
        await gate.settled("penstock_requests_in_flight", at_least=1)
        await leaving.now()
        await left(gate, 1)
        go_on.set()
        answer = await gate.post(CHAT, chat(stream=stream))
        assert answer.status == 200
        assert await gate.settled("penstock_requests_total", at_least=2) == 2


# -- one that hardly reads


async def test_a_slow_reader_beside_a_thousand_streams(lines: io.StringIO) -> None:
    async with Steady("a") as up, Steady("b") as other, gateway(config(up, other)) as gate:
        books = Books(gate, lines)
        await books.warm("m", "b")
        other.behaviour |= {"x-test-tokens": "3000", "x-test-content": "word" * 2000}
        with socket.socket() as slow:
            await ask_slowly(gate, slow)
            await until(lambda: other.in_flight == 1)
            up.behaviour["x-test-together"] = str(STREAMS)
            async with http1.Client(max_connections_per_origin=STREAMS) as clients:
                answers = await asyncio.gather(*(stream(clients, gate) for _ in range(STREAMS)))
            del up.behaviour["x-test-together"]
            assert up.peak_in_flight == STREAMS
            assert set(answers) == {text_of("a")}
            assert other.in_flight == 1, "its upstream is held, not read ahead without bound"
        await asyncio.wait_for(other.requests[-1].ended.wait(), 5)
        await left(gate, 1)
        requests = ("penstock_requests_total", 'deployment="a"', 'code=""')
        assert await gate.settled(*requests, at_least=STREAMS + 1) == STREAMS + 1
        words = ("penstock_tokens_total", 'deployment="a"', 'kind="completion"')
        assert await gate.metric(*words) == (STREAMS + 1) * len(text_of("a").split())
        assert (await books.ask(stream=True)).code is None


async def ask_slowly(gate: Gateway, client: socket.socket) -> None:
    """For more than the buffers on the way hold; it never reads."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", gate.port))
    body = json.dumps(chat(stream=True) | {"model": "b"}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    await loop.sock_sendall(client, head.encode() + body)


async def stream(client: http1.Client, gate: Gateway) -> str:
    headers = [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
    body = json.dumps(chat(stream=True)).encode()
    response = await client.request(gate.origin, "POST", CHAT, headers, body)
    *events, end = SSESplitter().feed_data(await response.read(1 << 20))
    assert end == b"[DONE]"
    chunks = [json.loads(data)["choices"] for data in events]
    return "".join(choice["delta"].get("content") or "" for choices in chunks for choice in choices)
