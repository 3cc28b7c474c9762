"""A scripted model: answers as one that follows instructions would, always the same way, without weights.

    brain = Brain()
    brain.answer(Ask((Turn("user", "What is 3 + 4?"),), tools=(adder,)))    # calls adder with 3 and 4
    brain.script.append(Reply(text="anything you like"))                    # the next answer is that

The doubles of the vendors' servers read a request into an `Ask`, which belongs to no vendor, and write the
`Reply` in their own words. What the brain does, by the last text of the user (the question):

    the question                                   the answer
    ---------------------------------------------  -----------------------------------------------------------
    names a tool, its words, or what it computes   calls it: numbers, places and quoted words of the question
                                                   become the arguments, several sets of them several calls
    "... 12 times"                                 the same call so often
    "... one at a time" (or parallel is false)     one call per turn until all are made
    any, while a tool is forced                    calls it, with arguments made from its schema
    all calls were made, results are there         words that hold every result
    a schema, or JSON, is asked for                JSON that satisfies it, values as for arguments
    "please refuse"                                a refusal
    "say ...", "count to N"                        that
    "system prompt", "how many messages"           what it was given: tests see what got lost on the way
    brings pictures or files                       how many, and of which types
    "Hello"                                        a greeting
    anything else                                  says it back, and a sentence about water

A token is a word with the white space before it. Thinking, if it is on, comes first; then text; then calls.
"""

import base64
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Json = dict[str, Any]
Finish = Literal["stop", "length", "stop_sequence", "calls", "refusal"]

WATER: Final = "The gate opens and the water runs down to the turbine."
GREETING: Final = "Hello! How can I help you today?"
REFUSAL: Final = "I can't help with that."


# -- what is asked and said ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    schema: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made earlier."""

    id: str
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Result:
    id: str
    text: str
    is_error: bool = False
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    role: Literal["user", "assistant"]
    text: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    media: tuple[str, ...] = ()  # the MIME types of what came along


@dataclass(frozen=True, slots=True)
class Ask:
    turns: tuple[Turn, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "any", "none"] = "auto"
    only: tuple[str, ...] = ()  # with "any": one of these tools
    parallel: bool = True
    schema: Json | None = None  # the answer is JSON of this schema
    wants_json: bool = False
    thinking: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Everything the model reads, in words."""
        parts = [self.system, *(json.dumps([t.name, t.description, t.schema]) for t in self.tools)]
        for turn in self.turns:
            parts += [turn.text, *(json.dumps(call.arguments) for call in turn.calls)]
            parts += [result.text for result in turn.results]
        return max(1, sum(len(words(part)) for part in parts))


@dataclass(frozen=True, slots=True)
class Called:
    """A call of this answer. `text` is the arguments as JSON; half of it where max_tokens cut it."""

    name: str
    text: str

    @property
    def arguments(self) -> Json:
        """{} where the JSON was cut."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    thought: str = ""
    text: str = ""
    calls: tuple[Called, ...] = ()
    refusal: str = ""
    finish: Finish = "stop"
    stop: str | None = None  # the stop sequence that was met

    @property
    def thought_tokens(self) -> int:
        return len(words(self.thought))

    @property
    def tokens(self) -> int:
        """All that was generated, the thought included."""
        said = len(words(self.text)) + len(words(self.refusal))
        return self.thought_tokens + said + sum(1 + len(words(call.text)) for call in self.calls)


def words(text: str) -> list[str]:
    """Tokens: words, each with the white space before it. Joined they are the text again."""
    return re.findall(r"\s*\S+|\s+$", text)


# -- the model -----------------------------------------------------------------------------------------


class Brain:
    def __init__(self) -> None:
        self.script: deque[Reply] = deque()  # taken before anything is decided

    def answer(self, ask: Ask) -> Reply:
        reply = self.script.popleft() if self.script else _decide(ask)
        return _limited(reply, ask)


