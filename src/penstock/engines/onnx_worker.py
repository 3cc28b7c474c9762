"""The process that serves one embedding or reranking model; our supervisor starts it and speaks HTTP to it.

    python -m penstock.engines.onnx_worker --model DIR [--port 0 | --uds PATH] [--threads N]
                                              [--name ID] [--max-input-tokens N] [--api-key-env NAME]

    stdout   exactly one JSON line: {"ready": true, "port": N | "uds": PATH, "pid":, "kind":, "dimensions":,
             "max_input_tokens":, ...} or {"ready": false, "error": "..."}, then exit 1
    stdin    held open by the parent; at end of file the parent is gone and so are we, at once
    SIGTERM  no new connections, what runs is finished, exit 0
    environment  PENSTOCK_ENGINE_KEY (or NAME): bearer key that every request but /health must carry

    POST /v1/embeddings  OpenAI's shape; also `truncate` (false), `normalize` (true)
    POST /v1/rerank      {query, documents, top_n?, raw_scores?, truncate?} -> {results, usage}, best first
    GET  /v1/models      OpenAI's list with the model's facts; GET /info: the facts alone
    GET  /health         {"status": "ok", "queued": requests waiting or running}

One thread runs the model; ONNX Runtime spreads over `--threads` cores inside it. Requests take turns after
every batch, so a thousand documents do not hold up one short query, and a request whose client has gone is
dropped at its next turn. Requests that wait at the same time share a batch where that is cheaper: eight texts
in eight requests take two thirds of the time they take one by one.
"""

import argparse
import asyncio
import base64
import hmac
import itertools
import math
import os
import queue
import re
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import msgspec

from penstock.engines.host import KEY_VARIABLE, default_threads, die_with_parent, say
from penstock.lib import tasks
from penstock.types.errors import (
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PenstockError,
    RequestTooLarge,
)

if TYPE_CHECKING:
    from penstock.engines.onnx_encoder import Batch, Embedded, Encoder, Ranked

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")
Steps = Generator["Batch | None", Any, Any]

MAX_INPUTS: Final = 2048  # OpenAI's limit for one embeddings request
MOST_SHARED: Final = 64  # inputs in a batch of several requests: more gain nothing and wait for each other
MAX_BODY_BYTES: Final = 32 << 20


class EmbeddingsRequest(msgspec.Struct):
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    truncate: bool = False
    normalize: bool = True
    model: str | None = None


class RerankRequest(msgspec.Struct):
    query: str
    documents: list[str]
    top_n: int | None = None
    raw_scores: bool = False
    truncate: bool = False
    model: str | None = None


def main() -> None:
    arguments = _arguments()
    die_with_parent()
    try:
        threads = arguments.threads or default_threads()
        encoder = _load(arguments.model, threads, arguments.max_input_tokens)
        listener = _listen(arguments)
    except Exception as exc:  # noqa: BLE001 whatever it was, the parent must hear it
        say({"ready": False, "error": str(exc) or type(exc).__name__})
        sys.exit(1)
    name = arguments.name or arguments.model.resolve().name
    app = Worker(encoder, name, key=os.environ.get(arguments.api_key_env, ""))
    _serve(app, listener, {"ready": True, "pid": os.getpid(), **_where(listener), **app.facts})


