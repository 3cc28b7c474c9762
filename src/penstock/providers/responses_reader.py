"""Reads answers of OpenAI's Responses API, streamed or whole.

event                                          typed events
---------------------------------------------  -------------------------------------------------------------
response.created                               Started
output_text.delta, refusal.delta               Text, RefusalText
reasoning_summary_text.delta,                  Reasoning
  reasoning_text.delta
output_item.added function_call                ToolStart
  and custom_tool_call
function_call_arguments.delta                  ToolDelta
output_item.done                               ToolEnd; of reasoning ReasoningEnd with what is encrypted
output_text.annotation.added                   Citation
response.completed, response.incomplete        UsageReport, Finish: the stream is complete
response.failed, error                         the error

A request of this dialect gets the events themselves (Chunk), what is encrypted with the mark of its account.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.dialects import openai_logprobs
from penstock.dialects.responses import bound, marked
from penstock.providers.openai_errors import error_in_answer
from penstock.providers.openai_usage import JSON, count, decode_object
from penstock.types.errors import UpstreamError, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Counted,
    Delta,
    Event,
    Events,
    Finish,
    FinishReason,
    Image,
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

_decode = msgspec.json.Decoder().decode

_TERMINAL = frozenset({"response.completed", "response.incomplete"})
_WITH_ITEMS = _TERMINAL | {"response.output_item.added", "response.output_item.done"}
_CONTENT = frozenset({Text, Reasoning, RefusalText, ToolStart, ToolDelta, Image})
_SAYS = frozenset(
    {
        *("response.output_text.delta", "response.refusal.delta", "response.reasoning_summary_text.delta"),
        *("response.reasoning_text.delta", "response.function_call_arguments.delta"),
        *("response.output_item.added", "response.custom_tool_call_input.delta"),
    }
)
_REASONS: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader:
    """As the upstream wrote it, for a client of this dialect."""

    def __init__(self, name: str, account: str) -> None:
        self._name = name
        self._account = account
        self.images = 0  # drawn so far
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:
        body = _object(data, self._name)
        kind = body["type"]
        if kind in ("response.failed", "error"):
            raise failure(self._name, body)
        usage = None
        if kind in _WITH_ITEMS:
            if kind in _TERMINAL:
                self.is_complete = self.is_done = True
                response = _response(body, self._name)
                usage = read_usage(response, self.images)
                self._mark(response.get("output"))
            else:
                self._mark([body.get("item")])
                if kind == "response.output_item.done":
                    self.images += images_in([body.get("item")])
        return Chunk(body, usage, kind in _SAYS)

    def answer(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        _check_whole(decoded, self._name)
        self.is_complete = True
        self._mark(decoded["output"])
        return Answer(decoded, read_usage(decoded, 0))

    def _mark(self, items: Any) -> None:
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and item.get("type") == "reasoning":
                encrypted = item.get("encrypted_content")
                if isinstance(encrypted, str):
                    item["encrypted_content"] = marked(encrypted, self._account)


class EventReader:
    """The same in typed events. `names`: tools that are called otherwise there -> ours."""

    def __init__(self, name: str, names: Mapping[str, str], account: str) -> None:
        self._name = name
        self._names = names
        self._account = account
        self._calls: dict[int, tuple[int, bool]] = {}  # output_index -> (index, whether arguments came)
        self.images = 0  # drawn so far
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:
        body = _object(data, self._name)
        kind = body["type"]
        read = _READ.get(kind)
        try:
            if read is not None:
                events = read(self, body)
            elif kind in _TERMINAL:
                return self._end(_response(body, self._name))
            elif kind in ("response.failed", "error"):
                raise failure(self._name, body)
            else:
                return None
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an event of an unknown shape.") from exc
        return Events(events, None, events[0].__class__ in _CONTENT) if events else None

    def answer(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        _check_whole(decoded, self._name)
        events: list[Event] = [_started(decoded)]
        try:
            for at, item in enumerate(decoded["output"]):
                self._whole(at, item, events)
            end = self._end(decoded)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        return Events([*events, *end.events], end.usage, has_content=True)

    # -- streamed

    def _created(self, body: JSON) -> list[Event]:
        return [_started(body["response"])]

    def _text(self, body: JSON) -> list[Event]:
        text = _str(body["delta"])
        return [Text(text, logprobs=openai_logprobs.of_tokens(body.get("logprobs")))] if text else []

    def _refusal(self, body: JSON) -> list[Event]:
        return [RefusalText(_str(body["delta"]))]

    def _reasoning(self, body: JSON) -> list[Event]:
        return [Reasoning(_str(body["delta"]))] if body["delta"] else []

    def _part_added(self, body: JSON) -> list[Event]:
        """Parts of one summary are paragraphs."""
        return [Reasoning("\n\n")] if body.get("summary_index") else []

    def _added(self, body: JSON) -> list[Event]:
        item = body["item"]
        kind = item["type"]
        if kind not in ("function_call", "custom_tool_call"):
            return []
        index = len(self._calls)
        self._calls[body["output_index"]] = (index, False)
        sort: Any = "custom" if kind == "custom_tool_call" else "function"
        name = _str(item["name"])
        return [ToolStart(index, _str(item["call_id"]), self._names.get(name, name), sort)]

    def _arguments(self, body: JSON) -> list[Event]:
        at = body["output_index"]
        index, _ = self._calls[at]
        piece = _str(body["delta"])
        if not piece:
            return []
        self._calls[at] = (index, True)
        return [ToolDelta(index, piece)]

    def _done(self, body: JSON) -> list[Event]:
        item = body["item"]
        kind = item["type"]
        if kind == "reasoning":
            return self._reasoning_end(item)
        if kind == "image_generation_call":
            if not item.get("result"):
                return []
            self.images += 1
            return [Image("image/png", _str(item["result"]))]
        call = self._calls.get(body["output_index"])
        if call is None:
            return []
        index, has_arguments = call
        events: list[Event] = []
        if not has_arguments:
            text = item.get("arguments") or item.get("input")
            if text or kind == "function_call":
                events.append(ToolDelta(index, _str(text or "{}")))
        if item.get("status") != "incomplete":
            events.append(ToolEnd(index))
        return events

    def _reasoning_end(self, item: JSON) -> list[Event]:
        opaque, item_id = item.get("encrypted_content"), item.get("id")
        name = item_id if isinstance(item_id, str) else None
        signature = bound(name, marked(opaque, self._account)) if isinstance(opaque, str) else None
        return [ReasoningEnd(signature, None, "responses", name)]

    def _annotation(self, body: JSON) -> list[Event]:
        return [found] if (found := _citation(body["annotation"])) is not None else []

    # -- whole

    def _whole(self, at: int, item: JSON, events: list[Event]) -> None:
        kind = item["type"]
        if kind == "message":
            for part in item["content"]:
                if part["type"] == "refusal":
                    events.append(RefusalText(_str(part["refusal"])))
                    continue
                tokens = openai_logprobs.of_tokens(part.get("logprobs"))
                events.append(Text(_str(part["text"]), logprobs=tokens))
                found = map(_citation, part.get("annotations") or ())
                events.extend(citation for citation in found if citation is not None)
            return
        if kind == "reasoning":
            texts = [part["text"] for part in item.get("summary") or item.get("content") or ()]
            if texts:
                events.append(Reasoning("\n\n".join(texts)))
        events += self._added({"item": item, "output_index": at})
        events += self._done({"item": item, "output_index": at})

    # -- both

    def _end(self, response: JSON) -> Events:
        usage = read_usage(response, self.images)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        known: FinishReason = "tool_calls" if self._calls else "stop"
        if response.get("status") == "incomplete":
            known = _REASONS.get(str(reason), "length")
        events: list[Event] = [] if usage is None else [UsageReport(usage)]
        events.append(Finish(known, native=str(reason or response.get("status") or "")))
        self.is_complete = self.is_done = True
        return Events(events, usage)


_READ: dict[str, Callable[[EventReader, JSON], list[Event]]] = {
    "response.created": EventReader._created,  # noqa: SLF001 - a table of its own methods
    "response.output_text.delta": EventReader._text,  # noqa: SLF001
    "response.refusal.delta": EventReader._refusal,  # noqa: SLF001
    "response.reasoning_summary_text.delta": EventReader._reasoning,  # noqa: SLF001
    "response.reasoning_text.delta": EventReader._reasoning,  # noqa: SLF001
    "response.reasoning_summary_part.added": EventReader._part_added,  # noqa: SLF001
    "response.output_item.added": EventReader._added,  # noqa: SLF001
    "response.function_call_arguments.delta": EventReader._arguments,  # noqa: SLF001
    "response.custom_tool_call_input.delta": EventReader._arguments,  # noqa: SLF001
    "response.output_item.done": EventReader._done,  # noqa: SLF001
    "response.output_text.annotation.added": EventReader._annotation,  # noqa: SLF001
}


class CountReader:
    """The answer of /responses/input_tokens."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - counts are never streamed
        raise UpstreamInvalid(f"{self._name} streamed a count.")

    def answer(self, body: bytes) -> Delta:
        tokens = decode_object(body, self._name).get("input_tokens")
        if tokens.__class__ is not int:
            raise UpstreamInvalid(f"{self._name} sent no count.")
        self.is_complete = True
        return Counted(count(tokens))


