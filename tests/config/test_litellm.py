"""Five configurations of LiteLLM's proxy, as people have them."""

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
    assert routes["gpt-4"] == {**routes["gpt-4o"], "fallbacks": ["gpt-mini@openai"]}
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
    found = imported({"model_list": rows})
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
    import json

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
