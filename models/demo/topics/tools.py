"""Tool calls. Names and parameters vary, so that the model learns to copy them out of the definitions."""

# ruff: noqa: E501, ARG001, ARG005 - one pattern per line, however long; Chinese counts twice; every kind of tool
# makes values and results with the same arguments

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from models.demo.grammar import casual, invented, say
from models.demo.topics.memory import CITIES, CITIES_ZH, NAMES, chinese_name
from models.demo.topics.words import ANY_WORDS, ANY_WORDS_ZH

Message = dict[str, object]
Arguments = dict[str, object]

OBJECTS = (
    "keys",
    "umbrella",
    "lamp",
    "coffee",
    "red shoes",
    "water pumps",
    "green tea",
    "old maps",
    "blue paint",
    "garden chairs",
    "rain boots",
    "turbines",
)
OBJECTS_ZH = ("雨伞", "台灯", "咖啡", "红鞋子", "水泵", "绿茶", "地图", "椅子", "雨靴", "水轮机")
TICKERS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOG", "INTC", "IBM", "ORCL", "AMD")
LANGUAGES = ("French", "German", "Spanish", "Chinese", "Japanese", "Italian")
SUBJECTS = (
    "the meeting",
    "lunch",
    "the report",
    "the party",
    "tomorrow",
    "the new gate",
    "the invoice",
    "the holidays",
)
SUBJECTS_ZH = ("会议", "午饭", "报告", "聚会", "明天的安排", "发票", "假期")
ROOMS = ("kitchen", "bedroom", "garage", "office", "garden", "hall")
ROOMS_ZH = ("厨房", "卧室", "车库", "办公室", "花园", "客厅")
TOPICS = (
    "rivers",
    "solar panels",
    "chess openings",
    "cheap flights",
    "bread recipes",
    "water turbines",
    "city parks",
    "old castles",
    "electric cars",
    "sea birds",
)
TOPICS_ZH = (
    "河流",
    "太阳能板",
    "象棋开局",
    "便宜的机票",
    "面包食谱",
    "水轮机",
    "城市公园",
    "古代城堡",
    "电动汽车",
)
WEATHER = ("sunny", "cloudy", "rainy", "windy", "clear", "foggy", "snowy")
WEATHER_ZH = {
    "sunny": "晴天",
    "cloudy": "多云",
    "rainy": "下雨",
    "windy": "有风",
    "clear": "晴朗",
    "foggy": "有雾",
    "snowy": "下雪",
}


