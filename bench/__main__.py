"""`make bench`: runs the suites, prints their tables, writes bench/results and docs/benchmarks.md."""

import argparse
import os
import platform
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.harness import Bench
from bench.report import Suite
from bench.subjects import NGINX, NotInstalled
from bench.suites import (
    batching,
    configuration,
    engines,
    footprint,
    keys,
    latency,
    ledger,
    overload,
    recording,
    replicas,
    routing,
    stream,
    tail,
    translation,
    unary,
    usage,
    workers,
)

SUITES: tuple[Suite, ...] = (
    *(unary, stream, translation, latency, recording, configuration, keys, ledger, workers),
    *(engines, batching, routing, replicas, tail, overload, usage, footprint),
)
ROUNDS_OF_ALL = 5


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments(argv)
    if asked.page:
        report.PAGE.write_text(report.page(SUITES, report.RESULTS), "utf-8")
        return 0
    if (complaint := _missing()) is not None:
        print(complaint, file=sys.stderr)
        return 1
    # Without this a `kill` would leave the programs under test running: they are in sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = Bench(window_s=0.5, rounds=1, is_quick=True) if asked.quick else Bench()
    bench = Bench(
        window_s=asked.window or quick.window_s,
        rounds=asked.rounds or (ROUNDS_OF_ALL if asked.all else quick.rounds),
        is_all=asked.all,
        is_quick=asked.quick,
    )
    folder: Path | None = asked.into or (None if asked.quick else report.RESULTS)
    try:
        return run(_chosen(asked), bench, folder)
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept.", file=sys.stderr)
        return 130


def run(suites: Sequence[Suite], bench: Bench, folder: Path | None) -> int:
    """Runs them in order. A suite that fails does not keep the others from their turn, but fails the run."""
    failed = False
    circumstances = report.circumstances(bench)
    for suite in suites:
        print(f"\n## {suite.TITLE} ({suite.NAME})\n", flush=True)
        began = time.monotonic()
        try:
            result = suite.run(bench)
        except (NotInstalled, RuntimeError, OSError):
            traceback.print_exc()
            failed = True
            continue
        print(suite.table(result))
        print(f"\n{report.bounds(suite.reaches(result))}\n\n{time.monotonic() - began:.0f} s", flush=True)
        if folder is not None:
            report.save(suite, circumstances, result, folder)
            written = report.PAGE if folder == report.RESULTS else folder / report.PAGE.name
            written.write_text(report.page(SUITES, folder), "utf-8")
    return 1 if failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [suite.NAME for suite in SUITES]
    parser.add_argument("--all", action="store_true", help="the long measurements, too")
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--rounds", type=int, default=0, help=f"repetitions ({Bench.rounds}; with --all {ROUNDS_OF_ALL})"
    )
    parser.add_argument("--window", type=float, default=0.0, help=f"seconds (default {Bench.window_s:g})")
    parser.add_argument("--quick", action="store_true", help="show that it runs; writes nothing by itself")
    parser.add_argument("--page", action="store_true", help="only write docs/benchmarks.md anew")
    parser.add_argument("--into", type=Path, help="write results and page into this folder instead")
    return parser.parse_args(argv)


def _chosen(asked: argparse.Namespace) -> list[Suite]:
    if asked.only:
        return [suite for suite in SUITES if suite.NAME in asked.only]
    return [suite for suite in SUITES if asked.all or not suite.IS_LONG]


def _missing() -> str | None:
    """One line that says what this machine lacks."""
    if platform.system() != "Linux":
        return "The benchmarks need Linux: they pin programs to cores and read the kernel's CPU clocks."
    if len(os.sched_getaffinity(0)) < 2:
        return "The benchmarks need two cores: one for the program under test, one for the load."
    lacking = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        lacking.append("a C compiler")
    try:
        NGINX.install()
    except NotInstalled:
        lacking.append("nginx")
    if not lacking:
        return None
    remedy = "sudo apt install wrk nginx-light gcc libc6-dev util-linux"
    return f"The benchmarks need {', '.join(lacking)}: {remedy}"


if __name__ == "__main__":
    sys.exit(main())
