"""Small requests of our own, so that a deployment's health is known before a customer's request finds out.

    operation                 what is asked
    ------------------------  ------------------------------------
    chat, completion          one token
    embedding, moderation,    one short text
    classification
    rerank                    one pair

A probe goes the way of any attempt (failover.attempt): through the deployment's own codec, its queue and its
breakers, so whatever would fail a request fails it. It belongs to no key, and no call is accounted for it.
Where a replica's own breaker waits for a probe, that replica is asked. When: routing/probing.py.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from penstock.config.snapshot import Snapshot
from penstock.gateway import failover, probe_news
from penstock.gateway.deps import Deps
from penstock.lib import tasks
from penstock.lib.ids import new_id
from penstock.protocols import openai_chat
from penstock.routing.probing import next_probe_s
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Labels, ProbePlan, Route, Target, Timeouts
from penstock.types.errors import PenstockError
from penstock.types.events import Delta
from penstock.types.others import Others
from penstock.types.requests import (
    ClassificationRequest,
    CompletionRequest,
    EmbeddingRequest,
    ModerationRequest,
    Operation,
    Request,
    RerankRequest,
)

LOOK_S = 0.5  # how often is looked who is due: a breaker opens at any time
TEXT = "ok"

_ORDER: tuple[Operation, ...] = (
    "chat",
    "completion",
    "embedding",
    "rerank",
    "classification",
    "moderation",
)

_log = structlog.get_logger("penstock.gateway")


class Probes:
    """One per process; several tell each other (probe_news.py). `snapshot`: the one of now; what a reload
    brings is probed from then on.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], deps: Deps) -> None:
        self._snapshot = snapshot
        self._deps = deps
        self._watched: dict[str, _Watched] = {}
        self._probed: dict[str, Deployment] = {}
        self._others: Others | None = None
        self._answered: dict[str, float] = {}  # by others
        self._told: dict[str, float] = {}  # to others, of our own

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(probe_news.SUBJECT, self._hear)

    async def run(self) -> None:
        """Until cancelled; then no probe is left behind."""
        running: tasks.Tasks = set()
        known: Snapshot | None = None
        try:
            while True:
                if (now := self._snapshot()) is not known:
                    known = now
                    self._probed = {one.name: one for one in now.deployments() if one.probe is not None}
                    self._forget(set(self._probed))
                self._tell_answers()
                for deployment in self._probed.values():
                    self._look(deployment, running)
                await asyncio.sleep(LOOK_S)
        finally:
            for task in list(running):
                await tasks.cancel_and_wait(task)

    def _forget(self, names: set[str]) -> None:
        self._watched = {name: watched for name, watched in self._watched.items() if name in names}

    def _look(self, deployment: Deployment, running: tasks.Tasks) -> None:
        plan, now_s = deployment.probe, self._deps.clock.monotonic()
        watched = self._watched.get(deployment.name)
        if watched is None:
            watched = self._watched[deployment.name] = _Watched(now_s)
        is_loading = deployment.pool is not None and not self._deps.fleet.replicas(deployment.pool)
        if plan is None or watched.is_asked or watched.others_until_s > now_s or is_loading:
            return
        health = self._deps.health
        replica, reopens_s = health.waits_for_probe(deployment)
        due_s = next_probe_s(
            plan.every_s,
            began_s=watched.began_s,
            answered_s=self._answered_s(deployment),
            probed_s=watched.probed_s(None if reopens_s is None else replica),
            reopens_s=reopens_s,
            roll=watched.roll,
        )
        if due_s <= now_s:
            watched.begin(replica, now_s)
            self._tell(probe_news.Begun(deployment.name, replica))
            tasks.spawn(running, self._probe(deployment, plan, replica, watched), f"probe {deployment.name}")

    async def _probe(
        self, deployment: Deployment, plan: ProbePlan, replica: str, watched: "_Watched"
    ) -> None:
        try:
            error, part = await self._outcome(deployment, plan, replica)
        finally:
            watched.is_asked = False
        retry_s = None if error is None else error.retry_after_s
        self._tell(probe_news.Ended(deployment.name, part, probe_news.outcome_of(error), retry_s))
        self._deps.metrics.probe_ended(deployment.name, "ok" if error is None else error.code)
        if error is not None:
            _log.warning(
                "probe failed",
                deployment=deployment.name,
                replica=replica,
                code=error.code,
                detail=error.detail or error.message,
            )

    async def _outcome(
        self, deployment: Deployment, plan: ProbePlan, replica: str
    ) -> tuple[PenstockError | None, str]:
        """What it failed by, and which part of it was asked."""
        clock = self._deps.clock
        request = request_of(deployment)
        call = Call(
            new_id("probe_"), "", request.operation, clock.monotonic(), int(clock.wall()), replica=replica
        )
        times = Timeouts(plan.timeout_s, plan.timeout_s, plan.timeout_s, plan.timeout_s, loading_s=0.0)
        target = Target(deployment, Labels(deployment.name, deployment.name))
        route = Route(deployment.name, (target,), times)
        call.model, call.deployment, call.labels = deployment.name, deployment.name, target.labels
        try:
            await failover.attempt(call, request, target, route=route, deps=self._deps, emit=_drop)
        except PenstockError as error:
            return error, _part_of(call)
        return None, _part_of(call)

    # -- of several processes

    def _answered_s(self, deployment: Deployment) -> float | None:
        known = (self._deps.health.answered_s(deployment), self._answered.get(deployment.name))
        return max((one for one in known if one is not None), default=None)

    def _tell(self, news: probe_news.News) -> None:
        if self._others is not None:
            self._others.tell(probe_news.SUBJECT, probe_news.encode(news))

    def _tell_answers(self) -> None:
        if self._others is None:
            return
        at_s = {name: self._deps.health.answered_s(one) for name, one in self._probed.items()}
        new = {name: one for name, one in at_s.items() if one is not None and one != self._told.get(name)}
        if new:
            self._told |= new
            self._tell(probe_news.Answered(new))

    def _hear(self, body: bytes) -> None:
        news = probe_news.decode(body)
        if isinstance(news, probe_news.Answered):
            self._answered |= news.at_s
            return
        deployment, watched = self._probed.get(news.name), self._watched.get(news.name)
        if deployment is None or deployment.probe is None or watched is None:
            return  # not watched here yet
        if isinstance(news, probe_news.Begun):
            watched.begin_elsewhere(news.replica, self._deps.clock.monotonic(), deployment.probe.timeout_s)
        else:
            watched.others_until_s = 0.0
            self._deps.health.probed_elsewhere(deployment, news.part, probe_news.error_of(news))


