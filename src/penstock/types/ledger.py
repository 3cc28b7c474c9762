"""What may be used, and who keeps count of it.

    word       is
    ---------  --------------------------------------------------------------------------------------------
    Scope      whom a limit is for: a key, a user, a team, a route (once per call); a deployment, a provider
               (per attempt)
    Limit      how much of a resource within a window
    Claim      a scope with its limits; made once per configuration, not per request
    Cost       what a call needs, or took; its one slot of `concurrency` goes without saying
    Lease      what was reserved for a call, until it is settled
    Refusal    why nothing was reserved

    window         written   is
    -------------  --------  ------------------------------------------------------------------------------
    rolling        seconds   the last so many seconds, at every moment
    calendar       a Period  since midnight, Monday or the first of the month in UTC; or since ever: `total`
    none           None      concurrency: what runs now

Amounts are integers from 0 to 2**63, money in pico-USD.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec
from msgspec.structs import force_setattr

Resource = Literal["requests", "tokens", "pico_usd", "concurrency"]
ScopeKind = Literal["key", "user", "team", "route", "deployment", "provider"]
Period = Literal["day", "week", "month", "total"]
FailurePolicy = Literal["open", "closed", "local-share"]

RESOURCES: Final[tuple[Resource, ...]] = ("requests", "tokens", "pico_usd", "concurrency")
PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month", "total")
MOST: Final = 2**63


class Scope(msgspec.Struct, frozen=True):
    """id: whose, and the models that it is for alone: `lab`, or `lab gpt-4o o3`.

    name: what people call whose it is, where the id is one that was made up for it.
    """

    kind: ScopeKind
    id: str
    name: str = ""

    @property
    def owner(self) -> str:
        """The id without the models."""
        return self.id.partition(" ")[0]

    @property
    def models(self) -> list[str]:
        return self.id.split(" ")[1:]

    @property
    def called(self) -> str:
        return self.name or self.owner


class Limit(msgspec.Struct, frozen=True):
    """`Limit("tokens", 20_000, 60)`, `Limit("pico_usd", 25 * 10**12, "month")`, `Limit("concurrency", 4)`."""

    resource: Resource
    amount: int
    window: int | Period | None = None
    alerts: tuple[float, ...] = ()  # shares of the amount whose use is told to webhooks; ledgers ignore them

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= MOST:
            raise ValueError(f"{self.resource}: an amount is from 0 to 2**63, not {self.amount}")
        if (self.window is None) != (self.resource == "concurrency"):
            raise ValueError("concurrency has no window, and all else has one")
        if isinstance(self.window, int) and not 1 <= self.window <= 366 * 86_400:
            raise ValueError(f"{self.resource}: a rolling window is from a second to a year")

    @property
    def key(self) -> str:
        """What tells it from the scope's other limits: `tokens/60`."""
        return self.resource if self.window is None else f"{self.resource}/{self.window}"


class Claim(msgspec.Struct, eq=False, frozen=True):
    """A scope and its limits. A ledger knows a claim again by `key` and the identity of `limits`.

    on_failure: what happens while a shared store does not answer.
    key, has_alerts: of scope and limits; nobody gives them.
    """

    scope: Scope
    limits: tuple[Limit, ...]
    on_failure: FailurePolicy = "local-share"
    key: str = ""
    has_alerts: bool = False

    def __post_init__(self) -> None:
        if len({limit.key for limit in self.limits}) < len(self.limits):
            raise ValueError(f"{self.scope.kind} {self.scope.id}: two limits of one resource and window")
        force_setattr(self, "key", f"{self.scope.kind}:{self.scope.id}")
        force_setattr(self, "has_alerts", any(limit.alerts for limit in self.limits))


class Cost(msgspec.Struct, frozen=True, gc=False):
    requests: int = 0
    tokens: int = 0
    pico_usd: int = 0


class Rest(msgspec.Struct, frozen=True):
    """What a limit has left, and in how many seconds all of it is back; None: never by itself."""

    scope: Scope
    limit: Limit
    remaining: int
    resets_s: float | None


class Lease(msgspec.Struct, eq=False):
    """What is reserved for one call. Its fields are for ledgers.

    is_settled: it was asked for; to ask again changes nothing.
    is_late: to reserve for it was asked without an answer; the store may do it yet.
    is_uncertain: to settle it was asked without an answer; the store may have done it.
    is_unknown: the store does not have it, so all that it takes is booked at its end.
    """

    id: str
    claims: Sequence[Claim]
    ttl_s: float
    remaining: Sequence[Rest] = ()
    is_settled: bool = False
    is_late: bool = False
    is_uncertain: bool = False
    is_unknown: bool = False

    def rests(self) -> Sequence[Rest]:
        """Of every limit but concurrency, as they were when this was reserved, or later."""
        return self.remaining


FREE: Final = Lease("", (), 0.0, is_settled=True)  # of all calls that nothing limits


class Refusal(msgspec.Struct, frozen=True):
    """The limit that stands in the way longest.

    used, reserved: what counts against the limit now.
    retry_after_s: when this cost could be admitted at the earliest, as far as is known; None: never, because
    it is above the limit by itself or the limit is never reset.
    """

    scope: Scope
    limit: Limit
    used: int
    reserved: int
    retry_after_s: float | None

    def rest(self) -> Rest:
        """What the limit has left."""
        left = max(0, self.limit.amount - self.used - self.reserved)
        return Rest(self.scope, self.limit, left, self.retry_after_s)


class Row(msgspec.Struct, frozen=True):
    """A line of a report. `expired` is the part of `used` that nobody settled: of processes that died."""

    scope: Scope
    limit: Limit
    used: int
    reserved: int
    expired: int


class LedgerUnavailable(Exception):
    """The store does not answer, and a scope's policy for that is `closed`."""


class Ledger(Protocol):
    """Reserve, then settle. `now_s` is the caller's monotonic clock; a shared store goes by its own."""

    async def reserve(
        self, claims: Sequence[Claim], cost: Cost, now_s: float, ttl_s: float
    ) -> Lease | Refusal:
        """All of it or nothing. Each scope is named once. FREE where none has limits.

        Raises LedgerUnavailable.
        """

    async def extend(self, lease: Lease, more: Cost, now_s: float) -> Refusal | None:
        """Reserves more for a call that runs, and is a heartbeat. A refusal leaves the lease as it was."""

    async def settle(self, lease: Lease, actual: Cost, now_s: float) -> None:
        """The call ended and took this much in all."""

    async def heartbeat(self, leases: Sequence[Lease], now_s: float) -> None:
        """These calls still run: each gets its `ttl_s` anew."""

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:
        """One row per limit."""

    async def close(self) -> None: ...


def tightest(rests: Sequence[Rest], resource: Resource) -> Rest | None:
    """Of the limits of a resource, the one with least left: what the client is told."""
    of_it = [rest for rest in rests if rest.limit.resource == resource]
    return min(of_it, key=lambda rest: rest.remaining, default=None)
