"""Little-endian float32 bytes <-> lists of floats."""

import sys
from array import array

_SWAP = sys.byteorder == "big"


def from_float32(data: bytes) -> list[float]:
    """Raises ValueError when the length is no multiple of 4."""
    values = array("f")
    values.frombytes(data)
    if _SWAP:
        values.byteswap()
    return values.tolist()


def to_float32(values: list[float]) -> bytes:
    packed = array("f", values)
    if _SWAP:
        packed.byteswap()
    return packed.tobytes()
