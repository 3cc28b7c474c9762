"""Processes pinned to cores, their clocks, and the order of measurements.

Core 0 belongs to the program under test, core 1 to the upstream, the load generator and this script (on a
machine with more cores each of these still gets one). CPU time is that of all threads of all processes of the
program, read from the kernel's clocks at the start and end of a window in the middle of the load; wall figures
are read from the same window. Repetitions are interleaved (A B C A B C ...), so that a machine whose speed
drifts moves every row alike; quoted is the median, and ratios are taken round by round.
"""

import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.subjects import Launch, NotInstalled, Setup, Subject, environments

CORE_UNDER_TEST = 0
CORE_OF_LOAD = 1
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bench:
    """What the command line asked for. Times are seconds."""

    window_s: float = 2.0  # of one measurement
    rounds: int = 3  # 5 in bench-all
    is_all: bool = False  # `make bench-all`
    is_quick: bool = False  # the test suite's: shows that it runs, its figures mean nothing


class Program:
    """A running process group on one core, or some; `with` stops it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        core: int | Collection[int] | None,
        work: Path,
        env: Mapping[str, str] | None = None,
        name: str = "program",
    ) -> None:
        cores = {core} if isinstance(core, int) else core or ()
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.log = work / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=work,
                env={**base, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - no threads yet in this script
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # children that outlived it

    def is_running(self) -> bool:
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """Every process of its session: a master and its workers, too."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.pid:
                        found.append(int(entry.name))
        return found

    def cpu_s(self) -> float:
        """CPU seconds of all its processes and threads, to the nanosecond (their CPU-time clocks)."""
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += time.clock_gettime(
                    (~pid << 3) | 2
                )  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3)
        return total

    def rss_bytes(self) -> int:
        """Resident memory of all its processes; shared pages count once each (Pss)."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def said(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def http(
    url: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30
) -> bytes:
    """One request by the standard library; raises OSError unless the answer is 200."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, headers=sent)  # noqa: S310 - a loopback address of ours
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        got: bytes = answer.read()
        return got


def wait_for(ready: Callable[[], object], program: Program, limit_s: float) -> None:
    """Polls until `ready` returns something true. Raises NotInstalled, with the program's last words."""
    give_up = time.monotonic() + limit_s
    why = "no answer"
    while time.monotonic() < give_up and program.is_running():
        try:
            if ready():
                return
        except OSError as exc:
            why = str(exc)
        time.sleep(0.05)
    raise NotInstalled(f"does not start: {why}; its last words: {program.said()}")


class Upstream(Program):
    """bench/upstream.c, compiled on first use."""

    def __init__(self, work: Path, *, tick_us: int = 10_000, events: int = 400) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        argv = [str(_compiled()), str(self.port), str(tick_us), str(events)]
        super().__init__(argv, core=CORE_OF_LOAD, work=work, name=f"upstream-{self.port}")
        try:
            wait_for(self.counts, self, 5)
        except BaseException:
            self.stop()
            raise

    def counts(self) -> dict[str, int]:
        counted: dict[str, int] = json.loads(http(f"http://127.0.0.1:{self.port}/counts"))
        return counted


def _compiled() -> Path:
    source = HERE / "upstream.c"
    binary = environments() / f"upstream-{source.stat().st_mtime_ns}"
    if not binary.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit(
                "The benchmarks need a C compiler for their upstream: sudo apt install gcc libc6-dev"
            )
        binary.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(binary), str(source)], check=True)
    return binary


