"""What the door answers beside model requests: lists of models in every dialect's shape, health, metrics.

A page is found by its path, or by the longest prefix of `_BELOW` where a name follows. Lists of models show
what the caller's key may use, and nothing of another tenant's.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from penstock.config.snapshot import ModelRow, Snapshot
from penstock.gateway import behind, pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.exchange import Exchange, header_lines
from penstock.gateway.responses import PATH as RESPONSES
from penstock.gateway.responses import Responses
from penstock.gateway.signin import SignIn
from penstock.protocols import (
    anthropic_models,
    dialect_of,
    gemini_models,
    kserve,
    ollama_models,
    openai_models,
    openapi,
    tei,
)
from penstock.telemetry.metrics import PoolRow
from penstock.types.door import Door
from penstock.types.errors import InvalidRequest, MethodNotAllowed, ModelNotFound, PermissionDenied

METRICS_CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
READS = ("GET", "HEAD")


class Page(NamedTuple):
    handle: Callable[[Exchange], Awaitable[None]]
    methods: tuple[str, ...] = READS


class Pages:
    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        deps: Deps,
        pools: Callable[[], list[PoolRow]],
        version: str,
        responses: Responses,
        *,
        admin: Door | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._deps = deps
        self._pools = pools
        self._version = version
        self._responses = responses
        self._admin = admin
        self._sign_in = SignIn(snapshot, deps)
        self._document = b""  # of /openapi.json, once somebody asked
        self._at = {
            RESPONSES: Page(self._socket, ("GET", "POST")),
            "/v1/models": Page(self._models),
            "/v1beta/models": Page(self._gemini_models),
            "/api/tags": Page(self._ollama_tags),
            "/api/ps": Page(self._ollama_ps),
            "/api/show": Page(self._ollama_show, ("POST",)),
            "/api/version": Page(self._ollama_version),
            "/info": Page(self._tei_info),
            "/v2": Page(self._kserve),
            "/v2/health/live": Page(self._kserve_live),
            "/v2/health/ready": Page(self._kserve_ready),
            "/health": Page(self._health),
            "/health/live": Page(self._live),
            "/health/ready": Page(self._ready),
            "/metrics": Page(self._metrics),
            "/openapi.json": Page(self._openapi),
            "/auth/me": Page(self._sign_in.me),
            "/auth/logout": Page(self._sign_in.logout, ("POST",)),
        }
        self._below = {
            "/v1/models/": Page(self._model),
            "/v1beta/models/": Page(self._gemini_model),
            "/v2/models/": Page(self._kserve_model),
            "/v1/responses/": Page(self._response, (*READS, "DELETE", "POST")),
            "/auth/login/": Page(self._sign_in.login, ("GET",)),
            "/auth/callback/": Page(self._sign_in.callback, ("GET",)),
        }
        if admin is not None:
            self._below[behind.PREFIX] = Page(self._behind, behind.METHODS)

    def find(self, path: str) -> Page | None:
        found = self._at.get(path)
        if found is None:
            found = next((page for prefix, page in self._below.items() if path.startswith(prefix)), None)
        return found

    # -- models

    async def _rows(self, exchange: Exchange) -> list[ModelRow]:
        key = await pipeline.authenticate(self._snapshot(), exchange, self._deps)
        return [row for row in self._snapshot().models() if key.may_use(row.id)]

    async def _row(self, exchange: Exchange, name: str) -> ModelRow:
        for row in await self._rows(exchange):
            if row.id == name:
                return row
        shown = name[: pipeline.MAX_ECHO_CHARS]
        raise ModelNotFound(f"The model {shown!r} does not exist or this key may not use it.", param="model")

    async def _models(self, exchange: Exchange) -> None:
        rows = await self._rows(exchange)
        match dialect_of(exchange.headers):
            case "anthropic":
                page = anthropic_models.page_of(pipeline.query_of(exchange))
                await send_json(exchange, anthropic_models.listing(rows, **page))
            case "gemini":
                await send_json(exchange, gemini_models.listing(rows))
            case "openai":
                await send_json(exchange, openai_models.listing(rows))

    async def _model(self, exchange: Exchange) -> None:
        row = await self._row(exchange, exchange.path.removeprefix("/v1/models/"))
        await send_json(exchange, _SHAPES[dialect_of(exchange.headers)](row))

    async def _gemini_models(self, exchange: Exchange) -> None:
        await send_json(exchange, gemini_models.listing(await self._rows(exchange)))

    async def _gemini_model(self, exchange: Exchange) -> None:
        row = await self._row(exchange, exchange.path.removeprefix("/v1beta/models/"))
        await send_json(exchange, gemini_models.single(row))

    async def _ollama_tags(self, exchange: Exchange) -> None:
        await send_json(exchange, ollama_models.tags(await self._rows(exchange)))

    async def _ollama_ps(self, exchange: Exchange) -> None:
        await send_json(exchange, ollama_models.ps(await self._rows(exchange)))

    async def _ollama_show(self, exchange: Exchange) -> None:
        await pipeline.authenticate(self._snapshot(), exchange, self._deps)
        body = pipeline.decode_json(await exchange.read_body(self._snapshot().body_limit_bytes))
        name = body.get("model") or body.get("name")
        if not isinstance(name, str):
            raise InvalidRequest("`model` is required.", param="model")
        await send_json(exchange, ollama_models.show(await self._row(exchange, name)))

    async def _ollama_version(self, exchange: Exchange) -> None:
        await send_json(exchange, ollama_models.version(self._version))

    async def _tei_info(self, exchange: Exchange) -> None:
        name = self._snapshot().defaults.get("embedding") or self._snapshot().defaults.get("rerank")
        if name is None:
            raise ModelNotFound("No model answers here without a name.")
        await send_json(exchange, tei.info(await self._row(exchange, name), self._version))

    async def _kserve(self, exchange: Exchange) -> None:
        await send_json(exchange, kserve.server(self._version))

    async def _kserve_live(self, exchange: Exchange) -> None:
        await send_json(exchange, kserve.live())

    async def _kserve_ready(self, exchange: Exchange) -> None:
        is_ready = self._is_ready()
        await send_json(exchange, kserve.ready(is_ready=is_ready), status=200 if is_ready else 503)

    async def _kserve_model(self, exchange: Exchange) -> None:
        name = exchange.path.removeprefix("/v2/models/")
        if name.endswith("/ready"):
            row = await self._row(exchange, name.removesuffix("/ready"))
            is_ready = self._is_ready()
            body = kserve.model_ready(row, is_ready=is_ready)
            await send_json(exchange, body, status=200 if is_ready else 503)
        else:
            await send_json(exchange, kserve.model(await self._row(exchange, name)))

    async def _socket(self, exchange: Exchange) -> None:
        if exchange.headers.get(b"x-grade", b"").lower() != b"websocket":  # as the Listener renames `upgrade`
            raise MethodNotAllowed(
                "/v1/responses answers POST; GET is for WebSocket clients.", allowed="POST"
            )
        await self._responses.converse(exchange, self._snapshot, self._deps)

    async def _response(self, exchange: Exchange) -> None:
        await self._responses.page(exchange, self._snapshot(), self._deps, dict(pipeline.query_of(exchange)))

    # -- health

    async def _health(self, exchange: Exchange) -> None:
        rows = self._pools()
        body: dict[str, Any] = {"status": _status(rows), "version": self._version}
        if self._deps.callers.is_local(self._snapshot(), exchange):
            body["pools"] = [{"pool": row.pool, "replicas": dict(row.states)} for row in rows]
        await send_json(exchange, msgspec.json.encode(body))

    async def _live(self, exchange: Exchange) -> None:
        await send_json(exchange, b'{"status":"ok"}')

    async def _ready(self, exchange: Exchange) -> None:
        is_ready = self._is_ready()
        body = msgspec.json.encode({"status": "ready" if is_ready else "starting"})
        await send_json(exchange, body, status=200 if is_ready else 503)

    def _is_ready(self) -> bool:
        rows = self._pools()
        return self._snapshot().has_remote or not rows or any(row.states.get("ready") for row in rows)

    # -- the rest

    async def _metrics(self, exchange: Exchange) -> None:
        if not self._deps.callers.is_local(self._snapshot(), exchange):
            key = await pipeline.authenticate(self._snapshot(), exchange, self._deps)
            if not key.is_operator:
                raise PermissionDenied("Metrics tell of everything here: they take the role operator.")
        text = await self._deps.metrics.scrape()
        await exchange.send(
            200,
            text,
            header_lines(("content-type", METRICS_CONTENT_TYPE), ("x-request-id", exchange.id)),
        )

    async def _behind(self, exchange: Exchange) -> None:
        if self._admin is not None:
            await behind.answer(exchange, self._sign_in, self._admin)

    async def _openapi(self, exchange: Exchange) -> None:
        if not self._document:
            self._document = msgspec.json.encode(openapi.document(self._version))
        await send_json(exchange, self._document)


_SHAPES: dict[str, Callable[[ModelRow], bytes]] = {
    "openai": openai_models.single,
    "anthropic": anthropic_models.single,
    "gemini": gemini_models.single,
}


def _status(rows: list[PoolRow]) -> str:
    """`ok` when every pool has a ready replica, `starting` while some still load, `degraded` otherwise."""
    waiting = [row for row in rows if not row.states.get("ready")]
    if not waiting:
        return "ok"
    return "degraded" if any(row.states.get("failed") for row in waiting) else "starting"


async def send_json(exchange: Exchange, body: bytes, *, status: int = 200) -> None:
    lines = header_lines(("content-type", "application/json"), ("x-request-id", exchange.id))
    await exchange.send(status, body, lines)
