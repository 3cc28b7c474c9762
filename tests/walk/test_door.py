"""The door itself: keys, paths, methods, framing, and bodies that are no request."""

import asyncio
import json
from typing import Any

import pytest
import structlog
from gateways import KEY, chat, gateway, remote

from penstock.gateway import listener
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"


async def raw(port: int, data: bytes) -> bytes:
    """Everything the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


def error_of(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-request-id: " in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    return error


@pytest.mark.parametrize(
    "header", [{"authorization": ""}, {"authorization": "Basic abc"}, {"authorization": "Bearer wrong"}]
)
async def test_without_a_valid_key_there_is_nothing(header: dict[str, str]) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        for answer in (
            await gate.post(CHAT, chat(), headers=header),
            await gate.get("/v1/models", headers=header),
            await gate.get("/v1/models/m", headers=header),
        ):
            assert answer.error == (401, "invalid_api_key", None)
            assert answer.headers["x-request-id"]
        assert up.requests == []


async def test_the_scheme_may_be_written_in_any_case() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(CHAT, chat(), headers={"authorization": f"bearer {KEY}"})
        assert answer.status == 200


async def test_a_key_sees_only_its_routes() -> None:
    more = "  narrow: {secret: sk-narrow, routes: [other]}\nroutes: {other: {targets: [{deployment: m}]}}"
    async with Upstream() as up, gateway(remote(up.url, more)) as gate:
        narrow = {"authorization": "Bearer sk-narrow"}
        listed = (await gate.get("/v1/models", headers=narrow)).json
        assert [row["id"] for row in listed["data"]] == ["other"]
        refused = await gate.post(CHAT, chat(), headers=narrow)
        missing = await gate.post(CHAT, chat() | {"model": "absent"}, headers=narrow)
        assert refused.error == missing.error == (404, "model_not_found", "model")
        assert (await gate.post(CHAT, chat() | {"model": "other"}, headers=narrow)).status == 200


async def test_models_with_slashes_are_found() -> None:
    more = 'routes: {"org/name": {targets: [{deployment: m}]}}'
    async with Upstream() as up, gateway(remote(up.url, more)) as gate:
        for path in ("/v1/models/org/name", "/v1/models/org%2Fname"):
            answer = await gate.get(path)
            assert answer.json["id"] == "org/name", path
            assert answer.json["object"] == "model"
        assert (await gate.get("/v1/models/none/such")).error == (404, "model_not_found", "model")


async def test_paths_and_methods() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        assert (await gate.get("/v1/nothing")).error == (404, "not_found", None)
        wrong = await gate.get(CHAT)
        assert wrong.error == (405, "method_not_allowed", None)
        assert wrong.headers["allow"] == "POST"
        assert (await gate.post("/health", {})).headers["allow"] == "GET, HEAD"
        head = await gate.get("/health", method="HEAD")
        assert (head.status, head.body) == (200, b"")


async def test_health_needs_no_key() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        nobody = {"authorization": ""}
        assert (await gate.get("/health", headers=nobody)).json["status"] == "ok"
        assert (await gate.get("/health/live", headers=nobody)).status == 200
        assert (await gate.get("/health/ready", headers=nobody)).status == 200
        assert b"penstock_build_info" in (await gate.get("/metrics", headers=nobody)).body


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"", {}, (400, "invalid_request", None)),
        (b"{", {}, (400, "invalid_request", None)),
        (b"[1]", {}, (400, "invalid_request", None)),
        (b'{"a": "\xff"}', {}, (400, "invalid_request", None)),
        (b'{"a": "\\ud800"}', {}, (400, "invalid_request", None)),
        (b"[" * 100_000, {}, (400, "invalid_request", None)),
        (
            b"a=b",
            {"content-type": "application/x-www-form-urlencoded"},
            (415, "unsupported_media_type", None),
        ),
        (b"{}", {"content-encoding": "gzip"}, (415, "unsupported_media_type", None)),
        (b'{"model": "m"}', {}, (400, "invalid_request", "messages")),
        (b'{"model": "m", "messages": []}', {}, (400, "invalid_request", "messages")),
        (b'{"messages": [{"role": "user", "content": "x"}]}', {}, (400, "invalid_request", "model")),
    ],
)
async def test_bodies_that_are_no_request(
    body: bytes, headers: dict[str, str], error: tuple[int, str, str | None]
) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        assert (await gate.post(CHAT, body, headers=headers)).error == error
        assert up.requests == []


async def test_values_that_cannot_be_sent_on_are_the_callers() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        for value in (b"99999999999999999999999999999", b"1e308", b"-0.0"):
            body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "new": ' + value + b"}"
            assert (await gate.post(CHAT, body)).status in (200, 400)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit(chunked: bool) -> None:
    limit = "server: {body_limit: 64KiB}"
    async with Upstream() as up, gateway(remote(up.url, limit)) as gate:
        body = json.dumps(chat("x" * 300_000)).encode()

        async def pieces() -> Any:
            for start in range(0, len(body), 50_000):
                yield body[start : start + 50_000]

        response = await gate.client.request(
            gate.origin,
            "POST",
            CHAT,
            [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")],
            pieces() if chunked else body,
        )
        assert response.status == 413
        assert json.loads(await response.read(10_000))["error"]["code"] == "request_too_large"
        assert up.requests == []


async def test_both_framings_are_refused_and_nothing_is_smuggled() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await raw(
            gate.port,
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert error_of(answer)["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NOT HTTP AT ALL\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 200_000 + b"\r\n\r\n", b"431"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n", b"400"),
    ],
)
async def test_broken_http_is_answered_in_our_shape(data: bytes, status: bytes) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await raw(gate.port, data)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert error_of(answer)["message"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_accounted() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-length: 1000\r\n\r\n{" % KEY.encode()
        )
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert await gate.settled("penstock_requests_total", 'code="client_left"', at_least=1) == 1
        assert await gate.metric("penstock_requests_in_flight") == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"model": "m", "input": []}, (400, "invalid_request", "input")),
        ({"model": "m", "input": "x", "dimensions": 0}, (400, "invalid_request", "dimensions")),
        ({"model": "m", "input": "x", "encoding_format": "hex"}, (400, "invalid_request", "encoding_format")),
    ],
)
async def test_embedding_requests_are_checked(body: Any, error: tuple[int, str, str]) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        assert (await gate.post("/v1/embeddings", body)).error == error


async def test_metric_labels_stay_bounded_whatever_clients_ask_for() -> None:
    config = """
