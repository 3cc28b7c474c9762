"""The strict double of OpenAI's chat: its SDK judges what it says, the vendor's rules what it refuses."""

from typing import Any

import openai
import pytest

from penstock.testing.brain import REFUSAL
from penstock.testing.chat import ChatDouble

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}


def sdk(up: ChatDouble) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=up.url, api_key="any", _strict_response_validation=True, max_retries=0)


def said(*messages: Any, **more: Any) -> Any:
    return {"model": "gpt", "messages": list(messages), **more}


def ask(text: str = "Hello!", **more: Any) -> Any:
    return said({"role": "user", "content": text}, **more)


async def whole_and_streamed(client: openai.AsyncOpenAI, **body: Any) -> tuple[Any, Any]:
    whole = await client.chat.completions.create(**body)
    options: Any = {"include_usage": True}
    async with client.chat.completions.stream(**body, stream_options=options) as stream:
        return whole, await stream.get_final_completion()


async def test_text_whole_and_streamed() -> None:
    async with ChatDouble() as up, sdk(up) as client:
        whole, streamed = await whole_and_streamed(client, **ask(n=2))
        for answer in (whole, streamed):
            assert [c.message.content for c in answer.choices] == ["Hello! How can I help you today?"] * 2
            assert answer.usage.completion_tokens == 14


async def test_tools_and_their_results() -> None:
    async with ChatDouble() as up, sdk(up) as client:
        question = {"role": "user", "content": "What is the weather in Paris and in Rome?"}
        whole, streamed = await whole_and_streamed(client, **said(question, tools=[WEATHER]))
        for answer in (whole, streamed):
            calls = answer.choices[0].message.tool_calls
            assert [call.function.arguments for call in calls] == ['{"city": "Paris"}', '{"city": "Rome"}']
            assert answer.choices[0].finish_reason == "tool_calls"
        message = {
            "role": "assistant",
            "tool_calls": [call.model_dump() for call in whole.choices[0].message.tool_calls],
        }
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in message["tool_calls"]
        ]
        after = await client.chat.completions.create(**said(question, message, *results, tools=[WEATHER]))
        assert after.choices[0].message.content == "The tool says: sunny The tool says: sunny"
        named = await client.chat.completions.create(**ask(tools=[WEATHER], tool_choice=NAMED))
        assert (named.choices[0].finish_reason, len(named.choices[0].message.tool_calls or [])) == ("stop", 1)


async def test_calls_in_turns() -> None:
    async with ChatDouble(interleaves=True) as up, sdk(up) as client:
        body = ask("What is the weather in Paris and in Rome?", tools=[WEATHER], stream=True)
        arguments, order = ["", ""], []
        async for chunk in await client.chat.completions.create(**body):
            for call in chunk.choices[0].delta.tool_calls or ():
                order.append(call.index)
                arguments[call.index] += call.function.arguments
        assert arguments == ['{"city": "Paris"}', '{"city": "Rome"}']
        assert order[:4] == [0, 1, 0, 1]


async def test_reasoning_limits_and_ends() -> None:
    async with ChatDouble(shows_reasoning=True) as up, sdk(up) as client:
        thought = await client.chat.completions.create(**ask(reasoning_effort="low"))
        assert thought.choices[0].message.reasoning_content.startswith("The user asks")  # type: ignore[attr-defined]
        assert thought.usage is not None
        assert thought.usage.completion_tokens_details is not None
        assert thought.usage.completion_tokens_details.reasoning_tokens
        cut = await client.chat.completions.create(**ask("count to 9", max_completion_tokens=3))
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("1 2 3", "length")
        stopped = await client.chat.completions.create(**ask("count to 9", stop="5"))
        assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("1 2 3 4 ", "stop")
        refused, streamed = await whole_and_streamed(client, **ask("please refuse"))
        assert refused.choices[0].message.refusal == streamed.choices[0].message.refusal == REFUSAL
        given = {
            "type": "json_schema",
            "json_schema": {"name": "day", "schema": WEATHER["function"]["parameters"]},
        }
        day = await client.chat.completions.create(**ask("a day in Rome", response_format=given))
        assert day.choices[0].message.content == '{"city": "Rome"}'


USER = {"role": "user", "content": "a"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
TOOL = {"role": "tool", "tool_call_id": "c", "content": "x"}
LONG = {
    **CALLS,
    "tool_calls": [{"id": "c" * 41, "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        (ask(extra_body={"top_k": 1}), "Unrecognized request argument supplied: top_k"),
        (said(), "Invalid 'messages': empty array."),
        (
            said({"role": "user", "content": None}),
            "Invalid value for 'content': expected a string, got null.",
        ),
        (said(USER, CALLS), "did not have response messages: c"),
        (said(USER, CALLS, USER, TOOL), "did not have response messages: c"),
        (said(USER, TOOL), "must be a response to a preceeding message with 'tool_calls'."),
        (said(USER, LONG), "Expected a string with maximum length 40"),
        (said(USER, {"role": "assistant", "content": "x", "tool_calls": []}), "tool_calls': empty array."),
        (said({"role": "user", "content": "a", "id": 1}), "Unknown parameter: 'messages[0].id'."),
        (
            said({"role": "user", "content": [{"type": "input_text", "text": "x"}]}),
            "Invalid value: 'input_text'.",
        ),
        (ask(tools=[{"type": "function", "name": "f"}]), "Missing required parameter: 'tools[0].function'."),
        (ask(tool_choice="required"), "'tool_choice' is only allowed when 'tools' are specified."),
        (ask(parallel_tool_calls=False), "'parallel_tool_calls' is only allowed when 'tools' are specified."),
        (ask(max_tokens=1, max_completion_tokens=1), "at the same time is not supported"),
        (ask(stop=["a", "b", "c", "d", "e"]), "array too long"),
        (ask(response_format={"type": "json_object"}), "must contain the word 'json'"),
        (ask(stream_options={"include_usage": True}), "only allowed when 'stream' is enabled"),
    ],
)
async def test_what_the_vendor_refuses(body: Any, wording: str) -> None:
    async with ChatDouble() as up, sdk(up) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**body)
        assert wording in caught.value.message
