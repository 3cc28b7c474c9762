"""Lift and lower together, and the vendor's own rules (the double of its server) over what lower writes."""

import base64
import json
from typing import Any

import pytest
from anthropic_help import DEPLOYMENT, ask
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols import openai_chat
from penstock.protocols.anthropic_messages import COUNT, MESSAGES
from penstock.providers.anthropic import OPERATIONS, AnthropicCodec
from penstock.providers.anthropic_lower import Lowering
from penstock.testing.anthropic import AnthropicDouble
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import Deployment
from penstock.types.errors import InvalidRequest, UnsupportedParameter
from penstock.types.requests import ChatRequest

OLD, MIDDLE, NEW = "claude-3-7-sonnet-20250219", "claude-sonnet-4-5-20250929", "claude-opus-5-1"
MODELS = [OLD, MIDDLE, "claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-8", NEW, "some-copy"]
PNG = base64.b64encode(b"\x89PNG").decode()
CACHE = {"type": "ephemeral"}
DOUBLE = AnthropicDouble(strict_turns=True)


def lower(said: Conversation, model: str = MIDDLE, **more: Any) -> tuple[dict[str, Any], list[str]]:
    """What is sent, as bytes would carry it, and what was left out."""
    lowering = Lowering(
        said, model, version=more.pop("version", "2023-06-01"), max_output=more.pop("max_output", None)
    )
    body = lowering.body(**more)
    return json.loads(json.dumps({"model": model, **body})), lowering.dropped


def by_the_vendor(body: dict[str, Any], version: str = "2023-06-01") -> None:
    """Raises what the vendor would answer."""
    DOUBLE._read(body, version)


# -- conversations as clients of this dialect have them

WORDS = st.text("abc äöü世界🎉", min_size=1, max_size=6).filter(lambda text: text.strip() != "")
JSONS = st.dictionaries(
    WORDS, WORDS | st.integers(-5, 5) | st.none() | st.lists(WORDS, max_size=2), max_size=3
)
CACHES = st.none() | st.just(CACHE)


def marked(block: dict[str, Any], cache: Any) -> dict[str, Any]:
    return block if cache is None else {**block, "cache_control": cache}


