"""Three times what an engine can do: who waits, and whether the wait is shared fairly.

One simulated engine; the gateway lets SLOTS answers run at once and keeps the rest in order, or it does not
(`concurrency` unset) and the engine queues first in, first out. Four tenants in each of four classes ask at random
times; the classes ask for different shares, together three times the capacity, and all tenants of a class for the same
but one, who asks for twice as much. Before that, the class `interactive` alone.
"""

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from bench import harness, replay
from bench.harness import Bench
from bench.reach import Reach
from bench.replay import Asked, Seen
from bench.simulated import engines, penstock, secret_of

NAME = "overload"
TITLE = "Three times the capacity: four tenants in each of four classes"
IS_LONG = False

FACTOR = 5.0
SPAN_S = 100.0
SETTLED_S = (
    30.0  # of the trace, before times are looked at: the slots fill, and urgent requests were heard of
)
SLOTS = 32
INPUT_TOKENS = 400
OUTPUT_TOKENS = 100
PREFILL_TOKENS_S = 24_000
DECODE_S = (
    0.02  # a token, in whatever company: the engine's own growth is turned off, so capacity is a number
)
CAPACITY = SLOTS / (INPUT_TOKENS / PREFILL_TOKENS_S + OUTPUT_TOKENS * DECODE_S)  # requests a second
SHARES = {"system": 0.05, "interactive": 0.25, "default": 1.35, "bulk": 1.35}  # of the capacity
TENANTS = 4
GOOD_S = 5.0


def run(bench: Bench) -> dict[str, Any]:
    """{"factor": 10, "capacity": 15.5, "alone": {...}, "rows": {"queue": {"interactive": {...}}, "fifo": {...}}}"""
    span_s = 30.0 if bench.is_quick else SPAN_S
    trace, owners = traffic(span_s, tuple(SHARES))
    calm, _ = traffic(span_s, ("interactive",))
    alone, _ = measured(calm, f"concurrency: {SLOTS}, queue: {{wait: 10m}}")
    rows: dict[str, Any] = {}
    for way, deployment in (("queue", f"concurrency: {SLOTS}, queue: {{wait: 10m}}"), ("fifo", "")):
        whole, seen = measured(trace, deployment)
        rows[way] = {"all": whole, **by_class(trace, seen, owners, span_s)}
    return {"factor": FACTOR, "capacity": CAPACITY, "alone": alone, "rows": rows}


def traffic(span_s: float, classes: Sequence[str]) -> tuple[list[Asked], list[tuple[str, int]]]:
    """Requests in the order of their times, and whose each is."""
    rng = random.Random(5)  # noqa: S311 - the same each time
    made: list[tuple[Asked, tuple[str, int]]] = []
    for name in classes:
        for tenant in range(TENANTS):
            asks = 2 if tenant == 0 else 1
            rate = SHARES[name] * CAPACITY * asks / (TENANTS + 1)
            at_s = rng.expovariate(rate)
            while at_s < span_s:
                asked = Asked(at_s, INPUT_TOKENS, OUTPUT_TOKENS, secret=secret_of(f"{name}{tenant}"))
                made.append((asked, (name, tenant)))
                at_s += rng.expovariate(rate)
    made.sort(key=lambda one: one[0].at_s)
    return [asked for asked, _ in made], [owner for _, owner in made]


def measured(trace: list[Asked], deployment: str) -> tuple[dict[str, float], list[Seen]]:
    keys = {f"{name}{tenant}": f"priority: {name}" for name in SHARES for tenant in range(TENANTS)}
    options = [
        *("--max-running", str(SLOTS), "--prefill-tokens-s", str(PREFILL_TOKENS_S)),
        *("--decode-s", str(DECODE_S), "--decode-growth", "0"),
    ]
    with (
        harness.scratch() as work,
        engines(work, FACTOR, *options, number=1) as urls,
        penstock(urls, work, route="timeouts: {first_token: 10m}", deployment=deployment, keys=keys) as door,
    ):
        replay.replay(door, [dataclasses.replace(trace[0], at_s=at / 5) for at in range(5)], 1.0)
        seen = replay.replay(door, trace, FACTOR)
    return replay.figures(seen, GOOD_S), seen


def by_class(
    trace: Sequence[Asked], seen: Sequence[Seen], owners: Sequence[tuple[str, int]], span_s: float
) -> dict[str, Any]:
    """Of each class its times, and how evenly its tenants were served while all of them asked."""
    found: dict[str, Any] = {}
    settled_s = min(SETTLED_S, span_s / 4)
    rows = list(zip(trace, seen, owners, strict=True))
    for name in SHARES:
        own = [one for asked, one, (owner, _) in rows if owner == name and asked.at_s >= settled_s]
        served = [
            sum(not one.error and one.ended_s <= span_s / FACTOR for _, one, who in rows if who == (name, at))
            for at in range(TENANTS)
        ]
        figures = replay.figures(own, GOOD_S)
        found[name] = {**figures, "served": sum(served), "fairness": jain(served)}
    return found


def jain(served: Sequence[int]) -> float:
    """Jain's index: 1 where all are served alike, 1/n where one is served alone."""
    squares = sum(one * one for one in served)
    return sum(served) ** 2 / (len(served) * squares) if squares else 0.0


def table(result: dict[str, Any]) -> str:
    said = (
        f"Capacity {result['capacity']:.1f} requests/s; seconds of the trace, time compressed {result['factor']:g}"
        f" times. Good: a first token within {GOOD_S:g} s; served: answered while all still asked; fairness: Jain's"
        " index over the tenants of a class, one of whom asks for twice as much."
    )
    alone = result["alone"]
    lines = [
        said,
        "",
        f"`interactive` alone: p50 {alone['p50_s']:.3g} s, p99 {alone['p99_s']:.3g} s.",
        "",
        "| | class | TTFT p50 s | p99 s | good | served | fairness |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for way, classes in result["rows"].items():
        label = {"queue": "our queue", "fifo": "the engine's own, first in first out"}[way]
        for name in SHARES:
            row = classes[name]
            lines.append(
                f"| {label} | {name} | {row['p50_s']:.3g} | {row['p99_s']:.3g} | {row['goodput']:.1%} |"
                f" {row['served']} | {row['fairness']:.3f} |"
            )
            label = ""
        lines.append(f"| | all | | | {classes['all']['goodput']:.1%} | | |")
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    queue = result["rows"]["queue"]
    scarce = [name for name in ("default", "bulk") if queue[name]["served"]]
    return [
        Reach(
            "interactive p99 TTFT at 3x overload against the class alone",
            1.5,
            queue["interactive"]["p99_s"] / result["alone"]["p99_s"],
        ),
        Reach("bulk requests served meanwhile", 1, queue["bulk"]["served"], "", at_least=True),
        Reach(
            "fairness between tenants of the classes that wait",
            0.95,
            min(queue[name]["fairness"] for name in scarce) if scarce else None,
            "",
            at_least=True,
        ),
    ]
