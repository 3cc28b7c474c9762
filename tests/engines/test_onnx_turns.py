"""How requests share the model thread: batches in common, errors and clients of their own."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.engines.onnx_encoder import BATCH_TOKENS, Encoder, Floats, Tokens, load, run_to_end
from penstock.engines.onnx_worker import Turns
from penstock.lib import tasks
from penstock.testing.tiny import make_cross_encoder, make_encoder
from penstock.types.errors import InvalidRequest

TEXTS = [
    "the gate",
    "reset the password",
    "water from the river",
    "x y z",
    "a slow engine",
    "gate",
    "password",
]


class Watched:
    """Counts the runs of an encoder; the first one waits until it is let go, so that a line forms."""

    def __init__(self, encoder: Encoder) -> None:
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.poison: int | None = None  # a token id: batches with it fail
        self._run = encoder.run
        encoder.run = self.run  # type: ignore[method-assign] # a seam, not a double: the model still runs

    def run(self, tokens: Sequence[Tokens]) -> Floats:
        self.may_go.wait(10)
        self.sizes.append(len(tokens))
        if any(self.poison in item.ids for item in tokens):
            raise RuntimeError("the model fails on this text")
        return self._run(tokens)


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def ask(turns: Turns, steps: list[Any], watched: Watched) -> list[Any]:
    """The first alone, the others while it runs; answers and errors in order."""
    async with asyncio.TaskGroup() as group:
        running = [tasks.spawn(group, outcome(turns, steps[0]), "first")]
        await asyncio.sleep(0.05)
        running += [tasks.spawn(group, outcome(turns, one), "another") for one in steps[1:]]
        await asyncio.sleep(0.05)
        watched.may_go.set()
    return [one.result() for one in running]


async def outcome(turns: Turns, steps: Any) -> Any:
    try:
        return await turns.run(steps, never)
    except Exception as exc:  # noqa: BLE001 - the tests look at it
        return exc


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return load(make_encoder(tmp_path), threads=1)


@pytest.fixture
def cross_encoder(tmp_path: Path) -> Encoder:
    return load(make_cross_encoder(tmp_path), threads=1)


async def test_requests_that_wait_share_a_batch(encoder: Encoder) -> None:
    alone = [run_to_end(encoder.embed([text])).vectors for text in TEXTS]
    watched = Watched(encoder)
    answers = await ask(Turns(), [encoder.embed([text]) for text in TEXTS], watched)
    for got, expected in zip(answers, alone, strict=True):
        np.testing.assert_allclose(got.vectors, expected, atol=1e-5)
    assert watched.sizes[0] == 1
    assert max(watched.sizes) > 1
    assert sum(watched.sizes) == len(TEXTS)


async def test_pairs_share_a_batch_too(cross_encoder: Encoder) -> None:
    alone = [run_to_end(cross_encoder.rerank("how to reset", [text])).scores for text in TEXTS]
    watched = Watched(cross_encoder)
    steps = [cross_encoder.rerank("how to reset", [text]) for text in TEXTS]
    answers = await ask(Turns(), steps, watched)
    for got, expected in zip(answers, alone, strict=True):
        np.testing.assert_allclose(got.scores, expected, atol=1e-4)
    assert max(watched.sizes) > 1


async def test_an_error_stays_with_the_request_that_caused_it(encoder: Encoder) -> None:
    (guilty,) = encoder._tokenize(["turbine"], "input", truncate=False)
    watched = Watched(encoder)
    watched.poison = guilty.ids[1]
    texts = ["gate", "water", "turbine", "river"]
    steps = [encoder.embed([text]) for text in texts]
    steps.append(encoder.embed([""]))
    answers = await ask(Turns(), steps, watched)
    assert isinstance(answers[2], RuntimeError)
    assert isinstance(answers[4], InvalidRequest)
    assert all(len(answers[index].vectors) == 1 for index in (0, 1, 3))


async def test_a_request_nobody_waits_for_is_not_run(encoder: Encoder) -> None:
    watched = Watched(encoder)
    turns = Turns()
    async with asyncio.TaskGroup() as group:
        first = tasks.spawn(group, turns.run(encoder.embed(["gate"]), never), "first")
        await asyncio.sleep(0.05)
        gone = tasks.spawn(group, turns.run(encoder.embed(["water", "river"]), never), "gone")
        stays = tasks.spawn(group, turns.run(encoder.embed(["turbine"]), never), "stays")
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        watched.may_go.set()
        await asyncio.wait({first, stays})
    assert watched.sizes == [1, 1]


async def test_a_large_request_is_overtaken(encoder: Encoder) -> None:
    watched = Watched(encoder)
    turns = Turns()
    ended: list[str] = []

    async def run(name: str, texts: list[str]) -> None:
        await turns.run(encoder.embed(texts), never)
        ended.append(name)

    async with asyncio.TaskGroup() as group:
        tasks.spawn(group, run("large", ["water gate turbine river energy " * 5] * 500), "large")
        await asyncio.sleep(0.1)
        tasks.spawn(group, run("small", ["water"]), "small")
        await asyncio.sleep(0.05)
        watched.may_go.set()
    assert ended == ["small", "large"]


def test_a_shared_batch_keeps_the_budgets(encoder: Encoder) -> None:
    def items(*lengths: int) -> list[Tokens]:
        return [Tokens([1] * length, [0] * length) for length in lengths]

    assert encoder.may_share(items(10, 12, 9))
    assert not encoder.may_share(items(10, 100)), "more padding than tokens"
    assert not encoder.may_share(items(*[BATCH_TOKENS // 4] * 5)), "above the budget"
