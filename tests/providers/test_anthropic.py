"""Anthropic's Messages API, outbound: what is sent, what comes back, what it refuses."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.anthropic import read_usage, usage_body
from penstock.lib.sse import SSESplitter
from penstock.providers import CONNECTORS
from penstock.providers.anthropic import OPERATIONS, AnthropicCodec
from penstock.providers.profiles import profile
from penstock.types.conversation import (
    Conversation,
    Format,
    ReasoningPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
    seal,
)
from penstock.types.deployment import Credentials, Deployment, Outgoing, Quirks
from penstock.types.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestTooLarge,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Counted,
    Delta,
    Event,
    Events,
    Finish,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.requests import ChatRequest, EmbeddingRequest
from penstock.types.usage import Usage

FOLDER = Path(__file__).parent.parent / "wire" / "anthropic"
STREAMS = sorted(path.stem for path in FOLDER.glob("*.sse"))
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+uVuYQ3Sw=="
CODEC = AnthropicCodec(name="dep")
DEPLOYMENT = Deployment("dep", "claude-sonnet-4-5", CODEC, OPERATIONS)
HI = Turn("user", [TextPart("hi")])


def own(**fields: Any) -> ChatRequest:
    """A request of a client that speaks this dialect."""
    rest = {key: fields.pop(key) for key in ("stream", "forward", "counts_only") if key in fields}
    body = {"model": "public", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatRequest("public", body, dialect="anthropic", **rest)


def foreign(conversation: Conversation | None = None, **fields: Any) -> ChatRequest:
    said = conversation or Conversation([HI])
    return ChatRequest("public", {}, lift=lambda _: said, **fields)


def sent(outgoing: Outgoing) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(outgoing.body)
    return body


def read(data: bytes, request: ChatRequest | None = None) -> list[Delta]:
    return read_pieces([data], request)


def read_pieces(pieces: list[bytes], request: ChatRequest | None = None) -> list[Delta]:
    reader = CODEC.reader(request or foreign(stream=True), DEPLOYMENT)
    splitter = SSESplitter()
    found = [reader.event(data) for piece in pieces for data in splitter.feed_data(piece)]
    found += [reader.event(data) for data in splitter.finish_data()]
    assert reader.is_complete
    return [delta for delta in found if delta is not None]


def events(deltas: list[Delta]) -> list[Event]:
    return [event for delta in deltas if isinstance(delta, Events) for event in delta.events]


def recorded(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def of(name: str) -> list[Event]:
    return events(read(recorded(name)))


# -- what is sent


def test_a_request_of_the_dialect_travels_as_it_is() -> None:
    request = own(unheard_of={"a": [None]}, temperature=0.5, stream=True)
    outgoing = CODEC.encode(request, DEPLOYMENT)
    assert sent(outgoing) == {**request.body, "model": "claude-sonnet-4-5", "stream": True}
    assert (outgoing.path, outgoing.is_stream, outgoing.dropped) == ("/messages", True, ())
    assert outgoing.headers == (("anthropic-version", "2023-06-01"),)
    assert request.body["model"] == "public"


def test_the_client_s_version_and_betas_go_along() -> None:
    forward = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "a,b"))
    assert CODEC.encode(own(forward=forward), DEPLOYMENT).headers == forward
    only_beta = (("anthropic-beta", "a"),)
    assert CODEC.encode(own(forward=only_beta), DEPLOYMENT).headers == (
        ("anthropic-version", "2023-06-01"),
        *only_beta,
    )


def test_sampling_is_sent_under_the_version_that_takes_it() -> None:
    """LangChain sets a temperature, and the SDK below it the newest version, which refuses any."""
    forward = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "a"))
    outgoing = CODEC.encode(own(forward=forward, temperature=0.3), DEPLOYMENT)
    assert outgoing.headers == (("anthropic-version", "2023-06-01"), ("anthropic-beta", "a"))
    assert sent(outgoing)["temperature"] == 0.3
    newest = Deployment("dep", "claude-opus-5", CODEC, OPERATIONS)
    outgoing = CODEC.encode(own(forward=forward, temperature=0.3, top_k=1), newest)
    assert outgoing.headers == forward
    assert outgoing.dropped == ("temperature", "top_k")
    assert not {"temperature", "top_k"} & set(sent(outgoing))


def test_thinking_that_anthropic_never_signed_is_left_out() -> None:
    mine = {"type": "thinking", "thinking": "a", "signature": "sig"}
    theirs = [
        {"type": "thinking", "thinking": "b", "signature": seal("gemini", "s")},
        {"type": "thinking", "thinking": "c", "signature": ""},
        {"type": "redacted_thinking", "data": seal("bedrock", "s")},
    ]
    question = {"role": "user", "content": "q"}
    messages = [
        question,
        {"role": "assistant", "content": [mine, *theirs, {"type": "text", "text": "x"}]},
        question,
        {"role": "assistant", "content": theirs},
        question,
    ]
    outgoing = CODEC.encode(own(messages=messages), DEPLOYMENT)
    assert sent(outgoing)["messages"] == [
        question,
        {"role": "assistant", "content": [mine, {"type": "text", "text": "x"}]},
        question,
        question,
    ]
    assert outgoing.dropped == ("messages[].thinking",)
    assert len(messages[1]["content"]) == 5


def test_without_the_thoughts_before_its_calls_it_is_not_asked_to_think() -> None:
    """A conversation that another vendor's model began, in the middle of its tool use."""
    thought = {"type": "thinking", "thinking": "a", "signature": seal("gemini", "s")}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [result]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    outgoing = CODEC.encode(own(messages=messages, thinking=thinking), DEPLOYMENT)
    assert "thinking" not in sent(outgoing)
    assert outgoing.dropped == ("messages[].thinking", "thinking")
    messages.append({"role": "assistant", "content": "done"})
    messages.append({"role": "user", "content": "thanks"})
    assert CODEC.encode(own(messages=messages, thinking=thinking), DEPLOYMENT).dropped == (
        "messages[].thinking",
    )


