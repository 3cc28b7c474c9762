"""All we know of one request while it runs, and what is accounted when it ends."""

from typing import NamedTuple

from penstock.types.errors import PenstockError
from penstock.types.identity import VirtualKey
from penstock.types.requests import Operation
from penstock.types.usage import Usage


class Labels(NamedTuple):
    """What metrics call this call's route and deployment: of a bounded set, whatever clients ask for."""

    route: str = "other"
    deployment: str = ""


class Attempt:
    """One try at one replica. Times are monotonic seconds."""

    __slots__ = ("deployment", "ended_s", "error", "first_content_s", "replica", "started_s")

    def __init__(self, deployment: str, replica: str, started_s: float) -> None:
        self.deployment = deployment
        self.replica = replica
        self.started_s = started_s
        self.first_content_s: float | None = None
        self.ended_s: float | None = None
        self.error: PenstockError | None = None


class Call:
    """One request from its first byte to its accounting. Times are monotonic seconds."""

    __slots__ = (
        "attempts",
        "client_left",
        "created",
        "deployment",
        "error",
        "first_content_s",
        "id",
        "is_accounted",
        "is_stream",
        "key",
        "labels",
        "model",
        "operation",
        "path",
        "started_s",
        "status",
        "usage",
    )

    def __init__(self, call_id: str, path: str, operation: Operation, started_s: float, created: int) -> None:
        self.id = call_id
        self.path = path
        self.operation = operation
        self.started_s = started_s
        self.created = created  # unix seconds, stamped into answers
        self.key: VirtualKey | None = None
        self.model = ""  # the public name the client asked for
        self.deployment = ""
        self.labels = Labels()
        self.is_stream = False
        self.attempts: list[Attempt] = []
        self.first_content_s: float | None = None
        self.usage: Usage | None = None
        self.status = 0  # HTTP status sent; 0 = none was
        self.error: PenstockError | None = None
        self.client_left = False
        self.is_accounted = False
