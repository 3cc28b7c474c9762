import heapq
import random
from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.routing.admission import (
    SLACK,
    TENANTS_KEPT,
    Admission,
    Limits,
    Offer,
    Outcome,
    Policy,
    Priority,
    Refusal,
    Ticket,
)

SYSTEM, INTERACTIVE, DEFAULT, BULK = Priority
NO_FLOORS = (0.0, 0.0, 0.0, 0.0)
PLAIN = Policy(floors=NO_FLOORS, age_s=None, preemptions=0)  # strict classes and fair tenants, nothing else
_numbers = count()


def ticket(priority: Priority = DEFAULT, tenant: str = "a", cost: float = 10, **more: Any) -> Ticket:
    more = {"bytes": 100, "arrival_s": 0.0, **more}
    return Ticket(f"t{next(_numbers)}", priority, tenant, cost, **more)


def full(
    limits: Limits | None = None,
    policy: Policy = PLAIN,
    weights: dict[str, float] | None = None,
    *,
    slots: int = 1,
) -> tuple[Admission, Ticket]:
    """All slots are taken by tickets of the system; the last of them."""
    admission = Admission(slots, limits, policy, weights)
    for _ in range(slots):
        running = ticket(SYSTEM, "blocker")
        assert admission.offer(running, 0.0).outcome == "admitted"
    return admission, running


def wait(admission: Admission, *tickets: Ticket, now_s: float = 0.0) -> None:
    for one in tickets:
        assert admission.offer(one, now_s).outcome == "waiting"


def drained(admission: Admission, running: Ticket, now_s: float = 0.0) -> list[Ticket]:
    """Who went, in their order, when each left its slot to the next."""
    order = []
    while granted := admission.finished(running, now_s):
        (running,) = granted
        order.append(running)
    return order


# -- slots


def test_a_free_slot_admits_at_once() -> None:
    admission = Admission(2)
    first, second, third = ticket(), ticket(), ticket()
    assert admission.offer(first, 0.0) == Offer(Outcome.ADMITTED)
    assert admission.offer(second, 0.0) == Offer(Outcome.ADMITTED)
    assert admission.offer(third, 0.0) == Offer(Outcome.WAITING, position=1)
    assert admission.finished(first, 1.0) == [third]
    assert (admission.running, admission.waiting, admission.waiting_bytes) == (2, 0, 0)
    assert list(admission.finished(third, 1.0)) == []
    assert list(admission.finished(third, 1.0)) == [], "twice is once"
    assert admission.running == 1


def test_first_come_first_served_among_equals() -> None:
    admission, running = full()
    waiting = [ticket() for _ in range(50)]
    wait(admission, *waiting)
    assert drained(admission, running) == waiting


def test_positions_count_whoever_may_go_before() -> None:
    admission, _ = full()
    assert admission.offer(ticket(BULK), 0.0).position == 1
    assert admission.offer(ticket(DEFAULT), 0.0).position == 1
    assert admission.offer(ticket(BULK), 0.0).position == 3
    assert [admission.waiting_of(one) for one in Priority] == [0, 0, 1, 2]


def test_whoever_leaves_frees_its_slot_or_its_place() -> None:
    admission, running = full()
    first, second = ticket(), ticket()
    wait(admission, first, second)
    assert list(admission.finished(first, 0.0)) == []
    assert admission.waiting == 1
    assert admission.finished(running, 0.0) == [second]
    assert list(admission.finished(ticket(), 0.0)) == [], "a stranger"


def test_more_slots_admit_and_fewer_wait_for_the_end() -> None:
    admission, running = full()
    waiting = [ticket() for _ in range(4)]
    wait(admission, *waiting)
    assert admission.resize(3, 0.0) == waiting[:2]
    assert list(admission.resize(1, 0.0)) == []
    assert admission.running == 3
    assert list(admission.finished(running, 0.0)) == []
    assert list(admission.finished(waiting[0], 0.0)) == []
    assert admission.finished(waiting[1], 0.0) == [waiting[2]]


# -- bounds


def test_too_many_wait() -> None:
    admission, _ = full(Limits(waiting=2))
    wait(admission, ticket(), ticket())
    assert admission.offer(ticket(), 0.0) == Offer(Outcome.REFUSED, refusal=Refusal.FULL)
    assert admission.waiting == 2


def test_too_much_waits() -> None:
    admission, _ = full(Limits(bytes=1000))
    first = ticket(bytes=600)
    wait(admission, first)
    assert admission.offer(ticket(bytes=500), 0.0) == Offer(Outcome.REFUSED, refusal=Refusal.BYTES)
    wait(admission, ticket(bytes=400))
    admission.finished(first, 0.0)
    wait(admission, ticket(bytes=500))
    assert admission.waiting_bytes == 900


