"""Reads Gemini's answers: GenerateContentResponse, streamed or whole.

For a client of the same dialect each is a Chunk or Answer, looked over; for any other, typed events:

part                       event
-------------------------  ---------------------------------------------------------------------------------
text                       Text
text with thought          Reasoning
thoughtSignature of those  ReasoningEnd of issuer "gemini", after the text
functionCall               ToolStart (with its thoughtSignature), ToolDelta, ToolEnd: calls come whole
inlineData of an image     Image; a sketch of its thoughts is none
executableCode and result  Text: a fenced block
groundingMetadata,         Citation; Google counts bytes, a Citation counts characters
  citationMetadata

usageMetadata is cumulative, and its candidatesTokenCount does not hold the thoughts: they are added. A prompt
that was blocked has no candidates: each is taken as stopped by the filter. finishReason is STOP after calls,
too; the malformed ones (dialects.gemini.BROKEN) are errors.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.dialects.gemini import BROKEN, FINISHED, JSON
from penstock.lib.ids import new_id
from penstock.providers.gemini_errors import error_in_answer
from penstock.providers.gemini_lower import LONGEST_NAME
from penstock.providers.tools import GoogleLetters, renamed
from penstock.types.errors import UpstreamCredentials, UpstreamError, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Counted,
    Delta,
    Event,
    Events,
    Finish,
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
from penstock.types.requests import ChatRequest
from penstock.types.usage import Usage

_MOST_TOKENS = 2**53
_LAST_INDEX = 2**15
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_SHAPES = (AttributeError, TypeError, KeyError, ValueError, IndexError)


class GeminiReader:
    __slots__ = (
        "_candidates",
        "_customs",
        "_expected",
        "_is_native",
        "_is_started",
        "_name",
        "_names",
        "is_complete",
        "is_done",
    )

    def __init__(self, request: ChatRequest, name: str) -> None:
        self.is_complete = False
        self.is_done = False  # the usage may come after the last finishReason
        self._name = name
        self._is_native = request.dialect == "gemini"
        self._is_started = False
        self._candidates: dict[int, _Candidate] = {}
        self._expected = request.n
        self._customs: frozenset[str] = frozenset()
        self._names: Mapping[str, str] = {}  # tools that are called otherwise there -> ours
        if not self._is_native:
            tools = request.conversation().tools
            self._names = renamed(tools, GoogleLetters(LONGEST_NAME))
            self._customs = frozenset(tool.name for tool in tools if tool.kind == "custom")

    def event(self, data: bytes) -> Delta | None:
        body = self._body(data)
        try:
            if self._is_native:
                has_content = self._look(body)
                return Chunk(body, self._read_usage(body), has_content)
            return self._events(body)
        except _SHAPES as exc:
            raise UpstreamInvalid(f"{self._name} sent an event of an unknown shape.") from exc

    def answer(self, body: bytes) -> Delta:
        decoded = self._body(body)
        try:
            if self._is_native:
                self._look(decoded)
                delta: Delta = Answer(decoded, self._read_usage(decoded))
            else:
                delta = self._events(decoded)
        except _SHAPES as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        if not self.is_complete:
            raise UpstreamInvalid(f"{self._name} sent an answer without a finishReason.")
        return delta

    def _body(self, data: bytes) -> JSON:
        try:
            body = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise UpstreamInvalid(f"{self._name} sent what is not JSON.") from exc
        if body.__class__ is list and body:  # how an error of a stream is written
            body = body[0]
        if body.__class__ is not dict:
            raise UpstreamInvalid(f"{self._name} sent what is not a JSON object.")
        if body.get("error"):
            raise error_in_answer(self._name, body)
        return body

    # -- the same dialect

    def _look(self, body: JSON) -> bool:
        """Checks what an encoder builds on: the candidates' indexes, contents and parts."""
        has_content = False
        for position, found in enumerate(body.get("candidates") or ()):
            candidate = self._candidate(found, position)
            content = found.get("content")
            if content is not None:
                parts = content.get("parts")
                if parts is not None:
                    for part in parts:
                        if part.__class__ is not dict:
                            raise TypeError("a part that is no object")
                        has_content = has_content or bool(part.keys() - _SILENT)
                        if "inlineData" in part and _is_image(part):
                            candidate.images += 1
            if found.get("finishReason"):
                if found["finishReason"].__class__ is not str:
                    raise TypeError("a finishReason that is no text")
                candidate.is_finished = True
        self._check_complete(body)
        return has_content

    def _check_complete(self, body: JSON) -> None:
        feedback = body.get("promptFeedback")
        if feedback and feedback.get("blockReason"):
            self.is_complete = True
        elif self._candidates:
            self.is_complete = all(one.is_finished for one in self._candidates.values())

    def _candidate(self, found: JSON, position: int) -> "_Candidate":
        index = found.get("index", position)
        candidate = self._candidates.get(index)
        if candidate is None:
            if index.__class__ is not int or not 0 <= index <= _LAST_INDEX:
                raise TypeError("an index that is no small number")
            candidate = self._candidates[index] = _Candidate(index, self._name, self._customs, self._names)
        return candidate

    @property
    def images(self) -> int:
        """Drawn so far."""
        return sum(candidate.images for candidate in self._candidates.values())

    def _read_usage(self, body: JSON) -> Usage | None:
        raw = body.get("usageMetadata")
        if not raw:
            return None
        return msgspec.structs.replace(read_usage(raw), images=self.images)

    # -- typed events

    def _events(self, body: JSON) -> Events:
        events: list[Event] = []
        if not self._is_started:
            self._is_started = True
            events.append(Started(_text(body.get("responseId")), _text(body.get("modelVersion"))))
        has_content = False
        for position, found in enumerate(body.get("candidates") or ()):
            candidate = self._candidate(found, position)
            if not candidate.is_finished:
                has_content = candidate.read(found, events) or has_content
        feedback = body.get("promptFeedback")
        if feedback and feedback.get("blockReason") and not self._candidates:
            events += [
                Finish("content_filter", index, _text(feedback["blockReason"]))
                for index in range(self._expected)
            ]
        self._check_complete(body)
        usage = self._read_usage(body)
        if usage is not None:
            events.append(UsageReport(usage))
        return Events(events, usage, has_content)


