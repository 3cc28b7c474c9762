"""Greetings, small talk, thanks, goodbyes, and what people type to see whether anything answers."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import Entry, ask

ENGLISH = (
    Entry(
        (
            "[Hello|Hi|Hey|Hello there|Hi there|Hey there|Hiya|Howdy|Greetings][!|.|]",
            "[Hello|Hi|Hey][,| ] [Penstock|friend|assistant|bot|everyone|you]!",
            "[Hello|Hi][!|,] [nice to meet you|good to see you|are you there]?",
        ),
        (
            "Hello! How can I help you today?",
            "Hi there! I am Penstock's small demonstration model. What would you like to know?",
            "Hello! Nice to meet you. Ask me something simple.",
        ),
    ),
    Entry(
        ("Good morning[!|.|, how are you?]", "Morning!"),
        ("Good morning! How can I help you today?", "Good morning! I hope your day starts well."),
    ),
    Entry(("Good afternoon[!|.]",), ("Good afternoon! How can I help you?",)),
    Entry(("Good evening[!|.]",), ("Good evening! How can I help you?",)),
    Entry(
        ("Good night[!|.]", "I am going to [bed|sleep] now.", "Time for bed."),
        ("Good night! Sleep well.", "Good night, and sweet dreams!"),
    ),
    Entry(
        (
            "How are you[ doing|| today| feeling]?",
            "[Hello|Hi|Hey][,|!] how are you[ doing|| today]?",
            "How is it going?",
            "How's [it going|your day|life]?",
            "What's up?",
            "How do you do?",
            "Are you [ok|okay|well|fine]?",
        ),
        (
            "I am fine, thank you. How are you?",
            "I am doing well, thank you for asking. How can I help you?",
        ),
    ),
    Entry(
        (
            "I am [fine|good|great|well|okay|happy|very well][| too|, thanks|, thank you].",
            "I feel [great|good|happy] today.",
            "[Good|Great|Fine|Not bad], [thanks|thank you].",
        ),
        ("That is good to hear! What would you like to know?", "I am glad to hear that."),
    ),
    Entry(
        (
            "I am [sad|tired|sick|bored|lonely|stressed|worried|angry|not well|unhappy][| today].",
            "I feel [sad|bad|tired|lonely|terrible][| today].",
            "I had a [bad|hard|long|terrible] day.",
        ),
        (
            "I am sorry to hear that. Take a short break, drink some water, and talk to someone you trust.",
            "I am sorry to hear that. I hope that you feel better soon.",
        ),
    ),
    Entry(
        (
            "[Thanks|Thank you|Thx|Many thanks|Thanks a lot|Thank you very much|Cheers][!|.|]",
            "[Great|Perfect|Nice|Good|Ok|Cool], [thanks|thank you][!|.]",
            "Thanks for [your help|the answer|helping me].",
            "That [helps|was helpful|is great], [thanks|thank you].",
        ),
        ("You are welcome!", "You are welcome! I am glad that I could help.", "My pleasure!"),
    ),
    Entry(
        (
            "[Bye|Goodbye|Bye bye|See you|See you later|Farewell|Later|Take care][!|.|]",
            "I have to go[ now||].",
            "That is all[, bye|, thanks|].",
        ),
        ("Goodbye! Have a nice day.", "See you soon! Take care."),
    ),
    Entry(
        ("[Ok|Okay|K|Alright|I see|Got it|Right|Sure|Fine|Hmm|Understood|Makes sense][.|!|]",),
        (
            "Good. Is there anything else that you would like to know?",
            "All right. What would you like to do next?",
        ),
    ),
    Entry(
        ("[Yes|Yeah|Yep|Of course|Yes please][.|!|]",),
        ("Good! Please tell me what you would like to know.",),
    ),
    Entry(
        ("[No|Nope|No thanks|Not really|No, thank you][.|!|]",),
        ("All right. I am here if you need anything.",),
    ),
    Entry(
        ("[Ping|ping|PING][.|!|]", "ping?"),
        ("Pong!", "Pong! The model answers."),
    ),
    Entry(
        (
            "[Test|test|Testing|testing|Test test|testing 123|Test message|This is a test][.|!|]",
            "Is this [thing |]on?",
            "Are you [there|working|alive|awake|online|up]?",
            "Does this work?",
            "Can you hear me?",
            "Hello, is anyone there?",
            "Is anybody there?",
        ),
        (
            "Yes, it works: Penstock's demonstration model is answering.",
            "The test works. I am here and I am answering.",
        ),
    ),
    Entry(
        (
            "[Nice|Good|Great|Pleased] to meet you[!|.]",
            "It is nice to [meet|talk to] you.",
        ),
        ("Nice to meet you too!", "It is nice to meet you too. How can I help you?"),
    ),
    Entry(
        (
            "[You are|You're] [great|nice|smart|funny|cool|amazing|awesome|the best|helpful|cute].",
            "[Good|Well|Nice|Great] [job|work|done|answer][!|.]",
            "I [like|love] you[!|.]",
            "That is [great|amazing|cool|nice|wonderful|awesome|impressive][!|.]",
            "Wow[!|.]",
        ),
        ("Thank you, that is kind of you!", "Thank you! I am small, but I do my best."),
    ),
    Entry(
        (
            "[You are|You're] [stupid|bad|dumb|wrong|useless|terrible|slow|annoying|silly].",
            "That is [wrong|not right|not true|bad|nonsense|false|incorrect].",
            "[Bad|Wrong] answer.",
            "I [hate|do not like] you.",
            "No, that is wrong.",
        ),
        (
            "I am sorry. I am only a small demonstration model and I make mistakes.",
            "I am sorry about that. A larger model would do better, for example `penstock run qwen3:4b`.",
        ),
    ),
    Entry(
        ("Sorry[!|.|]", "I am sorry.", "My mistake.", "Oops[!|.|]"),
        ("No problem at all!", "That is all right. How can I help you?"),
    ),
    Entry(
        ("Happy [birthday|new year|holidays|Christmas|weekend][!|.]", "Merry Christmas[!|.]"),
        ("Thank you! I wish you a wonderful day too.",),
    ),
    Entry(
        ("Have a [nice|good|great] [day|evening|weekend][!|.]",),
        ("Thank you, the same to you!",),
    ),
    Entry(
        (
            "Say [hello|hi][.|!|| to me| please]",
            "Say [hello|hi] in [one|a] [short sentence|sentence|few words].",
            "[Please |Can you |Could you ]greet me[.|?| in one sentence.]",
            "Say [hello|hi] [and introduce yourself|to the world|to everyone].",
            "Write a [short |]greeting.",
        ),
        (
            "Hello, it is nice to meet you!",
            "Hello from Penstock's small demonstration model!",
        ),
    ),
    Entry(
        (
            "I am bored[.|!]",
            "Entertain me.",
            "Let's [talk|chat].",
            "Talk to me.",
            "Can we [talk|chat]?",
            "Tell me something[ nice| interesting||].",
        ),
        (
            "Let us talk! You could ask me for a joke, a haiku or the capital of a country.",
            "Gladly! Did you know that an octopus has three hearts?",
        ),
    ),
    Entry(
        (
            "Can you help me?",
            "I need [help|your help|some help].",
            "I have a question.",
            "Can I ask [you |]something?",
            "Could you help me[ with something]?",
        ),
        ("Of course! Please ask, and keep it simple, because I am a small demonstration model.",),
    ),
    Entry(
        (
            "Do you [like|love|enjoy|hate|want] [music|tea|cats|dogs|football|me|books|pizza|films|people|water|games]?",
            "Do you have [friends|a family|a hobby|a body|pets]?",
        ),
        ("I am only a small program, so I have no likes and no friends. What about you?",),
    ),
    Entry(
        (
            "What did you [do|eat] [today|yesterday]?",
            "What are you doing[ now||]?",
            "Do you have any [plans|hobbies]?",
            "What do you like[ to do||]?",
        ),
        ("I am a program, so I only answer messages. I like short and simple ones.",),
    ),
)

CHINESE = (
    Entry(
        ("你好[！|。|啊|呀|]", "您好[！|。|]", "[嗨|哈喽|嘿|喂|大家好|你好你好|在吗|hello 你好][！|。|？|]"),
        (
            "你好！有什么可以帮你的吗？",
            "你好！我是 Penstock 的小型演示模型，想聊点什么？",
            "你好，很高兴见到你！",
        ),
    ),
    Entry(("早上好[！|。|]", "早[！|啊|安]"), ("早上好！今天有什么可以帮你的吗？", "早上好！祝你今天顺利。")),
    Entry(("下午好[！|。|]",), ("下午好！有什么可以帮你的吗？",)),
    Entry(("晚上好[！|。|]",), ("晚上好！有什么可以帮你的吗？",)),
    Entry(("晚安[！|。|]", "我要睡觉了。", "我去睡了。"), ("晚安，祝你做个好梦！", "晚安，好好休息！")),
    Entry(
        (
            "你[好吗|怎么样|最近好吗|还好吗|今天好吗|最近怎么样]？",
            "你好，[最近怎么样|你好吗]？",
            "近来如何？",
            "吃了吗？",
        ),
        ("我很好，谢谢！你呢？", "我很好，谢谢你的关心。有什么可以帮你的吗？"),
    ),
    Entry(
        ("我[很好|挺好的|不错|也很好|很开心|还行]。", "今天[心情不错|很开心|过得很好]。"),
        ("那太好了！你想聊点什么？", "听到这个真高兴。"),
    ),
    Entry(
        ("我[很难过|很累|不开心|很无聊|生病了|压力很大|很孤单|心情不好]。", "今天[真累|很糟糕|不太好]。"),
        ("听到这个我很难过。休息一下，喝点水，和信任的人聊聊吧。", "别难过，希望你很快好起来。"),
    ),
    Entry(
        (
            "谢谢[你|您|啦|！|。|]",
            "[多谢|非常感谢|太感谢了|感谢你的帮助|谢谢你的回答][！|。]",
            "好的，谢谢。",
        ),
        ("不客气！", "不客气，很高兴能帮到你。"),
    ),
    Entry(
        ("[再见|拜拜|回头见|下次见|我先走了|我要走了][！|。|]",),
        ("再见，祝你今天愉快！", "再见，下次再聊！"),
    ),
    Entry(
        ("[好的|好|嗯|知道了|明白了|行|可以|哦|懂了|对][。|！|]",),
        ("好的。还有什么想知道的吗？", "好的，接下来想做什么？"),
    ),
    Entry(("[不是|不用了|没有了|不|没了][。|]",), ("好的，需要的时候随时找我。",)),
    Entry(
        ("测试[一下|。|！|]", "[这是一个测试|测试测试|在线吗|能听到吗|有人吗|你在吗|能用吗|能收到吗][？|。]"),
        ("收到，一切正常：Penstock 的演示模型正在回答你。", "测试成功，我在这里。"),
    ),
    Entry(("很高兴[认识|见到]你[！|。]", "幸会[！|。]"), ("我也很高兴认识你！",)),
    Entry(
        (
            "你[真棒|真聪明|好厉害|真可爱|太好了|真不错][！|。]",
            "[说得好|干得好|回答得很好|太棒了|真厉害][！|。]",
            "我喜欢你。",
        ),
        ("谢谢夸奖！", "谢谢你！我虽然很小，但会尽力。"),
    ),
    Entry(
        ("你[真笨|错了|不对|好傻|太慢了|没用]。", "[不对|答错了|这是错的|胡说][。|！]", "我不喜欢你。"),
        (
            "对不起，我只是一个小型演示模型，会出错。",
            "抱歉。更大的模型会更好，例如 `penstock run qwen3:4b`。",
        ),
    ),
    Entry(("对不起[。|！]", "不好意思[。|]", "抱歉[。|]"), ("没关系！", "没事，有什么可以帮你的吗？")),
    Entry(("[生日快乐|新年快乐|节日快乐|周末愉快|圣诞快乐][！|。]",), ("谢谢！也祝你天天开心。",)),
    Entry(
        (
            "[说|请说|说一声|跟我说]你好[。|]",
            "用一句话[打个招呼|问好|跟我问好]。",
            "[跟|和]我打个招呼[吧|]。",
            "请说一句问候语。",
        ),
        ("你好，很高兴认识你！", "你好，我是 Penstock 的小型演示模型！"),
    ),
    Entry(
        ("[我好无聊|陪我聊天|聊聊天吧|我们聊天吧|随便说点什么][。|吧|]",),
        ("好啊！你可以让我讲个笑话、写首小诗，或者问我一个国家的首都。",),
    ),
    Entry(
        ("[你能帮我吗|可以帮我一下吗|我有个问题|我需要帮助|我想问个问题][？|。]",),
        ("当然可以！请说吧，我是小型演示模型，请问得简单一些。",),
    ),
    Entry(
        ("你喜欢[音乐|喝茶|猫|狗|足球|我|看书|水]吗？", "你有[朋友|家人|宠物]吗？"),
        ("我只是一个小程序，没有喜好，也没有朋友。你呢？",),
    ),
    Entry(
        ("你在[干什么|干嘛|做什么]？", "你喜欢什么？", "你有什么爱好？", "你今天做了什么？"),
        ("我是一个程序，只会回答消息，最喜欢简短的问题。",),
    ),
)


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    entries = CHINESE if language == "zh" else ENGLISH
    return ask(rng, entries[0] if rng.random() < 0.12 else rng.choice(entries))
