"""penstock.yaml as frozen structs: what the user wrote, with units read (fields.py), names not yet resolved.

Only what this release does is here. What the design has and this release has not stands in `LATER`: it is
refused by name, never accepted and ignored.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from penstock.auth.policy import DEFAULT_ALGORITHMS, DEFAULT_SESSION_S, Algorithm
from penstock.config.fields import (
    Amount,
    Count,
    Duration,
    EngineName,
    LogLevel,
    Moment,
    Money,
    Name,
    OnFailure,
    Percent,
    PerSecond,
    ProviderKind,
    RateText,
    Secret,
    Size,
    Switch,
    Tag,
    UnitPrice,
)
from penstock.types.deployment import Level, Strategy, Verdict
from penstock.types.identity import Override, PriorityName, RoleName
from penstock.types.ledger import FailurePolicy, Period
from penstock.types.requests import Operation
from penstock.types.webhooks import EventType

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8600
MAX_WORKERS: Final = 256


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of settings."""


class Tls(Group, frozen=True):
    """TLS at our own door; the files are read again when they change."""

    cert: Annotated[str, Meta(description="PEM file: the server's certificate and its chain", min_length=1)]
    key: Annotated[str, Meta(description="PEM file: its key, without a password", min_length=1)]
    client_ca: Annotated[
        str | None,
        Meta(description="PEM file: who vouches for clients' certificates; default: none asked for"),
    ] = None
    client: Annotated[
        Literal["optional", "required"], Meta(description="whether a client must show a certificate")
    ] = "optional"


class Server(Group, frozen=True):
    """The listening address and what concerns every request."""

    host: Annotated[str, Meta(description="address to listen on", min_length=1)] = DEFAULT_HOST
    port: Annotated[int, Meta(description="0 = a free one", ge=0, le=65535)] = DEFAULT_PORT
    workers: Annotated[
        int, Meta(description="processes that answer requests; `penstock up` has one", ge=1, le=MAX_WORKERS)
    ] = 1
    secret: Annotated[
        Secret | None,
        Meta(description="key-hash secret; hosts that serve the same keys share it; default: minted"),
    ] = None
    tls: Annotated[Tls | None, Meta(description="default: plain HTTP")] = None
    body_limit: Annotated[Size, Meta(description="largest request body")] = 16 << 20
    media_hosts: Annotated[
        tuple[str, ...],
        Meta(description="hosts with private addresses from which images and files may be fetched"),
    ] = ()


class Limits(Group, frozen=True):
    """How much within any such time, wherever it begins; a list holds all at once."""

    requests: Annotated[RateText | tuple[RateText, ...], Meta(description="such as 60/min")] = ()
    tokens: Annotated[
        RateText | tuple[RateText, ...],
        Meta(description="input, cached input included, and output; such as 20k/min"),
    ] = ()
    concurrency: Annotated[Count | None, Meta(description="calls under way at once")] = None


Share = Annotated[float, Meta(gt=0, le=1)]


class Budget(Group, frozen=True):
    """How much money, within a time of the calendar (UTC), or within any so many days."""

    usd: Annotated[Money, Meta(description="US dollars, exactly")]
    period: Annotated[Period, Meta(description="from midnight, Monday, the first; ever")] = "month"
    rolling: Annotated[
        Duration | None, Meta(description="instead of a period: within any so long a time")
    ] = None
    models: Annotated[tuple[str, ...], Meta(description="of these public names only; default: of all")] = ()
    alerts: Annotated[tuple[Share, ...], Meta(description="shares of it whose use is told to webhooks")] = (
        0.8,
        1.0,
    )


