"""The graph against an independent numpy implementation of BERT, and the refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert_reference import Reference
from tokenizers import Tokenizer

from penstock.engines.onnx_encoder import BATCH_TOKENS, load, plan_batches, run_to_end
from penstock.engines.onnx_graph import UnsupportedModel, read_spec
from penstock.testing.tiny import Architecture, Pooling, make_cross_encoder, make_encoder
from penstock.types.errors import ContextLengthExceeded, InvalidRequest

TEXTS = [
    "the gate",
    "reset the password of this account",
    "water from the river turned the turbine, and the engine was slow",
    "x",
]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_embeddings_equal_the_reference(tmp_path: Path, architecture: Architecture, pooling: Pooling) -> None:
    folder = make_encoder(tmp_path, architecture=architecture, pooling=pooling)
    reference = Reference(folder)
    pool = {"mean": lambda h: h.mean(axis=0), "cls": lambda h: h[0], "max": lambda h: h.max(axis=0)}[pooling]
    expected = np.stack([pool(reference.hidden(text)) for text in TEXTS])
    vectors = run_to_end(load(folder, threads=1).embed(TEXTS, normalize=False)).vectors
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations_equal_the_reference(tmp_path: Path, activation: str) -> None:
    folder = make_encoder(tmp_path, activation=activation)
    expected = np.stack([Reference(folder).hidden(text).mean(axis=0) for text in TEXTS])
    vectors = run_to_end(load(folder, threads=1).embed(TEXTS, normalize=False)).vectors
    np.testing.assert_allclose(vectors, expected, atol=2e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_cross_encoder_agrees_in_order_and_value(tmp_path: Path, architecture: Architecture) -> None:
    folder = make_cross_encoder(tmp_path, architecture=architecture)
    reference = Reference(folder)
    expected = [reference.score("how to reset", text) for text in TEXTS]
    assert np.ptp(expected) > 0.05, "the tiny model must tell the documents apart"
    scores = run_to_end(load(folder, threads=1).rerank("how to reset", TEXTS)).scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert list(np.argsort(scores)) == list(np.argsort(expected))


def test_a_batch_gives_what_single_texts_give(tmp_path: Path) -> None:
    encoder = load(make_encoder(tmp_path), threads=1)
    together = run_to_end(encoder.embed(TEXTS)).vectors
    alone = np.concatenate([run_to_end(encoder.embed([text])).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_dimensions_truncate_and_renormalise(tmp_path: Path) -> None:
    encoder = load(make_encoder(tmp_path), threads=1)
    full = run_to_end(encoder.embed(["water"], normalize=False)).vectors[0]
    short = run_to_end(encoder.embed(["water"], dimensions=8)).vectors[0]
    np.testing.assert_allclose(short, full[:8] / np.linalg.norm(full[:8]), atol=1e-6)
    with pytest.raises(InvalidRequest, match="1 to 32"):
        run_to_end(encoder.embed(["water"], dimensions=33))


def test_token_arrays_are_wrapped_once(tmp_path: Path) -> None:
    encoder = load(make_encoder(tmp_path), threads=1)
    ids = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("water gate").ids
    from_text = run_to_end(encoder.embed(["water gate"]))
    for given in (ids, ids[1:-1]):
        from_ids = run_to_end(encoder.embed([given]))
        assert from_ids.prompt_tokens == from_text.prompt_tokens == 4
        np.testing.assert_array_equal(from_ids.vectors, from_text.vectors)
    with pytest.raises(InvalidRequest, match="vocabulary"):
        run_to_end(encoder.embed([[10**6]]))


def test_too_long_is_refused_or_truncated_to_the_limit(tmp_path: Path) -> None:
    encoder = load(make_encoder(tmp_path, max_seq_length=16), threads=1)
    long = "water " * 40
    with pytest.raises(ContextLengthExceeded, match=r"42 tokens.*at most 16") as raised:
        run_to_end(encoder.embed(["fine", long]))
    assert raised.value.param == "input[1]"
    cut = run_to_end(encoder.embed([long], truncate=True))
    assert cut.prompt_tokens == 16
    np.testing.assert_array_equal(cut.vectors, run_to_end(encoder.embed(["water " * 14])).vectors)
    word = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("water")
    from_ids = run_to_end(encoder.embed([[word] * 40], truncate=True))
    np.testing.assert_array_equal(from_ids.vectors, cut.vectors)
    assert load(tmp_path, threads=1, max_input_tokens=8).max_input_tokens == 8
    run_to_end(encoder.embed(["water " * 14]))  # truncation was a setting of that one request


def test_golden_pairs_refuse_a_model_that_scores_otherwise(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path)
    score = Reference(folder).score("water", "river")
    golden = folder / "golden.json"
    golden.write_text(json.dumps([{"query": "water", "document": "river", "score": score}]))
    load(folder, threads=1)
    golden.write_text(json.dumps([{"query": "water", "document": "river", "score": score + 0.1}]))
    with pytest.raises(RuntimeError, match=r"golden\.json row 0"):
        load(folder, threads=1)


def test_batches_hold_every_index_once_within_the_budget() -> None:
    lengths = [256] * 20 + [3] * 2000 + [8192, 100]
    batches = plan_batches(lengths, heads=12)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert batches[0] == [2020]
    assert all(len(batch) * max(lengths[i] for i in batch) <= BATCH_TOKENS for batch in batches[1:])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "mpnet"}, "'mpnet' is not supported.*bert.*xlm-roberta"),
        ("config.json", {"position_embedding_type": "relative_key"}, "absolute"),
        ("config.json", {"hidden_act": "swish"}, "hidden_act 'swish'"),
        ("config.json", {"architectures": ["BertForTokenClassification"]}, "BertForTokenClassification"),
        ("config.json", {"architectures": ["BertForSequenceClassification"]}, "2 labels"),
        ("config.json", {"num_hidden_layers": 3}, r"no tensor 'encoder\.layer\.2"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling"),
    ],
)
def test_what_is_not_supported_is_named(
    tmp_path: Path, file: str, change: dict[str, Any], message: str
) -> None:
    folder = make_encoder(tmp_path)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UnsupportedModel, match=message):
        load(folder, threads=1)


def test_a_dense_module_is_refused_and_limits_take_the_smallest(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, max_seq_length=500)
    assert read_spec(folder).max_input_tokens == 66
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 48}')
    assert read_spec(folder).max_input_tokens == 48
    (folder / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]'
    )
    with pytest.raises(UnsupportedModel, match="Dense module"):
        read_spec(folder)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UnsupportedModel, match="not a readable safetensors"):
        load(folder, threads=1)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match=r"no model\.safetensors"):
        load(folder, threads=1)
