"""POST /v1/chat/completions: https://platform.openai.com/docs/api-reference/chat

A request is refused before an engine sees it when the published schema refuses it (openai_schema), or when
two of its fields contradict each other:

    top_logprobs                      needs logprobs: true
    stream_options                    needs stream: true
    tool_choice other than none/auto  needs tools; a named tool must be among them
    function_call {name}              needs functions
"""

from typing import Any

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker, check_base64, check_data_url
from penstock.protocols.openai_chat_encoder import ChatEncoder
from penstock.protocols.openai_lift import lift
from penstock.protocols.openai_schema import (
    CHAT_SHAPE,
    MESSAGE_SHAPE,
    ChatBody,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    drop_nulls,
)
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError
from penstock.types.requests import ChatRequest, Operation, Request
from penstock.types.wire import Encoder

operation: Operation = "chat"
forwards: tuple[bytes, ...] = ()
id_header = ""
budget_status = 429

_checker = Checker(ChatBody)


def decode(body: dict[str, Any]) -> ChatRequest:
    unusual = _drop_nulls(body)
    checked = _checker.check(body)
    if unusual:
        _check_messages(unusual, body["messages"])
    if checked.tools:
        _check_tools(checked.tools)
    stream = checked.stream is True
    options = checked.stream_options
    if options is not None and not stream:
        raise InvalidRequest("`stream_options` is only allowed with `stream: true`.", param="stream_options")
    if checked.top_logprobs is not None and not checked.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    if checked.tool_choice is not None:
        _check_tool_choice(checked)
    if (
        checked.function_call is not None
        and not checked.functions
        and not isinstance(checked.function_call, str)
    ):
        raise InvalidRequest("`function_call` needs `functions`.", param="function_call")
    return ChatRequest(
        checked.model,
        body,
        stream,
        options is not None and options.include_usage is True,
        checked.n or 1,
        checked.max_completion_tokens if checked.max_completion_tokens is not None else checked.max_tokens,
        "openai",
        lift,
    )


def _drop_nulls(body: dict[str, Any]) -> list[dict[str, Any]]:
    """As `drop_nulls`; gives the messages that are more than a role and a text, to be looked at."""
    unusual = []
    messages = body.get("messages")
    if messages.__class__ is list:
        unusual = [
            message
            for message in messages
            if message.__class__ is dict
            and (len(message) != 2 or message.get("content").__class__ is not str)
        ]
        drop_nulls(unusual, MESSAGE_SHAPE)
    drop_nulls(body, CHAT_SHAPE)
    return unusual


def _check_messages(unusual: list[dict[str, Any]], messages: list[Any]) -> None:
    """What the schema cannot say of messages that are more than a role and a text."""
    called: set[str] = set()
    for message in unusual:
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
        role = message["role"]
        if role == "assistant":
            if not any(key in message for key in _ASSISTANT_SAYS):
                path = _path_of(message, messages)
                said = ", ".join(_ASSISTANT_SAYS)
                raise InvalidRequest(f"`{path}`: a message of the assistant needs one of {said}.", param=path)
            called.update(call["id"] for call in message.get("tool_calls", ()))
        elif role == "tool" and message["tool_call_id"] not in called:
            path = f"{_path_of(message, messages)}.tool_call_id"
            raise InvalidRequest(f"`{path}` answers no tool call of an earlier message.", param=path)
        content = message.get("content")
        if content.__class__ is list:
            for position, part in enumerate(content):
                _check_part(part, f"{_path_of(message, messages)}.content[{position}]")


def _path_of(message: dict[str, Any], messages: list[Any]) -> str:
    return f"messages[{next(i for i, other in enumerate(messages) if other is message)}]"


def _check_part(part: dict[str, Any], path: str) -> None:
    match part["type"]:
        case "image_url" | "video_url" | "audio_url" as kind:
            check_data_url(part[kind]["url"], f"{path}.{kind}.url")
        case "input_audio":
            check_base64(part["input_audio"]["data"], f"{path}.input_audio.data")
        case "file":
            check_data_url(part["file"].get("file_data") or "", f"{path}.file.file_data")


_ASSISTANT_SAYS = ("content", "tool_calls", "refusal", "function_call", "audio")


def _check_tools(tools: list[FunctionTool | CustomTool]) -> None:
    for position, tool in enumerate(tools):
        if isinstance(tool, FunctionTool) and tool.function.parameters:
            kind = tool.function.parameters.get("type", "object")
            if kind != "object":
                path = f"tools[{position}].function.parameters"
                raise InvalidRequest(
                    f"`{path}` must be the JSON Schema of an object, not of {kind!r}.", param=path
                )


def _check_tool_choice(checked: ChatBody) -> None:
    choice = checked.tool_choice
    if isinstance(choice, str) and choice != "required":
        return
    if not checked.tools:
        raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(choice, FunctionChoice):
        name = choice.function.name
        known = [tool.function.name for tool in checked.tools if isinstance(tool, FunctionTool)]
        param = "tool_choice.function.name"
    elif isinstance(choice, CustomChoice):
        name = choice.custom.name
        known = [tool.custom.name for tool in checked.tools if isinstance(tool, CustomTool)]
        param = "tool_choice.custom.name"
    else:
        return
    if name not in known:
        raise InvalidRequest(
            f"`{param}` names no tool of `tools`; there are: {', '.join(known)}.", param=param
        )


def encoder(request: Request, call: Call) -> Encoder:
    return ChatEncoder(request, call)  # type: ignore[arg-type] # what `decode` gave


def error_body(error: PenstockError, call_id: str) -> bytes:  # noqa: ARG001 - the id is in x-request-id
    return openai_errors.error_body(error)
