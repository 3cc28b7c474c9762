"""An answer that breaks off: its last event says so, and what was told is booked, in every protocol."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from gateways import KEY, Answer, chat, gateway, remote

from penstock.lib.sse import SSESplitter
from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.upstream import Upstream

TALK = [{"role": "user", "content": "hi"}]
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


class Said(NamedTuple):
    """What the last event says."""

    partial: bool
    prompt: int
    completion: int
    estimated: bool


def last(answer: Answer) -> Any:
    return json.loads(SSESplitter().feed_data(answer.body)[-1])


def openai(answer: Answer) -> Said:
    error = last(answer)["error"]
    usage = error["usage"]
    return Said(error["partial"], usage["prompt_tokens"], usage["completion_tokens"], usage["estimated"])


def anthropic(answer: Answer) -> Said:
    details = last(answer)["error"]["details"]
    usage = details["usage"]
    return Said(details["partial"], usage["input_tokens"], usage["output_tokens"], usage["estimated"])


def responses(answer: Answer) -> Said:
    response = last(answer)["response"]
    usage = response["usage"]
    partial = response["error"]["partial"]
    return Said(partial, usage["input_tokens"], usage["output_tokens"], usage["estimated"])


def ollama(answer: Answer) -> Said:
    said = json.loads(answer.body.splitlines()[-1])
    return Said(said["partial"], said["prompt_eval_count"], said["eval_count"], said["estimated"])


def gemini(answer: Answer) -> Said:
    body = json.loads(answer.body)[-1] if answer.body.startswith(b"[") else last(answer)
    said = body["error"]["details"][0]["metadata"]
    prompt, completion = int(said["promptTokenCount"]), int(said["candidatesTokenCount"])
    return Said(said["partial"] == "true", prompt, completion, said["estimated"] == "true")


CLIENTS: list[tuple[str, dict[str, Any], Callable[[Answer], Said]]] = [
    ("/v1/chat/completions", chat(stream=True), openai),
    ("/v1/completions", {"model": "m", "prompt": "hi", "stream": True}, openai),
    ("/v1/messages", {"model": "m", "max_tokens": 99, "stream": True, "messages": TALK}, anthropic),
    ("/v1/responses", {"model": "m", "input": "hi", "stream": True}, responses),
    ("/api/chat", {"model": "m", "messages": TALK}, ollama),
    ("/api/generate", {"model": "m", "prompt": "hi"}, ollama),
    ("/v1beta/models/m:streamGenerateContent?alt=sse", GEMINI, gemini),
    ("/v1beta/models/m:streamGenerateContent", GEMINI, gemini),
]


@pytest.mark.parametrize(("path", "body", "read"), CLIENTS, ids=[client[0] for client in CLIENTS])
async def test_the_last_event_says_what_was_told(
    path: str, body: dict[str, Any], read: Callable[[Answer], Said]
) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        # chat's first event says the role only
        up.behaviour = {"x-test-truncate": "3" if path == "/v1/completions" else "4"}
        answer = await gate.post(path, body)
        assert answer.status == 200
        said = read(answer)
        assert said.partial
        assert said.estimated
        assert said.completion == 3
        assert said.prompt > 0
        tokens = 'penstock_tokens_total{deployment="m",kind="%s"'
        assert await gate.settled(tokens % "completion", at_least=1) == 3
        assert await gate.metric(tokens % "prompt") == said.prompt


@pytest.mark.parametrize(("path", "body", "read"), CLIENTS[:1] + CLIENTS[2:4], ids=["openai", "own", "typed"])
async def test_an_upstream_of_another_dialect_is_counted_by_its_text(
    path: str, body: dict[str, Any], read: Callable[[Answer], Said]
) -> None:
    async with AnthropicDouble() as up:
        text = (
            f'builtin: off\nproviders:\n  up: {{kind: anthropic, base_url: "{up.url}/v1", api_key: k}}\n'
            f"deployments:\n  m: {{provider: up, model: m-1}}\nkeys:\n  test: {{secret: {KEY}}}\n"
        )
        async with gateway(text) as gate:
            up.behaviour = {"x-test-content": "four " * 40, "x-test-truncate": "30"}
            answer = await gate.post(path, body)
            said = read(answer)
            assert said.partial
            assert said.estimated
            assert 20 <= said.completion <= 40  # a word and its space, five bytes, are an event
            assert said.prompt == 1, "as the upstream said when it began: it counts words"
            kind = 'penstock_tokens_total{deployment="m",kind="completion"'
            assert await gate.settled(kind, at_least=1) == said.completion


async def test_usage_that_came_is_what_counts() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        # after role, 3 tokens, finish and usage
        up.behaviour = {
            "x-test-tokens": "3",
            "x-test-prompt-tokens": "70",
            "x-test-error-in-stream": "6",
            "x-test-delay-between": "0.02",
        }
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert openai(answer) == Said(True, 70, 3, False)
        assert await gate.settled("penstock_tokens_total", 'kind="completion"', at_least=1) == 3
        assert await gate.metric("penstock_tokens_total", 'kind="prompt"') == 70


async def test_a_client_that_leaves_pays_for_what_it_was_told() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-tokens": "50", "x-test-hang": "6"}
        response = await gate.open("/v1/chat/completions", chat(stream=True))
        seen = b""
        while seen.count(b"data: ") < 6:
            seen += await response.read_some()
        response.close()
        assert await gate.settled("penstock_tokens_total", 'kind="completion"', at_least=1) == 5


async def test_a_whole_answer_that_never_came_costs_nothing() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-cut": "40"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error == (502, "upstream_cut", None)
        assert await gate.metric("penstock_tokens_total") == 0
