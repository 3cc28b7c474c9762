"""What the Responses API keeps between requests: https://platform.openai.com/docs/api-reference/responses

POST /v1/responses                    `store` (the default): the response and what led to it are kept
  previous_response_id                the earlier conversation comes before the input
  item_reference in the input         the item that is kept
  background                          the answer is made without its client, who polls or follows it
GET  /v1/responses                    WebSocket: response.create messages, each answered by its events
GET  /v1/responses/{id}               as it is now; ?stream=true&starting_after=N follows a background one
DELETE /v1/responses/{id}
POST /v1/responses/{id}/cancel        a background response
GET  /v1/responses/{id}/input_items   ?order=asc|desc&after=&limit=

POST /v1/responses/input_tokens       refers to what is kept, as a request for a response does

A key sees its own responses only. They are kept in memory, bounded in bytes and time (kept.py): a restart
forgets them. Of several workers each keeps what it made, and lends it to the others (lending.py).
"""

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.config.snapshot import Snapshot
from penstock.gateway import pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.detached import detached
from penstock.gateway.exchange import ClientLeft, Exchange, header_lines
from penstock.gateway.input_items import page_of
from penstock.gateway.kept import Kept, Store
from penstock.gateway.lending import Lending, Mirror
from penstock.gateway.recall import Recall
from penstock.gateway.responder import send_error, stream_lines
from penstock.gateway.websocket import Socket, accept
from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.lib.sse import SSESplitter
from penstock.protocols import responses
from penstock.protocols.responses_encoder import ResponsesEncoder, failure_code
from penstock.types.call import Call
from penstock.types.errors import (
    InvalidRequest,
    NotFound,
    PenstockError,
    ResponseNotFound,
    ServerStopping,
)
from penstock.types.events import Delta
from penstock.types.others import Others
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import EVENT_STREAM, Encoder, Plain

JSON = dict[str, Any]
Begun = asyncio.Future[Kept]

PATH = "/v1/responses"
COUNT_PATH = "/v1/responses/input_tokens"
CONNECTION_BYTES = 8 * 1024 * 1024  # of responses that are not stored, while their WebSocket is open
PING_S = 15.0
INTERRUPTED = "The response was interrupted."
_PING = b": ping\n\n"
_ONLY_ID = re.compile(rb'\{\s*"id"\s*:\s*"[^"]*"\s*\}')  # an item that says nothing else is a reference

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Recorder:
    """The encoder of an answer that is kept."""

    def __init__(self, encoder: ResponsesEncoder, kept: Kept, store: Store) -> None:
        self._encoder = encoder
        self._kept = kept
        self._store = store
        self.stream_type = encoder.stream_type
        self.ping = encoder.ping

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        return self._told(self._encoder.stream(deltas))

    def stream_end(self) -> bytes:
        return self._ended(self._told(self._encoder.stream_end()))

    def stream_error(self, error: PenstockError) -> bytes:
        return self._ended(self._told(self._encoder.stream_error(error)))

    def fold(self, deltas: Sequence[Delta]) -> None:
        self._encoder.fold(deltas)

    def answer(self) -> bytes:
        return self._ended(self._encoder.answer())

    def begin(self) -> None:
        """Who follows a background response learns its id before the model has said anything."""
        self._told(self._encoder.begin())

    def _told(self, data: bytes) -> bytes:
        if self._kept.is_background:
            blocks = data.split(b"\n\n")
            self._kept.events += [block + b"\n\n" for block in blocks if block]
            self._kept.changed()
        return data

    def _ended(self, data: bytes) -> bytes:
        self._kept.response = self._encoder.response
        self._store.keep(self._kept)
        self._kept.changed()
        return data


