"""Rows of the store over what the file says. Pure.

    check_route(settings, name, body)     the route that a body means, or ConfigError
    routes_of(settings, rows)             the routes that hold beside the file's, and the rows that do not
    bounds_of(limits, budget)             what limits and budgets mean, or ConfigError
    keys_of(row, around)                  whom the secrets of a key stand for; none for one that is off
    hook_of(row)                          where events go; None for one that is off
    with_teams(policy, around)            who callers with tokens are, with the teams and users of the store
    with_rows(snapshot, keys, hooks, ...) the snapshot with these keys and webhooks beside the file's

The file wins: a row that names what the file names is left out, and so is a row that is wrong. Both are told
(`LeftOut`), and neither stops anything.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final, NamedTuple

import msgspec

from penstock.auth.policy import Bounds, Person, Policy, known_by
from penstock.config import schema
from penstock.config.claims import Claims, budgets_of, claims_of, limit_problems
from penstock.config.errors import ConfigError, Problem
from penstock.config.problems import route_problems
from penstock.config.reader import read_value
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot
from penstock.types.control import LeftOut
from penstock.types.identity import Network, RoleName, Terms, VirtualKey, lowest, standing
from penstock.types.ledger import FailurePolicy, ScopeKind
from penstock.types.store import Budget, Key, Limits, Membership, StoredRoute, Team, User, Webhook
from penstock.types.webhooks import Hook

_NO_LIMITS: Final = Limits()
_NO_CLAIMS: Final = Claims()
_ANY: Final = "any"
_PREFIX: Final = f"teams.{_ANY}"


def check_route(settings: Settings, name: str, body: Mapping[str, Any]) -> schema.Route:
    """The problems of the ConfigError begin with `routes.<name>`.

    A variable of the environment is not filled in: who may write routes need not know what is in there.
    """
    try:
        reading = read_value({"routes": {name: body}})
    except RecursionError:
        raise ConfigError([Problem(f"routes.{name}", "is nested too deeply")]) from None
    if reading.problems:
        raise ConfigError(problem._replace(line=None) for problem in reading.problems)
    route = reading.settings.routes[name]
    alone = msgspec.structs.replace(settings, routes={name: route})
    if found := route_problems(alone):
        raise ConfigError(found)
    return route


def routes_of(
    settings: Settings, rows: Iterable[StoredRoute]
) -> tuple[dict[str, schema.Route], tuple[LeftOut, ...]]:
    routes: dict[str, schema.Route] = {}
    left_out: list[LeftOut] = []
    for row in rows:
        path = f"routes/{row.id}"
        if row.id in settings.routes:
            left_out.append(LeftOut(path, "the file has a route of this name, and the file wins"))
            continue
        try:
            routes[row.id] = check_route(settings, row.id, row.body)
        except ConfigError as exc:
            left_out.append(LeftOut(path, "; ".join(f"{one.path}: {one.message}" for one in exc.problems)))
    return routes, tuple(left_out)


def bounds_of(limits: Limits, budget: Sequence[Budget]) -> schema.Team:
    """The problems of the ConfigError begin with `limits` or `budget`."""
    said = {"limits": msgspec.to_builtins(limits), "budget": msgspec.to_builtins(budget)}
    reading = read_value({"teams": {_ANY: said}})
    bounds = reading.settings.teams.get(_ANY, schema.Team())
    found = reading.problems or list(limit_problems(_PREFIX, bounds.limits, budgets_of(bounds)))
    if found:
        raise ConfigError(Problem(one.path.removeprefix(f"{_PREFIX}."), one.message) for one in found)
    return bounds


def claims_of_row(row: Team | User | Key, on_failure: FailurePolicy) -> Claims:
    """Raises ConfigError."""
    if not row.budget and row.limits == _NO_LIMITS:
        return _NO_CLAIMS
    bounds = bounds_of(row.limits, row.budget)
    kind: ScopeKind = "team" if isinstance(row, Team) else "user" if isinstance(row, User) else "key"
    called = row.name or row.email if isinstance(row, User) else row.name
    return claims_of(kind, row.id, bounds.limits, budgets_of(bounds), on_failure=on_failure, name=called)


class Member(NamedTuple):
    """since: when, and the id of the membership: of two in the same second."""

    team: str
    role: RoleName
    since: tuple[int, str]


def member_of(row: Membership) -> Member:
    return Member(row.team, row.role, (row.created, row.id))


@dataclass
class Around:
    """What a key depends on besides its own row, by id.

    roles: of users and service accounts that are not disabled. emails: of all users. members: of each user,
    by team. teams: that there are. claims: of teams and users that have limits; wrong: of whom they make no
    sense. file_teams: those of the file, which win.
    """

    on_failure: FailurePolicy = "local-share"
    file_teams: Mapping[str, Claims] = field(default_factory=dict)
    roles: dict[str, RoleName] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    members: dict[str, dict[str, Member]] = field(default_factory=dict)
    teams: set[str] = field(default_factory=set)
    claims: dict[str, Claims] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)


def keys_of(row: Key, around: Around) -> tuple[tuple[bytes, VirtualKey], ...]:
    """By the hashes of its secrets: none of one that is off, two after a rotation.

    A user's key of a team is good while they are in it, and can do there what they can.

    Raises ConfigError where its limits make no sense: a key without its limits would be another key.
    """
    owners = [one for one in (row.user, row.account) if one is not None]
    is_off = row.revoked is not None or any(one not in around.roles for one in owners)
    if is_off or (row.team in around.wrong and row.team not in around.file_teams) or row.user in around.wrong:
        return ()
    role, team_role = lowest([row.role, *(around.roles[one] for one in owners)]), None
    if row.user is not None and row.team is not None:
        member = around.members.get(row.user, {}).get(row.team)
        if member is None:
            return ()
        role, team_role = standing(role, lowest([row.role, member.role]))
    claims = claims_of_row(row, around.on_failure)
    team = around.file_teams.get(row.team or "") or around.claims.get(row.team or "")
    for further in (team, around.claims.get(row.user or "")):
        if further is not None:
            claims = further if claims is _NO_CLAIMS else claims + further
    key = VirtualKey(
        row.id,
        None if row.routes is None else _names(row.routes),
        row.priority,
        team=row.team,
        claims=claims.always,
        model_claims=claims.by_model,
        role=role,
        user=row.user or "",
        terms=_terms(row.expires, row.networks),
        team_role=team_role,
    )
    if row.old_hash is None or row.overlap_ends is None:
        return ((row.hash, key),)
    # A second before the key itself: by this the old secret is told from the new one, which may rotate it.
    end = row.overlap_ends if row.expires is None else min(row.expires - 1, row.overlap_ends)
    old = msgspec.structs.replace(key, terms=_terms(end, row.networks))
    return (row.hash, key), (row.old_hash, old)


def hook_of(row: Webhook) -> Hook | None:
    """None for one that is disabled. It is not trusted: who writes it need not run the platform."""
    if row.disabled is not None:
        return None
    return Hook(row.id, row.url, row.secret, frozenset(row.events), row.team, is_trusted=False)


def with_teams(policy: Policy, around: Around) -> Policy:
    """Tokens may be of the store's teams and users, too. One without them is returned as it is."""
    own = {name: _bounds(around, name) for name in around.teams - around.wrong}
    users = _people(around) if policy.names_users else {}
    if not policy.issuers or not (own or users):
        return policy
    issuers = {
        name: tuple(msgspec.structs.replace(one, of_teams={**own, **one.of_teams}) for one in those)
        for name, those in policy.issuers.items()
    }
    return msgspec.structs.replace(policy, issuers=issuers, users=users)


