"""One attempt at one replica: encode, send, read, push what comes.

The phases and their bounds (types.deployment.Timeouts):

    loading        the pool has no ready replica yet            -> ModelLoading
    connect        TCP and TLS                                  -> UpstreamUnavailable
    first token    a stream: request sent until the first content -> UpstreamTimeout
    between tokens silence after that                           -> UpstreamTimeout
    min rate       a drip after that, where the route says so   -> UpstreamTimeout (gateway/pace.py)
    total          the whole attempt, a slow client included    -> UpstreamTimeout

All of them are deadlines of the upstream connection (lib.http1), which costs no timer: when one passes, the
upstream is let go at once; a client that is behind hears of it after what came before.

Leaving this function, however that happens, closes the upstream connection unless its answer was read to the
end: that is how generation stops when the client leaves.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from penstock.gateway import pace
from penstock.gateway.consumed import Volume, consumed
from penstock.gateway.deps import Deps
from penstock.gateway.health import is_credential_s
from penstock.gateway.pace import Pace, Splitter, has_content
from penstock.gateway.structured import MAX_TRIES, Checked, Escalated, SchemaMismatch
from penstock.gateway.translate import prepare, watched
from penstock.gateway.wishes import is_hurry
from penstock.lib import http1
from penstock.lib.eventstream import BadFrame, FrameSplitter
from penstock.lib.lines import LineSplitter
from penstock.lib.sse import EventTooLarge, SSESplitter
from penstock.providers.openai_completions import estimated_prompt_tokens
from penstock.providers.openai_lower import own_request
from penstock.types.call import Attempt, Call
from penstock.types.deployment import (
    Ask,
    CountPrompt,
    Deployment,
    Framing,
    Outgoing,
    Reader,
    ReplicaView,
    Route,
)
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PenstockError,
    UnsupportedParameter,
    UpstreamCut,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.events import Counted, Delta
from penstock.types.requests import ChatRequest, Request
from penstock.types.usage import Usage

Emit = Callable[[Sequence[Delta]], Awaitable[None]]

ANSWER_LIMIT_BYTES = 256 * 1024 * 1024  # a whole answer; 2,048 embeddings of 4,096 floats are about 180 MB
ERROR_LIMIT_BYTES = 64 * 1024
MAX_SAID_CHARS = 500  # of names that the client made up
COUNT_WITHIN_S = 30.0
READ_OUT_S = 0.05  # between the terminal event and the end of the body


class Unfinished(UpstreamTimeout):
    """It was answering when its whole time was over: there was much to say, or its client takes it slowly."""


async def run(
    call: Call, request: Request, *, deployment: Deployment, route: Route, deps: Deps, emit: Emit
) -> None:
    """Answers `request` from `deployment`, pushing every delta through `emit`.

    Raises ModelLoading, InvalidRequest (the engine refused the request), UpstreamError.
    """
    timeouts = route.timeouts
    give_up_s = deps.clock.monotonic() + timeouts.loading_s
    mismatches = 0
    while True:
        replica = deployment.remote if not deployment.has_parts else _in_turn(call, deployment, deps)
        if replica is None:
            left_s = max(0.0, give_up_s - deps.clock.monotonic())
            replica = await deps.fleet.acquire(deployment.pool or "", left_s, call.replica)
        attempt = Attempt(
            deployment.name,
            replica.id,
            deps.clock.monotonic(),
            call.labels.deployment,
            deployment.price,
            is_remote=deployment.remote is not None,
        )
        call.attempts.append(attempt)
        if deployment.is_balanced:
            attempt.lease = deps.balance.placed(call, deployment, replica)
            if deployment.has_parts:
                attempt.trial = deps.health.began(deployment, replica)
        try:
            await _attempt(
                call, attempt, request, deployment, replica=replica, route=route, deps=deps, emit=emit
            )
        except http1.HTTPClientError as exc:
            attempt.error = _map_transport_error(exc, deployment)
            _note(call, attempt, deployment, attempt.error, deps)
            is_lost = isinstance(exc, http1.ConnectError | http1.ConnectionCut)
            if deployment.remote is None and is_lost and not _is_hurry(call, attempt, deps):
                deps.fleet.suspect(replica)
                if isinstance(exc, http1.ConnectError) and deps.clock.monotonic() < give_up_s:
                    continue  # it died a moment ago and got nothing of this request: wait for the next life
            raise attempt.error from exc
        except SchemaMismatch as error:
            attempt.error = error
            mismatches += 1
            if "schema" in call.held_for:
                raise Escalated("schema") from error
            if call.is_stream or mismatches >= MAX_TRIES:
                raise
        except PenstockError as error:
            attempt.error = error
            _note(call, attempt, deployment, error, deps)
            if attempt.is_told or not _may_use_another(call, deployment, error, deps):
                raise
        else:
            attempt.is_told = True
            if attempt.lease is not None:
                _note_success(call, attempt, deployment, replica, deps)
            return
        finally:
            attempt.ended_s = deps.clock.monotonic()
            if attempt.lease is not None:
                deps.balance.load.release(attempt.lease)
                if attempt.trial is not None:
                    attempt.trial.left()  # unless its end was noted
            if deployment.remote is None:
                deps.fleet.release(replica)


def _in_turn(call: Call, deployment: Deployment, deps: Deps) -> ReplicaView | None:
    """One of its credentials; None where it has replicas, and then `call.replica` is the one to acquire."""
    if deployment.pool is None:
        return deps.health.credential(deployment, _asked(call))
    call.replica = deps.health.replica(deployment, call.replica)
    return None


def _note(call: Call, attempt: Attempt, deployment: Deployment, error: PenstockError, deps: Deps) -> None:
    """It failed at this replica, or with this credential."""
    if isinstance(error, Unfinished) or _is_hurry(call, attempt, deps):
        return
    if attempt.trial is not None and (deployment.pool is not None or is_credential_s(error)):
        deps.health.failed(attempt.trial, error)


def _is_hurry(call: Call, attempt: Attempt, deps: Deps) -> bool:
    answered_s = None if attempt.trial is None else attempt.trial.answered_s
    return is_hurry(call, attempt.started_s, answered_s, deps.clock.monotonic())


def _note_success(
    call: Call, attempt: Attempt, deployment: Deployment, replica: ReplicaView, deps: Deps
) -> None:
    if attempt.trial is not None:
        deps.health.succeeded(attempt.trial)
    if call.usage is not None:
        attempt.ended_s = deps.clock.monotonic()
        deps.balance.learned(call, deployment, replica, call.usage)


def _may_use_another(call: Call, deployment: Deployment, error: PenstockError, deps: Deps) -> bool:
    """Whether it was a credential's fault, and one that is awake was not asked yet."""
    if not deployment.spares or not is_credential_s(error):
        return False
    return deps.health.has_fresh_credential(deployment, _asked(call))


