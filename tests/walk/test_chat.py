"""Whole chat requests through a real server to a real upstream, and everything that can break on the way."""

import asyncio
import json
import zlib
from typing import Any

import pytest
import zstandard
from gateways import KEY, chat, gateway, remote

from penstock.gateway import exchange, responder
from penstock.testing.upstream import Upstream

DONE = "[DONE]"
REQUESTS = "penstock_requests_total"


def text_of(events: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        if event != DONE
        for choice in event["choices"]
    )


async def test_a_whole_answer_carries_the_public_name_and_headers() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat(), headers={"x-request-id": "mine-1"})
        assert answer.status == 200
        assert answer.json["model"] == "m"
        assert answer.json["object"] == "chat.completion"
        assert answer.json["choices"][0]["message"]["content"]
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["x-penstock-deployment"] == "m"
        assert answer.headers["x-penstock-attempts"] == "1"
        assert int(answer.headers["openai-processing-ms"]) >= 0
        (seen,) = up.requests
        assert seen.body["model"] == "upstream-model"
        assert seen.headers["authorization"] == "Bearer sk-upstream-secret"
        assert KEY not in str(seen.headers)
        assert await gate.settled(REQUESTS, 'code=""', at_least=1) == 1


async def test_a_stream_is_the_answer_in_pieces() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        whole = await gate.post("/v1/chat/completions", chat())
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.events
        assert events[-1] == DONE
        assert text_of(events) == whole.json["choices"][0]["message"]["content"]
        assert {event["model"] for event in events[:-1]} == {"m"}
        assert len({event["id"] for event in events[:-1]}) == 1
        assert "usage" not in events[-2] or events[-2]["usage"] is None
        assert up.requests[-1].body["stream_options"] == {"include_usage": True}


async def test_the_usage_chunk_comes_when_asked_for() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(
            "/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True})
        )
        usage = answer.events[-2]
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] > 0
        assert await gate.settled("penstock_tokens_total", 'kind="completion"', at_least=1) >= 1


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_streams_are_compressed_when_the_client_accepts(encoding: str) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(
            "/v1/chat/completions", chat(stream=True), headers={"accept-encoding": encoding}
        )
        assert answer.headers["content-encoding"] == encoding
        assert answer.headers["vary"] == "accept-encoding"
        if encoding == "gzip":
            plain = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(answer.body)
        else:
            plain = zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
        assert plain.endswith(b"data: [DONE]\n\n")


async def test_unknown_fields_survive_both_ways_and_nulls_do_not() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = chat(temperature=None, top_k=7, vendor_new={"a": [1, None]})
        body["messages"][0]["vendor_field"] = "kept"
        assert (await gate.post("/v1/chat/completions", body)).status == 200
        sent = up.requests[-1].body
        assert sent["top_k"] == 7
        assert sent["vendor_new"] == {"a": [1, None]}
        assert sent["messages"][0]["vendor_field"] == "kept"
        assert "temperature" not in sent


# --- what upstreams do wrong ---


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ({"x-test-status": "500"}, 502, "upstream_unavailable"),
        ({"x-test-status": "401"}, 502, "upstream_credentials_exhausted"),
        ({"x-test-status": "429", "x-test-retry-after": "7"}, 503, "upstream_rate_limited"),
        ({"x-test-cut": "0"}, 502, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_early_failures_are_http_errors(
    behaviour: dict[str, str], status: int, code: str | None, stream: bool
) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = behaviour
        answer = await gate.post("/v1/chat/completions", chat(stream=stream))
        assert answer.status == status, answer.body
        if code:
            assert answer.json["error"]["code"] == code
        assert "sk-upstream-secret" not in answer.body.decode()
        assert answer.headers["x-request-id"]
        if status == 503:
            assert answer.headers["retry-after"] == "7"
        assert await gate.settled(REQUESTS, f'status="{status}"', at_least=1) == 1


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ({"x-test-cut": "3"}, "upstream_cut"),
        ({"x-test-truncate": "3"}, "upstream_cut"),
        ({"x-test-malformed": "3"}, "upstream_invalid"),
        ({"x-test-error-in-stream": "3"}, None),
    ],
)
async def test_late_failures_are_one_typed_terminal_event(
    behaviour: dict[str, str], code: str | None
) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        words = "one two three four five six seven"
        up.behaviour = {"x-test-content": words, "x-test-delay-between": "0.02", **behaviour}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.status == 200
        *events, last = answer.events
        assert DONE not in events
        assert last["error"]["partial"] is True
        assert code is None or last["error"]["code"] == code
        assert text_of(events)
        assert all(choice.get("finish_reason") is None for event in events for choice in event["choices"])
        assert await gate.settled(REQUESTS, 'code="upstream', at_least=1) == 1


async def test_a_cut_whole_answer_is_an_error_and_not_half_an_answer() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-cut": "1"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.status == 502


