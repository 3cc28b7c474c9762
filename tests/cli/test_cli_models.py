import json
from pathlib import Path

import pytest
from penstock_fixture import Penstock


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
