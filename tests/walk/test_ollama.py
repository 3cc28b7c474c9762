"""Ollama's API through its official SDK, in front of models of other dialects."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest
from gateways import KEY, Gateway, gateway, remote

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.upstream import Upstream

ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers: a + b.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
CLAUDE = """
builtin: off
providers:
  up: {{kind: anthropic, base_url: "{url}/v1", api_key: k}}
deployments:
  m: {{provider: up, model: claude-3-7-sonnet}}
keys:
  test: {{secret: {key}}}
"""


def client_of(gate: Gateway) -> ollama.AsyncClient:
    return ollama.AsyncClient(host=gate.url, headers={"authorization": f"Bearer {KEY}"})


@asynccontextmanager
async def door() -> AsyncIterator[tuple[ollama.AsyncClient, Upstream, Gateway]]:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        client = client_of(gate)
        try:
            yield client, up, gate
        finally:
            await client._client.aclose()


async def test_a_chat_whole_and_streamed() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-content": "one two three", "x-test-reasoning": "hm"}
        options = {"temperature": 0.5, "num_predict": 9, "top_k": 3, "num_ctx": 4096, "mirostat": 2}
        messages = [{"role": "user", "content": "hi"}]
        answer = await client.chat("m", messages=messages, options=options)
        assert (answer.message.content, answer.message.thinking) == ("one two three", "hm")
        assert (answer.done, answer.done_reason, answer.model) == (True, "stop", "m")
        assert answer.eval_count
        assert answer.total_duration
        sent = up.requests[-1].body
        assert (sent["temperature"], sent["max_completion_tokens"]) == (0.5, 9)
        text, last = "", None
        async for part in await client.chat("m", messages=messages, stream=True):
            text += part.message.content or ""
            last = part
        assert text == "one two three"
        assert last is not None
        assert last.done
        assert last.prompt_eval_count


async def test_tools_and_thoughts_go_back_and_forth_with_claude() -> None:
    async with AnthropicDouble() as up, gateway(CLAUDE.format(url=up.url, key=KEY)) as gate:
        client = client_of(gate)
        for stream in (False, True):
            messages: list[Any] = [{"role": "user", "content": "Use add to compute 3 + 4."}]
            for _ in range(2):
                said = ollama.Message(role="assistant", content="")
                calls: list[Any] = []
                if stream:
                    async for part in await client.chat("m", messages, tools=[ADD], think=True, stream=True):
                        said.content = (said.content or "") + (part.message.content or "")
                        said.thinking = (said.thinking or "") + (part.message.thinking or "")
                        calls += part.message.tool_calls or []
                else:
                    answer = await client.chat("m", messages, tools=[ADD], think=True)
                    said, calls = answer.message, list(answer.message.tool_calls or [])
                assert said.thinking  # known by what was called: this client drops the ids
                said.tool_calls = calls
                messages.append(said)
                for call in calls:
                    arguments = call.function.arguments
                    result = str(arguments["a"] + arguments["b"])
                    messages.append({"role": "tool", "tool_name": "add", "content": result})
            assert "7" in (said.content or "")
        await client._client.aclose()


async def test_generate_formats_and_embeddings() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-content": '{"a": 1}'}
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        answer = await client.generate("m", prompt="hi", system="be brief", format=schema)
        assert json.loads(answer.response) == {"a": 1}
        sent = up.requests[-1].body
        assert sent["response_format"]["json_schema"]["schema"] == schema
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        parts = [part.response async for part in await client.generate("m", prompt="hi", stream=True)]
        assert "".join(parts) == '{"a": 1}'
        assert len((await client.embed("m", input=["a", "b"])).embeddings) == 2
        assert (await client.embeddings("m", prompt="a")).embedding


async def test_lists_of_models() -> None:
    async with door() as (client, _, gate):
        assert [model.model for model in (await client.list()).models] == ["m"]
        assert [model.model for model in (await client.ps()).models] == ["m"]
        assert "tools" in ((await client.show("m")).capabilities or [])
        assert (await gate.get("/api/version")).json["version"]
        with pytest.raises(ollama.ResponseError) as raised:
            await client.show("nope")
        assert raised.value.status_code == 404


BAD: list[tuple[str, Any, str]] = [
    ("/api/chat", {"model": "m"}, "`messages` is required"),
    ("/api/chat", {"model": "m", "messages": []}, "must not be empty"),
    ("/api/chat", {"model": "m", "messages": [{"role": "robot"}]}, "messages[0].role"),
    ("/api/chat", {"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "answers no tool call"),
    ("/api/chat", {"model": "m", "messages": [{"role": "user", "content": "x", "images": ["?"]}]}, "base64"),
    ("/api/chat", {"model": "nope", "messages": [{"role": "user", "content": "x"}]}, "does not exist"),
    ("/api/generate", {"model": "m", "prompt": "x", "suffix": "y"}, "suffix"),
    ("/api/embed", {"model": "m", "input": ""}, "must not be empty"),
    ("/api/nothing", {}, "There is nothing"),
]


@pytest.mark.parametrize(("path", "body", "words"), BAD)
async def test_errors_are_one_text(path: str, body: Any, words: str) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(path, body)
        assert answer.status in (400, 404)
        assert words in answer.json["error"]


async def test_an_error_in_a_stream_is_its_last_line() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-cut": "3"}
        stream = await client.chat("m", [{"role": "user", "content": "x"}], stream=True)
        first = await anext(stream)
        assert not first.done
        with pytest.raises(ollama.ResponseError):
            [part async for part in stream]
