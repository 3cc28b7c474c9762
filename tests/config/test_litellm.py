"""Five configurations of LiteLLM's proxy, as people have them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.compile import compile_settings
from penstock.config.litellm import Imported, imported
from penstock.config.load import load_text

FOLDER = Path(__file__).parent / "litellm"
FILES = sorted(FOLDER.glob("*.yaml"))


def of(name: str) -> Imported:
    return imported(yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8")))


def notes(found: Imported) -> dict[str, str]:
    return {note.path: note.message for note in found.notes}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_result_is_a_configuration(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "there")
    found = imported(yaml.safe_load(file.read_text("utf-8")))
    values = {
        "DATABASE_URL": "postgresql://penstock@db/penstock",
        **{name: f"value-of-{name.lower()}" for name in found.variables if name != "DATABASE_URL"},
    }
    vertex = found.settings["providers"].get("vertex")
    if vertex is not None:  # its key file is read
        vertex.pop("service_account")
        vertex["service_account"] = _service_account()
    loaded = load_text(yaml.safe_dump(found.settings), env=values)
    snapshot = compile_settings(loaded, secret=b"0" * 32)
    assert set(found.settings["routes"]) <= set(snapshot.routes)


def test_one_vendor() -> None:
    found = of("simple")
    assert found.settings == {
        "server": {"host": "0.0.0.0", "port": 4000},
        "builtin": False,
        "providers": {"openai": {"kind": "openai", "api_key": "${OPENAI_API_KEY}"}},
        "deployments": {
            "gpt-4o@openai": {"provider": "openai", "model": "gpt-4o"},
            "embed@openai": {
                "provider": "openai",
                "model": "text-embedding-3-small",
                "operations": ["embedding"],
            },
        },
        "routes": {
            "gpt-4o": {"targets": [{"deployment": "gpt-4o@openai"}], "timeouts": {"total": "600s"}},
            "embed": {"targets": [{"deployment": "embed@openai"}], "timeouts": {"total": "600s"}},
        },
        "keys": {"master": {"secret": "${LITELLM_MASTER_KEY}", "role": "owner"}},
    }
    assert found.notes == []
    assert found.variables == ["LITELLM_MASTER_KEY", "OPENAI_API_KEY"]


def test_several_under_one_name() -> None:
    found = of("balanced")
    routes, deployments = found.settings["routes"], found.settings["deployments"]
    assert routes["gpt-4o"] == {
        "targets": [
            {"deployment": "gpt-4o@azure", "weight": 6},
            {"deployment": "gpt-4o@azure-2", "weight": 18},
        ],
        "fallbacks": ["claude@anthropic", "gpt-mini@openai"],
        "retries": 2,
        "timeouts": {"total": "90s"},
    }
    assert routes["gpt-4"] == routes["gpt-4o"]  # its alias
    assert routes["claude"]["timeouts"] == {"total": "30s", "first_token": "5.5s"}
    assert routes["old"]["targets"] == routes["claude"]["targets"]
    assert "fallbacks" not in routes["gpt-mini"]  # it is the default one itself
    assert deployments["gpt-4o@azure-2"]["limits"] == {"requests": "18/min", "tokens": "100000/min"}
    assert deployments["gpt-mini@openai"]["limits"] == {"concurrency": 20}
    assert found.settings["prices"]["models"] == {"claude@anthropic": {"input": "$1/1M", "output": "$5/1M"}}
    assert found.settings["store"] == {"url": "${DATABASE_URL}"}
    assert found.settings["limits"] == {"store": "redis://:${REDIS_PASSWORD}@redis.internal:6380/0"}
    told = notes(found)
    assert {
        "router_settings.model_group_alias.lost",
        "router_settings.allowed_fails",
        "litellm_settings.fallbacks[1].nowhere",
        "litellm_settings.context_window_fallbacks",
        "litellm_settings.callbacks",
        "litellm_settings.cache",
        "general_settings.alerting",
        "model_list[2].litellm_params.temperature",
    } <= told.keys()
    assert "supports_vision" not in str(told)


def test_clouds() -> None:
    found = of("clouds")
    providers = found.settings["providers"]
    assert providers["bedrock"]["region"] == "us-west-2"
    assert providers["vertex"]["project"] == "my-project"
    models = [row["model"] for row in found.settings["deployments"].values()]
    assert models == [
        "us.anthropic.claude-sonnet-4-5-v1:0",
        "anthropic.claude-sonnet-4-5-v1:0",
        "gemini-2.5-pro",
        "gemini-2.5-flash",
    ]
    assert found.settings["routes"]["sonnet"]["strategy"] == "least-loaded"
    told = notes(found)
    assert "left out" in told["model_list[4].model_info.mode"]
    assert "left out" in told["model_list[5].litellm_params.model"]
    assert "router_settings.provider_budget_config" in told
    assert "keys" not in found.settings


def test_servers_of_one_s_own() -> None:
    found = of("local")
    providers = found.settings["providers"]
    assert providers["ollama-native"] == {"kind": "ollama-native", "base_url": "http://ollama:11434"}
    assert providers["openai-compatible"]["base_url"] == "http://gpu-2:8000/v1"
    assert providers["groq"]["models"] == "*"
    assert found.settings["deployments"]["my-llama"]["model"] == "llama3.1"
    assert found.settings["prices"]["models"] == {"qwen@vllm": "free"}
    assert found.settings["routes"]["qwen"]["strategy"] == "fastest"
    assert found.settings["routes"]["qwen"]["retries"] == 5
    assert found.settings["telemetry"] == {"log_level": "debug"}
    told = notes(found)
    assert told["model_list[0].model_name"] == "'llama local' is called 'llama-local' here"
    assert "openai/<model>" in told["model_list[4].model_name"]
    assert "model_list[3].model_name" not in told
    assert "num_retries" in told


def test_a_pattern_of_a_vendor_that_is_there_keeps_its_names() -> None:
    def row(name: str, model: str) -> dict[str, Any]:
        return {
            "model_name": name,
            "litellm_params": {"model": model, "api_key": "os.environ/ANTHROPIC_API_KEY"},
        }

    rows = [row("claude", "anthropic/claude-x"), row("anthropic/*", "anthropic/*"), row("b", "anthropic/b")]
    found = imported({"model_list": rows, "general_settings": {"master_key": "sk-1"}})
    assert found.settings["providers"] == {
        "anthropic": {"kind": "anthropic", "api_key": "${ANTHROPIC_API_KEY}", "models": "*"}
    }
    assert found.notes == []


def test_a_timeout_that_would_cut_streams_is_told() -> None:
    theirs = {
        "model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "timeout": 30}}],
        "litellm_settings": {"request_timeout": 600},
    }
    told = notes(imported(theirs))
    assert "whole streams" in told["model_list[0].litellm_params.timeout"]
    assert "litellm_settings.request_timeout" not in told  # as long as ours


def test_what_has_no_equivalent_is_told() -> None:
    told = notes(of("enterprise"))
    assert {
        "environment_variables",
        "model_list[0].litellm_params.max_budget",
        "model_list[0].litellm_params.tags",
        "model_list[0].model_info.access_groups",
        "model_list[1].tpm",
        "model_list[2]",
        "model_list[3].litellm_params.model",
        "litellm_settings.max_budget",
        "litellm_settings.success_callback",
        "litellm_settings.key_generation_settings",
        "general_settings.enable_jwt_auth",
        "general_settings.global_max_parallel_requests",
        "router_settings.enable_tag_filtering",
        "guardrails",
        "mcp_servers",
    } <= told.keys()
    found = of("enterprise").settings
    assert found["providers"]["mistral"]["headers"] == {"x-tenant": "${TENANT}"}
    assert found["deployments"]["mistral@mistral"]["limits"] == {"concurrency": 50}


def test_every_price_that_has_a_place_here_is_taken() -> None:
    row = {
        "model_name": "m",
        "litellm_params": {
            "model": "gemini/gemini-2.5-pro",
            "api_key": "k",
            "input_cost_per_token": 1.25e-06,
            "output_cost_per_token": 1e-05,
            "input_cost_per_token_above_200k_tokens": 2.5e-06,
            "cache_creation_input_token_cost_above_1hr": 6e-06,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
            "output_cost_per_token_flex": 1e-06,
        },
        "model_info": {"output_cost_per_image": 0.039, "input_cost_per_audio_token": 1e-06},
    }
    found = imported({"model_list": [row]})
    (price,) = found.settings["prices"]["models"].values()
    assert price == {
        "input": "$1.25/1M",
        "output": "$10/1M",
        "cache_write_1h": "$6/1M",
        "audio_input": "$1/1M",
        "image": "$0.039/1",
        "tiers": [{"above_input_tokens": "200k", "input": "$2.5/1M", "cache_write_1h": "$12/1M"}],
    }
    noted = [note.path.rpartition(".")[2] for note in found.notes]
    assert [path for path in noted if "cost" in path] == ["output_cost_per_token_flex"]
    load_text(yaml.safe_dump(found.settings), env={})


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=6,
)
WORDS = (
    "api_key api_base rpm tpm weight timeout num_retries extra_headers aws_region_name input_cost_per_token"
)
MODELS = st.sampled_from(["gpt-4o", "azure/x", "bedrock/y", "nobody/z", "openai/*", "vertex_ai/g"])
PARAMS = st.fixed_dictionaries({"model": MODELS | JUNK}, optional=dict.fromkeys(WORDS.split(), JUNK))
ROWS = st.fixed_dictionaries({"model_name": st.text(max_size=5) | JUNK, "litellm_params": PARAMS | JUNK})
NAMES = ("fallbacks", "default_fallbacks", "model_group_alias", "routing_strategy", "num_retries", "timeout")
SECTION = st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=4) | JUNK


@given(
    theirs=st.fixed_dictionaries(
        {"model_list": st.lists(ROWS | JUNK, max_size=4) | JUNK},
        optional=dict.fromkeys(("litellm_settings", "router_settings", "general_settings"), SECTION),
    )
)
@settings(max_examples=200, deadline=None)
def test_anything_at_all_is_read(theirs: Any) -> None:
    found = imported(theirs)
    yaml.safe_dump(found.settings)


def _service_account() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    said = {"client_email": "a@b.iam.gserviceaccount.com", "private_key": key.decode(), "project_id": "p"}
    return json.dumps({"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token", **said})


def test_credentials_that_are_written_out_stay_what_they_are() -> None:
    theirs = {
        "model_list": [
            {"model_name": "m", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-a${b}$c"}},
        ],
        "router_settings": {"redis_host": "redis", "redis_password": "p@ss/w#rd"},
    }
    found = imported(theirs)
    assert found.settings["providers"]["openai"]["api_key"] == "sk-a$${b}$c"  # our reader's way to say ${
    assert found.settings["limits"] == {"store": "redis://:p%40ss%2Fw%23rd@redis:6379/0"}
    read = load_text(yaml.safe_dump(found.settings), env={})
    assert read.providers["openai"].api_key == "sk-a${b}$c"


def made(*entries: dict[str, Any], **more: Any) -> Imported:
    """Of entries of the model `m`: litellm_params each, with model_info beside them."""
    rows = [
        {
            "model_name": "m",
            "litellm_params": {"model": "openai/x", "api_key": f"sk-{at}", **entry},
            "model_info": {"id": f"d{at}"},
        }
        for at, entry in enumerate(entries)
    ]
    return imported({"model_list": rows, "general_settings": {"master_key": "sk-1"}, **more})


def targets(found: Imported) -> list[tuple[Any, Any]]:
    return [(one.get("tier"), one.get("weight")) for one in found.settings["routes"]["m"]["targets"]]


def test_a_weight_that_only_some_have_leaves_the_others_for_later_as_it_does_there() -> None:
    found = made({"weight": 3}, {}, {"weight": "1"}, {"weight": 0})
    assert targets(found) == [(None, 3), (2, None), (None, 1), (2, None)]
    assert [path[10:] for path in notes(found)] == ["[1].litellm_params.weight", "[3].litellm_params.weight"]


def test_rates_share_where_the_first_has_no_weight() -> None:
    found = made({"rpm": 10}, {"rpm": 30, "weight": 5})
    assert targets(found) == [(None, 10), (None, 30)]
    assert "goes by what its first one says, rpm" in notes(found)["model_list[1].litellm_params.weight"]


def test_weights_of_another_strategy_are_told() -> None:
    found = made({"weight": 3}, {"weight": 1}, router_settings={"routing_strategy": "least-busy"})
    assert targets(found) == [(None, None)] * 2
    assert {note.message for note in found.notes} == {"counts in simple-shuffle only"}


def test_order_is_a_tier() -> None:
    found = made({"order": 2}, {"order": 1, "weight": 2}, {}, {"order": 1, "weight": 1})
    assert targets(found) == [(2, None), (None, 2), (3, None), (None, 1)]
    assert found.notes == []


def test_an_alias_falls_back_as_its_model_does() -> None:
    rows = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"}} for name in "abc"]
    found = imported(
        {
            "model_list": rows,
            "router_settings": {
                "model_group_alias": {"of-a": "a", "own": {"model": "a", "hidden": True}},
                "fallbacks": [{"a": ["a", "b"]}, {"own": ["c"]}, {"*": ["c"]}, {"b": "c"}],
            },
        }
    )
    fallbacks = {name: route.get("fallbacks") for name, route in found.settings["routes"].items()}
    b, c = ["b@openai"], ["c@openai"]
    assert fallbacks == {"a": b, "b": None, "c": None, "of-a": b, "own": c}
    told = notes(found)
    assert told["router_settings.fallbacks[3].b"] == "must be a list; left out"
    assert "router_settings.model_group_alias.own.hidden" in told
    assert "LiteLLM asks nobody for a key" in told["general_settings.master_key"]


def test_numbers_that_yaml_takes_for_texts_are_numbers() -> None:
    """3e-7 has no point, so YAML has it as a text; a price that was dropped would be a wrong cost."""
    theirs = yaml.safe_load(
        "{input_cost_per_token: 3e-7, output_cost_per_token: 15e-7, rpm: '6', timeout: '900'}"
    )
    found = made(theirs)
    assert found.settings["prices"]["models"] == {"d0": {"input": "$0.3/1M", "output": "$1.5/1M"}}
    assert found.settings["deployments"]["d0"]["limits"] == {"requests": "6/min"}
    assert found.settings["routes"]["m"]["timeouts"] == {"total": "900s"}
    assert found.notes == []


WRONG = {
    "rpm": 0,
    "tpm": -1,
    "max_parallel_requests": 1.5,
    "timeout": "soon",
    "stream_timeout": "os.environ/SOON",
    "num_retries": 9,
    "input_cost_per_token": -1.0,
    "output_cost_per_token": float("nan"),
    "tenant_id": "of no OpenAI",
    "input_cost_per_token_above_200k_tokens": 1e-6,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_taken_over_is_told(name: str) -> None:
    assert f"model_list[0].litellm_params.{name}" in notes(made({name: WRONG[name]}))


def test_two_entries_that_say_different_times_of_one_route_are_told() -> None:
    found = made({"timeout": 700, "num_retries": 0}, {"timeout": 900, "num_retries": 0})
    assert found.settings["routes"]["m"] == {
        "targets": [{"deployment": "d0"}, {"deployment": "d1"}],
        "timeouts": {"total": "700s"},
        "retries": 0,
    }
    assert list(notes(found)) == ["model_list[1].litellm_params.timeout"]


def test_credentials_are_looked_up_and_each_organization_is_a_deployment() -> None:
    found = made(
        {"model": "azure/x", "api_key": "sk-own", "litellm_credential_name": "az"},
        {"organization": ["o1", "o2"]},
        {"litellm_credential_name": "lost"},
        credential_list=[
            {
                "credential_name": "az",
                "credential_values": {"api_base": "os.environ/BASE", "api_key": "sk-az"},
            }
        ],
    )
    providers = found.settings["providers"]
    assert providers["azure"] == {"kind": "azure", "base_url": "${BASE}", "api_key": "sk-own"}
    organizations = [one["headers"]["OpenAI-Organization"] for one in providers.values() if "headers" in one]
    assert organizations == ["o1", "o2"]
    assert list(notes(found)) == ["model_list[2].litellm_params.litellm_credential_name"]


def test_what_a_vendors_address_and_key_are_there_is_said_here() -> None:
    found = made(
        {"model": "anthropic/x", "api_base": "https://proxy.example/claude/"},
        {"model": "azure/x", "api_key": None},
        {"model": "groq/x", "api_key": None, "api_base": "https://groq.example/v1"},
    )
    providers = found.settings["providers"]
    assert providers["anthropic"]["base_url"] == "https://proxy.example/claude/v1"
    assert providers["azure"] == {
        "kind": "azure",
        "base_url": "${AZURE_API_BASE}",
        "api_key": "${AZURE_API_KEY}",
    }
    assert "GROQ_API_KEY" in notes(found)["model_list[2].litellm_params.api_base"]


def test_one_entry_that_is_wrong_takes_no_other_with_it() -> None:
    key_file = {"type": "service_account", "private_key": "-----${x}-----"}
    found = made(
        {"model": "azure/"},
        {"model": "openai/x", "extra_headers": "a: b"},
        {
            "model": "vertex_ai/g",
            "vertex_project": "p",
            "vertex_location": "l",
            "vertex_credentials": key_file,
        },
    )
    assert list(found.settings["deployments"]) == ["d1", "d2"]
    told = notes(found)
    assert "names no model" in told["model_list[0].litellm_params.model"]
    assert "model_list[1].litellm_params.extra_headers" in told
    read = load_text(yaml.safe_dump(found.settings), env={})
    assert json.loads(read.providers["vertex"].service_account or "") == key_file


def test_what_all_models_of_a_vendor_would_have_is_told() -> None:
    row = {
        "model": "openai/*",
        "rpm": 5,
        "timeout": 3,
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 0,
    }
    rows = [{"model_name": "openai/*", "litellm_params": row}]
    found = imported(
        {"model_list": rows, "general_settings": {"master_key": "sk-1", "max_request_size_mb": 5}}
    )
    assert found.settings["prices"]["models"] == {"openai/*": {"input": "$1/1M", "output": "$0/1M"}}
    assert found.settings["server"]["body_limit"] == "5MiB"
    assert list(notes(found)) == ["model_list[0].litellm_params.rpm", "model_list[0].litellm_params.timeout"]
