"""Who calls, where that takes more than finding a key: terms, tokens, certificates; and what a failure costs.

    credential                      who it is of
    ------------------------------  ------------------------------------------------------------------
    a key with terms                that key, before its end and from its networks
    a bearer that looks like a JWT  whoever its claims say, once it is verified (auth/tokens.py)
    none, but a certificate         the key that the configuration maps it to (auth/certificates.py): our
                                    own handshake's, or the one in a trusted proxy's header; not where a
                                    page of another site sends the request, for browsers show it there, too
    none                            401: it says what to send

Every failure is counted, logged with its reason, and answered with words that do not tell that reason: an
expired key, a key from the wrong place and no key at all read the same. An address that fails again and again
is answered later (auth/attempts.py); what has a good credential never is.
"""

import asyncio
from typing import Final, Literal

import structlog

from penstock.auth import certificates
from penstock.auth.addresses import (
    client_address,
    is_loopback,
    is_within,
    leads_here,
    neighbourhood,
    origin_of,
)
from penstock.auth.attempts import Attempts
from penstock.auth.login import Logins
from penstock.auth.tokens import Reason as TokenReason
from penstock.auth.tokens import TokenRefused, Tokens, looks_like_one
from penstock.config.snapshot import Snapshot
from penstock.gateway.exchange import Exchange
from penstock.lib.clock import Clock
from penstock.telemetry.metrics import Metrics
from penstock.types.errors import (
    IdentityUnavailable,
    InvalidApiKey,
    PenstockError,
    PermissionDenied,
    RateLimitExceeded,
)
from penstock.types.identity import VirtualKey

Reason = (
    TokenReason
    | Literal[
        "no_credential", "unknown_key", "expired_key", "wrong_address", "unknown_certificate", "bad_login"
    ]
)
REFRESH_LOOK_S: Final = 5.0  # how often it is seen whether an issuer's keys are due
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})
_NOT_GUESSED: Final = frozenset[Reason]({"no_credential", "no_role", "keys_unavailable"})  # never slowed

_log = structlog.get_logger("penstock.auth")


