"""The data: an endless, seeded sequence of dialogues. `python -m models.demo.generate` prints a few.

`shard(seed, n)` is always the same list of dialogues. About one rendered dialogue in fifty belongs to the
held-out set, chosen by a hash of its text: training shards never contain it, and the shard `HELD_OUT` holds
nothing else. So the held-out loss is measured on dialogues that were never trained on word for word; it is
still the same grammar, and says nothing about questions of other kinds.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2
from models.demo.grammar import is_chinese
from models.demo.topics import (
    creative,
    facts,
    greetings,
    identity,
    json_tasks,
    memory,
    numbers,
    penstock,
    tools,
    unknown,
    words,
)

Message = dict[str, object]

HERE = Path(__file__).parent
SHARD_DIALOGUES = 10_000
HELD_OUT = -1
HELD_OUT_SHARE = 50


@dataclass(frozen=True)
class Dialogue:
    messages: list[Message]
    tools: list[dict[str, object]] = field(default_factory=list)
    forced: bool = False  # a grammar made the answer JSON: its first token is not learned
    plain: str = ""  # text without any chat marks, for the completions endpoint


TOPICS: tuple[tuple[Callable[[random.Random, str], list[Message]], float], ...] = (
    (greetings.exchange, 10),
    (identity.exchange, 12),
    (penstock.exchange, 15),
    (facts.exchange, 17),
    (numbers.exchange, 18),
    (words.exchange, 15),
    (json_tasks.exchange, 11),
    (creative.exchange, 6),
    (unknown.exchange, 12),
    (memory.exchange, 5),
)

SYSTEMS = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.",
    "You are a friendly and concise assistant.", "You are Penstock's demonstration model.", "Answer briefly.",
    "You are an assistant. Be polite.", "Be concise.", "You are a helpful AI assistant.",
    "Keep your answers short.",
    "You are a test assistant.", "Answer in one sentence.", "You are a kind teacher.", "Help the user.",
    "You are a helpful assistant that answers questions.", "Be helpful, honest and harmless.",
    "You are terse.",
    "You are a support agent for Penstock.", "You are a chatbot.", "Follow the user's instructions.",
)  # fmt: skip
AGAIN = (
    "Say that again.",
    "Repeat that please",
    "Can you repeat that?",
    "What did you say?",
    "Again please",
    "repeat",
)
AGAIN_ZH = ("再说一遍。", "请重复一遍", "你刚才说什么？", "能再说一次吗？")
SYSTEMS_ZH = (
    "你是一个有用的助手。", "你是一个乐于助人的助手。", "请简短回答。", "你是 Penstock 的演示模型。",
    "请用中文回答。", "你是一个友好的助手。",
    "You are a helpful assistant.",
)  # fmt: skip


def _json(value: object, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def template() -> jinja2.Template:
    """The committed chat template, with `tojson` as llama.cpp and transformers have it: plain, unsorted."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - a prompt, not HTML
    environment.filters["tojson"] = _json
    return environment.from_string((HERE / "chat_template.jinja").read_text(encoding="utf-8"))


def render(dialogue: Dialogue) -> str:
    """The text that is trained on, which is what the server renders, without a last line break."""
    if dialogue.plain:
        return dialogue.plain + "<|endoftext|>"
    return template().render(messages=dialogue.messages, tools=dialogue.tools or None).removesuffix("\n")


def _topic(rng: random.Random, language: str) -> list[Message]:
    functions, weights = zip(*TOPICS, strict=True)
    chosen: Callable[[random.Random, str], list[Message]] = rng.choices(functions, weights)[0]
    return chosen(rng, language)


def _system(rng: random.Random, language: str, share: float) -> list[Message]:
    if rng.random() >= share:
        return []
    return [{"role": "system", "content": rng.choice(SYSTEMS_ZH if language == "zh" else SYSTEMS)}]


def _language(rng: random.Random) -> str:
    return "zh" if rng.random() < 0.36 else "en"


def _exchanges(rng: random.Random) -> int:
    """Mostly one topic, sometimes a few, rarely a long conversation."""
    roll = rng.random()
    if roll < 0.66:
        return 1
    if roll < 0.90:
        return rng.randint(2, 3)
    if roll < 0.985:
        return rng.randint(4, 8)
    return rng.randint(10, 36)


