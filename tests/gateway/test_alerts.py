from collections.abc import Callable, Sequence

import pytest

from penstock.gateway.alerts import Alerts
from penstock.testing.clock import FakeClock
from penstock.types.ledger import Claim, Lease, Limit, Period, Refusal, Rest, Scope
from penstock.types.webhooks import Event

USD = 10**12
TEAM = Scope("team", "lab")
DAY_S = 86_400.0


class Told:
    def __init__(self, window: int | Period = "month", shares: tuple[float, ...] = (0.5, 0.8, 1.0)) -> None:
        self.events: list[Event] = []
        self.clock = FakeClock()
        self.limit = Limit("pico_usd", 100 * USD, window, shares)
        self.alerts = Alerts(self.clock, self.events.append)

    def used(self, usd: int, *, before: int = 0, reserved: int = 0, budget: int = 100) -> Sequence[float]:
        """A call took so much, after others had; the shares that were told of by now."""
        left = max(0, budget - before - reserved)
        rests = [Rest(TEAM, self.limit, left * USD, None)]
        lease = Lease("l", [Claim(TEAM, (self.limit,))], 60.0, rests)
        self.alerts.settled(lease, reserved * USD, usd * USD)
        return [event.data["share"] for event in self.events]


class Others:
    """The other workers: what they are told, and what they tell."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def hears(self, subject: str, hear: Callable[[bytes], None]) -> None:
        self.hear = hear

    def tell(self, subject: str, body: bytes) -> None:
        self.told.append(body)


def test_each_share_is_told_once() -> None:
    told = Told()
    assert told.used(10) == []
    assert told.used(45, before=10, reserved=3) == [0.5]
    assert told.used(1, before=55) == [0.5]
    assert told.used(30, before=56) == [0.5, 0.8]
    assert told.used(30, before=86) == [0.5, 0.8, 1.0]
    assert told.used(1, before=90) == [0.5, 0.8, 1.0], "others were given back what they had reserved"


@pytest.mark.parametrize("window", ["day", "total"])
def test_what_others_give_back_tells_nothing_again(window: Period) -> None:
    told = Told(window)
    assert told.used(85) == [0.8]
    assert told.used(1, before=60) == [0.8], "85 were there with what others had reserved"
    assert told.used(25, before=61) == [0.8]
    told.clock.advance(DAY_S)
    assert told.used(85) == ([0.8, 0.8] if window == "day" else [0.8])


def test_a_budget_that_was_raised_is_told_of_anew() -> None:
    told = Told()
    assert told.used(100) == [1.0]
    told.limit = Limit("pico_usd", 200 * USD, "month", told.limit.alerts)
    assert told.used(25, before=100, budget=200) == [1.0, 0.5]
    assert told.used(40, before=125, budget=200) == [1.0, 0.5, 0.8]
    assert len({event.id for event in told.events}) == 3


def test_workers_that_find_a_share_at_once_forget_no_higher_one() -> None:
    told, other = Told(), Others()
    told.alerts.join(other)
    assert told.used(85) == [0.8]
    late = Told()
    late.alerts.join(lower := Others())
    assert late.used(55) == [0.5]
    other.hear(lower.told[0])
    assert told.used(1, before=85) == [0.8]
    assert late.used(30, before=55) == [0.5, 0.8]
    lower.hear(other.told[0])
    assert late.used(1, before=85) == [0.5, 0.8]


def test_a_leap_over_several_is_one_event() -> None:
    assert Told().used(100) == [1.0]


def test_a_new_period_begins_anew() -> None:
    told = Told("day")
    assert told.used(60) == [0.5]
    told.clock.advance(DAY_S)
    assert told.used(60) == [0.5, 0.5]
    first, second = (event.id for event in told.events)
    assert first != second


def test_a_rolling_budget_is_told_again_after_it_was_less() -> None:
    told = Told(3600)
    assert told.used(60) == [0.5]
    assert told.used(10, before=55) == [0.5]
    assert told.used(1, before=20) == [0.5]
    assert told.used(40, before=20) == [0.5, 0.5]


def test_what_is_told() -> None:
    told = Told()
    told.used(81)
    (event,) = told.events
    assert (event.type, event.team) == ("budget.alert", "lab")
    assert event.data == {
        "scope": "team",
        "id": "lab",
        "name": "lab",
        "models": [],
        "share": 0.8,
        "used_usd": "81",
        "budget_usd": "100",
        "window": "month",
    }
    again = Told()
    again.used(90)
    assert again.events[0].id == event.id, "another process finds the same"


def test_a_refusal_means_that_all_is_used() -> None:
    told = Told()
    told.alerts.refused(Refusal(TEAM, told.limit, 100 * USD, 0, 5.0))
    assert [event.data["share"] for event in told.events] == [1.0]


def test_a_refusal_of_a_call_that_is_too_large_does_not() -> None:
    told = Told()
    told.alerts.refused(Refusal(TEAM, told.limit, 10 * USD, 5 * USD, None))
    assert told.events == []
    told.alerts.refused(Refusal(TEAM, told.limit, 40 * USD, 20 * USD, 5.0))
    told.alerts.refused(Refusal(TEAM, told.limit, 90 * USD, 5 * USD, 5.0))
    assert [(event.data["share"], event.data["used_usd"]) for event in told.events] == [
        (0.5, "60"),
        (1.0, "95"),
    ]


@pytest.mark.parametrize("limit", [Limit("tokens", 10, 60), Limit("pico_usd", USD, "total")])
def test_nothing_is_told_of_limits_without_alerts(limit: Limit) -> None:
    events: list[Event] = []
    alerts = Alerts(FakeClock(), events.append)
    alerts.refused(Refusal(TEAM, limit, limit.amount, 0, None))
    alerts.settled(Lease("l", [], 60.0, [Rest(TEAM, limit, 0, None)]), 0, limit.amount)
    assert events == []
