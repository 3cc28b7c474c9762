"""The double of Anthropic's server: its SDK judges what it says, the vendor's rules what it refuses."""

from typing import Any

import anthropic
import pytest

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.brain import REFUSAL, Reply

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


def sdk(up: AnthropicDouble) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=up.url, api_key="any", _strict_response_validation=True, max_retries=0
    )


def ask(text: str = "Hello!", **more: Any) -> Any:
    return {"model": "claude", "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


async def refusal(up: AnthropicDouble, body: Any) -> str:
    async with sdk(up) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(**body)
    error: Any = caught.value.body
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    return str(error["error"]["message"])


async def test_text_whole_and_streamed() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        whole = await client.messages.create(**ask())
        assert whole.content[0].text == "Hello! How can I help you today?"
        assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 7)
        async with client.messages.stream(**ask()) as stream:
            said = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
        assert "".join(said) == whole.content[0].text
        assert final.usage.input_tokens == whole.usage.input_tokens
        assert up.requests[-1].status == 200


async def test_tools_and_their_results() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        body = ask("What is the weather in Paris and in Rome?", tools=[WEATHER])
        whole = await client.messages.create(**body)
        assert whole.stop_reason == "tool_use"
        assert [block.input for block in whole.content] == [{"city": "Paris"}, {"city": "Rome"}]
        async with client.messages.stream(**body) as stream:
            streamed = await stream.get_final_message()
        assert [block.input for block in streamed.content] == [block.input for block in whole.content]
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": "sunny"} for b in whole.content]
        body["messages"] += [
            {"role": "assistant", "content": whole.content},
            {"role": "user", "content": results},
        ]
        after = await client.messages.create(**body)
        assert after.content[0].text == "The tool says: sunny The tool says: sunny"


async def test_a_tool_without_arguments_streams_no_json() -> None:
    tool = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
    async with AnthropicDouble() as up, sdk(up) as client:
        async with client.messages.stream(**ask(tools=[tool], tool_choice={"type": "any"})) as stream:
            events = [event async for event in stream]
        assert [e.delta.partial_json for e in events if e.type == "content_block_delta"] == [""]
        assert (await stream.get_final_message()).content[0].input == {}


async def thought(client: anthropic.AsyncAnthropic) -> tuple[Any, list[Any]]:
    """A turn that thinks and calls: the body for the next one, and the blocks of the answer."""
    body = ask("What is the weather in Paris?", tools=[WEATHER], thinking=THINKING)
    async with client.messages.stream(**body) as stream:
        blocks = [block.model_dump(exclude_none=True) for block in (await stream.get_final_message()).content]
    assert [block["type"] for block in blocks] == ["thinking", "tool_use"]
    for block in blocks:
        block.pop("parsed_output", None)
    result = {"type": "tool_result", "tool_use_id": blocks[1]["id"], "content": "sunny"}
    body["messages"] += [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    return body, blocks


async def test_thoughts_come_back_as_they_were() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        body, blocks = await thought(client)
        assert (await client.messages.create(**body)).content[-1].text == "The tool says: sunny"
        kept = dict(blocks[0])
        blocks[0]["thinking"] = "something else"
        assert await refusal(up, body) == "messages.1.content.0: Invalid `signature` in `thinking` block"
        blocks[0] = {**kept, "signature": "c29tZXRoaW5n"}
        assert "Invalid `signature`" in await refusal(up, body)
        blocks[0] = {key: value for key, value in kept.items() if key != "signature"}
        assert await refusal(up, body) == "messages.1.content.0.thinking.signature: Field required"
        del blocks[0]
        assert "Expected `thinking` or `redacted_thinking`, but found `tool_use`" in await refusal(up, body)


async def test_a_thought_that_was_not_shown_comes_back_empty() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        body = ask(
            "What is the weather in Paris?", tools=[WEATHER], thinking={**THINKING, "display": "omitted"}
        )
        got = await client.messages.create(**body)
        assert got.content[0].thinking == ""
        result = {"type": "tool_result", "tool_use_id": got.content[1].id, "content": "sunny"}
        body["messages"] += [
            {"role": "assistant", "content": got.content},
            {"role": "user", "content": [result]},
        ]
        assert (await client.messages.create(**body)).stop_reason == "end_turn"


async def test_limits_and_ends() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        cut = await client.messages.create(**ask("count to 100", max_tokens=3))
        assert (cut.content[0].text, cut.stop_reason) == ("1 2 3", "max_tokens")
        stopped = await client.messages.create(**ask("count to 9", stop_sequences=["5"]))
        assert (stopped.content[0].text, stopped.stop_sequence) == ("1 2 3 4 ", "5")
        refused = await client.messages.create(**ask("please refuse"))
        assert refused.stop_reason == "refusal"
        assert refused.stop_details is not None
        assert refused.stop_details.explanation == REFUSAL
        half = await client.messages.create(**ask(max_tokens=2, tools=[WEATHER], tool_choice={"type": "any"}))
        assert (half.stop_reason, half.content[0].input) == ("max_tokens", {})


async def test_structured_output_and_cache() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["city", "n"],
        "additionalProperties": False,
    }
    system = [{"type": "text", "text": "one two three", "cache_control": {"type": "ephemeral"}}]
    async with AnthropicDouble() as up, sdk(up) as client:
        body = ask("7 days in Rome", output_config={"format": {"type": "json_schema", "schema": schema}})
        assert (await client.messages.create(**body)).content[0].text == '{"city": "Rome", "n": 7}'
        first = (await client.messages.create(**ask(system=system))).usage
        second = (await client.messages.create(**ask(system=system))).usage
        assert first.cache_creation_input_tokens
        assert first.cache_creation_input_tokens == second.cache_read_input_tokens
        assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
        assert first.input_tokens == second.input_tokens
        open_schema = {"type": "object", "properties": {}}
        body = ask(output_config={"format": {"type": "json_schema", "schema": open_schema}})
        assert "'additionalProperties' must be explicitly set to false" in await refusal(up, body)


