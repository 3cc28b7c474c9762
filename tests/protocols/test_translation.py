"""What is legal in one dialect, and what becomes of it in the others: cases that were wrong once.

Each target is the strict double of its vendor: what it refuses, the vendor refuses.
"""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_every_pair import PATHS, codec_of, inbound_of, reader_of
from test_every_pair import told as told_as
from typed_events import answers
from wire_help import new_call

from penstock.engines.llamacpp import ENGINE
from penstock.protocols import INBOUND, find
from penstock.providers.cohere import embed_body
from penstock.providers.ollama_reader import ChatReader
from penstock.providers.openai import OpenAICodec
from penstock.providers.openai_models import Efforts, efforts
from penstock.providers.profiles import profile
from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.bedrock import BedrockDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.clock import FakeClock
from penstock.testing.double import Recorded
from penstock.testing.gemini import GeminiDouble
from penstock.testing.ollama import OllamaDouble
from penstock.testing.responses import ResponsesDouble
from penstock.types.conversation import Conversation, TextPart, Tool, ToolCallPart, Turn
from penstock.types.deployment import Deployment, Quirks
from penstock.types.events import (
    Citation,
    Event,
    Events,
    Finish,
    FinishReason,
    Image,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.requests import ChatRequest, EmbeddingRequest

JSON = dict[str, Any]
T = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
MODELS = {
    "openai": "gpt-4o",
    "responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "ollama": "llama3.2",
}
EVERY = tuple(MODELS)


def double_of(to: str) -> Any:
    made: dict[str, Any] = {
        "openai": ChatDouble,
        "responses": ResponsesDouble,
        "anthropic": AnthropicDouble,
        "gemini": GeminiDouble,
        "bedrock": BedrockDouble,
    }
    if to == "ollama":
        return OllamaDouble(thinks=False, clock=FakeClock())
    double = made[to](clock=FakeClock())
    double.seals.is_good = lambda *_: True  # signatures are not what is looked at here
    return double


def url_of(to: str, path: str) -> str:
    base = {"openai": "/v1", "responses": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
    return base.get(to, "") + path


def told(source: str, body: JSON, to: str, model: str | None = None) -> tuple[JSON, tuple[str, ...]]:
    """The body that `to` gets and accepts, and what was left out of it."""
    path = PATHS.get(source, source)
    inbound = INBOUND.get(path) or find(path, b"alt=sse")
    assert inbound is not None
    request = inbound.decode(json.loads(json.dumps(body)))
    request.stream = False
    codec = codec_of(to)
    target = Deployment("d", model or MODELS[to], codec, codec.operations)
    outgoing = codec.encode(request, target)
    headers = {"authorization": "Bearer k", "x-api-key": "k", "x-goog-api-key": "k", **dict(outgoing.headers)}
    path = url_of(to, outgoing.path)
    sent = json.loads(outgoing.body)
    answer = double_of(to).answer(Recorded("POST", path, "", headers, outgoing.body, sent, 0.0))
    assert answer.status == 200, answer.body
    return sent, outgoing.dropped


def asked(source: str, **more: Any) -> JSON:
    """A question in `source`, and more of its fields."""
    bodies: JSON = {
        "openai": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        "responses": {"model": "m", "input": "hi"},
        "anthropic": {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        "ollama": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    }
    return {**bodies[source], **more}


def chat_call(call_id: str, name: str = "f", arguments: str = "{}") -> JSON:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_function(name: str = "f", **more: Any) -> JSON:
    return {"type": "function", "function": {"name": name, "parameters": T, **more}}


# -- calls and their results

TWO_CALLS = [chat_call("c1", arguments='{"a": "Oslo"}'), chat_call("c2", arguments='{"a": "Rome"}')]


@pytest.mark.parametrize("to", [name for name in EVERY if name != "openai"])
def test_results_that_come_in_another_order_are_those_of_their_calls(to: str) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": TWO_CALLS},
        {"role": "tool", "tool_call_id": "c2", "content": "of Rome"},
        {"role": "tool", "tool_call_id": "c1", "content": "of Oslo"},
    ]
    sent, dropped = told("openai", {"model": "m", "messages": messages, "tools": [chat_function()]}, to)
    written = json.dumps(sent)
    assert written.index("Oslo") < written.index("Rome") < written.index("of Oslo") < written.index("of Rome")
    assert dropped == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "openai"])
