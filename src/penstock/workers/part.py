"""A worker's place among the others: what it hears from its supervisor, and what it says to all.

Satisfies types.others.Others. In `serve.serve` it stands for what a server that is alone does by itself: the
engines are the supervisor's (`fleet`), and so are the address and the signals.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import structlog

from penstock.lib import tasks
from penstock.types.others import Answering, Hearing
from penstock.workers.messages import (
    Answer,
    Answers,
    Any_,
    Ask,
    Busy,
    Engines,
    Reread,
    Stop,
    Tell,
    Took,
)
from penstock.workers.view import View

_LATE_S = 1.0  # that the supervisor may take beyond the time of a question

_log = structlog.get_logger("penstock.workers")


class Part:
    """`number`: from 0; `of`: how many there are. `tell` reaches the supervisor."""

    def __init__(
        self, number: int, of: int, *, listening: socket.socket, send: Callable[[Any_], None]
    ) -> None:
        self.number = number
        self.of = of
        self.listening = listening
        self.fleet = View(send)
        self._send = send
        self._answers: dict[str, Answering] = {}
        self._hears: dict[str, Hearing] = {}
        self._asked: dict[int, asyncio.Future[list[bytes]]] = {}
        self._last = 0
        self._answering: tasks.Tasks = set()
        self._stop: Callable[[], None] | None = None
        self._again: Sequence[Callable[[], object]] = ()
        self._is_draining = False
        self._is_told = False

    # -- what serve.serve wants of it

    def share(self, amount: int) -> int:
        """Of what all workers may have together: at least 1, so of less than one each it becomes more."""
        return max(1, amount // self.of + (self.number < amount % self.of))

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], None], again: Sequence[Callable[[], object]]) -> Iterator[None]:
        """`stop` is called when the supervisor says so, and perhaps twice; `again` after its SIGHUP."""
        self._stop, self._again = stop, again
        if self._is_draining:
            stop()
        try:
            yield
        finally:
            self._stop, self._again = None, ()

    def drain(self) -> None:
        """Once, whoever says so: a signal to all processes of the server reaches us as well."""
        if not self._is_draining:
            self._is_draining = True
            self._end()

    def _end(self) -> None:
        if self._stop is not None:
            self._stop()

    def took(self, text: str) -> None:
        """Of a file of settings. Whoever is started later begins with it, though another is there by then."""
        self._send(Took(text))

    # -- types.others.Others

    async def ask(
        self, subject: str, body: bytes, wait_s: float = 5.0, *, one_knows: bool = False
    ) -> list[bytes]:
        self._last += 1
        number = self._last
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send(Ask(number, subject, body, wait_s, one_knows))
        try:
            async with asyncio.timeout(wait_s + _LATE_S):
                bodies: list[bytes] = await answer
                return bodies
        except TimeoutError:
            return []
        finally:
            del self._asked[number]

    def tell(self, subject: str, body: bytes) -> None:
        self._send(Tell(subject, body))

    def answers(self, subject: str, answer: Answering) -> None:
        self._answers[subject] = answer

    def hears(self, subject: str, hear: Hearing) -> None:
        self._hears[subject] = hear

    # -- the link

    def heard(self, message: Any_) -> None:
        match message:
            case Engines():
                self.fleet.take(message)
            case Busy():
                self.fleet.take_busy(message)
            case Ask():
                tasks.spawn(self._answering, self._answer(message), f"question about {message.subject}")
            case Answers():
                if (asked := self._asked.get(message.number)) is not None and not asked.done():
                    asked.set_result(message.bodies)
            case Tell():
                self._hear(message)
            case Reread():
                for act in self._again:
                    act()
            case Stop() if self._is_told:
                self._end()  # the second one does not wait
            case Stop():
                self._is_told = True
                self.drain()
            case _:
                _log.error("a message that is not for workers", message=type(message).__name__)

    def _hear(self, told: Tell) -> None:
        if (hear := self._hears.get(told.subject)) is not None:
            try:
                hear(told.body)
            except Exception:  # noqa: BLE001 - the border: a bug costs what was told, not the link and with it us
                _log.exception("bug in what is done with news", subject=told.subject)

    async def _answer(self, ask: Ask) -> None:
        body: bytes | None = None
        try:
            if (answer := self._answers.get(ask.subject)) is not None:
                async with asyncio.timeout(ask.wait_s):
                    body = await answer(ask.body)
        except TimeoutError:
            pass
        finally:
            self._send(Answer(ask.number, body))