def test_a_copy_gets_its_unsigned_thinking_back() -> None:
    copy = Deployment("dep", "deepseek-reasoner", CODEC, OPERATIONS)
    thinking = {"type": "thinking", "thinking": "a", "signature": ""}
    question = {"role": "user", "content": "q"}
    messages = [
        question,
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "x"}]},
        question,
    ]
    assert sent(CODEC.encode(own(messages=messages), copy))["messages"] == messages
    said = Conversation([HI, Turn("assistant", [ReasoningPart("a"), TextPart("x")]), HI])
    outgoing = CODEC.encode(foreign(said), copy)
    assert sent(outgoing)["messages"][1]["content"][0] == thinking
    assert outgoing.dropped == ()


def test_counting_takes_what_counting_knows() -> None:
    request = own(stream=True, temperature=1, metadata={}, counts_only=True, tools=[])
    outgoing = CODEC.encode(request, DEPLOYMENT)
    assert outgoing.path == "/messages/count_tokens"
    assert not outgoing.is_stream
    assert set(sent(outgoing)) == {"model", "messages", "tools"}
    reader = CODEC.reader(request, DEPLOYMENT)
    assert reader.answer(b'{"input_tokens": 12}') == Counted(12)
    assert reader.is_complete
    for wrong in (b"{}", b'{"input_tokens": -1}', b"[]", b"<html>"):
        with pytest.raises(UpstreamInvalid):
            CODEC.reader(request, DEPLOYMENT).answer(wrong)
    counted = CODEC.encode(
        foreign(Conversation([HI], max_tokens=5, temperature=0.1), counts_only=True), DEPLOYMENT
    )
    assert set(sent(counted)) == {"model", "messages"}
    assert counted.dropped == ()


def test_other_operations_are_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        CODEC.encode(EmbeddingRequest("m", ["x"]), DEPLOYMENT)


def test_quirks_of_copies() -> None:
    codec = AnthropicCodec(Quirks(drop=frozenset({"metadata"}), always_stream=True))
    outgoing = codec.encode(own(metadata={"user_id": "u"}), DEPLOYMENT)
    assert "metadata" not in sent(outgoing)
    assert outgoing.dropped == ("metadata",)
    assert outgoing.is_stream


def test_connecting() -> None:
    row = profile("anthropic")
    connect = CONNECTORS.load(row.codec)
    connection = connect(row, Credentials(api_key="k"), "mine")
    assert (connection.address.host, connection.address.path) == ("api.anthropic.com", "/v1")
    assert connection.headers == {"x-api-key": "k"}
    newest = connect(row, Credentials(api_key="k", api_version="2026-10-21"), "mine").codec
    outgoing = newest.encode(foreign(Conversation([HI], temperature=0.5)), DEPLOYMENT)
    assert outgoing.headers == (("anthropic-version", "2026-10-21"),)
    assert outgoing.dropped == ("temperature",)
    with pytest.raises(ValueError, match="api_version"):
        connect(row, Credentials(api_version="v1"), "mine")


