"""The official Cohere SDK: rerank by both of its versions."""

import cohere
import pytest
from cohere.core.api_error import ApiError
from platforms import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

MODEL = "builtin:rerank"
QUERY = "How is tea made?"
DOCUMENTS = ["Falling water turns the turbine.", "Pour hot water over the leaves and wait.", "A cat sleeps."]


def test_v2(encoder: Platform) -> None:
    with cohere.ClientV2(api_key=encoder.key, base_url=encoder.url) as client:
        got = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2)
    assert got.results[0].index == 1
    assert len(got.results) == 2
    assert got.results[0].relevance_score >= got.results[1].relevance_score
    assert got.id


def test_v1(encoder: Platform) -> None:
    with cohere.Client(api_key=encoder.key, base_url=encoder.url) as client:
        got = client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, return_documents=True)
    assert got.results[0].index == 1
    assert len(got.results) == 3
    assert got.results[0].document is not None
    assert got.results[0].document.text == DOCUMENTS[1]


async def test_v2_async(encoder: Platform) -> None:
    async with cohere.AsyncClientV2(api_key=encoder.key, base_url=encoder.url) as client:
        got = await client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
    assert got.results[0].index == 1


def test_errors(encoder: Platform) -> None:
    with cohere.ClientV2(api_key="sk-wrong", base_url=encoder.url, max_retries=0) as client:
        with pytest.raises(ApiError) as caught:
            client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
        assert caught.value.status_code == 401
    with cohere.ClientV2(api_key=encoder.key, base_url=encoder.url, max_retries=0) as client:
        with pytest.raises(ApiError) as caught:
            client.rerank(model="none", query=QUERY, documents=DOCUMENTS)
        assert caught.value.status_code == 404
        with pytest.raises(ApiError) as caught:
            client.rerank(model=MODEL, query=QUERY, documents=[])
        assert caught.value.status_code == 400
