"""GET /v1/models and /v1/models/{id} as Anthropic answers them: https://platform.claude.com/docs/en/api/models

The same paths as OpenAI's: a client that sends the header anthropic-version gets this shape.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.protocols.openai_models import ModelRow
from penstock.types.errors import InvalidRequest

MOST = 1000
USUAL = 20

_encode = msgspec.json.Encoder().encode


def listing(
    rows: Iterable[ModelRow],
    *,
    limit: int = USUAL,
    after_id: str | None = None,
    before_id: str | None = None,
) -> bytes:
    """One page: at most `limit` rows after or before the row of that id. Raises InvalidRequest."""
    if not 1 <= limit <= MOST:
        raise InvalidRequest(f"`limit` is {limit}; it must be from 1 to {MOST}.", param="limit")
    found = list(rows)
    ids = [row.id for row in found]
    if after_id is not None:
        found = found[_position(ids, after_id, "after_id") + 1 :]
    elif before_id is not None:
        found = found[: _position(ids, before_id, "before_id")]
    has_more = len(found) > limit
    page = found[-limit:] if before_id is not None and after_id is None else found[:limit]
    return _encode(
        {
            "data": [_model(row) for row in page],
            "has_more": has_more,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
    )


def page_of(query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The arguments of `listing` that a query string gives. Raises InvalidRequest."""
    wanted: dict[str, Any] = {}
    for name, value in query:
        if name in ("after_id", "before_id"):
            wanted[name] = value
        elif name == "limit":
            if not value.isascii() or not value.isdecimal() or len(value) > len(str(MOST)):
                raise InvalidRequest(f"`limit` must be a number from 1 to {MOST}.", param="limit")
            wanted[name] = int(value)
    return wanted


def single(row: ModelRow) -> bytes:
    return _encode(_model(row))


def _position(ids: list[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"`{param}` names no model of this list.", param=param)
    return ids.index(wanted)


def _model(row: ModelRow) -> dict[str, Any]:
    created = datetime.fromtimestamp(row.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    extras = row.extras
    return {
        "type": "model",
        "id": row.id,
        "display_name": extras.get("display_name") or row.id,
        "created_at": created,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": extras.get("context"),
        "max_tokens": extras.get("max_output"),
    }
