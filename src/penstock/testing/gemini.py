"""A double of the Gemini API (generateContent and its kin) around the scripted model of `brain.py`.

    async with GeminiDouble() as up:
        genai.Client(api_key="any", http_options={"base_url": up.url}).models.generate_content(...)

Written from the vendor's documentation and the types of its SDK 3.4, as strict as the vendor: what it refuses
is a 400 INVALID_ARGUMENT in its own words. What is checked beyond types:

    unknown fields anywhere, `additionalProperties`, `$ref` and the like inside `parameters` among them
    roles; a call turn after a user's turn; as many responses as calls, of the same names, right behind
    thinking on (or `always_thinks`, as Gemini 3 does): the first call of each step of the turn in progress
    comes back with its thoughtSignature, but for Gemini 2; any that does is the one made for its part

Function calls carry no id unless `gives_ids`, a refusal is a SAFETY end without content, a call that
max_tokens would cut is left out: a function call is never in pieces. Paths of the Gemini API and of Vertex.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from penstock.testing.brain import Ask, Call, Reply, Result, Tool, Turn, words
from penstock.testing.double import Answer, Framing, Json, Recorded, by_hand, parser
from penstock.testing.vendor import Refused, Vendor

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH: Final = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "calls": "STOP",
    "refusal": "SAFETY",
}
_ROUTE: Final = re.compile(r"^(?:/[\w-]+)*/(?:models|tunedModels)/([^/:]+)(?::(\w+))?$")
_BEFORE_3: Final = re.compile(r"gemini-[12]")
_THINKS_NOT: Final = re.compile(r"gemini-(?:1|2\.0)|gemini-2\.5-flash-image|gemma-[1-3]")
_BUDGETS: Final = {  # https://ai.google.dev/gemini-api/docs/thinking#set-budget
    "gemini-2.5-pro": (128, 32_768),
    "gemini-2.5-flash-lite": (512, 24_576),
    "gemini-2.5-flash": (0, 24_576),
}
_FUNCTION_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")

# Names as they are on the wire; protobuf's JSON takes snake_case, too.
_REQUEST: Final = frozenset(
    [
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"),
        *("cachedContent", "labels", "model", "serviceTier", "store"),
    ]
)
_GENERATION: Final = frozenset(
    [
        *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed"),
        *("responseLogprobs", "logprobs", "presencePenalty", "frequencyPenalty", "responseMimeType"),
        *("responseSchema", "responseJsonSchema", "responseModalities", "mediaResolution", "speechConfig"),
        *("thinkingConfig", "imageConfig", "audioTimestamp", "enableEnhancedCivicAnswers", "routingConfig"),
    ]
)
_DATA: Final = frozenset(
    [
        *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode"),
        *("codeExecutionResult", "toolCall", "toolResponse"),
    ]
)
_PART: Final = _DATA | {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
_SCHEMA: Final = frozenset(
    [
        *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties"),
        *(
            "required",
            "minProperties",
            "maxProperties",
            "minLength",
            "maxLength",
            "pattern",
            "example",
            "anyOf",
        ),
        *("propertyOrdering", "default", "items", "minimum", "maximum"),
    ]
)
_TYPES: Final = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_MODES: Final = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_TOOLS: Final = frozenset(
    [
        *("functionDeclarations", "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext"),
        *("googleMaps", "fileSearch", "computerUse"),
    ]
)
_DECLARATION: Final = frozenset(
    [
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    ]
)
# Documented for history that another model made: they are taken for a signature.
_SKIP: Final = frozenset(["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"])


class _Events(Framing):
    end = None

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        return b"data: " + data + b"\r\n\r\n"


class _Array(Framing):
    """Without `alt=sse`: one JSON array, an element at a time."""

    content_type = "application/json; charset=UTF-8"
    is_text = False  # no comments, no other line ends
    end = b"]"

    def frame(self, data: bytes, event: Json, number: int) -> bytes:  # noqa: ARG002
        return (b",\r\n" if number else b"[") + data + b"\r\n"


_EVENTS: Final = _Events()
_ARRAY: Final = _Array()


class GeminiDouble(Vendor):
    base = ""
    wrong_key = "API key not valid. Please pass a valid API key."

    def __init__(self, *, always_thinks: bool = False, gives_ids: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.always_thinks = always_thinks
        self.gives_ids = gives_ids

    def key_of(self, request: Recorded) -> str | None:
        in_query = re.search(r"(?:^|&)key=([^&]+)", request.query)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return request.headers.get("x-goog-api-key") or bearer or (in_query[1] if in_query else None)

    def error(self, status: int, message: str) -> Answer:
        if status == 401 and message == self.wrong_key:
            status = 400  # a wrong key is an invalid argument at this vendor's
        kind = _STATUSES.get(status, "UNKNOWN")
        return Answer({"error": {"code": status, "message": message, "status": kind}}, status=status)

    def respond(self, request: Recorded) -> Answer:
        if request.method == "GET" and request.path.endswith("/models"):
            return Answer({"models": [_model(name) for name in self.models]})
        route = _ROUTE.match(request.path)
        if route is None:
            raise Refused(f"Path not found: {request.path}", 404)
        model, verb = route[1], route[2]
        if request.method == "GET" and verb is None:
            return Answer(_model(model))
        if not isinstance(request.body, dict):
            raise Refused("Invalid JSON payload received. Expected an object.")
        body = _camel(request.body)
        match verb:
            case "generateContent":
                return Answer(self._generate(model, body, request)[-1])
            case "streamGenerateContent":
                framing = _EVENTS if re.search(r"(?:^|&)alt=sse(?:&|$)", request.query) else _ARRAY
                return Answer({}, self._generate(model, body, request)[:-1], framing=framing)
            case "countTokens":
                whole = body.get("generateContentRequest") or body
                total = self._read(whole)[0].tokens
                details = [{"modality": "TEXT", "tokenCount": total}]
                return Answer({"totalTokens": total, "promptTokensDetails": details})
            case "embedContent":
                return Answer({"embedding": {"values": _vector(body)}})
            case "batchEmbedContents":
                wanted = body.get("requests")
                if not isinstance(wanted, list) or not wanted:
                    raise Refused("* BatchEmbedContentsRequest.requests: requests is not specified")
                return Answer({"embeddings": [{"values": _vector(one)} for one in wanted]})
            case _:
                raise Refused(f"Method {verb} is not found for models/{model}", 404)

    # -- answering -----------------------------------------------------------------------------------

    def _generate(self, model: str, body: Json, request: Recorded) -> list[Json]:
        """Every chunk of the stream, and behind them the whole answer."""
        ask, count, shows = self._read(body, model)
        told = request.directives
        reply = self.think(ask, told)
        prompt = told.count("prompt-tokens") or ask.tokens
        finish = told.text("finish") or _FINISH[reply.finish]
        usage: Json = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": count * (reply.tokens - reply.thought_tokens),
            "totalTokenCount": prompt + count * reply.tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        if reply.thought:
            usage["thoughtsTokenCount"] = count * reply.thought_tokens
        if (cached := told.count("cached-tokens")) is not None:
            usage["cachedContentTokenCount"] = cached
        more = {"usageMetadata": usage, "modelVersion": model, "responseId": self.new_id("r")}
        every = [list(self._parts(reply, shows=shows, thinks=ask.thinking)) for _ in range(count)]
        early = {**more, "usageMetadata": {"promptTokenCount": prompt, "totalTokenCount": prompt}}
        chunks: list[Json] = [
            {"candidates": [{"content": {"parts": group, "role": "model"}, "index": index}], **early}
            for index, parts in enumerate(every)
            for group in _grouped(parts)
        ]
        whole = [_candidate(index, _joined(parts), finish) for index, parts in enumerate(every)]
        if chunks and count == 1:  # the last part and the end come together
            chunks[-1]["candidates"][0]["finishReason"] = finish
            chunks[-1] |= more
        else:
            chunks.append({"candidates": [_candidate(index, [], finish) for index in range(count)], **more})
        return [*chunks, {"candidates": whole, **more}]

    def _parts(self, reply: Reply, *, shows: bool, thinks: bool) -> Iterator[Json]:
        """Parts as they are streamed: text word by word, calls whole."""
        if shows:
            yield from ({"text": word, "thought": True} for word in words(reply.thought))
        yield from ({"text": word} for word in words(reply.text))
        calls = [call for call in reply.calls if call.text == "{}" or call.arguments]
        for at, call in enumerate(calls):
            made: Json = {"name": call.name, "args": call.arguments}
            if self.gives_ids:
                made["id"] = self.new_id("call")
            part: Json = {"functionCall": made}
            if thinks and at == 0:  # parallel calls: the first carries it for all
                part["thoughtSignature"] = self.seals.seal("call", _call_text(made))
            yield part
        if thinks and reply.text and not calls:
            # In a stream the signature of a text comes behind it, on an empty part.
            yield {"text": "", "thoughtSignature": self.seals.seal("text", "")}

    # -- reading -------------------------------------------------------------------------------------

    def _read(self, body: Json, model: str = "") -> tuple[Ask, int, bool]:
        """What is asked, how many candidates, whether thoughts are shown."""
        _known(body, _REQUEST, "")
        config = body.get("generationConfig") or {}
        _known(config, _GENERATION, "generation_config")
        thinks, shows = self._thinking(config, model)
        tools = _tools(body)
        choice, names = _choice(body, tools)
        stop = config.get("stopSequences") or []
        if len(stop) > 5:
            raise Refused("Unable to submit request because it has more than 5 stop sequences")
        count = config.get("candidateCount") or 1
        if not 1 <= count <= 8:
            raise Refused("* GenerateContentRequest.generation_config.candidate_count: must be in [1, 8]")
        limit = config.get("maxOutputTokens")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise Refused("* GenerateContentRequest.generation_config.max_output_tokens: must be positive")
        schema, wants_json = _format(config)
        if tools and config.get("responseMimeType") == "application/json" and _BEFORE_3.match(model):
            raise Refused("Function calling with a response mime type: 'application/json' is unsupported")
        contents = self._contents(body, signs=thinks and not _BEFORE_3.match(model))
        ask = Ask(
            turns=tuple(contents),
            system=_system(body),
            tools=tuple(tools),
            choice=choice,
            only=names,
            schema=schema,
            wants_json=wants_json,
            thinking=thinks,
            max_tokens=limit,
            stop=tuple(stop),
        )
        return ask, count, shows

    def _thinking(self, config: Json, model: str) -> tuple[bool, bool]:
        thinking = config.get("thinkingConfig")
        if thinking is None:
            return self.always_thinks, False
        _known(thinking, frozenset(["includeThoughts", "thinkingBudget", "thinkingLevel"]), "thinking_config")
        if _THINKS_NOT.match(model):
            raise Refused("Unable to submit request because thinking is not supported by this model.")
        _check_budget(thinking.get("thinkingBudget"), model)
        if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
            raise Refused("You can only set only one of thinking budget and thinking level.")
        level = str(thinking.get("thinkingLevel", "high")).lower()
        if level not in {"minimal", "low", "medium", "high", "thinking_level_unspecified"}:
            raise Refused(
                "Invalid value at 'generation_config.thinking_config.thinking_level' "
                f'(type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingLevel), "{level}"'
            )
        thinks = self.always_thinks or thinking.get("thinkingBudget") != 0
        return thinks, thinks and thinking.get("includeThoughts") is True

    def _contents(self, body: Json, *, signs: bool) -> list[Turn]:
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise Refused("* GenerateContentRequest.contents: contents is not specified\n")
        for at, content in enumerate(contents):
            _check_content(at, content)
        turns = [(_role(content), content["parts"]) for content in contents]
        _pair_calls(turns)
        self._check_signatures(turns, signs=signs)
        return [_turn(role, parts) for role, parts in turns]

    def _check_signatures(self, turns: list[tuple[str, list[Json]]], *, signs: bool) -> None:
        asked = [at for at, (role, parts) in enumerate(turns) if role == "user" and _is_question(parts)]
        begin = asked[-1] if asked else -1  # the turn in progress: all behind the last question
        position = 0
        for at, (role, parts) in enumerate(turns):
            first_call = True
            for part in parts:
                position += 1
                call, signature = part.get("functionCall"), part.get("thoughtSignature")
                if signature is not None and not self._is_signature(part, signature):
                    raise Refused("Corrupted thought signature.")
                if call is None or role != "model":
                    continue
                if signs and first_call and at > begin and signature is None:
                    raise Refused(
                        "Function call is missing a thought_signature in functionCall parts. This is "
                        "required for "
                        "tools to work correctly, and missing thought_signature may lead to degraded model "
                        f"performance. Additional data, function call `default_api:{call['name']}` , "
                        "position "
                        f"{position}. Please refer to "
                        "https://ai.google.dev/gemini-api/docs/thought-signatures for "
                        "more details."
                    )
                first_call = False

    def _is_signature(self, part: Json, signature: Any) -> bool:
        if not isinstance(signature, str):
            return False
        plain = signature.replace("-", "+").replace("_", "/")
        try:
            decoded = base64.b64decode(plain + "=" * (-len(plain) % 4))
        except binascii.Error:
            decoded = b""
        if signature in _SKIP or decoded in {skip.encode() for skip in _SKIP}:
            return True
        call = part.get("functionCall")
        # SDKs write bytes in the URL's alphabet.
        given = base64.b64encode(decoded).decode()
        if call is not None:
            return self.seals.is_good("call", _call_text(call), given)
        return self.seals.is_good("text", "", given)


def _check_budget(budget: Any, model: str) -> None:
    least, most = next((taken for name, taken in _BUDGETS.items() if model.startswith(name)), (0, 1 << 31))
    is_off = budget == 0 and "pro" not in model
    if budget is not None and budget != -1 and not is_off and not least <= budget <= most:
        raise Refused(
            f"The thinking budget {budget} is invalid. Please choose a value between {least} and {most}."
        )


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    }


def _candidate(index: int, parts: list[Json], finish: str) -> Json:
    """Without parts there is no content, but for the role."""
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": content, "finishReason": finish, "index": index}


def _grouped(parts: list[Json]) -> list[list[Json]]:
    """The parts of each chunk: a word is one, all calls together are one."""
    words_said = [[part] for part in parts if "functionCall" not in part]
    calls = [part for part in parts if "functionCall" in part]
    return [*words_said, calls] if calls else words_said


def _joined(parts: list[Json]) -> list[Json]:
    """Neighbouring texts as one part, as an answer that was not streamed has them."""
    joined: list[Json] = []
    for part in parts:
        is_text = "text" in part and joined and "text" in joined[-1]
        if is_text and part.get("thought") == joined[-1].get("thought"):
            joined[-1] = {**joined[-1], **part, "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _call_text(call: Json) -> str:
    return json.dumps([call.get("name"), call.get("args") or {}], sort_keys=True)


def _vector(body: Json) -> list[float]:
    content = body.get("content")
    if not isinstance(content, dict) or not content.get("parts"):
        raise Refused("* EmbedContentRequest.content: content is not specified")
    size = body.get("outputDimensionality") or 8
    text = "".join(str(part.get("text", "")) for part in content["parts"])
    return [((len(text) * 31 + sum(map(ord, text)) * (at + 1)) % 97 - 48) / 100 for at in range(size)]


# -- reading ---------------------------------------------------------------------------------------------


_FREE: Final = frozenset(
    ["args", "response", "parametersJsonSchema", "responseJsonSchema", "properties", "labels"]
)


def _camel(value: Any) -> Any:
    """Names as on the wire, but inside what belongs to the caller."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, item in value.items():
        name = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
        if name == "properties" and isinstance(item, dict):
            made[name] = {own: _camel(schema) for own, schema in item.items()}
        else:
            made[name] = item if name in _FREE else _camel(item)
    return made


