"""The simulated engine: its machine by explicit time, its server by the official SDK."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.lib import tasks
from penstock.lib.http1 import Client, Origin
from penstock.testing.simulated import (
    Blocks,
    Fault,
    Faults,
    Job,
    Machine,
    SimulatedEngine,
    Speed,
    block_hashes,
)

# 1 ms per prompt token, 100 ms per token of the answer, no matter how many run
PLAIN: dict[str, Any] = {"prefill_tokens_s": 1000.0, "decode_s": 0.1, "decode_growth": 0.0}
PREFIX = "The same long system prompt for everybody. " * 40  # 1,720 characters: 26 full blocks of 64


def job(prompt: str, output: int = 1, **more: Any) -> Job:
    """Four characters are a token, 16 tokens a block."""
    return Job(max(1, -(-len(prompt) // 4)), output, block_hashes(prompt, 64), **more)


def text(seed: int, blocks: int, more: int = 0) -> str:
    dice = random.Random(seed)  # noqa: S311 - the same text each time
    return "".join(dice.choices("abcdefgh", k=64 * blocks + more))


def finish(machine: Machine) -> None:
    while (at := machine.next_at()) is not None:
        machine.advance(at)


# -- the cache ---------------------------------------------------------------------------------------------


def test_a_hash_stands_for_all_before_it() -> None:
    a, b = text(1, 1), text(2, 1)
    assert block_hashes(a + b, 64)[0] == block_hashes(a, 64)[0]
    assert block_hashes(a + b, 64)[1] != block_hashes(b, 64)[0]
    assert block_hashes(a + "not full", 64) == block_hashes(a, 64)


def test_the_least_recently_used_is_evicted_and_the_end_of_a_prompt_first() -> None:
    blocks = Blocks(6)
    old, new = (1, 2, 3), (11, 12, 13)
    for one in (old, new, old):  # old is used again
        assert blocks.take(one, 0)
        blocks.give_back(one, 0)
    assert (blocks.cached, blocks.pinned) == (6, 0)
    assert blocks.take((), 1)
    assert (blocks.known(old), blocks.known(new)) == (3, 2)
    assert blocks.take((), 3)
    assert (blocks.known(old), blocks.known(new)) == (2, 0)


def test_pinned_blocks_are_not_evicted_and_shared_ones_count_once() -> None:
    blocks = Blocks(4)
    assert blocks.take((1, 2), 0)
    assert blocks.take((1, 2), 1)
    assert (blocks.pinned, blocks.used) == (3, 3)
    assert not blocks.take((), 2)
    assert not blocks.take((8, 9), 0)
    assert (blocks.pinned, blocks.known((1, 2))) == (3, 2)
    blocks.give_back((1, 2), 0)
    assert not blocks.take((8, 9), 0), "the other one still has them"
    blocks.give_back((1, 2), 1)
    assert blocks.take((8, 9), 1)
    assert blocks.known((1, 2)) == 1


# -- the machine -------------------------------------------------------------------------------------------


def test_one_request_alone() -> None:
    machine = Machine(Speed(**PLAIN))
    one = job(text(1, 10, 40), 5, marks=(1, 3))  # 170 tokens
    machine.submit(one, 7.0)
    assert machine.next_at() == pytest.approx(7.17)
    assert machine.advance(7.1) == []
    ticks = machine.advance(9.0)
    assert [(t.tokens, round(t.at, 6), t.is_last) for t in ticks] == [
        (1, 7.17, False),
        (3, 7.37, False),
        (5, 7.57, True),
    ]
    assert (one.arrived_at, one.prefill_at, one.phase) == (7.0, 7.0, "ended")
    assert (machine.running, machine.blocks.pinned, machine.blocks.cached) == (0, 0, 10)
    assert machine.next_at() is None


def test_cached_blocks_skip_their_prefill() -> None:
    machine = Machine(Speed(**PLAIN))
    first, second = job(text(1, 10) + text(2, 5)), job(text(1, 10) + text(3, 5))
    machine.submit(first, 0.0)
    finish(machine)
    machine.submit(second, 10.0)
    finish(machine)
    assert (first.cached_tokens, second.cached_tokens) == (0, 160)
    assert second.first_at == pytest.approx(10.080)
    assert (machine.queried_tokens, machine.hit_tokens) == (480, 160)


def test_of_a_prompt_that_is_cached_whole_the_last_block_is_computed() -> None:
    machine = Machine(Speed(**PLAIN))
    for again in (job(text(1, 10)), job(text(1, 10))):
        machine.submit(again, 0.0)
        finish(machine)
    assert again.cached_tokens == 144
    longer = job(text(1, 10, 4))
    machine.submit(longer, 9.0)
    finish(machine)
    assert longer.cached_tokens == 160


def test_prompts_are_computed_one_at_a_time_in_order_while_others_decode() -> None:
    machine = Machine(Speed(**PLAIN))
    jobs = [job(text(n, 10), 100) for n in range(3)]
    for one in jobs:
        machine.submit(one, 0.0)
    finish(machine)
    assert [one.first_at for one in jobs] == pytest.approx([0.16, 0.32, 0.48])
    assert [one.ended_at for one in jobs] == pytest.approx([10.06, 10.22, 10.38])


def test_a_prompt_may_slow_the_others_down() -> None:
    machine = Machine(Speed(**PLAIN, decode_beside_prefill=2.0))
    first, second = job(text(1, 10), 11), job(text(2, 25), 1)
    machine.submit(first, 0.0)
    machine.submit(second, 0.0)
    finish(machine)
    assert second.ended_at == pytest.approx(0.56)
    assert first.ended_at == pytest.approx(0.56 + 0.8), "two of its ten tokens in the 0.4 s of that prompt"


def test_a_token_takes_longer_the_more_sequences_there_are() -> None:
    machine = Machine(Speed(prefill_tokens_s=1e9, decode_s=0.1, decode_growth=0.5))
    first, second = job("a", 11), job("b", 6)
    machine.submit(first, 0.0)
    machine.submit(second, 0.0)
    finish(machine)
    assert second.ended_at == pytest.approx(0.75, abs=1e-6), "5 tokens in a batch of two"
    assert first.ended_at == pytest.approx(0.75 + 0.5, abs=1e-6), "and 5 more alone"


def test_places_are_given_first_in_first_out() -> None:
    machine = Machine(Speed(**PLAIN, max_running=2))
    jobs = [job(text(n, 1), 11) for n in range(4)]
    for one in jobs:
        machine.submit(one, 0.0)
    machine.advance(0.5)
    assert (machine.running, list(machine.waiting)) == (2, jobs[2:])
    finish(machine)
    assert jobs[2].prefill_at == jobs[0].ended_at
    assert jobs[3].prefill_at == jobs[1].ended_at


def test_what_does_not_fit_waits_and_holds_up_what_is_behind_it() -> None:
    machine = Machine(Speed(**PLAIN, kv_blocks=20))
    first, large, small = job(text(1, 10), 16), job(text(2, 10), 16), job(text(3, 1), 1)
    for one in (first, large, small):
        machine.submit(one, 0.0)
    machine.advance(1.0)
    assert (first.phase, large.phase, small.phase) == ("decode", "waiting", "waiting")
    assert machine.blocks.pinned == 11
    finish(machine)
    assert large.prefill_at == first.ended_at
    assert small.prefill_at == large.first_at
    with pytest.raises(ValueError, match="do not fit"):
        machine.submit(job(text(4, 20), 1), 99.0)


def test_one_that_leaves_frees_its_place() -> None:
    machine = Machine(Speed(**PLAIN, max_running=1))
    decoding, waiting, computing, last = (job(text(n, 10), 1000) for n in range(4))
    for one in (decoding, waiting, computing, last):
        machine.submit(one, 0.0)
    machine.cancel(waiting, 1.0)
    machine.cancel(decoding, 2.0)
    assert (computing.phase, computing.prefill_at) == ("prefill", 2.0)
    machine.cancel(computing, 2.05)
    assert last.prefill_at == 2.05
    assert machine.blocks.known(computing.blocks) == 3, "what was computed until then: 50 tokens"
    assert machine.blocks.known(decoding.blocks) == 10
    machine.cancel(last, 3.0)
    machine.cancel(last, 3.0)
    assert (machine.running, machine.blocks.pinned, machine.next_at()) == (0, 0, None)
    assert [tick.job for tick in machine.advance(9.0)] == [decoding, last]


def test_a_slow_one_is_slow_alone() -> None:
    machine = Machine(Speed(**PLAIN))
    slow, other = job(text(1, 10), 11, slow=10.0), job(text(2, 10), 11)
    machine.submit(slow, 0.0)
    machine.submit(other, 0.0)
    finish(machine)
    assert (slow.first_at, slow.ended_at) == pytest.approx((1.6, 11.6))
    assert (other.first_at, other.ended_at) == pytest.approx((0.32, 1.32))


def test_time_scale_divides_all_durations() -> None:
    ends = []
    for scale in (1.0, 50.0):
        machine = Machine(Speed(max_running=3, time_scale=scale))
        jobs = [job(text(n, 20), 30 + n, slow=1.0 + n % 2) for n in range(8)]
        for number, one in enumerate(jobs):
            machine.submit(one, number * 0.3 / scale)
        finish(machine)
        ends.append(
            [(one.first_at or 0) * scale for one in jobs] + [(one.ended_at or 0) * scale for one in jobs]
        )
    assert ends[0] == pytest.approx(ends[1])


@pytest.mark.parametrize(
    "wrong", [{"time_scale": 0}, {"decode_s": -1}, {"max_running": 0}, {"decode_beside_prefill": 0.5}]
)
def test_speeds_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least|above"):
        Speed(**wrong)


REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 0.3),  # since the one before
        st.integers(0, 3),  # which prefix
        st.integers(0, 8),  # blocks of it
        st.integers(0, 150),  # characters of its own
        st.integers(1, 40),  # tokens of the answer
        st.sampled_from([1.0, 1.0, 3.0]),
        st.one_of(st.none(), st.none(), st.floats(0, 2)),  # leaves after
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(
    requests=REQUESTS,
    blocks=st.integers(15, 60),
    places=st.integers(1, 6),
    growth=st.floats(0, 1),
    beside=st.floats(1, 3),
)
def test_what_always_holds(
    requests: list[Any], blocks: int, places: int, growth: float, beside: float
) -> None:
    speed = Speed(
        prefill_tokens_s=1000.0,
        decode_growth=growth,
        decode_beside_prefill=beside,
        kv_blocks=blocks,
        max_running=places,
    )

    def replay() -> list[Job]:
        machine, now = Machine(speed), 0.0
        calls: list[tuple[float, int, str, Job]] = []
        jobs = []
        for number, (after, prefix, shared, own, output, slow, leaves) in enumerate(requests):
            now += after
            one = job(text(prefix, 8)[: 64 * shared] + f"{number:x}" * own, output, slow=slow)
            jobs.append(one)
            calls.append((now, number, "submit", one))
            if leaves is not None:
                calls.append((now + leaves, number, "cancel", one))
        told = []
        for at, _, call, one in sorted(calls, key=lambda call: call[:3]):
            while (due := machine.next_at()) is not None and due <= at:
                told += machine.advance(due)
                check(machine)
            getattr(machine, call)(one, at)
            check(machine)
        while (due := machine.next_at()) is not None:
            told += machine.advance(due)
            check(machine)
        assert [tick.at for tick in told] == sorted(tick.at for tick in told)
        assert (machine.running, len(machine.waiting), machine.blocks.pinned) == (0, 0, 0)
        return jobs

    def check(machine: Machine) -> None:
        cache = machine.blocks
        assert 0 <= cache.pinned <= cache.used <= cache.capacity
        assert cache.cached <= cache.used
        assert machine.running <= places

    jobs = replay()
    for one in jobs:
        assert one.phase in {"ended", "cancelled"}
        if one.first_at is not None:
            uncached = one.prompt_tokens - one.cached_tokens
            assert uncached > 0
            assert one.first_at >= one.arrived_at + uncached / speed.prefill_tokens_s - 1e-9
        if one.ended_at is not None and one.first_at is not None:
            alone = (one.output_tokens - 1) * speed.decode_s * one.slow
            assert one.ended_at >= one.first_at + alone - 1e-9
    starts = [one.prefill_at for one in jobs if one.prefill_at is not None]
    assert starts == sorted(starts), "first in, first out"
    assert [(one.first_at, one.ended_at) for one in replay()] == [
        (one.first_at, one.ended_at) for one in jobs
    ]


# -- faults ------------------------------------------------------------------------------------------------


def fates(faults: Faults, count: int = 2000) -> list[Fault | None]:
    dice = random.Random(faults.seed)  # noqa: S311 - as the engine
    return [faults.draw(dice) for _ in range(count)]


def test_faults_come_from_the_seed() -> None:
    faults = Faults(error=0.05, limited=0.05, mute=0.05, cut=0.05, slow=0.15, seed=3)
    drawn = fates(faults)
    assert drawn == fates(faults)
    assert drawn != fates(Faults(error=0.05, limited=0.05, mute=0.05, cut=0.05, slow=0.15, seed=4))
    assert 0.12 < drawn.count("slow") / 2000 < 0.18
    assert all(0.03 < drawn.count(kind) / 2000 < 0.07 for kind in ("error", "limited", "mute", "cut"))
    assert set(fates(Faults())) == {None}
    with pytest.raises(ValueError, match="probabilities"):
        Faults(error=0.6, cut=0.6)


# -- the server --------------------------------------------------------------------------------------------

FAST = Speed(time_scale=100.0)


def sdk(engine: SimulatedEngine, *, strict: bool = True) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=engine.url, api_key="any", max_retries=0, _strict_response_validation=strict
    )


def ask(content: str = "Hello!", **more: Any) -> Any:
    return {"model": "simulated", "messages": [{"role": "user", "content": content}], **more}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def metrics(engine: SimulatedEngine) -> dict[str, float]:
    async with Client() as client:
        origin, _ = Origin.parse(engine.url)
        response = await client.request(origin, "GET", "/metrics", [], b"")
        body = (await response.read(1 << 20)).decode()
    found = {}
    for family in text_string_to_metric_families(body):
        assert family.type == ("counter" if family.name.startswith("vllm:prefix") else "gauge")
        for sample in family.samples:
            assert sample.labels["model_name"] == engine.model
            found[sample.name] = sample.value
    return found


async def test_whole_answers() -> None:
    async with SimulatedEngine(speed=FAST) as engine, sdk(engine) as client:
        answer = await client.chat.completions.create(**ask("Hello, world", max_tokens=9))
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 9)
        assert answer.choices[0].message.content == "The gate opens and the water runs do"
        assert (answer.choices[0].finish_reason, answer.model) == ("length", "simulated")
        answer = await client.chat.completions.create(**ask())
        assert answer.usage is not None
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (16, "stop")
        completion = await client.completions.create(model="m", prompt="Hello", max_tokens=2)
        assert (completion.choices[0].text, completion.object) == ("The gate", "text_completion")


async def test_streams() -> None:
    async with SimulatedEngine(speed=FAST, events=3) as engine, sdk(engine) as client:
        body = ask("Hello, world", max_completion_tokens=40, stream=True)
        chunks = [chunk async for chunk in await client.chat.completions.create(**body)]
        said = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert (said[0].role, said[0].content) == ("assistant", "")
        assert [len(delta.content or "") // 4 for delta in said[1:]] == [1, 13, 13, 13, 0]
        assert "".join(delta.content or "" for delta in said).startswith(
            "The gate opens and the water runs down to"
        )
        assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 5 + ["length"]
        assert (chunks[-1].usage.completion_tokens, chunks[-1].usage.prompt_tokens) == (40, 3)
        assert len({chunk.id for chunk in chunks}) == 1
        async with client.chat.completions.stream(**ask()) as stream:
            final = await stream.get_final_completion()
        assert (final.choices[0].message.content or "").startswith("The gate opens")
        one = [
            chunk async for chunk in await client.chat.completions.create(**ask(max_tokens=1, stream=True))
        ]
        assert [chunk.choices[0].delta.content for chunk in one[:-1]] == ["", "The ", None]
    async with SimulatedEngine(speed=FAST) as engine, sdk(engine, strict=False) as client:
        streamed = await client.completions.create(model="m", prompt="Hello", max_tokens=5, stream=True)
        parts = [part async for part in streamed]
        assert "".join(part.choices[0].text for part in parts[:-1]) == "The gate opens and t"
        assert parts[-2].choices[0].finish_reason == "length"
        assert parts[-1].usage is not None
        assert parts[-1].usage.completion_tokens == 5


async def test_the_second_with_the_same_prefix_finds_it_cached() -> None:
    async with SimulatedEngine(speed=FAST) as engine, sdk(engine) as client:
        cached = []
        for question in ("A sluice - what is it?", "What is a penstock?"):
            parts = [{"type": "text", "text": question}]
            messages: Any = [{"role": "system", "content": PREFIX}, {"role": "user", "content": parts}]
            answer = await client.chat.completions.create(model="m", messages=messages)
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            cached.append(answer.usage.prompt_tokens_details.cached_tokens)
        assert cached == [0, 26 * 16]
        found = await metrics(engine)
        assert found["vllm:prefix_cache_queries_total"] == engine.machine.queried_tokens > 850
        assert found["vllm:prefix_cache_hits_total"] == 26 * 16
        assert found["vllm:kv_cache_usage_perc"] == 0


async def test_the_other_paths() -> None:
    async with SimulatedEngine(model="a/b") as engine, sdk(engine) as client, Client() as plain:
        assert [model.id async for model in client.models.list()] == ["a/b"]
        origin, _ = Origin.parse(engine.url)
        for path, status in (("/health", 200), ("/v1/embeddings", 404)):
            response = await plain.request(origin, "GET", path, [], b"")
            assert response.status == status
            await response.read(1 << 20)
        for wrong in (b"{", b"{}", b'{"model": "m"}', b'{"model": "m", "prompt": ["a", "b"]}'):
            response = await plain.request(origin, "POST", "/v1/completions", [], wrong)
            assert response.status == 400, wrong
            await response.read(1 << 20)
        with pytest.raises(openai.BadRequestError, match="do not fit"):
            await client.chat.completions.create(**ask(max_tokens=1_000_000))
        assert not engine.machine.running


async def test_a_client_that_leaves_frees_its_place_at_once() -> None:
    slow = Speed(decode_s=10.0, max_running=1)
    async with SimulatedEngine(speed=slow) as engine, sdk(engine) as client:
        stream = await client.chat.completions.create(**ask(stream=True))
        await anext(aiter(stream))
        asked: tasks.Tasks = set()
        create = client.chat.completions.create
        waiting = tasks.spawn(asked, create(**ask("Me, too", max_tokens=1)), "waiting")
        await until(lambda: len(engine.machine.waiting) == 1)
        found = await metrics(engine)
        assert (found["vllm:num_requests_running"], found["vllm:num_requests_waiting"]) == (1, 1)
        assert found["vllm:kv_cache_usage_perc"] == 2 / slow.kv_blocks
        await stream.close()
        assert (await waiting).choices[0].finish_reason == "length"
        assert (engine.cancelled, engine.finished, engine.machine.running) == (1, 1, 0)
        leaving = tasks.spawn(asked, create(**ask()), "leaving")
        await until(lambda: engine.machine.running == 1)
        leaving.cancel()
        await until(lambda: engine.machine.running == 0)
        assert engine.machine.blocks.pinned == 0


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with SimulatedEngine(speed=FAST) as engine:
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        bodies = [json.dumps(ask(max_tokens=tokens)).encode() for tokens in (3, 1, 2)]
        for body in bodies:
            head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        writer.write(b"GET /health HTTP/1.1\r\n\r\n" * 2000)
        writer.write(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
        answers = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        assert answers.count(b"HTTP/1.1 200 OK") == 3 + 2001
        places = [answers.index(b'"completion_tokens":%d' % tokens) for tokens in (3, 1, 2)]
        assert places == sorted(places)


async def test_an_error_before_the_head() -> None:
    async with SimulatedEngine(faults=Faults(error=1.0)) as engine, sdk(engine) as client:
        with pytest.raises(openai.InternalServerError, match="injected"):
            await client.chat.completions.create(**ask(stream=True))
        engine.faults = Faults()
        assert (await client.chat.completions.create(**ask(max_tokens=1))).choices


async def test_a_limit() -> None:
    faults = Faults(limited=1.0, retry_after_s=7)
    async with SimulatedEngine(faults=faults) as engine, sdk(engine) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(**ask())
        assert refused.value.response.headers["retry-after"] == "7"


async def test_never_an_answer() -> None:
    async with SimulatedEngine(faults=Faults(mute=1.0)) as engine, sdk(engine) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.2).chat.completions.create(**ask(stream=True))
        assert (engine.accepted, engine.machine.running) == (1, 0)
        assert await metrics(engine), "only requests for an answer"


async def test_a_cut() -> None:
    said = []

    async def read(stream: Any) -> None:
        async for chunk in stream:
            said.append(chunk.choices[0].delta.content)  # noqa: PERF401 - keep what came before the error

    async with SimulatedEngine(faults=Faults(cut=1.0)) as engine, sdk(engine) as client:
        stream = await client.chat.completions.create(**ask(stream=True, max_tokens=500))
        with pytest.raises(openai.APIConnectionError):
            await read(stream)
        assert said == ["", "The "]
        assert (engine.cancelled, engine.machine.running) == (1, 0)
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(**ask(max_tokens=2))


async def test_some_are_slow() -> None:
    async with SimulatedEngine(speed=FAST, faults=Faults(slow=0.5, slow_factor=50.0)) as engine:
        jobs: list[Job] = []
        submit = engine.machine.submit

        def keep(one: Job, now: float) -> None:
            jobs.append(one)
            submit(one, now)

        engine.machine.submit = keep  # type: ignore[method-assign]
        async with sdk(engine) as client:
            await asyncio.gather(*(client.chat.completions.create(**ask(f"{n}")) for n in range(12)))
        slow = [one.slow for one in jobs]
        assert slow == [50.0 if fate == "slow" else 1.0 for fate in fates(engine.faults, 12)]
        took = [(one.ended_at or 0) - (one.first_at or 0) for one in jobs]
        fast = max(seconds for seconds, one in zip(took, jobs, strict=True) if one.slow == 1)
        assert fast < min(seconds for seconds, one in zip(took, jobs, strict=True) if one.slow == 50)


async def test_by_hand() -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock.testing.simulated", "--engines", "3", "--time-scale", "100"),
        *("--model", "m", "--error", "1", "--faulty", "1", "2"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    ports = json.loads(await program.stdout.readline())["ports"]
    statuses = []
    async with Client() as client:
        for port in ports:
            origin, _ = Origin.parse(f"http://127.0.0.1:{port}")
            body = json.dumps(ask()).encode()
            response = await client.request(origin, "POST", "/v1/chat/completions", [], body)
            statuses.append(response.status)
            await response.read(1 << 20)
    assert statuses == [200, 500, 500]
    os.kill(program.pid, signal.SIGTERM)
    assert await program.wait() == 0
