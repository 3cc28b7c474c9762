"""Schemas as Anthropic takes them, held against the official SDK's own transformation."""

from typing import Any

import pytest
from anthropic import transform_schema

from penstock.providers.anthropic_models import abilities
from penstock.providers.anthropic_schemas import closed

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string", "format": "email"}}, "required": ["a"]},
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 1}},
    },
    {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}},
    {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/b"}},
        "$defs": {"b": {"type": "object", "properties": {}}},
    },
    {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"const": "z"}}},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_as_the_sdk_does_it(schema: dict[str, Any]) -> None:
    lost: list[str] = []
    assert closed(schema, lost) == transform_schema(schema)
    assert lost == []


def test_limits_become_words() -> None:
    lost: list[str] = []
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 9, "description": "A number."},
            "s": {"type": "string", "format": "color", "pattern": "a+"},
            "l": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 4},
        },
        "additionalProperties": {"type": "string"},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }
    made = closed(schema, lost)
    assert made["properties"]["n"] == {
        "type": "integer",
        "description": "A number.\n\n{minimum: 1, maximum: 9}",
    }
    assert made["properties"]["s"]["description"] == '{format: "color", pattern: "a+"}'
    assert made["properties"]["l"]["items"] == {"type": "string", "description": "{maxLength: 3}"}
    assert made["additionalProperties"] is False
    assert "$schema" not in made
    assert len(lost) == 6


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-7-sonnet-20250219", "budgets off sampling both prefill forces"),
        ("claude-3-5-haiku-latest", "budgets off sampling both prefill forces"),
        ("claude-sonnet-4-20250514", "budgets off sampling both prefill forces"),
        ("claude-opus-4-1-20250805", "budgets off sampling prefill forces"),
        ("claude-haiku-4-5-20251001", "budgets off sampling prefill formats forces"),
        ("claude-opus-4-5", "budgets off efforts sampling prefill formats forces"),
        ("claude-sonnet-4-6", "adaptive budgets off efforts sampling formats forces"),
        ("claude-opus-4-7", "adaptive off efforts formats forces"),
        ("anthropic/claude-opus-4.8", "adaptive off efforts system formats forces"),
        ("claude-sonnet-5", "adaptive off efforts system formats forces"),
        ("claude-sonnet-5-5-20260928", "adaptive off efforts system formats"),
        ("claude-opus-5-5", "adaptive efforts system formats"),
        ("claude-haiku-5-5", "adaptive off efforts system formats forces"),
        ("claude-fable-5-1", "adaptive efforts system formats"),
        ("claude-mythos-preview", "adaptive efforts system formats forces"),
        ("some-copy", "budgets off sampling both prefill forces"),
    ],
)
def test_what_models_take(model: str, expected: str) -> None:
    can = abilities(model)
    found = {
        "adaptive": can.adaptive,
        "budgets": can.budgets,
        "off": can.off is not None,
        "efforts": bool(can.efforts),
        "sampling": can.sampling,
        "both": can.both_samplings,
        "prefill": can.prefill,
        "system": can.system_turns,
        "formats": can.formats,
        "forces": can.forces,
    }
    assert " ".join(name for name, has in found.items() if has) == expected


def test_who_signs() -> None:
    assert abilities("claude-opus-5").signs
    assert abilities("some-copy").signs
    assert not abilities("deepseek-reasoner").signs
    assert not abilities("Kimi-K2").signs