_SILENT = frozenset({"thoughtSignature", "thought"})


class _Candidate:
    __slots__ = (
        "_calls",
        "_cited",
        "_customs",
        "_index",
        "_name",
        "_names",
        "_said",
        "images",
        "is_finished",
    )

    def __init__(self, index: int, name: str, customs: frozenset[str], names: Mapping[str, str]) -> None:
        self._index = index
        self._name = name
        self._names = names
        self._customs = customs
        self._calls = 0
        self._said: list[str] = []
        self._cited: set[tuple[Any, ...]] = set()
        self.images = 0  # drawn so far
        self.is_finished = False

    def read(self, found: JSON, events: list[Event]) -> bool:
        has_content = False
        content = found.get("content")
        if content:
            logprobs = found.get("logprobsResult")
            for part in content.get("parts") or ():
                has_content = self._part(part, logprobs, events) or has_content
                logprobs = None  # of all the text of this piece
        if len(found) > 1 or not content:
            if found.get("groundingMetadata"):
                self._grounding(found["groundingMetadata"], events)
            if found.get("citationMetadata"):
                self._citations(found["citationMetadata"], events)
            reason = found.get("finishReason")
            if reason:
                self._finish(reason, found, events)
        return has_content

    def _part(self, part: JSON, logprobs: Any, events: list[Event]) -> bool:
        index = self._index
        text = part.get("text")
        if text is not None:
            if text.__class__ is not str:
                raise TypeError("a text that is none")
            signature = part.get("thoughtSignature")
            if text:
                if part.get("thought"):
                    events.append(Reasoning(text, index))
                else:
                    self._said.append(text)
                    events.append(Text(text, index, _logprobs(logprobs) if logprobs else None))
            if signature:
                events.append(ReasoningEnd(_signature(signature), None, "gemini", None, index))
            return bool(text)
        if "functionCall" in part:
            self._call(part, events)
        elif "inlineData" in part:
            if _is_image(part):
                blob = part["inlineData"]
                events.append(Image(blob["mimeType"], _required(blob["data"]), index))
                self.images += 1
        elif "executableCode" in part:
            code = part["executableCode"]
            language = _text(code.get("language")).lower().replace("language_unspecified", "")
            self._fenced(language, _required(code["code"]), events)
        elif "codeExecutionResult" in part:
            self._fenced("", _text(part["codeExecutionResult"].get("output")), events)
        else:
            return False
        if part.get("thoughtSignature") and "functionCall" not in part:
            signature = _signature(part["thoughtSignature"])
            events.append(ReasoningEnd(signature, None, "gemini", None, index))
        return True

    def _fenced(self, language: str, code: str, events: list[Event]) -> None:
        text = f"\n```{language}\n{code}\n```\n"
        self._said.append(text)
        events.append(Text(text, self._index))

    def _call(self, part: JSON, events: list[Event]) -> None:
        call = part["functionCall"]
        name = call.get("name")
        if not name or name.__class__ is not str:
            raise TypeError("a call without a name")
        name = self._names.get(name, name)
        if call.get("partialArgs") or call.get("willContinue"):
            raise TypeError("a call in pieces, which nobody asked for")
        arguments = call.get("args") or {}
        if arguments.__class__ is not dict:
            raise TypeError("arguments that are no object")
        index, number = self._index, self._calls
        self._calls += 1
        call_id = _text(call.get("id")) or new_id("call_")
        signature = part.get("thoughtSignature")
        if signature:
            signature = _signature(signature)
        if name in self._customs:
            given = arguments.get("input")
            text = given if isinstance(given, str) else _encode(arguments).decode()
            events.append(ToolStart(number, call_id, name, "custom", signature, index))
        else:
            text = _encode(arguments).decode()
            events.append(ToolStart(number, call_id, name, "function", signature, index))
        events += (ToolDelta(number, text, index), ToolEnd(number, index))

    def _grounding(self, metadata: JSON, events: list[Event]) -> None:
        """Supports point to chunks by number, and to the text by bytes."""
        chunks = metadata.get("groundingChunks") or []
        said: bytes | None = None
        for support in metadata.get("groundingSupports") or ():
            segment = support.get("segment") or {}
            if said is None:
                said = "".join(self._said).encode()
            start = _characters(said, segment.get("startIndex", 0))
            end = _characters(said, segment.get("endIndex", 0))
            for number in support.get("groundingChunkIndices") or ():
                if 0 <= number < len(chunks):
                    url, title = _source(chunks[number])
                    native = {"support": support, **chunks[number]}
                    text = _text(segment.get("text"))
                    self._cite(Citation(url, title, text, start, end, self._index, native), events)

    def _citations(self, metadata: JSON, events: list[Event]) -> None:
        said = "".join(self._said).encode()
        for cited in metadata.get("citations") or metadata.get("citationSources") or ():
            start = _characters(said, cited.get("startIndex", 0))
            end = _characters(said, cited.get("endIndex", 0))
            url, title = _text(cited.get("uri")), _text(cited.get("title"))
            self._cite(Citation(url, title, "", start, end, self._index, cited), events)

    def _cite(self, citation: Citation, events: list[Event]) -> None:
        """The metadata of a stream is repeated as it grows: each source of each place is told once."""
        key = (citation.url, citation.title, citation.start, citation.end)
        if key not in self._cited:
            self._cited.add(key)
            events.append(citation)

    def _finish(self, reason: Any, found: JSON, events: list[Event]) -> None:
        if reason.__class__ is not str:
            raise TypeError("a finishReason that is no text")
        if reason == "FINISH_REASON_UNSPECIFIED":
            return
        if reason in BROKEN:
            message = _text(found.get("finishMessage"))[:200]
            said = f": {message}" if message else ""
            raise UpstreamError(f"{self._name} gave the answer up ({reason}){said}.")
        if reason == "PUP_LIMITED_DISABLED":
            raise UpstreamCredentials(f"{self._name} has limited or disabled our account.")
        self.is_finished = True
        known = FINISHED.get(reason, "content_filter")
        if known == "stop" and self._calls:
            known = "tool_calls"
        events.append(Finish(known, self._index, reason))


