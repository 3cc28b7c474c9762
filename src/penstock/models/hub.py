"""Fetches models from a Hugging Face hub, or a mirror of one (HF_ENDPOINT), with HF_TOKEN where it is set.

huggingface_hub answers what is in a repository; the bytes are read here, because its own download
(2.4, `_download_to_tmp_and_move`) deletes what it has when it is interrupted. Ours resumes: a part is kept
under its content's hash, continued with a Range request, and checked against that hash when whole.

Foreign errors become ours at this border:

    no such repository, revision or file    ModelNotFound
    gated or private repository             UpstreamCredentials, with what to do
    cannot connect, timeout, 5xx            UpstreamUnavailable, with what to do
    size or hash differ                     UpstreamInvalid; the part is deleted
"""

import difflib
import errno
import os
import re
import socket
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from penstock.models import catalogue
from penstock.models.store import Format, PullCancelled, Store, StoredFile, Watch, sha256_of, size
from penstock.types.errors import (
    InvalidRequest,
    ModelNotFound,
    PenstockError,
    UpstreamCredentials,
    UpstreamInvalid,
    UpstreamUnavailable,
)

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0
MAX_FAILURES: Final = 5  # in a row, without one new byte
PLAIN_LIMIT_BYTES: Final = 50 * 10**9  # larger files need the hub's chunk protocol

REQUIRED: Final = ("config.json", "tokenizer.json")
_ENCODER_FILES: Final = re.compile(
    r"(model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|config\.json|tokenizer(_config)?\.json|modules\.json"
    r"|special_tokens_map\.json|sentence_[\w-]+_config\.json|config_sentence_transformers\.json"
    r"|1_Pooling/config\.json|golden\.json|LICENSE(\.\w+)?)"
)
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_QUANTIZATION: Final = re.compile(
    r"(?i)(?:^|[-._/])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|BF16|F16|FP16|F32|MXFP4(?:_MOE)?|TQ\d_\d))(?=[-./]|$)"
)


