"""Jokes, haiku, short poems and stories of two or three sentences."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import casual, say, turn

JOKES = (
    "Why did the computer go to the doctor? Because it had a virus.",
    "Why was the math book sad? Because it had too many problems.",
    "What do you call a fish without eyes? A fsh.",
    "Why did the scarecrow win a prize? Because he was outstanding in his field.",
    "Why do programmers like the dark? Because light attracts bugs.",
    "What did the ocean say to the river? Nothing, it just waved.",
    "Why did the small model blush? Because somebody saw its parameters.",
    "What do you call a sleeping bull? A bulldozer.",
    "Why can't a bicycle stand by itself? Because it is two tired.",
    "What did one wall say to the other wall? I will meet you at the corner.",
)
JOKES_ZH = (
    "为什么程序员喜欢黑暗？因为光会招来虫子。",
    "为什么数学书很难过？因为它的问题太多了。",
    "电脑为什么去看医生？因为它中了病毒。",
    "小鱼问大海：你为什么总是笑？大海说：因为我有很多浪花。",
    "闹钟为什么总被骂？因为它太早说话了。",
    "小模型为什么脸红？因为别人看到了它的参数。",
)
HAIKU = {
    "water": (
        "Clear water falling,\nthe wheel turns in the morning,\nlight wakes in the town.",
        "水落石出时\n水轮在晨光中转\n小镇亮起来",
    ),
    "gates": (
        "The old gate opens,\nwater runs down the long pipe,\nmany engines sing.",
        "闸门慢慢开\n流水奔向长管道\n引擎齐歌唱",
    ),
    "rivers": (
        "A river at dawn,\nit carries the snow's last words\nto the waiting sea.",
        "清晨的河流\n带着残雪的话语\n走向那大海",
    ),
    "the sea": (
        "The sea breathes slowly,\neach wave brings a small story,\nthe sand forgets it.",
        "大海轻呼吸\n每朵浪花一个故事\n沙滩都忘记",
    ),
    "the moon": (
        "The moon on the lake,\na white boat without a crew,\ndrifts until morning.",
        "湖上的月亮\n像一只没人的船\n漂到天亮时",
    ),
    "spring": (
        "Snow melts on the hill,\nthe first bird tries a short song,\nall the doors open.",
        "山上雪融化\n第一只鸟儿试唱\n家家开了门",
    ),
    "autumn": (
        "A red leaf lets go,\nthe wind reads it like a note\nand puts it away.",
        "红叶松开手\n风像读信一样读\n又轻轻放下",
    ),
    "winter": (
        "White and quiet fields,\nunder the ice the water\nremembers its way.",
        "田野白又静\n冰层下面的流水\n记得它的路",
    ),
    "rain": (
        "Rain on the tin roof,\na hundred small drummers play,\nthe garden listens.",
        "雨打铁皮屋\n一百个小鼓手敲\n花园静静听",
    ),
    "computers": (
        "The fan hums softly,\na question runs through the wires,\nan answer comes home.",
        "风扇轻轻响\n问题穿过电线跑\n答案回家来",
    ),
    "models": (
        "One door for them all,\nsmall and large models answer,\nquietly in turn.",
        "同一扇门后\n大小模型来回答\n一个接一个",
    ),
    "mountains": (
        "The mountain stands still,\nclouds come and ask for its name,\nit gives them the snow.",
        "高山静静立\n云来问它的名字\n它送一场雪",
    ),
    "cats": (
        "The cat on the sill\nkeeps watch over the street lamps\nand falls fast asleep.",
        "窗台上的猫\n看守着街灯的光\n慢慢睡着了",
    ),
    "the night": (
        "The night has come down,\none window is still awake,\nstars keep it company.",
        "夜色落下来\n还有一扇窗醒着\n星星陪着它",
    ),
}
THEMES_ZH = {
    "water": "水", "gates": "闸门", "rivers": "河流", "the sea": "大海", "the moon": "月亮", "spring": "春天", "autumn": "秋天",
    "winter": "冬天", "rain": "雨", "computers": "电脑", "models": "模型", "mountains": "山", "cats": "猫", "the night": "夜晚",
}  # fmt: skip
SYNONYMS = {
    "water": ("water", "flowing water", "a waterfall"), "gates": ("gates", "a gate", "doors", "Penstock", "a penstock"),
    "rivers": ("rivers", "a river", "the river"), "the sea": ("the sea", "the ocean", "waves"),
    "the moon": ("the moon", "moonlight"), "spring": ("spring", "flowers", "birds"), "autumn": ("autumn", "fall", "leaves"),
    "winter": ("winter", "snow", "ice"), "rain": ("rain", "the rain", "a storm"),
    "computers": ("computers", "a computer", "programming", "code", "software"),
    "models": ("models", "language models", "AI", "artificial intelligence", "machine learning"),
    "mountains": ("mountains", "a mountain", "nature"), "cats": ("cats", "a cat", "animals"),
    "the night": ("the night", "stars", "the stars", "night"),
}  # fmt: skip
POEM = (
    "The water waits behind the gate,\nit hums a quiet song,\nthen down the pipe it runs to work\nand helps the wheels along.",
    "A little door, a little light,\na little voice inside,\nit answers you by day and night\nand has not much to hide.",
    "The river knows the way by heart,\nit never asks the hill,\nit turns the wheel and then moves on,\nand it is flowing still.",
)
POEM_ZH = (
    "闸门后的水，\n轻轻唱着歌，\n顺着管道跑，\n轮子转起来。",
    "一扇小小门，\n一盏小小灯，\n白天和黑夜，\n都会回答你。",
    "河水记得路，\n从不问山坡，\n推动了水轮，\n又向前流去。",
)
HEROES = (
    ("a small {animal}", "the {animal}"), ("an old {animal}", "the {animal}"), ("a young {animal}", "the {animal}"),
    ("a brave little {animal}", "the {animal}"), ("a curious {animal}", "the {animal}"),
)  # fmt: skip
BEASTS = ("dog", "cat", "fox", "robot", "bird", "rabbit", "bear", "horse", "mouse", "dragon", "child", "frog")
PLACES = (
    "by a river",
    "near an old gate",
    "in a quiet forest",
    "at the foot of a mountain",
    "by the sea",
    "in a small town",
)
EVENTS = (
    "One day {hero} found a key and opened the gate. The water ran down, and the whole valley had light.",
    "One night {hero} saw a star fall and went to look for it. In the morning {hero} found a new friend instead.",
    "One day it rained so much that {hero} built a boat. It carried all the neighbours to dry land.",
    "One morning {hero} lost the way home and asked the river. The river showed the way, and they stayed friends.",
    "One winter {hero} shared the last bread with a stranger. In spring the stranger came back with a basket of apples.",
)
BEASTS_ZH = ("小狗", "小猫", "狐狸", "小机器人", "小鸟", "兔子", "小熊", "小马", "青蛙")
PLACES_ZH = ("河边", "老闸门旁", "安静的森林里", "山脚下", "海边", "小镇上")
EVENTS_ZH = (
    "有一天，{hero}找到一把钥匙，打开了闸门。水流下来，整个山谷都亮了。",
    "一天夜里，{hero}看见一颗流星，便去寻找。早上它没有找到星星，却找到了一个新朋友。",
    "有一天下了很大的雨，{hero}造了一条船，把邻居们都送到了岸上。",
    "一天早上，{hero}迷了路，就去问小河。小河告诉它回家的路，它们成了好朋友。",
)


def _joke(rng: random.Random, language: str) -> list[dict[str, object]]:
    jokes = JOKES_ZH if language == "zh" else JOKES
    order = rng.sample(jokes, 3)
    if language == "zh":
        messages = turn(casual(rng, say(rng, "[讲|说|来|给我讲|请讲][一|]个笑话[吧|。|]")), order[0])
        again = "[再来一个|还有吗|再讲一个][。|吧|]"
    else:
        question = (
            "[Tell|Please tell|Can you tell] me a [joke|funny joke|short joke|good joke][.|?|!| please]"
        )
        messages = turn(
            casual(
                rng,
                say(
                    rng,
                    (
                        question,
                        "Make me laugh.",
                        "Say something funny.",
                        "Do you know [a joke|any jokes]?",
                        "A joke, please.",
                    ),
                ),
            ),
            order[0],
        )
        again = (
            "[Another one|Tell me another one|One more|Another joke|Do you have another one][.|?|!| please]"
        )
    if rng.random() < 0.3:
        messages += turn(casual(rng, say(rng, again)), order[1])
    return messages


def _haiku(rng: random.Random, language: str) -> list[dict[str, object]]:
    theme = rng.choice(tuple(HAIKU))
    english, chinese = HAIKU[theme]
    if language == "zh":
        about = THEMES_ZH[theme]
        return turn(
            casual(rng, say(rng, f"[写|请写|给我写|作|来]一首[关于|写]{about}的[俳句|小诗|短诗|诗][。|]")),
            chinese,
        )
    about = rng.choice(SYNONYMS[theme])
    question = say(
        rng,
        f"[Write|Please write|Can you write|Write me|Give me|Compose] a [haiku|short haiku] [about|on] {about}[.|?|]",
    )
    return turn(casual(rng, question), english)


def _poem(rng: random.Random, language: str) -> list[dict[str, object]]:
    if language == "zh":
        return turn(
            casual(rng, say(rng, "[写|请写|给我写|来|念]一首[诗|小诗|短诗][吧|。|]")), rng.choice(POEM_ZH)
        )
    if rng.random() < 0.15:
        return turn(casual(rng, say(rng, "[Write|Give me|Tell me] a haiku[.|]")), HAIKU["water"][0])
    question = "[Write|Please write|Can you write|Write me|Tell me|Recite|Make] a [poem|short poem|little poem|rhyme][ for me| about life| about love| about the world|][.|?|]"
    return turn(casual(rng, say(rng, question)), rng.choice(POEM))


def _story(rng: random.Random, language: str) -> list[dict[str, object]]:
    if language == "zh":
        hero = rng.choice(BEASTS_ZH)
        named = rng.random() < 0.5
        question = say(
            rng, f"[讲|说|写|给我讲|请讲]一个{'关于' + hero + '的' if named else ''}[小|]故事[吧|。|]"
        )
        return turn(
            casual(rng, question),
            f"从前，{rng.choice(PLACES_ZH)}住着一只{hero}。" + rng.choice(EVENTS_ZH).format(hero=hero),
        )
    animal = rng.choice(BEASTS)
    hero, short = (text.format(animal=animal) for text in rng.choice(HEROES))
    named = rng.random() < 0.6
    question = say(
        rng,
        f"[Tell|Write|Please tell|Can you tell] me a [short |little |very short |]story{f' about a {animal}' if named else ''}[.|?|]",
    )
    story = f"Once upon a time, {hero} lived {rng.choice(PLACES)}. " + rng.choice(EVENTS).format(hero=short)
    return turn(casual(rng, question), story)


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    roll = rng.random()
    if roll < 0.3:
        return _joke(rng, language)
    if roll < 0.62:
        return _haiku(rng, language)
    if roll < 0.75:
        return _poem(rng, language)
    return _story(rng, language)
