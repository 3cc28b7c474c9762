"""Answers of a JSON schema from vendors of OpenAI's dialect that know `json_object` at most.

no tools in the request     the schema becomes the parameters of one tool that must be called; its arguments
                              are the answer (`ForcedReader`)
tools, or a schema whose    `json_object`, and the schema in a system message: a forced tool would keep the
  root is no object           model from calling the others

Either way the gateway checks the answer against the schema (gateway/structured.py): `Outgoing.schema`.
"""

from typing import Any

import msgspec

from penstock.dialects.openai_calls import JSON
from penstock.providers.formats import in_words
from penstock.providers.openai_completions import CompletionReader
from penstock.providers.tool_schemas import plain_root
from penstock.types.events import Answer, Chunk

_DEFAULT_NAME = "answer"


def schema_of(body: JSON) -> JSON | None:
    """The schema that a chat request wants its answer to have."""
    wanted = body.get("response_format")
    if wanted is None or wanted["type"] != "json_schema":
        return None
    schema: JSON | None = wanted["json_schema"].get("schema")
    return schema


def force(body: JSON, schema: JSON) -> str | None:
    """Rewrites `body` in place; the name of the tool that must be called, None where no tool is forced."""
    wanted = body.pop("response_format")["json_schema"]
    if not body.get("tools") and schema.get("type") == "object":
        name = wanted.get("name") or _DEFAULT_NAME
        function: JSON = {"name": name, "parameters": plain_root(schema)[0]}
        function["description"] = wanted.get("description") or "Gives the answer to the user."
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = {"type": "function", "function": {"name": name}}
        body.pop("parallel_tool_calls", None)
        return str(name)
    body["response_format"] = {"type": "json_object"}
    body["messages"] = [{"role": "system", "content": in_words(schema)}, *body["messages"]]
    return None


class ForcedReader(CompletionReader):
    """Gives the arguments of the one call as the text of the answer."""

    __slots__ = ()

    def event(self, data: bytes) -> Chunk | None:
        chunk = super().event(data)
        if chunk is not None:
            for choice in chunk.body["choices"]:
                _unwrap(choice, choice.get("delta") or {})
        return chunk

    def answer(self, body: bytes) -> Answer:
        answer = super().answer(body)
        for choice in answer.body["choices"]:
            _unwrap(choice, choice["message"])
        return answer


def _unwrap(choice: JSON, message: JSON) -> None:
    calls = message.pop("tool_calls", None)
    if calls:
        pieces = [_arguments(call) for call in calls]
        message["content"] = "".join([message.get("content") or "", *pieces])
    if choice.get("finish_reason") == "tool_calls":
        choice["finish_reason"] = "stop"


def _arguments(call: Any) -> str:
    arguments = (call.get("function") or {}).get("arguments")
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
