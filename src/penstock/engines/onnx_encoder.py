"""An embedding or reranking model in this process: tokenizer + ONNX session, without any HTTP.

    load(folder, threads)            -> Encoder, ready; raises UnsupportedModel / SelfTestFailed
    encoder.embed(inputs, ...)       steps -> Embedded(vectors [n, dimensions] float32, tokens)
    encoder.rerank(query, documents) steps -> Ranked(scores, tokens)

`embed` and `rerank` are generators: they yield each batch they need run, are sent its values, and return
their result. So the caller can take turns between requests, run the batches of several as one, and drop a
request whose client has gone; `run_to_end` is the plain way. A batch holds at most `BATCH_TOKENS` tokens with
padding; inputs are sorted by length first, so there is little of it.

An input of more than `max_input_tokens` tokens is refused with ContextLengthExceeded unless `truncate` is
asked for: silent truncation makes two long texts with the same beginning the same vector.
"""

import dataclasses
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from penstock.engines.onnx_graph import EncoderSpec, UnsupportedModel, build_graph
from penstock.types.errors import ContextLengthExceeded, InvalidRequest

Floats = NDArray[np.float32]
Input = str | list[int]  # a text, or token ids
T = TypeVar("T")

# all-MiniLM-L6-v2, one EPYC core, texts of 250 tokens: 512 to 1024 tokens per batch give 34 texts/s in
# 234 MB of memory, 4096 give 30 in 356 MB (the arena keeps its peak). Small batches also make short turns.
BATCH_TOKENS: Final = 1024
# Attention scores of one batch are heads x batch x sequence^2 float32; long inputs go alone.
BATCH_SCORES: Final = 1 << 26
# Those scores grow with the square: an input of 8192 tokens in 16 heads takes 4.3 GB for a moment.
DEFAULT_INPUT_TOKENS: Final = 2048
LONG_REQUEST: Final = 64  # inputs
# Batches of several requests are joined while padding is at most half of the real tokens: a run has a price
# of its own (the same model and core: a short text takes 4.6 ms alone and 3.1 ms among 32).
SHARED_PADDING: Final = 1.5
GOLDEN_TOLERANCE: Final = 1e-3


class SelfTestFailed(RuntimeError):
    """The loaded model does not reproduce the scores in its golden.json."""


@dataclass(frozen=True)
class Tokens:
    """One input as the model sees it, special tokens included."""

    ids: Sequence[int]
    types: Sequence[int]


@dataclass(frozen=True)
class Batch:
    """Inputs to run through `encoder`; `Encoder.run` gives the values to send back."""

    encoder: "Encoder"
    tokens: Sequence[Tokens]


Steps = Generator[Batch | None, Floats | None, T]  # None: others may go first; nothing is sent back


@dataclass(frozen=True)
class Embedded:
    vectors: Floats  # [inputs, dimensions]
    prompt_tokens: int


@dataclass(frozen=True)
class Ranked:
    """scores[i] belongs to documents[i]: a raw logit (cross-encoder) or a cosine in -1..1 (encoder)."""

    scores: Floats
    prompt_tokens: int


