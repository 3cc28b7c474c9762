"""An upstream fails, in every way it can, before anything was told: the client hears the next one."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator

import openai
import pytest
from books import logged
from gateways import KEY, Gateway, chat, gateway

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.upstream import Upstream

said = pytest.fixture(logged)


def config(first: str, second: str, route: str = "fallbacks: [b]") -> str:
    return f"""
builtin: off
providers:
  one: {{kind: openai-compatible, base_url: "{first}", api_key: k1}}
  two: {{kind: openai-compatible, base_url: "{second}", api_key: k2}}
deployments:
  a: {{provider: one, model: a-1}}
  b: {{provider: two, model: b-1}}
routes:
  m:
    targets: [{{deployment: a}}]
    {route}
    timeouts: {{connect: 500ms, first_token: 400ms, between_tokens: 400ms, total: 5s}}
keys:
  test: {{secret: {KEY}}}
"""


@contextlib.asynccontextmanager
async def pair(route: str = "fallbacks: [b]") -> AsyncIterator[tuple[Upstream, Upstream, Gateway]]:
    async with Upstream() as bad, Upstream() as good, gateway(config(bad.url, good.url, route)) as gate:
        good.behaviour = {"x-test-content": "from the other"}
        yield bad, good, gate


FAULTS = {
    "500": {"x-test-status": "500"},
    "503 with retry-after": {"x-test-status": "503", "x-test-retry-after": "30"},
    "429": {"x-test-status": "429", "x-test-retry-after": "30"},
    "401": {"x-test-status": "401"},
    "404": {"x-test-status": "404"},
    "no answer": {"x-test-refuse": "1"},
    "html": {"x-test-body": "<html>", "x-test-status": "502"},
    "garbage": {"x-test-body": "{", "x-test-status": "200"},
}
STREAM_FAULTS = {
    "silence": {"x-test-delay-headers": "3"},
    "silence after the head": {"x-test-delay-first": "3"},
    "cut before any content": {"x-test-cut": "0"},
    "an error inside": {"x-test-error-in-stream": "0"},
    "no stream": {"x-test-non-sse": "1"},
    "an empty end": {"x-test-truncate": "0"},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_one_answers(fault: str, stream: bool) -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = FAULTS[fault]
        await check(gate, bad, good, stream=stream)


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_also_when_a_stream_breaks_before_its_first_content(fault: str) -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = STREAM_FAULTS[fault]
        await check(gate, bad, good, stream=True)


async def check(gate: Gateway, bad: Upstream, good: Upstream, *, stream: bool) -> None:
    answer = await gate.post("/v1/chat/completions", chat(stream=stream))
    assert answer.status == 200, answer.body
    assert answer.headers["x-penstock-deployment"] == "b"
    assert answer.headers["x-penstock-attempts"] == "2"
    if stream:
        chunks = [event for event in answer.events if event != "[DONE]"]
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        assert len({chunk["id"] for chunk in chunks}) == 1
        roles = [c["choices"][0]["delta"].get("role") for c in chunks if c["choices"]]
        assert roles.count("assistant") == 1, "nothing of the failed attempt was told"
    else:
        text = answer.json["choices"][0]["message"]["content"]
    assert text == "from the other"
    assert (len(bad.requests), len(good.requests)) == (1, 1)
    assert await gate.settled("penstock_requests_total", 'deployment="b"', at_least=1) == 1
    assert await gate.metric("penstock_requests_total", 'deployment="a"') == 0
    assert await gate.metric("penstock_upstream_attempts_total", 'deployment="b"', 'outcome="ok"') == 1
    assert await gate.metric("penstock_upstream_attempts_total", 'deployment="a"') == 1


async def test_nobody_listens_there() -> None:
    async with Upstream() as good:
        async with Upstream() as gone:
            url = gone.url
        async with gateway(config(url, good.url)) as gate:
            answer = await gate.post("/v1/chat/completions", chat())
            assert (answer.status, answer.headers["x-penstock-deployment"]) == (200, "b")


async def test_what_was_told_is_never_told_again() -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = {"x-test-cut": "2", "x-test-content": "one two three"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.events[-1]["error"]["code"] == "upstream_cut"
        assert good.requests == []
        bad.behaviour = {"x-test-hang": "2", "x-test-content": "one two three"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.events[-1]["error"]["code"] == "upstream_timeout"
        assert good.requests == []


async def test_the_caller_s_mistakes_go_nowhere_else() -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = {"x-test-status": "400"}
        assert (await gate.post("/v1/chat/completions", chat())).status == 400
        assert good.requests == []


async def test_all_are_down_and_that_is_what_is_said() -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = {"x-test-status": "429"}
        good.behaviour = {"x-test-status": "503", "x-test-retry-after": "7"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error == (503, "no_healthy_target", None)
        assert answer.headers["x-penstock-attempts"] == "2"
        assert answer.headers["retry-after"] == "7"


async def test_a_single_target_is_asked_again() -> None:
    async with pair("retries: 2") as (bad, _, gate):
        bad.plan.extend([{"x-test-status": "500"}, {"x-test-body": "{", "x-test-status": "200"}])
        answer = await gate.post("/v1/chat/completions", chat())
        assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "3")
        bad.plan.extend([{"x-test-status": "500"}] * 3)
        answer = await gate.post("/v1/chat/completions", chat())
        assert (answer.status, answer.headers["x-penstock-attempts"]) == (502, "3")


async def test_further_attempts_are_a_share_of_all() -> None:
    async with pair("retries: 5") as (bad, _, gate):
        bad.behaviour = {"x-test-status": "500"}
        for _ in range(20):
            assert (await gate.post("/v1/chat/completions", chat())).status == 502
        assert 20 + 10 <= len(bad.requests) <= 20 + 10 + 0.2 * 20 + 1


async def test_another_dialect_takes_over() -> None:
    async with Upstream() as bad, AnthropicDouble() as claude:
        bad.behaviour = {"x-test-status": "500"}
        text = config(bad.url, f"{claude.url}/v1").replace(
            "two: {kind: openai-compatible", "two: {kind: anthropic"
        )
        async with gateway(text) as gate:
            client = openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=KEY, max_retries=0)
            answer = await client.chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "Hello!"}], seed=1
            )
            assert answer.headers["x-penstock-deployment"] == "b"
            assert answer.headers["x-penstock-translation"] == "lossy; dropped=seed"
            assert answer.parse().choices[0].message.content
            await client.close()


async def test_a_client_that_leaves_between_two_attempts_stops_it() -> None:
    async with pair("retries: 1") as (bad, _, gate):
        bad.behaviour = {"x-test-status": "429", "x-test-retry-after": "3"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await gate.post("/v1/chat/completions", chat())
        assert await gate.settled("penstock_requests_total", at_least=1) == 1
        assert len(bad.requests) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": "a"}),
        ("/v2/rerank", {"model": "m", "query": "q", "documents": ["a"]}),
        ("/v1/completions", {"model": "m", "prompt": "a", "stream": True}),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}),
        ("/v1/responses", {"model": "m", "input": "a", "stream": True}),
    ],
)
async def test_every_operation_and_dialect_fails_over(path: str, body: dict[str, object]) -> None:
    async with pair() as (bad, _, gate):
        bad.behaviour = {"x-test-status": "503"}
        answer = await gate.post(path, body)
        assert answer.status == 200, answer.body
        assert answer.headers["x-penstock-attempts"] == "2"


async def test_a_background_response_fails_over() -> None:
    async with pair() as (bad, _, gate):
        bad.behaviour = {"x-test-status": "503"}
        made = await gate.post("/v1/responses", {"model": "m", "input": "a", "background": True})
        while (now := await gate.get(f"/v1/responses/{made.json['id']}")).json["status"] == "in_progress":
            await asyncio.sleep(0.02)
        assert now.json["status"] == "completed"
        assert now.json["output"][0]["content"][0]["text"] == "from the other"


async def test_who_keeps_failing_is_left_alone() -> None:
    async with pair() as (bad, good, gate):
        bad.behaviour = {"x-test-status": "500"}
        for _ in range(12):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        assert len(bad.requests) == 5, "then its breaker was open"
        assert len(good.requests) == 12
        assert await gate.metric("penstock_deployment_down", 'deployment="a"') == 1
        last = await gate.post("/v1/chat/completions", chat())
        assert last.headers["x-penstock-attempts"] == "1"
        good.behaviour = {"x-test-status": "503"}
        worst = await gate.post("/v1/chat/completions", chat())
        assert worst.headers["x-penstock-attempts"] == "2", (
            "where nothing else is left, it is asked all the same"
        )


async def test_a_limited_target_cools_until_its_time() -> None:
    async with pair() as (bad, _, gate):
        bad.plan.append({"x-test-status": "429", "x-test-retry-after": "1"})
        for _ in range(4):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        assert len(bad.requests) == 1
        await asyncio.sleep(1.1)
        answer = await gate.post("/v1/chat/completions", chat())
        assert (answer.headers["x-penstock-deployment"], len(bad.requests)) == ("a", 2)


async def test_the_log_says_what_each_target_failed_by(said: io.StringIO) -> None:
    """And nothing of what it said: that may quote the request."""
    async with pair() as (bad, good, gate):
        bad.behaviour = {"x-test-status": "500", "x-test-body": '{"error": {"message": "you said: hi"}}'}
        good.behaviour = {"x-test-status": "404"}
        assert (await gate.post("/v1/chat/completions", chat())).status == 503
        while '"call"' not in said.getvalue():
            await asyncio.sleep(0.01)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    (attempt,) = (line for line in lines if line["event"] == "attempt failed")
    assert (attempt["deployment"], attempt["detail"]) == ("a", "status 500")
    (call,) = (line for line in lines if line["event"] == "call" and line["status"] == 503)
    assert call["detail"] == "a: upstream_unavailable (status 500); b: upstream_unavailable (status 404)"
    assert "you said" not in said.getvalue()
