"""The real all-MiniLM-L6-v2 against the numpy reference: exactness is the reason to have this engine.

Fetched once, 83 MB, through the real resolver, into PENSTOCK_TEST_CACHE or the user's cache.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from bert_reference import Reference

from penstock.engines.onnx_encoder import Encoder, load, run_to_end
from penstock.models import ResolvedModel, Store, parse_source, resolve
from penstock.models.store import sha256_of
from penstock.types.errors import UpstreamError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "How do I reset my password?",
    "I forgot my login and need to recover my account.",
    "The penstock is the gate and the pipe that lead water to the turbine of a power station.",
    "Ünïcödé, emoji \U0001f600 and 中文 in one line; numbers 3.14159 too!",
    "x",
    "one two three four five six seven eight nine ten " * 6,
]


@pytest.fixture(scope="module")
def builtin() -> ResolvedModel:
    cache = os.environ.get("PENSTOCK_TEST_CACHE")
    store = Store(Path(cache) / "models") if cache else Store()
    try:
        return resolve(parse_source("builtin:embedding"), store=store)
    except UpstreamError as exc:
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL"):
            raise
        pytest.skip(f"needs a package index or a model hub: {exc.message}")


@pytest.fixture(scope="module")
def minilm(builtin: ResolvedModel) -> Encoder:
    return load(builtin.path, threads=1)


def test_the_weights_are_the_pinned_ones(builtin: ResolvedModel) -> None:
    expected = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert sha256_of(builtin.path / "model.safetensors") == expected
    assert builtin.note.startswith("from ")


def test_it_is_what_its_card_says(minilm: Encoder) -> None:
    assert (minilm.spec.kind, minilm.spec.hidden, minilm.max_input_tokens) == ("encoder", 384, 256)
    assert minilm.spec.pooling == "mean"


def test_vectors_equal_the_reference(minilm: Encoder, builtin: ResolvedModel) -> None:
    reference = Reference(builtin.path)
    expected = np.stack([reference.hidden(text).mean(axis=0) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = run_to_end(minilm.embed(TEXTS)).vectors
    cosines = (vectors * expected).sum(axis=1)
    assert cosines.min() > 0.99999
    np.testing.assert_allclose(vectors, expected, atol=2e-6)


def test_known_similarities(minilm: Encoder) -> None:
    """.755 and .705 are what sentence-transformers gives for the first two pairs of this sort."""
    vectors = run_to_end(minilm.embed(TEXTS[:4])).vectors
    cosines = vectors @ vectors.T
    assert abs(cosines[0, 1] - 0.755) < 0.002
    assert cosines[2, 3] > 0.5
    assert abs(cosines[0, 2]) < 0.1


def test_rerank_by_cosine_finds_the_answer(minilm: Encoder) -> None:
    documents = [
        "The weather is fine today.",
        "Use the reset link to choose a new password.",
        "Bread is food.",
    ]
    scores = run_to_end(minilm.rerank("How do I reset my password?", documents)).scores
    assert int(np.argmax(scores)) == 1
