"""Upstreams that speak no chat dialect of OpenAI's: Cohere, TEI and Ollama's own API, and Penstock itself."""

import base64
import json
from typing import Any

import cohere
import openai
import pytest
from gateways import KEY, Answer, Gateway, gateway

from penstock.testing.cohere import CohereDouble
from penstock.testing.double import Double
from penstock.testing.ollama import OllamaDouble
from penstock.testing.tei import TEIDouble

TEXTS = ["Falling water turns the turbine.", "Tea is made with hot water."]
CONTEXT = {"message": "351 > 256", "type": "exceed_context_size_error"}  # an engine's error in Ollama's
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def before(up: Double, kind: str, *, model: str = "m-1") -> Any:
    return gateway(
        f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{up.url}", api_key: sk-upstream-secret}}
deployments:
  m: {{provider: up, model: {model}}}
keys:
  test: {{secret: {KEY}}}
"""
    )


def sent(up: Double) -> Any:
    return up.requests[-1].body


# -- Cohere


async def test_cohere_for_its_own_sdk_and_openai_s() -> None:
    async with CohereDouble() as up, before(up, "cohere") as gate:
        async with cohere.AsyncClientV2(api_key=KEY, base_url=gate.url) as client:
            found = await client.embed(model="m", texts=TEXTS, input_type="search_query")
            assert found.embeddings.float_ is not None
            assert [len(one) for one in found.embeddings.float_] == [16, 16]
            assert found.meta is not None
            assert found.meta.billed_units is not None
            assert found.meta.billed_units.input_tokens == 11
            assert (sent(up)["model"], sent(up)["input_type"]) == ("m-1", "search_query")
            ranked = await client.rerank(
                model="m", query="How is tea made?", documents=TEXTS, top_n=1, max_tokens_per_doc=99
            )
            assert [row.index for row in ranked.results] == [1]
            assert (sent(up)["top_n"], sent(up)["max_tokens_per_doc"]) == (1, 99)
        async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=KEY, max_retries=0) as other:
            same = await other.embeddings.create(model="m", input=TEXTS, dimensions=256)
            assert [len(one.embedding) for one in same.data] == [256, 256]
            assert same.usage.prompt_tokens == 11
            assert sent(up)["truncate"] == "NONE"
            answer = await other.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello!"}], max_completion_tokens=50
            )
            assert answer.choices[0].message.content
            assert up.requests[-1].path == "/compatibility/v1/chat/completions"
            with pytest.raises(openai.BadRequestError, match="output_dimension"):
                await other.embeddings.create(model="m", input=TEXTS, dimensions=3)


async def test_cohere_gives_no_raw_scores() -> None:
    async with CohereDouble() as up, before(up, "cohere") as gate:
        answer = await gate.post("/rerank", {"query": "q", "texts": ["a"], "raw_scores": True, "model": "m"})
        assert answer.status == 400
        assert answer.json["param"] == "raw_scores"


# -- TEI


async def test_tei_counts_where_it_can() -> None:
    async with TEIDouble() as up, before(up, "tei") as gate:
        plain = await gate.post("/v1/embeddings", {"model": "m", "input": TEXTS, "encoding_format": "float"})
        assert plain.json["usage"]["prompt_tokens"] == 11
        assert up.requests[-1].path == "/v1/embeddings"
        cut = await gate.post("/embed", {"model": "m", "inputs": "word " * 600, "truncate": True})
        assert cut.status == 200
        assert (up.requests[-1].path, sent(up)["truncate"]) == ("/embed", True)
        long = await gate.post("/embed", {"model": "m", "inputs": ["a"], "normalize": False})
        assert sum(x * x for x in long.json[0]) == pytest.approx(9)
        refused = await gate.post("/embed", {"model": "m", "inputs": "word " * 600})
        assert refused.status == 413
        assert "512 tokens" in refused.json["error"]


async def test_tei_ranks_for_all_three_dialects() -> None:
    async with TEIDouble() as up, before(up, "tei") as gate:
        asked = {"model": "m", "query": "How is tea made?"}
        own = await gate.post("/rerank", asked | {"texts": TEXTS, "raw_scores": True})
        assert [row["index"] for row in own.json] == [1, 0]
        other = await gate.post("/v2/rerank", asked | {"documents": TEXTS, "top_n": 1})
        (best,) = other.json["results"]
        assert best["index"] == 1
        assert own.json[0]["score"] == pytest.approx(10 * best["relevance_score"] - 5)  # raw


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        ("a good day", "one"),
        (["a good day", "or not"], "one"),
        ([["a good day"], ["a good day", "or not"], ["bad"]], "many"),
    ],
)
async def test_tei_labels(inputs: Any, shape: str) -> None:
    async with TEIDouble() as up, before(up, "tei") as gate:
        answer = await gate.post("/predict", {"model": "m", "inputs": inputs})
        rows = [answer.json] if shape == "one" else answer.json
        assert [row[0]["label"] for row in rows] == ["positive", "positive", "negative"][: len(rows)]
        assert rows[0][0]["score"] > rows[0][1]["score"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "inputs"),
        ("", "must not be empty"),
        (["a", "b", "c"], "a text or a pair"),
        ([["a"], []], "inputs[1]"),
        ([["a"], [1]], "inputs[1][0]"),
        ([["a"], "b"], "inputs[1]"),
        (["a", ["b"]], "like the others"),
    ],
)
async def test_what_cannot_be_labelled(inputs: Any, words: str) -> None:
    async with TEIDouble() as up, before(up, "tei") as gate:
        answer = await gate.post("/predict", {"model": "m", "inputs": inputs})
        assert answer.status == 400
        assert words in answer.json["error"]
        assert up.requests == []


async def test_nothing_here_labels() -> None:
    async with gateway(f"keys:\n  test: {{secret: {KEY}}}\n") as gate:
        answer = await gate.post("/predict", {"inputs": "a"})
        assert answer.status == 400
        assert "classification" in answer.json["error"]


# -- Ollama


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "What is the weather in Rome?"}], **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_ollama_is_told_what_openai_s_client_says() -> None:
    async with OllamaDouble() as up, before(up, "ollama-native") as gate:
        answer = await gate.post(
            "/v1/chat/completions",
            chat(
                tools=[WEATHER],
                temperature=0.5,
                max_tokens=90,
                stop=["x"],
                reasoning_effort="low",
                presence_penalty=0.1,
            ),
        )
        message = answer.json["choices"][0]["message"]
        assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city":"Rome"}'}
        assert message["reasoning_content"]
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
        assert answer.json["usage"]["prompt_tokens"] > 0
        body = sent(up)
        assert body["options"] == {
            "temperature": 0.5,
            "num_predict": 90,
            "presence_penalty": 0.1,
            "stop": ["x"],
        }
        assert (body["truncate"], body["stream"]) == (False, False)
        assert "think" not in body  # who can thinks unasked, who cannot would refuse


async def test_ollama_streams_and_is_bound_by_a_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    async with OllamaDouble() as up, before(up, "ollama-native", model="gpt-oss:20b") as gate:
        streamed = await gate.post(
            "/v1/chat/completions", chat(stream=True, response_format=wanted, reasoning_effort="minimal")
        )
        assert streamed.events[-1] == "[DONE]"
        assert streamed.headers["x-penstock-translation"] == "lossy; dropped=thinking.effort"
        assert (sent(up)["format"], sent(up)["think"]) == (schema, "low")


async def test_ollama_for_its_own_client_is_forwarded() -> None:
    async with OllamaDouble() as up, before(up, "ollama-native") as gate:
        asked = chat(options={"num_ctx": 512}, keep_alive="5m", unknown=1)
        lines = await gate.post("/api/chat", asked)
        assert sent(up) == {**asked, "model": "m-1", "stream": True}
        last = lines.body.splitlines()[-1]
        assert b'"done":true' in last
        assert b'"model":"m"' in last
        assert b'"load_duration":1000000' in last  # the server's own
        whole = await gate.post("/api/generate", {"model": "m", "prompt": "Hello!", "stream": False})
        assert up.requests[-1].path == "/api/generate"
        assert whole.json["context"] == [1, 2, 3]


async def test_ollama_takes_images_by_their_bytes_and_nothing_else() -> None:
    async with OllamaDouble() as up, before(up, "ollama-native") as gate:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        content = [{"type": "text", "text": "What is this?"}, image]
        asked = {"model": "m", "messages": [{"role": "user", "content": content}]}
        assert (await gate.post("/v1/chat/completions", asked)).status == 200
        assert sent(up)["messages"] == [{"role": "user", "content": "What is this?", "images": [PIXEL]}]
        sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        refused = await gate.post(
            "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [sound]}]}
        )
        assert refused.error == (400, "unsupported_parameter", "messages")


async def test_ollama_embeds() -> None:
    async with OllamaDouble() as up, before(up, "ollama-native") as gate:
        answer = await gate.post("/v1/embeddings", {"model": "m", "input": TEXTS, "dimensions": 4})
        assert len(answer.json["data"]) == 2
        assert answer.json["usage"]["prompt_tokens"] == 11
        assert sent(up) == {"model": "m-1", "input": TEXTS, "truncate": False, "dimensions": 4}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"error":"model \'x\' not found"}', 404, "upstream_unavailable"),
        (json.dumps({"error": json.dumps({"error": CONTEXT})}), 400, "context_length_exceeded"),
        ('{"error":"\\"m\\" does not support thinking"}', 400, "invalid_request"),
    ],
)
async def test_ollama_s_errors(body: str, status: int, code: str) -> None:
    async with OllamaDouble() as up, before(up, "ollama-native") as gate:
        up.behaviour = {"x-test-status": str(status), "x-test-body": body}
        answer: Answer = await gate.post("/v1/chat/completions", chat())
        assert answer.error[1] == code


# -- Penstock behind Penstock


@pytest.mark.parametrize("kind", ["tei", "cohere", "ollama-native"])
async def test_penstock_is_such_an_upstream(kind: str) -> None:
    async with TEIDouble() as up, before(up, "tei") as inner:
        assert isinstance(inner, Gateway)
        config = f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{inner.url}", api_key: {KEY}}}
deployments:
  m: {{provider: up, model: m}}
keys:
  test: {{secret: {KEY}}}
"""
        async with gateway(config) as gate:
            answer = await gate.post("/v1/embeddings", {"model": "m", "input": TEXTS})
            assert len(answer.json["data"]) == 2
            if kind != "ollama-native":
                asked = {"model": "m", "query": "How is tea made?", "documents": TEXTS}
                assert (await gate.post("/v2/rerank", asked)).json["results"][0]["index"] == 1
