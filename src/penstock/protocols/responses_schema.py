"""What OpenAI's published schema allows in a request to /v1/responses (openai/openai-openapi, 2.3.0).

As in openai_schema, these structs only check: the request travels on as the decoded dict. Items and tools of
types that are not named here are not looked at; they are known to a target of this dialect, or reported as
lost.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from penstock.protocols.openai_schema import Fraction, Metadata, Model, Name, Reasoning, Shape, Temperature


class Text(Struct, tag_field="type", tag="input_text"):
    text: str


class Image(Struct, tag_field="type", tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None


class File(Struct, tag_field="type", tag="input_file"):
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class Audio(Struct, tag_field="type", tag="input_audio"):
    input_audio: dict[str, Any]


class OutputText(Struct, tag_field="type", tag="output_text"):
    text: str


class Refusal(Struct, tag_field="type", tag="refusal"):
    refusal: str


Part = Text | Image | File | Audio | OutputText | Refusal


class Message(Struct, tag_field="type", tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]


class FunctionCall(Struct, tag_field="type", tag="function_call"):
    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(Struct, tag_field="type", tag="function_call_output"):
    call_id: str
    output: str | list[Text | Image | File]


class CustomCall(Struct, tag_field="type", tag="custom_tool_call"):
    call_id: str
    name: str
    input: str


class CustomCallOutput(Struct, tag_field="type", tag="custom_tool_call_output"):
    call_id: str
    output: str | list[Text | Image | File]


class SummaryPart(Struct, tag_field="type", tag="summary_text"):
    text: str


class ReasoningText(Struct, tag_field="type", tag="reasoning_text"):
    text: str


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    summary: list[SummaryPart]
    id: str | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class ItemReference(Struct, tag_field="type", tag="item_reference"):
    id: str


Item = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | CustomCall
    | CustomCallOutput
    | ReasoningItem
    | ItemReference
)
ITEM_TYPES = frozenset(
    {
        *("message", "function_call", "function_call_output", "custom_tool_call"),
        *("custom_tool_call_output", "reasoning", "item_reference"),
    }
)


class FunctionTool(Struct, tag_field="type", tag="function"):
    name: Name
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class CustomTool(Struct, tag_field="type", tag="custom"):
    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


Tool = FunctionTool | CustomTool
TOOL_TYPES = frozenset({"function", "custom"})


class TextFormat(Struct, tag_field="type", tag="text"):
    pass


class ObjectFormat(Struct, tag_field="type", tag="json_object"):
    pass


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    name: Name
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class TextConfig(Struct):
    format: TextFormat | ObjectFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesReasoning(Reasoning):
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Struct):
    include_obfuscation: bool | None = None


class CountBody(Struct):
    model: Model
    input: str | list[Item] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ResponsesReasoning | None = None
    text: TextConfig | None = None
    truncation: Literal["auto", "disabled"] | None = None
    conversation: str | dict[str, Any] | None = None


class CreateBody(CountBody, kw_only=True):
    background: bool | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Fraction | None = None
    user: str | None = None


# Where a null is an absent field; see openai_schema.drop_nulls.
_PART: Shape = {"input_audio": {}}
SHAPE: Shape = {
    "input": {"content": _PART, "output": _PART, "summary": {}},
    "tools": {"format": {}, "user_location": {}, "ranking_options": {}},
    "text": {"format": {}},
    "reasoning": {},
    "stream_options": {},
    "prompt_cache_options": {},
    "tool_choice": {"tools": {}},
}
