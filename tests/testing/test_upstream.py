"""The double itself: valid for the official SDK, and wrong in exactly the ways it was told to be."""

import asyncio
import json
import math
import os
import signal
import ssl
import struct
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme

from penstock.lib.http1 import Client, ConnectionCut, Origin, ProtocolError, Response
from penstock.lib.sse import SSESplitter
from penstock.testing.upstream import DIRECTIVES, Recorded, Upstream, main

CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "how does a gate work"}]}


async def send(
    client: Client,
    up: Upstream,
    path: str = "/chat/completions",
    body: Any = CHAT,
    **told: str | int,
) -> Response:
    origin, base = Origin.parse(up.url)
    headers = [(f"x-test-{name.replace('_', '-')}", str(value)) for name, value in told.items()]
    method = "GET" if body is None else "POST"
    return await client.request(
        origin, method, base + path, headers, b"" if body is None else json.dumps(body).encode()
    )


async def answer(client: Client, up: Upstream, body: Any = CHAT, **told: str | int) -> Any:
    return json.loads(await (await send(client, up, body=body, **told)).read(1 << 20))


async def stream(client: Client, up: Upstream, body: Any = None, **told: str | int) -> list[Any]:
    """The events of a chat stream; an exception in place of its end."""
    response = await send(client, up, body={**CHAT, "stream": True, **(body or {})}, **told)
    splitter, found = SSESplitter(), []
    try:
        while data := await response.read_some():
            found += splitter.feed_data(data)
    except (ConnectionCut, ProtocolError) as exc:
        found.append(type(exc))
    return [json.loads(item) if isinstance(item, bytes) and item != b"[DONE]" else item for item in found]


def text(events: list[Any]) -> str:
    return "".join(
        c["delta"].get("content") or "" for e in events if isinstance(e, dict) for c in e["choices"]
    )


# -- the judge -----------------------------------------------------------------------------------------


def sdk(up: Upstream, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=up.url, api_key="sk-test", _strict_response_validation=True, max_retries=0, **options
    )


async def test_the_sdk_accepts_chat() -> None:
    async with Upstream() as up, sdk(up) as client:
        got = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "two words"}], logprobs=True, n=2
        )
        assert [choice.message.content for choice in got.choices] == [
            "The gate opens and the water runs down to the turbine."
        ] * 2
        assert got.usage is not None
        assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (2, 22, 24)
        assert got.choices[0].logprobs is not None


async def test_the_sdk_accepts_a_chat_stream() -> None:
    async with Upstream() as up, sdk(up) as client:
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"x-test-tokens": "3"},
            )
        ]
        assert len({chunk.id for chunk in chunks}) == 1
        assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 4 + ["stop"]
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 3


async def test_the_sdk_accepts_tool_calls_both_ways() -> None:
    async with Upstream(behaviour={"x-test-tool-call": 'weather:{"city": "Oslo"}'}) as up, sdk(up) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        whole = await client.chat.completions.create(model="m", messages=messages)
        calls = whole.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].type == "function"
        assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city": "Oslo"}')
        async with client.chat.completions.stream(model="m", messages=messages) as events:
            folded = await events.get_final_completion()
        assert folded.choices[0].finish_reason == "tool_calls"
        calls = folded.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.arguments == '{"city": "Oslo"}'


async def test_the_sdk_accepts_completions_embeddings_and_models() -> None:
    async with Upstream(models=["a", "b"]) as up, sdk(up) as client:
        whole = await client.completions.create(model="m", prompt="hi")
        # Two things the vendor itself does are against its strict types: `finish_reason: null` in legacy
        # chunks before the last, and base64 embeddings, which the SDK asks for and decodes after its check.
        lenient = openai.AsyncOpenAI(base_url=up.url, api_key="sk-test", max_retries=0)
        async with lenient:
            created = await lenient.completions.create(model="m", prompt="hi", stream=True)
            parts = [part async for part in created]
            packed = await lenient.embeddings.create(model="m", input=["one", "two"])
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        assert parts[-1].choices[0].finish_reason == "stop"
        plain = await client.embeddings.create(model="m", input=["one", "two"], encoding_format="float")
        assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
        assert up.requests[-2].body["encoding_format"] == "base64"
        assert [model.id async for model in client.models.list()] == ["a", "b"]


async def test_the_sdk_raises_what_it_should() -> None:
    async with Upstream(api_key="sk-test") as up, sdk(up) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        up.plan.append({"x-test-status": "429", "x-test-retry-after": "7"})
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=messages)
        assert caught.value.response.headers["retry-after"] == "7"
        await client.chat.completions.create(model="m", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="other").chat.completions.create(model="m", messages=messages)


# -- the routes ----------------------------------------------------------------------------------------


