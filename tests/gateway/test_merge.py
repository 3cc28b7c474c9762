"""Several requests as one, and back (gateway/merge.py)."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.merge import Small, likeness, merge, shares, size, split
from penstock.types.events import Ranked, Ranking, Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest, RerankRequest
from penstock.types.usage import Usage

TEXT = st.text(max_size=20)
EMBEDDINGS = st.lists(
    st.lists(TEXT, min_size=1, max_size=5).map(lambda texts: EmbeddingRequest("m", texts)),
    min_size=1,
    max_size=8,
)


@st.composite
def reranks(draw: st.DrawFn) -> list[RerankRequest]:
    documents = st.lists(TEXT, min_size=1, max_size=5)
    top_n = st.none() | st.integers(1, 7)
    one = st.builds(RerankRequest, st.just("m"), st.just("q"), documents, top_n)
    return draw(st.lists(one, min_size=1, max_size=8))


def embed(request: Small) -> Vectors:
    assert isinstance(request, EmbeddingRequest)
    return Vectors([str(text).encode("utf-8", "surrogatepass") for text in request.inputs])


def rank(request: Small) -> Ranking:
    """As a codec's reader gives it."""
    assert isinstance(request, RerankRequest)
    rows = [Ranked(at, float(len(text) % 4)) for at, text in enumerate(request.documents)]
    rows.sort(key=lambda row: (-row.score, row.index))
    return Ranking(rows[: request.top_n])


@given(EMBEDDINGS)
def test_what_is_merged_is_answered_as_if_it_were_not(requests: list[EmbeddingRequest]) -> None:
    assert split(requests, embed(merge(requests))) == [embed(one) for one in requests]


@given(reranks())
def test_rankings_too_and_each_has_its_own_top_n(requests: list[RerankRequest]) -> None:
    assert split(requests, rank(merge(requests))) == [rank(one) for one in requests]


@given(st.integers(0, 10**6), st.integers(0, 100), st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_shares_add_up_to_the_whole(prompt: int, completion: int, weights: list[int]) -> None:
    whole = Usage(prompt, completion, search_units=7)
    parts = [part for part in shares(whole, weights) if part is not None]
    assert sum(part.search_units for part in parts) == 7
    assert len(parts) == len(weights)
    assert sum(part.prompt_tokens for part in parts) == prompt
    assert sum(part.completion_tokens for part in parts) == completion
    assert all(part.is_estimated and part.prompt_tokens >= 0 for part in parts)
    whole = sum(max(1, weight) for weight in weights)
    exact = [prompt * max(1, weight) / whole for weight in weights]
    assert all(abs(part.prompt_tokens - one) < 1 for part, one in zip(parts, exact, strict=True))


def test_usage_that_is_not_there_is_not_made_up() -> None:
    requests = [EmbeddingRequest("m", ["a"]), EmbeddingRequest("m", ["b"])]
    assert [one.usage for one in split(requests, embed(merge(requests)))] == [None, None]


def test_who_is_alike() -> None:
    plain = EmbeddingRequest("m", ["a"])
    assert likeness(plain) == likeness(EmbeddingRequest("another public name", ["b", "c"]))
    changes: list[dict[str, Any]] = [
        {"dimensions": 8},
        {"truncate": True},
        {"normalize": False},
        {"purpose": "query"},
        {"user": "u"},
        {"extra": {"a": 1}},
        {"extra": {"a": True}},
    ]
    kinds = {likeness(msgspec.structs.replace(plain, **change)) for change in changes}
    assert len(kinds | {likeness(plain)}) == len(changes) + 1
    ordered = msgspec.structs.replace(plain, extra={"a": 1, "b": {"c": 1, "d": 2}})
    other = msgspec.structs.replace(plain, extra={"b": {"d": 2, "c": 1}, "a": 1})
    assert likeness(ordered) == likeness(other)
    asked = RerankRequest("m", "q", ["d"])
    assert likeness(asked) == likeness(RerankRequest("m", "q", ["e"], top_n=3))
    assert likeness(asked) != likeness(RerankRequest("m", "another", ["d"]))


def test_who_goes_alone() -> None:
    assert likeness(EmbeddingRequest("m", [[1, 2]])) is None
    assert likeness(EmbeddingRequest("m", ["a"], extra={"bad": "\ud800"})) is None
    assert likeness(ChatRequest("m", {})) is None


def test_a_query_is_read_beside_each_document() -> None:
    assert size(EmbeddingRequest("m", ["four", "é"])) == (2, 6)
    assert size(RerankRequest("m", "query", ["one", "two"])) == (2, 16)
    assert size(EmbeddingRequest("m", ["\ud800"])).tokens == 1