class Provider(Group, frozen=True):
    """A remote wire dialect and credentials."""

    kind: Annotated[ProviderKind, Meta(description="which vendor or dialect; the table below")]
    base_url: Annotated[str | None, Meta(description="default: the vendor's own")] = None
    api_key: Annotated[Secret | None, Meta(description="sent in the header that the vendor wants")] = None
    api_keys: Annotated[
        tuple[Secret, ...],
        Meta(description="instead of api_key: several, taken in turn; one that is refused or limited rests"),
    ] = ()
    api_version: Annotated[
        str | None, Meta(description="azure: a dated api-version; anthropic: its version header")
    ] = None
    region: Annotated[str | None, Meta(description="bedrock: the AWS region; vertex: the location")] = None
    project: Annotated[str | None, Meta(description="vertex: the Google Cloud project")] = None
    access_key_id: Annotated[Secret | None, Meta(description="bedrock: AWS credentials")] = None
    secret_access_key: Annotated[Secret | None, Meta(description="bedrock: AWS credentials")] = None
    session_token: Annotated[Secret | None, Meta(description="bedrock: of temporary credentials")] = None
    tenant_id: Annotated[str | None, Meta(description="azure: Entra tenant, instead of api_key")] = None
    client_id: Annotated[str | None, Meta(description="azure: Entra application")] = None
    client_secret: Annotated[Secret | None, Meta(description="azure: its secret")] = None
    service_account: Annotated[
        Secret | None, Meta(description="vertex: the key file's JSON, or its path")
    ] = None
    headers: Annotated[dict[str, Secret], Meta(description="further headers for every request")] = {}
    data_region: Annotated[Tag | None, Meta(description="where it keeps and reads what it is sent")] = None
    data_policy: Annotated[
        tuple[Tag, ...], Meta(description="what it promises of that, in words of your own: no-training")
    ] = ()
    limits: Annotated[Limits, Meta(description="of all its deployments together")] = Limits()
    models: Annotated[
        Literal["*"] | tuple[str, ...],
        Meta(description='names served as `<provider>/<model>` without a deployment; "*" = any'),
    ] = ()


class Replicas(Group, frozen=True):
    """How many instances run. In this release their number is fixed: min equals max."""

    min: Annotated[Count, Meta(description="equals max in this release")] = 1
    max: Annotated[Count, Meta(description="equals min in this release")] = 1


class Parallel(Group, frozen=True):
    """How one instance shares its work."""

    sequences: Annotated[Count | None, Meta(description="answers decoded together")] = None


class Batching(Group, frozen=True):
    """Small embedding and rerank requests that are on their way at the same time are sent as one."""

    window: Annotated[
        Duration, Meta(description="longest wait for company while another request is in flight; at most 1s")
    ] = 0.002
    texts: Annotated[int, Meta(description="most texts in one request", ge=2, le=2048)] = 64
    tokens: Annotated[Amount, Meta(description="most tokens in one request, four bytes each")] = 16_000


class Queue(Group, frozen=True):
    """What may wait for a deployment whose `concurrency` is used up."""

    waiting: Annotated[Count, Meta(description="most requests that wait")] = 1000
    size: Annotated[Size, Meta(description="most bytes of their bodies together")] = 256 << 20
    wait: Annotated[Duration, Meta(description="longest wait; then 503 `queue_timeout`, or a fallback")] = (
        60.0
    )


class Probe(Group, frozen=True):
    """A small request of our own, so that recovery is found without one of a customer's."""

    every: Annotated[
        Duration, Meta(description="after the last answer or probe; at least 1s; each one costs a few tokens")
    ] = 30.0
    timeout: Annotated[Duration, Meta(description="for its answer; at most 30s")] = 10.0


class Deployment(Group, frozen=True):
    """A model on a provider (`provider`) or on this machine (`engine`, or chosen by the model source)."""

    model: Annotated[str, Meta(description="the provider's name for it, or a model source", min_length=1)]
    provider: Annotated[str | None, Meta(description="where it runs; without one: on this machine")] = None
    engine: Annotated[EngineName | None, Meta(description="llamacpp or onnx; default: by the source")] = None
    context: Annotated[Count | None, Meta(description="tokens per conversation (local)")] = None
    parallel: Annotated[Count | Parallel, Meta(description="sequences decoded together (local)")] = Parallel()
    threads: Annotated[Count | None, Meta(description="CPU threads (local); default: the engine's")] = None
    replicas: Annotated[Count | Replicas, Meta(description="instances (local)")] = Replicas()
    operations: Annotated[
        tuple[Operation, ...] | None, Meta(description="what it can do; default: all its kind can")
    ] = None
    data_region: Annotated[Tag | None, Meta(description="default: its provider's")] = None
    data_policy: Annotated[
        tuple[Tag, ...], Meta(description="default: its provider's; on this machine any policy is kept")
    ] = ()
    concurrency: Annotated[
        Count | None,
        Meta(description="answers under way at once; more wait by priority; default: any number"),
    ] = None
    queue: Annotated[Queue, Meta(description="of a deployment with a concurrency")] = Queue()
    limits: Annotated[
        Limits, Meta(description="of what is sent to it; beyond that the next target is asked")
    ] = Limits()
    batching: Annotated[
        Switch | Batching | None,
        Meta(
            description="send small embedding and rerank requests as one; default: on (local), off (remote)"
        ),
    ] = None
    probe: Annotated[
        Switch | Probe, Meta(description="ask it something small while nobody uses it, or it is down")
    ] = False


