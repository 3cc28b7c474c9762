import json
from typing import Any

import pytest
from cohere.core.unchecked_base_model import construct_type
from cohere.types.rerank_response import RerankResponse
from cohere.v2.types.v2rerank_response import V2RerankResponse
from wire_help import new_call

from penstock.protocols import rerank
from penstock.types.errors import InvalidRequest, ModelNotFound, UpstreamInvalid
from penstock.types.events import Ranked, Ranking, Vectors
from penstock.types.usage import Usage

DOCUMENTS = ["red", "green", "blue"]
RANKING = Ranking([Ranked(2, 0.9), Ranked(0, 0.1)], Usage(12))


def answered(inbound: rerank.RerankV1, body: dict[str, Any]) -> Any:
    request = inbound.decode(body)
    encoder = inbound.encoder(request, new_call())
    encoder.fold([RANKING])
    return json.loads(encoder.answer())


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "public", "query": "sky", "documents": list(DOCUMENTS), **fields}


def test_v1_is_jinas_shape_with_cohere_s_keys() -> None:
    assert answered(rerank.V1, body(top_n=2)) == {
        "id": "req_0123",
        "object": "list",
        "model": "public",
        "results": [
            {"index": 2, "relevance_score": 0.9, "document": {"text": "blue"}},
            {"index": 0, "relevance_score": 0.1, "document": {"text": "red"}},
        ],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
        "meta": {
            "api_version": {"version": "1"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 12},
        },
    }
    assert "document" not in answered(rerank.V1, body(return_documents=False))["results"][0]


def test_v2_returns_no_documents() -> None:
    answer = answered(rerank.V2, body())
    assert answer.keys() == {"id", "results", "meta"}
    assert answer["results"][0] == {"index": 2, "relevance_score": 0.9}


def test_the_official_sdk_reads_both() -> None:
    one = construct_type(type_=RerankResponse, object_=answered(rerank.V1, body()))
    assert one.results[0].document.text == "blue"
    assert one.meta.billed_units.search_units == 1
    assert one.meta.api_version.version == "1"
    two = construct_type(type_=V2RerankResponse, object_=answered(rerank.V2, body()))
    assert two.results[0].relevance_score == 0.9
    assert two.id == "req_0123"
    RerankResponse.model_validate(answered(rerank.V1, body()))
    V2RerankResponse.model_validate(answered(rerank.V2, body()))


def test_search_units_count_hundreds() -> None:
    answer = answered(rerank.V2, body(documents=["x"] * 201))
    assert answer["meta"]["billed_units"]["search_units"] == 3


def test_objects_come_back_as_they_were_sent() -> None:
    documents = [{"text": "a", "id": 1}, "b", {"text": "c", "title": "C"}]
    answer = answered(rerank.V1, body(documents=documents))
    assert [result["document"] for result in answer["results"]] == [documents[2], documents[0]]
    request = rerank.V1.decode(
        body(documents=[{"title": "T", "text": "x"}, {"text": "y"}], rank_fields=["title", "text"])
    )
    assert request.documents == ["T\nx", "y"]


def test_fields() -> None:
    request = rerank.V1.decode(body(top_n=2, raw_scores=True, truncate=False, max_chunks_per_doc=3, x=None))
    assert (request.model, request.query, request.top_n) == ("public", "sky", 2)
    assert (request.raw_scores, request.truncate) == (True, False)
    assert request.extra == {"max_chunks_per_doc": 3}
    assert rerank.V2.decode(body(max_tokens_per_doc=10, priority=0)).extra == {
        "max_tokens_per_doc": 10,
        "priority": 0,
    }
    assert rerank.V1.decode(body(model=None)).model == ""


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": [1]}, "documents[0]"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1].text"),
        ({"documents": [{"text": 5}]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "3"}, "top_n"),
        ({"rank_fields": []}, "rank_fields"),
        ({"return_documents": "yes"}, "return_documents"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rerank.V1.decode(body(**fields))
    assert caught.value.param == param


def test_v2_takes_texts_only() -> None:
    with pytest.raises(InvalidRequest) as caught:
        rerank.V2.decode(body(documents=[{"text": "a"}]))
    assert caught.value.param == "documents[0]"


def test_errors_are_read_by_cohere_and_openai_clients() -> None:
    error = json.loads(rerank.V1.error_body(ModelNotFound("No such model.", param="model"), "req_1"))
    assert error["message"] == error["error"]["message"] == "No such model."
    assert error["id"] == "req_1"


def test_another_kind_of_answer_is_refused() -> None:
    encoder = rerank.V1.encoder(rerank.V1.decode(body()), new_call())
    encoder.fold([Vectors([b""])])
    with pytest.raises(UpstreamInvalid):
        encoder.answer()
