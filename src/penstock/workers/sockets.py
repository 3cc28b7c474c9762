"""One address, many processes that accept on it.

    system       a worker                                       the supervisor
    -----------  ---------------------------------------------  ---------------------------------------
    Linux        listens on a socket of its own, bound with     is bound, too, and does not listen: the
                 SO_REUSEPORT; the kernel gives connections     system gives the port to nobody else who
                 to workers by a hash                           asks for a free one
    others       listens on the supervisor's socket             is bound

Why a socket each: from one queue whoever wakes first takes all that is there. Of 64 connections that came at
once, each with work, two processes took 60 and 4 in every third burst; by the hash 28 to 37 of them each
(docs/decisions.md).
"""

import sys
from socket import SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET, socket

OWN = sys.platform == "linux"


class Address:
    """Of a server. Takes over a socket that was bound to learn that the address is free.

    It must not listen yet: who connected to it would be cut off when it is closed.
    """

    def __init__(self, bound: socket) -> None:
        self._kept = bound
        if OWN:
            name = bound.getsockname()
            bound.close()
            self._kept = _bound(bound.family, name)

    @property
    def bound(self) -> socket:
        """Bound to it."""
        return self._kept

    def for_worker(self) -> socket:
        """On which one worker is to listen. Raises OSError."""
        if OWN:
            return _bound(self._kept.family, self._kept.getsockname())
        return self._kept.dup()

    def close(self) -> None:
        self._kept.close()


def _bound(family: int, name: tuple[object, ...]) -> socket:
    made = socket(family, SOCK_STREAM)
    try:
        made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        made.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        made.bind(name)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made
