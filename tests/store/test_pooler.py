"""PostgreSQL behind PgBouncer, as many companies have it."""

import asyncio
from collections.abc import Callable

import pytest
from store_help import call, opened

from penstock.limits.postgres import PostgresLedger
from penstock.types.errors import StoreUnavailable
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Limit, Scope
from penstock.types.usage_store import UsageWhere

pytestmark = pytest.mark.timeout(60)

CI = Claim(Scope("key", "ci"), (Limit("requests", 30, 3600),))
EVER = UsageWhere(0, 2**60)


@pytest.fixture
def url(pooled: str, new_url: Callable[[str], str]) -> str:
    """Of an empty database behind the pooler."""
    return f"{pooled.removesuffix('postgres')}{new_url('postgres').rpartition('/')[2]}"


@pytest.mark.parametrize("pooled", ["session"], indirect=True)
async def test_a_session_for_each_connection(url: str) -> None:
    await uses(url)


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
async def test_a_session_for_each_transaction_works_or_says_what_it_needs(url: str) -> None:
    """It works since PgBouncer 1.21."""
    said = ""
    try:
        await uses(url)
    except (StoreUnavailable, LedgerUnavailable) as exc:
        said = str(exc)
    assert not said or "`pool_mode = session`, or version 1.21" in said


async def uses(url: str) -> None:
    async with opened(url) as store:
        for first in range(0, 300, 100):
            rows = [[call(first + at * 10 + one) for one in range(10)] for at in range(10)]
            await asyncio.gather(*map(store.add_usage, rows))
        assert (await store.sum_usage(EVER)).rows[0].calls == 300
        ledger = await PostgresLedger.open(url)
        try:
            got = await asyncio.gather(*(ledger.reserve([CI], Cost(1), 0.0, 60.0) for _ in range(40)))
        finally:
            await ledger.close()
        assert sum(isinstance(one, Lease) for one in got) == 30
