"""Typed events as chunks of OpenAI's chat stream: the way of an answer from a target of another dialect.

event                 in the delta
--------------------  -----------------------------------------------------------------------------------
Text                  content (and the choice's logprobs)
Reasoning             reasoning_content
ReasoningEnd          reasoning_details, as OpenRouter has them: the block's text and its sealed signature,
                        or what only its issuer can read. A client that sends them back goes on using tools;
                        for one that does not, the gateway remembers (gateway/thoughts.py)
ToolStart, ToolDelta  tool_calls; Gemini's signature in extra_content.google.thought_signature, as Google's
                        own OpenAI-compatible door writes it
RefusalText           refusal
Citation              annotations: url_citation
Image                 images: image_url with a data: URL, as OpenRouter has them
Finish                finish_reason

The chunk is made legal by the encoder like any other.
"""

from collections.abc import Callable
from typing import Any

from penstock.types.conversation import seal
from penstock.types.events import (
    Chunk,
    Citation,
    Events,
    Finish,
    Image,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Started,
    Text,
    ToolDelta,
    ToolStart,
)

JSON = dict[str, Any]
_FORMAT = "penstock-v1"  # whose signatures these are: ours to unseal


class Blocks:
    """What one chunk must know of those before it: open reasoning blocks, the kinds of tool calls."""

    __slots__ = ("_counts", "_customs", "_texts")

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}  # of the reasoning block that is open, per choice
        self._counts: dict[int, int] = {}  # reasoning blocks that ended, per choice
        self._customs: set[tuple[int, int]] = set()  # (choice, index) of calls that are no functions

    def chunk(self, events: Events) -> Chunk:
        body: JSON = {}
        choices: dict[int, JSON] = {}
        for event in events.events:
            write = _WRITE.get(event.__class__)
            if write is not None:
                index = event.choice  # type: ignore[union-attr]  # those in the table have one
                choice = choices.get(index)
                if choice is None:
                    choice = choices[index] = {"index": index, "delta": {}}
                write(self, event, choice)
            elif isinstance(event, Started) and event.id:
                body["id"] = event.id
        body["choices"] = list(choices.values())
        return Chunk(body, events.usage, events.has_content)

    def text(self, event: Text, choice: JSON) -> None:
        delta = choice["delta"]
        if self._texts:
            self._texts.pop(event.choice, None)
        delta["content"] = delta["content"] + event.text if "content" in delta else event.text
        if event.logprobs is not None:
            logprobs = choice.setdefault("logprobs", {"content": []})
            logprobs["content"] += event.logprobs.get("content") or []

    def reasoning(self, event: Reasoning, choice: JSON) -> None:
        self._texts.setdefault(event.choice, []).append(event.text)
        delta = choice["delta"]
        delta["reasoning_content"] = delta.get("reasoning_content", "") + event.text

    def reasoning_end(self, event: ReasoningEnd, choice: JSON) -> None:
        text = "".join(self._texts.pop(event.choice, ()))
        detail: JSON = {"index": self._counts.get(event.choice, 0), "format": _FORMAT}
        if event.id:
            detail["id"] = event.id
        if event.signature is not None:
            signature = seal(event.issuer, event.signature)
            detail |= {"type": "reasoning.text", "text": text, "signature": signature}
        elif event.redacted is not None:
            detail |= {"type": "reasoning.encrypted", "data": seal(event.issuer, event.redacted)}
        else:
            return
        self._counts[event.choice] = detail["index"] + 1
        choice["delta"].setdefault("reasoning_details", []).append(detail)

    def tool_start(self, event: ToolStart, choice: JSON) -> None:
        self._texts.pop(event.choice, None)
        if event.kind == "custom":
            self._customs.add((event.choice, event.index))
        piece: JSON = {"index": event.index, "id": event.id, "type": event.kind}
        piece[event.kind] = {"name": event.name}
        if event.signature:
            piece["extra_content"] = {"google": {"thought_signature": event.signature}}
        choice["delta"].setdefault("tool_calls", []).append(piece)

    def tool_delta(self, event: ToolDelta, choice: JSON) -> None:
        """Adds to what this chunk says of the call already: clients count the entries of a chunk as calls."""
        is_custom = (event.choice, event.index) in self._customs
        kind, key = ("custom", "input") if is_custom else ("function", "arguments")
        pieces = choice["delta"].setdefault("tool_calls", [])
        for piece in pieces:
            if piece["index"] == event.index:
                piece[kind][key] = piece[kind].get(key, "") + event.arguments
                return
        pieces.append({"index": event.index, kind: {key: event.arguments}})

    def refusal(self, event: RefusalText, choice: JSON) -> None:
        delta = choice["delta"]
        delta["refusal"] = delta.get("refusal", "") + event.text

    def citation(self, event: Citation, choice: JSON) -> None:
        cited: JSON = {"url": event.url, "title": event.title}
        cited["start_index"], cited["end_index"] = event.start or 0, event.end or 0
        annotations = choice["delta"].setdefault("annotations", [])
        annotations.append({"type": "url_citation", "url_citation": cited})

    def image(self, event: Image, choice: JSON) -> None:
        images = choice["delta"].setdefault("images", [])
        url = f"data:{event.media_type};base64,{event.data}"
        images.append({"index": len(images), "type": "image_url", "image_url": {"url": url}})

    def finish(self, event: Finish, choice: JSON) -> None:
        choice["finish_reason"] = event.reason
        if event.native and event.native != event.reason:
            choice["native_finish_reason"] = event.native


_WRITE: dict[type, Callable[[Blocks, Any, JSON], None]] = {
    Text: Blocks.text,
    Reasoning: Blocks.reasoning,
    ReasoningEnd: Blocks.reasoning_end,
    ToolStart: Blocks.tool_start,
    ToolDelta: Blocks.tool_delta,
    RefusalText: Blocks.refusal,
    Citation: Blocks.citation,
    Image: Blocks.image,
    Finish: Blocks.finish,
}
