"""What kinds of values settings have: how the file writes them, and what else is known of a field.

    Duration, Size, Amount ...    a number here, a text with a unit in the file (units.py); reader.py reads it
    Secret                        never shown
    ProviderKind, EngineName      a name of a registry

secret_fields, units       which settings of a group are of such a kind
json_schema(root)          the same for editors, with values as the file writes them
"""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, inspect

from penstock.config.units import (
    AMOUNT_PATTERN,
    DURATION_PATTERN,
    MOMENT_PATTERN,
    PERCENT_PATTERN,
    PRICE_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    USD_PATTERN,
    format_amount,
    format_duration,
    format_moment,
    format_price,
    format_size,
)
from penstock.engines import ENGINES
from penstock.providers.profiles import PROFILES

# `extra` is for reader.py, `extra_json_schema` for editors that check against docs/penstock.schema.json.
Duration = Annotated[float, Meta(extra={"unit": "duration"}, extra_json_schema={"x-unit": "duration"})]
Size = Annotated[int, Meta(extra={"unit": "size"}, extra_json_schema={"x-unit": "size"})]
Secret = Annotated[str, Meta(extra={"secret": True}, min_length=1)]
Amount = Annotated[int, Meta(extra={"unit": "amount"}, extra_json_schema={"x-unit": "amount"})]
UnitPrice = Annotated[int, Meta(extra={"unit": "price"}, extra_json_schema={"x-unit": "price"})]
Moment = Annotated[float, Meta(extra={"unit": "moment"}, extra_json_schema={"x-unit": "moment"})]
RateText = Annotated[str, Meta(extra={"unit": "rate"}, extra_json_schema={"x-unit": "rate"})]
Money = Annotated[int, Meta(extra={"unit": "usd"}, extra_json_schema={"x-unit": "usd"})]
Percent = Annotated[int, Meta(extra={"unit": "percent"}, extra_json_schema={"x-unit": "percent"})]
Switch = Annotated[bool, Meta(extra_json_schema={"x-unit": "switch"})]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]  # of lower-case words that a header can list
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PerSecond = Annotated[float, Meta(gt=0, le=1e6)]
Name = Annotated[str, Meta(extra={"name": True}, min_length=1, max_length=200)]
OnFailure = Literal["drop-and-count", "refuse"]
LogLevel = Literal["debug", "info", "warning", "error"]
ProviderKind = Annotated[
    str, Meta(extra={"registry": "provider kind"}, extra_json_schema={"enum": sorted(PROFILES)})
]
EngineName = Annotated[str, Meta(extra={"registry": "engine"}, extra_json_schema={"enum": sorted(ENGINES)})]

REGISTRIES: Final[dict[str, tuple[str, ...]]] = {
    "provider kind": tuple(PROFILES),
    "engine": tuple(ENGINES),
}


@cache
def secret_fields(group: type[msgspec.Struct]) -> frozenset[str]:
    """The settings of a group that hold a Secret, at any depth: nobody may print them."""
    info = inspect.type_info(group)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return frozenset(field.name for field in fields if _holds_secret(field.type))


def _holds_secret(type_: inspect.Type) -> bool:
    match type_:
        case inspect.Metadata():
            return bool((type_.extra or {}).get("secret")) or _holds_secret(type_.type)
        case inspect.UnionType():
            return any(map(_holds_secret, type_.types))
        case inspect.DictType():
            return _holds_secret(type_.value_type)
        case inspect.ListType() | inspect.VarTupleType():
            return _holds_secret(type_.item_type)
    return False


@cache
def units(group: type[msgspec.Struct]) -> dict[str, str]:
    """The settings of a group that are written with a unit -> which kind."""
    info = inspect.type_info(group)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return {field.name: unit for field in fields if (unit := _unit(field.type))}


def _unit(type_: inspect.Type) -> str:
    match type_:
        case inspect.Metadata():
            return str((type_.extra or {}).get("unit", "")) or _unit(type_.type)
        case inspect.UnionType():
            return next(filter(None, map(_unit, type_.types)), "")
    return ""


def json_schema(root: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of penstock.yaml, for editors; `docs/penstock.schema.json` is this, of Settings."""
    schema = msgspec.json.schema(root)
    for definition in schema["$defs"].values():
        for shape in definition["properties"].values():
            for one in (shape, *shape.get("anyOf", ())):
                _as_written(one)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "penstock.yaml", **schema}


def _as_written(shape: dict[str, Any]) -> None:
    """Values with units are numbers in the structs and texts in the file."""
    if "items" in shape:
        _as_written(shape["items"])
    match shape.pop("x-unit", None):
        case "duration":
            shape |= {"type": "string", "pattern": DURATION_PATTERN}
            _default(shape, format_duration)
        case "amount":
            shape |= {"type": ["integer", "string"], "pattern": AMOUNT_PATTERN}
            _default(shape, format_amount)
        case "price":
            shape |= {"type": "string", "pattern": PRICE_PATTERN}
            _default(shape, format_price)
        case "moment":
            shape |= {"type": "string", "pattern": MOMENT_PATTERN}
            _default(shape, format_moment)
        case "rate":
            shape.clear()
            shape |= {"type": "string", "pattern": RATE_PATTERN}
        case "usd":
            shape |= {"type": ["number", "string"], "pattern": USD_PATTERN}
        case "percent":
            shape |= {"type": ["number", "string"], "pattern": PERCENT_PATTERN}
        case "size":
            shape |= {"type": "string", "pattern": SIZE_PATTERN}
            _default(shape, format_size)
        case "switch":
            del shape["type"]
            shape["enum"] = [True, False, "on", "off"]


def _default(shape: dict[str, Any], written: Callable[[Any], str]) -> None:
    """One of several shapes has none of its own."""
    if shape.get("default") is not None:
        shape["default"] = written(shape["default"])
