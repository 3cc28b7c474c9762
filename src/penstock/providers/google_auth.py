"""Google's OAuth tokens for programs: a key file, a signed statement, a token for an hour.

    service_account    a JWT (RFC 7523), signed RS256 with the key's private half, is exchanged for a token
    authorized_user    what `gcloud auth application-default login` writes: a refresh token is exchanged

A token is kept until EARLY_S before it expires. Calls that come while one is fetched wait for that one.
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import asyncio
import base64
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from penstock.lib.clock import Clock
from penstock.types.deployment import Address, Fetch, Outgoing
from penstock.types.errors import PenstockError, UpstreamCredentials

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
EARLY_S = 60.0
LIFETIME_S = 3600
_SHORTEST_S = 1.0
_FORM = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_encode = msgspec.json.Encoder().encode


class Key(Protocol):
    """What a key file holds, ready to ask for tokens."""

    token_url: str
    project: str | None
    quota_project: str | None

    def form(self, now_s: float) -> dict[str, str]:
        """What is sent to `token_url`."""
        ...


class ServiceAccount:
    quota_project: str | None = None

    def __init__(self, told: dict[str, Any]) -> None:
        self.token_url = _url(told.get("token_uri"))
        self.project = _word(told, "project_id", required=False)
        self._email = _word(told, "client_email")
        self._key_id = _word(told, "private_key_id", required=False)
        pem = _word(told, "private_key") or ""
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ValueError("service_account: its private_key is no private key in PEM format") from exc
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("service_account: its private_key is no RSA key")  # noqa: TRY004 - a value in a file
        self._key = key

    def form(self, now_s: float) -> dict[str, str]:
        return {"grant_type": _GRANT, "assertion": self.assertion(now_s)}

    def assertion(self, now_s: float) -> str:
        header = {"alg": "RS256", "typ": "JWT"}
        if self._key_id:
            header["kid"] = self._key_id
        issued = int(now_s)
        claims = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": issued,
            "exp": issued + LIFETIME_S,
        }
        signed = b".".join((_base64url(_encode(header)), _base64url(_encode(claims))))
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return b".".join((signed, _base64url(signature))).decode()


class AuthorizedUser:
    project: str | None = None

    def __init__(self, told: dict[str, Any]) -> None:
        self.token_url = _url(told.get("token_uri"))
        self.quota_project = _word(told, "quota_project_id", required=False)
        self._form = {
            "grant_type": "refresh_token",
            "client_id": _word(told, "client_id") or "",
            "client_secret": _word(told, "client_secret") or "",
            "refresh_token": _word(told, "refresh_token") or "",
        }

    def form(self, now_s: float) -> dict[str, str]:  # noqa: ARG002 - of the Protocol
        return self._form


def read_key(given: str) -> Key:
    """A key file's JSON, or its path. Raises ValueError, which never repeats what is in it."""
    text = given.strip()
    if not text.startswith("{"):
        try:
            text = Path(text).expanduser().read_text("utf-8")
        except (OSError, ValueError) as exc:
            raise ValueError("service_account: there is no readable key file at that path") from exc
    try:
        told = msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise ValueError("service_account: the key file is not JSON") from exc
    kind = told.get("type") if isinstance(told, dict) else None
    if kind == "service_account":
        return ServiceAccount(told)
    if kind == "authorized_user":
        return AuthorizedUser(told)
    raise ValueError("service_account: the key file's type must be service_account or authorized_user")


class GoogleSigner:
    """Satisfies `penstock.types.deployment.Signer`."""

    def __init__(self, key: Key, clock: Clock, *, name: str) -> None:
        self._key = key
        self._clock = clock
        self._name = name
        self._headers: tuple[tuple[str, str], ...] = ()
        self._good_until_s = 0.0  # monotonic
        self._lock = asyncio.Lock()

    async def sign(self, fetch: Fetch, address: Address, outgoing: Outgoing) -> tuple[tuple[str, str], ...]:  # noqa: ARG002
        if self._clock.monotonic() < self._good_until_s:
            return self._headers
        async with self._lock:
            if self._clock.monotonic() >= self._good_until_s:  # the one who had the lock may have brought it
                await self._refresh(fetch)
            return self._headers

    async def _refresh(self, fetch: Fetch) -> None:
        asked_s = self._clock.monotonic()
        form = urlencode(self._key.form(self._clock.wall())).encode()
        try:
            status, body = await fetch(self._key.token_url, _FORM, form)
        except PenstockError as exc:
            raise UpstreamCredentials(
                f"{self._name}: no access token could be fetched.", detail=exc.message
            ) from exc
        try:
            told = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = None
        told = told if isinstance(told, dict) else {}
        token, lifetime_s = told.get("access_token"), told.get("expires_in", LIFETIME_S)
        is_plain = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
        if status != 200 or not token or not is_plain:
            detail = f"{told.get('error')}: {told.get('error_description')}"[:300]
            raise UpstreamCredentials(
                f"{self._name}: Google gave no access token (status {status}).", detail=detail
            )
        if not isinstance(lifetime_s, int | float) or not 0 < lifetime_s <= 24 * 3600:
            lifetime_s = LIFETIME_S
        self._headers = (("authorization", f"Bearer {token}"),)
        if self._key.quota_project:
            self._headers += (("x-goog-user-project", self._key.quota_project),)
        self._good_until_s = asked_s + max(lifetime_s - EARLY_S, _SHORTEST_S)


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _word(told: dict[str, Any], name: str, *, required: bool = True) -> str | None:
    value = told.get(name)
    if isinstance(value, str) and value:
        return value
    if required:
        raise ValueError(f"service_account: the key file lacks {name}")
    return None


def _url(given: Any) -> str:
    """Where tokens come from: the key would sign for whoever is named here, so it must be https."""
    if given is None:
        return TOKEN_URL
    parts = urlsplit(given) if isinstance(given, str) else None
    local = parts is not None and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts is None or not parts.hostname or not (parts.scheme == "https" or local):
        raise ValueError("service_account: token_uri must be an https URL")
    return str(given)