def test_what_comes_too_late_is_refused() -> None:
    late = Offer(Outcome.REFUSED, refusal=Refusal.LATE)
    assert Admission(1).offer(ticket(deadline_s=5.0), 5.0) == late, "though a slot is free"
    assert Admission(1).offer(ticket(arrival_s=0.0), 100.0).outcome == "admitted", "it need not wait"
    admission, _ = full(Limits(wait_s=60.0))
    assert admission.offer(ticket(arrival_s=0.0), 60.0) == late
    assert admission.offer(ticket(arrival_s=0.0), 59.0).outcome == "waiting"


def test_what_waits_too_long_expires() -> None:
    admission, running = full(Limits(wait_s=60.0))
    assert admission.next_expiry_s() is None
    patient, urgent, gone = ticket(), ticket(deadline_s=10.0), ticket(deadline_s=5.0)
    wait(admission, patient, urgent, gone)
    assert admission.next_expiry_s() == 5.0
    admission.finished(gone, 0.0)
    assert admission.next_expiry_s() == 10.0
    assert admission.expire(9.9) == []
    assert admission.expire(10.0) == [urgent]
    assert admission.next_expiry_s() == 60.0
    assert admission.finished(running, 59.0) == [patient]
    assert admission.next_expiry_s() is None


def test_what_is_overdue_gets_no_slot_and_is_told_by_expire() -> None:
    admission, running = full()
    urgent, other, gone = ticket(deadline_s=5.0), ticket(), ticket(deadline_s=4.0)
    wait(admission, urgent, other, gone)
    assert admission.finished(running, 6.0) == [other]
    assert admission.next_expiry_s() == 4.0, "at once"
    admission.finished(gone, 6.0)
    assert admission.expire(6.0) == [urgent]
    assert admission.expire(6.0) == []


def test_in_a_full_queue_the_latest_of_the_lowest_class_makes_room() -> None:
    admission, _ = full(Limits(waiting=4))
    bulk = [ticket(BULK), ticket(BULK, "b")]
    wait(admission, ticket(DEFAULT), *bulk, ticket(DEFAULT))
    offer = admission.offer(ticket(INTERACTIVE), 0.0)
    assert (offer.outcome, offer.displaced) == ("waiting", bulk[1])
    assert admission.offer(ticket(DEFAULT), 0.0).displaced is bulk[0]
    assert admission.offer(ticket(DEFAULT), 0.0).refusal == "full"
    assert admission.offer(ticket(BULK), 0.0).refusal == "full"
    assert admission.waiting == 4


def test_room_is_made_for_bytes_if_one_is_enough() -> None:
    admission, _ = full(Limits(bytes=1000))
    bulk = ticket(BULK, bytes=500)
    wait(admission, bulk, ticket(DEFAULT, bytes=500))
    assert admission.offer(ticket(INTERACTIVE, bytes=501), 0.0).refusal == "bytes"
    assert admission.offer(ticket(INTERACTIVE, bytes=500), 0.0).displaced is bulk


def test_a_class_keeps_its_floor_of_the_room() -> None:
    policy = Policy(floors=(0.0, 0.0, 0.0, 0.2), age_s=None, preemptions=0)
    admission, _ = full(Limits(waiting=10), policy)
    wait(admission, *(ticket(BULK) for _ in range(10)))
    offers = [admission.offer(ticket(INTERACTIVE), 0.0).outcome for _ in range(10)]
    assert offers == ["waiting"] * 8 + ["refused"] * 2
    assert admission.waiting_of(BULK) == 2


def test_in_a_full_queue_the_largest_tenant_makes_room_for_a_smaller() -> None:
    admission, _ = full(Limits(waiting=6), weights={"heavy": 4.0})
    many = [ticket(tenant="many") for _ in range(4)]
    wait(admission, *many, ticket(tenant="heavy"), ticket(tenant="heavy"))
    assert admission.offer(ticket(tenant="few"), 0.0).displaced is many[3]
    assert admission.offer(ticket(tenant="few"), 0.0).displaced is many[2]
    assert admission.offer(ticket(tenant="few"), 0.0).refusal == "full", "it has as many as the other"
    assert admission.offer(ticket(tenant="many"), 0.0).refusal == "full"
    assert admission.offer(ticket(tenant="heavy"), 0.0).displaced is many[1]


# -- classes


def test_classes_go_in_their_order() -> None:
    admission, running = full()
    waiting = [ticket(one) for one in (BULK, DEFAULT, INTERACTIVE, SYSTEM) for _ in range(3)]
    wait(admission, *waiting)
    assert [one.priority for one in drained(admission, running)] == sorted(one.priority for one in waiting)


def test_floors_let_the_lower_classes_progress() -> None:
    admission, running = full(policy=Policy(age_s=None, preemptions=0))
    wait(admission, *(ticket(one) for one in Priority for _ in range(200)))
    first = Counter(one.priority for one in drained(admission, running)[:200])
    assert first[INTERACTIVE] == pytest.approx(60, abs=2)
    assert first[DEFAULT] == pytest.approx(30, abs=2)
    assert first[BULK] == pytest.approx(10, abs=2)


