"""What all workers may have together, divided."""

import contextlib
import socket

from hypothesis import given
from hypothesis import strategies as st

from penstock import serve
from penstock.workers.messages import Any_, Stop
from penstock.workers.part import Part
from penstock.workers.sockets import OWN, Address


def part(number: int = 0, of: int = 2) -> Part:
    def send(message: Any_) -> None:
        raise AssertionError(message)

    return Part(number, of, listening=socket.socket(), send=send)


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_shares_are_the_whole_or_one_each(amount: int, of: int) -> None:
    parts = [part(number, of) for number in range(of)]
    shares = [one.share(amount) for one in parts]
    for one in parts:
        one.listening.close()
    assert sum(shares) == max(amount, of)
    assert max(shares) - min(shares) <= 1


def test_a_signal_and_the_supervisor_s_word_are_one_stop() -> None:
    stopped: list[int] = []
    one = part()
    with contextlib.closing(one.listening), one.stopping(lambda: stopped.append(1), ()):
        one.drain()
        one.heard(Stop())
        assert len(stopped) == 1
        one.heard(Stop())  # the second one does not wait
        assert len(stopped) == 2


def test_who_was_stopped_before_it_served_stops_at_once() -> None:
    stopped: list[int] = []
    one = part()
    one.heard(Stop())
    with contextlib.closing(one.listening), one.stopping(lambda: stopped.append(1), ()):
        assert stopped == [1]


def test_workers_have_one_address() -> None:
    free = serve.listen("127.0.0.1", 0, at_once=False)
    with socket.socket() as client:  # nobody is taken in before the first worker listens
        assert client.connect_ex(free.getsockname()) != 0
    address = Address(free)
    with contextlib.closing(address), address.for_worker() as one, address.for_worker() as other:
        assert one.getsockname() == other.getsockname() == address.bound.getsockname()
        if OWN:  # nobody is connected to who is only bound
            with socket.socket() as client:
                assert client.connect_ex(address.bound.getsockname()) != 0
            other.listen()
            with socket.create_connection(address.bound.getsockname()) as client:
                other.setblocking(True)
                accepted, name = other.accept()
                accepted.close()
                assert name == client.getsockname()
