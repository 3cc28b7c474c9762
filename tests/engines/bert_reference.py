"""BERT and RoBERTa in plain numpy, written from the papers: it shares no code with the graph it judges."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Array = NDArray[np.float64]


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
