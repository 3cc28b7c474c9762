"""Who calls, and what they are.

owner, admin, operator   run the platform: an error tells them of each attempt
developer                uses models
viewer                   looks on: lists of models, no calls

A user has a role, and another one as a member of each team (`standing`).
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal, get_args

import msgspec

from penstock.types.ledger import Claim

PriorityName = Literal["system", "interactive", "default", "bulk"]
RoleName = Literal["owner", "admin", "operator", "developer", "viewer"]  # the most powerful first

ROLES: Final[Sequence[RoleName]] = get_args(RoleName)
OPERATORS: Final = frozenset[RoleName]({"owner", "admin", "operator"})


def lowest(roles: Iterable[RoleName]) -> RoleName:
    return max(roles, key=ROLES.index)


def standing(own: RoleName, member: RoleName) -> tuple[RoleName, RoleName | None]:
    """`role` and `team_role` (VirtualKey) of who is `own` everywhere and `member` in the team.

    own          member       is
    -----------  -----------  ----------------------------------------------------------
    operator...  any          what they are everywhere
    developer    viewer       a viewer
    developer    any other    a developer; over the team, and it alone, what `member` says
    viewer       any          a viewer
    """
    if own != "developer" or member == "developer":
        return own, None
    return ("viewer", None) if member == "viewer" else ("developer", member)


Override = Literal["deployment", "timeout"]
Network = IPv4Network | IPv6Network


class Requirements(msgspec.Struct, frozen=True):
    """Where requests may go: nothing said allows all.

    regions: one of them. data_policy: all of it is promised.
    """

    regions: frozenset[str] = frozenset()
    data_policy: frozenset[str] = frozenset()


class Terms(msgspec.Struct, frozen=True):
    """Until when, and from where, a credential is good: nothing said allows all.

    expires_s: Unix seconds. networks: one of them holds the caller's address.
    """

    expires_s: float | None = None
    networks: tuple[Network, ...] = ()


class VirtualKey(msgspec.Struct, frozen=True):
    """A key of ours, or what a token or a certificate stands for: whoever may call.

    The secret itself is never kept: the snapshot maps its keyed hash to this.

    name: as the configuration calls it; of a key in the store its id, so that no two have the same.
    routes: public model names it may use; None allows all.
    priority: where it stands in the queue of a busy deployment; a request may ask for less.
    claims: what limits its calls, its team's limits included; model_claims: further ones, by public name.
    requires: of every deployment that one of its requests is sent to.
    overrides: what its requests may change by a header: take one deployment, have more time.
    team: the id of its team, or its name in the file.
    user: the person or the program behind it: the id of a user; of a token that is no user's an e-mail
    address, else what its issuer calls them.
    terms: None where it is good always and from everywhere.
    team_role: what it is over its team, where that is more than `role`.
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
    user: str = ""
    terms: Terms | None = None
    team_role: RoleName | None = None

    @property
    def over_team(self) -> RoleName:
        return self.team_role or self.role

    @property
    def is_operator(self) -> bool:
        """Whether its owner may know how the platform is built and what goes wrong in it."""
        return self.role in OPERATORS

    def may_use(self, route: str) -> bool:
        return self.routes is None or route in self.routes
