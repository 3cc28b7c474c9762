"""kill -9 of a gateway in its traffic, again and again on the same files, and what is lost by it.

    rows of usage      those that wait: of the last half second and of one transaction
    the ledger         nothing that was settled. In memory, budgets forfeit what calls had reserved that ran,
                       and two hundredths of themselves at most; in a file, what calls had reserved stays

Between two deaths all is as exact as ever: what a life of the process added, its calls took. So it is when
the process is told to end in its traffic, and told again, so that it cuts what runs.
"""

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from accounts_books import Row, now_us, read_rows, sums_that_differ
from accounts_clients import Told, Traffic
from accounts_gateway import Gateway, Used
from accounts_judge import Sums, Totals, book, judge
from accounts_world import KEYS, PICO, PRICES, Sender, Sent, config, doubles

BUDGET_USD = 20
BLOCK = BUDGET_USD * PICO // 100
LONGEST_LOSS_S = 5.0  # half a second and a transaction, on a machine that has other things to do
LATE_S = 0.5  # calls that ended so shortly before may not have been settled
DEAREST = PICO // 200  # more than any of these calls reserves or costs
LEASE_S = 60.0


@dataclass
class Death:
    ended: int = 0
    in_flight: int = 0
    lost: int = 0
    oldest_s: float = 0.0  # of the lost, before the end
    forfeited: int = 0  # pico-USD, over all keys
    bound: int = 0

    def __str__(self) -> str:
        return (
            f"{self.ended} calls had ended and {self.in_flight} ran; {self.lost} rows lost, the oldest of"
            f" {self.oldest_s * 1000:.0f} ms before; keys' budgets hold {self.forfeited / PICO:+.6f} USD more"
            f" than what had ended for certain cost (at most {self.bound / PICO:.6f})"
        )


