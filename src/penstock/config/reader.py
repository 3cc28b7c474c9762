"""Reads a YAML tree into the structs of schema.py and collects every mistake on the way.

msgspec stops at the first error; a person wants them all. So the YAML nodes are walked here, side by side
with msgspec's description of the structs.

    node                  becomes
    --------------------  -----------------------------------------------------------------------------
    unknown key           a problem: what is allowed, did you mean; or `not in this release`
    wrong value           a problem; the field keeps its default, so that the walk goes on
    missing key           a problem; the struct is left out of the result (its name stays known)
    "${NAME}" in a text   the variable's value; `${NAME:-text}` gives a default, `$${` is a plain `${`
    a key twice           a problem (YAML itself would take the last one, in silence)

Values that came from a variable are never shown in a message: they may be secrets.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from msgspec import inspect

from penstock.config.errors import Problem
from penstock.config.fields import REGISTRIES
from penstock.config.schema import LATER, LATER_VALUES, Settings
from penstock.config.units import (
    format_rate,
    parse_amount,
    parse_duration,
    parse_moment,
    parse_money,
    parse_percent,
    parse_price,
    parse_rate,
    parse_size,
)
from penstock.lib.registry import hint

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{[^}]*\}?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)
_TAG: Final = "tag:yaml.org,2002:"
_BUILTIN: Final = "builtin:"
_MIN_NODES: Final = 10_000  # a file may always have so many
_UNITS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "duration": ("a duration", parse_duration),
    "size": ("a size", parse_size),
    "amount": ("an amount", parse_amount),
    "price": ("a price", parse_price),
    "moment": ("a moment", parse_moment),
    "rate": ("a rate", lambda text: format_rate(parse_rate(text))),
    "usd": ("an amount of money", parse_money),
    "percent": ("a percentage", parse_percent),
}
# libyaml's parser, where PyYAML was built with it (its wheels are): 100,000 keys in seconds, not in ten.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Wrong(Exception):
    """A value cannot be used; the problem is already noted."""


@dataclass
class Reading:
    """What was read. `names`: section -> every name written there, usable or not."""

    settings: Settings
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)


def read(text: str, env: Mapping[str, str]) -> Reading:
    """Never raises for what a user may have written: see `problems`."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as exc:
        return Reading(Settings(), [_not_yaml(exc)])
    # Aliases of aliases can make a small file endless; without them a node is at least a character.
    return _read(root, _Walk(env, most_nodes=max(_MIN_NODES, len(text))))


def read_value(value: Any) -> Reading:
    """The same for a value as JSON has it. It has no lines, and may name no variables."""
    return _read(_node(value), _Walk({}, most_nodes=_MIN_NODES))


def _read(root: yaml.Node | None, walk: "_Walk") -> Reading:
    settings = Settings()
    if root is not None and not (isinstance(root, yaml.ScalarNode) and root.tag == f"{_TAG}null"):
        try:
            settings = walk.value(root, _settings(), "")
        except _Wrong:
            settings = Settings()
    return Reading(settings, walk.problems, walk.lines, walk.names)


@functools.cache
def _settings() -> inspect.Type:
    """Five milliseconds to make, and each team of the store is read by it."""
    return inspect.type_info(Settings)


_NOWHERE: Final = yaml.Mark("", 0, 0, 0, None, 0)


def _node(value: Any) -> yaml.Node:
    match value:
        case dict():
            pairs = [(_node(str(key)), _node(below)) for key, below in value.items()]
            return yaml.MappingNode(f"{_TAG}map", pairs, _NOWHERE, _NOWHERE)
        case list() | tuple():
            return yaml.SequenceNode(f"{_TAG}seq", list(map(_node, value)), _NOWHERE, _NOWHERE)
        case bool():
            return yaml.ScalarNode(f"{_TAG}bool", "true" if value else "false", _NOWHERE, _NOWHERE)
        case None:
            return yaml.ScalarNode(f"{_TAG}null", "", _NOWHERE, _NOWHERE)
        case int() | float():
            return yaml.ScalarNode(f"{_TAG}float", str(value), _NOWHERE, _NOWHERE)
    return yaml.ScalarNode(f"{_TAG}str", str(value), _NOWHERE, _NOWHERE)


