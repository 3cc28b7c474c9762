"""A double of Cohere's API: embeddings and ranking of version 2, and chat through its compatibility door.

    async with CohereDouble() as up:
        cohere.AsyncClientV2(base_url=up.url, api_key="k").embed(...)

Written from the vendor's API reference and the types of its SDK 7. Vectors and scores are made from the
letters, so equal texts are equal; texts share a score as they share words.
"""

from dataclasses import replace
from typing import Any, Final

from penstock.testing.brain import words
from penstock.testing.chat import ChatDouble
from penstock.testing.double import Answer, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused

COMPATIBILITY: Final = "/compatibility/v1"
MAX_TEXTS: Final = 96
SIZE: Final = 16
_TYPES: Final = frozenset(["search_document", "search_query", "classification", "clustering", "image"])
_TRUNCATE: Final = frozenset(["NONE", "START", "END"])
_SIZES: Final = frozenset([SIZE, 256, 512, 1024, 1536])


class CohereDouble(ChatDouble):
    base = ""

    def respond(self, request: Recorded) -> Answer:
        match request.method, request.path:
            case "POST", "/v2/embed":
                return self._embed(_object(request))
            case "POST", "/v2/rerank":
                return self._rerank(_object(request))
            case _, path if path.startswith(f"{COMPATIBILITY}/"):
                return super().respond(replace(request, path=path.removeprefix(COMPATIBILITY)))
            case _:
                raise Refused("404 page not found", 404)

    def refuse(self, exc: Refused) -> Answer:
        return Answer({"id": self.new_id(""), "message": exc.message}, status=exc.status)

    def _embed(self, body: Json) -> Answer:
        texts = body.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refused("invalid type: parameter texts must be an array of strings.")
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise Refused(f"invalid request: total number of texts must be at most {MAX_TEXTS}.")
        if body.get("input_type") not in _TYPES:
            raise Refused("invalid request: valid input_type must be provided with the provided model.")
        if body.get("truncate", "END") not in _TRUNCATE:
            raise Refused("invalid request: truncate must be one of NONE, START, END.")
        size = body.get("output_dimension", SIZE)
        if size not in _SIZES:
            raise Refused("invalid request: output_dimension is not supported by this model.")
        kinds = body.get("embedding_types") or ["float"]
        if kinds != ["float"]:
            raise Refused("this double embeds floats only")
        tokens = sum(len(words(text)) for text in texts)
        return Answer(
            {
                "id": self.new_id(""),
                "texts": texts,
                "embeddings": {"float": [vector(text, size) for text in texts]},
                "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
                "response_type": "embeddings_by_type",
            }
        )

    def _rerank(self, body: Json) -> Answer:
        query, documents, top_n = body.get("query"), body.get("documents"), body.get("top_n")
        if not isinstance(query, str) or not query:
            raise Refused("invalid request: query must not be empty.")
        if not isinstance(documents, list) or not all(isinstance(one, str) for one in documents):
            raise Refused("invalid type: parameter documents must be an array of strings.")
        if top_n is not None and (type(top_n) is not int or top_n < 1):
            raise Refused("invalid request: top_n must be greater than 0.")
        ranked = sorted(enumerate(likeness(query, text) for text in documents), key=lambda row: -row[1])
        return Answer(
            {
                "id": self.new_id(""),
                "results": [{"index": at, "relevance_score": score} for at, score in ranked[:top_n]],
                "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
            }
        )


def vector(text: str, size: int) -> list[float]:
    """Of length one; another for another text."""
    raw = [(sum(map(ord, text)) * (at + 3) + len(text) * at * at) % 97 - 48.5 for at in range(size)]
    length = sum(number * number for number in raw) ** 0.5
    return [number / length for number in raw]


def likeness(query: str, text: str) -> float:
    """The share of the query's words that the text has, 0 to 1."""
    wanted = {word.strip().lower() for word in words(query)} - {""}
    found = {word.strip().lower() for word in words(text)}
    return round(len(wanted & found) / max(len(wanted), 1), 6)


def _object(request: Recorded) -> dict[str, Any]:
    body = request.body
    if not isinstance(body, dict):
        raise Refused("invalid json syntax")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refused("invalid request: model is required.")
    return body


def main(arguments: list[str] | None = None) -> None:
    by_hand(CohereDouble, parser("cohere", "A double of Cohere's API."), arguments)


if __name__ == "__main__":
    main()