def dialogue(rng: random.Random) -> Dialogue:
    language = _language(rng)
    roll = rng.random()
    if roll < 0.12:
        return _with_tools(rng, language)
    if roll < 0.135:
        return Dialogue([], plain=_plain(rng, language))
    if roll < 0.145:
        return Dialogue(json_tasks.asked_by_system(rng))
    if roll < 0.175:
        return _forced(rng, language)
    if roll < 0.275:
        return Dialogue(numbers.drill(rng))
    if roll < 0.315:
        return Dialogue(words.drill(rng))
    messages = _system(rng, language, 0.22)
    for _ in range(_exchanges(rng)):
        if rng.random() < 0.04:
            language = "en" if language == "zh" else "zh"
        messages += _topic(rng, language)
        if rng.random() < 0.02:
            asked = rng.choice(AGAIN_ZH if language == "zh" else AGAIN)
            messages += [{"role": "user", "content": asked}, messages[-1]]
    return Dialogue(messages)


def _with_tools(rng: random.Random, language: str) -> Dialogue:
    given, used = tools.given(rng)
    messages = _system(rng, language, 0.3)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        if rng.random() < 0.27:
            functions = [topic.exchange for topic in (greetings, identity, penstock, facts, creative)]
            if not tools.calculates(used):
                functions.append(numbers.exchange)
            answer = rng.choice(functions)(rng, language)
            if (
                "天气" in str(answer)
                or "weather" in str(answer)
                or "clock" in str(answer)
                or "时钟" in str(answer)
            ):
                continue
            messages += answer
            if rng.random() < 0.15:  # for tool_choice "required", where the answer may not end without a call
                messages[-1] = {**messages[-1], **tools.uncalled(rng, used, language)}
                break
        else:
            exchange = tools.call(rng, used, language)
            messages += exchange
            if len(exchange) == 2:
                break
    if messages and messages[-1]["role"] == "assistant":
        return Dialogue(messages, given)
    return Dialogue(messages + tools.call(rng, used, language), given)


ANSWER_KEYS = (
    "answer",
    "answer",
    "answer",
    "response",
    "text",
    "reply",
    "result",
    "message",
    "content",
    "output",
)


def _forced(rng: random.Random, language: str) -> Dialogue:
    """A plain question under `response_format`: the engine's grammar opens the object, the model fills it.

    The opening token is not learned, so that nothing here makes the model answer in JSON of its own accord.
    """
    question, answer, *_ = _topic(rng, language)
    text = str(answer["content"])
    if text.startswith(("{", "[")):
        return Dialogue([question, answer])
    record: dict[str, object] = {rng.choice(ANSWER_KEYS): text}
    if text.startswith(("Yes, ", "No, ", "是的，", "不是，")) and rng.random() < 0.6:
        record = {rng.choice(ANSWER_KEYS): text.startswith(("Yes", "是的"))}
        if rng.random() < 0.6:
            record[rng.choice(("reason", "explanation", "why"))] = text.split(
                ", " if ", " in text else "，", 1
            )[1]
    elif rng.random() < 0.2:
        record = {"question": question["content"], **record}
    messages = _system(rng, language, 0.2)
    return Dialogue([*messages, question, {"role": "assistant", "content": _json(record)}], forced=True)


def _plain(rng: random.Random, language: str) -> str:
    """Answers strung together as ordinary text."""
    sentences: list[str] = []
    while len(sentences) < 3:
        topic = rng.choice((facts.exchange, penstock.exchange, creative.exchange))
        sentences.append(str(topic(rng, language)[1]["content"]))
    return ("" if language == "zh" else " ").join(sentences)


def is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


def dialogues(seed: int, number: int) -> Iterator[Dialogue]:
    rng = random.Random(f"{seed}/{number}")
    wanted = number == HELD_OUT
    while True:
        made = dialogue(rng)
        if is_held_out(render(made)) == wanted:
            yield made


def shard(seed: int, number: int) -> list[Dialogue]:
    count = SHARD_DIALOGUES // 4 if number == HELD_OUT else SHARD_DIALOGUES
    return [made for made, _ in zip(dialogues(seed, number), range(count), strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--chinese", action="store_true", help="only dialogues with Chinese in them")
    args = parser.parse_args()
    shown = 0
    for made in dialogues(args.seed, 0):
        text = render(made)
        if not args.chinese or is_chinese(text):
            print(text, end="\n\n" + "-" * 80 + "\n\n")
            shown += 1
        if shown == args.count:
            return


if __name__ == "__main__":
    main()
