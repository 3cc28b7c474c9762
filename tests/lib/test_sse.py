import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.sse import Event, EventTooLarge, SSESplitter


def events(*reads: bytes) -> list[tuple[str | None, bytes]]:
    splitter = SSESplitter()
    return [tuple(event) for read in reads for event in splitter.feed(read)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'data: {"a":1}\n\n', [(None, b'{"a":1}')]),
        (b"data:x\n\n", [(None, b"x")]),
        (b"data:  x\n\n", [(None, b" x")]),
        (b"data\n\n", [(None, b"")]),
        (b"data:\n\n", [(None, b"")]),
        (b"data: a\ndata: b\ndata\n\n", [(None, b"a\nb\n")]),
        (b"event: ping\ndata: {}\n\n", [("ping", b"{}")]),
        (b"data: {}\nevent:ping\n\n", [("ping", b"{}")]),
        (b"event: a\nevent: b\ndata: x\n\n", [("b", b"x")]),
        (b"event: only a name\n\n", []),
        (b"event:\ndata: x\n\n", [(None, b"x")]),
        (b": comment\n\ndata: x\n\n", [(None, b"x")]),
        (b": comment\ndata: x\n: more\n\n", [(None, b"x")]),
        (b"id: 7\nretry: 10\nunknown: y\ndata: x\n\n", [(None, b"x")]),
        (b"data: a:b: c\n\n", [(None, b"a:b: c")]),
        (b"Data: x\n\n data: y\n\n", []),
        (b"data: x\r\n\r\ndata: y\r\n\r\n", [(None, b"x"), (None, b"y")]),
        (b"data: x\r\rdata: y\r\r", [(None, b"x"), (None, b"y")]),
        (b"data: a\rdata: b\r\ndata: c\n\r\n", [(None, b"a\nb\nc")]),
        (b"\xef\xbb\xbfdata: x\n\n", [(None, b"x")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
        (b"\n\n\n\ndata: x\n\n\n\n\ndata: y\n\n", [(None, b"x"), (None, b"y")]),
        (b"data: unfinished\n", []),
        (b"", []),
    ],
)
def test_events(stream: bytes, expected: list[tuple[str | None, bytes]]) -> None:
    assert events(stream) == expected
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    assert SSESplitter().feed_data(stream) == [data for _, data in expected]


LINES = st.sampled_from(
    [
        *[
            b"data: x",
            b"data:y",
            b"data",
            b"data: {}",
            b"event: e",
            b"event",
            b": c",
            b"",
            b"",
            b"",
            b"id: 1",
        ],
        *[b"\xef\xbb\xbfdata: bom", "data: naïve 水".encode(), b"\xef", b"data: \x85\xe2\x80\xa8"],
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def reference(stream: bytes) -> list[Event]:
    """The standard's algorithm, a line at a time, on the whole stream."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, name, lines = [], None, []
    for line in text.split(b"\n")[:-1]:
        if not line:
            if lines:
                found.append(Event(name, b"\n".join(lines)))
            name, lines = None, []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace") or None
    return found


@given(stream=STREAMS, data=st.data())
def test_any_chunking_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = reference(stream)
    by_name, by_data = SSESplitter(), SSESplitter()
    assert [event for read in reads for event in by_name.feed(read)] == expected
    assert [item for read in reads for item in by_data.feed_data(read)] == [event.data for event in expected]
    assert by_name.pending == by_data.pending


EVENTS = st.sampled_from(
    [
        *[b"data: x\n\n", b"data: y\n\n", b"data: \n\n", b"data: z\n\ndata: z\n\n", b"data:  w\n\n"],
        *[b"data: a\r\n\r\n", b"data: a\ndata: b\n\n", b"data: c\n\n\n", b"\n", b": k\n\n", b"data: d\n"],
        *[b"data: e\r\r", b"data: f\n\r", b"event: g\ndata: h\n\n", b"data: i\rdata: j\n\n", b"data:k\n\n"],
    ]
)


@given(reads=st.lists(EVENTS))
def test_reads_of_whole_events_take_a_short_way_to_the_same_end(reads: list[bytes]) -> None:
    splitter = SSESplitter()
    found = [item for read in reads for item in splitter.feed_data(read)]
    assert found == [event.data for event in reference(b"".join(reads))]


@pytest.mark.parametrize(
    ("stream", "pending", "last"),
    [
        (b"data: x\n\n", False, []),
        (b"data: x\r\n\r\n", False, []),
        (b"data: x\n\n\n", False, []),
        (b"data: x\n", True, [(None, b"x")]),
        (b"data: x\ndata: y\n", True, [(None, b"x\ny")]),
        (b"data: x", True, []),
        (b"data: x\ndata: {", True, []),
    ],
)
def test_the_end_of_a_stream(stream: bytes, pending: bool, last: list[Event]) -> None:
    splitter = SSESplitter()
    splitter.feed(stream)
    assert splitter.pending is pending
    assert splitter.finish() == last
    assert not splitter.pending


def test_an_event_at_the_limit_passes_in_any_chunking_and_one_above_does_not() -> None:
    at_limit = b"data: " + b"x" * 94 + b"\n\n"
    above = b"data: " + b"x" * 95 + b"\n\n"
    for size in (1, 7, 101, 102, 200):
        splitter = SSESplitter(max_event_bytes=100)
        reads = [at_limit[i : i + size] for i in range(0, len(at_limit), size)]
        assert [event for read in reads for event in splitter.feed_data(read)] == [b"x" * 94]
        splitter = SSESplitter(max_event_bytes=100)
        with pytest.raises(EventTooLarge):  # noqa: PT012 - which read it is depends on the size
            for i in range(0, len(above), size):
                splitter.feed_data(above[i : i + size])


def test_many_small_events_in_one_read_are_not_too_large() -> None:
    assert len(SSESplitter(max_event_bytes=10).feed_data(b"data: x\n\n" * 100)) == 100


def test_an_endless_line_is_refused() -> None:
    splitter = SSESplitter(max_event_bytes=1000)
    with pytest.raises(EventTooLarge):  # noqa: PT012 - one of them
        for _ in range(2000):
            splitter.feed(b"x")
