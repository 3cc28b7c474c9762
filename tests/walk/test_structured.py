"""Answers of a JSON schema from vendors that cannot be bound to one (kind deepseek)."""

import json
from typing import Any

import pytest
from gateways import KEY, chat, gateway

from penstock.testing.upstream import Upstream

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
WANTED = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
GOOD = '{"city": "Rome", "people": 3}'
BAD = '{"city": "Rome"}'


def config(url: str) -> str:
    return f"""
builtin: off
providers:
  up: {{kind: deepseek, base_url: "{url}", api_key: sk-upstream-secret}}
deployments:
  m: {{provider: up, model: upstream-model}}
keys:
  test: {{secret: {KEY}}}
"""


def call(arguments: str) -> dict[str, str]:
    return {"x-test-tool-call": f"city:{arguments}"}


async def test_the_arguments_of_a_forced_tool_are_the_answer() -> None:
    async with Upstream() as up, gateway(config(up.url)) as gate:
        up.plan.append(call(GOOD))
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED))
        choice = answer.json["choices"][0]
        assert json.loads(choice["message"]["content"]) == {"city": "Rome", "people": 3}
        assert "tool_calls" not in choice["message"]
        assert choice["finish_reason"] == "stop"
        sent = up.requests[-1].body
        assert sent["tools"][0]["function"]["parameters"] == SCHEMA
        assert sent["tool_choice"] == {"type": "function", "function": {"name": "city"}}
        assert "response_format" not in sent


async def test_one_that_does_not_fit_is_asked_for_once_more_then_it_is_an_error() -> None:
    async with Upstream() as up, gateway(config(up.url)) as gate:
        up.plan.extend([call(BAD), call(GOOD)])
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED))
        assert answer.status == 200
        assert answer.headers["x-penstock-attempts"] == "2"
        up.plan.extend([call(BAD), call(BAD)])
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED))
        assert answer.error == (502, "upstream_invalid", None)
        assert "does not fit the JSON schema" in answer.json["error"]["message"]
        assert len(up.requests) == 4


async def test_one_caller_s_schema_that_nothing_fits_takes_the_model_from_nobody() -> None:
    async with Upstream(behaviour=call(BAD)) as up:
        route = "routes:\n  r: {targets: [{deployment: m}], fallbacks: [other]}\n"
        two = config(up.url).replace("keys:", f"  other: {{provider: up, model: other}}\n{route}keys:")
        async with gateway(two) as gate:
            for stream in (False, True) * 5:
                asked = chat(response_format=WANTED, stream=stream) | {"model": "r"}
                await gate.post("/v1/chat/completions", asked)
            assert await gate.metric("penstock_deployment_down") == 0
            assert await gate.metric("penstock_breaker_state") == 0


async def test_a_stream_that_does_not_fit_ends_with_an_error() -> None:
    async with Upstream() as up, gateway(config(up.url)) as gate:
        for arguments, is_good in ((GOOD, True), (BAD, False)):
            up.plan.append(call(arguments))
            answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED, stream=True))
            chunks = [event for event in answer.events if event != "[DONE]" and "choices" in event]
            text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
            assert json.loads(text) == json.loads(arguments)
            assert ("[DONE]" in answer.events) is is_good
            assert ("error" in answer.events[-1]) is not is_good


async def test_with_tools_the_schema_is_told_in_words() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with Upstream() as up, gateway(config(up.url)) as gate:
        up.plan.append({"x-test-content": GOOD})
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED, tools=[tool]))
        assert json.loads(answer.json["choices"][0]["message"]["content"])["people"] == 3
        sent = up.requests[-1].body
        assert sent["response_format"] == {"type": "json_object"}
        assert "people" in sent["messages"][0]["content"]
        up.plan.append(call("{}"))  # the model may call the tool instead: that is no answer to check
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED, tools=[tool]))
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_that_is_nested_too_deeply_is_the_model_s_fault() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with Upstream() as up, gateway(config(up.url)) as gate:
        up.behaviour = {"x-test-content": "[" * 5_000}
        answer = await gate.post("/v1/chat/completions", chat(response_format=WANTED, tools=[tool]))
        assert answer.error == (502, "upstream_invalid", None)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x.json", "file:///etc/passwd"])
async def test_a_schema_reads_nothing(reference: str) -> None:
    wanted: dict[str, Any] = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"$ref": reference}}}},
    }
    async with Upstream() as up, gateway(config(up.url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat(response_format=wanted))
        assert answer.error == (400, "invalid_request", "response_format.json_schema.schema")
        assert not up.requests
