"""The only wiring place: a compiled snapshot in, a running server out.

    snapshot -> fleet (engine processes) + http1 client + app -> uvicorn on a socket we bound
    live     -> store + reload + admin API + usage, where what runs may change
    part     -> of several workers (worker.py): the fleet and the socket are the supervisor's (supervisor.py)

Start: the socket listens before any engine is ready; requests wait for their model (Timeouts.loading_s).
Stop: SIGINT or SIGTERM ends accepting, lets running answers finish for `drain_s`, cuts what is left
(gateway/server.py), then stops the engines. A second signal does not wait.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import uvloop

from penstock import __version__, models
from penstock.admin.api import Api
from penstock.auth import tls
from penstock.auth.login import Logins
from penstock.auth.tokens import Tokens
from penstock.auth.web import Web
from penstock.config.parts import BUILTIN_CHAT
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot
from penstock.control.leading import lead
from penstock.control.reload import Reload
from penstock.control.retention import forget
from penstock.control.source import Source
from penstock.control.terms import note_terms
from penstock.control.webhooks import Webhooks
from penstock.engines import ENGINES
from penstock.gateway.alerts import Alerts
from penstock.gateway.app import App
from penstock.gateway.balance import Balance
from penstock.gateway.batching import Batcher
from penstock.gateway.callers import REFRESH_LOOK_S, Callers
from penstock.gateway.classifier import Classifiers
from penstock.gateway.deps import Deps
from penstock.gateway.health import Health
from penstock.gateway.listener import Listener
from penstock.gateway.media import Media
from penstock.gateway.probes import Probes
from penstock.gateway.queueing import Queues
from penstock.gateway.reservations import Reservations
from penstock.gateway.running import Running
from penstock.gateway.server import Server
from penstock.gateway.thoughts import Thoughts
from penstock.lib import http1, tasks
from penstock.lib.clock import Clock, SystemClock
from penstock.lib.retry_budget import RetryBudget
from penstock.limits.opening import open_ledger
from penstock.protocols import INBOUND
from penstock.routing.hedging import HEDGES_AT_ONCE, Delays
from penstock.runtime.fleet import Fleet, PoolStatus
from penstock.store import open_store
from penstock.store.usage_writer import UsageWriter
from penstock.telemetry.metrics import BreakerRow, Metrics, PoolRow, UsageCounts
from penstock.types.control import DeploymentLine, ReplicaLine
from penstock.types.deployment import Deployment
from penstock.types.ledger import Claim, Ledger, Row
from penstock.types.store import Store
from penstock.workers.part import Part
from penstock.workers.view import View

BUILTIN_CHAT_FILE = Path(__file__).parent / "engines" / "data" / "penstock-demo-5m-q8_0.gguf"
BACKLOG = 2048
STATUS_EVERY_S = 0.2
UPSTREAM_CONNECTIONS = 10_000  # per origin: streams set the bound, not the pool
NEVER = 1_000_000
AFTER_A_BUG_S = 1.0
QUIET_LOOK_S = 30.0
LONGEST_UNCOLLECTED_S = 900.0
GC_ALLOCATIONS = 2_000  # more containers made than freed since the last round
OPEN_FILES = 65_536  # a stream takes two; many systems allow 1024 until they are asked

_log = structlog.get_logger("penstock.serve")


class CannotListen(Exception):
    """The address is taken or not ours. The message says what to do."""


@dataclass(frozen=True)
class Live:
    """What the snapshot was made of, so that it can be made anew; and where rows are kept."""

    source: Source
    settings: Settings
    store_url: str


@dataclass(frozen=True)
class Options:
    """How to run. `on_ready` gets the base URL once connections are accepted; `on_status` the pools' rows,
    several times a second while that is of interest to somebody watching a terminal.
    """

    snapshot: Snapshot
    host: str = "127.0.0.1"
    port: int = 8600  # 0 = a free one
    live: Live | None = None  # None: the snapshot stays as it is, and nothing is written down
    data_dir: Path | None = None  # without one, budgets begin anew with every start
    drain_s: float = 30.0
    workers: int = 1  # more than one: penstock.supervisor serves
    log_level: str = "info"  # of workers
    on_ready: Callable[[str], None] | None = None
    on_status: Callable[[Sequence[PoolStatus]], None] | None = None


def run(options: Options) -> None:
    """Serves until a signal. Raises CannotListen."""
    uvloop.run(serve(options))


async def serve(options: Options, part: Part | None = None) -> None:
    """Serves until a signal or cancellation. `part`: of which gateway this process is a worker.

    Raises CannotListen, StoreUnavailable.
    """
    raise_open_files()
    listening = listen(options.host, options.port) if part is None else part.listening
    with contextlib.closing(listening):
        async with (
            http1.Client(max_connections_per_origin=UPSTREAM_CONNECTIONS) as client,
            opened(options.live) as store,
        ):
            clock = SystemClock()
            balance = Balance()
            fleet: Fleet | View
            if part is None:
                fleet = fleet_of(options.snapshot, client, clock)
            else:
                fleet = part.fleet
                fleet.account_for(balance.load)

            def pool_rows() -> list[PoolRow]:
                return [pool_row(status) for status in fleet.status()]

            media = Media(client, options.snapshot.media_hosts)
            health = Health(fleet, clock, balance.load)
            queues = Queues(clock) if part is None else Queues(clock, part.share)
            classifiers = Classifiers(clock)
            plan = options.snapshot.limits
            ledger = await open_ledger(
                plan.store,
                clock,
                database=options.live.store_url if options.live else "",
                data_dir=options.data_dir if part is None or plan.store != "memory" else None,
                processes=plan.processes * options.workers,
            )
            webhooks = Webhooks(client, clock, lambda: app.snapshot.hooks)
            alerts = Alerts(clock, webhooks.tell)
            reservations = Reservations(ledger, clock, alerts=alerts, is_shared=plan.store != "memory")
            metrics = Metrics(
                __version__,
                pool_rows if part is None else tuple,
                lambda: health.down(app.snapshot.deployments()),
                balance.report,
                queues.report,
                breakers=lambda: [BreakerRow(*row) for row in health.breakers.report(clock.monotonic())],
                ledger=reservations.report,
                usage=lambda: plane.counts() if plane is not None else UsageCounts(),
            )
            plane = _Plane(options.live, store, clock, ledger) if options.live and store else None
            web = Web(client)
            tokens = Tokens(web, clock)
            logins = Logins(tokens, web, clock, options.snapshot.hash_key)
            callers = Callers(tokens, logins, metrics, clock)
            deps = Deps(
                client,
                fleet,
                metrics,
                clock,
                media,
                Thoughts(clock),
                RetryBudget(),
                health,
                balance,
                Batcher(clock, metrics),
                queues,
                RetryBudget(burst=HEDGES_AT_ONCE),
                Delays(),
                callers,
                classifiers,
                reservations,
                Running(),
                plane.usage if plane is not None else None,
            )
            app = App(
                options.snapshot,
                deps,
                INBOUND,
                pool_rows,
                __version__,
                admin=plane.admin if plane is not None else None,
            )
            if plane is not None:
                await plane.start(app, deps, fleet)
            door = await asyncio.to_thread(tls.Door, options.snapshot.tls) if options.snapshot.tls else None
            probes = Probes(lambda: app.snapshot, deps)
            if part is not None:
                for one in (app, alerts, balance, logins, metrics, deps.thoughts, probes):
                    one.join(part)
                if plane is not None:
                    plane.admin.join(part)
                    plane.reload.tells(part.took)
                await logins.catch_up()
            url = base_url(listening, is_tls=door is not None)
            server = Server(
                partial(Listener, app, lambda: bool(app.snapshot.identity.proxies)),
                drain_s=options.drain_s,
                tls=None if door is None else door.context,
                on_ready=None if options.on_ready is None else partial(options.on_ready, url),
            )
            spare_the_collector()
            async with asyncio.TaskGroup() as group:
                aside = [
                    tasks.spawn(group, fleet.run(), "fleet"),
                    tasks.spawn(group, report(fleet.status, options), "status"),
                    tasks.spawn(group, _collect(metrics), "garbage"),
                    tasks.spawn(group, _refresh_keys(app, callers), "keys of issuers"),
                    tasks.spawn(group, reservations.run(), "heartbeats of leases"),
                ]
                again: list[Callable[[], object]] = []  # what SIGHUP does
                if plane is not None:
                    aside.append(tasks.spawn(group, plane.run(), "control plane"))
                    again.append(plane.reload.again)
                if door is not None:
                    hangup = asyncio.Event()
                    aside.append(tasks.spawn(group, _reread(door, hangup), "certificates"))
                    again.append(hangup.set)
                probing = tasks.spawn(group, probes.run(), "probes")
                with signals(server.stop, again) if part is None else part.stopping(server.stop, again):
                    try:
                        await server.serve_to_the_end(listening)
                    finally:
                        probing.cancel()
                        await app.aclose()
                        await classifiers.aclose()
                        await reservations.close()
                        await webhooks.aclose()
                        await callers.aclose()
                        if plane is not None:
                            await plane.usage.aclose()
                        metrics.leave()
                for task in aside:
                    task.cancel()


class _Plane:
    """The control plane: what runs beside the gateway, and may stand still without harm to it."""

    def __init__(self, live: Live, store: Store, clock: Clock, ledger: Ledger) -> None:
        self.usage = UsageWriter(store, on_failure=live.settings.store.usage.on_failure)
        self.reload = Reload(live.source, live.settings, store, clock)
        self.admin = Api(store, self.reload, self._deployments, self._used, clock, version=__version__)
        self._store, self._ledger, self._clock = store, ledger, clock
        self._forgetting = partial(forget, store, live.settings.store.usage, clock)
        self._noting = partial(note_terms, store, self.reload)
        self._lines: Callable[[], list[DeploymentLine]] = list

    async def start(self, app: App, deps: Deps, fleet: Fleet | View) -> None:
        """Takes the store's rows into the snapshot. Raises StoreUnavailable."""

        def take(snapshot: Snapshot, ended: Collection[str]) -> None:
            app.snapshot = snapshot
            deps.queues.follow(snapshot.deployments())
            if ended:
                deps.running.end(ended)

        self._lines = lambda: _deployment_lines(app.snapshot, deps, fleet)
        await self.reload.start(take)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks.spawn(group, _unending(self.reload.run, "reload"), "reload")
            tasks.spawn(group, _unending(self.usage.run, "usage"), "usage")
            tasks.spawn(group, _unending(self._lead, "what one does for all"), "what one does for all")

    async def _lead(self) -> None:
        await lead(self._store, self._for_all)

    async def _for_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks.spawn(group, self._forgetting(), "retention")
            tasks.spawn(group, self._noting(), "terms of teams")

    async def _used(self, claims: Sequence[Claim]) -> list[Row]:
        return await self._ledger.report(claims, self._clock.monotonic())

    def counts(self) -> UsageCounts:
        return UsageCounts(self.usage.written, self.usage.dropped, self.usage.waiting)

    def _deployments(self) -> list[DeploymentLine]:
        return self._lines()


