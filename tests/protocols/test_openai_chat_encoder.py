import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from wire_help import WEATHER, chat_body, check_chat_stream, events, new_call

from penstock.dialects import openai_calls
from penstock.protocols import openai_chat
from penstock.protocols.openai_chat_encoder import ChatEncoder
from penstock.types.errors import InternalError, UpstreamCut, UpstreamInvalid
from penstock.types.events import Answer, Chunk, Vectors
from penstock.types.usage import Usage


def encoder(**fields: Any) -> ChatEncoder:
    return ChatEncoder(openai_chat.decode(chat_body(**fields)), new_call())


@pytest.fixture(autouse=True, scope="module")
def _ids() -> Iterator[None]:
    """The ids that calls get from us are random: here they are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_calls.secrets, "token_hex", lambda _: "seed")
        yield


STREAM = {"stream": True}
REFERENCE = {"type": "function", "function": {"name": "weather"}}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any
) -> Chunk:
    choice: dict[str, Any] = {"index": index, "delta": delta or {}}
    if finish:
        choice["finish_reason"] = finish
    return Chunk({"id": "chatcmpl-up", "created": 1_760_000_000, "model": "up", "choices": [choice], **more})


def piece(arguments: Any = None, name: str | None = None, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"tool_calls": [{**more, "function": function}]}


def streamed(chunks: Sequence[Chunk], **fields: Any) -> tuple[dict[int, dict[str, Any]], list[Any]]:
    made = encoder(**{**STREAM, **fields})
    data = made.stream(copy.deepcopy(list(chunks))) + made.stream_end()
    return check_chat_stream(data, include_usage=made._include_usage), events(data)


def folded(deltas: Sequence[Any], **fields: Any) -> dict[str, Any]:
    made = encoder(**fields)
    made.fold(copy.deepcopy(list(deltas)))
    answer: dict[str, Any] = json.loads(made.answer())
    ChatCompletion.model_validate(answer, strict=True)
    for choice in answer["choices"]:
        assert {"index", "message", "logprobs", "finish_reason"} <= choice.keys()
        assert {"role", "content", "refusal"} <= choice["message"].keys()
    return answer


def test_role_leaves_once_whatever_the_upstream_does() -> None:
    said, parsed = streamed(
        [chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"}, "stop")]
    )
    assert said[0]["content"] == "ab"
    assert "role" not in parsed[1]["choices"][0]["delta"]
    assert streamed([chunk({"content": "a"}, "stop")])[1][0]["choices"][0]["delta"]["role"] == "assistant"


def test_the_envelope_is_the_same_throughout() -> None:
    first = Chunk({"choices": [{"delta": {"content": "a"}}]})
    second = chunk({"content": "b"}, "stop", id="other", created=5, object="x")
    _, parsed = streamed([first, second])
    assert parsed[0] == {
        "id": "chatcmpl-0123",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "public",
        "choices": [{"index": 0, "delta": {"content": "a", "role": "assistant"}, "finish_reason": None}],
    }


@pytest.mark.parametrize("created", [10**30, 0, -1, "x", None])
def test_a_time_that_is_none_is_ours(created: Any) -> None:
    _, parsed = streamed([chunk({"content": "a"}, "stop", created=created)])
    assert parsed[0]["created"] == 1_700_000_000


def test_nothing_after_the_finish() -> None:
    said, _ = streamed(
        [chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "b"}), chunk({}, "length")]
    )
    assert said[0]["content"] == "a"
    assert said[0]["finish_reason"] == "stop"


def test_choices_are_kept_apart() -> None:
    both = Chunk(
        {"choices": [{"index": 1, "delta": {"content": "x"}}, {"index": 0, "delta": {"content": "y"}}]}
    )
    said, _ = streamed([both, chunk({}, "stop", 1), chunk({"content": "!"}, "length", 0)], n=2)
    assert {index: choice["content"] for index, choice in said.items()} == {0: "y!", 1: "x"}


def test_usage_is_for_those_who_asked() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    chunks = [
        chunk({"content": "a"}, "stop"),
        Chunk({"choices": [], "usage": usage, "timings": {"n": 1}}, Usage(5, 2, 3)),
    ]
    _, parsed = streamed(chunks, **WITH_USAGE)
    assert parsed[-2]["usage"] == usage
    assert parsed[-2]["timings"] == {"n": 1}
    _, parsed = streamed(chunks)
    assert len(parsed) == 2


def test_usage_in_the_last_content_chunk_gets_a_chunk_of_its_own() -> None:
    last = chunk({"content": "a"}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 2})
    last.usage = Usage(5, 2)
    _, parsed = streamed([last], **WITH_USAGE)
    assert parsed[-2]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def test_without_any_usage_the_chunks_are_counted() -> None:
    _, parsed = streamed([chunk({"content": "a"}), chunk({"content": "b"}, "stop")], **WITH_USAGE)
    assert parsed[-2]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_leaves_under_both_names(name: str) -> None:
    deltas = [chunk({name: "think"}), chunk({name: None, "content": "42"}, "stop")]
    assert streamed(deltas)[0][0]["reasoning"] == "think"
    message = folded(deltas)["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "think"
    message = folded([Answer({"choices": [{"message": {name: "think"}, "finish_reason": "stop"}]})])[
        "choices"
    ][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "think"


TOOL_STREAMS: list[tuple[str, list[dict[str, Any]], list[tuple[str, str]]]] = [
    (
        "as OpenAI",
        [piece("", "f", index=0, id="a", type="function"), piece('{"x"', index=0), piece(":1}", index=0)],
        [("f", '{"x":1}')],
    ),
    (
        "two calls",
        [piece("{}", "f", index=0, id="a"), piece('{"y":2}', "g", index=1, id="b")],
        [("f", "{}"), ("g", '{"y":2}')],
    ),
    (
        "interleaved",
        [
            piece("", "f", index=0, id="a"),
            piece("", "g", index=1, id="b"),
            piece("{}", index=0),
            piece("{ }", index=1),
        ],
        [("f", "{}"), ("g", "{ }")],
    ),
    (
        "all index 0",
        [piece("{}", "f", index=0, id="a"), piece("{}", "f", index=0, id="b")],
        [("f", "{}"), ("f", "{}")],
    ),
    (
        "all index 0, no ids",
        [piece('{"x":1}', "f", index=0), piece('{"x":2}', "f", index=0)],
        [("f", '{"x":1}'), ("f", '{"x":2}')],
    ),
    ("no index, no ids", [piece("{}", "f"), piece("{}", "g")], [("f", "{}"), ("g", "{}")]),
    (
        "id and name in each piece",
        [piece('{"x"', "f", index=0, id="a"), piece(":1}", "f", index=0, id="a")],
        [("f", '{"x":1}')],
    ),
    (
        "name in each piece, no id",
        [piece('{"x"', "f", index=0), piece(":1}", "f", index=0)],
        [("f", '{"x":1}')],
    ),
    (
        "indexes from 1",
        [piece("{}", "f", index=1, id="a"), piece("{}", "g", index=2, id="b")],
        [("f", "{}"), ("g", "{}")],
    ),
    (
        "arguments before the name",
        [piece('{"x"', index=0, id="a"), piece(":1}", "f", index=0)],
        [("f", '{"x":1}')],
    ),
    ("id after the first piece", [piece("", index=0), piece("{}", "f", index=0, id="a")], [("f", "{}")]),
    ("no arguments", [piece(None, "f", index=0, id="a")], [("f", "{}")]),
    ("empty arguments", [piece("", "f", index=0, id="a"), piece("", index=0)], [("f", "{}")]),
    ("another kind, null", [piece("{}", "f", index=0, id="a", custom=None)], [("f", "{}")]),
    (
        "a first piece of no kind",
        [{"tool_calls": [{"index": 0, "id": "a"}]}, piece("{}", "f", index=0)],
        [("f", "{}")],
    ),
    ("arguments as an object", [piece({"x": 1}, "f", index=0, id="a")], [("f", '{"x":1}')]),
]


@pytest.mark.parametrize(
    ("deltas", "calls"), [row[1:] for row in TOOL_STREAMS], ids=[row[0] for row in TOOL_STREAMS]
)
@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_tool_calls_become_legal(
    deltas: list[dict[str, Any]], calls: list[tuple[str, str]], finish: str
) -> None:
    apart = [*(chunk(delta) for delta in deltas), chunk({}, finish)]
    together = [*(chunk(delta) for delta in deltas[:-1]), chunk(deltas[-1], finish)]
    for chunks in (apart, together):
        said, _ = streamed(chunks, tools=[WEATHER])
        assert [(call["name"], call["arguments"]) for call in said[0]["calls"]] == calls
        assert len({call["id"] for call in said[0]["calls"]}) == len(calls)
        assert said[0]["finish_reason"] == "tool_calls"
        choice = folded(chunks, tools=[WEATHER])["choices"][0]
        assert [
            (c["function"]["name"], c["function"]["arguments"]) for c in choice["message"]["tool_calls"]
        ] == calls
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "tool_calls"


CUSTOM = {"index": 0, "id": "a", "type": "custom", "function": None, "custom": {"name": "sql", "input": "x"}}


def test_a_custom_call_keeps_its_kind() -> None:
    made = encoder(**STREAM)
    more = {"index": 0, "custom": {"input": "y"}}
    opened = {"tool_calls": [{"index": 0, "id": "a"}]}
    for first in ([chunk({"tool_calls": [CUSTOM]})], [chunk(opened), chunk({"tool_calls": [CUSTOM]})]):
        chunks = [*first, chunk({"tool_calls": [more]}), chunk({}, "tool_calls")]
        made = encoder(**STREAM)
        parsed = events(made.stream(copy.deepcopy(chunks)) + made.stream_end())
        deltas = [event["choices"][0]["delta"] for event in parsed if event != "[DONE]"]
        assert [call for delta in deltas for call in delta.get("tool_calls", ())] == [
            {key: value for key, value in CUSTOM.items() if key != "function"},
            more,
        ]
        (call,) = folded(chunks)["choices"][0]["message"]["tool_calls"]
        assert call == {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "xy"}}


@pytest.mark.parametrize("first", [piece("{}", "f", index=0, id="a"), piece("{", index=0, id="a")])
def test_a_call_does_not_change_its_kind(first: dict[str, Any]) -> None:
    for changed in ({**CUSTOM, "id": "a"}, {"index": 0, "custom": {"input": "x"}}):
        with pytest.raises(UpstreamInvalid):
            encoder(**STREAM).stream([chunk(copy.deepcopy(first)), chunk({"tool_calls": [changed]})])


def test_a_whole_call_is_of_one_kind() -> None:
    called = {"id": "a", "type": "function", "custom": None, "function": {"name": "f", "arguments": "{}"}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [called]}, "finish_reason": "stop"}]}
    (call,) = folded([Answer(body)])["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_truncated_call_is_left_truncated() -> None:
    said, _ = streamed([chunk(piece("", "f", index=0, id="a")), chunk({}, "length")], tools=[WEATHER])
    assert said[0]["calls"][0]["arguments"] == ""
    assert said[0]["finish_reason"] == "length"


def test_finish_reasons_of_tools() -> None:
    named = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    call = chunk(piece("{}", "weather", index=0, id="a"), "stop")
    assert streamed([call], **named)[0][0]["finish_reason"] == "stop"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [REFERENCE]}}
    said, _ = streamed([call], tools=[WEATHER], tool_choice=allowed)
    assert said[0]["finish_reason"] == "tool_calls"
    assert streamed([chunk({"content": "no"}, "tool_calls")])[0][0]["finish_reason"] == "stop"
    legacy = chunk({"function_call": {"name": "f", "arguments": "{}"}}, "stop")
    assert streamed([legacy])[0][0]["finish_reason"] == "function_call"
    assert folded([legacy])["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_a_call_that_is_never_named_is_no_answer() -> None:
    made = encoder(**STREAM)
    with pytest.raises(UpstreamInvalid):
        made.stream([chunk(piece("{}", index=0)), chunk({}, "tool_calls")])


def test_the_end_cannot_be_made_up() -> None:
    made = encoder(**STREAM)
    with pytest.raises(InternalError):
        made.stream_end()
    made.stream([chunk({"content": "a"})])
    with pytest.raises(InternalError):
        made.stream_end()
    made.stream([chunk({}, "stop")])
    assert made.stream_end() == b"data: [DONE]\n\n"
    for call in (
        made.stream_end,
        lambda: made.stream([chunk()]),
        lambda: made.stream_error(UpstreamCut("x")),
    ):
        with pytest.raises(InternalError):
            call()


def test_an_error_is_the_last_event() -> None:
    made = encoder(**STREAM)
    made.stream([chunk({"content": "a"})])
    (event,) = events(made.stream_error(UpstreamCut("It ended early.", param="x")))
    assert event == {
        "error": {
            "message": "It ended early.",
            "type": "upstream_error",
            "param": "x",
            "code": "upstream_cut",
            "partial": True,
        }
    }
    with pytest.raises(InternalError):
        made.stream([chunk()])


def test_what_is_no_completion_is_a_bug() -> None:
    with pytest.raises(InternalError):
        encoder().fold([Vectors([b""])])
    with pytest.raises(InternalError):
        encoder(**STREAM).stream([Answer({"choices": []})])


def test_a_whole_answer_is_completed() -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    body = {
        "choices": [
            {"message": {"content": "", "tool_calls": [call, {**call, "id": "b"}]}, "finish_reason": "stop"}
        ]
    }
    answer = folded([Answer(body, Usage(3, 4))], tools=[WEATHER])
    assert answer["id"] == "chatcmpl-0123"
    assert answer["model"] == "public"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["logprobs"] is None
    ids = [call["id"] for call in choice["message"]["tool_calls"]]
    assert ids[1] == "b"
    assert ids[0].startswith("call_")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "x"}}]},
        {"choices": [{"message": {"tool_calls": [{"id": "x"}]}, "finish_reason": "stop"}]},
    ],
)
def test_what_is_no_answer(body: dict[str, Any]) -> None:
    made = encoder()
    made.fold([Answer(body)])
    with pytest.raises(UpstreamInvalid):
        made.answer()


def test_an_unfinished_fold_is_no_answer() -> None:
    made = encoder()
    with pytest.raises(UpstreamInvalid):
        made.answer()
    made.fold([chunk({"content": "a"})])
    with pytest.raises(UpstreamInvalid):
        made.answer()


def test_unknown_fields_and_logprobs_are_folded() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    first = chunk(
        {"content": "a", "details": ["x"], "signature": "s1"}, service_tier="default", citations=["u"]
    )
    first.body["choices"][0]["logprobs"] = {"content": [token]}
    second = chunk(
        {"content": "b", "details": ["y"], "signature": "s2", "n": 3}, "stop", system_fingerprint="fp"
    )
    second.body["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    second.body["choices"][0]["native_finish_reason"] = "end"
    answer = folded([first, second])
    choice = answer["choices"][0]
    assert choice["logprobs"] == {"content": [token, token], "refusal": None}
    assert choice["native_finish_reason"] == "end"
    message = choice["message"]
    assert (message["details"], message["signature"], message["n"]) == (["x", "y"], "s1s2", 3)
    assert (answer["service_tier"], answer["citations"], answer["system_fingerprint"]) == (
        "default",
        ["u"],
        "fp",
    )


# -- any order of any deltas

DELTAS = st.one_of(
    st.just({}),
    st.builds(lambda text: {"content": text}, st.text(max_size=4)),
    st.builds(lambda text: {"role": "assistant", "content": text}, st.none() | st.text(max_size=4)),
    st.builds(lambda text: {"reasoning_content": text}, st.text(max_size=4)),
    st.builds(lambda text: {"reasoning": text, "content": None}, st.text(max_size=4)),
    st.builds(lambda text: {"refusal": text}, st.text(max_size=4)),
    st.builds(
        lambda index, call_id, name, text: piece(
            text, name, **{k: v for k, v in (("index", index), ("id", call_id)) if v is not None}
        ),
        st.none() | st.integers(0, 2),
        st.none() | st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["f", "g"]),
        st.none() | st.sampled_from(["", "{}", '{"x":', "1}"]),
    ),
)
CHUNKS = st.lists(
    st.builds(
        chunk, DELTAS, st.sampled_from([None] * 6 + ["stop", "length", "tool_calls"]), st.integers(0, 1)
    ),
    max_size=12,
).map(lambda chunks: [*chunks, chunk({}, "stop", 0), chunk({}, "stop", 1)])


@given(CHUNKS, st.booleans(), st.lists(st.integers(1, 4), max_size=14))
def test_every_stream_is_legal_and_batches_do_not_matter(
    chunks: list[Chunk], include_usage: bool, sizes: list[int]
) -> None:
    fields = {"n": 2, **(WITH_USAGE if include_usage else STREAM)}
    one = encoder(**fields)
    whole = b"".join(one.stream([delta]) for delta in copy.deepcopy(chunks)) + one.stream_end()
    said = check_chat_stream(whole, include_usage=include_usage)
    two = encoder(**fields)
    left = copy.deepcopy(chunks)
    batched = b""
    for size in sizes:
        batched += two.stream(left[:size])
        left = left[size:]
    assert batched + two.stream(left) + two.stream_end() == whole
    for choice in folded(chunks, n=2)["choices"]:
        streamed_choice = said[choice["index"]]
        message = choice["message"]
        assert (message["content"] or "") == streamed_choice["content"]
        assert message.get("reasoning", "") == streamed_choice["reasoning"]
        assert (message["refusal"] or "") == streamed_choice["refusal"]
        assert choice["finish_reason"] == streamed_choice["finish_reason"]
        calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
        assert calls == streamed_choice["calls"]
