"""OpenAI's Responses on one side and typed events or another dialect on the other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from typed_events import answers, said, typed
from wire_help import new_call

from penstock.dialects.responses import account_of, unbound
from penstock.lib.sse import SSESplitter
from penstock.protocols import responses
from penstock.protocols.responses_lift import lift
from penstock.providers.responses import ResponsesCodec
from penstock.providers.responses_lower import Lowering
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    seal,
)
from penstock.types.deployment import Deployment
from penstock.types.errors import InternalError, InvalidRequest, UpstreamCut, UpstreamError, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Event,
    Events,
    Finish,
    Reasoning,
    ReasoningEnd,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.requests import ChatRequest

CODEC = ResponsesCodec(name="up")
DEPLOYMENT = Deployment("dep", "up", CODEC, CODEC.operations)
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "public", "input": "hello", **fields}


def foreign() -> ChatRequest:
    return ChatRequest("public", {}, stream=True, dialect="openai", lift=lambda _: Conversation([]))


def told(events: list[Event], **fields: Any) -> bytes:
    request = responses.CREATE.decode(body(stream=True, **fields))
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    return b"".join(encoder.stream([typed(event)]) for event in events) + encoder.stream_end()


def bodies(data: bytes) -> list[dict[str, Any]]:
    """The events; each is what the SDK's own types say, numbered without a gap, named by its type."""
    found = []
    for number, block in enumerate(data.split(b"\n\n")[:-1]):
        name, line = block.split(b"\n")
        parsed = json.loads(line.removeprefix(b"data: "))
        assert name == b"event: " + parsed["type"].encode()
        assert parsed["sequence_number"] == number
        STREAM_EVENT.validate_python(parsed)
        found.append(parsed)
    return found


def check_grammar(events: list[dict[str, Any]]) -> None:
    """Items open and close once, deltas belong to what is open, and together they are what was done."""
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    open_items: dict[int, str] = {}
    parts: dict[tuple[int, str], str] = {}
    seen = 0
    for event in events[2:-1]:
        kind, at = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert at == seen
            seen += 1
            open_items[at] = event["item"]["id"]
        elif kind == "response.output_item.done":
            assert open_items.pop(at) == event["item"]["id"]
        else:
            assert open_items[at] == event["item_id"]
            if kind.endswith(".delta"):
                parts[at, kind[:-6]] = parts.get((at, kind[:-6]), "") + event["delta"]
            elif kind.endswith(
                (".arguments.done", "_text.done", "arguments.done", "input.done", "refusal.done")
            ):
                whole = next(event[key] for key in ("arguments", "text", "input", "refusal") if key in event)
                assert parts.pop((at, kind[:-5]), "") == whole
    assert not open_items
    final = events[-1]["response"]
    assert len(final["output"]) == seen
    assert events[-1]["type"] == f"response.{final['status']}"


def plain(sealed: str) -> str:
    """Without the marks of every time it was read."""
    while sealed.endswith(mark := f"@{account_of('up')}"):
        sealed = sealed.removesuffix(mark)
    return sealed


def meaning(events: list[Event]) -> dict[str, Any]:
    """What is said; of reasoning without the ids that the codec binds to it, and its marks."""
    found = said(events)
    signatures = [(issuer, plain(unbound(signature)[1])) for issuer, signature in found["signatures"]]
    return {**found, "signatures": signatures}


def read(data: bytes) -> list[Event]:
    reader = CODEC.reader(foreign(), DEPLOYMENT)
    found: list[Event] = []
    for event in SSESplitter().feed_data(data):
        delta = reader.event(event)
        if delta is not None:
            assert isinstance(delta, Events)
            found += delta.events
    assert reader.is_complete
    return found


@given(answers("responses"))
def test_events_survive_the_way_to_a_client_and_back(events: list[Event]) -> None:
    data = told(events, tools=[TOOL])
    check_grammar(bodies(data))
    again = read(data)
    assert meaning(again) == said(events)
    usage = next(event.usage for event in again if isinstance(event, UsageReport))
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (10, 3, 1)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (5, 2)


