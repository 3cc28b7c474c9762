"""OpenAI's Responses request in no vendor's words (types/conversation.py).

Responses                                            Conversation
---------------------------------------------------  -------------------------------------------------------
instructions                                         a system turn before all others
message of user, system, developer                   a turn each
message, reasoning, function_call, custom_tool_call  one assistant turn of neighbours; a message after a
                                                       message begins another
function_call_output, custom_tool_call_output        a tool turn of neighbours
reasoning.encrypted_content                          signature or, without a summary, redacted; of who
                                                       sealed it, else of a target of this dialect
built-in tools and their items                       Tool native, NativePart
text.format, text.verbosity; reasoning               Format, verbosity; Thinking
include, store, truncation disabled ...              nothing: they say how the answer is kept and shown
what has no place                                    other
"""

from typing import Any

from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    unseal,
)
from penstock.types.errors import InvalidRequest
from penstock.types.requests import ChatRequest

_SAME = (
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "metadata",
    "service_tier",
    "prompt_cache_key",
)
_KNOWN = frozenset(_SAME) | {
    *("model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "tools"),
    *("tool_choice", "text", "reasoning", "user", "safety_identifier"),
    # how the answer is kept and shown: ours to do
    *("store", "background", "include", "previous_response_id", "prompt_cache_retention"),
    *("prompt_cache_options",),
}
_SPOKEN = (TextPart, RefusalPart)
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}
_ASSISTANT = frozenset({"reasoning", "function_call", "custom_tool_call"})


def lift(request: ChatRequest) -> Conversation:
    body = request.body
    other = {key: value for key, value in body.items() if key not in _KNOWN}
    if other.get("truncation") == "disabled":
        del other["truncation"]
    text = body.get("text") or {}
    wants_logprobs = "message.output_text.logprobs" in (body.get("include") or ())
    turns = _turns(body.get("input") or "", body.get("instructions"))
    if not turns:
        raise InvalidRequest("`input` must not be empty.", param="input")
    return Conversation(
        turns=turns,
        tools=[_tool(tool) for tool in body.get("tools") or ()],
        tool_choice=_choice(body.get("tool_choice")),
        max_tokens=request.max_tokens,
        thinking=_thinking(body.get("reasoning")),
        format=_format(text.get("format")),
        verbosity=text.get("verbosity"),
        logprobs=True if wants_logprobs or body.get("top_logprobs") else None,
        user=body.get("safety_identifier") or body.get("user"),
        other=other,
        **{name: body[name] for name in _SAME if name in body},
    )


def _turns(given: str | list[JSON], instructions: str | None) -> list[Turn]:
    turns: list[Turn] = []
    if instructions:
        turns.append(Turn("system", [TextPart(instructions)]))
    if given.__class__ is str:
        if given:
            turns.append(Turn("user", [TextPart(given)]))
        return turns
    names: dict[str, str] = {}
    for item in given:
        _item(item, turns, names)  # type: ignore[arg-type]  # a list's
    return turns


def _item(item: JSON, turns: list[Turn], names: dict[str, str]) -> None:
    kind = item["type"]
    if kind == "message":
        role = item["role"]
        parts = _parts(item["content"])
        if role == "assistant" and not _has_spoken(turns):
            _append(turns, "assistant", parts)
        else:
            turns.append(Turn(_ROLES.get(role, "system"), parts))
    elif kind in _ASSISTANT:
        part = _said(item)
        if isinstance(part, ToolCallPart):
            names[part.id] = part.name
        _append(turns, "assistant", [part])
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = item["output"]
        content = [TextPart(output)] if output.__class__ is str else _parts(output)
        _append(
            turns,
            "tool",
            [
                ToolResultPart(
                    item["call_id"],
                    [part for part in content if isinstance(part, TextPart | MediaPart)],
                    names.get(item["call_id"], ""),
                    kind="custom" if kind.startswith("custom") else "function",
                )
            ],
        )
    elif kind == "item_reference":
        raise InvalidRequest(
            f"The item {str(item['id'])[:80]!r} is not known here; send the item itself.", param="input"
        )
    else:
        _append(turns, "assistant", [NativePart("responses", item)])


