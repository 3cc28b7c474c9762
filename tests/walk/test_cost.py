"""The price of a request in steps, not in time: what every later feature on the walk is weighed against.

Counted is the gateway's own code (src/penstock, the double left out) in the event loop's thread: Python calls
and bytecode instructions, for a request that is not the first. The numbers are exact and the same on every
machine; only where TCP joins two events into one read do they fall. A bound is what was measured plus a
little. Raising one is a decision: say in the commit what the request gets for it.

instructions are counted on the version of Python they were recorded on: others compile differently.
"""

import asyncio
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

import pytest
from gateways import KEY, Gateway, chat, gateway, remote

import penstock
from penstock.telemetry import log
from penstock.testing.oidc import OidcProvider
from penstock.testing.upstream import Upstream

OURS = str(Path(penstock.__file__).parent)
DOUBLES = str(Path(OURS) / "testing")
RECORDED_ON = (3, 11)


class Bound(NamedTuple):
    calls: float
    instructions: float


UNARY = Bound(calls=112, instructions=3920)  # one request and its answer
EVENT = Bound(calls=20, instructions=675)  # one event of a stream that comes in a read of its own
MESSAGE = Bound(calls=0.1, instructions=25)  # one message more in the request
PRICES = "prices: {models: {m: {input: $0.15/1M, output: $0.60/1M}}}"
TOKEN = Bound(calls=5, instructions=110)  # more than a key's, of a token that was verified before
LOOSE = 0.9  # of a bound: below that it guards nothing, so lower it


class Counted:
    """Steps of our code while `with` is open."""

    def __init__(self) -> None:
        self.calls = Counter[CodeType]()
        self.instructions = Counter[CodeType]()

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if event == "call":
            if not code.co_filename.startswith(OURS) or code.co_filename.startswith(DOUBLES):
                return None
            task = asyncio.current_task()  # None in what the loop calls: sockets
            if task is not None and task.get_name() != "connection":
                return None  # probes and the like, which look by the clock
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            self.calls[code] += 1
        elif event == "opcode":
            self.instructions[code] += 1
        return self._trace

    def total(self) -> Bound:
        return Bound(self.calls.total(), self.instructions.total())

    def most(self) -> str:
        rows = self.instructions.most_common(15)
        return "\n".join(
            f"{number:6} {code.co_qualname} ({Path(code.co_filename).name})" for code, number in rows
        )


class Client:
    """Written with the standard library only, so that nothing of it is counted."""

    def __init__(self, gate: Gateway, key: str = KEY) -> None:
        self._gate = gate
        self._key = key

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._gate.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, body: dict[str, Any]) -> bytes:
        sent = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._key}\r\naccept: */*\r\ncontent-length: {len(sent)}\r\n\r\n"
        )
        self._writer.write(head.encode() + sent)
        got = await self._reader.readuntil(b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 ")
        if b"transfer-encoding: chunked" in got:
            return await self._reader.readuntil(b"\r\n0\r\n\r\n")
        length = int(got.partition(b"content-length: ")[2].partition(b"\r")[0])
        return await self._reader.readexactly(length)

    async def cost(self, body: dict[str, Any]) -> Counted:
        for _ in range(3):
            await self.ask(body)
        await asyncio.sleep(0.02)  # what comes after an answer's last byte belongs to it
        with Counted() as counted:
            await self.ask(body)
            await asyncio.sleep(0.02)
        return counted


@pytest.fixture
def _logged() -> Iterator[None]:
    writer = log.configure("info", stream=io.StringIO())
    yield
    log.configure("error", stream=io.StringIO()).close()
    writer.close()


def check(measured: Bound, bound: Bound, counted: Counted) -> None:
    said = (
        f"{measured.calls:g} calls, {measured.instructions:g} instructions; most of them in\n{counted.most()}"
    )
    assert measured.calls <= bound.calls, said
    if sys.version_info[:2] == RECORDED_ON:
        assert bound.calls * LOOSE < measured.calls, said
        assert bound.instructions * LOOSE < measured.instructions <= bound.instructions, said


@pytest.mark.usefixtures("_logged")
async def test_a_plain_request_costs_no_more_than_it_did() -> None:
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate, Client(gate) as client:
        counted = await client.cost(chat("hello", temperature=0.7, max_tokens=100))
        check(counted.total(), UNARY, counted)


@pytest.mark.usefixtures("_logged")
async def test_a_token_that_is_remembered_costs_little_more_than_a_key() -> None:
    async with Upstream() as up, OidcProvider() as idp:
        issuer = f"identity: {{oidc: {{corp: {{issuer: '{idp.issuer}', audience: penstock}}}}}}"
        async with gateway(remote(up.url, issuer)) as gate:
            async with Client(gate) as client:
                plain = (await client.cost(chat("hello"))).total()
            async with Client(gate, idp.token()) as client:
                counted = await client.cost(chat("hello"))
            more = Bound(*(a - b for a, b in zip(counted.total(), plain, strict=True)))
            assert more.calls <= TOKEN.calls, counted.most()
            if sys.version_info[:2] == RECORDED_ON:
                assert more.instructions <= TOKEN.instructions, counted.most()


@pytest.mark.usefixtures("_logged")
async def test_an_event_of_a_stream_costs_no_more_than_it_did() -> None:
    few, many = 10, 60
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate, Client(gate) as client:
        costs = []
        for tokens in (few, many):
            up.behaviour = {"x-test-tokens": str(tokens), "x-test-delay-between": "0.002"}
            costs.append(await client.cost(chat("hello", stream=True)))
        less, more = (cost.total() for cost in costs)
        events = many - few
        measured = Bound((more.calls - less.calls) / events, (more.instructions - less.instructions) / events)
        check(measured, EVENT, costs[1])


@pytest.mark.usefixtures("_logged")
async def test_a_long_conversation_is_not_walked_in_python() -> None:
    few, many = 2, 202
    async with Upstream() as up, gateway(remote(up.url, PRICES)) as gate, Client(gate) as client:
        costs = []
        for messages in (few, many):
            body = chat() | {"messages": [{"role": "user", "content": "hello"}] * messages}
            costs.append(await client.cost(body))
        less, more = (cost.total() for cost in costs)
        assert (more.calls - less.calls) / (many - few) <= MESSAGE.calls
        if sys.version_info[:2] == RECORDED_ON:
            assert (more.instructions - less.instructions) / (many - few) <= MESSAGE.instructions
