"""The door: one dict from path to handler; no middleware for domain steps.

    POST  the inbound protocols' paths       pipeline.run                        key needed
    GET   /v1/models, /v1/models/{id}        what this key may use               key needed
    GET   /health                            state of the pools                  open; names only locally
    GET   /health/live                       200 while the process answers       open
    GET   /health/ready                      200 once some model can answer      open
    GET   /metrics                           Prometheus text    open on loopback, else a key for all routes

HEAD works where GET does. Every answer, refusals of this layer included, carries x-request-id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from penstock.config.snapshot import Snapshot
from penstock.gateway import pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.exchange import ClientLeft, Exchange, header_lines
from penstock.gateway.responder import send_error
from penstock.lib.ids import is_sane_id, new_id
from penstock.protocols import openai_errors, openai_models
from penstock.telemetry.metrics import PoolRow
from penstock.types.errors import (
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    PenstockError,
    PermissionDenied,
)
from penstock.types.wire import Inbound

_log = structlog.get_logger("penstock.gateway")

Handler = Callable[[Exchange], Awaitable[None]]

METRICS_CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
MODELS_PREFIX = "/v1/models/"


class App:
    """`snapshot` may be replaced at any time: each request reads it once."""

    def __init__(
        self,
        snapshot: Snapshot,
        deps: Deps,
        inbound: Mapping[str, Inbound],
        pools: Callable[[], list[PoolRow]],
        version: str,
    ) -> None:
        self.snapshot = snapshot
        self._deps = deps
        self._inbound = inbound
        self._pools = pools
        self._version = version
        self._get: dict[str, Handler] = {
            "/v1/models": self._models,
            "/health": self._health,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._metrics,
        }

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answers one request. Not async: a frame less for each event of a stream to pass through."""
        offered = exchange.headers.get(b"x-request-id")
        if offered is not None and is_sane_id(sane := offered.decode("latin-1")):
            exchange.id = sane
        else:
            exchange.id = new_id("req_")
        inbound = self._inbound.get(exchange.path)
        if inbound is not None and exchange.method == "POST":
            return pipeline.run(exchange, inbound, self.snapshot, self._deps)
        return self._other(exchange, known=inbound is not None)

    async def _other(self, exchange: Exchange, *, known: bool) -> None:
        """What is no model request."""
        try:
            await self._dispatch(exchange, known=known)
        except ClientLeft:
            return
        except PenstockError as error:
            await send_error(exchange, error, openai_errors.error_body(error))
        except Exception:  # noqa: BLE001 - the border: a bug becomes a 500 with an id, and a log line with the stack
            _log.exception("bug outside the walk", id=exchange.id, path=exchange.path)
            if not exchange.is_started:
                bug = InternalError(f"Internal error; the server's log has the details under {exchange.id}.")
                await send_error(exchange, bug, openai_errors.error_body(bug))

    async def _dispatch(self, exchange: Exchange, *, known: bool) -> None:
        shown = exchange.path[: pipeline.MAX_ECHO_CHARS]
        handler = self._get.get(exchange.path)
        if handler is None and exchange.path.startswith(MODELS_PREFIX):
            handler = self._model
        if handler is None and not known:
            raise NotFound(f"There is nothing at {shown}; docs/api.md lists the endpoints.")
        if handler is None or exchange.method not in ("GET", "HEAD"):
            allowed = "POST" if handler is None else "GET, HEAD"
            raise MethodNotAllowed(
                f"{shown} answers {allowed}, not {exchange.method}.",
                allowed=allowed,
            )
        await handler(exchange)

    async def _models(self, exchange: Exchange) -> None:
        key = pipeline.authenticate(self.snapshot, exchange)
        rows = [row for row in self.snapshot.models() if key.may_use(row.id)]
        await _send_json(exchange, openai_models.listing(rows))

    async def _model(self, exchange: Exchange) -> None:
        key = pipeline.authenticate(self.snapshot, exchange)
        name = exchange.path.removeprefix(MODELS_PREFIX)
        for row in self.snapshot.models():
            if row.id == name and key.may_use(name):
                await _send_json(exchange, openai_models.single(row))
                return
        shown = name[: pipeline.MAX_ECHO_CHARS]
        raise ModelNotFound(f"The model {shown!r} does not exist or this key may not use it.", param="model")

    async def _health(self, exchange: Exchange) -> None:
        rows = self._pools()
        body: dict[str, Any] = {"status": _status(rows), "version": self._version}
        if exchange.is_local:
            body["pools"] = [{"pool": row.pool, "replicas": dict(row.states)} for row in rows]
        await _send_json(exchange, msgspec.json.encode(body))

    async def _live(self, exchange: Exchange) -> None:
        await _send_json(exchange, b'{"status":"ok"}')

    async def _ready(self, exchange: Exchange) -> None:
        rows = self._pools()
        is_ready = self.snapshot.has_remote or not rows or any(row.states.get("ready") for row in rows)
        body = msgspec.json.encode({"status": "ready" if is_ready else "starting"})
        await _send_json(exchange, body, status=200 if is_ready else 503)

    async def _metrics(self, exchange: Exchange) -> None:
        if not exchange.is_local:
            key = pipeline.authenticate(self.snapshot, exchange)
            if key.routes is not None:
                raise PermissionDenied("Metrics tell of every route: they need a key without `routes`.")
        text = await asyncio.to_thread(self._deps.metrics.render)
        await exchange.send(
            200,
            text,
            header_lines(("content-type", METRICS_CONTENT_TYPE), ("x-request-id", exchange.id)),
        )


def _status(rows: list[PoolRow]) -> str:
    """`ok` when every pool has a ready replica, `starting` while some still load, `degraded` otherwise."""
    waiting = [row for row in rows if not row.states.get("ready")]
    if not waiting:
        return "ok"
    return "degraded" if any(row.states.get("failed") for row in waiting) else "starting"


async def _send_json(exchange: Exchange, body: bytes, *, status: int = 200) -> None:
    lines = header_lines(("content-type", "application/json"), ("x-request-id", exchange.id))
    await exchange.send(status, body, lines)
