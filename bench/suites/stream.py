"""Open streams: what the gateway's work for an event costs, how many it carries, and what one holds in memory.

The upstream sends an event to every open stream at each tick, as an engine does that decodes its batch step by
step. CPU is that of events alone: no stream begins or ends within a window. Streams are so few that the
program keeps up and every event is one write of its own; how few is told beside the figure.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import Bench, Running, Upstream, Window, Wrk
from bench.peers import PEERS
from bench.prober import Asked
from bench.reach import Reach
from bench.subjects import NGINX, PENSTOCK, Launch, NotInstalled, Subject
from bench.suites import latency

NAME = "stream"
TITLE = "Gateway, open streams"
IS_LONG = False

TICK_S = 0.02
EVENTS = 400  # of a stream: eight seconds, longer than a measurement
STREAMS = 100
BUSY = 0.4  # of a core at most, or fewer streams
ENCODINGS = ("gzip", "zstd")

FIRST_TICK_S = 0.002
FIRST_EVENTS = 5
FIRST_PER_S = 100.0

CARRIED = 0.97  # of the events that were due
BUSY_CORE = 0.9  # a program below that is not what ends the capacity
MOST_STREAMS = 8_000
OPEN_LIMIT_S = 10.0

HELD = 1_000  # streams of the memory measurement
HELD_TICK_S = 1.0
HELD_S = 3.5  # until each has seen some events


@dataclass(frozen=True)
class Measured:
    """A row of the CPU table: a program, and what its clients ask for."""

    program: Running
    target: Launch


def run(bench: Bench) -> dict[str, Any]:
    cpu = _cpu(bench)
    return {
        "cpu": cpu,
        "first_content": _first_content(bench),
        "capacity": {one.name: _capacity(bench, one, cpu[one.name]) for one in (PENSTOCK, NGINX)},
        "memory": _memory(bench),
    }


# CPU per event ------------------------------------------------------------------------------------------------


def _cpu(bench: Bench) -> dict[str, dict[str, Any]]:
    subjects = (PENSTOCK, NGINX) if bench.is_quick else latency.SUBJECTS
    if bench.is_all:
        subjects = (PENSTOCK, NGINX, *PEERS)  # those in Python and Node take half a minute to start
    rows: dict[str, dict[str, Any]] = {}
    rounds: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        upstream = stack.enter_context(Upstream(work, tick_us=round(TICK_S * 1e6), events=EVENTS))
        up: dict[str, Measured] = {}
        for subject in subjects:
            row = rows[subject.name] = {}
            try:
                row["version"] = subject.install()
                program = stack.enter_context(harness.running(subject, upstream))
            except NotInstalled as exc:
                row["missing"] = str(exc)
                continue
            if not program.launch.streams:
                row["missing"] = "it does not stream"
                continue
            up[subject.name] = Measured(program, program.launch)
            if subject is PENSTOCK:
                for encoding in ENCODINGS:
                    up[f"{PENSTOCK.name}, {encoding}"] = Measured(
                        program, _accepting(program.launch, encoding)
                    )
                    rows[f"{PENSTOCK.name}, {encoding}"] = {}
        for name, one in up.items():
            with _failures(rows[name]):
                plain = rows[one.program.subject.name].get("streams")  # of the row before, for an encoding
                rows[name]["streams"] = plain or _bearable(one, upstream, work)
        for _ in range((bench.rounds + 1) // 2):
            for name, one in up.items():
                if "failed" in rows[name]:
                    continue
                with _failures(rows[name]):
                    seen = _watched(one, upstream, rows[name]["streams"], bench.window_s, work)
                    rows[name]["core_busy"] = round(seen.cpu_s / seen.wall_s, 3)
                    rounds.setdefault(name, []).append(seen.cpu_s / seen.events * 1e6)
    limit = rounds.get(NGINX.name, [])
    for name, seen_us in rounds.items():
        rows[name]["cpu_us_per_event"] = harness.spread(seen_us)
        if len(limit) == len(seen_us):
            ratios = [one / base for one, base in zip(seen_us, limit, strict=True)]
            rows[name]["ratio_per_event"] = harness.spread(ratios)
    return rows


@contextlib.contextmanager
def _failures(row: dict[str, Any]) -> Iterator[None]:
    """What goes wrong with one row is told in it; the others are measured."""
    try:
        yield
    except RuntimeError as exc:
        row["failed"] = str(exc)


def _accepting(target: Launch, encoding: str) -> Launch:
    return replace(target, headers={**target.headers, "accept-encoding": encoding})


def _bearable(one: Measured, upstream: Upstream, work: Path) -> int:
    """The streams that leave the program's core idle for most of the time, by a look at four."""
    seen = _watched(one, upstream, 4, 1.0, work)
    return max(2, min(STREAMS, int(BUSY / (seen.cpu_s / seen.events) * TICK_S)))


