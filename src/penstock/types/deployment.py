"""Models, where they run, and the Protocols by which the gateway reaches them.

Route       a public model name; targets with weights
Deployment  a model on a provider (remote) or on an engine of ours (pool)
Replica     one running instance; the gateway sees immutable ReplicaViews
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from penstock.types.conversation import JSON, Dialect
from penstock.types.errors import PenstockError
from penstock.types.events import Delta
from penstock.types.ledger import Claim
from penstock.types.money import Price
from penstock.types.requests import Operation, Request

ReplicaState = Literal["stopped", "starting", "warming", "ready", "draining", "stopping", "failed"]


class Address(NamedTuple):
    """Where one replica or provider listens. `uds` wins over host and port; `path` prefixes every target."""

    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = 0
    uds: str | None = None
    path: str = ""  # e.g. "/v1" for https://api.openai.com/v1; never ends in a slash


class ReplicaView(msgspec.Struct, frozen=True):
    """An immutable picture of one replica, published by its owner."""

    id: str
    state: ReplicaState
    address: Address
    headers: tuple[tuple[str, str], ...] = ()  # credentials and vendor headers to send
    info: Mapping[str, Any] = {}  # what the engine said of itself: context, dimensions, max_input_tokens ...
    signer: "Signer | None" = None  # where the credentials depend on the request, or expire
    ready_s: float | None = None  # monotonic; None: it always was


Framing = Literal["sse", "lines", "aws"]


class Outgoing(NamedTuple):
    """An encoded upstream request. `path` is relative to the replica's address path."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    is_stream: bool = False  # the answer is expected as a stream of events, framed as `framing` says
    framing: Framing = "sse"  # sse; lines: one JSON object a line; aws: application/vnd.amazon.eventstream
    dropped: tuple[str, ...] = ()  # what the client said and this dialect cannot, by its name in Conversation
    schema: JSON | None = None  # JSON Schema that the target is not bound to: the answer's text is checked


class Reader(Protocol):
    """Reads one upstream answer. Made anew for each attempt; holds that attempt's state.

    A request of the codec's own dialect is answered by Chunk and Answer, any other by Events.
    """

    @property
    def is_complete(self) -> bool:
        """The terminal event was seen: a stream that ends before it was cut."""
        ...

    @property
    def is_done(self) -> bool:
        """And nothing may follow it: there is no need to wait for the end of the body."""
        ...

    def event(self, data: bytes) -> Delta | None:
        """One event's data: of `sse` what follows `data:`; of `lines` the line; of `aws` a JSON object
        `{"<:event-type>": <payload>}`. Raises UpstreamError for an error event or an unreadable one.
        """
        ...

    def answer(self, body: bytes) -> Delta:
        """A whole JSON answer. Raises UpstreamInvalid."""
        ...


# (absolute URL, headers, body) -> (status, body): how a signer fetches a token
Fetch = Callable[[str, tuple[tuple[str, str], ...], bytes], Awaitable[tuple[int, bytes]]]


class Signer(Protocol):
    """Credentials that are made per request (SigV4), or that expire (OAuth)."""

    async def sign(self, fetch: Fetch, address: Address, outgoing: Outgoing) -> tuple[tuple[str, str], ...]:
        """The headers that authorise `outgoing`, sent by POST to `address`. Raises UpstreamCredentials."""
        ...


class Credentials(msgspec.Struct, frozen=True):
    """What `providers.<name>` of penstock.yaml says beside kind, headers and models; None = not said."""

    base_url: str | None = None
    api_key: str | None = None
    api_version: str | None = None  # Azure's dated api-version, Anthropic's anthropic-version
    region: str | None = None  # of AWS, or Vertex's location
    project: str | None = None  # of Google Cloud
    access_key_id: str | None = None  # AWS
    secret_access_key: str | None = None
    session_token: str | None = None
    tenant_id: str | None = None  # Entra
    client_id: str | None = None
    client_secret: str | None = None
    service_account: str | None = None  # Google: the key file's JSON, or its path


class Connection(NamedTuple):
    """A provider ready to be called. `headers`: lower-case names."""

    address: Address
    headers: dict[str, str]
    codec: "Codec"
    signer: Signer | None = None


class Codec(Protocol):
    """An outbound wire format.

    dialect: a request of it travels as the client wrote it, any other is written from its Conversation.
    """

    dialect: Dialect
    operations: frozenset[Operation]
    counts: bool

    def encode(self, request: Request, deployment: "Deployment") -> Outgoing:
        """Raises UnsupportedParameter where leaving a field out would turn the request into another one."""
        ...

    def reader(self, request: Request, deployment: "Deployment") -> Reader: ...

    def takes_url(self, url: str) -> bool:
        """Whether the vendor fetches media from there; else it is fetched before `encode`."""
        ...

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        """A non-2xx answer, as our error: the caller's own mistakes stay the caller's (400 with param)."""
        ...


