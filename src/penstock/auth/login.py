"""A person signs in with an issuer: OpenID Connect, authorization code with PKCE (RFC 7636).

    begin     the browser goes to the issuer; state, nonce and code verifier stay in a sealed cookie, LOGIN_S
    finish    it comes back: the state is that of the cookie; the code is exchanged for an ID token, which is
              verified like any token, and holds our nonce
    who       the session's cookie -> who it is: until it expires, or `end`. What the issuer said is in it;
              what users, teams and roles of ours make of that is looked up each time

A session is its cookie: whoever has the server's secret can read it, so hosts share sessions without a store.
Which were ended is remembered by this process, and the others of its server, until they would have expired:
after a restart, or on another host, a copy that somebody took of an ended session's cookie is good again
until then.
"""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from penstock.auth.jwks import Metadata
from penstock.auth.policy import Issuer, Login, Policy
from penstock.auth.seal import MAX_CHARS, Sealer
from penstock.auth.tokens import Said, TokenRefused, Tokens, caller_of
from penstock.auth.web import Fetch, Headers, Unreachable
from penstock.lib.clock import Clock
from penstock.types.errors import IdentityUnavailable, InvalidRequest, PermissionDenied
from penstock.types.identity import VirtualKey
from penstock.types.others import Others

LOGIN_S: Final = 600.0
MAX_ENDED: Final = 100_000
SUBJECT: Final = "ended sessions"
RETRY_AFTER_S: Final = 5.0
_FORM: Final = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))


_encode_ended = msgspec.msgpack.Encoder().encode
_decode_ended = msgspec.msgpack.Decoder(tuple[str, float]).decode
_decode_all = msgspec.msgpack.Decoder(list[tuple[str, float]]).decode


class Pending(msgspec.Struct, frozen=True):
    """A login that has begun, as its cookie holds it."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_url: str
    after: str  # the path of ours to come back to
    expires_s: float


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person who is signed in, as the cookie holds it. Times are Unix seconds."""

    id: str
    provider: str
    expires_s: float
    said: Said


class Begun(msgspec.Struct, frozen=True):
    url: str  # where the browser goes
    cookie: str


class Finished(msgspec.Struct, frozen=True):
    key: VirtualKey
    cookie: str
    after: str


