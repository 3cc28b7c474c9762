"""The same POST again gets the same answer: for a day, by the header Idempotency-Key.

    the first time            the request is done; an answer that says it succeeded is kept
    again                     the kept answer, and `idempotency-replayed: true`
    again, while it runs      the same, once it is there
    again with another body   409
    after a failure           the request is done: nothing was written

Answers hold secrets, which are shown once and kept nowhere else, so they are kept in this process only: a
restart forgets them, and so does the 10,000th newer one.
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

KEPT_S: Final = 86_400.0
MOST: Final = 10_000


class _Kept(msgspec.Struct):
    digest: bytes
    until_s: float
    answer: "asyncio.Future[Answer]"


class Idempotency:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def once(
        self, caller: str, name: str, request: bytes, act: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """name: the header's value; request: everything that makes it the same one. Raises Conflict."""
        now_s = self._clock.monotonic()
        digest = hashlib.blake2b(request, digest_size=16).digest()
        place = (caller, name)
        while (found := self._kept.get(place)) is not None and found.until_s > now_s:
            if found.digest != digest:
                raise Conflict(
                    "This Idempotency-Key was used for another request; take a new one.",
                    param="idempotency-key",
                )
            await asyncio.wait([found.answer])
            if not found.answer.cancelled():
                answer = found.answer.result()
                return msgspec.structs.replace(
                    answer, headers=(*answer.headers, ("idempotency-replayed", "true"))
                )
        kept = _Kept(digest, now_s + KEPT_S, asyncio.get_running_loop().create_future())
        self._kept[place] = kept
        self._kept.move_to_end(place)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        try:
            answer = await act()
        except BaseException:
            if self._kept.get(place) is kept:
                del self._kept[place]
            kept.answer.cancel()
            raise
        kept.answer.set_result(answer)
        return answer
