import base64
import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.openai import OPERATIONS, OpenAICodec
from penstock.types.deployment import Deployment, Outgoing, Quirks
from penstock.types.errors import (
    ContextLengthExceeded,
    PenstockError,
    UnsupportedParameter,
    UpstreamCredentials,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from penstock.types.events import Answer, Chunk, Delta, Ranked
from penstock.types.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Request,
    RerankRequest,
)
from penstock.types.usage import Usage

WIRE = Path(__file__).parent.parent / "wire"
MESSAGES = [{"role": "user", "content": "hello"}]


def chat(*, stream: bool = False, n: int = 1, **fields: Any) -> ChatRequest:
    return ChatRequest(
        "public", {"model": "public", "messages": copy.deepcopy(MESSAGES), **fields}, stream, n=n
    )


def deployment(codec: OpenAICodec) -> Deployment:
    return Deployment("dep", "upstream-model", codec, OPERATIONS)


def sent(request: Request, quirks: Quirks | None = None) -> tuple[Outgoing, dict[str, Any]]:
    codec = OpenAICodec(quirks)
    outgoing = codec.encode(request, deployment(codec))
    return outgoing, json.loads(outgoing.body)


def reader(request: Request, quirks: Quirks | None = None) -> Any:
    codec = OpenAICodec(quirks, name="up")
    return codec.reader(request, deployment(codec))


def replayed(name: str, request: Request, quirks: Quirks | None = None) -> tuple[list[Delta], Any]:
    reading = reader(request, quirks)
    blocks = (WIRE / name).read_bytes().split(b"\n\n")
    deltas = [reading.event(block[6:]) for block in blocks if block.startswith(b"data: ")]
    return [delta for delta in deltas if delta is not None], reading


# -- requests


def test_a_chat_request() -> None:
    request = chat(temperature=0.5, vendor={"x": None}, stream=False)
    outgoing, body = sent(request)
    assert (outgoing.path, outgoing.is_stream) == ("/chat/completions", False)
    assert body == {
        "model": "upstream-model",
        "messages": MESSAGES,
        "temperature": 0.5,
        "vendor": {"x": None},
    }
    assert request.body["model"] == "public", "the request itself is not changed: the next attempt needs it"


def test_a_stream_asks_for_usage() -> None:
    request = chat(stream=True, stream_options={"include_obfuscation": False})
    request.body["stream"] = True
    outgoing, body = sent(request)
    assert outgoing.is_stream
    assert body["stream"] is True
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_quirks() -> None:
    quirks = Quirks(
        always_stream=True,
        drop=frozenset({"stream_options", "user"}),
        drop_message=frozenset({"reasoning"}),
        rename_chat=(("max_completion_tokens", "max_tokens"),),
        adapt=lambda request, _: chat(max_completion_tokens=9, user="me", **{"from": request.model}),
    )
    request = chat()
    outgoing, body = sent(request, quirks)
    assert outgoing.is_stream
    assert body == {
        "model": "upstream-model",
        "messages": MESSAGES,
        "max_tokens": 9,
        "stream": True,
        "from": "public",
    }
    message = {"role": "assistant", "content": "x", "reasoning": "y"}
    _, body = sent(ChatRequest("m", {"messages": [message]}), Quirks(drop_message=frozenset({"reasoning"})))
    assert body["messages"] == [{"role": "assistant", "content": "x"}]


@pytest.mark.parametrize("known", ["max_tokens", "max_completion_tokens"])
def test_of_two_limits_max_completion_tokens_counts(known: str) -> None:
    other = "max_completion_tokens" if known == "max_tokens" else "max_tokens"
    quirks = Quirks(rename_chat=((other, known),))
    for fields, limit in (({"max_tokens": 5, "max_completion_tokens": 7}, 7), ({"max_tokens": 5}, 5)):
        _, body = sent(chat(**fields), quirks)
        assert {key: body[key] for key in body if key.startswith("max_")} == {known: limit}


def test_a_completion_request() -> None:
    outgoing, body = sent(CompletionRequest("public", {"model": "public", "prompt": "x", "max_tokens": 3}))
    assert outgoing.path == "/completions"
    assert body == {"model": "upstream-model", "prompt": "x", "max_tokens": 3}


def test_an_embedding_request() -> None:
    outgoing, body = sent(EmbeddingRequest("public", ["a"]))
    assert outgoing.path == "/embeddings"
    assert body == {"model": "upstream-model", "input": ["a"], "encoding_format": "base64"}
    _, body = sent(EmbeddingRequest("public", [[1]], 8, True, False, "me", {"task": "x"}))
    assert body == {
        "model": "upstream-model",
        "input": [[1]],
        "encoding_format": "base64",
        "dimensions": 8,
        "truncate": True,
        "normalize": False,
        "user": "me",
        "task": "x",
    }


