"""Small requests sent as one, through the whole gateway: what the upstream sees, what each client gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gateways import KEY, Answer, Gateway, gateway

from penstock.lib import http1, tasks
from penstock.testing.double import Double
from penstock.testing.tei import TEIDouble
from penstock.testing.tiny import make_encoder
from penstock.testing.upstream import Upstream

EMBED, RERANK = "/v1/embeddings", "/v2/rerank"
SLOW = {"x-test-delay-headers": "0.5"}
PAIRS = "{window: 1s, texts: 2}"
LONG = "{window: 1s}"  # what waits goes when the slow one has landed


def before(up: Double, batching: str, *, kind: str = "openai-compatible", routes: str = "") -> Any:
    return gateway(
        f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{up.url}"}}
deployments:
  m: {{provider: up, model: m-1, batching: {batching}}}
  single: {{provider: up, model: m-1}}
keys:
  test: {{secret: {KEY}}}
{routes}
"""
    )


def ask(*texts: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(texts), "encoding_format": "float", **more}


@asynccontextmanager
async def in_flight(gate: Gateway, up: Double, path: str, body: Any) -> AsyncIterator[asyncio.Task[Answer]]:
    """A request that the upstream takes its time for."""
    up.plan.append(SLOW)
    seen = len(up.requests)
    async with asyncio.TaskGroup() as group:
        first = tasks.spawn(group, gate.post(path, body), "first")
        await until(lambda: len(up.requests) > seen)
        yield first


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.002)


async def test_what_arrives_together_is_sent_as_one_and_answered_as_ever() -> None:
    async with Upstream() as up, before(up, LONG) as gate:
        asked = [ask("one"), ask("two", "and three"), ask("four", model="single"), ask("five", dimensions=4)]
        alone = [await gate.post(EMBED, body) for body in asked]
        up.requests.clear()
        async with in_flight(gate, up, EMBED, ask("zero")):
            together = await asyncio.gather(*(gate.post(EMBED, body) for body in asked))
        inputs = sorted(one.body["input"] for one in up.requests)
        assert sorted(map(sorted, inputs)) == sorted(
            map(sorted, [["zero"], ["one", "two", "and three"], ["four"], ["five"]])
        )
        for one, other in zip(alone, together, strict=True):
            assert one.json["data"] == other.json["data"]
            assert one.json["usage"].keys() == other.json["usage"].keys()
        assert sum(one.json["usage"]["prompt_tokens"] for one in together[:2]) == 4
        assert [one.headers["x-penstock-attempts"] for one in together] == ["1"] * 4
        assert await gate.metric("penstock_batch_requests_sum", 'deployment="m"') == 7
        assert await gate.metric("penstock_batch_requests_sum", "single") == 0
        assert await gate.settled("penstock_tokens_total", 'kind="prompt"', at_least=13) == 13


async def test_rerank_with_the_same_query() -> None:
    async with Upstream() as up, before(up, LONG) as gate:
        asked = [
            {"model": "m", "query": "hot tea", "documents": documents, "top_n": top_n}
            for documents, top_n in ((["cold water", "hot tea"], 1), (["tea", "hot hot", "hot tea now"], 5))
        ]
        other = {"model": "m", "query": "cold", "documents": ["cold water"]}
        alone = [await gate.post(RERANK, body) for body in [*asked, other]]
        up.requests.clear()
        async with in_flight(gate, up, RERANK, {**asked[0], "documents": ["zero"]}):
            together = await asyncio.gather(*(gate.post(RERANK, body) for body in [*asked, other]))
        assert [one.json["results"] for one in alone] == [one.json["results"] for one in together]
        assert sorted(len(one.body["documents"]) for one in up.requests) == [1, 1, 5]


async def test_one_bad_text_is_its_owner_s_alone() -> None:
    async with TEIDouble() as up, before(up, LONG, kind="tei") as gate:
        async with in_flight(gate, up, EMBED, ask("zero")):
            good, bad, fine = await asyncio.gather(
                *(gate.post(EMBED, ask(text)) for text in ("a", "word " * 600, "b"))
            )
        assert (good.status, fine.status) == (200, 200)
        assert bad.error[0] == 413
        assert [len(one.body["input"]) for one in up.requests] == [1, 3, 1, 1, 1]
        assert await gate.metric("penstock_batches_refused_total") == 1


