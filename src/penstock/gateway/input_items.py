"""GET /v1/responses/{id}/input_items: all that went into a response, in pages.

An item is listed as the interface has it, which is more than it takes: with an id that no other item of the
list has, a status where something was done, and content in parts.
"""

from typing import Any

from penstock.types.errors import InvalidRequest

JSON = dict[str, Any]

MAX_PAGE = 100
USUAL_PAGE = 20

_DONE = frozenset(
    {*("function_call", "function_call_output"), *("custom_tool_call", "custom_tool_call_output")}
)
_USUAL: dict[str, JSON] = {"output_text": {"annotations": []}, "input_image": {"detail": "auto"}}


def page_of(items: list[JSON], query: dict[str, str]) -> JSON:
    """One page. Raises InvalidRequest."""
    try:
        limit = int(query.get("limit", USUAL_PAGE))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MAX_PAGE}.", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc.", param="order")
    listed = _listed(items)
    if order == "desc":
        listed.reverse()
    after = query.get("after")
    if after is not None:
        ids = [item["id"] for item in listed]
        if after not in ids:
            raise InvalidRequest("`after` names no item of this list.", param="after")
        listed = listed[ids.index(after) + 1 :]
    page = listed[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(listed) > limit,
    }


def _listed(items: list[JSON]) -> list[JSON]:
    listed: list[JSON] = []
    names: set[str] = set()
    for at, item in enumerate(items):
        name = item.get("id")
        if not isinstance(name, str) or name in names:
            name = f"item_{at:04d}"
        names.add(name)
        listed.append(_whole({**item, "id": name}))
    return listed


def _whole(item: JSON) -> JSON:
    is_answer = item.get("role") == "assistant"
    if isinstance(item.get("content"), str):
        kind = "output_text" if is_answer else "input_text"
        item["content"] = [{"type": kind, "text": item["content"]}]
    for key in ("content", "output"):
        if isinstance(item.get(key), list):
            item[key] = [_with_usual(part) for part in item[key]]
    if is_answer or item.get("type") in _DONE:
        item.setdefault("status", "completed")
    return item


def _with_usual(part: Any) -> Any:
    """Items of types that we do not know may hold anything."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    return {**_USUAL.get(kind, {}), **part} if isinstance(kind, str) else part
