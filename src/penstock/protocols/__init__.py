"""Inbound wire formats. One table says which path speaks which.

INBOUND      paths that are always the same
find         paths that hold a model or an action (Gemini)
errors_of    the shape of an error where no inbound protocol was reached: an unknown path, a wrong method
"""

from collections.abc import Callable, Mapping

from penstock.protocols import (
    anthropic_errors,
    anthropic_messages,
    openai_chat,
    openai_completions,
    openai_embeddings,
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
    "/v1/rerank": rerank.V1,
    "/v2/rerank": rerank.V2,
    "/rerank": tei.RERANK,
    "/embed": tei.EMBED,
}

ErrorBody = Callable[[PenstockError, str], bytes]


def find(path: str, query: bytes) -> Inbound | None:  # noqa: ARG001
    return None


def errors_of(path: str, headers: Mapping[bytes, bytes]) -> ErrorBody:
    inbound = INBOUND.get(path)
    if inbound is not None:
        return inbound.error_body
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and speaks_anthropic(headers)):
        return anthropic_errors.error_body
    return openai_chat.error_body


def speaks_anthropic(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client of a path that two dialects share (/v1/models) is one of Anthropic's."""
    return b"anthropic-version" in headers
