"""Settings -> Snapshot: a pure function. Names are resolved, credentials placed, keys hashed.

compile_settings(settings, secret=...)     the snapshot, or ConfigError with every problem
compiled_price(written)                    one of `prices.models`
problems(settings)                         the same checks alone

written                     becomes
--------------------------  ------------------------------------------------------------------------
provider                    Remote; with `models: [a]` also a route `<provider>/a`
deployment with provider    a Deployment on that Remote, and a route of its name
deployment without          a Pool and a Deployment on it, and a route of its name
route                       a Route; one that bears a deployment's name takes its place
key                         a hash in `keys`; a second one for its previous secret
identity                    a Policy: issuers, proxies, certificates
(builtin: on)               builtin:chat, builtin:embedding, builtin:rerank
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from penstock.config import identity, schema
from penstock.config.claims import Claims, budgets_of, claims_of, claims_of_teams, limit_problems
from penstock.config.errors import ConfigError, Problem
from penstock.config.schema import Parallel, Replicas, Settings
from penstock.config.snapshot import ModelRow, Remote, Snapshot, is_priced, key_hash
from penstock.engines import ENGINES
from penstock.lib.http1 import Origin
from penstock.lib.registry import hint
from penstock.models import catalogue, parse_source, prices
from penstock.models.sources import HubSource, NamedSource, PathSource
from penstock.providers import CODECS, CONNECTORS
from penstock.providers.profiles import PROFILES
from penstock.routing.route import is_allowed, narrowed, route_of
from penstock.types.deployment import (
    LEVELS,
    Batching,
    Classifier,
    Connection,
    Credentials,
    Deployment,
    Difficulty,
    Engine,
    Hedge,
    Labels,
    Place,
    Pool,
    ProbePlan,
    QueuePlan,
    ReplicaView,
    Route,
    Target,
    Timeouts,
)
from penstock.types.errors import PenstockError
from penstock.types.identity import Requirements, Terms, VirtualKey
from penstock.types.ledger import FailurePolicy
from penstock.types.money import FREE, Price, Tier, versioned
from penstock.types.requests import Operation
from penstock.types.store import is_store_url
from penstock.types.webhooks import Hook

BUILTIN_CHAT: Final = "builtin:chat"
BUILTIN_EMBEDDING: Final = "builtin:embedding"
BUILTIN_RERANK: Final = "builtin:rerank"
BUILTINS: Final[dict[str, str]] = {
    BUILTIN_CHAT: "A demonstration model of about 5M parameters, trained by the project: it shows that the "
    "platform works, and knows little else.",
    BUILTIN_EMBEDDING: "all-MiniLM-L6-v2: English sentence vectors, 384 dimensions, inputs up to 256 tokens.",
    BUILTIN_RERANK: "Ranks by cosine similarity of builtin:embedding's sentence vectors; "
    "not a cross-encoder.",
}
BUILTIN_EMBEDDING_CONTEXT: Final = 256
MINTED_KEY: Final = "minted"
OPERATIONS: Final[tuple[Operation, ...]] = (
    "chat",
    "completion",
    "embedding",
    "rerank",
    "classification",
    "moderation",
)

_TAG: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_OUR_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"}
)
_VENDORS: Final = {"openai-responses": "openai"}  # kinds whose models are another's in the table of models
_LOCAL_FIELDS: Final = ("engine", "context", "parallel", "threads", "replicas")
_BATCHED: Final[frozenset[Operation]] = frozenset({"embedding", "rerank"})
_LONGEST_WINDOW_S: Final = 1.0
_SHORTEST_PROBES_S: Final = 1.0
_LONGEST_PROBE_S: Final = 30.0  # a breaker waits no longer for one (routing.breaker.PROBE_S)
_BY_REQUEST: Final = ("weighted", "difficulty")  # strategies that ask nothing of how the targets are doing
_CLASSIFIED_WITHIN_S: Final = 10.0  # a request waits for far less (gateway/classifier.py)
_AS_INPUT: Final = (
    "cached",
    "cache_write",
    "cache_write_1h",
)  # kinds of tokens: no discount but what is said
_KINDS: Final[dict[str, frozenset[Operation]]] = {
    "chat": frozenset({"chat", "completion"}),
    "embedding": frozenset({"embedding"}),
    "rerank": frozenset({"rerank"}),
}


class Model(NamedTuple):
    """What can be said of a model source without fetching it. `kind`, where the catalogue knows it."""

    engine: str
    is_certain: bool  # False: the source does not show its format, so the user's `engine` is believed
    kind: str | None = None
    context: int | None = None


def compile_settings(
    settings: Settings,
    *,
    secret: bytes,
    adopted: Mapping[str, schema.Provider] | None = None,
    minted_key: str | None = None,
    created: int = 0,
    table: prices.Table | None = None,
) -> Snapshot:
    """The snapshot. Raises ConfigError with everything that is wrong.

    secret: hashes the keys; `server.secret` wins over it.
    adopted: providers found in the environment; the file's own names win.
    minted_key: the key that `up` made for itself; it may use every route.
    created: Unix seconds, shown as the age of every model.
    table: the user's own table of models; it goes over the builtin one.
    """
    providers = {**(adopted or {}), **settings.providers}
    settings = msgspec.structs.replace(settings, providers=providers)
    if found := problems(settings, has_minted_key=minted_key is not None):
        raise ConfigError(found)
    hash_key = hashlib.blake2b((settings.server.secret or "").encode() or secret, digest_size=32).digest()
    own = {name: compiled_price(written) for name, written in settings.prices.models.items()}
    on_failure = settings.limits.on_store_failure
    remotes = {
        name: msgspec.structs.replace(
            _remote(name, provider, table),
            own=own,
            claims=claims_of("provider", name, provider.limits, on_failure=on_failure).always,
        )
        for name, provider in providers.items()
    }
    pools: dict[str, Pool] = {}
    deployments: dict[str, Deployment] = {}
    for local in _local(settings):
        pools[local.pool.name] = local.pool
        deployments[local.deployment.name] = local.deployment
    for name, written in settings.deployments.items():
        if written.provider is not None:
            operations = None if written.operations is None else frozenset(written.operations)
            made = remotes[written.provider].deployment(name, written.model, operations)
            deployments[name] = msgspec.structs.replace(
                made,
                batching=_batching(written, is_local=False),
                place=_place(written, providers[written.provider]),
            )
    for name, provider in providers.items():
        for model in provider.models if provider.models != "*" else ():
            deployments.setdefault(f"{name}/{model}", remotes[name].deployment(f"{name}/{model}", model))
    if settings.builtin:
        for local in _builtin():
            pools.setdefault(local.pool.name, local.pool)
            deployments[local.deployment.name] = local.deployment
    for name in own.keys() & deployments.keys():
        deployments[name] = msgspec.structs.replace(deployments[name], price=own[name])
    for name, written in settings.deployments.items():
        if written.concurrency is not None:
            queue = written.queue
            deployments[name] = msgspec.structs.replace(
                deployments[name],
                concurrency=written.concurrency,
                queue=QueuePlan(queue.waiting, queue.size, queue.wait),
            )
        deployments[name] = msgspec.structs.replace(deployments[name], probe=_probe(written))
        claims = claims_of("deployment", name, written.limits, on_failure=on_failure).always
        if claims:
            made = deployments[name]
            deployments[name] = msgspec.structs.replace(made, claims=claims + made.claims)
    for name, deployment in deployments.items():
        if deployment.pool is not None and pools[deployment.pool].replicas > 1:
            deployments[name] = msgspec.structs.replace(deployment, has_parts=True, is_balanced=True)
    for name in {
        target
        for written in settings.routes.values()
        if written.strategy not in _BY_REQUEST
        for target in (*(one.deployment for one in written.targets), *written.fallbacks)
    }:
        deployments[name] = msgspec.structs.replace(deployments[name], is_balanced=True)
    routes = {
        name: route_of(name, (Target(deployment, Labels(name, name)),))
        for name, deployment in deployments.items()
    }
    routes |= {
        name: _route(name, written, deployments, on_failure=on_failure)
        for name, written in settings.routes.items()
    }
    unpriced = frozenset(name for name, deployment in deployments.items() if not is_priced(deployment))
    refuses = settings.prices.unknown == "refuse"
    every = frozenset(routes)
    if refuses:
        deployments = {name: one for name, one in deployments.items() if name not in unpriced}
        left = {name: narrowed(route, is_priced) for name, route in routes.items()}
        routes = {name: route for name, route in left.items() if route is not None}
    teams, on_failure = claims_of_teams(settings), settings.limits.on_store_failure
    keys = {
        name: _key(name, written, teams, on_failure=on_failure) for name, written in settings.keys.items()
    }
    return Snapshot(
        routes=routes,
        remotes=remotes,
        pools=pools,
        keys=dict(_hashes(settings, keys, minted_key, hash_key)),
        defaults=_defaults(deployments),
        body_limit_bytes=settings.server.body_limit,
        limits=settings.limits,
        hooks=tuple(_hook(name, written) for name, written in settings.webhooks.items()),
        rows=tuple(_row(route, created) for route in routes.values()),
        hash_key=hash_key,
        media_hosts=frozenset(host.lower() for host in settings.server.media_hosts),
        unpriced=unpriced,
        refuses_unpriced=refuses,
        refused=every - routes.keys(),
        identity=identity.policy_of(settings, keys, teams),
        tls=identity.tls_files(settings),
    )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def adopt(env: Mapping[str, str], *, ollama: bool = False) -> dict[str, tuple[str, schema.Provider]]:
    """Providers that the environment offers: name -> (what it was found by, provider)."""
    found: dict[str, tuple[str, schema.Provider]] = {}
    for kind, profile in PROFILES.items():
        variable = next((name for name in profile.env if env.get(name, "").strip()), None)
        if variable is not None:
            provider = schema.Provider(kind=kind, api_key=env[variable].strip(), models="*")
            found[kind] = (variable, provider)
    if ollama:
        address = PROFILES["ollama"].base_url or ""
        found["ollama"] = (f"running at {address}", schema.Provider(kind="ollama", models="*"))
    return found


# --- what each part becomes ---


class _Made(NamedTuple):
    pool: Pool
    deployment: Deployment


def compiled_price(written: Literal["free"] | schema.Price) -> Price:
    if written == "free":
        return FREE
    unsaid = [kind for kind in _AS_INPUT if getattr(written, kind) is None]

    def said(rates: schema.Rates) -> dict[str, Any]:
        kinds = msgspec.structs.asdict(rates)
        return kinds | {kind: kinds["input"] for kind in unsaid if kinds[kind] is None}

    tiers = tuple(Tier(**said(tier)) for tier in written.tiers)
    return versioned(Price(**{**said(written), "tiers": tiers}), "config")


def _remote(name: str, written: schema.Provider, table: prices.Table | None = None) -> Remote:
    profile = PROFILES[written.kind]
    owner = profile.title if profile.base_url is not None and written.base_url is None else name
    said = {field: getattr(written, field) for field in Credentials.__struct_fields__}
    connect = CONNECTORS.load(profile.codec)
    own = {key.lower(): value for key, value in written.headers.items()}
    views: list[ReplicaView] = []
    for number, api_key in enumerate(written.api_keys or (written.api_key,), 1):
        made: Connection = connect(profile, Credentials(**{**said, "api_key": api_key}), owner)
        key_name = f"{name}#{number}" if written.api_keys else name
        headers = tuple((made.headers | own).items())
        views.append(ReplicaView(key_name, "ready", made.address, headers, signer=made.signer))
    vendor = _VENDORS.get(written.kind, written.kind)
    known = prices.builtin_of(vendor)  # read now: a route made by a request must not wait for a file
    if table:
        known = known | {key: facts for key, facts in table.items() if key[0] == vendor}
    is_open = written.models == "*"
    return Remote(
        name,
        made.codec,
        views[0],
        owner,
        is_open=is_open,
        vendor=vendor if known else None,
        spares=tuple(views[1:]),
        place=_place(written, written),
        kind=vendor,
        table=known if table else None,
    )


def _local(settings: Settings) -> Iterator[_Made]:
    for name, written in settings.deployments.items():
        if written.provider is None:
            yield _local_one(name, written)


def _local_one(name: str, written: schema.Deployment) -> _Made:
    model = describe(written.model)
    engine = load_engine(written.engine or model.engine)
    wanted = frozenset(written.operations or ())
    pool = Pool(
        name=name,
        engine=engine.name,
        source=written.model,
        replicas=_replicas(written).min,
        context=written.context,
        parallel=_parallel(written).sequences,
        threads=written.threads,
        embedding=engine.name == "llamacpp" and (model.kind == "embedding" or wanted == _KINDS["embedding"]),
    )
    operations = wanted or _possible(engine, pool, model)
    context = written.context or (model.context if engine.name == "onnx" else None)
    description = f"{_public(written.model)} on {engine.name}"
    deployment = _deployment(name, pool, engine, operations, context=context, description=description)
    batching = _batching(written, is_local=True) if operations & _BATCHED else None
    return _Made(pool, msgspec.structs.replace(deployment, batching=batching, place=_place(written, None)))


def _builtin() -> Iterator[_Made]:
    chat = Pool(name=BUILTIN_CHAT, engine="llamacpp", source=BUILTIN_CHAT)
    encoder = Pool(name=BUILTIN_EMBEDDING, engine="onnx", source=BUILTIN_EMBEDDING)
    rows: tuple[tuple[str, Pool, frozenset[Operation], int | None], ...] = (
        (BUILTIN_CHAT, chat, frozenset({"chat", "completion"}), None),
        (BUILTIN_EMBEDDING, encoder, frozenset({"embedding"}), BUILTIN_EMBEDDING_CONTEXT),
        (BUILTIN_RERANK, encoder, frozenset({"rerank"}), BUILTIN_EMBEDDING_CONTEXT),
    )
    for name, pool, operations, context in rows:
        engine = load_engine(pool.engine)
        deployment = _deployment(name, pool, engine, operations, context=context, description=BUILTINS[name])
        batching = Batching() if operations & _BATCHED else None
        place = Place(is_own=True)
        yield _Made(pool, msgspec.structs.replace(deployment, batching=batching, place=place))


def _deployment(
    name: str,
    pool: Pool,
    engine: Engine,
    operations: frozenset[Operation],
    *,
    context: int | None,
    description: str,
) -> Deployment:
    return Deployment(
        name=name,
        model=pool.name,
        codec=CODECS.load(engine.codec)(engine.quirks, name="The engine"),
        operations=operations,
        pool=pool.name,
        max_context=context,
        price=FREE,
        count_prompt=engine.count_prompt,
        description=description,
    )


def _batching(written: schema.Deployment, *, is_local: bool) -> Batching | None:
    """Unasked only on this machine: what a vendor makes of larger requests (limits, bills) is its affair."""
    match written.batching:
        case schema.Batching(window=window_s, texts=texts, tokens=tokens):
            return Batching(window_s, texts, tokens)
        case None:
            return Batching() if is_local else None
        case is_on:
            return Batching() if is_on else None


def _route(
    name: str, written: schema.Route, deployments: Mapping[str, Deployment], *, on_failure: FailurePolicy
) -> Route:
    times = written.timeouts
    first, *tiers = [
        [
            Target(
                deployments[target.deployment],
                Labels(name, target.deployment),
                target.weight,
                target.when,
            )
            for target in written.targets
            if target.tier == tier
        ]
        for tier in sorted({target.tier for target in written.targets})
    ]
    tiers += [[Target(deployments[other], Labels(name, other))] for other in written.fallbacks]
    return route_of(
        name,
        first,
        tiers,
        timeouts=Timeouts(
            connect_s=times.connect,
            first_token_s=times.first_token,
            between_tokens_s=times.between_tokens,
            total_s=times.total,
            loading_s=times.loading,
            min_rate=times.min_rate,
        ),
        strict=written.strict,
        strategy=written.strategy,
        hedge=_hedge(written.hedge),
        sticky=written.sticky,
        latency_s=written.latency,
        difficulty=_difficulty(name, written, deployments),
        retries=written.retries,
        claims=claims_of("route", name, written.limits, on_failure=on_failure).always,
    )


def _hedge(written: bool | schema.Hedge) -> Hedge | None:
    if isinstance(written, schema.Hedge):
        return Hedge(written.after, written.share)
    return Hedge() if written else None


def _probe(written: schema.Deployment) -> ProbePlan | None:
    match written.probe:
        case schema.Probe(every=every_s, timeout=timeout_s):
            return ProbePlan(every_s, timeout_s)
        case is_on:
            return ProbePlan() if is_on else None


def _difficulty(name: str, written: schema.Route, deployments: Mapping[str, Deployment]) -> Difficulty | None:
    if written.strategy != "difficulty":
        return None
    said = written.difficulty or schema.Difficulty()
    classifier = None
    if said.classifier is not None:
        by = said.classifier.deployment
        target = Target(deployments[by], Labels(name, by))
        timeouts = Timeouts(total_s=_CLASSIFIED_WITHIN_S)
        route = route_of(by, (target,), timeouts=timeouts)
        classifier = Classifier(route, said.classifier.easy, said.classifier.hard)
    first = min(target.tier for target in written.targets)
    there = {target.when for target in written.targets if target.tier == first}
    return Difficulty(
        said.thresholds.medium,
        said.thresholds.hard,
        tuple(level for level in LEVELS if level in there),
        frozenset(said.escalate),
        said.min_logprob,
        holds_streams=said.escalate_streams,
        classifier=classifier,
    )


def _hook(name: str, written: schema.Webhook) -> Hook:
    return Hook(name, written.url, written.secret or "", frozenset(written.events), written.team)


def _key(
    name: str, written: schema.Key, teams: Mapping[str, Claims], *, on_failure: FailurePolicy
) -> VirtualKey:
    claims = claims_of("key", name, written.limits, budgets_of(written), on_failure=on_failure)
    if written.team is not None:
        claims += teams[written.team]
    terms = Terms(written.expires, identity.networks(written.ips))
    return VirtualKey(
        name,
        None if written.routes is None else frozenset(written.routes),
        written.priority,
        _requirements(written.requires),
        written.team,
        claims.always,
        claims.by_model,
        frozenset(written.overrides),
        written.role,
        terms=None if terms == Terms() else terms,
    )


def _hashes(
    settings: Settings, keys: Mapping[str, VirtualKey], minted: str | None, hash_key: bytes
) -> Iterator[tuple[bytes, VirtualKey]]:
    if minted is not None:
        yield key_hash(minted.encode(), hash_key), VirtualKey(MINTED_KEY, role="owner")
    for name, written in settings.keys.items():
        if written.secret is not None:
            yield key_hash(written.secret.encode(), hash_key), keys[name]
        if (old := written.previous) is not None:
            ends_s = old.until if written.expires is None else min(old.until, written.expires)
            terms = Terms(ends_s, identity.networks(written.ips))
            yield key_hash(old.secret.encode(), hash_key), msgspec.structs.replace(keys[name], terms=terms)


def _requirements(written: schema.Requirements) -> Requirements | None:
    if written == schema.Requirements():
        return None
    return Requirements(frozenset(written.region), frozenset(written.data_policy))


def _defaults(deployments: Mapping[str, Deployment]) -> dict[Operation, str]:
    """The builtin of that kind, or the only deployment that can do it."""
    found: dict[Operation, str] = {}
    for operation in OPERATIONS:
        able = [name for name, deployment in deployments.items() if operation in deployment.operations]
        builtin = [name for name in able if name in BUILTINS]
        if builtin or len(able) == 1:
            found[operation] = (builtin or able)[0]
    return found


def _row(route: Route, created: int) -> ModelRow:
    parts = [target.deployment for target in route.targets]
    operations = frozenset.intersection(*(part.operations for part in parts))
    contexts = [part.max_context for part in parts if part.max_context is not None]
    outputs = [part.max_output for part in parts if part.max_output is not None]
    only = parts[0] if len(parts) == 1 else None
    return ModelRow(
        route.name,
        created,
        only.owner if only else "penstock",
        {
            "description": only.description
            if only
            else "shared by " + ", ".join(part.name for part in parts),
            "operations": [one for one in OPERATIONS if one in operations],
            "context": min(contexts) if contexts else None,
            "max_output": min(outputs) if outputs else None,
        },
    )


# --- models and engines ---


def load_engine(name: str) -> Engine:
    engine: Engine = ENGINES.load(name)
    return engine


def describe(model: str) -> Model:
    """What engine a model source needs. Raises PenstockError when it is no model source."""
    if model == BUILTIN_CHAT:
        return Model("llamacpp", is_certain=True, kind="chat")
    if model == BUILTIN_EMBEDDING:
        return Model("onnx", is_certain=True, kind="embedding", context=BUILTIN_EMBEDDING_CONTEXT)
    source = parse_source(model)
    match source:
        case NamedSource():
            entry = catalogue.find(source.name)
            return Model(entry.engine, is_certain=True, kind=entry.kind, context=entry.context)
        case HubSource():
            is_file = source.file is not None and source.file.lower().endswith(".gguf")
            if is_file or source.quantization is not None:
                return Model("llamacpp", is_certain=True)
            return Model("llamacpp" if "gguf" in source.repo.lower() else "onnx", is_certain=False)
        case PathSource():
            if source.path.suffix.lower() == ".gguf":
                return Model("llamacpp", is_certain=True)
    return Model("onnx", is_certain=False)


def _public(model: str) -> str:
    """A source as clients may see it: of a path on this machine, the last name only."""
    source = parse_source(model) if model not in BUILTINS else None
    return f"file:{source.path.name}" if isinstance(source, PathSource) else model


def _possible(engine: Engine, pool: Pool, model: Model) -> frozenset[Operation]:
    able = engine.operations(pool)
    return able & _KINDS[model.kind] if model.kind is not None else able


def _replicas(written: schema.Deployment) -> Replicas:
    count = written.replicas
    return Replicas(count, count) if isinstance(count, int) else count


def _parallel(written: schema.Deployment) -> Parallel:
    return Parallel(written.parallel) if isinstance(written.parallel, int) else written.parallel


# --- what may be wrong ---


def problems(
    settings: Settings,
    *,
    also_named: Mapping[str, Iterable[str]] | None = None,
    has_minted_key: bool = False,
) -> list[Problem]:
    """Everything that stops these settings from running.

    also_named: section -> names written in the file whose settings were unusable; they do not dangle.
    """
    extra = {section: set(names) for section, names in (also_named or {}).items()}
    no_such_route = _route_check(settings, extra)
    found = [
        *_provider_problems(settings),
        *_deployment_problems(settings, extra.get("providers", set())),
        *_route_problems(settings, extra.get("deployments", set())),
        *_key_problems(settings, no_such_route),
        *_tag_problems(settings),
        *_price_problems(settings, extra),
        *_store_problems(settings.store),
        *identity.problems(settings, extra.get("keys", set()), extra.get("teams", set()), no_such_route),
        *_limit_problems(settings, extra.get("teams", set())),
        *_webhook_problems(settings, extra.get("teams", set())),
    ]
    has_keys = bool(settings.keys or settings.identity.oidc or extra.get("keys")) or has_minted_key
    if not is_loopback(settings.server.host) and not has_keys:
        found.append(
            Problem(
                "server.host",
                f"{settings.server.host} can be reached from other machines and no key is configured; "
                "add one under `keys` or an issuer under `identity.oidc`, or listen on 127.0.0.1",
            )
        )
    return found


def _store_problems(written: schema.Store) -> Iterator[Problem]:
    if written.url is not None and not is_store_url(written.url):
        yield Problem(
            "store.url", "is neither sqlite:///path/to/penstock.db nor postgresql://user@host/database"
        )
    if written.usage.keep_sums < written.usage.keep:
        yield Problem(
            "store.usage.keep_sums", "must be at least `keep`: calls are found by way of their sums"
        )


def route_problems(settings: Settings) -> list[Problem]:
    """What is wrong with the routes alone."""
    return [*_route_problems(settings, set()), *_tag_problems(Settings(routes=settings.routes))]


def _provider_problems(settings: Settings) -> Iterator[Problem]:
    for name, written in settings.providers.items():
        path = f"providers.{name}"
        found = list(_one_provider(path, written))
        yield from found
        if not found:
            try:
                _remote(name, written)
            except ValueError as exc:  # the dialect's own demands: a project, a region, a readable key file
                yield Problem(path, str(exc))


def _one_provider(path: str, written: schema.Provider) -> Iterator[Problem]:
    profile = PROFILES[written.kind]
    if written.base_url is None and profile.base_url is None:
        yield Problem(path, f"base_url is missing: {written.kind} is {profile.title}")
    elif written.base_url is not None:
        try:
            Origin.parse(written.base_url)
        except ValueError as exc:
            yield Problem(f"{path}.base_url", str(exc))
    has_key = written.api_key is not None or bool(written.api_keys)
    has_credentials = has_key or "authorization" in map(str.lower, written.headers)
    if profile.env and written.base_url is None and not has_credentials:
        yield Problem(path, f'api_key is missing; write api_key: "${{{profile.env[0]}}}"')
    if written.api_key is not None and written.api_keys:
        yield Problem(f"{path}.api_keys", "stands beside api_key; write one of the two")
    keys = {f"{path}.api_keys[{number}]": key for number, key in enumerate(written.api_keys)}
    if written.api_key is not None:
        keys[f"{path}.api_key"] = written.api_key
    for where, key in keys.items():
        if not _is_header_value(key):
            yield Problem(where, "holds characters that cannot be sent in a header")
    if len(set(written.api_keys)) < len(written.api_keys):
        yield Problem(f"{path}.api_keys", "holds the same key twice")
    for header, value in written.headers.items():
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _OUR_HEADERS:
            yield Problem(f"{path}.headers.{header}", "is not a header that can be set here")
        elif not _is_header_value(value):
            yield Problem(f"{path}.headers.{header}", "holds characters that cannot be sent in a header")


def _deployment_problems(settings: Settings, also: set[str]) -> Iterator[Problem]:
    defaults = schema.Deployment(model="-")
    known = [*settings.providers, *also]
    for name, written in settings.deployments.items():
        path = f"deployments.{name}"
        if written.operations == ():
            yield Problem(f"{path}.operations", "must not be empty")
        yield from _batching_problems(f"{path}.batching", written)
        yield from _probe_problems(f"{path}.probe", written)
        if written.queue != schema.Queue() and written.concurrency is None:
            yield Problem(f"{path}.queue", "needs `concurrency`: without it nobody waits")
        if written.provider is None:
            yield from _local_problems(path, name, written)
            continue
        if written.provider not in known:
            yield Problem(f"{path}.provider", _no_such("provider", written.provider, known))
        for field in _LOCAL_FIELDS:
            if getattr(written, field) != getattr(defaults, field):
                yield Problem(
                    f"{path}.{field}", "only a model on this machine has it; this one has a provider"
                )


def _batching_problems(path: str, written: schema.Deployment) -> Iterator[Problem]:
    if isinstance(written.batching, schema.Batching) and written.batching.window > _LONGEST_WINDOW_S:
        yield Problem(f"{path}.window", "must be at most 1s: every request in it waits so long")
    if written.batching and written.operations and not _BATCHED & set(written.operations):
        yield Problem(path, f"is for {' and '.join(sorted(_BATCHED))}; this deployment does neither")


def _probe_problems(path: str, written: schema.Deployment) -> Iterator[Problem]:
    if isinstance(written.probe, schema.Probe):
        if written.probe.every < _SHORTEST_PROBES_S:
            yield Problem(f"{path}.every", "must be at least 1s: each probe is a real request")
        if written.probe.timeout > _LONGEST_PROBE_S:
            yield Problem(f"{path}.timeout", "must be at most 30s")


def _local_problems(path: str, name: str, written: schema.Deployment) -> Iterator[Problem]:
    try:
        model = describe(written.model)
    except PenstockError as exc:
        yield Problem(f"{path}.model", exc.message)
        return
    if written.engine is not None and written.engine != model.engine and model.is_certain:
        yield Problem(f"{path}.engine", f"{written.model} runs on {model.engine}, not on {written.engine}")
        return
    replicas = _replicas(written)
    if replicas.min != replicas.max:
        yield Problem(
            f"{path}.replicas",
            "min and max must be equal: scaling is not in this release (planned: autoscaling)",
        )
    if written.batching and written.operations is None:
        made = _local_one(name, written)
        if not made.deployment.operations & _BATCHED:
            yield Problem(f"{path}.batching", f"{written.model} on {made.pool.engine} has nothing to batch")
    if written.operations is not None:
        made = _local_one(name, written)
        able = _possible(load_engine(made.pool.engine), made.pool, model)
        for operation in written.operations:
            if operation not in able:
                yield Problem(
                    f"{path}.operations",
                    f"{written.model} on {made.pool.engine} does not do {operation}; it does "
                    + ", ".join(one for one in OPERATIONS if one in able),
                )


def _may_have_replicas(settings: Settings, name: str) -> bool:
    written = settings.deployments.get(name)
    return written is not None and _replicas(written).max > 1


def _route_problems(settings: Settings, also: set[str]) -> Iterator[Problem]:
    known = _deployment_names(settings) | also
    for name, written in settings.routes.items():
        seen: set[str] = set()
        for index, target in enumerate(written.targets):
            path = f"routes.{name}.targets[{index}].deployment"
            if target.deployment not in known:
                yield Problem(path, _no_such("deployment", target.deployment, sorted(known)))
            elif target.deployment in seen:
                yield Problem(path, f"{target.deployment} is a target twice; add the weights up")
            seen.add(target.deployment)
        only = written.targets[0].deployment if len(seen) == 1 else None
        if written.hedge and only is not None and not _may_have_replicas(settings, only):
            yield Problem(f"routes.{name}.hedge", "needs a second target, or a deployment with replicas")
        if written.sticky is not None and written.strategy != "weighted":
            yield Problem(
                f"routes.{name}.sticky", f"is for the strategy weighted; {written.strategy} chooses by itself"
            )
        if written.latency is not None and written.strategy != "cheapest":
            yield Problem(f"routes.{name}.latency", "is for the strategy cheapest")
        yield from _place_problems(settings, name, written)
        yield from _difficulty_problems(f"routes.{name}", written, settings, known)
        for index, other in enumerate(written.fallbacks):
            path = f"routes.{name}.fallbacks[{index}]"
            if other not in known:
                yield Problem(path, _no_such("deployment", other, sorted(known)))
            elif other in seen:
                yield Problem(path, f"{other} is a target or a fallback already")
            seen.add(other)


def _place_problems(settings: Settings, name: str, written: schema.Route) -> Iterator[Problem]:
    """Targets that a route's own requirements exclude: better found now than by a request."""
    requirements = _requirements(written.requires)
    if requirements is None:
        return
    paths = {target.deployment: f"targets[{at}].deployment" for at, target in enumerate(written.targets)}
    paths |= {other: f"fallbacks[{at}]" for at, other in enumerate(written.fallbacks)}
    if written.difficulty is not None and written.difficulty.classifier is not None:
        paths.setdefault(written.difficulty.classifier.deployment, "difficulty.classifier.deployment")
    for deployment, where in paths.items():
        place = _place_of(settings, deployment)
        if place is not None and not is_allowed(place, requirements):
            kept = ", ".join(sorted(place.data_policy)) or "none"
            yield Problem(
                f"routes.{name}.{where}",
                f"{deployment} is not what `requires` asks for: its data_region is"
                f" {place.region or 'not said'}, its data_policy {kept}",
            )


