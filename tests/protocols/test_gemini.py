"""Gemini, inbound: paths, what is refused and how, the neutral form, embeddings and counts."""

import base64
import contextlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
from google.genai import types as sdk
from google.genai.models import _Model_from_mldev
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.dialects.gemini import canonical, opened, sealed, sealed_redacted, standard_base64
from penstock.protocols.gemini import Count, Embed, Generate, find
from penstock.protocols.gemini_lift import json_schema
from penstock.protocols.gemini_models import listing, single
from penstock.types.call import Call
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.errors import (
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    UnsupportedParameter,
    UpstreamInvalid,
)
from penstock.types.events import Counted, Vectors

GENERATE = Generate("public", stream=False, sse=False)
HELLO = {"role": "user", "parts": [{"text": "hello"}]}
WEATHER = {"functionDeclarations": [{"name": "weather"}]}


def lifted(*contents: dict[str, Any], **fields: Any) -> Conversation:
    return GENERATE.decode({"contents": list(contents or [HELLO]), **fields}).conversation()


def refused(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        GENERATE.decode(body)
    return caught.value


# -- paths


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1/models/openai/gpt-5:generateContent", "openai/gpt-5"),
        ("/v1beta/models/openai%2Fgpt-5:generateContent", "openai/gpt-5"),
        ("/v1beta/models/qwen3:8b:generateContent", "qwen3:8b"),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine"),
        ("/v1beta/models/a%20b:generateContent", "a b"),
    ],
)
def test_paths(path: str, model: str) -> None:
    found = find(path, b"")
    assert isinstance(found, Generate)
    assert (found.model, found.is_stream) == (model, False)


def test_actions() -> None:
    streamed = find("/v1beta/models/m:streamGenerateContent", b"key=x&alt=sse")
    assert isinstance(streamed, Generate)
    assert streamed.is_stream
    assert streamed.is_sse
    array = find("/v1beta/models/m:streamGenerateContent", b"alt=json")
    assert isinstance(array, Generate)
    assert not array.is_sse
    assert isinstance(find("/v1beta/models/m:countTokens", b""), Count)
    assert isinstance(find("/v1beta/models/m:embedContent", b""), Embed)
    batch = find("/v1beta/models/m:batchEmbedContents", b"")
    assert isinstance(batch, Embed)
    assert batch.is_batch


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/m",
        "/v1beta/models/:generateContent",
        "/v1/chat/completions",
        "/v1beta/models/m:sing",
        "/v1beta/corpora/m:query",
        "/v9/models/m:generateContent",
        "/v1beta/tunedModels/:generateContent",
    ],
)
def test_what_is_no_path_of_ours(path: str) -> None:
    assert find(path, b"") is None


