"""A deployment whose concurrency is used up: who waits, who goes first, who is turned away and hears what."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from administered import administered
from gateways import KEY, Answer, Gateway, chat, gateway

from penstock.testing.upstream import Upstream

KEYS = {"vip": "interactive", "plain": "default", "other": "default", "batch": "bulk"}


def config(up: Upstream, more: str, route: str = "") -> str:
    keys = "".join(f"  {name}: {{secret: sk-{name}, priority: {rank}}}\n" for name, rank in KEYS.items())
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{up.url}", api_key: k}}
deployments:
  m: {{provider: up, model: m, {more}}}
  spare: {{provider: up, model: spare}}
routes:
  r: {{targets: [{{deployment: m}}]{route}}}
prices: {{models: {{m: {{input: $1/1M, output: $2/1M}}}}}}
keys:
  test: {{secret: {KEY}}}
{keys}"""


@contextlib.asynccontextmanager
async def busy(more: str, route: str = "") -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with Upstream() as up, gateway(config(up, more, route)) as gate:
        yield up, gate


async def ask(
    gate: Gateway,
    key: str = "plain",
    *,
    says: str = "hi",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Answer:
    sent = {"authorization": f"Bearer sk-{key}", **(headers or {})}
    return await gate.post("/v1/chat/completions", chat(says, model="r", **more), headers=sent)


def said(up: Upstream) -> list[str]:
    """What reached the upstream, in its order."""
    return [request.body["messages"][0]["content"] for request in up.requests]


async def until(count: int, up: Upstream) -> None:
    while len(up.requests) < count:
        await asyncio.sleep(0.005)


async def waiting(gate: Gateway, count: int) -> None:
    while sum_of((await gate.get("/metrics")).body.decode(), "penstock_queue_waiting{") < count:
        await asyncio.sleep(0.01)


def sum_of(metrics: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name))


HELD = {"x-test-hold": "1"}


async def test_no_more_run_than_may_and_each_is_answered() -> None:
    async with busy("concurrency: 2") as (up, gate):
        up.behaviour = {"x-test-delay-headers": "0.05"}
        running = most = 0

        async def client() -> None:
            nonlocal running, most
            answer = await ask(gate)
            assert answer.status == 200
            most = max(
                most, int(sum_of((await gate.get("/metrics")).body.decode(), "penstock_queue_running{"))
            )

        await asyncio.gather(*(client() for _ in range(12)))
        assert len(up.requests) == 12
        assert most <= 2
        metrics = (await gate.get("/metrics")).body.decode()
        assert sum_of(metrics, "penstock_queue_running{") == sum_of(metrics, "penstock_queue_waiting{") == 0
        assert sum_of(metrics, "penstock_queue_wait_seconds_count{") == 12


async def test_the_more_important_goes_first_and_hears_how_long_it_waited() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate, "vip", says="first"))
            await until(1, up)
            for key in ("batch", "plain", "vip"):
                last = group.create_task(ask(gate, key, says=key))
                await waiting(gate, {"batch": 1, "plain": 2, "vip": 3}[key])
            await asyncio.sleep(0.05)
            up.release()
        assert said(up) == ["first", "vip", "plain", "batch"]
        headers = last.result().headers
        assert headers["x-penstock-queue-position"] == "1"
        assert int(headers["x-penstock-queue-wait-ms"]) >= 50


async def test_tenants_share_by_tokens() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate, "vip", says="first"))
            await until(1, up)
            for number in range(5):
                group.create_task(ask(gate, "plain", says=f"plain {number}"))
            await waiting(gate, 5)
            group.create_task(ask(gate, "other", says="other"))
            await waiting(gate, 6)
            up.release()
        assert said(up).index("other") <= 2  # not behind all five


async def test_who_is_preempted_waits_again_and_is_answered() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            bulk = group.create_task(ask(gate, "batch", says="bulk"))
            await until(1, up)
            vip = group.create_task(ask(gate, "vip", says="vip"))
            await until(2, up)
            await waiting(gate, 1)
            up.release()
        assert said(up) == ["bulk", "vip", "bulk"]
        assert bulk.result().status == vip.result().status == 200
        assert bulk.result().headers["x-penstock-attempts"] == "2"
        assert await gate.metric("penstock_upstream_attempts_total", 'outcome="preempted"') == 1
        assert await gate.metric("penstock_cost_wasted_usd_total") > 0, (
            "what was sent for nothing, as far as it is known"
        )
        assert up.requests[0].cancelled_at is not None  # at once