def _decide(ask: Ask) -> Reply:
    at, question = _question(ask.turns)
    plan = re.sub(r"\s+", " ", question)[:80]
    if re.search(r"\bplease refuse\b", question, re.IGNORECASE):
        return Reply(refusal=REFUSAL, finish="refusal")
    calls = _calls(ask, at, question)
    if calls:
        thought = f"The user asks: {plan} I need {', '.join(call.name for call in calls)}."
        text = "Let me look that up." if "think aloud" in question.lower() else ""
        reply = Reply(thought=thought, text=text, calls=tuple(calls), finish="calls")
    else:
        thought = f"The user asks: {plan} I can answer that."
        reply = Reply(thought=thought, text=_text(ask, at, question))
    return reply if ask.thinking else replace(reply, thought="")


def _question(turns: tuple[Turn, ...]) -> tuple[int, str]:
    """The last turn of the user that has text, and its text."""
    for at in range(len(turns) - 1, -1, -1):
        if turns[at].role == "user" and turns[at].text.strip():
            return at, turns[at].text
    return 0, ""


def _limited(reply: Reply, ask: Ask) -> Reply:
    """Stop sequences, which end the text and all behind it; then max_tokens."""
    found = [(reply.text.find(stop), stop) for stop in ask.stop if stop and stop in reply.text]
    if found:
        at, stop = min(found)
        reply = replace(reply, text=reply.text[:at], calls=(), finish="stop_sequence", stop=stop)
    if ask.max_tokens is None or reply.tokens <= ask.max_tokens:
        return reply
    left = ask.max_tokens

    def cut(text: str) -> str:
        nonlocal left
        kept = words(text)[: max(left, 0)]
        left -= len(words(text))
        return "".join(kept)

    thought, text, refusal = cut(reply.thought), cut(reply.text), cut(reply.refusal)
    calls = []
    for call in reply.calls:
        left -= 1
        if left < 0:
            break
        # A cut exactly between two calls leaves the first whole; otherwise its JSON ends in the middle.
        calls.append(Called(call.name, cut(call.text)))
    return Reply(thought, text, tuple(calls), refusal, "length")


# -- words ---------------------------------------------------------------------------------------------


def _text(ask: Ask, at: int, question: str) -> str:
    pools = _Pools(question)
    if ask.schema is not None:
        return json.dumps(fill(ask.schema, pools), ensure_ascii=False)
    if ask.wants_json or _ASKS_FOR_JSON.search(question):
        return json.dumps(_free_object(pools), ensure_ascii=False)
    results = [result for turn in ask.turns[at + 1 :] for result in turn.results]
    if results:
        return " ".join(map(_told, results))
    lower = question.lower()
    media = [kind for turn in ask.turns[at:] for kind in turn.media]
    if media:
        return f"I see {len(media)} attachments: {', '.join(media)}."
    if "system prompt" in lower:
        return f"It says: {ask.system}"
    if "how many messages" in lower:
        return f"I have read {len(ask.turns)} messages."
    if said := re.search(r"\b(?:say|repeat|reply with)[: ]+(.+)$", question, re.IGNORECASE | re.DOTALL):
        return said[1].strip(" \"'") or WATER
    if counted := re.search(r"\bcount (?:from 1 )?to (\d+)", lower):
        return " ".join(str(number) for number in range(1, int(counted[1]) + 1))
    if re.match(r"\s*(?:hello|hi|hey)\b", lower):
        return GREETING
    return f"You asked: {question.strip()} {WATER}" if question.strip() else WATER


_ASKS_FOR_JSON: Final = re.compile(r"\b(?:return|respond|reply|answer|output)\b.*\bJSON\b", re.IGNORECASE)


def _free_object(pools: "_Pools") -> Json:
    """An object nobody gave a schema for: its keys are the quoted words of the question."""
    keys = [word for word in pools.quoted if re.fullmatch(r"\w+", word)] or ["answer"]
    return {key: f"{key} of: {pools.question[:60]}" for key in keys}


def _told(result: Result) -> str:
    with_media = f" ({', '.join(result.media)})" if result.media else ""
    return f"{'The tool failed' if result.is_error else 'The tool says'}: {result.text}{with_media}"


# -- calls ---------------------------------------------------------------------------------------------


