"""A price that was wrong: from the file to a call that was answered weeks ago."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from administered import KEYS, Administered, administered
from gateways import chat

from penstock.testing.upstream import Upstream

CONFIG = f"""
builtin: off
providers:
  up: {{{{kind: openai-compatible, base_url: "{{url}}", models: "*"}}}}
prices: {{{{models: {{{{up/*: {{{{input: $1/1M, output: $2/1M}}}}}}}}}}}}
{KEYS.replace("{", "{{").replace("}", "}}")}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def total(gate: Administered) -> str:
    async with asyncio.timeout(5):
        while not (rows := (await gate.see("/usage"))["data"]) or not rows[0]["calls"]:
            await asyncio.sleep(0.02)
    return str(rows[0]["cost_usd"])


async def test_a_corrected_price_holds_for_the_calls_that_were(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        headers = {"authorization": f"Bearer {gate.secret}"}
        answer = await gate.post("/v1/chat/completions", chat(model="up/some-model"), headers=headers)
        usage = answer.json["usage"]
        tokens = (usage["prompt_tokens"], usage["completion_tokens"])
        before = await total(gate)
        text = CONFIG.format(url=up.url).replace("$1/1M", "$3/1M")
        await asyncio.to_thread(gate.file.write_text, text)
        done: Any = {"changed": 0}
        async with asyncio.timeout(10):
            while not done["changed"]:
                answer = await gate.ask(
                    "POST", "/usage/rerate", {"since": "1h", "deployment": "up/some-model"}
                )
                done = answer.json
                await asyncio.sleep(0.02)
        assert Decimal(before) * 10**6 == tokens[0] + 2 * tokens[1]
        assert done["before_usd"] == before
        assert done["after_usd"] == await total(gate)
        assert Decimal(done["after_usd"]) * 10**6 == 3 * tokens[0] + 2 * tokens[1]
        (call,) = (await gate.see("/usage/calls"))["data"]
        assert (call["cost_usd"], call["audio_prompt_tokens"]) == (done["after_usd"], 0)


async def test_an_invoice_may_be_larger_than_other_bodies(folder: Path) -> None:
    async with Upstream() as up, administered(folder, CONFIG.format(url=up.url)) as gate:
        invoice = "date,model,cost\n" + "2026-11-03,some-model,0.5\n" * 60_000
        body = {"provider": "up", "month": "2026-11", "invoice": invoice}
        answer = await gate.ask("POST", "/statements/reconcile", body)
        assert (answer.status, answer.json["total"]["invoice_usd"]) == (200, "30000")
        assert (await gate.ask("POST", "/teams", body)).status == 413
