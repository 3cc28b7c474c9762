"""A Conversation as OpenAI's chat request: for clients of other dialects.

`own_request` gives a request of OpenAI's dialect that everything else here treats like any client's: quirks,
engine adaptation, token counting.

Conversation                    OpenAI
------------------------------  -----------------------------------------------------------------------------
system turns                    role system, where they stand
ToolResultParts of one turn     one `tool` message each; their media in a user message after them, because a
                                  tool message is text
ReasoningPart                   reasoning_content: its text (profile rows drop it where a vendor refuses it);
                                  signatures of this dialect's own vendors as reasoning_details
ToolCallPart.signature          extra_content.google.thought_signature
Tool                            its name in OpenAI's letters; strict only where OpenAI takes the schema so
custom tools and calls          functions of one text, `input`, but for vendors that know them
                                  (Quirks.custom_tools)
Thinking                        reasoning_effort, as the model takes it (openai_models)
Format                          response_format; a schema whose root is no plain object is said in words,
                                  but for servers that take any (Quirks.any_root)
top_k, min_p, repetition_...    only where the profile row says that the vendor knows them (Quirks.knows)
NativePart, native tools        nothing: reported
"""

from typing import Any, NamedTuple

import msgspec

from penstock.providers.formats import IN_WORDS, in_words, says_json
from penstock.providers.openai_models import told_effort, unsampled
from penstock.providers.tool_schemas import INPUT, for_openai, is_plain_object, is_strict, with_items
from penstock.providers.tools import LONGEST_NAME, Letters, renamed, short, told_choice
from penstock.providers.turns import instructed, settled
from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import Quirks
from penstock.types.errors import UnsupportedParameter
from penstock.types.requests import ChatRequest

_SAME = (
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "verbosity",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "user",
)
_WRITTEN = frozenset(_SAME) | {
    *("tools", "tool_choice", "max_tokens", "stop", "n", "thinking", "format", "modalities"),
}
EXTENSIONS = frozenset({"top_k", "min_p", "repetition_penalty"})
_MAX_STOPS = 4
_LONGEST_ID = 40
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_NONE = Quirks()

_encode = msgspec.json.Encoder().encode
_TIERS = {"auto", "default", "flex", "priority", "scale"}


