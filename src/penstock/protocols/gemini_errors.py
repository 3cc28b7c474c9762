"""Errors in Google's shape: https://google.aip.dev/193

answer          {"error": {"code", "message", "status", "details"}}
server-sent     data: {"error": {...}} and nothing after it
JSON array      one more element {"error": {...}}, and the array is closed

`error` is the first key: google-genai knows an error in a stream by its first bytes. `code` is the HTTP
status, `status` the name google.rpc has for it; what this gateway calls the error is the reason of an
ErrorInfo, whose metadata (texts only) say `partial` and the usage of what was told before. What operators are
told of each attempt is a DebugInfo.
"""

from typing import Any

import msgspec

from penstock.types.errors import Failure, PenstockError
from penstock.types.usage import Usage

_encode = msgspec.json.Encoder().encode

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


def error_body(error: PenstockError) -> bytes:
    return _encode({"error": error_object(error)})


def partial_object(error: PenstockError, usage: Usage | None) -> dict[str, Any]:
    """Of an error within a stream. `usage`: of what was told before."""
    said = error_object(error)
    metadata = {"partial": "true"}
    if usage is not None:
        metadata |= {
            "promptTokenCount": str(usage.prompt_tokens),
            "candidatesTokenCount": str(usage.completion_tokens),
            "totalTokenCount": str(usage.total_tokens),
            "estimated": "true" if usage.is_estimated else "false",
        }
    said["details"][0]["metadata"] = metadata
    return said


def error_object(error: PenstockError) -> dict[str, Any]:
    details: list[dict[str, Any]] = [
        {"@type": f"{_TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "penstock"}
    ]
    if error.attempts:
        details.append({"@type": f"{_TYPE}DebugInfo", "stackEntries": [*map(_entry, error.attempts)]})
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    status = _STATUS.get(error.status, "UNKNOWN")
    return {"code": error.status, "message": error.message, "status": status, "details": details}


def _entry(failure: Failure) -> str:
    within = "" if failure.ms is None else f" after {failure.ms:g} ms"
    return f"{failure.deployment}: {failure.code}{within}"
