"""Ollama's own API, outbound: https://docs.ollama.com/api (fields: its api/types.go, 0.33).

    chat         /api/chat, /api/generate for a request that came as one     streams are JSON lines
    embedding    /api/embed

Beside its OpenAI-compatible door (kind `ollama`), this one is bound by any JSON Schema, thinks by `think`,
and says when a prompt does not fit: Ollama cuts it in silence unless told otherwise, so it is told
(`truncate: false`), but for a client of its own dialect, who may say so itself.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.providers.ollama_lower import Lowering
from penstock.providers.ollama_reader import ChatReader, EmbeddingReader, TypedReader
from penstock.providers.openai_errors import map_error
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.vectors import texts_of
from penstock.types.conversation import Dialect
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Reader
from penstock.types.errors import InternalError, PenstockError
from penstock.types.requests import ChatRequest, EmbeddingRequest, Operation, Request

JSON = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class OllamaCodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "ollama"
    operations: frozenset[Operation] = frozenset({"chat", "embedding"})
    counts = False

    def __init__(self, *, name: str = "Ollama") -> None:
        self.name = name

    def takes_url(self, url: str) -> bool:  # noqa: ARG002 - images travel as their bytes
        return False

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        match request:
            case ChatRequest():
                return self._chat(request, deployment)
            case EmbeddingRequest():
                return Outgoing("/api/embed", _encode(_embedding_body(request, deployment.model)))
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def _chat(self, request: ChatRequest, deployment: Deployment) -> Outgoing:
        path = "/api/chat"
        dropped: tuple[str, ...] = ()
        schema: JSON | None = None
        if request.dialect == self.dialect:
            body = dict(request.body)
            if "messages" not in body:
                path = "/api/generate"
        else:
            lowering = Lowering(request.conversation(), deployment.model)
            body = lowering.body()
            dropped, schema = tuple(lowering.dropped), lowering.schema
        body |= {"model": deployment.model, "stream": request.stream}
        return Outgoing(
            path,
            _encode(body),
            is_stream=request.stream,
            framing="lines",
            dropped=dropped,
            schema=schema,
        )

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        match request:
            case ChatRequest() if request.dialect == self.dialect:
                return ChatReader(self.name)
            case ChatRequest():
                return TypedReader(self.name, request.conversation())
            case EmbeddingRequest():
                return EmbeddingReader(request, self.name)
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, _opened(body))


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    """A key is for ollama.com or a proxy; a server of one's own needs none."""
    return plain_connection(profile, credentials, OllamaCodec(name=name))


def _embedding_body(request: EmbeddingRequest, model: str) -> JSON:
    body: JSON = {"model": model, "input": texts_of(request), "truncate": request.truncate}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def _opened(body: bytes) -> bytes:
    """{"error": text}, where the text may be the whole error of the engine behind, as JSON."""
    try:
        inner = _decode(body)["error"]
        return inner.encode() if isinstance(_decode(inner), dict) else body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, KeyError, AttributeError):
        return body
