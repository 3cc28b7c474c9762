"""Embeddings of Google's two doors.

    Gemini API   :batchEmbedContents  {"requests": [{model, content, taskType, outputDimensionality}]}
                                      -> {"embeddings": [{"values": [...]}]}
    Vertex AI    :predict             {"instances": [{content, task_type}], "parameters": {...}}
                                      -> {"predictions": [{"embeddings": {"values", "statistics"}}]}

A vector that was cut to fewer dimensions is not of length 1 any more, so it is made so again where the client
wants that.
"""

import math
from typing import Any

import msgspec

from penstock.dialects.gemini import JSON
from penstock.providers.gemini_errors import error_in_answer
from penstock.types.errors import UnsupportedParameter, UpstreamInvalid
from penstock.types.events import Delta, Vectors
from penstock.types.requests import EmbeddingRequest
from penstock.types.usage import Usage

TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_FLOAT32_MAX = 3.4028234663852886e38
_decode = msgspec.json.Decoder().decode


def texts_of(request: EmbeddingRequest) -> list[str]:
    if request.inputs and not isinstance(request.inputs[0], str):
        raise UnsupportedParameter("`input`: this model takes texts, not token ids.", param="input")
    return request.inputs  # type: ignore[return-value]


def batch_body(request: EmbeddingRequest, model: str) -> JSON:
    common: JSON = {"model": model}
    if request.purpose in TASKS:
        common["taskType"] = TASKS[request.purpose]
    if request.dimensions is not None:
        common["outputDimensionality"] = request.dimensions
    if isinstance(request.extra.get("title"), str):
        common["title"] = request.extra["title"]
    return {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in texts_of(request)]}


def predict_body(request: EmbeddingRequest) -> JSON:
    common: JSON = {}
    if request.purpose in TASKS:
        common["task_type"] = TASKS[request.purpose]
    if isinstance(request.extra.get("title"), str):
        common["title"] = request.extra["title"]
    parameters: JSON = {"autoTruncate": request.truncate}
    if request.dimensions is not None:
        parameters["outputDimensionality"] = request.dimensions
    return {
        "instances": [{**common, "content": text} for text in texts_of(request)],
        "parameters": parameters,
    }


class EmbeddingReader:
    __slots__ = ("_name", "_request", "is_complete", "is_done")

    def __init__(self, request: EmbeddingRequest, name: str) -> None:
        self._request = request
        self._name = name
        self.is_complete = False
        self.is_done = False

    def event(self, data: bytes) -> Delta | None:  # noqa: ARG002 - never streamed
        raise UpstreamInvalid(f"{self._name} streamed an embedding.")

    def answer(self, body: bytes) -> Vectors:
        try:
            decoded = _decode(body)
            if decoded.get("error"):
                raise error_in_answer(self._name, decoded)
            if "predictions" in decoded:
                rows = [row["embeddings"] for row in decoded["predictions"]]
            else:
                rows = decoded["embeddings"]
            vectors = [_values(row["values"]) for row in rows]
            tokens = sum(int((row.get("statistics") or {}).get("token_count", 0)) for row in rows)
            if (decoded.get("usageMetadata") or {}).get("promptTokenCount"):
                tokens = int(decoded["usageMetadata"]["promptTokenCount"])
        except (
            *(msgspec.DecodeError, UnicodeDecodeError, RecursionError),
            *(AttributeError, TypeError, KeyError, ValueError, OverflowError),
        ) as exc:
            raise UpstreamInvalid(f"{self._name} sent embeddings of an unknown shape.") from exc
        wanted = len(self._request.inputs)
        if len(vectors) != wanted:
            raise UpstreamInvalid(f"{self._name} sent {len(vectors)} embeddings for {wanted} inputs.")
        self._check_dimensions({len(vector) for vector in vectors})
        if self._request.dimensions is not None and self._request.normalize:
            vectors = [_of_length_one(vector) for vector in vectors]
        self.is_complete = True
        return Vectors([*vectors], Usage(prompt_tokens=tokens) if tokens else None)

    def _check_dimensions(self, sizes: set[int]) -> None:
        if len(sizes) != 1 or 0 in sizes:
            raise UpstreamInvalid(f"{self._name} sent embeddings of different or no length.")
        asked = self._request.dimensions
        if asked is not None and sizes != {asked}:
            raise UnsupportedParameter(
                f"`dimensions`: this model gives {sizes.pop()} dimensions and cannot give {asked}.",
                param="dimensions",
            )


def _values(given: Any) -> list[float]:
    if not isinstance(given, list) or not set(map(type, given)) <= {int, float}:
        raise TypeError("not a list of numbers")
    if max(map(abs, given), default=0) > _FLOAT32_MAX:
        raise ValueError("not a float32")
    return [float(number) for number in given]


def _of_length_one(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector
