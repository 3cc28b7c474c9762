"""JSON: objects with given contents, values read out of a sentence, lists. The answer is JSON and nothing else."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import json
import random

from models.demo.grammar import casual, invented, say, turn
from models.demo.topics.facts import CAPITALS, NUMBER_WORDS, NUMBER_ZH, SETS, in_order
from models.demo.topics.memory import CITIES, CITIES_ZH, COLOURS, COLOURS_ZH, NAMES, chinese_name

JOBS = (
    "teacher",
    "doctor",
    "engineer",
    "student",
    "driver",
    "cook",
    "farmer",
    "nurse",
    "painter",
    "pilot",
    "baker",
    "lawyer",
)
JOBS_ZH = ("老师", "医生", "工程师", "学生", "司机", "厨师", "农民", "护士", "画家", "律师")
PRODUCTS = (
    "lamp",
    "book",
    "phone",
    "chair",
    "bicycle",
    "cup",
    "shirt",
    "table",
    "watch",
    "bag",
    "pump",
    "valve",
)
PRODUCTS_ZH = ("台灯", "书", "手机", "椅子", "自行车", "杯子", "衬衫", "桌子", "手表", "书包")
TITLES = (
    "Buy milk",
    "Call Tom",
    "Fix the gate",
    "Write the report",
    "Water the plants",
    "Book a table",
    "Read a book",
)
TITLES_ZH = ("买牛奶", "打电话", "修门", "写报告", "浇花", "读书", "开会")


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(rng: random.Random, key: str, language: str) -> object:
    zh = language == "zh"
    choices: dict[str, object] = {
        "name": invented(rng) if rng.random() < 0.2 else chinese_name(rng) if zh else rng.choice(NAMES),
        "age": rng.randint(1, 90),
        "city": invented(rng) if rng.random() < 0.1 else rng.choice(CITIES_ZH if zh else CITIES),
        "job": rng.choice(JOBS_ZH if zh else JOBS),
        "color": rng.choice(COLOURS_ZH if zh else COLOURS),
        "price": rng.choice((rng.randint(1, 99), rng.randint(10, 999) / 10)),
        "product": rng.choice(PRODUCTS_ZH if zh else PRODUCTS),
        "count": rng.randint(0, 50),
        "title": rng.choice(TITLES_ZH if zh else TITLES),
        "done": rng.random() < 0.5,
        "active": rng.random() < 0.5,
        "id": rng.randint(1, 999),
        "status": rng.choice(("ok", "error", "open", "closed", "ready")),
        "email": f"{rng.choice(NAMES).lower()}@example.com",
        "country": rng.choice(CAPITALS)[2 if zh else 0].removeprefix("the "),
        "greeting": "你好" if zh else "hello",
        "message": rng.choice(("你好", "完成", "谢谢"))
        if zh
        else rng.choice(("hello", "done", "thank you", "hi there")),
        "score": rng.randint(0, 10),
        "year": rng.randint(1950, 2030),
        "x": rng.randint(0, 20),
        "y": rng.randint(0, 20),
        "a": rng.randint(0, 9),
        "b": rng.randint(0, 9),
        "key": rng.choice(("a", "b", "value", "door")),
        "value": rng.choice((rng.randint(0, 99), "water", "blue", "on")),
    }
    return choices[key]


KEYS = (
    "name", "age", "city", "job", "color", "price", "product", "count", "title", "done", "active", "id", "status",
    "email", "country", "greeting", "message", "score", "year", "x", "y", "a", "b", "key", "value",
)  # fmt: skip
GROUPS = (
    ("name", "age"), ("name", "age", "city"), ("name", "city"), ("product", "price"), ("title", "done"), ("x", "y"),
    ("id", "name", "active"), ("name", "job"), ("city", "country"), ("name", "email"), ("status", "message"), ("a", "b"),
    ("name", "age", "job"), ("product", "price", "color"), ("id", "title"), ("name", "score"), ("key", "value"), ("name",),
)  # fmt: skip

BOOKS = (
    "The Old Gate",
    "A River at Dawn",
    "The Small Engine",
    "Winter Light",
    "The Quiet Sea",
    "Seven Doors",
)
BOOKS_ZH = ("老闸门", "清晨的河", "小小引擎", "冬天的光", "安静的大海")


def _record(rng: random.Random, keys: list[str], language: str) -> dict[str, object]:
    record = {key: _value(rng, key, language) for key in keys}
    if "city" in record and "country" in record:
        country, city, country_zh, city_zh = rng.choice(CAPITALS)
        record["city"] = city_zh if language == "zh" else city
        record["country"] = country_zh if language == "zh" else country.removeprefix("the ")
    return record


def _keys(rng: random.Random) -> list[str]:
    if rng.random() < 0.6:
        return list(rng.choice(GROUPS))
    return rng.sample(KEYS, rng.randint(1, 4))


def _text(value: object) -> str:
    return dump(value) if isinstance(value, bool) else str(value)


def _object(rng: random.Random, language: str) -> list[dict[str, object]]:
    record = _record(rng, _keys(rng), language)
    if language == "zh":
        pairs = "、".join(
            f"{key} {rng.choice(('是', '为', '='))} {_text(value)}" for key, value in record.items()
        )
        question = say(
            rng, "[给我|写|生成|返回|请给我|输出]一个 JSON [对象|]，[其中|包含|] {pairs}。", pairs=pairs
        )
        return turn(casual(rng, question), dump(record))
    style = rng.choice((" {v}", " {v}", " = {v}", ": {v}", " set to {v}", ' "{v}"'))
    parts = [key + style.replace("{v}", _text(value)) for key, value in record.items()]
    pairs = (
        parts[0]
        if len(parts) == 1
        else ", ".join(parts[:-1]) + rng.choice((" and ", ", ", ", and ")) + parts[-1]
    )
    question = say(
        rng,
        (
            "[Give me|Write|Make|Return|Create|Output|Show me|Generate|I need] [a|one] JSON [object |]with {pairs}[.|]",
            "[Return|Answer with|Reply with] [only |]JSON: {pairs}[.|]",
            "JSON with {pairs}[.|, please.|]",
            "{pairs} as JSON[.|, please.|]",
        ),
        pairs=pairs,
    )
    if question[0] == "[":
        question = pairs
    return turn(question if rng.random() < 0.6 else question.rstrip("."), dump(record))


def _invented(rng: random.Random, language: str) -> list[dict[str, object]]:
    """Keys are given, values are free."""
    keys = _keys(rng)
    if len(keys) == 1:
        keys = ["name", "age"]
    record = _record(rng, keys, language)
    if language == "zh":
        question = say(
            rng, "[给我|生成|写|返回]一个[有|带|包含] {keys} 的 JSON [对象|]。", keys="、".join(keys)
        )
        return turn(casual(rng, question), dump(record))
    names = ", ".join(keys[:-1]) + " and " + keys[-1]
    question = say(
        rng,
        (
            "[Give me|Write|Make|Return|Generate|Create] [a|an example] JSON [object |]with [the keys |the fields |]{keys}[.|]",
            "[Invent|Make up|Describe] a {thing} as JSON with [the keys |the fields |]{keys}[.|]",
            "[Give me|Generate|Return] a {thing} [as|in] JSON[ format||] with {keys}[.|]",
        ),
        keys=names,
        thing=rng.choice(("person", "user", "record", "thing", "test object", "customer", "product")),
    )
    return turn(casual(rng, question, typos=False), dump(record))


def _bare(rng: random.Random, language: str) -> list[dict[str, object]]:
    kind = rng.choice(("person", "user", "product", "city", "task", "book", "greeting", "point", "json"))
    shape = {
        "person": ("name", "age", "city"), "user": ("id", "name", "email"), "product": ("product", "price"),
        "city": ("city", "country"), "task": ("title", "done"), "book": ("title", "year"), "greeting": ("greeting",),
        "point": ("x", "y"), "json": ("name", "age"),
    }[kind]  # fmt: skip
    record = _record(rng, list(shape), language)
    if kind == "book":
        record["title"] = rng.choice(BOOKS_ZH if language == "zh" else BOOKS)
    if language == "zh":
        name = {
            "person": "人",
            "user": "用户",
            "product": "商品",
            "city": "城市",
            "task": "任务",
            "book": "书",
            "greeting": "问候",
            "point": "点",
            "json": "例子",
        }[kind]
        question = say(
            rng,
            f"[用 JSON 写一个{name}|给我一个{name}的 JSON|返回一个{name}的 JSON 对象|用 JSON 格式描述一个{name}]。",
        )
        return turn(casual(rng, question), dump(record))
    thing = "example" if kind == "json" else kind
    question = say(
        rng,
        f"[Give me|Describe|Return|Write|Make|Generate|Invent] [a|an|one|some] {thing} [as JSON|in JSON|as a JSON object|in JSON format][.|]",
    )
    return turn(casual(rng, question, typos=False), dump(record))


def _extract(rng: random.Random, language: str) -> list[dict[str, object]]:
    zh = language == "zh"
    name, age, city, job = (_value(rng, key, language) for key in ("name", "age", "city", "job"))
    roll = rng.random()
    if zh:
        sentence, record = rng.choice(
            (
                (f"{name}今年{age}岁，住在{city}。", {"name": name, "age": age, "city": city}),
                (
                    f"{name}是{city}的一名{job}，{age}岁。",
                    {"name": name, "age": age, "city": city, "job": job},
                ),
                (f"我叫{name}，{age}岁，来自{city}。", {"name": name, "age": age, "city": city}),
                (f"{name}是一名{job}。", {"name": name, "job": job}),
                (f"{name}住在{city}。", {"name": name, "city": city}),
            )
        )
        keys = "、".join(record)
        question = say(
            rng,
            (
                "[提取|找出|从下面的句子提取] {keys}，[用|返回] JSON[ 回答|]：{sentence}",
                "{sentence}[请|][提取|把] {keys} [提取成|写成|转成] JSON。",
                "[把这句话转成 JSON|用 JSON 表示]：{sentence}",
            ),
            keys=keys,
            sentence=sentence,
        ).replace("提取 " + keys + " 提取成", "把 " + keys + " 提取成")  # fmt: skip
        return turn(question, dump(record))
    pronoun_job = ("an " if str(job)[0] in "aeiou" else "a ") + str(job)
    sentence, record = rng.choice(
        (
            (f"{name} is {age} years old and lives in {city}.", {"name": name, "age": age, "city": city}),
            (
                f"My name is {name}, I am {age} and I live in {city}.",
                {"name": name, "age": age, "city": city},
            ),
            (f"{name}, {age}, comes from {city}.", {"name": name, "age": age, "city": city}),
            (f"{name} from {city} is {age}.", {"name": name, "age": age, "city": city}),
            (f"{name} is {pronoun_job} in {city}.", {"name": name, "job": job, "city": city}),
            (
                f"{name} works as {pronoun_job} and is {age} years old.",
                {"name": name, "job": job, "age": age},
            ),
            (f"{name} lives in {city}.", {"name": name, "city": city}),
            (f"{name} is {age} years old.", {"name": name, "age": age}),
            (f"In {city} lives {pronoun_job} called {name}.", {"name": name, "job": job, "city": city}),
        )
    )
    if roll < 0.35:
        order = rng.sample(list(record), rng.randint(1, len(record)))
        record = {key: record[key] for key in order}
    wanted = list(record)
    names = wanted[0] if len(wanted) == 1 else ", ".join(wanted[:-1]) + " and " + wanted[-1]
    question = say(
        rng,
        (
            "[Extract|Get|Find|Pull out|Please extract|Give me] [the |]{keys} [as|in|into] JSON[ from this sentence| from this text||]: {sentence}",
            "{sentence} [Extract|Return|Give me|Write] [the |]{keys} as JSON[.|]",
            '[Extract|Find] {keys} from: ["{sentence}"|{sentence}] [Answer in|Reply with|Return] JSON[ only|][.|]',
            "[Extract|Return] [a JSON object|JSON] with {keys}[ from the text||]: {sentence}",
            *(("[Turn this into|Convert this to|Write this as] JSON: {sentence}",) if roll >= 0.35 else ()),
        ),
        keys=names,
        sentence=sentence,
    )
    return turn(question, dump(record))


def _list(rng: random.Random, language: str) -> list[dict[str, object]]:
    (_, many), items, name_zh, items_zh = rng.choice(SETS)
    count = rng.randint(2, min(5, len(items)))
    if rng.random() < 0.2:
        start = rng.randint(1, 5)
        numbers = list(range(start, start + rng.randint(2, 6)))
        if language == "zh":
            return turn(f"用 JSON 列表写出从 {numbers[0]} 到 {numbers[-1]} 的数字。", dump(numbers))
        question = say(
            rng,
            f"[Give me|Write|Return] [a JSON array|a JSON list|JSON] of the numbers from {numbers[0]} to {numbers[-1]}[.|]",
        )
        return turn(casual(rng, question, typos=False), dump(numbers))
    if language == "zh":
        chosen = in_order(rng, items_zh, count)
        number = rng.choice((str(count), NUMBER_ZH[count].replace("二", "两")))
        question = say(
            rng,
            f"[用 JSON 列出|给我一个 JSON 数组，里面有|返回 JSON 列表：]{number}{'个' if name_zh in ('国家', '城市') else '种'}{name_zh}。",
        )
        return turn(casual(rng, question), dump(chosen))
    chosen = in_order(rng, items, count)
    number = rng.choice((str(count), NUMBER_WORDS[count]))
    many = many.replace("colour", rng.choice(("colour", "color")))
    wrap = rng.random() < 0.35
    key = many.split()[-1]
    question = say(
        rng,
        f"[Give me|Write|Return|List|Make] {'a JSON object with the key ' + key + ' and' if wrap else rng.choice(('a JSON array of', 'a JSON list of', 'as JSON:'))} {number} {many}[.|]",
    )
    return turn(casual(rng, question, typos=False), dump({key: chosen} if wrap else chosen))


def _capital(rng: random.Random, language: str) -> list[dict[str, object]]:
    country, city, country_zh, city_zh = rng.choice(CAPITALS)
    country = country.removeprefix("the ")
    if language == "zh":
        question = say(
            rng,
            f"[用 JSON 回答：{country_zh}的首都是哪里|{country_zh}的首都是哪里，用 JSON 回答|返回 JSON：{country_zh}和它的首都]？",
        )
        return turn(casual(rng, question), dump({"country": country_zh, "capital": city_zh}))
    question = say(
        rng,
        f"[What is the capital of {country}? {rng.choice(('Answer in JSON.', 'Reply with JSON.', 'JSON please.', 'Answer as JSON.'))}"
        f"|Give me {country} and its capital as JSON.|Answer in JSON: what is the capital of {country}?"
        f"|Return a JSON object with country and capital for {country}.]",
    )
    return turn(casual(rng, question, typos=False), dump({"country": country, "capital": city}))


SYSTEMS = (
    "Answer only in JSON.",
    "Reply with JSON only.",
    "You answer with JSON and nothing else.",
    "Always respond in JSON.",
    "只用 JSON 回答。",
)


def asked_by_system(rng: random.Random) -> list[dict[str, object]]:
    """The system prompt wants JSON, the question does not say so."""
    messages: list[dict[str, object]] = [{"role": "system", "content": rng.choice(SYSTEMS)}]
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.random()
        if kind < 0.4:
            country, city, _, _ = rng.choice(CAPITALS)
            country = country.removeprefix("the ")
            question = say(
                rng, f"[What is the capital of {country}|Capital of {country}|Name the capital of {country}]?"
            )
            messages += turn(casual(rng, question), dump({"country": country, "capital": city}))
        elif kind < 0.7:
            a, b = rng.randint(0, 10), rng.randint(0, 10)
            messages += turn(say(rng, f"[What is |]{a}[ + |+| plus ]{b}?"), dump({"result": a + b}))
        else:
            (_, many), items, _, _ = rng.choice(SETS)
            chosen = in_order(rng, items, rng.randint(2, 4))
            messages += turn(
                casual(rng, say(rng, f"[Name|List|Give me] {len(chosen)} {many}.")),
                dump({many.split()[-1]: chosen}),
            )
    return messages


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    roll = rng.random()
    if roll < 0.34:
        return _object(rng, language)
    if roll < 0.44:
        return _invented(rng, language)
    if roll < 0.52:
        return _bare(rng, language)
    if roll < 0.82:
        return _extract(rng, language)
    if roll < 0.93:
        return _list(rng, language)
    return _capital(rng, language)
