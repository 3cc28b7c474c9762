import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from penstock.lib import tasks
from penstock.limits import sqlite
from penstock.limits.sqlite import SqliteFile
from penstock.types.ledger import LedgerUnavailable


async def test_a_new_file_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """As where two workers are asked for the first time."""
    file, asked = SqliteFile(tmp_path / "p.db"), set[asyncio.Task[object]]()
    with contextlib.closing(sqlite3.connect(tmp_path / "p.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = tasks.spawn(asked, file.run(lambda _: 7), "ask")
        await asyncio.sleep(3 * sqlite.LOCKED_S)
        assert not answer.done()
        other.execute("COMMIT")
        assert await answer == 7
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
