"""An upstream that speaks the OpenAI dialect on a real socket and misbehaves exactly as a test says.

    async with Upstream() as up:
        up.url                                    # http://127.0.0.1:54321/v1 (or http+unix://, https://)
        up.behaviour = {"x-test-tokens": "3"}     # for every request from now on
        up.plan.append({"x-test-status": "429"})  # for the next request only
        up.requests[-1].events_sent               # what came of it

By hand: `python -m penstock.testing.upstream --port 9000`.

A directive (`DIRECTIVES`) is looked up in this order, the first that names it wins:

    1  the request's own headers                 straight from a client
    2  `metadata` of the JSON body               through a gateway, which forwards no foreign headers
    3  `plan`: one entry is taken per request    "fail twice, then answer"
    4  `behaviour`                               for the whole server

Answers are complete and valid (the official SDK's strict mode is the judge) unless a directive says
otherwise. The same request gets the same answer, ids aside. An event is one `data:` line; a chat stream's
first is the role chunk, the last of any stream is `[DONE]`.
"""

import base64
import hashlib
import itertools
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from penstock.lib.clock import Clock
from penstock.testing.double import DIRECTIVES, Answer, Directives, Double, Json, Recorded, by_hand, parser

__all__ = ["DEFAULT_TEXT", "DIRECTIVES", "Answer", "Directives", "Recorded", "Upstream", "main"]

DEFAULT_TEXT = "The gate opens and the water runs down to the turbine."
EMBEDDING_DIMENSIONS = 8


class Upstream(Double):
    """The OpenAI-compatible server. Its base URL ends with `/v1`."""

    def error(self, status: int, message: str) -> Answer:
        return _error(status, message)

    def answer(self, request: Recorded) -> Answer:
        """The decision, without the sending. Pure but for ids and the time of day."""
        route = request.method, request.path.removeprefix("/v1")
        match route:
            case "GET", "/health":
                return Answer({"status": "ok"})
            case _ if self.api_key is not None and (
                request.headers.get("authorization") != f"Bearer {self.api_key}"
            ):
                return _error(401, "Incorrect API key provided.")
            case "GET", "/models":
                now = int(self.clock.wall())
                models = [
                    {"id": m, "object": "model", "created": now, "owned_by": "test"} for m in self.models
                ]
                return Answer({"object": "list", "data": models})
            case "POST", "/chat/completions" | "/completions" | "/embeddings" | "/rerank" | "/moderations":
                if (status := request.directives.count("status")) is not None:
                    return _error(status, f"The test asked for {status}.")
                if not isinstance(request.body, dict):
                    return _error(400, "The body is not a JSON object.")
                decide = _ROUTES[route[1]]
                return decide(request.body, request.directives, self.clock)
            case _:
                return _error(404, f"Unknown path {request.method} {request.path}.")


# -- deciding: a request body and directives in, an answer out -----------------------------------------


def _error(status: int, message: str) -> Answer:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return Answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status=status)


def _words(text: str) -> list[str]:
    """Tokens: words, each with the white space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def _text_of(value: Any) -> str:
    """All text in a message list, a prompt or a list of content parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_text_of(item) for item in value)
    if isinstance(value, dict):
        return _text_of(value.get("content", value.get("text", "")))
    return str(value) if isinstance(value, int) else ""


def _tokens(body: Json, told: Directives) -> tuple[list[str], str]:
    """The tokens of the answer and its finish_reason."""
    text = told.text("content")
    if told.flag("echo"):
        text = msgspec.json.encode(body).decode()
    tokens = _words(DEFAULT_TEXT if text is None else text)
    wanted = told.count("tokens")
    if wanted is not None:
        spaced = [token if token[:1].isspace() else f" {token}" for token in tokens] or [" x"]
        tokens = (tokens + list(itertools.islice(itertools.cycle(spaced), wanted)))[:wanted]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int) and limit < len(tokens):
        return tokens[:limit], "length"
    return tokens, "stop"


def _usage(prompt: Any, completion_tokens: int, reasoning_tokens: int, told: Directives) -> Json:
    told_tokens = told.count("prompt-tokens")
    prompt_tokens = len(_words(_text_of(prompt))) if told_tokens is None else told_tokens
    usage: Json = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    if (cached := told.count("cached-tokens")) is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return usage


