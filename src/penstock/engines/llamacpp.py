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
    `max_tokens: 0` generates one token                          400
    limits are cut to 32 bits, whatever that makes of them       never more than 2^31 - 1 is sent
    fields of its own overrule limits, choices and accounting    only `_CHAT` or `_COMPLETION` is sent;
      (`n_predict` over `max_tokens`, `n_cmpl`, `id_slot` ...)     400 for what asks for another answer
    `repetition_penalty` is ignored                              sent as `repeat_penalty`
    `grammar`, `json_schema`, `response_format`: one wins, or    400 for two of them, or a grammar with tools
      it is a 500
    `response_format` of text completions is ignored             400, naming `json_schema`
    `grammar`, `samplers` ... of a wrong type are ignored        400

What is not in those lists and not refused changes nothing in the answer (`user`, `metadata`, `store` ...).
"""

import sys
from typing import Any

import msgspec

from penstock.engines.host import default_threads, usable_cores
from penstock.types.deployment import Ask, Command, CountPrompt, Deployment, Pool, Probe, Quirks
from penstock.types.errors import InvalidRequest, UnsupportedParameter
from penstock.types.requests import ChatRequest, CompletionRequest, Operation, Request

JSON = dict[str, Any]

_SHARED = frozenset(
    {
        *("stream", "stream_options", "n", "stop", "seed", "max_tokens", "logprobs", "logit_bias"),
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "top_n_sigma", "min_keep", "samplers"),
        *("frequency_penalty", "presence_penalty", "repeat_penalty", "repeat_last_n"),
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
        *("xtc_probability", "xtc_threshold", "dynatemp_range", "dynatemp_exponent"),
        *("mirostat", "mirostat_tau", "mirostat_eta"),
        *("grammar", "json_schema", "ignore_eos", "cache_prompt"),
    }
)
_CHAT = _SHARED | {
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "top_logprobs"),
    *("max_completion_tokens", "chat_template_kwargs", "reasoning_format", "reasoning_effort"),
}
_COMPLETION = _SHARED | {"prompt"}
_LIMITS = ("max_tokens", "max_completion_tokens")
_MAX_LIMIT = 2**31 - 1
_KINDS: dict[str, tuple[type, str]] = {
    "grammar": (str, "a string"),
    "json_schema": (dict, "an object"),
    "samplers": (list, "an array"),
    "chat_template_kwargs": (dict, "an object"),
}
_REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")
_REFUSED = {
    "n_predict": "use `max_tokens`",
    "n_cmpl": "use `n`",
    "id_slot": "slots are the engine's own matter",
    "lora": "a model is served as it was configured",
    "t_max_predict_ms": "use `max_tokens`, or a timeout of the route",
    "response_fields": "answers have OpenAI's shape",
    "min_tokens": "it cannot prolong an answer",
    "guided_json": "use `response_format` or `json_schema`",
    "guided_regex": "use `grammar`",
    "guided_choice": "use `grammar`",
    "guided_grammar": "use `grammar`",
    "structured_outputs": "use `response_format` or `grammar`",
}
_CHAT_REFUSED = {
    **_REFUSED,
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "audio": "this engine answers in text",
    "web_search_options": "this engine has no web search",
}
_COMPLETION_REFUSED = {
    **_REFUSED,
    "response_format": "use `json_schema`",
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
            knows=frozenset({"top_k", "min_p", "repetition_penalty"}),
            any_root=True,
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
    """What this engine understands of a checked request, and nothing else; never changes the request itself.

    Raises UnsupportedParameter for what it would ignore, InvalidRequest for media and contradictions.
    """
    match request:
        case ChatRequest(body=body):
            _refuse(body, _CHAT_REFUSED)
            _refuse_modalities(body)
            _refuse_media(body["messages"])
            return msgspec.structs.replace(request, body=_with_tool_choice(_known(body, _CHAT)))
        case CompletionRequest(body=body):
            _refuse(body, _COMPLETION_REFUSED)
            if body.get("max_tokens") == 0:
                raise InvalidRequest("`max_tokens` is 0; this engine gives at least 1.", param="max_tokens")
            return msgspec.structs.replace(request, body=_known(body, _COMPLETION))
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


def _refuse_contradictions(body: JSON) -> None:
    for name, (kind, wanted) in _KINDS.items():
        if name in body and not isinstance(body[name], kind):
            raise InvalidRequest(f"`{name}` must be {wanted}.", param=name)
    if body.get("reasoning_format", "auto") not in _REASONING_FORMATS:
        raise InvalidRequest(
            f"`reasoning_format` must be one of: {', '.join(_REASONING_FORMATS)}.", param="reasoning_format"
        )
    response_format = body.get("response_format", {}).get("type", "text")
    asked: list[str] = [name for name in ("grammar", "json_schema") if name in body]
    if response_format != "text":
        asked.append("response_format")
    if "grammar" in asked and body.get("tools"):
        asked.append("tools")
    if len(asked) > 1:
        raise InvalidRequest(f"`{asked[0]}` and `{asked[1]}` exclude each other.", param=asked[0])


def _known(body: JSON, names: frozenset[str]) -> JSON:
    known = {name: value for name, value in body.items() if name in names}
    _refuse_contradictions(known)
    if "repetition_penalty" in body:
        known.setdefault("repeat_penalty", body["repetition_penalty"])
    for name in _LIMITS:
        if name in known:
            known[name] = min(known[name], _MAX_LIMIT)
    return known


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
        names = [tool[tool["type"]]["name"] for tool in allowed["tools"]]
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
