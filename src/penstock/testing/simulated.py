"""A simulated engine: answers with the timing, the prefix cache and the metrics of vLLM, without a model.

    async with SimulatedEngine(speed=Speed(max_running=8), faults=Faults(slow=0.15)) as engine:
        engine.url                        # http://127.0.0.1:54321/v1
        engine.machine.running            # requests that hold a place now
        engine.faults = Faults(error=1.0) # from the next request on

By hand, several in one process: `python -m penstock.testing.simulated --engines 8 --time-scale 20` prints
`{"ports": [...]}` and runs until a signal. Every field of `Speed` and `Faults` is an option there.

    Machine     what takes how long. No I/O, no clock: it is told the time, so that tests need not sleep
    Blocks      its KV cache
    Faults      what goes wrong, drawn from a seed
    the rest    HTTP: one protocol per connection, one timer per engine, no task per request

The life of a request:

    waiting     first in, first out; the head waits for a place, for its blocks and for the prompt before it
    prefill     one prompt at a time at the full rate, without the blocks that are cached; ends with token 1
    decode      all sequences in step; a token takes `decode_s` and grows with their number at that moment

    POST /v1/chat/completions, /v1/completions      GET /v1/models, /health, /metrics

The machine's times are exact. The wire's are later by what event loops take, 1 ms mostly and 3 ms at times:
with a `time_scale` of 20 these are 20 ms and 60 ms of the time that is simulated. What an answer adds to
the cache is not kept, other than in vLLM: the next turn of the conversation computes it with its question.
"""

import argparse
import asyncio
import contextlib
import heapq
import itertools
import json
import math
import random
import signal
import sys
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, NamedTuple, Self, cast

import httptools
import msgspec

from penstock.lib.clock import SystemClock

Json = dict[str, Any]


# -- the machine: explicit time, no I/O ------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """How fast the simulated machine is, and how much it holds."""

    prefill_tokens_s: float = 6000.0
    decode_s: float = 0.02  # per token of a sequence that runs alone
    decode_growth: float = 0.03  # more of it for each other sequence: decode_s * (1 + growth * (n - 1))
    decode_beside_prefill: float = 1.0  # factor on decode_s while a prompt is computed
    max_running: int = 64  # in prefill or decode
    kv_blocks: int = 16_384
    block_tokens: int = 16
    time_scale: float = 1.0  # all durations are divided by it

    def __post_init__(self) -> None:
        if min(self.prefill_tokens_s, self.time_scale) <= 0 or min(self.decode_s, self.decode_growth) < 0:
            raise ValueError("rates and time_scale must be above 0, durations and growth not below it")
        if self.decode_beside_prefill < 1:
            raise ValueError("decode_beside_prefill is a factor of at least 1")
        if min(self.max_running, self.kv_blocks, self.block_tokens) < 1:
            raise ValueError("max_running, kv_blocks and block_tokens must be at least 1")

    def prefill(self, tokens: int) -> float:
        """Seconds."""
        return tokens / self.prefill_tokens_s / self.time_scale

    def token(self, running: int, *, beside_prefill: bool = False) -> float:
        """Seconds between two tokens of one of so many sequences."""
        slowed = self.decode_beside_prefill if beside_prefill else 1.0
        return self.decode_s * (1 + self.decode_growth * (running - 1)) * slowed / self.time_scale


def block_hashes(text: str, size: int) -> tuple[int, ...]:
    """One hash per full block of `size` characters, each over its block and the hash before it.

    Python's own hash: a process may draw other values than the next, but only their equality is looked at.
    """
    found: list[int] = []
    before = 0
    for start in range(0, len(text) - size + 1, size):
        before = hash((before, text[start : start + size]))
        found.append(before)
    return tuple(found)


