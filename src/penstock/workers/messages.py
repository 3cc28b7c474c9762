"""What a supervisor and its workers tell each other. Both are the same program: there is no version.

message     from         to            meaning
----------  -----------  ------------  ---------------------------------------------------------------
Begin       supervisor   worker        the first: who it is, and what to serve
Accepting   worker       supervisor    it takes connections
Stop        supervisor   worker        drain; a second one: do not wait
Reread      supervisor   worker        it got SIGHUP: files are read again
Engines     supervisor   worker        all pools, whenever something of them has changed
Took        worker       supervisor    a new file: a worker that is started later begins with it
Suspect     worker       supervisor    a replica could not be reached
Busy        either       the other     what runs where: a worker's own; of all other workers together
Ask         worker       supervisor    a question to all other workers
Ask         supervisor   worker        the same, passed on
Answer      worker       supervisor    to a question; None: nothing to say
Answers     supervisor   worker        what was answered in time, in no order
Tell        either       the other     news for all other workers, passed on
"""

from typing import Any

import msgspec

from penstock.types.deployment import Address, ReplicaState


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Any of these."""


class Begin(Message, frozen=True):
    """`work`: pickled, as it holds functions. `text`: of the file that was taken last, if one was since."""

    number: int
    of: int
    work: bytes
    text: str | None = None


class Accepting(Message, frozen=True):
    pass


class Stop(Message, frozen=True):
    pass


class Reread(Message, frozen=True):
    pass


class Took(Message, frozen=True):
    text: str


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """Of a view those fields that a replica of ours has, and of its state what people see."""

    name: str
    state: ReplicaState
    pid: int | None
    restarts: int
    error: str
    address: Address | None = None  # None: not ready
    headers: tuple[tuple[str, str], ...] = ()
    info: dict[str, Any] = {}
    ready_s: float | None = None


class Fetching(msgspec.Struct, frozen=True, array_like=True):
    """Satisfies runtime.fleet.Progress."""

    step: str
    done_bytes: int
    total_bytes: int | None
    note: str


class Engine(msgspec.Struct, frozen=True, array_like=True):
    """One pool. `unready`: what a request hears that cannot wait for a replica: whether it failed for good,
    the sentence, when to come again, and what the log is told.
    """

    pool: str
    engine: str
    source: str
    replicas: tuple[Replica, ...]
    fetching: Fetching | None
    error: str
    has_failed: bool
    said: str
    retry_after_s: float | None
    detail: str


class Engines(Message, frozen=True):
    """`heard`: the number of the last Suspect of this worker that is in it."""

    pools: tuple[Engine, ...]
    newest_s: float
    heard: int


class Suspect(Message, frozen=True):
    number: int
    replica: str
    ready_s: float | None  # which of its lives


class Busy(Message, frozen=True):
    """calls, tokens: routing.load's, by replica; held: by the fleet's, of replicas of ours."""

    load: dict[str, tuple[int, int]]
    held: dict[str, int]


class Ask(Message, frozen=True):
    number: int
    subject: str
    body: bytes
    wait_s: float
    one_knows: bool = False  # the first answer is enough


class Answer(Message, frozen=True):
    number: int
    body: bytes | None


class Answers(Message, frozen=True):
    number: int
    bodies: list[bytes]


class Tell(Message, frozen=True):
    subject: str
    body: bytes


Any_ = Begin | Accepting | Stop | Reread | Took | Engines | Suspect | Busy | Ask | Answer | Answers | Tell

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Any_).decode
