"""One request, one answer: what the gateway's work for it costs.

64 keep-alive connections in a closed loop, a chat request of 1 KB, an answer of 0.9 KB.
"""

import contextlib
import time
from typing import Any

from bench import harness
from bench.harness import Bench, Running, Upstream, Wrk
from bench.peers import PEERS
from bench.reach import Reach
from bench.subjects import NGINX, PENSTOCK, NotInstalled, Subject

NAME = "unary"
TITLE = "Gateway, one request and its answer"
IS_LONG = False

CONNECTIONS = 64
WARM_UP_S = 1.0


def run(bench: Bench) -> dict[str, Any]:
    return compare(bench, (PENSTOCK, NGINX) if bench.is_quick else (PENSTOCK, NGINX, *PEERS), measure)


def compare(bench: Bench, subjects: tuple[Subject, ...], measure_one: Any) -> dict[str, Any]:
    """Every subject measured in turn, `bench.rounds` times over; all of them stay up meanwhile."""
    rows: dict[str, dict[str, Any]] = {subject.name: {"does": subject.does} for subject in subjects}
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        upstream = stack.enter_context(Upstream(work))
        up: dict[str, Running] = {}
        for subject in subjects:
            try:
                rows[subject.name]["version"] = subject.install()
                up[subject.name] = stack.enter_context(harness.running(subject, upstream))
            except NotInstalled as exc:
                rows[subject.name]["missing"] = str(exc)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in up}
        for _ in range(bench.rounds):
            for name, program in up.items():
                try:
                    rounds[name].append(measure_one(bench, program, upstream, work))
                except RuntimeError as exc:
                    rows[name]["failed"] = str(exc)
    for name, seen in rounds.items():
        for figure in seen[0] if seen else ():
            rows[name][figure] = harness.spread([one[figure] for one in seen])
            limit = rounds.get(NGINX.name)
            if limit and len(limit) == len(seen) and figure.startswith("cpu_us"):
                ratios = [one[figure] / base[figure] for one, base in zip(seen, limit, strict=True)]
                rows[name][figure.replace("cpu_us", "ratio")] = harness.spread(ratios)
    return rows


def measure(bench: Bench, program: Running, upstream: Upstream, work: Any) -> dict[str, float]:
    asked = harness.body(program.launch.model)
    load = Wrk(
        program.launch, asked, connections=CONNECTIONS, duration_s=WARM_UP_S + bench.window_s + 1, work=work
    )
    time.sleep(WARM_UP_S)
    seen = harness.window(program, upstream, bench.window_s)
    load.finish()
    if not seen.requests:
        raise RuntimeError("no request came through")
    return {
        "cpu_us_per_request": seen.cpu_s / seen.requests * 1e6,
        "requests_per_s": seen.requests / seen.wall_s,
        "requests_per_cpu_s": seen.requests / seen.cpu_s,
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        "| | CPU us per request | against nginx | requests/s, one core | does, per request |",
        "|---|---:|---:|---:|---|",
    ]
    for name, row in result.items():
        label = f"{name} {row.get('version', '')}".strip()
        if (why := row.get("missing") or row.get("failed")) is not None:
            lines.append(f"| {label} | | | | not measured: {why} |")
            continue
        cpu, ratio = row["cpu_us_per_request"], row.get("ratio_per_request", {"median": float("nan")})
        lines.append(
            f"| {label} | {cpu['median']:g} ({cpu['min']:g}-{cpu['max']:g}) | {ratio['median']:.2f} |"
            f" {row['requests_per_s']['median']:,.0f} | {row['does']} |"
        )
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    def figure(name: str, key: str) -> float | None:
        value = result.get(name, {}).get(key)
        return None if value is None else float(value["median"])

    ours = figure(PENSTOCK.name, "cpu_us_per_request")

    def against(name: str) -> float | None:
        theirs = figure(name, "cpu_us_per_request")
        return None if ours is None or theirs is None else ours / theirs

    litellm = against("LiteLLM proxy")
    return [
        Reach("unary CPU against nginx", 4.2, figure(PENSTOCK.name, "ratio_per_request")),
        Reach("unary CPU against sglang-router (the aim)", 1.0, against("sglang-router")),
        Reach("requests per core against LiteLLM", 100, litellm and 1 / litellm, at_least=True),
    ]
