"""Metrics of all workers. A scrape may reach any of them, and shows the sum.

    of a worker that                 a scrape shows
    -------------------------------  -------------------------------------------------------------------
    answers                          what it says
    does not, this time              the counters of its last answer
    has died                         likewise, for as long as the supervisor lives
    has ended in order               what it said at its end

So no counter falls. What a worker that is killed has counted since the last scrape is lost.
"""

from collections.abc import Callable

from penstock.telemetry import sums
from penstock.telemetry.sums import Families


class Totals:
    """The supervisor's. A worker is known by its `life`. `own`: what the supervisor counts itself."""

    def __init__(self, own: Callable[[], Families]) -> None:
        self._own = own
        self._last: dict[int, bytes] = {}  # life -> what it said last
        self._ended: Families = []

    def said(self, life: int, body: bytes) -> None:
        self._last[life] = body

    def died(self, life: int) -> None:
        if (last := self._last.pop(life, None)) is not None:
            self._ended = sums.summed((self._ended, sums.counters(sums.decode(last))))

    def rest(self, answered: set[int]) -> bytes:
        """What belongs to a scrape beside the answers of those."""
        silent = [
            sums.counters(sums.decode(body)) for life, body in self._last.items() if life not in answered
        ]
        return sums.encode(sums.summed((self._own(), self._ended, *silent)))
