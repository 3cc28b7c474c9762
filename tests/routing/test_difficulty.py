import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing import select
from penstock.routing.difficulty import (
    WEIGHTS,
    Decision,
    Features,
    Thresholds,
    features_of,
    is_harder,
    level_of,
    preference,
    question_of,
    score,
    shortened,
)
from penstock.routing.examples import scale_of
from penstock.routing.refusals import LONGEST, is_refusal
from penstock.routing.select import Candidate
from penstock.types.conversation import (
    Conversation,
    Format,
    MediaPart,
    Part,
    TextPart,
    Thinking,
    Tool,
    ToolResultPart,
    Turn,
)
from penstock.types.deployment import LEVELS, Deployment, Labels, Level, Target
from prompts import EASY, HARD

SHARES = st.floats(0, 1)
FEATURES = st.builds(Features, *[SHARES] * len(Features._fields))
LEVEL = st.sampled_from(LEVELS)
THRESHOLDS = st.tuples(SHARES, SHARES).map(lambda pair: Thresholds(*sorted(pair)))


def asked(text: str) -> Conversation:
    return Conversation([Turn("user", [TextPart(text)])])


def seen(text: str) -> Features:
    return features_of(asked(text))


def test_every_feature_has_a_weight() -> None:
    assert tuple(WEIGHTS) == Features._fields


@given(FEATURES, st.sampled_from(Features._fields), SHARES)
def test_more_of_anything_is_no_easier(features: Features, name: str, more: float) -> None:
    low, high = sorted((getattr(features, name), more))
    less_score, _ = score(features._replace(**{name: low}))
    more_score, _ = score(features._replace(**{name: high}))
    assert 0 <= less_score <= more_score <= 1


@given(FEATURES)
def test_the_parts_are_what_the_score_is_made_of(features: Features) -> None:
    value, parts = score(features)
    assert value == pytest.approx(min(1.0, sum(part for _, part in parts)))
    assert [part for _, part in parts] == sorted((part for _, part in parts), reverse=True)
    assert all(part > 0 for _, part in parts)


@given(st.text(max_size=3000), st.lists(st.sampled_from(["user", "assistant", "tool", "system"]), max_size=9))
def test_any_text_has_features_between_nothing_and_all(text: str, roles: list[str]) -> None:
    turns = [Turn(role, [TextPart(text)]) for role in roles]  # type: ignore[arg-type]
    assert all(0 <= value <= 1 for value in features_of(Conversation(turns)))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9000), st.integers(0, 9000))
def test_more_tools_turns_and_characters_are_no_easier(tools: int, turns: int, short: int, more: int) -> None:
    def of(count: int, depth: int, length: int) -> Features:
        said = [Turn("assistant", [TextPart("ok")])] * depth
        question = Turn("user", [TextPart("x" * length)])
        return features_of(Conversation([*said, question], [Tool("f")] * count))

    less, rest = of(tools, turns, short), of(tools + 1, turns + 1, short + more)
    assert rest.tools >= less.tools
    assert rest.depth >= less.depth
    assert rest.length >= less.length


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("```\nx\n```", "code"),
        ("def f():\n    pass", "code"),
        ("Warum wirft diese Funktion in main.py eine Exception?", "code"),
        ("为什么这个函数报错？", "code"),
        (r"Simplify \frac{a}{b}", "maths"),
        ("Solve x^2 = 4", "maths"),
        ("Berechne die Ableitung", "maths"),
        ("求这个矩阵的导数", "maths"),
        ("Compare the two and justify it.", "reasoning"),
        ("Think step by step.", "reasoning"),
        ("Beweise das Schritt für Schritt.", "reasoning"),
        ("请逐步推导", "reasoning"),
        ("你好", "language"),
    ],
)
def test_signs(text: str, feature: str) -> None:
    assert getattr(seen(text), feature) > 0
    assert getattr(seen("Where is the post office?"), feature) == 0


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        (None, 0),
        (Thinking(enabled=False, effort="high"), 0),
        (Thinking(effort="none"), 0),
        (Thinking(effort="low"), 0),
        (Thinking(enabled=True), 0.4),
        (Thinking(effort="medium"), 0.4),
        (Thinking(effort="high"), 0.8),
        (Thinking(effort="max"), 1),
        (Thinking(budget_tokens=8192), 0.5),
        (Thinking(effort="low", budget_tokens=99_999), 1),
    ],
)
def test_effort(thinking: Thinking | None, expected: float) -> None:
    assert features_of(Conversation([], thinking=thinking)).effort == expected


def test_a_form_counts() -> None:
    assert features_of(Conversation([], format=Format("json_object"))).schema == 1


def test_the_question_is_the_last_user_turn() -> None:
    parts: list[Part] = [TextPart("and"), MediaPart("image", data="AAAA"), TextPart("this")]
    turns = [
        Turn("system", [TextPart("Prove everything.")]),
        Turn("user", [TextPart("Prove it.")]),
        Turn("assistant", [TextPart("Done.")]),
        Turn("user", parts),
        Turn("tool", [ToolResultPart("1", [TextPart("prove")])]),
    ]
    assert question_of(Conversation(turns)) == "and\nthis"
    assert question_of(Conversation(turns[:1])) == ""
    assert features_of(Conversation(turns)).reasoning == 0


