"""Inbound wire formats. One table says which path speaks which.

INBOUND      paths that are always the same
find         paths that hold a model or an action (Gemini)
errors_of    the shape of an error where no inbound protocol was reached: an unknown path, a wrong method
"""

from collections.abc import Callable, Mapping
from typing import Literal

from penstock.protocols import (
    anthropic_errors,
    anthropic_messages,
    cohere_embed,
    gemini,
    gemini_errors,
    ollama,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_moderations,
    rerank,
    responses,
    tei,
)
from penstock.types.errors import PenstockError
from penstock.types.wire import Inbound

INBOUND: Mapping[str, Inbound] = {
    "/v1/chat/completions": openai_chat,
    "/v1/completions": openai_completions,
    "/v1/embeddings": openai_embeddings,
    "/v1/responses": responses.CREATE,
    "/v1/responses/input_tokens": responses.COUNT,
    "/v1/messages": anthropic_messages.MESSAGES,
    "/v1/messages/count_tokens": anthropic_messages.COUNT,
    "/api/chat": ollama.CHAT,
    "/api/generate": ollama.GENERATE,
    "/api/embed": ollama.EMBED,
    "/api/embeddings": ollama.EMBEDDINGS,
    "/v1/moderations": openai_moderations,
    "/v1/embed": cohere_embed.V1,
    "/v2/embed": cohere_embed.V2,
    "/v1/rerank": rerank.V1,
    "/v2/rerank": rerank.V2,
    "/rerank": tei.RERANK,
    "/embed": tei.EMBED,
    "/predict": tei.PREDICT,
}

ErrorBody = Callable[[PenstockError, str], bytes]


def find(path: str, query: bytes) -> Inbound | None:
    """The inbound format of a path that names the model or the action."""
    return gemini.find(path, query)


def errors_of(path: str, headers: Mapping[bytes, bytes]) -> ErrorBody:
    inbound = INBOUND.get(path) or find(path, b"")
    if inbound is not None:
        return inbound.error_body
    if path.startswith("/v1/models"):
        return _MODEL_ERRORS[dialect_of(headers)]
    if path.startswith("/v1/messages"):
        return anthropic_errors.error_body
    if path.startswith("/v1beta/"):
        return _MODEL_ERRORS["gemini"]
    if path.startswith("/api/"):
        return ollama.CHAT.error_body
    return openai_chat.error_body


def dialect_of(headers: Mapping[bytes, bytes]) -> Literal["openai", "anthropic", "gemini"]:
    """Whose client asks at a path that several dialects share (/v1/models)."""
    if b"anthropic-version" in headers:
        return "anthropic"
    return "gemini" if b"x-goog-api-key" in headers else "openai"


_MODEL_ERRORS: Mapping[str, ErrorBody] = {
    "openai": openai_chat.error_body,
    "anthropic": anthropic_errors.error_body,
    "gemini": lambda error, _: gemini_errors.error_body(error),
}
