import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.breaker import (
    LEAST,
    LONGEST_COOLING_S,
    LONGEST_S,
    OPEN_S,
    PROBE_S,
    Breaker,
    Breakers,
    Name,
)
from penstock.routing.slow_start import FULL_S
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
        breaker.began(0.0).failed(DOWN, 0.0)
    assert breaker.is_down(0.0)
    return breaker


def test_it_opens_by_the_share_of_failures() -> None:
    breaker = Breaker()
    for at in range(20):
        if at % 3:
            breaker.began(float(at)).succeeded(float(at))
        else:
            breaker.began(float(at)).failed(UpstreamTimeout("x"), float(at))
    assert not breaker.is_down(20.0)
    for _ in range(8):
        breaker.began(20.0).failed(DOWN, 20.0)
    assert breaker.is_down(20.0)


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    for at in range(LEAST):
        breaker.began(at * 10.0).failed(DOWN, at * 10.0)
    assert not breaker.is_down(50.0)


def test_half_open_one_attempt_is_let_through() -> None:
    breaker = opened()
    assert not breaker.is_down(OPEN_S)
    one = breaker.began(OPEN_S)
    assert breaker.is_down(OPEN_S), "for all others"
    one.succeeded(OPEN_S + 1)
    assert not breaker.is_down(OPEN_S + 1)
    breaker.began(OPEN_S + 2).failed(DOWN, OPEN_S + 2)
    assert not breaker.is_down(OPEN_S + 2), "it begins anew"


def test_each_failure_of_the_one_attempt_doubles_the_time() -> None:
    breaker, at = opened(), 0.0
    for wait in (OPEN_S, 10, 20, 40, LONGEST_S, LONGEST_S):
        assert breaker.is_down(at + wait - 0.1)
        assert not breaker.is_down(at + wait)
        at += wait
        breaker.began(at).failed(DOWN, at)


def test_a_burst_of_failures_is_one_failure() -> None:
    """All that were under way when it opened fail a moment later: they say nothing that is not known."""
    breaker = Breaker()
    for trial in [breaker.began(0.0) for _ in range(100)]:
        trial.failed(DOWN, 1.0)
    assert breaker.is_down(1.0 + OPEN_S - 0.1)
    assert not breaker.is_down(1.0 + OPEN_S)


def test_who_began_before_it_opened_neither_closes_it_nor_ends_the_trial_of_another() -> None:
    breaker = Breaker()
    left, answered, failed = (breaker.began(0.0) for _ in range(3))
    for _ in range(LEAST):
        breaker.began(0.0).failed(DOWN, 0.0)
    assert not answered.succeeded(1.0)
    assert breaker.is_down(1.0)
    one = breaker.began(OPEN_S)
    left.left()
    failed.failed(DOWN, OPEN_S)
    assert breaker.is_down(OPEN_S), "one is on its way"
    assert one.succeeded(OPEN_S + 1)
    assert breaker.state(OPEN_S + 1) == "closed"


def test_what_is_asked_for_want_of_others_may_close_it() -> None:
    breaker = opened()
    assert breaker.began(1.0).succeeded(2.0)
    assert not breaker.is_down(2.0)


def test_an_attempt_whose_client_left_blocks_nobody() -> None:
    breaker = opened()
    breaker.began(OPEN_S).left()
    assert not breaker.is_down(OPEN_S)
    breaker.began(OPEN_S)
    assert not breaker.is_down(OPEN_S + PROBE_S), "nor does one that is never heard of again"


def test_what_cools_and_what_is_out_at_once() -> None:
    breaker = Breaker()
    breaker.began(0.0).failed(UpstreamRateLimited("x", retry_after_s=7.0), 0.0)
    assert breaker.is_down(6.9)
    assert not breaker.is_down(7.0)
    breaker.began(10.0).failed(UpstreamRateLimited("x", retry_after_s=600.0), 10.0)
    assert breaker.is_down(609.0)
    breaker.began(10.0).failed(UpstreamRateLimited("x", retry_after_s=100_000.0), 10.0)
    assert not breaker.is_down(10.0 + LONGEST_COOLING_S)
    refused = Breaker()
    refused.began(0.0).failed(UpstreamCredentials("x"), 0.0)
    assert refused.is_down(LONGEST_S - 0.1)


@pytest.mark.parametrize("error", [InvalidRequest("x"), ModelLoading("x")])
def test_what_says_nothing_about_health(error: PenstockError) -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.began(0.0).failed(error, 0.0)
    assert not breaker.is_down(0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=60))
