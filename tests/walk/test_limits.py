"""Limits and budgets through the whole gateway: who is let in, what they are told, what is booked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from gateways import KEY, Answer, Gateway, chat, gateway

from penstock.lib import tasks
from penstock.testing.servers import RedisServer
from penstock.testing.upstream import Upstream
from receiver import Receiver

CHAT = "/v1/chat/completions"
A_TOKEN = "prices: {models: {d: {input: $1/1M, output: $1/1M}, e: {input: $1/1M, output: $1/1M}}}"
USED = {"x-test-prompt-tokens": "900", "x-test-tokens": "100"}  # 1,000 tokens, 0.001 USD


def config(up: Upstream, *, keys: str, more: str = "") -> str:
    """Deployments `d` and `e` on one upstream, and a route `m` to `d`."""
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{up.url}", api_key: sk-upstream}}
deployments:
  d: {{provider: up, model: d-1}}
  e: {{provider: up, model: e-1}}
routes:
  m: {{targets: [{{deployment: d}}]}}
keys: {keys}
{A_TOKEN}
{more}
"""


@contextlib.asynccontextmanager
async def limited(
    key: str, *, more: str = "", data_dir: Path | None = None
) -> AsyncIterator[tuple[Upstream, Gateway]]:
    keys = f"{{one: {{secret: sk-test, {key}}}, other: {{secret: sk-other}}}}"
    async with (
        Upstream(behaviour=USED) as up,
        gateway(config(up, keys=keys, more=more), data_dir=data_dir) as gate,
    ):
        yield up, gate


async def asked(gate: Gateway, key: str = KEY, model: str = "m", **more: Any) -> Answer:
    headers = {"authorization": f"Bearer {key}"}
    return await gate.post(CHAT, chat(**more) | {"model": model}, headers=headers)


def rest(answer: Answer, resource: str) -> tuple[int, int]:
    """(limit, remaining)"""
    said = answer.headers
    return int(said[f"x-ratelimit-limit-{resource}"]), int(said[f"x-ratelimit-remaining-{resource}"])


# -- requests


async def test_more_requests_than_the_key_may_make() -> None:
    async with limited("limits: {requests: 2/min}") as (up, gate):
        first, second = await asked(gate), await asked(gate)
        assert [rest(one, "requests") for one in (first, second)] == [(2, 1), (2, 0)]
        third = await asked(gate)
        assert third.error == (429, "rate_limit_exceeded", None)
        assert "the key 'one' may use 2 requests in any 60 s; used: 2," in third.json["error"]["message"]
        assert rest(third, "requests") == (2, 0)
        assert 0 < int(third.headers["retry-after"]) <= 62  # a second is the finest that is counted
        assert third.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-should-retry" not in third.headers
        assert len(up.requests) == 2
        assert (await asked(gate, "sk-other")).status == 200
        assert "x-ratelimit-limit-requests" not in (await asked(gate, "sk-other")).headers


async def test_of_many_at_once_exactly_as_many_are_let_in() -> None:
    async with limited("limits: {requests: 7/h}") as (up, gate):
        answers = await asyncio.gather(*(asked(gate) for _ in range(40)))
        assert sorted(answer.status for answer in answers) == [200] * 7 + [429] * 33
        assert len(up.requests) == 7


async def test_a_request_that_is_wrong_takes_nothing() -> None:
    async with limited("limits: {requests: 2/min}") as (_, gate):
        assert (await gate.post(CHAT, {"model": "m", "messages": "hi"})).status == 400
        assert (await asked(gate, model="nobody")).status == 404
        assert rest(await asked(gate), "requests") == (2, 1)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
            429,
        ),
        ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}, 429),
        ("/api/chat", chat(), 429),
        ("/v1/responses", {"model": "m", "input": "hi"}, 429),
    ],
)
async def test_every_protocol_is_told_in_its_own_words(path: str, body: Any, status: int) -> None:
    async with limited("limits: {requests: 1/min}") as (_, gate):
        assert (await asked(gate)).status == 200
        answer = await gate.post(path, body)
        assert answer.status == status
        assert "may use 1 request in" in answer.body.decode()
        assert answer.headers["retry-after"]


# -- tokens


async def test_tokens_are_booked_as_the_upstream_counted_them() -> None:
    async with limited("limits: {tokens: 2500/min}") as (_, gate):
        for left in (2500, 1500, 500):
            answer = await asked(gate)
            assert answer.status == 200
            limit, remaining = rest(answer, "tokens")
            assert limit == 2500
            assert left - 300 < remaining < left, "what is reserved is little; what is booked is exact"
        refused = await asked(gate)
        assert refused.error == (429, "rate_limit_exceeded", None)
        assert "may use 2500 tokens in any 60 s; used: 3000," in refused.json["error"]["message"]