# -- refusals


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "contents", "required"),
        ({"contents": []}, "contents", "must not be empty"),
        ({"contents": [{"parts": []}]}, "contents", "no parts"),
        ({"contents": "hi"}, "contents", "an array"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role", "allowed"),
        ({"contents": [{"parts": [{"text": 3}]}]}, "contents[0].parts[0].text", "a string"),
        (
            {"contents": [{"parts": [{"text": "a", "inlineData": {"mimeType": "image/png", "data": ""}}]}]},
            "contents[0].parts[0]",
            "holds one",
        ),
        (
            {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "@"}}]}]},
            "contents[0].parts[0].inlineData.data",
            "base64",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "x", "response": {}}}]}]},
            "contents[0].parts[0].functionResponse",
            "answers no functionCall",
        ),
        (
            {
                "contents": [HELLO],
                "tools": [{"functionDeclarations": [{"name": "a", "parameters": {"type": "STRING"}}]}],
            },
            "tools[0].functionDeclarations[0].parameters",
            "schema of an object",
        ),
        (
            {"contents": [HELLO], "tools": [{"functionDeclarations": [{"name": "a", "parameters": []}]}]},
            "tools[0].functionDeclarations[0].parameters",
            "an object",
        ),
        (
            {"contents": [HELLO], "tools": [{"functionDeclarations": [{}]}]},
            "tools[0].functionDeclarations[0].name",
            "required",
        ),
        (
            {"contents": [HELLO], "tools": [WEATHER, WEATHER]},
            "tools[1].functionDeclarations[0]",
            "declared twice",
        ),
        (
            {"contents": [HELLO], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "toolConfig.functionCallingConfig.mode",
            "declared functions",
        ),
        (
            {
                "contents": [HELLO],
                "tools": [WEATHER],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}},
            },
            "toolConfig.functionCallingConfig.allowedFunctionNames",
            "not declared",
        ),
        (
            {
                "contents": [HELLO],
                "tools": [WEATHER],
                "toolConfig": {
                    "functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["weather"]}
                },
            },
            "toolConfig.functionCallingConfig.allowedFunctionNames",
            "mode ANY or VALIDATED",
        ),
        (
            {"contents": [HELLO], "generationConfig": {"candidateCount": 0}},
            "generationConfig.candidateCount",
            "from 1 to 8",
        ),
        (
            {"contents": [HELLO], "generationConfig": {"temperature": 3}},
            "generationConfig.temperature",
            "from 0 to 2",
        ),
        (
            {"contents": [HELLO], "generation_config": {"max_output_tokens": "x"}},
            "generationConfig.maxOutputTokens",
            "integer",
        ),
        (
            {"contents": [HELLO], "generationConfig": {"responseSchema": {}}},
            "generationConfig.responseMimeType",
            "application/json",
        ),
        (
            {"contents": [HELLO], "generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
            "generationConfig.responseSchema",
            "exclude",
        ),
        (
            {"contents": [HELLO], "generationConfig": {"logprobs": 3}},
            "generationConfig.logprobs",
            "responseLogprobs",
        ),
        (
            {
                "contents": [HELLO],
                "generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}},
            },
            "generationConfig.thinkingConfig.thinkingLevel",
            "exclude",
        ),
    ],
)
def test_refused(body: dict[str, Any], param: str, words: str) -> None:
    error = refused(body)
    assert error.param == param
    assert words in error.message


def test_the_shape_of_errors() -> None:
    error = InvalidRequest("`contents` is required.", param="contents")
    body = GENERATE.error_body(error, "req_1")
    assert body.startswith(b'{"error":')
    told = json.loads(body)["error"]
    assert (told["code"], told["status"], told["message"]) == (400, "INVALID_ARGUMENT", error.message)
    assert told["details"][1]["fieldViolations"][0]["field"] == "contents"
    loading = json.loads(GENERATE.error_body(ModelLoading("soon", retry_after_s=2.5), ""))["error"]
    assert (loading["code"], loading["status"]) == (503, "UNAVAILABLE")
    assert loading["details"][1]["retryDelay"] == "2.5s"
    assert json.loads(GENERATE.error_body(ModelNotFound("no"), ""))["error"]["status"] == "NOT_FOUND"


def test_too_deep() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}
    assert "nested" in refused({"contents": [HELLO], "odd": deep}).message
    while deep:  # taken apart by hand: its destructor would recurse as deep
        deep = deep.pop("x", None)


# -- what is kept


def test_both_spellings_say_the_same() -> None:
    snake = {
        "contents": {"parts": {"text": "x"}},
        "system_instruction": {"parts": {"text": "be brief"}},
        "generation_config": {
            "max_output_tokens": 3,
            "thinking_config": {"include_thoughts": True},
            "seed": None,
        },
        "tools": {
            "function_declarations": [
                {"name": "a_b", "parameters": {"properties": {"c_d": {"type": "STRING"}}}}
            ]
        },
    }
    request = GENERATE.decode(snake)
    assert request.max_tokens == 3
    assert request.body == {
        "contents": [{"parts": [{"text": "x"}]}],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {"maxOutputTokens": 3, "thinkingConfig": {"includeThoughts": True}},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "a_b", "parameters": {"properties": {"c_d": {"type": "STRING"}}}}
                ]
            }
        ],
    }