def _known(value: Any, known: frozenset[str], path: str) -> None:
    if not isinstance(value, dict):
        raise Refused(f"Invalid value at '{path}': expected an object")
    for key in value:
        if key not in known:
            where = f" at '{path}'" if path else ""
            raise Refused(f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.')


def _system(body: Json) -> str:
    system = body.get("systemInstruction")
    if system is None:
        return ""
    _known(system, frozenset(["parts", "role"]), "system_instruction")
    parts = system.get("parts")
    if (
        not isinstance(parts, list)
        or not parts
        or any(not isinstance(part.get("text"), str) for part in parts)
    ):
        raise Refused("* GenerateContentRequest.system_instruction.parts: must have text")
    return "\n".join(part["text"] for part in parts)


def _role(content: Json) -> str:
    role = content.get("role", "user")
    return "user" if role == "function" else str(role)


def _check_content(at: int, content: Any) -> None:
    _known(content, frozenset(["role", "parts"]), f"contents[{at}]")
    if content.get("role", "user") not in {"user", "model", "function"}:
        raise Refused("Please use a valid role: user, model.")
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        raise Refused(f"* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty.\n")
    for number, part in enumerate(parts):
        _check_part(part, content.get("role", "user"), f"contents[{at}].parts[{number}]")


def _check_part(part: Any, role: str, path: str) -> None:
    _known(part, _PART, path)
    data = [name for name in part if name in _DATA]
    is_empty = data == ["text"] and part["text"] == "" and "thoughtSignature" not in part
    if not data or is_empty:
        raise Refused(
            f"* GenerateContentRequest.{path}.data: required oneof field 'data' must have one "
            "initialized field\n"
        )
    if len(data) > 1:
        raise Refused(
            f"Invalid value at '{path}' (oneof), oneof field 'data' is already set. Cannot set '{data[1]}'"
        )
    value = part[data[0]]
    match data[0]:
        case "text":
            if not isinstance(value, str):
                raise Refused(f"Invalid value at '{path}.text' (TYPE_STRING), {json.dumps(value)}")
        case "inlineData":
            _known(value, frozenset(["mimeType", "data", "displayName"]), f"{path}.inline_data")
            if not value.get("mimeType"):
                raise Refused(f"* GenerateContentRequest.{path}.inline_data.mime_type: must not be empty")
            plain = str(value.get("data", "")).replace("-", "+").replace("_", "/")
            try:
                base64.b64decode(plain, validate=True)
            except binascii.Error:
                raise Refused(
                    f"Invalid value at '{path}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"
                ) from None
        case "fileData":
            _known(value, frozenset(["mimeType", "fileUri", "displayName"]), f"{path}.file_data")
            if not value.get("fileUri"):
                raise Refused(f"* GenerateContentRequest.{path}.file_data.file_uri: must not be empty")
        case "functionCall":
            _known(value, frozenset(["id", "name", "args"]), f"{path}.function_call")
            _check_function(value, "args", f"{path}.function_call")
            if role != "model":
                raise Refused("Please ensure that function call parts are in a model turn.")
        case "functionResponse":
            known = frozenset(["id", "name", "response", "parts", "willContinue", "scheduling"])
            _known(value, known, f"{path}.function_response")
            _check_function(value, "response", f"{path}.function_response")
            if role == "model":
                raise Refused("Please ensure that function response parts are in a user turn.")


def _check_function(value: Json, key: str, path: str) -> None:
    if not value.get("name"):
        raise Refused(f"* GenerateContentRequest.{path}.name: Name cannot be empty.\n")
    if not isinstance(value.get(key, {}), dict):
        raise Refused(f"Invalid value at '{path}.{key}' (type.googleapis.com/google.protobuf.Struct)")


def _is_question(parts: list[Json]) -> bool:
    return not any("functionResponse" in part for part in parts)


def _pair_calls(turns: list[tuple[str, list[Json]]]) -> None:
    """Calls follow a user's turn, their responses follow at once, as many and of the same names."""
    merged: list[tuple[str, list[Json]]] = []
    for role, parts in turns:
        if merged and merged[-1][0] == role and role == "model":
            merged[-1] = (role, merged[-1][1] + parts)
        else:
            merged.append((role, parts))
    for at, (_, parts) in enumerate(merged):
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        answers = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if calls and at == 0:
            raise Refused(
                "Please ensure that function call turn comes immediately after a user turn or after "
                "a function "
                "response turn."
            )
        if calls:
            following = merged[at + 1][1] if at + 1 < len(merged) else []
            given = [part["functionResponse"] for part in following if "functionResponse" in part]
            names = sorted(call["name"] for call in calls), sorted(answer["name"] for answer in given)
            ids = {call["id"] for call in calls if call.get("id")}
            answered = {answer["id"] for answer in given if answer.get("id")}
            if names[0] != names[1] or (ids and answered and ids != answered):
                raise Refused(
                    "Please ensure that the number of function response parts is equal to the number "
                    "of function "
                    "call parts of the function call turn."
                )
        if answers:
            before = merged[at - 1] if at else ("user", [])
            if before[0] != "model" or not any("functionCall" in part for part in before[1]):
                raise Refused(
                    "Please ensure that function response turn comes immediately after a function call turn."
                )


def _turn(role: str, parts: list[Json]) -> Turn:
    return Turn(
        role="assistant" if role == "model" else "user",
        text="\n".join(part["text"] for part in parts if part.get("text") and not part.get("thought")),
        calls=tuple(
            Call(
                str(p["functionCall"].get("id", "")),
                p["functionCall"]["name"],
                p["functionCall"].get("args") or {},
            )
            for p in parts
            if "functionCall" in p
        ),
        results=tuple(_result(part["functionResponse"]) for part in parts if "functionResponse" in part),
        media=tuple(_media(part) for part in parts if "inlineData" in part or "fileData" in part),
    )


def _result(given: Json) -> Result:
    response = given.get("response") or {}
    is_error = "error" in response
    said = response.get("error" if is_error else "output", response.get("result", response))
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    media = tuple(_media(part) for part in given.get("parts") or ())
    return Result(str(given.get("id", "")), text, is_error=is_error, media=media)


def _media(part: Json) -> str:
    data = part.get("inlineData") or part.get("fileData") or {}
    return str(data.get("mimeType", "file"))


def _tools(body: Json) -> list[Tool]:
    made: list[Tool] = []
    for at, tool in enumerate(body.get("tools") or []):
        _known(tool, _TOOLS, f"tools[{at}]")
        for number, declared in enumerate(tool.get("functionDeclarations") or []):
            path = f"tools[{at}].function_declarations[{number}]"
            _known(declared, _DECLARATION, path)
            name = declared.get("name")
            if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
                raise Refused(
                    f"* GenerateContentRequest.{path}.name: Invalid function name. Must start with a "
                    "letter or an "
                    "underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), "
                    "colons (:), or "
                    "dashes (-), with a maximum length of 64.\n"
                )
            if any(tool.name == name for tool in made):
                raise Refused(f"Duplicate function declaration found: {name}")
            schema = declared.get("parametersJsonSchema")
            if declared.get("parameters") is not None:
                if schema is not None:
                    raise Refused(f"Only one of parameters and parameters_json_schema may be set at '{path}'")
                schema = declared["parameters"]
                _check_schema(schema, f"{path}.parameters")
                if _type(schema) != "OBJECT":
                    raise Refused(
                        f"* GenerateContentRequest.{path}.parameters: schema at top-level must be "
                        "OBJECT type\n"
                    )
                schema = _as_json_schema(schema)
            made.append(Tool(name, str(declared.get("description", "")), schema or {}))
    return made


def _as_json_schema(schema: Any) -> Any:
    """The vendor's subset as the brain reads it: types by their lower-case names."""
    if not isinstance(schema, dict):
        return schema
    made = {key: _as_json_schema(value) for key, value in schema.items()}
    if "type" in schema:
        made["type"] = _type(schema).lower()
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {name: _as_json_schema(inner) for name, inner in schema["properties"].items()}
    if isinstance(schema.get("anyOf"), list):
        made["anyOf"] = [_as_json_schema(inner) for inner in schema["anyOf"]]
    return made


def _enum(value: Any, names: tuple[str, ...]) -> str:
    """The name of an enum's value, which protobuf's JSON takes as its number, too."""
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value).upper()


