"""OpenAI's Responses API, outbound: https://platform.openai.com/docs/api-reference/responses

    request          path                       notes
    chat             /responses                 one of this dialect as the client wrote it, but for what we
                                                  keep ourselves; any other: responses_lower
    counts_only      /responses/input_tokens

What is stored, continued and run in the background is ours (gateway/responses.py): nothing is stored at
OpenAI, and reasoning comes back encrypted; a model that does not reason refuses to be asked for that. The
answers are read in responses_reader.py, refusals as those of the chat API.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.dialects.responses import account_of, unmarked
from penstock.providers.openai_errors import map_error
from penstock.providers.openai_models import efforts
from penstock.providers.profiles import Profile, plain_connection
from penstock.providers.responses_lower import ENCRYPTED, Lowering
from penstock.providers.responses_reader import CountReader, EventReader, ResponsesReader
from penstock.providers.tools import LONGEST_NAME, Letters, renamed
from penstock.types.conversation import Dialect, unseal
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Quirks, Reader
from penstock.types.errors import PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, Operation, Request

JSON = dict[str, Any]

OPERATIONS: frozenset[Operation] = frozenset({"chat"})

_COUNTED = frozenset(
    {
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning"),
        *("text", "truncation"),
    }
)

_encode = msgspec.json.Encoder().encode


class ResponsesCodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "responses"
    operations = OPERATIONS
    counts = True

    def __init__(self, quirks: Quirks | None = None, *, name: str = "The upstream") -> None:
        self.quirks = quirks or Quirks()
        self.name = name
        self._account = account_of(name)

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        chat = _chat(request)
        dropped: list[str] = []
        schema: JSON | None = None
        if chat.dialect == "responses":
            body = _own(chat.body, deployment.model, self._account, dropped)
        else:
            lowering = Lowering(chat.conversation(), deployment.model, self._account)
            body = lowering.body(counts_only=chat.counts_only)
            dropped, schema = lowering.dropped, lowering.schema
        body["model"] = deployment.model
        body.pop("stream", None)
        if chat.counts_only:
            body = {key: value for key, value in body.items() if key in _COUNTED}
            return Outgoing("/responses/input_tokens", _encode(body), dropped=tuple(dropped))
        if chat.stream:
            body["stream"] = True
        return Outgoing(
            "/responses", _encode(body), is_stream=chat.stream, dropped=tuple(dropped), schema=schema
        )

    def reader(self, request: Request, deployment: Deployment) -> Reader:  # noqa: ARG002 - of the Protocol
        chat = _chat(request)
        if chat.counts_only:
            return CountReader(self.name)
        if chat.dialect == "responses":
            return ResponsesReader(self.name, self._account)
        names = renamed(chat.conversation().tools, Letters(LONGEST_NAME))
        return EventReader(self.name, names, self._account)

    def takes_url(self, url: str) -> bool:  # noqa: ARG002 - of the Protocol
        return True

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    return plain_connection(profile, credentials, ResponsesCodec(profile.quirks, name=name))


def _chat(request: Request) -> ChatRequest:
    if not isinstance(request, ChatRequest):
        raise UnsupportedParameter(f"The model does not serve {request.operation} requests.", param="model")
    return request


def _own(said: JSON, model: str, account: str, dropped: list[str]) -> JSON:
    """The client's body without what is kept here, and without reasoning that this account never sealed."""
    body = {**said, "store": False}
    for key in ("previous_response_id", "background"):
        body.pop(key, None)
    include = body.get("include") or []
    if ENCRYPTED not in include and efforts(model).reasons is not False:
        body["include"] = [*include, ENCRYPTED]
    items = body.get("input")
    if items.__class__ is list and any(item.get("type") == "reasoning" for item in items):
        known = [own for item in items if (own := _opened(item, account)) is not None]
        if len(known) < len(items):
            dropped.append("input[].reasoning")
        body["input"] = known
    return body


def _opened(item: JSON, account: str) -> JSON | None:
    """As it was sealed; None: another sealed it, or it came without what is sealed."""
    if item.get("type") != "reasoning":
        return item
    opaque = item.get("encrypted_content")
    if not isinstance(opaque, str) or unseal(opaque, "responses")[0] != "responses":
        return None
    encrypted = unmarked(opaque, account)
    return None if encrypted is None else {**item, "encrypted_content": encrypted}
