"""The count of one limit of one scope, slice by slice, and what leases have in it. Pure.

    a slice's    is
    -----------  ------------------------------------------------------------------------------------------
    reserved     of leases that are held
    used         settled; and what expired leases had reserved, for it may have been spent
    expired      that part of `used` which nobody settled

`total` is used and reserved of all slices that count. A row never goes back in time: an earlier moment than
one seen before lies in the running slice.

    a slice that a settled lease reserved in    what was used           what was used beyond
    ------------------------------------------  ----------------------  ----------------------------------
    counts                                      stays, the rest is      goes into the last such slice
                                                refunded
    counts no more                              is past                 goes into the running slice
    does not exist: nothing was reserved        goes into the running slice

The ledgers in memory and in SQLite are made of these rows; those in Redis and PostgreSQL do the same there.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from penstock.limits import windows
from penstock.types.ledger import RESOURCES, Cost, Limit, Refusal, Rest, Scope

CONCURRENCY: Final = RESOURCES.index("concurrency")
RECHECK_US: Final = windows.SECOND_US  # how often a calendar row looks at the wall clock
NEVER_US: Final = 2**62
BLOCKS: Final = 100  # of a budget: it is promised in such parts (memory.py)


class Slice:
    __slots__ = ("expired", "number", "reserved", "used")

    def __init__(self, number: int, used: int = 0, reserved: int = 0, expired: int = 0) -> None:
        self.number = number
        self.used = used
        self.reserved = reserved
        self.expired = expired


class Row:
    """
    ceiling: the limit, or less while what lies between is not yet promised (memory.py).
    taken: promised in the running slice; None: nothing need be.
    spare: so much of it need not be used; what is beyond is given back.
    until_us: how long the running slice is known to run, on the clock of `now_us`.
    """

    __slots__ = (
        "ceiling",
        "current",
        "limit",
        "reach",
        "resource",
        "slices",
        "spare",
        "taken",
        "total",
        "until_us",
    )

    def __init__(self, limit: Limit, slices: Iterable[Slice] = ()) -> None:
        self.slices = {one.number: one for one in slices}
        self.total = sum(one.used + one.reserved for one in self.slices.values())
        self.reach = windows.reach(limit.window)
        self.resource = RESOURCES.index(limit.resource)
        self.taken: int | None = None
        self.until_us = 0
        newest = max(self.slices, default=0)
        self.current = self.slices.setdefault(newest, Slice(newest))
        self.set_limit(limit)

    def set_limit(self, limit: Limit) -> None:
        self.limit = limit
        self.ceiling = limit.amount if self.taken is None else min(limit.amount, self.taken)
        self.spare = 2 * limit.amount // BLOCKS

    def roll(self, now_us: int, wall_us: int) -> None:
        """Goes on to the slice of now; what counts no more is dropped."""
        window = self.limit.window
        if isinstance(window, int):
            number = windows.index(window, now_us)
            self.until_us = windows.end_us(window, number) or NEVER_US
        else:
            number = windows.index(window, wall_us)
            end_us = windows.end_us(window, number)
            self.until_us = NEVER_US if end_us is None else now_us + min(RECHECK_US, end_us - wall_us)
        if number <= self.current.number:
            return
        self.current = self.slices[number] = Slice(number)
        for old in [one for one in self.slices.values() if one.number < number - self.reach]:
            self.total -= old.used + old.reserved
            del self.slices[old.number]
        if self.taken is not None:
            self.taken = self.ceiling = 0

    def at_us(self, now_us: int, wall_us: int) -> int:
        """The moment on the clock that its window goes by."""
        return now_us if self.reach else wall_us

    def refusal(self, scope: Scope, cost: int, at_us: int) -> Refusal:
        slices = [(one.number, one.used, one.reserved) for one in self.slices.values()]
        return refusal(scope, self.limit, slices, cost, at_us)

    def rest(self, scope: Scope, at_us: int) -> Rest:
        return windows.rest(scope, self.limit, self.total, self.current.number, at_us)

    def sums(self) -> tuple[int, int, int]:
        """used, reserved, expired."""
        every = self.slices.values()
        return sum(s.used for s in every), sum(s.reserved for s in every), sum(s.expired for s in every)

    def use(self, amount: int) -> None:
        """Books in the running slice what nobody reserved."""
        self.current.used += amount
        self.total += amount


Entry = tuple[Row, Slice, int]  # an amount of a row's resource that a lease reserved in a slice


def amounts(cost: Cost, slots: int) -> tuple[int, int, int, int]:
    """In the order of RESOURCES."""
    return cost.requests, cost.tokens, cost.pico_usd, slots


def refusal(
    scope: Scope, limit: Limit, slices: Sequence[tuple[int, int, int]], cost: int, at_us: int
) -> Refusal:
    """`slices`: number, used and reserved of those that count."""
    used = sum(one[1] for one in slices)
    reserved = sum(one[2] for one in slices)
    counted = [(number, used + reserved) for number, used, reserved in slices]
    return Refusal(scope, limit, used, reserved, windows.retry_after_s(limit, counted, cost, at_us))


def worst(refusals: Sequence[Refusal]) -> Refusal:
    """The one that stands in the way longest; the first of equals."""
    return max(refusals, key=lambda one: float("inf") if one.retry_after_s is None else one.retry_after_s)


def expire(entries: Iterable[Entry]) -> list[Entry]:
    """Slots return; all else is taken for used. Returns what remains to be settled."""
    kept = []
    for row, piece, amount in entries:
        piece.reserved -= amount
        if row.resource == CONCURRENCY:
            row.total -= amount
        else:
            piece.used += amount
            piece.expired += amount
            kept.append((row, piece, amount))
    return kept


def settle(rows: Iterable[Row], expired: Sequence[Entry], reserved: Sequence[Entry], actual: Cost) -> None:
    """Puts what was really used in the place of what a lease reserved. The rows were rolled to now."""
    used = amounts(actual, 0)
    for row in rows:
        left = used[row.resource]
        mine = [(entry, True) for entry in expired if entry[0] is row]
        mine += [(entry, False) for entry in reserved if entry[0] is row]
        for number, ((_, piece, amount), is_expired) in enumerate(mine, 1):
            counts = row.slices.get(piece.number) is piece
            taken = left if counts and number == len(mine) else min(left, amount)
            left -= taken
            if is_expired:
                piece.used += taken - amount
                piece.expired -= amount
            else:
                piece.reserved -= amount
                piece.used += taken
            if counts:
                row.total += taken - amount
        if left:
            row.use(left)
