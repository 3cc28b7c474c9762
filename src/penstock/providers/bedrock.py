"""AWS Bedrock's Converse API, outbound: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

    chat         /model/{id}/converse, .../converse-stream    streams framed as AWS event streams
    embedding    /model/{id}/invoke                           Cohere's models, and Titan's, one text a call

Model ids, inference profiles and ARNs are percent-encoded in the path. A request is signed (SigV4) with the
provider's access_key_id and secret_access_key, else those of the environment, or carries a Bedrock API key.
"""

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from penstock.lib.clock import Clock, SystemClock
from penstock.lib.sigv4 import Keys, sign
from penstock.providers.bedrock_lower import Lowering
from penstock.providers.bedrock_reader import ConverseReader
from penstock.providers.cohere import EmbedReader, embed_body
from penstock.providers.openai_usage import count, decode_object
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.vectors import read_vectors, texts_of
from penstock.providers.whole import WholeReader
from penstock.types.conversation import Dialect
from penstock.types.deployment import (
    Address,
    Connection,
    Credentials,
    Deployment,
    Fetch,
    Outgoing,
    Reader,
)
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PenstockError,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.events import Delta, Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest, Operation, Request
from penstock.types.usage import Usage

JSON = dict[str, Any]

OPERATIONS: frozenset[Operation] = frozenset({"chat", "embedding"})
KEY_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_TOO_LONG = ("too long", "context window", "maximum context", "too many input tokens", "exceeds the maximum")

_encode = msgspec.json.Encoder().encode


class BedrockCodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "bedrock"
    operations = OPERATIONS
    counts = False

    def __init__(self, *, name: str = "The upstream") -> None:
        self.name = name

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        path = f"/model/{quote(deployment.model, safe='')}"
        if isinstance(request, EmbeddingRequest):
            return Outgoing(f"{path}/invoke", _encode(_embedding(request, deployment.model)))
        chat = _chat(request)
        lowering = Lowering(chat.conversation(), deployment.model)
        body = _encode(lowering.body())
        made = Outgoing(f"{path}/converse", body, dropped=tuple(lowering.dropped), schema=lowering.schema)
        if not chat.stream:
            return made
        return made._replace(path=f"{path}/converse-stream", is_stream=True, framing="aws")

    def reader(self, request: Request, deployment: Deployment) -> Reader:
        if isinstance(request, EmbeddingRequest):
            made = EmbedReader if "cohere" in deployment.model else TitanReader
            return made(request, self.name)
        conversation = _chat(request).conversation()
        lowering = Lowering(conversation, deployment.model)
        customs = frozenset(tool.name for tool in conversation.tools if tool.kind == "custom")
        return ConverseReader(self.name, lowering.renamed, customs, lowering.forced)

    def takes_url(self, url: str) -> bool:
        return url.startswith("s3://")

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        found = dict(headers)
        kind = found.get(b"x-amzn-errortype", b"").partition(b":")[0].decode("latin-1")
        try:
            decoded = msgspec.json.decode(body)
            said = str(decoded.get("message") or decoded.get("Message") or "")
        except (msgspec.DecodeError, AttributeError, UnicodeDecodeError, RecursionError):
            said = ""
        retry = found.get(b"retry-after", b"").decode("latin-1")
        retry_after_s = float(retry) if retry.isdigit() else None
        return _error(self.name, status, kind, said, retry_after_s)


def _error(name: str, status: int, kind: str, said: str, retry_after_s: float | None) -> PenstockError:
    message = f"{name}: {said or f'status {status}'}"
    match status:
        case 400 if any(words in said.lower() for words in _TOO_LONG):
            return ContextLengthExceeded(message, param="messages")
        case 400 if kind == "ServiceQuotaExceededException":
            return UpstreamRateLimited(f"{name}: our quota is used up.", detail=said)
        case 400 | 413 | 422:
            return InvalidRequest(message)
        case 401 | 403:
            return UpstreamCredentials(f"{name} refused our credentials.", detail=f"{kind}: {said}")
        case 404:
            return UpstreamError(
                f"{name} does not know the model; the deployment's model, region or access may be wrong.",
                detail=f"{kind}: {said}",
            )
        case 408 | 504:
            return UpstreamTimeout(message)
        case 424 if kind == "ModelTimeoutException":
            return UpstreamTimeout(message)
        case 429:
            return UpstreamRateLimited(f"{name} limits our rate.", retry_after_s=retry_after_s, detail=said)
        case _:
            return UpstreamUnavailable(message, retry_after_s=retry_after_s)


class SigV4Signer:
    """Signs each request."""

    def __init__(self, keys: Keys, region: str, clock: Clock | None = None) -> None:
        self._keys = keys
        self._region = region
        self._clock = clock or SystemClock()

    async def sign(
        self,
        fetch: Fetch,  # noqa: ARG002 - no token is needed
        address: Address,
        outgoing: Outgoing,
    ) -> tuple[tuple[str, str], ...]:
        default = 443 if address.scheme == "https" else 80
        host = address.host if address.port == default else f"{address.host}:{address.port}"
        return sign(
            self._keys,
            method="POST",
            host=host,
            path=address.path + outgoing.path,
            headers=(("content-type", "application/json"),),
            body=outgoing.body,
            region=self._region,
            service="bedrock",
            at=self._clock.wall(),
        )


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    """Raises ValueError without a region or credentials."""
    region = credentials.region or next((os.environ[v] for v in _REGION_VARIABLES if os.environ.get(v)), None)
    if region is None:
        raise ValueError("region is missing; write region: us-east-1, or set AWS_REGION")
    url = credentials.base_url or f"https://bedrock-runtime.{region}.amazonaws.com"
    api_key = credentials.api_key or os.environ.get(KEY_VARIABLE)
    keys = _keys(credentials)
    codec = BedrockCodec(name=name)
    said = msgspec.structs.replace(credentials, base_url=url, api_key=None if keys else api_key)
    made = plain_connection(profile, said, codec)
    if keys is not None:
        return made._replace(signer=SigV4Signer(keys, region))
    if api_key is None:
        raise ValueError(
            "credentials are missing; write access_key_id and secret_access_key, or an api_key of Bedrock,"
            f" or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or {KEY_VARIABLE}"
        )
    return made


def _keys(credentials: Credentials) -> Keys | None:
    if credentials.access_key_id and credentials.secret_access_key:
        return Keys(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    if credentials.api_key is not None:
        return None
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Keys(access, secret, os.environ.get("AWS_SESSION_TOKEN") or None)
    return None


def _chat(request: Request) -> ChatRequest:
    if not isinstance(request, ChatRequest):
        raise UnsupportedParameter(f"The model does not serve {request.operation} requests.", param="model")
    return request


# -- embeddings


def _embedding(request: EmbeddingRequest, model: str) -> JSON:
    if "cohere" in model:
        return embed_body(request)
    texts = texts_of(request)
    if len(texts) != 1:
        raise UnsupportedParameter("This model takes one text a request.", param="input")
    body: JSON = {"inputText": texts[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if not request.normalize:
        body["normalize"] = False
    return body


class TitanReader(WholeReader[EmbeddingRequest]):
    """{"embedding": [...]}, of one text."""

    def read(self, body: bytes) -> Delta:
        decoded = decode_object(body, self._name)
        vectors = read_vectors([decoded.get("embedding")], self._request, self._name)
        tokens = decoded.get("inputTextTokenCount")
        return Vectors([*vectors], Usage(count(tokens)) if tokens is not None else None)
