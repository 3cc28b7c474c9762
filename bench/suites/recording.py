"""What writing down costs in time: a log line and a row of usage for each call, against a gateway without both.

The client and the rounds are those of the latency suite, at a rate that keeps the writers busy; the log goes to a
file, the rows into SQLite on the same disk.
"""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import Bench, Upstream
from bench.prober import Asked, probe
from bench.reach import Reach
from bench.subjects import PENSTOCK, Launch, Setup
from bench.suites.latency import percentiles_ms

NAME = "recording"
TITLE = "Log lines and rows of usage, by their effect on latency"
IS_LONG = False

PROMPT_BYTES = 1_000
PER_S = 500.0
BOUND = 1.10
BARE_GATEWAY = Path(__file__).parents[1] / "bare.py"
WRITES, BARE = "log lines and rows", "neither"


def _bare_launch(setup: Setup) -> Launch:
    launch = PENSTOCK.launch(setup)
    return replace(launch, argv=(sys.executable, str(BARE_GATEWAY), str(setup.work / "penstock.yaml")))


SUBJECTS = (replace(PENSTOCK, name=WRITES), replace(PENSTOCK, name=BARE, launch=_bare_launch))


def run(bench: Bench) -> dict[str, Any]:
    """{"log lines and rows": {"p99_ms": {...}, "p50_ms": {...}}, "neither": {...}, "ratio": {...}}"""
    rounds: dict[str, list[dict[str, float]]] = {WRITES: [], BARE: []}
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream(stack.enter_context(harness.scratch())))
        up = {one.name: stack.enter_context(harness.running(one, upstream)).launch for one in SUBJECTS}
        count = max(10, round(PER_S * bench.window_s))
        for number in range(2 * bench.rounds):  # the 99th percentile of a round is that of ten requests
            for name in (WRITES, BARE) if number % 2 else (BARE, WRITES):  # whoever is first has it colder
                to = up[name]
                body = harness.body(to.model, PROMPT_BYTES)
                asked = Asked(url=to.url, headers=dict(to.headers), body=body, per_s=PER_S, count=count)
                rounds[name].append(percentiles_ms(probe(asked)))
    result: dict[str, Any] = {
        name: {figure: harness.spread([one[figure] for one in seen]) for figure in seen[0]}
        for name, seen in rounds.items()
    }
    for figure in ("p50_ms", "p99_ms"):
        pairs = zip(rounds[WRITES], rounds[BARE], strict=True)
        result[f"{figure}_ratio"] = harness.spread([one[figure] / other[figure] for one, other in pairs])
    return result


def table(result: dict[str, Any]) -> str:
    lines = ["| | p50 ms | p99 ms |", "|---|---:|---:|"]
    for name in (WRITES, BARE):
        cells = (f"{result[name][one]['median']:.3g}" for one in ("p50_ms", "p99_ms"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratios = (f"{result[f'{one}_ratio']['median']:.3g}" for one in ("p50_ms", "p99_ms"))
    lines.append(f"| ratio, median of the rounds | {' | '.join(ratios)} |")
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    ratio = result.get("p99_ms_ratio")
    value = None if ratio is None else float(ratio["median"])
    return [Reach(f"p99 with log lines and rows of usage, at {PER_S:g} requests/s", BOUND, value)]
