"""Checks an answer that a target could not be bound to by itself against the caller's JSON schema.

whole       held until it is complete: one that does not fit is asked for once more, then it is an error
streamed    passed on as it comes, and checked at its end: one that does not fit ends with an error event, so
            that a client never takes it for a good one
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import jsonschema_rs
import msgspec

from penstock.gateway.said import Said
from penstock.types.conversation import Dialect
from penstock.types.deployment import Verdict
from penstock.types.errors import InvalidRequest, UpstreamInvalid
from penstock.types.events import Delta

MAX_TRIES = 2

Emit = Callable[[Sequence[Delta]], Awaitable[None]]


class SchemaMismatch(UpstreamInvalid):
    """The model's answer is not of the schema that the caller asked for."""


class Escalated(Exception):
    """An answer that is not given: the request goes to a harder target of its route (escalation.py).

    No PenstockError: nobody hears of it, and it says nothing of the target's health.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def _fetch_nothing(url: str) -> None:
    """A caller's schema must not make this machine read a file or ask a server ($ref)."""
    raise ValueError(f"$ref to {url[:100]} is not followed; put what it refers to under $defs")


class Schema:
    """What an answer's text must fit."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises ValueError when it is none."""
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
        except (jsonschema_rs.ValidationError, ValueError) as exc:
            raise ValueError(str(exc).partition("\n")[0]) from exc

    def check(self, said: Said) -> None:
        """Raises SchemaMismatch. Choices that call tools, refuse, or were cut are no answers to check."""
        for choice in said.choices.values():
            if choice.is_answer:
                self._check(choice.text)

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


class Checked:
    """`emit` for one attempt."""

    def __init__(self, schema: dict[str, Any], dialect: Dialect, emit: Emit, *, is_stream: bool) -> None:
        """Raises InvalidRequest when the schema is none."""
        try:
            self._schema = Schema(schema)
        except ValueError as exc:
            param = "response_format.json_schema.schema"
            raise InvalidRequest(f"`{param}` is not a valid JSON Schema: {exc}.", param=param) from exc
        self._said = Said(dialect)
        self._emit = emit
        self._is_stream = is_stream
        self._held: list[Delta] = []

    async def emit(self, deltas: Sequence[Delta]) -> None:
        self._said.see(deltas)
        if self._is_stream:
            await self._emit(deltas)
        else:
            self._held += deltas

    async def end(self) -> None:
        """The answer is complete. Raises SchemaMismatch."""
        self._schema.check(self._said)
        if not self._is_stream:
            await self._emit(self._held)
