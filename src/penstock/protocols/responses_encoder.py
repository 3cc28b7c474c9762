"""The Responses answer: streamed or whole, from typed events or from a target's own.

    response.created  response.in_progress
    ( output_item.added(i)  <what is in it>  output_item.done(i) )*      tool calls may overlap
    response.completed | response.incomplete | response.failed

inside an item      message            ( content_part.added  output_text.delta* .done | refusal.delta* .done
                                         annotation.added*  content_part.done )*
                    reasoning          reasoning_summary_part.added  _text.delta* _text.done  _part.done
                    function_call      function_call_arguments.delta* .done
                    custom_tool_call   custom_tool_call_input.delta* .done

`sequence_number` rises by one. The whole answer is what the last event holds. A target of this dialect
(Chunk) keeps its own events and fields; ids, model and numbers of the envelope are ours, because the answer
is kept here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.dialects.responses import unbound
from penstock.lib.ids import new_id
from penstock.protocols.responses_lift import SIGNED
from penstock.types.call import Call
from penstock.types.conversation import seal
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Delta,
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
from penstock.types.requests import ChatRequest
from penstock.types.usage import Usage
from penstock.types.wire import SSE

JSON = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete"}
_CALLS = {"function": ("function_call", "fc_", "arguments"), "custom": ("custom_tool_call", "ctc_", "input")}
_EVENTS = {"function": "response.function_call_arguments", "custom": "response.custom_tool_call_input"}
_FAILURES = frozenset({"rate_limit_exceeded", "server_error", "invalid_prompt"})


class ResponsesEncoder(SSE):
    """`response`: the answer as it is now; complete after `stream_end` or `answer`."""

    def __init__(self, request: ChatRequest, call: Call) -> None:
        self._call = call
        self._number = 0
        self._is_started = False
        self._is_ended = False
        self._usage: Usage | None = None
        self._raw_usage: JSON | None = None  # as a target of this dialect wrote it
        self._finish: str | None = None
        name = new_id("")  # not the call's: clients may say its id, twice, or that of another's call
        self._items = Items(name)
        self._status = ""  # of a target's own terminal event
        self.response = blank_response(request, call, f"resp_{name}")

    # -- streamed

    def begin(self) -> bytes:
        """The first events, before anything came: for who follows a response that is made without them."""
        out: list[JSON] = []
        self._start(out)
        return b"".join([_sse(body) for body in out])

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        return b"".join([_sse(body) for body in self._bodies(deltas)])

    def stream_end(self) -> bytes:
        return b"".join([_sse(body) for body in self._end()])

    def stream_error(self, error: PenstockError) -> bytes:
        if self._is_ended:
            raise InternalError("a stream was ended twice")
        out: list[JSON] = []
        self._start(out)
        self._is_ended = True
        failed: JSON = {"code": failure_code(error.code), "message": error.message, "partial": True}
        if error.attempts:
            failed["attempts"] = error.attempts
        self.response |= {"status": "failed", "error": failed}
        self._items.finish([], is_cut=True)  # as far as they came; no event says that they are whole
        self.response["output"] = self._items.output
        usage = self._call.usage
        if usage is not None:
            self.response["usage"] = {**_usage_body(usage, None), "estimated": usage.is_estimated}
        out.append(self._numbered({"type": "response.failed", "response": self.response}))
        return b"".join([_sse(body) for body in out])

    # -- whole

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, Answer):
                self._take(delta.body)
                self._usage = delta.usage or self._usage
            else:
                self._bodies((delta,))

    def answer(self) -> bytes:
        if not self._finish and not self._status:
            raise UpstreamInvalid("The upstream's answer was never finished.")
        self._end()
        return _encode(self.response)

    # -- both

    def _bodies(self, deltas: Sequence[Delta]) -> list[JSON]:
        if self._is_ended:
            raise InternalError("a delta came after the end of the stream")
        out: list[JSON] = []
        for delta in deltas:
            if delta.usage is not None:
                self._usage = delta.usage
            kind = delta.__class__
            if kind is Events:
                self._start(out)
                at = len(out)
                for event in delta.events:  # type: ignore[union-attr]  # it is one
                    write = _WRITE.get(event.__class__)
                    if write is not None and event.choice == 0:  # type: ignore[union-attr]
                        write(self._items, event, out)
                    elif event.__class__ is Finish:
                        self._finish = event.reason
                        self._items.finish(out, is_cut=self._finish in _INCOMPLETE)
                for body in out[at:]:
                    self._numbered(body)
            elif kind is Chunk:
                self._native(delta.body, out)  # type: ignore[union-attr]  # it is one
            else:
                raise InternalError(f"{kind.__name__} is no part of a response")
        return out

    def _start(self, out: list[JSON]) -> None:
        if not self._is_started:
            self._is_started = True
            opened = {**self.response, "output": []}
            out.append(self._numbered({"type": "response.created", "response": opened}))
            out.append(self._numbered({"type": "response.in_progress", "response": opened}))

    def _end(self) -> list[JSON]:
        """Raises InternalError when the answer is not finished: the pipeline must have raised UpstreamCut."""
        if self._is_ended or not (self._finish or self._status):
            raise InternalError("a response was ended twice, or before it was finished")
        out: list[JSON] = []
        self._start(out)
        self._is_ended = True
        if self._finish:
            reason = _INCOMPLETE.get(self._finish)
            self.response["status"] = "incomplete" if reason else "completed"
            self.response["incomplete_details"] = {"reason": reason} if reason else None
            self.response["output"] = self._items.output
        usage = self._usage or self._call.usage
        self.response["usage"] = _usage_body(usage, self._raw_usage) if usage is not None else None
        kind = f"response.{self.response['status']}"
        out.append(self._numbered({"type": kind, "response": self.response}))
        return out

    def _numbered(self, body: JSON) -> JSON:
        body["sequence_number"] = self._number
        self._number += 1
        return body

    # -- a target's own

    def _native(self, body: JSON, out: list[JSON]) -> None:
        kind = body["type"]
        if kind in _TERMINAL:
            self._take(body["response"])
            return
        if kind in ("response.created", "response.in_progress", "response.queued"):
            self._start(out)
            return
        self._start(out)
        if kind == "response.output_item.done" and isinstance(body.get("item"), dict):
            self._items.output.append(body["item"])  # what there is of an answer that breaks off
        out.append(self._numbered(body))

    def _take(self, theirs: JSON) -> None:
        """A whole response of the target's; how it is kept and called is ours."""
        status, output = theirs.get("status"), theirs.get("output")
        if status not in ("completed", "incomplete") or output.__class__ is not list:
            raise UpstreamInvalid("The upstream's answer is no response.")
        self._status = str(status)
        raw = theirs.get("usage")
        self._raw_usage = raw if raw.__class__ is dict else None
        kept = {key: self.response[key] for key in _OURS if key in self.response}
        self.response = {**self.response, **theirs, **kept}


