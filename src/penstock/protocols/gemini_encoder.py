"""Gemini's answer: https://ai.google.dev/api/generate-content#generatecontentresponse

streamed   stream()* then stream_end() or stream_error(); nothing after either
whole      fold()* then answer(); the same pieces, put together

event               part of the candidate
------------------  -----------------------------------------------------------------------------------------
Text, RefusalText   text; logprobs as logprobsResult
Reasoning           text with thought
ReasoningEnd        an empty text with thoughtSignature, sealed where another vendor issued it
Tool*               one whole functionCall, when it ends: its arguments are checked to be a JSON object. Calls
                      leave in the order of their index. A call cut by `length` is left out.
Citation            citationMetadata, its places in bytes
Image               inlineData
(all text)          of text/x.enum: one word, that other vendors write as JSON
Finish              finishReason, held back for the last piece, which has usageMetadata, too

A target of the same dialect gives pieces that are kept as they are, but for the model's name, ids and what
follows a finishReason.

Server-sent events begin with `data: ` and end without [DONE]; google-genai parses every other line, comments
included, as JSON. What keeps the stream alive is therefore an empty line.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.dialects.gemini import CALL, REASONS, sealed, sealed_redacted
from penstock.protocols import gemini_errors
from penstock.types.call import Call
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import (
    CUTS,
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
from penstock.types.wire import EVENT_STREAM

JSON = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class _Call:
    __slots__ = ("arguments", "id", "is_ended", "kind", "name", "signature")

    def __init__(self, event: ToolStart) -> None:
        self.id = event.id
        self.name = event.name
        self.kind = event.kind
        self.signature = event.signature
        self.arguments: list[str] = []
        self.is_ended = False

    def part(self) -> JSON:
        """Raises UpstreamInvalid for arguments that are no JSON object."""
        text = "".join(self.arguments)
        if self.kind == "custom":
            arguments: Any = {"input": text}
        else:
            try:
                arguments = _decode(text or "{}")
            except (msgspec.DecodeError, RecursionError) as exc:
                raise UpstreamInvalid(
                    f"The model called {self.name!r} with arguments that are not JSON."
                ) from exc
            if arguments.__class__ is not dict:
                raise UpstreamInvalid(
                    f"The model called {self.name!r} with arguments that are no JSON object."
                )
        part: JSON = {"functionCall": {"id": self.id, "name": self.name, "args": arguments}}
        # Clients that drop ids give signatures back: the thoughts before this call are found by its id.
        part["thoughtSignature"] = self.signature or sealed(CALL, self.id)
        return part


class _Candidate:
    """One candidate: open until its finish; `extra` and `parts` are only filled by fold()."""

    __slots__ = (
        "calls",
        "citations",
        "extra",
        "finish",
        "index",
        "is_enum",
        "is_open",
        "next_call",
        "parts",
        "said",
    )

    def __init__(self, index: int, *, is_enum: bool) -> None:
        self.index = index
        self.is_enum = is_enum
        self.is_open = True
        self.calls: list[_Call] = []
        self.next_call = 0  # the first that has not left
        self.citations: list[JSON] = []
        self.finish: JSON | None = None  # of typed events: what the last piece says
        self.said: list[str] = []  # the text so far
        self.parts: list[JSON] = []
        self.extra: JSON = {}

    # -- typed events; each gives the parts that may leave

    def text(self, event: Text | RefusalText) -> list[JSON]:
        self.said.append(event.text)
        return [{"text": event.text}] if event.text and not self.is_enum else []

    def reasoning(self, event: Reasoning) -> list[JSON]:
        return [{"text": event.text, "thought": True}] if event.text else []

    def reasoning_end(self, event: ReasoningEnd) -> list[JSON]:
        if event.signature is not None:
            signature = sealed(event.issuer, event.signature)
        elif event.redacted is not None:
            signature = sealed_redacted(event.issuer, event.redacted)
        else:
            return []
        thought = {} if event.issuer == "gemini" else {"thought": True}
        return [{"text": "", **thought, "thoughtSignature": signature}]

    def tool_start(self, event: ToolStart) -> list[JSON]:
        if event.index != len(self.calls):
            raise InternalError("a tool call was started out of order")
        self.calls.append(_Call(event))
        return []

    def tool_delta(self, event: ToolDelta) -> list[JSON]:
        call = self._call(event.index)
        if call.is_ended:
            raise InternalError("a tool call goes on after its end")
        call.arguments.append(event.arguments)
        return []

    def tool_end(self, event: ToolEnd) -> list[JSON]:
        call = self._call(event.index)
        if call.is_ended:
            raise InternalError("a tool call was ended twice")
        call.is_ended = True
        return self._ended_calls()

    def citation(self, event: Citation) -> list[JSON]:
        cited: JSON = {}
        if event.start is not None:
            cited["startIndex"] = self._bytes(event.start)
        if event.end is not None:
            cited["endIndex"] = self._bytes(event.end)
        if event.url:
            cited["uri"] = event.url
        if event.title:
            cited["title"] = event.title
        self.citations.append(cited)
        return []

    def _bytes(self, characters: int) -> int:
        """Google counts bytes."""
        return len("".join(self.said)[: max(0, characters)].encode("utf-8", "replace"))

    def image(self, event: Image) -> list[JSON]:
        return [{"inlineData": {"mimeType": event.media_type, "data": event.data}}]

    def end(self, event: Finish) -> list[JSON]:
        """An answer that was cut has lost its open calls; any other must have ended them."""
        left = [call for call in self.calls if not call.is_ended]
        if left and event.reason not in CUTS:
            raise InternalError("an answer is finished before its tool calls")
        self.is_open = False
        word = [{"text": _bare("".join(self.said))}] if self.is_enum and self.said else []
        self.finish = {"finishReason": REASONS[event.reason]}
        self.calls = [call for call in self.calls[self.next_call :] if call.is_ended]
        self.next_call = 0
        return word + self._ended_calls()

    def _call(self, index: int) -> _Call:
        if not 0 <= index < len(self.calls):
            raise InternalError("a piece of a tool call that was never started")
        return self.calls[index]

    def _ended_calls(self) -> list[JSON]:
        parts = []
        while self.next_call < len(self.calls) and self.calls[self.next_call].is_ended:
            parts.append(self.calls[self.next_call].part())
            self.next_call += 1
        return parts


_WRITE: dict[type, Callable[[_Candidate, Any], list[JSON]]] = {
    Text: _Candidate.text,
    RefusalText: _Candidate.text,
    Reasoning: _Candidate.reasoning,
    ReasoningEnd: _Candidate.reasoning_end,
    ToolStart: _Candidate.tool_start,
    ToolDelta: _Candidate.tool_delta,
    ToolEnd: _Candidate.tool_end,
    Citation: _Candidate.citation,
    Image: _Candidate.image,
    Finish: _Candidate.end,
}


class GeminiEncoder:
    """sse: server-sent events; else one JSON array, written piece by piece."""

    def __init__(self, request: ChatRequest, call: Call, *, sse: bool) -> None:
        self._call = call
        self._is_sse = sse
        self.stream_type = EVENT_STREAM if sse else "application/json"
        self.ping = b"\n"  # no comment: see above
        self._same: JSON = {"modelVersion": call.model or request.model, "responseId": call.id}
        config = request.body.get("generationConfig") or {}
        self._is_enum = config.get("responseMimeType") == "text/x.enum"
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Usage | None = None
        self._is_blocked = False
        self._is_begun = False
        self._is_ended = False
        self._has_whole = False
        self._envelope: JSON = {}  # fold: what the pieces say beside their candidates

    # -- streamed

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        if self._is_ended:
            raise InternalError("a stream goes on after its end")
        out = b""
        for delta in deltas:
            kind = delta.__class__
            if kind is Events:
                body = self._typed(delta)  # type: ignore[arg-type]
            elif kind is Chunk:
                body = self._native(delta.body)  # type: ignore[union-attr]
            else:
                raise InternalError(f"{kind.__name__} is no part of a stream")
            if body is not None:
                out += self._piece(body)
        return out

    def stream_end(self) -> bytes:
        """Raises InternalError when a candidate is still open: the pipeline must have raised UpstreamCut."""
        self._check_finished()
        self._is_ended = True
        last = self._last()
        out = self._piece(last) if last is not None else b""
        return out if self._is_sse else out + b"]"

    def stream_error(self, error: PenstockError) -> bytes:
        if self._is_ended:
            raise InternalError("an error after the end of a stream")
        self._is_ended = True
        out = self._piece({"error": gemini_errors.partial_object(error, self._call.usage)})
        return out if self._is_sse else out + b"]"

    def _piece(self, body: JSON) -> bytes:
        if self._is_sse:
            return b"data: " + _encode(body) + b"\n\n"
        lead = b",\r\n" if self._is_begun else b"["
        self._is_begun = True
        return lead + _encode(body)

    # -- one delta as one piece

    def _typed(self, delta: Events) -> JSON | None:
        if delta.usage is not None:
            self._usage = delta.usage
        said: dict[int, JSON] = {}
        for event in delta.events:
            write = _WRITE.get(event.__class__)
            if write is None:  # Started, UsageReport
                continue
            index = event.choice  # type: ignore[union-attr]  # those in the table have one
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = _Candidate(index, is_enum=self._is_enum)
            if not candidate.is_open:
                continue
            parts = write(candidate, event)
            if not parts:
                continue
            piece = said.get(index)
            if piece is None:
                piece = said[index] = {"content": {"parts": [], "role": "model"}, "index": index}
            _join(piece["content"]["parts"], parts)
            if event.__class__ is Text and event.logprobs:
                _join_logprobs(piece, _logprobs(event.logprobs))
        return {"candidates": list(said.values()), **self._same} if said else None

    def _native(self, body: JSON) -> JSON | None:
        """Keeps what a target of the same dialect wrote; drops what follows a candidate's finish."""
        found = body.get("candidates")
        if found:
            kept = []
            for position, given in enumerate(found):
                index = given.get("index", position)
                candidate = self._candidates.get(index)
                if candidate is None:
                    candidate = self._candidates[index] = _Candidate(index, is_enum=self._is_enum)
                if not candidate.is_open:
                    continue
                if given.get("content"):
                    given["content"].setdefault("role", "model")
                if given.get("finishReason"):
                    candidate.is_open = False
                kept.append(given)
            if kept:
                body["candidates"] = kept
            else:
                del body["candidates"]
        feedback = body.get("promptFeedback")
        if feedback and feedback.get("blockReason"):
            self._is_blocked = True
        body |= self._same
        return body

    def _last(self) -> JSON | None:
        """The last piece of typed events: why each candidate ended, and the tokens."""
        ended = []
        for candidate in self._candidates.values():
            if candidate.finish is not None:
                piece: JSON = {"content": {"parts": [{"text": ""}], "role": "model"}, **candidate.finish}
                if candidate.citations:
                    piece["citationMetadata"] = {"citations": candidate.citations}
                piece["index"] = candidate.index
                ended.append(piece)
        if not ended:
            return None
        return {
            "candidates": ended,
            "usageMetadata": usage_body(self._usage or self._call.usage or Usage()),
            **self._same,
        }

    def _check_finished(self) -> None:
        unfinished = any(candidate.is_open for candidate in self._candidates.values())
        if self._is_ended or unfinished or not (self._candidates or self._is_blocked):
            raise InternalError("an answer was ended twice, or before its candidates were finished")

    # -- whole

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            kind = delta.__class__
            if kind is Answer:
                self._envelope = self._native(delta.body) or {}  # type: ignore[union-attr]
                self._has_whole = True
            elif kind is Events:
                body = self._typed(delta)  # type: ignore[arg-type]
                if body is not None:
                    self._add(body)
            elif kind is Chunk:
                body = self._native(delta.body)  # type: ignore[union-attr]
                if body is not None:
                    self._add(body)
            else:
                raise InternalError(f"{kind.__name__} is no part of an answer")

    def _add(self, body: JSON) -> None:
        for position, given in enumerate(body.pop("candidates", ())):
            candidate = self._candidates[given.pop("index", position)]
            content = given.pop("content", None)
            if content:
                _join(candidate.parts, content.get("parts") or [])
            logprobs = given.pop("logprobsResult", None)
            if logprobs:
                _join_logprobs(candidate.extra, logprobs)
            candidate.extra.update(given)
        self._envelope.update(body)

    def answer(self) -> bytes:
        """Raises UpstreamInvalid when what was folded is not an answer."""
        try:
            self._check_finished()
        except InternalError as exc:
            raise UpstreamInvalid("The upstream's answer has no end.") from exc
        self._is_ended = True
        if self._has_whole:
            return _encode(self._envelope)
        whole = []
        for candidate in sorted(self._candidates.values(), key=lambda one: one.index):
            content = {"parts": candidate.parts or [{"text": ""}], "role": "model"}
            piece: JSON = {"content": content, **candidate.extra, **(candidate.finish or {})}
            if candidate.citations:
                piece["citationMetadata"] = {"citations": candidate.citations}
            piece["index"] = candidate.index
            whole.append(piece)
        body: JSON = {"candidates": whole} if whole else {}
        if self._usage is not None or "usageMetadata" not in self._envelope:
            body["usageMetadata"] = usage_body(self._usage or self._call.usage or Usage())
        return _encode({**body, **self._envelope, **self._same})


