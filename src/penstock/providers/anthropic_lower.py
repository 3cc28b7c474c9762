"""A Conversation as Anthropic's Messages request: for clients of other dialects.

Conversation                    Anthropic
------------------------------  -----------------------------------------------------------------------------
system turns at the start       system
system turns later              role system where the model knows it and it stands between a user turn and an
                                  answer, else text of the user
tool turns                      tool_result blocks at the start of the user turn; neighbours share a message
ReasoningPart                   thinking, redacted_thinking, if Anthropic signed it; else nothing
ToolCallPart                    tool_use; ids and names in Anthropic's letters, the same way everywhere
custom tools and calls          a function with the one text `input`
empty text                      nothing: Anthropic refuses it
Thinking                        thinking and output_config.effort, as the model takes them (anthropic_models)
Format json_schema              output_config.format, closed (anthropic_schemas); for a model without it, and
                                  for json_object, a tool that must be called; where that cannot be, words
cache                           cache_control; of more than four, the first and the last three
max_tokens                      the client's, else the deployment's, else 8192; above a thinking budget

What Anthropic would refuse, and what it has no word for, is left out and reported: temperature above 1, top_p
beside temperature, sampling while it thinks, thinking by budget while a tool is forced or in a turn of tool
use whose first thoughts are lost.
"""

from collections.abc import Callable
from typing import Any

