"""Gemini, outbound: what is sent, and what recorded answers say."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.genai import types as sdk
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.dialects.gemini import sealed
from penstock.lib.sse import SSESplitter
from penstock.providers.gemini import GeminiCodec
from penstock.providers.gemini_reader import read_usage
from penstock.providers.gemini_schema_subset import narrowed, subset
from penstock.providers.vertex import VertexCodec
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import Deployment
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PenstockError,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Counted,
    Event,
    Events,
    Finish,
    Image,
    Reasoning,
    ReasoningEnd,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
    Vectors,
)
from penstock.types.requests import ChatRequest, EmbeddingRequest
from penstock.types.usage import Usage

WIRE = Path(__file__).parent.parent / "wire" / "gemini"
CODEC = GeminiCodec()
HELLO = Turn("user", [TextPart("hello")])
WEATHER = Tool("weather", "Says it", {"type": "object", "properties": {"city": {"type": "string"}}})


def deployment(model: str = "gemini-2.5-flash", codec: GeminiCodec = CODEC) -> Deployment:
    return Deployment("d", model, codec, codec.operations)


def asked(conversation: Conversation, **fields: Any) -> ChatRequest:
    return ChatRequest("public", {}, lift=lambda _: conversation, n=conversation.n, **fields)


def lowered(
    *turns: Turn, model: str = "gemini-2.5-flash", codec: GeminiCodec = CODEC, **fields: Any
) -> dict[str, Any]:
    out = codec.encode(asked(Conversation(list(turns or [HELLO]), **fields)), deployment(model, codec))
    body = json.loads(out.body)
    for content in body["contents"]:
        sdk.Content.model_validate(content)
    sdk.GenerationConfig.model_validate(body.get("generationConfig", {}))
    for tool in body.get("tools", []):
        sdk.Tool.model_validate(tool)
    assert isinstance(body, dict)
    return body


def events_of(data: bytes, request: ChatRequest | None = None, step: int = 1 << 20) -> list[Event]:
    reader = CODEC.reader(request or asked(Conversation([HELLO])), deployment())
    splitter = SSESplitter()
    found: list[Event] = []
    for start in range(0, len(data), step):
        for event in splitter.feed(data[start : start + step]):
            delta = reader.event(event.data)
            assert isinstance(delta, Events)
            found += delta.events
    assert reader.is_complete
    return found


def recorded(name: str, **rest: Any) -> list[Event]:
    return events_of((WIRE / name).read_bytes(), **rest)


def answered(name: str, request: ChatRequest | None = None) -> list[Event]:
    reader = CODEC.reader(request or asked(Conversation([HELLO])), deployment())
    delta = reader.answer((WIRE / name).read_bytes())
    assert isinstance(delta, Events)
    return delta.events


# -- answers


def test_thoughts_then_parallel_calls() -> None:
    found = recorded("parallel_calls.sse")
    assert found[0] == Started("r1", "gemini-2.5-pro")
    assert found[1] == Reasoning("**Looking up**\n\nTwo cities, so two calls.")
    starts = [event for event in found if isinstance(event, ToolStart)]
    assert [(one.index, one.name) for one in starts] == [(0, "weather"), (1, "weather"), (2, "now")]
    assert starts[0].signature == "CpYBAVSoXO6abQ=="
    assert starts[1].signature is None
    assert len({one.id for one in starts}) == 3
    assert all(one.id for one in starts)
    deltas = [event.arguments for event in found if isinstance(event, ToolDelta)]
    assert [json.loads(one) for one in deltas] == [{"city": "Zürich", "days": 2}, {"city": "東京"}, {}]
    assert [event.index for event in found if isinstance(event, ToolEnd)] == [0, 1, 2]
    assert [event for event in found if isinstance(event, Finish)] == [Finish("tool_calls", 0, "STOP")]
    usage = [event.usage for event in found if isinstance(event, UsageReport)][-1]
    assert usage == Usage(61, 73, cached_tokens=10, reasoning_tokens=40)


def test_images_and_sound_are_counted_apart() -> None:
    def of(**tokens: int) -> list[dict[str, Any]]:
        return [{"modality": kind, "tokenCount": count} for kind, count in tokens.items()]

    raw = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 60,
        "promptTokensDetails": of(TEXT=70, IMAGE=20, AUDIO=10),
        "candidatesTokensDetails": of(IMAGE=40, AUDIO=5, TEXT=15),
    }
    assert read_usage(raw) == Usage(
        100,
        60,
        audio_prompt_tokens=10,
        audio_completion_tokens=5,
        image_prompt_tokens=20,
        image_completion_tokens=40,
    )


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_images_of_the_answer_are_counted(dialect: Any) -> None:
    def piece(*parts: dict[str, Any], **more: Any) -> bytes:
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 1290}
        content = {"parts": list(parts)}
        return json.dumps({"candidates": [{"content": content, **more}], "usageMetadata": usage}).encode()

    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    sound = {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}
    reader = CODEC.reader(asked(Conversation([HELLO]), dialect=dialect), deployment())
    first = reader.event(piece({**image, "thought": True}, image, sound))
    last = reader.event(piece({"text": "and"}, image, finishReason="STOP"))
    assert first is not None
    assert last is not None
    assert (first.usage, last.usage) == (Usage(5, 1290, images=1), Usage(5, 1290, images=2))
    if isinstance(first, Events):
        assert first.events.count(Image("image/png", "AAAA")) == 1, "a sketch is no answer"


@pytest.mark.parametrize("name", sorted(path.name for path in WIRE.glob("*.sse")))
@given(step=st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_any_cut_of_the_bytes_gives_the_same(name: str, step: int) -> None:
    def told(step: int) -> list[Any]:
        try:
            found = recorded(name, step=step)
        except PenstockError as error:
            return [type(error), error.message]
        return [
            (event.name, event.index) if isinstance(event, ToolStart) else event for event in found
        ]  # ids are ours

    assert told(step) == told(1 << 20)


@pytest.mark.parametrize(
    ("name", "reason", "native"),
    [
        ("max_tokens.sse", "length", "MAX_TOKENS"),
        ("safety.sse", "content_filter", "SAFETY"),
        ("blocked.sse", "content_filter", "PROHIBITED_CONTENT"),
    ],
)
def test_how_answers_end(name: str, reason: Any, native: str) -> None:
    assert [one for one in recorded(name) if isinstance(one, Finish)] == [Finish(reason, 0, native)]


def test_a_malformed_call_is_an_error_and_no_stop() -> None:
    with pytest.raises(UpstreamError, match="MALFORMED_FUNCTION_CALL"):
        recorded("malformed_call.sse")


def test_an_error_inside_a_stream() -> None:
    with pytest.raises(UpstreamUnavailable, match="overloaded"):
        recorded("error_inside.sse")


def test_a_signature_on_text_ends_a_block_of_gemini() -> None:
    found = recorded("signed_text.sse")
    assert found[1:3] == [Text("Hello"), ReasoningEnd("EjQKMgG+Pvb7", None, "gemini")]


def test_citations_count_characters() -> None:
    cited = next(one for one in answered("grounded.json") if isinstance(one, Citation))
    assert (cited.url, cited.title, cited.start, cited.end) == ("https://example.org/z", "Zürich", 0, 22)
    assert cited.cited_text == "Zürich lies at a lake."


def test_candidates_images_and_logprobs() -> None:
    found = answered("candidates.json", asked(Conversation([HELLO], n=2)))
    text = found[1]
    assert isinstance(text, Text)
    assert text.logprobs is not None
    assert text.logprobs["content"][0]["logprob"] == -0.1
    assert [one["token"] for one in text.logprobs["content"][0]["top_logprobs"]] == ["one", "two"]
    assert Image("image/png", "iVBORw==") in found
    assert Text("two", 1) in found
    assert [one.choice for one in found if isinstance(one, Finish)] == [0, 1]


def test_a_stream_without_a_finish_is_not_complete() -> None:
    reader = CODEC.reader(asked(Conversation([HELLO])), deployment())
    reader.event(b'{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}')
    assert not reader.is_complete
    with pytest.raises(UpstreamInvalid):
        CODEC.reader(asked(Conversation([HELLO])), deployment()).answer(b'{"candidates": [{}]}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b'{"candidates": 3}',
        b'{"candidates": [7]}',
        b'{"candidates": [{"content": 3}]}',
        b'{"candidates": [{"index": "x", "content": {"parts": []}}]}',
        b'{"candidates": [{"index": -1}]}',
        b'{"candidates": [{"content": {"parts": [3]}}]}',
        b'{"candidates": [{"content": {"parts": [{"text": 3}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "a", "args": [1]}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": {}}]}}]}',
        b'{"candidates": [{"finishReason": 3}]}',
        b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": -3}}',
        b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": [1]}',
        b'{"candidates": [{"groundingMetadata": {"groundingSupports": [3]}}]}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
@pytest.mark.parametrize("way", ["event", "answer"])
@pytest.mark.parametrize("dialect", ["openai", "gemini"])
def test_garbage_is_upstream_invalid(body: bytes, way: str, dialect: Any) -> None:
    request = asked(Conversation([HELLO]), dialect=dialect)
    try:
        getattr(CODEC.reader(request, deployment()), way)(body)
    except UpstreamInvalid:
        return
    assert dialect == "gemini"  # where what nobody reads goes on as it is


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "candidates",
                        "content",
                        "parts",
                        "text",
                        "functionCall",
                        "name",
                        "args",
                        "index",
                        "finishReason",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["openai", "gemini"]),
)
@settings(max_examples=300, deadline=None)
def test_no_json_breaks_the_reader(value: Any, dialect: Any) -> None:
    reader = CODEC.reader(asked(Conversation([HELLO]), dialect=dialect), deployment())
    with contextlib.suppress(UpstreamError):
        reader.event(json.dumps(value).encode())


def test_the_same_dialect_is_kept_as_it_is() -> None:
    request = ChatRequest("public", {"contents": [{"parts": [{"text": "x"}]}], "odd": 1}, dialect="gemini")
    out = CODEC.encode(request, deployment())
    assert out.path == "/models/gemini-2.5-flash:generateContent"
    assert json.loads(out.body) == request.body
    raw = json.loads((WIRE / "candidates.json").read_bytes())
    delta = CODEC.reader(request, deployment()).answer((WIRE / "candidates.json").read_bytes())
    assert isinstance(delta, Answer)
    assert delta.body == raw
    chunk = CODEC.reader(request, deployment()).event(json.dumps(raw).encode())
    assert isinstance(chunk, Chunk)
    assert chunk.has_content


# -- requests


def test_what_others_signed_does_not_go_to_google() -> None:
    foreign = sealed("anthropic", "proof")
    parts = [
        {"text": "hm", "thought": True, "thoughtSignature": foreign},
        {"text": "x", "thoughtSignature": foreign},
        {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"},
    ]
    alone = {"role": "model", "parts": parts[:1]}
    hello = {"parts": [{"text": "x"}]}
    body = {"contents": [hello, {"role": "model", "parts": parts}, alone, hello]}
    out = CODEC.encode(ChatRequest("public", body, dialect="gemini"), deployment())
    kept = {"role": "model", "parts": [{"text": "x"}, parts[2]]}
    assert json.loads(out.body)["contents"] == [hello, kept, hello]
    assert out.dropped == ("messages[].reasoning",)
    assert len(body["contents"]) == 4
    assert len(parts[1]) == 2


def test_paths() -> None:
    request = asked(Conversation([HELLO]), stream=True)
    out = CODEC.encode(request, deployment("tunedModels/mine"))
    assert out.path == "/tunedModels/mine:streamGenerateContent?alt=sse"
    assert out.is_stream
    vertex = VertexCodec()
    assert vertex.encode(request, deployment("gemini-2.5-pro", vertex)).path == (
        "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    )
    full = "projects/p/locations/r/endpoints/77"
    assert vertex.encode(asked(Conversation([HELLO])), deployment(full, vertex)).path == (
        "/endpoints/77:generateContent"
    )


def test_system_turns() -> None:
    body = lowered(
        Turn("system", [TextPart("be brief")]), HELLO, Turn("system", [TextPart("in verse")]), HELLO
    )
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    texts = [part["text"] for part in body["contents"][0]["parts"]]
    assert texts == ["hello", "in verse", "hello"]
    assert len(body["contents"]) == 1


def _tool_turns(signature: str | None = None) -> list[Turn]:
    return [
        HELLO,
        Turn(
            "assistant",
            [
                ReasoningPart("hm", "sig", issuer="anthropic"),
                ToolCallPart("a", "weather", '{"city": "x"}', signature=signature),
                ToolCallPart("b", "weather", "{}"),
            ],
        ),
        Turn(
            "tool",
            [
                ToolResultPart("a", [TextPart('{"sky": "blue"}')]),
                ToolResultPart(
                    "b", [TextPart("no"), MediaPart("image", "image/png", data="AAAA")], is_error=True
                ),
            ],
        ),
    ]


def test_calls_and_results_meet_by_name_and_id() -> None:
    body = lowered(*_tool_turns("SIGN"))
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"name": "weather", "args": {"city": "x"}, "id": "a"},
                    "thoughtSignature": "SIGN",
                },
                {"functionCall": {"name": "weather", "args": {}, "id": "b"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "a"}},
                {"functionResponse": {"name": "weather", "response": {"error": "no"}, "id": "b"}},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            ],
        },
    ]


def test_vertex_knows_no_ids() -> None:
    assert b'"id"' not in VertexCodec().encode(asked(Conversation(_tool_turns())), deployment()).body


def test_gemini_3_wants_a_signature_on_the_first_call() -> None:
    parts = lowered(*_tool_turns(), model="gemini-3-pro-preview")["contents"][1]["parts"]
    assert "thoughtSignature" in parts[0]
    assert "thoughtSignature" not in parts[1]
    assert "thoughtSignature" not in lowered(*_tool_turns())["contents"][1]["parts"][0]


def test_foreign_reasoning_is_left_out_and_reported() -> None:
    out = CODEC.encode(asked(Conversation(_tool_turns(), user="me", prompt_cache_key="k")), deployment())
    assert set(out.dropped) == {"messages[].reasoning", "user", "prompt_cache_key"}


def test_own_reasoning_goes_back() -> None:
    parts = [
        ReasoningPart("hm", "S1AA", issuer="gemini"),
        TextPart("x"),
        ReasoningPart("", "S2AA", issuer="gemini"),
    ]
    body = lowered(HELLO, Turn("assistant", [*parts]), HELLO)
    assert body["contents"][1]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "S1AA"},
        {"text": "x"},
        {"text": "", "thoughtSignature": "S2AA"},
    ]


def test_media() -> None:
    body = lowered(
        Turn(
            "user",
            [
                MediaPart("image", "image/png", data="AAAA"),
                MediaPart("video", url="https://www.youtube.com/watch?v=x"),
                MediaPart("file", "application/pdf", url="gs://bucket/a.pdf"),
            ],
        )
    )
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}},
        {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
    ]
    assert CODEC.takes_url("https://youtu.be/x")
    assert not CODEC.takes_url("https://example.org/youtube.com/watch")


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        (
            ToolChoice("auto", allowed=("weather",)),
            {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, config: dict[str, Any]) -> None:
    body = lowered(tools=[WEATHER], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == WEATHER.parameters


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("gemini-2.5-flash", Thinking(effort="low"), {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", Thinking(enabled=False), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Thinking(effort="none"), {"thinkingBudget": 128}),
        ("gemini-3-pro-preview", Thinking(effort="max"), {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-flash", Thinking(enabled=False), {"thinkingLevel": "minimal"}),
        (
            "gemini-2.5-pro",
            Thinking(True, None, 999, False),
            {"thinkingBudget": 999, "includeThoughts": False},
        ),
        ("gemini-2.5-pro", Thinking(True, None, 99), {"thinkingBudget": 128, "includeThoughts": True}),
        ("gemini-2.5-pro", Thinking(True, None, 99_999), {"thinkingBudget": 32_768, "includeThoughts": True}),
        (
            "gemini-2.5-flash",
            Thinking(True, None, 31_999),
            {"thinkingBudget": 24_576, "includeThoughts": True},
        ),
        (
            "gemini-2.5-flash-lite",
            Thinking(True, None, 1),
            {"thinkingBudget": 512, "includeThoughts": True},
        ),
        ("gemini-2.5-pro", Thinking(True), {"thinkingBudget": -1, "includeThoughts": True}),
    ],
)
def test_thinking(model: str, thinking: Thinking, config: dict[str, Any]) -> None:
    assert lowered(model=model, thinking=thinking)["generationConfig"]["thinkingConfig"] == config


def test_sampling_and_format() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"$ref": "#/$defs/B"}},
        "$defs": {"B": {"type": "string"}},
        "additionalProperties": False,
    }
    config = lowered(
        n=2,
        stop=["a"],
        max_tokens=7,
        top_k=3,
        logprobs=True,
        top_logprobs=2,
        format=Format("json_schema", schema=schema),
    )["generationConfig"]
    assert config.pop("responseJsonSchema") == {
        "type": "object",
        "properties": {"a": {"enum": [1], "type": "integer"}, "b": {"type": "string"}},
        "additionalProperties": False,
    }
    assert config == {
        "maxOutputTokens": 7,
        "topK": 3,
        "candidateCount": 2,
        "stopSequences": ["a"],
        "responseLogprobs": True,
        "logprobs": 2,
        "responseMimeType": "application/json",
    }


def test_what_gemini_cannot_bind_is_checked_afterwards() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}
    conversation = Conversation([HELLO], format=Format("json_schema", schema=schema))
    assert CODEC.encode(asked(conversation), deployment()).schema == schema


def test_custom_tools_are_functions_of_one_text() -> None:
    conversation = Conversation([HELLO], tools=[Tool("sql", kind="custom")])
    request = asked(conversation)
    body = json.loads(CODEC.encode(request, deployment()).body)
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["required"] == ["input"]
    data = {"content": {"parts": [{"functionCall": {"name": "sql", "args": {"input": "SELECT 1"}}}]}}
    answer = json.dumps({"candidates": [{**data, "finishReason": "STOP"}]}).encode()
    delta = CODEC.reader(request, deployment()).answer(answer)
    assert isinstance(delta, Events)
    start = delta.events[1]
    assert isinstance(start, ToolStart)
    assert start.kind == "custom"
    assert delta.events[2] == ToolDelta(0, "SELECT 1")


def test_nothing_to_say() -> None:
    with pytest.raises(UnsupportedParameter):
        CODEC.encode(asked(Conversation([Turn("user", [TextPart("")])])), deployment())


# -- schemas


def test_the_openapi_subset() -> None:
    schema = {
        "type": "object",
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        "properties": {
            "kind": {"const": "a"},
            "n": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "o": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
            "list": {"type": "array", "uniqueItems": True},
            "node": {"$ref": "#/$defs/Node"},
            "both": {
                "allOf": [{"type": "object", "properties": {"x": {"type": "string"}}}, {"required": ["x"]}]
            },
        },
        "required": ["kind", "gone"],
        "additionalProperties": False,
    }
    found = subset(schema)
    sdk.Schema.model_validate(found)
    assert found["properties"]["kind"] == {"enum": ["a"], "type": "STRING"}
    assert found["properties"]["n"] == {"type": "INTEGER", "nullable": True}
    assert found["properties"]["o"] == {"type": "STRING", "nullable": True}
    assert found["properties"]["list"] == {"type": "ARRAY", "items": {"type": "STRING"}}
    assert found["properties"]["both"]["required"] == ["x"]
    assert found["required"] == ["kind"]
    text = json.dumps(found)
    assert not any(word in text for word in ("$ref", "$defs", "const", "additionalProperties", "uniqueItems"))


def test_schemas_that_grow_without_end() -> None:
    node = {"type": "object", "properties": {name: {"$ref": "#/$defs/N"} for name in "abcdefgh"}}
    _, is_lossy = narrowed({"$ref": "#/$defs/N", "$defs": {"N": node}})
    assert is_lossy
    assert narrowed({"$ref": "#"})[1]
    assert narrowed({"allOf": [{"$ref": "#"}]}) is not None


# -- counts and embeddings


def test_counting() -> None:
    request = asked(Conversation([HELLO], tools=[WEATHER]), counts_only=True)
    out = CODEC.encode(request, deployment())
    assert out.path.endswith(":countTokens")
    assert json.loads(out.body)["generateContentRequest"]["model"] == "models/gemini-2.5-flash"
    assert CODEC.reader(request, deployment()).answer(b'{"totalTokens": 31}') == Counted(31)
    vertex = VertexCodec()
    assert set(json.loads(vertex.encode(request, deployment(codec=vertex)).body)) == {"contents", "tools"}
    for body in (b"", b"[]", b"{}", b'{"totalTokens": -1}', b'{"totalTokens": "x"}'):
        with pytest.raises(UpstreamInvalid):
            CODEC.reader(request, deployment()).answer(body)


def test_embeddings() -> None:
    request = EmbeddingRequest("public", ["a", "b"], 2, purpose="query")
    out = CODEC.encode(request, deployment("gemini-embedding-001"))
    assert out.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert json.loads(out.body)["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 2,
        "content": {"parts": [{"text": "b"}]},
    }
    answer = b'{"embeddings": [{"values": [3, 4]}, {"values": [0.0, 1.0]}]}'
    delta = CODEC.reader(request, deployment()).answer(answer)
    assert isinstance(delta, Vectors)
    assert delta.vectors == [[0.6, 0.8], [0.0, 1.0]]
    vertex = VertexCodec()
    out = vertex.encode(request, deployment("text-embedding-005", vertex))
    assert out.path == "/publishers/google/models/text-embedding-005:predict"
    assert json.loads(out.body)["instances"][0] == {"task_type": "RETRIEVAL_QUERY", "content": "a"}
    predicted = {"embeddings": {"values": [1.0, 0.0], "statistics": {"token_count": 3}}}
    delta = vertex.reader(request, deployment()).answer(json.dumps({"predictions": [predicted] * 2}).encode())
    assert delta.usage == Usage(6)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"embeddings": [{"values": ["x"]}]}', b'{"embeddings": [{"values": [1]}]}']
)
def test_embeddings_that_are_none(body: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        CODEC.reader(EmbeddingRequest("m", ["a", "b"]), deployment()).answer(body)


def test_token_ids_are_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        CODEC.encode(EmbeddingRequest("m", [[1, 2]]), deployment())


# -- refusals


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"status": "INVALID_ARGUMENT", "message": "Invalid value at x"}, InvalidRequest),
        (
            400,
            {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."},
            ContextLengthExceeded,
        ),
        (400, {"message": "API key not valid. Please pass a valid API key."}, UpstreamCredentials),
        (400, {"message": "x", "details": [{"reason": "API_KEY_INVALID"}]}, UpstreamCredentials),
        (401, {"message": "no"}, UpstreamCredentials),
        (403, {"message": "no"}, UpstreamCredentials),
        (404, {"message": "models/x is not found"}, UpstreamError),
        (429, {"message": "quota"}, UpstreamRateLimited),
        (500, {"message": "x"}, UpstreamUnavailable),
        (503, {"message": "x"}, UpstreamUnavailable),
        (504, {"message": "x"}, UpstreamTimeout),
    ],
)
@pytest.mark.parametrize("is_list", [False, True])
def test_refusals(status: int, error: dict[str, Any], kind: type[PenstockError], *, is_list: bool) -> None:
    body: Any = {"error": {"code": status, **error}}
    found = CODEC.map_error(status, (), json.dumps([body] if is_list else body).encode())
    assert type(found) is kind
    assert "AIza" not in found.message


def test_how_long_to_wait() -> None:
    found = CODEC.map_error(429, (), (WIRE / "error_429.json").read_bytes())
    assert found.retry_after_s == 21.5


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"\xff", b"[]", b'{"error": 3}', b'{"error": []}']
)
def test_refusals_that_are_no_json(body: bytes) -> None:
    assert type(CODEC.map_error(502, (), body)) is UpstreamUnavailable
