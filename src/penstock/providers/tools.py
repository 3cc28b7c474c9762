"""Tools as vendors take them: their names, and which may be called. Their parameters: tool_schemas.py.

Letters            names of tools, and ids of calls, in a vendor's letters
renamed            how a vendor's names read back
short              ids of calls that are not too long
input_of           what a call gives its tool, as an object; told_input where it must be one
told_choice        a choice among the tools that could be told
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable

import msgspec

from penstock.types.conversation import JSON, Conversation, Tool, ToolCallPart, ToolChoice
from penstock.types.errors import InvalidRequest

_WRONG = re.compile(r"[^a-zA-Z0-9_-]")
_NO_GOOGLE = re.compile(r"[^a-zA-Z0-9_.:-]")
_GOOGLE_FIRST = re.compile(r"[a-zA-Z_]")
_decode = msgspec.json.Decoder().decode
LONGEST_NAME = 64  # of OpenAI's, Google's and Bedrock's tools


class Letters(dict[str, str]):
    """Any text -> one of a-z A-Z 0-9 _ -, always the same and never the same for two."""

    def __init__(self, longest: int | None) -> None:
        super().__init__()
        self._longest = longest
        self._taken: set[str] = set()

    def __missing__(self, text: str) -> str:
        made = plain = self._spelled(text)[: self._longest] or "_"
        number = 1
        while made in self._taken:
            number += 1
            made = f"{plain[: (self._longest or len(plain) + 8) - 8]}_{number}"
        self._taken.add(made)
        self[text] = made
        return made

    def _spelled(self, text: str) -> str:
        return _WRONG.sub("_", text)


class GoogleLetters(Letters):
    """Dots and colons, too; a letter or _ first."""

    def _spelled(self, text: str) -> str:
        plain = _NO_GOOGLE.sub("_", text)
        return plain if _GOOGLE_FIRST.match(plain) else f"_{plain}"


def renamed(tools: Iterable[Tool], letters: Letters) -> dict[str, str]:
    """The vendor's name -> the client's, of those that differ. To be asked before a history's names are."""
    return {
        new: tool.name for tool in tools if tool.kind != "native" and (new := letters[tool.name]) != tool.name
    }


def short(call_id: str, longest: int) -> str:
    """OpenAI refuses long ids of calls; other vendors make longer ones."""
    if len(call_id) <= longest:
        return call_id
    return "call_" + hashlib.blake2b(call_id.encode(), digest_size=16).hexdigest()


def input_of(part: ToolCallPart) -> JSON | None:
    """What a call gives its tool; None where that is no JSON object, as a model may write."""
    if part.kind == "custom":
        return {"input": part.arguments}
    if not part.arguments or part.arguments.isspace():
        return {}
    try:
        decoded = _decode(part.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def told_input(part: ToolCallPart) -> JSON:
    """The same for vendors that take nothing else. Raises InvalidRequest."""
    given = input_of(part)
    if given is None:
        wrong = f"The arguments of the tool call {part.id[:80]!r} are no JSON object."
        raise InvalidRequest(wrong, param="messages")
    return given


def told_choice(said: Conversation, lose: Callable[[str], None], dialect: str = "") -> ToolChoice | None:
    """The client's choice among the tools that a target can be told: functions, and native ones of `dialect`.

    Where none of those it names can be, the model is free.
    """
    choice = said.tool_choice
    if choice is None or choice.mode == "none":
        return choice
    names = {tool.name for tool in said.tools if tool.kind != "native" or tool.dialect == dialect}
    could = _possible(choice, names)
    if could is not choice:
        lose("tool_choice")
    return could


def _possible(choice: ToolChoice, names: Collection[str]) -> ToolChoice:
    if choice.mode == "named":
        return choice if choice.name in names else ToolChoice("auto")
    if choice.mode == "required" and not names:
        return ToolChoice("auto")
    allowed = tuple(name for name in choice.allowed if name in names)
    if len(allowed) == len(choice.allowed):
        return choice
    return ToolChoice(choice.mode, allowed=allowed) if allowed else ToolChoice("auto")
