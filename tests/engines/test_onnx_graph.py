"""The graph against an independent numpy implementation of BERT, and the refusals."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from penstock.engines.onnx_encoder import load, plan_batches, run_to_end
from penstock.engines.onnx_graph import UnsupportedModel, read_spec
from penstock.testing.tiny import Architecture, Pooling, make_cross_encoder, make_encoder
from penstock.types.errors import ContextLengthExceeded, InvalidRequest

Array = NDArray[np.float64]

TEXTS = [
    "the gate",
    "reset the password of this account",
    "water from the river turned the turbine, and the engine was slow",
    "x",
]


class Reference:
    """BERT and RoBERTa inference in float64, one unpadded text at a time, as the papers write it."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights = {
            name: value.astype(np.float64) for name, value in load_file(folder / "model.safetensors").items()
        }
        self.prefix = "" if "embeddings.LayerNorm.weight" in self.weights else self.config["model_type"] + "."
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def hidden(self, text: str, pair: str | None = None) -> Array:
        encoding = self.tokenizer.encode(text, pair)
        ids, types = np.array(encoding.ids), np.array(encoding.type_ids)
        is_bert = self.config["model_type"] == "bert"
        positions = np.arange(len(ids)) + (0 if is_bert else self.config["pad_token_id"] + 1)
        at = self.prefix + "embeddings."
        value = self.weights[at + "word_embeddings.weight"][ids]
        value = value + self.weights[at + "token_type_embeddings.weight"][types if is_bert else types * 0]
        value = self.norm(
            value + self.weights[at + "position_embeddings.weight"][positions], at + "LayerNorm"
        )
        for layer in range(self.config["num_hidden_layers"]):
            name = f"{self.prefix}encoder.layer.{layer}."
            attended = self.linear(self.attention(value, name), name + "attention.output.dense")
            value = self.norm(attended + value, name + "attention.output.LayerNorm")
            wide = self.activation(self.linear(value, name + "intermediate.dense"))
            value = self.norm(self.linear(wide, name + "output.dense") + value, name + "output.LayerNorm")
        return value

    def attention(self, value: Array, name: str) -> Array:
        size = self.config["hidden_size"] // self.config["num_attention_heads"]
        query, key, states = (
            self.linear(value, f"{name}attention.self.{part}") for part in ("query", "key", "value")
        )
        heads = []
        for start in range(0, self.config["hidden_size"], size):
            head = slice(start, start + size)
            scores = query[:, head] @ key[:, head].T / math.sqrt(size)
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ states[:, head])
        return np.concatenate(heads, axis=1)

    def activation(self, value: Array) -> Array:
        match self.config["hidden_act"]:
            case "relu":
                return np.maximum(value, 0)
            case "gelu_new":
                return value / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))
            case _:
                return value / 2 * (1 + np.vectorize(math.erf)(value / math.sqrt(2)))

    def linear(self, value: Array, name: str) -> Array:
        return value @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, value: Array, name: str) -> Array:
        centred = value - value.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / spread * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def score(self, query: str, document: str) -> float:
        first = self.hidden(query, document)[0]
        inner, outer = (
            ("bert.pooler.dense", "classifier")
            if self.config["model_type"] == "bert"
            else ("classifier.dense", "classifier.out_proj")
        )
        return float(self.linear(np.tanh(self.linear(first, inner)), outer)[0])


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
    assert all(len(batch) * max(lengths[i] for i in batch) <= 4096 for batch in batches[1:])


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
