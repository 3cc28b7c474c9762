"""Many tasks in many processes at one shared ledger, while processes are killed and the server is stopped,
restarted and killed. What they wrote down is judged by itself: no limit was exceeded, no refund was lost, and
nothing is reserved once the leases are over.
"""

# ruff: noqa: S311 - chance, no secrets

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ledger_worker
import pytest
from ledger_worker import CLAIMS, REQUESTS, SLOTS, TOKENS

from penstock.testing.servers import PostgresServer, RedisServer, Server

A, B, T = range(3)  # of CLAIMS
TTL_S = 3.0


@dataclass
class Part:
    """A reservation or an extension: from when until when it was asked for; None: nobody heard the answer."""

    start_s: float
    tokens: int
    end_s: float | None = None
    is_refused: bool = False


@dataclass
class Call:
    claims: list[int]
    parts: dict[int, Part] = field(default_factory=dict)
    ends_s: float | None = None
    actual: int | None = None
    is_ended: bool = False
    last_s: float = 0.0  # when its process was last heard of

    @property
    def admitted(self) -> list[Part]:
        return [part for part in self.parts.values() if part.end_s is not None]

    def net(self) -> list[tuple[Part, int]]:
        """Of each part what it holds for certain: never more than was reserved, nor than was used."""
        left = self.actual if self.actual is not None else sum(part.tokens for part in self.admitted)
        held = []
        for part in self.parts.values():
            if not part.is_refused:
                taken = min(left, part.tokens)
                left -= taken
                if part.end_s is not None:
                    held.append((part, taken))
        return held

    def bounds(self) -> tuple[int, int]:
        """The least and the most that may be booked for it when all is over."""
        reserved = sum(part.tokens for part in self.admitted)
        most = sum(part.tokens for part in self.parts.values() if not part.is_refused)
        if self.actual is None:
            return reserved, most
        if self.is_ended:
            return self.actual, self.actual
        return min(self.actual, reserved), max(self.actual, most)


def read(folder: Path) -> list[Call]:
    calls: dict[str, Call] = {}
    for log in folder.glob("*.log"):
        mine: list[Call] = []
        last_s = 0.0
        for line in log.read_text().splitlines():
            match json.loads(line):
                case ["ask", call, part, start_s, claims, tokens]:
                    if part == 0:
                        calls[call] = Call(claims)
                        mine.append(calls[call])
                    calls[call].parts[part] = Part(start_s, tokens)
                    last_s = start_s
                case ["got", call, part, end_s]:
                    calls[call].parts[part].end_s = last_s = end_s
                case ["refused", call, part]:
                    calls[call].parts[part].is_refused = True
                case ["ends", call, at_s, actual]:
                    calls[call].ends_s, calls[call].actual = at_s, actual
                    last_s = at_s
                case ["ended", call, at_s]:
                    calls[call].is_ended = True
                    last_s = at_s
        for one in mine:
            one.last_s = last_s
    return [*calls.values()]


def most_within(window_s: float, booked: list[tuple[float, float, int]]) -> int:
    """The most that was asked for and granted within any window: what surely happened in it."""
    booked.sort()
    return max(
        (
            sum(
                amount
                for start_s, end_s, amount in booked
                if first_s <= start_s and end_s <= first_s + window_s
            )
            for first_s, _, _ in booked
        ),
        default=0,
    )


def most_at_once(held: list[tuple[float, float]]) -> int:
    steps = sorted(
        [(start, 1) for start, end in held if end > start] + [(end, -1) for start, end in held if end > start]
    )
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def judge(calls: list[Call]) -> None:
    """Against the limits of CLAIMS; knows nothing of slices or leases, only of what was granted when."""
    admitted = [call for call in calls if call.parts[0].end_s is not None]
    requests = [
        (call.parts[0].start_s, call.parts[0].end_s or 0.0, 1) for call in admitted if A in call.claims
    ]
    assert most_within(1.0, requests) <= REQUESTS
    tokens = [
        (part.start_s, part.end_s or 0.0, taken)
        for call in admitted
        if T in call.claims
        for part, taken in call.net()
    ]
    assert most_within(2.0, tokens) <= TOKENS
    running = []
    for call in admitted:
        if B in call.claims:
            part = call.parts[0]
            over_s = call.last_s if call.ends_s is None else call.ends_s
            running.append((part.end_s or 0.0, min(over_s, part.start_s + TTL_S)))
    assert most_at_once(running) <= SLOTS


def judge_end(calls: list[Call], kind: str, url: str) -> None:
    async def report() -> list[Any]:
        ledger = await ledger_worker.open_ledger(kind, url)
        try:
            return await ledger.report(CLAIMS, 0.0)
        finally:
            await ledger.close()

    rows = asyncio.run(report())
    assert [row.reserved for row in rows] == [0] * 6, rows
    for number in range(3):
        (row,) = [one for one in rows if one.scope == CLAIMS[number].scope and one.limit.window == "total"]
        bounds = [call.bounds() for call in calls if number in call.claims]
        least, most = sum(low for low, _ in bounds), sum(high for _, high in bounds)
        assert least <= row.used <= most, row


