"""A token is believed when everything about it is right, and else not, whatever is done to it."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.auth import jwks, tokens
from penstock.auth.policy import Bounds, Claims, Issuer, Person, Policy
from penstock.auth.tokens import TokenRefused, Tokens
from penstock.auth.web import Unreachable, Web
from penstock.lib import http1
from penstock.testing.clock import FakeClock
from penstock.testing.oidc import OidcProvider, SigningKey, make_key
from penstock.types.errors import IdentityUnavailable
from penstock.types.identity import RoleName, VirtualKey
from penstock.types.ledger import Claim, Limit, Scope


class Setup(NamedTuple):
    idp: OidcProvider
    clock: FakeClock
    tokens: Tokens
    policy: Policy

    async def who(self, token: str | bytes) -> VirtualKey:
        raw = token.encode() if isinstance(token, str) else token
        return self.tokens.remembered(self.policy, raw) or await self.tokens.verify(self.policy, raw)

    async def reason(self, token: str | bytes) -> str:
        with pytest.raises(TokenRefused) as refused:
            await self.who(token)
        return refused.value.reason


@contextlib.asynccontextmanager
async def setup(**fields: Any) -> AsyncIterator[Setup]:
    clock = FakeClock()
    async with OidcProvider(clock=clock) as idp, http1.Client() as client:
        issuer = Issuer("corp", idp.issuer, frozenset({"penstock"}), **fields)
        made = Tokens(Web(client), clock)
        try:
            yield Setup(idp, clock, made, Policy(issuers={idp.issuer: (issuer,)}))
        finally:
            await made.aclose()


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_good_token_says_who_it_is() -> None:
    async with setup() as at:
        key = await at.who(at.idp.token("ada", email="ada@example.com"))
        digest = hashlib.blake2b(b"sub\0ada", digest_size=12).hexdigest()
        assert key.name == f"oidc:corp:{digest}"
        assert (key.user, key.role, key.routes) == ("ada@example.com", "developer", None)


async def test_the_same_token_again_is_remembered_until_it_expires() -> None:
    async with setup() as at:
        token = at.idp.token(expires_in=600).encode()
        key = await at.who(token)
        assert at.tokens.remembered(at.policy, token) is key
        assert (
            at.tokens.remembered(Policy(issuers=at.policy.issuers), token) is None
        )  # of another configuration
        await at.who(token)
        at.clock.advance(601)
        assert at.tokens.remembered(at.policy, token) is None
        await at.who(token)  # within the leeway
        at.clock.advance(60)
        assert await at.reason(token) == "expired_token"


async def test_nothing_is_remembered_for_longer_than_an_hour() -> None:
    async with setup() as at:
        token = at.idp.token(expires_in=10 * 3600).encode()
        await at.who(token)
        at.clock.advance(tokens.REMEMBERED_S - 1)
        assert at.tokens.remembered(at.policy, token) is not None
        at.clock.advance(1)
        assert at.tokens.remembered(at.policy, token) is None


async def test_a_program_that_is_called_as_a_person_is_is_somebody_else() -> None:
    async with setup() as at:
        person, program = at.idp.token("ada"), at.idp.token(None, client_id="ada")
        assert (await at.who(person)).name != (await at.who(program)).name


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"expires_in": -60}, "expired_token"),
        ({"exp": None}, "missing_claim"),
        ({"exp": "tomorrow"}, "malformed_token"),
        ({"exp": True}, "malformed_token"),
        ({"exp": 1e300}, "malformed_token"),
        ({"exp": 2**64 - 1}, "malformed_token"),
        ({"nbf": 1_800_000_061}, "early_token"),
        ({"iat": 1_800_000_061}, "early_token"),
        ({"audience": "another"}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": {"penstock": 1}}, "wrong_audience"),
        ({"iss": "https://evil.example"}, "unknown_issuer"),
        ({"iss": None}, "unknown_issuer"),
        ({"iss": ["x"]}, "unknown_issuer"),
        ({"subject": None}, "missing_claim"),
        ({"cnf": {"jkt": "x"}}, "bound_token"),
        ({"headers": {"typ": "logout+jwt"}}, "malformed_token"),
        ({"headers": {"crit": ["b64"], "b64": True}}, "malformed_token"),
    ],
)
async def test_claims_that_are_not_right(claims: dict[str, Any], reason: str) -> None:
    async with setup() as at:
        assert await at.reason(at.idp.token(**claims)) == reason


async def test_clocks_may_differ_by_the_leeway() -> None:
    async with setup() as at:
        for claims in ({"expires_in": -59}, {"nbf": 1_800_000_060}, {"iat": 1_800_000_060}):
            await at.who(at.idp.token(**claims))


async def test_of_several_audiences_one_is_enough() -> None:
    async with setup() as at:
        await at.who(at.idp.token(audience=["another", "penstock"]))


async def test_the_service_s_own_token_of_client_credentials() -> None:
    async with setup() as at:
        key = await at.who(at.idp.token(None, client_id="nightly-batch", azp="nightly-batch", scope="models"))
        assert key.user == "nightly-batch"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_algorithms(algorithm: str) -> None:
    async with setup() as at:
        at.idp.rotate(algorithm)
        await at.who(at.idp.token())


async def test_an_algorithm_that_is_not_configured() -> None:
    async with setup(algorithms=frozenset({"ES256"})) as at:
        assert await at.reason(at.idp.token()) == "wrong_algorithm"


async def test_unsigned_tokens_and_shared_secrets() -> None:
    async with setup() as at:
        _, claims, signature = at.idp.token().split(".")
        for algorithm in ("none", "None", "NONE", "nOnE", "", None, 5):
            forged = part({"alg": algorithm, "typ": "JWT"})
            assert await at.reason(f"{forged}.{claims}.{signature}") == "wrong_algorithm"
            assert await at.reason(f"{forged}.{claims}.") == "malformed_token"
        key = at.idp.keys[0]
        public = key.private.public_key()
        forms = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            json.dumps(key.public).encode(),
            b"",
        ]
        for secret in forms:
            signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': key.id})}.{claims}"
            forged = part(hmac.digest(secret, signed.encode(), "sha256"))
            assert await at.reason(f"{signed}.{forged}") == "wrong_algorithm"


async def test_another_key_under_the_same_id() -> None:
    async with setup() as at:
        await at.who(at.idp.token())
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        at.idp.keys = [SigningKey(at.idp.keys[0].id, "RS256", private)]
        assert await at.reason(at.idp.token()) == "bad_signature"


async def test_a_key_in_the_token_s_own_header_is_nobody_s() -> None:
    async with setup() as at:
        await at.who(at.idp.token())
        own = make_key(77)
        headers = {"jwk": own.public, "jku": "https://evil.example/jwks", "x5c": ["AAAA"]}
        claims = {"iss": at.idp.issuer, "aud": "penstock", "sub": "x", "exp": 1_800_000_600}
        assert await at.reason(own.sign(claims, headers)) == "unknown_signing_key"


async def test_a_token_without_a_key_id_is_tried_with_every_key() -> None:
    async with setup() as at:
        old = at.idp.keys[0]
        at.idp.rotate(keep=True)
        claims = {"iss": at.idp.issuer, "aud": "penstock", "sub": "x", "exp": 1_800_000_600}
        await at.who(old.sign(claims, {"kid": None}))


async def test_shapes_that_are_none() -> None:
    async with setup() as at:
        token = at.idp.token()
        header, claims, signature = token.split(".")
        spoilt = [
            *(token[:length] for length in range(0, len(token), 97)),
            token + "=",
            token + ".",
            token + "\n",
            f" {token}",
            f"{header}.{claims}.{signature}.{signature}",
            f"{header}..{signature}",
            "ey" + "A" * 20_000 + ".x.y",
            "[" * 30_000,
            f"{part(b'[' * 9000)}.{claims}.{signature}",
            f"{part(b'[1]')}.{claims}.{signature}",
            f"{header}.{part(b'not json')}.{signature}",
            f"{part({'alg': 'RS256', 'kid': 5})}.{claims}.{signature}",
            "\u00e9.\u00e9.\u00e9",
        ]
        for one in spoilt:
            assert await at.reason(one) in {"malformed_token", "bad_signature"}, one[:80]


@pytest.mark.timeout(120)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_of_a_good_token_is_one(
    data: st.DataObject, strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    """Bytes changed, left out, put in or moved, anywhere: also such that base64 would read alike."""
    token, keys = _LAW
    at = data.draw(st.integers(0, len(token) - 1))
    how = data.draw(st.sampled_from(["change", "remove", "insert", "flip", "swap", "case", "pad"]))
    character = data.draw(
        st.sampled_from([*"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0\x80"])
    ).encode("latin-1")
    mutated = {
        "change": token[:at] + character + token[at + 1 :],
        "remove": token[:at] + token[at + data.draw(st.integers(1, 40)) :],
        "insert": token[:at] + character + token[at:],
        "flip": token[:at] + bytes([token[at] ^ (1 << data.draw(st.integers(0, 7)))]) + token[at + 1 :],
        "swap": token[:at] + token[at : at + 2][::-1] + token[at + 2 :],
        "case": token[:at] + token[at : at + 1].swapcase() + token[at + 1 :],
        "pad": token + b"=" * data.draw(st.integers(1, 4)),
    }[how]
    if mutated == token:
        return

    async def check() -> None:
        clock = FakeClock()
        issuer = Issuer(
            "corp", "https://idp.example", frozenset({"penstock"}), jwks_url="https://idp.example/k"
        )

        async def fetch(*_: Any) -> tuple[int, bytes]:
            return 200, keys

        made = Tokens(fetch, clock)
        policy = Policy(issuers={issuer.issuer: (issuer,)})
        assert await made.verify(policy, token)
        assert made.remembered(policy, mutated) is None
        with pytest.raises(TokenRefused):
            await made.verify(policy, mutated)

    strictly(check)


def _law() -> tuple[bytes, bytes]:
    key = make_key()
    claims = {"iss": "https://idp.example", "aud": "penstock", "sub": "ada", "exp": 1_800_000_600}
    return key.sign(claims).encode(), json.dumps({"keys": [key.public]}).encode()


_LAW = _law()


# -- keys ------------------------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_at_once_and_made_up_ones_are_not_asked_for_again_and_again() -> None:
    async with setup() as at:
        old = at.idp.token()
        await at.who(old)
        asked = len(at.idp.requests)
        at.clock.advance(jwks.UNKNOWN_EVERY_S)
        at.idp.rotate()
        await at.who(at.idp.token())
        assert len(at.idp.requests) == asked + 2  # discovery and keys
        for number in range(20):
            assert (
                await at.reason(at.idp.token(headers={"kid": f"made-up-{number}"})) == "unknown_signing_key"
            )
        assert len(at.idp.requests) == asked + 2
        assert await at.reason(old) == "unknown_signing_key"  # what was remembered went with its key


async def test_many_at_once_fetch_once() -> None:
    async with setup() as at:
        found = await asyncio.gather(*(at.who(at.idp.token(f"user-{number}")) for number in range(20)))
        assert len({key.name for key in found}) == 20
        assert [request.path for request in at.idp.requests] == ["/.well-known/openid-configuration", "/jwks"]


async def test_an_issuer_that_is_down_at_first_is_503_and_then_up() -> None:
    async with setup() as at:
        token = at.idp.token()
        at.idp.behaviour = {"x-test-status": "500"}
        for _ in range(3):
            with pytest.raises(IdentityUnavailable) as raised:
                await at.who(token)
            assert raised.value.retry_after_s
        assert len(at.idp.requests) == 1  # not asked by every request
        at.idp.behaviour = {}
        at.clock.advance(jwks.RETRY_S)
        await at.who(token)


@pytest.mark.parametrize(
    "behaviour",
    [
        {"x-test-refuse": "1"},
        {"x-test-status": "503"},
        {"x-test-malformed": "0"},
        {"x-test-body": '{"keys": []}'},
        {"x-test-body": "[]"},
        {"x-test-body": "x" * (2 * 1024 * 1024)},
        {"x-test-omit": "jwks_uri,keys"},
    ],
    ids=lambda value: next(iter(value.items()))[1][:12],
)
async def test_the_last_good_keys_serve_for_a_day(behaviour: dict[str, str]) -> None:
    async with setup() as at:
        await at.who(at.idp.token())
        at.idp.behaviour = behaviour
        at.clock.advance(jwks.EVERY_S)
        await at.tokens.refresh_due(at.policy)
        await at.who(at.idp.token("another"))
        at.clock.advance(jwks.MAX_AGE_S - jwks.EVERY_S + 1)
        with pytest.raises(IdentityUnavailable):
            await at.who(at.idp.token("a third"))


async def test_an_issuer_that_hangs_is_not_waited_for_by_one_after_the_other() -> None:
    clock, asked = FakeClock(), 0

    async def hang(*_: Any) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        clock.advance(15.0)  # longer than RETRY_S
        raise Unreachable("nothing came")

    keys = jwks.KeySet(Issuer("corp", "https://idp.example", frozenset({"penstock"})), hang, clock)
    for _ in range(5):
        with pytest.raises(Unreachable):
            await keys.metadata()
        await keys.renew()
    assert asked == 2  # for a sign-in, and for keys
    assert keys.due_s == clock.monotonic() + jwks.AFTER_FAILURE_S


async def test_a_bug_of_a_fetch_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def fetch(*_: Any) -> tuple[int, bytes]:
        raise RuntimeError

    policy = Policy(issuers={"https://i.example": (Issuer("corp", "https://i.example", frozenset({"a"})),)})
    await Tokens(fetch, FakeClock()).refresh_due(policy)
    assert "keys of corp" in caplog.text


async def test_keys_are_fetched_every_hour_and_after_a_failure_every_minute() -> None:
    async with setup() as at:
        await at.tokens.refresh_due(at.policy)
        assert len(at.idp.requests) == 2
        await at.tokens.refresh_due(at.policy)
        assert len(at.idp.requests) == 2
        at.clock.advance(jwks.EVERY_S)
        at.idp.behaviour = {"x-test-status": "500"}
        await at.tokens.refresh_due(at.policy)
        await at.tokens.refresh_due(at.policy)
        assert len(at.idp.requests) == 3
        at.clock.advance(jwks.AFTER_FAILURE_S)
        at.idp.behaviour = {}
        await at.tokens.refresh_due(at.policy)
        assert len(at.idp.requests) == 5


async def test_metadata_of_another_issuer_is_not_believed() -> None:
    async with setup() as at:
        at.idp.behaviour = {
            "x-test-body": json.dumps({**at.idp.metadata(), "issuer": "https://evil.example"})
        }
        with pytest.raises(IdentityUnavailable):
            await at.who(at.idp.token())


async def test_keys_are_not_fetched_over_a_line_that_others_can_write_to() -> None:
    async with setup() as at:
        told = {**at.idp.metadata(), "jwks_uri": "http://192.0.2.1/jwks"}
        at.idp.behaviour = {"x-test-body": json.dumps(told)}
        with pytest.raises(IdentityUnavailable):
            await at.who(at.idp.token())


def test_keys_that_cannot_verify_are_passed_over() -> None:
    good, small = make_key(), rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    row = SigningKey("small", "RS256", small).public
    rows = [
        {**good.public, "kid": "enc", "use": "enc"},
        {**good.public, "kid": "ops", "key_ops": ["encrypt"]},
        {**good.public, "kid": "hs", "alg": "HS256"},
        {"kty": "oct", "k": "AAAA", "kid": "oct"},
        {"kty": "RSA", "kid": "torn", "n": "!!", "e": "AQAB"},
        {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        row,
        7,
        good.public,
    ]
    found = jwks.read_keys(json.dumps({"keys": rows}).encode(), frozenset({"RS256", "ES256"}))
    assert [key.id for key in found] == [good.id]
    with pytest.raises(ValueError, match="no key for"):
        jwks.read_keys(json.dumps({"keys": rows[:-1]}).encode(), frozenset({"RS256"}))


# -- what claims mean ------------------------------------------------------------------------------------


def meaning(said: dict[str, Any], users: dict[str, Person] | None = None, **fields: Any) -> VirtualKey:
    issuer = Issuer("corp", "https://idp.example", frozenset({"p"}), **fields)
    return tokens.caller_of(issuer, tokens.said_by(issuer, {"sub": "ada", **said}), users or {})


def test_the_most_powerful_of_the_roles() -> None:
    fields = {"claims": Claims(role="groups"), "roles": {"ops": "operator", "dev": "developer"}}
    assert meaning({"groups": ["dev", "ops", "x"]}, **fields).role == "operator"
    assert meaning({"groups": "dev"}, **fields).role == "developer"
    assert meaning({"groups": ["x"]}, **fields, default_role="viewer").role == "viewer"
    with pytest.raises(TokenRefused, match="no_role"):
        meaning({"groups": ["x"]}, **fields, default_role=None)


def test_names_with_dots() -> None:
    assert tokens.values({"realm_access": {"roles": ["a", 5, "b"]}}, "realm_access.roles") == ["a", "b"]
    assert tokens.values({"https://x.example/roles": ["a"]}, "https://x.example/roles") == ["a"]
    assert tokens.values({"a": "text"}, "a.b.c") == []
    assert tokens.values({"scope": "read write"}, "scope") == ["read", "write"]


def test_teams() -> None:
    there: dict[str, Any] = {"claims": Claims(team="dept"), "of_teams": {"ml": Bounds()}}
    assert meaning({"dept": ["all", "ml"]}, **there).team == "ml"
    assert meaning({"dept": "sales"}, **there).team is None
    assert meaning({"dept": "sales"}, **there, default_team="ml").team == "ml"
    table = {"g-1": "search", "g-2": "ads"}
    assert meaning({"groups": ["g-2", "g-1"]}, claims=Claims(team="groups"), teams=table).team == "search"
    assert meaning({"groups": ["g-9"]}, claims=Claims(team="groups"), teams=table).team is None
    rest = meaning({"groups": ["g-9"]}, claims=Claims(team="groups"), teams=table, default_team="ads")
    assert rest.team == "ads"


def test_what_limits_a_caller_and_its_team() -> None:
    limits, shared = (Limit("requests", 5, 60),), (Limit("requests", 50, 60),)
    of_big = (Limit("pico_usd", 10, "day"),)
    lab = Claim(Scope("team", "lab"), shared)
    key = meaning(
        {},
        default_team="lab",
        each=Bounds((Claim(Scope("user", ""), limits),), {"big": (Claim(Scope("user", " big"), of_big),)}),
        of_teams={"lab": Bounds((lab,))},
    )
    assert [claim.key for claim in key.claims] == [f"user:{key.name}", "team:lab"]
    assert key.claims[1] is lab
    assert [claim.key for claim in key.model_claims["big"]] == [f"user:{key.name} big"]
    again = meaning({}, default_team="lab", each=Bounds((Claim(Scope("user", ""), limits),)))
    assert again.claims[0].limits is key.claims[0].limits  # by which the ledger knows it again


def test_routes_are_those_that_both_allow() -> None:
    claims = {"models": ["chat", "smart"]}
    assert meaning(claims, claims=Claims(routes="models")).routes == {"chat", "smart"}
    both = meaning(claims, claims=Claims(routes="models"), routes=frozenset({"chat", "other"}))
    assert both.routes == {"chat"}
    assert meaning({}, claims=Claims(routes="models")).routes == frozenset()


def test_an_address_that_nobody_verified_is_not_shown() -> None:
    assert meaning({"email": "a@b.c", "email_verified": False}).user == "ada"
    assert meaning({"email": "a@b.c"}).user == "a@b.c"
    assert meaning({"email": "a\n" + "b" * 1000}).user == ("a?" + "b" * 1000)[:200]


@pytest.mark.parametrize(
    ("value", "good"),
    [(True, ["true"]), (False, ["false"]), (2, ["1", "2"]), ("true", ["true"]), ([True], ["true"])],
)
def test_what_is_required_may_be_no_text(value: Any, good: list[str]) -> None:
    """`email_verified` is true, and no text, in every token."""
    for claims in ({"exp": 100.0, "said": value}, {"exp": 100.0, "a": {"b": value}}):
        name = "said" if "said" in claims else "a.b"
        issuer = Issuer("corp", "i", frozenset({"p"}), require={name: frozenset(good)})
        assert tokens.checked(issuer, claims, 0.0) is claims
        other = Issuer("corp", "i", frozenset({"p"}), require={name: frozenset({"True", "1.0", "none", ""})})
        for wrong in (value, None, 1.0, 10**400, {"true": "true"}):
            with pytest.raises(TokenRefused, match="missing_claim"):
                tokens.checked(other, {"exp": 100.0, "said": wrong, "a": {"b": wrong}}, 0.0)


def test_what_is_required() -> None:
    issuer = Issuer("corp", "i", frozenset({"p"}), require={"tid": frozenset({"t-1", "t-2"})})
    claims = {"exp": 100.0, "tid": "t-2"}
    assert tokens.checked(issuer, claims, 0.0) is claims
    with pytest.raises(TokenRefused, match="missing_claim"):
        tokens.checked(issuer, {**claims, "tid": "t-3"}, 0.0)
    with pytest.raises(TokenRefused, match="malformed_token"):
        tokens.checked(issuer, {**claims, "exp": float("inf")}, 0.0)


# -- users of the store ----------------------------------------------------------------------------------

LIMIT = Claim(Scope("user", "user_1"), (Limit("requests", 5, 60),))


def of_a_user(said: dict[str, Any], *, role: RoleName = "developer", **fields: Any) -> VirtualKey:
    """Of Ann, who is an admin of search, and looks on in ads."""
    teams: dict[str, RoleName] = {"search": "admin", "ads": "viewer"}
    ann = Person("user_1", role, teams, Bounds((LIMIT,)))
    claims = Claims(user="email", team="group", role="level")
    users = {"ann@example.com": ann, "user_1": ann, "off@example.com": Person("user_2", "owner", is_off=True)}
    told = {"email": "Ann@example.com", **said}
    return meaning(
        told, users, **{"claims": claims, "of_teams": {"ads": Bounds(), "lab": Bounds()}, **fields}
    )


def test_a_token_of_a_user_is_of_their_team_with_their_role_there() -> None:
    key = of_a_user({})
    assert (key.user, key.team, key.role, key.over_team) == ("user_1", "search", "developer", "admin")
    assert key.claims == (LIMIT,)
    assert key.name.startswith("oidc:corp:")  # what it keeps is the subject's, as before
    looks_on = of_a_user({"group": "ads"})
    assert (looks_on.team, looks_on.role, looks_on.over_team) == ("ads", "viewer", "viewer")
    elsewhere = of_a_user({"group": "lab"})  # the issuer says so; they are no member
    assert (elsewhere.team, elsewhere.role, elsewhere.over_team) == ("lab", "developer", "developer")


def test_a_token_gives_no_more_than_its_user_has_and_its_user_no_more_than_it_says() -> None:
    levels = {"roles": {"chief": "admin", "guest": "viewer"}}
    assert of_a_user({"level": "chief"}, **levels).role == "developer"
    assert of_a_user({"level": "chief"}, role="owner", **levels).role == "admin"
    guest = of_a_user({"level": "guest"}, role="owner", **levels)
    assert (guest.role, guest.over_team) == ("viewer", "viewer")
    assert of_a_user({}, role="owner").role == "owner"  # the issuer gives no roles
    assert of_a_user({}, role="owner", default_role="developer").role == "developer"


def test_a_user_who_is_off_has_no_tokens() -> None:
    with pytest.raises(TokenRefused, match="disabled_user"):
        of_a_user({"email": "off@example.com"})


@pytest.mark.parametrize(
    "said",
    [
        {"email": "bob@example.com"},
        {"email": None},
        {"email_verified": False},
        {"email_verified": "false"},
        {"email_verified": "False"},
        {"email_verified": 0},
        {"email_verified": ""},
        {"email": ["", "ann@example.com"]},
    ],
    ids=str,
)
def test_who_is_no_user_is_what_the_issuer_says(said: dict[str, Any]) -> None:
    key = of_a_user(said, default_team="lab")
    is_ann = isinstance(said.get("email"), list)  # of several texts the first that is one
    assert (key.user == "user_1", key.team) == (is_ann, "search" if is_ann else "lab")
    if not is_ann:
        assert (key.role, key.team_role, key.claims) == ("developer", None, ())


@pytest.mark.parametrize("verified", [True, "true", "True", None])
def test_an_address_that_is_verified_or_not_spoken_of_is_the_user_s(verified: Any) -> None:
    assert of_a_user({"email_verified": verified}).user == "user_1"


def test_without_the_claim_no_token_is_a_user_s() -> None:
    assert of_a_user({}, claims=Claims()).user == "Ann@example.com"
    by_id = of_a_user({"uid": "user_1", "email_verified": False}, claims=Claims(user="uid"))
    assert by_id.user == "user_1"
