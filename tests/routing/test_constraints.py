from typing import Any

import pytest

from penstock.routing.constraints import CHARACTERS_PER_TOKEN, Needs, fits, needs_of
from penstock.types.conversation import Conversation, MediaPart, TextPart, Tool, ToolResultPart, Turn
from penstock.types.deployment import Deployment, Facts

CODEC: Any = None


def deployment(facts: Facts | None = None, context: int | None = None) -> Deployment:
    return Deployment("d", "m", CODEC, frozenset({"chat"}), facts=facts, max_context=context)


def test_what_a_conversation_needs() -> None:
    picture = MediaPart("image", "image/png", data="AAAA" * 1000)
    said = Conversation(
        [
            Turn("user", [TextPart("x" * 80)]),
            Turn("tool", [ToolResultPart("c", [TextPart("y" * 80), picture])]),
        ],
        [Tool("f")],
    )
    assert needs_of(said) == Needs(frozenset({"image"}), True, 160 // CHARACTERS_PER_TOKEN)
    assert needs_of(Conversation([Turn("user", [])], [Tool("search", kind="native")])) == Needs()


@pytest.mark.parametrize(
    ("one", "needs", "expected"),
    [
        (deployment(), Needs(frozenset({"image"}), True, 10**9), True),  # nothing is known
        (deployment(Facts(takes=frozenset({"text"}))), Needs(frozenset({"image"})), False),
        (deployment(Facts(takes=frozenset({"text", "image"}))), Needs(frozenset({"image"})), True),
        (deployment(Facts(can=frozenset({"reasoning"}))), Needs(tools=True), False),
        (deployment(Facts(can=frozenset({"tools"}))), Needs(tools=True), True),
        (deployment(Facts()), Needs(tools=True), True),  # it does not say
        (deployment(context=100), Needs(tokens=100), False),
        (deployment(context=100), Needs(tokens=99), True),
    ],
)
def test_who_is_known_not_to_fit_is_left_out(one: Deployment, needs: Needs, expected: bool) -> None:
    assert fits(one, needs) is expected
