"""A Conversation as a request to /v1/responses: for clients of other dialects.

Conversation                    Responses
------------------------------  -----------------------------------------------------------------------------
system turns                    messages of role developer, where they stand
text, media of a turn           one message; of the assistant as output_text
ReasoningPart                   reasoning item with encrypted_content, if this account sealed it; else nothing
ToolCallPart, ToolResultPart    function_call and function_call_output, or their custom kinds
Tool                            its name in OpenAI's letters; strict only where OpenAI takes the schema so
Thinking                        reasoning.effort, as the model takes it (openai_models), and a summary unless
                                  the client does not want to see it
Format, verbosity               text; a schema whose root is no object is said in words
n, stop, seed, penalties ...    nothing: the interface has none; reported

Nothing is stored at OpenAI (`store: false`), so reasoning comes back encrypted. A model that does not reason
refuses to be asked for that.
"""

from typing import Any

from penstock.dialects.responses import unbound, unmarked
from penstock.providers.openai_lower import turns_of
from penstock.providers.openai_models import efforts, told_effort, unsampled
from penstock.providers.tool_schemas import for_openai, is_strict, with_items
from penstock.providers.tools import LONGEST_NAME, Letters, renamed, short, told_choice
from penstock.providers.turns import rounded
from penstock.types.conversation import (
    JSON,
    Conversation,
    Format,
    MediaPart,
    NativePart,
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
)

