"""JSON schemas of tools as vendors take them; what they refuse, they refuse for the whole request.

object_schema     the root is an object and says so: `{"type": "object"}` is legal at Anthropic, and usual for
                  MCP's tools; OpenAI wants `properties`
plain_root        nothing but an object at the root: OpenAI and Claude refuse anyOf and its like there
                  (anthropics/claude-code#5973, code-yeongyu/senpi#1947)
with_items        arrays say of what: OpenAI refuses others (spacelift-io/spacectl#402), Claude takes them
for_openai        all of these
is_plain_object   a root as OpenAI takes it of a format, too
is_strict         whether OpenAI takes it as strict
INPUT             what a custom tool is given, where all tools are functions
"""

from typing import Any

import msgspec

from penstock.types.conversation import JSON

INPUT: JSON = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

_CHOICES = ("anyOf", "oneOf")
_WIDENED = frozenset({*_CHOICES, "enum", "not"})
_NOT_AT_ROOT = _WIDENED | {"allOf", "$ref"}
_NAMED = frozenset({"properties", "$defs", "definitions"})
_INNER = frozenset({"items", "additionalProperties", "anyOf", "oneOf", "allOf"})
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas, 2026-11-20
_NOT_STRICT = frozenset(
    {
        *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
        *("contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems", "prefixItems"),
    }
)
_DEEPEST = 64  # below it a schema stays as it is

_sorted = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.json.Encoder().encode


def object_schema(schema: JSON | None) -> JSON:
    if not schema:
        return {"type": "object", "properties": {}}
    if "properties" in schema and schema.get("type") == "object":
        return schema
    return {"properties": {}, **schema, "type": "object"}


def for_openai(schema: JSON | None) -> tuple[JSON, bool]:
    """All of that, and whether it allows more than `schema` does."""
    plain, is_wider = plain_root(object_schema(schema))
    return with_items(plain), is_wider


def plain_root(schema: JSON) -> tuple[JSON, bool]:
    """The properties of all alternatives together, and whether that allows more than `schema` does."""
    if _NOT_AT_ROOT.isdisjoint(schema):
        return schema, False
    gathered = _Gathered(schema)
    required = gathered.add(schema, _DEEPEST)
    kept = {key: value for key, value in schema.items() if key not in _NOT_AT_ROOT}
    kept["properties"] = {name: _either(list(given.values())) for name, given in gathered.properties.items()}
    if required:
        kept["required"] = required
    return kept, gathered.is_wider


def is_plain_object(schema: JSON) -> bool:
    return schema.get("type") == "object" and _NOT_AT_ROOT.isdisjoint(schema)


def _either(schemas: list[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


class _Gathered:
    """The properties that stand anywhere in the alternatives of a root, each with its schemas."""

    def __init__(self, root: JSON) -> None:
        self._root = root
        self._followed: set[str] = set()  # references
        self.properties: dict[str, dict[bytes, Any]] = {}
        self.is_wider = False

    def add(self, schema: JSON, depth: int) -> list[str]:
        """What is required in every case."""
        if not _WIDENED.isdisjoint(schema):
            self.is_wider = True
        for name, inner in _members(schema.get("properties")).items():
            self.properties.setdefault(name, {})[_sorted(inner)] = inner
        required = dict.fromkeys(_names(schema.get("required")))
        if depth == 0:
            return list(required)
        for branch in (*_list(schema.get("allOf")), self._target(schema.get("$ref"))):
            if isinstance(branch, dict):
                required |= dict.fromkeys(self.add(branch, depth - 1))
        for key in _CHOICES:
            branches = [branch for branch in _list(schema.get(key)) if isinstance(branch, dict)]
            first, *rest = [self.add(branch, depth - 1) for branch in branches] or [[]]
            everywhere = set(first).intersection(*rest)
            required |= dict.fromkeys(name for name in first if name in everywhere)
        return list(required)

    def _target(self, ref: Any) -> Any:
        """What a reference inside the schema points to, the first time."""
        if not isinstance(ref, str) or not ref.startswith("#/") or ref in self._followed:
            return None
        self._followed.add(ref)
        found: Any = self._root
        for step in ref[2:].split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def with_items(schema: JSON) -> JSON:
    """`schema` itself where nothing is lacking."""
    if b'"array"' not in _encode(schema):  # much faster than to look
        return schema
    made: JSON = _with_items(schema, _DEEPEST)
    return made


def _with_items(schema: Any, depth: int) -> Any:
    if depth == 0:
        return schema
    if schema.__class__ is list:
        made = [_with_items(inner, depth - 1) for inner in schema]
        return made if any(new is not old for new, old in zip(made, schema, strict=True)) else schema
    if schema.__class__ is not dict:
        return schema
    changed: JSON = {}
    for key, value in schema.items():
        if key in _NAMED and value.__class__ is dict:
            inners = {name: _with_items(inner, depth - 1) for name, inner in value.items()}
            if any(inners[name] is not value[name] for name in value):
                changed[key] = inners
        elif key in _INNER and (made := _with_items(value, depth - 1)) is not value:
            changed[key] = made
    if "items" not in schema and _is(schema, "array"):
        changed["items"] = {}
    return {**schema, **changed} if changed else schema


def is_strict(schema: Any, depth: int = _DEEPEST) -> bool:
    """Every object closed, every property required, every schema of a kind that a model can be bound to."""
    if depth == 0:
        return False
    if isinstance(schema, list):
        return all(is_strict(inner, depth - 1) for inner in schema)
    if not isinstance(schema, dict) or not _NOT_STRICT.isdisjoint(schema):
        return False
    if "$ref" in schema:
        return len(schema) == 1
    if "type" not in schema and "anyOf" not in schema:
        return False
    properties = _members(schema.get("properties"))
    if properties or _is(schema, "object"):
        is_closed = schema.get("additionalProperties") is False
        if not is_closed or set(properties) != set(_names(schema.get("required"))):
            return False
    inner = [*properties.values(), *_list(schema.get("anyOf"))]
    for key in ("$defs", "definitions"):
        inner += _members(schema.get(key)).values()
    if _is(schema, "array"):
        inner.append(schema.get("items"))
    return is_strict(inner, depth - 1)


# A client's schema may be anything: what is wrong with it, the vendor says.


def _is(schema: JSON, kind: str) -> bool:
    given = schema.get("type")
    return given == kind or (isinstance(given, list) and kind in given)


def _members(value: Any) -> JSON:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    return [name for name in _list(value) if isinstance(name, str)]