class Logins:
    def __init__(self, tokens: Tokens, fetch: Fetch, clock: Clock, secret: bytes) -> None:
        self._tokens = tokens
        self._fetch = fetch
        self._clock = clock
        self._pending = Sealer(secret, "login")
        self._sessions = Sealer(secret, "session")
        self._ended: OrderedDict[str, float] = OrderedDict()  # id -> when it would have expired

        self._others: Others | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(SUBJECT, lambda body: self._end(*_decode_ended(body)))
        others.answers(SUBJECT, self._answer)

    async def catch_up(self) -> None:
        """What has ended before this process began, as far as others of the server know."""
        for body in await self._others.ask(SUBJECT, b"") if self._others is not None else ():
            for id_, expires_s in _decode_all(body):
                self._end(id_, expires_s)

    async def _answer(self, body: bytes) -> bytes:  # noqa: ARG002 - there is one question
        return _encode_ended([*self._ended.items()])

    async def begin(self, issuer: Issuer, redirect_url: str, after: str) -> Begun:
        """Raises IdentityUnavailable."""
        login = _login_of(issuer)
        metadata = await self._metadata(issuer)
        pending = Pending(
            issuer.name,
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            redirect_url,
            after if is_local_path(after) else "/",
            self._clock.wall() + LOGIN_S,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest())
        query = urlencode(
            {
                "response_type": "code",
                "client_id": login.client_id,
                "redirect_uri": redirect_url,
                "scope": " ".join(login.scopes),
                "state": pending.state,
                "nonce": pending.nonce,
                "code_challenge": challenge.rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            },
            quote_via=quote,
        )
        joint = "&" if "?" in metadata.authorization_url else "?"
        cookie = self._pending.seal(msgspec.json.encode(pending))
        if len(cookie) > MAX_CHARS:
            cookie = self._pending.seal(msgspec.json.encode(msgspec.structs.replace(pending, after="/")))
        return Begun(f"{metadata.authorization_url}{joint}{query}", cookie)

    async def finish(self, policy: Policy, issuer: Issuer, answer: dict[str, str], cookie: str) -> Finished:
        """answer: the query that the issuer sent the browser back with.

        Raises InvalidRequest, PermissionDenied, IdentityUnavailable, TokenRefused.
        """
        login = _login_of(issuer)
        pending = self._opened(cookie)
        if pending is None or pending.provider != issuer.name:
            raise InvalidRequest("This login is not known here, or took too long; begin again.")
        if not hmac.compare_digest(pending.state.encode(), answer.get("state", "").encode()):
            raise InvalidRequest("This answer belongs to another login; begin again.", param="state")
        if answer.get("iss", issuer.issuer) != issuer.issuer:  # RFC 9207: another issuer's answer
            raise InvalidRequest("This answer is not of the issuer that was asked; begin again.", param="iss")
        if "error" in answer:
            detail = f"{answer['error']}: {answer.get('error_description', '')}"[:300]
            raise PermissionDenied("The identity provider did not sign you in.", detail=detail)
        code = answer.get("code", "")
        if not code:
            raise InvalidRequest("The identity provider sent no code; begin again.", param="code")
        token = await self._exchange(issuer, login, pending, code)
        said = await self._tokens.verify_login(issuer, login.client_id, token, pending.nonce)
        key = caller_of(issuer, said, policy.users)
        expires_s = self._clock.wall() + policy.session_s
        session = Session(secrets.token_urlsafe(18), issuer.name, expires_s, said)
        cookie = self._sessions.seal(msgspec.json.encode(session))
        if len(cookie) > MAX_CHARS:
            raise PermissionDenied("Your identity provider lists more routes than a session can hold.")
        return Finished(key, cookie, pending.after)

    def who(self, policy: Policy, cookie: str) -> tuple[Session, VirtualKey] | None:
        """Whose session it is. None once it has ended, or its user is off, or its issuer is gone."""
        content = self._sessions.open(cookie)
        if content is None:
            return None
        try:
            session = msgspec.json.decode(content, type=Session)
        except msgspec.DecodeError:  # of another release
            return None
        is_over = self._clock.wall() >= session.expires_s or session.id in self._ended
        issuer = policy.login(session.provider)
        if is_over or issuer is None:
            return None
        try:
            return session, caller_of(issuer, session.said, policy.users)
        except TokenRefused:
            return None

    def end(self, session: Session) -> None:
        if self._others is not None:
            self._others.tell(SUBJECT, _encode_ended((session.id, session.expires_s)))
        self._end(session.id, session.expires_s)

    def _end(self, id_: str, expires_s: float) -> None:
        now_s = self._clock.wall()
        while self._ended and (next(iter(self._ended.values())) <= now_s or len(self._ended) >= MAX_ENDED):
            self._ended.popitem(last=False)
        self._ended[id_] = expires_s

    def _opened(self, cookie: str) -> Pending | None:
        content = self._pending.open(cookie)
        if content is None:
            return None
        try:
            pending = msgspec.json.decode(content, type=Pending)
        except msgspec.DecodeError:
            return None
        return pending if self._clock.wall() < pending.expires_s else None

    async def _metadata(self, issuer: Issuer) -> Metadata:
        try:
            metadata = await self._tokens.keys_of(issuer).metadata()
            if not metadata.authorization_url or not metadata.token_url:
                raise Unreachable("its metadata names no authorization_endpoint or no token_endpoint")
        except Unreachable as exc:
            raise _unavailable(issuer, str(exc)) from exc
        return metadata

    async def _exchange(self, issuer: Issuer, login: Login, pending: Pending, code: str) -> bytes:
        """The ID token for the code."""
        metadata = await self._metadata(issuer)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": pending.redirect_url,
            "code_verifier": pending.verifier,
        }
        headers: Headers = _FORM
        if login.client_secret is not None and metadata.takes_basic:
            pair = f"{quote(login.client_id, safe='')}:{quote(login.client_secret, safe='')}"
            headers += (("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),)
        else:
            form["client_id"] = login.client_id
            if login.client_secret is not None:
                form["client_secret"] = login.client_secret
        try:
            status, body = await self._fetch("POST", metadata.token_url, headers, urlencode(form).encode())
        except Unreachable as exc:
            raise _unavailable(issuer, str(exc)) from exc
        try:
            told = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            told = None
        told = told if isinstance(told, dict) else {}
        token = told.get("id_token")
        if status >= 500:
            raise _unavailable(issuer, f"status {status}")
        if status != 200 or not isinstance(token, str):
            said = f"status {status}, {told.get('error')}: {told.get('error_description')}"[:300]
            raise PermissionDenied("The identity provider did not sign you in.", detail=said)
        return token.encode("utf-8", "replace")


def is_local_path(path: str) -> bool:
    """A path of ours: browsers take `//host`, and a backslash for either slash, for another host's."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isascii()
        and path.isprintable()
    )


def _login_of(issuer: Issuer) -> Login:
    if issuer.login is None:
        raise InvalidRequest("Nobody can sign in with this issuer: it has no client_id.")
    return issuer.login


def _unavailable(issuer: Issuer, said: str) -> IdentityUnavailable:
    return IdentityUnavailable(
        "The identity provider does not answer as it should; try again soon.",
        retry_after_s=RETRY_AFTER_S,
        detail=f"{issuer.name}: {said}"[:500],
    )
