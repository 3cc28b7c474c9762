"""The double of Amazon Bedrock: botocore judges what it says, the service's rules what it refuses."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from penstock.testing.bedrock import BedrockDouble
from penstock.testing.brain import REFUSAL

WEATHER: Any = {
    "toolSpec": {
        "name": "get_weather",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        },
    }
}
SECRET = "secret"
THINKING: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


class Sdk:
    """botocore is synchronous: each call on a thread."""

    def __init__(self, up: BedrockDouble, secret: str = SECRET, *, checks: bool = True) -> None:
        self._client = botocore.session.Session().create_client(
            "bedrock-runtime",
            endpoint_url=up.url,
            region_name="us-east-1",
            aws_access_key_id="AKTEST",
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=checks),
        )

    @staticmethod
    async def _run(call: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(call)
        except (ClientError, EventStreamError) as exc:
            raise exc.with_traceback(None) from None  # its frames would keep the connection open

    async def converse(self, **body: Any) -> Any:
        return await self._run(lambda: self._client.converse(**body))

    async def stream(self, **body: Any) -> list[Any]:
        def run() -> list[Any]:
            response = self._client.converse_stream(**body)
            try:
                return list(response["stream"])
            finally:
                response["stream"].close()

        found: list[Any] = await self._run(run)
        return found

    async def count(self, **body: Any) -> int:
        counted = await self._run(lambda: self._client.count_tokens(**body))
        return int(counted["inputTokens"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def said(*messages: tuple[str, Any], **more: Any) -> Any:
    model = "anthropic.claude-x-v1:0"
    return {
        "modelId": model,
        "messages": [{"role": role, "content": list(c)} for role, c in messages],
        **more,
    }


def ask(text: str = "Hello!", **more: Any) -> Any:
    return said(("user", [{"text": text}]), **more)


def gathered(events: list[Any]) -> list[Any]:
    """The content blocks of a stream, as an answer that was not streamed has them."""
    blocks: dict[int, Any] = {}
    for event in events:
        if "contentBlockStart" in event:
            started = event["contentBlockStart"]
            blocks[started["contentBlockIndex"]] = {"toolUse": {**started["start"]["toolUse"], "input": ""}}
        if "contentBlockDelta" in event:
            index, delta = (
                event["contentBlockDelta"]["contentBlockIndex"],
                event["contentBlockDelta"]["delta"],
            )
            if "toolUse" in delta:
                blocks[index]["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "text" in delta:
                block = blocks.setdefault(index, {"text": ""})
                block["text"] += delta["text"]
            else:
                empty = {"reasoningContent": {"reasoningText": {"text": "", "signature": ""}}}
                thought = blocks.setdefault(index, empty)["reasoningContent"]["reasoningText"]
                for key, value in delta["reasoningContent"].items():
                    thought[key] += value
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return [blocks[index] for index in sorted(blocks)]


async def test_text_whole_and_streamed() -> None:
    async with BedrockDouble(secret_access_key=SECRET) as up:
        with Sdk(up) as sdk:
            whole = await sdk.converse(**ask())
            events = await sdk.stream(**ask())
        assert whole["output"]["message"]["content"] == [{"text": "Hello! How can I help you today?"}]
        assert gathered(events) == whole["output"]["message"]["content"]
        assert [next(iter(event)) for event in events[-3:]] == ["contentBlockStop", "messageStop", "metadata"]
        assert events[-1]["metadata"]["usage"] == whole["usage"]
        assert (whole["stopReason"], whole["usage"]["outputTokens"]) == ("end_turn", 7)
        with Sdk(up, "wrong") as sdk, pytest.raises(ClientError, match="does not match the signature"):
            await sdk.converse(**ask())


async def test_tools_thoughts_and_signatures() -> None:
    async with BedrockDouble() as up:
        with Sdk(up) as sdk:
            more = {"toolConfig": {"tools": [WEATHER]}, "additionalModelRequestFields": THINKING}
            question = ("user", [{"text": "What is the weather in Paris and in Rome?"}])
            whole = await sdk.converse(**said(question, **more))
            thought, *calls = gathered(await sdk.stream(**said(question, **more)))
            assert [c["toolUse"]["input"] for c in calls] == [{"city": "Paris"}, {"city": "Rome"}]
            assert len(whole["output"]["message"]["content"]) == 3
            results = [
                {"toolResult": {"toolUseId": c["toolUse"]["toolUseId"], "content": [{"text": "sunny"}]}}
                for c in calls
            ]
            after = await sdk.converse(
                **said(question, ("assistant", [thought, *calls]), ("user", results), **more)
            )
            assert (
                after["output"]["message"]["content"][-1]["text"]
                == "The tool says: sunny The tool says: sunny"
            )
            with pytest.raises(ClientError, match="Expected `thinking` or `redacted_thinking`"):
                await sdk.converse(**said(question, ("assistant", calls), ("user", results), **more))
            thought["reasoningContent"]["reasoningText"]["text"] += "!"
            with pytest.raises(ClientError, match="Invalid `signature` in `thinking` block"):
                await sdk.converse(
                    **said(question, ("assistant", [thought, *calls]), ("user", results), **more)
                )


async def test_limits_ends_and_formats() -> None:
    async with BedrockDouble() as up:
        with Sdk(up) as sdk:
            cut = await sdk.converse(**ask("count to 9", inferenceConfig={"maxTokens": 3}))
            assert (cut["output"]["message"]["content"], cut["stopReason"]) == (
                [{"text": "1 2 3"}],
                "max_tokens",
            )
            paths = ["/stop_sequence"]
            stopped = await sdk.converse(
                **ask(
                    "count to 9",
                    inferenceConfig={"stopSequences": ["5"]},
                    additionalModelResponseFieldPaths=paths,
                )
            )
            assert stopped["stopReason"] == "stop_sequence"
            assert stopped["additionalModelResponseFields"] == {"stop_sequence": "5"}
            refused = await sdk.converse(**ask("please refuse"))
            assert refused["output"]["message"]["content"] == [{"text": REFUSAL}]
            schema = json.dumps({**WEATHER["toolSpec"]["inputSchema"]["json"], "additionalProperties": False})
            wanted = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}
            day = await sdk.converse(**ask("a day in Rome", outputConfig={"textFormat": wanted}))
            assert day["output"]["message"]["content"] == [{"text": '{"city": "Rome"}'}]
            image = {"image": {"format": "png", "source": {"bytes": b"hi"}}}
            seen = await sdk.converse(**said(("user", [image])))
            assert "image/png" in seen["output"]["message"]["content"][0]["text"]
            counted = {"converse": {"messages": [{"role": "user", "content": [{"text": "a b c"}]}]}}
            assert await sdk.count(modelId="m", input=counted) == 3
            cached = ask(system=[{"text": "a b c"}, {"cachePoint": {"type": "default"}}])
            first, second = (await sdk.converse(**cached))["usage"], (await sdk.converse(**cached))["usage"]
            assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 0


USE = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}
TEXT = {"text": "a"}
TOOLS = {"toolConfig": {"tools": [WEATHER]}}


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        (said(("assistant", [TEXT])), "must start with a user message"),
        (said(("user", [TEXT]), ("user", [TEXT])), "must alternate between user and assistant roles"),
        (said(("user", [])), "The content field in the Message object at messages.0 is empty."),
        (ask(" "), "The text field in the ContentBlock object at messages.0.content.0 is blank."),
        (ask(system=[{"text": " "}]), "SystemContentBlock object at system.0 is blank"),
        (
            said(("user", [TEXT]), ("assistant", [USE]), ("user", [RESULT])),
            "toolConfig field must be defined",
        ),
        (
            said(("user", [TEXT]), ("assistant", [USE]), ("user", [TEXT]), **TOOLS),
            "Expected toolResult blocks at messages.2.content for the following Ids: t",
        ),
        (said(("user", [RESULT]), **TOOLS), "exceeds the number of toolUse blocks of previous turn"),
        (
            said(("user", [TEXT]), ("assistant", [{"toolUse": {**USE["toolUse"], "input": "{}"}}]), **TOOLS),
            "Provide a json object for the field and try again.",
        ),
        (
            said(
                ("user", [TEXT]),
                ("assistant", [{"toolUse": {**USE["toolUse"], "toolUseId": "a|b"}}]),
                **TOOLS,
            ),
            "Member must satisfy regular expression pattern",
        ),
        (ask(toolConfig={"tools": []}), "Member must have length greater than or equal to 1"),
        (ask(toolConfig={"tools": [WEATHER], "toolChoice": {}}), "exactly one member must be set"),
        (
            ask(toolConfig={"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}),
            "inputSchema.json.type must be one of the following: object.",
        ),
        (
            ask(additionalModelRequestFields=THINKING, inferenceConfig={"maxTokens": 100}),
            "`max_tokens` must be greater than",
        ),
    ],
)
async def test_what_the_service_refuses(body: Any, wording: str) -> None:
    async with BedrockDouble() as up:
        with Sdk(up, checks=False) as sdk, pytest.raises(ClientError) as caught:
            await sdk.converse(**body)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert wording in error["Message"]


async def test_faults() -> None:
    async with BedrockDouble() as up:
        with Sdk(up) as sdk:
            up.plan.append({"x-test-status": "429"})
            with pytest.raises(ClientError) as caught:
                await sdk.converse(**ask())
            assert caught.value.response["Error"]["Code"] == "ThrottlingException"
            up.behaviour = {"x-test-split": "3"}
            assert gathered(await sdk.stream(**ask("say 你好"))) == [{"text": "你好"}]


async def test_an_exception_in_the_stream() -> None:
    async with BedrockDouble() as up:
        with Sdk(up) as sdk:
            up.plan.append({"x-test-error-in-stream": "3"})
            with pytest.raises(EventStreamError, match="error in the stream"):
                await sdk.stream(**ask())
