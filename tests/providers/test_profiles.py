import pytest

from penstock.lib.registry import UnknownName
from penstock.providers import CONNECTORS
from penstock.providers.profiles import PROFILES, Profile, profile


@pytest.mark.parametrize("row", PROFILES.values(), ids=list(PROFILES))
def test_every_row_is_whole(row: Profile) -> None:
    assert profile(row.kind) is row
    assert row.codec in CONNECTORS
    assert row.source
    if row.base_url is None:
        assert row.kind == "openai-compatible"
        return
    assert not row.base_url.endswith("/")
    assert row.base_url.startswith("http://127.0.0.1:" if row.is_local else "https://")
    assert bool(row.env) is not row.is_local
    assert row.auth == ("none" if row.is_local else "bearer")


def test_no_variable_belongs_to_two() -> None:
    names = [name for row in PROFILES.values() for name in row.env]
    assert len(names) == len(set(names))


def test_every_codec_loads() -> None:
    for name in CONNECTORS:
        assert CONNECTORS.load(name)().operations


def test_an_unknown_kind() -> None:
    with pytest.raises(UnknownName, match="did you mean 'deepseek'"):
        profile("deepsek")
