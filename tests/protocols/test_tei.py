import json
import struct
from typing import Any

import pytest
from wire_help import new_call

from penstock.protocols import tei
from penstock.types.errors import (
    InternalError,
    InvalidRequest,
    ModelLoading,
    PenstockError,
    UpstreamInvalid,
    UpstreamRateLimited,
)
from penstock.types.events import Ranked, Ranking, Vectors


def test_embed() -> None:
    request = tei.EMBED.decode(
        {"inputs": ["a", "b"], "truncate": True, "normalize": False, "prompt_name": "q"}
    )
    assert (request.model, request.inputs) == ("", ["a", "b"])
    assert (request.truncate, request.normalize, request.extra) == (True, False, {"prompt_name": "q"})
    encoder = tei.EMBED.encoder(request, new_call())
    encoder.fold([Vectors([struct.pack("<2f", 0.5, 1.0), [0.25, 2.0]])])
    assert json.loads(encoder.answer()) == [[0.5, 1.0], [0.25, 2.0]]
    assert tei.EMBED.decode({"inputs": "a", "model": "m", "dimensions": None}).model == "m"


def test_rerank() -> None:
    request = tei.RERANK.decode({"query": "q", "texts": ["a", "b"], "raw_scores": True})
    assert (request.model, request.documents, request.raw_scores) == ("", ["a", "b"], True)
    assert request.truncate is False
    assert ranked(request) == [{"index": 1, "score": 0.5}]
    request = tei.RERANK.decode({"query": "q", "texts": ["a", "b"], "return_text": True})
    assert ranked(request) == [{"index": 1, "score": 0.5, "text": "b"}]


def test_documents_make_it_the_other_shape() -> None:
    request = tei.RERANK.decode({"query": "q", "documents": ["a", "b"], "model": "public"})
    assert ranked(request)["results"][0]["document"] == {"text": "b"}


def ranked(request: Any) -> Any:
    encoder = tei.RERANK.encoder(request, new_call())
    encoder.fold([Ranking([Ranked(1, 0.5)])])
    return json.loads(encoder.answer())


@pytest.mark.parametrize(
    ("inbound", "body", "param"),
    [
        (tei.EMBED, {}, "inputs"),
        (tei.EMBED, {"inputs": ""}, "inputs"),
        (tei.EMBED, {"inputs": ["a", ""]}, "inputs[1]"),
        (tei.EMBED, {"inputs": "a", "truncate": "yes"}, "truncate"),
        (tei.EMBED, {"inputs": "a", "truncation_direction": "up"}, "truncation_direction"),
        (tei.RERANK, {"query": "q"}, "texts"),
        (tei.RERANK, {"texts": ["a"]}, "query"),
        (tei.RERANK, {"query": "q", "texts": []}, "texts"),
        (tei.RERANK, {"query": "q", "documents": []}, "documents"),
    ],
)
def test_what_is_refused(inbound: Any, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inbound.decode(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("`inputs` must not be empty."), "Empty"),
        (InvalidRequest("`x` is wrong."), "Validation"),
        (ModelLoading("soon"), "Unhealthy"),
        (UpstreamRateLimited("full"), "Overloaded"),
        (InternalError("bug"), "Backend"),
    ],
)
def test_errors(error: PenstockError, kind: str) -> None:
    for inbound in (tei.EMBED, tei.RERANK):
        body = json.loads(inbound.error_body(error, "req_1"))
        assert (body["error"], body["error_type"]) == (error.message, kind)


def test_another_kind_of_answer_is_refused() -> None:
    for inbound, body in ((tei.EMBED, {"inputs": "a"}), (tei.RERANK, {"query": "q", "texts": ["a"]})):
        encoder = inbound.encoder(inbound.decode(body), new_call())
        with pytest.raises(UpstreamInvalid):
            encoder.answer()
