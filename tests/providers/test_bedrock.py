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
from penstock.types.events import Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest

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
    max_tokens=100,
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
    assert body["inferenceConfig"] == {"maxTokens": 5120, "stopSequences": ["END"]}


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
    outgoing, body = sent(conversation, "amazon.nova-pro-v1:0", stream=False)
    assert outgoing.path.endswith("/converse")
    assert body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"] == '{"type":"object"}'
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
