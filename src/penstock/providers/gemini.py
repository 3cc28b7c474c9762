"""The Gemini dialect, outbound: the Gemini API (Google AI Studio). Vertex AI is this with another door.

    operation       path, below /v1beta                        notes
    chat            /models/{m}:generateContent
      streamed      /models/{m}:streamGenerateContent?alt=sse  without alt=sse it would be one JSON array
      counts_only   /models/{m}:countTokens                    of the whole request, tools included
    embedding       /models/{m}:batchEmbedContents

A model of another kind is named with it: tunedModels/mine.

A Gemini client's body goes on as it was written, but for thoughts that another vendor signed: the model is in
the path alone. Others are written by gemini_lower.py; answers are read in gemini_reader.py and
gemini_vectors.py, refusals in gemini_errors.py.
"""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from penstock.dialects.gemini import JSON, without_foreign
from penstock.providers.gemini_errors import map_error
from penstock.providers.gemini_lower import Lowering, is_fetched_by_google
from penstock.providers.gemini_reader import CountReader, GeminiReader
from penstock.providers.gemini_vectors import EmbeddingReader, batch_body
from penstock.providers.profiles import Profile, plain_connection
from penstock.types.conversation import Dialect
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Reader
from penstock.types.errors import InternalError, PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, EmbeddingRequest, Operation, Request

_encode = msgspec.json.Encoder().encode


class GeminiCodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "gemini"
    operations: frozenset[Operation] = frozenset({"chat", "embedding"})
    counts = True
    ids = True  # functionCall.id and functionResponse.id are known

    def __init__(self, *, name: str = "Gemini") -> None:
        self.name = name

    def takes_url(self, url: str) -> bool:
        """Whether Google fetches it: then the gateway must not."""
        return is_fetched_by_google(url)

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        match request:
            case ChatRequest():
                return self._chat(request, deployment)
            case EmbeddingRequest():
                return self._embedding(request, deployment)
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def _chat(self, request: ChatRequest, deployment: Deployment) -> Outgoing:
        path = self.path_of(deployment.model)
        dropped: tuple[str, ...] = ()
        schema = None
        if request.dialect == self.dialect:
            body = request.body
            if "model" in body:
                body = {key: value for key, value in body.items() if key != "model"}
            encoded = _encode(body)
            own = without_foreign(body["contents"], encoded)
            if own is not None:
                body = {**body, "contents": [content for content in own if content.get("parts") != []]}
                encoded = _encode(body)
                dropped = ("messages[].reasoning",)
        else:
            lowering = Lowering(request.conversation(), deployment.model, ids=self.ids)
            body = lowering.body()
            if not body["contents"]:
                raise UnsupportedParameter(
                    "Nothing of the messages can be told to this model.", param="messages"
                )
            encoded = _encode(body)
            dropped, schema = tuple(lowering.dropped), lowering.schema
        if request.counts_only:
            return Outgoing(f"{path}:countTokens", _encode(self.count_body(body, deployment.model)))
        if request.stream:
            return Outgoing(
                f"{path}:streamGenerateContent?alt=sse",
                encoded,
                is_stream=True,
                dropped=dropped,
                schema=schema,
            )
        return Outgoing(f"{path}:generateContent", encoded, dropped=dropped, schema=schema)

    # -- what Vertex AI does otherwise

    def path_of(self, model: str) -> str:
        return "/" + quote(resource(model), safe="/-._~@")

    def count_body(self, body: JSON, model: str) -> JSON:
        return {"generateContentRequest": {"model": resource(model), **body}}

    def _embedding(self, request: EmbeddingRequest, deployment: Deployment) -> Outgoing:
        body = batch_body(request, resource(deployment.model))
        return Outgoing(f"{self.path_of(deployment.model)}:batchEmbedContents", _encode(body))

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        match request:
            case ChatRequest():
                return CountReader(self.name) if request.counts_only else GeminiReader(request, self.name)
            case EmbeddingRequest():
                return EmbeddingReader(request, self.name)
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def resource(model: str) -> str:
    """A model's resource name: `models/` unless it says what it is."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    return plain_connection(profile, credentials, GeminiCodec(name=name))
