"""Real traffic again: the requests of a trace, at their times, compressed by a factor.

Mooncake's traces (https://github.com/kvcache-ai/Mooncake, Apache-2.0; ../shared/traces) name the blocks of 512
tokens of each prompt by numbers; a block becomes 2,048 characters that no other block has. Their times are
rounded to about 3 s, so requests of one stamp are spread over the time to the next. Azure's traces
(https://github.com/Azure/AzurePublicDataset, CC-BY 4.0) hold lengths only: prompts share nothing.

Open loop: a request leaves when it is due, and its time counts from then. Times are told in the trace's own
seconds: what was measured, times the factor.
"""

import asyncio
import csv
import gc
import gzip
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import uvloop

from bench.subjects import NotInstalled
from penstock.lib import http1
from penstock.lib.sse import SSESplitter

TRACES = Path(__file__).parents[2] / "shared" / "traces"
BLOCK_TOKENS = 512
CHARACTERS = 4  # of a token
CONNECTIONS = 4_096


@dataclass(frozen=True)
class Asked:
    """`blocks`: of the prompt, by number; empty = it shares nothing. `secret`: of a key other than the door's."""

    at_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    secret: str = ""


@dataclass
class Seen:
    """Seconds of the trace. `error` where there was no answer."""

    ttft_s: float = 0.0
    total_s: float = 0.0
    ended_s: float = 0.0  # since the replay began; of the clock, not of the trace
    prompt_tokens: int = 0
    cached_tokens: int = 0
    error: str = ""


# -- traces


def mooncake(name: str, *, until_s: float = float("inf")) -> list[Asked]:
    """`name`: conversation, synthetic. The first `until_s` seconds."""
    with gzip.open(_found(TRACES / "mooncake" / f"{name}_trace.jsonl.gz")) as lines:
        rows = [json.loads(line) for line in lines]
    stamps = sorted({row["timestamp"] for row in rows})
    width = {stamp: later - stamp for stamp, later in pairwise([*stamps, stamps[-1] + 3000])}
    rng = random.Random(1)  # noqa: S311 - the same spread each time
    asked = [
        Asked(
            (row["timestamp"] + rng.random() * width[row["timestamp"]]) / 1e3,
            row["input_length"],
            max(1, row["output_length"]),
            tuple(row["hash_ids"]),
        )
        for row in rows
    ]
    return sorted((one for one in asked if one.at_s < until_s), key=lambda one: one.at_s)


