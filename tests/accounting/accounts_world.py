"""The world of the proof of accounting: a configuration, and upstreams that answer with chance faults.

    deployment   its double               its price is that of            what is special
    -----------  -----------------------  ------------------------------  ------------------------------------
    a, b         OpenAI-compatible        cached tokens, too              b has `concurrency` and a queue
    claude       Anthropic                cached and written tokens       answers are translated
    gem          Gemini                   cached tokens, too              likewise
    shaped       OpenAI-compatible        input and output                schemas are checked by the gateway
    vectors      OpenAI-compatible        input                           small requests are sent as one
    spare        OpenAI-compatible        input                           embeddings, one by one
    ranks        OpenAI-compatible        searches                        rerank

A double notes for each call that names itself in its prompt (`call-17-`) what it was asked and what usage it
said, if any: the judge knows from there what clients were not told.
"""

# ruff: noqa: S311 - chance, no secrets

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from penstock.testing.anthropic import AnthropicDouble
from penstock.testing.double import Answer, Directives, Double, Recorded
from penstock.testing.gemini import GeminiDouble
from penstock.testing.upstream import Upstream

PICO = 10**12
ESCALATING = "smart"  # a route that asks again where an answer is not good enough
NAMES = re.compile(rb"call-(\d+)-")
MANY = 1_000_000_000  # of a limit that is there to count
YEAR = 366 * 86_400
SPENDS_USD = "0.2"  # a budget that runs out


