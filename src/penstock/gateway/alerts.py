"""Budgets that are nearly used up: an event at each share of them that the configuration names.

A call is seen when it is settled: what was used of the budget before it, and what it took. Each share is
told once in a period; of a rolling budget again, when less of it was used in between. A refusal means all
of it is used. Workers tell each other what they told. Several servers, or one after a restart, may find the
same: the event's id is the same, too.
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


class _Told(msgspec.Struct, frozen=True, array_like=True):
    kind: ScopeKind
    id: str
    limit: str
    period: int
    share: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode


class Alerts:
    """One per process."""

    def __init__(self, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._told: dict[tuple[Scope, str], tuple[int, float]] = {}  # (period, highest share told)

        self._others: Others | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(SUBJECT, self._hear)

    def _hear(self, body: bytes) -> None:
        told = _decode(body)
        self._told[Scope(told.kind, told.id), told.limit] = (told.period, told.share)

    def settled(self, lease: Lease, reserved: int, actual: int) -> None:
        """Of a call that reserved and took so many pico-USD."""
        for rest in lease.rests():
            limit = rest.limit
            if limit.alerts:
                used = limit.amount - rest.remaining - reserved + actual
                self._used(rest.scope, limit, max(0, used))

    def refused(self, refusal: Refusal) -> None:
        limit = refusal.limit
        if limit.alerts:
            self._used(refusal.scope, limit, max(limit.amount, refusal.used))

    def _used(self, scope: Scope, limit: Limit, used: int) -> None:
        reached = max((share for share in limit.alerts if used >= share * limit.amount), default=0.0)
        now_us = int(self._clock.wall() * SECOND_US)
        is_rolling = isinstance(limit.window, int)
        period = 0 if is_rolling else windows.index(limit.window, now_us)
        key = (scope, limit.key)
        told_in, told = self._told.get(key, (period, 0.0))
        if told_in != period:
            told = 0.0
        if reached == told:
            return
        self._told[key] = (period, reached)
        if self._others is not None:
            self._others.tell(SUBJECT, _encode(_Told(scope.kind, scope.id, limit.key, period, reached)))
        if reached < told:
            return
        name, *models = scope.id.split(" ")  # config.claims writes it so
        at_s = now_us // SECOND_US
        number = at_s // limit.window if isinstance(limit.window, int) else period
        self._tell(
            Event(
                f"budget_{scope.kind}_{'_'.join((name, *models))}_{limit.window}_{number}_{reached:g}",
                "budget.alert",
                at_s,
                {
                    "scope": scope.kind,
                    "name": name,
                    "models": models,
                    "share": reached,
                    "used_usd": format_usd(used),
                    "budget_usd": format_usd(limit.amount),
                    "window": f"{limit.window}s" if is_rolling else limit.window,
                },
                team=name if scope.kind == "team" else None,
            )
        )