builtin: off
providers: {up: {kind: openai-compatible, base_url: "%s", api_key: k, models: "*"}}
keys: {test: {secret: %s}}
"""
    async with Upstream() as up, gateway(config % (up.url, KEY)) as gate:
        for number in range(5):
            assert (await gate.post(CHAT, chat() | {"model": f"up/model-{number}"})).status == 200
            assert (await gate.post(CHAT, chat() | {"model": f"absent-{number}"})).status == 404
        assert await gate.settled("penstock_requests_total", 'route="up/*"', at_least=5) == 5
        assert await gate.metric("penstock_requests_total", 'route="other"') == 5
        text = (await gate.get("/metrics")).body.decode()
        assert "model-" not in text
        assert "absent-" not in text


def request_bytes(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: x", b"content-type: application/json"]
    lines += [b"authorization: Bearer " + KEY.encode(), b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_an_upgrade_nobody_takes_is_ignored() -> None:
    """Java's HTTP client asks for h2c with its first request on every connection."""
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB")
        for body in (chat(), chat("y" * 200_000)):
            sent = request_bytes(json.dumps(body).encode(), *h2c, b"Connection: close")
            answer = await raw(gate.port, sent)
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]


async def test_a_pipelined_request_does_not_hide_that_the_client_left() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.05", "x-test-tokens": "2000"}
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(request_bytes(json.dumps(chat(stream=True)).encode()))
        await reader.read(100)
        writer.write(request_bytes(json.dumps(chat()).encode()))
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert await gate.settled("penstock_requests_total", 'code="client_left"', at_least=1) == 1
        async with asyncio.timeout(5):
            while up.in_flight:
                await asyncio.sleep(0.01)