def _limit_problems(settings: Settings, also: set[str]) -> Iterator[Problem]:
    store = settings.limits.store
    if store not in ("memory", "sql") and not store.startswith(("redis://", "rediss://")):
        yield Problem("limits.store", "is memory, sql, or the URL of a Redis: redis://host:6379/0")
    if settings.limits.processes > 1 and store == "memory":
        yield Problem("limits.processes", "needs a store that they share: sql, or redis://host:6379/0")
    elif counts_apart(settings) and (limited := _limited(settings)):
        yield Problem("server.workers", f"the limits of {limited} {APART}")
    for name, key in settings.keys.items():
        yield from limit_problems(f"keys.{name}", key.limits, budgets_of(key))
        teams = {*settings.teams, *also}
        if key.team is not None and key.team not in teams:
            yield Problem(f"keys.{name}.team", _no_such("team", key.team, sorted(teams)))
    for name, team in settings.teams.items():
        yield from limit_problems(f"teams.{name}", team.limits, budgets_of(team))
    for section, bound in (
        ("providers", settings.providers),
        ("deployments", settings.deployments),
        ("routes", settings.routes),
    ):
        for name, one in bound.items():
            yield from limit_problems(f"{section}.{name}", one.limits)


APART: Final = (
    "would hold for each of the workers alone, which share no memory; say `limits: {store: sql}`, or"
    " redis://host:6379/0"
)


