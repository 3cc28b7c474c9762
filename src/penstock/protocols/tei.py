"""Hugging Face text-embeddings-inference 1.9: POST /embed, /rerank and /predict (its docs/openapi.json).

    /embed    {inputs, normalize = true, truncate = false, dimensions?}            -> [[float]]
    /rerank   {query, texts, raw_scores, return_text, truncate, all false}         -> [{index, score, text?}]
              {query, documents, ...}: the shape of /v1/rerank, which llama.cpp and vLLM serve here, too
    /predict  {inputs, raw_scores, truncate, both false}                           -> [{label, score}]
              inputs: a text or a pair of texts, or a list of [text] and [text, text]: then a list of such
    /info     of the model that answers where none is named
    errors    {error, error_type}: Validation, Empty, Overloaded, Unhealthy, Backend

No `model` is needed: without one the gateway takes the default route of the operation.
"""

from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from penstock.protocols import rerank
from penstock.protocols.checking import Checker
from penstock.protocols.openai_embeddings import MAX_INPUTS, WholeEncoder, as_floats, embedding_inputs
from penstock.protocols.openai_models import ModelRow
from penstock.protocols.openai_schema import drop_nulls
from penstock.types.call import Call
from penstock.types.errors import (
    InvalidRequest,
    ModelLoading,
    PenstockError,
    UpstreamInvalid,
    UpstreamRateLimited,
)
from penstock.types.events import Labels, Ranking, Vectors
from penstock.types.requests import (
    ClassificationRequest,
    EmbeddingRequest,
    Operation,
    Request,
    RerankRequest,
)
from penstock.types.wire import Encoder, Plain

TEXTS_OF_A_PAIR = 2

_encode = msgspec.json.Encoder().encode


class EmbedBody(Struct):
    inputs: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=MAX_INPUTS)]
    model: str = ""
    normalize: bool = True
    truncate: bool = False
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    prompt_name: str | None = None


class RerankBody(Struct):
    query: rerank.Text
    texts: Annotated[list[str], Meta(min_length=1)]
    model: str = ""
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = False
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None


class PredictBody(Struct):
    inputs: str | Annotated[list[str | list[str]], Meta(min_length=1, max_length=MAX_INPUTS)]
    model: str = ""
    raw_scores: bool = False
    truncate: bool = False
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None


_check_predict = Checker(PredictBody)
_check_embed = Checker(EmbedBody)
_check_rerank = Checker(RerankBody)
_OWN_EMBED = frozenset(EmbedBody.__struct_fields__) - {"truncation_direction", "prompt_name"}
_OWN_PREDICT = frozenset(PredictBody.__struct_fields__) - {"truncation_direction"}
_OWN_RERANK = frozenset(RerankBody.__struct_fields__) - {"truncation_direction"}


class Embed(Plain):
    operation: Operation = "embedding"

    def decode(self, body: dict[str, Any]) -> EmbeddingRequest:
        drop_nulls(body, {})
        checked = _check_embed.check(body)
        return EmbeddingRequest(
            checked.model,
            embedding_inputs(checked.inputs, "inputs"),
            checked.dimensions,
            checked.truncate,
            checked.normalize,
            None,
            {key: value for key, value in body.items() if key not in _OWN_EMBED},
        )

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - a bare array names nothing
        return EmbedEncoder()

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - the id is in x-request-id
        return error_body(error)


class Rerank(Plain):
    operation: Operation = "rerank"

    def decode(self, body: dict[str, Any]) -> RerankRequest:
        if "texts" not in body and "documents" in body:
            return rerank.V1.decode(body)
        drop_nulls(body, {})
        checked = _check_rerank.check(body)
        return RerankRequest(
            checked.model,
            checked.query,
            checked.texts,
            None,
            checked.raw_scores,
            checked.truncate,
            {key: value for key, value in body.items() if key not in _OWN_RERANK},
            checked.return_text,
        )

    def encoder(self, request: Request, call: Call) -> Encoder:
        reranking = cast("RerankRequest", request)
        if isinstance(reranking.inbound, rerank.Notes):
            return rerank.V1.encoder(request, call)
        return RerankEncoder(reranking)

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - the id is in x-request-id
        return error_body(error)


