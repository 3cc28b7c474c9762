import json
import socket
from pathlib import Path

import pytest
from penstock_fixture import Penstock

from penstock.cli import doctor


def findings(output: str) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(output)}


def test_everything_is_looked_at(penstock: Penstock) -> None:
    result = penstock("doctor", "--json", "--port", "0")
    rows = findings(result.output)
    assert list(rows) == [
        "python",
        "libgomp",
        "memory",
        "cores",
        "disk",
        "models",
        "data",
        "port",
        "hub",
        "ollama",
        "vendors",
    ]
    assert rows["hub"]["status"] == "note"
    assert "HF_ENDPOINT" in rows["hub"]["remedy"]
    assert result.exit_code == any(row["status"] == "failed" for row in rows.values())
    assert all(row["remedy"] for row in rows.values() if row["status"] == "failed")


def test_a_taken_port_has_a_remedy(penstock: Penstock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        row = findings(penstock("doctor", "--json", "--port", port).output)["port"]
    assert row["status"] == "note"
    assert "--port 0" in row["remedy"]


def test_a_folder_that_cannot_be_used_fails(home: Path, penstock: Penstock) -> None:
    (home / "file").write_text("")
    result = penstock("doctor", "--port", "0", "--data-dir", home / "file" / "below")
    assert result.exit_code == 1
    assert "FAIL  data" in result.output
    assert "set PENSTOCK_DATA_DIR" in result.output


def test_keys_are_named_and_never_shown(penstock: Penstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-hush")
    output = penstock("doctor", "--port", "0").output
    assert "GROQ_API_KEY" in output
    assert "gsk-hush" not in output


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None), (None, None)]
)
def test_cpu_quota(text: str | None, cores: float | None, tmp_path: Path) -> None:
    path = tmp_path / "cpu.max"
    if text is not None:
        path.write_text(text)
    assert doctor.cpu_quota(path) == cores
