"""The answer to how many tokens a prompt is, whatever its protocol calls it."""

from typing import Any

import msgspec

from penstock.protocols.openai_embeddings import WholeEncoder
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Counted

_encode = msgspec.json.Encoder().encode


class CountEncoder(WholeEncoder):
    """`field` holds the number, beside `more`."""

    def __init__(self, field: str, more: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._field = field
        self._more = more or {}

    def answer(self) -> bytes:
        if not isinstance(self._delta, Counted):
            raise UpstreamInvalid("The upstream did not count the tokens.")
        return _encode({**self._more, self._field: self._delta.tokens})