from penstock.providers.anthropic_media import IMAGES, source_of
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
from penstock.providers.anthropic_turns import BLANK, has_lost_thoughts, trim
from penstock.providers.anthropic_typed import Names
from penstock.providers.formats import ANY_OBJECT, in_words
from penstock.providers.tool_schemas import INPUT, plain_root
from penstock.providers.tools import Letters, renamed, told_choice, told_input
from penstock.providers.turns import hoisted, paired, rounded, settled
from penstock.types.conversation import (
    JSON,
    Conversation,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from penstock.types.errors import UnsupportedParameter

BREAKPOINTS = 4

_WRITTEN = frozenset(
    {
        *(
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
        ),
        *("thinking", "format", "user", "service_tier"),
    }
)
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_LONGEST_NAME = 128


class Lowering:
    """One request on its way; `dropped` fills as it is written."""

    def __init__(
        self,
        conversation: Conversation,
        model: str,
        *,
        version: str,
        max_output: int | None,
    ) -> None:
        self._asked = conversation
        self._can = abilities(model)
        if version != "2023-06-01":
            self._can = self._can._replace(sampling=False)
        self._max_output = max_output
        self._ids = Letters(None)
        self._tool_names = Letters(_LONGEST_NAME)
        self.dropped: list[str] = []
        self.schema: JSON | None = None  # what the answer is to be checked against by us

    def names(self) -> Names:
        """How tools are called there; for the reader."""
        tools = self._asked.tools
        others = renamed(tools, self._tool_names)
        customs = frozenset(self._tool_names[tool.name] for tool in tools if tool.kind == "custom")
        return Names(others, customs, self._forced())

    def _forced(self) -> str | None:
        """The name of the tool whose arguments are the answer, where one is forced for its form."""
        wanted = self._asked.format
        if wanted is None or self._asked.tools or self._wants_thinking():
            return None
        schema = wanted.schema
        if schema is not None and (self._can.formats or schema.get("type") != "object"):
            return None
        return self._tool_names[wanted.name]

    def body(self, *, counts_only: bool = False) -> JSON:
        said = self._asked
        self.names()  # tools' names come first: a call of an unknown tool gets what is left
        system, turns = hoisted(settled(said.turns))
        messages = self._messages(turns)
        blocks = self._texts(system)
        words = self._words()
        if not messages and blocks:
            messages, blocks = [{"role": "user", "content": blocks}], []
        if words:
            blocks.append({"type": "text", "text": words})
        if not messages:
            raise UnsupportedParameter("Nothing of the messages can be told to this model.", param="messages")
        body: JSON = {"messages": messages}
        if blocks:
            body["system"] = blocks
        self._tools(body, messages)
        self._format(body)
        self._thinking(body, messages)
        if not counts_only:
            self._limits(body)
        self._limit_cache(body)
        for name in said.unwritten(_WRITTEN):
            self._lose(name)
        return body

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- messages

    def _messages(self, turns: list[Turn]) -> list[JSON]:
        messages: list[JSON] = []
        written = [(turn, blocks) for turn in turns if (blocks := self._blocks(turn))]
        for at, (turn, blocks) in enumerate(written):
            role = "user" if turn.role == "tool" else turn.role
            if role == "system":
                is_last = at + 1 == len(written) or written[at + 1][0].role == "assistant"
                after_user = bool(messages) and messages[-1]["role"] == "user"
                if not (self._can.system_turns and is_last and after_user):
                    role = "user"
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += blocks
            else:
                messages.append({"role": role, "content": blocks})
        if messages and messages[0]["role"] == "assistant":
            messages.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
        paired(messages, _calls_of, _results_of)
        if messages and messages[-1]["role"] == "assistant":
            if self._can.prefill:
                trim(messages[-1]["content"])
            else:
                messages.append({"role": "user", "content": [{"type": "text", "text": GO_ON}]})
        return messages

    def _blocks(self, turn: Turn) -> list[JSON]:
        blocks: list[JSON] = []
        if turn.name:
            self._lose("messages[].name")
        is_assistant = turn.role == "assistant"
        for part in turn.parts:
            block = self._block(part, is_assistant=is_assistant)
            if block is not None:
                blocks.append(block)
        if is_assistant and rounded(blocks, _is_thought):  # "the final block [...] cannot be `thinking`"
            self._lose("messages[].reasoning")
        return blocks

    def _block(self, part: Part, *, is_assistant: bool) -> JSON | None:
        if is_assistant and part.__class__ is MediaPart:
            self._lose(f"messages[].{part.kind}")
            return None
        return _WRITE[part.__class__](self, part)

    def _said(self, part: TextPart | RefusalPart) -> JSON | None:
        return _text(part)

    def _native(self, part: NativePart) -> JSON | None:
        if part.dialect == "anthropic":
            return part.body
        self._lose(f"messages[].{part.body.get('type', part.dialect)}")
        return None

    def _texts(self, turns: list[Turn]) -> list[JSON]:
        blocks: list[JSON] = []
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, TextPart):
                    if (block := _text(part)) is not None:
                        blocks.append(block)
                else:
                    kind = part.kind if isinstance(part, MediaPart) else type(part).__name__
                    self._lose(f"messages[].{kind}")
        return blocks

    def _thought(self, part: ReasoningPart) -> JSON | None:
        if part.issuer == "anthropic":
            if part.redacted is not None:
                return {"type": "redacted_thinking", "data": part.redacted}
            if part.signature:
                return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        elif part.text and not self._can.signs and not part.signature:
            return {"type": "thinking", "thinking": part.text, "signature": ""}
        self._lose("messages[].reasoning")
        return None

    def _call(self, part: ToolCallPart) -> JSON:
        block: JSON = {
            "type": "tool_use",
            "id": self._ids[part.id],
            "name": self._tool_names[part.name],
            "input": told_input(part),
        }
        return _cached(block, part.cache)

    def _result(self, part: ToolResultPart) -> JSON:
        content: list[JSON] = []
        for inner in part.content:
            block = _text(inner) if isinstance(inner, TextPart) else self._media(inner)
            if block is not None:
                content.append(block)
        block = {"type": "tool_result", "tool_use_id": self._ids[part.call_id]}
        if content:
            block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return _cached(block, part.cache)

    def _media(self, part: MediaPart) -> JSON | None:
        source = source_of(part)
        if source is None:
            self._lose(f"messages[].{part.kind}")
            return None
        is_image = part.kind == "image" or part.media_type in IMAGES
        block: JSON = {"type": "image" if is_image else "document", "source": source}
        if part.name and not is_image:
            block["title"] = part.name
        if part.detail and part.detail != "auto":
            self._lose("messages[].image.detail")
        return _cached(block, part.cache)

    # -- tools

    def _tools(self, body: JSON, messages: list[JSON]) -> None:
        said = self._asked
        choice = told_choice(said, self._lose, "anthropic")
        allowed = set(choice.allowed) if choice is not None else set()
        tools = [
            written
            for tool in said.tools
            if (not allowed or tool.name in allowed) and (written := self._tool(tool)) is not None
        ]
        if not tools:
            used = dict.fromkeys(
                block["name"] for m in messages for block in m["content"] if block["type"] == "tool_use"
            )
            if used:  # calls in the history need tools, and must not be made again
                body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in used]
                body["tool_choice"] = {"type": "none"}
            return
        body["tools"] = tools
        one_at_a_time = said.parallel_tool_calls is False
        mode = choice.mode if choice is not None else "auto"
        if mode in ("required", "named") and not self._can.forces:
            mode = "auto"
            self._lose("tool_choice")
        written_choice: JSON
        match mode:
            case "none":
                body["tool_choice"] = {"type": "none"}
                return
            case "required":
                written_choice = {"type": "any"}
            case "named" if choice is not None and choice.name is not None:
                written_choice = {"type": "tool", "name": self._tool_names[choice.name]}
            case _:
                written_choice = {"type": "auto"}
        if one_at_a_time:
            written_choice["disable_parallel_tool_use"] = True
        if choice is not None or one_at_a_time:
            body["tool_choice"] = written_choice

    def _tool(self, tool: Tool) -> JSON | None:
        if tool.kind == "native":
            if tool.dialect == "anthropic" and tool.native is not None:
                return tool.native
            self._lose(f"tools.{tool.name}")
            return None
        written: JSON = {"name": self._tool_names[tool.name]}
        if tool.description:
            written["description"] = tool.description
        if tool.kind == "custom":
            if tool.format is not None and tool.format.get("type") != "text":
                self._lose("tools[].format")
            written["input_schema"] = INPUT
            return _cached(written, tool.cache)
        schema = tool.parameters or {}
        if schema.get("type") != "object":
            schema = {**schema, "type": "object"}
        schema, is_wider = plain_root(schema)
        if is_wider:
            self._lose("tools[].parameters")
        if tool.strict and self._can.formats:
            written["strict"] = True
            schema = closed(schema, [])
        elif tool.strict:
            self._lose("tools[].strict")
        written["input_schema"] = schema
        return _cached(written, tool.cache)

    # -- thinking, limits and the rest

    def _format(self, body: JSON) -> None:
        wanted = self._asked.format
        if wanted is None:
            return
        forced = self._forced()
        if forced is not None:
            self.schema = wanted.schema
            description = wanted.description or "Gives the answer to the user."
            schema, _ = plain_root(wanted.schema or ANY_OBJECT)
            tool = {"name": forced, "description": description, "input_schema": schema}
            body["tools"] = [*body.get("tools", ()), tool]
            body["tool_choice"] = {"type": "tool", "name": forced}
        elif wanted.schema is not None and self._can.formats:
            lost: list[str] = []
            schema = closed(wanted.schema, lost)
            if wanted.description:
                schema.setdefault("description", wanted.description)
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            self.schema = wanted.schema if lost else None
        else:
            self.schema = wanted.schema or ANY_OBJECT

    def _words(self) -> str:
        """How the answer's form is asked for where it can only be asked for."""
        wanted = self._asked.format
        if wanted is None or self._forced() is not None:
            return ""
        return "" if wanted.schema is not None and self._can.formats else in_words(wanted.schema)

    def _thinking(self, body: JSON, messages: list[JSON]) -> None:
        thinking = self._asked.thinking
        if thinking is None:
            return
        effort, budget = thinking.effort, thinking.budget_tokens
        is_off = thinking.enabled is False or effort == "none"
        if not self._can.thinks:
            if not is_off:
                self._lose("thinking")
            return
        if is_off:
            if self._can.off is not None:
                body["thinking"] = {"type": self._can.off}
            else:  # it always thinks: as little as it can
                body.setdefault("output_config", {})["effort"] = "low"
                self._lose("thinking")
            return
        if effort is not None and self._can.efforts:
            body.setdefault("output_config", {})["effort"] = self._can.effort(effort)
        if not self._wants_thinking():
            return
        written: JSON
        if self._can.adaptive:
            written = {"type": "adaptive"}
            if budget is not None and effort is None and self._can.efforts:
                body.setdefault("output_config", {})["effort"] = self._can.effort(effort_of(budget))
        elif body.get("tool_choice", {}).get("type") in ("any", "tool") or has_lost_thoughts(messages):
            self._lose("thinking")
            return
        else:
            wanted = budget or BUDGETS.get(effort or "medium", BUDGETS["medium"])
            written = {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, wanted)}
        if thinking.visible is not None:
            written["display"] = "summarized" if thinking.visible else "omitted"
        body["thinking"] = written

    def _wants_thinking(self) -> bool:
        wish = self._asked.thinking
        if wish is None or not self._can.thinks or wish.enabled is False or wish.effort == "none":
            return False
        return bool(wish.enabled) or wish.effort is not None or wish.budget_tokens is not None

    def _limits(self, body: JSON) -> None:
        said = self._asked
        self._max_tokens(body)
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        for name in ("temperature", "top_p", "top_k"):
            value = getattr(said, name)
            if value is None:
                continue
            is_fine = self._can.sampling and not (
                (name == "temperature" and (value > 1 or (thinks and value != 1)))
                or (name == "top_k" and thinks)
                or (name == "top_p" and thinks and value < _LEAST_TOP_P)
                or (name == "top_p" and "temperature" in body and not self._can.both_samplings)
            )
            if is_fine:
                body[name] = value
            elif not (value == 1 and name != "top_k"):  # 1 is what happens anyway
                self._lose(name)
        stops = [stop for stop in said.stop if stop.strip(BLANK)]
        if stops:
            body["stop_sequences"] = stops
        if len(stops) < len(said.stop):
            self._lose("stop")
        if said.user:
            body["metadata"] = {"user_id": said.user}
        if said.service_tier is not None:
            if said.service_tier in _TIERS:
                body["service_tier"] = _TIERS[said.service_tier]
            else:
                self._lose("service_tier")

    def _max_tokens(self, body: JSON) -> None:
        """The client's limit is a law; without one there is room for the thinking and an answer."""
        thinking = body.get("thinking") or {}
        budget = thinking.get("budget_tokens", 0)
        limit = self._asked.max_tokens
        if limit is None:
            limit = self._max_output or USUAL_MAX_TOKENS
            if limit <= budget and self._max_output is None:
                limit = budget + USUAL_MAX_TOKENS
        if budget and budget >= limit:
            if limit <= LEAST_BUDGET:
                del body["thinking"]
                self._lose("thinking")
            else:
                thinking["budget_tokens"] = max(LEAST_BUDGET, limit // 2)
        body["max_tokens"] = limit

    def _limit_cache(self, body: JSON) -> None:
        """At most four breakpoints: the first, for what all conversations share, and the last three."""
        marked = [block for block in body.get("tools", ()) if "cache_control" in block]
        marked += [block for block in body.get("system", ()) if "cache_control" in block]
        for message in body["messages"]:
            for block in message["content"]:
                inner = block.get("content")
                if block["type"] == "tool_result" and inner:
                    marked += [part for part in inner if "cache_control" in part]
                if "cache_control" in block:
                    marked.append(block)
        if len(marked) > BREAKPOINTS:
            self._lose("cache_control")
            for block in marked[1 : 1 - BREAKPOINTS]:
                del block["cache_control"]


_LEAST_TOP_P = 0.95  # while it thinks


def _calls_of(content: list[JSON]) -> list[str]:
    return [block["id"] for block in content if block["type"] == "tool_use"]


def _results_of(content: list[JSON]) -> list[tuple[str, JSON]]:
    return [(block["tool_use_id"], block) for block in content if block["type"] == "tool_result"]


def _is_thought(block: JSON) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _text(part: TextPart | RefusalPart) -> JSON | None:
    if not part.text.strip(BLANK):
        return None
    block = {"type": "text", "text": part.text}
    return _cached(block, part.cache) if part.__class__ is TextPart else block


_WRITE: dict[type, Callable[[Lowering, Any], JSON | None]] = {
    TextPart: Lowering._said,  # noqa: SLF001 - a table of its own methods
    RefusalPart: Lowering._said,  # noqa: SLF001
    MediaPart: Lowering._media,  # noqa: SLF001
    ReasoningPart: Lowering._thought,  # noqa: SLF001
    ToolCallPart: Lowering._call,  # noqa: SLF001
    ToolResultPart: Lowering._result,  # noqa: SLF001
    NativePart: Lowering._native,  # noqa: SLF001
}


def _cached(block: JSON, cache: JSON | None) -> JSON:
    if cache is not None and cache.get("type") == "ephemeral":
        kept = {"type": "ephemeral"}
        if cache.get("ttl") in ("5m", "1h"):
            kept["ttl"] = cache["ttl"]
        block["cache_control"] = kept
    return block
