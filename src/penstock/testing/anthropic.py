"""A double of Anthropic's Messages API around the scripted model of `brain.py`.

    async with AnthropicDouble() as up:
        anthropic.AsyncAnthropic(base_url=up.url, api_key="any").messages.create(...)

Written from the vendor's documentation and the types of its SDK 2.11, as strict as the vendor: what it
refuses is a 400 in its own words. What is checked beyond types:

    empty or blank text, unknown fields, max_tokens missing, sampling parameters under version 2026-10-21
    each tool_use answered by a tool_result at the start of the next message, and by nothing else
    thinking on: budgets, no forced tool, the turn that called tools starts with its thinking, whose
    signature must be the one it came with; a thought that was changed is refused
    at most four cache breakpoints; schemas of output_config close their objects

Consecutive messages of one role are one turn, as documented; `strict_turns=True` refuses them, for tests of
codecs that are to join them. POST /v1/messages, /v1/messages/count_tokens, GET /v1/models.
"""

import base64
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from penstock.testing.brain import Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.claude_rules import check_bound, check_thinks, check_tool
from penstock.testing.double import Answer, Framing, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused, Vendor, only, pieces

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "calls": "tool_use",
    "refusal": "refusal",
}
_FIELDS: Final = frozenset(
    [
        *("cache_control", "container", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata"),
        *("model", "output_config", "service_tier", "speed", "stop_sequences", "stream", "system"),
        *(
            "temperature",
            "thinking",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
            "user_profile_id",
            "workspace_id",
        ),
    ]
)
_COUNT_FIELDS: Final = _FIELDS - {"max_tokens", "stream", "stop_sequences", "metadata", "service_tier"}
_SAMPLING: Final = ("temperature", "top_p", "top_k")
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_IMAGES: Final = frozenset(["image/jpeg", "image/png", "image/gif", "image/webp"])
_SERVER_TOOLS: Final = re.compile(
    r"(?:bash|browser|code_execution|computer|memory|text_editor|tool_search|web)_\w+"
)
_VERSIONS: Final = frozenset(["2023-01-01", "2023-06-01", "2026-10-21"])

_BLOCK_FIELDS: Final[dict[str, frozenset[str]]] = {
    "text": frozenset(["type", "text", "cache_control", "citations"]),
    "image": frozenset(["type", "source", "cache_control"]),
    "document": frozenset(["type", "source", "cache_control", "citations", "context", "title"]),
    "search_result": frozenset(["type", "source", "title", "content", "cache_control", "citations"]),
    "tool_use": frozenset(["type", "id", "name", "input", "cache_control", "caller", "toolset_name"]),
    "tool_result": frozenset(["type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"]),
    "thinking": frozenset(["type", "thinking", "signature"]),
    "redacted_thinking": frozenset(["type", "data"]),
}
_ROLE_BLOCKS: Final = {
    "user": frozenset(["text", "image", "document", "search_result", "tool_result"]),
    "assistant": frozenset(["text", "tool_use", "thinking", "redacted_thinking"]),
    "system": frozenset(["text"]),
}


class _Events(Framing):
    """`event:` and `data:` lines; the stream just ends."""

    end = None

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), data)


_EVENTS: Final = _Events()


