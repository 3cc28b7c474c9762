"""Gemini's requests as types: https://ai.google.dev/api/generate-content; google-genai 3.4 (types.py).

Checked after `canonical`: names are camelCase, nulls are gone. Unknown fields pass.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

JSON = dict[str, Any]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Blob(Struct, rename="camel"):
    mime_type: Annotated[str, Meta(min_length=1)]
    data: str


class FileData(Struct, rename="camel"):
    file_uri: Annotated[str, Meta(min_length=1)]
    mime_type: str | None = None


class FunctionCall(Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1)]
    args: JSON | None = None
    id: str | None = None


class ResponseBlob(Struct, rename="camel"):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1)]
    response: JSON | None = None
    id: str | None = None
    parts: list[ResponseBlob] | None = None


class Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: JSON | None = None
    code_execution_result: JSON | None = None
    tool_call: JSON | None = None
    tool_response: JSON | None = None


class Content(Struct, rename="camel"):
    parts: list[Part] = []
    role: Literal["user", "model", "function"] | None = None


class Instruction(Struct, rename="camel"):
    """Its role is nobody's business: clients write user, system, or none."""

    parts: list[Part] = []
    role: str | None = None


class FunctionDeclaration(Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: JSON | None = None
    parameters_json_schema: JSON | None = None
    behavior: str | int | None = None


class Tool(Struct, rename="camel"):
    function_declarations: list[FunctionDeclaration] | None = None


class FunctionCallingConfig(Struct, rename="camel"):
    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(Struct, rename="camel"):
    function_calling_config: FunctionCallingConfig | None = None
    retrieval_config: JSON | None = None


class ThinkingConfig(Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: Annotated[int, Meta(ge=-1)] | None = None
    thinking_level: str | None = None


class GenerationConfig(Struct, rename="camel"):
    candidate_count: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop_sequences: list[str] | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[float, Meta(ge=0)] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    response_logprobs: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_mime_type: str | None = None
    response_schema: JSON | None = None
    response_json_schema: Any = None
    response_modalities: list[str] | None = None
    thinking_config: ThinkingConfig | None = None
    media_resolution: str | int | None = None
    speech_config: JSON | None = None


class SafetySetting(Struct, rename="camel"):
    category: str | int
    threshold: str | int


class GenerateBody(Struct, rename="camel"):
    contents: Annotated[list[Content], Meta(min_length=1)]
    system_instruction: Instruction | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    safety_settings: list[SafetySetting] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: str | int | None = None


class EmbedBody(Struct, rename="camel"):
    content: Instruction
    model: str | None = None
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: Count | None = None


class BatchEmbedBody(Struct, rename="camel"):
    requests: Annotated[list[EmbedBody], Meta(min_length=1, max_length=2048)]
