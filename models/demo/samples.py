"""Ask the questions of the model card: `python -m models.demo.samples --model FILE --card`.

The engine is the one that serves the model, llama.cpp in xllamacpp, and decoding is greedy. With `--card` the
dialogues are written into README.md between its two markers; otherwise they are printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import xllamacpp

HERE = Path(__file__).parent
BEGIN, END = "<!-- samples: begin -->", "<!-- samples: end -->"


def server(model: Path, context: int = 2048) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.use_jinja = True
    params.cache_ram_mib = 0
    params.verbosity = -1
    return xllamacpp.Server(params)


def chat(engine: xllamacpp.Server, messages: list[dict[str, Any]], **extra: object) -> dict[str, Any]:
    """The assistant's message for these messages; greedy unless `extra` says otherwise."""
    request = {"messages": messages, "max_tokens": 200, "temperature": 0, **extra}
    answer = engine.handle_chat_completions(request)
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def shown(message: dict[str, Any]) -> str:
    if message.get("tool_calls"):
        call = message["tool_calls"][0]["function"]
        return f"{call['name']}({call['arguments']})"
    return str(message["content"])


def dialogue(engine: xllamacpp.Server, sample: dict[str, Any]) -> list[tuple[str, str]]:
    """(speaker, text) of one sample: its user and tool messages in turn, each answered by the model."""
    extra = {name: sample[name] for name in ("tools", "response_format") if name in sample}
    messages: list[dict[str, Any]] = []
    lines: list[tuple[str, str]] = []
    for message in sample["messages"]:
        calls = messages[-1].get("tool_calls") if messages else None
        said = (
            {**message, "tool_call_id": calls[0]["id"] if calls else "none"}
            if message["role"] == "tool"
            else message
        )
        messages.append(said)
        lines.append((said["role"], said["content"]))
        answer = chat(engine, messages, **extra)
        messages.append({key: value for key, value in answer.items() if key != "reasoning_content"})
        lines.append(("model", shown(answer)))
    return lines


def samples() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((HERE / "samples.json").read_text(encoding="utf-8"))
    return loaded


def text(lines: list[tuple[str, str]], number: int) -> str:
    return f"**{number}.**\n\n" + "\n".join(
        f"> **{speaker}:** " + said.replace("\n", "<br>") + "  " for speaker, said in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--card", action="store_true", help="write into README.md instead of printing")
    args = parser.parse_args()
    engine = server(args.model)
    shown_ = "\n\n".join(text(dialogue(engine, sample), n) for n, sample in enumerate(samples(), 1))
    if not args.card:
        print(shown_)
        return
    card = HERE / "README.md"
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    card.write_text(f"{before}{BEGIN}\n{shown_}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