# -- what comes back


def test_text() -> None:
    assert of("text") == [
        Started("msg_01XFDUDYJgAACzvnptvVoYEL", "claude-sonnet-4-5-20250929"),
        UsageReport(Usage(25, 1)),
        Text("Hello"),
        Text("!"),
        UsageReport(Usage(25, 15)),
        Finish("stop", native="end_turn"),
    ]


def test_thinking_and_tools() -> None:
    found = of("thinking_tools")
    assert found[2:] == [
        Reasoning("The user wants the weather."),
        Reasoning(" I call the tool."),
        ReasoningEnd(SIGNATURE, issuer="anthropic"),
        Text("Let me see."),
        ToolStart(0, "toolu_01Thinking", "get_weather"),
        ToolDelta(0, '{"city": "Paris"}'),
        ToolEnd(0),
        UsageReport(Usage(25, 120, reasoning_tokens=41)),
        Finish("tool_calls", native="tool_use"),
    ]


def test_calls_have_indexes_of_their_own() -> None:
    calls = [event for event in of("parallel_tools") if isinstance(event, ToolStart | ToolDelta | ToolEnd)]
    assert [event.index for event in calls] == [0] * 5 + [1] * 4
    assert (
        "".join(e.arguments for e in calls if isinstance(e, ToolDelta) and e.index)
        == '{"city": "Rome", "days": 3}'
    )


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert of("empty_arguments")[2:5] == [
        ToolStart(0, "toolu_01NoArguments", "list_files"),
        ToolDelta(0, "{}"),
        ToolEnd(0),
    ]


def test_thinking_that_is_not_shown() -> None:
    assert of("thinking_omitted")[2:4] == [ReasoningEnd(SIGNATURE, issuer="anthropic"), Text("42")]
    redacted = [event for event in of("redacted_thinking") if isinstance(event, ReasoningEnd)]
    assert [(event.signature, bool(event.redacted), event.issuer) for event in redacted] == [
        (SIGNATURE, False, "anthropic"),
        (None, True, "anthropic"),
    ]


def test_a_refusal_says_why() -> None:
    assert of("refusal")[2:] == [
        Text("I can"),
        UsageReport(Usage(25, 7)),
        RefusalText("This request could enable cyber harm."),
        Finish("content_filter", native="refusal"),
    ]


def test_calls_that_were_cut_do_not_end() -> None:
    assert of("max_tokens_in_tool")[3:] == [
        ToolStart(0, "toolu_01Cut", "write_file"),
        ToolDelta(0, '{"path": "a.txt", "text": "Once upon'),
        UsageReport(Usage(25, 64)),
        Finish("length", native="max_tokens"),
    ]
    assert of("max_tokens_before_arguments")[2] == ToolStart(0, "toolu_01CutEarly", "write_file")
    assert not any(isinstance(event, ToolDelta | ToolEnd) for event in of("max_tokens_before_arguments"))


def test_stop_reasons() -> None:
    assert of("stop_sequence")[-1] == Finish("stop", native="stop_sequence", stop_sequence="three")
    assert of("pause_turn")[-1] == Finish("stop", native="pause_turn")


def test_usage_is_overwritten_and_includes_the_cache() -> None:
    reports = [event.usage for event in of("cached") if isinstance(event, UsageReport)]
    assert reports[-1] == Usage(2060, 5, cached_tokens=1800, cache_write_tokens=248)
    copied = [event.usage for event in of("copy_of_the_dialect") if isinstance(event, UsageReport)]
    assert copied[-1] == Usage(15, 9, cached_tokens=4)


def test_citations_name_their_place_in_the_text() -> None:
    cited = next(event for event in of("citations") if isinstance(event, Citation))
    assert (cited.title, cited.cited_text, cited.start, cited.end) == (
        "My Document",
        "The grass is green.",
        17,
        35,
    )
    searched = next(event for event in of("server_tools") if isinstance(event, Citation))
    assert (searched.url, searched.title) == ("https://example.org/gate", "Gates")
    text = "".join(event.text for event in of("server_tools") if isinstance(event, Text))
    assert text == "I'll search.The gate is 24 m high."
    assert text[searched.start : searched.end] == "The gate is 24 m high"
    assert not any(isinstance(event, ToolStart) for event in of("server_tools"))


