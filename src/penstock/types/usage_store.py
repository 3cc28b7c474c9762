"""Usage as it is kept: one row per call, sums by hour and by day, and how they are asked for.

    UsageRow      one call
    UsageWhere    which calls: a range of time and dimensions
    UsageSum      what a group of calls comes to; sums are integers, so they are exact in any order
    Rerated       what it came to when calls were given the cost that they have by other prices

Times are Unix microseconds, half-open [since_us, until_us). Hours and days are UTC. Money is pico-USD.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

import msgspec

from penstock.types.money import Cost, Price, cost_of
from penstock.types.page import Page
from penstock.types.usage import Usage

Dimension = Literal["key", "team", "user", "route", "model", "deployment", "provider", "operation"]
Step = Literal["hour", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class UsageRow(msgspec.Struct):
    """One call. (time_us, seq) names the row: a caller may give two calls one id.

    error: the code of our vocabulary; empty for a call that succeeded.
    cost_pico: None where no price is known, which is not 0. Without a price_version nothing is owed.
    cache_write_1h_tokens ... search_units: as in types/usage.py; None in calls of before these were kept.
    ttft_us: None where no content came.
    price: what `price_version` said; None in calls of before it was kept.
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
    cache_write_1h_tokens: int | None = None
    audio_prompt_tokens: int | None = None
    audio_completion_tokens: int | None = None
    image_prompt_tokens: int | None = None
    image_completion_tokens: int | None = None
    search_units: int | None = None
    cost_pico: int | None = None
    price_version: str = ""
    is_estimated: bool = False
    ttft_us: int | None = None
    total_us: int = 0
    queue_us: int = 0
    dropped: tuple[str, ...] = ()
    price: Price | None = None
    seq: int = 0

    @property
    def cost(self) -> Cost | None:
        """Its items; None where they are not known."""
        if self.price is None:
            return None
        counts = {
            name: getattr(self, name) or 0 for name in Usage.__struct_fields__ if name != "is_estimated"
        }
        cost = cost_of(self.price, Usage(**counts, is_estimated=self.is_estimated))
        return cost if cost is not None and cost.total == self.cost_pico else None


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


class Rerated(msgspec.Struct, frozen=True):
    """What a batch of calls came to: each is `changed`, `same` or left as it was for one of three reasons.

    no_price: the price of its deployment is not known. no_usage: its usage does not suffice for that price.
    nothing_owed: nobody was told of its answer. *_pico: of those that changed.
    cursor: gives the next batch; None at the end.
    """

    changed: int = 0
    same: int = 0
    no_price: int = 0
    no_usage: int = 0
    nothing_owed: int = 0
    before_pico: int = 0
    after_pico: int = 0
    were_unpriced: int = 0  # of those that changed
    cursor: str | None = None


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

    async def rerate_usage(
        self,
        where: UsageWhere,
        prices: Mapping[str, Price],
        /,
        *,
        actor: str,
        cursor: str | None = None,
        limit: int = 2000,
        is_dry: bool = False,
    ) -> Rerated:
        """Gives a batch of calls, oldest first, the cost that it has by these prices of deployments.

        Rows, sums and the note of the change are written together or not at all.
        """
        ...

    async def drop_usage(self, *, calls_before_us: int, sums_before_us: int) -> int:
        """Forgets whole days before the day of each; how many calls were dropped."""
        ...
