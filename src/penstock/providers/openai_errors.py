"""What OpenAI-compatible servers answer when they refuse or fail, as our errors.

    upstream says                                        becomes                 whose fault
    400 413 422                                          InvalidRequest          the caller's: param is kept
        code or words of a full context                  ContextLengthExceeded
        unsupported_parameter, unsupported_value         UnsupportedParameter
    401 402 403, or a bad key in other words             UpstreamCredentials     ours: no text is passed on
    429                                                  UpstreamRateLimited     until when: rate_limits.py
        insufficient_quota                               UpstreamCredentials
    404, 405, model_not_found                            UpstreamError           ours: a wrong deployment
    408 504                                              UpstreamTimeout
    500 with words that blame the request (llama.cpp)    InvalidRequest
    other 5xx                                            UpstreamUnavailable

Shapes that are read: {"error": {message, type, param, code}} (OpenAI, llama.cpp), {"error": text} (Ollama,
TEI with error_type), {"object": "error", message} (older vLLM), {"detail": text or a list of {loc, msg}}
(FastAPI, Mistral), {"message": text} (Cohere), and plain text.
"""

import re
from typing import Any, NamedTuple

import msgspec

from penstock.providers.rate_limits import Headers, limited_for_s, retry_after_s
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PenstockError,
    RequestTooLarge,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)

_MESSAGE_CHARS = 500
_PARAM_CHARS = 200

_CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
)
_CONTEXT_WORDS = re.compile(
    r"maximum context length|context (?:length|window|size)|too many tokens|prompt is too long"
    r"|input is too (?:large|long)|longer than the (?:model's|maximum)|max_model_len",
    re.IGNORECASE,
)
_KEY_WORDS = re.compile(
    r"(?:incorrect|invalid|wrong|missing|no|expired)\b.{0,20}\bapi[ _-]?key|invalid_api_key", re.IGNORECASE
)
_CALLER_WORDS = re.compile(  # llama.cpp answers 500 for these
    r"(?:image|audio|video) input is not supported|input is too large|unsupported content"
    r"|failed to parse (?:messages|tools|grammar)"
    r"|does not support (?:image|audio|tools|multimodal)",
    re.IGNORECASE,
)
_FIELD = re.compile(r"Field '([\w.]{1,40})': ")  # llama.cpp names the culprit there alone
_SECRETS = re.compile(
    r"\bbearer\s+\S{6,}|\bAIza[\w-]{10,}|\bsk-[\w*-]{12,}"
    r"|\b(?:sk|pk|gsk|xai|nvapi|csk|fw|pplx|hf|key|tgp)[-_](?=[\w*-]*[\d*])[\w*-]{6,}",
    re.IGNORECASE,
)


class Refusal(NamedTuple):
    message: str
    type: str = ""
    code: str = ""
    param: str | None = None


def map_error(name: str, status: int, headers: Headers, body: bytes) -> PenstockError:
    """A non-2xx answer. `name` is what the message calls the upstream."""
    wait_s = limited_for_s(headers) if status == 429 else retry_after_s(headers)
    return _error(name, status, _read(body), wait_s)


def error_in_answer(name: str, error: Any) -> PenstockError:
    """An error object inside an answer that began with 200."""
    refusal = _of_object(error)
    status = int(refusal.code) if len(refusal.code) == 3 and refusal.code.isdecimal() else 0
    if not 400 <= status < 600:
        status = {"invalid_request_error": 400, "rate_limit_error": 429, "overloaded_error": 503}.get(
            refusal.type, 500
        )
    return _error(name, status, refusal, None)


def _error(name: str, status: int, refusal: Refusal, wait_s: float | None) -> PenstockError:
    text = refusal.message
    said = f"{name}: {text}" if text else f"{name} answered with status {status}."
    if (
        status in (401, 402, 403)
        or refusal.code == "insufficient_quota"
        or _KEY_WORDS.search(f"{text} {refusal.code}")
    ):
        return UpstreamCredentials(f"{name} refused our credentials or our account (status {status}).")
    if status == 429:
        return UpstreamRateLimited(said, retry_after_s=wait_s)
    if status in (404, 405) or refusal.code == "model_not_found":
        return UpstreamError(f"{said} The deployment's model name or address may be wrong (status {status}).")
    if status in (408, 504):
        return UpstreamTimeout(said, retry_after_s=wait_s)
    blames_caller = status in (400, 413, 422) or (status >= 500 and _CALLER_WORDS.search(text))
    if blames_caller and _is_context(refusal):
        return ContextLengthExceeded(
            text or "The request is longer than the model's context.", param=refusal.param
        )
    if status == 413:
        return RequestTooLarge(text or "The request is too large for the model.", param=refusal.param)
    if blames_caller:
        kind = (
            UnsupportedParameter
            if refusal.code in ("unsupported_parameter", "unsupported_value")
            else InvalidRequest
        )
        return kind(text or "The model's server refused the request.", param=refusal.param)
    if status >= 500:
        return UpstreamUnavailable(said, retry_after_s=wait_s)
    return UpstreamError(said)


def _is_context(refusal: Refusal) -> bool:
    return (
        bool({refusal.code, refusal.type} & _CONTEXT_CODES)
        or _CONTEXT_WORDS.search(refusal.message) is not None
    )


def _read(body: bytes) -> Refusal:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal(_clean(_plain(body)))
    if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
        return _of_object(decoded["error"])
    return _of_object(decoded)


def _plain(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text  # a proxy's HTML page tells nobody anything


def _of_object(error: Any) -> Refusal:
    if isinstance(error, str):
        return Refusal(_clean(error))
    if not isinstance(error, dict):
        return Refusal("")
    param = error.get("param")
    message = error.get("message", error.get("detail", error.get("error", "")))
    if isinstance(message, dict):  # Mistral: {"message": {"detail": [...]}}
        message = message.get("detail", message.get("message", ""))
    if isinstance(message, list):  # FastAPI's list of {loc, msg}
        first = message[0] if message and isinstance(message[0], dict) else {}
        param = param or _path(first.get("loc"))
        message = first.get("msg", "")
    named = _FIELD.match(message) if isinstance(message, str) else None
    if not param and named:
        param = named[1]
    return Refusal(
        _clean(message if isinstance(message, str) else ""),
        _word(error.get("type", error.get("error_type"))),
        _word(error.get("code")),
        _clean(param, _PARAM_CHARS) if isinstance(param, str) and param else None,
    )


def _word(value: Any) -> str:
    """A code, type or step of a path; numbers of any length come here, and not all can be written."""
    return (
        value
        if isinstance(value, str)
        else str(value)
        if isinstance(value, int) and 0 <= value < 10**9
        else ""
    )


def _path(loc: Any) -> str | None:
    """FastAPI's ["body", "messages", 0, "role"] as `messages[0].role`."""
    if not isinstance(loc, list):
        return None
    steps = loc[1:] if loc[:1] == ["body"] else loc
    words = (f"[{_word(step)}]" if isinstance(step, int) else f".{_word(step)}" for step in steps)
    return "".join(words).lstrip(".") or None


def _clean(text: str, limit: int = _MESSAGE_CHARS) -> str:
    """Short, on one line, and without what looks like a key: vendors echo parts of it."""
    text = _SECRETS.sub("[removed]", " ".join(text.split()))
    return text if len(text) <= limit else text[:limit] + "..."
