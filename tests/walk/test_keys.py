"""Where clients of different vendors put their key."""

import json

import pytest
from gateways import KEY, chat, gateway, remote
from websockets.asyncio.client import connect

from penstock.testing.upstream import Upstream

PLACES = [
    {"authorization": f"Bearer {KEY}"},
    {"authorization": f"bearer {KEY}"},
    {"authorization": f"BEARER  {KEY} "},
    {"authorization": "", "x-api-key": KEY},
    {"authorization": "", "api-key": KEY},
    {"authorization": "", "x-goog-api-key": KEY},
]


@pytest.mark.parametrize("headers", PLACES)
async def test_a_key_is_taken_from_every_vendor_s_header(headers: dict[str, str]) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.post("/v1/chat/completions", chat(), headers=headers)
        assert answer.status == 200
        sent = {name.lower() for name in up.requests[-1].headers}
        assert not sent & {"x-api-key", "api-key", "x-goog-api-key"}  # the client's key goes no further


async def test_a_key_is_taken_from_the_query() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        none = {"authorization": ""}
        answer = await gate.post(f"/v1/chat/completions?alt=sse&key={KEY}", chat(), headers=none)
        assert answer.status == 200
        answer = await gate.post("/v1/chat/completions?key=wrong", chat(), headers=none)
        assert answer.error[:2] == (401, "invalid_api_key")
        answer = await gate.post("/v1/chat/completions?key=", chat(), headers=none)
        assert "No API key was given" in answer.json["error"]["message"]


async def test_a_key_in_the_query_is_that_of_background_responses_and_sockets() -> None:
    """A browser can send no header with a WebSocket."""
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        path, asked = f"/v1/responses?key={KEY}", {"model": "m", "input": "hi"}
        answer = await gate.post(path, {**asked, "background": True}, headers={"authorization": ""})
        assert answer.status == 200, answer.body
        async with connect(f"{gate.url.replace('http', 'ws', 1)}{path}") as socket:
            await socket.send(json.dumps({"type": "response.create", **asked}))
            assert json.loads(await socket.recv())["type"] == "response.created"