def test_a_rerank_request() -> None:
    outgoing, body = sent(RerankRequest("public", "q", ["a", "b"], 5))
    assert outgoing.path == "/rerank"
    assert body == {
        "model": "upstream-model",
        "query": "q",
        "documents": ["a", "b"],
        "return_documents": False,
        "top_n": 2,
    }
    _, body = sent(RerankRequest("public", "q", ["a"], None, True, False, {"x": 1}))
    assert (body["raw_scores"], body["truncate"], body["x"], "top_n" in body) == (True, False, 1, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5).map(lambda name: "x_" + name), JSON))
def test_unknown_fields_reach_the_upstream(extra: dict[str, Any]) -> None:
    _, body = sent(chat(**copy.deepcopy(extra)))
    assert {key: body[key] for key in extra} == extra


# -- streams


def said(deltas: list[Delta], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for delta in deltas
        if isinstance(delta, Chunk)
        for choice in delta.body["choices"]
        if choice["index"] == index
    )


def test_llamacpp_with_two_choices_counts_both() -> None:
    deltas, reading = replayed(
        "llamacpp/chat_n2.sse", chat(stream=True, n=2), Quirks(recount_completion=True)
    )
    assert reading.is_complete
    assert said(deltas, 0) == said(deltas, 1) == "Hello, it"
    usages = [delta.usage for delta in deltas if delta.usage]
    assert usages[-1] == Usage(9, 6)
    assert usages[0].is_estimated
    assert deltas[-1].body["usage"]["completion_tokens"] == 6
    assert [delta.has_content for delta in deltas[:2]] == [False, True]


def test_llamacpp_gives_legacy_logprobs_on_text_completions() -> None:
    request = CompletionRequest("m", {"prompt": "hello"}, True, n=2)
    deltas, _ = replayed("llamacpp/completion_n2_logprobs.sse", request, Quirks(recount_completion=True))
    choices = [choice for delta in deltas for choice in delta.body["choices"] if choice["logprobs"]]
    assert choices
    for choice in choices:
        logprobs = choice["logprobs"]
        assert logprobs.keys() == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
        assert len({len(values) for values in logprobs.values()}) == 1
    assert [delta.usage for delta in deltas if delta.usage][-1].completion_tokens == 6


def test_llamacpp_whole_answer() -> None:
    answer = reader(chat()).answer((WIRE / "llamacpp/chat.json").read_bytes())
    assert isinstance(answer, Answer)
    assert answer.usage.completion_tokens == 3


def test_azure_begins_without_choices() -> None:
    deltas, reading = replayed("handwritten/azure_first_chunk.sse", chat(stream=True))
    assert said(deltas) == "Hi"
    assert reading.is_complete
    assert deltas[-1].usage == Usage(8, 1)


def test_deepseek_counts_cache_and_reasoning() -> None:
    deltas, _ = replayed("handwritten/deepseek_reasoning.sse", chat(stream=True))
    assert deltas[-1].usage == Usage(10, 7, 4, 5)
    assert [delta.has_content for delta in deltas] == [False, True, True, True, False]


def test_a_stream_without_done_is_complete_once_every_choice_finished() -> None:
    _, reading = replayed("handwritten/whole_calls_index_0.sse", chat(stream=True))
    assert reading.is_complete
    _, reading = replayed("handwritten/whole_calls_index_0.sse", chat(stream=True, n=2))
    assert not reading.is_complete


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("handwritten/openrouter_error.sse", UpstreamUnavailable, "Provider disconnected"),
        ("handwritten/vllm_error.sse", ContextLengthExceeded, "4096"),
    ],
)
def test_errors_inside_a_stream(name: str, kind: type[PenstockError], words: str) -> None:
    with pytest.raises(kind, match=words):
        replayed(name, chat(stream=True))


def event(reading: Any, **body: Any) -> Chunk | None:
    chunk: Chunk | None = reading.event(json.dumps(body).encode())
    return chunk


