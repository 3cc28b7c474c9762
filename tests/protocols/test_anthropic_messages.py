"""What a Messages request may say, what it is refused for, and what it becomes in no vendor's words."""

import base64
from typing import Any

import pytest
from anthropic_help import WEATHER, ask, body

from penstock.protocols.anthropic_messages import COUNT, MESSAGES
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    seal,
)
from penstock.types.errors import InvalidRequest, UnsupportedParameter

PNG = base64.b64encode(b"\x89PNG").decode()
CACHE = {"type": "ephemeral", "ttl": "1h"}
USE = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "12 degrees"}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def lifted(*messages: Any, **fields: Any) -> Conversation:
    return ask(messages=list(messages), **fields).conversation()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [user({"text": "x"})]}, "messages[0].content[0].type"),
        (
            {"messages": [user({"type": "image", "source": {"type": "disk"}})]},
            "messages[0].content[0].source.type",
        ),
        (
            {
                "messages": [
                    user(
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "!"},
                        }
                    )
                ]
            },
            "messages[0].content[0].source.data",
        ),
        (
            {
                "messages": [
                    user(
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
                    )
                ]
            },
            "messages[0].content[0].source.data",
        ),
        (
            {
                "messages": [
                    user(
                        {"type": "image", "source": {"type": "base64", "media_type": "text/csv", "data": PNG}}
                    )
                ]
            },
            "messages[0].content[0].source.media_type",
        ),
        ({"messages": [user(RESULT)]}, "messages[0].content[0].tool_use_id"),
        (
            {"messages": [user(text("x")), assistant(USE), user(RESULT, RESULT)]},
            "messages[2].content[1].tool_use_id",
        ),
        ({"messages": [user(text("x")), assistant(USE, USE), user(RESULT)]}, "messages[1].content[1].id"),
        ({"messages": [user(USE)]}, "messages[0].content[0].type"),
        ({"messages": [user(text("x")), assistant(USE), assistant(RESULT)]}, "messages[2].content[0].type"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {"type": "object"}}]}, "tools[0].name"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "tools[0].input_schema.type"),
        ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema"),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": []}}]},
            "tools[0].input_schema.properties",
        ),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "object", "required": "a"}}]},
            "tools[0].input_schema.required",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 12}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}, "temperature": 0.5}, "temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}, "top_k": 5}, "top_k"),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 2048},
                "tools": [WEATHER],
                "tool_choice": {"type": "any"},
            },
            "tool_choice",
        ),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"output_config": {"effort": "enormous"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_is_refused_names_its_path(fields: dict[str, Any], param: str) -> None:
    wrong = {key: value for key, value in body(**fields).items() if value is not None}
    with pytest.raises(InvalidRequest) as caught:
        MESSAGES.decode(wrong)
    assert caught.value.param == param
    assert param.partition("[")[0].partition(".")[0] in caught.value.message


def test_nulls_that_mean_nothing_are_gone_and_others_stay() -> None:
    request = ask(
        system=None,
        temperature=None,
        tools=[{**WEATHER, "cache_control": None, "description": None}],
        messages=[
            user(text("x", cache_control=None, citations=None)),
            assistant({**USE, "input": {"city": None}, "cache_control": None}),
            user({**RESULT, "content": [text("y", citations=None)], "is_error": None}),
        ],
    )
    assert "system" not in request.body
    assert request.body["tools"] == [WEATHER]
    assert request.body["messages"][0]["content"] == [text("x")]
    assert request.body["messages"][1]["content"][0]["input"] == {"city": None}
    assert request.body["messages"][2]["content"] == [{**RESULT, "content": [text("y")]}]


def test_unknown_fields_and_blocks_travel_on() -> None:
    block = {"type": "hologram", "shape": "cube"}
    inner = {"type": "scent", "of": "roses"}
    request = ask(
        messages=[user(text("x")), assistant(USE, block), user({**RESULT, "content": [inner]})],
        context_management={"edits": []},
    )
    assert request.body["messages"][1]["content"][1] == block
    assert request.body["context_management"] == {"edits": []}
    with pytest.raises(InvalidRequest) as caught:  # and no other dialect can be told
        request.conversation()
    assert caught.value.param == "messages[1].content[1].type"
    with pytest.raises(InvalidRequest) as caught:  # what is wrong beside them is still wrong
        ask(messages=[assistant(block), user({"type": "text"})])
    assert caught.value.param == "messages[1].content[0].text"


def test_the_request_s_own_fields() -> None:
    request = ask(stream=True)
    assert (request.model, request.stream, request.max_tokens, request.dialect) == (
        "public",
        True,
        4096,
        "anthropic",
    )
    assert not ask(stream=False).stream
    assert "stream" not in ask(stream=False).body
    assert MESSAGES.id_header == "request-id"
    assert set(MESSAGES.forwards) == {b"anthropic-version", b"anthropic-beta"}


def test_counting_needs_no_limit() -> None:
    request = COUNT.decode({"model": "m", "messages": [user(text("x"))], "tools": [WEATHER]})
    assert request.counts_only
    assert request.conversation().max_tokens is None
    with pytest.raises(InvalidRequest):
        COUNT.decode({"model": "m", "messages": []})


def test_a_call_id_may_come_again_after_its_result() -> None:
    """llama.cpp and others number their calls anew in each answer."""
    ask(messages=[user(text("x")), assistant(USE), user(RESULT), assistant(USE), user(RESULT)])


# -- lift


def test_turns() -> None:
    said = lifted(
        user(text("What is the weather?", cache_control=CACHE)),
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "blob"},
            text("Let me see."),
            {**USE, "cache_control": CACHE},
        ),
        user({**RESULT, "is_error": True, "cache_control": CACHE}, text("And tomorrow?")),
        {"role": "system", "content": "Be brief."},
        system=[text("You are kind.", cache_control=CACHE)],
    )
    assert said.turns == [
        Turn("system", [TextPart("You are kind.", CACHE)]),
        Turn("user", [TextPart("What is the weather?", CACHE)]),
        Turn(
            "assistant",
            [
                ReasoningPart("hm", "sig", issuer="anthropic"),
                ReasoningPart(redacted="blob", issuer="anthropic"),
                TextPart("Let me see."),
                ToolCallPart("t1", "get_weather", '{"city":"Paris"}', cache=CACHE),
            ],
        ),
        Turn(
            "tool",
            [ToolResultPart("t1", [TextPart("12 degrees")], "get_weather", is_error=True, cache=CACHE)],
        ),
        Turn("user", [TextPart("And tomorrow?")]),
        Turn("system", [TextPart("Be brief.")]),
    ]


