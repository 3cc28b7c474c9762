"""Settings -> Snapshot, for what runs elsewhere; the builtin models are tests/config/test_builtin.py's."""

import pytest

from penstock.config import schema
from penstock.config.compile import adopt, compile_settings
from penstock.config.errors import ConfigError
from penstock.config.load import load_text
from penstock.config.parts import compiled_price
from penstock.config.problems import is_loopback
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot
from penstock.models import prices
from penstock.types.deployment import Batching, ProbePlan
from penstock.types.money import Cost, cost_of
from penstock.types.usage import Usage

SECRET = b"0" * 32
BASE = """
builtin: off
server: {body_limit: 4MiB}
providers:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1/", api_key: sk-x, headers: {X-Team: a b}}
  open: {kind: openai-compatible, base_url: "https://models.example/v1", models: "*"}
  few: {kind: vllm, models: [org/a, b]}
deployments:
  m: {provider: up, model: upstream-model}
  n: {provider: open, model: other, operations: [embedding]}
routes:
  slow: {targets: [{deployment: m, weight: 3}, {deployment: few/b}], timeouts: {first_token: 200ms}}
  n: {targets: [{deployment: n}], timeouts: {total: 5m}}
keys:
  all: {secret: sk-all}
  some: {secret: sk-some, routes: [slow, open/anything, few/org/a]}
"""


def compiled(text: str = BASE) -> Snapshot:
    return compile_settings(load_text(text, env={}), secret=SECRET)


def test_a_deployment_is_a_route_of_its_own_name() -> None:
    route = compiled().find_route("m")
    assert route is not None
    (target,) = route.targets
    assert target.deployment.model == "upstream-model"
    assert target.deployment.remote is not None
    view = target.deployment.remote
    assert view.state == "ready"
    assert (view.address.scheme, view.address.host, view.address.port, view.address.path) == (
        "http",
        "127.0.0.1",
        9,
        "/v1",
    )
    assert dict(view.headers) == {"x-team": "a b", "authorization": "Bearer sk-x"}


def test_a_route_that_bears_a_deployments_name_takes_its_place() -> None:
    route = compiled().find_route("n")
    assert route is not None
    assert route.timeouts.total_s == 300


def test_a_route_has_weights_and_timeouts() -> None:
    route = compiled().find_route("slow")
    assert route is not None
    assert [(target.deployment.name, target.weight) for target in route.targets] == [("m", 3), ("few/b", 1)]
    assert route.timeouts.first_token_s == 0.2
    assert route.timeouts.connect_s == 2
    assert route.timeouts.min_rate is None
    written = BASE.replace("first_token: 200ms", "min_rate: 2.5")
    slow = compiled(written).find_route("slow")
    assert slow is not None
    assert slow.timeouts.min_rate == 2.5


def test_listed_models_are_routes_and_a_wildcard_takes_any_model() -> None:
    snapshot = compiled()
    assert snapshot.find_route("few/org/a") is not None
    assert snapshot.find_route("few/other") is None
    assert snapshot.find_route("up/anything") is None
    route = snapshot.find_route("open/org/any")
    assert route is not None
    assert route.targets[0].deployment.model == "org/any"
    assert snapshot.find_route("open/org/any") is route
    assert snapshot.find_route("open/") is None
    assert snapshot.find_route("open/" + "x" * 300) is None
    assert snapshot.find_route("nothing") is None


def test_wildcard_routes_do_not_pile_up() -> None:
    snapshot = compiled()
    for number in range(3000):
        assert snapshot.find_route(f"open/{number}") is not None
    assert len(snapshot._wildcards) <= 1024


def test_keys_are_found_by_hash_and_know_their_routes() -> None:
    snapshot = compiled()
    some = snapshot.authenticate("sk-some")
    assert some is not None
    assert some == snapshot.authenticate(b"sk-some")
    assert some.name == "some"
    assert some.may_use("slow")
    assert not some.may_use("m")
    assert snapshot.authenticate("sk-al") is None
    assert snapshot.authenticate(b"\xff") is None
    assert "sk-some" not in repr(snapshot.keys)


