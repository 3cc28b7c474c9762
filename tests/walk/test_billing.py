"""What calls cost, through the whole gateway: headers, the stream's last event, the log, the metrics."""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateways import KEY, Answer, Gateway, chat, gateway, remote

from penstock.lib import http1, tasks
from penstock.telemetry import log
from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.gemini import GeminiDouble
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"
PRICES = "prices: {models: {m: {input: $0.15/1M, output: $0.60/1M, cached: $0.075/1M}}}"
USED = {"x-test-prompt-tokens": "1000", "x-test-tokens": "200"}
COST = "0.00027"  # 1,000 * 0.15 + 200 * 0.60
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}

Lines = Callable[[], Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def logged() -> Iterator[Lines]:
    """The lines so far; to be asked once."""
    stream = io.StringIO()
    writer = log.configure("info", stream=stream)

    async def lines() -> list[dict[str, Any]]:
        await asyncio.to_thread(writer.close)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield lines
    writer.close()
    log.configure("error", stream=io.StringIO()).close()


def two(one: str, other: str, route: str, kind: str = "openai-compatible") -> str:
    """Targets a and b: of a, a token costs 1 USD per million, of b 2."""
    return f"""
builtin: off
providers:
  one: {{kind: {kind}, base_url: "{one}", api_key: k1}}
  two: {{kind: {kind}, base_url: "{other}", api_key: k2}}
deployments:
  a: {{provider: one, model: a-1}}
  b: {{provider: two, model: b-1}}
routes:
  m: {route}
prices:
  models:
    a: {{input: $1/1M, output: $1/1M}}
    two/*: {{input: $2/1M, output: $2/1M}}
keys:
  test: {{secret: {KEY}}}
"""


async def cost(gate: Gateway, *parts: str) -> Decimal:
    """USD, of all that is over."""
    while await gate.metric("penstock_requests_in_flight") > 0:
        await asyncio.sleep(0.005)
    return round(Decimal(await gate.metric(*(parts or ("penstock_cost_usd_total",)))), 12).normalize()


async def left_after(gate: Gateway, events: int, **more: Any) -> None:
    """A client that leaves in the middle of a stream."""
    response = await gate.open(CHAT, chat(stream=True, **more))
    seen = 0
    while seen < events:
        seen += (await response.read_some()).count(b"data: ")
    response.close()


def usage_chunk(answer: Answer) -> Any:
    return answer.events[-2]


async def test_a_whole_answer_says_what_it_cost(logged: Lines) -> None:
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate:
        up.behaviour = USED
        answer = await gate.post(CHAT, chat())
        assert answer.headers["x-penstock-cost-usd"] == COST
        up.behaviour = USED | {"x-test-cached-tokens": "600"}
        answer = await gate.post(CHAT, chat())
        assert answer.headers["x-penstock-cost-usd"] == "0.000225"  # 400 * 0.15 + 600 * 0.075 + 120
        assert await cost(gate, "penstock_cost_usd_total", 'route="m"', 'deployment="m"') == Decimal(
            "0.000495"
        )
        assert await gate.metric("penstock_cost_unknown_total") == 0
    first, second = (line for line in await logged() if line["event"] == "call" and line["path"] == CHAT)
    assert (first["cost_usd"], second["cost_usd"]) == (0.00027, 0.000225)
    assert first["price"] == second["price"]
    assert first["price"].startswith("config-")
    assert not {"wasted_usd", "usage_estimated"} & first.keys()


async def test_a_stream_says_it_in_its_last_chunk_to_who_asks_for_usage() -> None:
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate:
        up.behaviour = USED
        answer = await gate.post(CHAT, chat(**WITH_USAGE))
        assert usage_chunk(answer)["penstock"] == {"cost_usd": float(COST)}
        assert usage_chunk(answer)["usage"]["total_tokens"] == 1200
        assert b"penstock" not in (await gate.post(CHAT, chat(stream=True))).body
        body = {"model": "m", "prompt": "hi", **WITH_USAGE}
        answer = await gate.post("/v1/completions", body)
        assert usage_chunk(answer)["penstock"] == {"cost_usd": float(COST)}
        assert await cost(gate) == 3 * Decimal(COST)


async def test_other_dialects_cost_the_same() -> None:
    async with AnthropicDouble() as up:
        prices = (
            "prices: {models: {m: {input: $3/1M, output: $15/1M, cached: $0.3/1M, cache_write: $3.75/1M}}}"
        )
        config = remote(f"{up.url}/v1", prices).replace("openai-compatible", "anthropic")
        async with gateway(config) as gate:
            for path, body in (
                (CHAT, chat()),
                ("/v1/messages", chat(max_tokens=100)),
                (
                    "/v1beta/models/m:generateContent",
                    {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
                ),
            ):
                before = await cost(gate)
                answer = await gate.post(path, body)
                assert answer.status == 200, answer.body
                used = {
                    kind: await gate.metric("penstock_tokens_total", f'kind="{kind}"')
                    for kind in ("prompt", "completion")
                }
                assert await cost(gate) - before == Decimal(answer.headers["x-penstock-cost-usd"]) > 0
            assert await cost(gate) == round(
                Decimal(used["prompt"] * 3 + used["completion"] * 15) / 10**6, 12
            )
            answer = await gate.post("/v1/messages/count_tokens", chat())
            assert answer.headers["x-penstock-cost-usd"] == "0"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_an_answer_without_usage_is_estimated_and_told_as_it_is_booked(path: str, stream: bool) -> None:
    more = {"stream": True} if path == "/v1/messages" else WITH_USAGE
    body = chat(max_tokens=100) | (more if stream else {})
    async with GeminiDouble(behaviour={"x-test-no-usage": "1", "x-test-tokens": "40"}) as up:
        config = remote(f"{up.url}/v1beta", PRICES).replace("openai-compatible", "gemini")
        async with gateway(config.replace("upstream-model", "gemini-2.0-flash")) as gate:
            answer = await gate.post(path, body)
            assert answer.status == 200, answer.body
            said = answer.body[answer.body.rindex(b'"usage') :].decode()
            paid = await cost(gate)
            prompt = int(await gate.metric("penstock_tokens_total", 'kind="prompt"'))
            completion = int(await gate.metric("penstock_tokens_total", 'kind="completion"'))
            assert prompt > 0
            assert completion > 20
            assert {prompt, completion} <= {int(number) for number in re.findall(r":\s*([0-9]+)", said)}
            assert paid == Decimal(prompt * 150_000 + completion * 600_000) / 10**12
            assert await gate.metric("penstock_cost_unknown_total") == 0


async def test_a_stream_that_ends_before_its_usage_is_estimated() -> None:
    """Some servers end where the last finish_reason is, without usage and [DONE]."""
    behaviour = {"x-test-tokens": "7", "x-test-truncate": "9"}
    async with Upstream(behaviour=behaviour) as up, gateway(remote(up.url, PRICES)) as gate:
        answer = await gate.post(CHAT, chat(**WITH_USAGE))
        last = usage_chunk(answer)
        assert last["usage"]["completion_tokens"] == 7
        assert round(Decimal(repr(last["penstock"]["cost_usd"])), 12) == await cost(gate) > 0
        assert await gate.metric("penstock_tokens_total", 'kind="completion"') == 7


async def test_what_is_not_known_is_said_and_not_zero(logged: Lines) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        for body in (chat(), chat(), chat(**WITH_USAGE)):
            answer = await gate.post(CHAT, body)
            assert answer.status == 200
            assert "x-penstock-cost-usd" not in answer.headers
            assert b"cost_usd" not in answer.body
        assert await cost(gate) == 0
        assert await gate.metric("penstock_cost_unknown_total", 'deployment="m"', 'route="m"') == 3
    lines = await logged()
    (warned,) = (line for line in lines if line["event"] == "cost unknown")
    assert (warned["level"], warned["deployment"]) == ("warning", "m")
    assert "prices.models" in warned["detail"]
    assert all("cost_usd" not in line for line in lines)


async def test_a_price_that_lacks_what_was_used_is_not_known_either(logged: Lines) -> None:
    config = "prices: {models: {m: {input: $1/1M, audio_output: $1/1M}}}"
    async with Upstream() as up, gateway(remote(up.url, config)) as gate:
        up.behaviour = USED
        answer = await gate.post(CHAT, chat())
        assert "x-penstock-cost-usd" not in answer.headers
    (warned,) = (line for line in await logged() if line["event"] == "cost unknown")
    assert "lacks output;" in warned["detail"]


async def test_calls_without_a_price_are_refused_where_that_is_wanted() -> None:
    async with Upstream() as up:
        config = f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{up.url}", api_key: k, models: "*"}}
deployments:
  m: {{provider: up, model: m-1}}
  priced: {{provider: up, model: m-2}}
  half: {{provider: up, model: m-3}}
  vectors: {{provider: up, model: m-4, operations: [embedding]}}
routes:
  both: {{targets: [{{deployment: m}}, {{deployment: priced}}]}}
  spare: {{targets: [{{deployment: m}}], fallbacks: [priced]}}
  none: {{targets: [{{deployment: m}}], fallbacks: [half]}}
prices:
  unknown: refuse
  models:
    priced: {{input: $1/1M, output: $2/1M}}
    half: {{input: $1/1M}}
    vectors: {{input: $1/1M}}
    up/wild: free
keys:
  test: {{secret: {KEY}}}
  other: {{secret: sk-other, routes: [priced]}}
"""
        async with gateway(config) as gate:
            for name in ("m", "half", "none", "up/unknown"):
                answer = await gate.post(CHAT, chat() | {"model": name})
                assert answer.error == (403, "price_unknown", "model"), name
                other = {"authorization": "Bearer sk-other"}
                answer = await gate.post(CHAT, chat() | {"model": name}, headers=other)
                assert answer.error == (404, "model_not_found", "model")
            assert (await gate.post("/v1/messages", chat(max_tokens=9))).status == 403
            assert not up.requests
            for name in ("priced", "both", "spare", "up/wild"):
                answer = await gate.post(CHAT, chat() | {"model": name})
                assert answer.status == 200, name
                assert "x-penstock-cost-usd" in answer.headers
            assert {request.body["model"] for request in up.requests} == {"m-2", "wild"}
            answer = await gate.post("/v1/embeddings", {"model": "vectors", "input": "x"})
            assert Decimal(answer.headers["x-penstock-cost-usd"]) > 0
            assert (await gate.post(CHAT, chat() | {"model": "no-such"})).status == 404
            listed = {row["id"] for row in (await gate.get("/v1/models")).json["data"]}
            assert listed == {"priced", "vectors", "both", "spare"}


async def test_a_client_that_leaves_pays_what_it_got(logged: Lines) -> None:
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate:
        up.behaviour = {"x-test-tokens": "1000", "x-test-delay-between": "0.005"}
        await left_after(gate, 12, messages=[{"role": "user", "content": "word " * 400}])
        paid = await cost(gate)
        prompt = await gate.metric("penstock_tokens_total", 'kind="prompt"')
        said = await gate.metric("penstock_tokens_total", 'kind="completion"')
        assert 400 <= prompt <= 600
        assert 11 <= said < 100
        assert paid == round((Decimal(prompt) * 150_000 + Decimal(said) * 600_000) / 10**12, 12).normalize()
        assert await gate.metric("penstock_cost_wasted_usd_total") == 0
    (line,) = (line for line in await logged() if line["event"] == "call" and line["path"] == CHAT)
    assert line["client_left"]
    assert line["usage_estimated"]
    assert line["cost_usd"] == float(paid)


async def test_an_image_in_an_estimated_prompt_is_not_text() -> None:
    parts = [
        {"type": "text", "text": "word " * 40},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 400_000}"}},
    ]
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate:
        up.behaviour = {"x-test-tokens": "1000", "x-test-delay-between": "0.005"}
        await left_after(gate, 3, messages=[{"role": "user", "content": parts}])
        await cost(gate)
        assert await gate.metric("penstock_tokens_total", 'kind="prompt"') < 200


async def test_a_stream_that_breaks_costs_what_was_delivered() -> None:
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate:
        up.behaviour = {"x-test-tokens": "1000", "x-test-cut": "20", "x-test-delay-between": "0.001"}
        answer = await gate.post(CHAT, chat(stream=True))
        assert answer.events[-1]["error"]["code"] == "upstream_cut"
        delivered = len(answer.events) - 2  # the first says who speaks, the last what went wrong
        assert await gate.metric("penstock_tokens_total", 'kind="completion"') == delivered
        assert await cost(gate) >= Decimal(delivered) * 600_000 / 10**12
        up.behaviour = {"x-test-status": "500"}
        before = await cost(gate)
        assert (await gate.post(CHAT, chat())).status == 502
        assert await cost(gate) == before


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_client_pays_the_target_that_answered(stream: bool) -> None:
    async with Upstream() as one, Upstream() as other:
        route = "{targets: [{deployment: a}], fallbacks: [b]}"
        async with gateway(two(one.url, other.url, route)) as gate:
            one.behaviour, other.behaviour = {"x-test-status": "500"}, USED
            await gate.post(CHAT, chat(stream=stream))
            assert await cost(gate) == Decimal("0.0024")
            assert await cost(gate, "penstock_cost_usd_total", 'deployment="b"') == Decimal("0.0024")
            assert await gate.metric("penstock_cost_wasted_usd_total") == 0


async def test_who_was_slower_is_wasted_and_not_the_client_s(logged: Lines) -> None:
    async with Upstream() as one, Upstream() as other:
        route = "{targets: [{deployment: a, weight: 1000000}, {deployment: b, weight: 0.000001}], hedge: "
        route += "{after: 50ms, share: 0.5}}"
        async with gateway(two(one.url, other.url, route)) as gate:
            one.behaviour, other.behaviour = USED | {"x-test-delay-first": "5"}, USED
            answer = await gate.post(CHAT, chat("word " * 400))
            assert answer.headers["x-penstock-cost-usd"] == "0.0024"
            assert await cost(gate) == Decimal("0.0024")
            wasted = await cost(gate, "penstock_cost_wasted_usd_total", 'deployment="a"')
            assert Decimal("0.0004") <= wasted <= Decimal("0.0006")
            assert await gate.metric("penstock_cost_wasted_usd_total") == float(wasted)
    (line,) = (line for line in await logged() if line["event"] == "call" and line["path"] == CHAT)
    assert (line["cost_usd"], line["wasted_usd"]) == (0.0024, float(wasted))


async def test_an_answer_that_was_asked_for_again_is_wasted() -> None:
    async with Upstream() as up:
        config = remote(up.url, PRICES).replace("openai-compatible", "deepseek")
        async with gateway(config) as gate:
            schema = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
            wanted = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
            used = {"x-test-prompt-tokens": "1000"}
            bad, good = ({"x-test-tool-call": f"it:{said}", **used} for said in ("{}", '{"x": 1}'))
            up.plan.extend([bad, good])
            answer = await gate.post(CHAT, chat(response_format=wanted))
            assert answer.headers["x-penstock-attempts"] == "2"
            assert await cost(gate) == Decimal(answer.headers["x-penstock-cost-usd"])
            assert await cost(gate, "penstock_cost_wasted_usd_total") > Decimal("0.00015")
            up.plan.extend([bad, bad])
            paid, told = await cost(gate), await gate.metric("penstock_tokens_total")
            assert (await gate.post(CHAT, chat(response_format=wanted))).status == 502
            assert await cost(gate) == paid
            assert await gate.metric("penstock_tokens_total") == told


async def test_the_parts_of_a_batch_cost_what_it_costs() -> None:
    async with Upstream() as up:
        prices = "prices: {models: {m: {input: $1/1M}}}"
        config = remote(up.url, prices).replace(
            "upstream-model}", "upstream-model, batching: {window: 50ms}}"
        )
        async with gateway(config) as gate, asyncio.TaskGroup() as group:
            ask = {"model": "m", "input": "one two three"}
            up.plan.append({"x-test-delay-headers": "0.3"})
            first = tasks.spawn(group, gate.post("/v1/embeddings", ask), "first")
            while not up.requests:
                await asyncio.sleep(0.002)
            others = await asyncio.gather(*(gate.post("/v1/embeddings", ask) for _ in range(3)))
            answers = [await first, *others]
            assert len(up.requests) == 2
            paid = [Decimal(answer.headers["x-penstock-cost-usd"]) for answer in answers]
            used = sum(answer.json["usage"]["prompt_tokens"] for answer in answers)
            assert sum(paid) == Decimal(used) / 10**6 == await cost(gate)


async def test_who_leaves_a_batch_pays_nothing_and_its_part_is_wasted() -> None:
    async with Upstream() as up:
        prices = "prices: {models: {m: {input: $1/1M}}}"
        config = remote(up.url, prices).replace(
            "upstream-model}", "upstream-model, batching: {window: 50ms}}"
        )
        async with gateway(config) as gate, asyncio.TaskGroup() as group, http1.Client() as other:

            def ask(text: str) -> dict[str, Any]:
                return {"model": "m", "input": text}

            up.behaviour = {"x-test-delay-headers": "0.3"}
            first = tasks.spawn(group, gate.post("/v1/embeddings", ask("first")), "first")
            while not up.requests:
                await asyncio.sleep(0.002)
            stays = tasks.spawn(group, gate.post("/v1/embeddings", ask("stays here")), "stays")
            headers = [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
            body = json.dumps(ask("leaves here")).encode()
            leaver = tasks.spawn(
                group, other.request(gate.origin, "POST", "/v1/embeddings", headers, body), "leaver"
            )
            while len(up.requests) < 2:
                await asyncio.sleep(0.002)
            assert sorted(up.requests[1].body["input"]) == ["leaves here", "stays here"]
            await tasks.cancel_and_wait(leaver)
            paid = [Decimal((await answer).headers["x-penstock-cost-usd"]) for answer in (first, stays)]
            assert await cost(gate) == sum(paid) == Decimal("0.000003")
            assert await cost(gate, "penstock_cost_wasted_usd_total") == Decimal("0.000002")


async def test_a_search_has_a_price() -> None:
    async with Upstream() as up:
        prices = "prices: {models: {m: {input: $0/1M, query: $2/1k}}}"
        async with gateway(remote(up.url, prices)) as gate:
            body = {"model": "m", "query": "q", "documents": ["a", "b"]}
            answer = await gate.post("/v2/rerank", body)
            assert answer.headers["x-penstock-cost-usd"] == "0.002"


async def test_a_search_is_not_shared() -> None:
    """Of one for three callers, two would have cost nothing that is known."""
    async with Upstream() as up:
        prices = "prices: {models: {m: {query: $2/1k}}}"
        config = remote(up.url, prices).replace(
            "upstream-model}", "upstream-model, batching: {window: 50ms}}"
        )
        async with gateway(config) as gate, asyncio.TaskGroup() as group:
            body = {"model": "m", "query": "q", "documents": ["a", "b"]}
            up.plan.append({"x-test-delay-headers": "0.3"})
            first = tasks.spawn(group, gate.post("/v2/rerank", body), "first")
            while not up.requests:
                await asyncio.sleep(0.002)
            others = await asyncio.gather(*(gate.post("/v2/rerank", body) for _ in range(3)))
            costs = {answer.headers["x-penstock-cost-usd"] for answer in (await first, *others)}
            assert (costs, len(up.requests)) == ({"0.002"}, 4)


async def test_our_own_models_are_free_unless_they_have_a_price() -> None:
    config = "builtin: on\nkeys: {test: {secret: " + KEY + "}}\n"
    ask = {"model": "builtin:embedding", "input": "hello"}
    async with gateway(config) as gate:
        answer = await gate.post("/v1/embeddings", ask)
        assert answer.headers["x-penstock-cost-usd"] == "0"
    async with gateway(config + "prices: {models: {'builtin:embedding': {input: $1/1k}}}") as gate:
        answer = await gate.post("/v1/embeddings", ask)
        tokens = answer.json["usage"]["prompt_tokens"]
        assert Decimal(answer.headers["x-penstock-cost-usd"]) == Decimal(tokens) / 1000
