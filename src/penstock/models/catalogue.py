"""Short names for well-known open models, and which quantization of one fits this machine.

    entries()                     name -> Entry, from catalogue.yaml
    find(name)                    one Entry; ModelNotFound with close matches
    choose(entry, memory_bytes)   the largest quantization that fits, with the reason in words
    choose_file(files, ...)       the same for any list of files (a hub repository)

A quantization fits when its weights, 10 % for compute buffers and 512 MB for a context cache are free.
"""

import difflib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final, Literal

import msgspec
import yaml

from penstock.models.store import size
from penstock.types.errors import InvalidRequest, ModelNotFound

Kind = Literal["chat", "embedding", "rerank"]
CONTEXT_BYTES: Final = 512 << 20


class File(msgspec.Struct, frozen=True):
    """One quantization and its size; `name`: the file, where a repository was asked."""

    quantization: str
    bytes: int
    name: str = ""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of catalogue.yaml, which explains the fields."""

    kind: Kind
    engine: Literal["llamacpp", "onnx"]
    repo: str
    parameters_b: float
    context: int
    licence: str
    sizes_mb: dict[str, int]
    listed: bool
    note: str = ""

    @property
    def files(self) -> tuple[File, ...]:
        return tuple(File(name, megabytes * 1_000_000) for name, megabytes in self.sizes_mb.items())


class Choice(msgspec.Struct, frozen=True):
    file: File
    reason: str


@cache
def entries() -> dict[str, Entry]:
    text = resources.files("penstock.models").joinpath("catalogue.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Entry])


def find(name: str) -> Entry:
    known = entries()
    if name in known:
        return known[name]
    close = close_names(name)
    hint = f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(known)}."
    raise ModelNotFound(f"no model is called {name!r}; {hint}")


def close_names(name: str) -> list[str]:
    family = [known for known in entries() if known.partition(":")[0] == name.partition(":")[0]]
    return family or difflib.get_close_matches(name, entries(), n=4, cutoff=0.5)


def choose(entry: Entry, memory_bytes: int) -> Choice:
    return choose_file(entry.files, memory_bytes)


def choose_file(files: Sequence[File], memory_bytes: int) -> Choice:
    """Pure. Raises InvalidRequest when not even the smallest fits, saying how much it needs."""
    by_size = sorted(files, key=lambda file: file.bytes)
    fitting = [file for file in by_size if needed_bytes(file.bytes) <= memory_bytes]
    if not fitting:
        smallest = by_size[0]
        raise InvalidRequest(
            f"the smallest quantization, {smallest.quantization} with {size(smallest.bytes)}, needs about "
            f"{size(needed_bytes(smallest.bytes))} of memory and {size(memory_bytes)} is free; "
            "choose a smaller model or name a file"
        )
    best = fitting[-1]
    label = f"{best.quantization}, {size(best.bytes)}"
    if len(by_size) == 1:
        return Choice(best, f"{label}, the only one; {size(memory_bytes)} free")
    return Choice(best, f"{label}, the largest that fits in {size(memory_bytes)} free")


def needed_bytes(weights: int) -> int:
    return weights + weights // 10 + CONTEXT_BYTES
