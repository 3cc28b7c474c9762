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
from penstock.protocols.checking import Checker
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

_checker = Checker(ChatBody)


def decode(body: dict[str, Any]) -> ChatRequest:
    unusual = _drop_nulls(body)
    checked = _checker.check(body)
    for message in unusual:
        _check_message(message, body["messages"])
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


def _check_message(message: dict[str, Any], messages: list[Any]) -> None:
    if "tool_calls" in message and not message["tool_calls"]:
        del message["tool_calls"]
    if message["role"] == "assistant" and not any(key in message for key in _ASSISTANT_SAYS):
        path = f"messages[{next(i for i, other in enumerate(messages) if other is message)}]"
        raise InvalidRequest(
            f"`{path}`: a message of the assistant needs one of {', '.join(_ASSISTANT_SAYS)}.", param=path
        )


_ASSISTANT_SAYS = ("content", "tool_calls", "refusal", "function_call", "audio")


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
