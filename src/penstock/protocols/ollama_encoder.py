"""Ollama's answers: one JSON object, or one a line and the last with `done: true`.

    chat        message: role, content, thinking, tool_calls (whole, their arguments an object)
    generate    response, thinking

A tool call is told once it is whole. Durations are nanoseconds; an error in a stream is a line {"error":
...}.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.protocols.openai_embeddings import WholeEncoder, as_floats
from penstock.types.call import Call
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import (
    CUTS,
    Answer,
    Chunk,
    Delta,
    Events,
    Finish,
    Image,
    Reasoning,
    RefusalText,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    Vectors,
)
from penstock.types.requests import Request
from penstock.types.usage import Usage

JSON = dict[str, Any]

NDJSON = "application/x-ndjson"
_SAID = ("message", "response", "thinking")  # of a line: what the model said in it
_REASONS = {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "stop"}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ChatEncoder:
    stream_type = NDJSON
    ping = b""  # each line is an answer's: there is no other

    def __init__(self, request: Request, call: Call) -> None:
        self._call = call
        self._model = call.model or request.model
        self._created = datetime.fromtimestamp(call.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._began_s = time.monotonic()
        self._first_s: float | None = None
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._is_ended = False
        self._calls: dict[int, tuple[str, str, list[str]]] = {}  # index -> id, name, arguments
        self._pieces = 0
        self._last: JSON | None = None  # of a target of this dialect
        # what follows is only filled by fold()
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._made: list[JSON] = []

    # -- what a message is in this endpoint

    def _piece(self, *, text: str = "", thinking: str = "", calls: list[JSON] | None = None) -> JSON:
        message: JSON = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return {"message": message}

    # -- streamed

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        return b"".join([self._line(body) for body in self._bodies(deltas)])

    def stream_end(self) -> bytes:
        if self._is_ended or self._finish is None:
            raise InternalError("a stream was ended twice, or before it was finished")
        self._is_ended = True
        return self._line({**self._piece(), **self._summary()})

    def stream_error(self, error: PenstockError) -> bytes:
        if self._is_ended:
            raise InternalError("a stream was ended twice")
        self._is_ended = True
        said: JSON = {"error": error.message, "partial": True}
        usage = self._call.usage
        if usage is not None:
            said |= {"prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens}
            said["estimated"] = usage.is_estimated
        if error.attempts:
            said["attempts"] = error.attempts
        return _encode(said) + b"\n"

    # -- whole

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, Answer):
                self._last, self._usage = delta.body, delta.usage or self._usage
                self._finish = str(delta.body.get("done_reason") or "stop")
                continue
            for body in self._bodies((delta,)):
                message = body.get("message") or body
                self._texts.append(message.get("content") or message.get("response") or "")
                self._thoughts.append(message.get("thinking") or "")
                self._made += message.get("tool_calls") or []

    def answer(self) -> bytes:
        if self._finish is None:
            raise UpstreamInvalid("The upstream's answer was never finished.")
        if self._last is not None and not self._texts:
            return _encode({**self._last, "model": self._model})
        text, thinking = "".join(self._texts), "".join(self._thoughts)
        body = self._piece(text=text, thinking=thinking, calls=self._made)
        return _encode({"model": self._model, "created_at": self._created, **body, **self._summary()})

    # -- both

    def _line(self, body: JSON) -> bytes:
        return _encode({"model": self._model, "created_at": self._created, "done": False, **body}) + b"\n"

    def _bodies(self, deltas: Sequence[Delta]) -> list[JSON]:
        if self._is_ended:
            raise InternalError("a delta came after the end of the stream")
        out: list[JSON] = []
        for delta in deltas:
            if delta.usage is not None:
                self._usage = delta.usage
            if isinstance(delta, Events):
                if delta.has_content and self._first_s is None:
                    self._first_s = time.monotonic()
                for event in delta.events:
                    if getattr(event, "choice", 0) == 0:
                        self._event(event, out)
            elif isinstance(delta, Chunk):
                self._native(delta.body, out)
            else:
                raise InternalError(f"{type(delta).__name__} is no part of a chat")
        return out

    def _event(self, event: object, out: list[JSON]) -> None:
        match event:
            case Text(text) | RefusalText(text):
                if text:
                    self._pieces += 1
                    out.append(self._piece(text=text))
            case Reasoning(text):
                if text:
                    self._pieces += 1
                    out.append(self._piece(thinking=text))
            case ToolStart(index, call_id, name):
                self._calls[index] = (call_id, name, [])
            case ToolDelta(index, arguments):
                self._calls[index][2].append(arguments)
            case ToolEnd(index):
                self._call_made(index, out)
            case Image(media_type, data):  # no place for one: Markdown, as many clients show it
                out.append(self._piece(text=f"![image](data:{media_type};base64,{data})"))
            case Finish(reason):
                if reason not in CUTS:  # a call that was cut is none
                    for index in list(self._calls):
                        self._call_made(index, out)
                self._finish = _REASONS[reason]

    def _call_made(self, index: int, out: list[JSON]) -> None:
        call_id, name, pieces = self._calls.pop(index)
        text = "".join(pieces) or "{}"
        try:
            arguments = _decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            arguments = None
        if arguments.__class__ is not dict:
            raise UpstreamInvalid("The upstream called a tool with arguments that are no JSON object.")
        function = {"index": index, "name": name, "arguments": arguments}
        out.append(self._piece(calls=[{"id": call_id, "function": function}]))

    def _native(self, body: JSON, out: list[JSON]) -> None:
        body["model"] = self._model
        if body.get("done"):
            said = {key: body.pop(key) for key in _SAID if key in body}
            self._last = body
            self._finish = str(body.get("done_reason") or "stop")
            message = said.get("message")
            if isinstance(message, dict):
                said = {key: value for key, value in message.items() if key != "role"}
                if any(said.values()):
                    out.append({"message": message})
            elif any(said.values()):
                out.append({"response": "", **said})
        else:
            out.append(body)

    def _summary(self) -> JSON:
        if self._last is not None:
            return {**self._last, "model": self._model, "done": True}
        ended_s = time.monotonic()
        first_s = self._first_s or ended_s
        usage = self._usage or self._call.usage or Usage(0, self._pieces, is_estimated=True)
        return {
            "done": True,
            "done_reason": self._finish,
            "total_duration": _nanoseconds(ended_s - self._began_s),
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(first_s - self._began_s),
            "eval_count": usage.completion_tokens,
            "eval_duration": _nanoseconds(ended_s - first_s),
        }


class GenerateEncoder(ChatEncoder):
    def _piece(self, *, text: str = "", thinking: str = "", calls: list[JSON] | None = None) -> JSON:
        if calls:
            raise UpstreamInvalid("The model called a tool that nobody offered.")
        return {"response": text, "thinking": thinking} if thinking else {"response": text}


class EmbedEncoder(WholeEncoder):
    def __init__(self, request: Any, call: Call) -> None:
        super().__init__()
        self._model = call.model or request.model
        self._is_old = bool(request.inbound)
        self._began_s = time.monotonic()

    def answer(self) -> bytes:
        if not isinstance(self._delta, Vectors):
            raise UpstreamInvalid("The upstream's answer holds no embeddings.")
        vectors = [as_floats(vector) for vector in self._delta.vectors]
        if self._is_old:
            return _encode({"embedding": vectors[0]})
        usage = self._delta.usage
        return _encode(
            {
                "model": self._model,
                "embeddings": vectors,
                "total_duration": _nanoseconds(time.monotonic() - self._began_s),
                "load_duration": 0,
                "prompt_eval_count": usage.prompt_tokens if usage else 0,
            }
        )


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
