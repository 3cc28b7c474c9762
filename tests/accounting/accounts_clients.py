"""Clients that ask through every door, some of whom leave midway, and write down what they were told."""

# ruff: noqa: S311 - chance, no secrets

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import websockets
from accounts_world import KEYS, PICO, Key, Tokens, tokens_of

from penstock.lib import http1
from penstock.lib.sse import SSESplitter

UNSAID = "?"  # a deployment, where the client is not told which
LEAVE = 0.04  # of the calls
LONGEST_S = 60.0  # for one call, whatever happens

Json = dict[str, Any]


@dataclass(slots=True)
class Told:
    """What a client knows of its call."""

    number: int
    key: Key
    route: str
    door: str
    is_stream: bool
    body_bytes: int
    status: int = 0
    code: str = ""
    deployment: str = ""
    attempts: int = 0
    tokens: Tokens | None = None
    cost: int | None = None  # pico-USD
    pieces: int = 0  # events with content
    searches: int | None = None
    is_whole: bool = False  # an answer, complete
    has_left: bool = False
    is_lost: bool = False  # its connection broke: the gateway died
    ended_s: float = 0.0

    @property
    def id(self) -> str:
        """A WebSocket's calls have the name of its connection, and their number in it."""
        return f"call-{self.number}.1" if self.door == "websocket" else f"call-{self.number}"

    @property
    def is_refused(self) -> bool:
        """By a limit of its caller, before anything was sent."""
        return self.status in (402, 429) and not self.attempts


class Asked(NamedTuple):
    path: str
    body: Json
    route: str


class Door(NamedTuple):
    name: str
    ask: Callable[[str, str, bool, random.Random], Asked]
    read: Callable[["Told", list[Any]], None]  # events of a stream
    weight: float
    kinds: tuple[bool, ...] = (False, True)  # streams


CHATS = ("plain", "fast", "fast", "hedged", "claudes", "gems", "smart")
SCHEMA: Json = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}


def _limit(chance: random.Random) -> Json:
    return {"max_tokens": chance.choice((3, 8, 50))} if chance.random() < 0.4 else {}


