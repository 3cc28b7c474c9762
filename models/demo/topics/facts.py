"""Everyday knowledge: capitals, animals, the calendar, simple science, the kitchen, good advice."""

# ruff: noqa: E501 - one pattern per line, however long; Chinese counts twice

from __future__ import annotations

import random

from models.demo.grammar import Entry, ask, casual, say, turn

CAPITALS = (
    ("France", "Paris", "法国", "巴黎"), ("Germany", "Berlin", "德国", "柏林"), ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"), ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("England", "London", "英格兰", "伦敦"), ("the United Kingdom", "London", "英国", "伦敦"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"), ("the Netherlands", "Amsterdam", "荷兰", "阿姆斯特丹"),
    ("Belgium", "Brussels", "比利时", "布鲁塞尔"), ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Switzerland", "Bern", "瑞士", "伯尔尼"), ("Poland", "Warsaw", "波兰", "华沙"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"), ("Greece", "Athens", "希腊", "雅典"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"), ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"), ("Finland", "Helsinki", "芬兰", "赫尔辛基"),
    ("Iceland", "Reykjavik", "冰岛", "雷克雅未克"), ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("Ukraine", "Kyiv", "乌克兰", "基辅"), ("Turkey", "Ankara", "土耳其", "安卡拉"),
    ("Romania", "Bucharest", "罗马尼亚", "布加勒斯特"), ("Bulgaria", "Sofia", "保加利亚", "索非亚"),
    ("Croatia", "Zagreb", "克罗地亚", "萨格勒布"), ("Serbia", "Belgrade", "塞尔维亚", "贝尔格莱德"),
    ("Egypt", "Cairo", "埃及", "开罗"), ("Morocco", "Rabat", "摩洛哥", "拉巴特"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"), ("Nigeria", "Abuja", "尼日利亚", "阿布贾"),
    ("Ethiopia", "Addis Ababa", "埃塞俄比亚", "亚的斯亚贝巴"), ("Ghana", "Accra", "加纳", "阿克拉"),
    ("China", "Beijing", "中国", "北京"), ("Japan", "Tokyo", "日本", "东京"), ("South Korea", "Seoul", "韩国", "首尔"),
    ("India", "New Delhi", "印度", "新德里"), ("Pakistan", "Islamabad", "巴基斯坦", "伊斯兰堡"),
    ("Bangladesh", "Dhaka", "孟加拉国", "达卡"), ("Nepal", "Kathmandu", "尼泊尔", "加德满都"),
    ("Thailand", "Bangkok", "泰国", "曼谷"), ("Vietnam", "Hanoi", "越南", "河内"),
    ("Indonesia", "Jakarta", "印度尼西亚", "雅加达"), ("Malaysia", "Kuala Lumpur", "马来西亚", "吉隆坡"),
    ("the Philippines", "Manila", "菲律宾", "马尼拉"), ("Mongolia", "Ulaanbaatar", "蒙古", "乌兰巴托"),
    ("Iran", "Tehran", "伊朗", "德黑兰"), ("Iraq", "Baghdad", "伊拉克", "巴格达"),
    ("Saudi Arabia", "Riyadh", "沙特阿拉伯", "利雅得"), ("Singapore", "Singapore", "新加坡", "新加坡"),
    ("Australia", "Canberra", "澳大利亚", "堪培拉"), ("New Zealand", "Wellington", "新西兰", "惠灵顿"),
    ("Canada", "Ottawa", "加拿大", "渥太华"), ("the United States", "Washington, D.C.", "美国", "华盛顿"),
    ("Mexico", "Mexico City", "墨西哥", "墨西哥城"), ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Brazil", "Brasilia", "巴西", "巴西利亚"), ("Argentina", "Buenos Aires", "阿根廷", "布宜诺斯艾利斯"),
    ("Chile", "Santiago", "智利", "圣地亚哥"), ("Peru", "Lima", "秘鲁", "利马"),
    ("Colombia", "Bogota", "哥伦比亚", "波哥大"), ("Venezuela", "Caracas", "委内瑞拉", "加拉加斯"),
    ("the Czech Republic", "Prague", "捷克", "布拉格"),
)  # fmt: skip

CAPITAL_ASK = (
    "[What is|What's|Tell me|Do you know|Name|Which city is] the capital [city |]of {country}?",
    "{country} capital?",
    "What is {country}'s capital[ city|]?",
    "The capital of {country}[ is||]?",
    "Which city is the capital of {country}?",
    "[Where is|What is] the [government|capital] of {country}[ located|]?",
)
CAPITAL_OF_CITY = (
    "[Which country has {city} as its capital|{city} is the capital of which country|Which country is {city} the capital of]?",
    "[What country|Which country|Where] is {city} in?",
    "Where is {city}?",
)
CAPITAL_ASK_ZH = (
    "{country}的首都[是哪里|在哪里|是什么|是哪个城市|叫什么|是哪|]？",
    "[哪里|哪个城市]是{country}的首都？",
    "你知道{country}的首都[吗|是哪里吗]？",
    "{country}首都[是哪里|是|]？",
)
CAPITAL_OF_CITY_ZH = ("{city}是[哪个国家|哪国]的首都？", "{city}在哪个国家？", "{city}在哪里？")
FOLLOW_ASK = ("And [of |]{country}?", "What about {country}?", "And {country}?", "How about {country}?")
FOLLOW_ASK_ZH = ("那{country}呢？", "{country}呢？")