def test_enums_as_numbers() -> None:
    """As Google's generated REST clients write them."""
    found = lifted(
        tools=[
            {
                "functionDeclarations": [
                    {"name": "f", "parameters": {"type": 6, "properties": {"a": {"type": 1}}}}
                ]
            }
        ],
        toolConfig={"functionCallingConfig": {"mode": 2}},
        generationConfig={"responseModalities": [1, 2], "thinkingConfig": {"thinkingLevel": 1}},
        safetySettings=[{"category": 7, "threshold": 4}],
    )
    assert found.tools[0].parameters == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert found.tool_choice == ToolChoice("required")
    assert found.modalities == ["text", "image"]
    assert found.thinking == Thinking(effort="low")


def test_names_of_the_user_are_not_touched() -> None:
    body = {
        "contents": [{"parts": [{"functionCall": {"name": "a_b", "args": {"x_y": None}}}], "role": "model"}]
    }
    assert canonical(body) == body


def test_turns() -> None:
    calls = {
        "role": "model",
        "parts": [
            {"text": "hm, ", "thought": True},
            {"text": "so", "thought": True, "thoughtSignature": "c2ln"},
            {"text": "Let me see."},
            {"functionCall": {"name": "weather", "args": {"city": "x"}}, "thoughtSignature": "Y2FsbA=="},
            {"functionCall": {"name": "weather"}},
            {"functionCall": {"name": "now", "id": "n1"}},
            {"executableCode": {"code": "1", "language": "PYTHON"}},
        ],
    }
    results = {
        "role": "function",
        "parts": [
            {"functionResponse": {"name": "now", "id": "n1", "response": {"error": "broken"}}},
            {"functionResponse": {"name": "weather", "response": {"output": "rain"}}},
            {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
            {"text": "and?"},
        ],
    }
    turns = lifted(HELLO, calls, results, systemInstruction={"parts": [{"text": "be brief"}]}).turns
    first, second = "call_0_weather", "call_1_weather"
    assert turns == [
        Turn("system", [TextPart("be brief")]),
        Turn("user", [TextPart("hello")]),
        Turn(
            "assistant",
            [
                ReasoningPart("hm, so", "c2ln", issuer="gemini"),
                TextPart("Let me see."),
                ToolCallPart(first, "weather", '{"city":"x"}', signature="Y2FsbA=="),
                ToolCallPart(second, "weather", "{}"),
                ToolCallPart("n1", "now", "{}"),
                NativePart("gemini", {"executableCode": {"code": "1", "language": "PYTHON"}}),
            ],
        ),
        Turn(
            "tool",
            [
                ToolResultPart("n1", [TextPart("broken")], "now", is_error=True),
                ToolResultPart(first, [TextPart("rain")], "weather"),
                ToolResultPart(second, [TextPart('{"sky":"blue"}')], "weather"),
            ],
        ),
        Turn("user", [TextPart("and?")]),
    ]


def test_media() -> None:
    content = {
        "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "-_-_"}},
            {"fileData": {"fileUri": "gs://b/a.pdf", "mimeType": "application/pdf"}},
        ]
    }
    assert lifted(content).turns[0].parts == [
        MediaPart("image", "image/png", data="+/+/"),
        MediaPart("file", "application/pdf", url="gs://b/a.pdf"),
    ]


