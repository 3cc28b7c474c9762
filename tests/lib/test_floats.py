import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.floats import from_float32, to_float32


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_both_ways(values: list[float]) -> None:
    packed = struct.pack(f"<{len(values)}f", *values)
    assert to_float32(values) == packed
    assert from_float32(packed) == values


def test_a_torn_vector() -> None:
    with pytest.raises(ValueError, match="bytes"):
        from_float32(b"abc")
