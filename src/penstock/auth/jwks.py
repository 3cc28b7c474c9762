"""The keys an issuer signs with (RFC 7517), and where to find them (OpenID Connect Discovery 1.0).

    at start, then every hour    fetched in the background; after a failure every minute
    a key id nobody knows        fetched at once, at most every UNKNOWN_EVERY_S: issuers change their keys,
                                 and anybody can make key ids up
    the issuer is down           the last good keys serve, at most MAX_AGE_S; without any: 503, tried again at
                                 most every RETRY_S

However many requests want keys, one fetch is under way. A key set is replaced whole, or not at all.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from penstock.auth.policy import Issuer
from penstock.auth.web import Fetch, Unreachable, is_safe
from penstock.lib import tasks
from penstock.lib.clock import Clock

EVERY_S: Final = 3600.0
AFTER_FAILURE_S: Final = 60.0
UNKNOWN_EVERY_S: Final = 30.0
RETRY_S: Final = 5.0
MAX_AGE_S: Final = 24 * 3600.0
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"

_NEVER: Final = float("-inf")
_GET: Final = (("accept", "application/json"),)
# algorithm -> what a key must be for it: kind, and curve where it has one
_FITS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}

_log = structlog.get_logger("penstock.auth")


class Metadata(NamedTuple):
    """What an issuer says of itself."""

    jwks_url: str
    authorization_url: str
    token_url: str
    takes_basic: bool  # the client's secret in the header; else in the form


class Key(NamedTuple):
    id: str | None
    keys: Mapping[str, PyJWK]  # algorithm -> it, ready to verify


def read_keys(body: bytes, algorithms: frozenset[str]) -> tuple[Key, ...]:
    """The keys of a JWKS that can verify any of `algorithms`; others are passed over. Raises ValueError."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ValueError("is not JSON") from exc
    rows = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(rows, list):
        raise ValueError("has no list `keys`")  # noqa: TRY004 - of what was fetched, not of an argument
    found = [key for row in rows[:MAX_KEYS] if (key := _key(row, algorithms)) is not None]
    if not found:
        raise ValueError("has no key for " + ", ".join(sorted(algorithms)))
    return tuple(found)


def _key(row: Any, algorithms: frozenset[str]) -> Key | None:
    if not isinstance(row, dict) or row.get("use", "sig") != "sig":
        return None
    operations = row.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    public = {name: value for name, value in row.items() if name not in _PRIVATE}
    said, name = row.get("alg"), row.get("kid")
    found: dict[str, PyJWK] = {}
    for algorithm in algorithms:
        kind, curve = _FITS[algorithm]
        if row.get("kty") != kind or row.get("crv") != curve or said not in (None, algorithm):
            continue
        try:
            made = PyJWK(public, algorithm)
        except (PyJWTError, ValueError, TypeError):
            continue
        if kind == "RSA" and made.key.key_size < MIN_RSA_BITS:
            continue
        found[algorithm] = made
    return Key(name if isinstance(name, str) else None, found) if found else None


_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


async def discover(fetch: Fetch, issuer: str, *, is_insecure: bool) -> Metadata:
    """Raises Unreachable."""
    url = issuer.rstrip("/") + DISCOVERY_PATH
    status, body = await fetch("GET", url, _GET)
    try:
        told = msgspec.json.decode(body) if status == 200 else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Unreachable(f"{url}: no metadata (status {status})")
    if told.get("issuer") != issuer:
        raise Unreachable(
            f"{url}: says it is {str(told.get('issuer'))[:200]!r}; write exactly that as `issuer`"
        )
    urls = [told.get(name) for name in ("jwks_uri", "authorization_endpoint", "token_endpoint")]
    for one in urls:
        if one is not None and not (isinstance(one, str) and is_safe(one, is_insecure=is_insecure)):
            raise Unreachable(f"{url}: names {str(one)[:200]!r}, which is no https URL")
    if not urls[0]:
        raise Unreachable(f"{url}: names no jwks_uri")
    methods = told.get("token_endpoint_auth_methods_supported")
    takes_basic = not isinstance(methods, list) or "client_secret_basic" in methods
    return Metadata(urls[0], urls[1] or "", urls[2] or "", takes_basic)


class KeySet:
    """What is known of one issuer's keys."""

    def __init__(
        self, issuer: Issuer, fetch: Fetch, clock: Clock, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._keys: tuple[Key, ...] = ()
        self._body = b""
        self._metadata: Metadata | None = None
        self._fetched_s = self._tried_s = self._vain_s = _NEVER
        self._discovering = asyncio.Lock()
        self._running: tasks.Tasks = set()

    @property
    def is_usable(self) -> bool:
        return self._clock.monotonic() - self._fetched_s <= MAX_AGE_S

    @property
    def due_s(self) -> float:
        """When to fetch again, were nobody to ask (monotonic)."""
        failed = self._tried_s > self._fetched_s
        return self._tried_s + (AFTER_FAILURE_S if failed else EVERY_S)

    def fitting(self, key_id: str | None, algorithm: str) -> list[PyJWK]:
        """The keys that may have signed: the one that is named; where none is, all of that algorithm."""
        if not self.is_usable:
            return []
        return [
            key.keys[algorithm]
            for key in self._keys
            if algorithm in key.keys and (key_id is None or key.id == key_id)
        ]

    async def renew(self) -> None:
        """Fetches because a key is missing, unless that was tried just now."""
        if not self._running:
            wait_s = UNKNOWN_EVERY_S if self.is_usable else RETRY_S
            if self._clock.monotonic() - self._tried_s < wait_s:
                return
        await self.refresh()

    async def refresh(self) -> None:
        """Fetches, or waits for the fetch that is under way. Never raises for what the issuer does."""
        running = next(iter(self._running), None)
        if running is None:
            running = tasks.spawn(self._running, self._refresh(), f"keys of {self._issuer.name}")
        await asyncio.wait((running,))  # whatever becomes of it: a waiter that leaves does not end it

    async def metadata(self) -> Metadata:
        """For sign-ins: anybody may begin one, so an issuer that is down is not asked for each.

        Raises Unreachable.
        """
        return await self._discover(again=False)

    async def aclose(self) -> None:
        for task in list(self._running):
            await tasks.cancel_and_wait(task)

    async def _discover(self, *, again: bool) -> Metadata:
        async with self._discovering:
            if self._metadata is not None and not again:
                return self._metadata
            if not again and self._clock.monotonic() - self._vain_s < RETRY_S:
                raise Unreachable("it was asked just now, in vain")
            issuer = self._issuer
            try:
                self._metadata = await discover(self._fetch, issuer.issuer, is_insecure=issuer.is_insecure)
            except Unreachable:
                self._vain_s = self._clock.monotonic()  # after it: one that hangs would else be due at once
                raise
            return self._metadata

    async def _refresh(self) -> None:
        self._tried_s = self._clock.monotonic()
        try:
            url = self._issuer.jwks_url
            if url is None:
                url = (await self._discover(again=True)).jwks_url
            status, body = await self._fetch("GET", url, _GET)
            if status != 200:
                raise Unreachable(f"{url}: status {status}")
            try:
                keys = read_keys(body, self._issuer.algorithms)
            except ValueError as exc:
                raise Unreachable(f"{url}: {exc}") from exc
        except Unreachable as exc:
            self._tried_s = self._clock.monotonic()
            _log.warning(
                "the keys of an issuer could not be fetched",
                issuer=self._issuer.name,
                reason=str(exc),
                has_keys=self.is_usable,
            )
            return
        self._fetched_s = self._tried_s
        if body != self._body:
            self._keys, self._body = keys, body
            self._on_change()
