"""When something is left alone for a while. Pure: values in, values out; the clock is the caller's.

    state        becomes      when
    -----------  -----------  --------------------------------------------------------------------------
    closed       open         half of at least 5 of its last 20 attempts within 30 s failed
    closed       open         an upstream refuses our credentials (60 s), or limits our rate (until its
                              retry-after or reset, at most an hour; 1 s where it names neither)
    open         half open    its time is over: 5 s, twice as long each time it fails again, up to 60 s
    half open    closed       the one attempt that is let through succeeds; its share grows (slow_start.py)
    half open    open         it fails

One table of them, by what can fail on its own:

    kind         of                               opened by
    -----------  -------------------------------  ------------------------------------------------------
    deployment   its name                         what none of the others is to blame for
    replica      its pool and id; one that was    whatever fails at it, where its deployment has several
                 started again is another one
    credential   a deployment and                 401, 402, 403 and 429, where its provider has several;
                 `<provider>#<number>`            limits and permissions are for one model, mostly

A deployment is down when its own breaker is open, or those of all its ready replicas, or of all its
credentials. A breaker only steers: where nothing else is left, an open target is asked all the same, so that
no request is refused for what others met. Nothing about health say: what the caller did wrong, a time that it
cut short, an answer that outlasts its whole time, a model that still loads. A whole answer is good, even
where it is not of the schema that the caller wanted.

Where probes are on (probing.py), a half-open target waits for its probe before a request is its one attempt.

An attempt that began before the last change of state says nothing any more: of a hundred that are under way
when a target dies the fifth opens its breaker; a stream that had begun long before does not close it again.
"""

from collections import deque
from typing import Literal, NamedTuple

from penstock.routing.slow_start import share
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
LONGEST_COOLING_S = 3600.0  # a day's quota is asked for once an hour
COOLING_S = 1.0  # after a 429 that names no time
PROBE_S = (
    30.0  # how long one attempt keeps others away from a half-open target, or waiting for its probe does
)

Kind = Literal["deployment", "replica", "credential"]
State = Literal["closed", "half open", "open"]


class Breaker:
    """Of one. Times are monotonic seconds. `answered_s`: when it succeeded last."""

    __slots__ = (
        "_attempts",
        "_changes",
        "_closed_s",
        "_opened",
        "_probe",
        "_probe_until_s",
        "_until_s",
        "answered_s",
    )

    def __init__(self) -> None:
        self._attempts: deque[tuple[float, bool]] = deque(maxlen=SAMPLES)  # when, whether it failed
        self._changes = 0  # of its state
        self._opened = 0  # how many times in a row
        self._until_s = 0.0
        self._probe: Trial | None = None  # the one attempt that is let through
        self._probe_until_s = 0.0
        self._closed_s: float | None = None  # when it recovered last
        self.answered_s: float | None = None

    def is_down(self, now_s: float, *, is_probed: bool = False) -> bool:
        if self._until_s > now_s or self._probe_until_s > now_s:
            return True
        return is_probed and self._opened > 0 and now_s < self._until_s + PROBE_S

    def state(self, now_s: float) -> State:
        if self._until_s > now_s:
            return "open"
        return "half open" if self._opened else "closed"

    def share(self, now_s: float) -> float:
        """Of its usual requests, since it recovered."""
        return 1.0 if self._closed_s is None else share(now_s - self._closed_s)

    def probe_at_s(self) -> float | None:
        """When the one attempt may be made; None where none is needed."""
        return max(self._until_s, self._probe_until_s) if self._opened else None

    def began(self, now_s: float) -> "Trial":
        """An attempt is made: the only one, if this is half open."""
        trial = Trial(self, self._changes)
        if self._opened and self._until_s <= now_s:
            self._probe, self._probe_until_s = trial, now_s + PROBE_S
        return trial

    def left(self, trial: "Trial") -> None:
        if self._probe is trial:
            self._probe, self._probe_until_s = None, 0.0

    def succeeded(self, trial: "Trial", now_s: float) -> bool:
        self.left(trial)
        self.answered_s = now_s
        if trial.changes != self._changes:
            return False
        has_recovered = self._opened > 0
        if has_recovered:
            self._changes += 1
            self._opened, self._until_s, self._probe_until_s = 0, 0.0, 0.0
            self._closed_s = now_s
            self._attempts.clear()
        self._attempts.append((now_s, False))
        return has_recovered

    def failed(self, trial: "Trial", error: PenstockError, now_s: float) -> None:
        self.left(trial)
        if not isinstance(error, UpstreamError):
            return
        if isinstance(error, UpstreamRateLimited):
            wait_s = COOLING_S if error.retry_after_s is None else error.retry_after_s
            self._until_s = max(self._until_s, now_s + min(wait_s, LONGEST_COOLING_S))
            return
        if trial.changes != self._changes:
            return
        self._attempts.append((now_s, True))
        if isinstance(error, UpstreamCredentials):
            self._open(now_s, LONGEST_S)
        elif self._opened or self._is_tripped(now_s):
            self._open(now_s, min(LONGEST_S, OPEN_S * 2**self._opened))

    def _open(self, now_s: float, for_s: float) -> None:
        self._changes += 1
        self._opened = min(self._opened + 1, SAMPLES)  # the time stops growing long before
        self._until_s = max(self._until_s, now_s + for_s)

    def _is_tripped(self, now_s: float) -> bool:
        recent = [failed for at_s, failed in self._attempts if at_s > now_s - WINDOW_S]
        return len(recent) >= LEAST and sum(recent) >= SHARE * len(recent)


class Trial:
    """One attempt, which tells its breaker how it ended. `changes`: of its state, before it began."""

    __slots__ = ("_breaker", "changes")

    def __init__(self, breaker: Breaker, changes: int) -> None:
        self._breaker = breaker
        self.changes = changes

    @property
    def answered_s(self) -> float | None:
        """When any attempt succeeded last."""
        return self._breaker.answered_s

    def left(self) -> None:
        """It ended without a word about the upstream: its client left, or erred; or its end is known."""
        self._breaker.left(self)

    def succeeded(self, now_s: float) -> bool:
        """Whether the breaker was open, and recovered by this."""
        return self._breaker.succeeded(self, now_s)

    def failed(self, error: PenstockError, now_s: float) -> None:
        self._breaker.failed(self, error, now_s)


class Name(NamedTuple):
    """Whose breaker it is. `deployment`: of a replica its pool; `part`: the replica or the credential."""

    kind: Kind
    deployment: str
    part: str = ""


class Row(NamedTuple):
    """One breaker as a scrape shows it."""

    kind: Kind
    deployment: str
    part: str
    state: State


class Breakers:
    """The table; what never failed costs nothing. `life` tells a replica from the one it was before."""

    __slots__ = ("_table",)

    def __init__(self) -> None:
        self._table: dict[Name, tuple[str, Breaker]] = {}

    def is_down(self, name: Name, now_s: float, *, life: str = "", is_probed: bool = False) -> bool:
        found = self.find(name, life)
        return found is not None and found.is_down(now_s, is_probed=is_probed)

    def find(self, name: Name, life: str = "") -> Breaker | None:
        found = self._table.get(name)
        return None if found is None or found[0] != life else found[1]

    def of(self, name: Name, life: str = "") -> Breaker:
        found = self.find(name, life)
        if found is None:
            found = Breaker()
            self._table[name] = (life, found)
        return found

    def report(self, now_s: float) -> list[Row]:
        """For a scrape, which reads it in another thread."""
        rows = list(self._table.items())
        return [Row(*name, breaker.state(now_s)) for name, (_, breaker) in rows]
