from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.llamacpp_worker import MIN_CONTEXT, kv_bytes_per_token, plan
from penstock.models.gguf import GgufArray, GgufMetadata

GIB = 2**30
QWEN3_4B = 2 * 36 * 8 * 128 * 2  # bytes per token: keys and values, layers, KV heads, width, 16 bits


def metadata(**values: Any) -> GgufMetadata:
    given_values = {f"llama.{name.replace('__', '.')}": value for name, value in values.items()}
    return GgufMetadata(3, 0, {"general.architecture": "llama", **given_values})


def test_the_cost_of_a_token_is_in_the_header() -> None:
    grouped = metadata(block_count=36, attention__head_count=32, attention__head_count_kv=8)
    grouped.values.update({"llama.attention.key_length": 128, "llama.attention.value_length": 128})
    assert kv_bytes_per_token(grouped) == QWEN3_4B == 147_456
    plain = metadata(block_count=6, attention__head_count=4, embedding_length=256)
    assert kv_bytes_per_token(plain) == 6 * 4 * (64 + 64) * 2
    mixed = metadata(block_count=2, attention__head_count=4, embedding_length=64)
    mixed.values["llama.attention.head_count_kv"] = GgufArray(2, (1, 2))
    assert kv_bytes_per_token(mixed) == 2 * 2 * (16 + 16) * 2


@pytest.mark.parametrize(
    ("free", "context", "parallel", "planned"),
    [
        (64 * GIB, None, None, (8192, 4)),
        (16 * GIB, None, None, (8192, 2)),
        (8 * GIB, None, None, (8192, 1)),
        (3 * GIB, None, None, (4096, 1)),
        (0, None, None, (2048, 1)),
        (8 * GIB, 32768, 4, (32768, 4)),
        (8 * GIB, None, 4, (2048, 4)),
        (8 * GIB, 16384, None, (16384, 1)),
    ],
)
def test_a_4b_model_takes_what_fits(
    free: int, context: int | None, parallel: int | None, planned: tuple[int, int]
) -> None:
    assert plan(40960, QWEN3_4B, free, context=context, parallel=parallel) == planned


@given(trained=st.integers(64, 1 << 20), kv=st.integers(0, 1 << 21), free=st.integers(0, 1 << 40))
def test_never_more_than_trained_and_never_nothing(trained: int, kv: int, free: int) -> None:
    context, parallel = plan(trained, kv, free)
    assert min(trained, MIN_CONTEXT) <= context <= trained
    assert 1 <= parallel <= 4
    assert plan(trained, kv, free, context=1 << 21)[0] == trained
