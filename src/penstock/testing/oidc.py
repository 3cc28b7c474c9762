"""An identity provider on a real socket: OpenID Connect discovery, keys, tokens, a sign-in that asks nothing.

    async with OidcProvider() as idp:
        idp.issuer                                  # http://127.0.0.1:54321
        idp.token(subject="ada", groups=["ml"])     # an access token, signed with the current key
        idp.rotate()                                # the next key, of its own id; the old one is gone
        idp.person = {"sub": "ada", "email": "ada@example.com"}   # who signs in from now on
        idp.behaviour = {"x-test-status": "503"}    # it is ill; `x-test-refuse`, `x-test-malformed`, ...

    GET  /.well-known/openid-configuration    what it says of itself
    GET  /jwks                                its public keys
    GET  /authorize                           redirects at once, with a code, if the request is right
    POST /token                               authorization_code with PKCE (S256); client_credentials

Keys are real, and made once per process: making an RSA key takes a tenth of a second. By hand:
`python -m penstock.testing.oidc --port 9100`.
"""

import base64
import functools
import hashlib
import itertools
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWS
from jwt.algorithms import get_default_algorithms

from penstock.testing.double import Answer, Double, Json, Recorded, by_hand, parser

__all__ = ["OidcProvider", "SigningKey", "main", "make_key"]

CODE_S = 60
TOKEN_S = 3600
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}


class SigningKey(NamedTuple):
    id: str
    algorithm: str
    private: Any

    @property
    def public(self) -> Json:
        """As it stands in a JWKS."""
        told: Json = get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        told.pop("key_ops", None)
        return {**told, "kid": self.id, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """Whatever they are: a JWS's payload may be anything."""
        told = {"kid": self.id, **(headers or {})}
        told = {name: value for name, value in told.items() if value is not None}
        return PyJWS().encode(msgspec.json.encode(claims), self.private, self.algorithm, headers=told)


@functools.cache
def make_key(number: int = 1, algorithm: str = "RS256") -> SigningKey:
    """The same one for the same arguments."""
    name = f"{algorithm.lower()}-{number}"
    if algorithm in _CURVES:
        return SigningKey(name, algorithm, ec.generate_private_key(_CURVES[algorithm]()))
    if algorithm == "EdDSA":
        return SigningKey(name, algorithm, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(name, algorithm, rsa.generate_private_key(public_exponent=65537, key_size=2048))


class _Grant(NamedTuple):
    """What a code stands for."""

    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str
    person: Json
    until_s: float


class OidcProvider(Double):
    """clients: id -> secret, None for a public client."""

    base = ""

    def __init__(self, *, clients: Mapping[str, str | None] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.clients = dict(clients) if clients is not None else {"penstock": "client-secret"}
        self.keys = [make_key()]
        self.person: Json = {"sub": "user-1", "email": "user@example.com", "email_verified": True}
        self.id_token: Json = {}  # claims that go over those of the next ID tokens
        self._numbers = itertools.count(2)
        self._grants: dict[str, _Grant] = {}

    @property
    def issuer(self) -> str:
        return self.url

    def rotate(self, algorithm: str = "RS256", *, keep: bool = False) -> SigningKey:
        """A new key, which signs from now on. keep: the old ones are still published."""
        key = make_key(next(self._numbers), algorithm)
        self.keys = [key, *(self.keys if keep else ())]
        return key

    def token(
        self,
        subject: str | None = "user-1",
        audience: str | list[str] = "penstock",
        *,
        expires_in: float = TOKEN_S,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """An access token (RFC 9068), signed with the current key. A claim that is None is left out."""
        now = int(self.clock.wall())
        told = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + int(expires_in),
            "jti": secrets.token_hex(8),
            **claims,
        }
        told = {name: value for name, value in told.items() if value is not None}
        return self.keys[0].sign(told, {"typ": "at+jwt", **(headers or {})})

    def error(self, status: int, message: str) -> Answer:
        return Answer({"error": "server_error", "error_description": message}, status=status)

    def answer(self, request: Recorded) -> Answer:
        if (status := request.directives.count("status")) is not None:
            return self.error(status, f"The test asked for {status}.")
        match request.method, request.path:
            case "GET", "/.well-known/openid-configuration":
                return Answer(self.metadata())
            case "GET", "/jwks":
                return Answer({"keys": [key.public for key in self.keys]})
            case "GET", "/authorize":
                return self._authorize(dict(parse_qsl(request.query)))
            case "POST", "/token":
                return self._token(dict(parse_qsl(request.raw.decode())), request.headers)
        return self.error(404, f"Unknown path {request.method} {request.path}.")

    def metadata(self) -> Json:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self.keys}),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def _authorize(self, asked: dict[str, str]) -> Answer:
        lacks = [
            name
            for name in ("client_id", "redirect_uri", "state", "nonce", "code_challenge")
            if not asked.get(name)
        ]
        if lacks or asked.get("client_id") not in self.clients:
            return Answer(_error("invalid_request", f"missing or unknown: {lacks}"), status=400)
        is_right = (
            asked.get("response_type") == "code"
            and asked.get("code_challenge_method") == "S256"
            and "openid" in asked.get("scope", "").split()
        )
        back = {"state": asked["state"], "iss": self.issuer}
        if is_right:
            code = secrets.token_urlsafe(16)
            self._grants[code] = _Grant(
                asked["client_id"],
                asked["redirect_uri"],
                asked["code_challenge"],
                asked["nonce"],
                dict(self.person),
                self.clock.wall() + CODE_S,
            )
            back["code"] = code
        else:
            back |= _error("invalid_request", "response_type, code_challenge_method or scope")
        return Answer({}, status=302, headers={"location": f"{asked['redirect_uri']}?{urlencode(back)}"})

    def _token(self, form: dict[str, str], headers: Mapping[str, str]) -> Answer:
        client_id, secret = form.get("client_id", ""), form.get("client_secret")
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
            client_id, secret = unquote(client_id), unquote(secret)
        if client_id not in self.clients or self.clients[client_id] != secret:
            return Answer(_error("invalid_client", "unknown client, or a wrong secret"), status=401)
        match form.get("grant_type"):
            case "client_credentials":
                token = self.token(
                    client_id,
                    form.get("audience", "penstock"),
                    client_id=client_id,
                    azp=client_id,
                    scope=form.get("scope", ""),
                )
                return Answer({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_S})
            case "authorization_code":
                return self._redeem(client_id, form)
        return Answer(_error("unsupported_grant_type", ""), status=400)

    def _redeem(self, client_id: str, form: dict[str, str]) -> Answer:
        grant = self._grants.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if (
            grant is None
            or grant.client_id != client_id
            or grant.redirect_uri != form.get("redirect_uri")
            or grant.challenge != challenge
            or self.clock.wall() >= grant.until_s
        ):
            return Answer(_error("invalid_grant", "the code is not good for this"), status=400)
        now = int(self.clock.wall())
        claims = {
            "iss": self.issuer,
            "aud": client_id,
            "iat": now,
            "exp": now + TOKEN_S,
            "nonce": grant.nonce,
        }
        told = {**claims, **grant.person, **self.id_token}
        return Answer(
            {
                "access_token": self.token(grant.person["sub"]),
                "id_token": self.keys[0].sign(told),
                "token_type": "Bearer",
                "expires_in": TOKEN_S,
            }
        )


def _error(code: str, said: str) -> dict[str, str]:
    return {"error": code, "error_description": said}


def main(arguments: list[str] | None = None) -> None:
    by_hand(OidcProvider, parser("oidc", __doc__.splitlines()[0] if __doc__ else ""), arguments)


if __name__ == "__main__":
    main()
