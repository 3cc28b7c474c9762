"""Hugging Face text-embeddings-inference 1.9, outbound (its docs/openapi.json).

    embedding        /v1/embeddings   where that can say it all: it counts the tokens
                     /embed           for `truncate`, and vectors not of length one; nothing is counted
    rerank           /rerank          {query, texts} -> [{index, score}], of all texts
    classification   /predict         {inputs: [[text] or [text, text]]} -> [[{label, score}]]

A server answers for one model and knows no names: `model` of the deployment is only our own.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.providers.openai_errors import map_error
from penstock.providers.openai_vectors import EmbeddingReader, RerankReader
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.vectors import read_vectors
from penstock.providers.whole import WholeReader
from penstock.types.conversation import Dialect
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Reader
from penstock.types.errors import InternalError, PenstockError, UpstreamInvalid
from penstock.types.events import Delta, Label, Labels, Vectors
from penstock.types.requests import (
    ClassificationRequest,
    EmbeddingRequest,
    Operation,
    Request,
    RerankRequest,
)

JSON = dict[str, Any]

_KNOWN = frozenset({"truncation_direction", "prompt_name"})  # of its own, beside what every request says

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class TEICodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "tei"
    operations: frozenset[Operation] = frozenset({"embedding", "rerank", "classification"})
    counts = False

    def __init__(self, *, name: str = "TEI") -> None:
        self.name = name

    def takes_url(self, url: str) -> bool:  # noqa: ARG002 - it takes texts
        return False

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        match request:
            case EmbeddingRequest():
                return _embedding(request, deployment.model)
            case RerankRequest():
                body: JSON = {"query": request.query, "texts": request.documents}
            case ClassificationRequest():
                body = {"inputs": request.inputs}
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")
        own, dropped = _own(request.extra)
        body |= own | {"raw_scores": request.raw_scores, "truncate": request.truncate}
        path = "/rerank" if request.operation == "rerank" else "/predict"
        return Outgoing(path, _encode(body), dropped=dropped)

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        match request:
            case EmbeddingRequest():
                return (
                    PlainVectorReader(request, self.name)
                    if _is_own(request)
                    else EmbeddingReader(request, self.name)
                )
            case RerankRequest():
                return RerankReader(request, self.name)
            case ClassificationRequest():
                return LabelReader(request, self.name)
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    return plain_connection(profile, credentials, TEICodec(name=name))


def _is_own(request: EmbeddingRequest) -> bool:
    """Whether it takes TEI's own endpoint to say it."""
    return request.truncate or not request.normalize or not _KNOWN.isdisjoint(request.extra)


def _embedding(request: EmbeddingRequest, model: str) -> Outgoing:
    own, dropped = _own(request.extra)
    body: JSON = {} if request.dimensions is None else {"dimensions": request.dimensions}
    if _is_own(request):
        body |= own | {"inputs": request.inputs, "truncate": request.truncate, "normalize": request.normalize}
        return Outgoing("/embed", _encode(body), dropped=dropped)
    body |= {"model": model, "input": request.inputs, "encoding_format": "base64"}
    return Outgoing("/v1/embeddings", _encode(body), dropped=dropped)


def _own(extra: JSON) -> tuple[JSON, tuple[str, ...]]:
    """What TEI knows of a client's other fields, and the names of the rest."""
    own = {key: value for key, value in extra.items() if key in _KNOWN}
    return own, tuple(sorted(extra.keys() - _KNOWN))


class PlainVectorReader(WholeReader[EmbeddingRequest]):
    """[[float]]"""

    def read(self, body: bytes) -> Delta:
        return Vectors([*read_vectors(_json(body, self._name), self._request, self._name)])


class LabelReader(WholeReader[ClassificationRequest]):
    """[[{label, score}]], the likeliest first."""

    what = "a classification"

    def read(self, body: bytes) -> Delta:
        try:
            labels = msgspec.convert(_json(body, self._name), list[list[Label]])
        except msgspec.ValidationError as exc:
            raise UpstreamInvalid(f"{self._name} sent labels of an unknown shape.") from exc
        if len(labels) != len(self._request.inputs):
            raise UpstreamInvalid(f"{self._name} sent labels for other inputs than it was given.")
        return Labels(labels)


def _json(body: bytes, name: str) -> Any:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UpstreamInvalid(f"{name} sent an answer that is not JSON.") from exc
