import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli.app import app

TABLE = """
- vendor: openai
  source: https://example.com
  date: 2026-11-01
  models:
    - {model: gpt-4o-mini, input: 7, output: 8}
    - {model: gpt-new, input: 1}
"""


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["prices", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    return ["--data-dir", str(tmp_path)]


def test_prices_are_listed(folder: list[str]) -> None:
    code, out = run("list", "gpt-4o-mini", "--vendor", "openai", "--json", *folder)
    assert code == 0
    rows = json.loads(out)
    assert {row["vendor"] for row in rows} == {"openai"}
    assert next(row for row in rows if row["model"] == "gpt-4o-mini")["input"] == 0.15
    code, out = run("list", "claude-haiku-4-5", *folder)
    assert code == 0
    assert "claude-haiku-4-5-20251001" in out
    assert " anthropic.claude-haiku-4-5-20251001-v1:0 " in out  # whole, for who pipes it
    assert run("list", "no-such-model", *folder)[0] == 1


def test_prices_of_the_configuration_stand_first(folder: list[str], tmp_path: Path) -> None:
    config = tmp_path / "penstock.yaml"
    config.write_text(
        "builtin: off\n"
        "providers: {openai: {kind: openai, api_key: k}}\n"
        "deployments: {mini: {provider: openai, model: gpt-4o-mini}}\n"
        "prices:\n  models:\n"
        "    openai/gpt-4o-mini: {input: $0.1/1M, output: $0.5/1M}\n"
        "    mini: {input: $1/1M, tiers: [{above_input_tokens: 1k, input: $2/1M}]}\n"
    )
    code, out = run("list", "mini", "-c", str(config), "--json", *folder)
    assert code == 0
    first, second, *others = json.loads(out)
    assert (first["vendor"], first["model"], first["input"]) == ("openai", "gpt-4o-mini", 0.1)
    assert first["source"] == f"{config}:6"
    assert first["version"].startswith("config-")
    assert (second["vendor"], second["model"], second["tiers"][0]["input"]) == ("", "mini", 2)
    assert all(row["source"].startswith("https://") for row in others)
    code, out = run("list", "gpt-4o-mini", "-c", str(config), "--vendor", "openai", *folder)
    assert f"configured in {config}:6" in out.replace("\n", "")


def test_a_newer_table_goes_over_ours(folder: list[str], tmp_path: Path) -> None:
    newer = tmp_path / "newer.yaml"
    newer.write_text(TABLE, "utf-8")
    code, out = run("update", "--from", str(newer), *folder)
    assert code == 0
    assert "new: openai/gpt-new" in out
    assert "changed: openai/gpt-4o-mini" in out
    rows = json.loads(run("list", "gpt-4o-mini", "gpt-new", "--vendor", "openai", "--json", *folder)[1])
    found = {row["model"]: (row["input"], row["output"]) for row in rows}
    assert found["gpt-4o-mini"] == (7e-06, 8e-06)
    assert found["gpt-new"] == (1e-06, None)


def test_a_bad_table_changes_nothing(folder: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(TABLE.replace("input: 7", "inpt: 7"), "utf-8")
    code, out = run("update", "--from", str(bad), *folder)
    assert code == 1
    assert "inpt" in out
    assert not (tmp_path / "prices.yaml").exists()
    assert run("update", "--from", str(tmp_path / "none.yaml"), *folder)[0] == 1