@given(answers("responses"))
def test_a_whole_answer_is_what_the_stream_ends_with(events: list[Event]) -> None:
    request = responses.CREATE.decode(body(tools=[TOOL]))
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    encoder.fold([typed(*events)])
    whole = json.loads(encoder.answer())
    Response.model_validate(whole, strict=True)
    streamed = bodies(told(events, tools=[TOOL]))[-1]["response"]
    seeds = [one["id"].removeprefix("resp_") for one in (whole, streamed)]
    assert json.dumps(whole) == json.dumps(streamed).replace(seeds[1], seeds[0])
    delta = CODEC.reader(foreign(), DEPLOYMENT).answer(json.dumps(whole).encode())
    assert isinstance(delta, Events)
    assert meaning(delta.events) == said(events)


@given(answers("anthropic"))
def test_foreign_signatures_are_sealed_and_come_back_with_the_answer(events: list[Event]) -> None:
    final = bodies(told(events, tools=[TOOL]))[-1]["response"]
    history = [{"role": "user", "content": "hi"}, *final["output"], {"role": "user", "content": "go on"}]
    lifted = lift(responses.CREATE.decode(body(input=history)))
    parts = [part for turn in lifted.turns for part in turn.parts if isinstance(part, ReasoningPart)]
    signed = [(part.issuer, part.signature or part.redacted) for part in parts if part.issuer]
    assert signed == said(events)["signatures"]
    outgoing = json.loads(CODEC.encode(responses.CREATE.decode(body(input=history)), DEPLOYMENT).body)
    assert not [item for item in outgoing["input"] if item["type"] == "reasoning"]