class Requirements(Group, frozen=True):
    """Which deployments are allowed, by what is said of their data."""

    region: Annotated[tuple[Tag, ...], Meta(description="data_region is one of these")] = ()
    data_policy: Annotated[tuple[Tag, ...], Meta(description="data_policy holds all of these")] = ()


class Target(Group, frozen=True):
    deployment: Annotated[str, Meta(description="its name, or `<provider>/<model>` of a listed model")]
    weight: Annotated[
        float, Meta(description="share of the requests, relative to the others", gt=0, le=1e6)
    ] = 1.0
    tier: Annotated[
        int, Meta(description="asked when no target of a lower tier can answer", ge=1, le=100)
    ] = 1
    when: Annotated[
        Level | None, Meta(description="strategy difficulty: the requests it is for: easy, medium or hard")
    ] = None


class Timeouts(Group, frozen=True):
    """How long each phase of an attempt may take."""

    connect: Annotated[Duration, Meta(description="to the upstream")] = 2.0
    first_token: Annotated[Duration, Meta(description="request sent to first content")] = 120.0
    between_tokens: Annotated[Duration, Meta(description="silence within an answer")] = 60.0
    total: Annotated[Duration, Meta(description="the whole attempt")] = 600.0
    loading: Annotated[Duration, Meta(description="wait for a model that is not ready yet")] = 60.0
    min_rate: Annotated[
        PerSecond | None,
        Meta(
            description="least tokens (events with content) per second over 10 s, once an answer has begun;"
            " default: none"
        ),
    ] = None


class Hedge(Group, frozen=True):
    """A second target is asked beside one that has not begun to answer; the slower one is cancelled."""

    after: Annotated[
        Duration | None, Meta(description="how long the first is waited for; default: as long as 95 % take")
    ] = None
    share: Annotated[float, Meta(description="most of the requests that are asked twice", gt=0, le=0.5)] = (
        0.05
    )


class Thresholds(Group, frozen=True):
    """Scores, from 0 to 1, from which a request is harder."""

    medium: Annotated[float, Meta(description="score from which a request is medium", ge=0, le=1)] = 0.25
    hard: Annotated[
        float,
        Meta(description="score from which it is hard; of two levels the harder one's counts", ge=0, le=1),
    ] = 0.4


class Classifier(Group, frozen=True):
    """An embedding model that tells what a request resembles more."""

    deployment: Annotated[str, Meta(description="its name; builtin:embedding knows English", min_length=1)]
    easy: Annotated[tuple[str, ...], Meta(description="examples of easy requests", min_length=1)]
    hard: Annotated[tuple[str, ...], Meta(description="examples of hard ones", min_length=1)]


class Difficulty(Group, frozen=True):
    """How easy requests are told from hard ones, and which answers are asked for again."""

    thresholds: Thresholds = Thresholds()
    classifier: Annotated[
        Classifier | None, Meta(description="its score and the one of a request's looks count half each")
    ] = None
    escalate: Annotated[
        tuple[Verdict, ...],
        Meta(
            description="what is wrong with an answer that the next harder target is asked for instead:"
            " schema, refusal, logprob"
        ),
    ] = ("schema", "refusal")
    min_logprob: Annotated[
        float,
        Meta(description="logprob: mean of an answer's tokens below which it is unsure, if it has any", le=0),
    ] = -1.5
    escalate_streams: Annotated[
        Switch, Meta(description="hold streams back, too, until they are complete and found good")
    ] = False


