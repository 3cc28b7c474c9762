"""What a request gains in time by passing through, while the gateway is far from busy.

An open-loop client (bench/prober.py) sends at a fixed rate, in each round to the upstream itself and then
through every program; added is the percentile through a program minus that of the direct calls of its round.
"""

import contextlib
from dataclasses import replace
from typing import Any

from bench import harness
from bench.harness import Bench, Running, Upstream
from bench.peers import PEERS
from bench.prober import Asked, probe, told
from bench.reach import Reach
from bench.subjects import NGINX, PENSTOCK, Launch, NotInstalled

NAME = "latency"
TITLE = "Added latency at a fixed rate"
IS_LONG = False

SIZES = {"1 KB": (1_000, 200.0), "100 KB": (100_000, 200.0), "1 MB": (1_000_000, 20.0)}  # bytes, requests/s
# LiteLLM and Portkey are left out: a core of theirs is busy for most of a second with 200 requests.
SUBJECTS = (PENSTOCK, NGINX, *(peer for peer in PEERS if peer.name in ("sglang-router", "TensorZero")))
DIRECT = "direct"


def run(bench: Bench) -> dict[str, Any]:
    """{"1 KB": {"per_s": 200, "requests": 400, "rows": {"direct": {...}, "Penstock": {...}}}}"""
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream(stack.enter_context(harness.scratch())))
        targets, about = started(bench, upstream, stack)
        for size, (prompt_bytes, per_s) in SIZES.items():
            asked = Asked(
                url="",
                headers={},
                body=harness.body("", prompt_bytes),
                per_s=per_s,
                count=max(10, round(per_s * bench.window_s)),
            )
            rows = compare(bench, targets, about, asked)
            result[size] = {"per_s": per_s, "requests": asked.count, "rows": rows}
    return result


def started(
    bench: Bench, upstream: Upstream, stack: contextlib.ExitStack
) -> tuple[dict[str, Launch], dict[str, dict[str, Any]]]:
    """Where to send: the upstream itself, then each program that starts; and what to say of each program."""
    targets = {DIRECT: Launch(argv=(), url=f"{upstream.url}/chat/completions", model="m")}
    about: dict[str, dict[str, Any]] = {DIRECT: {}}
    for subject in SUBJECTS[:2] if bench.is_quick else SUBJECTS:
        about[subject.name] = {}
        try:
            about[subject.name]["version"] = subject.install()
            program: Running = stack.enter_context(harness.running(subject, upstream))
            targets[subject.name] = program.launch
        except NotInstalled as exc:
            about[subject.name]["missing"] = str(exc)
    return targets, about


def compare(
    bench: Bench, targets: dict[str, Launch], about: dict[str, dict[str, Any]], asked: Asked
) -> dict[str, dict[str, Any]]:
    """A row per target. Half of the rounds: each holds hundreds of requests of every target."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    rows = {name: dict(said) for name, said in about.items()}
    for _ in range((bench.rounds + 1) // 2):
        direct: dict[str, float] = {}
        for name, to in targets.items():
            if "failed" in rows[name]:
                continue
            body = {**asked.body, "model": to.model}
            try:
                found = probe(replace(asked, url=to.url, headers=dict(to.headers), body=body))
            except RuntimeError as exc:
                rows[name]["failed"] = str(exc)
                continue
            rows[name]["requests"] = found.counts(rows[name].get("requests"))
            seen = percentiles_ms(found.seconds)
            direct = direct or seen  # it is the first target
            rounds[name].append({**seen, **added(seen, direct)})
    for name, figures in rounds.items():
        for figure in figures[0] if figures else ():
            rows[name][figure] = harness.spread([one[figure] for one in figures])
    return rows


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))] * 1e3,
    }


def added(seen: dict[str, float], direct: dict[str, float]) -> dict[str, float]:
    return {f"added_{name}": value - direct[name] for name, value in seen.items()}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| prompt | | added p50 ms | added p99 ms | p50 ms | p99 ms |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for size, measured in result.items():
        label = f"{size}, {measured['per_s']:g}/s, {measured['requests']} requests a round"
        for name, row in measured["rows"].items():
            lines.append(f"| {label} | {name} {row.get('version', '')}".rstrip() + f" {cells(row)}")
            label = ""
    every = [
        row["requests"]
        for measured in result.values()
        for row in measured["rows"].values()
        if "requests" in row
    ]
    return "\n".join([*lines, "", told(every)] if every else lines)


def cells(row: dict[str, Any]) -> str:
    if (why := row.get("missing") or row.get("failed")) is not None:
        return f"| not measured: {why} | | | |"
    shown = []
    for figure in ("added_p50_ms", "added_p99_ms", "p50_ms", "p99_ms"):
        one = row[figure]
        shown.append(f"{one['median']:.3g} ({one['min']:.3g}-{one['max']:.3g})")
    return "| " + " | ".join(shown) + " |"


def reaches(result: dict[str, Any]) -> list[Reach]:
    ours = result.get("1 KB", {}).get("rows", {}).get(PENSTOCK.name, {})

    def figure(key: str) -> float | None:
        return float(ours[key]["median"]) if key in ours else None

    return [
        Reach("added latency at 200 requests/s, 1 KB, p50", 0.5, figure("added_p50_ms"), unit="ms"),
        Reach("added latency at 200 requests/s, 1 KB, p99", 2.0, figure("added_p99_ms"), unit="ms"),
    ]
