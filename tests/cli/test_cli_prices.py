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
    assert run("list", "no-such-model", *folder)[0] == 1


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