def _asked(call: Call) -> set[str]:
    """The ids of the replicas and credentials that were."""
    return {attempt.replica for attempt in call.attempts}


async def _attempt(
    call: Call,
    attempt: Attempt,
    request: Request,
    deployment: Deployment,
    *,
    replica: ReplicaView,
    route: Route,
    deps: Deps,
    emit: Emit,
) -> None:
    timeouts = route.timeouts
    if request.__class__ is ChatRequest and request.counts_only and not deployment.codec.counts:
        attempt.usage = Usage()
        await emit((await _count(request, deployment, replica, deps),))
        return
    if request.__class__ is ChatRequest and request.dialect != deployment.codec.dialect:
        call.dialect = deployment.codec.dialect
        await prepare(call, request, deployment.codec, deps)
        emit = watched(call, request, emit, deps)
    outgoing = _encode(call, request, deployment, is_strict=route.strict)
    volume: Volume | None = None
    if deployment.codec.dialect != "openai":
        volume = Volume(deployment.codec.dialect, _read_events)
    checked = None
    if outgoing.schema is not None:
        dialect = request.dialect if isinstance(request, ChatRequest) else "openai"
        checked = Checked(outgoing.schema, dialect, emit, is_stream=call.is_stream)
        emit = checked.emit
    reader = deployment.codec.reader(request, deployment)
    address = replica.address
    phase, limit_s = "total", timeouts.total_s
    if outgoing.is_stream:
        phase, limit_s = "first token", min(timeouts.first_token_s, timeouts.total_s)
    try:
        if deployment.count_prompt is not None:
            await _check_length(request, outgoing, deployment, replica, deps, within_s=limit_s)
        headers = (*_HEADERS, *replica.headers, *outgoing.headers)
        if replica.signer is not None:
            headers += await replica.signer.sign(deps.fetch, address, outgoing)
        response = await deps.client.request(
            http1.Origin(address.scheme, address.host, address.port, address.uds),
            "POST",
            address.path + outgoing.path,
            headers,
            outgoing.body,
            timeouts=http1.Timeouts(timeouts.connect_s, first_byte_s=None, between_s=None, total_s=limit_s),
        )
        try:
            if not 200 <= response.status < 300:
                raise await _read_error(response, deployment)
            if not outgoing.is_stream:
                delta = reader.answer(await response.read(ANSWER_LIMIT_BYTES))
                attempt.first_content_s = call.first_content_s = deps.clock.monotonic()
                attempt.usage = call.usage = delta.usage
                if delta.usage is None:
                    if isinstance(delta, Counted):
                        attempt.usage = Usage()
                    elif volume is not None:
                        volume.saw(delta)
                        attempt.usage = call.usage = consumed(None, request, reader, volume)
                await emit((delta,))
                if checked is not None:
                    await checked.end()
                return
            _expect_events(response, deployment, outgoing.framing)
            splitter = SSESplitter() if outgoing.framing == "sse" else _SPLITTERS[outgoing.framing]()
            read, events = response.read_some, _read_events if volume is None else volume.events
            held: list[Delta] | None = []  # until something may be told: None from then on
            is_open = True
            trickle_since_s: float | None = None
            while is_open:
                data = await read()
                deltas, failure = events(splitter, data, reader)
                is_open = bool(data) and not reader.is_done
                for delta in deltas:
                    if delta.usage is not None:
                        # cumulative: the last one counts, never a sum
                        attempt.usage = call.usage = delta.usage
                if failure is not None:
                    if held is None:
                        await emit(deltas)  # what came before the failure was said
                    raise failure
                if not deltas:
                    if held is None:
                        trickle_since_s = _trickling(data, trickle_since_s, timeouts.between_tokens_s, deps)
                    continue
                if held is not None:
                    held += deltas
                    deltas = held
                if attempt.first_content_s is None and any(has_content(delta) for delta in deltas):
                    attempt.first_content_s = call.first_content_s = deps.clock.monotonic()
                    if attempt.lease is not None:
                        deps.balance.load.prefilled(attempt.lease)
                    phase, limit_s = "total", timeouts.total_s
                    response.limit_reads(timeouts.between_tokens_s)
                    if timeouts.min_rate is not None:
                        slow = Pace(timeouts.min_rate, deps.clock, read, events)
                        read, events = slow.read, slow.events
                        response.limit_reads(min(timeouts.between_tokens_s, pace.WINDOW_S))
                    response.limit_total(timeouts.total_s - (attempt.first_content_s - attempt.started_s))
                    if call.is_stream:
                        held = None
                        attempt.is_told = not call.held_for
                if held is None:
                    await emit(deltas)
            if reader.is_done:
                await _read_out(response)
            elif not reader.is_complete:
                raise UpstreamCut(f"{deployment.name} ended its answer before it was complete.")
            if attempt.usage is None:
                attempt.usage = call.usage = consumed(None, request, reader, volume)
            if held:
                await emit(held)
            if checked is not None:
                await checked.end()
        finally:
            response.close()
    except (TimeoutError, http1.TotalTimeout) as exc:
        note_consumed(call, attempt, consumed(attempt.usage, request, reader, volume))
        said = f"{deployment.name} did not finish phase '{phase}' within {limit_s:g} s."
        raise (UpstreamTimeout if attempt.first_content_s is None else Unfinished)(said) from exc
    except SchemaMismatch:
        raise  # the answer is whole, and what it consumed is known
    except BaseException as exc:
        if attempt.first_content_s is not None or isinstance(exc, asyncio.CancelledError):
            note_consumed(call, attempt, consumed(attempt.usage, request, reader, volume))
        raise


