"""Memory against a naive model, and each other ledger against memory, call by call."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from ledger_cases import SHARED, START_S, Case, Places, claim
from naive_ledger import Held, Naive

from penstock.limits.memory import MemoryLedger
from penstock.testing.clock import FakeClock
from penstock.types.ledger import MOST, Claim, Cost, Lease, Limit, Refusal

T = TypeVar("T")

CLAIMS = (
    claim("a", Limit("requests", 5, 4), Limit("tokens", 40, 64), Limit("concurrency", 3)),
    claim(
        "b", Limit("tokens", 60, 7), Limit("pico_usd", 100, "day"), Limit("tokens", 200, "week"), kind="team"
    ),
    claim("c", Limit("pico_usd", 300, "month"), Limit("requests", 40, "total"), Limit("tokens", 70, 3600)),
)
SOME_CLAIMS = st.lists(st.sampled_from(CLAIMS), min_size=1, max_size=3, unique_by=id)
COSTS = st.builds(
    Cost, st.sampled_from([0, 1, 1, 1, 2]), st.integers(0, 45), st.sampled_from([0, 1, 7, 30, 50])
)
TTLS_S = st.sampled_from([1.0, 10.0, 300.0, 100_000.0])
STEPS_S = st.sampled_from(
    [0.0, 0.000001, 0.03, 0.125, 1.0, 2.0, 3.999, 5.0, 9.5, 64.0, 600.0, 3_700.0, 90_000.0]
)


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


class AgainstTheNaiveModel(RuleBasedStateMachine):
    """A lease is a pair: the ledger's and the model's."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(monotonic=START_S, wall=START_S)
        self.ledger = MemoryLedger(self.clock)
        self.naive = Naive()

    @property
    def now_us(self) -> int:
        return int(self.clock.monotonic() * 1_000_000)

    @rule(target=leases, claims=SOME_CLAIMS, cost=COSTS, ttl_s=TTLS_S)
    def reserve(self, claims: Sequence[Claim], cost: Cost, ttl_s: float) -> Any:
        got = at_once(self.ledger.reserve(claims, cost, self.clock.monotonic(), ttl_s))
        held = self.naive.reserve(claims, cost, self.now_us, int(ttl_s * 1_000_000))
        if isinstance(got, Refusal):
            assert held is None, got
            used, reserved, _ = self.naive.sums(_claim_of(claims, got), got.limit, self.now_us)
            assert (got.used, got.reserved) == (used, reserved)
        else:
            assert held is not None, "the model refuses"
        return got, held

    @rule(pair=leases, more=COSTS)
    def extend(self, pair: tuple[Lease, Held], more: Cost) -> None:
        lease, held = pair
        if isinstance(lease, Lease) and not lease.is_settled:
            refusal = at_once(self.ledger.extend(lease, more, self.clock.monotonic()))
            assert self.naive.extend(held, more, self.now_us) == (refusal is None), refusal

    @rule(pairs=st.lists(leases, max_size=3))
    def beat(self, pairs: list[tuple[Lease, Held]]) -> None:
        known = [(lease, held) for lease, held in pairs if isinstance(lease, Lease) and not lease.is_settled]
        at_once(self.ledger.heartbeat([lease for lease, _ in known], self.clock.monotonic()))
        self.naive.beat([held for _, held in known], self.now_us)

    @rule(pair=consumes(leases), actual=COSTS, times=st.integers(1, 2))
    def settle(self, pair: tuple[Lease, Held], actual: Cost, times: int) -> None:
        lease, held = pair
        if isinstance(lease, Lease):
            for _ in range(times):
                at_once(self.ledger.settle(lease, actual, self.clock.monotonic()))
            self.naive.settle(held, actual, self.now_us)

    @rule(seconds=STEPS_S)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        rows = at_once(self.ledger.report(CLAIMS, self.clock.monotonic()))
        self.naive.expire(self.now_us)
        limits = [(one, limit) for one in CLAIMS for limit in one.limits]
        for row, (of, limit) in zip(rows, limits, strict=True):
            assert (row.used, row.reserved, row.expired) == self.naive.sums(of, limit, self.now_us), row

    @invariant()
    def no_window_admitted_more_than_its_limit(self) -> None:
        for of in CLAIMS:
            for limit in of.limits:
                if isinstance(limit.window, int):
                    assert self.naive.most_in_any_window(of, limit) <= limit.amount


