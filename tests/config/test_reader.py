"""Every mistake of a file, in one go, with its line, what is allowed and what was meant."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.errors import ConfigError
from penstock.config.load import load_text
from penstock.config.reader import read

MANY = """\
server: {port: 99999, hots: 1}
providers:
  up: {kind: opnai}
deployments:
  m: {provider: upp, model: x}
  q: {model: qwen3:4c}
routes:
  slow:
    targets: [{deployment: mm}]
    timeouts: {first_token: 200}
    guardrails: [words]
builtin: maybe
"""


def test_all_problems_of_a_file_are_reported_at_once_in_its_order() -> None:
    with pytest.raises(ConfigError) as raised:
        load_text(MANY, env={}, origin="my.yaml")
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["my.yaml:1", "server.port"],
        ["my.yaml:1", "server.hots"],
        ["my.yaml:3", "providers.up.kind"],
        ["my.yaml:5", "deployments.m.provider"],
        ["my.yaml:6", "deployments.q.model"],
        ["my.yaml:9", "routes.slow.targets[0].deployment"],
        ["my.yaml:10", "routes.slow.timeouts.first_token"],
        ["my.yaml:11", "routes.slow.guardrails"],
        ["my.yaml:12", "builtin"],
    ]
    assert lines[1].endswith(
        "allowed: host, port, workers, secret, tls, body_limit, media_hosts; did you mean 'host'?"
    )
    assert "did you mean 'openai'?" in lines[2]
    assert "not in this release" in lines[7]


TABLE = [
    ("[]", "the file must be a mapping of settings, not a list"),
    ("a", "the file must be a mapping of settings, not a single value"),
    ("keys: {ci: sk-secret}", "keys.ci: this must be a mapping of settings, not a single value"),
    ("providers: {o: {kind: openai, api_keys: sk-secret}}", "o.api_keys: must be a list, not a single value"),
    ("a: {", "not YAML"),
    ("\tserver: {}", "not YAML"),
    ("nope: 1", "nope: there is no such setting; allowed: server, providers"),
    ("rotes: {}", "did you mean 'routes'?"),
    ("{? [a, b] : 1}", "a key must be text"),
    ("server: {port: 1, port: 2}", "server.port: is written twice"),
    ("server: {<<: 5}", "server: `<<` takes a mapping, or a list of them, not '5'"),
    ("server: &s {<<: *s}", "server: `<<` leads back to itself"),
    ("server: {<<: &s [*s]}", "server: `<<` leads back to itself"),
    ("server: []", "server: this must be a mapping of settings, not a list"),
    ("server: {port: x}", "server.port: must be a whole number, not 'x'"),
    ("server: {port: 1.5}", "must be a whole number, not '1.5'"),
    ("server: {port: 0x10}", "must be a whole number, not '0x10'"),
    ("server: {port: -1}", "server.port: must be at least 0, not '-1'"),
    ("server: {port: true}", "must be a whole number, not 'true'"),
    ("server: {host: true}", "server.host: must be text; put 'true' in quotes"),
    ("server: {host: {}}", "server.host: must be text, not a mapping"),
    ("server: {host: ''}", "server.host: must not be empty"),
    ("server: {body_limit: 16}", "server.body_limit: '16': a size is a number and B"),
    ("server: {body_limit: 0MiB}", "a size is above zero"),
    ("server: {tls: {cert: a}}", "server.tls: key is missing"),
    ("store: {usage: {on_failure: wait}}", "'wait' is not one of drop-and-count, refuse"),
    ("telemetry: {otlp: x}", "telemetry.otlp: not in this release"),
    ("telemetry: {log_level: loud}", "'loud' is not one of debug, error, info, warning"),
    ("providers: {p: {}}", "providers.p: kind is missing"),
    ("providers: {p: {kind: }}", "providers.p: kind is missing"),
    ("providers: {a/b: {kind: vllm}}", "a provider's name has no slash"),
    ("deployments: {'a b': {model: m}}", "a name has letters, digits and"),
    ("deployments: {'builtin:x': {model: m}}", "names that begin with builtin: are the program's own"),
    ("providers: {p: {kind: vllm, models: some}}", "'some' is not one of *"),
    ("providers: {p: {kind: vllm, models: {a: b}}}", "must be '*' or a list, not a mapping"),
    ("deployments: {d.e: {model: m, quantization: q4}}", "deployments.d.e.quantization: not in this release"),
    ("deployments: {d: {model: m, engine: vllm}}", "vllm: not in this release; there are: llamacpp, onnx"),
    ("deployments: {d: {model: m, parallel: {tensor: 2}}}", "parallel.tensor: not in this release"),
    ("deployments: {d: {model: m, replicas: {min: 0}}}", "replicas.min: must be at least 1"),
    ("deployments: {d: {model: m, replicas: many}}", "replicas: must be a whole number"),
    (
        "deployments: {d: {model: m, replicas: []}}",
        "must be a whole number or a mapping of min, max, not a list",
    ),
    ("deployments: {d: {model: m, operations: [sing]}}", "'sing' is not one of"),
    ("routes: {r: {targets: []}}", "routes.r.targets: must not be empty"),
    ("routes: {r: {targets: x}}", "routes.r.targets: must be a list, not a single value"),
    ("routes: {r: {targets: [{}]}}", "routes.r.targets[0]: deployment is missing"),
    ("routes: {r: {targets: [{deployment: a, weight: 0}]}}", "weight: must be above 0"),
    (
        "routes: {r: {targets: [{deployment: a, when: x}]}}",
        "targets[0].when: 'x' is not one of easy, hard, medium",
    ),
    ("routes: {r: {targets: [{deployment: a}], strategy: difficult}}", "did you mean 'difficulty'?"),
    (
        "routes: {r: {targets: [{deployment: a}], difficulty: {thresholds: {hard: 1.5}}}}",
        "routes.r.difficulty.thresholds.hard: must be at most 1",
    ),
    (
        "routes: {r: {targets: [{deployment: a}], difficulty: {escalate: [shape]}}}",
        "difficulty.escalate[0]: 'shape' is not one of logprob, refusal, schema",
    ),
    (
        "routes: {r: {targets: [{deployment: a}], difficulty: {min_logprob: 1}}}",
        "min_logprob: must be at most 0",
    ),
    ("routes: {r: {targets: [{deployment: a}], guardrails: [b]}}", "guardrails: not in this release"),
    ("routes: {r: {targets: [{deployment: a}], retries: 9}}", "retries: must be at most 5"),
    ("routes: {r: {targets: [{deployment: a}], timeouts: {min_rate: 0}}}", "min_rate: must be above 0"),
    ("routes: {r: {targets: [{deployment: a}], timeouts: {min_rate: 2/s}}}", "min_rate: must be a number"),
    ("keys: {k: {secret: s, role: king}}", "keys.k.role: 'king' is not one of"),
    ("keys: {k: {expires: soon}}", "keys.k.expires: 'soon': a moment is a day such as 2026-12-31"),
    ("keys: {k: {expires: 2026-02-30}}", "a moment is a day"),
    ("keys: {k: {expires: 2026-12-31T10:00:00}}", "a moment is a day"),
    ("keys: {k: {previous: {secret: s}}}", "keys.k.previous: until is missing"),
    ("identity: {oidc: {a: {issuer: x, audience: y, algorithms: [HS256]}}}", "'HS256' is not one of ES256"),
    ("identity: {oidc: {a: {issuer: x, audience: y, algorithms: [none]}}}", "'none' is not one of ES256"),
    ("identity: {oidc: {a: {issuer: x}}}", "identity.oidc.a: audience is missing"),
    ("telemetry: {otlp: x}", "telemetry.otlp: not in this release"),
    ("builtin: nah", "builtin: must be on or off, not 'nah'"),
    ('server: {host: "${NOPE}"}', "the environment variable NOPE is not set"),
    ('server: {host: "${a b}"}', "${a b} is no variable; write ${NAME}"),
    ('server: {port: "${SECRET}"}', "server.port: must be a whole number, not what its variable holds"),
    ('providers: {p: {kind: "${SECRET}"}}', "the value of a variable is not one of"),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_mistakes(text: str, expected: str) -> None:
    messages = [
        f"{problem.path}: {problem.message}" for problem in read(text, {"SECRET": "hunter2"}).problems
    ]
    assert any(expected in message for message in messages), messages
    assert "hunter2" not in str(messages)


def test_variables() -> None:
    env = {"HOST": "::1", "PORT": "7", "EMPTY": ""}
    settings = load_text(
        'server: {host: "${HOST}", port: "${PORT}", secret: "a-${EMPTY:-x}-$${HOST}-${NO:-}-$"}', env=env
    )
    assert settings.server.host == "::1"
    assert settings.server.port == 7
    assert settings.server.secret == "a-x-${HOST}--$"


@pytest.mark.parametrize("text", ["", "# nothing", "---", "~", "server:", "server: {host: }"])
def test_nothing_means_the_defaults(text: str) -> None:
    settings = load_text(text, env={})
    assert settings.server.port == 8600
    assert settings.builtin is True


def test_numbers_are_kept_as_written_where_text_is_due() -> None:
    settings = load_text("keys: {a: {secret: 007}}", env={})
    assert settings.keys["a"].secret == "007"


@pytest.mark.parametrize(
    ("text", "expected"), [("off", False), ("no", False), ("'off'", False), ("on", True)]
)
def test_switches(text: str, expected: bool) -> None:
    assert load_text(f"builtin: {text}", env={}).builtin is expected


def test_anchors_and_merges() -> None:
    text = """