class Encoder:
    """Not thread-safe: one thread owns it (the tokenizer's truncation is a setting, not an argument)."""

    def __init__(self, spec: EncoderSpec, session: ort.InferenceSession, tokenizer: Tokenizer) -> None:
        self.spec = spec
        self._session = session
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._special = tokenizer.encode("").ids

    @property
    def max_input_tokens(self) -> int:
        return self.spec.max_input_tokens

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        dimensions: int | None = None,
        truncate: bool = False,
        normalize: bool = True,
        param: str = "input",
    ) -> Steps[Embedded]:
        """Texts or token arrays to vectors. `dimensions` keeps the first components and renormalises."""
        if self.spec.kind != "encoder":
            raise InvalidRequest("this model is a cross-encoder: it scores pairs and gives no embeddings")
        if dimensions is not None and not 1 <= dimensions <= self.spec.hidden:
            raise InvalidRequest(f"dimensions must be 1 to {self.spec.hidden}", param="dimensions")
        tokens = self._tokenize(inputs, param, truncate=truncate)
        vectors = yield from self._batches(tokens)
        vectors = vectors[:, :dimensions]
        if normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return Embedded(vectors, sum(len(item.ids) for item in tokens))

    def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Steps[Ranked]:
        """How well each document answers the query: joint score (cross-encoder) or cosine (encoder)."""
        if self.spec.kind == "encoder":
            asked = yield from self.embed([query], truncate=truncate, param="query")
            found = yield from self.embed(documents, truncate=truncate, param="documents")
            return Ranked(found.vectors @ asked.vectors[0], asked.prompt_tokens + found.prompt_tokens)
        tokens = self._tokenize_pairs(query, documents, truncate=truncate)
        scores = yield from self._batches(tokens)
        return Ranked(scores, sum(len(item.ids) for item in tokens))

    def self_test(self, golden: Path) -> None:
        """golden.json: [{"query":, "document":, "score": raw logit}, ...]; another runtime's numbers."""
        for number, row in enumerate(json.loads(golden.read_text("utf-8"))):
            (score,) = run_to_end(self.rerank(row["query"], [row["document"]])).scores
            if abs(float(score) - row["score"]) > GOLDEN_TOLERANCE:
                raise SelfTestFailed(
                    f"golden.json row {number}: this model scores {score:.4f}, expected {row['score']:.4f}"
                )

    def _tokenize(self, inputs: Sequence[Input], param: str, *, truncate: bool) -> list[Tokens]:
        self._set_truncation(truncate)
        texts = [item for item in inputs if isinstance(item, str)]
        encodings = iter(self._tokenizer.encode_batch(texts) if texts else [])
        tokens = []
        for index, item in enumerate(inputs):
            where = "query" if param == "query" else f"{param}[{index}]"
            if not item:
                raise InvalidRequest(f"{where} must not be empty", param=where)
            if isinstance(item, list):
                found = self._wrap(item, where, truncate=truncate)
            else:
                encoding = next(encodings)
                found = Tokens(encoding.ids, encoding.type_ids)
            self._check_length(len(found.ids), where)
            tokens.append(found)
        return tokens

    def _tokenize_pairs(self, query: str, documents: Sequence[str], *, truncate: bool) -> list[Tokens]:
        self._set_truncation(truncate)
        if not query:
            raise InvalidRequest("query must not be empty", param="query")
        tokens = []
        for index, encoding in enumerate(self._tokenizer.encode_batch([(query, text) for text in documents])):
            where = f"documents[{index}]"
            if not documents[index]:
                raise InvalidRequest(f"{where} must not be empty", param=where)
            self._check_length(len(encoding.ids), where)
            tokens.append(Tokens(encoding.ids, encoding.type_ids))
        return tokens

    def _set_truncation(self, truncate: bool) -> None:
        if truncate:
            self._tokenizer.enable_truncation(self.max_input_tokens, strategy="longest_first")
        else:
            self._tokenizer.no_truncation()

    def _wrap(self, ids: Sequence[int], where: str, *, truncate: bool) -> Tokens:
        """Token ids as they are, between the special tokens unless they are there already."""
        for position, token in enumerate(ids):
            if not 0 <= token < self.spec.vocabulary:
                raise InvalidRequest(
                    f"{where}[{position}]: token id {token} is outside this model's vocabulary of "
                    f"{self.spec.vocabulary}",
                    param=where,
                )
        first, last = self._special[0], self._special[-1]
        start = 1 if ids[0] == first else 0
        end = len(ids) - 1 if len(ids) > start and ids[-1] == last else len(ids)
        middle = list(ids[start:end])
        if truncate:
            middle = middle[: self.max_input_tokens - 2]
        wrapped = [first, *middle, last]
        return Tokens(wrapped, [0] * len(wrapped))

    def _check_length(self, count: int, where: str) -> None:
        if count > self.max_input_tokens:
            raise ContextLengthExceeded(
                f"{where} has {count} tokens, this model reads at most {self.max_input_tokens}; "
                "shorten it or set truncate: true",
                param=where,
            )

    def run(self, tokens: Sequence[Tokens]) -> Floats:
        """One run of the model: [inputs, hidden] or, a cross-encoder's, [inputs]."""
        (values,) = self._session.run(None, self._feed(tokens))
        return cast(Floats, values)

    def may_share(self, tokens: Sequence[Tokens]) -> bool:
        """Whether inputs of several requests are a batch that is cheaper than theirs."""
        lengths = [len(item.ids) for item in tokens]
        longest = max(lengths)
        return len(lengths) <= _most(longest, self.spec.heads) and len(lengths) * longest <= (
            SHARED_PADDING * sum(lengths)
        )

    def _batches(self, tokens: Sequence[Tokens]) -> Steps[Floats]:
        """-> [inputs, hidden] or [inputs], in the order of `tokens`."""
        width = (self.spec.hidden,) if self.spec.kind == "encoder" else ()
        results = np.empty((len(tokens), *width), np.float32)
        if len(tokens) > LONG_REQUEST:
            yield None  # tokenizing so much was a turn of its own
        for batch in plan_batches([len(item.ids) for item in tokens], self.spec.heads):
            results[batch] = yield Batch(self, [tokens[index] for index in batch])
        return results

    def _feed(self, batch: Sequence[Tokens]) -> dict[str, NDArray[np.int64]]:
        shape = (len(batch), max(len(item.ids) for item in batch))
        ids, types, mask = (np.zeros(shape, np.int64) for _ in range(3))
        for row, item in enumerate(batch):
            ids[row, : len(item.ids)] = item.ids
            if self.spec.token_types > 1:
                types[row, : len(item.types)] = item.types
            mask[row, : len(item.ids)] = 1
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def load(folder: Path, *, threads: int, max_input_tokens: int = 0) -> Encoder:
    """Builds the graph, opens the session, runs one text through it and the golden pairs if there are any.

    max_input_tokens: 0 takes the model's own limit, but at most DEFAULT_INPUT_TOKENS.
    """
    graph = build_graph(folder)
    limit = min(graph.spec.max_input_tokens, max_input_tokens or DEFAULT_INPUT_TOKENS)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning pool takes the whole core from its neighbours (engines.md section 2c).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = list(graph.weights)
    # ONNX Runtime keeps no reference: the values must outlive the constructor, not the session.
    values = [ort.OrtValue.ortvalue_from_numpy(graph.weights[name]) for name in names]
    options.add_external_initializers(names, values)
    session = ort.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
    spec = dataclasses.replace(graph.spec, max_input_tokens=limit)
    encoder = Encoder(spec, session, _tokenizer(folder))
    _warm_up(encoder, folder)
    return encoder


