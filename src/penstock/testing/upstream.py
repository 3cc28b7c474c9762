"""An upstream that speaks the OpenAI dialect on a real socket and misbehaves exactly as a test says.

    async with Upstream() as up:
        up.url                                    # http://127.0.0.1:54321/v1 (or http+unix://, https://)
        up.behaviour = {"x-test-tokens": "3"}     # for every request from now on
        up.plan.append({"x-test-status": "429"})  # for the next request only
        up.requests[-1].events_sent               # what came of it

By hand: `python -m penstock.testing.upstream --port 9000`.

A directive (`DIRECTIVES`) is looked up in this order, the first that names it wins:

    1  the request's own headers                 straight from a client
    2  `metadata` of the JSON body               through a gateway, which forwards no foreign headers
    3  `plan`: one entry is taken per request    "fail twice, then answer"
    4  `behaviour`                               for the whole server

Answers are complete and valid (the official SDK's strict mode is the judge) unless a directive says
otherwise. The same request gets the same answer, ids aside. An event is one `data:` line; a chat stream's
first is the role chunk, the last of any stream is `[DONE]`.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import itertools
import math
import re
import signal
import ssl
import struct
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, cast
from urllib.parse import quote, urlsplit

import httptools
import msgspec

from penstock.lib import tasks
from penstock.lib.clock import Clock, SystemClock

Json = dict[str, Any]
Kind = Literal["seconds", "count", "text", "flag", "keys"]


class Directive(NamedTuple):
    kind: Kind
    meaning: str


DIRECTIVES: dict[str, Directive] = {
    # time
    "x-test-delay-headers": Directive("seconds", "wait before the status line"),
    "x-test-delay-first": Directive("seconds", "wait between the head and the first event, or the body"),
    "x-test-delay-between": Directive("seconds", "wait before each further event"),
    "x-test-hang": Directive("count", "after N events send nothing more and keep the connection"),
    # how the connection ends
    "x-test-refuse": Directive("flag", "drop the connection without a byte of an answer"),
    "x-test-cut": Directive("count", "drop the connection after N events, or after N bytes of a plain body"),
    "x-test-truncate": Directive("count", "end the body cleanly after N events: no finish_reason, no [DONE]"),
    "x-test-no-done": Directive("flag", "leave only the last `data: [DONE]` out"),
    "x-test-close": Directive("flag", "close the connection after the answer, and say so"),
    # what is wrong with the answer
    "x-test-status": Directive("count", "answer with this status and an error body"),
    "x-test-retry-after": Directive("text", "a `retry-after` header with that"),
    "x-test-body": Directive("text", "this text as the body, whatever the status"),
    "x-test-error-in-stream": Directive(
        "count", "after N events send an error event inside the 200, and end"
    ),
    "x-test-malformed": Directive("count", "the event after N is half a JSON object; also a plain body"),
    "x-test-non-sse": Directive("flag", "answer a streaming request with a plain JSON body"),
    "x-test-omit": Directive("keys", "leave these keys (`created,object,id`) out, at every depth"),
    # how it is written
    "x-test-batch": Directive("count", "put N events into one write and one chunk"),
    "x-test-split": Directive("count", "send N bytes at a time, each its own chunk"),
    "x-test-crlf": Directive("flag", "end the lines of events with CR LF"),
    "x-test-comment": Directive("flag", "a comment line before each event, as keep-alive"),
    "x-test-header": Directive("text", "one more response header: `name: value`"),
    # what is in it
    "x-test-content": Directive("text", "the text of the answer"),
    "x-test-tokens": Directive("count", "so many tokens (words), the text repeated as needed"),
    "x-test-reasoning": Directive("text", "`reasoning_content` before the text"),
    "x-test-tool-call": Directive("text", "call a tool instead: `name` or `name:{json arguments}`"),
    "x-test-finish": Directive("text", "this finish_reason"),
    "x-test-prompt-tokens": Directive("count", "report so many prompt tokens instead of the words counted"),
    "x-test-cached-tokens": Directive("count", "report so many of them as cached"),
    "x-test-no-usage": Directive("flag", "no usage, even if asked for"),
    "x-test-echo": Directive("flag", "the request body, as JSON, is the text of the answer"),
}

DEFAULT_TEXT = "The gate opens and the water runs down to the turbine."
EMBEDDING_DIMENSIONS = 8


class Directives:
    """The directives of one request, by name without the `x-test-`. Raises ValueError for an unknown one."""

    def __init__(self, found: Mapping[str, str]) -> None:
        if unknown := found.keys() - DIRECTIVES.keys():
            raise ValueError(f"unknown directives {sorted(unknown)}; known are {sorted(DIRECTIVES)}")
        self.found = dict(found)

    def flag(self, name: str) -> bool:
        value = self._get(name, "flag")
        return value is not None and value.lower() not in {"0", "false", "no"}

    def count(self, name: str) -> int | None:
        value = self._get(name, "count")
        return None if value is None else int(value)

    def seconds(self, name: str) -> float:
        return float(self._get(name, "seconds") or 0)

    def text(self, name: str) -> str | None:
        return self._get(name, "text")

    def keys(self, name: str) -> frozenset[str]:
        return frozenset(key.strip() for key in (self._get(name, "keys") or "").split(",") if key.strip())

    def _get(self, name: str, kind: Kind) -> str | None:
        if DIRECTIVES[f"x-test-{name}"].kind != kind:
            raise LookupError(f"x-test-{name} is no {kind}")
        return self.found.get(f"x-test-{name}")


@dataclass(slots=True)
class Recorded:
    """One request and what came of it. Times are seconds of the server's monotonic clock."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    raw: bytes
    body: Any  # the JSON value, or None
    started_at: float
    directives: Directives = field(default_factory=lambda: Directives({}))
    status: int = 0
    events_sent: int = 0
    bytes_sent: int = 0
    cancelled_at: float | None = None  # the client left before the answer was out
    ended_at: float | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # answered, dropped or cancelled