def choice(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def test_without_usage_it_is_estimated_at_the_end() -> None:
    reading = reader(chat(stream=True))
    event(reading, choices=[choice(content="a")])
    event(reading, choices=[choice("stop", content="b")])
    chunk = reading.event(b"[DONE]")
    assert chunk.body["choices"] == []
    assert chunk.usage.is_estimated
    assert chunk.usage.completion_tokens == 2
    assert chunk.usage.prompt_tokens > 0
    assert chunk.body["usage"]["total_tokens"] == chunk.usage.total_tokens


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("eos", "stop"),
        ("max_tokens", "length"),
        ("sensitive", "content_filter"),
        ("tool_use", "tool_calls"),
        ("odd", "stop"),
    ],
)
def test_finish_reasons_are_openai_s(given: str, known: str) -> None:
    chunk = event(reader(chat(stream=True)), choices=[choice(given)])
    assert chunk is not None
    assert chunk.body["choices"][0]["finish_reason"] == known
    assert chunk.body["choices"][0]["native_finish_reason"] == given


@pytest.mark.parametrize("given", ["abort", "error", "insufficient_system_resource", "network_error"])
def test_a_broken_answer_is_not_finished(given: str) -> None:
    with pytest.raises(UpstreamError, match="gave the answer up"):
        event(reader(chat(stream=True)), choices=[choice(given)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nonsense",
        b"[1]",
        b"5",
        b'{"choices": 5}',
        b'{"choices": ["x"]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"choices": [{"index": "0", "delta": {}}]}',
        b'{"choices": [{"index": -1, "delta": {}}]}',
        b'{"choices": [{"index": [], "delta": {}}]}',
        b'{"choices": [], "usage": 5}',
        b'{"choices": [{"delta": []}]}',
        b'{"choices": [{"delta": ""}]}',
        b'{"choices": [{"delta": 0}]}',
        b'{"choices": [{"delta": false}]}',
        b'{"choices": [{"index": true, "delta": {}}]}',
        b'{"choices": [{"index": 0, "delta": {}}, {"index": false, "delta": {}}]}',
        b'{"choices": [{"index": 0.0, "delta": {}}]}',
        b'{"choices": [{"index": 1' + b"0" * 30 + b', "delta": {}}]}',
        b'{"choices": [{"logprobs": "abc", "delta": {"content": "x"}}]}',
        b'{"choices": [{"logprobs": "", "delta": {"content": "x"}}]}',
        b'{"choices": [{"logprobs": {"content": "abc"}, "delta": {"content": "x"}}]}',
        b'{"error": {"message": "x", "code": ' + b"9" * 400 + b"}}",
        b"[" * 200_000,
        b"\xff\xfe",
        b"[DONE]",
    ],
)
def test_unreadable_events(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        reader(chat(stream=True)).event(data)
    assert isinstance(caught.value, UpstreamUnavailable if b"error" in data else UpstreamInvalid)


def test_a_choice_nobody_asked_for_must_finish_too() -> None:
    reading = reader(chat(stream=True))
    event(reading, choices=[choice(None, 0, content="x"), choice("stop", 1)])
    assert not reading.is_complete
    event(reading, choices=[choice("stop", 0)])
    assert (reading.is_complete, reading.is_done) == (True, False)
    event(reading, choices=[choice(None, 2, content="x")])
    assert not reading.is_complete
    event(reading, choices=[choice("stop", 2)])
    assert reading.is_complete
    reading.event(b"[DONE]")
    assert (reading.is_complete, reading.is_done) == (True, True)


@pytest.mark.parametrize("token", [None, 5, [], {}])
def test_legacy_tokens_are_text(token: Any) -> None:
    good = {"token": "x", "logprob": -1.0}
    for entry in ({**good, "token": token}, {**good, "top_logprobs": [{**good, "token": token}]}):
        with pytest.raises(UpstreamInvalid):
            event(
                reader(CompletionRequest("m", {"prompt": "x"}, True)),
                choices=[{"index": 0, "text": "x", "logprobs": {"content": [entry]}}],
            )


def test_done_does_not_finish_a_choice() -> None:
    reading = reader(chat(stream=True, n=2))
    event(reading, choices=[choice("stop", 0), choice(None, 1, content="x")])
    with pytest.raises(UpstreamInvalid, match="without a finish_reason"):
        reading.event(b"[DONE]")


def test_events_of_no_meaning_are_passed_over() -> None:
    reading = reader(chat(stream=True))
    assert event(reading, type="ping") is None
    assert event(reading, choices=[], prompt_filter_results=[]) is None


# -- whole answers


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", UpstreamInvalid),
        (b"<html>", UpstreamInvalid),
        (b"[]", UpstreamInvalid),
        (b"{}", UpstreamInvalid),
        (b'{"choices": []}', UpstreamInvalid),
        (b'{"choices": ["x"]}', UpstreamInvalid),
        (b'{"choices": [{"finish_reason": "abort"}]}', UpstreamError),
        (b'{"error": {"message": "busy", "code": 429}}', UpstreamRateLimited),
        (b'{"error": {"message": "no", "code": "insufficient_quota"}}', UpstreamCredentials),
        (b'{"object": "error", "message": "broken", "code": 500}', UpstreamUnavailable),
        (b'{"error": {"code": "' + b"9" * 5000 + b'"}}', UpstreamUnavailable),
        (b'{"choices": [{"index": true, "message": {}, "finish_reason": "stop"}]}', UpstreamInvalid),
        (b'{"choices": [{"index": [], "message": {}}]}', UpstreamInvalid),
        (b'{"choices": [{"logprobs": "x", "message": {}, "finish_reason": "stop"}]}', UpstreamInvalid),
    ],
)
def test_what_is_no_answer(body: bytes, kind: type[PenstockError]) -> None:
    with pytest.raises(kind):
        reader(chat()).answer(body)


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([{"content": "x"}], 1),
        ([{"content": ""}], 0),
        ([{"content": "x" * 40}], 10),
        ([{"content": "x" * 20}, {"content": "y" * 20}], 10),
        ([{"content": "水" * 4, "reasoning_content": "x" * 8, "reasoning": "x" * 8}], 5),
        ([{"tool_calls": [{"id": "x" * 90, "function": {"name": "f" * 4, "arguments": "{" * 8}}]}], 3),
    ],
)
def test_a_whole_answer_without_usage_is_estimated(messages: list[Any], tokens: int) -> None:
    """By its text alone: the JSON around it was not generated."""
    choices = [{"index": i, "message": m, "finish_reason": "stop"} for i, m in enumerate(messages)]
    answer = reader(chat()).answer(json.dumps({"choices": choices, "vendor": "v" * 999}).encode())
    assert answer.usage.is_estimated
    assert answer.usage.completion_tokens == tokens


