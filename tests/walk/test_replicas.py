"""Several replicas of one deployment on this machine: one that is sick is left alone, the others answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateways import KEY, Answer, Gateway, chat, gateway

from penstock.engines import ENGINES
from penstock.routing import breaker, slow_start
from penstock.testing.engine import FakeEngine
from penstock.testing.upstream import Upstream

CHAT = "/v1/chat/completions"


def config(replicas: int = 3, route: str = "", remote: str = "http://127.0.0.1:9/v1") -> str:
    return f"""
builtin: off
providers:
  far: {{kind: openai-compatible, base_url: "{remote}", api_key: k}}
deployments:
  own: {{model: "builtin:chat", replicas: {replicas}}}
  other: {{provider: far, model: other-1}}
routes:
  m:
    targets: [{{deployment: own}}]
    timeouts: {{first_token: 2s, between_tokens: 2s}}
    {route}
keys:
  test: {{secret: {KEY}}}
"""


class Ward:
    """Makes engine processes sick, and well again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def pids() -> list[str]:
        children = psutil.Process().children()
        return [str(one.pid) for one in children if "penstock.testing.engine" in one.cmdline()]

    async def make(self, sickness: str, *pids: str) -> None:
        for pid in pids or self.pids():
            await asyncio.to_thread((self._folder / pid).write_text, sickness)

    async def heal(self) -> None:
        for pid in self.pids():
            await asyncio.to_thread((self._folder / pid).unlink, missing_ok=True)


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    """Which replica is ready first, and for how long, is the machine's affair: no slow start."""
    monkeypatch.setattr(slow_start, "LEAST", 1.0)
    engine = FakeEngine("--say-pid", "--slow-s", "0.01", "--sick", str(tmp_path))
    for name in ("llamacpp", engine.name):
        monkeypatch.setitem(ENGINES._loaded, name, engine)
    return Ward(tmp_path)


@contextlib.asynccontextmanager
async def ready(text: str, replicas: int = 3) -> AsyncIterator[Gateway]:
    async with gateway(text) as gate:
        async with asyncio.timeout(20):
            while await gate.metric("penstock_replicas", 'state="ready"') < replicas:
                await asyncio.sleep(0.02)
        yield gate


async def ask(gate: Gateway, **more: Any) -> Answer:
    return await gate.post(CHAT, chat(**more))


def pid_of(answer: Answer) -> str:
    return str(answer.json["choices"][0]["message"]["content"])


async def test_one_sick_replica_is_left_alone_and_its_deployment_stays_up(ward: Ward) -> None:
    async with ready(config()) as gate:
        sick = pid_of(await ask(gate))
        await ward.make("500", sick)
        answers = [await ask(gate) for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert sick not in {pid_of(answer) for answer in answers}
        failed = sum(answer.headers["x-penstock-attempts"] == "2" for answer in answers)
        assert 1 <= failed <= breaker.LEAST, "then it is known"
        assert await gate.metric("penstock_breaker_state", 'kind="replica"') == 2
        assert await gate.metric("penstock_breaker_state", 'deployment="own",kind="deployment"') == 0
        assert await gate.metric("penstock_deployment_down") == 0


@pytest.mark.parametrize("sickness", ["500", "cut", "hang"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_fails_at_one_is_answered_by_another(ward: Ward, sickness: str, stream: bool) -> None:
    async with ready(config(2), 2) as gate:
        await ward.make(sickness, pid_of(await ask(gate)))
        answer = await ask(gate, stream=stream)
        assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "2")
        assert answer.headers["x-penstock-deployment"] == "own"


async def test_its_own_name_is_a_route_that_does_the_same(ward: Ward) -> None:
    async with ready(config(2), 2) as gate:
        await ward.make("500", pid_of(await ask(gate, model="own")))
        answer = await ask(gate, model="own")
        assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "2")


async def test_a_deployment_is_down_when_all_its_replicas_are(ward: Ward) -> None:
    async with Upstream() as far, ready(config(2, "fallbacks: [other]", far.url), 2) as gate:
        await ward.make("500")
        for _ in range(4 * breaker.LEAST):
            answer = await ask(gate)
            assert (answer.status, answer.headers["x-penstock-deployment"]) == (200, "other")
        assert answer.headers["x-penstock-attempts"] == "1", "nobody there is asked any more"
        assert await gate.metric("penstock_deployment_down", 'deployment="own"') == 1
        assert await gate.metric("penstock_breaker_state", 'kind="replica"') == 4
        far.behaviour = {"x-test-status": "500"}
        await ward.heal()
        answer = await ask(gate)
        assert (answer.status, answer.headers["x-penstock-deployment"]) == (200, "own"), "the last resort"


async def test_one_that_recovers_is_asked_again(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "OPEN_S", 0.2)
    async with ready(config(2), 2) as gate:
        first = pid_of(await ask(gate))
        await ward.make("500", first)
        for _ in range(breaker.LEAST):
            assert (await ask(gate)).status == 200
        assert await gate.metric("penstock_breaker_state", 'kind="replica"') > 0
        await ward.heal()
        async with asyncio.timeout(10):
            while await gate.metric("penstock_breaker_state", 'kind="replica"'):
                assert (await ask(gate)).status == 200


async def test_load_is_shared_as_before(ward: Ward) -> None:
    assert ward.pids() == []
    async with ready(config()) as gate:
        answers = await asyncio.gather(*(ask(gate) for _ in range(12)))
        pids = [pid_of(answer) for answer in answers]
        assert len(set(pids)) == 3
        assert await gate.metric("penstock_breaker_state") == 0