def run_to_end(steps: Steps[T]) -> T:
    """Runs all the batches, one after the other, and returns the result."""
    values: Floats | None = None
    while True:
        try:
            batch = steps.send(values)
        except StopIteration as done:
            return cast(T, done.value)
        values = None if batch is None else batch.encoder.run(batch.tokens)


def plan_batches(lengths: Sequence[int], heads: int) -> list[list[int]]:
    """Indices grouped by similar length, longest first, each group within the two budgets."""
    batches: list[list[int]] = []
    limit = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not batches or len(batches[-1]) >= limit:
            limit = _most(lengths[index], heads)
            batches.append([])
        batches[-1].append(index)
    return batches


def _most(longest: int, heads: int) -> int:
    """How many inputs a batch may hold when the longest has so many tokens."""
    longest = max(1, longest)
    return max(1, min(BATCH_TOKENS // longest, BATCH_SCORES // (heads * longest * longest)))


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UnsupportedModel("tokenizer.json is missing from the model folder")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises bare Exception
        raise UnsupportedModel(f"tokenizer.json is not readable: {exc}") from exc


def _warm_up(encoder: Encoder, folder: Path) -> None:
    run_to_end(encoder.rerank("ready", ["ready"]))
    if encoder.spec.kind == "cross-encoder" and (folder / "golden.json").exists():
        encoder.self_test(folder / "golden.json")