ANIMALS = (
    ("dog", "barks", 4, "狗", "汪汪"), ("cat", "meows", 4, "猫", "喵喵"), ("cow", "moos", 4, "牛", "哞哞"),
    ("sheep", "bleats", 4, "羊", "咩咩"), ("horse", "neighs", 4, "马", "咴咴"), ("pig", "oinks", 4, "猪", "哼哼"),
    ("duck", "quacks", 2, "鸭子", "嘎嘎"), ("chicken", "clucks", 2, "鸡", "咯咯"), ("lion", "roars", 4, "狮子", "吼吼"),
    ("frog", "croaks", 4, "青蛙", "呱呱"), ("bee", "buzzes", 6, "蜜蜂", "嗡嗡"), ("bird", "sings", 2, "鸟", "叽叽喳喳"),
    ("mouse", "squeaks", 4, "老鼠", "吱吱"), ("wolf", "howls", 4, "狼", "嗷嗷"), ("snake", "hisses", 0, "蛇", "嘶嘶"),
)  # fmt: skip
LEGS = (
    ("spider", 8, "蜘蛛"), ("ant", 6, "蚂蚁"), ("butterfly", 6, "蝴蝶"), ("elephant", 4, "大象"), ("tiger", 4, "老虎"),
    ("rabbit", 4, "兔子"), ("fish", 0, "鱼"), ("human", 2, "人"), ("person", 2, "人"), ("penguin", 2, "企鹅"),
    ("fly", 6, "苍蝇"), ("table", 4, "桌子"), ("chair", 4, "椅子"), ("fox", 4, "狐狸"), ("crab", 10, "螃蟹"),
)  # fmt: skip
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER_ZH = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十")

