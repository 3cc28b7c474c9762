import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_help import USER, WEATHER, chat_body

from penstock.protocols import openai_chat
from penstock.types.errors import InvalidRequest


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


ASSISTANT_CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
}

REFERENCE = {"type": "function", "function": {"name": "weather"}}
ALLOWED = "tool_choice.allowed_tools.tools"


def allowed(*references: Any) -> dict[str, Any]:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(references)}}
    return {"tools": [WEATHER], "tool_choice": choice}


GOOD: list[dict[str, Any]] = [
    {},
    {"messages": [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")]},
    {"messages": [USER, ASSISTANT_CALL, {"role": "tool", "tool_call_id": "c1", "content": "rain"}]},
    {"messages": [USER, {"role": "assistant", "refusal": "no"}]},
    {"messages": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
    {"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]},
    {"messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "y", "reasoning": "y"}]},
    {"messages": [{"role": "function", "name": "f", "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}], "name": "me"}]},
    {"messages": [{"role": "user", "content": [image("data:image/png;base64,aGk=")]}]},
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            }
        ]
    },
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}]},
    {"n": 128, "temperature": 2, "top_p": 0, "presence_penalty": -2, "frequency_penalty": 2.0, "seed": -1},
    {"n": 3, "stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    {"stop": "x"},
    {"stop": ["a", "b", "c", "d"]},
    {"logprobs": True, "top_logprobs": 20, "logit_bias": {"1": -100, "2": 0.5}},
    {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    {
        "tools": [WEATHER],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [REFERENCE]}},
    },
    {
        "tools": [{"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}],
        "tool_choice": {"type": "custom", "custom": {"name": "sql"}},
    },
    {"tools": [], "tool_choice": "auto"},
    {"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": True}}},
    {"metadata": {"a": "b"}, "store": True, "service_tier": "fast", "reasoning_effort": "max"},
    {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    {"prediction": {"type": "content", "content": "x"}, "verbosity": "low", "user": "me"},
    {
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "ignore_eos": True,
        "min_tokens": 3,
        "priority": -1,
    },
    {"chat_template_kwargs": {"enable_thinking": False}, "thinking": {"type": "disabled"}},
    {"reasoning": {"effort": "low", "max_tokens": 10, "exclude": True}, "guided_json": {"type": "object"}},
]

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"model": ""}, "model", "empty"),
    ({"model": 3}, "model", "string"),
    ({"messages": []}, "messages", "empty"),
    ({"messages": "hi"}, "messages", "array"),
    ({"messages": ["hi"]}, "messages[0]", "object"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "required"),
    ({"messages": [{"role": "sysem", "content": "x"}]}, "messages[0].role", "did you mean 'system'?"),
    ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role", "one of: assistant"),
    ({"messages": [USER, {"role": "user"}]}, "messages[1].content", "required"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "required"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string or an array"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty"),
    (
        {"messages": [{"role": "user", "content": [{"type": "img"}]}]},
        "messages[0].content[0].type",
        "image_url",
    ),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type", "required"),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "hi"}}],
                }
            ]
        },
        "messages[0].content[0].image_url.detail",
        "auto, high, low",
    ),
    ({"messages": [USER, {"role": "assistant"}]}, "messages[1]", "needs one of"),
    ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1]", "needs one of"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": []}]}, "messages[1]", "needs one of"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "required"),
    (
        {"messages": [USER, {"role": "tool", "tool_call_id": "c9", "content": "x"}]},
        "messages[1].tool_call_id",
        "answers no tool call",
    ),
    (
        {"messages": [{"role": "user", "content": [image("data:image/png;base64,a")]}]},
        "messages[0].content[0].image_url.url",
        "not valid base64",
    ),
    (
        {"messages": [{"role": "user", "content": [image("data:image/png,a")]}]},
        "messages[0].content[0].image_url.url",
        "must be `data:",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
        "tools[0].function.parameters",
        "of an object",
    ),
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "x"}}],
                }
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
        "required",
    ),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name", "required"),
    ({"n": 0}, "n", "from 1 to 128"),
    ({"n": 129}, "n", "from 1 to 128"),
    ({"n": 1.0}, "n", "integer, not a number"),
    ({"n": True}, "n", "integer, not a boolean"),
    ({"n": "1"}, "n", "integer, not a string"),
    ({"temperature": 2.1}, "temperature", "from 0 to 2"),
    ({"temperature": "hot"}, "temperature", "number, not a string"),
    ({"top_p": -0.1}, "top_p", "from 0 to 1"),
    ({"presence_penalty": 3}, "presence_penalty", "from -2 to 2"),
    ({"max_tokens": 0}, "max_tokens", "at least 1"),
    ({"max_completion_tokens": -5}, "max_completion_tokens", "at least 1"),
    ({"stream": "yes"}, "stream", "boolean"),
    ({"seed": 2**70}, "seed", "from -9223372036854775808"),
    ({"stop": []}, "stop", "empty"),
    ({"stop": ["x"] * 5}, "stop", "at most 4"),
    ({"stop": [1]}, "stop[0]", "string"),
    ({"stop": 1}, "stop", "string or an array"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5", "from -100 to 100"),
    ({"logit_bias": {"4": 1, "5": "x"}}, "logit_bias.5", "number"),
    ({"top_logprobs": 3}, "top_logprobs", "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "boolean"),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "match [a-zA-Z0-9_-]",
    ),
    ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name", "match"),
    ({"tools": [{"type": "function", "function": {"name": "a\n"}}]}, "tools[0].function.name", "match"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
    ({"tools": [{"type": "functio"}]}, "tools[0].type", "custom, function"),
    (
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]},
        "tools[0].function.parameters",
        "",
    ),
    ({"tool_choice": "requird", "tools": [WEATHER]}, "tool_choice", "did you mean 'required'?"),
    ({"tool_choice": "required"}, "tool_choice", "tools"),
    ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "tool_choice.function", "required"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "x"}}, "tools": [WEATHER]},
        "tool_choice.function.name",
        "weather",
    ),
    (allowed(), ALLOWED, "empty"),
    (allowed({}), f"{ALLOWED}[0].type", "required"),
    (allowed({"type": "function"}), f"{ALLOWED}[0].function", "required"),
    (allowed({"type": "function", "function": None}), f"{ALLOWED}[0].function", "required"),
    (allowed(REFERENCE, {"type": "custom", "custom": {}}), f"{ALLOWED}[1].custom.name", "required"),
    (allowed({"type": "function", "function": {"name": 7}}), f"{ALLOWED}[0].function.name", "string"),
    (allowed({"type": "mcp", "server_label": "x"}), f"{ALLOWED}[0].type", "custom, function"),
    ({"function_call": {"name": "f"}}, "function_call", "functions"),
    ({"functions": []}, "functions", "empty"),
    ({"response_format": {"type": "json"}}, "response_format.type", "json_object, json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
        "required",
    ),
    ({"metadata": {"a": 1}}, "metadata.a", "string"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a", "at most 512"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "at most 16"),
    ({"reasoning_effort": "hi"}, "reasoning_effort", "high, low"),
    ({"service_tier": "gold"}, "service_tier", "allowed"),
    ({"modalities": ["image"]}, "modalities[0]", "audio, text"),
]


