"""All we know of one request while it runs, and what is accounted when it ends."""

from penstock.types.errors import PenstockError
from penstock.types.identity import VirtualKey
from penstock.types.requests import Operation
from penstock.types.usage import Usage


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
        self.is_stream = False
        self.attempts: list[Attempt] = []
        self.first_content_s: float | None = None
        self.usage: Usage | None = None
        self.status = 0  # HTTP status sent; 0 = none was
        self.error: PenstockError | None = None
        self.client_left = False
        self.is_accounted = False
