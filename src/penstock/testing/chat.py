"""A double of OpenAI's Chat Completions around the scripted model of `brain.py`, as strict as the vendor.

    async with ChatDouble() as up:
        openai.AsyncOpenAI(base_url=up.url, api_key="any").chat.completions.create(...)

`upstream.py` is its simpler, tolerant sister: no brain, but completions, embeddings and rerank. What this one
refuses is a 400 with the vendor's words, code and param. What is checked beyond types:

    unknown parameters, tools of the Responses API's shape, `strict` schemas, the word JSON for json_object
    every tool_call answered by a tool message right behind it, every tool message by a call before it
    content parts by role; ids of at most 40 characters; options that need others (tools, stream)

`shows_reasoning` adds `reasoning_content`, as DeepSeek and others do; OpenAI itself only counts it.
`interleaves` streams parallel calls piece by piece in turns: the format allows it, and some servers do.
POST /v1/chat/completions, GET /v1/models.
"""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from penstock.testing.brain import Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.double import Answer, Json, Recorded, by_hand, parser
from penstock.testing.openai_rules import (
    OpenAIVendor,
    body_of,
    check_effort,
    check_image,
    check_length,
    check_name,
    check_root,
    check_sampling,
    check_schema,
    check_strict,
    missing,
    wrong_type,
    wrong_value,
)
from penstock.testing.vendor import Refused, pieces

_FIELDS: Final = frozenset(
    [
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "messages"),
        *("max_completion_tokens", "max_tokens", "metadata", "modalities", "model", "moderation", "n"),
        *(
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_cache_options",
        ),
        *("prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed"),
        *("service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools"),
        *("top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    ]
)
_MESSAGE_FIELDS: Final = {
    "system": frozenset(["role", "content", "name"]),
    "developer": frozenset(["role", "content", "name"]),
    "user": frozenset(["role", "content", "name"]),
    "assistant": frozenset(
        ["role", "content", "name", "tool_calls", "refusal", "audio", "function_call", "annotations"]
    ),
    "tool": frozenset(["role", "content", "tool_call_id"]),
}
_PARTS: Final = {
    "system": frozenset(["text"]),
    "developer": frozenset(["text"]),
    "user": frozenset(["text", "image_url", "input_audio", "file"]),
    "assistant": frozenset(["text", "refusal"]),
    "tool": frozenset(["text"]),
}
_FINISH: Final = {
    "stop": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "calls": "tool_calls",
    "refusal": "stop",
}
_TOOL_KINDS: Final = frozenset(["function", "custom"])
_EFFORTS: Final = frozenset(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
_FILE: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/]+=*$")


class ChatDouble(OpenAIVendor):
    def __init__(self, *, shows_reasoning: bool = False, interleaves: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.shows_reasoning = shows_reasoning
        self.interleaves = interleaves

    def respond(self, request: Recorded) -> Answer:
        match request.method, request.path.removeprefix("/v1"):
            case "GET", "/models":
                return self.list_models()
            case "POST", "/chat/completions":
                return self._complete(request)
            case _:
                raise Refused(f"Invalid URL ({request.method} {request.path})", 404)

    def _complete(self, request: Recorded) -> Answer:
        body, told = body_of(request), request.directives
        for key in body:
            if key not in _FIELDS:
                raise Refused(
                    f"Unrecognized request argument supplied: {key}", code="unknown_parameter", param=key
                )
        ask = _read(body)
        reply = self.think(ask, told)
        forced = isinstance(body.get("tool_choice"), dict)  # a named tool ends with stop, not tool_calls
        finish = told.text("finish") or (
            "stop" if forced and reply.finish == "calls" else _FINISH[reply.finish]
        )
        count = body.get("n", 1)
        prompt = told.count("prompt-tokens") or ask.tokens
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": count * reply.tokens,
            "total_tokens": prompt + count * reply.tokens,
            "prompt_tokens_details": {"cached_tokens": told.count("cached-tokens") or 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": count * reply.thought_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        base = {
            "id": self.new_id("chatcmpl-"),
            "created": int(self.clock.wall()),
            "model": body["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_test",
        }
        every = [self._message(reply) for _ in range(count)]
        if body.get("stream") is True:
            wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
            shown = usage if wants_usage and not told.flag("no-usage") else None
            streams = [list(_deltas(message, reply, interleaved=self.interleaves)) for message in every]
            return Answer({}, list(_chunks(base, streams, finish, shown)))
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
            for index, message in enumerate(every)
        ]
        whole = {**base, "object": "chat.completion", "choices": choices}
        return Answer(whole if told.flag("no-usage") else {**whole, "usage": usage})

    def _message(self, reply: Reply) -> Json:
        message: Json = {
            "role": "assistant",
            "content": reply.text or (None if reply.calls or reply.refusal else ""),
            "refusal": reply.refusal or None,
            "annotations": [],
        }
        if reply.thought and self.shows_reasoning:
            message["reasoning_content"] = reply.thought
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": self.new_id("call_"),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.text},
                }
                for call in reply.calls
            ]
        return message


