"""POST /v1/embeddings: https://platform.openai.com/docs/api-reference/embeddings

input            a text, texts, token ids, or lists of token ids; none empty, at most 2,048
encoding_format  float (default) or base64: little-endian float32, what the official SDKs ask for
truncate         extension of ours: cut inputs that are too long instead of refusing them
normalize        extension of ours: false leaves the vector's length as the model gives it
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from penstock.lib.floats import from_float32, to_float32
from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker
from penstock.protocols.openai_schema import Model, drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InternalError, InvalidRequest, PenstockError, UpstreamInvalid
from penstock.types.events import Delta, Vectors
from penstock.types.requests import EmbeddingRequest, Operation, Request
from penstock.types.wire import SSE, Encoder

operation: Operation = "embedding"
forwards: tuple[bytes, ...] = ()
id_header = ""
budget_status = 429

MAX_INPUTS = 2048

_encode = msgspec.json.Encoder().encode


class Body(Struct):
    model: Model
    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    truncate: bool = False
    normalize: bool = True


_checker = Checker(Body)


def decode(body: dict[str, Any]) -> EmbeddingRequest:
    drop_nulls(body, {})
    checked = _checker.check(body)
    return EmbeddingRequest(
        checked.model,
        embedding_inputs(checked.input, "input"),
        checked.dimensions,
        checked.truncate,
        checked.normalize,
        checked.user,
        {key: value for key, value in body.items() if key not in Body.__struct_fields__},
        checked.encoding_format,
    )


def embedding_inputs(given: str | list[Any], param: str) -> list[str] | list[list[int]]:
    """One item per vector. Raises InvalidRequest for what is empty or mixed."""
    if isinstance(given, str):
        given = [given]
    kinds = set(map(type, given))
    if len(kinds) > 1:
        raise InvalidRequest(f"`{param}` mixes texts and tokens; send one kind.", param=param)
    if kinds == {int}:
        given = [given]
    for position, item in enumerate(given):
        if not item:
            path = f"{param}[{position}]" if len(given) > 1 else param
            raise InvalidRequest(f"`{path}` must not be empty.", param=path)
    return given


def encoder(request: Request, call: Call) -> Encoder:
    return EmbeddingEncoder(cast("EmbeddingRequest", request), call)


def error_body(error: PenstockError, call_id: str) -> bytes:  # noqa: ARG001 - the id is in x-request-id
    return openai_errors.error_body(error)


class WholeEncoder(SSE):
    """For operations that are never streamed: one delta in, one JSON body out."""

    def __init__(self) -> None:
        self._delta: Delta | None = None

    def stream(self, deltas: Sequence[Delta]) -> bytes:  # noqa: ARG002 - of the Protocol
        raise InternalError("this operation is not streamed")

    def stream_end(self) -> bytes:
        raise InternalError("this operation is not streamed")

    def stream_error(self, error: PenstockError) -> bytes:  # noqa: ARG002 - of the Protocol
        raise InternalError("this operation is not streamed")

    def fold(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            self._delta = delta


class EmbeddingEncoder(WholeEncoder):
    def __init__(self, request: EmbeddingRequest, call: Call) -> None:
        super().__init__()
        self._model = call.model or request.model
        self._is_base64 = request.inbound == "base64"

    def answer(self) -> bytes:
        delta = self._delta
        if not isinstance(delta, Vectors):
            raise UpstreamInvalid("The upstream's answer holds no embeddings.")
        prompt_tokens = delta.usage.prompt_tokens if delta.usage else 0
        # msgspec writes bytes as base64, which is just what is asked for
        write = _as_bytes if self._is_base64 else as_floats
        return _encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": write(vector)}
                    for index, vector in enumerate(delta.vectors)
                ],
                "model": self._model,
                "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
            }
        )


def as_floats(vector: bytes | list[float]) -> list[float]:
    return from_float32(vector) if isinstance(vector, bytes) else vector


def _as_bytes(vector: bytes | list[float]) -> bytes:
    return vector if isinstance(vector, bytes) else to_float32(vector)
