"""Several small requests as one, and its answer as several. Pure.

             may be one when they agree in                            merged      each gets
-----------  -------------------------------------------------------  ----------  ---------------------------
embedding    dimensions, truncate, normalize, purpose, user, extra    inputs      its vectors
rerank       query, raw_scores, truncate, extra                       documents   the ranking of its documents

Token ids are not merged, nor is a rerank whose score of one document depends on the others: models that read
the whole list at once are rare, and their deployments are left alone unless their owner says otherwise.

The tokens of the merged answer are divided in proportion to the bytes of the texts. The shares add up to the
whole; each is an estimate, as an answer tells one sum.
"""

from collections.abc import Hashable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Delta, Ranked, Ranking, Vectors
from penstock.types.requests import EmbeddingRequest, Request, RerankRequest
from penstock.types.usage import Usage

Small = EmbeddingRequest | RerankRequest

BYTES_PER_TOKEN = 4

_encode = msgspec.json.Encoder(order="sorted").encode


class Size(NamedTuple):
    texts: int
    bytes: int

    @property
    def tokens(self) -> int:
        """An estimate."""
        return -(-self.bytes // BYTES_PER_TOKEN)


def likeness(request: Request) -> Hashable | None:
    """Requests with equal ones may be one; None: this one is sent as it came."""
    match request:
        case EmbeddingRequest(inputs=[str(), *_]):
            extra = _frozen(request)
            said = (request.dimensions, request.truncate, request.normalize, request.purpose, request.user)
            return None if extra is None else ("embedding", extra, *said)
        case RerankRequest(documents=[_, *_]):
            extra = _frozen(request)
            asked = (request.query, request.raw_scores, request.truncate)
            return None if extra is None else ("rerank", extra, *asked)
    return None


def size(request: Small) -> Size:
    """Of what the upstream reads: a query is read beside each document."""
    if isinstance(request, RerankRequest):
        count = len(request.documents)
        return Size(count, count * _bytes(request.query) + sum(map(_bytes, request.documents)))
    return Size(len(request.inputs), sum(_bytes(text) for text in request.inputs if isinstance(text, str)))


def merge(requests: Sequence[Small]) -> Small:
    """One request for all of them, which are alike (`likeness`)."""
    first = requests[0]
    if isinstance(first, RerankRequest):
        documents = [text for one in requests if isinstance(one, RerankRequest) for text in one.documents]
        return msgspec.structs.replace(first, documents=documents, top_n=None)
    inputs = [text for one in requests if isinstance(one, EmbeddingRequest) for text in one.inputs]
    return msgspec.structs.replace(first, inputs=inputs)


def split(requests: Sequence[Small], answer: Delta) -> list[Vectors | Ranking]:
    """What each of `requests` would have been answered; undoes `merge`. Raises UpstreamInvalid."""
    sizes = [size(one) for one in requests]
    usages = shares(answer.usage, [one.bytes for one in sizes])
    bounds = [0, *accumulate(one.texts for one in sizes)]
    if isinstance(answer, Vectors) and len(answer.vectors) == bounds[-1]:
        return [
            Vectors(answer.vectors[begin:end], usage)
            for (begin, end), usage in zip(pairwise(bounds), usages, strict=True)
        ]
    if isinstance(answer, Ranking) and len(answer.results) == bounds[-1]:
        owners = [number for number, one in enumerate(sizes) for _ in range(one.texts)]
        rows: list[list[Ranked]] = [[] for _ in requests]
        for row in answer.results:  # by falling score, and so is each part
            owner = owners[row.index]
            rows[owner].append(Ranked(row.index - bounds[owner], row.score))
        tops = [one.top_n if isinstance(one, RerankRequest) else None for one in requests]
        return [Ranking(own[:top_n], usage) for own, top_n, usage in zip(rows, tops, usages, strict=True)]
    raise UpstreamInvalid("The upstream's answer is not to what it was asked.")


def shares(usage: Usage | None, weights: Sequence[int]) -> list[Usage | None]:
    """`usage` divided; what is rounded off one share is in the next, so that they add up to the whole."""
    if usage is None:
        return [None] * len(weights)
    sums = [0, *accumulate(max(1, weight) for weight in weights)]
    prompts, completions, units = (
        [total * one // sums[-1] for one in sums]
        for total in (usage.prompt_tokens, usage.completion_tokens, usage.search_units)
    )
    return [
        Usage(
            prompts[at + 1] - prompts[at],
            completions[at + 1] - completions[at],
            is_estimated=True,
            search_units=units[at + 1] - units[at],
        )
        for at in range(len(weights))
    ]


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _frozen(request: Small) -> bytes | None:
    """The other fields, comparable; None: they cannot be written, which its own walk will say."""
    if not request.extra:
        return b""
    try:
        return _encode(request.extra)
    except (OverflowError, UnicodeEncodeError):
        return None
