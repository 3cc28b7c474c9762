"""Every recording of every vendor, told in every inbound protocol, streamed and whole: the same is said.

A recording becomes typed events by its vendor's reader, these become the bytes of a protocol, and those are
read again by the reader of that protocol's own vendor. What was said, called and counted must be the same
each time. The streams also satisfy the official SDKs in the tests of each protocol.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typed_events import said
from wire_help import WIRE, new_call

from penstock.lib.eventstream import FrameSplitter
from penstock.lib.sse import SSESplitter
from penstock.protocols import INBOUND, find
from penstock.providers import CONNECTORS
from penstock.providers.bedrock import BedrockCodec
from penstock.providers.profiles import profile
from penstock.types.conversation import Conversation, Dialect, TextPart, Tool, Turn
from penstock.types.deployment import Codec, Credentials, Deployment
from penstock.types.errors import PenstockError, UpstreamError
from penstock.types.events import Event, Events, Finish, ReasoningEnd, ToolEnd, UsageReport
from penstock.types.requests import ChatRequest
from penstock.types.wire import Inbound

PATHS = {
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:streamGenerateContent",
    "ollama": "/api/chat",
}
KINDS = {
    "openai": "openai",
    "responses": "openai-responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama-native",
}
FOLDERS = {"handwritten": "openai", "llamacpp": "openai", **{name: name for name in (*PATHS, "bedrock")}}
TOOLS = [Tool(name, None, {"type": "object", "properties": {}}) for name in ("weather", "now", "search")]
ASKED = Conversation([Turn("user", [TextPart("hi")])], TOOLS)
BODIES: dict[str, dict[str, Any]] = {
    "openai": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "m", "input": "hi"},
    "anthropic": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "ollama": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}


def codec_of(dialect: str) -> Codec:
    if dialect == "bedrock":
        return BedrockCodec(name="up")
    row = profile(KINDS[dialect])
    codec: Codec = CONNECTORS.load(row.codec)(row, Credentials(api_key="k"), "up").codec
    return codec


def reader_of(dialect: str, *, n: int = 1) -> Any:
    """Of a request in a dialect that no vendor here speaks, so that typed events come."""
    other: Dialect = "cohere"
    request = ChatRequest("m", {}, n=n, dialect=other, lift=lambda _: ASKED)
    codec = codec_of(dialect)
    return codec.reader(request, Deployment("d", "up", codec, codec.operations))


def split(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.suffix == ".ndjson":
        return data.splitlines()
    return FrameSplitter().feed_data(data) if path.suffix == ".bin" else SSESplitter().feed_data(data)


def read(path: Path) -> tuple[list[Event], PenstockError | None]:
    """The events of a recording, and the error it ends with."""
    reader = reader_of(FOLDERS[path.parent.name], n=2 if "n2" in path.name else 1)
    events: list[Event] = []
    try:
        if path.suffix == ".json":
            events += reader.answer(path.read_bytes()).events
        else:
            for data in split(path):
                delta = reader.event(data)
                if delta is not None:
                    events += delta.events
    except PenstockError as error:
        return events, error
    assert reader.is_complete or reader.is_done is False
    return events, None


def _recordings() -> Iterator[Path]:
    for folder in sorted(FOLDERS):
        for path in sorted((WIRE / folder).glob("*")) if (WIRE / folder).is_dir() else ():
            is_other = any(
                word in path.name for word in ("completion", "embedding", "context_error", "error_429")
            )
            if path.suffix in (".sse", ".bin", ".ndjson", ".json") and not is_other:
                yield path


RECORDINGS = list(_recordings())
NAMES = [f"{path.parent.name}/{path.name}" for path in RECORDINGS]


def test_all_vendors_and_the_hard_cases_are_recorded() -> None:
    assert {FOLDERS[path.parent.name] for path in RECORDINGS} == {*PATHS, "bedrock"}
    names = " ".join(NAMES)
    for case in ("parallel", "empty", "thinking", "refusal", "max_tokens", "unicode", "error", "redacted"):
        assert case in names


def parts_of(dialect: str, out: bytes) -> list[bytes]:
    return out.splitlines() if dialect == "ollama" else SSESplitter().feed_data(out)


def inbound_of(dialect: str, *, stream: bool) -> tuple[Inbound, ChatRequest]:
    inbound = INBOUND.get(PATHS[dialect]) or find(PATHS[dialect], b"alt=sse" if stream else b"")
    assert inbound is not None
    fields = {} if dialect == "gemini" else {"stream": stream}
    if dialect == "openai" and stream:
        fields["stream_options"] = {"include_usage": True}  # type: ignore[assignment]
    request = inbound.decode(json.loads(json.dumps(BODIES[dialect] | fields)))
    assert isinstance(request, ChatRequest)
    return inbound, request


def told(dialect: str, events: list[Event], *, stream: bool) -> list[Event]:
    """What a client of that dialect reads."""
    inbound, request = inbound_of(dialect, stream=stream)
    encoder = inbound.encoder(request, new_call())
    usage = next((e.usage for e in reversed(events) if isinstance(e, UsageReport)), None)
    reader = reader_of(dialect)
    found: list[Event] = []
    if not stream:
        encoder.fold([Events(events, usage, has_content=True)])
        return list(reader.answer(encoder.answer()).events)
    out = b"".join(
        encoder.stream([Events([event], event.usage if isinstance(event, UsageReport) else None, True)])
        for event in events
    )
    for data in parts_of(dialect, out + encoder.stream_end()):
        delta = reader.event(data)
        if delta is not None:
            found += delta.events
    assert reader.is_complete
    return found


def meaning(events: list[Event]) -> dict[str, Any]:
    """What must survive every translation. Ids and signatures have forms of their own in each dialect."""
    found = said(events)
    calls = [(call["name"], _json(call["arguments"])) for call in found["calls"]]
    usage = next((e.usage for e in reversed(events) if isinstance(e, UsageReport)), None)
    counts = None
    if usage is not None:
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    is_refused = bool(found["refusal"]) and found["finish"] in ("stop", "content_filter")
    text = re.sub(r"!\[image\]\(data:[^)]*\)", "", found["text"])  # how Anthropic's text shows one
    return {
        "text": text + found["refusal"],  # Anthropic and Gemini refuse in plain text
        "reasoning": found["reasoning"].strip(),
        "calls": calls,
        "finish": "refused" if is_refused or found["finish"] == "content_filter" else found["finish"],
        "counts": counts,
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return "cut"


def _whole_only(events: list[Event]) -> list[Event]:
    """One choice: not every protocol has several."""
    return [event for event in events if getattr(event, "choice", 0) == 0]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("path", RECORDINGS, ids=NAMES)
def test_the_same_is_said_in_every_protocol(path: Path, dialect: str, stream: bool) -> None:
    events, error = read(path)
    events = _whole_only(events)
    if error is not None:
        assert isinstance(error, UpstreamError | PenstockError)
        _check_error(dialect, events, error)
        return
    before, after = meaning(events), meaning(told(dialect, events, stream=stream))
    if before["finish"] == "length" and "cut" in [arguments for _, arguments in before["calls"]]:
        after["calls"] = before["calls"] if len(after["calls"]) <= len(before["calls"]) else after["calls"]
        assert after["finish"] == "length"
    if before["finish"] == "refused":
        after["finish"] = "refused" if after["finish"] in ("refused", "stop") else after["finish"]
    if dialect == "ollama" and before["counts"] is not None:
        before["counts"] = (*before["counts"][:2], 0)  # it has no word for what was cached
    if before["counts"] is None:
        after["counts"] = None  # some formats need numbers: they say 0, or what was counted
    assert after == before


def _check_error(dialect: str, events: list[Event], error: PenstockError) -> None:
    """The error ends the stream as an event; no finish is made up."""
    assert not any(isinstance(event, Finish) for event in events)
    inbound, request = inbound_of(dialect, stream=True)
    encoder = inbound.encoder(request, new_call())
    open_events = [event for event in events if not isinstance(event, ToolEnd | ReasoningEnd)]
    out = b"".join(encoder.stream([Events([event], None, True)]) for event in open_events)
    out += encoder.stream_error(error)
    reader = reader_of(dialect)
    *before, last = parts_of(dialect, out)
    for data in before:
        reader.event(data)
    with pytest.raises(PenstockError):
        reader.event(last)
    assert not reader.is_complete