def counts_apart(settings: Settings) -> bool:
    """Whether each worker would have a ledger of its own."""
    return settings.server.workers > 1 and settings.limits.store == "memory"


def _limited(settings: Settings) -> str:
    """The first that has a limit or a budget; empty where nothing has."""
    for section, bound in (
        ("keys", settings.keys),
        ("teams", settings.teams),
        ("identity.oidc", settings.identity.oidc),
    ):
        for name, one in bound.items():
            if one.limits != schema.Limits() or one.budget:
                return f"{section}.{name}"
    for section, limited in (
        ("providers", settings.providers),
        ("deployments", settings.deployments),
        ("routes", settings.routes),
    ):
        for name, owner in limited.items():
            if owner.limits != schema.Limits():
                return f"{section}.{name}"
    return ""


def _webhook_problems(settings: Settings, also: set[str]) -> Iterator[Problem]:
    for name, hook in settings.webhooks.items():
        try:
            parts = urlsplit(hook.url)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one:
            yield Problem(f"webhooks.{name}.url", "is an address such as https://hooks.example.com/penstock")
        teams = {*settings.teams, *also}
        if hook.team is not None and hook.team not in teams:
            yield Problem(f"webhooks.{name}.team", _no_such("team", hook.team, sorted(teams)))


def _tag_problems(settings: Settings) -> Iterator[Problem]:
    groups: list[tuple[str, Sequence[str]]] = []
    for section, named in (("providers", settings.providers), ("deployments", settings.deployments)):
        for name, one in named.items():
            groups.append((f"{section}.{name}.data_region", (one.data_region,) if one.data_region else ()))
            groups.append((f"{section}.{name}.data_policy", one.data_policy))
    for section, bound in (("routes", settings.routes), ("keys", settings.keys)):
        for name, item in bound.items():
            groups.append((f"{section}.{name}.requires.region", item.requires.region))
            groups.append((f"{section}.{name}.requires.data_policy", item.requires.data_policy))
    for path, tags in groups:
        for tag in tags:
            if not _TAG.fullmatch(tag):
                yield Problem(path, f"{tag!r} must be of lower-case letters, digits, and . _ - between them")


