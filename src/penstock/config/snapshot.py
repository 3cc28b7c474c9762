"""What runs: all configuration, compiled, immutable. A request reads it once and is untouched by a reload.

find_route(name)        a public name -> Route: one dict lookup; `<provider>/<model>` of a provider that
                        serves any model is built on first use
authenticate(secret)    keyed hash, one dict lookup; the snapshot holds no secret of a caller
models()                the rows of GET /v1/models
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from penstock.auth.policy import Policy
from penstock.auth.tls import Files
from penstock.config.schema import LimitStore
from penstock.models import prices
from penstock.routing.route import route_of
from penstock.types.deployment import (
    Codec,
    Deployment,
    Facts,
    Labels,
    Place,
    Pool,
    ReplicaView,
    Route,
    Target,
)
from penstock.types.identity import VirtualKey
from penstock.types.ledger import Claim
from penstock.types.money import Price
from penstock.types.requests import Operation
from penstock.types.webhooks import Hook

_MAX_WILDCARD_ROUTES: Final = 1024
_MAX_MODEL_NAME: Final = 256
_NO_POLICY: Final = Policy()


class ModelRow(msgspec.Struct, frozen=True):
    """One public model name. `created` is in Unix seconds; `extras` are keys beyond OpenAI's."""

    id: str
    created: int
    owned_by: str
    extras: Mapping[str, Any]


class Remote(msgspec.Struct, frozen=True):
    """A provider, ready to serve: `is_open` when it takes any model name.

    vendor: what it is called in the table of models, where that has any of it.
    table: of that vendor's models, where it is not the builtin one.
    own: prices that the configuration names: a deployment, `<provider>/<model>`, `<kind>/<model>`,
    `<provider>/*`.
    """

    name: str
    codec: Codec
    view: ReplicaView
    owner: str
    is_open: bool = False
    vendor: str | None = None
    spares: tuple[ReplicaView, ...] = ()  # the same with its other credentials
    place: Place = Place()
    kind: str = ""
    table: prices.Table | None = None
    own: Mapping[str, Price] = {}
    claims: tuple[Claim, ...] = ()

    def deployment(self, name: str, model: str, operations: frozenset[Operation] | None = None) -> Deployment:
        facts = prices.find(self.vendor, model, self.table) if self.vendor is not None else None
        listed = prices.price_of(facts) if facts is not None else None
        keys = (name, f"{self.name}/{model}", f"{self.kind}/{model}", f"{self.name}/*")
        return Deployment(
            name=name,
            model=model,
            codec=self.codec,
            operations=self.codec.operations if operations is None else operations,
            remote=self.view,
            spares=self.spares,
            has_parts=bool(self.spares),
            is_balanced=bool(self.spares),
            max_context=facts.row.context if facts is not None else None,
            max_output=facts.row.max_output if facts is not None else None,
            facts=None
            if facts is None
            else Facts(frozenset(facts.row.takes), frozenset(facts.row.can) or None),
            place=self.place,
            price=next((self.own[key] for key in keys if key in self.own), listed),
            claims=self.claims,
            description=f"{model} on {self.owner}",
            owner=self.owner,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    routes: Mapping[str, Route]
    remotes: Mapping[str, Remote]
    pools: Mapping[str, Pool]
    keys: Mapping[bytes, VirtualKey]  # keyed hash of the secret -> whose it is
    defaults: Mapping[Operation, str]  # the route of a request that names no model
    body_limit_bytes: int
    rows: Sequence[ModelRow]
    hash_key: bytes
    media_hosts: frozenset[str] = frozenset()  # private ones from which media may be fetched
    unpriced: frozenset[str] = frozenset()  # deployments whose price is not known, or not all of it
    refuses_unpriced: bool = False
    limits: LimitStore = field(default_factory=LimitStore)
    hooks: tuple[Hook, ...] = ()
    refused: frozenset[str] = frozenset()  # routes that have no other target
    identity: Policy = _NO_POLICY  # who may call, besides those with keys
    tls: Files | None = None  # at our own door
    _wildcards: dict[str, Route] = field(default_factory=dict, compare=False, repr=False)

    @property
    def has_remote(self) -> bool:
        """Whether something can answer without any pool of ours being ready."""
        return any(remote.is_open for remote in self.remotes.values()) or any(
            target.deployment.remote is not None for route in self.routes.values() for target in route.targets
        )

    def deployments(self) -> Iterable[Deployment]:
        """All that are configured, each once."""
        found = (
            target.deployment
            for route in self.routes.values()
            for tier in (route.targets, *route.tiers)
            for target in tier
        )
        return {deployment.name: deployment for deployment in found}.values()

    def deployment(self, name: str) -> Deployment | None:
        """Of this name; also one that is made when somebody asks for it."""
        found = next((one for one in self.deployments() if one.name == name), None)
        if found is None and (made := self._wildcard(name)) is not None:
            return made.targets[0].deployment
        return found

    def find_route(self, name: str) -> Route | None:
        route = self.routes.get(name)
        return route if route is not None else self._wildcard(name)

    def refuses(self, name: str) -> bool:
        """Whether there would be such a route, if what it costs were known."""
        return name in self.refused or (self.refuses_unpriced and self._open(name) is not None)

    def authenticate(self, secret: bytes | str) -> VirtualKey | None:
        raw = secret.encode() if isinstance(secret, str) else secret
        return self.keys.get(key_hash(raw, self.hash_key))

    def models(self) -> Sequence[ModelRow]:
        return self.rows

    def _wildcard(self, name: str) -> Route | None:
        """The routes made so are a cache: any of them can be built again, so a full one is emptied."""
        made = self._wildcards.get(name)
        if made is not None:
            return made
        remote = self._open(name)
        if remote is None:
            return None
        deployment = remote.deployment(name, name.partition("/")[2])
        if self.refuses_unpriced and not is_priced(deployment):
            return None
        label = f"{remote.name}/*"  # of a bounded set, though the provider takes any name
        deployment = msgspec.structs.replace(deployment, label=label)
        made = route_of(name, (Target(deployment, Labels(label, label)),))
        if len(self._wildcards) >= _MAX_WILDCARD_ROUTES:
            self._wildcards.clear()
        self._wildcards[name] = made
        return made

    def _open(self, name: str) -> Remote | None:
        """The provider that serves any model, where `name` may be one of its."""
        provider, _, model = name.partition("/")
        remote = self.remotes.get(provider)
        if remote is None or not remote.is_open or not 0 < len(model) <= _MAX_MODEL_NAME:
            return None
        return remote


def is_priced(deployment: Deployment) -> bool:
    """Whether plain answers of it can be priced."""
    price = deployment.price
    if price is None:
        return False
    if not deployment.operations & {"chat", "completion"}:  # vectors and scores are no tokens
        return price.input is not None or price.query is not None
    return price.is_whole


def key_hash(secret: bytes, hash_key: bytes) -> bytes:
    return hashlib.blake2b(secret, key=hash_key, digest_size=32).digest()
