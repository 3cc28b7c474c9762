"""What networks and machines do to upstreams, on real sockets: heard, survived, and nothing left behind."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme
from gateways import KEY, Gateway, chat, gateway

from penstock.testing.upstream import Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
FIRST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}\n\n'
)


def config(first: str, second: str = "", more: str = "") -> str:
    providers = f'  one: {{kind: openai-compatible, base_url: "{first}", api_key: k}}\n'
    deployments = "  a: {provider: one, model: m}\n"
    targets = "{deployment: a}"
    if second:
        providers += f'  two: {{kind: openai-compatible, base_url: "{second}", api_key: k}}\n'
        deployments += "  b: {provider: two, model: m}\n"
    fallbacks = "fallbacks: [b], " if second else ""
    return (
        f"builtin: off\nproviders:\n{providers}deployments:\n{deployments}"
        f"routes:\n  m: {{targets: [{targets}], {fallbacks}{more}"
        "timeouts: {connect: 500ms, first_token: 1s, between_tokens: 300ms, total: 5s}}\n"
        f"keys:\n  test: {{secret: {KEY}}}\n"
    )


@contextlib.asynccontextmanager
async def server(handle: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    made = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = made.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if context else 'http'}://localhost:{port}/v1"
    finally:
        made.close()
        await made.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    await reader.readexactly(length)


async def error_of(gate: Gateway, **more: Any) -> tuple[int, Any]:
    answer = await gate.post("/v1/chat/completions", chat(**more))
    return answer.status, answer.json["error"]["code"]


@pytest.mark.parametrize("stream", [True, False])
async def test_one_byte_at_a_time_is_silence(stream: bool) -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + FIRST if stream else HEAD)
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)

    async with server(drips) as url, gateway(config(url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat(stream=stream))
        if stream:
            assert answer.status == 200
            assert answer.events[0]["choices"][0]["delta"]["content"] == "Hel"
            assert answer.events[-1]["error"]["code"] == "upstream_timeout"
            assert answer.events[-1]["error"]["message"].startswith("The upstream sends bytes")
        else:
            assert answer.error == (504, "upstream_timeout", None)  # by its total


async def test_a_name_that_leads_nowhere() -> None:
    async with gateway(config("http://nowhere.invalid/v1")) as gate:
        assert await error_of(gate) == (502, "upstream_unavailable")
    async with Upstream() as good, gateway(config("http://nowhere.invalid/v1", good.url)) as gate:
        assert (await gate.post("/v1/chat/completions", chat())).status == 200


async def test_a_certificate_that_has_run_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    ca = trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", not_after=yesterday).configure_cert(context)
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody should get this far")

    async with server(never, context) as url, Upstream() as good:
        async with gateway(config(url)) as gate:
            assert await error_of(gate) == (502, "upstream_unavailable")
        async with gateway(config(url, good.url)) as gate:
            assert (await gate.post("/v1/chat/completions", chat())).status == 200


async def test_a_storm_of_resets_and_the_calm_after_it() -> None:
    """Every connection is reset at another moment; when that ends, everything works without a restart."""
    seen = 0
    async with Upstream() as good:

        async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            seen += 1
            if seen % 3:
                await read_request(reader)
            if seen % 3 == 2:
                writer.write(HEAD)
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        async with server(resets) as url, gateway(config(url, good.url)) as gate:
            answers = await asyncio.gather(
                *(gate.post("/v1/chat/completions", chat(stream=at % 2 == 0)) for at in range(30))
            )
            assert {answer.status for answer in answers} <= {200, 503, 502}
            assert sum(answer.status == 200 for answer in answers) >= 10  # as far as the retry budget goes
            assert await gate.metric("penstock_requests_in_flight") == 0
            again = await gate.post("/v1/chat/completions", chat())
            assert again.status == 200


async def test_all_are_down_and_it_says_so() -> None:
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        one.behaviour = {"x-test-status": "500"}
        two.behaviour = {"x-test-status": "429", "x-test-retry-after": "7"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error == (503, "no_healthy_target", None)
        assert answer.headers["x-penstock-attempts"] == "2"
        assert answer.headers["retry-after"] == "7"
        one.behaviour = two.behaviour = {}
        assert (await gate.post("/v1/chat/completions", chat())).status == 200


async def test_thirty_seconds_of_500_cost_five_requests() -> None:
    """Then its breaker leaves it alone, and a probe brings it back."""
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        one.behaviour = {"x-test-status": "500"}
        for _ in range(20):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        assert len(one.requests) < 10
        assert "penstock_deployment_down" in (await gate.get("/metrics")).body.decode()


async def test_a_reader_that_does_not_read_hinders_nobody() -> None:
    async with Upstream() as up, gateway(config(up.url)) as gate:
        up.behaviour = {"x-test-tokens": "4000", "x-test-content": "word " * 40}
        response = await gate.open("/v1/chat/completions", chat(stream=True))
        up.behaviour = {}
        answers = await asyncio.gather(
            *(gate.post("/v1/chat/completions", chat(stream=True)) for _ in range(100))
        )
        assert all(answer.events[-1] == "[DONE]" for answer in answers)
        response.close()
        for _ in range(100):
            if await gate.metric("penstock_requests_in_flight") == 0:
                break
            await asyncio.sleep(0.05)
        assert await gate.metric("penstock_requests_in_flight") == 0
