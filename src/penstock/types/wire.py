"""The Protocol of an inbound wire format: what gateway/app.py needs of a module in penstock.protocols."""

from collections.abc import Sequence
from typing import Any, Protocol

from penstock.types.call import Call
from penstock.types.errors import PenstockError
from penstock.types.events import Delta
from penstock.types.requests import Operation, Request

EVENT_STREAM = "text/event-stream; charset=utf-8"


class SSE:
    """What encoders of server-sent events say of their format."""

    stream_type = EVENT_STREAM
    ping = b": ping\n\n"


class Plain:
    """What inbound objects say that take no headers from the client and give it none of their own."""

    forwards: tuple[bytes, ...] = ()
    id_header = ""
    budget_status = 402


class Encoder(Protocol):
    """Writes one answer in the client's format. A state machine: it cannot emit an illegal sequence.

    A streamed call uses `stream*`, any other `fold` then `answer`. Chat encoders take what the reader gives:
    Chunk and Answer from a target of the client's dialect, Events from any other (types/events.py).
    """

    stream_type: str  # the content type of a streamed answer: EVENT_STREAM but for NDJSON and JSON arrays
    ping: bytes  # keeps a silent stream alive, also before its first event; b"" = the format has none

    def stream(self, deltas: Sequence[Delta]) -> bytes:
        """The bytes for one batch of deltas; may be empty (a usage chunk nobody asked for)."""
        ...

    def stream_end(self) -> bytes:
        """The legal end of a complete answer."""
        ...

    def stream_error(self, error: PenstockError) -> bytes:
        """The typed terminal event of a call that failed after its first byte."""
        ...

    def fold(self, deltas: Sequence[Delta]) -> None: ...

    def answer(self) -> bytes:
        """The whole answer's JSON. Raises UpstreamInvalid when what was folded is not an answer."""
        ...


class Inbound(Protocol):
    """One inbound wire format on one path: a module, or an object where the path or query says something."""

    operation: Operation
    forwards: tuple[bytes, ...]  # request headers, lower case, that a target of the same dialect gets, too
    budget_status: int  # of BudgetExceeded: 402, or 429 where the vendor's clients know it so
    id_header: str  # a further header that carries the call's id ("request-id" at Anthropic); "" = none

    def decode(self, body: dict[str, Any]) -> Request:
        """Checks a decoded JSON object. Raises InvalidRequest with `param`; may keep and change `body`."""
        ...

    def encoder(self, request: Request, call: Call) -> Encoder: ...

    def error_body(self, error: PenstockError, call_id: str) -> bytes: ...
