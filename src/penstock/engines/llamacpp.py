"""llama.cpp for GGUF models, through xllamacpp's server in a worker (llamacpp_worker.py).

What its server does differently from the dialect it speaks (seen on xllamacpp 2026.10.11549), and what is
done about it:

    seen                                                         done
    -----------------------------------------------------------  ---------------------------------------
    a closed request stops generation only if it was a stream    every request is sent as a stream
    `tool_choice` that names a function is ignored               that function alone, and `required`
    `echo`, `suffix`, `best_of` are ignored                      400 unsupported_parameter
    `functions`, `function_call` are ignored                     400, naming `tools`
    custom tools, audio and web search are ignored               400 unsupported_parameter
    an image sent to a text model is a 500                       400 before it is sent
    usage counts one choice of several                           counted anew from the chunks
    a prompt that is too long is refused when a slot is free     counted before it is sent, if it can be
    without `max_tokens` it runs until the context is full       so it does: the context is the cap
"""

import sys
from typing import Any

import msgspec

from penstock.engines.host import default_threads, usable_cores
from penstock.types.deployment import Ask, Command, CountPrompt, Deployment, Pool, Probe, Quirks
from penstock.types.errors import InvalidRequest, UnsupportedParameter
from penstock.types.requests import ChatRequest, CompletionRequest, Operation, Request

JSON = dict[str, Any]

_CHAT_REFUSED = {
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "audio": "this engine answers in text",
    "web_search_options": "this engine has no web search",
}
_COMPLETION_REFUSED = {
    "echo": "this engine does not repeat the prompt",
    "suffix": "this engine does not fill in the middle",
    "best_of": "ask for `n` and choose",
}
_TEMPLATE_FIELDS = ("messages", "tools", "tool_choice", "chat_template_kwargs")
_MEDIA_PARTS = frozenset({"image_url", "input_audio", "file", "video_url", "audio_url"})


class LlamaCpp:
    name = "llamacpp"
    codec = "openai"

    @property
    def quirks(self) -> Quirks:
        return Quirks(
            always_stream=True,
            adapt=adapt,
            recount_completion=True,
            rename_chat=(("max_completion_tokens", "max_tokens"),),
        )

    @property
    def count_prompt(self) -> CountPrompt:
        return count_prompt

    def operations(self, pool: Pool) -> frozenset[Operation]:
        return frozenset({"embedding"} if pool.embedding else {"chat", "completion"})

    def command(self, pool: Pool, model_path: str) -> Command:
        threads = pool.threads or default_threads()
        argv = [sys.executable, "-m", "penstock.engines.llamacpp_worker", "--model", model_path]
        argv += ["--threads", str(threads)]
        if pool.parallel is not None:
            argv += ["--parallel", str(pool.parallel)]
        if pool.context is not None:
            argv += ["--context", str(pool.context)]
        if pool.embedding:
            argv.append("--embedding")
        # libgomp reads these once, when it is loaded: they must be there before the process starts. Threads
        # that spin at barriers while another program has their core cost up to 15x (docs/decisions.md).
        env = {"OMP_NUM_THREADS": str(threads)}
        if threads >= usable_cores():
            env["OMP_WAIT_POLICY"] = "passive"
        return Command(tuple(argv), env)

    def probe(self, pool: Pool) -> Probe:
        if pool.embedding:
            return Probe("/embeddings", msgspec.json.encode({"input": "ready?"}))
        return Probe("/completions", msgspec.json.encode({"prompt": "ready?", "max_tokens": 1}))


ENGINE = LlamaCpp()


def adapt(request: Request, _deployment: Deployment) -> Request:
    """What this engine understands of a checked request; never changes the request itself.

    Raises UnsupportedParameter for what it would ignore, InvalidRequest for media.
    """
    match request:
        case ChatRequest(body=body):
            _refuse(body, _CHAT_REFUSED)
            _refuse_modalities(body)
            _refuse_media(body["messages"])
            return msgspec.structs.replace(request, body=_with_tool_choice(body))
        case CompletionRequest(body=body):
            _refuse(body, _COMPLETION_REFUSED)
    return request


async def count_prompt(request: Request, ask: Ask) -> int:
    """Tokens of the prompt as the model will see it. /apply-template and /tokenize need no slot."""
    match request:
        case ChatRequest(body=body):
            asked = {name: body[name] for name in _TEMPLATE_FIELDS if name in body}
            rendered = await ask("/apply-template", msgspec.json.encode(asked))
            return await _tokens(str(rendered["prompt"]), ask)
        case CompletionRequest(body=body):
            prompts = body["prompt"]
            if isinstance(prompts, str):
                return await _tokens(prompts, ask)
            if prompts and isinstance(prompts[0], int):
                return len(prompts)
            lengths = [await _tokens(one, ask) if isinstance(one, str) else len(one) for one in prompts]
            return max(lengths, default=0)
    return 0


async def _tokens(text: str, ask: Ask) -> int:
    answer = await ask("/tokenize", msgspec.json.encode({"content": text, "add_special": True}))
    return len(answer["tokens"])


def _refuse(body: JSON, refused: dict[str, str]) -> None:
    for name, remedy in refused.items():
        if body.get(name) not in (None, False, ""):
            if name == "best_of" and body[name] == body.get("n", 1):
                continue
            raise UnsupportedParameter(f"The llamacpp engine does not take {name}: {remedy}.", param=name)


def _refuse_modalities(body: JSON) -> None:
    if any(asked != "text" for asked in body.get("modalities") or ()):
        raise UnsupportedParameter("The llamacpp engine answers in text only.", param="modalities")


def _refuse_media(messages: list[JSON]) -> None:
    for number, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for place, part in enumerate(content):
                if part.get("type") in _MEDIA_PARTS:
                    raise InvalidRequest(
                        f"This model reads text only, not {part['type']}.",
                        param=f"messages[{number}].content[{place}]",
                    )


def _with_tool_choice(body: JSON) -> JSON:
    tools: list[JSON] = body.get("tools", [])
    for number, tool in enumerate(tools):
        if tool["type"] != "function":
            raise UnsupportedParameter(
                f"Tools of type {tool['type']!r} are not supported by the llamacpp engine; use functions.",
                param=f"tools[{number}].type",
            )
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return body
    if choice["type"] == "function":
        names, mode = [choice["function"]["name"]], "required"
    elif choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [tool["function"]["name"] for tool in allowed["tools"] if tool.get("type") == "function"]
        mode = allowed["mode"]
    else:
        raise UnsupportedParameter(
            f"tool_choice of type {choice['type']!r} is not supported by the llamacpp engine.",
            param="tool_choice.type",
        )
    kept = [tool for tool in tools if tool["function"]["name"] in names]
    if not kept:
        raise InvalidRequest(
            f"tool_choice names {', '.join(names)}, which is not in tools.", param="tool_choice"
        )
    return {**body, "tools": kept, "tool_choice": mode}
