import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.compress import Gzip, StreamCompressor, Zstd, negotiate


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip", "gzip"),
        (b"GZIP;q=0.5", "gzip"),
        (b"zstd;q=0.2, gzip;q=0.8", "gzip"),
        (b"zstd;q=0, gzip;q=0", None),
        (b"br", None),
        (b"", None),
        (b"*", "zstd"),
        (b"*;q=0.5, zstd;q=0", "gzip"),
        (b"identity, gzip;q=0.5", None),
        (b"gzip;q=banana", None),
    ],
)
def test_negotiation(accept: bytes, encoding: str | None) -> None:
    compressor = negotiate(accept)
    assert (compressor.encoding if compressor else None) == encoding


def _reader(compressor: StreamCompressor) -> object:
    if compressor.encoding == "gzip":
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    return zstandard.ZstdDecompressor().decompressobj()


@pytest.mark.parametrize("make", [Gzip, Zstd])
@given(batches=st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=20))
def test_every_batch_can_be_read_at_once(make: type[Gzip | Zstd], batches: list[bytes]) -> None:
    compressor = make()
    reader = _reader(compressor)
    for batch in batches:
        assert reader.decompress(compressor.write(batch)) == batch  # type: ignore[attr-defined]
    assert reader.decompress(compressor.end()) == b""  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [Gzip, Zstd])
def test_chat_events_shrink(make: type[Gzip | Zstd]) -> None:
    compressor = make()
    event = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"delta":{"content":"w%d"}}]}\n\n'
    plain = [event % number for number in range(200)]
    packed = sum(len(compressor.write(data)) for data in plain)
    assert packed < 0.25 * sum(len(data) for data in plain)
