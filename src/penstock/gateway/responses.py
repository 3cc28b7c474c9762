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

A key sees its own responses only. They are kept in memory, bounded in bytes and time: a restart forgets them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.config.snapshot import Snapshot
from penstock.gateway import pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.detached import Detached, detached
from penstock.gateway.exchange import ClientLeft, Exchange, header_lines
from penstock.gateway.responder import send_error, stream_lines
from penstock.gateway.websocket import Socket, accept
from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.lib.ids import new_id
from penstock.lib.sse import SSESplitter
from penstock.protocols import responses
from penstock.protocols.responses_encoder import ResponsesEncoder, response_id
from penstock.types.call import Call
from penstock.types.errors import (
    InvalidRequest,
    PenstockError,
    PreviousResponseNotFound,
    ResponseNotFound,
    ServerStopping,
)
from penstock.types.events import Delta
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import EVENT_STREAM, Encoder, Plain

JSON = dict[str, Any]

PATH = "/v1/responses"
KEPT_S = 24 * 3600.0
KEPT_BYTES = 256 * 1024 * 1024
CONNECTION_BYTES = 8 * 1024 * 1024  # of responses that are not stored, while their WebSocket is open
MAX_PAGE = 100
USUAL_PAGE = 20
PING_S = 15.0
_PING = b": ping\n\n"
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Kept:
    """One response; it belongs to the key `owner`."""

    def __init__(self, owner: str, response: JSON, items: list[JSON], *, is_background: bool) -> None:
        self.owner = owner
        self.response = response
        self.items = items  # all that went in, the earlier conversation included
        self.is_background = is_background
        self.events: list[bytes] = []  # of a background response, to be followed; their index is their number
        self.run: Detached | None = None  # which makes it, while it does
        self.size = 0
        self.expires_s = 0.0
        self.is_deleted = False  # and so it stays, though it may still be being made
        self._changed = asyncio.Event()

    @property
    def is_ended(self) -> bool:
        return self.response["status"] in _ENDED

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        await self._changed.wait()


class Store:
    """Responses by id, the oldest forgotten first. One of these may become a database: issue 6."""

    def __init__(self, clock: Clock, *, kept_s: float = KEPT_S, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_s = kept_s
        self._kept_bytes = kept_bytes
        self._by_id: OrderedDict[str, Kept] = OrderedDict()
        self._items: dict[tuple[str, str], JSON] = {}  # (owner, id) -> an output item
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, owner: str, wanted: str) -> Kept | None:
        kept = self._by_id.get(wanted)
        if kept is None or kept.owner != owner or kept.expires_s <= self._clock.monotonic():
            return None
        return kept

    def item(self, owner: str, wanted: str) -> JSON | None:
        return self._items.get((owner, wanted))

    def keep(self, kept: Kept) -> None:
        """Also again, once it has grown."""
        if kept.is_deleted:
            return
        name = kept.response["id"]
        self.drop(name)
        kept.size = len(_encode([kept.response, kept.items])) + sum(map(len, kept.events))
        kept.expires_s = self._clock.monotonic() + self._kept_s
        self._by_id[name] = kept
        self._bytes += kept.size
        for item in kept.response["output"]:
            if isinstance(item.get("id"), str):
                self._items[kept.owner, item["id"]] = item
        for name in self._outdated():
            self.drop(name)

    def _outdated(self) -> list[str]:
        """What must go: the oldest, but for those that are being made."""
        now_s = self._clock.monotonic()
        found: list[str] = []
        excess = self._bytes - self._kept_bytes
        for name, oldest in self._by_id.items():  # nearly always the first one says that none must
            if excess <= 0 and oldest.expires_s > now_s:
                break
            if oldest.run is None:
                found.append(name)
                excess -= oldest.size
        return found

    def drop(self, name: str) -> None:
        gone = self._by_id.pop(name, None)
        if gone is not None:
            self._bytes -= gone.size
            for item in gone.response["output"]:
                self._items.pop((gone.owner, str(item.get("id"))), None)


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
    """POST /v1/responses: as protocols.responses.CREATE, with what is kept put before the input."""

    operation: Operation = "chat"
    budget_status = responses.CREATE.budget_status

    def __init__(self, store: Store, local: Store | None = None) -> None:
        """`local`: of one connection, which may go on from responses that are not stored."""
        self._store = store
        self._local = local
        self.decode = responses.CREATE.decode
        self.error_body = responses.CREATE.error_body

    def encoder(self, request: Request, call: Call) -> Encoder:
        """Raises PreviousResponseNotFound; InvalidRequest for an item that is not known."""
        if not isinstance(request, ChatRequest) or call.key is None:
            raise TypeError("a response is made from a chat request of a key")
        owner = call.key.name
        items = self._recall(owner, request.body)
        request.body["input"] = items
        encoder = ResponsesEncoder(request, call)
        store = self._local if request.body.get("store") is False else self._store
        if store is None:
            return encoder
        kept = Kept(owner, encoder.response, items, is_background=request.body.get("background") is True)
        if kept.is_background:
            store.keep(kept)
        return Recorder(encoder, kept, store)

    def _recall(self, owner: str, body: JSON) -> list[JSON]:
        """The input as items, after those of the response it goes on from."""
        given = body.get("input") or ""
        own = [_message(given)] if isinstance(given, str) else list(given)
        items = [self._known(owner, item, at) for at, item in enumerate(own) if item is not None]
        earlier = body.get("previous_response_id")
        if earlier is None:
            return items
        kept = self._store.find(owner, earlier)
        if kept is None and self._local is not None:
            kept = self._local.find(owner, earlier)
        if kept is None:
            raise PreviousResponseNotFound(
                f"Previous response with id {str(earlier)[:100]!r} not found.", param="previous_response_id"
            )
        if not kept.is_ended:
            raise InvalidRequest(
                f"The response {earlier!r} is not finished yet.", param="previous_response_id"
            )
        return [*kept.items, *kept.response["output"], *items]

    def _known(self, owner: str, item: JSON, at: int) -> JSON:
        if item.get("type") != "item_reference":
            return item
        found = self._store.item(owner, item["id"])
        if found is None:
            raise InvalidRequest(f"Item with id {item['id'][:100]!r} not found.", param=f"input[{at}].id")
        return found


