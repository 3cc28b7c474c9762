"""Answers that are kept for who asks again are bounded, and none is lost while it is waited for."""

import asyncio

import pytest

from penstock.admin import idempotency
from penstock.admin.idempotency import Idempotency
from penstock.testing.clock import FakeClock
from penstock.types.door import Answer


class Desk:
    """Counts what was really done."""

    def __init__(self) -> None:
        self.kept = Idempotency(FakeClock())
        self.done: list[str] = []

    async def ask(self, name: str, *, size: int = 1, until: asyncio.Event | None = None) -> Answer:
        async def act() -> Answer:
            if until is not None:
                await until.wait()
            self.done.append(name)
            return Answer(body=b"x" * size)

        return await self.kept.once("caller", name, b"body", act)


async def test_large_answers_push_out_older_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_BYTES", 100)
    desk = Desk()
    for name, size in (("a", 40), ("b", 40), ("c", 40), ("huge", 500)):
        await desk.ask(name, size=size)
    again = await desk.ask("huge", size=500)  # the newest is kept, however large
    assert again.headers == (("idempotency-replayed", "true"),)
    await desk.ask("d")
    assert len(desk.kept._kept) == 1
    await desk.ask("a", size=40)
    await desk.ask("d")
    assert desk.done == ["a", "b", "c", "huge", "d", "a"]
    assert desk.kept._bytes == 41


async def test_what_is_under_way_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST", 2)
    desk, go = Desk(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        slow = [group.create_task(desk.ask("slow", until=go)) for _ in range(2)]
        await asyncio.sleep(0)
        for number in range(5):
            await desk.ask(f"quick-{number}")
        slow.append(group.create_task(desk.ask("slow")))
        await asyncio.sleep(0)
        go.set()
    assert desk.done.count("slow") == 1
    assert len({one.result().body for one in slow}) == 1
    assert len(desk.kept._kept) <= 2