def test_the_hash_depends_on_the_servers_secret_alone_when_it_is_given() -> None:
    settings = load_text(BASE.replace("body_limit: 4MiB", "secret: shared"), env={})
    one, other = (compile_settings(settings, secret=secret) for secret in (b"a", b"b"))
    assert set(one.keys) == set(other.keys)
    assert set(one.keys) != set(compiled().keys)


def test_a_minted_key_may_use_everything() -> None:
    snapshot = compile_settings(load_text("builtin: off", env={}), secret=SECRET, minted_key="sk-m")
    key = snapshot.authenticate("sk-m")
    assert key is not None
    assert key.may_use("whatever")
    assert (key.role, key.is_operator) == ("owner", True)


def test_a_key_has_a_role() -> None:
    roles = ("owner", "admin", "operator", "developer", "viewer")
    written = "".join(f"  {role}: {{secret: sk-{role}, role: {role}}}\n" for role in roles)
    snapshot = compiled(BASE + written)
    keys = [snapshot.authenticate(f"sk-{role}") for role in (*roles, "all")]
    said = [(key.role, key.is_operator) for key in keys if key is not None]
    assert said == [*zip(roles, (True, True, True, False, False), strict=True), ("developer", False)]


def test_rows_say_what_a_model_can_do() -> None:
    rows = {row.id: row for row in compiled().models()}
    assert set(rows) == {"m", "n", "slow", "few/org/a", "few/b"}
    assert rows["n"].extras["operations"] == ["embedding"]
    assert rows["slow"].extras["operations"] == ["chat", "completion", "embedding", "rerank", "moderation"]
    assert rows["m"].owned_by == "up"


def test_the_only_model_of_a_kind_is_its_default() -> None:
    text = """
builtin: off
providers: {up: {kind: vllm}}
deployments:
  c: {provider: up, model: a, operations: [chat]}
  e: {provider: up, model: b, operations: [embedding]}
  f: {provider: up, model: c, operations: [embedding]}
"""
    assert compiled(text).defaults == {"chat": "c"}


def test_remote_models_count_as_ready() -> None:
    assert compiled().has_remote
    assert not compiled("builtin: off").has_remote
    assert compiled("{builtin: off, providers: {up: {kind: vllm, models: '*'}}}").has_remote


def test_adopted_providers_take_any_model_and_the_file_wins() -> None:
    found = adopt({"OPENAI_API_KEY": "sk-o", "PPLX_API_KEY": "p", "GROQ_API_KEY": " "}, ollama=True)
    assert {name: source for name, (source, _) in found.items()} == {
        "openai": "OPENAI_API_KEY",
        "perplexity": "PPLX_API_KEY",
        "ollama": "running at http://127.0.0.1:11434/v1",
    }
    adopted = {name: provider for name, (_, provider) in found.items()}
    text = "{builtin: off, providers: {openai: {kind: openai, api_key: mine}}}"
    snapshot = compile_settings(load_text(text, env={}), secret=SECRET, adopted=adopted)
    assert dict(snapshot.remotes["openai"].view.headers)["authorization"] == "Bearer mine"
    assert snapshot.find_route("openai/gpt-x") is None
    route = snapshot.find_route("perplexity/sonar")
    assert route is not None
    assert route.targets[0].deployment.owner == "Perplexity"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_door_open_to_others_needs_a_key() -> None:
    text = "{builtin: off, server: {host: 0.0.0.0}}"
    with pytest.raises(ConfigError, match=r"server\.host: 0\.0\.0\.0 can be reached"):
        compiled(text)
    compile_settings(load_text(text, env={}), secret=SECRET, minted_key="sk-m")
    compiled("{builtin: off, server: {host: 0.0.0.0}, keys: {a: {secret: s}}}")


