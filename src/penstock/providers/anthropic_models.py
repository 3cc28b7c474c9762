"""What Claude models take, by their names: facts of the vendor's pages, read on 2026-11-20.

    thinking adaptive                 from 4.6, and all that have no number (mythos, fable)
    thinking enabled{budget_tokens}   up to 4.6; later ones refuse it
    output_config.effort              opus 4.5, and from 4.6; xhigh and max from opus 4.7 and 4.6
    temperature, top_p, top_k         not from opus 4.7 and generation 5
    role system between turns         from opus 4.8 and generation 5

Sources: docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html,
platform.claude.com/docs/en/about-claude/models/migration-guide, .../build-with-claude/effort,
.../mid-conversation-system-messages; NousResearch/hermes-agent#11137, simonw/llm-anthropic#73.

A model that is none of Claude's (servers that copy the dialect) is taken as the oldest: budgets and sampling.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_AFTER = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)")
_BEFORE = re.compile(r"claude-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?-(?P<line>[a-z]+)")
_UNNUMBERED = re.compile(r"claude-(?:mythos|fable)")
_LATEST = (99, 0)


class Abilities(NamedTuple):
    adaptive: bool  # thinking of type adaptive
    budgets: bool  # thinking of type enabled
    efforts: frozenset[str]  # of output_config
    sampling: bool  # temperature, top_p, top_k
    both_samplings: bool  # temperature and top_p together
    system_turns: bool  # messages of role system


_THREE = frozenset({"low", "medium", "high"})


@lru_cache(maxsize=256)
def abilities(model: str) -> Abilities:
    found = _AFTER.search(model) or _BEFORE.search(model)
    if found is None:
        if _UNNUMBERED.search(model):
            return _abilities("mythos", _LATEST)
        return Abilities(
            adaptive=False,
            budgets=True,
            efforts=frozenset(),
            sampling=True,
            both_samplings=True,
            system_turns=False,
        )
    return _abilities(found["line"], (int(found["major"]), int(found["minor"] or 0)))


def _abilities(line: str, version: tuple[int, int]) -> Abilities:
    only_adaptive = version >= (4, 7)
    efforts: frozenset[str] = frozenset()
    if version >= (4, 6):
        efforts = _THREE | {"max"} | ({"xhigh"} if only_adaptive else set())
    elif line == "opus" and version == (4, 5):
        efforts = _THREE
    return Abilities(
        adaptive=version >= (4, 6),
        budgets=not only_adaptive,
        efforts=efforts,
        sampling=not only_adaptive,
        both_samplings=version < (4, 1),
        system_turns=version >= (4, 8),
    )
