"""What OpenAI's published schema allows in a chat or text completion request (openai/openai-openapi, 2.3.0).

These structs only check: the request itself travels on as the decoded dict (types/requests.py), so a field
that is not named here is not lost. Nulls are gone before the check (`drop_nulls`).

Where this is wider than OpenAI, and why:

    content parts video_url, audio_url     vLLM and SGLang take them
    parts thinking, redacted_thinking      reasoning sent back in history by clients of several vendors
    image_url in a tool message            agents return screenshots; OpenAI itself refuses them
    logit_bias values                      numbers, not only integers
    service_tier on_demand, performance    Groq
    reasoning_effort default               Groq
    response_format structural_tag         vLLM and SGLang
    tool_choice none or auto without tools frameworks send it always
    tool_calls [] of an assistant          frameworks send it always; taken as absent
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_-]{1,64}\Z")]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]
Stop = str | Annotated[list[str], Meta(min_length=1, max_length=4)]
Model = Annotated[str, Meta(min_length=1)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class Cacheable(Struct):
    """Anthropic's mark of a prefix to keep; clients of several vendors send it on parts, calls and tools."""

    cache_control: dict[str, Any] | None = None


class TextPart(Cacheable, tag_field="type", tag="text", kw_only=True):
    text: str


class ImageURL(Struct):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Cacheable, tag_field="type", tag="image_url", kw_only=True):
    image_url: ImageURL


class InputAudio(Struct):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Cacheable, tag_field="type", tag="input_audio", kw_only=True):
    input_audio: InputAudio


class File(Struct):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(Cacheable, tag_field="type", tag="file", kw_only=True):
    file: File


class MediaURL(Struct):
    url: str


class VideoURLPart(Cacheable, tag_field="type", tag="video_url", kw_only=True):
    video_url: MediaURL


class AudioURLPart(Cacheable, tag_field="type", tag="audio_url", kw_only=True):
    audio_url: MediaURL


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    refusal: str


class ThinkingPart(Struct, tag_field="type", tag="thinking"):
    thinking: str | None = None
    signature: str | None = None


class RedactedThinkingPart(Struct, tag_field="type", tag="redacted_thinking"):
    data: str | None = None


class OnlyText(Cacheable, kw_only=True):
    """A TextPart where nothing else may stand: of a lone tagged struct msgspec does not ask for the tag."""

    type: Literal["text"]
    text: str


TextContent = str | Annotated[list[OnlyText], Meta(min_length=1)]
UserContent = (
    str
    | Annotated[
        list[TextPart | ImagePart | AudioPart | FilePart | VideoURLPart | AudioURLPart], Meta(min_length=1)
    ]
)
AssistantContent = (
    str | Annotated[list[TextPart | RefusalPart | ThinkingPart | RedactedThinkingPart], Meta(min_length=1)]
)
ToolContent = str | Annotated[list[TextPart | ImagePart], Meta(min_length=1)]


class FunctionCall(Struct):
    name: str
    arguments: str


class CustomCall(Struct):
    name: str
    input: str


class FunctionToolCall(Cacheable, tag_field="type", tag="function", kw_only=True):
    id: str
    function: FunctionCall


class CustomToolCall(Cacheable, tag_field="type", tag="custom", kw_only=True):
    id: str
    custom: CustomCall


class AudioRef(Struct):
    id: str


class System(Struct, tag_field="role", tag="system"):
    content: TextContent
    name: str | None = None


class Developer(Struct, tag_field="role", tag="developer"):
    content: TextContent
    name: str | None = None


class User(Struct, tag_field="role", tag="user"):
    content: UserContent
    name: str | None = None


class Assistant(Struct, tag_field="role", tag="assistant"):
    content: AssistantContent | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    refusal: str | None = None
    function_call: FunctionCall | None = None
    audio: AudioRef | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    name: str | None = None


class Tool(Cacheable, tag_field="role", tag="tool", kw_only=True):
    content: ToolContent
    tool_call_id: str


class Function(Struct, tag_field="role", tag="function"):
    """Deprecated by OpenAI, still sent. `content` may be null here, and must be there."""

    name: str
    content: str | None


Message = System | Developer | User | Assistant | Tool | Function


class FunctionObject(Struct):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Cacheable, tag_field="type", tag="function", kw_only=True):
    function: FunctionObject


class Grammar(Struct):
    definition: str
    syntax: Literal["lark", "regex"]


class TextFormat(Struct, tag_field="type", tag="text"):
    pass


class GrammarFormat(Struct, tag_field="type", tag="grammar"):
    grammar: Grammar


class CustomObject(Struct):
    name: Name
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None


