"""Which conversation a request belongs to, and which target is that conversation's. Pure.

    route says       same for
    ---------------  ----------------------------------------------------------------------------------
    key              every request of a key
    conversation     what the client calls it (header x-penstock-session, else OpenAI's
                     `prompt_cache_key`), else all that begins alike: the system text, and the turns up to
                     the first of the user

By rendezvous hashing (Thaler, Ravishankar 1998) with weights (Schindelhauer, Schomaker 2005): no table, the
same answer in every process, and a target that goes takes only its own conversations with it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import xxhash

from penstock.routing.select import Candidate
from penstock.types.deployment import Sticky

LONGEST_NAME = 256  # bytes of a session's name that count
_TURNS = ("messages", "contents", "input")  # of OpenAI, Anthropic and Ollama; of Gemini; of Responses
_BEFORE = ("system", "instructions", "systemInstruction")
_MOST_TURNS = 8  # that are looked through for the first of the user

_encode = msgspec.json.Encoder().encode


def session_of(sticky: Sticky, key: str, name: bytes, body: Mapping[str, Any]) -> int:
    """A number for it. `key`: no two of them share a conversation. `name`: what the client calls it."""
    seed = xxhash.xxh3_64_intdigest(key.encode())
    if sticky == "key":
        return seed
    return xxhash.xxh3_64_intdigest(_identity(name, body), seed)


def _identity(name: bytes, body: Mapping[str, Any]) -> bytes:
    if name:
        return name[:LONGEST_NAME]
    own = body.get("prompt_cache_key")
    if isinstance(own, str) and own:
        return own.encode()[:LONGEST_NAME]
    parts = [_encode(body[field]) for field in _BEFORE if field in body]
    for field in _TURNS:
        turns = body.get(field)
        if isinstance(turns, str):
            parts.append(turns.encode())
        elif isinstance(turns, list):
            for turn in turns[:_MOST_TURNS]:
                parts.append(_encode(turn))
                if isinstance(turn, dict) and turn.get("role") == "user":
                    break
    return b"".join(parts)


def rendezvous(candidates: Sequence[Candidate], session: int) -> Candidate:
    """The candidate that is this session's; of many sessions each has its share by weight."""
    return max(candidates, key=lambda one: _score(one, session))


def roll(one: Candidate, session: int) -> float:
    """A number in [0, 1), for routing/slow_start.py: while somebody's share grows, conversations come to it
    one after the other, and none goes back and forth.
    """
    return xxhash.xxh3_64_intdigest((one.id or one.replica).encode() + b"?", session) / 2**64


def _score(one: Candidate, session: int) -> float:
    name = one.id or one.replica  # a replica that is started again has the same id
    point = (xxhash.xxh3_64_intdigest(name.encode(), session) + 1) / (2**64 + 1)
    return -one.weight / math.log(point)
