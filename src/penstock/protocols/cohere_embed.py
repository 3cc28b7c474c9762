"""POST /v1/embed and /v2/embed: https://docs.cohere.com/reference/embed

Vectors are asked for as floats and quantised here, in whatever model answers:

    float     as they are
    int8      round(127 * x), cut to -128 .. 127      vectors of length one have x in -1 .. 1
    uint8     int8 + 128
    binary    one bit a dimension, 1 where x > 0, eight to a byte, the first on top; bytes read as signed
    ubinary   the same bytes, unsigned
    base64    the floats as little-endian float32

input_type says what the texts are for; a target that knows no purposes is not told.
"""

import base64
import struct
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker
from penstock.protocols.openai_embeddings import WholeEncoder, as_floats
from penstock.protocols.openai_schema import drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UnsupportedParameter, UpstreamInvalid
from penstock.types.events import Vectors
from penstock.types.requests import EmbeddingRequest, Operation, Request
from penstock.types.wire import Encoder, Plain

MAX_TEXTS = 96
_LARGEST = 127
_BITS = 8

Kind = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
Purpose = Literal["search_document", "search_query", "classification", "clustering", "image"]
_PURPOSES = {"search_document": "document", "search_query": "query"}

_encode = msgspec.json.Encoder().encode


class Body(Struct):
    model: str
    texts: Annotated[list[str], Meta(min_length=1, max_length=MAX_TEXTS)] | None = None
    images: list[str] | None = None
    inputs: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_TEXTS)] | None = None
    input_type: Purpose | None = None
    embedding_types: Annotated[list[Kind], Meta(min_length=1)] | None = None
    output_dimension: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    priority: Annotated[int, Meta(ge=0, le=999)] | None = None


class Notes(NamedTuple):
    kinds: tuple[str, ...]  # empty: version 1's answer of plain floats
    texts: list[str]


_checker = Checker(Body)


class Embed(Plain):
    operation: Operation = "embedding"

    def __init__(self, version: Literal["1", "2"]) -> None:
        self.version = version

    def decode(self, body: dict[str, Any]) -> EmbeddingRequest:
        drop_nulls(body, {})
        checked = _checker.check(body)
        texts = _texts(checked)
        kinds = tuple(checked.embedding_types or (("float",) if self.version == "2" else ()))
        return EmbeddingRequest(
            checked.model,
            texts,
            checked.output_dimension,
            checked.truncate != "NONE",
            inbound=Notes(kinds, texts),
            purpose=_PURPOSES.get(checked.input_type or "", checked.input_type),
        )

    def encoder(self, request: Request, call: Call) -> Encoder:
        return EmbedEncoder(request, call, self.version)

    def error_body(self, error: PenstockError, call_id: str) -> bytes:
        return _encode({"message": error.message, "id": call_id, "error": openai_errors.error_object(error)})


V1 = Embed("1")
V2 = Embed("2")


def _texts(checked: Body) -> list[str]:
    given = [name for name in ("texts", "images", "inputs") if getattr(checked, name) is not None]
    if len(given) != 1:
        raise InvalidRequest("Exactly one of `texts`, `images` and `inputs` is needed.", param="texts")
    if checked.images is not None:
        raise UnsupportedParameter("`images`: models here embed texts.", param="images")
    texts = checked.texts
    if texts is None:
        texts = [_text(one, f"inputs[{number}]") for number, one in enumerate(checked.inputs or ())]
    for number, text in enumerate(texts):
        if not text:
            raise InvalidRequest(f"`{given[0]}[{number}]` must not be empty.", param=f"{given[0]}[{number}]")
    return texts


def _text(one: dict[str, Any], path: str) -> str:
    content = one.get("content")
    if not isinstance(content, list):
        raise InvalidRequest(f"`{path}.content` must be an array.", param=f"{path}.content")
    texts = []
    for number, part in enumerate(content):
        at = f"{path}.content[{number}]"
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise UnsupportedParameter(f"`{at}`: models here embed texts.", param=at)
        texts.append(part["text"])
    return "\n".join(texts)


class EmbedEncoder(WholeEncoder):
    def __init__(self, request: Any, call: Call, version: str) -> None:
        super().__init__()
        self._call = call
        self._notes: Notes = request.inbound
        self._version = version

    def answer(self) -> bytes:
        if not isinstance(self._delta, Vectors):
            raise UpstreamInvalid("The upstream's answer holds no embeddings.")
        vectors = [as_floats(vector) for vector in self._delta.vectors]
        kinds = self._notes.kinds
        tokens = self._delta.usage.prompt_tokens if self._delta.usage else 0
        embeddings = (
            {kind: [quantised(vector, kind) for vector in vectors] for kind in kinds} if kinds else vectors
        )
        return _encode(
            {
                "response_type": "embeddings_by_type" if kinds else "embeddings_floats",
                "id": self._call.id,
                "embeddings": embeddings,
                "texts": self._notes.texts,
                "meta": {
                    "api_version": {"version": self._version},
                    "billed_units": {"input_tokens": tokens},
                },
            }
        )


def quantised(vector: list[float], kind: str) -> list[float] | list[int] | str:
    """One vector in one of Cohere's forms; see the head of this file."""
    match kind:
        case "float":
            return vector
        case "base64":
            return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        case "int8":
            return _int8(vector)
        case "uint8":
            return [number + _LARGEST + 1 for number in _int8(vector)]
    packed = [
        sum((x > 0) << (_BITS - 1 - bit) for bit, x in enumerate(vector[at : at + _BITS]))
        for at in range(0, len(vector), _BITS)
    ]
    if kind == "ubinary":
        return packed
    return [byte - 256 if byte > _LARGEST else byte for byte in packed]


def _int8(vector: list[float]) -> list[int]:
    return [max(-_LARGEST - 1, min(_LARGEST, round(x * _LARGEST))) for x in vector]
