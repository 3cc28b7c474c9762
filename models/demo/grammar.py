"""The small language in which the dialogues are written.

| in a pattern | means |
|---|---|
| `[a|b|]`  | one of the alternatives, here "a", "b" or nothing; they nest |
| `{name}`  | the slot of that name |

`say` turns a pattern into one sentence; `casual` then roughens a sentence the way people type.
Everything random comes from the `random.Random` that is passed in, so a seed fixes the data.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache

Sequence = tuple[object, ...]


@cache
def _parse(pattern: str) -> Sequence:
    sequence, end = _parse_sequence(pattern, 0, nested=False)
    if end != len(pattern):
        raise ValueError(f"unbalanced brackets in {pattern!r}")
    return sequence


def _parse_sequence(text: str, at: int, *, nested: bool) -> tuple[Sequence, int]:
    parts: list[object] = []
    literal: list[str] = []
    while at < len(text):
        char = text[at]
        if nested and char in "|]":
            break
        if char == "[":
            parts.append("".join(literal))
            literal = []
            choices: list[Sequence] = []
            at += 1
            while True:
                choice, at = _parse_sequence(text, at, nested=True)
                choices.append(choice)
                if at >= len(text):
                    raise ValueError(f"unbalanced brackets in {text!r}")
                at += 1
                if text[at - 1] == "]":
                    break
            parts.append(tuple(choices))
        else:
            literal.append(char)
            at += 1
    parts.append("".join(literal))
    return tuple(part for part in parts if part != ""), at


def _pick(rng: random.Random, sequence: Sequence, out: list[str]) -> None:
    for part in sequence:
        if isinstance(part, str):
            out.append(part)
        else:
            _pick(rng, rng.choice(part), out)  # type: ignore[arg-type]


_SLOT = re.compile(r"\{(\w+)\}")


def say(rng: random.Random, pattern: str | tuple[str, ...], **slots: object) -> str:
    """One sentence of `pattern` (of one of them), its slots filled, spaces tidied, first letter raised."""
    chosen = pattern if isinstance(pattern, str) else rng.choice(pattern)
    out: list[str] = []
    _pick(rng, _parse(chosen), out)
    text = "".join(out)
    if slots:
        text = _SLOT.sub(lambda match: str(slots[match[1]]), text)
    text = re.sub(r" +", " ", text).strip()
    return text[:1].upper() + text[1:]


_ONSETS = (
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "dr",
    "st",
    "tr",
    "sh",
    "ch",
    "",
)
_RIMES = ("a", "e", "i", "o", "u", "an", "el", "in", "or", "us", "ia", "ar", "en", "ik", "om", "ay")


def invented(rng: random.Random) -> str:
    """A name that nobody has: the model has to copy it, because it cannot have learned it."""
    word = "".join(rng.choice(_ONSETS) + rng.choice(_RIMES) for _ in range(rng.randint(2, 3)))
    return word.capitalize()


def is_chinese(text: str) -> bool:
    return any("一" <= char <= "鿿" for char in text)


def _typo(rng: random.Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.random()
    if kind < 0.4:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.75:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


_WORD = re.compile(r"[a-z]{5,}")
_LEAD_EN = (
    "I would like to know: ",
    "Tell me, ",
    "Do you know: ",
    "I wonder: ",
    "Please tell me: ",
    "One question: ",
    "Hmm, ",
    "Could you tell me: ",
    "Yo, ",
    "By the way, ",
    "I have a question: ",
    "Let me ask: ",
    "Please ",
    "Hey, ",
    "Hi, ",
    "So ",
    "Ok, ",
    "Well, ",
    "Quick question: ",
    "Can you tell me, ",
    "Um, ",
)
_GREETING_EN = ("Hello! ", "Hi! ", "Hi there. ", "Good morning! ", "Hey! ", "Hello. ")
_LEAD_ZH = (
    "我想知道",
    "你知道",
    "能告诉我",
    "能不能告诉我",
    "想请教一下，",
    "麻烦你，",
    "话说，",
    "请问",
    "你好，",
    "请问一下，",
    "那",
    "嗯，",
    "我想问一下，",
    "麻烦问下，",
)


_OTHER_WORDS = (
    ("how do i ", ("how would I ", "what do I do to ", "how does one ", "how can you ")),
    ("how to ", ("what is the way to ", "steps to ", "the way to ")),
    ("what is ", ("what's ", "whats ", "what would be ", "do you know what is ", "so what is ")),
    ("what are ", ("which are ", "what would be ", "do you know ")),
    ("tell me ", ("let me know ", "give me ", "i want to know ")),
    ("which ", ("what ", "which exact ")),
    ("why ", ("how come ", "what is the reason ", "for what reason ")),
    ("how many ", ("what number of ", "the number of ", "how many exactly ")),
    ("write ", ("compose ", "make up ", "i need ", "do ")),
    ("give me ", ("show me ", "i want ", "hand me ", "can i have ")),
    ("largest", ("biggest", "most large", "biggest one")),
    ("where ", ("in which place ", "at what place ")),
    ("can you ", ("could you ", "are you able to ", "would you ")),
    ("does ", ("will ", "can ")),
)
_SMALL_WORDS = frozenset(
    ("the", "a", "an", "is", "are", "do", "does", "of", "to", "please", "me", "i", "you", "can", "in")
)
_OTHER_WORDS_ZH = (
    ("怎么", ("怎样", "如何", "咋")), ("什么", ("啥", "什么样的", "哪种")),
    ("哪里", ("哪儿", "什么地方", "哪")),
    ("多少", ("几", "多少个")), ("为什么", ("为啥", "怎么会")), ("是什么", ("是啥", "指什么", "是什么东西")),
    ("请", ("帮忙", "麻烦", "")), ("你知道", ("你晓得", "知不知道")), ("吗", ("么", "不", "没")),
    ("告诉我", ("跟我说", "说说")), ("的", ("",)), ("是", ("就是", "")), ("有哪些", ("都有什么", "有什么")),
    ("写", ("来", "作")), ("讲", ("说", "来")),
)  # fmt: skip


def _reworded(rng: random.Random, text: str) -> str:
    """Other words for the common ones, or a small word left out: what no pattern foresees."""
    table = _OTHER_WORDS_ZH if is_chinese(text) else _OTHER_WORDS
    lower = text if is_chinese(text) else text.lower()
    found = [(old, new) for old, new in table if old in lower]
    if found and rng.random() < 0.6:
        old, new = rng.choice(found)
        at = lower.index(old)
        text = text[:at] + rng.choice(new) + text[at + len(old) :]
    elif not is_chinese(text):
        words = text.split(" ")
        small = [index for index, word in enumerate(words) if word.lower() in _SMALL_WORDS]
        if small and len(words) > 3:
            del words[rng.choice(small)]
            text = " ".join(words)
    return text[:1].upper() + text[1:]


def casual(rng: random.Random, text: str, *, typos: bool = True) -> str:
    """`text` as people type it: sometimes without capitals or the last mark, with a lead-in, with a slip."""
    if typos and rng.random() < 0.22:
        text = _reworded(rng, text)
    if is_chinese(text):
        if rng.random() < 0.1:
            text = rng.choice(_LEAD_ZH) + text
        if rng.random() < 0.1 and text[-1] in "？?" and text[-2:-1] not in "呀呢啊吗":
            text = text[:-1] + rng.choice("呀呢啊") + text[-1]
        roll = rng.random()
        if roll < 0.25:
            text = text.rstrip("。？！?!.")
        elif roll < 0.33:
            text = text.replace("？", "?").replace("，", ",")
        return text
    lead = rng.random()
    if lead < 0.03 and not text.startswith("I ") and len(text) > 10:
        text = rng.choice(_LEAD_EN) + text[:1].lower() + text[1:]
    elif lead < 0.05 and len(text) > 10:
        text = rng.choice(_GREETING_EN) + text
    if rng.random() < 0.22:
        text = text.rstrip(".?!")
    roll = rng.random()
    if roll < 0.28:
        text = text.lower()
    elif roll < 0.295:
        text = text.upper()
    if typos and rng.random() < 0.06:
        words = _WORD.findall(text)
        if words:
            word = rng.choice(words)
            text = text.replace(word, _typo(rng, word), 1)
    if rng.random() < 0.02:
        text += rng.choice(("?", "??", "!", " please", " pls", " :)", ", thanks", " then", " by the way"))
    return text


@dataclass(frozen=True)
class Entry:
    """Ways to ask one thing, and ways to answer it."""

    ask: tuple[str, ...]
    answer: tuple[str, ...]


def ask(rng: random.Random, entry: Entry, **slots: object) -> list[dict[str, object]]:
    """One question and its answer as two messages."""
    return turn(casual(rng, say(rng, entry.ask, **slots)), say(rng, entry.answer, **slots))


def turn(user: str, assistant: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
