"""A gateway of several processes: this one owns what must exist once, the workers answer requests.

    the supervisor                              each worker (worker.py)
    ------------------------------------------  ------------------------------------------------------
    reads and compiles the configuration        gets it, compiled; takes new ones, and tells us
    is bound to the address                     accepts connections
    runs the engines                            sees them (workers/view.py)
    starts workers, stops them, kills those     drains when it is told to; says that it is alive
    that hang
    passes on questions, news, what is busy     answers, hears, chooses replicas
    keeps the counters of workers that died     counts

Start: ready once all workers accept. Stop: SIGINT or SIGTERM makes the workers drain, then the engines stop;
a second signal does not wait. Workers get their `Options` whole, so what one server does with them by itself
each worker does; what a signal means for all is said in `_Supervisor.run`.
"""

import asyncio
import contextlib
import dataclasses
import pickle
from collections.abc import Iterable

import uvloop
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from penstock import __version__, serve
from penstock.lib import http1, tasks
from penstock.lib.clock import SystemClock
from penstock.serve import Options
from penstock.telemetry import sums
from penstock.telemetry.metrics import Metrics
from penstock.workers.crew import Crew, WorkerFailed
from penstock.workers.hub import Hub
from penstock.workers.sockets import Address
from penstock.workers.totals import Totals


def run(options: Options) -> None:
    """Serves until a signal. Raises CannotListen, StoreUnavailable, WorkerFailed."""
    uvloop.run(supervise(options))


async def supervise(options: Options) -> None:
    """Serves until a signal or cancellation. Raises CannotListen, StoreUnavailable, WorkerFailed."""
    try:
        await _supervise(options)
    except* WorkerFailed as group:
        failed: BaseException = group
        while isinstance(failed, BaseExceptionGroup):
            failed = failed.exceptions[0]
        raise failed from None


async def _supervise(options: Options) -> None:
    serve.raise_open_files()
    async with serve.opened(options.live):
        pass  # it can be opened, and its schema is this release's: workers need not agree on who changes it
    address = Address(serve.listen(options.host, options.port, at_once=False))
    with contextlib.closing(address):
        async with http1.Client() as client:
            supervisor = _Supervisor(options, address, client)
            await supervisor.run()


class _Supervisor:
    def __init__(self, options: Options, address: Address, client: http1.Client) -> None:
        clock = SystemClock()
        self._options = options
        self._url = serve.base_url(address.bound, is_tls=options.snapshot.tls is not None)
        self._fleet = serve.fleet_of(options.snapshot, client, clock, self._fleet_changed)
        self._hub = Hub(self._fleet, Totals(lambda: sums.families(self._counted())), self._took)
        self._crew = Crew(
            options.workers,
            pickle.dumps(dataclasses.replace(options, on_ready=None, on_status=None)),
            hub=self._hub,
            address=address,
            clock=clock,
            drain_s=options.drain_s,
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            aside = [
                tasks.spawn(group, self._fleet.run(), "fleet"),
                tasks.spawn(group, self._hub.run(), "news of the fleet"),
                tasks.spawn(group, serve.report(self._fleet.status, self._options), "status"),
                tasks.spawn(group, self._announce(), "ready"),
            ]
            try:
                with serve.signals(self._crew.stop, [self._hub.reread]):
                    await self._crew.run()
            finally:
                for task in aside:
                    task.cancel()

    def _took(self, text: str) -> None:
        self._crew.text = text

    def _fleet_changed(self) -> None:
        self._hub.fleet_changed()

    async def _announce(self) -> None:
        await self._crew.accepting.wait()
        if self._options.on_ready is not None:
            self._options.on_ready(self._url)

    def _counted(self) -> Iterable[Metric]:
        """What this process counts."""
        pools = Metrics(__version__, lambda: [serve.pool_row(status) for status in self._fleet.status()])
        yield from pools.collect()
        workers = GaugeMetricFamily("penstock_workers", "Gateway processes that are to answer requests")
        workers.add_metric((), self._crew.size)
        yield workers
        ready = GaugeMetricFamily("penstock_workers_ready", "Those that do")
        ready.add_metric((), self._crew.ready)
        yield ready
        restarts = CounterMetricFamily("penstock_worker_restarts", "Gateway processes started again")
        restarts.add_metric((), self._crew.restarts)
        yield restarts
        hangs = CounterMetricFamily("penstock_worker_hangs", "Gateway processes killed because they hung")
        hangs.add_metric((), self._crew.hangs)
        yield hangs
