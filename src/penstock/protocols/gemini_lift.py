"""Gemini's chat request in no vendor's words (types/conversation.py).

Gemini                                             Conversation
-------------------------------------------------  ---------------------------------------------------------
systemInstruction                                  system turn
role model                                         assistant turn
role user, function, none                          user turn; its functionResponses a tool turn before it
functionCall                                       ToolCallPart; the id in its signature (GeminiEncoder),
                                                     its own, else one made of its place
functionResponse                                   ToolResultPart of the call with its id, else of the first
                                                     unanswered call of its name
  response {"output"|"result": x}, {"error": x}      the text x, or x as JSON; an error
parts with thought, up to a thoughtSignature       one ReasoningPart
thoughtSignature on other text                     a ReasoningPart without text, after it
executableCode, codeExecutionResult, toolCall ...  NativePart
parameters, responseSchema (OpenAPI, UPPERCASE)    JSON Schema
googleSearch and other tools of Google's           native tools
what has no place                                  other, by its path
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from penstock.dialects.gemini import CALL, TYPES, camel, enum_name, opened, split_redacted, standard_base64
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
)
from penstock.types.errors import UnsupportedParameter
from penstock.types.requests import ChatRequest

_CONFIG = (  # generationConfig -> Conversation
    ("maxOutputTokens", "max_tokens"),
    ("temperature", "temperature"),
    ("topP", "top_p"),
    ("seed", "seed"),
    ("presencePenalty", "presence_penalty"),
    ("frequencyPenalty", "frequency_penalty"),
    ("responseLogprobs", "logprobs"),
    ("logprobs", "top_logprobs"),
)
_CONFIG_KNOWN = frozenset(name for name, _ in _CONFIG) | {
    *("topK", "candidateCount", "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema"),
    *("_responseJsonSchema", "responseModalities", "thinkingConfig"),
}
_KNOWN = frozenset(
    {
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "labels", "model"),
        *("serviceTier", "cachedContent"),
    }
)
_UNSAID = frozenset({"videoMetadata", "mediaResolution"})
_MODES: dict[str, Any] = {"NONE": "none", "ANY": "required"}
_LEVELS = frozenset({"minimal", "low", "medium", "high"})

_encode = msgspec.json.Encoder().encode


def lift(request: ChatRequest) -> Conversation:
    body = request.body
    if body.get("cachedContent"):
        raise UnsupportedParameter(
            "`cachedContent` names a part of the prompt that only Google holds; this model is not Google's.",
            param="cachedContent",
        )
    config = body.get("generationConfig") or {}
    other = {key: value for key, value in body.items() if key not in _KNOWN}
    other |= {f"generationConfig.{key}": config[key] for key in config if key not in _CONFIG_KNOWN}
    tool_config = body.get("toolConfig") or {}
    other |= {f"toolConfig.{key}": tool_config[key] for key in tool_config if key != "functionCallingConfig"}
    if "_responseJsonSchema" in config:
        config = {**config, "responseJsonSchema": config["_responseJsonSchema"]}
    calls = Calls()
    turns = list(_turns(body, calls))
    other |= {f"contents[].{key}": True for key in sorted(calls.unsaid)}
    return Conversation(
        turns=turns,
        tools=list(_tools(body.get("tools") or ())),
        tool_choice=_choice(tool_config.get("functionCallingConfig")),
        top_k=int(config["topK"]) if config.get("topK") else None,
        stop=list(config.get("stopSequences") or ()),
        n=config.get("candidateCount", 1),
        thinking=_thinking(config.get("thinkingConfig")),
        format=_format(config),
        modalities=[
            name.lower() for name in config.get("responseModalities", ()) if name != "MODALITY_UNSPECIFIED"
        ],
        metadata=body.get("labels"),
        service_tier=_tier(body.get("serviceTier")),
        other=other,
        **{name: config[key] for key, name in _CONFIG if key in config},
    )


# -- turns


def _turns(body: JSON, calls: "Calls") -> Iterator[Turn]:
    system = body.get("systemInstruction")
    if system and (parts := _said(system["parts"], calls)):
        yield Turn("system", parts)
    for content in body["contents"]:
        parts = content.get("parts", [])
        if content.get("role") == "model":
            if parts:
                yield Turn("assistant", _said(parts, calls))
            continue
        results: list[Part] = [_result(part, calls) for part in parts if "functionResponse" in part]
        if results:
            yield Turn("tool", results)
        rest = [part for part in parts if "functionResponse" not in part]
        if rest:
            yield Turn("user", _said(rest, calls))


class Calls:
    """The function calls of a history, which results answer them, and what no other dialect can say."""

    def __init__(self) -> None:
        self.unsaid: set[str] = set()  # fields of parts
        self._count = 0
        self._open: list[tuple[str, str]] = []  # (id, name) of those without a result yet
        self._all: dict[str, str] = {}

    def add(self, call: JSON) -> str:
        call_id: str = call.get("id") or f"call_{self._count}_{call['name']}"[:64]
        self._count += 1
        self._open.append((call_id, call["name"]))
        self._all[call_id] = call["name"]
        return call_id

    def answered_by(self, response: JSON) -> str | None:
        """The id of the call; None = there is none."""
        call_id, name = response.get("id"), response["name"]
        for position, (open_id, open_name) in enumerate(self._open):
            if open_id == call_id or (not call_id and open_name == name):
                del self._open[position]
                return open_id
        if call_id and call_id in self._all:
            return str(call_id)
        for position, (open_id, open_name) in enumerate(self._open):
            if open_name == name:  # an id that the client made up
                del self._open[position]
                return open_id
        return None


def _result(part: JSON, calls: Calls) -> ToolResultPart:
    response = part["functionResponse"]
    call_id = calls.answered_by(response) or ""  # `decode` has looked
    text, is_error = _response_text(response.get("response") or {})
    content: list[TextPart | MediaPart] = [TextPart(text)]
    for inner in response.get("parts") or ():
        media = _media(inner)
        if media is not None:
            content.append(media)
    return ToolResultPart(call_id, content, response["name"], is_error)


def _response_text(response: JSON) -> tuple[str, bool]:
    if len(response) == 1:
        key, value = next(iter(response.items()))
        if key in ("output", "result", "error"):
            return value if isinstance(value, str) else _encode(value).decode(), key == "error"
    return _encode(response).decode(), False


def _said(parts: list[JSON], calls: Calls) -> list[Part]:
    out: list[Part] = []
    thoughts: list[str] = []
    is_thinking = False  # a block of thoughts is open
    for part in parts:
        signature = part.get("thoughtSignature")
        if part.get("thought") and "text" in part:
            thoughts.append(part["text"])
            is_thinking = True
            if signature:
                out.append(_reasoning("".join(thoughts), signature))
                thoughts, is_thinking = [], False
            continue
        if is_thinking:
            out.append(ReasoningPart("".join(thoughts), issuer="gemini"))
            thoughts, is_thinking = [], False
        if "functionCall" in part:
            out.append(_call(part["functionCall"], signature, calls))
            continue
        if part.get("text"):
            out.append(TextPart(part["text"]))
        elif "text" not in part:
            calls.unsaid |= part.keys() & _UNSAID
            out.append(_media(part) or NativePart("gemini", part))
        if signature:
            out.append(_reasoning("", signature))
    if is_thinking:
        out.append(ReasoningPart("".join(thoughts), issuer="gemini"))
    return out


def _reasoning(text: str, signature: str) -> ReasoningPart:
    issuer, proof = opened(signature)
    signed, redacted = split_redacted(proof) if issuer != "gemini" else (proof, None)
    return ReasoningPart(text, signed, redacted, issuer)


def _call(call: JSON, signature: str | None, calls: Calls) -> ToolCallPart:
    arguments = _encode(call.get("args") or {}).decode()
    if signature:
        issuer, opaque = opened(signature)
        if issuer == CALL:
            call = {**call, "id": opaque}
        signature = opaque if issuer == "gemini" else None
    return ToolCallPart(calls.add(call), call["name"], arguments, signature=signature)


def _media(part: JSON) -> MediaPart | None:
    if "inlineData" in part:
        blob = part["inlineData"]
        kind, name = _kind(blob["mimeType"]), blob.get("displayName")
        return MediaPart(kind, blob["mimeType"], data=standard_base64(blob["data"]), name=name)
    if "fileData" in part:
        file = part["fileData"]
        media_type = file.get("mimeType", "")
        return MediaPart(_kind(media_type), media_type, url=file["fileUri"], name=file.get("displayName"))
    return None


def _kind(media_type: str) -> Any:
    kind = media_type.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "file"


# -- tools


def _tools(tools: Iterable[JSON]) -> Iterator[Tool]:
    for tool in tools:
        for function in tool.get("functionDeclarations") or ():
            parameters = function.get("parametersJsonSchema")
            if parameters is None and function.get("parameters") is not None:
                parameters = json_schema(function["parameters"])
            yield Tool(function["name"], function.get("description"), parameters)
        for name, settings in tool.items():
            if name != "functionDeclarations":
                yield Tool(name, kind="native", native={name: settings}, dialect="gemini")


def _choice(config: JSON | None) -> ToolChoice | None:
    if not config:
        return None
    names = tuple(config.get("allowedFunctionNames") or ())
    mode = _MODES.get(config.get("mode", ""), "auto")
    if mode == "required" and len(names) == 1:
        return ToolChoice("named", names[0])
    return ToolChoice(mode, allowed=() if mode == "none" else names)


def json_schema(schema: Any) -> JSON:
    """OpenAPI's Schema as Gemini has it -> JSON Schema. Property names stay as they are."""
    if not isinstance(schema, dict):
        return {}
    out: JSON = {}
    nullable = False
    for given, told in schema.items():
        key, value = camel(given), told
        if value is None:
            continue
        if key == "type":
            value = enum_name(value, TYPES)
        match key:
            case "type" if isinstance(value, str):
                if value != "TYPE_UNSPECIFIED":
                    out["type"] = value.lower()
            case "type" if isinstance(value, list):
                out["type"] = [str(one).lower() for one in value]
            case "nullable":
                nullable = value is True
            case "properties" | "defs" | "$defs" if isinstance(value, dict):
                name = "properties" if key == "properties" else "$defs"
                out[name] = {name: json_schema(inner) for name, inner in value.items()}
            case "items":
                out["items"] = json_schema(value)
            case "anyOf" | "prefixItems" if isinstance(value, list):
                out[key] = [json_schema(inner) for inner in value]
            case "additionalProperties":
                out[key] = value if isinstance(value, bool) else json_schema(value)
            case "ref":
                out["$ref"] = value
            case "example":
                out["examples"] = [value]
            case "propertyOrdering":
                pass
            case _:
                out[key] = int(value) if key in _INTEGERS and _is_number(value) else value
    if nullable:
        _allow_null(out)
    return out


