"""Bearer tokens (JWT, RFC 7519) of issuers we believe -> who calls.

    shape        three parts of base64url as RFC 7515 wants them, at most MAX_TOKEN_BYTES
    header       an algorithm that the issuer's configuration allows: never `none`, never a shared secret;
                 `typ` of an access token or plain; no critical extension
    issuer       one that is configured
    audience     one of ours
    signature    by a key of that issuer, of the right kind for the algorithm
    time         exp is there, and ahead; nbf and iat are not ahead; each with the leeway
    claims       what the configuration requires
    mapping      claims -> role, team, routes (`Said`); with the user of the store that they name, who it is
                 of, and what limits the caller and the team

The order is that of cost. A token that was good is remembered by its hash until it expires, its issuer's
keys change, or an hour is over: the same token again is one lookup.

What is wrong is told to the log as a `Reason`, and to the client as nothing but 401.
"""

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from penstock.auth.jwks import KeySet
from penstock.auth.policy import Bounds, Issuer, Person, Policy, known_by
from penstock.auth.web import Fetch
from penstock.lib.clock import Clock
from penstock.types.errors import IdentityUnavailable
from penstock.types.identity import ROLES, RoleName, VirtualKey, lowest, standing
from penstock.types.ledger import Claim, Scope

MAX_TOKEN_BYTES: Final = 16 * 1024
MAX_REMEMBERED: Final = 10_000
REMEMBERED_S: Final = 3600.0  # at most: then its issuer's keys are looked at again
RETRY_AFTER_S: Final = 5.0
MAX_NAME: Final = 200
MAX_VALUES: Final = 1000  # of a claim: a person in more groups than that is in none of ours

Reason = Literal[
    "malformed_token",
    "wrong_algorithm",
    "unknown_issuer",
    "wrong_audience",
    "unknown_signing_key",
    "bad_signature",
    "expired_token",
    "early_token",
    "missing_claim",
    "bound_token",
    "disabled_user",
    "no_role",
    "wrong_nonce",
    "keys_unavailable",
]

