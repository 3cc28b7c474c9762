"""Messages over a socket, in whatever pieces they come."""

import asyncio
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.lib import tasks
from penstock.types.deployment import Address
from penstock.workers.link import Link
from penstock.workers.messages import (
    Accepting,
    Answer,
    Answers,
    Any_,
    Ask,
    Begin,
    Busy,
    Engine,
    Engines,
    Fetching,
    Replica,
    Stop,
    Suspect,
    Tell,
    Took,
    decode,
    encode,
)

REPLICA = Replica("p#0", "ready", 7, 1, "", Address(port=9), (("a", "b"),), {"context": 5, "x": [1.5]}, 2.5)
ALL: tuple[Any_, ...] = (
    Begin(1, 2, b"work"),
    Accepting(),
    Stop(),
    Took("server: {port: 1}"),
    Engines(
        (Engine("p", "e", "s", (REPLICA,), Fetching("a", 1, None, ""), "", False, "x", 2.0, ""),), 1.0, 3
    ),
    Suspect(1, "p#0", None),
    Busy({"p#0:9": (1, 200)}, {"p#0": 1}),
    Ask(1, "metrics", b"\x00\xff", 5.0),
    Answer(1, None),
    Answers(1, [b"a", b""]),
    Tell("thoughts", b"x"),
)


def test_every_message_comes_as_it_was_sent() -> None:
    for message in ALL:
        assert decode(encode(message)) == message


@given(st.lists(st.sampled_from(ALL), max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_pieces_do_not_matter(sent: list[Any_], sizes: list[int]) -> None:
    heard: list[Any_] = []
    link = Link(heard.append, lambda: None)
    data = b"".join(len(raw := encode(one)).to_bytes(4, "big") + raw for one in sent)
    for size in sizes:
        link.data_received(data[:size])
        data = data[size:]
    link.data_received(data)
    assert heard == sent


async def test_what_was_sent_before_the_end_arrives() -> None:
    ours, theirs = socket.socketpair()
    heard: list[Any] = []
    lost = asyncio.Event()
    here = await Link.open(ours, heard.append, lost.set)
    there = await Link.open(theirs, heard.append, lambda: heard.append("told of an end of its own"))
    large = Tell("x", b"y" * 3_000_000)
    there.send(large)
    await there.aclose()
    await lost.wait()
    assert heard == [large]
    here.send(large)  # goes nowhere
    assert here.is_behind


async def test_a_link_that_is_not_made_closes_its_socket_once() -> None:
    """Closed twice it would be another file's number the second time."""
    ours, theirs = socket.socketpair()
    running: tasks.Tasks = set()
    opening = tasks.spawn(running, Link.open(ours, lambda _: None, lambda: None), "link")
    await asyncio.sleep(0)
    await tasks.cancel_and_wait(opening)
    assert ours.fileno() == -1
    theirs.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""
    theirs.close()
