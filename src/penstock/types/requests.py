"""What a caller asked for, checked: the only form in which a request travels inside the gateway.

`body` is the decoded request in the client's `dialect`, with explicit nulls removed at every depth of the
schema and nothing else changed, so a field this release does not know reaches a target of the same dialect.
It is the single source for re-encoding; the typed fields beside it are what the gateway itself reads. A
target of another dialect is written from `conversation()`. `model` is empty where the caller's protocol lets
it name none (TEI): the gateway then takes the default route of the operation.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from penstock.types.conversation import Conversation, Dialect

Operation = Literal["chat", "completion", "embedding", "rerank", "classification", "moderation"]

Lift = Callable[["ChatRequest"], Conversation]


class ChatRequest(msgspec.Struct):
    """`counts_only`: the client asks how many tokens the prompt is, and for no answer.

    lift: how the inbound protocol turns `body` into a Conversation; may raise InvalidRequest.
    forward: headers of the client that a target of the same dialect gets, too (anthropic-beta).
    inbound: what the decoding protocol notes for its own encoder; nobody else looks.
    recalled_bytes: of `body` what the client did not send, but named (an earlier response).
    """

    model: str
    body: dict[str, Any]
    stream: bool = False
    include_usage: bool = False  # stream_options.include_usage: the client wants the usage chunk
    n: int = 1
    max_tokens: int | None = None  # max_completion_tokens, else max_tokens
    dialect: Dialect = "openai"
    lift: Lift | None = None
    forward: tuple[tuple[str, str], ...] = ()
    inbound: Any = None
    counts_only: bool = False
    recalled_bytes: int = 0

    operation: Operation = "chat"

    _lifted: Conversation | None = None

    def conversation(self) -> Conversation:
        """The request in no vendor's words; the same object each time. Raises InvalidRequest."""
        if self._lifted is None:
            if self.lift is None:
                raise TypeError(f"a {self.dialect} request without a lift")
            self._lifted = self.lift(self)
        return self._lifted


class CompletionRequest(msgspec.Struct):
    model: str
    body: dict[str, Any]
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    max_tokens: int | None = None
    dialect: Dialect = "openai"

    operation: Operation = "completion"


class EmbeddingRequest(msgspec.Struct):
    """`inputs`: texts, or token-id arrays, one per vector."""

    model: str
    inputs: list[str] | list[list[int]]
    dimensions: int | None = None
    truncate: bool = False  # cut inputs that are too long instead of refusing them (TEI's `truncate`)
    normalize: bool = True
    user: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)  # fields this release does not know
    inbound: Any = None  # what the decoding protocol notes for its own encoder; nobody else looks
    purpose: str | None = None  # query | document | classification | clustering, where the client says it

    operation: Operation = "embedding"
    stream: bool = False


class RerankRequest(msgspec.Struct):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    raw_scores: bool = False  # logits instead of probabilities, where the model has them
    truncate: bool = True
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    inbound: Any = None  # as in EmbeddingRequest

    operation: Operation = "rerank"
    stream: bool = False


class ModerationRequest(msgspec.Struct):
    """OpenAI's own shape; only a target of that dialect answers it."""

    model: str
    body: dict[str, Any]

    operation: Operation = "moderation"
    stream: bool = False


class ClassificationRequest(msgspec.Struct):
    """`inputs`: one text, or a pair of texts, each."""

    model: str
    inputs: list[list[str]]
    raw_scores: bool = False
    truncate: bool = False
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    inbound: Any = None  # as in EmbeddingRequest

    operation: Operation = "classification"
    stream: bool = False


Request = (
    ModerationRequest
    | ChatRequest
    | CompletionRequest
    | EmbeddingRequest
    | RerankRequest
    | ClassificationRequest
)
