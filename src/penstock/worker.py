"""One worker of a gateway that has several: `python -m penstock.worker <control> <door>`, by its supervisor.

The arguments are inherited sockets: one to the supervisor, and one that is bound to the server's address.
What to serve comes as the first message. It ends when the supervisor says so, or SIGTERM does, or the
supervisor is gone. SIGINT and SIGHUP mean the supervisor: from a terminal, or sent to all processes of a
service, they reach us, too.
"""

import asyncio
import ctypes
import dataclasses
import os
import pickle
import signal
import socket
import sys
from typing import NoReturn

import structlog
import uvloop

from penstock import serve
from penstock.config.errors import ConfigError
from penstock.telemetry import log
from penstock.types.errors import PenstockError
from penstock.types.ledger import LedgerUnavailable
from penstock.workers.link import Link
from penstock.workers.messages import Accepting, Any_, Begin
from penstock.workers.part import Part

_PR_SET_PDEATHSIG = 1

_log = structlog.get_logger("penstock.worker")


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    control, door = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    uvloop.run(work(control, door))


async def work(control: socket.socket, door: socket.socket) -> None:
    """Serves until it is told to stop."""
    begun: asyncio.Future[Begin] = asyncio.get_running_loop().create_future()
    part: Part | None = None
    early: list[Any_] = []

    def heard(message: Any_) -> None:
        if isinstance(message, Begin):
            begun.set_result(message)
        elif part is None:
            early.append(message)
        else:
            part.heard(message)

    link = await Link.open(control, heard, _alone)
    begin = await begun
    options: serve.Options = pickle.loads(begin.work)  # noqa: S301 - of our own supervisor, over our own socket
    if begin.text is not None and (live := options.live) is not None:
        settings = (await asyncio.to_thread(live.source.read, begin.text)).settings
        options = dataclasses.replace(options, live=dataclasses.replace(live, settings=settings))
    writer = log.configure(options.log_level)
    part = Part(begin.number, begin.of, listening=door, send=link.send)
    for message in early:
        part.heard(message)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, part.drain)
    try:
        await serve.serve(dataclasses.replace(options, on_ready=lambda _: link.send(Accepting())), part)
    except (ConfigError, PenstockError, LedgerUnavailable) as exc:  # somebody can mend it
        _log.error("the worker cannot serve", worker=begin.number, reason=str(exc))
        raise SystemExit(1) from None
    except Exception:  # noqa: BLE001 - the border: the supervisor learns the status, people the log
        _log.exception("the worker cannot serve", worker=begin.number)
        raise SystemExit(1) from None
    finally:
        await link.aclose()
        writer.close()


def _alone() -> NoReturn:
    """The supervisor is gone, and its engines with it."""
    os._exit(1)


if __name__ == "__main__":
    main()
