"""Anthropic's Messages API, outbound: https://platform.claude.com/docs/en/api/messages

    request          path                     notes
    chat             /messages                one of this dialect as the client wrote it, but for the model
                                                and foreign thinking; any other: anthropic_lower
    counts_only      /messages/count_tokens   without what only the answer needs

`anthropic-version` is the client's where it speaks this dialect, else the provider's api_version, else
2023-06-01 (which still takes temperature, and is sent for that). The answers are read in anthropic_reader.py,
refusals in anthropic_errors.py.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.dialects.anthropic import JSON, THOUGHT_SIGNATURE, VERSION, VERSIONS, is_foreign
from penstock.providers.anthropic_errors import map_error
from penstock.providers.anthropic_lower import Lowering
from penstock.providers.anthropic_models import abilities
from penstock.providers.anthropic_reader import CountReader, EventReader, MessagesReader
from penstock.providers.anthropic_turns import has_lost_thoughts
from penstock.providers.anthropic_typed import Names, Typed
from penstock.providers.profiles import Profile, plain_connection
from penstock.types.conversation import Dialect
from penstock.types.deployment import Connection, Credentials, Deployment, Outgoing, Quirks, Reader
from penstock.types.errors import PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, Operation, Request

OPERATIONS: frozenset[Operation] = frozenset({"chat"})

# What count_tokens takes; it refuses the rest.
_COUNTED = frozenset(
    {
        *(
            "model",
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "cache_control",
        ),
        *("context_management", "mcp_servers", "speed", "user_profile_id"),
    }
)

_SAMPLING = ("temperature", "top_p", "top_k")

_encode = msgspec.json.Encoder().encode


class AnthropicCodec:
    """`name` is what error messages call the upstream."""

    dialect: Dialect = "anthropic"
    operations = OPERATIONS
    counts = True

    def __init__(
        self,
        quirks: Quirks | None = None,
        *,
        name: str = "The upstream",
        version: str = VERSION,
    ) -> None:
        self.quirks = quirks or Quirks()
        self.name = name
        self.version = version

    def encode(self, request: Request, deployment: Deployment) -> Outgoing:
        chat = _chat(request)
        dropped: list[str] = []
        schema: JSON | None = None
        if chat.dialect == "anthropic":
            signs = abilities(deployment.model).signs
            messages = _own_messages(chat.body["messages"], dropped, signs=signs)
            body = {**chat.body, "messages": messages}
            if dropped and has_lost_thoughts(messages) and body.get("thinking", {}).get("type") == "enabled":
                del body["thinking"]  # refused without the thoughts that led to the calls
                dropped.append("thinking")
            headers = self._own_headers(chat, body, deployment, dropped)
        else:
            lowering = self._lowering(chat, deployment)
            body = lowering.body(counts_only=chat.counts_only)
            dropped, schema = lowering.dropped, lowering.schema
            headers = (("anthropic-version", self.version),)
        body["model"] = deployment.model
        body.pop("stream", None)
        for key in self.quirks.drop:
            if body.pop(key, None) is not None:
                dropped.append(key)
        if chat.counts_only:
            body = {key: value for key, value in body.items() if key in _COUNTED}
            return Outgoing("/messages/count_tokens", _encode(body), headers, dropped=tuple(dropped))
        is_stream = chat.stream or self.quirks.always_stream
        if is_stream:
            body["stream"] = True
        return Outgoing(
            "/messages", _encode(body), headers, is_stream=is_stream, dropped=tuple(dropped), schema=schema
        )

    def _own_headers(
        self, request: ChatRequest, body: JSON, deployment: Deployment, dropped: list[str]
    ) -> tuple[tuple[str, str], ...]:
        """The client's, with a version under which the model takes the sampling that was asked for.

        The newest version refuses temperature, top_p and top_k whatever they are; frameworks on top of the
        official SDK, which sends that version, still set them.
        """
        others = tuple(row for row in request.forward if row[0] != "anthropic-version")
        version = next((row[1] for row in request.forward if row[0] == "anthropic-version"), self.version)
        sampling = [name for name in _SAMPLING if name in body]
        if sampling and version == VERSIONS[-1]:
            if abilities(deployment.model).sampling:
                version = VERSION
            else:
                for name in sampling:
                    del body[name]
                dropped += sampling
        return (("anthropic-version", version), *others)

    def _lowering(self, request: ChatRequest, deployment: Deployment) -> Lowering:
        return Lowering(
            request.conversation(),
            deployment.model,
            version=self.version,
            max_output=deployment.max_output,
        )

    def reader(self, request: Request, deployment: Deployment) -> Reader:
        chat = _chat(request)
        if chat.counts_only:
            return CountReader(self.name)
        if chat.dialect == "anthropic":
            return MessagesReader(self.name)
        said = chat.conversation()
        is_plain = not said.tools and said.format is None
        names = Names() if is_plain else self._lowering(chat, deployment).names()
        return EventReader(self.name, Typed(names))

    def takes_url(self, url: str) -> bool:  # noqa: ARG002 - of the Protocol
        return True

    def map_error(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> PenstockError:
        return map_error(self.name, status, headers, body)


def connect(profile: Profile, credentials: Credentials, name: str) -> Connection:
    """Raises ValueError when the base URL is none, or the version is not known."""
    version = credentials.api_version or VERSION
    if version not in VERSIONS:
        raise ValueError(f"api_version {version!r} is none of Anthropic's: {', '.join(VERSIONS)}")
    codec = AnthropicCodec(profile.quirks, name=name, version=version)
    return plain_connection(profile, credentials, codec)


def _chat(request: Request) -> ChatRequest:
    if not isinstance(request, ChatRequest):
        raise UnsupportedParameter(f"The model does not serve {request.operation} requests.", param="model")
    return request


def _own_messages(messages: list[JSON], dropped: list[str], *, signs: bool) -> list[JSON]:
    """The client's messages without thinking that the model never made: it is refused."""
    written = messages
    for at, message in enumerate(messages):
        content: Any = message["content"]
        if message["role"] != "assistant" or content.__class__ is not list:
            continue
        own = [block for block in content if not is_foreign(block, signs=signs)]
        is_marked = any(THOUGHT_SIGNATURE in block for block in own)
        if len(own) == len(content) and not is_marked:
            continue
        if len(own) < len(content) and "messages[].thinking" not in dropped:
            dropped.append("messages[].thinking")
        if is_marked:
            own = [{k: v for k, v in block.items() if k != THOUGHT_SIGNATURE} for block in own]
        if written is messages:
            written = list(messages)
        written[at] = {**message, "content": own}
    return written if written is messages else [row for row in written if row["content"] != []]