# -- streaming -------------------------------------------------------------------------------------------


def _chunks(base: Json, streams: list[list[Json]], finish: str, usage: Json | None) -> Iterator[Json]:
    """All choices in step, then their ends, then the usage."""
    base = {**base, "object": "chat.completion.chunk"}
    extra = {} if usage is None else {"usage": None}
    for step in range(len(streams[0])):
        for index, deltas in enumerate(streams):
            choice = {"index": index, "delta": deltas[step], "logprobs": None, "finish_reason": None}
            yield {**base, "choices": [choice], **extra}
    for index in range(len(streams)):
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish}
        yield {**base, "choices": [choice], **extra}
    if usage is not None:
        yield {**base, "choices": [], "usage": usage}


def _deltas(message: Json, reply: Reply, *, interleaved: bool) -> Iterator[Json]:
    yield {"role": "assistant", "content": None if reply.calls and not reply.text else "", "refusal": None}
    if "reasoning_content" in message:
        yield from ({"reasoning_content": word} for word in words(reply.thought))
    yield from ({"content": word} for word in words(reply.text))
    yield from ({"refusal": word} for word in words(reply.refusal))
    calls = [_call_deltas(index, call) for index, call in enumerate(message.get("tool_calls", ()))]
    if interleaved:
        in_turns = itertools.chain.from_iterable(itertools.zip_longest(*calls))
        yield from (delta for delta in in_turns if delta is not None)
    else:
        yield from itertools.chain.from_iterable(calls)


def _call_deltas(index: int, call: Json) -> list[Json]:
    """The first has id and name, the others pieces of the arguments."""
    opened = {"index": index, **call, "function": {**call["function"], "arguments": ""}}
    parts = [
        {"index": index, "function": {"arguments": piece}} for piece in pieces(call["function"]["arguments"])
    ]
    return [{"tool_calls": [part]} for part in [opened, *parts]]


# -- reading ---------------------------------------------------------------------------------------------


def _read(body: Json) -> Ask:
    if not isinstance(body.get("model"), str):
        raise missing("model")
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects")
    if not messages:
        raise Refused(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array "
            "instead.",
            code="empty_array",
            param="messages",
        )
    for at, message in enumerate(messages):
        _check_message(message, f"messages[{at}]")
    _pair_calls(messages)
    tools = _tools(body)
    for key in ("tool_choice", "parallel_tool_calls"):
        if key in body and not body.get("tools") and body[key] != "none":
            raise Refused(f"'{key}' is only allowed when 'tools' are specified.", param=key)
    if "stream_options" in body and body.get("stream") is not True:
        wrong = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(wrong, param="stream_options")
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise wrong_value("reasoning_effort", effort, _EFFORTS)
    check_effort(body["model"], effort, "reasoning_effort")
    check_sampling(body, effort)
    choice, names = _choice(body)
    schema, wants_json = _format(body)
    if wants_json and "json" not in json.dumps(messages).lower():
        raise Refused(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            param="messages",
        )
    turns, system = _turns(messages)
    return Ask(
        turns=tuple(turns),
        system="\n".join(system),
        tools=tuple(tools),
        choice=choice,
        only=names,
        parallel=body.get("parallel_tool_calls", True),
        schema=schema,
        wants_json=wants_json,
        thinking=effort not in {None, "none"},
        max_tokens=_limits(body),
        stop=_stops(body),
    )