def test_a_class_that_was_idle_is_owed_nothing() -> None:
    admission, running = full(policy=Policy(floors=(0.0, 0.0, 0.0, 0.5), age_s=None, preemptions=0))
    wait(admission, *(ticket(DEFAULT) for _ in range(10)))
    for _ in range(6):
        (running,) = admission.finished(running, 0.0)
    wait(admission, ticket(BULK), ticket(BULK))
    assert [one.priority for one in drained(admission, running)[:3]] == [DEFAULT, BULK, DEFAULT]


def test_a_class_that_went_idle_is_owed_nothing_any_more() -> None:
    admission, running = full(policy=Policy(floors=(0.0, 0.0, 0.0, 0.3), age_s=None, preemptions=0))
    gone = ticket(BULK)
    wait(admission, gone, *(ticket(DEFAULT) for _ in range(10)))
    for _ in range(3):
        (running,) = admission.finished(running, 0.0)
    admission.finished(gone, 0.0)
    wait(admission, ticket(BULK))
    assert [one.priority for one in drained(admission, running)[:4]] == [DEFAULT, DEFAULT, DEFAULT, BULK]


@pytest.mark.parametrize("floors", [(0.5, 0.5, 0.5, 0.0), (0.0, -0.1, 0.0, 0.0)])
def test_floors_are_shares(floors: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        Policy(floors=floors)


def test_age_is_above_zero() -> None:
    with pytest.raises(ValueError, match="age_s"):
        Policy(age_s=0.0)


FLOORS = st.tuples(*[st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25])] * 4)


@given(
    floors=FLOORS,
    always=st.sampled_from(Priority),
    age_s=st.sampled_from([None, 0.5, 5.0]),
    seed=st.integers(0, 1000),
)
def test_a_floor_holds_over_any_run_in_which_its_class_waits(
    floors: tuple[float, float, float, float], always: Priority, age_s: float | None, seed: int
) -> None:
    """Whatever the others do: `count` grants bring at least `floor * count - 4`, from wherever one counts."""
    roll = random.Random(seed)  # noqa: S311 - repeatable
    admission, running = full(Limits(wait_s=1e9), Policy(floors, age_s, preemptions=0))
    now_s, surplus, lowest_after = 0.0, [0.0], 0.0
    for _ in range(300):
        now_s += 0.1
        while admission.waiting_of(always) < 2:
            wait(admission, ticket(always, arrival_s=now_s), now_s=now_s)
        for _ in range(roll.choice((0, 1, 3))):
            others = ticket(roll.choice(list(Priority)), roll.choice("abc"), roll.randint(1, 99))
            others.arrival_s = now_s
            wait(admission, others, now_s=now_s)
        (running,) = admission.finished(running, now_s)
        surplus.append(surplus[-1] + (running.priority == always) - floors[always])
    highest = -1e9
    for one in surplus:
        highest = max(highest, one)
        lowest_after = max(lowest_after, highest - one)
    assert lowest_after <= 4


# -- ageing


@pytest.mark.parametrize(
    ("now_s", "order"),
    [
        (9.0, [INTERACTIVE, INTERACTIVE, DEFAULT, DEFAULT, BULK, BULK]),
        (15.0, [INTERACTIVE, INTERACTIVE, DEFAULT, BULK, DEFAULT, BULK]),
        (25.0, [INTERACTIVE, BULK, INTERACTIVE, DEFAULT, DEFAULT, BULK]),
    ],
)
def test_age_raises_one_class_at_a_time(now_s: float, order: list[Priority]) -> None:
    """The raised one takes its turn with the one tenant that is there."""
    admission, running = full(policy=Policy(NO_FLOORS, age_s=10.0, preemptions=0))
    wait(admission, ticket(BULK))
    for one in (INTERACTIVE, DEFAULT, BULK):
        count_of = 1 if one == BULK else 2
        wait(admission, *(ticket(one, "x", arrival_s=now_s) for _ in range(count_of)), now_s=now_s)
    assert [one.priority for one in drained(admission, running, now_s)] == order


def test_what_was_raised_shares_a_class_as_one_tenant() -> None:
    admission, running = full(Limits(wait_s=1e9), Policy(NO_FLOORS, age_s=10.0, preemptions=0))
    wait(admission, *(ticket(BULK, tenant) for tenant in "abcd" for _ in range(20)))
    new = [ticket(INTERACTIVE, tenant, arrival_s=100.0) for tenant in "xyz" for _ in range(20)]
    wait(admission, *new, now_s=100.0)
    first = Counter(one.priority for one in drained(admission, running, 100.0)[:40])
    assert first == {INTERACTIVE: 30, BULK: 10}


