"""What an attempt consumed whose upstream did not count it, or not all: it was cut off, or says no usage.

the upstream has said                          taken
---------------------------------------------  --------------------------------------------------------------
its usage, and that is no less                 that
nothing, or only the prompt's                  an estimate of what it brought, marked `is_estimated`

OpenAI's readers count the events with content anyhow, and most engines send a token in each. Of the other
dialects the text is counted as it comes, in bytes: Anthropic and Gemini send many tokens at once.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import msgspec

from penstock.gateway.pace import Parse, Splitter
from penstock.providers.openai_completions import BYTES_PER_TOKEN, estimated_prompt_tokens
from penstock.types.deployment import Reader
from penstock.types.errors import PenstockError
from penstock.types.events import Answer, Chunk, Delta, Events, Reasoning, RefusalText, Text, ToolDelta
from penstock.types.requests import ChatRequest, CompletionRequest, Request
from penstock.types.usage import Usage

JSON = dict[str, Any]


class Counting(Protocol):
    """A reader that knows how much it has read."""

    def estimate(self) -> Usage: ...


class Volume:
    """How much text has come. `events` takes the place of the function that reads them."""

    __slots__ = ("_dialect", "_parse", "size_bytes")

    def __init__(self, dialect: str, parse: Parse) -> None:
        self._parse = parse
        self._dialect = dialect
        self.size_bytes = 0

    def events(
        self, splitter: Splitter, data: bytes, reader: Reader
    ) -> tuple[list[Delta], PenstockError | None]:
        deltas, failure = self._parse(splitter, data, reader)
        for delta in deltas:
            self.saw(delta)
        return deltas, failure

    def saw(self, delta: Delta) -> None:
        self.size_bytes += size_of(delta, self._dialect)


def consumed(said: Usage | None, request: Request, reader: Reader, volume: Volume | None) -> Usage | None:
    """`said`: by the upstream, until then. `volume`: None where the reader counts by itself."""
    if not isinstance(request, ChatRequest | CompletionRequest):
        return said
    if volume is None:
        estimate = cast("Counting", reader).estimate()
    else:
        completion = -(-volume.size_bytes // BYTES_PER_TOKEN)
        drawn = getattr(reader, "images", 0)  # only readers of models that draw count them
        estimate = Usage(estimated_prompt_tokens(request), completion, is_estimated=True, images=drawn)
    if said is None:
        return estimate
    if said.completion_tokens >= estimate.completion_tokens or reader.is_complete:
        return said
    return msgspec.structs.replace(said, completion_tokens=estimate.completion_tokens, is_estimated=True)


# -- the text of one delta, or of a whole answer


def size_of(delta: Delta, dialect: str) -> int:
    """Its bytes; `dialect`: of the target, one that is not OpenAI's."""
    if delta.__class__ is Events:
        return _of_events(delta)
    return _NATIVE.get(dialect, _of_none)(delta.body) if isinstance(delta, Chunk | Answer) else 0


def _of_events(delta: Events) -> int:
    size = 0
    for event in delta.events:
        kind = event.__class__
        if kind is Text or kind is Reasoning or kind is RefusalText:
            size += _bytes(event.text)  # type: ignore[union-attr]  # those have one
        elif kind is ToolDelta:
            size += _bytes(event.arguments)  # type: ignore[union-attr]
    return size


def _bytes(value: Any) -> int:
    return len(value.encode(errors="replace")) if value.__class__ is str else 0


def _of_anthropic(body: JSON) -> int:
    pieces = (body.get("content") or ()) if body["type"] == "message" else (body.get("delta"),)
    return sum(
        _bytes(piece.get(name))
        for piece in pieces
        if isinstance(piece, dict)
        for name in ("text", "thinking", "partial_json")
    )


def _of_gemini(body: JSON) -> int:
    parts = [
        part
        for candidate in body.get("candidates") or ()
        for part in (candidate.get("content") or {}).get("parts") or ()
    ]
    return sum(_bytes(part.get("text")) for part in parts)


def _of_ollama(body: JSON) -> int:
    message = body.get("message")
    said = message if isinstance(message, dict) else body
    return sum(_bytes(said.get(name)) for name in ("content", "thinking", "response"))


def _of_responses(body: JSON) -> int:
    items = body.get("output") or ()
    parts = [part for item in items for part in item.get("content") or () if isinstance(part, dict)]
    return _bytes(body.get("delta")) + sum(_bytes(part.get("text")) for part in parts)


def _of_none(body: JSON) -> int:  # noqa: ARG001 - a dialect that no client speaks
    return 0


_NATIVE: Mapping[str, Callable[[JSON], int]] = {
    "anthropic": _of_anthropic,
    "gemini": _of_gemini,
    "ollama": _of_ollama,
    "responses": _of_responses,
}