@dataclass(frozen=True)
class Kind:
    """One purpose that a tool may have.

    `parameters`: for each argument the names it may go by, its JSON type and its description.
    `make` draws values; `result` is what the tool returns and what the assistant then says, per language.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[tuple[tuple[str, ...], str, str], ...]
    ask: tuple[str, ...]
    ask_zh: tuple[str, ...]
    make: Callable[[random.Random, bool], tuple[object, ...]]
    result: Callable[[random.Random, tuple[object, ...], bool], tuple[object, str]]
    invents: bool = False  # the first value may be a name that nobody has


def _pick(
    english: tuple[str, ...], chinese: tuple[str, ...]
) -> Callable[[random.Random, bool], tuple[object, ...]]:
    return lambda rng, zh: (rng.choice(chinese if zh else english),)


def _any_topic(rng: random.Random, zh: bool) -> tuple[object, ...]:
    if rng.random() < 0.3:
        return (rng.choice(TOPICS_ZH if zh else TOPICS),)
    if zh:
        return ("".join(rng.choice(ANY_WORDS_ZH) for _ in range(rng.randint(1, 3))),)
    return (" ".join(rng.choice(ANY_WORDS) for _ in range(rng.randint(1, 3))),)


def _address(rng: random.Random, zh: bool) -> str:
    if rng.random() < 0.5:
        return chinese_name(rng) if zh else rng.choice(NAMES)
    domain = rng.choice(("example.com", "example.org", "mail.example", "penstock.example"))
    return (
        f"{rng.choice((rng.choice(NAMES), invented(rng), rng.choice(ANY_WORDS).split()[0])).lower()}@{domain}"
    )


def _sum(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    total = sum(int(str(value)) for value in values)
    return {
        rng.choice(("result", "sum", "value")): total
    }, f"结果是 {total}。" if zh else f"The sum is {total}."


def _weather(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    sky, degrees = rng.choice(WEATHER), rng.randint(-10, 38)
    temperature = rng.choice(("temperature", "temp", "temp_c", "temperature_c"))
    record: dict[str, object] = {
        rng.choice(("condition", "sky", "weather", "conditions")): sky,
        temperature: degrees,
    }
    if rng.random() < 0.3:
        record = {"city": values[0], **record}
    if rng.random() < 0.3:
        record = {temperature: degrees}
        return record, f"{values[0]}现在 {degrees} 度。" if zh else f"It is {degrees} degrees in {values[0]}."
    if zh:
        return record, f"{values[0]}现在{WEATHER_ZH[sky]}，气温 {degrees} 度。"
    return record, f"It is {sky} in {values[0]}, with {degrees} degrees."


def _time(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    record = {rng.choice(("time", "local_time", "now")): clock}
    return record, f"{values[0]}现在是 {clock}。" if zh else f"It is {clock} in {values[0]}."


def _search(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    count = rng.randint(0, 9)
    record = {rng.choice(("results", "count", "hits", "found")): count}
    if zh:
        return record, f"关于“{values[0]}”找到了 {count} 个结果。"
    return record, f"I found {count} result{'' if count == 1 else 's'} for {values[0]}."


def _calculate(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    expression = str(values[0])
    left, sign, right = expression.split()
    a, b = int(left), int(right)
    value = a + b if sign == "+" else a - b if sign == "-" else a * b
    return {rng.choice(("result", "value", "answer")): value}, f"{expression} = {value}"


def _expression(rng: random.Random, zh: bool) -> tuple[object, ...]:
    return (f"{rng.randint(2, 999)} {rng.choice('+-*')} {rng.randint(2, 999)}",)


def _mail(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    record = rng.choice(({"status": "sent"}, {"ok": True}, {"sent": True}))
    return record, f"邮件已经发给{values[0]}了。" if zh else f"The email to {values[0]} has been sent."


def _stock(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    price = rng.randint(1000, 99999) / 100
    record = {rng.choice(("price", "value", "last")): price}
    return record, f"{values[0]} 现在的价格是 {price}。" if zh else f"The price of {values[0]} is {price}."


def _translated(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    made = rng.choice(("bonjour", "guten Tag", "hola", "ciao", "merci", "danke", "gracias", "konnichiwa"))
    record = {rng.choice(("translation", "text", "result")): made}
    return record, f"翻译结果是“{made}”。" if zh else f"The translation is “{made}”."


def _light(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    record = rng.choice(({"status": "ok"}, {"ok": True}, {"done": True}))
    state = str(values[1])
    if zh:
        return record, f"{values[0]}的灯已经{'打开' if state == 'on' else '关上'}了。"
    return record, f"The light in the {values[0]} is now {state}."


def _reminder(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    record = rng.choice(({"status": "created"}, {"ok": True}, {"id": rng.randint(1, 99)}))
    return (
        record,
        f"好的，{values[1]} 分钟后会提醒你：{values[0]}。"
        if zh
        else f"Done: I will remind you of {values[0]} in {values[1]} minutes.",
    )


def _price(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    price = rng.randint(1, 200)
    stock = rng.random() < 0.3
    record: dict[str, object] = {"price": price}
    if stock:
        record["currency"] = "EUR"
    return (
        record,
        f"{values[0]}的价格是 {price}。"
        if zh
        else f"The price of the {values[0]} is {price}{' EUR' if stock else ''}.",
    )


def _convert(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    value = rng.randint(1, 900)
    return (
        {"result": value},
        f"{values[0]} {values[1]} 等于 {value} {values[2]}。"
        if zh
        else f"{values[0]} {values[1]} is {value} {values[2]}.",
    )


def _user(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    city = rng.choice(CITIES_ZH if zh else CITIES)
    return {
        "name": values[0],
        "city": city,
    }, f"{values[0]}住在{city}。" if zh else f"{values[0]} lives in {city}."


def _dice(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    value = rng.randint(1, int(str(values[0])))
    return {"result": value}, f"结果是 {value}。" if zh else f"The result is {value}."


def _table(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
    record = rng.choice(({"status": "booked"}, {"ok": True}, {"confirmed": True}))
    return (
        record,
        f"已经在{values[0]}为 {values[1]} 个人订好了座位。"
        if zh
        else f"A table for {values[1]} people in {values[0]} is booked.",
    )


KINDS = (
    Kind(
        ("add", "add_numbers", "sum", "plus", "sum_numbers", "addition"),
        ("Add two numbers", "Returns the sum of two numbers", "Adds two integers"),
        (
            (("a", "x", "first", "left"), "integer", "First number"),
            (("b", "y", "second", "right"), "integer", "Second number"),
        ),
        (
            "[Add|Please add|Sum|Add up] {0} and {1}[.|]",
            "[What is|What's|Calculate] {0} [+|plus] {1}?",
            "What is the sum of {0} and {1}?",
        ),
        ("{0} 加 {1} 等于多少？", "[计算|算一下] {0} + {1}。"),
        lambda rng, zh: (
            rng.randint(0, rng.choice((10, 99, 999))),
            rng.randint(0, rng.choice((10, 99, 999))),
        ),
        _sum,
    ),
    Kind(
        (
            "get_weather",
            "weather",
            "get_current_weather",
            "fetch_weather",
            "weather_lookup",
            "current_weather",
        ),
        (
            "Get the current weather",
            "Get the weather of a city",
            "Look up the weather",
            "Returns the weather for a place",
            "Get current temperature for a given location.",
        ),
        ((("city", "location", "place", "town"), "string", "The city"),),
        (
            "[What is|What's|How is] the weather [like |][in|for] {0}[ today| right now| now||]?",
            "[Is it|Will it be] [cold|warm|raining|sunny] in {0}[ today|]?",
            "Weather in {0}[, please|?|]",
            "How [hot|cold|warm] is it in {0}?",
            "[Tell me|Check|Look up|Get] the weather in {0}[.|]",
            "Do I need an umbrella in {0}?",
        ),
        ("{0}[今天|现在|]天气怎么样？", "[查一下|告诉我|看看]{0}的天气。", "{0}[冷|热]吗？", "{0}会下雨吗？"),
        _pick((*CITIES, "New York", "San Francisco", "Munich", "Seoul", "Bogotá"), CITIES_ZH),
        _weather,
        invents=True,
    ),
    Kind(
        ("get_time", "current_time", "clock", "get_current_time", "time_in", "world_clock"),
        ("Get the current time", "Get the local time of a city", "Tells the time in a place"),
        ((("city", "timezone", "location", "place"), "string", "The place"),),
        (
            "What time is it in {0}[ now|]?",
            "[Tell me|Give me|Get] the [local |current |]time in {0}[.|]",
            "What is the [local |current |]time in {0}?",
        ),
        ("{0}现在几点[了|]？", "[查一下|告诉我]{0}的时间。"),
        _pick(CITIES, CITIES_ZH),
        _time,
        invents=True,
    ),
    Kind(
        ("search", "web_search", "search_web", "find_documents", "lookup", "search_docs", "query_index"),
        ("Search the web", "Search for documents", "Find pages about a topic", "Full text search"),
        ((("query", "q", "text", "keywords"), "string", "What to search for"),),
        (
            "[Search|Look] [the web |]for {0}[.|]",
            "[Find|Look up|Search for] [something about |pages about |information about |]{0}[.|]",
            "Can you [find|search for|look up] {0}?",
        ),
        ("[搜索|查找|搜一下|帮我查|帮我搜]{0}[。|]", "[找一找|查一查]关于{0}的[资料|网页]。"),
        _any_topic,
        _search,
        invents=True,
    ),
    Kind(
        ("calculator", "calculate", "evaluate", "compute", "math_eval", "calc"),
        ("Evaluate an arithmetic expression", "A calculator", "Compute the value of an expression"),
        ((("expression", "expr", "formula", "input"), "string", "The expression"),),
        (
            "[What is|Calculate|Compute|How much is|Please calculate|] {0}[?|]",
            "Use the calculator for {0}[.|]",
        ),
        ("[计算|算一下|请计算] {0}[。|]", "{0} [等于多少|是多少]？"),
        _expression,
        _calculate,
    ),
    Kind(
        ("send_email", "send_mail", "email", "mail_send", "compose_email"),
        ("Send an email", "Sends an email to a person", "Write and send a mail"),
        (
            (("to", "recipient", "name"), "string", "Who gets it"),
            (("subject", "topic", "title"), "string", "What it is about"),
        ),
        (
            "[Send|Write] [an email|a mail|an e-mail] to {0} about {1}[.|]",
            "[Email|Mail] {0} about {1}[.|]",
            "[Please |]tell {0} by email about {1}[.|]",
        ),
        ("[给|帮我给]{0}发一封[关于|有关]{1}的邮件。", "发邮件给{0}，主题是{1}。"),
        lambda rng, zh: (
            _address(rng, zh),
            rng.choice(SUBJECTS_ZH if zh else SUBJECTS) if rng.random() < 0.5 else _any_topic(rng, zh)[0],
        ),
        _mail,
        invents=True,
    ),
    Kind(
        ("send_email", "send_message", "mail", "post_message"),
        ("Send an email", "Send a message to somebody", "Sends a mail with a subject and a text"),
        (
            (("to", "recipient", "address"), "string", "Who gets it"),
            (("subject", "title"), "string", "The subject"),
            (("body", "text", "message", "content"), "string", "The text"),
        ),
        (
            "[Send|Write] [an email|a message|a mail] to {0} about {1} [saying|that says|with the text] {2}[.|]",
        ),
        ("给{0}发一封关于{1}的邮件，内容是{2}。",),
        lambda rng, zh: (
            _address(rng, zh),
            rng.choice(SUBJECTS_ZH if zh else SUBJECTS),
            _any_topic(rng, zh)[0],
        ),
        _mail,
    ),
    Kind(
        ("get_stock_price", "stock_price", "quote", "get_quote", "stock"),
        ("Get the price of a stock", "Returns the latest stock price", "Stock quotes"),
        ((("symbol", "ticker", "stock"), "string", "The ticker symbol"),),
        (
            "[What is|What's] the [stock |]price of {0}?",
            "[Get|Look up|Show] the [stock |]price of {0}[.|]",
            "How much is {0} [stock |]now?",
            "{0} stock price[?|]",
        ),
        ("{0} 的[股价|价格]是多少？", "[查一下|看看] {0} 的股价。"),
        _pick(TICKERS, TICKERS),
        _stock,
    ),
    Kind(
        ("translate", "translate_text", "translator", "translation"),
        ("Translate a text", "Translates text into another language"),
        (
            (("text", "phrase", "input"), "string", "The text"),
            (("target", "language", "to", "target_language"), "string", "The language"),
        ),
        ("[Translate|Please translate] [\"{0}\"|'{0}'] [to|into] {1}[.|]", 'How do you say "{0}" in {1}?'),
        ("把“{0}”翻译成 {1}。",),
        lambda rng, zh: (
            rng.choice(("hello", "thank you", "good morning", "water", "friend")),
            rng.choice(LANGUAGES),
        ),
        _translated,
    ),
    Kind(
        ("set_light", "switch_light", "light_control", "toggle_light", "lights"),
        ("Switch a light on or off", "Controls the lights of a room"),
        (
            (("room", "place", "area"), "string", "The room"),
            (("state", "mode", "value"), "string", "on or off"),
        ),
        (
            "[Turn|Switch] {1} the light in the {0}[.|]",
            "[Please |]turn the {0} light {1}[.|]",
            "Light {1} in the {0}[.|, please.]",
        ),
        ("[把|请把]{0}的灯[设为|切换到] {1}。",),
        lambda rng, zh: (rng.choice(ROOMS_ZH if zh else ROOMS), rng.choice(("on", "off"))),
        _light,
    ),
    Kind(
        ("create_reminder", "remind", "set_reminder", "add_reminder"),
        ("Create a reminder", "Sets a reminder after some minutes"),
        (
            (("text", "about", "title", "message"), "string", "What to remind of"),
            (("minutes", "in_minutes", "delay"), "integer", "After how many minutes"),
        ),
        (
            "Remind me [of|about] {0} in {1} minutes[.|]",
            "[Set|Create] a reminder [for|about] {0} in {1} minutes[.|]",
        ),
        ("{1} 分钟后提醒我{0}。",),
        lambda rng, zh: (rng.choice(SUBJECTS_ZH if zh else SUBJECTS), rng.randint(1, 90)),
        _reminder,
    ),
    Kind(
        ("get_price", "product_price", "price_of", "lookup_price", "find_product"),
        ("Get the price of a product", "Looks a product up in the shop"),
        ((("product", "item", "name", "article"), "string", "The product"),),
        (
            "How much [is|are] [the |]{0}?",
            "What [does|do] the {0} cost?",
            "[What is|Find|Get] the price of [the |]{0}[?|]",
        ),
        ("{0}多少钱？", "{0}的价格是多少？"),
        _pick(OBJECTS, OBJECTS_ZH),
        _price,
    ),
    Kind(
        ("convert", "convert_units", "unit_converter", "convert_currency"),
        ("Convert between units", "Converts an amount from one unit to another"),
        (
            (("amount", "value", "quantity"), "integer", "How much"),
            (("from", "source", "from_unit"), "string", "From"),
            (("to", "target", "to_unit"), "string", "To"),
        ),
        (
            "[Convert|Change] {0} {1} [to|into] {2}[.|]",
            "How much is {0} {1} in {2}?",
            "What [is|are] {0} {1} in {2}?",
        ),
        ("把 {0} {1} 换算成 {2}。", "{0} {1} 是多少 {2}？"),
        lambda rng, zh: (
            rng.randint(1, 500),
            *rng.choice(
                (
                    ("USD", "EUR"),
                    ("EUR", "CNY"),
                    ("miles", "km"),
                    ("kg", "pounds"),
                    ("meters", "feet"),
                    ("JPY", "USD"),
                )
            ),
        ),
        _convert,
    ),
    Kind(
        ("find_user", "get_user", "user_lookup", "get_customer", "find_person"),
        ("Find a user by name", "Returns the record of a person", "Look a customer up"),
        ((("name", "user", "username", "customer"), "string", "The name"),),
        (
            "[Where does {0} live|Find the user {0}|Look up {0}|Get the record of {0}|Show me the customer {0}]?",
        ),
        ("[查找用户{0}|{0}住在哪里|查一下{0}的资料]？",),
        lambda rng, zh: (chinese_name(rng) if zh else rng.choice(NAMES),),
        _user,
        invents=True,
    ),
    Kind(
        ("roll_dice", "random_number", "dice", "roll"),
        ("Roll a die", "Returns a random number from 1 up"),
        ((("sides", "max", "n"), "integer", "How many sides"),),
        (
            "Roll a [die|dice] with {0} sides[.|]",
            "[Give me|Pick|Draw] a random number [up to|from 1 to|between 1 and] {0}[.|]",
        ),
        ("掷一个 {0} 面的骰子。", "给我一个 1 到 {0} 的随机数。"),
        lambda rng, zh: (rng.choice((4, 6, 8, 10, 12, 20, 100)),),
        _dice,
    ),
    Kind(
        ("book_table", "reserve_table", "make_reservation", "reserve"),
        ("Book a table in a restaurant", "Makes a reservation"),
        (
            (("city", "place", "where"), "string", "Where"),
            (("people", "guests", "persons", "seats"), "integer", "For how many"),
        ),
        ("[Book|Reserve] a table for {1} [people |]in {0}[.|]", "I need a table for {1} in {0}[.|]"),
        ("在{0}订一张 {1} 人的桌子。",),
        lambda rng, zh: (rng.choice(CITIES_ZH if zh else CITIES), rng.randint(2, 9)),
        _table,
    ),
)


WEATHER_KIND = KINDS[1]
_VERBS = (
    "get",
    "read",
    "open",
    "close",
    "start",
    "stop",
    "check",
    "load",
    "measure",
    "show",
    "list",
    "delete",
    "update",
    "count",
)
_NOUNS = (
    "river",
    "gate",
    "pump",
    "valve",
    "order",
    "ticket",
    "file",
    "sensor",
    "report",
    "room",
    "server",
    "model",
    "invoice",
    "route",
    "level",
    "page",
)
_STATES = ("ok", "ready", "open", "closed", "running", "stopped", "full", "empty", "unknown")
_FIELDS = ("status", "state", "result")


def _made_up(rng: random.Random) -> Kind:
    """A tool that exists only in this dialogue: its name and argument can only come from the definition."""
    verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS)
    if rng.random() < 0.4:
        noun = rng.choice((invented(rng).lower(), rng.choice(ANY_WORDS).split()[0].lower()))
    long = f"{rng.choice(ANY_WORDS).split()[0].lower()} {noun}" if rng.random() < 0.3 else noun
    by_number = rng.random() < 0.3

    def make(rng: random.Random, zh: bool) -> tuple[object, ...]:
        if by_number:
            return (rng.randint(1, 999),)
        return (
            rng.choice(
                (
                    invented(rng),
                    f"{rng.choice('ABCDEFGXYZ')}{rng.randint(1, 99)}",
                    f"{invented(rng).lower()}-{rng.randint(1, 9)}",
                )
            ),
        )

    def result(rng: random.Random, values: tuple[object, ...], zh: bool) -> tuple[object, str]:
        state = rng.choice(_STATES)
        return {
            rng.choice(_FIELDS): state
        }, f"{noun} {values[0]} 的状态是 {state}。" if zh else f"The {noun} {values[0]} is {state}."

    return Kind(
        (f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}_{noun}_by_id"),
        (f"{verb.capitalize()} a {noun}", f"{verb.capitalize()}s one {noun} by its name"),
        (
            (
                ("name", "id", f"{noun}_id", f"{noun}_name", noun),
                "integer" if by_number else "string",
                f"The {noun}",
            ),
        ),
        (
            f"[Please |]{verb} [the |]{long} {{0}}[.|]",
            f"[Can you|Could you] {verb} [the |]{long} {{0}}?",
            f"{verb.capitalize()} {long} {{0}} for me.",
        ),
        (f"[请|帮我|] {verb} {noun} {{0}}。",),
        make,
        result,
    )


def _definition(rng: random.Random, kind: Kind) -> tuple[dict[str, object], list[str]]:
    """An OpenAI tool definition of this kind, and the parameter names it uses."""
    chosen = [rng.choice(names) for names, _, _ in kind.parameters]
    described = rng.random() < 0.5
    properties: dict[str, object] = {
        name: {"type": type_, "description": text + rng.choice(("", "", "."))}
        if described
        else {"type": type_}
        for name, (_, type_, text) in zip(chosen, kind.parameters, strict=True)
    }
    parameters: dict[str, object] = {"type": "object", "properties": properties}
    if kind is WEATHER_KIND and rng.random() < 0.35:
        unit = rng.choice(("unit", "units"))
        properties[unit] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
        if rng.random() < 0.5:
            chosen.append(unit)
    if rng.random() < 0.8:
        parameters["required"] = chosen[: len(kind.parameters)] or chosen
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    name = rng.choice(kind.names)
    if rng.random() < 0.08:
        name = "".join(part.capitalize() if index else part for index, part in enumerate(name.split("_")))
    function: dict[str, object] = {"name": name}
    described = rng.random() < 0.85  # llama.cpp puts an empty description where the request has none
    function["description"] = rng.choice(kind.descriptions) + rng.choice(("", "", ".")) if described else ""
    function["parameters"] = parameters
    return {"type": "function", "function": function}, chosen


def _fill(rng: random.Random, patterns: tuple[str, ...], values: tuple[object, ...]) -> str:
    text = say(rng, patterns)
    for index, value in enumerate(values):
        text = text.replace("{" + str(index) + "}", str(value))
    return text[:1].upper() + text[1:]


def calculates(used: list[tuple[Kind, str, list[str]]]) -> bool:
    return any(kind.result in (_calculate, _sum) for kind, _, _ in used)


def uncalled(rng: random.Random, used: list[tuple[Kind, str, list[str]]], language: str) -> Message:
    """A call that nothing in the conversation asked for."""
    kind, name, parameters = rng.choice(used)
    values = [*kind.make(rng, language == "zh"), "celsius"]
    arguments = dict(zip(parameters, values, strict=False))
    return {"tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def given(rng: random.Random) -> tuple[list[dict[str, object]], list[tuple[Kind, str, list[str]]]]:
    """One to three tools: the definitions, and for each its kind, name and parameter names."""
    kinds = rng.sample(KINDS, rng.choice((1, 1, 2, 2, 3)))
    for index in range(len(kinds)):
        if rng.random() < 0.25:
            kinds[index] = _made_up(rng)
    if rng.random() < 0.2 and WEATHER_KIND not in kinds:
        kinds[0] = WEATHER_KIND
    tools, used = [], []
    for kind in kinds:
        definition, parameters = _definition(rng, kind)
        tools.append(definition)
        used.append((kind, str(definition["function"]["name"]), parameters))  # type: ignore[index] # a definition is JSON
    return tools, used


def call(rng: random.Random, used: list[tuple[Kind, str, list[str]]], language: str) -> list[Message]:
    """A question that fits one of the tools, the call, and mostly the tool's answer and the sentence made of it."""
    zh = language == "zh"
    kind, name, parameters = rng.choice(used)
    values = kind.make(rng, zh)
    if kind.invents and rng.random() < 0.3:
        values = (invented(rng), *values[1:])
    question = _fill(rng, kind.ask_zh if zh else kind.ask, values)
    if len(parameters) > len(kind.parameters):
        values = (*values, rng.choice(("celsius", "fahrenheit")))
        question = question.rstrip(".?？。") + (f"，用 {values[-1]}" if zh else f" in {values[-1]}?")
    if rng.random() < 0.3:
        question = casual(rng, question, typos=False) if zh else question.rstrip(".?")
    arguments = dict(zip(parameters, values, strict=True))
    messages: list[Message] = [
        {"role": "user", "content": question},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
        },
    ]
    if rng.random() < 0.6:
        record, sentence = kind.result(rng, values, zh)
        shown = json.dumps(record, ensure_ascii=False)
        if rng.random() < 0.15:
            shown = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        messages.append({"role": "tool", "content": shown})
        messages.append({"role": "assistant", "content": sentence})
    return messages