class Deaths:
    def __init__(self, folder: Path, *, ledger: str, seed: int) -> None:
        self.wrong: list[str] = []
        self.deaths: list[Death] = []
        self.ended: Counter[str] = Counter()  # errors of the calls of a life that was ended by signals
        self.gateway = Gateway(folder)
        self._sender = Sender(seed)
        self._traffic = Traffic(seed + 1, at_once=40)
        self._ledger = ledger

    async def run(self, kills: int, *, calls: int, waits: bool = False) -> None:
        """Each life ends after about `calls` calls. `waits`: until what the dead had reserved has expired."""
        async with contextlib.AsyncExitStack() as stack:
            started = {
                name: await stack.enter_async_context(one) for name, one in doubles(self._sender).items()
            }
            urls = {name: one.url for name, one in started.items()}
            text = config(urls, ledger=self._ledger, budget_usd=BUDGET_USD)
            self.gateway.config.write_text(text, "utf-8")
            stack.callback(self.gateway.end)
            for _ in range(kills):
                await self._life(calls)
            await self._life_that_is_ended(calls)
            await self._last_life(calls, waits=waits)
        self.wrong += await sums_that_differ(self.gateway.database)

    # -- lives

    async def _life(self, calls: int) -> None:
        await self.gateway.start()
        before, since_us = self._kept(), now_us()
        killed_s = 0.0

        async def kill() -> None:
            nonlocal killed_s
            self._traffic.is_stopped = True
            killed_s = self.gateway.kill()

        await self._traffic_until(calls, kill)
        await self._judge(before, since_us, killed_s)

    async def _traffic_until(self, calls: int, end: Callable[[], Awaitable[object]]) -> None:
        """At any moment between two batches."""

        async def ending() -> None:
            at = calls + self._sender.random.randrange(calls)
            while len(self._traffic.told) < at:
                await asyncio.sleep(0.01)
            await asyncio.sleep(self._sender.random.random() * 0.6)
            await end()
            self._traffic.is_stopped = True

        self._traffic.is_stopped = False
        async with asyncio.TaskGroup() as group:
            group.create_task(self._traffic.run(self.gateway.url, 1000 * calls))
            group.create_task(ending())

    async def _life_that_is_ended(self, calls: int) -> None:
        """By signals: whoever was told something is in the books, and the books are alike."""
        await self.gateway.start()
        before, since_us = self._kept(), now_us()

        async def end() -> None:
            self._traffic.is_stopped = True
            await self.gateway.stop(again_after_s=0.03)

        await self._traffic_until(calls, end)
        told = {one.id: one for one in self._traffic.told}
        self._traffic.told = []
        rows = await read_rows(self.gateway.database, since_us)
        totals: Totals = {}
        heard = [one for one in told.values() if not one.is_lost]
        kept = {one.id for one in heard}
        self.wrong += judge(
            heard, self._sender.calls, [row for row in rows if row.id in kept], None, totals
        ).wrong
        for row in rows:
            if row.id not in kept:
                book(totals, told[row.id], row)
        self._sender.calls.clear()
        self.ended = Counter(row.error for row in rows)
        self._compare(before, totals)

    def _compare(self, before: Used, totals: Totals) -> None:
        """To the token and the pico-dollar."""
        for scope, kept in self._kept().items():
            due = getattr(totals.get(scope[:2], Sums()), scope[2])
            if kept - before.get(scope, 0) != due:
                self.wrong.append(f"{scope} rose by {kept - before.get(scope, 0)}, its calls took {due}")

    async def _last_life(self, calls: int, *, waits: bool) -> None:
        """It ends well: to the pico-dollar."""
        await self.gateway.start()
        began_s, before, since_us = time.monotonic(), self._kept(), now_us()
        self._traffic.is_stopped = False
        await self._traffic.run(self.gateway.url, calls)
        await self.gateway.rests()
        totals: Totals = {}
        rows = await read_rows(self.gateway.database, since_us)
        self.wrong += judge(self._traffic.told, self._sender.calls, rows, None, totals).wrong
        if waits:
            await asyncio.sleep(max(0.0, began_s + LEASE_S + 2 - time.monotonic()))
            _, reserved = await self.gateway.ledger()
            self.wrong += [
                f"{scope}: {amount} is reserved for ever" for scope, amount in reserved.items() if amount
            ]
        await self.gateway.stop()
        self._compare(before, totals)

    # -- what is left

    def _kept(self) -> Used:
        """In the ledger's file: used, reserved or promised, of the limits that only count."""
        found: Used = defaultdict(int)
        file = self.gateway.data / "limits.db"
        if not file.exists() or not file.stat().st_size:  # nobody has asked for anything yet
            return found
        with contextlib.closing(sqlite3.connect(file)) as connection:
            if self._ledger == "memory":
                rows = connection.execute(
                    "SELECT scope, limit_key, amount, '0' FROM ledger_blocks"
                ).fetchall()
            else:
                rows = connection.execute(
                    "SELECT scope, limit_key, used, reserved FROM ledger_counts"
                ).fetchall()
        for scope, limit, used, reserved in rows:
            kind, _, name = scope.partition(":")
            resource, _, window = limit.partition("/")
            if kind != "deployment" and window in ("total", "31622400"):
                found[kind, name, {"pico_usd": "pico"}.get(resource, resource)] += int(used) + int(reserved)
        return found

    async def _judge(self, before: Used, since_us: int, killed_s: float) -> None:
        told, self._traffic.told = self._traffic.told, []
        sent = dict(self._sender.calls)
        self._sender.calls.clear()
        rows = {row.id: row for row in await read_rows(self.gateway.database, since_us)}
        with_rows = [one for one in told if one.id in rows and not one.is_lost]
        lap = judge(with_rows, sent, [rows[one.id] for one in with_rows], None, {})
        self.wrong += lap.wrong
        ended = [one for one in told if not one.is_lost and (one.id in rows or not one.has_left)]
        lost = [one for one in ended if one.id not in rows]
        death = Death(len(ended), len(told) - len(ended), len(lost))
        death.oldest_s = max((killed_s - one.ended_s for one in lost), default=0.0)
        if death.oldest_s > LONGEST_LOSS_S:
            self.wrong.append(f"a row was lost of a call that ended {death.oldest_s:.1f} s before")
        kept = self._kept()
        took = {one.number: _took(one, sent, rows.get(one.id), killed_s) for one in told}
        for key in KEYS:
            mine = _sum(took[one.number] for one in told if one.key == key)
            self._judge_key(key.name, mine, before, kept, death)
        self.deaths.append(death)

    def _judge_key(self, key: str, took: "_Took", before: Used, kept: Used, death: Death) -> None:
        """Whether the ledger holds what this life took of it."""
        scope = ("key", key, "pico")
        held = kept[scope] - before[scope]
        most = took.most + (2 * BLOCK if self._ledger == "memory" else 0)
        death.forfeited += held - took.least
        death.bound += most - took.least
        if not took.least <= held <= most:
            self.wrong.append(f"key {key}: its budget holds {held}, from {took.least} to {most}")
        if self._ledger == "sql":
            scope = ("key", key, "requests")
            held = kept[scope] - before[scope]
            if not took.settled <= held <= took.settled + took.open:
                self.wrong.append(f"key {key}: {held} requests, {took.settled} and up to {took.open} more")

    def report(self) -> str:
        lines = [f"kill -9, ledger {self._ledger}:", *(f"  {one}" for one in self.deaths)]
        cut = self.ended["server_stopping"]
        lines.append(f"  ended by signals: {self.ended.total()} calls, of which {cut} were cut")
        return "\n".join([*lines, f"  differences: {len(self.wrong)}", *itertools.islice(self.wrong, 12)])


class _Took(NamedTuple):
    """Of money, the least and the most; of requests, those for certain and those that may be."""

    least: int = 0
    most: int = 0
    settled: int = 0
    open: int = 0


def _sum(found: Iterable[_Took]) -> _Took:
    return _Took(*(sum(parts) for parts in zip(_Took(), *found, strict=True)))


def _took(told: Told, sent: Mapping[int, Sequence[Sent]], row: Row | None, killed_s: float) -> _Took:
    if told.is_refused or told.status == 404 or (row is not None and not row.is_admitted):
        return _Took()
    cost = _cost(told, sent.get(told.number, ()), row)
    if cost is None or told.is_lost or killed_s - told.ended_s < LATE_S:
        return _Took(most=max(cost or 0, DEAREST), open=1)
    return _Took(cost, cost, settled=1)


def _cost(told: Told, sent: Sequence[Sent], row: Row | None) -> int | None:
    """As far as anybody knows."""
    if row is not None:
        return row.cost
    if told.cost is not None:
        return told.cost
    if told.status not in (0, 200):
        return 0
    said = [one.said for one in sent if one.deployment == told.deployment and one.shared == 1]
    if told.is_whole and said and said[-1] is not None:
        return PRICES[told.deployment].of(said[-1])
    return None