def test_calls_that_a_model_numbers_in_each_turn_are_told_apart(to: str) -> None:
    messages: list[JSON] = [{"role": "user", "content": "hi"}]
    for text in ("one", "two", "three"):
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [chat_call("f:0")]},
            {"role": "tool", "tool_call_id": "f:0", "content": text},
        ]
    told("openai", {"model": "m", "messages": messages, "tools": [chat_function()]}, to)


@pytest.mark.parametrize("to", [name for name in EVERY if name != "responses"])
def test_a_person_may_speak_before_the_tool_has(to: str) -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"role": "user", "content": "hurry"},
        {"type": "function_call_output", "call_id": "a", "output": "x"},
    ]
    tool = {"type": "function", "name": "f", "parameters": T}
    sent, dropped = told("responses", {"model": "m", "input": items, "tools": [tool]}, to)
    assert "hurry" in json.dumps(sent)
    assert dropped == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "responses"])
def test_a_model_may_call_again_before_the_tool_has_answered(to: str) -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"a": "Oslo"}'},
        {"role": "user", "content": "and Rome?"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": '{"a": "Rome"}'},
        {"type": "function_call_output", "call_id": "b", "output": "30 degrees"},
        {"type": "function_call_output", "call_id": "a", "output": "2 degrees"},
    ]
    tool = {"type": "function", "name": "f", "parameters": T}
    sent, dropped = told("responses", {"model": "m", "input": items, "tools": [tool]}, to)
    written = json.dumps(sent)
    order = [written.index(text) for text in ("Oslo", "2 degrees", "and Rome?", "30 degrees")]
    assert order == sorted(order)
    assert dropped == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "gemini"])
def test_images_of_results_do_not_come_between_results(to: str) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    first = {"name": "f", "response": {"output": "x"}, "parts": [image]}
    contents = [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in "fg"]},
        {"role": "user", "parts": [{"functionResponse": first}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {"output": "y"}}}]},
    ]
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    sent, dropped = told("gemini", {"contents": contents, "tools": tools}, to)
    assert "iVBORw0KGgo=" in json.dumps(sent)
    assert dropped == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "openai"])
def test_a_custom_tool_s_result_is_one(to: str) -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
    ]
    tools = [{"type": "custom", "custom": {"name": "sh"}}]
    sent, dropped = told("openai", {"model": "m", "messages": messages, "tools": tools}, to)
    if to == "responses":
        assert [item["type"] for item in sent["input"][1:]] == ["custom_tool_call", "custom_tool_call_output"]
    assert dropped == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "ollama"])
def test_images_of_ollama_s_results_arrive(to: str) -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "tool_name": "f", "content": "", "images": ["iVBORw0KGgo="]},
    ]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    sent, _ = told("ollama", {"model": "m", "messages": messages, "tools": [tool]}, to)
    assert "iVBORw0KGgo=" in json.dumps(sent)


def test_a_document_stands_behind_the_results_at_bedrock() -> None:
    """As Claude Code sends a PDF that it has read."""
    document = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
    }
    messages = [
        {"role": "user", "content": "read"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1"}, document]},
    ]
    tools = [{"name": "Read", "input_schema": T}]
    sent, _ = told("anthropic", asked("anthropic", messages=messages, tools=tools), "bedrock")
    assert [next(iter(block)) for block in sent["messages"][-1]["content"]] == [
        "toolResult",
        "text",
        "document",
    ]


def test_an_error_that_ollama_cannot_be_told_is_reported() -> None:
    messages = [
        {"role": "user", "content": "read"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": "boom"}],
        },
    ]
    tools = [{"name": "f", "input_schema": T}]
    _, dropped = told("anthropic", asked("anthropic", messages=messages, tools=tools), "ollama")
    assert dropped == ("messages[].tool_result.is_error",)


# -- tools


@pytest.mark.parametrize("to", [name for name in EVERY if name != "anthropic"])
def test_a_tool_without_parameters(to: str) -> None:
    body = asked("anthropic", tools=[{"name": "now", "input_schema": {"type": "object"}}])
    assert told("anthropic", body, to)[1] == ()


@pytest.mark.parametrize("to", ["openai", "responses"])
def test_a_strict_tool_that_openai_would_not_take_so(to: str) -> None:
    schema = {**T, "properties": {**T["properties"], "b": {"type": "string"}}, "additionalProperties": False}
    body = asked("anthropic", tools=[{"name": "f", "strict": True, "input_schema": schema}])
    assert told("anthropic", body, to)[1] == ("tools[].strict",)
    whole = {**schema, "required": ["a", "b"]}
    body = asked("anthropic", tools=[{"name": "f", "strict": True, "input_schema": whole}])
    assert told("anthropic", body, to)[1] == ()


NOT_STRICT: list[JSON] = [
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"allOf": [{"type": "string"}]},
    {"description": "anything"},
    {"type": "object", "patternProperties": {"x": {}}, "additionalProperties": False},
    {"type": ["object", "null"], "properties": {"b": {"type": "string"}}, "required": ["b"]},
    {"$ref": "#/definitions/open"},
    {"$ref": "#/definitions/closed", "description": "with more beside it"},
    {"type": "array"},
    {"type": "array", "items": {"oneOf": []}},
]


