"""What is tried after an attempt that failed before anything of it was told. Pure: a function of values.

    the attempt failed by              another replica  another target  the same again
    ---------------------------------  ---------------  --------------  --------------------------------------
    no connection, 5xx, cut, garbage   at once          at once         after a pause, `retries` times
    429                                at once          at once         after its retry-after, if short
    timeout                            at once          at once         no: it had its time
    model loading, a queue             no               at once         no: it had its time
    our credentials, an unknown model  no               at once         no
    a parameter it cannot be told      no               at once         no
    a context that is too short        no               one with more   no
    the caller's own mistakes          no               no              no

First comes one other replica of the same deployment, then the other targets of the route, by its strategy,
then those of its further tiers, in their order, then the replicas that are left; each once. Those that are
down (breaker.py) come after all that are not.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock.types.deployment import Deployment, Route, Target
from penstock.types.errors import (
    ContextLengthExceeded,
    ModelLoading,
    PenstockError,
    QueueFull,
    QueueTimeout,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamCut,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.requests import Operation

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0  # but for a retry-after
LONGEST_WAIT_S = 10.0  # of a retry-after that is waited for

_ELSEWHERE = (
    UpstreamError,
    ModelLoading,
    QueueFull,
    QueueTimeout,
    UnsupportedParameter,
    ContextLengthExceeded,
)
_AGAIN = (UpstreamUnavailable, UpstreamCut, UpstreamInvalid, UpstreamRateLimited)
_NOT_AGAIN = (UpstreamTimeout, UpstreamCredentials)
_OTHER_REPLICA = (*_AGAIN, UpstreamTimeout)


Down = Callable[[Deployment], bool]
Choose = Callable[[Sequence[Target]], Target]
Replicas = Callable[[Deployment], Sequence[str]]  # ids of those that are up and were not asked, best first


class Tried(NamedTuple):
    """`replica`: the one that was asked because others of its deployment had failed."""

    target: Target
    error: PenstockError
    replica: str = ""


class Step(NamedTuple):
    target: Target
    pause_s: float = 0.0
    replica: str = ""


def _no_replicas(_: Deployment) -> Sequence[str]:
    return ()


def steer(first: Target, route: Route, operation: Operation, down: Down, choose: Choose) -> Target:
    """Who is asked first: `first`, unless it is down and another is not. `choose`: of several targets."""
    if not down(first.deployment):
        return first
    for tier in (route.targets, *route.tiers):
        up = [t for t in tier if t.weight > 0 and _can(t, operation) and not down(t.deployment)]
        if up:
            return choose(up)
    return first


def next_step(
    route: Route,
    operation: Operation,
    tried: Sequence[Tried],
    down: Down,
    *,
    choose: Choose,
    roll: float,
    replicas: Replicas = _no_replicas,
) -> Step | None:
    """None when nothing is left that could help. `roll`: a number in [0, 1)."""
    last = tried[-1]
    if not isinstance(last.error, _ELSEWHERE):
        return None
    names = {one.target.deployment.name for one in tried}
    own = replicas(last.target.deployment) if isinstance(last.error, _OTHER_REPLICA) else ()
    if own and sum(one.target is last.target for one in tried) == 1:
        return Step(last.target, replica=own[0])

    def is_left(target: Target) -> bool:
        return (
            target.weight > 0
            and target.deployment.name not in names
            and _can(target, operation)
            and (not isinstance(last.error, ContextLengthExceeded) or _takes_more(target, last.target))
        )

    left = [[target for target in tier if is_left(target)] for tier in (route.targets, *route.tiers)]
    for is_up in (True, False):
        for tier in left:
            if best := [target for target in tier if down(target.deployment) is not is_up]:
                return Step(choose(best))
        if own:
            return Step(last.target, replica=own[0])
    plain = [one.target.deployment.name for one in tried if not one.replica]
    repeated = len(plain) - len(set(plain))
    if repeated >= route.retries or not isinstance(last.error, _AGAIN) or isinstance(last.error, _NOT_AGAIN):
        return None
    pause_s = _pause(last.error, repeated, roll)
    return None if pause_s is None else Step(last.target, pause_s)


def _can(target: Target, operation: Operation) -> bool:
    return operation in target.deployment.operations


def _takes_more(target: Target, than: Target) -> bool:
    """Whether its context is longer, as far as that is known."""
    more, less = target.deployment.max_context, than.deployment.max_context
    return more is None or less is None or more > less


def _pause(error: PenstockError, repeated: int, roll: float) -> float | None:
    """Exponential with full jitter; None when the upstream asks for more time than a client would wait."""
    if error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else None
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**repeated)
    return longest * roll
