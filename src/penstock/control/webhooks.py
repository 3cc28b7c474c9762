"""Events are sent to webhooks: signed, each on its own, again until they are taken.

POST, as Standard Webhooks has it (standardwebhooks.com, 1.0.0):

    webhook-id          of the event: the same in every try, so that a receiver can drop what it has
    webhook-timestamp   Unix seconds of this try
    webhook-signature   v1,<base64 of HMAC-SHA256 of "id.timestamp.body" by the secret>
    body                {"type", "timestamp", "data"}

A secret that begins with `whsec_` is base64 behind that, any other is taken as it is; without one nothing is
signed. Taken is what is answered by 2xx; 410 ends it; all else is tried again after PAUSES_S. What waits is
bounded, and is lost with the process.
"""

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog

from penstock.lib import http1, tasks
from penstock.lib.addresses import NotPublic, public_address
from penstock.lib.clock import Clock
from penstock.types.webhooks import Event, Hook

PAUSES_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0)
MOST: Final = 1000  # deliveries under way or waiting
GONE: Final = 410
PUBLIC_PORTS: Final = (80, 443)
ANSWER_BYTES: Final = 64 * 1024
CLOSED_IN_S: Final = 2.0
_TIMEOUTS: Final = http1.Timeouts(connect_s=5.0, first_byte_s=15.0, between_s=15.0, total_s=30.0)
_PREFIX: Final = "whsec_"

_log = structlog.get_logger("penstock.webhooks")


class Webhooks:
    """One per process. `hooks`: those of now, asked at each event."""

    def __init__(
        self,
        client: http1.Client,
        clock: Clock,
        hooks: Callable[[], Sequence[Hook]],
        *,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._client = client
        self._clock = clock
        self._hooks = hooks
        self._pauses_s = pauses_s
        self._sending: tasks.Tasks = set()
        self._pausing: set[asyncio.Task[None] | None] = set()  # of those, what waits for another try

    def tell(self, event: Event) -> None:
        """Sends it to all who want it; waits for none."""
        for hook in self._hooks():
            if not hook.wants(event):
                continue
            if len(self._sending) >= MOST:
                _log.warning("webhook left out", webhook=hook.name, event_id=event.id, detail="too many wait")
                continue
            tasks.spawn(self._sending, self._deliver(hook, event), "webhook")

    async def aclose(self) -> None:
        """What is being sent has a moment; what waits for another try is given up."""
        if sending := self._sending - self._pausing:
            await asyncio.wait(sending, timeout=CLOSED_IN_S)
        for task in list(self._sending):
            await tasks.cancel_and_wait(task)

    async def _deliver(self, hook: Hook, event: Event) -> None:
        failure = ""
        for pause_s in (0.0, *self._pauses_s):
            await self._pause(pause_s)
            try:
                status = await self._send(hook, event)
            except (http1.HTTPClientError, TimeoutError, OSError, ValueError) as exc:
                failure = str(exc) or type(exc).__name__
                continue
            except NotPublic:
                failure = "its address is not public"
                break
            if 200 <= status < 300:
                return
            failure = f"answered {status}"
            if status == GONE:
                break
        _log.warning("webhook not delivered", webhook=hook.name, event_id=event.id, detail=failure)

    async def _pause(self, seconds: float) -> None:
        if not seconds:
            return
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._pausing.add(task)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing.discard(task)

    async def _send(self, hook: Hook, event: Event) -> int:
        parts = urlsplit(hook.url)
        origin, _ = http1.Origin.parse(f"{parts.scheme}://{parts.netloc}")
        if not hook.is_trusted:
            if origin.uds is not None or origin.port not in PUBLIC_PORTS:
                raise NotPublic(hook.url)
            origin = origin._replace(ip=await public_address(origin.host, origin.port))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        at = dt.datetime.fromtimestamp(event.at, dt.UTC).isoformat().replace("+00:00", "Z")
        body = msgspec.json.encode({"type": event.type, "timestamp": at, "data": event.data})
        headers = signed(hook.secret, event.id, int(self._clock.wall()), body)
        response = await self._client.request(origin, "POST", target, headers, body, timeouts=_TIMEOUTS)
        try:
            await response.read(ANSWER_BYTES)
        finally:
            response.close()
        return response.status


def signed(secret: str, event_id: str, at_s: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of a delivery."""
    headers = [
        ("content-type", "application/json"),
        ("webhook-id", event_id),
        ("webhook-timestamp", str(at_s)),
    ]
    if secret:
        what = f"{event_id}.{at_s}.".encode() + body
        digest = hmac.new(_key(secret), what, hashlib.sha256).digest()
        headers.append(("webhook-signature", f"v1,{base64.b64encode(digest).decode()}"))
    return headers


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
