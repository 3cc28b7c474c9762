"""Requests through a real gateway to real engine processes on this machine."""

import asyncio
import os
import signal
from typing import Any

import msgspec
import psutil
import pytest
from gateways import KEY, gateway

from penstock.config.parts import BUILTIN_CHAT
from penstock.lib import http1
from penstock.serve import BUILTIN_CHAT_FILE
from penstock.testing.tiny import make_cross_encoder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

CHAT = "/v1/chat/completions"
CONFIG = f"""
builtin: off
deployments:
  small: {{model: "file:{BUILTIN_CHAT_FILE}", context: 512, parallel: 2, threads: 1}}
keys:
  test: {{secret: {KEY}}}
"""


def ask(text: str = "Hello!", **more: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def worker() -> psutil.Process:
    """The one that this test's own gateway started: other tests may keep a platform running beside it."""
    (found,) = [one for one in psutil.Process().children() if "llamacpp_worker" in " ".join(one.cmdline())]
    return found


class Slots:
    """What llama.cpp itself says, asked with the worker's own key."""

    def __init__(self, client: http1.Client) -> None:
        process = worker()
        self._client = client
        self._key = process.environ()["PENSTOCK_ENGINE_KEY"]
        listening = [one for one in process.net_connections("tcp") if one.status == "LISTEN"]
        self._origin = http1.Origin("http", "127.0.0.1", listening[0].laddr.port)

    async def busy(self) -> int:
        headers = [("authorization", f"Bearer {self._key}")]
        response = await self._client.request(self._origin, "GET", "/slots", headers)
        slots = msgspec.json.decode(await response.read(1 << 20))
        return sum(bool(slot["is_processing"]) for slot in slots)


async def test_the_builtin_name_is_the_committed_file() -> None:
    assert BUILTIN_CHAT == "builtin:chat"
    assert await asyncio.to_thread(BUILTIN_CHAT_FILE.is_file)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_the_slot_at_once(stream: bool) -> None:
    async with gateway(CONFIG.replace("context: 512", "context: 2048")) as gate:
        assert (await gate.post(CHAT, ask())).status == 200
        slots = Slots(gate.client)
        endless = ask("Count.", max_tokens=2000, ignore_eos=True, stream=stream)
        asked = asyncio.ensure_future(gate.open(CHAT, endless))  # noqa: TID251 - a client
        while not await slots.busy():
            await asyncio.sleep(0.005)
        if stream:
            (await asked).close()
        else:
            asked.cancel()
        assert await gate.settled("penstock_requests_total", 'code="client_left"', at_least=1) == 1
        async with asyncio.timeout(5):
            while await slots.busy():
                await asyncio.sleep(0.01)


async def test_more_requests_than_slots_are_all_answered() -> None:
    async with gateway(CONFIG) as gate:
        answers = await asyncio.gather(*(gate.post(CHAT, ask(max_tokens=20)) for _ in range(12)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json["choices"][0]["message"]["content"] for answer in answers}) == 1


async def test_too_long_a_prompt_is_refused_while_every_slot_is_busy() -> None:
    async with gateway(CONFIG) as gate:
        assert (await gate.post(CHAT, ask())).status == 200
        endless = ask("Count.", max_tokens=450, ignore_eos=True, stream=True)
        streams = [await gate.open(CHAT, endless) for _ in range(2)]
        for stream in streams:
            await stream.read_some()
        answer = await gate.post(CHAT, ask("hello " * 2000))
        assert answer.error == (400, "context_length_exceeded", "messages")
        assert "at most 512 tokens" in answer.json["error"]["message"]
        for stream in streams:
            stream.close()
        text = await gate.post("/v1/completions", {"model": "small", "prompt": "hello " * 2000})
        assert text.error == (400, "context_length_exceeded", "prompt")


async def test_n_choices_are_all_counted() -> None:
    async with gateway(CONFIG) as gate:
        one = (await gate.post(CHAT, ask(max_tokens=4))).json["usage"]
        two = (await gate.post(CHAT, ask(max_tokens=4, n=2))).json
        assert len(two["choices"]) == 2
        assert two["usage"]["completion_tokens"] == 2 * one["completion_tokens"]
        assert two["usage"]["prompt_tokens"] == one["prompt_tokens"]


async def test_a_killed_engine_ends_its_streams_with_an_event_and_the_next_request_works() -> None:
    async with gateway(CONFIG.replace("context: 512", "context: 4096")) as gate:
        assert (await gate.post(CHAT, ask())).status == 200
        stream = await gate.open(CHAT, ask("Count.", max_tokens=4000, ignore_eos=True, stream=True))
        first = await stream.read_some()
        os.kill(worker().pid, signal.SIGKILL)
        rest = await stream.read(1 << 20)
        assert b'"partial":true' in (first + rest)
        assert b"upstream_cut" in (first + rest)
        assert b"[DONE]" not in rest
        assert (await gate.post(CHAT, ask())).status == 200
        assert await gate.metric("penstock_replica_restarts_total") == 1
        assert await gate.settled("penstock_requests_total", 'code="upstream_cut"', at_least=1) == 1


async def test_a_cross_encoder_is_served_by_the_same_engine_as_embeddings(tmp_path: Any) -> None:
    folder = await asyncio.to_thread(lambda: make_cross_encoder(tmp_path / "cross"))
    config = f"""
builtin: off
deployments:
  cross: {{model: "file:{folder or tmp_path / "cross"}", operations: [rerank]}}
keys:
  test: {{secret: {KEY}}}
"""
    async with gateway(config) as gate:
        body = {"model": "cross", "query": "water", "documents": ["a river", "a road"], "top_n": 1}
        answer = await gate.post("/v1/rerank", body)
        assert answer.status == 200, answer.body
        (result,) = answer.json["results"]
        assert 0 <= result["relevance_score"] <= 1
        wrong = await gate.post("/v1/embeddings", {"model": "cross", "input": "x"})
        assert wrong.error == (400, "invalid_request", "model")
