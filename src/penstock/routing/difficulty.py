"""How hard a chat request is, judged by its looks, and which targets that means. Pure: values in, values out.

    features_of(conversation)    what is seen, each from 0 (nothing of it) to 1 (as much as counts)
    score(features)              their weighted sum, at most 1, and what each of them added
    level_of(score, ...)         easy, medium or hard, of the levels that a route has
    preference(decision)         who answers when nobody of that level can: next the harder, then the easier

It is cheap because it looks at the question alone: the last user turn, of a long one the beginning and the
end. What comes before counts by the number of its turns; a system prompt, the same for all requests of an
application, says nothing of any of them.
"""

import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from penstock.types.conversation import Conversation, TextPart, Thinking
from penstock.types.deployment import LEVELS, Level

WEIGHTS: Final[dict[str, float]] = {
    # A long question holds more that has to fit together.
    "length": 0.25,
    # Code is wrong if one character is, and small models write it worst.
    "code": 0.40,
    # In a calculation or a proof one wrong step spoils the rest.
    "maths": 0.40,
    # Who asks to prove, compare, design or find a cause wants several thoughts in a row.
    "reasoning": 0.60,
    # Choosing among many tools, and filling in their arguments, is where small models err.
    "tools": 0.20,
    # A late turn refers to many earlier ones.
    "depth": 0.15,
    # A form is one more thing to heed; broken ones are seen and sent on (escalation).
    "schema": 0.10,
    # The client asks for thought in so many words.
    "effort": 0.50,
    # Small models know English best.
    "language": 0.10,
}

LOOK_AT_START, LOOK_AT_END = 1_200, 600  # characters of the question
SHORT, LONG = 120, 6_000  # characters: the first adds nothing, the second all that length can add
MOST_TOOLS = 16
MOST_TURNS = 10  # of the model
LANGUAGE_SAMPLE = 400  # characters
FOREIGN = 0.5  # of them not ASCII: as foreign as can be
LONG_THOUGHT = 16_384  # tokens of a reasoning budget
EFFORTS: Final[dict[str, float]] = {"medium": 0.4, "high": 0.8, "xhigh": 1.0, "max": 1.0}

_WORD: Final = re.compile("[a-zß-ÿ]{3,}")  # of lower case


class Signs(NamedTuple):
    """What shows that a text is of a kind. `elsewhere`: likewise, of characters that are not ASCII; `enough`
    different ones are as good as any number.
    """

    words: frozenset[str]
    texts: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]
    elsewhere: tuple[str, ...]
    enough: int

    def share(self, text: str, words: set[str]) -> float:
        """Of what is enough; `words` are those of `text`."""
        found = len(words & self.words)
        found += sum([one in text for one in self.texts])
        found += sum([one.search(text) is not None for one in self.patterns])
        if not text.isascii():
            found += sum([one in text for one in self.elsewhere])
        return min(1.0, found / self.enough)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODE_WORDS: Final = _words(
    """
    algorithm api async asynchronous bug class code codebase compile compiler concurrency concurrent css
    dataset deadlock debug docker exception function git html implement implementation iterator java
    javascript json kubernetes lock mutex python query recursion recursive refactor regex rust sql
    stacktrace thread threads traceback typescript unittest code funktion programm quelltext fehlermeldung
    klasse implementiere fonction programme programmer función programa
    """
)
_CODE: Final = Signs(
    _CODE_WORDS,
    ("```", "=>", "->", "::", "==", "!=", "();", "#include", "error: ", "exception:", "traceback (", "</"),
    (
        re.compile(r"^[ \t]*(?:def|class|import|from|func|fn|public|private|const|let|var)\b", re.MULTILINE),
        re.compile(r"[;{}][ \t]*$", re.MULTILINE),
        re.compile(r"\.(?:py|js|ts|go|rs|c|cc|cpp|java|rb|sh|sql|ya?ml)\b|\(\)"),
        re.compile(r"select [^;]{1,80} from "),
    ),
    ("代码", "函数", "编程", "报错", "调试", "线程", "算法", "関数", "コード", "코드", "код"),
    enough=3,
)

_MATHS_WORDS: Final = _words(
    """
    algebra asymptotic coefficient combinatorial convex convergence converges derivative determinant
    differential eigenvalue eigenvalues equation equations expectation factorial gradient inequality integer
    integers integral integrate irrational kernel lemma limit logarithm manifold matrix matrices modulo
    permutations polynomial posterior prime primes probability proof quadratic sequence theorem variance
    vector ableitung gleichung gleichungen ungleichung matrix primzahl primzahlen stammfunktion
    wahrscheinlichkeit équation dérivée intégrale probabilité théorème ecuación derivada probabilidad
    teorema
    """
)
_MATHS: Final = Signs(
    _MATHS_WORDS,
    ("\\frac", "\\int", "\\sum", "\\sqrt", "\\lim", "\\begin{", "f(x)", "o(n"),
    (re.compile(r"\^[\w({]"), re.compile(r"[=<>] ?-?\d"), re.compile(r"\$[^$\n]{1,80}\$")),
    (
        *("∑", "∏", "∫", "√", "∞", "≤", "≥", "≠", "≈", "∂", "∇", "∈", "∀", "∃", "²"),
        *("积分", "导数", "矩阵", "方程", "概率", "定理", "数列", "不等式", "微分", "整数", "確率", "定積分"),
    ),
    enough=2,
)

