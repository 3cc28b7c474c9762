"""Stores opened for the length of a `with`, and rows to put into them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from penstock.store import connect, open_store
from penstock.store.base import ScriptedStore
from penstock.store.sql import Ask, Script
from penstock.types.store import Key
from penstock.types.usage_store import UsageRow

Opened = Callable[[], AbstractAsyncContextManager[ScriptedStore]]

NOON_US = 20_000 * 86_400_000_000 + 43_200_000_000  # of some day


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ScriptedStore]:
    """As a server opens it."""
    store = await open_store(url, migrate=True)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ScriptedStore]:
    """Whatever its schema."""
    store = await connect(url)
    try:
        yield store
    finally:
        await store.aclose()


def key(number: int = 0, **fields: object) -> Key:
    return Key(**{"name": f"key {number}", "hash": number.to_bytes(32, "big"), **fields})  # type: ignore[arg-type]


def call(number: int = 0, **fields: object) -> UsageRow:
    """Calls of different numbers are different calls."""
    return UsageRow(**{"id": f"req_{number}", "time_us": NOON_US, "seq": number, **fields})  # type: ignore[arg-type]


def count_dims() -> Script[int]:
    """How many combinations of dimensions there are."""
    rows = yield Ask("entity.count", {}, (("table", "usage_dims"),))
    return int(rows[0]["value"])
