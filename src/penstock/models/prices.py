"""What models cost: prices.yaml, the user's own table over it, and the cost of one answer.

    find(vendor, model)       the facts of a model, None when its price is not known
    cost(facts, usage)        pico-USD, exact: a price in micro-USD per million tokens is pico-USD per token
    read(text)                a table of the same form, checked; PriceTableError with every path

A name is found exactly, as an alias, without a date at its end, and without what a platform puts around it
(`models/`, Vertex's @version, Bedrock's region). Nothing fuzzier: a wrong price is worse than none.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import msgspec
import yaml
from msgspec import Meta

from penstock.types.errors import PenstockError
from penstock.types.usage import Usage

FILE: Final = "prices.yaml"  # also of the user's table, in the data folder

Price = Annotated[int, Meta(ge=0)]  # micro-USD per million tokens

_DATE = re.compile(r"[-@]20\d{2}-?\d{2}-?\d{2}$")
_REGIONS = re.compile(r"^(?:us|eu|apac|au|jp|ca|us-gov)\.")


class PriceTableError(PenstockError):
    code = "invalid_request"
    status = 400


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """None = unknown, 0 = free."""

    input: Price | None = None
    output: Price | None = None
    cached: Price | None = None  # input read from a prompt cache
    cache_write: Price | None = None
    audio_input: Price | None = None
    audio_output: Price | None = None


class Tier(Prices, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Prices of a whole request whose prompt is longer."""

    above_input_tokens: Annotated[int, Meta(ge=0)]


class Row(Prices, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1)]
    aliases: tuple[str, ...] = ()
    context: Annotated[int, Meta(ge=1)] | None = None
    tiers: tuple[Tier, ...] = ()


class Vendor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vendor: Annotated[str, Meta(min_length=1)]
    source: Annotated[str, Meta(pattern=r"^https?://")]
    date: Annotated[str, Meta(pattern=r"^20\d{2}-\d{2}-\d{2}$")]
    models: Annotated[tuple[Row, ...], Meta(min_length=1)]


class ModelFacts(msgspec.Struct, frozen=True):
    vendor: str
    row: Row
    source: str
    date: str


Table = dict[tuple[str, str], ModelFacts]


def read(text: str) -> Table:
    """Raises PriceTableError."""
    try:
        raw = yaml.load(text, Loader=yaml.CSafeLoader)
        for group in raw if isinstance(raw, list) else ():
            if isinstance(group, dict) and "date" in group:
                group["date"] = str(group["date"])
        vendors = msgspec.convert(raw, tuple[Vendor, ...])
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        raise PriceTableError(f"This is no price table: {exc}") from exc
    table: Table = {}
    for group in vendors:
        for row in group.models:
            facts = ModelFacts(group.vendor, row, group.source, group.date)
            for name in (row.model, *row.aliases):
                if table.setdefault((group.vendor, name), facts) is not facts:
                    raise PriceTableError(f"{group.vendor}/{name} is priced twice.")
    return table


@cache
def builtin() -> Table:
    return read(resources.files("penstock.models").joinpath(FILE).read_text("utf-8"))


def load(folder: Path | None) -> Table:
    """The builtin table, the user's over it. Raises PriceTableError, OSError."""
    path = folder / FILE if folder is not None else None
    if path is None or not path.exists():
        return builtin()
    return builtin() | read(path.read_text("utf-8"))


def find(vendor: str, model: str, table: Table | None = None) -> ModelFacts | None:
    known = builtin() if table is None else table
    for name in _names(model):
        found = known.get((vendor, name))
        if found is not None:
            return found
    return None


def _names(model: str) -> Iterator[str]:
    yield model
    plain = model.removeprefix("models/")
    yield plain
    yield _DATE.sub("", plain)
    if _REGIONS.match(plain):
        rest = _REGIONS.sub("", plain)
        yield f"regional.{rest}"
        yield rest
    if plain.startswith("global."):
        yield plain.removeprefix("global.")


def cost(facts: ModelFacts, usage: Usage) -> int | None:
    """Pico-USD; None when a price that is needed is not known.

    Cached, cache-written and audio tokens are parts of the prompt (types/usage.py), billed once and at their
    own price; reasoning is part of the completion and costs as much.
    """
    prices = _prices(facts.row, usage.prompt_tokens)
    plain = max(0, usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens)
    heard = min(usage.audio_prompt_tokens, plain)  # what was heard from a cache is billed as cached
    spoken = min(usage.audio_completion_tokens, usage.completion_tokens)
    parts = (
        (plain - heard, prices.input),
        (usage.cached_tokens, prices.cached),
        (usage.cache_write_tokens, prices.cache_write),
        (heard, prices.audio_input),
        (usage.completion_tokens - spoken, prices.output),
        (spoken, prices.audio_output),
    )
    total = 0
    for tokens, price in parts:
        if tokens:
            if price is None:
                return None
            total += tokens * price
    return total


def _prices(row: Row, prompt_tokens: int) -> Prices:
    """Of the highest tier that the prompt reaches; what a tier does not say is the row's."""
    reached = [tier for tier in row.tiers if prompt_tokens > tier.above_input_tokens]
    if not reached:
        return row
    tier = max(reached, key=lambda one: one.above_input_tokens)
    return Prices(*(_first(getattr(tier, name), getattr(row, name)) for name in Prices.__struct_fields__))


def _first(price: int | None, other: int | None) -> int | None:
    return other if price is None else price
