"""Reads chat and text completions in OpenAI's dialect, streamed or whole.

A stream is complete once [DONE] was seen, or once every expected choice, and every other that began, has its
finish_reason (several servers end there). [DONE] before that is an error: a finish is never made up.
"""

from typing import Any

import msgspec

from penstock.providers.openai_errors import error_in_answer
from penstock.providers.openai_usage import JSON, decode_object, read_usage, usage_body
from penstock.types.errors import UpstreamError, UpstreamInvalid
from penstock.types.events import Answer, Chunk
from penstock.types.requests import ChatRequest, CompletionRequest
from penstock.types.usage import Usage

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

_LAST_INDEX = 2**31 - 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class CompletionReader:
    """Reads one chat or text completion, streamed or whole."""

    __slots__ = (
        "_content_chunks",
        "_expected",
        "_finished",
        "_images",
        "_is_text",
        "_name",
        "_offsets",
        "_per_choice",
        "_recount",
        "_request",
        "_seen",
        "_usage",
        "is_complete",
        "is_done",
    )

    def __init__(self, request: ChatRequest | CompletionRequest, name: str, *, recount: bool) -> None:
        self.is_complete = False
        self.is_done = False
        self._request = request
        self._name = name
        self._is_text = isinstance(request, CompletionRequest)
        self._expected = expected_choices(request)
        self._recount = recount and self._expected > 1
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._content_chunks = 0
        self._images = 0
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
            if index.__class__ is not int or index not in self._seen:
                self._seen.add(self._checked_index(index))
                self.is_complete = False
            if choice.get("logprobs") is not None:
                self._logprobs(choice, index)
            if self._is_text:
                has_content = bool(_text(choice, "text")) or has_content
            elif delta := choice.get("delta"):
                content = delta.get("content")
                if content.__class__ is str and len(delta) == 1:
                    has_content = content != "" or has_content
                else:
                    has_content = _read_message(delta) or has_content
                    if "images" in delta:
                        self._images += len(delta["images"] or ())
            elif delta is not None and delta.__class__ is not dict:
                raise TypeError("a delta that is no object")
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
        if index.__class__ is not int or not 0 <= index <= _LAST_INDEX:
            raise UpstreamInvalid(f"{self._name} sent a choice whose index is no small number.")
        return index

    def _finish(self, choice: JSON, index: int) -> None:
        self._known_reason(choice)
        self._finished.add(index)
        if len(self._finished) >= self._expected and self._finished == self._seen:
            self.is_complete = True

    def _known_reason(self, choice: JSON) -> None:
        """Makes it one of OpenAI's. Raises UpstreamError where it says that the answer is no answer."""
        reason = choice["finish_reason"]
        known = FINISH_REASONS.get(reason, "stop")
        if known is None:
            raise UpstreamError(f"{self._name} gave the answer up (finish_reason {reason!r}).")
        if known != reason:
            choice["finish_reason"] = known
            choice.setdefault("native_finish_reason", reason)

    def _done(self) -> Chunk | None:
        if not self._finished or self._finished != self._seen:
            raise UpstreamInvalid(f"{self._name} ended its answer without a finish_reason.")
        self.is_complete = self.is_done = True
        if self._usage is not None:
            return None
        usage = self.estimate()
        return Chunk({"choices": [], "usage": usage_body(usage)}, usage)

    def estimate(self) -> Usage:
        """Nothing better is known: a content chunk is a token or more, a token about four bytes."""
        prompt = estimated_prompt_tokens(self._request)
        return Usage(prompt, self._content_chunks, is_estimated=True, images=self._images)

    def _read_usage(self, body: JSON) -> Usage:
        usage = read_usage(body["usage"])
        if self._recount:
            usage = self._recounted(usage)
            body["usage"] = {**body["usage"], **usage_body(usage)}
        if self._images:
            usage = msgspec.structs.replace(usage, images=self._images)
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

    def _logprobs(self, choice: JSON, index: int) -> None:
        logprobs = _object(choice["logprobs"])
        for key in ("content", "refusal"):
            if not isinstance(logprobs.get(key), list | None):
                raise TypeError("logprobs that are no list")
        if self._is_text:
            self._legacy_logprobs(choice, index)

    def _legacy_logprobs(self, choice: JSON, index: int) -> None:
        """llama.cpp gives chat's logprobs on text completions: rewritten into the lists OpenAI promises."""
        content = choice["logprobs"].get("content")
        if content is None:
            return
        offset = self._offsets.get(index, 0)
        offsets = []
        for token in content:
            offsets.append(offset)
            offset += len(_token(token))
        self._offsets[index] = offset
        choice["logprobs"] = {
            "tokens": [token["token"] for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": [
                {_token(top): top["logprob"] for top in token.get("top_logprobs") or ()} for token in content
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
                index = choice.get("index", position)
                if index.__class__ is not int or not 0 <= index <= _LAST_INDEX:
                    self._checked_index(index)
                if choice.get("finish_reason"):
                    self._known_reason(choice)
                if choice.get("logprobs") is not None:
                    self._logprobs(choice, index)
                if not self._is_text:
                    message = choice.get("message")
                    _read_message(message)
                    if "images" in message:
                        self._images += len(message["images"] or ())
            raw = decoded.get("usage")
            if raw:
                usage = read_usage(raw)
                if self._recount:
                    usage = msgspec.structs.replace(
                        usage, completion_tokens=usage.completion_tokens * len(choices), is_estimated=True
                    )
            else:
                usage = Usage(
                    estimated_prompt_tokens(self._request), _estimated_tokens(choices), is_estimated=True
                )
            if self._images:
                usage = msgspec.structs.replace(usage, images=self._images)
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            raise UpstreamInvalid(f"{self._name} sent an answer of an unknown shape.") from exc
        self.is_complete = True
        return Answer(decoded, usage)


_PLAIN = frozenset({"role", "content", "refusal"})


def _read_message(message: JSON) -> bool:
    """Checks the parts of a delta or message that the inbound side builds on; whether there is any content.

    Raises TypeError for what is not OpenAI's shape.
    """
    content = message.get("content")
    if content.__class__ is str and message.keys() <= _PLAIN and message.get("refusal") is None:
        return content != ""  # what nearly every message is
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
    has_media = bool(message.get("audio") or message.get("images"))
    return any(has_content) or bool(calls) or bool(function_call) or has_media


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


def _token(entry: JSON) -> str:
    token = entry["token"]
    if token.__class__ is not str:
        raise TypeError("a token that is no text")
    return token


def _object(value: Any) -> JSON:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _text(fields: JSON, key: str) -> str | None:
    value = fields.get(key)
    if value is not None and value.__class__ is not str:
        raise TypeError(f"{key} is no text")
    return value


def expected_choices(request: ChatRequest | CompletionRequest) -> int:
    if isinstance(request, ChatRequest):
        return request.n
    prompt = request.body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    return request.n * prompts


BYTES_PER_TOKEN = 4


def _estimated_tokens(choices: list[JSON]) -> int:
    """Of what was generated, by its text: the JSON around it was not."""
    texts: list[str | None] = []
    for choice in choices:
        message = choice.get("message") or choice
        texts += [message.get("content"), message.get("refusal"), choice.get("text")]
        texts.append(message.get("reasoning_content") or message.get("reasoning"))
        calls = [message.get("function_call")]
        for call in message.get("tool_calls") or ():
            calls += [call.get("function"), call.get("custom")]
        for called in calls:
            if called:
                texts += [called.get("name"), called.get("arguments"), called.get("input")]
    length = sum(len(text.encode()) for text in texts if isinstance(text, str))
    return -(-length // BYTES_PER_TOKEN)


def estimated_prompt_tokens(request: ChatRequest | CompletionRequest) -> int:
    """By the bytes of what it says; media that it carries are not text, and count nothing."""
    source = request.body.get("messages") or request.body.get("prompt") or request.body
    return max(1, (len(_encode(source)) - media_bytes(source)) // BYTES_PER_TOKEN)


_LEAST_MEDIA_BYTES = 512


def media_bytes(value: Any) -> int:
    """Of texts that are base64: a URL with the data in it, or one long word."""
    if value.__class__ is dict:
        return sum(map(media_bytes, value.values()))
    if value.__class__ is list:
        return sum(map(media_bytes, value))
    if value.__class__ is not str or len(value) < _LEAST_MEDIA_BYTES:
        return 0
    is_media = value.startswith("data:") or (value.isascii() and " " not in value and "\n" not in value)
    return len(value) if is_media else 0
