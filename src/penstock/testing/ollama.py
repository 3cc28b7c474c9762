"""A double of Ollama's own API around the scripted model of `brain.py`.

    async with OllamaDouble() as up:
        ollama.AsyncClient(host=up.url).chat(...)

Written from the project's documentation and the types of its client 0.6. It streams unless told not to, as
JSON lines, and refuses what the real server refuses: Go's JSON decoder is strict about types and ignores
unknown fields. Tool arguments are objects, both ways; a tool's result is a message of role tool; images are
base64. `models` are those it has: any other is a 404, unless it takes `any_model`.

/api/chat, /api/generate, /api/embed, /api/embeddings, /api/tags, /api/ps, /api/show, /api/version.
"""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from penstock.testing.brain import Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.double import Answer, Framing, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused, Vendor

_GO: Final = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
_DETAILS: Final = {
    "parent_model": "",
    "format": "gguf",
    "family": "test",
    "families": ["test"],
    "parameter_size": "1B",
    "quantization_level": "Q4_K_M",
}
_ROLES: Final = frozenset(["system", "user", "assistant", "tool"])
_LEVELS: Final = frozenset(["low", "medium", "high", "max"])


class _Lines(Framing):
    content_type = "application/x-ndjson"
    is_text = False
    end = None

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        return data + b"\n"


_LINES: Final = _Lines()


