"""Turns in the order that vendors insist on: laws of `settled`, whatever the order of the client."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.turns import settled
from penstock.types.conversation import Part, TextPart, ToolCallPart, ToolResultPart, Turn


@st.composite
def histories(draw: st.DrawFn) -> list[Turn]:
    """Each call is answered once, at any later time; its arguments and its result say the same number."""
    turns: list[Turn] = []
    waiting: list[ToolCallPart] = []
    for number in range(draw(st.integers(1, 12))):
        match draw(st.sampled_from(["say", "call", "answer"])):
            case "say":
                turns.append(Turn("user", [TextPart(str(number))]))
            case "call":
                taken = {call.id for call in waiting}  # no id of a call that is not answered yet
                free = [name for name in ("f:0", "f:1", "g:0", "g:0_1", f"c{number}") if name not in taken]
                made = draw(st.lists(st.sampled_from(free), min_size=1, max_size=3, unique=True))
                calls = [ToolCallPart(one, "f", f"{number}.{at}") for at, one in enumerate(made)]
                waiting += calls
                turns.append(Turn("assistant", list[Part](calls)))
            case "answer" if waiting:
                turns.append(_answered(draw(st.permutations(waiting))[: draw(st.integers(1, 3))], waiting))
    if waiting:
        turns.append(_answered(draw(st.permutations(waiting)), waiting))
    return turns


def _answered(calls: list[ToolCallPart], waiting: list[ToolCallPart]) -> Turn:
    for call in calls:
        waiting.remove(call)
    return Turn("tool", [ToolResultPart(call.id, [TextPart(call.arguments)]) for call in calls])


def _text(part: Part) -> str:
    assert isinstance(part, ToolResultPart)
    return "".join(inner.text for inner in part.content if isinstance(inner, TextPart))


@given(histories())
def test_every_call_has_its_result_behind_it_and_an_id_of_its_own(turns: list[Turn]) -> None:
    given_texts = [turn.parts for turn in turns if turn.role == "user"]
    out = settled(turns)
    ids = [part.id for turn in out for part in turn.parts if isinstance(part, ToolCallPart)]
    assert len(set(ids)) == len(ids)
    for at, turn in enumerate(out):
        calls = [part for part in turn.parts if isinstance(part, ToolCallPart)]
        if calls:
            results = out[at + 1].parts
            assert [part.call_id for part in results if isinstance(part, ToolResultPart)] == [
                c.id for c in calls
            ]
            assert [_text(part) for part in results] == [call.arguments for call in calls]
    assert sum(turn.role == "tool" for turn in out) == sum(turn.role == "assistant" for turn in out)
    assert [turn.parts for turn in out if turn.role == "user"] == given_texts


@given(histories())
def test_what_is_settled_stays_so(turns: list[Turn]) -> None:
    once = settled(turns)
    assert settled(once) == once


def test_a_result_without_a_call_stays_where_it_is() -> None:
    result = Turn("tool", [ToolResultPart("c", [TextPart("early")])])
    call = Turn("assistant", [ToolCallPart("c", "f")])
    asked = Turn("user", [TextPart("hi")])
    late = Turn("tool", [ToolResultPart("c", [TextPart("late")])])
    assert settled([result, call, asked, late]) == [result, call, late, asked]


def test_a_call_that_has_no_result_takes_none_of_a_later_one_with_its_id() -> None:
    call = Turn("assistant", [ToolCallPart("f:0", "f")])
    result = Turn("tool", [ToolResultPart("f:0", [TextPart("of the second")])])
    first, second, answer = settled([call, call, result])
    assert first == call
    assert isinstance(second.parts[0], ToolCallPart)
    assert isinstance(answer.parts[0], ToolResultPart)
    assert second.parts[0].id == answer.parts[0].call_id != "f:0"


def test_a_long_history_that_nobody_answered_is_read_once() -> None:
    turns = [Turn("assistant", [ToolCallPart(str(at), "f")]) for at in range(20_000)]
    assert settled(turns) == turns  # by scans of the rest it took minutes: tests have a limit of seconds