def test_nobody_starves_with_ageing_and_without_floors() -> None:
    """A stream of the highest class that needs more than all there is."""
    admission, running = full(Limits(wait_s=1e9), Policy(NO_FLOORS, age_s=5.0, preemptions=0))
    low = [ticket(one, tenant) for one in (DEFAULT, BULK) for tenant in "ab" for _ in range(3)]
    low.append(ticket(BULK, "a", cost=1000))
    wait(admission, *low)
    left = set(low)
    now_s = 0.0
    for _ in range(2000):
        now_s += 0.1
        while admission.waiting_of(SYSTEM) < 3:
            wait(admission, ticket(SYSTEM, "flood", arrival_s=now_s), now_s=now_s)
        urgent = ticket(BULK, "a", arrival_s=now_s, deadline_s=now_s + 50)
        admission.offer(urgent, now_s)
        (running,) = admission.finished(running, now_s)
        left.discard(running)
        admission.expire(now_s)
    assert not left, "not even those whose tenant always has something more urgent"


# -- tenants


def test_tenants_take_turns_by_tokens() -> None:
    admission, running = full()
    wait(admission, *(ticket(tenant="large", cost=300) for _ in range(4)))
    wait(admission, *(ticket(tenant="small", cost=100) for _ in range(12)))
    order = "".join(one.tenant[0] for one in drained(admission, running))
    assert order == "lssslssslssslsss"


def test_weights_are_shares() -> None:
    admission, running = full(weights={"gold": 3.0})
    wait(admission, *(ticket(tenant=name) for _ in range(40) for name in ("gold", "other")))
    first = Counter(one.tenant for one in drained(admission, running)[:40])
    assert first == {"gold": 30, "other": 10}


def test_an_idle_tenant_saves_no_credit() -> None:
    admission, running = full()
    wait(admission, ticket(tenant="late"), *(ticket(tenant="busy") for _ in range(40)))
    for _ in range(21):
        (running,) = admission.finished(running, 0.0)
    wait(admission, *(ticket(tenant="late") for _ in range(10)))
    order = "".join(one.tenant[0] for one in drained(admission, running)[:8])
    assert order == "lblblblb"


def test_a_refund_for_what_is_long_past_makes_no_credit() -> None:
    admission, running = full()
    dear = ticket(tenant="late", cost=100)
    wait(admission, dear, *(ticket(tenant="busy") for _ in range(60)))
    for _ in range(31):
        (running,) = admission.finished(running, 0.0)
    wait(admission, *(ticket(tenant="late") for _ in range(10)))
    admission.settle(dear, 1)
    order = "".join(one.tenant[0] for one in drained(admission, running)[:8])
    assert order == "lblblblb"


def test_actual_tokens_count() -> None:
    admission, running = full()
    first = ticket(tenant="a")
    wait(admission, first, *(ticket(tenant=name) for _ in range(20) for name in "ab"))
    assert admission.finished(running, 0.0) == [first]
    admission.settle(first, 30)
    admission.settle(first, 50)  # a later word counts, not the sum
    assert "".join(one.tenant for one in drained(admission, first)[:8]) == "bbbbbaba"


def test_an_earlier_deadline_goes_first_within_a_tenant() -> None:
    admission, running = full()
    none, late, soon = ticket(), ticket(deadline_s=50.0), ticket(deadline_s=20.0)
    wait(admission, none, late, soon)
    assert drained(admission, running) == [soon, late, none]


def test_debts_are_forgotten_when_a_slot_stays_free() -> None:
    admission, running = full()
    dear = ticket(tenant="a", cost=1e6)
    wait(admission, dear)
    admission.finished(running, 0.0)
    admission.finished(dear, 0.0)
    admission.settle(dear, 2e6)
    running = ticket()
    admission.offer(running, 0.0)
    wait(admission, *(ticket(tenant=name) for _ in range(4) for name in "ab"))
    assert "".join(one.tenant for one in drained(admission, running)) == "abababab"


COSTS = st.lists(st.integers(1, 1000), min_size=1, max_size=8)


@given(
    costs=st.tuples(COSTS, COSTS),
    weights=st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.5, 1.0, 3.0])),
    is_settled=st.booleans(),
    others=st.integers(0, 3),
    slots=st.integers(1, 4),
)
def test_two_who_always_wait_differ_by_one_ticket_each(
    costs: tuple[list[int], list[int]],
    weights: tuple[float, float],
    is_settled: bool,
    others: int,
    slots: int,
) -> None:
    """The bound of start-time fair queueing, over every interval."""
    by_name = {"a": weights[0], "b": weights[1]}
    admission, last = full(weights=by_name, slots=slots)
    running = deque([last])
    numbers = {"a": count(), "b": count()}

    def fill() -> None:
        for name, own in (("a", costs[0]), ("b", costs[1])):
            for _ in range(3 - waiting[name]):
                cost = own[next(numbers[name]) % len(own)]
                wait(admission, ticket(tenant=name, cost=77 if is_settled else cost, bytes=cost))
                waiting[name] += 1

    waiting, served, differences = Counter(), {"a": 0.0, "b": 0.0}, [0.0]
    for at in range(150):
        fill()
        if others and not at % 7:
            wait(admission, *(ticket(tenant=f"x{at}-{number}") for number in range(others)))
        (granted,) = admission.finished(running.popleft(), 0.0)
        running.append(granted)
        if granted.tenant in served:
            waiting[granted.tenant] -= 1
            if is_settled:
                admission.settle(granted, granted.bytes)  # its true cost, for this test
            served[granted.tenant] += granted.bytes / by_name[granted.tenant]
            differences.append(served["a"] - served["b"])
    bound = max(costs[0]) / weights[0] + max(costs[1]) / weights[1]
    assert max(differences) - min(differences) <= bound + 1e-6


