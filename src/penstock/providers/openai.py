"""The OpenAI dialect, outbound: OpenAI, the vendors that copy it (profiles.py), our own engines' servers.

    operation    path               notes
    chat         /chat/completions  a stream always asks for usage; the inbound side withholds it
    completion   /completions
    embedding    /embeddings        asks for base64 (4 bytes a number instead of about 20); reads both forms
    rerank       /rerank            Jina's shape, as vLLM, Infinity and llama.cpp serve it; reads TEI's, too

Every body is written anew from the checked request; the client's key is never part of one.

A stream is complete once [DONE] was seen, or once every expected choice has its finish_reason (several
servers end there). [DONE] before that is an error: a finish is never made up.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.providers.openai_errors import error_in_answer, map_error
from penstock.types.deployment import Deployment, Outgoing, Quirks, Reader
from penstock.types.errors import (
    PenstockError,
    UnsupportedParameter,
    UpstreamError,
    UpstreamInvalid,
)
from penstock.types.events import Answer, Chunk, Delta, Ranked, Ranking, Vectors
from penstock.types.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Operation,
    Request,
    RerankRequest,
)
from penstock.types.usage import Usage

JSON = dict[str, Any]

OPERATIONS: frozenset[Operation] = frozenset({"chat", "completion", "embedding", "rerank"})

# What vendors say where OpenAI says something else. None: the answer is broken, not finished.
FINISH_REASONS: dict[str, str | None] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "function_call",
    "eos": "stop",  # Together, TGI
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "repetition": "stop",  # vLLM's repetition detection
    "max_tokens": "length",
    "model_length": "length",  # Mistral: the context is full
    "tool_use": "tool_calls",
    "sensitive": "content_filter",  # Zhipu
    "recitation": "content_filter",
    "safety": "content_filter",
    "abort": None,  # vLLM, SGLang: the engine gave the request up
    "error": None,  # OpenRouter, vLLM
    "network_error": None,  # Zhipu
    "insufficient_system_resource": None,  # DeepSeek
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class OpenAICodec:
    """`name` is what error messages call the upstream."""

    operations = OPERATIONS

    def __init__(self, quirks: Quirks | None = None, *, name: str = "The upstream") -> None:
        self.quirks = quirks or Quirks()
        self.name = name

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        if self.quirks.adapt is not None:
            request = self.quirks.adapt(request, deployment)
        match request:
            case ChatRequest():
                return self._completion("/chat/completions", request, deployment)
            case CompletionRequest():
                return self._completion("/completions", request, deployment)
            case EmbeddingRequest():
                return Outgoing("/embeddings", self._finish(_embedding_body(request, deployment.model)))
            case RerankRequest():
                return Outgoing("/rerank", self._finish(_rerank_body(request, deployment.model)))

    def _completion(
        self, path: str, request: ChatRequest | CompletionRequest, deployment: Deployment
    ) -> Outgoing:
        body = {**request.body, "model": deployment.model}
        is_stream = request.stream or self.quirks.always_stream
        options = body.pop("stream_options", None)
        body.pop("stream", None)
        if is_stream:
            body["stream"] = True
            body["stream_options"] = {**(options or {}), "include_usage": True}
        if isinstance(request, ChatRequest):
            self._adapt_chat(body)
        return Outgoing(path, self._finish(body), is_stream=is_stream)

    def _adapt_chat(self, body: JSON) -> None:
        for old, new in self.quirks.rename_chat:
            if old in body:
                value = body.pop(old)
                body.setdefault(new, value)
        unwanted = self.quirks.drop_message
        if unwanted:
            body["messages"] = [
                {key: value for key, value in message.items() if key not in unwanted}
                for message in body["messages"]
            ]

    def _finish(self, body: JSON) -> bytes:
        for key in self.quirks.drop:
            body.pop(key, None)
        return _encode(body)

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        match request:
            case EmbeddingRequest():
                return EmbeddingReader(request, self.name)
            case RerankRequest():
                return RerankReader(request, self.name)
            case _:
                return CompletionReader(request, self.name, recount=self.quirks.recount_completion)

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def _embedding_body(request: EmbeddingRequest, model: str) -> JSON:
    body: JSON = {**request.extra, "model": model, "input": request.inputs, "encoding_format": "base64"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    if request.truncate:
        body["truncate"] = True
    if not request.normalize:
        body["normalize"] = False
    return body


def _rerank_body(request: RerankRequest, model: str) -> JSON:
    body: JSON = {
        **request.extra,
        "model": model,
        "query": request.query,
        "documents": request.documents,
        "return_documents": False,
    }
    if request.top_n is not None:
        body["top_n"] = min(request.top_n, len(request.documents))
    if request.raw_scores:
        body["raw_scores"] = True
    if not request.truncate:
        body["truncate"] = False
    return body


class CompletionReader:
    """Reads one chat or text completion, streamed or whole."""

    __slots__ = (
        "_content_chunks",
        "_expected",
        "_finished",
        "_is_text",
        "_name",
        "_offsets",
        "_per_choice",
        "_recount",
        "_request",
        "_seen",
        "_usage",
        "is_complete",
    )

    def __init__(self, request: ChatRequest | CompletionRequest, name: str, *, recount: bool) -> None:
        self.is_complete = False
        self._request = request
        self._name = name
        self._is_text = isinstance(request, CompletionRequest)
        self._expected = _expected_choices(request)
        self._recount = recount and self._expected > 1
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._content_chunks = 0
        self._per_choice: list[Usage] = []  # where an engine reports them choice by choice
        self._usage: Usage | None = None
        self._offsets: dict[int, int] = {}  # text offset per choice, for legacy logprobs

    def event(self, data: bytes) -> Chunk | None:
        try:
            body = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            if data[:6] == b"[DONE]":
                return self._done()
            raise UpstreamInvalid(f"{self._name} sent an event that is not JSON.") from exc
        try:
            return self._chunk(body)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an event of an unknown shape.") from exc

    def _chunk(self, body: JSON) -> Chunk | None:
        choices = body.get("choices")
        if not choices:
            return self._without_choices(body)
        if body.get("error"):  # OpenRouter sends it beside a choice that ends with "error"
            raise error_in_answer(self._name, body["error"])
        has_content = False
        for choice in choices:
            index = choice.get("index", 0)
            if index not in self._seen:
                self._seen.add(self._checked_index(index))
            if self._is_text:
                has_content = bool(_text(choice, "text")) or has_content
                if choice.get("logprobs"):
                    self._legacy_logprobs(choice, index)
            elif delta := choice.get("delta"):
                content = delta.get("content")
                if content.__class__ is str and len(delta) == 1:
                    has_content = content != "" or has_content
                else:
                    has_content = _read_message(delta) or has_content
            if choice.get("finish_reason"):
                self._finish(choice, index)
        if has_content:
            self._content_chunks += 1
        usage = self._read_usage(body) if body.get("usage") else None
        return Chunk(body, usage, has_content)

    def _without_choices(self, body: JSON) -> Chunk | None:
        error = body.get("error") or (body if body.get("object") == "error" else None)
        if error:
            raise error_in_answer(self._name, error)
        body["choices"] = []
        return Chunk(body, self._read_usage(body)) if body.get("usage") else None

    def _checked_index(self, index: Any) -> int:
        if not isinstance(index, int) or index < 0:
            raise UpstreamInvalid(f"{self._name} sent a choice whose index is {index!r}.")
        return index

    def _finish(self, choice: JSON, index: int) -> None:
        reason = choice["finish_reason"]
        known = FINISH_REASONS.get(reason, "stop")
        if known is None:
            raise UpstreamError(f"{self._name} gave the answer up (finish_reason {reason!r}).")
        choice["finish_reason"] = known
        if known != reason:
            choice.setdefault("native_finish_reason", reason)
        self._finished.add(index)
        if len(self._finished) >= self._expected:
            self.is_complete = True

    def _done(self) -> Chunk | None:
        if not self._finished or self._finished != self._seen:
            raise UpstreamInvalid(f"{self._name} ended its answer without a finish_reason.")
        self.is_complete = True
        if self._usage is not None:
            return None
        usage = self._estimate()
        return Chunk({"choices": [], "usage": usage_body(usage)}, usage)

    def _estimate(self) -> Usage:
        """Nothing better is known: a content chunk is a token or more, a token about four bytes."""
        return Usage(estimated_prompt_tokens(self._request), self._content_chunks, is_estimated=True)

    def _read_usage(self, body: JSON) -> Usage:
        usage = read_usage(body["usage"])
        if self._recount:
            usage = self._recounted(usage)
            body["usage"] = {**body["usage"], **usage_body(usage)}
        self._usage = usage
        return usage

    def _recounted(self, usage: Usage) -> Usage:
        """Usage that speaks of one choice: llama.cpp sends one per choice, each with its prompt.

        Until all have come the number is a floor; an engine that sends only one is counted by its chunks.
        """
        self._per_choice.append(usage)
        completion = sum(one.completion_tokens for one in self._per_choice)
        if len(self._per_choice) < self._expected:
            completion = max(completion, self._content_chunks)
        prompts = self._expected // self._request.n
        return Usage(
            sum(one.prompt_tokens for one in self._per_choice) * prompts // len(self._per_choice),
            completion,
            max(one.cached_tokens for one in self._per_choice),
            sum(one.reasoning_tokens for one in self._per_choice),
            is_estimated=len(self._per_choice) < self._expected,
        )

    def _legacy_logprobs(self, choice: JSON, index: int) -> None:
        """llama.cpp gives chat's logprobs on text completions: rewritten into the lists OpenAI promises."""
        content = choice["logprobs"].get("content")
        if content is None:
            return
        offset = self._offsets.get(index, 0)
        offsets = []
        for token in content:
            offsets.append(offset)
            offset += len(token["token"])
        self._offsets[index] = offset
        choice["logprobs"] = {
            "tokens": [token["token"] for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": [
                {top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()} for token in content
            ],
            "text_offset": offsets,
        }

    def answer(self, body: bytes) -> Answer:
        decoded = decode_object(body, self._name)
        error = decoded.get("error") or (decoded if decoded.get("object") == "error" else None)
        if error:
            raise error_in_answer(self._name, error)
        choices = decoded.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UpstreamInvalid(f"{self._name} sent an answer without choices.")
        try:
            for position, choice in enumerate(choices):
                if choice.get("finish_reason"):
                    self._finish(choice, choice.get("index", position))
                if not self._is_text:
                    _read_message(_object(choice.get("message")))
                elif choice.get("logprobs"):
                    self._legacy_logprobs(choice, position)
            raw = decoded.get("usage")
            if raw:
                usage = read_usage(raw)
                if self._recount:
                    usage = msgspec.structs.replace(
                        usage, completion_tokens=usage.completion_tokens * len(choices), is_estimated=True
                    )
            else:
                usage = Usage(estimated_prompt_tokens(self._request), len(body) // 4, is_estimated=True)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        self.is_complete = True
        return Answer(decoded, usage)


class EmbeddingReader:
    __slots__ = ("_name", "_request", "is_complete")

    def __init__(self, request: EmbeddingRequest, name: str) -> None:
        self.is_complete = False
        self._request = request
        self._name = name

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - embeddings are never streamed
        raise UpstreamInvalid(f"{self._name} streamed an embedding.")

    def answer(self, body: bytes) -> Vectors:
        decoded = decode_object(body, self._name)
        wanted = len(self._request.inputs)
        try:
            rows = decoded["data"]
            by_index = {row.get("index", position): row["embedding"] for position, row in enumerate(rows)}
            vectors = [_vector(by_index[index]) for index in range(wanted)]
        except (AttributeError, TypeError, KeyError, binascii.Error) as exc:
            if decoded.get("error"):
                raise error_in_answer(self._name, decoded["error"]) from exc
            raise UpstreamInvalid(f"{self._name} sent no embedding for some of the inputs.") from exc
        if len(rows) != wanted:
            raise UpstreamInvalid(f"{self._name} sent {len(rows)} embeddings for {wanted} inputs.")
        self._check_dimensions(vectors)
        self.is_complete = True
        raw = decoded.get("usage")
        return Vectors(vectors, read_usage(raw) if isinstance(raw, dict) else None)

    def _check_dimensions(self, vectors: list[bytes | list[float]]) -> None:
        sizes = {len(v) // 4 if isinstance(v, bytes) else len(v) for v in vectors}
        if len(sizes) != 1 or 0 in sizes:
            raise UpstreamInvalid(f"{self._name} sent embeddings of different or no length.")
        asked = self._request.dimensions
        if asked is not None and sizes != {asked}:
            raise UnsupportedParameter(
                f"`dimensions`: this model gives {sizes.pop()} dimensions and cannot give {asked}.",
                param="dimensions",
            )


def _vector(given: Any) -> bytes | list[float]:
    if isinstance(given, str):
        packed = base64.b64decode(given, validate=True)
        if len(packed) % 4:
            raise TypeError("not float32")
        return packed
    if not isinstance(given, list) or not all(isinstance(number, int | float) for number in given):
        raise TypeError("not a list of numbers")
    return given


class RerankReader:
    __slots__ = ("_name", "_request", "is_complete")

    def __init__(self, request: RerankRequest, name: str) -> None:
        self.is_complete = False
        self._request = request
        self._name = name

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - scores are never streamed
        raise UpstreamInvalid(f"{self._name} streamed a ranking.")

    def answer(self, body: bytes) -> Ranking:
        try:
            decoded = _decode(body)
            rows = decoded if isinstance(decoded, list) else decoded["results"]
            results = [Ranked(row["index"], float(_score(row))) for row in rows]
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            AttributeError,
            TypeError,
            KeyError,
            ValueError,
        ) as exc:
            raise UpstreamInvalid(f"{self._name} sent no ranking.") from exc
        wanted = len(self._request.documents)
        top_n = min(self._request.top_n or wanted, wanted)
        indexes = {result.index for result in results}
        if len(indexes) != len(results) or not indexes <= set(range(wanted)) or len(results) < top_n:
            raise UpstreamInvalid(f"{self._name} ranked other documents than it was given.")
        results.sort(key=lambda result: (-result.score, result.index))
        self.is_complete = True
        return Ranking(results[:top_n], _rerank_usage(decoded))


def _score(row: JSON) -> Any:
    return row["relevance_score"] if "relevance_score" in row else row["score"]


def _rerank_usage(decoded: Any) -> Usage | None:
    if not isinstance(decoded, dict):
        return None
    usage = decoded.get("usage")
    if isinstance(usage, dict):
        tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
        return Usage(_count(tokens))
    meta = decoded.get("meta")
    tokens = meta.get("tokens") if isinstance(meta, dict) else None
    return Usage(_count(tokens.get("input_tokens"))) if isinstance(tokens, dict) else None


def decode_object(body: bytes, name: str) -> JSON:
    try:
        decoded = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UpstreamInvalid(f"{name} sent an answer that is not JSON.") from exc
    if not isinstance(decoded, dict):
        raise UpstreamInvalid(f"{name} sent an answer that is not a JSON object.")
    return decoded


def read_usage(raw: JSON) -> Usage:
    """OpenAI's usage, or a vendor's variation of it (DeepSeek counts cache hits beside it)."""
    details = raw.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else raw.get("prompt_cache_hit_tokens")
    out = raw.get("completion_tokens_details")
    reasoning = out.get("reasoning_tokens") if isinstance(out, dict) else None
    return Usage(
        _count(raw.get("prompt_tokens")),
        _count(raw.get("completion_tokens")),
        _count(cached),
        _count(reasoning),
    )


def usage_body(usage: Usage) -> JSON:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _count(value: Any) -> int:
    return max(0, int(value)) if isinstance(value, int | float) else 0


def _read_message(message: JSON) -> bool:
    """Checks the parts of a delta or message that the inbound side builds on; whether there is any content.

    Raises TypeError for what is not OpenAI's shape.
    """
    if isinstance(message.get("content"), list):
        _flatten(message)
    has_content = [
        bool(_text(message, key)) for key in ("content", "reasoning_content", "reasoning", "refusal")
    ]
    calls = message.get("tool_calls")
    if calls:
        for call in calls:
            _check_call(call)
    function_call = message.get("function_call")
    if function_call is not None:
        _text(_object(function_call), "name")
    return any(has_content) or bool(calls) or bool(function_call) or bool(message.get("audio"))


def _flatten(message: JSON) -> None:
    """Content in parts, as Mistral's reasoning models send it: text and thinking apart."""
    text: list[str] = []
    thinking: list[str] = []
    for part in message["content"]:
        if part["type"] == "thinking":
            inner = part["thinking"]
            thinking.extend([inner] if isinstance(inner, str) else [one["text"] for one in inner])
        elif part["type"] == "text":
            text.append(part["text"])
    message["content"] = "".join(text)
    if thinking:
        message["reasoning_content"] = "".join(thinking)


def _check_call(call: Any) -> None:
    _text(_object(call), "id")
    if not isinstance(call.get("index"), int | None):
        raise TypeError("an index that is no number")
    for kind in ("function", "custom"):
        if call.get(kind) is not None:
            _text(_object(call[kind]), "name")


def _object(value: Any) -> JSON:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _text(fields: JSON, key: str) -> str | None:
    value = fields.get(key)
    if value is not None and value.__class__ is not str:
        raise TypeError(f"{key} is no text")
    return value


def _expected_choices(request: ChatRequest | CompletionRequest) -> int:
    if isinstance(request, ChatRequest):
        return request.n
    prompt = request.body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return request.n * prompts


BYTES_PER_TOKEN = 4


def estimated_prompt_tokens(request: ChatRequest | CompletionRequest) -> int:
    source = request.body.get("messages") or request.body.get("prompt") or ""
    return max(1, len(_encode(source)) // BYTES_PER_TOKEN)
