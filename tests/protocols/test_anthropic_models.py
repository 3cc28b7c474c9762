"""Models as Anthropic's clients list them."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import anthropic
import httpx2
import pytest

from penstock.protocols import anthropic_models
from penstock.types.errors import InvalidRequest


class Row(NamedTuple):
    id: str
    created: int = 1_700_000_000
    owned_by: str = "penstock"
    extras: Mapping[str, Any] = {}


ROWS = [Row(f"m{at}") for at in range(5)]


def page(**wanted: Any) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(anthropic_models.listing(ROWS, **wanted))
    return listed


def ids(listed: dict[str, Any]) -> list[str]:
    return [model["id"] for model in listed["data"]]


def test_pages() -> None:
    whole = page()
    assert ids(whole) == ["m0", "m1", "m2", "m3", "m4"]
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, "m0", "m4")
    assert (ids(page(limit=2)), page(limit=2)["has_more"]) == (["m0", "m1"], True)
    assert ids(page(limit=2, after_id="m1")) == ["m2", "m3"]
    assert page(limit=2, after_id="m2")["has_more"] is False
    assert (ids(page(limit=2, before_id="m3")), page(limit=2, before_id="m3")["has_more"]) == (
        ["m1", "m2"],
        True,
    )
    empty = json.loads(anthropic_models.listing([]))
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    "query",
    [[("limit", "0")], [("limit", "1001")], [("limit", "many")], [("after_id", "x")], [("before_id", "x")]],
)
def test_wrong_pages(query: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page(**anthropic_models.page_of(query))
    assert caught.value.param == query[0][0]


def test_the_query_of_a_page() -> None:
    query = [("limit", "3"), ("after_id", "m0"), ("beta", "true")]
    assert anthropic_models.page_of(query) == {"limit": 3, "after_id": "m0"}


def test_the_sdk_reads_them() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/models"):
            wanted = anthropic_models.page_of(request.url.params.items())
            return httpx2.Response(200, content=anthropic_models.listing(ROWS, **wanted))
        row = Row("org/model", extras={"context": 8192, "max_output": 100})
        return httpx2.Response(200, content=anthropic_models.single(row))

    client = anthropic.Anthropic(
        api_key="any",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        _strict_response_validation=True,
    )
    with client:
        assert [model.id for model in client.models.list(limit=2)] == ["m0", "m1", "m2", "m3", "m4"]
        one = client.models.retrieve("org/model")
    assert (one.id, one.display_name, one.max_input_tokens, one.max_tokens) == (
        "org/model",
        "org/model",
        8192,
        100,
    )
    assert one.created_at.year == 2023
