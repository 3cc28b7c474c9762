"""The ledger in a SQLite file that several processes of one machine share: one writer thread in each.

The thread takes all that waits into one transaction (BEGIN IMMEDIATE, so that no other process is between its
reading and its writing), loads what the scopes have, does with it what memory does (rows.py), and writes what
changed. The clock is the machine's, read when the file is ours. WAL with synchronous=NORMAL: a killed process
loses nothing, a power cut the last moments.
"""

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

from penstock.lib.clock import Clock
from penstock.limits import rows as counting
from penstock.limits import shared
from penstock.limits.memory import Promised
from penstock.limits.rows import CONCURRENCY, Entry, Slice, amounts
from penstock.limits.rows import Row as Count
from penstock.limits.shared import KEPT_US, TIDIED, Seal, SharedLedger, ttl_us
from penstock.types.ledger import Claim, Cost, Lease, LedgerUnavailable, Limit, Refusal, Row, Scope

T = TypeVar("T")
SCHEMA: Final = (files("penstock.limits") / "sql" / "sqlite.sql").read_text("utf-8")
BATCH: Final = 64  # calls of one transaction
LOCKED_S: Final = 0.01  # until a file that another process has just made is tried again


class SqliteFile:
    """A file, and the thread that writes it. Raises LedgerUnavailable."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._asked: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], _Answer | None] | None]
        self._asked = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` in a transaction, on the thread."""
        answer = _Answer(asyncio.get_running_loop())
        self._asked.put((work, answer))
        result: T = await answer.future
        return result

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """The same, after all that was asked before; nobody waits for it."""
        self._asked.put((work, None))

    async def close(self) -> None:
        self._asked.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        is_open = True
        while is_open:
            batch = [self._asked.get()]
            while len(batch) < BATCH:
                with contextlib.suppress(queue.Empty):
                    batch.append(self._asked.get_nowait())
                    continue
                break
            asked = [one for one in batch if one is not None]
            is_open = len(asked) == len(batch)
            try:
                connection = connection or self._connect()
                results = _transaction(connection, [work for work, _ in asked])
            except Exception as exc:  # noqa: BLE001 - whoever asked is to hear of it, else it waits for ever
                failure: Exception = exc
                if isinstance(exc, sqlite3.Error):
                    failure = LedgerUnavailable(f"{self._path}: {exc}")
                    failure.__cause__ = exc
                for _, answer in asked:
                    if answer is not None:
                        answer.fail(failure)
            else:
                for (_, answer), result in zip(asked, results, strict=True):
                    if answer is not None:
                        answer.give(result)
        if connection is not None:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None)
        try:
            self._use_wal(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """SQLite does not wait for that where another process does the same just now."""
        give_up_s = time.monotonic() + self._timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_s:
                    raise
                time.sleep(LOCKED_S)
            else:
                return


class _Answer:
    """A future that another thread fills."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def give(self, result: Any) -> None:
        self._call(self._give, result)

    def _give(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, failure: Exception) -> None:
        self._call(self._fail, failure)

    def _fail(self, failure: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(failure)

    def _call(self, callback: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, value)


def _transaction(
    connection: sqlite3.Connection, works: Sequence[Callable[[sqlite3.Connection], T]]
) -> list[T]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [work(connection) for work in works]
    except BaseException:
        if connection.in_transaction:  # of some errors SQLite rolls back by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return results


class SqliteLedger(SharedLedger):
    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._wall = clock.wall
        self._tidied = ""  # up to this scope, in their order

    async def ask(self, lease: Lease, cost: Cost) -> Refusal | None:
        refusals = await self._file.run(lambda connection: _hold(connection, self._now_us(), lease, cost))
        return None if refusals is None else shared.worst(refusals)

    def abandon(self, lease: Lease) -> None:
        self._file.post(
            lambda connection: _end(
                connection, self._now_us(), lease, Cost(), is_unknown=False, seal=Seal.NEVER
            )
        )

    async def end(self, lease: Lease, actual: Cost, *, is_unknown: bool, seal: Seal) -> bool:
        return await self._file.run(
            lambda connection: _end(
                connection, self._now_us(), lease, actual, is_unknown=is_unknown, seal=seal
            )
        )

    async def beat(self, leases: Sequence[Lease]) -> None:
        await self._file.run(lambda connection: _heartbeat(connection, self._now_us(), leases))

    async def report(self, claims: Sequence[Claim], now_s: float) -> list[Row]:  # noqa: ARG002
        return await self._file.run(lambda connection: _report(connection, self._now_us(), claims))

    async def tidy(self) -> bool:
        begin = self._tidied
        after = await self._file.run(lambda connection: _tidy(connection, self._now_us(), begin))
        self._tidied = after or ""
        return after is not None

    async def close(self) -> None:
        await self._file.close()

    def _now_us(self) -> int:
        return int(self._wall() * 1_000_000)


class SqliteBlocks:
    """What a ledger in memory promised, in such a file (memory.Blocks). A past period is overwritten.

    `close` closes the file.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def load(self) -> Sequence[Promised]:
        found = await self._file.run(
            lambda connection: connection.execute(
                "SELECT scope, limit_key, period, amount FROM ledger_blocks"
            ).fetchall()
        )
        return [
            Promised(_scope(scope), limit_key, period, int(amount))
            for scope, limit_key, period, amount in found
        ]

    async def take(self, scope: Scope, limit_key: str, period: int, amount: int) -> int:
        return await self._file.run(
            lambda connection: _take(connection, f"{scope.kind}:{scope.id}", limit_key, period, amount)
        )

    async def close(self) -> None:
        await self._file.close()


def _take(connection: sqlite3.Connection, scope: str, limit_key: str, period: int, amount: int) -> int:
    found = connection.execute(
        "SELECT amount FROM ledger_blocks WHERE scope = ? AND limit_key = ? AND period = ?",
        (scope, limit_key, period),
    ).fetchone()
    total = amount + (int(found[0]) if found else 0)
    connection.execute(
        "INSERT OR REPLACE INTO ledger_blocks VALUES (?, ?, ?, ?)", (scope, limit_key, period, str(total))
    )
    return total


class _Held:
    """What a lease has of one scope. `given_back`: the slots of an expired lease."""

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over
        self.reserved: list[Entry] = []
        self.expired: list[Entry] = []
        self.given_back: list[Entry] = []


class _Account:
    """A scope while a transaction works with it."""

    def __init__(self, connection: sqlite3.Connection, claim: Claim, now_us: int) -> None:
        self.claim = claim
        self._connection = connection
        self._now_us = now_us
        self._before = {
            (limit_key, slice_): (int(used), int(reserved), int(expired))
            for limit_key, slice_, used, reserved, expired in connection.execute(
                "SELECT limit_key, slice, used, reserved, expired FROM ledger_counts WHERE scope = ?",
                (claim.key,),
            )
        }
        self._counts: dict[str, Count] = {}
        limits = {limit.key: limit for limit in claim.limits}
        for key in {limit_key for limit_key, _ in self._before} | set(limits):
            slices = [Slice(number, *sums) for (of, number), sums in self._before.items() if of == key]
            count = self._counts[key] = Count(limits.get(key) or _past_limit(key), slices)
            count.roll(now_us, now_us)
        self.counts = [self._counts[limit.key] for limit in claim.limits]
        self._expire()

    def held(self, lease: str) -> _Held | None:
        found = self._connection.execute(
            "SELECT is_over, entries FROM ledger_leases WHERE scope = ? AND lease = ?",
            (self.claim.key, lease),
        ).fetchone()
        return self._read(found[1], is_over=found[0]) if found else None

    def prolong(self, lease: Lease, held: _Held) -> None:
        """A lease that had expired takes its slot again, whoever has it: its call runs."""
        if held.is_over:
            return
        for count, piece, amount in held.given_back:
            piece.reserved += amount
            count.total += amount
            held.reserved.append((count, piece, amount))
        held.given_back = []
        self.keep(lease.id, held, self._now_us + ttl_us(lease))

    def keep(self, lease: str, held: _Held, due_us: int, *, is_expired: bool = False) -> None:
        entries = [
            [count.limit.key, piece.number, amount, state]
            for state, group in (("g", held.given_back), ("x", held.expired), ("r", held.reserved))
            for count, piece, amount in group
        ]
        self._connection.execute(
            "INSERT OR REPLACE INTO ledger_leases VALUES (?, ?, ?, ?, ?, ?)",
            (self.claim.key, lease, due_us, is_expired, held.is_over, json.dumps(entries)),
        )

    def forget(self, lease: str) -> None:
        self._connection.execute(
            "DELETE FROM ledger_leases WHERE scope = ? AND lease = ?", (self.claim.key, lease)
        )

    def save(self) -> None:
        after = {
            (key, piece.number): (piece.used, piece.reserved, piece.expired)
            for key, count in self._counts.items()
            for piece in count.slices.values()
            if piece.used or piece.reserved or piece.expired
        }
        self._connection.executemany(
            "DELETE FROM ledger_counts WHERE scope = ? AND limit_key = ? AND slice = ?",
            [(self.claim.key, *one) for one in self._before if one not in after],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO ledger_counts VALUES (?, ?, ?, ?, ?, ?)",
            [
                (self.claim.key, *one, *(str(amount) for amount in sums))
                for one, sums in after.items()
                if self._before.get(one) != sums
            ],
        )

    def _expire(self) -> None:
        due = self._connection.execute(
            "SELECT lease, due_us, is_expired, entries FROM ledger_leases WHERE scope = ? AND due_us <= ?",
            (self.claim.key, self._now_us),
        ).fetchall()
        for lease, due_us, is_expired, entries in due:
            forget_us = due_us if is_expired else due_us + KEPT_US
            if not is_expired:
                held = self._read(entries)
                held.given_back += [one for one in held.reserved if one[0].resource == CONCURRENCY]
                held.expired += counting.expire(held.reserved)
                held.reserved = []
                self.keep(lease, held, forget_us, is_expired=True)
            if forget_us <= self._now_us:
                self.forget(lease)

    def _read(self, entries: str, *, is_over: bool = False) -> _Held:
        held = _Held(is_over=is_over)
        groups = {"r": held.reserved, "x": held.expired, "g": held.given_back}
        for limit_key, number, amount, state in json.loads(entries):
            count = self._counts.setdefault(limit_key, Count(_past_limit(limit_key)))
            groups[state].append((count, count.slices.get(number) or Slice(number), amount))
        return held


def _past_limit(key: str) -> Limit:
    """A limit that a scope had: what leases have in it is settled, and nothing is admitted by it."""
    resource, _, window = key.partition("/")
    return Limit(resource, 0, int(window) if window.isdigit() else window or None)  # type: ignore[arg-type]


def _hold(connection: sqlite3.Connection, now_us: int, lease: Lease, cost: Cost) -> list[Refusal] | None:
    """Refusals, or none of them where the lease is over: nobody waits for this answer. None: it is held."""
    accounts = [_Account(connection, claim, now_us) for claim in lease.claims]
    planned: list[tuple[_Account, _Held, list[Entry]]] = []
    refusals = []
    is_over = False
    for account in accounts:
        held = account.held(lease.id)
        if held is not None:
            account.prolong(lease, held)
            is_over |= held.is_over
        costs = amounts(cost, 1 if held is None else 0)
        entries = [(count, count.current, costs[count.resource]) for count in account.counts]
        planned.append((account, held or _Held(), [one for one in entries if one[2]]))
        refusals += [
            count.refusal(account.claim.scope, amount, now_us)
            for count, _, amount in entries
            if amount and count.total + amount > count.limit.amount
        ]
    if not refusals and not is_over:
        for account, held, entries in planned:
            for count, piece, amount in entries:
                count.total += amount
                piece.reserved += amount
            held.reserved += entries
            account.keep(lease.id, held, now_us + ttl_us(lease))
        lease.remaining = [
            count.rest(account.claim.scope, now_us)
            for account in accounts
            for count in account.counts
            if count.resource != CONCURRENCY
        ]
    for account in accounts:
        account.save()
    if is_over:
        return []
    return refusals or None


def _end(
    connection: sqlite3.Connection,
    now_us: int,
    lease: Lease,
    actual: Cost,
    *,
    is_unknown: bool,
    seal: Seal,
) -> bool:
    accounts = [_Account(connection, claim, now_us) for claim in lease.claims]
    found = [account.held(lease.id) for account in accounts]
    is_due = is_unknown or any(held is not None for held in found)
    is_over = any(held is not None and held.is_over for held in found)
    for account, held in zip(accounts, found, strict=True):
        if is_due and not is_over:
            mine = held or _Held()
            counting.settle(account.counts, mine.expired, mine.reserved, actual)
            account.forget(lease.id)
        if not is_over and (seal == Seal.ALWAYS or (is_due and seal == Seal.SETTLED)):
            account.keep(lease.id, _Held(is_over=True), now_us + KEPT_US, is_expired=True)
        account.save()
    return is_due


def _heartbeat(connection: sqlite3.Connection, now_us: int, leases: Sequence[Lease]) -> None:
    accounts: dict[str, _Account] = {}
    for lease in leases:
        for claim in lease.claims:
            account = accounts.get(claim.key)
            if account is None:
                account = accounts[claim.key] = _Account(connection, claim, now_us)
            if (held := account.held(lease.id)) is not None:
                account.prolong(lease, held)
    for account in accounts.values():
        account.save()


def _report(connection: sqlite3.Connection, now_us: int, claims: Sequence[Claim]) -> list[Row]:
    lines = []
    for claim in claims:
        account = _Account(connection, claim, now_us)
        lines += [Row(claim.scope, count.limit, *count.sums()) for count in account.counts]
        account.save()
    return lines


def _tidy(connection: sqlite3.Connection, now_us: int, after: str) -> str | None:
    """Some scopes, in their order; the last of them, or None when there are no more."""
    found = connection.execute(
        "SELECT scope FROM ledger_counts WHERE scope > ?1"
        " UNION SELECT scope FROM ledger_leases WHERE scope > ?1 ORDER BY scope LIMIT ?2",
        (after, TIDIED),
    ).fetchall()
    for (key,) in found:
        _Account(connection, Claim(_scope(key), ()), now_us).save()
    return found[-1][0] if len(found) == TIDIED else None


def _scope(key: str) -> Scope:
    kind, _, name = key.partition(":")
    return Scope(kind, name)  # type: ignore[arg-type]