@pytest.mark.parametrize("inner", NOT_STRICT)
@pytest.mark.parametrize("to", ["openai", "responses"])
def test_a_schema_that_openai_cannot_be_bound_to(inner: JSON, to: str) -> None:
    closed: JSON = {"type": "object", "properties": {}, "additionalProperties": False}
    schema: JSON = {
        **closed,
        "properties": {"a": inner},
        "required": ["a"],
        "definitions": {"closed": closed},
    }
    if inner.get("$ref") == "#/definitions/open":
        schema["definitions"]["open"] = {"type": "object", "properties": {"b": {"type": "string"}}}
    body = asked("anthropic", tools=[{"name": "f", "strict": True, "input_schema": schema}])
    assert told("anthropic", body, to)[1] == ("tools[].strict",)


@pytest.mark.parametrize("to", ["openai", "responses"])
def test_an_array_of_anything_says_so(to: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}, "items": {"type": "string"}}}
    body = asked("anthropic", tools=[{"name": "f", "input_schema": schema}])
    sent, dropped = told("anthropic", body, to)
    assert '"items": {}' in json.dumps(sent)
    assert dropped == ()
    form = {"format": {"type": "object", "properties": {"a": {"type": ["array", "null"]}}}}
    assert told("ollama", asked("ollama", **form), to)[1] == ()


def union(key: str) -> JSON:
    """A tool that is told one of two things, as pydantic writes it."""
    file = {"type": "object", "properties": {"kind": {"const": "file"}, "path": {"type": "string"}}}
    url = {"type": "object", "properties": {"kind": {"const": "url"}, "url": {"type": "string"}}}
    file["required"], url["required"] = ["kind", "path"], ["kind", "url"]
    return {key: [{"$ref": "#/$defs/File"}, url], "$defs": {"File": file}}


@pytest.mark.parametrize("key", ["anyOf", "oneOf", "allOf"])
@pytest.mark.parametrize("to", ["openai", "responses", "anthropic", "bedrock"])
def test_a_choice_at_the_root_of_a_tool_becomes_its_properties(key: str, to: str) -> None:
    function = {"type": "function", "function": {"name": "f", "parameters": union(key)}}
    sent, dropped = told("ollama", asked("ollama", tools=[function]), to)
    written = json.dumps(sent)
    assert '"path"' in written
    assert '"url"' in written
    assert dropped == (() if key == "allOf" else ("tools[].parameters",))