_INTEGERS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def _is_number(value: Any) -> bool:
    """Protobuf writes 64-bit numbers as text."""
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10


def _allow_null(out: JSON) -> None:
    kind = out.get("type")
    if isinstance(kind, str):
        out["type"] = [kind, "null"]
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    if kind is None and isinstance(out.get("anyOf"), list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]


# -- generationConfig


def _thinking(config: JSON | None) -> Thinking | None:
    if not config:
        return None
    budget, level = config.get("thinkingBudget"), str(config.get("thinkingLevel") or "").lower()
    effort = level if level in _LEVELS else None
    enabled = None
    if budget is not None:
        enabled = budget != 0
    found = Thinking(
        enabled, effort, budget if budget and budget > 0 else None, config.get("includeThoughts")
    )
    return None if found == Thinking() else found


def _format(config: JSON) -> Format | None:
    schema = config.get("responseJsonSchema")
    if schema is None and config.get("responseSchema") is not None:
        schema = json_schema(config["responseSchema"])
    kind = config.get("responseMimeType")
    if kind == "text/x.enum" and schema is not None:
        return Format("json_schema", schema=schema)
    if kind != "application/json" and schema is None:
        return None
    return Format("json_object") if schema is None else Format("json_schema", schema=schema)


def _tier(tier: Any) -> str | None:
    return tier.lower().removeprefix("service_tier_") if tier and isinstance(tier, str) else None
