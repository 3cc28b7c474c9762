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
from penstock.gateway.batching import SHORTEST_TOTAL_S
from penstock.gateway.deps import Deps
from penstock.gateway.escalation import Escalation
from penstock.gateway.health import is_credential_s
from penstock.gateway.structured import Escalated, SchemaMismatch
from penstock.gateway.upstream import Emit
from penstock.gateway.wishes import is_hurry, within
from penstock.lib.http1.connection import TIMER_SLACK_S
from penstock.routing.breaker import Trial
from penstock.routing.failover import Step, Tried, next_step, steer
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Route, Target
from penstock.types.errors import (
    ModelLoading,
    NoHealthyTarget,
    PenstockError,
    QueueFull,
    QueueTimeout,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
)
from penstock.types.requests import ChatRequest, Request

_log = structlog.get_logger("penstock.gateway")


async def run(call: Call, request: Request, first: Target, *, route: Route, deps: Deps, emit: Emit) -> None:
    """Answers `request` from `first` or from who takes its place. Raises what the last attempt failed by."""
    if route.is_plain:  # nearly all calls
        call.labels, call.deployment = first.labels, first.deployment.name
        await upstream.run(call, request, deployment=first.deployment, route=route, deps=deps, emit=emit)
        return
    if not route.has_more:
        call.labels, call.deployment = first.labels, first.deployment.name
        send = _send if first.deployment.probe is None else attempt
        await send(call, request, first, route=route, deps=deps, emit=emit)
        return
    deps.retries.called(route.name)
    if route.hedge is not None:
        deps.hedges.called(route.name, route.hedge.share)
    tried: list[Tried] = []
    replica = ""
    judge = None
    if route.difficulty is not None and isinstance(request, ChatRequest) and not request.counts_only:
        judge = Escalation(call, request, route.difficulty, route=route, deps=deps, emit=emit)

    def left_s() -> float:
        return (call.limit_s or route.timeouts.total_s) - (deps.clock.monotonic() - call.started_s)

    def choose(targets: Sequence[Target]) -> Target:
        if route.is_choosy:
            return deps.balance.again(call, request, route, targets, deps.health)
        return deps.health.weighted(targets)

    def other_replicas(deployment: Deployment) -> Sequence[str]:
        return deps.health.other_replicas(deployment, {one.replica for one in call.attempts})

    async def one_attempt(call: Call, target: Target, route: Route, emit: Emit) -> None:
        await attempt(call, request, target, route=route, deps=deps, emit=emit)

    down = deps.health.is_down
    if deps.health.is_gentle(route):
        first = choose([one for one in route.targets if call.operation in one.deployment.operations])
    target = steer(first, route, call.operation, down, choose)
    while True:
        call.labels, call.deployment = target.labels, target.deployment.name
        before = len(call.attempts)
        told = emit if judge is None else judge.begin(target)
        try:
            if route.hedge is None:
                await one_attempt(call, target, route, told)
            else:
                await hedge.race(
                    call,
                    target,
                    route=route,
                    deps=deps,
                    emit=told,
                    attempt=one_attempt,
                    tried=tried,
                )
            if judge is not None:
                await judge.end()
        except Escalated as escalated:
            if judge is None:
                raise
            tried.append(Tried(target, UpstreamInvalid("The answer was not good enough."), replica))
            step = Step(judge.next(escalated.verdict))
        except PenstockError as error:
            if call.is_stream and call.first_content_s is not None and not call.held_for:
                raise
            tried.append(Tried(target, error, replica))
            roll = random.random()  # noqa: S311 - likewise
            after = next_step(
                route, call.operation, tried, down, choose=choose, roll=roll, replicas=other_replicas
            )
            if (
                after is None
                or after.pause_s + TIMER_SLACK_S >= left_s()  # a timer that fired early leaves no time
                or (judge is not None and judge.is_enough(after.target))
                or (len(call.attempts) > before and not deps.retries.take(route.name))  # unsent is no load
            ):
                if judge is not None and await judge.give_kept():
                    return
                call.unsent = unsent(call, tried)
                raise _last_word(tried, error) from error
            step = after
            _log.info(
                "attempt failed",
                id=call.id,
                deployment=target.deployment.name,
                code=error.code,
                detail=error.detail,
                next=step.replica or step.target.deployment.name,
            )
        else:
            return
        if step.pause_s:
            await asyncio.sleep(step.pause_s)
        if call.limit_s is not None:
            route = within(route, max(SHORTEST_TOTAL_S, left_s()))
        target, replica = step.target, step.replica
        call.replica = replica
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
        detail="; ".join(_for_the_log(one) for one in tried),
    )


