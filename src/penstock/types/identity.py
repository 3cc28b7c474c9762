"""Who calls."""

from typing import Literal

import msgspec

PriorityName = Literal["system", "interactive", "default", "bulk"]


class VirtualKey(msgspec.Struct, frozen=True):
    """A key of ours. The secret itself is never kept: the snapshot maps its keyed hash to this.

    routes: public model names it may use; None allows all.
    priority: where it stands in the queue of a busy deployment; a request may ask for less.
    """

    name: str
    routes: frozenset[str] | None = None
    priority: PriorityName = "default"

    def may_use(self, route: str) -> bool:
        return self.routes is None or route in self.routes