@pytest.mark.parametrize("to", [name for name in EVERY if name != "ollama"])
def test_a_choice_at_the_root_of_a_format(to: str) -> None:
    schema = {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    told("ollama", asked("ollama", format=schema), to)


def test_servers_that_are_bound_by_any_schema_are_told_it() -> None:
    body = {**asked("gemini"), "generationConfig": ARRAY}
    path = "/v1beta/models/m:generateContent"
    inbound = find(path, b"")
    assert inbound is not None
    for quirks, is_bound in ((ENGINE.quirks, True), (profile("vllm").quirks, True), (Quirks(), False)):
        codec = OpenAICodec(quirks)
        request = inbound.decode(json.loads(json.dumps(body)))
        sent = codec.encode(request, Deployment("d", "m", codec, codec.operations))
        assert ("response_format" in json.loads(sent.body)) is is_bound
        assert (sent.schema is None) is is_bound


NAMES = [
    ("gemini", "server.tool:x", {"tools": [{"functionDeclarations": [{"name": "server.tool:x"}]}]}),
    ("anthropic", "m" * 100, {"tools": [{"name": "m" * 100, "input_schema": T}]}),
    ("openai", "2fa-send", {"tools": [chat_function("2fa-send")]}),
]


@pytest.mark.parametrize(("source", "name", "more"), NAMES)
@pytest.mark.parametrize("to", EVERY)
def test_names_are_in_the_vendor_s_letters_and_read_back(source: str, name: str, more: JSON, to: str) -> None:
    if source == to:
        return
    sent, dropped = told(source, asked(source, **more), to)
    assert dropped == ()
    theirs = name_in(to, sent)
    conversation = Conversation([Turn("user", [TextPart("hi")])], [Tool(name)])
    request = ChatRequest("m", {}, dialect="cohere", lift=lambda _: conversation)
    codec = codec_of(to)
    target = Deployment("d", MODELS[to], codec, codec.operations)
    delta = codec.reader(request, target).answer(json.dumps(calling(to, theirs)).encode())
    assert isinstance(delta, Events)
    assert [event.name for event in delta.events if isinstance(event, ToolStart)] == [name]


def name_in(to: str, sent: JSON) -> str:
    match to:
        case "gemini":
            found = sent["tools"][0]["functionDeclarations"][0]["name"]
        case "bedrock":
            found = sent["toolConfig"]["tools"][0]["toolSpec"]["name"]
        case "openai" | "ollama":
            found = sent["tools"][0]["function"]["name"]
        case _:
            found = sent["tools"][0]["name"]
    return str(found)


def calling(to: str, name: str) -> JSON:
    """An answer of that vendor that calls `name` with nothing."""
    match to:
        case "openai":
            message = {"role": "assistant", "content": None, "tool_calls": [chat_call("c", name)]}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        case "responses":
            call = {"type": "function_call", "call_id": "c", "name": name, "arguments": "{}"}
            return {"id": "resp_1", "status": "completed", "output": [call]}
        case "anthropic":
            use = {"type": "tool_use", "id": "c", "name": name, "input": {}}
            usage = {"input_tokens": 1, "output_tokens": 1}
            return {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [use],
                "stop_reason": "tool_use",
                "usage": usage,
            }
        case "gemini":
            parts = [{"functionCall": {"name": name, "args": {}}}]
            return {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
        case "bedrock":
            block = {"toolUse": {"toolUseId": "c", "name": name, "input": {}}}
            return {"output": {"message": {"content": [block]}}, "stopReason": "tool_use"}
        case _:
            message = {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": {}}}]}
            return {"model": "m", "message": message, "done": True, "done_reason": "stop"}


@pytest.mark.parametrize("to", [name for name in EVERY if name != "responses"])
def test_who_asks_for_a_tool_that_cannot_be_told_keeps_the_others(to: str) -> None:
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": T}]
    body = asked("responses", tools=tools, tool_choice={"type": "web_search"})
    sent, dropped = told("responses", body, to)
    assert name_in(to, sent) == "f"
    assert sorted(dropped) == ["tool_choice", "tools.web_search"]


@pytest.mark.parametrize("to", [name for name in EVERY if name != "responses"])
def test_who_must_call_a_tool_that_cannot_be_told_is_free(to: str) -> None:
    body = asked("responses", tools=[{"type": "web_search"}], tool_choice="required")
    _, dropped = told("responses", body, to)
    assert sorted(dropped) == ["tool_choice", "tools.web_search"]


def test_thinking_stays_where_no_tool_is_forced_any_more() -> None:
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": T}]
    more = {"tools": tools, "tool_choice": {"type": "web_search"}, "reasoning": {"effort": "low"}}
    sent, dropped = told("responses", asked("responses", **more), "bedrock")
    assert sent["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert "thinking" not in dropped


@pytest.mark.parametrize("choice", ["named", "allowed"])
@pytest.mark.parametrize("to", [name for name in EVERY if name not in ("responses", "ollama")])
def test_a_custom_tool_can_be_asked_for(choice: str, to: str) -> None:
    tools = [{"type": "custom", "name": "sh"}, {"type": "function", "name": "f", "parameters": T}]
    named: JSON = {"type": "custom", "name": "sh"}
    wanted = named if choice == "named" else {"type": "allowed_tools", "mode": "auto", "tools": [named]}
    assert told("responses", asked("responses", tools=tools, tool_choice=wanted), to)[1] == ()


# -- the form of an answer


@pytest.mark.parametrize("source", ["ollama", "gemini"])
@pytest.mark.parametrize("to", ["openai", "responses"])
def test_openai_reads_the_word_json_where_json_is_asked_for(source: str, to: str) -> None:
    config = {"generationConfig": {"responseMimeType": "application/json"}}
    sent, dropped = told(source, asked(source, **(config if source == "gemini" else {"format": "json"})), to)
    assert "JSON" in json.dumps(sent)
    assert dropped == ()


ARRAY = {
    "responseMimeType": "application/json",
    "responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}},
}
ENUM = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a", "b"]}}


@pytest.mark.parametrize("config", [ARRAY, ENUM])
@pytest.mark.parametrize("to", [name for name in EVERY if name != "gemini"])
def test_a_schema_whose_root_is_no_object(config: JSON, to: str) -> None:
    body = asked("gemini", generationConfig=config)
    sent, dropped = told("gemini", body, to)
    assert "ARRAY" not in json.dumps(sent)
    assert dropped == ()


@pytest.mark.parametrize("stream", [True, False])
def test_a_word_of_an_enum_has_no_quotes(stream: bool) -> None:
    inbound = INBOUND.get(PATHS["gemini"]) or find(PATHS["gemini"], b"alt=sse")
    assert inbound is not None
    request = inbound.decode(asked("gemini", generationConfig=ENUM))
    encoder = inbound.encoder(request, new_call())
    events: list[Event] = [Text('"'), Text('a"'), Finish("stop")]
    if stream:
        out = b"".join(encoder.stream([Events([event])]) for event in events) + encoder.stream_end()
    else:
        encoder.fold([Events(events)])
        out = encoder.answer()
    assert b'{"text":"a"}' in out


def test_functions_and_a_schema_together_before_gemini_3() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "r", "schema": T}}
    body = asked("openai", tools=[chat_function()], response_format=wanted)
    sent, dropped = told("openai", body, "gemini")
    assert "generationConfig" not in sent
    assert "JSON Schema" in json.dumps(sent["systemInstruction"])
    assert dropped == ()
    sent, _ = told("openai", body, "gemini", "gemini-3-pro")
    assert sent["generationConfig"]["responseMimeType"] == "application/json"


def test_functions_and_a_schema_together_at_ollama() -> None:
    """Its format is a grammar of the whole answer: no tool would ever be called."""
    wanted = {"type": "json_schema", "json_schema": {"name": "r", "schema": T}}
    body = asked("openai", tools=[chat_function()], response_format=wanted)
    sent, dropped = told("openai", body, "ollama")
    assert "format" not in sent
    assert "JSON Schema" in sent["messages"][0]["content"]
    assert dropped == ()
    assert told("openai", {**body, "tool_choice": "none"}, "ollama")[0]["format"] == T


LIMITED = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "closed"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "forced"),
        ("amazon.nova-pro-v1:0", "words"),
        ("qwen.qwen3-32b-v1:0", "as it is"),
    ],
)
def test_a_schema_at_bedrock(model: str, way: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "r", "schema": LIMITED}}
    inbound = INBOUND[PATHS["openai"]]
    request = inbound.decode(asked("openai", response_format=wanted))
    codec = codec_of("bedrock")
    target = Deployment("d", model, codec, codec.operations)
    outgoing = codec.encode(request, target)
    sent = json.loads(outgoing.body)
    assert outgoing.dropped == ()
    assert (outgoing.schema is None) == (way == "as it is")  # else the answer is checked here
    if way in ("closed", "as it is"):
        told_there = json.loads(sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
        assert ("minimum" in told_there["properties"]["n"]) == (way == "as it is")
        assert ("additionalProperties" in told_there) == (way == "closed")
    elif way == "forced":
        assert sent["toolConfig"]["toolChoice"] == {"tool": {"name": "r"}}
        delta = codec.reader(request, target).answer(json.dumps(calling("bedrock", "r")).encode())
        assert isinstance(delta, Events)
        assert [event.text for event in delta.events if isinstance(event, Text)] == ["{}"]
        assert [event.reason for event in delta.events if isinstance(event, Finish)] == ["stop"]
    else:
        assert "JSON Schema" in sent["system"][0]["text"]


# -- thinking

THINKS = {"type": "enabled", "budget_tokens": 31_999}


@pytest.mark.parametrize(
    ("to", "model"),
    [
        ("anthropic", "claude-3-5-haiku-20241022"),
        ("bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("gemini", "gemini-2.0-flash"),
        ("openai", "gpt-4o"),
        ("responses", "gpt-4.1"),
    ],
)
def test_a_model_that_cannot_think_is_not_asked_to(to: str, model: str) -> None:
    source, wish = ("openai", {"reasoning_effort": "low"})
    if to == "openai":
        source, wish = (
            "anthropic",
            {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096},
        )
    assert told(source, asked(source, **wish), to, model)[1] == ("thinking",)
    off: JSON = {"reasoning_effort": "none"} if source == "openai" else {"thinking": {"type": "disabled"}}
    assert told(source, asked(source, **off), to, model)[1] == ()


@pytest.mark.parametrize("to", [name for name in EVERY if name != "anthropic"])
def test_claude_code_s_thinking_is_asked_of_those_who_can(to: str) -> None:
    sent, dropped = told("anthropic", asked("anthropic", max_tokens=32_000, thinking=THINKS), to)
    if to == "gemini":
        assert sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 24_576
    if to == "openai":  # gpt-4o does not reason
        assert dropped == ("thinking",)


@pytest.mark.parametrize(
    ("to", "model", "told_there", "dropped"),
    [
        ("openai", "gpt-4o", None, ()),
        ("openai", "gpt-5", "minimal", ("thinking",)),
        ("openai", "gpt-5.2", "none", ()),
        ("responses", "gpt-4o", None, ()),
        ("responses", "o3", "low", ("thinking",)),
        ("responses", "gpt-5.1", "none", ()),
    ],
)
def test_thinking_is_turned_off_or_said_not_to_be(
    to: str, model: str, told_there: str | None, dropped: tuple[str, ...]
) -> None:
    body = asked("anthropic", thinking={"type": "disabled"})
    sent, lost = told("anthropic", body, to, model)
    effort = sent.get("reasoning_effort") if to == "openai" else sent.get("reasoning", {}).get("effort")
    assert (effort, lost) == (told_there, dropped)
    assert "summary" not in sent.get("reasoning", {})


def test_what_is_known_of_openai_s_models() -> None:
    assert efforts("gpt-4.1-mini") == efforts("gpt-5.1-chat-latest") == Efforts(reasons=False)
    assert efforts("openai/gpt-5.4").known == ("none", "low", "medium", "high", "xhigh")
    assert efforts("gpt-5.6").known[-1] == "max"
    assert efforts("gpt-oss-120b") == efforts("mistral-large") == Efforts()


@pytest.mark.parametrize("to", ["openai", "responses"])
@pytest.mark.parametrize(
    ("model", "said", "understood"),
    [
        ("gpt-5", "max", "high"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("gpt-5-pro", "low", "high"),
        ("gpt-5.2-pro", "low", "medium"),
        ("o3", "max", "high"),
        ("gpt-5.2", "xhigh", "xhigh"),
        ("gpt-5.6", "max", "max"),
        ("mistral-large", "max", "max"),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_knows(
    to: str, model: str, said: str, understood: str
) -> None:
    sent, lost = told("anthropic", asked("anthropic", output_config={"effort": said}), to, model)
    assert (sent.get("reasoning_effort") or sent["reasoning"]["effort"]) == understood
    assert lost == (() if said == understood else ("thinking.effort",))


SAMPLED = {"temperature": 0.5, "top_p": 0.9, "stop_sequences": ["x"]}


@pytest.mark.parametrize("to", ["openai", "responses"])
@pytest.mark.parametrize(
    ("model", "effort", "is_sampled"),
    [
        ("gpt-4o", None, True),
        ("gpt-5", None, False),
        ("gpt-5.2", None, True),
        ("gpt-5.2", "low", False),
        ("gpt-5.2-codex", None, False),
        ("gpt-5.6", None, False),
        ("o3", None, False),
        ("a-deployment", "low", True),
    ],
)
def test_a_model_that_reasons_is_not_sampled(
    to: str, model: str, effort: str | None, is_sampled: bool
) -> None:
    more = SAMPLED if effort is None else {**SAMPLED, "output_config": {"effort": effort}}
    sent, dropped = told("anthropic", asked("anthropic", **more), to, model)
    assert ("temperature" in sent) is is_sampled
    lost = set() if is_sampled else {"temperature", "top_p", "stop"}
    assert set(dropped) == lost | ({"stop"} if to == "responses" else set())  # which has none at all
    usual = asked("anthropic", temperature=1)
    assert told("anthropic", usual, to, model)[1] == ()


@pytest.mark.parametrize("to", ["openai", "responses"])
@pytest.mark.parametrize(("model", "understood"), [("gpt-5", "minimal"), ("gpt-5.1", "low"), ("o3", "low")])
def test_a_small_budget_is_the_least_effort(to: str, model: str, understood: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    sent, lost = told("anthropic", asked("anthropic", max_tokens=2048, thinking=thinking), to, model)
    assert (sent.get("reasoning_effort") or sent["reasoning"]["effort"]) == understood
    assert lost == ()


@pytest.mark.parametrize("issuer", ["anthropic", "responses", "bedrock"])
def test_a_turn_that_ends_in_thoughts_is_told_without_them(issuer: str) -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": f"penstock.{issuer}.c2ln", "id": "rs_1"}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning_details": [detail]},
        {"role": "user", "content": "go on"},
    ]
    _, dropped = told("openai", {"model": "m", "messages": messages, "reasoning_effort": "low"}, issuer)
    assert dropped == ("messages[].reasoning",)


# -- what else was lost in silence


@pytest.mark.parametrize("issuer", ["anthropic", "bedrock"])
def test_thoughts_before_what_cannot_be_told_are_not_told(issuer: str) -> None:
    sealed = f"penstock.{issuer}.c2ln"
    items = [
        {"role": "user", "content": "draw"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"},
        {"role": "user", "content": "another"},
    ]
    _, dropped = told("responses", asked("responses", input=items, reasoning={"effort": "low"}), issuer)
    assert {"messages[].reasoning", "messages[].image_generation_call"} <= set(dropped)


def test_a_limit_below_openai_s_least_is_reported() -> None:
    sent, dropped = told("anthropic", asked("anthropic", max_tokens=5), "responses")
    assert (sent["max_output_tokens"], dropped) == (16, ("max_tokens",))


@pytest.mark.parametrize("to", ["openai", "responses", "gemini"])
def test_a_file_of_anthropic_s_store_is_no_other_s(to: str) -> None:
    content = [
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "text", "text": "?"},
    ]
    body = asked("anthropic", messages=[{"role": "user", "content": content}])
    sent, dropped = told("anthropic", body, to)
    assert "file_1" not in json.dumps(sent)
    assert dropped == ("messages[].image.file_id",)


def test_what_an_assistant_said_aloud_is_reported() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "user", "content": "again"},
    ]
    assert "messages[].audio" in told("openai", {"model": "m", "messages": messages}, "anthropic")[1]


def test_a_part_s_video_settings_are_reported() -> None:
    part = {
        "fileData": {"fileUri": "gs://b/y.mp4", "mimeType": "video/mp4"},
        "videoMetadata": {"startOffset": "10s"},
    }
    inbound = find(PATHS["gemini"], b"alt=sse")
    assert inbound is not None
    request = inbound.decode({"contents": [{"role": "user", "parts": [part]}]})
    assert request.conversation().other == {"contents[].videoMetadata": True}


def test_two_messages_of_an_assistant_are_two() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"role": "user", "content": "x"},
    ]
    sent, _ = told("responses", {"model": "m", "input": items}, "openai")
    assert [message["content"] for message in sent["messages"]] == ["hi", "a", "b", "x"]


