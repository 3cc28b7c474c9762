"""Train the demonstration model: `python -m models.demo.train --out DIR --steps 3000`.

Data is generated while training (generate.py), so there is no token file: shard n of a seed is always the
same dialogues. A dialogue is a row of its own from position 0, exactly as it will be served, and rows of like
length share a batch, so hardly anything is padding. Loss is on what the assistant says.

A checkpoint is written every few minutes to a temporary name and renamed, and holds everything that the next
step depends on (weights, both optimisers, rng, shard and place in it, step). Run the same command again and
it goes on. `--minutes` fits the learning-rate schedule to a wall-clock budget instead of to `--steps`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own short name
from models.demo.generate import HELD_OUT, shard
from models.demo.model import Llama, Shape
from models.demo.tokenizer import encode_dialogue, load
from tokenizers import Tokenizer
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Row:
    tokens: list[int]
    labels: list[int]  # IGNORED where the assistant does not speak


def rows(tokenizer: Tokenizer, seed: int, number: int, context: int) -> list[Row]:
    encoded = (encode_dialogue(tokenizer, dialogue) for dialogue in shard(seed, number))
    return [
        Row(tokens, [token if spoken else IGNORED for token, spoken in zip(tokens, mask, strict=True)])
        for tokens, mask in encoded
        if len(tokens) <= context + 1
    ]


def batches(rows_: list[Row], tokens_per_batch: int, rng: random.Random) -> list[list[Row]]:
    """Rows of like length together, at most `tokens_per_batch` with padding, in random order."""
    rng.shuffle(rows_)
    rows_.sort(key=lambda row: len(row.tokens) // 4)
    out: list[list[Row]] = [[]]
    longest = 0
    for row in rows_:
        longest = max(longest, len(row.tokens))
        if out[-1] and longest * (len(out[-1]) + 1) > tokens_per_batch:
            out.append([])
            longest = len(row.tokens)
        out[-1].append(row)
    rng.shuffle(out)
    return out


def tensors(batch: list[Row], device: str) -> tuple[Tensor, Tensor]:
    longest = max(len(row.tokens) for row in batch)
    tokens = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), IGNORED, dtype=torch.long)
    for index, row in enumerate(batch):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        labels[index, : len(row.labels)] = torch.tensor(row.labels)
    return tokens[:, :-1].to(device), labels[:, 1:].to(device)


def loss_sum(model: Llama, tokens: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Summed cross entropy over the assistant's tokens; logits are only made where they count."""
    spoken = labels != IGNORED
    states = model.states(tokens)[spoken]
    return F.cross_entropy(model.logits(states).float(), labels[spoken], reduction="sum"), int(spoken.sum())


@dataclass
class Place:
    """Where in the data we are: the next batch to use."""

    number: int = 0
    batch: int = 0


def stream(tokenizer: Tokenizer, args: argparse.Namespace, place: Place) -> Iterator[list[Row]]:
    while True:
        order = random.Random(f"{args.seed}/{place.number}")
        chunk = batches(rows(tokenizer, args.seed, place.number, args.context), args.batch_tokens, order)
        while place.batch < len(chunk):
            place.batch += 1
            yield chunk[place.batch - 1]
        place.number, place.batch = place.number + 1, 0


def learning_rate_scale(progress: float, warm_up: float = 0.02) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    if progress < warm_up:
        return progress / warm_up + 0.01
    along = min(1.0, (progress - warm_up) / (1 - warm_up))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along))


def optimisers(model: Llama, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embedding and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blk.")]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and name.startswith("blk."))]
    return [
        torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.lr, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


@torch.no_grad()
def held_out_loss(model: Llama, chunks: list[list[Row]], args: argparse.Namespace) -> float:
    total, count = 0.0, 0
    for batch in chunks:
        with torch.autocast(args.device, dtype=torch.bfloat16):
            loss, spoken = loss_sum(model, *tensors(batch, args.device))
        total, count = total + loss.item(), count + spoken
    return total / count


def save(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the whole schedule")
    parser.add_argument("--minutes", type=float, default=0, help="instead: minutes of the whole schedule")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens per batch, padding included")
    parser.add_argument("--accumulate", type=int, default=2, help="batches per step")
    parser.add_argument("--context", type=int, default=2048, help="longer dialogues are left out")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-minutes", type=float, default=4)
    return parser.parse_args()


def main() -> None:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = load()
    model = Llama(Shape(context=args.context)).to(args.device)
    optimisers_ = optimisers(model, args)
    place, step, tokens_seen, spent_s = Place(), 0, 0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=args.device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers_, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        torch.set_rng_state(state["rng"].cpu())
        place, step = Place(*state["place"]), state["step"]
        tokens_seen, spent_s = state["tokens"], state["spent_s"]
        print(f"going on from step {step}", flush=True)
    parameters = sum(p.numel() for p in model.parameters())
    held_out_rows = rows(tokenizer, args.seed, HELD_OUT, args.context)
    all_held_out = batches(list(held_out_rows), args.batch_tokens, random.Random(0))
    some_held_out = batches(held_out_rows[:600], args.batch_tokens, random.Random(0))
    print(f"{parameters:,} parameters, {len(held_out_rows)} held-out dialogues", flush=True)

    def snapshot() -> dict[str, object]:
        return {
            "model": model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers_],
            "rng": torch.get_rng_state(),
            "place": (place.number, place.batch),
            "step": step,
            "tokens": tokens_seen,
            "spent_s": spent_s,
            "shape": model.shape.to_dict(),
        }

    def evaluate(train_loss: float, chunks: list[list[Row]]) -> None:
        loss = held_out_loss(model, chunks, args)
        record = {
            "step": step, "tokens": tokens_seen, "minutes": round(spent_s / 60, 1),
            "train_loss": round(train_loss, 4), "held_out_loss": round(loss, 4),
        }  # fmt: skip
        print("held-out", record, flush=True)
        with (args.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    source = stream(tokenizer, args, place)
    saved_at, smooth = time.monotonic(), 0.0
    progress = 0.0
    while progress < 1.0:
        began = time.monotonic()
        chunk = [tensors(next(source), args.device) for _ in range(args.accumulate)]
        spoken = sum(int((labels != IGNORED).sum()) for _, labels in chunk)
        total = 0.0
        for tokens, labels in chunk:
            with torch.autocast(args.device, dtype=torch.bfloat16):
                loss, _ = loss_sum(model, tokens, labels)
            (loss / spoken).backward()  # type: ignore[no-untyped-call]
            total += loss.item() / spoken
            tokens_seen += tokens.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scale = learning_rate_scale(progress)
        for optimiser in optimisers_:
            for group in optimiser.param_groups:
                group["lr"] = args.lr * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        step += 1
        spent_s += time.monotonic() - began
        smooth = total if step == 1 or not smooth else 0.95 * smooth + 0.05 * total
        progress = spent_s / 60 / args.minutes if args.minutes else step / args.steps
        if step % 20 == 0:
            speed = tokens_seen / spent_s
            print(
                f"step {step} {progress:.1%} loss {smooth:.4f} lr {args.lr * scale:.2e} "
                f"{tokens_seen / 1e6:.2f}M tokens {speed:.0f}/s",
                flush=True,
            )
        if time.monotonic() - saved_at > args.save_minutes * 60:
            save(checkpoint, snapshot())
            evaluate(smooth, some_held_out)
            saved_at = time.monotonic()
    save(checkpoint, snapshot())
    evaluate(smooth, all_held_out)


if __name__ == "__main__":
    main()
