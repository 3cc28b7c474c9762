"""Gemini, inbound: https://ai.google.dev/api

POST /v1beta/models/{model}:{action}, also under /v1 and with tunedModels/; `find` reads path and query.

    generateContent         Generate
    streamGenerateContent   Generate(stream=True): server-sent events with ?alt=sse, else one JSON array
    countTokens             Count
    embedContent            Embed
    batchEmbedContents      Embed(batch=True)

A request is refused before a model sees it when its types are wrong (gemini_schema), or when two of its parts
contradict each other:

    a part                          holds exactly one of text, inlineData, functionCall ...
    functionResponse                answers an earlier functionCall, by id or by name
    allowedFunctionNames            needs mode ANY or VALIDATED, and declared functions
    responseSchema                  excludes responseJsonSchema; both need responseMimeType application/json
    logprobs                        needs responseLogprobs: true
    thinkingBudget                  excludes thinkingLevel
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import msgspec

from penstock.dialects.gemini import TYPES, canonical, enum_name, standard_base64
from penstock.protocols import gemini_errors
from penstock.protocols.checking import Checker
from penstock.protocols.counting import CountEncoder
from penstock.protocols.gemini_encoder import GeminiEncoder
from penstock.protocols.gemini_lift import Calls, lift
from penstock.protocols.gemini_schema import (
    BatchEmbedBody,
    EmbedBody,
    GenerateBody,
    GenerationConfig,
    Part,
)
from penstock.protocols.openai_embeddings import WholeEncoder, as_floats
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UpstreamInvalid
from penstock.types.events import Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest, Operation, Request
from penstock.types.wire import Encoder, Inbound, Plain

JSON = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_generate = Checker(GenerateBody)
_embed = Checker(EmbedBody)
_batch_embed = Checker(BatchEmbedBody)

_VERSIONS = ("/v1beta/", "/v1/", "/v1alpha/", "/v1beta1/")
_KINDS = ("models/", "tunedModels/")


def find(path: str, query: bytes) -> Inbound | None:
    """`path` as it was sent or decoded. The model's name may hold slashes, escaped or not."""
    version = next((prefix for prefix in _VERSIONS if path.startswith(prefix)), None)
    if version is None or ":" not in path:
        return None
    name, _, action = unquote(path[len(version) :]).rpartition(":")
    kind = next((prefix for prefix in _KINDS if name.startswith(prefix)), None)
    if kind is None:
        return None
    model = name.removeprefix("models/")  # a tuned one keeps its kind: tunedModels/mine
    if not model.removeprefix("tunedModels/"):
        return None
    match action:
        case "generateContent":
            return Generate(model, stream=False, sse=False)
        case "streamGenerateContent":
            sse = query == b"alt=sse" or "sse" in parse_qs(query.decode("latin-1")).get("alt", [])
            return Generate(model, stream=True, sse=sse)
        case "countTokens":
            return Count(model)
        case "embedContent":
            return Embed(model, batch=False)
        case "batchEmbedContents":
            return Embed(model, batch=True)
    return None


class _Gemini(Plain):
    operation: Operation = "chat"
    budget_status = 429

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - in x-request-id
        return gemini_errors.error_body(error)


class Generate(_Gemini):
    def __init__(self, model: str, *, stream: bool, sse: bool) -> None:
        self.model = model
        self.is_stream = stream
        self.is_sse = sse

    def decode(self, body: JSON) -> ChatRequest:
        return chat_request(body, self.model, stream=self.is_stream)

    def encoder(self, request: Request, call: Call) -> Encoder:
        return GeminiEncoder(cast("ChatRequest", request), call, sse=self.is_sse)


class Count(_Gemini):
    """The prompt is `contents`, or a whole generateContentRequest."""

    def __init__(self, model: str) -> None:
        self.model = model

    def decode(self, body: JSON) -> ChatRequest:
        body = _canonical(body)
        whole = body.get("generateContentRequest")
        if whole is not None:
            if not isinstance(whole, dict):
                raise InvalidRequest(
                    "`generateContentRequest` must be an object.", param="generateContentRequest"
                )
            if "contents" in body:
                raise InvalidRequest(
                    "`contents` and `generateContentRequest` exclude each other.", param="contents"
                )
            body = whole
        request = chat_request(body, self.model, stream=False)
        request.counts_only = True
        return request

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - of the Protocol
        return CountEncoder("totalTokens")


