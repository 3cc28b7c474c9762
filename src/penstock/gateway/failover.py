"""The attempts of one call: until something of an answer was told, another target may be asked.

A stream is told from its first content on, a whole answer once it is complete. What comes before that is held
back (upstream.py), so a client never sees a piece of an attempt that failed. Which target is next, and when,
is routing/failover.py's to say; how many such attempts a route may cost, its budget's.
"""

import asyncio
import random
from collections.abc import Sequence

import structlog

from penstock.gateway import hedge, upstream
from penstock.gateway.attempts import unsent
from penstock.gateway.deps import Deps
from penstock.gateway.upstream import Emit
from penstock.gateway.wishes import within
from penstock.routing.failover import Tried, next_step, steer
from penstock.routing.select import weighted
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Route, Target
from penstock.types.errors import (
    ModelLoading,
    NoHealthyTarget,
    PenstockError,
    QueueFull,
    QueueTimeout,
    UpstreamError,
)
from penstock.types.requests import Request

_log = structlog.get_logger("penstock.gateway")


async def run(call: Call, request: Request, first: Target, *, route: Route, deps: Deps, emit: Emit) -> None:
    """Answers `request` from `first` or from who takes its place. Raises what the last attempt failed by."""
    if route.is_plain:  # nearly all calls
        call.labels, call.deployment = first.labels, first.deployment.name
        await upstream.run(call, request, deployment=first.deployment, route=route, deps=deps, emit=emit)
        return
    if not route.has_more:
        call.labels, call.deployment = first.labels, first.deployment.name
        await _send(call, request, first.deployment, route=route, deps=deps, emit=emit)
        return
    deps.retries.called(route.name)
    if route.hedge is not None:
        deps.hedges.called(route.name, route.hedge.share)
    tried: list[Tried] = []

    def down(name: str) -> bool:
        return deps.breakers.is_down(name, deps.clock.monotonic())

    def choose(targets: Sequence[Target]) -> Target:
        if route.is_choosy:
            return deps.balance.again(call, request, route, targets)
        return weighted(targets, random.random())  # noqa: S311 - a traffic split

    async def attempt(call: Call, target: Target, route: Route, emit: Emit) -> None:
        await _attempt(call, request, target, route=route, deps=deps, emit=emit)

    target = steer(first, route, call.operation, down, choose)
    while True:
        call.labels, call.deployment = target.labels, target.deployment.name
        try:
            if route.hedge is None:
                await attempt(call, target, route, emit)
            else:
                await hedge.race(
                    call,
                    target,
                    route=route,
                    deps=deps,
                    emit=emit,
                    attempt=attempt,
                    tried=tried,
                )
        except PenstockError as error:
            if call.is_stream and call.first_content_s is not None:
                raise
            tried.append(Tried(target, error))
            roll = random.random()  # noqa: S311 - likewise
            step = next_step(route, call.operation, tried, down, choose=choose, roll=roll)
            left_s = (call.limit_s or route.timeouts.total_s) - (deps.clock.monotonic() - call.started_s)
            if step is None or step.pause_s >= left_s or not deps.retries.take(route.name):
                call.unsent = unsent(call, tried)
                raise _last_word(tried, error) from error
            _log.info(
                "attempt failed",
                id=call.id,
                deployment=target.deployment.name,
                code=error.code,
                detail=error.detail,
                next=step.target.deployment.name,
            )
        else:
            return
        if step.pause_s:
            await asyncio.sleep(step.pause_s)
        if call.limit_s is not None:
            route = within(route, left_s - step.pause_s)
        target = step.target
        call.usage, call.first_content_s, call.dialect, call.dropped = None, None, "", ()


def _last_word(tried: Sequence[Tried], error: PenstockError) -> PenstockError:
    """What the client hears: of several targets that failed us, not what the last one failed by."""
    names = {one.target.deployment.name for one in tried}
    if len(names) == 1 or not isinstance(error, UpstreamError | ModelLoading | QueueFull | QueueTimeout):
        return error
    waits = [one.error.retry_after_s for one in tried if one.error.retry_after_s is not None]
    return NoHealthyTarget(
        f"None of the {len(names)} targets that serve this model could answer.",
        retry_after_s=min(waits, default=None),
        detail="; ".join(f"{one.target.deployment.name}: {one.error.code}" for one in tried),
    )


async def _attempt(
    call: Call, request: Request, target: Target, *, route: Route, deps: Deps, emit: Emit
) -> None:
    """One target asked, and what came of it noted in its breaker."""
    breaker = deps.breakers.of(target.deployment.name)
    breaker.began(deps.clock.monotonic())
    call.is_follower = False
    try:
        await _send(call, request, target.deployment, route=route, deps=deps, emit=emit)
    except PenstockError as error:
        if call.is_follower:  # one answer to a batch is one sample, not one for each of its members
            breaker.left()
        else:
            breaker.failed(error, deps.clock.monotonic())
        raise
    except BaseException:  # the client left, or we erred: nothing is known of the upstream
        breaker.left()
        raise
    if call.is_follower:
        breaker.left()
    else:
        breaker.succeeded(deps.clock.monotonic())


async def _send(
    call: Call, request: Request, deployment: Deployment, *, route: Route, deps: Deps, emit: Emit
) -> None:
    """One attempt, which others may share where the deployment batches, and which waits where it is full."""

    async def send(call: Call, request: Request, route: Route, emit: Emit) -> None:
        async def attempt(emit: Emit) -> None:
            await upstream.run(call, request, deployment=deployment, route=route, deps=deps, emit=emit)

        if deployment.concurrency is None:
            await attempt(emit)
        else:
            await deps.queues.of(deployment).run(call, request, emit, attempt)

    await deps.batcher.run(call, request, deployment=deployment, route=route, emit=emit, send=send)
