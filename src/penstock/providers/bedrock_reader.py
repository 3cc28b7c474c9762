"""Reads answers of Bedrock's Converse API: whole, and streamed as `{"<event>": {...}}` (lib/eventstream.py).

event                                   typed events
--------------------------------------  --------------------------------------------------------------------
messageStart                            Started
contentBlockStart toolUse               ToolStart
contentBlockDelta text, toolUse.input   Text, ToolDelta
contentBlockDelta reasoningContent      Reasoning; its signature or redacted content at the block's end
contentBlockDelta citation              Citation
contentBlockStop                        ToolEnd, ReasoningEnd
messageStop                             Finish, held until
metadata                                UsageReport: the stream is complete
...Exception                            the error

inputTokens leave cache reads and writes out; our usage has them in.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.providers.openai_usage import JSON, count, decode_object
from penstock.types.errors import (
    InvalidRequest,
    PenstockError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.events import (
    CUTS,
    Citation,
    Delta,
    Event,
    Events,
    Finish,
    FinishReason,
    Image,
    Reasoning,
    ReasoningEnd,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.usage import Usage

# None: the answer is broken, not finished.
_REASONS: dict[str, FinishReason | None] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": None,
    "malformed_tool_use": None,
}
EXCEPTIONS: dict[str, type[PenstockError]] = {
    "throttlingException": UpstreamRateLimited,
    "validationException": InvalidRequest,
    "modelStreamErrorException": UpstreamError,
    "modelTimeoutException": UpstreamTimeout,
    "internalServerException": UpstreamUnavailable,
    "serviceUnavailableException": UpstreamUnavailable,
}
_CONTENT = frozenset({Text, Reasoning, ToolStart, ToolDelta, Citation, Image})

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class ConverseReader:
    """`names`: tools that are called otherwise there; `customs`: those with one text as their input, by our
    name; `forced`: the one whose input is the answer.
    """

    def __init__(
        self, name: str, names: dict[str, str], customs: frozenset[str], forced: str | None = None
    ) -> None:
        self._name = name
        self._forced = forced
        self._names = names
        self._customs = customs
        self._calls = 0
        self._open = ""  # the sort of the block that is open
        self._arguments: list[str] = []
        self._is_custom = False
        self._format = ""  # of the image that is open
        self.images = 0  # drawn so far
        self._signature: str | None = None
        self._has_thought = False
        self._is_torn = False  # a call's arguments were no JSON object: is the answer cut?
        self._held: list[Event] = []  # the end of a call without arguments: likewise
        self._finish: Finish | None = None
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:
        try:
            ((kind, body),) = _decode(data).items()
            read = _READ.get(kind)
            if read is not None:
                events = read(self, body)
            elif kind == "metadata":
                return self._end(body)
            elif kind in EXCEPTIONS or kind.endswith("Exception"):
                raise failure(self._name, kind, body)
            else:
                return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an event that is not JSON.") from exc
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an event of an unknown shape.") from exc
        return Events(events, None, events[0].__class__ in _CONTENT) if events else None

    def answer(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        events: list[Event] = [Started()]
        try:
            for block in decoded["output"]["message"]["content"]:
                self._whole(block, events)
            events += self._stopped(decoded)
            end = self._end(decoded)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        return Events([*events, *end.events], end.usage, has_content=True)

    # -- streamed

    def _started(self, body: JSON) -> list[Event]:  # noqa: ARG002 - one signature
        return [Started()]

    def _block_start(self, body: JSON) -> list[Event]:
        events = self._settle(is_cut=False)
        use = body["start"].get("toolUse")
        if use is None:
            picture = body["start"].get("image")
            if picture is not None:
                self._open, self._format = "image", _text(picture["format"])
                self._arguments = []
            return events
        self._open = "tool"
        self._arguments = []
        name = _text(use["name"])
        if name == self._forced:
            self._open = "answer"
            return events
        name = self._names.get(name, name)
        self._is_custom = name in self._customs
        kind: Any = "custom" if self._is_custom else "function"
        events.append(ToolStart(self._calls, _text(use["toolUseId"]), name, kind))
        return events

    def _block_delta(self, body: JSON) -> list[Event]:
        delta = body["delta"]
        if (self._held or self._is_torn) and "toolUse" not in delta:
            return [*self._settle(is_cut=False), *self._block_delta(body)]
        text = delta.get("text")
        if text is not None:
            return [Text(_text(text))] if text else []
        if "toolUse" in delta:
            if self._open not in ("tool", "answer"):
                raise TypeError("arguments outside a call")
            piece = _text(delta["toolUse"].get("input") or "")
            if not piece:
                return []
            if self._open == "answer":
                return [Text(piece)]
            self._arguments.append(piece)
            return [] if self._is_custom else [ToolDelta(self._calls, piece)]
        if "reasoningContent" in delta:
            return self._thought(delta["reasoningContent"])
        if "citation" in delta:
            return [_citation(delta["citation"])]
        if "image" in delta and self._open == "image":
            if delta["image"].get("error"):
                raise UpstreamInvalid(f"{self._name} could not make an image.")
            self._arguments.append(_text((delta["image"].get("source") or {}).get("bytes") or ""))
        return []

    def _thought(self, thought: JSON) -> list[Event]:
        self._open = "reasoning"
        if thought.get("signature"):  # may come in pieces
            self._signature = (self._signature or "") + _text(thought["signature"])
        if thought.get("redactedContent"):
            self._open = ""
            return [ReasoningEnd(None, _text(thought["redactedContent"]), "bedrock")]
        if thought.get("text"):
            self._has_thought = True
            return [Reasoning(_text(thought["text"]))]
        return []

    def _block_stop(self, body: JSON) -> list[Event]:  # noqa: ARG002 - blocks come one after the other
        kind, self._open = self._open, ""
        if kind == "reasoning":
            signature, self._signature = self._signature, None
            has_thought, self._has_thought = self._has_thought, False
            if signature or has_thought:
                return [ReasoningEnd(signature, None, "bedrock" if signature else "")]
        if kind == "tool":
            return self._tool_end()
        return self._image(self._format, "".join(self._arguments)) if kind == "image" else []

    def _image(self, format_: str, data: str) -> list[Event]:
        if not data:
            return []
        self.images += 1
        return [Image(f"image/{format_}", data)]

    def _tool_end(self) -> list[Event]:
        index = self._calls
        self._calls += 1
        arguments = "".join(self._arguments)
        if not arguments:
            self._held = [ToolDelta(index, "" if self._is_custom else "{}"), ToolEnd(index)]
            return []
        given = _object_of(arguments)
        if given is None:
            self._is_torn = True
            return []
        if not self._is_custom:
            return [ToolEnd(index)]
        text = given.get("input")
        return [ToolDelta(index, text if isinstance(text, str) else arguments), ToolEnd(index)]

    def _settle(self, *, is_cut: bool) -> list[Event]:
        """What comes after a call says whether its arguments may be in pieces, or not there at all."""
        if self._is_torn and not is_cut:
            raise UpstreamInvalid(f"{self._name} called a tool with arguments that are no JSON object.")
        held, self._held = self._held, []
        return [] if is_cut else held

    def _stopped(self, body: JSON) -> list[Event]:
        reason = _text(body["stopReason"])
        known = _REASONS.get(reason, "stop")
        if known is None:
            raise UpstreamError(f"{self._name} gave the answer up (stopReason {reason!r}).")
        if known == "tool_calls" and self._calls == 0:
            known = "stop"  # the only call was the answer
        extra = body.get("additionalModelResponseFields")
        stop = extra.get("stop_sequence") if isinstance(extra, dict) else None
        self._finish = Finish(known, native=reason, stop_sequence=stop if isinstance(stop, str) else None)
        return self._settle(is_cut=known in CUTS)

    # -- both

    def _end(self, body: JSON) -> Events:
        if self._finish is None:
            raise UpstreamInvalid(f"{self._name} ended its answer without a stopReason.")
        usage = read_usage(body.get("usage"), self.images)
        events: list[Event] = [] if usage is None else [UsageReport(usage)]
        self.is_complete = self.is_done = True
        return Events([*events, self._finish], usage)

    def _whole(self, block: JSON, events: list[Event]) -> None:
        if "toolUse" in block:
            use = block["toolUse"]
            events += self._block_start({"start": {"toolUse": use}})
            given = _encode(use.get("input") or {}).decode()
            events += self._block_delta({"delta": {"toolUse": {"input": given}}})
            events += self._block_stop({})
        elif "reasoningContent" in block:
            thought = block["reasoningContent"]
            events += self._thought(thought.get("reasoningText") or thought)
            events += self._block_stop({})
        elif "citationsContent" in block:
            cited = block["citationsContent"]
            events += [Text(_text(part["text"])) for part in cited.get("content") or () if part.get("text")]
            events += map(_citation, cited.get("citations") or ())
        elif "image" in block:
            made = block["image"]
            data = _text((made.get("source") or {}).get("bytes") or "")
            events += self._image(_text(made["format"]), data)
        elif block.get("text"):
            events.append(Text(_text(block["text"])))


_READ: dict[str, Callable[[ConverseReader, JSON], list[Event]]] = {
    "messageStart": ConverseReader._started,  # noqa: SLF001 - a table of its own methods
    "contentBlockStart": ConverseReader._block_start,  # noqa: SLF001
    "contentBlockDelta": ConverseReader._block_delta,  # noqa: SLF001
    "contentBlockStop": ConverseReader._block_stop,  # noqa: SLF001
    "messageStop": ConverseReader._stopped,  # noqa: SLF001
}


def read_usage(raw: Any, images: int) -> Usage | None:
    if not isinstance(raw, dict):
        return None
    read, written = count(raw.get("cacheReadInputTokens")), count(raw.get("cacheWriteInputTokens"))
    by_ttl = raw.get("cacheDetails")
    hour = sum(
        count(one.get("inputTokens"))
        for one in (by_ttl if isinstance(by_ttl, list) else ())
        if isinstance(one, dict) and one.get("ttl") == "1h"
    )
    return Usage(
        count(raw.get("inputTokens")) + read + written,
        count(raw.get("outputTokens")),
        read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        images=images,
    )


def failure(name: str, kind: str, body: Any) -> PenstockError:
    said = body.get("message") if isinstance(body, dict) else None
    error = EXCEPTIONS.get(kind, UpstreamError)
    return error(f"{name}: {said}" if isinstance(said, str) and said else f"{name} failed ({kind}).")


def _citation(cited: JSON) -> Citation:
    source = cited.get("sourceContent") or ()
    texts = [part.get("text") or "" for part in source]
    location = cited.get("location") or {}
    web = location.get("web") or {}
    url = str(web.get("url") or cited.get("source") or "")
    return Citation(url, str(cited.get("title") or ""), "".join(texts), native=cited)


def _object_of(text: str) -> JSON | None:
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError("no text")
    return str(value)
