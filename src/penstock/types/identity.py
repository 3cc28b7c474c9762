"""Who calls."""

import msgspec


class VirtualKey(msgspec.Struct, frozen=True):
    """A key of ours. The secret itself is never kept: the snapshot maps its keyed hash to this.

    routes: public model names it may use; None allows all.
    """

    name: str
    routes: frozenset[str] | None = None

    def may_use(self, route: str) -> bool:
        return self.routes is None or route in self.routes
