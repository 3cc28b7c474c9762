"""Every double runs by hand: it says where it listens and ends when it is told to."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import pytest

from penstock.lib.http1 import Client, Origin

USER: Any = [{"role": "user", "content": "say yes"}]
GEMINI: Any = {"contents": [{"parts": [{"text": "say yes"}]}]}
CONVERSE: Any = {"messages": [{"role": "user", "content": [{"text": "say yes"}]}]}


@pytest.mark.parametrize(
    ("module", "path", "body"),
    [
        ("anthropic", "/v1/messages", {"model": "m", "max_tokens": 9, "messages": USER}),
        ("bedrock", "/model/m/converse", CONVERSE),
        ("chat", "/v1/chat/completions", {"model": "m", "messages": USER}),
        ("gemini", "/v1beta/models/m:generateContent", GEMINI),
        ("ollama", "/api/chat", {"model": "m", "messages": USER, "stream": False}),
        ("responses", "/v1/responses", {"model": "m", "input": "say yes"}),
    ],
)
async def test_by_hand(module: str, path: str, body: Any) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"penstock.testing.{module}", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    origin, _ = Origin.parse((await program.stdout.readline()).decode().strip())
    headers = [("authorization", "Bearer any"), ("anthropic-version", "2023-06-01")]
    async with Client() as client:
        response = await client.request(origin, "POST", path, headers, json.dumps(body).encode())
        assert response.status == 200
        assert b'"yes"' in await response.read(1 << 20)
    os.kill(program.pid, signal.SIGTERM)
    assert await program.wait() == 0