def _place_of(settings: Settings, name: str) -> Place | None:
    """None for one that is not there, or not usable: that is said elsewhere."""
    written = settings.deployments.get(name)
    if written is not None:
        provider = settings.providers.get(written.provider) if written.provider else None
        if written.provider is not None and provider is None:
            return None
        return _place(written, provider)
    provider = settings.providers.get(name.partition("/")[0])
    if provider is not None:
        return _place(provider, provider)
    return Place(is_own=True) if name in BUILTINS else None


def _place(written: schema.Deployment | schema.Provider, provider: schema.Provider | None) -> Place:
    region = written.data_region or (provider.data_region if provider else None) or ""
    policy = written.data_policy or (provider.data_policy if provider else ())
    return Place(region, frozenset(policy), is_own=provider is None)


def _difficulty_problems(
    path: str, written: schema.Route, settings: Settings, known: Iterable[str]
) -> Iterator[Problem]:
    levels = {target.when for target in written.targets}
    if written.strategy != "difficulty":
        if written.difficulty is not None:
            yield Problem(f"{path}.difficulty", "needs `strategy: difficulty`")
        if levels != {None}:
            yield Problem(f"{path}.targets", "`when` needs `strategy: difficulty`")
        return
    for index, target in enumerate(written.targets):
        if target.when is None:
            yield Problem(f"{path}.targets[{index}]", "`when` is missing: easy, medium or hard")
        if not _may(settings, target.deployment, "chat"):
            yield Problem(f"{path}.targets[{index}].deployment", f"{target.deployment} does not do chat")
    first = min(target.tier for target in written.targets)
    if None not in levels and len({one.when for one in written.targets if one.tier == first}) == 1:
        yield Problem(f"{path}.targets", "are all of one level; routing by difficulty needs two at least")
    said = written.difficulty or schema.Difficulty()
    if said.thresholds.medium > said.thresholds.hard:
        yield Problem(f"{path}.difficulty.thresholds", "medium must not be above hard")
    if said.classifier is not None:
        yield from _classifier_problems(f"{path}.difficulty.classifier", said.classifier, settings, known)


