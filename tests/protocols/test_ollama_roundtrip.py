"""Ollama's dialect, both ways: answers through its own SDK's types, requests written and read again."""

import json
from typing import Any

import ollama
from hypothesis import given
from hypothesis import strategies as st
from typed_events import TEXTS, answers, said, typed
from wire_help import new_call

from penstock.lib.lines import LineSplitter
from penstock.protocols import ollama as protocol
from penstock.providers.ollama import OllamaCodec
from penstock.providers.ollama_lower import Lowering
from penstock.types.conversation import Conversation, TextPart, Turn
from penstock.types.deployment import Deployment
from penstock.types.events import Event
from penstock.types.requests import ChatRequest

CODEC = OllamaCodec()
TARGET = Deployment("d", "up", CODEC, CODEC.operations)
HI: dict[str, Any] = {"model": "public", "messages": [{"role": "user", "content": "hi"}]}
FOREIGN = ChatRequest("m", {}, dialect="openai", lift=lambda _: Conversation([Turn("user", [TextPart("a")])]))


def streamed(batches: list[list[Event]]) -> bytes:
    encoder = protocol.CHAT.encoder(protocol.CHAT.decode(json.loads(json.dumps(HI))), new_call("/api/chat"))
    return b"".join([encoder.stream([typed(*batch)]) for batch in batches]) + encoder.stream_end()


def whole(events: list[Event]) -> bytes:
    request = protocol.CHAT.decode({**json.loads(json.dumps(HI)), "stream": False})
    encoder = protocol.CHAT.encoder(request, new_call("/api/chat"))
    encoder.fold([typed(*events)])
    return encoder.answer()


def expected(events: list[Event]) -> dict[str, Any]:
    """What the format has a place for: a refusal is text, signatures have none."""
    found = said(events)
    calls = [] if found["finish"] == "length" else found["calls"]
    return {
        "text": found["text"] + found["refusal"],
        "thinking": found["reasoning"],
        "calls": sorted((call["name"], json.loads(call["arguments"] or "{}")) for call in calls),
        "finish": "length" if found["finish"] == "length" else "stop",
    }


def through_the_sdk(objects: list[bytes]) -> dict[str, Any]:
    pieces = [ollama.ChatResponse.model_validate_json(one) for one in objects]
    assert all(piece.model == "public" for piece in pieces)
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (pieces[-1].prompt_eval_count, pieces[-1].eval_count) == (10, 5)
    calls = [call.function for piece in pieces for call in piece.message.tool_calls or ()]
    return {
        "text": "".join(piece.message.content or "" for piece in pieces),
        "thinking": "".join(piece.message.thinking or "" for piece in pieces),
        "calls": sorted((call.name, dict(call.arguments)) for call in calls),
        "finish": pieces[-1].done_reason,
    }


@given(answers(), st.integers(1, 9))
def test_any_answer_through_the_sdk(events: list[Event], size: int) -> None:
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    assert through_the_sdk(streamed(batches).splitlines()) == expected(events)
    assert through_the_sdk([whole(events)]) == expected(events)


@given(answers(), st.integers(1, 40))
def test_any_chunking_is_read_alike_and_says_the_same(events: list[Event], size: int) -> None:
    data = streamed([events])
    splitter, reader = LineSplitter(), CODEC.reader(FOREIGN, TARGET)
    found: list[Event] = []
    for start in range(0, len(data), size):
        for line in splitter.feed_data(data[start : start + size]):
            delta = reader.event(line)
            found += delta.events if delta is not None else []  # type: ignore[union-attr]  # Events
    assert reader.is_complete
    again = expected(found)
    assert again == expected(events)


FUNCTIONS = st.lists(
    st.builds(
        lambda name, arguments: {"name": name, "arguments": arguments},
        st.sampled_from("fg"),
        st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9), max_size=2),
    ),
    max_size=3,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    words = TEXTS.filter(lambda text: text.strip() != "")
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(words)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(words)})
        calls = [
            {"id": f"call_{turn}_{at}", "function": function} for at, function in enumerate(draw(FUNCTIONS))
        ]
        answer: dict[str, Any] = {"role": "assistant", "content": draw(words)}
        if draw(st.booleans()):
            answer["thinking"] = draw(words)
        if calls:
            answer["tool_calls"] = calls
        messages.append(answer)
        for call in calls:
            name = call["function"]["name"]
            messages.append(
                {"role": "tool", "content": draw(words), "tool_call_id": call["id"], "tool_name": name}
            )
    messages.append({"role": "user", "content": draw(words)})
    return messages


@given(conversations())
def test_what_is_lifted_is_lowered_to_the_same(messages: list[dict[str, Any]]) -> None:
    request = protocol.CHAT.decode({"model": "m", "messages": json.loads(json.dumps(messages))})
    lowering = Lowering(request.conversation(), "m")
    assert lowering.body()["messages"] == messages
    assert lowering.dropped == []


def test_what_the_dialect_has_no_place_for_is_told() -> None:
    said_there = Conversation(
        [Turn("user", [TextPart("a")], "ann")],
        n=2,
        logit_bias={"5": 1},
        user="u",
        parallel_tool_calls=False,
    )
    lowering = Lowering(said_there, "m")
    lowering.body()
    assert sorted(lowering.dropped) == ["logit_bias", "messages[].name", "n", "parallel_tool_calls", "user"]
