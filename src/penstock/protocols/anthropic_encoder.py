"""The Messages answer: streamed or whole, from Anthropic's own events or from typed ones.

    message_start
    ( content_block_start(i)  content_block_delta(i)*  content_block_stop(i) )*      one open block at a time
    message_delta            stop_reason, cumulative usage
    message_stop

Anthropic's own events (Chunk) are renumbered and completed where a server that copies the dialect leaves
something out; typed ones (Events) are written by anthropic_blocks. Both give the same event bodies, which the
stream sends and the whole answer folds.

what copies of the dialect send                   what leaves
------------------------------------------------  -------------------------------------------------------
no message_start, or fields of it missing         a whole one, with the public model name
a block that begins while another is open         the stop of that other first
indexes with gaps                                 0, 1, 2, ...
a delta or stop of a block that is not open       refused: upstream_invalid; a second stop: nothing
no stop before message_delta                      the stop
a tool's input that is no JSON object             refused, unless the answer was cut by its length
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from penstock.dialects.anthropic import CUT, TOOL_USES, merge_usage, usage_body
from penstock.protocols import anthropic_errors
from penstock.protocols.anthropic_blocks import Writer
from penstock.types.call import Call
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import Answer, Chunk, Delta, Events
from penstock.types.requests import Request
from penstock.types.usage import Usage
from penstock.types.wire import EVENT_STREAM

JSON = dict[str, Any]

PING = b'event: ping\ndata: {"type": "ping"}\n\n'

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class MessagesEncoder:
    stream_type = EVENT_STREAM
    ping = PING

    _is_ended = False
    _is_started = False
    _usage: Usage | None = None
    _stop_reason: str | None = None
    _stop: JSON | None = None  # message_stop, held for the end
    _whole: JSON | None = None
    _writer: Writer | None = None
    _fold: "Fold | None" = None

    _open: int | None = None  # upstream's index of the open block
    _next = 0  # our index of the next block
    _input: list[str] | None = None  # of the open tool call
    _bad_stop: JSON | None = None  # the stop of a call whose input is no object: is the answer cut?

    def __init__(self, request: Request, call: Call) -> None:
        self._call = call
        self._model = call.model or request.model

    # -- streamed

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        return b"".join(map(_sse, self._bodies(deltas)))

    def stream_end(self) -> bytes:
        return b"".join(map(_sse, self._end()))

    def stream_error(self, error: PenstockError) -> bytes:
        if self._is_ended:
            raise InternalError("a stream was ended twice")
        self._is_ended = True
        return anthropic_errors.error_event(error, self._call.id, self._call.usage)

    # -- whole

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, Answer):
                self._whole = delta.body
                self._usage = delta.usage or self._usage
                continue
            if self._fold is None:
                self._fold = Fold()
            self._fold.add(self._bodies((delta,)))

    def answer(self) -> bytes:
        if self._whole is not None:
            return _encode(self._complete(self._whole))
        if self._fold is None or not self._is_finished():
            raise UpstreamInvalid("The upstream's answer was never finished.")
        self._fold.add(self._end())
        return _encode(self._fold.message)

    def _complete(self, body: JSON) -> JSON:
        if body.get("content").__class__ is not list:
            raise UpstreamInvalid("The upstream's answer has no content.")
        if body.get("stop_reason").__class__ is not str:
            raise UpstreamInvalid("The upstream's answer has no stop_reason.")
        if not body.get("id"):
            body["id"] = self._id()
        body["type"], body["role"], body["model"] = "message", "assistant", self._model
        body.setdefault("stop_sequence", None)
        given = body.get("usage")
        counts = usage_body(self._usage or self._call.usage or Usage())
        body["usage"] = {**counts, **_set(given)} if given.__class__ is dict else counts
        for block in body["content"]:
            if block["type"] == "tool_use":
                block["input"] = block.get("input") or {}
        return body

    # -- both: the bodies of the events that leave

    def _bodies(self, deltas: Sequence[Delta]) -> list[JSON]:
        if self._is_ended:
            raise InternalError("a delta came after the end of the stream")
        out: list[JSON] = []
        for delta in deltas:
            kind = delta.__class__
            if delta.usage is not None:
                self._usage = delta.usage
            if kind is Events:
                if not self._is_started:
                    self._start(out, {})
                self._typed(delta, out)  # type: ignore[arg-type]  # it is one
            elif kind is Chunk:
                body: JSON = delta.body  # type: ignore[union-attr]  # it is one
                handle = _NATIVE.get(body["type"])
                if handle is None:
                    out.append(body)
                else:
                    handle(self, body, out)
            else:
                raise InternalError(f"{kind.__name__} is no part of a message")
        return out

    def _typed(self, events: Events, out: list[JSON]) -> None:
        writer = self._writer
        if writer is None:
            writer = self._writer = Writer()
        writer.write(events, out)

    def _is_finished(self) -> bool:
        if self._writer is not None:
            return self._writer.stop_reason is not None
        return self._stop_reason is not None

    def _end(self) -> list[JSON]:
        """Raises InternalError when the answer is not finished: the pipeline must have raised UpstreamCut."""
        if self._is_ended or not self._is_finished():
            raise InternalError("a message was ended twice, or before its stop_reason")
        self._is_ended = True
        out: list[JSON] = []
        writer = self._writer
        if writer is not None:
            usage = self._usage or self._call.usage or Usage(0, writer.pieces, is_estimated=True)
            delta = {"stop_reason": writer.stop_reason, "stop_sequence": writer.stop_sequence}
            out.append({"type": "message_delta", "delta": delta, "usage": usage_body(usage)})
        out.append(self._stop or {"type": "message_stop"})
        return out

    def _id(self) -> str:
        return "msg_" + self._call.id.removeprefix("req_")

    def _start(self, out: list[JSON], given: JSON) -> None:
        """message_start; what is missing of it is completed."""
        self._is_started = True
        counts = (
            usage_body(self._usage) if self._usage is not None else {"input_tokens": 0, "output_tokens": 0}
        )
        usage, upstream_id = given.get("usage"), given.get("id")
        message = {
            **given,
            "id": upstream_id if isinstance(upstream_id, str) and upstream_id else self._id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**counts, **_set(usage)} if usage.__class__ is dict else counts,
        }
        out.append({"type": "message_start", "message": message})

    # -- Anthropic's own events

    def _message_start(self, body: JSON, out: list[JSON]) -> None:
        if self._is_started:
            raise UpstreamInvalid("The upstream began its message twice.")
        self._start(out, body["message"])
        out[-1] = {**body, **out[-1]}

    def _block_start(self, body: JSON, out: list[JSON]) -> None:
        if not self._is_started:
            self._start(out, {})
        self._forgive(out, is_cut=False)
        if self._open is not None:
            self._close({"type": "content_block_stop"}, out)
            self._forgive(out, is_cut=False)
        self._open = body["index"]
        self._input = [] if body["content_block"]["type"] in TOOL_USES else None
        body["index"] = self._next
        out.append(body)

    def _block_delta(self, body: JSON, out: list[JSON]) -> None:
        if body["index"] != self._open:
            raise UpstreamInvalid("The upstream sent a piece of a block that is not open.")
        if self._input is not None and body["delta"]["type"] == "input_json_delta":
            self._input.append(body["delta"]["partial_json"])
        body["index"] = self._next
        out.append(body)

    def _block_stop(self, body: JSON, out: list[JSON]) -> None:
        if body["index"] == self._open:
            self._close(body, out)

    def _close(self, body: JSON, out: list[JSON]) -> None:
        body["index"] = self._next
        self._next += 1
        self._open = None
        pieces, self._input = self._input, None
        if pieces and (text := "".join(pieces)) and not is_object(text):
            self._bad_stop = body
        else:
            out.append(body)

    def _forgive(self, out: list[JSON], *, is_cut: bool) -> None:
        """What comes after a call's stop says whether its input may be in pieces."""
        if self._bad_stop is None:
            return
        if not is_cut:
            raise UpstreamInvalid("The upstream called a tool with an input that is no JSON object.")
        out.append(self._bad_stop)
        self._bad_stop = None

    def _message_delta(self, body: JSON, out: list[JSON]) -> None:
        if not self._is_started:
            self._start(out, {})
        if self._open is not None:
            self._close({"type": "content_block_stop"}, out)
        delta = body["delta"]
        reason = delta.get("stop_reason")
        self._forgive(out, is_cut=reason in CUT)
        if reason:
            self._stop_reason = reason
        delta.setdefault("stop_sequence", None)
        usage = body.get("usage")
        counts = {} if self._usage is None else {"output_tokens": self._usage.completion_tokens}
        body["usage"] = {"output_tokens": 0, **counts, **_set(usage if usage.__class__ is dict else {})}
        out.append(body)

    def _message_stop(self, body: JSON, out: list[JSON]) -> None:  # noqa: ARG002 - it leaves at the end
        self._stop = body

    def _ping(self, body: JSON, out: list[JSON]) -> None:
        """The client gets pings of our own."""


