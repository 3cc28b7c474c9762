"""GET /v1beta/models and /v1beta/models/{id}: https://ai.google.dev/api/models

A row is that of openai_models; of its extras the context, the longest answer, the description and the
operations are written in Google's words.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.protocols.openai_models import ModelRow

_encode = msgspec.json.Encoder().encode

_CHAT = ["generateContent", "streamGenerateContent", "countTokens"]
_EMBEDDING = ["embedContent", "batchEmbedContents"]
_NUMBERS = (
    ("inputTokenLimit", ("max_context", "context_window", "context_length", "context")),
    ("outputTokenLimit", ("max_output", "max_output_tokens")),
)


def listing(rows: Iterable[ModelRow]) -> bytes:
    return _encode({"models": [_model(row) for row in rows]})


def single(row: ModelRow) -> bytes:
    return _encode(_model(row))


def _model(row: ModelRow) -> dict[str, Any]:
    extras = row.extras
    operations = extras.get("operations") or ()
    methods = _EMBEDDING if "embedding" in operations and "chat" not in operations else _CHAT
    model: dict[str, Any] = {
        "name": f"models/{row.id}",
        "baseModelId": row.id,
        "version": "1",
        "displayName": row.id,
    }
    if isinstance(extras.get("description"), str) and extras["description"]:
        model["description"] = extras["description"]
    for key, names in _NUMBERS:
        number = next((extras[name] for name in names if isinstance(extras.get(name), int)), None)
        if number is not None:
            model[key] = number
    model["supportedGenerationMethods"] = methods
    return model