_SAME = (
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "metadata",
    "service_tier",
    "prompt_cache_key",
)
_WRITTEN = frozenset(_SAME) | {
    *(
        "tools",
        "tool_choice",
        "max_tokens",
        "thinking",
        "format",
        "verbosity",
        "logprobs",
        "user",
        "modalities",
    ),
}
ENCRYPTED = "reasoning.encrypted_content"
_LEAST_TOKENS = 16  # what max_output_tokens is at least
_LONGEST_ID = 64
_TIERS = frozenset({"auto", "default", "flex", "priority", "scale"})
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class Lowering:
    """One request on its way; `dropped` fills as it is written.

    schema: what the answer must fit, where it can only be asked for.
    """

    def __init__(self, conversation: Conversation, model: str, account: str = "") -> None:
        self._said = conversation
        self._model = model
        self._account = account
        self._names = Letters(LONGEST_NAME)
        renamed(conversation.tools, self._names)
        self.dropped: list[str] = []
        self.schema: JSON | None = None

    def body(self, *, counts_only: bool = False) -> JSON:
        said = self._said
        items: list[JSON] = []
        turns, self.schema = turns_of(said)
        for turn in turns:
            self._turn(turn, items)
        body: JSON = {"input": items}
        tools = [written for tool in said.tools if (written := self._tool(tool)) is not None]
        choice = told_choice(said, self._lose)
        if tools:
            body["tools"] = tools
            if choice is not None:
                body["tool_choice"] = self._choice(choice, said.tools)
        if (text := self._text()) is not None:
            body["text"] = text
        if said.thinking is not None and (reasoning := self._thinking(said.thinking)) is not None:
            body["reasoning"] = reasoning
        if not counts_only:
            self._rest(body, has_tools=bool(tools))
        for name in said.unwritten(_WRITTEN):
            self._lose(name)
        return body

    def _rest(self, body: JSON, *, has_tools: bool) -> None:
        said = self._said
        for name in _SAME:
            if (value := getattr(said, name)) is not None:
                body[name] = value
        if not has_tools:
            body.pop("parallel_tool_calls", None)
        if body.get("service_tier") not in _TIERS and body.pop("service_tier", None) is not None:
            self._lose("service_tier")
        if said.max_tokens is not None:
            body["max_output_tokens"] = max(said.max_tokens, _LEAST_TOKENS)
            if said.max_tokens < _LEAST_TOKENS:
                self._lose("max_tokens")
        if said.user is not None:
            body["safety_identifier" if len(said.user) <= _LONGEST_ID else "user"] = said.user
        if said.logprobs:
            body["logprobs"] = True
        unsampled(self._model, (body.get("reasoning") or {}).get("effort"), body, self._lose)
        include = [] if efforts(self._model).reasons is False else [ENCRYPTED]
        if body.pop("logprobs", None):
            include.append("message.output_text.logprobs")
        if said.modalities and said.modalities != ["text"]:
            self._lose("modalities")
        if include:
            body["include"] = include
        body["store"] = False

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- items

    def _turn(self, turn: Turn, items: list[JSON]) -> None:
        if turn.name:
            self._lose("messages[].name")
        if turn.role == "assistant":
            items += self._assistant(turn)
            return
        if turn.role == "tool":
            items.extend(self._result(part) for part in turn.parts if isinstance(part, ToolResultPart))
            return
        content = [written for part in turn.parts if (written := self._input(part)) is not None]
        if content:
            role = "user" if turn.role == "user" else "developer"
            items.append({"type": "message", "role": role, "content": content})

    def _assistant(self, turn: Turn) -> list[JSON]:
        items: list[JSON] = []
        content: list[JSON] = []

        def close() -> None:
            if content:
                items.append({"type": "message", "role": "assistant", "content": list(content)})
                content.clear()

        for part in turn.parts:
            match part:
                case TextPart():
                    if part.text:
                        content.append({"type": "output_text", "text": part.text, "annotations": []})
                case RefusalPart():
                    content.append({"type": "refusal", "refusal": part.text})
                case ToolCallPart():
                    close()
                    items.append(self._call(part))
                case ReasoningPart():
                    close()
                    self._reasoning(part, items)
                case NativePart(dialect="responses"):
                    close()
                    items.append(part.body)
                case NativePart():
                    self._lose(f"messages[].{part.body.get('type', part.dialect)}")
                case MediaPart():
                    self._lose(f"messages[].{part.kind}")
        close()
        if rounded(items, _is_thought):  # a reasoning item must be followed by what it led to
            self._lose("messages[].reasoning")
        return items

    def _reasoning(self, part: ReasoningPart, items: list[JSON]) -> None:
        opaque = part.signature or part.redacted
        item_id, sealed = unbound(opaque or "")
        encrypted = unmarked(sealed, self._account)
        if part.issuer != "responses" or not encrypted:
            self._lose("messages[].reasoning")
            return
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        item: JSON = {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}
        if item_id or part.id:
            item["id"] = item_id or part.id
        items.append(item)

    def _result(self, part: ToolResultPart) -> JSON:
        if part.is_error:
            self._lose("messages[].tool_result.is_error")
        output: Any
        if all(isinstance(inner, TextPart) for inner in part.content):
            output = "".join(inner.text for inner in part.content if isinstance(inner, TextPart))
        else:
            output = [written for inner in part.content if (written := self._input(inner)) is not None]
        kind = "custom_tool_call_output" if part.kind == "custom" else "function_call_output"
        return {"type": kind, "call_id": short(part.call_id, _LONGEST_ID), "output": output}

    def _input(self, part: Part) -> JSON | None:
        match part:
            case TextPart():
                return {"type": "input_text", "text": part.text} if part.text else None
            case MediaPart():
                return self._media(part)
            case NativePart():
                self._lose(f"messages[].{part.body.get('type', part.dialect)}")
        return None

    def _media(self, part: MediaPart) -> JSON | None:
        if part.file_id is not None and part.store != "openai":
            self._lose(f"messages[].{part.kind}.file_id")
            return None
        url = part.url or f"data:{part.media_type or 'application/octet-stream'};base64,{part.data}"
        if part.kind == "image" or part.media_type.startswith("image/"):
            image: JSON = {"type": "input_image", "detail": part.detail or "auto"}
            return image | ({"file_id": part.file_id} if part.file_id else {"image_url": url})
        if part.kind == "audio" and part.data is not None and part.media_type in _AUDIO:
            audio = {"data": part.data, "format": _AUDIO[part.media_type]}
            return {"type": "input_audio", "input_audio": audio}
        if part.kind == "file":
            if part.file_id:
                return {"type": "input_file", "file_id": part.file_id}
            if part.url:
                return {"type": "input_file", "file_url": part.url}
            return {"type": "input_file", "file_data": url, "filename": part.name or "document.pdf"}
        self._lose(f"messages[].{part.kind}")
        return None

    def _tool(self, tool: Tool) -> JSON | None:
        if tool.kind == "native":
            if tool.dialect == "responses" and tool.native is not None:
                return tool.native
            self._lose(f"tools.{tool.name}")
            return None
        written: JSON = {"type": tool.kind, "name": self._names[tool.name]}
        if tool.description:
            written["description"] = tool.description
        if tool.kind == "custom":
            if tool.format is not None:
                written["format"] = tool.format
            return written
        written["parameters"], is_wider = for_openai(tool.parameters)
        if is_wider:
            self._lose("tools[].parameters")
        written["strict"] = tool.strict is True  # the interface's own default is true
        if tool.strict and not is_strict(written["parameters"]):
            written["strict"] = False
            self._lose("tools[].strict")
        return written

    def _call(self, part: ToolCallPart) -> JSON:
        call: JSON = {"call_id": short(part.id, _LONGEST_ID), "name": self._names[part.name]}
        if part.kind == "custom":
            return {"type": "custom_tool_call", **call, "input": part.arguments}
        return {"type": "function_call", **call, "arguments": part.arguments or "{}"}

    def _choice(self, choice: ToolChoice, tools: list[Tool]) -> str | JSON:
        kinds = {tool.name: tool.kind for tool in tools}

        def named(name: str) -> JSON:
            return {"type": kinds[name], "name": self._names[name]}

        if choice.mode == "named" and choice.name is not None:
            return named(choice.name)
        if choice.allowed and choice.mode in ("auto", "required"):
            allowed = [named(name) for name in choice.allowed]
            return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
        return choice.mode

    # -- the rest

    def _text(self) -> JSON | None:
        said = self._said
        text: JSON = {}
        if said.format is not None and self.schema is None:
            text["format"] = _format(said.format)
        if said.verbosity is not None:
            text["verbosity"] = said.verbosity
        return text or None

    def _thinking(self, thinking: Thinking) -> JSON | None:
        written: JSON = {}
        if (effort := told_effort(self._model, thinking, self._lose)) is not None:
            written["effort"] = effort
        is_off = thinking.enabled is False or thinking.effort == "none"
        if not is_off and thinking.visible is not False and efforts(self._model).reasons is not False:
            written["summary"] = "auto"
        return written or None


def _is_thought(item: JSON) -> bool:
    return bool(item["type"] == "reasoning")


def _format(wanted: Format) -> JSON:
    if wanted.kind == "json_object" or wanted.schema is None:
        return {"type": "json_object"}
    written: JSON = {"type": "json_schema", "name": wanted.name, "schema": with_items(wanted.schema)}
    written["strict"] = wanted.strict is True  # the interface's own default is true
    if wanted.description:
        written["description"] = wanted.description
    return written