_NATIVE = {
    "message_start": MessagesEncoder._message_start,  # noqa: SLF001 - a table of its own methods
    "content_block_start": MessagesEncoder._block_start,  # noqa: SLF001
    "content_block_delta": MessagesEncoder._block_delta,  # noqa: SLF001
    "content_block_stop": MessagesEncoder._block_stop,  # noqa: SLF001
    "message_delta": MessagesEncoder._message_delta,  # noqa: SLF001
    "message_stop": MessagesEncoder._message_stop,  # noqa: SLF001
    "ping": MessagesEncoder._ping,  # noqa: SLF001
}


class Fold:
    """The whole message of a stream's events."""

    __slots__ = ("_input", "_pieces", "message")

    def __init__(self) -> None:
        self.message: JSON = {}
        self._pieces: dict[str, list[str]] = {}  # of the open block, per field
        self._input: list[str] = []

    def add(self, bodies: Iterable[JSON]) -> None:
        for body in bodies:
            match body["type"]:
                case "message_start":
                    self.message = body["message"]
                case "content_block_start":
                    self.message["content"].append(body["content_block"])
                    self._pieces, self._input = {}, []
                case "content_block_delta":
                    self._delta(body["delta"])
                case "content_block_stop":
                    self._stop(self.message["content"][-1])
                case "message_delta":
                    self.message.update((k, v) for k, v in body["delta"].items())
                    merge_usage(self.message["usage"], body["usage"])

    def _delta(self, delta: JSON) -> None:
        match delta["type"]:
            case "text_delta":
                self._pieces.setdefault("text", []).append(delta["text"])
            case "thinking_delta":
                self._pieces.setdefault("thinking", []).append(delta["thinking"])
            case "input_json_delta":
                self._input.append(delta["partial_json"])
            case "signature_delta":
                self.message["content"][-1]["signature"] = delta["signature"]
            case "citations_delta":
                block = self.message["content"][-1]
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def _stop(self, block: JSON) -> None:
        for field, pieces in self._pieces.items():
            block[field] = (block.get(field) or "") + "".join(pieces)
        text = "".join(self._input)
        if text:
            block["input"] = _decode(text) if is_object(text) else whole_part(text)


def is_object(text: str) -> bool:
    try:
        return _decode(text).__class__ is dict
    except (msgspec.DecodeError, RecursionError):
        return False


_TRIES = 8


def whole_part(text: str) -> JSON:
    """What is whole of a JSON object that was cut: its last entries may be missing."""
    cuts: list[tuple[int, str]] = []  # where it may end, and what closes it there
    closers: list[str] = []
    in_string = is_escaped = False
    for at, char in enumerate(text):
        if in_string:
            in_string = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            closers.append("}" if char == "{" else "]")
            cuts.append((at + 1, "".join(reversed(closers))))
        elif char in "}]" and closers:
            closers.pop()
            cuts.append((at + 1, "".join(reversed(closers))))
        elif char == ",":
            cuts.append((at, "".join(reversed(closers))))
    for at, closing in reversed(cuts[-_TRIES:]):
        if is_object(text[:at] + closing):
            decoded: JSON = _decode(text[:at] + closing)
            return decoded
    return {}


def _set(usage: JSON) -> JSON:
    return {key: value for key, value in usage.items() if value is not None}


def _sse(body: JSON) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (_NAMES.get(body["type"]) or body["type"].encode(), _encode(body))


_NAMES = {
    name: name.encode()
    for name in (
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    )
}
