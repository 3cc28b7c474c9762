"""OpenAI's chat request in no vendor's words (types/conversation.py).

OpenAI                                             Conversation
-------------------------------------------------  ---------------------------------------------------------
system, developer                                  system turn
tool, function (deprecated)                        tool turn; neighbours share one
function_call of an assistant (deprecated)         ToolCallPart `call_<name>`
image_url: data: URL / other                       MediaPart data / url
input_audio, file, video_url, audio_url            MediaPart
reasoning_content, reasoning                       ReasoningPart, unsigned
reasoning_details (OpenRouter's and ours),         ReasoningPart with the signature of its issuer
  thinking_blocks (LiteLLM's), parts thinking
  and redacted_thinking
extra_content.google.thought_signature of a call   ToolCallPart.signature
reasoning_effort, reasoning, thinking              Thinking
what is not in `_KNOWN`                            other
"""

from typing import Any

from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    unseal,
)
from penstock.types.requests import ChatRequest

_SAME = (  # fields with the name and meaning they have in Conversation
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "verbosity",
    "metadata",
    "service_tier",
    "prompt_cache_key",
)
_KNOWN = frozenset(_SAME) | {
    *("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "stop"),
    *("tools", "functions", "tool_choice", "function_call", "response_format", "modalities"),
    *("user", "safety_identifier", "reasoning_effort", "reasoning", "thinking"),
}
_HINTS = frozenset({"prompt_cache_retention", "prompt_cache_options"})  # change nothing in the answer
_ISSUERS = {
    "anthropic-claude-v1": "anthropic",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "responses",
}


def lift(request: ChatRequest) -> Conversation:
    body = request.body
    wanted = body.get("response_format")
    other = {key: value for key, value in body.items() if key not in _KNOWN and key not in _HINTS}
    if other.get("store") is False:
        del other["store"]
    if wanted is not None and wanted["type"] == "structural_tag":
        other["response_format"] = wanted
    if any(message.get("audio") for message in body["messages"]):
        other["messages[].audio"] = True  # what an assistant said aloud, by an id that only its vendor knows
    return Conversation(
        turns=_turns(body["messages"]),
        tools=[_tool(tool) for tool in body.get("tools") or ()]
        + [_function(function) for function in body.get("functions") or ()],
        tool_choice=_choice(body),
        max_tokens=request.max_tokens,
        stop=_stop(body.get("stop")),
        n=request.n,
        thinking=_thinking(body),
        format=_format(wanted),
        modalities=body.get("modalities") or [],
        user=body.get("safety_identifier") or body.get("user"),
        other=other,
        **{name: body[name] for name in _SAME if name in body},
    )


def _turns(messages: list[JSON]) -> list[Turn]:
    turns: list[Turn] = []
    calls: dict[str, ToolCallPart] = {}  # by their ids
    for message in messages:
        role = message["role"]
        if role == "assistant":
            turn = Turn("assistant", _said(message), message.get("name"))
            calls |= {part.id: part for part in turn.parts if isinstance(part, ToolCallPart)}
            turns.append(turn)
        elif role in ("tool", "function"):
            result = _result(message, calls)
            if turns and turns[-1].role == "tool":
                turns[-1].parts.append(result)
            else:
                turns.append(Turn("tool", [result]))
        else:
            turns.append(
                Turn("user" if role == "user" else "system", _parts(message["content"]), message.get("name"))
            )
    return turns


def _result(message: JSON, calls: dict[str, ToolCallPart]) -> ToolResultPart:
    call_id = message.get("tool_call_id") or f"call_{message['name']}"
    content = [part for part in _parts(message["content"] or "") if isinstance(part, TextPart | MediaPart)]
    call = calls.get(call_id)
    name = message.get("name") or (call.name if call is not None else "")
    kind = call.kind if call is not None else "function"
    return ToolResultPart(call_id, content, name, kind=kind, cache=message.get("cache_control"))


def _parts(content: str | list[JSON]) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)]
    return [_part(part) for part in content]


def _part(part: JSON) -> Part:
    kind = part["type"]
    cache = part.get("cache_control")
    match kind:
        case "text":
            return TextPart(part["text"], cache)
        case "refusal":
            return RefusalPart(part["refusal"])
        case "thinking":
            return _signed(part.get("thinking") or "", part.get("signature"), "anthropic")
        case "redacted_thinking":
            issuer, data = unseal(part.get("data") or "", "anthropic")
            return ReasoningPart(redacted=data, issuer=issuer)
        case "image_url":
            image = part["image_url"]
            return _media("image", image["url"], detail=image.get("detail"), cache=cache)
        case "input_audio":
            audio = part["input_audio"]
            return MediaPart("audio", f"audio/{audio['format']}", data=audio["data"], cache=cache)
        case "video_url" | "audio_url":
            return _media("video" if kind == "video_url" else "audio", part[kind]["url"], cache=cache)
        case _:
            return _file(part["file"], cache)


def _file(file: JSON, cache: JSON | None) -> MediaPart:
    if "file_id" in file:
        name = file.get("filename")
        return MediaPart("file", file_id=file["file_id"], name=name, cache=cache, store="openai")
    data = file.get("file_data") or ""
    if data.startswith(("data:", "http://", "https://")):
        return _media("file", data, name=file.get("filename"), cache=cache)
    return MediaPart("file", "application/pdf", data=data, name=file.get("filename"), cache=cache)