# -- preemption

PREEMPTING = Policy(NO_FLOORS, age_s=None, preemptions=1)


def test_a_higher_class_takes_the_slot_of_what_did_not_start() -> None:
    admission = Admission(3, None, PREEMPTING)
    running = [ticket(BULK), ticket(BULK), ticket(DEFAULT)]
    for one in running:
        admission.offer(one, 0.0)
    wait(admission, ticket(BULK))
    offer = admission.offer(ticket(INTERACTIVE), 1.0)
    assert (offer.outcome, offer.preempted) == ("admitted", running[1]), "the latest of the lowest class"
    assert admission.running == 3
    assert admission.finished(running[0], 2.0) == [running[1]], "the head of its queue"


def test_what_started_is_left_alone_and_so_are_equals() -> None:
    admission = Admission(1, None, PREEMPTING)
    running = ticket(DEFAULT)
    admission.offer(running, 0.0)
    assert admission.offer(ticket(DEFAULT), 0.0).outcome == "waiting"
    admission.started(running)
    assert admission.offer(ticket(SYSTEM), 0.0).outcome == "waiting"


def test_nobody_is_preempted_for_ever() -> None:
    admission = Admission(1, None, Policy(NO_FLOORS, age_s=None, preemptions=2))
    victim = ticket(BULK)
    admission.offer(victim, 0.0)
    for _ in range(2):
        urgent = ticket(INTERACTIVE)
        assert admission.offer(urgent, 0.0).preempted is victim
        assert admission.finished(urgent, 0.0) == [victim]
    assert admission.offer(ticket(INTERACTIVE), 0.0).outcome == "waiting"


def test_preemption_is_off_on_demand() -> None:
    admission = Admission(1, None, PLAIN)
    admission.offer(ticket(BULK), 0.0)
    assert admission.offer(ticket(SYSTEM), 0.0).outcome == "waiting"


def test_what_a_floor_brought_in_stays() -> None:
    policy = Policy(floors=(0.0, 0.0, 0.0, 0.5), age_s=None, preemptions=1)
    admission, running = full(policy=policy)
    bulk = [ticket(BULK), ticket(BULK)]
    wait(admission, *bulk, ticket(INTERACTIVE))
    (running,) = admission.finished(running, 0.0)
    assert running.priority == INTERACTIVE
    assert admission.finished(running, 0.0) == [bulk[0]]
    assert admission.offer(ticket(INTERACTIVE), 0.0).preempted is None


def test_nobody_is_preempted_who_could_not_wait() -> None:
    admission = Admission(1, Limits(waiting=1), PREEMPTING)
    admission.offer(ticket(DEFAULT), 0.0)
    wait(admission, ticket(BULK))
    assert admission.offer(ticket(INTERACTIVE), 0.0).preempted is None, "the queue is full"

    admission = Admission(1, Limits(wait_s=60.0), PREEMPTING)
    admission.offer(ticket(DEFAULT), 0.0)
    late = ticket(INTERACTIVE, arrival_s=60.0)
    assert admission.offer(late, 60.0).preempted is None, "it would expire at once"


def test_nobody_overtakes_its_equals_by_preemption() -> None:
    admission = Admission(1, Limits(bytes=1000), PREEMPTING)
    admission.offer(ticket(BULK, bytes=600), 0.0)
    large = ticket(BULK, bytes=500)
    wait(admission, large, ticket(INTERACTIVE))  # there is no room for both
    admission.finished(large, 0.0)
    assert admission.offer(ticket(INTERACTIVE), 0.0).preempted is None


def test_what_was_preempted_is_not_charged_twice() -> None:
    admission, running = full(policy=PREEMPTING)
    victim = ticket(DEFAULT, "a", cost=1000)
    wait(admission, victim)
    assert admission.finished(running, 0.0) == [victim]
    wait(admission, *(ticket(DEFAULT, name, cost=100) for _ in range(12) for name in "ba"))
    urgent = ticket(INTERACTIVE)
    assert admission.offer(urgent, 0.0).preempted is victim
    order = drained(admission, urgent)
    assert victim in order[:2]
    assert "".join(one.tenant for one in order[:12]) == "babbbbbbbbba", "once it is"


# -- estimates


