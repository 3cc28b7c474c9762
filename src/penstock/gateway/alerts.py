"""Budgets that are nearly used up: an event at each share of them that the configuration names.

A call is seen when it is settled: what was used of the budget before it, and what it took. Each share is
told once in a period, though others may give back what they had reserved; of a rolling budget again, when
less of it was used in between; of a budget that was changed, anew. A refusal means that all of it is used,
unless the call alone would have taken much of it. Workers tell each other what they told. Several servers, or
one after a restart, may find the same: the event's id is the same, too.
"""

from collections.abc import Callable

import msgspec

from penstock.lib.clock import Clock
from penstock.limits import windows
from penstock.types.ledger import Lease, Limit, Refusal, Scope, ScopeKind
from penstock.types.money import format_usd
from penstock.types.others import Others
from penstock.types.webhooks import Event

SECOND_US = 1_000_000
SUBJECT = "alerts"
ROLLING = -1  # is no period
NEARLY = 0.9  # of a budget counts: who is refused then finds none left

_Key = tuple[ScopeKind, str, str, int]  # a budget: whose, its limit's key and amount


class _Told(msgspec.Struct, frozen=True, array_like=True):
    kind: ScopeKind
    id: str
    limit: str
    amount: int
    period: int
    share: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode


class Alerts:
    """One per process."""

    def __init__(self, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._told: dict[_Key, tuple[int, float]] = {}  # period, and the highest share told in it
        self._others: Others | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(SUBJECT, self._hear)

    def _hear(self, body: bytes) -> None:
        told = _decode(body)
        self._note((told.kind, told.id, told.limit, told.amount), told.period, told.share)

    def settled(self, lease: Lease, reserved: int, actual: int) -> None:
        """Of a call that reserved and took so many pico-USD."""
        if not any(claim.has_alerts for claim in lease.claims):
            return
        for rest in lease.rests():
            limit = rest.limit
            if limit.alerts:
                used = max(0, limit.amount - rest.remaining - reserved + actual)
                self._used(rest.scope, limit, used, used)

    def refused(self, refusal: Refusal) -> None:
        limit = refusal.limit
        if limit.alerts:
            used = refusal.used + refusal.reserved
            is_all = used >= NEARLY * limit.amount
            self._used(refusal.scope, limit, used, max(used, limit.amount) if is_all else used)

    def _used(self, scope: Scope, limit: Limit, used: int, counts_as: int) -> None:
        reached = max((share for share in limit.alerts if counts_as >= share * limit.amount), default=0.0)
        now_us = int(self._clock.wall() * SECOND_US)
        is_rolling = isinstance(limit.window, int)
        period = ROLLING if is_rolling else windows.index(limit.window, now_us)
        key = (scope.kind, scope.id, limit.key, limit.amount)
        before = self._share_told(key, period)
        if not self._note(key, period, reached):
            return
        if self._others is not None:
            told = _Told(scope.kind, scope.id, limit.key, limit.amount, period, reached)
            self._others.tell(SUBJECT, _encode(told))
        if reached < before:
            return
        at_s = now_us // SECOND_US
        number = at_s // limit.window if isinstance(limit.window, int) else period
        self._tell(
            Event(
                f"budget_{scope.kind}_{scope.id.replace(' ', '_')}_{format_usd(limit.amount)}"
                f"_{limit.window}_{number}_{reached:g}",
                "budget.alert",
                at_s,
                {
                    "scope": scope.kind,
                    "id": scope.owner,
                    "name": scope.called,
                    "models": scope.models,
                    "share": reached,
                    "used_usd": format_usd(used),
                    "budget_usd": format_usd(limit.amount),
                    "window": f"{limit.window}s" if is_rolling else limit.window,
                },
                team=scope.owner if scope.kind == "team" else None,
            )
        )

    def _share_told(self, key: _Key, period: int) -> float:
        told_in, share = self._told.get(key, (period, 0.0))
        return share if told_in == period else 0.0

    def _note(self, key: _Key, period: int, share: float) -> bool:
        """Whether that is news."""
        before = self._share_told(key, period)
        if share == before or (share < before and period != ROLLING):
            return False
        self._told[key] = (period, share)
        return True
