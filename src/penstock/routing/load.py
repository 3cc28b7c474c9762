"""How busy each replica is: this process's own account, at once right, never a scraped gauge.

    reserve      a call is sent there: it runs, and its uncached prompt tokens are pending
    prefilled    its first content came: the prompt has been read
    release      it ended, whatever happened

What a replica has to do is counted in prompt tokens: those that are pending, and ANSWER for each call. A
signal that is a second old doubles the time to the first token, one of fifteen seconds is no better than
chance (docs/log.md).
"""

ANSWER = 200  # prompt tokens that an answer under way is worth


class Lease:
    """What one call holds of a replica."""

    __slots__ = ("pending", "replica")

    def __init__(self, replica: str, pending: int) -> None:
        self.replica = replica
        self.pending = pending  # prompt tokens that are still to be read


class Load:
    """by_replica: tokens to do; who has nothing to do is not in it."""

    __slots__ = ("_running", "by_replica")

    def __init__(self) -> None:
        self.by_replica: dict[str, int] = {}
        self._running: dict[str, int] = {}

    def running(self, replica: str) -> int:
        """Calls."""
        return self._running.get(replica, 0)

    def busy(self, replica: str) -> int:
        return self.by_replica.get(replica, 0)

    def reserve(self, replica: str, tokens: int = 0) -> Lease:
        self._running[replica] = self._running.get(replica, 0) + 1
        self.by_replica[replica] = self.by_replica.get(replica, 0) + ANSWER + tokens
        return Lease(replica, tokens)

    def prefilled(self, lease: Lease) -> None:
        self.by_replica[lease.replica] -= lease.pending
        lease.pending = 0

    def release(self, lease: Lease) -> None:
        name = lease.replica
        if self._running[name] == 1:
            del self._running[name], self.by_replica[name]
        else:
            self._running[name] -= 1
            self.by_replica[name] -= ANSWER + lease.pending