def test_calls_may_overlap_and_one_that_was_cut_is_incomplete() -> None:
    events: list[Event] = [
        ToolStart(0, "a", "look"),
        ToolStart(1, "b", "look"),
        ToolDelta(1, '{"x"'),
        ToolDelta(0, "{}"),
        ToolEnd(0),
        Finish("length"),
    ]
    found = bodies(told(events, tools=[TOOL]))
    check_grammar(found)
    final = found[-1]["response"]
    assert (final["status"], final["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["arguments"], item["status"]) for item in final["output"]] == [
        ("{}", "completed"),
        ('{"x"', "incomplete"),
    ]


def test_arguments_that_are_no_object_are_refused() -> None:
    with pytest.raises(UpstreamInvalid):
        told([ToolStart(0, "a", "look"), ToolDelta(0, "[1]"), ToolEnd(0), Finish("tool_calls")])


def test_custom_calls_citations_and_filtered_answers() -> None:
    events: list[Event] = [
        Text("see"),
        Citation("https://a.example", "A", start=0, end=3),
        ToolStart(0, "a", "shell", "custom"),
        ToolDelta(0, "ls"),
        ToolEnd(0),
        Finish("content_filter"),
    ]
    found = bodies(told(events))
    check_grammar(found)
    output = found[-1]["response"]["output"]
    assert output[0]["content"][0]["annotations"][0]["url"] == "https://a.example"
    assert output[1]["input"] == "ls"
    assert [event.kind for event in read(told(events)) if isinstance(event, ToolStart)] == ["custom"]


def test_an_error_is_a_failed_response() -> None:
    request = responses.CREATE.decode(body(stream=True))
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    data = encoder.stream([typed(Text("half"))]) + encoder.stream_error(UpstreamCut("It was cut."))
    found = bodies(data)
    assert found[-1]["type"] == "response.failed"
    said = {"code": "server_error", "message": "It was cut.", "partial": True}
    assert found[-1]["response"]["error"] == said
    with pytest.raises(InternalError):
        encoder.stream([typed(Text("more"))])
    with pytest.raises(UpstreamError):
        read(data)


def test_an_answer_that_breaks_off_holds_what_was_said() -> None:
    request = responses.CREATE.decode(body(stream=True, tools=[TOOL]))
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    events: list[Event] = [Text("half"), Text(" a"), ToolStart(0, "call_1", "look"), ToolDelta(0, '{"a')]
    data = encoder.stream([typed(*events)]) + encoder.stream_error(UpstreamCut("It was cut."))
    message, call = bodies(data)[-1]["response"]["output"]
    assert (message["content"][0]["text"], message["status"]) == ("half a", "completed")
    assert (call["arguments"], call["status"]) == ('{"a', "incomplete")
    done = [found for found in bodies(data) if found["type"] == "response.output_item.done"]
    assert [found["item"]["type"] for found in done] == ["message"]


def test_an_answer_of_a_target_s_own_that_breaks_off_holds_its_whole_items() -> None:
    theirs = told([Text("one"), ToolStart(0, "c", "look"), ToolDelta(0, "{}"), ToolEnd(0), Finish("stop")])
    request = responses.CREATE.decode(body(stream=True, tools=[TOOL]))
    reader = CODEC.reader(request, DEPLOYMENT)
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    for data in list(SSESplitter().feed_data(theirs))[:-2]:  # without the call's end, and the answer's
        chunk = reader.event(data)
        assert isinstance(chunk, Chunk)
        encoder.stream([chunk])
    (failed,) = (json.loads(line[6:]) for line in encoder.stream_error(UpstreamCut("Cut.")).split(b"\n")[1:2])
    assert failed["type"] == "response.failed"
    assert [item["type"] for item in failed["response"]["output"]] == ["message"]
    assert failed["response"]["output"] == encoder.response["output"]


def test_a_model_that_does_not_reason_is_not_asked_for_reasoning() -> None:
    """It refuses: "Encrypted content is not supported with this model."""
    for model, asked in (("gpt-4o", None), ("gpt-5", ["reasoning.encrypted_content"])):
        deployment = Deployment("dep", model, CODEC, CODEC.operations)
        for request in (responses.CREATE.decode(body()), foreign()):
            sent = json.loads(CODEC.encode(request, deployment).body)
            assert sent.get("include") == asked
        own = responses.CREATE.decode(body(include=["reasoning.encrypted_content"]))
        assert json.loads(CODEC.encode(own, deployment).body)["include"] == ["reasoning.encrypted_content"]


def test_a_stream_without_its_end_is_never_completed() -> None:
    request = responses.CREATE.decode(body(stream=True))
    encoder = responses.CREATE.encoder(request, new_call("/v1/responses"))
    encoder.stream([typed(Text("half"))])
    with pytest.raises(InternalError):
        encoder.stream_end()
    whole = responses.CREATE.encoder(responses.CREATE.decode(body()), new_call("/v1/responses"))
    whole.fold([typed(Text("half"))])
    with pytest.raises(UpstreamInvalid):
        whole.answer()


@given(answers("responses"), st.booleans())
def test_a_target_of_the_same_dialect_keeps_its_fields(events: list[Event], is_stream: bool) -> None:
    theirs = told(events, tools=[TOOL])
    request = responses.CREATE.decode(body(stream=is_stream, tools=[TOOL]))
    call = new_call("/v1/responses", "req_other")
    reader, encoder = CODEC.reader(request, DEPLOYMENT), responses.CREATE.encoder(request, call)
    if not is_stream:
        final = {**bodies(theirs)[-1]["response"], "novel": 1}
        delta = reader.answer(json.dumps(final).encode())
        assert isinstance(delta, Answer)
        encoder.fold([delta])
        ours = json.loads(encoder.answer())
        assert (ours["novel"], ours["id"], ours["model"]) == (1, encoder.response["id"], "public")
        assert ours["id"] not in (final["id"], "resp_other")
        for item in ours["output"]:
            if item.get("encrypted_content"):
                item["encrypted_content"] = plain(item["encrypted_content"])
        assert ours["output"] == final["output"]
        return
    out = b""
    for data in SSESplitter().feed_data(theirs):
        chunk = reader.event(data)
        assert isinstance(chunk, Chunk)
        out += encoder.stream([chunk])
    assert reader.is_complete
    out += encoder.stream_end()
    found = bodies(out)
    check_grammar(found)
    assert {event["response"]["id"] for event in found if "response" in event} == {encoder.response["id"]}
    assert meaning(read(out)) == said(events)


@pytest.mark.parametrize("is_stream", [True, False])
def test_sealed_reasoning_goes_back_to_the_account_that_sealed_it(is_stream: bool) -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "look", "arguments": "{}"}
    answer = {"id": "resp_1", "status": "completed", "output": [sealed, call], "usage": None}
    reader = CODEC.reader(responses.CREATE.decode(body(stream=is_stream)), DEPLOYMENT)
    if is_stream:
        done: Any = {"type": "response.output_item.done", "output_index": 0, "item": sealed}
        end: Any = {"type": "response.completed", "response": answer}
        chunks = [reader.event(json.dumps(event).encode()) for event in (done, end)]
        assert isinstance(chunks[0], Chunk)
        assert isinstance(chunks[1], Chunk)
        items = chunks[1].body["response"]["output"]
        assert chunks[0].body["item"] == items[0]
    else:
        whole = reader.answer(json.dumps(answer).encode())
        assert isinstance(whole, Answer)
        items = whole.body["output"]
    assert items[0] != sealed
    result = {"type": "function_call_output", "call_id": "c", "output": "x"}
    request = responses.CREATE.decode(body(input=[*items, result]))

    outgoing = CODEC.encode(request, DEPLOYMENT)
    assert json.loads(outgoing.body)["input"][0] == sealed
    assert outgoing.dropped == ()
    other = ResponsesCodec(name="another").encode(request, DEPLOYMENT)
    assert [item["type"] for item in json.loads(other.body)["input"]] == [call["type"], result["type"]]
    assert other.dropped == ("input[].reasoning",)
    nobody_s = responses.CREATE.decode(body(input=[sealed, call, result]))
    assert json.loads(CODEC.encode(nobody_s, DEPLOYMENT).body)["input"][0] == sealed

    (turn, *_) = lift(request).turns  # as clients of other dialects carry it
    again = Lowering(Conversation([turn]), "gpt-5", account_of("up"))
    assert again.body()["input"][0]["encrypted_content"] == "gAAA"
    lost = Lowering(Conversation([turn]), "gpt-5", account_of("another"))
    assert [item["type"] for item in lost.body()["input"]] == ["function_call"]
    assert lost.dropped == ["messages[].reasoning"]


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
                MediaPart("image", url="https://a.example/b.png", detail="auto"),
                MediaPart("file", "application/pdf", data="aGk=", name="a.pdf"),
            ],
        ),
        Turn(
            "assistant",
            [
                ReasoningPart("hm", "enc", issuer="responses", id="rs_1"),
                TextPart("let me see"),
                ToolCallPart("call_1", "look", '{"x": 1}'),
                ToolCallPart("call_2", "shell", "ls", "custom"),
            ],
        ),
        Turn(
            "tool",
            [
                ToolResultPart("call_1", [TextPart("a")], "look"),
                ToolResultPart("call_2", [TextPart("b")], "shell", kind="custom"),
            ],
        ),
        Turn("assistant", [RefusalPart("no")]),
        Turn("user", [TextPart("go on")]),
    ],
    tools=[
        Tool("look", "looks", CLOSED, strict=True),
        Tool("shell", None, kind="custom", format={"type": "text"}),
    ],
    tool_choice=ToolChoice("named", "look"),
    parallel_tool_calls=False,
    max_tokens=100,
    temperature=0.5,
    thinking=Thinking(effort="low", visible=True),
    format=Format("json_schema", "out", {"type": "object"}, strict=True),
    verbosity="low",
    user="u1",
)


