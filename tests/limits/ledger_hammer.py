"""Many tasks in many processes at one ledger, while processes are killed, and server and network fail.

    python tests/limits/ledger_hammer.py redis --seconds 600

    kind       processes    what happens to them
    ---------  -----------  --------------------------------------------------------------------------------
    memory     one          is killed and started again: limits begin anew, budgets do not
    sqlite     several      are killed in the middle of calls
    redis      several,     the same; the server is stopped, killed, restarted; the network is cut, and
    postgres   skewed       stalls in both directions or one, so that what nobody waits for comes late

ledger_worker.py is such a process, ledger_history.py judges what they wrote down.
"""

# ruff: noqa: S311 - chance, no secrets

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ledger_worker
import msgspec
from ledger_history import Finding, History, Judge, read
from ledger_worker import OWN, PICO, TTL_S, Work, claims

from penstock.lib.clock import SystemClock
from penstock.limits.rows import BLOCKS
from penstock.testing.proxy import Proxy
from penstock.testing.servers import PostgresServer, RedisServer, Server, postgres_server, redis_server
from penstock.types.ledger import Row

KINDS = ("memory", "sqlite", "redis", "postgres")
TASKS = 6
PROCESSES = 4
SPENT_PER_S = 400  # tokens of the budget, which is to be gone before the end
SLOWEST_S = 90.0  # a process ends so long after its time at the latest


@dataclass
class Result:
    kind: str
    seconds: float
    history: History
    events: Counter[str]
    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.is_right]

    def report(self) -> str:
        calls = self.history.calls
        admitted = [call for call in calls if call.is_admitted]
        said = {
            "calls": len(calls),
            "admitted": len(admitted),
            "refused": sum(part.is_refused for call in calls for part in call.parts),
            "without an answer": sum(
                part.end_s is None and not part.is_refused for call in calls for part in call.parts
            ),
            "admitted by a share": sum(bool(call.first.by) for call in admitted),
            "never settled": sum(not call.is_settled for call in admitted),
        }
        lines = [
            f"{self.kind}: {self.seconds:.0f} s, {len(self.history.processes)} processes",
            "  " + ", ".join(f"{count} {what}" for what, count in (*said.items(), *self.events.items())),
        ]
        for one in self.findings:
            bound = f"<= {one.most}" if not one.least else f"from {one.least} to {one.most}"
            lines.append(f"  {'ok   ' if one.is_right else 'WRONG'} {one.what}: {one.seen} {bound}")
        return "\n".join(lines)


class Hammer:
    def __init__(
        self, kind: str, server: Server | None, folder: Path, seconds: float, trouble_s: float
    ) -> None:
        """`trouble_s`: how often something happens to the server, about."""
        self._kind = kind
        self._server = server
        self._folder = folder
        self._seconds = seconds
        self._trouble_s = trouble_s
        self._budget = int(SPENT_PER_S * seconds)
        self._replicas = 1 if kind == "memory" else PROCESSES
        self._events: Counter[str] = Counter()
        self._url = str(folder / "ledger.db") if server is None else server.url

    def run(self) -> Result:
        with contextlib.ExitStack() as stack:
            url, network = self._url, None
            if self._server is not None:
                network = stack.enter_context(Proxy(self._server.port))
                url = url.replace(str(self._server.port), str(network.port))
            self._strike(url, self._troubles(network))
        time.sleep(TTL_S + 0.5)
        history = read(self._folder)
        judge = Judge(history, replicas=self._replicas, budget=self._budget, lives=self._kind == "memory")
        block = self._budget * PICO // BLOCKS
        findings = judge.limits() + judge.booked(
            asyncio.run(self._rows(history.processes)),
            is_asked=self._server is None,
            forfeited=self._events["kills"] * 2 * block if self._kind == "memory" else 0,
        )
        return Result(self._kind, self._seconds, history, self._events, findings)

    async def _rows(self, processes: list[str]) -> list[Row]:
        asked = [*claims(self._budget)[:OWN], *(claims(self._budget, name)[OWN] for name in processes)]
        ledger = await ledger_worker.open_ledger(self._kind, self._url, SystemClock())
        try:
            return await ledger.report(asked, time.monotonic())
        finally:
            await ledger.close()

    def _strike(self, url: str, troubles: Iterator[float]) -> None:
        until_s = time.monotonic() + self._seconds
        running = [self._start(url, until_s) for _ in range(self._replicas)]
        kill_s, trouble_s = time.monotonic() + 1.5, time.monotonic() + next(troubles)
        try:
            while time.monotonic() < until_s:
                if trouble_s < time.monotonic() < until_s - 1.0:
                    trouble_s = time.monotonic() + next(troubles)
                if kill_s < time.monotonic() < until_s - 1.0:
                    self._kill(running.pop(random.randrange(len(running))))
                    running.append(self._start(url, until_s))
                    kill_s = time.monotonic() + random.uniform(1.0, 3.0)
                time.sleep(0.01)
            for process in running:
                assert process.wait(SLOWEST_S) == 0
        finally:
            for process in running:
                process.kill()
                process.wait()

    def _start(self, url: str, until_s: float) -> "subprocess.Popen[bytes]":
        self._events["starts"] += 1
        work = Work(
            self._kind,
            url,
            str(self._folder / f"{self._events['starts']}.log"),
            tasks=TASKS if self._replicas > 1 else TASKS * PROCESSES,
            seconds=max(0.5, until_s - time.monotonic()),
            budget=self._budget,
            skew_s=random.choice([-30.0, 0.0, 30.0]),
            replicas=self._replicas,
        )
        return subprocess.Popen([sys.executable, ledger_worker.__file__, msgspec.json.encode(work).decode()])

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._events["kills"] += 1

    def _troubles(self, network: Proxy | None) -> Iterator[float]:
        """Does something each time it is asked, and says in how many seconds to ask again."""
        server = self._server
        yield self._trouble_s
        if server is None or network is None:
            while True:
                yield self._seconds

        def pause() -> None:
            server.pause()
            time.sleep(random.uniform(0.2, 2.0))
            server.resume()

        def stall(*, requests: bool = True, answers: bool = True, new: bool = True) -> None:
            network.stall(requests=requests, answers=answers, new=new)
            time.sleep(random.uniform(0.2, 2.0))
            network.resume()

        choices: dict[str, Callable[[], None]] = {
            "pauses": pause,
            "stalls": stall,
            "stalls of requests": lambda: stall(answers=False),
            "stalls of answers": lambda: stall(requests=False),
            "stalls of old connections": lambda: stall(new=False),
            "cuts": network.cut,
            "restarts": server.restart,
            "crashes of the server": lambda: server.restart(kill=True),
        }
        while True:
            for name in random.sample([*choices], len(choices)):
                self._events[name] += 1
                choices[name]()
                yield random.uniform(0.5, 1.5) * self._trouble_s


@contextlib.contextmanager
def server_of(kind: str) -> Iterator[RedisServer | PostgresServer | None]:
    if kind == "redis":
        with redis_server() as redis:
            yield redis
    elif kind == "postgres":
        with postgres_server() as postgres:
            yield postgres
    else:
        yield None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind (default 60)")
    parser.add_argument("--trouble", type=float, default=3.0, help="seconds between troubles (default 3)")
    asked = parser.parse_args()
    failed = 0
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory(prefix="penstock-hammer-") as folder, server_of(kind) as server:
            result = Hammer(kind, server, Path(folder), asked.seconds, asked.trouble).run()
            sys.stdout.write(result.report() + "\n")
            sys.stdout.flush()
            failed += bool(result.wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
