"""The same POST again gets the same answer: for a day, by the header Idempotency-Key.

    the first time            the request is done; an answer that says it succeeded is kept
    again                     the kept answer, and `idempotency-replayed: true`
    again, while it runs      the same, once it is there
    again with another body   409
    after a failure           the request is done: nothing was written
    ... at another worker     the same: it asks all others first. Of two that ask at once the first by number
                              goes ahead, and the other waits for its answer

Answers hold secrets, which are shown once and kept nowhere else, so they are kept by the process that made
them: a restart forgets them, and so do 10,000 newer ones, or 32 MiB of them.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from penstock.lib.clock import Clock
from penstock.types.door import Answer
from penstock.types.errors import Conflict
from penstock.types.others import Others

KEPT_S: Final = 86_400.0
MOST: Final = 10_000
MOST_BYTES: Final = 32 << 20  # a key that lists its routes is 100 KB, and any developer makes them
SUBJECT: Final = "idempotency"
ASK_S: Final = 30.0  # as long as another may take for it


class _Kept(msgspec.Struct):
    digest: bytes
    until_s: float
    answer: "asyncio.Future[Answer]"
    size: int = 0  # of the answer, once it is there
    is_asking: bool = False  # the others; nothing was done yet
    has_yielded: bool = False  # to one that goes first


class _Question(msgspec.Struct, frozen=True, array_like=True):
    """`number`: of the process that asks."""

    caller: str
    name: str
    digest: bytes
    number: int


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """`answer`: None where the request was another one."""

    answer: Answer | None


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(_Question).decode
_known = msgspec.msgpack.Decoder(_Known).decode


class Idempotency:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._bytes = 0  # of the answers that are kept
        self._others: Others | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.answers(SUBJECT, self._answer)

    async def once(
        self, caller: str, name: str, request: bytes, act: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """name: the header's value; request: everything that makes it the same one. Raises Conflict."""
        now_s = self._clock.monotonic()
        digest = hashlib.blake2b(request, digest_size=16).digest()
        place = (caller, name)
        while (found := self._kept.get(place)) is not None and found.until_s > now_s:
            if found.digest != digest:
                raise _conflict()
            await asyncio.wait([found.answer])
            if not found.answer.cancelled():
                return _again(found.answer.result())
        kept = _Kept(digest, now_s + KEPT_S, asyncio.get_running_loop().create_future())
        self._forget(place)
        self._kept[place] = kept
        try:
            elsewhere = await self._elsewhere(kept, _Question(caller, name, digest, self._number))
            answer = elsewhere or await act()
        except BaseException:
            if self._kept.get(place) is kept:
                self._forget(place)
            kept.answer.cancel()
            raise
        kept.answer.set_result(answer)
        if self._kept.get(place) is kept:
            kept.size = len(answer.body)
            self._bytes += kept.size
            self._make_room(place)
        return answer if elsewhere is None else _again(answer)

    def _make_room(self, newest: tuple[str, str]) -> None:
        """What is under way has no answer yet, and is nothing to forget."""
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            done = (place for place, kept in self._kept.items() if kept.answer.done() and place != newest)
            oldest = next(done, None)
            if oldest is None:
                return
            self._forget(oldest)

    def _forget(self, place: tuple[str, str]) -> None:
        found = self._kept.pop(place, None)
        if found is not None:
            self._bytes -= found.size

    # -- of several processes

    @property
    def _number(self) -> int:
        return 0 if self._others is None else self._others.number

    async def _elsewhere(self, kept: _Kept, question: _Question) -> Answer | None:
        """What another process answered, or is about to. Raises Conflict."""
        if self._others is None:
            return None
        while True:
            kept.is_asking, kept.has_yielded = True, False
            said = [_known(one) for one in await self._others.ask(SUBJECT, _encode(question), ASK_S)]
            if any(one.answer is None for one in said):
                raise _conflict()
            if said or not kept.has_yielded:
                kept.is_asking = False
                return next((one.answer for one in said), None)

    async def _answer(self, body: bytes) -> bytes | None:
        asked = _question(body)
        found = self._kept.get((asked.caller, asked.name))
        if found is None or found.until_s <= self._clock.monotonic():
            return None
        if found.is_asking and asked.number < self._number:
            found.has_yielded = True
            return None
        if found.digest != asked.digest:
            return _encode(_Known(None))
        await asyncio.wait([found.answer])
        return None if found.answer.cancelled() else _encode(_Known(found.answer.result()))


def _again(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, headers=(*answer.headers, ("idempotency-replayed", "true")))


def _conflict() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used for another request; take a new one.", param="idempotency-key"
    )
