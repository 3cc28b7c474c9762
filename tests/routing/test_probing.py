import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.probing import JITTER, LONGEST_LAG_S, next_probe_s


@pytest.mark.parametrize(
    ("answered_s", "probed_s", "reopens_s", "expected"),
    [
        (None, None, None, 110),  # watched since 100
        (105, None, None, 115),  # a real answer is as good
        (105, 120, None, 130),
        (125, 120, None, 135),
        (None, None, 150, 150.5),  # it is open: at the end of its time
        (None, 120, 150, 150.5),
        (148, 149, 150, 150.5),
        (None, 150.5, 150, 160.5),  # it was probed since: again after a while
    ],
)
def test_when(
    answered_s: float | None, probed_s: float | None, reopens_s: float | None, expected: float
) -> None:
    found = next_probe_s(
        10, began_s=100, answered_s=answered_s, probed_s=probed_s, reopens_s=reopens_s, roll=0.5
    )
    assert found == pytest.approx(expected)


TIMES = st.none() | st.floats(0, 1e6)


@given(TIMES, TIMES, TIMES, st.floats(1, 3600), st.floats(0, 1, exclude_max=True))
def test_never_sooner_than_it_may(
    answered_s: float | None, probed_s: float | None, reopens_s: float | None, every_s: float, roll: float
) -> None:
    found = next_probe_s(
        every_s, began_s=0, answered_s=answered_s, probed_s=probed_s, reopens_s=reopens_s, roll=roll
    )
    if reopens_s is None:
        last_s = max(0, answered_s or 0, probed_s or 0)
        assert last_s + every_s * (1 - JITTER) <= found + 1e-6
        assert found <= last_s + every_s * (1 + JITTER) + 1e-6
    else:
        assert reopens_s <= found
        if probed_s is None or probed_s < reopens_s:
            assert found <= reopens_s + LONGEST_LAG_S
        else:
            assert found >= probed_s + every_s * (1 - JITTER) - 1e-6