def _call(body: Json, told: Directives) -> tuple[str, str] | None:
    """The tool to call and its arguments as JSON text."""
    wanted = told.text("tool-call")
    if wanted is None:
        return None
    name, _, arguments = wanted.partition(":")
    if name in {"", "1", "true"}:
        tools = body.get("tools") or [{"function": {"name": "tool"}}]
        name = tools[0]["function"]["name"]
    return name, arguments or "{}"


def _logprob(token: str) -> Json:
    return {"token": token, "logprob": -0.25, "bytes": list(token.encode()), "top_logprobs": []}


def _logprobs(tokens: list[str], body: Json) -> Json | None:
    if not body.get("logprobs"):
        return None
    return {"content": [_logprob(token) for token in tokens], "refusal": None}


_ids = itertools.count(1)


def _stream_options(body: Json, told: Directives) -> tuple[bool, bool]:
    options = body.get("stream_options")
    asked = isinstance(options, dict) and options.get("include_usage") is True
    return body.get("stream") is True, asked and not told.flag("no-usage")


def _chat(body: Json, told: Directives, clock: Clock) -> Answer:
    if not isinstance(body.get("messages"), list):
        return _error(400, "messages: an array is required.")
    tokens, finish = _tokens(body, told)
    reasoning = _words(told.text("reasoning") or "")
    call = _call(body, told)
    if call is not None:
        tokens, finish = [], "tool_calls"
    finish = told.text("finish") or finish
    count = int(body.get("n") or 1)
    completion_tokens = count * (len(reasoning) + (len(_words(call[1])) + 1 if call else len(tokens)))
    usage = _usage(body["messages"], completion_tokens, count * len(reasoning), told)
    number = next(_ids)
    base = {"id": f"chatcmpl-{number}", "created": int(clock.wall()), "model": str(body.get("model", ""))}
    call_id = f"call_{number}"
    stream, with_usage = _stream_options(body, told)
    if stream:
        deltas = _chat_deltas(body, tokens, reasoning, call, call_id)
        base["object"] = "chat.completion.chunk"
        return Answer({}, list(_chunks(base, deltas, finish, count, usage if with_usage else None)))
    message: Json = {"role": "assistant", "content": None if call else "".join(tokens), "refusal": None}
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if call:
        function = {"name": call[0], "arguments": call[1]}
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    choices = [
        {"index": i, "message": message, "logprobs": _logprobs(tokens, body), "finish_reason": finish}
        for i in range(count)
    ]
    answer = base | {"object": "chat.completion", "choices": choices}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _chat_deltas(
    body: Json, tokens: list[str], reasoning: list[str], call: tuple[str, str] | None, call_id: str
) -> list[Json]:
    """The middle of a choice: `delta` and `logprobs` of each chunk."""
    deltas: list[Json] = [{"delta": {"role": "assistant", "content": ""}, "logprobs": None}]
    deltas += [{"delta": {"reasoning_content": piece}, "logprobs": None} for piece in reasoning]
    deltas += [{"delta": {"content": token}, "logprobs": _logprobs([token], body)} for token in tokens]
    if call is not None:
        function = {"name": call[0], "arguments": ""}
        opened = {"index": 0, "id": call_id, "type": "function", "function": function}
        deltas.append({"delta": {"tool_calls": [opened]}, "logprobs": None})
        for piece in _words(call[1]):
            part = {"index": 0, "function": {"arguments": piece}}
            deltas.append({"delta": {"tool_calls": [part]}, "logprobs": None})
    return deltas


def _chunks(base: Json, deltas: list[Json], finish: str, count: int, usage: Json | None) -> Iterator[Json]:
    """Every chunk of a stream: all choices in step, then their ends, then the usage."""
    extra = {} if usage is None else {"usage": None}
    ending: Json = {"delta": {}, "logprobs": None}
    if deltas and "text" in deltas[0]:
        ending = {"text": "", "logprobs": None}
    for delta in deltas:
        for index in range(count):
            yield base | {"choices": [{"index": index, **delta, "finish_reason": None}]} | extra
    for index in range(count):
        yield base | {"choices": [{"index": index, **ending, "finish_reason": finish}]} | extra
    if usage is not None:
        yield base | {"choices": [], "usage": usage}


