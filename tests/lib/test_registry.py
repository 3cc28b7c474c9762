import json

import pytest

from penstock.lib.registry import Registry, UnknownName


def test_rows_are_loaded_when_asked_for() -> None:
    rows = Registry("thing", {"dumps": "json:dumps", "module": "json", "deep": "json:JSONEncoder.encode"})
    assert list(rows) == ["dumps", "module", "deep"]
    assert "dumps" in rows
    assert rows.load("dumps") is json.dumps
    assert rows.load("dumps") is json.dumps
    assert rows.load("module") is json
    assert rows.load("deep") is json.JSONEncoder.encode


def test_an_unknown_name_is_told_what_there_is() -> None:
    rows = Registry("thing", {"openai": "json", "tei": "no_such_module_at_all"})
    with pytest.raises(
        UnknownName, match=r"no thing named 'opanai'; there are: openai, tei; did you mean 'openai'\?"
    ):
        rows.load("opanai")
    with pytest.raises(ImportError):
        rows.load("tei")
