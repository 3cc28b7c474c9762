"""What Anthropic's API allows in a Messages request (anthropic 2.11, both API versions).

As in openai_schema the structs only check; the request travels on as the decoded dict. A block or tool of a
type that is not named here is let through: a target of Anthropic's own judges it, and `lift` refuses it for
any other.

Where this is wider than Anthropic, and why:

    thinking.signature missing         other vendors' reasoning, given back by clients that know no signatures
    image media types                  any image: other targets take more than Anthropic's four
    temperature, top_p, top_k          gone in version 2026-10-21, which this check cannot see
    role system in messages            Anthropic: newer models only
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from penstock.protocols.openai_schema import Shape

Fraction = Annotated[float, Meta(ge=0, le=1)]
NotEmpty = Annotated[str, Meta(min_length=1)]
AnyObject = dict[str, Any]
Base64 = str  # decoded by hand, for an error that says what is wrong


class Cache(Struct):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Base64Source(Struct, tag_field="type", tag="base64"):
    data: Base64
    media_type: NotEmpty


class URLSource(Struct, tag_field="type", tag="url"):
    url: NotEmpty


class FileSource(Struct, tag_field="type", tag="file"):
    file_id: NotEmpty


class TextSource(Struct, tag_field="type", tag="text"):
    data: str
    media_type: Literal["text/plain"]


class Text(Struct, tag_field="type", tag="text"):
    text: str
    cache_control: Cache | None = None
    citations: list[AnyObject] | None = None


class OnlyText(Struct):
    """A Text where nothing else may stand: of a lone tagged struct msgspec does not ask for the tag."""

    type: Literal["text"]
    text: str
    cache_control: Cache | None = None
    citations: list[AnyObject] | None = None


class Image(Struct, tag_field="type", tag="image"):
    source: Base64Source | URLSource | FileSource
    cache_control: Cache | None = None


class ContentSource(Struct, tag_field="type", tag="content"):
    content: str | list[Text | Image]


class Document(Struct, tag_field="type", tag="document"):
    source: Base64Source | TextSource | ContentSource | URLSource | FileSource
    title: str | None = None
    context: str | None = None
    citations: AnyObject | None = None
    cache_control: Cache | None = None


class SearchResult(Struct, tag_field="type", tag="search_result"):
    source: str
    title: str
    content: list[OnlyText]
    cache_control: Cache | None = None


class Thinking(Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThinking(Struct, tag_field="type", tag="redacted_thinking"):
    data: str


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    id: NotEmpty
    name: NotEmpty
    input: AnyObject
    cache_control: Cache | None = None


class ToolReference(Struct, tag_field="type", tag="tool_reference"):
    tool_name: str


class BrowserState(Struct, tag_field="type", tag="browser_state"):
    pass


class ToolResult(Struct, tag_field="type", tag="tool_result"):
    tool_use_id: NotEmpty
    content: str | list[Text | Image | SearchResult | Document | ToolReference | BrowserState] | None = None
    is_error: bool | None = None
    cache_control: Cache | None = None


class ServerToolUse(Struct, tag_field="type", tag="server_tool_use"):
    id: str
    name: str
    input: AnyObject


class MCPToolUse(Struct, tag_field="type", tag="mcp_tool_use"):
    id: str
    name: str
    input: AnyObject


Block = (
    Text
    | Image
    | Document
    | SearchResult
    | Thinking
    | RedactedThinking
    | ToolUse
    | ToolResult
    | ServerToolUse
    | MCPToolUse
)
BLOCK_TYPES = frozenset(
    {
        *("text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use"),
        *("tool_result", "server_tool_use", "mcp_tool_use"),
    }
)
RESULT_TYPES = frozenset({"text", "image", "search_result", "document", "tool_reference", "browser_state"})
# Blocks of server-side tools and betas: nothing in them is ours to check, and no other dialect has them.
NATIVE_TYPES = frozenset(
    {
        *("search_result", "server_tool_use", "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing"),
        *("web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result"),
        *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result"),
        *("tool_search_tool_result", "advisor_tool_result", "container_upload", "compaction", "fallback"),
        *("tool_addition", "tool_removal"),
    }
)


class Message(Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Struct):
    """A function, or by its `type` one of Anthropic's own tools."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: AnyObject | None = None
    strict: bool | None = None
    cache_control: Cache | None = None


class Auto(Struct, tag_field="type", tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyTool(Struct, tag_field="type", tag="any"):
    disable_parallel_tool_use: bool | None = None


class OneTool(Struct, tag_field="type", tag="tool"):
    name: NotEmpty
    disable_parallel_tool_use: bool | None = None


class NoTool(Struct, tag_field="type", tag="none"):
    pass


class ThinkingEnabled(Struct, tag_field="type", tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1024)]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingAdaptive(Struct, tag_field="type", tag="adaptive"):
    display: Literal["summarized", "omitted"] | None = None


class ThinkingDisabled(Struct, tag_field="type", tag="disabled"):
    pass


class ThinkingBetweenTools(Struct, tag_field="type", tag="between_tools"):
    pass


class JSONFormat(Struct, tag_field="type", tag="json_schema"):
    schema: AnyObject


class OutputConfig(Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JSONFormat | None = None


class Metadata(Struct):
    user_id: str | None = None


class Body(Struct, kw_only=True):
    model: NotEmpty
    messages: Annotated[list[Message], Meta(min_length=1, max_length=100_000)]
    system: str | list[OnlyText] | None = None
    tools: list[Tool] | None = None
    tool_choice: Auto | AnyTool | OneTool | NoTool | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | ThinkingBetweenTools | None = None
    output_config: OutputConfig | None = None
    cache_control: Cache | None = None


class CountBody(Body, kw_only=True):
    pass


class MessagesBody(Body, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=0)]
    metadata: Metadata | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: str | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None


# Where a null is an absent field. Tool inputs, schemas and what server tools returned are not here: a null
# there means null.
_SOURCE: Shape = {"content": {"source": {}, "cache_control": {}}}
BLOCK_SHAPE: Shape = {"source": _SOURCE, "cache_control": {}}
SHAPE: Shape = {
    "system": BLOCK_SHAPE,
    "tools": {"cache_control": {}},
    "tool_choice": {},
    "thinking": {},
    "output_config": {"format": {}},
    "cache_control": {},
    "metadata": {},
}
# Blocks in which a null means nothing.
NULLABLE = frozenset({"text", "image", "document", "search_result", "tool_use", "thinking", "tool_result"})
