"""What the ledgers in shared stores have in common: leases by name, and what an answer means.

    settle finds the lease                   and
    ---------------------------------------  ---------------------------------------------------------------
    held                                     puts what was used in the place of what was reserved
    expired, less than an hour ago           the same: what it had reserved counts as used meanwhile
    unknown: the store lost it, it expired   books all of it as used now: usage is never lost
    long ago, or it was granted elsewhere
    unknown, and this was asked before       books nothing: it was done then, and only the answer was lost
    without an answer
    over: settled, and marked as such        books nothing

Twice is once for one Lease; nobody else has it. What is unknown is booked by a second question: the first,
when it is late, may find that its repetition has settled the lease, and must not book it again.

A question that nobody waits for any more may lie in a buffer, and be done after those that followed it. What
that could spoil is marked as over for an hour: a lease for which to reserve was asked without an answer, so
that it does not rise again, and what was booked as unknown, so that it is not booked again.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from penstock.lib.ids import new_id
from penstock.limits import rows, windows
from penstock.types.ledger import (
    FREE,
    RESOURCES,
    Claim,
    Cost,
    Lease,
    LedgerUnavailable,
    Limit,
    Refusal,
    Rest,
    Row,
    Scope,
)

KEPT_US: Final = 3_600 * windows.SECOND_US  # an expired lease is known so long, and can still be settled
TIDY_S: Final = 60.0  # how often what counts no more is looked for
TIDIED: Final = 200  # scopes in one transaction
_PERIODS_S: Final = {"day": 86_400, "week": 7 * 86_400, "month": 31 * 86_400}


class Seal(IntEnum):
    """Whether a lease is marked as over."""

    NEVER = 0
    SETTLED = 1  # when it is settled
    ALWAYS = 2  # also when it is unknown


Slices = Sequence[tuple[int, int, int, int]]  # number, used, reserved, expired of those that count
Standing = tuple[Scope, Limit, Slices]  # a limit in the way


def limited(claims: Sequence[Claim]) -> Sequence[Claim]:
    """Those that have limits; the store need not hear of others."""
    return claims if all(claim.limits for claim in claims) else [one for one in claims if one.limits]


def ttl_us(lease: Lease) -> int:
    return int(lease.ttl_s * windows.SECOND_US)


def keep_s(claim: Claim) -> int:
    """How long the counts of a scope say something after they were last changed; 0: for ever."""
    longest = 0
    for limit in claim.limits:
        if limit.window == "total":
            return 0
        if isinstance(limit.window, int):
            longest = max(longest, 2 * limit.window)
        elif limit.window is not None:
            longest = max(longest, _PERIODS_S[limit.window] + 86_400)
    return longest or 1


def refused(standing: Sequence[Standing], cost: Cost, now_us: int) -> Refusal:
    costs = dict(zip(RESOURCES, rows.amounts(cost, 1), strict=True))
    return worst(
        [
            rows.refusal(scope, limit, [one[:3] for one in slices], costs[limit.resource], now_us)
            for scope, limit, slices in standing
        ]
    )


def worst(refusals: Sequence[Refusal]) -> Refusal:
    """Raises LedgerUnavailable where nothing stands in the way: the lease is over."""
    if not refusals:
        raise LedgerUnavailable("what was asked for this call came after its end")
    return rows.worst(refusals)


def rests(claims: Sequence[Claim], totals: Sequence[tuple[int, int]], now_us: int) -> list[Rest]:
    """`totals`: total and running slice of each limit but concurrency, in order."""
    limits = [(claim.scope, limit) for claim in claims for limit in claim.limits if limit.window is not None]
    return [
        windows.rest(scope, limit, total, number, now_us)
        for (scope, limit), (total, number) in zip(limits, totals, strict=True)
    ]


class SharedLedger(ABC):
    """A Ledger for several processes, completed by each store. Raises LedgerUnavailable throughout."""

    _tidy_s = 0.0

    async def reserve(
        self,
        claims: Sequence[Claim],
        cost: Cost,
        now_s: float,  # noqa: ARG002 - the server's clock counts
        ttl_s: float,
    ) -> Lease | Refusal:
        if not (claims := limited(claims)):
            return FREE
        lease = Lease(new_id("lease_"), claims, ttl_s)
        try:
            return await self.hold(lease, cost) or lease
        except asyncio.CancelledError:
            self.abandon(lease)
            raise

    def abandon(self, lease: Lease) -> None:  # noqa: B027 - by itself it expires
        """Nobody waits any more for what is being reserved."""

    async def extend(self, lease: Lease, more: Cost, now_s: float) -> Refusal | None:  # noqa: ARG002
        if lease is FREE:
            return None
        if lease.is_settled:
            raise ValueError("a lease that was settled cannot be extended")
        return await self.hold(lease, more)

    async def settle(self, lease: Lease, actual: Cost, now_s: float) -> None:  # noqa: ARG002
        if lease.is_settled:
            return
        lease.is_settled = True
        try:
            await self.finish(lease, actual)
        except BaseException:
            lease.is_settled = False
            raise

    async def hold(self, lease: Lease, cost: Cost) -> Refusal | None:
        """Reserves for a lease, be it new or held, and sets what remains."""
        try:
            return await self.ask(lease, cost)
        except BaseException:
            lease.is_late = True
            raise

    async def finish(self, lease: Lease, actual: Cost) -> None:
        """Settles; to be repeated when it raises."""
        if not lease.is_unknown:
            was_uncertain, lease.is_uncertain = lease.is_uncertain, True
            seal = Seal.NEVER
            if lease.is_late:
                seal = Seal.ALWAYS if was_uncertain else Seal.SETTLED
            is_known = await self.end(lease, actual, is_unknown=False, seal=seal)
            lease.is_uncertain = False
            if is_known or was_uncertain:
                return
            lease.is_unknown = True
        await self.end(lease, actual, is_unknown=True, seal=Seal.ALWAYS)

    @abstractmethod
    async def ask(self, lease: Lease, cost: Cost) -> Refusal | None:
        """What `hold` does."""

    @abstractmethod
    async def end(self, lease: Lease, actual: Cost, *, is_unknown: bool, seal: Seal) -> bool:
        """Settles a lease that is known, or `is_unknown`; otherwise returns False. What is over is known."""

    async def heartbeat(self, leases: Sequence[Lease], now_s: float) -> None:
        await self.beat(leases)
        if now_s >= self._tidy_s:
            self._tidy_s = now_s + TIDY_S
            if await self.tidy():
                self._tidy_s = now_s

    @abstractmethod
    async def beat(self, leases: Sequence[Lease]) -> None:
        """What `heartbeat` does, but for tidying."""

    async def tidy(self) -> bool:
        """Drops what counts no more of some scopes that nobody asks for; whether there may be more."""
        return False

    @abstractmethod
    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]: ...

    @abstractmethod
    async def close(self) -> None: ...


def row(scope: Scope, limit: Limit, slices: Slices) -> Row:
    used, reserved, expired = (sum(one[field] for one in slices) for field in (1, 2, 3))
    return Row(scope, limit, used, reserved, expired)