class AnthropicDouble(Vendor):
    """`strict_turns` refuses two messages of one role in a row. `omit_thinking` shows signatures only."""

    base = ""
    wrong_key = "invalid x-api-key"

    def __init__(self, *, strict_turns: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.strict_turns = strict_turns
        self._cached: set[str] = set()

    def key_of(self, request: Recorded) -> str | None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return request.headers.get("x-api-key") or bearer or None

    def error(self, status: int, message: str) -> Answer:
        kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        number = self.new_id("req_")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": number}
        return Answer(body, status=status, headers={"request-id": number})

    def respond(self, request: Recorded) -> Answer:
        if "anthropic-version" not in request.headers:
            raise Refused("anthropic-version: header is required")
        version = request.headers["anthropic-version"]
        if version not in _VERSIONS:
            raise Refused(f'anthropic-version: "{version}" is not a valid version')
        match request.method, request.path:
            case "GET", "/v1/models":
                return self._models()
            case "POST", "/v1/messages":
                return self._messages(request, version)
            case "POST", "/v1/messages/count_tokens":
                body = _body(request)
                only(body, _COUNT_FIELDS, "")
                return Answer({"input_tokens": self._read({"max_tokens": 1, **body}, version).tokens})
            case _:
                raise Refused(f"Not found: {request.method} {request.path}", 404)

    def _models(self) -> Answer:
        models = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2026-01-31T00:00:00Z",
                "lifecycle": "active",
            }
            for name in self.models
        ]
        ends = {"first_id": self.models[0], "last_id": self.models[-1]}
        return Answer({"data": models, "has_more": False, **ends})

    def _messages(self, request: Recorded, version: str) -> Answer:
        body, told = _body(request), request.directives
        only(body, _FIELDS, "")
        ask = self._read(body, version)
        reply = self.think(ask, told)
        thinking = body.get("thinking") or {}
        is_shown = not (isinstance(thinking, dict) and thinking.get("display") == "omitted")
        number = self.new_id("msg_")
        message = {
            "id": number,
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": list(self._blocks(reply, is_shown=is_shown)),
            "stop_reason": told.text("finish") or _STOP_REASONS[reply.finish],
            "stop_sequence": reply.stop,
            "usage": self._usage(body, ask, reply, told.count("prompt-tokens"), told.count("cached-tokens")),
        }
        if reply.finish == "refusal":
            message["stop_details"] = {"type": "refusal", "category": None, "explanation": reply.refusal}
        headers = {"request-id": self.new_id("req_")}
        if body.get("stream") is True:
            return Answer({}, list(_stream(message, reply)), framing=_EVENTS, headers=headers)
        return Answer(message, headers=headers)

    def _blocks(self, reply: Reply, *, is_shown: bool) -> Iterator[Json]:
        if reply.thought:
            signature = self.seals.seal("thinking", reply.thought)
            yield {"type": "thinking", "thinking": reply.thought if is_shown else "", "signature": signature}
        if reply.text:
            yield {"type": "text", "text": reply.text}
        for call in reply.calls:
            yield {
                "type": "tool_use",
                "id": self.new_id("toolu_"),
                "name": call.name,
                "input": call.arguments,
            }

    def _usage(self, body: Json, ask: Ask, reply: Reply, told: int | None, told_cached: int | None) -> Json:
        """Cached and written tokens stand beside `input_tokens`, not in them."""
        prompt = ask.tokens if told is None else told
        read = written = 0
        if told_cached is not None:
            read = told_cached
        elif _breakpoints(body):
            prefix = _cached_prefix(body)
            count = min(prompt - 1, len(words(prefix)))
            read, written = (count, 0) if prefix in self._cached else (0, count)
            self._cached.add(prefix)
        usage: Json = {
            "input_tokens": prompt - read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": reply.tokens,
            "service_tier": "standard",
        }
        if reply.thought:
            usage["output_tokens_details"] = {"thinking_tokens": reply.thought_tokens}
        return usage

    # -- reading -------------------------------------------------------------------------------------

    def _read(self, body: Json, version: str) -> Ask:
        if not isinstance(body.get("model"), str):
            raise Refused("model: Field required")
        limit = body.get("max_tokens")
        if limit is None:
            raise Refused("max_tokens: Field required")
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise Refused("max_tokens: Input should be a valid integer")
        if limit < 1:
            raise Refused("max_tokens: Input should be greater than or equal to 1")
        if version >= "2026-10-21" and (found := [name for name in _SAMPLING if name in body]):
            raise Refused(f"{found[0]}: Extra inputs are not permitted")
        if len(_breakpoints(body)) > 4:
            raise Refused(
                f"A maximum of 4 blocks with cache_control may be provided. Found {len(_breakpoints(body))}."
            )
        tools = _tools(body)
        choice, names, parallel = _choice(body, tools)
        thinking = _thinking(body, choice, limit)
        turns, more_system = self._turns(body, version, thinking=thinking)
        stop = body.get("stop_sequences") or []
        if not isinstance(stop, list) or any(not isinstance(one, str) or not one.strip() for one in stop):
            raise Refused("stop_sequences: each stop sequence must contain non-whitespace")
        return Ask(
            turns=tuple(turns),
            system="\n".join([*_system(body), *more_system]),
            tools=tuple(tools),
            choice=choice,
            only=names,
            parallel=parallel,
            schema=_format(body),
            thinking=thinking,
            max_tokens=limit,
            stop=tuple(stop),
        )

    def _turns(self, body: Json, version: str, *, thinking: bool) -> tuple[list[Turn], list[str]]:
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise Refused(
                "messages: Field required" if messages is None else "messages: Input should be a valid list"
            )
        if not messages:
            raise Refused("messages: at least one message is required")
        read = [
            _message(number, message, is_last=number == len(messages) - 1)
            for number, message in enumerate(messages)
        ]
        if version >= "2026-10-21":
            for number, (role, blocks) in enumerate(read):
                if role == "assistant" and any(block["type"] == "document" for block in blocks):
                    raise Refused(
                        f"messages.{number}: `document` blocks are not permitted in assistant messages"
                    )
        if read[0][0] == "assistant":
            raise Refused('messages: first message must use the "user" role')
        plain = [(number, *row) for number, row in enumerate(read) if row[0] != "system"]
        _pair_tools(plain)
        if self.strict_turns:
            for (_, before, _), (number, role, _) in itertools.pairwise(plain):
                if before == role:
                    raise Refused(
                        f'messages.{number}: roles must alternate between "user" and "assistant", but found '
                        f'multiple "{role}" roles in a row'
                    )
        if thinking:
            self._check_thoughts(plain, by_budget=body["thinking"]["type"] == "enabled")
        system = [block["text"] for role, blocks in read if role == "system" for block in blocks]
        return [_turn(role, blocks) for _, role, blocks in plain], system

    def _check_thoughts(self, plain: list[tuple[int, str, list[Json]]], *, by_budget: bool) -> None:
        """Thoughts must be as they were made; the turn in progress must begin with one if it called tools and
        thinks by a budget: who thinks as it likes need not have.
        """
        for number, _, blocks in plain:
            for at, block in enumerate(blocks):
                if block["type"] != "thinking":
                    continue
                known = self.seals.is_good("thinking", block["thinking"], block["signature"])
                # An omitted thought comes back empty: its seal is for words nobody saw.
                if not known and not (block["thinking"] == "" and _looks_sealed(block["signature"])):
                    raise Refused(f"messages.{number}.content.{at}: Invalid `signature` in `thinking` block")
        is_step = plain and plain[-1][1] == "user" and any(b["type"] == "tool_result" for b in plain[-1][2])
        if not (is_step and by_budget):
            return
        calling = [row for row in plain if row[1] == "assistant"][-1]
        first = calling[2][0]["type"]
        if first not in {"thinking", "redacted_thinking"}:
            raise Refused(
                f"messages.{calling[0]}.content.0.type: Expected `thinking` or `redacted_thinking`, but "
                f"found `{first}`. When `thinking` is enabled, a final `assistant` message must start with a "
                "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). To "
                "avoid this requirement, disable `thinking`."
            )