async def test_a_client_that_asks_for_more_than_the_limit_is_served() -> None:
    async with limited("limits: {tokens: 20k/min}") as (_, gate):
        assert (await asked(gate, max_tokens=64_000)).status == 200


async def test_a_stream_ends_where_the_limit_is_reached() -> None:
    async with limited("limits: {tokens: 1000/min}") as (up, gate):
        up.behaviour = {
            "x-test-tokens": "4000",
            "x-test-prompt-tokens": "10",
            "x-test-delay-between": "0.0005",
        }
        answer = await asked(gate, stream=True)
        assert answer.status == 200
        last = answer.events[-1]["error"]
        assert (last["code"], last["partial"]) == ("rate_limit_exceeded", True)
        pieces = sum(1 for event in answer.events if event.get("choices"))
        assert 500 <= pieces <= 1000
        await asyncio.wait_for(up.requests[-1].ended.wait(), 5)
        assert up.requests[-1].cancelled_at is not None, "generation stops with it"
        up.behaviour = USED
        assert (await asked(gate)).status == 429


async def test_what_a_client_did_not_wait_for_is_given_back() -> None:
    async with limited("limits: {tokens: 100k/h, concurrency: 1}") as (up, gate):
        up.behaviour = {"x-test-tokens": "300", "x-test-prompt-tokens": "10", "x-test-delay-between": "0.05"}
        response = await gate.open(CHAT, chat(stream=True) | {"model": "m"})
        await response.read_some()
        response.close()
        await asyncio.wait_for(up.requests[-1].ended.wait(), 5)
        up.behaviour = USED
        answer = await until_free(gate)
        _, remaining = rest(answer, "tokens")
        assert remaining > 99_000, "a few words were told, and a small answer is reserved for this call"


async def until_free(gate: Gateway) -> Answer:
    for _ in range(200):
        answer = await asked(gate)
        if answer.status == 200:
            return answer
        assert answer.error[1] == "concurrency_limit_exceeded"
        await asyncio.sleep(0.01)
    raise AssertionError("its place was never given back")


async def test_an_upstream_that_failed_cost_a_request_and_no_tokens() -> None:
    async with limited("limits: {tokens: 2000/min, requests: 5/min}") as (up, gate):
        up.behaviour = {"x-test-status": "500"}
        assert (await asked(gate)).status == 502
        up.behaviour = USED
        answer = await asked(gate)
        assert rest(answer, "requests") == (5, 3)
        assert rest(answer, "tokens")[1] > 1700, "less what is reserved for this one"


# -- concurrency


async def test_more_at_once_than_the_key_may_have() -> None:
    async with limited("limits: {concurrency: 2}") as (up, gate):
        up.behaviour = {"x-test-together": "3"}
        async with asyncio.TaskGroup() as group:
            under_way = [tasks.spawn(group, asked(gate), "asked") for _ in range(2)]
            while up.in_flight < 2:
                await asyncio.sleep(0.005)
            third = await asked(gate)
            assert third.error == (429, "concurrency_limit_exceeded", None)
            assert "has 2 under way and may have 2" in third.json["error"]["message"]
            assert int(third.headers["retry-after"]) >= 1
            assert (await asked(gate, "sk-other")).status == 200
        assert {one.result().status for one in under_way} == {200}
        assert (await until_free(gate)).status == 200