class Embed(_Gemini):
    operation: Operation = "embedding"

    def __init__(self, model: str, *, batch: bool) -> None:
        self.model = model
        self.is_batch = batch

    def decode(self, body: JSON) -> EmbeddingRequest:
        body = _canonical(body)
        if self.is_batch:
            asked = _batch_embed.check(body).requests
            paths = [f"requests[{position}]." for position in range(len(asked))]
        else:
            asked, paths = [_embed.check(body)], [""]
        first = asked[0]
        for path, one in zip(paths, asked, strict=True):
            for name, key in _COMMON:
                if getattr(one, name) != getattr(first, name):
                    raise InvalidRequest(f"`{path}{key}` must be the same in all requests.", param=path + key)
        extra = {"title": first.title} if first.title else {}
        return EmbeddingRequest(
            self.model,
            [_embedded(one.content.parts, path) for path, one in zip(paths, asked, strict=True)],
            first.output_dimensionality,
            truncate=True,  # Google cuts what is too long
            normalize=True,
            extra=extra,
            inbound=self.is_batch,
            purpose=_PURPOSES.get(first.task_type or ""),
        )

    def encoder(self, request: Request, call: Call) -> Encoder:  # noqa: ARG002 - of the Protocol
        return EmbedEncoder(is_batch=self.is_batch)