class Create(Plain):
    """POST /v1/responses: as protocols.responses.CREATE, of what is kept, too."""

    operation: Operation = "chat"
    budget_status = responses.CREATE.budget_status

    def __init__(
        self, recall: Recall, store: Store, local: Store | None = None, begun: Begun | None = None
    ) -> None:
        """`local`: of one connection, for what is not stored; `begun` hears of a background response once it
        is kept.
        """
        self._recall = recall
        self._store = store
        self._local = local
        self._begun = begun
        self.error_body = responses.CREATE.error_body

    def decode(self, body: JSON) -> Request:
        """Raises what Recall.complete raises."""
        request = responses.CREATE.decode(body)
        self._recall.complete(request)
        return request

    def encoder(self, request: Request, call: Call) -> Encoder:
        if not isinstance(request, ChatRequest) or call.key is None:
            raise TypeError("a response is made from a chat request of a key")
        call.body_bytes += request.recalled_bytes  # from here on it is as if the client had sent it
        request.recalled_bytes = 0
        encoder = ResponsesEncoder(request, call)
        body = request.body
        store = self._local if body.get("store") is False else self._store
        if store is None:
            return encoder
        items = body.get("input") or []
        kept = Kept(call.key.name, encoder.response, items, is_background=body.get("background") is True)
        recorder = Recorder(encoder, kept, store)
        if kept.is_background:
            recorder.begin()
            store.keep(kept)
            if self._begun is not None:
                self._begun.set_result(kept)
        return recorder


class Count(Plain):
    """POST /v1/responses/input_tokens: as protocols.responses.COUNT, of what is kept, too."""

    operation: Operation = "chat"
    budget_status = responses.COUNT.budget_status

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self.encoder = responses.COUNT.encoder
        self.error_body = responses.COUNT.error_body

    def decode(self, body: JSON) -> Request:
        """Raises what Recall.complete raises."""
        request = responses.COUNT.decode(body)
        self._recall.complete(request)
        return request


