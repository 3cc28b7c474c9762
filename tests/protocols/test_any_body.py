"""Requests with one value put wrong, everywhere: an InvalidRequest or a request, never another exception.

What is accepted is then written for every vendor, which may refuse it but may not stumble over it.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from test_every_pair import KINDS, codec_of

from penstock.protocols import INBOUND, find
from penstock.types.deployment import Codec, Deployment, Outgoing
from penstock.types.errors import PenstockError
from penstock.types.requests import ChatRequest, Request
from penstock.types.wire import Inbound

PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
JUNK: list[Any] = [None, True, 7, -1.5, "", "x", [], {}, [[]], [{}], ["x"], {"type": []}, [{"type": {}}]]
JUNK += [{"type": "object"}, {"x": {"type": "nope"}}]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "hm",
                        "signature": "s",
                        "format": "anthropic-claude-v1",
                    },
                    {"type": "reasoning.encrypted", "data": "e", "id": "r"},
                ],
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                    {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sun"}]},
            {"role": "tool", "tool_call_id": "c2", "content": "a"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}},
            {"type": "custom", "custom": {"name": "sh", "format": {"type": "text"}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}},
        "stop": ["a", "b"],
        "logit_bias": {"5": 1},
        "metadata": {"k": "v"},
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
        "modalities": ["text"],
        "max_tokens": 20,
    },
    "/v1/completions": {"model": "m", "prompt": ["a", "b"], "stop": "x", "stream_options": None, "n": 1},
    "/v1/embeddings": {"model": "m", "input": ["a"], "encoding_format": "float", "dimensions": 4},
    "/v1/moderations": {
        "model": "m",
        "input": [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ],
    },
    "/v1/responses": {
        "model": "m",
        "instructions": "be brief",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,AAAA",
                    },
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "content": [{"type": "reasoning_text", "text": "hm"}],
                "encrypted_content": "e",
            },
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "sh", "input": "ls"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": "s"}],
            },
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "a"},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [{"type": "output_text", "text": "x", "annotations": []}],
            },
        ],
        "tools": [
            {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True},
            {"type": "custom", "name": "sh", "format": {"type": "text"}},
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "text": {"format": {"type": "json_schema", "name": "r", "schema": SCHEMA}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"k": "v"},
        "stream": True,
    },
    "/v1/messages": {
        "model": "m",
        "max_tokens": 4000,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                    },
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                        "citations": {"enabled": True},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "r"},
                    {"type": "text", "text": "x"},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "is_error": False,
                        "content": [
                            {"type": "text", "text": "sun"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                            },
                        ],
                    }
                ],
            },
        ],
        "tools": [
            {
                "name": "weather",
                "input_schema": SCHEMA,
                "strict": True,
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["a"],
        "stream": True,
    },
    "/v1beta/models/m:streamGenerateContent": {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "hi"},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                    {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "x"}}},
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": ""}}}],
            },
        ],
        "tools": [
            {"functionDeclarations": [{"name": "weather", "parametersJsonSchema": SCHEMA}]},
            {
                "functionDeclarations": [
                    {"name": "a", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}}
                ]
            },
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {
            "temperature": 1,
            "stopSequences": ["a"],
            "maxOutputTokens": 20,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"x": {"type": "STRING", "enum": ["a"]}}},
            "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        },
    },
    "/v1beta/models/m:countTokens": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "/v1beta/models/m:batchEmbedContents": {
        "requests": [
            {"model": "models/m", "content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY"}
        ]
    },
    "/v1beta/models/m:embedContent": {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4},
    "/api/chat": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi", "images": [PIXEL]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "x"}}}],
            },
            {"role": "tool", "tool_name": "weather", "content": "sun"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
        "format": SCHEMA,
        "think": "low",
        "options": {"temperature": 1, "stop": ["a"], "num_predict": 20, "num_ctx": 512},
        "keep_alive": "5m",
        "stream": True,
    },
    "/api/generate": {"model": "m", "prompt": "hi", "system": "s", "images": [PIXEL], "format": "json"},
    "/api/embed": {"model": "m", "input": ["a"], "options": {}, "dimensions": 4},
    "/api/embeddings": {"model": "m", "prompt": "a"},
    "/v1/embed": {"model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["int8"]},
    "/v2/embed": {
        "model": "m",
        "inputs": [{"content": [{"type": "text", "text": "a"}]}],
        "input_type": "search_query",
        "embedding_types": ["float", "ubinary"],
    },
    "/v1/rerank": {"model": "m", "query": "q", "documents": [{"text": "a"}, "b"], "top_n": 1},
    "/v2/rerank": {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1},
    "/rerank": {"query": "q", "texts": ["a"], "raw_scores": True},
    "/predict": {"inputs": [["a"], ["a", "b"]], "raw_scores": True, "truncation_direction": "Right"},
    "/embed": {"inputs": ["a"], "truncate": True, "normalize": True},
}
BODIES["/v1/responses/input_tokens"] = {
    key: value
    for key, value in BODIES["/v1/responses"].items()
    if key not in ("stream", "include", "metadata")
}
BODIES["/v1/messages/count_tokens"] = {
    key: value
    for key, value in BODIES["/v1/messages"].items()
    if key not in ("max_tokens", "metadata", "stop_sequences", "stream")
}
CODECS = {name: codec_of(name) for name in (*KINDS, "bedrock")}


def inbound_of(path: str) -> Inbound:
    inbound = INBOUND.get(path) or find(path, b"")
    assert inbound is not None
    return inbound


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*at, key)
        yield from places(inner, (*at, key))


def changed(body: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    out = copy.deepcopy(body)
    target: Any = out
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = copy.deepcopy(value)
    return out


def decoded(path: str, body: dict[str, Any]) -> Request | PenstockError:
    try:
        return inbound_of(path).decode(copy.deepcopy(body))
    except PenstockError as error:
        return error


def written(path: str, body: dict[str, Any], codec: Codec) -> Outgoing | PenstockError:
    request = decoded(path, body)
    assert not isinstance(request, PenstockError)
    try:
        if isinstance(request, ChatRequest) and request.dialect != codec.dialect:
            request.conversation()
        return codec.encode(request, Deployment("d", "up", codec, codec.operations))
    except PenstockError as error:
        return error


def told(path: str, body: dict[str, Any]) -> list[Outgoing | PenstockError]:
    """What becomes of a request at every vendor; one error if it is not accepted."""
    request = decoded(path, body)
    if isinstance(request, PenstockError):
        return [request]
    return [written(path, body, codec) for codec in CODECS.values() if request.operation in codec.operations]


def test_every_path_has_a_body() -> None:
    assert set(INBOUND) <= set(BODIES)


@pytest.mark.parametrize("path", BODIES)
def test_a_good_body_is_accepted(path: str) -> None:
    assert not isinstance(decoded(path, BODIES[path]), PenstockError)


@pytest.mark.parametrize("path", BODIES)
def test_one_wrong_value_is_no_surprise(path: str) -> None:
    body = BODIES[path]
    surprises: dict[str, str] = {}
    for place in places(body):
        for junk in JUNK:
            wrong = f"{'.'.join(map(str, place))} = {junk!r}"
            try:
                outcomes = told(path, changed(body, place, junk))
            except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as exc:
                surprises.setdefault(repr(exc), wrong)
                continue
            errors = [outcome for outcome in outcomes if isinstance(outcome, PenstockError)]
            assert {error.status for error in errors} <= {400}, wrong
    assert surprises == {}
