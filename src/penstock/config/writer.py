"""Settings as a file might say them: units as text, defaults left out, secrets by their presence only."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from penstock.config.units import (
    format_amount,
    format_duration,
    format_money,
    format_percent,
    format_price,
    format_size,
)

HIDDEN: Final = "(set)"
_UNITS: Final = {
    "duration": format_duration,
    "size": format_size,
    "amount": format_amount,
    "price": format_price,
    "usd": format_money,
    "percent": format_percent,
}


class Written(Mapping[str, dict[str, Any]]):
    """Groups as the file might say them: each is written when it is asked for, for there may be many."""

    def __init__(self, groups: Mapping[str, msgspec.Struct]) -> None:
        self._groups = groups

    def __getitem__(self, name: str) -> dict[str, Any]:
        return as_written(self._groups[name])

    def __contains__(self, name: object) -> bool:
        return name in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


_info = functools.cache(inspect.type_info)


def as_written(group: msgspec.Struct, *, hides: bool = True) -> dict[str, Any]:
    """hides: secrets are shown as `(set)`; else as they are."""
    kind = _info(type(group))
    said: dict[str, Any] = {}
    for field in kind.fields if isinstance(kind, inspect.StructType) else ():
        value = getattr(group, field.name)
        if field.required or value != _default(field):
            said[field.encode_name] = _value(value, field.type, {}, hides=hides)
    return said


def _default(field: inspect.Field) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _value(value: Any, kind: inspect.Type, extra: dict[str, Any], *, hides: bool) -> Any:
    while isinstance(kind, inspect.Metadata):
        extra = extra | (kind.extra or {})
        kind = kind.type
    match value:
        case msgspec.Struct():
            return as_written(value, hides=hides)
        case dict():
            below = kind.value_type if isinstance(kind, inspect.DictType) else inspect.AnyType()
            return {key: _value(one, below, extra, hides=hides) for key, one in value.items()}
        case tuple() | list():
            item = next(
                (one.item_type for one in _members(kind) if isinstance(one, inspect.VarTupleType)),
                inspect.AnyType(),
            )
            return [_value(one, item, extra, hides=hides) for one in value]
        case None | bool():
            return value
    for member in (kind, *_members(kind)):
        while isinstance(member, inspect.Metadata):
            extra = extra | (member.extra or {})
            member = member.type  # noqa: PLW2901 - unwrapped
    if hides and extra.get("secret"):
        return HIDDEN
    unit = _UNITS.get(extra.get("unit", ""))
    return unit(value) if unit is not None else value


def _members(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return tuple(kind.types) if isinstance(kind, inspect.UnionType) else (kind,)
