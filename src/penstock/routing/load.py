"""How busy each replica is: this process's own account, at once right, never a scraped gauge.

    reserve      a call is sent there: it runs, and its uncached prompt tokens are pending
    prefilled    its first content came: the prompt has been read
    release      it ended, whatever happened

A signal that is a second old doubles the time to the first token, one of fifteen seconds is no better than
chance (simulated on the Mooncake traces; docs/log.md).
"""


class Lease:
    """What one call holds of a replica."""

    __slots__ = ("pending", "replica")

    def __init__(self, replica: str, pending: int) -> None:
        self.replica = replica
        self.pending = pending  # prompt tokens that are still to be read


class Load:
    __slots__ = ("_pending", "_running")

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    def running(self, replica: str) -> int:
        return self._running.get(replica, 0)

    def pending(self, replica: str) -> int:
        """Prompt tokens."""
        return self._pending.get(replica, 0)

    def reserve(self, replica: str, tokens: int = 0) -> Lease:
        self._running[replica] = self._running.get(replica, 0) + 1
        if tokens:
            self._pending[replica] = self._pending.get(replica, 0) + tokens
        return Lease(replica, tokens)

    def prefilled(self, lease: Lease) -> None:
        if lease.pending:
            self._pending[lease.replica] -= lease.pending
            lease.pending = 0

    def release(self, lease: Lease) -> None:
        self.prefilled(lease)
        left = self._running[lease.replica] - 1
        if left:
            self._running[lease.replica] = left
        else:
            del self._running[lease.replica]
            self._pending.pop(lease.replica, None)