def _is_image(part: JSON) -> bool:
    """Of the answer; those of its thoughts are sketches, which Google neither counts nor bills."""
    return bool(part["inlineData"]["mimeType"].startswith("image/")) and not part.get("thought")


def read_usage(raw: JSON) -> Usage:
    thoughts = _count(raw.get("thoughtsTokenCount"))
    out = raw.get("candidatesTokenCount")
    if out is None:
        out = raw.get("responseTokenCount")
    return Usage(
        _count(raw.get("promptTokenCount")) + _count(raw.get("toolUsePromptTokenCount")),
        _count(out) + thoughts,
        _count(raw.get("cachedContentTokenCount")),
        thoughts,
        audio_prompt_tokens=_of("AUDIO", raw.get("promptTokensDetails")),
        audio_completion_tokens=_of("AUDIO", raw.get("candidatesTokensDetails")),
        image_prompt_tokens=_of("IMAGE", raw.get("promptTokensDetails")),
        image_completion_tokens=_of("IMAGE", raw.get("candidatesTokensDetails")),
    )


class CountReader:
    """Reads :countTokens."""

    __slots__ = ("_name", "is_complete", "is_done")

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - never streamed
        raise UpstreamInvalid(f"{self._name} streamed a count.")

    def answer(self, body: bytes) -> Counted:
        try:
            decoded = _decode(body)
            tokens = decoded["totalTokens"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, *_SHAPES) as exc:
            raise UpstreamInvalid(f"{self._name} sent no count of tokens.") from exc
        if tokens.__class__ is not int or not 0 <= tokens <= _MOST_TOKENS:
            raise UpstreamInvalid(f"{self._name} sent no count of tokens.")
        self.is_complete = True
        return Counted(tokens)


