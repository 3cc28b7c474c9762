"""A request that is no model call, and its answer: what the gateway hands to whoever stands behind a path."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from penstock.types.identity import VirtualKey


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """caller: None where the path needs no key. Names of headers are in lower case."""

    id: str
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[bytes, bytes] = {}
    body: bytes = b""
    caller: VirtualKey | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


# Raises PenstockError
Door = Callable[[Asked], Awaitable[Answer]]