def _body(request: Recorded) -> Json:
    if not isinstance(request.body, dict):
        raise Refused("The request body is not valid JSON")
    return request.body


def _breakpoints(value: Any) -> list[Json]:
    """Every block that carries cache_control."""
    if isinstance(value, list):
        return [found for item in value for found in _breakpoints(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if value.get("cache_control") is not None else []
    inner = [
        found for key in ("system", "messages", "tools", "content") for found in _breakpoints(value.get(key))
    ]
    return own + inner


def _cached_prefix(body: Json) -> str:
    """What stands before the last breakpoint, as text: tools, then system, then messages."""
    flat = json.dumps([body.get("tools"), body.get("system"), body.get("messages")], ensure_ascii=False)
    if body.get("cache_control") is not None:
        return flat
    return flat[: flat.rfind('"cache_control"')]


def _looks_sealed(signature: str) -> bool:
    try:
        return base64.b64decode(signature, validate=True)[:1] == b"\x01"
    except ValueError:
        return False


def _system(body: Json) -> list[str]:
    system = body.get("system")
    if system is None:
        return []
    if isinstance(system, str):
        return [system]
    if not isinstance(system, list):
        raise Refused("system: Input should be a valid list")
    for at, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise Refused(f"system.{at}.type: Input should be 'text'")
        only(block, _BLOCK_FIELDS["text"], f"system.{at}")
        _check_text(block, f"system.{at}", "system")
    return [block["text"] for block in system]


def _tools(body: Json) -> list[Tool]:
    given = body.get("tools")
    if given is None:
        return []
    if not isinstance(given, list):
        raise Refused("tools: Input should be a valid list")
    made = []
    for at, tool in enumerate(given):
        if not isinstance(tool, dict):
            raise Refused(f"tools.{at}: Input should be a valid dictionary")
        if _SERVER_TOOLS.fullmatch(str(tool.get("type", ""))):
            continue
        path = f"tools.{at}.custom"
        known = ("name", "description", "input_schema", "type", "cache_control", "strict", "defer_loading")
        only(tool, frozenset([*known, "eager_input_streaming", "input_examples", "allowed_callers"]), path)
        if not isinstance(tool.get("name"), str):
            raise Refused(f"{path}.name: Field required")
        if not _TOOL_NAME.fullmatch(tool["name"]):
            raise Refused(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise Refused(f"{path}.input_schema: Field required")
        if schema.get("type") != "object":
            wrong = "Field required" if "type" not in schema else "Input should be 'object'"
            raise Refused(f"{path}.input_schema.type: {wrong}")
        check_tool(schema, f"{path}.input_schema", strict=tool.get("strict") is True)
        if not isinstance(tool.get("description", ""), str):
            raise Refused(f"{path}.description: Input should be a valid string")
        made.append(Tool(tool["name"], tool.get("description", ""), schema))
    if len({tool.name for tool in made}) != len(made):
        raise Refused("tools: Tool names must be unique.")
    return made


def _choice(body: Json, tools: list[Tool]) -> tuple[Any, tuple[str, ...], bool]:
    """choice, only, parallel"""
    choice = body.get("tool_choice")
    if choice is None:
        return "auto", (), True
    if not isinstance(choice, dict) or choice.get("type") not in {"auto", "any", "tool", "none"}:
        raise Refused(
            "tool_choice: Input tag found using 'type' does not match any of the expected tags: "
            "'any', 'auto', 'none', 'tool'"
        )
    if not body.get("tools"):
        raise Refused("tool_choice: may only be specified while providing `tools`.")
    kind = choice["type"]
    more = {"tool": {"name", "disable_parallel_tool_use"}, "none": set()}.get(
        kind, {"disable_parallel_tool_use"}
    )
    only(choice, frozenset({"type"} | more), f"tool_choice.{kind}")
    parallel = not choice.get("disable_parallel_tool_use")
    if kind == "tool":
        if choice.get("name") not in {tool.name for tool in tools}:
            raise Refused(f"tool_choice.tool.name: Tool '{choice.get('name')}' not found in provided tools")
        return "any", (choice["name"],), parallel
    return kind, (), parallel


def _thinking(body: Json, choice: str, limit: int) -> bool:
    config = body.get("thinking")
    if config is None:
        return False
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in {"enabled", "adaptive", "disabled", "between_tools"}:
        raise Refused(
            "thinking: Input tag found using 'type' does not match any of the expected tags: "
            "'adaptive', 'between_tools', 'disabled', 'enabled'"
        )
    more = {"enabled": {"budget_tokens", "display"}, "adaptive": {"display"}}.get(kind, set())
    only(config, frozenset({"type"} | more), f"thinking.{kind}")
    if kind == "disabled":
        return False
    check_thinks(str(body.get("model")))
    if kind == "enabled":
        budget = config.get("budget_tokens")
        if not isinstance(budget, int):
            raise Refused("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise Refused("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if limit <= budget:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if kind == "enabled" and choice == "any":  # adaptive thinking supports it
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    if body.get("temperature", 1) not in {1, None}:
        raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_k") is not None:
        raise Refused("`top_k` must be unset when thinking is enabled.")
    return True


def _format(body: Json) -> Json | None:
    config = body.get("output_config")
    if config is None:
        return None
    only(config, frozenset(["effort", "format", "task_budget"]), "output_config")
    if config.get("effort") not in {None, "low", "medium", "high", "xhigh", "max"}:
        raise Refused("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    given = config.get("format")
    if given is None:
        return None
    if (
        not isinstance(given, dict)
        or given.get("type") != "json_schema"
        or not isinstance(given.get("schema"), dict)
    ):
        raise Refused("output_config.format.schema: Field required")
    only(given, frozenset(["type", "schema"]), "output_config.format")
    check_bound(given["schema"], "output_config.format.schema")
    schema: Json = given["schema"]
    return schema


_EMPTY: Final = "all messages must have non-empty content except for the optional final assistant message"


def _message(number: int, message: Any, *, is_last: bool) -> tuple[str, list[Json]]:
    """The role and the blocks of one message."""
    path = f"messages.{number}"
    if not isinstance(message, dict):
        raise Refused(f"{path}: Input should be a valid dictionary")
    only(message, frozenset(["role", "content"]), path)
    role, content = message.get("role"), message.get("content")
    if role not in _ROLE_BLOCKS:
        raise Refused(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
    if content is None:
        raise Refused(f"{path}.content: Field required")
    is_final_answer = is_last and role == "assistant"
    if isinstance(content, str):
        if not content.strip() and not is_final_answer:
            raise Refused(f"{path}: {_EMPTY}")
        content = [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise Refused(f"{path}.content: Input should be a valid list")
    if not content and not is_final_answer:
        raise Refused(f"{path}: {_EMPTY}")
    for at, block in enumerate(content):
        _check_block(block, role, f"{path}.content.{at}")
    if (
        is_final_answer
        and content
        and content[-1]["type"] == "text"
        and content[-1]["text"] != content[-1]["text"].rstrip()
    ):
        raise Refused("messages: final assistant content cannot end with trailing whitespace")
    return role, content


def _check_block(block: Any, role: str, path: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in _ROLE_BLOCKS[role]:
        expected = ", ".join(f"'{one}'" for one in sorted(_ROLE_BLOCKS[role]))
        raise Refused(
            f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            f"{expected}"
        )
    only(block, _BLOCK_FIELDS[kind], f"{path}.{kind}")
    if block.get("cache_control") is not None and (
        not isinstance(block["cache_control"], dict) or block["cache_control"].get("type") != "ephemeral"
    ):
        raise Refused(f"{path}.{kind}.cache_control.type: Input should be 'ephemeral'")
    match kind:
        case "text":
            _check_text(block, path, "messages")
        case "image" | "document":
            _check_source(block.get("source"), kind, f"{path}.{kind}.source")
        case "tool_use":
            for name in ("id", "name"):
                if not isinstance(block.get(name), str):
                    raise Refused(f"{path}.tool_use.{name}: Field required")
            if not _ID.fullmatch(block["id"]):
                raise Refused(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            if not isinstance(block.get("input"), dict):
                raise Refused(f"{path}.tool_use.input: Input should be a valid dictionary")
        case "tool_result":
            if not isinstance(block.get("tool_use_id"), str):
                raise Refused(f"{path}.tool_result.tool_use_id: Field required")
            if not isinstance(block.get("is_error", False), bool):
                raise Refused(f"{path}.tool_result.is_error: Input should be a valid boolean")
            _check_result_content(block.get("content"), f"{path}.tool_result.content")
        case "thinking":
            for name in ("signature", "thinking"):
                if not isinstance(block.get(name), str):
                    raise Refused(f"{path}.thinking.{name}: Field required")
        case "redacted_thinking":
            if not isinstance(block.get("data"), str):
                raise Refused(f"{path}.redacted_thinking.data: Field required")


def _check_text(block: Json, path: str, whole: str) -> None:
    if not isinstance(block.get("text"), str):
        raise Refused(f"{path}.text.text: Field required")
    if not block["text"]:
        raise Refused(f"{whole}: text content blocks must be non-empty")
    if not block["text"].strip():
        raise Refused(f"{whole}: text content blocks must contain non-whitespace text")


def _check_result_content(content: Any, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refused(f"{path}: Input should be a valid list")
    for at, block in enumerate(content):
        if not isinstance(block, dict) or block.get("type") not in {
            *("text", "image", "search_result", "document", "tool_reference", "browser_state")
        }:
            raise Refused(f"{path}.{at}: Input tag does not match any of the expected tags")
        if block["type"] in {"image", "document"}:
            _check_source(block.get("source"), block["type"], f"{path}.{at}.{block['type']}.source")
        elif block["type"] == "text":
            _check_text(block, f"{path}.{at}", "messages")


def _check_source(source: Any, kind: str, path: str) -> None:
    given = source.get("type") if isinstance(source, dict) else None
    match given:
        case "base64":
            only(source, frozenset(["type", "media_type", "data"]), f"{path}.base64")
            wanted = _IMAGES if kind == "image" else frozenset(["application/pdf"])
            if source.get("media_type") not in wanted:
                named = ", ".join(f"'{one}'" for one in sorted(wanted))
                raise Refused(f"{path}.base64.media_type: Input should be {named}")
            try:
                is_empty = not base64.b64decode(source.get("data", ""), validate=True)
            except (ValueError, TypeError):
                raise Refused(f"{path}.base64.data: invalid base64 data") from None
            if is_empty:
                raise Refused(f"{path}.base64: {kind} cannot be empty")
        case "url":
            if not str(source.get("url", "")).startswith("https://"):
                raise Refused(f"{path}.url.url: Only HTTPS URLs are supported.")
        case "file":
            if not isinstance(source.get("file_id"), str):
                raise Refused(f"{path}.file.file_id: Field required")
        case "text" | "content" if kind == "document":
            if not isinstance(source.get("data", source.get("content")), str | list):
                raise Refused(f"{path}.{given}: Field required")
        case _:
            raise Refused(
                f"{path}: Input tag '{given}' found using 'type' does not match any of the expected tags"
            )


def _pair_tools(plain: list[tuple[int, str, list[Json]]]) -> None:
    """Each call is answered at the start of the very next message, each answer has its call there."""
    every = [b["id"] for _, role, blocks in plain for b in blocks if b["type"] == "tool_use"]
    if len(set(every)) != len(every):
        raise Refused("messages: `tool_use` ids must be unique")
    for at, (number, role, blocks) in enumerate(plain):
        if role == "assistant" and blocks and blocks[-1]["type"] in {"thinking", "redacted_thinking"}:
            raise Refused(f"messages.{number}: The final block in an assistant message cannot be `thinking`.")
        calls = (
            [block["id"] for block in blocks if block["type"] == "tool_use"] if role == "assistant" else []
        )
        if calls:
            following = plain[at + 1][2] if at + 1 < len(plain) and plain[at + 1][1] == "user" else []
            leading = []
            for block in following:
                if block["type"] != "tool_result":
                    break
                leading.append(block["tool_use_id"])
            if missing := [one for one in calls if one not in leading]:
                raise Refused(
                    f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately "
                    f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
                    "`tool_result` block in the next message."
                )
        if role == "user":
            before = plain[at - 1][2] if at and plain[at - 1][1] == "assistant" else []
            known = {block["id"] for block in before if block["type"] == "tool_use"}
            seen: set[str] = set()
            for where, block in enumerate(blocks):
                if block["type"] != "tool_result":
                    continue
                if block["tool_use_id"] not in known:
                    raise Refused(
                        f"messages.{number}.content.{where}: unexpected `tool_use_id` found in `tool_result` "
                        f"blocks: {block['tool_use_id']}. Each `tool_result` block must have a corresponding "
                        "`tool_use` block in the previous message."
                    )
                if block["tool_use_id"] in seen:
                    raise Refused(
                        f"messages.{number}.content.{where}: each tool_use must have a single result. Found "
                        f"multiple `tool_result` blocks with id: {block['tool_use_id']}"
                    )
                seen.add(block["tool_use_id"])


def _turn(role: str, blocks: list[Json]) -> Turn:
    return Turn(
        role="assistant" if role == "assistant" else "user",
        text="\n".join(block["text"] for block in blocks if block["type"] == "text"),
        calls=tuple(Call(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"),
        results=tuple(_result(block) for block in blocks if block["type"] == "tool_result"),
        media=tuple(_media(block) for block in blocks if block["type"] in {"image", "document"}),
    )


def _result(block: Json) -> Result:
    content = block.get("content") or ""
    inner = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return Result(
        id=block["tool_use_id"],
        text="\n".join(part["text"] for part in inner if part["type"] == "text"),
        is_error=bool(block.get("is_error")),
        media=tuple(_media(part) for part in inner if part["type"] in {"image", "document"}),
    )


def _media(block: Json) -> str:
    source = block["source"]
    return str(source.get("media_type") or f"{block['type']} by {source['type']}")


# -- streaming -------------------------------------------------------------------------------------------


def _stream(message: Json, reply: Reply) -> Iterator[Json]:
    """Blocks strictly one after another; usage is cumulative and given twice."""
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    opening.pop("stop_details", None)
    yield {"type": "message_start", "message": {**opening, "usage": {**usage, "output_tokens": 1}}}
    texts = iter(reply.calls)
    for index, block in enumerate(message["content"]):
        empty, deltas = _opened(block, texts)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {
        key: message.get(key) for key in ("stop_reason", "stop_sequence", "stop_details") if key in message
    }
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    ending = {key: usage[key] for key in (*counts, "output_tokens_details") if key in usage}
    yield {"type": "message_delta", "delta": delta, "usage": ending}
    yield {"type": "message_stop"}


def _opened(block: Json, calls: Iterator[Any]) -> tuple[Json, list[Json]]:
    """A block as it starts, and the deltas that complete it."""
    match block["type"]:
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": word} for word in words(block["thinking"])]
            return empty, [*deltas, {"type": "signature_delta", "signature": block["signature"]}]
        case "text":
            return {**block, "text": ""}, [
                {"type": "text_delta", "text": word} for word in words(block["text"])
            ]
        case _:
            text = next(calls).text
            # A tool without arguments gets no JSON at all, as the vendor's does; others an empty delta first.
            parts = ["", *pieces(text)] if text != "{}" else [""]
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in parts
            ]


def main(arguments: list[str] | None = None) -> None:
    by_hand(AnthropicDouble, parser("anthropic", "A double of Anthropic's Messages API."), arguments)


if __name__ == "__main__":
    main()
