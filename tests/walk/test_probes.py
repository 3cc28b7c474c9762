"""Probes: small requests of our own find out whether a deployment answers, so that no customer's has to."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gateways import KEY, Gateway, chat, gateway, remote

from penstock.config import problems
from penstock.engines import ENGINES
from penstock.gateway import probes
from penstock.routing import breaker
from penstock.routing.probing import JITTER
from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.bedrock import BedrockDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.cohere import CohereDouble
from penstock.testing.double import Double
from penstock.testing.engine import FakeEngine
from penstock.testing.gemini import GeminiDouble
from penstock.testing.ollama import OllamaDouble
from penstock.testing.responses import ResponsesDouble
from penstock.testing.tei import TEIDouble
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LOOK_S", 0.01)
    monkeypatch.setattr(breaker, "OPEN_S", 0.2)
    monkeypatch.setattr(problems, "_SHORTEST_PROBES_S", 0.05)


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)


def probed(url: str, kind: str = "openai-compatible", more: str = "", every: str = "100ms") -> str:
    return f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{url}", api_key: k, {more}}}
deployments:
  m: {{provider: up, model: m-1, probe: {{every: {every}}}}}
keys:
  test: {{secret: {KEY}}}
"""


def texts(up: Double) -> list[str]:
    return [request.body["messages"][0]["content"] for request in up.requests]


async def test_who_is_idle_is_probed_and_nobody_pays() -> None:
    async with Upstream() as up, gateway(probed(up.url)) as gate:
        await until(lambda: up.requests)
        assert await gate.settled("penstock_probes_total", 'deployment="m",outcome="ok"', at_least=2) >= 2
        for request in up.requests:
            assert request.body["model"] == "m-1"
            assert request.body["max_tokens"] == 1
        for name in ("penstock_requests_total", "penstock_tokens_total", "penstock_upstream_attempts_total"):
            assert await gate.metric(name) == 0
        assert await gate.metric("penstock_requests_in_flight") == 0
        assert await gate.metric("penstock_breaker_state", 'deployment="m",kind="deployment"') == 0


async def test_without_probes_nothing_is_sent() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        await asyncio.sleep(0.1)  # ten looks
        assert up.requests == []
        assert await gate.metric("penstock_probes_total") == 0


async def test_who_answers_anyhow_is_not_probed() -> None:
    async with Upstream() as up, gateway(probed(up.url, every="1s")) as gate:
        for _ in range(30):
            assert (await gate.post(CHAT, chat())).status == 200
            await asyncio.sleep(0.05)  # 1.5 s
        await until(lambda: texts(up)[-1] == probes.TEXT)
        for before, request in itertools.pairwise(up.requests):
            if request.body["messages"][0]["content"] == probes.TEXT:
                assert request.started_at - before.started_at >= 1 - JITTER
        assert texts(up).count("hi") == 30


def pair(first: str, second: str, probe: str = "probe: {every: 60s}") -> str:
    return f"""
builtin: off
providers:
  one: {{kind: openai-compatible, base_url: "{first}", api_key: k1}}
  two: {{kind: openai-compatible, base_url: "{second}", api_key: k2}}
deployments:
  a: {{provider: one, model: a-1, {probe}}}
  b: {{provider: two, model: b-1}}
routes:
  m: {{targets: [{{deployment: a}}], fallbacks: [b]}}
keys:
  test: {{secret: {KEY}}}
"""


async def test_recovery_is_found_by_a_probe_and_not_by_a_customer() -> None:
    async with Upstream() as one, Upstream() as two, gateway(pair(one.url, two.url)) as gate:
        one.behaviour = {"x-test-status": "500"}

        async def customer() -> str:
            answer = await gate.post(CHAT, chat("a customer"))
            assert answer.status == 200
            return answer.headers["x-penstock-deployment"]

        for _ in range(breaker.LEAST):
            assert await customer() == "b"
        assert texts(one) == ["a customer"] * breaker.LEAST
        async with asyncio.timeout(10):
            while texts(one).count(probes.TEXT) < 2:  # each that fails doubles the time
                assert await customer() == "b"
        assert texts(one).count("a customer") == breaker.LEAST
        assert await gate.settled("penstock_probes_total", 'outcome="upstream_unavailable"', at_least=2) >= 2
        one.behaviour = {}
        await gate.settled("penstock_probes_total", 'outcome="ok"', at_least=1)
        assert await gate.metric("penstock_deployment_down") == 0
        assert await customer() == "a"


