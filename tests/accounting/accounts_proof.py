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
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import uvloop
from accounts_books import kept, leases, now_us, read_rows, sums_that_differ
from accounts_clients import Traffic
from accounts_gateway import Gateway
from accounts_judge import Lap, Sums, Totals, differences, judge, read_lines
from accounts_world import ESCALATING, KEYS, PEOPLE, PICO, Key, Sender, config, doubles

from penstock.testing.oidc import OidcProvider
from penstock.testing.servers import postgres_server, redis_server

LEDGERS = ("memory", "sql", "redis", "postgres")
LAP = 20_000
AT_ONCE = 40
SHOWN = 40  # of what is wrong


class Proof:
    """`wrong`: what differs, in words.

    ledger: memory, sql, redis, or postgres, which then has the rows of usage, too.
    """

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
            idp = await stack.enter_async_context(OidcProvider())
            store, database = self._ledger, ""
            if self._ledger == "redis":
                store = stack.enter_context(redis_server()).url
            elif self._ledger == "postgres":
                store, database = "sql", stack.enter_context(postgres_server()).url
                self.gateway.database = database
            text = config(urls, ledger=store, workers=self._workers, database=database, issuer=idp.issuer)
            self.gateway.config.write_text(text, "utf-8")
            await self.gateway.start()
            stack.callback(self.gateway.end)
            self.traffic.keys = [*KEYS, *[await self._person(idp, *one) for one in PEOPLE]]
            yield

    async def _person(self, idp: OidcProvider, subject: str, department: str) -> Key:
        token = idp.token(subject, department=department or None, expires_in=86_400)
        return Key(await self.gateway.person(token), department, token=token)

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
            self.wrong += await sums_that_differ(self.gateway.database)
            await self._compare_kept()

    async def lap(self, calls: int) -> Lap:
        since_us = now_us()
        await self.traffic.run(self.gateway.url, calls)
        metrics = await self.gateway.rests()
        lap = await self._judge(since_us)
        self.laps.append(lap)
        self.wrong += lap.wrong
        for period in ("total", "month"):
            self.wrong += differences(self.totals, await self.gateway.settled(period, self.traffic.keys))
        told = tuple(int(metrics[f"penstock_tokens_total/{kind}"]) for kind in ("prompt", "completion"))
        if told != tuple(self._tokens):
            self.wrong.append(f"metrics say {told} tokens, the rows {self._tokens}")
        return lap

    async def _judge(self, since_us: int) -> Lap:
        rows = await read_rows(self.gateway.database, since_us)
        lines, wrong = read_lines(self.gateway.log)
        os.truncate(self.gateway.log, 0)
        lap = judge(self.traffic.told, self.sender.calls, rows, lines, self.totals)
        self.traffic.told.clear()
        self.sender.calls.clear()
        self._tokens[0] += sum(row.prompt for row in rows if row.route != ESCALATING)
        self._tokens[1] += sum(row.completion for row in rows if row.route != ESCALATING)
        return lap._replace(wrong=lap.wrong + wrong)

    async def _compare_kept(self) -> None:
        """What the ledger's tables say after a clean end: of memory, what was promised to budgets."""
        if self._ledger == "redis":
            return  # of which nothing is left to compare that the report did not say
        where = self.gateway.database if self._ledger == "postgres" else str(self.gateway.data / "limits.db")
        if self._ledger != "memory" and (left := await leases(where)):
            self.wrong.append(f"{left} leases are left")
        found = await kept(where, of_blocks=self._ledger == "memory")
        self.wrong += [f"kept: {one}" for one in differences(self.totals, found)]

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
        keys = _sum(
            sums for (kind, name), sums in self.totals.items() if kind in ("key", "user") and " " not in name
        )
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
    parser.add_argument("--ledger", choices=LEDGERS, default="memory")
    parser.add_argument("--seed", type=int, default=int(time.monotonic()))
    parser.add_argument("--lap", type=int, default=LAP)
    parser.add_argument("--workers", type=int, default=1, help="of the gateway; not with memory")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-accounts-") as folder:
        proof = Proof(Path(folder), ledger=asked.ledger, seed=asked.seed, workers=asked.workers)
        uvloop.run(proof.prove(asked.calls, asked.lap))
    sys.stdout.write(proof.report() + "\n")
    return bool(proof.wrong)


if __name__ == "__main__":
    sys.exit(main())
