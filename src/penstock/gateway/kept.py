"""Responses that are kept, in memory, bounded in bytes and time.

room                  shared by all keys (lib/room.py)
a response in the     is never dropped for room, and takes none before it has ended
  making
time                  a day from its end
"""

import asyncio
from collections import OrderedDict
from typing import Any

import msgspec

from penstock.gateway.detached import Detached
from penstock.lib.clock import Clock
from penstock.lib.room import Room

JSON = dict[str, Any]

KEPT_S = 24 * 3600.0
KEPT_BYTES = 256 * 1024 * 1024
BESIDE_BYTES = 1_200  # what one takes beside its JSON
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Kept:
    """One response; it belongs to the key `owner`. Once it is packed, what is read of it is a copy."""

    __slots__ = (
        *("_changed", "_items", "_packed_items", "_packed_response", "_response", "events", "expires_s"),
        *("is_background", "is_deleted", "item_ids", "name", "owner", "run"),
    )

    def __init__(self, owner: str, response: JSON, items: list[JSON], *, is_background: bool) -> None:
        self.owner = owner
        self.name: str = response["id"]
        self.is_background = is_background
        self.events: list[bytes] = []  # of a background response, to be followed; their index is their number
        self.run: Detached | None = None  # which makes it, while it does
        self.item_ids: tuple[str, ...] = ()  # of its output
        self.expires_s = 0.0
        self.is_deleted = False  # and so it stays, though it may still be being made
        self._response: JSON | None = response
        self._items: list[JSON] | None = items  # all that went in, the earlier conversation included
        self._packed_response = b""
        self._packed_items = b""
        self._changed: asyncio.Event | None = None

    @property
    def response(self) -> JSON:
        found: JSON = _decode(self._packed_response) if self._response is None else self._response
        return found

    @response.setter
    def response(self, response: JSON) -> None:
        self._response = response

    @property
    def items(self) -> list[JSON]:
        found: list[JSON] = _decode(self._packed_items) if self._items is None else self._items
        return found

    @property
    def response_json(self) -> bytes:
        return self._packed_response if self._response is None else _encode(self._response)

    @property
    def items_json(self) -> bytes:
        return self._packed_items if self._items is None else _encode(self._items)

    def pack(self) -> int:
        """As JSON it takes a fifth of the room, and the collector of garbage passes it by. How many bytes."""
        self._packed_response, self._response = self.response_json, None
        self._packed_items, self._items = self.items_json, None
        size = len(self._packed_response) + len(self._packed_items) + sum(map(len, self.events))
        return size + BESIDE_BYTES

    @property
    def is_ended(self) -> bool:
        return self._response is None or self._response["status"] in _ENDED

    @property
    def is_over(self) -> bool:
        """Ended, and nothing will follow its last event."""
        return self.is_ended and self.run is None

    def changed(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()


class Store:
    """Responses by id."""

    def __init__(self, clock: Clock, *, kept_s: float = KEPT_S, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_s = kept_s
        self._by_id: OrderedDict[str, Kept] = OrderedDict()  # in the order in which they expire
        self._room = Room(kept_bytes)
        self._items: dict[tuple[str, str], Kept] = {}  # (owner, id of an output item) -> whose it is

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, owner: str, wanted: str) -> Kept | None:
        kept = self._by_id.get(wanted)
        if kept is None or kept.owner != owner or kept.expires_s <= self._clock.monotonic():
            return None
        return kept

    def item(self, owner: str, wanted: str) -> JSON | None:
        kept = self._items.get((owner, wanted))
        if kept is None or kept.expires_s <= self._clock.monotonic():
            return None
        return next((item for item in kept.response["output"] if item.get("id") == wanted), None)

    def keep(self, kept: Kept) -> None:
        """Also again, once it has grown."""
        if kept.is_deleted:
            return
        name = kept.name
        self.drop(name)
        ids = (item.get("id") for item in kept.response["output"])
        kept.item_ids = tuple(one for one in ids if isinstance(one, str))
        kept.expires_s = self._clock.monotonic() + self._kept_s
        self._by_id[name] = kept
        if kept.is_ended:
            self._room.put(kept.owner, name, kept.pack())
        for item_id in kept.item_ids:
            self._items[kept.owner, item_id] = kept
        self._make_room()

    def _make_room(self) -> None:
        now_s = self._clock.monotonic()
        while self._by_id:
            name, oldest = next(iter(self._by_id.items()))
            if oldest.expires_s > now_s:
                break
            self.drop(name)
        for _, name in self._room.overfull():
            self.drop(name)

    def drop(self, name: str) -> None:
        gone = self._by_id.pop(name, None)
        if gone is None:
            return
        self._room.drop(gone.owner, name)
        for item_id in gone.item_ids:
            if self._items.get((gone.owner, item_id)) is gone:
                del self._items[gone.owner, item_id]
