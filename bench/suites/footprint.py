"""Start-up, idle memory, and memory after many requests.

A start is timed from the spawn of the process to the first byte of an answer's text (`penstock up`, builtin
models already fetched: the request is sent as soon as the port accepts, and waits for the model) or to the end
of an answer from the upstream (a gateway alone, whose upstream is there all the time). The files are in the
page cache, as for a restart. Memory is resident memory (RSS) and, where pages are shared with other processes,
this one's part of them (Pss); engine processes are counted apart, because their size is their model's.
"""

import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import harness
from bench.harness import Bench, Program, Running, Upstream, Wrk
from bench.peers import PEERS
from bench.reach import Reach
from bench.subjects import PENSTOCK, SECRET, Launch, NotInstalled, Setup, Subject

NAME = "footprint"
TITLE = "Start-up and memory"
IS_LONG = True

STARTS = 3
SOME_REQUESTS = 1_000  # after which caches and buffers have their size
MANY_REQUESTS, MOST_REQUESTS = 200_000, 1_000_000  # the latter in `make bench-all`
CONNECTIONS = 64
TICK_US, EVENTS = 1_000, 20  # of the streams among the many requests
SETTLE_S = 1.0  # engines and threads of the start come to rest
START_LIMIT_S = 120.0
MIB = 1 << 20


def run(bench: Bench) -> dict[str, Any]:
    starts = 1 if bench.is_quick else STARTS
    return {
        "up": _up(starts),
        "gateways": {
            subject.name: _gateway(subject, starts if subject is PENSTOCK else 1)
            for subject in ((PENSTOCK,) if bench.is_quick else (PENSTOCK, *PEERS))
        },
        "growth": _growth(2_000 if bench.is_quick else MOST_REQUESTS if bench.is_all else MANY_REQUESTS),
    }


def _up(starts: int) -> dict[str, Any]:
    """`penstock up` with the builtin models."""
    listening, answered = [], []
    for number in range(starts):
        with harness.scratch() as work:
            port = harness.free_port()
            # The key is given only so that it need not be read from where `up` would mint one.
            (work / "penstock.yaml").write_text(f"keys: {{k: {{secret: {SECRET}}}}}\n")
            argv = [str(Path(sys.executable).with_name("penstock")), "up", "--port", str(port)]
            began = time.monotonic()
            with Program([*argv, "--data-dir", str(work / "data")], core=None, work=work) as program:
                connection = _connected(port, program)
                listening.append(time.monotonic() - began)
                _first_text(connection)
                answered.append(time.monotonic() - began)
                if number < starts - 1:
                    continue
                time.sleep(SETTLE_S)
                memory = _memory([program.pid])
                engines = {_named(pid): _memory([pid]) for pid in _children(program.pid)}
    return {
        "listening_s": harness.spread(listening),
        "answered_s": harness.spread(answered),
        "gateway": memory,
        "engines": engines,
    }


def _connected(port: int, program: Program) -> socket.socket:
    give_up = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up and program.is_running():
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=START_LIMIT_S)
        time.sleep(0.002)
    raise RuntimeError(f"does not listen; its last words: {program.said()}")


def _first_text(connection: socket.socket) -> None:
    messages = [{"role": "user", "content": "What is Penstock?"}]
    body = json.dumps({"model": "builtin:chat", "messages": messages, "max_tokens": 8, "stream": True})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    got = bytearray()
    with connection:
        connection.sendall((head + body).encode())
        while b'"content":"' not in got:
            data = connection.recv(1 << 16)
            if not data:
                raise RuntimeError(f"no answer: {bytes(got[-300:])!r}")
            got += data


def _gateway(subject: Subject, starts: int) -> dict[str, Any]:
    """One gateway before one upstream, no engines."""
    row: dict[str, Any] = {}
    try:
        row["version"] = subject.install()
        answered = []
        with harness.scratch() as outside, Upstream(outside) as upstream:
            for number in range(starts):
                with harness.scratch() as work:
                    launch = subject.launch(Setup(upstream=upstream.url, port=harness.free_port(), work=work))
                    began = time.monotonic()
                    with Program(launch.argv, core=None, work=work, env=launch.env) as program:
                        _answered(launch, program, subject.start_s)
                        answered.append(time.monotonic() - began)
                        if number < starts - 1:
                            continue
                        time.sleep(SETTLE_S)
                        row["idle"] = _memory(program.pids())
                        _ask(launch, SOME_REQUESTS)
                        time.sleep(SETTLE_S)
                        row["after_some"] = _memory(program.pids())
        row["answered_s"] = harness.spread(answered)
    except (NotInstalled, OSError, RuntimeError, http.client.HTTPException) as exc:
        row["missing"] = str(exc) or type(exc).__name__
    return row


def _answered(launch: Launch, program: Program, limit_s: float) -> None:
    asked, why = harness.body(launch.model), "no answer"
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up and program.is_running():
        try:
            harness.http(launch.url, asked, launch.headers)
        except OSError as exc:  # refused, or an error status while it starts
            why = str(exc)
            time.sleep(0.005)
        else:
            return
    raise NotInstalled(f"does not start: {why}; its last words: {program.said()}")


