"""Errors in Anthropic's shape: https://platform.claude.com/docs/en/api/errors

answer   {"type": "error", "error": {"type", "message", "details": {"error_code"}}, "request_id"}
stream   event: error, with the same data, `partial` and `usage` among the details; nothing follows it

`type` goes by the status, as Anthropic's does; `details.error_code` is our own code, which the official SDKs
show as `error_code`. For operators the details hold `attempts`, too.
"""

from typing import Any

import msgspec

from penstock.dialects.anthropic import usage_body
from penstock.types.errors import PenstockError
from penstock.types.usage import Usage

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_encode = msgspec.json.Encoder().encode


def error_body(error: PenstockError, call_id: str) -> bytes:
    return _encode(_object(error, call_id, {}))


def error_event(error: PenstockError, call_id: str, usage: Usage | None) -> bytes:
    """`usage`: of what was told before."""
    more: dict[str, Any] = {"partial": True}
    if usage is not None:
        more["usage"] = {**usage_body(usage), "estimated": usage.is_estimated}
    return b"event: error\ndata: %b\n\n" % _encode(_object(error, call_id, more))


def _object(error: PenstockError, call_id: str, more: dict[str, Any]) -> dict[str, Any]:
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    details = {"error_code": error.code, **more}
    if error.param is not None:
        details["param"] = error.param
    if error.attempts:
        details["attempts"] = error.attempts
    return {
        "type": "error",
        "error": {"type": kind, "message": error.message, "details": details},
        "request_id": call_id,
    }