class Worker:
    """The ASGI application and the thread that runs the model."""

    def __init__(self, encoder: "Encoder", name: str, *, key: str) -> None:
        self.encoder = encoder
        self.name = name
        self.authorization = f"Bearer {key}".encode() if key else b""
        self.facts = {
            "kind": encoder.spec.kind,
            "dimensions": encoder.spec.hidden if encoder.spec.kind == "encoder" else None,
            "max_input_tokens": encoder.max_input_tokens,
            "rerank_by": "encoder-cosine" if encoder.spec.kind == "encoder" else "cross-encoder",
        }
        self.turns = Turns()
        self.routes: Mapping[str, Mapping[str, Callable[[bytes], Steps | dict[str, Any]]]] = {
            "/v1/embeddings": {"POST": self.embeddings},
            "/v1/rerank": {"POST": self.rerank},
            "/v1/models": {"GET": self.models},
            "/info": {"GET": self.info},
            "/health": {"GET": self.health},
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            handler = self._route(scope)
            body = await _read_body(receive)
            answer = handler(body)
            if not isinstance(answer, dict):
                answer = await self.turns.run(answer, receive)
            if answer is not None:
                await _reply(send, 200, answer)
        except PenstockError as exc:
            await _reply(send, exc.status, _error_body(exc))
        except Exception as exc:
            await _reply(send, 500, _error_body(InternalError(f"the engine failed: {exc}")))
            raise

    def embeddings(self, body: bytes) -> Steps:
        return self._embeddings(_decode(body, EmbeddingsRequest))

    def _embeddings(self, request: EmbeddingsRequest) -> Steps:
        inputs = _inputs(request.input)
        embedded: Embedded = yield from self.encoder.embed(
            inputs, dimensions=request.dimensions, truncate=request.truncate, normalize=request.normalize
        )
        as_base64 = request.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(row) if as_base64 else row.tolist()}
            for index, row in enumerate(embedded.vectors)
        ]
        return {
            "object": "list",
            "data": data,
            "model": request.model or self.name,
            "usage": _usage(embedded.prompt_tokens),
        }

    def rerank(self, body: bytes) -> Steps:
        return self._rerank(_decode(body, RerankRequest))

    def _rerank(self, request: RerankRequest) -> Steps:
        if not 1 <= len(request.documents) <= MAX_INPUTS:
            raise InvalidRequest(f"documents must hold 1 to {MAX_INPUTS} texts", param="documents")
        if request.top_n is not None and request.top_n < 1:
            raise InvalidRequest("top_n must be at least 1", param="top_n")
        ranked: Ranked = yield from self.encoder.rerank(
            request.query, request.documents, truncate=request.truncate
        )
        scores = [float(score) for score in ranked.scores]
        if self.encoder.spec.kind == "cross-encoder" and not request.raw_scores:
            scores = [_sigmoid(score) for score in scores]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
        return {
            "model": request.model or self.name,
            "results": [{"index": index, "relevance_score": scores[index]} for index in order],
            "usage": _usage(ranked.prompt_tokens),
        }

    def models(self, _body: bytes) -> dict[str, Any]:
        row = {"id": self.name, "object": "model", "created": 0, "owned_by": "penstock", **self.facts}
        return {"object": "list", "data": [row]}

    def info(self, _body: bytes) -> dict[str, Any]:
        return {"id": self.name, **self.facts}

    def health(self, _body: bytes) -> dict[str, Any]:
        return {"status": "ok", "queued": self.turns.queued}

    def _route(self, scope: dict[str, Any]) -> Callable[[bytes], Steps | dict[str, Any]]:
        path, method = scope["path"], scope["method"]
        if self.authorization and path != "/health":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self.authorization):
                raise InvalidApiKey("this engine needs its bearer key")
        if path not in self.routes:
            raise NotFound(f"no such path: {path}; there are {', '.join(self.routes)}")
        if method not in self.routes[path]:
            allowed = ", ".join(self.routes[path])
            raise MethodNotAllowed(f"{path} takes {allowed}, not {method}", allowed=allowed)
        return self.routes[path][method]


class Turn:
    """One request on its way through the model thread.

    waiting   batch None   not begun, or it lets others go first
    due       batch set    its next turn runs the batch
    over      is_over      its answer or error is on the way to the loop, or nobody waits for it any more
    """

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.batch: Batch | None = None
        self.is_over = False
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Any] = self.loop.create_future()
        self.is_abandoned = False  # set on the loop, read by the thread: a stale read costs one batch

    def advance(self, values: Any = None) -> None:
        """To its next batch, or to its end."""
        if self.is_abandoned:
            self.end(None, None)
            return
        try:
            self.batch = self.steps.send(values)
        except StopIteration as done:
            self.end(done.value, None)
        except Exception as exc:  # noqa: BLE001 it is raised again on the loop, in `run`
            self.end(None, exc)

    def end(self, answer: Any, error: BaseException | None) -> None:
        """Called by the thread. A loop that has closed has nobody left to tell."""
        self.is_over = True
        self.steps.close()
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._set, answer, error)

    def _set(self, answer: Any, error: BaseException | None) -> None:
        if self.result.done():
            return
        if error is None:
            self.result.set_result(answer)
        else:
            self.result.set_exception(error)


class Turns:
    """Round-robin: the thread runs one batch of the oldest request, then puts it at the end of the line.

    Batches of others that wait right now join it while there is room: nobody waits for company.
    """

    def __init__(self) -> None:
        self.queued = 0  # owned by the event loop
        self._arrived: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="model", daemon=True).start()

    async def run(self, steps: Steps, receive: Receive) -> Any:
        """The result of `steps`, or None when the client went away before it was there."""
        turn = Turn(steps)
        watcher_owner: tasks.Tasks = set()
        watcher = tasks.spawn(watcher_owner, _disconnected(receive), "disconnect watch")
        self.queued += 1
        self._arrived.put(turn)
        try:
            await asyncio.wait((turn.result, watcher), return_when=asyncio.FIRST_COMPLETED)
            return turn.result.result() if turn.result.done() else None
        finally:
            turn.is_abandoned = True
            self.queued -= 1
            await tasks.cancel_and_wait(watcher)

    def _work(self) -> None:
        line: deque[Turn] = deque()  # the oldest first
        while True:
            while not line or not self._arrived.empty():
                line.append(self._arrived.get())
            turn = line.popleft()
            if turn.batch is None or turn.is_abandoned:
                turn.advance()
            if turn.batch is not None and not turn.is_over:
                self._run([turn, *_company(turn.batch, line)], line)
            elif not turn.is_over:
                line.append(turn)

    def _run(self, turns: list[Turn], line: deque[Turn]) -> None:
        """Runs their batches as one. When that fails each is run alone: only the guilty one hears of it."""
        batches = [cast("Batch", turn.batch) for turn in turns]
        try:
            values = batches[0].encoder.run([item for batch in batches for item in batch.tokens])
        except Exception as exc:  # noqa: BLE001 as in `Turn.advance`
            if len(turns) == 1:
                turns[0].end(None, exc)
            else:
                for turn in turns:
                    self._run([turn], line)
            return
        begin = 0
        for turn, batch in zip(turns, batches, strict=True):
            end = begin + len(batch.tokens)
            turn.advance(values[begin:end])
            begin = end
            if not turn.is_over:
                line.append(turn)


