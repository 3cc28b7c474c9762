"""Images that models draw: counted, paid by the piece, and in every report."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from administered import KEYS, Administered, administered
from gateways import chat

from penstock.testing.double import Double
from penstock.testing.gemini import GeminiDouble
from penstock.testing.responses import ResponsesDouble
from penstock.testing.upstream import Upstream

DRAWN = "data:image/png;base64,AAAA"


def of_openai() -> Any:
    image = {"type": "image_url", "image_url": {"url": DRAWN}}
    message = {"role": "assistant", "content": "", "images": [image, image]}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "x",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
    }


def of_gemini() -> Any:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [image, image]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 2590,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2580}],
        },
    }


def of_responses() -> Any:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "x",
        "status": "completed",
        "output": [image, {**image, "id": "ig_2"}],
        "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
    }


DIALECTS: dict[str, tuple[str, type[Double], str, Any]] = {
    "openai": ("openai-compatible", Upstream, "", of_openai()),
    "gemini": ("gemini", GeminiDouble, "/v1beta", of_gemini()),
    "responses": ("openai-responses", ResponsesDouble, "", of_responses()),
}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "draw"}]}]}
DOORS: dict[str, tuple[str, Any]] = {
    "openai": ("/v1/chat/completions", chat("draw")),
    "gemini": ("/v1beta/models/m:generateContent", CONTENTS),
    "responses": ("/v1/responses", {"model": "m", "input": "draw"}),
}


def config(kind: str, url: str, price: str) -> str:
    return f"""
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{url}", api_key: k}}
deployments:
  m: {{provider: up, model: gemini-2.5-flash-image}}
prices: {{models: {{m: {price}}}}}
{KEYS}"""


async def call_of(gate: Administered) -> Any:
    async with asyncio.timeout(5):
        while not (rows := (await gate.see("/usage/calls"))["data"]):
            await asyncio.sleep(0.02)
    return rows[0]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_image_is_in_every_book(tmp_path: Path, dialect: str, door: str) -> None:
    kind, double, base, body = DIALECTS[dialect]
    price = "{input: $1/1M, output: $2/1M, image: $0.04/1}"
    path, ask = DOORS[door]
    async with (
        double(behaviour={"x-test-body": json.dumps(body)}) as up,
        administered(tmp_path, config(kind, up.url + base, price)) as gate,
    ):
        answer = await gate.post(path, ask, headers={"authorization": f"Bearer {gate.secret}"})
        assert answer.status == 200, answer.body
        assert answer.headers["x-penstock-cost-usd"] == "0.08003"
        call = await call_of(gate)
        assert (call["images"], call["cost_usd"]) == (2, "0.08003")
        assert {name: usd for name, usd in call["items"].items() if usd != "0"} == {
            "input": "0.00001",
            "output": "0.00002",
            "images": "0.08",
        }
        (total,) = (await gate.see("/usage?by=model"))["data"]
        assert (total["images"], total["cost_usd"]) == (2, "0.08003")
        (team,) = (await gate.see("/statements"))["data"]
        assert (team["images"], team["due_usd"], team["lines"][0]["images"]) == (2, "0.08003", 2)


async def test_what_drawing_took_by_another_model_is_not_taken_for_nothing(tmp_path: Path) -> None:
    """OpenAI's image tool is billed by itself, and its tokens are not in the usage of the response."""
    behaviour = {"x-test-body": json.dumps(of_responses())}
    async with ResponsesDouble(behaviour=behaviour) as up:
        price = "{input: $1/1M, output: $2/1M}"
        async with administered(tmp_path, config("openai-responses", up.url, price)) as gate:
            headers = {"authorization": f"Bearer {gate.secret}"}
            answer = await gate.post(*DOORS["responses"], headers=headers)
            assert answer.status == 200
            assert "x-penstock-cost-usd" not in answer.headers
            call = await call_of(gate)
            assert (call["images"], call["cost_usd"], call["items"]) == (2, None, None)
