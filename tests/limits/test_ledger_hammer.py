"""Limits hold while processes are killed and server and network fail: seconds in the suite, minutes in the
long proof, whose length PENSTOCK_HAMMER_SECONDS sets (60, for each kind of ledger).
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_hammer import KINDS, Hammer, Result, server_of
from ledger_history import Call, History, Judge, Part, most_at_once, most_within
from ledger_worker import A, B, P, S, T

from penstock.testing.servers import Server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def server(request: pytest.FixtureRequest, kind: str) -> Iterator[Server | None]:
    """Empty: what another hammer used would be found in it, too."""
    if kind in ("redis", "postgres"):
        request.getfixturevalue(kind)  # or it is skipped
    with server_of(kind) as found:
        yield found


def judged(result: Result) -> None:
    assert not result.wrong, result.report()
    calls = result.history.calls
    assert sum(call.is_told for call in calls) > 50, result.report()
    assert any(part.is_refused for call in calls for part in call.parts), result.report()


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_limits_hold_while_all_around_fails(kind: str, server: Server | None, tmp_path: Path) -> None:
    judged(Hammer(kind, server, tmp_path, 5.0, 1.0).run())


@pytest.mark.long
@pytest.mark.timeout(4000)
def test_limits_hold_for_long(
    kind: str, server: Server | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = float(os.environ.get("PENSTOCK_HAMMER_SECONDS", "60"))
    result = Hammer(kind, server, tmp_path, seconds, 3.0).run()
    with capsys.disabled():
        sys.stdout.write(f"\n{result.report()}\n")
    judged(result)
    if seconds >= 60:
        assert not [event for event in ("kills", *expected(server)) if not result.events[event]]


def expected(server: Server | None) -> tuple[str, ...]:
    if server is None:
        return ()
    return ("pauses", "stalls of old connections", "stalls of answers", "restarts", "crashes of the server")


# -- the judge sees what is wrong


def call(start_s: float, end_s: float, amount: int, claims: list[int], *, by: int = 0) -> Call:
    part = Part(start_s, amount, start_s + 0.01, by)
    return Call("1", claims, [part], end_s, amount, is_settled=True, is_told=True, last_s=end_s)


def wrong(calls: list[Call]) -> list[str]:
    judge = Judge(History(calls, ["1"], []), replicas=4, budget=1_000, lives=False)
    return [finding.what.partition(" ")[0] for finding in judge.limits() if not finding.is_right]


def test_a_history_within_all_limits_is_right() -> None:
    assert wrong([call(at * 0.1, at * 0.1 + 0.05, 1, [A, B, T, P, S]) for at in range(200)]) == []


@pytest.mark.parametrize(
    ("calls", "what"),
    [
        ([call(at * 0.015, at * 0.015 + 0.02, 1, [A]) for at in range(200)], "requests"),  # 66 a second
        ([call(at * 0.1, at * 0.1 + 0.05, 75, [T]) for at in range(200)], "tokens"),  # 1,500 in two
        ([call(at * 0.1, at * 0.1 + 0.75, 1, [B]) for at in range(200)], "calls"),  # 7 at once
        ([call(at * 0.08, at * 0.1, 1, [S], by=1) for at in range(200)], "requests"),  # 12 by a share of 10
        ([call(at * 0.1, at * 0.1, 10, [P]) for at in range(101)], "tokens"),
    ],
)
def test_a_history_beyond_a_limit_is_wrong(calls: list[Call], what: str) -> None:
    assert wrong(calls) == [what]


def test_what_is_counted_within_a_window() -> None:
    granted = [(0.0, 0.1, 1), (0.5, 0.6, 2), (0.95, 1.2, 4), (1.3, 1.4, 8), (9.0, 9.9, 16)]
    assert most_within(1.0, granted) == 16
    assert most_within(0.8, granted[:4]) == 12
    assert most_at_once([(0.0, 1.0), (1.0, 2.0), (0.5, 1.5), (3.0, 3.0)]) == 2


def test_what_is_booked_for_a_call() -> None:
    told = call(0, 1, 70, [A])
    assert told.bounds(is_asked=True) == (70, 70)
    killed = Call("1", [A], [Part(0, 50, 1.0), Part(2, 30)])
    assert killed.bounds(is_asked=True) == (50, 80)
    ending = Call("1", [A], [Part(0, 50, 1.0)], 2.0, 90)
    assert ending.bounds(is_asked=True) == (50, 90)
    lost = Call("1", [A], [Part(0, 50)])
    assert lost.bounds(is_asked=True) == (0, 50)
