"""The three builtin models and deployments on this machine: which engine, which pool, what they can do."""

import pytest

from penstock.config.compile import compile_settings
from penstock.config.errors import ConfigError
from penstock.config.load import load_text
from penstock.config.snapshot import Snapshot


def compiled(text: str) -> Snapshot:
    return compile_settings(load_text(text, env={}), secret=b"0" * 32)


def test_the_builtin_models_exist_beside_any_configuration() -> None:
    snapshot = compiled("")
    assert set(snapshot.routes) == {"builtin:chat", "builtin:embedding", "builtin:rerank"}
    assert {name: (pool.engine, pool.source) for name, pool in snapshot.pools.items()} == {
        "builtin:chat": ("llamacpp", "builtin:chat"),
        "builtin:embedding": ("onnx", "builtin:embedding"),
    }
    assert snapshot.defaults == {
        "chat": "builtin:chat",
        "completion": "builtin:chat",
        "embedding": "builtin:embedding",
        "rerank": "builtin:rerank",
    }
    assert not snapshot.has_remote


def test_rerank_shares_the_encoder_and_says_what_it_is() -> None:
    snapshot = compiled("")
    route = snapshot.find_route("builtin:rerank")
    assert route is not None
    assert route.targets[0].deployment.pool == "builtin:embedding"
    rows = {row.id: row.extras for row in snapshot.models()}
    assert "not a cross-encoder" in rows["builtin:rerank"]["description"]
    assert "5M parameters" in rows["builtin:chat"]["description"]
    assert rows["builtin:rerank"]["operations"] == ["rerank"]
    assert rows["builtin:embedding"]["operations"] == ["embedding"]
    assert rows["builtin:embedding"]["context"] == 256


def test_builtin_off() -> None:
    snapshot = compiled("builtin: off")
    assert not snapshot.routes
    assert not snapshot.pools
    assert not snapshot.defaults


@pytest.mark.parametrize(
    ("model", "engine", "operations"),
    [
        ("qwen3:4b", "llamacpp", ["chat", "completion"]),
        ("hf:org/Some-GGUF", "llamacpp", ["chat", "completion"]),
        ("hf:org/repo/file.gguf", "llamacpp", ["chat", "completion"]),
        ("hf:org/repo:Q4_K_M", "llamacpp", ["chat", "completion"]),
        ("file:/models/x.gguf", "llamacpp", ["chat", "completion"]),
        ("minilm", "onnx", ["embedding"]),
        ("builtin:embedding", "onnx", ["embedding"]),
        ("builtin:chat", "llamacpp", ["chat", "completion"]),
    ],
)
def test_the_source_chooses_the_engine(model: str, engine: str, operations: list[str]) -> None:
    snapshot = compiled(f"{{builtin: off, deployments: {{d: {{model: '{model}'}}}}}}")
    assert snapshot.pools["d"].engine == engine
    assert snapshot.models()[0].extras["operations"] == operations


def test_a_pool_carries_what_the_user_said() -> None:
    snapshot = compiled(
        "deployments: {d: {model: qwen3:4b, context: 4096, parallel: 2, threads: 3, replicas: 2}}"
    )
    pool = snapshot.pools["d"]
    assert (pool.context, pool.parallel, pool.threads, pool.replicas) == (4096, 2, 3, 2)
    assert not pool.embedding


def test_a_gguf_encoder_is_asked_for_by_its_operation() -> None:
    snapshot = compiled("{builtin: off, deployments: {d: {model: 'file:/m.gguf', operations: [embedding]}}}")
    assert snapshot.pools["d"].embedding
    assert snapshot.models()[0].extras["operations"] == ["embedding"]


def test_an_engine_is_not_asked_for_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="does not do rerank"):
        compiled("{builtin: off, deployments: {d: {model: qwen3:4b, operations: [rerank]}}}")
    with pytest.raises(ConfigError, match="does not do chat"):
        compiled("{builtin: off, deployments: {d: {model: minilm, operations: [chat]}}}")