def _not_yaml(exc: yaml.YAMLError) -> Problem:
    mark = getattr(exc, "problem_mark", None)
    what = getattr(exc, "problem", None) or str(exc)
    return Problem("", f"not YAML: {what}", mark.line + 1 if mark else None)


class _Walk:
    def __init__(self, env: Mapping[str, str], *, most_nodes: int) -> None:
        self._env = env
        self._most_nodes = most_nodes
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self.names: dict[str, set[str]] = {}
        self._nodes = 0

    # --- by type ---

    def value(self, node: yaml.Node, kind: inspect.Type, path: str) -> Any:
        """Raises _Wrong after noting why."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count(node, path)
        extra: dict[str, Any] = {}
        while isinstance(kind, inspect.Metadata):
            extra |= kind.extra or {}
            kind = kind.type
        match kind:
            case inspect.UnionType():
                return self._union(node, kind, path)
            case inspect.StructType():
                return self._struct(node, kind, path)
            case inspect.DictType():
                return self._dict(node, kind, path)
            case inspect.VarTupleType():
                return self._list(node, kind, path)
        if "unit" in extra:
            return self._with_unit(node, extra["unit"], path)
        match kind:
            case inspect.LiteralType():
                return self._one_of(node, [str(value) for value in kind.values], path)
            case inspect.StrType():
                if "registry" in extra:
                    return self._one_of(node, list(REGISTRIES[extra["registry"]]), path)
                return self._text(node, kind, path)
            case inspect.BoolType():
                return self._switch(node, path)
            case inspect.IntType() | inspect.FloatType():
                return self._number(node, kind, path)
        raise AssertionError(f"the schema uses {kind}, which the reader does not know")

    def _count(self, node: yaml.Node, path: str, nodes: int = 1) -> None:
        """Raises _Wrong once they are too many."""
        is_first = self._nodes <= self._most_nodes
        self._nodes += nodes
        if self._nodes > self._most_nodes:
            if is_first:
                self._note(node, path, "the file is too large, or its aliases nest without end")
            raise _Wrong

    def _struct(self, node: yaml.Node, kind: inspect.StructType, path: str) -> Any:
        fields = {one.encode_name: one for one in kind.fields}
        values: dict[str, Any] = {}
        is_whole = True
        seen: set[str] = set()
        for key, key_node, value_node in self._entries(node, path, "settings"):
            where = f"{path}.{key}" if path else key
            seen.add(key)
            if key not in fields:
                self._note(key_node, where, _unknown(where, key, list(fields)))
                continue
            if _is_null(value_node):
                if fields[key].required:
                    seen.discard(key)
                continue  # `key:` with nothing behind it means the default
            try:
                values[key] = self.value(value_node, fields[key].type, where)
            except _Wrong:
                is_whole = is_whole and not fields[key].required
        for name, one in fields.items():
            if one.required and name not in seen:
                self._note(node, path, f"{name} is missing")
                is_whole = False
        if not is_whole:
            raise _Wrong
        return kind.cls(**values)

    def _dict(self, node: yaml.Node, kind: inspect.DictType, path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        is_named = isinstance(kind.key_type, inspect.Metadata) and bool(
            (kind.key_type.extra or {}).get("name")
        )
        for key, key_node, value_node in self._entries(node, path, "names"):
            where = f"{path}.{key}"
            if is_named:
                self.names.setdefault(path, set()).add(key)
                if problem := _bad_name(key, path):
                    self._note(key_node, where, problem)
                    continue
            try:
                values[key] = self.value(value_node, kind.value_type, where)
            except _Wrong:
                continue
        return values

    def _list(self, node: yaml.Node, kind: inspect.VarTupleType, path: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, path, f"must be a list, not {_sort(node)}")
            raise _Wrong
        if not node.value and kind.min_length:
            self._note(node, path, "must not be empty")
            raise _Wrong
        values = []
        is_whole = True
        for index, item in enumerate(node.value):
            try:
                values.append(self.value(item, kind.item_type, f"{path}[{index}]"))
            except _Wrong:
                is_whole = False
        if not is_whole:
            raise _Wrong
        return tuple(values)

    def _union(self, node: yaml.Node, kind: inspect.UnionType, path: str) -> Any:
        """Which member is meant shows in the kind of node; an alternative of plain texts names them."""
        members = {
            _shape(member): member for member in kind.types if not isinstance(member, inspect.NoneType)
        }
        found = members.get(type(node).__name__)
        if found is not None:
            return self.value(node, found, path)
        if len(members) == 1:
            return self.value(node, next(iter(members.values())), path)
        wanted = " or ".join(_wanted(member) for member in members.values())
        self._note(node, path, f"must be {wanted}, not {_shown(node)}")
        raise _Wrong

    # --- scalars ---

    def _text(self, node: yaml.Node, kind: inspect.StrType, path: str) -> str:
        text = self._scalar(node, path, "text")
        if node.tag in (f"{_TAG}bool", f"{_TAG}null"):
            self._note(node, path, f"must be text; put {text!r} in quotes")
            raise _Wrong
        if len(text) < (kind.min_length or 0):
            self._note(node, path, "must not be empty")
            raise _Wrong
        return text

    def _one_of(self, node: yaml.Node, allowed: list[str], path: str) -> str:
        text = self._scalar(node, path, "one of " + ", ".join(allowed))
        if text in allowed:
            return text
        later = LATER_VALUES.get(_pattern(path), ())
        if text in later:
            self._note(node, path, f"{text}: not in this release; there are: {', '.join(allowed)}")
        else:
            shown = "the value of a variable" if _has_variable(node) else repr(text)
            near = "" if _has_variable(node) else hint(text, [*allowed, *later])
            self._note(node, path, f"{shown} is not one of {', '.join(allowed)}{near}")
        raise _Wrong

    def _switch(self, node: yaml.Node, path: str) -> bool:
        text = self._scalar(node, path, "on or off").lower()
        if text in ("on", "true", "yes"):
            return True
        if text in ("off", "false", "no"):
            return False
        self._note(node, path, f"must be on or off, not {_shown(node)}")
        raise _Wrong

    def _number(self, node: yaml.Node, kind: inspect.IntType | inspect.FloatType, path: str) -> float:
        is_whole = isinstance(kind, inspect.IntType)
        what = "a whole number" if is_whole else "a number"
        text = self._scalar(node, path, what)
        try:
            if not re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text, re.ASCII | re.IGNORECASE):
                raise ValueError
            value: float = int(text) if is_whole else float(text)
        except ValueError:
            self._note(node, path, f"must be {what}, not {_shown(node)}")
            raise _Wrong from None
        bounds: tuple[tuple[float | None, Callable[[float], bool], str], ...] = (
            (kind.ge, lambda bound: value >= bound, "at least"),
            (kind.gt, lambda bound: value > bound, "above"),
            (kind.le, lambda bound: value <= bound, "at most"),
            (kind.lt, lambda bound: value < bound, "below"),
        )
        for bound, holds, word in bounds:
            if bound is not None and not (math.isfinite(value) and holds(bound)):
                self._note(node, path, f"must be {word} {bound:g}, not {_shown(node)}")
                raise _Wrong
        return value

    def _with_unit(self, node: yaml.Node, unit: str, path: str) -> Any:
        what, parse = _UNITS[unit]
        text = self._scalar(node, path, what)
        try:
            return parse(text)
        except ValueError as exc:
            self._note(node, path, f"{_shown(node)}: {exc}")
            raise _Wrong from None

    def _scalar(self, node: yaml.Node, path: str, what: str) -> str:
        """The text as written, with variables filled in."""
        if not isinstance(node, yaml.ScalarNode):
            self._note(node, path, f"must be {what}, not {_shown(node)}")
            raise _Wrong
        is_good = True

        def fill(found: re.Match[str]) -> str:
            nonlocal is_good
            name, default = found[1], found[2]
            if found[0] == "$${":
                return "${"
            if name is None:
                self._note(node, path, f"{found[0]} is no variable; write ${{NAME}} or ${{NAME:-default}}")
            elif name in self._env and (self._env[name] or default is None):
                return self._env[name]
            elif default is not None:
                return default
            else:
                self._note(
                    node,
                    path,
                    f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}",
                )
            is_good = False
            return ""

        text = _VARIABLE.sub(fill, str(node.value))
        if not is_good:
            raise _Wrong
        return text

    # --- mappings ---

    def _entries(self, node: yaml.Node, path: str, what: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """key, its node, the value's node; `<<` merges first, each key once."""
        if not isinstance(node, yaml.MappingNode):
            place = "the file" if not path else "this"
            self._note(node, path, f"{place} must be a mapping of {what}, not {_sort(node)}")
            raise _Wrong
        seen: set[str] = set()
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged += self._merged(value_node, path, ())
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, path, "a key must be text")
                continue
            key = str(key_node.value)
            if key in seen:
                self._note(key_node, f"{path}.{key}" if path else key, "is written twice")
                continue
            seen.add(key)
            yield key, key_node, value_node
        for key_node, value_node in merged:
            key = str(key_node.value)
            if key not in seen:
                seen.add(key)
                yield key, key_node, value_node

    def _merged(
        self, node: yaml.Node, path: str, within: tuple[yaml.Node, ...]
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """What `<<` puts in: what comes first wins. `within`: the nodes that led here."""
        if node in within:
            self._note(node, path, "`<<` leads back to itself")
            return []
        within = (*within, node)
        if isinstance(node, yaml.SequenceNode):
            return [pair for item in node.value for pair in self._merged(item, path, within)]
        if not isinstance(node, yaml.MappingNode):
            self._note(node, path, f"`<<` takes a mapping, or a list of them, not {_shown(node)}")
            return []
        own = [pair for pair in node.value if pair[0].tag != f"{_TAG}merge"]
        inner = [value for key, value in node.value if key.tag == f"{_TAG}merge"]
        self._count(node, path, len(node.value))
        return own + [pair for value in inner for pair in self._merged(value, path, within)]

    def _note(self, node: yaml.Node, path: str, message: str) -> None:
        self.problems.append(Problem(path, message, node.start_mark.line + 1))


def _unknown(where: str, key: str, allowed: list[str]) -> str:
    if planned := LATER.get(_pattern(where)):
        return f"not in this release (planned: {planned}); remove it"
    return f"there is no such setting; allowed: {', '.join(allowed)}{hint(key, allowed)}"


_SECTIONS: Final = ("providers", "deployments", "routes", "keys")


def _pattern(path: str) -> str:
    """`routes.a.b.targets[0].when` -> `routes.*.targets.*.when`: names may hold dots."""
    section, _, rest = path.partition(".")
    if section not in _SECTIONS or not rest:
        return path
    for known in (*LATER, *LATER_VALUES):
        head, star, tail = known.partition(".*.")
        if star and head == section:
            expression = re.escape(tail).replace(r"\.\*\.", r"\[\d+\]\.")
            if re.search(rf"\.{expression}$", rest):
                return known
    return path


def _bad_name(name: str, section: str) -> str | None:
    if not _NAME.fullmatch(name) or len(name) > 200:
        return "a name has letters, digits and . _ : / @ + - and begins with a letter or digit"
    if name.startswith(_BUILTIN):
        return f"names that begin with {_BUILTIN} are the program's own"
    if section == "providers" and "/" in name:
        return "a provider's name has no slash: `<provider>/<model>` is split there"
    return None


def _shape(kind: inspect.Type) -> str:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    match kind:
        case inspect.StructType() | inspect.DictType():
            return "MappingNode"
        case inspect.VarTupleType():
            return "SequenceNode"
    return "ScalarNode"


def _wanted(kind: inspect.Type) -> str:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    match kind:
        case inspect.StructType():
            return "a mapping of " + ", ".join(one.encode_name for one in kind.fields)
        case inspect.VarTupleType():
            return "a list"
        case inspect.LiteralType():
            return " or ".join(repr(value) for value in kind.values)
        case inspect.IntType():
            return "a whole number"
        case inspect.BoolType():
            return "on or off"
    return "text"


def _has_variable(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and "${" in str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == f"{_TAG}null")


def _sort(node: yaml.Node) -> str:
    """For a place that takes no single value: the one that is there may be a secret, in a key's stead."""
    match node:
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
    return "nothing" if _is_null(node) else "a single value"


def _shown(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return _sort(node)
    if _has_variable(node):
        return "what its variable holds"
    text = str(node.value)
    return "nothing" if _is_null(node) else repr(text if len(text) <= 60 else text[:57] + "...")