def _count(given: Any) -> int:
    """Zero where there is none; protobuf leaves zeros out and writes large numbers as text."""
    if given is None:
        return 0
    number = int(given) if given.__class__ is str and len(given) <= 16 else given
    if number.__class__ is not int or not 0 <= number <= _MOST_TOKENS:
        raise ValueError("no count of tokens")
    return number


def _of(modality: str, details: Any) -> int:
    if not details:
        return 0
    return sum(_count(one.get("tokenCount")) for one in details if one.get("modality") == modality)


def _text(value: Any) -> str:
    return value if value.__class__ is str else ""


def _required(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError("no text")
    return value


def _signature(value: Any) -> str:
    return _required(value)


def _characters(said: bytes, offset: Any) -> int:
    if offset.__class__ is not int:
        raise TypeError("no offset")
    return len(said[: max(0, offset)].decode("utf-8", "ignore"))


def _source(chunk: JSON) -> tuple[str, str]:
    found = chunk.get("web") or chunk.get("retrievedContext") or chunk.get("maps") or {}
    return _text(found.get("uri")), _text(found.get("title"))


def _logprobs(result: JSON) -> JSON:
    """Google's two lists, chosen and top, as OpenAI's one."""
    chosen = result.get("chosenCandidates") or []
    tops = result.get("topCandidates") or []
    content = []
    for position, one in enumerate(chosen):
        top = tops[position].get("candidates") or [] if position < len(tops) else []
        content.append({**_token(one), "top_logprobs": [_token(other) for other in top]})
    return {"content": content, "refusal": None}


def _token(one: JSON) -> JSON:
    token = _text(one.get("token"))
    return {"token": token, "logprob": one.get("logProbability", 0.0), "bytes": list(token.encode())}
