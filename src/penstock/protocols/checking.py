"""Checks a decoded JSON object against a msgspec type; what it refuses, it explains.

The good case is one call into msgspec. Only when that refuses is the type walked again, along the path of the
error, to say what is allowed there:

    msgspec says                                          the client reads
    ----------------------------------------------------  --------------------------------------------------
    Invalid value 'sysem' - at `$.messages[0].role`       `messages[0].role` is 'sysem'; allowed: assistant,
                                                          ... tool, user; did you mean 'system'?
    Object missing required field `content` - at `$....`  `messages[0].content` is required.
    Expected `int | null`, got `str` - at `$.n`           `n` must be an integer, not a string.
    Expected `float` <= 2.0 - at `$.temperature`          `temperature` is 3; it must be from 0 to 2.

A value is quoted only when it is short: an error message is no place for a prompt.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from penstock.lib.registry import hint
from penstock.types.errors import InvalidRequest

T = TypeVar("T")

_AT = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`\Z")
_STEP = re.compile(r"\[(\d+)\]|(\[\.\.\.\])|\.?([^.\[]+)")
_KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
}
_QUOTED_CHARS = 40

Step = int | str | None  # list index, key, or "some value of this mapping"


class Checker(Generic[T]):
    """`Checker(SomeStruct).check(body)` gives the struct or raises InvalidRequest with `param`."""

    __slots__ = ("_type",)

    def __init__(self, type_: type[T]) -> None:
        self._type = type_

    def check(self, body: dict[str, Any]) -> T:
        try:
            return msgspec.convert(body, self._type)
        except msgspec.ValidationError as exc:
            raise self._explain(str(exc), body) from None

    def _explain(self, text: str, body: dict[str, Any]) -> InvalidRequest:
        found = _AT.match(text)
        if found is None:
            return InvalidRequest(text)
        what = found["what"]
        path = found["path"] or ""
        missing = _MISSING.match(what)
        if missing:
            param = f"{path}.{missing[1]}".lstrip(".")
            return InvalidRequest(f"`{param}` is required.", param=param)
        steps = list(_steps(path))
        types = [inspect.type_info(self._type)]
        value: Any = body
        for position, step in enumerate(steps):
            types, value = _descend(types, value, step)
            if step is None and not found["key"]:
                key, value = _culprit(types, value)
                path = _joined(steps[:position] if key is None else [*steps[:position], key])
        param = path.lstrip(".")
        if found["key"]:
            return InvalidRequest(f"`{param}` has a key that is not allowed: {what.lower()}.", param=param)
        return InvalidRequest(_sentence(param, value, types, what), param=param or None)


def _steps(path: str) -> Iterator[Step]:
    for index, some, key in _STEP.findall(path):
        yield int(index) if index else None if some else key


def _joined(steps: Sequence[Step]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _descend(types: list[inspect.Type], value: Any, step: Step) -> tuple[list[inspect.Type], Any]:
    """The types that are possible, and the value that is there, one step further down."""
    below: list[inspect.Type] = []
    for type_ in _alternatives(types):
        match type_, step:
            case inspect.StructType(), str():
                if step == type_.tag_field and type_.tag is not None:
                    below.append(inspect.LiteralType((type_.tag,)))
                elif _is_tagged(type_, value):
                    below.extend(field.type for field in type_.fields if field.encode_name == step)
            case inspect.ListType(), int():
                below.append(type_.item_type)
            case inspect.DictType(), None:
                below.append(type_.value_type)
    if isinstance(step, int) and isinstance(value, list) and step < len(value):
        return below, value[step]
    if isinstance(step, str) and isinstance(value, dict):
        return below, value.get(step)
    return below, value


def _is_tagged(type_: inspect.StructType, value: Any) -> bool:
    return type_.tag is None or not isinstance(value, dict) or value.get(type_.tag_field or "") == type_.tag


def _culprit(types: list[inspect.Type], mapping: Any) -> tuple[str | None, Any]:
    """Msgspec does not say which key it refused: the first whose value does not fit."""
    for key, value in mapping.items() if isinstance(mapping, dict) else ():
        for type_ in _alternatives(types):
            if not _fits(type_, value):
                return key, value
    return None, mapping


def _fits(type_: inspect.Type, value: Any) -> bool:
    match type_:
        case inspect.StrType():
            return isinstance(value, str) and len(value) <= (type_.max_length or len(value))
        case inspect.FloatType() | inspect.IntType():
            return isinstance(value, int | float) and _in_range(type_, value)
        case _:
            return True


def _in_range(type_: inspect.FloatType | inspect.IntType, value: float) -> bool:
    return (
        (type_.ge is None or value >= type_.ge)
        and (type_.gt is None or value > type_.gt)
        and (type_.le is None or value <= type_.le)
        and (type_.lt is None or value < type_.lt)
    )


def _alternatives(types: Sequence[inspect.Type]) -> Iterator[inspect.Type]:
    for type_ in types:
        if isinstance(type_, inspect.UnionType):
            yield from _alternatives(type_.types)
        elif isinstance(type_, inspect.Metadata):
            yield from _alternatives([type_.type])
        else:
            yield type_


def _sentence(param: str, value: Any, types: list[inspect.Type], what: str) -> str:
    possible = list(_alternatives(types))
    choices = sorted(
        {
            str(choice)
            for type_ in possible
            if isinstance(type_, inspect.LiteralType)
            for choice in type_.values
        }
    )
    if choices and isinstance(value, str) and value not in choices:
        shapes = " (or an object)" if any(isinstance(t, inspect.StructType) for t in possible) else ""
        near = hint(value, choices) or "."
        return f"`{param}` is {quoted(value)}; allowed: {', '.join(choices)}{shapes}{near}"
    fitting = [
        type_ for type_ in possible if isinstance(value, _python_kinds(type_)) and _is_bool(type_, value)
    ]
    if not fitting:
        wanted = sorted({_kind_name(type_) for type_ in possible} - {"null"})
        if choices:
            wanted = [f"one of: {', '.join(choices)}", *(kind for kind in wanted if kind != "a string")]
        return f"`{param}` must be {' or '.join(wanted) or 'another value'}, not {_of_kind(value)}."
    for type_ in fitting:
        limit = _limit(type_, value, _description(types))
        if limit:
            return f"`{param}` {limit}."
    return f"`{param}`: {what}."


def _description(types: Sequence[inspect.Type]) -> str:
    """What is said of such values in words; empty where nothing is."""
    for type_ in types:
        if isinstance(type_, inspect.Metadata):
            return str((type_.extra_json_schema or {}).get("description", ""))
        if isinstance(type_, inspect.UnionType) and (said := _description(type_.types)):
            return said
    return ""


def _limit(type_: inspect.Type, value: Any, description: str) -> str | None:
    match type_:
        case inspect.IntType() | inspect.FloatType() if not _in_range(type_, value):
            if type_.ge is not None and type_.le is not None:
                return f"is {value}; it must be from {_plain(type_.ge)} to {_plain(type_.le)}"
            bounds = (
                ("at least", type_.ge),
                ("above", type_.gt),
                ("at most", type_.le),
                ("below", type_.lt),
            )
            said = " and ".join(f"{word} {_plain(limit)}" for word, limit in bounds if limit is not None)
            return f"is {value}; it must be {said}"
        case inspect.StrType() if type_.pattern and not re.search(type_.pattern, value):
            pattern = type_.pattern.removeprefix(r"\A").removesuffix(r"\Z")
            return f"is {quoted(value)}; it must {f'be {description}' if description else f'match {pattern}'}"
        case inspect.StrType() | inspect.ListType() | inspect.DictType():
            unit = "characters" if isinstance(value, str) else "items"
            if type_.min_length and len(value) < type_.min_length:
                return "must not be empty" if not value else f"must have at least {type_.min_length} {unit}"
            if type_.max_length is not None and len(value) > type_.max_length:
                return f"has {len(value)} {unit}; at most {type_.max_length} are allowed"
    return None


def _plain(limit: float | None) -> str:
    return str(int(limit)) if limit is not None and limit == int(limit) else str(limit)


def _python_kinds(type_: inspect.Type) -> tuple[type, ...]:
    match type_:
        case inspect.StrType():
            return (str,)
        case inspect.BoolType():
            return (bool,)
        case inspect.IntType():
            return (int,)
        case inspect.FloatType():
            return (int, float)
        case inspect.ListType():
            return (list,)
        case inspect.DictType() | inspect.StructType():
            return (dict,)
        case inspect.AnyType():
            return (object,)
        case inspect.LiteralType():
            return tuple({type(value) for value in type_.values})
        case _:
            return ()


def _is_bool(type_: inspect.Type, value: Any) -> bool:
    """Python's booleans are integers; JSON's are not."""
    return not isinstance(value, bool) or isinstance(type_, inspect.BoolType | inspect.AnyType)


def _kind_name(type_: inspect.Type) -> str:
    kinds = _python_kinds(type_)
    if not kinds:
        return "null"
    if isinstance(type_, inspect.FloatType):
        return "a number"
    return _KINDS.get(kinds[0], "a value")


def _of_kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a value")


def quoted(value: str) -> str:
    return repr(value) if len(value) <= _QUOTED_CHARS else repr(value[:_QUOTED_CHARS] + "...")


def check_base64(data: str, param: str) -> None:
    """Raises InvalidRequest for what is no base64 (standard alphabet, padded)."""
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError as exc:  # binascii.Error is one; so is a text that is not ASCII
        raise InvalidRequest(f"`{param}` is not valid base64: {exc}.", param=param) from exc


def check_data_url(url: str, param: str) -> None:
    """Raises InvalidRequest for a data: URL that holds no base64; any other URL is not looked at."""
    if url.startswith("data:"):
        head, comma, data = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest(f"`{param}` must be `data:<media type>;base64,<data>`.", param=param)
        check_base64(data, param)
