"""What Claude models take, by their names: facts of the vendor's pages, read on 2026-11-20.

    thinking                          from 3.7 (anthropics/claude-code#2507)
    thinking adaptive                 from 4.6, and mythos and fable
    thinking enabled{budget_tokens}   up to 4.6; later ones refuse it
    thinking disabled                 all but mythos, fable and 5.5; sonnet 5.5 has between_tools instead,
                                      haiku 5.5 can be told not to think
    tool_choice any and tool          all but those of 5.5 that always think, mythos 5.1 and fable 5.1
    output_config.effort              opus 4.5, and from 4.6 (there also max); xhigh from 4.7
    temperature, top_p, top_k         up to 4.6; both of the first two together up to 4.0
    a final assistant turn            up to 4.5: later ones do not go on from it
    role system between turns         from 4.8
    output_config.format, strict      from 4.5

Sources, all on platform.claude.com/docs/en: build-with-claude/thinking-troubleshooting (a table by model),
thinking-tool-workflows, effort, structured-outputs, mid-conversation-system-messages,
about-claude/models/migration-guide, models/opus-5-5/whats-new-opus-5-5; haiku 5.5: LiteLLM's table of models.

A model that is none of Claude's (servers that copy the dialect) is taken as the oldest: budgets and sampling.
Those named in `_UNSIGNED` think without signing, and want their thinking back in tool use
(NousResearch/hermes-agent#16748: DeepSeek refuses a turn that has lost it).
"""

import re
from functools import lru_cache
from typing import NamedTuple

_AFTER = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)")
_BEFORE = re.compile(r"claude-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?-(?P<line>[a-z]+)")
_UNNUMBERED = re.compile(r"claude-(?P<line>mythos|fable)")
_UNSIGNED = re.compile(r"deepseek|kimi|moonshot|glm|minimax|qwen|mimo|doubao|gpt-oss", re.IGNORECASE)
# An effort as a budget of tokens, for models that know no efforts, and the other way round.
BUDGETS = {
    "minimal": 1_024,
    "low": 4_096,
    "medium": 12_288,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}
LEAST_BUDGET = 1_024
USUAL_MAX_TOKENS = 8_192  # of an answer, where neither the client nor the table of models says more
# What Claude needs between an assistant's turns and their borders, and other models do not.
OPENING = "(The conversation begins with the assistant.)"
GO_ON = "Go on."

_ALWAYS_THINK = frozenset({"mythos", "fable"})
_THREE = frozenset({"low", "medium", "high"})


class Abilities(NamedTuple):
    thinks: bool = True
    adaptive: bool = False  # thinking of type adaptive
    budgets: bool = True  # thinking of type enabled
    off: str | None = "disabled"  # the type that turns thinking off; None = nothing does
    efforts: frozenset[str] = frozenset()  # of output_config
    sampling: bool = True  # temperature, top_p, top_k
    both_samplings: bool = True  # temperature and top_p together
    prefill: bool = True  # goes on from a final assistant turn
    system_turns: bool = False  # messages of role system
    formats: bool = False  # output_config.format, strict tools
    forces: bool = True  # a tool: tool_choice any and tool
    signs: bool = True  # its thinking

    def effort(self, wanted: str) -> str:
        """The nearest that the model knows; only where it knows any."""
        if wanted in self.efforts:
            return wanted
        return "low" if wanted in ("minimal", "low") else "max" if wanted == "max" else "high"


def effort_of(budget: int) -> str:
    return next((effort for effort in ("low", "medium", "high", "xhigh") if BUDGETS[effort] >= budget), "max")


@lru_cache(maxsize=256)
def abilities(model: str) -> Abilities:
    found = _AFTER.search(model) or _BEFORE.search(model)
    if found is not None:
        return _abilities(found["line"], (int(found["major"]), int(found["minor"] or 0)))
    unnumbered = _UNNUMBERED.search(model)
    if unnumbered is not None:
        return _abilities(unnumbered["line"], (5, 0))
    return Abilities(signs=_UNSIGNED.search(model) is None)


def _abilities(line: str, version: tuple[int, int]) -> Abilities:
    only_adaptive = version >= (4, 7)
    efforts: frozenset[str] = frozenset()
    if version >= (4, 6):
        efforts = _THREE | {"max"} | ({"xhigh"} if only_adaptive else set())
    elif line == "opus" and version == (4, 5):
        efforts = _THREE
    off: str | None = "disabled"
    if line in _ALWAYS_THINK or (version >= (5, 5) and line != "haiku"):
        off = "between_tools" if line == "sonnet" else None
    since = (5, 1) if line in _ALWAYS_THINK else (5, 5)
    return Abilities(
        thinks=version >= (3, 7),
        adaptive=version >= (4, 6),
        budgets=not only_adaptive,
        off=off,
        efforts=efforts,
        sampling=not only_adaptive,
        both_samplings=version < (4, 1),
        prefill=version < (4, 6),
        system_turns=version >= (4, 8),
        formats=version >= (4, 5),
        forces=line == "haiku" or version < since,
    )
