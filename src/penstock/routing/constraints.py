"""What a request asks of a model, and which targets can do it, as far as the table of models knows.

    asked                                   a target is left out that is known
    --------------------------------------  --------------------------------------------
    an image, sound, film or file           not to take any
    tools                                   to have none, though it says what it has
    a prompt of at least so many tokens     to take less

Nothing is left out that is not known, and nothing where nobody is left.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from penstock.types.conversation import Conversation, MediaPart, Part, TextPart, ToolResultPart
from penstock.types.deployment import Deployment

CHARACTERS_PER_TOKEN = 8  # no text has fewer tokens than this says, but for very long words: a lower bound

T = TypeVar("T")


class Needs(NamedTuple):
    takes: frozenset[str] = frozenset()  # beside text
    tools: bool = False
    tokens: int = 0  # at least


def needs_of(conversation: Conversation) -> Needs:
    takes: set[str] = set()
    characters = 0
    for turn in conversation.turns:
        for part in turn.parts:
            inner: Sequence[Part] = part.content if isinstance(part, ToolResultPart) else (part,)
            for one in inner:
                if isinstance(one, MediaPart):
                    takes.add(one.kind)
                elif isinstance(one, TextPart):
                    characters += len(one.text)
    tools = any(tool.kind != "native" for tool in conversation.tools)
    return Needs(frozenset(takes), tools, characters // CHARACTERS_PER_TOKEN)


def fits(deployment: Deployment, needs: Needs) -> bool:
    facts = deployment.facts
    if deployment.max_context is not None and needs.tokens >= deployment.max_context:
        return False
    if facts is None:
        return True
    if facts.takes is not None and not needs.takes <= facts.takes:
        return False
    return not (needs.tools and facts.can and "tools" not in facts.can)
