"""What happened that somebody wants to hear of, and who: events and webhooks."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

EventType = Literal["budget.alert"]

EVENTS: Final[tuple[EventType, ...]] = ("budget.alert",)


class Hook(msgspec.Struct, frozen=True):
    """Where events are sent.

    events: of these types; none named: of all. team: only what concerns it; None: all.
    is_trusted: it may be at a private address, for it was written by who runs the platform.
    """

    name: str
    url: str
    secret: str = ""
    events: frozenset[str] = frozenset()
    team: str | None = None
    is_trusted: bool = True

    def wants(self, event: "Event") -> bool:
        return (not self.events or event.type in self.events) and self.team in (None, event.team)


class Event(msgspec.Struct, frozen=True):
    """`id` is the same wherever the same is found: in another process, or after a restart."""

    id: str
    type: EventType
    at: int  # Unix seconds
    data: Mapping[str, Any]
    team: str | None = None