class Route(Group, frozen=True):
    """A public model name."""

    targets: Annotated[tuple[Target, ...], Meta(min_length=1)]
    fallbacks: Annotated[
        tuple[str, ...],
        Meta(description="deployments asked, in this order, when no target of any tier can answer"),
    ] = ()
    retries: Annotated[
        int, Meta(ge=0, le=5, description="further attempts where all were tried and trying again may help")
    ] = 0
    strategy: Annotated[
        Strategy,
        Meta(
            description="how a target is chosen: by weight; the less busy of two taken by weight; by whose"
            " cache holds the beginning of the prompt, and how much waits there; by the price of the answer;"
            " by how fast it has been; by how hard the request looks"
        ),
    ] = "weighted"
    sticky: Annotated[
        Literal["conversation", "key"] | None,
        Meta(description="weighted: every request of a conversation, or of a key, goes to the same target"),
    ] = None
    latency: Annotated[
        Duration | None,
        Meta(description="cheapest: leaves out who has been taking longer to begin, unless all have"),
    ] = None
    requires: Annotated[Requirements, Meta(description="checked of every target and fallback")] = (
        Requirements()
    )
    difficulty: Annotated[
        Difficulty | None, Meta(description="of the strategy of that name; default: as below")
    ] = None
    hedge: Annotated[
        Switch | Hedge, Meta(description="ask a second target when the first is late to begin its answer")
    ] = False
    timeouts: Timeouts = Timeouts()
    limits: Annotated[Limits, Meta(description="of all its calls together")] = Limits()
    strict: Annotated[
        Switch, Meta(description="refuse (400) what the target cannot be told, instead of reporting it")
    ] = False


class Previous(Group, frozen=True):
    """What a key's secret was before it was changed."""

    secret: Annotated[Secret, Meta(description="still taken")]
    until: Annotated[Moment, Meta(description="and until when; a day is the last good one (UTC)")]


class Key(Group, frozen=True):
    """A static virtual key."""

    secret: Annotated[
        Secret | None,
        Meta(description="the bearer token; not needed where a client certificate stands for the key"),
    ] = None
    routes: Annotated[tuple[str, ...] | None, Meta(description="public names it may use; default: all")] = (
        None
    )
    priority: Annotated[
        PriorityName, Meta(description="where its requests stand in the queue of a busy deployment")
    ] = "default"
    requires: Annotated[Requirements, Meta(description="of every deployment that its requests go to")] = (
        Requirements()
    )
    team: Annotated[str | None, Meta(description="whose limits and budgets hold, too")] = None
    limits: Limits = Limits()
    budget: Annotated[Budget | tuple[Budget, ...], Meta(description="a list holds all at once")] = ()
    overrides: Annotated[
        tuple[Override, ...],
        Meta(description="what its requests may set by header: one deployment; a longer timeout"),
    ] = ()
    role: Annotated[
        RoleName,
        Meta(description="operator and above: errors name each attempt; viewer: may not call models"),
    ] = "developer"
    expires: Annotated[
        Moment | None, Meta(description="when it ends; a day is the last good one (UTC); default: never")
    ] = None
    ips: Annotated[
        tuple[str, ...],
        Meta(description="address ranges it may be used from, such as 10.0.0.0/8; default: all"),
    ] = ()
    previous: Annotated[
        Previous | None, Meta(description="the secret before this one, while callers change over")
    ] = None


class Claims(Group, frozen=True):
    """Which claim of a token says what; `a.b` looks into objects."""

    subject: Annotated[str, Meta(description="who it is, for good")] = "sub"
    email: Annotated[str, Meta(description="shown instead of the subject")] = "email"
    team: Annotated[str | None, Meta(description="default: no team")] = None
    role: Annotated[str | None, Meta(description="its values are looked up in `roles`")] = None
    routes: Annotated[str | None, Meta(description="lists the public names it may use; default: all")] = None
    user: Annotated[
        str | None,
        Meta(
            description="the e-mail address or the id of a user in the store; default: no token is a user's"
        ),
    ] = None


