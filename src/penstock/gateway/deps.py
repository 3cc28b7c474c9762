"""What the data plane needs of the outside, wired once in serve.py."""

import msgspec

from penstock.lib.clock import Clock
from penstock.lib.http1 import Client
from penstock.telemetry.metrics import Metrics
from penstock.types.deployment import Fleet


class Deps(msgspec.Struct, frozen=True):
    client: Client
    fleet: Fleet
    metrics: Metrics
    clock: Clock
