"""Write a checkpoint as GGUF: `python -m models.demo.export --checkpoint DIR/checkpoint.pt --to FILE`.

Matrices become Q8_0, norms stay float32. The output matrix is the embedding, which llama.cpp takes when
`output.weight` is absent. Tokenizer and chat template travel inside the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from models.demo.generate import HERE
from models.demo.model import Shape
from models.demo.tokenizer import CONTROL, END, END_OF_TEXT, MARKS

LICENCE = "apache-2.0"
TEMPERATURE, TOP_K, TOP_P = 0.3, 20, 0.9  # what llama.cpp uses where a request names nothing


def write_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def write_card(writer: gguf.GGUFWriter, steps: int, tokens: int) -> None:
    writer.add_name("Penstock Demo 5M")
    writer.add_author("The Penstock project")
    writer.add_organization("Penstock")
    writer.add_size_label("5M")
    writer.add_license(LICENCE)
    writer.add_languages(["en", "zh"])
    writer.add_tags(["demonstration", "text-generation"])
    writer.add_description(
        "A demonstration model of about five million parameters, trained by the Penstock project on "
        f"dialogues that it wrote itself ({steps} steps, {tokens / 1e6:.1f}M tokens). Not for real work."
    )
    writer.add_sampling_temp(TEMPERATURE)
    writer.add_sampling_top_k(TOP_K)
    writer.add_sampling_top_p(TOP_P)


def write_tokenizer(writer: gguf.GGUFWriter) -> None:
    model = json.loads((HERE / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [
        gguf.TokenType.CONTROL if token in CONTROL
        else gguf.TokenType.USER_DEFINED if token in MARKS
        else gguf.TokenType.NORMAL
        for token in tokens
    ]  # fmt: skip
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(model["vocab"][END])
    writer.add_eot_token_id(model["vocab"][END])
    writer.add_pad_token_id(model["vocab"][END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / "chat_template.jinja").read_text(encoding="utf-8"))


def write_tensors(writer: gguf.GGUFWriter, weights: dict[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        values = weight.to(torch.float32).cpu().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, np.ascontiguousarray(packed), raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    args = parser.parse_args()
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    shape = Shape(**state["shape"])
    writer = gguf.GGUFWriter(args.to, "llama")
    write_card(writer, state["step"], state["tokens"])
    write_shape(writer, shape)
    write_tokenizer(writer)
    write_tensors(writer, state["model"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(
        f"{args.to}: {args.to.stat().st_size / 1e6:.2f} MB, step {state['step']}, {state['tokens']:,} tokens"
    )


if __name__ == "__main__":
    main()