def note_consumed(call: Call, attempt: Attempt, usage: Usage | None) -> None:
    """What an attempt used up that never came to its end."""
    attempt.usage = usage
    if attempt.is_told:
        call.usage = usage


def _trickling(data: bytes, since_s: float | None, within_s: float, deps: Deps) -> float | None:
    """Since when bytes come that end no line. Raises UpstreamTimeout: one byte a second is silence, too."""
    if not data or b"\n" in data:
        return None
    now_s = deps.clock.monotonic()
    if since_s is not None and now_s - since_s > within_s:
        raise UpstreamTimeout(f"The upstream sends bytes, but has said nothing for {within_s:g} s.")
    return now_s if since_s is None else since_s


def _encode(call: Call, request: Request, deployment: Deployment, *, is_strict: bool) -> Outgoing:
    """Raises InvalidRequest; UnsupportedParameter for what a strict route may not leave out."""
    try:
        outgoing = deployment.codec.encode(request, deployment)
    except (OverflowError, UnicodeEncodeError) as exc:  # JSON that decodes but cannot be written again
        raise InvalidRequest(f"The request holds a value that cannot be sent on: {exc}.") from exc
    call.dropped = outgoing.dropped
    if outgoing.dropped and is_strict:
        raise UnsupportedParameter(
            f"The model {call.model!r} cannot be told: {', '.join(outgoing.dropped)[:MAX_SAID_CHARS]};"
            " its route is strict, so nothing is left out.",
            param=outgoing.dropped[0],
        )
    return outgoing