def test_media() -> None:
    said = lifted(
        user(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                "cache_control": CACHE,
            },
            {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PNG},
                "title": "T",
            },
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
            {
                "type": "document",
                "source": {"type": "content", "content": [text("a"), text("b")]},
                "cache_control": CACHE,
            },
            {
                "type": "document",
                "source": {"type": "content", "content": "c"},
                "citations": {"enabled": True},
            },
        )
    )
    assert said.turns[0].parts == [
        MediaPart("image", "image/png", PNG, cache=CACHE),
        MediaPart("image", url="https://e.org/a.png"),
        MediaPart("image", file_id="file_1", store="anthropic"),
        MediaPart("file", "application/pdf", PNG, name="T"),
        MediaPart("file", "text/plain", base64.b64encode("Grüße".encode()).decode()),
        TextPart("a"),
        TextPart("b", CACHE),
        TextPart("c"),
    ]
    assert said.other == {"messages[].document.citations": True}


def test_server_blocks_are_native_and_their_words_in_results_are_text() -> None:
    search = {
        "type": "search_result",
        "source": "https://e.org",
        "title": "E",
        "content": [text("so"), text("it is")],
    }
    used = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    said = lifted(
        user(search),
        assistant(used, USE),
        user(
            {
                **RESULT,
                "content": [
                    search,
                    {"type": "tool_reference", "tool_name": "f"},
                    {"type": "browser_state", "a": 1},
                ],
            }
        ),
    )
    assert said.turns[0].parts == [NativePart("anthropic", search)]
    assert said.turns[1].parts[0] == NativePart("anthropic", used)
    result = said.turns[2].parts[0]
    assert isinstance(result, ToolResultPart)
    assert result.content == [
        TextPart("E\nhttps://e.org\n\nso\nit is"),
        TextPart("The tool f is available."),
        TextPart('{"type":"browser_state","a":1}'),
    ]
    assert said.other == {"messages[].browser_state": True}


