"""Reads what is not a completion: OpenAI's embeddings and moderations; rankings of Jina, Cohere and TEI."""

import base64
import math
from typing import Any

import msgspec

from penstock.lib.floats import from_float32
from penstock.providers.openai_errors import error_in_answer
from penstock.providers.openai_usage import JSON, count, decode_object, read_usage
from penstock.providers.vectors import check_dimensions, read_vector
from penstock.providers.whole import WholeReader
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Answer, Ranked, Ranking, Vectors
from penstock.types.requests import EmbeddingRequest, ModerationRequest, RerankRequest
from penstock.types.usage import Usage

_decode = msgspec.json.Decoder().decode


class EmbeddingReader(WholeReader[EmbeddingRequest]):
    def read(self, body: bytes) -> Vectors:
        decoded = decode_object(body, self._name)
        wanted = len(self._request.inputs)
        try:
            rows = decoded["data"]
            by_index = {row.get("index", position): row["embedding"] for position, row in enumerate(rows)}
            vectors = [_vector(by_index[index]) for index in range(wanted)]
        except (AttributeError, TypeError, KeyError, ValueError) as exc:
            if decoded.get("error"):
                raise error_in_answer(self._name, decoded["error"]) from exc
            raise UpstreamInvalid(f"{self._name} sent no embedding for some of the inputs.") from exc
        if len(rows) != wanted:
            raise UpstreamInvalid(f"{self._name} sent {len(rows)} embeddings for {wanted} inputs.")
        sizes = {len(v) // 4 if isinstance(v, bytes) else len(v) for v in vectors}
        check_dimensions(sizes, self._request, self._name)
        raw = decoded.get("usage")
        return Vectors(vectors, read_usage(raw) if isinstance(raw, dict) else None)


def _vector(given: Any) -> bytes | list[float]:
    if isinstance(given, str):
        packed = base64.b64decode(given, validate=True)
        if len(packed) % 4:
            raise TypeError("not float32")
        high = packed[3::4]  # only infinity, NaN and the largest floats have these bits on top
        if (b"\x7f" in high or b"\xff" in high) and not all(map(math.isfinite, from_float32(packed))):
            raise TypeError("not finite")
        return packed
    return read_vector(given)


class RerankReader(WholeReader[RerankRequest]):
    what = "a ranking"

    def read(self, body: bytes) -> Ranking:
        try:
            decoded = _decode(body)
            rows = decoded if isinstance(decoded, list) else decoded["results"]
            results = [Ranked(_index(row), _score(row)) for row in rows]
        except (  # msgspec's errors are ValueErrors
            AttributeError,
            TypeError,
            KeyError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as exc:
            raise UpstreamInvalid(f"{self._name} sent no ranking.") from exc
        wanted = len(self._request.documents)
        top_n = min(self._request.top_n or wanted, wanted)
        indexes = {result.index for result in results}
        if (
            len(indexes) != len(results)
            or not all(0 <= index < wanted for index in indexes)
            or len(results) < top_n
        ):
            raise UpstreamInvalid(f"{self._name} ranked other documents than it was given.")
        results.sort(key=lambda result: (-result.score, result.index))
        return Ranking(results[:top_n], _rerank_usage(decoded))


class ModerationReader(WholeReader[ModerationRequest]):
    what = "a moderation"

    def read(self, body: bytes) -> Answer:
        decoded = decode_object(body, self._name)
        if not isinstance(decoded.get("results"), list):
            raise UpstreamInvalid(f"{self._name} sent no moderation.")
        return Answer(decoded)


def _index(row: JSON) -> int:
    index = row["index"]
    if index.__class__ is not int:
        raise TypeError("an index that is no integer")
    return index


def _score(row: JSON) -> float:
    score = row["relevance_score"] if "relevance_score" in row else row["score"]
    if score.__class__ is not float and score.__class__ is not int:
        raise TypeError("a score that is no number")
    return float(score)  # finite: JSON has no other numbers, and an integer too large raises OverflowError


def _rerank_usage(decoded: Any) -> Usage | None:
    if not isinstance(decoded, dict):
        return None
    usage, meta = decoded.get("usage"), decoded.get("meta")
    parts = meta if isinstance(meta, dict) else {}
    tokens, billed = parts.get("tokens"), parts.get("billed_units")
    units = count(billed.get("search_units")) if isinstance(billed, dict) else 0
    if isinstance(usage, dict):
        return Usage(count(usage.get("prompt_tokens", usage.get("total_tokens"))), search_units=units)
    if isinstance(tokens, dict):
        return Usage(count(tokens.get("input_tokens")), search_units=units)
    return Usage(search_units=units) if units else None