def test_it_is_never_down_for_longer_than_it_may(steps: list[tuple[bool, float]]) -> None:
    breaker, now_s = Breaker(), 0.0
    for is_good, pause_s in steps:
        now_s += pause_s
        if breaker.is_down(now_s):
            continue
        if is_good:
            breaker.began(now_s).succeeded(now_s)
        else:
            breaker.began(now_s).failed(DOWN, now_s)
        assert not breaker.is_down(now_s + LONGEST_S)


ERRORS = [DOWN, UpstreamTimeout("x"), UpstreamRateLimited("x", retry_after_s=900.0), UpstreamCredentials("x")]


@given(
    history=st.lists(st.tuples(st.sampled_from([None, *ERRORS]), st.floats(0, 100)), max_size=60),
    is_probed=st.booleans(),
    every_s=st.floats(0.1, 10),
)
def test_it_recovers_once_its_upstream_has(
    history: list[tuple[PenstockError | None, float]], is_probed: bool, every_s: float
) -> None:
    """Whatever was before: requests come, and all that are let through succeed."""
    breaker, now_s = Breaker(), 0.0
    for error, pause_s in history:
        now_s += pause_s
        trial = breaker.began(now_s)  # also where it is down: nothing else was left
        if error is None:
            trial.succeeded(now_s)
        else:
            trial.failed(error, now_s)
    end_s = now_s + LONGEST_COOLING_S + PROBE_S
    while now_s < end_s:
        now_s += every_s if breaker.state(now_s) != "open" else 50.0
        if not breaker.is_down(now_s, is_probed=is_probed):
            breaker.began(now_s).succeeded(now_s)
            break
    assert breaker.state(now_s) == "closed"
    assert not breaker.is_down(now_s, is_probed=is_probed)
    assert breaker.share(now_s + FULL_S + 1) == 1.0


def test_after_a_week_of_failures_it_still_counts() -> None:
    breaker, now_s = opened(), 0.0
    for _ in range(2_000):
        now_s += LONGEST_S
        breaker.began(now_s).failed(DOWN, now_s)
    assert breaker.is_down(now_s + LONGEST_S - 1)
    assert not breaker.is_down(now_s + LONGEST_S)


def test_who_recovers_gets_little_at_first() -> None:
    breaker = opened()
    assert breaker.share(OPEN_S) == 1.0, "nothing is said while it is open"
    assert breaker.began(OPEN_S).succeeded(OPEN_S + 1)
    assert breaker.share(OPEN_S + 1) == pytest.approx(0.1)
    assert breaker.share(OPEN_S + 1 + FULL_S / 2) == pytest.approx(0.55)
    assert breaker.share(OPEN_S + 1 + FULL_S) == 1.0
    assert not breaker.began(OPEN_S + 2).succeeded(OPEN_S + 2), "it was closed"


def test_a_half_open_one_waits_for_its_probe_but_not_forever() -> None:
    breaker = opened()
    assert breaker.probe_at_s() == OPEN_S
    assert not breaker.is_down(OPEN_S)
    assert breaker.is_down(OPEN_S, is_probed=True)
    assert breaker.is_down(OPEN_S + PROBE_S - 0.1, is_probed=True)
    assert not breaker.is_down(OPEN_S + PROBE_S, is_probed=True), "no probe came: a request is its trial"
    one = breaker.began(OPEN_S)
    assert breaker.probe_at_s() == OPEN_S + PROBE_S
    one.succeeded(OPEN_S + 1)
    assert not breaker.is_down(OPEN_S + 1, is_probed=True)
    assert breaker.probe_at_s() is None


def test_the_table() -> None:
    breakers, key, own = Breakers(), Name("credential", "m", "up#1"), Name("deployment", "m")
    assert not breakers.is_down(own, 0.0)
    assert breakers.report(0.0) == []
    breakers.of(key).began(0.0).failed(UpstreamCredentials("x"), 0.0)
    assert breakers.is_down(key, 1.0)
    assert not breakers.is_down(own, 1.0)
    assert not breakers.is_down(Name("credential", "n", "up#1"), 1.0)
    assert breakers.report(1.0) == [("credential", "m", "up#1", "open")]
    assert breakers.report(LONGEST_S) == [("credential", "m", "up#1", "half open")]
    breakers.of(key).began(LONGEST_S).succeeded(LONGEST_S)
    assert breakers.report(LONGEST_S) == [("credential", "m", "up#1", "closed")]


def test_a_replica_that_was_started_again_is_another_one() -> None:
    breakers, name = Breakers(), Name("replica", "a", "a#0")
    breakers.of(name, "a#0:1").began(0.0).failed(UpstreamCredentials("x"), 0.0)
    assert breakers.is_down(name, 1.0, life="a#0:1")
    assert not breakers.is_down(name, 1.0, life="a#0:2")
    breakers.of(name, "a#0:2")
    assert breakers.report(1.0) == [("replica", "a", "a#0", "closed")], "and the old one is forgotten"
