"""Routes by difficulty: who is asked first, and whose answer is not given."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateways import KEY, Answer, Gateway, gateway

from penstock.gateway.difficulty import CLASSIFIED
from penstock.routing.difficulty import features_of, score
from penstock.routing.examples import scale_of
from penstock.telemetry import log
from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.double import Double
from penstock.testing.gemini import GeminiDouble
from penstock.testing.ollama import OllamaDouble
from penstock.testing.responses import ResponsesDouble
from penstock.testing.upstream import DEFAULT_TEXT, Upstream
from penstock.types.conversation import Conversation, TextPart, Turn
from penstock.types.deployment import Level
from prompts import EASY, EASY_EXAMPLES, HARD, HARD_EXAMPLES

EASY_ONE, HARD_ONE = "What is the capital of Portugal?", "Prove step by step that x^2 >= 0."
SORRY = "I'm sorry, but I can't help with that."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
GOOD = '{"city": "Rome"}'


def config(
    ups: list[Double], levels: tuple[Level, ...], more: str = "{}", *, kind: str = "", route: str = ""
) -> str:
    """`kind`: of the first provider."""
    path = {"anthropic": "/v1", "gemini": "/v1beta"}.get(kind, "")
    urls = [f"{ups[0].url}{path}", *(up.url for up in ups[1:])]
    kinds = [kind or "openai-compatible", *["openai-compatible"] * (len(ups) - 1)]
    providers = "".join(
        f'  p{at}: {{kind: {kind}, base_url: "{url}", api_key: k}}\n'
        for at, (kind, url) in enumerate(zip(kinds, urls, strict=True))
    )
    deployments = "".join(f"  {level}: {{provider: p{at}, model: m}}\n" for at, level in enumerate(levels))
    targets = ", ".join(f"{{deployment: {level}, when: {level}}}" for level in levels)
    return (
        f"builtin: off\nproviders:\n{providers}deployments:\n{deployments}"
        f"routes:\n  m: {{targets: [{targets}], strategy: difficulty, difficulty: {more}{route}}}\n"
        f"keys:\n  test: {{secret: {KEY}}}\n"
    )


@contextlib.asynccontextmanager
async def smart(
    *levels: Level, more: str = "{}", route: str = ""
) -> AsyncIterator[tuple[list[Upstream], Gateway]]:
    levels = levels or ("easy", "hard")
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream()) for _ in levels]
        made = config([*ups], levels, more, route=route)
        yield ups, await stack.enter_async_context(gateway(made))


async def ask(gate: Gateway, text: str = EASY_ONE, level: str = "", **more: Any) -> Answer:
    headers = {"x-penstock-difficulty": level} if level else {}
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return await gate.post("/v1/chat/completions", body, headers=headers)


def text_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    content: str = answer.json["choices"][0]["message"]["content"]
    return content


def streamed(answer: Answer) -> str:
    chunks = [event for event in answer.events if event != "[DONE]" and event.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


# -- who is asked first


async def test_by_how_hard_it_looks() -> None:
    async with smart("easy", "medium", "hard") as (_, gate):
        for text, level, said in (
            (EASY_ONE, "easy", "0.00 easy"),
            ("Compare cats and dogs.", "medium", "0.30 medium; reasoning=0.30"),
            (HARD_ONE, "hard", "1.00 hard; reasoning=0.60, maths=0.40"),
        ):
            answer = await ask(gate, text)
            assert answer.headers["x-penstock-deployment"] == level
            assert answer.headers["x-penstock-difficulty"] == said
            assert await gate.metric("penstock_difficulty_decisions_total{", f'level="{level}"') == 1
        stream = await ask(gate, HARD_ONE, stream=True)
        assert stream.headers["x-penstock-difficulty"] == "1.00 hard; reasoning=0.60, maths=0.40"


async def test_the_client_may_say_it_itself() -> None:
    async with smart() as (ups, gate):
        for text, level, chosen in ((EASY_ONE, "Hard", "hard"), (HARD_ONE, "easy", "easy")):
            answer = await ask(gate, text, level)
            assert answer.headers["x-penstock-deployment"] == chosen
            assert answer.headers["x-penstock-difficulty"] == f"{chosen}; asked"
        assert (await ask(gate, level="medium")).headers["x-penstock-deployment"] == "hard"  # the next harder
        asked = sum(len(up.requests) for up in ups)
        wrong = await ask(gate, level="harder")
        assert wrong.error == (400, "invalid_request", "x-penstock-difficulty")
        assert sum(len(up.requests) for up in ups) == asked


async def test_what_is_no_chat_goes_by_weight() -> None:
    async with smart() as (ups, gate):
        for _ in range(40):
            answer = await gate.post("/v1/embeddings", {"model": "m", "input": HARD_ONE})
            assert answer.status == 200
            assert "x-penstock-difficulty" not in answer.headers
        assert all(up.requests for up in ups)
        body = {"model": "m", "messages": [{"role": "user", "content": EASY_ONE}]}
        counted = await gate.post("/v1/messages/count_tokens", body)
        assert counted.status == 200


async def test_who_is_down_is_stood_in_for_by_the_harder_then_the_easier() -> None:
    async with smart("easy", "medium", "hard") as (ups, gate):
        ups[1].behaviour = {"x-test-status": "500"}
        for _ in range(5):
            assert (await ask(gate, level="medium")).headers["x-penstock-deployment"] == "hard"
        ups[1].requests.clear()
        assert (await ask(gate, level="medium")).headers["x-penstock-attempts"] == "1"
        assert not ups[1].requests
        ups[2].behaviour = {"x-test-status": "500"}
        assert (await ask(gate, level="medium")).headers["x-penstock-deployment"] == "easy"


@contextlib.asynccontextmanager
async def logged() -> AsyncIterator[list[dict[str, Any]]]:
    """The lines of the log, once it is over."""
    out, lines = io.StringIO(), list[dict[str, Any]]()
    writer = await asyncio.to_thread(log.configure, "info", stream=out)
    try:
        yield lines
    finally:
        after = await asyncio.to_thread(log.configure, "error", stream=io.StringIO())
        for one in (after, writer):
            await asyncio.to_thread(one.close)
        lines += [json.loads(line) for line in out.getvalue().splitlines()]


async def test_the_log_says_it() -> None:
    async with logged() as lines, smart() as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        await ask(gate)
        await gate.settled("penstock_requests_total", at_least=1)
    (escalated,) = [line for line in lines if line["event"] == "answer escalated"]
    assert (escalated["deployment"], escalated["verdict"], escalated["next"]) == ("easy", "refusal", "hard")
    (call,) = [line for line in lines if line["event"] == "call"]
    assert call["difficulty"] == "0.00 easy; escalated=refusal"


# -- whose answer is not given


@pytest.mark.parametrize(
    ("behaviour", "asked", "verdict"),
    [
        ({"x-test-content": SORRY}, {}, "refusal"),
        ({"x-test-finish": "content_filter"}, {}, "refusal"),
        ({"x-test-content": "Rome."}, {"response_format": WANTED}, "schema"),
        ({"x-test-content": '{"town": "Rome"}'}, {"response_format": WANTED}, "schema"),
        ({"x-test-content": '{"town": "Rome"}'}, {"response_format": WANTED, "n": 2}, "schema"),
        ({"x-test-content": "[1]"}, {"response_format": {"type": "json_object"}}, "schema"),
        ({"x-test-content": "Rome."}, {"logprobs": True}, "logprob"),
    ],
)
async def test_an_answer_that_is_not_good_enough(
    behaviour: dict[str, str], asked: dict[str, Any], verdict: str
) -> None:
    more = "{escalate: [schema, refusal, logprob], min_logprob: -0.1}"
    async with smart(more=more) as (ups, gate):
        ups[0].behaviour = behaviour
        ups[1].behaviour = {"x-test-content": GOOD}
        answer = await ask(gate, **asked)
        assert text_of(answer) == GOOD
        assert answer.headers["x-penstock-deployment"] == "hard"
        assert answer.headers["x-penstock-attempts"] == "2"
        assert answer.headers["x-penstock-difficulty"].endswith(f"; escalated={verdict}")
        assert await gate.metric("penstock_difficulty_escalations_total{", f'reason="{verdict}"') == 1
        assert await gate.metric("penstock_upstream_attempts_total{", '"easy"', "escalated") == 1
        assert await gate.metric("penstock_upstream_attempts_total{", '"hard"', '"ok"') == 1
        small = await gate.metric("penstock_tokens_total{", 'deployment="easy"', "prompt")
        large = await gate.metric("penstock_tokens_total{", 'deployment="hard"', "prompt")
        assert small == large > 0  # both have read it
        assert len(ups[0].requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "asked"),
    [
        ({}, {}),
        ({"x-test-content": "The word sorry. I can't help with more."}, {}),
        ({"x-test-content": GOOD}, {"response_format": WANTED}),
        ({"x-test-content": "Rome."}, {"logprobs": True}),  # -0.25 is good enough
        ({"x-test-tool-call": "look:{}"}, {"response_format": WANTED}),
        ({"x-test-content": GOOD}, {"response_format": WANTED, "max_tokens": 1}),  # cut, not wrong
    ],
)
async def test_an_answer_that_is_good_enough(behaviour: dict[str, str], asked: dict[str, Any]) -> None:
    async with smart(more="{escalate: [schema, refusal, logprob]}") as (ups, gate):
        ups[0].behaviour = behaviour
        answer = await ask(gate, **asked)
        assert answer.status == 200
        assert answer.headers["x-penstock-deployment"] == "easy"
        assert not ups[1].requests


async def test_nothing_is_escalated_that_is_not_to_be() -> None:
    async with smart(more="{escalate: [schema]}") as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        assert text_of(await ask(gate)) == SORRY
    async with smart(more="{escalate: []}") as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        assert text_of(await ask(gate, response_format=WANTED)) == SORRY


async def test_one_step_at_a_time_and_the_hardest_has_the_last_word() -> None:
    async with smart("easy", "medium", "hard") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-content": SORRY}
        answer = await ask(gate)
        assert text_of(answer) == SORRY
        assert answer.headers["x-penstock-deployment"] == "hard"
        assert answer.headers["x-penstock-difficulty"] == "0.00 easy; escalated=refusal,refusal"
        assert [len(up.requests) for up in ups] == [1, 1, 1]


async def test_it_costs_neither_the_breaker_nor_the_budget() -> None:
    async with smart() as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        for _ in range(40):  # a budget of retries would be spent by then, a breaker open
            assert text_of(await ask(gate)) == DEFAULT_TEXT
        assert len(ups[0].requests) == 40
        assert await gate.metric("penstock_deployment_down") == 0


async def test_a_smaller_answer_is_better_than_none() -> None:
    async with smart("easy", "medium", "hard") as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        ups[1].behaviour = ups[2].behaviour = {"x-test-status": "500"}
        answer = await ask(gate)
        assert text_of(answer) == SORRY
        assert answer.headers["x-penstock-deployment"] == "easy"
        assert [len(up.requests) for up in ups] == [1, 1, 1]  # medium, and hard in its stead
        assert await gate.metric("penstock_tokens_total{", 'deployment="easy"', "completion") == 8
        for _ in range(6):
            assert text_of(await ask(gate)) == SORRY
        asked = len(ups[1].requests) + len(ups[2].requests)
        assert text_of(await ask(gate)) == SORRY
        assert len(ups[1].requests) + len(ups[2].requests) == asked  # down: nobody to ask instead


async def test_a_client_that_asked_for_a_form_gets_that_or_an_error() -> None:
    async with smart() as (ups, gate):
        ups[0].behaviour = {"x-test-content": "Rome."}
        ups[1].behaviour = {"x-test-status": "500"}
        answer = await ask(gate, response_format=WANTED)
        assert answer.error == (503, "no_healthy_target", None)


async def test_a_target_that_cannot_be_bound_to_the_form_is_not_asked_twice() -> None:
    async with Upstream() as small, Upstream() as large:
        text = config([small, large], ("easy", "hard"), kind="deepseek")
        async with gateway(text) as gate:
            small.behaviour = {"x-test-tool-call": 'city:{"town": "Rome"}'}
            large.behaviour = {"x-test-content": GOOD}
            for _ in range(8):
                answer = await ask(gate, response_format=WANTED)
                assert text_of(answer) == GOOD
                assert answer.headers["x-penstock-attempts"] == "2"
            assert await gate.metric("penstock_deployment_down") == 0
            assert await gate.metric("penstock_upstream_attempts_total{", '"easy"', "escalated") == 8


# -- every dialect, the client's own and others

SAID = "please refuse"
DIALECTS: list[tuple[str, type[Double], str, str, dict[str, Any]]] = [
    ("openai", ChatDouble, "/v1/chat/completions", "", {"messages": [{"role": "user", "content": SAID}]}),
    (
        "anthropic",
        AnthropicDouble,
        "/v1/messages",
        "",
        {"max_tokens": 99, "messages": [{"role": "user", "content": SAID}]},
    ),
    ("openai-responses", ResponsesDouble, "/v1/responses", "", {"input": SAID, "store": False}),
    (
        "gemini",
        GeminiDouble,
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": SAID}]}]},
    ),
    (
        "ollama-native",
        OllamaDouble,
        "/api/chat",
        "",
        {"messages": [{"role": "user", "content": SAID}], "stream": False},
    ),
]


@contextlib.asynccontextmanager
async def before(
    kind: str, double: type[Double], more: str = "{}"
) -> AsyncIterator[tuple[Double, Upstream, Gateway]]:
    async with double() as small, Upstream() as large:
        text = config([small, large], ("easy", "hard"), more, kind=kind)
        async with gateway(text) as gate:
            yield small, large, gate


@pytest.mark.parametrize("row", DIALECTS, ids=[row[0] for row in DIALECTS])
@pytest.mark.parametrize("client", DIALECTS, ids=[row[0] for row in DIALECTS])
async def test_a_refusal_of_any_dialect_to_any_client(row: Any, client: Any) -> None:
    kind, double, *_ = row
    _, _, path, _, body = client
    async with before(kind, double) as (small, large, gate):
        answer = await gate.post(path, {"model": "m", **body})
        assert answer.status == 200, answer.body
        assert answer.headers["x-penstock-deployment"] == "hard"
        assert answer.headers["x-penstock-difficulty"].endswith("; escalated=refusal")
        assert len(small.requests) == len(large.requests) == 1


@pytest.mark.parametrize("row", DIALECTS, ids=[row[0] for row in DIALECTS])
async def test_a_stream_that_is_held_back(row: Any) -> None:
    kind, double, path, stream_path, body = row
    async with before(kind, double, "{escalate_streams: on}") as (_, _, gate):
        stream = {} if stream_path else {"stream": True}
        answer = await gate.post(stream_path or path, {"model": "m", **body, **stream})
        assert answer.status == 200, answer.body
        assert answer.headers["x-penstock-deployment"] == "hard"
        assert answer.headers["x-penstock-difficulty"].endswith("; escalated=refusal")
        assert b"turbine" in answer.body
        good = json.loads(json.dumps(body).replace(SAID, "say well"))
        answer = await gate.post(stream_path or path, {"model": "m", **good, **stream})
        assert answer.headers["x-penstock-deployment"] == "easy"
        assert b"well" in answer.body


# -- streams


async def test_of_a_stream_only_its_first_words_count() -> None:
    async with before("openai", ChatDouble) as (_, _, gate):
        answer = await ask(gate, SAID, stream=True)  # the first event says so
        assert answer.headers["x-penstock-deployment"] == "hard"
        assert streamed(answer) == DEFAULT_TEXT
        assert answer.headers["x-penstock-attempts"] == "2"
        assert await gate.settled("penstock_upstream_attempts_total{", "escalated", at_least=1) == 1
    async with smart() as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY, "x-test-delay-between": "0.01"}
        assert streamed(await ask(gate, stream=True)) == SORRY
        ups[0].behaviour = {"x-test-content": "", "x-test-finish": "content_filter"}
        assert streamed(await ask(gate, stream=True)) == DEFAULT_TEXT
        ups[0].behaviour = {"x-test-content": "Rome."}
        assert streamed(await ask(gate, stream=True, response_format=WANTED)) == "Rome."


async def test_a_held_stream_is_judged_and_fails_over_as_if_nothing_had_come() -> None:
    async with smart(more="{escalate_streams: on}") as (ups, gate):
        ups[0].behaviour = {"x-test-content": SORRY}
        answer = await ask(gate, stream=True)
        assert streamed(answer) == DEFAULT_TEXT
        assert answer.events[-1] == "[DONE]"
        ups[0].behaviour = {"x-test-content": "Rome."}
        ups[1].behaviour = {"x-test-content": GOOD}
        assert streamed(await ask(gate, stream=True, response_format=WANTED)) == GOOD
        ups[0].behaviour = {"x-test-content": "one two three four", "x-test-cut": "3"}
        answer = await ask(gate, stream=True)
        assert streamed(answer) == GOOD
        assert "escalated" not in answer.headers["x-penstock-difficulty"]
        ups[0].behaviour = {"x-test-content": SORRY}
        ups[1].behaviour = {"x-test-status": "500"}
        assert streamed(await ask(gate, stream=True)) == SORRY  # held, so it can be given after all
        ups[1].behaviour = {"x-test-content": "one two three four", "x-test-cut": "4"}
        answer = await ask(gate, HARD_ONE, stream=True)  # the hardest one's stream is not held
        assert "error" in answer.events[-1]
        assert streamed(answer)


async def test_a_hedge_asks_another_of_the_same_level() -> None:
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream()) for _ in range(3)]
        text = config([*ups], ("easy", "medium", "hard"), route=", hedge: {after: 1ms, share: 0.5}")
        text = text.replace("when: medium", "when: easy")
        gate = await stack.enter_async_context(gateway(text))
        for up in ups[:2]:
            up.behaviour = {"x-test-delay-headers": "0.05", "x-test-content": SORRY}
        answer = await ask(gate)
        assert text_of(answer) == DEFAULT_TEXT
        assert answer.headers["x-penstock-attempts"] == "3"
        assert [len(up.requests) for up in ups] == [1, 1, 1]


# -- the classifier


@contextlib.asynccontextmanager
async def classified(key: str = "") -> AsyncIterator[tuple[Upstream, Gateway]]:
    """Vectors of the double depend on the text alone, so an example resembles itself."""
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream()) for _ in range(3)]
        text = config(
            [*ups],
            ("easy", "hard", "medium"),
            "{classifier: {deployment: medium, easy: [an apple], hard: [a pear]}}",
        ).replace(", {deployment: medium, when: medium}", "")
        for at in range(2):  # the classifier is who knows where
            text = text.replace(f"  p{at}: {{", f"  p{at}: {{data_region: eu, ")
        text = text.replace(f"{{secret: {KEY}", f"{{secret: {KEY}{key}")
        yield ups[2], await stack.enter_async_context(gateway(text))


async def test_examples_tell_what_looks_do_not() -> None:
    async with classified() as (vectors, gate):
        easy = await ask(gate, "an apple")
        assert easy.headers["x-penstock-difficulty"] == "0.00 easy; classifier=0.00"
        hard = await ask(gate, "a pear")
        assert hard.headers["x-penstock-difficulty"] == "0.50 hard; classifier=0.50"
        assert hard.headers["x-penstock-attempts"] == "1"
        assert [request.body["input"] for request in vectors.requests] == [
            ["an apple", "a pear"],
            ["an apple"],
            ["a pear"],
        ]
        said = await ask(gate, "a pear", "easy")
        assert said.headers["x-penstock-deployment"] == "easy"
        assert len(vectors.requests) == 3


async def test_the_examples_are_asked_for_once() -> None:
    async with classified() as (vectors, gate):
        vectors.behaviour = {"x-test-delay-headers": "0.02"}
        answers = await asyncio.gather(*(ask(gate, "a pear") for _ in range(6)))
        assert {answer.headers["x-penstock-difficulty"] for answer in answers} == {
            "0.50 hard; classifier=0.50"
        }
        asked = [request.body["input"] for request in vectors.requests]
        assert asked.count(["an apple", "a pear"]) == 1


@pytest.mark.parametrize(
    "behaviour", [{"x-test-status": "500"}, {"x-test-delay-headers": "5"}, {"x-test-malformed": "0"}]
)
async def test_without_a_classifier_the_looks_decide(behaviour: dict[str, str]) -> None:
    async with logged() as lines, classified() as (vectors, gate):
        vectors.behaviour = behaviour
        for _ in range(3):
            answer = await ask(gate, "a pear")
            assert answer.headers["x-penstock-difficulty"] == "0.00 easy"
        assert len(vectors.requests) == 1  # then it rests
    assert [line["event"] for line in lines].count("classifier does not answer") == 1


async def test_what_may_not_go_to_the_classifier_does_not() -> None:
    async with classified() as (vectors, gate):
        body = {"model": "m", "messages": [{"role": "user", "content": "a pear"}]}
        elsewhere = await gate.post("/v1/chat/completions", body, headers={"x-penstock-require": "region=eu"})
        assert elsewhere.headers["x-penstock-difficulty"] == "0.00 easy"
        assert not vectors.requests


async def test_who_is_refused_by_a_limit_costs_no_classification() -> None:
    async with classified(", limits: {requests: 1/min}") as (vectors, gate):
        assert (await ask(gate, "a pear")).status == 200
        asked = len(vectors.requests)
        assert (await ask(gate, "an apple")).status == 429
        assert len(vectors.requests) == asked


@pytest.mark.e2e
@pytest.mark.timeout(120)
async def test_what_the_builtin_encoder_makes_of_forty_questions() -> None:
    """docs/log.md has the figures; the encoder knows English only."""
    async with gateway(f"keys:\n  test: {{secret: {KEY}}}\n") as gate:

        async def embed(texts: tuple[str, ...]) -> list[list[float]]:
            body = {"model": "builtin:embedding", "input": [*texts]}
            answer = await gate.post("/v1/embeddings", body)
            assert answer.status == 200, answer.body
            return [row["embedding"] for row in answer.json["data"]]

        scale = scale_of(await embed(EASY_EXAMPLES), await embed(HARD_EXAMPLES))
        assert scale is not None
        right = [0, 0, 0]  # by looks, by resemblance, by both
        for texts, is_hard in ((EASY, False), (HARD, True)):
            for text, vector in zip(texts, await embed(texts), strict=True):
                looks, _ = score(features_of(Conversation([Turn("user", [TextPart(text)])])))
                resembled = scale.score(vector)
                both = (1 - CLASSIFIED) * looks + CLASSIFIED * resembled
                for at, (value, limit) in enumerate(((looks, 0.4), (resembled, 0.5), (both, 0.4))):
                    right[at] += (value >= limit) is is_hard
        assert right == [36, 34, 38]
