"""Who is let in, and who is not: tokens, terms of keys, proxies, certificates, and what failing costs."""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import trustme
from gateways import KEY, Answer, Gateway, chat, gateway, remote

from penstock.auth import attempts
from penstock.lib import http1
from penstock.testing.oidc import OidcProvider, make_key
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"
ROLES = ("owner", "admin", "operator", "developer", "viewer")
NOT_VALID = "The API key is not valid."


class Place(NamedTuple):
    gate: Gateway
    idp: OidcProvider
    up: Upstream

    async def ask(self, token: str | bytes, **more: Any) -> Answer:
        text = token.decode() if isinstance(token, bytes) else token
        return await self.gate.post(CHAT, chat(), headers={"authorization": f"Bearer {text}", **more})


@contextlib.asynccontextmanager
async def place(fields: str = "", identity: str = "", *, teams: str = "") -> AsyncIterator[Place]:
    async with Upstream() as up, OidcProvider() as idp:
        written = f"""
identity:
  oidc: {{corp: {{issuer: '{idp.issuer}', audience: penstock{fields}}}}}
  {identity}
teams: {{{teams}}}
"""
        async with gateway(remote(up.url, written)) as gate:
            yield Place(gate, idp, up)


async def reasons(gate: Gateway) -> dict[str, float]:
    text = (await gate.get("/metrics")).body.decode()
    rows = (
        line.split('reason="')[1].split('"} ') for line in text.splitlines() if "auth_failures_total{" in line
    )
    return {reason: float(value) for reason, value in rows}


async def test_a_token_is_as_good_as_a_key_and_goes_no_further() -> None:
    async with place() as at:
        token = at.idp.token()
        for _ in range(2):
            assert (await at.ask(token)).status == 200
        sent = at.up.requests[-1].headers
        assert token not in str(sent)
        assert (await at.ask(KEY)).status == 200
        listed = await at.gate.get("/v1/models", headers={"authorization": f"Bearer {token}"})
        assert [row["id"] for row in listed.json["data"]] == ["m"]


async def test_a_token_is_taken_wherever_a_key_is() -> None:
    async with place() as at:
        headers = {"authorization": "", "x-api-key": at.idp.token()}
        assert (await at.gate.post(CHAT, chat(), headers=headers)).status == 200


async def test_bad_tokens_are_401_in_words_that_do_not_tell_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_S", 0.001)
    async with place() as at:
        good = at.idp.token()
        header, claims, signature = good.split(".")
        own = make_key(55)
        bad = {
            "expired": at.idp.token(expires_in=-3600),
            "early": at.idp.token(nbf=4_000_000_000),
            "audience": at.idp.token(audience="another"),
            "issuer": at.idp.token(iss="https://evil.example"),
            "key id": at.idp.token(headers={"kid": "none"}),
            "foreign": own.sign({"iss": at.idp.issuer, "aud": "penstock", "sub": "x", "exp": 4_000_000_000}),
            "cut": good[:-20],
            "unsigned": f"{header}.{claims}.AA",
            "none": f"eyJhbGciOiJub25lIn0.{claims}.AA",
            "large": "ey" + "A" * 30_000 + ".AAAA.AAAA",
            "swapped": f"{claims}.{header}.{signature}",
        }
        for name, token in bad.items():
            answer = await at.ask(token)
            assert answer.error == (401, "invalid_api_key", None), name
            assert answer.json["error"]["message"] == "The token is not valid.", name
            assert answer.headers["www-authenticate"] == "Bearer"
        assert not at.up.requests
        found = await reasons(at.gate)
        assert {"expired_token", "early_token", "wrong_audience", "unknown_issuer", "bad_signature"} <= set(
            found
        )
        assert sum(found.values()) == len(bad)
        assert (await at.ask(good)).status == 200


async def test_a_token_of_a_megabyte_is_refused_at_the_head() -> None:
    async with place() as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.gate.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ey" + b"A" * 1_000_000
        got = b""
        with contextlib.suppress(ConnectionError):  # it may be cut before all of it was taken
            writer.write(head + b".A.A\r\ncontent-length: 0\r\n\r\n")
            got = await reader.read(64)
        assert not got or got.startswith(b"HTTP/1.1 431 ")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert (await at.ask(at.idp.token())).status == 200


async def test_an_issuer_that_is_down_is_503_and_keys_work_meanwhile() -> None:
    async with Upstream() as up, OidcProvider() as idp:
        await idp.stop()
        written = f"identity: {{oidc: {{corp: {{issuer: '{idp.issuer}', audience: penstock}}}}}}"
        async with gateway(remote(up.url, written)) as gate:
            at = Place(gate, idp, up)
            answer = await at.ask(idp.token())
            assert answer.error == (503, "identity_unavailable", None)
            assert answer.headers["retry-after"] == "5"
            assert (await at.ask(KEY)).status == 200
            assert await reasons(gate) == {"keys_unavailable": 1.0}
            await idp.start()