@pytest.mark.parametrize("fields", GOOD)
def test_what_the_schema_allows_is_accepted_unchanged(fields: dict[str, Any]) -> None:
    body = chat_body(**copy.deepcopy(fields))
    before = copy.deepcopy(body)
    assert openai_chat.decode(body).body == before


@pytest.mark.parametrize(("fields", "param", "words"), BAD)
def test_what_the_schema_refuses_names_the_path(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai_chat.decode(chat_body(**copy.deepcopy(fields)))
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert words in caught.value.message


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_required_fields(missing: str) -> None:
    body = chat_body()
    del body[missing]
    with pytest.raises(InvalidRequest) as caught:
        openai_chat.decode(body)
    assert caught.value.param == missing


def test_a_long_value_is_not_quoted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai_chat.decode(chat_body(messages=[{"role": "x" * 1000, "content": "secret"}]))
    assert len(caught.value.message) < 300


def test_what_the_gateway_reads() -> None:
    request = openai_chat.decode(
        chat_body(
            stream=True, stream_options={"include_usage": True}, n=2, max_tokens=5, max_completion_tokens=7
        )
    )
    assert (request.model, request.stream, request.include_usage) == ("public", True, True)
    assert (request.n, request.max_tokens) == (2, 7)
    assert openai_chat.decode(chat_body(max_tokens=5)).max_tokens == 5


@pytest.mark.parametrize("fields", GOOD)
def test_null_is_absent_at_every_depth_of_the_schema(fields: dict[str, Any]) -> None:
    plain = openai_chat.decode(chat_body(**copy.deepcopy(fields))).body
    body = chat_body(**copy.deepcopy(fields))
    body |= {
        key: None for key in ("n", "stop", "tools", "logprobs", "metadata", "whatever") if key not in body
    }
    for message in body["messages"]:
        message |= {key: None for key in ("name", "refusal", "unknown") if key not in message}
        if message["role"] != "assistant":
            continue
        for call in message.get("tool_calls", ()):
            call["extra"] = None
            call["function"]["extra"] = None
    for tool in body.get("tools") or ():
        tool.get("function", {}).setdefault("strict", None)
    assert openai_chat.decode(body).body == plain


def test_null_in_free_form_json_stays() -> None:
    parameters = {"type": "object", "properties": {"x": {"default": None, "enum": [None, 1]}}}
    schema = {"type": "object", "default": None}
    body = openai_chat.decode(
        chat_body(
            tools=[{"type": "function", "function": {"name": "f", "parameters": copy.deepcopy(parameters)}}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": dict(schema)}},
            chat_template_kwargs={"x": None},
            extra_body={"deep": {"null": None}},
        )
    ).body
    assert body["tools"][0]["function"]["parameters"] == parameters
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["chat_template_kwargs"] == {"x": None}
    assert body["extra_body"] == {"deep": {"null": None}}


def test_a_function_message_keeps_its_null_content() -> None:
    message = {"role": "function", "name": "f", "content": None}
    assert openai_chat.decode(chat_body(messages=[dict(message)])).body["messages"] == [message]


def test_empty_tool_calls_are_absent() -> None:
    body = openai_chat.decode(
        chat_body(messages=[{"role": "assistant", "content": "x", "tool_calls": []}])
    ).body
    assert body["messages"] == [{"role": "assistant", "content": "x"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(min_size=1).map(lambda name: "x_" + name), JSON.filter(lambda v: v is not None))
)
def test_unknown_fields_survive(extra: dict[str, Any]) -> None:
    body = chat_body(**copy.deepcopy(extra))
    body["messages"][0].update(copy.deepcopy(extra))
    decoded = openai_chat.decode(body).body
    assert {key: decoded[key] for key in extra} == extra
    assert {key: decoded["messages"][0][key] for key in extra} == extra


@given(JSON)
def test_no_json_breaks_the_checker(value: Any) -> None:
    for field in (
        "messages",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "logit_bias",
        "stream_options",
    ):
        try:
            openai_chat.decode(chat_body(**{field: copy.deepcopy(value)}))
        except InvalidRequest as error:
            refused = (error.message, error.param)
            assert all(refused), "refused without words or without a path"
