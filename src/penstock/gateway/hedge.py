"""Two attempts at once: who has something to tell first answers, the other is cancelled.

    the first attempt                       the second
    --------------------------------------  ----------------------------------------------------------
    has content within the delay            is not made
    fails within it                         is not made: failover goes on as always
    is silent beyond it                     is made, if there is another target that is up, and budget
    is first all the same                   is cancelled, at once
    is last                                 answers; the first is cancelled

Each attempt runs in a task and on a Call of its own, because an attempt writes into it; the winner's becomes
the client's with its first delta. A client that leaves cancels both.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.gateway.balance import candidates_of
from penstock.gateway.deps import Deps
from penstock.lib import tasks
from penstock.routing import select
from penstock.routing.failover import Tried
from penstock.routing.select import Candidate
from penstock.types.call import Call
from penstock.types.deployment import Route, Target
from penstock.types.errors import PenstockError
from penstock.types.events import Delta

Emit = Callable[[Sequence[Delta]], Awaitable[None]]
Attempt = Callable[[Call, Target, Route, Emit], Awaitable[None]]

_WON = (
    "labels",
    "deployment",
    "first_content_s",
    "dialect",
    "dropped",
    "queue_position",
    "queued_s",
    "usage",
)


async def race(
    call: Call, first: Target, *, route: Route, deps: Deps, emit: Emit, attempt: Attempt, tried: list[Tried]
) -> None:
    """`attempt` at `first`, and maybe at another. Raises what the first failed by, if both did; what else
    failed is added to `tried`.
    """
    runners = _Race(call, route, emit, attempt)
    began_s = deps.clock.monotonic()
    try:
        runners.start(first, call.replica)
        if not await runners.is_over(_delay_s(route, deps)):
            other = _other(call, first, runners.first_replica, route, deps)
            if other is not None and deps.hedges.take(route.name):
                runners.start(other.target, other.id)
            await runners.is_over(None)
        await runners.finish(tried)
    finally:
        await runners.stop()
        if call.first_content_s is not None:
            deps.delays.saw(route.name, call.first_content_s - began_s)


class _Runner:
    """One attempt on its way."""

    def __init__(self, call: Call, target: Target) -> None:
        self.call = call
        self.target = target
        self.task: asyncio.Task[None] | None = None
        self.error: Exception | None = None
        self.is_done = False


class _Race:
    def __init__(self, call: Call, route: Route, emit: Emit, attempt: Attempt) -> None:
        self._call = call
        self._route = route
        self._emit = emit
        self._attempt = attempt
        self._runners: list[_Runner] = []
        self._winner: _Runner | None = None
        self._tasks: tasks.Tasks = set()
        self._decided = asyncio.Event()  # somebody has something to tell, or nobody runs any more

    def start(self, target: Target, replica: str) -> None:
        own = msgspec.structs.replace(self._call, attempts=[], replica=replica)
        own.labels, own.deployment = target.labels, target.deployment.name
        runner = _Runner(own, target)
        self._runners.append(runner)
        runner.task = tasks.spawn(self._tasks, self._run(runner), "attempt")

    @property
    def first_replica(self) -> str:
        """Where the first attempt is: the id of one of ours."""
        return self._runners[0].call.replica

    async def is_over(self, within_s: float | None) -> bool:
        """Whether it is known who answers, or that nobody does."""
        try:
            async with asyncio.timeout(within_s):
                await self._decided.wait()
        except TimeoutError:
            return False
        return True

    async def finish(self, tried: list[Tried]) -> None:
        winner = self._winner
        if winner is not None:
            for runner in self._runners:
                if runner is not winner and runner.task is not None:
                    await tasks.cancel_and_wait(runner.task)
            if winner.task is not None:
                await asyncio.wait((winner.task,))
            if winner.error is not None:
                raise winner.error
            return
        first, *others = self._runners
        tried += [
            Tried(other.target, other.error, other.call.replica)
            for other in others
            if isinstance(other.error, PenstockError)
        ]
        if first.error is not None:
            raise first.error

    async def stop(self) -> None:
        """No attempt is left behind, on whatever way out, and each is accounted: also where the client
        leaves meanwhile, which is raised after that.
        """
        left: asyncio.CancelledError | None = None
        for runner in self._runners:
            if runner.task is not None:
                runner.task.cancel()
        while running := [one.task for one in self._runners if one.task is not None and not one.task.done()]:
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as exc:
                left = exc
        for runner in self._runners:
            if runner is self._winner:
                self._call.usage = runner.call.usage  # also of a client that left half-way
            else:
                for attempt in runner.call.attempts:
                    attempt.is_told = False
                    if attempt.error is None and self._winner is not None:
                        attempt.outcome = "outrun"
                self._call.attempts += runner.call.attempts
        if left is not None:
            raise left

    async def _run(self, runner: _Runner) -> None:
        async def emit(deltas: Sequence[Delta]) -> None:
            if self._winner is None:
                self._win(runner)
            if self._winner is runner:
                await self._emit(deltas)
            else:
                # The other was first. It is cancelled, too, but a library may keep that to itself:
                # asyncio.wait_for of Python 3.11 does.
                raise asyncio.CancelledError

        try:
            await self._attempt(runner.call, runner.target, self._route, emit)
        except Exception as exc:  # noqa: BLE001 - raised where the race ends, if this one decides it
            runner.error = exc
        finally:
            runner.is_done = True
            if all(one.is_done for one in self._runners):
                self._decided.set()

    def _win(self, runner: _Runner) -> None:
        self._winner = runner
        for name in _WON:
            setattr(self._call, name, getattr(runner.call, name))
        self._call.attempts += runner.call.attempts
        self._decided.set()


def _delay_s(route: Route, deps: Deps) -> float | None:
    hedge = route.hedge
    if hedge is None:
        return None
    return hedge.after_s if hedge.after_s is not None else deps.delays.late_s(route.name)


def _other(call: Call, first: Target, replica: str, route: Route, deps: Deps) -> Candidate | None:
    """Of the others that are up, the one with the least to do."""
    others = [
        one
        for one in candidates_of(route, deps.fleet)
        if (one.target is not first or (one.id and one.id != replica))
        and one.target.when == first.when  # of a route by difficulty
        and call.operation in one.target.deployment.operations
        and deps.health.is_up(one)
    ]
    if not others:
        return None
    rolls = (random.random(), random.random())  # noqa: S311 - a traffic split
    return select.least_loaded(others, deps.balance.load, rolls)
