"""One HTTP request and its answer, in ASGI terms; no domain words.

before the answer   header(), read_body()
the answer          send() whole, or start_stream(), write()*, end_stream()
meanwhile           watch_client(): the task that serves this request is cancelled when the client leaves
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from penstock.gateway.listener import ABORT
from penstock.lib import tasks
from penstock.lib.compress import StreamCompressor, negotiate
from penstock.types.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

BODY_TIMEOUT_S = 60.0  # for the whole request body to arrive
WRITE_STALL_S = 120.0  # a client that takes no byte for so long is gone
DISCARD_BYTES = 64 * 1024 * 1024  # of a refused body read away, so that the client can read the refusal

_JSON = b"application/json"


class ClientLeft(Exception):
    """The client closed the connection: there is nobody to answer."""


class Exchange:
    __slots__ = (
        "_compressor",
        "_receive",
        "_send",
        "_watcher",
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
        self._receive = receive
        self._send = send
        self._compressor: StreamCompressor | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def is_local(self) -> bool:
        """The peer is this machine (loopback or a Unix socket)."""
        client = self.scope.get("client")
        return client is None or client[0].startswith("127.") or client[0] in ("::1", "localhost")

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
            await self._discard_body()
            raise too_large
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await self._receive()
                body: bytes = message.get("body", b"")
                if message["type"] == "http.request" and not message["more_body"]:
                    return body
                parts = [body]
                size = len(body)
                while message["type"] == "http.request" and message["more_body"]:
                    message = await self._receive()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        await self._discard_body()
                        raise too_large
        except TimeoutError as exc:
            raise InvalidRequest(f"The request body did not arrive within {BODY_TIMEOUT_S:g} s.") from exc
        if message["type"] == "http.disconnect":
            self.client_left = True
            raise ClientLeft
        return b"".join(parts)

    async def _discard_body(self) -> None:
        """Reads on without keeping: closing on unread bytes would reset the client before our answer."""
        if self.headers.get(b"expect", b"").lower() == b"100-continue":
            return  # the client waits for our answer before it sends
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while size < DISCARD_BYTES:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
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
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await self._send(message)
        except TimeoutError as exc:
            self.abort()
            raise ClientLeft from exc

    def abort(self) -> None:
        """Cuts the connection at once: what is still unsent is lost."""
        self.client_left = True
        extension = self.scope.get("extensions", {}).get(ABORT)
        if extension is not None:
            extension["abort"]()


_WATCHERS: tasks.Tasks = set()