def said(*messages: tuple[str, Any], **more: Any) -> Any:
    return ask(messages=[{"role": role, "content": content} for role, content in messages], **more)


USE = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        (ask(extra_body={"foo": 1}), "foo: Extra inputs are not permitted"),
        (ask(extra_body={"temperature": 0}), "temperature: Extra inputs are not permitted"),
        (ask(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (said(), "messages: at least one message is required"),
        (said(("assistant", "x"), ("user", "y")), 'first message must use the "user" role'),
        (said(("user", "")), "messages.0: all messages must have non-empty content"),
        (said(("user", [{"type": "text", "text": ""}])), "messages: text content blocks must be non-empty"),
        (
            said(("user", [{"type": "text", "text": " "}])),
            "messages: text content blocks must contain non-whitespace",
        ),
        (said(("user", "a"), ("assistant", "b ")), "cannot end with trailing whitespace"),
        (said(("user", "a"), ("assistant", [USE]), ("user", "b")), "`tool_use` ids were found without"),
        (
            said(("user", "a"), ("assistant", [USE]), ("user", [{"type": "text", "text": "b"}, RESULT])),
            "`tool_use` ids were found without",
        ),
        (said(("user", [RESULT])), "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
        (said(("user", "a"), ("assistant", [USE]), ("user", [RESULT, RESULT])), "must have a single result"),
        (
            said(("user", "a"), ("assistant", [{**USE, "id": "call:1"}])),
            "messages.1.content.0.tool_use.id: String should match pattern",
        ),
        (said(("user", "a"), ("assistant", [{**USE, "input": "{}"}])), "Input should be a valid dictionary"),
        (said(("user", [{"type": "input_text", "text": "x"}])), "Input tag 'input_text' found"),
        (ask(tools=[{**WEATHER, "name": "a.b"}]), "tools.0.custom.name: String should match pattern"),
        (ask(tools=[{"name": "a", "input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
        (ask(tools=[WEATHER, WEATHER]), "tools: Tool names must be unique."),
        (ask(tool_choice={"type": "any"}), "tool_choice: may only be specified while providing `tools`."),
        (
            ask(tools=[WEATHER], tool_choice={"type": "any"}, thinking=THINKING),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (ask(thinking={"type": "enabled", "budget_tokens": 5}), "greater than or equal to 1024"),
        (ask(thinking=THINKING, max_tokens=1000), "`max_tokens` must be greater than"),
        (ask(stop_sequences=[" "]), "each stop sequence must contain non-whitespace"),
    ],
)
async def test_what_the_vendor_refuses(body: Any, wording: str) -> None:
    async with AnthropicDouble() as up:
        assert wording in await refusal(up, body)


async def test_turns_of_one_role_are_joined_or_refused() -> None:
    body = said(("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), ("user", "hello"))
    async with AnthropicDouble() as up, sdk(up) as client:
        assert (await client.messages.create(**body)).stop_reason == "end_turn"
    async with AnthropicDouble(strict_turns=True) as up:
        assert "roles must alternate" in await refusal(up, body)


async def test_the_rest_of_the_surface() -> None:
    async with AnthropicDouble(models=("a", "b"), api_key="right") as up:
        async with sdk(up) as client:
            with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
                await client.models.list()
        async with anthropic.AsyncAnthropic(base_url=up.url, api_key="right", max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == ["a", "b"]
            counted = await client.messages.count_tokens(
                model="a", messages=[{"role": "user", "content": "a b c"}]
            )
            assert counted.input_tokens == 3
            with pytest.raises(anthropic.NotFoundError):
                await client.post("/v1/nothing", cast_to=object)


async def test_faults() -> None:
    async with AnthropicDouble() as up, sdk(up) as client:
        up.plan += [{"x-test-status": "529"}, {"x-test-error-in-stream": "4"}, {"x-test-truncate": "4"}]
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**ask())
        assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")
        with pytest.raises(anthropic.APIStatusError, match="error in the stream"):
            async with client.messages.stream(**ask()) as stream:
                await stream.get_final_message()
        async with client.messages.stream(**ask()) as stream:
            assert [event.type async for event in stream if event.type == "message_stop"] == []
        up.behaviour = {"x-test-split": "3"}
        async with client.messages.stream(**ask("say 你好")) as stream:
            assert (await stream.get_final_message()).content[0].text == "你好"
        up.brain.script.append(Reply(text="scripted"))
        assert (await client.messages.create(**ask())).content[0].text == "scripted"