async def test_whose_answer_has_begun_is_not_preempted() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.plan.append({"x-test-delay-between": "0.05", "x-test-tokens": "6"})
        async with asyncio.TaskGroup() as group:
            response = await gate.open(
                "/v1/chat/completions",
                chat("bulk", model="r", stream=True),
                headers={"authorization": "Bearer sk-batch"},
            )
            assert await response.read_some()
            group.create_task(ask(gate, "vip", says="vip"))
            whole = b""
            while data := await response.read_some():
                whole += data
            assert b"[DONE]" in whole
        assert said(up) == ["bulk", "vip"]


async def test_a_full_queue_turns_away() -> None:
    async with busy("concurrency: 1, queue: {waiting: 1}") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate, says="first"))
            await until(1, up)
            second = group.create_task(ask(gate, says="second"))
            await waiting(gate, 1)
            refused = await ask(gate, says="third")
            assert refused.error == (503, "queue_full", None)
            assert int(refused.headers["retry-after"]) >= 1
            assert said(up) == ["first"]
            displacing = group.create_task(ask(gate, "vip", says="vip"))
            assert (await second).error == (503, "queue_full", None)
            up.release()
        assert displacing.result().status == 200
        metrics = (await gate.get("/metrics")).body.decode()
        assert 'penstock_queue_refused_total{deployment="m",priority="default",reason="full"}' in metrics


async def test_a_turn_that_does_not_come() -> None:
    async with busy("concurrency: 1, queue: {wait: 100ms}") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            late = await ask(gate)
            assert late.error == (503, "queue_timeout", None)
            assert len(up.requests) == 1
            up.release()


async def test_a_fallback_answers_instead() -> None:
    async with busy("concurrency: 1, queue: {wait: 50ms}", ", fallbacks: [spare]") as (up, gate):
        up.plan.append(HELD)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            spilled = await ask(gate)
            up.release()
        assert spilled.headers["x-penstock-deployment"] == "spare"


async def test_the_time_that_a_client_gives_is_spent_on_waiting_too() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.plan.append(HELD)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            late = await ask(gate, headers={"x-penstock-timeout": "0.2"})
            assert late.error[:2] == (504, "deadline_exceeded")
            up.release()
            assert len(up.requests) == 1


async def test_who_has_waited_has_less_time_for_its_answer() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.plan.extend([{"x-test-delay-headers": "1"}, HELD])
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            late = await ask(gate, headers={"x-penstock-timeout": "3"})
        assert late.error[:2] == (504, "upstream_timeout")
        took_s = float(re.findall(r"within ([0-9.]+) s", late.json["error"]["message"])[0])
        assert 0 < took_s < 2.9


async def test_who_was_turned_away_unsent_costs_nothing_of_the_budget_of_further_attempts() -> None:
    async with busy("concurrency: 1, queue: {waiting: 1}", ", fallbacks: [spare]") as (up, gate):
        up.plan.append(HELD)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            group.create_task(ask(gate))
            await waiting(gate, 1)
            others = [await ask(gate) for _ in range(40)]
            up.release()
        assert {answer.status for answer in others} == {200}
        assert {answer.headers["x-penstock-deployment"] for answer in others} == {"spare"}


async def test_a_deadline_of_the_request_s_own() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate))
            await until(1, up)
            late = await ask(gate, headers={"x-penstock-deadline": "0.1"})
            assert late.error == (504, "deadline_exceeded", None)
            up.release()


@pytest.mark.parametrize(
    ("key", "headers", "status", "code"),
    [
        ("batch", {"x-penstock-priority": "interactive"}, 403, "permission_denied"),
        ("vip", {"x-penstock-priority": "bulk"}, 200, ""),
        ("vip", {"x-penstock-priority": "first"}, 400, "invalid_request"),
        ("vip", {"x-penstock-deadline": "soon"}, 400, "invalid_request"),
        ("vip", {"x-penstock-deadline": "-1"}, 400, "invalid_request"),
        ("vip", {"x-penstock-deadline": "nan"}, 400, "invalid_request"),
    ],
)
async def test_what_a_request_may_wish(key: str, headers: dict[str, str], status: int, code: str) -> None:
    async with busy("concurrency: 1") as (up, gate):
        answer = await ask(gate, key, headers=headers)
        assert answer.status == status
        if code:
            assert answer.error[1] == code
            assert answer.error[2] == next(iter(headers))
            assert up.requests == []


