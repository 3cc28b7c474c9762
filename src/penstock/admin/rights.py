"""Who sees and who may give what. Pure.

    role         sees                         may change
    -----------  ---------------------------  ---------------------------------------------------------------
    owner        everything                   everything
    admin        everything                   everything, but what an owner is or has
    operator     everything                   routes
    developer    its team, its keys and       keys of its team
                 their usage
    viewer       the same                     nothing

    as a member  sees                         may change
    -----------  ---------------------------  ---------------------------------------------------------------
    owner        the team, as a developer     its keys and service accounts; roles of members, and who stays
    admin        the same                     the same, but what an owner of the team is
    operator     the same                     nothing
    developer    the same                     keys of the team
    viewer       the same                     nothing

Below operator it is the role as a member that counts; which users there are, who joins a team and what limits
it is for admins of the platform.

Nobody gives more than they have: no higher role, and below admin no further routes, priority, time or
networks than those of the key that asks. A user who has limits makes keys for themselves only; a key that has
limits, or says where data may go, makes none, and nor does whom an issuer of tokens limits. What another team
has does not exist for a developer or a viewer.
"""

from collections.abc import Collection, Iterator, Sequence
from ipaddress import ip_network
from typing import Any, Final, NamedTuple, get_args

from penstock.types.errors import PermissionDenied
from penstock.types.identity import OPERATORS, ROLES, Network, PriorityName, RoleName, VirtualKey
from penstock.types.ledger import Claim
from penstock.types.store import Key

ADMINS: Final = frozenset[RoleName]({"owner", "admin"})


class Who(NamedTuple):
    """May call an endpoint: with one of these roles everywhere, or over the caller's own team."""

    everywhere: frozenset[RoleName]
    over_team: frozenset[RoleName] = frozenset()


EVERYBODY: Final = Who(OPERATORS, frozenset(ROLES))  # and sees what is theirs
OVERSEERS: Final = Who(OPERATORS)
MANAGERS: Final = Who(ADMINS)
TEAM_MANAGERS: Final = Who(ADMINS, ADMINS)
KEY_MAKERS: Final = Who(ADMINS, frozenset[RoleName]({*ADMINS, "developer"}))

_PRIORITIES: Final[Sequence[str]] = get_args(PriorityName)


def scope(caller: VirtualKey) -> str | None:
    """The only team that the caller sees; None: everything. Raises PermissionDenied for who has no team."""
    if caller.is_operator:
        return None
    if not caller.team:
        raise PermissionDenied("Your key belongs to no team: there is nothing for it to see here.")
    return caller.team


def require_one_of(caller: VirtualKey, who: Who) -> None:
    """Raises PermissionDenied for who has none of these roles."""
    own, allowed = (caller.role, who.everywhere) if caller.is_operator else (caller.over_team, who.over_team)
    if own not in allowed:
        said = ", ".join(role for role in ROLES if role in who.everywhere | who.over_team)
        raise PermissionDenied(f"This takes one of the roles {said}; yours is {own}.")


def require_rank(own: RoleName, role: RoleName, what: str) -> None:
    """Raises PermissionDenied where `role` is above one's own."""
    if ROLES.index(role) < ROLES.index(own):
        raise PermissionDenied(
            f"{what} has the role {role}; yours is {own}, and nobody gives or changes more than they have.",
            param="role",
        )


def require_grantable(caller: VirtualKey, key: Key) -> None:
    """Raises PermissionDenied where `key` can do what the caller cannot."""
    require_rank(caller.role, key.role, "The key")
    if caller.role in ADMINS:
        return
    if _PRIORITIES.index(key.priority) < _PRIORITIES.index(caller.priority):
        raise PermissionDenied(f"Your key goes no higher than {caller.priority}.", param="priority")
    if caller.routes is not None and (key.routes is None or not caller.routes.issuperset(key.routes)):
        raise PermissionDenied("Your key may not use all of these routes itself.", param="routes")
    limited = [claim.scope for claim in claims_of(caller) if claim.scope.kind != "team"]
    if any(scope.kind != "user" or scope.owner != caller.user for scope in limited):
        # of a key, or of an issuer for each of its callers: no other key would be counted there
        raise PermissionDenied("You have limits of your own: keys are an admin's to make.", param="limits")
    if limited and key.user != caller.user:
        raise PermissionDenied("You have limits: a key that you make is yours, too (`user`).", param="user")
    if caller.requires is not None:
        raise PermissionDenied("Your own key says where data may go: others are an admin's to make.")
    _require_no_longer(caller, key)
    terms = caller.terms
    if terms is None:
        return
    if terms.networks and not _are_within(key.networks, terms.networks):
        raise PermissionDenied("Your own key is not good from all of these networks.", param="networks")


def require_rotatable(caller: VirtualKey, key: Key) -> None:
    """Raises PermissionDenied: whoever rotates a key has a secret that can do all it can.

    A key may rotate itself, but not by its old secret: that one ends when the overlap does.
    """
    if key.id == caller.name:
        _require_no_longer(caller, key)
    else:
        require_grantable(caller, key)


def _require_no_longer(caller: VirtualKey, key: Key) -> None:
    ends_s = None if caller.terms is None else caller.terms.expires_s
    if ends_s is not None and (key.expires is None or key.expires > ends_s):
        raise PermissionDenied("It would outlive your own key.", param="expires")


def claims_of(caller: VirtualKey) -> Iterator[Claim]:
    yield from caller.claims
    for claims in caller.model_claims.values():
        yield from claims


def inherited(caller: VirtualKey) -> dict[str, Any]:
    """The fields of a new key that were not said: as free as the caller may give, and no more than usual."""
    is_low = _PRIORITIES.index(caller.priority) > _PRIORITIES.index("default")
    if caller.role in ADMINS:
        return {"priority": "default", "routes": None, "networks": (), "expires": None}
    terms = caller.terms
    return {
        "priority": caller.priority if is_low else "default",
        "routes": None if caller.routes is None else tuple(sorted(caller.routes)),
        "networks": () if terms is None else tuple(map(str, terms.networks)),
        "expires": None if terms is None or terms.expires_s is None else int(terms.expires_s),
    }


def _are_within(networks: Collection[str], outer: Sequence[Network]) -> bool:
    return bool(networks) and all(
        any(_is_within(ip_network(one, strict=False), other) for other in outer) for one in networks
    )


def _is_within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # the same version
