"""GET /admin/v1/openapi.json: the table of endpoints, with the schemas that check requests."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.admin.table import PREFIX, Endpoint
from penstock.types.identity import ROLES

JSON = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (400, 401, 403, 404, 405, 429, 500, 503)
_WRITES: Final = (409, 413, 415)
_TEXT: Final = {"type": "string"}
_ERROR: Final[JSON] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": _TEXT,
            },
        }
    },
}


def document(rows: Sequence[Endpoint], version: str) -> JSON:
    kinds = [kind for row in rows for kind in (row.body, row.query, row.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = dict(zip(map(str, kinds), schemas, strict=True))
    paths: dict[str, JSON] = {}
    for row in rows:
        parameters = _query(components[_name(by_kind[str(row.query)])]) if row.query is not None else []
        paths.setdefault(PREFIX + row.path, {})[row.method.lower()] = _operation(row, by_kind, parameters)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock administration", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **components},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-penstock_session"},
            },
        },
        "security": [{"key": []}, {"session": []}],
    }


def _operation(row: Endpoint, by_kind: dict[str, JSON], parameters: list[JSON]) -> JSON:
    statuses = sorted({*_ALWAYS, *(_WRITES if row.method != "GET" else ())})
    operation: JSON = {
        "summary": row.title,
        "description": _roles(row),
        "parameters": [*_path(row), *parameters, *_headers(row)],
        "responses": {
            str(row.status): _content(row.title, by_kind[str(row.answer)], row.other_type),
            **{str(one): _content(f"HTTP {one}", {"$ref": "#/components/schemas/Error"}) for one in statuses},
        },
    }
    if row.body is not None:
        schema = by_kind[str(row.body)]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _roles(row: Endpoint) -> str:
    said = f"Roles: {', '.join(role for role in ROLES if role in row.who.everywhere)}."
    over = [role for role in ROLES if role in row.who.over_team]
    return f"{said} Over their own team: {', '.join(over)}." if over else said


def _content(title: str, schema: JSON, other: str | None = None) -> JSON:
    content: JSON = {"application/json": {"schema": schema}}
    if other is not None:
        content[other] = {"schema": _TEXT}
    return {"description": title, "content": content}


def _path(row: Endpoint) -> list[JSON]:
    names = [part[1:].partition("}")[0] for part in row.path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]


def _query(component: JSON) -> list[JSON]:
    return [
        {"name": name, "in": "query", "required": False, "schema": _bare(schema)}
        for name, schema in component["properties"].items()
    ]


def _bare(schema: JSON) -> JSON:
    """A query has no null: what may be left out is left out."""
    kinds = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return kinds[0] if kinds else {name: value for name, value in schema.items() if name != "default"}


def _headers(row: Endpoint) -> list[JSON]:
    headers = {"POST": "Idempotency-Key", "PUT": "If-Match", "PATCH": "If-Match", "DELETE": "If-Match"}
    name = headers.get(row.method)
    return [] if name is None else [{"name": name, "in": "header", "required": False, "schema": _TEXT}]


def _name(reference: JSON) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
