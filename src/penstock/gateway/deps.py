"""What the data plane needs of the outside, wired once in serve.py."""

import msgspec

from penstock.gateway.balance import Balance
from penstock.gateway.batching import Batcher
from penstock.gateway.callers import Callers
from penstock.gateway.classifier import Classifiers
from penstock.gateway.health import Health
from penstock.gateway.media import Media
from penstock.gateway.queueing import Queues
from penstock.gateway.reservations import Reservations
from penstock.gateway.running import Running
from penstock.gateway.thoughts import Thoughts
from penstock.lib.clock import Clock
from penstock.lib.http1 import Client, Origin, Timeouts
from penstock.lib.retry_budget import RetryBudget
from penstock.routing.hedging import Delays
from penstock.telemetry.metrics import Metrics
from penstock.types.control import UsageSink
from penstock.types.deployment import Fleet

FETCH_LIMIT_BYTES = 1024 * 1024
FETCH_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=10.0, between_s=10.0, total_s=15.0)


class Deps(msgspec.Struct, frozen=True):
    client: Client
    fleet: Fleet
    metrics: Metrics
    clock: Clock
    media: Media
    thoughts: Thoughts
    retries: RetryBudget
    health: Health
    balance: Balance
    batcher: Batcher
    queues: Queues
    hedges: RetryBudget
    delays: Delays
    callers: Callers
    classifiers: Classifiers
    reservations: Reservations
    running: Running
    usage: UsageSink | None = None  # where calls are written down; None: nowhere

    async def fetch(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        """POSTs to a token endpoint (types.deployment.Fetch). Raises http1.HTTPClientError."""
        origin, path = Origin.parse(url)
        response = await self.client.request(origin, "POST", path, headers, body, timeouts=FETCH_TIMEOUTS)
        return response.status, await response.read(FETCH_LIMIT_BYTES)
