"""Windows as numbered slices of time. Pure; times are integer microseconds.

    window     slice                       counted at a moment
    ---------  --------------------------  ---------------------------------------------------------------
    rolling    1/32 of the window          the running one and the 32 before it
    calendar   the day, week or month      the running one
    none       there is only one           it

Of the oldest slice only a part lies within the rolling window, yet all of it counts. So what was admitted
within any window of that length is never above the limit; what is given up is at most one slice, 3 %.
A microsecond has 32 parts to no window: 10**6 is divisible by 32, and windows are whole seconds.
"""

from datetime import UTC, datetime
from typing import Final

from penstock.types.ledger import Limit, Period, Rest, Scope

SLICES: Final = 32
SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
SLOT_RETRY_S: Final = 1.0  # nobody knows when a call will end

Window = int | Period | None


def reach(window: Window) -> int:
    """How many slices before the running one count."""
    return SLICES if isinstance(window, int) else 0


def index(window: Window, at_us: int) -> int:
    """The number of the slice that `at_us` lies in."""
    if isinstance(window, int):
        return at_us // (window * SECOND_US // SLICES)
    days = at_us // DAY_US
    if window == "day":
        return days
    if window == "week":
        return (days + 3) // 7  # 1970 began on a Thursday
    if window == "month":
        date = datetime.fromtimestamp(at_us // SECOND_US, UTC)
        return date.year * 12 + date.month - 1
    return 0


def end_us(window: Window, number: int) -> int | None:
    """When the slice is over; None: never."""
    if isinstance(window, int):
        return (number + 1) * (window * SECOND_US // SLICES)
    if window == "day":
        return (number + 1) * DAY_US
    if window == "week":
        return ((number + 1) * 7 - 3) * DAY_US
    if window == "month":
        following = datetime((number + 1) // 12, (number + 1) % 12 + 1, 1, tzinfo=UTC)
        return int(following.timestamp()) * SECOND_US
    return None


def gone_us(window: Window, number: int) -> int | None:
    """When the slice counts no more; None: never."""
    return end_us(window, number + reach(window))


def retry_after_s(limit: Limit, counted: list[tuple[int, int]], cost: int, at_us: int) -> float | None:
    """When `cost` fits at the earliest, if nothing is given back before. `counted`: slices and their amounts.

    None when it never does.
    """
    if cost > limit.amount:
        return None
    if limit.window is None:
        return SLOT_RETRY_S
    left = sum(amount for _, amount in counted)
    for number, amount in sorted(counted):
        left -= amount
        if left + cost <= limit.amount:
            gone = gone_us(limit.window, number)
            return None if gone is None else max(0, gone - at_us) / SECOND_US
    return None


def rest(scope: Scope, limit: Limit, total: int, newest: int, at_us: int) -> Rest:
    """`newest`: the last slice that may hold something."""
    gone = gone_us(limit.window, newest)
    resets_s = None if gone is None else max(0, gone - at_us) / SECOND_US
    return Rest(scope, limit, max(0, limit.amount - total), resets_s)
