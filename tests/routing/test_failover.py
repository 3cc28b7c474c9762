from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.openai import OpenAICodec
from penstock.routing.failover import LONGEST_PAUSE_S, Step, Tried, next_step, steer
from penstock.routing.select import weighted
from penstock.types.deployment import Deployment, Labels, Route, Target
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PenstockError,
    ServerStopping,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamCut,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.requests import Operation

CODEC = OpenAICodec()


def target(
    name: str, weight: float = 1, *, context: int | None = None, operation: Operation = "chat"
) -> Target:
    return Target(
        Deployment(name, name, CODEC, frozenset({operation}), max_context=context), Labels(), weight
    )


A, B, C, D = (target(name) for name in "abcd")


def after(
    route: Route, *tried: tuple[Any, ...], roll: float = 0.5, down: str = "", replicas: Sequence[str] = ()
) -> Step | None:
    """`replicas`: those of `a` that are up and were not asked."""
    return next_step(
        route,
        "chat",
        [Tried(*one) for one in tried],
        lambda one: one.name in down,
        choose=lambda targets: weighted(targets, roll),
        roll=roll,
        replicas=lambda one: replicas if one.name == "a" else (),
    )


def by_weight(targets: Sequence[Target]) -> Target:
    return weighted(targets, 0.5)


DOWN = UpstreamUnavailable("x")


def test_targets_then_fallbacks_each_once() -> None:
    route = Route("r", (A, B), tiers=((C,), (D,)))
    tried: list[tuple[Target, PenstockError]] = [(A, DOWN)]
    for expected in (B, C, D):
        step = after(route, *tried)
        assert step == Step(expected)
        tried.append((expected, DOWN))
    assert after(route, *tried) is None


def test_a_target_without_weight_is_not_asked() -> None:
    assert after(Route("r", (A, target("b", 0)), tiers=((C,),)), (A, DOWN)) == Step(C)


def test_only_who_can_do_it_is_asked() -> None:
    embeds = target("e", operation="embedding")
    assert after(Route("r", (A, embeds), tiers=((C,),)), (A, DOWN)) == Step(C)


ELSEWHERE = [
    *(UpstreamUnavailable("x"), UpstreamTimeout("x"), UpstreamRateLimited("x"), UpstreamCredentials("x")),
    *(
        UpstreamCut("x"),
        UpstreamInvalid("x"),
        UpstreamError("x"),
        ModelLoading("x"),
        UnsupportedParameter("x"),
    ),
]
NOWHERE = [InvalidRequest("x"), ModelNotFound("x"), ServerStopping("x")]
AGAIN = (UpstreamUnavailable, UpstreamCut, UpstreamInvalid, UpstreamRateLimited)


@pytest.mark.parametrize("error", ELSEWHERE, ids=lambda error: type(error).__name__)
def test_what_may_go_better_elsewhere_and_what_again(error: PenstockError) -> None:
    assert after(Route("r", (A, B)), (A, error)) == Step(B)
    step = after(Route("r", (A,), retries=1), (A, error))
    assert (step is not None) is isinstance(error, AGAIN)
    assert after(Route("r", (A,)), (A, error)) is None
    assert after(Route("r", (A,), retries=1), (A, error), (A, error)) is None


@pytest.mark.parametrize("error", NOWHERE, ids=lambda error: type(error).__name__)
def test_the_caller_s_own_mistakes_are_said_at_once(error: PenstockError) -> None:
    assert after(Route("r", (A, B), retries=3), (A, error)) is None


def test_a_longer_context_helps_where_one_was_too_short() -> None:
    short, long, unknown = target("s", context=10), target("l", context=20), target("u")
    too_long = ContextLengthExceeded("x")
    assert after(
        Route("r", (short,), tiers=((target("t", context=10),), (long,))), (short, too_long)
    ) == Step(long)
    assert after(Route("r", (short,), tiers=((unknown,),)), (short, too_long)) == Step(unknown)
    assert after(Route("r", (long,), tiers=((short,),)), (long, too_long)) is None


def test_a_retry_after_is_obeyed_or_given_up() -> None:
    route = Route("r", (A,), retries=1)
    assert after(route, (A, UpstreamRateLimited("x", retry_after_s=3.0))) == Step(A, 3.0)
    assert after(route, (A, UpstreamRateLimited("x", retry_after_s=60.0))) is None


@given(st.integers(1, 5), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_within_bounds(failures: int, roll: float) -> None:
    step = after(Route("r", (A,), retries=5), *[(A, DOWN)] * failures, roll=roll)
    assert step is not None
    assert 0 <= step.pause_s <= LONGEST_PAUSE_S
    assert step.pause_s <= 0.1 * 2 ** (failures - 1)


def test_who_is_down_comes_last() -> None:
    route = Route("r", (A, B), tiers=((C,), (D,)))
    assert after(route, (A, DOWN), down="b") == Step(C)
    assert after(route, (A, DOWN), down="bc") == Step(D)
    assert after(route, (A, DOWN), down="bcd") == Step(B)
    assert after(route, (A, DOWN), (B, DOWN), down="bcd") == Step(C)


@pytest.mark.parametrize(("down", "expected"), [("", "a"), ("b", "a"), ("a", "b"), ("ab", "c"), ("abc", "a")])
def test_a_first_choice_that_is_down_gives_way_to_one_that_is_not(down: str, expected: str) -> None:
    route = Route("r", (A, B), tiers=((target("e", operation="embedding"),), (C,)))
    assert steer(A, route, "chat", lambda one: one.name in down, by_weight).deployment.name == expected


@given(st.sets(st.sampled_from("abcd")), st.integers(0, 3))
def test_some_target_is_asked_whoever_is_down(down: set[str], first: int) -> None:
    route = Route("r", (A, B), tiers=((C,), (D,)))
    asked = steer((A, B, C, D)[first], route, "chat", lambda one: one.name in down, by_weight)
    assert asked.deployment.name not in down or down == set("abcd")


@pytest.mark.parametrize("error", ELSEWHERE, ids=lambda error: type(error).__name__)
def test_another_replica_comes_before_another_target(error: PenstockError) -> None:
    route = Route("r", (A, B))
    step = after(route, (A, error), replicas=["a#1", "a#2"])
    assert step == (Step(A, replica="a#1") if isinstance(error, (*AGAIN, UpstreamTimeout)) else Step(B))


def test_one_replica_more_then_the_other_targets_then_the_rest_of_the_replicas() -> None:
    route, rest = Route("r", (A, B)), ["a#2", "a#3"]
    twice = [(A, DOWN), (A, DOWN, "a#1")]
    assert after(route, *twice, replicas=rest) == Step(B)
    assert after(route, *twice, replicas=rest, down="b") == Step(A, replica="a#2"), "who is down comes last"
    assert after(Route("r", (A,)), *twice, replicas=rest) == Step(A, replica="a#2")
    assert after(Route("r", (A,)), *twice) is None


def test_moves_to_other_replicas_are_no_retries() -> None:
    moved = [(A, DOWN), (A, DOWN, "a#1"), (A, DOWN, "a#2")]
    step = after(Route("r", (A,), retries=1), *moved)
    assert step is not None
    assert step.replica == ""
    assert step.pause_s > 0
    assert after(Route("r", (A,), retries=1), *moved, (A, DOWN)) is None
