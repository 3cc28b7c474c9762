"""People administer from a browser: a session is taken as a key is, and only pages of ours change things."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from administered import KEYS, OWNER, Administered, administered
from browsers import Browser
from gateways import chat

from penstock.testing.oidc import OidcProvider
from penstock.testing.upstream import Upstream

CONFIG = """
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: sk-upstream-secret}}
deployments:
  m: {{provider: up, model: upstream-model}}
identity:
  oidc:
    corp:
      {{issuer: '{issuer}', audience: api, client_id: penstock, client_secret: client-secret,
       claims: {{role: groups, user: email}}, roles: {{ops: admin, staff: developer}}}}
"""


class Place:
    def __init__(self, gate: Administered, at: Browser, idp: OidcProvider) -> None:
        self.gate = gate
        self.at = at
        self.idp = idp

    async def settle(self, role: str) -> tuple[str, str]:
        """Ann's membership of a team of hers, and her id."""
        team = await self.gate.make("/teams", id="lab", name="The lab")
        user = await self.gate.make("/users", email="ann@example.com")
        member = await self.gate.make("/memberships", team=team["id"], user=user["id"], role=role)
        return f"/memberships/{member['id']}", f"/users/{user['id']}"

    async def until(self, status: int, path: str) -> None:
        """Until the browser gets this answer."""
        await self.at.until(status, f"/admin/v1{path}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@contextlib.asynccontextmanager
async def place(folder: Path, *groups: str) -> AsyncIterator[Place]:
    async with Upstream() as up, OidcProvider() as idp:
        idp.person = {"sub": "ann", "email": "Ann@example.com", "groups": list(groups)}
        config = CONFIG.format(url=up.url, issuer=idp.issuer)
        async with administered(folder, config + KEYS) as gate:
            yield Place(gate, Browser(gate, idp), idp)


async def test_a_session_reads_and_changes_as_its_role_may(folder: Path) -> None:
    async with place(folder, "ops") as here:
        at = here.at
        assert (await at.go("/admin/v1/teams")).error[:2] == (401, "invalid_api_key")
        await at.sign_in()
        assert (await at.go("/admin/v1/teams")).status == 200  # a page may read without saying who it is
        own = {"method": "POST", "origin": here.gate.url}
        made = await at.go("/admin/v1/teams", body={"name": "search"}, **own)
        assert made.status == 201
        (change,) = await here.gate.every("/changes?path=teams/")
        assert change["actor"] == (await at.go("/auth/me")).json["name"]
        again = {**own, "idempotency_key": "k"}
        keys = [await at.go("/admin/v1/keys", body={"name": "ci"}, **again) for _ in range(2)]
        assert keys[0].json == keys[1].json
        higher = await at.go("/admin/v1/keys", body={"name": "ci", "role": "owner"}, **own)
        assert higher.error == (403, "permission_denied", "role")
        assert (await at.gate.post("/v1/chat/completions", chat(), headers=at.sent())).status == 401
        await at.go("/auth/logout", **own)
        at.cookies = {"penstock_session": at.gone["penstock_session"]}
        assert (await at.go("/admin/v1/teams")).status == 401  # a copy of it


async def test_who_is_spelt_with_a_look_alike_is_somebody_else(folder: Path) -> None:
    """The sign of kelvin is a small k in lower case, and a mailbox of its own."""
    async with place(folder, "ops") as here:
        user = await here.gate.make("/users", email="Kay@example.com", role="owner")
        here.idp.person = {"sub": "kay", "email": "kAY@EXAMPLE.com", "groups": ["ops"]}
        await here.at.sign_in()
        async with asyncio.timeout(5):
            while (await here.at.go("/auth/me")).json["user"] != user["id"]:
                await asyncio.sleep(0.02)
        here.idp.person = {"sub": "other", "email": "\N{KELVIN SIGN}ay@example.com", "groups": ["ops"]}
        await here.at.sign_in()
        assert (await here.at.go("/auth/me")).json["user"] == "\N{KELVIN SIGN}ay@example.com"


async def test_a_key_that_is_asked_for_is_no_credential(folder: Path) -> None:
    async with place(folder, "ops") as here:
        await here.at.sign_in()
        made = await here.gate.make("/keys", name="ci", limits={"requests": "5/min"})
        for path in ("/usage", "/usage/series", "/usage/calls", "/limits"):
            answer = await here.at.go(f"/admin/v1{path}?key={made['id']}")
            assert answer.status == 200, (path, answer.body)
        alone = await here.gate.get(f"/admin/v1/usage?key={OWNER}", headers={"authorization": ""})
        assert "No API key was given" in alone.json["error"]["message"]


@pytest.mark.parametrize(
    "origin", ["", "null", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "https://{host}"]
)
async def test_a_page_of_somebody_else_changes_nothing(folder: Path, origin: str) -> None:
    async with place(folder, "ops") as here:
        await here.at.sign_in()
        host = here.gate.url.partition("//")[2]
        said = {"origin": origin.format(host=host)} if origin else {}
        for method, path in (
            ("POST", "/teams"),
            ("PATCH", "/teams/x"),
            ("PUT", "/routes/x"),
            ("DELETE", "/teams/x"),
        ):
            answer = await here.at.go(f"/admin/v1{path}", method=method, body={"name": "x"}, **said)
            assert answer.error[:2] == (403, "permission_denied"), (method, answer.body)
        assert (await here.at.go("/auth/logout", method="POST", **said)).status == 403
        assert await here.gate.every("/teams") == []
        assert (await here.at.go("/auth/me")).status == 200  # nobody was signed out


async def test_a_key_goes_before_the_session_and_needs_no_origin(folder: Path) -> None:
    async with place(folder, "staff") as here:
        await here.at.sign_in()
        keyed = {"method": "POST", "authorization": f"Bearer {OWNER}", "origin": "https://elsewhere.example"}
        assert (await here.at.go("/admin/v1/teams", body={"name": "t"}, **keyed)).status == 201
        wrong = await here.at.go("/admin/v1/teams", authorization="Bearer sk-wrong")
        assert wrong.error[:2] == (401, "invalid_api_key")
        assert (
            await here.at.go("/admin/v1/teams", authorization="Basic eDp5")
        ).status == 403  # a proxy's: no team


async def test_what_a_member_may_holds_within_a_second(folder: Path) -> None:
    async with place(folder, "staff") as here:
        at, own = here.at, {"origin": here.gate.url}
        await at.sign_in()
        assert (await at.go("/admin/v1/teams")).status == 403  # of no team
        member, user = await here.settle("admin")
        await here.until(200, "/teams")
        me = (await at.go("/auth/me")).json
        assert (me["user"], me["role"], me["team"], me["team_role"]) == (
            user.rpartition("/")[2],
            "developer",
            "lab",
            "admin",
        )
        bot = await at.go("/admin/v1/service-accounts", method="POST", body={"name": "bot"}, **own)
        assert (bot.status, bot.json["team"]) == (201, "lab")
        token = here.idp.token("ann", "api", email="ann@example.com", groups=["staff"])
        assert (await here.gate.as_(token).make("/service-accounts", name="bot2"))["team"] == "lab"
        headers = {"authorization": f"Bearer {token}"}
        assert (await here.gate.post("/v1/chat/completions", chat(), headers=headers)).status == 200
        await here.gate.ask("PATCH", member, {"role": "viewer"})
        await at.until(403, "/admin/v1/service-accounts", method="POST", body={}, **own)
        assert (await here.gate.post("/v1/chat/completions", chat(), headers=headers)).status == 403
        await here.gate.ask("DELETE", member)
        await here.until(403, "/teams")
        await here.gate.ask("PATCH", user, {"disabled": True})
        await here.until(401, "/teams")
        assert (await here.gate.post("/v1/chat/completions", chat(), headers=headers)).status == 401
        assert (await at.sign_in()).status == 401
        assert "disabled_user" in (await here.gate.get("/metrics")).body.decode()
