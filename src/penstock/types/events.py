"""What flows from an upstream towards the client while a call runs.

A provider codec turns the upstream's bytes into deltas, the pipeline pushes them in batches (everything one
read brought), an inbound protocol's encoder turns them into the client's bytes.

    the target speaks the client's dialect     Chunk*, or one Answer: the vendor's own objects, with every
                                               field it sent, known or not (architecture.md section 4)
    it does not                                Events*: typed events, the same for all dialects
    embedding, rerank, ...                     Vectors, Ranking, Labels, Counted

An encoder may change the body of a Chunk or Answer in place: whoever keeps a delta (a cache, a follower of
the same call) keeps a copy.

The typed events of one answer, in order (`choice` 0 unless the client asked for several):

    Started?
    ( Text | Reasoning* ReasoningEnd? | ToolStart ToolDelta* ToolEnd | RefusalText | Citation | Image )*
    Finish
    UsageReport anywhere; it is cumulative: the last one counts, never a sum

- A reasoning block is the run of Reasoning events up to ReasoningEnd, which carries its signature, or up to
  an event of another sort. A ReasoningEnd that ends nothing is a block without text (redacted, or not
  displayed).
- Tool calls of one choice may overlap: `index` (0, 1, ... per choice, in order of appearance) tells them
  apart. Arguments together are JSON text; a call without arguments has the one delta `{}`. Every ToolStart
  has its ToolEnd, but for calls that were not whole when the answer was cut (CUTS).
- After a Finish nothing more of its choice comes. A stream without Finish was cut: the codec says so by
  `is_complete`; no finish is ever made up.
"""

from typing import Any, Literal

import msgspec

from penstock.types.usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
CUTS: frozenset[FinishReason] = frozenset({"length", "content_filter"})  # an answer may end anywhere


class Started(msgspec.Struct):
    """The upstream's own id and model name, where it gives any."""

    id: str = ""
    model: str = ""


class Text(msgspec.Struct):
    text: str
    choice: int = 0
    logprobs: dict[str, Any] | None = None  # OpenAI's {"content": [...]} for this piece


class Reasoning(msgspec.Struct):
    text: str
    choice: int = 0


class ReasoningEnd(msgspec.Struct):
    """The end of a reasoning block, and what its issuer needs to see again (types/conversation.py)."""

    signature: str | None = None
    redacted: str | None = None
    issuer: str = ""
    id: str | None = None
    choice: int = 0


class ToolStart(msgspec.Struct):
    index: int
    id: str
    name: str
    kind: Literal["function", "custom"] = "function"
    signature: str | None = None  # Gemini's thought signature
    choice: int = 0


class ToolDelta(msgspec.Struct):
    index: int
    arguments: str  # a piece of the JSON text
    choice: int = 0


class ToolEnd(msgspec.Struct):
    index: int
    choice: int = 0


class RefusalText(msgspec.Struct):
    text: str
    choice: int = 0


class Citation(msgspec.Struct):
    """A source of what was said just before. `start` and `end` are characters of the choice's text."""

    url: str = ""
    title: str = ""
    cited_text: str = ""
    start: int | None = None
    end: int | None = None
    choice: int = 0
    native: dict[str, Any] | None = None  # as the upstream wrote it


class Image(msgspec.Struct):
    media_type: str
    data: str  # base64
    choice: int = 0


class UsageReport(msgspec.Struct):
    usage: Usage


class Finish(msgspec.Struct):
    """`native`: the upstream's own word for it; `stop_sequence`: the one that was met, where it says so."""

    reason: FinishReason
    choice: int = 0
    native: str = ""
    stop_sequence: str | None = None


Event = (
    Started
    | Text
    | Reasoning
    | ReasoningEnd
    | ToolStart
    | ToolDelta
    | ToolEnd
    | RefusalText
    | Citation
    | Image
    | UsageReport
    | Finish
)


class Events(msgspec.Struct):
    """The typed events of one upstream event, or of a whole answer."""

    events: list[Event]
    usage: Usage | None = None  # what the last UsageReport among them says
    has_content: bool = False  # as in Chunk


class Chunk(msgspec.Struct):
    """One streamed event in the client's own dialect, decoded.

    The codec has checked what an encoder builds on. OpenAI: `body["choices"]` exists (it may be empty: the
    usage chunk); choices and deltas are objects, indexes are numbers, texts are text, tool calls have
    OpenAI's shape; a finish_reason is one of OpenAI's.
    """

    body: dict[str, Any]
    usage: Usage | None = None
    has_content: bool = False  # text, reasoning, refusal or tool-call bytes: what TTFT waits for


class Answer(msgspec.Struct):
    """A whole answer in the client's own dialect, as the upstream gave it."""

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


class Label(msgspec.Struct):
    label: str
    score: float


class Labels(msgspec.Struct):
    """What a classifier makes of each input, in input order; the likeliest label first."""

    labels: list[list[Label]]
    usage: Usage | None = None


class Counted(msgspec.Struct):
    """How many tokens a prompt is: by the served model's own tokenizer, or estimated from its length."""

    tokens: int
    is_estimated: bool = False
    usage: Usage | None = None  # nothing is consumed


Delta = Chunk | Answer | Events | Vectors | Ranking | Labels | Counted
