from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.select import weighted
from penstock.types.deployment import Deployment, Labels, Target


def targets(*weights: float) -> list[Target]:
    codec: Any = None  # never called here
    return [
        Target(Deployment(f"d{number}", "m", codec, frozenset({"chat"}), pool="p"), Labels(), weight)
        for number, weight in enumerate(weights)
    ]


def test_shares_hold() -> None:
    chosen = Counter(weighted(targets(95, 5), roll / 1000).deployment.name for roll in range(1000))
    assert chosen == {"d0": 950, "d1": 50}


@given(
    weights=st.lists(st.floats(0, 100), min_size=1, max_size=6).filter(lambda w: sum(w) > 0),
    roll=st.floats(0, 1, exclude_max=True),
)
def test_only_positive_weights_are_chosen(weights: list[float], roll: float) -> None:
    target = weighted(targets(*weights), roll)
    assert target.weight > 0 or len(weights) == 1


def test_every_positive_target_is_reachable() -> None:
    assert {weighted(targets(1, 0, 1, 1), roll / 100).deployment.name for roll in range(100)} == {
        "d0",
        "d2",
        "d3",
    }


def test_no_weight_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive weight"):
        weighted(targets(0, 0), 0.5)
