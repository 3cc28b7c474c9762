"""The Messages answer, judged by the official SDK's strict models and its accumulator."""

import json
from typing import Any

import anthropic
import pytest
from anthropic_help import (
    ANSWERS,
    CODEC,
    DEPLOYMENT,
    FOLDER,
    WEATHER,
    WHOLE_STREAMS,
    as_json,
    ask,
    bodies,
    by_sdk,
    check_order,
    deltas,
    encoder,
    events_of,
    final,
    folded,
    native,
    recorded,
    streamed,
    typed,
    whole_by_sdk,
)
from hypothesis import given
from hypothesis import strategies as st
from typed_events import answers, said
from typed_events import typed as one
from wire_help import new_call

from penstock.protocols.anthropic_encoder import whole_part
from penstock.protocols.anthropic_messages import COUNT, MESSAGES
from penstock.types.conversation import seal
from penstock.types.errors import (
    InternalError,
    ModelLoading,
    UpstreamCut,
    UpstreamInvalid,
)
from penstock.types.events import (
    Citation,
    Counted,
    Delta,
    Event,
    Events,
    Finish,
    Image,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.usage import Usage

# What Anthropic's copies say, and no strict model knows.
LENIENT = {"unknown"}


def told(*events: Event) -> bytes:
    return streamed([one(event) for event in events])


# -- Anthropic's own events


@pytest.mark.parametrize("name", [name for name in WHOLE_STREAMS if name not in LENIENT])
def test_a_recording_reaches_a_client_of_the_dialect_whole(name: str) -> None:
    data = streamed(native(name))
    message = by_sdk(data)
    assert message.model == "public"
    whole = folded(native(name))
    assert as_json(whole_by_sdk(json.dumps(whole).encode())) == as_json(message)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name in WHOLE_STREAMS])
def test_a_whole_answer_is_what_the_stream_says(name: str) -> None:
    answer = CODEC.reader(ask(), DEPLOYMENT).answer((FOLDER / f"{name}.json").read_bytes())
    whole = as_json(whole_by_sdk(json.dumps(folded([answer])).encode()))
    stream = as_json(by_sdk(streamed(native(name))))
    assert whole["stop_reason"] == stream["stop_reason"]
    if name != "refusal":  # the stream had begun to speak
        assert whole["content"] == stream["content"]


def test_what_the_dialect_does_not_know_yet_passes() -> None:
    found = bodies(streamed(native("unknown")))
    assert {"type": "weather_report", "sky": "blue"} in found
    assert {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "hologram_delta", "point": [1, 2, 3]},
    } in found


def test_a_copy_of_the_dialect_is_completed() -> None:
    message = by_sdk(streamed(native("copy_of_the_dialect")))
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert message.content[1].input == {"city": "Paris"}  # type: ignore[union-attr]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (11, 4)


@pytest.mark.parametrize("name", ["max_tokens_in_tool", "max_tokens_before_arguments"])
def test_a_call_that_was_cut_is_told_as_cut(name: str) -> None:
    for message in (by_sdk(streamed(native(name))), by_sdk(streamed([Events(typed(name))]))):
        assert message.stop_reason == "max_tokens"
        assert message.content[-1].type == "tool_use"
    assert folded(native(name))["content"][-1]["input"] == ({"path": "a.txt"} if "in_tool" in name else {})


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"a": 1, "b": [1, {"c": "x, \\"y', {"a": 1, "b": [1, {}]}),
        ('{"a": {"b": 1}, "c', {"a": {"b": 1}}),
        ('{"a": "}{', {}),
        ("[1, 2", {}),
        ("}", {}),
        ("", {}),
    ],
)
def test_what_is_whole_of_a_cut_object(text: str, whole: dict[str, Any]) -> None:
    assert whole_part(text) == whole


