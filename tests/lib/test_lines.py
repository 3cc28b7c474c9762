import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.lines import LineSplitter
from penstock.lib.sse import EventTooLarge

VALUES = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3), max_size=6)


@given(VALUES, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans(), st.data())
def test_any_cut_gives_the_same_lines(
    values: list[dict[str, str]], end: bytes, is_ended: bool, data: st.DataObject
) -> None:
    whole = end.join(json.dumps(value).encode() for value in values) + (end if is_ended else b"")
    splitter, found = LineSplitter(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += splitter.feed_data(whole[:size])
        whole = whole[size:]
    assert [json.loads(line) for line in found + splitter.finish_data()] == values
    assert splitter.finish_data() == []


def test_a_line_is_bounded_also_while_it_is_not_whole() -> None:
    for data in (b"x" * 11, b"x" * 11 + b"\n", b"{}\n" + b"x" * 11 + b"\n"):
        with pytest.raises(EventTooLarge):
            LineSplitter(max_bytes=10).feed_data(data)
    assert LineSplitter(max_bytes=10).feed_data(b"x" * 10 + b"\n") == [b"x" * 10]
