"""Turns deltas into the client's answer.

    streamed   nothing comes before the first content (upstream.py): until then an error is a plain status.
               After PING_S of silence a ping goes out in the client's format (and the headers with it), and
               again after each further PING_S, so that proxies and SDK timeouts see a living connection.
    whole      deltas are folded; one JSON body at the end.

After the headers an error is the protocol's typed terminal event.
"""

import asyncio
import functools
from collections.abc import Sequence

from penstock.gateway.billing import cost_of_call
from penstock.gateway.exchange import ClientLeft, Exchange, header_lines
from penstock.lib import tasks
from penstock.types.call import Call
from penstock.types.errors import BudgetExceeded, MethodNotAllowed, PenstockError
from penstock.types.events import Delta
from penstock.types.ledger import Resource, tightest
from penstock.types.money import format_usd
from penstock.types.wire import Encoder

PING_S = 15.0
SOON_S = 1.0
MAX_DROPPED_CHARS = 2_000  # of names that the client made up


class Responder:
    __slots__ = ("_call", "_encoder", "_exchange", "_id_header", "_pinger", "_pings", "_silent")

    def __init__(self, exchange: Exchange, call: Call, encoder: Encoder, *, id_header: str = "") -> None:
        self._exchange = exchange
        self._call = call
        self._encoder = encoder
        self._id_header = id_header
        self._silent = False  # nothing was written since the last tick
        self._pings: tasks.Tasks = set()
        self._pinger: asyncio.TimerHandle | None = None

    def keep_alive(self) -> None:
        """Begins to ping: for streamed calls."""
        if not self._encoder.ping:
            return
        self._silent = True
        self._pinger = asyncio.get_running_loop().call_later(PING_S, self._tick)

    async def emit(self, deltas: Sequence[Delta]) -> None:
        if not self._call.is_stream:
            self._encoder.fold(deltas)
            return
        data = self._encoder.stream(deltas)
        if not self._exchange.is_started:
            await self._exchange.start_stream(self._stream_lines())
        if data:
            self._silent = False
            await self._exchange.write(data)

    async def end(self) -> None:
        """The answer is complete. Raises UpstreamInvalid when what came is no answer."""
        if not self._call.is_stream:
            body = self._encoder.answer()
            lines = call_lines(self._call, self._id_header)
            cost = self._call.cost = cost_of_call(self._call)
            if cost is not None:
                lines += f"x-penstock-cost-usd: {format_usd(cost.total)}\r\n"
            await self._exchange.send(200, body, _JSON + lines)
            return
        self._call.cost = cost_of_call(self._call)  # the encoder may tell it
        data = self._encoder.stream_end()
        if not self._exchange.is_started:
            await self._exchange.start_stream(self._stream_lines())
        await self._exchange.end_stream(data)

    async def fail(self, error: PenstockError) -> None:
        """The call failed after the first byte: the protocol's terminal event."""
        await self._exchange.end_stream(self._encoder.stream_error(error))

    def stop(self) -> None:
        """No ping after this. Called on every way out."""
        if self._pinger is not None:
            self._pinger.cancel()
            self._pinger = None
        for ping in self._pings:
            ping.cancel()

    def _stream_lines(self) -> str:
        return stream_lines(self._encoder.stream_type) + call_lines(self._call, self._id_header)

    def _tick(self) -> None:
        self._pinger = asyncio.get_running_loop().call_later(PING_S, self._tick)
        if self._silent and not self._pings:
            tasks.spawn(self._pings, self._ping(), "ping")
        self._silent = True

    async def _ping(self) -> None:
        try:
            if not self._exchange.is_started:
                await self._exchange.start_stream(self._stream_lines())
            await self._exchange.write(self._encoder.ping)
        except ClientLeft:
            return  # the call's own task learns it from its watcher


