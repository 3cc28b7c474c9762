"""A Llama in one page: RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings.

Names and layout are those of the GGUF `llama` architecture, so that export.py only renames tensors. The one
trap: llama.cpp rotates neighbouring pairs (0,1), (2,3), ... and so does `rotate` here; the usual Hugging Face
code rotates halves and needs its query and key rows permuted at conversion. Here nothing is permuted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own short name
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """About five million parameters. Every row length is a multiple of 32, which Q8_0 needs."""

    vocab: int = 4096
    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    hidden: int = 672
    context: int = 2048
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class Norm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotation_table(shape: Shape) -> Tensor:
    """Cos and sin of every position and pair: (2, context, head_width / 2)."""
    half = shape.head_width // 2
    frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(shape.context, dtype=torch.float32)[:, None] * frequency[None, :]
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (batch, head, position, head_width); neighbouring pairs turn together."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm = Norm(shape.width, shape.norm_eps)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attn_norm(x), cos, sin)
        h = self.ffn_norm(x)
        made: Tensor = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + made

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        shape = self.shape

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.view(batch, length, count, shape.head_width).transpose(1, 2)

        q = rotate(heads(self.attn_q(x), shape.heads), cos, sin)
        k = rotate(heads(self.attn_k(x), shape.kv_heads), cos, sin)
        v = heads(self.attn_v(x), shape.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        out: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class Llama(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_eps)
        self.register_buffer("rotation", rotation_table(shape), persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Block):
            for last in (module.attn_output, module.ffn_down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * self.shape.layers))

    def states(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, position) -> normalised states (batch, position, width); logits follow."""
        x = self.token_embd(tokens)
        if torch.is_autocast_enabled(tokens.device.type):
            x = x.to(torch.get_autocast_dtype(tokens.device.type))
        rotation = self.get_buffer("rotation")[:, : tokens.shape[1]].to(x.dtype)
        for block in self.blk:
            x = block(x, rotation[0], rotation[1])
        states: Tensor = self.output_norm(x)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """The output matrix is the embedding: at this size a second one would be a fifth of the model."""
        return F.linear(states, self.token_embd.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.states(tokens))