def body(model: str, prompt_bytes: int = 1024, *, stream: bool = False) -> dict[str, Any]:
    """A chat request of about `prompt_bytes`: a system text and a question, as applications send them."""
    words = "You are a helpful assistant of a water company; answer in one short sentence. "
    text = (words * (prompt_bytes // len(words) + 1))[: max(0, prompt_bytes - 250)]
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": "Is the dam full?"}],
        "temperature": 0.7,
        "max_tokens": 400,
    }
    return {**asked, "stream": True} if stream else asked


class Running(Program):
    """A subject in front of an upstream, ready for its first request."""

    def __init__(
        self,
        subject: Subject,
        setup: Setup,
        *,
        prompt_bytes: int = 1024,
        core: int | Collection[int] = CORE_UNDER_TEST,
    ) -> None:
        self.subject = subject
        self.launch: Launch = subject.launch(setup)
        super().__init__(self.launch.argv, core=core, work=setup.work, env=self.launch.env, name=subject.name)
        asked = body(self.launch.model, prompt_bytes)
        try:
            wait_for(lambda: self.ask(asked), self, subject.start_s)
        except BaseException:
            self.stop()
            raise

    def ask(self, asked: Any) -> bytes:
        return http(self.launch.url, asked, self.launch.headers, timeout_s=60)


@contextlib.contextmanager
def running(subject: Subject, upstream: Upstream, **configured: int) -> Iterator[Running]:
    """`subject` before `upstream`, in a folder of its own. Raises NotInstalled."""
    with scratch() as work:
        setup = Setup(upstream=upstream.url, port=free_port(), work=work, **configured)
        with Running(subject, setup) as program:
            yield program


class Wrk:
    """The load generator: wrk, one thread, closed loop, keep-alive."""

    def __init__(
        self,
        target: Launch,
        asked: Any,
        *,
        connections: int,
        duration_s: float,
        work: Path,
        more: str = "",  # Lua: a request() of its own
    ) -> None:
        wrk = shutil.which("wrk")
        if wrk is None:
            raise SystemExit("The benchmarks need wrk: sudo apt install wrk")
        script = work / f"wrk-{time.monotonic_ns()}.lua"
        lines = ['wrk.method = "POST"', f"wrk.body = {_lua(json.dumps(asked, separators=(',', ':')))}"]
        for name, value in {"content-type": "application/json", **target.headers}.items():
            lines.append(f"wrk.headers[{_lua(name)}] = {_lua(value)}")
        script.write_text("\n".join([*lines, more]))
        argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(duration_s))}", "--timeout", "60"]
        argv += ["-s", str(script), "--latency", target.url]
        self._process = subprocess.Popen(
            ["taskset", "-c", str(CORE_OF_LOAD), *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> None:
        """Waits for its end. Raises RuntimeError when an answer was not 2xx or a connection failed."""
        said, _ = self._process.communicate(timeout=180)
        bad = [line.strip() for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line]
        if bad or self._process.returncode:
            raise RuntimeError("; ".join(bad) or said.strip()[-200:])

    def kill(self) -> None:
        """Ends it in the middle of its requests."""
        self._process.kill()
        self._process.communicate()


def _lua(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)  # wrk's Lua reads the escapes that JSON writes for ASCII text


@dataclass(frozen=True)
class Window:
    """What one measurement saw. `events` are content events the upstream wrote."""

    wall_s: float
    cpu_s: float
    requests: int
    events: int


def window(program: Program, upstream: Upstream, duration_s: float) -> Window:
    """CPU time of `program` and what passed through it in `duration_s` of the load that is already running."""
    counts, cpu, began = upstream.counts(), program.cpu_s(), time.monotonic()
    time.sleep(duration_s)
    ended, cpu_after, counts_after = time.monotonic(), program.cpu_s(), upstream.counts()
    return Window(
        wall_s=ended - began,
        cpu_s=cpu_after - cpu,
        requests=counts_after["requests"] - counts["requests"],
        events=counts_after["events"] - counts["events"],
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum, four digits."""
    return {
        "median": float(f"{statistics.median(values):.4g}"),
        "min": float(f"{min(values):.4g}"),
        "max": float(f"{max(values):.4g}"),
    }


def machine() -> dict[str, Any]:
    """What a reader needs to compare: never a host name or a path."""
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
