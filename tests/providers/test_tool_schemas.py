"""Schemas of tools: what is put right, and that nothing a client may write breaks it."""

from typing import Any

import jsonschema_rs
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.tool_schemas import for_openai, is_plain_object, is_strict, plain_root, with_items

JSON = dict[str, Any]

KEYS = [
    *("type", "properties", "required", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions"),
    *("additionalProperties", "not", "enum", "description"),
]
SCALARS = st.sampled_from(["object", "array", "string", "a", "#/$defs/a", "#", "#/", False, None, 7])
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "a"]), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(KEYS), GARBAGE))
def test_any_json_is_told_without_a_fault(schema: JSON) -> None:
    before = msgspec.json.encode(schema)
    told, _ = for_openai(schema)
    is_strict(told)
    assert told["type"] == "object"
    assert is_plain_object(told)
    assert with_items(told) is told
    assert msgspec.json.encode(schema) == before, "the client's own stays as it was"


@given(st.dictionaries(st.sampled_from(KEYS), GARBAGE), GARBAGE)
def test_arrays_that_say_of_what_they_are_mean_the_same(schema: JSON, value: Any) -> None:
    try:
        before = jsonschema_rs.validator_for(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return
    assert jsonschema_rs.validator_for(with_items(schema)).is_valid(value) is before.is_valid(value)


def test_references_in_a_circle_end() -> None:
    turn = {"anyOf": [{"$ref": "#/$defs/turn"}, {"$ref": "#/$defs/turn"}, {"properties": {"a": {}}}]}
    plain, is_wider = plain_root({"$ref": "#/$defs/turn", "$defs": {"turn": turn}})
    assert plain["properties"] == {"a": {}}
    assert is_wider
    plain, is_wider = plain_root({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {}}}}})
    assert plain["properties"] == {"a": {}}
    assert not is_wider, "a reference alone loses nothing"


def test_a_deep_schema_is_left_as_it_is_below() -> None:
    schema: JSON = {"type": "array"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}, "anyOf": [schema]}
        schema.pop("anyOf")
    for_openai({"anyOf": [schema]})
    assert not is_strict(schema)


def test_what_is_required_in_every_case_stays_so() -> None:
    both = {"properties": {"a": {"const": 1}, "b": {}}, "required": ["a", "b"]}
    one = {"properties": {"a": {"const": 2}}, "required": ["a"]}
    plain, is_wider = plain_root({"type": "object", "required": ["z"], "oneOf": [both, one]})
    assert is_wider
    assert plain == {
        "type": "object",
        "properties": {"a": {"anyOf": [{"const": 1}, {"const": 2}]}, "b": {}},
        "required": ["z", "a"],
    }
