"""Accounts that a test keeps beside the gateway: what clients saw, what was counted, what is held."""

import asyncio
import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from gateways import Answer, Gateway, chat
from sick import text_of

from penstock.telemetry import log

RECOVERS_WITHIN_S = 10.0


def logged() -> Iterator[io.StringIO]:
    """The log, while a fixture is open."""
    said = io.StringIO()
    writer = log.configure("info", stream=said)
    yield said
    log.configure("error", stream=io.StringIO()).close()
    writer.close()


class Seen(NamedTuple):
    text: str
    code: str | None  # of the error
    deployment: str | None


def seen(answer: Answer, *, stream: bool) -> Seen:
    """Raises AssertionError for what no client should ever see."""
    deployment = answer.headers.get("x-penstock-deployment")
    if answer.status != 200:
        return Seen("", answer.json["error"]["code"], deployment)
    if not stream:
        return Seen(answer.json["choices"][0]["message"]["content"], None, deployment)
    *events, end = answer.events
    assert all("error" not in one for one in events), "more than one error"
    assert "[DONE]" not in events
    pieces = [choice["delta"].get("content") or "" for one in events for choice in one.get("choices") or ()]
    if end == "[DONE]":
        return Seen("".join(pieces), None, deployment)
    assert end["error"]["partial"] is True
    return Seen("".join(pieces), end["error"]["code"], deployment)


def held() -> tuple[int, int]:
    """Tasks and sockets of this process: gateway, client and double together."""
    sockets = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - as in conftest
        with contextlib.suppress(OSError):
            sockets += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return len(asyncio.all_tasks()), sockets


class Books:
    """Asks, and keeps account beside the gateway."""

    def __init__(self, gate: Gateway, lines: io.StringIO) -> None:
        self.gate = gate
        self.calls = 0
        self.words = 0
        self._lines = lines
        self._held = (0, 0)

    async def ask(self, *, stream: bool, model: str = "m", **more: Any) -> Seen:
        self.calls += 1
        body = chat(stream=stream, **more) | {"model": model}
        answer = await self.gate.post("/v1/chat/completions", body)
        said = seen(answer, stream=stream)
        if said.code is None:
            assert said.text in (text_of("a"), text_of("b")), "no whole answer"
        else:
            assert text_of("a").startswith(said.text), "not how an answer begins"
        self.words += len(said.text.split())
        return said

    async def warm(self, *models: str) -> None:
        """From here on it holds what a gateway at rest holds: one connection to each."""
        for model in models:
            assert (await self.ask(stream=False, model=model)).code is None
        await self.rests()

    async def rests(self, clients: int = 2) -> None:
        """That is what it may hold in the end; of the connections one is there to ask for metrics."""
        await asyncio.gather(*(self.gate.get("/health/live") for _ in range(clients)))
        await asyncio.sleep(0.02)
        self._held = held()

    async def recovered(self) -> None:
        """Once the first target answers again."""
        async with asyncio.timeout(RECOVERS_WITHIN_S):
            while (await self.ask(stream=False))[1:] != (None, "a"):
                await asyncio.sleep(0.05)

    async def check(self) -> None:
        gate = self.gate
        assert await gate.settled("penstock_requests_total", at_least=self.calls) == self.calls
        assert await gate.metric("penstock_tokens_total", 'kind="completion"') == self.words
        assert await gate.metric("penstock_requests_in_flight") == 0
        for _ in range(200):
            if len(self._called()) >= self.calls and all(map(int.__le__, held(), self._held)):
                break
            await asyncio.sleep(0.01)
        assert len(self._called()) == self.calls
        assert sum(line.get("completion_tokens", 0) for line in self._called()) == self.words
        assert all(map(int.__le__, held(), self._held)), (held(), self._held)

    def _called(self) -> list[dict[str, Any]]:
        found = [msgspec.json.decode(line) for line in self._lines.getvalue().splitlines()]
        return [line for line in found if line["event"] == "call"]
