"""Usage as it is kept: one row per call, sums by hour and by day, and how they are asked for.

    UsageRow      one call
    UsageWhere    which calls: a range of time and dimensions
    UsageSum      what a group of calls comes to; sums are integers, so they are exact in any order

Times are Unix microseconds, half-open [since_us, until_us). Hours and days are UTC. Money is pico-USD.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import msgspec

from penstock.types.page import Page

Dimension = Literal["key", "team", "user", "route", "model", "deployment", "provider", "operation"]
Step = Literal["hour", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class UsageRow(msgspec.Struct):
    """One call. (time_us, seq) names the row: a caller may give two calls one id.

    error: the code of our vocabulary; empty for a call that succeeded.
    cost_pico: None where no price is known, which is not 0.
    ttft_us: None where no content came.
    """

    id: str
    time_us: int
    key: str = ""
    team: str = ""
    user: str = ""
    route: str = ""
    model: str = ""
    deployment: str = ""
    provider: str = ""
    operation: str = ""
    status: int = 0
    error: str = ""
    is_stream: bool = False
    attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    cost_pico: int | None = None
    price_version: str = ""
    is_estimated: bool = False
    ttft_us: int | None = None
    total_us: int = 0
    queue_us: int = 0
    dropped: tuple[str, ...] = ()
    seq: int = 0


class UsageWhere(msgspec.Struct, frozen=True):
    since_us: int
    until_us: int
    key: str | None = None
    team: str | None = None
    user: str | None = None
    route: str | None = None
    model: str | None = None
    deployment: str | None = None
    provider: str | None = None
    operation: str | None = None


class CallWhere(UsageWhere, frozen=True, kw_only=True):
    """By `id` every call of the range is read; where calls of the other sorts are is known from the sums."""

    id: str | None = None
    status: int | None = None
    error: str | None = None
    is_failed: bool | None = None  # it has an error, or a status of 400 and above


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """`by`: the values of the dimensions that were asked for; `start_us`: of its hour or day."""

    by: dict[Dimension, str]
    start_us: int | None = None
    calls: int = 0
    failed: int = 0
    streams: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    cost_pico: int = 0
    unpriced: int = 0  # calls whose price is not known
    estimated: int = 0
    answered: int = 0  # calls that ttft_us is a sum of
    ttft_us: int = 0
    total_us: int = 0
    queue_us: int = 0


class UsageStore(Protocol):
    async def add_usage(self, rows: Sequence[UsageRow], /) -> None:
        """Writes all or none. The same rows again change nothing, so a lost answer may be asked for again."""
        ...

    async def sum_usage(
        self,
        where: UsageWhere,
        /,
        *,
        by: Sequence[Dimension] = (),
        step: Step | None = None,
        cursor: str | None = None,
        limit: int = 1000,
    ) -> Page[UsageSum]:
        """Totals, or a series with `step`, by time and then by group.

        Where the single calls are no longer kept, the range is widened to whole hours.
        """
        ...

    async def list_calls(
        self, where: CallWhere, /, *, cursor: str | None = None, limit: int = 100
    ) -> Page[UsageRow]:
        """Newest first."""
        ...

    async def drop_usage(self, *, calls_before_us: int, sums_before_us: int) -> int:
        """Forgets whole days before the day of each; how many calls were dropped. Also makes days ahead."""
        ...