class _Watched:
    """One deployment that is probed. Times are monotonic seconds."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.is_asked = False
        self.others_until_s = 0.0  # unless they say before that it has ended
        self.roll = random.random()  # noqa: S311 - jitter
        self._probed_s: dict[str, float] = {}

    def probed_s(self, replica: str | None) -> float | None:
        """When that replica was probed last (empty: whoever was next), or any."""
        return max(self._probed_s.values(), default=None) if replica is None else self._probed_s.get(replica)

    def begin(self, replica: str, now_s: float) -> None:
        self.is_asked = True
        self._begun(replica, now_s)

    def begin_elsewhere(self, replica: str, now_s: float, for_s: float) -> None:
        self.others_until_s = now_s + for_s
        self._begun(replica, now_s)

    def _begun(self, replica: str, now_s: float) -> None:
        self._probed_s[replica] = now_s
        self.roll = random.random()  # noqa: S311 - jitter


def _part_of(call: Call) -> str:
    return call.attempts[-1].replica if call.attempts else ""


def request_of(deployment: Deployment) -> Request:
    """The least it can be asked."""
    operation = next(one for one in _ORDER if one in deployment.operations)
    model = deployment.name
    match operation:
        case "chat":
            said = [{"role": "user", "content": TEXT}]
            return openai_chat.decode({"model": model, "messages": said, "max_tokens": 1})
        case "completion":
            return CompletionRequest(model, {"model": model, "prompt": TEXT, "max_tokens": 1}, max_tokens=1)
        case "embedding":
            return EmbeddingRequest(model, [TEXT])
        case "rerank":
            return RerankRequest(model, TEXT, [TEXT])
        case "classification":
            return ClassificationRequest(model, [[TEXT]])
        case "moderation":
            return ModerationRequest(model, {"model": model, "input": TEXT})


async def _drop(_: Sequence[Delta]) -> None:
    """Nobody listens."""
