"""Who is told what was tried: operators, in the error itself. Everybody else hears only that it failed.

An attempt is told by its deployment, its code and its time: addresses, credentials and what an upstream said
stay in the log.
"""

import copy
from collections.abc import Sequence

from penstock.routing.failover import Tried
from penstock.types.call import Attempt, Call
from penstock.types.errors import Failure, NoHealthyTarget, PenstockError, UpstreamError


def told_to(error: PenstockError, call: Call) -> PenstockError:
    """`error` as the caller may see it. A copy where it says more: others may be told of the same error."""
    if call.key is None or not call.key.is_operator:
        return error
    failures = [*map(_failure, call.attempts), *call.unsent]
    is_worth_it = len(failures) > 1 and isinstance(error, UpstreamError)
    if not is_worth_it and not isinstance(error, NoHealthyTarget):
        return error
    told = copy.copy(error)
    told.attempts = failures
    return told


def unsent(call: Call, tried: Sequence[Tried]) -> tuple[Failure, ...]:
    """Of what was tried, the targets that made no attempt of it: full, or not ready."""
    sent = {id(attempt.error) for attempt in call.attempts}
    return tuple(
        Failure(one.target.deployment.name, one.error.code)
        for one in tried
        if sent.isdisjoint((id(one.error), id(one.error.__cause__)))  # of a batch each member has a copy
    )


def _failure(attempt: Attempt) -> Failure:
    ended_s = attempt.started_s if attempt.ended_s is None else attempt.ended_s
    code = attempt.error.code if attempt.error is not None else attempt.outcome or "ok"
    return Failure(attempt.deployment, code, round((ended_s - attempt.started_s) * 1000, 1))
