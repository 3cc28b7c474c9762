"""What a request to the Responses API refers to, put before what it says itself.

    previous_response_id    all that went into that response, and what came out of it
    item_reference          the output item that is kept

What came out and was cut is no ground to go on from: a call without its end was never made, and reasoning
that led to nothing is refused by who made it. After this each result of a tool has its call before it.

It happens while the request is decoded: what is reserved for it, and where it goes, is decided by all of it.
"""

from typing import Any

import msgspec

from penstock.gateway.kept import Kept, Store
from penstock.gateway.lending import Lent
from penstock.types.errors import InvalidRequest, PreviousResponseNotFound
from penstock.types.requests import ChatRequest

JSON = dict[str, Any]

_CALLS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}


_encode = msgspec.json.Encoder().encode


class Recall:
    """Of one key, `owner`. `local`: of one connection, which may go on from responses that are not stored;
    `lent`: by other processes, for one request.
    """

    def __init__(
        self, owner: str, store: Store, local: Store | None = None, lent: Lent | None = None
    ) -> None:
        self._owner = owner
        self._stores = (store,) if local is None else (store, local)
        self.lent = lent if lent is not None else Lent()

    def complete(self, request: ChatRequest) -> None:
        """The input as items, after those of the response it goes on from.

        Raises PreviousResponseNotFound; InvalidRequest for an item that is not known, and for a result
        without its call.
        """
        body = request.body
        given = body.get("input") or ""
        own = _message(given) if isinstance(given, str) else list(given)
        recalled: list[JSON] = []
        for at, item in enumerate(own):
            if item.get("type") == "item_reference":
                own[at] = self._known(item["id"], at)
                recalled.append(own[at])
        earlier = body.get("previous_response_id")
        before = [] if earlier is None else self._before(earlier)
        _check_results(own, before)
        recalled += before
        if recalled:
            request.recalled_bytes = len(_encode(recalled))
        if own or before:
            body["input"] = [*before, *own]

    def _before(self, earlier: str) -> list[JSON]:
        found = (store.find(self._owner, earlier) for store in self._stores)
        kept: Kept | None = next((one for one in found if one is not None), None)
        if kept is None:
            kept = self.lent.responses.get(earlier)
        if kept is None:
            raise PreviousResponseNotFound(
                f"Previous response with id {str(earlier)[:100]!r} not found.", param="previous_response_id"
            )
        if not kept.is_ended:
            raise InvalidRequest(
                f"The response {earlier!r} is not finished yet.", param="previous_response_id"
            )
        return [*kept.items, *_ground(kept.response["output"])]

    def _known(self, name: str, at: int) -> JSON:
        found = (store.item(self._owner, name) for store in self._stores)
        known = next((one for one in found if one is not None), None) or self.lent.items.get(name)
        if known is None:
            raise InvalidRequest(f"Item with id {name[:100]!r} not found.", param=f"input[{at}].id")
        return known


def _message(text: str) -> list[JSON]:
    if not text:
        return []
    return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]


def _ground(output: list[JSON]) -> list[JSON]:
    whole = [item for item in output if not _is_cut_call(item)]
    while whole and whole[-1].get("type") == "reasoning":
        whole.pop()
    return whole


def _is_cut_call(item: JSON) -> bool:
    return item.get("type") in _CALLS.values() and item.get("status") == "incomplete"


def _check_results(own: list[JSON], before: list[JSON]) -> None:
    """Calls that are not answered are the upstream's to refuse: some go on without."""
    if not any(item.get("type") in _CALLS for item in own):
        return
    called = {(item["type"], item["call_id"]) for item in before if item.get("type") in _CALLS.values()}
    for at, item in enumerate(own):
        kind = item.get("type")
        if kind in _CALLS.values():
            called.add((str(kind), item["call_id"]))
        elif kind in _CALLS and (_CALLS[kind], item["call_id"]) not in called:
            raise InvalidRequest(
                f"No tool call found for {kind} with call_id {str(item['call_id'])[:100]!r}.",
                param=f"input[{at}].call_id",
            )
