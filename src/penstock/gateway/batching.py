"""Small embedding and rerank requests that are on their way to one deployment together are sent as one.

A lane holds the requests that may be one (merge.py): same deployment, same options, same timeouts.
Where there is a queue, also the same class and deadline: a batch waits there as its first member would.

    a request comes to a lane                  what happens
    -----------------------------------------  --------------------------------------------------------------
    where nothing is in flight                 it is sent at once, as it came
    where something is                         it waits, until the first of these:
                                                 nothing is in flight any more
                                                 the first that waits did so for `window_s`
                                                 the batch is full (`texts`, `tokens`)
    too large to share, or of no lane          it is sent as it came

So a request without company never waits, and the busier the deployment, the larger the batches: group commit,
with a bound. A batch of one is sent by its own walk, as it came.

    the batch                                  its members
    -----------------------------------------  --------------------------------------------------------------
    is answered                                get their parts
    is refused (InvalidRequest), or its        are each sent alone, as they came: only the guilty one hears of
    answer is garbage (UpstreamInvalid)        it. One text may be what no model can make a vector of
    fails otherwise                            hear of it; each fails over as its route says
    is left by a member                        go on; when all have left, the batch is cut

A batch runs in a task of its own, because it may outlive any of its members.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import cast

import msgspec

from penstock.gateway import merge
from penstock.gateway.queueing import DEADLINE_HEADER, PRIORITY_HEADER
from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.telemetry.metrics import Metrics
from penstock.types.call import Call
from penstock.types.deployment import Batching, Deployment, Route
from penstock.types.errors import InvalidRequest, PenstockError, UpstreamInvalid
from penstock.types.events import Delta
from penstock.types.money import cost_of
from penstock.types.requests import Request, RerankRequest

Emit = Callable[[Sequence[Delta]], Awaitable[None]]
Send = Callable[[Call, Request, Route, Emit], Awaitable[None]]  # one attempt (upstream.run)

SHORTEST_TOTAL_S = 0.001  # for what has no time left: it is told so by the upstream's deadline


class Batcher:
    """One per process; it knows nothing of a deployment that is idle."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._lanes: dict[Hashable, _Lane] = {}

    async def run(
        self, call: Call, request: Request, *, deployment: Deployment, route: Route, emit: Emit, send: Send
    ) -> None:
        """`send`, for this request or for several. Raises what it raises."""
        batching = deployment.batching
        like = (
            None if batching is None or _is_paid_by_search(deployment, request) else merge.likeness(request)
        )
        if batching is None or like is None:
            await send(call, request, route, emit)
            return
        small = cast("merge.Small", request)
        size = merge.size(small)
        if size.texts >= batching.texts or size.tokens >= batching.tokens:
            await send(call, request, route, emit)
            return
        # the lane keeps the deployment, so that its id is not another's meanwhile
        key = (id(deployment), route.timeouts, route.strict, like, _standing(call, deployment))
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(
                deployment, batching, self._clock, self._metrics, lambda: self._lanes.pop(key)
            )
        if not lane.in_flight:
            lane.departs(1)
            try:
                await send(call, request, route, emit)
            finally:
                lane.lands()
            return
        now_s = self._clock.monotonic()
        member = _Member(call, small, size, route=route, send=send, since_s=now_s)
        lane.join(member)
        try:
            await member.turn
        except asyncio.CancelledError:
            lane.leave(member)
            raise
        if member.is_alone:
            try:
                await send(call, request, _less(route, member.spent_s), emit)
            finally:
                lane.lands()
        else:
            await emit((member.outcome(),))


class _Member:
    """A request that waits in a lane, or for its batch.

    waiting   `turn` is not done, no `batch`
    sent      `turn` is not done, `batch` is set
    told      `turn` is done: it `is_alone` and sends itself, or there is an `answer` or an `error`
    """

    def __init__(
        self,
        call: Call,
        request: merge.Small,
        size: merge.Size,
        *,
        route: Route,
        send: Send,
        since_s: float,
    ) -> None:
        self.call = call
        self.request = request
        self.size = size
        self.route = route
        self.send = send
        self.since_s = since_s
        self.spent_s = 0.0  # of its total, on waiting and on a batch that was refused
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batch: _Batch | None = None
        self.is_alone = False
        self.answer: Delta | None = None
        self.error: Exception | None = None

    def outcome(self) -> Delta:
        """Its part of the batch's answer. Raises what the batch failed by."""
        self.note_attempts()
        if self.answer is not None:
            self.call.usage = self.answer.usage
            attempt = self.call.attempts[-1]
            attempt.usage, attempt.is_told = self.answer.usage, True
            return self.answer
        if isinstance(self.error, PenstockError):
            raise copy.copy(self.error) from self.error  # one of its own: a traceback grows with each raise
        raise RuntimeError("a bug in the walk of a batch") from self.error

    def note_attempts(self) -> None:
        """Those of its batch are its own, but for what they used; the two let each other go."""
        if self.batch is None:
            return
        call, shared = self.call, self.batch.call
        self.batch = None
        for attempt in shared.attempts:
            own = msgspec.structs.replace(attempt, label=call.labels.deployment, usage=None, is_told=False)
            call.attempts.append(own)
        call.first_content_s, call.dropped = shared.first_content_s, shared.dropped
        call.queue_position = shared.queue_position
        call.queued_s += shared.queued_s


