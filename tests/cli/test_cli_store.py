import json
import re
import sqlite3
from pathlib import Path

import pytest
from penstock_fixture import Penstock

from penstock.store.migrations import OURS

TITLES = [one.title for one in OURS]


@pytest.fixture
def database(home: Path, penstock: Penstock) -> Path:
    result = penstock("store", "migrate")
    assert result.exit_code == 0, result.output
    assert re.findall(r"^applied (.+)", result.output, re.MULTILINE) == TITLES
    path = home / "data" / "penstock.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO teams VALUES ('team_1', 1, 'ann', 1, 'research', '{}', '[]', '0', '0')"
        )
    connection.close()
    return path


def test_without_a_database_it_is_said_and_none_is_made(home: Path, penstock: Penstock) -> None:
    for words in (("status",), ("backup", "copy.db"), ("migrate", "--down", "1")):
        result = penstock("store", *words)
        assert result.exit_code == 1
        assert "There is no database" in result.output
    assert not (home / "data").exists()


def test_status_says_what_is_there(database: Path, penstock: Penstock) -> None:
    result = penstock("store", "status")
    assert result.exit_code == 0, result.output
    lines = {line[:16].strip(): line[18:] for line in result.output.splitlines()}
    assert lines["database"] == str(database)
    assert lines["schema"] == ", ".join(f"{one.number:04}" for one in OURS)
    assert (lines["pending"], lines["teams"]) == ("none", "1")
    assert lines["service accounts"] == "0"
    found = json.loads(penstock("store", "status", "--json").output)
    assert (found["backend"], found["counts"]["teams"], found["usage_calls"]) == ("sqlite", 1, 0)


def test_a_copy_is_made_and_restored(database: Path, penstock: Penstock, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    result = penstock("store", "backup", copy)
    assert result.exit_code == 0, result.output
    assert f"{copy} written" in result.output
    assert penstock("store", "backup", copy).exit_code == 1
    assert json.loads(penstock("store", "backup", copy, "--force", "--json").output)["file"] == str(copy)
    itself = penstock("store", "backup", database, "--force")
    assert (itself.exit_code, "is the database itself" in itself.output) == (1, True)
    result = penstock("store", "restore", copy)
    assert result.exit_code == 1
    assert "is not empty: it has teams. Type --force" in result.output
    assert penstock("store", "restore", copy, "--force", "--json").output.strip().endswith('"rows": 1\n}')
    result = penstock("store", "restore", copy, "--data-dir", tmp_path / "other")
    assert result.exit_code == 0, result.output
    assert "1 rows restored" in result.output
    assert (tmp_path / "other" / "penstock.db").exists()
    result = penstock("store", "restore", tmp_path / "none")
    assert result.exit_code == 1
    assert "No such file" in result.output


def test_migrations_are_taken_back(database: Path, penstock: Penstock) -> None:
    result = penstock("store", "migrate", "--down", str(len(OURS)))
    assert result.exit_code == 0, result.output
    assert "".join(f"reverted {title}\n" for title in reversed(TITLES)) in result.output
    result = penstock("store", "status")
    assert ", ".join(TITLES) in result.output
    assert penstock("store", "backup", "copy.db").exit_code == 1
    assert json.loads(penstock("store", "migrate", "--json", "--post").output) == {"applied": TITLES}
    assert "nothing to do" in penstock("store", "migrate").output
    assert penstock("store", "migrate", "--down", "9").exit_code == 1


def test_the_configuration_says_where_it_is(home: Path, penstock: Penstock) -> None:
    (home / "penstock.yaml").write_text("store: {url: 'sqlite:///here.db'}")
    assert penstock("store", "migrate").exit_code == 0
    assert (home / "here.db").exists()
    (home / "penstock.yaml").write_text("store: {url: 'postgresql://ann:s3cret@127.0.0.1:1/x'}")
    result = penstock("store", "status")
    assert result.exit_code == 1
    assert "postgresql://ann@127.0.0.1:1/x cannot be reached" in result.output
    assert "s3cret" not in result.output
    assert "s3cret" not in penstock("check").output
