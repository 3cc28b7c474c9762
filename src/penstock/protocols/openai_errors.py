"""Errors in OpenAI's shape: https://platform.openai.com/docs/guides/error-codes

answer   {"error": {"message", "type", "param", "code"}}
stream   data: {"error": {..., "partial": true}} and no [DONE]: the SDKs raise APIError on a truthy `error`,
         and a client that waits for [DONE] must not take a torn answer for a whole one
"""

import msgspec

from penstock.types.errors import BudgetExceeded, PenstockError

_encode = msgspec.json.Encoder().encode


def error_body(error: PenstockError) -> bytes:
    return _encode({"error": error_object(error)})


def error_event(error: PenstockError) -> bytes:
    return b"data: " + _encode({"error": {**error_object(error), "partial": True}}) + b"\n\n"


def error_object(error: PenstockError) -> dict[str, str | None]:
    code = "insufficient_quota" if isinstance(error, BudgetExceeded) else error.code  # OpenAI's name for it
    return {"message": error.message, "type": error.openai_type, "param": error.param, "code": code}