NO_REDIS = (
    *("redis://", "redis://:6379", "redis://h:abc/0", "redis://h:99999", "redis://h/name", "redis://[::1"),
    "http://h:6379",
)
NO_SENTINELS = (
    *("redis+sentinel://h1,h2", "redis+sentinel://h1,h2/", "redis+sentinel://h1,,h2/m"),
    *("redis+sentinel:///m", "redis+sentinel://h:abc/m", "redis+sentinel://h:0/m", "redis+sentinel://h/a b"),
    *("redis+sentinel://h/m/name", "rediss+sentinel://a@h1,b@h2/m"),
)
REFERENCES = [
    ("providers: {p: {kind: openai-compatible}}", "providers.p: base_url is missing"),
    ("providers: {p: {kind: openai}}", 'providers.p: api_key is missing; write api_key: "${OPENAI_API_KEY}"'),
    ("providers: {p: {kind: vllm, base_url: 'ftp://x'}}", "providers.p.base_url: not an http"),
    ("providers: {p: {kind: vllm, base_url: 'http://u:p@x'}}", "credentials do not belong in a URL"),
    ("providers: {p: {kind: vllm, headers: {Host: x}}}", "providers.p.headers.Host: is not a header"),
    ('providers: {p: {kind: vllm, headers: {a: "x\\ny"}}}', "providers.p.headers.a: holds characters"),
    ('providers: {p: {kind: vllm, api_key: "a\\nb"}}', "providers.p.api_key: holds characters"),
    ("deployments: {d: {provider: nope, model: x}}", "there is no provider 'nope'; there are: none"),
    (
        "deployments: {d: {provider: groq, model: x}}",
        'there are: none; write providers: {groq: {kind: groq, api_key: "${GROQ_API_KEY}"}}',
    ),
    (
        "{providers: {vllm-a: {kind: vllm}}, deployments: {d: {provider: vllm-b, model: x}}}",
        "did you mean 'vllm-a'?",
    ),
    (
        "{providers: {p: {kind: vllm}}, deployments: {d: {provider: p, model: x, threads: 2}}}",
        "deployments.d.threads: only a model on this machine has it",
    ),
    ("deployments: {d: {model: qwen3:4c}}", "deployments.d.model: no model is called 'qwen3:4c'"),
    ("deployments: {d: {model: 'builtin:nope'}}", "deployments.d.model: no model builtin:nope"),
    ("deployments: {d: {model: qwen3:4b, engine: onnx}}", "qwen3:4b runs on llamacpp, not on onnx"),
    ("deployments: {d: {model: 'file:/m.gguf', engine: onnx}}", "runs on llamacpp, not on onnx"),
    ("deployments: {d: {model: qwen3:4b, replicas: {min: 1, max: 2}}}", "min and max must be equal"),
    (
        "routes: {r: {targets: [{deployment: d}]}}",
        "routes.r.targets[0].deployment: there is no deployment 'd'",
    ),
    ("keys: {k: {secret: 'a b'}}", "keys.k.secret: holds a space"),
    ("keys: {k: {secret: a}, l: {secret: a}}", "keys.l.secret: is the same as that of keys.k"),
    ("keys: {k: {secret: a, routes: [r]}}", "keys.k.routes[0]: there is no route or deployment 'r'"),
    ("store: {url: 'mysql://x'}", "store.url: is neither sqlite:///path"),
    ("store: {url: 'postgresql://u:p/w@host/db'}", "store.url: is neither"),
    ("store: {url: 'postgresql://host:54x2/db'}", "store.url: is neither"),
    *((f"limits: {{store: '{url}'}}", "limits.store: is memory, sql, or the URL") for url in NO_REDIS),
    *((f"limits: {{store: '{url}'}}", "limits.store: names the sentinels and") for url in NO_SENTINELS),
    (
        "limits: {store: 'redis://h/0?sentinel_password=x'}",
        "limits.store: 'sentinel_password' is nothing that its URL can say",
    ),
    ("limits: {store: 'redis+sentinel://h/m?sentinel_password='}", "sentinel_password has no value"),
    ("limits: {store: 'redis+sentinel://h/m?ssl_ca_path=/x'}", "limits.store: ssl_ca_path is for TLS"),
    ("limits: {store: 'redis://h/0?protocol=3'}", "limits.store: 'protocol' is nothing that its URL can say"),
    (
        "limits: {store: 'rediss://h/0?ssl_cert_reqs=no'}",
        "limits.store: ssl_cert_reqs is required or optional or none, not 'no'",
    ),
    (
        "limits: {store: 'redis://h/0?ssl_ca_certs=/x'}",
        "limits.store: ssl_ca_certs is for TLS: write rediss://",
    ),
    ("store: {usage: {keep_sums: 1d}}", "store.usage.keep_sums: must be at least `keep`"),
]


