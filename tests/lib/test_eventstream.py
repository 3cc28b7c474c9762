import json
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.eventstream import BadFrame, FrameSplitter
from penstock.lib.sse import EventTooLarge


def frame(kind: str, payload: bytes, *, name: str = ":event-type") -> bytes:
    headers = b""
    for key, value in ((name, kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return head + struct.pack(">I", zlib.crc32(head))


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["messageStart", "contentBlockDelta", "metadata"]),
        st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3),
    ),
    max_size=5,
)


@given(MESSAGES, st.data())
def test_any_cut_gives_the_same_messages(
    messages: list[tuple[str, dict[str, str]]], data: st.DataObject
) -> None:
    whole = b"".join(frame(kind, json.dumps(payload).encode()) for kind, payload in messages)
    theirs = EventStreamBuffer()
    theirs.add_data(whole)
    assert [event.headers[":event-type"] for event in theirs] == [kind for kind, _ in messages]
    splitter, found = FrameSplitter(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += splitter.feed_data(whole[:size])
        whole = whole[size:]
    assert [json.loads(one) for one in found] == [{kind: payload} for kind, payload in messages]
    assert splitter.finish_data() == []


def test_exceptions_bear_their_type() -> None:
    data = frame("throttlingException", b'{"message":"slow"}', name=":exception-type")
    assert FrameSplitter().feed_data(data) == [b'{"throttlingException":{"message":"slow"}}']


@given(st.integers(0, 200), st.integers(1, 255))
def test_damage_is_seen(at: int, change: int) -> None:
    data = bytearray(frame("messageStart", b'{"role":"assistant"}') * 2)
    data[at % (len(data) // 2)] ^= change
    with pytest.raises((BadFrame, EventTooLarge)):
        FrameSplitter().feed_data(bytes(data))


def test_size_is_bounded() -> None:
    with pytest.raises(EventTooLarge):
        FrameSplitter(max_bytes=100).feed_data(frame("x", b"y" * 100))


def test_half_a_message_is_none() -> None:
    splitter = FrameSplitter()
    assert splitter.feed_data(frame("messageStop", b"{}")[:-1]) == []
    assert splitter.finish_data() == []
