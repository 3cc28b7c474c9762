"""Settings -> Snapshot: a pure function. Names are resolved, credentials placed, keys hashed.

compile_settings(settings, secret=...)     the snapshot, or ConfigError with every problem

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
from collections.abc import Mapping
from typing import Final

import msgspec

from penstock.config import identity, schema
from penstock.config.claims import claims_of, claims_of_teams
from penstock.config.errors import ConfigError
from penstock.config.parts import (
    compiled_batching,
    compiled_builtins,
    compiled_hook,
    compiled_key,
    compiled_locals,
    compiled_place,
    compiled_price,
    compiled_probe,
    compiled_remote,
    compiled_route,
    default_names,
    key_hashes,
    model_row,
)
from penstock.config.problems import problems
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot, is_priced
from penstock.models import prices
from penstock.providers.profiles import PROFILES
from penstock.routing.route import narrowed, route_of
from penstock.types.deployment import (
    Deployment,
    Labels,
    Pool,
    QueuePlan,
    Target,
)

_BY_REQUEST: Final = ("weighted", "difficulty")  # strategies that ask nothing of how the targets are doing


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
            compiled_remote(name, provider, table),
            own=own,
            claims=claims_of("provider", name, provider.limits, on_failure=on_failure).always,
        )
        for name, provider in providers.items()
    }
    pools: dict[str, Pool] = {}
    deployments: dict[str, Deployment] = {}
    for local in compiled_locals(settings):
        pools[local.pool.name] = local.pool
        deployments[local.deployment.name] = local.deployment
    for name, written in settings.deployments.items():
        if written.provider is not None:
            operations = None if written.operations is None else frozenset(written.operations)
            made = remotes[written.provider].deployment(name, written.model, operations)
            deployments[name] = msgspec.structs.replace(
                made,
                batching=compiled_batching(written, is_local=False),
                place=compiled_place(written, providers[written.provider]),
            )
    for name, provider in providers.items():
        for model in provider.models if provider.models != "*" else ():
            deployments.setdefault(f"{name}/{model}", remotes[name].deployment(f"{name}/{model}", model))
    if settings.builtin:
        for local in compiled_builtins():
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
        deployments[name] = msgspec.structs.replace(deployments[name], probe=compiled_probe(written))
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
        name: compiled_route(name, written, deployments, on_failure=on_failure)
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
        name: compiled_key(name, written, teams, on_failure=on_failure)
        for name, written in settings.keys.items()
    }
    return Snapshot(
        routes=routes,
        remotes=remotes,
        pools=pools,
        keys=dict(key_hashes(settings, keys, minted_key, hash_key)),
        defaults=default_names(deployments),
        body_limit_bytes=settings.server.body_limit,
        limits=settings.limits,
        hooks=tuple(compiled_hook(name, written) for name, written in settings.webhooks.items()),
        rows=tuple(model_row(route, created) for route in routes.values()),
        hash_key=hash_key,
        media_hosts=frozenset(host.lower() for host in settings.server.media_hosts),
        unpriced=unpriced,
        refuses_unpriced=refuses,
        refused=every - routes.keys(),
        identity=identity.policy_of(settings, keys, teams),
        tls=identity.tls_files(settings),
    )


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
