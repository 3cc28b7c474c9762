"""Reads Messages answers, streamed or whole.

MessagesReader   for clients of this dialect: the events as they are, checked for what an encoder builds on
EventReader      for all others: typed events

An answer is complete at message_stop, and only if a stop_reason came before it. Usage is cumulative: later
numbers replace earlier ones. Events of unknown types are passed on to clients of this dialect, and dropped
for others.
"""

from typing import Any

import msgspec

from penstock.dialects.anthropic import JSON, merge_usage, read_usage
from penstock.providers.anthropic_errors import error_in_stream
from penstock.providers.anthropic_typed import Typed
from penstock.providers.openai_usage import decode_object
from penstock.types.errors import UpstreamError, UpstreamInvalid
from penstock.types.events import Answer, Chunk, Counted, Events
from penstock.types.usage import Usage

_decode = msgspec.json.Decoder().decode


class _Base:
    """What streams of both kinds need: decoding, usage, the end."""

    __slots__ = ("_name", "_raw", "_stop_reason", "is_complete", "is_done")

    def __init__(self, name: str) -> None:
        self.is_complete = False
        self.is_done = False
        self._name = name
        self._raw: JSON = {}  # usage, as far as it is known
        self._stop_reason: str | None = None

    def _body(self, data: bytes) -> JSON:
        try:
            body = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an event that is not JSON.") from exc
        if body.__class__ is not dict or body.get("type").__class__ is not str:
            if body.__class__ is dict and "error" in body:
                raise error_in_stream(self._name, body)
            raise UpstreamInvalid(f"{self._name} sent an event without a type.")
        return body

    def _usage(self, raw: Any) -> Usage | None:
        if raw is None:
            return None
        merge_usage(self._raw, _object(raw))
        return read_usage(self._raw)

    def _wrong(self, exc: Exception) -> UpstreamInvalid:
        wrong = UpstreamInvalid(f"{self._name} sent an event of an unknown shape.")
        wrong.__cause__ = exc
        return wrong

    def _end(self) -> None:
        if self._stop_reason is None:
            raise UpstreamInvalid(f"{self._name} ended its message without a stop_reason.")
        self.is_complete = self.is_done = True

    def _message(self, body: bytes) -> JSON:
        """A whole answer, checked: content is a list of objects with a type, and there is a stop_reason."""
        message = decode_object(body, self._name)
        if message.get("type") == "error" or "error" in message:
            raise error_in_stream(self._name, message)
        content = message.get("content")
        if content.__class__ is not list or message.get("stop_reason").__class__ is not str:
            raise UpstreamInvalid(f"{self._name} sent an answer without content or stop_reason.")
        for block in content:
            _check_block(block)
        self._stop_reason = message["stop_reason"]
        self.is_complete = True
        return message


class MessagesReader(_Base):
    """The vendor's own events."""

    __slots__ = ()

    def event(self, data: bytes) -> Chunk | None:
        body = self._body(data)
        read = _READ.get(body["type"])
        if read is None:  # a name of a line of its own must not become two lines
            return Chunk(body) if body["type"].isidentifier() else None
        try:
            return read(self, body)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise self._wrong(exc) from exc

    def answer(self, body: bytes) -> Answer:
        try:
            message = self._message(body)
            return Answer(message, self._usage(message.get("usage")))
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc

    def _message_start(self, body: JSON) -> Chunk:
        return Chunk(body, self._usage(_object(body["message"]).get("usage")))

    def _block_start(self, body: JSON) -> Chunk:
        _number(body["index"])
        block = body["content_block"]
        _check_block(block)
        return Chunk(body, None, block["type"] != "text" or block["text"] != "")

    def _block_delta(self, body: JSON) -> Chunk:
        _number(body["index"])
        delta = body["delta"]
        field = _DELTA_TEXTS.get(delta["type"])
        if field is None:
            return Chunk(body, None, delta["type"] == "citations_delta" and bool(_object(delta["citation"])))
        text = delta[field]
        if text.__class__ is not str:
            raise TypeError("a piece that is no text")
        return Chunk(body, None, text != "" and field != "signature")

    def _block_stop(self, body: JSON) -> Chunk:
        _number(body["index"])
        return Chunk(body)

    def _message_delta(self, body: JSON) -> Chunk:
        reason = _object(body["delta"]).get("stop_reason")
        if reason is not None:
            self._stop_reason = _text(reason)
        return Chunk(body, self._usage(body.get("usage")))

    def _message_stop(self, body: JSON) -> Chunk:
        self._end()
        return Chunk(body)

    def _ping(self, body: JSON) -> None:  # noqa: ARG002 - says nothing
        return None

    def _error(self, body: JSON) -> Chunk:
        raise error_in_stream(self._name, body)


