"""Several upstreams of one model: who is asked, by how busy they are and by what they have read before."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateways import KEY, Gateway, gateway

from penstock.routing import breaker, slow_start
from penstock.testing.upstream import Upstream

WORDS = "Water falls on the wheel, the wheel turns the stones. " * 60  # 3.2 KB


def config(ups: list[Upstream], strategy: str) -> str:
    providers = "".join(
        f'  p{at}: {{kind: openai-compatible, base_url: "{up.url}", api_key: k}}\n'
        for at, up in enumerate(ups)
    )
    deployments = "".join(f"  d{at}: {{provider: p{at}, model: m}}\n" for at in range(len(ups)))
    targets = ", ".join(f"{{deployment: d{at}}}" for at in range(len(ups)))
    return (
        f"builtin: off\nproviders:\n{providers}deployments:\n{deployments}"
        f"routes:\n  m: {{targets: [{targets}], strategy: {strategy}}}\nkeys:\n  test: {{secret: {KEY}}}\n"
    )


@contextlib.asynccontextmanager
async def several(number: int, strategy: str) -> AsyncIterator[tuple[list[Upstream], Gateway]]:
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream()) for _ in range(number)]
        yield ups, await stack.enter_async_context(gateway(config(ups, strategy)))


HI = [{"role": "user", "content": "hi"}]


def sum_of(metrics: str, name: str) -> float:
    return sum(float(line.split()[1]) for line in metrics.splitlines() if line.startswith(name))


def asked(ups: list[Upstream]) -> list[int]:
    return [len(up.requests) for up in ups]


async def say(gate: Gateway, messages: list[dict[str, Any]], **more: Any) -> str:
    answer = await gate.post("/v1/chat/completions", {"model": "m", "messages": messages, **more})
    assert answer.status == 200, answer.body
    return answer.headers["x-penstock-deployment"]


async def test_a_slow_one_gets_less() -> None:
    async with several(2, "least-loaded") as (ups, gate):
        ups[0].behaviour = {"x-test-delay-headers": "0.3"}

        async def client() -> None:
            for _ in range(10):
                await say(gate, [{"role": "user", "content": "hi"}])

        await asyncio.gather(*(client() for _ in range(4)))
        slow, fast = asked(ups)
        assert slow + fast == 40
        assert slow * 2 < fast


async def test_a_conversation_stays_where_it_was_read() -> None:
    async with several(4, "affinity") as (ups, gate):
        histories: list[list[dict[str, Any]]] = [
            [{"role": "system", "content": f"You are number {number}. {WORDS}"}] for number in range(12)
        ]
        places: list[set[str]] = [set() for _ in histories]
        for turn in range(4):
            for history, place in zip(histories, places, strict=True):
                history.append({"role": "user", "content": f"turn {turn}: {WORDS}"})
                place.add(await say(gate, history))
                history.append({"role": "assistant", "content": WORDS})
        assert [len(place) for place in places] == [1] * 12
        assert sum(asked(ups)) == 48
        metrics = (await gate.get("/metrics")).body.decode()
        share = Counter(
            line.split('replica="')[1][:2]
            for line in metrics.splitlines()
            if line.startswith("penstock_routing_decisions_total{")
        )
        assert len(share) > 1  # equals are taken in turn
        assert sum_of(metrics, "penstock_prefix_index_blocks ") > 12 * 6


async def test_what_waits_counts_against_what_is_cached() -> None:
    """Everybody shares one prompt: pure locality would send all to one."""
    async with several(3, "affinity") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-headers": "0.2"}
        shared = [{"role": "system", "content": WORDS}]
        own = [[*shared, {"role": "user", "content": f"{number} {WORDS * 3}"}] for number in range(12)]
        await asyncio.gather(*(say(gate, messages, stream=True) for messages in own))
        assert min(asked(ups)) >= 2


async def test_one_that_is_down_is_left_alone() -> None:
    async with several(3, "affinity") as (ups, gate):
        history = [{"role": "user", "content": WORDS}]
        first = int((await say(gate, history))[1:])
        ups[first].behaviour = {"x-test-status": "500"}
        for _ in range(12):
            assert await say(gate, history) != f"d{first}"
        assert len(ups[first].requests) < 8  # five failures, and it is


@pytest.mark.parametrize("strategy", ["weighted", "least-loaded", "affinity", "fastest"])
async def test_one_that_has_recovered_gets_little_at_first(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_S", 0.1)
    monkeypatch.setattr(slow_start, "LEAST", 0.0)
    async with several(2, strategy) as (ups, gate):
        ups[0].behaviour = {"x-test-status": "500"}
        while not await gate.metric("penstock_deployment_down"):
            await say(gate, HI)
        ups[0].behaviour = {}
        while await gate.metric("penstock_breaker_state"):
            await say(gate, HI)
        before = asked(ups)[0]
        for _ in range(30):
            await say(gate, HI)
        assert asked(ups)[0] - before < 10


async def test_what_was_cached_judges_the_prediction() -> None:
    async with several(2, "affinity") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-cached-tokens": "5"}
        history = [{"role": "user", "content": WORDS}]
        for _ in range(3):
            await say(gate, history)
        metrics = (await gate.get("/metrics")).body.decode()
        assert sum_of(metrics, "penstock_prefix_cached_tokens_total{") == 15
        assert 'penstock_routing_regret_tokens_total{route="m"}' in metrics


async def test_every_dialect_is_placed_by_its_prompt() -> None:
    async with several(4, "affinity") as (_, gate):
        for path, body in (
            (
                "/v1/messages",
                {"max_tokens": 9, "system": WORDS, "messages": [{"role": "user", "content": "hi"}]},
            ),
            ("/v1/responses", {"input": WORDS}),
            ("/v1/completions", {"prompt": WORDS}),
        ):
            places = set()
            for _turn in range(6):
                answer = await gate.post(path, {"model": "m", **body})
                assert answer.status == 200, answer.body
                places.add(answer.headers["x-penstock-deployment"])
            assert len(places) == 1


async def test_local_replicas_are_told_apart() -> None:
    """What a pool's replicas have read is known for each."""
    config_ = f"""
builtin: off
deployments:
  d: {{model: "builtin:chat", replicas: 2}}
routes:
  m: {{targets: [{{deployment: d}}], strategy: affinity}}
keys:
  test: {{secret: {KEY}}}
"""
    async with gateway(config_) as gate:
        for number in range(6):
            place = [{"role": "user", "content": f"{number} {WORDS[:900]}"}]
            await say(gate, place, max_tokens=2)
        metrics = (await gate.get("/metrics")).body.decode()
        assert sum_of(metrics, "penstock_routing_decisions_total{") == 6
        assert 'replica="d#' in metrics


