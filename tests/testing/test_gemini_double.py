"""The double of the Gemini API: its SDK judges what it says, the vendor's rules what it refuses."""

import base64
import json
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from penstock.lib.http1 import Client, Origin
from penstock.testing.gemini import GeminiDouble

MODEL = "gemini-test"
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather in a city.",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
TOOLS = [types.Tool(function_declarations=[WEATHER])]
THINKING = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
NO_AUTO = types.AutomaticFunctionCallingConfig(disable=True)


def sdk(up: GeminiDouble) -> Any:
    return genai.Client(api_key="any", http_options=types.HttpOptions(base_url=up.url)).aio


def config(**more: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(automatic_function_calling=NO_AUTO, **more)


async def whole_and_streamed(client: Any, contents: Any, asked: Any) -> tuple[Any, list[Any]]:
    whole = await client.models.generate_content(model=MODEL, contents=contents, config=asked)
    chunks = [
        chunk
        async for chunk in await client.models.generate_content_stream(
            model=MODEL, contents=contents, config=asked
        )
    ]
    return whole, chunks


def parts(chunks: list[Any]) -> list[Any]:
    return [part for chunk in chunks for part in (chunk.candidates[0].content.parts or [])]


async def test_text_whole_and_streamed() -> None:
    async with GeminiDouble() as up, sdk(up) as client:
        whole, chunks = await whole_and_streamed(client, "Hello!", config())
        assert whole.text == "Hello! How can I help you today?"
        assert "".join(part.text for part in parts(chunks)) == whole.text
        assert [chunk.candidates[0].finish_reason for chunk in chunks] == [None] * 6 + ["STOP"]
        assert chunks[-1].usage_metadata == whole.usage_metadata
        assert whole.usage_metadata.candidates_token_count == 7


async def test_tools_and_their_results() -> None:
    async with GeminiDouble() as up, sdk(up) as client:
        question = types.UserContent("What is the weather in Paris and in Rome?")
        whole, chunks = await whole_and_streamed(client, [question], config(tools=TOOLS))
        assert [call.args for call in whole.function_calls] == [{"city": "Paris"}, {"city": "Rome"}]
        assert [part.function_call.args for part in parts(chunks)] == [c.args for c in whole.function_calls]
        assert whole.candidates[0].finish_reason == "STOP"
        answers = [
            types.Part.from_function_response(name="get_weather", response={"output": "sunny"})
            for _ in range(2)
        ]
        history = [question, whole.candidates[0].content, types.Content(role="user", parts=answers)]
        after, _ = await whole_and_streamed(client, history, config(tools=TOOLS))
        assert after.text == "The tool says: sunny The tool says: sunny"


async def test_signatures_come_back() -> None:
    async with GeminiDouble() as up, sdk(up) as client:
        asked = config(tools=TOOLS, thinking_config=THINKING)
        question = types.UserContent("What is the weather in Paris?")
        _, chunks = await whole_and_streamed(client, [question], asked)
        model = types.Content(role="model", parts=parts(chunks))
        assert model.parts is not None
        call = model.parts[-1]
        assert call.thought_signature
        answer = types.Part.from_function_response(name="get_weather", response={"output": "sunny"})
        history = [question, model, types.Content(role="user", parts=[answer])]
        after, chunks = await whole_and_streamed(client, history, asked)
        assert after.text == "The tool says: sunny"
        ending = parts(chunks)[-1]
        assert (ending.text, bool(ending.thought_signature)) == ("", True)
        kept, call.thought_signature = call.thought_signature, None
        with pytest.raises(errors.ClientError, match="missing a thought_signature in functionCall parts"):
            await client.models.generate_content(model=MODEL, contents=history, config=asked)
        call.thought_signature = kept[:-1] + b"x"
        with pytest.raises(errors.ClientError, match="Corrupted thought signature"):
            await client.models.generate_content(model=MODEL, contents=history, config=asked)
        call.thought_signature = b"skip_thought_signature_validator"
        await client.models.generate_content(model=MODEL, contents=history, config=asked)


async def test_limits_and_ends() -> None:
    async with GeminiDouble() as up, sdk(up) as client:
        cut, _ = await whole_and_streamed(client, "count to 9", config(max_output_tokens=3))
        assert (cut.text, cut.candidates[0].finish_reason) == ("1 2 3", "MAX_TOKENS")
        stopped, _ = await whole_and_streamed(client, "count to 9", config(stop_sequences=["5"]))
        assert (stopped.text, stopped.candidates[0].finish_reason) == ("1 2 3 4 ", "STOP")
        refused, chunks = await whole_and_streamed(client, "please refuse", config())
        assert refused.candidates[0].finish_reason == "SAFETY"
        assert parts(chunks) == []
        two, chunks = await whole_and_streamed(client, "say yes", config(candidate_count=2))
        assert [one.content.parts[0].text for one in two.candidates] == ["yes", "yes"]
        assert {chunk.candidates[0].index for chunk in chunks} == {0, 1} or len(chunks[-1].candidates) == 2


async def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    async with GeminiDouble() as up, sdk(up) as client:
        asked = config(response_mime_type="application/json", response_json_schema=schema)
        whole, _ = await whole_and_streamed(client, "a day in Rome", asked)
        assert whole.text == '{"city": "Rome"}'


async def test_the_rest_of_the_surface() -> None:
    async with GeminiDouble(models=("a", "b"), api_key="any") as up, sdk(up) as client:
        assert [model.name async for model in await client.models.list()] == ["models/a", "models/b"]
        counted = await client.models.count_tokens(model=MODEL, contents="a b c")
        assert counted.total_tokens == 3
        embedded = await client.models.embed_content(model="embedding", contents=["a", "b"])
        assert [len(one.values) for one in embedded.embeddings] == [8, 8]
        up.api_key = "another"
        with pytest.raises(errors.ClientError, match="API key not valid"):
            await client.models.count_tokens(model=MODEL, contents="a")


async def test_an_array_without_sse_and_snake_case() -> None:
    async with GeminiDouble() as up, Client() as client:
        origin, _ = Origin.parse(up.url)
        body = (
            b'{"contents": [{"parts": [{"text": "say a b"}]}], "generation_config": {"max_output_tokens": 9}}'
        )
        path = f"/v1beta/models/{MODEL}:streamGenerateContent?key=any"
        response = await client.request(origin, "POST", path, [], body)
        assert response.status == 200
        chunks = json.loads(await response.read(1 << 16))
        assert [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks] == ["a", " b"]


def text(said: str = "a") -> Any:
    return {"text": said}


CALL: Any = {"functionCall": {"name": "f", "args": {}}}
ANSWER: Any = {"functionResponse": {"name": "f", "response": {}}}


def says(*contents: Any, **more: Any) -> Any:
    return {"contents": [{"role": role, "parts": list(given)} for role, *given in contents], **more}


def declares(schema: Any) -> Any:
    return says(("user", text()), tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}])


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        ({}, "contents is not specified"),
        (says(("user", text()), foo=1), 'Unknown name "foo": Cannot find field'),
        (says(("assistant", text())), "Please use a valid role: user, model."),
        (says(("user",)), "contents.parts must not be empty"),
        (says(("user", text(""))), "required oneof field 'data' must have one initialized field"),
        (says(("user", {"text": "a", "type": "text"})), "Unknown name \"type\" at 'contents[0].parts[0]'"),
        (says(("user", {"inlineData": {"mimeType": "a/b", "data": "?"}})), "Base64 decoding failed"),
        (says(("model", CALL), ("user", ANSWER)), "function call turn comes immediately after a user turn"),
        (says(("user", ANSWER)), "function response turn comes immediately after a function call turn"),
        (says(("user", text()), ("model", CALL), ("user", text())), "number of function response parts"),
        (
            says(("user", text()), ("model", CALL, CALL), ("user", ANSWER)),
            "number of function response parts",
        ),
        (
            says(
                ("user", text()),
                ("model", CALL),
                ("user", {"functionResponse": {"name": "f", "response": []}}),
            ),
            "google.protobuf.Struct",
        ),
        (
            declares(
                {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
            ),
            'Unknown name "additionalProperties"',
        ),
        (declares({"type": "object", "properties": {"a": {"$ref": "#/x"}}}), 'Unknown name "$ref"'),
        (declares({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}), "not repeating"),
        (declares({"type": "object", "properties": {}}), "should be non-empty for OBJECT type"),
        (declares({"type": "object", "properties": {"a": {"type": "array"}}}), "items: missing field"),
        (
            says(("user", text()), toolConfig={"functionCallingConfig": {"mode": "ANY"}}),
            "Function calling config is set without function_declarations.",
        ),
        (
            says(("user", text()), generationConfig={"responseJsonSchema": {"type": "object"}}),
            "only allowed when response_mime_type is application/json",
        ),
    ],
)
async def test_what_the_vendor_refuses(body: Any, wording: str) -> None:
    async with GeminiDouble() as up, Client() as client:
        origin, _ = Origin.parse(up.url)
        headers = [("x-goog-api-key", "any")]
        path = f"/v1beta/models/{MODEL}:generateContent"
        response = await client.request(origin, "POST", path, headers, json.dumps(body).encode())
        error = json.loads(await response.read(1 << 16))["error"]
        assert (response.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
        assert wording in error["message"]


async def test_faults() -> None:
    async with GeminiDouble() as up, sdk(up) as client:
        up.plan += [{"x-test-status": "503"}, {"x-test-error-in-stream": "2"}]
        with pytest.raises(errors.ServerError, match="UNAVAILABLE"):
            await client.models.generate_content(model=MODEL, contents="a")
        with pytest.raises(errors.ServerError, match="error in the stream"):
            async for _ in await client.models.generate_content_stream(model=MODEL, contents="Hello!"):
                pass
        up.behaviour = {"x-test-split": "3", "x-test-no-usage": "1"}
        _, chunks = await whole_and_streamed(client, "say 你好", config())
        assert parts(chunks)[0].text == "你好"
        assert [chunk.usage_metadata for chunk in chunks] == [None]
        image = types.Part.from_bytes(data=base64.b64decode("aGk="), mime_type="image/png")
        seen, _ = await whole_and_streamed(client, [types.Content(role="user", parts=[image])], config())
        assert "image/png" in seen.text