async def test_embeddings_are_unit_vectors_of_the_text_alone() -> None:
    async with Upstream() as up, Client() as client:

        async def embed(**body: Any) -> Any:
            response = await send(client, up, "/embeddings", {"model": "m", **body})
            return json.loads(await response.read(1 << 20))

        one = await embed(input="water")
        many = await embed(input=["fire", "water"], dimensions=40)
        ids = await embed(input=[[1, 2], [3]])
        packed = await embed(input="water", encoding_format="base64")
        vector = one["data"][0]["embedding"]
        assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-5)
        assert list(struct.unpack("<8f", b64decode(packed["data"][0]["embedding"]))) == vector
        assert [len(item["embedding"]) for item in many["data"]] == [40, 40]
        assert [item["index"] for item in ids["data"]] == [0, 1]
        assert many["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_rerank_orders_by_the_words_shared() -> None:
    async with Upstream() as up, Client() as client:
        body = {
            "query": "open gate",
            "documents": ["a wall", "an open gate", {"text": "gate"}],
            "top_n": 2,
            "return_documents": True,
        }
        got = json.loads(await (await send(client, up, "/rerank", body)).read(1 << 20))
        assert [result["index"] for result in got["results"]] == [1, 2]
        assert got["results"][0]["document"] == {"text": "an open gate"}


async def test_health_and_unknown_paths_and_bad_bodies() -> None:
    async with Upstream() as up, Client() as client:
        origin, _ = Origin.parse(up.url)
        assert (await client.request(origin, "GET", "/health")).status == 200
        assert (await client.request(origin, "GET", "/nope")).status == 404
        assert (await client.request(origin, "POST", "/v1/embeddings", (), b"{not json")).status == 400
        for path in ("/chat/completions", "/completions", "/embeddings", "/rerank"):
            assert (await send(client, up, path, {})).status == 400


async def test_max_tokens_cut_the_answer_short() -> None:
    async with Upstream() as up, Client() as client:
        got = await answer(client, up, {**CHAT, "max_tokens": 2})
        assert (got["choices"][0]["message"]["content"], got["choices"][0]["finish_reason"]) == (
            "The gate",
            "length",
        )
        assert got["usage"]["completion_tokens"] == 2


# -- the directives ------------------------------------------------------------------------------------


async def test_stream_directives() -> None:
    async with Upstream() as up, Client() as client:
        whole = await stream(client, up, content="a b c")
        assert [text(whole), len(whole), whole[-1]] == ["a b c", 6, b"[DONE]"]
        assert len(await stream(client, up, tokens=1_000)) == 1_003
        assert (await stream(client, up, cut=2))[2:] == [ConnectionCut]
        assert len(await stream(client, up, cut=2)) == 3
        assert len(await stream(client, up, truncate=2)) == 2
        assert await stream(client, up, truncate=0) == []
        assert (await stream(client, up, no_done=1, content="a"))[-1]["choices"][0]["finish_reason"] == "stop"
        failed = await stream(client, up, error_in_stream=2)
        assert [len(failed), failed[-1]["error"]["type"]] == [3, "server_error"]
        assert text(await stream(client, up, crlf=1, comment=1, split=3, content="x y")) == "x y"
        assert text(await stream(client, up, batch=100, content="x y")) == "x y"
        assert up.in_flight == 0


async def test_a_malformed_event_is_half_an_object() -> None:
    async with Upstream() as up, Client() as client:
        response = await send(client, up, body={**CHAT, "stream": True}, malformed=1)
        events = SSESplitter().feed_data(await response.read(1 << 20))
        json.loads(events[0])
        with pytest.raises(json.JSONDecodeError):
            json.loads(events[1])
        json.loads(events[2])
        with pytest.raises(json.JSONDecodeError):
            await answer(client, up, malformed=1)


async def test_answer_directives() -> None:
    async with Upstream() as up, Client() as client:
        got = await answer(
            client, up, omit="created,id,role", no_usage=1, finish="length", reasoning="let me see"
        )
        assert got.keys() == {"object", "model", "choices"}
        assert got["choices"][0]["finish_reason"] == "length"
        assert got["choices"][0]["message"].keys() == {"content", "refusal", "reasoning_content"}
        got = await answer(client, up, prompt_tokens=100, cached_tokens=60)
        assert (got["usage"]["prompt_tokens"], got["usage"]["prompt_tokens_details"]) == (
            100,
            {"cached_tokens": 60},
        )
        assert json.loads((await answer(client, up, echo=1))["choices"][0]["message"]["content"]) == CHAT
        tool = await answer(client, up, {**CHAT, "tools": [{"function": {"name": "f"}}]}, tool_call=1)
        assert tool["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


async def test_response_directives() -> None:
    async with Upstream() as up, Client() as client:
        response = await send(client, up, status=503, header="x-a: b", body=CHAT)
        assert (response.status, response.header(b"x-a")) == (503, b"b")
        await response.read(1 << 20)
        response = await send(client, up, close=1)
        await response.read(1 << 20)
        assert (up.accepted, response.header(b"connection")) == (1, b"close")
        await answer(client, up)
        assert up.accepted == 2
        with pytest.raises(ConnectionCut) as caught:
            await send(client, up, refuse=1)
        assert caught.value.before_response
        response = await send(client, up, cut=10)
        with pytest.raises(ConnectionCut):
            await response.read(1 << 20)
        response = await send(client, up, body={**CHAT, "stream": True}, non_sse=1)
        assert response.header(b"content-type") == b"application/json"
        response = await send(client, up, body={**CHAT, "metadata": {"x-test-body": "<html>"}})
        assert await response.read(100) == b"<html>"


async def test_an_unknown_directive_is_refused_loudly() -> None:
    async with Upstream() as up, Client() as client:
        response = await send(client, up, no_such_thing=1)
        assert response.status == 400
        assert b"x-test-no-such-thing" in await response.read(1 << 20)
        assert (await send(client, up, cut="many")).status == 400


async def test_where_directives_come_from_and_which_wins() -> None:
    def content(value: str) -> dict[str, str]:
        return {"x-test-content": value}

    async with Upstream(behaviour=content("server")) as up, Client() as client:
        in_body = {**CHAT, "metadata": {**content("body"), "other": "kept"}}

        async def said(body: Any = CHAT, **told: str) -> str:
            return str((await answer(client, up, body, **told))["choices"][0]["message"]["content"])

        assert await said() == "server"
        up.plan.append(content("plan"))
        assert await said() == "plan"
        assert await said() == "server"
        up.plan.append(content("plan"))
        assert await said(in_body) == "body"
        assert await said(in_body, content="header") == "header"


async def test_delays_are_waited_for() -> None:
    async with Upstream() as up, Client() as client:
        await stream(client, up, delay_headers=0.01, delay_first=0.01, delay_between=0.01, tokens=1)
        await answer(client, up, delay_headers=0.01, delay_first=0.01)
        first, second = up.requests
        assert first.ended_at is not None
        assert first.ended_at - first.started_at >= 0.04
        assert second.ended_at is not None
        assert second.ended_at - second.started_at >= 0.015


# -- the records ---------------------------------------------------------------------------------------


async def test_a_client_that_leaves_stops_the_generation() -> None:
    async with Upstream() as up, Client() as client:
        response = await send(client, up, body={**CHAT, "stream": True}, tokens=10_000, delay_between=0.002)
        await response.read_some()
        assert up.in_flight == 1
        response.close()
        record = up.requests[0]
        await record.ended.wait()
        assert record.cancelled_at is not None
        assert 0 < record.events_sent < 1_000
        assert (up.in_flight, up.peak_in_flight) == (0, 1)


async def test_a_hanging_answer_ends_with_its_client() -> None:
    async with Upstream() as up, Client() as client:
        response = await send(client, up, body={**CHAT, "stream": True}, hang=2)
        while up.requests[0].events_sent < 2:
            await asyncio.sleep(0.002)
        response.close()
        await up.requests[0].ended.wait()
        assert up.requests[0].cancelled_at is not None


async def test_what_is_recorded() -> None:
    async with Upstream() as up, Client() as client:
        origin, _ = Origin.parse(up.url)
        for _ in range(2):
            response = await client.request(
                origin, "POST", "/v1/chat/completions?a=b", [("X-Trace", "t")], json.dumps(CHAT).encode()
            )
            await response.read(1 << 20)
        record: Recorded = up.requests[1]
        assert (record.method, record.path, record.query) == ("POST", "/v1/chat/completions", "a=b")
        assert (record.headers["x-trace"], record.body, record.raw) == ("t", CHAT, json.dumps(CHAT).encode())
        assert (record.status, record.cancelled_at, up.accepted) == (200, None, 1)
        assert record.bytes_sent > 100


async def test_stopping_drops_what_hangs() -> None:
    async with Client() as client:
        async with Upstream() as up:
            response = await send(client, up, body={**CHAT, "stream": True}, hang=1)
        with pytest.raises(ConnectionCut):
            await response.read(1 << 20)


# -- ways to it ----------------------------------------------------------------------------------------


async def test_over_a_unix_socket_and_over_tls(tmp_path: Path) -> None:
    ca, of_server, of_client = (
        trustme.CA(),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(),
    )
    ca.issue_cert("localhost").configure_cert(of_server)
    ca.configure_trust(of_client)
    async with (
        Upstream(uds=str(tmp_path / "up")) as by_path,
        Upstream(tls=of_server) as by_tls,
        Client(ssl_context=of_client) as client,
    ):
        assert by_path.url.startswith("http+unix://")
        assert by_tls.url.startswith("https://localhost:")
        for up in (by_path, by_tls):
            assert (await stream(client, up))[-1] == b"[DONE]"


async def test_by_hand() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *["-m", "penstock.testing.upstream", "--set", "x-test-content=by hand", "--model", "m"],
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    origin, base = Origin.parse((await program.stdout.readline()).decode().strip())
    async with Client() as client:
        response = await client.request(
            origin, "POST", f"{base}/chat/completions", (), json.dumps(CHAT).encode()
        )
        assert json.loads(await response.read(1 << 20))["choices"][0]["message"]["content"] == "by hand"
    os.kill(program.pid, signal.SIGTERM)
    assert await program.wait() == 0


def test_help_lists_every_directive_and_a_wrong_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in DIRECTIVES)
    with pytest.raises(SystemExit):
        main(["--set", "x-test-none=1"])
    assert "unknown directives" in capsys.readouterr().err
