"""POST /v1/messages and /v1/messages/count_tokens: https://platform.claude.com/docs/en/api/messages

A request is refused before an engine sees it when the schema refuses it (anthropic_schema), or when its parts
contradict each other:

    tool_result                       needs a tool_use of that id in an earlier assistant message
    tool_use                          one id, one call
    tools                             names are unique; a function has a name and an object schema
    tool_choice any, tool             needs tools; a named tool must be among them
    thinking.budget_tokens            is below max_tokens, but with tools: interleaved thinking may have more
    thinking enabled                  no tool_choice any or tool, as at Anthropic
    image and document sources        data is base64

Both API versions are taken: what 2026-10-21 refuses (sampling parameters), is for the target to refuse.
"""

import binascii
from typing import Any

from penstock.protocols import anthropic_errors
from penstock.protocols.anthropic_encoder import MessagesEncoder
from penstock.protocols.anthropic_lift import lift
from penstock.protocols.anthropic_schema import (
    BLOCK_SHAPE,
    BLOCK_TYPES,
    NULLABLE,
    RESULT_TYPES,
    SHAPE,
    AnyTool,
    Body,
    CountBody,
    MessagesBody,
    OneTool,
    ThinkingEnabled,
    Tool,
)
from penstock.protocols.checking import Checker
from penstock.protocols.counting import CountEncoder
from penstock.protocols.openai_schema import drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import Encoder

JSON = dict[str, Any]

_messages = Checker(MessagesBody)
_count = Checker(CountBody)


class Messages:
    operation: Operation = "chat"
    forwards: tuple[bytes, ...] = (b"anthropic-version", b"anthropic-beta")
    id_header = "request-id"
    budget_status = 402

    def decode(self, body: JSON) -> ChatRequest:
        checked = _checked(body, _messages)
        stream = checked.stream is True
        if not stream:
            body.pop("stream", None)
        thinking = checked.thinking
        if isinstance(thinking, ThinkingEnabled):
            _check_budget(thinking, checked)
        return ChatRequest(
            checked.model,
            body,
            stream,
            include_usage=True,
            max_tokens=checked.max_tokens,
            dialect="anthropic",
            lift=lift,
        )

    def encoder(self, request: Request, call: Call) -> Encoder:
        return MessagesEncoder(request, call)

    def error_body(self, error: PenstockError, call_id: str) -> bytes:
        return anthropic_errors.error_body(error, call_id)


class CountTokens(Messages):
    def decode(self, body: JSON) -> ChatRequest:
        checked = _checked(body, _count)
        body.pop("stream", None)
        return ChatRequest(checked.model, body, dialect="anthropic", lift=lift, counts_only=True)

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - a number needs neither
        return CountEncoder("input_tokens")


MESSAGES = Messages()
COUNT = CountTokens()


def _checked(body: JSON, checker: Checker[Any]) -> Any:
    _drop_nulls(body)
    try:
        checked = checker.check(body)
    except InvalidRequest:
        known = _known_only(body)
        if known is body:
            raise
        checked = checker.check(known)
    _check_messages(body["messages"])
    if checked.tools is not None:
        _check_tools(checked.tools)
    _check_choice(checked)
    return checked


def _drop_nulls(body: JSON) -> None:
    messages = body.get("messages")
    if messages.__class__ is list:
        for message in messages:
            content = message.get("content") if message.__class__ is dict else None
            if content.__class__ is list:
                _drop_nulls_of_blocks(content)
    drop_nulls(body, SHAPE)


def _drop_nulls_of_blocks(blocks: list[Any]) -> None:
    for block in blocks:
        kind = block.get("type") if block.__class__ is dict else None
        if kind.__class__ is not str or kind not in NULLABLE:
            continue
        if None in block.values() or "source" in block or "cache_control" in block:
            drop_nulls(block, BLOCK_SHAPE)
        if kind == "tool_result" and block.get("content").__class__ is list:
            _drop_nulls_of_blocks(block["content"])


def _known_only(body: JSON) -> JSON:
    """`body` without the blocks whose type this release does not know; `body` itself when it has none."""
    messages = body.get("messages")
    if messages.__class__ is not list:
        return body
    changed = [_known_message(message) for message in messages]
    if all(new is old for new, old in zip(changed, messages, strict=True)):
        return body
    return {**body, "messages": changed}


def _known_message(message: Any) -> Any:
    content = message.get("content") if message.__class__ is dict else None
    if content.__class__ is not list:
        return message
    blocks = [_known_block(block) for block in content]
    if all(new is old for new, old in zip(blocks, content, strict=True)):
        return message
    return {**message, "content": blocks}


def _known_block(block: Any) -> Any:
    kind = block.get("type") if block.__class__ is dict else None
    if kind.__class__ is not str:
        return block
    if kind not in BLOCK_TYPES:
        return _STAND_IN
    inner = block.get("content")
    if kind == "tool_result" and inner.__class__ is list:
        known = [
            part
            if part.__class__ is not dict
            or part.get("type").__class__ is not str
            or part["type"] in RESULT_TYPES
            else _STAND_IN
            for part in inner
        ]
        if any(new is not old for new, old in zip(known, inner, strict=True)):
            return {**block, "content": known}
    return block


_STAND_IN = {"type": "text", "text": "-"}  # where an unknown block was: indexes in messages stay right


# -- what the schema cannot say


def _check_messages(messages: list[JSON]) -> None:
    called: dict[str, str] = {}
    answered: set[str] = set()
    for number, message in enumerate(messages):
        content = message["content"]
        if content.__class__ is str:
            continue
        for at, block in enumerate(content):
            check = _CHECKS.get(block["type"])
            if check is not None:
                check(block, f"messages[{number}].content[{at}]", message["role"], called, answered)