def test_settings() -> None:
    found = lifted(
        tools=[
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "d", "parametersJsonSchema": {"type": "object"}}
                ]
            },
            {"googleSearch": {}},
        ],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        generationConfig={
            "temperature": 1,
            "topP": 0.5,
            "topK": 40.0,
            "maxOutputTokens": 9,
            "stopSequences": ["x"],
            "seed": 3,
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 2,
            "presencePenalty": 1,
            "frequencyPenalty": -1,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "responseModalities": ["TEXT", "IMAGE"],
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        },
        safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    )
    assert found == Conversation(
        [Turn("user", [TextPart("hello")])],
        tools=[
            Tool("weather", "d", {"type": "object"}),
            Tool("googleSearch", kind="native", native={"googleSearch": {}}, dialect="gemini"),
        ],
        tool_choice=ToolChoice("named", "weather"),
        temperature=1,
        top_p=0.5,
        top_k=40,
        max_tokens=9,
        stop=["x"],
        seed=3,
        n=2,
        logprobs=True,
        top_logprobs=2,
        presence_penalty=1,
        frequency_penalty=-1,
        format=Format("json_schema", schema={"type": "object"}),
        modalities=["text", "image"],
        thinking=Thinking(None, "high", None, True),
        other={
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig.mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
    )


@pytest.mark.parametrize(
    ("config", "thinking"),
    [
        ({"thinkingBudget": 0}, Thinking(False)),
        ({"thinkingBudget": -1}, Thinking(True)),
        ({"thinkingBudget": 9}, Thinking(True, None, 9)),
        ({"thinkingLevel": "low"}, Thinking(None, "low")),
        ({}, None),
    ],
)
def test_thinking(config: dict[str, Any], thinking: Thinking | None) -> None:
    assert lifted(generationConfig={"thinkingConfig": config}).thinking == thinking


def test_a_prompt_that_google_holds() -> None:
    request = GENERATE.decode({"contents": [HELLO], "cachedContent": "cachedContents/x"})
    with pytest.raises(UnsupportedParameter):
        request.conversation()


def test_openapi_schemas_become_json_schema() -> None:
    given = {
        "type": "OBJECT",
        "properties": {
            "min_items": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1", "max_items": 4},
            "maybe": {"type": "STRING", "nullable": True, "enum": ["a"]},
            "any": {"anyOf": [{"type": "INTEGER"}, {"type": "BOOLEAN"}]},
        },
        "propertyOrdering": ["maybe"],
        "required": ["maybe"],
    }
    assert json_schema(given) == {
        "type": "object",
        "properties": {
            "min_items": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4},
            "maybe": {"type": ["string", "null"], "enum": ["a", None]},
            "any": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
        },
        "required": ["maybe"],
    }


# -- signatures


@given(st.sampled_from(["anthropic", "responses", "bedrock", "openai"]), st.text(max_size=40))
def test_signatures_of_others_survive_the_sdk(issuer: str, signature: str) -> None:
    """google-genai decodes and encodes them, in the other alphabet and maybe without padding."""
    carried = sealed(issuer, signature)
    part = sdk.Part.model_validate({"text": "", "thoughtSignature": carried})
    assert part.thought_signature is not None
    back = base64.urlsafe_b64encode(part.thought_signature).decode()
    for seen in (carried, back, back.rstrip("=")):
        assert opened(seen) == (issuer, signature)
    content = {"role": "model", "parts": [{"text": "t", "thought": True, "thoughtSignature": back}]}
    assert lifted(content, HELLO).turns[0].parts == [ReasoningPart("t", signature, issuer=issuer)]


def test_redacted_thoughts_and_own_signatures() -> None:
    parts = [{"text": "", "thought": True, "thoughtSignature": sealed_redacted("anthropic", "EmwK+/==")}]
    found = lifted({"role": "model", "parts": parts}, HELLO).turns[0].parts
    assert found == [ReasoningPart("", None, "EmwK+/==", "anthropic")]
    assert opened("CpYBAVSoXO6abQ==") == ("gemini", "CpYBAVSoXO6abQ==")
    assert sealed("gemini", "abc") == "abc"
    assert opened(sealed("anthropic", "x")[:14]) != ("anthropic", "x")