async def test_each_fails_over_as_its_own_route_says() -> None:
    routes = """
routes:
  safe: {targets: [{deployment: m}], fallbacks: [single]}
"""
    async with Upstream() as up, before(up, LONG, routes=routes) as gate:
        async with in_flight(gate, up, EMBED, ask("zero")):
            up.plan.append({"x-test-status": "500"})
            answers = await asyncio.gather(
                gate.post(EMBED, ask("a")), gate.post(EMBED, ask("b", model="safe"))
            )
        assert [one.status for one in answers] == [502, 200]
        assert answers[1].headers["x-penstock-deployment"] == "single"
        assert answers[1].headers["x-penstock-attempts"] == "2"


async def test_a_failed_batch_is_one_failure_of_its_target() -> None:
    routes = """
routes:
  safe: {targets: [{deployment: m}], fallbacks: [single]}
"""
    async with Upstream() as up, before(up, "{window: 1s, texts: 8}", routes=routes) as gate:
        for _ in range(5):
            assert await gate.metric("penstock_deployment_down") == 0
            async with in_flight(gate, up, EMBED, ask("zero")):
                up.plan.append({"x-test-status": "500"})
                asked = (gate.post(EMBED, ask(str(at), model="safe")) for at in range(8))
                statuses = {one.status for one in await asyncio.gather(*asked)}
                assert statuses <= {200, 502}  # further attempts have a budget
        assert await gate.metric("penstock_deployment_down", '"m"') == 1


async def test_who_leaves_does_not_take_the_others_along() -> None:
    async with Upstream() as up, before(up, PAIRS) as gate, http1.Client() as other:
        async with in_flight(gate, up, EMBED, ask("zero")) as first:
            up.plan.append(SLOW)
            owner: tasks.Tasks = set()
            headers = [("authorization", f"Bearer {KEY}")]
            body = b'{"model": "m", "input": "leaves"}'
            leaver = tasks.spawn(owner, other.request(gate.origin, "POST", EMBED, headers, body), "leaver")
            stays = tasks.spawn(owner, gate.post(EMBED, ask("stays")), "stays")
            await until(lambda: len(up.requests) == 2)
            assert sorted(up.requests[1].body["input"]) == ["leaves", "stays"]
            leaver.cancel()
            answer = await stays
            assert answer.status == 200
            assert up.requests[1].cancelled_at is None
            assert (await first).status == 200
        assert await gate.settled("penstock_requests_total", 'code="client_left"', at_least=1) == 1


async def test_when_all_have_left_the_upstream_is_let_go() -> None:
    async with Upstream() as up, before(up, PAIRS) as gate:
        up.behaviour = {"x-test-delay-headers": "20"}
        owner: tasks.Tasks = set()
        asked = [tasks.spawn(owner, gate.open(EMBED, ask(text)), "client") for text in ("zero", "a", "b")]
        await until(lambda: len(up.requests) == 2)
        for one in asked:
            one.cancel()
        await until(lambda: all(one.cancelled_at is not None for one in up.requests))


async def test_the_route_s_total_holds_for_who_waited() -> None:
    routes = "routes:\n  m: {targets: [{deployment: m}], timeouts: {total: 1s}}"
    async with Upstream() as up, before(up, "{window: 900ms}", routes=routes) as gate:
        up.behaviour = {"x-test-delay-headers": "20"}
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(gate.post(EMBED, ask(text)) for text in ("zero", "a", "b")))
        took = asyncio.get_running_loop().time() - began
        assert [one.error[:2] for one in answers] == [(504, "upstream_timeout")] * 3
        assert len(up.requests) == 2
        assert took < 1.7  # not the window on top


@pytest.mark.e2e
@pytest.mark.timeout(60)
async def test_an_engine_on_this_machine_batches_unasked(tmp_path: Any) -> None:
    await asyncio.to_thread(lambda: make_encoder(tmp_path / "m"))
    config = f"""
builtin: off
deployments:
  m: {{model: "file:{tmp_path / "m"}", operations: [embedding]}}
  single: {{model: "file:{tmp_path / "m"}", operations: [embedding], batching: off}}
keys:
  test: {{secret: {KEY}}}
"""
    async with gateway(config) as gate:
        texts = [f"water {at}" for at in range(40)]
        together = await asyncio.gather(*(gate.post(EMBED, ask(text)) for text in texts))
        whole = (await gate.post(EMBED, ask(*texts, model="single"))).json["data"]
        for at, answer in enumerate(together):
            found, wanted = answer.json["data"][0]["embedding"], whole[at]["embedding"]
            assert found == pytest.approx(wanted, abs=1e-5)
        sent = await gate.metric("penstock_batch_requests_count")
        assert sent < len(texts)
        assert await gate.metric("penstock_batch_requests_sum") == len(texts)
