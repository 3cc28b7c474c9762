"""LangChain's OpenAI classes."""

from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from platforms import MODEL, Platform
from pydantic import BaseModel, SecretStr

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


class Place(BaseModel):
    """The weather in a city."""

    city: Literal["Paris", "Rome"]


@tool
def get_weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


def chat(platform: Platform, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=platform.base_url,
        api_key=SecretStr(platform.key),
        temperature=0,
        max_retries=0,
        **{"max_completion_tokens": 100, **more},
    )


def test_invoke_and_stream(platform: Platform) -> None:
    model = chat(platform, stream_usage=True)
    whole = model.invoke("Hello!")
    assert isinstance(whole, AIMessage)
    assert whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    total: Any = None
    for chunk in model.stream("Hello!"):
        assert isinstance(chunk, AIMessageChunk)
        total = chunk if total is None else total + chunk
    assert total.content == whole.content
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


async def test_astream(platform: Platform) -> None:
    client = openai.AsyncOpenAI(base_url=platform.base_url, api_key=platform.key, max_retries=0)
    async with client:
        model = chat(platform, root_async_client=client, async_client=client.chat.completions)
        said = [str(chunk.content) async for chunk in model.astream("Hello!")]
    assert len(said) > 2
    assert "".join(said)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(platform: Platform, method: Literal["json_schema", "function_calling"]) -> None:
    # A question the demonstration model was made for: llama.cpp lets a model speak before it calls.
    asked = chat(platform).with_structured_output(Place, method=method)
    assert isinstance(asked.invoke("What is the weather in Paris?"), Place)


def test_tools(platform: Platform) -> None:
    model = chat(platform)
    question = HumanMessage("What is the weather in Paris?")
    called = model.bind_tools([get_weather], tool_choice="required").invoke([question])
    assert isinstance(called, AIMessage)
    call = called.tool_calls[0]
    assert call["name"] == "get_weather"
    results = [
        ToolMessage(get_weather.invoke(one["args"]), tool_call_id=one["id"]) for one in called.tool_calls
    ]
    after = model.bind_tools([get_weather], tool_choice="none").invoke([question, called, *results])
    assert after.content


def test_embeddings(encoder: Platform) -> None:
    # Otherwise it sends tiktoken's numbers, of another vocabulary, which it downloads first.
    embeddings = OpenAIEmbeddings(
        model="builtin:embedding",
        base_url=encoder.base_url,
        api_key=SecretStr(encoder.key),
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    texts = ["tea", "a cup of tea", "a lorry"]
    one, close, far = embeddings.embed_documents(texts)
    assert len(one) == 384

    def cosine(other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert cosine(close) > cosine(far)
    assert embeddings.embed_query("tea") == pytest.approx(one, abs=1e-4)
    # The same call with the numbers of the model's own vocabulary, as check_embedding_ctx_length sends them.
    by_number = embeddings.client.create(input=[[5572]], model="builtin:embedding")
    assert by_number.data[0].embedding == pytest.approx(one, abs=1e-4)


def test_completions(platform: Platform) -> None:
    model = OpenAI(
        model=MODEL,
        base_url=platform.base_url,
        api_key=SecretStr(platform.key),
        temperature=0,
        max_tokens=8,
        max_retries=0,
    )
    assert model.invoke("Hello") == "".join(model.stream("Hello"))