@pytest.mark.parametrize(("text", "expected"), REFERENCES)
def test_what_does_not_fit_together_is_refused(text: str, expected: str) -> None:
    settings = load_text(text, env={})
    settings = Settings(
        providers=settings.providers,
        deployments=settings.deployments,
        routes=settings.routes,
        keys=settings.keys,
        store=settings.store,
        limits=settings.limits,
        builtin=False,
    )
    with pytest.raises(ConfigError) as raised:
        compile_settings(settings, secret=SECRET)
    assert len(raised.value.problems) == 1
    assert expected in str(raised.value)


PRICED = """
builtin: off
providers:
  openai: {kind: openai, api_key: k, models: "*"}
  mine: {kind: openai, api_key: k}
deployments:
  a: {provider: openai, model: gpt-5-mini}
  b: {provider: mine, model: gpt-5-mini}
  c: {provider: mine, model: gpt-5}
  d: {provider: mine, model: nobody-s}
  local: {model: "file:x.gguf"}
prices:
  models:
"""


def prices_of(rows: str) -> dict[str, str | int | None]:
    """What a token of each deployment's input costs, and of two names that nobody listed."""
    snapshot = compiled(PRICED + rows)
    names = ("a", "b", "c", "d", "local", "openai/gpt-5", "openai/unheard-of")
    routes = {name: snapshot.find_route(name) for name in names}
    found = {name: route.targets[0].deployment.price for name, route in routes.items() if route is not None}
    return {name: None if price is None else price.input for name, price in found.items()}


LISTED = {"a": 250_000, "b": 250_000, "c": 1_250_000, "d": None, "local": 0}
OPEN = {"openai/gpt-5": 1_250_000, "openai/unheard-of": None}


@pytest.mark.parametrize(
    ("rows", "changed"),
    [
        ("    a: {input: $7/1M}", {"a": 7_000_000}),
        ("    openai/gpt-5-mini: {input: $7/1M}", {"a": 7_000_000, "b": 7_000_000}),  # by its kind
        ("    mine/gpt-5-mini: {input: $7/1M}", {"b": 7_000_000}),
        ("    mine/*: free", {"b": 0, "c": 0, "d": 0}),
        ("    mine/*: free\n    b: {input: $7/1M}", {"b": 7_000_000, "c": 0, "d": 0}),
        ("    openai/*: {input: $1/1M}", {"a": 10**6, "openai/gpt-5": 10**6, "openai/unheard-of": 10**6}),
        ("    openai/gpt-5: {input: $1/1M}", {"c": 10**6, "openai/gpt-5": 10**6}),
        ("    local: {input: $0.01/1M}", {"local": 10_000}),
    ],
)
def test_prices_of_the_configuration_go_before_the_table(rows: str, changed: dict[str, int]) -> None:
    assert prices_of(rows) == LISTED | OPEN | changed


def test_a_price_of_the_configuration_stands_alone() -> None:
    snapshot = compiled(PRICED + "    a: {input: $7/1M, tiers: [{above_input_tokens: 200k, input: $9/1M}]}")
    route = snapshot.find_route("a")
    assert route is not None
    price = route.targets[0].deployment.price
    assert price is not None
    assert (price.output, price.at(200_000).input, price.at(200_001).input) == (None, 7_000_000, 9_000_000)
    assert price.version.startswith("config-")
    assert snapshot.unpriced == {"a", "d"}


def test_what_a_cache_reads_costs_as_the_prompt_unless_it_is_said() -> None:
    rows = "m: {input: $2/1M, output: $4/1M, %s tiers: [{above_input_tokens: 1k, input: $3/1M}]}"
    snapshot = compiled(BASE + "prices: {models: {" + rows % "" + "}}")
    route = snapshot.find_route("m")
    assert route is not None
    price = route.targets[0].deployment.price
    assert price is not None
    assert (price.cached, price.cache_write, price.audio_input) == (2_000_000, 2_000_000, None)
    assert (price.at(1001).cached, price.at(1001).output) == (3_000_000, 4_000_000)
    said = compiled(BASE + "prices: {models: {" + rows % "cached: $1/1M," + "}}").find_route("m")
    assert said is not None
    price = said.targets[0].deployment.price
    assert price is not None
    assert (price.cached, price.at(1001).cached, price.cache_write) == (1_000_000, 1_000_000, 2_000_000)


