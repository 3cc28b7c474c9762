"""Waiting for a deployment whose `concurrency` is used up. Who goes next is routing/admission.py's to say.

    admitted at once     as if there were no queue
    waiting              on a future, until a slot is its own, its time is over, or somebody more important
                         needs its place in the queue
    preempted            its attempt is cancelled before anything of it was told, and it waits again; what the
                         attempt cost is wasted
    turned away          QueueFull, QueueTimeout, DeadlineExceeded; nothing was sent, so another target may
                         answer (routing/failover.py)

The client's wishes, each for one request, by header:

    x-penstock-priority  a class no higher than the key's own
    x-penstock-deadline  seconds after which an answer that has not begun is of no use; so is one after
                         x-penstock-timeout (wishes.py)
"""

import asyncio
import math
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence

from penstock.lib.clock import Clock
from penstock.routing.admission import Admission, Limits, Offer, Outcome, Policy, Priority, Refusal, Ticket
from penstock.telemetry.metrics import DURATION_BUCKETS_S, Histogram, QueueRow
from penstock.types.call import Call
from penstock.types.deployment import Deployment
from penstock.types.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PenstockError,
    PermissionDenied,
    QueueFull,
    QueueTimeout,
)
from penstock.types.events import Delta
from penstock.types.requests import Request

PRIORITY_HEADER = b"x-penstock-priority"
DEADLINE_HEADER = b"x-penstock-deadline"
USUAL_ANSWER = 256  # tokens, where the client sets no limit; what it sets it seldom uses up
BYTES_PER_TOKEN = 4
NO_TENANT = ""
POLICY = Policy(headroom=(0.0, 0.0, 2.5, 2.5))
UNKNOWN_WAIT_S = 1.0  # what one who is turned away is told to wait while nothing was measured

Emit = Callable[[Sequence[Delta]], Awaitable[None]]
Send = Callable[[Emit], Awaitable[None]]  # one attempt


class Queues:
    """One per process; a queue for each deployment that has a `concurrency`. `share`: how much of what all
    processes may have together is this one's.
    """

    def __init__(self, clock: Clock, share: Callable[[int], int] = lambda amount: amount) -> None:
        self._clock = clock
        self._share = share
        self._by_name: dict[str, Queue] = {}

    def of(self, deployment: Deployment) -> "Queue":
        queue = self._by_name.get(deployment.name)
        if queue is None:
            queue = self._by_name[deployment.name] = Queue(deployment, self._clock, self._share)
        return queue

    def follow(self, deployments: Iterable[Deployment]) -> None:
        """What is configured from now on, after a reload."""
        for deployment in deployments:
            queue = self._by_name.get(deployment.name)
            if queue is not None:
                queue.follow(deployment)

    def report(self) -> Iterable[QueueRow]:
        """For a scrape, which reads it in another thread."""
        return [queue.row() for queue in list(self._by_name.values())]