def test_a_whole_text_without_usage_is_estimated() -> None:
    body = {"choices": [{"index": 0, "text": "x" * 12, "finish_reason": "stop"}]}
    answer = reader(CompletionRequest("m", {"prompt": "x"})).answer(json.dumps(body).encode())
    assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (7, 7),
        (7.0, 7),
        (2**53, 2**53),
        (10**400, 0),
        (1e300, 0),
        (-1, 0),
        (1.5, 0),
        (True, 0),
        ("7", 0),
        ([], 0),
        (None, 0),
    ],
)
def test_what_cannot_be_a_number_of_tokens_is_none(given: Any, read: int) -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {}}
    body["usage"] = {"prompt_tokens": given, "completion_tokens": 1}
    assert reader(chat()).answer(json.dumps(body).encode()).usage == Usage(read, 1)


def test_images_and_sound_are_counted_apart() -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {}}
    body["usage"] = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 10, "image_tokens": 20},
        "completion_tokens_details": {"audio_tokens": 30, "image_tokens": 15},
    }
    assert reader(chat()).answer(json.dumps(body).encode()).usage == Usage(
        100,
        50,
        5,
        audio_prompt_tokens=10,
        audio_completion_tokens=30,
        image_prompt_tokens=20,
        image_completion_tokens=15,
    )


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_images_are_counted_and_are_content() -> None:
    choice = {"message": {"content": "", "images": [IMAGE, IMAGE]}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 9}
    body = {"choices": [choice], "usage": usage}
    assert reader(chat()).answer(json.dumps(body).encode()).usage == Usage(5, 9, images=2)
    streamed = reader(chat())
    drawn = streamed.event(json.dumps({"choices": [{"delta": {"images": [IMAGE]}}]}).encode())
    assert isinstance(drawn, Chunk)
    assert drawn.has_content
    assert streamed.estimate().images == 1, "of a stream that breaks"
    last = streamed.event(json.dumps({"choices": [], "usage": usage}).encode())
    assert last is not None
    assert last.usage == Usage(5, 9, images=1)