def _ask(launch: Launch, times: int) -> None:
    """So many requests one after another on one connection. Raises RuntimeError unless each is answered."""
    url = urlsplit(launch.url)
    body = json.dumps(harness.body(launch.model))
    headers = {"content-type": "application/json", **launch.headers}
    with contextlib.closing(http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)) as client:
        for _ in range(times):
            client.request("POST", url.path, body, headers)
            answer = client.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}")


def _growth(requests: int) -> dict[str, Any]:
    """Answers and streams by turns, a second each; memory after a tenth of them and after all."""
    with (
        harness.scratch() as work,
        Upstream(work, tick_us=TICK_US, events=EVENTS) as upstream,
        harness.running(PENSTOCK, upstream) as program,
    ):
        began = upstream.counts()["requests"]
        seen: list[tuple[int, float]] = []
        streams = 0
        while len(seen) < 2 or seen[-1][0] < requests:  # one pair would be first and last
            unary = _second(program, upstream, work, stream=False)
            streamed = _second(program, upstream, work, stream=True)
            streams += streamed
            if not unary or not streamed:
                raise RuntimeError("no request came through")
            seen.append((upstream.counts()["requests"] - began, _rss_mib(program)))
        time.sleep(SETTLE_S)
        end = _rss_mib(program)
        first = next(mib for done, mib in seen if done >= requests / 10)
    return {
        "requests": seen[-1][0],
        "streams": streams,
        "first_mib": round(first, 1),
        "end_mib": round(end, 1),
        "grown_mib": round(end - first, 2),
        "by_requests": [[done, round(mib, 1)] for done, mib in seen],
    }


def _second(program: Running, upstream: Upstream, work: Path, *, stream: bool) -> int:
    before = upstream.counts()["requests"]
    asked = harness.body(program.launch.model, stream=stream)
    Wrk(program.launch, asked, connections=CONNECTIONS, duration_s=1, work=work).finish()
    return upstream.counts()["requests"] - before


def _rss_mib(program: Program) -> float:
    return _memory(program.pids())["rss_mib"]


def _memory(pids: Iterable[int]) -> dict[str, float]:
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "Rss":
                    rss += int(value.split()[0]) * 1024
                elif name == "Pss":
                    pss += int(value.split()[0]) * 1024
    return {"rss_mib": round(rss / MIB, 1), "pss_mib": round(pss / MIB, 1)}


def _children(parent: int) -> list[int]:
    """Its engine processes: each leads a session of its own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                    found.append(int(entry.name))
    return found


def _named(pid: int) -> str:
    for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
        if word.startswith("penstock.engines."):
            return word.removeprefix("penstock.engines.").removesuffix("_worker")
    return str(pid)


def table(result: dict[str, Any]) -> str:
    up, growth = result["up"], result["growth"]
    lines = [
        "| | start to first answer, s | idle RSS (Pss), MiB | after 1,000 requests |",
        "|---|---:|---:|---:|",
        f"| `penstock up`, builtin models: the gateway | {_seconds(up['answered_s'])} | {_mib(up['gateway'])} | |",
    ]
    lines += [f"| its engine process {name} | | {_mib(memory)} | |" for name, memory in up["engines"].items()]
    for name, row in result["gateways"].items():
        label = f"{name} {row.get('version', '')}".strip() + ", gateway alone"
        if (why := row.get("missing")) is not None:
            lines.append(f"| {label} | not measured: {why} | | |")
        else:
            cells = [_seconds(row["answered_s"]), _mib(row["idle"]), _mib(row["after_some"])]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    listening = up["listening_s"]["median"]
    counted = f"{growth['requests']:,} requests, {growth['streams']:,} of them streams of {EVENTS} events"
    return "\n".join(lines) + (
        f"\n\n`penstock up` accepts connections after {listening:.2f} s; a request that comes before the model is"
        " loaded waits for it. All processes of a gateway count.\n\n"
        f"Memory over {counted}: {growth['first_mib']:g} MiB RSS after a tenth, {growth['end_mib']:g} MiB at the"
        " end."
    )


def _seconds(seen: Mapping[str, float]) -> str:
    if seen["min"] == seen["max"]:
        return f"{seen['median']:.2f}"
    return f"{seen['median']:.2f} ({seen['min']:.2f}-{seen['max']:.2f})"


def _mib(memory: Mapping[str, float]) -> str:
    return f"{memory['rss_mib']:.0f} ({memory['pss_mib']:.0f})"


def reaches(result: dict[str, Any]) -> list[Reach]:
    alone, growth = result["gateways"][PENSTOCK.name], result["growth"]
    idle = alone["idle"]["rss_mib"] if "idle" in alone else None
    return [
        Reach("gateway idle, RSS, with engines", 80, result["up"]["gateway"]["rss_mib"], "MiB"),
        Reach("gateway idle, RSS, alone", 80, idle, "MiB"),
        Reach(f"growth over {growth['requests']:,} requests", 8, growth["grown_mib"], "MiB"),
    ]
