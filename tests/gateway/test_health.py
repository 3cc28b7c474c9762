"""Who may be asked, with replicas and credentials that a test makes up and a clock that it moves."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.balance import candidates_of
from penstock.gateway.health import Health
from penstock.routing.breaker import LEAST, OPEN_S, PROBE_S
from penstock.routing.load import Load
from penstock.routing.slow_start import FULL_S
from penstock.testing.clock import FakeClock
from penstock.types.deployment import (
    Address,
    Deployment,
    Labels,
    ProbePlan,
    ReplicaView,
    Route,
    Target,
)
from penstock.types.errors import UpstreamCredentials, UpstreamRateLimited, UpstreamUnavailable

DOWN = UpstreamUnavailable("x")
CODEC: Any = None  # never called here


class Views:
    """A fleet whose replicas are ready as a test says."""

    def __init__(self, *views: ReplicaView) -> None:
        self.views = views

    @property
    def newest_s(self) -> float:
        return max((view.ready_s or 0.0 for view in self.views), default=0.0)

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]:
        return tuple(view for view in self.views if view.id.startswith(pool))

    async def acquire(self, pool: str, wait_s: float, prefer: str = "") -> ReplicaView:
        raise NotImplementedError

    def suspect(self, replica: ReplicaView) -> None:
        raise NotImplementedError

    def release(self, replica: ReplicaView) -> None:
        raise NotImplementedError


def view(number: int, *, port: int = 1, ready_s: float = 0.0) -> ReplicaView:
    return ReplicaView(f"p#{number}", "ready", Address(port=port), ready_s=ready_s)


def own(**more: Any) -> Deployment:
    return Deployment("own", "m", CODEC, frozenset({"chat"}), pool="p", has_parts=True, **more)


def remote(name: str, **more: Any) -> Deployment:
    there = ReplicaView(f"{name}#1", "ready", Address())
    return Deployment(name, "m", CODEC, frozenset({"chat"}), remote=there, **more)


class Bench:
    def __init__(self, *views: ReplicaView) -> None:
        self.clock = FakeClock()
        self.fleet = Views(*views)
        self.load = Load()
        self.health = Health(self.fleet, self.clock, self.load)

    def fail(self, deployment: Deployment, one: ReplicaView | None = None) -> None:
        for _ in range(LEAST):
            self.health.failed(self.health.began(deployment, one), DOWN)

    def recover(self, deployment: Deployment, one: ReplicaView | None = None) -> None:
        self.health.succeeded(self.health.began(deployment, one))


def test_a_deployment_is_down_when_all_its_ready_replicas_are() -> None:
    one, two = view(0), view(1)
    bench, deployment = Bench(one, two), own()
    bench.fail(deployment, one)
    assert not bench.health.is_down(deployment)
    assert {bench.health.replica(deployment, "") for _ in range(20)} == {"p#1"}
    assert bench.health.replica(deployment, "p#0") == "p#1", "who was chosen before it was known"
    bench.fail(deployment, two)
    assert bench.health.is_down(deployment)
    assert bench.health.down([deployment, remote("far")]) == ["own"]
    assert bench.health.replica(deployment, "") in ("p#0", "p#1"), "the last resort"
    bench.fleet.views = (one,)
    assert bench.health.is_down(deployment)
    bench.fleet.views = (one, view(1, port=2))
    assert not bench.health.is_down(deployment), "it was started again"
    bench.fleet.views = ()
    assert not bench.health.is_down(deployment), "what loads is not sick"
    assert bench.health.replica(deployment, "") == ""


def test_a_deployment_is_down_when_all_its_credentials_rest() -> None:
    spare = ReplicaView("far#2", "ready", Address())
    deployment, bench = remote("far", spares=(spare,), has_parts=True), Bench()
    assert deployment.remote is not None
    refused = UpstreamCredentials("x")
    bench.health.failed(bench.health.began(deployment, spare), refused)
    assert not bench.health.is_down(deployment)
    assert {bench.health.credential(deployment, set()).id for _ in range(20)} == {"far#1"}
    assert not bench.health.has_fresh_credential(deployment, {"far#1"})
    bench.health.failed(bench.health.began(deployment, deployment.remote), refused)
    assert bench.health.is_down(deployment)
    assert {bench.health.credential(deployment, set()).id for _ in range(50)} == {"far#1", "far#2"}


def test_a_credential_rests_for_one_deployment_and_a_client_s_names_are_one() -> None:
    spare, bench = ReplicaView("far#2", "ready", Address()), Bench()
    one, other = (remote(name, spares=(spare,), has_parts=True) for name in ("one", "other"))
    limited = UpstreamRateLimited("x", retry_after_s=60.0)
    bench.health.failed(bench.health.began(one, spare), limited)
    assert bench.health.credential(one, set()).id == "one#1"
    assert {bench.health.credential(other, set()).id for _ in range(50)} == {"other#1", "far#2"}
    for number in range(100):
        made_up = remote(f"far/{number}", spares=(spare,), has_parts=True, label="far/*")
        bench.health.failed(bench.health.began(made_up, spare), limited)
    rows = [row for row in bench.health.breakers.report(bench.clock.monotonic()) if row.deployment != "one"]
    assert rows == [("credential", "far/*", "far#2", "open")]


def test_the_replica_with_the_fewest_calls_is_asked() -> None:
    bench, deployment = Bench(view(0), view(1), view(2)), own()
    for port, calls in ((0, 2), (1, 1), (2, 3)):
        for _ in range(calls):
            bench.load.reserve(f"p#{port}:1")
    assert bench.health.replica(deployment, "") == "p#1"
    assert bench.health.replica(deployment, "p#2") == "p#2"
    assert bench.health.other_replicas(deployment, {"p#1"}) == ["p#0", "p#2"]
    assert bench.health.other_replicas(remote("far"), set()) == ()


@pytest.mark.parametrize(("age_s", "expected"), [(0, 0.1), (15, 0.55), (30, 1.0)])
def test_a_new_replica_is_asked_as_often_as_its_age_allows(age_s: float, expected: float) -> None:
    bench, deployment = Bench(), own()
    bench.clock.advance(FULL_S * 10)
    now_s = bench.clock.monotonic()
    bench.fleet.views = (view(0, ready_s=now_s - age_s), view(1))
    found = Counter(bench.health.replica(deployment, "") for _ in range(2_000))
    assert found["p#0"] / 2_000 == pytest.approx(expected, abs=0.05), "else it would be first of equals"


@pytest.mark.parametrize("strategy", ["weighted", "affinity"])
def test_who_has_recovered_gets_little_at_first(strategy: Any) -> None:
    old, fresh = remote("old"), remote("fresh")
    targets = (Target(fresh, Labels()), Target(old, Labels()))
    route, bench = Route("r", targets, strategy=strategy, is_choosy=strategy != "weighted"), Bench()

    def share() -> float:
        found = Counter[str]()
        for _ in range(4_000):
            if strategy == "weighted":
                found[bench.health.weighted(targets).deployment.name] += 1
            else:
                first = bench.health.standing(candidates_of(route, bench.fleet))[0]
                found[first.target.deployment.name] += 1
        return found["fresh"] / 4_000

    whole = 0.5 if strategy == "weighted" else 1.0
    assert not bench.health.is_gentle(route)
    bench.fail(fresh)
    bench.clock.advance(OPEN_S)
    bench.recover(fresh)
    assert bench.health.is_gentle(route) is (strategy == "weighted")
    assert share() == pytest.approx(0.1 * whole, abs=0.03)
    bench.clock.advance(FULL_S / 2)
    assert share() == pytest.approx(0.55 * whole, abs=0.04)
    bench.clock.advance(FULL_S / 2)
    assert share() == pytest.approx(whole, abs=0.04)
    assert not bench.health.is_gentle(route)


def test_a_target_s_share_is_the_mean_of_its_replicas() -> None:
    bench, deployment = Bench(), own()
    bench.clock.advance(FULL_S)
    bench.fleet.views = (view(0), view(1, ready_s=bench.clock.monotonic()))
    targets = [Target(deployment, Labels()), Target(remote("far"), Labels())]
    found = Counter(bench.health.weighted(targets).deployment.name for _ in range(4_000))
    assert found["own"] / 4_000 == pytest.approx(0.5 * (1 + 0.1) / 2, abs=0.03)


def test_a_probe_is_sent_to_the_replica_that_waits_for_it() -> None:
    one, two = view(0), view(1)
    bench, deployment = Bench(one, two), own(probe=ProbePlan())
    assert bench.health.waits_for_probe(deployment) == ("", None)
    bench.fail(deployment, one)
    opens_s = bench.clock.monotonic() + OPEN_S
    assert bench.health.waits_for_probe(deployment) == ("p#0", opens_s)
    bench.clock.advance(OPEN_S)
    assert {bench.health.replica(deployment, "") for _ in range(20)} == {"p#1"}, "no customer's request"
    assert bench.health.replica(deployment, "p#0") == "p#0"
    bench.clock.advance(PROBE_S)
    assert {bench.health.replica(deployment, "") for _ in range(20)} == {"p#0"}, "no probe has come"
    bench.recover(deployment, one)
    assert bench.health.waits_for_probe(deployment) == ("", None)


@given(
    sick=st.sets(st.integers(0, 3)),
    asked=st.sets(st.sampled_from(["p#0", "p#1", "p#2", "p#3"])),
    wanted=st.sampled_from(["", "p#0", "p#9"]),
)
def test_some_replica_is_always_found(sick: set[int], asked: set[str], wanted: str) -> None:
    views = [view(number) for number in range(4)]
    bench, deployment = Bench(*views), own()
    for number in sick:
        bench.fail(deployment, views[number])
    found = bench.health.replica(deployment, wanted)
    assert found in {one.id for one in views}
    assert int(found[2:]) not in sick or len(sick) == 4
    others = bench.health.other_replicas(deployment, asked)
    assert set(others) == {one.id for number, one in enumerate(views) if number not in sick} - asked