def _watched(one: Measured, upstream: Upstream, streams: int, window_s: float, work: Path) -> Window:
    """A window in the middle of `streams` open streams. Raises RuntimeError when they do not open or stay."""
    with _open(one.target, upstream, streams, work):
        time.sleep(0.3)
        seen = harness.window(one.program, upstream, window_s)
        if upstream.counts()["streams"] < streams or not seen.events:
            raise RuntimeError("streams ended before their time")
    return seen


@contextlib.contextmanager
def _open(target: Launch, upstream: Upstream, streams: int, work: Path) -> Iterator[None]:
    """`streams` open streams. Raises RuntimeError when they do not open."""
    asked = harness.body(target.model, stream=True)
    load = Wrk(target, asked, connections=streams, duration_s=120, work=work)
    try:
        if not _becomes(lambda: upstream.counts()["streams"] >= streams):
            raise RuntimeError(f"only {upstream.counts()['streams']} of {streams} streams opened")
        yield
    finally:
        load.kill()
    if not _becomes(lambda: upstream.counts()["streams"] == 0):
        raise RuntimeError("streams go on without their clients")


def _becomes(true: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + OPEN_LIMIT_S
    while not true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


# Time to the first content event ------------------------------------------------------------------------------


def _first_content(bench: Bench) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        upstream = stack.enter_context(Upstream(work, tick_us=round(FIRST_TICK_S * 1e6), events=FIRST_EVENTS))
        asked = Asked(
            url="",
            headers={},
            body=harness.body("", stream=True),
            per_s=FIRST_PER_S,
            count=max(10, round(FIRST_PER_S * bench.window_s)),
            until_first_content=True,
        )
        rows = latency.compare(bench, *latency.started(bench, upstream, stack), asked)
    return {"per_s": FIRST_PER_S, "streams": asked.count, "rows": rows}


# Capacity -----------------------------------------------------------------------------------------------------


def _capacity(bench: Bench, subject: Subject, row: dict[str, Any]) -> dict[str, Any]:
    """The most streams whose events all come through: doubled until too many, then halved in between."""
    if "cpu_us_per_event" not in row:
        return {"failed": "its events were not measured"}
    carried, refused = 0, 0
    why = ""
    streams = max(10, int(0.6 * TICK_S / (row["cpu_us_per_event"]["median"] / 1e6)))
    with (
        harness.scratch() as work,
        Upstream(work, tick_us=round(TICK_S * 1e6), events=100_000) as upstream,
        harness.running(subject, upstream) as program,
    ):
        halvings = 2 if bench.is_all else 1
        while halvings and streams <= MOST_STREAMS:
            share, busy = _carried(program, upstream, streams, work)
            if share < CARRIED and busy < BUSY_CORE:  # not for want of its core: something else ran
                share, busy = _carried(program, upstream, streams, work)
            if share >= CARRIED:
                carried = streams
            else:
                refused = streams
                why = "its core" if busy >= BUSY_CORE else "the core of the load"
            halvings -= bool(refused)
            streams = (carried + refused) // 2 if refused else 2 * streams
    return {"streams": carried, "refused": refused or None, "limit": why or "not reached"}


def _carried(program: Running, upstream: Upstream, streams: int, work: Path) -> tuple[float, float]:
    """The share of the due events that the program took over, and of its core that it was busy."""
    try:
        with _open(program.launch, upstream, streams, work):
            time.sleep(0.5)
            unread = _unread_bytes(upstream.port)
            seen = harness.window(program, upstream, 1.5)
            unread = _unread_bytes(upstream.port) - unread
    except RuntimeError:
        return 0.0, 1.0  # they do not even open
    taken = seen.events - max(0, unread) / upstream.counts()["event_bytes"]
    return taken / (streams * seen.wall_s / TICK_S), seen.cpu_s / seen.wall_s


def _unread_bytes(port: int) -> int:
    """What lies between the upstream's writes and the program's reads: in the kernel's buffers of both sides."""
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        to_send, to_read = (int(size, 16) for size in queues.split(":"))
        if int(remote.partition(":")[2], 16) == port:
            total += to_read
        if int(local.partition(":")[2], 16) == port:
            total += to_send
    return total


# Memory -------------------------------------------------------------------------------------------------------


def _memory(bench: Bench) -> dict[str, dict[str, Any]]:
    held = 100 if bench.is_quick else HELD
    rows: dict[str, dict[str, Any]] = {}
    for subject, encoding in ((PENSTOCK, ""), *((PENSTOCK, one) for one in ENCODINGS), (NGINX, "")):
        name = f"{subject.name}, {encoding}" if encoding else subject.name
        row = rows[name] = {"streams": held}
        with (
            _failures(row),
            harness.scratch() as work,
            Upstream(work, tick_us=round(HELD_TICK_S * 1e6), events=EVENTS) as upstream,
            harness.running(subject, upstream) as program,
        ):
            target = _accepting(program.launch, encoding) if encoding else program.launch
            with _open(target, upstream, 5, work):  # what the first streams load is not theirs to pay for
                time.sleep(HELD_TICK_S)
            before = program.rss_bytes()
            with _open(target, upstream, held, work):
                time.sleep(HELD_S)
                grown = program.rss_bytes() - before
            row["kb_per_stream"] = round(grown / held / 1000, 1)
            row["before_mb"] = round(before / 1e6, 1)
    return rows


# Report -------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    return "\n\n".join(
        (
            _cpu_table(result["cpu"]),
            _first_table(result["first_content"]),
            _capacity_table(result["capacity"]),
            _memory_table(result["memory"]),
        )
    )


