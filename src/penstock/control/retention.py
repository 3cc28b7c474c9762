"""Usage is kept for as long as the configuration says: whole days of calls are dropped, whole months of sums.

A month of which a part is gone would look like one in which less was used.
"""

import asyncio
import datetime as dt
from typing import Final

import structlog

from penstock.config.schema import StoreUsage
from penstock.lib.clock import Clock
from penstock.types.errors import StoreUnavailable
from penstock.types.usage_store import DAY_US, UsageStore

EVERY_S: Final = 6 * 3600.0
RETRY_S: Final = 60.0

_log = structlog.get_logger("penstock.control")


async def forget(store: UsageStore, settings: StoreUsage, clock: Clock) -> None:
    """Until it is cancelled."""
    while True:
        now_s = clock.wall()
        try:
            dropped = await store.drop_usage(
                calls_before_us=round((now_s - settings.keep) * 1e6),
                sums_before_us=month_us(now_s - settings.keep_sums),
            )
        except StoreUnavailable as exc:
            _log.warning("old usage stays, as the store does not answer", reason=exc.message)
            await asyncio.sleep(RETRY_S)
            continue
        if dropped:
            _log.info("old usage dropped", calls=dropped)
        await asyncio.sleep(EVERY_S)


def month_us(unix_s: float) -> int:
    """When the month began, in microseconds."""
    day = dt.datetime.fromtimestamp(max(0.0, unix_s), dt.UTC).date().replace(day=1)
    return (day - dt.date(1970, 1, 1)).days * DAY_US