def test_the_wait_is_expected_from_the_rate_of_grants() -> None:
    admission, running = full()
    assert Admission(1).expected_wait_s(ticket()) == 0.0, "a slot is free"
    newcomer = ticket(tenant="new")
    assert admission.expected_wait_s(newcomer) is None
    waiting = [ticket() for _ in range(20)]
    wait(admission, *waiting)
    now_s = 0.0
    for _ in range(10):
        now_s += 2.0
        (running,) = admission.finished(running, now_s)
    assert admission.expected_wait_s(running) == 0.0
    assert admission.expected_wait_s(waiting[10]) == pytest.approx(2.0)
    assert admission.expected_wait_s(waiting[19]) == pytest.approx(20.0)
    assert admission.expected_wait_s(ticket()) == pytest.approx(22.0)
    assert admission.expected_wait_s(newcomer) == pytest.approx(4.0), "its tenant shares with one other"
    assert admission.expected_wait_s(ticket(SYSTEM)) == pytest.approx(2.0)
    assert admission.expected_wait_s(ticket(BULK)) == pytest.approx(22.0)


def test_a_floor_bounds_the_expected_wait() -> None:
    admission, running = full(policy=Policy(floors=(0.0, 0.0, 0.0, 0.1), age_s=None, preemptions=0))
    wait(admission, *(ticket() for _ in range(101)))
    admission.finished(running, 1.0)
    assert admission.expected_wait_s(ticket(BULK)) == pytest.approx(10.0)


# -- laws


class Queue(RuleBasedStateMachine):
    """Every ticket is in one place, and the bounds hold, whatever is done in whatever order."""

    @initialize(
        slots=st.integers(1, 4),
        floors=FLOORS,
        age_s=st.sampled_from([None, 2.0]),
        preemptions=st.integers(0, 2),
    )
    def begin(self, slots: int, floors: Any, age_s: float | None, preemptions: int) -> None:
        self.limits = Limits(waiting=6, bytes=1000, wait_s=10.0)
        self.policy = Policy(floors, age_s, preemptions)
        self.admission = Admission(slots, self.limits, self.policy, {"a": 2.0})
        self.now_s, self.slots, self.most = 0.0, slots, slots
        self.offered: list[Ticket] = []
        self.at: dict[Ticket, str] = {}
        self.byte_came: set[Ticket] = set()

    def those(self, at: str) -> list[Ticket]:
        return [one for one in self.offered if self.at[one] == at]

    def now_run(self, granted: Sequence[Ticket]) -> None:
        for one in granted:
            assert self.at[one] == "waiting"
            assert one.arrival_s + self.limits.wait_s > self.now_s
            assert one.deadline_s is None or one.deadline_s > self.now_s
            self.at[one] = "running"
        if granted:
            assert len(self.those("running")) <= self.slots

    @rule(
        priority=st.sampled_from(Priority),
        tenant=st.sampled_from("abc"),
        cost=st.integers(0, 50),
        size=st.sampled_from([0, 50, 400, 1001]),
        deadline_s=st.none() | st.floats(-1, 15),
        age_s=st.sampled_from([0.0, 3.0]),
    )
    def offer(
        self,
        *,
        priority: Priority,
        tenant: str,
        cost: int,
        size: int,
        deadline_s: float | None,
        age_s: float,
    ) -> None:
        one = ticket(priority, tenant, cost, bytes=size, arrival_s=self.now_s - age_s)
        one.deadline_s = None if deadline_s is None else self.now_s + deadline_s
        self.offered.append(one)
        offer = self.admission.offer(one, self.now_s)
        if (victim := offer.preempted) is not None:
            assert self.at[victim] == "running"
            assert victim.priority > priority
            assert victim not in self.byte_came
            assert victim.preempted <= self.policy.preemptions
            self.at[victim] = "waiting"
        if (other := offer.displaced) is not None:
            assert self.at[other] == "waiting"
            assert other.priority >= priority
            assert other.priority > priority or other.tenant != tenant
            self.at[other] = "displaced"
        self.at[one] = {"admitted": "running"}.get(offer.outcome, offer.outcome.value)
        assert (offer.refusal is None) == (offer.outcome != "refused")
        assert len(self.those("running")) <= self.most

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        one = data.draw(st.sampled_from(self.those("running")))
        self.at[one] = "finished"
        self.now_run(self.admission.finished(one, self.now_s))

    @precondition(lambda self: self.those("waiting"))
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        one = data.draw(st.sampled_from(self.those("waiting")))
        self.at[one] = "left"
        assert not self.admission.finished(one, self.now_s)

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        one = data.draw(st.sampled_from(self.those("running")))
        self.byte_came.add(one)
        self.admission.started(one)

    @precondition(lambda self: self.offered)
    @rule(data=st.data(), tokens=st.integers(0, 200))
    def settle(self, data: Any, tokens: int) -> None:
        self.admission.settle(data.draw(st.sampled_from(self.offered)), tokens)

    @rule(for_s=st.floats(0, 6))
    def pass_time(self, for_s: float) -> None:
        self.now_s += for_s

    @rule()
    def expire(self) -> None:
        for one in self.admission.expire(self.now_s):
            assert self.at[one] == "waiting"
            self.at[one] = "expired"
        assert all(
            one.arrival_s + self.limits.wait_s > self.now_s
            and (one.deadline_s is None or one.deadline_s > self.now_s)
            for one in self.those("waiting")
        )
        expiry_s = self.admission.next_expiry_s()
        assert (expiry_s is not None) == bool(self.those("waiting"))
        assert expiry_s is None or expiry_s > self.now_s

    @rule(slots=st.integers(1, 5))
    def resize(self, slots: int) -> None:
        self.slots = slots
        self.now_run(self.admission.resize(slots, self.now_s))

    @rule(priority=st.sampled_from(Priority))
    def ask(self, priority: Priority) -> None:
        expected = self.admission.expected_wait_s(ticket(priority))
        assert expected is None or expected >= 0

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "admission"):
            return
        running, waiting = self.those("running"), self.those("waiting")
        self.most = max(self.slots, len(running))
        overdue = len(self.admission._overdue)
        assert self.admission.running == len(running)
        assert self.admission.waiting == len(waiting) - overdue <= self.limits.waiting
        assert self.admission.waiting == sum(self.admission.waiting_of(one) for one in Priority)
        assert self.admission.waiting_bytes == sum(one.bytes for one in waiting if one.is_waiting)
        assert self.admission.waiting_bytes <= self.limits.bytes
        assert not self.admission.waiting or len(running) >= self.slots, (
            "no slot is free while somebody waits"
        )

    def teardown(self) -> None:
        """All that is left runs or expires."""
        if not hasattr(self, "admission"):
            return
        while running := self.those("running"):
            for one in running:
                self.at[one] = "finished"
                self.now_run(self.admission.finished(one, self.now_s))
        self.expire()
        assert not self.those("waiting")


