"""Room for what many owners keep: when there is none left, whoever has most of it loses its oldest.

So nobody who keeps no more than an even share loses anything, however much others bring.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush


class _Share:
    __slots__ = ("size", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # by name, the oldest first
        self.size = 0


class Room:
    """`most` and sizes are bytes. What is kept has a name, among those of its owner."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._shares: dict[str, _Share] = {}
        # Every share by its size, the largest first; also what it once was, which is passed by.
        self._by_size: list[tuple[int, str]] = []

    def put(self, owner: str, name: str, size: int) -> None:
        """As its owner's newest."""
        self.drop(owner, name)
        share = self._shares.setdefault(owner, _Share())
        share.sizes[name] = size
        self._changed(owner, share, size)

    def drop(self, owner: str, name: str) -> None:
        """If it is there."""
        share = self._shares.get(owner)
        if share is not None and (size := share.sizes.pop(name, None)) is not None:
            self._changed(owner, share, -size)
            if not share.sizes:
                del self._shares[owner]

    def overfull(self) -> Iterator[tuple[str, str]]:
        """Owner and name of one that has to go, again after each was dropped until there is room."""
        while self._taken > self._most:
            size, owner = self._by_size[0]
            share = self._shares.get(owner)
            if share is None or share.size != -size:
                heappop(self._by_size)
            else:
                yield owner, next(iter(share.sizes))

    def _changed(self, owner: str, share: _Share, by: int) -> None:
        share.size += by
        self._taken += by
        heappush(self._by_size, (-share.size, owner))
        if len(self._by_size) > 64 + 4 * len(self._shares):  # mostly sizes of the past
            self._by_size = [(-one.size, name) for name, one in self._shares.items()]
            heapify(self._by_size)
