"""Checks an answer that a target could not be bound to by itself against the caller's JSON schema.

whole       held until it is complete: one that does not fit is asked for once more, then it is an error
streamed    passed on as it comes, and checked at its end: one that does not fit ends with an error event, so
            that a client never takes it for a good one
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import jsonschema_rs
import msgspec

from penstock.types.errors import InvalidRequest, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Delta,
    Events,
    Finish,
    RefusalText,
    Text,
    ToolStart,
)

MAX_TRIES = 2

Emit = Callable[[Sequence[Delta]], Awaitable[None]]


class SchemaMismatch(UpstreamInvalid):
    """The model's answer is not of the schema that the caller asked for."""


def _fetch_nothing(url: str) -> None:
    """A caller's schema must not make this machine read a file or ask a server ($ref)."""
    raise ValueError(f"$ref to {url[:100]} is not followed; put what it refers to under $defs")


class Checked:
    """`emit` for one attempt."""

    def __init__(self, schema: dict[str, Any], emit: Emit, *, is_stream: bool) -> None:
        """Raises InvalidRequest when the schema is none."""
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
        except (jsonschema_rs.ValidationError, ValueError) as exc:
            param = "response_format.json_schema.schema"
            said = str(exc).partition("\n")[0]
            raise InvalidRequest(f"`{param}` is not a valid JSON Schema: {said}.", param=param) from exc
        self._emit = emit
        self._is_stream = is_stream
        self._texts: dict[int, list[str]] = {}  # per choice
        self._is_other: set[int] = set()  # choices that call tools, refuse, or were cut: no answer to check
        self._held: list[Delta] = []

    async def emit(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            self._see(delta)
        if self._is_stream:
            await self._emit(deltas)
        else:
            self._held += deltas

    async def end(self) -> None:
        """The answer is complete. Raises SchemaMismatch."""
        for index, texts in self._texts.items():
            if index not in self._is_other:
                self._check("".join(texts))
        if not self._is_stream:
            await self._emit(self._held)

    def _check(self, text: str) -> None:
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
            raise SchemaMismatch(
                "The model's answer is not JSON, though a JSON schema was asked for."
            ) from exc
        error = next(self._validator.iter_errors(value), None)
        if error is not None:
            path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in error.instance_path)
            where = path.lstrip(".") or "."
            raise SchemaMismatch(
                "The model's answer does not fit the JSON schema that was asked for:"
                f" `{where}`: {error.message[:200]}."
            )

    def _see(self, delta: Delta) -> None:
        match delta:
            case Events(events):
                for event in events:
                    match event:
                        case Text(text, index):
                            self._texts.setdefault(index, []).append(text)
                        case ToolStart(choice=index) | RefusalText(choice=index):
                            self._is_other.add(index)
                        case Finish("length" | "content_filter", index):
                            self._is_other.add(index)
            case Chunk(body) | Answer(body):
                for choice in body["choices"]:
                    self._see_choice(choice)
            case _:
                pass

    def _see_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        said = choice.get("delta") or choice.get("message") or {}
        texts = self._texts.setdefault(index, [])
        if said.get("content"):
            texts.append(said["content"])
        if said.get("tool_calls") or said.get("refusal"):
            self._is_other.add(index)
        if choice.get("finish_reason") in ("length", "content_filter"):
            self._is_other.add(index)
