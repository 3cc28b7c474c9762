"""Many tasks, servers and cancellations at once: whatever happens, the pool's books must balance."""

import asyncio
import random
from collections.abc import Callable

from http1_servers import CHUNKED, OK, Server, serve, until
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.lib.http1 import Client, HTTPClientError, Timeouts


async def moody(state: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every connection has its own way to disappoint, chosen by its number."""
    mood = random.Random(state.accepted)  # noqa: S311 - seeded: the same run again
    while True:
        await state.request(reader)
        what = mood.randrange(8)
        if what == 0:
            return
        if what == 1:
            writer.write(CHUNKED + b"2\r\nok\r\n")
            return
        if what == 2:
            writer.write(b"HTTP/1.1 oops\r\n\r\n")
            return
        if what == 3:
            writer.write(CHUNKED + b"2\r\nok\r\n")
            await asyncio.sleep(0.003)
            writer.write(b"2\r\nok\r\n0\r\n\r\n")
        elif what == 4:
            writer.write(OK + b"H")
        elif what == 5:
            await asyncio.sleep(0.01)
            writer.write(OK)
        else:
            writer.write(OK)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.sampled_from([1, 2, 5, 50]))
def test_the_books_balance(strictly: Callable[..., None], seed: int, limit: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - seeded: the same run again
    outcomes: list[bytes | str] = []

    async def one(client: Client, server: Server) -> None:
        timeouts = Timeouts(first_byte_s=0.006, between_s=0.002, pool_s=chance.choice([0.005, 5.0]))
        try:
            async with asyncio.timeout(chance.choice([0.002, 0.01, 5.0])):
                response = await client.request(server.origin, "POST", "/", (), b"x", timeouts=timeouts)
                if chance.random() < 0.2:
                    response.close()
                    return
                outcomes.append(await response.read(100))
        except (HTTPClientError, TimeoutError) as exc:
            outcomes.append(type(exc).__name__)

    async def check() -> None:
        async with (
            serve(moody) as server,
            Client(max_connections_per_origin=limit, max_idle_per_origin=3) as client,
        ):
            async with asyncio.TaskGroup() as group:
                for _ in range(120):
                    group.create_task(one(client, server))
                    if chance.random() < 0.2:
                        await asyncio.sleep(0.001)
            assert {item for item in outcomes if isinstance(item, bytes)} <= {b"ok", b"okok"}
            pool = client._pools.get(server.origin)
            if pool is not None:
                await until(lambda: pool.open == len(pool.idle))
                assert pool.open <= min(limit, 3)
                assert not any(conn.closed for conn in pool.idle)
                assert pool._live == set(pool.idle)
            await until(lambda: server.open == client.connections(server.origin)[0])

    strictly(check)