def test_cohere_is_told_not_to_cut() -> None:
    assert embed_body(EmbeddingRequest("m", ["x"]))["truncate"] == "NONE"
    assert embed_body(EmbeddingRequest("m", ["x"], truncate=True))["truncate"] == "END"


# -- answers


def encoded(dialect: str, events: list[Event], *, stream: bool) -> bytes:
    inbound, request = inbound_of(dialect, stream=stream)
    encoder = inbound.encoder(request, new_call())
    if stream:
        return encoder.stream([Events(events, None, has_content=True)]) + encoder.stream_end()
    encoder.fold([Events(events, None, has_content=True)])
    return encoder.answer()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
def test_an_image_arrives(dialect: str, stream: bool) -> None:
    assert b"AAAA" in encoded(dialect, [Image("image/png", "AAAA"), Finish("stop")], stream=stream)


@pytest.mark.parametrize("stream", [True, False])
def test_gemini_s_citations_count_bytes(stream: bool) -> None:
    events: list[Event] = [Text("äöü sagt"), Citation("http://x", "t", start=1, end=3), Finish("stop")]
    assert b'"startIndex":2,"endIndex":6' in encoded("gemini", events, stream=stream)


def test_bedrock_says_at_which_sequence_it_stopped() -> None:
    sent, _ = told("anthropic", asked("anthropic", stop_sequences=["END"]), "bedrock")
    assert sent["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "one"}]}},
        "stopReason": "stop_sequence",
        "additionalModelResponseFields": {"stop_sequence": "END"},
        "usage": {"inputTokens": 1, "outputTokens": 1},
    }
    events = reader_of("bedrock").answer(json.dumps(answer).encode()).events
    written = json.loads(encoded("anthropic", events, stream=False))
    assert (written["stop_reason"], written["stop_sequence"]) == ("stop_sequence", "END")
    del answer["additionalModelResponseFields"]  # models that are none of Claude's say no more
    events = reader_of("bedrock").answer(json.dumps(answer).encode()).events
    written = json.loads(encoded("anthropic", events, stream=False))
    assert (written["stop_reason"], written["stop_sequence"]) == ("stop_sequence", None)


