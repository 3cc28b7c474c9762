"""A double of OpenAI's Responses API around the scripted model of `brain.py`.

    async with ResponsesDouble() as up:
        openai.AsyncOpenAI(base_url=up.url, api_key="any").responses.create(...)

Written from the vendor's documentation and the types of its SDK 3.52, as strict as the vendor: what it
refuses is a 400 with the vendor's words, code and param. What is checked beyond types:

    unknown parameters, tools of the chat interface's shape, `strict` schemas, the word JSON for json_object
    every function_call has its output and every output its call; ids begin with rs, fc or msg
    content of an assistant is output_text or refusal, of all others input_*
    a reasoning item comes back with the encrypted_content it was given with, and before the item it was made
    for; a function_call that brings its id brings its reasoning item; `strict_reasoning` demands the
    reasoning of every call this double made, whether an id came back or not

POST /v1/responses (also by previous_response_id), GET and DELETE of what was stored, input_items,
input_tokens, GET /v1/models.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from penstock.testing.brain import Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.double import Answer, Framing, Json, Recorded, by_hand, parser
from penstock.testing.openai_rules import (
    OpenAIVendor,
    body_of,
    check_effort,
    check_image,
    check_include,
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
        *("access_programs", "background", "context_management", "conversation", "image", "include", "input"),
        *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation"),
        *(
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "prompt_cache_options",
        ),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream"),
        *("stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user"),
    ]
)
_TOOL_FIELDS: Final = frozenset(["type", "name", "description", "parameters", "strict", "defer_loading"])
_ITEM_FIELDS: Final = {
    "message": frozenset(["type", "role", "content", "id", "status", "phase"]),
    "function_call": frozenset(
        ["type", "call_id", "name", "arguments", "id", "status", "namespace", "caller", "async"]
    ),
    "function_call_output": frozenset(["type", "call_id", "output", "id", "status", "caller"]),
    "custom_tool_call": frozenset(["type", "call_id", "name", "input", "id", "status"]),
    "custom_tool_call_output": frozenset(["type", "call_id", "output", "id", "status"]),
    "reasoning": frozenset(["type", "id", "summary", "content", "encrypted_content", "status"]),
    "item_reference": frozenset(["type", "id"]),
}
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
_OUTPUTS: Final = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_ROLES: Final = frozenset(["user", "assistant", "system", "developer"])
_HOSTED: Final = re.compile(
    r"(?:web_search|file_search|code_interpreter|computer|image_generation|mcp|custom|local_shell)\w*"
)
_EFFORTS: Final = frozenset(["none", "minimal", "low", "medium", "high", "xhigh", "max"])


class _Events(Framing):
    """`event:` is the type; no [DONE]."""

    end = None

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), data)


_EVENTS: Final = _Events()


class ResponsesDouble(OpenAIVendor):
    def __init__(self, *, strict_reasoning: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.strict_reasoning = strict_reasoning
        self.stored: dict[str, Json] = {}
        self._inputs: dict[str, list[Json]] = {}  # of a stored answer, all it was made from
        self._items: dict[str, Json] = {}  # stored output items
        self._thought_of: dict[str, str] = {}  # item id or call id: the reasoning item it was made with

    def error_event(self, message: str) -> Json:
        return {
            "type": "error",
            "code": "server_error",
            "message": message,
            "param": None,
            "sequence_number": 0,
        }

    def respond(self, request: Recorded) -> Answer:
        path = request.path.removeprefix("/v1").removeprefix("/openai/v1")
        stored = re.fullmatch(r"/responses/(resp_\w+)(/input_items|/cancel)?", path)
        match request.method, path:
            case "GET", "/models":
                return self.list_models()
            case "POST", "/responses":
                return self._create(request)
            case "POST", "/responses/input_tokens":
                body = {"model": "any", **body_of(request)}
                before, own = self._history(body)
                count = self._read(body, before + own).tokens
                return Answer({"object": "response.input_tokens", "input_tokens": count})
            case _ if stored is None:
                raise Refused(f"Invalid URL ({request.method} {request.path})", 404)
            case _ if stored[1] not in self.stored:
                raise Refused(f"Response with id '{stored[1]}' not found.", 404)
            case "GET", _ if stored[2] == "/input_items":
                items = [_as_listed(at, item) for at, item in enumerate(self._inputs[stored[1]])]
                ends = {"first_id": "msg_in_0", "last_id": f"msg_in_{len(items) - 1}", "has_more": False}
                return Answer({"object": "list", "data": items[::-1], **ends})
            case "GET", _:
                return Answer(self.stored[stored[1]])
            case "DELETE", _:
                del self.stored[stored[1]]
                return Answer({"id": stored[1], "object": "response", "deleted": True})
            case _:
                raise Refused("Only background responses can be cancelled.")

    def _create(self, request: Recorded) -> Answer:
        body, told = body_of(request), request.directives
        for key in body:
            if key not in _FIELDS:
                raise Refused(f"Unknown parameter: '{key}'.", code="unknown_parameter", param=key)
        before, own = self._history(body)
        ask = self._read(body, before + own)
        reply = self.think(ask, told)
        reasoning = body.get("reasoning") or {}
        output = list(self._output(reply, body, shows=bool(reasoning.get("summary"))))
        is_cut = reply.finish == "length" or told.text("finish") == "incomplete"
        number = self.new_id("resp_")
        prompt = told.count("prompt-tokens") or ask.tokens
        response: Json = {
            "id": number,
            "object": "response",
            "created_at": int(self.clock.wall()),
            "status": "incomplete" if is_cut else "completed",
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": body["model"],
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "store": body.get("store", True),
            "temperature": body.get("temperature", 1.0),
            "text": {"format": {"type": "text"}, "verbosity": "medium", **body.get("text", {})},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": [{"strict": True, "parameters": {}, **tool} for tool in body.get("tools", [])],
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation", "disabled"),
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {
                    "cached_tokens": told.count("cached-tokens") or 0,
                    "cache_write_tokens": 0,
                },
                "output_tokens": reply.tokens,
                "output_tokens_details": {"reasoning_tokens": reply.thought_tokens},
                "total_tokens": prompt + reply.tokens,
            },
            "metadata": {k: v for k, v in body.get("metadata", {}).items() if not k.startswith("x-test-")},
        }
        if told.flag("no-usage"):
            response["usage"] = None
        self._remember(response, before + own, body)
        if body.get("stream"):
            return Answer({}, list(_stream(response)), framing=_EVENTS)
        return Answer(response)

    def _remember(self, response: Json, items: list[Json], body: Json) -> None:
        thought = None
        for item in response["output"]:
            if item["type"] == "reasoning":
                thought = item["id"]
            elif thought is not None:
                for key in ("id", "call_id"):
                    if key in item:
                        self._thought_of[item[key]] = thought
        if body.get("store", True):
            self.stored[response["id"]] = response
            self._inputs[response["id"]] = items
            self._items |= {item["id"]: item for item in response["output"]}

    def _output(self, reply: Reply, body: Json, *, shows: bool) -> Iterator[Json]:
        last = "incomplete" if reply.finish == "length" else "completed"
        if reply.thought:
            number = self.new_id("rs_")
            summary = [{"type": "summary_text", "text": reply.thought}] if shows else []
            item: Json = {"id": number, "type": "reasoning", "summary": summary}
            if "reasoning.encrypted_content" in body.get("include", []):
                item["encrypted_content"] = self.seals.seal("reasoning", number)
            yield item
        if reply.text or reply.refusal:
            part: Json = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
            if reply.refusal:
                part = {"type": "refusal", "refusal": reply.refusal}
            status = "completed" if reply.calls else last
            number = self.new_id("msg_")
            yield {"id": number, "type": "message", "status": status, "role": "assistant", "content": [part]}
        for at, call in enumerate(reply.calls):
            yield {
                "id": self.new_id("fc_"),
                "type": "function_call",
                "status": last if at == len(reply.calls) - 1 else "completed",
                "call_id": self.new_id("call_"),
                "name": call.name,
                "arguments": call.text,
            }

    # -- reading -------------------------------------------------------------------------------------

    def _history(self, body: Json) -> tuple[list[Json], list[Json]]:
        """What a previous response was made from and answered, and the items of this request."""
        given = body.get("input", "")
        if isinstance(given, str):
            own = [{"type": "message", "role": "user", "content": given}] if given else []
        elif isinstance(given, list):
            own = [self._item(item, f"input[{at}]") for at, item in enumerate(given)]
        else:
            raise wrong_type("input", "one of a string or an array")
        before: list[Json] = []
        if (previous := body.get("previous_response_id")) is not None:
            if previous not in self.stored:
                raise Refused(
                    f"Previous response with id '{previous}' not found.",
                    code="previous_response_not_found",
                    param="previous_response_id",
                )
            before = self._inputs[previous] + self.stored[previous]["output"]
        if not own and not before:
            raise Refused(
                "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be "
                "provided.",
                code="missing_required_parameter",
                param="input",
            )
        return before, own

    def _read(self, body: Json, items: list[Json]) -> Ask:
        if not isinstance(body.get("model"), str):
            raise missing("model")
        _pair_calls(items)
        limit = body.get("max_output_tokens")
        if limit is not None and (not isinstance(limit, int) or limit < 16):
            raise Refused(
                "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got "
                f"{limit} instead.",
                code="integer_below_min_value",
                param="max_output_tokens",
            )
        effort = (body.get("reasoning") or {}).get("effort")
        for key in ("effort", "summary"):
            check_effort(body["model"], (body.get("reasoning") or {}).get(key), f"reasoning.{key}")
        check_sampling(body, effort)
        check_include(body["model"], body.get("include"))
        if effort is not None and effort not in _EFFORTS:
            raise wrong_value("reasoning.effort", effort, _EFFORTS)
        thinks = effort not in {None, "none"}
        if thinks:
            self._check_thoughts(items)
        tools = _tools(body)
        choice, names = _choice(body)
        schema, wants_json = _format(body)
        turns, system = _turns(items)
        if (
            wants_json
            and "json" not in json.dumps([item for item in items if item["type"] == "message"]).lower()
        ):
            raise Refused(
                "Response input messages must contain the word 'json' in some form to use "
                "'text.format' of type "
                "'json_object'.",
                param="input",
            )
        return Ask(
            turns=tuple(turns),
            system="\n".join([*([body["instructions"]] if body.get("instructions") else []), *system]),
            tools=tuple(tools),
            choice=choice,
            only=names,
            parallel=body.get("parallel_tool_calls", True),
            schema=schema,
            wants_json=wants_json,
            thinking=thinks,
            max_tokens=limit,
        )

    def _item(self, item: Any, path: str) -> Json:
        """One input item, checked; a reference is resolved."""
        if not isinstance(item, dict):
            raise wrong_type(path, "an object")
        kind = item.get("type", "message" if "role" in item else None)
        if kind is None:
            raise missing(f"{path}.type")
        if kind not in _ITEM_FIELDS:
            raise wrong_value(f"{path}.type", kind, _ITEM_FIELDS)
        for key in item:
            if key not in _ITEM_FIELDS[kind]:
                param = f"{path}.{key}"
                raise Refused(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
        number = item.get("id")
        if number is not None and not str(number).startswith(_PREFIXES.get(kind, "")):
            raise Refused(
                f"Invalid '{path}.id': '{number}'. Expected an ID that begins with '{_PREFIXES[kind]}'.",
                code="invalid_value",
                param=f"{path}.id",
            )
        match kind:
            case "message":
                _check_message(item, path)
            case "function_call":
                check_name(item.get("name"), f"{path}.name")
                check_length(item.get("call_id"), 64, f"{path}.call_id")
                if not isinstance(item.get("arguments"), str):
                    raise wrong_type(f"{path}.arguments", "a string")
            case "custom_tool_call":
                check_name(item.get("name"), f"{path}.name")
                check_length(item.get("call_id"), 64, f"{path}.call_id")
                if not isinstance(item.get("input"), str):
                    raise wrong_type(f"{path}.input", "a string")
            case "function_call_output" | "custom_tool_call_output":
                check_length(item.get("call_id"), 64, f"{path}.call_id")
                _check_output(item.get("output"), f"{path}.output")
            case "reasoning":
                self._check_reasoning(item, path)
            case _:
                if number not in self._items:
                    raise _not_found(number)
                return self._items[number]
        return {**item, "type": kind}

    def _check_reasoning(self, item: Json, path: str) -> None:
        if not isinstance(item.get("summary"), list):
            raise missing(f"{path}.summary")
        sealed, number = item.get("encrypted_content"), item.get("id")
        if sealed is None:
            if number not in self._items:
                raise _not_found(number)
        elif not self.seals.is_good("reasoning", str(number), sealed):
            raise Refused(
                f"The encrypted content {str(sealed)[:8]}... could not be verified. Reason: "
                "Encrypted content could "
                "not be decrypted or parsed.",
                code="invalid_encrypted_content",
            )

    def _check_thoughts(self, items: list[Json]) -> None:
        """Reasoning and what was made with it belong together."""
        seen: set[str] = set()
        for at, item in enumerate(items):
            if item["type"] == "reasoning":
                seen.add(item.get("id", ""))
                following = items[at + 1] if at + 1 < len(items) else {}
                if (
                    following.get("type") not in {"function_call", "custom_tool_call", "reasoning"}
                    and following.get("role") != "assistant"
                ):
                    raise Refused(
                        f"Item '{item.get('id')}' of type 'reasoning' was provided without its required "
                        "following item.",
                        param="input",
                    )
            elif item["type"] in {"function_call", "message"}:
                keys = [item.get("id"), item.get("call_id") if self.strict_reasoning else None]
                needed = {self._thought_of[key] for key in keys if key in self._thought_of}
                if needed - seen:
                    raise Refused(
                        f"Item '{item.get('id', item.get('call_id'))}' of type '{item['type']}' was "
                        "provided without "
                        f"its required 'reasoning' item: '{min(needed)}'.",
                        param="input",
                    )


def _as_listed(at: int, item: Json) -> Json:
    """An input item as the vendor lists it: with an id, content as parts."""
    content = item.get("content")
    listed = {"id": f"msg_in_{at}", **item}
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        listed["content"] = [{"type": kind, "text": content}]
    return listed


def _not_found(number: Any) -> Refused:
    return Refused(
        f"Item with id '{number}' not found. Items are not persisted when `store` is set to false. "
        "Try again with "
        "`store` set to true, or remove this item from your input.",
        404,
        param="input",
    )


def _check_message(item: Json, path: str) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise wrong_value(f"{path}.role", role, _ROLES)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(f"{path}.content", "one of an array of objects or string")
    known = {"output_text", "refusal"} if role == "assistant" else {"input_text", "input_image", "input_file"}
    for number, part in enumerate(content):
        where = f"{path}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in known:
            raise wrong_value(where, kind, known)
        _check_part(part, where)


def _check_part(part: Json, path: str) -> None:
    match part["type"]:
        case "input_text" | "output_text":
            if not isinstance(part.get("text"), str):
                raise missing(f"{path}.text")
        case "refusal":
            if not isinstance(part.get("refusal"), str):
                raise missing(f"{path}.refusal")
        case "input_image":
            if part.get("file_id") is None:
                check_image(part.get("image_url"), f"{path}.image_url")
        case "input_file":
            if all(part.get(key) is None for key in ("file_id", "file_data", "file_url")):
                raise missing(f"{path}.file_id")
            data = part.get("file_data")
            if data is not None and not re.match(r"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/]+=*$", data):
                raise Refused(
                    f"Invalid '{path}.file_data'. Expected a base64-encoded data URL with a MIME type.",
                    code="invalid_value",
                    param=f"{path}.file_data",
                )


def _check_output(output: Any, path: str) -> None:
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        raise missing(path) if output is None else wrong_type(path, "one of an array of objects or string")
    known = {"input_text", "input_image", "input_file"}
    for number, part in enumerate(output):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in known:
            raise wrong_value(f"{path}[{number}]", kind, known)
        _check_part(part, f"{path}[{number}]")


def _pair_calls(items: list[Json]) -> None:
    called: set[tuple[str, str]] = set()
    answered: set[tuple[str, str]] = set()
    for item in items:
        kind = item["type"]
        if kind in _OUTPUTS.values():
            called.add((kind, item["call_id"]))
        elif kind in _OUTPUTS:
            call = (_OUTPUTS[kind], item["call_id"])
            if call not in called:
                words = call[0].replace("_", " ")
                raise Refused(f"No tool call found for {words} output with call_id {call[1]}.", param="input")
            answered.add(call)
    for kind, call_id in sorted(called - answered):
        raise Refused(f"No tool output found for {kind.replace('_', ' ')} {call_id}.", param="input")


def _turns(items: list[Json]) -> tuple[list[Turn], list[str]]:
    """Turns, and what the system said."""
    turns: list[Turn] = []
    system: list[str] = []
    for item in items:
        match item["type"]:
            case "message" if item["role"] in {"system", "developer"}:
                system.append(_text_of(item["content"]))
            case "message":
                role: Literal["user", "assistant"] = "assistant" if item["role"] == "assistant" else "user"
                turns.append(Turn(role, _text_of(item["content"]), media=_media_of(item["content"])))
            case "function_call":
                try:
                    arguments = json.loads(item["arguments"] or "{}")
                except ValueError:
                    arguments = {}
                turns.append(Turn("assistant", calls=(Call(item["call_id"], item["name"], arguments),)))
            case "custom_tool_call":
                call = Call(item["call_id"], item["name"], {"input": item["input"]})
                turns.append(Turn("assistant", calls=(call,)))
            case "function_call_output" | "custom_tool_call_output":
                output = item["output"]
                result = Result(item["call_id"], _text_of(output), media=_media_of(output))
                turns.append(Turn("user", results=(result,)))
    return turns, system


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", part.get("refusal", "")) for part in content)


def _media_of(content: Any) -> tuple[str, ...]:
    if isinstance(content, str):
        return ()
    found = []
    for part in content:
        url = part.get("image_url") or part.get("file_data") or ""
        if part["type"] in {"input_image", "input_file"}:
            found.append(url[5 : url.index(";")] if url.startswith("data:") else part["type"])
    return tuple(found)


def _tools(body: Json) -> list[Tool]:
    made = []
    for at, tool in enumerate(body.get("tools", [])):
        path = f"tools[{at}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is None:
            raise missing(f"{path}.type")
        if kind == "custom":
            check_name(tool.get("name"), f"{path}.name")
        if kind != "function":
            if not _HOSTED.fullmatch(kind):
                raise wrong_value(f"{path}.type", kind, {"function", "custom", "web_search", "file_search"})
            continue
        check_name(tool.get("name"), f"{path}.name")
        for key in tool:
            if key not in _TOOL_FIELDS:
                param = f"{path}.{key}"
                raise Refused(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
        made.append(Tool(tool["name"], tool.get("description") or "", check_schema(tool, path)))
    return made


def _choice(body: Json) -> tuple[Any, tuple[str, ...]]:
    choice = body.get("tool_choice")
    if choice in {None, "auto", "none"} if isinstance(choice, str | None) else False:
        return choice or "auto", ()
    if choice == "required":
        if not body.get("tools"):
            raise Refused(
                "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice"
            )
        return "any", ()
    if not isinstance(choice, dict) or choice.get("type") not in {"function", "custom", "allowed_tools"}:
        raise wrong_value("tool_choice", choice, {"none", "auto", "required"})
    if choice["type"] == "allowed_tools":
        names = tuple(tool.get("name", "") for tool in choice.get("tools", []))
        unknown = set(names) - {tool.get("name") for tool in body.get("tools", [])}
        if unknown:
            raise Refused(
                f"Tool choice '{min(unknown)}' not found in 'tools' parameter.", param="tool_choice"
            )
        return "any" if choice.get("mode") == "required" else "auto", names
    if choice.get("name") is None:
        raise missing("tool_choice.name")
    if (choice["type"], choice["name"]) not in {
        (t.get("type"), t.get("name")) for t in body.get("tools", [])
    }:
        raise Refused(f"Tool choice '{choice['type']}' not found in 'tools' parameter.", param="tool_choice")
    return "any", (choice["name"],)


def _format(body: Json) -> tuple[Json | None, bool]:
    """schema, wants_json"""
    text = body.get("text", {})
    for key in text:
        if key not in {"format", "verbosity"}:
            raise Refused(f"Unknown parameter: 'text.{key}'.", code="unknown_parameter", param=f"text.{key}")
    given = text.get("format") or {"type": "text"}
    match given.get("type"):
        case "text":
            return None, False
        case "json_object":
            return None, True
        case "json_schema":
            check_name(given.get("name"), "text.format.name")
            if not isinstance(given.get("schema"), dict):
                raise missing("text.format.schema")
            check_root(given["schema"], f"response_format '{given['name']}'", "text.format.schema")
            if given.get("strict") is True:
                what = f"response_format '{given['name']}'"
                check_strict(given["schema"], what, "text.format.schema", "invalid_json_schema")
            return given["schema"], False
        case kind:
            raise wrong_value("text.format.type", kind, {"text", "json_object", "json_schema"})


# -- streaming -------------------------------------------------------------------------------------------


def _stream(response: Json) -> Iterator[Json]:
    """Every event numbered; an item opens, fills and closes before the next."""
    empty: Json = {"status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    opened = {**response, **empty}
    body = [
        {"type": "response.created", "response": opened},
        {"type": "response.in_progress", "response": opened},
    ]
    for index, item in enumerate(response["output"]):
        body += _item_events(index, item)
    body.append({"type": f"response.{response['status']}", "response": response})
    for number, event in enumerate(body):
        yield {**event, "sequence_number": number}


def _item_events(index: int, item: Json) -> list[Json]:
    at: Json = {"output_index": index, "item_id": item["id"]}
    match item["type"]:
        case "reasoning":
            opened = {**item, "summary": []}
            inner = [
                event
                for number, part in enumerate(item["summary"])
                for event in _summary_events(at, number, part)
            ]
        case "message":
            opened = {**item, "status": "in_progress", "content": []}
            inner = [
                event
                for number, part in enumerate(item["content"])
                for event in _part_events(at, number, part)
            ]
        case _:
            opened = {**item, "status": "in_progress", "arguments": ""}
            inner = [
                {"type": "response.function_call_arguments.delta", **at, "delta": piece}
                for piece in pieces(item["arguments"])
            ]
            done = {"type": "response.function_call_arguments.done", **at, "name": item["name"]}
            inner.append({**done, "arguments": item["arguments"]})
    return [
        {"type": "response.output_item.added", "output_index": index, "item": opened},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _summary_events(at: Json, number: int, part: Json) -> list[Json]:
    where = {**at, "summary_index": number}
    return [
        {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}},
        *(
            {"type": "response.reasoning_summary_text.delta", **where, "delta": word}
            for word in words(part["text"])
        ),
        {"type": "response.reasoning_summary_text.done", **where, "text": part["text"]},
        {"type": "response.reasoning_summary_part.done", **where, "part": part},
    ]


def _part_events(at: Json, number: int, part: Json) -> list[Json]:
    where = {**at, "content_index": number}
    key = "refusal" if part["type"] == "refusal" else "text"
    name = "response.refusal" if key == "refusal" else "response.output_text"
    more: Json = {} if key == "refusal" else {"logprobs": []}
    return [
        {"type": "response.content_part.added", **where, "part": {**part, key: ""}},
        *({"type": f"{name}.delta", **where, "delta": word, **more} for word in words(part[key])),
        {"type": f"{name}.done", **where, key: part[key], **more},
        {"type": "response.content_part.done", **where, "part": part},
    ]


def main(arguments: list[str] | None = None) -> None:
    by_hand(ResponsesDouble, parser("responses", "A double of OpenAI's Responses API."), arguments)


if __name__ == "__main__":
    main()
