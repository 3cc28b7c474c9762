"""The proof of accounting: chance calls with chance faults through a real gateway, and every book compared.

    python tests/accounting/accounts_proof.py --calls 1000000 --ledger memory

A lap is some thousand calls; after each the gateway comes to rest, and what clients were told, what upstreams
sent, the rows of the store, the lines of the log, the metrics and the ledger's report are compared. So memory
stays flat, whatever the number of calls, and what differs is seen at once. At the end the gateway is stopped,
and what is left in its files is compared again.
"""

import argparse
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import uvloop
from accounts_clients import Traffic
from accounts_gateway import Gateway
from accounts_judge import (
    Lap,
    Sums,
    Totals,
    differences,
    judge,
    read_lines,
    read_rows,
    sums_that_differ,
)
from accounts_world import ESCALATING, PICO, Sender, config, doubles

from penstock.lib.clock import SystemClock

LAP = 20_000
AT_ONCE = 40
SHOWN = 40  # of what is wrong


class Proof:
    """`wrong`: what differs, in words."""

    def __init__(
        self, folder: Path, *, ledger: str, seed: int, at_once: int = AT_ONCE, workers: int = 1
    ) -> None:
        self.wrong: list[str] = []
        self.laps: list[Lap] = []
        self.totals: Totals = {}
        self.seconds = 0.0
        self.gateway = Gateway(folder)
        self.sender = Sender(seed)
        self.traffic = Traffic(seed + 1, at_once=at_once)
        self._ledger = ledger
        self._workers = workers
        self._seed = seed
        self._tokens = [0, 0]  # of metrics, as they should be

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Upstreams and gateway."""
        async with contextlib.AsyncExitStack() as stack:
            started = {
                name: await stack.enter_async_context(one) for name, one in doubles(self.sender).items()
            }
            urls = {name: one.url for name, one in started.items()}
            text = config(urls, ledger=self._ledger, workers=self._workers)
            self.gateway.config.write_text(text, "utf-8")
            await self.gateway.start()
            try:
                yield
            finally:
                self.gateway.end()

    async def prove(self, calls: int, lap: int = LAP) -> None:
        began_s = time.monotonic()
        async with self.running():
            for done in range(0, calls, lap):
                await self.lap(min(lap, calls - done))
                self.seconds = time.monotonic() - began_s
                if lap < calls:
                    sys.stderr.write(self._progress() + "\n")
                if self.wrong:
                    break
            await self.gateway.stop()
            self.wrong += sums_that_differ(self.gateway.database)
            self._kept()

    async def lap(self, calls: int) -> Lap:
        since_us = int(SystemClock.wall() * 1_000_000)
        await self.traffic.run(self.gateway.url, calls)
        metrics = await self.gateway.rests()
        lap = self._judge(since_us)
        self.laps.append(lap)
        self.wrong += lap.wrong
        for period in ("total", "month"):
            self.wrong += differences(self.totals, await self.gateway.settled(period))
        told = tuple(int(metrics[f"penstock_tokens_total/{kind}"]) for kind in ("prompt", "completion"))
        if told != tuple(self._tokens):
            self.wrong.append(f"metrics say {told} tokens, the rows {self._tokens}")
        return lap

    def _judge(self, since_us: int) -> Lap:
        rows = read_rows(self.gateway.database, since_us)
        lines, wrong = read_lines(self.gateway.log)
        os.truncate(self.gateway.log, 0)
        lap = judge(self.traffic.told, self.sender.calls, rows, lines, self.totals)
        self.traffic.told.clear()
        self.sender.calls.clear()
        self._tokens[0] += sum(row.prompt for row in rows if row.route != ESCALATING)
        self._tokens[1] += sum(row.completion for row in rows if row.route != ESCALATING)
        return lap._replace(wrong=lap.wrong + wrong)

    def _kept(self) -> None:
        """What the ledger's file says after a clean end: of memory, what was promised to budgets.

        Redis has no file; what it holds each lap has told.
        """
        if self._ledger.startswith("redis"):
            return
        with contextlib.closing(sqlite3.connect(self.gateway.data / "limits.db")) as connection:
            if self._ledger == "memory":
                found = connection.execute("SELECT scope, limit_key, amount FROM ledger_blocks").fetchall()
            else:
                found = connection.execute("SELECT scope, limit_key, used FROM ledger_counts").fetchall()
                left = connection.execute("SELECT COUNT(*) FROM ledger_leases WHERE NOT is_over").fetchone()[
                    0
                ]
                if left:
                    self.wrong.append(f"{left} leases are left in the file")
        kept: Counter[tuple[str, str, str]] = Counter()
        for scope, limit, amount in found:
            kind, _, name = scope.partition(":")
            resource, _, window = limit.partition("/")
            if kind != "deployment" and window in {"total", "31622400"}:
                kept[kind, name, {"pico_usd": "pico"}.get(resource, resource)] += int(amount)
        self.wrong += [f"in the file: {one}" for one in differences(self.totals, kept)]

    def _progress(self) -> str:
        rows = _sum(lap.rows for lap in self.laps)
        ledger = _sum(sums for (kind, _), sums in self.totals.items() if kind == "route")
        return (
            f"{self.seconds:5.0f} s, rows {_written(rows)}, ledger {_written(ledger)},"
            f" {len(self.wrong)} differences"
        )

    def report(self) -> str:
        told, hidden, rows = (_sum(lap[at] for lap in self.laps) for at in (1, 2, 3))
        kinds: Counter[str] = Counter()
        for lap in self.laps:
            kinds += lap.kinds
        calls = sum(lap.calls for lap in self.laps)
        keys = _sum(sums for (kind, name), sums in self.totals.items() if kind == "key" and " " not in name)
        routes = _sum(sums for (kind, _), sums in self.totals.items() if kind == "route")
        lines = [
            f"{calls} calls in {self.seconds:.0f} s, {self.sender.attempts} attempts,"  # noqa: ISC004 - a line
            f" ledger {self._ledger}, workers {self._workers}, seed {self._seed}",
            "  " + ", ".join(f"{count} {what}" for what, count in kinds.most_common()),
            "  faults: " + ", ".join(f"{count} {what}" for what, count in self.sender.faults.items()),
            f"  clients were told   {_written(told)}",
            f"  they could not know {_written(hidden)}",
            f"  rows                {_written(rows)}",
            f"  ledger, keys        {_written(keys)}",
            f"  ledger, routes      {_written(routes)}",
            f"  of that, of unknown cost, what was expected: {(keys.pico - rows.pico) / PICO:.12f} USD",
            f"  differences: {len(self.wrong)}",
        ]
        return "\n".join([*lines, *self.wrong[:SHOWN]])


def _sum(found: Iterable[Sums]) -> Sums:
    return sum(found, Sums())  # type: ignore[call-overload, no-any-return]  # what they add up to


def _written(sums: Sums) -> str:
    return f"{sums.requests:>9} calls {sums.tokens:>13} tokens {sums.pico / PICO:>20.12f} USD"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--ledger", default="memory", help="memory, sql or redis://...")
    parser.add_argument("--seed", type=int, default=int(time.monotonic()))
    parser.add_argument("--lap", type=int, default=LAP)
    parser.add_argument(
        "--workers", type=int, default=1, help="of the gateway; several need another ledger than memory"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-accounts-") as folder:
        proof = Proof(Path(folder), ledger=asked.ledger, seed=asked.seed, workers=asked.workers)
        uvloop.run(proof.prove(asked.calls, asked.lap))
    sys.stdout.write(proof.report() + "\n")
    return bool(proof.wrong)


if __name__ == "__main__":
    sys.exit(main())