async def test_a_dead_upstream_is_unavailable() -> None:
    async with Upstream() as up:
        url = up.url
    async with gateway(remote(url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error == (502, "upstream_unavailable", None)


async def test_no_first_token_in_time_is_a_timeout() -> None:
    routes = "routes: {slow: {targets: [{deployment: m}], timeouts: {first_token: 200ms}}}"
    async with Upstream() as up, gateway(remote(up.url, routes)) as gate:
        up.behaviour = {"x-test-delay-first": "5"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True) | {"model": "slow"})
        assert answer.error == (504, "upstream_timeout", None)


async def test_silence_between_tokens_is_a_timeout_event() -> None:
    routes = "routes: {slow: {targets: [{deployment: m}], timeouts: {between_tokens: 200ms}}}"
    async with Upstream() as up, gateway(remote(up.url, routes)) as gate:
        up.behaviour = {"x-test-delay-between": "0.4"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True) | {"model": "slow"})
        assert answer.status == 200
        assert answer.events[-1]["error"]["code"] == "upstream_timeout"


async def test_pings_keep_a_slow_prefill_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "PING_S", 0.05)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-first": "0.4"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.body.startswith(b": ping\n\n")
        assert answer.events[-1] == DONE


async def test_after_a_ping_an_error_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "PING_S", 0.05)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-headers": "0.4", "x-test-status": "500"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.status == 200
        assert answer.events[-1]["error"]["code"] == "upstream_unavailable"


# --- what clients do wrong ---


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_upstream(stream: bool) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.05", "x-test-tokens": "2000"}
        if not stream:
            up.behaviour = {"x-test-delay-headers": "15"}
        asked = asyncio.ensure_future(gate.open("/v1/chat/completions", chat(stream=stream)))  # noqa: TID251 - a client
        while not up.in_flight:
            await asyncio.sleep(0.01)
        if stream:
            response = await asked
            await response.read_some()
            response.close()
        else:
            asked.cancel()
        while up.in_flight:
            await asyncio.sleep(0.01)
        assert up.requests[-1].cancelled_at is not None
        assert await gate.settled(REQUESTS, 'code="client_left"', at_least=1) == 1
        assert await gate.metric("penstock_requests_in_flight") == 0


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WRITE_STALL_S", 0.3)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-content": "x" * 100_000, "x-test-tokens": "500"}  # 50 MB
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1024)
        body = json.dumps(chat(stream=True)).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n" % (KEY.encode(), len(body)) + body
        )
        assert await gate.settled(REQUESTS, 'code="client_left"', at_least=1) == 1
        while up.in_flight:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        del reader


async def test_500_streams_at_once() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.02", "x-test-content": "a b c d e"}
        answers = await asyncio.gather(
            *(gate.post("/v1/chat/completions", chat(stream=True)) for _ in range(500))
        )
        assert {text_of(answer.events) for answer in answers} == {"a b c d e"}
        assert all(answer.events[-1] == DONE for answer in answers)
        assert await gate.settled(REQUESTS, 'code=""', at_least=500) == 500
        assert await gate.metric("penstock_requests_in_flight") == 0


async def test_a_ping_does_not_reorder_what_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "PING_S", 0.05)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.2", "x-test-content": "a b"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        *events, done = answer.events
        assert done == DONE
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
        assert text_of(events) == "a b"


async def test_a_whole_answer_has_the_whole_time() -> None:
    routes = "routes: {slow: {targets: [{deployment: m}], timeouts: {first_token: 100ms, total: 20s}}}"
    async with Upstream() as up, gateway(remote(up.url, routes)) as gate:
        up.behaviour = {"x-test-delay-headers": "0.4"}
        assert (await gate.post("/v1/chat/completions", chat() | {"model": "slow"})).status == 200


async def test_a_server_that_stops_says_so_to_whom_it_cannot_serve() -> None:
    async with Upstream() as up, gateway(remote(up.url), drain_s=0.3) as gate:
        up.behaviour = {"x-test-delay-headers": "30"}
        waiting = asyncio.ensure_future(gate.post("/v1/chat/completions", chat()))  # noqa: TID251 - a client
        while not up.in_flight:
            await asyncio.sleep(0.01)
        up.behaviour = {"x-test-delay-between": "0.5", "x-test-tokens": "1000"}
        stream = await gate.open("/v1/chat/completions", chat(stream=True))
        first = await stream.read_some()
        gate.stop()
        refused = await waiting
        assert refused.error == (503, "server_stopping", None)
        assert refused.headers["retry-after"] == "5"
        rest = first + await stream.read(1 << 20)
        assert b"server_stopping" in rest
        assert b"[DONE]" not in rest


async def test_no_address_reaches_a_client() -> None:
    async with Upstream() as up:
        url = up.url
    async with gateway(remote(url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.json["error"]["message"] == "m could not be reached."


async def test_a_last_event_without_its_blank_line_counts() -> None:
    """Some servers end the body right after `data: [DONE]`, or after the last chunk and without it."""
    chunk = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"x","choices":[%b]}'
    said = chunk % b'{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}'
    end = chunk % b'{"index":0,"delta":{},"finish_reason":"stop"}'
    bodies = [said + b"\n\n" + end + b"\n\ndata: [DONE]\n", said + b"\n\n" + end + b"\n"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
        body = bodies.pop(0)
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with gateway(remote(f"http://127.0.0.1:{port}/v1")) as gate:
            for _ in range(2):
                events = (await gate.post("/v1/chat/completions", chat(stream=True))).events
                assert text_of(events) == "hi"
                assert events[-1] == DONE
