"""The official OpenAI SDK, in its strict mode, against `penstock up`."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from platforms import MODEL, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

HELLO: Any = [{"role": "user", "content": "Hello!"}]
EMBEDDING = "builtin:embedding"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def client(platform: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=platform.base_url, api_key=platform.key, _strict_response_validation=True, max_retries=0
    ) as sdk:
        yield sdk


@pytest.fixture
def lenient(platform: Platform) -> Iterator[openai.OpenAI]:
    """For two things that the vendor itself does against its strict types: `finish_reason: null` in legacy
    chunks before the last, and base64 embeddings, which the SDK asks for and decodes after its check."""
    with openai.OpenAI(base_url=platform.base_url, api_key=platform.key, max_retries=0) as sdk:
        yield sdk


def asynchronous(platform: Platform) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=platform.base_url, api_key=platform.key, _strict_response_validation=True, max_retries=0
    )


def test_chat(client: openai.OpenAI) -> None:
    got = client.chat.completions.create(model=MODEL, messages=HELLO, max_completion_tokens=60)
    assert got.object == "chat.completion"
    assert got.model == MODEL
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].message.content
    assert got.usage is not None
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens


def test_chat_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=60)
    with client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        temperature=0,
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert (chunks[-1].model_extra or {}).get("penstock") == {"cost_usd": 0.0}
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finishes == [whole.choices[0].finish_reason]


def test_usage_is_streamed_only_when_asked_for(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_the_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO, temperature=0, max_tokens=60) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert said
    assert final.choices[0].message.content == said


async def test_chat_async(platform: Platform) -> None:
    async with asynchronous(platform) as client:
        whole = await client.chat.completions.create(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=40
        )
        async with await client.chat.completions.create(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=40, stream=True
        ) as stream:
            said = [chunk.choices[0].delta.content or "" async for chunk in stream]
        async with client.chat.completions.stream(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=40
        ) as helper:
            final = await helper.get_final_completion()
    assert "".join(said) == whole.choices[0].message.content == final.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client: openai.OpenAI, stream: bool) -> None:
    asked: Any = {
        "model": MODEL,
        "messages": HELLO,
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
    }
    if stream:
        with client.chat.completions.create(**asked, stream=True) as chunks:
            tokens = [
                token
                for chunk in chunks
                for choice in chunk.choices
                if choice.logprobs is not None
                for token in choice.logprobs.content or ()
            ]
    else:
        (choice,) = client.chat.completions.create(**asked).choices
        assert choice.logprobs is not None
        tokens = list(choice.logprobs.content or ())
        assert (
            b"".join(bytes(token.bytes or ()) for token in tokens) == (choice.message.content or "").encode()
        )
    assert 0 < len(tokens) <= 8
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == max(top.logprob for top in token.top_logprobs)


def test_several_choices(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": MODEL,
        "messages": HELLO,
        "n": 2,
        "max_tokens": 10,
        "extra_body": {"ignore_eos": True},
    }
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 20
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    for index in (0, 1):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own)
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["length"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_stop_words_end_the_answer_and_are_not_in_it(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_tokens": 40}
    full = client.chat.completions.create(**asked).choices[0].message.content or ""
    word = full.split()[1]
    cut = client.chat.completions.create(**asked, stop=[word]).choices[0]
    assert cut.message.content == full[: full.index(word)]
    assert cut.finish_reason == "stop"


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    def say(**more: Any) -> str | None:
        got = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=40, **more)
        return got.choices[0].message.content

    assert say(temperature=0) == say(temperature=0)
    assert say(temperature=1, seed=7) == say(temperature=1, seed=7)


def test_the_token_cap(client: openai.OpenAI) -> None:
    got = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_completion_tokens=3, extra_body={"ignore_eos": True}
    )
    assert got.choices[0].finish_reason == "length"
    assert got.usage is not None
    assert got.usage.completion_tokens == 3


def test_json_schema(client: openai.OpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"animal": {"type": "string", "enum": ["cat", "dog"]}, "loud": {"type": "boolean"}},
        "required": ["animal", "loud"],
        "additionalProperties": False,
    }
    got = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "An animal, as JSON."}],
        temperature=0,
        max_tokens=100,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "animal", "schema": schema, "strict": True},
        },
    )
    said = json.loads(got.choices[0].message.content or "")
    assert set(said) == {"animal", "loud"}
    assert said["animal"] in ("cat", "dog")
    assert isinstance(said["loud"], bool)


def test_json_object(client: openai.OpenAI) -> None:
    got = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Give me a JSON object with a name and an age."}],
        temperature=0,
        max_tokens=300,
        response_format={"type": "json_object"},
    )
    content = got.choices[0].message.content or ""
    assert content.lstrip().startswith("{")
    if got.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_call_and_its_result(client: openai.OpenAI, choice: Any) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    tools = [WEATHER] if choice == "required" else [CLOCK, WEATHER]
    got = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=200, tools=tools, tool_choice=choice
    ).choices[0]
    assert got.message.tool_calls is not None
    (call,) = got.message.tool_calls[:1]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    assert got.finish_reason == "tool_calls"
    messages += [
        got.message.model_dump(exclude_none=True),
        *(
            {"role": "tool", "tool_call_id": one.id, "content": '{"weather": "sunny"}'}
            for one in got.message.tool_calls
        ),
    ]
    after = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=60, tools=tools
    )
    assert after.choices[0].message.content or after.choices[0].message.tool_calls


def test_a_tool_call_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        temperature=0,
        max_tokens=200,
        tools=[WEATHER],
        tool_choice="required",
    ) as stream:
        final = stream.get_final_completion()
    (call,) = (final.choices[0].message.tool_calls or [])[:1]
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}


def test_tools_that_need_not_be_called(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        got = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=60, tools=[WEATHER], tool_choice=choice
        ).choices[0]
        assert got.message.content or got.message.tool_calls
        if choice == "none":
            assert not got.message.tool_calls


def test_legacy_completions(client: openai.OpenAI, lenient: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "Hello", "max_tokens": 6, "temperature": 0, "logprobs": 2}
    whole = client.completions.create(**asked)
    (choice,) = whole.choices
    assert whole.object == "text_completion"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.token_logprobs is not None
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) > 0
    with lenient.completions.create(**asked, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == choice.text
    assert {chunk.model for chunk in chunks} == {MODEL}


def test_embeddings_are_the_same_packed_and_plain(
    encoder: Platform, client: openai.OpenAI, lenient: openai.OpenAI
) -> None:
    plain = client.embeddings.create(model=EMBEDDING, input=["one", "two"], encoding_format="float")
    packed = lenient.embeddings.create(model=EMBEDDING, input=["one", "two"])
    assert [item.index for item in plain.data] == [0, 1]
    assert {len(item.embedding) for item in plain.data} == {384}
    for one, other in zip(plain.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-7)
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-4)
    assert plain.usage.prompt_tokens == packed.usage.prompt_tokens > 0
    raw = lenient.embeddings.create(model=EMBEDDING, input="one", encoding_format="base64")
    values = struct.unpack("<384f", base64.b64decode(str(raw.data[0].embedding)))
    assert list(values) == pytest.approx(plain.data[0].embedding, abs=1e-7)


async def test_embeddings_async(encoder: Platform) -> None:
    async with asynchronous(encoder) as client:
        got = await client.embeddings.create(model=EMBEDDING, input="one", encoding_format="float")
    assert len(got.data[0].embedding) == 384


def test_shorter_embeddings(encoder: Platform, client: openai.OpenAI) -> None:
    got = client.embeddings.create(model=EMBEDDING, input="one", dimensions=64, encoding_format="float")
    assert len(got.data[0].embedding) == 64
    assert sum(x * x for x in got.data[0].embedding) == pytest.approx(1, abs=1e-4)


def test_embeddings_of_tokens(encoder: Platform, client: openai.OpenAI) -> None:
    tokens = client.embeddings.create(model=EMBEDDING, input=[[7592, 2088], [2054]], encoding_format="float")
    assert [len(item.embedding) for item in tokens.data] == [384, 384]
    alone = client.embeddings.create(model=EMBEDDING, input=[7592, 2088], encoding_format="float")
    assert alone.data[0].embedding == pytest.approx(tokens.data[0].embedding, abs=1e-4)
    text = client.embeddings.create(model=EMBEDDING, input="hello world", encoding_format="float")
    assert alone.data[0].embedding == pytest.approx(text.data[0].embedding, abs=1e-4)


def test_models(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {MODEL, EMBEDDING, "builtin:rerank"}
    assert client.models.retrieve(MODEL) == models[MODEL]


def test_a_wrong_key(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-wrong").chat.completions.create(model=MODEL, messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="none", messages=HELLO)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({"n": 0}, "n"),
    ],
)
def test_a_bad_request(client: openai.OpenAI, asked: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **asked})
    assert caught.value.param == param
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_context(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "water " * 20_000}], stream=stream
        )
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_an_embedding_model_does_not_chat(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=EMBEDDING, messages=HELLO)
    assert caught.value.param == "model"


def test_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=5, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.request_id == "mine-1"
    assert raw.headers["x-penstock-deployment"] == MODEL
    assert raw.headers["x-penstock-attempts"] == "1"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content
    ours = client.models.with_raw_response.list().headers["x-request-id"]
    assert ours != "mine-1"
    assert len(ours) >= 8
