import pytest

from penstock.lib.registry import UnknownName
from penstock.providers import CONNECTORS
from penstock.providers.profiles import PROFILES, Profile, profile
from penstock.types.deployment import Credentials

ASKS = {"openai-compatible", "azure", "tei"}  # the address is the user's
OTHER_CREDENTIALS = {  # no variable is adopted: there is none, or it is for other things, too
    *("vertex", "bedrock", "openai-responses", "github", "wandb", "scaleway"),
    *ASKS,
}
HEADERS = {
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "vertex": "x-goog-api-key",
    "azure": "api-key",
}


@pytest.mark.parametrize("row", PROFILES.values(), ids=list(PROFILES))
def test_every_row_is_whole(row: Profile) -> None:
    assert profile(row.kind) is row
    assert row.codec in CONNECTORS
    assert row.source
    assert (row.base_url is None) is (row.kind in ASKS)
    if row.base_url is None:
        return
    is_local = row.base_url.startswith("http://127.0.0.1:")
    assert not row.base_url.endswith("/")
    assert is_local or row.base_url.startswith("https://")
    assert is_local or not row.is_local
    assert bool(row.env) is not (is_local or row.kind in OTHER_CREDENTIALS)
    assert row.auth == HEADERS.get(row.kind, "bearer")


def test_there_are_many() -> None:
    assert len([row for row in PROFILES.values() if row.codec == "openai"]) >= 25


def test_no_variable_belongs_to_two() -> None:
    names = [name for row in PROFILES.values() for name in row.env]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", PROFILES.values(), ids=list(PROFILES))
def test_every_row_connects(row: Profile) -> None:
    said = Credentials(
        base_url=row.base_url or "https://mine.example", api_key="k", region="us-central1", project="p"
    )
    made = CONNECTORS.load(row.codec)(row, said, row.title)
    assert made.codec.operations
    assert made.codec.dialect
    assert any("k" in value for value in made.headers.values())  # a local server may want one, too


def test_an_unknown_kind() -> None:
    with pytest.raises(UnknownName, match="did you mean 'deepseek'"):
        profile("deepsek")
