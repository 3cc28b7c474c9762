"""Agents of every dialect against models of every dialect, turn after turn.

The doubles are as strict as the vendors: signed reasoning must come back unchanged with the calls it led to,
every call must be answered, once, in place.
"""

import asyncio
import contextlib
import json
import subprocess
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import AGENTS
from gateways import KEY, Gateway, gateway

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.bedrock import BedrockDouble
from penstock.testing.chat import ChatDouble
from penstock.testing.gemini import GeminiDouble
from penstock.testing.ollama import OllamaDouble
from penstock.testing.responses import ResponsesDouble

SECRET = "aws-secret"
DOUBLES: dict[str, tuple[str, Any, str]] = {  # upstream -> provider kind, double, path of its base URL
    "openai": ("openai", ChatDouble, ""),
    "responses": ("openai-responses", ResponsesDouble, ""),
    "anthropic": ("anthropic", AnthropicDouble, "/v1"),
    "gemini": ("gemini", GeminiDouble, "/v1beta"),
    "ollama": ("ollama-native", OllamaDouble, ""),
    "bedrock": ("bedrock", lambda: BedrockDouble(secret_access_key=SECRET), ""),
}
CREDENTIALS = {
    "bedrock": f"region: us-east-1, access_key_id: AKIDEXAMPLE, secret_access_key: {SECRET}",
}
CONFIG = """
builtin: off
providers:
  up: {{kind: {kind}, base_url: "{url}", {credentials}}}
deployments:
  m: {{provider: up, model: {model}}}
keys:
  test: {{secret: {key}}}
"""


@contextlib.asynccontextmanager
async def before(upstream: str) -> AsyncIterator[Gateway]:
    """A gateway before a double; a bug in it fails the test."""
    kind, double, path = DOUBLES[upstream]
    async with double() as up:
        config = CONFIG.format(
            kind=kind,
            url=up.url + path,
            key=KEY,
            credentials=CREDENTIALS.get(upstream, "api_key: sk-upstream-secret"),
            model="anthropic.claude-3-7-sonnet" if upstream == "bedrock" else "upstream-model",
        )
        async with gateway(config) as gate:
            yield gate
            assert await gate.metric("penstock_requests_total", 'code="internal_error"') == 0


def check(upstream: str, said: list[str], *, calls: int, thoughts: int) -> None:
    turns = len(said)
    for turn, text in enumerate(said):
        if turn % 5 != 4:
            assert str(turn + turn + 1) in text, (turn, text)
    assert calls >= turns * 4 // 5
    if upstream != "openai":  # that format does not show reasoning
        assert thoughts >= turns


async def converse(client: str, upstream: str, *, turns: int, stream: bool) -> None:
    async with before(upstream) as gate:
        agent = AGENTS[client](gate.url, KEY, stream=stream)
        try:
            said = await agent.converse(turns)
        finally:
            await agent.close()
        assert len(said) == turns
        check(upstream, said, calls=agent.calls, thoughts=agent.thoughts)


PAIRS = [(client, upstream) for client in AGENTS for upstream in DOUBLES]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
async def test_an_agent_goes_on_for_ten_turns(client: str, upstream: str, stream: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await converse(client, upstream, turns=10, stream=stream)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
async def test_and_for_two_hundred(client: str, upstream: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await converse(client, upstream, turns=200, stream=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("upstream", DOUBLES)
async def test_and_every_client_for_node(node: Path, upstream: str) -> None:
    """The official SDKs and the Vercel AI SDK with each of its providers: nine, streamed and whole."""
    turns = 10
    async with before(upstream) as gate:
        process = await asyncio.create_subprocess_exec(
            str(node),  # uvloop takes no Path
            str(Path(__file__).parent.parent / "node" / "agents.mjs"),
            *(gate.url, KEY, str(turns)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    found = [json.loads(line) for line in out.splitlines()]
    assert len({(one["client"], one["stream"]) for one in found}) == 18
    for one in found:
        assert one["error"] is None, (one["client"], one["error"])
        assert len(one["said"]) == turns
        check(upstream, one["said"], calls=one["calls"], thoughts=one["thoughts"])
