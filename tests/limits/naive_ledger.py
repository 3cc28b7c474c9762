"""What a ledger should do, told naively: a list of all that was ever booked, looked through each time.

Nothing is kept twice, nothing is summed beforehand, nothing is dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from penstock.types.ledger import Claim, Cost, Limit

KEPT_US = 3_600_000_000


@dataclass(eq=False)
class Booking:
    """admitted: what was reserved; the rest of what it holds was used beyond."""

    scope: str
    limit: Limit
    at_us: int
    reserved: int = 0
    used: int = 0
    expired: int = 0
    admitted: int = 0

    @property
    def amount(self) -> int:
        return self.reserved + self.used


@dataclass(eq=False)
class Held:
    claims: Sequence[Claim]
    ttl_us: int
    expires_us: int
    bookings: list[Booking] = field(default_factory=list)
    is_expired: bool = False


class Naive:
    def __init__(self) -> None:
        self.bookings: list[Booking] = []
        self.leases: list[Held] = []

    def reserve(self, claims: Sequence[Claim], cost: Cost, now_us: int, ttl_us: int) -> Held | None:
        self.expire(now_us)
        held = Held(claims, ttl_us, now_us + ttl_us)
        if not self._admit(held, cost, 1, now_us):
            return None
        self.leases.append(held)
        return held

    def extend(self, held: Held, more: Cost, now_us: int) -> bool:
        self.expire(now_us)
        if held in self.leases:
            self._prolong(held, now_us)
            return self._admit(held, more, 0, now_us)
        before, held.bookings = held.bookings, []
        if not self._admit(held, more, 1, now_us):
            held.bookings = before
            return False
        held.expires_us, held.is_expired = now_us + held.ttl_us, False
        self.leases.append(held)
        return True

    def beat(self, leases: Sequence[Held], now_us: int) -> None:
        self.expire(now_us)
        for held in leases:
            if held in self.leases:
                self._prolong(held, now_us)

    def settle(self, held: Held, actual: Cost, now_us: int) -> None:
        self.expire(now_us)
        is_known = held in self.leases
        for claim in held.claims:
            for limit in claim.limits:
                left = _of(actual, limit, 0)
                mine = [
                    one
                    for one in held.bookings
                    if is_known and one.scope == claim.key and one.limit.key == limit.key
                ]
                for booking in mine:
                    was = booking.reserved or booking.expired
                    counts = self._counts(booking, now_us)
                    taken = left if counts and booking is mine[-1] else min(left, was)
                    booking.reserved, booking.used, booking.expired = 0, taken, 0
                    left -= taken
                if left:
                    self.bookings.append(Booking(claim.key, limit, now_us, used=left))
        if is_known:
            self.leases.remove(held)

    def expire(self, now_us: int) -> None:
        for held in [*self.leases]:
            if held.expires_us <= now_us and not held.is_expired:
                held.is_expired = True
                for booking in held.bookings:
                    if booking.limit.window is None:
                        booking.reserved = 0
                    else:
                        booking.used += booking.reserved
                        booking.expired += booking.reserved
                        booking.reserved = 0
            if held.expires_us + KEPT_US <= now_us:
                self.leases.remove(held)

    def sums(self, claim: Claim, limit: Limit, now_us: int) -> tuple[int, int, int]:
        counted = [*self._counted(claim.key, limit, now_us)]
        return (
            sum(one.used for one in counted),
            sum(one.reserved for one in counted),
            sum(one.expired for one in counted),
        )

    def most_in_any_window(self, claim: Claim, limit: Limit) -> int:
        """Of what was admitted, net of refunds, the most within any true window that ends with a booking."""
        assert isinstance(limit.window, int)
        mine = [one for one in self.bookings if one.scope == claim.key and one.limit.key == limit.key]
        return max(
            (
                sum(
                    min(one.amount, one.admitted)
                    for one in mine
                    if last.at_us - limit.window * 1_000_000 <= one.at_us <= last.at_us
                )
                for last in mine
            ),
            default=0,
        )

    def _admit(self, held: Held, cost: Cost, slots: int, now_us: int) -> bool:
        new = []
        for claim in held.claims:
            for limit in claim.limits:
                amount = _of(cost, limit, slots)
                total = sum(one.amount for one in self._counted(claim.key, limit, now_us))
                if amount and total + amount > limit.amount:
                    return False
                if amount:
                    new.append(Booking(claim.key, limit, now_us, reserved=amount, admitted=amount))
        self.bookings += new
        held.bookings += new
        return True

    def _prolong(self, held: Held, now_us: int) -> None:
        if held.is_expired:
            for booking in held.bookings:
                if booking.limit.window is None:
                    booking.reserved = 1
        held.expires_us, held.is_expired = now_us + held.ttl_us, False

    def _counted(self, scope: str, limit: Limit, now_us: int) -> Iterator[Booking]:
        for one in self.bookings:
            if one.scope == scope and one.limit.key == limit.key and self._counts(one, now_us):
                yield one

    def _counts(self, booking: Booking, now_us: int) -> bool:
        window = booking.limit.window
        if isinstance(window, int):  # a 32nd of a second is 31,250 us
            return booking.at_us // (window * 31_250) >= now_us // (window * 31_250) - 32
        then, now = (datetime.fromtimestamp(at // 1_000_000, UTC) for at in (booking.at_us, now_us))
        match window:
            case "day":
                return then.date() == now.date()
            case "week":
                return then.isocalendar()[:2] == now.isocalendar()[:2]
            case "month":
                return (then.year, then.month) == (now.year, now.month)
        return True


def _of(cost: Cost, limit: Limit, slots: int) -> int:
    return slots if limit.resource == "concurrency" else int(getattr(cost, limit.resource))
