import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from penstock.limits.sqlite import SqliteFile
from penstock.types.ledger import LedgerUnavailable


async def test_who_opens_a_new_file_at_once_with_others_waits(tmp_path: Path) -> None:
    """As workers do with the first call of each: SQLite refuses one of two that turn the same log on."""
    for number in range(40):
        files = [SqliteFile(tmp_path / f"{number}.db") for _ in range(6)]
        assert await asyncio.gather(*(file.run(lambda _: 7) for file in files)) == [7] * 6
        for file in files:
            await file.close()


async def test_it_is_not_waited_for_ever(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "p.db", timeout_s=0.05)
    with contextlib.closing(sqlite3.connect(tmp_path / "p.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            await file.run(lambda _: 7)
        other.execute("COMMIT")
    assert await file.run(lambda _: 7) == 7
    await file.close()
