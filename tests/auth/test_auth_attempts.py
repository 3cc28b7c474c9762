"""Guessing is slow, and costs a bounded number of connections and bytes."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.auth import attempts
from penstock.auth.attempts import EACH, FREE, LONGEST_S, MOST_WAITING, REGAIN_S, Attempts


def test_the_first_failures_cost_nothing_and_each_further_one_twice_as_much() -> None:
    tried = Attempts()
    delays = []
    for _ in range(FREE + 8):
        penalty = tried.failed("192.0.2.1", 0.0)
        assert not penalty.is_refused
        delays.append(penalty.delay_s)
        if penalty.delay_s:
            tried.waited("192.0.2.1")
    assert delays == [0.0] * FREE + [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert tried.failed("192.0.2.2", 0.0).delay_s == 0.0


def test_failures_are_forgotten_with_time() -> None:
    tried = Attempts()
    for _ in range(100):
        if tried.failed("a", 0.0).delay_s:
            tried.waited("a")
    assert tried.failed("a", REGAIN_S * (FREE + 6)).delay_s == 0.0


def test_those_that_wait_are_few() -> None:
    tried = Attempts()
    for _ in range(FREE):
        tried.failed("a", 0.0)
    waiting = [tried.failed("a", 0.0) for _ in range(EACH)]
    assert not any(one.is_refused for one in waiting)
    refused = tried.failed("a", 0.0)
    assert refused.is_refused
    assert refused.delay_s > 0
    tried.waited("a")
    assert not tried.failed("a", 0.0).is_refused


def test_of_all_addresses_together_a_bounded_number_waits() -> None:
    tried = Attempts()
    for number in range(MOST_WAITING + 50):
        for _ in range(FREE + 1):
            tried.failed(str(number), 0.0)
    assert tried.waiting == MOST_WAITING


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    tried = Attempts(most_addresses=3)
    for name in "abcd":
        tried.failed(name, 0.0)
    assert len(tried) == 3
    tried.waited("a")  # forgotten while it waited
    assert "a" not in tried._records


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 30), st.booleans()),
        max_size=200,
    )
)
def test_law(steps: list[tuple[str, float, bool]]) -> None:
    """No delay is longer than the longest, and who waits is counted exactly."""
    tried, now, waiting = Attempts(), 0.0, list[str]()
    for name, passed, leaves in steps:
        now += passed
        penalty = tried.failed(name, now)
        assert 0.0 <= penalty.delay_s <= LONGEST_S
        if penalty.delay_s and not penalty.is_refused:
            waiting.append(name)
        if leaves and waiting:
            tried.waited(waiting.pop())
        assert tried.waiting == len(waiting)
        assert all(waiting.count(one) <= EACH for one in "abc")
    assert attempts.FIRST_S < LONGEST_S
