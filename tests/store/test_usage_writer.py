"""The writer never waits for the store, loses only what it says it loses, and goes on by itself."""

import asyncio
from collections.abc import Sequence

import pytest
from store_help import Opened, call
from structlog.testing import capture_logs

from penstock.lib import tasks
from penstock.store import usage_writer
from penstock.store.usage_writer import BATCH, UsageWriter
from penstock.types.errors import StoreFull, StoreUnavailable
from penstock.types.usage_store import UsageRow, UsageWhere

EVER = UsageWhere(0, 2**60)


class Failing:
    """A store that may fail; it keeps what it was given, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[UsageRow]] = []
        self.fails_with: Exception | None = None
        self.poison = ""
        self.tried = asyncio.Event()

    async def add_usage(self, rows: Sequence[UsageRow], /) -> None:
        self.tried.set()
        if self.fails_with is not None:
            raise self.fails_with
        if any(row.id == self.poison for row in rows):
            raise OverflowError("too large")
        self.batches.append(list(rows))


async def test_rows_are_written_in_batches(store: Opened) -> None:
    async with store() as one:
        writer = UsageWriter(one)
        running: tasks.Tasks = set()
        task = tasks.spawn(running, writer.run(), "usage")
        for number in range(BATCH * 2 + 500):
            writer.write(call(number))
        while writer.written < BATCH * 2 + 500:  # the last of them after half a second
            await asyncio.sleep(0.01)
        await tasks.cancel_and_wait(task)
        writer.write(call(9999))
        assert await writer.flush() == 0
        assert (await one.sum_usage(EVER)).rows[0].calls == BATCH * 2 + 501
        assert (writer.written, writer.waiting, writer.dropped) == (BATCH * 2 + 501, 0, 0)


async def test_a_full_batch_does_not_wait() -> None:
    store = Failing()
    writer = UsageWriter(store)  # type: ignore[arg-type]
    running: tasks.Tasks = set()
    task = tasks.spawn(running, writer.run(), "usage")
    for number in range(BATCH):
        writer.write(call(number))
    async with asyncio.timeout(usage_writer.FLUSH_S / 2):
        await store.tried.wait()
    await tasks.cancel_and_wait(task)


class Slow(Failing):
    """Meanwhile calls end."""

    async def add_usage(self, rows: Sequence[UsageRow], /) -> None:
        for number in range(10):
            self.writer.write(call(number))
        await super().add_usage(rows)

    writer: UsageWriter


async def test_what_comes_while_a_batch_is_written_waits_for_the_next() -> None:
    """Else under load each batch is only as large as what came during the last."""
    store = Slow()
    store.writer = writer = UsageWriter(store)  # type: ignore[arg-type]
    running: tasks.Tasks = set()
    for number in range(BATCH):
        writer.write(call(number))
    task = tasks.spawn(running, writer.run(), "usage")
    await store.tried.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert ([len(batch) for batch in store.batches], writer.waiting) == ([BATCH], 10)
    await tasks.cancel_and_wait(task)


async def test_while_the_store_fails_rows_wait_and_then_are_dropped_and_counted() -> None:
    store = Failing()
    store.fails_with = StoreFull("The database's disk is full; nothing was written.")
    writer = UsageWriter(store, capacity=10)  # type: ignore[arg-type]
    with capture_logs() as said:
        for number in range(7):
            writer.write(call(number))
        assert await writer.flush() == 7
        assert writer.is_failing
        for number in range(7, 20):
            writer.write(call(number))
        writer.check()  # it refuses nobody
        assert (await writer.flush(), writer.dropped) == (10, 10)
        store.fails_with = None
        assert await writer.flush() == 0
    assert [row.id for batch in store.batches for row in batch] == [f"req_{number}" for number in range(10)]
    assert [len(batch) for batch in store.batches] == [7, 3]  # what failed is written again as it was
    assert not writer.is_failing
    assert [line["event"] for line in said] == [
        "usage cannot be written; its rows wait",
        "usage is written again",
    ]


async def test_a_writer_that_refuses_takes_the_calls_that_run() -> None:
    store = Failing()
    store.fails_with = StoreUnavailable("gone")
    writer = UsageWriter(store, on_failure="refuse", capacity=5)  # type: ignore[arg-type]
    for number in range(4):
        writer.write(call(number))
    writer.check()
    writer.write(call(4))
    await writer.flush()
    with pytest.raises(StoreUnavailable, match="no call is taken") as caught:
        writer.check()
    assert caught.value.retry_after_s
    for number in range(5, 12):
        writer.write(call(number))
    assert (writer.waiting, writer.dropped) == (10, 2)
    store.fails_with = None
    await writer.flush()
    writer.check()


async def test_a_row_that_is_wrong_is_dropped_alone() -> None:
    store = Failing()
    store.poison = "req_5"
    writer = UsageWriter(store)  # type: ignore[arg-type]
    with capture_logs() as said:
        for number in range(16):
            writer.write(call(number))
        assert await writer.flush() == 0
    written = [row.id for batch in store.batches for row in batch]
    assert written == [f"req_{number}" for number in range(16) if number != 5]
    assert (writer.written, writer.dropped) == (15, 1)
    assert [line["id"] for line in said] == ["req_5"]


async def test_a_wrong_row_is_found_in_a_real_store(store: Opened) -> None:
    async with store() as one:
        writer = UsageWriter(one)
        with capture_logs():
            for number in range(9):
                writer.write(call(number, cost_pico=2**70 if number == 4 else 1))
            await writer.flush()
        (total,) = (await one.sum_usage(EVER)).rows
        assert (total.calls, total.cost_pico, writer.dropped) == (8, 8, 1)


async def test_what_the_store_does_not_take_before_the_end_is_told() -> None:
    store = Failing()
    writer = UsageWriter(store)  # type: ignore[arg-type]
    with capture_logs() as said:
        writer.write(call(1))
        await writer.aclose()
        assert said == []
        store.fails_with = StoreUnavailable("gone")
        writer.write(call(2))
        await writer.aclose()
    assert [(line["event"], line["rows"]) for line in said if "lost" in line["event"]] == [
        ("usage is lost: it could not be written before the end", 1)
    ]