def test_a_broken_call_is_no_answer() -> None:
    data = recorded("max_tokens_in_tool").replace(
        b'"stop_reason": "max_tokens"', b'"stop_reason": "tool_use"'
    )
    with pytest.raises(UpstreamInvalid):
        streamed([*native_of(data)])
    with pytest.raises(UpstreamInvalid):
        events_of(data)


def native_of(data: bytes) -> list[Delta]:
    return deltas(data, CODEC.reader(ask(stream=True), DEPLOYMENT))


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}],
        [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}},
        ],
        [{"type": "message_start", "message": {}}, {"type": "message_start", "message": {}}],
    ],
)
def test_events_out_of_order_are_refused(events: list[dict[str, Any]]) -> None:
    reader = CODEC.reader(ask(stream=True), DEPLOYMENT)
    found = [reader.event(json.dumps(event).encode()) for event in events]
    with pytest.raises(UpstreamInvalid):
        encoder(stream=True).stream([delta for delta in found if delta is not None])


def test_a_stream_ends_once_and_only_when_it_is_complete() -> None:
    writer = encoder(stream=True)
    writer.stream([one(Text("x"))])
    with pytest.raises(InternalError):
        writer.stream_end()
    writer.stream([one(Finish("stop"))])
    writer.stream_end()
    with pytest.raises(InternalError):
        writer.stream_end()
    with pytest.raises(InternalError):
        writer.stream([one(Text("x"))])


def test_an_answer_that_never_finished_is_none() -> None:
    writer = encoder()
    writer.fold([one(Text("x"))])
    with pytest.raises(UpstreamInvalid):
        writer.answer()
    with pytest.raises(UpstreamInvalid):
        encoder().answer()


# -- typed events


def content(message: anthropic.types.Message) -> dict[str, Any]:
    """What a message says, as `said` tells it of events."""
    blocks = message.content
    calls = [block for block in blocks if block.type == "tool_use"]
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "reasoning": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "calls": [(call.id, call.name, call.input) for call in calls],
    }


def expected(events: list[Event]) -> dict[str, Any]:
    told = said(events)
    return {
        "text": told["text"] + told["refusal"],
        "reasoning": told["reasoning"],
        "calls": [(call["id"], call["name"], json.loads(call["arguments"])) for call in told["calls"]],
    }


@given(answers())
def test_any_answer_reaches_the_sdk(events: list[Event]) -> None:
    message = by_sdk(told(*events))
    assert content(message) == expected(events)
    assert message.usage.input_tokens == 6
    assert message.usage.cache_read_input_tokens == 3
    assert message.usage.cache_creation_input_tokens == 1
    assert message.usage.output_tokens == 5
    whole = folded([one(*events)])
    assert as_json(whole_by_sdk(json.dumps(whole).encode())) == as_json(message)


@given(answers())
def test_events_survive_the_way_to_a_client_and_back(events: list[Event]) -> None:
    before, after = said(events), said(events_of(told(*events)))
    before["text"] += before.pop("refusal")
    is_refused = not before["calls"] and before["finish"] == "stop" and after["finish"] == "content_filter"
    if not is_refused:
        assert after["finish"] == before["finish"]
    after["text"] += after.pop("refusal")
    assert [(c["id"], c["name"], json.loads(c["arguments"])) for c in after.pop("calls")] == [
        (c["id"], c["name"], json.loads(c["arguments"])) for c in before.pop("calls")
    ]
    assert after["text"] == before["text"]
    assert after["reasoning"] == before["reasoning"]
    signed = [pair for pair in after["signatures"] if not pair[1].startswith("penstock.")]
    assert signed == before["signatures"]


@given(answers(), st.lists(st.integers(1, 60), min_size=1))
def test_any_batching_gives_the_same_message(events: list[Event], sizes: list[int]) -> None:
    batches, rest, at = [], list(events), 0
    while rest:
        size = sizes[at % len(sizes)]
        batches.append(one(*rest[:size]))
        rest, at = rest[size:], at + 1
    assert by_sdk(streamed(list(batches))).to_dict()["content"] == by_sdk(told(*events)).to_dict()["content"]


