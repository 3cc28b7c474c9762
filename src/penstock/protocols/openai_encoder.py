"""What the answers of chat and text completions share: one state machine, two ways out.

streamed   stream()* then stream_end() or stream_error(); nothing after either
whole      fold()* then answer(); the same deltas, put together

choice     new -> open at its first delta -> finished at its finish_reason; later deltas of it are dropped
envelope   id, created and model are the same in every chunk, whatever the upstream changes in between;
           the model is the public name the client asked for
usage      held back until the end: `usage: null` in each chunk and one last chunk with `choices: []` for a
           client that asked (stream_options.include_usage), nothing for any other. That chunk says what the
           call costs, too: `penstock: {cost_usd}`
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from penstock.protocols import openai_errors
from penstock.types.call import Call
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import Answer, Chunk, Delta, Events
from penstock.types.money import PER_USD
from penstock.types.requests import ChatRequest, CompletionRequest
from penstock.types.usage import Usage
from penstock.types.wire import SSE

JSON = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_PLAIN_COUNTS = 3  # of usage: prompt_tokens, completion_tokens, total_tokens
_DONE = b"data: [DONE]\n\n"
_ENVELOPE = frozenset({"id", "object", "created", "model", "choices", "usage"})


class ChoiceState:
    """One choice of one answer. Subclasses add what their deltas carry."""

    __slots__ = ("extra", "finish_reason", "index", "is_open", "logprobs")

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_open = False
        self.finish_reason: str | None = None
        # what follows is only filled by fold()
        self.logprobs: JSON | None = None
        self.extra: JSON = {}


class OpenAIEncoder(SSE):
    chunk_object: ClassVar[str]
    answer_object: ClassVar[str]
    id_prefix: ClassVar[str]

    # How each begins; here and not in __init__, because most answers change few of them.
    _is_ended = False
    _raw_usage: JSON | None = None
    _usage: Usage | None = None
    _whole: JSON | None = None
    _chunks = 0

    def __init__(self, request: ChatRequest | CompletionRequest, call: Call) -> None:
        self._request = request
        self._call = call
        self._include_usage = request.include_usage
        self._model = call.model or request.model
        self._same: JSON = {}
        self._states: dict[int, Any] = {}
        self._tail: JSON = {}  # the upstream's chunk without choices; fold: unknown fields of the envelope

    # -- what a subclass says

    def _normalise(self, choice: JSON) -> bool:
        """Makes a streamed choice legal, in place; false when nothing of it may leave."""
        raise NotImplementedError

    def _fold_choice(self, choice: JSON) -> None:
        """Adds a legal streamed choice to its state."""
        raise NotImplementedError

    def _folded(self, state: Any) -> JSON:
        """The whole choice of a state."""
        raise NotImplementedError

    def _complete(self, choice: JSON) -> None:
        """Makes a choice of a whole answer legal, in place."""
        raise NotImplementedError

    def _translated(self, events: Events) -> Chunk:
        """Typed events as a chunk of this dialect."""
        raise InternalError(f"{type(events).__name__} is no part of a stream")

    # -- streamed

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        out = b""
        for delta in deltas:
            body = self._legal(delta)
            if body is not None:
                out += b"data: %b\n\n" % _encode(body)
        return out

    def stream_end(self) -> bytes:
        """Raises InternalError when a choice is still open: the pipeline must have raised UpstreamCut."""
        unfinished = [index for index, state in self._states.items() if state.finish_reason is None]
        if self._is_ended or unfinished or not self._states:
            raise InternalError("a stream was ended twice, or before its choices were finished")
        self._is_ended = True
        if not self._include_usage:
            return _DONE
        body = {**self._tail, **self._same, "choices": [], "usage": self._final_usage()}
        if (cost := self._call.cost) is not None:
            body["penstock"] = {"cost_usd": cost.total / PER_USD}
        return b"data: " + _encode(body) + b"\n\n" + _DONE

    def stream_error(self, error: PenstockError) -> bytes:
        if self._is_ended:
            raise InternalError("a stream was ended twice")
        self._is_ended = True
        return openai_errors.error_event(error, self._call.usage)

    def _legal(self, delta: Delta) -> JSON | None:
        """One chunk as the client may see it, usage taken out; None when nothing of it may leave."""
        if self._is_ended:
            raise InternalError("a delta came after the end of the stream")
        if delta.__class__ is not Chunk:
            delta = self._as_chunk(delta)
        body = delta.body
        if delta.usage is not None:
            self._usage = delta.usage
        if "usage" in body:
            raw = body.pop("usage")
            if raw:
                self._raw_usage = raw
        normalise = self._normalise
        is_legal = True
        choices = body["choices"]
        for choice in choices:
            if not normalise(choice):
                is_legal = False
        if not is_legal:
            choices = body["choices"] = [
                choice for choice in choices if "delta" in choice or "text" in choice
            ]
        if not choices:
            self._tail = body
            return None
        self._chunks += 1
        body.update(self._same or self._name(body))
        return body

    def _as_chunk(self, delta: Delta) -> Chunk:
        if isinstance(delta, Events):
            return self._translated(delta)
        raise InternalError(f"{type(delta).__name__} is no part of a stream")

    # -- whole

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if isinstance(delta, Answer):
                self._whole = delta.body
                self._usage = delta.usage or self._usage
                continue
            body = self._legal(delta)
            if body is None:
                self._tail = {k: v for k, v in self._tail.items() if k not in _ENVELOPE}
                continue
            for choice in body["choices"]:
                self._fold_choice(choice)
            if len(body) > 5:  # more than id, object, created, model, choices
                self._tail.update((k, v) for k, v in body.items() if k not in _ENVELOPE)

    def answer(self) -> bytes:
        if self._whole is not None:
            body = self._whole
            raw = body.get("usage")
            self._raw_usage = raw if raw.__class__ is dict else None
            for position, choice in enumerate(_choices(body)):
                if choice.get("index").__class__ is not int:
                    choice["index"] = position
                self._complete(choice)
            body.update(self._name(body))
        else:
            states = [self._states[index] for index in sorted(self._states)]
            if not states or any(state.finish_reason is None for state in states):
                raise UpstreamInvalid("The upstream's answer has a choice that was never finished.")
            body = {**self._same, **self._tail, "choices": [self._folded(state) for state in states]}
        body["object"] = self.answer_object
        if self._usage is not None or self._raw_usage is not None or self._whole is None:
            body["usage"] = self._final_usage()
        else:
            body.pop("usage", None)
        return _encode(body)

    # -- both

    def _name(self, body: JSON) -> JSON:
        """What is the same in every chunk; id and time are the upstream's, where it gave any."""
        upstream_id = body.get("id")
        created: Any = body.get("created")
        is_named = upstream_id.__class__ is str and upstream_id
        is_dated = created.__class__ is int and 0 < created < 2**53
        self._same = {
            "id": upstream_id if is_named else self.id_prefix + self._call.id.removeprefix("req_"),
            "object": self.chunk_object,
            "created": created if is_dated else self._call.created,
            "model": self._model,
        }
        if self._include_usage:
            self._same["usage"] = None
        return self._same

    def _final_usage(self) -> JSON:
        usage = self._usage or self._call.usage
        raw = self._raw_usage or {}
        if usage is None:
            prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
            usage = Usage(
                prompt if isinstance(prompt, int) else 0,
                completion if isinstance(completion, int) else self._chunks,
                is_estimated=True,
            )
        body = {
            **raw,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
        if len(raw) > _PLAIN_COUNTS:
            for key in ("prompt_tokens_details", "completion_tokens_details"):
                if key in body and not isinstance(body[key], dict):
                    del body[key]
        read, written, heard = usage.cached_tokens, usage.cache_write_tokens, usage.audio_prompt_tokens
        if (read or written or heard) and "prompt_tokens_details" not in body:
            counts = {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": heard}
            body["prompt_tokens_details"] = {name: count for name, count in counts.items() if count}
        thought, spoken = usage.reasoning_tokens, usage.audio_completion_tokens
        if (thought or spoken) and "completion_tokens_details" not in body:
            counts = {"reasoning_tokens": thought, "audio_tokens": spoken}
            body["completion_tokens_details"] = {name: count for name, count in counts.items() if count}
        return body


def _choices(body: JSON) -> list[JSON]:
    choices: Any = body.get("choices")
    if choices.__class__ is not list or {choice.__class__ for choice in choices} != {dict}:
        raise UpstreamInvalid("The upstream's answer has no choices.")
    return choices


def merge_logprobs(into: JSON | None, new: JSON) -> JSON:
    """Lists of both are concatenated key by key; a null never hides a list."""
    if into is None:
        return {key: list(value) if isinstance(value, list) else value for key, value in new.items()}
    for key, value in new.items():
        if isinstance(value, list) and isinstance(into.get(key), list):
            into[key].extend(value)
        elif value is not None:
            into[key] = value
    return into


def merge_unknown(into: JSON, new: JSON, known: frozenset[str]) -> None:
    """Fields this release does not know: texts and lists grow, anything else is replaced by the latest."""
    for key, value in new.items():
        if key in known or value is None:
            continue
        old = into.get(key)
        if (isinstance(old, str) and isinstance(value, str)) or (
            isinstance(old, list) and isinstance(value, list)
        ):
            into[key] = old + value  # type: ignore[operator]  # both are text, or both are lists
        else:
            into[key] = value
