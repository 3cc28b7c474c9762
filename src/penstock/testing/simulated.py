"""A simulated engine: answers with the timing, the prefix cache and the metrics of vLLM, without a model.

    async with SimulatedEngine(speed=Speed(max_running=8), faults=Faults(slow=0.15)) as engine:
        engine.url                        # http://127.0.0.1:54321/v1
        engine.machine.running            # requests that hold a place now
        engine.faults = Faults(error=1.0) # from the next request on

By hand, several in one process: `python -m penstock.testing.simulated --engines 8 --time-scale 20` prints
`{"ports": [...]}` and runs until a signal. Every field of `Speed` and `Faults` is an option there.

    Machine     what takes how long (simulated_machine.py)
    Faults      what goes wrong, drawn from a seed
    the rest    HTTP: one protocol per connection, one timer per engine, no task per request

    POST /v1/chat/completions, /v1/completions      GET /v1/models, /health, /metrics

The machine's times are exact. The wire's are later by what event loops take, 1 ms mostly and 3 ms at times:
with a `time_scale` of 20 these are 20 ms and 60 ms of the time that is simulated.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, Self, cast

import httptools
import msgspec

from penstock.lib.clock import SystemClock
from penstock.testing.simulated_machine import Job, Machine, Speed, Tick, block_hashes

__all__ = ["Fault", "Faults", "SimulatedEngine", "Speed", "main"]

Json = dict[str, Any]


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
