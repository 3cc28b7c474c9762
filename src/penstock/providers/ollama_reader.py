"""Reads Ollama's answers: JSON lines, or one object.

/api/chat                        becomes
-------------------------------  ----------------------------------------------------------------------------
message.thinking                 Reasoning; ReasoningEnd, unsigned, before what follows
message.content, logprobs        Text
message.tool_calls               ToolStart, ToolDelta, ToolEnd each: they come whole, and without an id by
                                   older servers
done, done_reason                Finish: stop (tool_calls if there were any), length
prompt_eval_count, eval_count    UsageReport; a prompt found in its cache may go uncounted
error                            UpstreamError
"""

import secrets
from typing import Any

import msgspec

from penstock.dialects import openai_logprobs
from penstock.providers.openai_errors import error_in_answer
from penstock.providers.openai_usage import count, decode_object
from penstock.providers.vectors import read_vectors
from penstock.providers.whole import WholeReader
from penstock.types.conversation import Conversation
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Delta,
    Event,
    Events,
    Finish,
    FinishReason,
    Reasoning,
    ReasoningEnd,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
    Vectors,
)
from penstock.types.requests import EmbeddingRequest
from penstock.types.usage import Usage

JSON = dict[str, Any]

_REASONS: dict[str, FinishReason] = {"length": "length"}  # stop, load, unload: stop
_BROKEN = (AttributeError, TypeError, KeyError, ValueError)

_encode = msgspec.json.Encoder().encode


class ChatReader:
    """For a client of this dialect: the objects as they come, checked for what encoders build on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:
        body, has_content = self._checked(data)
        return Chunk(body, _usage(body), has_content)

    def answer(self, body: bytes) -> Delta:
        decoded, _ = self._checked(body)
        if not self.is_complete:
            raise UpstreamInvalid(f"{self._name} sent an answer that is not finished.")
        return Answer(decoded, _usage(decoded))

    def _checked(self, data: bytes) -> tuple[JSON, bool]:
        body = decode_object(data, self._name)
        if body.get("error"):
            raise error_in_answer(self._name, body["error"])
        try:
            if "message" in body:
                message = body["message"]
                said = _text(message.get("content")) + _text(message.get("thinking"))
                calls = message.get("tool_calls") or []
                for call in calls:
                    _text(call["function"]["name"])
                has_content = bool(said or calls)
            else:
                has_content = bool(_text(body.get("response")) + _text(body.get("thinking")))
        except _BROKEN as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        if body.get("done") is True:
            self.is_complete = self.is_done = True
        return body, has_content


class TypedReader:
    """For clients of every other dialect."""

    def __init__(self, name: str, conversation: Conversation) -> None:
        self._name = name
        self._customs = frozenset(tool.name for tool in conversation.tools if tool.kind == "custom")
        self._calls = 0
        self._has_begun = False
        self._is_thinking = False
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:
        body = decode_object(data, self._name)
        if body.get("error"):
            raise error_in_answer(self._name, body["error"])
        events: list[Event] = []
        try:
            if not self._has_begun:
                self._has_begun = True
                events.append(Started(model=_text(body.get("model"))))
            had = len(events)
            self._message(body["message"], body.get("logprobs"), events)
            has_content = len(events) > had
            usage = self._end(body, events) if body.get("done") is True else None
        except _BROKEN as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        return Events(events, usage, has_content) if events else None

    def answer(self, body: bytes) -> Delta:
        delta = self.event(body)
        if delta is None or not self.is_complete:
            raise UpstreamInvalid(f"{self._name} sent an answer that is not finished.")
        return delta

    def _message(self, message: JSON, logprobs: Any, events: list[Event]) -> None:
        if thought := _text(message.get("thinking")):
            self._is_thinking = True
            events.append(Reasoning(thought))
        text = _text(message.get("content"))
        calls = message.get("tool_calls") or []
        if self._is_thinking and (text or calls):
            self._is_thinking = False
            events.append(ReasoningEnd())
        if text:
            events.append(Text(text, logprobs=openai_logprobs.of_tokens(logprobs)))
        for call in calls:
            self._call(call, events)

    def _call(self, call: JSON, events: list[Event]) -> None:
        function = call["function"]
        name, arguments = _text(function["name"]), function.get("arguments")
        if arguments is not None and not isinstance(arguments, dict):
            raise TypeError("arguments that are no object")
        call_id = _text(call.get("id")) or f"call_{secrets.token_hex(12)}"
        text = arguments.get("input") if name in self._customs and arguments else None
        if not isinstance(text, str):
            text = _encode(arguments or {}).decode()
        index = self._calls
        self._calls += 1
        kind: Any = "custom" if name in self._customs else "function"
        events += [ToolStart(index, call_id, name, kind), ToolDelta(index, text), ToolEnd(index)]

    def _end(self, body: JSON, events: list[Event]) -> Usage | None:
        if self._is_thinking:
            self._is_thinking = False
            events.append(ReasoningEnd())
        native = _text(body.get("done_reason"))
        reason: FinishReason = _REASONS.get(native, "tool_calls" if self._calls else "stop")
        events.append(Finish(reason, native=native))
        usage = _usage(body)
        if usage is not None:
            events.append(UsageReport(usage))
        self.is_complete = self.is_done = True
        return usage


class EmbeddingReader(WholeReader[EmbeddingRequest]):
    def read(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        vectors = read_vectors(decoded.get("embeddings"), self._request, self._name)
        tokens = decoded.get("prompt_eval_count")
        return Vectors([*vectors], Usage(count(tokens)) if tokens is not None else None)


def _usage(body: JSON) -> Usage | None:
    prompt, completion = body.get("prompt_eval_count"), body.get("eval_count")
    return None if prompt is None and completion is None else Usage(count(prompt), count(completion))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if value.__class__ is not str:
        raise TypeError("not a text")
    return str(value)
