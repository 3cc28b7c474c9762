"""How often is it right? `python -m models.demo.evaluate --model FILE --card`.

Questions are drawn from the topics with a seed of their own and asked greedily; an answer counts when it says
the right thing. They come from the same grammar as the training data (some will be word for word the same),
except for `rephrased.json`, which was written apart from it: its questions are in no pattern.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xllamacpp
from models.demo.grammar import is_chinese
from models.demo.samples import HERE, chat, server
from models.demo.topics import facts, json_tasks, memory, numbers, tools, unknown, words

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
SEED = "evaluation"
Messages = list[dict[str, Any]]
Check = Callable[[dict[str, Any]], bool]


def _same(right: str) -> Check:
    return lambda answer: str(answer["content"]).strip().lower() == right.strip().lower()


def _last_number(right: str) -> Check:
    """Sums: the number at the end, in digits or words."""

    def end(text: str) -> str:
        return re.split(r" is |= ?|等于|gives ", text.rstrip("。."))[-1].strip().lower()

    return lambda answer: end(str(answer["content"])) == end(right)


def _object(right: str) -> Check:
    def check(answer: dict[str, Any]) -> bool:
        try:
            return bool(json.loads(str(answer["content"])) == json.loads(right))
        except json.JSONDecodeError:
            return False

    return check


def _admits(answer: dict[str, Any]) -> bool:
    return bool(
        re.search(
            r"demonstration model|larger|qwen3|演示模型|更大的模型|understand|没有听懂|不明白",
            str(answer["content"]),
        )
    )


def _call(right: dict[str, Any]) -> Check:
    def check(answer: dict[str, Any]) -> bool:
        calls = answer.get("tool_calls") or []
        if len(calls) != 1:
            return False
        function = calls[0]["function"]
        same: bool = json.loads(function["arguments"]) == right["arguments"]
        return function["name"] == right["name"] and same

    return check


def _from_topic(
    exchange: Callable[[random.Random, str], Any], check: Callable[[str], Check]
) -> Callable[..., Any]:
    def draw(rng: random.Random, language: str) -> tuple[Messages, list[Any], Check]:
        messages = exchange(rng, language)
        return messages[:-1], [], check(str(messages[-1]["content"]))

    return draw


def _tool(rng: random.Random, language: str) -> tuple[Messages, list[Any], Check]:
    given, used = tools.given(rng)
    messages: Messages = tools.call(rng, used, language)
    return messages[:1], given, _call(messages[1]["tool_calls"][0]["function"])


KINDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("capitals, and follow-ups", _from_topic(facts._capital, _same)),  # noqa: SLF001 - it draws from one kind at a time
    ("plus, minus, times", _from_topic(numbers._arithmetic, _last_number)),  # noqa: SLF001 - it draws from one kind at a time
    ("division", _from_topic(numbers._division, _last_number)),  # noqa: SLF001 - it draws from one kind at a time
    ("comparing numbers", _from_topic(numbers._compare, _same)),  # noqa: SLF001 - it draws from one kind at a time
    ("counting", _from_topic(numbers._count, _same)),  # noqa: SLF001 - it draws from one kind at a time
    ("translating words", _from_topic(words._translate, _same)),  # noqa: SLF001 - it draws from one kind at a time
    ("repeating words", _from_topic(words._echo, _same)),  # noqa: SLF001 - it draws from one kind at a time
    ("using what was said before", _from_topic(memory.exchange, _same)),
    ("JSON with given values", _from_topic(json_tasks._object, _object)),  # noqa: SLF001 - it draws from one kind at a time
    ("JSON from a sentence", _from_topic(json_tasks._extract, _object)),  # noqa: SLF001 - it draws from one kind at a time
    ("tool calls: name and every argument", _tool),
    ("admitting that it does not know", _from_topic(unknown.exchange, lambda _: _admits)),
)


def draws(draw: Callable[..., Any], name: str, count: int) -> Iterator[tuple[Messages, list[Any], Check]]:
    rng = random.Random(f"{SEED}/{name}")
    for index in range(count):
        yield draw(rng, "zh" if index % 3 == 0 else "en")


def rephrased() -> list[tuple[str, list[str]]]:
    loaded: list[tuple[str, list[str]]] = json.loads((HERE / "rephrased.json").read_text(encoding="utf-8"))
    return loaded


def accuracy(engine: xllamacpp.Server, count: int, *, show: bool) -> list[tuple[str, int, int]]:
    rows = []
    for name, draw in KINDS:
        right = 0
        for messages, given, check in draws(draw, name, count):
            answer = chat(engine, messages, **({"tools": given} if given else {}))
            good = check(answer)
            right += good
            if show and not good:
                said = answer.get("content") or answer.get("tool_calls")
                print(f"{name}: {messages[-1]['content']!r} -> {said!r}")
        rows.append((name, right, count))
    for language in ("English", "Chinese"):
        asked = [(q, words_) for q, words_ in rephrased() if is_chinese(q) == (language == "Chinese")]
        right = 0
        for question, wanted in asked:
            said = str(chat(engine, [{"role": "user", "content": question}])["content"])
            good = all(any(one.lower() in said.lower() for one in word.split("|")) for word in wanted)
            right += good
            if show and not good:
                print(f"rephrased: {question!r} -> {said!r}")
        rows.append((f"questions in no pattern, {language}", right, len(asked)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="questions of each kind")
    parser.add_argument("--wrong", action="store_true", help="print what was answered wrongly")
    parser.add_argument("--card", action="store_true", help="write the table into README.md")
    args = parser.parse_args()
    rows = accuracy(server(args.model), args.count, show=args.wrong)
    table = "| | right | of |\n|---|---|---|\n" + "\n".join(
        f"| {name} | {right} | {of} |" for name, right, of in rows
    )
    print(table)
    if args.card:
        card = HERE / "README.md"
        before, rest = card.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        card.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