class Responses:
    """The handlers of everything below /v1/responses."""

    def __init__(self, clock: Clock) -> None:
        self.store = Store(clock)
        self.inbound = Create(self.store)
        self._running: tasks.Tasks = set()

    async def aclose(self) -> None:
        """Ends what is being made in the background."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def create(self, exchange: Exchange, snapshot: Snapshot, deps: Deps) -> None:
        """A background response begins here and goes on alone; any other is a request like all."""
        begins = await self._background(exchange, snapshot, deps)
        if begins is None:
            await pipeline.run(exchange, self.inbound, snapshot, deps)
            return
        owner, body = begins
        follows = body.get("stream") is True
        sink = _Background()
        run = detached(exchange, _encode({**body, "stream": True}), sink)
        task = tasks.spawn(
            self._running, pipeline.run(run, self.inbound, snapshot, deps), f"background {run.id}"
        )
        run.task = task
        kept = await self._begun(owner, run, sink, task)
        if kept is None:  # it was refused
            if sink.status:
                await exchange.send(sink.status, sink.body, _json_lines(exchange))
                return
            error = ServerStopping(
                "The server is shutting down; try again.", retry_after_s=pipeline.RESTART_S
            )
            await send_error(exchange, error, self.inbound.error_body(error, exchange.id))
            return
        kept.run = run
        task.add_done_callback(lambda _: self._finished(kept, sink))
        if follows:
            await self._follow(exchange, kept, after=-1)
        else:
            await exchange.send(200, _encode(kept.response), _json_lines(exchange))

    async def _background(
        self, exchange: Exchange, snapshot: Snapshot, deps: Deps
    ) -> tuple[str, JSON] | None:
        """Whose it is, and the body when it says `background`.

        Else the body is put back, and the walk finds whatever is wrong.
        """
        try:
            owner = (await pipeline.authenticate(snapshot, exchange, deps)).name
            raw = await exchange.read_body(snapshot.body_limit_bytes)
        except (PenstockError, ClientLeft):
            return None
        exchange.unread(raw)
        if b'"background"' not in raw:
            return None
        try:
            body = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(body, dict) or body.get("background") is not True or body.get("store") is False:
            return None
        return owner, body

    async def _begun(
        self, owner: str, run: Detached, sink: "_Background", task: asyncio.Task[None]
    ) -> Kept | None:
        """The response once it is kept; None when the request was refused before."""
        name = response_id(Call(run.id, run.path, "chat", 0.0, 0))
        while True:
            kept = self.store.find(owner, name)
            if kept is not None:
                return kept
            if sink.status or task.done():
                return None
            await asyncio.sleep(0)

    def _finished(self, kept: Kept, sink: "_Background") -> None:
        """Its task has ended: an error before the first event was told to nobody yet."""
        kept.run = None
        if not kept.is_ended:
            error = {"code": "server_error", "message": "The response was interrupted."}
            if sink.status:
                try:
                    error["message"] = str(_decode(sink.body)["error"]["message"])
                except (msgspec.DecodeError, KeyError, TypeError):  # of our own making, and never deep
                    error["message"] = "The request was refused."
            kept.response |= {"status": "failed", "error": error}
            number = len(kept.events)
            failed = {"type": "response.failed", "response": kept.response, "sequence_number": number}
            kept.events.append(b"event: response.failed\ndata: %b\n\n" % _encode(failed))
            self.store.keep(kept)
        kept.changed()

    async def converse(self, exchange: Exchange, newest: Callable[[], Snapshot], deps: Deps) -> None:
        """A WebSocket: one response after the other, in the order they are asked for."""
        exchange.keeps_alive = False  # a client whose handshake is refused waits for the end
        await pipeline.authenticate(newest(), exchange, deps)
        socket = await accept(exchange, limit=newest().body_limit_bytes)
        inbound = Create(self.store, Store(deps.clock, kept_bytes=CONNECTION_BYTES))
        sink = _Frames(socket)
        try:
            while (text := await socket.receive()) is not None:
                run = detached(exchange, b"", sink)
                run.id, run.task = new_id("req_"), asyncio.current_task()
                try:
                    run.body = _asked(text)
                except InvalidRequest as error:
                    await sink.whole(error.status, inbound.error_body(error, run.id))
                    continue
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
        kept = self.store.find(owner, name)
        if kept is None:
            raise ResponseNotFound(f"Response with id {name[:100]!r} not found.", param="response_id")
        match exchange.method, rest:
            case "GET" | "HEAD", "":
                await self._get(exchange, kept, query)
            case "DELETE", "":
                kept.is_deleted = True
                self._stop(kept)
                self.store.drop(name)
                body = {"id": name, "object": "response.deleted", "deleted": True}
                await exchange.send(200, _encode(body), _json_lines(exchange))
            case "POST", "cancel":
                await exchange.send(200, _encode(self._cancel(kept)), _json_lines(exchange))
            case "GET" | "HEAD", "input_items":
                await exchange.send(200, _encode(_page_of(kept.items, query)), _json_lines(exchange))
            case _:
                raise InvalidRequest(
                    "A response answers GET, DELETE, POST .../cancel and GET .../input_items.", param=None
                )

    async def _get(self, exchange: Exchange, kept: Kept, query: dict[str, str]) -> None:
        if query.get("stream") != "true":
            await exchange.send(200, _encode(kept.response), _json_lines(exchange))
            return
        if not kept.is_background:
            raise InvalidRequest("Only background responses can be followed.", param="stream")
        try:
            after = int(query.get("starting_after", "-1"))
        except ValueError as exc:
            raise InvalidRequest("`starting_after` must be a number.", param="starting_after") from exc
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
                events, at = kept.events[at:], len(kept.events)
                if kept.is_ended and kept.run is None:
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

    def _cancel(self, kept: Kept) -> JSON:
        if not kept.is_background:
            raise InvalidRequest("Only background responses can be cancelled.", param="response_id")
        if not kept.is_ended:
            kept.response |= {"status": "cancelled"}
            self._stop(kept)
            self.store.keep(kept)
            kept.changed()
        return kept.response

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


def _message(text: str) -> JSON | None:
    if not text:
        return None
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def _page_of(items: list[JSON], query: dict[str, str]) -> JSON:
    """One page of input items. Raises InvalidRequest."""
    try:
        limit = int(query.get("limit", USUAL_PAGE))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MAX_PAGE}.", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc.", param="order")
    listed = [_listed(at, item) for at, item in enumerate(items)]
    if order == "desc":
        listed.reverse()
    after = query.get("after")
    if after is not None:
        ids = [item["id"] for item in listed]
        if after not in ids:
            raise InvalidRequest("`after` names no item of this list.", param="after")
        listed = listed[ids.index(after) + 1 :]
    page = listed[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(listed) > limit,
    }


def _listed(at: int, item: JSON) -> JSON:
    """An input item as it is listed: with an id, and content in parts."""
    listed = {"id": f"item_{at:04d}", **item}
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        listed["content"] = [{"type": kind, "text": content}]
    return listed


def _json_lines(exchange: Exchange) -> str:
    return header_lines(("content-type", "application/json"), ("x-request-id", exchange.id))
