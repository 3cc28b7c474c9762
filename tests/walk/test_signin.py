"""A person signs in: a browser's steps, over real sockets, with an issuer that asks nothing."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme
from browsers import Browser
from gateways import KEY, chat, gateway, remote

from penstock.auth import attempts
from penstock.auth.login import is_local_path
from penstock.testing.oidc import OidcProvider
from penstock.testing.upstream import Upstream

FIELDS = (
    "audience: api, client_id: penstock, client_secret: client-secret,"
    " claims: {role: groups}, roles: {ops: admin}"
)


@contextlib.asynccontextmanager
async def browser(
    identity: str = "", *, fields: str = FIELDS, server: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Browser]:
    async with Upstream() as up, OidcProvider() as idp:
        idp.person = {"sub": "ada", "email": "ada@example.com", "groups": ["ops"]}
        written = f"identity:\n  oidc: {{corp: {{issuer: '{idp.issuer}', {fields}}}}}\n  {identity}\n{server}"
        async with gateway(remote(up.url, written), tls=tls) as gate:
            yield Browser(gate, idp)


async def test_signing_in_and_out() -> None:
    async with browser() as at:
        done = await at.sign_in("/console?tab=keys")
        assert (done.status, done.headers["location"]) == (303, "/console?tab=keys")
        assert list(at.cookies) == ["penstock_session"]
        assert at.attributes["penstock_session"] == "Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"
        me = (await at.go("/auth/me")).json
        assert (me["user"], me["role"], me["provider"]) == ("ada@example.com", "admin", "corp")
        kept = dict(at.cookies)
        assert (await at.go("/auth/logout", method="POST", origin=at.gate.url)).json == {"signed_in": False}
        assert at.cookies == {}
        assert (await at.go("/auth/me")).status == 401
        at.cookies = kept  # somebody has a copy of it
        assert (await at.go("/auth/me")).status == 401


async def test_the_answer_of_another_login_is_refused() -> None:
    async with browser() as at:
        begun = await at.go("/auth/login/corp")
        back = await at.authorize(begun.headers["location"])
        kept = dict(at.cookies)
        cases: list[tuple[dict[str, str], str]] = [
            ({}, back),  # another browser: login CSRF
            (kept, back.replace("state=", "state=x")),
            (kept, back.replace("code=", "cod=")),
            (kept, back + "&iss=https://evil.example"),
            (kept, "/auth/callback/corp"),
            ({"penstock_login": kept["penstock_login"][:-4] + "AAAA"}, back),
        ]
        for cookies, path in cases:
            at.cookies = dict(cookies)
            answer = await at.go(path)
            assert answer.error[:2] == (400, "invalid_request"), path
            assert "penstock_session" not in at.cookies
        at.cookies = dict(kept)
        assert (await at.go(back)).status == 303
        at.cookies = kept
        assert (await at.go(back)).status == 403  # the code is used up


async def test_what_the_issuer_refuses() -> None:
    async with browser() as at:
        begun = await at.go("/auth/login/corp")
        state = dict(parse_qsl(urlsplit(begun.headers["location"]).query))["state"]
        denied = await at.go(
            f"/auth/callback/corp?error=access_denied&error_description=%3Cb%3E&state={state}"
        )
        assert denied.error[:2] == (403, "permission_denied")
        assert "<b>" not in denied.body.decode()


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"nonce": "another"}, 401),
        ({"aud": "another"}, 401),
        ({"aud": ["penstock", "x"], "azp": "x"}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"exp": 1}, 401),
        ({"sub": None}, 401),
        ({"groups": ["sales"]}, 403),
        ({}, 303),
    ],
)
async def test_the_id_token_is_verified(claims: dict[str, Any], status: int) -> None:
    async with browser() as at:
        at.idp.id_token = claims
        assert (await at.sign_in()).status == status
        assert ("penstock_session" in at.cookies) == (status == 303)


async def test_an_issuer_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_S", 0.001)
    async with browser() as at:
        begun = await at.go("/auth/login/corp")
        back = await at.authorize(begun.headers["location"])
        for behaviour, status in (
            ({"x-test-status": "503"}, 503),
            ({"x-test-refuse": "1"}, 503),
            ({"x-test-malformed": "0"}, 403),
        ):
            at.idp.behaviour = behaviour
            kept = dict(at.cookies)
            assert (await at.go(back)).status == status
            at.cookies = kept


async def test_a_public_client_has_no_secret() -> None:
    fields = "audience: api, client_id: spa"
    async with browser(fields=fields) as at:
        at.idp.clients["spa"] = None
        assert (await at.sign_in()).status == 303
        assert (await at.go("/auth/me")).json["role"] == "developer"


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/%5Cevil.example", "evil", "/a%0D%0Ax:%20y"]
)
async def test_it_leads_to_nobody_else(after: str) -> None:
    async with browser() as at:
        assert (await at.sign_in(after)).headers["location"] == "/"


@pytest.mark.parametrize("letter", ["x", '"'])
async def test_a_way_back_that_no_cookie_holds_is_forgotten(letter: str) -> None:
    async with browser() as at:
        after = f"/c?{letter * 1000}"
        assert (await at.sign_in(after)).headers["location"] == after
        assert (await at.sign_in(after * 5)).headers["location"] == "/"


def test_local_paths() -> None:
    assert is_local_path("/")
    assert is_local_path("/a/b?c=d#e")
    assert not any(map(is_local_path, ["", "a", "//a", "/\\a", "\\\\a", "/a\n", "/\u00e9", "javascript:1"]))


async def test_a_session_is_no_credential_for_models_and_a_key_goes_before_it() -> None:
    async with browser() as at:
        await at.sign_in()
        cookie = f"penstock_session={at.cookies['penstock_session']}"
        answer = await at.gate.post(
            "/v1/chat/completions", chat(), headers={"authorization": "", "cookie": cookie}
        )
        assert answer.status == 401
        assert (await at.gate.get("/auth/me", headers={"cookie": cookie})).json["name"] == "test"


async def test_cookies_that_are_none() -> None:
    async with browser() as at:
        for value in ("x", "A" * 5000, "\u00e9", "AAAA" * 30):
            at.cookies = {"penstock_session": value}
            assert (await at.go("/auth/me")).status == 401


async def test_a_neighbour_s_odd_cookie_hides_nothing() -> None:
    async with browser() as at:
        await at.sign_in()
        at.cookies = {"odd": '{"a": [1, "b c"]}', **at.cookies}
        assert (await at.go("/auth/me")).json["user"] == "ada@example.com"


async def test_there_is_no_such_sign_in() -> None:
    async with browser() as at:
        assert (await at.go("/auth/login/nobody")).error[:2] == (404, "not_found")
        assert (await at.go("/auth/callback/nobody?code=x")).status == 404
        assert (await at.go("/auth/logout")).status == 405


async def test_off_loopback_it_needs_https() -> None:
    async with browser() as at:
        answer = await at.gate.open("/auth/login/corp", headers={"x-forwarded-proto": "https"}, method="GET")
        await answer.read(10_000)
        assert answer.status == 302  # here, where plain HTTP is allowed; the header is nobody's word
        assert b"http%3A%2F%2F127.0.0.1" in next(
            value for name, value in answer.headers if name == b"location"
        )
    async with browser("trusted_proxies: [127.0.0.1]") as at:
        headers = {"x-forwarded-host": "ai.example.com", "x-forwarded-proto": "http"}
        refused = await at.go("/auth/login/corp", **headers)
        assert refused.error[0] == 400
        begun = await at.go("/auth/login/corp", **(headers | {"x-forwarded-proto": "https"}))
        assert (
            "redirect_uri=https%3A%2F%2Fai.example.com%2Fauth%2Fcallback%2Fcorp" in begun.headers["location"]
        )
        assert at.attributes["__Host-penstock_login"].endswith("; Secure")
        spoilt = await at.go("/auth/login/corp", **(headers | {"x-forwarded-host": "a b/c"}))
        assert spoilt.error[0] == 400


async def test_a_query_of_too_many_fields() -> None:
    async with browser() as at:
        many = "&".join(["a=b"] * 60)
        for path in ("/auth/login/corp", "/auth/callback/corp"):
            assert (await at.go(f"{path}?{many}")).error[:2] == (400, "invalid_request")


async def test_a_key_says_who_it_is_over_plain_http_too() -> None:
    async with browser("trusted_proxies: [127.0.0.1]") as at:
        await at.sign_in()
        elsewhere = {"x-forwarded-host": "penstock.example.com", "x-forwarded-proto": "http"}
        assert (await at.go("/auth/me", authorization=f"Bearer {KEY}", **elsewhere)).json["name"] == "test"
        assert (await at.go("/auth/me", **elsewhere)).status == 401  # no place for sessions


async def test_the_configured_address_is_where_browsers_come_back() -> None:
    async with browser("public_url: https://ai.example.com") as at:
        begun = await at.go("/auth/login/corp")
        assert "redirect_uri=https%3A%2F%2Fai.example.com%2Fauth" in begun.headers["location"]
        assert (await at.go(await at.authorize(begun.headers["location"]))).status == 303
        assert list(at.cookies) == ["__Host-penstock_session"]


@pytest.mark.parametrize(
    ("identity", "sent"),
    [
        ("public_url: 'https://AI.example.com:443'", {}),
        ("trusted_proxies: [127.0.0.1]", {"x_forwarded_host": "AI.example.com:443"}),
        ("trusted_proxies: [127.0.0.1]", {"x_forwarded_host": "ai.example.com"}),
    ],
)
async def test_a_port_that_goes_without_saying_is_the_same_place(identity: str, sent: dict[str, str]) -> None:
    async with browser(identity) as at:
        sent |= {"x_forwarded_proto": "https"}
        begun = await at.go("/auth/login/corp", **sent)
        assert "redirect_uri=https%3A%2F%2Fai.example.com%2Fauth" in begun.headers["location"]
        assert (await at.go(await at.authorize(begun.headers["location"]), **sent)).status == 303
        logout = {**sent, "method": "POST"}
        for other in ("https://ai.example.com:444", "http://ai.example.com", "https://evil.example"):
            assert (await at.go("/auth/logout", origin=other, **logout)).status == 403
        assert (await at.go("/auth/logout", origin="https://ai.example.com", **logout)).status == 200


async def test_over_our_own_tls(tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    server = f"server: {{tls: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}"
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    async with browser(server=server, tls=context) as at:
        assert (await at.sign_in()).status == 303
        assert (await at.go("/auth/me")).json["user"] == "ada@example.com"
        assert at.attributes["__Host-penstock_session"].endswith("; Secure")


async def test_a_session_ends_with_its_time_and_with_its_issuer() -> None:
    async with browser("session: 1ms") as at:
        await at.sign_in()
        assert (await at.go("/auth/me")).status == 401


async def test_more_routes_than_a_cookie_holds() -> None:
    fields = "audience: api, client_id: penstock, client_secret: client-secret, claims: {routes: models}"
    async with browser(fields=fields) as at:
        at.idp.person = {"sub": "ada", "models": [f"model-{number:04}" for number in range(400)]}
        assert (await at.sign_in()).error[:2] == (403, "permission_denied")
        at.idp.person = {"sub": "ada", "models": ["m"]}
        assert (await at.sign_in()).status == 303
        assert (await at.go("/auth/me")).json["routes"] == ["m"]


async def test_an_issuer_that_is_down_is_not_asked_by_everybody_who_would_sign_in() -> None:
    async with Upstream() as up, OidcProvider() as idp:
        idp.behaviour = {"x-test-status": "500"}
        written = (
            f"identity: {{oidc: {{corp: {{issuer: '{idp.issuer}', audience: a, client_id: penstock}}}}}}"
        )
        async with gateway(remote(up.url, written)) as gate:
            at = Browser(gate, idp)
            for _ in range(5):
                answer = await at.go("/auth/login/corp")
                assert answer.error[:2] == (503, "identity_unavailable")
            assert len(idp.requests) <= 2  # the keys at start, and one of these