class RemoteFile(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    sha256: str | None  # known for files in large-file storage, which all weights are


class Selection(msgspec.Struct, frozen=True):
    """What to fetch of a repository, and why."""

    format: Format
    path: str
    files: tuple[RemoteFile, ...]
    reason: str


class Fetched(msgspec.Struct, frozen=True):
    repo: str
    selection: Selection
    files: tuple[StoredFile, ...]
    revision: str  # the commit


def fetch(
    repo: str,
    *,
    file: str | None,
    quantization: str | None,
    among: Collection[str] = (),
    revision: str,
    into: Path,
    store: Store,
    watch: Watch,
    memory_bytes: int,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> Fetched:
    """Lists the repository, chooses, fetches what is not yet in `into`.

    among: the quantizations to choose from where none is named; empty: all there are.
    """
    watch.say("connecting", note=endpoint())
    commit, remote = _list(repo, revision, connect_timeout_s)
    selection = select(
        remote, repo=repo, file=file, quantization=quantization, among=among, memory_bytes=memory_bytes
    )
    total = sum(item.bytes for item in selection.files)
    here = [
        path for item in selection.files for path in (into / item.name, _part(into, item)) if path.exists()
    ]
    store.require_space(total - sum(path.stat().st_size for path in here))
    pull = _Pull(repo, commit, into, watch, total)
    return Fetched(repo, selection, tuple(pull.file(item) for item in selection.files), commit)


def select(
    files: Sequence[RemoteFile],
    *,
    repo: str,
    file: str | None = None,
    quantization: str | None = None,
    among: Collection[str] = (),
    memory_bytes: int,
) -> Selection:
    """Pure: which files of a repository make one model. A split GGUF counts as one."""
    weights = _gguf_groups(files)
    if file is not None:
        return _gguf(_named(weights, file, repo), "the file you named")
    if quantization is not None:
        labels = {_quantization(name).upper(): name for name in weights}
        if quantization.upper() not in labels:
            raise ModelNotFound(
                f"{repo} has no {quantization}; it has {', '.join(sorted(labels)) or 'no GGUF'}"
            )
        return _gguf(weights[labels[quantization.upper()]], "the quantization you named")
    if among and weights:
        labels = {_quantization(name).upper(): name for name in weights}
        weights = {name: weights[name] for label, name in labels.items() if label in among}
        if not weights:
            raise ModelNotFound(f"{repo} has none of {', '.join(among)}; it has {', '.join(sorted(labels))}")
    if weights:
        sizes = [
            catalogue.File(_quantization(name), sum(part.bytes for part in parts), name)
            for name, parts in weights.items()
        ]
        choice = catalogue.choose_file(sizes, memory_bytes)
        return _gguf(weights[choice.file.name], choice.reason)
    chosen = tuple(item for item in files if _ENCODER_FILES.fullmatch(item.name))
    names = {item.name for item in chosen}
    has_weights = any(name.endswith(".safetensors") for name in names)
    if not has_weights or not names.issuperset(REQUIRED):
        raise ModelNotFound(
            f"{repo} holds neither a .gguf file nor a safetensors encoder "
            "(model.safetensors, config.json, tokenizer.json)"
        )
    return Selection("safetensors-encoder", ".", chosen, "safetensors encoder")


def endpoint() -> str:
    """Read at every call: huggingface_hub's own constant is fixed at its import."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _list(repo: str, revision: str, timeout_s: float) -> tuple[str, list[RemoteFile]]:
    from huggingface_hub import HfApi

    _require_reachable(timeout_s)
    api = HfApi(endpoint=endpoint(), library_name="penstock")
    try:
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=timeout_s)
    except Exception as exc:
        raise _foreign(exc, f"hf:{repo}@{revision}") from exc
    files = [
        RemoteFile(item.rfilename, item.size or 0, item.lfs.sha256 if item.lfs else None)
        for item in info.siblings or []
    ]
    return info.sha or revision, files


class _Pull:
    """Fetches the files of one commit, one after the other, into one folder."""

    def __init__(self, repo: str, commit: str, into: Path, watch: Watch, total: int) -> None:
        self.repo = repo
        self.commit = commit
        self.into = into
        self.watch = watch
        self.total = total
        self.done = 0  # bytes of the files that are whole

    def file(self, item: RemoteFile) -> StoredFile:
        final, part = self.into / item.name, _part(self.into, item)
        if final.exists() and final.stat().st_size == item.bytes:
            pass
        elif item.bytes > PLAIN_LIMIT_BYTES:
            self._large(item)
        else:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.touch()
            self._until_whole(item, part)
            self._verify(item, part)
            part.replace(final)
        self.done += item.bytes
        return StoredFile(item.name, item.bytes, item.sha256)

    def _large(self, item: RemoteFile) -> None:
        """Through huggingface_hub and its chunk store: the hub serves no plain download of such a file.

        An interrupted one starts again, but chunks already fetched are in hf-xet's own cache.
        """
        from huggingface_hub import hf_hub_download
        from tqdm import tqdm  # type: ignore[import-untyped]

        pull, at = self, 0

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                nonlocal at
                at += int(n or 0)
                done = min(pull.done + at, pull.total)
                pull.watch.say("downloading", file=item.name, done=done, total=pull.total)

        try:
            hf_hub_download(
                self.repo,
                item.name,
                revision=self.commit,
                local_dir=self.into,
                endpoint=endpoint(),
                library_name="penstock",
                tqdm_class=Bar,
            )
        except PullCancelled:
            raise
        except Exception as exc:
            raise _foreign(exc, f"hf:{self.repo}/{item.name}") from exc
        self._verify(item, self.into / item.name)

    def _until_whole(self, item: RemoteFile, part: Path) -> None:
        failures = 0
        while (have := part.stat().st_size) != item.bytes:
            try:
                self._stream(item, part)
            except UpstreamUnavailable:
                failures = failures + 1 if part.stat().st_size <= have else 0
                if failures >= MAX_FAILURES:
                    raise
                self.watch.sleep(0.2 * 2**failures)

    def _stream(self, item: RemoteFile, part: Path) -> None:
        """Appends to `part` until the answer ends, from where it stopped the last time."""
        from huggingface_hub import get_session, hf_hub_url, utils

        toolbox: Any = utils  # re-exports its functions lazily, unseen by type checkers
        url = hf_hub_url(self.repo, item.name, revision=self.commit, endpoint=endpoint())
        headers = toolbox.build_hf_headers(library_name="penstock")
        headers["accept-encoding"] = "identity"
        client: Any = get_session()
        with part.open("ab") as handle:
            if handle.tell() > item.bytes:
                handle.truncate(0)
            if offset := handle.tell():
                headers["range"] = f"bytes={offset}-"
            try:
                with client.stream("GET", url, headers=headers, timeout=READ_TIMEOUT_S) as response:
                    toolbox.hf_raise_for_status(response)
                    if response.status_code != 206:
                        handle.truncate(0)
                        offset = 0
                    for chunk in response.iter_raw():  # as it arrives: nothing is lost when it is cut
                        handle.write(chunk)
                        offset += len(chunk)
                        done = self.done + offset
                        self.watch.say("downloading", file=item.name, done=done, total=self.total)
            except PullCancelled:
                raise
            except Exception as exc:
                raise _foreign(exc, f"hf:{self.repo}/{item.name}") from exc
            finally:
                handle.flush()
                os.fsync(handle.fileno())
        if offset > item.bytes:
            part.unlink()
            raise UpstreamInvalid(f"{item.name} is longer than its repository says: {offset} > {item.bytes}")
        if offset < item.bytes:
            raise UpstreamUnavailable(f"{item.name} ended after {size(offset)} of {size(item.bytes)}")

    def _verify(self, item: RemoteFile, part: Path) -> None:
        if item.sha256 is None:
            return
        self.watch.say("verifying", file=item.name, done=self.done + item.bytes, total=self.total)
        if (found := sha256_of(part)) != item.sha256:
            part.unlink()
            raise UpstreamInvalid(
                f"{item.name} has sha256 {found}, expected {item.sha256}; it was deleted, try again"
            )


def _part(into: Path, item: RemoteFile) -> Path:
    """Bound to the content, so that a part of an older revision is never continued."""
    return into / f"{item.name}.{(item.sha256 or str(item.bytes))[:16]}.part"


def _gguf(parts: tuple[RemoteFile, ...], reason: str) -> Selection:
    return Selection("gguf", parts[0].name, parts, reason)


def _gguf_groups(files: Sequence[RemoteFile]) -> dict[str, tuple[RemoteFile, ...]]:
    """First part's name -> its parts in order. Vision projectors and importance matrices are no models."""
    groups: dict[str, list[RemoteFile]] = {}
    for item in sorted(files, key=lambda item: item.name):
        base = item.name.rpartition("/")[2].lower()
        if base.endswith(".gguf") and not base.startswith(("mmproj", "imatrix")):
            groups.setdefault(_SHARD.sub("", item.name), []).append(item)
    return {parts[0].name: tuple(parts) for parts in groups.values()}


def _named(weights: dict[str, tuple[RemoteFile, ...]], file: str, repo: str) -> tuple[RemoteFile, ...]:
    """Letter case does not matter: people write file names as they remember them."""
    by_name = {part.name.lower(): parts for parts in weights.values() for part in parts}
    if file.lower() in by_name:
        return by_name[file.lower()]
    close = difflib.get_close_matches(file.lower(), by_name, n=3) or sorted(by_name)[:5]
    names = ", ".join(by_name[name][0].name for name in close)
    raise ModelNotFound(f"{repo} has no file {file}; it has {names or 'no .gguf files'}")


def _quantization(name: str) -> str:
    found = _QUANTIZATION.findall(_SHARD.sub("", name).removesuffix(".gguf"))
    return found[-1] if found else name.rpartition("/")[2].removesuffix(".gguf")


def _require_reachable(timeout_s: float) -> None:
    """Fails within `timeout_s` even where the resolver hangs, which no HTTP client's timeout covers."""
    parts = urlsplit(endpoint())
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if os.environ.get("HF_HUB_OFFLINE") in {"1", "true", "TRUE", "yes", "ON"}:
        raise UpstreamUnavailable("the model hub is switched off by HF_HUB_OFFLINE; unset it to download")
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return  # the proxy resolves the name
    outcome: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout_s).close()
        except OSError as exc:
            outcome.append(exc)
        else:
            outcome.append(None)

    thread = threading.Thread(target=connect, name="hub probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    problem = outcome[0] if outcome else TimeoutError(f"no answer within {timeout_s:g} s")
    if problem is not None:
        raise _unreachable(problem) from problem


def _foreign(exc: Exception, what: str) -> PenstockError:
    from huggingface_hub import errors

    match exc:
        case OSError(errno=errno.ENOSPC):
            return InvalidRequest(f"the disk became full while fetching {what}")
        case errors.GatedRepoError():
            page = f"{endpoint()}/{what.removeprefix('hf:').partition('@')[0]}"
            return UpstreamCredentials(
                f"{what} is gated: accept its licence at {page} and set HF_TOKEN to a token of that account"
            )
        case errors.RepositoryNotFoundError():
            return ModelNotFound(f"{what} does not exist, or is private: then set HF_TOKEN")
        case errors.RevisionNotFoundError() | errors.EntryNotFoundError():
            return ModelNotFound(f"{what} does not exist")
        case errors.HFValidationError():
            return InvalidRequest(f"{what} is not a valid repository name")
        case errors.HfHubHTTPError() if exc.response.status_code in {401, 403}:
            return UpstreamCredentials(
                f"{endpoint()} refuses {what}: set HF_TOKEN to a token that may read it"
            )
        case errors.HfHubHTTPError():
            return UpstreamUnavailable(f"{endpoint()} answered {exc.response.status_code} for {what}")
        case _:
            return _unreachable(exc)


def _unreachable(exc: Exception) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        f"cannot reach the model hub {endpoint()} ({exc}). Check the network or proxy, set HF_ENDPOINT to a "
        "mirror, or copy the model here and use file:/path"
    )
