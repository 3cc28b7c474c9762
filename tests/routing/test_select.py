from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.load import Load
from penstock.routing.select import Candidate, affine, least, least_loaded, weighted
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


def candidates(*weights: float) -> list[Candidate]:
    return [Candidate(target, target.deployment.name, weight=target.weight) for target in targets(*weights)]


def test_of_two_the_less_busy() -> None:
    load = loaded({}, {"d0": 3, "d1": 2})
    assert least_loaded(candidates(1, 1), load, (0.1, 0.9)).replica == "d1"
    assert least_loaded(candidates(1, 1), load, (0.9, 0.1)).replica == "d1"
    assert least_loaded(candidates(2, 1), load, (0.1, 0.9)).replica == "d0"  # it may have twice as many
    assert least_loaded(candidates(1, 1), Load(), (0.9, 0.1)).replica == "d1"  # of equals the first
    assert least_loaded(candidates(1, 1, 1), load, (0.1, 0.2)).replica == "d1"  # nobody looked at d2
    assert least_loaded(candidates(1), load, (0.1, 0.2)).replica == "d0"


def loaded(pending: dict[str, int], running: dict[str, int] | None = None) -> Load:
    load = Load()
    for name, tokens in pending.items():
        load.reserve(name, tokens)
    for name, number in (running or {}).items():
        for _ in range(number):
            load.reserve(name)
    return load


def test_a_cached_prompt_draws_until_there_is_much_to_do() -> None:
    ones = candidates(1, 1, 1)

    def chosen(matched: dict[str, int], pending: dict[str, int], **running: int) -> str:
        return affine(ones, matched, loaded(pending, running), 0.0)[0].replica

    assert chosen({"d1": 128}, {}) == "d1"
    assert chosen({"d1": 512, "d2": 640}, {}) == "d2"
    assert chosen({"d2": 1_000}, {"d2": 7_000}) == "d2"
    assert chosen({"d2": 1_000}, {"d2": 9_000}) == "d0"
    assert chosen({"d1": 500, "d2": 1_000}, {"d2": 9_000}) == "d1"
    assert chosen({"d2": 10}, {"d1": 5}) == "d2"  # a handful of tokens turns nobody
    assert chosen({}, {}, d0=3, d1=2, d2=3) == "d1"


def test_equals_are_taken_in_turn() -> None:
    ones = candidates(1, 1, 1, 1)
    found = Counter(affine(ones, {}, Load(), roll / 100)[0].replica for roll in range(100))
    assert found == {"d0": 25, "d1": 25, "d2": 25, "d3": 25}


@given(
    pending=st.lists(st.integers(1, 10**6), min_size=1, max_size=6),
    matched=st.lists(st.integers(0, 10**5), min_size=6, max_size=6),
    roll=st.floats(0, 1, exclude_max=True),
)
def test_nobody_with_less_in_its_cache_and_more_to_do_is_chosen(
    pending: list[int], matched: list[int], roll: float
) -> None:
    ones = candidates(*[1.0] * len(pending))
    have = {f"d{at}": tokens for at, tokens in enumerate(matched) if tokens}
    load = loaded({f"d{at}": tokens for at, tokens in enumerate(pending)})
    at = int(affine(ones, have, load, roll)[0].replica[1:])
    for other in range(len(pending)):
        is_better = matched[other] >= matched[at] and pending[other] <= pending[at]
        assert not (is_better and (matched[other] > matched[at] or pending[other] < pending[at]))


def test_the_least_of_what_is_known() -> None:
    ones = candidates(1, 1, 3)
    costs: dict[str, float | None] = {"d0": None, "d1": 3.0, "d2": 2.0}
    assert least(ones, lambda one: costs[one.replica], 0.5).replica == "d2"
    costs["d1"] = 2.0
    found = Counter(least(ones, lambda one: costs[one.replica], roll / 100).replica for roll in range(100))
    assert found == {"d1": 25, "d2": 75}
    assert {least(ones, lambda _: None, roll / 10).replica for roll in range(10)} == {"d0", "d1", "d2"}
