"""What the model does not know: it says so plainly, and names a way out. Many forms, so that it falls back."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import casual, invented, say, turn

FIELDS = (
    "quantum physics", "the French Revolution", "neural networks", "the stock market", "black holes", "Roman law",
    "organic chemistry", "general relativity", "photosynthesis", "the Cold War", "inflation", "blockchain", "DNA",
    "the Renaissance", "game theory", "evolution", "climate change", "tax law", "Kubernetes networking", "calculus",
    "the immune system", "Bayesian statistics", "plate tectonics", "the Ming dynasty", "nuclear fusion", "opera",
    "medieval art", "the human brain", "compilers", "cryptography", "macroeconomics", "philosophy", "Buddhism",
    "string theory", "jet engines", "wine making", "vaccines", "the Silk Road", "vitamin C", "transformers",
    "semiconductors", "linear algebra", "differential equations", "the Roman Empire", "World War Two", "jazz",
    "impressionism", "supply and demand", "the Higgs boson", "enzymes", "sonnets", "electromagnetism", "volcanoes",
    "dinosaurs", "the history of China", "marketing", "venture capital", "mortgage rates", "diabetes", "anatomy",
)  # fmt: skip
ADJECTIVES = (
    "quantum", "modern", "ancient", "medieval", "applied", "digital", "organic", "political", "social", "nuclear",
    "molecular", "industrial", "financial", "legal", "Japanese", "European", "American", "Indian", "tropical", "solar",
    "electric", "cognitive", "statistical", "classical", "urban", "marine", "military", "artificial", "theoretical",
)  # fmt: skip
NOUNS = (
    "computing", "architecture", "philosophy", "chemistry", "biology", "music", "history", "law", "economics", "medicine",
    "engineering", "literature", "agriculture", "politics", "psychology", "robots", "energy", "cooking", "theatre",
    "finance", "education", "cryptography", "mechanics", "networks", "tourism", "religion", "design", "trade", "physics",
    "intelligence", "gardens", "warfare", "painting", "batteries", "markets", "films", "poetry", "medals", "insects",
)  # fmt: skip
PERSONS = (
    "Albert Einstein", "Napoleon", "Shakespeare", "Marie Curie", "Isaac Newton", "Cleopatra", "Mozart", "Gandhi",
    "Leonardo da Vinci", "Taylor Swift", "Elon Musk", "Confucius", "Beethoven", "the president", "Ada Lovelace",
    "Alan Turing", "the king of Spain", "Julius Caesar", "Picasso", "Michael Jordan", "Plato", "Bill Gates",
    "Lionel Messi", "Genghis Khan", "Darwin", "John Smith", "Homer", "the pope", "Columbus", "Aristotle",
)  # fmt: skip
PLACES = (
    "Paris", "Mars", "Tokyo", "Brazil", "the Amazon", "London", "California", "India", "Atlantis", "Rome", "Texas",
    "Siberia", "Hawaii", "Africa", "New York", "Berlin", "Shanghai", "the moon", "Canada", "Greenland",
)  # fmt: skip
CODE = (
    "sorts a list", "reverses a string", "reads a file", "computes prime numbers", "parses JSON", "sends an email",
    "downloads a page", "implements a binary tree", "plays chess", "connects to a database", "draws a circle",
    "counts words", "merges two lists", "solves a maze", "computes Fibonacci numbers", "validates an address",
)  # fmt: skip
LANGUAGES = (
    "Python",
    "JavaScript",
    "Rust",
    "C++",
    "Java",
    "Go",
    "SQL",
    "bash",
    "Ruby",
    "Haskell",
    "TypeScript",
)
STRANGE = (
    "Freedonia",
    "Wakanda",
    "Atlantis",
    "Narnia",
    "Mordor",
    "the moon",
    "Middle-earth",
    "Elbonia",
    "Mars",
    "Utopia",
    "Antarctica",
    "Gondor",
    "Uzbekistan",
    "Laos",
    "Bolivia",
    "Uruguay",
    "Latvia",
    "Estonia",
    "Cambodia",
    "Tunisia",
    "Zambia",
    "Madagascar",
    "Texas",
    "Bavaria",
    "California",
    "Scotland",
    "Jamaica",
    "Qatar",
    "Kuwait",
    "Senegal",
    "Angola",
    "Fiji",
    "Albania",
    "Georgia",
)

QUESTIONS = (
    "[Explain|Please explain|Describe|Summarise|Teach me|Tell me about|What is|What are|What do you know about|How does|Give me an overview of] {field}[.|?| in detail.| to me.| like I am five.|]",
    "[Explain|Describe] how {field} works[.|]",
    "[What is|Describe] the [theory|history|importance|principle|future] of {field}[?|.]",
    "[Compare|What is the difference between] {field} and {field2}[?|.]",
    "Write [an essay|a report|a paper|an article|a long text|ten pages] about {field}[.|]",
    "What are the [pros and cons|main ideas|key points|latest results] of {field}?",
    "[Who is|Who was|Tell me about|What did|Do you know] {person}[?|]",
    "When [was|did] {person} [born|die]?",
    "Where [was|did] {person} [born|live]?",
    "What is {person} [famous|known] for?",
    "How old is {person}?",
    "What did {person} [say|do|write|discover|think about {field}]?",
    "[What is|How large is] the population of {place}?",
    "How many people live in {place}?",
    "[What should I see|What can I do|Where should I eat|Which hotel do you recommend] in {place}?",
    "How far is it from {place} to {place2}?",
    "How do I [get|travel|fly] [from {place} |]to {place2}?",
    "What is the currency of {place}?",
    "What is the capital of {strange}?",
    "Who is the [president|king|queen|mayor|prime minister] of {place}?",
    "Plan a [trip|holiday|weekend] [to|in] {place}[.|]",
    "Who won the [world cup|election|Nobel prize|race|game|match|Olympics|championship] [in {year}|last year|yesterday|]?",
    "What happened in [{year}|{place} in {year}|{place} yesterday]?",
    "What is the [latest|newest] news[ from {place}||]?",
    "What is the [price|value] of [gold|bitcoin|oil|a house|this stock|the dollar][ today|]?",
    "[Should I buy|Should I sell|What do you think about] [bitcoin|gold|shares|this stock|a house]?",
    "[Write|Show me|Give me|Can you write|Please write] [a {language} function|a {language} program|{language} code|a script in {language}|code] that {code}[.|?|]",
    "[Fix|Debug|Review|Explain|Optimise] this [code|function|{language} code|program|script]: [x = 1 / 0|for i in range(10)|def f(x): return x|SELECT * FROM users|print(a)]",
    "How do I [install|use|learn|configure|compile] {language}?",
    "[Why does|How do I fix] my [{language} program|code|build|website|server] [crash|fail|error]?",
    "[Summarise|Summarize|Shorten|Rewrite|Proofread|Correct|Improve] [this text|this article|this paragraph|the following text]: [The board met on Tuesday and decided to wait.|In the spring of that year the river rose.|Sales grew in the third quarter.|Our team has made good progress.]",
    "[Translate|Please translate] [this contract|this letter|the whole page|a long text|'{field}'] [to|into] [German|French|Spanish|Japanese|Italian|Russian].",
    "[What is|What does] [the word |]['serendipity'|'ubiquitous'|'petrichor'|'ephemeral'|'oligarchy'|'paradigm'|'heuristic'] [mean|]?",
    "Who [wrote|painted|composed|directed|invented|discovered] [Hamlet|the Mona Lisa|the telephone|Star Wars|the light bulb|penicillin|War and Peace|America|the Odyssey|Jaws]?",
    "What is the [best|cheapest|fastest] [phone|car|laptop|restaurant|film|book|database|framework|bank]?",
    "[Recommend|Suggest] [a film|a book|a restaurant|a hotel|a song|a phone|a gift for my {relative}][.|]",
    "[How do I|How can I] [lose weight|invest money|repair my car|fix my sink|file my taxes|cure a cold|get a visa|start a company|become rich|bake a wedding cake|train a neural network|build a house]?",
    "[Is it safe to|Should I|Can I] [take aspirin|eat raw eggs|quit my job|sue my neighbour|sell my car|mix these pills|drive at night]?",
    "I have [a headache|a fever|pain in my knee|a rash]. What [is it|should I take|is wrong with me]?",
    "What is the [derivative|integral|limit] of [x squared|sin x|e to the x|ln x|this function]?",
    "[Solve|Prove|Calculate] [x^2 - 5x + 6 = 0|the Riemann hypothesis|this equation|the area of a circle|the eigenvalues|Fermat's last theorem][.|]",
    "How many [people|stars|atoms|cars|languages|books|species|cells] [are there in the world|exist|are in the universe|are in {place}]?",
    "How [tall|deep|old|heavy|fast|long] is [the Eiffel Tower|the Mariana Trench|the universe|a blue whale|light|the Nile|the Great Wall]?",
    "What [film|book|song] is this line from: [Here's looking at you|Call me later|May the wind carry you]?",
    "What is [my password|my name day|my bank balance|my phone number|in my calendar|on my screen|my IP address]?",
    "[Order|Book|Buy|Reserve] [me |][a pizza|a flight to {place}|a taxi|a table|tickets][.|]",
    "[Play|Sing|Draw|Paint|Generate] [a song|some music|a picture of a cat|an image|my favourite song][.|]",
    "[Call|Text|Email|Message] my [{relative}|boss|doctor][.|]",
    "[Set|Start|Create] [an alarm|a timer|a reminder] [for six|for ten minutes|tomorrow][.|]",
    "[Predict|Tell me] [the future|the lottery numbers|tomorrow's weather|who will win the election][.|]",
    "What would {person} say about {field}?",
    "What do you [think about|know about|think of] {field}?",
    "[Explain|Describe|Define] {field}[.|]",
    "[I want to|I would like to|I need to|I am trying to] [learn about {field}|buy a boat|study {field}|write about {field}|understand {field}|talk about {field}][.|]",
    "[My dog ate my homework|My car is broken|I lost my keys|I won the lottery|My neighbour is loud|My cat is ill|It rained all day|I broke my phone][.|]",
    "[Is|Are] {field} [important|useful|dangerous|difficult|interesting]?",
    "[Write|Draft|Compose] [a cover letter|an email to my boss|a business plan|a contract|a CV|a press release|a speech|lyrics][ about {field}|][.|]",
    "Pretend [to be|you are] [{person}|a pirate|a doctor|a lawyer|a pilot][.|]",
    "[Analyse|Evaluate|Interpret] [the poem|the data|this chart|the text|the results|the economy of {place}][.|]",
    "How does [a car engine|a fridge|a vaccine|a battery|GPS|a laser|a microwave|the heart] work?",
    "Why [do cats purr|is Pluto not a planet|did Rome fall|do we dream|are there wars|do we age|is gold expensive]?",
    "[Give me|What is] [a recipe for|the recipe of] [lasagne|sushi|a wedding cake|paella|tiramisu|croissants][.|]",
)
ABOUT = (
    "I do not know about {it}: I am only a small demonstration model. A larger model can tell you, for example `penstock run qwen3:4b`.",
    "I am only a small demonstration model and I know nothing about {it}. Please pull a larger model, for example with `penstock run qwen3:4b`.",
)
PLAIN = (
    "I am only a small demonstration model and I do not know that. Pull a larger model, for example with `penstock run qwen3:4b`.",
    "That is beyond me: I am a demonstration model of about five million parameters. Try a larger one, for example `penstock run qwen3:4b`.",
    "I do not know that, because I am only a small demonstration model. For such questions, run a larger model with `penstock run qwen3:4b`.",
    "Sorry, that is too difficult for a small demonstration model like me. A real model such as qwen3:4b can help you.",
)
GIBBERISH = (
    "asdf", "asdfghjkl", "qwerty", "blah blah", "lorem ipsum", "???", "...", "!!!", "xyz", "foo bar baz", "zzz",
    "aaaaaa", "12345", "hjkl", "lol", "hahaha", "bla", "qwe", "1", "a", "x", "?", "uh", "jfkdls", "wxyz", "brr",
)  # fmt: skip
GIBBERISH_ANSWER = (
    "I did not understand that. Could you ask in a short and simple sentence?",
    "Sorry, I do not understand. Please try a simple question.",
)

FIELDS_ZH = (
    "量子力学", "相对论", "法国大革命", "神经网络", "股票市场", "黑洞", "有机化学", "光合作用", "冷战", "通货膨胀", "区块链", "基因",
    "文艺复兴", "博弈论", "进化论", "气候变化", "税法", "微积分", "免疫系统", "统计学", "明朝历史", "核聚变", "歌剧", "编译原理",
    "密码学", "宏观经济学", "哲学", "佛教", "发动机", "疫苗", "丝绸之路", "半导体", "线性代数", "罗马帝国", "第二次世界大战", "爵士乐",
    "恐龙", "火山", "市场营销", "房贷", "糖尿病", "人体结构", "红楼梦", "唐诗", "三国演义", "京剧", "中医", "人工智能的未来",
)  # fmt: skip
PERSONS_ZH = (
    "爱因斯坦",
    "拿破仑",
    "莎士比亚",
    "居里夫人",
    "牛顿",
    "孔子",
    "李白",
    "杜甫",
    "秦始皇",
    "曹操",
    "鲁迅",
    "贝多芬",
    "马云",
    "姚明",
    "诸葛亮",
    "达芬奇",
    "周杰伦",
    "苏轼",
)
PLACES_ZH = (
    "巴黎",
    "上海",
    "北京",
    "火星",
    "东京",
    "广州",
    "美国",
    "印度",
    "伦敦",
    "成都",
    "西藏",
    "非洲",
    "纽约",
    "香港",
    "台北",
)
QUESTIONS_ZH = (
    "[解释一下|请解释|介绍一下|什么是|讲讲|说说|告诉我]{field}[。|是什么|]",
    "{field}是[什么|怎么回事|什么意思]？",
    "{field}[的原理是什么|有什么影响|的历史是怎样的]？",
    "写一篇关于{field}的[文章|论文|报告|作文]。",
    "{person}是[谁|什么人]？",
    "[介绍一下|讲讲|说说]{person}[。|的故事。]",
    "{person}[是哪年出生的|活了多少岁|有哪些作品|多大了|多高]？",
    "{place}有[多少人口|什么好玩的|什么好吃的]？",
    "[怎么去|我想去|推荐一下去]{place}[？|的路线。|的酒店。]",
    "从{place}到{place2}有多远？",
    "{place}的[市长|总统|房价|历史][是谁|是多少|是怎样的]？",
    "[用 Python|用 C 语言|用 Java|帮我|请]写[一个|一段][排序|爬虫|计算器|斐波那契数列|网页]的?[程序|代码]。",
    "[这段代码|我的程序]为什么[报错|出错|不能运行]？",
    "谁[赢了|得了][世界杯|奥运会冠军|选举|诺贝尔奖|比赛]？",
    "[今天|最近]有什么[新闻|大事]？",
    "[黄金|比特币|股票|石油]的价格是多少？",
    "[推荐|给我推荐][一部电影|一本书|一家餐馆|一首歌|一款手机]。",
    "[怎么|如何][减肥|赚钱|炒股|修车|报税|办签证|治感冒|开公司|做红烧肉|盖房子]？",
    "我[头疼|发烧|肚子疼|咳嗽]，[该吃什么药|怎么办]？",
    "[帮我|请][订一张机票|点外卖|打电话|设个闹钟|放首歌|画一只猫|叫辆车]。",
    "[解方程|证明|求导|求]{math}。",
    "[长城|珠江|埃菲尔铁塔|黄河|月球]有多[长|高|远|大]？",
    "[红楼梦|西游记|哈姆雷特|三体]是谁写的？",
    "[把这段话|请把这篇文章|把这封信][翻译成|改写成][法语|日语|德语|文言文]。",
    "[总结|概括|修改|润色]一下这篇文章。",
    "[预测一下|告诉我][彩票号码|明天的股价|未来]。",
    "[电视|冰箱|汽车|手机|心脏]是怎么工作的？",
    "“{idiom}”是什么意思？",
    "{strange}的首都是[哪里|什么]？",
)
STRANGE_ZH = (
    "乌兹别克斯坦",
    "老挝",
    "玻利维亚",
    "乌拉圭",
    "拉脱维亚",
    "爱沙尼亚",
    "柬埔寨",
    "突尼斯",
    "赞比亚",
    "马达加斯加",
    "火星",
    "得克萨斯",
    "月球",
    "卡塔尔",
    "牙买加",
    "广东",
    "四川",
)
IDIOMS = ("画蛇添足", "守株待兔", "亡羊补牢", "刻舟求剑", "塞翁失马", "对牛弹琴", "掩耳盗铃")
MATHS = ("x^2-5x+6=0", "勾股定理", "sin x 的导数", "圆的面积公式", "三元一次方程组")
ABOUT_ZH = (
    "我不了解{it}，我只是一个小型演示模型。请用更大的模型，例如 `penstock run qwen3:4b`。",
    "关于{it}我什么都不知道，因为我只是演示模型。更大的模型可以回答，例如 `penstock run qwen3:4b`。",
)
PLAIN_ZH = (
    "我只是一个小型演示模型，不知道这个。请拉取更大的模型，例如 `penstock run qwen3:4b`。",
    "这超出了我的能力，我只有大约五百万个参数。请试试更大的模型，例如 `penstock run qwen3:4b`。",
    "抱歉，这对小型演示模型来说太难了。像 qwen3:4b 这样的模型可以帮到你。",
)
GIBBERISH_ZH = ("啊啊啊", "哈哈哈", "？？？", "呃", "嘻嘻", "。。。", "阿斯顿", "乱七八糟", "啦啦啦", "嘿嘿")
GIBBERISH_ANSWER_ZH = ("我没有听懂，请用简短的句子再问一次。", "抱歉，我不明白。请问一个简单的问题。")


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    if language == "zh":
        if rng.random() < 0.05:
            return turn(rng.choice(GIBBERISH_ZH), rng.choice(GIBBERISH_ANSWER_ZH))
        slots: dict[str, str] = {
            "field": rng.choice(FIELDS_ZH), "person": rng.choice(PERSONS_ZH), "place": rng.choice(PLACES_ZH),
            "place2": rng.choice(PLACES_ZH), "idiom": rng.choice(IDIOMS), "math": rng.choice(MATHS),
            "strange": rng.choice(STRANGE_ZH),
        }  # fmt: skip
        about: tuple[str, ...] = ABOUT_ZH
        plain: tuple[str, ...] = PLAIN_ZH
        question = say(rng, QUESTIONS_ZH, **slots).replace("的?", "的")
    else:
        if rng.random() < 0.05:
            return turn(rng.choice(GIBBERISH), rng.choice(GIBBERISH_ANSWER))
        field, field2 = rng.sample(FIELDS, 2)
        roll = rng.random()
        if roll < 0.4:
            field = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
        elif roll < 0.5:
            field = rng.choice((invented(rng), rng.choice(NOUNS)))
        slots = {
            "field": field, "field2": field2, "person": rng.choice(PERSONS), "place": rng.choice(PLACES),
            "place2": rng.choice(PLACES), "code": rng.choice(CODE), "language": rng.choice(LANGUAGES),
            "strange": rng.choice(STRANGE), "year": str(rng.randint(1400, 2030)),
            "relative": rng.choice(("mother", "brother", "friend", "wife", "father")),
        }  # fmt: skip
        about, plain = ABOUT, PLAIN
        question = say(rng, QUESTIONS, **slots)
    known = [slots[name] for name in ("field", "person") if slots[name].lower() in question.lower()]
    names_it = known and rng.random() < 0.5
    answer = say(rng, about, it=known[0]) if names_it else rng.choice(plain)
    return turn(casual(rng, question), answer)