class Quirks(msgspec.Struct, frozen=True):
    """How one engine or vendor departs from the dialect its codec speaks.

    always_stream: ask for a stream even when the client did not (llama.cpp: only a closed stream cancels).
    adapt: rewrites a checked request into what this engine understands; returns a new request.
    recount_completion: usage counts one choice only; count the others from the chunks.
    drop: request fields this vendor refuses and that change nothing in the answer.
    drop_message: the same, for fields of chat messages.
    rename_chat: chat fields this vendor knows by another name: (from, to).
    knows: sampling fields beyond OpenAI's that it takes: top_k, min_p, repetition_penalty.
    json_schema: whether `response_format: json_schema` binds it; else see providers/openai_forced.py.
    any_root: whether it does so for a schema whose root is no plain object, too, unlike OpenAI.
    custom_tools: whether it knows tools that take a text; of another dialect's they become functions else.
    """

    always_stream: bool = False
    adapt: Callable[[Request, "Deployment"], Request] | None = None
    recount_completion: bool = False
    drop: frozenset[str] = frozenset()
    drop_message: frozenset[str] = frozenset()
    rename_chat: tuple[tuple[str, str], ...] = ()
    knows: frozenset[str] = frozenset()
    json_schema: bool = True
    any_root: bool = False
    custom_tools: bool = False


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds per phase of one attempt."""

    connect_s: float = 2.0
    first_token_s: float = 120.0  # request sent -> first content (waits in the engine's queue included)
    between_tokens_s: float = 60.0
    total_s: float = 600.0
    loading_s: float = 60.0  # how long a request waits for a model that is not ready yet
    min_rate: float | None = None  # events with content per second, once an answer has begun; None = any


# (path below the server's root, JSON body) -> decoded answer; raises PenstockError
Ask = Callable[[str, bytes], Awaitable[dict[str, Any]]]
# How many tokens the prompt of a request is, by asking the replica that would answer it
CountPrompt = Callable[[Request, Ask], Awaitable[int]]


class Batching(msgspec.Struct, frozen=True):
    """How small embedding and rerank requests to one deployment become one (gateway/batching.py).

    window_s: how long the first may wait while another is in flight; texts, tokens: how much goes into one.
    """

    window_s: float = 0.002
    texts: int = 64
    tokens: int = 16_000  # estimated: four bytes each


class Facts(msgspec.Struct, frozen=True):
    """What the table of models says of one. None = unknown."""

    takes: frozenset[str] | None = None  # text, image, audio, video, file
    can: frozenset[str] | None = None  # tools, reasoning, schemas


class Place(msgspec.Struct, frozen=True):
    """Where a deployment's data go, and what is promised of them; the operator says so.

    is_own: they stay on machines of ours, which keeps any promise.
    """

    region: str = ""
    data_policy: frozenset[str] = frozenset()
    is_own: bool = False


class QueuePlan(msgspec.Struct, frozen=True):
    """How much may wait for a deployment."""

    waiting: int = 1000
    size_bytes: int = 256 << 20
    wait_s: float = 60.0


class ProbePlan(msgspec.Struct, frozen=True):
    """How often a deployment that nobody uses is asked something small."""

    every_s: float = 30.0
    timeout_s: float = 10.0


class Deployment(msgspec.Struct, frozen=True):
    """A model on a provider or on an engine of ours, addressable by `name`.

    Exactly one of `remote` and `pool` is set. Deployments that name the same pool share its replicas
    (builtin:rerank scores with builtin:embedding's encoder).
    """

    name: str
    model: str  # the name the upstream knows it by
    codec: Codec
    operations: frozenset[Operation]
    remote: ReplicaView | None = None
    spares: tuple[ReplicaView, ...] = ()  # the same provider with other credentials
    pool: str | None = None
    max_context: int | None = None  # tokens; None = unknown
    max_output: int | None = None  # tokens of one answer; None = unknown
    facts: Facts | None = None
    place: Place = Place()
    price: Price | None = None  # None = unknown; of our own engines FREE, unless the configuration says more
    count_prompt: CountPrompt | None = None  # where the engine finds out too late that a prompt is too long
    concurrency: int | None = None  # answers under way at once; more wait in its queue; None = any number
    queue: QueuePlan = QueuePlan()
    is_balanced: bool = False  # chosen by its load, or its parts are: every call of it is accounted
    has_parts: bool = False  # several replicas, or credentials (`spares`): each may be down by itself
    probe: ProbePlan | None = None
    label: str = ""  # what is one for all names that a client may make up; empty: its name
    description: str = ""  # one honest sentence, shown in /v1/models
    owner: str = "penstock"
    batching: Batching | None = None  # None: each request is sent as it came
    claims: tuple[Claim, ...] = ()  # what limits attempts at it, its provider's limits included


class Labels(NamedTuple):
    """What metrics call a call's route and deployment: of a bounded set, whatever clients ask for."""

    route: str = "other"
    deployment: str = ""


Level = Literal["easy", "medium", "hard"]
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard")


class Target(msgspec.Struct, frozen=True):
    deployment: Deployment
    labels: Labels
    weight: float = 1.0
    when: Level | None = None  # of a route by difficulty: which requests it is for


Strategy = Literal["weighted", "least-loaded", "affinity", "cheapest", "fastest", "difficulty"]
Sticky = Literal["conversation", "key"]


class Hedge(msgspec.Struct, frozen=True):
    """When a second target is asked beside one that is silent, and how often at most."""

    after_s: float | None = None  # None: when it is late, as the route's own answers go
    share: float = 0.05  # of all calls


Verdict = Literal["schema", "refusal", "logprob"]


class Classifier(msgspec.Struct, frozen=True):
    """Judges a request by what it resembles. `route`: to the model of its vectors, and to nothing else."""

    route: "Route"
    easy: tuple[str, ...]
    hard: tuple[str, ...]


class Difficulty(msgspec.Struct, frozen=True):
    """How a route tells easy requests from hard ones, and which answers it sends on to a harder target.

    medium, hard: scores from which a request is that.
    escalates: the verdicts that do; min_logprob: mean of an answer's tokens below which it is unsure.
    holds_streams: streams of all but the hardest targets wait for their verdict.
    """

    medium: float
    hard: float
    levels: tuple[Level, ...]  # that its targets have
    escalates: frozenset[Verdict] = frozenset()
    min_logprob: float = -1.5
    holds_streams: bool = False
    classifier: Classifier | None = None


class Route(msgspec.Struct, frozen=True):
    name: str
    targets: tuple[Target, ...]
    timeouts: Timeouts = Timeouts()
    strict: bool = False  # refuse what a target cannot be told, instead of reporting it
    strategy: Strategy = "weighted"
    is_mixed: bool = False  # its targets differ in what they are known to be able to do
    is_choosy: bool = False  # it is mixed, or its targets are not taken by weight
    sticky: Sticky | None = None
    latency_s: float | None = (
        None  # of the first token: who has been taking longer is left out, if others have not
    )
    tiers: tuple[tuple[Target, ...], ...] = ()  # asked in this order when no target can answer
    hedge: Hedge | None = None
    difficulty: Difficulty | None = None
    claims: tuple[Claim, ...] = ()  # what limits its calls
    dearest: tuple[int, int] = (0, 0)  # pico-USD of a token of prompt and of answer, where they cost most
    retries: int = 0  # further attempts at a target that was asked already
    has_more: bool = False  # whether there is anything to try after a first attempt
    is_plain: bool = True  # neither that nor a target that batches, waits or is probed: one plain attempt


class Pool(msgspec.Struct, frozen=True):
    """What the runtime must keep running: `replicas` instances of one model on one engine."""

    name: str
    engine: str  # registry name: llamacpp, onnx
    source: str  # model source: builtin:chat, file:..., hf:..., pypi:..., a catalogue name
    replicas: int = 1
    context: int | None = None  # tokens per sequence; None = the engine's default for this model
    parallel: int | None = None  # sequences decoded together; None = the engine's default
    threads: int | None = None
    embedding: bool = False  # llamacpp only: serve embeddings instead of chat


class Command(NamedTuple):
    """How to start one engine process. It prints one JSON ready line on stdout (see runtime/process.py)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]  # on top of the parent's environment


class Probe(NamedTuple):
    """A small real inference: a replica is ready once this answers 200."""

    path: str
    body: bytes


class Engine(Protocol):
    """How to run a model on our own machine. One module per engine in penstock.engines."""

    name: str
    codec: str  # registry name of the outbound codec its server speaks
    quirks: Quirks
    count_prompt: CountPrompt | None

    def operations(self, pool: Pool) -> frozenset[Operation]: ...

    def command(self, pool: Pool, model_path: str) -> Command: ...

    def probe(self, pool: Pool) -> Probe: ...


class Fleet(Protocol):
    """What the gateway may ask of whoever runs replicas."""

    @property
    def newest_s(self) -> float:
        """When one of all replicas became ready last; monotonic."""
        ...

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]: ...

    async def acquire(self, pool: str, wait_s: float, prefer: str = "") -> ReplicaView:
        """A ready replica of the pool, `prefer` if it is, else the least used; waits while one is on its way.

        Raises ModelLoading when none is ready in time (with progress and eta in the message) and
        UpstreamUnavailable when the pool failed and will not come back by itself.
        """
        ...

    def suspect(self, replica: ReplicaView) -> None:
        """It could not be reached or cut a connection: nobody gets it before a health check."""
        ...

    def release(self, replica: ReplicaView) -> None:
        """Ends what `acquire` began: the replica's in-flight count falls by one."""
        ...
