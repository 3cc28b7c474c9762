"""In the supervisor: what workers say, and who else is to hear of it. One loop, no waiting.

from a worker     what follows
----------------  -----------------------------------------------------------------------------------
Accepting         it is asked and told like the others
Took              workers that are started from now on begin with it
Suspect           the fleet asks the replica for its health; all see it as not ready
Busy              if it changed, the others soon hear the sum of what everybody but them has
Ask               all others are asked; what they answer in time goes back as one, or the first answer
Tell              passed on to all others

from the fleet    all workers hear of the pools, if something they see has changed
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from penstock.lib import tasks
from penstock.runtime.fleet import PoolStatus, ReplicaStatus
from penstock.runtime.fleet import Progress as FleetProgress
from penstock.telemetry.metrics import SUBJECT as METRICS
from penstock.types.deployment import ReplicaView
from penstock.types.errors import PenstockError, UpstreamUnavailable
from penstock.workers.link import Link
from penstock.workers.messages import (
    Accepting,
    Answer,
    Answers,
    Any_,
    Ask,
    Busy,
    Engine,
    Engines,
    Fetching,
    Replica,
    Reread,
    Stop,
    Suspect,
    Tell,
    Took,
    encode,
)
from penstock.workers.totals import Totals

PROGRESS_S = 0.5  # how often the progress of a fetch is told
# How long news of what is busy wait for more, for each worker there is: a thousand messages a second are sent
# at most, however many workers. To tell each of each at once would take eight cores for 64 busy workers.
GATHER_S = 0.001
_REST = -1  # nobody's life

_log = structlog.get_logger("penstock.workers")


class Owner(Protocol):
    """What is told of (runtime.fleet.Fleet)."""

    @property
    def newest_s(self) -> float: ...

    def status(self) -> list[PoolStatus]: ...

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]: ...

    def unready(self, pool: str) -> PenstockError: ...

    def suspect(self, replica: ReplicaView) -> None: ...


class Worker:
    """One life of one of them."""

    def __init__(self, number: int, life: int) -> None:
        self.number = number
        self.life = life
        self.link: Link | None = None
        self.is_accepting = False
        self.heard = 0  # messages
        self.suspects_heard = 0
        self.busy = Busy({}, {})
        self.told = Busy({}, {})  # of the others'
        self.accepted = asyncio.Event()

    def send(self, message: Any_) -> None:
        if self.link is not None:
            self.link.send(message)


class Hub:
    """`took` gets the text of a configuration file that a worker has taken."""

    def __init__(self, owner: Owner, totals: Totals, took: Callable[[str], None]) -> None:
        self._owner = owner
        self._took = took
        self._totals = totals
        self._workers: dict[int, Worker] = {}  # life -> it
        self._asking: dict[int, _Asking] = {}
        self._last = 0
        self._told: tuple[Engine, ...] = ()
        self._is_due = False
        self._is_busy_due = False
        self._running: tasks.Tasks = set()

    @property
    def workers(self) -> Sequence[Worker]:
        return tuple(self._workers.values())

    def joined(self, worker: Worker) -> None:
        self._workers[worker.life] = worker
        self._told = _engines(self._owner)
        worker.send(Engines(self._told, self._owner.newest_s, 0))
        worker.told = self._all_busy()
        worker.send(worker.told)

    def left(self, worker: Worker) -> None:
        if self._workers.pop(worker.life, None) is None:
            return
        worker.link = None
        for asking in self._asking.values():
            asking.answered(worker, None)
        self._totals.died(worker.life)
        self._busy_changed()

    def stop(self) -> None:
        for worker in self.workers:
            worker.send(Stop())

    def reread(self) -> None:
        for worker in self.workers:
            worker.send(Reread())

    # -- the fleet

    async def run(self) -> None:
        """Looks for progress, until cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._tell_engines()

    def fleet_changed(self) -> None:
        """Several changes of one moment are told as one."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._tell_engines, True)

    def _tell_engines(self, is_due: bool = False) -> None:
        if is_due:
            self._is_due = False
        now = _engines(self._owner)
        if now != self._told or is_due:
            self._told = now
            for worker in self.workers:
                worker.send(Engines(now, self._owner.newest_s, worker.suspects_heard))

    # -- workers

    def heard(self, worker: Worker, message: Any_) -> None:
        worker.heard += 1
        match message:
            case Accepting():
                worker.is_accepting = True
                worker.accepted.set()
            case Took():
                self._took(message.text)
            case Suspect():
                worker.suspects_heard = message.number
                self._suspect(message)
                self.fleet_changed()
            case Busy() if message == worker.busy:
                pass  # it is alive
            case Busy():
                worker.busy = message
                self._busy_changed()
            case Ask():
                if message.subject == METRICS:
                    self._totals.said(worker.life, message.body)
                tasks.spawn(self._running, self._ask(worker, message), f"question about {message.subject}")
            case Answer():
                if (asking := self._asking.get(message.number)) is not None:
                    asking.answered(worker, message.body)
                    if asking.subject == METRICS and message.body is not None:
                        self._totals.said(worker.life, message.body)
            case Tell(subject=subject, body=body) if subject == METRICS:
                self._totals.said(worker.life, body)
            case Tell():
                data = encode(message)
                for other in self.workers:
                    if other is not worker and other.link is not None:
                        other.link.send_encoded(data)
            case _:
                _log.error("a message that is not for supervisors", message=type(message).__name__)

    def _suspect(self, said: Suspect) -> None:
        pool = said.replica.rpartition("#")[0]
        for view in self._owner.replicas(pool):
            if view.id == said.replica and view.ready_s == said.ready_s:
                self._owner.suspect(view)

    def _busy_changed(self) -> None:
        if not self._is_busy_due:
            self._is_busy_due = True
            asyncio.get_running_loop().call_later(GATHER_S * len(self._workers), self._tell_busy)

    def _tell_busy(self) -> None:
        self._is_busy_due = False
        total = self._all_busy()
        for worker in self.workers:
            others = _without(worker.busy, total)
            if others != worker.told and worker.link is not None and not worker.link.is_behind:
                worker.told = others
                worker.send(others)

    def _all_busy(self) -> Busy:
        load: dict[str, tuple[int, int]] = {}
        held: dict[str, int] = {}
        for worker in self.workers:
            for replica, (calls, tokens) in worker.busy.load.items():
                known = load.get(replica, (0, 0))
                load[replica] = known[0] + calls, known[1] + tokens
            for replica, requests in worker.busy.held.items():
                held[replica] = held.get(replica, 0) + requests
        return Busy(load, held)

    async def _ask(self, worker: Worker, ask: Ask) -> None:
        is_scrape = ask.subject == METRICS
        others = [one for one in self.workers if one is not worker and one.is_accepting]
        self._last += 1
        number = self._last
        asking = self._asking[number] = _Asking(ask, others)
        for other in others:
            other.send(Ask(number, ask.subject, b"" if is_scrape else ask.body, ask.wait_s))
        try:
            async with asyncio.timeout(ask.wait_s):
                await asking.done.wait()
        except TimeoutError:
            _log.warning(
                "workers did not answer in time",
                subject=ask.subject,
                workers=[one.number for one in asking.silent.values()],
            )
        finally:
            del self._asking[number]
        answered = asking.bodies
        if is_scrape:  # who answered and then died is in the rest
            answered = {life: body for life, body in answered.items() if life in self._workers}
            answered[_REST] = self._totals.rest({worker.life, *answered})
        worker.send(Answers(ask.number, list(answered.values())))


class _Asking:
    """One question, until all have answered, or one has who knows."""

    def __init__(self, ask: Ask, asked: Sequence[Worker]) -> None:
        self.subject = ask.subject
        self._one_knows = ask.one_knows
        self.silent = {one.life: one for one in asked}
        self.bodies: dict[int, bytes] = {}
        self.done = asyncio.Event()
        if not asked:
            self.done.set()

    def answered(self, worker: Worker, body: bytes | None) -> None:
        if self.silent.pop(worker.life, None) is None:
            return
        if body is not None:
            self.bodies[worker.life] = body
        if not self.silent or (self._one_knows and self.bodies):
            self.done.set()


def _without(own: Busy, total: Busy) -> Busy:
    load, held = dict(total.load), dict(total.held)
    for replica, (calls, tokens) in own.load.items():
        load[replica] = load[replica][0] - calls, load[replica][1] - tokens
    for replica, requests in own.held.items():
        held[replica] -= requests
    return Busy(
        {replica: (calls, tokens) for replica, (calls, tokens) in load.items() if calls},
        {replica: requests for replica, requests in held.items() if requests},
    )


def _engines(owner: Owner) -> tuple[Engine, ...]:
    return tuple(_engine(owner, status) for status in owner.status())


def _engine(owner: Owner, status: PoolStatus) -> Engine:
    views = {view.id: view for view in owner.replicas(status.pool)}
    unready = owner.unready(status.pool)
    return Engine(
        status.pool,
        status.engine,
        status.source,
        tuple(_replica(one, views.get(one.name)) for one in status.replicas),
        _fetching(status.fetching),
        status.error,
        isinstance(unready, UpstreamUnavailable),
        unready.message,
        unready.retry_after_s,
        unready.detail,
    )


def _replica(one: ReplicaStatus, view: ReplicaView | None) -> Replica:
    if view is None:
        return Replica(one.name, one.state, one.pid, one.restarts, one.error)
    return Replica(
        one.name,
        one.state,
        one.pid,
        one.restarts,
        one.error,
        view.address,
        view.headers,
        dict(view.info),
        view.ready_s,
    )


def _fetching(progress: FleetProgress | None) -> Fetching | None:
    if progress is None:
        return None
    return Fetching(progress.step, progress.done_bytes, progress.total_bytes, progress.note)
