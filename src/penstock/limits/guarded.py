"""A shared ledger, and what happens while its store does not answer.

    the store          a call
    -----------------  ----------------------------------------------------------------------------------
    answers            is admitted by it
    fails, or is slow  is admitted by the policy of each of its scopes; three in a row: the store is down
    is down            is admitted by policy, and does not ask; once a second one call asks, and its answer
                       ends it

    policy             admits
    -----------------  ----------------------------------------------------------------------------------
    open               all
    closed             nothing: LedgerUnavailable
    local-share        this process' share of each limit: what the store last said was left of it, divided by
                       the number of processes; a limit smaller than that number admits nothing

A call that was admitted before goes on: its extensions are granted, but for `closed`. So while the store is
down a limit may be exceeded by what was in flight, and by what other processes were granted between the last
answer that each of them had.

What is settled meanwhile is told to the store when it answers again, some at a time, 10,000 calls at most;
once a second it is tried. A question without an answer may have been done: a reservation of that kind is
given back by then, a settlement is repeated and knows that it may be the second (shared.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Sequence
from itertools import islice
from typing import Final, TypeVar

from penstock.lib.clock import Clock
from penstock.lib.ids import new_id
from penstock.lib.patience import within
from penstock.lib.tasks import Tasks, cancel_and_wait, spawn
from penstock.limits.memory import MemoryLedger
from penstock.limits.shared import SharedLedger, limited
from penstock.types.ledger import FREE, Claim, Cost, Lease, LedgerUnavailable, Limit, Refusal, Rest, Row

T = TypeVar("T")

TIMEOUT_S: Final = 0.25
FAILURES: Final = 3  # in a row: the store is down
RETRY_S: Final = 1.0
CLOSE_S: Final = 2.0  # for what is pending then
PENDING: Final = 10_000
TOGETHER: Final = 8  # of them are told at once
KNOWN: Final = 100_000  # limits whose rest is remembered

_log = logging.getLogger(__name__)


class Local(Lease, eq=False, kw_only=True):
    """Granted while the store was down. `share` is the lease in the ledger of this process."""

    share: Lease
    shares: MemoryLedger

    def rests(self) -> Sequence[Rest]:
        return self.share.rests()


class Guarded:
    """Takes the ledger over: `close` closes it. `replicas`: how many processes share its limits."""

    def __init__(
        self, store: SharedLedger, clock: Clock, *, replicas: int = 1, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._replicas = replicas
        self._timeout_s = timeout_s
        self._failures = 0
        self._retry_s = 0.0
        self._shares = MemoryLedger(clock)
        self._left: dict[
            tuple[str, str], tuple[int, float]
        ] = {}  # of a limit, and until when that says something
        self._pending: dict[str, tuple[Lease, Cost]] = {}
        self._heard = asyncio.Event()
        self._tasks: Tasks = set()

    @property
    def is_down(self) -> bool:
        return self._failures >= FAILURES

    @property
    def pending(self) -> int:
        """Settlements that the store has not heard of."""
        return len(self._pending)

    async def reserve(
        self, claims: Sequence[Claim], cost: Cost, now_s: float, ttl_s: float
    ) -> Lease | Refusal:
        if not (claims := limited(claims)):
            return FREE
        if self._may_ask():
            lease = Lease(new_id("lease_"), claims, ttl_s)
            try:
                refusal = await self._ask(self._store.hold(lease, cost))
            except LedgerUnavailable:
                self._give_back(lease)
            except asyncio.CancelledError:
                self._give_back(lease)
                raise
            else:
                self._remember(lease)
                return refusal or lease
        return await self._grant(claims, cost, now_s, ttl_s)

    async def extend(self, lease: Lease, more: Cost, now_s: float) -> Refusal | None:
        if lease is FREE:
            return None
        if isinstance(lease, Local):
            return await lease.shares.extend(lease.share, more, now_s)
        if self._may_ask():
            try:
                return await self._ask(self._store.hold(lease, more))
            except LedgerUnavailable as exc:
                _log.debug("an extension went unasked: %s", exc)
        _refuse_closed(lease.claims)
        return None

    async def settle(self, lease: Lease, actual: Cost, now_s: float) -> None:
        if lease.is_settled:
            return
        if isinstance(lease, Local):
            await lease.shares.settle(lease.share, actual, now_s)
        lease.is_settled = True
        if not self._may_ask():
            self._keep(lease, actual)
            return
        try:
            await self._ask(self._store.finish(lease, actual))
        except (LedgerUnavailable, asyncio.CancelledError) as exc:
            self._keep(lease, actual)
            if isinstance(exc, asyncio.CancelledError):
                raise

    async def heartbeat(self, leases: Sequence[Lease], now_s: float) -> None:
        known = [lease for lease in leases if not isinstance(lease, Local)]
        for lease in leases:
            if isinstance(lease, Local):
                await lease.shares.heartbeat([lease.share], now_s)
        if self._may_ask():
            try:
                await self._ask(self._store.heartbeat(known, now_s))
            except LedgerUnavailable as exc:
                _log.debug("a heartbeat went unheard: %s", exc)

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:
        """What the store says. Raises LedgerUnavailable."""
        if not self._may_ask():
            raise LedgerUnavailable("The store of the limits does not answer.")
        return await self._ask(self._store.report(claims, now_s))

    async def close(self) -> None:
        """Tells what is pending, if the store answers."""
        for task in [*self._tasks]:
            await cancel_and_wait(task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._pending:
                    self._retry_s = 0.0  # it may be back since
                    await self._replay()
                    await asyncio.sleep(CLOSE_S / 20)
        if self._pending:
            _log.error("%d settled calls were never told to the store of the limits", len(self._pending))
        await self._store.close()

    # -- the store

    def _may_ask(self) -> bool:
        if self._failures < FAILURES:
            return True
        now_s = self._clock.monotonic()
        if now_s < self._retry_s:
            return False
        self._retry_s = now_s + RETRY_S
        return True

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            async with within(self._timeout_s):
                answer = await question
        except TimeoutError as exc:
            why = f"no answer within {self._timeout_s} s"
            self._failed(why)
            raise LedgerUnavailable(why) from exc
        except LedgerUnavailable as exc:
            self._failed(str(exc))
            raise
        self._answered()
        return answer

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures == FAILURES:
            self._retry_s = self._clock.monotonic() + RETRY_S
            _log.error("the store of the limits does not answer; each scope's policy decides: %s", why)

    def _answered(self) -> None:
        if self._failures >= FAILURES:
            _log.warning("the store of the limits answers again; %d calls to settle", len(self._pending))
            self._shares = MemoryLedger(self._clock)  # what it granted is in the store soon
        self._failures = 0
        self._heard.set()

    async def _tell(self) -> None:
        while self._pending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._heard.wait()
            self._heard.clear()
            await self._replay()

    async def _replay(self) -> None:
        while self._pending and self._may_ask():
            some = [*islice(self._pending.values(), 1 if self.is_down else TOGETHER)]
            if not all(await asyncio.gather(*(self._is_told(*one) for one in some))):
                return

    async def _is_told(self, lease: Lease, actual: Cost) -> bool:
        try:
            await self._ask(self._store.finish(lease, actual))
        except LedgerUnavailable:
            return False
        self._pending.pop(lease.id, None)
        return True

    def _give_back(self, lease: Lease) -> None:
        """It may have been reserved without our hearing of it."""
        lease.is_settled = lease.is_uncertain = True
        self._keep(lease, Cost())

    def _keep(self, lease: Lease, actual: Cost) -> None:
        if len(self._pending) >= PENDING:
            lost, cost = self._pending.pop(next(iter(self._pending)))
            _log.error("a settled call is lost to the limits: %s, %s", lost.id, cost)
        self._pending[lease.id] = lease, actual
        if all(task.done() for task in self._tasks):  # one that has just ended is still in there
            spawn(self._tasks, self._tell(), "settle what is pending")

    def _remember(self, lease: Lease) -> None:
        if len(self._left) > KNOWN:
            self._left.clear()
        now_s = self._clock.monotonic()
        for rest in lease.remaining:
            until_s = float("inf") if rest.resets_s is None else now_s + rest.resets_s
            self._left[f"{rest.scope.kind}:{rest.scope.id}", rest.limit.key] = rest.remaining, until_s

    # -- without it

    async def _grant(
        self, claims: Sequence[Claim], cost: Cost, now_s: float, ttl_s: float
    ) -> Lease | Refusal:
        _refuse_closed(claims)
        shares = self._shares
        mine = [
            Claim(claim.scope, tuple(self._share(claim, limit, now_s) for limit in claim.limits))
            for claim in claims
            if claim.on_failure == "local-share"
        ]
        share = await shares.reserve(mine, cost, now_s, ttl_s)
        if isinstance(share, Refusal):
            return share
        return Local(new_id("lease_"), claims, ttl_s, is_unknown=True, share=share, shares=shares)

    def _share(self, claim: Claim, limit: Limit, now_s: float) -> Limit:
        left, until_s = self._left.get((claim.key, limit.key), (limit.amount, 0.0))
        amount = min(limit.amount, left) if now_s < until_s else limit.amount
        return Limit(limit.resource, amount // self._replicas, limit.window)


def _refuse_closed(claims: Sequence[Claim]) -> None:
    for claim in claims:
        if claim.on_failure == "closed":
            scope = claim.scope
            raise LedgerUnavailable(
                f"The store of the limits does not answer, and {scope.kind} {scope.called!r} is closed then."
            )
