"""GET /openapi.json: every endpoint of the door, from the structs that check requests.

The schemas of requests are those that `decode` applies, so they cannot drift from it. An answer's schema says
what every client can build on and leaves the vendors' further fields open. Rules between fields
(`stream_options` needs `stream`) cannot be said in JSON Schema: a request that breaks one is answered 400, as
the document says.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from penstock.protocols import (
    anthropic_schema,
    cohere_embed,
    ollama,
    openai_embeddings,
    openai_moderations,
    openai_schema,
    rerank,
    responses_schema,
    tei,
)

JSON = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"


class Row(NamedTuple):
    """One endpoint. `body`: the struct of its JSON request, or several; `answer`: the schema of its 200."""

    path: str
    method: Literal["get", "post", "delete"]
    title: str
    body: Any = None
    answer: JSON = {"type": "object"}  # noqa: RUF012 - never changed
    streams: str = ""  # the content type of its streamed answer
    error: str = "OpenAIError"
    is_open: bool = False  # needs no key
    statuses: tuple[int, ...] = ()  # beside 200 and those of `_STATUSES`


def _object(required: str, **properties: JSON) -> JSON:
    return {"type": "object", "required": required.split(), "properties": properties}


def _array(items: JSON) -> JSON:
    return {"type": "array", "items": items}


_TEXT: JSON = {"type": "string"}
_WHOLE: JSON = {"type": "integer"}
_EVENTS = "text/event-stream"
_EVENT = _object(
    "data", data=_TEXT, event=_TEXT
)  # one of the stream: OpenAPI 3.2's reading of the media type
_MODEL = _object(
    "id object created owned_by", id=_TEXT, object={"const": "model"}, created=_WHOLE, owned_by=_TEXT
)
_CHOICES = _array(_object("index finish_reason", index=_WHOLE, finish_reason=_TEXT))
_RANKED = _array(_object("index relevance_score", index=_WHOLE, relevance_score={"type": "number"}))

_OPENAI = (
    Row(
        "/v1/chat/completions",
        "post",
        "A chat completion",
        openai_schema.ChatBody,
        _object("id object created model choices", id=_TEXT, created=_WHOLE, model=_TEXT, choices=_CHOICES),
        _EVENTS,
    ),
    Row(
        "/v1/completions",
        "post",
        "A text completion",
        openai_schema.CompletionBody,
        _object("id object created model choices", id=_TEXT, created=_WHOLE, model=_TEXT, choices=_CHOICES),
        _EVENTS,
    ),
    Row(
        "/v1/embeddings",
        "post",
        "Embeddings",
        openai_embeddings.Body,
        _object(
            "object data model usage",
            data=_array(_object("object index embedding")),
            usage={"type": "object"},
        ),
    ),
    Row(
        "/v1/models",
        "get",
        "The models this key may use",
        answer=_object("object data", object={"const": "list"}, data=_array(_MODEL)),
    ),
    Row(
        "/v1/moderations",
        "post",
        "Moderations",
        openai_moderations.Body,
        _object("id model results", results=_array({"type": "object"})),
    ),
    Row("/v1/models/{model}", "get", "One model", answer=_MODEL, statuses=(404,)),
)
_RERANK = (
    Row(
        "/v1/rerank",
        "post",
        "Documents by relevance (Jina, Cohere v1)",
        rerank.BodyV1,
        _object("id results", results=_RANKED),
        error="CohereError",
    ),
    Row(
        "/v2/rerank",
        "post",
        "Documents by relevance (Cohere v2)",
        rerank.BodyV2,
        _object("id results", results=_RANKED),
        error="CohereError",
    ),
    Row(
        "/rerank",
        "post",
        "Documents by relevance (TEI; Jina's shape with `documents`)",
        (tei.RerankBody, rerank.BodyV1),
        {"anyOf": [_array(_object("index score")), _object("id results", results=_RANKED)]},
        error="TEIError",
    ),
    Row(
        "/predict",
        "post",
        "Labels of texts (TEI)",
        tei.PredictBody,
        {"type": "array"},
        error="TEIError",
    ),
    Row(
        "/embed",
        "post",
        "Embeddings (TEI)",
        tei.EmbedBody,
        _array(_array({"type": "number"})),
        error="TEIError",
    ),
)
_RESPONSES = (
    Row(
        "/v1/responses",
        "post",
        "A response",
        responses_schema.CreateBody,
        _object(
            "id object created_at status model output usage",
            id=_TEXT,
            object={"const": "response"},
            output=_array(_object("type", type=_TEXT)),
        ),
        _EVENTS,
    ),
    Row(
        "/v1/responses/input_tokens",
        "post",
        "How many tokens a prompt is",
        responses_schema.CountBody,
        _object("object input_tokens", input_tokens=_WHOLE),
    ),
)
_ANTHROPIC = (
    Row(
        "/v1/messages",
        "post",
        "A message (Anthropic)",
        anthropic_schema.MessagesBody,
        _object("id type role content model stop_reason usage", id=_TEXT, content=_array({"type": "object"})),
        _EVENTS,
        error="AnthropicError",
    ),
    Row(
        "/v1/messages/count_tokens",
        "post",
        "How many tokens a prompt is (Anthropic)",
        anthropic_schema.CountBody,
        _object("input_tokens", input_tokens=_WHOLE),
        error="AnthropicError",
    ),
)
_COHERE = tuple(
    Row(
        f"/v{version}/embed",
        "post",
        f"Embeddings (Cohere v{version})",
        cohere_embed.Body,
        _object("id embeddings response_type"),
        error="CohereError",
    )
    for version in (1, 2)
)
_OLLAMA = tuple(
    Row(path, "post", title, body, answer, "application/x-ndjson" if streams else "", "OllamaError")
    for path, title, body, answer, streams in (
        ("/api/chat", "A chat (Ollama)", ollama.ChatBody, _object("model message done"), True),
        ("/api/generate", "A completion (Ollama)", ollama.GenerateBody, _object("model response done"), True),
        ("/api/embed", "Embeddings (Ollama)", ollama.EmbedBody, _object("model embeddings"), False),
        ("/api/embeddings", "An embedding (Ollama)", ollama.EmbeddingsBody, _object("embedding"), False),
    )
)
_HEALTH = (
    Row(
        "/health",
        "get",
        "State of the models",
        answer=_object("status version", status=_TEXT, version=_TEXT),
        is_open=True,
    ),
    Row("/health/live", "get", "200 while the process answers", answer=_object("status"), is_open=True),
    Row(
        "/health/ready",
        "get",
        "200 once some model can answer",
        answer=_object("status"),
        is_open=True,
        statuses=(503,),
    ),
)
ROWS: tuple[Row, ...] = (*_OPENAI, *_RESPONSES, *_ANTHROPIC, *_OLLAMA, *_COHERE, *_RERANK, *_HEALTH)

# What any request may be answered beside 200; a body adds those of `_BODY_STATUSES`.
_STATUSES = (401, 403, 404, 429, 500, 502, 503, 504)
_BODY_STATUSES = (400, 402, 408, 413, 415)

_ERRORS: JSON = {
    "OpenAIError": _object(
        "error",
        error=_object(
            "message type code", message=_TEXT, type=_TEXT, param={"type": ["string", "null"]}, code=_TEXT
        ),
    ),
    "AnthropicError": _object(
        "type error request_id",
        type={"const": "error"},
        error=_object("type message", type=_TEXT, message=_TEXT),
        request_id=_TEXT,
    ),
    "CohereError": _object("message", message=_TEXT, id=_TEXT),
    "OllamaError": _object("error", error=_TEXT),
    "TEIError": _object("error error_type", error=_TEXT, error_type=_TEXT),
}


def document(version: str, rows: tuple[Row, ...] = ROWS) -> JSON:
    structs = [struct for row in rows for struct in _structs(row)]
    schemas, components = msgspec.json.schema_components(structs, ref_template=_REFERENCE)
    by_struct = dict(zip(structs, schemas, strict=True))
    paths: dict[str, JSON] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method] = _operation(
            row, [by_struct[struct] for struct in _structs(row)]
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {**_ERRORS, **components},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _structs(row: Row) -> tuple[Any, ...]:
    if row.body is None:
        return ()
    return row.body if isinstance(row.body, tuple) else (row.body,)


def _operation(row: Row, bodies: list[JSON]) -> JSON:
    answer: JSON = {"application/json": {"schema": row.answer}}
    if row.streams:
        answer[row.streams] = {"schema": _EVENT if row.streams == _EVENTS else {}}
    responses: Mapping[str, JSON] = {
        "200": {"description": row.title, "content": answer},
        **{str(status): _failure(row, status) for status in _statuses(row)},
    }
    operation: JSON = {"summary": row.title, "responses": responses}
    if row.is_open:
        operation["security"] = []
    names = [part[1:].partition("}")[0] for part in row.path.split("/") if part.startswith("{")]
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if bodies:
        body = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _statuses(row: Row) -> list[int]:
    if row.is_open:
        return sorted(row.statuses)
    return sorted({*row.statuses, *_STATUSES, *(_BODY_STATUSES if row.body is not None else ())})


def _failure(row: Row, status: int) -> JSON:
    schema = row.answer if row.is_open else {"$ref": f"#/components/schemas/{row.error}"}
    return {"description": f"HTTP {status}", "content": {"application/json": {"schema": schema}}}
