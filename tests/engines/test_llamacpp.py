from typing import Any

import pytest

from penstock.engines.llamacpp import ENGINE, adapt, count_prompt
from penstock.types.deployment import Deployment, Pool
from penstock.types.errors import InvalidRequest, PenstockError, UnsupportedParameter
from penstock.types.requests import ChatRequest, CompletionRequest, EmbeddingRequest

NONE: Any = None
HERE = Deployment("d", "m", NONE, frozenset({"chat"}), pool="p")


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}}


OPENAI_S = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "whatever": {"x": 1}}
ITS_OWN = {
    "timings_per_token": True,
    "return_progress": True,
    "return_tokens": True,
    "n_probs": 5,
    "post_sampling_probs": True,
    "verbose": True,
    "n_keep": 3,
    "speculative.n_max": 3,
}
EXTENSIONS = {
    "top_k": 40,
    "min_p": 0.1,
    "dry_multiplier": 0.5,
    "mirostat": 2,
    "samplers": ["top_k"],
    "grammar": "root ::= [a-z]",
    "ignore_eos": True,
    "cache_prompt": False,
}


def chat(**more: Any) -> ChatRequest:
    return ChatRequest("m", {"messages": [{"role": "user", "content": "hi"}], **more})


def test_a_named_tool_choice_becomes_that_tool_and_required() -> None:
    choice = {"type": "function", "function": {"name": "b"}}
    request = chat(tools=[tool("a"), tool("b")], tool_choice=choice)
    adapted = adapt(request, HERE)
    assert isinstance(adapted, ChatRequest)
    assert adapted.body["tools"] == [tool("b")]
    assert adapted.body["tool_choice"] == "required"
    assert request.body["tool_choice"] == choice, "the request itself stays as it was checked"


def test_allowed_tools_become_those_tools() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "a"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    adapted = adapt(chat(tools=[tool("a"), tool("b")], tool_choice=choice), HERE)
    assert isinstance(adapted, ChatRequest)
    assert (adapted.body["tools"], adapted.body["tool_choice"]) == ([tool("a")], "auto")


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        ({"functions": [{"name": "f"}]}, UnsupportedParameter, "functions"),
        ({"audio": {"voice": "x"}}, UnsupportedParameter, "audio"),
        ({"modalities": ["text", "audio"]}, UnsupportedParameter, "modalities"),
        ({"web_search_options": {"x": 1}}, UnsupportedParameter, "web_search_options"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, UnsupportedParameter, "tools[0].type"),
        ({"n_predict": 60}, UnsupportedParameter, "n_predict"),
        ({"n_cmpl": 3}, UnsupportedParameter, "n_cmpl"),
        ({"id_slot": 1}, UnsupportedParameter, "id_slot"),
        ({"lora": [{"id": 0}]}, UnsupportedParameter, "lora"),
        ({"t_max_predict_ms": 5}, UnsupportedParameter, "t_max_predict_ms"),
        ({"response_fields": ["x"]}, UnsupportedParameter, "response_fields"),
        ({"guided_json": {"x": 1}}, UnsupportedParameter, "guided_json"),
        ({"min_tokens": 5}, UnsupportedParameter, "min_tokens"),
        ({"grammar": 7}, InvalidRequest, "grammar"),
        ({"json_schema": "x"}, InvalidRequest, "json_schema"),
        ({"samplers": 5}, InvalidRequest, "samplers"),
        ({"chat_template_kwargs": 5}, InvalidRequest, "chat_template_kwargs"),
        ({"reasoning_format": "x"}, InvalidRequest, "reasoning_format"),
        ({"reasoning_format": []}, InvalidRequest, "reasoning_format"),
        ({"grammar": "x", "json_schema": {}}, InvalidRequest, "grammar"),
        ({"grammar": "x", "tools": [tool("a")]}, InvalidRequest, "grammar"),
        ({"grammar": "x", "response_format": {"type": "json_object"}}, InvalidRequest, "grammar"),
        ({"json_schema": {}, "response_format": {"type": "json_object"}}, InvalidRequest, "json_schema"),
        (
            {"tools": [tool("a")], "tool_choice": {"type": "function", "function": {"name": "z"}}},
            InvalidRequest,
            "tool_choice",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            InvalidRequest,
            "messages[0].content[0]",
        ),
    ],
)
def test_what_it_would_ignore_is_refused(
    body: dict[str, Any], error: type[PenstockError], param: str
) -> None:
    with pytest.raises(error) as caught:
        adapt(chat(**body), HERE)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("echo", True, UnsupportedParameter),
        ("suffix", "end", UnsupportedParameter),
        ("best_of", 3, UnsupportedParameter),
        ("n_predict", 60, UnsupportedParameter),
        ("n_cmpl", 3, UnsupportedParameter),
        ("response_format", {"type": "json_object"}, UnsupportedParameter),
        ("max_tokens", 0, InvalidRequest),
        ("grammar", 7, InvalidRequest),
    ],
)
def test_what_completions_would_ignore_is_refused(field: str, value: Any, error: type[PenstockError]) -> None:
    with pytest.raises(error) as caught:
        adapt(CompletionRequest("m", {"prompt": "x", field: value}), HERE)
    assert caught.value.param == field


