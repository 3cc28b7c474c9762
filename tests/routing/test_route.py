from typing import Any

import pytest

from penstock.routing.route import is_allowed, narrowed, route_of
from penstock.types.deployment import Batching, Deployment, Facts, Hedge, Labels, Place, Target
from penstock.types.identity import Requirements
from penstock.types.money import Price

CODEC: Any = None


def target(name: str, **more: Any) -> Target:
    more = {"operations": frozenset({"chat"}), **more}
    return Target(Deployment(name, name, CODEC, **more), Labels())


A, B, C = (target(name) for name in "abc")


@pytest.mark.parametrize(
    ("targets", "settings", "has_more", "is_plain", "is_choosy"),
    [
        ((A,), {}, False, True, False),
        ((A,), {"retries": 1}, True, False, False),
        ((A,), {"tiers": ((B,),)}, True, False, False),
        ((A,), {"hedge": Hedge()}, True, False, False),
        ((A, B), {}, True, False, False),
        ((A, B), {"strategy": "cheapest"}, True, False, True),
        ((A, B), {"sticky": "key"}, True, False, True),
        ((A, target("f", facts=Facts())), {}, True, False, True),
        ((A, target("o", operations=frozenset({"chat", "completion"}))), {}, True, False, True),
        ((target("b", batching=Batching()),), {}, False, False, False),
        ((target("q", concurrency=1),), {}, False, False, False),
    ],
)
def test_what_follows_from_the_targets(
    targets: Any, settings: dict[str, Any], has_more: bool, is_plain: bool, is_choosy: bool
) -> None:
    made = route_of("r", targets, **settings)
    assert (made.has_more, made.is_plain, made.is_choosy) == (has_more, is_plain, is_choosy)


def test_a_narrowed_route_is_what_is_left_of_it() -> None:
    route = route_of("r", (A, B), ((C,),))
    left = narrowed(route, lambda one: one.name != "b")
    assert left is not None
    assert (left.targets, left.tiers, left.is_plain) == ((A,), ((C,),), False)
    only = narrowed(route, lambda one: one.name == "c")
    assert only is not None
    assert (only.targets, only.tiers, only.has_more, only.is_plain) == ((C,), (), False, True)
    assert narrowed(route, lambda _: False) is None


EU = frozenset({"eu"})
KEPT = frozenset({"no-training"})


@pytest.mark.parametrize(
    ("place", "requirements", "expected"),
    [
        (Place(), Requirements(), True),
        (Place("eu"), Requirements(EU), True),
        (Place("us"), Requirements(EU), False),
        (Place(), Requirements(EU), False),  # nobody said where
        (Place(is_own=True), Requirements(EU), False),  # a machine of ours stands somewhere, too
        (Place("eu"), Requirements(EU, KEPT), False),
        (Place("eu", KEPT | {"zero-retention"}), Requirements(EU, KEPT), True),
        (Place(data_policy=KEPT), Requirements(data_policy=KEPT | {"zero-retention"}), False),
        (Place(is_own=True), Requirements(data_policy=KEPT), True),
    ],
)
def test_where_data_may_go(place: Place, requirements: Requirements, expected: bool) -> None:
    assert is_allowed(place, requirements) is expected


def test_the_dearest_of_its_targets_is_known() -> None:
    cheap, dear = target("c", price=Price(input=1, output=9)), target("d", price=Price(input=3, output=4))
    assert route_of("r", (cheap, A), ((dear,),)).dearest == (3, 9)
    assert route_of("r", (A,)).dearest == (0, 0)
    assert route_of("r", (target("u", price=Price(input=2)),)).dearest == (2, 0)
