"""Whatever clients of any dialect may say, every vendor takes: its strict double refuses nothing of it."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_every_pair import codec_of
from test_translation import EVERY, double_of, url_of

from penstock.testing.clock import FakeClock
from penstock.testing.double import Recorded
from penstock.testing.ollama import OllamaDouble
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import Deployment
from penstock.types.errors import UnsupportedParameter
from penstock.types.requests import ChatRequest

JSON = dict[str, Any]

MODELS = {
    "openai": ["gpt-4o", "gpt-5", "gpt-5.1", "o3"],
    "responses": ["gpt-4.1", "gpt-5", "gpt-5.2-pro", "o3"],
    "anthropic": ["claude-3-5-haiku-20241022", "claude-sonnet-4-5", "claude-opus-4-6"],
    "gemini": [
        "gemini-2.0-flash",
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "gemini-2.5-flash-lite",
        "gemini-3-pro",
    ],
    "bedrock": [
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "amazon.nova-pro-v1:0",
        "qwen.qwen3-32b-v1:0",
    ],
    "ollama": ["llama3.2", "gpt-oss:20b"],
}
TARGETS = [(to, model) for to in EVERY for model in MODELS[to]]

TEXTS = st.text("ab \n🎉", max_size=4)
PNG = "iVBORw0KGgo="
IMAGES = st.sampled_from(
    [MediaPart("image", "image/png", data=PNG), MediaPart("image", "image/jpeg", data="/9j/", detail="low")]
)
FILES = st.sampled_from(
    [
        MediaPart("file", "application/pdf", data="JVBERg==", name="Report v1. final (2).pdf"),
        MediaPart("file", "text/plain", data="aGk=", name="ä.txt"),
        MediaPart("file", "text/csv", data="YSxi"),
    ]
)
SCHEMAS: list[JSON | None] = [
    None,
    {},
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "array"}}},
    {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 2}}},
            {"type": "object"},
        ]
    },
    {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {"a": {"$ref": "#/$defs/T"}}}}},
    {
        "type": "object",
        "properties": {"a": {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}},
    },
    {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
]
FORMS: list[JSON] = [
    {"type": "array", "items": {"type": "string"}},
    {"type": "string", "enum": ["a", "b"]},
    {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
    *(schema for schema in SCHEMAS if schema),
]
NAMES = ["f", "g h", "fs.read", "g_h", "2fa-send", "mcp__" + "x" * 100, "söze", "srv:tool"]
IDS = ["f:0", "call.1", "toolu_" + "a" * 60, "c", "c|1"]
PROOFS = [(None, ""), *(("c2ln", issuer) for issuer in EVERY)]


@st.composite
def tools(draw: st.DrawFn) -> list[Tool]:
    made: list[Tool] = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        kind = draw(st.sampled_from(["function", "function", "custom"]))
        if kind == "custom":
            made.append(Tool(name, draw(st.sampled_from([None, "does it"])), kind="custom"))
        else:
            strict = draw(st.sampled_from([None, False, True]))
            made.append(Tool(name, None, draw(st.sampled_from(SCHEMAS)), strict))
    if draw(st.booleans()):
        made.append(Tool("web_search", kind="native", native={"type": "web_search"}, dialect="elsewhere"))
    return made


@st.composite
def choices(draw: st.DrawFn, names: list[str]) -> ToolChoice | None:
    if not names:
        return None
    some = tuple(draw(st.lists(st.sampled_from(names), unique=True, min_size=1)))
    every = [
        None,
        ToolChoice("auto"),
        ToolChoice("none"),
        ToolChoice("required"),
        ToolChoice("named", some[0]),
    ]
    return draw(
        st.sampled_from([*every, ToolChoice("auto", allowed=some), ToolChoice("required", allowed=some)])
    )


@st.composite
def spoken(draw: st.DrawFn, names: list[str], waiting: list[ToolCallPart]) -> Turn:
    """An assistant's turn; its calls wait for their results."""
    parts: list[Part] = []
    for _ in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["thought", "text", "call", "refusal", "native", "image"])):
            case "thought":
                signature, issuer = draw(st.sampled_from(PROOFS))
                parts.append(ReasoningPart(draw(TEXTS), signature, issuer=issuer))
            case "text":
                parts.append(TextPart(draw(TEXTS)))
            case "refusal":
                parts.append(RefusalPart("no"))
            case "native":
                parts.append(NativePart("elsewhere", {"type": "search_result"}))
            case "image":
                parts.append(draw(IMAGES))
            case "call":
                free = [one for one in IDS if one not in {call.id for call in waiting}]
                if free:
                    kind = draw(st.sampled_from(["function", "custom"]))
                    text = draw(st.sampled_from(["{}", '{"a": 1}']))
                    call = ToolCallPart(draw(st.sampled_from(free)), draw(st.sampled_from(names)), text, kind)  # type: ignore[arg-type]
                    parts.append(call)
                    waiting.append(call)
    return Turn("assistant", parts)


