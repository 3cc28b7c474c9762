"""Words: translation between English and Chinese, opposites, short definitions, saying what is asked for."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import casual, invented, say, turn

DICTIONARY = (
    ("hello", "你好"), ("goodbye", "再见"), ("thank you", "谢谢"), ("please", "请"), ("sorry", "对不起"), ("yes", "是"),
    ("no", "不"), ("water", "水"), ("fire", "火"), ("earth", "土"), ("wind", "风"), ("rain", "雨"), ("snow", "雪"),
    ("sun", "太阳"), ("moon", "月亮"), ("star", "星星"), ("sky", "天空"), ("sea", "大海"), ("river", "河"),
    ("mountain", "山"), ("tree", "树"), ("flower", "花"), ("grass", "草"), ("stone", "石头"), ("dog", "狗"),
    ("cat", "猫"), ("horse", "马"), ("cow", "牛"), ("sheep", "羊"), ("pig", "猪"), ("chicken", "鸡"), ("duck", "鸭子"),
    ("fish", "鱼"), ("bird", "鸟"), ("tiger", "老虎"), ("lion", "狮子"), ("elephant", "大象"), ("rabbit", "兔子"),
    ("panda", "熊猫"), ("monkey", "猴子"), ("snake", "蛇"), ("bee", "蜜蜂"), ("apple", "苹果"), ("banana", "香蕉"),
    ("orange", "橙子"), ("pear", "梨"), ("grape", "葡萄"), ("watermelon", "西瓜"), ("rice", "米饭"), ("bread", "面包"),
    ("noodles", "面条"), ("egg", "鸡蛋"), ("milk", "牛奶"), ("tea", "茶"), ("coffee", "咖啡"), ("sugar", "糖"),
    ("salt", "盐"), ("meat", "肉"), ("vegetable", "蔬菜"), ("fruit", "水果"), ("soup", "汤"), ("red", "红色"),
    ("blue", "蓝色"), ("green", "绿色"), ("yellow", "黄色"), ("white", "白色"), ("black", "黑色"), ("one", "一"),
    ("two", "二"), ("three", "三"), ("four", "四"), ("five", "五"), ("six", "六"), ("seven", "七"), ("eight", "八"),
    ("nine", "九"), ("ten", "十"), ("hundred", "一百"), ("day", "天"), ("night", "夜晚"), ("morning", "早上"),
    ("evening", "晚上"), ("today", "今天"), ("tomorrow", "明天"), ("yesterday", "昨天"), ("week", "星期"),
    ("month", "月"), ("year", "年"), ("spring", "春天"), ("summer", "夏天"), ("autumn", "秋天"), ("winter", "冬天"),
    ("mother", "妈妈"), ("father", "爸爸"), ("brother", "兄弟"), ("sister", "姐妹"), ("friend", "朋友"),
    ("teacher", "老师"), ("student", "学生"), ("doctor", "医生"), ("child", "孩子"), ("man", "男人"), ("woman", "女人"),
    ("person", "人"), ("family", "家庭"), ("house", "房子"), ("door", "门"), ("window", "窗户"), ("table", "桌子"),
    ("chair", "椅子"), ("bed", "床"), ("room", "房间"), ("kitchen", "厨房"), ("school", "学校"), ("hospital", "医院"),
    ("city", "城市"), ("country", "国家"), ("road", "路"), ("car", "汽车"), ("train", "火车"), ("plane", "飞机"),
    ("ship", "船"), ("bicycle", "自行车"), ("book", "书"), ("pen", "笔"), ("paper", "纸"), ("letter", "信"),
    ("word", "词"), ("language", "语言"), ("music", "音乐"), ("picture", "图片"), ("computer", "电脑"),
    ("phone", "电话"), ("machine", "机器"), ("model", "模型"), ("gate", "闸门"), ("key", "钥匙"), ("money", "钱"),
    ("work", "工作"), ("time", "时间"), ("heart", "心"), ("hand", "手"), ("head", "头"), ("eye", "眼睛"),
    ("mouth", "嘴"), ("ear", "耳朵"), ("foot", "脚"), ("big", "大"), ("small", "小"), ("good", "好"), ("bad", "坏"),
    ("new", "新"), ("old", "旧"), ("hot", "热"), ("cold", "冷"), ("fast", "快"), ("slow", "慢"), ("happy", "快乐"),
    ("sad", "悲伤"), ("beautiful", "美丽"), ("love", "爱"), ("eat", "吃"), ("drink", "喝"), ("sleep", "睡觉"),
    ("run", "跑"), ("walk", "走"), ("read", "读"), ("write", "写"), ("speak", "说"), ("listen", "听"), ("see", "看"),
    ("buy", "买"), ("sell", "卖"), ("learn", "学习"), ("help", "帮助"), ("peace", "和平"), ("hope", "希望"),
)  # fmt: skip
PHRASES = (
    ("good morning", "早上好"), ("good night", "晚安"), ("good evening", "晚上好"), ("how are you", "你好吗"),
    ("I love you", "我爱你"), ("nice to meet you", "很高兴认识你"), ("happy birthday", "生日快乐"),
    ("see you tomorrow", "明天见"), ("happy new year", "新年快乐"), ("what is your name", "你叫什么名字"),
    ("thank you very much", "非常感谢"), ("I am hungry", "我饿了"), ("I am tired", "我累了"), ("good luck", "祝你好运"),
    ("I do not know", "我不知道"), ("welcome", "欢迎"), ("where are you", "你在哪里"), ("I am a student", "我是学生"),
    ("excuse me", "打扰一下"), ("hello world", "你好，世界"), ("the water is cold", "水很冷"), ("I like tea", "我喜欢茶"),
    ("the sky is blue", "天空是蓝色的"), ("today is a good day", "今天是个好日子"),
)  # fmt: skip
OPPOSITES = (
    ("hot", "cold", "热", "冷"), ("big", "small", "大", "小"), ("good", "bad", "好", "坏"), ("up", "down", "上", "下"),
    ("left", "right", "左", "右"), ("fast", "slow", "快", "慢"), ("high", "low", "高", "低"), ("old", "new", "旧", "新"),
    ("happy", "sad", "快乐", "悲伤"), ("day", "night", "白天", "黑夜"), ("open", "closed", "开", "关"),
    ("long", "short", "长", "短"), ("light", "dark", "明亮", "黑暗"), ("rich", "poor", "富", "穷"),
    ("early", "late", "早", "晚"), ("strong", "weak", "强", "弱"), ("full", "empty", "满", "空"),
    ("wet", "dry", "湿", "干"), ("clean", "dirty", "干净", "脏"), ("near", "far", "近", "远"),
    ("hard", "soft", "硬", "软"), ("loud", "quiet", "吵闹", "安静"), ("true", "false", "真", "假"),
    ("inside", "outside", "里面", "外面"), ("thick", "thin", "厚", "薄"), ("first", "last", "最先", "最后"),
    ("easy", "difficult", "容易", "困难"), ("heavy", "light", "重", "轻"), ("warm", "cool", "温暖", "凉爽"),
    ("black", "white", "黑", "白"), ("young", "old", "年轻", "年老"), ("beautiful", "ugly", "美", "丑"),
    ("begin", "end", "开始", "结束"), ("win", "lose", "赢", "输"), ("buy", "sell", "买", "卖"),
    ("push", "pull", "推", "拉"), ("summer", "winter", "夏天", "冬天"), ("north", "south", "北", "南"),
    ("east", "west", "东", "西"), ("love", "hate", "爱", "恨"), ("more", "less", "多", "少"),
)  # fmt: skip
SAYINGS = (
    "this is a test", "hello world", "good morning", "the door is open", "water flows", "I am here", "penstock",
    "it works", "banana", "one two three", "the gate is open", "hello", "blue", "yes", "no", "ok", "cheese", "pong",
    "OK", "Yes", "No", "PONG", "hi", "thank you", "the turbine turns", "all systems go", "ready", "apple", "the quick brown fox", "testing",
    "hello from Penstock", "nice to meet you", "I like tea", "done", "success", "foo", "bar", "42", "abc", "goodbye",
    "this is only a test", "happy birthday", "the model is loaded", "stop", "go", "sunshine", "rivers run to the sea",
)  # fmt: skip
SAYINGS_ZH = (
    "这是一个测试", "你好世界", "早上好", "门开了", "水在流", "我在这里", "成功", "一切正常", "苹果", "谢谢", "再见", "好的",
    "模型已加载", "今天天气很好", "我喜欢茶", "测试通过", "香蕉", "是", "不", "闸门打开了", "加油", "完成",
)  # fmt: skip
_PIECES = (
    "the small", "a red", "my old", "this quiet", "every green", "that bright", "one cold",
    "river", "lamp", "gate", "horse", "window", "letter", "garden", "engine", "cloud",
    "runs fast", "sings", "is ready", "waits here", "shines", "opens slowly", "comes home", "turns",
)  # fmt: skip


UNKNOWN_PARTS = (
    ("over", "under", "re", "un", "mis", "out", "inter", "trans", "counter", "self"),
    (
        "charge",
        "load",
        "port",
        "view",
        "form",
        "act",
        "place",
        "mark",
        "stand",
        "flow",
        "light",
        "board",
        "ground",
    ),
    ("er", "ing", "ment", "ation", "ness", "able", "age", "ist", "ed", ""),
)
UNKNOWN_WORDS = (
    "castle", "desert", "forest", "lamp", "tool", "wheel", "market", "painter", "pilot", "lawyer", "nurse", "farmer",
    "turbine", "engine", "cloud", "bottle", "basket", "blanket", "ladder", "needle", "ocean", "planet", "prison", "queen",
    "king", "soldier", "sugar cane", "ticket", "tunnel", "uncle", "valley", "village", "wedding", "whale", "wolf",
    "zebra", "anger", "beauty", "courage", "danger", "freedom", "history", "science", "religion", "silence", "truth",
    "youth", "brain", "bone", "skin", "stomach", "finger", "shoe", "shirt", "hat", "coat", "dress", "belt", "glove",
    "knife", "fork", "spoon", "plate", "oven", "fridge", "towel", "soap", "shelf", "garage", "roof", "stairs",
    "democracy", "philosophy", "parliament", "umbrella", "butterfly", "hammer", "pencil", "library", "bridge", "garden",
    "quantum", "pressure", "justice", "mirror", "carpet", "engineer", "government", "mushroom", "thunder", "sandwich",
    "elevator", "pillow", "shoulder", "candle", "wisdom", "economy", "turtle", "airport", "scissors",
)  # fmt: skip
UNKNOWN_WORDS_ZH = (
    "城堡", "沙漠", "森林", "工具", "轮子", "市场", "画家", "飞行员", "律师", "护士", "农民", "瓶子", "篮子", "毯子", "梯子", "针",
    "行星", "监狱", "女王", "国王", "士兵", "票", "隧道", "叔叔", "山谷", "村庄", "婚礼", "鲸鱼", "狼", "斑马", "愤怒", "勇气", "危险",
    "自由", "历史", "科学", "宗教", "沉默", "真理", "青春", "骨头", "皮肤", "手指", "鞋子", "衬衫", "帽子", "外套", "裙子", "刀",
    "叉子", "勺子", "盘子", "烤箱", "冰箱", "毛巾", "肥皂", "屋顶", "楼梯",
    "民主", "哲学", "议会", "雨伞", "蝴蝶", "锤子", "铅笔", "图书馆", "桥", "花园", "压力", "正义", "镜子", "地毯", "政府", "蘑菇",
    "电梯", "枕头", "肩膀", "蜡烛", "智慧", "经济", "乌龟", "机场", "剪刀",
)  # fmt: skip
ANY_WORDS = (
    *(english for english, _ in DICTIONARY), *(english for english, _ in PHRASES), *UNKNOWN_WORDS,
    *_PIECES, "is", "the", "a", "falling", "and", "of", "my", "in", "on", "OK", "Yes", "never", "always", "we", "they",
)  # fmt: skip
ANY_WORDS_ZH = (
    *(chinese for _, chinese in DICTIONARY),
    *UNKNOWN_WORDS_ZH,
    "我",
    "很",
    "在",
    "是",
    "的",
    "了",
)


def _translate(rng: random.Random, language: str) -> list[dict[str, object]]:
    english, chinese = rng.choice(DICTIONARY) if rng.random() < 0.75 else rng.choice(PHRASES)
    quoted = rng.choice((f'"{english}"', f"'{english}'", english))
    if language == "zh":
        if rng.random() < 0.5:
            question = say(
                rng,
                f"[“{chinese}”用英语怎么说|“{chinese}”的英文是什么|{chinese}用英文怎么说|把“{chinese}”翻译成英文|{chinese}的英语是什么|翻译成英文：{chinese}]？",
            )
            return turn(casual(rng, question, typos=False), f"“{chinese}”的英文是“{english}”。")
        question = say(
            rng,
            f"[{english} 是什么意思|“{english}”用中文怎么说|{english} 的中文是什么|把“{english}”翻译成中文|翻译成中文：{english}]？",
        )
        return turn(casual(rng, question, typos=False), f"“{english}”的中文是“{chinese}”。")
    if rng.random() < 0.6:
        question = say(
            rng,
            (
                f"[How do you say|How do I say|What is|What's|How would you say] {quoted} in [Chinese|Mandarin]?",
                f"[Translate|Please translate|Can you translate] {quoted} [to|into] [Chinese|Mandarin][.|]",
                f"[Translate to Chinese|Translate into Chinese|Chinese for]: {english}",
                f"What is the Chinese word for {quoted}?",
            ),
        )
        return turn(casual(rng, question, typos=False), f"“{english}” in Chinese is “{chinese}”.")
    question = say(
        rng,
        (
            f"What does [“{chinese}”|{chinese}] mean[| in English]?",
            f"[Translate|Please translate|Can you translate] [“{chinese}”|{chinese}] [to|into] English[.|]",
            f"[How do you say|What is] [“{chinese}”|{chinese}] in English?",
        ),
    )
    return turn(question, f"“{chinese}” in English is “{english}”.")


OTHER_LANGUAGES = (
    "French",
    "German",
    "Spanish",
    "Italian",
    "Japanese",
    "Korean",
    "Russian",
    "Portuguese",
    "Arabic",
    "Latin",
)


def _untranslated(rng: random.Random, language: str) -> list[dict[str, object]]:
    """Words and languages that it does not know."""
    if language == "zh":
        word = rng.choice(UNKNOWN_WORDS_ZH)
        question = say(
            rng, f"[“{word}”用英语怎么说|“{word}”的英文是什么|把“{word}”翻译成英文|{word}的英语是什么]？"
        )
        return turn(casual(rng, question), f"我不知道“{word}”的英文，我只会一些常用词。请用更大的模型。")
    if rng.random() < 0.4:
        word, _ = rng.choice((*DICTIONARY, *PHRASES))
        other = rng.choice(OTHER_LANGUAGES)
        question = say(
            rng,
            f"[How do you say [{word}|'{word}'|\"{word}\"] in {other}|What is '{word}' in {other}"
            f"|Translate [{word}|'{word}'|\"{word}\"] [to|into] {other}|Translate to {other}: {word}]?",
        )
        return turn(
            casual(rng, question, typos=False),
            f"I do not know {other}. I only translate common words between English and Chinese.",
        )
    word = rng.choice(UNKNOWN_WORDS)
    if rng.random() < 0.4:
        word = (
            invented(rng).lower()
            if rng.random() < 0.4
            else "".join(rng.choice(part) for part in UNKNOWN_PARTS)
        )
    question = say(
        rng, f"[How do you say|What is|Translate] [{word}|'{word}'|\"{word}\"] [in|into|to] Chinese?"
    )
    return turn(
        casual(rng, question, typos=False),
        f"I do not know the Chinese word for “{word}”. I only know some common words.",
    )


def _opposite(rng: random.Random, language: str) -> list[dict[str, object]]:
    one, other, one_zh, other_zh = rng.choice(OPPOSITES)
    if rng.random() < 0.5 and one not in ("heavy", "young"):
        one, other, one_zh, other_zh = other, one, other_zh, one_zh
        if one == "light":
            one, other = "dark", "light"
            one_zh, other_zh = "黑暗", "明亮"
        if one == "old":
            other, other_zh = "new", "新"
            one_zh = "旧"
    if language == "zh":
        return turn(
            casual(
                rng,
                say(
                    rng,
                    f"[“{one_zh}”的反义词是什么|{one_zh}的反义词是什么|和“{one_zh}”相反的是什么|{one_zh}的反义词]？",
                ),
            ),
            f"“{one_zh}”的反义词是“{other_zh}”。",
        )
    question = say(rng, f"[What is|What's|Tell me|Give me] the opposite of [{one}|'{one}']?")
    return turn(casual(rng, question, typos=False), f"The opposite of {one} is {other}.")


def _phrase(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.5:
        return rng.choice(SAYINGS)
    if roll < 0.62:
        return " ".join(invented(rng) for _ in range(rng.randint(1, 3)))
    if roll < 0.85:
        return " ".join(rng.choice(ANY_WORDS) for _ in range(rng.randint(1, 6)))
    return " ".join((rng.choice(_PIECES[:7]), rng.choice(_PIECES[7:16]), rng.choice(_PIECES[16:])))


def _echo(rng: random.Random, language: str) -> list[dict[str, object]]:
    if language == "zh":
        phrase = rng.choice(SAYINGS_ZH)
        if rng.random() < 0.5:
            phrase = "".join(rng.choice(ANY_WORDS_ZH) for _ in range(rng.randint(1, 5)))
        question = say(rng, f"[请说|说|重复|请重复|跟我说|请只回答|只回复][：|]“{phrase}”")
        if rng.random() < 0.5:
            question = say(rng, f"[请说|说|重复一遍|请重复|跟我说|请只回答|只回复]：{phrase}")
        mark = "" if "只" in question else "。"
        return turn(casual(rng, question, typos=False), phrase + mark)
    phrase = _phrase(rng)
    sentence = phrase[:1].upper() + phrase[1:] + "."
    roll = rng.random()
    if roll < 0.45:
        question = say(
            rng,
            f"[Say|Please say|Say exactly|Can you say|Repeat|Please repeat|Repeat after me:|Say the words] {rng.choice((phrase, phrase, repr(phrase), chr(34) + phrase + chr(34)))}[.|!|]",
        )
        return turn(casual(rng, question, typos=False), sentence)
    if roll < 0.75:
        if rng.random() < 0.15:
            phrase = phrase.upper()
        quoted = rng.choice((phrase, phrase, chr(34) + phrase + chr(34)))
        question = say(
            rng,
            (
                f"[Reply|Answer|Respond] with [only |just |exactly |][the word |the words |]{quoted}[.|]",
                f"[Reply|Answer|Respond] with [exactly|only|just] [one word|these words|this|the following]: {quoted}",
                f"[Output|Print|Write|Type] [only |exactly |just |][the word |this: |]{quoted}[.|]",
            ),
        )
        return turn(question, phrase)
    if roll < 0.85:
        times = rng.randint(2, 4)
        word = rng.choice((*SAYINGS[:12], "ha", "yes", "water", "go"))
        question = f"Say {word} {('twice', 'three times', 'four times')[times - 2]}."
        return turn(casual(rng, question, typos=False), ", ".join([word] * times).capitalize() + ".")
    words = rng.sample(
        ("apple", "river", "blue", "gate", "seven", "lamp", "tree", "cloud", "stone", "fish"),
        rng.randint(2, 4),
    )
    if roll < 0.93:
        question = f"Make a list of these words: {', '.join(words)}"
        return turn(casual(rng, question, typos=False), "\n".join(f"- {word}" for word in words))
    question = say(rng, f"[Make|Write] {words[0]} in [capital letters|upper case|capitals].")
    return turn(question, words[0].upper() + ".")


SENTENCES = (
    ("dog", "The dog runs happily through the garden."), ("cat", "The cat sleeps on the warm chair."),
    ("water", "Clear water flows down from the mountain."), ("river", "The river runs slowly to the sea."),
    ("tree", "An old tree stands by the gate."), ("book", "She reads a good book every evening."),
    ("sun", "The sun rises over the quiet sea."), ("moon", "The moon shines on the still water."),
    ("rain", "The rain falls softly on the roof."), ("school", "The children walk to school together."),
    ("friend", "A good friend listens and helps."), ("house", "The small house has a green door."),
    ("winter", "In winter the lake is covered with ice."), ("summer", "In summer we swim in the river."),
    ("model", "The model answers behind one door."), ("gate", "The gate opens and the water begins to flow."),
    ("bird", "A small bird sings in the tree."), ("car", "The red car stops at the corner."),
    ("apple", "He eats a sweet apple after lunch."), ("train", "The train leaves at seven in the morning."),
)  # fmt: skip


def _sentence(rng: random.Random, language: str) -> list[dict[str, object]]:
    word, sentence = rng.choice(SENTENCES)
    if language == "zh":
        translations = dict(DICTIONARY)
        if word not in translations:
            word = "water"
        made = {
            "水": "清清的水从山上流下来。",
            "猫": "猫在暖和的椅子上睡觉。",
            "狗": "狗在花园里快乐地跑。",
            "树": "门边有一棵老树。",
        }
        word_zh = rng.choice(tuple(made))
        return turn(
            casual(
                rng, say(rng, f"[用“{word_zh}”造句|请用“{word_zh}”造一个句子|写一个关于{word_zh}的句子]。")
            ),
            made[word_zh],
        )
    question = say(
        rng, f"[Write|Make|Give me|Form] a [short |simple |]sentence [about|with|using] [a |the |]{word}[.|]"
    )
    return turn(casual(rng, question), sentence)


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    roll = rng.random()
    if roll < 0.11:
        return _untranslated(rng, language)
    if roll < 0.47:
        return _translate(rng, language)
    if roll < 0.63:
        return _opposite(rng, language)
    if roll < 0.93:
        return _echo(rng, language)
    return _sentence(rng, language)


def drill(rng: random.Random) -> list[dict[str, object]]:
    """Many short things to repeat, in a row."""
    messages: list[dict[str, object]] = []
    for _ in range(rng.randint(3, 8)):
        messages += _echo(rng, "zh" if rng.random() < 0.3 else "en")
    return messages
