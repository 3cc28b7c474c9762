from penstock.gateway.thoughts import ENTRY_BYTES, KEPT_S, Thoughts, Watcher
from penstock.testing.clock import FakeClock
from penstock.types.conversation import Conversation, ReasoningPart, TextPart, ToolCallPart, Turn
from penstock.types.events import (
    Event,
    Events,
    Finish,
    Reasoning,
    ReasoningEnd,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
)

ANSWER: list[Event] = [
    Reasoning("I should "),
    Reasoning("look"),
    ReasoningEnd("s1", issuer="anthropic"),
    Text("let me see"),
    ToolStart(0, "call_1", "look", signature="g1"),
    ToolDelta(0, "{}"),
    ToolEnd(0),
    ToolStart(1, "call_2", "look"),
    ToolEnd(1),
    Finish("tool_calls"),
]
PART = ReasoningPart("I should look", "s1", issuer="anthropic")


def history(*ids: str) -> Conversation:
    """As a client that keeps nothing but calls sends it back."""
    return Conversation(
        [Turn("assistant", [TextPart("let me see"), *(ToolCallPart(i, "look") for i in ids)])]
    )


def watched(clock: FakeClock, owner: str = "alice") -> Thoughts:
    thoughts = Thoughts(clock)
    watcher = Watcher(thoughts, owner)
    for event in ANSWER:
        watcher.see([Events([event])])
    return thoughts


def test_lost_reasoning_is_put_back_before_its_calls() -> None:
    conversation = history("call_1", "call_2")
    watched(FakeClock()).recall("alice", conversation)
    parts = conversation.turns[0].parts
    assert parts[0] == PART
    assert [part.signature for part in parts if isinstance(part, ToolCallPart)] == ["g1", None]


def test_it_is_found_by_any_of_its_calls_and_put_back_once() -> None:
    conversation = history("call_2")
    thoughts = watched(FakeClock())
    thoughts.recall("alice", conversation)
    thoughts.recall("alice", conversation)
    assert [part for part in conversation.turns[0].parts if isinstance(part, ReasoningPart)] == [PART]


def test_what_the_client_kept_is_left_alone() -> None:
    own = ReasoningPart("mine", "s0", issuer="anthropic")
    conversation = history("call_1")
    conversation.turns[0].parts.insert(0, own)
    watched(FakeClock()).recall("alice", conversation)
    assert conversation.turns[0].parts[0] is own


def test_unsigned_text_of_a_client_gives_way_to_the_signed() -> None:
    conversation = history("call_1")
    conversation.turns[0].parts.insert(0, ReasoningPart("I should look"))
    watched(FakeClock()).recall("alice", conversation)
    assert [part for part in conversation.turns[0].parts if isinstance(part, ReasoningPart)] == [PART]


def test_another_key_finds_nothing() -> None:
    conversation = history("call_1")
    watched(FakeClock()).recall("bob", conversation)
    assert conversation == history("call_1")


def test_thoughts_expire() -> None:
    clock = FakeClock()
    thoughts = watched(clock)
    clock.advance(KEPT_S + 1)
    conversation = history("call_1")
    thoughts.recall("alice", conversation)
    assert conversation == history("call_1")
    thoughts.remember("alice", {"new": None}, [PART])
    assert len(thoughts) == 1  # the old ones went when something new came


def test_an_answer_without_calls_or_without_thoughts_is_not_kept() -> None:
    thoughts = Thoughts(FakeClock())
    for events in (
        [Reasoning("x"), Text("y"), Finish("stop")],
        [ToolStart(0, "c", "f"), Finish("tool_calls")],
    ):
        watcher = Watcher(thoughts, "alice")
        watcher.see([Events(list(events))])
    assert len(thoughts) == 0


def test_the_store_is_bounded_in_bytes() -> None:
    thoughts = Thoughts(FakeClock(), kept_bytes=10 * (ENTRY_BYTES + 110))
    for number in range(50):
        thoughts.remember("alice", {f"call_{number:02}": None}, [ReasoningPart("x" * 100)])
    assert 8 <= len(thoughts) <= 10
    thoughts.remember("alice", {"huge": None}, [ReasoningPart("x" * 100_000)])
    assert 8 <= len(thoughts) <= 10


def test_a_client_that_drops_ids_is_known_by_what_it_called() -> None:
    thoughts = Thoughts(FakeClock())
    watcher = Watcher(thoughts, "alice", by_content=True)
    start, *rest = (
        ToolStart(0, "call_1", "look", signature="g1"),
        ToolDelta(0, '{"b":1,'),
        ToolDelta(0, '"a":2}'),
    )
    for event in [
        Reasoning("hm"),
        ReasoningEnd("s1", issuer="anthropic"),
        start,
        *rest,
        Finish("tool_calls"),
    ]:
        watcher.see([Events([event])])
    for arguments, is_found in (('{"a": 2, "b": 1}', True), ('{"a": 2, "b": 2}', False)):
        call = ToolCallPart("call_1_0", "look", arguments, is_id_ours=True)
        conversation = Conversation([Turn("assistant", [call])])
        thoughts.recall("alice", conversation)
        assert (len(conversation.turns[0].parts) == 2) is is_found
        assert (call.signature == "g1") is is_found
