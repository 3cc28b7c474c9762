"""Two workers against one: requests and events of streams that pass in a second, both up all the time.

One worker has a core of its own. Two have a second one; on a machine with no third core they share that with the
upstream and the load generator, and the figure is less than what two cores can do.
"""

import contextlib
import os
import time
from typing import Any

from bench import harness
from bench.harness import CORE_OF_LOAD, CORE_UNDER_TEST, Bench, Running, Upstream, Wrk
from bench.reach import Reach
from bench.subjects import PENSTOCK, Setup

NAME = "workers"
TITLE = "Workers: two processes against one"
IS_LONG = True

WORKERS = (1, 2)
CONNECTIONS = 64
STREAMS = 64
WARM_UP_S = 1.0
TICK_S = 0.001  # events come faster than one worker passes them on
EVENTS = 400
HAS_CORE = 1.6  # times as much, where the second worker has a core of its own


def run(bench: Bench) -> dict[str, Any]:
    """{"cores": 2, "requests": {"1": {...}, "2": {...}, "ratio": {...}}, "events": {...}}"""
    seen: dict[str, dict[int, list[dict[str, float]]]] = {
        name: {workers: [] for workers in WORKERS} for name in ("requests", "events")
    }
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        upstream = stack.enter_context(Upstream(work, tick_us=round(TICK_S * 1e6), events=EVENTS))
        programs: dict[int, Running] = {}
        for workers in WORKERS:
            folder = stack.enter_context(harness.scratch())
            setup = Setup(upstream=upstream.url, port=harness.free_port(), work=folder, workers=workers)
            programs[workers] = stack.enter_context(Running(PENSTOCK, setup, core=cores(workers)))
        for _ in range(bench.rounds):
            for name, found in seen.items():
                for workers, program in programs.items():
                    found[workers].append(measured(bench, program, upstream, work, name=name))
    return {"cores": os.cpu_count(), **{name: summary(found) for name, found in seen.items()}}


def cores(workers: int) -> set[int]:
    """The first, and for a second worker one that nobody else has, where there is such a one."""
    if workers == 1:
        return {CORE_UNDER_TEST}
    return {CORE_UNDER_TEST, 2 if (os.cpu_count() or 1) > 2 else CORE_OF_LOAD}


def measured(bench: Bench, program: Running, upstream: Upstream, work: Any, *, name: str) -> dict[str, float]:
    is_stream = name == "events"
    load = Wrk(
        program.launch,
        harness.body(program.launch.model, stream=is_stream),
        connections=STREAMS if is_stream else CONNECTIONS,
        duration_s=WARM_UP_S + bench.window_s + 1,
        work=work,
    )
    time.sleep(WARM_UP_S)
    seen = harness.window(program, upstream, bench.window_s)
    load.finish()
    passed = seen.events if is_stream else seen.requests
    if not passed:
        raise RuntimeError(f"no {name} came through")
    return {
        "per_s": passed / seen.wall_s,
        "cpu_us": seen.cpu_s / passed * 1e6,
        "busy": seen.cpu_s / seen.wall_s,
    }


def summary(found: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    one, two = (found[workers] for workers in WORKERS)
    ratios = [ours["per_s"] / theirs["per_s"] for ours, theirs in zip(two, one, strict=True)]
    rows = {
        str(workers): {figure: harness.spread([row[figure] for row in rounds]) for figure in rounds[0]}
        for workers, rounds in found.items()
    }
    return {**rows, "ratio": harness.spread(ratios)}


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{CONNECTIONS} connections, {STREAMS} streams; a machine of {result['cores']} cores.",
        "",
        "| | workers | a second | CPU us each | cores busy | two against one |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in ("requests", "events"):
        for workers in WORKERS:
            row = result[name][str(workers)]
            ratio = f"{result[name]['ratio']['median']:.2f}" if workers > 1 else ""
            lines.append(
                f"| {name} | {workers} | {row['per_s']['median']:,.0f} | {row['cpu_us']['median']:.3g} |"
                f" {row['busy']['median']:.2f} | {ratio} |"
            )
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    has_core = result["cores"] > 2
    return [
        Reach(
            f"{name}, two workers against one",
            HAS_CORE,
            result[name]["ratio"]["median"] if has_core else None,
            at_least=True,
        )
        for name in ("requests", "events")
    ]
