"""Who may be asked: the breakers, of deployments and of what they are made of, and who has only just begun.

    a deployment                        its parts
    ----------------------------------  --------------------------------------------------
    with several replicas of ours       its ready replicas
    with several credentials            each of them
    any other                           none: it is one thing, up or down as a whole

Deciding is routing/breaker.py's and routing/slow_start.py's; here is who they are asked about.
"""

import random
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

from penstock.lib.clock import Clock
from penstock.routing import select
from penstock.routing.breaker import Breakers, Name, Trial
from penstock.routing.load import Load
from penstock.routing.select import Candidate
from penstock.routing.slow_start import FULL_S, share, standing
from penstock.types.deployment import Deployment, Fleet, ReplicaView, Route, Target
from penstock.types.errors import PenstockError, UpstreamCredentials, UpstreamRateLimited

One = TypeVar("One")


class Health:
    """One per process."""

    def __init__(self, fleet: Fleet, clock: Clock, load: Load) -> None:
        self.breakers = Breakers()
        self._fleet = fleet
        self._clock = clock
        self._load = load
        self._recovering_until_s = 0.0

    # -- who is down

    def is_down(self, deployment: Deployment) -> bool:
        now_s = self._clock.monotonic()
        is_probed = deployment.probe is not None
        if self.breakers.is_down(_name(deployment), now_s, is_probed=is_probed):
            return True
        if not deployment.has_parts:
            return False
        parts = self._parts(deployment)
        return bool(parts) and all(self._is_part_down(deployment, view, now_s) for view in parts)

    def is_up(self, one: Candidate) -> bool:
        """Neither its deployment is down nor the replica."""
        deployment, now_s = one.target.deployment, self._clock.monotonic()
        if self.is_down(deployment):
            return False
        views = self._parts(deployment) if deployment.has_parts and one.id else ()
        return not any(view.id == one.id and self._is_part_down(deployment, view, now_s) for view in views)

    def down(self, deployments: Iterable[Deployment]) -> list[str]:
        """The names of those that are."""
        return sorted(one.name for one in deployments if self.is_down(one))

    def _parts(self, deployment: Deployment) -> Sequence[ReplicaView]:
        if deployment.pool is not None:
            return self._fleet.replicas(deployment.pool)
        return (deployment.remote, *deployment.spares) if deployment.remote is not None else ()

    def _is_part_down(self, deployment: Deployment, view: ReplicaView, now_s: float) -> bool:
        is_probed = deployment.probe is not None and deployment.pool is not None
        return self.breakers.is_down(
            _name(deployment, view), now_s, life=_life(deployment, view), is_probed=is_probed
        )

    def _may_be_asked(self, deployment: Deployment, view: ReplicaView, now_s: float) -> bool:
        """Also one that waits for its probe: who wants just that replica is its probe."""
        return not self.breakers.is_down(_name(deployment, view), now_s, life=_life(deployment, view))

    # -- which part is asked

    def credential(self, deployment: Deployment, asked: Container[str]) -> ReplicaView:
        """One in turn: none that rests or was asked (`asked`: their ids), unless all do, or were."""
        awake = self._awake(deployment)
        fresh = [view for view in awake if view.id not in asked]
        return random.choice(fresh or awake or self._parts(deployment))  # noqa: S311 - a turn

    def has_fresh_credential(self, deployment: Deployment, asked: Container[str]) -> bool:
        return any(view.id not in asked for view in self._awake(deployment))

    def _awake(self, deployment: Deployment) -> list[ReplicaView]:
        now_s = self._clock.monotonic()
        parts = self._parts(deployment)
        return [view for view in parts if not self._is_part_down(deployment, view, now_s)]

    def replica(self, deployment: Deployment, wanted: str) -> str:
        """The id of the replica to ask: `wanted` if that is ready and up, else the one with the fewest calls
        of those that are; empty while none is ready.
        """
        ready = self._parts(deployment)
        now_s = self._clock.monotonic()
        if any(view.id == wanted and self._may_be_asked(deployment, view, now_s) for view in ready):
            return wanted
        up = [view for view in ready if not self._is_part_down(deployment, view, now_s)]
        return next(iter(self._by_load(deployment, self._standing_views(deployment, up or ready))), "")

    def other_replicas(self, deployment: Deployment, asked: Container[str]) -> Sequence[str]:
        """The ids of those that are ready, up and were not asked; the one with the fewest calls first."""
        if deployment.pool is None or not deployment.has_parts:
            return ()
        now_s = self._clock.monotonic()
        left = [
            view
            for view in self._parts(deployment)
            if view.id not in asked and not self._is_part_down(deployment, view, now_s)
        ]
        return self._by_load(deployment, left)

    def _by_load(self, deployment: Deployment, views: Iterable[ReplicaView]) -> list[str]:
        running = self._load.running
        return [view.id for view in sorted(views, key=lambda view: running(replica_of(deployment, view)))]

    # -- who has only just begun

    def standing(
        self, candidates: Sequence[Candidate], roll: Callable[[Candidate], float] | None = None
    ) -> Sequence[Candidate]:
        """Those that may be chosen now: who is new, or has just recovered, may only now and then; by chance,
        unless there is a `roll`.
        """
        now_s = self._clock.monotonic()
        if not self._are_some_new(now_s):
            return candidates
        shares = [self._share(one, now_s) for one in candidates]
        if roll is not None:
            return standing(candidates, shares, [roll(one) for one in candidates])
        return _standing(candidates, shares)

    def weighted(self, targets: Sequence[Target]) -> Target:
        """One of those by weight."""
        now_s = self._clock.monotonic()
        if self._are_some_new(now_s):
            targets = _standing(targets, [self._target_share(one.deployment, now_s) for one in targets])
        return select.weighted(targets, random.random())  # noqa: S311 - a traffic split

    def is_gentle(self, route: Route) -> bool:
        """Whether it takes its targets by weight, and some of them may be new."""
        return not route.is_choosy and len(route.targets) > 1 and self._are_some_new(self._clock.monotonic())

    def _are_some_new(self, now_s: float) -> bool:
        return now_s < self._recovering_until_s or now_s < self._fleet.newest_s + FULL_S

    def _standing_views(self, deployment: Deployment, views: Sequence[ReplicaView]) -> Sequence[ReplicaView]:
        now_s = self._clock.monotonic()
        if not self._are_some_new(now_s):
            return views
        return _standing(views, [self._view_share(deployment, view, now_s) for view in views])

    def _share(self, one: Candidate, now_s: float) -> float:
        deployment = one.target.deployment
        if not one.id or deployment.pool is None:
            return self._target_share(deployment, now_s)
        views = (view for view in self._fleet.replicas(deployment.pool) if view.id == one.id)
        own = max((self._view_share(deployment, view, now_s) for view in views), default=1.0)
        return min(own, self._own_share(deployment, now_s))

    def _target_share(self, deployment: Deployment, now_s: float) -> float:
        """Of replicas of ours their mean."""
        own = self._own_share(deployment, now_s)
        views = () if deployment.pool is None else self._fleet.replicas(deployment.pool)
        if not views:
            return own
        return min(own, sum(self._view_share(deployment, view, now_s) for view in views) / len(views))

    def _own_share(self, deployment: Deployment, now_s: float) -> float:
        breaker = self.breakers.find(_name(deployment))
        return 1.0 if breaker is None else breaker.share(now_s)

    def _view_share(self, deployment: Deployment, view: ReplicaView, now_s: float) -> float:
        own = 1.0 if view.ready_s is None else share(now_s - view.ready_s)
        breaker = self.breakers.find(_name(deployment, view), _life(deployment, view))
        return own if breaker is None else min(own, breaker.share(now_s))

    # -- probes

    def answered_s(self, deployment: Deployment) -> float | None:
        breaker = self.breakers.find(_name(deployment))
        return None if breaker is None else breaker.answered_s

    def waits_for_probe(self, deployment: Deployment) -> tuple[str, float | None]:
        """When the next of its breakers lets an attempt through, and at which replica (empty: at any)."""
        found: list[tuple[float, str]] = []
        breaker = self.breakers.find(_name(deployment))
        if breaker is not None and (at_s := breaker.probe_at_s()) is not None:
            found.append((at_s, ""))
        for view in self._parts(deployment) if deployment.pool is not None else ():
            breaker = self.breakers.find(_name(deployment, view), _life(deployment, view))
            if breaker is not None and (at_s := breaker.probe_at_s()) is not None:
                found.append((at_s, view.id))
        at_s, replica = min(found, default=(None, ""))
        return replica, at_s

    def probed_elsewhere(self, deployment: Deployment, part: str, error: PenstockError | None) -> None:
        """Another process asked, which counts as if we had. `part`: the replica or credential it was."""
        views = self._parts(deployment) if deployment.has_parts else ()
        asked = [self.began(deployment, view) for view in views if view.id == part]
        own = self.began(deployment)
        if error is None:
            for trial in (own, *asked):
                self.succeeded(trial)
        elif asked and (deployment.pool is not None or is_credential_s(error)):
            own.left()
            self.failed(asked[0], error)
        else:
            self.failed(own, error)
            for trial in asked:
                trial.left()

    # -- what came of an attempt

    def began(self, deployment: Deployment, view: ReplicaView | None = None) -> Trial:
        """An attempt is made, at this part of it."""
        breaker = self.breakers.of(_name(deployment, view), _life(deployment, view))
        return breaker.began(self._clock.monotonic())

    def succeeded(self, trial: Trial) -> None:
        now_s = self._clock.monotonic()
        if trial.succeeded(now_s):
            self._recovering_until_s = now_s + FULL_S

    def failed(self, trial: Trial, error: PenstockError) -> None:
        trial.failed(error, self._clock.monotonic())


def is_credential_s(error: PenstockError) -> bool:
    """Whether it may be the fault of one of several credentials; nothing else is."""
    return isinstance(error, UpstreamCredentials | UpstreamRateLimited)


def replica_of(deployment: Deployment, view: ReplicaView) -> str:
    """A replica that was started again is another one: its cache is empty."""
    return deployment.name if deployment.pool is None else f"{view.id}:{view.address.port}"


def _name(deployment: Deployment, view: ReplicaView | None = None) -> Name:
    """Of a set that no client can make larger."""
    if view is None:
        return Name("deployment", deployment.label or deployment.name)
    if deployment.pool is None:
        return Name("credential", deployment.label or deployment.name, view.id)
    return Name("replica", deployment.pool, view.id)


def _life(deployment: Deployment, view: ReplicaView | None) -> str:
    return "" if view is None or deployment.pool is None else replica_of(deployment, view)


def _standing(ones: Sequence[One], shares: Sequence[float]) -> Sequence[One]:
    return standing(ones, shares, [random.random() for _ in ones])  # noqa: S311 - a turn
