"""What the configuration says of who may call, compiled; part of the Snapshot.

Policy
|- issuers        `iss` of a token -> whom we believe, and what their claims mean here
|- users          what a token's claim calls a user of the store -> who that is
|- proxies        networks whose word for a client's address and certificate is taken
|- certificates   name of a client certificate -> the key it stands for
`- session_s      how long a person stays signed in
"""

import string
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from penstock.types import ledger
from penstock.types.identity import Network, RoleName, VirtualKey

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
DEFAULT_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "ES256", "PS256", "EdDSA")
DEFAULT_SESSION_S: Final = 12 * 3600.0
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def known_by(text: str) -> str:
    """What a user is known by: an e-mail address, or an id, in any case of ASCII's letters.

    Of others one may be the lower case of something else: the sign of kelvin, of a k.
    """
    return text.translate(_LOWER)


class Claims(msgspec.Struct, frozen=True):
    """Which claim says what; None: none does. A dotted name goes down into objects."""

    subject: str = "sub"
    email: str = "email"
    team: str | None = None
    role: str | None = None
    routes: str | None = None
    user: str | None = None


class Bounds(msgspec.Struct, frozen=True):
    """What limits calls: `always`, and further ones by public name."""

    always: tuple[ledger.Claim, ...] = ()
    by_model: Mapping[str, tuple[ledger.Claim, ...]] = {}


class Person(msgspec.Struct, frozen=True):
    """A user of the store. teams: what they are in each, the one first that they have been in longest.

    is_off: disabled, or limited by what makes no sense.
    """

    id: str
    role: RoleName
    teams: Mapping[str, RoleName] = {}
    bounds: Bounds = Bounds()
    is_off: bool = False


class Login(msgspec.Struct, frozen=True):
    """How people sign in with an issuer."""

    client_id: str
    client_secret: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")


class Issuer(msgspec.Struct, frozen=True):
    """Whose tokens are believed, and what they mean.

    roles: value of the role claim -> role; the most powerful wins. default_role: who has none of them; None
    refuses them, where there are roles. teams: value of the team claim -> team; empty: the value is the team.
    default_team: who has none. require: claim -> one of these values.
    each: what limits each caller; its scopes are named by what follows the caller's name.
    of_teams: the teams that there are, and what limits them.
    """

    name: str
    issuer: str
    audiences: frozenset[str]
    jwks_url: str | None = None
    algorithms: frozenset[str] = frozenset(DEFAULT_ALGORITHMS)
    leeway_s: float = 60.0
    claims: Claims = Claims()
    roles: Mapping[str, RoleName] = {}
    default_role: RoleName | None = None
    teams: Mapping[str, str] = {}
    default_team: str | None = None
    routes: frozenset[str] | None = None
    require: Mapping[str, frozenset[str]] = {}
    each: Bounds = Bounds()
    of_teams: Mapping[str, Bounds] = {}
    is_insecure: bool = False
    login: Login | None = None


class Policy(msgspec.Struct, frozen=True):
    issuers: Mapping[str, tuple[Issuer, ...]] = {}
    users: Mapping[str, Person] = {}
    proxies: tuple[Network, ...] = ()
    certificate_header: bytes = b""  # lower case; empty: none is read
    certificates: Mapping[str, VirtualKey] = {}
    public_url: str = ""  # where browsers find us, as origin_of; empty: where they asked
    session_s: float = DEFAULT_SESSION_S

    @property
    def names_users(self) -> bool:
        """Whether tokens can be of users of the store."""
        return any(issuer.claims.user is not None for those in self.issuers.values() for issuer in those)

    def login(self, name: str) -> Issuer | None:
        """The issuer of that name, if people can sign in with it."""
        for those in self.issuers.values():
            for issuer in those:
                if issuer.name == name and issuer.login is not None:
                    return issuer
        return None
