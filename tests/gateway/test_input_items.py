"""Input items as they are listed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.input_items import page_of
from penstock.types.errors import InvalidRequest


@given(
    st.lists(st.sampled_from(["a", "b", None]), max_size=9),
    st.integers(1, 4),
    st.sampled_from(["asc", "desc"]),
)
def test_pages_hold_every_item_once_whatever_the_ids(names: list[str | None], limit: int, order: str) -> None:
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": f"{at}"} | ({} if name is None else {"id": name})
        for at, name in enumerate(names)
    ]
    query = {"limit": f"{limit}", "order": order}
    texts: list[str] = []
    for _ in range(len(items) + 1):
        page = page_of(items, query)
        texts += [item["content"][0]["text"] for item in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    wanted = [f"{at}" for at in range(len(items))]
    assert texts == (wanted if order == "asc" else wanted[::-1])


@pytest.mark.parametrize("content", [None, [], ["text"], [{"type": 3}], [{"type": ["x"]}], {"a": 1}, 7])
def test_items_that_nobody_knows_are_listed_as_they_came(content: Any) -> None:
    item = {"type": "novel", "id": "n_1", "content": content, "output": content}
    assert page_of([item], {})["data"] == [item]


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"order": "up"}, {"after": "nobody"}]
)
def test_a_query_that_says_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        page_of([], query)
