"""A LiteLLM proxy's config.yaml -> penstock.yaml. Pure.

    theirs                                    becomes
    ----------------------------------------  -------------------------------------------------------------
    model_list                                providers, deployments; a route where several share a name
    rpm, tpm, max_parallel_requests           limits of the deployment
    input_cost_per_token ...                  prices of the deployment
    timeout, stream_timeout, num_retries      timeouts and retries of the route
    fallbacks, default_fallbacks              fallbacks of the route
    routing_strategy, model_group_alias       strategy of every route; a route of its own
    master_key                                a key with the role owner
    database_url, redis_*                     store.url, limits.store
    os.environ/NAME                           ${NAME}

What has no equivalent is told, item by item (`Note`); nothing is left out in silence. Their words and ours
are in litellm_words.py.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from penstock.config.litellm_words import (
    BARE,
    DEFAULT_OF,
    KINDS,
    MODES,
    NEEDS,
    PLACES,
    PRICES,
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


def imported(theirs: Mapping[str, Any]) -> Imported:
    """theirs: the whole file, as YAML has it."""
    work = _Work(theirs)
    work.run()
    return Imported(work.settings(), work.notes, sorted(work.variables))


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
        self.shares: dict[str, Json] = {}  # deployment -> what its entry says
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
            yield _Entry(path, group, name, dict(params), dict(info) if isinstance(info, Mapping) else {})

    def deployment(self, entry: _Entry) -> None:
        params = entry.params
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
        limits = {
            name: f"{params[key]}/min" if name != "concurrency" else params[key]
            for key, name in (
                ("rpm", "requests"),
                ("tpm", "tokens"),
                ("max_parallel_requests", "concurrency"),
            )
            if _is_count(params.get(key))
        }
        shared = self.general.get("max_parallel_requests")
        if "concurrency" not in limits and _is_count(shared):
            limits["concurrency"] = shared
        if limits:
            made["limits"] = limits
        name = self.deployment_name(entry, provider)
        self.deployments[name] = made
        self.groups.setdefault(entry.group, []).append(name)
        self.price(entry, name)
        self.shares[name] = params
        self.of_the_route(entry)
        known = {"model", "api_key", "api_base", "base_url", "organization", "custom_llm_provider", "weight"}
        known |= {"rpm", "tpm", "max_parallel_requests", "timeout", "stream_timeout", "num_retries"}
        known |= {*PLACES, *filter(_price_kind, params)}
        for key in params.keys() - known:
            why = "requests say this themselves here" if key in DEFAULT_OF else "has no equivalent"
            self.note(f"{entry.path}.litellm_params.{key}", WHY.get(key, why))
        quiet = {"id", "mode", "base_model", "max_tokens", "max_input_tokens", "max_output_tokens"}
        for key in entry.info.keys() - {*quiet, *filter(_price_kind, entry.info)}:
            if not str(key).startswith("supports_"):  # the table of models knows
                self.note(f"{entry.path}.model_info.{key}", "has no equivalent")

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
        if base:
            made["base_url"] = self.text(base).rstrip("/")
        for key, name in PLACES.items():
            value = params.get(key)
            if value is None:
                continue
            if kind not in NEEDS.get(name, (kind,)):
                self.note(f"{entry.path}.litellm_params.{key}", f"says nothing of {kind}")
            elif isinstance(value, Mapping):
                made[name] = {str(one): self.text(other) for one, other in value.items()}
            else:
                made[name] = self.text(value)
        if params.get("organization"):
            made.setdefault("headers", {})["OpenAI-Organization"] = self.text(params["organization"])
        secret = params.get("api_key")
        env = PROFILES[kind].env if kind in PROFILES else ()
        if secret is not None:
            made["api_key"] = self.text(secret)
        elif env and not base:
            made["api_key"] = self.text(f"os.environ/{env[0]}")
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
        for source in (entry.info, entry.params):
            for key, value in source.items():
                kind = _price_kind(key)
                if kind is None or not isinstance(value, int | float) or isinstance(value, bool):
                    continue
                per, times = ("1", 1) if kind.name in UNIT_PRICES.values() else ("1M", 10**6)
                into = tiers.setdefault(kind.above, {}) if kind.above else found
                into[kind.name] = f"${_plain(Decimal(str(value)) * times)}/{per}"
        if not found:
            return
        for missing in ("input", "output"):
            found.setdefault(missing, "$0/1M")
        if tiers:
            found["tiers"] = [{"above_input_tokens": above, **said} for above, said in sorted(tiers.items())]
        self.prices[name] = "free" if all(value == "$0/1M" for value in found.values()) else found

    def of_the_route(self, entry: _Entry) -> None:
        """What an entry says of its route: the first one that says it counts."""
        route = self.further.setdefault(entry.group, {})
        for key, ours in (("timeout", "total"), ("stream_timeout", "first_token")):
            if (seconds := _seconds(entry.params.get(key))) is not None:
                route.setdefault("timeouts", {}).setdefault(ours, seconds)
                if ours == "total":
                    self.told_of_streams(f"{entry.path}.litellm_params.{key}", entry.params[key])
        if _is_count(entry.params.get("num_retries")):
            route.setdefault("retries", min(int(entry.params["num_retries"]), 5))

    # -- routes

    def aliases(self) -> None:
        found = self.router.get("model_group_alias") or {}
        for alias, target in found.items() if isinstance(found, Mapping) else ():
            group = target.get("model") if isinstance(target, Mapping) else target
            if _sane(str(group)) not in self.groups:
                self.note(
                    f"router_settings.model_group_alias.{alias}", f"there is no model {group!r}; left out"
                )
                continue
            name = _sane(str(alias))
            self.groups[name] = self.groups[_sane(str(group))]
            self.further[name] = self.further.get(_sane(str(group)), {})

    def make_routes(self) -> None:
        shared = self.of_all_routes()
        fallbacks, default = self.fallbacks()
        for group, names in self.groups.items():
            own, weights = self.further.get(group, {}), self.weights(names)
            route: Json = {"targets": [{"deployment": name, **weights.get(name, {})} for name in names]}
            others = fallbacks.get(group, [one for one in default if one not in names])
            if others:
                route["fallbacks"] = others
            route |= {name: value for name, value in shared.items() if name != "timeouts"}
            route |= {name: value for name, value in own.items() if name != "timeouts"}
            if timeouts := {**shared.get("timeouts", {}), **own.get("timeouts", {})}:
                route["timeouts"] = timeouts
            if len(names) == 1:
                route.pop("strategy", None)
            self.routes[group] = route

    def weights(self, names: list[str]) -> dict[str, Json]:
        """By weight where all have one, else by their rates, as simple-shuffle does."""
        for key in ("weight", "rpm", "tpm"):
            if len(names) > 1 and all(_is_weight(self.shares[name].get(key)) for name in names):
                return {name: {"weight": self.shares[name][key]} for name in names}
        return {}

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
        if _is_count(retries):
            shared["retries"] = min(int(retries), 5)
            if retries > 5:
                self.note("num_retries", f"{retries} is 5 here, the most there is")
        where = "router_settings.timeout" if "timeout" in self.router else "litellm_settings.request_timeout"
        longest = self.router.get("timeout", self.library.get("request_timeout"))
        total = _seconds(longest)
        if total is not None and longest is not None:
            self.told_of_streams(where, longest)
        first = _seconds(self.router.get("stream_timeout"))
        timeouts = {
            name: value for name, value in (("total", total), ("first_token", first)) if value is not None
        }
        return shared | ({"timeouts": timeouts} if timeouts else {})

    def told_of_streams(self, path: str, seconds: float) -> None:
        """Theirs is for silence within a stream, `total` for all of it."""
        if seconds < Timeouts().total:
            self.note(path, "is for whole streams, too, here: raise `timeouts.total` where these take longer")

    def fallbacks(self) -> tuple[dict[str, list[str]], list[str]]:
        found: dict[str, list[str]] = {}
        for where, section in (("litellm_settings", self.library), ("router_settings", self.router)):
            rows = section.get("fallbacks") or []
            for at, row in enumerate(rows if isinstance(rows, list) else []):
                for group, others in row.items() if isinstance(row, Mapping) else ():
                    path = f"{where}.fallbacks[{at}].{group}"
                    if group == "*":
                        self.note(path, "use default_fallbacks; left out")
                    elif _sane(str(group)) not in self.groups:
                        self.note(path, "there is no such model; left out")
                    else:
                        found[_sane(str(group))] = self.members(others, path)
        default = self.library.get("default_fallbacks", self.router.get("default_fallbacks")) or []
        return found, self.members(default, "default_fallbacks")

    def members(self, groups: Any, path: str) -> list[str]:
        """The deployments of models: a fallback names deployments here."""
        found: list[str] = []
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
            port = self.text(self.router.get("redis_port", 6379))
            found["limits"] = {"store": f"redis://{login}{self.text(host)}:{port}/0"}
        return found

    def leftovers(self) -> None:
        for name, section in (
            ("litellm_settings", self.library),
            ("general_settings", self.general),
            ("router_settings", self.router),
        ):
            for key, value in section.items():
                if key not in TAKEN[name] | SILENT[name] and value not in (None, False, [], {}):
                    self.note(f"{name}.{key}", WHY.get(key, "has no equivalent"))
        for key in self.theirs:
            if key not in {"model_list", "litellm_settings", "general_settings", "router_settings"}:
                self.note(str(key), WHY.get(str(key), "has no equivalent"))
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


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e6


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


def _seconds(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return f"{_plain(Decimal(str(value)))}s"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