def _for_the_log(one: Tried) -> str:
    why = f" ({one.error.detail})" if one.error.detail else ""
    return f"{one.target.deployment.name}: {one.error.code}{why}"


async def attempt(
    call: Call, request: Request, target: Target, *, route: Route, deps: Deps, emit: Emit
) -> None:
    """One target asked, and what came of it noted in its breaker."""
    trial = deps.health.began(target.deployment)
    before = len(call.attempts)
    call.is_follower = False
    try:
        await _send(call, request, target, route=route, deps=deps, emit=emit)
    except (SchemaMismatch, Escalated):  # it answered, whatever was wanted of its answer
        deps.health.succeeded(trial)
        raise
    except PenstockError as error:
        is_sent = len(call.attempts) > before
        # one answer to a batch is one sample, not one for each of its members
        if (
            call.is_follower
            or _is_no_fault_of(target.deployment, error, is_sent=is_sent)
            or isinstance(error, upstream.Unfinished)
            or (is_sent and _is_hurry(call, trial, deps))
        ):
            trial.left()
        else:
            deps.health.failed(trial, error)
        raise
    except BaseException:  # the client left, or we erred: nothing is known of the upstream
        trial.left()
        raise
    if call.is_follower:
        trial.left()
    else:
        deps.health.succeeded(trial)


def _is_hurry(call: Call, trial: Trial, deps: Deps) -> bool:
    return is_hurry(call, call.attempts[-1].started_s, trial.answered_s, deps.clock.monotonic())


def _is_no_fault_of(deployment: Deployment, error: PenstockError, *, is_sent: bool) -> bool:
    """Also where one of its replicas or credentials is to blame: that has been noted (upstream.py)."""
    if not is_sent and isinstance(error, UpstreamRateLimited):
        return True  # by a limit of ours, which a smaller request may not meet
    if not deployment.has_parts:
        return False
    return is_sent if deployment.pool is not None else is_credential_s(error)


async def _send(
    call: Call, request: Request, target: Target, *, route: Route, deps: Deps, emit: Emit
) -> None:
    """One attempt, which others may share where the deployment batches, and which waits where it is full."""
    deployment = target.deployment

    async def send(call: Call, request: Request, route: Route, emit: Emit) -> None:
        async def run_once(emit: Emit) -> None:
            left = route  # of the client's time, after the wait
            if call.limit_s is not None:
                over_s = call.started_s + call.limit_s
                left = within(route, max(SHORTEST_TOTAL_S, over_s - deps.clock.monotonic()))
            await upstream.run(call, request, deployment=deployment, route=left, deps=deps, emit=emit)

        if deployment.concurrency is None:
            await upstream.run(call, request, deployment=deployment, route=route, deps=deps, emit=emit)
        else:
            await deps.queues.of(deployment).run(call, request, emit, run_once)

    if not deployment.claims:
        await deps.batcher.run(call, request, deployment=deployment, route=route, emit=emit, send=send)
        return
    async with deps.reservations.of_attempt(call, request, deployment):
        await deps.batcher.run(call, request, deployment=deployment, route=route, emit=emit, send=send)