TEXTS = st.builds(lambda text: {"type": "text", "text": text}, WORDS)
IMAGES = st.sampled_from(
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"},
            "title": "T",
        },
    ]
)
THOUGHTS = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature},
    WORDS | st.just(""),
    st.text("abc", min_size=1, max_size=4),
) | st.builds(
    lambda data: {"type": "redacted_thinking", "data": data}, st.text("abc", min_size=1, max_size=4)
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages in the form that lower writes: merged turns, blocks, results first."""
    messages: list[dict[str, Any]] = []
    calls: list[str] = []
    for turn in range(draw(st.integers(1, 6))):
        asked: list[dict[str, Any]] = []
        for call in calls:
            inner = draw(st.lists(TEXTS | IMAGES, max_size=2))
            result = {"type": "tool_result", "tool_use_id": call}
            asked.append(
                {
                    **result,
                    **({"content": inner} if inner else {}),
                    **draw(st.sampled_from([{}, {"is_error": True}])),
                }
            )
        asked += draw(st.lists(TEXTS | IMAGES, min_size=0 if calls else 1, max_size=2))
        messages.append({"role": "user", "content": asked})
        answer = draw(st.lists(TEXTS, max_size=2))
        calls = [f"toolu_{turn}_{at}" for at in range(draw(st.integers(0, 2)))]
        if answer or calls:
            answer = draw(st.lists(THOUGHTS, max_size=2)) + answer
        answer += [{"type": "tool_use", "id": call, "name": "f", "input": draw(JSONS)} for call in calls]
        if not answer:
            break
        messages.append({"role": "assistant", "content": answer})
    if calls:
        messages.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": one} for one in calls]}
        )
    breakpoints = draw(st.lists(st.integers(0, len(messages) - 1), max_size=4, unique=True))
    for at in breakpoints:
        content = messages[at]["content"]
        content[-1] = marked(content[-1], CACHE)
    return messages


@given(conversations())
def test_lift_and_lower_give_the_client_s_messages_back(messages: list[dict[str, Any]]) -> None:
    said = ask(messages=json.loads(json.dumps(messages)), tools=TOOLS).conversation()
    body, dropped = lower(said)
    assert dropped == []
    expected = json.loads(json.dumps(messages))
    if expected[-1]["role"] == "assistant" and expected[-1]["content"][-1]["type"] == "text":
        expected[-1]["content"][-1]["text"] = expected[-1]["content"][-1]["text"].rstrip()
    assert body["messages"] == expected
    by_the_vendor(body)
    again = MESSAGES.decode(json.loads(json.dumps(body))).conversation()
    twice, _ = lower(again)
    assert twice["messages"] == body["messages"]


TOOLS = [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}]


def test_a_claude_style_conversation_of_thirty_turns_loses_nothing() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Fix the build."}]}
    ]
    for turn in range(30):
        calls = [f"toolu_{turn}_{at}" for at in range(1 + turn % 3)]
        answer: list[dict[str, Any]] = [
            {
                "type": "thinking",
                "thinking": f"Step {turn}." if turn % 4 else "",
                "signature": f"sig+/{turn}==",
            }
        ]
        if turn % 5 == 0:
            answer.append({"type": "redacted_thinking", "data": f"blob{turn}"})
        if turn % 2:
            answer.append({"type": "text", "text": f"I look at file {turn}.\n"})
        answer += [
            {"type": "tool_use", "id": one, "name": "f", "input": {"a": f'{one}\n"q"', "n": None}}
            for one in calls
        ]
        results: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": one, "content": [{"type": "text", "text": f"line {one}"}]}
            for one in calls
        ]
        if turn % 7 == 0:
            results[-1]["is_error"] = True
        if turn % 6 == 0:
            results.append({"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"})
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": results}]
    messages[-1]["content"][-1]["cache_control"] = CACHE
    messages[-3]["content"][-1]["cache_control"] = CACHE
    body = {
        "model": MIDDLE,
        "max_tokens": 32_000,
        "system": [
            {
                "type": "text",
                "text": "You are a careful engineer.",
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            }
        ],
        "tools": [{**TOOLS[0], "description": "Reads.", "cache_control": CACHE}],
        "thinking": {"type": "enabled", "budget_tokens": 16_000},
        "metadata": {"user_id": "user_1"},
        "messages": messages,
    }
    request = MESSAGES.decode(json.loads(json.dumps(body)))
    lowered, dropped = lower(request.conversation())
    assert lowered == body
    assert dropped == []
    same = AnthropicCodec().encode(request, DEPLOYMENT)
    assert json.loads(same.body) == {**body, "model": DEPLOYMENT.model}
    assert same.dropped == ()


def test_the_whole_request_comes_back() -> None:
    body = {
        "model": MIDDLE,
        "max_tokens": 500,
        "system": [{"type": "text", "text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        "tools": [{**TOOLS[0], "strict": True}, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {"type": "object", "properties": {}, "additionalProperties": False},
            }
        },
    }
    body["tools"][0]["input_schema"] = {**TOOLS[0]["input_schema"], "additionalProperties": False}  # type: ignore[index, dict-item]
    lowered, dropped = lower(MESSAGES.decode(json.loads(json.dumps(body))).conversation())
    assert lowered == body
    assert dropped == []


# -- conversations of any other client


@st.composite
def foreign(draw: st.DrawFn) -> Conversation:
    """What clients of other dialects send: empty texts, systems anywhere, ids of any letters."""
    texts = st.text("ab \n🎉", max_size=4)
    turns = [Turn("system", [TextPart(draw(texts))]) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        turns.append(Turn("assistant", [TextPart(draw(texts))]))
    turns.append(Turn("user", [TextPart("go")]))
    for turn in range(draw(st.integers(0, 4))):
        parts: list[Part] = []
        if draw(st.booleans()):
            proof = draw(st.sampled_from([(None, ""), ("s", "gemini"), ("s", "openai")]))
            parts.append(ReasoningPart(draw(texts), proof[0], issuer=proof[1]))
        parts += [TextPart(text) for text in draw(st.lists(texts, max_size=2))]
        ids = [f"call.{turn}:{at}" for at in range(draw(st.integers(0, 2)))]
        parts += [
            ToolCallPart(
                one,
                draw(st.sampled_from(["f", "g h", "fs.read"])),
                draw(st.sampled_from(["{}", "", '{"a": 1}'])),
            )
            for one in ids
        ]
        turns.append(Turn("assistant", parts))
        # OpenAI's clients send one message each
        turns += [Turn("tool", [ToolResultPart(one, [TextPart(draw(texts))])]) for one in ids]
        if draw(st.booleans()):
            turns.append(Turn("system", [TextPart(draw(texts))]))
        turns += [Turn("user", [TextPart(text)]) for text in draw(st.lists(texts, max_size=2))]
    names = draw(st.lists(st.sampled_from(["f", "g h", "fs.read", "g_h"]), unique=True, max_size=4))
    tools = [
        Tool(name, None, draw(st.sampled_from([None, {}, {"type": "object", "properties": {}}])))
        for name in names
    ]
    choice = None
    if names:
        choice = draw(
            st.sampled_from(
                [
                    None,
                    ToolChoice("auto"),
                    ToolChoice("none"),
                    ToolChoice("required"),
                    ToolChoice("named", names[0]),
                    ToolChoice("auto", allowed=(names[-1],)),
                ]
            )
        )
    return Conversation(
        turns,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=draw(st.sampled_from([None, False, True])),
        max_tokens=draw(st.sampled_from([None, 1, 900, 2_000, 40_000])),
        temperature=draw(st.sampled_from([None, 0, 0.7, 1, 1.6])),
        top_p=draw(st.sampled_from([None, 0.5, 1])),
        top_k=draw(st.sampled_from([None, 4])),
        stop=draw(st.sampled_from([[], ["x"], [" ", "y"]])),
        thinking=draw(
            st.sampled_from(
                [
                    None,
                    Thinking(effort="high"),
                    Thinking(effort="none"),
                    Thinking(enabled=True),
                    Thinking(enabled=False),
                    Thinking(budget_tokens=500),
                    Thinking(enabled=True, budget_tokens=9_000, visible=False),
                ]
            )
        ),
        format=draw(
            st.sampled_from(
                [
                    None,
                    Format("json_object"),
                    Format("json_schema", schema={"type": "object", "properties": {"a": {"type": "object"}}}),
                ]
            )
        ),
        service_tier=draw(st.sampled_from([None, "auto", "flex"])),
        user=draw(st.sampled_from([None, "u"])),
    )


@given(foreign(), st.sampled_from(MODELS), st.sampled_from(["2023-06-01", "2026-10-21"]))
def test_whatever_other_clients_say_the_vendor_takes(said: Conversation, model: str, version: str) -> None:
    body, _ = lower(said, model, version=version)
    thinking = body.get("thinking", {})
    # Adaptive thinking takes forced tools and turns without thoughts; the double knows the older rules only.
    by_the_vendor(
        {key: value for key, value in body.items() if key != "thinking" or thinking["type"] == "enabled"},
        version,
    )
    assert thinking.get("type") != ("enabled" if model == NEW else "adaptive" if model == OLD else "")
    limit = said.max_tokens
    assert limit is None or body["max_tokens"] == limit, "the client's limit is kept"


@given(foreign(), st.sampled_from(MODELS))
def test_what_was_lowered_can_be_lifted_and_lowered_again(said: Conversation, model: str) -> None:
    body, _ = lower(said, model)
    again = MESSAGES.decode(json.loads(json.dumps(body))).conversation()
    twice, dropped = lower(again, model)
    assert twice["messages"] == body["messages"]
    assert twice.get("system") == body.get("system")
    assert twice.get("tools") == body.get("tools")
    assert twice.get("tool_choice") == body.get("tool_choice")
    assert dropped in ([], ["thinking"])  # an effort may stay where the thinking had to go


def turns(*more: Turn) -> Conversation:
    return Conversation([Turn("user", [TextPart("go")]), *more])


def test_systems_are_hoisted_and_later_ones_stand_where_the_model_knows_them() -> None:
    said = Conversation(
        [
            Turn("system", [TextPart("a")]),
            Turn("system", [TextPart("b")]),
            Turn("user", [TextPart("go")]),
            Turn("system", [TextPart("c")]),
            Turn("assistant", [TextPart("ok")]),
        ]
    )
    older, _ = lower(said)
    assert [block["text"] for block in older["system"]] == ["a", "b"]
    assert [(m["role"], len(m["content"])) for m in older["messages"]] == [("user", 2), ("assistant", 1)]
    newer, _ = lower(said, NEW)
    assert [m["role"] for m in newer["messages"]] == ["user", "system", "assistant", "user"]
    greeted = [
        Turn("assistant", [TextPart("Hi ")]),
        Turn("user", [TextPart("go")]),
        Turn("assistant", [TextPart("So ")]),
    ]
    older, _ = lower(Conversation(list(greeted)))
    assert [m["role"] for m in older["messages"]] == ["user", "assistant", "user", "assistant"]
    assert older["messages"][-1]["content"][0]["text"] == "So"  # to be gone on from
    newer, _ = lower(Conversation(list(greeted)), NEW)
    assert [m["role"] for m in newer["messages"]][-2:] == ["assistant", "user"]
    only, _ = lower(Conversation([Turn("system", [TextPart("Say hello.")])]))
    assert only["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    with pytest.raises(UnsupportedParameter):
        lower(Conversation([Turn("user", [TextPart(" \n")])]))


def test_results_come_first_and_in_one_turn() -> None:
    said = turns(
        Turn("assistant", [TextPart(""), ToolCallPart("b", "f"), ToolCallPart("a", "f")]),
        Turn("tool", [ToolResultPart("a", [TextPart("2")])]),
        Turn(
            "tool", [ToolResultPart("b", [TextPart(""), MediaPart("image", "image/png", PNG)], is_error=True)]
        ),
        Turn("user", [TextPart("and?")]),
    )
    body, dropped = lower(said)
    assert body["messages"][1]["content"][0]["type"] == "tool_use"
    assert [(b["type"], b.get("tool_use_id")) for b in body["messages"][2]["content"]] == [
        ("tool_result", "b"),
        ("tool_result", "a"),
        ("text", None),
    ]
    assert body["messages"][2]["content"][0]["is_error"]
    assert body["messages"][2]["content"][0]["content"][0]["type"] == "image"
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert dropped == []
    by_the_vendor(body)


@pytest.mark.parametrize(
    "more",
    [
        [Turn("assistant", [ToolCallPart("a", "f")])],
        [Turn("assistant", [ToolCallPart("a", "f")]), Turn("user", [TextPart("x")])],
        [Turn("tool", [ToolResultPart("a", [])])],
        [
            Turn("assistant", [ToolCallPart("a", "f")]),
            Turn("tool", [ToolResultPart("a", []), ToolResultPart("a", [])]),
        ],
        [Turn("assistant", [ToolCallPart("a", "f", "[1]")]), Turn("tool", [ToolResultPart("a", [])])],
        [Turn("assistant", [ToolCallPart("a", "f", "{")]), Turn("tool", [ToolResultPart("a", [])])],
    ],
)
def test_calls_and_results_must_pair(more: list[Turn]) -> None:
    with pytest.raises(InvalidRequest):
        lower(turns(*more))


@pytest.mark.parametrize(
    ("model", "wish", "expected", "effort"),
    [
        (MIDDLE, Thinking(effort="low"), {"type": "enabled", "budget_tokens": 4096}, None),
        (MIDDLE, Thinking(enabled=True), {"type": "enabled", "budget_tokens": 12_288}, None),
        (MIDDLE, Thinking(budget_tokens=5), {"type": "enabled", "budget_tokens": 1024}, None),
        (MIDDLE, Thinking(effort="none"), {"type": "disabled"}, None),
        (
            "claude-opus-4-5",
            Thinking(effort="medium"),
            {"type": "enabled", "budget_tokens": 12_288},
            "medium",
        ),
        ("claude-opus-4-6", Thinking(effort="xhigh"), {"type": "adaptive"}, "high"),
        (
            "claude-opus-4-7",
            Thinking(effort="xhigh", visible=True),
            {"type": "adaptive", "display": "summarized"},
            "xhigh",
        ),
        ("claude-opus-5-5", Thinking(enabled=False), None, "low"),
        ("claude-sonnet-5-5", Thinking(effort="none"), {"type": "between_tools"}, None),
        ("claude-sonnet-5", Thinking(enabled=False), {"type": "disabled"}, None),
        (NEW, Thinking(effort="minimal"), {"type": "adaptive"}, "low"),
        (NEW, Thinking(enabled=True, budget_tokens=20_000), {"type": "adaptive"}, "high"),
        ("claude-mythos-preview", Thinking(enabled=True), {"type": "adaptive"}, None),
        ("claude-mythos-preview", Thinking(enabled=False), None, "low"),
        ("some-copy", Thinking(effort="high"), {"type": "enabled", "budget_tokens": 24_576}, None),
    ],
)
def test_thinking_as_each_model_takes_it(
    model: str, wish: Thinking, expected: Any, effort: str | None
) -> None:
    said = turns()
    said.thinking = wish
    body, _ = lower(said, model)
    assert body.get("thinking") == expected
    assert body.get("output_config", {}).get("effort") == effort
    assert body["max_tokens"] > body.get("thinking", {}).get("budget_tokens", 0)


def test_thinking_gives_way() -> None:
    forced = turns()
    forced.tools, forced.tool_choice, forced.thinking = (
        [Tool("f")],
        ToolChoice("required"),
        Thinking(enabled=True),
    )
    assert lower(forced)[1] == ["thinking"]
    small = turns()
    small.thinking, small.max_tokens = Thinking(effort="high"), 500
    assert lower(small)[1] == ["thinking"]
    small.max_tokens = 6_000
    body, dropped = lower(small)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"], dropped) == (3_000, 6_000, [])
    lost = turns(
        Turn("assistant", [ToolCallPart("a", "f")]), Turn("tool", [ToolResultPart("a", [TextPart("x")])])
    )
    lost.thinking, lost.tools = Thinking(effort="high"), [Tool("f")]
    assert lower(lost)[1] == ["thinking"]
    kept = turns(
        Turn("assistant", [ReasoningPart("t", "s", issuer="anthropic"), ToolCallPart("a", "f")]),
        Turn("tool", [ToolResultPart("a", [TextPart("x")])]),
    )
    kept.thinking, kept.tools = Thinking(effort="high"), [Tool("f")]
    body, dropped = lower(kept)
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "t", "signature": "s"}
    assert dropped == []


def test_limits() -> None:
    said = turns()
    assert lower(said)[0]["max_tokens"] == 8192
    assert lower(said, max_output=64_000)[0]["max_tokens"] == 64_000
    said.thinking = Thinking(effort="high")
    assert lower(said)[0]["max_tokens"] == 24_576 + 8_192
    assert lower(said, max_output=20_000)[0]["thinking"]["budget_tokens"] == 10_000
    said.thinking = None
    said.temperature, said.top_p = 1.5, 0.5
    body, dropped = lower(said)
    assert "temperature" not in body
    assert (body["top_p"], dropped) == (0.5, ["temperature"])
    said.temperature = 0.5
    assert lower(said)[1] == ["top_p"]
    assert lower(said, OLD)[1] == []
    assert lower(said, NEW)[1] == ["temperature", "top_p"]
    assert lower(said, version="2026-10-21")[1] == ["temperature", "top_p"]
    said.temperature, said.top_p = 1, 1
    assert lower(said, NEW)[1] == []


def test_what_has_no_place_is_reported() -> None:
    said = Conversation(
        [
            Turn(
                "user",
                [
                    TextPart("x"),
                    MediaPart("audio", "audio/wav", PNG),
                    MediaPart("image", "image/tiff", PNG),
                    MediaPart("image", url="http://e.org/a.png"),
                    MediaPart("image", file_id="file_1"),
                    MediaPart("image", "image/png", PNG, detail="low"),
                    NativePart("gemini", {"type": "executableCode"}),
                ],
                name="ann",
            ),
            Turn("assistant", [RefusalPart("No."), ReasoningPart("t"), MediaPart("image", "image/png", PNG)]),
            Turn("user", [TextPart("y")]),
        ],
        tools=[Tool("search", kind="native", native={}, dialect="gemini"), Tool("f", strict=True)],
        seed=1,
        logit_bias={"1": 2},
        n=2,
        stop=[" "],
        service_tier="flex",
        other={"prediction": {}},
    )
    body, dropped = lower(said, OLD)
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "No."}]}
    assert sorted(dropped) == [
        "logit_bias",
        "messages[].audio",
        "messages[].executableCode",
        "messages[].image",
        "messages[].image.detail",
        "messages[].name",
        "messages[].reasoning",
        "n",
        "prediction",
        "seed",
        "service_tier",
        "stop",
        "tools.search",
        "tools[].strict",
    ]
    by_the_vendor(body)


def test_at_most_four_breakpoints() -> None:
    said = Conversation(
        [
            Turn("system", [TextPart("s", CACHE), TextPart("t", CACHE)]),
            Turn(
                "user", [TextPart(str(at), {"type": "ephemeral", "ttl": "1h", "more": 1}) for at in range(4)]
            ),
        ],
        tools=[Tool("f", cache=CACHE)],
    )
    body, dropped = lower(said)
    assert body["tools"][0]["cache_control"] == CACHE
    assert not any("cache_control" in block for block in body["system"])
    kept = [block.get("cache_control") for block in body["messages"][0]["content"]]
    assert kept == [None] + [{"type": "ephemeral", "ttl": "1h"}] * 3
    assert dropped == ["cache_control"]


def test_an_openai_client_s_agent_loop() -> None:
    request = openai_chat.decode(
        {
            "model": "public",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look."},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning_details": [
                        {
                            "type": "reasoning.text",
                            "text": "hm",
                            "signature": "penstock.anthropic.sig",
                            "format": "penstock-v1",
                            "index": 0,
                        }
                    ],
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "[]"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
                }
            ],
            "tool_choice": "auto",
            "reasoning_effort": "medium",
            "max_completion_tokens": 20_000,
        }
    )
    codec = AnthropicCodec()
    outgoing = codec.encode(request, Deployment("dep", MIDDLE, codec, OPERATIONS))
    body = json.loads(outgoing.body)
    assert outgoing.dropped == ()
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert body["thinking"]["type"] == "enabled"
    assert body["tool_choice"] == {"type": "auto"}


def test_counts_are_lowered_without_limits() -> None:
    request = ChatRequest("m", {}, lift=lambda _: turns(), counts_only=True)
    codec = AnthropicCodec()
    body = json.loads(codec.encode(request, DEPLOYMENT).body)
    assert COUNT.decode(body).counts_only


def unmarked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Breakpoints move on with the conversation; they are no part of what was said."""
    return [
        {
            **message,
            "content": [{k: v for k, v in b.items() if k != "cache_control"} for b in message["content"]],
        }
        for message in messages
    ]


@given(foreign(), st.sampled_from(["claude-opus-5-5", "claude-fable-5-1", MIDDLE]))
def test_a_conversation_that_goes_on_is_written_on(said: Conversation, model: str) -> None:
    """Thoughts are bound to all that was before them: none of it may be written otherwise later.

    https://platform.claude.com/docs/en/build-with-claude/preserved-thinking
    """
    whole = unmarked(lower(said, model)[0]["messages"])
    for at, turn in enumerate(said.turns):
        is_said = any(
            isinstance(part, ToolCallPart) or (isinstance(part, TextPart) and part.text.strip())
            for part in turn.parts
        )
        last = said.turns[at - 1]
        is_asked = last.role == "tool" or any(isinstance(p, TextPart) and p.text.strip() for p in last.parts)
        if turn.role == "assistant" and is_said and at and last.role in ("user", "tool") and is_asked:
            until = Conversation(said.turns[:at], tools=said.tools, thinking=said.thinking)
            before = unmarked(lower(until, model)[0]["messages"])
            assert whole[: len(before)] == before
