"""An engine that is asked how many tokens a prompt is, and does not say."""

import asyncio
from typing import Any

import pytest
from gateways import KEY, chat, gateway

from penstock.engines import ENGINES
from penstock.gateway import upstream
from penstock.testing.engine import FakeEngine
from penstock.types.deployment import Ask, CountPrompt
from penstock.types.requests import Request

CONFIG = f"""
builtin: off
deployments:
  m: {{model: "builtin:chat", context: 16}}
routes:
  r: {{targets: [{{deployment: m}}], timeouts: {{first_token: 200ms}}}}
keys:
  test: {{secret: {KEY}}}
"""
COUNT, CHAT = "/v1/messages/count_tokens", "/v1/messages"


async def never(_request: Request, _ask: Ask) -> int:
    await asyncio.Event().wait()
    return 0


async def nonsense(_request: Request, _ask: Ask) -> int:
    answer: dict[str, Any] = {"toks": []}
    return len(answer["tokens"])


@pytest.mark.parametrize(
    ("counts", "code"),
    [(never, "upstream_timeout"), (nonsense, "upstream_invalid")],
)
@pytest.mark.parametrize("path", [COUNT, CHAT])
async def test_it_is_the_engine_s_fault(
    counts: CountPrompt, code: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(engine, "count_prompt", counts)
    monkeypatch.setattr(upstream, "COUNT_WITHIN_S", 0.2)
    for name in ("llamacpp", engine.name):
        monkeypatch.setitem(ENGINES._loaded, name, engine)
    async with gateway(CONFIG) as gate:
        asked = chat("so many words " * 20, max_tokens=9, stream=path == CHAT) | {"model": "r"}
        answer = await gate.post(path, asked)
        assert answer.status in (502, 504), answer.body
        assert await gate.settled("penstock_requests_total", f'code="{code}"', at_least=1) == 1
