"""When a deployment is left alone for a while. Pure: values in, values out; the clock is the caller's.

    state        becomes      when
    -----------  -----------  --------------------------------------------------------------------------
    closed       open         half of at least 5 of its last 20 attempts within 30 s failed
    closed       open         an upstream refuses our credentials (60 s), or limits our rate (until its
                              retry-after, 1 s without one)
    open         half open    its time is over: 5 s, twice as long each time it fails again, up to 60 s
    half open    closed       the one attempt that is let through succeeds
    half open    open         it fails

A breaker only steers: where nothing else is left, an open target is asked all the same, so that no request is
refused for what others met. What the caller did wrong and a model that still loads say nothing about health.
"""

from collections import deque

from penstock.types.errors import (
    PenstockError,
    UpstreamCredentials,
    UpstreamError,
    UpstreamRateLimited,
)

WINDOW_S = 30.0
SAMPLES = 20  # attempts that are looked at
LEAST = 5  # of them before anything is said
SHARE = 0.5  # of failures
OPEN_S = 5.0
LONGEST_S = 60.0
COOLING_S = 1.0  # after a 429 that names no time
PROBE_S = 30.0  # how long one attempt keeps others away from a half-open target


class Breaker:
    """Of one deployment. Times are monotonic seconds."""

    __slots__ = ("_attempts", "_opened", "_probe_until_s", "_until_s")

    def __init__(self) -> None:
        self._attempts: deque[tuple[float, bool]] = deque(maxlen=SAMPLES)  # when, whether it failed
        self._opened = 0  # how many times in a row
        self._until_s = 0.0
        self._probe_until_s = 0.0

    def is_down(self, now_s: float) -> bool:
        return self._until_s > now_s or self._probe_until_s > now_s

    def began(self, now_s: float) -> None:
        """An attempt is made: the only one, if this is half open."""
        if self._opened and self._until_s <= now_s:
            self._probe_until_s = now_s + PROBE_S

    def left(self) -> None:
        """An attempt ended without a word about the upstream: the client left, or erred."""
        self._probe_until_s = 0.0

    def succeeded(self, now_s: float) -> None:
        self._probe_until_s = 0.0
        if self._opened:
            self._opened, self._until_s = 0, 0.0
            self._attempts.clear()
        self._attempts.append((now_s, False))

    def failed(self, error: PenstockError, now_s: float) -> None:
        self._probe_until_s = 0.0
        if not isinstance(error, UpstreamError):
            return
        if isinstance(error, UpstreamRateLimited):
            wait_s = COOLING_S if error.retry_after_s is None else error.retry_after_s
            self._until_s = max(self._until_s, now_s + min(wait_s, LONGEST_S))
            return
        self._attempts.append((now_s, True))
        if isinstance(error, UpstreamCredentials):
            self._open(now_s, LONGEST_S)
        elif self._opened or self._is_tripped(now_s):
            self._open(now_s, min(LONGEST_S, OPEN_S * 2**self._opened))

    def _open(self, now_s: float, for_s: float) -> None:
        self._opened += 1
        self._until_s = max(self._until_s, now_s + for_s)

    def _is_tripped(self, now_s: float) -> bool:
        recent = [failed for at_s, failed in self._attempts if at_s > now_s - WINDOW_S]
        return len(recent) >= LEAST and sum(recent) >= SHARE * len(recent)


class Breakers:
    """By the name of the deployment; one that never failed costs nothing."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, Breaker] = {}

    def is_down(self, name: str, now_s: float) -> bool:
        found = self._by_name.get(name)
        return found is not None and found.is_down(now_s)

    def of(self, name: str) -> Breaker:
        return self._by_name.setdefault(name, Breaker())

    def down(self, now_s: float) -> list[str]:
        return sorted(name for name, breaker in self._by_name.items() if breaker.is_down(now_s))
