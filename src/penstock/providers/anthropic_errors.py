"""What Anthropic answers when it refuses or fails: https://platform.claude.com/docs/en/api/errors

    Anthropic says                                    becomes                 whose fault
    400 413 422 invalid_request_error                 InvalidRequest          the caller's: its path is kept
        prompt is too long                            ContextLengthExceeded
        credit balance is too low                     UpstreamCredentials     ours: no text is passed on
    401 402 403                                       UpstreamCredentials
    404                                               UpstreamError           ours: a wrong deployment
    408 504 timeout_error                             UpstreamTimeout
    409 429 rate_limit_error                          UpstreamRateLimited     until when: rate_limits.py
    500 502 503 529 overloaded_error                  UpstreamUnavailable

Inside a stream only the error's type is there: it stands for its status.
"""

import re
from typing import Any

import msgspec

from penstock.providers import openai_errors
from penstock.providers.rate_limits import Headers
from penstock.types.errors import InvalidRequest, PenstockError, UpstreamCredentials

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_ACCOUNT = re.compile(r"credit balance|organization has been disabled|\bbilling\b", re.IGNORECASE)
_PATH = re.compile(r"(?P<path>[a-z_]+(?:\.(?:\d+|[A-Za-z_]+))*): ")
_CONFLICT = 409

_encode = msgspec.json.Encoder().encode


def map_error(name: str, status: int, headers: Headers, body: bytes) -> PenstockError:
    """A non-2xx answer. `name` is what the message calls the upstream."""
    error = openai_errors.map_error(name, 429 if status == _CONFLICT else status, headers, body)
    if not isinstance(error, InvalidRequest):
        return error
    if _ACCOUNT.search(error.message):
        return UpstreamCredentials(f"{name} refused our account (status {status}).")
    if error.param is None and (found := _PATH.match(error.message)):
        error.param = _dotted(found["path"])
    return error


def error_in_stream(name: str, body: dict[str, Any]) -> PenstockError:
    """An `error` event, or an error where an answer was due."""
    error = body.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return map_error(name, _STATUSES.get(kind, 500) if isinstance(kind, str) else 500, (), _encode(body))


def _dotted(path: str) -> str:
    """`messages.0.content` as `messages[0].content`."""
    return re.sub(r"\.(\d+)", r"[\1]", path)
