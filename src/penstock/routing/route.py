"""Making routes, and making them smaller. Pure.

route_of     a route with what follows from its targets worked out once, not by every request
narrowed     the same route with fewer of its targets
is_allowed   whether a place is what requirements ask for
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from penstock.types.deployment import Deployment, Place, Route, Target
from penstock.types.identity import Requirements
from penstock.types.money import Price


def route_of(
    name: str, targets: Sequence[Target], tiers: Sequence[Sequence[Target]] = (), **settings: Any
) -> Route:
    """`settings`: the other fields of Route that somebody chooses."""
    return _derived(Route(name, tuple(targets), tiers=tuple(map(tuple, tiers)), **settings))


def narrowed(route: Route, keeps: Callable[[Deployment], bool]) -> Route | None:
    """None when nothing is left. A tier that loses all its targets is gone: the next takes its place."""
    tiers = [tuple(one for one in tier if keeps(one.deployment)) for tier in (route.targets, *route.tiers)]
    left = [tier for tier in tiers if tier]
    if not left:
        return None
    return _derived(msgspec.structs.replace(route, targets=left[0], tiers=tuple(left[1:])))


def is_allowed(place: Place, requirements: Requirements) -> bool:
    """A region that was not said is none of those asked for; what stays with us keeps any promise."""
    if requirements.regions and place.region not in requirements.regions:
        return False
    return place.is_own or requirements.data_policy <= place.data_policy


def _derived(route: Route) -> Route:
    targets = route.targets
    first = targets[0].deployment
    able = [(one.deployment.facts, one.deployment.max_context, one.deployment.operations) for one in targets]
    is_mixed = len(set(able)) > 1
    is_alone = len(targets) == 1 and not route.tiers and not has_replicas(first)
    has_more = not is_alone or route.retries > 0 or route.hedge is not None
    waits = first.batching is not None or first.concurrency is not None or bool(first.claims)
    is_one_attempt = not waits and first.probe is None
    return msgspec.structs.replace(
        route,
        is_mixed=is_mixed,
        is_choosy=route.strategy != "weighted" or route.sticky is not None or is_mixed,
        has_more=has_more,
        is_plain=not has_more and is_one_attempt,
        dearest=dearest_of(one.deployment.price for tier in (targets, *route.tiers) for one in tier),
    )


def dearest_of(prices: Iterable[Price | None]) -> tuple[int, int]:
    """Of a token of the prompt, and of the answer: pico-USD; an unknown price is none."""
    known = [price for price in prices if price is not None]
    asked = max((price.input or 0 for price in known), default=0)
    return asked, max((price.output or 0 for price in known), default=0)


def has_replicas(deployment: Deployment) -> bool:
    """More than one."""
    return deployment.pool is not None and deployment.has_parts