def _messages(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def _usage_wished(stream: bool, chance: random.Random) -> Json:
    return {"stream_options": {"include_usage": True}} if stream and chance.random() < 0.7 else {}


def ask_chat(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    body: Json = {"model": route, "messages": _messages(text), "stream": stream, **_limit(chance)}
    return Asked("/v1/chat/completions", body | _usage_wished(stream, chance), route)


def ask_shape(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    body: Json = {"model": "shapes", "messages": _messages(text), "stream": stream}
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
    return Asked("/v1/chat/completions", body | _usage_wished(stream, chance), "shapes")


def ask_text(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    route = "plain"
    body: Json = {"model": route, "prompt": text, "stream": stream, **_limit(chance)}
    if chance.random() < 0.2:
        body["n"] = 2
    return Asked("/v1/completions", body | _usage_wished(stream, chance), route)


def ask_anthropic(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    body: Json = {"model": route, "messages": _messages(text), "stream": stream, "max_tokens": 100}
    return Asked("/v1/messages", body | _limit(chance), route)


def ask_count(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/v1/messages/count_tokens", {"model": route, "messages": _messages(text)}, route)


def ask_absent(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/v1/chat/completions", {"model": "nobody", "messages": _messages(text)}, "nobody")


def ask_gemini(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return Asked(
        f"/v1beta/models/{route}:{verb}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}, route
    )


def ask_ollama(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/api/chat", {"model": route, "messages": _messages(text), "stream": stream}, route)


def ask_responses(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/v1/responses", {"model": route, "input": text, "stream": stream, "store": False}, route)


def ask_socket(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/v1/responses", {"type": "response.create", "model": route, "input": text}, route)


def ask_vectors(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    inputs = [text] if chance.random() < 0.7 else [text, "one more", "and another"]
    return Asked("/v1/embeddings", {"model": "texts", "input": inputs}, "texts")


def ask_ranks(route: str, text: str, stream: bool, chance: random.Random) -> Asked:
    return Asked("/v2/rerank", {"model": "ranking", "query": text, "documents": ["a b", "c"]}, "ranking")


# -- what events of a stream say


def read_openai(told: Told, events: list[Any]) -> None:
    for event in events:
        if event == "[DONE]":
            told.is_whole = True
        elif "error" in event:
            told.code, told.is_whole = event["error"]["code"], False
            _usage(told, event["error"].get("usage"))
        else:
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or choice
                told.pieces += bool(delta.get("content") or delta.get("text") or delta.get("tool_calls"))
            _usage(told, event.get("usage"))
            if (extension := event.get("penstock")) is not None:
                told.cost = pico(repr(extension["cost_usd"]))


def read_anthropic(told: Told, events: list[Any]) -> None:
    found: Json = {}
    for event in events:
        match event["type"]:
            case "message_start":
                found |= event["message"]["usage"]
            case "message_delta":
                found |= {name: count for name, count in event["usage"].items() if count is not None}
            case "content_block_delta":
                told.pieces += 1
            case "message_stop":
                told.is_whole = True
                _usage(told, found)
            case "error":
                details = event["error"]["details"]
                told.code, told.is_whole = details["error_code"], False
                _usage(told, details.get("usage"))


def read_gemini(told: Told, events: list[Any]) -> None:
    for event in events:
        if "error" in event:
            said = event["error"]["details"][0]
            told.code, told.is_whole = said["reason"].lower(), False
            counts = {name: count for name, count in said["metadata"].items() if count.isdecimal()}
            _usage(told, {name: int(count) for name, count in counts.items()})
            continue
        for candidate in event.get("candidates") or ():
            told.pieces += bool(candidate.get("content", {}).get("parts"))
            if candidate.get("finishReason"):
                told.is_whole = True
        if told.is_whole:
            _usage(told, event.get("usageMetadata"))


def read_ollama(told: Told, events: list[Any]) -> None:
    for event in events:
        if "error" in event:
            told.code, told.is_whole = "error", False
        else:
            told.pieces += bool(event.get("message", {}).get("content"))
            told.is_whole = event.get("done", False)
        _usage(told, event)


ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


def read_responses(told: Told, events: list[Any]) -> None:
    for event in events:
        if event["type"] == "error":  # of a WebSocket, where there was no status
            told.status, told.code = event["status"], event["error"]["code"]
        elif event["type"].endswith(".delta"):
            told.pieces += 1
        elif event["type"] in ENDS:
            told.is_whole = event["type"] != "response.failed"
            told.code = "" if told.is_whole else event["response"]["error"]["code"]
            _usage(told, event["response"].get("usage"))


def _usage(told: Told, usage: Json | None) -> None:
    if usage and (any(name in usage for name in _COUNTS)):
        told.tokens = tokens_of(usage)


_COUNTS = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_eval_count", "total_tokens")


def read_nothing(told: Told, events: list[Any]) -> None:
    raise AssertionError("there is no such stream")


DOORS = (
    Door("chat", ask_chat, read_openai, 40),
    Door("shape", ask_shape, read_openai, 4),
    Door("completions", ask_text, read_openai, 6),
    Door("anthropic", ask_anthropic, read_anthropic, 12),
    Door("count", ask_count, read_nothing, 2, (False,)),
    Door("absent", ask_absent, read_nothing, 1, (False,)),
    Door("gemini", ask_gemini, read_gemini, 8),
    Door("ollama", ask_ollama, read_ollama, 5),
    Door("responses", ask_responses, read_responses, 8),
    Door("websocket", ask_socket, read_responses, 4, (True,)),
    Door("embeddings", ask_vectors, read_nothing, 12, (False,)),
    Door("rerank", ask_ranks, read_nothing, 5, (False,)),
)


def pico(usd: str) -> int:
    amount = Decimal(usd) * PICO
    return int(amount.to_integral_value())


# -- the traffic


class Traffic:
    """`told`: of calls that are over. `is_stopped`: no call begins any more."""

    def __init__(self, seed: int, *, at_once: int, leave: float = LEAVE, keys: Sequence[Key] = KEYS) -> None:
        self.keys = keys
        self.told: list[Told] = []
        self.is_stopped = False
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._at_once = at_once
        self._leave = leave

    async def run(self, url: str, count: int, *, doors: tuple[Door, ...] = DOORS) -> None:
        """So many calls; returns when all are over."""
        origin, _ = http1.Origin.parse(url)
        left = iter(range(count))
        async with http1.Client(proxies={}) as client, asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._some(client, origin, left, doors))

    async def _some(
        self, client: http1.Client, origin: http1.Origin, left: Iterator[int], doors: tuple[Door, ...]
    ) -> None:
        for _ in left:
            if self.is_stopped:
                return
            await self._call(client, origin, doors)

    async def _call(self, client: http1.Client, origin: http1.Origin, doors: tuple[Door, ...]) -> None:
        chance = self._random
        (door,) = chance.choices(doors, [door.weight for door in doors])
        stream = chance.choice(door.kinds)
        number = next(self._numbers)
        text = f"call-{number}- " + "word " * chance.choice((2, 10, 60))
        asked = door.ask(chance.choice(CHATS), text, stream, chance)
        body = msgspec.json.encode(asked.body)
        told = Told(number, chance.choice(self.keys), asked.route, door.name, stream, len(body))
        headers = [
            ("authorization", f"Bearer {told.key.secret}"),
            ("content-type", "application/json"),
            ("x-request-id", told.id),
        ]
        leaves = chance.random() < self._leave
        reads = chance.randint(1, 5) if leaves and stream and chance.random() < 0.7 else None
        within_s = chance.uniform(0.0, 0.15) if leaves and reads is None else LONGEST_S
        try:
            async with asyncio.timeout(within_s):
                if door.name == "websocket":
                    await self._converse(told, door, origin, body, reads)
                else:
                    response = await client.request(origin, "POST", asked.path, headers, body)
                    try:
                        await self._read(told, door, response, reads)
                    finally:
                        response.close()
        except TimeoutError:
            assert leaves, f"{told.id} did not end within {LONGEST_S:g} s"
            told.has_left = True
        except http1.HTTPClientError:
            told.is_lost = True
        finally:
            told.ended_s = time.monotonic()
            self.told.append(told)

    async def _converse(
        self, told: Told, door: Door, origin: http1.Origin, body: bytes, reads: int | None
    ) -> None:
        """One connection, one call."""
        told.deployment, told.status = UNSAID, 200
        headers = {"authorization": f"Bearer {told.key.secret}", "x-request-id": f"call-{told.number}"}
        url = f"ws://{origin.host}:{origin.port}/v1/responses"
        try:
            async with websockets.connect(url, additional_headers=headers, proxy=None) as socket:
                await socket.send(body.decode())
                async for message in socket:
                    event = json.loads(message)
                    door.read(told, [event])
                    if event["type"] in ENDS:
                        return
                    if reads is not None:
                        reads -= 1
                        if not reads:
                            told.has_left = True
                            return
        except (OSError, websockets.exceptions.WebSocketException):
            told.is_lost = True

    async def _read(self, told: Told, door: Door, response: http1.Response, reads: int | None) -> None:
        told.status = response.status
        told.deployment = (response.header(b"x-penstock-deployment") or b"").decode()
        told.attempts = int(response.header(b"x-penstock-attempts") or b"0")
        if response.status == 200 and told.is_stream:
            await self._read_stream(told, door, response, reads)
            return
        body = json.loads(await response.read(1 << 24))
        if response.status != 200:
            told.code = code_of(body)
            return
        told.is_whole = True
        if (cost := response.header(b"x-penstock-cost-usd")) is not None:
            told.cost = pico(cost.decode())
        if door.name != "count":  # what it says is no usage
            _usage(told, body.get("usage") or body.get("usageMetadata") or body)
        told.searches = ((body.get("meta") or {}).get("billed_units") or {}).get("search_units")

    async def _read_stream(self, told: Told, door: Door, response: http1.Response, reads: int | None) -> None:
        data = b""
        while part := await response.read_some():
            data += part
            if reads is not None:
                reads -= 1
                if not reads:
                    told.has_left = True
                    break
        lines = data.split(b"\n")[:-1] if door.name == "ollama" else SSESplitter().feed_data(data)
        door.read(told, ["[DONE]" if line == b"[DONE]" else json.loads(line) for line in lines])
        told.has_left = told.has_left and not told.is_whole


def code_of(body: Any) -> str:
    """Of an error, in any protocol's shape."""
    error = body.get("error")
    if isinstance(error, dict):
        for details in (error.get("details"),):
            if isinstance(details, dict) and "error_code" in details:
                return str(details["error_code"])
            if isinstance(details, list) and details and "reason" in details[0]:
                return str(details[0]["reason"]).lower()
        return str(error.get("code") or error.get("type"))
    return str(body.get("code") or error or body)