def test_a_search_that_has_a_price_pays_for_no_tokens() -> None:
    """Cohere says both: how much was read, and what it bills by."""
    price = compiled_price(schema.Price(query=2_000_000_000))
    assert cost_of(price, Usage(500, search_units=1)) == Cost(
        query=2_000_000_000, total=2_000_000_000, version=price.version
    )
    both = compiled_price(schema.Price(query=5, input=3))
    assert cost_of(both, Usage(10, search_units=1)) == Cost(30, query=5, total=35, version=both.version)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("    nope: free", "there is no deployment 'nope'"),
        ("    nope/model: free", "there is no deployment 'nope/model'"),
        ("    openai/: free", "there is no deployment 'openai/'"),
        ("    anthropic/*: free", "there is no provider 'anthropic'"),
        ("    a: {}", "says nothing"),
        ("    a: {input: 3}", "written as"),
        ("    a: {inptu: $3/1M}", "inptu"),
        ("    a: dear", "free"),
        ("    a: {tiers: [{input: $3/1M}]}", "above_input_tokens is missing"),
    ],
)
def test_prices_that_make_no_sense_are_refused(rows: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compiled(PRICED + rows)


def test_the_user_s_table_counts() -> None:
    table = prices.read(
        "- {vendor: openai, source: 'https://x', date: 2026-11-01,"
        " models: [{model: gpt-5, input: 5, output: 6}]}"
    )
    settings = load_text(PRICED.replace("prices:\n  models:\n", ""), env={})
    snapshot = compile_settings(settings, secret=SECRET, table=table)
    found = {name: snapshot.find_route(name) for name in ("a", "c", "openai/gpt-5")}
    priced = {name: route.targets[0].deployment.price for name, route in found.items() if route is not None}
    assert {name: price.input for name, price in priced.items() if price is not None} == {
        "a": 250_000,
        "c": 5,
        "openai/gpt-5": 5,
    }


def test_a_target_twice_is_refused() -> None:
    text = BASE.replace("{deployment: few/b}", "{deployment: m}")
    with pytest.raises(ConfigError, match="m is a target twice"):
        compiled(text)


def test_settings_are_what_the_schema_says_and_nothing_is_shared() -> None:
    assert Settings().providers == {}
    assert schema.Provider(kind="vllm").headers == {}


@pytest.mark.parametrize(
    ("fallbacks", "said"),
    [
        ("[nope]", r"routes\.chat\.fallbacks\[0\]"),
        ("[m]", "m is a target or a fallback already"),
        ("[few/b, few/b]", "few/b is a target or a fallback already"),
    ],
)
def test_fallbacks_that_make_no_sense_are_refused(fallbacks: str, said: str) -> None:
    route = f"chat: {{targets: [{{deployment: m}}], fallbacks: {fallbacks}}}"
    text = BASE.replace("routes:", f"routes:\n  {route}", 1)
    with pytest.raises(ConfigError, match=said):
        compile_settings(load_text(text), secret=SECRET)


def test_fallbacks_are_targets_under_the_route_s_label() -> None:
    text = BASE.replace(
        "routes:", "routes:\n  chat: {targets: [{deployment: m}], fallbacks: [few/b], retries: 2}", 1
    )
    route = compile_settings(load_text(text), secret=SECRET).find_route("chat")
    assert route is not None
    assert [(one.deployment.name, one.labels.route) for (one,) in route.tiers] == [("few/b", "chat")]
    assert (route.retries, route.has_more) == (2, True)
    alone = compile_settings(load_text(BASE), secret=SECRET).find_route("m")
    assert alone is not None
    assert not alone.has_more


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("api_key: a, api_keys: [b, c]", "stands beside api_key"),
        ("api_keys: [a, a]", "the same key twice"),
        ('api_keys: [a, "b c\\n"]', r"api_keys\[1\]"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: str, said: str) -> None:
    text = BASE.replace("api_key: sk-x", keys)
    with pytest.raises(ConfigError, match=said):
        compile_settings(load_text(text), secret=SECRET)


def batching_of(text: str, name: str = "m") -> Batching | None:
    route = compiled(text).find_route(name)
    assert route is not None
    assert route.is_plain is (route.targets[0].deployment.batching is None)
    return route.targets[0].deployment.batching


def with_batching(written: str) -> str:
    return BASE.replace("model: upstream-model", f"model: upstream-model, batching: {written}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("off", None),
        ("on", Batching()),
        ("{}", Batching()),
        ("{window: 5ms, texts: 32, tokens: 8k}", Batching(0.005, 32, 8_000)),
        ("{tokens: 500}", Batching(tokens=500)),
    ],
)
def test_batching_of_a_provider_s_model_is_asked_for(written: str, expected: Batching | None) -> None:
    assert batching_of(BASE) is None
    assert batching_of(with_batching(written)) == expected


