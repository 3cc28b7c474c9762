"""When a second target is asked beside one that is slow (Dean, Barroso, The Tail at Scale, CACM 2013). Pure.

After the 95th percentile of the route's own times to first content: one request in twenty is late by that, so
little is asked twice, and the slowest are cut off. Where all are alike it is twice the median: a moment more
is not late, and the budget is for those who are. Until there are LEAST times, nobody is hedged.
"""

from collections import deque

QUANTILE = 0.95
SAMPLES = 200  # of the latest answers
TIMES_MEDIAN = 2.0
LEAST_LATE_S = 0.01
LEAST = 20
HEDGES_AT_ONCE = 10.0  # after a quiet time; beyond that, the route's share of its calls
AGAIN = 10  # answers after which the quantile is taken anew


class Delays:
    """By route: what is late. Times are seconds from an attempt's start to its first content."""

    __slots__ = ("_late", "_seen", "_since")

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}
        self._late: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def saw(self, route: str, first_content_s: float) -> None:
        seen = self._seen.get(route)
        if seen is None:
            seen = self._seen[route] = deque(maxlen=SAMPLES)
        seen.append(first_content_s)
        since = self._since[route] = self._since.get(route, 0) + 1
        if since >= AGAIN and len(seen) >= LEAST:
            self._since[route] = 0
            ordered = sorted(seen)
            late_s = ordered[int(len(seen) * QUANTILE)]
            self._late[route] = max(late_s, TIMES_MEDIAN * ordered[len(seen) // 2], LEAST_LATE_S)

    def late_s(self, route: str) -> float | None:
        return self._late.get(route)