async def send_error(
    exchange: Exchange,
    error: PenstockError,
    body: bytes,
    call: Call | None = None,
    *,
    status: int = 0,
    id_header: str = "",
) -> None:
    """An error as a plain HTTP answer. `call` is there once the request was recognised as a model call."""
    lines = _JSON
    lines += call_lines(call, id_header) if call is not None else header_lines(("x-request-id", exchange.id))
    lines += retry_lines(error)
    if error.status == 401:
        lines += _CHALLENGE
    if isinstance(error, MethodNotAllowed):
        lines += header_lines(("allow", error.allowed))
    if isinstance(error, BudgetExceeded):
        lines += "x-should-retry: false\r\n"  # to the official SDKs, which would try a 429 again
    await exchange.send(status or error.status, body, lines)


def call_lines(call: Call, id_header: str) -> str:
    """The header lines of an answer that tell about its call. The id was checked, or made by us."""
    lines = f"x-request-id: {call.id}\r\n"
    if id_header:
        lines += f"{id_header}: {call.id}\r\n"
    if call.attempts:
        deployment = header_value(call.deployment)
        lines += f"x-penstock-deployment: {deployment}\r\nx-penstock-attempts: {len(call.attempts)}\r\n"
    if call.first_content_s is not None:
        elapsed_ms = round((call.first_content_s - call.started_s) * 1000)
        lines += f"openai-processing-ms: {elapsed_ms}\r\n"
    if call.queue_position:
        waited_ms = round(call.queued_s * 1000)
        lines += (
            f"x-penstock-queue-position: {call.queue_position}\r\nx-penstock-queue-wait-ms: {waited_ms}\r\n"
        )
    if call.difficulty is not None:
        lines += f"x-penstock-difficulty: {call.difficulty}\r\n"
    if call.lease is not None or call.refusal is not None:
        lines += limit_lines(call)
    if call.dialect or call.dropped:
        lines += translation_line(call.dropped)
    return lines


def limit_lines(call: Call) -> str:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, OpenAI's names: of the tightest limits."""
    lines = ""
    resources: tuple[Resource, ...] = ("requests", "tokens")
    refusal = call.refusal
    rests = call.lease.rests() if call.lease is not None and refusal is None else ()
    for resource in resources:
        if refusal is None:
            rest = tightest(rests, resource)
        else:
            rest = refusal.rest() if refusal.limit.resource == resource else None
        if rest is not None:
            lines += (
                f"x-ratelimit-limit-{resource}: {rest.limit.amount}\r\n"
                f"x-ratelimit-remaining-{resource}: {rest.remaining}\r\n"
            )
            if rest.resets_s is not None:
                lines += f"x-ratelimit-reset-{resource}: {rest.resets_s:.3f}s\r\n"
    return lines


def translation_line(dropped: tuple[str, ...]) -> str:
    """What became of the request on its way to a target that speaks otherwise."""
    if not dropped:
        return "x-penstock-translation: lossless\r\n"
    return f"x-penstock-translation: lossy; dropped={header_value(','.join(dropped)[:MAX_DROPPED_CHARS])}\r\n"


_JSON = header_lines(("content-type", "application/json"))
_CHALLENGE = header_lines(("www-authenticate", "Bearer"))  # RFC 9110 wants one with every 401


@functools.lru_cache(maxsize=16)
def stream_lines(media_type: str) -> str:
    return header_lines(
        ("content-type", media_type),
        ("cache-control", "no-cache"),
        ("x-accel-buffering", "no"),  # nginx in front must not gather events
    )


@functools.lru_cache(maxsize=1024)
def header_value(text: str) -> str:
    """A configured name as a header value: what is not printable ASCII becomes `?`."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def retry_lines(error: PenstockError) -> str:
    """`retry-after` (whole seconds, rounded up) and `retry-after-ms`, which the OpenAI SDKs prefer.

    Every 429 and 503 that is worth a retry has them; where nobody knows how long it takes, soon.
    """
    seconds = error.retry_after_s
    if seconds is None:
        if not error.retryable or error.status not in {429, 503}:
            return ""
        seconds = SOON_S
    seconds = max(0.0, seconds)
    return f"retry-after: {-int(-seconds // 1)}\r\nretry-after-ms: {round(seconds * 1000)}\r\n"
