"""Anthropic's Messages request in no vendor's words (types/conversation.py).

Anthropic                                            Conversation
---------------------------------------------------  -------------------------------------------------------
system                                               a system turn before all others
message of role system                               system turn, where it stands
tool_result blocks of a user message                 a tool turn before the user turn of the message's rest
text; image; document                                TextPart; MediaPart image; MediaPart file
document of text / of content blocks                 MediaPart text/plain / the blocks themselves
thinking, redacted_thinking                          ReasoningPart, of Anthropic or of who sealed it
tool_use                                             ToolCallPart; our thought_signature is its signature
blocks of server tools and betas, search_result      NativePart
search_result and others inside a tool_result        TextPart of what they say
tools with a `type` of their own                     Tool of kind native
thinking, output_config.effort                       Thinking
output_config.format                                 Format
metadata.user_id                                     user
what has no place                                    other; of blocks by name: `messages[].citations`
"""

import base64
from typing import Any

import msgspec

from penstock.dialects.anthropic import THOUGHT_SIGNATURE, reasoning_of
from penstock.protocols.anthropic_schema import BLOCK_TYPES, NATIVE_TYPES
from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    unseal,
)
from penstock.types.errors import InvalidRequest, UnsupportedParameter
from penstock.types.requests import ChatRequest

_SAME = ("temperature", "top_p", "top_k", "service_tier")
_KNOWN = frozenset(_SAME) | {
    *("model", "messages", "system", "max_tokens", "stream", "stop_sequences", "metadata"),
    *("tools", "tool_choice", "thinking", "output_config"),
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TOOL_KEYS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})

_encode = msgspec.json.Encoder().encode


def lift(request: ChatRequest) -> Conversation:
    """Raises InvalidRequest for a block that no release of ours knows."""
    return _Lift().conversation(request)