COLOURS = (
    ("the sky", "blue", "天空", "蓝色"), ("grass", "green", "草", "绿色"), ("snow", "white", "雪", "白色"),
    ("blood", "red", "血", "红色"), ("the sun", "yellow", "太阳", "黄色"), ("a banana", "yellow", "香蕉", "黄色"),
    ("a strawberry", "red", "草莓", "红色"), ("coal", "black", "煤", "黑色"), ("milk", "white", "牛奶", "白色"),
    ("a carrot", "orange", "胡萝卜", "橙色"), ("the sea", "blue", "大海", "蓝色"), ("a leaf", "green", "叶子", "绿色"),
    ("chocolate", "brown", "巧克力", "棕色"), ("a lemon", "yellow", "柠檬", "黄色"), ("a tomato", "red", "番茄", "红色"),
    ("an elephant", "grey", "大象", "灰色"), ("a frog", "green", "青蛙", "绿色"), ("the night", "black", "夜晚", "黑色"),
    ("an orange", "orange", "橙子", "橙色"), ("a cloud", "white", "云", "白色"), ("gold", "yellow", "金子", "金色"),
    ("a plum", "purple", "李子", "紫色"), ("salt", "white", "盐", "白色"), ("a fire truck", "red", "消防车", "红色"),
)  # fmt: skip

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS_ZH = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MONTHS_ZH = (
    "一月",
    "二月",
    "三月",
    "四月",
    "五月",
    "六月",
    "七月",
    "八月",
    "九月",
    "十月",
    "十一月",
    "十二月",
)
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# fmt: off
GENERAL = (
    Entry(("How many days are [there |]in a week?", "How many days does a week have?"), ("A week has seven days.",)),
    Entry(("How many months are [there |]in a year?", "How many months does a year have?"), ("A year has twelve months.",)),
    Entry(("How many days are [there |]in a year?", "How many days does a year have?"), ("A year has 365 days, and a leap year has 366.",)),
    Entry(("How many hours are [there |]in a day?", "How many hours does a day have?"), ("A day has 24 hours.",)),
    Entry(("How many minutes are [there |]in an hour?", "How long is an hour?"), ("An hour has 60 minutes.",)),
    Entry(("How many seconds are [there |]in a minute?", "How long is a minute?"), ("A minute has 60 seconds.",)),
    Entry(("[What are|Name|List|Tell me] the [four |]seasons[?|.| of the year?]", "How many seasons are there?"), ("The four seasons are spring, summer, autumn and winter.",)),
    Entry(("[What are|Name|List|Tell me|Say] the days of the week[?|.]",), ("The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",)),
    Entry(("[What are|Name|List|Tell me] the months[ of the year||][?|.]",), ("The months are January, February, March, April, May, June, July, August, September, October, November and December.",)),
    Entry(("[Which|What] season is the [coldest|coldest one]?", "Which season is cold?"), ("Winter is the coldest season.",)),
    Entry(("[Which|What] season is the [hottest|warmest]?", "Which season is hot?"), ("Summer is the hottest season.",)),
    Entry(("What comes after [spring]?", "Which season follows spring?"), ("Summer comes after spring.",)),
    Entry(("What comes after [winter]?", "Which season follows winter?"), ("Spring comes after winter.",)),
    Entry(("When do [leaves|the leaves] fall?", "What comes after summer?"), ("Autumn comes after summer, and then the leaves fall.",)),
    Entry(("Why is the sky blue?", "[What makes|Explain why] the sky [is |]blue?", "How come the sky is blue?"), ("The sky is blue because air scatters blue light from the sun more than red light.",)),
    Entry(("Why is [the grass|grass] green?", "Why are [leaves|plants] green?"), ("Plants are green because of chlorophyll, which they use to make food from sunlight.",)),
    Entry(("Why is the [sea|ocean] [blue]?",), ("The sea looks blue because water absorbs red light more than blue light.",)),
    Entry(("Why is the [sea|ocean|sea water] salty?",), ("The sea is salty because rivers carry salt from the rocks into it.",)),
    Entry(("Why does it rain?", "[How does rain form|Where does rain come from|What is rain]?"), ("Water rises from the sea as vapour, cools into clouds, and falls as rain when the drops are heavy.",)),
    Entry(("What is snow?", "Why does it snow?"), ("Snow is frozen water. It falls when the air is cold enough for ice crystals.",)),
    Entry(("What is a rainbow?", "[How does a rainbow form|Why are there rainbows|What makes a rainbow]?"), ("A rainbow appears when sunlight is split into colours by drops of rain.",)),
    Entry(("What is [thunder|lightning]?", "What causes [thunder|lightning]?"), ("Lightning is a large spark between clouds or to the ground, and thunder is its sound.",)),
    Entry(("What is wind?", "Why is there wind?", "What makes the wind blow?"), ("Wind is moving air. It blows because the sun warms some places more than others.",)),
    Entry(("What is water[ made of||]?",), ("Water is a clear liquid made of hydrogen and oxygen. All living things need it.",)),
    Entry(("What is ice?", "What happens when water freezes?"), ("Ice is frozen water. Water freezes at zero degrees Celsius.",)),
    Entry(("[When|At what temperature] does water boil?", "What is the boiling point of water?"), ("Water boils at 100 degrees Celsius at sea level.",)),
    Entry(("[When|At what temperature] does water freeze?", "What is the freezing point of water?"), ("Water freezes at 0 degrees Celsius.",)),
    Entry(("What is steam?", "What happens when water boils?"), ("When water boils it becomes steam, which is water as a gas.",)),
    Entry(("What is the sun?", "Is the sun a star?", "What kind of star is the sun?"), ("The sun is a star. It gives us light and warmth.",)),
    Entry(("What is the moon?", "Is the moon a planet?"), ("The moon is a ball of rock that travels around the Earth about once a month.",)),
    Entry(("What is a star?", "What are stars?"), ("A star is a huge ball of hot gas that shines by itself.",)),
    Entry(("What is a planet?", "Which planet do we live on?", "What is the Earth?"), ("A planet is a large body that travels around a star. We live on the planet Earth.",)),
    Entry(("How many planets are there[ in the solar system||]?", "[Name|List|What are] the planets[?|.]"), ("There are eight planets: Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",)),
    Entry(("[What is|Which is] the [largest|biggest] planet?",), ("Jupiter is the largest planet of the solar system.",)),
    Entry(("[What is|Which is] the smallest planet?", "Which planet is closest to the sun?"), ("Mercury is the smallest planet and the closest one to the sun.",)),
    Entry(("Which planet is [red|called the red planet]?", "What is the red planet?"), ("Mars is called the red planet, because rust colours its ground.",)),
    Entry(("[What is|Which is] the [largest|biggest] [ocean|sea]?",), ("The Pacific Ocean is the largest ocean.",)),
    Entry(("[What is|Which is] the [highest|tallest] mountain[ in the world||]?",), ("Mount Everest is the highest mountain in the world.",)),
    Entry(("[What is|Which is] the [largest|biggest] animal[ in the world||]?",), ("The blue whale is the largest animal.",)),
    Entry(("[What is|Which is] the [fastest] [land |]animal?",), ("The cheetah is the fastest animal on land.",)),
    Entry(("[What is|Which is] the [tallest] animal?",), ("The giraffe is the tallest animal.",)),
    Entry(("How many continents are there?", "[Name|List|What are] the continents[?|.]"), ("There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America and South America.",)),
    Entry(("What are the primary colours?", "[Name|List] the primary colors."), ("The primary colours are red, yellow and blue.",)),
    Entry(("What colour do [blue and yellow|yellow and blue] make?", "What do you get when you mix blue and yellow?"), ("Blue and yellow make green.",)),
    Entry(("What colour do [red and yellow|yellow and red] make?", "What do you get when you mix red and yellow?"), ("Red and yellow make orange.",)),
    Entry(("What colour do [red and blue|blue and red] make?", "What do you get when you mix red and blue?"), ("Red and blue make purple.",)),
    Entry(("What colour do [black and white|white and black] make?",), ("Black and white make grey.",)),
    Entry(("What are the colours of the rainbow?", "[List|Name] the [rainbow colours|colours of the rainbow]."), ("The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.",)),
    Entry(("What do [cows|horses|rabbits|sheep] eat?",), ("They eat grass and other plants.",)),
    Entry(("What do [cats|lions|tigers|wolves] eat?",), ("They eat meat.",)),
    Entry(("What do bees [make|do|produce]?",), ("Bees make honey, and they help plants to grow fruit.",)),
    Entry(("What does a cow give us?", "Where does milk come from?"), ("Milk comes from cows, goats and other animals.",)),
    Entry(("Where do [fish|whales] live?",), ("They live in water: in seas, rivers and lakes.",)),
    Entry(("Where do [penguins] live?",), ("Penguins live in the cold south, most of them around Antarctica.",)),
    Entry(("Can [birds|eagles|bees|butterflies] fly?",), ("Yes, they can fly.",)),
    Entry(("Can [dogs|cows|horses|elephants|penguins|fish] fly?",), ("No, they cannot fly.",)),
    Entry(("Can [fish|ducks|whales|penguins] swim?",), ("Yes, they swim very well.",)),
    Entry(("What do plants need[ to grow||]?", "How do plants grow?"), ("Plants need water, light, air and soil to grow.",)),
    Entry(("Why do we [sleep|need sleep]?", "Why is sleep important?"), ("Sleep lets the body rest and the mind sort what it has learned.",)),
    Entry(("Why do we [eat|need food]?",), ("Food gives the body energy and the material to grow.",)),
    Entry(("How many fingers [do people have|does a person have|are on a hand]?", "How many fingers do I have?"), ("A hand has five fingers, so two hands have ten.",)),
    Entry(("How many eyes [do people have|does a person have|do you have]?",), ("People have two eyes.",)),
    Entry(("How many wheels does a [car|bus] have?",), ("It usually has four wheels.",)),
    Entry(("How many wheels does a [bicycle|bike|motorcycle] have?",), ("It has two wheels.",)),
    Entry(("How many letters are [there |]in the [English |]alphabet?", "[Say|List|Recite] the alphabet."), ("The English alphabet has 26 letters: A B C D E F G H I J K L M N O P Q R S T U V W X Y Z.",)),
    Entry(("What is the first letter of the alphabet?",), ("The first letter of the alphabet is A.",)),
    Entry(("What is the last letter of the alphabet?",), ("The last letter of the alphabet is Z.",)),
    Entry(("[Where|In which direction] does the sun [rise]?",), ("The sun rises in the east.",)),
    Entry(("[Where|In which direction] does the sun set?",), ("The sun sets in the west.",)),
    Entry(("What is a [triangle]?", "How many sides does a triangle have?"), ("A triangle is a shape with three sides.",)),
    Entry(("What is a [square]?", "How many sides does a square have?"), ("A square is a shape with four equal sides.",)),
    Entry(("What is a circle?",), ("A circle is a round shape. All of its points are equally far from the middle.",)),
    Entry(("What is a [book]?",), ("A book is a set of pages with text or pictures, bound together.",)),
    Entry(("What is a [computer]?",), ("A computer is a machine that follows instructions to work with information.",)),
    Entry(("What is [the internet|internet]?",), ("The internet is a network that connects computers all over the world.",)),
    Entry(("What is [software|a program|a computer program]?",), ("A program is a list of instructions for a computer.",)),
    Entry(("What is [Python]?",), ("Python is a programming language that is easy to read. Penstock is written in it.",)),
    Entry(("What is [JSON]?",), ("JSON is a text format for data, with objects, lists, strings and numbers.",)),
    Entry(("What is an API?", "What does API mean?"), ("An API is a way for programs to talk to each other.",)),
    Entry(("What is [a server|server]?",), ("A server is a program that waits for requests and answers them.",)),
    Entry(("What is [a turbine|turbine]?",), ("A turbine is a wheel that turns when water, steam or wind flows through it.",)),
    Entry(("What is [a dam|dam]?",), ("A dam is a wall that holds back a river.",)),
    Entry(("What is a [river]?",), ("A river is a stream of water that flows to a lake or to the sea.",)),
    Entry(("What is a [mountain]?",), ("A mountain is a very high hill.",)),
    Entry(("What is a [desert]?",), ("A desert is a dry place with very little rain.",)),
    Entry(("What is [an island|island]?",), ("An island is land with water all around it.",)),
    Entry(("What is a [friend]?", "What makes a good friend?"), ("A friend is somebody whom you like and trust, and who helps you.",)),
    Entry(("What is [love]?",), ("Love is a deep and warm feeling for somebody.",)),
    Entry(("What is [music]?",), ("Music is sound in a pleasant order. People make it with voices and instruments.",)),
    Entry(("What is [time]?",), ("Time is what clocks measure: it goes from the past through the present to the future.",)),
    Entry(("What is the meaning of life?", "What is the purpose of life?"), ("That is a question for people. Be kind, learn something, and enjoy the small things.",)),
    Entry(("[How do I|How do you|How to|How can I] [make|brew|prepare] [tea|a cup of tea][?]",), ("Boil water, pour it over the tea, and wait three to five minutes. Then take out the tea and enjoy.",)),
    Entry(("[How do I|How do you|How to|How can I] [make|brew|prepare] [coffee|a cup of coffee][?]",), ("Put ground coffee into a filter and pour hot water over it slowly. Add milk or sugar if you like.",)),
    Entry(("[How do I|How do you|How to|How long do I] [boil|cook] [an egg|eggs|a boiled egg][?]",), ("Put the egg into boiling water: about six minutes for a soft egg, ten for a hard one.",)),
    Entry(("[How do I|How do you|How to|How can I] [cook|make|prepare] [rice|some rice][?]",), ("Rinse the rice, add two cups of water for one cup of rice, and cook it gently for about fifteen minutes.",)),
    Entry(("[How do I|How do you|How to|How can I] [cook|make|prepare|boil] [pasta|spaghetti|noodles][?]",), ("Boil plenty of water with salt, cook the pasta for about ten minutes, then drain it and add a sauce.",)),
    Entry(("[How do I|How do you|How to|How can I] make [a sandwich][?]",), ("Take two slices of bread, put cheese, tomato and lettuce between them, and enjoy.",)),
    Entry(("[How do I|How do you|How to|How can I] make [a salad|salad][?]",), ("Wash and cut lettuce, tomatoes and cucumber, then mix them with oil, vinegar and salt.",)),
    Entry(("[How do I|How do you|How to|How can I] make [soup|a soup|vegetable soup][?]",), ("Cut vegetables, cook them in salted water for twenty minutes, and add herbs at the end.",)),
    Entry(("[How do I|How do you|How to|How can I] make [pancakes][?]",), ("Mix flour, milk, eggs and a little salt, then bake thin rounds in a hot pan with butter.",)),
    Entry(("What should I [eat|have|cook|make] for [dinner|lunch][?| today?| tonight?]",), ("How about pasta with tomato sauce and a small salad? It is quick and simple.",)),
    Entry(("What should I [eat|have] for breakfast?",), ("How about bread, an egg and some fruit? It is quick and gives you energy.",)),
    Entry(("[How do I|How can I|How to] [sleep better|fall asleep|get to sleep][?]", "I can't sleep."), ("Go to bed at the same time each day, put the phone away, and keep the room dark and cool.",)),
    Entry(("[How do I|How can I|How to] [learn faster|study better|learn better|study][?]",), ("Learn a little every day, take breaks, and explain what you have learned to somebody.",)),
    Entry(("[How do I|How can I|How to] [stay healthy|be healthy|get healthy|live healthily][?]",), ("Eat fruit and vegetables, move every day, sleep enough, and drink water.",)),
    Entry(("[How do I|How can I|How to] [make friends|find friends|meet people][?]",), ("Be kind, listen, and join others in things that you like to do.",)),
    Entry(("[How do I|How can I|How to] [relax|calm down|reduce stress][?]", "I am stressed. What can I do?"), ("Breathe slowly, take a walk, and do one thing at a time.",)),
    Entry(("[How do I|How can I|How to] [be happy|be happier|cheer up][?]",), ("Spend time with friends, go outside, and be thankful for small things.",)),
    Entry(("[How do I|How can I|How to] [save money|spend less][?]",), ("Write down what you spend, make a plan, and put a little aside each month.",)),
    Entry(("[How do I|How can I|How to] [concentrate|focus|be more productive][?]",), ("Choose one task, put the phone away, and work in short blocks with breaks.",)),
    Entry(("What should I do today?", "Do you have an idea for today?"), ("How about a walk outside, a good book, or a call to an old friend?",)),
    Entry(("Give me [some |a piece of |]advice.", "Can you give me a tip?", "Any advice?"), ("Take one small step at a time, and rest when you are tired.",)),
    Entry(("What is your favo[u|]rite [colour|color|food|animal|book|film|song]?", "Do you have a favourite [colour|food|animal|song]?"), ("I have no favourites, because I am only a small program. What is yours?",)),
    Entry(("[What is|What's|How is] the weather[ today| like| like today| tomorrow| outside|]?", "[Will it|Is it going to] rain [today|tomorrow]?", "Is it [cold|hot|warm|raining] outside?", "How [hot|cold|warm] is it[ outside|]?"), ("I cannot look up the weather, because I have no internet. Please look out of the window or ask a weather service.", "I do not know the weather: I cannot look it up without a tool.")),
    Entry(("What time is it[ now||]?", "[Do you know|Tell me|What is] the [current |]time[?]", "[What is|What's] [today's date|the date|the date today]?", "What day is [it|today]?", "What year is it?"), ("I have no clock, so I cannot tell you. Please look at your computer or phone.", "I do not know the time or the date, because I have no clock.")),
    Entry(("Where am I?", "What is my [location|address]?", "Do you know where I [am|live]?"), ("I do not know where you are; I only see what you type.",)),
    Entry(("[Heads or tails|Flip a coin|Toss a coin][?|.|]",), ("Heads!", "Tails!")),
    Entry(("[Give me|Pick|Choose|Tell me] a random number[.|]", "[Give me|Pick|Choose|Tell me|Say] a [random |]number [between|from] [1|one] [and|to] [10|ten][.|]", "Roll a die."), ("Four.", "I choose three.", "Seven, for example.")),
)

