"""How busy each replica is: this process's own account, at once right, never a scraped gauge.

    reserve      a call is sent there: it runs, and its uncached prompt tokens are pending
    prefilled    its first content came: the prompt has been read
    release      it ended, whatever happened
    take         what other processes have there, as they said a moment ago

What a replica has to do is counted in prompt tokens: those that are pending, and ANSWER for each call. A
signal that is a second old doubles the time to the first token, one of fifteen seconds is no better than
chance (docs/log.md).
"""

from collections.abc import Iterator, Mapping

ANSWER = 200  # prompt tokens that an answer under way is worth


class Lease:
    """What one call holds of a replica."""

    __slots__ = ("pending", "replica")

    def __init__(self, replica: str, pending: int) -> None:
        self.replica = replica
        self.pending = pending  # prompt tokens that are still to be read


class Load:
    """by_replica: tokens to do; who has nothing to do is not in it. Own and others' are one sum: choosing
    looks at it for each candidate, and who has what is asked a few times a second.
    """

    __slots__ = ("_others", "_running", "by_replica")

    def __init__(self) -> None:
        self.by_replica: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._others: Mapping[str, tuple[int, int]] = {}  # replica -> calls, tokens

    def running(self, replica: str) -> int:
        """Calls."""
        return self._running.get(replica, 0)

    def reserve(self, replica: str, tokens: int = 0) -> Lease:
        self._add(replica, 1, ANSWER + tokens)
        return Lease(replica, tokens)

    def prefilled(self, lease: Lease) -> None:
        self.by_replica[lease.replica] -= lease.pending
        lease.pending = 0

    def release(self, lease: Lease) -> None:
        self._add(lease.replica, -1, -ANSWER - lease.pending)

    def _add(self, replica: str, calls: int, tokens: int) -> None:
        running = self._running.get(replica, 0) + calls
        if running:
            self._running[replica] = running
            self.by_replica[replica] = self.by_replica.get(replica, 0) + tokens
        else:
            del self._running[replica], self.by_replica[replica]

    def own(self) -> dict[str, tuple[int, int]]:
        """Replica -> calls and tokens of this process."""
        return dict(self._own())

    def _own(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for replica, running in self._running.items():
            calls, tokens = self._others.get(replica, (0, 0))
            if running != calls:
                yield replica, (running - calls, self.by_replica[replica] - tokens)

    def take(self, others: Mapping[str, tuple[int, int]]) -> None:
        """`others`: of all other processes together, calls and tokens; no calls are no tokens."""
        before, self._others = self._others, others
        for replica in before.keys() | others.keys():
            was, now = before.get(replica, (0, 0)), others.get(replica, (0, 0))
            if was != now:
                self._add(replica, now[0] - was[0], now[1] - was[1])
