"""The Open Inference Protocol's metadata and health (KServe v2 REST, kserve/open-inference-protocol).

What orchestrators ask before they send traffic. Inference goes through the other protocols.
"""

import msgspec

from penstock.protocols.openai_models import ModelRow

_encode = msgspec.json.Encoder().encode
_TEXT = {"datatype": "BYTES", "shape": [-1]}


def server(version: str) -> bytes:
    return _encode({"name": "penstock", "version": version, "extensions": []})


def live() -> bytes:
    return _encode({"live": True})


def ready(*, is_ready: bool) -> bytes:
    return _encode({"ready": is_ready})


def model(row: ModelRow) -> bytes:
    return _encode(
        {
            "name": row.id,
            "versions": ["1"],
            "platform": "penstock",
            "inputs": [{"name": "text", **_TEXT}],
            "outputs": [{"name": "text", **_TEXT}],
        }
    )


def model_ready(row: ModelRow, *, is_ready: bool) -> bytes:
    return _encode({"name": row.id, "ready": is_ready})
