"""Anthropic's events as typed ones: for clients of other dialects.

block                            events
-------------------------------  -----------------------------------------------------------------------------
text                             Text; its citations at its end, with the place of the text they stand for
thinking, redacted_thinking      Reasoning, ReasoningEnd with what Anthropic wants to see again
tool_use                         ToolStart, ToolDelta, ToolEnd; `{}` where nothing was streamed
any other with a `text`          Text; the rest (what server tools did) belongs to this dialect alone

message_delta's stop_reason becomes Finish; what a refusal explains becomes RefusalText before it. A call
whose input is no JSON object is refused, unless the answer was cut there: only the message_delta tells.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.dialects.anthropic import CUT, JSON, STOP_REASONS
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import (
    Citation,
    Event,
    Events,
    Finish,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.usage import Usage

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Names(NamedTuple):
    """How the request called what Anthropic could not be told by its own name (anthropic_lower)."""

    tools: Mapping[str, str] = {}  # name at Anthropic -> the client's
    customs: frozenset[str] = frozenset()  # tools that take a text, by their name at Anthropic
    forced: str | None = None  # the tool whose input is the answer


class Typed:
    """One answer; `names` is what the request was lowered with."""

    __slots__ = (
        "_arguments",
        "_bad",
        "_calls",
        "_citations",
        "_custom",
        "_forced",
        "_held",
        "_index",
        "_kind",
        "_names",
        "_signature",
        "_text_at",
        "_text_length",
        "_thought",
    )

    def __init__(self, names: Names) -> None:
        self._names = names
        self._calls = 0
        self._text_length = 0
        self._bad = False
        self._held: list[Event] = []  # the end of a call without input: was it cut?
        self._open(None, "")

    def _open(self, index: int | None, kind: str) -> None:
        self._index = index
        self._kind = kind
        self._arguments: list[str] = []
        self._citations: list[JSON] = []
        self._signature: str | None = None
        self._text_at = self._text_length
        self._thought = False
        self._custom = False
        self._forced = False

    # -- the message

    def start(self, message: JSON, usage: Usage | None) -> Events:
        started, model = message.get("id"), message.get("model")
        events: list[Event] = [
            Started(started if isinstance(started, str) else "", model if isinstance(model, str) else "")
        ]
        if usage is not None:
            events.append(UsageReport(usage))
        return Events(events, usage)

    def delta(self, delta: JSON, usage: Usage | None) -> Events:
        events: list[Event] = []
        if self._index is not None:
            self._close(events)
        reason = delta.get("stop_reason")
        self._settle(events, is_cut=reason in CUT)
        if usage is not None:
            events.append(UsageReport(usage))
        if reason is not None:
            self._finish(reason, delta, events)
        return Events(events, usage)

    def message(self, message: JSON, usage: Usage | None) -> Events:
        events = self.start(message, None).events
        for index, block in enumerate(message["content"]):
            events += self._block_start({"index": index, "content_block": block})
            for citation in block.get("citations") or () if block["type"] == "text" else ():
                self._citations.append(citation)
            self._close(events)
        self._settle(events, is_cut=message["stop_reason"] in CUT)
        if usage is not None:
            events.append(UsageReport(usage))
        self._finish(message["stop_reason"], message, events)
        return Events(events, usage, has_content=True)

    def _settle(self, events: list[Event], *, is_cut: bool) -> None:
        """What comes after a call says whether its input may be in pieces, or not there at all."""
        if self._bad and not is_cut:
            raise UpstreamInvalid("The upstream called a tool with an input that is no JSON object.")
        if self._held and not is_cut:
            events += self._held
        self._held = []

    def _finish(self, reason: str, delta: JSON, events: list[Event]) -> None:
        known = STOP_REASONS.get(reason, "stop")
        if known == "tool_calls" and self._calls == 0:
            known = "stop"
        details = delta.get("stop_details")
        if reason == "refusal" and isinstance(details, dict) and isinstance(details.get("explanation"), str):
            events.append(RefusalText(details["explanation"]))
        stop = delta.get("stop_sequence")
        events.append(Finish(known, native=reason, stop_sequence=stop if isinstance(stop, str) else None))

    # -- blocks

    def event(self, kind: str, body: JSON) -> Events | None:
        read = _READ.get(kind)
        if read is None:
            return None
        events = read(self, body)
        if not events:
            return None
        return Events(events, None, events[-1].__class__ in _CONTENT or events[0].__class__ in _CONTENT)

    def _block_start(self, body: JSON) -> list[Event]:
        events: list[Event] = []
        if self._index is not None:
            self._close(events)
        self._settle(events, is_cut=False)
        block = body["content_block"]
        kind = block["type"]
        index = body["index"]
        self._open(index, kind)
        match kind:
            case "tool_use":
                self._tool_start(block, events)
            case "thinking":
                if block["thinking"]:
                    events.append(Reasoning(_text(block["thinking"])))
                    self._thought = True
                self._signature = _text(block.get("signature") or "") or None
            case "redacted_thinking":
                events.append(ReasoningEnd(redacted=_text(block["data"]), issuer="anthropic"))
            case _:
                text = _text(block["text"]) if kind == "text" else block.get("text")
                if isinstance(text, str) and text:
                    self._text_length += len(text)
                    events.append(Text(text))
        return events

    def _tool_start(self, block: JSON, events: list[Event]) -> None:
        name = _text(block["name"])
        self._custom = name in self._names.customs
        if name == self._names.forced:
            self._forced = True
            if block.get("input"):
                self._arguments.append(_encode(block["input"]).decode())
                events.append(Text(self._arguments[0]))
            return
        events.append(
            ToolStart(
                self._calls,
                _text(block["id"]),
                self._names.tools.get(name, name),
                "custom" if self._custom else "function",
            )
        )
        given = block.get("input")
        if given:
            self._arguments.append(_encode(given).decode())
            if not self._custom:
                events.append(ToolDelta(self._calls, self._arguments[0]))

    def _block_delta(self, body: JSON) -> list[Event]:
        if body["index"] != self._index:
            raise UpstreamInvalid("The upstream sent a piece of a block that is not open.")
        delta = body["delta"]
        match delta["type"]:
            case "text_delta":
                text = _text(delta["text"])
                self._text_length += len(text)
                return [Text(text)] if text else []
            case "input_json_delta":
                piece = _text(delta["partial_json"])
                if not piece or self._kind != "tool_use":
                    return []
                self._arguments.append(piece)
                if self._forced:
                    return [Text(piece)]
                return [] if self._custom else [ToolDelta(self._calls, piece)]
            case "thinking_delta":
                self._thought = True
                return [Reasoning(_text(delta["thinking"]))] if delta["thinking"] else []
            case "signature_delta":
                self._signature = _text(delta["signature"]) or None
            case "citations_delta":
                self._citations.append(delta["citation"])
        return []

    def _block_stop(self, body: JSON) -> list[Event]:
        events: list[Event] = []
        if body["index"] == self._index:
            self._close(events)
        return events

    def _close(self, events: list[Event]) -> None:
        match self._kind:
            case "text":
                events.extend(map(self._citation, self._citations))
            case "thinking":
                if self._thought or self._signature:
                    events.append(
                        ReasoningEnd(self._signature, issuer="anthropic" if self._signature else "")
                    )
            case "tool_use":
                self._tool_end(events)
        self._open(None, "")

    def _tool_end(self, events: list[Event]) -> None:
        if self._forced:
            self._bad = _object_of("".join(self._arguments) or "{}") is None
            self._held = [] if self._arguments else [Text("{}")]
            return
        index = self._calls
        self._calls += 1
        arguments = "".join(self._arguments)
        if not arguments.strip():
            self._held = [ToolDelta(index, "" if self._custom else "{}"), ToolEnd(index)]
            return
        given = _object_of(arguments)
        if given is None:
            self._bad = True  # whether that may be, the stop_reason will say
            return
        if self._custom:
            text = given.get("input")
            events.append(ToolDelta(index, text if isinstance(text, str) else arguments))
        events.append(ToolEnd(index))

    def _citation(self, cited: JSON) -> Citation:
        return Citation(
            str(cited.get("url") or ""),
            str(cited.get("title") or cited.get("document_title") or cited.get("source") or ""),
            str(cited.get("cited_text") or ""),
            self._text_at,
            self._text_length,
            native=cited,
        )


_CONTENT = frozenset({Text, Reasoning, ToolStart, ToolDelta, Citation, ReasoningEnd})
_READ: dict[str, Callable[[Typed, JSON], list[Event]]] = {
    "content_block_start": Typed._block_start,  # noqa: SLF001 - a table of its own methods
    "content_block_delta": Typed._block_delta,  # noqa: SLF001
    "content_block_stop": Typed._block_stop,  # noqa: SLF001
}


def _object_of(text: str) -> JSON | None:
    try:
        decoded = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError("not a text")
    return value