class Blocks:
    """The KV cache. Every block is free, idle (cached, nobody's), or pinned by the requests that run.

    A prompt's full blocks are shared by hash. What else a request needs, for the rest of its prompt and for
    its answer, is its own; it is set aside at once, so nothing is ever preempted, and is not cached.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._pinned: dict[int, int] = {}  # hash -> how many requests
        self._idle: OrderedDict[int, None] = OrderedDict()  # the least recently used first
        self._own = 0

    @property
    def pinned(self) -> int:
        return len(self._pinned) + self._own

    @property
    def cached(self) -> int:
        """Blocks that another request could share."""
        return len(self._pinned) + len(self._idle)

    @property
    def used(self) -> int:
        return self.pinned + len(self._idle)

    def known(self, hashes: Iterable[int]) -> int:
        """How many of the first ones are there."""
        count = 0
        for one in hashes:
            if one not in self._pinned and one not in self._idle:
                break
            count += 1
        return count

    def take(self, hashes: Sequence[int], own: int) -> bool:
        """Pin a prompt's blocks and `own` others, evicting idle ones; False, and no change, if it cannot."""
        idle = [one for one in hashes if one in self._idle]
        new = len(hashes) - len(idle) - sum(map(self._pinned.__contains__, hashes)) + own
        if self.pinned + len(idle) + new > self.capacity:
            return False
        for one in idle:
            del self._idle[one]
        pinned = self._pinned
        for one in hashes:
            pinned[one] = pinned.get(one, 0) + 1
        self._own += own
        while self.used > self.capacity:
            self._idle.popitem(last=False)
        return True

    def give_back(self, hashes: Sequence[int], own: int, computed: int | None = None) -> None:
        """Only the first `computed` stay cached. The end of a prompt is evicted before its beginning."""
        pinned, idle = self._pinned, self._idle
        keep = len(hashes) if computed is None else computed
        for index in range(len(hashes) - 1, -1, -1):
            one = hashes[index]
            if (count := pinned[one]) > 1:
                pinned[one] = count - 1
                continue
            del pinned[one]
            if index < keep:
                idle[one] = None
        self._own -= own


@dataclass(slots=True, eq=False)
class Job:
    """One request to the machine, and what the machine says of it: times are None until they are known."""

    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()  # of the prompt's full blocks
    marks: tuple[int, ...] = ()  # after how many tokens to tell; the first and the last are always told
    slow: float = 1.0  # factor on its own prefill and decode; the others are not held up by it

    arrived_at: float = 0.0
    cached_tokens: int = 0
    prefill_at: float | None = None
    first_at: float | None = None
    ended_at: float | None = None
    phase: Literal["new", "waiting", "prefill", "lag", "decode", "ended", "cancelled"] = "new"


class Tick(NamedTuple):
    """So many tokens of the job were out at that time."""

    job: Job
    at: float
    tokens: int

    @property
    def is_last(self) -> bool:
        return self.tokens == self.job.output_tokens