class Answer(NamedTuple):
    """What would be sent if nothing went wrong: a body, or events."""

    body: Json
    events: list[Json] | None = None
    status: int = 200


class Upstream:
    """The server. `uds` or `tls` choose another transport; `api_key` makes it demand one."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        uds: str | None = None,
        tls: ssl.SSLContext | None = None,
        models: Iterable[str] = ("test-model",),
        api_key: str | None = None,
        behaviour: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.uds = uds
        self.models = tuple(models)
        self.api_key = api_key
        self.behaviour: dict[str, str] = dict(behaviour or {})
        self.plan: deque[Mapping[str, str]] = deque()
        self.requests: list[Recorded] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.accepted = 0  # connections, ever
        self.connections: set[_Connection] = set()
        self.clock: Clock = SystemClock() if clock is None else clock
        self.handlers: tasks.Tasks = set()
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, `/v1` included."""
        if self.uds is not None:
            return f"http+unix://{quote(self.uds, safe='')}/v1"
        return (
            f"http://{self.host}:{self.port}/v1" if self._tls is None else f"https://localhost:{self.port}/v1"
        )

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self.uds is not None:
            server = await loop.create_unix_server(lambda: _Connection(self), self.uds, ssl=self._tls)
        else:
            server = await loop.create_server(lambda: _Connection(self), self.host, self.port, ssl=self._tls)
            self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def stop(self) -> None:
        """Stop listening, drop every connection, wait for the handlers."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()
        while self.handlers:
            await tasks.cancel_and_wait(next(iter(self.handlers)))
        while self.connections:  # noqa: ASYNC110 - connection_lost is a call away
            await asyncio.sleep(0)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def directives(self, headers: Mapping[str, str], body: Any) -> Directives:
        """Takes the next entry of the plan."""
        metadata = body.get("metadata") if isinstance(body, dict) else None
        layers: list[Mapping[str, Any]] = [
            self.behaviour,
            self.plan.popleft() if self.plan else {},
            metadata if isinstance(metadata, dict) else {},
            headers,
        ]
        found: dict[str, str] = {}
        for layer in layers:
            found.update({key: str(value) for key, value in layer.items() if key.startswith("x-test-")})
        return Directives(found)

    def answer(self, request: Recorded) -> Answer:
        """The decision, without the sending. Pure but for ids and the time of day."""
        route = request.method, request.path.removeprefix("/v1")
        match route:
            case "GET", "/health":
                return Answer({"status": "ok"})
            case _ if self.api_key is not None and (
                request.headers.get("authorization") != f"Bearer {self.api_key}"
            ):
                return _error(401, "Incorrect API key provided.")
            case "GET", "/models":
                now = int(self.clock.wall())
                models = [
                    {"id": m, "object": "model", "created": now, "owned_by": "test"} for m in self.models
                ]
                return Answer({"object": "list", "data": models})
            case "POST", "/chat/completions" | "/completions" | "/embeddings" | "/rerank":
                if (status := request.directives.count("status")) is not None:
                    return _error(status, f"The test asked for {status}.")
                if not isinstance(request.body, dict):
                    return _error(400, "The body is not a JSON object.")
                decide = _ROUTES[route[1]]
                return decide(request.body, request.directives, self.clock)
            case _:
                return _error(404, f"Unknown path {request.method} {request.path}.")


# -- deciding: a request body and directives in, an answer out -----------------------------------------


def _error(status: int, message: str) -> Answer:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return Answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status=status)


def _words(text: str) -> list[str]:
    """Tokens: words, each with the white space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def _text_of(value: Any) -> str:
    """All text in a message list, a prompt or a list of content parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_text_of(item) for item in value)
    if isinstance(value, dict):
        return _text_of(value.get("content", value.get("text", "")))
    return str(value) if isinstance(value, int) else ""


def _tokens(body: Json, told: Directives) -> tuple[list[str], str]:
    """The tokens of the answer and its finish_reason."""
    text = told.text("content")
    if told.flag("echo"):
        text = msgspec.json.encode(body).decode()
    tokens = _words(DEFAULT_TEXT if text is None else text)
    wanted = told.count("tokens")
    if wanted is not None:
        spaced = [token if token[:1].isspace() else f" {token}" for token in tokens] or [" x"]
        tokens = (tokens + list(itertools.islice(itertools.cycle(spaced), wanted)))[:wanted]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int) and limit < len(tokens):
        return tokens[:limit], "length"
    return tokens, "stop"


def _usage(prompt: Any, completion_tokens: int, reasoning_tokens: int, told: Directives) -> Json:
    told_tokens = told.count("prompt-tokens")
    prompt_tokens = len(_words(_text_of(prompt))) if told_tokens is None else told_tokens
    usage: Json = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    if (cached := told.count("cached-tokens")) is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return usage


def _call(body: Json, told: Directives) -> tuple[str, str] | None:
    """The tool to call and its arguments as JSON text."""
    wanted = told.text("tool-call")
    if wanted is None:
        return None
    name, _, arguments = wanted.partition(":")
    if name in {"", "1", "true"}:
        tools = body.get("tools") or [{"function": {"name": "tool"}}]
        name = tools[0]["function"]["name"]
    return name, arguments or "{}"


def _logprob(token: str) -> Json:
    return {"token": token, "logprob": -0.25, "bytes": list(token.encode()), "top_logprobs": []}


def _logprobs(tokens: list[str], body: Json) -> Json | None:
    if not body.get("logprobs"):
        return None
    return {"content": [_logprob(token) for token in tokens], "refusal": None}


_ids = itertools.count(1)


def _stream_options(body: Json, told: Directives) -> tuple[bool, bool]:
    options = body.get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage") is True
    return body.get("stream") is True, asked and not told.flag("no-usage")


def _chat(body: Json, told: Directives, clock: Clock) -> Answer:
    if not isinstance(body.get("messages"), list):
        return _error(400, "messages: an array is required.")
    tokens, finish = _tokens(body, told)
    reasoning = _words(told.text("reasoning") or "")
    call = _call(body, told)
    if call is not None:
        tokens, finish = [], "tool_calls"
    finish = told.text("finish") or finish
    count = int(body.get("n") or 1)
    completion_tokens = count * (len(reasoning) + (len(_words(call[1])) + 1 if call else len(tokens)))
    usage = _usage(body["messages"], completion_tokens, count * len(reasoning), told)
    number = next(_ids)
    base = {"id": f"chatcmpl-{number}", "created": int(clock.wall()), "model": str(body.get("model", ""))}
    call_id = f"call_{number}"
    stream, with_usage = _stream_options(body, told)
    if stream:
        deltas = _chat_deltas(body, tokens, reasoning, call, call_id)
        base["object"] = "chat.completion.chunk"
        return Answer({}, list(_chunks(base, deltas, finish, count, usage if with_usage else None)))
    message: Json = {"role": "assistant", "content": None if call else "".join(tokens), "refusal": None}
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if call:
        function = {"name": call[0], "arguments": call[1]}
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    choices = [
        {"index": i, "message": message, "logprobs": _logprobs(tokens, body), "finish_reason": finish}
        for i in range(count)
    ]
    answer = base | {"object": "chat.completion", "choices": choices}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _chat_deltas(
    body: Json, tokens: list[str], reasoning: list[str], call: tuple[str, str] | None, call_id: str
) -> list[Json]:
    """The middle of a choice: `delta` and `logprobs` of each chunk."""
    deltas: list[Json] = [{"delta": {"role": "assistant", "content": ""}, "logprobs": None}]
    deltas += [{"delta": {"reasoning_content": piece}, "logprobs": None} for piece in reasoning]
    deltas += [{"delta": {"content": token}, "logprobs": _logprobs([token], body)} for token in tokens]
    if call is not None:
        function = {"name": call[0], "arguments": ""}
        opened = {"index": 0, "id": call_id, "type": "function", "function": function}
        deltas.append({"delta": {"tool_calls": [opened]}, "logprobs": None})
        for piece in _words(call[1]):
            part = {"index": 0, "function": {"arguments": piece}}
            deltas.append({"delta": {"tool_calls": [part]}, "logprobs": None})
    return deltas


def _chunks(base: Json, deltas: list[Json], finish: str, count: int, usage: Json | None) -> Iterator[Json]:
    """Every chunk of a stream: all choices in step, then their ends, then the usage."""
    extra = {} if usage is None else {"usage": None}
    ending: Json = {"delta": {}, "logprobs": None}
    if deltas and "text" in deltas[0]:
        ending = {"text": "", "logprobs": None}
    for delta in deltas:
        for index in range(count):
            yield base | {"choices": [{"index": index, **delta, "finish_reason": None}]} | extra
    for index in range(count):
        yield base | {"choices": [{"index": index, **ending, "finish_reason": finish}]} | extra
    if usage is not None:
        yield base | {"choices": [], "usage": usage}


def _completions(body: Json, told: Directives, clock: Clock) -> Answer:
    if "prompt" not in body:
        return _error(400, "prompt: required.")
    tokens, finish = _tokens(body, told)
    finish = told.text("finish") or finish
    count = int(body.get("n") or 1)
    usage = _usage(body["prompt"], count * len(tokens), 0, told)
    base = {
        "id": f"cmpl-{next(_ids)}",
        "object": "text_completion",
        "created": int(clock.wall()),
        "model": str(body.get("model", "")),
    }
    stream, with_usage = _stream_options(body, told)
    if stream:
        deltas: list[Json] = [{"text": token, "logprobs": None} for token in tokens]
        return Answer({}, list(_chunks(base, deltas, finish, count, usage if with_usage else None)))
    choices = [
        {"index": i, "text": "".join(tokens), "logprobs": None, "finish_reason": finish} for i in range(count)
    ]
    answer = base | {"choices": choices}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = b"".join(hashlib.sha256(f"{i}:{text}".encode()).digest() for i in range(-(-dimensions // 32)))
    raw = [byte - 127.5 for byte in seed[:dimensions]]
    norm = math.sqrt(sum(value * value for value in raw))
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(v / norm for v in raw))))


def _embeddings(body: Json, told: Directives, clock: Clock) -> Answer:  # noqa: ARG001 - one shape for all routes
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        return _error(400, "input: a string or a non-empty array is required.")
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    dimensions = int(body.get("dimensions") or EMBEDDING_DIMENSIONS)
    data: list[Json] = []
    for index, item in enumerate(inputs):
        vector = _vector(_text_of(item), dimensions)
        embedding: Any = vector
        if body.get("encoding_format") == "base64":
            embedding = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    usage = _usage(inputs, 0, 0, told)
    del usage["completion_tokens"]
    answer: Json = {"object": "list", "data": data, "model": str(body.get("model", ""))}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _rerank(body: Json, told: Directives, clock: Clock) -> Answer:  # noqa: ARG001 - one shape for all routes
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        return _error(400, "query: a string, and documents: an array, are required.")
    asked = set(query.lower().split())
    results: list[Json] = []
    for index, document in enumerate(documents):
        words = set(_text_of(document).lower().split())
        result: Json = {"index": index, "relevance_score": len(asked & words) / (len(asked | words) or 1)}
        if body.get("return_documents"):
            result["document"] = {"text": _text_of(document)}
        results.append(result)
    results.sort(key=lambda result: -cast(float, result["relevance_score"]))
    tokens = _usage([query, documents], 0, 0, told)["prompt_tokens"]
    answer: Json = {
        "id": f"rerank-{next(_ids)}",
        "model": str(body.get("model", "")),
        "results": results[: int(body.get("top_n") or len(results))],
    }
    if told.flag("no-usage"):
        return Answer(answer)
    units = {"search_units": 1}
    return Answer(answer | {"usage": {"total_tokens": tokens}, "meta": {"billed_units": units}})


_ROUTES = {
    "/chat/completions": _chat,
    "/completions": _completions,
    "/embeddings": _embeddings,
    "/rerank": _rerank,
}


def _without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    if isinstance(value, list):
        return [_without(item, keys) for item in value]
    return value


# -- doing: one connection, one request at a time ------------------------------------------------------


class _Dropped(Exception):
    """The connection is to be dropped now."""


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._waiting: deque[tuple[Recorded, bool]] = deque()  # pipelined requests, and their keep-alive
        self._handler: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's and the parser's callbacks ----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.accepted += 1
        self._upstream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._upstream.connections.discard(self)
        if self._handler is not None:
            self._handler.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        raw = b"".join(self._body)
        try:
            body = msgspec.json.decode(raw) if raw else None
        except msgspec.DecodeError:
            body = None
        target = urlsplit(self._target.decode("latin-1"))
        request = Recorded(
            method=self._parser.get_method().decode(),
            path=target.path,
            query=target.query,
            headers=self._headers,
            raw=raw,
            body=body,
            started_at=self._upstream.clock.monotonic(),
        )
        self._upstream.requests.append(request)
        self._waiting.append((request, self._parser.should_keep_alive()))
        if self._handler is None:
            self._handler = tasks.spawn(self._upstream.handlers, self._handle_all(), "test upstream")

    # -- the answer ------------------------------------------------------------------------------------

    async def _handle_all(self) -> None:
        while self._waiting:
            request, keep_alive = self._waiting.popleft()
            if not await self._handle(request) or not keep_alive:
                cast(asyncio.Transport, self._transport).close()
                return
        self._handler = None

    async def _handle(self, request: Recorded) -> bool:
        """Answer one request; false when the connection is to be closed."""
        upstream = self._upstream
        upstream.in_flight += 1
        upstream.peak_in_flight = max(upstream.peak_in_flight, upstream.in_flight)
        try:
            request.directives = told = upstream.directives(request.headers, request.body)
            if told.flag("refuse"):
                raise _Dropped
            answer = upstream.answer(request)
            await asyncio.sleep(told.seconds("delay-headers"))
            if answer.events is not None and not told.flag("non-sse") and told.text("body") is None:
                await self._send_events(request, told, answer.events)
            else:
                await self._send_body(request, told, answer)
        except asyncio.CancelledError:
            request.cancelled_at = upstream.clock.monotonic()
            raise
        except _Dropped:
            self.abort()
            return False
        except (
            ValueError
        ) as exc:  # a directive that is none: loud in the answer, where the test's author looks
            body = msgspec.json.encode(_error(400, f"x-test: {exc}").body)
            await self._write(
                request, self._head(request, Directives({}), 400, "application/json", len(body)) + body
            )
            return True
        else:
            return not told.flag("close")
        finally:
            upstream.in_flight -= 1
            request.ended_at = upstream.clock.monotonic()
            request.ended.set()

    async def _send_body(self, request: Recorded, told: Directives, answer: Answer) -> None:
        text = told.text("body")
        if text is not None:
            body = text.encode()
        elif answer.events is not None:  # non-sse: what such servers send is the last chunk
            body = msgspec.json.encode(_without(answer.events[-1], told.keys("omit")))
        else:
            body = msgspec.json.encode(_without(answer.body, told.keys("omit")))
        if told.count("malformed") is not None:
            body = body[: len(body) // 2]
        head = self._head(request, told, answer.status, "application/json", len(body))
        if told.seconds("delay-first"):
            await self._write(request, head)
            head = b""
            await asyncio.sleep(told.seconds("delay-first"))
        cut = told.count("cut")
        await self._write(request, head + body[:cut])
        if cut is not None:
            await self._flush()
            raise _Dropped

    async def _send_events(self, request: Recorded, told: Directives, events: list[Json]) -> None:
        await self._write(request, self._head(request, told, 200, "text/event-stream; charset=utf-8", None))
        await asyncio.sleep(told.seconds("delay-first"))
        between, batch = told.seconds("delay-between"), told.count("batch") or 1
        stops = {name: told.count(name) for name in ("cut", "truncate", "error-in-stream", "hang")}
        held: list[bytes] = []
        for number, line in enumerate(itertools.chain(self._lines(told, events), (None,))):
            if number in stops.values():
                await self._write_events(request, told, held)
                held = []
                if await self._stop(request, told, number, stops):
                    return
            if line is None:
                break
            if number and between:
                await asyncio.sleep(between)
            held.append(line)
            if len(held) >= batch:
                await self._write_events(request, told, held)
                held = []
        await self._write_events(request, told, held)
        await self._write(request, b"0\r\n\r\n")

    async def _stop(
        self, request: Recorded, told: Directives, number: int, stops: dict[str, int | None]
    ) -> bool:
        """What happens after `number` events; true when the answer is over."""
        if number == stops["hang"]:
            await asyncio.Event().wait()
        if number == stops["cut"]:
            await self._flush()
            raise _Dropped
        if number == stops["error-in-stream"]:
            error = _error(500, "The test asked for an error in the stream.").body
            await self._write_events(request, told, [self._line(told, msgspec.json.encode(error))])
        await self._write(request, b"0\r\n\r\n")
        return True

    def _lines(self, told: Directives, events: list[Json]) -> Iterator[bytes]:
        omitted, malformed = told.keys("omit"), told.count("malformed")
        for number, event in enumerate(events):
            data = msgspec.json.encode(_without(event, omitted) if omitted else event)
            yield self._line(told, data[: len(data) // 2] if number == malformed else data)
        if not told.flag("no-done"):
            yield self._line(told, b"[DONE]")

    @staticmethod
    def _line(told: Directives, data: bytes) -> bytes:
        line = b"data: " + data + b"\n\n"
        if told.flag("comment"):
            line = b": keep-alive\n\n" + line
        return line.replace(b"\n", b"\r\n") if told.flag("crlf") else line

    def _head(
        self, request: Recorded, told: Directives, status: int, content_type: str, length: int | None
    ) -> bytes:
        request.status = status
        lines = [f"HTTP/1.1 {status} Test", f"content-type: {content_type}"]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        if (retry_after := told.text("retry-after")) is not None:
            lines.append(f"retry-after: {retry_after}")
        if (extra := told.text("header")) is not None:
            lines.append(extra)
        if told.flag("close"):
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode()

    async def _write_events(self, request: Recorded, told: Directives, lines: list[bytes]) -> None:
        if not lines:
            return
        data = b"".join(lines)
        size = told.count("split") or len(data)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            await self._write(request, b"%x\r\n%b\r\n" % (len(part), part))
            if size < len(data):
                await asyncio.sleep(0)
        request.events_sent += len(lines)

    async def _write(self, request: Recorded, data: bytes) -> None:
        await self._writable.wait()
        cast(asyncio.Transport, self._transport).write(data)
        request.bytes_sent += len(data)

    async def _flush(self) -> None:
        """Let the kernel have what was written: a dropped connection must still deliver it."""
        transport = cast(asyncio.Transport, self._transport)
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


# -- by hand -------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, DIRECTIVES))
    table = "\n".join(f"  {name:{width}}  {d.kind:7}  {d.meaning}" for name, d in DIRECTIVES.items())
    parser = argparse.ArgumentParser(
        prog="python -m penstock.testing.upstream",
        description="An OpenAI-compatible upstream for tests and demonstrations.",
        epilog=f"directives, as request headers, in the body's `metadata`, or with --set:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--uds", help="listen on this Unix socket instead")
    parser.add_argument("--model", action="append", help="a model name to list (repeatable)")
    parser.add_argument("--api-key", help="demand this key")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a directive for all"
    )
    return parser


async def _run(upstream: Upstream) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with upstream:
        sys.stdout.write(f"{upstream.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    behaviour = dict(item.partition("=")[::2] for item in options.set)
    try:
        Directives(behaviour)
    except ValueError as exc:
        parser.error(str(exc))
    upstream = Upstream(
        host=options.host,
        port=options.port,
        uds=options.uds,
        models=options.model or ("test-model",),
        api_key=options.api_key,
        behaviour=behaviour,
    )
    if sys.platform == "win32":
        asyncio.run(_run(upstream))
    else:
        import uvloop

        uvloop.run(_run(upstream))


if __name__ == "__main__":
    main()
