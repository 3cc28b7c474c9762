"""A network that stalls and cuts, on request."""

import socket
import threading
from collections.abc import Iterator

import pytest

from penstock.testing.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it hears."""

    def serve() -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client:
            while data := client.recv(100):
                heard.append(data)
                client.sendall(data)

    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=serve)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(network: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", network.port), timeout=5)


def silence(client: socket.socket) -> None:
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(100)
    client.settimeout(5)


def test_what_is_said_passes(echo: int) -> None:
    with Proxy(echo) as network, connect(network) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


@pytest.mark.parametrize(("requests", "answers"), [(True, True), (True, False), (False, True)])
def test_what_is_stalled_passes_later(echo: int, requests: bool, answers: bool) -> None:
    with Proxy(echo) as network, connect(network) as client:
        network.stall(requests=requests, answers=answers)
        client.sendall(b"hello")
        silence(client)
        network.resume()
        assert client.recv(100) == b"hello"


def test_new_connections_may_pass_old_ones_by(echo: int) -> None:
    with Proxy(echo) as network, connect(network) as old:
        old.sendall(b"one")
        assert old.recv(100) == b"one"
        network.stall(new=False)
        old.sendall(b"two")
        with connect(network) as new:
            new.sendall(b"three")
            assert new.recv(100) == b"three"
        silence(old)
        network.resume()
        assert old.recv(100) == b"two"


def test_a_cut_is_the_end_of_connections_but_not_of_the_network(echo: int) -> None:
    with Proxy(echo) as network:
        with connect(network) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            network.cut()
            assert client.recv(100) == b""
        with connect(network) as client:
            client.sendall(b"again")
            assert client.recv(100) == b"again"


def test_a_server_that_is_not_there_is_a_connection_that_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    with Proxy(port) as network, connect(network) as client:
        assert client.recv(100) == b""
