"""What is wrong with a request is said in the shape of its own protocol, by every protocol.

And the other way round: whatever an upstream of any dialect answers, the client gets an error, never a crash.
"""

import copy
import json
from typing import Any

import pytest
from gateways import KEY, Answer, Gateway, gateway, remote

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.bedrock import BedrockDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.cohere import CohereDouble
from penstock.testing.gemini import GeminiDouble
from penstock.testing.ollama import OllamaDouble
from penstock.testing.responses import ResponsesDouble
from penstock.testing.tei import TEIDouble
from penstock.testing.upstream import Upstream

LIMIT = "server: {body_limit: 64KiB}"
HI = [{"role": "user", "content": "hi"}]
TEXT = {"role": "user", "parts": [{"text": "hi"}]}
BAD = "no/base64!"
FUNCTION = {"name": "f", "parameters": {"type": "array"}}


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


# path -> a good body; what breaks it, by the name of the defect
CASES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "/v1/chat/completions": (
        {"model": "m", "messages": HI},
        {
            "wrong type": {"temperature": "hot"},
            "missing": {"messages": [{"role": "user"}]},
            "modality": {"modalities": ["smell"]},
            "base64": {"messages": image(f"data:image/png;base64,{BAD}")},
            "tool schema": {"tools": [{"type": "function", "function": FUNCTION}]},
            "result without call": {"messages": [*HI, {"role": "tool", "tool_call_id": "c", "content": "x"}]},
            "conflict": {"tool_choice": "required"},
        },
    ),
    "/v1/responses": (
        {"model": "m", "input": "hi"},
        {
            "wrong type": {"temperature": "hot"},
            "missing": {"input": [{"type": "function_call", "call_id": "c"}]},
            "modality": {"input": [{"role": "user", "content": [{"type": "input_smell"}]}]},
            "base64": {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{BAD}"}],
                    }
                ]
            },
            "tool schema": {"tools": [{"type": "function", **FUNCTION, "strict": False}]},
            "result without call": {
                "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]
            },
            "conflict": {"tool_choice": {"type": "function", "name": "f"}},
        },
    ),
    "/v1/messages": (
        {"model": "m", "max_tokens": 9, "messages": HI},
        {
            "wrong type": {"max_tokens": "many"},
            "missing": {"max_tokens": None},
            "modality": {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "base64": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": BAD},
                            }
                        ],
                    }
                ]
            },
            "tool schema": {"tools": [{"name": "f", "input_schema": {"type": "array"}}]},
            "result without call": {
                "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}]
            },
            "conflict": {"tool_choice": {"type": "any"}},
        },
    ),
    "/v1beta/models/m:generateContent": (
        {"contents": [TEXT]},
        {
            "wrong type": {"generationConfig": {"temperature": "hot"}},
            "missing": {"contents": None},
            "modality": {"generationConfig": {"responseModalities": [7]}},
            "base64": {
                "contents": [
                    {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": BAD}}]}
                ]
            },
            "tool schema": {"tools": [{"functionDeclarations": [FUNCTION]}]},
            "result without call": {
                "contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}]
            },
            "conflict": {"generationConfig": {"logprobs": 3}},
        },
    ),
    "/api/chat": (
        {"model": "m", "messages": HI},
        {
            "wrong type": {"options": {"temperature": "hot"}},
            "missing": {"messages": []},
            "modality": {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "base64": {"messages": [{"role": "user", "content": "x", "images": [BAD]}]},
            "tool schema": {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "result without call": {"messages": [*HI, {"role": "tool", "content": "x"}]},
            "conflict": {"think": "hardly"},
        },
    ),
    "/api/generate": (
        {"model": "m", "prompt": "hi"},
        {
            "wrong type": {"prompt": 1},
            "missing": {"prompt": ""},
            "modality": {"suffix": "x"},
            "base64": {"images": [BAD]},
        },
    ),
    "/v1/completions": (
        {"model": "m", "prompt": "hi"},
        {"wrong type": {"n": "x"}, "missing": {"prompt": None}},
    ),
    "/v1/embeddings": (
        {"model": "m", "input": "hi"},
        {"wrong type": {"input": {}}, "missing": {"input": None}, "conflict": {"dimensions": 0}},
    ),
    "/v2/embed": (
        {"model": "m", "texts": ["hi"], "input_type": "search_query"},
        {
            "wrong type": {"texts": "x"},
            "missing": {"texts": None},
            "modality": {"texts": None, "images": ["data:image/png;base64,AAAA"]},
            "conflict": {"images": ["x"]},
        },
    ),
    "/v2/rerank": (
        {"model": "m", "query": "q", "documents": ["a"]},
        {"wrong type": {"documents": "a"}, "missing": {"query": None}, "conflict": {"top_n": 0}},
    ),
    "/rerank": (
        {"model": "m", "query": "q", "texts": ["a"]},
        {"wrong type": {"texts": "a"}, "missing": {"query": None}},
    ),
    "/embed": ({"model": "m", "inputs": "a"}, {"wrong type": {"inputs": {}}, "missing": {"inputs": None}}),
}
DEFECTS = [(path, defect) for path, (_, broken) in CASES.items() for defect in broken]


def in_shape(path: str, answer: Answer) -> str:
    """The message, after a look at the shape of the error; it names what is wrong."""
    body = answer.json
    match path.split("/")[1:3]:
        case ["v1", "messages"]:
            assert body["type"] == "error"
            assert body["request_id"]
            message = body["error"]["message"]
            assert body["error"]["type"]
        case ["v1beta", _]:
            assert body["error"]["code"] == answer.status
            assert body["error"]["status"].isupper()
            message = body["error"]["message"]
        case ["api", _]:
            assert set(body) == {"error"}
            message = body["error"]
        case ["v2", _]:
            message = body["message"]
        case ["rerank" | "embed"]:
            assert body["error_type"]
            message = body["error"]
        case _:
            assert {"message", "type", "param", "code"} <= set(body["error"])
            message = body["error"]["message"]
    assert isinstance(message, str)
    assert message
    return message


def broken(path: str, defect: str) -> dict[str, Any]:
    good, defects = CASES[path]
    body = {**copy.deepcopy(good), **defects[defect]}
    return {key: value for key, value in body.items() if value is not None}


@pytest.mark.parametrize(("path", "defect"), DEFECTS)
async def test_a_defect_is_the_caller_s_in_its_own_shape(path: str, defect: str) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post(path, broken(path, defect))
        assert answer.status == 400, answer.body
        in_shape(path, answer)
        assert up.requests == []


@pytest.mark.parametrize("path", CASES)
async def test_what_is_no_request_of_a_known_model_is_said_in_its_own_shape(path: str) -> None:
    async with Upstream() as up, gateway(remote(up.url, LIMIT)) as gate:
        good = CASES[path][0]
        assert (await gate.post(path, good)).status == 200
        bad: list[tuple[Any, int]] = [
            (b"{", 400),
            (b"\xff", 400),
            ([], 400),
            (b'{"a": "' + b"x" * 70_000, 413),
        ]
        if "model" in good:
            bad.append(({**good, "model": "none"}, 404))
        for body, status in bad:
            answer = await gate.post(path, body)
            assert answer.status == status, answer.body
            in_shape(path, answer)
        unknown = path.replace("models/m:", "models/none:")
        if unknown != path:
            answer = await gate.post(unknown, good)
            assert answer.status == 404
            in_shape(path, answer)
        stranger = await gate.post(path, good, headers={"authorization": "Bearer sk-wrong"})
        assert stranger.status == 401
        in_shape(path, stranger)


# -- upstreams that answer anything

UPSTREAMS: dict[str, tuple[str, Any, str]] = {
    "openai": ("openai", ChatDouble, ""),
    "responses": ("openai-responses", ResponsesDouble, ""),
    "anthropic": ("anthropic", AnthropicDouble, "/v1"),
    "gemini": ("gemini", GeminiDouble, "/v1beta"),
    "ollama": ("ollama-native", OllamaDouble, ""),
    "bedrock": ("bedrock", BedrockDouble, ""),
    "cohere": ("cohere", CohereDouble, ""),
}
GARBAGE = [
    "",
    "{",
    "[]",
    "null",
    "7",
    '"text"',
    "{}",
    '{"error": null}',
    '{"choices": [], "candidates": [], "content": [], "output": [], "message": null}',
    "<html><body>502 Bad Gateway</body></html>",
    "\x00\x01\x02",
    "[" * 5_000,
]


def before(kind: str, url: str) -> str:
    credentials = (
        "api_key: k" if kind != "bedrock" else "region: eu-west-1, access_key_id: a, secret_access_key: s"
    )
    return f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{url}", {credentials}}}
deployments:
  m: {{provider: up, model: m-1}}
keys:
  test: {{secret: {KEY}}}
"""


async def no_crash(gate: Gateway, path: str, body: dict[str, Any]) -> None:
    for stream in (False, True):
        answer = await gate.post(path, body | ({} if "models/" in path else {"stream": stream}))
        if answer.status == 200:
            assert stream or "gemini" in path, answer.body
            continue
        assert 500 < answer.status < 505, answer.body  # whose fault it is, and never ours
        in_shape(path, answer)
    assert await gate.metric("penstock_requests_total", 'code="internal_error"') == 0


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_garbage_is_upstream_s(upstream: str) -> None:
    kind, double, path = UPSTREAMS[upstream]
    async with double() as up, gateway(before(kind, up.url + path)) as gate:
        for text in GARBAGE:
            for status in ("200", "502"):
                up.behaviour = {"x-test-body": text, "x-test-status": status}
                for client in ("/v1/chat/completions", "/v1/messages"):
                    await no_crash(gate, client, CASES[client][0])


async def test_garbage_instead_of_vectors_scores_and_labels() -> None:
    async with TEIDouble() as up, gateway(before("tei", up.url)) as gate:
        for text in [
            *GARBAGE,
            "[[]]",
            '[["x"]]',
            "[[1e999]]",
            '[{"index": 9, "score": 1}]',
            json.dumps([[1]] * 9),
        ]:
            up.behaviour = {"x-test-body": text, "x-test-status": "200"}
            for path in ("/v1/embeddings", "/embed", "/v2/rerank", "/rerank"):
                answer = await gate.post(path, CASES[path][0])
                assert answer.status == 502, (path, text, answer.body)
            labels = await gate.post("/predict", {"model": "m", "inputs": "a"})
            assert labels.status in (200, 502)
        assert await gate.metric("penstock_requests_total", 'code="internal_error"') == 0