def _company(batch: "Batch", line: deque[Turn]) -> Iterator[Turn]:
    """Those of the line whose batch fits beside `batch`, taken out of it; the oldest first."""
    tokens = list(batch.tokens)
    for turn in list(itertools.islice(line, MOST_SHARED)):
        if len(tokens) >= MOST_SHARED:
            return
        if turn.batch is None or turn.is_abandoned:
            turn.advance()
        if turn.is_over:
            line.remove(turn)
        elif turn.batch is not None and batch.encoder.may_share([*tokens, *turn.batch.tokens]):
            tokens += turn.batch.tokens
            line.remove(turn)
            yield turn


def _load(folder: Path, threads: int, max_input_tokens: int) -> "Encoder":
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # read when `tokenizers` starts its pool
    from penstock.engines.onnx_encoder import load

    return load(folder, threads=threads, max_input_tokens=max_input_tokens)


def _inputs(given: str | list[str | int | list[int]]) -> "list[str | list[int]]":
    """OpenAI's four shapes of `input` as a list of texts or of token arrays."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return [[item for item in given if isinstance(item, int)]]
    if not 1 <= len(given) <= MAX_INPUTS:
        raise InvalidRequest(f"input must hold 1 to {MAX_INPUTS} items, not {len(given)}", param="input")
    inputs: list[str | list[int]] = []
    for index, item in enumerate(given):
        if isinstance(item, int) or isinstance(item, str) != isinstance(given[0], str):
            raise InvalidRequest(
                "input must be a text, a list of texts, a list of token ids or a list of these, not a mix",
                param=f"input[{index}]",
            )
        inputs.append(item)
    return inputs


def _base64(row: Any) -> str:
    """Little-endian float32, as OpenAI sends it."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _sigmoid(value: float) -> float:
    """1 / (1 + exp(-x)) without overflow for large negative x."""
    exp = math.exp

    return 1 / (1 + exp(-value)) if value >= 0 else exp(value) / (1 + exp(value))


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        text, _, path = str(exc).partition(" - at `$")
        missing = re.search(r"required field `(\w+)`", text)
        param = path.rstrip("`").lstrip(".") or (missing[1] if missing else None)
        raise InvalidRequest(text, param=param) from exc
    except msgspec.DecodeError as exc:
        raise InvalidRequest(f"the body is not valid JSON: {exc}") from exc


def _error_body(exc: PenstockError) -> dict[str, Any]:
    error = {"message": exc.message, "type": exc.openai_type, "param": exc.param, "code": exc.code}
    return {"error": error}


async def _read_body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the client went away before its request was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise RequestTooLarge(f"a request may be {MAX_BODY_BYTES >> 20} MiB at most")
        if not message.get("more_body"):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reply(send: Send, status: int, answer: dict[str, Any]) -> None:
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _serve(app: Worker, listener: socket.socket, ready: dict[str, Any]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(ready)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Exit status 0: uvicorn raises the signal again after a clean stop."""
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self.handle_exit)
            yield

    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    try:
        Server(config).run(sockets=[listener])
    finally:
        if "uds" in ready:
            Path(ready["uds"]).unlink(missing_ok=True)
    sys.exit(0)


def _listen(arguments: argparse.Namespace) -> socket.socket:
    if not arguments.uds:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", arguments.port))
        return listener
    arguments.uds.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)  # the socket is for this user only
    try:
        listener.bind(str(arguments.uds))
    finally:
        os.umask(previous)
    return listener


def _where(listener: socket.socket) -> dict[str, Any]:
    name = listener.getsockname()
    return {"uds": name} if listener.family == socket.AF_UNIX else {"port": name[1]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="penstock.engines.onnx_worker", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, required=True, help="folder with config.json, model.safetensors"
    )
    parser.add_argument("--name", default="", help="model id to report (default: the folder's name)")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--uds", type=Path, default=None, help="Unix socket path instead of a port")
    parser.add_argument(
        "--threads", type=int, default=0, help="default: physical cores - 1, within the quota"
    )
    parser.add_argument(
        "--api-key-env", default=KEY_VARIABLE, help="variable that holds the bearer key (%(default)s)"
    )
    parser.add_argument(
        "--max-input-tokens", type=int, default=0, help="default: the model's own limit, at most 2048"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
