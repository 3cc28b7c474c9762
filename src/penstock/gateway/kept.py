"""Responses that are kept, in memory, bounded in bytes and time."""

import asyncio
from collections import OrderedDict
from typing import Any

import msgspec

from penstock.gateway.detached import Detached
from penstock.lib.clock import Clock

JSON = dict[str, Any]

KEPT_S = 24 * 3600.0
KEPT_BYTES = 256 * 1024 * 1024
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})

_encode = msgspec.json.Encoder().encode


class Kept:
    """One response; it belongs to the key `owner`."""

    def __init__(self, owner: str, response: JSON, items: list[JSON], *, is_background: bool) -> None:
        self.owner = owner
        self.response = response
        self.items = items  # all that went in, the earlier conversation included
        self.is_background = is_background
        self.events: list[bytes] = []  # of a background response, to be followed; their index is their number
        self.run: Detached | None = None  # which makes it, while it does
        self.size = 0
        self.expires_s = 0.0
        self.is_deleted = False  # and so it stays, though it may still be being made
        self._changed = asyncio.Event()

    @property
    def is_ended(self) -> bool:
        return self.response["status"] in _ENDED

    @property
    def is_over(self) -> bool:
        """Ended, and nothing will follow its last event."""
        return self.is_ended and self.run is None

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        await self._changed.wait()


class Store:
    """Responses by id, the oldest forgotten first. One of these may become a database: issue 6."""

    def __init__(self, clock: Clock, *, kept_s: float = KEPT_S, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_s = kept_s
        self._kept_bytes = kept_bytes
        self._by_id: OrderedDict[str, Kept] = OrderedDict()
        self._items: dict[tuple[str, str], JSON] = {}  # (owner, id) -> an output item
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, owner: str, wanted: str) -> Kept | None:
        kept = self._by_id.get(wanted)
        if kept is None or kept.owner != owner or kept.expires_s <= self._clock.monotonic():
            return None
        return kept

    def item(self, owner: str, wanted: str) -> JSON | None:
        return self._items.get((owner, wanted))

    def keep(self, kept: Kept) -> None:
        """Also again, once it has grown."""
        if kept.is_deleted:
            return
        name = kept.response["id"]
        self.drop(name)
        kept.size = len(_encode([kept.response, kept.items])) + sum(map(len, kept.events))
        kept.expires_s = self._clock.monotonic() + self._kept_s
        self._by_id[name] = kept
        self._bytes += kept.size
        for item in kept.response["output"]:
            if isinstance(item.get("id"), str):
                self._items[kept.owner, item["id"]] = item
        for name in self._outdated():
            self.drop(name)

    def _outdated(self) -> list[str]:
        """What must go: the oldest, but for those that are being made."""
        now_s = self._clock.monotonic()
        found: list[str] = []
        excess = self._bytes - self._kept_bytes
        for name, oldest in self._by_id.items():  # nearly always the first one says that none must
            if excess <= 0 and oldest.expires_s > now_s:
                break
            if oldest.run is None:
                found.append(name)
                excess -= oldest.size
        return found

    def drop(self, name: str) -> None:
        gone = self._by_id.pop(name, None)
        if gone is not None:
            self._bytes -= gone.size
            for item in gone.response["output"]:
                self._items.pop((gone.owner, str(item.get("id"))), None)