def _media(kind: Any, url: str, **rest: Any) -> MediaPart:
    if not url.startswith("data:"):
        return MediaPart(kind, url=url, **rest)
    head, _, data = url[5:].partition(",")
    return MediaPart(kind, head.partition(";")[0] or "text/plain", data=data, **rest)


def _said(message: JSON) -> list[Part]:
    """What an assistant said, in the order it did: it thought, spoke, and called."""
    parts = _reasoning(message)
    content = message.get("content")
    if content:
        said = _parts(content)
        has_thoughts = any(isinstance(part, ReasoningPart) for part in said)
        parts = said if has_thoughts else parts + said
    if message.get("refusal"):
        parts.append(RefusalPart(message["refusal"]))
    for call in message.get("tool_calls") or ():
        parts.append(_call(call))
    function = message.get("function_call")
    if function is not None:
        parts.append(
            ToolCallPart(f"call_{function['name']}", function["name"], function["arguments"] or "{}")
        )
    return parts


def _call(call: JSON) -> ToolCallPart:
    cache = call.get("cache_control")
    if call["type"] == "custom":
        custom = call["custom"]
        return ToolCallPart(call["id"], custom["name"], custom["input"], "custom", cache=cache)
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    function = call["function"]
    return ToolCallPart(
        call["id"], function["name"], function["arguments"] or "{}", signature=signature, cache=cache
    )


def _reasoning(message: JSON) -> list[Part]:
    details = message.get("reasoning_details")
    if isinstance(details, list) and details:
        return [part for part in map(_detail, details) if part is not None]
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list) and blocks:
        return [
            _part({key: value for key, value in block.items() if isinstance(value, str)})
            for block in blocks
            if isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")
        ]
    text = message.get("reasoning_content") or message.get("reasoning")
    return [ReasoningPart(text)] if text else []


def _detail(detail: Any) -> ReasoningPart | None:
    if not isinstance(detail, dict):
        return None
    issuer = _ISSUERS.get(str(detail.get("format")), "")
    said = {key: value for key, value in detail.items() if isinstance(value, str)}
    part_id = said.get("id")
    if said.get("type") == "reasoning.encrypted":
        issuer, data = unseal(said.get("data", ""), issuer)
        return ReasoningPart(redacted=data, issuer=issuer, id=part_id)
    part = _signed(said.get("text") or said.get("summary", ""), said.get("signature"), issuer)
    part.id = part_id
    return part


def _signed(text: str, signature: str | None, issuer: str) -> ReasoningPart:
    if not signature:
        return ReasoningPart(text)
    issuer, signature = unseal(signature, issuer)
    return ReasoningPart(text, signature, issuer=issuer)


def _tool(tool: JSON) -> Tool:
    cache = tool.get("cache_control")
    if tool["type"] == "custom":
        custom = tool["custom"]
        return Tool(
            custom["name"],
            custom.get("description"),
            kind="custom",
            format=custom.get("format"),
            cache=cache,
        )
    return _function(tool["function"], cache)


def _function(function: JSON, cache: JSON | None = None) -> Tool:
    return Tool(
        function["name"],
        function.get("description"),
        function.get("parameters"),
        function.get("strict"),
        cache=cache,
    )


def _choice(body: JSON) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
        if isinstance(choice, dict):
            return ToolChoice("named", choice["name"])
    if choice is None or isinstance(choice, str):
        return None if choice is None else ToolChoice(choice)  # type: ignore[arg-type]  # checked
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = tuple(tool[tool["type"]]["name"] for tool in allowed["tools"])
        return ToolChoice(allowed["mode"], allowed=names)
    return ToolChoice("named", choice[choice["type"]]["name"])


def _thinking(body: JSON) -> Thinking | None:
    """Three ways to say it: OpenAI's reasoning_effort, OpenRouter's reasoning, Anthropic's thinking."""
    effort = body.get("reasoning_effort")
    reasoning = body.get("reasoning") or {}
    thinking = body.get("thinking") or {}
    effort = effort or reasoning.get("effort")
    budget = reasoning.get("max_tokens") or thinking.get("budget_tokens")
    enabled = reasoning.get("enabled")
    if "type" in thinking:
        enabled = thinking["type"] != "disabled"
    if effort == "none":
        enabled = False
    visible = not reasoning["exclude"] if "exclude" in reasoning else None
    if effort == "default":  # Groq's word for saying nothing
        effort = None
    if effort is None and budget is None and enabled is None and visible is None:
        return None
    return Thinking(enabled, effort, budget if isinstance(budget, int) else None, visible)


def _format(wanted: JSON | None) -> Format | None:
    if wanted is None or wanted["type"] in ("text", "structural_tag"):
        return None
    if wanted["type"] == "json_object":
        return Format("json_object")
    schema = wanted["json_schema"]
    return Format(
        "json_schema",
        schema["name"],
        schema.get("schema"),
        schema.get("strict"),
        schema.get("description"),
    )


def _stop(stop: str | list[str] | None) -> list[str]:
    if stop is None:
        return []
    return [stop] if isinstance(stop, str) else list(stop)
