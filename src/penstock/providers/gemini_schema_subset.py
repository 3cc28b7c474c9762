"""JSON Schema as Gemini takes it.

    subset(schema)      for `parameters`: OpenAPI's Schema object, UPPERCASE types; for models before Gemini 2
    narrowed(schema)    for `responseJsonSchema`: JSON Schema with the keywords that Gemini documents

One unknown keyword fails the whole call, so both leave out what is not known:

    $ref              replaced by what it points to, DEPTH levels deep; a deeper one is any value
    const             enum of one
    type: [t, null]   nullable (subset)
    allOf             merged, as far as properties and required go
    oneOf             anyOf
    the rest          left out; `lossy` says so, where it would have bound the answer
"""

from typing import Any

import msgspec

JSON = dict[str, Any]

DEPTH = 8
SIZE = 10_000  # nodes: references to references can grow without end

_SUBSET = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties"),
        *("required", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example"),
        *("anyOf", "propertyOrdering", "default", "items", "minimum", "maximum"),
    }
)
_JSON_SCHEMA = frozenset(
    {
        *("type", "format", "title", "description", "enum", "items", "prefixItems", "minItems", "maxItems"),
        *("minimum", "maximum", "anyOf", "properties", "additionalProperties", "required"),
        *("propertyOrdering",),
    }
)
_SAYS_NOTHING = frozenset(
    {"$schema", "$id", "$defs", "definitions", "$comment", "$anchor", "examples", "default", "example"}
    | {"deprecated", "readOnly", "writeOnly", "title", "additionalProperties", "strict"}
)
_FORMATS = {"STRING": {"enum", "date-time"}, "NUMBER": {"float", "double"}, "INTEGER": {"int32", "int64"}}


def subset(schema: JSON) -> JSON:
    return _Cleaner(schema, upper=True).object(schema, 0)


def narrowed(schema: JSON) -> tuple[JSON, bool]:
    """The schema, and whether it binds the answer less than it did."""
    cleaner = _Cleaner(schema, upper=False)
    return cleaner.object(schema, 0), cleaner.lossy


class _Cleaner:
    def __init__(self, root: JSON, *, upper: bool) -> None:
        self._root = root
        self._upper = upper
        self._known = _SUBSET if upper else _JSON_SCHEMA
        self._nodes = 0
        self.lossy = False

    def any(self, schema: Any, depth: int) -> JSON:
        if isinstance(schema, dict):
            return self.object(schema, depth)
        if schema is False:
            self.lossy = True
        return {}  # true: any value

    def object(self, schema: JSON, depth: int) -> JSON:
        self._nodes += 1
        if self._nodes > SIZE:
            self.lossy = True
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._target(reference)
            if target is None or depth >= DEPTH:
                self.lossy = True
                return {"type": "OBJECT"} if self._upper else {}
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return self.object({**target, **beside}, depth + 1)
        if isinstance(schema.get("allOf"), list):
            schema = self._merged(schema)
        out: JSON = {}
        for key, value in schema.items():
            if key == "const":
                out["enum"] = [value]
                out.setdefault("type", _type_of(value))
            elif key == "oneOf":
                out["anyOf"] = [self.any(inner, depth) for inner in _list(value)]
            elif key == "properties" and isinstance(value, dict):
                out[key] = {name: self.any(inner, depth) for name, inner in value.items()}
            elif key == "items":
                out[key] = self.any(value, depth)
            elif key in ("anyOf", "prefixItems") and key in self._known:
                out[key] = [self.any(inner, depth) for inner in _list(value)]
            elif key == "additionalProperties" and key in self._known:
                out[key] = value if isinstance(value, bool) else self.any(value, depth)
            elif key in self._known:
                out[key] = value
            elif key not in _SAYS_NOTHING:
                self.lossy = True
        return self._as_openapi(out) if self._upper else out

    def _target(self, reference: str) -> JSON | None:
        found: Any = self._root
        if not reference.startswith("#"):
            return None
        for step in reference[1:].split("/")[1:]:
            if not isinstance(found, dict):
                return None
            found = found.get(step.replace("~1", "/").replace("~0", "~"))
        return found if isinstance(found, dict) else None

    def _merged(self, schema: JSON) -> JSON:
        """Several schemas that all must hold, as one that says most of it."""
        out = {key: value for key, value in schema.items() if key != "allOf"}
        for given in _list(schema["allOf"]):
            part = given if isinstance(given, dict) else {}
            hops = 0
            while isinstance(part.get("$ref"), str) and hops < DEPTH:
                part = self._target(part["$ref"]) or {}
                hops += 1
            for key, value in part.items():
                if key == "properties" and isinstance(value, dict):
                    out[key] = {**out.get(key, {}), **value}
                elif key == "required" and isinstance(value, list):
                    out[key] = [*out.get(key, []), *(name for name in value if name not in out.get(key, []))]
                else:
                    out.setdefault(key, value)
        return out

    def _as_openapi(self, out: JSON) -> JSON:
        kind = out.get("type")
        if isinstance(kind, list):
            kinds = [one for one in kind if one != "null"]
            if len(kinds) < len(kind):
                out["nullable"] = True
            if len(kinds) > 1:
                out["anyOf"] = [{"type": str(one).upper()} for one in kinds]
                del out["type"]
            else:
                out["type"] = kinds[0] if kinds else "string"
        choices = out.get("anyOf")
        if isinstance(choices, list):
            real = [one for one in choices if one.get("type") != "NULL"]
            if len(real) < len(choices):
                out["nullable"] = True
                if len(real) == 1:
                    del out["anyOf"]
                    out = {**real[0], **out}
                else:
                    out["anyOf"] = real
        if isinstance(out.get("type"), str):
            out["type"] = out["type"].upper()
        if "enum" in out:
            out["enum"] = [value if isinstance(value, str) else _text(value) for value in _list(out["enum"])]
            out["type"] = "STRING"  # the only one that may have an enum
        kind = out.get("type")
        if "format" in out and out["format"] not in _FORMATS.get(str(kind), ()):
            del out["format"]
        if kind == "ARRAY":
            out.setdefault("items", {"type": "STRING"})
        if kind == "OBJECT" and "required" in out:
            out["required"] = [name for name in _list(out["required"]) if name in out.get("properties", {})]
        return out


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case None:
            return "null"
    return "object"
