"""What Claude refuses alike at Anthropic's door and at Bedrock's: thinking; schemas of tools and formats."""

import re
from typing import Any, Final

from penstock.testing.double import Json
from penstock.testing.vendor import Refused

_THINKS_NOT: Final = re.compile(r"claude-(?:instant|2|3-(?:opus|sonnet|haiku|5))")
_UNBOUND: Final = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
        *("patternProperties", "oneOf"),
    }
)


def check_thinks(model: str, prefix: str = "") -> None:
    """anthropics/claude-code#2507: extended thinking came with 3.7."""
    if _THINKS_NOT.search(model):
        raise Refused(f"{prefix}'{model}' does not support thinking.")


def check_tool(schema: Json, path: str, *, strict: bool, prefix: str = "") -> None:
    """anthropics/claude-code#5973; BerriAI/litellm#39115"""
    if not {"oneOf", "allOf", "anyOf"}.isdisjoint(schema):
        wrong = "input_schema does not support oneOf, allOf, or anyOf at the top level"
        raise Refused(f"{prefix}{path}: {wrong}")
    if strict:
        check_bound(schema, path, prefix)


def check_bound(schema: Any, path: str, prefix: str = "") -> None:
    """A schema that the answer is bound to."""
    if isinstance(schema, list):
        for inner in schema:
            check_bound(inner, path, prefix)
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        wrong = "For 'object' type, 'additionalProperties' must be explicitly set to false"
        raise Refused(f"{prefix}{path}: {wrong}")
    unknown = sorted(_UNBOUND & schema.keys()) + ["minItems"] * (schema.get("minItems", 0) not in {0, 1})
    if unknown:
        raise Refused(f"{prefix}{path}: For '{kind}' type, property '{unknown[0]}' is not supported")
    for key in ("properties", "$defs", "definitions"):
        check_bound(list((schema.get(key) or {}).values()), path, prefix)
    for key in ("items", "anyOf", "allOf"):
        check_bound(schema.get(key), path, prefix)
