"""The admin API through the door: what is made is there, works, is told, and can be taken back."""

import asyncio
from pathlib import Path

import pytest
from administered import KEYS, administered
from gateways import chat

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