def _completions(body: Json, told: Directives, clock: Clock) -> Answer:
    if "prompt" not in body:
        return _error(400, "prompt: required.")
    tokens, finish = _tokens(body, told)
    finish = told.text("finish") or finish
    count = int(body.get("n") or 1)
    usage = _usage(body["prompt"], count * len(tokens), 0, told)
    base = {
        "id": f"cmpl-{next(_ids)}",
        "object": "text_completion",
        "created": int(clock.wall()),
        "model": str(body.get("model", "")),
    }
    stream, with_usage = _stream_options(body, told)
    if stream:
        deltas: list[Json] = [{"text": token, "logprobs": None} for token in tokens]
        return Answer({}, list(_chunks(base, deltas, finish, count, usage if with_usage else None)))
    choices = [
        {"index": i, "text": "".join(tokens), "logprobs": None, "finish_reason": finish} for i in range(count)
    ]
    answer = base | {"choices": choices}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = b"".join(hashlib.sha256(f"{i}:{text}".encode()).digest() for i in range(-(-dimensions // 32)))
    raw = [byte - 127.5 for byte in seed[:dimensions]]
    norm = math.sqrt(sum(value * value for value in raw))
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(v / norm for v in raw))))


def _embeddings(body: Json, told: Directives, clock: Clock) -> Answer:  # noqa: ARG001 - one shape for all routes
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        return _error(400, "input: a string or a non-empty array is required.")
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    dimensions = int(body.get("dimensions") or EMBEDDING_DIMENSIONS)
    data: list[Json] = []
    for index, item in enumerate(inputs):
        vector = _vector(_text_of(item), dimensions)
        embedding: Any = vector
        if body.get("encoding_format") == "base64":
            embedding = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    usage = _usage(inputs, 0, 0, told)
    del usage["completion_tokens"]
    answer: Json = {"object": "list", "data": data, "model": str(body.get("model", ""))}
    return Answer(answer if told.flag("no-usage") else answer | {"usage": usage})


def _moderation(body: Json, told: Directives, clock: Clock) -> Answer:  # noqa: ARG001 - one shape for all routes
    given = body.get("input")
    inputs = given if isinstance(given, list) and all(isinstance(one, str) for one in given) else [given]
    empty: Json = {"categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    results = [{"flagged": "violence" in str(one), **empty} for one in inputs]
    return Answer({"id": f"modr-{next(_ids)}", "model": body.get("model"), "results": results})


def _rerank(body: Json, told: Directives, clock: Clock) -> Answer:  # noqa: ARG001 - one shape for all routes
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list):
        return _error(400, "query: a string, and documents: an array, are required.")
    asked = set(query.lower().split())
    results: list[Json] = []
    for index, document in enumerate(documents):
        words = set(_text_of(document).lower().split())
        result: Json = {"index": index, "relevance_score": len(asked & words) / (len(asked | words) or 1)}
        if body.get("return_documents"):
            result["document"] = {"text": _text_of(document)}
        results.append(result)
    results.sort(key=lambda result: -cast(float, result["relevance_score"]))
    tokens = _usage([query, documents], 0, 0, told)["prompt_tokens"]
    answer: Json = {
        "id": f"rerank-{next(_ids)}",
        "model": str(body.get("model", "")),
        "results": results[: int(body.get("top_n") or len(results))],
    }
    if told.flag("no-usage"):
        return Answer(answer)
    units = {"search_units": 1}
    return Answer(answer | {"usage": {"total_tokens": tokens}, "meta": {"billed_units": units}})


_ROUTES = {
    "/chat/completions": _chat,
    "/completions": _completions,
    "/embeddings": _embeddings,
    "/rerank": _rerank,
    "/moderations": _moderation,
}


# -- by hand -------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    by_hand(
        Upstream, parser("upstream", "An OpenAI-compatible upstream for tests and demonstrations."), arguments
    )


if __name__ == "__main__":
    main()