@pytest.mark.parametrize(
    ("path", "body", "lines"),
    [
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "hi"}]},
            [
                {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
                {"message": {"role": "assistant", "content": "", "thinking": ", so"}, "done": True},
            ],
        ),
        (
            "/api/generate",
            {"prompt": "hi"},
            [{"response": "hm", "done": False}, {"response": ", so", "done": True}],
        ),
    ],
)
def test_ollama_s_last_line_may_say_something(path: str, body: JSON, lines: list[JSON]) -> None:
    inbound = INBOUND[path]
    encoder = inbound.encoder(inbound.decode({"model": "m", **body}), new_call())
    reader = ChatReader("up")
    out = b""
    for line in lines:
        delta = reader.event(json.dumps(line).encode())
        assert delta is not None
        out += encoder.stream([delta])
    out += encoder.stream_end()
    assert b'"hm"' in out
    assert b'", so"' in out
    assert [json.loads(line)["done"] for line in out.splitlines()] == [False, False, True]


CUT = [
    {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"x":1}'}}]},
    {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "now", "arguments": '{"y":'}}]},
    {},
]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize("dialect", PATHS)
def test_whole_calls_of_an_answer_that_was_cut_are_told(dialect: str, reason: str) -> None:
    reader = reader_of("openai")
    events: list[Event] = []
    for delta in CUT:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else reason}
        events += reader.event(json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode()).events
    assert [event.index for event in events if isinstance(event, ToolEnd)] == [0]
    for stream in (True, False):
        assert b"weather" in encoded(dialect, events, stream=stream)