class Oidc(Group, frozen=True):
    """An issuer whose tokens (JWT) are taken, and with which people may sign in."""

    issuer: Annotated[str, Meta(description="its URL, exactly as tokens say it in `iss`", min_length=1)]
    audience: Annotated[
        str | tuple[str, ...], Meta(description="what tokens for us say in `aud`; of several one is enough")
    ]
    jwks_url: Annotated[str | None, Meta(description="its keys; default: as its discovery document says")] = (
        None
    )
    algorithms: Annotated[tuple[Algorithm, ...], Meta(description="of signatures", min_length=1)] = (
        DEFAULT_ALGORITHMS
    )
    leeway: Annotated[Duration, Meta(description="how far clocks may differ")] = 60.0
    claims: Claims = Claims()
    roles: Annotated[dict[str, RoleName], Meta(description="value of the role claim: the role it gives")] = {}
    default_role: Annotated[
        RoleName | None,
        Meta(
            description="of who has none of `roles`; default: developer, and nobody where there are `roles`"
        ),
    ] = None
    teams: Annotated[
        dict[str, str], Meta(description="value of the team claim: the team; default: the value is the team")
    ] = {}
    default_team: Annotated[str | None, Meta(description="of who has none of them; default: no team")] = None
    limits: Annotated[Limits, Meta(description="of each caller")] = Limits()
    budget: Annotated[
        Budget | tuple[Budget, ...], Meta(description="of each caller; a list holds all at once")
    ] = ()
    routes: Annotated[tuple[str, ...] | None, Meta(description="public names they may use; default: all")] = (
        None
    )
    require: Annotated[
        dict[str, str | tuple[str, ...]], Meta(description="claim: a value it must have, or one of several")
    ] = {}
    insecure: Annotated[Switch, Meta(description="take keys over http from another host, too")] = False
    client_id: Annotated[str | None, Meta(description="lets people sign in; default: tokens only")] = None
    client_secret: Annotated[Secret | None, Meta(description="of that client; none for a public one")] = None
    scopes: Annotated[tuple[str, ...], Meta(description="asked for at a sign-in")] = (
        "openid",
        "email",
        "profile",
    )


class ClientCertificates(Group, frozen=True):
    """Certificates that stand for keys, verified by `server.tls.client_ca` or by a trusted proxy."""

    header: Annotated[str | None, Meta(description="in which trusted proxies pass the certificate on")] = None
    map: Annotated[
        dict[str, str],
        Meta(
            description="sha256:, uri:, dns:, email:, subject: or cn: and what it says there -> name of a key"
        ),
    ] = {}


class Identity(Group, frozen=True):
    """Who may call besides those with keys, and from where."""

    oidc: dict[Name, Oidc] = {}
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="address ranges whose X-Forwarded-For and certificate header are believed"),
    ] = ()
    client_certificates: ClientCertificates = ClientCertificates()
    public_url: Annotated[
        str | None, Meta(description="where browsers find us, for sign-ins; default: where they asked")
    ] = None
    session: Annotated[Duration, Meta(description="how long a sign-in lasts")] = DEFAULT_SESSION_S


class Rates(Group, frozen=True):
    """What a token of each kind costs; unknown where it is not said."""

    input: Annotated[UnitPrice | None, Meta(description="of the prompt")] = None
    output: Annotated[UnitPrice | None, Meta(description="of the answer")] = None
    cached: Annotated[UnitPrice | None, Meta(description="read from a prompt cache; default: as input")] = (
        None
    )
    cache_write: Annotated[UnitPrice | None, Meta(description="written to one; default: as input")] = None
    cache_write_1h: Annotated[
        UnitPrice | None, Meta(description="written to one that keeps it an hour; default: as input")
    ] = None
    reasoning_output: Annotated[UnitPrice | None, Meta(description="default: as output")] = None
    audio_input: Annotated[UnitPrice | None, Meta(description="heard")] = None
    audio_output: Annotated[UnitPrice | None, Meta(description="spoken")] = None
    image_input: Annotated[UnitPrice | None, Meta(description="seen; default: as input")] = None
    image_output: Annotated[UnitPrice | None, Meta(description="drawn; default: as output")] = None


class Tier(Rates, frozen=True, kw_only=True):
    """Of a whole request whose prompt is longer; what it does not say is as below it."""

    above_input_tokens: Annotated[Amount, Meta(description="tokens of the prompt")]


class Price(Rates, frozen=True):
    """Of a deployment, of `<provider>/<model>`, `<kind>/<model>` or `<provider>/*`; `free` = nothing."""

    query: Annotated[UnitPrice | None, Meta(description="of a rerank model: one search")] = None
    image: Annotated[
        UnitPrice | None,
        Meta(description="of one image drawn, beside `image_output`; default: by its tokens alone"),
    ] = None
    tiers: Annotated[tuple[Tier, ...], Meta(description="prices of long prompts")] = ()


class Prices(Group, frozen=True):
    """What calls cost, where the table of models does not know it, or knows it differently."""

    unknown: Annotated[
        Literal["warn", "refuse"],
        Meta(description="calls of unknown price: answer and warn, or refuse (403 `price_unknown`)"),
    ] = "warn"
    models: dict[str, Literal["free"] | Price] = {}


