"""What Google's APIs answer when they refuse or fail, as our errors.

    google.rpc status                                     becomes                 whose fault
    INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE   InvalidRequest          the caller's
        words of a full context                           ContextLengthExceeded
        a bad key (reason API_KEY_INVALID), a region      UpstreamCredentials     ours: no text is passed on
    UNAUTHENTICATED, PERMISSION_DENIED                    UpstreamCredentials     ours
    RESOURCE_EXHAUSTED                                    UpstreamRateLimited     RetryInfo says how long
    NOT_FOUND                                             UpstreamError           ours: a wrong deployment
    DEADLINE_EXCEEDED, CANCELLED                          UpstreamTimeout
    INTERNAL, UNAVAILABLE, the rest                       UpstreamUnavailable

The body is {"error": {code, message, status, details}}, or a list of one such object where a stream was
asked for. The details that are read: google.rpc.RetryInfo, ErrorInfo and BadRequest.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PenstockError,
    RequestTooLarge,
    UpstreamCredentials,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)

JSON = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]

_MESSAGE_CHARS = 500
_LONGEST_WAIT_S = 24 * 3600.0
_CONTEXT = re.compile(
    r"input token count|exceeds the maximum number of (?:input )?tokens|token limit|context (?:length|window)"
    r"|too many tokens|prompt is too long",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"api[ _]key (?:not valid|not found|expired)|expired.{0,20}api[ _]key|user location", re.IGNORECASE
)
_SECRETS = re.compile(r"\bAIza[\w-]{10,}|\bya29\.[\w.-]+|\bbearer\s+\S{6,}|\bkey=[\w-]{8,}", re.IGNORECASE)
_BY_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 504,
    "DEADLINE_EXCEEDED": 504,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "UNIMPLEMENTED": 404,
}


def map_error(name: str, status: int, headers: Headers, body: bytes) -> PenstockError:
    """A non-2xx answer. `name` is what the message calls the upstream."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    return _error(name, status, _object(decoded), _retry_after(headers))


def error_in_answer(name: str, body: Any) -> PenstockError:
    """An error object inside an answer that began with 200."""
    return _error(name, 0, _object(body), None)


def _error(name: str, status: int, error: JSON, wait_s: float | None) -> PenstockError:
    code = error.get("code")
    known = _BY_STATUS.get(str(error.get("status")))
    if not 400 <= status < 600:
        status = code if isinstance(code, int) and 400 <= code < 600 else known or 500
    text = _clean(error.get("message"))
    said = f"{name}: {text}" if text else f"{name} answered with status {status}."
    details = _details(error)
    wait_s = _delay(details) or wait_s
    is_key = any(str(one.get("reason", "")).startswith("API_KEY") for one in details)
    if status in (401, 402, 403) or is_key or _KEY.search(text):
        return UpstreamCredentials(f"{name} refused our credentials or our account (status {status}).")
    if status == 429:
        return UpstreamRateLimited(said, retry_after_s=wait_s)
    if status in (404, 405):
        return UpstreamError(f"{said} The deployment's model name or address may be wrong (status {status}).")
    if status in (408, 499, 504):
        return UpstreamTimeout(said, retry_after_s=wait_s)
    if status in (400, 413, 422):
        if _CONTEXT.search(text):
            return ContextLengthExceeded(text)
        if status == 413:
            return RequestTooLarge(text or "The request is too large for the model.")
        return InvalidRequest(text or "The model's server refused the request.", param=_field(details))
    if status >= 500:
        return UpstreamUnavailable(said, retry_after_s=wait_s)
    return UpstreamError(said)


def _object(decoded: Any) -> JSON:
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        return {}
    error = decoded.get("error", decoded)
    if isinstance(error, str):  # Google's OAuth, and proxies
        return {"message": decoded.get("error_description") or error}
    return error if isinstance(error, dict) else {}


def _details(error: JSON) -> list[JSON]:
    found = error.get("details")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _delay(details: list[JSON]) -> float | None:
    """RetryInfo's "21.5s"."""
    for one in details:
        given = one.get("retryDelay")
        if isinstance(given, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", given):
            return min(float(given[:-1]), _LONGEST_WAIT_S)
    return None


def _retry_after(headers: Headers) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and re.fullmatch(rb"\d{1,9}", value.strip()):
            return min(float(value), _LONGEST_WAIT_S)
    return None


def _field(details: list[JSON]) -> str | None:
    for one in details:
        violations = one.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            field = violations[0].get("field")
            return field[:200] if isinstance(field, str) and field else None
    return None


def _clean(message: Any) -> str:
    """Short, on one line, and without what looks like a key."""
    if not isinstance(message, str):
        return ""
    text = _SECRETS.sub("[removed]", " ".join(message.split()))
    return text if len(text) <= _MESSAGE_CHARS else text[:_MESSAGE_CHARS] + "..."
