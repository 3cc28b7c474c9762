"""What OpenAI's models take, by their names: https://platform.openai.com/docs/guides/reasoning, 2026-11-20.

    reasoning_effort      o1 and later o models, gpt-5 and later but for their -chat; others refuse the field
                          (`Unrecognized request argument`, `Unsupported parameter: 'reasoning.effort'`)
    low, medium, high     all of them; gpt-5-pro high alone, later ones of -pro no low
    minimal               gpt-5, and none later (anomalyco/opencode#4451)
    none                  from gpt-5.1, but no -codex and no -pro
    xhigh                 gpt-5.1-codex-max, and all from gpt-5.2
    max                   from gpt-5.6
    temperature, top_p, penalties, logprobs, stop     only of a model that does not reason: from gpt-5.1 with
                          effort none, which is what gpt-5.1 to 5.4 do unasked (langchain-ai/langchain#35423,
                          tmc/langchaingo#1355, EleutherAI/lm-evaluation-harness#3247)

Names that are none of OpenAI's: nothing is known, and efforts are passed on.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from penstock.types.conversation import JSON, Thinking

_PLAIN = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt|gpt-5[0-9.]*-chat)")
_GPT = re.compile(r"(?:^|/)gpt-(?P<major>[5-9])(?:\.(?P<minor>\d+))?(?P<kind>.*)")
_O = re.compile(r"(?:^|/)o[1-9](?:-|$)")
_ORDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SAMPLING: JSON = {  # and what happens anyway
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "stop": [],
}
_BUDGETS = ((1_024, "minimal"), (4_096, "low"), (16_384, "medium"))  # in tokens; above: high


class Efforts(NamedTuple):
    reasons: bool | None = None  # whether it takes efforts; None = unknown
    known: tuple[str, ...] = ()  # in their order
    is_idle: bool = False  # unasked it does not reason

    def nearest(self, effort: str) -> str:
        if effort in self.known or effort not in _ORDER or not self.known:
            return effort
        at = _ORDER.index(effort)
        return min((one for one in self.known if one != "none"), key=lambda one: abs(_ORDER.index(one) - at))


@lru_cache(maxsize=256)
def efforts(model: str) -> Efforts:
    if _PLAIN.search(model):
        return Efforts(reasons=False)
    found = _GPT.search(model)
    if found is not None:
        version = (int(found["major"]), int(found["minor"] or 0))
        known = tuple(_of_gpt(version, found["kind"]))
        return Efforts(True, known, is_idle="none" in known and version < (5, 5))
    return Efforts(True, ("low", "medium", "high")) if _O.search(model) else Efforts()


def _of_gpt(version: tuple[int, int], kind: str) -> list[str]:
    is_pro, is_codex = "-pro" in kind, "-codex" in kind
    if is_pro and version < (5, 2):
        return ["high"]
    least = [] if is_pro or is_codex else ["none"] if version >= (5, 1) else ["minimal"]
    most = ["xhigh"] if version >= (5, 2) or "-codex-max" in kind else []
    if version >= (5, 6):
        most.append("max")
    return [*least, *([] if is_pro else ["low"]), "medium", "high", *most]


def told_effort(model: str, thinking: Thinking, lose: Callable[[str], None]) -> str | None:
    """What the client said, or its budget as an effort, as the model takes it; None where nothing is told."""
    could = efforts(model)
    if thinking.enabled is False or thinking.effort == "none":
        return _off(could, thinking, lose)
    wanted = effort_of(thinking)
    if could.reasons is False:
        if wanted is not None or thinking.enabled:
            lose("thinking")
        return None
    if wanted is None:
        return None
    taken = could.nearest(wanted)
    if taken != wanted and thinking.effort is not None:
        lose("thinking.effort")
    return taken


def _off(could: Efforts, thinking: Thinking, lose: Callable[[str], None]) -> str | None:
    if could.reasons is False or "none" in could.known:
        return "none" if could.known else None
    if could.reasons is None and thinking.effort == "none":
        return "none"  # the client's own word, to a model that may know it
    lose("thinking")
    return could.known[0] if could.known else None


def unsampled(model: str, effort: str | None, body: JSON, lose: Callable[[str], None]) -> None:
    """Takes out of `body` what a model refuses while it reasons, with that effort or by itself."""
    could = efforts(model)
    if not could.reasons or effort == "none" or (effort is None and could.is_idle):
        return
    for name, usual in _SAMPLING.items():
        value = body.pop(name, None)
        if value is not None and value != usual:
            lose(name)


def effort_of(thinking: Thinking) -> str | None:
    if thinking.effort is not None:
        return thinking.effort
    if thinking.budget_tokens:
        return next((name for most, name in _BUDGETS if thinking.budget_tokens <= most), "high")
    return None
