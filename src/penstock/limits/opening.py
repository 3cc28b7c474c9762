"""A ledger by what the configuration says of it: `limits.store`.

memory                  this process; calendar budgets outlive it in blocks, in a file
sql                     the database of `store`: SQLite's own file beside it, or PostgreSQL
redis://, rediss://     Redis or Valkey; with +sentinel: the primary that its sentinels name
"""

import asyncio
import importlib
import logging
from pathlib import Path
from typing import Final

from penstock.lib.clock import Clock
from penstock.limits.guarded import Guarded
from penstock.limits.memory import MemoryLedger
from penstock.types.ledger import Claim, Ledger, LedgerUnavailable, Limit, Scope

FILE: Final = "limits.db"
_NOBODY: Final = Claim(Scope("key", ""), (Limit("requests", 1, 1),))

_log = logging.getLogger(__name__)


async def open_ledger(
    store: str, clock: Clock, *, database: str = "", data_dir: Path | None = None, processes: int = 1
) -> Ledger:
    """`database`: the URL of `store`. Without a data folder nothing outlives the process.

    Raises LedgerUnavailable where PostgreSQL does not answer; Redis may come later.
    """
    if store == "memory":
        return await _memory(clock, data_dir)
    if store == "sql":
        return await _sql(clock, database, data_dir, processes)
    await _load("redis")
    from penstock.limits.redis import RedisLedger

    ledger = Guarded(RedisLedger(store), clock, replicas=processes)
    try:
        await ledger.report([_NOBODY], clock.monotonic())
    except LedgerUnavailable as exc:  # a wrong password is known now, not when the first call is refused
        _log.warning("the store of the limits does not answer yet; each scope's policy decides: %s", exc)
    return ledger


async def _memory(clock: Clock, data_dir: Path | None) -> Ledger:
    if data_dir is None:
        return MemoryLedger(clock)
    await _load("sqlite")
    from penstock.limits.sqlite import SqliteBlocks, SqliteFile

    ledger = MemoryLedger(clock, SqliteBlocks(SqliteFile(await asyncio.to_thread(_file, data_dir))))
    await ledger.open()
    return ledger


async def _sql(clock: Clock, database: str, data_dir: Path | None, processes: int) -> Ledger:
    if database.startswith("postgres"):
        await _load("postgres")
        from penstock.limits.postgres import TIMEOUT_S, PostgresLedger

        store = await PostgresLedger.open(database)
        return Guarded(store, clock, replicas=processes, timeout_s=TIMEOUT_S)
    await _load("sqlite")
    from penstock.limits.sqlite import SqliteFile, SqliteLedger

    return SqliteLedger(SqliteFile(await asyncio.to_thread(_file, data_dir)), clock)


async def _load(backend: str) -> None:
    """Drivers are large, and what runs in a store is read from files: not on the loop."""
    await asyncio.to_thread(importlib.import_module, f"penstock.limits.{backend}")


def _file(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise ValueError("a ledger in a file needs a data folder")
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = data_dir / FILE
    file.touch(mode=0o600)  # who spends how much concerns its owner alone
    return file
