import pytest

from penstock.gateway.reservations import refused
from penstock.types.ledger import Limit, Refusal, Scope

KEY = Scope("key", "ann")


@pytest.mark.parametrize(
    ("window_s", "wait_s", "within", "room"),
    [
        (60, 59.2, "in any 60 s", "in 60 s"),
        (3600, 3599.0, "in any 3600 s", "in 3599 s"),
        (36 * 3600, 7200.1, "in any 36 hours", "in 3 hours"),
        (7 * 86400, 811_071.0, "in any 7 days", "in 10 days"),
        (216_000, 1.0, "in any 60 hours", "in 1 s"),
        (100_001, 0.0, "in any 100001 s", "in 1 s"),
    ],
)
def test_times_are_said_as_people_say_them(window_s: int, wait_s: float, within: str, room: str) -> None:
    error = refused(Refusal(KEY, Limit("requests", 5, window_s), 5, 0, wait_s))
    assert f"may use 5 requests {within}; used: 5, reserved: 0. There is room {room}." in error.message
    assert error.retry_after_s == wait_s


def test_whose_it_is_is_said_as_people_call_it() -> None:
    of_all = refused(Refusal(Scope("team", "team_a14d", "lab"), Limit("requests", 1, 60), 1, 0, 61.0))
    assert of_all.message.startswith("The limit is reached: the team 'lab' may use 1 request in any 60 s;")
    of_two = refused(Refusal(Scope("team", "team_a14d o3 gpt-4o", "lab"), Limit("tokens", 9, 60), 9, 0, 61.0))
    assert "the team 'lab' for o3, gpt-4o may use 9 tokens" in of_two.message