def hammer(
    kind: str, url: str, folder: Path, *, seconds: float, processes: int, chaos: Callable[[], Iterator[float]]
) -> list[Call]:
    """`chaos` does something each time it is asked, and says when to ask again. Every second one process
    is killed, and another takes its place.
    """
    began_s = time.monotonic()
    running: list[subprocess.Popen[bytes]] = []
    logs = iter(range(10**6))

    def start() -> subprocess.Popen[bytes]:
        left_s = max(0.5, began_s + seconds - time.monotonic())
        skew_s = random.choice([-30.0, 0.0, 30.0])
        argv = [url, str(folder / f"{next(logs)}.log"), "6", str(left_s), str(skew_s), str(TTL_S)]
        return subprocess.Popen([sys.executable, ledger_worker.__file__, kind, *argv])

    try:
        running += [start() for _ in range(processes)]
        killed_s = time.monotonic() + 1.0
        pauses = chaos()
        next_s = time.monotonic() + next(pauses)
        while time.monotonic() < began_s + seconds:
            if time.monotonic() > next_s:
                next_s = time.monotonic() + next(pauses, seconds)
            if time.monotonic() > killed_s and time.monotonic() < began_s + seconds - 1.0:
                victim = random.choice(running)
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                running.remove(victim)
                running.append(start())
                killed_s = time.monotonic() + random.uniform(0.5, 2.0)
            time.sleep(0.02)
        for process in running:
            assert process.wait(60) == 0
    finally:
        for process in running:
            process.kill()
            process.wait()
    time.sleep(TTL_S)
    return read(folder)


def trouble(server: Server | None, *, every_s: float, kills: bool) -> Callable[[], Iterator[float]]:
    def chaos() -> Iterator[float]:
        yield every_s
        while server is not None:
            match random.choice(["pause", "restart", "kill"] if kills else ["pause", "restart"]):
                case "pause":
                    server.pause()
                    time.sleep(random.uniform(0.2, 1.5))
                    server.resume()
                case "restart":
                    server.restart()
                case "kill":
                    server.restart(kill=True)
            yield random.uniform(0.5, 1.5) * every_s
        yield 10**6

    return chaos


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, Server | None]:
    if request.param == "sqlite":
        return "sqlite", str(tmp_path / "ledger.db"), None
    server: RedisServer | PostgresServer = request.getfixturevalue(request.param)
    return request.param, server.url, server


@pytest.mark.timeout(90)
@pytest.mark.e2e
def test_limits_hold_while_processes_die_and_the_server_stops(
    place: tuple[str, str, Server | None], tmp_path: Path
) -> None:
    kind, url, server = place
    asyncio.run(_empty(kind, url))
    calls = hammer(
        kind, url, tmp_path, seconds=6.0, processes=3, chaos=trouble(server, every_s=1.5, kills=False)
    )
    _judge_all(calls, kind, url)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_limits_hold_for_long_and_through_crashes(
    place: tuple[str, str, Server | None], tmp_path: Path
) -> None:
    kind, url, server = place
    asyncio.run(_empty(kind, url))
    calls = hammer(
        kind, url, tmp_path, seconds=60.0, processes=4, chaos=trouble(server, every_s=3.0, kills=True)
    )
    _judge_all(calls, kind, url)


def _judge_all(calls: list[Call], kind: str, url: str) -> None:
    refused = sum(part.is_refused for call in calls for part in call.parts.values())
    ended = sum(call.is_ended for call in calls)
    killed = sum(bool(call.admitted) and not call.is_ended for call in calls)
    sys.stdout.write(f"{kind}: {len(calls)} calls, {ended} ended, {refused} refused, {killed} killed\n")
    assert ended > 50
    assert refused > 10
    judge(calls)
    judge_end(calls, kind, url)


async def _empty(kind: str, url: str) -> None:
    ledger = await ledger_worker.open_ledger(kind, url)
    if kind == "redis":
        await ledger._redis.flushall()  # type: ignore[attr-defined]
    elif kind == "postgres":
        await ledger._pool.execute("TRUNCATE ledger_counts, ledger_leases")  # type: ignore[attr-defined]
    await ledger.close()


def test_the_judge_sees_what_is_wrong() -> None:
    def call(start_s: float, end_s: float, tokens: int) -> Call:
        part = Part(start_s, tokens, start_s + 0.01)
        return Call([A, B, T], {0: part}, end_s, tokens, is_ended=True, last_s=end_s)

    judge([call(at * 0.1, at * 0.1 + 0.05, 1) for at in range(200)])
    for wrong in (
        [call(at * 0.015, at * 0.015 + 0.012, 1) for at in range(200)],  # 66 requests a second
        [call(at * 0.1, at * 0.1 + 0.05, 350) for at in range(200)],  # 7,000 tokens in two seconds
        [call(at * 0.1, at * 0.1 + 0.75, 1) for at in range(200)],  # 7 at once
    ):
        with pytest.raises(AssertionError):
            judge(wrong)
