import re

import pytest

from penstock.models import memory
from penstock.models.catalogue import Entry, choose, close_names, entries, find, needed_bytes
from penstock.models.sources import parse_source
from penstock.types.errors import InvalidRequest

GB = 1_000_000_000
ENTRY = Entry(
    "chat", "llamacpp", "o/r", 4.0, 4096, "mit", {"Q8_0": 4280, "Q4_K_M": 2500, "Q6_K": 3310}, listed=False
)


@pytest.mark.parametrize(
    ("memory_gb", "quantization"),
    [(3.3, "Q4_K_M"), (4.1, "Q4_K_M"), (4.2, "Q6_K"), (5.2, "Q6_K"), (5.3, "Q8_0"), (500, "Q8_0")],
)
def test_the_largest_that_fits(memory_gb: float, quantization: str) -> None:
    assert choose(ENTRY, int(memory_gb * GB)).file.quantization == quantization


def test_the_reason_is_in_words() -> None:
    assert choose(ENTRY, int(4.1 * GB)).reason == "Q4_K_M, 2.5 GB, the largest that fits in 4.1 GB free"
    assert choose(find("gpt-oss:20b"), 24 * GB).reason == "MXFP4, 12.1 GB, the only one; 24.0 GB free"
    with pytest.raises(InvalidRequest, match=r"Q4_K_M with 2\.5 GB, needs about 3\.3 GB .* 3\.2 GB is free"):
        choose(ENTRY, int(3.2 * GB))


def test_more_memory_never_chooses_less() -> None:
    chosen = [choose(ENTRY, int(gb / 10 * GB)).file.bytes for gb in range(33, 100)]
    assert chosen == sorted(chosen)


@pytest.mark.parametrize("name", entries())
def test_every_row_is_sound(name: str) -> None:
    entry = entries()[name]
    assert str(parse_source(name)) == name
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo)
    assert entry.repo.upper().endswith("GGUF") == (entry.engine == "llamacpp")
    assert entry.kind != "chat" or entry.engine == "llamacpp"
    for file in entry.files:
        bits = file.bytes * 8 / (entry.parameters_b * 1e9)
        low, high = {"F32": (28, 36), "F16": (15, 18), "Q8_0": (8.2, 9.2), "MXFP4": (4.2, 4.8)}.get(
            file.quantization, (4.4, 7)
        )
        assert low < bits < high, f"{file.quantization}: {bits:.1f} bits per weight"


def test_close_names_prefer_the_family() -> None:
    assert set(close_names("qwen3:7b")) >= {"qwen3:4b", "qwen3:8b"}


def test_this_machines_memory_is_plausible() -> None:
    assert 100_000_000 < memory.available_bytes() < 1 << 50
    assert needed_bytes(GB) > GB
