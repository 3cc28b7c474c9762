import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from penstock.cli import minted
from penstock.types.errors import InvalidRequest


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    key = minted.key(folder)
    assert key.startswith("sk-penstock-")
    assert len(key) > 40
    assert minted.key(folder) == key == minted.read_key(folder)
    assert mode(folder / "key") == 0o600
    assert mode(folder) == 0o700
    assert minted.secret(folder) == minted.secret(folder) != key.encode()
    assert mode(folder / "secret") == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["key", "secret"]


def test_first_starts_at_the_same_time_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: minted.key(tmp_path), range(32)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("")
    with pytest.raises(InvalidRequest, match="is empty"):
        minted.key(tmp_path)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        minted.key(tmp_path / "key" / "below")


def test_up_is_announced_and_withdrawn(tmp_path: Path) -> None:
    assert minted.running(tmp_path) is None
    minted.announce(tmp_path, "http://127.0.0.1:1")
    found = minted.running(tmp_path)
    assert found is not None
    assert found.url == "http://127.0.0.1:1"
    minted.withdraw(tmp_path)
    assert minted.running(tmp_path) is None
    (tmp_path / "up.json").write_text('{"url": "http://other", "pid": 1}')
    minted.withdraw(tmp_path)
    assert (tmp_path / "up.json").exists()


def announced(folder: Path, **said: object) -> None:
    (folder / "up.json").write_bytes(msgspec.json.encode({"url": "http://127.0.0.1:1", **said}))


def test_a_server_that_was_killed_is_not_running(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    announced(tmp_path, pid=killed.pid)
    assert minted.running(tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_later_process_with_the_number_of_a_server_is_not_it(tmp_path: Path) -> None:
    announced(tmp_path, pid=os.getpid(), started=1)
    assert minted.running(tmp_path) is None
    announced(tmp_path, pid=os.getpid())
    assert minted.running(tmp_path) is None


@pytest.mark.parametrize("pid", [0, -1, 2**63])
def test_no_process_has_such_a_number(tmp_path: Path, pid: int) -> None:
    announced(tmp_path, pid=pid)
    assert minted.running(tmp_path) is None


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    minted.write_atomically(path, b"one")
    minted.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert mode(path) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["f"]