def _check_call(block: JSON, path: str, role: str, called: dict[str, str], answered: set[str]) -> None:
    if role != "assistant":
        raise InvalidRequest(
            f"`{path}`: a tool_use block belongs in a message of the assistant.", param=f"{path}.type"
        )
    call_id = block["id"]
    if call_id in called and call_id not in answered:
        raise InvalidRequest(f"`{path}.id` is used by two calls.", param=f"{path}.id")
    answered.discard(call_id)
    called[call_id] = block["name"]


def _check_result(block: JSON, path: str, role: str, called: dict[str, str], answered: set[str]) -> None:
    if role != "user":
        raise InvalidRequest(
            f"`{path}`: a tool_result block belongs in a message of the user.", param=f"{path}.type"
        )
    call_id = block["tool_use_id"]
    if call_id not in called:
        raise InvalidRequest(
            f"`{path}.tool_use_id`: no earlier tool_use block has this id.", param=f"{path}.tool_use_id"
        )
    if call_id in answered:
        raise InvalidRequest(
            f"`{path}.tool_use_id`: this call has a result already.", param=f"{path}.tool_use_id"
        )
    answered.add(call_id)
    inner = block.get("content")
    if inner.__class__ is list:
        for at, part in enumerate(inner):
            if part["type"] in ("image", "document"):
                _check_source(part, f"{path}.content[{at}]", role, called, answered)


def _check_source(block: JSON, path: str, role: str, called: dict[str, str], answered: set[str]) -> None:
    source = block["source"]
    kind = source["type"]
    if kind == "content" and source["content"].__class__ is list:
        for at, part in enumerate(source["content"]):
            if part["type"] == "image":
                _check_source(part, f"{path}.source.content[{at}]", role, called, answered)
    if kind != "base64":
        return
    data = source["data"]
    try:
        is_whole = bool(data) and bool(binascii.a2b_base64(data, strict_mode=True))
    except (binascii.Error, ValueError):
        is_whole = False
    if not is_whole:
        raise InvalidRequest(f"`{path}.source.data` is not valid base64.", param=f"{path}.source.data")
    media_type = source["media_type"]
    if block["type"] == "image" and not media_type.startswith("image/"):
        raise InvalidRequest(
            f"`{path}.source.media_type` must be the type of an image.", param=f"{path}.source.media_type"
        )


_CHECKS = {
    "tool_use": _check_call,
    "tool_result": _check_result,
    "image": _check_source,
    "document": _check_source,
}


def _check_tools(tools: list[Tool]) -> None:
    names: set[str] = set()
    for number, tool in enumerate(tools):
        path = f"tools[{number}]"
        if tool.type is None or tool.type == "custom":
            _check_function(tool, path)
        if tool.name is None:
            continue
        if tool.name in names:
            raise InvalidRequest(f"`{path}.name`: tool names must be unique.", param=f"{path}.name")
        names.add(tool.name)


def _check_function(tool: Tool, path: str) -> None:
    if tool.name is None:
        raise InvalidRequest(f"`{path}.name` is required.", param=f"{path}.name")
    if not 0 < len(tool.name) <= _LONGEST_NAME or not set(tool.name) <= _NAME_CHARS:
        raise InvalidRequest(
            f"`{path}.name` must match [a-zA-Z0-9_-]{{1,{_LONGEST_NAME}}}.", param=f"{path}.name"
        )
    schema, param = tool.input_schema, f"{path}.input_schema"
    if schema is None:
        raise InvalidRequest(f"`{param}` is required.", param=param)
    if schema.get("type") != "object":
        raise InvalidRequest(f"`{param}.type` must be 'object'.", param=f"{param}.type")
    if not isinstance(schema.get("properties", {}), dict | None):
        raise InvalidRequest(f"`{param}.properties` must be an object.", param=f"{param}.properties")
    required = schema.get("required") or []
    if not isinstance(required, list) or not all(isinstance(one, str) for one in required):
        raise InvalidRequest(f"`{param}.required` must be an array of strings.", param=f"{param}.required")


_LONGEST_NAME = 128
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def _check_choice(checked: Body) -> None:
    choice = checked.tool_choice
    if not isinstance(choice, AnyTool | OneTool):
        return
    if not checked.tools:
        raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(choice, OneTool):
        known = [tool.name for tool in checked.tools if tool.name is not None]
        if choice.name not in known:
            raise InvalidRequest(
                f"`tool_choice.name` names no tool of `tools`; there are: {', '.join(known)}.",
                param="tool_choice.name",
            )
    if isinstance(checked.thinking, ThinkingEnabled):
        raise InvalidRequest(
            "`thinking` may not be enabled when `tool_choice` forces a tool.", param="tool_choice"
        )


def _check_budget(thinking: ThinkingEnabled, checked: MessagesBody) -> None:
    if thinking.budget_tokens >= checked.max_tokens and not checked.tools:
        raise InvalidRequest(
            f"`thinking.budget_tokens` is {thinking.budget_tokens}; it must be below `max_tokens`"
            f" ({checked.max_tokens}).",
            param="thinking.budget_tokens",
        )
    if checked.temperature is not None and checked.temperature != 1:
        raise InvalidRequest("`temperature` may only be 1 when `thinking` is enabled.", param="temperature")
    if checked.top_k is not None:
        raise InvalidRequest("`top_k` may not be given when `thinking` is enabled.", param="top_k")
