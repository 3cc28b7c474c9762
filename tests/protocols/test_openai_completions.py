import copy
import json
from typing import Any

import pytest
from openai.types import Completion
from wire_help import events, new_call

from penstock.protocols import openai_completions
from penstock.types.errors import InternalError, InvalidRequest, UpstreamInvalid
from penstock.types.events import Answer, Chunk
from penstock.types.usage import Usage


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "public", "prompt": "Once", **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2]},
        {"prompt": [[1], [2]]},
        {"prompt": ""},
        {"best_of": 3, "n": 2, "echo": True, "suffix": "x", "logprobs": 5, "max_tokens": 0},
        {"stream": True, "stream_options": {"include_usage": True}, "top_k": 3, "vendor": {"x": None}},
    ],
)
def test_what_is_accepted(fields: dict[str, Any]) -> None:
    given = body(**copy.deepcopy(fields))
    assert openai_completions.decode(copy.deepcopy(given)).body == given


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1.5]}, "prompt[0]"),
        ({"model": None}, "model"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"best_of": 21}, "best_of"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai_completions.decode(body(**fields))
    assert caught.value.param == param


def deltas() -> list[Chunk]:
    return [
        Chunk(
            {
                "id": "c",
                "created": 5,
                "choices": [{"index": 0, "text": "Once", "logprobs": {"tokens": ["Once"]}}],
            }
        ),
        Chunk({"choices": [{"index": 0, "text": None}]}),
        Chunk(
            {
                "choices": [
                    {"text": " upon", "finish_reason": "stop", "logprobs": {"tokens": [" upon"]}, "x": 1}
                ]
            }
        ),
        Chunk({"choices": [{"text": "late", "finish_reason": "stop"}]}),
        Chunk({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, Usage(1, 2)),
    ]


def test_a_stream() -> None:
    request = openai_completions.decode(body(stream=True, stream_options={"include_usage": True}))
    encoder = openai_completions.encoder(request, new_call())
    with pytest.raises(InternalError):
        encoder.stream_end()
    parsed = events(encoder.stream(deltas()) + encoder.stream_end())
    assert parsed[-1] == "[DONE]"
    assert parsed[-2]["usage"]["total_tokens"] == 3
    chunks = parsed[:-2]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Once", "", " upon"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    for chunk in chunks:
        assert (chunk["id"], chunk["object"], chunk["created"], chunk["model"]) == (
            "c",
            "text_completion",
            5,
            "public",
        )
        assert "logprobs" in chunk["choices"][0]


def test_a_fold() -> None:
    encoder = openai_completions.encoder(openai_completions.decode(body()), new_call())
    encoder.fold(deltas())
    answer = json.loads(encoder.answer())
    Completion.model_validate(answer, strict=True)
    choice = {
        "index": 0,
        "text": "Once upon",
        "logprobs": {"tokens": ["Once", " upon"]},
        "finish_reason": "stop",
        "x": 1,
    }
    assert answer["choices"] == [choice]
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_whole_answer() -> None:
    encoder = openai_completions.encoder(openai_completions.decode(body()), new_call())
    encoder.fold([Answer({"choices": [{"text": "a", "finish_reason": "length"}]}, Usage(1, 1))])
    answer = json.loads(encoder.answer())
    Completion.model_validate(answer, strict=True)
    assert answer["id"] == "cmpl-0123"


@pytest.mark.parametrize("choice", [{"text": "a"}, {"finish_reason": "stop"}])
def test_what_is_no_answer(choice: dict[str, Any]) -> None:
    encoder = openai_completions.encoder(openai_completions.decode(body()), new_call())
    encoder.fold([Answer({"choices": [choice]})])
    with pytest.raises(UpstreamInvalid):
        encoder.answer()