class Responses:
    """The handlers of everything below /v1/responses."""

    def __init__(self, clock: Clock) -> None:
        self.store = Store(clock)
        self._running: tasks.Tasks = set()
        self._lending: Lending | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._lending = Lending(others, self.store, stop=self._stop, cancel=self._cancel)

    async def aclose(self) -> None:
        """Ends what is being made in the background."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def ask(self, exchange: Exchange, newest: Callable[[], Snapshot], deps: Deps) -> None:
        """A request to one of the paths that refer to what is kept."""
        recall, background = await self._read(exchange, newest(), deps)
        snapshot = newest()  # its key may have been revoked while the body came
        if exchange.path == COUNT_PATH:
            await pipeline.run(exchange, Count(recall), snapshot, deps)
        elif background is None:
            await pipeline.run(exchange, Create(recall, self.store), snapshot, deps)
        else:
            try:
                await self._begin(exchange, recall, background, snapshot, deps)
            except ClientLeft:  # the response goes on
                return

    async def _begin(
        self, exchange: Exchange, recall: Recall, body: JSON, snapshot: Snapshot, deps: Deps
    ) -> None:
        """A background response begins here and goes on alone."""
        begun: Begun = asyncio.get_running_loop().create_future()
        inbound = Create(recall, self.store, begun=begun)
        follows = body.get("stream") is True
        sink = _Background()
        run = detached(exchange, _encode({**body, "stream": True}), sink)
        task = tasks.spawn(self._running, pipeline.run(run, inbound, snapshot, deps), f"background {run.id}")
        run.task = task
        await asyncio.wait((task, begun), return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():  # it was refused
            if sink.status:
                await exchange.send(sink.status, sink.body, _json_lines(exchange))
                return
            error = ServerStopping(
                "The server is shutting down; try again.", retry_after_s=pipeline.RESTART_S
            )
            await send_error(exchange, error, inbound.error_body(error, exchange.id))
            return
        kept = begun.result()
        kept.run = run
        task.add_done_callback(lambda _: self._finished(kept, sink))
        if follows:
            await self._follow(exchange, kept, after=-1)
        else:
            await exchange.send(200, kept.response_json, _json_lines(exchange))

    async def _read(self, exchange: Exchange, snapshot: Snapshot, deps: Deps) -> tuple[Recall, JSON | None]:
        """What the request may refer to; and its body when it says `background`.

        Else the body is put back, and the walk finds whatever is wrong.
        """
        try:
            owner = (await pipeline.authenticate(snapshot, exchange, deps)).name
            raw = await exchange.read_body(snapshot.body_limit_bytes)
        except (PenstockError, ClientLeft):
            return Recall("", self.store), None
        exchange.unread(raw)
        recall = Recall(owner, self.store)
        refers = self._lending is not None and (
            b'"previous_response_id"' in raw or b'"item_reference"' in raw or _ONLY_ID.search(raw) is not None
        )
        if not refers and b'"background"' not in raw:
            return recall, None
        try:
            body = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return recall, None
        if not isinstance(body, dict):
            return recall, None
        if refers and self._lending is not None:
            recall.lent = await self._lending.lent(owner, body)
        is_background = body.get("background") is True and body.get("store") is not False
        return recall, body if is_background else None

    def _finished(self, kept: Kept, sink: "_Background") -> None:
        """Its task has ended: an error before the first event was told to nobody yet."""
        kept.run = None
        if not kept.is_ended:
            error = _decode(sink.body)["error"] if sink.status else {}  # of our own making
            _interrupted(kept, error.get("code"), error.get("message") or INTERRUPTED)
            self.store.keep(kept)
        kept.changed()

    async def converse(self, exchange: Exchange, newest: Callable[[], Snapshot], deps: Deps) -> None:
        """A WebSocket: one response after the other, in the order they are asked for."""
        exchange.keeps_alive = False  # a client whose handshake is refused waits for the end
        owner = (await pipeline.authenticate(newest(), exchange, deps)).name
        socket = await accept(exchange, limit=newest().body_limit_bytes)
        local = Store(deps.clock, kept_bytes=CONNECTION_BYTES)
        recall = Recall(owner, self.store, local)
        inbound = Create(recall, self.store, local)
        sink = _Frames(socket)
        try:
            for number in itertools.count(1):
                if (text := await socket.receive()) is None:
                    break
                run = detached(exchange, b"", sink)
                run.id, run.task = f"{exchange.id}.{number}", asyncio.current_task()
                try:
                    run.body = _asked(text)
                except InvalidRequest as error:
                    await sink.whole(error.status, inbound.error_body(error, run.id))
                    continue
                if self._lending is not None:
                    recall.lent = await self._lending.lent(owner, _decode(run.body))
                socket.on_lost = run.lost
                await pipeline.run(run, inbound, newest(), deps)  # its key may be another's affair by now
                socket.on_lost = None
        except ClientLeft:
            pass
        finally:
            await socket.close()
            exchange.is_ended = True

    async def page(self, exchange: Exchange, snapshot: Snapshot, deps: Deps, query: dict[str, str]) -> None:
        """What is asked of one response. Raises ResponseNotFound, InvalidRequest."""
        owner = (await pipeline.authenticate(snapshot, exchange, deps)).name
        name, _, rest = exchange.path.removeprefix(f"{PATH}/").partition("/")
        if exchange.method == "POST" and not rest:
            raise NotFound(f"There is nothing at {exchange.path[: pipeline.MAX_ECHO_CHARS]} to post to.")
        kept = self.store.find(owner, name)
        if kept is None and self._lending is not None:
            kept = await self._lending.find(owner, name)
        if kept is None:
            raise ResponseNotFound(f"Response with id {name[:100]!r} not found.", param="response_id")
        match exchange.method, rest:
            case "GET" | "HEAD", "":
                await self._get(exchange, kept, query)
            case "DELETE", "":
                await self._delete(kept, name)
                body = {"id": name, "object": "response.deleted", "deleted": True}
                await exchange.send(200, _encode(body), _json_lines(exchange))
            case "POST", "cancel":
                await exchange.send(200, await self._cancelled(kept), _json_lines(exchange))
            case "GET" | "HEAD", "input_items":
                await exchange.send(200, _encode(page_of(kept.items, query)), _json_lines(exchange))
            case _:
                raise InvalidRequest(
                    "A response answers GET, DELETE, POST .../cancel and GET .../input_items.", param=None
                )

    async def _get(self, exchange: Exchange, kept: Kept, query: dict[str, str]) -> None:
        if query.get("stream") != "true":
            await exchange.send(200, kept.response_json, _json_lines(exchange))
            return
        if not kept.is_background:
            raise InvalidRequest("Only background responses can be followed.", param="stream")
        try:
            after = int(query.get("starting_after", "-1"))
        except ValueError as exc:
            raise InvalidRequest("`starting_after` must be a number.", param="starting_after") from exc
        if isinstance(kept, Mirror) and self._lending is not None:
            async with self._lending.followed(kept, _interrupted):
                await self._follow(exchange, kept, after=after)
        else:
            await self._follow(exchange, kept, after=after)

    async def _follow(self, exchange: Exchange, kept: Kept, *, after: int) -> None:
        """The events after number `after`, as they come. A client that leaves stops nothing."""
        at = max(0, after + 1)
        exchange.watch_client()
        try:
            await exchange.start_stream(
                stream_lines(EVENT_STREAM) + header_lines(("x-request-id", exchange.id))
            )
            while True:
                events, at = kept.events[at:], max(at, len(kept.events))
                if kept.is_over:
                    await exchange.end_stream(b"".join(events))
                    return
                if events:
                    await exchange.write(b"".join(events))
                    continue
                try:
                    async with asyncio.timeout(PING_S):
                        await kept.wait()
                except TimeoutError:
                    await exchange.write(_PING)
        except asyncio.CancelledError:
            if not exchange.client_left:
                raise
            pipeline.uncancel()
            raise ClientLeft from None
        finally:
            exchange.stop_watching()

    async def _delete(self, kept: Kept, name: str) -> None:
        if isinstance(kept, Mirror) and self._lending is not None:
            await self._lending.delete(kept)
            return
        kept.is_deleted = True
        self._stop(kept)
        self.store.drop(name)

    async def _cancelled(self, kept: Kept) -> bytes:
        if kept.is_background and isinstance(kept, Mirror) and self._lending is not None:
            return await self._lending.cancel(kept) or kept.response_json
        return self._cancel(kept)

    def _cancel(self, kept: Kept) -> bytes:
        """The response, as JSON."""
        if not kept.is_background:
            raise InvalidRequest("Only background responses can be cancelled.", param="response_id")
        if not kept.is_ended:
            kept.response |= {"status": "cancelled"}
            self._stop(kept)
            self.store.keep(kept)
            kept.changed()
        return kept.response_json

    def _stop(self, kept: Kept) -> None:
        """As if its client had left: generation stops, the call is accounted."""
        if kept.run is not None:
            kept.run.lost()


class _Background:
    """Takes the answer of a background response: all but a refusal was recorded on its way."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def whole(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body

    async def piece(self, data: bytes) -> None:
        """The recorder has it."""


