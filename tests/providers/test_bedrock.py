"""Bedrock's codec: what it writes is what botocore would send, and refusals are mapped."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from penstock.providers.bedrock import BedrockCodec, connect
from penstock.providers.profiles import PROFILES
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    NativePart,
    ReasoningPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import Credentials, Deployment, Outgoing
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamRateLimited,
)
from penstock.types.events import Events, Image, ReasoningEnd, Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest
from penstock.types.usage import Usage

CODEC = BedrockCodec(name="up")
MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)


def sent(
    conversation: Conversation, model: str = MODEL, *, stream: bool = True
) -> tuple[Outgoing, dict[str, Any]]:
    request = ChatRequest("m", {}, stream=stream, dialect="openai", lift=lambda _: conversation)
    outgoing = CODEC.encode(request, Deployment("d", model, CODEC, CODEC.operations))
    body = json.loads(outgoing.body)
    report = ParamValidator().validate({"modelId": model, **body}, SHAPE)
    assert not report.has_errors(), report.generate_report()
    return outgoing, body


FULL = Conversation(
    turns=[
        Turn("system", [TextPart("be brief", {"type": "ephemeral"})]),
        Turn(
            "user",
            [
                TextPart("see"),
                TextPart(" "),
                MediaPart("image", "image/png", data="aGk="),
                MediaPart("file", "application/pdf", data="aGk=", name="a/b.pdf"),
                MediaPart("video", url="s3://bucket/film.mp4", media_type="video/mp4"),
            ],
        ),
        Turn(
            "assistant",
            [
                ReasoningPart("hm", "sig", issuer="bedrock"),
                ReasoningPart("not ours", "s", issuer="gemini"),
                TextPart("let me see"),
                ToolCallPart("call.1", "look", '{"x": 1}'),
                ToolCallPart("call_2", "now"),
            ],
        ),
        Turn(
            "tool", [ToolResultPart("call_2", [TextPart("b")]), ToolResultPart("call.1", [], is_error=True)]
        ),
        Turn("user", [TextPart("go on")]),
    ],
    tools=[Tool("look", "looks", {"type": "object", "properties": {}}), Tool("now", kind="custom")],
    tool_choice=ToolChoice("auto"),
    max_tokens=6_000,
    thinking=Thinking(effort="low"),
    stop=["END"],
    metadata={"team": "a"},
)


def test_a_conversation_is_what_the_service_s_model_allows() -> None:
    outgoing, body = sent(FULL)
    assert outgoing.path == "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert (outgoing.framing, outgoing.is_stream) == ("aws", True)
    assert outgoing.dropped == ("messages[].reasoning",)
    assert body["system"] == [{"text": "be brief"}, {"cachePoint": {"type": "default"}}]
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "user"]
    said = body["messages"][1]["content"]
    assert said[0] == {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}}
    assert said[2]["toolUse"] == {"toolUseId": "call_1", "name": "look", "input": {"x": 1}}
    results = body["messages"][2]["content"]
    assert [block["toolResult"]["toolUseId"] for block in results[:2]] == ["call_1", "call_2"]
    assert results[0]["toolResult"]["status"] == "error"
    assert results[2] == {"text": "go on"}
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert body["inferenceConfig"] == {"maxTokens": 6000, "stopSequences": ["END"]}


def test_calls_in_the_history_need_a_toolconfig_even_without_tools() -> None:
    turns = [
        Turn("user", [TextPart("hi")]),
        Turn("assistant", [ToolCallPart("c", "look")]),
        Turn("tool", [ToolResultPart("c", [TextPart("x")])]),
    ]
    for conversation in (
        Conversation(turns),
        Conversation(turns, [Tool("look")], ToolChoice("none")),
    ):
        _, body = sent(conversation)
        assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["look"]
        assert "toolChoice" not in body["toolConfig"]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "look"), {"tool": {"name": "look"}}),
        (ToolChoice("auto"), None),
    ],
)
def test_tool_choice(choice: ToolChoice, written: Any) -> None:
    conversation = Conversation([Turn("user", [TextPart("hi")])], [Tool("look")], choice)
    assert sent(conversation)[1]["toolConfig"].get("toolChoice") == written


@pytest.mark.parametrize(
    ("limit", "budget", "written"),
    [(3_000, 1_500, 3_000), (1_000, None, 1_000), (None, 4_096, 4_096 + 8_192)],
)
def test_the_client_s_limit_is_kept(limit: int | None, budget: int | None, written: int) -> None:
    hi = [Turn("user", [TextPart("hi")])]
    outgoing, body = sent(Conversation(hi, max_tokens=limit, thinking=Thinking(effort="low")))
    thinking = body["additionalModelRequestFields"]["thinking"]
    assert thinking.get("budget_tokens") == budget
    assert body["inferenceConfig"]["maxTokens"] == written
    assert outgoing.dropped == (("thinking",) if budget is None else ())


@pytest.mark.parametrize(
    ("model", "wish", "written"),
    [
        ("us.anthropic.claude-opus-5", Thinking(effort="max"), ("adaptive", "max")),
        ("us.anthropic.claude-opus-5", Thinking(enabled=False), ("disabled", None)),
        ("us.anthropic.claude-opus-5-5", Thinking(enabled=False), (None, "low")),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", Thinking(enabled=False), (None, None)),
        ("anthropic.claude-opus-4-5-20251101-v1:0", Thinking(effort="minimal"), ("enabled", "low")),
    ],
)
def test_thinking_as_each_model_knows_it(model: str, wish: Thinking, written: Any) -> None:
    _, body = sent(Conversation([Turn("user", [TextPart("hi")])], thinking=wish), model)
    more = body.get("additionalModelRequestFields", {})
    found = (more.get("thinking", {}).get("type"), more.get("output_config", {}).get("effort"))
    assert found == written


def test_cache_points_behind_tools_and_no_more_than_four() -> None:
    cache = {"type": "ephemeral", "ttl": "1h"}
    turns = [Turn("system", [TextPart(f"s{n}", cache) for n in range(4)]), Turn("user", [TextPart("a")])]
    outgoing, body = sent(Conversation(turns, [Tool("look", cache=cache)]))
    assert "cachePoint" not in str(body["toolConfig"])
    assert str(body["system"]).count("cachePoint") == 4
    assert outgoing.dropped == ("cache_control",)
    outgoing, body = sent(Conversation(turns[1:], [Tool("look", cache=cache), Tool("now", strict=True)]))
    tools = body["toolConfig"]["tools"]
    assert tools[1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert tools[2]["toolSpec"]["strict"] is True
    assert outgoing.dropped == ()


def test_what_metadata_and_documents_need() -> None:
    pdf = MediaPart("file", "application/pdf", data="aGk=")
    told = {"a": "x" * 257, "b": "y", **{f"k{n}": "v" for n in range(20)}}
    outgoing, body = sent(Conversation([Turn("user", [pdf])], metadata=told))
    assert len(body["requestMetadata"]) == 16
    assert "a" not in body["requestMetadata"]
    assert outgoing.dropped == ("metadata",)
    assert "text" in body["messages"][0]["content"][0]


def test_an_assistant_s_last_turn_is_not_gone_on_from_by_later_claudes() -> None:
    turns = [Turn("user", [TextPart("a")]), Turn("assistant", [TextPart("b")])]
    assert sent(Conversation(turns), "anthropic.claude-opus-5")[1]["messages"][-1]["role"] == "user"
    assert sent(Conversation(turns))[1]["messages"][-1]["role"] == "assistant"


def test_images_and_signatures_come_in_pieces() -> None:
    request = ChatRequest(
        "m", {}, dialect="openai", lift=lambda _: Conversation([Turn("user", [TextPart("a")])])
    )
    reader = CODEC.reader(request, Deployment("d", MODEL, CODEC, CODEC.operations))
    pieces: list[dict[str, Any]] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "hm"}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "ab"}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "cd"}}}},
        {"contentBlockStop": {}},
        {"contentBlockStart": {"start": {"image": {"format": "png"}}}},
        {"contentBlockDelta": {"delta": {"image": {"source": {"bytes": "aGkh"}}}}},
        {"contentBlockDelta": {"delta": {"image": {"source": {"bytes": "aGkh"}}}}},
        {"contentBlockStop": {}},
    ]
    found: list[Any] = []
    for piece in pieces:
        delta = reader.event(json.dumps(piece).encode())
        if isinstance(delta, Events):
            found += delta.events
    assert isinstance(delta, Events)
    assert delta.has_content, "what waits for a first word has it"
    assert ReasoningEnd("abcd", None, "bedrock") in found
    assert Image("image/png", "aGkhaGkh") in found
    reader.event(b'{"messageStop": {"stopReason": "end_turn"}}')
    last = reader.event(b'{"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7}}}')
    assert last is not None
    assert last.usage == Usage(5, 7, images=1)


def test_who_always_thinks_cannot_be_made_to_call() -> None:
    conversation = Conversation([Turn("user", [TextPart("hi")])], [Tool("look")], ToolChoice("required"))
    request = ChatRequest("m", {}, dialect="openai", lift=lambda _: conversation)
    target = Deployment("d", "us.anthropic.claude-opus-5-5", CODEC, CODEC.operations)
    outgoing = CODEC.encode(request, target)
    assert "toolChoice" not in json.loads(outgoing.body)["toolConfig"]
    assert outgoing.dropped == ("tool_choice",)


def test_a_schema_and_what_cannot_be_told() -> None:
    native = NativePart("anthropic", {"type": "server_tool_use"})
    conversation = Conversation(
        [Turn("user", [TextPart("hi"), native])],
        format=Format("json_schema", "out", {"type": "object"}),
        seed=1,
        top_k=3,
        thinking=Thinking(effort="high"),
    )
    outgoing, body = sent(conversation, "qwen.qwen3-32b-v1:0", stream=False)
    assert outgoing.path.endswith("/converse")
    assert body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"] == '{"type":"object"}'
    assert outgoing.schema is None
    assert sorted(outgoing.dropped) == ["messages[].server_tool_use", "seed", "thinking", "top_k"]


@pytest.mark.parametrize(
    "turns",
    [
        [
            Turn("user", [TextPart("a")]),
            Turn("assistant", [ToolCallPart("c", "f")]),
            Turn("user", [TextPart("b")]),
        ],
        [Turn("user", [TextPart("a")]), Turn("tool", [ToolResultPart("c", [])])],
        [Turn("user", [TextPart("a")]), Turn("assistant", [ToolCallPart("c", "f", "[1]")])],
        [Turn("assistant", [ToolCallPart("c", "f", "{")])],
    ],
)
def test_calls_and_results_that_do_not_fit_are_the_caller_s(turns: list[Turn]) -> None:
    with pytest.raises(InvalidRequest):
        sent(Conversation(turns))


def test_ids_and_names_that_look_alike_stay_apart() -> None:
    turns = [
        Turn("user", [TextPart("a")]),
        Turn("assistant", [ToolCallPart("a.1", "f.x"), ToolCallPart("a:1", "f:x")]),
        Turn("tool", [ToolResultPart("a:1", [TextPart("two")]), ToolResultPart("a.1", [TextPart("one")])]),
    ]
    _, body = sent(Conversation(turns, [Tool("f.x"), Tool("f:x")]))
    names = [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]]
    assert len(set(names)) == 2
    calls = [block["toolUse"] for block in body["messages"][1]["content"]]
    assert [call["name"] for call in calls] == names
    results = [block["toolResult"] for block in body["messages"][2]["content"]]
    assert [result["toolUseId"] for result in results] == [call["toolUseId"] for call in calls]
    assert [result["content"][0]["text"] for result in results] == ["one", "two"]


def test_later_claudes_are_not_told_what_they_refuse() -> None:
    conversation = Conversation(
        [Turn("user", [TextPart("a")])], temperature=0.5, top_p=0.9, thinking=Thinking(effort="low")
    )
    outgoing, body = sent(conversation, "anthropic.claude-opus-4-7-v1:0")
    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}
    assert "inferenceConfig" not in body
    assert sorted(outgoing.dropped) == ["temperature", "top_p"]
    plain = Conversation([Turn("user", [TextPart("a")])], temperature=0.5, top_p=0.9)
    outgoing, body = sent(plain, "anthropic.claude-sonnet-4-5-v1:0")
    assert (body["inferenceConfig"], outgoing.dropped) == ({"temperature": 0.5}, ("top_p",))


def test_thinking_is_off_where_the_thoughts_of_a_tool_s_turn_are_lost() -> None:
    turns = [
        Turn("user", [TextPart("a")]),
        Turn("assistant", [ToolCallPart("c", "f")]),
        Turn("tool", [ToolResultPart("c", [TextPart("x")])]),
    ]
    outgoing, body = sent(Conversation(turns, [Tool("f")], thinking=Thinking(effort="low")))
    assert "additionalModelRequestFields" not in body
    assert outgoing.dropped == ("thinking",)


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        sent(Conversation([Turn("user", [TextPart(" ")])]))


ERRORS: list[tuple[int, str, str, type[Exception]]] = [
    (400, "ValidationException", "Input is too long for requested model.", ContextLengthExceeded),
    (400, "ValidationException", "messages.0 is wrong", InvalidRequest),
    (403, "AccessDeniedException", "User arn:aws:iam::123 is not authorized", UpstreamCredentials),
    (429, "ThrottlingException", "slow down", UpstreamRateLimited),
]


@pytest.mark.parametrize(("status", "kind", "said", "error"), ERRORS)
def test_refusals(status: int, kind: str, said: str, error: type[Exception]) -> None:
    headers = [(b"x-amzn-errortype", f"{kind}:http://x".encode()), (b"retry-after", b"7")]
    made = CODEC.map_error(status, headers, json.dumps({"message": said}).encode())
    assert type(made) is error
    if status == 403:
        assert "arn:aws" not in made.message
    if status == 429:
        assert made.retry_after_s == 7
    assert CODEC.map_error(status, [], b"<html>") is not None


def test_embeddings() -> None:
    deployment = Deployment("d", "cohere.embed-v4:0", CODEC, CODEC.operations)
    request = EmbeddingRequest("m", ["a", "b"], dimensions=2, purpose="query")
    body = json.loads(CODEC.encode(request, deployment).body)
    assert (body["texts"], body["input_type"], body["output_dimension"]) == (["a", "b"], "search_query", 2)
    answer = CODEC.reader(request, deployment).answer(b'{"embeddings": {"float": [[1, 2], [3, 4.5]]}}')
    assert isinstance(answer, Vectors)
    assert answer.vectors == [[1.0, 2.0], [3.0, 4.5]]
    titan = Deployment("d", "amazon.titan-embed-text-v2:0", CODEC, CODEC.operations)
    with pytest.raises(UnsupportedParameter):
        CODEC.encode(request, titan)
    one = EmbeddingRequest("m", ["a"])
    assert json.loads(CODEC.encode(one, titan).body) == {"inputText": "a"}
    answer = CODEC.reader(one, titan).answer(b'{"embedding": [1], "inputTextTokenCount": 3}')
    assert isinstance(answer, Vectors)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    row = PROFILES["bedrock"]
    with pytest.raises(ValueError, match="region is missing"):
        connect(row, Credentials(), "Bedrock")
    with pytest.raises(ValueError, match="credentials are missing"):
        connect(row, Credentials(region="eu-west-1"), "Bedrock")
    made = connect(row, Credentials(region="eu-west-1", api_key="k"), "Bedrock")
    assert made.address.host == "bedrock-runtime.eu-west-1.amazonaws.com"
    assert made.headers == {"authorization": "Bearer k"}
    assert made.signer is None
    signed = connect(
        row, Credentials(region="eu-west-1", access_key_id="a", secret_access_key="s"), "Bedrock"
    )
    assert signed.signer is not None
    assert signed.headers == {}
