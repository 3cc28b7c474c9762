"""What calls reserve, extend and keep alive, with the ledger of one process."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import structlog

from penstock.config.compile import compile_settings
from penstock.config.load import load_text
from penstock.config.snapshot import Snapshot
from penstock.gateway import reservations
from penstock.gateway.reservations import Reservations
from penstock.lib import tasks
from penstock.limits.memory import MemoryLedger
from penstock.testing.clock import FakeClock
from penstock.types.call import Call
from penstock.types.deployment import Labels
from penstock.types.errors import RateLimitExceeded
from penstock.types.events import Chunk, Delta, Events, Text
from penstock.types.ledger import Lease, LedgerUnavailable
from penstock.types.requests import ChatRequest, CompletionRequest
from penstock.types.usage import Usage

CONFIG = """
builtin: off
providers: {up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: none}}
deployments:
  m: {provider: up, model: m}
  small: {provider: up, model: m, limits: {tokens: 1000/min}}
keys:
  ci: {secret: sk-test, limits: {tokens: 1000/min, requests: 1M/min}}
  free: {secret: sk-free}
"""
LONG = "word " * 80  # 100 tokens, as they are counted


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_settings(load_text(CONFIG), secret=b"tests" * 8)


def a_call(snapshot: Snapshot, key: str = "sk-test") -> Call:
    call = Call("req_1", "/v1/chat/completions", "chat", 0.0, 1_800_000_000, is_stream=True)
    call.key = snapshot.authenticate(key.encode())
    return call


async def held(it: Reservations, snapshot: Snapshot) -> tuple[Call, Lease]:
    call = a_call(snapshot)
    await it.reserve(call, ChatRequest("m", {}, max_tokens=0), snapshot.routes["m"])
    assert call.lease is not None
    return call, call.lease


def piece(dialect: str, spoken: str) -> Delta:
    """Of an answer, as a client of `dialect` is told it by a target that speaks `spoken`."""
    if dialect != spoken:
        return Events([Text(LONG)], has_content=True)
    native: dict[str, Any] = {
        "openai": {"choices": [{"index": 0, "delta": {"content": LONG}}]},
        "anthropic": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": LONG}},
        "gemini": {"candidates": [{"content": {"parts": [{"text": LONG}]}}]},
    }
    return Chunk(native[dialect], has_content=True)


@pytest.mark.parametrize(
    ("dialect", "spoken", "pieces"),
    [
        ("openai", "openai", 1000),  # whose pieces are tokens
        ("anthropic", "openai", 1000),
        ("openai", "gemini", 10),
        ("gemini", "gemini", 10),
        ("anthropic", "anthropic", 10),
        ("gemini", "anthropic", 10),
    ],
)
async def test_a_stream_of_large_pieces_ends_where_the_limit_is(
    snapshot: Snapshot, dialect: Any, spoken: str, pieces: int
) -> None:
    it = Reservations(MemoryLedger(FakeClock()), FakeClock())
    call, lease = await held(it, snapshot)
    call.dialect = "" if spoken == dialect else spoken
    told: list[Delta] = []

    async def emit(deltas: Sequence[Delta]) -> None:
        told.extend(deltas)

    extending = it.extending(call, ChatRequest("m", {}, dialect=dialect), lease, emit)

    async def stream() -> None:
        while True:
            await extending([piece(dialect, spoken)])

    with pytest.raises(RateLimitExceeded):
        await stream()
    assert pieces - 256 <= len(told) <= pieces
    await it.close()


def with_an_image(size_bytes: int) -> dict[str, Any]:
    url = "data:image/png;base64," + "iVBORw0KGgo" * (size_bytes // 11)
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "m", "messages": [{"role": "user", "content": parts}]}


async def test_an_image_is_not_reserved_as_if_it_were_text(snapshot: Snapshot) -> None:
    it = Reservations(MemoryLedger(FakeClock()), FakeClock())
    body = with_an_image(1_000_000)
    small = snapshot.routes["small"].targets[0].deployment
    for key in ("sk-test", "sk-free"):
        call = a_call(snapshot, key)
        call.body_bytes = len(msgspec.json.encode(body))
        request = ChatRequest("m", body)
        await it.reserve(call, request, snapshot.routes["m"])
        assert (call.lease is None) == (key == "sk-free")
        async with it.of_attempt(call, request, small):
            assert it.report().leases == (2 if call.lease is not None else 1)
        if call.lease is not None:
            assert call.needs.cost.tokens < 1000
            await it.settle(call, call.lease)
    text = {"model": "m", "messages": [{"role": "user", "content": LONG * 1000}]}
    call = a_call(snapshot)
    call.body_bytes = len(msgspec.json.encode(text))
    with pytest.raises(RateLimitExceeded):
        await it.reserve(call, ChatRequest("m", text), snapshot.routes["m"])
    await it.close()


class Beaten(MemoryLedger):
    """Notes how many leases each heartbeat was for. The first ones fail by a bug."""

    def __init__(self, bugs: int = 0) -> None:
        super().__init__(FakeClock())
        self.sizes: list[int] = []
        self.is_round = asyncio.Event()
        self._bugs = bugs

    async def heartbeat(self, leases: Sequence[Lease], now_s: float) -> None:
        if self._bugs:
            self._bugs -= 1
            raise ValueError
        self.sizes.append(len(leases))
        await super().heartbeat(leases, now_s)
        if sum(self.sizes) >= 1000:
            self.is_round.set()


async def test_many_calls_are_kept_alive_some_at_a_time(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "BEAT_S", 0.0)
    ledger, running = Beaten(bugs=4), set[asyncio.Task[Any]]()
    it = Reservations(ledger, FakeClock())
    for _ in range(1000):
        await held(it, snapshot)
    with structlog.testing.capture_logs() as lines:
        beating = tasks.spawn(running, it.run(), "beating")
        await ledger.is_round.wait()
        await tasks.cancel_and_wait(beating)
    assert len(lines) == 4
    assert max(ledger.sizes) <= reservations.BEAT_TOGETHER
    assert sum(ledger.sizes[:4]) == 1000
    await it.close()


class Full(MemoryLedger):
    async def close(self) -> None:
        raise LedgerUnavailable("database or disk is full")


async def test_a_full_disk_at_the_end_is_told_to_the_log() -> None:
    with structlog.testing.capture_logs() as lines:
        await Reservations(Full(FakeClock()), FakeClock()).close()
    assert lines[0]["error"] == "database or disk is full"


async def test_every_answer_that_is_asked_for_is_reserved(snapshot: Snapshot) -> None:
    it = Reservations(MemoryLedger(FakeClock()), FakeClock())
    free = snapshot.routes["m"]
    call = a_call(snapshot)
    call.is_stream = False
    await it.reserve(call, ChatRequest("m", {}, n=3, max_tokens=100), free)
    assert call.lease is not None
    assert (call.needs.answer, call.needs.choices) == (300, 3)
    call.usage, call.labels = Usage(completion_tokens=150), Labels("m", "m")
    await it.settle(call, call.lease)
    call = a_call(snapshot)
    prompts = CompletionRequest("m", {"prompt": ["a", "b"]}, n=2)
    await it.reserve(call, prompts, free)
    assert call.needs.answer == 4 * 50  # as long as each of the three was
    await it.close()
