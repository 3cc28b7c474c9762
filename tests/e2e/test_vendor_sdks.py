"""The official SDKs of Anthropic, Google and Ollama against `penstock up`: a model of ours in their dialects.

OpenAI's and Cohere's have modules of their own; those for node are test_node.py's.
"""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from platforms import MODEL, Platform

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(60),
    # google-genai closes its connections when it is collected, wherever that is.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

EMBEDDING = "builtin:embedding"
ASKED = "An animal, as JSON."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"animal": {"type": "string", "enum": ["cat", "dog"]}, "loud": {"type": "boolean"}},
    "required": ["animal", "loud"],
    "additionalProperties": False,
}


def check_animal(given: Any) -> None:
    said = json.loads(given) if isinstance(given, str) else given
    assert set(said) == {"animal", "loud"}
    assert said["animal"] in ("cat", "dog")


def hello(text: str = "Hello!") -> Any:
    return [{"role": "user", "content": text}]


# -- Anthropic


@pytest.fixture
def claude(platform: Platform) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=platform.url, api_key=platform.key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def cold(**more: Any) -> Any:
    """The SDK has no temperature any more; the model here has."""
    return {"max_tokens": 60, "model": MODEL, "extra_body": {"temperature": 0}, **more}


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(messages=hello(), **cold())
    (block,) = whole.content
    assert block.type == "text"
    assert whole.usage.input_tokens > 0
    with claude.messages.stream(messages=hello(), **cold()) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == block.text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_anthropic_tools_and_schemas(claude: anthropic.Anthropic) -> None:
    tools: Any = [{"name": "show", "input_schema": SCHEMA}]
    with claude.messages.stream(
        messages=hello(ASKED), tools=tools, tool_choice={"type": "any"}, **cold(max_tokens=200)
    ) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use"
    (call,) = [block for block in called.content if block.type == "tool_use"][:1]
    check_animal(call.input)
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "It barks."}
        for block in called.content
        if block.type == "tool_use"
    ]
    history: Any = [
        *hello(ASKED),
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": results},
    ]
    assert claude.messages.create(messages=history, tools=tools, **cold()).content
    wanted: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    shaped = claude.messages.create(messages=hello(ASKED), output_config=wanted, **cold(max_tokens=200))
    (block,) = shaped.content
    assert block.type == "text"
    check_animal(block.text)


def test_anthropic_counts_lists_and_refuses(claude: anthropic.Anthropic, platform: Platform) -> None:
    counted = claude.messages.count_tokens(model=MODEL, messages=hello())
    used = claude.messages.create(messages=hello(), **cold())
    assert counted.input_tokens == used.usage.input_tokens + (used.usage.cache_read_input_tokens or 0)
    assert MODEL in [model.id for model in claude.models.list()]
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(messages=hello(), **cold(model="none"))
    assert caught.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        claude.messages.create(messages=hello(), **cold(max_tokens=0))
    with (
        anthropic.Anthropic(base_url=platform.url, api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError),
    ):
        stranger.models.list()


# -- Google


@pytest.fixture
def gemini(platform: Platform) -> Iterator[genai.Client]:
    with genai.Client(
        api_key=platform.key, http_options=genai_types.HttpOptions(base_url=platform.url)
    ) as client:
        yield client


def test_gemini_generates(gemini: genai.Client) -> None:
    config = genai_types.GenerateContentConfig(temperature=0, max_output_tokens=60)
    whole = gemini.models.generate_content(model=MODEL, contents="Hello!", config=config)
    assert whole.text
    chunks = list(gemini.models.generate_content_stream(model=MODEL, contents="Hello!", config=config))
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert whole.usage_metadata is not None
    assert usage.total_token_count == whole.usage_metadata.total_token_count
    counted = gemini.models.count_tokens(model=MODEL, contents="Hello!")
    assert counted.total_tokens == whole.usage_metadata.prompt_token_count


def test_gemini_calls_and_is_bound(gemini: genai.Client) -> None:
    declared: Any = {"name": "show", "parameters_json_schema": SCHEMA}
    forced: Any = {"function_calling_config": {"mode": "ANY"}}
    called = gemini.models.generate_content(
        model=MODEL,
        contents=ASKED,
        config=genai_types.GenerateContentConfig(
            temperature=0,
            max_output_tokens=200,
            tools=[genai_types.Tool(function_declarations=[declared])],
            tool_config=forced,
            automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
        ),
    )
    assert called.function_calls
    check_animal(called.function_calls[0].args)
    shaped = gemini.models.generate_content(
        model=MODEL,
        contents=ASKED,
        config=genai_types.GenerateContentConfig(
            temperature=0,
            max_output_tokens=200,
            response_mime_type="application/json",
            response_json_schema=SCHEMA,
        ),
    )
    check_animal(shaped.text)


def test_gemini_embeds_lists_and_refuses(encoder: Platform, gemini: genai.Client) -> None:
    found = gemini.models.embed_content(model=EMBEDDING, contents=["one", "two"])
    assert found.embeddings is not None
    assert [len(one.values or ()) for one in found.embeddings] == [384, 384]
    assert f"models/{MODEL}" in [model.name for model in gemini.models.list()]
    with pytest.raises(genai_errors.ClientError) as caught:
        gemini.models.generate_content(model="none", contents="Hello!")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


# -- Ollama


@pytest.fixture
def local(platform: Platform) -> Iterator[ollama.Client]:
    client = ollama.Client(host=platform.url, headers={"authorization": f"Bearer {platform.key}"})
    yield client
    client._client.close()


def test_ollama_chats(local: ollama.Client) -> None:
    options: Any = {"temperature": 0, "num_predict": 60}
    whole = local.chat(MODEL, hello(), options=options)
    pieces = list(local.chat(MODEL, hello(), options=options, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert pieces[-1].done
    assert pieces[-1].eval_count == whole.eval_count
    check_animal(local.generate(MODEL, ASKED, format=SCHEMA, options={"temperature": 0}).response)


def test_ollama_embeds_lists_and_refuses(encoder: Platform, local: ollama.Client) -> None:
    assert [len(one) for one in local.embed(EMBEDDING, ["one", "two"]).embeddings] == [384, 384]
    assert MODEL in [model.model for model in local.list().models]
    assert local.show(MODEL).details is not None
    with pytest.raises(ollama.ResponseError) as caught:
        local.chat("none", hello())
    assert caught.value.status_code == 404
