import pytest

from penstock.gateway.thoughts import ENTRY_BYTES, KEPT_S, Thoughts, Watcher
from penstock.testing.clock import FakeClock
from penstock.types.conversation import (
    Conversation,
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
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
    watcher = Watcher(thoughts, owner, [])
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
        watcher = Watcher(thoughts, "alice", [])
        watcher.see([Events(list(events))])
    assert len(thoughts) == 0


def test_the_store_is_bounded_in_bytes_and_who_has_many_pushes_out_nobody_else() -> None:
    thoughts = Thoughts(FakeClock(), kept_bytes=10 * (ENTRY_BYTES + 110))
    thoughts.remember("bob", {"toolu_BOB1": None}, [ReasoningPart("mine")])
    for number in range(50):
        thoughts.remember("alice", {f"call_{number:02}": None}, [ReasoningPart("x" * 100)])
    assert 8 <= len(thoughts) <= 10
    thoughts.remember("alice", {"huge": None}, [ReasoningPart("x" * 100_000)])
    assert len(thoughts) == 1
    history = Conversation([Turn("assistant", [ToolCallPart("toolu_BOB1", "look", "{}")])])
    thoughts.recall("bob", history)
    assert history.turns[0].parts[0] == ReasoningPart("mine")


def test_a_client_that_drops_ids_is_known_by_what_it_called() -> None:
    thoughts = Thoughts(FakeClock())
    watcher = Watcher(thoughts, "alice", [], by_content=True)
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


def kimi(text: str, call_id: str = "functions.look:0") -> list[Event]:
    """A model that numbers its calls and signs nothing."""
    return [
        Reasoning(text),
        ReasoningEnd(),
        ToolStart(0, call_id, "look"),
        ToolDelta(0, '{"a":1}'),
        ToolEnd(0),
        Finish("tool_calls"),
    ]


def asked(question: str) -> list[Turn]:
    return [Turn("user", [TextPart(question)])]


def below(turns: list[Turn], *, call_id: str = "functions.look:0", given: str = "") -> Conversation:
    thought = [ReasoningPart(given)] if given else []
    call = ToolCallPart(call_id, "look", '{"a": 1}')
    return Conversation([*turns, Turn("assistant", [*thought, call])])


def thoughts_of(conversation: Conversation) -> list[str]:
    return [part.text for part in conversation.turns[-1].parts if isinstance(part, ReasoningPart)]


def after(*said: Part, system: str = "") -> list[Turn]:
    """A second question that everybody asks, below what was said before it."""
    spoken = [Turn("user" if isinstance(part, TextPart) else "tool", [part]) for part in said]
    return [Turn("system", [TextPart(system)]), *spoken, Turn("assistant", []), *asked("go on")]


@pytest.mark.parametrize(
    ("mine", "yours"),
    [
        (asked("of Alice"), asked("of Bob")),
        (after(TextPart("of Alice")), after(TextPart("of Bob"))),
        (after(system="You talk to Alice."), after(system="You talk to Bob.")),
        (
            after(ToolResultPart("c", [TextPart("Alice's mail")])),
            after(ToolResultPart("c", [TextPart("Bob's mail")])),
        ),
        (
            after(ToolResultPart("c", [MediaPart("image", data="QQ==")])),
            after(ToolResultPart("c", [MediaPart("image", data="Qg==")])),
        ),
        (after(TextPart("ab"), TextPart("c")), after(TextPart("a"), TextPart("bc"))),
    ],
)
@pytest.mark.parametrize("call_id", ["functions.look:0", "functions.MCP_SERVER_LOOK:12", "call_0"])
def test_an_id_that_is_counted_finds_only_what_was_thought_after_the_same_words(
    mine: list[Turn], yours: list[Turn], call_id: str
) -> None:
    thoughts = Thoughts(FakeClock())
    Watcher(thoughts, "team", mine).see([Events(kimi("of Alice", call_id))])
    for turns, found in ((mine, ["of Alice"]), (yours, [])):
        conversation = below(turns, call_id=call_id)
        thoughts.recall("team", conversation)
        assert thoughts_of(conversation) == found


def test_what_a_client_does_to_an_assistant_s_words_hides_no_thought() -> None:
    thoughts = Thoughts(FakeClock())
    said = [*asked("q"), Turn("assistant", [TextPart("So: ")]), *asked("go on")]
    Watcher(thoughts, "team", said).see([Events(kimi("hm"))])
    conversation = below([*asked("q"), Turn("assistant", [TextPart("So:")]), *asked("go on")])
    thoughts.recall("team", conversation)
    assert thoughts_of(conversation) == ["hm"]


def test_a_random_id_is_enough_when_a_client_rewrites_its_questions() -> None:
    thoughts = Thoughts(FakeClock())
    Watcher(thoughts, "team", asked("at 10:00")).see([Events(kimi("hm", "call_9aF3k01TzQ"))])
    conversation = below(asked("at 10:01"), call_id="call_9aF3k01TzQ")
    thoughts.recall("team", conversation)
    assert thoughts_of(conversation) == ["hm"]


def test_what_nobody_signed_replaces_nothing_that_the_client_gave() -> None:
    thoughts = Thoughts(FakeClock())
    Watcher(thoughts, "team", asked("q")).see([Events(kimi("remembered"))])
    conversation = below(asked("q"), given="the client's own")
    thoughts.recall("team", conversation)
    assert thoughts_of(conversation) == ["the client's own"]


def test_the_signature_of_a_text_is_not_that_of_the_thought_before_it() -> None:
    thoughts = Thoughts(FakeClock())
    watcher = Watcher(thoughts, "alice", [])
    end = ReasoningEnd("of the text", issuer="gemini")
    watcher.see(
        [Events([Reasoning("hm"), Text("I will look."), end, ToolStart(0, "c", "look"), Finish("stop")])]
    )
    conversation = Conversation([Turn("assistant", [ToolCallPart("c", "look")])])
    thoughts.recall("alice", conversation)
    assert conversation.turns[0].parts[:2] == [
        ReasoningPart("hm"),
        ReasoningPart("", "of the text", issuer="gemini"),
    ]
