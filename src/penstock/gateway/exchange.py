"""One HTTP request and its answer, in ASGI terms; no domain words.

before the answer   header(), read_body()
the answer          send() whole, or start_stream(), write()*, end_stream()
meanwhile           watch_client(): the task that serves this request is cancelled when the client leaves
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from penstock.gateway.listener import LISTENER
from penstock.lib import tasks
from penstock.lib.compress import StreamCompressor, negotiate
from penstock.types.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

BODY_TIMEOUT_S = 60.0  # for the whole request body to arrive
WRITE_STALL_S = 120.0  # a client that has not made room for the next write by then is cut
DISCARD_BYTES = (
    64 * 1024 * 1024
)  # of a body that is too large read away, so that the client reads the refusal
UNREAD_BYTES = 1024 * 1024  # of a body nobody wants (no key), likewise
UNREAD_S = 2.0

_JSON = b"application/json"


class ClientLeft(Exception):
    """The client closed the connection: there is nobody to answer."""


class Exchange:
    __slots__ = (
        "_compressor",
        "_receive",
        "_send",
        "_watcher",
        "body_is_read",
        "client_left",
        "headers",
        "id",
        "is_started",
        "method",
        "path",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = ""
        self.status = 0
        self.is_started = False
        self.client_left = False
        self.body_is_read = self.method in ("GET", "HEAD")
        self._receive = receive
        self._send = send
        self._compressor: StreamCompressor | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_local(self) -> bool:
        """The peer is this machine (loopback or a Unix socket)."""
        client = self.scope.get("client")
        return client is None or client[0].startswith("127.") or client[0] == "::1"

    async def read_body(self, limit: int) -> bytes:
        """The request's JSON body.

        Raises UnsupportedMediaType, RequestTooLarge above `limit` bytes, InvalidRequest when it does not
        arrive in time, ClientLeft.
        """
        media_type = self.headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower()
        if media_type != _JSON and not media_type.endswith(b"+json"):
            raise UnsupportedMediaType(
                f"Content-Type is {media_type.decode('latin-1')!r}; send application/json."
            )
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("Content-Encoding of requests is not supported; send plain JSON.")
        too_large = RequestTooLarge(
            f"The request body is above {limit} bytes; shorten it or raise server.body_limit."
        )
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            await self._discard_body(DISCARD_BYTES, BODY_TIMEOUT_S)
            raise too_large
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await self._receive()
                body: bytes = message.get("body", b"")
                if message["type"] == "http.request" and not message["more_body"]:
                    self.body_is_read = True
                    if len(body) > limit:
                        raise too_large
                    return body
                parts = [body]
                size = len(body)
                while message["type"] == "http.request" and message["more_body"]:
                    message = await self._receive()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        await self._discard_body(DISCARD_BYTES, BODY_TIMEOUT_S)
                        raise too_large
        except TimeoutError as exc:
            raise InvalidRequest(f"The request body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc
        if message["type"] == "http.disconnect":
            self.client_left = True
            raise ClientLeft
        self.body_is_read = True
        return b"".join(parts)

    async def _discard_body(self, limit: int, within_s: float) -> None:
        """Reads on without keeping: closing on unread bytes would reset the client before our answer."""
        if self.headers.get(b"expect", b"").lower() == b"100-continue":
            return  # the client waits for our answer before it sends
        size = 0
        try:
            async with asyncio.timeout(within_s):
                while size < limit:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        self.body_is_read = message["type"] == "http.request"
                        return
        except TimeoutError:
            return

    def watch_client(self) -> None:
        """From now on the current task is cancelled once the client leaves; `client_left` says so."""
        task = asyncio.current_task()
        if task is None:
            msg = "watch_client needs a running task"
            raise RuntimeError(msg)
        self._watcher = tasks.spawn(_WATCHERS, self._watch(task), "client-watch")

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # bytes after the body: not ours
        self.client_left = True
        task.cancel()

    def stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def send(self, status: int, body: bytes, headers: Headers) -> None:
        """A whole answer."""
        self.stop_watching()
        if not self.body_is_read:
            await self._discard_body(UNREAD_BYTES, UNREAD_S)
        if not self.body_is_read:  # what is left of it must not be taken for the next request
            headers = [*headers, (b"connection", b"close")]
        self.is_started = True
        self.status = status
        await self._write({"type": "http.response.start", "status": status, "headers": headers})
        await self._write({"type": "http.response.body", "body": body, "more_body": False})

    async def start_stream(self, headers: Headers) -> None:
        """Status 200 and headers of an event stream, compressed when the client accepts that."""
        all_headers = [*headers, (b"vary", b"accept-encoding")]
        accepted = self.headers.get(b"accept-encoding")
        if accepted is not None and (compressor := negotiate(accepted)) is not None:
            self._compressor = compressor
            all_headers.append((b"content-encoding", compressor.encoding.encode()))
        self.is_started = True
        self.status = 200
        await self._write({"type": "http.response.start", "status": 200, "headers": all_headers})

    async def write(self, data: bytes) -> None:
        if self._compressor is not None:
            data = self._compressor.write(data)
        await self._write({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self, data: bytes) -> None:
        """The last bytes, and the end."""
        self.stop_watching()  # ASGI reports the end of the answer as a disconnect, too
        if self._compressor is not None:
            data = (self._compressor.write(data) if data else b"") + self._compressor.end()
        await self._write({"type": "http.response.body", "body": data, "more_body": False})

    async def _write(self, message: Message) -> None:
        connection = self._connection()
        if connection is not None and not connection.flow.write_paused:
            await self._send(message)  # does not wait: no timer for it
            return
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await self._send(message)
        except TimeoutError as exc:
            self.abort()
            raise ClientLeft from exc

    def _connection(self) -> Any:
        """The Listener below, or None where another server runs the application."""
        return self.scope.get("extensions", {}).get(LISTENER, {}).get("connection")

    def abort(self) -> None:
        """Cuts the connection at once: what is still unsent is lost."""
        self.client_left = True
        connection = self._connection()
        if connection is not None:
            connection.transport.abort()


_WATCHERS: tasks.Tasks = set()
