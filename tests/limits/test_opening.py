"""A ledger as the configuration names it."""

import logging
import socket
from pathlib import Path

import pytest

from penstock.lib.clock import SystemClock
from penstock.limits.opening import open_ledger


async def test_a_redis_that_is_not_there_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with caplog.at_level(logging.WARNING):
        ledger = await open_ledger(f"redis://:hush@127.0.0.1:{port}/0", SystemClock())
    await ledger.close()
    (line,) = caplog.messages
    assert line.startswith("the store of the limits does not answer yet; each scope's policy decides: ")
    assert "hush" not in line


@pytest.mark.parametrize("store", ["memory", "sql"])
async def test_the_file_is_its_owners_alone(tmp_path: Path, store: str) -> None:
    folder = tmp_path / "data"
    ledger = await open_ledger(store, SystemClock(), database="sqlite:///x", data_dir=folder)
    await ledger.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "limits.db").stat().st_mode & 0o777 == 0o600
