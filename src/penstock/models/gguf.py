"""Reads the header of a GGUF file: what model it is, without loading it.

Layout (ggml/docs/gguf.md, versions 2 and 3, little-endian): magic "GGUF", u32 version, u64 tensors,
u64 pairs, then the pairs (string key, u32 type, value). A string is u64 length + UTF-8; an array is u32
element type, u64 count and the elements. Every length is checked against what is left of the file, so that
a damaged or hostile header costs at most `MAX_HEADER_BYTES` of reading.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penstock.types.errors import InvalidRequest

MAX_HEADER_BYTES: Final = 128 << 20  # vocabularies of 256k words with merges take about 20 MB
MAX_PAIRS: Final = 65_536
ARRAY_SAMPLE: Final = 8  # elements kept of an array; vocabularies are not wanted here

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9


@dataclass(frozen=True)
class GgufArray:
    length: int
    sample: tuple[Any, ...]


@dataclass(frozen=True)
class GgufMetadata:
    """values: every key of the header, e.g. "general.architecture", "llama.context_length"."""

    version: int
    tensor_count: int
    values: dict[str, Any]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", "unknown"))

    @property
    def context_length(self) -> int | None:
        value = self.values.get(f"{self.architecture}.context_length")
        return int(value) if value is not None else None

    @property
    def embedding_length(self) -> int | None:
        value = self.values.get(f"{self.architecture}.embedding_length")
        return int(value) if value is not None else None

    @property
    def has_chat_template(self) -> bool:
        return "tokenizer.chat_template" in self.values

    @property
    def tokenizer(self) -> str | None:
        value = self.values.get("tokenizer.ggml.model")
        return str(value) if value is not None else None


def read_gguf_metadata(path: Path) -> GgufMetadata:
    """Raises InvalidRequest when this is not a GGUF file we can read, saying why."""
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, path.name).metadata()
    except (OSError, ValueError) as exc:  # mmap refuses an empty file with ValueError
        raise InvalidRequest(f"{path.name} is not a readable GGUF file: {exc}") from exc


class _Reader:
    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._end = min(len(data), MAX_HEADER_BYTES)
        self._at = 0
        self._name = name

    def metadata(self) -> GgufMetadata:
        if self._take(4) != b"GGUF":
            raise InvalidRequest(f"{self._name} is not a GGUF file: it does not begin with 'GGUF'")
        version = self._scalar("I")
        if version not in {2, 3}:
            raise InvalidRequest(f"{self._name} is GGUF version {version}; versions 2 and 3 are read here")
        tensors, pairs = self._scalar("Q"), self._scalar("Q")
        if pairs > MAX_PAIRS:
            raise InvalidRequest(f"{self._name}: {pairs} metadata pairs is not credible")
        values = {}
        for _ in range(pairs):
            key = self._string()
            values[key] = self._value(self._scalar("I"))
        return GgufMetadata(version, tensors, values)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise InvalidRequest(f"{self._name}: unknown value type {kind} in the GGUF header")
        return self._scalar(_SCALARS[kind])

    def _array(self) -> GgufArray:
        kind, count = self._scalar("I"), self._scalar("Q")
        if kind == _ARRAY:
            raise InvalidRequest(f"{self._name}: nested arrays in the GGUF header are not read")
        if kind in _SCALARS:
            start = self._at
            width = struct.calcsize("<" + _SCALARS[kind])
            self._skip(count * width)
            kept = min(count, ARRAY_SAMPLE)
            return GgufArray(count, struct.unpack_from(f"<{kept}{_SCALARS[kind]}", self._data, start))
        sample = [self._value(kind) for _ in range(min(count, ARRAY_SAMPLE))]
        for _ in range(count - len(sample)):
            self._skip(self._scalar("Q"))
        return GgufArray(count, tuple(sample))

    def _string(self) -> str:
        return self._take(self._scalar("Q")).decode("utf-8", "replace")

    def _scalar(self, code: str) -> Any:
        start = self._at
        self._skip(struct.calcsize("<" + code))
        return struct.unpack_from("<" + code, self._data, start)[0]

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return self._data[start : self._at]

    def _skip(self, count: int) -> None:
        if count > self._end - self._at:
            raise InvalidRequest(f"{self._name} is cut short or damaged: its GGUF header runs past the end")
        self._at += count
