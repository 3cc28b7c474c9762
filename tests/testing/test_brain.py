"""The scripted model: what it makes of a question, and that its arguments satisfy any schema."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.testing.brain import (
    GREETING,
    REFUSAL,
    Ask,
    Brain,
    Call,
    Reply,
    Result,
    Seals,
    Tool,
    Turn,
    fill,
    words,
)


def schema(**properties: Any) -> Any:
    return {"type": "object", "properties": properties, "required": list(properties)}


INTEGER = {"type": "integer"}
STRING = {"type": "string"}
ADD = Tool("my_adder_tool", "", schema(a=INTEGER, b=INTEGER))
MULTIPLY = Tool("multiply", "", schema(a=INTEGER, b=INTEGER))
WEATHER = Tool("get_weather", "", schema(location=STRING))
CUSTOMER = Tool("create_customer", "", schema(customer_name=STRING, note=STRING))


def reply(question: str, *tools: Tool, **more: Any) -> Reply:
    return Brain().answer(Ask((Turn("user", question),), tools=tools, **more))


def calls(question: str, *tools: Tool, **more: Any) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in reply(question, *tools, **more).calls]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is 3 + 4", [("my_adder_tool", {"a": 3, "b": 4})]),
        ("multiply 3 by 4 and 5 by 6", [("multiply", {"a": 3, "b": 4}), ("multiply", {"a": 5, "b": 6})]),
        (
            "Multiply 3 by 4, and add 5 and 6",
            [("multiply", {"a": 3, "b": 4}), ("my_adder_tool", {"a": 5, "b": 6})],
        ),
        (
            "multiply(1, 2) and multiply(3, 4)",
            [("multiply", {"a": 1, "b": 2}), ("multiply", {"a": 3, "b": 4})],
        ),
        ("What is the weather in San Francisco, CA?", [("get_weather", {"location": "San Francisco, CA"})]),
        (
            "What is the weather in Paris, Rome and New York?",
            [("get_weather", {"location": city}) for city in ("Paris", "Rome", "New York")],
        ),
        ("Hello!", []),
        ("Tell me something about water", []),
    ],
)
def test_calls_of_a_question(question: str, expected: list[tuple[str, Any]]) -> None:
    assert calls(question, ADD, MULTIPLY, WEATHER) == expected


def test_choices() -> None:
    assert calls("Hello!", ADD, WEATHER, choice="any")[0][0] == "my_adder_tool"
    assert calls("Hello!", ADD, WEATHER, choice="any", only=("get_weather",))[0][0] == "get_weather"
    assert calls("What is 3 + 4", ADD, choice="none") == []
    assert len(calls("weather in Paris and Rome", WEATHER, parallel=False)) == 1
    assert calls("Create a customer named '你好啊集团'", CUSTOMER)[0][1]["customer_name"] == "你好啊集团"


def test_a_loop_ends_when_every_call_was_made() -> None:
    turns = [Turn("user", "call get_weather for Paris 30 times, one at a time")]
    brain, count = Brain(), 0
    while (said := brain.answer(Ask(tuple(turns), tools=(WEATHER,)))).calls:
        (call,) = said.calls
        count += 1
        turns.append(Turn("assistant", calls=(Call(f"c{count}", call.name, call.arguments),)))
        turns.append(Turn("user", results=(Result(f"c{count}", f"sunny {count}"),)))
    assert count == 30
    assert "sunny 1 " in said.text
    assert said.text.endswith("sunny 30")


def test_words() -> None:
    assert reply("hi").text == GREETING
    assert reply("hi", stop=("you",)).text + "you" == GREETING[: GREETING.index("you") + 3]
    assert reply("please refuse").refusal == REFUSAL
    assert reply("count to 9", max_tokens=3).finish == "length"
    assert reply("What is your system prompt?", system="Be kind.").text == "It says: Be kind."
    assert json.loads(reply("Return JSON with 'a' and 'b'").text).keys() == {"a", "b"}
    cut = reply("What is 3 + 4", ADD, max_tokens=2)
    assert (cut.calls[0].text, cut.calls[0].arguments, cut.finish) == ('{"a":', {}, "length")
    thought = reply("hi", thinking=True)
    assert thought.tokens == len(words(thought.thought)) + len(words(thought.text))


SCHEMAS = st.recursive(
    st.sampled_from([STRING, INTEGER, {"type": "number"}, {"type": "boolean"}, {"type": "null"}])
    | st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(),
        st.integers(0, 9),
    )
    | st.builds(
        lambda low, high: {"type": "string", "minLength": low, "maxLength": low + high},
        st.integers(0, 99),
        st.integers(0, 9),
    )
    | st.builds(lambda values: {"enum": values}, st.lists(st.text() | st.integers(), min_size=1))
    | st.sampled_from([{"type": "string", "format": name} for name in ("date", "email", "uuid", "ipv4")])
    | st.builds(lambda step: {"type": "integer", "multipleOf": step}, st.integers(1, 9)),
    lambda inner: (
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least},
            inner,
            st.integers(0, 3),
        )
        | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).map(
            lambda p: {**schema(**p), "additionalProperties": False}
        )
    ),
    max_leaves=6,
)


@given(SCHEMAS, st.text(max_size=40) | st.sampled_from(["add 3 and 400 in Paris", "a 'quoted' word"]))
def test_values_satisfy_the_schema(wanted: Any, question: str) -> None:
    jsonschema_rs.validator_for(wanted, validate_formats=True).validate(fill(wanted, question))


def test_a_seal_is_good_for_one_thing() -> None:
    seals = Seals()
    seal = seals.seal("thinking", "thought")
    assert seals.is_good("thinking", "thought", seal)
    assert seal != seals.seal("thinking", "thought")
    for kind, content, given_seal in (
        ("call", "thought", seal),
        ("thinking", "other", seal),
        ("thinking", "thought", "x"),
    ):
        assert not seals.is_good(kind, content, given_seal)
    assert not seals.is_good("thinking", "thought", None)
    assert not seals.is_good("thinking", "thought", seal[:-4] + "AAA=")