_SHAPE: Final = re.compile(rb"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_FALLBACK_ROLE: Final[RoleName] = "developer"
_PROGRAMS: Final = ("client_id", "azp", "appid", "cid")  # who a token without a subject is of
_WORDS: Final = frozenset({"scope", "scp"})  # claims that are lists in one text (RFC 8693 section 4.2)
_DIGEST_BYTES: Final = 12
_MAX_MOMENT: Final = 1e12  # 30,000 years: beyond are mistakes, infinity, and no number at all

_MAX_INT: Final = 2**53  # beyond, readers of JSON differ

_jws: Final = PyJWS()

Claims = Mapping[str, Any]


class TokenRefused(Exception):
    def __init__(self, reason: Reason, said: str = "") -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.said = said  # more, for the log; nothing secret


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What claims say of a caller, as the issuer's configuration reads them.

    user: an e-mail address, else the subject; for people to read. role: None where the issuer gives none.
    person: what a user of the store would be known by.
    """

    name: str
    user: str = ""
    role: RoleName | None = None
    team: str | None = None
    routes: frozenset[str] | None = None
    person: str = ""


class _Remembered(NamedTuple):
    policy: Policy
    key: VirtualKey
    until_s: float  # Unix


class Tokens:
    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._key_sets: dict[tuple[str, str | None, frozenset[str], bool], KeySet] = {}
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    def remembered(self, policy: Policy, token: bytes) -> VirtualKey | None:
        """Who it is of, where the same token was verified before."""
        digest = _digest(token)
        found = self._remembered.get(digest)
        if found is None:
            return None
        if found.policy is not policy or self._clock.wall() >= found.until_s:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return found.key

    async def verify(self, policy: Policy, token: bytes) -> VirtualKey:
        """Who it is of. Raises TokenRefused, IdentityUnavailable."""
        header, unsure = parse(token)
        issuer = chosen(policy, unsure)
        claims = await self._signed(issuer, token, header)
        now_s = self._clock.wall()
        key = caller_of(issuer, said_by(issuer, checked(issuer, claims, now_s)), policy.users)
        until_s = min(float(claims["exp"]), now_s + REMEMBERED_S)
        self._remembered[_digest(token)] = _Remembered(policy, key, until_s)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return key

    async def verify_login(self, issuer: Issuer, client_id: str, token: bytes, nonce: str) -> Said:
        """What an ID token says, made for this client and login. Raises TokenRefused, IdentityUnavailable."""
        header, unsure = parse(token)
        if unsure.get("iss") != issuer.issuer:
            raise TokenRefused("unknown_issuer")
        audiences = _texts(unsure.get("aud"))
        if client_id not in audiences or unsure.get("azp", client_id) != client_id:
            raise TokenRefused("wrong_audience")
        claims = checked(issuer, await self._signed(issuer, token, header), self._clock.wall())
        if claims.get("nonce") != nonce:
            raise TokenRefused("wrong_nonce")
        return said_by(issuer, claims)

    def keys_of(self, issuer: Issuer) -> KeySet:
        where = issuer.issuer, issuer.jwks_url, issuer.algorithms, issuer.is_insecure
        found = self._key_sets.get(where)
        if found is None:
            found = KeySet(issuer, self._fetch, self._clock, self._remembered.clear)
            self._key_sets[where] = found
        return found

    async def refresh_due(self, policy: Policy) -> None:
        """Fetches the keys that are due."""
        for issuers in policy.issuers.values():
            for issuer in issuers:
                keys = self.keys_of(issuer)
                if self._clock.monotonic() >= keys.due_s:
                    await keys.refresh()

    async def aclose(self) -> None:
        for keys in self._key_sets.values():
            await keys.aclose()

    async def _signed(self, issuer: Issuer, token: bytes, header: Claims) -> Claims:
        """The claims, once a key of the issuer is known to have signed them."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            raise TokenRefused("wrong_algorithm", str(algorithm)[:40])
        keys = self.keys_of(issuer)
        candidates = keys.fitting(key_id, algorithm)
        if not candidates:
            await keys.renew()
            candidates = keys.fitting(key_id, algorithm)
        if not keys.is_usable:
            raise IdentityUnavailable(
                "The identity provider's keys cannot be fetched; try again soon.",
                retry_after_s=RETRY_AFTER_S,
                detail=issuer.name,
            )
        if not candidates:
            raise TokenRefused("unknown_signing_key", str(key_id)[:100])
        for candidate in candidates:
            try:
                payload = _jws.decode_complete(token, candidate, algorithms=[algorithm])["payload"]
            except (PyJWTError, ValueError, TypeError):
                continue
            return _object(payload)
        raise TokenRefused("bad_signature")


def looks_like_one(secret: bytes) -> bool:
    """A JWT's first part is an object: `{"` in base64."""
    return secret.count(b".") == 2 and secret.startswith(b"ey")


def parse(token: bytes) -> tuple[Claims, Claims]:
    """Header and claims, as yet believed by nobody. Raises TokenRefused."""
    if len(token) > MAX_TOKEN_BYTES or not _SHAPE.fullmatch(token):
        raise TokenRefused("malformed_token")
    header, claims, _ = map(_part, token.split(b"."))
    said = _object(header)
    if str(said.get("typ", "jwt")).lower() not in _TYPES:
        raise TokenRefused("malformed_token", f"typ {str(said['typ'])[:40]}")
    key_id = said.get("kid")
    if "crit" in said or not (key_id is None or isinstance(key_id, str)):
        raise TokenRefused("malformed_token")
    return said, _object(claims)


def chosen(policy: Policy, claims: Claims) -> Issuer:
    """Whose token it says it is, and for whom. Raises TokenRefused."""
    said = claims.get("iss")
    issuers = policy.issuers.get(said) if isinstance(said, str) else None
    if issuers is None:
        raise TokenRefused("unknown_issuer", str(said)[:200])
    audiences = _texts(claims.get("aud"))
    for issuer in issuers:
        if not issuer.audiences.isdisjoint(audiences):
            return issuer
    raise TokenRefused("wrong_audience", ", ".join(audiences)[:200])


def checked(issuer: Issuer, claims: Claims, now_s: float) -> Claims:
    """The same claims, once their times and what is required of them hold. Raises TokenRefused."""
    expires = _moment(claims, "exp")
    if expires is None:
        raise TokenRefused("missing_claim", "exp")
    if now_s >= expires + issuer.leeway_s:
        raise TokenRefused("expired_token")
    for name in ("nbf", "iat"):
        moment = _moment(claims, name)
        if moment is not None and moment > now_s + issuer.leeway_s:
            raise TokenRefused("early_token", name)
    if claims.get("cnf") is not None:  # RFC 7800: good only with a key that we were not shown
        raise TokenRefused("bound_token")
    for name, allowed in issuer.require.items():
        if allowed.isdisjoint(_required(claims, name)):
            raise TokenRefused("missing_claim", name)
    return claims


def said_by(issuer: Issuer, claims: Claims) -> Said:
    """What the claims mean here. Raises TokenRefused."""
    mapping = issuer.claims
    named = ((name, one) for name in (mapping.subject, *_PROGRAMS) for one in values(claims, name))
    claim, subject = next(named, ("", ""))
    if not subject:
        raise TokenRefused("missing_claim", mapping.subject)
    is_unverified = claims.get("email_verified") not in (None, True, "true", "True")  # some write it as text
    email = "" if is_unverified else next(iter(values(claims, mapping.email)), "")
    # The name owns what is kept for a caller: an address can be given to another person, a subject cannot.
    # With the claim's own name: a program may be called as somebody's subject is (RFC 9068 section 5).
    whole = f"{claim}\0{subject}".encode("utf-8", "replace")
    digest = hashlib.blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest()
    routes = issuer.routes
    if mapping.routes is not None:
        said = frozenset(values(claims, mapping.routes))
        routes = said if routes is None else routes & said
    person = "" if mapping.user is None else next(iter(values(claims, mapping.user)), "")
    if "@" in person and is_unverified:
        person = ""
    return Said(
        f"oidc:{issuer.name}:{digest}",
        _plain(email or subject),
        _role(issuer, claims),
        _team(issuer, claims),
        routes,
        known_by(person),
    )


def caller_of(issuer: Issuer, said: Said, users: Mapping[str, Person]) -> VirtualKey:
    """Who that is, by what is known now. Raises TokenRefused for a user who is off.

    A user is of the team that the token says, else of the one they have been in longest.
    """
    role, team, team_role = said.role or _FALLBACK_ROLE, said.team, None
    person = users.get(said.person)
    if person is not None:
        if person.is_off:
            raise TokenRefused("disabled_user", person.id)
        role = person.role if said.role is None else lowest((said.role, person.role))
        team = team or next(iter(person.teams), None)
        if team is not None and team in person.teams:
            role, team_role = standing(role, person.teams[team])
    team = team or issuer.default_team
    bounds = _bounds(issuer, said.name, team, Bounds() if person is None else person.bounds)
    return VirtualKey(
        said.name,
        said.routes,
        team=team,
        claims=bounds.always,
        model_claims=bounds.by_model,
        role=role,
        user=said.user if person is None else person.id,
        team_role=team_role,
    )


def values(claims: Claims, name: str) -> list[str]:
    """The texts of a claim. A name with dots goes down into objects, unless a claim has just that name."""
    found = _claim(claims, name)
    if name in _WORDS and isinstance(found, str):
        return found.split()[:MAX_VALUES]
    return _texts(found)


def _claim(claims: Claims, name: str) -> Any:
    found: Any = claims
    if name in claims:
        return claims[name]
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _required(claims: Claims, name: str) -> list[str]:
    """The texts of a claim; true, false and whole numbers as JSON writes them."""
    found = _claim(claims, name)
    several = found if isinstance(found, list) else [found]
    numbers = [one for one in several if isinstance(one, int) and abs(one) < _MAX_INT]
    return values(claims, name) + [str(one).lower() for one in numbers]


def _role(issuer: Issuer, claims: Claims) -> RoleName | None:
    said = values(claims, issuer.claims.role) if issuer.claims.role is not None else []
    found = {issuer.roles[one] for one in said if one in issuer.roles}
    role = next((role for role in ROLES if role in found), issuer.default_role)
    if role is None and issuer.roles:
        raise TokenRefused("no_role", ", ".join(said)[:200])
    return role


def _team(issuer: Issuer, claims: Claims) -> str | None:
    said = values(claims, issuer.claims.team) if issuer.claims.team is not None else []
    if issuer.teams:
        return next((team for value, team in issuer.teams.items() if value in said), None)
    return next((one for one in said if one in issuer.of_teams), None)


def _bounds(issuer: Issuer, who: str, team: str | None, person: Bounds) -> Bounds:
    def own(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        return tuple(Claim(Scope("user", who + one.scope.id), one.limits, one.on_failure) for one in claims)

    each = Bounds(own(issuer.each.always), {name: own(one) for name, one in issuer.each.by_model.items()})
    all_ = (each, issuer.of_teams.get(team or "", Bounds()), person)
    names = {name for one in all_ for name in one.by_model}
    return Bounds(
        tuple(claim for one in all_ for claim in one.always),
        {name: tuple(claim for one in all_ for claim in one.by_model.get(name, ())) for name in names},
    )


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_NAME])


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list):
        return [one for one in value[:MAX_VALUES] if isinstance(one, str) and one]
    return []


def _moment(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_MOMENT:
        raise TokenRefused("malformed_token", name)
    return float(value)


def _part(text: bytes) -> bytes:
    """Only as RFC 7515 writes it: other texts that mean the same bytes are other tokens."""
    try:
        found = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as exc:
        raise TokenRefused("malformed_token") from exc
    if base64.urlsafe_b64encode(found).rstrip(b"=") != text:
        raise TokenRefused("malformed_token")
    return found


def _object(data: bytes) -> Claims:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise TokenRefused("malformed_token") from exc
    if not isinstance(found, dict):
        raise TokenRefused("malformed_token")
    return found


def _digest(token: bytes) -> bytes:
    return hashlib.blake2b(token, digest_size=32).digest()
