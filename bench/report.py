"""What a run leaves behind: one JSON file per suite, and docs/benchmarks.md made from all of them."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from bench import harness
from bench.harness import Bench
from bench.reach import Reach

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

Written by `make bench` (under 15 minutes) and `make bench-all`, from the JSON files in `bench/results`; a suite
that was not run again keeps its earlier figures, with their own date and machine. `make bench ONLY=stream` runs
one suite. It needs Linux, two cores, and `sudo apt install wrk nginx-light gcc libc6-dev`; peers are installed
into `~/.cache/penstock-bench`, and one that cannot be installed is named with the reason.

## How it is measured

The program under test is pinned to one core; the upstream (one C program, `bench/upstream.c`), the load
generator and the script share another. The main figure is CPU time of all threads and processes of the program
per request or event, from the kernel's CPU clocks, over a window in the middle of the load: it moves less with
the machine than requests per second do. Rounds are interleaved (A B C A B C ...); quoted is the median with the
smallest and largest in brackets, and ratios are taken within a round. Compare ratios, not microseconds, between
machines. The rows are not like for like: what a program does for each request stands beside its figure.
Latencies at a fixed rate are those of the tenths of a second in which a hypervisor took none of the cores away,
as far as there were any; under such a table it says how many requests that were.
"""


class Suite(Protocol):
    """A module of bench.suites; see there."""

    NAME: str
    TITLE: str
    IS_LONG: bool

    def run(self, bench: Bench) -> dict[str, Any]: ...
    def table(self, result: dict[str, Any]) -> str: ...
    def reaches(self, result: dict[str, Any]) -> list[Reach]: ...


def circumstances(bench: Bench) -> dict[str, Any]:
    """Where, when and on what a run was made."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "has_changes": bool(
            _git("status", "--porcelain", "--", ".", ":!bench/results", ":!docs/benchmarks.md")
        ),
        "machine": harness.machine(),
        "versions": {"penstock": version("penstock"), **_tools()},
        "rounds": bench.rounds,
        "window_s": bench.window_s,
        "all": bench.is_all,
    }


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    return subprocess.run(
        [git, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()


def _tools() -> dict[str, str]:
    found = {}
    for name, option in (("wrk", "-v"), ("gcc", "-dumpfullversion")):
        if (tool := shutil.which(name)) is not None:
            said = subprocess.run([tool, option], capture_output=True, text=True, check=False).stdout
            words = said.split("Copyright")[0].removeprefix("wrk").split()
            found[name] = words[0] if words else "unknown"
    return found


def save(suite: Suite, circumstance: dict[str, Any], result: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{suite.NAME}.json"
    half = path.with_suffix(".tmp")
    half.write_text(json.dumps({**circumstance, "result": result}, indent=1) + "\n", "utf-8")
    half.replace(path)


def load(suite: Suite, folder: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError):
        saved: dict[str, Any] = json.loads((folder / f"{suite.NAME}.json").read_text("utf-8"))
        return saved
    return None


def page(suites: Sequence[Suite], folder: Path) -> str:
    """docs/benchmarks.md."""
    reached, sections = [], []
    for suite in suites:
        saved = load(suite, folder)
        if saved is None:
            sections.append(f"## {suite.TITLE}\n\nNot measured yet: `make bench ONLY={suite.NAME}`.\n")
            continue
        reached += suite.reaches(saved["result"])
        sections.append(
            f"## {suite.TITLE}\n\n{suite.table(saved['result']).strip()}\n\n{provenance(suite, saved)}\n"
        )
    return "\n".join([INTRODUCTION, f"## Reach\n\n{bounds(reached)}\n", *sections])


def bounds(reached: Sequence[Reach]) -> str:
    """The table of what the project demands of itself."""
    if not reached:
        return "Nothing was measured yet."
    return "\n".join(
        ["| what | demanded | measured | |", "|---|---:|---:|---|", *(one.row() for one in reached)]
    )


def provenance(suite: Suite, saved: dict[str, Any]) -> str:
    """The line under a table."""
    machine, changes = saved["machine"], " with changes" if saved["has_changes"] else ""
    tools = ", ".join(f"{name} {number}" for name, number in saved["versions"].items())
    return (
        f"`{suite.NAME}`, {saved['date']}, commit {saved['commit']}{changes}: {machine['cpu']},"
        f" {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']},"
        f" Python {machine['python']}; {tools}; {saved['rounds']} rounds of {saved['window_s']:g} s."
    )
