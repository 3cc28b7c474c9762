"""A Conversation as a request to Ollama's /api/chat: for clients of every other dialect.

Conversation                    Ollama
------------------------------  -----------------------------------------------------------------------------
turns                           messages; a tool turn's results are messages of role tool, one each
MediaPart                       images, those of a turn together: bytes alone; sound, film and files: refused
ReasoningPart                   thinking; nobody signs it here
ToolCallPart                    tool_calls, their arguments an object; of kind custom: {"input": text}
tools                           tools; a custom one has the one parameter `input`
tool_choice none                no tools; another than auto is reported
Thinking                        think: a level for the models that know levels (gpt-oss), false for none
Format                          format: "json" or the schema; beside tools words: format would keep the model
                                  from calling them (ollama/ollama#8095, #11037)
sampling, limits                options
"""

from penstock.providers.formats import ANY_OBJECT, in_words
from penstock.providers.tool_schemas import INPUT, object_schema
from penstock.providers.tools import told_input
from penstock.providers.turns import instructed, settled
from penstock.types.conversation import (
    JSON,
    Conversation,
    MediaPart,
    NativePart,
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
from penstock.types.errors import UnsupportedParameter

OPTIONS = {  # ours -> theirs
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
}
_WRITTEN = frozenset(OPTIONS) | {
    *("tools", "tool_choice", "stop", "thinking", "format", "logprobs", "top_logprobs"),
}
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class Lowering:
    """One request on its way; `dropped` fills as it is written.

    schema: what the answer must fit, where it can only be asked for.
    """

    def __init__(self, conversation: Conversation, model: str) -> None:
        self._said = conversation
        self._model = model
        self.dropped: list[str] = []
        self.schema: JSON | None = None

    def body(self) -> JSON:
        said = self._said
        turns = settled(said.turns)
        tools = self._tools()
        if said.format is not None and tools:
            turns = instructed(turns, in_words(said.format.schema))
            self.schema = said.format.schema or ANY_OBJECT
        body: JSON = {"messages": self._messages(turns), "truncate": False}
        if not body["messages"]:
            raise UnsupportedParameter("Nothing of the messages can be told to this model.", param="messages")
        if tools:
            body["tools"] = tools
        if said.thinking is not None and (think := self._think(said.thinking)) is not None:
            body["think"] = think
        if said.format is not None and not tools:
            body["format"] = said.format.schema if said.format.schema is not None else "json"
        if said.logprobs:
            body["logprobs"] = True
            if said.top_logprobs:
                body["top_logprobs"] = said.top_logprobs
        options = {
            theirs: value for ours, theirs in OPTIONS.items() if (value := getattr(said, ours)) is not None
        }
        if said.stop:
            options["stop"] = said.stop
        if options:
            body["options"] = options
        for name in said.unwritten(_WRITTEN):
            self._lose(name)
        return body

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- messages

    def _messages(self, turns: list[Turn]) -> list[JSON]:
        messages: list[JSON] = []
        for turn in turns:
            if turn.name:
                self._lose("messages[].name")
            if turn.role == "tool":
                messages += [self._result(part) for part in turn.parts if isinstance(part, ToolResultPart)]
            elif (message := self._message(turn)) is not None:
                messages.append(message)
        return messages

    def _message(self, turn: Turn) -> JSON | None:
        texts: list[str] = []
        thoughts: list[str] = []
        message: JSON = {"role": turn.role}
        for part in turn.parts:
            match part:
                case TextPart(text) | RefusalPart(text):
                    texts.append(text)
                case ReasoningPart():
                    self._thought(part, thoughts)
                case MediaPart() if turn.role == "assistant":
                    self._lose(f"messages[].{part.kind}")
                case MediaPart():
                    message.setdefault("images", []).append(self._image(part))
                case ToolCallPart():
                    message.setdefault("tool_calls", []).append(_call(part))
                case NativePart():
                    self._lose(f"messages[].{part.body.get('type', part.dialect)}")
        if thoughts:
            message["thinking"] = "\n\n".join(thoughts)
        if len(message) == 1 and not any(texts):
            return None
        return {**message, "content": "\n".join(texts)}

    def _thought(self, part: ReasoningPart, thoughts: list[str]) -> None:
        if part.text:
            thoughts.append(part.text)
        else:  # nothing but what another vendor can read
            self._lose("messages[].reasoning")

    def _result(self, part: ToolResultPart) -> JSON:
        texts = [inner.text for inner in part.content if isinstance(inner, TextPart)]
        images = [self._image(inner) for inner in part.content if isinstance(inner, MediaPart)]
        message: JSON = {"role": "tool", "content": "\n".join(texts), "tool_call_id": part.call_id}
        if part.is_error:
            self._lose("messages[].tool_result.is_error")
        if part.name:
            message["tool_name"] = part.name
        if images:
            message["images"] = images
        return message

    def _image(self, part: MediaPart) -> str:
        if part.kind != "image":
            raise UnsupportedParameter(f"This model takes no {part.kind} input.", param="messages")
        if part.data is None:
            raise UnsupportedParameter("This model takes images by their bytes only.", param="messages")
        if part.detail not in (None, "auto"):
            self._lose("messages[].image.detail")
        return part.data

    # -- tools and thinking

    def _tools(self) -> list[JSON]:
        choice = self._said.tool_choice or ToolChoice("auto")
        if choice.mode == "none":
            return []
        if choice.mode != "auto" or choice.allowed:
            self._lose("tool_choice")
        return [made for tool in self._said.tools if (made := self._tool(tool)) is not None]

    def _tool(self, tool: Tool) -> JSON | None:
        if tool.kind == "native":
            self._lose(f"tools.{tool.name}")
            return None
        if tool.strict:
            self._lose("tools[].strict")
        if tool.format is not None and tool.format.get("type") != "text":
            self._lose("tools[].custom.format")
        parameters = INPUT if tool.kind == "custom" else object_schema(tool.parameters)
        function: JSON = {"name": tool.name, "parameters": parameters}
        if tool.description:
            function["description"] = tool.description
        return {"type": "function", "function": function}

    def _think(self, thinking: Thinking) -> bool | str | None:
        """A model that can think does so unasked; to be told is a 400 for one that cannot."""
        if thinking.budget_tokens is not None:
            self._lose("thinking.budget_tokens")
        if thinking.enabled is False or thinking.effort == "none":
            return False
        if thinking.effort in _LEVELS:
            level = _LEVELS[thinking.effort]
            if not self._model.startswith("gpt-oss"):  # other models know yes and no
                self._lose("thinking.effort")
                return None
            if level != thinking.effort:
                self._lose("thinking.effort")
            return level
        return None


def _call(part: ToolCallPart) -> JSON:
    return {"id": part.id, "function": {"name": part.name, "arguments": told_input(part)}}
