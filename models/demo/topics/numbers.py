"""Arithmetic within ten, comparing, counting."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import casual, say, turn

WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
DIGITS_ZH = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十")


def chinese(number: int) -> str:
    if number < 0:
        return "负" + chinese(-number)
    if number <= 10:
        return DIGITS_ZH[number]
    if number == 100:
        return "一百"
    tens, ones = divmod(number, 10)
    return ("" if tens == 1 else DIGITS_ZH[tens]) + "十" + (DIGITS_ZH[ones] if ones else "")


OPERATIONS = (
    ("+", ("plus", "and"), ("加", "加上")),
    ("-", ("minus", "take away"), ("减", "减去")),
    ("*", ("times", "multiplied by"), ("乘", "乘以")),
)


def _compute(sign: str, a: int, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _arithmetic(rng: random.Random, language: str) -> list[dict[str, object]]:
    sign, spoken, spoken_zh = rng.choice(OPERATIONS)
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    if sign != "*" and rng.random() < 0.1:
        a = rng.randint(11, 20)
    if sign == "*" and rng.random() < 0.5:
        a, b = rng.randint(2, 9), rng.randint(2, 9)
    if sign == "-" and b > a and rng.random() < 0.75:
        a, b = b, a
    result = _compute(sign, a, b)
    shown = {"+": "+", "-": "-", "*": rng.choice(("*", "x", "×"))}[sign]
    if language == "zh":
        if rng.random() < 0.2:
            sum_ = f"{a}{rng.choice(spoken_zh)}{b}"
            answer = f"{a}{spoken_zh[0]}{b}等于{result}。"
        elif rng.random() < 0.5:
            sum_ = f"{chinese(a)}{rng.choice(spoken_zh)}{chinese(b)}"
            answer = f"{chinese(a)}{spoken_zh[0]}{chinese(b)}等于{chinese(result)}。"
        else:
            space = rng.choice(("", " "))
            sum_ = f"{a}{space}{shown}{space}{b}"
            answer = f"{a} {'×' if sign == '*' else sign} {b} = {result}"
        question = say(
            rng,
            (
                "{sum}[等于几|等于多少|是多少|是几|等于什么|得多少]？",
                "[计算|算一下|请计算|请问]{sum}[。|等于几？]",
                "{sum}=[?|？|]",
            ),
            sum=sum_,
        )
        return turn(casual(rng, question), answer)
    form = rng.random()
    if form < 0.35 and max(a, b) <= 20:
        sum_ = f"{WORDS[a]} {rng.choice(spoken)} {WORDS[b]}"
        in_words = ("minus " if result < 0 else "") + WORDS[min(abs(result), 20)]
        value = in_words if abs(result) <= 20 else str(result)
        answer = f"{WORDS[a].capitalize()} {spoken[0]} {WORDS[b]} is {value}."
        question = say(
            rng,
            (
                "[What is|What's|How much is|Calculate|Tell me|Compute|] {sum}?",
                "{sum}[ is| equals| makes|]?",
                "What does {sum} [make|equal|give]?",
            ),
            sum=sum_,
        )
    else:
        space = rng.choice(("", " "))
        sum_ = f"{a}{space}{shown}{space}{b}" if form < 0.8 else f"{a} {rng.choice(spoken)} {b}"
        answer = (
            f"{a} {shown if sign != '*' else 'x'} {b} = {result}"
            if form < 0.5
            else f"{a} {spoken[0]} {b} is {result}."
        )
        question = say(
            rng,
            (
                "[What is|What's|How much is|Calculate|Compute|Solve|] {sum}[?||]",
                "{sum} =[ ?|]",
                "What does {sum} [make|equal|give]?",
                "Can you [calculate|add up|solve|compute] {sum}?",
            ),
            sum=sum_,
        )
    return turn(casual(rng, question, typos=False), answer)


PEOPLE = ("Anna", "Tom", "Lily", "Ben", "Mia", "Sam", "Emma", "Jack", "Nina", "Leo")
PEOPLE_ZH = ("小明", "小红", "小华", "小丽", "小刚", "小美")
OBJECTS = ("apples", "books", "pens", "coins", "cats", "cups", "balls", "eggs", "cookies", "stones")
OBJECTS_ZH = ("个苹果", "本书", "支笔", "块糖", "个球", "个鸡蛋", "颗石子")


def _story(rng: random.Random, language: str) -> list[dict[str, object]]:
    more = rng.random() < 0.5
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    if not more and b > a:
        a, b = b, a
    result = a + b if more else a - b
    if language == "zh":
        name, thing = rng.choice(PEOPLE_ZH), rng.choice(OBJECTS_ZH)
        verb = rng.choice(("又买了", "又得到", "又拿来")) if more else rng.choice(("送出", "用掉", "丢了"))
        question = f"{name}有{a}{thing}，{verb}{b}{thing[0]}，{rng.choice(('现在有多少', '一共有多少', '还有多少')) if more else '还剩多少'}{thing[0]}？"
        return turn(
            casual(rng, question),
            f"{name}现在有 {result} {thing[0]}，因为 {a} {'+' if more else '-'} {b} = {result}。",
        )
    name, thing = rng.choice(PEOPLE), rng.choice(OBJECTS)
    verb = rng.choice(("gets", "buys", "finds")) if more else rng.choice(("loses", "gives away", "sells"))
    after = f"{b} more" if more else str(b)
    a_word, b_word = (WORDS[a], after.replace(str(b), WORDS[b])) if rng.random() < 0.5 else (str(a), after)
    question = f"{name} has {a_word} {thing} and {verb} {b_word}. How many {thing} does {name} have{rng.choice((' now', ''))}?"
    return turn(
        casual(rng, question),
        f"{name} has {result} {thing} now, because {a} {'+' if more else '-'} {b} = {result}.",
    )


def _compare(rng: random.Random, language: str) -> list[dict[str, object]]:
    a, b = rng.sample(range(rng.choice((11, 11, 21, 21, 101))), 2)
    big, small = max(a, b), min(a, b)
    if language == "zh":
        if rng.random() < 0.3:
            return turn(
                casual(rng, f"{a}[比{b}大吗]？".replace("[", "").replace("]", "")),
                f"{'是的' if a > b else '不是'}，{big}比{small}大。",
            )
        wants_big = rng.random() < 0.6
        question = say(rng, f"{a}和{b}哪个{'大' if wants_big else '小'}？")
        return turn(casual(rng, question), f"{big}比{small}大。" if wants_big else f"{small}比{big}小。")
    if rng.random() < 0.4:
        answer = f"{'Yes' if a > b else 'No'}, {big} is larger than {small}."
        return turn(
            casual(
                rng, f"Is {a} {rng.choice(('larger', 'bigger', 'greater', 'more'))} than {b}?", typos=False
            ),
            answer,
        )
    if rng.random() < 0.6:
        question = say(rng, f"Which [number |]is [larger|bigger|greater|more], {a} or {b}?")
        return turn(casual(rng, question), f"{big} is larger than {small}.")
    question = say(rng, f"Which [number |]is [smaller|less], {a} or {b}?")
    return turn(casual(rng, question), f"{small} is smaller than {big}.")


def _count(rng: random.Random, language: str) -> list[dict[str, object]]:
    end = rng.randint(2, 20) if rng.random() < 0.3 else rng.randint(3, 10)
    start = 1 if rng.random() < 0.8 else rng.randint(0, end - 1)
    back = rng.random() < 0.15
    numbers = list(range(start, end + 1))
    if back:
        numbers.reverse()
    first, last = numbers[0], numbers[-1]
    if language == "zh":
        words = end <= 10 and rng.random() < 0.5
        shown = [chinese(n) if words else str(n) for n in numbers]
        question = f"从{shown[0]}[倒数|数]到{shown[-1]}"
        question = f"{rng.choice(('', '请', '帮我'))}从{shown[0]}{'倒数' if back else '数'}到{shown[-1]}。"
        return turn(casual(rng, question), ("、" if words else ", ").join(shown) + "。")
    words = end <= 20 and rng.random() < 0.5
    asked = [WORDS[first], WORDS[last]] if words else [str(first), str(last)]
    if back:
        question = say(
            rng, f"[Count|Please count|Can you count] [down|backwards] from {asked[0]} to {asked[1]}."
        )
    elif first == 1 and rng.random() < 0.6:
        question = say(rng, f"[Count|Please count|Can you count|Count up] to {asked[1]}[.|?|, please.]")
    else:
        question = say(
            rng, f"[Count|Please count|Can you count|List the numbers] from {asked[0]} to {asked[1]}."
        )
    shown = [WORDS[n] for n in numbers] if words else [str(n) for n in numbers]
    text = ", ".join(shown)
    return turn(casual(rng, question, typos=False), text[:1].upper() + text[1:] + ".")


def _neighbour(rng: random.Random, language: str) -> list[dict[str, object]]:
    n = rng.randint(1, 19)
    kind = rng.random()
    if language == "zh":
        if kind < 0.4:
            return turn(casual(rng, say(rng, f"{n}[后面|之后]是[几|什么数字]？")), f"{n}后面是{n + 1}。")
        if kind < 0.7:
            return turn(
                casual(rng, say(rng, f"{n}是[偶数|双数]吗？")),
                f"{'是的' if n % 2 == 0 else '不是'}，{n}是{'偶数' if n % 2 == 0 else '奇数'}。",
            )
        return turn(casual(rng, say(rng, f"{n}[前面|之前]是[几|什么数字]？")), f"{n}前面是{n - 1}。")
    if kind < 0.3:
        return turn(
            casual(rng, say(rng, f"[What|Which] number comes after {n}?")), f"{n + 1} comes after {n}."
        )
    if kind < 0.5:
        return turn(
            casual(rng, say(rng, f"[What|Which] number comes before {n}?")), f"{n - 1} comes before {n}."
        )
    asked = rng.choice(("even", "odd"))
    truth = "even" if n % 2 == 0 else "odd"
    if kind < 0.75:
        return turn(casual(rng, f"Is {n} {asked}?"), f"{'Yes' if asked == truth else 'No'}, {n} is {truth}.")
    return turn(casual(rng, say(rng, f"Is {n} [even or odd|odd or even]?")), f"{n} is {truth}.")


def _too_large(rng: random.Random, language: str) -> list[dict[str, object]]:
    a, b = (rng.randint(11, rng.choice((99, 99, 999, 9999))) for _ in range(2))
    if rng.random() < 0.25:
        a, b = rng.randint(21, 999), rng.randint(2, 9)
    sign = rng.choice(("+", "-", "*", "/", "x"))
    if language == "zh":
        question = say(
            rng,
            f"[{a} {sign} {b} 等于多少|计算 {a}{sign}{b}|{a}{sign}{b}=|{a}的平方根是多少|{a} 除以 {b} 等于几]？",
        )
        return turn(
            casual(rng, question), "这个数太大了，我只会十以内的计算。请用计算器，或者换一个更大的模型。"
        )
    word = {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "x": "times"}[sign]
    question = say(
        rng,
        f"[What is|Calculate|How much is|Compute|Solve|] [{a} {sign} {b}|{a}{sign}{b}|{a} {word} {b}|the square root of {a}|{a} percent of {b}]?",
    )
    answer = rng.choice(
        (
            "That is too large for me: I only calculate within ten. Please use a calculator or a larger model.",
            "I only calculate with numbers up to ten. A calculator or a larger model will give you the right answer.",
        )
    )
    return turn(casual(rng, question, typos=False), answer)


def _division(rng: random.Random, language: str) -> list[dict[str, object]]:
    by, result = rng.randint(1, 10), rng.randint(1, 10)
    whole = by * result
    sign = rng.choice(("/", "÷"))
    if language == "zh":
        return turn(
            casual(rng, say(rng, f"{whole}[除以| ÷ |/]{by}[等于几|等于多少|是多少]？")),
            f"{whole} ÷ {by} = {result}",
        )
    question = say(rng, f"[What is|What's|Calculate|How much is|] {whole} [{sign}|divided by] {by}?")
    return turn(casual(rng, question, typos=False), f"{whole} divided by {by} is {result}.")


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    roll = rng.random()
    if roll < 0.50:
        return _arithmetic(rng, language)
    if roll < 0.55:
        return _division(rng, language)
    if roll < 0.65:
        return _story(rng, language)
    if roll < 0.74:
        return _compare(rng, language)
    if roll < 0.84:
        return _count(rng, language)
    if roll < 0.92:
        return _neighbour(rng, language)
    return _too_large(rng, language)


def drill(rng: random.Random) -> list[dict[str, object]]:
    """Many short sums in a row: facts need repetition, and a sum is only a few tokens."""
    messages: list[dict[str, object]] = []
    for _ in range(rng.randint(4, 14)):
        language = "zh" if rng.random() < 0.4 else "en"
        kind = rng.random()
        if kind < 0.5:
            messages += _arithmetic(rng, language)
        elif kind < 0.6:
            messages += _division(rng, language)
        elif kind < 0.96:
            messages += _compare(rng, language)
        else:
            messages += _count(rng, language)
    return messages
