"""What every double of a vendor's server shares: a real socket, and misbehaviour exactly as a test says.

A double (`upstream.py`, `anthropic.py`, `gemini.py`, ...) decides; this module listens, records and sends.
Its directives are explained in `upstream.py` and mean the same everywhere: an event is one event of the
vendor's own stream, whatever its framing. `x-test-echo` and `x-test-no-done` are `upstream.py`'s alone.
"""

import argparse
import asyncio
import contextlib
import itertools
import signal
import ssl
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Self, cast
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
    "x-test-together": Directive("count", "wait until so many requests have been in flight at once"),
    "x-test-hold": Directive("flag", "wait before the status line until the test calls `release()`"),
    "x-test-hang": Directive("count", "after N events send nothing more and keep the connection"),
    "x-test-log": Directive("flag", "say on stdout how far it is: `asked`, `head` is sent, `hangs`"),
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


class Framing:
    """How a stream is written: server-sent events that end with `data: [DONE]`; a subclass says otherwise.

    `data` is the event as JSON, or half of it when a test wants that.
    """

    content_type = "text/event-stream; charset=utf-8"
    is_text = True
    end: bytes | None = b"data: [DONE]\n\n"  # counts as the last event

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002 - for subclasses
        return b"data: " + data + b"\n\n"


SSE_DONE: Final = Framing()


class Answer(NamedTuple):
    """What would be sent if nothing went wrong: a body, or events and how they are written."""

    body: Any
    events: list[Json] | None = None
    status: int = 200
    framing: Framing = SSE_DONE
    headers: Mapping[str, str] = MappingProxyType({})