@st.composite
def answered(draw: st.DrawFn, waiting: list[ToolCallPart], least: int) -> Turn:
    parts: list[Part] = []
    for call in draw(st.permutations(waiting))[: draw(st.integers(least, len(waiting)))]:
        waiting.remove(call)
        content: list[Any] = [TextPart(text) for text in draw(st.lists(TEXTS, max_size=2))]
        content += draw(st.lists(IMAGES, max_size=1))
        parts.append(ToolResultPart(call.id, content, call.name, draw(st.booleans()), call.kind))
    return Turn("tool", parts)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    offered = draw(tools())
    names = [tool.name for tool in offered]
    turns = [Turn("system", [TextPart(draw(TEXTS))]) for _ in range(draw(st.integers(0, 2)))]
    turns.append(Turn("user", [TextPart("go")]))
    waiting: list[ToolCallPart] = []
    for _ in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["user", "system", "assistant", "assistant", "tool", "tool"])):
            case "user":
                media = draw(st.lists(IMAGES | FILES, max_size=3))
                turns.append(Turn("user", [TextPart(draw(TEXTS)), *media]))
            case "system":
                turns.append(Turn("system", [TextPart(draw(TEXTS))]))
            case "assistant":
                turns.append(draw(spoken([*names, "gone"], waiting)))
            case "tool" if waiting:
                turns.append(draw(answered(waiting, 1)))
    if waiting:
        turns.append(draw(answered(waiting, len(waiting))))
    if turns[-1].role == "assistant":
        turns.append(Turn("user", [TextPart("go on")]))
    return Conversation(
        turns,
        tools=offered,
        tool_choice=draw(choices(names)),
        parallel_tool_calls=draw(st.sampled_from([None, False, True])),
        max_tokens=draw(st.sampled_from([None, 1, 900, 2_000, 40_000])),
        temperature=draw(st.sampled_from([None, 0, 0.7, 1, 1.6])),
        top_p=draw(st.sampled_from([None, 0.5, 1])),
        top_k=draw(st.sampled_from([None, 4])),
        stop=draw(st.sampled_from([[], ["x"], ["y"] * 6])),
        seed=draw(st.sampled_from([None, 7])),
        logprobs=draw(st.sampled_from([None, False, True])),
        thinking=draw(st.one_of(st.none(), wishes())),
        format=draw(st.one_of(st.none(), forms())),
        user=draw(st.sampled_from([None, "u"])),
    )


@st.composite
def wishes(draw: st.DrawFn) -> Thinking:
    return Thinking(
        draw(st.sampled_from([None, True, False])),
        draw(st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"])),
        draw(st.sampled_from([None, 1, 1_024, 31_999, 100_000])),
        draw(st.sampled_from([None, True, False])),
    )


@st.composite
def forms(draw: st.DrawFn) -> Format:
    if draw(st.booleans()):
        return Format("json_object")
    return Format("json_schema", schema=draw(st.sampled_from(FORMS)), strict=None)


@pytest.mark.parametrize(("to", "model"), TARGETS)
@given(said=conversations())
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_vendor_takes_what_is_written_for_it(to: str, model: str, said: Conversation) -> None:
    codec = codec_of(to)
    request = ChatRequest("m", {}, dialect="cohere", lift=lambda _: said)
    before = json.dumps(repr(said))
    target = Deployment("d", model, codec, codec.operations)
    if to == "ollama" and any(
        isinstance(p, MediaPart) and p.kind == "file" for t in said.turns for p in t.parts
    ):
        with pytest.raises(UnsupportedParameter):
            codec.encode(request, target)
        return
    outgoing = codec.encode(request, target)
    assert json.dumps(repr(said)) == before, "another target may be told it next"
    headers = {"authorization": "Bearer k", "x-api-key": "k", "x-goog-api-key": "k", **dict(outgoing.headers)}
    sent = json.loads(outgoing.body)
    path = url_of(to, outgoing.path)
    double = OllamaDouble(thinks="gpt-oss" in model, clock=FakeClock()) if to == "ollama" else double_of(to)
    answer = double.answer(Recorded("POST", path, "", headers, outgoing.body, sent, 0.0))
    assert answer.status == 200, (answer.body, sent)