class Queue:
    """Of one deployment."""

    def __init__(self, deployment: Deployment, clock: Clock, share: Callable[[int], int]) -> None:
        self._name = deployment.name
        self._clock = clock
        self._share = share
        self._room = self._room_of(deployment)
        self._admission = Admission(*self._room, POLICY)
        self._places: dict[Ticket, _Place] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf
        self._waits = {priority: Histogram() for priority in Priority}
        self._refused: dict[tuple[str, str], int] = {}  # (class, why)

    def _room_of(self, deployment: Deployment) -> tuple[int, Limits]:
        share, plan = self._share, deployment.queue
        limits = Limits(share(plan.waiting), share(plan.size_bytes), plan.wait_s)
        return share(deployment.concurrency or 1), limits

    def follow(self, deployment: Deployment) -> None:
        room = self._room_of(deployment)
        if deployment.concurrency is not None and room != self._room:
            self._room = room
            slots, limits = room
            self._admit(self._admission.resize(slots, self._clock.monotonic(), limits))

    async def run(self, call: Call, request: Request, emit: Emit, send: Send) -> None:
        """`send`, once there is a slot for it; again, if it was preempted."""
        ticket = ticket_of(call, request, self._clock.monotonic())
        place = self._places[ticket] = _Place()

        async def told(deltas: Sequence[Delta]) -> None:
            if not place.is_started:  # nobody takes its slot any more
                place.is_started = True
                self._admission.started(ticket)
            await emit(deltas)

        try:
            await self._enter(ticket, place, call)
            while not await self._sent(place, send, told, call):
                await self._wait(ticket, place, call)
        finally:
            del self._places[ticket]
            if call.usage is not None:
                self._admission.settle(ticket, call.usage.total_tokens)
            self._admit(self._admission.finished(ticket, self._clock.monotonic()))

    async def _enter(self, ticket: Ticket, place: "_Place", call: Call) -> None:
        offer = self._admission.offer(ticket, self._clock.monotonic())
        if offer.preempted is not None:
            self._places[offer.preempted].preempt()
        if offer.displaced is not None:
            self._turn_away(offer.displaced, self._full(offer.displaced, Refusal.FULL))
        match offer.outcome:
            case Outcome.REFUSED:
                raise self._refusal(ticket, offer)
            case Outcome.WAITING:
                call.queue_position = offer.position
                place.wait()
                await self._wait(ticket, place, call)
            case Outcome.ADMITTED:
                self._note_wait(ticket, 0.0)

    async def _wait(self, ticket: Ticket, place: "_Place", call: Call) -> None:
        """Until it is admitted. Raises why it is not."""
        since_s = self._clock.monotonic()
        self._arm()
        try:
            while True:
                turn = place.turn
                await turn
                if turn is place.turn:  # else it was preempted before it could go
                    break
        finally:
            waited_s = self._clock.monotonic() - since_s
            call.queued_s += waited_s
        self._note_wait(ticket, waited_s)

    async def _sent(self, place: "_Place", send: Send, emit: Emit, call: Call) -> bool:
        """Whether it came to its end; a preempted one did not."""
        task = place.task = asyncio.current_task()
        before = len(call.attempts)
        try:
            await send(emit)
        except asyncio.CancelledError:
            if not place.is_preempted or task is None or task.uncancel() > 0:
                raise  # the client left, too, or the server stops
            place.is_preempted = False
            for attempt in call.attempts[before:]:
                attempt.outcome = "preempted"
            return False
        finally:
            place.task = None
        return True

    # -- those who wait

    def _admit(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self._places[ticket].turn_comes()

    def _turn_away(self, ticket: Ticket, error: PenstockError) -> None:
        place = self._places.get(ticket)
        if place is not None:
            place.fail(error)

    def _arm(self) -> None:
        """One timer, for the first whose time will be over."""
        next_s = self._admission.next_expiry_s()
        if next_s is None or next_s >= self._timer_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = next_s
        in_s = max(0.0, next_s - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(in_s, self._expire)

    def _expire(self) -> None:
        self._timer, self._timer_s = None, math.inf
        now_s = self._clock.monotonic()
        for ticket in self._admission.expire(now_s):
            if ticket.deadline_s is not None and ticket.deadline_s <= now_s:
                self._turn_away(ticket, self._late(ticket))
            else:
                self._turn_away(ticket, self._timeout(ticket))
        self._arm()

    # -- refusals

    def _refusal(self, ticket: Ticket, offer: Offer) -> PenstockError:
        if offer.refusal is Refusal.LATE:
            return self._late(ticket)
        return self._full(ticket, offer.refusal or Refusal.FULL)

    def _full(self, ticket: Ticket, why: Refusal) -> QueueFull:
        self._count(ticket, why)
        return QueueFull(
            f"{self._name} is busy, and too many requests wait for it already.",
            retry_after_s=self._expected_s(ticket),
            detail=f"{self._admission.waiting} wait, {self._admission.waiting_bytes} bytes",
        )

    def _timeout(self, ticket: Ticket) -> QueueTimeout:
        self._count(ticket, "timeout")
        waited_s = self._clock.monotonic() - ticket.arrival_s
        return QueueTimeout(
            f"{self._name} is busy: the request waited {waited_s:.1f} s for its turn.",
            retry_after_s=self._expected_s(ticket),
        )

    def _late(self, ticket: Ticket) -> DeadlineExceeded:
        self._count(ticket, "deadline")
        return DeadlineExceeded(f"{self._name} is busy: the deadline of the request has passed.")

    def _count(self, ticket: Ticket, why: str) -> None:
        key = (ticket.priority.name.lower(), why)
        self._refused[key] = self._refused.get(key, 0) + 1

    def _expected_s(self, ticket: Ticket) -> float:
        expected_s = self._admission.expected_wait_s(ticket)
        return UNKNOWN_WAIT_S if expected_s is None else max(UNKNOWN_WAIT_S, expected_s)

    # -- figures

    def _note_wait(self, ticket: Ticket, waited_s: float) -> None:
        histogram = self._waits[ticket.priority]
        histogram.counts[bisect_left(DURATION_BUCKETS_S, waited_s)] += 1
        histogram.sum += waited_s

    def row(self) -> QueueRow:
        return QueueRow(
            self._name,
            self._admission.running,
            {one.name.lower(): self._admission.waiting_of(one) for one in Priority},
            {one.name.lower(): histogram for one, histogram in self._waits.items()},
            self._refused.copy(),
        )


class _Place:
    """Of one request, while it is in the queue or runs. `turn`: done when it may go on, or must not."""

    __slots__ = ("is_preempted", "is_started", "task", "turn")

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None  # while an attempt of it runs
        self.is_preempted = False
        self.is_started = False
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wait(self) -> None:
        if self.turn.done():
            self.turn = asyncio.get_running_loop().create_future()

    def preempt(self) -> None:
        self.wait()
        if self.task is not None:  # else it was admitted a moment ago and has not sent anything
            self.is_preempted = True
            self.task.cancel()

    def turn_comes(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)

    def fail(self, error: PenstockError) -> None:
        if not self.turn.done():
            self.turn.set_exception(error)


def ticket_of(call: Call, request: Request, now_s: float) -> Ticket:
    """Raises InvalidRequest, PermissionDenied."""
    key = call.key
    own = Priority.DEFAULT if key is None else Priority[key.priority.upper()]
    most: int | None = getattr(request, "max_tokens", None)
    answer = 0 if request.operation not in ("chat", "completion") else min(most or USUAL_ANSWER, USUAL_ANSWER)
    asked_s = deadline_of(call.headers.get(DEADLINE_HEADER), call.started_s)
    limit_s = None if call.limit_s is None else call.started_s + call.limit_s
    deadlines = [one for one in (asked_s, limit_s) if one is not None]
    return Ticket(
        call.id,
        priority_of(call.headers.get(PRIORITY_HEADER), own),
        NO_TENANT if key is None else key.name,
        call.body_bytes / BYTES_PER_TOKEN + answer,
        call.body_bytes,
        now_s,
        min(deadlines, default=None),
    )


def priority_of(asked: bytes | None, own: Priority) -> Priority:
    if asked is None:
        return own
    name = asked.decode("latin-1").strip().lower()
    wanted = next((one for one in Priority if one.name.lower() == name), None)
    header = PRIORITY_HEADER.decode()
    if wanted is None:
        known = ", ".join(one.name.lower() for one in Priority)
        raise InvalidRequest(f"The header {header} is one of {known}.", param=header)
    if wanted < own:
        raise PermissionDenied(
            f"The header {header} asks for {name}; this key goes no higher than {own.name.lower()}.",
            param=header,
        )
    return wanted


def deadline_of(asked: bytes | None, since_s: float) -> float | None:
    """Monotonic seconds."""
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        header = DEADLINE_HEADER.decode()
        raise InvalidRequest(f"The header {header} is a number of seconds above 0.", param=header)
    return since_s + seconds