def test_what_nobody_knows_is_passed_over() -> None:
    assert [event for event in of("unknown") if isinstance(event, Text)] == [Text("See above.")]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_a_whole_answer_says_what_the_stream_says(name: str) -> None:
    answer = CODEC.reader(foreign(), DEPLOYMENT).answer((FOLDER / f"{name}.json").read_bytes())
    assert isinstance(answer, Events)
    whole, stream = answer.events, of(name)
    assert whole[-1] == stream[-1]
    for kind in (Reasoning, Text):
        if name != "refusal":  # it had begun to speak
            said = ["".join(e.text for e in told if isinstance(e, kind)) for told in (whole, stream)]
            assert said[0] == said[1]
    calls = [[(e.id, e.name) for e in told if isinstance(e, ToolStart)] for told in (whole, stream)]
    assert calls[0] == calls[1]
    assert [e for e in whole if isinstance(e, Citation)] == [e for e in stream if isinstance(e, Citation)]


@given(st.sampled_from([name for name in STREAMS if not name.startswith("error_")]), st.data())
def test_any_chunking_gives_the_same(name: str, data: st.DataObject) -> None:
    whole = recorded(name)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert events(read_pieces(pieces)) == events(read(whole))
    assert read_pieces(pieces, own(stream=True)) == read(whole, own(stream=True))


def test_every_byte_by_itself() -> None:
    whole = recorded("unicode")
    assert events(read_pieces([whole[at : at + 1] for at in range(len(whole))])) == events(read(whole))
    said = "".join(event.text for event in of("unicode") if isinstance(event, Text))
    assert said == "Grüße, 世界 👩‍👩‍👧‍👦 — ∑∆ \u2028line"


def test_a_client_of_the_dialect_gets_the_events_themselves() -> None:
    found = read(recorded("unknown"), own(stream=True))
    assert all(isinstance(delta, Chunk) for delta in found)
    assert [delta.body["type"] for delta in found if isinstance(delta, Chunk)][1] == "weather_report"
    usages = [delta.usage for delta in read(recorded("cached"), own(stream=True)) if delta.usage is not None]
    assert usages[-1] == Usage(2060, 5, cached_tokens=1800, cache_write_tokens=248)
    contents = [
        delta.has_content for delta in read(recorded("text"), own(stream=True)) if isinstance(delta, Chunk)
    ]
    assert contents == [False, False, True, True, False, False, False]
    answer = CODEC.reader(own(), DEPLOYMENT).answer((FOLDER / "text.json").read_bytes())
    assert isinstance(answer, Answer)
    assert answer.usage == Usage(25, 15)


@pytest.mark.parametrize("request_", [own(stream=True), foreign(stream=True)])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_is_not_complete(name: str, request_: ChatRequest) -> None:
    reader = CODEC.reader(request_, DEPLOYMENT)
    for data in SSESplitter().feed_data(recorded(name))[:-1]:
        reader.event(data)
    assert not reader.is_complete
    assert not reader.is_done


@pytest.mark.parametrize("request_", [own(stream=True), foreign(stream=True)])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", UpstreamUnavailable),
        ("rate_limit_error", UpstreamRateLimited),
        ("timeout_error", UpstreamTimeout),
        ("api_error", UpstreamUnavailable),
        ("invalid_request_error", InvalidRequest),
        ("authentication_error", UpstreamCredentials),
        ("a_new_error", UpstreamUnavailable),
    ],
)
def test_errors_inside_a_stream(kind: str, error: type[Exception], request_: ChatRequest) -> None:
    said = {"type": "error", "error": {"type": kind, "message": "so it is"}}
    with pytest.raises(error):
        CODEC.reader(request_, DEPLOYMENT).event(json.dumps(said).encode())
    with pytest.raises(error):
        CODEC.reader(request_, DEPLOYMENT).answer(json.dumps(said).encode())


