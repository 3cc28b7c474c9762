"""Between the gateway, the control plane and the admin API: what one tells the other."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from penstock.types.deployment import Deployment
from penstock.types.ledger import Claim, ScopeKind
from penstock.types.store import Budget, Limits, Terms
from penstock.types.usage_store import UsageRow


class LeftOut(msgspec.Struct, frozen=True):
    """A row of the store that does not hold: the file says otherwise, or it is wrong."""

    path: str
    reason: str


class Trouble(msgspec.Struct, frozen=True):
    """Why the newest file is not what runs. `time`: Unix seconds."""

    time: int
    problems: tuple[str, ...]


class ConfigurationView(msgspec.Struct, frozen=True, kw_only=True):
    """`origin`: the file, or `built-in defaults`; `since`: when what runs was compiled, in Unix seconds.

    trouble: None when the newest file runs. needs_restart: what the newest file changes and a running server
    cannot. revision: of the store.
    """

    origin: str
    since: int
    revision: int
    trouble: Trouble | None = None
    needs_restart: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class ReplicaLine(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    in_flight: int = 0
    restarts: int = 0
    error: str = ""


class DeploymentLine(msgspec.Struct, frozen=True, kw_only=True):
    """where: its provider or its engine. is_down: it failed of late, and is left alone for a while."""

    name: str
    model: str
    where: str
    operations: tuple[str, ...]
    routes: tuple[str, ...]
    is_down: bool = False
    replicas: tuple[ReplicaLine, ...] = ()


class Configuration(Protocol):
    """The configuration that runs."""

    def view(self) -> ConfigurationView: ...

    def file_routes(self) -> Mapping[str, dict[str, Any]]:
        """As the file might say them."""
        ...

    def file_teams(self) -> Mapping[str, dict[str, Any]]:
        """Likewise."""
        ...

    def file_terms(self) -> Mapping[str, Terms]:
        """What they pay."""
        ...

    def usage_since_s(self, now_s: float) -> float:
        """When the first month began whose usage is kept, Unix seconds."""
        ...

    def file_webhooks(self) -> Mapping[str, dict[str, Any]]:
        """Likewise, without their secrets."""
        ...

    def file_keys(self, team: str | None = None) -> Mapping[str, dict[str, Any]]:
        """Without their secrets. team: those of this one alone."""
        ...

    def check_route(self, name: str, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What is wrong with a route: (path below its body, what)."""
        ...

    def check_bounds(self, limits: Limits, budget: Sequence[Budget]) -> list[tuple[str, str]]:
        """Likewise of limits and budgets: (`limits...` or `budget...`, what)."""
        ...

    def check_model(self, name: str) -> str:
        """What is wrong with a public name; empty where a client may ask for it."""
        ...

    def providers(self) -> Collection[str]:
        """Their names."""
        ...

    def deployment(self, name: str) -> Deployment | None:
        """That runs under this name, or would: of a provider that takes any model there is one of each."""
        ...

    def claims(self, kind: ScopeKind, name: str) -> tuple[Claim, ...]:
        """The limits and budgets of a key, a team, a user or a route alone; none of one that is not known."""
        ...

    def hash_of(self, secret: bytes) -> bytes:
        """By which a key is found."""
        ...


class UsageSink(Protocol):
    """Where the gateway writes calls down."""

    def write(self, row: UsageRow) -> None:
        """Never waits, never raises."""

    def check(self) -> None:
        """Raises StoreUnavailable while no call may begin."""
