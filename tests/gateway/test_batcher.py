"""Who waits for whom, and who hears of what (gateway/batching.py); the upstream is a function."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.gateway.batching import Batcher, Emit
from penstock.lib import tasks
from penstock.lib.clock import SystemClock
from penstock.providers.openai import OpenAICodec
from penstock.telemetry.metrics import Metrics
from penstock.types.call import Attempt, Call
from penstock.types.deployment import Batching, Deployment, Labels, Route, Timeouts
from penstock.types.errors import (
    InvalidRequest,
    PenstockError,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from penstock.types.events import Delta, Vectors
from penstock.types.requests import EmbeddingRequest, Request
from penstock.types.usage import Usage

LONG_S = 30.0  # no test waits for it
FOUR = Batching(LONG_S, texts=4, tokens=100)
ROUTE = Route("r", ())
BAD, GARBAGE, DOWN, BUG = "bad", "garbage", "down", "bug"


class Upstream:
    """Answers when told to, or at once; a request that holds one of the words above fails."""

    def __init__(self, batching: Batching | None = FOUR) -> None:
        self.asked: list[list[Any]] = []
        self.totals: list[float] = []
        self.cancelled = 0
        self.gate: asyncio.Event | None = asyncio.Event()
        self.deployment = deployment(batching)
        self.metrics = Metrics("1")
        self.batcher = Batcher(SystemClock(), self.metrics)
        self.calls: list[Call] = []

    async def send(self, call: Call, request: Request, route: Route, emit: Emit) -> None:
        assert isinstance(request, EmbeddingRequest)
        self.asked.append(list(request.inputs))
        self.totals.append(route.timeouts.total_s)
        attempt = Attempt("d", "r", SystemClock().monotonic(), call.labels.deployment)
        call.attempts.append(attempt)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        for word, error in (
            (BAD, InvalidRequest("bad", param="input[0]")),
            (GARBAGE, UpstreamInvalid("garbage")),
            (DOWN, UpstreamUnavailable("down", detail="by the river", retry_after_s=3)),
            (BUG, KeyError("bug")),
        ):
            if word in request.inputs:
                if isinstance(error, PenstockError):
                    attempt.error = error
                raise error
        usage = Usage(sum(map(len, request.inputs)))
        await emit((Vectors([str(text).encode() for text in request.inputs], usage),))

    async def ask(self, *texts: Any, route: Route = ROUTE, **more: Any) -> Vectors:
        call = Call("id", "/", "embedding", 0.0, 0, labels=Labels(route.name, f"{route.name}-label"))
        self.calls.append(call)
        got: list[Delta] = []

        async def emit(deltas: Sequence[Delta]) -> None:
            got.extend(deltas)

        request = EmbeddingRequest("m", list(texts), **more)
        await self.batcher.run(
            call, request, deployment=self.deployment, route=route, emit=emit, send=self.send
        )
        (answer,) = got
        assert isinstance(answer, Vectors)
        assert answer.usage == call.usage or len(call.attempts) == 1
        return answer

    def open(self) -> None:
        assert self.gate is not None
        self.gate.set()

    @property
    def is_idle(self) -> bool:
        return not self.batcher._lanes

    def sizes(self) -> str:
        lines = self.metrics.render().decode().splitlines()
        return next(
            line.rpartition(" ")[2] for line in lines if line.startswith("penstock_batch_requests_sum")
        )


def deployment(batching: Batching | None) -> Deployment:
    return Deployment("d", "m", OpenAICodec(), frozenset({"embedding"}), batching=batching)


class Clients:
    """Requests on their way."""

    def __init__(self, up: Upstream) -> None:
        self._owner: tasks.Tasks = set()
        self._up = up

    async def ask(self, *texts: Any, **more: Any) -> asyncio.Task[Any]:
        """Sends one, and returns when it waits or was sent."""

        async def quietly() -> Any:
            try:
                return await self._up.ask(*texts, **more)
            except Exception as exc:  # noqa: BLE001 - looked at by the test
                return exc

        task = tasks.spawn(self._owner, quietly(), "client")
        await settle()
        return task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.001)


async def test_one_alone_is_sent_at_once_and_as_it_came() -> None:
    up = Upstream()
    up.gate = None
    answer = await up.ask("a", "b")
    assert answer == Vectors([b"a", b"b"], Usage(2))
    assert up.totals == [Timeouts().total_s]
    assert up.is_idle
    assert up.sizes() == "1.0"


async def test_who_comes_meanwhile_is_sent_as_one_when_the_first_has_landed() -> None:
    up = Upstream()
    clients = Clients(up)
    waiting = [await clients.ask(text) for text in ("first", "a", "bb", "ccc")]
    assert up.asked == [["first"]]
    up.open()
    answers = [await one for one in waiting]
    assert up.asked == [["first"], ["a", "bb", "ccc"]]
    assert [one.vectors for one in answers] == [[b"first"], [b"a"], [b"bb"], [b"ccc"]]
    assert [one.usage.prompt_tokens for one in answers] == [5, 1, 2, 3]
    assert [one.usage.is_estimated for one in answers] == [False, True, True, True]
    assert [call.attempts[0].label for call in up.calls] == ["r-label"] * 4
    assert [len(call.attempts) for call in up.calls] == [1] * 4
    assert up.totals[1] < up.totals[0]  # waiting is part of it
    await until(lambda: up.is_idle)
    assert up.sizes() == "4.0"


async def test_the_window_ends_the_wait() -> None:
    up = Upstream(Batching(0.2, 64, 100))
    clients = Clients(up)
    await clients.ask("first")
    waiting = [await clients.ask(text) for text in "ab"]
    await until(lambda: len(up.asked) == 2)
    assert up.asked == [["first"], ["a", "b"]]
    up.open()
    assert [(await one).vectors for one in waiting] == [[b"a"], [b"b"]]


async def test_a_full_batch_does_not_wait() -> None:
    up = Upstream()
    clients = Clients(up)
    asked = [
        ("first",),
        ("a", "b"),
        ("c", "d"),
        ("e",),
        ("f", "g", "h"),
        ("x" * 200,),
        ("i" * 300, "j"),
        ("k",),
    ]
    waiting = [await clients.ask(*texts) for texts in asked]
    # by number: exactly full, or the next one had no room; by tokens: 50 and 76 are above 100
    assert up.asked == [["first"], ["a", "b", "c", "d"], ["e", "f", "g", "h"], ["x" * 200]]
    up.open()
    answers = [await one for one in waiting]
    assert [one.vectors for one in answers] == [[text.encode() for text in texts] for texts in asked]
    assert up.asked[4:] == [["i" * 300, "j", "k"]]


async def test_who_is_too_large_to_share_is_not_held_up() -> None:
    up = Upstream()
    clients = Clients(up)
    large = ("1", "2", "3", "4")
    waiting = [await clients.ask(*texts) for texts in (("first",), large, ("x" * 400,), ("a",))]
    assert up.asked == [["first"], list(large), ["x" * 400]]
    up.open()
    assert len(await asyncio.gather(*waiting)) == 4


async def test_what_differs_is_not_merged_and_does_not_wait_for_each_other() -> None:
    up = Upstream()
    clients = Clients(up)
    other = Route("r", (), Timeouts(total_s=5))
    differs: list[dict[str, Any]] = [
        {},
        {"dimensions": 2},
        {"user": "u"},
        {"route": other},
        {"route": Route("r", (), strict=True)},
    ]
    waiting = [await clients.ask(str(at), **more) for at, more in enumerate(differs)]
    assert up.asked == [["0"], ["1"], ["2"], ["3"], ["4"]]
    up.open()
    await asyncio.gather(*waiting)
    await until(lambda: up.is_idle)


async def test_off_is_off() -> None:
    up = Upstream(None)
    clients = Clients(up)
    waiting = [await clients.ask(text) for text in "abc"]
    assert up.asked == [["a"], ["b"], ["c"]]
    up.open()
    await asyncio.gather(*waiting)
    assert up.is_idle


@pytest.mark.parametrize(("word", "kind"), [(BAD, InvalidRequest), (GARBAGE, UpstreamInvalid)])
async def test_only_the_guilty_one_hears_of_it(word: str, kind: type[PenstockError]) -> None:
    up = Upstream()
    clients = Clients(up)
    waiting = [await clients.ask(text) for text in ("first", "a", word, "c")]
    up.open()
    _, a, guilty, c = [await one for one in waiting]
    assert up.asked[1] == ["a", word, "c"]
    assert sorted(up.asked[2:]) == sorted([["a"], [word], ["c"]])
    assert (a.vectors, c.vectors) == ([b"a"], [b"c"])
    assert isinstance(guilty, kind)
    assert [len(call.attempts) for call in up.calls] == [1, 1, 1, 1]  # each its own
    await until(lambda: up.is_idle)
    assert b'penstock_batches_refused_total{deployment="d"} 1.0' in up.metrics.render()


async def test_what_is_nobody_s_fault_is_told_to_all() -> None:
    up = Upstream()
    clients = Clients(up)
    waiting = [await clients.ask(text) for text in ("first", "a", DOWN, "c")]
    up.open()
    errors = [await one for one in waiting][1:]
    assert len(up.asked) == 2
    assert [type(error) for error in errors] == [UpstreamUnavailable] * 3
    assert len({id(error) for error in errors}) == 3
    assert [(e.message, e.detail, e.retry_after_s) for e in errors] == [("down", "by the river", 3)] * 3
    assert all(call.attempts[0].error is not None for call in up.calls[1:])
    await until(lambda: up.is_idle)


async def test_a_bug_is_a_bug_of_each() -> None:
    up = Upstream()
    clients = Clients(up)
    waiting = [await clients.ask(text) for text in ("first", "a", BUG)]
    up.open()
    errors = [await one for one in waiting][1:]
    assert [type(error.__cause__) for error in errors] == [KeyError] * 2
    await until(lambda: up.is_idle)


async def test_who_leaves_while_it_waits_is_taken_out() -> None:
    up = Upstream()
    clients = Clients(up)
    first, a, b = [await clients.ask(text) for text in ("first", "a", "b")]
    a.cancel()
    await settle()
    up.open()
    assert (await b).vectors == [b"b"]
    assert up.asked == [["first"], ["b"]]
    assert (await first).vectors == [b"first"]
    await until(lambda: up.is_idle)


async def test_all_who_wait_may_leave_also_in_the_last_moment() -> None:
    up = Upstream(FOUR)
    clients = Clients(up)
    first, a, b = [await clients.ask(text) for text in ("first", "a", "b")]
    lane = next(iter(up.batcher._lanes.values()))
    a.cancel()
    await settle()
    up.open()  # the first lands in the same round in which the last leaves
    b.cancel()
    assert (await first).vectors == [b"first"]
    await settle()
    assert lane._timer is None
    lane._send()  # as a window that ends all the same
    await settle()
    assert up.asked == [["first"]]
    assert up.is_idle


async def test_one_that_was_told_to_go_may_leave_instead() -> None:
    up = Upstream()
    clients = Clients(up)
    first, a = [await clients.ask(text) for text in ("first", "a")]
    lane = next(iter(up.batcher._lanes.values()))
    lane._send()  # `a` is told, and has not run yet
    a.cancel()
    await settle()
    up.open()
    await first
    assert up.asked == [["first"]]
    assert up.is_idle


async def test_the_others_go_on_and_the_last_to_leave_cuts_the_batch() -> None:
    up = Upstream(Batching(LONG_S, 2, 100))
    clients = Clients(up)
    await clients.ask("first")
    a, b, c, d = [await clients.ask(text) for text in "abcd"]
    assert up.asked == [["first"], ["a", "b"], ["c", "d"]]
    a.cancel()
    c.cancel()
    await settle()
    assert up.cancelled == 0
    d.cancel()
    await until(lambda: up.cancelled == 1)
    up.open()
    assert (await b).vectors == [b"b"]
    assert len(up.calls[1].attempts) == 1  # it had been sent
    await until(lambda: up.is_idle)


async def test_a_batch_that_all_leave_as_it_begins() -> None:
    up = Upstream(Batching(LONG_S, 2, 100))
    clients = Clients(up)
    first, a = [await clients.ask(text) for text in ("first", "a")]
    b = tasks.spawn(set(), up.ask("b"), "client")
    await asyncio.sleep(0)  # the batch is full, its task has not run
    a.cancel()
    b.cancel()
    await until(lambda: up.cancelled == 1)
    up.open()
    await first
    await until(lambda: up.is_idle)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # rounds before it comes
            st.lists(st.sampled_from(["a", "bb", "ccc", BAD, DOWN]), min_size=1, max_size=5),
            st.integers(0, 12),  # rounds until it leaves; above 8: it stays
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_comes_and_goes_each_is_told_its_own(
    strictly: Callable[..., None], script: list[tuple[int, list[str], int]]
) -> None:
    async def check() -> None:
        up = Upstream(Batching(0.001, 4, 100))
        up.open()
        clients: tasks.Tasks = set()

        async def client(texts: list[str]) -> None:
            try:
                assert (await up.ask(*texts)).vectors == [text.encode() for text in texts]
                assert BAD not in texts
            except InvalidRequest:
                assert BAD in texts
            except UpstreamUnavailable:
                assert any(DOWN in asked for asked in up.asked)

        running = []
        for before, texts, stays in script:
            for _ in range(before):
                await asyncio.sleep(0)
            task = tasks.spawn(clients, client(texts), "client")
            running.append(task)
            if stays <= 8:
                for _ in range(stays):
                    await asyncio.sleep(0)
                task.cancel()
        for task in running:
            try:
                await task
            except asyncio.CancelledError:
                assert task.cancelled()
        await until(lambda: up.is_idle)

    strictly(check)