class CustomTool(Cacheable, tag_field="type", tag="custom", kw_only=True):
    custom: CustomObject


class Named(Struct):
    name: str


class FunctionChoice(Struct, tag_field="type", tag="function"):
    function: Named


class CustomChoice(Struct, tag_field="type", tag="custom"):
    custom: Named


class AllowedTools(Struct):
    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice | CustomChoice], Meta(min_length=1)]


class AllowedChoice(Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice


class JSONSchema(Struct):
    name: Name
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextResponse(Struct, tag_field="type", tag="text"):
    pass


class JSONResponse(Struct, tag_field="type", tag="json_object"):
    pass


class SchemaResponse(Struct, tag_field="type", tag="json_schema"):
    json_schema: JSONSchema


class StructuralTagResponse(Struct, tag_field="type", tag="structural_tag"):
    pass


ResponseFormat = TextResponse | JSONResponse | SchemaResponse | StructuralTagResponse


class StreamOptions(Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class AudioOutput(Struct):
    voice: str | dict[str, Any]
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class Prediction(Struct, tag_field="type", tag="content"):
    content: TextContent


class CacheOptions(Struct):
    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class Reasoning(Struct):
    """OpenRouter's."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class WebSearchOptions(Struct):
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: dict[str, Any] | None = None


class ModerationOptions(Struct):
    model: str


class Sampling(Struct):
    """What chat and text completions share, the extensions of vLLM, SGLang and llama.cpp included."""

    model: Model
    frequency_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    user: str | None = None

    top_k: int | None = None
    min_p: Fraction | None = None
    repetition_penalty: Annotated[float, Meta(ge=0)] | None = None
    min_tokens: NotNegative | None = None
    ignore_eos: bool | None = None
    priority: int | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structured_outputs: dict[str, Any] | None = None


class ChatBody(Sampling, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    audio: AudioOutput | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    functions: Annotated[list[FunctionObject], Meta(min_length=1, max_length=128)] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Positive | None = None
    max_tokens: Positive | None = None
    metadata: Metadata | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: ModerationOptions | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning_effort: (
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"] | None
    ) = None
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "on_demand", "performance"] | None
    ) = None
    store: bool | None = None
    tool_choice: ToolChoice | None = None
    tools: list[FunctionTool | CustomTool] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: WebSearchOptions | None = None

    chat_template_kwargs: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    thinking: dict[str, Any] | None = None


class CompletionBody(Sampling, kw_only=True):
    prompt: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: NotNegative | None = None
    suffix: str | None = None


Shape = dict[str, "Shape"]

_PART: Shape = {
    key: {}
    for key in (
        "image_url",
        "input_audio",
        "file",
        "video_url",
        "audio_url",
        "prompt_cache_breakpoint",
        "cache_control",
    )
}
_CALL: Shape = {"function": {}, "custom": {}}
# Where the schema has objects, and so where a null is an absent field. What is not here is free-form JSON
# (tool parameters, json_schema.schema, metadata, chat_template_kwargs ...): a null there means null.
MESSAGE_SHAPE: Shape = {"content": _PART, "tool_calls": _CALL, "function_call": {}, "audio": {}}
CHAT_SHAPE: Shape = {  # messages: see MESSAGE_SHAPE
    "tools": {"function": {}, "custom": {"format": {"grammar": {}}}},
    "functions": {},
    "tool_choice": {"function": {}, "custom": {}, "allowed_tools": {"tools": {"function": {}, "custom": {}}}},
    "function_call": {},
    "response_format": {"json_schema": {}},
    "stream_options": {},
    "audio": {},
    "prediction": {"content": _PART},
    "prompt_cache_options": {},
    "web_search_options": {"user_location": {"approximate": {}}},
    "moderation": {"policy": {"input": {}, "output": {}}},
    "reasoning": {},
    "thinking": {},
}
COMPLETION_SHAPE: Shape = {"stream_options": {}}


def drop_nulls(value: Any, shape: Shape) -> None:
    """Removes null fields, in place, from the objects that `shape` describes."""
    if value.__class__ is list:
        for item in value:
            if item.__class__ is dict:
                _drop_nulls(item, shape)
    elif value.__class__ is dict:
        _drop_nulls(value, shape)


def _drop_nulls(fields: dict[str, Any], shape: Shape) -> None:
    if None in fields.values():
        is_function = fields.get("role") == "function"
        for key in [key for key, value in fields.items() if value is None]:
            if not (is_function and key == "content"):
                del fields[key]
    for key in shape.keys() & fields.keys():
        drop_nulls(fields[key], shape[key])