def _cpu_table(rows: dict[str, Any]) -> str:
    lines = [
        f"Content events, one each {TICK_S * 1e3:g} ms on every stream:",
        "",
        "| | CPU us per event | against nginx | open streams | core busy |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        label = f"{name} {row.get('version', '')}".strip()
        if (why := row.get("missing") or row.get("failed")) is not None:
            lines.append(f"| {label} | not measured: {why} | | | |")
            continue
        cpu, ratio = row["cpu_us_per_event"], row.get("ratio_per_event", {"median": float("nan")})
        lines.append(
            f"| {label} | {cpu['median']:g} ({cpu['min']:g}-{cpu['max']:g}) | {ratio['median']:.2f} |"
            f" {row['streams']} | {row['core_busy']:.0%} |"
        )
    return "\n".join(lines)


def _first_table(measured: dict[str, Any]) -> str:
    pace = f"{measured['per_s']:g} streams begun each second, {measured['streams']} a round"
    lines = [
        f"Time to the first content event, {pace}:",
        "",
        "| | added p50 ms | added p99 ms | p50 ms | p99 ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in measured["rows"].items():
        lines.append(f"| {name} {row.get('version', '')}".rstrip() + f" {latency.cells(row)}")
    return "\n".join(lines)


def _capacity_table(rows: dict[str, Any]) -> str:
    lines = [
        f"Open streams of {1 / TICK_S:g} events/s that one core carries ({CARRIED:.0%} of the events taken over):",
        "",
        "| | streams carried | too many | what ends it |",
        "|---|---:|---:|---|",
    ]
    for name, row in rows.items():
        if "failed" in row:
            lines.append(f"| {name} | | | not measured: {row['failed']} |")
            continue
        refused = "" if row["refused"] is None else f"{row['refused']:,}"
        lines.append(f"| {name} | {row['streams']:,} | {refused} | {row['limit']} |")
    return "\n".join(lines)


def _memory_table(rows: dict[str, Any]) -> str:
    lines = [
        "Growth of resident memory, streams open and an event each second on every one (KB of 1,000 bytes):",
        "",
        "| | KB per open stream | open streams | MB before |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        if "failed" in row:
            lines.append(f"| {name} | not measured: {row['failed']} | | |")
            continue
        lines.append(f"| {name} | {row['kb_per_stream']:g} | {row['streams']:,} | {row['before_mb']:g} |")
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    ours = result["cpu"].get(PENSTOCK.name, {}).get("ratio_per_event", {}).get("median")
    plain = result["memory"].get(PENSTOCK.name, {}).get("kb_per_stream")
    compressed = [
        result["memory"].get(f"{PENSTOCK.name}, {encoding}", {}).get("kb_per_stream")
        for encoding in ENCODINGS
    ]
    return [
        Reach("streaming CPU per event against nginx", 2.5, ours),
        Reach("streaming CPU per event against nginx (the aim)", 2.0, ours),
        Reach("memory of an open stream", 60, plain, unit="KB"),
        Reach(
            "memory of an open stream, compressed (the larger of gzip and zstd)",
            100,
            None if None in compressed else max(compressed),
            unit="KB",
        ),
    ]
