"""What may be wrong with settings that could be read: names that lead nowhere, parts that do not fit.

problems(settings)           everything, each with its path and the remedy
route_problems(settings)     of routes alone
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from penstock.config import identity, schema
from penstock.config.claims import budgets_of, limit_problems
from penstock.config.errors import Problem
from penstock.config.parts import (
    BATCHED,
    BUILTINS,
    OPERATIONS,
    compiled_builtins,
    compiled_local,
    compiled_place,
    compiled_remote,
    compiled_requirements,
    describe,
    load_engine,
    possible_operations,
    replicas_of,
)
from penstock.config.schema import Settings
from penstock.lib.http1 import Origin
from penstock.lib.registry import hint
from penstock.limits import redis_url
from penstock.providers.profiles import PROFILES
from penstock.routing.route import is_allowed
from penstock.types.deployment import (
    Place,
)
from penstock.types.errors import PenstockError
from penstock.types.requests import Operation
from penstock.types.store import is_store_url

_TAG: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_OUR_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"}
)
_LOCAL_FIELDS: Final = ("engine", "context", "parallel", "threads", "replicas")
_LONGEST_WINDOW_S: Final = 1.0
_SHORTEST_PROBES_S: Final = 1.0
_LONGEST_PROBE_S: Final = 30.0  # a breaker waits no longer for one (routing.breaker.PROBE_S)


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
        *_budget_problems(settings, no_such_route),
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
            "store.url",
            "is neither sqlite:///path/to/penstock.db nor postgresql://user:password@host:5432/database (a /"
            " or @ of a password is written %2F, %40)",
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
                compiled_remote(name, written)
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
            profile = PROFILES.get(written.provider)
            row = (
                f'{{kind: {written.provider}, api_key: "${{{profile.env[0]}}}"}}'
                if profile and profile.env
                else ""
            )
            remedy = f"; write providers: {{{written.provider}: {row}}}" if row else ""
            yield Problem(f"{path}.provider", _no_such("provider", written.provider, known) + remedy)
        for field in _LOCAL_FIELDS:
            if getattr(written, field) != getattr(defaults, field):
                yield Problem(
                    f"{path}.{field}", "only a model on this machine has it; this one has a provider"
                )


def _batching_problems(path: str, written: schema.Deployment) -> Iterator[Problem]:
    if isinstance(written.batching, schema.Batching) and written.batching.window > _LONGEST_WINDOW_S:
        yield Problem(f"{path}.window", "must be at most 1s: every request in it waits so long")
    if written.batching and written.operations and not BATCHED & set(written.operations):
        yield Problem(path, f"is for {' and '.join(sorted(BATCHED))}; this deployment does neither")


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
    replicas = replicas_of(written)
    if replicas.min != replicas.max:
        yield Problem(
            f"{path}.replicas",
            "min and max must be equal: scaling is not in this release (planned: autoscaling)",
        )
    if written.batching and written.operations is None:
        made = compiled_local(name, written)
        if not made.deployment.operations & BATCHED:
            yield Problem(f"{path}.batching", f"{written.model} on {made.pool.engine} has nothing to batch")
    if written.operations is not None:
        made = compiled_local(name, written)
        able = possible_operations(load_engine(made.pool.engine), made.pool, model)
        for operation in written.operations:
            if operation not in able:
                yield Problem(
                    f"{path}.operations",
                    f"{written.model} on {made.pool.engine} does not do {operation}; it does "
                    + ", ".join(one for one in OPERATIONS if one in able),
                )


def _may_have_replicas(settings: Settings, name: str) -> bool:
    written = settings.deployments.get(name)
    return written is not None and replicas_of(written).max > 1


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
    requirements = compiled_requirements(written.requires)
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
    redis = redis_url.parse(store)
    if store not in ("memory", "sql") and redis is None:
        yield Problem(
            "limits.store",
            "names the sentinels and the master: redis+sentinel://:password@host1:26379,host2:26379/mymaster"
            if redis_url.SENTINEL in store.partition(":")[0]
            else "is memory, sql, or the URL of a Redis: redis://:password@host:6379/0 (a / or @ of a"
            " password is written %2F, %40)",
        )
    known = _REDIS_OPTIONS if redis is None or redis.master is None else _REDIS_OPTIONS | _SENTINEL_OPTIONS
    for name, value in redis.options if redis is not None else ():
        if (good := known.get(name)) is None:
            told = ", ".join(known)
            yield Problem(
                "limits.store", f"{name!r} is nothing that its URL can say after `?`; that is {told}"
            )
        elif not value:
            yield Problem("limits.store", f"{name} has no value")
        elif re.fullmatch(good, value) is None:
            yield Problem("limits.store", f"{name} is {good.replace('|', ' or ')}, not {value!r}")
        elif name.startswith("ssl_") and not store.startswith("rediss"):
            yield Problem("limits.store", f"{name} is for TLS: write rediss:// for redis://")
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


# What redis-py takes in a URL and is not ours to say: the connections' own settings stand in limits/redis.py.
_REDIS_OPTIONS: Final = {
    "ssl_ca_certs": ".+",
    "ssl_ca_path": ".+",
    "ssl_certfile": ".+",
    "ssl_keyfile": ".+",
    "ssl_cert_reqs": "required|optional|none",
    "ssl_check_hostname": "true|false",
    "client_name": ".+",
}
_SENTINEL_OPTIONS: Final = {"sentinel_username": ".+", "sentinel_password": ".+"}


def _budget_problems(settings: Settings, no_such_route: Callable[[str], str]) -> Iterator[Problem]:
    """A budget of models that there are not would never be used up."""
    for section, owners in (
        ("keys", settings.keys),
        ("teams", settings.teams),
        ("identity.oidc", settings.identity.oidc),
    ):
        for name, owner in owners.items():
            for budget in budgets_of(owner):
                for model in budget.models:
                    if said := no_such_route(model):
                        yield Problem(f"{section}.{name}.budget", said)


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
            is_one = is_one and parts.username is None  # would be logged, and is never sent
        except ValueError:
            is_one = False
        if not is_one:
            said = "is an address such as https://hooks.example.com/penstock, without credentials"
            yield Problem(f"webhooks.{name}.url", said)
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
        return compiled_place(written, provider)
    provider = settings.providers.get(name.partition("/")[0])
    if provider is not None:
        return compiled_place(provider, provider)
    return Place(is_own=True) if name in BUILTINS else None


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
            own.deployment.name == name and operation in own.deployment.operations
            for own in compiled_builtins()
        )
    written = settings.deployments.get(name)
    if written is None or written.operations:
        return written is None or not written.operations or operation in written.operations
    try:
        if written.provider is None:
            return operation in compiled_local(name, written).deployment.operations
        provider = settings.providers.get(written.provider)
        if provider is None or any(_one_provider("", provider)):
            return True
        return operation in compiled_remote(written.provider, provider).codec.operations
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


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
