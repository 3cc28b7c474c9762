"""OpenAI's chat on one side and typed events or another dialect on the other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from typed_events import answers, said, typed
from wire_help import WEATHER, WIRE, chat_body, check_chat_stream, new_call, recorded
from wire_help import events as events_of

from penstock.lib.sse import SSESplitter
from penstock.protocols import openai_chat
from penstock.protocols.openai_lift import lift
from penstock.providers.openai import OPERATIONS, OpenAICodec
from penstock.providers.openai_lower import own_request
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
    seal,
)
from penstock.types.deployment import Deployment, Quirks
from penstock.types.errors import InternalError, UpstreamInvalid
from penstock.types.events import Citation, Event, Events, Finish, Image, Text, ToolDelta, ToolEnd, ToolStart
from penstock.types.requests import ChatRequest

CODEC = OpenAICodec()
DEPLOYMENT = Deployment("dep", "up", CODEC, OPERATIONS)


def foreign(**fields: Any) -> ChatRequest:
    """A request of a client that speaks another dialect."""
    return ChatRequest("public", {}, dialect="anthropic", lift=lambda _: Conversation([]), **fields)


def read(data: bytes, request: ChatRequest | None = None) -> list[Event]:
    """The typed events of a stream of OpenAI's."""
    reader = CODEC.reader(request or foreign(stream=True), DEPLOYMENT)
    found: list[Event] = []
    for event in SSESplitter().feed_data(data):
        delta = reader.event(event)
        if delta is not None:
            assert isinstance(delta, Events)
            found += delta.events
    assert reader.is_complete
    return found


def told(events: list[Event], **fields: Any) -> bytes:
    """The stream that an OpenAI client gets."""
    encoder = openai_chat.encoder(openai_chat.decode(chat_body(stream=True, **fields)), new_call())
    return b"".join(encoder.stream([typed(event)]) for event in events) + encoder.stream_end()


@given(answers())
def test_events_survive_the_way_to_a_client_and_back(events: list[Event]) -> None:
    data = told(events, stream_options={"include_usage": True}, tools=[WEATHER])
    check_chat_stream(data, include_usage=True)
    again = read(data)
    assert said(again) == said(events)
    usage = [event for event in again if type(event).__name__ == "UsageReport"][-1].usage  # type: ignore[union-attr]
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (10, 3, 1)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (5, 2)


@given(answers())
def test_a_whole_answer_says_what_the_stream_says(events: list[Event]) -> None:
    encoder = openai_chat.encoder(openai_chat.decode(chat_body(tools=[WEATHER])), new_call())
    encoder.fold([typed(*events)])
    body = encoder.answer()
    ChatCompletion.model_validate(json.loads(body), strict=True)
    delta = CODEC.reader(foreign(), DEPLOYMENT).answer(body)
    assert isinstance(delta, Events)
    assert said(delta.events) == said(events)


@given(answers(), st.data())
def test_batches_do_not_matter(events: list[Event], data: st.DataObject) -> None:
    encoder = openai_chat.encoder(openai_chat.decode(chat_body(stream=True, tools=[WEATHER])), new_call())
    left, out = list(events), b""
    while left:
        size = data.draw(st.integers(1, len(left)))
        out += encoder.stream([typed(*left[:size])])
        left = left[size:]
    assert said(read(out + encoder.stream_end())) == said(events)


@pytest.mark.parametrize(
    "name", ["handwritten/whole_calls_index_0.sse", "handwritten/deepseek_reasoning.sse"]
)
def test_a_recording_is_the_same_with_and_without_typed_events(name: str) -> None:
    request = openai_chat.decode(chat_body(stream=True, tools=[WEATHER]))
    native, reader = openai_chat.encoder(request, new_call()), CODEC.reader(request, DEPLOYMENT)
    deltas = [delta for event in recorded(name) if (delta := reader.event(event)) is not None]
    plain = read(native.stream(deltas) + native.stream_end())
    typed_ = read((WIRE / name).read_bytes())
    first, second = said(plain), said(typed_)
    for calls in (first["calls"], second["calls"]):
        for call in calls:
            call["id"] = "" if call["id"].startswith("call_") and len(call["id"]) > 20 else call["id"]
    assert first == second


def test_an_empty_call_has_arguments_and_a_custom_one_none() -> None:
    events = [
        ToolStart(0, "a", "now"),
        ToolDelta(0, "{}"),
        ToolStart(1, "b", "shell", "custom"),
        Finish("tool_calls"),
    ]
    again = read(told([*events[:3], ToolDelta(1, "ls"), events[3]], tools=[WEATHER]))
    assert [call["arguments"] for call in said(again)["calls"]] == ["{}", "ls"]
    assert [event.kind for event in again if isinstance(event, ToolStart)] == ["function", "custom"]