def _calls(ask: Ask, at: int, question: str) -> list[Called]:
    usable = [tool for tool in ask.tools if not ask.only or tool.name in ask.only]
    if ask.choice == "none" or not usable:
        return []
    wanted = _wanted(usable, question)
    if not wanted and ask.choice == "any":
        wanted = _calls_of(usable[0], question, 0, len(question))
    done = sum(len(turn.calls) for turn in ask.turns[at + 1 :])
    left = wanted[done:]
    if not left and ask.choice == "any":
        left = wanted[:1]  # forced is forced, though everything was done
    one_by_one = re.search(
        r"\bone (?:at a time|by one|after (?:the other|another))\b", question, re.IGNORECASE
    )
    return left if ask.parallel and not one_by_one else left[:1]


def _wanted(tools: list[Tool], question: str) -> list[Called]:
    """All calls the question is for, in its order."""
    asked = question + "".join(
        name for sign, name in _OPERATORS.items() if re.search(rf"\d\s*{re.escape(sign)}\s*-?\d", question)
    )
    scored = [(tool, *_relevance(tool, asked)) for tool in tools]
    if any(score >= _NAMED for _, score, _ in scored):
        scored = [row for row in scored if row[1] >= _NAMED]
    scored = [row for row in scored if row[1] > 0]
    if (
        not scored
        and len(tools) == 1
        and re.search(r"\b(?:use|using|call) (?:the|this|a|your) tool", question, re.IGNORECASE)
    ):
        scored = [(tools[0], 1, 0)]
    if not scored:
        return []
    scored.sort(key=lambda row: row[2])
    ends = [row[2] for row in scored[1:]] + [len(question)]
    found: list[Called] = []
    for (tool, _, start), end in zip(scored, ends, strict=True):
        found += _calls_of(tool, question, start, end)
    return found


_OPERATORS: Final = {"+": " add plus sum", "-": " subtract minus", "*": " multiply times", "/": " divide"}
_NAMED: Final = 10
_EMPTY_TEXT: Final = """
a an any all args by call compute create do fetch find for from function get give has have in is it list look
make me my new no not of on or random read run search set show tell that the this to tool up use value what
with you your
"""
_EMPTY_WORDS: Final = frozenset(_EMPTY_TEXT.split())


def _relevance(tool: Tool, question: str) -> tuple[int, int]:
    """How much the question is about it, and where it first says so."""
    named = re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", question)
    if named:
        return _NAMED, named.start()
    found = []
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool.name).lower()
    for part in re.findall(r"[^\W\d_]{3,}", split):
        if part in _EMPTY_WORDS:
            continue
        for word in re.finditer(r"[^\W\d_]{3,}", question):
            lower = word[0].lower()
            if lower not in _EMPTY_WORDS and (lower.startswith(part) or part.startswith(lower)):
                found.append(word.start())
                break
    return len(found), min(found, default=0)


def _calls_of(tool: Tool, question: str, start: int, end: int) -> list[Called]:
    """One call, or as many as there are sets of arguments between two places of the question."""
    direct = re.findall(rf"{re.escape(tool.name)}\(([^()]*)\)", question)
    if len(direct) > 1:  # f(3) and f(4)
        return [_call(tool, _Pools(arguments)) for arguments in direct]
    near = _Pools(question[start:end])
    whole = _Pools(question)
    pools = _Pools(question)
    pools.numbers = near.numbers or whole.numbers
    pools.places = near.places or whole.places
    times = re.search(r"\b(\d+) times\b", question)
    if times:
        return [_call(tool, replace_pools(pools)) for _ in range(int(times[1]))]
    return [_call(tool, pools) for _ in range(_sets(tool, pools, question))]


def _call(tool: Tool, pools: "_Pools") -> Called:
    schema = {"type": "object", **tool.schema}
    return Called(tool.name, json.dumps(fill(schema, pools), ensure_ascii=False))


def _sets(tool: Tool, pools: "_Pools", question: str) -> int:
    """How many calls the question has arguments for."""
    properties = tool.schema.get("properties")
    if not isinstance(properties, dict):
        return 1
    needed = {name: properties.get(name, {}) for name in tool.schema.get("required") or properties}
    numeric = sum(_type(schema) in {"integer", "number"} for schema in needed.values())
    counts = [len(pools.numbers) // numeric] if numeric else []
    for name, schema in needed.items():
        if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
            counts.append(len(_mentioned(schema["enum"], question)))
        elif _is_place(name):
            counts.append(len(pools.places))
    return max([1, *counts])


# -- values out of a question, and values that satisfy a schema ------------------------------------------


class _Pools:
    """What a question offers; each value is used once."""

    def __init__(self, question: str) -> None:
        self.question = question
        self.quoted = [
            next(filter(None, groups))
            for groups in re.findall(
                r"(?<!\w)'([^'\n]+)'(?!\w)|\"([^\"\n]+)\"|“([^”]+)”|「([^」]+)」", question
            )
        ]
        bare = re.sub(r"\b\d+ times\b", "", question)
        self.numbers = [
            float(n) if "." in n else int(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])", bare)
        ]
        self.places = _places(question)
        self.used: set[str] = set()  # values of enums