@given(st.binary(max_size=30))
def test_base64_in_any_form(data: bytes) -> None:
    standard = base64.b64encode(data).decode()
    for form in (standard, base64.urlsafe_b64encode(data).decode(), standard.rstrip("=")):
        assert standard_base64(form) == standard


# -- counts, embeddings, models


def test_count() -> None:
    inbound = Count("m")
    for body in (
        {"contents": [HELLO]},
        {"generateContentRequest": {"model": "models/m", "contents": [HELLO]}},
    ):
        request = inbound.decode(dict(body))
        assert request.counts_only
        assert request.conversation().turns == [Turn("user", [TextPart("hello")])]
    encoder = inbound.encoder(request, Call("r", "/", "chat", 0.0, 0))
    with pytest.raises(UpstreamInvalid):
        encoder.answer()
    encoder.fold([Counted(7)])
    assert sdk.CountTokensResponse.model_validate_json(encoder.answer()).total_tokens == 7
    with pytest.raises(InvalidRequest):
        inbound.decode({"generateContentRequest": 3})
    with pytest.raises(InvalidRequest):
        inbound.decode({"generateContentRequest": {}, "contents": [HELLO]})


def test_embeddings() -> None:
    one = Embed("m", batch=False)
    request = one.decode(
        {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_QUERY", "output_dimensionality": 2}
    )
    assert (request.inputs, request.purpose, request.dimensions) == (["a"], "query", 2)
    encoder = one.encoder(request, Call("r", "/", "embedding", 0.0, 0))
    encoder.fold([Vectors([[1.0, 0.5]])])
    assert json.loads(encoder.answer()) == {"embedding": {"values": [1.0, 0.5]}}
    batch = Embed("m", batch=True)
    asked = [{"model": "models/m", "content": {"parts": [{"text": text}]}} for text in "ab"]
    request = batch.decode({"requests": asked})
    assert request.inputs == ["a", "b"]
    encoder = batch.encoder(request, Call("r", "/", "embedding", 0.0, 0))
    encoder.fold([Vectors([[1.0], b"\0\0\0\0"])])
    told = sdk.EmbedContentResponse.model_validate_json(encoder.answer())
    assert told.embeddings is not None
    assert [row.values for row in told.embeddings] == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [{"content": {"parts": []}}]}, "requests[0].content.parts"),
        (
            {"requests": [{"content": {"parts": [{"inlineData": {"mimeType": "a/b", "data": ""}}]}}]},
            "requests[0].content.parts",
        ),
        (
            {
                "requests": [
                    {"content": {"parts": [{"text": "a"}]}},
                    {"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING"},
                ]
            },
            "requests[1].taskType",
        ),
    ],
)
def test_embeddings_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Embed("m", batch=True).decode(body)
    assert caught.value.param == param


def test_models() -> None:
    row: Any = SimpleNamespace(
        id="m", created=1, owned_by="x", extras={"description": "d", "max_context": 9, "operations": ["chat"]}
    )
    told = _Model_from_mldev(json.loads(single(row)))
    assert (told["name"], told["input_token_limit"], told["description"]) == ("models/m", 9, "d")
    assert told["supported_actions"] == ["generateContent", "streamGenerateContent", "countTokens"]
    assert len(json.loads(listing([row, row]))["models"]) == 2


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "contents",
                    "parts",
                    "text",
                    "role",
                    "function_call",
                    "functionResponse",
                    "name",
                    "tools",
                    "functionDeclarations",
                    "parameters",
                    "generationConfig",
                    "responseSchema",
                    "systemInstruction",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=16,
)


@given(JSONS)
@settings(max_examples=300, deadline=None)
def test_no_json_breaks_the_door(value: Any) -> None:
    body = value if isinstance(value, dict) else {"contents": value}
    with contextlib.suppress(InvalidRequest):
        GENERATE.decode(body).conversation()
