"""POST /v1/responses and /v1/responses/input_tokens: https://platform.openai.com/docs/api-reference/responses

A request is refused before an engine sees it when the published schema refuses it (responses_schema), or when
its parts contradict each other:

    function_call_output             needs its function_call before it, here or kept (gateway/recall.py)
    tool_choice required or named    needs tools; a named tool must be among them
    background                       needs store
    conversation                     is not kept here: without its turns the answer would be another

What is kept between requests (store, previous_response_id, background) is gateway/responses.py.
"""

from collections.abc import Iterable
from typing import Any

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker, check_base64, check_data_url
from penstock.protocols.counting import CountEncoder
from penstock.protocols.openai_schema import drop_nulls
from penstock.protocols.responses_encoder import ResponsesEncoder
from penstock.protocols.responses_lift import lift
from penstock.protocols.responses_schema import ITEM_TYPES, SHAPE, TOOL_TYPES, CountBody, CreateBody
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import Encoder, Plain

JSON = dict[str, Any]

_create = Checker(CreateBody)
_count = Checker(CountBody)
_OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_STAND_IN: JSON = {"type": "item_reference", "id": "-"}  # where an unknown item was: indexes stay right


class Create(Plain):
    budget_status = 429
    operation: Operation = "chat"

    def decode(self, body: JSON) -> ChatRequest:
        checked: CreateBody = _checked(body, _create)
        stream = checked.stream is True
        if checked.stream_options is not None and not stream:
            raise InvalidRequest(
                "`stream_options` is only allowed with `stream: true`.", param="stream_options"
            )
        if checked.background and checked.store is False:
            raise InvalidRequest(
                "`background` needs `store`: its answer is fetched later.", param="background"
            )
        return ChatRequest(
            checked.model,
            body,
            stream,
            include_usage=True,
            max_tokens=checked.max_output_tokens,
            dialect="responses",
            lift=lift,
        )

    def encoder(self, request: Request, call: Call) -> Encoder:
        if not isinstance(request, ChatRequest):
            raise TypeError("a response is made from a chat request")
        return ResponsesEncoder(request, call)

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - it is in x-request-id
        return openai_errors.error_body(error)


class Count(Create):
    def decode(self, body: JSON) -> ChatRequest:
        checked: CountBody = _checked(body, _count)
        return ChatRequest(checked.model, body, dialect="responses", lift=lift, counts_only=True)

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - a number needs neither
        return CountEncoder("input_tokens", {"object": "response.input_tokens"})


CREATE = Create()
COUNT = Count()


def _checked(body: JSON, checker: Checker[Any]) -> Any:
    drop_nulls(body, SHAPE)
    items = body.get("input")
    if items.__class__ is list:
        for item in items:
            if item.__class__ is dict and "type" not in item:
                if "role" in item:
                    item["type"] = "message"
                elif is_reference(item):
                    item["type"] = "item_reference"
    checked = checker.check(_known_only(body))
    if items.__class__ is list:
        _check_items(items, has_earlier="previous_response_id" in body)
    if "conversation" in body:
        raise UnsupportedParameter(
            "Conversations are not kept here; go on with `previous_response_id`, or send the items.",
            param="conversation",
        )
    _check_tools(body.get("tools") or ())
    _check_choice(body)
    return checked


def is_reference(item: JSON) -> bool:
    """Its type may be left out, or null: https://platform.openai.com/docs/api-reference/responses/create"""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item and "id" in item)


def _known_only(body: JSON) -> JSON:
    """`body` without the items and tools whose types this release does not know."""
    known = body
    items = body.get("input")
    if items.__class__ is list and not all(map(_is_known, items)):
        known = {**known, "input": [item if _is_known(item) else _STAND_IN for item in items]}
    tools = body.get("tools")
    if tools.__class__ is list and any(_is_hosted(tool) for tool in tools):
        known = {**known, "tools": [tool for tool in tools if not _is_hosted(tool)]}
    return known


def _is_known(item: Any) -> bool:
    kind = item.get("type") if item.__class__ is dict else None
    return kind.__class__ is not str or kind in ITEM_TYPES


def _is_hosted(tool: Any) -> bool:
    kind = tool.get("type") if tool.__class__ is dict else None
    return kind.__class__ is str and kind not in TOOL_TYPES


# -- what the schema cannot say


def _check_items(items: list[JSON], *, has_earlier: bool) -> None:
    called: dict[str, set[str]] = {kind: set() for kind in _OUTPUTS.values()}
    has_earlier = has_earlier or any(item["type"] == "item_reference" for item in items)
    for number, item in enumerate(items):
        kind = item["type"]
        path = f"input[{number}]"
        if kind in called:
            called[kind].add(item["call_id"])
        elif kind in _OUTPUTS:
            if not has_earlier and item["call_id"] not in called[_OUTPUTS[kind]]:
                raise InvalidRequest(
                    f"`{path}.call_id` answers no {_OUTPUTS[kind]} of an earlier item.",
                    param=f"{path}.call_id",
                )
            _check_parts(item["output"], f"{path}.output")
        elif kind == "message":
            _check_parts(item["content"], f"{path}.content")


def _check_parts(content: Any, path: str) -> None:
    if content.__class__ is not list:
        return
    for number, part in enumerate(content):
        at = f"{path}[{number}]"
        match part["type"]:
            case "input_image":
                check_data_url(part.get("image_url") or "", f"{at}.image_url")
            case "input_file":
                check_data_url(part.get("file_data") or "", f"{at}.file_data")
            case "input_audio":
                check_base64(str(part["input_audio"].get("data") or ""), f"{at}.input_audio.data")


def _check_tools(tools: Iterable[JSON]) -> None:
    for number, tool in enumerate(tools):
        parameters = tool.get("parameters")
        if tool["type"] == "function" and parameters:
            kind = parameters.get("type", "object")
            if kind != "object":
                path = f"tools[{number}].parameters"
                raise InvalidRequest(
                    f"`{path}` must be the JSON Schema of an object, not of {kind!r}.", param=path
                )


def _check_choice(body: JSON) -> None:
    choice = body.get("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return
    tools = body.get("tools")
    if not tools:
        raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice")
    if choice.__class__ is dict and str(choice.get("type")) in TOOL_TYPES:
        known = [tool.get("name") for tool in tools if tool["type"] == choice["type"]]
        if choice.get("name") not in known:
            said = ", ".join(str(name) for name in known)
            raise InvalidRequest(
                f"`tool_choice.name` names no tool of `tools`; there are: {said}.", param="tool_choice.name"
            )