class _Batch:
    """Several requests sent as one. `call` notes its attempts; nobody accounts for it."""

    def __init__(self, members: Sequence[_Member], now_s: float) -> None:
        first = members[0].call
        self.members = members
        self.left = len(members)  # who still waits for it
        self.waited_s = max(now_s - member.since_s for member in members)
        self.task: asyncio.Task[None] | None = None
        self.call = Call(
            first.id,
            first.path,
            first.operation,
            first.started_s,
            first.created,
            key=first.key,
            model=first.model,
            deployment=first.deployment,
            labels=first.labels,
            headers=first.headers,
            body_bytes=sum(member.call.body_bytes for member in members),
            limit_s=first.limit_s,
        )

    async def run(self) -> list[Delta]:
        """The members' answers. Raises what the attempt raises."""
        first = self.members[0]
        requests = [member.request for member in self.members]
        got: list[Delta] = []

        async def keep(deltas: Sequence[Delta]) -> None:
            got.extend(deltas)

        await first.send(self.call, merge.merge(requests), _less(first.route, self.waited_s), keep)
        (answer,) = got
        return [*merge.split(requests, answer)]

    def wake(self) -> None:
        """Tells who still waits; the attempt is the first one's to count."""
        there = [member for member in self.members if not member.turn.done()]
        for position, member in enumerate(there):
            member.call.is_follower = position > 0
            member.turn.set_result(None)


class _Lane:
    """Requests that may be one. There is one exactly as long as something of it is in flight."""

    def __init__(
        self,
        deployment: Deployment,
        batching: Batching,
        clock: Clock,
        metrics: Metrics,
        close: Callable[[], object],
    ) -> None:
        self.in_flight = 0  # requests to the upstream
        self._deployment = deployment
        self._batching = batching
        self._clock = clock
        self._metrics = metrics
        self._close = close
        self._waiting: list[_Member] = []
        self._texts = self._tokens = 0  # of those
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: tasks.Tasks = set()

    def departs(self, requests: int) -> None:
        self.in_flight += 1
        self._metrics.batch_sent(self._deployment.name, requests)

    def lands(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._send()
        if not self.in_flight:
            self._close()

    def join(self, member: _Member) -> None:
        """It waits from now on, until it is woken."""
        limits, size = self._batching, member.size
        if self._texts + size.texts > limits.texts or self._tokens + size.tokens > limits.tokens:
            self._send()
        self._waiting.append(member)
        self._texts += size.texts
        self._tokens += size.tokens
        if self._texts == limits.texts or self._tokens == limits.tokens:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(limits.window_s, self._send)

    def leave(self, member: _Member) -> None:
        """Its client has gone, or its time is over."""
        if member.is_alone:
            self.lands()
        elif (batch := member.batch) is not None:
            member.note_attempts()
            batch.left -= 1
            if not batch.left and batch.task is not None:
                batch.task.cancel()
        elif member in self._waiting:
            self._waiting.remove(member)
            self._texts -= member.size.texts
            self._tokens -= member.size.tokens
            if not self._waiting:
                self._stop_timer()

    def _send(self) -> None:
        """All that waits, now, but for who is about to leave."""
        members = [member for member in self._waiting if not member.turn.done()]
        self._waiting = []
        self._texts = self._tokens = 0
        self._stop_timer()
        now_s = self._clock.monotonic()
        if len(members) == 1:
            members[0].spent_s = now_s - members[0].since_s
            self._send_alone(members[0])
        elif members:
            self.departs(len(members))
            batch = _Batch(members, now_s)
            for member in members:
                member.batch = batch
            batch.task = tasks.spawn(self._tasks, self._run(batch), "batch")
            # no `finally` inside: a task that is cancelled before its first step never gets there
            batch.task.add_done_callback(lambda _: self.lands())

    def _send_alone(self, member: _Member) -> None:
        self.departs(1)
        member.is_alone = True
        member.turn.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self, batch: _Batch) -> None:
        try:
            answers = await batch.run()
        except (InvalidRequest, UpstreamInvalid):
            self._metrics.batch_refused(self._deployment.name)
            now_s = self._clock.monotonic()
            began_s = batch.call.attempts[-1].started_s if batch.call.attempts else now_s
            for member in batch.members:
                if not member.turn.done():
                    member.batch = None  # that attempt failed by who knows whom
                    member.spent_s = batch.waited_s + now_s - began_s
                    self._send_alone(member)
        except Exception as exc:  # noqa: BLE001 - each member raises it, or is a bug of its own walk
            for member in batch.members:
                member.error = exc
            batch.wake()
        else:
            for member, answer in zip(batch.members, answers, strict=True):
                member.answer = answer
                if member.turn.done():  # it has left, and its part was made all the same
                    self._waste(member, answer)
            batch.wake()

    def _waste(self, member: _Member, answer: Delta) -> None:
        price, usage = self._deployment.price, answer.usage
        cost = cost_of(price, usage) if price is not None and usage is not None else None
        if cost is not None:
            self._metrics.wasted(member.call.labels.deployment, cost.total)


def _is_paid_by_search(deployment: Deployment, request: Request) -> bool:
    """One search for several callers would have one payer: it cannot be divided."""
    price = deployment.price
    return request.__class__ is RerankRequest and price is not None and bool(price.query)


def _standing(call: Call, deployment: Deployment) -> Hashable:
    """What the deployment's queue asks of a request."""
    if deployment.concurrency is None:
        return None
    own = None if call.key is None else call.key.priority
    return own, call.headers.get(PRIORITY_HEADER), call.headers.get(DEADLINE_HEADER)


def _less(route: Route, spent_s: float) -> Route:
    """The same with what is left of its total time."""
    left_s = max(SHORTEST_TOTAL_S, route.timeouts.total_s - spent_s)
    timeouts = msgspec.structs.replace(route.timeouts, total_s=left_s)
    return msgspec.structs.replace(route, timeouts=timeouts)