async def _unending(run: Callable[[], Awaitable[None]], name: str) -> None:
    """A bug in here must not stop the gateway: it is told, and what it was in begins anew."""
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - the border of the control plane
            _log.exception("bug in the control plane", part=name)
        await asyncio.sleep(AFTER_A_BUG_S)


@contextlib.asynccontextmanager
async def opened(live: Live | None) -> AsyncIterator[Store | None]:
    if live is None:
        yield None
        return
    store = await open_store(live.store_url, migrate=live.settings.store.migrate)
    try:
        yield store
    finally:
        await store.aclose()


def spare_the_collector() -> None:
    """Takes what is loaded by now out of the garbage collector's rounds and makes these rarer.

    Requests leave no cycles behind, so a round finds nothing: with Python's own threshold it walked the heap
    every third request. Rounds are small, and whole ones are ours to begin (`_collect`): with a thousand
    requests open a round of all that waits stops every stream for 60 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 1, NEVER)


def raise_open_files() -> None:
    """Lifts the soft limit of open files to the hard one, at most to OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as exc:  # macOS has a second, lower bound
        _log.debug("the limit of open files stays", limit=soft, error=str(exc))
    else:
        _log.debug("the limit of open files was raised", limit=wanted, before=soft)


def listen(host: str, port: int, *, at_once: bool = True) -> socket.socket:
    """A bound socket. With `at_once` it listens: who connects now is answered once we serve.

    Raises CannotListen.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise CannotListen(f"cannot listen on {host}: {exc.strerror or exc}; check --host.") from exc
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        if at_once:
            listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        raise CannotListen(
            f"cannot listen on {host}:{port}: {exc.strerror or exc}. Is another server running there?"
            " Choose another port with --port (0 = any free one)."
        ) from exc
    listening.setblocking(False)
    return listening


def base_url(listening: socket.socket, *, is_tls: bool = False) -> str:
    """How a client on this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # every interface: loopback is one of them
        host = "127.0.0.1"
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def signals(stop: Callable[[], None], again: Sequence[Callable[[], object]]) -> Iterator[None]:
    """SIGHUP: the configuration file and the certificates are read again."""
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    wanted: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGINT: stop,
        signal.SIGTERM: stop,
    }
    if again:
        wanted[signal.SIGHUP] = lambda: [act() for act in again]
    for number, act in wanted.items():
        try:
            loop.add_signal_handler(number, act)
        except (ValueError, RuntimeError):  # not the main thread: whoever runs us there cancels instead
            break
        taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


