"""The network between a client and a server, for tests: a TCP proxy that stalls and cuts.

    with Proxy(server.port) as network:
        network.port                    what the client connects to
        network.stall()                 nothing passes, and nobody is told; or only requests, only answers,
                                        or nothing of the connections that there are: new ones pass them by
        network.resume()                all of it passes after all
        network.cut()                   every connection is closed; new ones are taken

It runs in threads, so that a test may be busy.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self


class Path:
    """The gates of some connections."""

    def __init__(self) -> None:
        self.requests, self.answers = threading.Event(), threading.Event()
        self.open()

    def open(self) -> None:
        self.requests.set()
        self.answers.set()


class Proxy:
    def __init__(self, port: int) -> None:
        """`port`: of the server, on this machine. It need not be up yet."""
        self._server = port
        self._paths = [Path()]
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._run(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.resume()
        self.cut()

    def stall(self, *, requests: bool = True, answers: bool = True, new: bool = True) -> None:
        path = self._paths[-1]
        for gate, is_shut in ((path.requests, requests), (path.answers, answers)):
            if is_shut:
                gate.clear()
        if not new:
            self._paths.append(Path())

    def resume(self) -> None:
        for path in self._paths:
            path.open()
        self._paths = self._paths[-1:]

    def cut(self) -> None:
        with self._lock:
            for one in self._connections:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        path = self._paths[-1]
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._server), timeout=5)
            except OSError:
                return
            with server:
                server.settimeout(None)
                both = (client, server)
                for one in both:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._connections.update(both)
                back = self._run(_pump, server, client, path.answers)
                _pump(client, server, path.requests)
                back.join()
                with self._lock:
                    self._connections.difference_update(both)

    @staticmethod
    def _run(work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        return thread


def _pump(source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
    """What was on its way when the gate shut waits before it, also when its sender is gone by then."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            gate.wait()
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
