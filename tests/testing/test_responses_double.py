"""The double of OpenAI's Responses API: its SDK judges what it says, the vendor's rules what it refuses."""

from typing import Any

import openai
import pytest

from penstock.testing.brain import REFUSAL
from penstock.testing.responses import ResponsesDouble

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
OPEN_SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "string"}}}


def sdk(up: ResponsesDouble) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=up.url, api_key="any", _strict_response_validation=True, max_retries=0)


def ask(given: Any = "Hello!", **more: Any) -> Any:
    return {"model": "gpt", "input": given, **more}


async def whole_and_streamed(client: openai.AsyncOpenAI, **body: Any) -> tuple[Any, Any, list[Any]]:
    """The answer, the answer of a stream, and its events."""
    whole = await client.responses.create(**body)
    events = [event async for event in await client.responses.create(**body, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return whole, events[-1].response, events


async def test_text_whole_and_streamed() -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        whole, streamed, events = await whole_and_streamed(client, **ask())
        assert whole.output_text == streamed.output_text == "Hello! How can I help you today?"
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text
        assert whole.usage.output_tokens == 7


async def test_tools_and_their_results() -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        question = {"role": "user", "content": "What is the weather in Paris and in Rome?"}
        whole, streamed, _ = await whole_and_streamed(client, **ask([question], tools=[WEATHER]))
        assert [item.arguments for item in whole.output] == ['{"city": "Paris"}', '{"city": "Rome"}']
        assert [item.arguments for item in streamed.output] == [item.arguments for item in whole.output]
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
            for item in whole.output
        ]
        again = ask([question, *whole.output, *results], tools=[WEATHER])
        assert (
            await client.responses.create(**again)
        ).output_text == "The tool says: sunny The tool says: sunny"
        by_id = ask(results, tools=[WEATHER], previous_response_id=whole.id)
        assert (
            await client.responses.create(**by_id)
        ).output_text == "The tool says: sunny The tool says: sunny"


async def test_reasoning_comes_back() -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        asked: Any = {
            "tools": [WEATHER],
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "store": False,
        }
        question: Any = {"role": "user", "content": "What is the weather in Paris?"}
        whole, streamed, events = await whole_and_streamed(client, **ask([question], **asked))
        assert [item.type for item in whole.output] == ["reasoning", "function_call"]
        assert streamed.output[0].summary == whole.output[0].summary
        assert any(event.type == "response.reasoning_summary_text.delta" for event in events)
        thought, call = (item.model_dump(exclude_none=True) for item in whole.output)
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}

        async def after(*items: Any) -> Any:
            return await client.responses.create(**ask([question, *items, result], **asked))

        assert (await after(thought, call)).output_text == "The tool says: sunny"
        with pytest.raises(openai.BadRequestError, match="without its required 'reasoning' item") as caught:
            await after(call)
        assert caught.value.param == "input"
        await after(
            {key: value for key, value in call.items() if key != "id"}
        )  # nobody knows where it is from
        with pytest.raises(openai.BadRequestError, match="could not be verified") as caught:
            await after({**thought, "encrypted_content": thought["encrypted_content"][:-4] + "AAA="}, call)
        assert caught.value.code == "invalid_encrypted_content"
        with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
            await after({key: value for key, value in thought.items() if key != "encrypted_content"}, call)
        with pytest.raises(openai.BadRequestError, match="without its required following item"):
            await client.responses.create(**ask([question, thought], **asked))
        up.strict_reasoning = True
        with pytest.raises(openai.BadRequestError, match="without its required 'reasoning' item"):
            await after({key: value for key, value in call.items() if key != "id"})


async def test_limits_and_ends() -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        cut, streamed, events = await whole_and_streamed(client, **ask("count to 100", max_output_tokens=16))
        assert cut.output_text.split()[-1] == "16"
        assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert (streamed.status, events[-1].type) == ("incomplete", "response.incomplete")
        refused, streamed, _ = await whole_and_streamed(client, **ask("please refuse"))
        assert refused.output[0].content[0].refusal == streamed.output[0].content[0].refusal == REFUSAL


