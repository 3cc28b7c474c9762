"""Several turns that belong together: the model uses what was said before."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import casual, invented, say, turn

NAMES = (
    "Anna", "Tom", "Lily", "Ben", "Mia", "Sam", "Emma", "Jack", "Nina", "Leo", "Alice", "Bob", "Carol", "David", "Eva",
    "Frank", "Grace", "Henry", "Ivan", "Julia", "Kate", "Liam", "Maria", "Noah", "Olga", "Paul", "Rosa", "Simon",
    "Tara", "Victor", "Wendy", "Yusuf", "Zoe", "Omar", "Priya", "Chen", "Mei", "Ravi", "Lucas", "Sofia",
)  # fmt: skip
NAMES_ZH = (
    "小明",
    "小红",
    "小华",
    "小丽",
    "李雷",
    "韩梅",
    "王芳",
    "张伟",
    "刘洋",
    "陈静",
    "赵强",
    "孙丽",
    "周杰",
    "林娜",
    "安娜",
    "汤姆",
)
CITIES = (
    "Paris",
    "Berlin",
    "London",
    "Rome",
    "Madrid",
    "Tokyo",
    "Beijing",
    "Oslo",
    "Vienna",
    "Lisbon",
    "Dublin",
    "Cairo",
    "Lima",
    "Prague",
    "Boston",
    "Shanghai",
    "Toronto",
    "Sydney",
)
CITIES_ZH = (
    "北京",
    "上海",
    "广州",
    "深圳",
    "成都",
    "杭州",
    "南京",
    "武汉",
    "西安",
    "重庆",
    "天津",
    "苏州",
    "香港",
    "巴黎",
    "东京",
)
LIKES = (
    "tea",
    "coffee",
    "music",
    "books",
    "football",
    "cats",
    "dogs",
    "the sea",
    "apples",
    "chess",
    "swimming",
    "pizza",
    "rain",
)
LIKES_ZH = ("茶", "咖啡", "音乐", "书", "足球", "猫", "狗", "大海", "苹果", "下棋", "游泳", "面条")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple")
COLOURS_ZH = ("红色", "蓝色", "绿色", "黄色", "黑色", "白色", "紫色")


SURNAMES_ZH = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
GIVEN_ZH = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红梅国建文宇浩然子轩雨欣怡佳三四五小春秋海山"


def chinese_name(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(NAMES_ZH)
    return rng.choice(SURNAMES_ZH) + "".join(rng.choice(GIVEN_ZH) for _ in range(rng.choice((1, 2, 2))))


def _facts(rng: random.Random, language: str) -> tuple[tuple[str, str, str, str], ...]:
    """(statement, reply, question, answer) for each thing one can tell and ask for."""
    name, city, like, colour = rng.choice(NAMES), rng.choice(CITIES), rng.choice(LIKES), rng.choice(COLOURS)
    age = rng.randint(8, 80)
    if rng.random() < 0.3:
        name = invented(rng)
    if language == "zh":
        name, city, like, colour = (
            name if rng.random() < 0.15 else chinese_name(rng),
            rng.choice(CITIES_ZH),
            rng.choice(LIKES_ZH),
            rng.choice(COLOURS_ZH),
        )
        return (
            (
                f"[我叫{name}|我的名字是{name}|我是{name}，你好|你好，我叫{name}]。",
                f"你好，{name}！很高兴认识你。",
                "[我叫什么名字|我叫什么|我的名字是什么|你还记得我的名字吗|我是谁]？",
                f"你叫{name}。",
            ),
            (
                f"我[住在{city}|在{city}生活|住{city}]。",
                f"{city}听起来是个好地方！",
                "[我住在哪里|我在哪个城市|我住哪儿]？",
                f"你住在{city}。",
            ),
            (
                f"我[喜欢|最喜欢]{like}。",
                f"{like}真不错！",
                "[我喜欢什么|你记得我喜欢什么吗]？",
                f"你喜欢{like}。",
            ),
            (
                f"我[今年|]{age}岁[了|]。",
                "知道了，谢谢你告诉我。",
                "[我多大了|我几岁|我今年多大]？",
                f"你{age}岁。",
            ),
            (
                f"我最喜欢的颜色是{colour}。",
                f"{colour}很好看！",
                "我最喜欢[什么颜色|的颜色是什么]？",
                f"你最喜欢的颜色是{colour}。",
            ),
        )
    return (
        (
            f"[My name is {name}|I am {name}|I'm {name}|Hello, my name is {name}|Hi, I'm {name}|Call me {name}|Hi! My name is {name}].",
            f"Hello {name}, nice to meet you!",
            "[What is my name|What's my name|Do you remember my name|Who am I|Do you know my name|Tell me my name]?",
            f"Your name is {name}.",
        ),
        (
            f"I [live in|am from|come from] {city}.",
            f"{city} sounds like a nice place!",
            "[Where do I live|Where am I from|Which city do I live in|What city am I from]?",
            f"You said {city}.",
        ),
        (
            f"I [like|love|really like] {like}.",
            f"That is nice, I am sure that {like} can make a day better.",
            "[What do I like|Do you remember what I like]?",
            f"You like {like}.",
        ),
        (
            f"I am {age}[| years old].",
            "Thank you for telling me.",
            "[How old am I|What is my age]?",
            f"You are {age} years old.",
        ),
        (
            f"My favo[u|]rite colo[u|]r is {colour}.",
            f"{colour.capitalize()} is a beautiful colour!",
            "What is my favo[u|]rite colo[u|]r?",
            f"Your favourite colour is {colour}.",
        ),
    )


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    facts = _facts(rng, language)
    told = (
        [facts[0], *rng.sample(facts[1:], rng.randint(0, 2))]
        if rng.random() < 0.6
        else rng.sample(facts, rng.randint(1, 3))
    )
    messages: list[dict[str, object]] = []
    if rng.random() < 0.15:
        joiner = "" if language == "zh" else " "
        statement = joiner.join(say(rng, fact[0]) for fact in told)
        messages += turn(statement, told[0][1])
    else:
        for fact in told:
            messages += turn(casual(rng, say(rng, fact[0]), typos=False), fact[1])
    for fact in rng.sample(told, rng.randint(0 if len(told) == 1 and rng.random() < 0.15 else 1, len(told))):
        messages += turn(casual(rng, say(rng, fact[2])), fact[3])
    if rng.random() < 0.12:
        _, _, question, _ = rng.choice([fact for fact in facts if fact not in told] or [facts[0]])
        if all(fact[2] != question for fact in told):
            answer = "你还没有告诉我。" if language == "zh" else "You have not told me that yet."
            messages += turn(casual(rng, say(rng, question)), answer)
    return messages