def _claim_of(claims: Sequence[Claim], refusal: Refusal) -> Claim:
    return next(one for one in claims if one.scope == refusal.scope)


TestAgainstTheNaiveModel = AgainstTheNaiveModel.TestCase
TestAgainstTheNaiveModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# -- each other ledger does what memory does

Step = tuple[Any, ...]
BIG = st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**62, MOST - 1, MOST]) | st.integers(0, MOST)
BIG_CLAIM = claim(
    "big",
    Limit("pico_usd", MOST, "month"),
    Limit("tokens", 2**60 + 1, 60),
    Limit("requests", 2**53 + 3, "total"),
)
SCRIPT_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("reserve"), SOME_CLAIMS, COSTS, TTLS_S),
    st.tuples(st.just("reserve"), SOME_CLAIMS, COSTS, TTLS_S),
    st.tuples(st.just("extend"), st.integers(0, 9), COSTS),
    st.tuples(st.just("settle"), st.integers(0, 9), COSTS),
    st.tuples(st.just("beat"), st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("advance"), STEPS_S),
)
BIG_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("reserve"), st.just([BIG_CLAIM]), st.builds(Cost, BIG, BIG, BIG), TTLS_S),
    st.tuples(st.just("extend"), st.integers(0, 9), st.builds(Cost, BIG, BIG, BIG)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.builds(Cost, BIG, BIG, BIG)),
    st.tuples(st.just("advance"), STEPS_S),
)
FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(request, tmp_path)


@pytest.fixture(params=SHARED)
def kind(request: pytest.FixtureRequest, places: Places) -> str:
    found: str = request.param
    places.url(found)
    return found


@pytest.mark.timeout(120)
def test_each_ledger_does_what_memory_does(
    kind: str, places: Places, strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    @FEW
    @given(st.lists(SCRIPT_STEPS, max_size=30))
    def check(steps: list[Step]) -> None:
        strictly(lambda: _compare(kind, places, steps, CLAIMS))

    check()


@pytest.mark.timeout(120)
def test_large_amounts_are_as_exact_as_in_memory(
    kind: str, places: Places, strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    @FEW
    @given(st.lists(BIG_STEPS, max_size=12))
    def check(steps: list[Step]) -> None:
        strictly(lambda: _compare(kind, places, steps, (BIG_CLAIM,)))

    check()


async def _compare(kind: str, places: Places, steps: list[Step], claims: Sequence[Claim]) -> None:
    async with places.case("memory") as memory, places.case(kind) as other:
        mine: list[Lease] = []
        theirs: list[Lease] = []
        for step in steps:
            said = await _do(memory, mine, step)
            assert await _do(other, theirs, step) == said, step
            assert await other.rows(*claims) == await memory.rows(*claims), step


async def _do(case: Case, leases: list[Lease], step: Step) -> object:
    """What the ledger said, in words that can be compared."""
    match step:
        case ("reserve", claims, cost, ttl_s):
            got = await case.reserve(claims, cost, ttl_s=ttl_s)
            if isinstance(got, Refusal):
                return got
            leases.append(got)
            return list(got.rests())
        case ("advance", seconds):
            case.clock.advance(seconds)
        case ("beat", numbers):
            await case.beat(*[leases[number] for number in set(numbers) if number < len(leases)])
        case ("extend", number, cost) if number < len(leases) and not leases[number].is_settled:
            return await case.extend(leases[number], cost)
        case ("settle", number, cost) if number < len(leases):
            await case.settle(leases[number], cost)
    return None
