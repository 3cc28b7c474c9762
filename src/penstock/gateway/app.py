"""The door: one dict from path to handler; no middleware for domain steps.

    POST  the inbound protocols' paths       pipeline.run                        key needed
    GET   /v1/models ...                     pages.py: what this key may use     key needed
    GET   /health, /health/live, /ready      pages.py: state of the pools        open; names only locally
    ...   /admin/v1/...                      behind.py: the admin API            key needed
    GET   /metrics                           Prometheus text    open on loopback, else a key for all routes
    GET   /openapi.json                      this table, for programs            open

HEAD works where GET does. Every answer, refusals of this layer included, carries x-request-id.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from penstock.config.snapshot import Snapshot
from penstock.gateway import pipeline
from penstock.gateway.deps import Deps
from penstock.gateway.exchange import ClientLeft, Exchange
from penstock.gateway.pages import Pages
from penstock.gateway.responder import send_error
from penstock.gateway.responses import COUNT_PATH, PATH, Responses
from penstock.lib.ids import is_sane_id, new_id
from penstock.protocols import errors_of, find
from penstock.telemetry.metrics import PoolRow
from penstock.types.door import Door
from penstock.types.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PenstockError,
)
from penstock.types.others import Others
from penstock.types.wire import Inbound

RESPONSES = frozenset({PATH, COUNT_PATH})  # requests that may refer to what is kept

_log = structlog.get_logger("penstock.gateway")


class App:
    """`snapshot` may be replaced at any time: each request reads it once."""

    def __init__(
        self,
        snapshot: Snapshot,
        deps: Deps,
        inbound: Mapping[str, Inbound],
        pools: Callable[[], list[PoolRow]],
        version: str,
        *,
        admin: Door | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._deps = deps
        self._inbound = inbound
        self._responses = Responses(deps.clock)
        self._pages = Pages(lambda: self.snapshot, deps, pools, version, self._responses, admin=admin)

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._responses.join(others)

    async def aclose(self) -> None:
        """Ends what runs without a client."""
        await self._responses.aclose()

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answers one request. Not async: a frame less for each event of a stream to pass through."""
        offered = exchange.headers.get(b"x-request-id")
        if offered is not None and is_sane_id(sane := offered.decode("latin-1")):
            exchange.id = sane
        else:
            exchange.id = new_id("req_")
        inbound = self._inbound.get(exchange.path) or find(exchange.path, exchange.query)
        if inbound is not None and exchange.method == "POST":
            if exchange.path in RESPONSES:
                return self._responses.ask(exchange, lambda: self.snapshot, self._deps)
            return pipeline.run(exchange, inbound, self.snapshot, self._deps)
        return self._other(exchange, known=inbound is not None)

    async def _other(self, exchange: Exchange, *, known: bool) -> None:
        """What is no model request."""
        error_body = errors_of(exchange.path, exchange.headers)
        try:
            await self._dispatch(exchange, known=known)
        except ClientLeft:
            return
        except RecursionError:  # in a body
            deep = InvalidRequest("The request is nested too deeply.")
            await send_error(exchange, deep, error_body(deep, exchange.id))
        except PenstockError as error:
            await send_error(exchange, error, error_body(error, exchange.id))
        except Exception:  # noqa: BLE001 - the border: a bug becomes a 500 with an id, and a log line with the stack
            _log.exception("bug outside the walk", id=exchange.id, path=exchange.path)
            if not exchange.is_started:
                bug = InternalError(f"Internal error; the server's log has the details under {exchange.id}.")
                await send_error(exchange, bug, error_body(bug, exchange.id))

    async def _dispatch(self, exchange: Exchange, *, known: bool) -> None:
        shown = exchange.path[: pipeline.MAX_ECHO_CHARS]
        page = self._pages.find(exchange.path)
        if page is None and not known:
            raise NotFound(f"There is nothing at {shown}; docs/api.md lists the endpoints.")
        if page is None or exchange.method not in page.methods:
            allowed = ", ".join(page.methods) if page is not None else "POST"
            raise MethodNotAllowed(f"{shown} answers {allowed}, not {exchange.method}.", allowed=allowed)
        await page.handle(exchange)
