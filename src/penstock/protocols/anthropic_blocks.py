"""Typed events as the content blocks of a Messages answer: strictly one after another.

event                   block
----------------------  --------------------------------------------------------------------------------------
Text, Image             text; an image as Markdown with a data: URL: Anthropic's answers have no images
Reasoning               thinking; its signature_delta comes last, always: clients keep no block without one
ReasoningEnd            the end of the thinking block; alone: an empty thinking block, or redacted_thinking
ToolStart .. ToolEnd    tool_use
RefusalText             text, and stop_reason refusal
Citation                citations_delta of the text before it
Finish                  stop_reason, told at the end of the message with the usage

A block that begins while a tool call before it is still open waits: its pieces are kept and sent when its
turn has come. A call whose arguments are a whole JSON object is closed as soon as something else begins, so
that calls which follow each other stream, also when the upstream ends all of them together (OpenAI).

Only choice 0 is told: Anthropic has no other.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.dialects.anthropic import (
    STOP_REASONS,
    THOUGHT_SIGNATURE,
    redacted_data_of,
    signature_of,
)
from penstock.types.conversation import seal
from penstock.types.errors import InternalError, UpstreamInvalid
from penstock.types.events import (
    CUTS,
    Citation,
    Events,
    Finish,
    Image,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
)

JSON = dict[str, Any]

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_KEPT = frozenset({"pause_turn", "model_context_window_exceeded", "refusal"})  # native words that say more

_LOCATIONS = frozenset(
    {
        *("char_location", "page_location", "content_block_location"),
        *("web_search_result_location", "search_result_location"),
    }
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Block:
    """One content block. `waiting` holds its deltas while it is not the one that is sent."""

    __slots__ = ("arguments", "is_custom", "is_ended", "is_signed", "kind", "start", "waiting")

    def __init__(self, kind: str, start: JSON) -> None:
        self.kind = kind
        self.start = start
        self.waiting: list[JSON] = []
        self.is_ended = False
        self.arguments: list[str] = []  # of a tool call
        self.is_custom = False
        self.is_signed = kind != "thinking"


class Writer:
    """Gives the bodies of Anthropic's events; message_start and the end are the encoder's."""

    __slots__ = (
        "_blocks",
        "_has_calls",
        "_index",
        "_refused",
        "_tools",
        "pieces",
        "stop_reason",
        "stop_sequence",
    )

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()  # the first is being sent, the others wait
        self._index = 0  # of the first
        self._tools: dict[int, Block] = {}
        self._has_calls = False
        self._refused = False
        self.pieces = 0
        self.stop_reason: str | None = None
        self.stop_sequence: str | None = None

    def write(self, events: Events, out: list[JSON]) -> None:
        for event in events.events:
            write = _WRITE.get(event.__class__)
            if write is not None and event.choice == 0:  # type: ignore[union-attr]  # those in the table have one
                if self.stop_reason is not None:
                    raise InternalError("an event came after the finish")
                write(self, event, out)

    # -- blocks in order

    def _begin(self, kind: str, start: JSON, out: list[JSON]) -> Block:
        if self._blocks:
            last = self._blocks[-1]
            if last.kind != "tool_use" or _is_object("".join(last.arguments)):
                self._end(last, out)
        block = Block(kind, start)
        self._blocks.append(block)
        if len(self._blocks) == 1:
            out.append({"type": "content_block_start", "index": self._index, "content_block": start})
        return block

    def _add(self, block: Block, delta: JSON, out: list[JSON]) -> None:
        if block is self._blocks[0]:
            out.append({"type": "content_block_delta", "index": self._index, "delta": delta})
        else:
            block.waiting.append(delta)

    def _end(self, block: Block, out: list[JSON]) -> None:
        """No more of it comes. Sends its stop when its turn has come, and what waited for that."""
        if block.is_ended:
            return
        if not block.is_signed:
            self._add(
                block, {"type": "signature_delta", "signature": signature_of("", None, None, None)}, out
            )
        block.is_ended = True
        blocks = self._blocks
        while blocks and blocks[0].is_ended:
            out.append({"type": "content_block_stop", "index": self._index})
            blocks.popleft()
            self._index += 1
            if blocks:
                head = blocks[0]
                out.append({"type": "content_block_start", "index": self._index, "content_block": head.start})
                out.extend(
                    {"type": "content_block_delta", "index": self._index, "delta": delta}
                    for delta in head.waiting
                )
                head.waiting = []

    def _current(self, kind: str) -> Block | None:
        """The open block at the end, if it is of that kind."""
        if self._blocks:
            last = self._blocks[-1]
            if last.kind == kind and not last.is_ended:
                return last
        return None

    # -- events

    def _text(self, event: Text | RefusalText, out: list[JSON]) -> None:
        if not event.text:
            return
        self.pieces += 1
        block = self._current("text") or self._begin("text", {"type": "text", "text": ""}, out)
        self._add(block, {"type": "text_delta", "text": event.text}, out)

    def _refusal(self, event: RefusalText, out: list[JSON]) -> None:
        self._refused = True
        self._text(event, out)

    def _image(self, event: Image, out: list[JSON]) -> None:
        self._text(Text(f"![image](data:{event.media_type};base64,{event.data})"), out)

    def _citation(self, event: Citation, out: list[JSON]) -> None:
        block = self._current("text")
        cited = _citation(event)
        if block is not None and cited is not None:
            self._add(block, {"type": "citations_delta", "citation": cited}, out)

    def _reasoning(self, event: Reasoning, out: list[JSON]) -> None:
        if not event.text:
            return
        self.pieces += 1
        block = self._current("thinking") or self._thinking(out)
        self._add(block, {"type": "thinking_delta", "thinking": event.text}, out)

    def _thinking(self, out: list[JSON]) -> Block:
        return self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)

    def _reasoning_end(self, event: ReasoningEnd, out: list[JSON]) -> None:
        block = self._current("thinking")
        if block is None:
            if event.redacted is not None and event.signature is None and event.id is None:
                data = redacted_data_of(event.issuer, event.redacted)
                self._end(
                    self._begin("redacted_thinking", {"type": "redacted_thinking", "data": data}, out), out
                )
                return
            if event.redacted is None and not event.signature:
                return
            if event.issuer == "gemini" and self._current("text") is not None:
                return  # of the text before it (Gemini 3): asked for, not demanded, and no thinking
            block = self._thinking(out)
        signature = signature_of(event.issuer, event.signature, event.redacted, event.id)
        self._add(block, {"type": "signature_delta", "signature": signature}, out)
        block.is_signed = True
        self._end(block, out)

    def _tool_start(self, event: ToolStart, out: list[JSON]) -> None:
        if event.index in self._tools:
            raise InternalError("a tool call was begun twice")
        self._has_calls = True
        start: JSON = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        if event.signature:
            start[THOUGHT_SIGNATURE] = seal("gemini", event.signature)
        block = self._tools[event.index] = self._begin("tool_use", start, out)
        block.is_custom = event.kind == "custom"

    def _tool_delta(self, event: ToolDelta, out: list[JSON]) -> None:
        if not event.arguments:
            return
        block = self._tool(event.index)
        self.pieces += 1
        if block.is_ended:
            if event.arguments.strip():
                raise UpstreamInvalid("The upstream went on with a tool call whose arguments were whole.")
            return
        block.arguments.append(event.arguments)
        if not block.is_custom:
            self._add(block, {"type": "input_json_delta", "partial_json": event.arguments}, out)

    def _tool_end(self, event: ToolEnd, out: list[JSON]) -> None:
        self._close_tool(self._tool(event.index), out, is_cut=False)

    def _tool(self, index: int) -> Block:
        block = self._tools.get(index)
        if block is None:
            raise InternalError("a piece of a tool call that did not begin")
        return block

    def _close_tool(self, block: Block, out: list[JSON], *, is_cut: bool) -> None:
        if block.is_ended:
            return
        arguments = "".join(block.arguments)
        if block.is_custom:
            arguments = _encode({"input": arguments}).decode()
            self._add(block, {"type": "input_json_delta", "partial_json": arguments}, out)
        elif not is_cut:
            if not arguments.strip():
                self._add(block, {"type": "input_json_delta", "partial_json": "{}"}, out)
            elif not _is_object(arguments):
                raise UpstreamInvalid("The upstream called a tool with arguments that are no JSON object.")
        self._end(block, out)

    def _finish(self, event: Finish, out: list[JSON]) -> None:
        for block in list(self._blocks):
            if block.kind == "tool_use":
                self._close_tool(block, out, is_cut=event.reason in CUTS)
            else:
                self._end(block, out)
        self.stop_reason = self._reason(event)
        if self.stop_reason == "stop_sequence":
            self.stop_sequence = event.stop_sequence

    def _reason(self, event: Finish) -> str:
        if event.native in _KEPT and STOP_REASONS[event.native] == event.reason:
            return event.native
        if event.reason in ("stop", "tool_calls"):
            if self._has_calls:
                return "tool_use"
            if self._refused:
                return "refusal"
            is_met = event.stop_sequence is not None or event.native == "stop_sequence"
            return "stop_sequence" if is_met else "end_turn"
        return _REASONS[event.reason]


_WRITE: dict[type, Callable[[Writer, Any, list[JSON]], None]] = {
    Text: Writer._text,  # noqa: SLF001 - a table of its own methods
    Reasoning: Writer._reasoning,  # noqa: SLF001
    ReasoningEnd: Writer._reasoning_end,  # noqa: SLF001
    ToolStart: Writer._tool_start,  # noqa: SLF001
    ToolDelta: Writer._tool_delta,  # noqa: SLF001
    ToolEnd: Writer._tool_end,  # noqa: SLF001
    RefusalText: Writer._refusal,  # noqa: SLF001
    Citation: Writer._citation,  # noqa: SLF001
    Image: Writer._image,  # noqa: SLF001
    Finish: Writer._finish,  # noqa: SLF001
}


def _citation(event: Citation) -> JSON | None:
    """As a web search's result; without a URL as a place in a document."""
    if event.native is not None and str(event.native.get("type")) in _LOCATIONS:
        return event.native
    if event.url:
        return {
            "type": "web_search_result_location",
            "url": event.url,
            "title": event.title or None,
            "cited_text": event.cited_text,
            "encrypted_index": "",
        }
    if not event.title and not event.cited_text:
        return None
    return {
        "type": "char_location",
        "cited_text": event.cited_text,
        "document_index": 0,
        "document_title": event.title or None,
        "start_char_index": 0,
        "end_char_index": len(event.cited_text),
    }


def _is_object(text: str) -> bool:
    try:
        return _decode(text).__class__ is dict
    except (msgspec.DecodeError, RecursionError):
        return False
