"""What a large configuration costs: the same request, with more keys and routes configured.

Requests go through all keys and routes in turn, so no cache of the last one used helps.
"""

import contextlib
import time
from typing import Any

from bench import harness
from bench.harness import Bench, Running, Upstream, Wrk
from bench.reach import Reach
from bench.subjects import PENSTOCK, SECRET, NotInstalled, Subject

NAME = "configuration"
TITLE = "Scale of configuration"
IS_LONG = True

SCALES = ((1, 1), (1_000, 1), (100_000, 1), (1, 1_000), (100_000, 1_000))  # keys, routes
CONNECTIONS = 64
WARM_UP_S = 0.5
START_LIMIT_S = 180.0  # PyYAML reads 100,000 keys

# Steps through keys and routes that share no divisor with their numbers: every one has its turn, none in order.
LUA = """
local keys, routes, turn = %(keys)d, %(routes)d, 0
local before, after = wrk.body:match('^(.*"model":")m%%d+(".*)$')
request = function()
  turn = turn + 1
  wrk.headers["authorization"] = string.format("Bearer %(secret)s%%07d", turn * 7919 %% keys)
  return wrk.format(nil, nil, nil, before .. "m" .. turn * 7919 %% routes .. after)
end
"""


def run(bench: Bench) -> dict[str, Any]:
    """{"1 x 1": {"keys": 1, "routes": 1, "start_s": 0.4, "cpu_us_per_request": {...}, "ratio": {...}}}"""
    subject = Subject(
        name=PENSTOCK.name,
        does=PENSTOCK.does,
        install=PENSTOCK.install,
        launch=PENSTOCK.launch,
        start_s=START_LIMIT_S,
    )
    rows: dict[str, dict[str, Any]] = {}
    rounds: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        upstream = stack.enter_context(Upstream(work))
        up: dict[str, Running] = {}
        for keys, routes in ((1, 1), (1_000, 10)) if bench.is_quick else SCALES:
            name = f"{keys:,} x {routes:,}"
            rows[name] = {"keys": keys, "routes": routes}
            began = time.monotonic()
            try:
                up[name] = stack.enter_context(harness.running(subject, upstream, keys=keys, routes=routes))
            except NotInstalled as exc:
                rows[name]["failed"] = str(exc)
                continue
            rows[name]["start_s"] = round(time.monotonic() - began, 2)
            rows[name]["rss_mb"] = round(up[name].rss_bytes() / 1e6, 1)
            rounds[name] = []
        for _ in range((bench.rounds + 1) // 2):
            for name, program in up.items():
                rounds[name].append(_cpu_us(bench, program, upstream, rows[name], work))
    smallest = next(iter(rounds.values()), [])
    for name, seen in rounds.items():
        rows[name]["cpu_us_per_request"] = harness.spread(seen)
        rows[name]["ratio"] = harness.spread([one / base for one, base in zip(seen, smallest, strict=True)])
    return rows


def _cpu_us(bench: Bench, program: Running, upstream: Upstream, row: dict[str, Any], work: Any) -> float:
    load = Wrk(
        program.launch,
        harness.body(program.launch.model),
        connections=CONNECTIONS,
        duration_s=WARM_UP_S + bench.window_s + 0.5,
        work=work,
        more=LUA % {"keys": row["keys"], "routes": row["routes"], "secret": SECRET},
    )
    time.sleep(WARM_UP_S)
    seen = harness.window(program, upstream, bench.window_s)
    load.finish()
    return seen.cpu_s / seen.requests * 1e6


def table(result: dict[str, Any]) -> str:
    lines = [
        "| keys | routes | CPU us per request | against the first row | seconds to the first answer | MB after it |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result.values():
        if "failed" in row:
            lines.append(f"| {row['keys']:,} | {row['routes']:,} | not measured: {row['failed']} | | | |")
            continue
        cpu, ratio = row["cpu_us_per_request"], row["ratio"]
        lines.append(
            f"| {row['keys']:,} | {row['routes']:,} | {cpu['median']:g} ({cpu['min']:g}-{cpu['max']:g}) |"
            f" {ratio['median']:.3f} ({ratio['min']:.3f}-{ratio['max']:.3f}) | {row['start_s']:g} |"
            f" {row['rss_mb']:g} |"
        )
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    largest = result.get("100,000 x 1,000", {})
    ratio = float(largest["ratio"]["median"]) if "ratio" in largest else None
    return [Reach("CPU per request with 100,000 keys and 1,000 routes, against one of each", 1.1, ratio)]
