"""Who fails again and again is answered later: guessing keys must not be quick.

Each address has a score: one more for each failure, one less every REGAIN_S.

    score             a further failure is
    ----------------  -----------------------------------------------------------------
    up to FREE        answered at once: everybody mistypes
    above             answered after FIRST_S, twice as long each time, at most LONGEST_S
    ... and too many  refused at once, 429 with that time as `retry-after`: those that wait
    wait already      hold connections, at most EACH of an address and MOST_WAITING of all

Who has a good key is never asked about here, whatever its neighbours do. An IPv6 /64 is one address. At most
MOST_ADDRESSES are remembered; the one that failed longest ago is forgotten first. Pure: the caller's clock.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec

FREE: Final = 5
REGAIN_S: Final = 12.0
FIRST_S: Final = 0.25
LONGEST_S: Final = 8.0
EACH: Final = 4
MOST_WAITING: Final = 256
MOST_ADDRESSES: Final = 10_000
_DOUBLINGS: Final = 5  # FIRST_S to LONGEST_S


class Penalty(NamedTuple):
    """`is_refused`: come again after `delay_s`. Else the answer waits so long; then `waited` is called."""

    delay_s: float
    is_refused: bool


class _Record(msgspec.Struct):
    score: float
    at_s: float
    waiting: int = 0


class Attempts:
    def __init__(self, *, most_addresses: int = MOST_ADDRESSES) -> None:
        self._most = most_addresses
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def waiting(self) -> int:
        return self._waiting

    def failed(self, address: str, now_s: float) -> Penalty:
        """One more failure of this address (addresses.neighbourhood)."""
        record = self._records.get(address)
        if record is None:
            record = self._records[address] = _Record(0.0, now_s)
            if len(self._records) > self._most:
                self._records.popitem(last=False)
        self._records.move_to_end(address)
        regained = max(0.0, now_s - record.at_s) / REGAIN_S
        record.score = min(max(0.0, record.score - regained) + 1.0, FREE + 1 + _DOUBLINGS)
        record.at_s = now_s
        if record.score <= FREE:
            return Penalty(0.0, is_refused=False)
        delay_s = min(FIRST_S * 2.0 ** (record.score - FREE - 1), LONGEST_S)
        if record.waiting >= EACH or self._waiting >= MOST_WAITING:
            return Penalty(delay_s, is_refused=True)
        record.waiting += 1
        self._waiting += 1
        return Penalty(delay_s, is_refused=False)

    def waited(self, address: str) -> None:
        """A failure that had a delay was answered, or its client has gone."""
        self._waiting -= 1
        record = self._records.get(address)
        if record is not None and record.waiting:
            record.waiting -= 1
