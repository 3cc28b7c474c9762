"""People sign in with their issuer; the console builds on this.

    GET  /auth/login/{name}?next=/path   to the issuer; state in a cookie for this login alone
    GET  /auth/callback/{name}           back from it: a session cookie, and on to `next`
    POST /auth/logout                    ends the session
    GET  /auth/me                        who one is, as JSON: by session, or by any other credential
         /admin/v1/...                   takes a session, too (`caller`)

Cookies are HttpOnly and SameSite=Lax, and Secure wherever the browser came over TLS: their names begin with
`__Host-` then, so that no neighbour of our domain can set them. A session is no credential for model
requests, and changes something only for a page of ours: browsers say in `Origin` whose page asks, and
SameSite alone would let the pages of our neighbours ask, too.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import structlog

from penstock.auth.addresses import leads_here, origin_of
from penstock.auth.login import LOGIN_S, Session
from penstock.auth.policy import Issuer
from penstock.auth.tokens import TokenRefused
from penstock.config.snapshot import Snapshot
from penstock.gateway import pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.exchange import Exchange, header_lines
from penstock.types.errors import IdentityUnavailable, InvalidRequest, NotFound, PermissionDenied
from penstock.types.identity import VirtualKey

LOGIN_PATH: Final = "/auth/login/"
CALLBACK_PATH: Final = "/auth/callback/"
SESSION_COOKIE: Final = "penstock_session"
LOGIN_COOKIE: Final = "penstock_login"
MAX_COOKIES: Final = 32 * 1024
MAX_FIELDS: Final = 50
_READS: Final = frozenset({"GET", "HEAD"})

_log = structlog.get_logger("penstock.auth")


class SignIn:
    def __init__(self, snapshot: Callable[[], Snapshot], deps: Deps) -> None:
        self._snapshot = snapshot
        self._deps = deps

    async def login(self, exchange: Exchange) -> None:
        issuer = self._issuer(exchange.path.removeprefix(LOGIN_PATH))
        base = self._base_url(exchange)
        callers = self._deps.callers
        try:
            begun = await callers.logins.begin(
                issuer, f"{base}{CALLBACK_PATH}{issuer.name}", _query(exchange).get("next", "/")
            )
        except IdentityUnavailable as exc:
            raise await callers.token_failed(self._snapshot(), exchange, exc) from exc
        kept = _cookie(LOGIN_COOKIE, begun.cookie, LOGIN_S, is_secure=base.startswith("https:"))
        await _redirect(exchange, 302, begun.url, kept)

    async def callback(self, exchange: Exchange) -> None:
        snapshot, callers = self._snapshot(), self._deps.callers
        issuer = self._issuer(exchange.path.removeprefix(CALLBACK_PATH))
        is_secure = self._base_url(exchange).startswith("https:")
        cookie = _cookies(exchange).get(_named(LOGIN_COOKIE, is_secure=is_secure), "")
        try:
            done = await callers.logins.finish(snapshot.identity, issuer, _query(exchange), cookie)
        except (TokenRefused, IdentityUnavailable) as exc:
            raise await callers.token_failed(snapshot, exchange, exc) from exc
        except (InvalidRequest, PermissionDenied) as exc:
            said = exc.detail or exc.message
            raise await callers.failed(snapshot, exchange, "bad_login", said=said, error=exc) from exc
        _log.info("signed in", id=exchange.id, name=done.key.name, user=done.key.user, role=done.key.role)
        await _redirect(
            exchange,
            303,
            done.after,
            _cookie(SESSION_COOKIE, done.cookie, snapshot.identity.session_s, is_secure=is_secure),
            _cookie(LOGIN_COOKIE, "", 0, is_secure=is_secure),
        )

    async def logout(self, exchange: Exchange) -> None:
        is_secure = self._base_url(exchange).startswith("https:")
        found = self._session(exchange)
        if found is not None:
            self._require_own_page(exchange)
            self._deps.callers.logins.end(found[0])
        kept = _cookie(SESSION_COOKIE, "", 0, is_secure=is_secure)
        await _send(exchange, {"signed_in": False}, kept)

    async def me(self, exchange: Exchange) -> None:
        found = None if _has_credential(exchange) else self._session(exchange)
        if found is not None:
            session, key = found
        else:
            session, key = None, await pipeline.authenticate(self._snapshot(), exchange, self._deps)
        body = {
            "name": key.name,
            "user": key.user or None,
            "role": key.role,
            "team": key.team,
            "team_role": key.over_team if key.team is not None else None,
            "routes": sorted(key.routes) if key.routes is not None else None,
            "provider": session.provider if session is not None else None,
            "expires": int(session.expires_s) if session is not None else None,
        }
        await _send(exchange, body)

    async def caller(self, exchange: Exchange) -> VirtualKey:
        """Who asks for what is no model request: by session, where no other credential is sent.

        Raises what pipeline.authenticate raises, and PermissionDenied for a change that a page of somebody
        else asks for.
        """
        found = None if _has_credential(exchange) else self._session(exchange)
        if found is None:
            return await pipeline.authenticate(self._snapshot(), exchange, self._deps)
        if exchange.method not in _READS:
            self._require_own_page(exchange)
        return found[1]

    def _require_own_page(self, exchange: Exchange) -> None:
        """A browser says whose page asks with every request that is no GET."""
        if exchange.headers.get(b"origin", b"").lower() != self._base_url(exchange).encode("latin-1"):
            raise PermissionDenied(
                "A session changes something only for a page of this server (the header Origin); programs"
                " send a key."
            )

    def _session(self, exchange: Exchange) -> tuple[Session, VirtualKey] | None:
        """None also where nobody could have signed in: over plain HTTP from another machine."""
        cookies = _cookies(exchange)
        if not cookies:
            return None
        try:
            is_secure = self._base_url(exchange).startswith("https:")
        except InvalidRequest:
            return None
        cookie = cookies.get(_named(SESSION_COOKIE, is_secure=is_secure))
        if not cookie:
            return None
        return self._deps.callers.logins.who(self._snapshot().identity, cookie)

    def _issuer(self, name: str) -> Issuer:
        found = self._snapshot().identity.login(name)
        if found is None:
            raise NotFound("There is no such sign-in.")
        return found

    def _base_url(self, exchange: Exchange) -> str:
        """Where the browser finds us: as configured, else where it says it asked."""
        snapshot, callers = self._snapshot(), self._deps.callers
        if snapshot.identity.public_url:
            return snapshot.identity.public_url
        scheme = b"https" if exchange.connection.is_tls else b"http"
        if callers.is_from_proxy(snapshot, exchange):
            scheme = exchange.headers.get(b"x-forwarded-proto", scheme).strip().lower()
        name = callers.host(snapshot, exchange).decode("latin-1")
        if not name or not all(c.isalnum() or c in ".-_:[]" for c in name) or not name.isascii():
            raise InvalidRequest("The Host header is no host.")
        if scheme != b"https" and not leads_here(name):
            raise InvalidRequest(
                "Signing in needs https: serve TLS (`server.tls`), or set `identity.public_url`"
                " where a proxy does."
            )
        return origin_of("https" if scheme == b"https" else "http", name)


def _query(exchange: Exchange) -> dict[str, str]:
    try:
        pairs = parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as exc:
        raise InvalidRequest(f"The query has more than {MAX_FIELDS} fields.") from exc
    return dict(pairs)


def _has_credential(exchange: Exchange) -> bool:
    """What a program sends on purpose; browsers send cookies and certificates by themselves."""
    scheme = exchange.headers.get(b"authorization", b"").partition(b" ")[0]
    return scheme.lower() == b"bearer" or bool(pipeline.other_credentials(exchange))


def _cookies(exchange: Exchange) -> dict[str, str]:
    said = exchange.headers.get(b"cookie", b"")
    if len(said) > MAX_COOKIES:
        return {}
    pairs = (one.strip().partition("=") for one in said.decode("latin-1").split(";"))
    return {name: value for name, equals, value in pairs if equals}


def _named(name: str, *, is_secure: bool) -> str:
    return f"__Host-{name}" if is_secure else name


def _cookie(name: str, value: str, age_s: float, *, is_secure: bool) -> tuple[str, str]:
    kept = (
        f"{_named(name, is_secure=is_secure)}={value}; Path=/; Max-Age={int(age_s)}; HttpOnly; SameSite=Lax"
    )
    return "set-cookie", kept + ("; Secure" if is_secure else "")


async def _redirect(exchange: Exchange, status: int, to: str, *cookies: tuple[str, str]) -> None:
    lines = header_lines(("location", to), ("x-request-id", exchange.id), *_PRIVATE, *cookies)
    await exchange.send(status, b"", lines)


async def _send(exchange: Exchange, body: dict[str, Any], *cookies: tuple[str, str]) -> None:
    lines = header_lines(
        ("content-type", "application/json"), ("x-request-id", exchange.id), *_PRIVATE, *cookies
    )
    await exchange.send(200, msgspec.json.encode(body), lines)


_PRIVATE: Final = (("cache-control", "no-store"), ("referrer-policy", "no-referrer"))