async def test_keys_are_fetched_before_the_first_token_comes() -> None:
    async with place() as at:
        for _ in range(200):
            if len(at.idp.requests) >= 2:
                break
            await asyncio.sleep(0.01)
        assert [request.path for request in at.idp.requests] == ["/.well-known/openid-configuration", "/jwks"]


async def test_claims_decide_what_one_may_do() -> None:
    fields = ", claims: {role: groups, team: dept, routes: models}, roles: {ops: operator, ml: developer}"
    async with place(fields, teams="search: {}") as at:
        good = at.idp.token("ada", groups=["ml"], dept="search", models=["m"], email="ada@example.com")
        assert (await at.ask(good)).status == 200
        me = (await at.gate.get("/auth/me", headers={"authorization": f"Bearer {good}"})).json
        assert (me["user"], me["role"], me["team"], me["routes"]) == (
            "ada@example.com",
            "developer",
            "search",
            ["m"],
        )
        other = at.idp.token(groups=["ml"], models=["x"])
        assert (await at.ask(other)).error[:2] == (404, "model_not_found")
        nobody = at.idp.token(groups=["sales"], models=["m"])
        assert (await at.ask(nobody)).error[:2] == (403, "permission_denied")


async def test_limits_hold_for_each_caller_and_for_teams() -> None:
    fields = ", limits: {requests: 2/day}, claims: {team: dept}"
    async with place(fields, teams="lab: {limits: {requests: 3/day}}") as at:
        ada, bob, eve = (at.idp.token(name, dept="lab") for name in ("ada", "bob", "eve"))
        assert [(await at.ask(ada)).status for _ in range(3)] == [200, 200, 429]
        renewed = at.idp.token("ada", dept="lab")  # another token of hers is still she
        assert (await at.ask(renewed)).error[:2] == (429, "rate_limit_exceeded")
        assert (await at.ask(bob)).status == 200
        refused = await at.ask(eve)  # the team has had its three
        assert refused.status == 429
        assert "the team 'lab'" in refused.json["error"]["message"]


async def test_a_viewer_looks_on() -> None:
    async with place(", default_role: viewer") as at:
        token = at.idp.token()
        assert (await at.ask(token)).error[:2] == (403, "permission_denied")
        assert (await at.gate.get("/v1/models", headers={"authorization": f"Bearer {token}"})).status == 200


async def test_a_program_s_token_of_client_credentials() -> None:
    async with place(", require: {client_id: [nightly]}") as at:
        at.idp.clients["nightly"] = "s3cret"
        at.idp.clients["other"] = "s3cret"
        for client, status in (("nightly", 200), ("other", 401)):
            form = f"grant_type=client_credentials&client_id={client}&client_secret=s3cret&audience=penstock"
            origin, _ = http1.Origin.parse(at.idp.url)
            kind = [("content-type", "application/x-www-form-urlencoded")]
            response = await at.gate.client.request(origin, "POST", "/token", kind, form.encode())
            token = json.loads(await response.read(10_000))["access_token"]
            assert (await at.ask(token)).status == status


async def test_the_issuer_changes_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.auth.jwks.UNKNOWN_EVERY_S", 0.0)
    async with place() as at:
        old = at.idp.token()
        assert (await at.ask(old)).status == 200
        at.idp.rotate()
        assert (await at.ask(at.idp.token())).status == 200
        assert (await at.ask(old)).status == 401


# -- terms of keys -----------------------------------------------------------------------------------------


def keys(text: str) -> str:
    return f"  {text}\n"


async def test_a_key_that_has_expired_reads_like_one_that_never_was() -> None:
    today = dt.datetime.now(dt.UTC).date()
    written = keys(f"over: {{secret: sk-over, expires: {today - dt.timedelta(days=1)}}}")
    written += keys(f"good: {{secret: sk-good, expires: {today + dt.timedelta(days=2)}}}")
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        at = Place(gate, OidcProvider(), up)
        over, unknown = await at.ask("sk-over"), await at.ask("sk-never")
        assert over.status == unknown.status == 401
        assert over.json == unknown.json
        assert (await at.ask("sk-good")).status == 200
        assert await reasons(gate) == {"expired_key": 1.0, "unknown_key": 1.0}


