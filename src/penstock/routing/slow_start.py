"""Who has just become ready, or has just recovered, is given little at first: its caches are cold. Pure.

    since                 its share of what would be its own
    --------------------  ----------------------------------------------------------------
    0 s                   10 %
    15 s                  55 %
    30 s                  all

Whatever the strategy, it stands for election only so often (`standing`): then it is chosen as always. A
weight would not do: who has nothing to do yet is the least busy, and the cheapest stays the cheapest. Where
all are new, all are equal: a share is that of the oldest's.
"""

from collections.abc import Sequence
from typing import TypeVar

LEAST = 0.1
FULL_S = 30.0

One = TypeVar("One")


def share(age_s: float) -> float:
    """Of what would be its own, so long after it became ready."""
    return min(1.0, LEAST + (1 - LEAST) * max(0.0, age_s) / FULL_S)


def standing(ones: Sequence[One], shares: Sequence[float], rolls: Sequence[float]) -> Sequence[One]:
    """Those that may be chosen now; never none of some. `rolls`: numbers in [0, 1), one for each."""
    most = max(shares, default=1.0)
    return [one for one, own, roll in zip(ones, shares, rolls, strict=True) if roll * most < own]