@given(st.text(), st.integers(1, 20), st.integers(1, 20))
def test_shortened_keeps_both_ends(text: str, start: int, end: int) -> None:
    short = shortened(text, start, end)
    assert len(short) <= start + end + 1
    assert text.startswith(short[:start])
    assert text.endswith(short[-end:])


@given(SHARES, SHARES, THRESHOLDS, st.sets(LEVEL, min_size=1))
def test_a_higher_score_is_no_lower_level(
    one: float, other: float, thresholds: Thresholds, there: set[Level]
) -> None:
    low, high = (level_of(value, thresholds, there) for value in sorted((one, other)))
    assert {low, high} <= there
    assert not is_harder(low, high)


@pytest.mark.parametrize(
    ("there", "value", "expected"),
    [
        (LEVELS, 0.2, "easy"),
        (LEVELS, 0.4, "medium"),
        (LEVELS, 0.7, "hard"),
        (("easy", "hard"), 0.6, "easy"),  # of two the harder one's counts
        (("easy", "medium"), 0.4, "medium"),
        (("medium", "hard"), 0.0, "medium"),
        (("medium", "hard"), 0.7, "hard"),
    ],
)
def test_levels(there: tuple[Level, ...], value: float, expected: Level) -> None:
    assert level_of(value, Thresholds(0.4, 0.7), there) == expected


def test_next_the_harder_then_the_easier() -> None:
    assert preference(Decision("easy")) == ("easy", "medium", "hard")
    assert preference(Decision("medium")) == ("medium", "hard", "easy")
    assert preference(Decision("hard")) == ("hard", "medium", "easy")
    assert preference(Decision("easy", aim="hard")) == ("hard", "medium", "easy")


@given(st.lists(LEVEL, min_size=1, max_size=5), LEVEL, st.floats(0, 1, exclude_max=True))
def test_somebody_is_always_chosen_and_of_the_level_where_there_is_one(
    there: list[Level], wanted: Level, roll: float
) -> None:
    codec: object = None
    candidates = [
        Candidate(
            Target(Deployment(f"{at}", "m", codec, frozenset({"chat"})), Labels(), 1.0, level),  # type: ignore[arg-type]
            f"{at}",
        )
        for at, level in enumerate(there)
    ]
    chosen = select.preferred(candidates, preference(Decision(wanted)), roll).target.when
    assert chosen == next(level for level in preference(Decision(wanted)) if level in there)


def test_a_decision_in_words() -> None:
    assert str(Decision("hard")) == "hard; asked"
    assert str(Decision("easy", 0.0)) == "0.00 easy"
    made = Decision("medium", 0.634, (("code", 0.5), ("length", 0.134)), ("schema", "refusal"))
    assert str(made) == "0.63 medium; code=0.50, length=0.13; escalated=schema,refusal"


def test_the_looks_tell_most_of_forty_questions() -> None:
    """docs/log.md has the figures; a change of the weights changes them."""
    thresholds = Thresholds(0.25, 0.4)
    levels = [[level_of(score(seen(one))[0], thresholds, LEVELS) for one in part] for part in (EASY, HARD)]
    assert [part.count("hard") for part in levels] == [0, 16]
    assert [part.count("easy") for part in levels] == [17, 3]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m sorry, but I can\u2019t help with this request.",
        " Sorry, I cannot help.",
        "As an AI language model, I cannot answer this.",
        "I am unable to help with that.",
        "I won't be able to provide that.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Dabei kann ich leider nicht helfen.",
        "很抱歉，我无法回答这个问题。",
        "对不起，我不能提供。",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)
    assert not is_refusal(f"The answer is 4. {text}")
    assert not is_refusal(text + " " + "x" * LONGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I can't find the variable x in your code; declare it first.",
        "Sorry for the confusion! It is Paris.",
        "I cannot say for sure, but probably Paris.",
        "I'm sorry to hear that. Try to rest.",
        "Unfortunately the train leaves at 3.",
        "对不起是道歉的意思。",
    ],
)
def test_what_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_the_scale_goes_from_the_easy_mean_to_the_hard_one() -> None:
    dice = random.Random(1)  # noqa: S311 - no secret

    def near(x: float, y: float) -> list[float]:
        return [x + dice.uniform(-0.1, 0.1), y + dice.uniform(-0.1, 0.1)]

    easy, hard = [near(1, 0) for _ in range(9)], [near(0, 1) for _ in range(9)]
    scale = scale_of(easy, hard)
    assert scale is not None
    assert scale.score([5, 0]) < 0.1
    assert scale.score([0, 0.3]) > 0.9
    assert scale.score([1, 1]) == pytest.approx(0.5, abs=0.1)
    assert scale.score([0, 0]) == pytest.approx(0.5, abs=0.1)
    assert scale_of(easy, easy) is None
