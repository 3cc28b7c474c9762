"""The slowest of a hundred: hedging off and on, when one of four replicas is ten times slower at times.

Requests of 800 tokens at random times against four simulated engines, an eighth of what they can do; one of them takes
ten times as long for 15 % of its requests. The same gateway with `hedge: off` and `hedge: on`.
"""

import dataclasses
import random
from typing import Any

from bench import harness, replay
from bench.harness import Bench
from bench.reach import Reach
from bench.replay import Asked
from bench.simulated import engines, metric, penstock

NAME = "tail"
TITLE = "Hedging: one of four replicas is slow at times"
IS_LONG = False

FACTOR = 10.0
SPAN_S = 300.0
RATE = 4.0  # requests a second
GOOD_S = 1.0
INPUT_TOKENS = 800
OUTPUT_TOKENS = 100
SLOW = ("--slow", "0.15", "--slow-factor", "10", "--faulty", "0")
WAYS = ("off", "on")


def run(bench: Bench) -> dict[str, Any]:
    """{"factor": 20, "requests": 2400, "rows": {"off": {"p99_s": ..., "extra": 0.0}, "on": {...}}}"""
    trace = traffic(60.0 if bench.is_quick else SPAN_S)
    warm = [dataclasses.replace(one, at_s=at / RATE) for at, one in enumerate(trace[:60])]  # late is learned
    rows: dict[str, Any] = {}
    for way in WAYS:
        with (
            harness.scratch() as work,
            engines(work, FACTOR, *SLOW, number=4) as urls,
            penstock(urls, work, route=f"hedge: {way}") as door,
        ):
            replay.replay(door, warm, FACTOR)
            before = metric(door, "penstock_upstream_attempts_total")
            row = replay.figures(replay.replay(door, trace, FACTOR), GOOD_S)
            attempts = metric(door, "penstock_upstream_attempts_total") - before
            rows[way] = {**row, "extra": attempts / len(trace) - 1}
    return {"factor": FACTOR, "requests": len(trace), "rows": rows}


def traffic(span_s: float) -> list[Asked]:
    rng = random.Random(6)  # noqa: S311 - the same each time
    made = []
    at_s = rng.expovariate(RATE)
    while at_s < span_s:
        made.append(Asked(at_s, INPUT_TOKENS, OUTPUT_TOKENS))
        at_s += rng.expovariate(RATE)
    return made


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['requests']} requests; seconds of the trace, time compressed {result['factor']:g} times.",
        "",
        "| hedge | mean TTFT s | p50 s | p99 s | asked twice | failed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for way, row in result["rows"].items():
        times = " | ".join(f"{row[name]:.3g}" for name in ("mean_s", "p50_s", "p99_s"))
        lines.append(f"| {way} | {times} | {row['extra']:.1%} | {row['failed']:g} |")
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    rows = result["rows"]
    return [
        Reach("p99 TTFT with hedging against without", 0.4, rows["on"]["p99_s"] / rows["off"]["p99_s"]),
        Reach("requests that are asked twice", 5.0, rows["on"]["extra"] * 100, "%"),
    ]
