"""What an answer adds up to, whole and streamed, in every dialect."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.said import Said
from penstock.types.conversation import Dialect
from penstock.types.events import (
    Answer,
    Chunk,
    Delta,
    Events,
    Finish,
    Labels,
    Reasoning,
    RefusalText,
    Text,
    ToolStart,
)

JSON = dict[str, Any]
LOGPROBS = {"content": [{"token": "a", "logprob": -1}, {"token": "b", "logprob": -3.0}]}


def openai(key: str, said: JSON, reason: str | None = None, logprobs: Any = None) -> JSON:
    return {"choices": [{"index": 0, key: said, "finish_reason": reason, "logprobs": logprobs}]}


def gemini(parts: list[JSON], **more: Any) -> JSON:
    return {"candidates": [{"content": {"parts": parts}, **more}]}


def responses(item: JSON, **more: Any) -> JSON:
    return {"object": "response", "output": [{"type": "reasoning", "summary": []}, item], **more}


def anthropic(*blocks: JSON, reason: str = "end_turn") -> JSON:
    return {"type": "message", "content": [*blocks], "stop_reason": reason}


TEXT: JSON = {"type": "output_text", "text": "ab", "logprobs": LOGPROBS["content"]}
PLAIN: JSON = {"type": "output_text", "text": "ab"}
DECLINED: JSON = {"type": "refusal", "refusal": "no"}
FILTERED: JSON = {"incomplete_details": {"reason": "content_filter"}}
BLOCK: JSON = {"type": "text", "text": "ab"}
ROWS: list[tuple[Dialect, list[Delta], JSON]] = [
    ("openai", [Answer(openai("message", {"content": "ab"}, "stop", LOGPROBS))], {"logprobs": [-1.0, -3.0]}),
    ("openai", [Chunk(openai("delta", {"content": one})) for one in "ab"], {}),
    ("openai", [Answer(openai("message", {"content": "ab", "tool_calls": [{}]}))], {"has_calls": True}),
    ("openai", [Answer(openai("message", {"content": "ab", "refusal": "no"}))], {"is_declined": True}),
    ("openai", [Answer(openai("message", {"content": "ab"}, "content_filter"))], {"is_declined": True}),
    ("openai", [Answer(openai("message", {"content": "ab"}, "length"))], {"is_cut": True}),
    (
        "responses",
        [Answer(responses({"type": "message", "content": [TEXT]}))],
        {"logprobs": [-1.0, -3.0]},
    ),
    (
        "responses",
        [Answer(responses({"type": "message", "content": [PLAIN, DECLINED]}))],
        {"is_declined": True},
    ),
    (
        "responses",
        [
            Answer(
                responses(
                    {"type": "message", "content": [PLAIN]},
                    incomplete_details={"reason": "max_output_tokens"},
                )
            )
        ],
        {"is_cut": True},
    ),
    (
        "responses",
        [
            Chunk({"type": "response.created", "response": {}}),
            Chunk({"type": "response.output_text.delta", "delta": "ab", "logprobs": []}),
            Chunk({"type": "response.output_item.added", "item": {"type": "function_call"}}),
            Chunk({"type": "response.completed", "response": {"output": []}}),
        ],
        {"has_calls": True},
    ),
    (
        "responses",
        [
            Chunk({"type": "response.output_text.delta", "delta": "ab"}),
            Chunk({"type": "response.refusal.delta", "delta": "no"}),
            Chunk(
                {
                    "type": "response.incomplete",
                    "response": {"incomplete_details": {"reason": "content_filter"}},
                }
            ),
        ],
        {"is_declined": True},
    ),
    ("anthropic", [Answer(anthropic({"type": "thinking", "thinking": "hm"}, BLOCK))], {}),
    ("anthropic", [Answer(anthropic(BLOCK, {"type": "tool_use"}))], {"has_calls": True}),
    ("anthropic", [Answer(anthropic(BLOCK, reason="refusal"))], {"is_declined": True}),
    ("anthropic", [Answer(anthropic(BLOCK, reason="max_tokens"))], {"is_cut": True}),
    (
        "anthropic",
        [
            Chunk({"type": "message_start", "message": {}}),
            Chunk({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}),
            Chunk({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ab"}}),
            Chunk({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}}),
            Chunk({"type": "message_delta", "delta": {"stop_reason": "refusal"}}),
            Chunk({"type": "message_stop"}),
        ],
        {"is_declined": True},
    ),
    (
        "gemini",
        [
            Answer(
                gemini(
                    [{"text": "hm", "thought": True}, {"text": "ab"}],
                    finishReason="STOP",
                    logprobsResult={"chosenCandidates": [{"logProbability": -2}]},
                )
            )
        ],
        {"logprobs": [-2.0]},
    ),
    ("gemini", [Chunk(gemini([{"text": "ab"}, {"functionCall": {}}]))], {"has_calls": True}),
    ("gemini", [Chunk(gemini([{"text": "ab"}], finishReason="SAFETY"))], {"is_declined": True}),
    ("gemini", [Chunk(gemini([{"text": "ab"}], finishReason="MAX_TOKENS"))], {"is_cut": True}),
    (
        "gemini",
        [Chunk(gemini([{"text": "ab"}])), Chunk({"promptFeedback": {"blockReason": "SAFETY"}})],
        {"is_declined": True},
    ),
    (
        "ollama",
        [Answer({"message": {"content": "ab"}, "done": True, "logprobs": [{"token": "a", "logprob": -1}]})],
        {"logprobs": [-1.0]},
    ),
    (
        "ollama",
        [Chunk({"response": "a"}), Chunk({"response": "b", "done_reason": "length"})],
        {"is_cut": True},
    ),
    ("ollama", [Chunk({"message": {"content": "ab", "tool_calls": [{}]}})], {"has_calls": True}),
    (
        "openai",
        [Events([Reasoning("hm"), Text("a", logprobs=LOGPROBS), Text("b")])],
        {"logprobs": [-1.0, -3.0]},
    ),
    ("openai", [Events([Text("ab"), RefusalText("no"), Finish("stop")])], {"is_declined": True}),
    ("openai", [Events([Text("ab"), ToolStart(0, "1", "f"), Finish("tool_calls")])], {"has_calls": True}),
    ("openai", [Events([Text("ab"), Finish("content_filter")])], {"is_declined": True}),
    ("openai", [Events([Text("ab"), Finish("length")])], {"is_cut": True}),
]


@pytest.mark.parametrize(("dialect", "deltas", "expected"), ROWS)
def test_an_answer(dialect: Dialect, deltas: list[Delta], expected: JSON) -> None:
    said = Said(dialect)
    said.see(deltas)
    assert said.is_readable
    (choice,) = said.choices.values()
    assert choice.text == "ab"
    flags = {"has_calls": False, "is_cut": False, "is_declined": False, "logprobs": []}
    assert {name: getattr(choice, name) for name in flags} == flags | expected
    assert choice.is_answer is not any(expected.get(name) for name in ("has_calls", "is_cut", "is_declined"))


def test_choices_are_told_apart() -> None:
    said = Said("openai")
    body: JSON = {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}
    said.see([Answer(body), Labels([])])
    assert [choice.text for choice in said.choices.values()] == ["a", "b"]


NAMES = ["type", "choices", "delta", "message", "content", "text", "output", "item", "parts", "index"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=9,
)


@given(
    st.sampled_from(["openai", "responses", "anthropic", "gemini", "ollama", "cohere"]),
    st.dictionaries(st.sampled_from(["choices", "type", "output", "candidates", "message"]), ANYTHING),
)
def test_no_answer_is_too_strange(dialect: Any, body: JSON) -> None:
    said = Said(dialect)
    said.see([Answer(body)])
    assert all(isinstance(choice.text, str) for choice in said.choices.values())
