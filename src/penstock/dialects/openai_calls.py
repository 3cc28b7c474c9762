"""The tool calls of one choice in OpenAI's streams, told apart in spite of what vendors send.

seen                                                     taken as
-------------------------------------------------------  ---------------------------------------------------
all with index 0; no index; no id                        one call per id, else per name (`_begins_another`)
id, type or name repeated in every piece                 the first counts
the name in a later piece than the id or arguments       held until the name is known
the other kind of call beside it, null                   one kind
one call in two kinds                                    refused: upstream_invalid
arguments null, missing, or an object                    JSON text
"""

import secrets
from typing import Any, NamedTuple

import msgspec

from penstock.types.errors import UpstreamInvalid

JSON = dict[str, Any]

ARGUMENTS = {"function": "arguments", "custom": "input"}


class ToolCall:
    """One tool call while it is streamed."""

    __slots__ = ("extra", "has_arguments", "held", "id", "index", "is_id_ours", "is_sent", "kind", "name")

    def __init__(self, index: int, call_id: str, kind: str, *, is_id_ours: bool) -> None:
        self.index = index
        self.id = call_id
        self.is_id_ours = is_id_ours
        self.kind = kind
        self.name = ""
        self.is_sent = False  # its first piece, the one with id and name, was given
        self.held = ""  # arguments that came before the name
        self.has_arguments = False
        self.extra: JSON = {}  # what the first piece has beside OpenAI's fields


class Piece(NamedTuple):
    """A piece of a call that may be told: its first (`starts`), or more arguments."""

    call: ToolCall
    text: str
    starts: bool
    payload: JSON  # of the first: the function as the upstream wrote it


class ToolCalls:
    """The calls of choice `choice`, in order of appearance."""

    __slots__ = ("_by_index", "_choice", "_seed", "calls")

    def __init__(self, choice: int) -> None:
        self.calls: list[ToolCall] = []
        self._choice = choice
        self._by_index: dict[Any, ToolCall] = {}  # upstream's index -> the latest call under it
        self._seed = ""

    def feed(self, piece: JSON) -> Piece | None:
        """What can be told once `piece` has come. Raises UpstreamInvalid for a call that changes its kind."""
        kind = kind_of(piece)
        payload = piece.get(kind) or {}
        text = text_of(payload.get(ARGUMENTS[kind]))
        call = self._call_of(piece, payload, kind, text)
        if payload and call.kind != kind:
            if call.is_sent or call.held:
                raise UpstreamInvalid("The upstream changed the kind of a tool call half-way.")
            call.kind = kind
        if text:
            call.has_arguments = True
        if call.is_sent:
            return Piece(call, text, starts=False, payload=payload) if text else None
        call.held += text
        if not payload.get("name"):
            return None
        call.name = payload["name"]
        call.is_sent = True
        if len(piece) > 1:
            call.extra = {name: value for name, value in piece.items() if name not in _OWN}
        return Piece(call, call.held, starts=True, payload=payload)

    def without_arguments(self) -> list[ToolCall]:
        """At the end: functions that were called with nothing, which is `{}`.

        Raises UpstreamInvalid when a call has no name.
        """
        if any(not call.is_sent for call in self.calls):
            raise UpstreamInvalid("The upstream called a tool without naming it.")
        return [call for call in self.calls if not call.has_arguments and call.kind == "function"]

    def new_id(self, position: int) -> str:
        if not self._seed:
            self._seed = secrets.token_hex(10)
        return f"call_{self._seed}{self._choice}{position:02d}"

    def _call_of(self, piece: JSON, payload: JSON, kind: str, text: str) -> ToolCall:
        """The call this piece belongs to. An id says more than an index: many vendors number every call 0."""
        call_id = piece.get("id")
        index = piece.get("index")
        latest = self.calls[-1] if self.calls else None
        current = self._by_index.get(index) if index is not None else latest
        if call_id:
            for call in self.calls:
                if call.id == call_id:
                    return call
            if current is not None and current.is_id_ours and not current.is_sent:
                current.id, current.is_id_ours = call_id, False
                return current
        elif current is not None and not _begins_another(current, payload.get("name"), text):
            return current
        position = len(self.calls)
        call = ToolCall(position, call_id or self.new_id(position), kind, is_id_ours=not call_id)
        self.calls.append(call)
        self._by_index[index] = call
        return call


_OWN = frozenset({"index", "id", "type", *ARGUMENTS})


def kind_of(piece: JSON) -> str:
    """Servers write both kinds, one of them null."""
    return "custom" if piece.get("custom") is not None else "function"


def text_of(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _begins_another(current: ToolCall, name: str | None, text: str) -> bool:
    """A piece without an id: another call when it names another tool, or the same one with new arguments."""
    if not name or not current.is_sent:
        return False
    return name != current.name or (current.has_arguments and text.lstrip().startswith("{"))
