"""How many further attempts may be made: a share of all that is asked, so that retries melt nobody."""

SHARE = 0.2
BURST = 10.0  # so many at once, after a quiet time


class RetryBudget:
    """One account per name; each call pays `share` of an attempt in, each further attempt takes one out."""

    __slots__ = ("_burst", "_left", "_share")

    def __init__(self, *, share: float = SHARE, burst: float = BURST) -> None:
        self._share = share
        self._burst = burst
        self._left: dict[str, float] = {}

    def called(self, name: str, share: float | None = None) -> None:
        paid = self._share if share is None else share
        self._left[name] = min(self._burst, self._left.get(name, self._burst) + paid)

    def take(self, name: str) -> bool:
        """Whether a further attempt may be made."""
        left = self._left.get(name, self._burst)
        if left < 1:
            return False
        self._left[name] = left - 1
        return True
