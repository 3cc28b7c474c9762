"""Embeddings of Google's two doors.

    Gemini API   :batchEmbedContents  {"requests": [{model, content, taskType, outputDimensionality}]}
                                      -> {"embeddings": [{"values": [...]}]}
    Vertex AI    :predict             {"instances": [{content, task_type}], "parameters": {...}}
                                      -> {"predictions": [{"embeddings": {"values", "statistics"}}]}

A vector that was cut to fewer dimensions is not of length 1 any more, so it is made so again where the client
wants that.
"""

import math

import msgspec

from penstock.dialects.gemini import JSON
from penstock.providers.gemini_errors import error_in_answer
from penstock.providers.vectors import read_vectors, texts_of
from penstock.providers.whole import WholeReader
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Vectors
from penstock.types.requests import EmbeddingRequest
from penstock.types.usage import Usage

TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_decode = msgspec.json.Decoder().decode


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


class EmbeddingReader(WholeReader[EmbeddingRequest]):
    def read(self, body: bytes) -> Vectors:
        try:
            decoded = _decode(body)
            if decoded.get("error"):
                raise error_in_answer(self._name, decoded)
            if "predictions" in decoded:
                rows = [row["embeddings"] for row in decoded["predictions"]]
            else:
                rows = decoded["embeddings"]
            given = [row["values"] for row in rows]
            tokens = sum(int((row.get("statistics") or {}).get("token_count", 0)) for row in rows)
            if (decoded.get("usageMetadata") or {}).get("promptTokenCount"):
                tokens = int(decoded["usageMetadata"]["promptTokenCount"])
        except (
            *(msgspec.DecodeError, UnicodeDecodeError, RecursionError),
            *(AttributeError, TypeError, KeyError, ValueError, OverflowError),
        ) as exc:
            raise UpstreamInvalid(f"{self._name} sent embeddings of an unknown shape.") from exc
        vectors = read_vectors(given, self._request, self._name)
        if self._request.dimensions is not None and self._request.normalize:
            vectors = [_of_length_one(vector) for vector in vectors]
        return Vectors([*vectors], Usage(prompt_tokens=tokens) if tokens else None)


def _of_length_one(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector
