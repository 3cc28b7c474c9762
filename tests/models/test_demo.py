"""The demonstration model's data and its tokenizer."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the scripts are run from the root, `python -m models.demo.train`


from models.demo.generate import HELD_OUT, Dialogue, dialogues, is_held_out, render  # noqa: E402 - needs the path above
from models.demo.grammar import casual, is_chinese, say  # noqa: E402 - needs the path above
from models.demo.topics import json_tasks  # noqa: E402 - needs the path above

SEED = 7
SOME = 1500


def some() -> list[Dialogue]:
    return [dialogue for dialogue, _ in zip(dialogues(SEED, 0), range(SOME), strict=False)]


def test_a_seed_fixes_the_data() -> None:
    assert [render(dialogue) for dialogue in some()] == [render(dialogue) for dialogue in some()]


def test_shards_differ() -> None:
    first, second = (next(iter(dialogues(SEED, number))) for number in (0, 1))
    assert render(first) != render(second)


def test_every_dialogue_ends_with_the_assistant_and_its_mark() -> None:
    for dialogue in some():
        text = render(dialogue)
        if dialogue.plain:
            assert text.endswith("<|endoftext|>")
            assert "<|im_start|>" not in text
            continue
        assert dialogue.messages[-1]["role"] == "assistant"
        assert text.endswith("<|im_end|>")
        assert text.count("<|im_start|>") == text.count("<|im_end|>")


def test_no_slot_or_bracket_of_a_pattern_is_left() -> None:
    for dialogue in some():
        for message in dialogue.messages:
            content = str(message["content"])
            assert "|" not in content
            if message["role"] == "user" and "JSON" not in content:
                assert "{" not in content


def test_held_out_dialogues_are_never_trained_on() -> None:
    assert not any(is_held_out(render(dialogue)) for dialogue in some())
    held_out = [dialogue for dialogue, _ in zip(dialogues(SEED, HELD_OUT), range(20), strict=False)]
    assert all(is_held_out(render(dialogue)) for dialogue in held_out)


def test_the_data_has_every_kind() -> None:
    texts = [render(dialogue) for dialogue in some()]
    assert sum(is_chinese(text) for text in texts) > SOME / 5
    for mark in (
        "<tools>",
        "<tool_call>",
        "<tool_response>",
        "<|im_start|>system",
        '{"name"',
        "penstock run",
    ):
        assert any(mark in text for text in texts), mark


def test_tool_calls_use_a_given_tool_and_its_parameters() -> None:
    for dialogue in some():
        given: dict[str, Any] = {tool["function"]["name"]: tool["function"] for tool in dialogue.tools}  # type: ignore[index]
        for message in dialogue.messages:
            for call in message.get("tool_calls", ()):  # type: ignore[attr-defined]
                function = call["function"]
                parameters = given[function["name"]]["parameters"]
                assert set(function["arguments"]) <= set(parameters["properties"])
                assert set(parameters.get("required", ())) <= set(function["arguments"])


def test_json_answers_are_json() -> None:
    rng = random.Random(SEED)  # noqa: S311 - a fixed sequence is wanted
    for index in range(500):
        _, answer = json_tasks.exchange(rng, "zh" if index % 3 == 0 else "en")
        json.loads(str(answer["content"]))


def test_patterns() -> None:
    rng = random.Random(SEED)  # noqa: S311 - a fixed sequence is wanted
    said = {say(rng, "[hello|hi [there|you]] {name}", name="Anna") for _ in range(100)}
    assert said == {"Hello Anna", "Hi there Anna", "Hi you Anna"}
    with pytest.raises(ValueError, match="unbalanced"):
        say(rng, "[hello")
    assert {casual(rng, "Who are you?").lower().rstrip("?") for _ in range(50)} & {"who are you"}


def test_the_tokenizer_round_trips_and_its_marks_are_single_tokens() -> None:
    from models.demo.tokenizer import CONTROL, MARKS, VOCABULARY, load

    tokenizer = load()
    assert tokenizer.get_vocab_size() == VOCABULARY
    for text in (
        "Hello, who are you?",
        "你好，法国的首都是哪里？",
        '{"name": "Zoë", "age": 7}',
        "naïve 🙂\n\ttab",
        "龘靐齉",
    ):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    for mark in (*CONTROL, *MARKS):
        assert len(tokenizer.encode(mark).ids) == 1


def test_only_what_the_assistant_says_is_learned() -> None:
    from models.demo.tokenizer import encode_dialogue, load

    tokenizer = load()
    for dialogue in some()[:200]:
        if dialogue.plain:
            continue
        opening = 1 if dialogue.forced else 0  # what a grammar forces is not learned
        ids, spoken = encode_dialogue(tokenizer, dialogue)
        learned = [token for token, mine in zip(ids, spoken, strict=True) if mine]
        text = tokenizer.decode(learned, skip_special_tokens=False)
        answers = sum(message["role"] == "assistant" for message in dialogue.messages)
        assert text.count("<|im_end|>") == answers
        assert "<|im_start|>" not in text
        last = tokenizer.encode(str(dialogue.messages[-1]["content"])).ids[opening:]
        assert tokenizer.decode(last, skip_special_tokens=False) in text