def test_lower_then_lift_gives_the_same_conversation() -> None:
    lowering = Lowering(FULL, "m")
    written = json.loads(json.dumps({"model": "public", **lowering.body()}))
    assert lowering.dropped == []
    assert lift(responses.CREATE.decode(written)) == FULL


def test_what_cannot_be_told_is_reported() -> None:
    native = NativePart("anthropic", {"type": "server_tool_use"})
    turns = [
        Turn("user", [TextPart("hi")]),
        Turn("assistant", [ReasoningPart("x", "s", issuer="anthropic"), native]),
    ]
    lowering = Lowering(Conversation(turns, stop=["END"], seed=1, n=2, max_tokens=5), "m")
    assert lowering.body()["max_output_tokens"] == 16
    assert sorted(lowering.dropped) == [
        "max_tokens",
        "messages[].reasoning",
        "messages[].server_tool_use",
        "n",
        "seed",
        "stop",
    ]


def test_nothing_of_ours_goes_upstream() -> None:
    said_ = body(previous_response_id="resp_1", background=True, store=True, include=["x"])
    sent = json.loads(CODEC.encode(responses.CREATE.decode(said_), DEPLOYMENT).body)
    assert sent == {
        "model": "up",
        "input": "hello",
        "store": False,
        "include": ["x", "reasoning.encrypted_content"],
    }