_REASONING_WORDS: Final = _words(
    """
    analyse analyze argue assess assumptions bottleneck compare contrast counterexample critique deduce
    derive design diagnose estimate evaluate explain hypothesis implications infer invariant justify optimal
    optimise optimize plan prioritise prioritize proof prove puzzle rationale reason reconcile rigorous
    rigorously scenario strategy weigh abwägen analysiere begründe begründung beweis beweise beurteile
    bewerte entwirf erörtere herleitung leite optimiere schrittweise vergleiche widerlege ursache analyse
    analysez démontre démontrer évalue justifie prouve raisonnement stratégie analiza demuestra deduce
    evalúa justifica razona estrategia
    """
)
_REASONING: Final = Signs(
    _REASONING_WORDS,
    (
        *("step by step", "step-by-step", "schritt für schritt", "étape par étape", "paso a paso"),
        *("root cause", "edge case", "pros and cons", "vor- und nachteile", "trade-off", "tradeoff"),
        *("under what conditions", "worst case", "worst-case", "por qué", "pourquoi"),
    ),
    (),
    (
        *("证明", "推导", "分析", "逐步", "一步一步", "比较", "设计", "优化", "权衡", "评估", "论证", "推理"),
        *("为什么", "証明", "比較", "증명", "분석", "докажи", "проанализируй", "сравни", "обоснуй"),
    ),
    enough=2,
)


class Features(NamedTuple):
    """Of one request, each from 0 to 1."""

    length: float = 0.0
    code: float = 0.0
    maths: float = 0.0
    reasoning: float = 0.0
    tools: float = 0.0
    depth: float = 0.0
    schema: float = 0.0
    effort: float = 0.0
    language: float = 0.0


class Decision(NamedTuple):
    """Why a request went where it went. `parts` add up to `score`, or to more than 1;
    it is None where the client said what it is.
    """

    level: Level
    score: float | None = None
    parts: tuple[tuple[str, float], ...] = ()
    escalated: tuple[str, ...] = ()  # the verdicts on answers that were not given
    aim: Level | None = None  # since then

    def __str__(self) -> str:
        """As the reply header and the log line say it: `0.63 medium; code=0.30, length=0.13`."""
        said = f"{self.level}; asked" if self.score is None else f"{self.score:.2f} {self.level}"
        named = ", ".join(f"{name}={value:.2f}" for name, value in self.parts)
        if named:
            said += f"; {named}"
        if self.escalated:
            said += f"; escalated={','.join(self.escalated)}"
        return said


class Thresholds(NamedTuple):
    medium: float
    hard: float


def question_of(conversation: Conversation) -> str:
    """The text of the last user turn."""
    for turn in reversed(conversation.turns):
        if turn.role == "user":
            return "\n".join([part.text for part in turn.parts if part.__class__ is TextPart])
    return ""


def shortened(text: str, start: int, end: int) -> str:
    """Its beginning and its end: there people say what they want of what stands between."""
    return text if len(text) <= start + end else f"{text[:start]}\n{text[-end:]}"


def features_of(conversation: Conversation) -> Features:
    question = question_of(conversation)
    text = shortened(question, LOOK_AT_START, LOOK_AT_END).lower()
    words = set(_WORD.findall(text))
    return Features(
        _part(math.log2(max(1, len(question)) / SHORT) / math.log2(LONG / SHORT)),
        _CODE.share(text, words),
        _MATHS.share(text, words),
        _REASONING.share(text, words),
        _part(len(conversation.tools) / MOST_TOOLS),
        _part(sum([turn.role == "assistant" for turn in conversation.turns]) / MOST_TURNS),
        0.0 if conversation.format is None else 1.0,
        _effort(conversation.thinking),
        _foreign(text),
    )


def score(features: Features) -> tuple[float, tuple[tuple[str, float], ...]]:
    """In [0, 1], and what each feature added, the largest first; it rises with every feature."""
    parts = [(name, WEIGHTS[name] * value) for name, value in zip(Features._fields, features, strict=True)]
    parts = sorted((part for part in parts if part[1] > 0), key=lambda part: -part[1])
    return min(1.0, math.fsum(value for _, value in parts)), tuple(parts)


def level_of(score: float, thresholds: Thresholds, levels: Iterable[Level]) -> Level:
    """The hardest of `levels` whose threshold is reached, else the easiest of them."""
    reached = {"easy": 0.0, "medium": thresholds.medium, "hard": thresholds.hard}
    ordered = sorted(levels, key=LEVELS.index)
    return next((level for level in reversed(ordered) if score >= reached[level]), ordered[0])


def preference(decision: Decision) -> tuple[Level, ...]:
    at = LEVELS.index(decision.aim or decision.level)
    return LEVELS[at:] + LEVELS[:at][::-1]


def is_harder(level: Level | None, than: Level | None) -> bool:
    return level is not None and than is not None and LEVELS.index(level) > LEVELS.index(than)


def _effort(thinking: Thinking | None) -> float:
    if thinking is None or thinking.enabled is False:
        return 0.0
    if thinking.budget_tokens is not None:
        return _part(thinking.budget_tokens / LONG_THOUGHT)
    if thinking.effort is not None:
        return EFFORTS.get(thinking.effort, 0.0)
    return EFFORTS["medium"] if thinking.enabled else 0.0


def _foreign(text: str) -> float:
    if text.isascii():
        return 0.0
    sample = text[:LANGUAGE_SAMPLE]
    return _part((1 - len(sample.encode("ascii", "ignore")) / len(sample)) / FOREIGN)


def _part(value: float) -> float:
    return min(1.0, max(0.0, value))