class Predict(Plain):
    operation: Operation = "classification"

    def decode(self, body: dict[str, Any]) -> ClassificationRequest:
        drop_nulls(body, {})
        checked = _check_predict.check(body)
        given = [checked.inputs] if isinstance(checked.inputs, str) else checked.inputs
        is_one = isinstance(given[0], str)
        rows = cast("list[list[str]]", [given] if is_one else given)
        for number, row in enumerate(rows):
            path = "inputs" if is_one else f"inputs[{number}]"
            if isinstance(row, str) or not all(isinstance(text, str) for text in row):
                raise InvalidRequest(f"`{path}` must be like the others: texts, or lists.", param=path)
            if not 1 <= len(row) <= TEXTS_OF_A_PAIR:
                raise InvalidRequest(f"`{path}` must be a text or a pair of texts.", param=path)
            if not all(row):
                raise InvalidRequest(f"`{path}` must not be empty.", param=path)
        return ClassificationRequest(
            checked.model,
            rows,
            checked.raw_scores,
            checked.truncate,
            {key: value for key, value in body.items() if key not in _OWN_PREDICT},
            is_one,
        )

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - a bare array names nothing
        return PredictEncoder(is_one=bool(cast("ClassificationRequest", request).inbound))

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - the id is in x-request-id
        return error_body(error)


class PredictEncoder(WholeEncoder):
    def __init__(self, *, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def answer(self) -> bytes:
        if not isinstance(self._delta, Labels):
            raise UpstreamInvalid("The upstream's answer holds no labels.")
        return _encode(self._delta.labels[0] if self._is_one else self._delta.labels)


class EmbedEncoder(WholeEncoder):
    def answer(self) -> bytes:
        if not isinstance(self._delta, Vectors):
            raise UpstreamInvalid("The upstream's answer holds no embeddings.")
        return _encode([as_floats(vector) for vector in self._delta.vectors])


class RerankEncoder(WholeEncoder):
    def __init__(self, request: RerankRequest) -> None:
        super().__init__()
        self._request = request

    def answer(self) -> bytes:
        ranking = self._delta
        if not isinstance(ranking, Ranking):
            raise UpstreamInvalid("The upstream's answer holds no scores.")
        rows: list[dict[str, Any]] = [{"index": r.index, "score": r.score} for r in ranking.results]
        if self._request.inbound:  # return_text
            for row in rows:
                row["text"] = self._request.documents[row["index"]]
        return _encode(rows)


def error_body(error: PenstockError) -> bytes:
    """`message`, `code` and `param` are extensions: /rerank also answers clients of other shapes."""
    said: dict[str, Any] = {
        "error": error.message,
        "error_type": _error_type(error),
        "message": error.message,
        "code": error.code,
        "param": error.param,
    }
    if error.attempts:
        said["attempts"] = error.attempts
    return _encode(said)


def _error_type(error: PenstockError) -> str:
    match error:
        case ModelLoading():
            return "Unhealthy"
        case UpstreamRateLimited():
            return "Overloaded"
        case InvalidRequest() if "must not be empty" in error.message:
            return "Empty"
        case _:
            return "Validation" if error.status < 500 else "Backend"


def info(row: ModelRow, version: str) -> bytes:
    """GET /info, of the model that answers where none is named."""
    is_embedding = "embedding" in (row.extras.get("operations") or ())
    kind: dict[str, Any] = {"embedding": {"pooling": "mean"}} if is_embedding else {"reranker": {}}
    context = row.extras.get("context")
    return _encode(
        {
            "model_id": row.id,
            "model_sha": None,
            "model_dtype": "float32",
            "model_type": kind,
            "max_concurrent_requests": 512,
            "max_input_length": context or 512,
            "max_batch_tokens": context or 512,
            "max_client_batch_size": MAX_INPUTS,
            "auto_truncate": False,
            "tokenization_workers": 1,
            "version": version,
        }
    )


EMBED = Embed()
RERANK = Rerank()
PREDICT = Predict()
