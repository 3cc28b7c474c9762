"""An open-loop client: requests leave at fixed times, whether earlier ones were answered or not.

Latency counts from the time at which a request was due, so a program that stalls is charged for every request
that fell due meanwhile. The loop is select(2) rather than asyncio: its timeout is in microseconds, uvloop's
timers are whole milliseconds. It runs in a process of its own, pinned to the core of the load, with the garbage
collector off:

    python -m bench.prober < asked.json     (an Asked; prints the seconds of every counted request as JSON)
"""

import contextlib
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.harness import CORE_OF_LOAD

WARM_UP_S = 0.1  # of requests that are sent but not counted: they open the connections
DRAIN_S = 5.0  # after the last request was due
MAX_OPEN = 900  # select(2) takes 1024 descriptors

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


@dataclass
class _Open:
    """A request under way. `due` is None while it is not counted."""

    due: float | None
    got: bytearray = field(default_factory=bytearray)
    is_timed: bool = False
    length: int | None = None  # of the whole answer; None: chunked, or its head is not there yet


def probe(asked: Asked) -> list[float]:
    """Seconds of each counted request, in a process of its own. Raises RuntimeError when some fail."""
    done = subprocess.run(
        ["taskset", "-c", str(CORE_OF_LOAD), sys.executable, "-m", "bench.prober"],
        input=json.dumps(asdict(asked)),
        capture_output=True,
        text=True,
        timeout=asked.count / asked.per_s + 60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the prober said nothing"])[-1])
    seconds: list[float] = json.loads(done.stdout)
    return seconds


def _run(asked: Asked) -> list[float]:
    to = urlsplit(asked.url)
    address = (to.hostname or "", to.port or 80)
    wire = _wire(asked, to.path)
    idle: list[socket.socket] = []
    busy: dict[socket.socket, _Open] = {}
    seconds: list[float] = []
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
            busy[connection] = _Open(due if sent >= warm_up else None)
            sent += 1
            connection.sendall(wire)
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
                if one.due is not None:
                    seconds.append(now - one.due)
            if is_over:
                del busy[connection]
                idle.append(connection)
            elif not data:
                raise SystemExit(f"the connection was closed after {len(one.got)} bytes of an answer")
    for connection in idle:
        connection.close()
    return seconds


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
    told = Asked(**json.load(sys.stdin))
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(_run(told)))
