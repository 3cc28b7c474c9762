"""Connections to a real Redis that is stopped, started and silenced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import RedisError

from penstock.limits.redis import Connections
from penstock.testing.servers import RedisServer

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def connected(redis: RedisServer) -> AsyncIterator[Connections]:
    made = Connections(redis.url, 4, timeout_s=30.0)
    try:
        yield made
    finally:
        redis.resume()
        await made.close()


async def echoes(connections: Connections, number: int) -> list[str]:
    return await asyncio.gather(*(connections.ask("ECHO", str(n)) for n in range(number)))


async def test_questions_share_a_few_connections(redis: RedisServer) -> None:
    async with connected(redis) as connections:
        assert await echoes(connections, 50) == [str(n) for n in range(50)]
        assert len(connections._made) == 4


async def test_an_answer_that_comes_late_is_nobody_elses(redis: RedisServer) -> None:
    async with connected(redis) as connections:
        await echoes(connections, 4)
        redis.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connections.ask("ECHO", "late"), 0.05)
        left = asyncio.gather(*(connections.ask("ECHO", "left") for _ in range(4)))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        redis.resume()
        assert await echoes(connections, 8) == [str(n) for n in range(8)]
        assert len(connections._made) == 4


async def test_a_server_that_was_restarted_is_asked_at_once(redis: RedisServer) -> None:
    async with connected(redis) as connections:
        await echoes(connections, 4)
        await asyncio.to_thread(redis.stop, kill=True)
        try:
            with pytest.raises(RedisError):
                await connections.ask("PING")
        finally:
            await asyncio.to_thread(redis.start)
        assert await echoes(connections, 8) == [str(n) for n in range(8)]
