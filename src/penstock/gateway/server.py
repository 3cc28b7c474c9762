"""uvicorn's server, with signals left to us, a word once it accepts, and an end that loses nobody.

at the end                                            because
----------------------------------------------------  ------------------------------------------------
1  who waits to be accepted is accepted, then the     closing it resets whom the system has connected
   socket is closed                                   and nobody has accepted yet
2  every answer says that it is the last of its       who is told does not send another
   connection
3  what has rested for LINGER_S is closed, once all   a request may be on its way: closing loses it
   that has come is read
4  answers may end, for `drain_s`
5  what is left is cancelled, tells its client why,   before the books are closed
   and is accounted
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import uvicorn

from penstock.gateway.listener import Listener
from penstock.lib import tasks

LINGER_S = 0.2  # more than a request is on its way within a data centre, and a client thinks between two
LOOK_S = 0.02
LOOKS = 50  # a second: what does not come to rest by then is closed
CUT_WITHIN_S = 5.0  # of what still runs at the end: to say so, and to account for it
_FOREVER = float("inf")


class Server(uvicorn.Server):
    def __init__(
        self,
        connection: Callable[..., Listener],
        *,
        drain_s: float = 30.0,
        tls: ssl.SSLContext | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        """connection: makes what one is answered by."""
        super().__init__(
            uvicorn.Config(
                cast("Any", None),  # connections know whom to ask: it is no ASGI application
                http=cast("Any", connection),
                loop="none",
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(drain_s),
                ssl_context_factory=None if tls is None else lambda *_: tls,
            )
        )
        self._connection = connection
        self._tls = tls
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready()

    async def serve_to_the_end(self, listening: socket.socket) -> None:
        """Serves until `stop`. A cancellation stops it, too, and is raised at its end."""
        running: tasks.Tasks = set()  # no TaskGroup: that would cancel it in the middle of its shutdown
        serving = tasks.spawn(running, self.serve(sockets=[listening]), "http")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.stop()
            if running:  # it may have ended in the same moment
                await asyncio.wait(running)
            raise

    def stop(self) -> None:
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._accept_the_last(sockets or ())
        await self._linger()
        await super().shutdown(sockets)
        left = [*self.server_state.tasks]
        for task in left:
            if not task.cancelling():
                task.cancel()
        if left:
            await asyncio.wait(left, timeout=CUT_WITHIN_S)

    async def _accept_the_last(self, sockets: Sequence[socket.socket]) -> None:
        """Nothing may come between the last one and the close: who connects there is reset."""
        accepted = [one for listening in sockets for one in _waiting(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        taking: tasks.Tasks = set()
        for one in accepted:
            made = loop.connect_accepted_socket(
                lambda: self._connection(server_state=self.server_state), one, ssl=self._tls
            )
            tasks.spawn(taking, _if_it_can(made), "the last connections")
        if taking:
            _, late = await asyncio.wait(taking, timeout=LINGER_S)
            for task in late:  # in the middle of a TLS handshake
                await tasks.cancel_and_wait(task)

    async def _linger(self) -> None:
        connections = cast("set[Listener]", self.server_state.connections)
        for look in range(LOOKS):
            if self.force_exit:
                return
            rested_s = LINGER_S if look * LOOK_S >= LINGER_S else _FOREVER
            resting = [connection for connection in connections if not connection.let_go(rested_s)]
            await asyncio.sleep(LOOK_S)
            if not connections or (not resting and rested_s == LINGER_S):
                return


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Whom the system has connected and nobody has accepted."""
    while True:
        try:
            accepted, _ = listening.accept()
        except ConnectionError:  # that one has left
            continue
        except OSError:  # there is no further one; or no file may be opened
            return
        accepted.setblocking(False)
        yield accepted


async def _if_it_can(made: Any) -> None:
    """A client that leaves, or fails at TLS, is nobody's loss."""
    with contextlib.suppress(OSError):
        await made