async def test_the_old_secret_is_good_until_its_end() -> None:
    today = dt.datetime.now(dt.UTC).date()
    written = "".join(
        keys(f"{name}: {{secret: new-{name}, previous: {{secret: old-{name}, until: {until}}}}}")
        for name, until in (("a", today), ("b", today - dt.timedelta(days=2)))
    )
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        at = Place(gate, OidcProvider(), up)
        statuses = {secret: (await at.ask(secret)).status for secret in ("new-a", "old-a", "new-b", "old-b")}
        assert statuses == {"new-a": 200, "old-a": 200, "new-b": 200, "old-b": 401}


@pytest.mark.parametrize(
    ("proxies", "ips", "forwarded", "status"),
    [
        ("[]", "[127.0.0.1]", "", 200),
        ("[]", "[192.0.2.0/24]", "", 401),
        ("[]", "[192.0.2.0/24]", "192.0.2.7", 401),  # anybody can say so
        ("[127.0.0.9]", "[192.0.2.0/24]", "192.0.2.7", 401),  # not that proxy
        ("[127.0.0.1]", "[192.0.2.0/24]", "192.0.2.7", 200),
        ("[127.0.0.1]", "[192.0.2.0/24]", "192.0.2.7, 198.51.100.1", 401),  # said by the client
        ("[127.0.0.1]", "[127.0.0.1]", "198.51.100.1", 401),
        ("[127.0.0.1]", "[0.0.0.0/0]", "nonsense", 401),
    ],
)
async def test_where_a_key_may_be_used_from(proxies: str, ips: str, forwarded: str, status: int) -> None:
    written = keys(f"k: {{secret: sk-k, ips: {ips}}}") + f"identity: {{trusted_proxies: {proxies}}}"
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        headers = {"x-forwarded-for": forwarded} if forwarded else {}
        answer = await Place(gate, OidcProvider(), up).ask("sk-k", **headers)
        assert answer.status == status
        if status == 401:
            assert answer.json["error"]["message"] == NOT_VALID


async def test_a_client_behind_a_proxy_of_this_machine_is_not_local() -> None:
    written = "identity: {trusted_proxies: [127.0.0.1]}"
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        none = {"authorization": ""}
        assert (await gate.get("/metrics", headers=none)).status == 200
        far = {**none, "x-forwarded-for": "192.0.2.7"}
        assert (await gate.get("/metrics", headers=far)).status == 401
        assert "pools" not in (await gate.get("/health", headers=far)).json


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_nor_is_one_behind_a_proxy_that_nobody_named(header: str) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        said = {"authorization": "", header: "127.0.0.1"}
        assert (await gate.get("/metrics", headers=said)).status == 401
        assert "pools" not in (await gate.get("/health", headers=said)).json


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8600", 200),
        ("127.0.0.1", 200),
        ("[::1]:8600", 200),
        ("penstock.example.com", 401),  # a proxy of this machine that says nothing else
        ("rebound.example.com:8600", 401),  # a page whose name leads here by now
    ],
)
async def test_nor_is_one_that_asks_for_another_name(host: str, status: int) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(f"GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert (await reader.read(64)).startswith(b"HTTP/1.1 %d " % status)
        writer.close()


async def test_metrics_are_for_operators_elsewhere() -> None:
    written = "".join(keys(f"{role}: {{secret: sk-{role}, role: {role}}}") for role in ROLES)
    written += "identity: {trusted_proxies: [127.0.0.1]}"
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        statuses = []
        for role in ROLES:
            far = {"authorization": f"Bearer sk-{role}", "x-forwarded-for": "192.0.2.7"}
            statuses.append((await gate.get("/metrics", headers=far)).status)
        assert statuses == [200, 200, 200, 403, 403]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["192.0.2.7", "127.0.0.1"], 200),  # each proxy adds a line, as HAProxy does
        (["198.51.100.1", "127.0.0.1"], 401),  # not of the range, though the proxy between is
        (["192.0.2.7", "198.51.100.1", "127.0.0.1"], 401),  # the first line is the client's own
    ],
)
async def test_proxies_that_add_a_line_each(lines: list[str], status: int) -> None:
    written = keys("k: {secret: sk-k, ips: [192.0.2.0/24, 127.0.0.0/8]}")
    written += "identity: {trusted_proxies: [127.0.0.1]}"
    async with Upstream() as up, gateway(remote(up.url, written)) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        said = "".join(f"X-Forwarded-For: {line}\r\n" for line in lines)
        head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-k\r\n{said}\r\n"
        writer.write(head.encode())
        assert (await reader.read(64)).startswith(b"HTTP/1.1 %d " % status)
        writer.close()


async def test_what_a_proxy_added_is_not_hidden_by_another_spelling() -> None:
    """Of two lines of one spelling the last counts, which is the proxy's; of two spellings neither."""
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        lines = b"X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n"
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n" + lines + b"\r\n")
        assert (await reader.read(64)).startswith(b"HTTP/1.1 400 ")
        writer.close()