class Team(Group, frozen=True):
    """Keys that share limits and budgets."""

    limits: Annotated[Limits, Meta(description="of all its keys together")] = Limits()
    budget: Annotated[
        Budget | tuple[Budget, ...], Meta(description="of all its keys together; a list holds all at once")
    ] = ()
    markup: Annotated[
        Percent,
        Meta(description="percent that statements add to its costs; below 0 it is a discount"),
    ] = 0
    allowance: Annotated[Money, Meta(description="US dollars of each month's statement that are free")] = 0


class LimitStore(Group, frozen=True):
    """Where limits and budgets are counted."""

    store: Annotated[
        str,
        Meta(
            description="memory: in this process; sql: in the database of `store`; or redis://host:6379/0, or"
            " redis+sentinel://host1,host2/master"
        ),
    ] = "memory"
    on_store_failure: Annotated[
        FailurePolicy,
        Meta(description="while the store is down: let all pass, none, or a share for each of `processes`"),
    ] = "local-share"
    processes: Annotated[
        Count, Meta(description="gateways that share the store, the workers of each counted as one")
    ] = 1


class Telemetry(Group, frozen=True):
    log_level: Annotated[LogLevel, Meta(description="least important line written")] = "info"


class StoreUsage(Group, frozen=True):
    """What is kept of every call."""

    keep: Annotated[Duration, Meta(description="single calls, by whole days")] = 90 * 86400.0
    keep_sums: Annotated[
        Duration,
        Meta(description="what they come to by hour and day, by whole months; at least as long as the calls"),
    ] = 366 * 86400.0
    on_failure: Annotated[
        OnFailure,
        Meta(
            description="while calls cannot be written, beyond what waits in memory: their rows are dropped"
            " and counted, or no call is taken"
        ),
    ] = "drop-and-count"


class Store(Group, frozen=True):
    """Where keys, teams and routes made at run time are kept, and usage."""

    url: Annotated[
        Secret | None,
        Meta(
            description="sqlite:///path or postgresql://user:password@host/database; default: penstock.db in"
            " the data folder"
        ),
    ] = None
    migrate: Annotated[
        Switch,
        Meta(description="change a PostgreSQL schema at start; off: `penstock store migrate` does it"),
    ] = False
    usage: StoreUsage = StoreUsage()


class Webhook(Group, frozen=True):
    """Where events are sent, by POST."""

    url: Annotated[str, Meta(description="https://..., or http:// within your own network")]
    secret: Annotated[Secret | None, Meta(description="signs what is sent, as Standard Webhooks has it")] = (
        None
    )
    events: Annotated[tuple[EventType, ...], Meta(description="of these types only; default: of all")] = ()
    team: Annotated[str | None, Meta(description="only what concerns this team")] = None


class Settings(Group, frozen=True):
    """penstock.yaml"""

    server: Server = Server()
    providers: dict[Name, Provider] = {}
    deployments: dict[Name, Deployment] = {}
    routes: dict[Name, Route] = {}
    keys: dict[Name, Key] = {}
    prices: Prices = Prices()
    teams: dict[Name, Team] = {}
    webhooks: dict[Name, Webhook] = {}
    limits: LimitStore = LimitStore()
    identity: Identity = Identity()
    builtin: Annotated[Switch, Meta(description="the three builtin: models, beside the above")] = True
    store: Store = Store()
    telemetry: Telemetry = Telemetry()


# Settings of the design that this release lacks: path (a * stands for any name or index) -> what it would do.
LATER: Final[dict[str, str]] = {
    "deployments.*.quantization": "quantization of GPU engines; a GGUF source names its own",
    "deployments.*.parallel.tensor": "tensor parallelism of GPU engines",
    "deployments.*.parallel.pipeline": "pipeline parallelism of GPU engines",
    "deployments.*.parallel.expert": "expert parallelism of GPU engines",
    "deployments.*.replicas.idle_unload": "unloading idle models",
    "routes.*.guardrails": "guardrails",
    "routes.*.cache": "response caches",
    "routes.*.rollout": "rollouts",
    "guardrails": "guardrails",
    "telemetry.log_bodies": "logging of bodies (this release never logs them)",
    "telemetry.audit_retention": "the audit log",
    "telemetry.otlp": "OpenTelemetry export",
}

# Likewise for values.
LATER_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "deployments.*.engine": ("vllm", "sglang", "tgi", "trtllm", "tei", "infinity", "ollama", "deepspeed"),
}