class Machine:
    """Requests in, ticks out. Each call takes the present time, which never goes back.

    `_decoded` counts the tokens a sequence has got that was there from the beginning of the busy period:
    sequences in step get theirs at the same moments, so one number that runs slower the more of them there
    are tells exactly when each is done, however often the batch changes on the way.
    """

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.blocks = Blocks(speed.kv_blocks)
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.queried_tokens = 0  # of prompts looked up in the cache, ever
        self.hit_tokens = 0
        self._now = -math.inf
        self._computing: Job | None = None
        self._timers: list[tuple[float, int, Job]] = []  # ends of prefill and of lag
        self._decoding = 0
        self._decoded = 0.0
        self._marks: list[
            tuple[float, int, int, Job]
        ] = []  # at which `_decoded`, and how many tokens that is
        self._serials = itertools.count()
        self._ticks: list[Tick] = []

    def submit(self, job: Job, now: float) -> None:
        """Raises ValueError for one that the machine can never hold."""
        if job.prompt_tokens < 1 or job.output_tokens < 1 or job.slow < 1:
            raise ValueError("a job has a prompt, an answer, and a `slow` of at least 1")
        if self._size(job) > self.speed.kv_blocks:
            raise ValueError(
                f"{job.prompt_tokens} tokens and {job.output_tokens} for the answer do not fit into "
                f"{self.speed.kv_blocks} blocks of {self.speed.block_tokens}"
            )
        self._run(now)
        job.arrived_at, job.phase = now, "waiting"
        self.waiting.append(job)
        self._admit()

    def cancel(self, job: Job, now: float) -> None:
        """Frees its place and its blocks; nothing for one that has ended."""
        self._run(now)
        match job.phase:
            case "waiting":
                self.waiting.remove(job)
            case "prefill":
                done = (now - cast(float, job.prefill_at)) * self.speed.prefill_tokens_s
                tokens = job.cached_tokens + int(done * self.speed.time_scale)
                self._computing = None
                self._leave(job, computed=tokens // self.speed.block_tokens)
            case "lag":
                self._leave(job)
            case "decode":
                self._decoding -= 1
                self._leave(job)
            case _:
                return
        job.phase = "cancelled"  # its timers and marks are dropped when they come up
        self._admit()

    def advance(self, now: float) -> list[Tick]:
        """What has happened until now, in order, since the last call."""
        self._run(now)
        ticks, self._ticks = self._ticks, []
        return ticks

    def next_at(self) -> float | None:
        """When `advance` will have something to do, if nothing arrives or leaves before; None if never."""
        while self._timers and self._timers[0][2].phase == "cancelled":
            heapq.heappop(self._timers)
        while self._marks and self._marks[0][3].phase == "cancelled":
            heapq.heappop(self._marks)
        at = self._timers[0][0] if self._timers else math.inf
        if self._marks:
            at = min(at, self._now + (self._marks[0][0] - self._decoded) * self._token())
        return None if at == math.inf else max(at, self._now)

    # -- one event after the other ---------------------------------------------------------------------

    def _run(self, until: float) -> None:
        while (at := self.next_at()) is not None and at <= until:
            if self._timers and self._timers[0][0] <= at:
                self._pass(at)
                self._timer(heapq.heappop(self._timers)[2])
            else:
                self._now = at
                self._decoded, _, tokens, job = heapq.heappop(
                    self._marks
                )  # exactly, without a rounding error
                self._tell(job, tokens)
            self._admit()
        self._pass(until)

    def _pass(self, until: float) -> None:
        """Time in which nothing happens but decoding."""
        if until <= self._now:
            return
        if self._decoding and (seconds := self._token()):
            self._decoded += (until - self._now) / seconds
        self._now = until

    def _token(self) -> float:
        return self.speed.token(self._decoding, beside_prefill=self._computing is not None)

    def _admit(self) -> None:
        """Start the next prompt, if there is one and there is room."""
        if self._computing is not None or not self.waiting or self.running >= self.speed.max_running:
            return
        job = self.waiting[0]
        cached = self.blocks.known(job.blocks) * self.speed.block_tokens
        if not self.blocks.take(job.blocks, self._size(job) - len(job.blocks)):
            return
        self.waiting.popleft()
        if cached >= job.prompt_tokens:  # the last token must be computed, or there is nothing to sample from
            cached -= self.speed.block_tokens
        job.cached_tokens, job.prefill_at, job.phase = cached, self._now, "prefill"
        self.queried_tokens += job.prompt_tokens
        self.hit_tokens += cached
        self.running += 1
        self._computing = job
        self._wake(job, self._now + self.speed.prefill(job.prompt_tokens - cached))

    def _wake(self, job: Job, at: float) -> None:
        heapq.heappush(self._timers, (at, next(self._serials), job))

    def _timer(self, job: Job) -> None:
        if job.phase == "prefill":
            self._computing = None
            if job.slow > 1:  # the prompt after it does not wait for that
                job.phase = "lag"
                lag = self.speed.prefill(job.prompt_tokens - job.cached_tokens) * (job.slow - 1)
                self._wake(job, self._now + lag)
                return
        self._decode(job)

    def _decode(self, job: Job) -> None:
        """The first token is out."""
        job.phase, job.first_at = "decode", self._now
        if not self._decoding:
            self._decoded = 0.0  # a busy period begins; marks that are left are of cancelled jobs
            self._marks.clear()
        self._decoding += 1
        for tokens in {*job.marks, job.output_tokens}:
            if 1 < tokens <= job.output_tokens:
                mark = self._decoded + (tokens - 1) * job.slow, next(self._serials), tokens, job
                heapq.heappush(self._marks, mark)
        self._tell(job, 1)

    def _tell(self, job: Job, tokens: int) -> None:
        if tokens == job.output_tokens:
            job.phase, job.ended_at = "ended", self._now
            self._decoding -= 1
            self._leave(job)
        self._ticks.append(Tick(job, self._now, tokens))

    def _leave(self, job: Job, computed: int | None = None) -> None:
        self.running -= 1
        self.blocks.give_back(job.blocks, self._size(job) - len(job.blocks), computed)

    def _size(self, job: Job) -> int:
        return -(-(job.prompt_tokens + job.output_tokens) // self.speed.block_tokens)


# -- what goes wrong -------------------------------------------------------------------------------------

Fault = Literal["error", "limited", "mute", "cut", "slow"]
_KINDS: Final[tuple[Fault, ...]] = ("error", "limited", "mute", "cut", "slow")


@dataclass(frozen=True)
class Faults:
    """Probabilities, at most one of them for a request; the n-th request's fate is that of the seed."""

    error: float = 0.0  # a 500 at once
    limited: float = 0.0  # a 429 with `retry-after`
    mute: float = 0.0  # accepted and never answered
    cut: float = 0.0  # the connection ends after the first token, or half-way through a whole answer
    slow: float = 0.0  # its own service takes `slow_factor` times as long
    slow_factor: float = 10.0
    retry_after_s: int = 1  # time_scale does not touch it: a header has whole seconds
    seed: int = 0

    def __post_init__(self) -> None:
        chances = [getattr(self, kind) for kind in _KINDS]
        if min(chances) < 0 or sum(chances) > 1 or self.slow_factor < 1:
            raise ValueError("probabilities are from 0 to 1, also together; slow_factor is at least 1")

    def draw(self, dice: random.Random) -> Fault | None:
        chance = dice.random()
        for kind in _KINDS:
            chance -= getattr(self, kind)
            if chance < 0:
                return kind
        return None


# -- the wire: what is read of a request, and what is said -----------------------------------------------


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message] = []
    prompt: str | list[str] = ""
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    def text(self) -> str:
        """All contents, one after the other. Raises ValueError where there is no one prompt."""
        if isinstance(self.prompt, str) and self.prompt:
            return self.prompt
        if len(self.prompt) == 1:
            return self.prompt[0]
        if self.prompt or not self.messages:
            raise ValueError("one prompt, or messages, are required")
        contents = [message.content or "" for message in self.messages]
        return "".join(
            one if isinstance(one, str) else "".join(part.text for part in one) for one in contents
        )


_DECODER: Final = msgspec.json.Decoder(_Body)
_TEXT: Final = "The gate opens and the water runs down to the turbine. "
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _whole(status: int, body: bytes, *extra: str, kind: str = "application/json") -> bytes:
    reason = _REASONS.get(status, "Internal Server Error")
    lines = [f"HTTP/1.1 {status} {reason}", f"content-type: {kind}", f"content-length: {len(body)}", *extra]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _refusal(status: int, message: str, *extra: str) -> bytes:
    kinds = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError"}
    error = {
        "message": message,
        "type": kinds.get(status, "InternalServerError"),
        "param": None,
        "code": status,
    }
    return _whole(status, msgspec.json.encode({"error": error}), *extra)


def _events(*events: Json) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Exchange:
    """One request that the machine has, and its answer as it grows."""

    def __init__(
        self, connection: "_Connection", body: _Body, *, is_chat: bool, is_cut: bool, job: Job
    ) -> None:
        self.connection = connection
        self.job = job
        self._engine = connection.engine
        self._body = body
        self._is_chat = is_chat
        self._is_cut = is_cut
        self._number = next(self._engine.numbers)
        self._sent = 0  # tokens
        connection.exchange = self
        if body.stream:  # as vLLM: the head says only that the request was accepted
            connection.write(_STREAM_HEAD)

    def tick(self, tick: Tick) -> None:
        if self._body.stream:
            self._stream(tick)
        elif tick.is_last:
            answer = _whole(200, msgspec.json.encode(self._answer()))
            self.connection.write(answer[: len(answer) // 2] if self._is_cut else answer)
            self.connection.done(keep=not self._is_cut)

    def _stream(self, tick: Tick) -> None:
        opening = {"role": "assistant", "content": ""}
        events = [] if self._sent or not self._is_chat else [self._event(opening)]
        text = self._text(self._sent, tick.tokens)
        events.append(self._event({"content": text} if self._is_chat else text))
        self._sent = tick.tokens
        if self._is_cut:
            self.connection.write(_chunk(_events(*events)))
            self.connection.done(keep=False)
            return
        if not tick.is_last:
            self.connection.write(_chunk(_events(*events)))
            return
        events.append(self._event({} if self._is_chat else "", self._finish()))
        events.append({**self._frame(), "choices": [], "usage": self._usage()})
        self.connection.write(_chunk(_events(*events) + b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self.connection.done()

    def _answer(self) -> Json:
        text = self._text(0, self.job.output_tokens)
        said: Json = {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self._finish()}
        return {**self._frame(), "choices": [choice], "usage": self._usage()}

    def _event(self, said: Json | str, finish: str | None = None) -> Json:
        key = "delta" if self._is_chat else "text"
        choice = {"index": 0, key: said, "logprobs": None, "finish_reason": finish}
        return {**self._frame(), "choices": [choice]}

    def _frame(self) -> Json:
        suffix = ".chunk" if self._body.stream else ""
        return {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{self._number}",
            "object": f"chat.completion{suffix}" if self._is_chat else "text_completion",
            "created": self._engine.started_at,
            "model": self._body.model,
        }

    def _text(self, start: int, end: int) -> str:
        size = self._engine.chars_per_token
        first, last = start * size, end * size
        skipped = first - first % len(_TEXT)
        return (_TEXT * (-(-(last - skipped) // len(_TEXT))))[first - skipped : last - skipped]

    def _finish(self) -> str:
        """Cut short where the caller set the number of tokens."""
        is_limited = self._body.max_tokens or self._body.max_completion_tokens
        return "length" if is_limited else "stop"

    def _usage(self) -> Json:
        prompt, output = self.job.prompt_tokens, self.job.output_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": self.job.cached_tokens},
        }


# -- the server ------------------------------------------------------------------------------------------


class SimulatedEngine:
    """One engine on a port of its own. `faults` may be changed while it runs."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str = "simulated",
        speed: Speed | None = None,
        faults: Faults | None = None,
        events: int = 2,
        chars_per_token: int = 4,
        default_tokens: int = 16,
    ) -> None:
        self.host = host
        self.port = port
        self.model = model
        self.speed = Speed() if speed is None else speed
        self.machine = Machine(self.speed)
        self.events = events  # of a stream, after the first token's
        self.chars_per_token = chars_per_token
        self.default_tokens = default_tokens
        self.started_at = int(SystemClock.wall())
        self.numbers = itertools.count(1)
        self.accepted = 0  # requests for an answer, ever; faults and refusals are among them
        self.finished = 0  # whose last token came
        self.cancelled = 0  # left by the client, or cut
        self.connections: set[_Connection] = set()
        self.faults = Faults() if faults is None else faults
        self._exchanges: dict[Job, _Exchange] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_turning = False
        self._server: asyncio.Server | None = None

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        """The dice begin anew."""
        self._faults = faults
        self._dice = random.Random(faults.seed)  # noqa: S311 - repeatable is the point

    @property
    def url(self) -> str:
        """The base URL, as the SDK takes it."""
        return f"http://{self.host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        server = cast(asyncio.Server, self._server)
        server.close()
        for connection in list(self.connections):
            connection.abort()
        while self.connections:  # noqa: ASYNC110 - connection_lost is a call away
            await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
        await server.wait_closed()

    # -- requests ----------------------------------------------------------------------------------------

    def serve(self, connection: "_Connection", method: str, path: str, raw: bytes) -> None:
        """Answer at once, or give it to the machine, or never answer."""
        match method, path:
            case "POST", "/v1/chat/completions" | "/v1/completions":
                self._complete(connection, raw, is_chat="chat" in path)
                return
            case "GET", "/health" | "/v1/health":
                connection.write(_whole(200, b""))
            case "GET", "/metrics" | "/v1/metrics":
                kind = "text/plain; version=0.0.4; charset=utf-8"
                connection.write(_whole(200, self.metrics().encode(), kind=kind))
            case "GET", "/v1/models":
                card = {
                    "id": self.model,
                    "object": "model",
                    "created": self.started_at,
                    "owned_by": "penstock",
                    "max_model_len": self.speed.kv_blocks * self.speed.block_tokens,
                }
                connection.write(_whole(200, msgspec.json.encode({"object": "list", "data": [card]})))
            case _:
                connection.write(_refusal(404, f"There is no {method} {path}."))
        connection.done()

    def _complete(self, connection: "_Connection", raw: bytes, *, is_chat: bool) -> None:
        self.accepted += 1
        fault = self.faults.draw(self._dice)
        try:
            match fault:
                case "mute":
                    return
                case "error":
                    connection.write(_refusal(500, "A fault was injected."))
                case "limited":
                    after = f"retry-after: {self.faults.retry_after_s}"
                    connection.write(_refusal(429, "A fault was injected.", after))
                case _:
                    body = _DECODER.decode(raw)
                    job = self._job(body, slow=self.faults.slow_factor if fault == "slow" else 1.0)
                    self.machine.submit(job, SystemClock.monotonic())
                    self._exchanges[job] = _Exchange(
                        connection, body, is_chat=is_chat, is_cut=fault == "cut", job=job
                    )
                    self._turn()
                    return
        except (msgspec.DecodeError, ValueError) as exc:
            connection.write(_refusal(400, str(exc)))
        connection.done()

    def _job(self, body: _Body, slow: float) -> Job:
        text = body.text()
        tokens = body.max_completion_tokens or body.max_tokens or self.default_tokens
        steps = [1 + (tokens - 1) * step // self.events for step in range(self.events)] if body.stream else []
        return Job(
            prompt_tokens=max(1, -(-len(text) // self.chars_per_token)),
            output_tokens=tokens,
            blocks=block_hashes(text, self.speed.block_tokens * self.chars_per_token),
            marks=tuple(steps),
            slow=slow,
        )

    def leave(self, exchange: _Exchange) -> None:
        """Its client is gone, or will be: whoever waits gets its place now."""
        if self._exchanges.pop(exchange.job, None) is not None:
            self.cancelled += 1
            self.machine.cancel(exchange.job, SystemClock.monotonic())
            self._turn()

    def _turn(self) -> None:
        """Say what the machine has to say, and wake up when it next has.

        What is said may lead to the next request on that connection, or to a cut: the turn that is in
        progress sees to these, so that the ticks of a request stay in order.
        """
        if self._is_turning:
            return
        self._is_turning = True
        while ticks := self.machine.advance(SystemClock.monotonic()):
            for tick in ticks:
                if (exchange := self._exchanges.get(tick.job)) is not None:
                    if tick.is_last:
                        self.finished += 1
                        del self._exchanges[tick.job]
                    exchange.tick(tick)
        self._is_turning = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self.machine.next_at()) is not None:
            # uvloop rounds to milliseconds and may be early; with less it would spin until the time has come
            delay = max(0.001, at - SystemClock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._turn()

    def metrics(self) -> str:
        """The names and labels are vLLM's; the counters count tokens, as there."""
        self._turn()
        machine = self.machine
        usage = machine.blocks.pinned / machine.blocks.capacity
        labels = f'{{engine="0",model_name={msgspec.json.encode(self.model).decode()}}}'
        rows = [
            ("num_requests_running", "gauge", machine.running),
            ("num_requests_waiting", "gauge", len(machine.waiting)),
            ("kv_cache_usage_perc", "gauge", usage),
            ("prefix_cache_queries_total", "counter", machine.queried_tokens),
            ("prefix_cache_hits_total", "counter", machine.hit_tokens),
        ]
        return "".join(
            f"# TYPE vllm:{n} {kind}\nvllm:{n}{labels} {float(value)}\n" for n, kind, value in rows
        )


class _Connection(asyncio.Protocol):
    """One request at a time; those that were sent ahead wait. Answers are small, so no write waits."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._body: list[bytes] = []
        self._queue: deque[tuple[str, str, bytes, bool]] = deque()
        self.exchange: _Exchange | None = None  # what the machine has of it
        self._is_busy = False  # with a request, be it one that is never answered
        self._is_serving = False
        self._keeps = True  # the connection, after the request that is served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.engine.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.engine.connections.discard(self)
        self._transport = None
        self._queue.clear()
        if self.exchange is not None:
            self.engine.leave(self.exchange)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()

    # -- the parser's callbacks --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._target, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path = self._target.partition(b"?")[0].decode("latin-1")
        keeps = self._parser.should_keep_alive()
        self._queue.append((self._parser.get_method().decode(), path, b"".join(self._body), keeps))
        self._body = []
        self._serve()

    # -- answers -----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        if self._is_serving or self._transport is None:  # answered at once: the loop below goes on
            return
        self._is_serving = True
        while self._queue and not self._is_busy and not self._transport.is_closing():
            self._is_busy = True
            method, path, raw, self._keeps = self._queue.popleft()
            self.engine.serve(self, method, path, raw)
        self._is_serving = False

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def done(self, *, keep: bool = True) -> None:
        """The answer is out, or cut."""
        exchange, self.exchange, self._is_busy = self.exchange, None, False
        if exchange is not None:
            self.engine.leave(exchange)  # nothing, unless it was cut
        if keep and self._keeps:
            self._serve()
            return
        self._queue.clear()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


# -- by hand ---------------------------------------------------------------------------------------------


async def _run(engines: list[SimulatedEngine]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines:
            await stack.enter_async_context(engine)
        sys.stdout.write(json.dumps({"ports": [engine.port for engine in engines]}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _engines(arguments: list[str] | None) -> list[SimulatedEngine]:
    made = argparse.ArgumentParser(
        prog="python -m penstock.testing.simulated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--engines", type=int, default=1, help="how many, in this process (default: 1)")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    made.add_argument("--model", default="simulated", help="the model name (default: simulated)")
    made.add_argument("--faulty", type=int, nargs="+", help="the engines with faults, from 0 (default: all)")
    for name, default in (("events", 2), ("chars-per-token", 4), ("default-tokens", 16)):
        made.add_argument(f"--{name}", type=int, default=default, help=f"(default: {default})")
    for kind in (Speed, Faults):
        group = made.add_argument_group(kind.__name__)
        for one in fields(kind):
            option = f"--{one.name.replace('_', '-')}"
            group.add_argument(
                option, type=type(one.default), default=one.default, help=f"(default: {one.default})"
            )
    options = vars(made.parse_args(arguments))
    count, faulty = options.pop("engines"), options.pop("faulty")
    try:
        speed = Speed(**{one.name: options.pop(one.name) for one in fields(Speed)})
        faults = Faults(**{one.name: options.pop(one.name) for one in fields(Faults)})
    except ValueError as exc:
        made.error(str(exc))
    return [
        SimulatedEngine(
            **options,
            speed=speed,
            # the engines must not fail in step
            faults=replace(faults, seed=faults.seed + n) if faulty is None or n in faulty else None,
        )
        for n in range(count)
    ]


def main(arguments: list[str] | None = None) -> None:
    engines = _engines(arguments)
    if sys.platform == "win32":
        asyncio.run(_run(engines))
    else:
        import uvloop

        uvloop.run(_run(engines))


if __name__ == "__main__":
    main()
