"""POST /v1/moderations: https://platform.openai.com/docs/api-reference/moderations

Only a target of OpenAI's dialect answers it; without a model, the only one that can.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker, check_data_url
from penstock.protocols.openai_embeddings import WholeEncoder
from penstock.protocols.openai_schema import ImagePart, TextPart, drop_nulls
from penstock.types.call import Call
from penstock.types.errors import PenstockError, UpstreamInvalid
from penstock.types.events import Answer
from penstock.types.requests import ModerationRequest, Operation, Request
from penstock.types.wire import Encoder

operation: Operation = "moderation"
forwards: tuple[bytes, ...] = ()
id_header = ""
budget_status = 429

_encode = msgspec.json.Encoder().encode


class Body(Struct):
    input: str | Annotated[list[str | dict[str, Any]], Meta(min_length=1)]
    model: str = ""


class Parts(Struct):
    input: list[TextPart | ImagePart]


_checker = Checker(Body)
_parts = Checker(Parts)


def decode(body: dict[str, Any]) -> ModerationRequest:
    drop_nulls(body, {"input": {"image_url": {}}})
    checked = _checker.check(body)
    if isinstance(checked.input, list) and isinstance(checked.input[0], dict):
        for number, part in enumerate(_parts.check(body).input):
            if isinstance(part, ImagePart):
                check_data_url(part.image_url.url, f"input[{number}].image_url.url")
    return ModerationRequest(checked.model, body)


def encoder(request: Request, call: Call) -> Encoder:
    return ModerationEncoder(request, call)


def error_body(error: PenstockError, call_id: str) -> bytes:  # noqa: ARG001 - the id is in x-request-id
    return openai_errors.error_body(error)


class ModerationEncoder(WholeEncoder):
    def __init__(self, request: Request, call: Call) -> None:
        super().__init__()
        self._call = call
        self._model = call.model or request.model

    def answer(self) -> bytes:
        if not isinstance(self._delta, Answer):
            raise UpstreamInvalid("The upstream's answer is no moderation.")
        own = {"id": self._delta.body.get("id") or f"modr-{self._call.id.removeprefix('req_')}"}
        return _encode({**self._delta.body, **own, "model": self._model})
