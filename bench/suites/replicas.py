"""Which of three llama.cpp replicas: conversations that grow, by how the replica is chosen.

Penstock starts the demonstration model three times, one thread and two sequences each. CLIENTS talk at once: each
turn sends the whole conversation again, so a replica that has read it need only read what is new. The same turns
with `strategy: weighted` (a pool gives its least busy replica) and `strategy: affinity`.

Nothing is pinned but by the kernel: gateway, engines and client share all cores. The model has 5M parameters and reads
thousands of tokens in the time that a real one takes for ten.
"""

import asyncio
import json
import random
import time
from typing import Any

import uvloop

from bench import harness
from bench.harness import Bench, Program
from bench.reach import Reach
from bench.subjects import SECRET, penstock_argv
from penstock.lib import http1
from penstock.lib.sse import SSESplitter

NAME = "replicas"
TITLE = "Conversations with three llama.cpp replicas"
IS_LONG = False

WAYS = ("weighted", "affinity")
CLIENTS = 6
TURNS = 6
CONVERSATIONS = 4  # of each client, one after the other
THINKS_S = 0.05
WORDS_OF_SYSTEM, WORDS_OF_TURN = 300, 60
ANSWER_TOKENS = 16
START_S = 120.0
WORDS = [
    "the",
    "water",
    "of",
    "the",
    "upper",
    "dam",
    "runs",
    "through",
    "a",
    "long",
    "pipe",
    "to",
    "the",
    "turbine",
    "and",
    "turns",
    "it",
    "day",
    "and",
    "night",
]


def run(bench: Bench) -> dict[str, Any]:
    """{"rows": {"affinity": {"first_ms": {...}, "later_ms": {...}, "cached": {...}}}}"""
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(1 if bench.is_quick else bench.rounds):
        for way in WAYS:
            seen[way].append(measured(way, turn, 1 if bench.is_quick else CONVERSATIONS))
    return {
        "rows": {
            way: {name: harness.spread([one[name] for one in rounds]) for name in rounds[0]}
            for way, rounds in seen.items()
        },
        "ratio": harness.spread(
            [
                ours["later_ms"] / theirs["later_ms"]
                for ours, theirs in zip(seen["affinity"], seen["weighted"], strict=True)
            ]
        ),
    }


def measured(way: str, seed: int, conversations: int) -> dict[str, float]:
    with harness.scratch() as work:
        port = harness.free_port()
        path = work / "penstock.yaml"
        path.write_text(config(way, port))
        url = f"http://127.0.0.1:{port}"
        with Program(penstock_argv(path), core=None, work=work, name="penstock") as program:
            harness.wait_for(lambda: ready(url), program, START_S)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(talk(url, seed, conversations))


def config(way: str, port: int) -> str:
    return f"""
builtin: off
server: {{host: 127.0.0.1, port: {port}}}
deployments:
  d: {{model: "builtin:chat", replicas: 3, threads: 1, parallel: 2, context: 2048}}
routes:
  m: {{targets: [{{deployment: d}}], strategy: {way}}}
keys:
  bench: {{secret: {SECRET}}}
"""


def ready(url: str) -> bool:
    """All three."""
    text = harness.http(f"{url}/metrics", None, {"authorization": f"Bearer {SECRET}"}).decode()
    return 'penstock_replicas{pool="d",state="ready"} 3.0' in text


async def talk(url: str, seed: int, conversations: int) -> dict[str, float]:
    first: list[float] = []
    later: list[float] = []
    tokens = [0, 0]  # prompt, cached

    async def client(number: int) -> None:
        rng = random.Random(f"{seed} {number}")  # noqa: S311 - the same words each time
        for _ in range(conversations):
            messages = [{"role": "system", "content": said(rng, WORDS_OF_SYSTEM)}]
            for turn in range(TURNS):
                messages.append({"role": "user", "content": said(rng, WORDS_OF_TURN)})
                answer, ttft_s, usage = await ask(gate, url, messages)
                (later if turn else first).append(ttft_s)
                tokens[0] += usage["prompt_tokens"]
                tokens[1] += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
                messages.append({"role": "assistant", "content": answer})
                await asyncio.sleep(rng.expovariate(1 / THINKS_S))

    async with http1.Client() as gate, asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
    return {
        "first_ms": harness.median(first) * 1e3,
        "later_ms": sum(later) / len(later) * 1e3,
        "later_p99_ms": sorted(later)[int(len(later) * 0.99)] * 1e3,
        "cached": tokens[1] / tokens[0],
    }


def said(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


async def ask(
    client: http1.Client, url: str, messages: list[dict[str, str]]
) -> tuple[str, float, dict[str, Any]]:
    """The answer's text, seconds to its first token, and its usage."""
    body = {
        "model": "m",
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": ANSWER_TOKENS,
        "ignore_eos": True,
        "temperature": 0,
    }
    origin, _ = http1.Origin.parse(url)
    headers = (("authorization", f"Bearer {SECRET}"), ("content-type", "application/json"))
    began_s = time.perf_counter()
    ttft_s = 0.0
    text: list[str] = []
    usage: dict[str, Any] = {}
    data = json.dumps(body).encode()
    response = await client.request(origin, "POST", "/v1/chat/completions", headers, data)
    if response.status != 200:
        raise RuntimeError((await response.read(2000)).decode("utf-8", "replace"))
    splitter = SSESplitter()
    while piece := await response.read_some():
        for event in splitter.feed_data(piece):
            if event == b"[DONE]":
                continue
            chunk = json.loads(event)
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                if content := choice["delta"].get("content"):
                    ttft_s = ttft_s or time.perf_counter() - began_s
                    text.append(content)
    response.close()
    return "".join(text), ttft_s, usage


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{CLIENTS} clients at once, {TURNS} turns a conversation.",
        "",
        "| strategy | first turn, TTFT ms | later turns, mean ms | p99 ms | prompt tokens cached |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, row in result["rows"].items():
        times = " | ".join(f"{row[name]['median']:.3g}" for name in ("first_ms", "later_ms", "later_p99_ms"))
        lines.append(f"| {way} | {times} | {row['cached']['median']:.0%} |")
    lines += ["", f"Later turns, affinity against weighted: {result['ratio']['median']:.2f}."]
    return "\n".join(lines)


def reaches(_result: dict[str, Any]) -> list[Reach]:
    return []  # none was set
