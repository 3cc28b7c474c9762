"""What a client asks of the walk itself, for one request, by header; and what its key binds it to.

    x-penstock-deployment   one of the route's deployments, and no other; for `overrides: [deployment]`
    x-penstock-timeout      seconds for the whole call; more than the route's for `overrides: [timeout]`
    x-penstock-require      region=eu, data-policy=no-training: only targets of which that is said
    x-penstock-session      which conversation this is, for a `sticky` route (routing/sticky.py)

The priority and the deadline of a request are its queue's affair (queueing.py).
"""

import math

import msgspec

from penstock.lib.http1.connection import TIMER_SLACK_S
from penstock.routing.route import is_allowed, narrowed
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Route
from penstock.types.errors import InvalidRequest, PermissionDenied
from penstock.types.identity import Override, Requirements, VirtualKey

DEPLOYMENT = b"x-penstock-deployment"
TIMEOUT = b"x-penstock-timeout"
REQUIRE = b"x-penstock-require"
SESSION = b"x-penstock-session"
HEADERS = frozenset({DEPLOYMENT, TIMEOUT, REQUIRE})
LONGEST_S = 86_400.0
TOO_SHORT_S = 1.0  # of a time that a client allows, for anybody to say that a target does not answer


def granted(call: Call, route: Route, key: VirtualKey) -> Route:
    """The route as this call may use it. Raises InvalidRequest, PermissionDenied."""
    route = _required(call, route, key)
    if (name := call.headers.get(DEPLOYMENT)) is not None:
        route = _only(name.decode("latin-1").strip(), route, key)
    if (asked := call.headers.get(TIMEOUT)) is not None:
        call.limit_s = seconds_of(TIMEOUT, asked)
        if call.limit_s > route.timeouts.total_s:
            _check(key, "timeout", TIMEOUT)
        route = within(route, call.limit_s)
    return route


def within(route: Route, limit_s: float) -> Route:
    """The whole takes at most so long, and no phase longer; where that is more than the route's, the first
    token may take all of it.
    """
    times = route.timeouts
    is_longer = limit_s > times.total_s
    return msgspec.structs.replace(
        route,
        timeouts=msgspec.structs.replace(
            times,
            connect_s=min(times.connect_s, limit_s),
            first_token_s=limit_s if is_longer else min(times.first_token_s, limit_s),
            between_tokens_s=min(times.between_tokens_s, limit_s),
            total_s=limit_s,
            loading_s=min(times.loading_s, limit_s),
        ),
    )


def is_hurry(call: Call, began_s: float, answered_s: float | None, now_s: float) -> bool:
    """Whether an attempt that fails now says nothing of its target: the time is over that the client allowed,
    and that was too short, or the target has answered others meanwhile. `answered_s`: when it did last.
    """
    if call.limit_s is None or now_s + TIMER_SLACK_S < call.started_s + call.limit_s:
        return False
    return now_s - began_s < TOO_SHORT_S or (answered_s is not None and answered_s > began_s)


def seconds_of(header: bytes, asked: bytes) -> float:
    """Raises InvalidRequest."""
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_S:
        name = header.decode()
        raise InvalidRequest(
            f"The header {name} is a number of seconds above 0, at most {LONGEST_S:.0f}.", param=name
        )
    return seconds


def _required(call: Call, route: Route, key: VirtualKey) -> Route:
    """Both the key's requirements and the request's. Raises InvalidRequest, PermissionDenied."""
    wanted = wanted_of(call, key)
    if not wanted:
        return route
    left = narrowed(route, lambda one: all(is_allowed(one.place, each) for each in wanted))
    if left is None:
        whose = "the request" if key.requires is None else "its key"
        raise PermissionDenied(
            f"Nothing that serves {route.name!r} has the data region and policy that {whose} requires."
        )
    return left


def wanted_of(call: Call, key: VirtualKey | None) -> list[Requirements]:
    """What any deployment must fulfil that is told of this call. Raises InvalidRequest."""
    wanted = [key.requires] if key is not None and key.requires is not None else []
    if (asked := call.headers.get(REQUIRE)) is not None:
        wanted.append(requirements_of(asked))
    return wanted


def requirements_of(asked: bytes) -> Requirements:
    """`region=eu, region=ch, data-policy=no-training`. Raises InvalidRequest."""
    regions: set[str] = set()
    policy: set[str] = set()
    for item in asked.decode("latin-1").lower().split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if not value or name not in ("region", "data-policy"):
            header = REQUIRE.decode()
            raise InvalidRequest(
                f"The header {header} is a list such as `region=eu, data-policy=no-training`.", param=header
            )
        (regions if name == "region" else policy).add(value)
    return Requirements(frozenset(regions), frozenset(policy))


def _only(name: str, route: Route, key: VirtualKey) -> Route:
    _check(key, "deployment", DEPLOYMENT)

    def is_it(deployment: Deployment) -> bool:
        return deployment.name == name

    left = narrowed(route, is_it)
    if left is None:
        there = [one.deployment.name for tier in (route.targets, *route.tiers) for one in tier]
        header = DEPLOYMENT.decode()
        raise InvalidRequest(
            f"The header {header} names none of the deployments of {route.name!r}: {', '.join(there)}.",
            param=header,
        )
    return left


def _check(key: VirtualKey, override: Override, header: bytes) -> None:
    if override not in key.overrides:
        name = header.decode()
        raise PermissionDenied(
            f"This key may not set the header {name} so; its `overrides` would have to hold {override}.",
            param=name,
        )