WRONG: list[Any] = [
    b"<html>",
    b"\xff",
    b"[]",
    b"null",
    b"3",
    b"{}",
    {"type": 3},
    {"type": "message_start"},
    {"type": "message_start", "message": []},
    {"type": "message_start", "message": {"usage": []}},
    {"type": "content_block_start", "index": 0},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": 1, "name": "f"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 1}},
    {"type": "content_block_delta", "index": 0, "delta": []},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
    {"type": "message_delta", "delta": []},
    {"type": "message_delta", "delta": {"stop_reason": 3}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": 3},
    {"type": "message_stop"},
]


@pytest.mark.parametrize("request_", [own(stream=True), foreign(stream=True)])
@pytest.mark.parametrize("event", WRONG)
def test_garbage_is_upstream_invalid(event: Any, request_: ChatRequest) -> None:
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(UpstreamInvalid):
        CODEC.reader(request_, DEPLOYMENT).event(data)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "index",
                    "delta",
                    "content_block",
                    "message",
                    "usage",
                    "text",
                    "id",
                    "name",
                    "input",
                    "content",
                ]
            ),
            inner | st.sampled_from(["text", "tool_use", "thinking", "text_delta", "input_json_delta"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(["index", "delta", "content_block", "message", "usage"]), JSONS),
)
def test_no_garbage_breaks_a_reader(kind: str, rest: dict[str, Any]) -> None:
    for request in (own(stream=True), foreign(stream=True)):
        reader = CODEC.reader(request, DEPLOYMENT)
        try:
            reader.event(json.dumps({"type": kind, **rest}).encode())
            reader.event(b'{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}')
        except UpstreamError:
            pass


@given(JSONS)
def test_no_garbage_breaks_a_whole_answer(body: Any) -> None:
    for request in (own(), foreign()):
        for sent_body in (body, {"content": [body], "stop_reason": "end_turn"}):
            with contextlib.suppress(UpstreamError):
                CODEC.reader(request, DEPLOYMENT).answer(json.dumps(sent_body).encode())


# -- refusals


def refusal(status: int, kind: str = "", message: str = "no", headers: Any = ()) -> Exception:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return CODEC.map_error(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (401, UpstreamCredentials),
        (402, UpstreamCredentials),
        (403, UpstreamCredentials),
        (404, UpstreamError),
        (408, UpstreamTimeout),
        (409, UpstreamRateLimited),
        (413, RequestTooLarge),
        (422, InvalidRequest),
        (429, UpstreamRateLimited),
        (500, UpstreamUnavailable),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (504, UpstreamTimeout),
        (529, UpstreamUnavailable),
    ],
)
def test_every_status(status: int, error: type[Exception]) -> None:
    assert type(refusal(status)) is error
    assert isinstance(CODEC.map_error(status, (), b"<html>"), error)


def test_what_a_refusal_says() -> None:
    limited = refusal(429, "rate_limit_error", headers=((b"retry-after", b"7"),))
    assert isinstance(limited, UpstreamRateLimited)
    assert limited.retry_after_s == 7
    overloaded = refusal(529, "overloaded_error", headers=((b"retry-after", b"3"),))
    assert isinstance(overloaded, UpstreamUnavailable)
    assert overloaded.retry_after_s == 3
    long = refusal(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    assert isinstance(long, ContextLengthExceeded)
    path = refusal(400, "invalid_request_error", "messages.0.content.1.text: Field required")
    assert isinstance(path, InvalidRequest)
    assert path.param == "messages[0].content[1].text"
    poor = refusal(
        400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
    )
    assert isinstance(poor, UpstreamCredentials)
    assert "balance" not in poor.message


# -- names and forms that Anthropic cannot be told as they are


def tool_answer(name: str, given: str, reason: str = "tool_use") -> bytes:
    rows: list[Any] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 1}}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": name, "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": given[:5]},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": given[5:]},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return b"".join(b"data: " + json.dumps(row).encode() + b"\n\n" for row in rows)


