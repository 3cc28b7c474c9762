"""Who calls, and what they are.

owner, admin, operator   run the platform: an error tells them of each attempt
developer                uses models
viewer                   looks on: lists of models, no calls
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from penstock.types.ledger import Claim

PriorityName = Literal["system", "interactive", "default", "bulk"]
RoleName = Literal["owner", "admin", "operator", "developer", "viewer"]

OPERATORS: Final = frozenset[RoleName]({"owner", "admin", "operator"})


Override = Literal["deployment", "timeout"]


class Requirements(msgspec.Struct, frozen=True):
    """Where requests may go: nothing said allows all.

    regions: one of them. data_policy: all of it is promised.
    """

    regions: frozenset[str] = frozenset()
    data_policy: frozenset[str] = frozenset()


class VirtualKey(msgspec.Struct, frozen=True):
    """A key of ours. The secret itself is never kept: the snapshot maps its keyed hash to this.

    routes: public model names it may use; None allows all.
    priority: where it stands in the queue of a busy deployment; a request may ask for less.
    claims: what limits its calls, its team's limits included; model_claims: further ones, by public name.
    requires: of every deployment that one of its requests is sent to.
    overrides: what its requests may change by a header: take one deployment, have more time.
    """

    name: str
    routes: frozenset[str] | None = None
    priority: PriorityName = "default"
    requires: Requirements | None = None
    team: str | None = None
    claims: tuple[Claim, ...] = ()
    model_claims: Mapping[str, tuple[Claim, ...]] = {}
    overrides: frozenset[Override] = frozenset()
    role: RoleName = "developer"

    @property
    def is_operator(self) -> bool:
        """Whether its owner may know how the platform is built and what goes wrong in it."""
        return self.role in OPERATORS

    def may_use(self, route: str) -> bool:
        return self.routes is None or route in self.routes
