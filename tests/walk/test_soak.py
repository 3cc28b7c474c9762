"""The long proof of `make test-all`: memory stays flat over many requests, whole, streamed and failed."""

import asyncio
import gc

import psutil
import pytest
from gateways import Gateway, chat, gateway, remote

from penstock.testing.upstream import Upstream

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROUNDS = 21
REQUESTS = 2000  # per round, a third of each kind
AT_ONCE = 30
GROWTH_BYTES = 8 * 1024 * 1024  # allocator noise; 200 bytes leaked by each request are as much


async def a_round(up: Upstream, gate: Gateway) -> None:
    async def some(number: int) -> None:
        for turn in range(REQUESTS // AT_ONCE):
            kind = (number + turn) % 3
            body = chat(stream=kind == 1) if kind < 2 else chat() | {"model": f"absent-{number}-{turn}"}
            assert (await gate.post("/v1/chat/completions", body)).status == (200 if kind < 2 else 404)

    await asyncio.gather(*(some(number) for number in range(AT_ONCE)))
    up.requests.clear()  # the double's own record
    gc.collect()


async def test_memory_stays_flat() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        await a_round(up, gate)
        before = psutil.Process().memory_info().rss
        for _ in range(ROUNDS - 1):
            await a_round(up, gate)
        grown = psutil.Process().memory_info().rss - before
        assert grown < GROWTH_BYTES, f"{grown / 1e6:.1f} MB more after {(ROUNDS - 1) * REQUESTS} requests"
        assert await gate.metric("penstock_requests_in_flight") == 0
