"""OpenAI's chat answers as typed events: for clients of other dialects.

The bytes are read and checked by CompletionReader; here a Chunk, or a whole message, becomes Events. A
message is one delta that holds everything.

in the delta                                    events
----------------------------------------------  -----------------------------------------------------------
content; logprobs of the choice                 Text
reasoning_content, reasoning                    Reasoning; its block ends with the first event of another sort
reasoning_details with a signature or data      ReasoningEnd (another Penstock's seals are opened)
tool_calls                                      ToolStart, ToolDelta; ToolEnd at the finish, of what is whole;
                                                  of a custom tool that was told as a function, its one text
function_call (deprecated)                      a tool call of its own
refusal; annotations; images                    RefusalText; Citation; Image
finish_reason                                   Finish
usage                                           UsageReport
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.dialects import openai_logprobs
from penstock.dialects.openai_calls import JSON, ToolCall, ToolCalls
from penstock.providers.openai_completions import CompletionReader
from penstock.types.conversation import unseal
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import (
    CUTS,
    Answer,
    Chunk,
    Citation,
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

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class EventReader:
    """As CompletionReader, in typed events.

    names: tools that are called otherwise there -> ours; customs: ours that take a text, where all are
    functions.
    """

    __slots__ = ("_choices", "_customs", "_is_started", "_names", "_reader")

    def __init__(
        self, reader: CompletionReader, names: Mapping[str, str], customs: frozenset[str] = frozenset()
    ) -> None:
        self._reader = reader
        self._names = names
        self._customs = customs
        self._choices: dict[int, _Choice] = {}
        self._is_started = False

    @property
    def is_complete(self) -> bool:
        return self._reader.is_complete

    @property
    def is_done(self) -> bool:
        return self._reader.is_done

    def estimate(self) -> Usage:
        return self._reader.estimate()

    def event(self, data: bytes) -> Events | None:
        chunk = self._reader.event(data)
        return None if chunk is None else self._typed(chunk, "delta")

    def answer(self, body: bytes) -> Events:
        return self._typed(self._reader.answer(body), "message")

    def _typed(self, delta: Chunk | Answer, key: str) -> Events:
        body = delta.body
        events: list[Event] = []
        has_content = key == "message"
        if not self._is_started:
            self._is_started = True
            started, model = body.get("id"), body.get("model")
            events.append(
                Started(started if isinstance(started, str) else "", model if isinstance(model, str) else "")
            )
        if delta.__class__ is Chunk:
            has_content = delta.has_content
        try:
            for position, choice in enumerate(body["choices"]):
                index = choice.get("index", position)
                state = self._choices.get(index)
                if state is None:
                    state = self._choices[index] = _Choice(index, self._names, self._customs)
                if not state.is_finished:
                    state.read(choice, choice.get(key) or {}, events)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid("The upstream sent an answer of an unknown shape.") from exc
        if delta.usage is not None:
            events.append(UsageReport(delta.usage))
        return Events(events, delta.usage, has_content)


class _Choice:
    __slots__ = ("_arguments", "_calls", "_customs", "_index", "_names", "_texts", "_thoughts", "is_finished")

    def __init__(self, index: int, names: Mapping[str, str], customs: frozenset[str]) -> None:
        self._index = index
        self._names = names
        self._customs = customs
        self._texts: set[int] = set()  # calls whose arguments hold one text, by their index
        self._calls = ToolCalls(index)
        self._arguments: dict[int, list[str]] = {}  # of each call, by its index
        self._thoughts: list[str] = []  # all reasoning so far
        self.is_finished = False

    def read(self, choice: JSON, delta: JSON, events: list[Event]) -> None:
        if delta:
            index = self._index
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if reasoning:
                self._thoughts.append(reasoning)
                events.append(Reasoning(reasoning, index))
            if "reasoning_details" in delta:
                self._details(delta["reasoning_details"], events, is_told=bool(reasoning))
            content = delta.get("content")
            if content:
                logprobs = choice.get("logprobs")
                tokens = openai_logprobs.of_tokens(_object(logprobs).get("content")) if logprobs else None
                events.append(Text(content, index, tokens))
            if len(delta) > 1 or not content:
                self._rest(delta, events)
        reason = choice.get("finish_reason")
        if reason:
            self._finish(reason, choice, events)

    def _rest(self, delta: JSON, events: list[Event]) -> None:
        index = self._index
        if delta.get("refusal"):
            events.append(RefusalText(delta["refusal"], index))
        for annotation in delta.get("annotations") or ():
            if annotation.get("type") == "url_citation":
                cited = annotation["url_citation"]
                events.append(
                    Citation(
                        cited.get("url") or "",
                        cited.get("title") or "",
                        start=_place(cited.get("start_index")),
                        end=_place(cited.get("end_index")),
                        choice=index,
                        native=annotation,
                    )
                )
        for image in delta.get("images") or ():
            url = image["image_url"]["url"]
            if url.startswith("data:"):
                head, _, data = url[5:].partition(",")
                events.append(Image(head.partition(";")[0], data, index))
        for piece in delta.get("tool_calls") or ():
            self._call(piece, events)
        function = delta.get("function_call")
        if function:
            self._call({"index": 0, "function": function}, events)

    def _call(self, given: JSON, events: list[Event]) -> None:
        piece = self._calls.feed(given)
        if piece is None:
            return
        call, index = piece.call, self._index
        if piece.starts:
            google = _object(call.extra.get("extra_content")).get("google")
            signature = _object(google).get("thought_signature")
            kind: Any = call.kind
            name = self._names.get(call.name, call.name)
            if name in self._customs and kind == "function":
                kind = "custom"
                self._texts.add(call.index)
            events.append(ToolStart(call.index, call.id, name, kind, signature, index))
        if piece.text:
            self._arguments.setdefault(call.index, []).append(piece.text)
            if call.index not in self._texts:
                events.append(ToolDelta(call.index, piece.text, index))

    def _details(self, details: Any, events: list[Event], *, is_told: bool) -> None:
        """OpenRouter's reasoning_details, and ours: what is signed or encrypted ends a block.

        The text beside a signature may be the whole block's, told before as reasoning_content; a piece
        without one repeats the delta's own reasoning, if it has any (`is_told`).
        """
        for detail in details or ():
            text = detail.get("text") or detail.get("summary")
            signature, data = detail.get("signature"), detail.get("data")
            if text and not (text in "".join(self._thoughts) if signature else is_told):
                self._thoughts.append(text)
                events.append(Reasoning(text, self._index))
            if signature:
                issuer, opened = unseal(signature, "openai")
                events.append(ReasoningEnd(opened, None, issuer, detail.get("id"), self._index))
            elif data and detail.get("type") == "reasoning.encrypted":
                issuer, opened = unseal(data, "openai")
                events.append(ReasoningEnd(None, opened, issuer, detail.get("id"), self._index))

    def _given(self, call: ToolCall) -> JSON | None:
        """Its arguments, if they are an object."""
        try:
            decoded = msgspec.json.decode("".join(self._arguments.get(call.index, ())))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
        return decoded if isinstance(decoded, dict) else None

    def _is_whole(self, call: ToolCall) -> bool:
        """Of an answer that was cut: calls before the last may have been told to their end."""
        return self._given(call) is not None and call.kind == "function"

    def _text(self, call: ToolCall) -> str:
        """What a custom tool is given; a model that forgets the object has written just that."""
        text = (self._given(call) or {}).get("input")
        return text if isinstance(text, str) else "".join(self._arguments.get(call.index, ()))

    def _finish(self, reason: str, choice: JSON, events: list[Event]) -> None:
        self.is_finished = True
        index = self._index
        calls = self._calls.calls
        empty = self._calls.without_arguments()
        known = _REASONS[reason]
        if known not in CUTS:
            events.extend(
                ToolDelta(call.index, "{}", index) for call in empty if call.index not in self._texts
            )
        whole = [call for call in calls if known not in CUTS or self._is_whole(call)]
        texts = [call for call in whole if call.index in self._texts]
        events.extend(ToolDelta(call.index, self._text(call), index) for call in texts)
        events.extend(ToolEnd(call.index, index) for call in whole)
        if known == "stop" and calls:
            known = "tool_calls"
        elif known == "tool_calls" and not calls:
            known = "stop"
        native = choice.get("native_finish_reason")
        events.append(Finish(known, index, native if isinstance(native, str) else reason))


def _place(value: Any) -> int | None:
    return value if value.__class__ is int else None


def _object(value: Any) -> JSON:
    return value if isinstance(value, dict) else {}