def test_signatures_of_others_are_opened() -> None:
    said = lifted(
        user(text("x")),
        assistant(
            {"type": "thinking", "thinking": "a", "signature": seal("gemini", "g.s")},
            {"type": "thinking", "thinking": "b", "signature": ""},
            {"type": "thinking", "thinking": "c"},
            {"type": "redacted_thinking", "data": seal("bedrock", "blob")},
            {"type": "thinking", "thinking": "d", "signature": seal("responses", "~not base64 json")},
        ),
    )
    assert said.turns[1].parts == [
        ReasoningPart("a", "g.s", issuer="gemini"),
        ReasoningPart("b"),
        ReasoningPart("c"),
        ReasoningPart(redacted="blob", issuer="bedrock"),
        ReasoningPart("d"),
    ]


@pytest.mark.parametrize(
    ("choice", "lifted_choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        (
            {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": False},
            ToolChoice("named", "get_weather"),
            True,
        ),
        ({"type": "none"}, ToolChoice("none"), None),
    ],
)
def test_tool_choice(choice: Any, lifted_choice: ToolChoice, parallel: bool | None) -> None:
    said = lifted(user(text("x")), tools=[WEATHER], tool_choice=choice)
    assert (said.tool_choice, said.parallel_tool_calls) == (lifted_choice, parallel)


def test_tools() -> None:
    server = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    full = {
        **WEATHER,
        "type": "custom",
        "description": "d",
        "strict": True,
        "cache_control": CACHE,
        "input_examples": [{}],
    }
    said = lifted(user(text("x")), tools=[full, server])
    assert said.tools == [
        Tool("get_weather", "d", {"type": "object"}, strict=True, cache=CACHE),
        Tool("web_search", kind="native", native=server, dialect="anthropic"),
    ]
    assert said.other == {"tools[].input_examples": True}


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            Thinking(enabled=True, budget_tokens=2048),
        ),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Thinking(enabled=True, visible=False)),
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        ({"output_config": {"effort": "max"}}, Thinking(effort="max")),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
            Thinking(enabled=True, effort="low", visible=True),
        ),
    ],
)
def test_thinking(fields: dict[str, Any], thinking: Thinking) -> None:
    assert lifted(user(text("x")), **fields).thinking == thinking


def test_the_rest() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    said = lifted(
        user(text("x")),
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["a"],
        metadata={"user_id": "u"},
        service_tier="auto",
        output_config={"format": {"type": "json_schema", "schema": schema}},
        container="c1",
        mcp_servers=[{"name": "m"}],
    )
    assert (said.temperature, said.top_p, said.top_k, said.stop, said.user) == (0.5, 0.9, 4, ["a"], "u")
    assert said.format == Format("json_schema", schema=schema)
    assert said.other == {"container": "c1", "mcp_servers": [{"name": "m"}]}
    assert said.service_tier == "auto"


def test_warming_a_cache_is_for_anthropic_alone() -> None:
    with pytest.raises(UnsupportedParameter):
        lifted(user(text("x")), max_tokens=0)


def test_interleaved_thinking_may_be_longer_than_the_answer() -> None:
    """A budget over all turns of tools: platform.claude.com/docs/en/build-with-claude/extended-thinking."""
    thinking = {"type": "enabled", "budget_tokens": 4096}
    request = MESSAGES.decode(body(thinking=thinking, tools=[WEATHER], max_tokens=1000))
    assert request.conversation().thinking == Thinking(enabled=True, budget_tokens=4096)
