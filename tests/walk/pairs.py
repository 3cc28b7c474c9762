"""Two workers in the test's own loop, each at a door of its own, with a supervisor's hub between them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateways import SECRET, Gateway

from penstock import serve
from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.engines import ENGINES
from penstock.lib import http1, tasks
from penstock.lib.clock import SystemClock
from penstock.runtime.fleet import Fleet
from penstock.telemetry import sums
from penstock.telemetry.metrics import Metrics
from penstock.workers.hub import Hub, Owner, Worker
from penstock.workers.link import Link
from penstock.workers.messages import Accepting, Any_
from penstock.workers.part import Part
from penstock.workers.totals import Totals


def nobody() -> None:
    """The other side is gone."""


@contextlib.asynccontextmanager
async def joined(
    hub: Hub, listening: socket.socket, number: int, of: int = 2, life: int | None = None
) -> AsyncIterator[Part]:
    """A worker's part, linked to the hub as if it were another process's."""
    ours, theirs = socket.socketpair()
    worker = Worker(number, number if life is None else life)
    worker.link = await Link.open(ours, lambda message: hub.heard(worker, message), lambda: hub.left(worker))

    def heard(message: Any_) -> None:
        part.heard(message)

    link = await Link.open(theirs, heard, nobody)
    part = Part(number, of, listening=listening, send=link.send)
    hub.joined(worker)
    try:
        yield part
    finally:
        await link.aclose()
        while worker in hub.workers:
            await asyncio.sleep(0)


def hub_of(owner: Owner) -> Hub:
    own = Metrics("0", lambda: [serve.pool_row(status) for status in owner.status()])
    return Hub(owner, Totals(lambda: sums.families(own.collect())), lambda _: None)


async def _nothing(source: str, _report: Callable[[Any], None]) -> str:
    raise AssertionError(source)


@contextlib.asynccontextmanager
async def crowd(size: int = 2) -> AsyncIterator[list[Part]]:
    """The parts of so many workers, without engines."""
    async with http1.Client() as client, contextlib.AsyncExitStack() as stack:
        hub = hub_of(Fleet([], _nothing, ENGINES.load, client=client))
        door = stack.enter_context(serve.listen("127.0.0.1", 0))
        parts = [await stack.enter_async_context(joined(hub, door, at, size)) for at in range(size)]
        for part in parts:
            part._send(Accepting())
        async with asyncio.timeout(5):
            while not all(worker.is_accepting for worker in hub.workers):
                await asyncio.sleep(0)
        yield parts


class Pair:
    """Two gateways and their parts."""

    def __init__(self) -> None:
        self.gates: list[Gateway] = []
        self.parts: list[Part] = []


@contextlib.asynccontextmanager
async def pair(config: str) -> AsyncIterator[Pair]:
    """Two workers that serve the same configuration."""
    snapshot = await asyncio.to_thread(lambda: compile_settings(load_text(config), secret=SECRET))
    options = serve.Options(snapshot, workers=2, drain_s=1.0)

    def changed() -> None:
        hub.fleet_changed()

    async with http1.Client() as engines, http1.Client() as client, contextlib.AsyncExitStack() as stack:
        fleet = serve.fleet_of(snapshot, engines, SystemClock(), changed)
        hub = hub_of(fleet)
        running: tasks.Tasks = set()
        looking = [tasks.spawn(running, fleet.run(), "fleet"), tasks.spawn(running, hub.run(), "hub")]
        both = Pair()
        servers: list[asyncio.Task[None]] = []
        try:
            for number in range(2):
                listening = serve.listen("127.0.0.1", 0)
                part = await stack.enter_async_context(joined(hub, listening, number))
                url = await _started(options, part, running, servers)
                both.parts.append(part)
                both.gates.append(Gateway(url, client, servers[-1].cancel))
            yield both
        finally:
            await client.aclose()
            for task in (*servers, *looking):
                await tasks.cancel_and_wait(task)


async def _started(
    options: serve.Options, part: Part, running: tasks.Tasks, servers: list[asyncio.Task[None]]
) -> str:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def accepts(url: str) -> None:
        part._send(Accepting())
        ready.set_result(url)

    own = serve.Options(options.snapshot, workers=options.workers, drain_s=options.drain_s, on_ready=accepts)
    servers.append(tasks.spawn(running, serve.serve(own, part), f"worker {part.number}"))
    return await ready


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)