class Double:
    """The server. `uds` or `tls` choose another transport; `api_key` makes it demand one."""

    base = "/v1"  # the path of the base URL

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
        self.gatherings: dict[int, asyncio.Event] = {}  # of so many requests in flight at once
        self.released = asyncio.Event()
        self.accepted = 0  # connections, ever
        self.connections: set[_Connection] = set()
        self.clock: Clock = SystemClock() if clock is None else clock
        self.handlers: tasks.Tasks = set()
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, as the vendor's own SDK takes it."""
        if self.uds is not None:
            return f"http+unix://{quote(self.uds, safe='')}{self.base}"
        return (
            f"http://{self.host}:{self.port}{self.base}"
            if self._tls is None
            else f"https://localhost:{self.port}{self.base}"
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

    def release(self) -> None:
        """What is held goes on, and what comes from now on is not held."""
        self.released.set()

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
        raise NotImplementedError

    def error(self, status: int, message: str) -> Answer:
        """An error in the vendor's own shape."""
        raise NotImplementedError

    def error_event(self, message: str) -> Json:
        """An error inside a stream, after a 200."""
        body: Json = self.error(500, message).body
        return body


def without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    if isinstance(value, list):
        return [without(item, keys) for item in value]
    return value


# -- doing: one connection, one request at a time ------------------------------------------------------


class _Dropped(Exception):
    """The connection is to be dropped now."""


class _Connection(asyncio.Protocol):
    def __init__(self, double: Double) -> None:
        self._double = double
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
        self._double.accepted += 1
        self._double.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._double.connections.discard(self)
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
            started_at=self._double.clock.monotonic(),
        )
        self._double.requests.append(request)
        self._waiting.append((request, self._parser.should_keep_alive()))
        if self._handler is None:
            self._handler = tasks.spawn(self._double.handlers, self._handle_all(), "test double")

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
        double = self._double
        double.in_flight += 1
        double.peak_in_flight = max(double.peak_in_flight, double.in_flight)
        if gathered := double.gatherings.get(double.in_flight):
            gathered.set()
        try:
            request.directives = told = double.directives(request.headers, request.body)
            await self._log(told, "asked")
            if told.flag("refuse"):
                raise _Dropped
            answer = double.answer(request)
            if (many := told.count("together")) is not None and double.peak_in_flight < many:
                await double.gatherings.setdefault(many, asyncio.Event()).wait()
            if told.flag("hold"):
                await double.released.wait()
            await asyncio.sleep(told.seconds("delay-headers"))
            if answer.events is not None and not told.flag("non-sse") and told.text("body") is None:
                await self._send_events(request, told, answer)
            else:
                await self._send_body(request, told, answer)
        except asyncio.CancelledError:
            request.cancelled_at = double.clock.monotonic()
            raise
        except _Dropped:
            self.abort()
            return False
        except (
            ValueError
        ) as exc:  # a directive that is none: loud in the answer, where the test's author looks
            body = msgspec.json.encode(double.error(400, f"x-test: {exc}").body)
            await self._write(
                request, self._head(request, Directives({}), Answer({}, status=400), len(body)) + body
            )
            return True
        else:
            return not told.flag("close")
        finally:
            double.in_flight -= 1
            request.ended_at = double.clock.monotonic()
            request.ended.set()

    async def _send_body(self, request: Recorded, told: Directives, answer: Answer) -> None:
        text = told.text("body")
        if text is not None:
            body = text.encode()
        elif answer.events is not None:  # non-sse: what such servers send is the last chunk
            body = msgspec.json.encode(without(answer.events[-1], told.keys("omit")))
        else:
            body = msgspec.json.encode(without(answer.body, told.keys("omit")))
        if told.count("malformed") is not None:
            body = body[: len(body) // 2]
        head = self._head(request, told, answer._replace(events=None), len(body))
        if told.seconds("delay-first"):
            await self._write(request, head)
            await self._log(told, "head")
            head = b""
            await asyncio.sleep(told.seconds("delay-first"))
        cut = told.count("cut")
        await self._write(request, head + body[:cut])
        if cut is not None:
            await self._flush()
            raise _Dropped

    async def _send_events(self, request: Recorded, told: Directives, answer: Answer) -> None:
        await self._write(request, self._head(request, told, answer, None))
        await self._log(told, "head")
        await asyncio.sleep(told.seconds("delay-first"))
        between, batch = told.seconds("delay-between"), told.count("batch") or 1
        stops = {name: told.count(name) for name in ("cut", "truncate", "error-in-stream", "hang")}
        held: list[bytes] = []
        for number, line in enumerate(itertools.chain(self._lines(told, answer), (None,))):
            if number in stops.values():
                await self._write_events(request, told, held)
                held = []
                if await self._stop(request, told, answer.framing, number, stops):
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
        self,
        request: Recorded,
        told: Directives,
        framing: Framing,
        number: int,
        stops: dict[str, int | None],
    ) -> bool:
        """What happens after `number` events; true when the answer is over."""
        if number == stops["hang"]:
            await self._log(told, "hangs")
            await asyncio.Event().wait()
        if number == stops["cut"]:
            await self._flush()
            raise _Dropped
        if number == stops["error-in-stream"]:
            error = self._double.error_event("The test asked for an error in the stream.")
            data = msgspec.json.encode(error)
            await self._write_events(request, told, [self._line(told, framing, data, error, number)])
        await self._write(request, b"0\r\n\r\n")
        return True

    def _lines(self, told: Directives, answer: Answer) -> Iterator[bytes]:
        omitted, malformed, framing = told.keys("omit"), told.count("malformed"), answer.framing
        for number, event in enumerate(answer.events or ()):
            data = msgspec.json.encode(without(event, omitted) if omitted else event)
            yield self._line(
                told, framing, data[: len(data) // 2] if number == malformed else data, event, number
            )
        if framing.end is not None and not told.flag("no-done"):
            yield self._as_told(told, framing, framing.end)

    def _line(self, told: Directives, framing: Framing, data: bytes, event: Json, number: int) -> bytes:
        return self._as_told(told, framing, framing.frame(data, event, number))

    @staticmethod
    def _as_told(told: Directives, framing: Framing, line: bytes) -> bytes:
        if not framing.is_text:
            return line
        if told.flag("comment"):
            line = b": keep-alive\n\n" + line
        return line.replace(b"\n", b"\r\n") if told.flag("crlf") else line

    def _head(self, request: Recorded, told: Directives, answer: Answer, length: int | None) -> bytes:
        request.status = answer.status
        content_type = "application/json" if answer.events is None else answer.framing.content_type
        lines = [f"HTTP/1.1 {answer.status} Test", f"content-type: {content_type}"]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
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

    async def _log(self, told: Directives, word: str) -> None:
        if told.flag("log"):
            await self._flush()
            sys.stdout.write(f"{word}\n")
            sys.stdout.flush()

    async def _flush(self) -> None:
        """Let the kernel have what was written: a dropped connection must still deliver it."""
        transport = cast(asyncio.Transport, self._transport)
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


# -- by hand -------------------------------------------------------------------------------------------


def parser(module: str, what: str) -> argparse.ArgumentParser:
    """The command line of `python -m penstock.testing.<module>`."""
    width = max(map(len, DIRECTIVES))
    table = "\n".join(f"  {name:{width}}  {d.kind:7}  {d.meaning}" for name, d in DIRECTIVES.items())
    made = argparse.ArgumentParser(
        prog=f"python -m penstock.testing.{module}",
        description=what,
        epilog=f"directives, as request headers, in the body's `metadata`, or with --set:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    made.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    made.add_argument("--uds", help="listen on this Unix socket instead")
    made.add_argument("--model", action="append", help="a model name to list (repeatable)")
    made.add_argument("--api-key", help="demand this key")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a directive for all")
    return made


async def _run(double: Double) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with double:
        sys.stdout.write(f"{double.url}\n")
        sys.stdout.flush()
        await stop.wait()


def by_hand(kind: type[Double], made: argparse.ArgumentParser, arguments: list[str] | None = None) -> None:
    """Run a double until a signal; prints its URL first."""
    options = vars(made.parse_args(arguments))
    behaviour = dict(item.partition("=")[::2] for item in options.pop("set"))
    try:
        Directives(behaviour)
    except ValueError as exc:
        made.error(str(exc))
    models = options.pop("model") or ("test-model",)
    double = kind(models=models, behaviour=behaviour, **options)
    if sys.platform == "win32":
        asyncio.run(_run(double))
    else:
        import uvloop

        uvloop.run(_run(double))
