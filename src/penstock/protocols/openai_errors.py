"""Errors in OpenAI's shape: https://platform.openai.com/docs/guides/error-codes

answer   {"error": {"message", "type", "param", "code"}}; for operators `attempts`, too
stream   data: {"error": {..., "partial": true, "usage": {...}}} and no [DONE]: the SDKs raise APIError on a
         truthy `error`, and a client that waits for [DONE] must not take a torn answer for a whole one
"""

from typing import Any

import msgspec

from penstock.types.errors import BudgetExceeded, PenstockError
from penstock.types.usage import Usage

_encode = msgspec.json.Encoder().encode


def error_body(error: PenstockError) -> bytes:
    return _encode({"error": error_object(error)})


def error_event(error: PenstockError, usage: Usage | None) -> bytes:
    """`usage`: of what was told before."""
    body = {**error_object(error), "partial": True}
    if usage is not None:
        body["usage"] = partial_usage(usage)
    return b"data: " + _encode({"error": body}) + b"\n\n"


def error_object(error: PenstockError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "message": error.message,
        "type": error.openai_type,
        "param": error.param,
        "code": "insufficient_quota" if isinstance(error, BudgetExceeded) else error.code,  # OpenAI's name
    }
    if error.attempts:
        body["attempts"] = error.attempts
    return body


def partial_usage(usage: Usage) -> dict[str, Any]:
    """`estimated`: the upstream did not say it any more; the gateway counted what it delivered."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "estimated": usage.is_estimated,
    }
