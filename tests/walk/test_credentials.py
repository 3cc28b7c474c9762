"""A provider with several keys: one that is refused or limited rests, and the caller does not notice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from gateways import KEY, Gateway, chat, gateway

from penstock.routing import breaker
from penstock.testing.double import Json
from penstock.testing.upstream import Upstream


def config(url: str, keys: str) -> str:
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_keys: {keys}}}
deployments:
  m: {{provider: up, model: m-1}}
keys:
  test: {{secret: {KEY}}}
"""


@contextlib.asynccontextmanager
async def door(keys: str = "[k1, k2, k3]") -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with Upstream() as up, gateway(config(up.url, keys)) as gate:
        yield up, gate


def used(up: Upstream) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in up.requests]


async def test_keys_are_taken_in_turn() -> None:
    async with door() as (up, gate):
        for _ in range(40):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        assert set(used(up)) == {"k1", "k2", "k3"}


async def test_a_key_that_is_refused_rests_and_another_answers() -> None:
    async with door() as (up, gate):
        up.plan.append({"x-test-status": "401"})
        first = await gate.post("/v1/chat/completions", chat())
        assert (first.status, first.headers["x-penstock-attempts"]) == (200, "2")
        refused = used(up)[0]
        for _ in range(20):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        assert refused not in used(up)[1:]
        assert await gate.metric("penstock_deployment_down") == 0, "the others answer"
        assert await gate.metric("penstock_breaker_state", 'kind="credential"', 'part="up#') == 2
        assert refused not in (await gate.get("/metrics")).body.decode()
        assert await gate.metric("penstock_upstream_attempts_total", 'outcome="ok"') == 21


async def test_a_key_that_is_limited_cools_until_its_time() -> None:
    async with door("[k1, k2]") as (up, gate):
        up.plan.append({"x-test-status": "429", "x-test-retry-after": "1"})
        assert (await gate.post("/v1/chat/completions", chat(stream=True))).status == 200
        limited = used(up)[0]
        for _ in range(10):
            await gate.post("/v1/chat/completions", chat())
        assert limited not in used(up)[1:]
        await asyncio.sleep(1.1)
        for _ in range(20):
            await gate.post("/v1/chat/completions", chat())
        assert limited in used(up)[12:]


async def test_all_keys_refused_is_said_and_no_key_with_it() -> None:
    async with door() as (up, gate):
        up.behaviour = {"x-test-status": "401"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.json["error"]["code"] == "upstream_credentials_exhausted"
        assert sorted(used(up)) == ["k1", "k2", "k3"]
        again = await gate.post("/v1/chat/completions", chat())
        assert again.status == answer.status
        assert len(up.requests) == 4, "all rest: one is asked all the same"
        assert b"k1" not in answer.body + again.body
        assert await gate.metric("penstock_deployment_down", 'deployment="m"') == 1


class LimitedInside(Upstream):
    def error_event(self, message: str) -> Json:
        return {"error": {"type": "rate_limit_error", "message": message}}


async def test_what_was_told_is_not_told_again_with_another_key() -> None:
    async with LimitedInside() as up:
        text = config(up.url, "[k1, k2]")
        up.behaviour = {"x-test-error-in-stream": "3", "x-test-delay-between": "0.05"}
        async with gateway(text) as gate:
            answer = await gate.post("/v1/chat/completions", chat(stream=True))
            assert answer.events[-1]["error"]["code"] == "upstream_rate_limited"
            assert len(up.requests) == 1


async def test_other_failures_are_no_key_s_fault() -> None:
    async with door() as (up, gate):
        up.plan.append({"x-test-status": "500"})
        assert (await gate.post("/v1/chat/completions", chat())).status == 502
        assert len(up.requests) == 1
        assert await gate.metric("penstock_deployment_down") == 0


async def test_each_key_is_asked_once_though_none_has_to_wait() -> None:
    async with door() as (up, gate):
        up.behaviour = {"x-test-status": "429", "x-test-retry-after": "0"}
        answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error[:2] == (503, "upstream_rate_limited")
        assert sorted(used(up)) == ["k1", "k2", "k3"]


async def test_a_key_rests_until_the_reset_that_its_vendor_names() -> None:
    async with door("[k1, k2]") as (up, gate):
        up.plan.append({"x-test-status": "429", "x-test-header": "x-ratelimit-reset-requests: 1h0m0s"})
        for _ in range(12):
            assert (await gate.post("/v1/chat/completions", chat())).status == 200
        limited = used(up)[0]
        assert limited not in used(up)[1:]
        assert await gate.metric("penstock_breaker_state", 'kind="credential"') == 2


async def test_a_key_that_is_paid_again_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LONGEST_S", 0.2)
    async with door("[k1, k2]") as (up, gate):
        up.plan.append({"x-test-status": "402"})
        assert (await gate.post("/v1/chat/completions", chat())).status == 200
        unpaid = used(up)[0]
        for _ in range(200):
            await gate.post("/v1/chat/completions", chat())
            if unpaid in used(up)[1:]:
                break
            await asyncio.sleep(0.01)
        assert used(up)[-1] == unpaid
        states = (await gate.get("/metrics")).body.decode()
        assert 'penstock_breaker_state{deployment="m",kind="credential",part="up#' in states
        assert await gate.metric("penstock_breaker_state") == 0, "closed"


BOTH = """
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{0}", api_keys: [k1, k2]}}
  two: {{kind: openai-compatible, base_url: "{1}", api_key: k}}
deployments:
  a: {{provider: up, model: a-1}}
  b: {{provider: two, model: b-1}}
routes:
  m: {{targets: [{{deployment: a, weight: 1000000}}, {{deployment: b, weight: 0.000001}}]}}
keys:
  test: {{secret: {2}}}
"""


async def test_a_deployment_is_down_when_all_its_keys_rest() -> None:
    async with Upstream() as up, Upstream() as other, gateway(BOTH.format(up.url, other.url, KEY)) as gate:
        up.behaviour = {"x-test-status": "401"}
        first = await gate.post("/v1/chat/completions", chat())
        assert (first.status, first.headers["x-penstock-attempts"]) == (200, "3")
        for _ in range(5):
            again = await gate.post("/v1/chat/completions", chat())
            assert again.headers["x-penstock-attempts"] == "1"
        assert sorted(used(up)) == ["k1", "k2"]
        assert await gate.metric("penstock_deployment_down", 'deployment="a"') == 1