async def report(status: Callable[[], list[PoolStatus]], options: Options) -> None:
    if options.on_status is None:
        return
    while True:
        options.on_status(status())
        await asyncio.sleep(STATUS_EVERY_S)


async def _refresh_keys(app: App, callers: Callers) -> None:
    while True:
        await callers.refresh(app.snapshot)
        await asyncio.sleep(REFRESH_LOOK_S)


async def _reread(door: tls.Door, hangup: asyncio.Event) -> None:
    """After SIGHUP the files are read again though they look as before."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(tls.EVERY_S):
                await hangup.wait()
        is_asked = hangup.is_set()
        hangup.clear()
        if await asyncio.to_thread(door.has_new, always=is_asked):
            door.take()


async def _collect(metrics: Metrics) -> None:
    """Whole rounds of the garbage collector: while nobody is answered, else every quarter of an hour."""
    uncollected_s = 0.0
    while True:
        await asyncio.sleep(QUIET_LOOK_S)
        uncollected_s += QUIET_LOOK_S
        if not metrics.in_flight or uncollected_s >= LONGEST_UNCOLLECTED_S:
            gc.collect()
            uncollected_s = 0.0


def _deployment_lines(snapshot: Snapshot, deps: Deps, fleet: Fleet | View) -> list[DeploymentLine]:
    """Each once, with the routes that lead to it."""
    named: dict[str, tuple[Deployment, list[str]]] = {}
    for route in snapshot.routes.values():
        for target in (*route.targets, *(one for tier in route.tiers for one in tier)):
            named.setdefault(target.deployment.name, (target.deployment, []))[1].append(route.name)
    pools = {status.pool: status for status in fleet.status()}
    return [
        DeploymentLine(
            name=name,
            model=deployment.model,
            where=deployment.owner if deployment.pool is None else pools[deployment.pool].engine,
            operations=tuple(sorted(deployment.operations)),
            routes=tuple(routes),
            is_down=deps.health.is_down(deployment),
            replicas=() if deployment.pool is None else _replica_lines(pools[deployment.pool]),
        )
        for name, (deployment, routes) in named.items()
    ]


def _replica_lines(status: PoolStatus) -> tuple[ReplicaLine, ...]:
    return tuple(
        ReplicaLine(
            name=one.name,
            state=one.state,
            in_flight=one.in_flight,
            restarts=one.restarts,
            error=one.error or status.error,
        )
        for one in status.replicas
    )


def fleet_of(
    snapshot: Snapshot, client: http1.Client, clock: Clock, changed: Callable[[], None] = lambda: None
) -> Fleet:
    """The engines of this machine."""
    pools = tuple(snapshot.pools.values())
    return Fleet(pools, _resolve, ENGINES.load, client=client, clock=clock, changed=changed)


async def _resolve(source: str, progress: Callable[[models.Progress], None]) -> str:
    """The local path of a model, fetched when it is not here yet; the thread stops when we are cancelled."""
    if source == BUILTIN_CHAT:
        return str(BUILTIN_CHAT_FILE)
    cancel = threading.Event()
    try:
        found = await asyncio.to_thread(models.resolve, models.parse_source(source), progress, cancel)
    except asyncio.CancelledError:
        cancel.set()
        raise
    return str(found.path)


def pool_row(status: PoolStatus) -> PoolRow:
    states = Counter[str](replica.state for replica in status.replicas)
    if status.error and not states["ready"]:  # its model could not be fetched: no replica has begun
        states = Counter(failed=len(status.replicas))
    return PoolRow(status.pool, states, status.restarts)
