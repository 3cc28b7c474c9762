from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.slow_start import FULL_S, LEAST, share, standing


@pytest.mark.parametrize(
    ("age_s", "expected"), [(-1, 0.1), (0, 0.1), (10, 0.4), (15, 0.55), (29, 0.97), (30, 1), (1e9, 1)]
)
def test_a_share_grows_in_a_line(age_s: float, expected: float) -> None:
    assert share(age_s) == pytest.approx(expected)


@given(st.floats(-10, 100), st.floats(0, 50))
def test_it_never_falls_and_is_never_nothing(age_s: float, more_s: float) -> None:
    assert LEAST <= share(age_s) <= share(age_s + more_s) <= 1
    assert share(age_s + FULL_S + 10) == 1


def test_who_is_new_stands_as_often_as_its_share_says() -> None:
    found = Counter(
        "".join(standing("abc", [1, 0.1, 0.55], [0.9, roll / 100, roll / 100])) for roll in range(100)
    )
    assert found == {"abc": 10, "ac": 45, "a": 45}


def test_where_all_are_new_all_stand() -> None:
    assert standing("abc", [0.1, 0.1, 0.1], [0.99, 0.5, 0]) == [*"abc"]
    assert standing("ab", [0.1, 0.2], [0.6, 0.99]) == ["b"]
    assert standing("", [], []) == []


@given(
    st.lists(st.tuples(st.floats(LEAST, 1), st.floats(0, 1, exclude_max=True)), min_size=1, max_size=8),
)
def test_somebody_always_stands(ones: list[tuple[float, float]]) -> None:
    shares, rolls = [one[0] for one in ones], [one[1] for one in ones]
    found = standing(range(len(ones)), shares, rolls)
    assert found
    assert shares.index(max(shares)) in found