def azure(name: str, *, until_s: float = float("inf")) -> list[Asked]:
    """`name`: conv, code."""
    with _found(TRACES / "azure" / f"AzureLLMInferenceTrace_{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = datetime.fromisoformat(rows[0]["TIMESTAMP"][:26])
    asked = [
        Asked(
            (datetime.fromisoformat(row["TIMESTAMP"][:26]) - first).total_seconds(),
            max(1, int(row["ContextTokens"])),
            max(1, int(row["GeneratedTokens"])),
        )
        for row in rows
    ]
    return [one for one in asked if one.at_s < until_s]


def _found(path: Path) -> Path:
    if not path.exists():
        raise NotInstalled(f"the trace {path.name} is missing: it belongs in {path.parent}")
    return path


def prompt(asked: Asked, number: int) -> str:
    """The text of the `number`-th request."""
    length = asked.input_tokens * CHARACTERS
    blocks: Iterable[str] = map(_block, asked.blocks)
    if not asked.blocks:
        word = f"{number:x}. "
        blocks = (word * (length // len(word) + 1),)
    return "".join(blocks)[:length].ljust(length, "x")


def _block(number: int) -> str:
    word = f"{number:x} "
    length = BLOCK_TOKENS * CHARACTERS
    return (word * (length // len(word) + 1))[:length]


# -- replay

Choose = Callable[[int], int]  # the number of a request -> which of the URLs


@dataclass(frozen=True)
class Door:
    """Where to send. Several URLs: `choose` says which; `ended` hears that one has answered."""

    urls: tuple[str, ...]
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    choose: Choose = lambda _: 0
    ended: Callable[[int], None] = lambda _: None


def replay(door: Door, trace: Sequence[Asked], factor: float) -> list[Seen]:
    """One Seen for each request, in the order of the trace."""
    gc.collect()
    gc.disable()  # a collection among thousands of open requests stops the client for 50 ms
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_replay(door, trace, factor))
    finally:
        gc.enable()


async def _replay(door: Door, trace: Sequence[Asked], factor: float) -> list[Seen]:
    seen = [Seen() for _ in trace]
    async with http1.Client(max_connections_per_origin=CONNECTIONS) as client, asyncio.TaskGroup() as group:
        began_s = time.perf_counter()
        for number, asked in enumerate(trace):
            due_s = began_s + (asked.at_s - trace[0].at_s) / factor
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            body = _body(door.model, asked, number)
            at = door.choose(number)
            headers = (("authorization", f"Bearer {asked.secret}"),) if asked.secret else door.headers
            group.create_task(
                _ask(
                    client,
                    door,
                    at,
                    headers,
                    body,
                    seen=seen[number],
                    began_s=began_s,
                    due_s=due_s,
                    factor=factor,
                )
            )
    return seen


async def _ask(
    client: http1.Client,
    door: Door,
    at: int,
    own: tuple[tuple[str, str], ...],
    body: bytes,
    *,
    seen: Seen,
    began_s: float,
    due_s: float,
    factor: float,
) -> None:
    origin, path = http1.Origin.parse(door.urls[at])
    headers = (("content-type", "application/json"), *own)
    timeouts = http1.Timeouts(connect_s=30, first_byte_s=None, between_s=None, total_s=600)
    try:
        response = await client.request(origin, "POST", path, headers, body, timeouts=timeouts)
        try:
            if response.status != 200:
                seen.error = (
                    f"{response.status} {(await response.read(2000))[:200].decode('utf-8', 'replace')}"
                )
                return
            splitter = SSESplitter()
            while data := await response.read_some():
                for event in splitter.feed_data(data):
                    if not seen.ttft_s and b'"content":"' in event and b'"content":""' not in event:
                        seen.ttft_s = (time.perf_counter() - due_s) * factor
                    if b'"prompt_tokens"' in event:
                        usage = json.loads(event)["usage"]
                        seen.prompt_tokens = usage["prompt_tokens"]
                        seen.cached_tokens = (usage.get("prompt_tokens_details") or {}).get(
                            "cached_tokens"
                        ) or 0
            now_s = time.perf_counter()
            seen.total_s, seen.ended_s = (now_s - due_s) * factor, now_s - began_s
            if not seen.ttft_s:
                seen.error = "no content"
        finally:
            response.close()
    except http1.HTTPClientError as exc:
        seen.error = f"{type(exc).__name__}: {exc}"
    finally:
        door.ended(at)


def _body(model: str, asked: Asked, number: int) -> bytes:
    head = f'{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},'
    head += f'"max_tokens":{asked.output_tokens},"messages":[{{"role":"user","content":"'
    return f'{head}{prompt(asked, number)}"}}]}}'.encode()


def figures(seen: Sequence[Seen], good_s: float) -> dict[str, float]:
    """Of the answered ones; `goodput`: the share of all whose first token came within `good_s`."""
    answered = sorted(one.ttft_s for one in seen if not one.error)
    prompts = sum(one.prompt_tokens for one in seen)
    if not answered:
        raise RuntimeError(f"nothing was answered: {next(one.error for one in seen)}")
    return {
        "requests": len(seen),
        "failed": len(seen) - len(answered),
        "mean_s": sum(answered) / len(answered),
        "p50_s": answered[len(answered) // 2],
        "p99_s": answered[min(len(answered) - 1, int(len(answered) * 0.99))],
        "goodput": sum(one <= good_s for one in answered) / len(seen),
        "cached": sum(one.cached_tokens for one in seen) / max(1, prompts),
    }