class Tokens(NamedTuple):
    """As usage is told, or None in its place; `written` and `cached` are parts of the prompt."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    written: int = 0


class Price(NamedTuple):
    """Pico-USD for one token; `query` for one search."""

    input: int
    output: int = 0
    cached: int | None = None
    written: int | None = None
    query: int = 0

    def of(self, used: Tokens) -> int:
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.written is None else self.written
        plain = used.prompt - used.cached - used.written
        return (
            plain * self.input + used.cached * cached + used.written * written + used.completion * self.output
        )


PRICES = {
    "a": Price(1_000_003, 3_000_017, 100_003),
    "b": Price(123_457, 654_321, 12_347),
    "claude": Price(3_000_001, 15_000_007, 300_001, 3_750_001),
    "gem": Price(299_993, 2_499_997, 74_999),
    "shaped": Price(270_001, 1_100_009),
    "vectors": Price(20_011),
    "spare": Price(130_003),
    "ranks": Price(0, query=2_000_000_003),
}


class Route(NamedTuple):
    targets: tuple[str, ...]
    more: str = ""
    fallbacks: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()  # of the targets of a route by difficulty

    @property
    def dearest_input(self) -> int:
        return max(PRICES[name].input for name in self.targets + self.fallbacks)


ROUTES = {
    "plain": Route(("a",)),
    "fast": Route(("a", "b"), ", retries: 1", ("claude",)),
    "hedged": Route(("a", "b"), ", hedge: {after: 60ms, share: 0.5}", ("gem",)),
    "claudes": Route(("claude",), "", ("a",)),
    "gems": Route(("gem",), ", retries: 1", ("b",)),
    ESCALATING: Route(
        ("a", "b"), ", strategy: difficulty, difficulty: {escalate_streams: on}", ("gem",), ("easy", "hard")
    ),
    "shapes": Route(("shaped",)),
    "texts": Route(("vectors",), "", ("spare",)),
    "ranking": Route(("ranks",), ", retries: 1"),
}


class Key(NamedTuple):
    """`is_tight`: its limits refuse calls."""

    name: str
    team: str = ""
    is_tight: bool = False

    @property
    def secret(self) -> str:
        return f"sk-accounts-{self.name}"


KEYS = (
    Key("ann", "lab"),
    Key("bob", "lab"),
    Key("cid", "web"),
    Key("dee", "web", is_tight=True),
    Key("eve"),
    Key("fox", is_tight=True),
)
TEAMS = ("lab", "web")
BOSS = "sk-accounts-boss"

SORRY = "I'm sorry, but I can't help with that."
TIMES = "connect: 2s, first_token: 3s, between_tokens: 1500ms, total: 10s"


def config(urls: Mapping[str, str], *, ledger: str, budget_usd: int = 1_000_000, workers: int = 1) -> str:
    """YAML, as a user writes it. Each scope has limits that only count, of every sort."""
    per_year = f"{MANY // 1_000_000}M/366day"
    counting = f"requests: [{per_year}], tokens: [{per_year}]"
    tight = f"requests: [{per_year}, 100/s], tokens: [{per_year}, 40k/s], concurrency: 16"
    money = f"{{usd: {budget_usd}, period: total}}, {{usd: {budget_usd}, period: month}}"
    by_model = f"{{usd: {budget_usd}, period: total, models: [hedged]}}"
    spent = f"{{usd: {SPENDS_USD}, period: total, models: [claudes]}}"
    kinds = {"claude": "anthropic", "gem": "gemini", "shaped": "deepseek"}
    special = {
        "b": ", concurrency: 24, queue: {wait: 5s}",
        "vectors": ", batching: {window: 5ms, texts: 8}, operations: [embedding]",
        "spare": ", operations: [embedding]",
        "ranks": ", operations: [rerank]",
    }
    lines = ["builtin: off", f"server: {{workers: {workers}}}", "providers:"]
    for name, url in urls.items():
        kind = kinds.get(name, "openai-compatible")
        lines.append(f'  p-{name}: {{kind: {kind}, base_url: "{url}", api_key: k}}')
    lines.append("deployments:")
    for name in urls:
        model = "gemini-2.0-flash" if name == "gem" else "claude-x" if name == "claude" else f"m-{name}"
        lines.append(
            f"  {name}: {{provider: p-{name}, model: {model}, limits: {{{counting}}}{special.get(name, '')}}}"
        )
    lines.append("routes:")
    for name, route in ROUTES.items():
        whens = [f", when: {level}" for level in route.levels] or [""] * len(route.targets)
        targets = ", ".join(
            f"{{deployment: {one}{when}}}" for one, when in zip(route.targets, whens, strict=True)
        )
        lines.append(
            f"  {name}: {{targets: [{targets}], fallbacks: [{', '.join(route.fallbacks)}],"
            f" timeouts: {{{TIMES}}}, limits: {{{counting}}}{route.more}}}"
        )
    lines.append("prices:\n  models:")
    for name, price in PRICES.items():
        parts = {
            "input": price.input,
            "output": price.output,
            "cached": price.cached,
            "cache_write": price.written,
        }
        said = ", ".join(f"{part}: ${_usd(pico)}/1M" for part, pico in parts.items() if pico is not None)
        if price.query:
            said = f"input: $0/1M, query: ${_usd(price.query)}/1M"
        lines.append(f"    {name}: {{{said}}}")
    lines.append("teams:")
    lines += [f"  {name}: {{limits: {{{counting}}}, budget: [{money}]}}" for name in TEAMS]
    lines.append("keys:")
    for key in KEYS:
        team = f"team: {key.team}, " if key.team else ""
        limits, budgets = (tight, f"{money}, {spent}") if key.is_tight else (counting, f"{money}, {by_model}")
        lines.append(
            f"  {key.name}: {{secret: {key.secret}, {team}limits: {{{limits}}}, budget: [{budgets}]}}"
        )
    lines.append(f"  boss: {{secret: {BOSS}, role: operator}}")
    lines.append(f'limits: {{store: "{ledger}"}}')
    return "\n".join(lines) + "\n"


def _usd(pico_per_one: int) -> str:
    """Of a million: micro-USD in, USD out."""
    return f"{pico_per_one // 1_000_000}.{pico_per_one % 1_000_000:06}"


# -- the upstreams


class Sent(NamedTuple):
    """An attempt, as the upstream saw it."""

    deployment: str
    said: Tokens | None  # what it says was used, if it gets so far
    pieces: int  # tokens of its answer, at most
    shared: int  # how many calls it is for
    request: Recorded


class Sender:
    """Which faults there are, and what was sent to whom. One for all doubles."""

    def __init__(self, seed: int, *, faults: float = 1.0) -> None:
        """`faults`: how many, compared with the usual."""
        self.random = random.Random(seed)
        self.calls: dict[int, list[Sent]] = defaultdict(list)
        self.attempts = 0
        self.faults: dict[str, int] = defaultdict(int)
        self._factor = faults
        self._weights = [1000, *(weight * faults for _, weight in FAULTS[1:])]

    def behaviour(self, body: Any) -> dict[str, str]:
        chance = self.random
        ((name, _),) = chance.choices(FAULTS, self._weights)
        self.faults[name] += 1
        prompt, said = chance.randint(20, 400), chance.randint(1, 14)
        found = {"x-test-prompt-tokens": f"{prompt}", "x-test-tokens": f"{said}"}
        if chance.random() < 0.2:
            found["x-test-cached-tokens"] = f"{chance.randint(1, prompt - 1)}"
        if chance.random() < 0.04:
            found["x-test-delay-between"] = "0.01"
        if chance.random() < 0.5:
            found["x-test-batch"] = f"{chance.randint(2, 5)}"
        if chance.random() < 0.05:
            found["x-test-content"] = SORRY  # which a route by difficulty takes to a harder target
        found |= self._fault(name)
        if isinstance(body, dict) and body.get("tools"):
            good = '{"x": 1}' if chance.random() < 0.7 else "{}"
            function = body["tools"][0].get("function") or {}
            found["x-test-tool-call"] = f"{function.get('name', 'it')}:{good}"
        return found

    def _fault(self, name: str) -> dict[str, str]:
        at = str(self.random.randint(0, 9))
        match name:
            case "500" | "503" | "429":
                return {"x-test-status": name, "x-test-retry-after": "0"}
            case "cut" | "truncate" | "error-in-stream" | "malformed":
                return {f"x-test-{name}": at}
            case "slow":
                return {"x-test-delay-headers": f"{self.random.uniform(0.02, 0.3):.3f}"}
            case "slow-first":
                return {"x-test-delay-first": f"{self.random.uniform(0.02, 0.3):.3f}"}
            case "hang":
                return {"x-test-hang": at}
            case "ok":
                return {}
        return {f"x-test-{name}": "1"}


FAULTS: tuple[tuple[str, float], ...] = (
    ("ok", 1000),
    ("500", 20),
    ("503", 6),
    ("429", 2),
    ("refuse", 12),
    ("cut", 25),
    ("truncate", 12),
    ("error-in-stream", 15),
    ("malformed", 12),
    ("no-usage", 40),
    ("no-done", 10),
    ("non-sse", 4),
    ("close", 10),
    ("slow", 30),
    ("slow-first", 20),
    ("hang", 0.7),
)


def doubles(sender: Sender) -> dict[str, Double]:
    """One for each deployment."""

    def noted(kind: type[Double], name: str) -> Double:
        class Noted(kind):  # type: ignore[misc, valid-type]  # a class of each vendor's double
            def directives(self, headers: Mapping[str, str], body: Any) -> Directives:
                return Directives(sender.behaviour(body))

            def answer(self, request: Recorded) -> Answer:
                self.requests.clear()
                answer: Answer = super().answer(request)
                sender.attempts += 1
                said = None if answer.status != 200 else usage_in(answer)
                pieces = max(request.directives.count("tokens") or 0, said.completion if said else 0)
                calls = {int(number) for number in NAMES.findall(request.raw)}
                for number in calls:
                    sender.calls[number].append(Sent(name, said, pieces, len(calls), request))
                return answer

        return Noted()

    kinds: dict[str, type[Double]] = {"claude": AnthropicDouble, "gem": GeminiDouble}
    return {name: noted(kinds.get(name, Upstream), name) for name in PRICES}


def usage_in(answer: Answer) -> Tokens | None:
    """What it says was used, in whole or in its last events; None where it says nothing."""
    if answer.events is None:
        return _read([answer.body])
    return _read(answer.events)


def _read(bodies: list[Any]) -> Tokens | None:
    found: dict[str, Any] = {}
    for body in bodies:
        for usage in _usages(body):
            found |= {name: count for name, count in usage.items() if count is not None}
    return tokens_of(found) if found else None


def _usages(body: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(body, dict):
        return
    inner = [body, body.get("message"), body.get("response")]
    for one in inner:
        if isinstance(one, dict):
            for name in ("usage", "usageMetadata"):
                if isinstance(one.get(name), dict):
                    yield one[name]


def tokens_of(usage: Mapping[str, Any]) -> Tokens:
    """Of any dialect's usage, as OpenAI counts."""
    if "promptTokenCount" in usage:
        said = usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        return Tokens(usage["promptTokenCount"], said, usage.get("cachedContentTokenCount", 0))
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        read, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
        return Tokens(usage["input_tokens"] + read + written, usage.get("output_tokens", 0), read, written)
    if "input_tokens" in usage:
        details = usage.get("input_tokens_details") or {}
        return Tokens(usage["input_tokens"], usage.get("output_tokens", 0), details.get("cached_tokens", 0))
    if "prompt_eval_count" in usage:
        return Tokens(usage["prompt_eval_count"], usage.get("eval_count", 0))
    details = usage.get("prompt_tokens_details") or {}
    prompt = usage.get("prompt_tokens", usage.get("total_tokens", 0))
    return Tokens(prompt, usage.get("completion_tokens", 0), details.get("cached_tokens", 0))
