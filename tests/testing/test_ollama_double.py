"""The double of Ollama: its own client judges what it says, the server's rules what it refuses."""

from typing import Any, Self

import ollama
import pytest

from penstock.testing.ollama import OllamaDouble

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Sdk(ollama.AsyncClient):
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


def sdk(up: OllamaDouble) -> Sdk:
    return Sdk(host=up.url)


def user(text: str = "Hello!") -> list[Any]:
    return [{"role": "user", "content": text}]


async def whole_and_streamed(client: Any, **asked: Any) -> tuple[Any, list[Any]]:
    whole = await client.chat(model="m", **asked)
    return whole, [chunk async for chunk in await client.chat(model="m", stream=True, **asked)]


async def test_text_whole_and_streamed() -> None:
    async with OllamaDouble(thinks=False) as up, sdk(up) as client:
        whole, chunks = await whole_and_streamed(client, messages=user())
        assert whole.message.content == "Hello! How can I help you today?"
        assert "".join(chunk.message.content for chunk in chunks) == whole.message.content
        assert (chunks[-1].done_reason, chunks[-1].eval_count) == ("stop", 7)
        assert [chunk.done for chunk in chunks] == [False] * 7 + [True]


async def test_tools_and_thoughts() -> None:
    async with OllamaDouble() as up, sdk(up) as client:
        asked = user("What is the weather in Paris and in Rome?")
        whole, chunks = await whole_and_streamed(client, messages=asked, tools=[WEATHER], think=True)
        assert [call.function.arguments for call in whole.message.tool_calls] == [
            {"city": "Paris"},
            {"city": "Rome"},
        ]
        assert "".join(chunk.message.thinking or "" for chunk in chunks) == whole.message.thinking
        assert len([chunk for chunk in chunks if chunk.message.tool_calls]) == 2
        results = [{"role": "tool", "tool_name": "get_weather", "content": "sunny"}] * 2
        after = await client.chat(model="m", messages=[*asked, whole.message, *results], tools=[WEATHER])
        assert after.message.content == "The tool says: sunny The tool says: sunny"


async def test_limits_and_formats() -> None:
    async with OllamaDouble(thinks=False) as up, sdk(up) as client:
        cut = await client.chat(model="m", messages=user("count to 9"), options={"num_predict": 3})
        assert (cut.message.content, cut.done_reason) == ("1 2 3", "length")
        stopped = await client.chat(model="m", messages=user("count to 9"), options={"stop": ["5"]})
        assert stopped.message.content == "1 2 3 4 "
        schema = WEATHER["function"]["parameters"]
        day = await client.chat(model="m", messages=user("a day in Rome"), format=schema)
        assert day.message.content == '{"city": "Rome"}'


async def test_the_rest_of_the_surface() -> None:
    async with OllamaDouble(models=("a",), any_model=False, thinks=False) as up, sdk(up) as client:
        assert [model.model for model in (await client.list()).models] == ["a"]
        assert [model.model for model in (await client.ps()).models] == ["a"]
        assert "tools" in ((await client.show("a")).capabilities or [])
        assert len((await client.embed(model="a", input=["x", "y"])).embeddings) == 2
        said = await client.generate(model="a", prompt="say yes")
        assert said.response == "yes"
        parts = [
            part.response async for part in await client.generate(model="a", prompt="say a b", stream=True)
        ]
        assert parts == ["a", " b", ""]
        with pytest.raises(ollama.ResponseError, match="model 'b' not found") as caught:
            await client.chat(model="b", messages=user())
        assert caught.value.status_code == 404


async def test_what_the_server_refuses_and_faults() -> None:
    async with OllamaDouble(thinks=False) as up, sdk(up) as client:

        async def refusal(**body: Any) -> str:
            with pytest.raises(ollama.ResponseError) as caught:
                await client._request_raw("POST", "/api/chat", json={"model": "m", "stream": False, **body})
            assert caught.value.status_code == 400
            return str(caught.value.error)

        call = {"function": {"name": "f", "arguments": "{}"}}
        assert "messages.tool_calls.function.arguments" in await refusal(
            messages=[{"role": "assistant", "tool_calls": [call]}]
        )
        assert 'invalid role "developer"' in await refusal(messages=[{"role": "developer", "content": "x"}])
        parts = [{"type": "text", "text": "x"}]
        assert "cannot unmarshal array" in await refusal(messages=[{"role": "user", "content": parts}])
        assert "illegal base64" in await refusal(messages=[{"role": "user", "content": "x", "images": ["?"]}])
        assert "invalid think value" in await refusal(messages=user(), think="xhigh")
        assert "invalid format" in await refusal(messages=user(), format="json_object")
        up.plan += [{"x-test-status": "500"}, {"x-test-error-in-stream": "2"}]
        with pytest.raises(ollama.ResponseError):
            await client.chat(model="m", messages=user())
        with pytest.raises(ollama.ResponseError, match="error in the stream"):
            async for _ in await client.chat(model="m", messages=user(), stream=True):
                pass


async def test_who_can_think_does_so_unasked_and_who_cannot_refuses_to() -> None:
    async with OllamaDouble() as up, sdk(up) as client:
        answer = await client.chat(model="m", messages=user())
        assert answer.message.thinking
        assert not (await client.chat(model="m", messages=user(), think=False)).message.thinking
    async with OllamaDouble(thinks=False) as up, sdk(up) as client:
        assert not (await client.chat(model="m", messages=user(), think=False)).message.thinking
        with pytest.raises(ollama.ResponseError, match='"m" does not support thinking'):
            await client.chat(model="m", messages=user(), think=True)
