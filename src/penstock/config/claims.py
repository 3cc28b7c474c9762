"""Limits and budgets as written -> claims of the ledger. Pure.

written                      becomes
---------------------------  ------------------------------------------------------------------------
limits, budgets of a scope   one Claim of that scope
a budget with `models`       a Claim of its own, for calls of those public names only
a key with a team            the claims of both
an issuer of tokens          claims of each of its callers; auth/tokens.py puts in who that is
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from penstock.config import schema
from penstock.config.errors import Problem
from penstock.config.units import parse_rate
from penstock.types.ledger import Claim, FailurePolicy, Limit, Period, Resource, Scope, ScopeKind


class Claims(NamedTuple):
    """`always`: of every call; `by_model`: further ones, by public name."""

    always: tuple[Claim, ...] = ()
    by_model: Mapping[str, tuple[Claim, ...]] = {}

    def __add__(self, other: "Claims") -> "Claims":  # type: ignore[override]  # claims, not fields
        names = {*self.by_model, *other.by_model}
        return Claims(
            self.always + other.always,
            {name: self.by_model.get(name, ()) + other.by_model.get(name, ()) for name in names},
        )


def claims_of(
    kind: ScopeKind,
    id_: str,
    limits: schema.Limits,
    budgets: Sequence[schema.Budget] = (),
    *,
    on_failure: FailurePolicy,
    name: str = "",
) -> Claims:
    """name: as in Scope."""
    always = [*_limits(limits), *(_budget(one) for one in budgets if not one.models)]
    by_model: dict[str, tuple[Claim, ...]] = {}
    for models in {tuple(sorted(one.models)) for one in budgets if one.models}:
        own = tuple(_budget(one) for one in budgets if tuple(sorted(one.models)) == models)
        claim = Claim(Scope(kind, f"{id_} {' '.join(models)}", name), own, on_failure)
        for model in models:
            by_model[model] = (*by_model.get(model, ()), claim)
    found = (Claim(Scope(kind, id_, name), tuple(always), on_failure),) if always else ()
    return Claims(found, by_model)


def claims_of_teams(settings: schema.Settings) -> dict[str, Claims]:
    """Of the file's teams, by name."""
    on_failure = settings.limits.on_store_failure
    return {
        name: claims_of("team", name, team.limits, budgets_of(team), on_failure=on_failure)
        for name, team in settings.teams.items()
    }


def budgets_of(written: schema.Key | schema.Team | schema.Oidc) -> tuple[schema.Budget, ...]:
    return (written.budget,) if isinstance(written.budget, schema.Budget) else written.budget


def limit_problems(
    path: str, limits: schema.Limits, budgets: Sequence[schema.Budget] = ()
) -> Iterator[Problem]:
    """Two limits of one resource over the same time: only one of them could ever matter."""
    for name in ("requests", "tokens"):
        windows = [parse_rate(one).window_s for one in _listed(getattr(limits, name))]
        if len(set(windows)) < len(windows):
            yield Problem(f"{path}.limits.{name}", "holds two rates over the same time; write the lower one")
    seen: set[object] = set()
    for at, one in enumerate(budgets):
        if one.rolling is not None and one.period != "month":
            yield Problem(f"{path}.budget[{at}].rolling", "stands beside `period`; write one of the two")
        what = (tuple(sorted(one.models)), _window(one))
        if what in seen:
            yield Problem(
                f"{path}.budget[{at}]", "is over the same time and models as another; write the lower one"
            )
        seen.add(what)


def _limits(written: schema.Limits) -> Iterator[Limit]:
    resources: tuple[Resource, ...] = ("requests", "tokens")
    for resource in resources:
        for text in _listed(getattr(written, resource)):
            rate = parse_rate(text)
            yield Limit(resource, rate.amount, rate.window_s)
    if written.concurrency is not None:
        yield Limit("concurrency", written.concurrency)


def _budget(written: schema.Budget) -> Limit:
    return Limit("pico_usd", written.usd, _window(written), tuple(sorted(set(written.alerts))))


def _window(written: schema.Budget) -> int | Period:
    return written.period if written.rolling is None else max(1, round(written.rolling))


def _listed(written: str | tuple[str, ...]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else written
