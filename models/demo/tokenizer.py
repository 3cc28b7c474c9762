"""The tokenizer: byte-level BPE, 4096 tokens, trained on generated dialogues.

`python -m models.demo.tokenizer` makes it anew; a model belongs to the tokenizer it was trained with.

Its split pattern is Qwen2's, because llama.cpp knows that one by name (`tokenizer.ggml.pre = qwen2`) and
would split differently for a pattern of our own. Text is normalised to NFC, as Qwen2 does.
"""

from __future__ import annotations

from pathlib import Path

from models.demo.generate import Dialogue, render, shard
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).parent
VOCABULARY = 4096
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (END_OF_TEXT, START, END)
MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>")
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TRAINING_SEED = 20261120
TRAINING_SHARDS = 4


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*CONTROL, *MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        render(dialogue) for number in range(TRAINING_SHARDS) for dialogue in shard(TRAINING_SEED, number)
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load() -> Tokenizer:
    return Tokenizer.from_file(str(HERE / "tokenizer.json"))


def encode_dialogue(tokenizer: Tokenizer, dialogue: Dialogue) -> tuple[list[int], list[bool]]:
    """Token ids, and for each whether the assistant speaks it (its closing mark included)."""
    ids: list[int] = tokenizer.encode(render(dialogue)).ids
    if dialogue.plain:
        return ids, [True] * len(ids)
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    header = tokenizer.encode("assistant\n").ids
    mask = [False] * len(ids)
    at = 0
    while at < len(ids):
        if ids[at] == start and ids[at + 1 : at + 1 + len(header)] == header:
            at += 1 + len(header)
            first = at
            while True:
                mask[at] = not (dialogue.forced and at == first)
                if ids[at] == end:
                    break
                at += 1
        at += 1
    return ids, mask


if __name__ == "__main__":
    train().save(str(HERE / "tokenizer.json"))
