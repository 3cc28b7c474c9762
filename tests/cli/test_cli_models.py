import json
from pathlib import Path

import pytest
import typer
from penstock_fixture import Penstock

from penstock.cli.output import told


def test_an_empty_cache_says_how_to_fill_it(penstock: Penstock) -> None:
    assert "penstock pull" in penstock("models", "list").output
    assert json.loads(penstock("models", "list", "--json").output) == []


def test_the_catalogue(penstock: Penstock) -> None:
    rows = json.loads(penstock("models", "list", "--catalogue", "--json").output)
    assert {"source", "kind", "licence", "repository"} <= rows[0].keys()
    assert "qwen3:4b" in penstock("models", "list", "--catalogue").output


def test_show(penstock: Penstock) -> None:
    facts = json.loads(penstock("models", "show", "qwen3:4b", "--json").output)
    assert facts["cached"] is False
    assert facts["repository"] == "hf:Qwen/Qwen3-4B-GGUF"
    assert "licence" in penstock("models", "show", "qwen3:4b").output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("models", "rm", "qwen3:4b"), "is not in the cache"),
        (("models", "show", "qwen3:4c"), "did you mean"),
        (("models", "show", "a b"), "is no model source"),
        (("pull", "qwen3:4c"), "did you mean"),
        (("pull", "file:/nowhere/x.gguf"), "there is no such file"),
        (("run", "qwen3:4c", "hi"), "did you mean"),
        (("run", "file:/nowhere/x.gguf", "hi"), "there is no such file"),
    ],
)
def test_mistakes_are_sentences_and_exit_1(words: tuple[str, ...], expected: str, penstock: Penstock) -> None:
    result = penstock(*words)
    assert result.exit_code == 1
    assert expected in result.output
    assert "Traceback" not in result.output


def test_pull_of_a_local_file_says_where_it_is(home: Path, penstock: Penstock) -> None:
    model = home / "m.gguf"
    model.write_bytes(b"GGUF" + bytes(60))
    result = penstock("pull", f"file:{model}", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["path"] == str(model)


@pytest.mark.parametrize(
    "words", [("pull", "hf:a/b"), ("pull", "builtin:embedding"), ("run", "qwen3:4b", "hi")]
)
def test_a_cache_that_cannot_be_used_is_named_with_a_remedy(
    words: tuple[str, ...], penstock: Penstock, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a-file").write_text("x")
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(home / "a-file" / "below"))
    result = penstock(*words)
    assert result.exit_code == 1
    assert str(home / "a-file" / "below") in result.output
    assert "PENSTOCK_CACHE_DIR" in result.output
    assert penstock("models", "list").exit_code == 0


@pytest.mark.parametrize("words", [("up",), ("serve", "-c", "penstock.yaml")])
def test_a_data_folder_that_cannot_be_used_is_named_with_a_remedy(
    words: tuple[str, ...], penstock: Penstock, home: Path
) -> None:
    (home / "a-file").write_text("x")
    (home / "penstock.yaml").write_text("builtin: false\n")
    result = penstock(*words, "--port", "0", "--data-dir", home / "a-file" / "below")
    assert result.exit_code == 1
    assert str(home / "a-file" / "below") in result.output
    assert "--data-dir" in result.output


def test_what_the_disk_refuses_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, told():
        raise PermissionError(13, "Permission denied", "/locked/cache")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: /locked/cache: Permission denied\n"
