import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.breaker import LEAST, LONGEST_S, OPEN_S, PROBE_S, Breaker, Breakers
from penstock.types.errors import (
    InvalidRequest,
    ModelLoading,
    PenstockError,
    UpstreamCredentials,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)

DOWN = UpstreamUnavailable("x")


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(LEAST):
        breaker.began(0.0)
        breaker.failed(DOWN, 0.0)
    assert breaker.is_down(0.0)
    return breaker


def test_it_opens_by_the_share_of_failures() -> None:
    breaker = Breaker()
    for at in range(20):
        if at % 3:
            breaker.succeeded(float(at))
        else:
            breaker.failed(UpstreamTimeout("x"), float(at))
    assert not breaker.is_down(20.0)
    for _ in range(8):
        breaker.failed(DOWN, 20.0)
    assert breaker.is_down(20.0)


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    for at in range(LEAST):
        breaker.failed(DOWN, at * 10.0)
    assert not breaker.is_down(50.0)


def test_half_open_one_attempt_is_let_through() -> None:
    breaker = opened()
    assert not breaker.is_down(OPEN_S)
    breaker.began(OPEN_S)
    assert breaker.is_down(OPEN_S), "for all others"
    breaker.succeeded(OPEN_S + 1)
    assert not breaker.is_down(OPEN_S + 1)
    breaker.failed(DOWN, OPEN_S + 2)
    assert not breaker.is_down(OPEN_S + 2), "it begins anew"


def test_each_failure_of_the_one_attempt_doubles_the_time() -> None:
    breaker, at = opened(), 0.0
    for wait in (OPEN_S, 10, 20, 40, LONGEST_S, LONGEST_S):
        assert breaker.is_down(at + wait - 0.1)
        assert not breaker.is_down(at + wait)
        at += wait
        breaker.began(at)
        breaker.failed(DOWN, at)


def test_an_attempt_whose_client_left_blocks_nobody() -> None:
    breaker = opened()
    breaker.began(OPEN_S)
    breaker.left()
    assert not breaker.is_down(OPEN_S)
    breaker.began(OPEN_S)
    assert not breaker.is_down(OPEN_S + PROBE_S), "nor does one that is never heard of again"


def test_what_cools_and_what_is_out_at_once() -> None:
    breaker = Breaker()
    breaker.failed(UpstreamRateLimited("x", retry_after_s=7.0), 0.0)
    assert breaker.is_down(6.9)
    assert not breaker.is_down(7.0)
    breaker.failed(UpstreamRateLimited("x", retry_after_s=10_000.0), 10.0)
    assert not breaker.is_down(10.0 + LONGEST_S)
    refused = Breaker()
    refused.failed(UpstreamCredentials("x"), 0.0)
    assert refused.is_down(LONGEST_S - 0.1)


@pytest.mark.parametrize("error", [InvalidRequest("x"), ModelLoading("x")])
def test_what_says_nothing_about_health(error: PenstockError) -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed(error, 0.0)
    assert not breaker.is_down(0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60))
def test_it_is_never_down_for_longer_than_it_may(steps: list[tuple[bool, float]]) -> None:
    breaker, now_s = Breaker(), 0.0
    for is_good, pause_s in steps:
        now_s += pause_s
        if breaker.is_down(now_s):
            continue
        breaker.began(now_s)
        if is_good:
            breaker.succeeded(now_s)
        else:
            breaker.failed(DOWN, now_s)
        assert not breaker.is_down(now_s + LONGEST_S)


def test_by_name() -> None:
    breakers = Breakers()
    assert not breakers.is_down("a", 0.0)
    breakers.of("a").failed(UpstreamCredentials("x"), 0.0)
    assert breakers.is_down("a", 1.0)
    assert breakers.down(1.0) == ["a"]
    assert breakers.down(LONGEST_S) == []