async def test_structured_output() -> None:
    given = {"type": "json_schema", "name": "day", "strict": True, "schema": WEATHER["parameters"]}
    async with ResponsesDouble() as up, sdk(up) as client:
        got = await client.responses.create(**ask("a day in Rome", text={"format": given}))
        assert got.output_text == '{"city": "Rome"}'


async def test_the_rest_of_the_surface() -> None:
    async with ResponsesDouble(models=("a",)) as up, sdk(up) as client:
        assert [model.id async for model in client.models.list()] == ["a"]
        made = await client.responses.create(**ask("say yes"))
        assert (await client.responses.retrieve(made.id)).output_text == "yes"
        assert len([item async for item in client.responses.input_items.list(made.id)]) == 1
        assert (await client.responses.input_tokens.count(model="a", input="a b c")).input_tokens == 3
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


@pytest.mark.parametrize(
    ("body", "code", "wording"),
    [
        (ask(extra_body={"messages": []}), "unknown_parameter", "Unknown parameter: 'messages'."),
        (ask([]), "missing_required_parameter", 'One of "input"'),
        (
            ask(model="gpt-4o", include=["reasoning.encrypted_content"]),
            None,
            "Encrypted content is not supported with this model.",
        ),
        (ask([CALL]), None, "No tool output found for function call c."),
        (ask([OUTPUT]), None, "No tool call found for function call output with call_id c."),
        (ask([{**CALL, "id": "call_1"}, OUTPUT]), "invalid_value", "Expected an ID that begins with 'fc'."),
        (ask([{**CALL, "call_id": "c" * 65}, OUTPUT]), "string_above_max_length", "maximum length 64"),
        (
            ask([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]),
            "invalid_value",
            "Invalid value: 'input_text'. Supported values are: 'output_text', 'refusal'.",
        ),
        (ask([{"role": "tool", "content": "x"}]), "invalid_value", "Invalid value: 'tool'."),
        (ask(max_output_tokens=5), "integer_below_min_value", "Expected a value >= 16, but got 5 instead."),
        (
            ask(tools=[{"type": "function", "function": {"name": "f"}}]),
            "missing_required_parameter",
            "Missing required parameter: 'tools[0].name'.",
        ),
        (
            ask(tools=[{"type": "function", "name": "f", "strict": True, "parameters": OPEN_SCHEMA}]),
            "invalid_function_parameters",
            "'additionalProperties' is required to be supplied and to be false.",
        ),
        (ask(tool_choice="required"), None, "must be specified with 'tools' parameter"),
        (
            ask(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}),
            "missing_required_parameter",
            "Missing required parameter: 'tool_choice.name'.",
        ),
        (ask(text={"format": {"type": "json_object"}}), None, "must contain the word 'json'"),
        (
            ask([{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]}]),
            "invalid_value",
            "Expected a base64-encoded data URL",
        ),
        (ask(previous_response_id="resp_0"), "previous_response_not_found", "not found"),
    ],
)
async def test_what_the_vendor_refuses(body: Any, code: str | None, wording: str) -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(**body)
        assert wording in caught.value.message
        assert caught.value.code == code


async def test_faults() -> None:
    async with ResponsesDouble() as up, sdk(up) as client:
        up.plan += [{"x-test-status": "503"}, {"x-test-error-in-stream": "4"}]
        with pytest.raises(openai.InternalServerError):
            await client.responses.create(**ask())
        events = [event async for event in await client.responses.create(**ask(), stream=True)]
        assert (len(events), events[-1].type) == (5, "error")
        up.behaviour = {"x-test-split": "3"}
        _, streamed, _ = await whole_and_streamed(client, **ask("say 你好"))
        assert streamed.output_text == "你好"
