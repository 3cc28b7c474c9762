"""Choosing a target of a route. Pure functions of values: no clock, no I/O, no randomness of their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from penstock.routing.load import Load
from penstock.types.deployment import Level, Target


def weighted(targets: Sequence[Target], roll: float) -> Target:
    """The target whose share of the total weight contains `roll`, a number in [0, 1).

    Raises ValueError without a positive weight: compile() refuses such routes.
    """
    if len(targets) == 1:
        return targets[0]
    point = roll * sum(target.weight for target in targets)
    chosen: Target | None = None
    for target in targets:
        if target.weight <= 0:
            continue
        chosen = target
        point -= target.weight
        if point < 0:
            return chosen
    if chosen is None:
        msg = "no target has a positive weight"
        raise ValueError(msg)
    return chosen  # floating-point rest at roll close to 1


class Candidate(NamedTuple):
    """A replica that could answer. `replica` names it in the accounts of load and prefixes."""

    target: Target
    replica: str
    id: str = ""  # of a local one that is ready; empty: whoever is next
    weight: float = 1.0


def least_loaded(candidates: Sequence[Candidate], load: Load, rolls: Sequence[float]) -> Candidate:
    """Of two taken by their weights the one with fewer calls per weight; the first of equals.

    Two choices are nearly as good as looking at all, and a burst of many gateways does not fall upon the one
    that was idle (Mitzenmacher, The Power of Two Choices, 2001).
    """
    first = weighted_of(candidates, rolls[0])
    if len(candidates) == 1:
        return first
    second = weighted_of([one for one in candidates if one is not first], rolls[1])
    if load.running(second.replica) / second.weight < load.running(first.replica) / first.weight:
        return second
    return first


CACHED = 8  # pending tokens that a cached one is worth: it saves its own reading now, and later turns' too


def affine(
    candidates: Sequence[Candidate], matched: Mapping[str, int], load: Load, roll: float
) -> tuple[Candidate, float]:
    """The replica with the most of the prompt in its cache, unless others have much less to do.

    The least of what there is to do (`Load.by_replica`) - CACHED * tokens of the prompt that it has
    (`matched`); equals are taken by `roll`. On the Mooncake traces within 3 % of the best of nine formulas in
    every configuration, and of these the one that a handful of pending tokens does not turn (docs/log.md).
    Also given: how little any of them has to do.
    """
    busy = load.by_replica
    costs = [busy.get(one.replica, 0) / one.weight for one in candidates]
    idlest = min(costs)
    if matched:
        for at, one in enumerate(candidates):
            if one.replica in matched:
                costs[at] -= CACHED * matched[one.replica]
    least = min(costs)
    if costs.count(least) == 1:
        return candidates[costs.index(least)], idlest
    best = [one for one, cost in zip(candidates, costs, strict=True) if cost == least]
    return best[int(roll * len(best))], idlest


def least(
    candidates: Sequence[Candidate], cost: Callable[[Candidate], float | None], roll: float
) -> Candidate:
    """The one that costs least, in money or in time; who has an unknown cost only where all have. Equals are
    taken by weight.
    """
    costs = [cost(one) for one in candidates]
    known = [one for one in costs if one is not None]
    if not known:
        return weighted_of(candidates, roll)
    lowest = min(known)
    return weighted_of([one for one, own in zip(candidates, costs, strict=True) if own == lowest], roll)


def preferred(candidates: Sequence[Candidate], levels: Sequence[Level], roll: float) -> Candidate:
    """By weight, of those of the first of `levels` that anybody has; of all, where nobody has one."""
    for level in levels:
        if there := [one for one in candidates if one.target.when == level]:
            return weighted_of(there, roll)
    return weighted_of(candidates, roll)


def weighted_of(candidates: Sequence[Candidate], roll: float) -> Candidate:
    """By weight; a target's replicas share it."""
    point = roll * sum(one.weight for one in candidates)
    for one in candidates:
        point -= one.weight
        if point < 0:
            return one
    return candidates[-1]
