import json
from typing import Any

import pytest

from penstock.gateway.consumed import Volume, consumed
from penstock.lib.sse import SSESplitter
from penstock.protocols import INBOUND
from penstock.providers.openai_completions import CompletionReader
from penstock.types.events import (
    Answer,
    Chunk,
    Delta,
    Events,
    Reasoning,
    RefusalText,
    Text,
    ToolDelta,
    UsageReport,
)
from penstock.types.requests import ChatRequest, EmbeddingRequest
from penstock.types.usage import Usage

PROMPT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


def request() -> ChatRequest:
    made = INBOUND["/v1/chat/completions"].decode(dict(PROMPT))
    assert isinstance(made, ChatRequest)
    return made


def event(**delta: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode()


def volume_of(dialect: str, *deltas: Delta) -> Volume:
    made = Volume(dialect, lambda *_: ([*deltas], None))
    assert made.events(SSESplitter(), b"", reader()) == ([*deltas], None)
    return made


def reader() -> CompletionReader:
    return CompletionReader(request(), "up", recount=False)


NATIVE: list[tuple[str, dict[str, Any], int]] = [
    ("anthropic", {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "four"}}, 4),
    ("anthropic", {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "ä"}}, 2),
    ("anthropic", {"type": "content_block_delta", "delta": {"partial_json": '{"a"'}}, 4),
    ("anthropic", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, 0),
    ("gemini", {"candidates": [{"content": {"parts": [{"text": "ab"}, {"text": "c"}]}}]}, 3),
    ("gemini", {"usageMetadata": {}}, 0),
    ("ollama", {"message": {"content": "ab", "thinking": "c"}}, 3),
    ("ollama", {"response": "abc"}, 3),
    ("responses", {"type": "response.output_text.delta", "delta": "ab"}, 2),
    ("responses", {"type": "response.created", "response": {}}, 0),
    ("bedrock", {"anything": 1}, 0),
]


@pytest.mark.parametrize(("dialect", "body", "size"), NATIVE)
def test_a_dialect_s_own_text_is_counted(dialect: str, body: dict[str, Any], size: int) -> None:
    assert (volume_of(dialect, Chunk(body))).size_bytes == size


WHOLE: list[tuple[str, dict[str, Any], int]] = [
    ("anthropic", {"type": "message", "content": [{"type": "text", "text": "four"}, {"thinking": "ä"}]}, 6),
    ("gemini", {"candidates": [{"content": {"parts": [{"text": "ab"}, {"text": "c"}]}}]}, 3),
    ("ollama", {"message": {"content": "ab", "thinking": "c"}, "done": True}, 3),
    ("responses", {"output": [{"type": "reasoning"}, {"content": [{"text": "ab"}, {"refusal": "x"}]}]}, 2),
]


@pytest.mark.parametrize(("dialect", "body", "size"), WHOLE)
def test_a_whole_answer_of_a_dialect_is_counted(dialect: str, body: dict[str, Any], size: int) -> None:
    assert volume_of(dialect, Answer(body)).size_bytes == size


def test_typed_events_are_counted() -> None:
    events = Events(
        [Text("ab"), Reasoning("c"), RefusalText("d"), ToolDelta(0, "{}"), UsageReport(Usage(1, 2))]
    )
    assert (volume_of("anthropic", events)).size_bytes == 6


def test_what_was_told_is_booked() -> None:
    one = reader()
    for piece in ("Hel", "lo ", "you"):
        one.event(event(content=piece))
    estimate = consumed(None, request(), one, None)
    assert estimate is not None
    assert estimate.is_estimated
    assert (estimate.completion_tokens, estimate.prompt_tokens > 0) == (3, True)
    counted = volume_of("anthropic", Events([Text("12345")]))
    assert consumed(Usage(70, 1, 60), request(), one, counted) == Usage(70, 2, 60, is_estimated=True)
    assert consumed(Usage(70, 9), request(), one, counted) == Usage(70, 9), "the upstream knows better"


def test_what_is_no_stream_is_left_as_it_is() -> None:
    assert consumed(None, EmbeddingRequest("m", ["a"]), reader(), None) is None
