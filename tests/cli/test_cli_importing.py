import json
from pathlib import Path

import pytest
from penstock_fixture import Penstock

FOLDER = Path(__file__).parents[1] / "config" / "litellm"


@pytest.mark.parametrize("name", ["simple", "balanced", "local", "enterprise"])
def test_the_result_passes_check(
    penstock: Penstock, home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = home / "penstock.yaml"
    done = penstock("import", "litellm", FOLDER / f"{name}.yaml", "--out", out)
    assert done.exit_code == 0, done.output
    assert out.stat().st_mode & 0o777 == 0o600  # credentials may be in it
    said = json.loads(penstock("import", "litellm", FOLDER / f"{name}.yaml", "--json").stdout)
    for variable in said["variables"]:
        monkeypatch.setenv(variable, f"value-of-{variable}")
    monkeypatch.setenv("DATABASE_URL", "postgresql://penstock@db/penstock")
    checked = penstock("check", "-c", out, "--json")
    assert checked.exit_code == 0, checked.output
    assert {row["id"] for row in json.loads(checked.stdout)["models"]} >= set(said["settings"]["routes"])
    for note in said["notes"]:
        assert f"{note['path']}: {note['message']}" in done.stderr


def test_the_configuration_alone_is_on_stdout(penstock: Penstock) -> None:
    done = penstock("import", "litellm", FOLDER / "clouds.yaml")
    assert done.stdout.startswith("# From clouds.yaml of LiteLLM")
    assert "replicate is not known here" not in done.stdout
    assert "replicate is not known here" in done.stderr


def test_what_is_no_configuration_is_refused(penstock: Penstock, home: Path) -> None:
    file = home / "config.yaml"
    for text, what in (("- 1", "sections such as"), ("{", "no YAML"), ("model_list: []", "names no model")):
        file.write_text(text)
        done = penstock("import", "litellm", file)
        assert (done.exit_code, what in done.output) == (1, True)
    assert penstock("import", "litellm", home / "none.yaml").exit_code == 1
    kept = penstock("import", "litellm", FOLDER / "simple.yaml", "--out", file)
    assert (kept.exit_code, file.read_text()) == (1, "model_list: []")
