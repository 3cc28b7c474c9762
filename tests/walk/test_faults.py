"""What networks and machines do to upstreams, on real sockets and to real processes: heard, and survived.

Each fault, streamed and whole, for a target alone and for one with a fallback. After each the same is asked:

    the client      saw one whole answer, or the beginning of one and a single error; no word twice
    the accounts    every call once, the tokens that were told, nothing in flight, one line in the log
    the process     holds no more sockets and tasks than before
    the next call   is answered by the same target again, without a restart
"""

import asyncio
import contextlib
import datetime as dt
import io
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import trustme
from books import Books, Seen, logged, seen
from gateways import KEY, chat, gateway
from sick import Moody, Process, Relay, Resets, Sick, Steady, drips, drips_late, never, text_of

from penstock import serve
from penstock.engines import ENGINES
from penstock.gateway import pace
from penstock.lib import http1
from penstock.lib.http1 import client as http1_client
from penstock.lib.http1.dial import dial
from penstock.routing import breaker
from penstock.testing.engine import FakeEngine
from penstock.testing.upstream import Upstream

CUT, SILENT, AWAY = "upstream_cut", "upstream_timeout", "upstream_unavailable"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Of the log."""
    yield from logged()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breakers that close while a test waits."""
    monkeypatch.setattr(breaker, "OPEN_S", 0.1)
    monkeypatch.setattr(breaker, "LONGEST_S", 0.2)


TIMES = "connect: 500ms, first_token: 700ms, between_tokens: 400ms, total: 1500ms"


def config(first: str, second: str = "", *, times: str = TIMES, keys: str = "api_key: k") -> str:
    providers = f'  one: {{kind: openai-compatible, base_url: "{first}", {keys}}}\n'
    deployments = "  a: {provider: one, model: m}\n"
    if second:
        providers += f'  two: {{kind: openai-compatible, base_url: "{second}", api_key: k}}\n'
        deployments += "  b: {provider: two, model: m}\n"
    fallbacks = "fallbacks: [b], " if second else ""
    return (
        f"builtin: off\nproviders:\n{providers}deployments:\n{deployments}"
        f"routes:\n  m: {{targets: [{{deployment: a}}], {fallbacks}timeouts: {{{times}}}}}\n"
        f"keys:\n  test: {{secret: {KEY}}}\n  boss: {{secret: {KEY}-boss, role: operator}}\n"
    )


# -- the faults


class Fault(NamedTuple):
    """`code`: what a client without a fallback hears, streamed or whole."""

    make: Callable[[pytest.MonkeyPatch, Path], AbstractAsyncContextManager[Sick]]
    code: str
    asks: Mapping[str, Any] = MappingProxyType({})
    is_midway: bool = False  # the stream had begun: nobody else may go on with it
    takes_all: bool = False  # of the time that a whole answer has: no time is left for a fallback
    kinds: tuple[bool, ...] = (True, False)  # stream


def relay(handler: Callable[[], Any]) -> Callable[..., AbstractAsyncContextManager[Sick]]:
    return lambda *_: Relay(handler())


def moody(**behaviour: str) -> Callable[..., AbstractAsyncContextManager[Sick]]:
    return lambda *_: Moody(**behaviour)


@contextlib.asynccontextmanager
async def nameless(monkeypatch: pytest.MonkeyPatch, _: Path) -> AsyncIterator[Sick]:
    """Its name leads nowhere while it is ill."""
    async with Relay() as inner:
        names = {"engine.invalid": "127.0.0.1"}

        async def resolving(loop: Any, origin: Any, *more: Any) -> Any:
            known = http1.Origin(origin.scheme, names.get(origin.host, origin.host), origin.port)
            return await dial(loop, known, *more)

        class Named(Sick):
            url = inner.url.replace("localhost", "engine.invalid")

            async def begin(self) -> None:
                names.clear()
                inner.cut()

            async def heal(self) -> None:
                names["engine.invalid"] = "127.0.0.1"

        monkeypatch.setattr(http1_client, "dial", resolving)
        yield Named()


