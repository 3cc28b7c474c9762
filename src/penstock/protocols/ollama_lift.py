"""Ollama's chat and generate requests in no vendor's words (types/conversation.py).

Ollama                               Conversation
-----------------------------------  ------------------------------------------------------------------
messages, images                     turns; images are bare base64, their kind is read from their bytes
tool_calls, role tool                ToolCallPart, where it has no id with one made from its place; results
                                       answer calls of their tool_call_id, else tool_name, else in order
thinking                             ReasoningPart, unsigned
format "json", a schema              Format
options                              sampling; num_predict is the limit; others are reported
think                                Thinking
"""

import base64
from typing import Any

import msgspec

from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from penstock.types.requests import ChatRequest

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repetition_penalty",
}
# Of the engine's memory and threads: they change no answer.
_HINTS = frozenset(
    {
        *(
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "use_mmap",
            "num_thread",
            "num_keep",
            "low_vram",
            "numa",
        )
    }
)
_KNOWN = frozenset(
    {
        *("model", "messages", "prompt", "system", "images", "tools", "format", "options", "think", "stream"),
        *("keep_alive", "logprobs", "top_logprobs"),
    }
)
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)

_encode = msgspec.json.Encoder().encode


def lift_chat(request: ChatRequest) -> Conversation:
    body = request.body
    return _conversation(request, _turns(body["messages"]), body)


def lift_generate(request: ChatRequest) -> Conversation:
    body = request.body
    turns = [Turn("system", [TextPart(body["system"])])] if body.get("system") else []
    images = [_image(data) for data in body.get("images") or ()]
    turns.append(Turn("user", [TextPart(body["prompt"]), *images]))
    return _conversation(request, turns, body)


def _conversation(request: ChatRequest, turns: list[Turn], body: JSON) -> Conversation:
    options = body.get("options") or {}
    other = {key: value for key, value in body.items() if key not in _KNOWN and value}
    for key, value in options.items():
        if key not in _OPTIONS and key not in _HINTS and key not in ("num_predict", "stop"):
            other[f"options.{key}"] = value
    stop = options.get("stop") or []
    think = body.get("think")
    said: dict[str, Any] = {ours: options[theirs] for theirs, ours in _OPTIONS.items() if theirs in options}
    return Conversation(
        turns=turns,
        tools=[_tool(tool["function"]) for tool in body.get("tools") or ()],
        max_tokens=request.max_tokens,
        stop=[stop] if isinstance(stop, str) else stop,
        thinking=_thinking(think),
        format=_format(body.get("format")),
        logprobs=body.get("logprobs"),
        top_logprobs=body.get("top_logprobs"),
        other=other,
        **said,
    )


def _turns(messages: list[JSON]) -> list[Turn]:
    turns: list[Turn] = []
    waiting: list[ToolCallPart] = []  # calls without a result
    for number, message in enumerate(messages):
        role = message["role"]
        text = message.get("content") or ""
        if role == "tool":
            call = _answered(waiting, message.get("tool_call_id"), message.get("tool_name"))
            call_id = call.id if call else f"call_{number}"
            images = [_image(data) for data in message.get("images") or ()]
            content: list[TextPart | MediaPart] = [TextPart(text)] if text or not images else []
            result = ToolResultPart(call_id, [*content, *images], call.name if call else "")
            if turns and turns[-1].role == "tool":
                turns[-1].parts.append(result)
            else:
                turns.append(Turn("tool", [result]))
            continue
        parts: list[Part] = []
        if message.get("thinking"):
            parts.append(ReasoningPart(message["thinking"]))
        if text or role != "assistant":
            parts.append(TextPart(text))
        parts += [_image(data) for data in message.get("images") or ()]
        calls = [_call(call, number, at) for at, call in enumerate(message.get("tool_calls") or ())]
        if calls:
            waiting = list(calls)
        turns.append(Turn(role, [*parts, *calls]))
    return turns


def _answered(waiting: list[ToolCallPart], call_id: Any, name: str | None) -> ToolCallPart | None:
    """The call that a result is of: by its id, which few clients say, else the first of its name, or any."""
    found = (
        next((call for call in waiting if call.id == call_id and not call.is_id_ours), None)
        or next((call for call in waiting if call.name == name), None)
        or (waiting[0] if waiting else None)
    )
    if found is not None:
        waiting.remove(found)
    return found


def _call(call: JSON, message: int, at: int) -> ToolCallPart:
    function = call["function"]
    arguments = _encode(function.get("arguments") or {}).decode()
    if call.get("id"):
        return ToolCallPart(str(call["id"]), function["name"], arguments)
    return ToolCallPart(f"call_{message}_{at}", function["name"], arguments, is_id_ours=True)


def _image(data: str) -> MediaPart:
    head = base64.b64decode(data[:16] + "=" * (-len(data[:16]) % 4))
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "image/png")
    return MediaPart("image", kind, data=data)


def _tool(function: JSON) -> Tool:
    return Tool(function["name"], function.get("description"), function.get("parameters"))


def _thinking(think: bool | str | None) -> Thinking | None:
    if think is None:
        return None
    if isinstance(think, str):
        return Thinking(True, think, visible=True)
    return Thinking(True, "medium", visible=True) if think else Thinking(False, "none")


def _format(wanted: str | JSON | None) -> Format | None:
    if not wanted:
        return None
    return Format("json_object") if wanted == "json" else Format("json_schema", schema=wanted)  # type: ignore[arg-type]
