"""A LiteLLM proxy's config.yaml -> penstock.yaml. Pure.

    theirs                                    becomes
    ----------------------------------------  -------------------------------------------------------------
    model_list, credential_list               providers, deployments; a route where several share a name
    rpm, tpm, max_parallel_requests           limits of the deployment
    order, weight                             tier and weight of a target
    input_cost_per_token ...                  prices of the deployment
    timeout, stream_timeout, num_retries      timeouts and retries of the route
    fallbacks, default_fallbacks              fallbacks of the route; an alias has those of its model
    routing_strategy, model_group_alias       strategy of every route; a route of its own
    master_key                                a key with the role owner
    database_url, redis_*                     store.url, limits.store
    os.environ/NAME                           ${NAME}

What has no equivalent is told, item by item (`Note`); nothing is left out in silence. Their words and ours
are in litellm_words.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from penstock.config.litellm_words import (
    BARE,
    DEFAULT_OF,
    KINDS,
    MODES,
    NEEDS,
    OF_A_MODEL,
    OF_A_PROVIDER,
    PLACES,
    PRICES,
    SECTIONS,
    SILENT,
    STRATEGIES,
    TAKEN,
    UNIT_PRICES,
    WHY,
)
from penstock.config.schema import Timeouts
from penstock.providers.profiles import PROFILES

Json = dict[str, Any]


class Note(NamedTuple):
    """`path`: in their file."""

    path: str
    message: str


class Imported(NamedTuple):
    """settings: what penstock.yaml holds. variables: of the environment that it needs."""

    settings: Json
    notes: list[Note]
    variables: list[str]


_NAME: Final = re.compile(r"[^A-Za-z0-9._:/@+-]+")
_VARIABLE: Final = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
_MOST_RETRIES: Final = 5
_MOST_WEIGHT: Final = 10**6
_LAST: Final = float("inf")


def imported(theirs: Mapping[str, Any]) -> Imported:
    """theirs: the whole file, as YAML has it."""
    work = _Work(theirs)
    work.run()
    settings = work.settings()
    return Imported(settings, [*dict.fromkeys(work.notes)], sorted(work.variables))


class _Entry(NamedTuple):
    """One of model_list, taken apart. said: its public name there; group: here."""

    path: str
    said: str
    group: str
    params: Json
    info: Json


class _Work:
    def __init__(self, theirs: Mapping[str, Any]) -> None:
        self.theirs = theirs
        self.notes: list[Note] = []
        self.variables: set[str] = set()
        self.providers: Json = {}
        self.deployments: Json = {}
        self.routes: Json = {}
        self.prices: Json = {}
        self.groups: dict[str, list[str]] = {}  # public name -> its deployments
        self.aliased: dict[str, str] = {}  # public name -> the one that it stands for
        self.entry_of: dict[str, _Entry] = {}  # deployment -> what was said of it
        self.further: dict[str, Json] = {}  # public name -> settings of its route, by its entries
        self.library = self.section("litellm_settings")
        self.general = self.section("general_settings")
        self.router = self.section("router_settings")

    def section(self, name: str) -> Json:
        found = self.theirs.get(name) or {}
        if isinstance(found, Mapping):
            return dict(found)
        self.note(name, "is no mapping")
        return {}

    def note(self, path: str, message: str) -> None:
        self.notes.append(Note(path, message))

    def number(self, path: str, value: Any, *, least: int = 1) -> Decimal | None:
        """Whole ones; what is none is told, for LiteLLM would have it."""
        found = self.real(path, value)
        if found is not None and (found < least or found != int(found)):
            self.note(path, f"{value} is no whole number from {least} on; left out")
            return None
        return found

    def real(self, path: str, value: Any) -> Decimal | None:
        """As a number or as a text: YAML takes 3e-7 for a text. A negative one is told as none."""
        if value is None:
            return None
        found = _number(value)
        if found is not None and found >= 0:
            return found
        if _VARIABLE.fullmatch(str(value)):
            self.note(path, "is a number in a variable; left out: write it into penstock.yaml")
        else:
            self.note(path, "is no number from 0 on; left out")
        return None

    def seconds(self, path: str, value: Any) -> str | None:
        found = self.real(path, value)
        if found == 0:
            self.note(path, "0 is no time; left out")
        return f"{_plain(found)}s" if found else None

    def retries(self, path: str, value: Any) -> int | None:
        found = self.number(path, value, least=0)
        if found is not None and found > _MOST_RETRIES:
            self.note(path, f"{found} is {_MOST_RETRIES} here, the most there is")
        return None if found is None else min(int(found), _MOST_RETRIES)

    def run(self) -> None:
        entries = list(self.entries())
        for entry in entries:
            self.deployment(entry)
        self.aliases()
        self.make_routes()
        self.leftovers()

    def settings(self) -> Json:
        master = self.general.get("master_key")
        found: Json = {"server": {"host": "0.0.0.0", "port": 4000} if master else {"port": 4000}}
        if self.library.get("set_verbose") is True:
            found["telemetry"] = {"log_level": "debug"}
        path = "general_settings.max_request_size_mb"
        if (most := self.number(path, self.general.get("max_request_size_mb"))) is not None:
            found["server"]["body_limit"] = f"{most:f}MiB"
        if not master:
            self.note(
                "general_settings.master_key",
                "is not said: LiteLLM asks nobody for a key. Here one is minted, and nobody is served but on"
                " this machine; write `keys` for others",
            )
        found |= {"builtin": False, "providers": self.providers, "deployments": self.deployments}
        found |= {"routes": self.routes, "prices": {"models": self.prices} if self.prices else {}}
        found |= {"keys": {"master": {"secret": self.text(master), "role": "owner"}} if master else {}}
        found |= self.stores()
        return {name: value for name, value in found.items() if value not in ({}, None)}

    # -- models

    def entries(self) -> Iterator[_Entry]:
        rows = self.theirs.get("model_list") or []
        named = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
        if not isinstance(rows, list) or len(named) < len(rows):
            self.note("model_list", "must be a list of mappings")
        for at, row in enumerate(named):
            path = f"model_list[{at}]"
            params, info = row.get("litellm_params"), row.get("model_info") or {}
            group = row.get("model_name")
            if not isinstance(params, Mapping) or not isinstance(group, str) or not params.get("model"):
                self.note(path, "needs model_name and litellm_params.model; left out")
                continue
            name = _sane(group)
            if name != group and not group.endswith("*"):
                self.note(f"{path}.model_name", f"{group!r} is called {name!r} here")
            for key in row.keys() - {"model_name", "litellm_params", "model_info"}:
                self.note(f"{path}.{key}", WHY.get(key, "has no equivalent"))
            if not isinstance(info, Mapping):
                self.note(f"{path}.model_info", "is no mapping")
            whole = self.credentials(path, params)
            places = whole.get("organization")
            for place in places if isinstance(places, list) and places else [places]:  # each its deployment
                yield _Entry(
                    path,
                    group,
                    name,
                    {**whole, "organization": place},
                    dict(info) if isinstance(info, Mapping) else {},
                )

    def credentials(self, path: str, params: Mapping[str, Any]) -> Json:
        """With those of `credential_list` that they name."""
        name = params.get("litellm_credential_name")
        if name is None:
            return dict(params)
        rows = self.theirs.get("credential_list")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, Mapping) and row.get("credential_name") == name:
                values = row.get("credential_values")
                return {**(values if isinstance(values, Mapping) else {}), **params}
        self.note(f"{path}.litellm_params.litellm_credential_name", f"there are no credentials {name!r}")
        return dict(params)

    def deployment(self, entry: _Entry) -> None:
        kind, model = self.place(entry)
        mode = entry.info.get("mode")
        if kind is None:
            return
        if mode is not None and mode not in MODES:
            self.note(
                f"{entry.path}.model_info.mode", f"there is no {mode} in this release; the model is left out"
            )
            return
        if model == "*" or entry.said.endswith("*"):
            self.wildcard(entry, kind, model)
            return
        provider = self.provider(entry, kind)
        made: Json = {"provider": provider, "model": model}
        if mode is not None and (operations := MODES[mode]) is not None:
            made["operations"] = operations
        if limits := self.limits(entry):
            made["limits"] = limits
        name = self.deployment_name(entry, provider)
        self.deployments[name] = made
        self.groups.setdefault(entry.group, []).append(name)
        self.price(entry, name)
        self.entry_of[name] = entry
        self.of_the_route(entry)
        self.what_is_left_of(entry, {*OF_A_MODEL, *OF_A_PROVIDER, *PLACES})

    def limits(self, entry: _Entry) -> Json:
        found: Json = {}
        for key, name in (("rpm", "requests"), ("tpm", "tokens")):
            amount = self.number(f"{entry.path}.litellm_params.{key}", entry.params.get(key))
            if amount is not None:
                found[name] = f"{amount:f}/min"
        for path, value in (
            (f"{entry.path}.litellm_params.max_parallel_requests", entry.params.get("max_parallel_requests")),
            ("general_settings.max_parallel_requests", self.general.get("max_parallel_requests")),
            (
                "router_settings.default_max_parallel_requests",
                self.router.get("default_max_parallel_requests"),
            ),
        ):
            if "concurrency" not in found and (most := self.number(path, value)) is not None:
                found["concurrency"] = int(most)
        return found

    def what_is_left_of(self, entry: _Entry, taken: set[str]) -> None:
        for key in sorted(map(str, entry.params.keys() - taken)):
            why = "requests say this themselves here" if key in DEFAULT_OF else _why(key)
            if entry.params.get(key) is not None and _price_kind(key) is None:
                self.note(f"{entry.path}.litellm_params.{key}", why)
        for key in sorted(map(str, entry.info.keys() - {"id", "mode"})):
            is_known = (
                key.startswith("supports_") or _price_kind(key) is not None
            )  # the table of models knows
            if entry.info.get(key) is not None and not is_known:
                self.note(f"{entry.path}.model_info.{key}", _why(key))

    def place(self, entry: _Entry) -> tuple[str | None, str]:
        """Our kind, and the vendor's name of the model."""
        said = str(entry.params["model"])
        prefix, slash, rest = said.partition("/")
        own = entry.params.get("custom_llm_provider")
        base = entry.params.get("api_base") or entry.params.get("base_url")
        if isinstance(own, str):
            prefix, rest = own, said.removeprefix(f"{own}/")
        elif not slash:
            kind = next((kind for pattern, kind in BARE if pattern.match(said)), None)
            if kind is None:
                kind = "openai-compatible" if base else "openai"
                self.note(f"{entry.path}.litellm_params.model", f"{said!r} names no vendor; taken for {kind}")
            return self.at(kind, base), said
        kind = KINDS.get(prefix, prefix)
        if not rest:
            self.note(f"{entry.path}.litellm_params.model", f"{said!r} names no model; left out")
            return None, rest
        if kind == "bedrock":
            rest = re.sub(r"^((converse|invoke|converse_like)/)?([a-z]{2}(-[a-z]+)+-[0-9]/)?", "", rest)
        if kind in PROFILES or kind in ("vertex", "bedrock"):
            return self.at(kind, base), rest
        if base:
            self.note(
                f"{entry.path}.litellm_params.model",
                f"{prefix} is not known here; taken for an OpenAI-compatible server",
            )
            return "openai-compatible", rest
        self.note(f"{entry.path}.litellm_params.model", f"{prefix} is not known here; the model is left out")
        return None, rest

    def at(self, kind: str, base: Any) -> str:
        """OpenAI's API at another address is another server."""
        elsewhere = kind == "openai" and isinstance(base, str) and "api.openai.com" not in base
        return "openai-compatible" if elsewhere else kind

    def provider(self, entry: _Entry, kind: str) -> str:
        """Its name; one that says the same is used again."""
        params = entry.params
        made: Json = {"kind": kind}
        base = params.get("api_base") or params.get("base_url")
        if base is None and kind == "azure":
            base = "os.environ/AZURE_API_BASE"
        if base:
            made["base_url"] = self.text(base).rstrip("/")
            if kind == "anthropic":  # theirs is without
                made["base_url"] = f"{made['base_url'].removesuffix('/v1/messages')}/v1"
        for key, name in PLACES.items():
            value = params.get(key)
            if value is None:
                continue
            if kind not in NEEDS.get(name, (kind,)):
                self.note(f"{entry.path}.litellm_params.{key}", f"says nothing of {kind}")
            elif name == "headers" and isinstance(value, Mapping):
                made[name] = {str(one): self.text(other) for one, other in value.items()}
            elif isinstance(value, Mapping):  # a key file's JSON
                made[name] = self.text(json.dumps(value))
            elif isinstance(value, list) or name == "headers":
                self.note(f"{entry.path}.litellm_params.{key}", "cannot be read; left out")
            else:
                made[name] = self.text(value)
        if params.get("organization"):
            made.setdefault("headers", {})["OpenAI-Organization"] = self.text(params["organization"])
        secret = params.get("api_key")
        env = PROFILES[kind].env if kind in PROFILES else ()
        if secret is not None:
            made["api_key"] = self.text(secret)
        elif kind == "azure" and "client_id" not in made:
            made["api_key"] = self.text("os.environ/AZURE_API_KEY")
        elif env and not base:
            made["api_key"] = self.text(f"os.environ/{env[0]}")
        elif env and kind != "azure":
            self.note(
                f"{entry.path}.litellm_params.api_base",
                f"LiteLLM sends {env[0]} there, too; here nothing is sent: write `api_key` if it is wanted",
            )
        if kind == "bedrock" and not {"access_key_id", "api_key"} & made.keys():
            self.note(
                f"{entry.path}.litellm_params", "takes its credentials from AWS_ACCESS_KEY_ID and the like"
            )
        for name, other in self.providers.items():
            if {key: value for key, value in other.items() if key != "models"} == made:
                return name
        name, number = kind, 2
        while name in self.providers:
            name, number = f"{kind}-{number}", number + 1
        self.providers[name] = made
        return name

    def wildcard(self, entry: _Entry, kind: str, model: str) -> None:
        if model != "*":
            self.note(f"{entry.path}.model_name", "a pattern is for all models of a provider; left out")
            return
        name = self.provider(entry, kind)
        self.providers[name]["models"] = "*"
        if entry.said != f"{name}/*":
            self.note(
                f"{entry.path}.model_name", f"{entry.said}: these models are called {name}/<model> here"
            )
        self.price(entry, f"{name}/*")
        self.what_is_left_of(entry, {*OF_A_PROVIDER, *PLACES, *PRICES})

    def deployment_name(self, entry: _Entry, provider: str) -> str:
        """The public name itself would hide the route that several share."""
        said = entry.info.get("id")
        name = _sane(said) if isinstance(said, str) and said else f"{entry.group}@{provider}"
        taken, number, first = {*self.deployments, *self.public()}, 2, name
        while name in taken:
            name, number = f"{first}-{number}", number + 1
        return name

    def public(self) -> set[str]:
        rows = self.theirs.get("model_list") or []
        return {_sane(str(row.get("model_name"))) for row in rows if isinstance(row, Mapping)}

    def price(self, entry: _Entry, name: str) -> None:
        found: Json = {}
        tiers: dict[str, Json] = {}
        of_tiers: list[str] = []
        for where, source in (("model_info", entry.info), ("litellm_params", entry.params)):
            for key, value in source.items():
                kind = _price_kind(key)
                cost = None if kind is None else self.real(f"{entry.path}.{where}.{key}", value)
                if kind is None or cost is None:
                    continue
                per, times = ("1", 1) if kind.name in UNIT_PRICES.values() else ("1M", 10**6)
                into = tiers.setdefault(kind.above, {}) if kind.above else found
                into[kind.name] = f"${_plain(cost * times)}/{per}"
                if kind.above:
                    of_tiers.append(f"{entry.path}.{where}.{key}")
        if not found:
            for path in of_tiers:
                self.note(path, "means something only beside the price of shorter prompts")
            return
        for missing in sorted({"input", "output"} - found.keys()):
            found[missing] = "$0/1M"
            if entry.info.get("mode") not in ("embedding", "rerank", "moderation"):
                self.note(
                    f"{entry.path}.litellm_params", f"says no price of its {missing}: nothing, as there"
                )
        if tiers:
            found["tiers"] = [
                {"above_input_tokens": above, **tiers[above]} for above in sorted(tiers, key=_size)
            ]
        self.prices[name] = "free" if all(value == "$0/1M" for value in found.values()) else found

    def of_the_route(self, entry: _Entry) -> None:
        """What an entry says of its route: the first one that says it counts."""
        route = self.further.setdefault(entry.group, {})
        for key, ours in (("timeout", "total"), ("stream_timeout", "first_token")):
            path = f"{entry.path}.litellm_params.{key}"
            if (seconds := self.seconds(path, entry.params.get(key))) is not None:
                self.say_once(route.setdefault("timeouts", {}), ours, seconds, path)
                if ours == "total":
                    self.told_of_streams(path, seconds)
        path = f"{entry.path}.litellm_params.num_retries"
        if (retries := self.retries(path, entry.params.get("num_retries"))) is not None:
            self.say_once(route, "retries", retries, path)

    def say_once(self, said: Json, name: str, value: str | int, path: str) -> None:
        if said.setdefault(name, value) != value:
            self.note(path, f"is of the whole route here, which has {said[name]} by an entry before")

    # -- routes

    def aliases(self) -> None:
        found = self.router.get("model_group_alias") or {}
        if not isinstance(found, Mapping):
            self.note("router_settings.model_group_alias", "is no mapping")
        for alias, target in found.items() if isinstance(found, Mapping) else ():
            path = f"router_settings.model_group_alias.{alias}"
            group = target.get("model") if isinstance(target, Mapping) else target
            source = _sane(str(group))
            if source not in self.groups:
                self.note(path, f"there is no model {group!r}; left out")
                continue
            if isinstance(target, Mapping) and target.get("hidden"):
                self.note(f"{path}.hidden", "it is listed here")
            name = _sane(str(alias))
            self.groups[name] = self.groups[source]
            self.further[name] = self.further.get(source, {})
            self.aliased[name] = self.aliased.get(source, source)

    def make_routes(self) -> None:
        shared = self.of_all_routes()
        fallbacks, default = self.fallbacks()
        is_by_weight = "strategy" not in shared
        for group, names in self.groups.items():
            own, source = self.further.get(group, {}), self.aliased.get(group, group)
            route: Json = {"targets": self.targets(names, is_by_weight=is_by_weight)}
            others = fallbacks.get(group, fallbacks.get(source, default))
            if others := [one for one in dict.fromkeys(others) if one not in names]:
                route["fallbacks"] = others
            route |= {name: value for name, value in shared.items() if name != "timeouts"}
            route |= {name: value for name, value in own.items() if name != "timeouts"}
            if timeouts := {**shared.get("timeouts", {}), **own.get("timeouts", {})}:
                route["timeouts"] = timeouts
            if len(names) == 1:
                route.pop("strategy", None)
            self.routes[group] = route

    def targets(self, names: list[str], *, is_by_weight: bool) -> list[Json]:
        """Tiers by `order`, who has none last; in each by weight."""
        orders = {name: self.told_of(name, "order") for name in names}
        ranked = {name: _LAST if order is None else order for name, order in orders.items()}
        found: dict[str, Json] = {}
        tier = 0
        for rank in sorted(set(ranked.values())):
            tier += 1
            weights = self.weights(
                [name for name in names if ranked[name] == rank], is_by_weight=is_by_weight
            )
            for name, weight in weights.items():
                said = {} if weight is None else {"weight": weight} if weight else {"tier": tier + 1}
                found[name] = ({"tier": tier} if tier > 1 else {}) | said
            tier += 0 in weights.values()
        return [{"deployment": name, **found[name]} for name in names]

    def weights(self, names: list[str], *, is_by_weight: bool) -> dict[str, int | float | None]:
        """As simple-shuffle has it: by what the first of them says, a weight or else its rates. Who does not
        say that, or says 0, is asked (0) once the others cannot be.
        """
        equal: dict[str, int | float | None] = dict.fromkeys(names)
        said = {key: [self.told_of(name, key) for name in names] for key in ("weight", "rpm", "tpm")}
        key = next((key for key, shares in said.items() if shares[0] is not None), None)
        if len(names) == 1 or not is_by_weight or key is None or not any(said[key]):
            for name, weight in zip(names, said["weight"], strict=True):
                if weight is not None and len(names) > 1:
                    path = f"{self.entry_of[name].path}.litellm_params.weight"
                    self.note(path, "counts in simple-shuffle only" if not is_by_weight else "shares nothing")
            return equal
        for name, share, weight in zip(names, said[key], said["weight"], strict=True):
            path = f"{self.entry_of[name].path}.litellm_params"
            if not share:
                self.note(f"{path}.{key}", "is not said, or 0: asked once the others cannot be, as there")
            if key != "weight" and weight is not None:
                self.note(f"{path}.weight", f"LiteLLM goes by what its first one says, {key}; left out")
            equal[name] = (
                min(int(share) if share == int(share) else float(share), _MOST_WEIGHT) if share else 0
            )
        return equal

    def told_of(self, name: str, key: str) -> Decimal | None:
        found = _number(self.entry_of[name].params.get(key))
        return found if found is None or found >= 0 else None

    def of_all_routes(self) -> Json:
        shared: Json = {}
        strategy = self.router.get("routing_strategy")
        if isinstance(strategy, str):
            ours = STRATEGIES.get(strategy)
            if ours is None:
                ours = "least-loaded"
                self.note(
                    "router_settings.routing_strategy",
                    f"{strategy} has no equivalent; least-loaded is near it",
                )
            if ours != "weighted":
                shared["strategy"] = ours
        retries: Any = self.router.get("num_retries", self.library.get("num_retries"))
        if (retries := self.retries("num_retries", retries)) is not None:
            shared["retries"] = retries
        where = "router_settings.timeout" if "timeout" in self.router else "litellm_settings.request_timeout"
        total = self.seconds(where, self.router.get("timeout", self.library.get("request_timeout")))
        if total is not None:
            self.told_of_streams(where, total)
        first = self.seconds("router_settings.stream_timeout", self.router.get("stream_timeout"))
        timeouts = {
            name: value for name, value in (("total", total), ("first_token", first)) if value is not None
        }
        return shared | ({"timeouts": timeouts} if timeouts else {})

    def told_of_streams(self, path: str, seconds: str) -> None:
        """Theirs is for silence within a stream, `total` for all of it."""
        if float(seconds.removesuffix("s")) < Timeouts().total:
            self.note(path, "is for whole streams, too, here: raise `timeouts.total` where these take longer")

    def fallbacks(self) -> tuple[dict[str, list[str]], list[str]]:
        """Of each model that has its own, and of the others."""
        found: dict[str, list[str]] = {}
        said = self.library.get("default_fallbacks", self.router.get("default_fallbacks")) or []
        default = self.members(said, "default_fallbacks")
        for where, section in (("litellm_settings", self.library), ("router_settings", self.router)):
            rows = section.get("fallbacks") or []
            if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
                self.note(f"{where}.fallbacks", "must be a list of mappings")
            for at, row in enumerate(rows if isinstance(rows, list) else []):
                for group, others in row.items() if isinstance(row, Mapping) else ():
                    path = f"{where}.fallbacks[{at}].{group}"
                    if group == "*":
                        default = default or self.members(others, path)
                    elif _sane(str(group)) not in self.groups:
                        self.note(path, "there is no such model; left out")
                    else:
                        found[_sane(str(group))] = self.members(others, path)
        return found, default

    def members(self, groups: Any, path: str) -> list[str]:
        """The deployments of models: a fallback names deployments here."""
        found: list[str] = []
        if not isinstance(groups, list):
            self.note(path, "must be a list; left out")
        for group in groups if isinstance(groups, list) else []:
            name = _sane(str(group))
            if isinstance(group, Mapping) or name not in self.groups:
                self.note(path, f"there is no model {group!r}; left out")
            found += [one for one in self.groups.get(name, ()) if one not in found]
        return found

    # -- the rest

    def stores(self) -> Json:
        found: Json = {}
        url = self.general.get("database_url")
        if url:
            found["store"] = {"url": self.text(url)}
        host = self.router.get("redis_host")
        if self.router.get("redis_url"):
            found["limits"] = {"store": self.text(self.router["redis_url"])}
        elif host:
            password = self.router.get("redis_password")
            login = f":{self.in_url(password)}@" if password else ""
            if _VARIABLE.fullmatch(str(password)):
                self.note("router_settings.redis_password", "stands in a URL here: write / as %2F, @ as %40")
            port = self.text(self.router.get("redis_port", 6379))
            database = self.text(self.router.get("redis_db") or 0)
            found["limits"] = {"store": f"redis://{login}{self.text(host)}:{port}/{database}"}
        return found

    def leftovers(self) -> None:
        for name, section in (
            ("litellm_settings", self.library),
            ("general_settings", self.general),
            ("router_settings", self.router),
        ):
            for key, value in section.items():
                is_off = value is None or value is False or value in ([], {})
                if key not in TAKEN[name] | SILENT[name] and not is_off:
                    self.note(f"{name}.{key}", _why(key))
        for key in self.theirs.keys() - SECTIONS:
            self.note(str(key), _why(key))
        if self.general.get("database_url"):
            self.note(
                "general_settings.database_url",
                "is used for tables of our own (`penstock store migrate` makes them); keys and spend are not"
                " taken over",
            )

    def in_url(self, value: Any) -> str:
        return self.text(value if _VARIABLE.fullmatch(str(value)) else quote(str(value), safe=""))

    def text(self, value: Any) -> str:
        """`os.environ/NAME` -> `${NAME}`; what looks like that in theirs is none."""
        text = str(value)
        found = _VARIABLE.fullmatch(text)
        if found is None:
            return text.replace("${", "$${")
        self.variables.add(found[1])
        return f"${{{found[1]}}}"


def _sane(name: str) -> str:
    return _NAME.sub("-", name).lstrip("._:/@+-") or "model"


class _PriceKind(NamedTuple):
    """above: so many tokens of the prompt, as we write them; empty: of any."""

    name: str
    above: str = ""


def _price_kind(key: Any) -> _PriceKind | None:
    if not isinstance(key, str):
        return None
    if (name := PRICES.get(key) or UNIT_PRICES.get(key)) is not None:
        return _PriceKind(name)
    plain, _, above = key.partition("_above_")
    if plain.endswith("_token_cost") and above.startswith("1hr_above_"):
        plain, above = f"{plain}_above_1hr", above.removeprefix("1hr_above_")
    found = re.fullmatch(r"([1-9][0-9]{0,4}k)_tokens", above)
    return None if found is None or plain not in PRICES else _PriceKind(PRICES[plain], found[1])


def _size(above: str) -> int:
    return int(above.removesuffix("k"))


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _why(key: Any) -> str:
    if "_above_" in str(key):
        return "write it as `tiers` of prices.models"
    return WHY.get(str(key), "has no equivalent")


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
