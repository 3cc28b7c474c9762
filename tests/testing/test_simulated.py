"""The simulated engine: its server by the official SDK, and what goes wrong with it."""

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
from prometheus_client.parser import text_string_to_metric_families

from penstock.lib import tasks
from penstock.lib.http1 import Client, Origin
from penstock.testing.simulated import (
    Fault,
    Faults,
    Job,
    SimulatedEngine,
    Speed,
)

PREFIX = "The same long system prompt for everybody. " * 40  # 1,720 characters: 26 full blocks of 64


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