class _Lift:
    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # call id -> function
        self._other: JSON = {}

    def conversation(self, request: ChatRequest) -> Conversation:
        body = request.body
        if body.get("max_tokens") == 0:
            raise UnsupportedParameter(
                "`max_tokens` of 0 warms Anthropic's own prompt cache; this model has none.",
                param="max_tokens",
            )
        self._other = {key: value for key, value in body.items() if key not in _KNOWN}
        turns = self._turns(body)
        choice, parallel = _choice(body.get("tool_choice"))
        metadata = body.get("metadata") or {}
        config = body.get("output_config") or {}
        for key in config:
            if key not in ("effort", "format"):
                self._other[f"output_config.{key}"] = config[key]
        return Conversation(
            turns=turns,
            tools=[self._tool(tool) for tool in body.get("tools") or ()],
            tool_choice=choice,
            parallel_tool_calls=parallel,
            max_tokens=request.max_tokens,
            stop=list(body.get("stop_sequences") or ()),
            thinking=self._thinking(body.get("thinking"), config.get("effort")),
            format=_format(config.get("format")),
            user=metadata.get("user_id"),
            other=self._other,
            **{name: body[name] for name in _SAME if name in body},
        )

    # -- turns

    def _turns(self, body: JSON) -> list[Turn]:
        turns: list[Turn] = []
        if system := body.get("system"):
            turns.append(Turn("system", self._parts(system, "system")))
        for number, message in enumerate(body["messages"]):
            role = message["role"]
            parts = self._parts(message["content"], f"messages[{number}].content")
            if role == "user":
                results: list[Part] = [part for part in parts if isinstance(part, ToolResultPart)]
                if results:
                    turns.append(Turn("tool", results))
                    parts = [part for part in parts if not isinstance(part, ToolResultPart)]
                    if not parts:
                        continue
            turns.append(Turn(role, parts))
        return turns

    def _parts(self, content: str | list[JSON], path: str) -> list[Part]:
        if content.__class__ is str:
            return [TextPart(content)]
        parts: list[Part] = []
        for at, block in enumerate(content):
            self._part(block, parts, f"{path}[{at}]")
        return parts

    def _part(self, block: Any, parts: list[Part], path: str) -> None:
        kind = block["type"]
        match kind:
            case "text":
                self._note_citations(block)
                parts.append(TextPart(block["text"], block.get("cache_control")))
            case "tool_use":
                parts.append(self._call(block))
            case "tool_result":
                parts.append(self._result(block))
            case "thinking":
                parts.append(reasoning_of(block["thinking"], block.get("signature") or ""))
            case "redacted_thinking":
                issuer, data = unseal(block["data"], "anthropic")
                parts.append(ReasoningPart(redacted=data, issuer=issuer))
            case "image" | "document":
                parts.extend(self._media(block))
            case _ if kind in NATIVE_TYPES:
                parts.append(NativePart("anthropic", block))
            case _:
                allowed = ", ".join(sorted(BLOCK_TYPES | NATIVE_TYPES))
                raise InvalidRequest(
                    f"`{path}.type` is {kind[:40]!r}; allowed: {allowed}.", param=f"{path}.type"
                )

    def _call(self, block: JSON) -> ToolCallPart:
        self._names[block["id"]] = block["name"]
        sealed = block.get(THOUGHT_SIGNATURE)
        return ToolCallPart(
            block["id"],
            block["name"],
            _encode(block["input"]).decode(),
            signature=unseal(sealed, "gemini")[1] if isinstance(sealed, str) else None,
            cache=block.get("cache_control"),
        )

    def _result(self, block: JSON) -> ToolResultPart:
        call_id = block["tool_use_id"]
        content = block.get("content")
        inner: list[TextPart | MediaPart] = []
        if content.__class__ is str:
            inner = [TextPart(content)]
        else:
            for part in content or ():
                self._result_part(part, inner)
        return ToolResultPart(
            call_id,
            inner,
            self._names.get(call_id, ""),
            is_error=block.get("is_error") is True,
            cache=block.get("cache_control"),
        )

    def _result_part(self, block: JSON, inner: list[TextPart | MediaPart]) -> None:
        cache = block.get("cache_control")
        match block["type"]:
            case "text":
                self._note_citations(block)
                inner.append(TextPart(block["text"], cache))
            case "image" | "document":
                inner.extend(self._media(block))
            case "search_result":
                said = "\n".join(part["text"] for part in block["content"])
                inner.append(TextPart(f"{block['title']}\n{block['source']}\n\n{said}", cache))
            case "tool_reference":
                inner.append(TextPart(f"The tool {block['tool_name']} is available.", cache))
            case kind:
                self._other[f"messages[].{kind}"] = True
                inner.append(TextPart(_encode(block).decode(), cache))

    def _media(self, block: JSON) -> list[TextPart | MediaPart]:
        source = block["source"]
        cache = block.get("cache_control")
        is_image = block["type"] == "image"
        name = block.get("title")
        for key in ("context", "transformations"):
            if block.get(key):
                self._other[f"messages[].{block['type']}.{key}"] = block[key]
        if (block.get("citations") or {}).get("enabled"):
            self._other[f"messages[].{block['type']}.citations"] = True
        part = MediaPart("image" if is_image else "file", name=name, cache=cache)
        match source["type"]:
            case "base64":
                part.media_type, part.data = source["media_type"], source["data"]
            case "url":
                part.url = source["url"]
            case "file":
                part.file_id, part.store = source["file_id"], "anthropic"
            case "text":
                part.media_type = "text/plain"
                part.data = base64.b64encode(source["data"].encode()).decode()
            case _:
                return self._document_of_blocks(source["content"], cache)
        return [part]

    def _document_of_blocks(
        self, content: str | list[JSON], cache: JSON | None
    ) -> list[TextPart | MediaPart]:
        parts: list[TextPart | MediaPart] = []
        if isinstance(content, str):
            parts.append(TextPart(content))
        else:
            for block in content:
                self._result_part(block, parts)
        if parts and cache is not None:
            parts[-1].cache = cache
        return parts

    def _note_citations(self, block: JSON) -> None:
        if block.get("citations"):
            self._other["messages[].citations"] = True

    # -- the rest

    def _tool(self, tool: JSON) -> Tool:
        cache = tool.get("cache_control")
        kind = tool.get("type")
        if kind is not None and kind != "custom":
            return Tool(
                tool.get("name") or kind, kind="native", native=tool, dialect="anthropic", cache=cache
            )
        for key, value in tool.items():
            if key not in _TOOL_KEYS and value not in (None, False, [], ["direct"]):
                self._other[f"tools[].{key}"] = True
        return Tool(
            tool["name"], tool.get("description"), tool["input_schema"], tool.get("strict"), cache=cache
        )

    def _thinking(self, thinking: JSON | None, effort: str | None) -> Thinking | None:
        if thinking is None:
            return None if effort is None else Thinking(effort=effort)
        kind = thinking["type"]
        if kind == "between_tools":
            self._other["thinking.type"] = kind
        display = thinking.get("display")
        return Thinking(
            kind != "disabled",
            effort,
            thinking.get("budget_tokens"),
            None if display is None else display == "summarized",
        )


def _choice(choice: JSON | None) -> tuple[ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    one_at_a_time = choice.get("disable_parallel_tool_use")
    parallel = None if one_at_a_time is None else not one_at_a_time
    if choice["type"] == "tool":
        return ToolChoice("named", choice["name"]), parallel
    mode: Any = _CHOICES[choice["type"]]
    return ToolChoice(mode), parallel


def _format(wanted: JSON | None) -> Format | None:
    return None if wanted is None else Format("json_schema", schema=wanted["schema"])