def test_a_call_that_a_filter_tore_is_no_error() -> None:
    torn: list[Event] = [ToolStart(0, "a", "f"), ToolDelta(0, '{"y":'), Finish("content_filter")]
    for dialect in PATHS:
        encoded(dialect, torn, stream=True)


@pytest.mark.parametrize("upstream", PATHS)
@given(events=answers(), at=st.integers(1, 40), reason=st.sampled_from(["length", "content_filter"]))
@settings(max_examples=25, deadline=None)
def test_an_answer_may_be_cut_anywhere(
    upstream: str, events: list[Event], at: int, reason: FinishReason
) -> None:
    """Streamed by one vendor, told in every dialect: what was said whole is not lost, and nothing breaks."""
    said = [event for event in events[:at] if not isinstance(event, Finish | UsageReport)]
    cut = [*said, Finish(reason)]
    starts = {event.index: event.name for event in said if isinstance(event, ToolStart)}
    whole = {starts[event.index] for event in said if isinstance(event, ToolEnd)}
    assume(set(starts.values()) - whole <= {starts[max(starts, default=0)]} if starts else True)  # in a row
    for client in PATHS:
        for stream in (True, False):
            read = told_as(client, told_as(upstream, cut, stream=True), stream=stream)
            assert whole <= {event.name for event in read if isinstance(event, ToolStart)}


def test_parts_of_a_history_are_not_changed_in_place() -> None:
    """A second target gets the same conversation."""
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [chat_call("f:0")]},
        {"role": "tool", "tool_call_id": "f:0", "content": "one"},
        {"role": "assistant", "content": None, "tool_calls": [chat_call("f:0")]},
        {"role": "tool", "tool_call_id": "f:0", "content": "two"},
    ]
    request = INBOUND[PATHS["openai"]].decode(
        {"model": "m", "messages": messages, "tools": [chat_function()]}
    )
    before = json.dumps([repr(turn) for turn in request.conversation().turns])
    for to in EVERY[1:]:
        codec = codec_of(to)
        codec.encode(request, Deployment("d", MODELS[to], codec, codec.operations))
    assert json.dumps([repr(turn) for turn in request.conversation().turns]) == before
    calls = [
        part for turn in request.conversation().turns for part in turn.parts if isinstance(part, ToolCallPart)
    ]
    assert [call.id for call in calls] == ["f:0", "f:0"]