_COMMON = (("task_type", "taskType"), ("output_dimensionality", "outputDimensionality"), ("title", "title"))
_PURPOSES = {
    "RETRIEVAL_QUERY": "query",
    "QUESTION_ANSWERING": "query",
    "FACT_VERIFICATION": "query",
    "CODE_RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}


def _embedded(parts: list[Part], path: str) -> str:
    if any(part.text is None for part in parts):
        raise InvalidRequest(
            f"`{path}content.parts`: only text can be embedded here.", param=f"{path}content.parts"
        )
    text = "".join(part.text or "" for part in parts)
    if not text:
        raise InvalidRequest(f"`{path}content.parts` holds no text.", param=f"{path}content.parts")
    return text


class EmbedEncoder(WholeEncoder):
    def __init__(self, *, is_batch: bool) -> None:
        super().__init__()
        self._is_batch = is_batch

    def answer(self) -> bytes:
        delta = self._delta
        if not isinstance(delta, Vectors) or not delta.vectors:
            raise UpstreamInvalid("The upstream's answer holds no embeddings.")
        rows = [{"values": as_floats(vector)} for vector in delta.vectors]
        return _encode({"embeddings": rows} if self._is_batch else {"embedding": rows[0]})


# -- generateContent


def chat_request(body: JSON, model: str, *, stream: bool) -> ChatRequest:
    body = _canonical(body)
    checked = _generate.check(body)
    calls = Calls()
    if checked.system_instruction is not None:
        _check_parts(checked.system_instruction.parts, "systemInstruction", calls)
        if not checked.system_instruction.parts:
            del body["systemInstruction"]
    for position, content in enumerate(checked.contents):
        _check_parts(content.parts, f"contents[{position}]", calls)
    if not any(content.parts for content in checked.contents):
        raise InvalidRequest("`contents` has no parts.", param="contents")
    names = _check_tools(checked)
    if checked.tool_config is not None and checked.tool_config.function_calling_config is not None:
        calling = checked.tool_config.function_calling_config
        path = "toolConfig.functionCallingConfig"
        if calling.allowed_function_names:
            param = f"{path}.allowedFunctionNames"
            if calling.mode not in ("ANY", "VALIDATED"):
                raise InvalidRequest(f"`{param}` needs mode ANY or VALIDATED.", param=param)
            unknown = [name for name in calling.allowed_function_names if name not in names]
            if unknown:
                raise InvalidRequest(f"`{param}` names {unknown[0]!r}, which is not declared.", param=param)
        elif calling.mode == "ANY" and not names:
            raise InvalidRequest(f"`{path}.mode` ANY needs declared functions.", param=f"{path}.mode")
    config = checked.generation_config
    if config is not None:
        _check_config(config)
    return ChatRequest(
        model,
        body,
        stream,
        include_usage=True,
        n=(config.candidate_count if config else None) or 1,
        max_tokens=config.max_output_tokens if config else None,
        dialect="gemini",
        lift=lift,
    )


def _canonical(body: JSON) -> JSON:
    try:
        return cast("JSON", canonical(body))
    except RecursionError:
        raise InvalidRequest("The request is nested too deeply.") from None


def _check_parts(parts: Sequence[Part], where: str, calls: Calls) -> None:
    for position, part in enumerate(parts):
        path = f"{where}.parts[{position}]"
        held = _data_of(part)
        if held.count(None) < len(_DATA) - 1:
            both = " and ".join(
                f"`{key}`" for (_, key), value in zip(_DATA, held, strict=True) if value is not None
            )
            raise InvalidRequest(f"`{path}` holds {both}; a part holds one.", param=path)
        if part.inline_data is not None:
            _check_data(part.inline_data.data, f"{path}.inlineData.data")
        elif part.function_call is not None:
            call = part.function_call
            calls.add({"id": call.id, "name": call.name})
        elif part.function_response is not None:
            response = part.function_response
            if calls.answered_by({"id": response.id, "name": response.name}) is None:
                param = f"{path}.functionResponse"
                raise InvalidRequest(f"`{param}` answers no functionCall before it.", param=param)
            for inner, blob in enumerate(response.parts or ()):
                if blob.inline_data is not None:
                    _check_data(
                        blob.inline_data.data, f"{path}.functionResponse.parts[{inner}].inlineData.data"
                    )


_DATA = (
    ("text", "text"),
    ("inline_data", "inlineData"),
    ("file_data", "fileData"),
    ("function_call", "functionCall"),
    ("function_response", "functionResponse"),
    ("executable_code", "executableCode"),
    ("code_execution_result", "codeExecutionResult"),
    ("tool_call", "toolCall"),
    ("tool_response", "toolResponse"),
)
_data_of = attrgetter(*(name for name, _ in _DATA))


def _check_data(data: str, param: str) -> None:
    try:
        standard_base64(data)
    except ValueError as exc:
        raise InvalidRequest(f"`{param}` is not valid base64: {exc}.", param=param) from exc


def _check_tools(checked: GenerateBody) -> set[str]:
    """The names of the declared functions."""
    names: set[str] = set()
    for position, tool in enumerate(checked.tools or ()):
        for inner, function in enumerate(tool.function_declarations or ()):
            path = f"tools[{position}].functionDeclarations[{inner}]"
            if function.name in names:
                raise InvalidRequest(f"`{path}.name` is declared twice: {function.name!r}.", param=path)
            names.add(function.name)
            if function.parameters is not None and function.parameters_json_schema is not None:
                raise InvalidRequest(
                    f"`{path}`: `parameters` and `parametersJsonSchema` exclude each other.", param=path
                )
            schema = function.parameters or function.parameters_json_schema or {}
            kind = enum_name(schema.get("type", "object"), TYPES)
            if not isinstance(kind, str) or kind.lower() not in ("object", "type_unspecified"):
                key = "parameters" if function.parameters else "parametersJsonSchema"
                raise InvalidRequest(
                    f"`{path}.{key}` must be the schema of an object, not of {kind!r}.", param=f"{path}.{key}"
                )
    return names


def _check_config(config: GenerationConfig) -> None:
    path = "generationConfig"
    if config.response_schema is not None and config.response_json_schema is not None:
        raise InvalidRequest(
            f"`{path}.responseSchema` and `responseJsonSchema` exclude each other.",
            param=f"{path}.responseSchema",
        )
    has_schema = config.response_schema is not None or config.response_json_schema is not None
    if has_schema and config.response_mime_type not in ("application/json", "text/x.enum"):
        raise InvalidRequest(
            f"`{path}.responseMimeType` must be application/json where a schema is given.",
            param=f"{path}.responseMimeType",
        )
    if config.logprobs is not None and not config.response_logprobs:
        raise InvalidRequest(f"`{path}.logprobs` needs `responseLogprobs: true`.", param=f"{path}.logprobs")
    thinking = config.thinking_config
    if thinking is not None and thinking.thinking_budget is not None and thinking.thinking_level:
        raise InvalidRequest(
            f"`{path}.thinkingConfig`: `thinkingBudget` and `thinkingLevel` exclude each other.",
            param=f"{path}.thinkingConfig.thinkingLevel",
        )
