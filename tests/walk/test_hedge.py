"""A target that is slow to begin, another beside it: one answer, the faster one's, nothing left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateways import KEY, Gateway, chat, gateway

from penstock.routing.hedging import HEDGES_AT_ONCE
from penstock.testing.upstream import Upstream


def config(one: str, two: str, hedge: str, more: str = "") -> str:
    return f"""
builtin: off
providers:
  one: {{kind: openai-compatible, base_url: "{one}", api_key: k1}}
  two: {{kind: openai-compatible, base_url: "{two}", api_key: k2}}
deployments:
  a: {{provider: one, model: a-1}}
  b: {{provider: two, model: b-1}}
routes:
  m:
    targets: [{{deployment: a, weight: 1000000}}, {{deployment: b, weight: 0.000001}}]
    hedge: {hedge}
    {more}
keys:
  test: {{secret: {KEY}}}
"""


@contextlib.asynccontextmanager
async def pair(
    hedge: str = "{after: 100ms, share: 0.5}", more: str = ""
) -> AsyncIterator[tuple[Upstream, Upstream, Gateway]]:
    """The first is asked nearly always."""
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url, hedge, more)) as gate:
        one.behaviour, two.behaviour = {"x-test-content": "one"}, {"x-test-content": "two"}
        yield one, two, gate


def slow(content: str = "one", seconds: float = 3) -> dict[str, str]:
    return {"x-test-delay-first": str(seconds), "x-test-content": content}


def said(answer: Any, *, stream: bool) -> str:
    if not stream:
        return str(answer.json["choices"][0]["message"]["content"])
    pieces = [event for event in answer.events if event != "[DONE]"]
    return "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces if piece["choices"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_faster_one_answers_and_the_slower_is_let_go(stream: bool) -> None:
    async with pair() as (one, two, gate):
        one.behaviour = slow()
        answer = await gate.post("/v1/chat/completions", chat(stream=stream))
        assert answer.status == 200
        assert said(answer, stream=stream) == "two"
        assert answer.headers["x-penstock-deployment"] == "b"
        assert (len(one.requests), len(two.requests)) == (1, 1)
        await asyncio.wait_for(one.requests[0].ended.wait(), 10)
        assert one.requests[0].cancelled_at is not None
        metrics = (await gate.get("/metrics")).body.decode()
        assert 'penstock_upstream_attempts_total{deployment="a",outcome="outrun"} 1.0' in metrics
        assert 'penstock_upstream_attempts_total{deployment="b",outcome="ok"} 1.0' in metrics


async def test_who_begins_in_time_is_alone() -> None:
    async with pair("{after: 10s}") as (one, two, gate):
        for stream in (True, False):
            answer = await gate.post("/v1/chat/completions", chat(stream=stream))
            assert said(answer, stream=stream) == "one"
        assert (len(one.requests), len(two.requests)) == (2, 0)


async def test_who_is_late_but_first_wins_all_the_same() -> None:
    async with pair() as (one, two, gate):
        one.behaviour, two.behaviour = slow(seconds=0.3), slow("two")
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert said(answer, stream=True) == "one"
        await asyncio.wait_for(two.requests[0].ended.wait(), 10)
        assert two.requests[0].cancelled_at is not None


async def test_late_is_learned_from_the_route_s_own_answers() -> None:
    async with pair("on") as (one, two, gate):
        one.behaviour = slow(seconds=0.6)
        assert (
            said(await gate.post("/v1/chat/completions", chat()), stream=False) == "one"
        )  # nothing is known
        one.behaviour = {"x-test-content": "one", "x-test-delay-headers": "0.05"}
        for _ in range(40):
            await gate.post("/v1/chat/completions", chat())
        one.behaviour = slow()
        assert said(await gate.post("/v1/chat/completions", chat()), stream=False) == "two"
        assert 1 <= len(two.requests) <= 4  # one in twenty of the others is late, too


async def test_no_more_are_asked_twice_than_the_budget_allows() -> None:
    async with pair("{after: 50ms, share: 0.05}") as (one, two, gate):
        one.behaviour = slow(seconds=0.2)
        await asyncio.gather(*(gate.post("/v1/chat/completions", chat()) for _ in range(60)))
        assert 1 <= len(two.requests) <= HEDGES_AT_ONCE + 0.05 * 60


async def test_the_second_answers_when_the_first_then_fails() -> None:
    async with pair() as (one, two, gate):
        one.behaviour = {"x-test-delay-headers": "0.3", "x-test-status": "500"}
        two.behaviour = slow("two", 0.5)
        answer = await gate.post("/v1/chat/completions", chat())
        assert (answer.status, said(answer, stream=False)) == (200, "two")


async def test_when_both_fail_the_next_is_asked() -> None:
    async with Upstream() as spare:
        providers = f'\n  three: {{kind: openai-compatible, base_url: "{spare.url}", api_key: k3}}'
        async with Upstream() as one, Upstream() as two:
            text = config(one.url, two.url, "{after: 50ms, share: 0.5}", "fallbacks: [c]")
            text = text.replace(
                "\ndeployments:", f"{providers}\ndeployments:\n  c: {{provider: three, model: c-1}}"
            )
            async with gateway(text) as gate:
                one.behaviour = {"x-test-delay-headers": "0.2", "x-test-status": "500"}
                two.behaviour = {"x-test-status": "503"}
                spare.behaviour = {"x-test-content": "three"}
                answer = await gate.post("/v1/chat/completions", chat())
                assert (answer.status, said(answer, stream=False)) == (200, "three")
                assert (len(one.requests), len(two.requests), len(spare.requests)) == (1, 1, 1)
                assert answer.headers["x-penstock-attempts"] == "3"


async def test_a_client_that_leaves_ends_both() -> None:
    async with pair() as (one, two, gate):
        one.behaviour, two.behaviour = slow(), slow("two")
        asking = asyncio.ensure_future(gate.post("/v1/chat/completions", chat()))  # noqa: TID251 - cancelled here
        while not two.requests:
            await asyncio.sleep(0.01)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        for up in (one, two):
            await asyncio.wait_for(up.requests[0].ended.wait(), 10)
            assert up.requests[0].cancelled_at is not None


async def test_a_stream_that_breaks_after_it_won_is_told_so() -> None:
    async with pair() as (one, two, gate):
        one.behaviour = slow()
        two.behaviour = {"x-test-cut": "2"}
        answer = await gate.post("/v1/chat/completions", chat(stream=True))
        assert answer.status == 200
        assert answer.events[-1]["error"]["code"] == "upstream_cut"
        assert answer.events[-1]["error"]["usage"]["completion_tokens"] == 1
        assert await gate.settled("penstock_tokens_total", 'kind="completion"', at_least=1) == 1
        assert (len(one.requests), len(two.requests)) == (1, 1)


async def test_usage_and_the_answer_are_accounted_once() -> None:
    async with pair() as (one, two, gate):
        one.behaviour = slow()
        two.behaviour = {"x-test-content": "two", "x-test-prompt-tokens": "7"}
        await gate.post("/v1/chat/completions", chat())
        assert await gate.metric('penstock_tokens_total{deployment="b",kind="prompt",route="m"}') == 7
        lines = (await gate.get("/metrics")).body.decode().splitlines()
        requests = [line for line in lines if line.startswith("penstock_requests_total{")]
        assert len(requests) == 1
        assert 'deployment="b"' in requests[0]
        assert requests[0].endswith(" 1.0")
