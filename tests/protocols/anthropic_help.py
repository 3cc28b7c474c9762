"""What tests of the Messages dialect need: requests, recordings, and the official SDK as the judge."""

import json
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message
from wire_help import WIRE, new_call

from penstock.lib.sse import SSESplitter
from penstock.protocols.anthropic_messages import MESSAGES
from penstock.providers.anthropic import OPERATIONS, AnthropicCodec
from penstock.types.conversation import Conversation
from penstock.types.deployment import Deployment, Reader
from penstock.types.events import Delta, Event, Events
from penstock.types.requests import ChatRequest
from penstock.types.wire import Encoder

CODEC = AnthropicCodec(name="dep")
DEPLOYMENT = Deployment("dep", "up", CODEC, OPERATIONS)
FOLDER = WIRE / "anthropic"
STREAMS = sorted(path.stem for path in FOLDER.glob("*.sse"))
WHOLE_STREAMS = [name for name in STREAMS if not name.startswith("error_")]
ANSWERS = sorted(path.stem for path in FOLDER.glob("*.json"))
WEATHER: dict[str, Any] = {"name": "get_weather", "input_schema": {"type": "object"}}


def body(**fields: Any) -> dict[str, Any]:
    return {
        "model": "public",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hello"}],
        **fields,
    }


def ask(**fields: Any) -> ChatRequest:
    return MESSAGES.decode(body(**fields))


def foreign(**fields: Any) -> ChatRequest:
    """A request of a client that speaks another dialect."""
    return ChatRequest("public", {}, lift=lambda _: Conversation([]), **fields)


def encoder(**fields: Any) -> Encoder:
    return MESSAGES.encoder(ask(**fields), new_call("/v1/messages"))


def recorded(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def deltas(data: bytes, reader: Reader) -> list[Delta]:
    splitter = SSESplitter()
    found = [reader.event(event) for event in [*splitter.feed_data(data), *splitter.finish_data()]]
    return [delta for delta in found if delta is not None]


def native(name: str) -> list[Delta]:
    """A recording as a client of this dialect gets it."""
    return deltas(recorded(name), CODEC.reader(ask(stream=True), DEPLOYMENT))


def typed(name: str) -> list[Event]:
    """A recording as typed events."""
    return events_of(recorded(name))


def events_of(data: bytes) -> list[Event]:
    reader = CODEC.reader(foreign(stream=True), DEPLOYMENT)
    found: list[Event] = []
    for delta in deltas(data, reader):
        assert isinstance(delta, Events)
        found += delta.events
    assert reader.is_complete
    assert reader.is_done
    return found


def streamed(batches: list[Delta], **fields: Any) -> bytes:
    """The stream that a client gets, one delta at a time."""
    writer = encoder(stream=True, **fields)
    return b"".join(writer.stream([delta]) for delta in batches) + writer.stream_end()


def folded(batches: list[Delta], **fields: Any) -> dict[str, Any]:
    writer = encoder(**fields)
    writer.fold(batches)
    answer: dict[str, Any] = json.loads(writer.answer())
    return answer


def by_sdk(data: bytes) -> Message:
    """What the official SDK makes of a stream; it breaks on anything its strict models do not know."""
    check_order(data)
    return final(data)


def final(data: bytes) -> Message:
    """As `by_sdk`, of any stream."""
    with _client(data, "text/event-stream") as client, client.messages.stream(**_ASK) as stream:
        return stream.get_final_message()


def whole_by_sdk(data: bytes) -> Message:
    with _client(data, "application/json") as client:
        return client.messages.create(**_ASK)


def plain(value: Any) -> Any:
    """As JSON, without nulls: the SDK's accumulator adds some."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def as_json(message: Message) -> Any:
    return plain(message.to_dict())


_ASK: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}


def _client(data: bytes, content_type: str) -> anthropic.Anthropic:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=data, headers={"content-type": content_type})

    return anthropic.Anthropic(
        api_key="any",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        _strict_response_validation=True,
    )


def bodies(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each checked to be named by its type."""
    assert data.endswith(b"\n\n")
    found = []
    for event in SSESplitter().feed(data):
        decoded = json.loads(event.data)
        assert event.event == decoded["type"]
        found.append(decoded)
    return found


def check_order(data: bytes) -> None:
    """message_start, blocks one after another with indexes 0, 1, ..., message_delta, message_stop."""
    found = bodies(data)
    assert [event["type"] for event in found].count("message_start") == 1
    assert found[0]["type"] == "message_start"
    message = found[0]["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    assert message["model"] == "public"
    assert message["id"]
    assert found[-1]["type"] == "message_stop"
    assert found[-2]["type"] == "message_delta"
    assert found[-2]["delta"]["stop_reason"]
    opened: int | None = None
    following = 0
    signed = False
    for event in found[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert opened is None
                assert event["index"] == following
                opened, signed = following, False
            case "content_block_delta":
                assert event["index"] == opened
                assert not signed, "a delta after the signature"
                signed = event["delta"]["type"] == "signature_delta"
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
                following += 1
    assert opened is None