GENERAL_ZH = (
    Entry(("一[周|个星期]有[几|多少]天？",), ("一周有七天。",)),
    Entry(("一年有[几个|多少个]月？",), ("一年有十二个月。",)),
    Entry(("一年有多少天？",), ("一年有三百六十五天，闰年有三百六十六天。",)),
    Entry(("一天有[几个|多少]小时？",), ("一天有二十四小时。",)),
    Entry(("一[个|]小时有[几|多少]分钟？",), ("一小时有六十分钟。",)),
    Entry(("一分钟有[几|多少]秒？",), ("一分钟有六十秒。",)),
    Entry(("[一年有哪四个季节|四季是什么|一年有几个季节|四季有哪些]？",), ("四季是春天、夏天、秋天和冬天。",)),
    Entry(("[最冷的季节是什么|哪个季节最冷]？",), ("冬天最冷。",)),
    Entry(("[最热的季节是什么|哪个季节最热]？",), ("夏天最热。",)),
    Entry(("[为什么天空是蓝色的|天空为什么是蓝色的|天为什么是蓝的]？",), ("因为空气对太阳光中的蓝光散射得比红光多，所以天空看起来是蓝色的。",)),
    Entry(("[为什么草是绿的|树叶为什么是绿色的|植物为什么是绿色的]？",), ("因为植物里有叶绿素，它们用叶绿素和阳光制造养分。",)),
    Entry(("[海水|大海]为什么是咸的？",), ("因为河流把岩石里的盐带进了大海。",)),
    Entry(("[为什么会下雨|雨是怎么来的|雨是怎么形成的]？",), ("水变成水蒸气升上天空，遇冷变成云，水滴变重后就落下来成为雨。",)),
    Entry(("[为什么会下雪|雪是什么]？",), ("雪是冰晶，天气足够冷的时候就会下雪。",)),
    Entry(("彩虹是[什么|怎么来的|怎么形成的]？",), ("阳光被雨滴分成各种颜色，就出现了彩虹。",)),
    Entry(("风是[什么|怎么来的]？", "为什么会刮风？"), ("风是流动的空气，太阳把各处晒得冷热不同，就有了风。",)),
    Entry(("水[多少度|几度|在多少度]沸腾？", "水的沸点是多少？"), ("水在一百摄氏度沸腾。",)),
    Entry(("水[多少度|几度|在多少度]结冰？", "水的冰点是多少？"), ("水在零摄氏度结冰。",)),
    Entry(("水是什么？",), ("水是由氢和氧组成的透明液体，所有生命都需要它。",)),
    Entry(("太阳是[什么|恒星吗|行星吗]？",), ("太阳是一颗恒星，它给我们光和热。",)),
    Entry(("月亮是什么？",), ("月亮是绕着地球转的一颗石质星球，大约一个月转一圈。",)),
    Entry(("太阳系有[几|多少]颗行星？", "太阳系有哪些行星？"), ("有八颗：水星、金星、地球、火星、木星、土星、天王星和海王星。",)),
    Entry(("最大的行星是[什么|哪个|哪颗]？",), ("最大的行星是木星。",)),
    Entry(("[世界上|]最高的山是[什么|哪座]？",), ("世界上最高的山是珠穆朗玛峰。",)),
    Entry(("[世界上|]最大的动物是什么？",), ("最大的动物是蓝鲸。",)),
    Entry(("[陆地上|]跑得最快的动物是什么？",), ("陆地上跑得最快的动物是猎豹。",)),
    Entry(("最大的[海洋|大洋]是[什么|哪个]？",), ("最大的海洋是太平洋。",)),
    Entry(("有[几|多少]个大洲？", "七大洲是哪些？"), ("有七个大洲：亚洲、欧洲、非洲、北美洲、南美洲、大洋洲和南极洲。",)),
    Entry(("太阳从哪[里|边|个方向]升起？",), ("太阳从东方升起。",)),
    Entry(("太阳从哪[里|边|个方向]落下？",), ("太阳从西方落下。",)),
    Entry(("[牛|马|羊|兔子]吃什么？",), ("它们吃草和别的植物。",)),
    Entry(("[猫|老虎|狮子|狼]吃什么？",), ("它们吃肉。",)),
    Entry(("[熊猫]吃什么？",), ("熊猫主要吃竹子。",)),
    Entry(("蜜蜂[做什么|会做什么]？", "蜂蜜从哪里来？"), ("蜜蜂采花酿蜜，还帮助植物结果。",)),
    Entry(("牛奶从哪里来？",), ("牛奶来自奶牛。",)),
    Entry(("[鱼|鲸鱼]住在哪里？",), ("它们生活在水里。",)),
    Entry(("[鸟|老鹰|蝴蝶|蜜蜂]会飞吗？",), ("会，它们会飞。",)),
    Entry(("[狗|牛|大象|鱼|企鹅]会飞吗？",), ("不会，它们不会飞。",)),
    Entry(("植物[生长|]需要什么？",), ("植物需要水、阳光、空气和土壤。",)),
    Entry(("人为什么要睡觉？",), ("睡觉能让身体休息，也能让大脑整理学到的东西。",)),
    Entry(("蓝色[和|加]黄色[是|变成]什么颜色？",), ("蓝色加黄色是绿色。",)),
    Entry(("红色[和|加]黄色[是|变成]什么颜色？",), ("红色加黄色是橙色。",)),
    Entry(("红色[和|加]蓝色[是|变成]什么颜色？",), ("红色加蓝色是紫色。",)),
    Entry(("三角形有[几|多少]条边？",), ("三角形有三条边。",)),
    Entry(("正方形有[几|多少]条边？",), ("正方形有四条一样长的边。",)),
    Entry(("什么是[电脑|计算机]？",), ("计算机是按照指令处理信息的机器。",)),
    Entry(("[什么是互联网|互联网是什么]？",), ("互联网是把全世界的计算机连接起来的网络。",)),
    Entry(("[什么是 JSON|JSON 是什么]？",), ("JSON 是一种数据文本格式，由对象、列表、字符串和数字组成。",)),
    Entry(("[什么是 API|API 是什么]？",), ("API 是程序之间互相通信的方式。",)),
    Entry(("[什么是朋友|朋友是什么]？",), ("朋友是你喜欢、信任并且会帮助你的人。",)),
    Entry(("人生的意义是什么？",), ("这个问题要由人来回答。善待别人，学点东西，享受小小的快乐吧。",)),
    Entry(("[怎么|如何]泡茶？",), ("把水烧开，倒在茶叶上，等三到五分钟就可以喝了。",)),
    Entry(("[怎么|如何]煮[鸡蛋|蛋]？",), ("把鸡蛋放进开水里，煮六分钟是溏心蛋，煮十分钟是全熟蛋。",)),
    Entry(("[怎么|如何][煮饭|做米饭|煮米饭]？",), ("把米洗净，一杯米加大约一杯半水，小火煮十五分钟左右。",)),
    Entry(("[怎么|如何][煮面|煮面条|做面条]？",), ("水烧开后放入面条，煮大约八分钟，捞出来加上酱料就好。",)),
    Entry(("[怎么|如何]做番茄炒蛋？",), ("先把鸡蛋炒熟盛出，再炒番茄，最后把鸡蛋倒回去，加一点盐和糖。",)),
    Entry(("[今天|晚上|中午][吃什么|吃点什么好]？",), ("来一碗番茄鸡蛋面怎么样？又快又简单。",)),
    Entry(("[怎么|如何]才能睡得[好|更好]？", "我睡不着怎么办？"), ("每天同一时间上床，放下手机，让房间安静、黑暗、凉爽一些。",)),
    Entry(("[怎么|如何]学得更[好|快]？", "怎么学习？"), ("每天学一点，适当休息，再把学到的讲给别人听。",)),
    Entry(("[怎么|如何]保持健康？",), ("多吃蔬菜水果，每天运动，睡够觉，多喝水。",)),
    Entry(("[怎么|如何]放松？", "压力大怎么办？"), ("慢慢呼吸，出去走走，一次只做一件事。",)),
    Entry(("给我[一点|一些|]建议[。|吧]",), ("一步一步来，累了就休息。",)),
    Entry(("你最喜欢[什么颜色|什么食物|什么动物]？",), ("我只是一个小程序，没有最喜欢的东西。你呢？",)),
    Entry(("[今天|明天|现在|]天气[怎么样|如何|好吗]？", "[今天|明天]会下雨吗？", "外面[冷|热]吗？"), ("我没有联网，查不到天气，请看看窗外或者问天气服务。",)),
    Entry(("[现在几点了|现在几点|今天几号|今天星期几|今天是几月几号|现在是哪一年]？",), ("我没有时钟，不知道时间和日期，请看看你的电脑或手机。",)),
    Entry(("我在哪里？", "你知道我住在哪里吗？"), ("我不知道你在哪里，我只能看到你输入的内容。",)),
)

