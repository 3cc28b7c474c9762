"""POST /v1/rerank (Jina and Cohere v1) and POST /v2/rerank (Cohere v2).

    path         documents                      return_documents   answer
    /v1/rerank   texts, or objects with the     default true       id, model, object, usage (Jina) and meta
                 `rank_fields` ({text} alone)                        (Cohere); results[].document is an object
    /v2/rerank   texts                          never              id, results, meta

Decisions:
- Jina's and Cohere's v1 share a path and nearly a shape, so /v1/rerank answers with the keys of both. Their
  defaults for `return_documents` differ (Jina true, Cohere false); true serves both: Cohere's SDK takes
  a missing and a present document alike and Jina's clients read it.
- A text document comes back as {"text": ...}, an object as it was sent (Cohere v1 preserves other fields).
- Several rank_fields of one document are joined by line breaks, in the order of `rank_fields`.
- A search unit is one query with up to 100 documents: https://docs.cohere.com/docs/how-does-cohere-pricing-work
- An error carries Cohere's `message` beside OpenAI's `error` object.
"""

from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta, Struct

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker
from penstock.protocols.openai_embeddings import WholeEncoder
from penstock.protocols.openai_schema import drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UpstreamInvalid
from penstock.types.events import Ranked, Ranking
from penstock.types.requests import Operation, Request, RerankRequest
from penstock.types.wire import Encoder, Plain

DOCUMENTS_PER_SEARCH_UNIT = 100

_encode = msgspec.json.Encoder().encode

Text = Annotated[str, Meta(min_length=1)]


class BodyV1(Struct):
    query: Text
    documents: Annotated[list[str | dict[str, Any]], Meta(min_length=1)]
    model: str = ""
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool = True
    rank_fields: Annotated[list[str], Meta(min_length=1)] | None = None
    raw_scores: bool = False
    truncate: bool = True


class BodyV2(Struct):
    query: Text
    documents: Annotated[list[str], Meta(min_length=1)]
    model: str = ""
    top_n: Annotated[int, Meta(ge=1)] | None = None
    raw_scores: bool = False
    truncate: bool = True
    max_tokens_per_doc: Annotated[int, Meta(ge=1)] | None = None
    priority: Annotated[int, Meta(ge=0, le=999)] | None = None


class Notes(NamedTuple):
    """What the encoder must know of the request beside its typed fields."""

    version: Literal["1", "2"]
    originals: list[Any] | None  # documents to send back; None = none


_check_v1 = Checker(BodyV1)
_check_v2 = Checker(BodyV2)
_OWN_V2 = frozenset(BodyV2.__struct_fields__) - {"max_tokens_per_doc", "priority"}


class RerankV1(Plain):
    operation: Operation = "rerank"

    def decode(self, body: dict[str, Any]) -> RerankRequest:
        drop_nulls(body, {})
        checked = _check_v1.check(body)
        fields = checked.rank_fields or ["text"]
        return RerankRequest(
            checked.model,
            checked.query,
            [_text_of(document, fields, position) for position, document in enumerate(checked.documents)],
            checked.top_n,
            checked.raw_scores,
            checked.truncate,
            {key: value for key, value in body.items() if key not in BodyV1.__struct_fields__},
            Notes("1", checked.documents if checked.return_documents else None),
        )

    def encoder(self, request: Request, call: Call) -> Encoder:
        return RerankEncoder(cast("RerankRequest", request), call)

    def error_body(self, error: PenstockError, call_id: str) -> bytes:
        return _encode({"message": error.message, "id": call_id, "error": openai_errors.error_object(error)})


class RerankV2(RerankV1):
    def decode(self, body: dict[str, Any]) -> RerankRequest:
        drop_nulls(body, {})
        checked = _check_v2.check(body)
        return RerankRequest(
            checked.model,
            checked.query,
            checked.documents,
            checked.top_n,
            checked.raw_scores,
            checked.truncate,
            {key: value for key, value in body.items() if key not in _OWN_V2},
            Notes("2", None),
        )


def _text_of(document: str | dict[str, Any], fields: list[str], position: int) -> str:
    if isinstance(document, str):
        return document
    parts = [document[field] for field in fields if field in document]
    if not parts:
        path = f"documents[{position}].{fields[0]}"
        raise InvalidRequest(f"`{path}` is required.", param=path)
    if not all(isinstance(part, str) for part in parts):
        path = f"documents[{position}]"
        raise InvalidRequest(
            f"`{path}`: the ranked fields ({', '.join(fields)}) must be strings.", param=path
        )
    return "\n".join(parts)


class RerankEncoder(WholeEncoder):
    def __init__(self, request: RerankRequest, call: Call) -> None:
        super().__init__()
        self._request = request
        self._call = call

    def answer(self) -> bytes:
        request, call = self._request, self._call
        notes: Notes = request.inbound
        ranking = self._delta
        if not isinstance(ranking, Ranking):
            raise UpstreamInvalid("The upstream's answer holds no scores.")
        prompt_tokens = ranking.usage.prompt_tokens if ranking.usage else 0
        units = -(-len(request.documents) // DOCUMENTS_PER_SEARCH_UNIT)
        body: dict[str, Any] = {
            "id": call.id,
            "results": [_result(ranked, notes.originals) for ranked in ranking.results],
            "meta": {
                "api_version": {"version": notes.version},
                "billed_units": {"search_units": units},
                "tokens": {"input_tokens": prompt_tokens},
            },
        }
        if notes.version == "1":
            body["object"] = "list"
            body["model"] = call.model or request.model
            body["usage"] = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
        return _encode(body)


def _result(ranked: Ranked, originals: list[Any] | None) -> dict[str, Any]:
    result: dict[str, Any] = {"index": ranked.index, "relevance_score": ranked.score}
    if originals is not None:
        document = originals[ranked.index]
        result["document"] = {"text": document} if isinstance(document, str) else document
    return result


V1 = RerankV1()
V2 = RerankV2()
