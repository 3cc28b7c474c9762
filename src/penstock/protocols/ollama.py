"""Ollama, inbound: https://docs.ollama.com/api

    POST /api/chat         CHAT         NDJSON, streamed unless `stream` is false
    POST /api/generate     GENERATE     likewise; a prompt is a conversation of one message
    POST /api/embed        EMBED
    POST /api/embeddings   EMBEDDINGS   the older form: one text, one vector

What a request says of loading (`keep_alive`) and of the prompt's form (`raw`, `template`, `context`) is the
engine's own matter here: it changes nothing, or is reported.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from penstock.protocols.checking import Checker, check_base64
from penstock.protocols.ollama_encoder import ChatEncoder, EmbedEncoder, GenerateEncoder
from penstock.protocols.ollama_lift import lift_chat, lift_generate
from penstock.protocols.openai_schema import drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, EmbeddingRequest, Operation, Request
from penstock.types.wire import Encoder, Plain

JSON = dict[str, Any]

Model = Annotated[str, Meta(min_length=1)]
Think = bool | Literal["low", "medium", "high", "max"]

_encode = msgspec.json.Encoder().encode


class Called(Struct):
    name: str
    arguments: dict[str, Any] = {}


class ToolCall(Struct):
    function: Called


class Message(Struct):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None


class Function(Struct):
    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Struct):
    function: Function
    type: Literal["function"] = "function"


class Options(Struct):
    num_predict: int | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None


class ChatBody(Struct):
    model: Model
    messages: list[Message]
    tools: list[Tool] | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    think: Think | None = None
    stream: bool = True
    keep_alive: str | float | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class GenerateBody(Struct):
    model: Model
    prompt: str = ""
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    think: Think | None = None
    stream: bool = True
    raw: bool | None = None
    keep_alive: str | float | None = None


class EmbedBody(Struct):
    model: Model
    input: str | Annotated[list[str], Meta(min_length=1)]
    truncate: bool = True
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    keep_alive: str | float | None = None


class EmbeddingsBody(Struct):
    model: Model
    prompt: Annotated[str, Meta(min_length=1)]
    keep_alive: str | float | None = None


_chat = Checker(ChatBody)
_generate = Checker(GenerateBody)
_embed = Checker(EmbedBody)
_embeddings = Checker(EmbeddingsBody)
_SHAPE = {"messages": {"tool_calls": {"function": {}}}, "tools": {"function": {}}, "options": {}}


class _Ollama(Plain):
    operation: Operation = "chat"

    def error_body(self, error: PenstockError, call_id: str) -> bytes:  # noqa: ARG002 - it is in x-request-id
        return error_body(error)


class Chat(_Ollama):
    def decode(self, body: JSON) -> ChatRequest:
        drop_nulls(body, _SHAPE)  # type: ignore[arg-type]  # a Shape
        checked = _chat.check(body)
        if not checked.messages:
            raise InvalidRequest("`messages` must not be empty.", param="messages")
        called = False
        for number, message in enumerate(checked.messages):
            called = called or bool(message.tool_calls)
            if message.role == "tool" and not called:
                path = f"messages[{number}]"
                raise InvalidRequest(f"`{path}` answers no tool call of an earlier message.", param=path)
            _check_images(message.images, f"messages[{number}].images")
        return _request(checked, body, lift_chat)

    def encoder(self, request: Request, call: Call) -> Encoder:
        return ChatEncoder(request, call)


class Generate(_Ollama):
    def decode(self, body: JSON) -> ChatRequest:
        drop_nulls(body, _SHAPE)  # type: ignore[arg-type]  # a Shape
        checked = _generate.check(body)
        if checked.suffix:
            raise UnsupportedParameter("`suffix`: models here do not fill in the middle.", param="suffix")
        if not checked.prompt:
            raise InvalidRequest("`prompt` must not be empty.", param="prompt")
        _check_images(checked.images, "images")
        return _request(checked, body, lift_generate)

    def encoder(self, request: Request, call: Call) -> Encoder:
        return GenerateEncoder(request, call)


class Embed(_Ollama):
    operation: Operation = "embedding"

    def decode(self, body: JSON) -> EmbeddingRequest:
        drop_nulls(body, {})
        checked = _embed.check(body)
        inputs = [checked.input] if isinstance(checked.input, str) else checked.input
        return _embedding(checked.model, inputs, checked.dimensions, truncate=checked.truncate, is_old=False)

    def encoder(self, request: Request, call: Call) -> Encoder:
        return EmbedEncoder(request, call)


class Embeddings(Embed):
    def decode(self, body: JSON) -> EmbeddingRequest:
        drop_nulls(body, {})
        checked = _embeddings.check(body)
        return _embedding(checked.model, [checked.prompt], None, truncate=True, is_old=True)


CHAT = Chat()
GENERATE = Generate()
EMBED = Embed()
EMBEDDINGS = Embeddings()


def error_body(error: PenstockError) -> bytes:
    said: JSON = {"error": error.message}
    if error.attempts:
        said["attempts"] = error.attempts
    return _encode(said)


def _request(checked: ChatBody | GenerateBody, body: JSON, lift: Any) -> ChatRequest:
    limit = checked.options.num_predict if checked.options is not None else None
    return ChatRequest(
        checked.model,
        body,
        checked.stream,
        include_usage=True,
        max_tokens=limit if limit is not None and limit > 0 else None,  # -1 and -2: no limit
        dialect="ollama",
        lift=lift,
    )


def _embedding(
    model: str, inputs: list[str], dimensions: int | None, *, truncate: bool, is_old: bool
) -> EmbeddingRequest:
    for number, text in enumerate(inputs):
        if not text:
            path = f"input[{number}]" if len(inputs) > 1 else "input"
            raise InvalidRequest(f"`{path}` must not be empty.", param=path)
    return EmbeddingRequest(model, inputs, dimensions, truncate, inbound=is_old)


def _check_images(images: list[str] | None, path: str) -> None:
    for number, image in enumerate(images or ()):
        check_base64(image, f"{path}[{number}]")