async def _check_length(
    request: Request,
    outgoing: Outgoing,
    deployment: Deployment,
    replica: ReplicaView,
    deps: Deps,
    *,
    within_s: float,
) -> None:
    """Refuses a prompt above the model's context before it waits for a place in the engine.

    A token is at least one byte, so a body of fewer bytes than the context has tokens needs no count.
    Raises ContextLengthExceeded, UpstreamTimeout, UpstreamInvalid.
    """
    context = replica.info.get("context")
    if deployment.count_prompt is None or context is None or len(outgoing.body) <= context:
        return
    own = own_request(request).request if isinstance(request, ChatRequest) else request
    tokens = await _counted(own, deployment.count_prompt, deployment, replica, deps, within_s=within_s)
    if tokens >= context:  # the answer needs room for one token
        param = "messages" if request.operation == "chat" else "prompt"
        raise ContextLengthExceeded(
            f"The model {request.model!r} takes at most {context} tokens; the prompt is {tokens} tokens.",
            param=param,
        )


def _asker(replica: ReplicaView, deployment: Deployment, deps: Deps) -> Ask:
    """How an engine asks its replica about a prompt."""
    address = replica.address
    origin = http1.Origin(address.scheme, address.host, address.port, address.uds)

    async def ask(path: str, body: bytes) -> dict[str, Any]:
        response = await deps.client.request(origin, "POST", path, (*_HEADERS, *replica.headers), body)
        if response.status != 200:
            raise await _read_error(response, deployment)
        answer: dict[str, Any] = msgspec.json.decode(await response.read(ANSWER_LIMIT_BYTES))
        return answer

    return ask


