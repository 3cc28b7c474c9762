"""The JSON schema in the repository is that of the code, and the table of later settings is sound."""

import json
from pathlib import Path

from penstock.config import schema
from penstock.config.fields import json_schema

FILE = Path(__file__).parents[2] / "docs" / "penstock.schema.json"


def test_the_json_schema_is_current() -> None:
    current = json.loads(json.dumps(json_schema(schema.Settings)))  # tuples become lists
    assert json.loads(FILE.read_text("utf-8")) == current, "run `make docs`"


def test_values_with_units_are_texts_in_the_json_schema() -> None:
    definitions = json_schema(schema.Settings)["$defs"]
    assert definitions["Server"]["properties"]["body_limit"]["default"] == "16MiB"
    assert definitions["Timeouts"]["properties"]["total"]["type"] == "string"


def test_later_settings_are_not_settings_already() -> None:
    definitions = json_schema(schema.Settings)["$defs"]
    sections = {
        "server": "Server",
        "providers": "Provider",
        "deployments": "Deployment",
        "routes": "Route",
        "keys": "Key",
        "telemetry": "Telemetry",
    }
    for path in schema.LATER:
        parts = path.split(".")
        name = sections.get(parts[0], "Settings")
        rest = parts if name == "Settings" else [part for part in parts[1:] if part != "*"]
        if len(rest) == 1:
            assert rest[0] not in definitions[name]["properties"], path