async def test_a_probe_that_is_refused_as_a_request_says_nothing() -> None:
    async with Upstream() as up, gateway(probed(up.url)) as gate:
        up.behaviour = {"x-test-status": "400"}
        await until(lambda: up.requests)
        assert await gate.settled("penstock_probes_total", 'outcome="invalid_request"', at_least=1) >= 1
        assert await gate.metric("penstock_breaker_state") == 0


async def test_idle_and_broken_is_known_before_the_first_request() -> None:
    async with Upstream() as up, gateway(probed(up.url)) as gate:
        up.behaviour = {"x-test-status": "401"}
        await gate.settled("penstock_deployment_down", 'deployment="m"', at_least=1)
        assert await gate.metric("penstock_deployment_down", 'deployment="m"') == 1


async def test_a_probe_does_not_wait_longer_than_it_may() -> None:
    config = probed("{0}").replace("every: 100ms", "every: 100ms, timeout: 100ms")
    async with Upstream() as up, gateway(config.replace("{0}", up.url)) as gate:
        up.behaviour = {"x-test-delay-headers": "30"}
        assert await gate.settled("penstock_probes_total", 'outcome="upstream_timeout"', at_least=1) >= 1


async def test_a_server_that_stops_leaves_no_probe_behind() -> None:
    async with Upstream() as up:
        up.behaviour = {"x-test-delay-headers": "30"}
        async with gateway(probed(up.url)):
            await until(lambda: up.requests)
        assert len(up.requests) == 1


AWS = "region: us-east-1, access_key_id: a, secret_access_key: b"
DIALECTS: list[tuple[type[Double], str, str]] = [
    (ChatDouble, "openai", ""),
    (ResponsesDouble, "openai-responses", ""),
    (AnthropicDouble, "anthropic", ""),
    (GeminiDouble, "gemini", ""),
    (OllamaDouble, "ollama-native", ""),
    (BedrockDouble, "bedrock", AWS),
]


@pytest.mark.parametrize(("double", "kind", "more"), DIALECTS, ids=[row[1] for row in DIALECTS])
async def test_every_dialect_has_its_probe(double: Any, kind: str, more: str) -> None:
    config = probed("{0}", kind, more)
    if more:
        config = config.replace("api_key: k, ", "")
    async with double() as up:
        url = f"{up.url}/v1" if kind == "anthropic" else up.url
        async with gateway(config.replace("{0}", url)) as gate:
            assert await gate.settled("penstock_probes_total", 'outcome="ok"', at_least=1) >= 1


@pytest.mark.parametrize(
    ("double", "kind", "operation"),
    [
        (Upstream, "openai-compatible", "completion"),
        (Upstream, "openai-compatible", "embedding"),
        (Upstream, "openai-compatible", "rerank"),
        (Upstream, "openai-compatible", "moderation"),
        (CohereDouble, "cohere", "rerank"),
        (TEIDouble, "tei", "embedding"),
        (TEIDouble, "tei", "classification"),
    ],
)
async def test_every_operation_has_its_probe(double: Any, kind: str, operation: str) -> None:
    async with double() as up:
        config = probed(up.url, kind).replace("model: m-1", f"model: m-1, operations: [{operation}]")
        async with gateway(config) as gate:
            assert await gate.settled("penstock_probes_total", 'outcome="ok"', at_least=1) >= 1


@contextlib.asynccontextmanager
async def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    engine = FakeEngine("--say-pid", "--sick", str(tmp_path))
    for name in ("llamacpp", engine.name):
        monkeypatch.setitem(ENGINES._loaded, name, engine)
    config = f"""
builtin: off
deployments:
  m: {{model: "builtin:chat", replicas: 2, probe: {{every: 60s}}}}
keys:
  test: {{secret: {KEY}}}
"""
    async with gateway(config) as gate:
        assert await gate.settled("penstock_replicas", 'state="ready"', at_least=2) == 2
        yield gate


async def test_a_sick_replica_is_probed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local(tmp_path, monkeypatch) as gate:
        answer = await gate.post(CHAT, chat())
        sick = tmp_path / str(answer.json["choices"][0]["message"]["content"])
        await asyncio.to_thread(sick.write_text, "500")
        for _ in range(breaker.LEAST):
            assert (await gate.post(CHAT, chat())).status == 200
        assert await gate.settled("penstock_probes_total", 'outcome="upstream_unavailable"', at_least=1) >= 1
        await asyncio.to_thread(sick.unlink)
        assert await gate.settled("penstock_probes_total", 'outcome="ok"', at_least=1) == 1
        assert await gate.metric("penstock_breaker_state", 'kind="replica"') == 0
