"""An open-loop client: requests leave at fixed times, whether earlier ones were answered or not.

Latency counts from the time at which a request was due, so a program that stalls is charged for every request
that fell due meanwhile. The loop is select(2) rather than asyncio: its timeout is in microseconds, uvloop's
timers are whole milliseconds. On a shared machine a hypervisor takes cores away for milliseconds, which is longer
than anything measured here: requests are sent until as many as wanted fell into tenths of a second in which it did
not, at most three times as many, and those are counted; where they are fewer than a quarter, the least disturbed with
them. It runs in a process of its own, pinned to the core of the load, with the garbage collector off:

    python -m bench.prober < asked.json     (an Asked; prints a Seen as JSON)
"""

import contextlib
import gc
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.harness import CORE_OF_LOAD

WARM_UP_S = 0.1  # of requests that are sent but not counted: they open the connections
DRAIN_S = 5.0  # after the last request was due
MAX_OPEN = 900  # select(2) takes 1024 descriptors
WINDOW_S = 0.1  # counted or put aside as a whole
MOST_TIMES = 3  # as many requests as wanted are sent, for those that were left alone
LEAST = 0.25  # of those wanted are counted

FIRST_CONTENT = b"forest"  # what every content event of bench/upstream.c says


@dataclass(frozen=True)
class Asked:
    """What to send, and how often."""

    url: str
    headers: Mapping[str, str]
    body: Any
    per_s: float
    count: int  # requests to count
    until_first_content: bool = False  # time to the first content event rather than to the end


@dataclass(frozen=True)
class Seen:
    """Of the requests that count."""

    seconds: list[float]
    sent: int  # those put aside, too
    disturbed: int  # of those that count: there were not enough others

    def counts(self, before: Mapping[str, int] | None = None) -> dict[str, int]:
        """{"sent": ..., "counted": ..., "disturbed": ...}, with those of earlier rounds."""
        own = {"sent": self.sent, "counted": len(self.seconds), "disturbed": self.disturbed}
        return {name: count + (before or {}).get(name, 0) for name, count in own.items()}


@dataclass
class _Window:
    """`stolen`: ticks (10 ms) of all cores that the hypervisor took in it, just before or just after."""

    seconds: list[float] = field(default_factory=list)
    stolen: int = 0


@dataclass
class _Open:
    """A request under way. It belongs to no window while it is not counted."""

    due: float
    window: _Window | None
    got: bytearray = field(default_factory=bytearray)
    is_timed: bool = False
    length: int | None = None  # of the whole answer; None: chunked, or its head is not there yet


def probe(asked: Asked) -> Seen:
    """Sends them in a process of its own. Raises RuntimeError when some fail."""
    done = subprocess.run(
        ["taskset", "-c", str(CORE_OF_LOAD), sys.executable, "-m", "bench.prober"],
        input=json.dumps(asdict(asked)),
        capture_output=True,
        text=True,
        timeout=MOST_TIMES * asked.count / asked.per_s + 60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the prober said nothing"])[-1])
    return Seen(**json.loads(done.stdout))


def _probe(asked: Asked) -> Seen:
    windows: list[_Window] = []
    for _ in range(MOST_TIMES):
        windows += _run(asked)
        if sum(len(one.seconds) for one in windows if not one.stolen) >= asked.count:
            break
    return least_disturbed(windows, asked.count)


def least_disturbed(windows: Sequence[_Window], count: int) -> Seen:
    seconds: list[float] = []
    disturbed = 0
    for one in sorted(windows, key=lambda one: one.stolen):
        most = round(count * LEAST) if one.stolen else count
        counted = one.seconds[: max(0, most - len(seconds))]
        seconds += counted
        disturbed += len(counted) if one.stolen else 0
    return Seen(seconds, sum(len(one.seconds) for one in windows), disturbed)


def told(every: Sequence[Mapping[str, int]]) -> str:
    """What a page says of `counts`."""
    sent, counted, disturbed = (sum(one[name] for one in every) for name in ("sent", "counted", "disturbed"))
    rest = f"; of these {disturbed} were disturbed, too" if disturbed else ""
    return f"Of {sent} requests {counted} count, those that the hypervisor disturbed least{rest}."


def _stolen() -> int:
    """Ticks since the machine was started; 0 where nobody counts them (proc(5), the eighth figure of a core)."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[8]) for line in lines if re.match(r"cpu\d", line))


def _run(asked: Asked) -> list[_Window]:
    to = urlsplit(asked.url)
    address = (to.hostname or "", to.port or 80)
    wire = _wire(asked, to.path)
    idle: list[socket.socket] = []
    busy: dict[socket.socket, _Open] = {}
    windows: list[_Window] = []
    stolen: list[int] = []  # soon after each window began, and at the end
    per_window = max(1, round(WINDOW_S * asked.per_s))
    began = time.perf_counter() + 0.05
    warm_up = max(2, round(WARM_UP_S * asked.per_s))
    sent, total = 0, warm_up + asked.count
    give_up = began + total / asked.per_s + DRAIN_S
    while sent < total or busy:
        now = time.perf_counter()
        if now > give_up:
            raise SystemExit(
                f"cannot carry {asked.per_s:g} requests/s: {total - sent + len(busy)} unanswered"
            )
        due = began + sent / asked.per_s
        if sent < total and now >= due:
            if len(busy) >= MAX_OPEN:
                raise SystemExit(f"cannot carry {asked.per_s:g} requests/s: {len(busy)} are waiting")
            connection = idle.pop() if idle else _connected(address)
            if sent >= warm_up and (sent - warm_up) % per_window == 0:
                if len(stolen) < len(windows):
                    stolen.append(_stolen())
                windows.append(_Window())
            busy[connection] = _Open(due, windows[-1] if windows else None)
            sent += 1
            connection.sendall(wire)
            continue
        if not busy and len(stolen) < len(windows):  # to read it takes as long as a tenth of a request
            stolen.append(_stolen())
            continue
        wait_s = max(0.0, due - now) if sent < total else give_up - now
        for connection in select.select(list(busy), [], [], wait_s)[0]:
            one = busy[connection]
            data = connection.recv(1 << 18)
            now = time.perf_counter()
            one.got += data
            is_over = _is_over(one)
            is_there = is_over or (asked.until_first_content and FIRST_CONTENT in one.got)
            if is_there and not one.is_timed:
                one.is_timed = True
                if one.window is not None:
                    one.window.seconds.append(now - one.due)
            if is_over:
                del busy[connection]
                idle.append(connection)
            elif not data:
                raise SystemExit(f"the connection was closed after {len(one.got)} bytes of an answer")
    for connection in idle:
        connection.close()
    stolen += [_stolen()] * (1 + len(windows) - len(stolen))
    for at, window in enumerate(windows):
        window.stolen = stolen[min(at + 2, len(windows))] - stolen[max(at - 1, 0)]
    return windows


def _wire(asked: Asked, path: str) -> bytes:
    body = json.dumps(asked.body, separators=(",", ":")).encode()
    headers = {"host": "127.0.0.1", "content-type": "application/json", **asked.headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def _connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _is_over(one: _Open) -> bool:
    """Whether the whole answer is there. Raises SystemExit unless it is a 200."""
    if one.length is None:
        head, end, _ = bytes(one.got).partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(bytes(one.got[:200]).decode("latin-1"))
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                one.length = len(head) + 4 + int(line.partition(b":")[2])
    return one.got.endswith(b"\r\n0\r\n\r\n") if one.length is None else len(one.got) >= one.length


if __name__ == "__main__":
    asked = Asked(**json.load(sys.stdin))
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(asdict(_probe(asked))))