_READ = {
    "message_start": MessagesReader._message_start,  # noqa: SLF001 - a table of its own methods
    "content_block_start": MessagesReader._block_start,  # noqa: SLF001
    "content_block_delta": MessagesReader._block_delta,  # noqa: SLF001
    "content_block_stop": MessagesReader._block_stop,  # noqa: SLF001
    "message_delta": MessagesReader._message_delta,  # noqa: SLF001
    "message_stop": MessagesReader._message_stop,  # noqa: SLF001
    "ping": MessagesReader._ping,  # noqa: SLF001
    "error": MessagesReader._error,  # noqa: SLF001
}


class EventReader(_Base):
    """Typed events."""

    __slots__ = ("_typed",)

    def __init__(self, name: str, typed: Typed) -> None:
        super().__init__(name)
        self._typed = typed

    def event(self, data: bytes) -> Events | None:
        body = self._body(data)
        kind = body["type"]
        try:
            if kind in _OF_MESSAGE:
                return self._of_message(body, kind)
            if kind == "message_stop":
                self._end()
                return None
            if kind == "error":
                raise error_in_stream(self._name, body)
            return self._typed.event(kind, body)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise self._wrong(exc) from exc

    def answer(self, body: bytes) -> Events:
        try:
            message = self._message(body)
            return self._typed.message(message, self._usage(message.get("usage")))
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc

    def _of_message(self, body: JSON, kind: str) -> Events:
        if kind == "message_start":
            message = _object(body["message"])
            return self._typed.start(message, self._usage(message.get("usage")))
        delta = _object(body["delta"])
        if delta.get("stop_reason") is not None:
            self._stop_reason = _text(delta["stop_reason"])
        return self._typed.delta(delta, self._usage(body.get("usage")))


_OF_MESSAGE = frozenset({"message_start", "message_delta"})


class CountReader:
    """The answer of count_tokens."""

    is_complete = False
    is_done = False

    def __init__(self, name: str) -> None:
        self._name = name

    def event(self, data: bytes) -> None:  # noqa: ARG002 - of the Protocol
        raise UpstreamError(f"{self._name} streamed a count.")

    def answer(self, body: bytes) -> Counted:
        tokens = decode_object(body, self._name).get("input_tokens")
        if tokens.__class__ is not int or tokens < 0:
            raise UpstreamInvalid(f"{self._name} did not count the tokens.")
        self.is_complete = True
        return Counted(tokens)


_DELTA_TEXTS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}
_BLOCK_TEXTS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "thinking": ("thinking",),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name"),
}


def _check_block(block: Any) -> None:
    kind = _text(_object(block)["type"])
    for field in _BLOCK_TEXTS.get(kind, ()):
        _text(block[field])
    if kind == "tool_use" and block.get("input").__class__ not in (dict, type(None)):
        raise TypeError("a tool's input that is no object")


def _object(value: Any) -> JSON:
    if value.__class__ is not dict:
        raise TypeError("not an object")
    return value


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError("not a text")
    return value


def _number(value: Any) -> None:
    if value.__class__ is not int or not 0 <= value < 2**31:
        raise TypeError("an index that is no small number")
