import struct
from pathlib import Path
from typing import Any

import pytest

from penstock.models import read_gguf_metadata
from penstock.models.gguf import GgufArray
from penstock.types.errors import InvalidRequest


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def header(*pairs: bytes, version: int = 3, tensors: int = 7, count: int | None = None) -> bytes:
    number = len(pairs) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", version, tensors, number) + b"".join(pairs)


WHOLE = header(
    pair("general.architecture", 8, text("llama")),
    pair("llama.context_length", 4, struct.pack("<I", 4096)),
    pair("llama.embedding_length", 10, struct.pack("<Q", 64)),
    pair("llama.rope.freq_base", 6, struct.pack("<f", 0.5)),
    pair("general.flag", 7, b"\x01"),
    pair("tokenizer.ggml.model", 8, text("gpt2")),
    pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 20) + b"".join(text(f"t{n}") for n in range(20))),
    pair("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, 20) + struct.pack("<20i", *range(20))),
    pair("tokenizer.chat_template", 8, text("{{ messages }}")),
)


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    return path


def test_a_header_is_read(tmp_path: Path) -> None:
    found = read_gguf_metadata(write(tmp_path, WHOLE + bytes(100)))
    assert (found.version, found.tensor_count) == (3, 7)
    assert (found.architecture, found.context_length, found.embedding_length) == ("llama", 4096, 64)
    assert (found.has_chat_template, found.tokenizer) == (True, "gpt2")
    assert found.values["llama.rope.freq_base"] == 0.5
    assert found.values["general.flag"] is True
    assert found.values["tokenizer.ggml.tokens"] == GgufArray(20, tuple(f"t{n}" for n in range(8)))
    assert found.values["tokenizer.ggml.token_type"].sample == tuple(range(8))


@pytest.mark.parametrize("cut", range(4, len(WHOLE) - 1, 37))
def test_every_cut_is_an_error_and_no_crash(tmp_path: Path, cut: int) -> None:
    with pytest.raises(InvalidRequest, match="cut short"):
        read_gguf_metadata(write(tmp_path, WHOLE[:cut]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable GGUF"),
        (b"PK\x03\x04 and so on", "does not begin with"),
        (header(version=1), "version 1"),
        (header(count=1 << 40), "not credible"),
        (header(pair("x", 8, struct.pack("<Q", 1 << 60))), "cut short"),
        (header(pair("x", 9, struct.pack("<IQ", 4, 1 << 60))), "cut short"),
        (header(pair("x", 9, struct.pack("<IQ", 8, 1 << 60))), "cut short"),
        (header(pair("x", 9, struct.pack("<IQ", 9, 1))), "nested"),
        (header(pair("x", 99, b"")), "unknown value type 99"),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_gguf_metadata(write(tmp_path, data))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a readable GGUF"):
        read_gguf_metadata(tmp_path / "none.gguf")