# -- certificates in a proxy's header ----------------------------------------------------------------------


def certificate(name: str) -> bytes:
    return trustme.CA().issue_cert(name, common_name=name).cert_chain_pems[0].bytes()


MAPPED = """
  runner: {}
identity:
  trusted_proxies: [%s]
  client_certificates: {header: X-Client-Cert, map: {"cn:runner.example.com": runner}}
"""


@pytest.mark.parametrize(
    ("proxy", "name", "status"),
    [
        ("127.0.0.1", "runner.example.com", 200),
        ("127.0.0.1", "other.example.com", 401),
        ("127.0.0.9", "runner.example.com", 401),  # anybody can send a header
    ],
)
async def test_a_certificate_in_a_header(proxy: str, name: str, status: int) -> None:
    async with Upstream() as up, gateway(remote(up.url, MAPPED % proxy)) as gate:
        headers = {"authorization": "", "x-client-cert": quote(certificate(name))}
        answer = await gate.post(CHAT, chat(), headers=headers)
        assert answer.status == status
        me = await gate.get("/auth/me", headers=headers)
        assert me.status == status
        assert status != 200 or me.json["name"] == "runner"


@pytest.mark.parametrize("host", ["ai.example", "AI.example:443"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://ai.example", 200),
        ("https://ai.example:444", 401),
        ("https://evil.example", 401),
        ("null", 401),
    ],
)
async def test_a_page_of_another_site_has_no_certificate(origin: str, host: str, status: int) -> None:
    async with Upstream() as up, gateway(remote(up.url, MAPPED % "127.0.0.1")) as gate:
        headers = {"authorization": "", "x-client-cert": quote(certificate("runner.example.com"))}
        headers |= {"origin": origin, "x-forwarded-host": host}
        assert (await gate.post(CHAT, chat(), headers=headers)).status == status


async def test_a_header_that_holds_no_certificate_is_401() -> None:
    async with Upstream() as up, gateway(remote(up.url, MAPPED % "127.0.0.1")) as gate:
        answer = await gate.post(CHAT, chat(), headers={"authorization": "", "x-client-cert": "%00nonsense"})
        assert answer.error[:2] == (401, "invalid_api_key")


async def test_a_key_goes_before_a_certificate() -> None:
    async with Upstream() as up, gateway(remote(up.url, MAPPED % "127.0.0.1")) as gate:
        cert = quote(certificate("runner.example.com"))
        me = await gate.get("/auth/me", headers={"x-client-cert": cert})
        assert me.json["name"] == "test"


# -- guessing ------------------------------------------------------------------------------------------------


async def failing(gate: Gateway, number: int, headers: Mapping[str, str] | None = None) -> list[Answer]:
    def one(index: int) -> Any:
        return gate.get("/v1/models", headers={"authorization": f"Bearer guess-{index}", **(headers or {})})

    return await asyncio.gather(*(one(index) for index in range(number)))


async def test_who_guesses_waits_and_who_knows_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_S", 0.2)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        guesses = asyncio.gather(failing(gate, attempts.FREE + attempts.EACH + 3))
        answered = await Place(gate, OidcProvider(), up).ask(KEY)
        assert answered.status == 200
        assert not guesses.done()  # some of them wait
        (found,) = await guesses
        statuses = sorted(answer.status for answer in found)
        assert statuses == [401] * (attempts.FREE + attempts.EACH) + [429] * 3
        limited = next(answer for answer in found if answer.status == 429)
        assert limited.error[1] == "rate_limit_exceeded"
        assert int(limited.headers["retry-after"]) >= 1
        assert (await Place(gate, OidcProvider(), up).ask(KEY)).status == 200


async def test_each_address_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_S", 60.0)
    monkeypatch.setattr(attempts, "LONGEST_S", 60.0)
    async with Upstream() as up, gateway(remote(up.url, "identity: {trusted_proxies: [127.0.0.1]}")) as gate:
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8:1:1::1"):
            found = await failing(gate, attempts.FREE, {"x-forwarded-for": address})
            assert [answer.status for answer in found] == [401] * attempts.FREE


async def test_no_key_at_all_is_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_S", 60.0)
    monkeypatch.setattr(attempts, "LONGEST_S", 60.0)
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        for _ in range(attempts.FREE * 3):
            answer = await gate.post(CHAT, chat(), headers={"authorization": ""})
            assert "No API key was given" in answer.json["error"]["message"]


async def test_a_background_request_that_is_refused_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        body = {"model": "m", "input": "hi", "background": True}
        answer = await gate.post("/v1/responses", body, headers={"authorization": "Bearer nope"})
        assert answer.status == 401
        assert await reasons(gate) == {"unknown_key": 1.0}
