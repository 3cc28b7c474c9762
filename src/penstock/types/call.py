"""All we know of one request while it runs, and what is accounted when it ends."""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.types.deployment import Labels, Verdict
from penstock.types.errors import Failure, PenstockError
from penstock.types.identity import VirtualKey
from penstock.types.ledger import Lease, Refusal
from penstock.types.money import Cost, Price
from penstock.types.requests import Operation
from penstock.types.usage import Usage


class Attempt(msgspec.Struct):
    """One try at one replica. Times are monotonic seconds."""

    deployment: str
    replica: str
    started_s: float
    label: str = ""  # what metrics call the deployment
    price: Price | None = None  # of the deployment
    first_content_s: float | None = None
    ended_s: float | None = None
    error: PenstockError | None = None
    outcome: str = ""  # what metrics call it where `error` does not say: outrun, escalated, preempted
    is_remote: bool = True  # at a provider; else on a replica of ours
    lease: Any = None  # what it holds of a replica whose load decides (routing.load.Lease)
    trial: Any = None  # of the replica or credential, where there are several (routing.breaker.Trial)
    usage: Usage | None = None  # what it consumed, also where nobody was told of it
    is_told: bool = False  # the client was: it is the client's to pay


class Call(msgspec.Struct):
    """One request from its first byte to its accounting. Times are monotonic seconds."""

    id: str
    path: str
    operation: Operation
    started_s: float
    created: int  # unix seconds, stamped into answers
    key: VirtualKey | None = None
    model: str = ""  # the public name the client asked for
    deployment: str = ""
    labels: Labels = Labels()
    is_stream: bool = False
    attempts: list[Attempt] = []
    first_content_s: float | None = None
    usage: Usage | None = None
    cost: Cost | None = None  # of what the client was told; None = not known
    status: int = 0  # HTTP status sent; 0 = none was
    error: PenstockError | None = None
    client_left: bool = False
    is_accounted: bool = False
    dialect: str = ""  # of the target that answers, where it is not the client's
    prompt: Any = None  # of one that is placed by its prompt: gateway.balance.Prompt
    headers: Mapping[bytes, bytes] = {}  # of the client's request
    body_bytes: int = 0
    lease: Lease | None = None  # what is reserved for it, while it runs
    needs: Any = None  # what it was expected to take: gateway.reservations.Needs
    reserved: int = 0  # of that, tokens of its answer: a stream that says more reserves more
    refusal: Refusal | None = None  # of the limit that turned it away
    limit_s: float | None = None  # of the whole call, where the client said one
    queue_position: int = 0  # when it began to wait; 0 = it never did
    queued_s: float = 0.0
    replica: str = ""  # id of the local one that was chosen; empty: whoever is next
    dropped: tuple[str, ...] = ()  # what the client said and that target was not told
    difficulty: Any = None  # of one that is placed by how hard it is: routing.difficulty.Decision
    held_for: frozenset[Verdict] = frozenset()  # verdicts that its attempt's answer waits for, untold
    unsent: tuple[Failure, ...] = ()  # targets that turned it away before an attempt was made
    cut: PenstockError | None = None  # why it was ended from outside
    is_follower: bool = False  # its last attempt was made for several, and counts as that of another
