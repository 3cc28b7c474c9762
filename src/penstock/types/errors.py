"""The closed error vocabulary. Everything the program refuses or fails at is one of these.

    PenstockError
    |- InvalidRequest            400  the caller's fault; `param` names the JSON path
    |  |- UnsupportedParameter   400
    |  |- ContextLengthExceeded  400
    |  |- PreviousResponseNotFound  400  a response to go on from is not kept, or not this caller's
    |  |- ResponseNotFound       404
    |  |- RequestTooLarge        413
    |  `- UnsupportedMediaType   415
    |- InvalidApiKey             401  never says whether a key exists
    |- PermissionDenied          403
    |- PriceUnknown              403  what the model costs is not known, and this server refuses such calls
    |- IdentityUnavailable       503  who calls cannot be verified now: their issuer's keys cannot be had
    |- ModelNotFound             404
    |- NotFound                  404
    |  `- NotFoundRow            404  the store has no such row
    |- Conflict                  409  somebody else changed the row, or its name is taken
    |- MethodNotAllowed          405
    |- RateLimitExceeded         429  requests or tokens of a key, a team, a route; credentials that failed
    |  `- ConcurrencyLimitExceeded  429
    |- BudgetExceeded            402  429 for clients of OpenAI and Gemini, who know it so
    |- LimitsUnavailable         503  the store of the limits is down, and a limit says `closed`
    |- ModelLoading              503  with state, progress and eta; `retry-after`
    |- ServerStopping            503  the request outlived the drain of a server that shuts down
    |- NoHealthyTarget           503  all that could answer were asked, and failed
    |- QueueFull                 503  a deployment is busy, and too many wait for it
    |- QueueTimeout              503  it waited for its turn as long as it may
    |- DeadlineExceeded          504  its own deadline passed before its turn came
    |- StoreUnavailable          503  the database cannot be reached, is locked, or answers nonsense
    |  |- StoreFull              503  its disk is full
    |  `- SchemaMismatch         503  it is older or newer than this release; says what to type
    |- UpstreamError             502  an engine or a provider failed us
    |  |- UpstreamTimeout        504
    |  |- UpstreamUnavailable    502  could not connect, or it answered 5xx before any content
    |  |- UpstreamCut            502  the answer ended before its terminal event
    |  |- UpstreamInvalid        502  the answer is not what its protocol promises
    |  |- UpstreamRateLimited    503  a provider's 429
    |  `- UpstreamCredentials    502  a provider refused our credentials
    `- InternalError             500  always a bug

Foreign errors are mapped to these once, at the border where they enter, with `from exc`.
`code` and `status` are part of the public contract (docs/errors.md).
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt that came to nothing, as an operator is told of it: no address, no credential."""

    deployment: str
    code: str
    ms: float | None = None  # None: nothing was sent, as it was full or still loads


class PenstockError(Exception):
    """An error that a client may see.

    message: one sentence for the person reading it; never a secret, never another tenant's data.
    param: JSON path into the request (`messages[0].role`), where one is to blame.
    retry_after_s: seconds after which the same request may succeed.
    detail: what only the operator may see; it goes to the log.
    attempts: what was tried; only on the copy that a caller who may know it gets (gateway/attempts.py).
    """

    attempts: Sequence[Failure] = ()

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    openai_type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.detail = detail
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(PenstockError):
    code = "invalid_request"
    status = 400
    openai_type = "invalid_request_error"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class ResponseNotFound(InvalidRequest):
    """A response that is not kept, or not this caller's."""

    code = "response_not_found"
    status = 404


class PreviousResponseNotFound(InvalidRequest):
    code = "previous_response_not_found"


class RequestTooLarge(InvalidRequest):
    code = "request_too_large"
    status = 413


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"
    status = 415


class InvalidApiKey(PenstockError):
    code = "invalid_api_key"
    status = 401
    openai_type = "authentication_error"


class PermissionDenied(PenstockError):
    code = "permission_denied"
    status = 403
    openai_type = "permission_error"


class PriceUnknown(PenstockError):
    code = "price_unknown"
    status = 403
    openai_type = "permission_error"


class IdentityUnavailable(PenstockError):
    code = "identity_unavailable"
    status = 503
    retryable = True


class ModelNotFound(PenstockError):
    code = "model_not_found"
    status = 404
    openai_type = "invalid_request_error"


class NotFound(PenstockError):
    code = "not_found"
    status = 404
    openai_type = "invalid_request_error"


class NotFoundRow(NotFound):
    """The store has no such row."""


class Conflict(PenstockError):
    """Read it again, and decide anew."""

    code = "conflict"
    status = 409
    openai_type = "invalid_request_error"


class MethodNotAllowed(PenstockError):
    """`allowed` is the value of the Allow header."""

    code = "method_not_allowed"
    status = 405
    openai_type = "invalid_request_error"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class RateLimitExceeded(PenstockError):
    code = "rate_limit_exceeded"
    status = 429
    openai_type = "rate_limit_error"
    retryable = True


class ConcurrencyLimitExceeded(RateLimitExceeded):
    code = "concurrency_limit_exceeded"


class BudgetExceeded(PenstockError):
    """SDKs try a 429 again by themselves; they are told not to (`x-should-retry`)."""

    code = "budget_exceeded"
    status = 402
    openai_type = "insufficient_quota"


class LimitsUnavailable(PenstockError):
    code = "limits_unavailable"
    status = 503
    retryable = True


class ModelLoading(PenstockError):
    code = "model_loading"
    status = 503
    retryable = True


class ServerStopping(PenstockError):
    code = "server_stopping"
    status = 503
    retryable = True


class NoHealthyTarget(PenstockError):
    code = "no_healthy_target"
    status = 503
    retryable = True


class QueueFull(PenstockError):
    code = "queue_full"
    status = 503
    retryable = True


class QueueTimeout(PenstockError):
    code = "queue_timeout"
    status = 503
    retryable = True


class DeadlineExceeded(PenstockError):
    code = "deadline_exceeded"
    status = 504


class UpstreamError(PenstockError):
    code = "upstream_unavailable"
    status = 502
    openai_type = "upstream_error"
    retryable = True


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"
    status = 504


class UpstreamUnavailable(UpstreamError):
    code = "upstream_unavailable"


class UpstreamCut(UpstreamError):
    code = "upstream_cut"


class UpstreamInvalid(UpstreamError):
    code = "upstream_invalid"


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"
    status = 503


class UpstreamCredentials(UpstreamError):
    code = "upstream_credentials_exhausted"
    retryable = False


class StoreUnavailable(PenstockError):
    code = "store_unavailable"
    status = 503
    retryable = True


class StoreFull(StoreUnavailable):
    """Nothing was written; what was there is whole."""


class SchemaMismatch(StoreUnavailable):
    """Nobody may touch the database before somebody has migrated it."""


class InternalError(PenstockError):
    code = "internal_error"