def test_interleaved_calls_become_blocks_one_after_another() -> None:
    data = told(
        Text("Both."),
        ToolStart(0, "c0", "f"),
        ToolDelta(0, '{"a"'),
        ToolStart(1, "c1", "g"),
        ToolDelta(1, '{"b": 2'),
        ToolDelta(0, ": 1}"),
        ToolDelta(1, "}"),
        ToolEnd(1),
        ToolEnd(0),
        Finish("tool_calls"),
    )
    message = by_sdk(data)
    assert [(b.name, b.input) for b in message.content[1:]] == [("f", {"a": 1}), ("g", {"b": 2})]  # type: ignore[union-attr]
    assert message.stop_reason == "tool_use"


def test_calls_that_follow_each_other_stream_though_they_end_together() -> None:
    writer = encoder(stream=True)
    writer.stream([one(ToolStart(0, "c0", "f"), ToolDelta(0, '{"a": 1}'))])
    second = bodies(writer.stream([one(ToolStart(1, "c1", "g"), ToolDelta(1, '{"b"'))]))
    assert [event["type"] for event in second] == [
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]
    with pytest.raises(UpstreamInvalid):
        writer.stream([one(ToolDelta(0, ", more"))])


def test_a_call_without_arguments() -> None:
    found = bodies(told(ToolStart(0, "c0", "f"), ToolEnd(0), Finish("tool_calls")))
    assert [e["delta"] for e in found if e["type"] == "content_block_delta"] == [
        {"type": "input_json_delta", "partial_json": "{}"}
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "null", "{} {}"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(UpstreamInvalid):
        told(ToolStart(0, "c0", "f"), ToolDelta(0, arguments), ToolEnd(0), Finish("tool_calls"))
    cut = by_sdk(told(ToolStart(0, "c0", "f"), ToolDelta(0, '{"a": "b'), Finish("length")))
    assert cut.stop_reason == "max_tokens"


def test_reasoning_carries_its_proof() -> None:
    message = by_sdk(
        told(
            Reasoning("a"),
            ReasoningEnd("sig", issuer="anthropic"),
            Reasoning("b"),
            ReasoningEnd("sig", issuer="gemini"),
            Reasoning("c"),
            Text("so"),
            ReasoningEnd(None, "blob", "anthropic"),
            ReasoningEnd(None, "blob", "bedrock"),
            ReasoningEnd("only", None, "anthropic"),
            ReasoningEnd(None, "enc", "responses", "rs_1"),
            Finish("stop"),
        )
    )
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking"] * 3 + ["text"] + ["redacted_thinking"] * 2 + ["thinking"] * 2
    signatures = [block.signature for block in message.content if block.type == "thinking"]
    assert signatures[:3] == ["sig", seal("gemini", "sig"), seal("", "")]
    data = [block.data for block in message.content if block.type == "redacted_thinking"]
    assert data == ["blob", seal("bedrock", "blob")]
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": message.to_dict()["content"]},
    ]
    parts = ask(messages=history).conversation().turns[1].parts
    proofs = [(p.text, p.signature, p.redacted, p.issuer, p.id) for p in parts if hasattr(p, "issuer")]
    assert proofs == [
        ("a", "sig", None, "anthropic", None),
        ("b", "sig", None, "gemini", None),
        ("c", None, None, "", None),
        ("", None, "blob", "anthropic", None),
        ("", None, "blob", "bedrock", None),
        ("", "only", None, "anthropic", None),
        ("", None, "enc", "responses", "rs_1"),
    ]


def test_a_thought_signature_travels_on_the_call() -> None:
    message = by_sdk(
        told(ToolStart(0, "c0", "f", signature="gem"), ToolDelta(0, "{}"), ToolEnd(0), Finish("tool_calls"))
    )
    block = message.content[0].to_dict()
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0"}]},
    ]
    request = ask(messages=history)
    assert request.conversation().turns[1].parts[0].signature == "gem"  # type: ignore[union-attr]
    sent = json.loads(CODEC.encode(request, DEPLOYMENT).body)
    assert sent["messages"][1]["content"] == [{"type": "tool_use", "id": "c0", "name": "f", "input": {}}]