def test_counting() -> None:
    outgoing = CODEC.encode(responses.COUNT.decode(body(tools=[TOOL])), DEPLOYMENT)
    assert outgoing.path == "/responses/input_tokens"
    assert set(json.loads(outgoing.body)) == {"model", "input", "tools"}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": 3}, "input", "must be"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "allowed"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id", "required"),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "input[0].call_id",
        "answers no function_call",
    ),
    (
        {
            "input": [
                {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,a"}]}
            ]
        },
        "input[0].content[0].image_url",
        "base64",
    ),
    (
        {"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]},
        "tools[0].parameters",
        "object",
    ),
    ({"tools": [{"type": "function", "name": "f f"}]}, "tools[0].name", "match"),
    ({"tool_choice": "required"}, "tool_choice", "needs `tools`"),
    ({"tool_choice": {"type": "function", "name": "g"}, "tools": [TOOL]}, "tool_choice.name", "look"),
    ({"background": True, "store": False}, "background", "store"),
    ({"stream_options": {}}, "stream_options", "stream"),
    ({"temperature": 3}, "temperature", "from 0 to 2"),
    ({"conversation": "conv_1"}, "conversation", "not kept here"),
    ({"input": [{"id": 3}]}, "input[0].id", "string"),
    ({"input": [{"content": "x"}]}, "input[0].type", "required"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", "required"),
    ({"max_output_tokens": 0}, "max_output_tokens", "at least 1"),
]


@pytest.mark.parametrize(("fields", "param", "words"), BAD)
def test_bad_input_is_refused_with_its_path(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        responses.CREATE.decode(body(**fields))
    assert raised.value.param == param
    assert words in raised.value.message


def test_items_and_tools_of_other_types_travel_to_a_target_of_this_dialect() -> None:
    search = {"type": "web_search", "filters": None}
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    request = responses.CREATE.decode(body(input=[item, {"role": "user", "content": "x"}], tools=[search]))
    sent = json.loads(CODEC.encode(request, DEPLOYMENT).body)
    assert sent["input"][0] == item
    assert sent["tools"][0]["type"] == "web_search"
    lifted = lift(request)
    assert lifted.turns[0].parts == [NativePart("responses", item)]
    assert lifted.tools[0].kind == "native"


def test_a_sealed_block_without_text_keeps_its_kind() -> None:
    for end in (ReasoningEnd("s", None, "gemini"), ReasoningEnd(None, "r", "anthropic")):
        final = bodies(told([end, Text("x"), Finish("stop")]))[-1]["response"]
        lifted = lift(responses.CREATE.decode(body(input=final["output"])))
        part = lifted.turns[0].parts[0]
        assert isinstance(part, ReasoningPart)
        assert (part.signature, part.redacted, part.issuer) == (end.signature, end.redacted, end.issuer)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.delta"},
        {"type": "response.output_item.added", "item": 3, "output_index": 0},
        {"type": "response.function_call_arguments.delta", "output_index": 9, "delta": "x"},
        {"type": "response.completed"},
        {"type": 3},
        [],
        "x",
    ],
)
def test_odd_events_are_the_upstream_s_fault(event: Any) -> None:
    for request in (foreign(), responses.CREATE.decode(body(stream=True))):
        reader = CODEC.reader(request, DEPLOYMENT)
        try:
            delta = reader.event(json.dumps(event).encode())
        except UpstreamInvalid:
            continue
        assert isinstance(delta, Chunk)


def test_reasoning_in_several_parts_is_paragraphs() -> None:
    events = [Reasoning("a"), Reasoning("b"), ReasoningEnd("e", None, "responses"), Text("x"), Finish("stop")]
    data = told(list(events))
    assert said(read(data))["reasoning"] == "ab"
    assert seal("x", "y") == "penstock.x.y"
    assert construct_type(type_=Response, value=bodies(data)[-1]["response"]).output_text == "x"
