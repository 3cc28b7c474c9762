"""What writing down costs in time: a log line and a row of usage for each call, against a gateway without both.

The client and the rounds are those of the latency suite, at a rate that keeps the writers busy; the log goes to a
file, the rows into SQLite on the same disk. A percentile is the median of those of the rounds: of all rounds together
one bad moment of the machine would be the 99th (in three runs of one hour 3.7, 0.33 and 0.98 times). bench-all also has each of the two alone, and the gateway without both a second time, which
shows how far two measurements of the same differ.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import Bench, Upstream
from bench.prober import Asked, probe, told
from bench.reach import Reach
from bench.subjects import PENSTOCK, Launch, Setup
from bench.suites.latency import percentiles_ms

NAME = "recording"
TITLE = "Log lines and rows of usage, by their effect on latency"
IS_LONG = False

PROMPT_BYTES = 1_000
PER_S = 500.0
BOUND = 1.10
MOST_DISTURBED = 0.2  # of the requests
BARE_GATEWAY = Path(__file__).parents[1] / "bare.py"
BOTH, NEITHER = "log lines and rows", "neither"


def _bare(setup: Setup, log_level: str) -> Launch:
    config = str(setup.work / "penstock.yaml")
    return replace(PENSTOCK.launch(setup), argv=(sys.executable, str(BARE_GATEWAY), config, log_level))


def _rows(setup: Setup) -> Launch:
    launch = PENSTOCK.launch(setup)
    return replace(launch, argv=(*launch.argv, "--log-level", "error"))


LAUNCHES: dict[str, Callable[[Setup], Launch]] = {
    BOTH: PENSTOCK.launch,
    NEITHER: lambda setup: _bare(setup, "error"),
    "log lines alone": lambda setup: _bare(setup, "info"),
    "rows alone": _rows,
    "neither, once more": lambda setup: _bare(setup, "error"),
}


def run(bench: Bench) -> dict[str, Any]:
    """{"rows": {"log lines and rows": {"p50_ms": ..., "p99_ms": ..., "p50_ratio": ..., ...}, "neither": {...}}, "requests": {...}}

    The ratios are to "neither".
    """
    names = list(LAUNCHES) if bench.is_all else [BOTH, NEITHER]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    counts: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream(stack.enter_context(harness.scratch())))
        up = {name: _started(stack, upstream, name) for name in names}
        count = max(10, round(PER_S * bench.window_s))
        for number in range(2 * bench.rounds):
            at = number % len(names)  # whoever is first has it colder
            for name in (*names[at:], *names[:at]):
                to = up[name]
                body = harness.body(to.model, PROMPT_BYTES)
                seen = probe(Asked(url=to.url, headers=dict(to.headers), body=body, per_s=PER_S, count=count))
                rounds[name].append(percentiles_ms(seen.seconds))
                counts = seen.counts(counts)
    rows = {
        name: {figure: harness.median([one[figure] for one in seen]) for figure in seen[0]}
        for name, seen in rounds.items()
    }
    for one in rows.values():
        one |= {
            f"{figure}_ratio": one[f"{figure}_ms"] / rows[NEITHER][f"{figure}_ms"]
            for figure in ("p50", "p99")
        }
    return {"rows": rows, "requests": counts}


def _started(stack: contextlib.ExitStack, upstream: Upstream, name: str) -> Launch:
    subject = replace(PENSTOCK, name=name, launch=LAUNCHES[name])
    return stack.enter_context(harness.running(subject, upstream)).launch


def table(result: dict[str, Any]) -> str:
    lines = ["| | p50 ms | p99 ms | p50, ratio | p99, ratio |", "|---|---:|---:|---:|---:|"]
    for name, row in result["rows"].items():
        cells = (f"{row[one]:.3g}" for one in ("p50_ms", "p99_ms", "p50_ratio", "p99_ratio"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", told([result["requests"]])])


def reaches(result: dict[str, Any]) -> list[Reach]:
    """Not measured where most requests were disturbed: what is taken from both hides what one adds."""
    counts = result.get("requests", {})
    is_quiet = counts.get("disturbed", 0) <= MOST_DISTURBED * counts.get("counted", 0)
    value = result.get("rows", {}).get(BOTH, {}).get("p99_ratio") if is_quiet else None
    return [Reach(f"p99 with log lines and rows of usage, at {PER_S:g} requests/s", BOUND, value)]
