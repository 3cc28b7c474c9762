"""What models cost: prices.yaml, and the user's own table over it.

    find(vendor, model)       the facts of a model, None when its price is not known
    price_of(facts)           what answers of it cost (types/money.py)
    read(text)                a table of the same form, checked; PriceTableError with every path

A name is found exactly, as an alias, without a date at its end, and without what a platform puts around it
(`models/`, `accounts/fireworks/models/`, Vertex's @version, Bedrock's region). Nothing fuzzier: a wrong price
is worse than none.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import yaml
from msgspec import Meta

from penstock.types.errors import PenstockError
from penstock.types.money import Pico, Price, Prices, Tier, versioned

FILE: Final = "prices.yaml"  # also of the user's table, in the data folder

Modality = Literal["text", "image", "audio", "video", "file"]

_DATE = re.compile(r"[-@]20\d{2}-?\d{2}-?\d{2}$")
_PLACES = re.compile(r"^(?:models/|publishers/[^/]+/models/|accounts/fireworks/models/)")
_REGIONS = re.compile(r"^(?:us|eu|apac|au|jp|ca|us-gov)\.")


class PriceTableError(PenstockError):
    code = "invalid_request"
    status = 400


class Row(Prices, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is not known is absent: empty `can` does not say that it cannot."""

    model: Annotated[str, Meta(min_length=1)]
    aliases: tuple[str, ...] = ()
    operation: Literal["embedding", "rerank"] | None = None  # None = chat or text completion
    query: Pico | None = None  # of a rerank model: micro-USD per million queries
    image: Pico | None = None  # drawn: likewise, per million images
    batch: Prices | None = None
    tiers: tuple[Tier, ...] = ()
    context: Annotated[int, Meta(ge=1)] | None = None
    max_output: Annotated[int, Meta(ge=1)] | None = None
    takes: tuple[Modality, ...] = ("text",)
    gives: tuple[Modality, ...] = ("text",)
    can: tuple[Literal["tools", "reasoning", "schemas"], ...] = ()
    confirmed: bool = False  # two independent collections say the same price


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
    return read("".join(map("".join, _groups().values())))


@cache
def builtin_of(vendor: str) -> Table:
    """The rows of one vendor: the whole table takes a tenth of a second to read, too long for a start."""
    return read("".join(_groups().get(vendor, ())) or "[]")


@cache
def _groups() -> dict[str, list[str]]:
    """The builtin file, cut where its groups begin."""
    text = resources.files("penstock.models").joinpath(FILE).read_text("utf-8")
    found: dict[str, list[str]] = {}
    for group in re.split(r"^(?=- vendor: )", text, flags=re.MULTILINE)[1:]:
        vendor = group.partition("\n")[0].removeprefix("- vendor: ")
        found.setdefault(vendor, []).append(group)
    return found


def load(folder: Path | None) -> Table:
    """The builtin table, the user's over it. Raises PriceTableError, OSError."""
    return builtin() | own(folder)


def own(folder: Path | None) -> Table:
    """The user's table alone. Raises PriceTableError, OSError."""
    path = folder / FILE if folder is not None else None
    if path is None or not path.exists():
        return {}
    return read(path.read_text("utf-8"))


def find(vendor: str, model: str, table: Table | None = None) -> ModelFacts | None:
    known = builtin_of(vendor) if table is None else table
    for name in _names(model):
        found = known.get((vendor, name))
        if found is not None:
            return found
    return None


def _names(model: str) -> Iterator[str]:
    yield model
    plain = _PLACES.sub("", model)
    yield plain
    yield _DATE.sub("", plain)
    if _REGIONS.match(plain):
        rest = _REGIONS.sub("", plain)
        yield f"regional.{rest}"
        yield rest
    if plain.startswith("global."):
        yield plain.removeprefix("global.")


def price_of(facts: ModelFacts) -> Price:
    """What the answers of a deployment of that model cost."""
    row = facts.row
    kinds = {name: getattr(row, name) for name in Prices.__struct_fields__}
    if row.operation is not None and row.output is None:
        kinds["output"] = 0  # vectors and scores are no tokens
    return versioned(Price(**kinds, query=row.query, image=row.image, tiers=row.tiers), facts.date)