def _limits(body: Json) -> int | None:
    """max_tokens; n is checked with it."""
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise Refused("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    for key, most in (("max_tokens", None), ("max_completion_tokens", None), ("n", 128)):
        value = body.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(key, "an integer")
        if value < 1 or (most is not None and value > most):
            raise Refused(
                f"Invalid '{key}': integer out of range, got {value}.",
                code="integer_below_min_value",
                param=key,
            )
    limit: int | None = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit


def _stops(body: Json) -> tuple[str, ...]:
    stop = body.get("stop", [])
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or any(not isinstance(one, str) for one in stop):
        raise wrong_type("stop", "one of a string or an array of strings")
    if len(stop) > 4:
        raise Refused(
            "Invalid 'stop': array too long. Expected an array with maximum length 4.",
            code="array_above_max_length",
            param="stop",
        )
    return tuple(stop)


def _check_message(message: Any, path: str) -> None:
    if not isinstance(message, dict):
        raise wrong_type(path, "an object")
    role = message.get("role")
    if role is None:
        raise missing(f"{path}.role")
    if role not in _MESSAGE_FIELDS:
        raise wrong_value(f"{path}.role", role, _MESSAGE_FIELDS)
    for key in message:
        if key not in _MESSAGE_FIELDS[role]:
            raise Refused(
                f"Unknown parameter: '{path}.{key}'.", code="unknown_parameter", param=f"{path}.{key}"
            )
    content = message.get("content")
    calls = message.get("tool_calls")
    if content is None and not (role == "assistant" and (calls or message.get("refusal"))):
        raise Refused(
            "Invalid value for 'content': expected a string, got null.",
            param=f"{path.replace('[', '.[')}.content",
        )
    if isinstance(content, list):
        if not content:
            raise Refused(
                f"Invalid '{path}.content': empty array.", code="empty_array", param=f"{path}.content"
            )
        for number, part in enumerate(content):
            _check_part(part, role, f"{path}.content[{number}]")
    elif not isinstance(content, str | None):
        raise wrong_type(f"{path}.content", "one of a string or an array of objects")
    if "name" in message and not re.fullmatch(r"[^\s<|\\/>]{1,64}", str(message["name"])):
        raise Refused(
            f"Invalid '{path}.name': string does not match pattern.",
            code="invalid_value",
            param=f"{path}.name",
        )
    if role == "tool":
        if message.get("tool_call_id") is None:
            raise missing(f"{path}.tool_call_id")
        check_length(message["tool_call_id"], 40, f"{path}.tool_call_id")
    if calls is not None:
        _check_calls(calls, f"{path}.tool_calls")


def _check_part(part: Any, role: str, path: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _PARTS[role]:
        raise wrong_value(f"{path}.type", kind, _PARTS[role])
    value = part.get(kind)
    match kind:
        case "text" | "refusal":
            if not isinstance(value, str):
                raise missing(f"{path}.{kind}")
        case "image_url":
            if not isinstance(value, dict):
                raise wrong_type(f"{path}.image_url", "an object")
            check_image(value.get("url"), f"{path}.image_url.url")
        case "input_audio":
            if not isinstance(value, dict) or value.get("format") not in {"wav", "mp3"}:
                raise wrong_value(f"{path}.input_audio.format", (value or {}).get("format"), {"wav", "mp3"})
        case _:
            if not isinstance(value, dict) or not {"file_id", "file_data"} & value.keys():
                raise missing(f"{path}.file.file_id")
            if "file_data" in value and not _FILE.match(value["file_data"]):
                raise Refused(
                    f"Invalid '{path}.file.file_data'. Expected a base64-encoded data URL with a MIME type.",
                    code="invalid_value",
                    param=f"{path}.file.file_data",
                )
            if "file_data" in value and not value.get("filename"):
                raise missing(f"{path}.file.filename")


def _check_calls(calls: Any, path: str) -> None:
    if not isinstance(calls, list):
        raise wrong_type(path, "an array of objects")
    if not calls:
        raise Refused(
            f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array "
            "instead.",
            code="empty_array",
            param=path,
        )
    for number, call in enumerate(calls):
        where = f"{path}[{number}]"
        check_length(call.get("id"), 40, f"{where}.id")
        kind = call.get("type")
        if kind not in _TOOL_KINDS:
            raise wrong_value(f"{where}.type", kind, _TOOL_KINDS)
        if kind == "custom":
            check_name(_named(call), f"{where}.custom.name")
            if not isinstance(call["custom"].get("input"), str):
                raise wrong_type(f"{where}.custom.input", "a string")
            continue
        function = call.get("function")
        if not isinstance(function, dict):
            raise missing(f"{where}.function")
        check_name(function.get("name"), f"{where}.function.name")
        if not isinstance(function.get("arguments"), str):
            raise wrong_type(f"{where}.function.arguments", "a string")


def _pair_calls(messages: list[Json]) -> None:
    open_calls: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with "
                    "'tool_calls'.",
                    param=f"messages.[{at}].role",
                )
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            break
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    if open_calls:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(open_calls)}",
            param="messages",
        )


def _turns(messages: list[Json]) -> tuple[list[Turn], list[str]]:
    turns: list[Turn] = []
    system: list[str] = []
    for message in messages:
        role, content = message["role"], message.get("content")
        text = _text_of(content)
        if role in {"system", "developer"}:
            system.append(text)
        elif role == "tool":
            turns.append(Turn("user", results=(Result(message["tool_call_id"], text),)))
        else:
            calls = tuple(_call(call) for call in message.get("tool_calls") or ())
            own: Literal["user", "assistant"] = "assistant" if role == "assistant" else "user"
            turns.append(Turn(own, text, calls, media=_media_of(content)))
    return turns, system