def images_in(items: Any) -> int:
    """Images that were drawn."""
    return sum(
        isinstance(item, dict) and item.get("type") == "image_generation_call" and bool(item.get("result"))
        for item in (items if isinstance(items, list) else ())
    )


def read_usage(response: JSON, images: int) -> Usage | None:
    """images: that came before the end, where its `output` may be empty.

    What drawing took is not in its usage: another model does that, at prices of its own.
    """
    raw = response.get("usage")
    if not isinstance(raw, dict):
        return None
    details, out = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    read = details if isinstance(details, dict) else {}
    made = out if isinstance(out, dict) else {}
    return Usage(
        count(raw.get("input_tokens")),
        count(raw.get("output_tokens")),
        count(read.get("cached_tokens")),
        count(made.get("reasoning_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        images=max(images, images_in(response.get("output"))),
    )


def failure(name: str, body: JSON) -> UpstreamError:
    """The error of response.failed, or of an `error` event."""
    response = body.get("response")
    error = response.get("error") if isinstance(response, dict) else body.get("error") or body
    found = error_in_answer(name, error if isinstance(error, dict) else {})
    return found if isinstance(found, UpstreamError) else UpstreamError(found.message)


def _object(data: bytes, name: str) -> JSON:
    try:
        body = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UpstreamInvalid(f"{name} sent an event that is not JSON.") from exc
    if body.__class__ is not dict or body.get("type").__class__ is not str:
        raise UpstreamInvalid(f"{name} sent an event without a type.")
    return body


def _response(body: JSON, name: str) -> JSON:
    response = body.get("response")
    if not isinstance(response, dict):
        raise UpstreamInvalid(f"{name} ended its answer without a response.")
    return response


def _check_whole(body: JSON, name: str) -> None:
    if body.get("status") == "failed" or body.get("error"):
        raise failure(name, {"response": body})
    if body.get("output").__class__ is not list or body.get("status") not in ("completed", "incomplete"):
        raise UpstreamInvalid(f"{name} sent an answer that is no response.")


def _started(response: JSON) -> Started:
    started, model = response.get("id"), response.get("model")
    return Started(started if isinstance(started, str) else "", model if isinstance(model, str) else "")


def _citation(annotation: JSON) -> Citation | None:
    if annotation.get("type") != "url_citation":
        return None
    return Citation(
        str(annotation.get("url") or ""),
        str(annotation.get("title") or ""),
        start=_place(annotation.get("start_index")),
        end=_place(annotation.get("end_index")),
        native=annotation,
    )


def _place(value: Any) -> int | None:
    return value if value.__class__ is int else None


def _str(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError("no text")
    return value