@contextlib.asynccontextmanager
async def run_out(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[Sick]:
    """Its certificate was good until yesterday, while it is ill."""
    ca = trustme.CA()
    bundle = folder / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    now = dt.datetime.now(dt.UTC)
    good = ca.issue_cert("localhost", not_after=now + dt.timedelta(days=1))
    bad = ca.issue_cert("localhost", not_after=now - dt.timedelta(days=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good.configure_cert(context)
    async with Relay(tls=context) as inner:

        class Expired(Sick):
            url = inner.url

            async def begin(self) -> None:
                bad.configure_cert(context)
                inner.cut()

            async def heal(self) -> None:
                good.configure_cert(context)

        yield Expired()


def told(**asked: str) -> dict[str, Any]:
    named = {f"x-test-{name.replace('_', '-')}": value for name, value in asked.items()}
    return {"metadata": {"x-test-log": "1", **named}}


FAULTS: dict[str, Fault] = {
    "killed-before-headers": Fault(lambda *_: Process("asked"), AWAY, told(delay_headers="30")),
    "killed-after-headers": Fault(lambda *_: Process("head"), CUT, told(delay_first="30")),
    "killed-in-the-middle": Fault(
        lambda *_: Process("hangs"),
        CUT,
        told(hang="8"),
        is_midway=True,
        kinds=(True,),
    ),
    "never-answers": Fault(relay(lambda: never), SILENT, takes_all=True),
    "a-byte-at-a-time": Fault(relay(lambda: drips), SILENT, takes_all=True),
    "a-byte-at-a-time-midway": Fault(relay(lambda: drips_late), SILENT, is_midway=True, kinds=(True,)),
    "500": Fault(moody(status="500"), AWAY),
    "429": Fault(moody(status="429", retry_after="1"), "upstream_rate_limited"),
    "no-such-name": Fault(nameless, AWAY),
    "certificate-run-out": Fault(run_out, AWAY),
}
TABLE = [
    pytest.param(
        fault, stream, fallback, id=f"{name}-{'stream' if stream else 'whole'}{'-fallback' * fallback}"
    )
    for name, fault in FAULTS.items()
    for stream in fault.kinds
    for fallback in (False, True)
]


@pytest.mark.parametrize(("fault", "stream", "fallback"), TABLE)
async def test_a_fault_is_survived(  # noqa: PLR0917 - pytest passes them by name
    fault: Fault,
    stream: bool,
    fallback: bool,
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    async with (
        Steady("b") as other,
        fault.make(monkeypatch, tmp_path) as sick,
        gateway(config(sick.url, other.url if fallback else "")) as gate,
    ):
        books = Books(gate, lines)
        await books.warm("m", *(["b"] if fallback else []))
        await sick.begin()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(books.ask(stream=stream, **fault.asks))
            if fault.asks:
                await sick.strike()
        said = asked.result()
        if fallback and not fault.is_midway and (stream or not fault.takes_all):
            assert said == Seen(text_of("b"), None, "b")
        else:
            assert said.code == fault.code
            assert bool(said.text) is fault.is_midway
        await sick.heal()
        await books.recovered()
        await books.check()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_storm_of_resets(stream: bool, lines: io.StringIO) -> None:
    async with Steady("b") as other, Relay(Resets()) as sick, gateway(config(sick.url, other.url)) as gate:
        books = Books(gate, lines)
        await asyncio.gather(*(books.ask(stream=stream) for _ in range(24)))
        await asyncio.gather(*(books.ask(stream=stream, model="b") for _ in range(24)))
        await books.warm("m", "b")
        await sick.begin()
        answers = await asyncio.gather(*(books.ask(stream=stream) for _ in range(24)))
        whole = [said for said in answers if said.code is None]
        assert len(whole) >= 8, "as far as the budget for further attempts goes"
        assert {said.code for said in answers} <= {None, CUT, AWAY, "no_healthy_target"}
        await sick.heal()
        await books.recovered()
        await books.check()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_all_are_down_and_operators_hear_why(stream: bool, lines: io.StringIO) -> None:
    async with (
        Moody(status="500") as one,
        Moody(status="429", retry_after="7") as two,
        gateway(config(one.url, two.url)) as gate,
    ):
        books = Books(gate, lines)
        await books.warm("m", "b")
        await one.begin()
        await two.begin()
        boss = {"authorization": f"Bearer {KEY}-boss"}
        answer = await gate.post("/v1/chat/completions", chat(stream=stream), headers=boss)
        assert answer.error == (503, "no_healthy_target", None)
        assert answer.headers["x-penstock-attempts"] == "2"
        assert answer.headers["retry-after"] == "7"
        attempts = [(one["deployment"], one["code"]) for one in answer.json["error"]["attempts"]]
        assert sorted(attempts) == [("a", AWAY), ("b", "upstream_rate_limited")]
        answer = await gate.post("/v1/chat/completions", chat(stream=stream))
        assert answer.error == (503, "no_healthy_target", None)
        assert "attempts" not in answer.json["error"]
        books.calls += 2
        await one.heal()
        await two.heal()
        await books.recovered()
        await books.check()


class Picky(Upstream):
    """Refuses one of its keys, while it does."""

    refuses = ""

    def answer(self, request: Any) -> Any:
        if request.headers.get("authorization") == f"Bearer {self.refuses}":
            return self.error(401, "Incorrect API key provided.")
        return super().answer(request)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_one_of_three_keys_is_wrong(stream: bool, lines: io.StringIO) -> None:
    async with (
        Picky(behaviour={"x-test-content": text_of("a")}) as up,
        gateway(config(up.url, keys="api_keys: [k1, k2, k3]")) as gate,
    ):
        books = Books(gate, lines)
        await books.warm("m")
        up.refuses = "k2"
        for _ in range(20):
            assert (await books.ask(stream=stream)).code is None
        keys = [request.headers["authorization"] for request in up.requests]
        assert 1 <= keys.count("Bearer k2") < 20
        up.refuses = ""
        before = len(up.requests)
        async with asyncio.timeout(10):
            while all(r.headers["authorization"] != "Bearer k2" for r in up.requests[before:]):
                assert (await books.ask(stream=stream)).code is None
                await asyncio.sleep(0.01)
        await books.check()


async def test_thirty_seconds_of_500_cost_few_requests(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its breaker leaves it alone, and a probe brings it back."""
    monkeypatch.setattr(breaker, "OPEN_S", 0.5)
    monkeypatch.setattr(breaker, "LONGEST_S", 0.5)
    async with (
        Moody(status="500") as sick,
        Steady("b") as other,
        gateway(config(sick.url, other.url)) as gate,
    ):
        books = Books(gate, lines)
        await books.warm("m", "b")
        await sick.begin()
        for _ in range(60):
            assert (await books.ask(stream=False)).deployment == "b"
        assert len(sick.up.requests) < 20
        assert "penstock_deployment_down" in (await gate.get("/metrics")).body.decode()
        await sick.heal()
        await books.recovered()
        await books.check()


# -- the least rate


@pytest.mark.parametrize("min_rate", [None, 100, 2])
async def test_a_stream_that_only_drips_ends(
    min_rate: int | None, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "WINDOW_S", 0.3)
    async with Steady("a") as up:
        times = TIMES if min_rate is None else f"{TIMES}, min_rate: {min_rate}"
        async with gateway(config(up.url, times=times)) as gate:
            books = Books(gate, lines)
            await books.warm("m")
            up.behaviour |= {"x-test-delay-between": "0.05"}
            said = await books.ask(stream=True)
            if min_rate == 100:
                assert said.code == SILENT
                assert 0 < len(said.text.split()) < 15
                await asyncio.wait_for(up.requests[-1].ended.wait(), 10)
                assert up.requests[-1].cancelled_at is not None
            else:
                assert said.code is None
            del up.behaviour["x-test-delay-between"]
            await books.recovered()
            await books.check()


async def test_a_whole_answer_that_drips_is_given_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it was told: engines of our own stream to us also what the client wants whole."""
    monkeypatch.setattr(pace, "WINDOW_S", 0.2)
    monkeypatch.setattr(FakeEngine, "name", "llamacpp")
    monkeypatch.setitem(ENGINES._loaded, "llamacpp", FakeEngine("--slow-s", "0.15"))
    async with Steady("b") as other:
        text = config(other.url, other.url, times="min_rate: 50")
        text = text.replace("a: {provider: one, model: m}", f'a: {{model: "file:{serve.BUILTIN_CHAT_FILE}"}}')
        async with gateway(text) as gate:
            answer = await gate.post("/v1/chat/completions", chat())
            assert seen(answer, stream=False) == Seen(text_of("b"), None, "b")
            assert await gate.metric("penstock_upstream_attempts_total", f'outcome="{SILENT}"') == 1
            assert await gate.metric("penstock_tokens_total", 'deployment="a"') == 0


async def test_a_client_that_is_slow_is_not_the_upstream_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_S", 0.3)
    async with Upstream() as up, gateway(config(up.url, times="min_rate: 50")) as gate:
        up.behaviour = {"x-test-tokens": "3000", "x-test-content": "word" * 2000}
        response = await gate.open("/v1/chat/completions", chat(stream=True))
        await asyncio.sleep(1)  # buffers are full, and the gateway waits for us
        assert up.in_flight == 1
        body = await response.read(64 << 20)
        assert body.endswith(b"data: [DONE]\n\n")
