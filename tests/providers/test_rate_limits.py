import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.rate_limits import LONGEST_WAIT_S, limited_for_s

DATE = {"date": "Sat, 21 Nov 2026 10:00:00 GMT"}
UNIX = 1_795_255_200  # that, in seconds


def waits(**found: str) -> float | None:
    headers = DATE | {name.replace("_", "-"): value for name, value in found.items()}
    return limited_for_s([(name.encode(), value.encode()) for name, value in headers.items()])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h0m2.5s", 3602.5),
        ("2m59.56s", 179.56),
        ("12", 12),
        ("0.5", 0.5),
        (str(UNIX + 30), 30),
        (str((UNIX + 30) * 1000), 30),
        (str(UNIX - 30), 0),
        ("2026-11-21T10:00:45Z", 45),
        ("2026-11-21T11:00:45+01:00", 45),
        ("2026-11-21T09:00:00Z", 0),
        ("2026-11-21T10:00:45", None),
        ("99999h", LONGEST_WAIT_S),
        ("soon", None),
        ("1s1", None),
        ("-1", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_a_reset_in_every_shape(value: str, expected: float | None) -> None:
    assert waits(x_ratelimit_reset_requests=value) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "name",
    [
        *("x-ratelimit-reset", "ratelimit-reset", "x-ratelimit-reset-tokens", "X-RateLimit-Reset-Requests"),
        *("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-input-tokens-reset"),
    ],
)
def test_every_header_that_vendors_send(name: str) -> None:
    assert waits(**{name: "7s"}) == 7


def test_what_is_asked_for_in_plain_words_wins() -> None:
    assert waits(retry_after="3", x_ratelimit_reset_tokens="7s") == 3
    assert waits(retry_after_ms="250", retry_after="3") == 0.25


def test_what_is_used_up_counts() -> None:
    both = {"x_ratelimit_reset_requests": "6m0s", "x_ratelimit_reset_tokens": "2s"}
    assert waits(**both) is None, "nobody knows which of them it was"
    assert waits(**both, x_ratelimit_remaining_tokens="0", x_ratelimit_remaining_requests="99") == 2
    assert waits(**both, x_ratelimit_remaining_tokens="0", x_ratelimit_remaining_requests="0") == 360
    of_anthropic = {
        "anthropic_ratelimit_requests_reset": "2026-11-21T10:00:01Z",
        "anthropic_ratelimit_output_tokens_reset": "2026-11-21T10:00:20Z",
        "anthropic_ratelimit_output_tokens_remaining": "0",
    }
    assert waits(**of_anthropic) == 20


@given(st.text(), st.text())
def test_nothing_breaks_it(value: str, date: str) -> None:
    headers = [(b"x-ratelimit-reset", value.encode()), (b"date", date.encode())]
    found = limited_for_s(headers)
    assert found is None or 0 <= found <= LONGEST_WAIT_S
