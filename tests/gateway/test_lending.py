"""What of a request is asked of other processes."""

from typing import Any

import pytest

from penstock.gateway.lending import wanted_by


def reference(name: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": name}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"input": "text"}, ([], [])),
        ({"previous_response_id": "resp_1", "input": [reference("msg_1")]}, (["resp_1"], ["msg_1"])),
        ({"input": [{"id": "a"}, {"id": "b", "type": None}, {"id": "c", "role": "user"}]}, ([], ["a", "b"])),
        ({"previous_response_id": 7, "input": [reference(None), {"type": "message", "id": "x"}]}, ([], [])),
        # A body of 16 MiB must not become one for each worker
        ({"previous_response_id": "x" * 257, "input": [reference("y" * 257)]}, ([], [])),
        ({"input": [reference(f"msg_{number}") for number in range(2000)]}, ([], 1000)),
    ],
)
def test_ids_are_wanted_and_nothing_else(body: dict[str, Any], wanted: tuple[Any, Any]) -> None:
    responses, items = wanted_by(body)
    assert responses == wanted[0]
    assert (len(items) if isinstance(wanted[1], int) else items) == wanted[1]
