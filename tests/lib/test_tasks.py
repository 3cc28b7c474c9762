import asyncio
import logging

import pytest

from penstock.lib import tasks


async def test_a_set_keeps_a_task_until_it_ends() -> None:
    owner: tasks.Tasks = set()

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    task = tasks.spawn(owner, work(), "work")
    assert owner == {task}
    assert await task == 7
    await asyncio.sleep(0)
    assert owner == set()


async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    owner: tasks.Tasks = set()

    async def fail() -> None:
        raise RuntimeError("boom")

    with caplog.at_level(logging.ERROR):
        task = tasks.spawn(owner, fail(), "the failing one")
        await asyncio.wait((task,))
        await asyncio.sleep(0)
    assert "the failing one" in caplog.text
    assert "boom" in caplog.text


async def test_a_group_raises_the_failure_of_its_task() -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    with pytest.RaisesGroup(RuntimeError):
        async with asyncio.TaskGroup() as group:
            tasks.spawn(group, fail(), "x")


async def test_cancel_and_wait_returns_when_the_task_has_cleaned_up() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned")

    owner: tasks.Tasks = set()
    task = tasks.spawn(owner, work(), "x")
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(task)
    assert steps == ["cleaned"]
    assert task.cancelled()


async def test_cancel_and_wait_drops_what_the_task_raises_while_it_ends() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise RuntimeError("while ending") from None

    async with asyncio.timeout(5):
        task = asyncio.get_running_loop().create_task(work())
        await asyncio.sleep(0)
        await tasks.cancel_and_wait(task)
    assert isinstance(task.exception(), RuntimeError)
