"""What OpenAI's models take, by their names: https://platform.openai.com/docs/guides/reasoning, 2026-11-20.

    reasoning_effort    o1 and later o models, gpt-5 and later but for their -chat; others refuse the field
                        (`Unrecognized request argument`, `Unsupported parameter: 'reasoning.effort'`)
    effort none         from gpt-5.1
    effort minimal      gpt-5, gpt-5-mini, gpt-5-nano: the least they do; of o models low is

Names that are none of OpenAI's: nothing is known, and efforts are passed on.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_PLAIN = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt|gpt-5[0-9.]*-chat)")
_GPT = re.compile(r"(?:^|/)gpt-(?P<major>[5-9])(?:\.(?P<minor>\d+))?")
_O = re.compile(r"(?:^|/)o[1-9](?:-|$)")


class Efforts(NamedTuple):
    reasons: bool | None = None  # whether it takes efforts; None = unknown
    off: str | None = None  # the effort that turns reasoning off
    least: str | None = None  # where none does: the lowest


@lru_cache(maxsize=256)
def efforts(model: str) -> Efforts:
    if _PLAIN.search(model):
        return Efforts(reasons=False)
    found = _GPT.search(model)
    if found is not None:
        version = (int(found["major"]), int(found["minor"] or 0))
        return Efforts(True, off="none") if version >= (5, 1) else Efforts(True, least="minimal")
    return Efforts(True, least="low") if _O.search(model) else Efforts()
