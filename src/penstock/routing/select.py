"""Choosing a target of a route. Pure functions of values: no clock, no I/O, no randomness of their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from penstock.types.deployment import Target


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


def least_loaded(
    candidates: Sequence[Candidate], load: Callable[[str], int], rolls: Sequence[float]
) -> Candidate:
    """Of two taken by their weights the one with fewer calls per weight; the first of equals.

    Two choices are nearly as good as looking at all, and a burst of many gateways does not fall upon the one
    that was idle (Mitzenmacher, The Power of Two Choices, 2001). `load`: calls that run at a replica now.
    """
    first = _at(candidates, rolls[0])
    if len(candidates) == 1:
        return first
    second = _at([one for one in candidates if one is not first], rolls[1])
    if load(second.replica) / second.target.weight < load(first.replica) / first.target.weight:
        return second
    return first


def affine(
    candidates: Sequence[Candidate],
    matched: Mapping[str, int],
    blocks: int,
    pending: Callable[[str], int],
    roll: float,
) -> Candidate:
    """The replica with the most of the prompt in its cache, unless others have much less to do.

    3 * share of the prompt's `blocks` that it has + 2 * how little is pending there, between the busiest (0)
    and the idlest (1): of the formulas compared on the Mooncake traces the best in every configuration
    (docs/log.md). `pending`: prompt tokens still to be read there; equals are taken by `roll`.
    """
    waits = [pending(one.replica) / one.target.weight for one in candidates]
    least, most = min(waits), max(waits)
    spread = (most - least) / 2 or 1.0
    share = 3 / max(1, blocks)
    best: list[Candidate] = []
    best_score = -1.0
    for one, wait in zip(candidates, waits, strict=True):
        score = (most - wait) / spread + matched.get(one.replica, 0) * share
        if score > best_score:
            best, best_score = [one], score
        elif score == best_score:
            best.append(one)
    return best[int(roll * len(best))]


def _at(candidates: Sequence[Candidate], roll: float) -> Candidate:
    """By weight; a target's replicas share it."""
    point = roll * sum(one.target.weight for one in candidates)
    for one in candidates:
        point -= one.target.weight
        if point < 0:
            return one
    return candidates[-1]