def test_only_what_it_honours_is_sent() -> None:
    fields = {"max_tokens": 3, "temperature": 0, "stop": ["x"], "stream": True, **EXTENSIONS}
    response_format = {"response_format": {"type": "text"}, "chat_template_kwargs": {"a": 1}}
    request = chat(**fields, **response_format, **OPENAI_S, **ITS_OWN)
    adapted = adapt(request, HERE)
    assert isinstance(adapted, ChatRequest)
    assert adapted.body == {**chat().body, **fields, **response_format}
    text = adapt(CompletionRequest("m", {"prompt": "x", **fields, **OPENAI_S, **ITS_OWN}), HERE)
    assert isinstance(text, CompletionRequest)
    assert text.body == {"prompt": "x", **fields}
    assert "whatever" in request.body, "the request itself stays as it was checked"


def test_limits_and_penalties_in_its_own_terms() -> None:
    adapted = adapt(chat(max_tokens=2**32 + 3, max_completion_tokens=2**31, repetition_penalty=1.1), HERE)
    assert isinstance(adapted, ChatRequest)
    limit = 2**31 - 1
    assert adapted.body == chat(max_tokens=limit, max_completion_tokens=limit, repeat_penalty=1.1).body
    adapted = adapt(chat(repetition_penalty=1.1, repeat_penalty=1.2), HERE)
    assert isinstance(adapted, ChatRequest)
    assert adapted.body["repeat_penalty"] == 1.2


def test_what_changes_nothing_passes() -> None:
    for request in (
        CompletionRequest("m", {"prompt": "x", "echo": False, "best_of": 1}),
        CompletionRequest("m", {"prompt": "x", "response_format": "", "grammar": "x", "tools": [1]}),
        EmbeddingRequest("m", ["x"]),
        chat(),
    ):
        assert adapt(request, HERE).operation == request.operation


def test_the_command_says_what_the_pool_wants() -> None:
    pool = Pool("p", "llamacpp", "file:/m.gguf", context=512, parallel=2, threads=64)
    argv, env = ENGINE.command(pool, "/m.gguf")
    line = " ".join(argv)
    for part in ("--model /m.gguf", "--context 512", "--parallel 2", "--threads 64"):
        assert part in line
    assert env == {"OMP_NUM_THREADS": "64", "OMP_WAIT_POLICY": "passive"}


async def test_prompts_are_counted_as_the_model_sees_them() -> None:
    asked = []

    async def ask(path: str, body: bytes) -> dict[str, Any]:
        asked.append(path)
        return {"prompt": "rendered"} if path == "/apply-template" else {"tokens": [1, 2, 3]}

    assert await count_prompt(chat(), ask) == 3
    assert asked == ["/apply-template", "/tokenize"]
    assert await count_prompt(CompletionRequest("m", {"prompt": [1, 2]}), ask) == 2
    assert await count_prompt(CompletionRequest("m", {"prompt": ["a", "b"]}), ask) == 3
    assert await count_prompt(CompletionRequest("m", {"prompt": [[1], [1, 2, 3, 4]]}), ask) == 4
