import asyncio
import time

import pytest

from penstock.lib import tasks
from penstock.lib.patience import LATE_S, within


async def test_what_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError):
        async with within(0.01):
            await asyncio.Event().wait()


async def test_what_came_while_the_loop_was_busy_has_come() -> None:
    reader, writer = await asyncio.open_connection(*await echo())
    busy: tasks.Tasks = set()

    async def be_busy() -> None:
        time.sleep(0.05 + 5 * LATE_S)  # noqa: ASYNC251 - that is what is tested

    writer.write(b"answer")
    tasks.spawn(busy, be_busy(), "busy")
    async with within(0.05):
        assert await reader.readexactly(6) == b"answer"
    writer.close()
    await writer.wait_closed()


async def test_who_leaves_is_not_told_of_a_timeout() -> None:
    asked: tasks.Tasks = set()

    async def ask() -> None:
        async with within(10):
            await asyncio.Event().wait()

    task = tasks.spawn(asked, ask(), "ask")
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(task)
    assert task.cancelled()


async def echo() -> tuple[str, int]:
    """A server for one connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(6))
        await writer.drain()
        server.close()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return host, port
