"""The key and the key-hash secret that a first start makes, in the data folder, readable by their owner only.

key      sk-penstock-...  what `penstock up` prints and accepts
secret   hashes all keys; hosts that share keys share it (or set server.secret)
up.json  {"url", "pid", "started"} of the server that runs, so that other commands find it
"""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

import msgspec

from penstock.types.errors import InvalidRequest

KEY_PREFIX = "sk-penstock-"


class Running(msgspec.Struct, frozen=True):
    """`started` tells a process from a later one with the same number; None where that cannot be had."""

    url: str
    pid: int
    started: int | None = None


class Ready(msgspec.Struct, frozen=True):
    """What a ready file holds."""

    url: str
    pid: int
    key: str | None


def key(data_dir: Path) -> str:
    """Raises InvalidRequest when the folder cannot be used."""
    return _kept(data_dir / "key", KEY_PREFIX + secrets.token_hex(20))


def secret(data_dir: Path) -> bytes:
    """Raises InvalidRequest when the folder cannot be used."""
    return _kept(data_dir / "secret", secrets.token_hex(32)).encode()


def read_key(data_dir: Path) -> str | None:
    try:
        return (data_dir / "key").read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def announce(data_dir: Path, url: str) -> None:
    write_atomically(
        data_dir / "up.json", msgspec.json.encode(Running(url, os.getpid(), _started(os.getpid())))
    )


def withdraw(data_dir: Path) -> None:
    """Only our own: another server may have started since."""
    found = _announced(data_dir)
    if found is not None and found.pid == os.getpid():
        (data_dir / "up.json").unlink(missing_ok=True)


def say_ready(path: Path, url: str, key_: str | None) -> None:
    write_atomically(path, msgspec.json.encode(Ready(url, os.getpid(), key_)))


def unsay_ready(path: Path) -> None:
    """Likewise: who could not start beside another must not take away what that one says."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Ready)
    except (OSError, msgspec.DecodeError):
        return
    if found.pid == os.getpid():
        path.unlink(missing_ok=True)


def running(data_dir: Path) -> Running | None:
    """What runs now. Of a server that was killed only the file is left, and by now its port may be another's:
    whoever listens there must not be sent the key.
    """
    found = _announced(data_dir)
    return found if found is not None and _is_alive(found) else None


def _is_alive(found: Running) -> bool:
    if found.pid <= 0:
        return False
    try:
        os.kill(found.pid, 0)
    except (OSError, OverflowError):  # a process of another user is not ours either
        return False
    return found.started == _started(found.pid)


def _started(pid: int) -> int | None:
    """When the process began, in clock ticks since the machine did; None where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])  # field 22; the name before it may hold anything
    except (OSError, ValueError, IndexError):
        return None


def _announced(data_dir: Path) -> Running | None:
    try:
        return msgspec.json.decode((data_dir / "up.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def write_atomically(path: Path, content: bytes) -> None:
    """Readable by its owner only; a reader sees all of it or none of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _kept(path: Path, fresh: str) -> str:
    """What the file says; `fresh` is written there first when there is none.

    A link appears whole or not at all, and never over another: two first starts agree on one value.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as draft:
                draft.write(fresh.encode() + b"\n")
                draft.flush()
                with contextlib.suppress(FileExistsError):
                    os.link(draft.name, path)
        kept = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise InvalidRequest(
            f"{path} cannot be used: {reason}. Choose another folder with --data-dir."
        ) from exc
    if not kept:
        raise InvalidRequest(f"{path} is empty. Delete it, and the next start makes a new one.")
    return kept