TestQueue = pytest.mark.timeout(120)(Queue.TestCase)
TestQueue.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_memory_is_bounded_by_what_waits() -> None:
    """Neither comings and goings nor corrections pile up."""
    admission, running = full(Limits(wait_s=1e9))
    for number in range(3000):
        one = ticket(tenant=f"t{number}")
        wait(admission, one)
        admission.finished(one, 0.0)
    stays = [ticket(tenant=name) for _ in range(2) for name in "ab"]
    wait(admission, *stays)
    (running,) = admission.finished(running, 0.0)
    for number in range(3000):
        one = ticket(tenant="b")
        wait(admission, one)
        admission.settle(running, number)
        admission.finished(one, 0.0)
    queue = admission._queues[DEFAULT]
    assert len(queue._accounts) <= TENANTS_KEPT + 3
    for heap in (admission._due, queue._turns, queue._ageing, queue._accounts["b"].queue):
        assert len(heap) <= 2 * 4 + SLACK


# -- overload


def jain(values: Sequence[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(one * one for one in values))


class Load:
    """`slots` servers; tickets come at random and take a second for every 100 tokens."""

    def __init__(self, rates: dict[tuple[Priority, str], float], seed: int, slots: int = 8) -> None:
        self.waits: dict[Priority, list[float]] = {one: [] for one in Priority}
        self.tokens: Counter[tuple[Priority, str]] = Counter()
        self.fates: Counter[str] = Counter()
        self._roll = random.Random(seed)  # noqa: S311 - repeatable
        self._rates = rates
        self._admission = Admission(slots)
        self._ends: list[tuple[float, int, Ticket]] = []
        self._runs: dict[Ticket, int] = {}  # by which end; one that was preempted has a later one
        self._number = count()

    def run(self, for_s: float, from_s: float) -> None:
        """Counts from `from_s` on, when it runs steadily."""
        self._from_s = from_s
        comes = [(self._roll.expovariate(rate), key) for key, rate in self._rates.items()]
        heapq.heapify(comes)
        while comes[0][0] < for_s:
            if self._ends and self._ends[0][0] <= comes[0][0]:
                now_s, number, one = heapq.heappop(self._ends)
                if self._runs.get(one) == number:
                    del self._runs[one]
                    self.fates["served"] += 1
                    if now_s >= from_s:
                        self.tokens[one.priority, one.tenant] += one.cost
                        self.waits[one.priority].append(now_s - one.cost / 100 - one.arrival_s)
                    self._admit(self._admission.finished(one, now_s), now_s)
                continue
            now_s, key = heapq.heappop(comes)
            heapq.heappush(comes, (now_s + self._roll.expovariate(self._rates[key]), key))
            one = ticket(*key, cost=self._roll.randint(20, 140), arrival_s=now_s)
            offer = self._admission.offer(one, now_s)
            self.fates[offer.outcome] += 1
            if offer.preempted is not None:
                del self._runs[offer.preempted]
            if offer.outcome == "admitted":
                self._admit([one], now_s)
            self.fates["expired"] += len(self._admission.expire(now_s))

    def _admit(self, tickets: Sequence[Ticket], now_s: float) -> None:
        for one in tickets:
            number = self._runs[one] = next(self._number)
            heapq.heappush(self._ends, (now_s + one.cost / 100, number, one))
            if self._roll.random() < 0.5:
                self._admission.started(one)


SHARES = {SYSTEM: 0.05, INTERACTIVE: 0.4, DEFAULT: 1.0, BULK: 1.55}  # of the capacity: three times as much


def test_overload_by_three_is_orderly() -> None:
    rates = {(one, tenant): SHARES[one] * 10 / 4 for one in Priority for tenant in "abcd"}
    load = Load(rates, seed=1)
    load.run(400.0, from_s=100.0)
    interactive = sorted(load.waits[INTERACTIVE])
    assert interactive[len(interactive) * 99 // 100] < 2.0, "seconds; a service takes 0.2 to 1.4"
    assert interactive[len(interactive) // 2] < 0.3
    total = sum(load.tokens.values())
    for one, floor in ((DEFAULT, 0.15), (BULK, 0.05)):
        tenants = [load.tokens[one, tenant] for tenant in "abcd"]
        assert sum(tenants) >= 0.9 * floor * total, one.name
    for one in (INTERACTIVE, DEFAULT, BULK):
        assert jain([load.tokens[one, tenant] for tenant in "abcd"]) >= 0.95, one.name
    assert load.fates["refused"], "the queue was full"


def test_a_tenant_who_asks_ten_times_as_much_gets_no_more() -> None:
    rates = {(DEFAULT, tenant): 10.0 for tenant in "abc"} | {(DEFAULT, "flood"): 100.0}
    load = Load(rates, seed=2)
    load.run(200.0, from_s=100.0)
    assert jain(list(load.tokens.values())) >= 0.95


# -- headroom

KEEPS = Policy(floors=NO_FLOORS, age_s=None, preemptions=0, headroom=(0.0, 0.0, 2.0, 2.0))


def test_lower_classes_leave_slots_for_a_burst_of_urgent_ones() -> None:
    admission = Admission(20, None, KEEPS)
    urgent = [ticket(INTERACTIVE) for _ in range(4)]
    for one in urgent:
        assert admission.offer(one, 0.0).outcome == "admitted"
    bulk = [ticket(BULK) for _ in range(13)]
    outcomes = [admission.offer(one, 1.0).outcome for one in bulk]
    assert outcomes == ["admitted"] * 11 + ["waiting"] * 2, "20 slots, 4 taken, 1 + 2 * 2 kept"
    default = ticket(DEFAULT)
    assert admission.offer(default, 1.0).outcome == "waiting"
    more = [ticket(INTERACTIVE) for _ in range(6)]
    assert [admission.offer(one, 1.0).outcome for one in more] == ["admitted"] * 5 + ["waiting"]
    assert admission.finished(bulk[0], 2.0) == [more[5]]
    assert list(admission.finished(bulk[1], 2.0)) == [], "for the next that is urgent"
    for one in urgent:
        assert list(admission.finished(one, 2.0)) == [], "15 run, 6 of them urgent, and 5 slots are kept"
    assert admission.finished(bulk[2], 2.0) == [default]


def test_nothing_is_kept_for_who_is_not_there() -> None:
    admission = Admission(10, None, KEEPS)
    bulk = [ticket(BULK) for _ in range(10)]
    assert [admission.offer(one, 0.0).outcome for one in bulk] == ["admitted"] * 10
    urgent = ticket(INTERACTIVE)
    wait(admission, urgent)
    assert admission.finished(bulk[0], 0.0) == [urgent]
    more = ticket(BULK)
    wait(admission, more, now_s=1.0)
    assert list(admission.finished(urgent, 1.0)) == [], "one is kept"
    assert admission.finished(bulk[1], 31.0) == [more], "that was long ago"


def test_a_small_deployment_keeps_half_at_most() -> None:
    admission = Admission(2, None, KEEPS)
    assert admission.offer(ticket(INTERACTIVE), 0.0).outcome == "admitted"
    assert admission.offer(ticket(BULK), 0.0).outcome == "waiting"
    alone = Admission(1, None, KEEPS)
    first = ticket(INTERACTIVE)
    alone.offer(first, 0.0)
    bulk = ticket(BULK)
    wait(alone, bulk)
    assert alone.finished(first, 1.0) == [bulk], "of one slot none can be kept"


def test_what_a_floor_owes_is_given_from_what_is_kept() -> None:
    policy = Policy(floors=(0.0, 0.0, 0.0, 0.25), age_s=None, preemptions=0, headroom=(0.0, 0.0, 9.0, 9.0))
    admission = Admission(4, None, policy)
    running = [ticket(INTERACTIVE) for _ in range(4)]
    for one in running:
        admission.offer(one, 0.0)
    waiting = [ticket(INTERACTIVE) for _ in range(20)]
    bulk = [ticket(BULK) for _ in range(5)]
    wait(admission, *waiting, *bulk)
    grants: list[Ticket] = []
    for _ in range(20):
        granted = list(admission.finished(running.pop(0), 1.0))
        grants += granted
        running += granted
    assert sum(one.priority is BULK for one in grants) == 5


@pytest.mark.parametrize("headroom", [(0.0, 1.0, 2.0, 2.0), (0.0, 0.0, -1.0, 0.0)])
def test_headroom_that_makes_no_sense(headroom: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="headroom is never negative"):
        Policy(headroom=headroom)
