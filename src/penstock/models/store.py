"""The model cache on disk.

    ~/.cache/penstock/models/            PENSTOCK_CACHE_DIR/models, else XDG_CACHE_HOME/penstock/models
      hf--Qwen--Qwen3-4B-GGUF--1f0c2a9b/ one folder per source: readable, with a hash of its exact text
        manifest.json                    what is here and how large; a folder without it is not used
        ...                              the model's files
      .partial/<same name>/              being fetched; survives a crash, so that a download resumes
      .locks/<same name>                 held while fetching: two processes fetch a thing once

A model appears by one rename of its finished folder, so no reader ever sees half of one.
"""

import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.types.errors import InvalidRequest, ModelNotFound

Format = Literal["gguf", "safetensors-encoder"]
Step = Literal["waiting", "connecting", "downloading", "verifying", "unpacking", "ready"]

MANIFEST: Final = "manifest.json"
SPARE_BYTES: Final = 256 << 20  # what a download leaves free on the disk
_LOCK_POLL_S: Final = 0.2


class PullCancelled(Exception):
    """The caller's cancel event was set; what was fetched so far is kept for the next try."""


class Progress(msgspec.Struct, frozen=True):
    """One report of a running `resolve`. Bytes are of the whole model, not of one file."""

    source: str
    step: Step
    file: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    note: str = ""


class StoredFile(msgspec.Struct, frozen=True):
    name: str  # relative to the entry's folder, with forward slashes
    bytes: int
    sha256: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    source: str
    format: Format
    path: str  # what an engine is given: a .gguf file or a folder, relative to the entry's folder
    files: tuple[StoredFile, ...]
    revision: str
    note: str = ""  # why this file, or where it came from, in words
    version: Literal[1] = 1


class ResolvedModel(msgspec.Struct, frozen=True):
    """A model on this machine, ready for an engine.

    path: the .gguf file (its first part, if split) or the encoder's folder.
    """

    source: str
    path: Path
    files: tuple[Path, ...]
    format: Format
    bytes: int
    revision: str
    note: str = ""


class Watch:
    """How a long step talks to its caller: reports progress, notices that it was cancelled."""

    def __init__(
        self, source: str, report: Callable[[Progress], None] | None, cancel: threading.Event | None
    ) -> None:
        self.source = source
        self._report = report
        self.cancel = cancel or threading.Event()

    def say(
        self, step: Step, *, file: str = "", done: int = 0, total: int | None = None, note: str = ""
    ) -> None:
        """Raises PullCancelled when the caller no longer wants the model."""
        self.check()
        if self._report is not None:
            self._report(Progress(self.source, step, file, done, total, note))

    def check(self) -> None:
        if self.cancel.is_set():
            raise PullCancelled(f"fetching {self.source} was cancelled")

    def sleep(self, seconds: float) -> None:
        self.cancel.wait(seconds)
        self.check()


class Store:
    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def get(self, source: str) -> ResolvedModel | None:
        """The model if it is here whole: the manifest reads and every file has its size."""
        return self._read(self.root / slug(source))

    def list(self) -> list[ResolvedModel]:
        if not self.root.is_dir():
            return []
        found = (self._read(folder) for folder in sorted(self.root.iterdir()) if folder.is_dir())
        return [model for model in found if model is not None]

    def remove(self, source: str) -> int:
        """Deletes a model and what was left of its downloads; returns the bytes freed."""
        name = slug(source)
        folders = [folder for folder in (self.root / name, self.root / ".partial" / name) if folder.exists()]
        if not folders:
            raise ModelNotFound(f"{source} is not in the cache at {self.root}")
        freed = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
        for folder in folders:
            (folder / MANIFEST).unlink(missing_ok=True)  # first: a half-deleted model must not be used
            shutil.rmtree(folder)
        return freed

    @contextmanager
    def fetching(self, watch: Watch) -> Iterator[Path]:
        """The folder to fetch into, held for us alone. Look with `get` again: another may have finished."""
        name = slug(watch.source)
        partial, lock = self.root / ".partial" / name, self.root / ".locks" / name
        try:
            for folder in (partial, lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            handle = lock.open("w")
        except OSError as exc:
            raise InvalidRequest(
                f"the model cache {self.root} cannot be used: {exc.strerror or exc}."
                " Set PENSTOCK_CACHE_DIR to a folder that can be written."
            ) from exc
        with handle:
            _acquire(handle.fileno(), watch)
            partial.mkdir(exist_ok=True)  # whoever held the lock may have moved it into place
            yield partial

    def commit(self, partial: Path, manifest: Manifest) -> ResolvedModel:
        """Publishes a finished folder by one rename. Whatever is not in the manifest is dropped."""
        _keep_only(partial, {file.name for file in manifest.files})
        (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        final = self.root / slug(manifest.source)
        if final.exists():
            shutil.rmtree(final)
        partial.replace(final)
        return _resolved(final, manifest)

    def require_space(self, needed: int) -> None:
        """needed: bytes still to be written."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if needed + SPARE_BYTES > free:
            raise InvalidRequest(
                f"not enough disk space: {size(needed)} needed, {size(free)} free at {self.root}; "
                "remove models with `penstock models rm` or set PENSTOCK_CACHE_DIR"
            )

    def _read(self, folder: Path) -> ResolvedModel | None:
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            sizes = [(folder / file.name).stat().st_size for file in manifest.files]
        except (OSError, msgspec.DecodeError):
            return None
        if sizes != [file.bytes for file in manifest.files]:
            return None
        return _resolved(folder, manifest)


def default_root() -> Path:
    if chosen := os.environ.get("PENSTOCK_CACHE_DIR"):
        return Path(chosen).expanduser() / "models"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "penstock" / "models"


def slug(source: str) -> str:
    """A folder name that a person recognises and that no other source can have."""
    readable = re.sub(r"[^A-Za-z0-9._]+", "--", source).strip("-.")[:80]
    return f"{readable}--{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def size(count: int) -> str:
    """Bytes as people say them: 2.5 GB, 83 MB (decimal, as disks and hubs count)."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"


def sha256_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _resolved(folder: Path, manifest: Manifest) -> ResolvedModel:
    return ResolvedModel(
        source=manifest.source,
        path=folder / manifest.path,
        files=tuple(folder / file.name for file in manifest.files),
        format=manifest.format,
        bytes=sum(file.bytes for file in manifest.files),
        revision=manifest.revision,
        note=manifest.note,
    )


def _acquire(descriptor: int, watch: Watch) -> None:
    is_told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_told:
                watch.say("waiting", note="another process is fetching this model")
                is_told = True
            watch.sleep(_LOCK_POLL_S)
        else:
            return


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # children before their folder
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()
