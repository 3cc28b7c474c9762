"""Small models of the real file format, made in milliseconds and the same on every machine.

    make_encoder(folder)        BertModel or RobertaModel with sentence-transformers' pooling files
    make_cross_encoder(folder)  BertForSequenceClassification / RobertaForSequenceClassification, one label

Weights are seeded noise: results mean nothing, but every runtime must compute the same numbers from them.
The tokenizer knows the words below, letters and digits, so that any English text has tokens.
"""

import json
import string
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

Architecture = Literal["bert", "roberta"]
Pooling = Literal["mean", "cls", "max"]

_TEXT: Final = """
the a of to and in is it you that he was for on are with as his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up out them
water gate pipe turbine engine model river energy reset password account open close fast slow
"""
WORDS: Final = tuple(_TEXT.split())

HIDDEN: Final = 32
LAYERS: Final = 2
HEADS: Final = 4
POSITIONS: Final = 66  # 64 tokens behind RoBERTa's offset of 2


def make_encoder(
    folder: Path,
    *,
    architecture: Architecture = "bert",
    pooling: Pooling = "mean",
    max_seq_length: int = 32,
    activation: str = "gelu",
    seed: int = 0,
) -> Path:
    """A bi-encoder of 32 dimensions that reads `max_seq_length` tokens. Returns `folder`."""
    vocabulary = _write_tokenizer(folder, architecture)
    config = _config(architecture, len(vocabulary), architecture.capitalize() + "Model", activation)
    _write(folder, "config.json", config)
    _write(folder, "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    rows = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(modules)
    ]
    _write(folder, "modules.json", rows)
    keys = {
        "mean": "pooling_mode_mean_tokens",
        "cls": "pooling_mode_cls_token",
        "max": "pooling_mode_max_tokens",
    }
    _write(
        folder,
        "1_Pooling/config.json",
        {"word_embedding_dimension": HIDDEN, **{key: name == pooling for name, key in keys.items()}},
    )
    save_file(_body(config, "", np.random.default_rng(seed)), folder / "model.safetensors")
    return folder


def make_cross_encoder(folder: Path, *, architecture: Architecture = "bert", seed: int = 0) -> Path:
    """A reranker that scores a pair with one raw logit, about -2 to 2. Returns `folder`."""
    vocabulary = _write_tokenizer(folder, architecture)
    config = _config(
        architecture, len(vocabulary), architecture.capitalize() + "ForSequenceClassification", "gelu"
    )
    _write(folder, "config.json", {**config, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}})
    noise = np.random.default_rng(seed)
    tensors = _body(config, architecture + ".", noise)
    inner, outer = (
        ("bert.pooler.dense", "classifier")
        if architecture == "bert"
        else ("classifier.dense", "classifier.out_proj")
    )
    tensors |= _linear(inner, HIDDEN, HIDDEN, noise) | _linear(outer, HIDDEN, 1, noise)
    save_file(tensors, folder / "model.safetensors")
    return folder


def _config(architecture: Architecture, vocabulary: int, name: str, activation: str) -> dict[str, Any]:
    return {
        "architectures": [name],
        "model_type": architecture,
        "hidden_act": activation,
        "hidden_size": HIDDEN,
        "intermediate_size": 4 * HIDDEN,
        "layer_norm_eps": 1e-12 if architecture == "bert" else 1e-5,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0 if architecture == "bert" else 1,
        "type_vocab_size": 2 if architecture == "bert" else 1,
        "vocab_size": vocabulary,
    }


def _body(config: dict[str, Any], prefix: str, noise: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    tensors = {}
    for name, rows in (
        ("word_embeddings", config["vocab_size"]),
        ("position_embeddings", config["max_position_embeddings"]),
        ("token_type_embeddings", config["type_vocab_size"]),
    ):
        tensors[f"{prefix}embeddings.{name}.weight"] = _noise(noise, rows, HIDDEN)
    tensors |= _norm(f"{prefix}embeddings.LayerNorm", noise)
    for layer in range(LAYERS):
        name = f"{prefix}encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            tensors |= _linear(f"{name}attention.self.{part}", HIDDEN, HIDDEN, noise)
        tensors |= _linear(f"{name}attention.output.dense", HIDDEN, HIDDEN, noise)
        tensors |= _norm(f"{name}attention.output.LayerNorm", noise)
        tensors |= _linear(f"{name}intermediate.dense", HIDDEN, 4 * HIDDEN, noise)
        tensors |= _linear(f"{name}output.dense", 4 * HIDDEN, HIDDEN, noise)
        tensors |= _norm(f"{name}output.LayerNorm", noise)
    return tensors


def _linear(
    name: str, inputs: int, outputs: int, noise: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Weight [outputs, inputs] as PyTorch stores it."""
    weight = _noise(noise, outputs, inputs) * np.float32(1.5 / inputs**0.5)
    return {f"{name}.weight": weight, f"{name}.bias": _noise(noise, outputs) * np.float32(0.1)}


def _norm(name: str, noise: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    return {
        f"{name}.weight": 1 + _noise(noise, HIDDEN) * np.float32(0.1),
        f"{name}.bias": _noise(noise, HIDDEN) * np.float32(0.1),
    }


def _noise(noise: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return noise.standard_normal(shape, dtype=np.float32)


def _write_tokenizer(folder: Path, architecture: Architecture) -> dict[str, int]:
    """A WordPiece tokenizer.json with this architecture's special tokens; returns its vocabulary."""
    cls, pad, sep, unknown = (
        ("[CLS]", "[PAD]", "[SEP]", "[UNK]") if architecture == "bert" else ("<s>", "<pad>", "</s>", "<unk>")
    )
    special = [pad, cls, sep, unknown] if architecture == "bert" else [cls, pad, sep, unknown]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, *letters, *("##" + letter for letter in letters), *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    pair = (
        f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1" if architecture == "bert" else f"{cls} $A {sep} {sep} $B {sep}"
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=pair,
        special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return vocabulary


def _write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), "utf-8")