def _bounds(around: Around, id_: str) -> Bounds:
    claims = around.claims.get(id_, _NO_CLAIMS)
    return Bounds(claims.always, claims.by_model)


def _people(around: Around) -> dict[str, Person]:
    """By id, and by e-mail address (`known_by`). One that two have is nobody's: either might be disabled."""
    found: dict[str, Person] = {}
    spelt = Counter(known_by(email) for email in around.emails.values())
    for id_, email in around.emails.items():
        role = around.roles.get(id_)
        members = sorted(around.members.get(id_, {}).values(), key=lambda one: one.since)
        found[id_] = Person(
            id_,
            role or "viewer",
            {one.team: one.role for one in members},
            _bounds(around, id_),
            is_off=role is None or id_ in around.wrong,
        )
        is_one = spelt[known_by(email)] == 1
        found[known_by(email)] = found[id_] if is_one else Person(id_, "viewer", is_off=True)
    return found


def with_rows(
    snapshot: Snapshot, keys: Mapping[bytes, VirtualKey], hooks: Iterable[Hook], policy: Policy
) -> Snapshot:
    """`snapshot` holds the file's alone. policy: its own, by `with_teams`; while it is the same one, tokens
    that were verified need not be again.
    """
    both = dict(keys)
    both.update(snapshot.keys)
    return dataclasses.replace(snapshot, keys=both, hooks=(*snapshot.hooks, *hooks), identity=policy)


# Thousands of keys say the same: they share what it becomes.


@lru_cache(maxsize=4096)
def _names(routes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(routes)


def _terms(expires: int | None, networks: tuple[str, ...]) -> Terms | None:
    if expires is None and not networks:
        return None
    return Terms(expires, _networks(networks))


@lru_cache(maxsize=4096)
def _networks(written: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text, strict=False) for text in written)