async def _count(request: ChatRequest, deployment: Deployment, replica: ReplicaView, deps: Deps) -> Counted:
    """How many tokens the prompt is: by the engine that would answer it, else by its length."""
    own = own_request(request).request
    count = deployment.count_prompt
    if count is None:
        return Counted(estimated_prompt_tokens(own), is_estimated=True)
    return Counted(await _counted(own, count, deployment, replica, deps, within_s=COUNT_WITHIN_S))


async def _counted(
    request: Request,
    count: CountPrompt,
    deployment: Deployment,
    replica: ReplicaView,
    deps: Deps,
    *,
    within_s: float,
) -> int:
    """Raises UpstreamTimeout, UpstreamInvalid."""
    try:
        async with asyncio.timeout(within_s):
            return await count(request, _asker(replica, deployment, deps))
    except TimeoutError as exc:
        raise UpstreamTimeout(f"{deployment.name} did not count the prompt within {within_s:g} s.") from exc
    except (msgspec.DecodeError, LookupError, TypeError) as exc:
        raise UpstreamInvalid(f"{deployment.name} did not say how many tokens the prompt has.") from exc


_HEADERS = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


async def _read_out(response: http1.Response) -> None:
    """The answer is complete; its connection may be used again if the body ends, too, within a moment."""
    response.limit_reads(READ_OUT_S)
    with contextlib.suppress(http1.HTTPClientError):
        while await response.read_some():
            pass


async def _read_error(response: http1.Response, deployment: Deployment) -> PenstockError:
    try:
        body = await response.read(ERROR_LIMIT_BYTES)
    except http1.BodyTooLarge:
        body = b""  # the status says enough
    error = deployment.codec.map_error(response.status, response.headers, body)
    error.detail = error.detail or f"status {response.status}"  # for the log, which the message is not
    return error


_SPLITTERS: dict[Framing, Callable[[], Splitter]] = {
    "sse": SSESplitter,
    "lines": LineSplitter,
    "aws": FrameSplitter,
}
_MEDIA_TYPES: dict[Framing, tuple[bytes, ...]] = {
    "sse": (b"text/event-stream",),
    "lines": (b"application/x-ndjson", b"application/json", b"application/jsonl"),
    "aws": (b"application/vnd.amazon.eventstream",),
}


def _expect_events(response: http1.Response, deployment: Deployment, framing: Framing) -> None:
    content_type = response.header(b"content-type") or b""
    if not content_type.startswith(_MEDIA_TYPES[framing]):
        raise UpstreamInvalid(
            f"{deployment.name} answered a streaming request with"
            f" {content_type.decode('latin-1') or 'no content type'} instead of events."
        )


def _read_events(splitter: Splitter, data: bytes, reader: Reader) -> tuple[list[Delta], PenstockError | None]:
    """The deltas of one read, and the error that ended them, if one did; no data is the end of the body."""
    deltas: list[Delta] = []
    try:
        for event in splitter.feed_data(data) if data else splitter.finish_data():
            delta = reader.event(event)
            if delta is not None:
                deltas.append(delta)
    except (EventTooLarge, BadFrame) as exc:
        return deltas, UpstreamInvalid(f"{exc}.")
    except PenstockError as error:
        return deltas, error
    return deltas, None


def _map_transport_error(error: http1.HTTPClientError, deployment: Deployment) -> PenstockError:
    """What the client hears names no address: `detail` is for the log."""
    name, detail = deployment.name, str(error)
    match error:
        case http1.ConnectError() | http1.PoolTimeout():
            return UpstreamUnavailable(f"{name} could not be reached.", detail=detail)
        case http1.FirstByteTimeout() | http1.ReadTimeout() | http1.TotalTimeout() | http1.WriteTimeout():
            return UpstreamTimeout(f"{name} went silent.", detail=detail)
        case http1.ConnectionCut(before_response=True):
            return UpstreamUnavailable(f"{name} closed the connection without an answer.", detail=detail)
        case http1.ConnectionCut():
            return UpstreamCut(f"{name} closed the connection in the middle of its answer.", detail=detail)
        case _:
            return UpstreamInvalid(f"{name} broke the HTTP protocol.", detail=detail)
