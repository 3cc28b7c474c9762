"""Cohere, outbound: https://docs.cohere.com/reference

chat         /compatibility/v1/chat/completions    Cohere's own door for OpenAI's dialect
embedding    /v2/embed                             input_type says what the texts are for
rerank       /v2/rerank
"""

from typing import Any

import msgspec

from penstock.providers.openai import OpenAICodec
from penstock.providers.openai_usage import count, decode_object
from penstock.providers.openai_vectors import RerankReader
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.vectors import read_vectors, texts_of
from penstock.providers.whole import WholeReader
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Reader
from penstock.types.errors import UnsupportedParameter
from penstock.types.events import Delta, Vectors
from penstock.types.requests import EmbeddingRequest, Operation, Request, RerankRequest
from penstock.types.usage import Usage

JSON = dict[str, Any]

COMPATIBILITY = "/compatibility/v1"
INPUT_TYPES = {  # EmbeddingRequest.purpose -> input_type
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}
_KNOWN = frozenset({"max_tokens_per_doc", "priority"})  # of rerank, beside what every request says

_encode = msgspec.json.Encoder().encode


class CohereCodec(OpenAICodec):
    operations: frozenset[Operation] = frozenset({"chat", "embedding", "rerank"})

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        match request:
            case EmbeddingRequest():
                body = {**embed_body(request), "model": deployment.model}
                return Outgoing("/v2/embed", _encode(body), dropped=tuple(sorted(request.extra)))
            case RerankRequest():
                return _rerank(request, deployment.model)
            case _:
                outgoing = super().encode(request, deployment)
                return outgoing._replace(path=COMPATIBILITY + outgoing.path)

    def reader(self, request: Request, deployment: Deployment) -> Reader:
        match request:
            case EmbeddingRequest():
                return EmbedReader(request, self.name)
            case RerankRequest():
                return RerankReader(request, self.name)
            case _:
                return super().reader(request, deployment)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    made = plain_connection(profile, credentials, CohereCodec(profile.quirks, name=name))
    path = made.address.path.removesuffix(COMPATIBILITY)  # as many configurations name it
    return made._replace(address=made.address._replace(path=path))


def embed_body(request: EmbeddingRequest) -> JSON:
    """Of /v2/embed, and of Cohere's models at Bedrock; without the model."""
    body: JSON = {
        "texts": texts_of(request),
        "input_type": INPUT_TYPES.get(request.purpose or "", "search_document"),
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    body["truncate"] = "END" if request.truncate else "NONE"  # unsaid, what is too long is cut in silence
    return body


class EmbedReader(WholeReader[EmbeddingRequest]):
    """{"embeddings": {"float": [[...]]}}, at Bedrock sometimes the list alone."""

    def read(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        found = decoded.get("embeddings")
        rows = found.get("float") if isinstance(found, dict) else found
        vectors = read_vectors(rows, self._request, self._name)
        return Vectors([*vectors], _usage(decoded))


def _usage(decoded: JSON) -> Usage | None:
    meta = decoded.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    tokens = billed.get("input_tokens") if isinstance(billed, dict) else None
    return None if tokens is None else Usage(count(tokens))


def _rerank(request: RerankRequest, model: str) -> Outgoing:
    if request.raw_scores:
        raise UnsupportedParameter("`raw_scores`: this model gives no raw scores.", param="raw_scores")
    body: JSON = {"model": model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        body["top_n"] = min(request.top_n, len(request.documents))
    body |= {key: value for key, value in request.extra.items() if key in _KNOWN}
    return Outgoing("/v2/rerank", _encode(body), dropped=tuple(sorted(request.extra.keys() - _KNOWN)))