def _join(parts: list[JSON], more: list[JSON]) -> None:
    """Appends; text goes on the text before it where both are of one kind and nothing is signed between."""
    for part in more:
        if parts and _is_plain(part) and _is_plain(parts[-1]) and part.keys() == parts[-1].keys():
            parts[-1] = {**part, "text": parts[-1]["text"] + part["text"]}
        else:
            parts.append(part)


def _bare(text: str) -> str:
    try:
        word = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return word if isinstance(word, str) else text


def _is_plain(part: JSON) -> bool:
    return "text" in part and (len(part) == 1 or (len(part) == 2 and part.get("thought") is True))


def usage_body(usage: Usage) -> JSON:
    """Google's candidatesTokenCount does not hold the thoughts."""
    body: JSON = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": max(0, usage.completion_tokens - usage.reasoning_tokens),
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_tokens:
        body["cachedContentTokenCount"] = usage.cached_tokens
    for name, count, whole in (
        ("promptTokensDetails", usage.audio_prompt_tokens, usage.prompt_tokens),
        ("candidatesTokensDetails", usage.audio_completion_tokens, body["candidatesTokenCount"]),
    ):
        if count:
            text = {"modality": "TEXT", "tokenCount": max(0, whole - count)}
            body[name] = [text, {"modality": "AUDIO", "tokenCount": count}]
    return body


def _logprobs(given: JSON) -> JSON:
    """OpenAI's one list as Google's two."""
    tokens = given.get("content") or []
    return {
        "topCandidates": [
            {"candidates": [_token(one) for one in t.get("top_logprobs") or ()]} for t in tokens
        ],
        "chosenCandidates": [_token(token) for token in tokens],
    }


def _token(one: JSON) -> JSON:
    return {"token": one.get("token", ""), "logProbability": one.get("logprob", 0.0)}


def _join_logprobs(piece: JSON, more: JSON) -> None:
    have = piece.get("logprobsResult")
    if have is None:
        piece["logprobsResult"] = more
        return
    for name in ("topCandidates", "chosenCandidates"):
        have[name] = [*have.get(name, []), *more.get(name, [])]
