"""The ledger of one process: exact, and nothing waits.

What is here is lost with the process. That is right for rates, whose calls die with it. Budgets are promised
to `blocks` a hundredth at a time, before they are used: who starts after a crash finds used all that was
promised, and the budget is never overspent. A crash costs what calls had reserved that ran, and two blocks at
most: what calls refund beyond is given back. `close` gives back all that is left.

Hot path: `reserve` and `settle` take about a microsecond each for a few limits. A row knows until when its
slice runs and keeps its total, so nothing is summed; a lease points at the slices that it reserved in.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import islice
from typing import Final, Protocol

import msgspec

from penstock.lib.clock import Clock
from penstock.limits import rows as counting
from penstock.limits import windows
from penstock.limits.rows import BLOCKS, CONCURRENCY, NEVER_US, Entry, Row, amounts
from penstock.types.ledger import FREE, PERIODS, Claim, Cost, Lease, LedgerUnavailable, Refusal, Rest, Scope
from penstock.types.ledger import Row as Line

KEPT_S: Final = 3600.0  # an expired lease is known so long, and can still be settled exactly
KEPT_US: Final = int(KEPT_S * windows.SECOND_US)
LOOKED_AT: Final = 2  # accounts, for each call that made one


class Promised(msgspec.Struct, frozen=True):
    """How much of a limit was promised in a period: `period` is the number of a slice (windows.py)."""

    scope: Scope
    limit_key: str
    period: int
    amount: int


class Blocks(Protocol):
    """Where promises outlive the process."""

    async def load(self) -> Sequence[Promised]: ...

    async def take(self, scope: Scope, limit_key: str, period: int, amount: int) -> int:
        """Adds to what is promised, durably; less than 0 gives back. Returns what is promised in all."""

    async def close(self) -> None: ...


class Held(Lease, eq=False, kw_only=True):
    """A lease as this ledger knows it.

    entries: reserved. expired: was reserved until the lease expired.
    whole: what each of its rows has an entry of, by resource, as it was reserved; None: that no longer holds.
    """

    entries: list[Entry]
    accounts: list["Account"]
    expires_us: int
    ledger: "MemoryLedger"
    expired: Sequence[Entry] = ()
    whole: tuple[int, int, int, int] | None

    def rests(self) -> Sequence[Rest]:
        return self.ledger.rests(self)


class Account:
    """The rows of a scope. Rows of limits that were taken away stay: leases may have something in them.

    held: how many leases, and calls that wait for a promise, point here.
    """

    __slots__ = ("all_rows", "held", "limits", "rows", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.limits: object = None
        self.rows: list[Row] = []
        self.all_rows: dict[str, Row] = {}
        self.held = 0


class MemoryLedger:
    """Knows a lease of its own only; one of another ledger is booked as used."""

    def __init__(self, clock: Clock, blocks: Blocks | None = None) -> None:
        self._wall = clock.wall
        self._blocks = blocks
        self._promised: dict[tuple[str, str], Promised] = {}
        self._promising = asyncio.Lock()
        self._accounts: dict[str, Account] = {}
        self._leases: set[Lease] = set()
        self._has_new = False  # accounts
        self._due_us = NEVER_US  # no lease expires before, and none that expired is forgotten before

    async def open(self) -> None:
        """Reads what was promised before; only needed with blocks."""
        if self._blocks is not None:
            for one in await self._blocks.load():
                self._promised[f"{one.scope.kind}:{one.scope.id}", one.limit_key] = one

    async def reserve(
        self, claims: Sequence[Claim], cost: Cost, now_s: float, ttl_s: float
    ) -> Lease | Refusal:
        if not claims:
            return FREE
        now_us = int(now_s * 1_000_000)
        if now_us >= self._due_us:
            self._expire(now_us)
        if self._has_new:
            self._forget_idle(now_us)
        costs = (cost.requests, cost.tokens, cost.pico_usd, 1)
        while True:
            entries: list[Entry] = []
            accounts = []
            whole: tuple[int, int, int, int] | None = costs
            failing: list[tuple[Scope, Row]] | None = None
            for claim in claims:
                account = self._accounts.get(claim.key)
                if account is None or account.limits is not claim.limits:
                    account = self._bind(claim, now_us)
                accounts.append(account)
                for row in account.rows:
                    if now_us >= row.until_us:
                        row.roll(now_us, self._wall_us())
                    amount = costs[row.resource]
                    if not amount:
                        whole = None
                    elif (total := row.total + amount) <= row.ceiling:
                        row.total = total
                        piece = row.current
                        piece.reserved += amount
                        entries.append((row, piece, amount))
                    elif failing is None:
                        failing = [(claim.scope, row)]
                    else:
                        failing.append((claim.scope, row))
            if failing is None:
                break
            for row, piece, amount in entries:
                row.total -= amount
                piece.reserved -= amount
            if (refusal := await self._promise(accounts, failing, costs, now_us)) is not None:
                return refusal
        for account in accounts:
            account.held += 1
        expires_us = now_us + int(ttl_s * 1_000_000)
        if expires_us < self._due_us:  # noqa: PLR1730 - min() takes a tenth of a reservation
            self._due_us = expires_us
        lease = Held(
            "",
            claims,
            ttl_s,
            entries=entries,
            accounts=accounts,
            expires_us=expires_us,
            ledger=self,
            whole=whole,
        )
        self._leases.add(lease)
        return lease

    async def extend(self, lease: Lease, more: Cost, now_s: float) -> Refusal | None:
        if lease is FREE:
            return None
        now_us = int(now_s * 1_000_000)
        if now_us >= self._due_us:
            self._expire(now_us)
        if not isinstance(lease, Held) or lease.is_settled:
            raise ValueError("a lease that was settled, or is not of this ledger, cannot be extended")
        is_known = lease in self._leases
        if is_known:
            self._prolong(lease, now_us)
        accounts = lease.accounts if is_known else [self._bind(claim, now_us) for claim in lease.claims]
        costs = amounts(more, 0 if is_known else 1)
        while True:
            entries: list[Entry] = []
            failing = []
            for claim, account in zip(lease.claims, accounts, strict=True):
                for row in self._rows(claim, account, now_us):
                    if amount := costs[row.resource]:
                        entries.append((row, row.current, amount))
                        if row.total + amount > row.ceiling:
                            failing.append((claim.scope, row))
            if not failing:
                break
            if (refusal := await self._promise(accounts, failing, costs, now_us)) is not None:
                return refusal
        for row, piece, amount in entries:
            row.total += amount
            piece.reserved += amount
        if is_known:
            lease.entries += entries
        else:
            self._hold_anew(lease, accounts, entries, now_us)
        lease.whole = None
        return None

    async def settle(self, lease: Lease, actual: Cost, now_s: float) -> None:
        if lease.is_settled:
            return
        lease.is_settled = True
        now_us = int(now_s * 1_000_000)
        if now_us >= self._due_us:
            self._expire(now_us)
        if not isinstance(lease, Held) or lease not in self._leases:
            await self._use(lease, actual, now_us)
            return
        self._let_go(lease)
        used = (actual.requests, actual.tokens, actual.pico_usd, 0)
        if (whole := lease.whole) is not None and not (
            used[0] > whole[0] or used[1] > whole[1] or used[2] > whole[2]
        ):
            has_spare = False
            for row, piece, amount in lease.entries:
                taken = used[row.resource]
                piece.reserved -= amount
                piece.used += taken
                if piece is row.current or piece.number >= row.current.number - row.reach:
                    row.total += taken - amount
                    if row.taken is not None and row.taken - row.total > row.spare:
                        has_spare = True
            if has_spare:
                await self._give_back(lease.accounts)
            return
        rows = [
            row
            for claim, account in zip(lease.claims, lease.accounts, strict=True)
            for row in self._rows(claim, account, now_us)
        ]
        counting.settle(rows, lease.expired, lease.entries, actual)
        await self._promise_used(lease.accounts)
        await self._give_back(lease.accounts)

    async def heartbeat(self, leases: Sequence[Lease], now_s: float) -> None:
        now_us = int(now_s * 1_000_000)
        if now_us >= self._due_us:
            self._expire(now_us)
        for lease in leases:
            if isinstance(lease, Held) and lease in self._leases:
                self._prolong(lease, now_us)

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Line]:
        now_us = int(now_s * 1_000_000)
        self._expire(now_us)
        lines = []
        for claim in claims:
            for row in self._bind(claim, now_us).rows:
                row.roll(now_us, self._wall_us())
                lines.append(Line(claim.scope, row.limit, *row.sums()))
        return lines

    def rests(self, lease: Held) -> list[Rest]:
        wall_us = self._wall_us()
        now_us = lease.expires_us - int(lease.ttl_s * 1_000_000)
        return [
            row.rest(account.scope, row.at_us(now_us, wall_us))
            for account in lease.accounts
            for row in account.rows
            if row.resource != CONCURRENCY
        ]

    async def close(self) -> None:
        """Gives back what was promised and is not used, and closes `blocks`. Raises LedgerUnavailable."""
        try:
            for account in self._accounts.values():
                for row in account.all_rows.values():
                    await self._give(account.scope, row, 0)
        finally:
            if self._blocks is not None:
                await self._blocks.close()

    # -- accounts

    def _wall_us(self) -> int:
        return int(self._wall() * 1_000_000)

    def _bind(self, claim: Claim, now_us: int) -> Account:
        account = self._accounts.get(claim.key)
        if account is None:
            account = self._accounts[claim.key] = Account(claim.scope)
            self._has_new = True
        if account.limits is claim.limits:
            return account
        account.limits, account.rows = claim.limits, []
        for limit in claim.limits:
            row = account.all_rows.get(limit.key)
            if row is None:
                row = account.all_rows[limit.key] = Row(limit)
                if self._blocks is not None and limit.window in PERIODS:
                    row.taken = 0
                row.roll(now_us, self._wall_us())
                self._take_up(claim, row)
            row.set_limit(limit)
            account.rows.append(row)
        return account

    def _forget_idle(self, now_us: int) -> None:
        """Users come and go: two old accounts are looked at, whether anything of them counts."""
        self._has_new = False
        for key in [*islice(self._accounts, LOOKED_AT)]:
            account = self._accounts.pop(key)
            for row in account.all_rows.values():
                row.roll(now_us, self._wall_us())
            if account.held or any(row.total or row.taken for row in account.all_rows.values()):
                self._accounts[key] = account

    def _rows(self, claim: Claim, account: Account, now_us: int) -> list[Row]:
        """Of the limits that the claim had when its lease was made, rolled to now."""
        rows = [account.all_rows[limit.key] for limit in claim.limits]
        for row in rows:
            if now_us >= row.until_us:
                row.roll(now_us, self._wall_us())
        return rows

    # -- leases

    def _prolong(self, lease: Held, now_us: int) -> None:
        """A lease that had expired takes its slots again, whoever has them: its call runs."""
        if lease.expires_us <= now_us:
            for claim, account in zip(lease.claims, lease.accounts, strict=True):
                for row in self._rows(claim, account, now_us):
                    if row.resource == CONCURRENCY:
                        row.current.reserved += 1
                        row.total += 1
                        lease.entries.append((row, row.current, 1))
        lease.expires_us = now_us + int(lease.ttl_s * 1_000_000)
        self._due_us = min(self._due_us, lease.expires_us)

    def _expire(self, now_us: int) -> None:
        due_us = NEVER_US
        for lease in [*self._leases]:
            assert isinstance(lease, Held)  # noqa: S101 - for the type checker; _leases has no others
            if lease.expires_us > now_us:
                due_us = min(due_us, lease.expires_us)
            elif lease.expires_us + KEPT_US <= now_us:
                self._end(lease)
                self._let_go(lease)
            else:
                self._end(lease)
                due_us = min(due_us, lease.expires_us + KEPT_US)
        self._due_us = due_us

    def _end(self, lease: Held) -> None:
        lease.expired = [*lease.expired, *counting.expire(lease.entries)]
        lease.entries = []
        lease.whole = None

    def _let_go(self, lease: Held) -> None:
        self._leases.discard(lease)
        for account in lease.accounts:
            account.held -= 1

    def _hold_anew(self, lease: Held, accounts: list[Account], entries: list[Entry], now_us: int) -> None:
        lease.accounts, lease.entries, lease.expired = accounts, entries, ()
        lease.expires_us = now_us + int(lease.ttl_s * 1_000_000)
        self._due_us = min(self._due_us, lease.expires_us)
        self._leases.add(lease)
        for account in accounts:
            account.held += 1

    async def _use(self, lease: Lease, actual: Cost, now_us: int) -> None:
        used = amounts(actual, 0)
        accounts = [self._bind(claim, now_us) for claim in lease.claims]
        for claim, account in zip(lease.claims, accounts, strict=True):
            for row in self._rows(claim, account, now_us):
                row.use(used[row.resource])
        await self._promise_used(accounts)

    # -- promises

    def _take_up(self, claim: Claim, row: Row) -> None:
        """What an earlier process was promised counts as used."""
        found = self._promised.pop((claim.key, row.limit.key), None)
        if found is not None and row.taken is not None and found.period == row.current.number:
            row.taken = found.amount
            row.use(found.amount)

    async def _promise(
        self,
        accounts: list[Account],
        failing: list[tuple[Scope, Row]],
        costs: tuple[int, ...],
        now_us: int,
    ) -> Refusal | None:
        """Makes room where only a promise lacks; a refusal where it is the limit that stands in the way."""
        wall_us = self._wall_us()
        refusals = [
            row.refusal(scope, costs[row.resource], row.at_us(now_us, wall_us))
            for scope, row in failing
            if row.total + costs[row.resource] > row.limit.amount
        ]
        if refusals:
            return counting.worst(refusals)
        for account in accounts:
            account.held += 1  # else it may be forgotten meanwhile, and with it what it was promised
        try:
            async with self._promising:
                for scope, row in failing:
                    await self._take(scope, row, row.total + costs[row.resource])
        finally:
            for account in accounts:
                account.held -= 1
        return None

    async def _promise_used(self, accounts: list[Account]) -> None:
        for account in accounts:
            for row in account.rows:
                if row.taken is not None and row.total > row.taken:
                    async with self._promising:
                        await self._take(account.scope, row, row.total)

    async def _give_back(self, accounts: list[Account]) -> None:
        """What is promised far beyond what is used, but for a block."""
        for account in accounts:
            for row in account.rows:
                if row.taken is not None and row.taken - row.total > row.spare:
                    with contextlib.suppress(LedgerUnavailable):  # a later call does it
                        await self._give(account.scope, row, row.limit.amount // BLOCKS)

    async def _give(self, scope: Scope, row: Row, kept: int) -> None:
        """All but what is used and `kept`. What is promised meanwhile would be told of both; so in turn."""
        async with self._promising:
            if self._blocks is None or row.taken is None or row.total + kept >= row.taken:
                return
            number, spare = row.current.number, row.taken - row.total - kept
            row.taken -= spare
            row.set_limit(row.limit)  # before it is given: what is asked meanwhile is promised anew
            try:
                await self._blocks.take(scope, row.limit.key, number, -spare)
            except LedgerUnavailable:
                self._took(row, number, spare, 0)
                raise

    async def _take(self, scope: Scope, row: Row, needed: int) -> None:
        if self._blocks is None or row.taken is None or needed <= row.taken:
            return
        number, limit = row.current.number, row.limit
        wanted = max(needed, min(limit.amount, needed + limit.amount // BLOCKS)) - row.taken
        try:
            promised = await self._blocks.take(scope, limit.key, number, wanted)
        except asyncio.CancelledError:  # who asked has left; it was asked for, and is done all the same
            self._took(row, number, wanted, 0)
            raise
        self._took(row, number, wanted, promised)

    @staticmethod
    def _took(row: Row, number: int, wanted: int, promised: int) -> None:
        """promised: in all. What is none of ours another process has, of the same file: it counts as used."""
        if row.taken is not None and row.current.number == number:
            row.taken += wanted
            if promised > row.taken:
                row.use(promised - row.taken)
                row.taken = promised
            row.set_limit(row.limit)
