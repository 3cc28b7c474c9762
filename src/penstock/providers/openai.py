"""The OpenAI dialect, outbound: OpenAI, the vendors that copy it (profiles.py), our own engines' servers.

    operation    path               notes
    chat         /chat/completions  a stream always asks for usage; the inbound side withholds it
    completion   /completions
    embedding    /embeddings        asks for base64 (4 bytes a number instead of about 20); reads both forms
    moderation   /moderations
    rerank       /rerank            Jina's shape, as vLLM, Infinity and llama.cpp serve it; reads TEI's, too

Every body is written anew from the checked request; the client's key is never part of one.

The answers are read in openai_completions.py and openai_vectors.py, refusals in openai_errors.py.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.providers.openai_completions import CompletionReader
from penstock.providers.openai_errors import map_error
from penstock.providers.openai_events import EventReader
from penstock.providers.openai_forced import ForcedReader, force, schema_of
from penstock.providers.openai_lower import own_request
from penstock.providers.openai_vectors import EmbeddingReader, ModerationReader, RerankReader
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.tools import LONGEST_NAME, Letters, renamed
from penstock.types.conversation import Dialect
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Quirks, Reader
from penstock.types.errors import InternalError, PenstockError
from penstock.types.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ModerationRequest,
    Operation,
    Request,
    RerankRequest,
)

JSON = dict[str, Any]

OPERATIONS: frozenset[Operation] = frozenset({"chat", "completion", "embedding", "rerank", "moderation"})

_encode = msgspec.json.Encoder().encode


class OpenAICodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "openai"
    operations = OPERATIONS
    counts = False

    def __init__(self, quirks: Quirks | None = None, *, name: str = "The upstream") -> None:
        self.quirks = quirks or Quirks()
        self._has_chat_quirks = bool(
            self.quirks.rename_chat or self.quirks.drop_message or not self.quirks.json_schema
        )
        self.name = name

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        dropped: list[str] = []
        schema: JSON | None = None
        if isinstance(request, ChatRequest) and request.dialect != "openai":
            request, dropped, schema = own_request(request, self.quirks, deployment.model)
        if self.quirks.adapt is not None:
            request = self.quirks.adapt(request, deployment)
        match request:
            case ChatRequest():
                return self._completion("/chat/completions", request, deployment, dropped, schema)
            case CompletionRequest():
                return self._completion("/completions", request, deployment, dropped)
            case EmbeddingRequest():
                return Outgoing("/embeddings", self._finish(_embedding_body(request, deployment.model)))
            case ModerationRequest():
                body = {**request.body, "model": deployment.model}
                return Outgoing("/moderations", self._finish(body))
            case RerankRequest():
                return Outgoing("/rerank", self._finish(_rerank_body(request, deployment.model)))
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def _completion(
        self,
        path: str,
        request: ChatRequest | CompletionRequest,
        deployment: Deployment,
        dropped: list[str],
        schema: JSON | None = None,
    ) -> Outgoing:
        body = {**request.body, "model": deployment.model}
        is_stream = request.stream or self.quirks.always_stream
        options = body.pop("stream_options", None)
        body.pop("stream", None)
        if is_stream:
            body["stream"] = True
            body["stream_options"] = {**(options or {}), "include_usage": True}
        if self._has_chat_quirks and isinstance(request, ChatRequest):
            self._adapt_chat(body, dropped)
            if not self.quirks.json_schema and (wanted := schema_of(body)) is not None:
                schema = wanted
                force(body, schema)
        unwanted = self.quirks.drop
        if unwanted:
            dropped += sorted(body.keys() & unwanted - {"stream_options"})  # that is our own
            for key in unwanted:
                body.pop(key, None)
        return Outgoing(path, _encode(body), is_stream=is_stream, dropped=tuple(dropped), schema=schema)

    def _adapt_chat(self, body: JSON, dropped: list[str]) -> None:
        for old, new in self.quirks.rename_chat:
            if old in body:
                value = body.pop(old)
                if old != "max_tokens" or new not in body:  # of two limits, the newer name's counts
                    body[new] = value
        unwanted = self.quirks.drop_message
        if unwanted:
            messages = body["messages"]
            found = {key for message in messages for key in unwanted if key in message}
            if found:
                dropped += [f"messages[].{key}" for key in sorted(found)]
                body["messages"] = [
                    {key: value for key, value in message.items() if key not in found} for message in messages
                ]

    def _finish(self, body: JSON) -> bytes:
        for key in self.quirks.drop:
            body.pop(key, None)
        return _encode(body)

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        match request:
            case ChatRequest() | CompletionRequest():
                made = CompletionReader if self.quirks.json_schema else self._reader_for(request)
                reader = made(request, self.name, recount=self.quirks.recount_completion)
                if request.dialect == "openai":
                    return reader
                tools = request.conversation().tools if isinstance(request, ChatRequest) else ()
                customs = (
                    () if self.quirks.custom_tools else (one.name for one in tools if one.kind == "custom")
                )
                return EventReader(reader, renamed(tools, Letters(LONGEST_NAME)), frozenset(customs))
            case EmbeddingRequest():
                return EmbeddingReader(request, self.name)
            case ModerationRequest():
                return ModerationReader(request, self.name)
            case RerankRequest():
                return RerankReader(request, self.name)
            case _:
                raise InternalError(f"{self.name} does not do {request.operation}")

    def _reader_for(self, request: ChatRequest | CompletionRequest) -> type[CompletionReader]:
        """How a vendor without schemas answers: by the forced tool, if there is one."""
        if not isinstance(request, ChatRequest):
            return CompletionReader
        own = own_request(request, self.quirks).request
        schema = schema_of(own.body)
        is_forced = schema is not None and force(dict(own.body), schema) is not None
        return ForcedReader if is_forced else CompletionReader

    def takes_url(self, url: str) -> bool:  # noqa: ARG002 - of the Protocol
        return True

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    return plain_connection(profile, credentials, OpenAICodec(profile.quirks, name=name))


def _embedding_body(request: EmbeddingRequest, model: str) -> JSON:
    body: JSON = {**request.extra, "model": model, "input": request.inputs, "encoding_format": "base64"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    if request.truncate:
        body["truncate"] = True
    if not request.normalize:
        body["normalize"] = False
    return body


def _rerank_body(request: RerankRequest, model: str) -> JSON:
    body: JSON = {
        **request.extra,
        "model": model,
        "query": request.query,
        "documents": request.documents,
        "return_documents": False,
    }
    if request.top_n is not None:
        body["top_n"] = min(request.top_n, len(request.documents))
    if request.raw_scores:
        body["raw_scores"] = True
    if not request.truncate:
        body["truncate"] = False
    return body