async def test_a_body_nobody_read_is_no_next_request() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n"
        answer = await raw(gate.port, head + b"expect: 100-continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in answer


async def test_a_refused_request_with_a_small_body_keeps_its_connection() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = b"{}"
        once = b"POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n" + body
        last = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        answer = await raw(gate.port, once + last)
        assert answer.count(b"HTTP/1.1 404 ") == 1
        assert answer.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize("depth", [300, 900, 980, 984, 990, 1100])
async def test_deep_nesting_is_never_a_500(depth: int) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        nested = b"[" * depth + b"]" * depth
        body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "new": ' + nested + b"}"
        answer = await gate.post(CHAT, body)
        assert answer.status in (200, 400)
        body = b'{"model": "m", "query": "x", "documents": [{"text": "a", "more": ' + nested + b"}]}"
        assert (await gate.post("/v1/rerank", body)).status in (200, 400)
        body = b'{"model": "m", "more": ' + nested + b"}"
        assert (await gate.post("/api/show", body)).status in (200, 400)


async def test_a_made_up_name_is_not_echoed_whole() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(CHAT, chat() | {"model": "z" * 500_000})
        assert answer.status == 404
        assert len(answer.body) < 1000


async def test_a_head_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.2)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        half = await raw(gate.port, b"GET /health HTTP/1.1\r\nhost: x\r\n")
        assert half.startswith(b"HTTP/1.1 408 ")
        assert error_of(half)["code"] == "invalid_request"
        assert await raw(gate.port, b"") == b""


async def test_stray_bytes_do_not_cut_the_answer_they_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT_S", 0.1)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.1", "x-test-content": "a b c d"}
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(request_bytes(json.dumps(chat(stream=True)).encode()))
        first = await reader.read(100)
        writer.write(b"\r\n")
        rest = await asyncio.wait_for(reader.readuntil(b"data: [DONE]"), 10)
        assert first.startswith(b"HTTP/1.1 200 ")
        assert b"data: [DONE]" in rest
        writer.close()
        await writer.wait_closed()


async def test_a_trailer_is_no_header_of_the_next_request() -> None:
    """A proxy may send the requests of several users through one connection."""
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = json.dumps(chat()).encode()
        first = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        first += b"authorization: Bearer wrong\r\ntransfer-encoding: chunked\r\n\r\n"
        first += b"%x\r\n%b\r\n0\r\nauthorization: Bearer %b\r\n\r\n" % (len(body), body, KEY.encode())
        second = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        second += b"content-length: %d\r\n\r\n%b" % (len(body), body)
        answer = await raw(gate.port, first + second)
        assert answer.count(b"HTTP/1.1 401 ") == 2
        assert up.requests == []


async def test_a_client_that_leaves_while_its_refused_body_is_read_away_is_no_bug() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        with structlog.testing.capture_logs() as logs:
            for path in (b"/v1/nothing", CHAT.encode()):
                _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
                writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{" % path)
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.transport.abort()
            await gate.settled("penstock_requests_total", at_least=1)
            await asyncio.sleep(0.05)
        assert [line["event"] for line in logs] == []


async def test_an_old_client_gets_a_stream_that_ends_with_its_connection() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        sent = request_bytes(json.dumps(chat(stream=True)).encode()).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        head, _, body = (await raw(gate.port, sent)).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body.startswith(b"data: ")
        assert body.endswith(b"data: [DONE]\n\n")


async def test_requests_behind_each_other_are_answered_in_order() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.plan += [{"x-test-delay-headers": "0.1"}, {}, {}]
        body = json.dumps(chat()).encode()
        sent = [request_bytes(body, b"x-request-id: turn-%d" % number) for number in range(2)]
        sent.append(request_bytes(body, b"x-request-id: turn-2", b"connection: close"))
        answer = await raw(gate.port, b"".join(sent))
        assert answer.count(b"HTTP/1.1 200 ") == 3
        places = [answer.index(b"x-request-id: turn-%d\r\n" % number) for number in range(3)]
        assert places == sorted(places)


async def test_a_head_in_pieces_is_a_head() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = json.dumps(chat()).encode()
        sent = request_bytes(body, b"Connection: close")
        for size in (1, 7, 50):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            for start in range(0, len(sent), size):
                writer.write(sent[start : start + size])
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), (size, head)
            writer.close()
            await writer.wait_closed()


async def test_a_body_is_asked_for_where_the_client_waits_to_send_it() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = json.dumps(chat()).encode()
        head = request_bytes(body, b"expect: 100-continue")[: -len(body)]
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()


async def test_an_idle_connection_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "KEEP_ALIVE_S", 0.2)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await raw(gate.port, request_bytes(json.dumps(chat()).encode()))
        assert answer.startswith(b"HTTP/1.1 200 ")
