import json
from pathlib import Path
from typing import Any

import pytest

from penstock.providers.openai_errors import map_error
from penstock.providers.rate_limits import retry_after_s
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

WIRE = Path(__file__).parent.parent / "wire"


def error(message: str = "m", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


ROWS: list[tuple[int, Any, type[PenstockError], str | None]] = [
    (400, error(param="n", code=None), InvalidRequest, "n"),
    (400, error(code="context_length_exceeded", param="messages"), ContextLengthExceeded, "messages"),
    (400, error(code="unsupported_parameter", param="max_tokens"), UnsupportedParameter, "max_tokens"),
    (
        400,
        error("This model's maximum context length is 4096 tokens", type="BadRequestError", code=400),
        ContextLengthExceeded,
        None,
    ),
    (
        400,
        {"object": "error", "message": "bad", "type": "BadRequestError", "param": "top_p", "code": 400},
        InvalidRequest,
        "top_p",
    ),
    (400, error("Incorrect API key provided: sk-ab***yz"), UpstreamCredentials, None),
    (400, {"error": "plain"}, InvalidRequest, None),
    (413, {"error": "batch size 64 > maximum allowed 32", "error_type": "Validation"}, RequestTooLarge, None),
    (413, {"error": "the prompt is too long"}, ContextLengthExceeded, None),
    (422, {"error": "Input validation error", "error_type": "Validation"}, InvalidRequest, None),
    (
        422,
        {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "bad role"}]},
        InvalidRequest,
        "messages[0].role",
    ),
    (
        422,
        {"message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}, "type": "e"},
        InvalidRequest,
        "x",
    ),
    (422, {"detail": "no"}, InvalidRequest, None),
    (401, error("Incorrect API key provided: sk-proj-abcdefgh"), UpstreamCredentials, None),
    (402, error("Insufficient Balance"), UpstreamCredentials, None),
    (403, error("no"), UpstreamCredentials, None),
    (404, error("model `x` not found"), UpstreamError, None),
    (400, error(code="model_not_found"), UpstreamError, None),
    (408, b"", UpstreamTimeout, None),
    (409, b"", UpstreamError, None),
    (429, error("slow down", code="rate_limit_exceeded"), UpstreamRateLimited, None),
    (429, error("pay", code="insufficient_quota"), UpstreamCredentials, None),
    (429, {"message": "trial limit"}, UpstreamRateLimited, None),
    (
        500,
        error("image input is not supported - hint: if this is unexpected", code=500, type="server_error"),
        InvalidRequest,
        None,
    ),
    (
        500,
        error("input is too large to process. increase the physical batch size", code=500),
        ContextLengthExceeded,
        None,
    ),
    (500, error("boom"), UpstreamUnavailable, None),
    (501, error("This server does not support embeddings", code=501), UpstreamUnavailable, None),
    (502, b"<html>Bad Gateway</html>", UpstreamUnavailable, None),
    (503, error("Loading model", code=503, type="unavailable_error"), UpstreamUnavailable, None),
    (504, b"", UpstreamTimeout, None),
    (529, error("overloaded"), UpstreamUnavailable, None),
    (418, b"\xff\x00", UpstreamError, None),
    (400, b"", InvalidRequest, None),
    (400, [1, 2], InvalidRequest, None),
    (400, {"error": {"message": {"x": 1}, "param": 5, "code": []}}, InvalidRequest, None),
    (
        400,
        error("Field 'n': Value must be between 1 <= value <= 2, but got 128", code=400),
        InvalidRequest,
        "n",
    ),
    (400, error(param="n " * 5000), InvalidRequest, "n " * 100 + "..."),
    (400, error(param="tools[sk-proj-abcd12345678]"), InvalidRequest, "tools[[removed]]"),
    (422, {"detail": [{"loc": ["body", {"x": 1}, 10**400, "y"], "msg": "m"}]}, InvalidRequest, "[].y"),
]


@pytest.mark.parametrize(("status", "body", "kind", "param"), ROWS)
def test_every_refusal_has_its_name(
    status: int, body: Any, kind: type[PenstockError], param: str | None
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    mapped = map_error("dep", status, [], raw)
    assert (type(mapped), mapped.param) == (kind, param)
    assert mapped.message
    assert "html" not in mapped.message


def test_llamacpp_recorded() -> None:
    mapped = map_error("dep", 400, [], (WIRE / "llamacpp/context_error.json").read_bytes())
    assert isinstance(mapped, ContextLengthExceeded)
    assert "256 tokens" in mapped.message
    mapped = map_error("dep", 501, [], (WIRE / "llamacpp/embeddings_error.json").read_bytes())
    assert isinstance(mapped, UpstreamUnavailable)


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcd1234", "sk-ab***************yz12", "Bearer abcdefgh", "gsk_1234567890", "nvapi-12345678"],
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_no_key_leaks(secret: str, status: int) -> None:
    mapped = map_error("dep", status, [], json.dumps(error(f"The thing {secret} is odd.")).encode())
    assert secret not in mapped.message


def test_ordinary_words_are_no_secrets() -> None:
    text = "key-value pairs, a task-based sk-learn model and hf-hub paths"
    assert map_error("dep", 400, [], json.dumps(error(text)).encode()).message == text


def test_long_messages_are_cut() -> None:
    assert len(map_error("dep", 400, [], json.dumps(error("x" * 10_000)).encode()).message) < 600


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"3")], 3.0),
        ([(b"Retry-After", b"0.5")], 0.5),
        ([(b"retry-after-ms", b"1500"), (b"retry-after", b"9")], 1.5),
        ([(b"retry-after", b"soon")], None),
        (
            [(b"retry-after", b"Wed, 21 Oct 2026 07:28:10 GMT"), (b"date", b"Wed, 21 Oct 2026 07:28:00 GMT")],
            10.0,
        ),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:10 GMT")], None),
        ([(b"retry-after-ms", b"x")], None),
        ([(b"retry-after", b"-5")], None),
        ([(b"retry-after", b"1e999")], None),
        ([(b"retry-after", b"1e30")], 86400.0),
        ([(b"retry-after-ms", b"inf")], None),
        ([(b"retry-after-ms", b"nan")], None),
        ([(b"retry-after-ms", b"-5")], None),
        ([(b"retry-after", b"Mon, 21 Oct 99999999999 07:28:10 GMT"), (b"date", b"x")], None),
    ],
)
def test_retry_after(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
    assert map_error("dep", 429, headers, b"{}").retry_after_s == seconds
