"""JSON schemas as Anthropic's structured output takes them (output_config.format, strict tools).

What it enforces stays; what it refuses becomes a sentence in the description, so that the model still reads
it (the official SDK's transform_schema does the same):

    objects        additionalProperties: false
    oneOf          anyOf
    minItems       0 and 1 stay
    format         of strings: the ten it knows
    anything else that limits a value (minimum, pattern, maxLength ...)      in the description: `lost`
"""

from typing import Any

import msgspec

JSON = dict[str, Any]

_KEPT = frozenset(
    {"type", "enum", "const", "default", "title", "description", "$ref", "required", "nullable"}
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NOTES = frozenset({"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"})

_encode = msgspec.json.Encoder().encode


def closed(schema: JSON, lost: list[str]) -> JSON:
    """A copy of `schema` that Anthropic takes; `lost` gets the limits that it does not enforce."""
    written: JSON = {}
    limits: list[str] = []
    for key, value in schema.items():
        match key:
            case "properties" | "$defs" | "definitions" if isinstance(value, dict):
                written[key] = {name: _inner(inner, lost) for name, inner in value.items()}
            case "items" if isinstance(value, dict):
                written[key] = closed(value, lost)
            case "anyOf" | "oneOf" | "allOf" if isinstance(value, list):
                name = "anyOf" if key == "oneOf" else key
                written[name] = [_inner(inner, lost) for inner in value]
            case "minItems" if value in (0, 1):
                written[key] = value
            case "format" if value in _FORMATS:
                written[key] = value
            case "additionalProperties":
                pass
            case _ if key in _KEPT:
                written[key] = value
            case _ if key not in _NOTES:
                limits.append(f"{key}: {_encode(value).decode()}")
    kind = written.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in written:
        written["additionalProperties"] = False
        written.setdefault("properties", {})
    if limits:
        lost += limits
        said = written.get("description")
        note = "{" + ", ".join(limits) + "}"
        written["description"] = f"{said}\n\n{note}" if said else note
    return written


def _inner(schema: Any, lost: list[str]) -> Any:
    return closed(schema, lost) if isinstance(schema, dict) else schema