class Callers:
    def __init__(self, tokens: Tokens, logins: Logins, metrics: Metrics, clock: Clock) -> None:
        self.logins = logins
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._attempts = Attempts()

    async def admit(
        self, snapshot: Snapshot, exchange: Exchange, secret: bytes, key: VirtualKey | None
    ) -> VirtualKey:
        """secret: empty where none was given. key: what it is the secret of, with terms.

        Raises InvalidApiKey, PermissionDenied, IdentityUnavailable, RateLimitExceeded.
        """
        if exchange.refused is not None:
            raise exchange.refused
        if key is not None:
            return await self._on_terms(snapshot, exchange, key)
        if not secret:
            return await self._certified(snapshot, exchange)
        policy = snapshot.identity
        if not policy.issuers or not looks_like_one(secret):
            raise await self.failed(snapshot, exchange, "unknown_key")
        known = self._tokens.remembered(policy, secret)
        if known is not None:
            return known
        try:
            return await self._tokens.verify(policy, secret)
        except (TokenRefused, IdentityUnavailable) as exc:
            raise await self.token_failed(snapshot, exchange, exc) from exc

    def address(self, snapshot: Snapshot, exchange: Exchange) -> str:
        """The client's, through trusted proxies; empty where it is not known."""
        forwarded = exchange.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return client_address(exchange.connection.peer, forwarded, snapshot.identity.proxies)

    def is_local(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """The client is on this machine (loopback or a Unix socket), and names nobody it speaks for."""
        if not self.is_from_proxy(snapshot, exchange) and not _FORWARDED.isdisjoint(exchange.headers):
            return False  # a proxy beside us that nobody told us of: whom it speaks for is anybody
        if not exchange.connection.peer:
            return True
        host = self.host(snapshot, exchange).decode("latin-1")
        # another name is such a proxy's, or a web page's that made its own name lead here (DNS rebinding)
        return is_loopback(self.address(snapshot, exchange)) and (not host or leads_here(host))

    def is_from_proxy(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        """Whether the peer is one whose headers about the client are believed."""
        proxies = snapshot.identity.proxies
        return bool(proxies) and is_within(exchange.connection.peer, proxies)

    def host(self, snapshot: Snapshot, exchange: Exchange) -> bytes:
        """Where the client asked, as a trusted proxy says or it says itself; empty where nobody does."""
        said = exchange.headers.get(b"host", b"")
        if self.is_from_proxy(snapshot, exchange):
            said = exchange.headers.get(b"x-forwarded-host", said)
        return said.strip()

    async def token_failed(
        self, snapshot: Snapshot, exchange: Exchange, exc: TokenRefused | IdentityUnavailable
    ) -> PenstockError:
        if isinstance(exc, IdentityUnavailable):
            return await self.failed(snapshot, exchange, "keys_unavailable", said=exc.detail, error=exc)
        error: PenstockError = InvalidApiKey("The token is not valid.", detail=exc.reason)
        if exc.reason == "no_role":
            error = PermissionDenied("Your token is good, but nothing in it gives you a role here.")
        return await self.failed(snapshot, exchange, exc.reason, said=exc.said, error=error)

    async def failed(
        self,
        snapshot: Snapshot,
        exchange: Exchange,
        reason: Reason,
        *,
        said: str = "",
        error: PenstockError | None = None,
    ) -> PenstockError:
        """What the client is told, after it has waited as long as its address has earned."""
        address = self.address(snapshot, exchange)
        self._metrics.auth_failed(reason)
        if reason != "no_credential":  # the line of the call says as much
            _log.info(
                "caller refused",
                id=exchange.id,
                path=exchange.path,
                address=address,
                reason=reason,
                said="".join([c if c.isprintable() else "?" for c in said]),
            )
        told = error if error is not None else InvalidApiKey("The API key is not valid.", detail=reason)
        if reason not in _NOT_GUESSED:
            where = neighbourhood(address)
            penalty = self._attempts.failed(where, self._clock.monotonic())
            if penalty.is_refused:
                told = RateLimitExceeded(
                    "Too many failed attempts from your address; wait and send a valid key.",
                    retry_after_s=penalty.delay_s,
                    detail=reason,
                )
            elif penalty.delay_s:
                try:
                    await asyncio.sleep(penalty.delay_s)
                finally:
                    self._attempts.waited(where)
        exchange.refused = told
        return told

    async def refresh(self, snapshot: Snapshot) -> None:
        """Fetches issuers' keys where they are due."""
        await self._tokens.refresh_due(snapshot.identity)

    async def aclose(self) -> None:
        await self._tokens.aclose()

    async def _on_terms(self, snapshot: Snapshot, exchange: Exchange, key: VirtualKey) -> VirtualKey:
        terms = key.terms
        if terms is None:
            return key
        if terms.expires_s is not None and self._clock.wall() >= terms.expires_s:
            raise await self.failed(snapshot, exchange, "expired_key", said=key.name)
        if terms.networks and not is_within(self.address(snapshot, exchange), terms.networks):
            raise await self.failed(snapshot, exchange, "wrong_address", said=key.name)
        return key

    async def _certified(self, snapshot: Snapshot, exchange: Exchange) -> VirtualKey:
        """Without any other credential: whom the client's certificate stands for."""
        try:
            der = self._certificate(snapshot, exchange)
            found = certificates.names(der) if der is not None else ()
        except ValueError as exc:
            raise await self.failed(snapshot, exchange, "unknown_certificate", said=str(exc)) from exc
        for name in found:
            key = snapshot.identity.certificates.get(name)
            if key is not None:
                return await self._on_terms(snapshot, exchange, key)
        if found:
            raise await self.failed(snapshot, exchange, "unknown_certificate", said=found[0])
        error = InvalidApiKey("No API key was given. Send the header `Authorization: Bearer <key>`.")
        raise await self.failed(snapshot, exchange, "no_credential", error=error)

    def _certificate(self, snapshot: Snapshot, exchange: Exchange) -> bytes | None:
        """DER. Raises ValueError for a trusted proxy's header that holds none."""
        policy = snapshot.identity
        if not policy.certificates or self._is_of_another_site(snapshot, exchange):
            return None
        if policy.certificate_header and self.is_from_proxy(snapshot, exchange):
            value = exchange.headers.get(policy.certificate_header, b"").strip()
            return certificates.from_header(value) if value else None
        return exchange.connection.certificate()

    def _is_of_another_site(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        origin = exchange.headers.get(b"origin")
        if origin is None:
            return False
        scheme, _, host = origin.decode("latin-1").lower().partition("://")
        return origin_of(scheme, host) != origin_of(scheme, self.host(snapshot, exchange).decode("latin-1"))
