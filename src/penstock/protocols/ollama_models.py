"""Lists of models as Ollama gives them: /api/tags, /api/ps, /api/show, /api/version.

What only Ollama's own files have (size, digest, quantization) is empty: models here may be anywhere.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.protocols.openai_models import ModelRow

_encode = msgspec.json.Encoder().encode
_NEVER = "9999-12-31T23:59:59Z"


def tags(rows: Iterable[ModelRow]) -> bytes:
    return _encode({"models": [_model(row) for row in rows]})


def ps(rows: Iterable[ModelRow]) -> bytes:
    return _encode({"models": [{**_model(row), "expires_at": _NEVER, "size_vram": 0} for row in rows]})


def show(row: ModelRow) -> bytes:
    operations = row.extras.get("operations") or ()
    info: dict[str, Any] = {"general.basename": row.id}
    if row.extras.get("context"):
        info["general.context_length"] = row.extras["context"]
    return _encode(
        {
            "license": "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _DETAILS,
            "model_info": info,
            "capabilities": ["completion", "tools"] if "chat" in operations else ["embedding"],
            "modified_at": _moment(row),
        }
    )


def version(number: str) -> bytes:
    return _encode({"version": number})


_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def _model(row: ModelRow) -> dict[str, Any]:
    return {
        "name": row.id,
        "model": row.id,
        "modified_at": _moment(row),
        "size": 0,
        "digest": hashlib.sha256(row.id.encode()).hexdigest(),
        "details": _DETAILS,
    }


def _moment(row: ModelRow) -> str:
    return datetime.fromtimestamp(row.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