def test_names_come_back_as_the_client_wrote_them() -> None:
    said = Conversation(
        [
            HI,
            Turn("assistant", [ToolCallPart("a.1", "fs.read"), ToolCallPart("a:1", "fs.read")]),
            Turn("tool", [ToolResultPart("a.1", [TextPart("x")]), ToolResultPart("a:1", [TextPart("y")])]),
        ],
        tools=[Tool("fs_read"), Tool("fs.read")],
    )
    body = sent(CODEC.encode(foreign(said), DEPLOYMENT))
    assert [tool["name"] for tool in body["tools"]] == ["fs_read", "fs_read_2"]
    assert [block["name"] for block in body["messages"][1]["content"]] == ["fs_read_2"] * 2
    ids = [block["id"] for block in body["messages"][1]["content"]]
    assert ids == ["a_1", "a_1_2"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ids
    found = events(read(tool_answer("fs_read_2", '{"a": 1}'), foreign(said, stream=True)))
    assert [event.name for event in found if isinstance(event, ToolStart)] == ["fs.read"]


def test_custom_tools_are_functions_there_and_custom_here() -> None:
    said = Conversation(
        [
            HI,
            Turn("assistant", [ToolCallPart("c1", "patch", "*** Begin", "custom")]),
            Turn("tool", [ToolResultPart("c1", [TextPart("ok")], kind="custom")]),
        ],
        tools=[Tool("patch", "Patches.", kind="custom", format={"type": "grammar", "grammar": {}})],
    )
    outgoing = CODEC.encode(foreign(said), DEPLOYMENT)
    body = sent(outgoing)
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert outgoing.dropped == ("tools[].format",)
    found = events(read(tool_answer("patch", '{"input": "a\\nb"}'), foreign(said, stream=True)))
    assert found[2:5] == [ToolStart(0, "t", "patch", "custom"), ToolDelta(0, "a\nb"), ToolEnd(0)]


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}


def test_a_schema_binds_the_model() -> None:
    said = Conversation([HI], format=Format("json_schema", schema=SCHEMA, description="A number."))
    outgoing = CODEC.encode(foreign(said), DEPLOYMENT)
    assert sent(outgoing)["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
            "required": ["n"],
            "additionalProperties": False,
            "description": "A number.",
        },
    }
    assert outgoing.schema == SCHEMA  # minimum is for us to check
    assert outgoing.dropped == ()


def test_a_model_without_schemas_must_call_a_tool_that_is_the_answer() -> None:
    older = Deployment("dep", "claude-3-7-sonnet-20250219", CODEC, OPERATIONS)
    said = Conversation([HI], format=Format("json_schema", "the answer", schema=SCHEMA))
    outgoing = CODEC.encode(foreign(said), older)
    body = sent(outgoing)
    assert body["tool_choice"] == {"type": "tool", "name": "the_answer"}
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert (outgoing.schema, outgoing.dropped) == (SCHEMA, ())
    reader = CODEC.reader(foreign(said, stream=True), older)
    found: list[Event] = []
    for data in SSESplitter().feed_data(tool_answer("the_answer", '{"n": 12}')):
        if isinstance(delta := reader.event(data), Events):
            found += delta.events
    assert [event for event in found if isinstance(event, Text)] == [Text('{"n":'), Text(" 12}")]
    assert not any(isinstance(event, ToolStart | ToolDelta | ToolEnd) for event in found)
    assert isinstance(found[-1], Finish)
    assert found[-1].reason == "stop"


def test_any_object_is_a_forced_tool_or_asked_for_in_words() -> None:
    forced = CODEC.encode(foreign(Conversation([HI], format=Format("json_object"))), DEPLOYMENT)
    assert sent(forced)["tool_choice"] == {"type": "tool", "name": "answer"}
    with_tools = Conversation([HI], tools=[Tool("f")], format=Format("json_object"))
    asked = CODEC.encode(foreign(with_tools), DEPLOYMENT)
    assert "JSON object" in sent(asked)["system"][0]["text"]
    assert "tool_choice" not in sent(asked)
    assert asked.schema == {"type": "object"}


def test_who_always_thinks_cannot_be_made_to_call() -> None:
    wanted = Conversation([HI], tools=[Tool("f")], tool_choice=ToolChoice("required"))
    target = Deployment("d", "claude-opus-5-5", CODEC, CODEC.operations)
    outgoing = CODEC.encode(foreign(wanted), target)
    assert sent(outgoing)["tool_choice"] == {"type": "auto"}
    assert outgoing.dropped == ("tool_choice",)


def test_cache_writes_are_told_apart_by_how_long_they_are_kept() -> None:
    raw = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 1,
    }
    usage = read_usage(raw)
    assert (usage.prompt_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (35, 30, 20)
    assert usage_body(usage)["cache_creation"] == raw["cache_creation"]
    assert (
        read_usage({**raw, "cache_creation": {"ephemeral_1h_input_tokens": 99}}).cache_write_1h_tokens == 30
    )