def _has_spoken(turns: list[Turn]) -> bool:
    """Whether the message before was an assistant's: two are not one, said in two pieces."""
    return bool(turns) and turns[-1].role == "assistant" and isinstance(turns[-1].parts[-1], _SPOKEN)


def _append(turns: list[Turn], role: Any, parts: list[Part]) -> None:
    if turns and turns[-1].role == role:
        turns[-1].parts += parts
    else:
        turns.append(Turn(role, parts))


def _said(item: JSON) -> Part:
    kind = item["type"]
    if kind == "function_call":
        return ToolCallPart(item["call_id"], item["name"], item["arguments"] or "{}")
    if kind == "custom_tool_call":
        return ToolCallPart(item["call_id"], item["name"], item["input"], "custom")
    texts = [part["text"] for part in item.get("content") or item["summary"]]
    text = "\n\n".join(texts)
    opaque = item.get("encrypted_content")
    if not opaque:
        return ReasoningPart(text, id=item.get("id"))
    issuer, signature = unseal(opaque, "responses")
    if issuer == "responses" or text:
        return ReasoningPart(text, signature, issuer=issuer, id=item.get("id"))
    if signature.startswith(SIGNED):
        return ReasoningPart(text, signature[len(SIGNED) :], issuer=issuer, id=item.get("id"))
    return ReasoningPart(redacted=signature, issuer=issuer, id=item.get("id"))


SIGNED = "s:"  # of a sealed block without text: its signature, not data that only the issuer reads


def _parts(content: str | list[JSON]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    return [_part(part) for part in content]


def _part(part: JSON) -> Part:
    match part["type"]:
        case "input_text" | "output_text":
            return TextPart(part["text"])
        case "refusal":
            return RefusalPart(part["refusal"])
        case "input_audio":
            audio = part["input_audio"]
            return MediaPart("audio", f"audio/{audio.get('format') or 'wav'}", data=audio.get("data"))
        case "input_image":
            if part.get("file_id") is not None:
                detail = part.get("detail")
                return MediaPart("image", file_id=part["file_id"], detail=detail, store="openai")
            return _media("image", part.get("image_url") or "", detail=part.get("detail"))
        case _:
            name = part.get("filename")
            if part.get("file_id") is not None:
                return MediaPart("file", file_id=part["file_id"], name=name, store="openai")
            return _media("file", part.get("file_data") or part.get("file_url") or "", name=name)


def _media(kind: Any, url: str, **rest: Any) -> MediaPart:
    if not url.startswith("data:"):
        return MediaPart(kind, url=url, **rest)
    head, _, data = url[5:].partition(",")
    return MediaPart(kind, head.partition(";")[0] or "text/plain", data=data, **rest)


def _tool(tool: JSON) -> Tool:
    kind = tool["type"]
    if kind == "function":
        return Tool(tool["name"], tool.get("description"), tool.get("parameters"), tool.get("strict"))
    if kind == "custom":
        return Tool(tool["name"], tool.get("description"), kind="custom", format=tool.get("format"))
    return Tool(kind, kind="native", native=tool, dialect="responses")


def _choice(choice: Any) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return ToolChoice(choice)  # type: ignore[arg-type]  # the schema has checked it
    if choice.get("type") == "allowed_tools":
        names = tuple(str(tool.get("name")) for tool in choice.get("tools") or () if tool.get("name"))
        return ToolChoice("required" if choice.get("mode") == "required" else "auto", allowed=names)
    if choice.get("name"):
        return ToolChoice("named", choice["name"])
    return ToolChoice("required", allowed=(str(choice.get("type")),))


def _thinking(reasoning: JSON | None) -> Thinking | None:
    if not reasoning:
        return None
    effort = reasoning.get("effort")
    visible = bool(reasoning.get("summary") or reasoning.get("generate_summary")) or None
    if effort is None and visible is None:
        return None
    return Thinking(False if effort == "none" else None, effort, visible=visible)


def _format(wanted: JSON | None) -> Format | None:
    if wanted is None or wanted["type"] == "text":
        return None
    if wanted["type"] == "json_object":
        return Format("json_object")
    return Format(
        "json_schema",
        wanted["name"],
        wanted["schema"],
        wanted.get("strict"),
        wanted.get("description"),
    )
