"""What is older than it is kept for is dropped: calls by whole days, sums by whole months."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.schema import StoreUsage
from penstock.control import retention
from penstock.lib import tasks
from penstock.store import open_store
from penstock.testing.clock import FakeClock
from penstock.types.errors import StoreUnavailable
from penstock.types.usage_store import DAY_US, CallWhere, UsageRow, UsageWhere

EVER = (0, 2**60)


def at_s(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "month"),
    [("2026-11-21T14:00:01", "2026-11-01"), ("2026-11-01", "2026-11-01"), ("2024-02-29", "2024-02-01")],
)
def test_a_month_begins_with_its_first_day(text: str, month: str) -> None:
    assert retention.month_us(at_s(text)) == at_s(month) * 1_000_000


@given(st.floats(-1e15, 1e11))
def test_any_time_is_of_a_month(unix_s: float) -> None:
    found = retention.month_us(unix_s)
    assert 0 <= found <= max(0.0, unix_s) * 1e6
    assert found % DAY_US == 0


async def test_sums_of_a_month_are_whole_or_gone(tmp_path: Path) -> None:
    days = ["2026-08-20", "2026-09-01", "2026-09-20", "2026-10-20", "2026-11-20"]
    clock = FakeClock(wall=at_s("2026-11-21T12:00:00"))
    store = await open_store(f"sqlite:///{tmp_path / 'x.db'}", clock=clock)
    running: tasks.Tasks = set()
    try:
        rows = [UsageRow(day, at_s(day) * 10**6, key=day, seq=at) for at, day in enumerate(days)]
        await store.add_usage(rows)
        settings = StoreUsage(keep=30 * 86_400, keep_sums=70 * 86_400)  # until the middle of September
        task = tasks.spawn(running, retention.forget(store, settings, clock), "retention")
        while len(summed := (await store.sum_usage(UsageWhere(*EVER), by=("key",))).rows) == len(days):
            await asyncio.sleep(0.01)
        await tasks.cancel_and_wait(task)
        assert [row.by["key"] for row in summed] == days[1:]
        assert [row.id for row in (await store.list_calls(CallWhere(*EVER))).rows] == days[:-2:-1]
    finally:
        await store.aclose()


async def test_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RETRY_S", 0.0)
    dropped = asyncio.Event()

    class Failing:
        failures = 2

        async def drop_usage(self, *, calls_before_us: int, sums_before_us: int) -> int:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("gone")
            dropped.set()
            return 0

    running: tasks.Tasks = set()
    forgetting = retention.forget(Failing(), StoreUsage(), FakeClock())  # type: ignore[arg-type]
    task = tasks.spawn(running, forgetting, "retention")
    await dropped.wait()
    await tasks.cancel_and_wait(task)