def _type(schema: Json) -> str:
    return _enum(schema.get("type", ""), _TYPES)


def _check_schema(schema: Any, path: str) -> None:
    """The vendor's own subset of OpenAPI, field by field."""
    _known(schema, _SCHEMA, path)
    kind = schema.get("type")
    if isinstance(kind, list):
        raise Refused(
            f"Invalid JSON payload received. Unknown name \"type\" at '{path}': Proto field is not "
            "repeating, cannot start list."
        )
    if kind is not None and _type(schema) not in _TYPES:
        raise Refused(
            f"Invalid value at '{path}.type' "
            f'(type.googleapis.com/google.ai.generativelanguage.v1beta.Type), "{kind}"'
        )
    if kind is None and "anyOf" not in schema:
        raise Refused(f"* GenerateContentRequest.{path}.type: must be specified\n")
    if "enum" in schema:
        if _type(schema) != "STRING":
            raise Refused(f"* GenerateContentRequest.{path}.enum: only allowed for STRING type\n")
        if any(not isinstance(value, str) for value in schema["enum"]):
            raise Refused(f"Invalid value at '{path}.enum[0]' (TYPE_STRING)")
    if _type(schema) == "ARRAY" and "items" not in schema:
        raise Refused(f"* GenerateContentRequest.{path}.items: missing field.\n")
    properties = schema.get("properties")
    if _type(schema) == "OBJECT":
        if not properties:
            raise Refused(
                f"* GenerateContentRequest.{path}.properties: should be non-empty for OBJECT type\n"
            )
        for name in schema.get("required") or []:
            if name not in properties:
                raise Refused(f"* GenerateContentRequest.{path}.required[0]: property is not defined\n")
    for name, inner in (properties or {}).items():
        _check_schema(inner, f"{path}.properties[{name}]")
    if "items" in schema:
        _check_schema(schema["items"], f"{path}.items")
    for number, inner in enumerate(schema.get("anyOf") or []):
        _check_schema(inner, f"{path}.any_of[{number}]")