def test_embeddings_in_both_forms_and_any_order() -> None:
    packed = struct.pack("<2f", 0.5, 1.0)
    rows = [
        {"index": 1, "embedding": base64.b64encode(packed).decode()},
        {"index": 0, "embedding": [0.25, 2]},
    ]
    body = {"data": rows, "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    vectors = reader(EmbeddingRequest("m", ["a", "b"])).answer(json.dumps(body).encode())
    assert vectors.vectors == [[0.25, 2.0], packed]
    assert {type(number) for number in vectors.vectors[0]} == {float}
    assert vectors.usage == Usage(4)
    largest = struct.pack("<f", 3.4028234663852886e38)
    body = {"data": [{"embedding": base64.b64encode(largest).decode()}]}
    assert reader(EmbeddingRequest("m", ["a"])).answer(json.dumps(body).encode()).vectors == [largest]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": "AAA"}, {"index": 1, "embedding": "AAAA"}],
        [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": ["x"]}],
        [{"index": i, "embedding": [1.0]} for i in range(3)],
        *(
            [{"index": 0, "embedding": odd}, {"index": 1, "embedding": [1.0]}]
            for odd in ("é", "AAAAé", [True], [10**400], [1e300], [-3.5e38], [None], "AACAfw==", "AADA/w==")
        ),
        ["x", "y"],
        5,
    ],
)
def test_what_are_no_embeddings(rows: Any) -> None:
    with pytest.raises(UpstreamInvalid):
        reader(EmbeddingRequest("m", ["a", "b"])).answer(json.dumps({"data": rows}).encode())


def test_dimensions_that_the_model_cannot_give() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        reader(EmbeddingRequest("m", ["a"], 3)).answer(b'{"data": [{"index": 0, "embedding": [1, 2]}]}')
    assert caught.value.param == "dimensions"


def test_rankings() -> None:
    request = RerankRequest("m", "q", ["a", "b", "c"], 2)
    rows = [
        {"index": 1, "relevance_score": 0.5},
        {"index": 0, "relevance_score": 0.5},
        {"index": 2, "relevance_score": 1},
    ]
    ranking = reader(request).answer(json.dumps({"results": rows, "usage": {"total_tokens": 9}}).encode())
    assert ranking.results == [Ranked(2, 1.0), Ranked(0, 0.5)]
    assert ranking.usage == Usage(9)
    tei = [{"index": 1, "score": -3.5}, {"index": 0, "score": 2}, {"index": 2, "score": 0}]
    assert reader(request).answer(json.dumps(tei).encode()).results == [Ranked(0, 2.0), Ranked(2, 0.0)]
    cohere = {"results": rows, "meta": {"tokens": {"input_tokens": 4}}}
    assert reader(request).answer(json.dumps(cohere).encode()).usage == Usage(4)
    billed = {"results": rows, "meta": {"billed_units": {"search_units": 2}}}
    assert reader(request).answer(json.dumps(billed).encode()).usage == Usage(search_units=2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"5",
        b'{"results": [{"index": 0}]}',
        b'{"results": [{"index": 0, "relevance_score": null}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 2, "relevance_score": 1}]}',
        b'{"results": [{"index": "0", "relevance_score": 1}, {"index": 1, "relevance_score": 1}]}',
        *(
            b'{"results": [{"index": %b, "relevance_score": 1}, {"index": 1, "relevance_score": 1}]}' % odd
            for odd in (b"[]", b"0.0", b"false", b"-1", b"null", b"1" + b"0" * 400)
        ),
        *(
            b'[{"index": 0, "score": %b}, {"index": 1, "score": 1}]' % odd
            for odd in (b"1" + b"0" * 400, b'"NaN"', b'"inf"', b'"1"', b"true", b"1e999", b"[]")
        ),
        b"[" * 200_000,
    ],
)
def test_what_is_no_ranking(body: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        reader(RerankRequest("m", "q", ["a", "b"])).answer(body)


@pytest.mark.parametrize("request_", [EmbeddingRequest("m", ["a"]), RerankRequest("m", "q", ["a"])])
def test_these_are_never_streamed(request_: Request) -> None:
    with pytest.raises(UpstreamInvalid):
        reader(request_).event(b"{}")


def read_with_everything(data: bytes) -> None:
    requests: list[Request] = [
        chat(),
        CompletionRequest("m", {"prompt": "x"}),
        EmbeddingRequest("m", ["a"]),
        RerankRequest("m", "q", ["a"]),
    ]
    for request in requests:
        for read in ("event", "answer"):
            try:
                getattr(reader(request), read)(data)
            except UpstreamError:
                continue  # nobody else is to blame


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_a_reader(data: bytes) -> None:
    read_with_everything(data)


@given(JSON)
def test_no_shape_breaks_a_reader(value: Any) -> None:
    shapes: list[Any] = [
        {"choices": value},
        {"choices": [value]},
        {"choices": [{"delta": value}]},
        {"data": value},
    ]
    shapes += [
        {"choices": [{"finish_reason": value}]},
        {"choices": [{"logprobs": value}]},
        {"results": value},
    ]
    shapes += [{"choices": [{"delta": {}}], "usage": value}, {"results": [{"index": 0, "score": value}]}]
    for shape in shapes:
        read_with_everything(json.dumps(shape).encode())