class Lowering:
    """One request on its way; `dropped` fills as it is written.

    schema: what the answer must fit, where it can only be asked for.
    """

    def __init__(self, conversation: Conversation, quirks: Quirks, model: str) -> None:
        self._conversation = conversation
        self._written = _WRITTEN | (quirks.knows & EXTENSIONS)
        self._knows = quirks.knows
        self._any_root = quirks.any_root
        self._customs = quirks.custom_tools
        self._model = model
        self._names = Letters(LONGEST_NAME)
        renamed(conversation.tools, self._names)
        self.dropped: list[str] = []
        self.schema: JSON | None = None

    def body(self) -> JSON:
        said = self._conversation
        turns, self.schema = turns_of(said, any_root=self._any_root)
        body: JSON = {"messages": [message for turn in turns for message in self._messages(turn)]}
        for name in _SAME:
            if (value := getattr(said, name)) is not None:
                body[name] = value
        for name in self._knows & EXTENSIONS:
            if (value := getattr(said, name)) is not None:
                body[name] = value
        if body.get("service_tier") not in _TIERS and body.pop("service_tier", None) is not None:
            self._lose("service_tier")
        if said.max_tokens is not None:
            body["max_completion_tokens"] = said.max_tokens
        if said.n != 1:
            body["n"] = said.n
        if said.modalities:
            body["modalities"] = said.modalities
        if said.stop:
            body["stop"] = said.stop[:_MAX_STOPS]
            if len(said.stop) > _MAX_STOPS:
                self._lose(f"stop[{_MAX_STOPS}:]")
        choice = told_choice(said, self._lose)
        if tools := [tool for tool in map(self._tool, said.tools) if tool is not None]:
            body["tools"] = tools
            if choice is not None:
                body["tool_choice"] = self._choice(choice, said.tools)
        else:
            body.pop("parallel_tool_calls", None)
        if said.format is not None and self.schema is None:
            body["response_format"] = _format(said.format)
        effort = None if said.thinking is None else told_effort(self._model, said.thinking, self._lose)
        if effort is not None:
            body["reasoning_effort"] = effort
        unsampled(self._model, effort, body, self._lose)
        self.dropped += said.unwritten(self._written)
        return body

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- messages

    def _messages(self, turn: Turn) -> list[JSON]:
        match turn.role:
            case "assistant":
                message = self._assistant(turn)
                return [message] if message is not None else []
            case "tool":
                return self._results(turn)
            case role:
                content = self._content(turn.parts)
                message = {"role": role, "content": content}
                if turn.name:
                    message["name"] = turn.name
                return [message] if content else []

    def _assistant(self, turn: Turn) -> JSON | None:
        texts: list[str] = []
        thoughts: list[str] = []
        details: list[JSON] = []
        calls: list[JSON] = []
        refusals: list[str] = []
        for part in turn.parts:
            match part:
                case TextPart():
                    texts.append(part.text)
                case ReasoningPart():
                    if part.text:
                        thoughts.append(part.text)
                    if part.issuer == "openai":
                        details.append(_detail(part, len(details)))
                case ToolCallPart():
                    calls.append(self._call(part))
                case RefusalPart():
                    refusals.append(part.text)
                case NativePart():
                    self._lose(f"messages[].{part.body.get('type', part.dialect)}")
                case MediaPart():
                    self._lose(f"messages[].{part.kind}")
        message: JSON = {"role": "assistant", "content": "".join(texts) or None}
        if refusals:
            message["refusal"] = "".join(refusals)
        if thoughts:
            message["reasoning_content"] = "\n".join(thoughts)
        if details:
            message["reasoning_details"] = details
        if calls:
            message["tool_calls"] = calls
        if turn.name:
            message["name"] = turn.name
        if not calls and message["content"] is None and "refusal" not in message:
            if not thoughts:
                return None  # an empty message is refused
            message["content"] = ""
        return message

    def _results(self, turn: Turn) -> list[JSON]:
        messages: list[JSON] = []
        media: list[JSON] = []
        for part in turn.parts:
            if not isinstance(part, ToolResultPart):
                continue
            if part.is_error:
                self._lose("messages[].tool_result.is_error")
            text = "".join(inner.text for inner in part.content if isinstance(inner, TextPart))
            shown = [inner for inner in part.content if isinstance(inner, MediaPart)]
            if shown:
                media.append({"type": "text", "text": f"What the tool call {part.call_id} returned:"})
                media += self._media_parts(shown)
                text = text or "See the next message."
            messages.append(
                {"role": "tool", "tool_call_id": short(part.call_id, _LONGEST_ID), "content": text}
            )
        if media:
            messages.append({"role": "user", "content": media})
        return messages

    def _content(self, parts: list[Any]) -> str | list[JSON]:
        if all(isinstance(part, TextPart) for part in parts):
            texts = [part.text for part in parts]
            return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts if text]
        written: list[JSON] = []
        for part in parts:
            if isinstance(part, TextPart):
                if part.text:
                    written.append({"type": "text", "text": part.text})
            elif isinstance(part, MediaPart):
                written += self._media_parts([part])
            elif isinstance(part, NativePart):
                self._lose(f"messages[].{part.body.get('type', part.dialect)}")
        return written

    def _media_parts(self, parts: list[MediaPart]) -> list[JSON]:
        return [written for part in parts if (written := self._media(part)) is not None]

    def _media(self, part: MediaPart) -> JSON | None:
        url = part.url or f"data:{part.media_type or 'application/octet-stream'};base64,{part.data}"
        kind = part.kind
        if kind == "file" and part.media_type.startswith("image/"):
            kind = "image"
        if part.file_id is not None:
            if part.store == "openai":
                return {"type": "file", "file": {"file_id": part.file_id}}
            self._lose(f"messages[].{part.kind}.file_id")
            return None
        match kind:
            case "image":
                image: JSON = {"url": url}
                if part.detail:
                    image["detail"] = part.detail
                return {"type": "image_url", "image_url": image}
            case "audio" if part.data is not None and part.media_type in _AUDIO:
                audio = {"data": part.data, "format": _AUDIO[part.media_type]}
                return {"type": "input_audio", "input_audio": audio}
            case "audio":
                return {"type": "audio_url", "audio_url": {"url": url}}
            case "video":
                return {"type": "video_url", "video_url": {"url": url}}
        if part.media_type.startswith("text/") and part.data is not None:
            return {"type": "file", "file": {"file_data": url, "filename": part.name or "document.txt"}}
        return {"type": "file", "file": {"file_data": url, "filename": part.name or "document.pdf"}}

    # -- tools

    def _tool(self, tool: Tool) -> JSON | None:
        if tool.kind == "native":
            self._lose(f"tools.{tool.name}")
            return None
        written: JSON = {"name": self._names[tool.name]}
        if tool.description:
            written["description"] = tool.description
        if tool.kind == "custom" and self._customs:
            if tool.format is not None:
                written["format"] = tool.format
            return {"type": "custom", "custom": written}
        if tool.kind == "custom":
            if tool.format is not None and tool.format.get("type") != "text":
                self._lose("tools[].custom.format")
            return {"type": "function", "function": {**written, "parameters": INPUT}}
        written["parameters"], is_wider = for_openai(tool.parameters)
        if is_wider:
            self._lose("tools[].parameters")
        if tool.strict and not is_strict(written["parameters"]):
            self._lose("tools[].strict")
        elif tool.strict is not None:
            written["strict"] = tool.strict
        return {"type": "function", "function": written}

    def _choice(self, choice: ToolChoice, tools: list[Tool]) -> str | JSON:
        kinds = {tool.name: tool.kind if self._customs else "function" for tool in tools}

        def named(name: str) -> JSON:
            return {"type": kinds[name], kinds[name]: {"name": self._names[name]}}

        if choice.mode == "named" and choice.name is not None:
            return named(choice.name)
        if choice.allowed and choice.mode in ("auto", "required"):
            allowed = {"mode": choice.mode, "tools": [named(name) for name in choice.allowed]}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        return choice.mode

    def _call(self, part: ToolCallPart) -> JSON:
        name = self._names[part.name]
        arguments = part.arguments or "{}"
        if part.kind == "custom":
            if self._customs:
                return {
                    "id": short(part.id, _LONGEST_ID),
                    "type": "custom",
                    "custom": {"name": name, "input": part.arguments},
                }
            arguments = _encode({"input": part.arguments}).decode()
        call: JSON = {
            "id": short(part.id, _LONGEST_ID),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        if part.signature:
            call["extra_content"] = {"google": {"thought_signature": part.signature}}
        return call


class Own(NamedTuple):
    """A request in OpenAI's dialect, what it lost on the way, and Lowering.schema."""

    request: ChatRequest
    dropped: list[str]
    schema: JSON | None = None


def own_request(request: ChatRequest, quirks: Quirks = _NONE, model: str = "") -> Own:
    """`model`: the name the upstream knows it by."""
    if request.dialect == "openai":
        return Own(request, [])
    conversation = request.conversation()
    lowering = Lowering(conversation, quirks, model)
    body = lowering.body()
    if not body["messages"]:
        raise UnsupportedParameter("Nothing of the messages can be told to this model.", param="messages")
    own = ChatRequest(
        request.model,
        body,
        request.stream,
        include_usage=True,
        n=conversation.n,
        max_tokens=conversation.max_tokens,
        counts_only=request.counts_only,
    )
    return Own(own, lowering.dropped, lowering.schema)


def _detail(part: ReasoningPart, index: int) -> JSON:
    if part.redacted is not None:
        return {"type": "reasoning.encrypted", "data": part.redacted, "index": index}
    return {"type": "reasoning.text", "text": part.text, "signature": part.signature, "index": index}


def _format(wanted: Format) -> JSON:
    if wanted.kind == "json_object" or wanted.schema is None:
        return {"type": "json_object"}
    schema: JSON = {"name": wanted.name, "schema": with_items(wanted.schema)}
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    if wanted.description:
        schema["description"] = wanted.description
    return {"type": "json_schema", "json_schema": schema}


def turns_of(said: Conversation, *, any_root: bool = False) -> tuple[list[Turn], JSON | None]:
    """As OpenAI takes them, and the schema that can only be asked for: one whose root is no plain object."""
    wanted = said.format
    turns = settled(said.turns)
    if wanted is None:
        return turns, None
    if wanted.schema is not None and not any_root and not is_plain_object(wanted.schema):
        return instructed(turns, in_words(wanted.schema)), wanted.schema
    if wanted.schema is None and not says_json(turns):
        turns = instructed(turns, IN_WORDS)
    return turns, None