def _classifier_problems(
    path: str, written: schema.Classifier, settings: Settings, known: Iterable[str]
) -> Iterator[Problem]:
    if written.deployment not in known:
        yield Problem(f"{path}.deployment", _no_such("deployment", written.deployment, sorted(known)))
    elif not _may(settings, written.deployment, "embedding"):
        yield Problem(f"{path}.deployment", f"{written.deployment} does not do embedding")
    for text in sorted({*written.easy} & {*written.hard}):
        yield Problem(path, f"{text!r} is an example of easy and of hard requests")


def _may(settings: Settings, name: str, operation: Operation) -> bool:
    """Whether a deployment may do that, as far as the settings say."""
    if name in BUILTINS:
        return any(
            own.deployment.name == name and operation in own.deployment.operations for own in _builtin()
        )
    written = settings.deployments.get(name)
    if written is None or written.operations:
        return written is None or not written.operations or operation in written.operations
    try:
        if written.provider is None:
            return operation in _local_one(name, written).deployment.operations
        provider = settings.providers.get(written.provider)
        if provider is None or any(_one_provider("", provider)):
            return True
        return operation in _remote(written.provider, provider).codec.operations
    except (PenstockError, ValueError):  # problems of their own
        return True


def _key_problems(settings: Settings, no_such_route: Callable[[str], str]) -> Iterator[Problem]:
    by_secret: dict[str, str] = {}
    for name, written in settings.keys.items():
        path = f"keys.{name}"
        secrets = {f"{path}.secret": written.secret} if written.secret is not None else {}
        if written.previous is not None:
            secrets[f"{path}.previous.secret"] = written.previous.secret
        for where, secret in secrets.items():
            if not re.fullmatch(r"[!-~]+", secret):
                yield Problem(where, "holds a space or a character that cannot be sent in a header")
            elif secret in by_secret:
                yield Problem(where, f"is the same as that of keys.{by_secret[secret]}")
            by_secret.setdefault(secret, name)
        for index, route in enumerate(written.routes or ()):
            if said := no_such_route(route):
                yield Problem(f"{path}.routes[{index}]", said)