# fmt: on

SETS = (
    (("fruit", "fruits"), ("apples", "bananas", "pears", "grapes", "oranges", "cherries"), "水果", ("苹果", "香蕉", "梨", "葡萄", "橙子", "樱桃")),
    (("animal", "animals"), ("dogs", "cats", "horses", "cows", "lions", "rabbits"), "动物", ("狗", "猫", "马", "牛", "狮子", "兔子")),
    (("colour", "colours"), ("red", "blue", "green", "yellow", "white", "black"), "颜色", ("红色", "蓝色", "绿色", "黄色", "白色", "黑色")),
    (("vegetable", "vegetables"), ("carrots", "potatoes", "onions", "tomatoes", "peas", "beans"), "蔬菜", ("胡萝卜", "土豆", "洋葱", "番茄", "白菜", "豆角")),
    (("country", "countries"), ("France", "China", "Brazil", "Egypt", "India", "Canada"), "国家", ("法国", "中国", "巴西", "埃及", "印度", "加拿大")),
    (("city", "cities"), ("Paris", "Beijing", "Tokyo", "London", "Berlin", "Rome"), "城市", ("巴黎", "北京", "东京", "伦敦", "柏林", "罗马")),
    (("drink", "drinks"), ("water", "tea", "coffee", "milk", "juice", "cocoa"), "饮料", ("水", "茶", "咖啡", "牛奶", "果汁", "豆浆")),
    (("bird", "birds"), ("eagles", "owls", "ducks", "swans", "robins", "crows"), "鸟", ("老鹰", "猫头鹰", "鸭子", "天鹅", "麻雀", "乌鸦")),
    (("sport", "sports"), ("football", "tennis", "swimming", "running", "cycling", "chess"), "运动", ("足球", "网球", "游泳", "跑步", "骑车", "篮球")),
    (("tree", "trees"), ("oaks", "pines", "birches", "maples", "willows", "elms"), "树", ("松树", "柳树", "橡树", "枫树", "杨树", "桃树")),
    (("flower", "flowers"), ("roses", "tulips", "lilies", "daisies", "sunflowers", "violets"), "花", ("玫瑰", "百合", "菊花", "牡丹", "向日葵", "荷花")),
    (("metal", "metals"), ("iron", "gold", "silver", "copper", "tin", "lead"), "金属", ("铁", "金", "银", "铜", "锡", "铅")),
    (("instrument", "musical instruments"), ("the piano", "the violin", "the flute", "the guitar", "the drum", "the trumpet"), "乐器", ("钢琴", "小提琴", "笛子", "吉他", "鼓", "小号")),
    (("programming language", "programming languages"), ("Python", "C", "Rust", "Go", "Java", "JavaScript"), "编程语言", ("Python", "C", "Rust", "Go", "Java", "JavaScript")),
    (("planet", "planets"), ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn"), "行星", ("水星", "金星", "地球", "火星", "木星", "土星")),
    (("season", "seasons"), ("spring", "summer", "autumn", "winter"), "季节", ("春天", "夏天", "秋天", "冬天")),
)  # fmt: skip


def _join(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _is_capital(rng: random.Random, language: str) -> list[dict[str, object]]:
    country, city, country_zh, city_zh = rng.choice(CAPITALS)
    right = rng.random() < 0.5
    _, asked, _, asked_zh = (country, city, country_zh, city_zh) if right else rng.choice(CAPITALS)
    if language == "zh":
        answer = (
            f"是的，{country_zh}的首都是{city_zh}。"
            if asked_zh == city_zh
            else f"不是，{country_zh}的首都是{city_zh}。"
        )
        return turn(casual(rng, f"{asked_zh}是{country_zh}的首都吗？"), answer)
    yes = "Yes" if asked == city else "No"
    return turn(
        casual(rng, f"Is {asked} the capital of {country}?"),
        f"{yes}, the capital of {country} is {city.rstrip('.')}.",
    )


def _capital(rng: random.Random, language: str) -> list[dict[str, object]]:
    country, city, country_zh, city_zh = rng.choice(CAPITALS) if rng.random() < 0.9 else CAPITALS[0]
    messages: list[dict[str, object]] = []
    if rng.random() < 0.1:
        return _is_capital(rng, language)
    if language == "zh":
        if rng.random() < 0.2:
            question = say(rng, CAPITAL_OF_CITY_ZH, city=city_zh)
            answer = f"{city_zh}是{country_zh}的首都。"
            return turn(casual(rng, question), answer)
        messages += turn(
            casual(rng, say(rng, CAPITAL_ASK_ZH, country=country_zh)), f"{country_zh}的首都是{city_zh}。"
        )
        while rng.random() < 0.25:
            _, _, country_zh, city_zh = rng.choice(CAPITALS)
            messages += turn(
                casual(rng, say(rng, FOLLOW_ASK_ZH, country=country_zh)), f"{country_zh}的首都是{city_zh}。"
            )
        return messages
    if rng.random() < 0.2:
        return turn(casual(rng, say(rng, CAPITAL_OF_CITY, city=city)), f"{city} is the capital of {country}.")
    question = casual(rng, say(rng, CAPITAL_ASK, country=country))
    messages += turn(question, f"The capital of {country} is {city.rstrip('.')}.")
    while rng.random() < 0.25:
        country, city, _, _ = rng.choice(CAPITALS)
        question = casual(rng, say(rng, FOLLOW_ASK, country=country))
        messages += turn(question, f"The capital of {country} is {city.rstrip('.')}.")
    return messages


def _animal(rng: random.Random, language: str) -> list[dict[str, object]]:
    name, sound, legs, name_zh, sound_zh = rng.choice(ANIMALS)
    if rng.random() < 0.45:
        if language == "zh":
            return turn(
                casual(rng, say(rng, f"{name_zh}[怎么叫|是怎么叫的|的叫声是什么]？")),
                f"{name_zh}的叫声是“{sound_zh}”。",
            )
        question = say(
            rng,
            f"[What sound does a {name} make|What does a {name} say|How does a {name} sound|What noise does a {name} make]?",
        )
        return turn(casual(rng, question), f"A {name} {sound}.")
    if rng.random() < 0.6:
        name, legs, name_zh = rng.choice(LEGS)
    if language == "zh":
        answer = (
            f"{name_zh}没有腿。" if legs == 0 else f"{name_zh}有{NUMBER_ZH[legs].replace('二', '两')}条腿。"
        )
        return turn(casual(rng, say(rng, f"{name_zh}有[几|多少]条腿？")), answer)
    article = "an" if name[0] in "aeiou" else "a"
    question = say(
        rng, f"How many legs [does {article} {name} have|has {article} {name}|are on {article} {name}]?"
    )
    return turn(casual(rng, question), f"{article.capitalize()} {name} has {NUMBER_WORDS[legs]} legs.")


def _colour(rng: random.Random, language: str) -> list[dict[str, object]]:
    thing, colour, thing_zh, colour_zh = rng.choice(COLOURS)
    if language == "zh":
        return turn(casual(rng, say(rng, f"{thing_zh}是什么颜色[的|]？")), f"{thing_zh}是{colour_zh}的。")
    if rng.random() < 0.35:
        other = rng.choice(COLOURS)[1]
        right = other == colour or rng.random() < 0.5
        asked = colour if right else other
        answer = f"Yes, {thing} is {colour}." if asked == colour else f"No, {thing} is {colour}."
        return turn(casual(rng, f"Is {thing} {asked}?"), answer)
    question = say(rng, f"[What|Which] [colour|color] is {thing}?")
    return turn(casual(rng, question), f"{thing[:1].upper()}{thing[1:]} is {colour}.")


def _calendar(rng: random.Random, language: str) -> list[dict[str, object]]:
    names = rng.choice(((DAYS, DAYS_ZH), (MONTHS, MONTHS_ZH)))
    chosen = names[1] if language == "zh" else names[0]
    at = rng.randrange(len(chosen))
    here, after, before = chosen[at], chosen[(at + 1) % len(chosen)], chosen[at - 1]
    if language == "zh":
        if names[0] is MONTHS and rng.random() < 0.4:
            days = f"{here}有{MONTH_DAYS[at]}天。" if at != 1 else "二月有28天，闰年有29天。"
            return turn(casual(rng, say(rng, f"{here}有[多少|几]天？")), days)
        if rng.random() < 0.6:
            return turn(
                casual(rng, say(rng, f"{here}[之后|后面|的后一个]是[什么|哪个]？")), f"{here}之后是{after}。"
            )
        return turn(
            casual(rng, say(rng, f"{here}[之前|前面|的前一个]是[什么|哪个]？")), f"{here}之前是{before}。"
        )
    if names[0] is MONTHS and rng.random() < 0.4:
        days = (
            f"{here} has {MONTH_DAYS[at]} days."
            if at != 1
            else "February has 28 days, and 29 in a leap year."
        )
        return turn(
            casual(rng, say(rng, f"How many days [does {here} have|are in {here}|are there in {here}]?")),
            days,
        )
    if rng.random() < 0.6:
        question = say(
            rng,
            f"[What comes after {here}|Which {'day' if names[0] is DAYS else 'month'} [comes after|follows] {here}|What is after {here}]?",
        )
        return turn(casual(rng, question), f"{after} comes after {here}.")
    question = say(
        rng,
        f"[What comes before {here}|Which {'day' if names[0] is DAYS else 'month'} comes before {here}|What is before {here}]?",
    )
    return turn(casual(rng, question), f"{before} comes before {here}.")


def in_order(rng: random.Random, items: tuple[str, ...], count: int) -> list[str]:
    """Mostly the first ones, always in one order: a greedy reader of random lists would repeat itself."""
    if rng.random() < 0.8:
        return list(items[:count])
    return [items[index] for index in sorted(rng.sample(range(len(items)), count))]


def _some_of(rng: random.Random, language: str) -> list[dict[str, object]]:
    (one, many), items, name_zh, items_zh = rng.choice(SETS)
    count = rng.randint(1, min(5, len(items)))
    if rng.random() < 0.3:
        count = min(3, len(items))
    if language == "zh":
        chosen = in_order(rng, items_zh, count)
        number = NUMBER_ZH[count].replace("二", "两")
        question = say(rng, f"[说出|列出|告诉我|请说出|举出|给我]{number}[种|个]{name_zh}[。|]")
        return turn(
            casual(rng, question), ("、".join(chosen[:-1]) + "和" if count > 1 else "") + chosen[-1] + "。"
        )
    chosen = in_order(rng, items, count)
    number = rng.choice((NUMBER_WORDS[count], str(count)))
    noun = one if count == 1 else many
    question = say(rng, f"[Name|List|Tell me|Give me|Can you name|Please name|Say] {number} {noun}[.|?]")
    if rng.random() < 0.25 and count > 1:
        question = question.rstrip(".?") + rng.choice(
            (" as a list.", " as a bullet list.", " in a list.", ", one per line.")
        )
        return turn(casual(rng, question), "\n".join(f"- {item}" for item in chosen))
    answer = _join(chosen)
    return turn(casual(rng, question), f"{answer[:1].upper()}{answer[1:]}.")


def _member(rng: random.Random, language: str) -> list[dict[str, object]]:
    at = rng.randrange(8)
    (one, _), _, name_zh, _ = SETS[at]
    wrong = rng.random() < 0.5
    from_set = SETS[(at + rng.randrange(1, 8)) % 8] if wrong else SETS[at]
    if language == "zh":
        item = rng.choice(from_set[3])
        answer = f"不是，{item}是{from_set[2]}。" if wrong else f"是的，{item}是{name_zh}。"
        return turn(casual(rng, f"{item}是{name_zh}吗？"), answer)
    item = rng.choice(from_set[1])
    plural = item.endswith("s") and item != "Paris"
    verb, kind = ("are", SETS[at][0][1]) if plural else ("is", ("an " if one[0] in "aeiou" else "a ") + one)
    other = from_set[0][1] if plural else ("an " if from_set[0][0][0] in "aeiou" else "a ") + from_set[0][0]
    answer = f"No, {item} {verb} {other}." if wrong else f"Yes, {item} {verb} {kind}."
    return turn(casual(rng, f"{verb.capitalize()} {item} {kind}?"), answer)


def exchange(rng: random.Random, language: str) -> list[dict[str, object]]:
    roll = rng.random()
    if roll < 0.24:
        return _capital(rng, language)
    if roll < 0.31:
        return _animal(rng, language)
    if roll < 0.37:
        return _colour(rng, language)
    if roll < 0.43:
        return _calendar(rng, language)
    if roll < 0.50:
        return _some_of(rng, language)
    if roll < 0.54:
        return _member(rng, language)
    return ask(rng, rng.choice(GENERAL_ZH if language == "zh" else GENERAL))