SHELL = Tool("sh", "runs it", kind="custom", format={"type": "grammar", "syntax": "lark", "definition": "x"})
SHELLS = Conversation(
    [
        Turn("user", [TextPart("list")]),
        Turn("assistant", [ToolCallPart("c1", "sh", 'ls "x"', "custom")]),
        Turn("tool", [ToolResultPart("c1", [TextPart("a")], "sh", kind="custom")]),
    ],
    tools=[SHELL],
    tool_choice=ToolChoice("named", "sh"),
)


def test_a_vendor_that_knows_no_custom_tools_is_told_functions() -> None:
    request = ChatRequest("public", {}, dialect="responses", lift=lambda _: SHELLS)
    outgoing = CODEC.encode(request, DEPLOYMENT)
    body = json.loads(outgoing.body)
    (tool,) = body["tools"]
    assert (tool["type"], tool["function"]["name"]) == ("function", "sh")
    assert tool["function"]["parameters"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "sh"}}
    (call,) = body["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"input": 'ls "x"'}
    assert outgoing.dropped == ("tools[].custom.format",)

    knows = OpenAICodec(Quirks(custom_tools=True))
    body = json.loads(knows.encode(request, DEPLOYMENT).body)
    assert body["tools"][0]["type"] == body["messages"][1]["tool_calls"][0]["type"] == "custom"
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "sh"}}


@pytest.mark.parametrize(
    ("arguments", "finish", "text", "is_whole"),
    [
        ('{"input": "ls \\"x\\""}', "tool_calls", 'ls "x"', True),
        ("ls -la", "tool_calls", "ls -la", True),  # a model that forgets the object
        ('{"cmd": "ls"}', "tool_calls", '{"cmd": "ls"}', True),
        ("", "tool_calls", "", True),
        ('{"input": "l', "length", "", False),
    ],
)
def test_what_such_a_vendor_calls_is_the_custom_tool_again(
    arguments: str, finish: str, text: str, is_whole: bool
) -> None:
    request = ChatRequest("public", {}, True, dialect="responses", lift=lambda _: SHELLS)
    reader = CODEC.reader(request, DEPLOYMENT)
    events: list[Event] = []
    function = {"name": "sh", "arguments": arguments[:5]}
    deltas: list[Any] = [
        {"tool_calls": [{"index": 0, "id": "c2", "type": "function", "function": function}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments[5:]}}]},
    ]
    for delta, reason in ((deltas[0], None), (deltas[1], None), ({}, finish)):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        found = reader.event(json.dumps(chunk).encode())
        assert isinstance(found, Events)
        events += found.events
    kinds = [event.kind for event in events if isinstance(event, ToolStart)]
    told_ = "".join(event.arguments for event in events if isinstance(event, ToolDelta))
    assert (kinds, told_) == (["custom"], text)
    assert any(isinstance(event, ToolEnd) for event in events) is is_whole


def test_a_call_is_one_entry_of_its_chunk() -> None:
    encoder = openai_chat.encoder(openai_chat.decode(chat_body(stream=True, tools=[WEATHER])), new_call())
    data = encoder.stream([typed(ToolStart(0, "a", "now"), ToolDelta(0, '{"x":'), ToolDelta(0, "1}"))])
    (chunk,) = events_of(data)
    (piece,) = chunk["choices"][0]["delta"]["tool_calls"]
    assert piece["function"] == {"name": "now", "arguments": '{"x":1}'}


def test_a_thought_signature_travels_in_google_s_own_place() -> None:
    data = told([ToolStart(0, "a", "now", signature="sig=="), ToolDelta(0, "{}"), Finish("tool_calls")])
    assert b'"extra_content":{"google":{"thought_signature":"sig=="}}' in data
    assert [event.signature for event in read(data) if isinstance(event, ToolStart)] == ["sig=="]


def test_citations_and_images_are_told() -> None:
    events: list[Event] = [
        Text("x"),
        Citation("https://a.example", "A", start=0, end=1),
        Image("image/png", "aGk="),
        Finish("stop"),
    ]
    again = read(told(events))
    assert [(e.url, e.title, e.start, e.end) for e in again if isinstance(e, Citation)] == [
        ("https://a.example", "A", 0, 1)
    ]
    assert [(e.media_type, e.data) for e in again if isinstance(e, Image)] == [("image/png", "aGk=")]


def test_nothing_may_follow_the_end() -> None:
    encoder = openai_chat.encoder(openai_chat.decode(chat_body(stream=True)), new_call())
    encoder.stream([typed(Text("a"), Finish("stop"))])
    encoder.stream_end()
    with pytest.raises(InternalError):
        encoder.stream([typed(Text("b"))])


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_details": [3]},
        {"annotations": [3]},
        {"annotations": [{"type": "url_citation"}]},
        {"images": [{}]},
        {"images": "x"},
    ],
)
def test_odd_shapes_are_the_upstream_s_fault(delta: dict[str, Any]) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "", **delta}, "finish_reason": None}]}
    with pytest.raises(UpstreamInvalid):
        CODEC.reader(foreign(stream=True), DEPLOYMENT).event(json.dumps(chunk).encode())


# -- requests


CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}
FULL = Conversation(
    turns=[
        Turn("system", [TextPart("be brief")]),
        Turn(
            "user",
            [
                TextPart("what is this?"),
                MediaPart("image", "image/png", data="aGk=", detail="low"),
                MediaPart("image", url="https://a.example/b.png"),
                MediaPart("audio", "audio/wav", data="aGk="),
                MediaPart("file", "application/pdf", data="aGk=", name="a.pdf"),
            ],
        ),
        Turn(
            "assistant",
            [
                ReasoningPart("hm"),
                TextPart("let me see"),
                ToolCallPart("call_1", "look", '{"x": 1}', signature="sig"),
                ToolCallPart("call_2", "now"),
            ],
        ),
        Turn(
            "tool",
            [
                ToolResultPart("call_1", [TextPart("a")], "look"),
                ToolResultPart("call_2", [TextPart("b")], "now"),
            ],
        ),
        Turn("user", [TextPart("go on")]),
    ],
    tools=[
        Tool("look", "looks", CLOSED, strict=True),
        Tool("now", None, {"type": "object", "properties": {}}),
    ],
    tool_choice=ToolChoice("named", "look"),
    parallel_tool_calls=False,
    max_tokens=100,
    temperature=0.5,
    top_p=0.9,
    stop=["END"],
    seed=7,
    n=2,
    thinking=Thinking(effort="low"),
    format=Format("json_schema", "out", {"type": "object"}, strict=True),
    user="u1",
)


def request_of(conversation: Conversation) -> ChatRequest:
    return ChatRequest("public", {}, dialect="anthropic", lift=lambda _: conversation)


def test_lower_then_lift_gives_the_same_conversation() -> None:
    own, dropped, _ = own_request(request_of(FULL))
    assert dropped == []
    checked = openai_chat.decode({"model": "public", **json.loads(json.dumps(own.body))})
    assert lift(checked) == FULL


def test_what_cannot_be_told_is_reported() -> None:
    said_ = Conversation(
        [Turn("user", [TextPart("hi")])],
        tools=[Tool("web_search", kind="native", native={}, dialect="anthropic")],
        top_k=5,
        stop=["a", "b", "c", "d", "e"],
        other={"container": "x"},
    )
    own, dropped, _ = own_request(request_of(said_))
    assert sorted(dropped) == ["container", "stop[4:]", "tools.web_search", "top_k"]
    assert "tools" not in own.body
    assert "top_k" not in own.body
    own, dropped, _ = own_request(request_of(said_), Quirks(knows=frozenset({"top_k"})))
    assert own.body["top_k"] == 5
    assert "top_k" not in dropped


def test_a_quirk_that_drops_a_field_is_reported_but_not_our_own_stream_options() -> None:
    codec = OpenAICodec(Quirks(drop=frozenset({"user", "stream_options"})))
    request = openai_chat.decode(chat_body(user="me", stream=True))
    assert codec.encode(request, DEPLOYMENT).dropped == ("user",)


def test_images_that_a_tool_returned_follow_as_a_message_of_the_user() -> None:
    turns = [
        Turn("assistant", [ToolCallPart("c1", "shot")]),
        Turn("tool", [ToolResultPart("c1", [MediaPart("image", "image/png", data="aGk=")])]),
    ]
    own, _, _ = own_request(request_of(Conversation(turns)))
    roles = [message["role"] for message in own.body["messages"]]
    assert roles == ["assistant", "tool", "user"]
    assert own.body["messages"][2]["content"][1]["image_url"]["url"] == "data:image/png;base64,aGk="


def test_signed_reasoning_comes_back_from_openai_clients() -> None:
    details = [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": seal("anthropic", "s1"),
            "format": "penstock-v1",
        },
        {"type": "reasoning.encrypted", "data": seal("responses", "enc"), "id": "rs_1"},
        {"type": "reasoning.text", "text": "x", "signature": "s2", "format": "anthropic-claude-v1"},
    ]
    message = {"role": "assistant", "content": "ok", "reasoning_details": details}
    body = chat_body(messages=[{"role": "user", "content": "hi"}, message])
    parts = lift(openai_chat.decode(body)).turns[1].parts
    assert parts == [
        ReasoningPart("hm", "s1", issuer="anthropic"),
        ReasoningPart(redacted="enc", issuer="responses", id="rs_1"),
        ReasoningPart("x", "s2", issuer="anthropic"),
        TextPart("ok"),
    ]


def test_deprecated_functions_are_tools() -> None:
    body = chat_body(
        functions=[{"name": "look", "parameters": {"type": "object"}}],
        function_call={"name": "look"},
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": ""}},
            {"role": "function", "name": "look", "content": "42"},
        ],
    )
    lifted = lift(openai_chat.decode(body))
    assert lifted.tools == [Tool("look", None, {"type": "object"})]
    assert lifted.tool_choice == ToolChoice("named", "look")
    assert lifted.turns[1].parts == [ToolCallPart("call_look", "look", "{}")]
    assert lifted.turns[2].parts == [ToolResultPart("call_look", [TextPart("42")], "look")]
