"""The walk of one request. Read this first.

    1  authenticate         who calls           (before the body is read; callers.py where it is no plain key)
    2  read, decode         what is asked, checked against the schema
    3  find_route           which model that is; may this key use it
    4  reserve              of the caller's limits and budgets          (reservations; settled at the end)
    5  choose               which target answers                        (routing.select, pure; balance,
                                                                         difficulty)
    6  failover.run         attempts until one answers: deltas come, the responder writes them
    7  account              exactly once, whatever happened

One explicit function: the order can be read, and steps pass typed fields of `Call`. The snapshot is read
once, so a reload cannot change the configuration under a running request.
"""

import asyncio
import random
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog

from penstock.config.snapshot import Snapshot
from penstock.gateway import failover, wishes
from penstock.gateway.account import account
from penstock.gateway.attempts import told_to
from penstock.gateway.billing import forget_untold
from penstock.gateway.deps import Deps
from penstock.gateway.difficulty import judge
from penstock.gateway.exchange import ClientLeft, Exchange
from penstock.gateway.responder import Responder, send_error
from penstock.gateway.upstream import Emit
from penstock.routing import select
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Route
from penstock.types.errors import (
    BudgetExceeded,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    PenstockError,
    PermissionDenied,
    PriceUnknown,
    ServerStopping,
)
from penstock.types.identity import VirtualKey
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import Inbound

RESTART_S = 5.0  # what a client is told to wait for our successor
LAST_WORDS_S = 2.0  # for a refusal to be taken while the server stops
MAX_ECHO_CHARS = 100  # of a name somebody made up

_log = structlog.get_logger("penstock.gateway")


async def run(exchange: Exchange, inbound: Inbound, snapshot: Snapshot, deps: Deps) -> None:
    """Answers one model request, whatever happens; a cancelled one says that the server stops."""
    call = Call(exchange.id, exchange.path, inbound.operation, deps.clock.monotonic(), int(deps.clock.wall()))
    deps.metrics.call_started(call)
    responder: Responder | None = None
    try:
        call.key = await authenticate(snapshot, exchange, deps)
        if call.key.role == "viewer":
            raise PermissionDenied("This key may look on; calling models takes the role developer.")
        if deps.usage is not None:
            deps.usage.check()
        deps.running[exchange] = call
        body = await exchange.read_body(snapshot.body_limit_bytes)
        call.headers, call.body_bytes = exchange.headers, len(body)
        request = inbound.decode(decode_json(body))
        call.is_stream = request.stream
        route = find_route(snapshot, call.key, request, inbound.operation)
        call.model = request.model or route.name
        if call.key.requires is not None or not wishes.HEADERS.isdisjoint(call.headers):
            route = wishes.granted(call, route, call.key)
        if call.key.claims or call.key.model_claims or route.claims:
            await deps.reservations.reserve(call, request, route)
        if not route.is_choosy:
            target = select.weighted(route.targets, random.random())  # noqa: S311 - a traffic split
        else:
            if route.difficulty is not None:
                call.difficulty = await judge(call, request, route, deps)
            target = deps.balance.choose(call, request, route, deps.fleet, deps.health)
        deployment = target.deployment
        if call.operation not in deployment.operations:
            raise wrong_operation(deployment, call)
        if inbound.forwards:
            forward(exchange, inbound, request)
        exchange.watch_client()
        responder = Responder(exchange, call, inbound.encoder(request, call), id_header=inbound.id_header)
        if request.stream:
            responder.keep_alive()
        emit: Emit = responder.emit
        if call.lease is not None and request.stream:
            emit = deps.reservations.extending(call, request, call.lease, emit)
        await failover.run(call, request, target, route=route, deps=deps, emit=emit)
        await responder.end()
    except ClientLeft:
        call.client_left = True
    except asyncio.CancelledError:
        uncancel()
        if exchange.client_left:
            call.client_left = True
        else:
            call.error = call.cut or ServerStopping(
                "The server is shutting down; try again.", retry_after_s=RESTART_S
            )
            await refuse(exchange, inbound, responder, call.error, call)
    except RecursionError:  # decoding it, checking it or writing it again went too deep
        call.error = InvalidRequest("The request is nested too deeply.")
        await refuse(exchange, inbound, responder, call.error, call)
    except PenstockError as error:
        call.error = error
        await refuse(exchange, inbound, responder, error, call)
    except Exception as exc:  # noqa: BLE001 - the border: a bug becomes a 500 with an id, and a log line with the stack
        _log.exception("bug in the walk of a request", id=call.id, path=call.path)
        call.error = InternalError(f"Internal error; the server's log has the details under {call.id}.")
        call.error.__cause__ = exc
        await refuse(exchange, inbound, responder, call.error, call)
    finally:
        exchange.stop_watching()
        deps.running.pop(exchange, None)
        if responder is not None:
            responder.stop()
        call.status = exchange.status
        if call.error is not None or call.client_left:
            forget_untold(call)
        # before the settlement, which may wait, and be cancelled there when the server ends
        try:
            account(call, ended_s=deps.clock.monotonic(), metrics=deps.metrics, usage=deps.usage)
        except Exception:  # noqa: BLE001 - a bug there may not keep what the call reserved, nor its connection
            _log.exception("bug in the accounting of a call", id=call.id)
        if call.lease is not None:
            await deps.reservations.settle(call, call.lease)


KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")  # of Anthropic, Azure, Gemini
ADMIN_PATHS = "/admin/"  # `?key=` there is one that is asked about


async def authenticate(snapshot: Snapshot, exchange: Exchange, deps: Deps) -> VirtualKey:
    """The key of this request: one lookup, where it is a key that is good always and from everywhere.

    Raises InvalidApiKey in words that do not tell whether a key exists, and what Callers.admit raises.
    """
    scheme, _, said = exchange.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not (secret := said.strip()):
        secret = other_credentials(exchange)
    key = snapshot.authenticate(secret)
    if key is None or key.terms is not None:
        return await deps.callers.admit(snapshot, exchange, secret, key)
    return key


def other_credentials(exchange: Exchange) -> bytes:
    """The key where other vendors' clients put it; empty when it is nowhere."""
    for name in KEY_HEADERS:
        if secret := exchange.headers.get(name, b"").strip():
            return secret
    if exchange.query and not exchange.path.startswith(ADMIN_PATHS):
        for name_, value in parse_qsl(exchange.query.decode("latin-1")):
            if name_ == "key" and value:
                return value.strip().encode()
    return b""


def query_of(exchange: Exchange) -> list[tuple[str, str]]:
    return parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True)


def forward(exchange: Exchange, inbound: Inbound, request: Request) -> None:
    """Keeps the headers that a target of the client's own dialect gets, too."""
    if isinstance(request, ChatRequest):
        request.forward = tuple(
            (name.decode(), value.decode("latin-1"))
            for name in inbound.forwards
            if (value := exchange.headers.get(name)) is not None
        )


def decode_json(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"The request body is not valid JSON: {exc}.") from exc
    if not isinstance(decoded, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return decoded


def find_route(snapshot: Snapshot, key: VirtualKey, request: Request, operation: Operation) -> Route:
    """The route of the model that was asked for.

    Raises ModelNotFound also for a model that exists but is not this key's to see: the existence of another
    tenant's model is not told. Raises PriceUnknown where the configuration refuses what has no price.
    """
    name = request.model or snapshot.defaults.get(operation, "")
    if not name:
        raise InvalidRequest(
            f"No model was named, and there is none that serves {operation} by default.", param="model"
        )
    route = snapshot.find_route(name)
    if route is None and key.may_use(name) and snapshot.refuses(name):
        raise PriceUnknown(
            f"What the model {name[:MAX_ECHO_CHARS]!r} costs is not known, and this server refuses such"
            " calls; its operator can add a price.",
            param="model",
        )
    if route is None or not key.may_use(route.name):
        raise ModelNotFound(
            f"The model {name[:MAX_ECHO_CHARS]!r} does not exist or this key may not use it;"
            " GET /v1/models lists yours.",
            param="model",
        )
    return route


def wrong_operation(deployment: Deployment, call: Call) -> InvalidRequest:
    serves = ", ".join(sorted(deployment.operations))
    return InvalidRequest(
        f"The model {call.model!r} does not serve {call.operation} requests (it serves: {serves}).",
        param="model",
    )


async def refuse(
    exchange: Exchange, inbound: Inbound, responder: Responder | None, error: PenstockError, call: Call
) -> None:
    """Tells the client, in its own protocol, unless it is gone."""
    error = told_to(error, call)
    try:
        async with asyncio.timeout(LAST_WORDS_S if isinstance(error, ServerStopping) else None):
            if responder is not None and exchange.is_started:
                await responder.fail(error)
            else:
                body = inbound.error_body(error, call.id)
                status = inbound.budget_status if isinstance(error, BudgetExceeded) else error.status
                await send_error(exchange, error, body, call, status=status, id_header=inbound.id_header)
    except TimeoutError:
        exchange.abort()
    except ClientLeft:
        call.client_left = True
    except asyncio.CancelledError:
        uncancel()
        exchange.abort()  # it left, or the server stops: there is no time for more words
        call.client_left = True


def uncancel() -> None:
    """The cancellation was our own watcher's: the task goes on to account for the call."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