async def test_a_client_that_leaves_takes_nobody_s_place() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = HELD
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gate, says="first"))
            await until(1, up)
            leaves = asyncio.ensure_future(ask(gate, says="leaves"))  # noqa: TID251 - cancelled here
            await waiting(gate, 1)
            group.create_task(ask(gate, says="stays"))
            await waiting(gate, 2)
            leaves.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaves
            up.release()
        assert said(up) == ["first", "stays"]


async def test_what_fails_frees_its_slot() -> None:
    async with busy("concurrency: 1") as (up, gate):
        up.behaviour = {"x-test-status": "500"}
        for _ in range(3):
            assert (await ask(gate)).status == 502
        up.behaviour = {}
        assert (await ask(gate)).status == 200


async def test_embeddings_wait_in_the_same_queue() -> None:
    async with busy("concurrency: 1, operations: [embedding]") as (up, gate):
        up.behaviour = HELD
        body = {"model": "m", "input": "water"}
        asking = asyncio.gather(*(gate.post("/v1/embeddings", body) for _ in range(3)))
        await waiting(gate, 2)
        up.release()
        answers = await asking
        assert [answer.status for answer in answers] == [200] * 3
        assert sum("x-penstock-queue-position" in answer.headers for answer in answers) == 2


async def test_a_batch_is_of_one_class_and_its_members_hear_of_their_wait() -> None:
    async with busy("concurrency: 1, operations: [embedding], batching: {window: 1s}") as (up, gate):
        up.behaviour = HELD

        async def embed(key: str, text: str, **more: Any) -> Answer:
            sent = {"authorization": f"Bearer sk-{key}"}
            return await gate.post("/v1/embeddings", {"model": "m", "input": text, **more}, headers=sent)

        async with asyncio.TaskGroup() as group:
            group.create_task(embed("vip", "first", dimensions=4))
            await until(1, up)
            others: list[asyncio.Task[Answer]] = []
            for at, key in enumerate(("batch", "vip"), 1):  # of each one alone, then two together
                others += [group.create_task(embed(key, key)) for _ in range(3)]
                await waiting(gate, 2 * at)
            up.release()
        asked = [one.body["input"] for one in up.requests]
        assert [len(texts) for texts in asked[1:]] == [1, 2] * 2
        assert [texts[0] for texts in asked] == ["first", "vip", "vip", "batch", "batch"]
        for task in others:
            assert int(task.result().headers["x-penstock-queue-position"]) >= 1


async def test_a_batch_takes_as_much_room_as_its_members() -> None:
    room = "concurrency: 1, queue: {size: 2KiB}, operations: [embedding], batching: {window: 1s, texts: 2}"
    async with busy(room) as (up, gate):
        up.behaviour = HELD
        body = {"model": "m", "input": "water " * 300}
        async with asyncio.TaskGroup() as group:
            first = group.create_task(gate.post("/v1/embeddings", body))
            await until(1, up)
            answers = await asyncio.gather(*(gate.post("/v1/embeddings", body) for _ in range(2)))
            up.release()
        assert first.result().status == 200
        assert [answer.error[:2] for answer in answers] == [(503, "queue_full")] * 2


async def test_a_reload_changes_how_many_run_and_how_many_wait(tmp_path: Path) -> None:
    async with Upstream(behaviour=HELD) as up:
        before = config(up, "concurrency: 1") + "  root: {secret: sk-owner, role: owner}\n"
        async with administered(tmp_path, before) as gate, asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(gate)) for _ in range(3)]
            await until(1, up)
            await waiting(gate, 2)
            after = before.replace("concurrency: 1", "concurrency: 2, queue: {waiting: 1}")
            await asyncio.to_thread(gate.file.write_text, after)
            await until(2, up)  # who waited goes, without anybody's end
            assert (await ask(gate)).error[:2] == (503, "queue_full")
            up.release()
        assert [task.result().status for task in asked] == [200] * 3
