from pathlib import Path

import pytest
from penstock_fixture import Penstock
from typer.testing import CliRunner

from penstock.cli.app import app
from penstock.providers.profiles import PROFILES


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: no file, no keys, no cache, no Ollama to ask."""
    for name in ("HOST", "PORT", "CONFIG", "LOG_LEVEL", "READY_FILE", "WORKERS", "URL", "KEY"):
        monkeypatch.delenv(f"PENSTOCK_{name}", raising=False)
    for profile in PROFILES.values():
        for name in profile.env:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def penstock(home: Path) -> Penstock:
    """Runs a command in this process."""
    runner = CliRunner()
    return lambda *words, **more: runner.invoke(app, [*map(str, words)], **more)
