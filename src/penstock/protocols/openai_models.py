"""GET /v1/models and /v1/models/{id}: https://platform.openai.com/docs/api-reference/models

A row is anything with these attributes; `extras` are further keys, which the official SDKs pass through.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

_encode = msgspec.json.Encoder().encode


class ModelRow(Protocol):
    """One public model name."""

    @property
    def id(self) -> str: ...
    @property
    def created(self) -> int:
        """Unix seconds."""
        ...

    @property
    def owned_by(self) -> str: ...
    @property
    def extras(self) -> Mapping[str, Any]: ...


def listing(rows: Iterable[ModelRow]) -> bytes:
    return _encode({"object": "list", "data": [_model(row) for row in rows]})


def single(row: ModelRow) -> bytes:
    return _encode(_model(row))


def _model(row: ModelRow) -> dict[str, Any]:
    own = {"id": row.id, "object": "model", "created": row.created, "owned_by": row.owned_by}
    return {
        **own,
        **{key: value for key, value in row.extras.items() if key not in own and value is not None},
    }