def test_refusals_citations_and_images() -> None:
    refused = by_sdk(told(RefusalText("No."), Finish("stop")))
    assert refused.stop_reason == "refusal"
    assert refused.content[0].text == "No."  # type: ignore[union-attr]
    cited = by_sdk(
        told(
            Text("So it is."),
            Citation("https://e.org", "E", "it is", 0, 9),
            Citation("", "Doc", "it is"),
            Citation(),
            Text(" Yes."),
            Finish("stop"),
        )
    )
    block = cited.content[0]
    assert block.type == "text"
    assert block.text == "So it is. Yes."
    assert [one.type for one in block.citations or ()] == ["web_search_result_location", "char_location"]
    drawn = by_sdk(told(Image("image/png", "QUJD"), Finish("stop")))
    assert "data:image/png;base64,QUJD" in drawn.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("finish", "reason", "sequence"),
    [
        (Finish("stop"), "end_turn", None),
        (Finish("stop", stop_sequence="three"), "stop_sequence", "three"),
        (Finish("stop", native="pause_turn"), "pause_turn", None),
        (Finish("tool_calls"), "end_turn", None),
        (Finish("length"), "max_tokens", None),
        (Finish("length", native="model_context_window_exceeded"), "model_context_window_exceeded", None),
        (Finish("content_filter"), "refusal", None),
    ],
)
def test_why_it_stopped(finish: Finish, reason: str, sequence: str | None) -> None:
    message = by_sdk(told(Text("x"), finish))
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_usage_may_come_after_the_finish_and_counts_once() -> None:
    message = by_sdk(
        told(
            UsageReport(Usage(20, 1)),
            Text("x"),
            Finish("stop"),
            UsageReport(Usage(20, 7, 8, 3, cache_write_tokens=2)),
        )
    )
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (10, 7)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (8, 2)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 3


def test_other_choices_are_not_told() -> None:
    message = by_sdk(told(Text("a"), Text("b", choice=1), Finish("stop", choice=1), Finish("stop")))
    assert message.content[0].text == "a"  # type: ignore[union-attr]


def test_an_error_in_the_stream_raises_in_the_sdk() -> None:
    writer = encoder(stream=True)
    data = writer.stream([one(Text("x"))]) + writer.stream_error(UpstreamCut("cut"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        final(data)
    found: Any = caught.value.body
    assert found["error"]["type"] == "api_error"
    assert found["request_id"] == "req_0123"


def test_errors_have_anthropic_s_shape() -> None:
    found = json.loads(MESSAGES.error_body(ModelLoading("not yet", param="model"), "req_1"))
    assert found == {
        "type": "error",
        "error": {
            "type": "overloaded_error",
            "message": "not yet",
            "details": {"error_code": "model_loading", "param": "model"},
        },
        "request_id": "req_1",
    }


def test_pings_are_anthropic_s_and_skipped_by_the_sdk() -> None:
    writer = encoder(stream=True)
    data = writer.ping + writer.stream([one(Text("x"))]) + writer.ping
    data += writer.stream([one(Finish("stop"))]) + writer.stream_end()
    assert final(data).content[0].text == "x"  # type: ignore[union-attr]


def test_a_count_is_a_number() -> None:
    request = COUNT.decode({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert request.counts_only
    writer = COUNT.encoder(request, new_call())
    writer.fold([Counted(12)])
    assert json.loads(writer.answer()) == {"input_tokens": 12}
    with pytest.raises(UpstreamInvalid):
        COUNT.encoder(request, new_call()).answer()
    with pytest.raises(InternalError):
        writer.stream_end()


def test_tools_are_called_by_name() -> None:
    assert ask(tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}).conversation().tools
    check_order(streamed(native("text")))