_OURS = ("id", "model", "store", "background", "previous_response_id", "instructions", "metadata")


class Items:
    """The output items of an answer from typed events."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.output: list[JSON] = []
        self._message: JSON | None = None  # open
        self._message_at = 0
        self._part: JSON | None = None  # of the open message
        self._texts: list[str] = []  # of the open part
        self._reasoning: JSON | None = None
        self._reasoning_at = 0
        self._thoughts: list[str] = []
        self._calls: dict[
            int, tuple[int, JSON, list[str]]
        ] = {}  # open: index -> (output_index, item, pieces)

    # -- what is open

    def _open(self, item: JSON, prefix: str, out: list[JSON]) -> int:
        at = len(self.output)
        item["id"] = f"{prefix}{self._seed}{at:02d}"
        self.output.append(item)
        out.append({"type": "response.output_item.added", "output_index": at, "item": dict(item)})
        return at

    def _done(self, at: int, out: list[JSON]) -> None:
        out.append({"type": "response.output_item.done", "output_index": at, "item": self.output[at]})

    def _close_part(self, out: list[JSON]) -> None:
        part = self._part
        if part is None or self._message is None:
            return
        text = "".join(self._texts)
        self._texts, self._part = [], None
        where = {"item_id": self._message["id"], "output_index": self._message_at}
        where["content_index"] = len(self._message["content"]) - 1
        if part["type"] == "refusal":
            part["refusal"] = text
            out.append({"type": "response.refusal.done", **where, "refusal": text})
        else:
            part["text"] = text
            logprobs = part.get("logprobs") or []
            out.append({"type": "response.output_text.done", **where, "text": text, "logprobs": logprobs})
        out.append({"type": "response.content_part.done", **where, "part": part})

    def _close_message(self, out: list[JSON], status: str = "completed") -> None:
        if self._message is not None:
            self._close_part(out)
            self._message["status"] = status
            self._message = None
            self._done(self._message_at, out)

    def _close_reasoning(self, out: list[JSON], end: ReasoningEnd | None = None) -> None:
        item = self._reasoning
        if item is None:
            return
        if item["summary"]:
            text = "".join(self._thoughts)
            part = item["summary"][0]
            part["text"] = text
            where = {"item_id": item["id"], "output_index": self._reasoning_at, "summary_index": 0}
            out.append({"type": "response.reasoning_summary_text.done", **where, "text": text})
            out.append({"type": "response.reasoning_summary_part.done", **where, "part": part})
        if end is not None:
            item["encrypted_content"] = _opaque(end, has_text=bool(item["summary"]))
        self._thoughts, self._reasoning = [], None
        self._done(self._reasoning_at, out)

    def finish(self, out: list[JSON], *, is_cut: bool) -> None:
        status = "incomplete" if is_cut else "completed"
        self._close_reasoning(out)
        for index in list(self._calls):
            self._close_call(index, out, status)
        self._close_message(out, status)

    # -- events

    def text(self, event: Text, out: list[JSON]) -> None:
        part = self._part
        if part is None or part["type"] != "output_text":
            part = self._open_part({"type": "output_text", "text": "", "annotations": []}, out)
        self._texts.append(event.text)
        body: JSON = {
            "type": "response.output_text.delta",
            "item_id": self._message["id"],  # type: ignore[index]  # open, as it has a part
            "output_index": self._message_at,
            "content_index": len(self._message["content"]) - 1,  # type: ignore[index]
            "delta": event.text,
            "logprobs": [],
        }
        if event.logprobs is not None:
            found = event.logprobs.get("content") or []
            part.setdefault("logprobs", []).extend(found)
            body["logprobs"] = found
        out.append(body)

    def refusal(self, event: RefusalText, out: list[JSON]) -> None:
        if self._part is None or self._part["type"] != "refusal":
            self._open_part({"type": "refusal", "refusal": ""}, out)
        self._texts.append(event.text)
        out.append({"type": "response.refusal.delta", **self._where(), "delta": event.text})

    def _open_part(self, part: JSON, out: list[JSON]) -> JSON:
        self._close_reasoning(out)
        self._close_part(out)
        if self._message is None:
            self._message = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
            self._message_at = self._open(self._message, "msg_", out)
            out[-1]["item"]["content"] = []
        self._message["content"].append(part)
        self._part = part
        out.append({"type": "response.content_part.added", **self._where(), "part": dict(part)})
        return part

    def _where(self) -> JSON:
        message = self._message
        if message is None:
            raise InternalError("no message is open")
        return {
            "item_id": message["id"],
            "output_index": self._message_at,
            "content_index": len(message["content"]) - 1,
        }

    def citation(self, event: Citation, out: list[JSON]) -> None:
        if not event.url or self._part is None or self._part["type"] != "output_text":
            return
        annotation: JSON = {"type": "url_citation", "url": event.url, "title": event.title}
        annotation |= {"start_index": event.start or 0, "end_index": event.end or 0}
        found = self._part["annotations"]
        found.append(annotation)
        body = {"type": "response.output_text.annotation.added", **self._where(), "annotation": annotation}
        out.append({**body, "annotation_index": len(found) - 1})

    def image(self, event: Image, out: list[JSON]) -> None:
        self._close_reasoning(out)
        self._close_message(out)
        item: JSON = {"type": "image_generation_call", "status": "completed", "result": event.data}
        at = self._open(item, "ig_", out)
        self._done(at, out)

    def reasoning(self, event: Reasoning, out: list[JSON]) -> None:
        item = self._reasoning or self._open_reasoning(out)
        where = {"item_id": item["id"], "output_index": self._reasoning_at, "summary_index": 0}
        if not item["summary"]:
            part = {"type": "summary_text", "text": ""}
            item["summary"].append(part)
            out.append({"type": "response.reasoning_summary_part.added", **where, "part": dict(part)})
        self._thoughts.append(event.text)
        out.append({"type": "response.reasoning_summary_text.delta", **where, "delta": event.text})

    def reasoning_end(self, event: ReasoningEnd, out: list[JSON]) -> None:
        if self._reasoning is None:
            if event.signature is None and event.redacted is None:
                return
            self._open_reasoning(out)
        self._close_reasoning(out, event)

    def _open_reasoning(self, out: list[JSON]) -> JSON:
        self._close_message(out)
        self._reasoning = {"type": "reasoning", "summary": []}
        self._reasoning_at = self._open(self._reasoning, "rs_", out)
        out[-1]["item"]["summary"] = []
        return self._reasoning

    def tool_start(self, event: ToolStart, out: list[JSON]) -> None:
        self._close_reasoning(out)
        self._close_message(out)
        kind, prefix, key = _CALLS[event.kind]
        item: JSON = {"type": kind, "call_id": event.id, "name": event.name, key: "", "status": "in_progress"}
        at = self._open(item, prefix, out)
        self._calls[event.index] = (at, item, [])

    def tool_delta(self, event: ToolDelta, out: list[JSON]) -> None:
        at, item, pieces = self._calls[event.index]
        pieces.append(event.arguments)
        name = _EVENTS["function" if item["type"] == "function_call" else "custom"]
        body = {"type": f"{name}.delta", "item_id": item["id"], "output_index": at, "delta": event.arguments}
        out.append(body)

    def tool_end(self, event: ToolEnd, out: list[JSON]) -> None:
        if event.index in self._calls:
            self._close_call(event.index, out, "completed")

    def _close_call(self, index: int, out: list[JSON], status: str) -> None:
        at, item, pieces = self._calls.pop(index)
        text = "".join(pieces)
        is_function = item["type"] == "function_call"
        if is_function and status == "completed":
            text = text or "{}"
            if not _is_object(text):
                raise UpstreamInvalid("The upstream called a tool with arguments that are no JSON object.")
        key = "arguments" if is_function else "input"
        item[key], item["status"] = text, status
        name = _EVENTS["function" if is_function else "custom"]
        body: JSON = {"type": f"{name}.done", "item_id": item["id"], "output_index": at, key: text}
        if is_function:
            body["name"] = item["name"]
        out.append(body)
        self._done(at, out)


_WRITE: dict[type, Callable[[Items, Any, list[JSON]], None]] = {
    Text: Items.text,
    Reasoning: Items.reasoning,
    ReasoningEnd: Items.reasoning_end,
    ToolStart: Items.tool_start,
    ToolDelta: Items.tool_delta,
    ToolEnd: Items.tool_end,
    RefusalText: Items.refusal,
    Citation: Items.citation,
    Image: Items.image,
}


def blank_response(request: ChatRequest, call: Call, name: str) -> JSON:
    """A response in progress, with what the request said."""
    body = request.body
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    return {
        "id": name,
        "object": "response",
        "created_at": call.created,
        "status": "in_progress",
        "background": body.get("background") is True,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": call.model or request.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": body.get("service_tier") or "default",
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_echo(tool) for tool in body.get("tools") or ()],
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _echo(tool: JSON) -> JSON:
    if tool["type"] != "function":
        return tool
    return {"parameters": None, "strict": None, **tool}


def _usage_body(usage: Usage, raw: JSON | None) -> JSON:
    given = raw or {}
    details = given.get("input_tokens_details")
    out = given.get("output_tokens_details")
    return {
        **given,
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            **(details if isinstance(details, dict) else {}),
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {
            **(out if isinstance(out, dict) else {}),
            "reasoning_tokens": usage.reasoning_tokens,
        },
        "total_tokens": usage.total_tokens,
    }


def _opaque(end: ReasoningEnd, *, has_text: bool) -> str | None:
    """What a client gives back so that the issuer sees it again; responses_lift reads it."""
    if end.redacted is not None:
        return seal(end.issuer, end.redacted)
    if end.signature is None:
        return None
    if end.issuer == "responses":  # only a target of this dialect issues it, and that is not translated
        return unbound(end.signature)[1]
    return seal(end.issuer, end.signature if has_text else SIGNED + end.signature)


def _is_object(text: str) -> bool:
    try:
        return _decode(text).__class__ is dict
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def failure_code(code: str | None) -> str:
    """Of an error of ours, as the interface has it."""
    return code if code in _FAILURES else "server_error"


def _sse(body: JSON) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), _encode(body))
