"""The admin API through the door: what is made is there, works, is told, and can be taken back."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from administered import KEYS, OWNER, administered
from gateways import chat

from penstock.lib.clock import SystemClock
from penstock.testing.oidc import OidcProvider
from penstock.testing.upstream import Upstream

CONFIG = f"""
builtin: off
providers:
  up: {{{{kind: openai-compatible, base_url: "{{url}}", api_key: sk-upstream-secret}}}}
deployments:
  m: {{{{provider: up, model: upstream-model}}}}
  n: {{{{provider: up, model: other-model}}}}
routes:
  fixed: {{{{targets: [{{{{deployment: m}}}}]}}}}
{KEYS.replace("{", "{{").replace("}", "}}")}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_key_is_made_used_rotated_and_revoked(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        team = await gate.make("/teams", name="search")
        made = await gate.make("/keys", name="ci", team=team["id"], routes=["m"])
        assert made["secret"].startswith(made["prefix"])
        await gate.until(200, made["secret"])
        headers = {"authorization": f"Bearer {made['secret']}"}
        assert (await gate.post("/v1/chat/completions", chat(), headers=headers)).status == 200
        other = await gate.post("/v1/chat/completions", chat(model="n"), headers=headers)
        assert other.error[:2] == (404, "model_not_found")

        seen = await gate.see(f"/keys/{made['id']}")
        assert not {"secret", "hash"} & seen.keys()

        rotated = await gate.ask("POST", f"/keys/{made['id']}/rotate", {"overlap_s": 1})
        new = rotated.json
        assert (new["id"], new["version"]) == (made["id"], 2)
        await gate.until(200, new["secret"])
        await gate.until(401, made["secret"])  # its overlap has ended

        assert (await gate.ask("POST", f"/keys/{new['id']}/revoke", {})).json["revoked"] is not None
        await gate.until(401, new["secret"])


async def test_a_revoked_key_ends_the_secret_before_it_too(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        made = await gate.make("/keys", name="ci")
        await gate.until(200, made["secret"])
        new = (await gate.ask("POST", f"/keys/{made['id']}/rotate", {})).json
        await gate.until(200, new["secret"])
        await gate.until(200, made["secret"])
        await gate.ask("POST", f"/keys/{made['id']}/revoke", {})
        await gate.until(401, made["secret"])
        await gate.until(401, new["secret"])


async def test_a_key_is_good_until_when_and_from_where_it_says(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        elsewhere = await gate.make("/keys", name="elsewhere", networks=["10.0.0.0/8"])
        here = await gate.make("/keys", name="here", networks=["127.0.0.1", "10.0.0.0/8"])
        assert here["networks"] == ["127.0.0.1/32", "10.0.0.0/8"]
        soon = await gate.make("/keys", name="soon", expires=int(SystemClock().wall()) + 2)
        await gate.until(200, here["secret"])
        await gate.until(401, elsewhere["secret"])
        await gate.until(401, soon["secret"])
        await gate.ask("PATCH", f"/keys/{soon['id']}", {"expires": None})
        await gate.until(200, soon["secret"])


async def test_a_running_answer_ends_when_its_key_is_revoked(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        made = await gate.make("/keys", name="ci")
        await gate.until(200, made["secret"])
        up.behaviour["x-test-hang"] = "2"
        headers = {"authorization": f"Bearer {made['secret']}"}
        response = await gate.open("/v1/chat/completions", chat(stream=True), headers=headers)
        assert response.status == 200
        await gate.ask("POST", f"/keys/{made['id']}/revoke", {})
        async with asyncio.timeout(5):
            text = await response.read(1 << 20)
        assert b"invalid_api_key" in text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/v1/keys", {"name": "another", "role": "admin"}),
        ("/v1/responses", {"model": "m", "input": "hi"}),
        ("/v1/responses", {"model": "m", "input": "hi", "background": True}),
        ("/v1/responses/input_tokens", {"model": "m", "input": "hi"}),
        ("/v1/chat/completions", chat()),
    ],
    ids=str,
)
async def test_a_request_whose_key_is_revoked_before_it_is_whole(folder: Path, path: str, body: Any) -> None:
    """Whoever has a stolen key might keep some of them open, for when it is revoked."""
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        made = await gate.make("/keys", name="stolen", role="admin")
        await gate.until(200, made["secret"])
        data = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(data)}"]
        lines += ["content-type: application/json", f"authorization: Bearer {made['secret']}", "", ""]
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write("\r\n".join(lines).encode() + data[:5])
        assert (await gate.get("/health")).status == 200  # so that has begun by now, too
        await gate.ask("POST", f"/keys/{made['id']}/revoke", {})
        await gate.until(401, made["secret"])
        writer.write(data[5:])
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401 "), answer
        assert up.requests == []
        assert len(await gate.every("/keys")) == 2


async def test_limits_of_a_stored_team_hold_for_its_keys_together(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        team = await gate.make("/teams", name="small", limits={"requests": "2/h"})
        secrets = [(await gate.make("/keys", name=name, team=team["id"]))["secret"] for name in "ab"]
        for secret in secrets:
            await gate.until(200, secret)
            headers = {"authorization": f"Bearer {secret}"}
            assert (await gate.post("/v1/chat/completions", chat(), headers=headers)).status == 200
        answer = await gate.post("/v1/chat/completions", chat(), headers=headers)
        assert answer.error[:2] == (429, "rate_limit_exceeded")
        await gate.ask("PATCH", f"/teams/{team['id']}", {"limits": {}})
        async with asyncio.timeout(5):
            while (await gate.post("/v1/chat/completions", chat(), headers=headers)).status != 200:
                await asyncio.sleep(0.02)


async def test_a_disabled_user_s_keys_are_off_and_on_again(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        user = await gate.make("/users", email="ann@example.com", role="viewer")
        made = await gate.make("/keys", name="ann", user=user["id"])
        await gate.until(200, made["secret"])
        headers = {"authorization": f"Bearer {made['secret']}"}
        refused = await gate.post("/v1/chat/completions", chat(), headers=headers)
        assert refused.error[:2] == (403, "permission_denied")  # a viewer's key is no developer's
        await gate.ask("PATCH", f"/users/{user['id']}", {"disabled": True})
        await gate.until(401, made["secret"])
        await gate.ask("PATCH", f"/users/{user['id']}", {"disabled": False, "role": "developer"})
        await gate.until(200, made["secret"])
        async with asyncio.timeout(5):
            while (await gate.post("/v1/chat/completions", chat(), headers=headers)).status != 200:
                await asyncio.sleep(0.02)


async def test_a_stored_route_serves_until_the_file_has_one_of_its_name(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        await gate.make("/routes", name="r", route={"targets": [{"deployment": "m"}]})
        owner = {"authorization": f"Bearer {OWNER}"}
        async with asyncio.timeout(5):
            while (await gate.post("/v1/chat/completions", chat(model="r"), headers=owner)).status != 200:
                await asyncio.sleep(0.02)
        assert up.requests[-1].body["model"] == "upstream-model"
        config = CONFIG.format(url=up.url)
        at = config.index("  fixed:")
        await write(gate.file, f"{config[:at]}  r: {{targets: [{{deployment: n}}]}}\n{config[at:]}")
        async with asyncio.timeout(5):
            while (await gate.see("/routes/r"))["source"] != "file":
                await asyncio.sleep(0.02)
        assert (await gate.post("/v1/chat/completions", chat(model="r"), headers=owner)).status == 200
        assert up.requests[-1].body["model"] == "other-model"
        left_out = (await gate.see("/configuration"))["left_out"]
        assert [one["path"] for one in left_out] == ["routes/r"]


async def test_a_wrong_file_leaves_what_runs(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        config = CONFIG.format(url=up.url)
        await write(gate.file, config.replace("deployment: m", "deployment: gone"))
        async with asyncio.timeout(5):
            while (found := await gate.see("/configuration"))["trouble"] is None:
                await asyncio.sleep(0.02)
        (problem,) = found["trouble"]["problems"]
        assert problem.startswith(
            f"{gate.file}:9: routes.fixed.targets[0].deployment: there is no deployment 'gone'"
        )
        owner = {"authorization": f"Bearer {OWNER}"}
        assert (await gate.post("/v1/chat/completions", chat(model="fixed"), headers=owner)).status == 200
        await write(gate.file, config.replace("builtin: off", "builtin: on"))
        async with asyncio.timeout(5):
            while not (found := await gate.see("/configuration"))["needs_restart"]:
                await asyncio.sleep(0.02)
        await write(gate.file, config)
        async with asyncio.timeout(5):
            while (await gate.see("/configuration"))["trouble"] is not None:
                await asyncio.sleep(0.02)


async def test_calls_are_written_down_with_their_cost(folder: Path) -> None:
    config = CONFIG + "prices: {{models: {{m: {{input: $1/1M, output: $2/1M}}}}}}\n"
    async with Upstream() as up, administered(folder, config.format(url=up.url)) as gate:
        team = await gate.make("/teams", name="t")
        made = await gate.make("/keys", name="k", team=team["id"])
        await gate.until(200, made["secret"])
        headers = {"authorization": f"Bearer {made['secret']}"}
        answer = await gate.post("/v1/chat/completions", chat(), headers=headers)
        usage = answer.json["usage"]
        async with asyncio.timeout(5):
            while not (rows := (await gate.see(f"/usage?team={team['id']}&by=key,model"))["data"]):
                await asyncio.sleep(0.02)
        assert rows[0]["by"] == {"key": made["id"], "model": "m"}
        assert (rows[0]["calls"], rows[0]["unpriced"]) == (1, 0)
        pico = usage["prompt_tokens"] * 10**6 + usage["completion_tokens"] * 2 * 10**6
        assert Decimal(rows[0]["cost_usd"]) * 10**12 == pico
        (call,) = (await gate.see("/usage/calls"))["data"]
        assert (call["key"], call["cost_usd"], call["provider"]) == (made["id"], rows[0]["cost_usd"], "up")
        assert await gate.metric("penstock_usage_rows_total", "written") == 1
        assert await gate.metric("penstock_usage_rows_total", "dropped") == 0
        (statement,) = (await gate.see("/statements"))["data"]
        assert (statement["name"], statement["cost_usd"]) == ("t", rows[0]["cost_usd"])


async def test_the_api_answers_as_the_door_does(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        nobody = gate.as_("sk-wrong")
        assert (await nobody.ask("GET", "/keys")).error[:2] == (401, "invalid_api_key")
        assert (await gate.ask("GET", "/nothing")).error[:2] == (404, "not_found")
        assert (await gate.ask("DELETE", "/keys")).error[:2] == (405, "method_not_allowed")
        answer = await gate.ask("GET", "/statements?format=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        document = await nobody.ask("GET", "/openapi.json")
        assert document.json["openapi"] == "3.1.0"


async def write(file: Path, text: str) -> None:
    await asyncio.to_thread(file.write_text, text)


async def test_two_gateways_on_one_store_agree(folder: Path) -> None:
    other_folder = folder / "other"
    await asyncio.to_thread(other_folder.mkdir)
    url = f"sqlite:///{folder}/penstock.db"
    async with (
        Upstream() as up,
        administered(folder, CONFIG.format(url=up.url), url=url) as one,
        administered(other_folder, CONFIG.format(url=up.url), url=url) as other,
    ):
        made = await one.make("/keys", name="ci")
        await other.until(200, made["secret"])
        up.behaviour["x-test-hang"] = "2"
        headers = {"authorization": f"Bearer {made['secret']}"}
        response = await other.open("/v1/chat/completions", chat(stream=True), headers=headers)
        assert response.status == 200
        await one.ask("POST", f"/keys/{made['id']}/revoke", {})
        async with asyncio.timeout(5):
            assert b"invalid_api_key" in await response.read(1 << 20)
        await other.until(401, made["secret"])
        async with asyncio.timeout(5):
            while not (calls := (await one.see("/usage/calls"))["data"]):  # those of the other are seen, too
                await asyncio.sleep(0.02)
        assert [(call["key"], call["error"]) for call in calls] == [(made["id"], "invalid_api_key")]


async def test_a_caller_with_a_token_is_of_a_team_that_was_made_at_run_time(folder: Path) -> None:
    async with Upstream() as up, OidcProvider() as idp:
        claims = "{team: group, role: level}"
        said = f"{{issuer: '{idp.issuer}', audience: penstock, claims: {claims}, roles: {{d: developer}}}}"
        config = f"{CONFIG.format(url=up.url)}identity: {{oidc: {{corp: {said}}}}}\n"
        async with administered(folder, config) as gate:
            token = idp.token(group="lab", level="d")
            headers = {"authorization": f"Bearer {token}"}
            assert (await gate.post("/v1/chat/completions", chat(), headers=headers)).status == 200
            assert (await gate.as_(token).ask("GET", "/teams")).status == 403  # it is in none
            await gate.make("/teams", id="lab", name="The lab", limits={"requests": "1/h"})
            async with asyncio.timeout(5):
                while (await gate.as_(token).ask("GET", "/teams")).status != 200:
                    await asyncio.sleep(0.02)
            assert (await gate.post("/v1/chat/completions", chat(), headers=headers)).status == 200
            again = await gate.post("/v1/chat/completions", chat(), headers=headers)
            assert again.error[:2] == (429, "rate_limit_exceeded")
            (left,) = (await gate.as_(token).see("/limits"))["data"]
            assert (left["scope"], left["id"], left["remaining"]) == ("team", "lab", "0")
            key = await gate.as_(token).make("/keys", name="of the lab")
            assert key["team"] == "lab"
            async with asyncio.timeout(5):
                while not (rows := (await gate.as_(token).see("/usage?by=team"))["data"]):
                    await asyncio.sleep(0.02)
            assert rows[0]["by"] == {"team": "lab"}