PRICED = """
builtin: off
providers:
  openai: {{kind: openai, base_url: "{0}", api_key: k}}
  claude: {{kind: openai-compatible, base_url: "{1}", api_key: k}}
deployments:
  dear:    {{provider: openai, model: gpt-4o}}
  cheap:   {{provider: openai, model: gpt-4o-mini}}
  blind:   {{provider: openai, model: gpt-3.5-turbo}}
  unknown: {{provider: claude, model: never-heard-of}}
routes:
  m: {{targets: [{{deployment: dear}}, {{deployment: unknown}}, {{deployment: cheap}}], strategy: cheapest}}
  eyes: {{targets: [{{deployment: blind, weight: 1000}}, {{deployment: cheap}}]}}
keys:
  test: {{secret: {2}}}
"""


@contextlib.asynccontextmanager
async def priced() -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with Upstream() as up, gateway(PRICED.format(up.url, up.url, KEY)) as gate:
        yield up, gate


async def test_the_cheapest_that_is_up_answers() -> None:
    async with priced() as (up, gate):
        for _ in range(5):
            assert await say(gate, HI) == "cheap"
        up.behaviour = {"x-test-status": "500"}
        answer = await gate.post("/v1/chat/completions", {"model": "m", "messages": HI})
        assert answer.status == 503
        assert [request.body["model"] for request in up.requests[5:]] == [
            "gpt-4o-mini",
            "gpt-4o",
            "never-heard-of",  # of unknown price: last
        ]


async def test_who_cannot_see_is_shown_no_images() -> None:
    async with priced() as (_, gate):
        url = "data:image/png;base64,iVBORw0KGgo="
        picture = [{"type": "image_url", "image_url": {"url": url}}]
        for _ in range(8):
            body = {"model": "eyes", "messages": [{"role": "user", "content": picture}]}
            answer = await gate.post("/v1/chat/completions", body)
            assert answer.headers["x-penstock-deployment"] == "cheap"
        plain = await gate.post("/v1/chat/completions", {"model": "eyes", "messages": HI})
        assert plain.headers["x-penstock-deployment"] == "blind"


async def test_the_fastest_gets_nearly_all() -> None:
    async with several(3, "fastest") as (ups, gate):
        for up, delay in zip(ups, ("0.05", "0.001", "0.05"), strict=True):
            up.behaviour = {"x-test-delay-headers": delay}
        for _ in range(40):
            await say(gate, HI)
        assert len(ups[1].requests) >= 30
        assert all(up.requests for up in ups)


@pytest.mark.parametrize("strategy", ["weighted", "least-loaded", "affinity", "cheapest", "fastest"])
async def test_who_cannot_do_what_is_asked_is_not_chosen_for_it(strategy: str) -> None:
    async with Upstream() as one, Upstream() as other:
        text = config([one, other], strategy).replace(
            "d0: {provider: p0, model: m}", "d0: {provider: p0, model: m, operations: [chat]}"
        )
        async with gateway(text) as gate:
            for _ in range(12):
                answer = await gate.post("/v1/completions", {"model": "m", "prompt": "hi"})
                assert (answer.status, answer.headers["x-penstock-deployment"]) == (200, "d1")
            assert (await gate.post("/v1/completions", {"model": "d0", "prompt": "hi"})).status == 400