@pytest.mark.parametrize(
    "where", ["penstock.gateway.pipeline.account", "penstock.gateway.alerts.Alerts.settled"]
)
async def test_a_bug_at_the_end_of_a_call_keeps_no_place(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError

    async with limited("limits: {concurrency: 1}") as (_, gate):
        with monkeypatch.context() as patched, structlog.testing.capture_logs() as lines:
            patched.setattr(where, broken)
            assert (await asked(gate)).status == 200
        assert (await until_free(gate)).status == 200
    assert [line for line in lines if line["event"].startswith("bug")]


# -- budgets


async def test_a_budget_that_is_used_up() -> None:
    async with limited("budget: {usd: 0.0025}") as (up, gate):
        for _ in range(3):  # 0.001 each: the third goes over it, as nobody can know what it will cost
            assert (await asked(gate)).status == 200
        refused = await asked(gate)
        assert refused.error[:2] == (429, "insufficient_quota")
        assert refused.headers["x-should-retry"] == "false"
        said = refused.json["error"]["message"]
        assert "The budget is used up: the key 'one' may use 0.0025 USD a month; used: 0.003 USD," in said
        assert len(up.requests) == 3
        assert (await asked(gate, "sk-other")).status == 200


async def test_budgets_in_the_words_of_other_vendors() -> None:
    async with limited("budget: {usd: 0.0001}") as (_, gate):
        assert (await asked(gate)).status == 200
        message = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        answer = await gate.post("/v1/messages", message)
        assert (answer.status, answer.json["error"]["type"]) == (402, "billing_error")
        answer = await gate.post("/api/chat", chat() | {"model": "m"})
        assert answer.status == 402
        gemini = await gate.post(
            "/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}
        )
        assert (gemini.status, gemini.json["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


async def test_a_budget_for_some_models_only() -> None:
    async with limited("budget: {usd: 0.0001, models: [m]}") as (_, gate):
        assert (await asked(gate)).status == 200
        assert (await asked(gate)).error[1] == "insufficient_quota"
        assert (await asked(gate, model="e")).status == 200


async def test_keys_of_a_team_share_its_budget() -> None:
    keys = "{a: {secret: sk-a, team: lab}, b: {secret: sk-b, team: lab}, c: {secret: sk-c}}"
    teams = "teams: {lab: {budget: {usd: 0.0015}}}"
    async with Upstream(behaviour=USED) as up, gateway(config(up, keys=keys, more=teams)) as gate:
        assert (await asked(gate, "sk-a")).status == 200
        assert (await asked(gate, "sk-b")).status == 200
        for secret in ("sk-a", "sk-b"):
            refused = await asked(gate, secret)
            assert refused.error[1] == "insufficient_quota"
            assert "the team 'lab' may use 0.0015 USD a month" in refused.json["error"]["message"]
        assert (await asked(gate, "sk-c")).status == 200


async def test_a_budget_outlives_the_process(tmp_path: Path) -> None:
    async with limited("budget: {usd: 0.0025, period: total}", data_dir=tmp_path) as (_, gate):
        for _ in range(3):
            assert (await asked(gate)).status == 200
    async with limited("budget: {usd: 0.0025, period: total}", data_dir=tmp_path) as (up, gate):
        assert (await asked(gate)).error[1] == "insufficient_quota"
        assert not up.requests


async def test_a_stream_ends_where_the_budget_does() -> None:
    async with limited("budget: {usd: 0.001}") as (up, gate):
        up.behaviour = {
            "x-test-tokens": "4000",
            "x-test-prompt-tokens": "10",
            "x-test-delay-between": "0.0005",
        }
        answer = await asked(gate, stream=True)
        last = answer.events[-1]["error"]
        assert (last["code"], last["partial"]) == ("insufficient_quota", True)
        assert sum(1 for event in answer.events if event.get("choices")) <= 1000


async def test_a_stream_that_is_refused_before_its_first_word_takes_no_tokens() -> None:
    async with limited("limits: {tokens: 60/min}") as (up, gate):
        refused = await asked(gate, stream=True)
        assert refused.error[:2] == (429, "rate_limit_exceeded")
        assert refused.headers["x-penstock-attempts"] == "1"
        assert len(up.requests) == 1
        assert await gate.settled("penstock_requests_total", at_least=1) == 1
        for name in ("tokens_total", "cost_usd_total"):
            assert await gate.metric(f"penstock_{name}") == 0
        assert await gate.metric("penstock_cost_wasted_usd_total") > 0
        up.behaviour = {"x-test-prompt-tokens": "20", "x-test-tokens": "10"}
        answer = await asked(gate)
        assert rest(answer, "tokens")[1] > 25, "of what was refused nothing is booked"


async def test_a_webhook_is_told_when_a_budget_is_nearly_used_up() -> None:
    receiver = Receiver()
    async with receiver as url:
        hooks = f'webhooks: {{ops: {{url: "{url}/hooks", secret: whsec_c2VjcmV0}}}}'
        async with limited("budget: {usd: 0.003, alerts: [0.6, 1]}", more=hooks) as (_, gate):
            for _ in range(5):
                await asked(gate)
            told = [await receiver.got.get() for _ in range(2)]
        assert receiver.got.empty()
    bodies = [json.loads(body) for _, body in told]
    assert {body["type"] for body in bodies} == {"budget.alert"}
    assert {(body["data"]["share"], body["data"]["name"]) for body in bodies} == {(0.6, "one"), (1.0, "one")}
    assert all(headers["webhook-signature"].startswith("v1,") for headers, _ in told)


# -- of routes, deployments, providers


async def test_a_limit_of_a_route_is_for_all_keys_together() -> None:
    keys = "{a: {secret: sk-a}, b: {secret: sk-b}}"
    async with Upstream() as up:
        text = config(up, keys=keys).replace(
            "[{deployment: d}]}", "[{deployment: d}], limits: {requests: 2/min}}"
        )
        async with gateway(text) as gate:
            assert [(await asked(gate, one)).status for one in ("sk-a", "sk-b", "sk-a")] == [200, 200, 429]
            assert (await asked(gate, "sk-a", model="e")).status == 200


@pytest.mark.parametrize("where", ["deployment", "provider"])
async def test_a_target_at_its_limit_passes_the_call_on(where: str) -> None:
    of = {where: ", limits: {requests: 2/min}"}
    async with Upstream() as up, Upstream() as spare:
        text = f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{up.url}", api_key: k{of.get("provider", "")}}}
  spare: {{kind: openai-compatible, base_url: "{spare.url}", api_key: k}}
deployments:
  d: {{provider: up, model: d-1{of.get("deployment", "")}}}
  e: {{provider: spare, model: e-1}}
routes:
  m: {{targets: [{{deployment: d}}], fallbacks: [e]}}
keys: {{one: {{secret: sk-test}}}}
"""
        async with gateway(text) as gate:
            places = [(await asked(gate)).headers["x-penstock-deployment"] for _ in range(4)]
            assert places == ["d", "d", "e", "e"]
            assert len(up.requests) == 2
            alone = await asked(gate, model="d")
            assert alone.error[:2] == (503, "upstream_rate_limited")
            assert alone.headers["retry-after"]


async def test_a_target_that_has_no_room_for_a_large_call_has_it_for_a_small_one() -> None:
    async with Upstream() as up, Upstream() as spare:
        text = f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{up.url}", api_key: k}}
  spare: {{kind: openai-compatible, base_url: "{spare.url}", api_key: k}}
deployments:
  d: {{provider: up, model: d-1, limits: {{tokens: 10k/min}}}}
  e: {{provider: spare, model: e-1}}
routes:
  m: {{targets: [{{deployment: d}}], fallbacks: [e]}}
keys: {{one: {{secret: sk-test}}}}
"""
        async with gateway(text) as gate:
            up.plan.append({"x-test-prompt-tokens": "7000"})
            large = chat("word " * 6_000)
            places = [
                (await gate.post(CHAT, body)).headers["x-penstock-deployment"]
                for body in (large, large, chat(), large, chat())
            ]
            assert places == ["d", "e", "d", "e", "d"]


async def test_refusals_are_counted() -> None:
    async with limited("limits: {requests: 1/min}") as (_, gate):
        await asked(gate)
        await asked(gate)
        await asked(gate)
        assert await gate.metric("penstock_ledger_refused_total", 'scope="key"', 'resource="requests"') == 2


# -- several gateways, and a store that fails


@contextlib.asynccontextmanager
async def two_gateways(redis: RedisServer, key: str, failure: str) -> AsyncIterator[tuple[Gateway, Gateway]]:
    limits = (
        f"limits: {{store: 'redis://127.0.0.1:{redis.port}/0', on_store_failure: {failure}, processes: 2}}"
    )
    keys = f"{{{key}: {{secret: sk-test, limits: {{requests: 6/h}}}}}}"
    async with Upstream(behaviour=USED) as up:
        text = config(up, keys=keys, more=limits)
        async with gateway(text) as one, gateway(text) as other:
            yield one, other


async def statuses(*gates: Gateway, times: int) -> list[int]:
    return [(await asked(gate)).status for _ in range(times) for gate in gates]


async def test_two_gateways_share_one_limit_in_a_file(tmp_path: Path) -> None:
    keys = "{one: {secret: sk-test, limits: {requests: 6/h}}}"
    async with Upstream(behaviour=USED) as up:
        text = config(up, keys=keys, more="limits: {store: sql}")
        async with gateway(text, data_dir=tmp_path) as one, gateway(text, data_dir=tmp_path) as other:
            assert await statuses(one, other, times=5) == [200] * 6 + [429] * 4


async def test_two_gateways_share_one_limit(redis: RedisServer) -> None:
    async with two_gateways(redis, "shared", "closed") as gates:
        assert await statuses(*gates, times=5) == [200] * 6 + [429] * 4


@pytest.mark.parametrize(
    ("failure", "expected"),
    [("open", [200] * 10), ("closed", [503] * 10), ("local-share", [200] * 6 + [429] * 4)],
)
async def test_a_store_that_is_down(redis: RedisServer, failure: str, expected: list[int]) -> None:
    async with two_gateways(redis, f"down-{failure}", failure) as gates:
        await asyncio.to_thread(redis.stop)
        try:
            assert await statuses(*gates, times=5) == expected
        finally:
            await asyncio.to_thread(redis.start)


async def test_the_words_while_limits_cannot_be_checked(redis: RedisServer) -> None:
    async with two_gateways(redis, "words", "closed") as (gate, _):
        await asyncio.to_thread(redis.stop)
        try:
            answer = await asked(gate)
            assert answer.error[:2] == (503, "limits_unavailable")
            assert answer.headers["retry-after"] == "1"
            assert str(redis.port) not in answer.json["error"]["message"]
        finally:
            await asyncio.to_thread(redis.start)
