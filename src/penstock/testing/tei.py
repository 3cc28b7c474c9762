"""A double of Hugging Face text-embeddings-inference 1.9, from its docs/openapi.json.

    async with TEIDouble() as up:
        ...  # POST {up.url}/embed, /rerank, /predict, /v1/embeddings; GET /info, /health

One server has one model in reality; this one has all sorts. It refuses what the real one refuses: more inputs
than a batch holds, an input too long unless it may be cut, wrong types.
"""

from typing import Any, Final

from penstock.testing.brain import words
from penstock.testing.cohere import likeness, vector
from penstock.testing.double import Answer, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused, Vendor

MAX_BATCH: Final = 32
MAX_TOKENS: Final = 512
SIZE: Final = 8
_LENGTH: Final = 3.0  # of a vector that is not made of length one
_PAIR: Final = 2


class TEIDouble(Vendor):
    base = ""

    def key_of(self, request: Recorded) -> str | None:
        """It needs none unless started with one."""
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def error(self, status: int, message: str) -> Answer:
        kind = {422: "Validation", 413: "Validation", 429: "Overloaded"}.get(status, "Backend")
        return Answer({"error": message, "error_type": kind}, status=status)

    def respond(self, request: Recorded) -> Answer:
        match request.method, request.path:
            case "GET", "/health":
                return Answer({})
            case "GET", "/info":
                return Answer({"model_id": "test", "max_client_batch_size": MAX_BATCH, "version": "1.9.3"})
        body = request.body
        if request.method != "POST" or not isinstance(body, dict):
            raise Refused("Failed to parse the request body as JSON", 422)
        match request.path:
            case "/embed":
                return self._embed(body)
            case "/v1/embeddings":
                return self._embeddings(body)
            case "/rerank":
                return self._rerank(body)
            case "/predict":
                return self._predict(body)
            case _:
                raise Refused("not found", 404)

    def _embed(self, body: Json) -> Answer:
        texts = _texts(body.get("inputs"), "inputs", truncate=_flag(body, "truncate"))
        long = 1.0 if _flag(body, "normalize", default=True) else _LENGTH
        size = body.get("dimensions") or SIZE
        return Answer([[number * long for number in vector(text, size)] for text in texts])

    def _embeddings(self, body: Json) -> Answer:
        texts = _texts(body.get("input"), "input", truncate=False)
        if body.get("encoding_format", "float") not in {"float", "base64"}:
            raise Refused("Failed to deserialize: encoding_format", 422)
        made = [vector(text, body.get("dimensions") or SIZE) for text in texts]
        tokens = sum(len(words(text)) for text in texts)
        return Answer(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(made)
                ],
                "model": "test",
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _rerank(self, body: Json) -> Answer:
        texts = _texts(body.get("texts"), "texts", truncate=_flag(body, "truncate"))
        query = body.get("query")
        if not isinstance(query, str):
            raise Refused("Failed to deserialize: missing field `query`", 422)
        scores = [likeness(query, text) for text in texts]
        if _flag(body, "raw_scores"):
            scores = [10 * score - 5 for score in scores]
        ranked = sorted(enumerate(scores), key=lambda row: -row[1])
        return Answer([{"index": at, "score": score} for at, score in ranked])

    def _predict(self, body: Json) -> Answer:
        given = body.get("inputs")
        is_one = isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], str))
        rows: Any = [given] if is_one else given
        if not isinstance(rows, list) or not rows:
            raise Refused("`inputs` cannot be empty", 422)
        if len(rows) > MAX_BATCH:
            raise Refused(f"batch size {len(rows)} > maximum allowed batch size {MAX_BATCH}", 422)
        labels = [_labels(row) for row in rows]
        return Answer(labels[0] if is_one else labels)


def _labels(row: Any) -> list[Json]:
    texts = [row] if isinstance(row, str) else row
    if (
        not isinstance(texts, list)
        or not 1 <= len(texts) <= _PAIR
        or not all(isinstance(t, str) for t in texts)
    ):
        raise Refused("`inputs` must be a string or a pair of strings", 422)
    share = likeness("good", " ".join(texts))
    made = [
        {"score": 0.1 + 0.8 * share, "label": "positive"},
        {"score": 0.9 - 0.8 * share, "label": "negative"},
    ]
    return sorted(made, key=lambda one: -float(str(one["score"])))


def _texts(given: Any, name: str, *, truncate: bool) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(f"Failed to deserialize the JSON body: {name}", 422)
    if not texts or not all(texts):
        raise Refused(f"`{name}` cannot be empty", 422)
    if len(texts) > MAX_BATCH:
        raise Refused(f"batch size {len(texts)} > maximum allowed batch size {MAX_BATCH}", 422)
    longest = max(len(words(text)) for text in texts)
    if longest > MAX_TOKENS and not truncate:
        raise Refused(f"`inputs` must have less than {MAX_TOKENS} tokens. Given: {longest}", 413)
    return texts


def _flag(body: Json, name: str, *, default: bool = False) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise Refused(f"Failed to deserialize the JSON body: {name}: expected a boolean", 422)
    return value


def main(arguments: list[str] | None = None) -> None:
    by_hand(TEIDouble, parser("tei", "A double of text-embeddings-inference."), arguments)


if __name__ == "__main__":
    main()
