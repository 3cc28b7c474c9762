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


@pytest.mark.parametrize("field", ["echo", "suffix", "best_of"])
def test_what_completions_would_ignore_is_refused(field: str) -> None:
    value = {"echo": True, "suffix": "end", "best_of": 3}[field]
    with pytest.raises(UnsupportedParameter) as caught:
        adapt(CompletionRequest("m", {"prompt": "x", field: value}), HERE)
    assert caught.value.param == field


def test_what_changes_nothing_passes() -> None:
    for request in (
        CompletionRequest("m", {"prompt": "x", "echo": False, "best_of": 1}),
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