class _Frames:
    """Sends an answer's events as messages of a WebSocket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._splitter = SSESplitter()

    async def whole(self, status: int, body: bytes) -> None:
        error = _decode(body).get("error")
        await self._socket.send(_encode({"type": "error", "status": status, "error": error}))

    async def piece(self, data: bytes) -> None:
        for event in self._splitter.feed_data(data):
            await self._socket.send(event)


def _interrupted(kept: Kept, code: str | None = None, said: str = INTERRUPTED) -> None:
    """Whoever made it has ended before it did."""
    kept.response |= {"status": "failed", "error": {"code": failure_code(code), "message": said}}
    number = len(kept.events)
    failed = {"type": "response.failed", "response": kept.response, "sequence_number": number}
    kept.events.append(b"event: response.failed\ndata: %b\n\n" % _encode(failed))


def _asked(text: str) -> bytes:
    """The body of a response.create message. Raises InvalidRequest."""
    try:
        message = _decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
        raise InvalidRequest(f"The message is not valid JSON: {exc}.") from exc
    kind = message.get("type") if isinstance(message, dict) else None
    if kind != "response.create":
        raise InvalidRequest("`type` must be response.create.", param="type")
    body = {key: value for key, value in message.items() if key not in ("type", "background")}
    if body.pop("generate", None) is False:
        raise InvalidRequest("`generate: false` has nothing to warm up here.", param="generate")
    return _encode({**body, "stream": True})


def _json_lines(exchange: Exchange) -> str:
    return header_lines(("content-type", "application/json"), ("x-request-id", exchange.id))
