"""Choosing a target of a route. Pure functions of values: no clock, no I/O, no randomness of their own."""

from collections.abc import Sequence

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
