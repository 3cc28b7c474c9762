"""Money: what models cost, and what answers did.

    Price     of one unit (a token, a search), in pico-USD: the same number as micro-USD per million units
    Cost      of one answer, by what was paid for, in pico-USD; `total` is the sum of these
    charge    what a caller pays for a cost, with a markup or a discount

All of it is integers, and exact. Only `format_usd` makes something for people.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from penstock.types.usage import Usage

PER_USD: Final = 10**12
BASIS_POINTS: Final = 10_000  # of a whole

_USD: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,12}))?", re.ASCII)
_encode = msgspec.json.Encoder().encode

Pico = Annotated[int, Meta(ge=0)]  # pico-USD per unit = micro-USD per million units


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of a token of each kind. None = unknown, 0 = free."""

    input: Pico | None = None
    output: Pico | None = None
    cached: Pico | None = None  # input read from a prompt cache
    cache_write: Pico | None = None  # kept five minutes, or as long as the vendor keeps it
    cache_write_1h: Pico | None = None
    reasoning_output: Pico | None = None  # where it differs from `output`
    audio_input: Pico | None = None
    audio_output: Pico | None = None
    image_input: Pico | None = None  # where it differs from `input`
    image_output: Pico | None = None  # where it differs from `output`


class Tier(Prices, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Prices of a whole request whose prompt is longer; what it does not say is as below it."""

    above_input_tokens: Annotated[int, Meta(ge=0)]


class Price(Prices, frozen=True, kw_only=True):
    """Of one deployment's answers.

    version: tells this price from what it was before and will be; recorded with each call.
    """

    query: Pico | None = None  # of a rerank model: one search
    image: Pico | None = None  # one that was drawn; its tokens then cost what `image_output` says, or nothing
    tiers: tuple[Tier, ...] = ()
    version: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether a plain answer can be priced."""
        return self.query is not None or (self.input is not None and self.output is not None)

    def at(self, prompt_tokens: int) -> Prices:
        """Of a request with such a prompt: of the highest tier that it reaches."""
        reached = [tier for tier in self.tiers if prompt_tokens > tier.above_input_tokens]
        if not reached:
            return self
        tier = max(reached, key=lambda one: one.above_input_tokens)
        return Prices(*(_first(getattr(tier, name), getattr(self, name)) for name in _KINDS))


_KINDS: Final = Prices.__struct_fields__
# Those that no other price stands in for.
_OWN: Final = ("input", "output", "cached", "cache_write", "cache_write_1h", "audio_input", "audio_output")


def _first(price: int | None, other: int | None) -> int | None:
    return other if price is None else price


def versioned(price: Price, since: str) -> Price:
    """`price` with a version made of a date, or another word for its origin, and of what it says."""
    unversioned = msgspec.structs.replace(price, version="")
    digest = blake2b(_encode(unversioned), digest_size=4).hexdigest()
    return msgspec.structs.replace(price, version=f"{since}-{digest}")


FREE: Final = Price(*(0 for _ in _KINDS), image=0, version="free")


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Of one answer. Pico-USD, each token in one item only."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0  # where it has a price of its own; else it is in `output`
    image: int = 0  # likewise; else in `input` and `output`
    audio: int = 0
    query: int = 0
    total: int = 0  # the sum of these
    version: str = ""  # of the price
    is_estimated: bool = False  # the upstream did not say what was used


def cost_of(price: Price, usage: Usage) -> Cost | None:
    """What `usage` costs; None when a price that is needed is not known.

    Cached, cache-written, audio and image tokens are parts of the prompt (types/usage.py), billed once and at
    their own price; reasoning is part of the completion. Reasoning and images cost as text does, unless they
    have prices of their own. Images whose tokens nobody told cost something only by the piece.
    """
    prices = price.at(usage.prompt_tokens) if price.tiers else price
    if (
        price.query is None
        and prices.input is not None
        and prices.output is not None
        and (prices.cached is not None or not usage.cached_tokens)
        and (prices.reasoning_output is None or not usage.reasoning_tokens)
        and not (
            usage.cache_write_tokens
            or usage.audio_prompt_tokens
            or usage.audio_completion_tokens
            or usage.image_prompt_tokens
            or usage.image_completion_tokens
            or usage.images
        )
    ):  # most calls
        read = min(usage.cached_tokens, usage.prompt_tokens)
        asked = (usage.prompt_tokens - read) * prices.input
        cached = read * (prices.cached or 0)
        said = usage.completion_tokens * prices.output
        # by place: msgspec looks for each name in a list
        return Cost(
            asked, cached, 0, said, 0, 0, 0, 0, asked + cached + said, price.version, usage.is_estimated
        )
    drawn = 0
    if price.image is not None:
        drawn = price.image * usage.images
        if prices.image_output is None:
            prices = msgspec.structs.replace(prices, image_output=0)
    elif usage.images and not usage.image_completion_tokens and _is_paid(prices):
        return None  # nobody told their tokens
    cost = _itemised(prices, usage)
    if cost is None:
        return None
    query = 0
    if price.query is not None:
        if price.query and not usage.search_units:
            return None
        query = price.query * usage.search_units
    return msgspec.structs.replace(
        cost,
        image=cost.image + drawn,
        query=query,
        total=cost.total + drawn + query,
        version=price.version,
        is_estimated=usage.is_estimated,
    )


def _itemised(prices: Prices, usage: Usage) -> Cost | None:
    prompt = usage.prompt_tokens
    cached = min(usage.cached_tokens, prompt)
    written = min(usage.cache_write_tokens, prompt - cached)
    hour = min(usage.cache_write_1h_tokens, written)
    plain = prompt - cached - written
    heard = min(usage.audio_prompt_tokens, plain)  # what was heard from a cache is billed as cached
    seen = 0 if prices.image_input is None else min(usage.image_prompt_tokens, plain - heard)
    said = usage.completion_tokens
    spoken = min(usage.audio_completion_tokens, said)
    drawn = 0 if prices.image_output is None else min(usage.image_completion_tokens, said - spoken)
    rest = said - spoken - drawn
    thought = 0 if prices.reasoning_output is None else min(usage.reasoning_tokens, rest)
    input_, cached_, written_, hour_, heard_, seen_, output, thought_, spoken_, drawn_ = parts = (
        _times(plain - heard - seen, prices.input),
        _times(cached, prices.cached),
        _times(written - hour, prices.cache_write),
        _times(hour, prices.cache_write_1h),
        _times(heard, prices.audio_input),
        _times(seen, prices.image_input),
        _times(rest - thought, prices.output),
        _times(thought, prices.reasoning_output),
        _times(spoken, prices.audio_output),
        _times(drawn, prices.image_output),
    )
    if min(parts) < 0:
        return None
    return Cost(
        input_,
        cached_,
        written_ + hour_,
        output,
        thought_,
        image=seen_ + drawn_,
        audio=heard_ + spoken_,
        total=sum(parts),
    )


def lacking(price: Price, usage: Usage) -> list[str]:
    """The kinds whose price is not known and without which `usage` has no cost."""
    unknown = [kind for kind in _OWN if getattr(price, kind) is None]
    known = msgspec.structs.replace(price, **dict.fromkeys(unknown, 1))
    told = msgspec.structs.replace(usage, search_units=usage.search_units or 1)
    text = msgspec.structs.replace(told, images=0)
    found = [
        kind for kind in unknown if cost_of(msgspec.structs.replace(known, **{kind: None}), text) is None
    ]
    return found if cost_of(known, told) is not None else [*found, "image"]


def _is_paid(prices: Prices) -> bool:
    """Whether a drawn token may cost something."""
    return (prices.output if prices.image_output is None else prices.image_output) != 0


def _times(tokens: int, price: int | None) -> int:
    """-1: there are some, and their price is not known."""
    if not tokens:
        return 0
    return -1 if price is None else tokens * price


def charge(pico: int, basis_points: int) -> int:
    """What a caller pays for a cost of `pico`: 250 = 2.5 % more, -1000 = 10 % less. Half a pico goes to even.

    Raises ValueError for a discount of more than everything.
    """
    if basis_points < -BASIS_POINTS:
        raise ValueError(f"{basis_points} basis points take off more than there is")
    whole, rest = divmod(pico * (BASIS_POINTS + basis_points), BASIS_POINTS)
    return whole + (2 * rest + whole % 2 > BASIS_POINTS)


def charges(costs: Sequence[int], basis_points: int) -> list[int]:
    """What the parts of a bill are charged: together exactly what their sum is.

    Each is what the bill grows by: what is rounded off one part is in a later one.
    """
    found: list[int] = []
    spent = billed = 0
    for cost in costs:
        spent += cost
        bill = charge(spent, basis_points)
        found.append(bill - billed)
        billed = bill
    return found


def format_usd(pico: int) -> str:
    """The exact amount, in as few digits as it needs: 0.000135."""
    whole, rest = divmod(abs(pico), PER_USD)
    text = f"{whole}.{rest:012}".rstrip("0").rstrip(".")
    return f"-{text}" if pico < 0 else text


def parse_usd(text: str) -> int:
    """Pico-USD. Raises ValueError with a sentence for the user."""
    found = _USD.fullmatch(text)
    if found is None:
        raise ValueError("an amount of USD is a number with at most 12 decimals, such as 25 or 0.15")
    pico = int(found[2]) * PER_USD + int((found[3] or "").ljust(12, "0"))
    return -pico if found[1] else pico
