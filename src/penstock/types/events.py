"""What flows from an upstream towards the client while a call runs.

A provider codec turns the upstream's bytes into deltas, the pipeline pushes them in batches (everything one
read brought), an inbound protocol's encoder turns them into the client's bytes. Chat and text completions
flow in the OpenAI shape, the short way of architecture.md section 4: `body` is the decoded object with every
field the upstream sent, known or not, and the encoder adds what the schema requires. It does so in place:
whoever keeps a delta (a cache, a follower of the same call) keeps a copy.

    chat, completion (streamed)   Chunk*            one Chunk per upstream event
    chat, completion (whole)      Answer            the non-streamed answer
    embedding                     Vectors
    rerank                        Ranking
"""

from typing import Any

import msgspec

from penstock.types.usage import Usage


class Chunk(msgspec.Struct):
    """One streamed event. `body["choices"]` exists (it may be empty: the usage chunk of OpenAI).

    The codec has checked what an encoder builds on: choices and deltas are objects, indexes are numbers,
    texts are text, tool calls have OpenAI's shape; a finish_reason is one of OpenAI's.
    """

    body: dict[str, Any]
    usage: Usage | None = None
    has_content: bool = False  # text, reasoning, refusal or tool-call bytes: what TTFT waits for


class Answer(msgspec.Struct):
    """A whole chat or text completion, as the upstream gave it."""

    body: dict[str, Any]
    usage: Usage | None = None


class Vectors(msgspec.Struct):
    """Embeddings in input order: little-endian float32 bytes, or floats as the upstream wrote them."""

    vectors: list[bytes | list[float]]
    usage: Usage | None = None


class Ranked(msgspec.Struct):
    index: int  # into the request's documents
    score: float


class Ranking(msgspec.Struct):
    """Documents by falling score; ties keep the order of the request. `top_n` is already applied."""

    results: list[Ranked]
    usage: Usage | None = None


Delta = Chunk | Answer | Vectors | Ranking