def test_batching_on_this_machine_is_the_rule() -> None:
    text = """
deployments:
  own: {model: "builtin:embedding"}
  "no": {model: "builtin:embedding", batching: off}
  chat: {model: "builtin:chat"}
routes:
  kept: {targets: [{deployment: own}], retries: 1}
"""
    assert batching_of(text, "own") == Batching()
    assert batching_of(text, "builtin:embedding") == batching_of(text, "builtin:rerank") == Batching()
    assert batching_of(text, "no") is batching_of(text, "chat") is batching_of(text, "builtin:chat") is None
    kept = compiled(text).find_route("kept")
    assert kept is not None
    assert (kept.has_more, kept.is_plain) == (True, False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("maybe", "batching: must be on or off, not 'maybe'"),
        ("[1]", "batching: must be on or off or a mapping of window, texts, tokens, not a list"),
        ("{wait: 1ms}", "batching.wait: there is no such setting; allowed: window, texts, tokens"),
        ("{window: 2}", "batching.window: '2': a duration is"),
        ("{window: 2s}", "batching.window: must be at most 1s"),
        ("{texts: 1}", "batching.texts: must be at least 2"),
        ("{texts: 3000}", "batching.texts: must be at most 2048"),
        ("{tokens: 16KiB}", "batching.tokens: '16KiB': an amount is"),
        ("{tokens: []}", "batching.tokens: must be an amount, not a list"),
        ("on, operations: [chat]", "batching: is for embedding and rerank; this deployment does neither"),
    ],
)
def test_batching_that_makes_no_sense_is_refused(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(with_batching(written))
    (problem,) = caught.value.problems
    assert f"{problem.path}: {problem.message}".startswith(f"deployments.m.{said}")


def test_batching_of_an_engine_that_only_chats_is_refused() -> None:
    with pytest.raises(ConfigError, match="builtin:chat on llamacpp has nothing to batch"):
        compiled('deployments: {c: {model: "builtin:chat", batching: on}}')


def test_a_queue_needs_a_concurrency() -> None:
    queue = "providers: {up: {kind: vllm}}\ndeployments: {m: {provider: up, model: m, queue: {waiting: 3}}}\n"
    with pytest.raises(ConfigError, match=r"deployments\.m\.queue: needs `concurrency`"):
        compiled(queue)
    found = compiled(queue.replace("queue:", "concurrency: 4, queue:")).find_route("m")
    assert found is not None
    deployment = found.targets[0].deployment
    assert (deployment.concurrency, deployment.queue.waiting, deployment.queue.wait_s) == (4, 3, 60.0)
    assert not found.is_plain


PLACES = """
providers:
  paris: {kind: mistral, api_key: k, data_region: eu, data_policy: [no-training], models: [a]}
  texas: {kind: groq, api_key: k, data_region: us}
deployments:
  large: {provider: paris, model: m}
  other: {provider: paris, model: n, data_region: ch}
  fast: {provider: texas, model: m}
routes:
  r: {targets: [{deployment: %s}], %s}
"""


def places(target: str, more: str) -> Snapshot:
    return compile_settings(load_text(PLACES % (target, more)), secret=SECRET)


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("fast", "requires: {region: [eu]}", r"fast is not what `requires` asks for: its data_region is us"),
        ("large", "fallbacks: [fast], requires: {region: [eu]}", r"routes\.r\.fallbacks\[0\]"),
        ("fast", "requires: {data_policy: [no-training]}", "its data_policy none"),
        ("builtin:chat", "requires: {region: [eu]}", "its data_region is not said"),
        ("large", "requires: {region: [EU]}", r"requires\.region: 'EU' must be of lower-case letters"),
        ("large", "sticky: key, strategy: cheapest", r"routes\.r\.sticky: is for the strategy weighted"),
        ("large", "latency: 1s", r"routes\.r\.latency: is for the strategy cheapest"),
    ],
)
def test_places_that_do_not_fit_stop_the_start(target: str, more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        places(target, more)


def test_a_deployment_is_where_its_provider_is_unless_it_says() -> None:
    more = "fallbacks: [other, paris/a, 'builtin:chat'], requires: {data_policy: [no-training]}"
    route = places("large", more).find_route("r")
    assert route is not None
    found = [one.deployment.place for tier in (route.targets, *route.tiers) for one in tier]
    assert [(one.region, sorted(one.data_policy), one.is_own) for one in found] == [
        ("eu", ["no-training"], False),
        ("ch", ["no-training"], False),
        ("eu", ["no-training"], False),
        ("", [], True),
    ]


def test_tiers_stand_in_their_order() -> None:
    route = places("fast, tier: 5", "fallbacks: [other]").find_route("r")
    assert route is not None
    assert [one.deployment.name for one in route.targets] == ["fast"]
    text = PLACES % ("fast, tier: 5}, {deployment: large, tier: 2", "fallbacks: [other]")
    route = compile_settings(load_text(text), secret=SECRET).find_route("r")
    assert route is not None
    tiers = (route.targets, *route.tiers)
    assert [[one.deployment.name for one in tier] for tier in tiers] == [["large"], ["fast"], ["other"]]


def with_probe(written: str) -> str:
    return BASE.replace("model: upstream-model", f"model: upstream-model, probe: {written}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("off", None),
        ("on", ProbePlan(30.0, 10.0)),
        ("{}", ProbePlan()),
        ("{every: 2m}", ProbePlan(120.0, 10.0)),
        ("{every: 1s, timeout: 500ms}", ProbePlan(1.0, 0.5)),
    ],
)
def test_probes_are_asked_for(written: str, expected: ProbePlan | None) -> None:
    plain = compiled().find_route("m")
    assert plain is not None
    assert (plain.targets[0].deployment.probe, plain.is_plain) == (None, True)
    route = compiled(with_probe(written)).find_route("m")
    assert route is not None
    assert route.targets[0].deployment.probe == expected
    assert route.is_plain is (expected is None), "its answers are noted, so that they spare a probe"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("often", "probe: must be on or off, not 'often'"),
        ("[1]", "probe: must be on or off or a mapping of every, timeout, not a list"),
        ("{after: 1s}", "probe.after: there is no such setting; allowed: every, timeout"),
        ("{every: 30}", "probe.every: '30': a duration is"),
        ("{every: 500ms}", "probe.every: must be at least 1s"),
        ("{timeout: 0s}", "probe.timeout: '0s': a duration is above zero"),
        ("{timeout: 1m}", "probe.timeout: must be at most 30s"),
    ],
)
def test_probes_that_make_no_sense_are_refused(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(with_probe(written))
    (problem,) = caught.value.problems
    assert f"{problem.path}: {problem.message}".startswith(f"deployments.m.{said}")


def test_what_has_several_parts_is_watched_part_by_part() -> None:
    text = """
providers:
  keys: {kind: vllm, api_keys: [k1, k2], models: "*"}
deployments:
  one: {model: "builtin:chat"}
  three: {model: "builtin:chat", replicas: 3}
  far: {provider: keys, model: m}
routes:
  r: {targets: [{deployment: three}]}
"""
    found = {name: compiled(text).find_route(name) for name in ("one", "three", "r", "far", "keys/any")}
    seen = {
        name: (route.targets[0].deployment.has_parts, route.has_more, route.is_plain)
        for name, route in found.items()
        if route is not None
    }
    assert seen == {
        "one": (False, False, True),
        "three": (True, True, False),
        "r": (True, True, False),
        "far": (True, False, True),
        "keys/any": (True, False, True),
    }


def test_the_deployments_of_a_snapshot() -> None:
    assert [one.name for one in compiled().deployments()] == ["m", "n", "few/org/a", "few/b"]


SMART = """
providers:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
  claude: {kind: anthropic, api_key: k}
deployments:
  small: {provider: up, model: s}
  large: {provider: claude, model: l}
  chats: {provider: up, model: c, operations: [chat]}
routes:
  smart:
    strategy: difficulty
    targets: [{deployment: small, when: easy}, {deployment: large, when: hard}]
    difficulty: {}
"""


def smart(difficulty: str) -> Snapshot:
    return compiled(SMART.replace("difficulty: {}", f"difficulty: {difficulty}"))


def test_a_route_by_difficulty() -> None:
    route = smart("{thresholds: {hard: 0.9}, escalate: [], escalate_streams: on}").routes["smart"]
    plan = route.difficulty
    assert plan is not None
    assert plan.levels == ("easy", "hard")
    assert (plan.medium, plan.hard, plan.escalates, plan.holds_streams) == (0.25, 0.9, frozenset(), True)
    assert [target.when for target in route.targets] == ["easy", "hard"]
    assert route.is_choosy
    assert route.has_more
    usual = compiled(SMART.replace("    difficulty: {}\n", "")).routes["smart"].difficulty
    assert usual is not None
    assert usual.escalates == {"schema", "refusal"}
    assert not usual.holds_streams


def test_a_classifier_is_a_route_of_its_own() -> None:
    plan = smart("{classifier: {deployment: 'builtin:embedding', easy: [a], hard: [b, c]}}").routes["smart"]
    assert plan.difficulty is not None
    assert plan.difficulty.classifier is not None
    (target,) = plan.difficulty.classifier.route.targets
    assert target.deployment.name == "builtin:embedding"
    assert target.labels == ("smart", "builtin:embedding")
    assert plan.difficulty.classifier.hard == ("b", "c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SMART.replace("strategy: difficulty", ""), "routes.smart.difficulty: needs `strategy: difficulty`"),
        (SMART.replace("strategy: difficulty", ""), "routes.smart.targets: `when` needs"),
        (SMART.replace(", when: hard", ""), "routes.smart.targets[1]: `when` is missing"),
        (SMART.replace("when: hard", "when: easy"), "routes.smart.targets: are all of one level"),
        (SMART.replace("{}", "{thresholds: {medium: 0.8}}"), "thresholds: medium must not be above hard"),
        (
            SMART.replace("{}", "{classifier: {deployment: nobody, easy: [a], hard: [b]}}"),
            "classifier.deployment: there is no deployment 'nobody'",
        ),
        (
            SMART.replace("{}", "{classifier: {deployment: large, easy: [a], hard: [b]}}"),
            "classifier.deployment: large does not do embedding",
        ),
        (
            SMART.replace("{}", "{classifier: {deployment: chats, easy: [a], hard: [b]}}"),
            "classifier.deployment: chats does not do embedding",
        ),
        (
            SMART.replace("{}", "{classifier: {deployment: 'builtin:chat', easy: [a], hard: [b]}}"),
            "classifier.deployment: builtin:chat does not do embedding",
        ),
        (
            SMART.replace("{}", "{classifier: {deployment: small, easy: [a, x], hard: [x]}}"),
            "classifier: 'x' is an example of easy and of hard requests",
        ),
        (
            SMART.replace(
                "difficulty: {}",
                "requires: {region: [eu]}\n"
                "    difficulty: {classifier: {deployment: small, easy: [a], hard: [b]}}",
            )
            .replace("k}", "k, data_region: eu}")
            .replace("{deployment: small, when: easy}", "{deployment: large, when: easy}"),
            "classifier.deployment: small is not what `requires` asks for",
        ),
        (
            SMART.replace("when: hard}", "when: hard, tier: 2}"),
            "routes.smart.targets: are all of one level",
        ),
        (
            SMART.replace("{deployment: small,", "{deployment: 'builtin:embedding',"),
            "targets[0].deployment: builtin:embedding does not do chat",
        ),
    ],
)
def test_difficulty_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(text)
    assert said in str(raised.value)
