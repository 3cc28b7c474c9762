"""The least rate of a stream (`timeouts.min_rate`): an upstream that only drips is let go like a silent one.

    measured   events with content per second, over the last WINDOW_S of waiting for the upstream
    not        the time in which a client that is behind keeps us from reading: that is not the upstream's

A route without a `min_rate` pays nothing for it: `read` and `events` take the place of what is called anyhow.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from penstock.lib.clock import Clock
from penstock.types.deployment import Reader
from penstock.types.errors import PenstockError, UpstreamTimeout
from penstock.types.events import Chunk, Delta, Events

WINDOW_S = 10.0


class Splitter(Protocol):
    """Finds the events in what is read."""

    def feed_data(self, data: bytes) -> list[bytes]: ...

    def finish_data(self) -> list[bytes]: ...


Read = Callable[[], Awaitable[bytes]]
Parse = Callable[[Splitter, bytes, Reader], tuple[list[Delta], PenstockError | None]]


class Meter:
    """Pure: `waited_s` is the time that the upstream has had since its first content."""

    __slots__ = ("_in_window", "_least", "_seen", "_window_s")

    def __init__(self, min_rate: float, window_s: float) -> None:
        self._least = min_rate * window_s
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()
        self._in_window = 0

    def saw(self, pieces: int, waited_s: float) -> bool:
        """Whether the rate is still enough: always, until a whole window has passed."""
        self._seen.append((waited_s, pieces))
        self._in_window += pieces
        while self._seen[0][0] <= waited_s - self._window_s:
            self._in_window -= self._seen.popleft()[1]
        return waited_s < self._window_s or self._in_window >= self._least


class Pace:
    """Of one answer, from its first content on."""

    def __init__(self, min_rate: float, clock: Clock, read: Read, parse: Parse) -> None:
        self._min_rate = min_rate
        self._clock = clock
        self._read = read
        self._parse = parse
        self._meter = Meter(min_rate, WINDOW_S)
        self._waited_s = 0.0

    async def read(self) -> bytes:
        began_s = self._clock.monotonic()
        data = await self._read()
        self._waited_s += self._clock.monotonic() - began_s
        return data

    def events(
        self, splitter: Splitter, data: bytes, reader: Reader
    ) -> tuple[list[Delta], PenstockError | None]:
        """As what it stands for; of an upstream that is too slow the failure is that."""
        deltas, failure = self._parse(splitter, data, reader)
        is_enough = self._meter.saw(pieces(deltas), self._waited_s)
        if is_enough or failure is not None or not data or reader.is_done:
            return deltas, failure
        said = f"The upstream sent less than {self._min_rate:g} tokens per second for {WINDOW_S:g} s."
        return deltas, UpstreamTimeout(said)


def pieces(deltas: Sequence[Delta]) -> int:
    return sum(map(has_content, deltas))


def has_content(delta: Delta) -> bool:
    return (delta.__class__ is not Chunk and delta.__class__ is not Events) or delta.has_content