def replace_pools(pools: _Pools) -> _Pools:
    """A fresh copy, for the same arguments once more."""
    copy = _Pools(pools.question)
    copy.numbers, copy.places = list(pools.numbers), list(pools.places)
    return copy


_SENTENCE_TEXT: Final = """
Also And Answer Call Compute Count Create Find Get Give Hello How I If In Is It JSON List Look Please Say Show
Tell The Then Use Using What When Where Which Who Why Write You
"""
_SENTENCE_WORDS: Final = frozenset(_SENTENCE_TEXT.split())
_PLACE_TEXT: Final = "location city place town country region where destination address"
_PLACE_WORDS: Final = frozenset(_PLACE_TEXT.split())
_PLACE: Final = re.compile(r"[A-ZÀ-Þ][\w'-]+(?: [A-ZÀ-Þ][\w'-]+)*(?:, [A-Z]{2}\b)?")


def _places(question: str) -> list[str]:
    """Capitalised words that do not just open a sentence: Paris; San Francisco, CA."""
    found = []
    for match in _PLACE.finditer(question):
        place = match[0]
        while place.split(" ")[0] in _SENTENCE_WORDS:
            place = place.partition(" ")[2]
        if place and place not in found:
            found.append(place)
    return found


def _is_place(name: str) -> bool:
    return bool(_PLACE_WORDS & set(re.findall(r"[a-z]+", name.lower())))


def _type(schema: Any) -> str:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(kind, list):
        kind = next((one for one in kind if str(one).lower() != "null"), "null")
    return str(kind).lower() if kind else ""


def _mentioned(values: Iterable[Any], question: str) -> list[Any]:
    return [
        value
        for value in values
        if re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", question, re.IGNORECASE)
    ]


def fill(
    schema: Mapping[str, Any] | bool,
    pools: _Pools | str,
    name: str = "value",
    defs: Mapping[str, Any] | None = None,
    depth: int = 0,
) -> Any:
    """A value that satisfies a JSON schema, of what the question offers where it can be."""
    pools = _Pools(pools) if isinstance(pools, str) else pools
    if isinstance(schema, bool):
        return {}
    own = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    defs = {**(defs or {}), **own}

    def inner(part: Any, part_name: str = name) -> Any:
        return fill(part, pools, part_name, defs, depth + 1)

    if "$ref" in schema:
        target = str(schema["$ref"])
        part: Any = schema if target == "#" else defs.get(target.rpartition("/")[2], {})
        return inner({} if depth > 12 else part)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _one_of(schema["enum"], pools)
    for several in ("anyOf", "oneOf"):
        if options := schema.get(several):
            real = [option for option in options if _type(option) != "null"]
            rest = {key: value for key, value in schema.items() if key not in {several, "default", "title"}}
            return inner({**rest, **(real or options)[0]})
    if parts := schema.get("allOf"):
        return inner(_merged([{key: value for key, value in schema.items() if key != "allOf"}, *parts], defs))
    kind = _type(schema) or (
        "object" if "properties" in schema else "array" if "items" in schema else "string"
    )
    match kind:
        case "object":
            return _object(schema, inner, pools, depth)
        case "array":
            return _array(schema, inner)
        case "integer" | "number":
            return _number(schema, pools, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, pools, name)


def _one_of(values: list[Any], pools: _Pools) -> Any:
    mentioned = [value for value in _mentioned(values, pools.question) if str(value) not in pools.used]
    chosen = (mentioned or values)[0]
    pools.used.add(str(chosen))
    return chosen


def _merged(parts: Iterable[Mapping[str, Any]], defs: Mapping[str, Any]) -> Json:
    merged: Json = {}
    for given in parts:
        part = defs.get(str(given["$ref"]).rpartition("/")[2], {}) if "$ref" in given else given
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged


def _object(schema: Mapping[str, Any], inner: Any, pools: _Pools, depth: int) -> Json:
    properties = schema.get("properties") or {}
    is_open = not properties and schema.get("additionalProperties", True)
    if is_open and depth == 0 and _ASKS_FOR_JSON.search(pools.question):
        return _free_object(pools)
    pools.quoted = [word for word in pools.quoted if word not in properties]  # names of keys, no values
    required = schema.get("required")
    named = list(properties) if required is None and depth == 0 else list(required or [])
    made = {name: inner(properties.get(name, {}), name) for name in named}
    while len(made) < schema.get("minProperties", 0):
        extra = schema.get("additionalProperties")
        made[f"key{len(made)}"] = inner(extra if isinstance(extra, dict) else {})
    return made


def _array(schema: Mapping[str, Any], inner: Any) -> list[Any]:
    prefix = [inner(item) for item in schema.get("prefixItems", ())]
    wanted = max(schema.get("minItems", 0), 0 if prefix else 1)
    items = schema.get("items", {})
    made = prefix + [inner(items) for _ in range(wanted - len(prefix))]
    return made[: schema.get("maxItems", len(made))]


def _number(schema: Mapping[str, Any], pools: _Pools, kind: str) -> float:
    step = schema.get("multipleOf") or (1 if kind == "integer" else None)
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(below := schema.get("exclusiveMinimum"), int | float) and not isinstance(below, bool):
        low = below + (step or 0.5)
    if isinstance(above := schema.get("exclusiveMaximum"), int | float) and not isinstance(above, bool):
        high = above - (step or 0.5)
    for at, number in enumerate(pools.numbers):
        fits = (low is None or number >= low) and (high is None or number <= high)
        if fits and (kind == "number" or isinstance(number, int)) and (step is None or number % step == 0):
            return pools.numbers.pop(at)
    value: float = step or 1
    if high is not None:
        value = min(value, high)
    if low is not None and value < low:
        value = low if step is None else -(-low // step) * step
    return int(value) if kind == "integer" else value


_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "6f1d7c0e-3b5a-4c1d-9e2f-0a1b2c3d4e5f",
}
_PATTERN_TRIES: Final = (
    "abc",
    "ABC",
    "Abc",
    "123",
    "a1",
    "A1",
    "AB-12",
    "12345",
    "2026-01-31",
    "a@b.co",
    "+1234567",
)


def _string(schema: Mapping[str, Any], pools: _Pools, name: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if _is_place(name) and pools.places:
        value = pools.places.pop(0)
    elif pools.quoted:
        value = pools.quoted.pop(0)
    elif _is_place(name):
        value = "Paris"
    elif name in {"query", "question", "text", "input", "prompt", "q"} and pools.question.strip():
        value = pools.question.strip()
    else:
        value = f"{name} of: {' '.join(pools.question.split()).strip()[:60]}"
    value = value.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
    if pattern := schema.get("pattern"):
        tries: Iterator[str] = (one for one in (value, *_PATTERN_TRIES) if re.search(pattern, one))
        value = next(tries, value)
    return value


# -- signatures ----------------------------------------------------------------------------------------


class Seals:
    """The opaque signatures of a vendor: a seal is good for what it was made for, and for nothing else."""

    def __init__(self, key: bytes = b"penstock.testing") -> None:
        self._key = key
        self._made = 0

    def seal(self, kind: str, content: str) -> str:
        """Two seals of the same content differ, as the vendors' do."""
        self._made += 1
        number = self._made.to_bytes(4, "big")
        return base64.b64encode(b"\x01" + number + self._mac(number, kind, content)).decode()

    def is_good(self, kind: str, content: str, seal: Any) -> bool:
        try:
            raw = base64.b64decode(seal, validate=True)
        except (ValueError, TypeError):
            return False
        return raw[:1] == b"\x01" and hmac.compare_digest(raw[5:], self._mac(raw[1:5], kind, content))

    def _mac(self, number: bytes, kind: str, content: str) -> bytes:
        return hmac.digest(self._key, b"\0".join([number, kind.encode(), content.encode()]), hashlib.sha256)
