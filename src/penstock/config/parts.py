"""What each part of the settings becomes: a price, a provider, a deployment, a route, a key.

Pure, but that a model source is asked what it is where it lies on this machine.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from penstock.config import identity, schema
from penstock.config.claims import Claims, budgets_of, claims_of
from penstock.config.schema import Parallel, Replicas, Settings
from penstock.config.snapshot import ModelRow, Remote, key_hash
from penstock.engines import ENGINES
from penstock.models import catalogue, parse_source, prices
from penstock.models.sources import HubSource, NamedSource, PathSource
from penstock.providers import CODECS, CONNECTORS
from penstock.providers.profiles import PROFILES
from penstock.routing.route import route_of
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
    ReplicaView,
    Route,
    Target,
    Timeouts,
)
from penstock.types.identity import Requirements, Terms, VirtualKey
from penstock.types.ledger import FailurePolicy
from penstock.types.money import FREE, Price, Tier, versioned
from penstock.types.requests import Operation
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

_VENDORS: Final = {"openai-responses": "openai"}  # kinds whose models are another's in the table of models
BATCHED: Final[frozenset[Operation]] = frozenset({"embedding", "rerank"})
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


class _Made(NamedTuple):
    pool: Pool
    deployment: Deployment


def compiled_price(written: Literal["free"] | schema.Price) -> Price:
    if written == "free":
        return FREE
    unsaid = [kind for kind in _AS_INPUT if getattr(written, kind) is None]

    def said(rates: schema.Rates) -> dict[str, Any]:
        kinds = msgspec.structs.asdict(rates)
        if written.query is not None and written.input is None:  # searches are paid, whatever they read
            kinds["input"] = kinds["input"] or 0
        return kinds | {kind: kinds["input"] for kind in unsaid if kinds[kind] is None}

    tiers = tuple(Tier(**said(tier)) for tier in written.tiers)
    return versioned(Price(**{**said(written), "tiers": tiers}), "config")


def compiled_remote(name: str, written: schema.Provider, table: prices.Table | None = None) -> Remote:
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
        place=compiled_place(written, written),
        kind=vendor,
        table=known if table else None,
    )


def compiled_locals(settings: Settings) -> Iterator[_Made]:
    for name, written in settings.deployments.items():
        if written.provider is None:
            yield compiled_local(name, written)


def compiled_local(name: str, written: schema.Deployment) -> _Made:
    model = describe(written.model)
    engine = load_engine(written.engine or model.engine)
    wanted = frozenset(written.operations or ())
    pool = Pool(
        name=name,
        engine=engine.name,
        source=written.model,
        replicas=replicas_of(written).min,
        context=written.context,
        parallel=_parallel(written).sequences,
        threads=written.threads,
        embedding=engine.name == "llamacpp" and (model.kind == "embedding" or wanted == _KINDS["embedding"]),
    )
    operations = wanted or possible_operations(engine, pool, model)
    context = written.context or (model.context if engine.name == "onnx" else None)
    description = f"{_public(written.model)} on {engine.name}"
    deployment = _deployment(name, pool, engine, operations, context=context, description=description)
    batching = compiled_batching(written, is_local=True) if operations & BATCHED else None
    return _Made(
        pool, msgspec.structs.replace(deployment, batching=batching, place=compiled_place(written, None))
    )


def compiled_builtins() -> Iterator[_Made]:
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
        batching = Batching() if operations & BATCHED else None
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


def compiled_batching(written: schema.Deployment, *, is_local: bool) -> Batching | None:
    """Unasked only on this machine: what a vendor makes of larger requests (limits, bills) is its affair."""
    match written.batching:
        case schema.Batching(window=window_s, texts=texts, tokens=tokens):
            return Batching(window_s, texts, tokens)
        case None:
            return Batching() if is_local else None
        case is_on:
            return Batching() if is_on else None


def compiled_route(
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


def compiled_probe(written: schema.Deployment) -> ProbePlan | None:
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


def compiled_hook(name: str, written: schema.Webhook) -> Hook:
    return Hook(name, written.url, written.secret or "", frozenset(written.events), written.team)


def compiled_key(
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
        compiled_requirements(written.requires),
        written.team,
        claims.always,
        claims.by_model,
        frozenset(written.overrides),
        written.role,
        terms=None if terms == Terms() else terms,
    )


def key_hashes(
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


def compiled_requirements(written: schema.Requirements) -> Requirements | None:
    if written == schema.Requirements():
        return None
    return Requirements(frozenset(written.region), frozenset(written.data_policy))


def default_names(deployments: Mapping[str, Deployment]) -> dict[Operation, str]:
    """The builtin of that kind, or the only deployment that can do it."""
    found: dict[Operation, str] = {}
    for operation in OPERATIONS:
        able = [name for name, deployment in deployments.items() if operation in deployment.operations]
        builtin = [name for name in able if name in BUILTINS]
        if builtin or len(able) == 1:
            found[operation] = (builtin or able)[0]
    return found


def model_row(route: Route, created: int) -> ModelRow:
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


def compiled_place(written: schema.Deployment | schema.Provider, provider: schema.Provider | None) -> Place:
    region = written.data_region or (provider.data_region if provider else None) or ""
    policy = written.data_policy or (provider.data_policy if provider else ())
    return Place(region, frozenset(policy), is_own=provider is None)


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


def possible_operations(engine: Engine, pool: Pool, model: Model) -> frozenset[Operation]:
    able = engine.operations(pool)
    return able & _KINDS[model.kind] if model.kind is not None else able


def replicas_of(written: schema.Deployment) -> Replicas:
    count = written.replicas
    return Replicas(count, count) if isinstance(count, int) else count


def _parallel(written: schema.Deployment) -> Parallel:
    return Parallel(written.parallel) if isinstance(written.parallel, int) else written.parallel