providers:
  a: &base {kind: vllm, base_url: "http://a/v1", models: [x]}
  b: {<<: *base, base_url: "http://b/v1"}
  c: &c {<<: [*base, {kind: ollama}]}
  d: {<<: *c, models: [y]}
"""
    providers = load_text(text, env={}).providers
    assert providers["b"].base_url == "http://b/v1"
    assert providers["b"].models == ("x",)
    assert providers["c"].kind == "vllm"
    assert providers["d"] == msgspec.structs.replace(providers["c"], models=("y",))


def test_aliases_without_end_are_refused() -> None:
    text = "server: &a {port: *a}"
    assert read(text, {}).problems
    bomb = "x0: &x0 [a,a,a,a,a,a,a,a,a]\n" + "".join(
        f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert read(bomb + "providers: {p: {kind: vllm, models: *x11}}", {}).problems
    bomb = "x0: &x0 {a: b}\n" + "".join(
        f"x{n}: &x{n} {{<<: [{','.join([f'*x{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
    )
    assert read(bomb + "providers: {<<: *x11}", {}).problems


@given(st.text())
def test_no_text_raises(text: str) -> None:
    read(text, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["server", "providers", "deployments", "routes", "keys", "kind", "model", "targets"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_tree_raises_anything_but_config_error(tree: object) -> None:
    with contextlib.suppress(ConfigError):
        load_text(json.dumps(tree), env={})