class OllamaDouble(Vendor):
    base = ""

    def __init__(self, *, any_model: bool = True, thinks: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.any_model = any_model
        self.thinks = thinks  # whether its models can

    def key_of(self, request: Recorded) -> str | None:
        """It needs none."""
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    def error(self, status: int, message: str) -> Answer:
        return Answer({"error": message}, status=status)

    def respond(self, request: Recorded) -> Answer:
        match request.method, request.path:
            case "GET", "/api/version":
                return Answer({"version": "0.12.6"})
            case "GET", "/api/tags":
                return Answer({"models": [self._listed(name) for name in self.models]})
            case "GET", "/api/ps":
                more = {"expires_at": self._now(), "size_vram": 1, "context_length": 4096}
                return Answer({"models": [{**self._listed(name), **more} for name in self.models]})
            case "POST", "/api/show":
                self._model(request)
                return Answer(
                    {
                        "modelfile": "",
                        "template": "{{ .Prompt }}",
                        "details": _DETAILS,
                        "model_info": {"general.architecture": "test", "test.context_length": 4096},
                        "capabilities": ["completion", "tools", "vision", *(["thinking"] * self.thinks)],
                        "modified_at": self._now(),
                    }
                )
            case "POST", "/api/chat":
                return self._chat(request)
            case "POST", "/api/generate":
                return self._generate(request)
            case "POST", "/api/embed" | "/api/embeddings":
                return self._embed(request)
            case _:
                raise Refused("404 page not found", 404)

    def _listed(self, name: str) -> Json:
        return {
            "name": name,
            "model": name,
            "modified_at": self._now(),
            "size": 1,
            "digest": "0" * 64,
            "details": _DETAILS,
        }

    def _now(self) -> str:
        return dt.datetime.fromtimestamp(self.clock.wall(), dt.UTC).isoformat().replace("+00:00", "Z")

    def _model(self, request: Recorded) -> tuple[Json, str]:
        body = request.body
        if not isinstance(body, dict):
            raise Refused("missing request body" if not request.raw else "invalid character in request body")
        name = body.get("model", body.get("name"))
        if not isinstance(name, str) or not name:
            raise Refused("model is required" if not name else _wrong(name, "model", "string"))
        if not self.any_model and name not in self.models:
            raise Refused(f"model '{name}' not found", 404)
        return body, name

    # -- answering -----------------------------------------------------------------------------------

    def _chat(self, request: Recorded) -> Answer:
        body, name = self._model(request)
        messages = body.get("messages") or []
        if not isinstance(messages, list):
            raise Refused(_wrong(messages, "messages", "[]api.Message"))
        turns, system = _turns(messages)
        if not messages:  # the model is loaded, nothing is said
            empty = {"role": "assistant", "content": ""}
            loaded = {"model": name, "created_at": self._now(), "message": empty, "done": True}
            return Answer({**loaded, "done_reason": "load"})
        ask = _ask(body, turns, system, _tools(body), thinks=self.thinks)
        reply = self.think(ask, request.directives)
        parts: list[Json] = [
            {"role": "assistant", "content": "", "thinking": word} for word in words(reply.thought)
        ]
        parts += [{"role": "assistant", "content": word} for word in words(reply.text or reply.refusal)]
        calls = [call for call in reply.calls if call.text == "{}" or call.arguments]
        for number, call in enumerate(calls):
            function = {"index": number, "name": call.name, "arguments": call.arguments}
            made = {"id": self.new_id("call_"), "function": function}
            parts.append({"role": "assistant", "content": "", "tool_calls": [made]})
        whole: Json = {"role": "assistant", "content": reply.text or reply.refusal}
        if reply.thought:
            whole["thinking"] = reply.thought
        if calls:
            whole["tool_calls"] = [part["tool_calls"][0] for part in parts if "tool_calls" in part]
        base = {"model": name, "created_at": self._now()}
        end = self._end(ask, reply, request)
        if body.get("stream", True) is False:
            return Answer({**base, "message": whole, **end})
        lines = [{**base, "message": part, "done": False} for part in parts]
        last = {**base, "message": {"role": "assistant", "content": ""}, **end}
        return Answer({}, [*lines, last], framing=_LINES)

    def _generate(self, request: Recorded) -> Answer:
        body, name = self._model(request)
        prompt = body.get("prompt", "")
        if not isinstance(prompt, str):
            raise Refused(_wrong(prompt, "prompt", "string"))
        media = _images(body.get("images"), "images")
        turn = Turn("user", prompt, media=media)
        ask = _ask(body, [turn], [str(body.get("system") or "")], [], thinks=self.thinks)
        reply = self.think(ask, request.directives)
        text = reply.text or reply.refusal
        end = {**self._end(ask, reply, request), "context": [1, 2, 3]}
        if body.get("stream", True) is False:
            whole = {"response": text, **({"thinking": reply.thought} if reply.thought else {})}
            return Answer({"model": name, "created_at": self._now(), **whole, **end})
        events: list[Json] = [{"response": "", "thinking": word} for word in words(reply.thought)]
        events += [{"response": word} for word in words(text)]
        base = {"model": name, "created_at": self._now()}
        lines = [{**base, **event, "done": False} for event in events]
        return Answer({}, [*lines, {**base, "response": "", **end}], framing=_LINES)

    def _end(self, ask: Ask, reply: Reply, request: Recorded) -> Json:
        told = request.directives
        end: Json = {
            "done": True,
            "done_reason": told.text("finish") or ("length" if reply.finish == "length" else "stop"),
            "total_duration": 4_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": told.count("prompt-tokens") or ask.tokens,
            "prompt_eval_duration": 1_000_000,
            "eval_count": reply.tokens,
            "eval_duration": 2_000_000,
        }
        return {key: end[key] for key in ("done", "done_reason")} if told.flag("no-usage") else end

    def _embed(self, request: Recorded) -> Answer:
        body, name = self._model(request)
        if request.path == "/api/embeddings":
            return Answer({"embedding": list(_vector(str(body.get("prompt", "")), 8))})
        given = body.get("input")
        inputs = [given] if isinstance(given, str) else given
        if not isinstance(inputs, list) or any(not isinstance(one, str) for one in inputs):
            raise Refused("invalid input type")
        size = body.get("dimensions") or 8
        vectors = [list(_vector(one, size)) for one in inputs]
        count = sum(len(words(one)) for one in inputs)
        times = {"total_duration": 2_000_000, "load_duration": 1_000_000, "prompt_eval_count": count}
        return Answer({"model": name, "embeddings": vectors, **times})


def _vector(text: str, size: int) -> Iterator[float]:
    for at in range(size):
        yield ((sum(map(ord, text)) * (at + 3) + len(text)) % 97 - 48) / 100


# -- reading ---------------------------------------------------------------------------------------------


def _wrong(value: Any, path: str, wanted: str) -> str:
    """The words of Go's decoder."""
    given = _GO.get(type(value), "null")
    return f"json: cannot unmarshal {given} into Go struct field ChatRequest.{path} of type {wanted}"


def _ask(body: Json, turns: list[Turn], system: list[str], tools: list[Tool], *, thinks: bool) -> Ask:
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise Refused(_wrong(options, "options", "map[string]interface {}"))
    limit = options.get("num_predict")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise Refused('option "num_predict" must be of type integer')
    stop = options.get("stop") or []
    if not isinstance(stop, list):
        raise Refused('option "stop" must be of type array')
    think = body.get("think")
    if not isinstance(think, bool | None) and think not in _LEVELS:
        raise Refused(f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)')
    if think is None:
        think = thinks  # server/routes.go, ChatHandler: who can think does so unasked
    elif think and not thinks:
        raise Refused(f'"{body.get("model")}" does not support thinking')
    if not isinstance(body.get("stream", True), bool | None):
        raise Refused(_wrong(body["stream"], "stream", "bool"))
    shape = body.get("format")
    if shape not in {None, "", "json"} if not isinstance(shape, dict) else False:
        raise Refused(f'invalid format: "{shape}"; expected "json" or a valid JSON Schema object')
    return Ask(
        turns=tuple(turns),
        system="\n".join(filter(None, system)),
        tools=() if shape else tuple(tools),  # its grammar lets no call through: ollama/ollama#11037
        schema=shape if isinstance(shape, dict) else None,
        wants_json=shape == "json",
        thinking=bool(think),
        max_tokens=limit if isinstance(limit, int) and limit >= 0 else None,
        stop=tuple(stop),
    )


def _turns(messages: list[Any]) -> tuple[list[Turn], list[str]]:
    turns: list[Turn] = []
    system: list[str] = []
    for message in messages:
        if not isinstance(message, dict):
            raise Refused(_wrong(message, "messages", "api.Message"))
        role, content = message.get("role"), message.get("content") or ""
        if role not in _ROLES:
            raise Refused(f'invalid role "{role}"')
        if not isinstance(content, str):
            raise Refused(_wrong(content, "messages.content", "string"))
        media = _images(message.get("images"), "messages.images")
        if role == "system":
            system.append(content)
        elif role == "tool":
            turns.append(
                Turn("user", results=(Result(str(message.get("tool_call_id", "")), content, media=media),))
            )
        else:
            own: Literal["user", "assistant"] = "assistant" if role == "assistant" else "user"
            calls = tuple(_call(call) for call in message.get("tool_calls") or ())
            turns.append(Turn(own, content, calls, media=media))
    return turns, system


def _call(call: Any) -> Call:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Refused(_wrong(function, "messages.tool_calls.function", "api.ToolCallFunction"))
    arguments = function.get("arguments")
    if not isinstance(arguments, dict):
        kind = "api.ToolCallFunctionArguments"
        raise Refused(_wrong(arguments, "messages.tool_calls.function.arguments", kind))
    return Call(str(call.get("id", "")), str(function.get("name", "")), arguments)


def _images(images: Any, path: str) -> tuple[str, ...]:
    for image in images or ():
        if not isinstance(image, str):
            raise Refused(_wrong(image, path, "api.ImageData"))
        try:
            base64.b64decode(image, validate=True)
        except binascii.Error:
            raise Refused("illegal base64 data at input byte 0") from None
    return ("image",) * len(images or ())


def _tools(body: Json) -> list[Tool]:
    made = []
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise Refused(_wrong(function, "tools.function", "api.ToolFunction"))
        schema = function.get("parameters") or {}
        if not isinstance(schema, dict):
            raise Refused(_wrong(schema, "tools.function.parameters", "api.ToolFunctionParameters"))
        if not re.fullmatch(r".+", str(function.get("name", ""))):
            raise Refused("tool name is required")
        made.append(Tool(function["name"], function.get("description") or "", schema))
    return made


def main(arguments: list[str] | None = None) -> None:
    by_hand(OllamaDouble, parser("ollama", "A double of Ollama's API."), arguments)


if __name__ == "__main__":
    main()