def _call(call: Json) -> Call:
    if call["type"] == "custom":
        return Call(call["id"], call["custom"]["name"], {"input": call["custom"]["input"]})
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}")
    except ValueError:
        arguments = {}
    return Call(call["id"], call["function"]["name"], arguments)


def _text_of(content: Any) -> str:
    if isinstance(content, str | None):
        return content or ""
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _media_of(content: Any) -> tuple[str, ...]:
    if not isinstance(content, list):
        return ()
    found = []
    for part in content:
        if part["type"] == "image_url":
            found.append(check_image(part["image_url"]["url"], "image_url"))
        elif part["type"] == "input_audio":
            found.append(f"audio/{part['input_audio']['format']}")
        elif part["type"] == "file":
            data = part["file"].get("file_data", "")
            found.append(data[5 : data.index(";")] if data else "file")
    return tuple(found)


def _tools(body: Json) -> list[Tool]:
    given = body.get("tools", [])
    if not isinstance(given, list):
        raise wrong_type("tools", "an array of objects")
    if "tools" in body and not given:
        raise Refused("Invalid 'tools': empty array.", code="empty_array", param="tools")
    made = []
    for at, tool in enumerate(given):
        path = f"tools[{at}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is None:
            raise missing(f"{path}.type")
        if kind not in _TOOL_KINDS:
            raise wrong_value(f"{path}.type", kind, _TOOL_KINDS)
        if kind == "custom":
            check_name(_named(tool), f"{path}.custom.name")
            continue
        function = tool.get("function")
        if not isinstance(function, dict):
            raise missing(f"{path}.function")
        check_name(function.get("name"), f"{path}.function.name")
        for owner, known, where in (
            (tool, {"type", "function"}, path),
            (function, {"name", "description", "parameters", "strict"}, f"{path}.function"),
        ):
            for key in owner:
                if key not in known:
                    param = f"{where}.{key}"
                    raise Refused(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
        schema = check_schema(function, f"{path}.function")
        made.append(Tool(function["name"], function.get("description") or "", schema))
    return made


def _choice(body: Json) -> tuple[Any, tuple[str, ...]]:
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, str):
        known = {"none": "none", "auto": "auto", "required": "any"}
        if choice not in known:
            raise wrong_value("tool_choice", choice, known)
        return known[choice], ()
    if not isinstance(choice, dict) or choice.get("type") not in {*_TOOL_KINDS, "allowed_tools"}:
        raise wrong_type("tool_choice", "one of a string or an object")
    known_names = {_named(tool) for tool in body.get("tools", [])}
    if choice["type"] == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        names = tuple(str(_named(tool)) for tool in allowed.get("tools", []))
        unknown = set(names) - known_names
        if unknown:
            raise Refused(
                f"Tool choice '{min(unknown)}' not found in 'tools' parameter.", param="tool_choice"
            )
        return "any" if allowed.get("mode") == "required" else "auto", names
    name = _named(choice)
    if name is None:
        raise missing(f"tool_choice.{choice['type']}.name")
    if name not in known_names:
        raise Refused(
            f"Invalid value for 'tool_choice': no {choice['type']} named {name} was specified in 'tools'.",
            param="tool_choice",
        )
    return "any", (name,)


def _named(tool: Json) -> Any:
    """{"type": "function", "function": {"name"}}, {"type": "custom", "custom": {"name"}}"""
    return (tool.get(str(tool.get("type"))) or {}).get("name")


def _format(body: Json) -> tuple[Json | None, bool]:
    """schema, wants_json"""
    given = body.get("response_format", {"type": "text"})
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "json_schema":
        wanted = given.get("json_schema")
        if not isinstance(wanted, dict):
            raise missing("response_format.json_schema")
        check_name(wanted.get("name"), "response_format.json_schema.name")
        check_root(
            wanted.get("schema") or {"type": "object"},
            f"response_format '{wanted['name']}'",
            "response_format",
        )
        if wanted.get("strict") is True:
            what = f"response_format '{wanted['name']}'"
            check_strict(wanted.get("schema"), what, "response_format", "invalid_json_schema")
        return wanted.get("schema") or {}, False
    if kind not in {"text", "json_object"}:
        raise wrong_value("response_format.type", kind, {"text", "json_object", "json_schema"})
    return None, kind == "json_object"


def main(arguments: list[str] | None = None) -> None:
    by_hand(ChatDouble, parser("chat", "A strict double of OpenAI's Chat Completions."), arguments)


if __name__ == "__main__":
    main()