def _choice(body: Json, tools: list[Tool]) -> tuple[Any, tuple[str, ...]]:
    config = body.get("toolConfig")
    if config is None:
        return "auto", ()
    _known(config, frozenset(["functionCallingConfig", "retrievalConfig"]), "tool_config")
    calling = config.get("functionCallingConfig")
    if calling is None:
        return "auto", ()
    _known(calling, frozenset(["mode", "allowedFunctionNames"]), "tool_config.function_calling_config")
    mode = _enum(calling.get("mode", "AUTO"), _MODES)
    if mode not in _MODES:
        raise Refused(f"Invalid value at 'tool_config.function_calling_config.mode', \"{mode}\"")
    if not tools:
        raise Refused("Function calling config is set without function_declarations.")
    names = tuple(calling.get("allowedFunctionNames") or ())
    if names and mode not in {"ANY", "VALIDATED"}:
        raise Refused("Allowed function names should be set only when function calling mode is ANY.")
    for name in names:
        if all(tool.name != name for tool in tools):
            raise Refused(
                f"* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: "
                f"'{name}' is not a declared function\n"
            )
    return {"ANY": "any", "NONE": "none"}.get(mode, "auto"), names


def _format(config: Json) -> tuple[Json | None, bool]:
    """schema, wants_json"""
    mime = config.get("responseMimeType", "text/plain")
    schema = config.get("responseJsonSchema")
    if config.get("responseSchema") is not None:
        if schema is not None:
            raise Refused("Only one of response_schema and response_json_schema may be set.")
        schema = config["responseSchema"]
        _check_schema(schema, "generation_config.response_schema")
        schema = _as_json_schema(schema)
    if schema is not None and mime != "application/json":
        raise Refused(
            "* GenerateContentRequest.generation_config.response_schema: only allowed when "
            "response_mime_type is application/json\n"
        )
    return schema, mime == "application/json"


def main(arguments: list[str] | None = None) -> None:
    by_hand(GeminiDouble, parser("gemini", "A double of the Gemini API."), arguments)


if __name__ == "__main__":
    main()
