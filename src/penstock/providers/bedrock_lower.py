"""A Conversation as a request to Bedrock's Converse API: for clients of every dialect.

Conversation                    Converse
------------------------------  -----------------------------------------------------------------------------
system turns at the start       system
system turns later              text of the user
tool turns                      toolResult blocks at the start of the user turn
ReasoningPart                   reasoningContent, if Bedrock or Anthropic signed it; else nothing
ToolCallPart                    toolUse with its input as an object; ids and names in the vendor's letters
media                           image, document, video, audio by their bytes or s3:// address
cache                           a cachePoint block behind the part; at most four
tools                           toolConfig; a call in the history needs it, so without tools the names that
                                  were used are declared again, and the model is told not to call them
tool_choice none                no tools, likewise
Thinking                        additionalModelRequestFields.thinking for Claude, else reported
Format json_schema              outputConfig.textFormat where the model has it (`_FORMATS`, and Claude from
                                  4.5: closed, as Anthropic wants it); for other Claudes a tool that must be
                                  called; else words
"""

import re

import msgspec

from penstock.providers.anthropic_models import (
    BUDGETS,
    GO_ON,
    LEAST_BUDGET,
    OPENING,
    USUAL_MAX_TOKENS,
    abilities,
    effort_of,
)
from penstock.providers.anthropic_schemas import closed
from penstock.providers.bedrock_media import Media, with_words
from penstock.providers.formats import ANY_OBJECT, in_words
from penstock.providers.tool_schemas import INPUT, object_schema, plain_root
from penstock.providers.tools import LONGEST_NAME, Letters, renamed, told_choice, told_input
from penstock.providers.turns import hoisted, instructed, paired, rounded, settled
from penstock.types.conversation import (
    JSON,
    Conversation,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from penstock.types.errors import UnsupportedParameter

_WRITTEN = frozenset(
    {
        *("tools", "tool_choice", "max_tokens", "temperature", "top_p", "stop", "format", "thinking"),
        *("metadata",),
    }
)
BREAKPOINTS = 4
_LONGEST_METADATA = 256
_MOST_METADATA = 16
# https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html, langchain-aws#883, 2026-11-20:
# beside Claude, "select" models of these families. Not Amazon's, Meta's, Cohere's, AI21's.
_FORMATS = re.compile(r"qwen|gpt-oss|deepseek\.v3|gemma|minimax|ministral|magistral|kimi|nemotron")
_STOP_SEQUENCE = "/stop_sequence"  # of Claude's own answer: which one was met

_encode = msgspec.json.Encoder().encode


class Lowering:
    """One request on its way; `dropped` fills as it is written.

    schema: what the answer must fit, where Bedrock was told only a part of it, or nothing.
    """

    def __init__(self, conversation: Conversation, model: str) -> None:
        self._said = conversation
        self._is_claude = "claude" in model or "anthropic" in model
        self._can = abilities(model)
        self._has_formats = self._can.formats if self._is_claude else _FORMATS.search(model) is not None
        self._ids = Letters(LONGEST_NAME)
        self._names = Letters(LONGEST_NAME)
        self.renamed = renamed(conversation.tools, self._names)  # their name -> ours, for the reader
        self.forced = self._forced()  # the tool whose input is the answer
        self._media = Media()
        self._points = 0
        self.dropped: list[str] = []
        self.schema: JSON | None = None

    def body(self) -> JSON:
        said = self._said
        leading, turns = hoisted(self._turns())
        messages = self._messages(turns)
        body: JSON = {}
        if system := self._system(leading):
            if messages:
                body["system"] = system
            else:
                messages = [{"role": "user", "content": system}]
        if not messages:
            raise UnsupportedParameter("Nothing of the messages can be told to this model.", param="messages")
        body["messages"] = messages
        if (config := self._tools(messages)) is not None:
            body["toolConfig"] = config
        more: JSON = {}  # fields of the model's own API
        thinking = self._thinking(more, is_forced=config is not None and "toolChoice" in config)
        if thinking is not None and thinking["type"] == "enabled" and _has_lost_thoughts(messages):
            thinking = None
            self._lose("thinking")
        if (inference := self._inference(thinking)) is not None:
            body["inferenceConfig"] = inference
        if thinking is not None:
            more["thinking"] = thinking
        if said.top_k is not None:
            if self._is_claude and thinking is None and self._can.sampling:
                more["top_k"] = said.top_k
            else:
                self._lose("top_k")
        if more:
            body["additionalModelRequestFields"] = more
        if said.stop and self._is_claude:
            body["additionalModelResponseFieldPaths"] = [_STOP_SEQUENCE]
        if said.format is not None:
            self._format(body)
        if said.metadata:
            self._metadata(body, said.metadata)
        for name in said.unwritten(_WRITTEN | {"top_k"}):
            self._lose(name)
        return body

    def _forced(self) -> str | None:
        wanted, thinking = self._said.format, self._said.thinking
        if wanted is None or self._said.tools or not self._is_claude or not self._can.forces:
            return None
        if thinking is not None and thinking.enabled is not False and thinking.effort != "none":
            return None
        schema = wanted.schema
        if schema is not None and (self._has_formats or schema.get("type") != "object"):
            return None
        return self._names[wanted.name]

    def _turns(self) -> list[Turn]:
        turns, wanted = settled(self._said.turns), self._said.format
        if wanted is None or self.forced is not None or (wanted.schema is not None and self._has_formats):
            return turns
        self.schema = wanted.schema or ANY_OBJECT
        return instructed(turns, in_words(wanted.schema))

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- messages

    def _system(self, turns: list[Turn]) -> list[JSON]:
        blocks: list[JSON] = []
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, TextPart):
                    self._add(part, {"text": part.text} if part.text.strip() else None, blocks)
                else:
                    self._lose(f"messages[].{type(part).__name__}")
        return blocks

    def _messages(self, turns: list[Turn]) -> list[JSON]:
        messages: list[JSON] = []
        for turn in turns:
            role = "assistant" if turn.role == "assistant" else "user"
            blocks: list[JSON] = []
            for part in turn.parts:
                self._add(part, self._block(part, is_assistant=role == "assistant"), blocks)
            if rounded(blocks, _is_thought):
                self._lose("messages[].reasoning")
            if turn.name:
                self._lose("messages[].name")
            if not blocks:
                continue
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += blocks
            else:
                messages.append({"role": role, "content": blocks})
        if messages and messages[0]["role"] == "assistant":
            messages.insert(0, {"role": "user", "content": [{"text": OPENING}]})
        paired(messages, _calls_of, _results_of)
        for message in messages:
            with_words(message["content"])
        if messages and messages[-1]["role"] == "assistant" and self._is_claude and not self._can.prefill:
            messages.append({"role": "user", "content": [{"text": GO_ON}]})
        return messages

    def _add(self, part: Part, block: JSON | None, blocks: list[JSON]) -> None:
        if block is not None:
            blocks.append(block)
            self._mark(getattr(part, "cache", None), blocks)

    def _mark(self, cache: JSON | None, blocks: list[JSON]) -> None:
        """A cache point behind what was just written."""
        if cache is None:
            return
        if self._points == BREAKPOINTS:
            self._lose("cache_control")
            return
        self._points += 1
        point: JSON = {"type": "default"}
        if cache.get("ttl") in ("5m", "1h"):
            point["ttl"] = cache["ttl"]
        blocks.append({"cachePoint": point})

    def _metadata(self, body: JSON, metadata: JSON) -> None:
        """At most sixteen texts of at most 256 characters (RequestMetadata)."""
        kept = {
            key: text
            for key, value in metadata.items()
            if 0 < len(key) <= _LONGEST_METADATA and len(text := str(value)) <= _LONGEST_METADATA
        }
        written = dict(list(kept.items())[:_MOST_METADATA])
        if len(written) < len(metadata):
            self._lose("metadata")
        if written:
            body["requestMetadata"] = written

    def _block(self, part: Part, *, is_assistant: bool) -> JSON | None:
        match part:
            case TextPart(text):
                return {"text": text} if text.strip() else None
            case RefusalPart(text):
                return {"text": text} if text.strip() else None
            case MediaPart():
                if is_assistant:
                    self._lose(f"messages[].{part.kind}")
                    return None
                return self._shown(part)
            case ReasoningPart():
                return self._thought(part)
            case ToolCallPart():
                use = {"toolUseId": self._ids[part.id], "name": self._names[part.name]}
                return {"toolUse": {**use, "input": told_input(part)}}
            case ToolResultPart():
                return self._result(part)
            case NativePart():
                self._lose(f"messages[].{part.body.get('type', part.dialect)}")
        return None

    def _thought(self, part: ReasoningPart) -> JSON | None:
        if part.issuer in ("bedrock", "anthropic") and self._is_claude:
            if part.redacted is not None:
                return {"reasoningContent": {"redactedContent": part.redacted}}
            if part.signature:
                text = {"text": part.text, "signature": part.signature}
                return {"reasoningContent": {"reasoningText": text}}
        self._lose("messages[].reasoning")
        return None

    def _result(self, part: ToolResultPart) -> JSON:
        content: list[JSON] = []
        for inner in part.content:
            if isinstance(inner, TextPart):
                if inner.text:
                    content.append({"text": inner.text})
            elif (block := self._shown(inner)) is not None:
                content.append(block)
        result: JSON = {"toolUseId": self._ids[part.call_id], "content": content or [{"text": "(nothing)"}]}
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}

    def _shown(self, part: MediaPart) -> JSON | None:
        block = self._media.block(part)
        if block is None:
            self._lose(f"messages[].{part.kind}")
        return block

    # -- the rest

    def _tools(self, messages: list[JSON]) -> JSON | None:
        said = self._said
        choice = told_choice(said, self._lose)
        mode = choice.mode if choice is not None else "auto"
        allowed = set(choice.allowed) if choice is not None else set()
        tools: list[JSON] = []
        for tool in said.tools:
            if (not allowed or tool.name in allowed) and (written := self._tool(tool)) is not None:
                tools.append(written)
                self._mark(tool.cache, tools)
        if not tools or mode == "none":
            return _remembered(messages)
        config: JSON = {"tools": tools}
        if mode in ("required", "named") and self._is_claude and not self._can.forces:
            mode = "auto"
            self._lose("tool_choice")
        if choice is not None and mode == "required":
            config["toolChoice"] = {"any": {}}
        elif choice is not None and mode == "named" and choice.name is not None:
            config["toolChoice"] = {"tool": {"name": self._names[choice.name]}}
        return config

    def _tool(self, tool: Tool) -> JSON | None:
        if tool.kind == "native":
            self._lose(f"tools.{tool.name}")
            return None
        schema = INPUT if tool.kind == "custom" else object_schema(tool.parameters)
        if self._is_claude:
            schema, is_wider = plain_root(schema)
            if is_wider:
                self._lose("tools[].parameters")
        spec: JSON = {"name": self._names[tool.name], "inputSchema": {"json": schema}}
        if tool.description:
            spec["description"] = tool.description
        if tool.strict:
            if self._is_claude and self._can.formats:
                spec["strict"] = True
                spec["inputSchema"] = {"json": closed(schema, [])}
            else:
                self._lose("tools[].strict")
        if tool.format is not None and tool.format.get("type") != "text":
            self._lose("tools[].custom.format")
        return {"toolSpec": spec}

    def _thinking(self, more: JSON, *, is_forced: bool) -> JSON | None:
        """The model's own `thinking`, and into `more` its effort; Claude's alone."""
        wanted: Thinking | None = self._said.thinking
        if wanted is None:
            return None
        if wanted.enabled is False or wanted.effort == "none":
            return self._thinking_off(more)
        budget = wanted.budget_tokens or (BUDGETS.get(wanted.effort) if wanted.effort else None)
        if budget is None:
            if wanted.enabled is None:
                return None
            budget = BUDGETS["medium"]
        if not self._is_claude or not self._can.thinks or (is_forced and not self._can.adaptive):
            self._lose("thinking")
            return None
        if self._can.efforts and (wanted.effort or wanted.budget_tokens):
            effort = self._can.effort(wanted.effort or effort_of(budget))
            more["output_config"] = {"effort": effort}
        if self._can.adaptive:
            return {"type": "adaptive"}
        return {"type": "enabled", "budget_tokens": max(budget, LEAST_BUDGET)}

    def _thinking_off(self, more: JSON) -> JSON | None:
        """Claude thinks unasked from 5 on; before that, and elsewhere, nothing needs to be said."""
        if not self._is_claude or not self._can.adaptive:
            return None
        if self._can.off is None:  # as little as it can
            more["output_config"] = {"effort": "low"}
            self._lose("thinking")
            return None
        return {"type": self._can.off}

    def _inference(self, thinking: JSON | None) -> JSON | None:
        said = self._said
        config: JSON = {}
        if said.max_tokens is not None:
            config["maxTokens"] = said.max_tokens
        thinks = thinking is not None and thinking["type"] in ("enabled", "adaptive")
        if thinking is not None and "budget_tokens" in thinking:
            self._make_room(thinking, config)
        if thinks or (self._is_claude and not self._can.sampling):
            for name in ("temperature", "top_p"):
                if getattr(said, name) not in (None, 1):
                    self._lose(name)
        else:
            if said.temperature is not None:
                if said.temperature > 1 and self._is_claude:
                    self._lose("temperature")
                else:
                    config["temperature"] = said.temperature
            if said.top_p is not None:
                if self._is_claude and "temperature" in config and not self._can.both_samplings:
                    self._lose("top_p")
                else:
                    config["topP"] = said.top_p
        if said.stop:
            config["stopSequences"] = said.stop
        return config or None

    def _make_room(self, thinking: JSON, config: JSON) -> None:
        """The client's limit is a law: a budget beyond it is cut. Without one there is room for both."""
        budget = thinking["budget_tokens"]
        limit = config.get("maxTokens")
        if limit is None:
            config["maxTokens"] = budget + USUAL_MAX_TOKENS
        elif budget >= limit:
            if limit <= LEAST_BUDGET:
                thinking.clear()
                thinking["type"] = "disabled"
                self._lose("thinking")
            else:
                thinking["budget_tokens"] = max(LEAST_BUDGET, limit // 2)

    def _format(self, body: JSON) -> None:
        wanted = self._said.format
        if wanted is None:
            return
        if self.forced is not None:
            self.schema = wanted.schema or ANY_OBJECT
            spec: JSON = {"name": self.forced, "inputSchema": {"json": plain_root(self.schema)[0]}}
            spec["description"] = wanted.description or "Gives the answer to the user."
            body["toolConfig"] = {
                "tools": [{"toolSpec": spec}],
                "toolChoice": {"tool": {"name": self.forced}},
            }
            return
        if wanted.schema is None or not self._has_formats:
            return  # asked for in words
        told = wanted.schema
        if self._is_claude:
            lost: list[str] = []
            told = closed(wanted.schema, lost)
            self.schema = wanted.schema if lost else None
        schema: JSON = {"schema": _encode(told).decode(), "name": self._names[wanted.name]}
        if wanted.description:
            schema["description"] = wanted.description
        text = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body["outputConfig"] = {"textFormat": text}


def _has_lost_thoughts(messages: list[JSON]) -> bool:
    """Whether the turn in progress called tools without the thinking that led there, which is refused."""
    if len(messages) < 2 or not any("toolResult" in block for block in messages[-1]["content"]):
        return False
    calling = messages[-2]
    return calling["role"] == "assistant" and "reasoningContent" not in calling["content"][0]


def _remembered(messages: list[JSON]) -> JSON | None:
    """Bedrock refuses tool blocks in the history without a toolConfig."""
    used = dict.fromkeys(
        block["toolUse"]["name"] for message in messages for block in message["content"] if "toolUse" in block
    )
    if not used:
        return None
    empty = {"json": {"type": "object", "properties": {}}}
    said = "Not available any more; do not call it."
    return {
        "tools": [{"toolSpec": {"name": name, "description": said, "inputSchema": empty}} for name in used]
    }


def _calls_of(content: list[JSON]) -> list[str]:
    return [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]


def _results_of(content: list[JSON]) -> list[tuple[str, JSON]]:
    return [(block["toolResult"]["toolUseId"], block) for block in content if "toolResult" in block]


def _is_thought(block: JSON) -> bool:
    return "reasoningContent" in block
