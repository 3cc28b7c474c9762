"""Both sides together: what an upstream sent, as a client reads it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_help import WEATHER, WIRE, chat_body, check_chat_stream, new_call, recorded

from penstock.protocols import openai_chat, openai_completions
from penstock.providers.openai import OPERATIONS, OpenAICodec
from penstock.types.deployment import Deployment, Quirks
from penstock.types.errors import UpstreamError
from penstock.types.events import Delta

CODEC = OpenAICodec(Quirks(recount_completion=True))
DEPLOYMENT = Deployment("dep", "up", CODEC, OPERATIONS)
NAMES = sorted(
    f"{path.parent.name}/{path.name}"
    for folder in ("handwritten", "llamacpp")
    for path in (WIRE / folder).glob("*.sse")
    if "error" not in path.name and "completion" not in path.name
)


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_reaches_the_client_as_a_legal_stream(name: str, include_usage: bool) -> None:
    body = chat_body(stream=True, tools=[WEATHER], n=2 if "n2" in name else 1)
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    request = openai_chat.decode(body)
    reader = CODEC.reader(request, DEPLOYMENT)
    encoder = openai_chat.encoder(request, new_call())
    data = b""
    for event in recorded(name):
        delta = reader.event(event)
        data += encoder.stream([delta]) if delta is not None else b""
    assert reader.is_complete
    said = check_chat_stream(data + encoder.stream_end(), include_usage=include_usage)

    reader = CODEC.reader(request, DEPLOYMENT)
    folding = openai_chat.encoder(openai_chat.decode(chat_body(tools=[WEATHER])), new_call())
    folding.fold([delta for event in recorded(name) if (delta := reader.event(event))])
    for choice in json.loads(folding.answer())["choices"]:
        assert (choice["message"]["content"] or "") == said[choice["index"]]["content"]
        calls = [{"id": c["id"], **c["function"]} for c in choice["message"].get("tool_calls", ())]
        assert [(c["name"], c["arguments"]) for c in calls] == [
            (c["name"], c["arguments"]) for c in said[choice["index"]]["calls"]
        ]


def test_mistral_s_thinking_parts_become_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    content = [thinking, {"type": "text", "text": "42"}]
    request = openai_chat.decode(chat_body(stream=True))
    encoder = openai_chat.encoder(request, new_call())
    chunk = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": "stop"}]}
    delta = CODEC.reader(request, DEPLOYMENT).event(json.dumps(chunk).encode())
    assert delta is not None
    said = check_chat_stream(encoder.stream([delta]) + encoder.stream_end(), include_usage=False)
    assert (said[0]["content"], said[0]["reasoning"]) == ("42", "hm")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "stop", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["index", "id", "function", "name", "arguments", "custom", "x"]), inner
        )
    ),
    max_leaves=6,
)
FIELDS = ["role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call", "x"]


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.dictionaries(st.sampled_from(["logprobs", "x", "index"]), JSON),
)
def test_nothing_an_upstream_sends_is_our_bug(delta: dict[str, Any], choice: dict[str, Any]) -> None:
    request = openai_chat.decode(chat_body(n=2))
    for whole in (True, False):
        encoder = openai_chat.encoder(request, new_call())
        reader = CODEC.reader(request, DEPLOYMENT)
        key = "message" if whole else "delta"
        body = json.dumps({"choices": [{**choice, key: delta, "finish_reason": "stop"}]}).encode()
        deltas: list[Delta | None] = []
        try:
            deltas.append(reader.answer(body) if whole else reader.event(body))
            encoder.fold([delta for delta in deltas if delta is not None])
            json.loads(encoder.answer())
        except UpstreamError:
            continue


@given(st.dictionaries(st.sampled_from(["text", "logprobs", "x", "index", "finish_reason"]), JSON))
def test_nor_for_text_completions(choice: dict[str, Any]) -> None:
    request = openai_completions.decode({"model": "public", "prompt": "x"})
    for read in ("answer", "event"):
        encoder = openai_completions.encoder(request, new_call())
        try:
            delta = getattr(CODEC.reader(request, DEPLOYMENT), read)(
                json.dumps({"choices": [choice]}).encode()
            )
            encoder.fold([delta])
            json.loads(encoder.answer())
        except UpstreamError:
            continue
