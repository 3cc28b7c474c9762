from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.pace import Meter

WINDOW_S = 10.0


def verdicts(rate: float, gaps: list[float], pieces: list[int]) -> list[bool]:
    meter, at_s, said = Meter(rate, WINDOW_S), 0.0, []
    for gap_s, number in zip(gaps, pieces, strict=False):
        at_s += gap_s
        said.append(meter.saw(number, at_s))
    return said


GAPS = st.lists(st.floats(0.001, 15, allow_nan=False), min_size=1, max_size=60)
PIECES = st.lists(st.integers(0, 20), min_size=60, max_size=60)


@given(GAPS, PIECES, st.floats(0.01, 20))
def test_it_says_what_the_window_says(gaps: list[float], pieces: list[int], rate: float) -> None:
    at_s, seen = 0.0, []
    for gap_s, number, enough in zip(gaps, pieces, verdicts(rate, gaps, pieces), strict=False):
        at_s += gap_s
        seen.append((at_s, number))
        inside = sum(count for when_s, count in seen if when_s > at_s - WINDOW_S)
        assert enough == (at_s < WINDOW_S or inside >= rate * WINDOW_S)


@given(st.floats(0.05, 2))
def test_a_steady_stream_is_judged_by_its_rate(gap_s: float) -> None:
    gaps = [gap_s] * int(40 / gap_s)
    pieces = [1] * len(gaps)
    assert all(verdicts(0.8 / gap_s, gaps, pieces))
    assert not all(verdicts(1.5 / gap_s, gaps, pieces))


def test_nobody_is_slow_before_a_window_has_passed() -> None:
    assert verdicts(5, [9.9], [0]) == [True]
    assert verdicts(5, [9.9, 0.2], [0, 0]) == [True, False]
    assert verdicts(5, [9.9, 0.2], [0, 50]) == [True, True]