def _route_check(settings: Settings, extra: Mapping[str, set[str]]) -> Callable[[str], str]:
    """Says what is wrong with a public name; empty when nothing is."""
    known = _deployment_names(settings) | set(settings.routes)
    known |= extra.get("deployments", set()) | extra.get("routes", set())

    def check(route: str) -> str:
        provider = settings.providers.get(route.partition("/")[0])
        if route in known or (provider is not None and provider.models == "*" and "/" in route):
            return ""
        return _no_such("route or deployment", route, sorted(known))

    return check


def _price_problems(settings: Settings, extra: Mapping[str, set[str]]) -> Iterator[Problem]:
    providers = {*settings.providers, *extra.get("providers", set())}
    known = _deployment_names(settings) | extra.get("deployments", set())
    for name, written in settings.prices.models.items():
        path = f"prices.models.{name}"
        vendor, slash, model = name.partition("/")
        if name not in known and not (slash and model and (vendor in providers or vendor in PROFILES)):
            said = _no_such("deployment", name, sorted(known))
            yield Problem(path, f"{said}; or write `<provider>/<model>`, `<kind>/<model>`")
        elif model == "*" and vendor not in providers:
            yield Problem(path, f"there is no provider {vendor!r}; `*` stands for the models of a provider")
        if isinstance(written, schema.Price) and written == schema.Price():
            yield Problem(path, "says nothing; write `free`, or what it costs")


def _deployment_names(settings: Settings) -> set[str]:
    listed = {
        f"{name}/{model}"
        for name, provider in settings.providers.items()
        if provider.models != "*"
        for model in provider.models
    }
    return {*settings.deployments, *listed, *(BUILTINS if settings.builtin else ())}


def _no_such(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    there = ", ".join(names) if names else "none"
    return f"there is no {what} {name!r}; there are: {there}{hint(name, names)}"


def _is_header_value(value: str) -> bool:
    return re.fullmatch(r"[!-~]([ -~]*[!-~])?", value) is not None
