"""Tools as vendors take them: their names, and which may be called. Their parameters: tool_schemas.py.

Letters            names of tools, and ids of calls, in a vendor's letters
renamed            how a vendor's names read back
told_choice        a choice among the tools that could be told
"""

import re
from collections.abc import Callable, Collection, Iterable

from penstock.types.conversation import Conversation, Tool, ToolChoice

_WRONG = re.compile(r"[^a-zA-Z0-9_-]")
_NO_GOOGLE = re.compile(r"[^a-zA-Z0-9_.:-]")
_GOOGLE_FIRST = re.compile(r"[a-zA-Z_]")
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
