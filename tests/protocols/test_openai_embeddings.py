import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from wire_help import new_call

from penstock.protocols import openai_embeddings
from penstock.types.errors import InternalError, InvalidRequest, UpstreamCut, UpstreamInvalid
from penstock.types.events import Ranking, Vectors
from penstock.types.usage import Usage


def body(given: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "public", "input": given, **fields}


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["x"] * 2048, ["x"] * 2048),
    ],
)
def test_inputs(given: Any, inputs: list[Any]) -> None:
    assert openai_embeddings.decode(body(given)).inputs == inputs


def test_fields() -> None:
    request = openai_embeddings.decode(
        body(
            dimensions=8,
            user="me",
            encoding_format="base64",
            truncate=True,
            normalize=False,
            task="x",
            n=None,
        )
    )
    assert (request.model, request.dimensions, request.user) == ("public", 8, "me")
    assert (request.truncate, request.normalize) == (True, False)
    assert request.extra == {"task": "x"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [""]}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"model": None}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai_embeddings.decode({**body(), **fields})
    assert caught.value.param == param


FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5)


@given(st.lists(FLOATS, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_both_forms_in_and_out(vectors: list[list[float]], are_bytes: bool, wants_base64: bool) -> None:
    packed = [struct.pack(f"<{len(vector)}f", *vector) for vector in vectors]
    request = openai_embeddings.decode(body(encoding_format="base64" if wants_base64 else "float"))
    encoder = openai_embeddings.encoder(request, new_call())
    encoder.fold([Vectors([*packed] if are_bytes else [*vectors], Usage(7))])
    answer = json.loads(encoder.answer())
    given = [row["embedding"] for row in answer["data"]]
    if wants_base64:
        assert [base64.b64decode(text) for text in given] == packed
    else:
        assert given == vectors
        CreateEmbeddingResponse.model_validate(answer, strict=True)
    assert [row["index"] for row in answer["data"]] == list(range(len(vectors)))
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert (answer["object"], answer["model"]) == ("list", "public")


def test_it_is_never_streamed() -> None:
    encoder = openai_embeddings.encoder(openai_embeddings.decode(body()), new_call())
    with pytest.raises(InternalError):
        encoder.stream([])
    with pytest.raises(InternalError):
        encoder.stream_end()
    with pytest.raises(InternalError):
        encoder.stream_error(UpstreamCut("x"))


def test_another_kind_of_answer_is_refused() -> None:
    encoder = openai_embeddings.encoder(openai_embeddings.decode(body()), new_call())
    encoder.fold([Ranking([])])
    with pytest.raises(UpstreamInvalid):
        encoder.answer()
