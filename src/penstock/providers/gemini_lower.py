"""A Conversation as Gemini's generateContent request: for clients of other dialects.

Conversation                    Gemini
------------------------------  -----------------------------------------------------------------------------
leading system turns            systemInstruction; later ones become text of the user
turns of one role in a row      one content: user, model, user ...
ToolResultParts                 functionResponse parts of one user content, media after them; the name is that
                                  of the call, ids go along where the API knows them (`ids`)
ToolCallPart.signature          thoughtSignature of its part; a Gemini 3 model refuses a first call without
                                  one, and takes `_UNSIGNED` where another model made the call
ReasoningPart of "gemini"       its part with thoughtSignature; foreign ones and unsigned text are left out:
                                  thoughts go back to who thought them
MediaPart                       inlineData, fileData for what Google fetches itself (`is_fetched_by_google`)
Tool                            functionDeclarations, their names in Google's letters: parametersJsonSchema,
                                  or `parameters` in the OpenAPI subset for models older than Gemini 2
a custom tool                   a function of one text, `input`
ToolChoice                      functionCallingConfig: AUTO, ANY, NONE; VALIDATED for a choice among some
Thinking                        thinkingConfig: a level for Gemini 3, a budget for 2.5 (`_BUDGETS`)
Format                          responseMimeType, responseJsonSchema; beside functions words, before Gemini 3
"""

import re
from typing import Any

import msgspec

from penstock.providers.formats import ANY_OBJECT, in_words
from penstock.providers.gemini_schema_subset import narrowed, subset
from penstock.providers.tool_schemas import INPUT
from penstock.providers.tools import GoogleLetters, input_of, renamed, told_choice
from penstock.providers.turns import hoisted, instructed, settled
from penstock.types.conversation import (
    JSON,
    Conversation,
    MediaPart,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Thinking,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Turn,
)

_SAME = (
    ("max_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)
_WRITTEN = frozenset(name for name, _ in _SAME) | {
    *("tools", "tool_choice", "stop", "n", "thinking", "format", "logprobs", "top_logprobs", "modalities"),
}
_MAX_STOPS = 5
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
# Efforts as Google's own OpenAI-compatible door turns them into budgets.
_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium"}  # any other: high
_LEAST_BUDGET_OF_PRO = 128  # of Gemini 2.5 Pro, which always thinks
# https://ai.google.dev/gemini-api/docs/thinking#set-budget, of Gemini 2.5
_MOST_BUDGET = 24_576
_MOST_BUDGET_OF_PRO = 32_768
_LEAST_BUDGET_OF_LITE = 512
LONGEST_NAME = 64
_BOTH_SINCE = 3
# https://ai.google.dev/gemini-api/docs/thought-signatures: for calls that came from another model
_UNSIGNED = "skip_thought_signature_validator"
_VERSION = re.compile(r"gemini-(\d+)")
# "thinking is not supported by this model" (googleapis/js-genai#681): before 2.5, of images, and open ones
_THINKS_NOT = re.compile(r"gemini-(?:1|2\.0)|2\.5-flash-image|gemma-[1-3]")
_MODALITIES = frozenset({"text", "image", "audio"})
_KINDS = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4", "file": "application/pdf"}
_FETCHED = re.compile(
    r"gs://|https://generativelanguage\.googleapis\.com/"
    r"|https?://(?:www\.|m\.)?youtube\.com/(?:watch|shorts|live)|https?://youtu\.be/"
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def is_fetched_by_google(url: str) -> bool:
    """Cloud Storage, the Files API and YouTube; every other URL is fetched by us."""
    return _FETCHED.match(url) is not None


class Lowering:
    """One request on its way; `dropped` fills as it is written.

    schema: what the answer must fit, where Gemini was told only a part of it.
    """

    def __init__(self, conversation: Conversation, model: str, *, ids: bool) -> None:
        self._conversation = conversation
        version = _VERSION.search(model)
        self._version = int(version[1]) if version else 2
        self._thinks = _THINKS_NOT.search(model) is None
        self._is_pro = "pro" in model
        self._is_lite = "lite" in model
        self._ids = ids
        self._names = GoogleLetters(LONGEST_NAME)
        renamed(conversation.tools, self._names)
        self._called: dict[str, str] = {}  # call id -> function
        self.dropped: list[str] = []
        self.schema: JSON | None = None

    def body(self) -> JSON:
        said = self._conversation
        turns = settled(said.turns)
        if self._is_only_asked():
            wanted = said.format.schema if said.format is not None else None
            self.schema = wanted or ANY_OBJECT
            turns = instructed(turns, in_words(wanted))
        leading, turns = hoisted(turns)
        body: JSON = {"contents": self._contents(turns)}
        system = [part for turn in leading for part in self._parts(turn.parts)]
        if system:
            if body["contents"]:
                body["systemInstruction"] = {"parts": system}
            else:  # nothing but instructions: a request must ask for something
                body["contents"] = [{"role": "user", "parts": system}]
        choice = told_choice(said, self._lose)
        if tools := self._tools(said.tools):
            body["tools"] = tools
            if choice is not None and any("functionDeclarations" in tool for tool in tools):
                body["toolConfig"] = {"functionCallingConfig": self._choice(choice)}
        config = self._config()
        if config:
            body["generationConfig"] = config
        self.dropped += said.unwritten(_WRITTEN)
        return body

    def _lose(self, name: str) -> None:
        if name not in self.dropped:
            self.dropped.append(name)

    # -- contents

    def _contents(self, turns: list[Turn]) -> list[JSON]:
        contents: list[JSON] = []
        for turn in turns:
            if turn.name:
                self._lose("messages[].name")
            match turn.role:
                case "assistant":
                    role, parts = "model", self._said(turn.parts)
                case "tool":
                    role, parts = "user", self._results(turn.parts)
                case _:
                    role, parts = "user", self._parts(turn.parts)
            if not parts:
                continue
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
        return contents

    def _parts(self, parts: list[Any]) -> list[JSON]:
        written: list[JSON] = []
        for part in parts:
            match part:
                case TextPart(text):
                    if text:
                        written.append({"text": text})
                case MediaPart():
                    self._media(part, written)
                case NativePart():
                    self._native(part, written)
        return written

    def _said(self, parts: list[Any]) -> list[JSON]:
        written: list[JSON] = []
        is_signed = self._version < 3
        for part in parts:
            match part:
                case TextPart(text) | RefusalPart(text):
                    if text:
                        written.append({"text": text})
                case ReasoningPart():
                    if part.issuer == "gemini" and part.signature:
                        thought = {"thought": True} if part.text else {}
                        written.append({"text": part.text, **thought, "thoughtSignature": part.signature})
                    elif part.signature or part.redacted:
                        self._lose("messages[].reasoning")
                case ToolCallPart():
                    call = self._call(part)
                    if not is_signed:
                        call.setdefault("thoughtSignature", _UNSIGNED)
                        is_signed = True
                    written.append(call)
                case MediaPart():
                    self._media(part, written)
                case NativePart():
                    self._native(part, written)
        return written

    def _call(self, part: ToolCallPart) -> JSON:
        self._called[part.id] = part.name
        arguments = input_of(part)
        if arguments is None:  # what a model wrote need not be JSON
            arguments = {"arguments": part.arguments}
        call: JSON = {"name": self._names[part.name], "args": arguments}
        if self._ids:
            call["id"] = part.id
        written: JSON = {"functionCall": call}
        if part.signature:
            written["thoughtSignature"] = part.signature
        return written

    def _results(self, parts: list[Any]) -> list[JSON]:
        """The responses first: Google wants as many in a row as there were calls."""
        written: list[JSON] = []
        media: list[JSON] = []
        for part in parts:
            if not isinstance(part, ToolResultPart):
                continue
            text = "".join(inner.text for inner in part.content if isinstance(inner, TextPart))
            for inner in part.content:
                if isinstance(inner, MediaPart):
                    if not text:
                        text = "See what follows."
                    self._media(inner, media)
            name = self._names[self._called.get(part.call_id) or part.name or part.call_id]
            response: JSON = {"name": name, "response": _response(text, is_error=part.is_error)}
            if self._ids:
                response["id"] = part.call_id
            written.append({"functionResponse": response})
        return written + media

    def _media(self, part: MediaPart, written: list[JSON]) -> None:
        media_type = part.media_type or _KINDS[part.kind]
        if part.detail not in (None, "auto"):
            self._lose("messages[].image.detail")
        if part.data is not None:
            written.append({"inlineData": {"mimeType": media_type, "data": part.data}})
            return
        uri = part.url or part.file_id or ""
        if part.file_id is None or is_fetched_by_google(uri):
            data = {"fileUri": uri}
            if part.media_type:
                data["mimeType"] = part.media_type
            written.append({"fileData": data})
        else:
            self._lose(f"messages[].{part.kind}.file_id")

    def _native(self, part: NativePart, written: list[JSON]) -> None:
        if part.dialect == "gemini":
            written.append(part.body)
        else:
            self._lose(f"messages[].{part.body.get('type', part.dialect)}")

    # -- tools

    def _tools(self, tools: list[Tool]) -> list[JSON]:
        functions: list[JSON] = []
        native: list[JSON] = []
        for tool in tools:
            if tool.kind == "native":
                if tool.dialect == "gemini" and tool.native is not None:
                    native.append(tool.native)
                else:
                    self._lose(f"tools.{tool.name}")
                continue
            if tool.strict:
                self._lose("tools[].strict")
            functions.append(self._function(tool))
        return ([{"functionDeclarations": functions}] if functions else []) + native

    def _function(self, tool: Tool) -> JSON:
        written: JSON = {"name": self._names[tool.name]}
        if tool.description:
            written["description"] = tool.description
        schema = tool.parameters
        if tool.kind == "custom":
            schema = INPUT
            if tool.format is not None and tool.format.get("type") != "text":
                self._lose("tools[].custom.format")
        if schema and (schema.get("properties") or schema.keys() - {"type", "properties"}):
            if self._version >= 2:
                written["parametersJsonSchema"] = schema
            else:
                written["parameters"] = subset(schema)
        return written

    def _choice(self, choice: ToolChoice) -> JSON:
        mode = _MODES[choice.mode]
        names = [choice.name] if choice.mode == "named" and choice.name else list(choice.allowed)
        if names and mode != "NONE":
            mode = "VALIDATED" if mode == "AUTO" else mode
            return {"mode": mode, "allowedFunctionNames": [self._names[name] for name in names]}
        return {"mode": mode}

    # -- generationConfig

    def _is_only_asked(self) -> bool:
        """For the form of its answer: before Gemini 3, functions and JSON together are refused
        (googleapis/python-genai#867).
        """
        said = self._conversation
        has_functions = any(tool.kind != "native" for tool in said.tools)
        return said.format is not None and has_functions and self._version < _BOTH_SINCE

    def _config(self) -> JSON:
        said = self._conversation
        config: JSON = {key: value for name, key in _SAME if (value := getattr(said, name)) is not None}
        if said.n != 1:
            config["candidateCount"] = said.n
        if said.stop:
            config["stopSequences"] = said.stop[:_MAX_STOPS]
            if len(said.stop) > _MAX_STOPS:
                self._lose(f"stop[{_MAX_STOPS}:]")
        if said.logprobs:
            config["responseLogprobs"] = True
            if said.top_logprobs:
                config["logprobs"] = said.top_logprobs
        if said.modalities and said.modalities != ["text"]:
            config["responseModalities"] = [name.upper() for name in said.modalities if name in _MODALITIES]
            if not _MODALITIES.issuperset(said.modalities):
                self._lose("modalities")
        if said.format is not None and not self._is_only_asked():
            config["responseMimeType"] = "application/json"
            if said.format.schema is not None:
                self._schema(said.format.schema, config)
        if said.thinking is not None and (thinking := self._thinking(said.thinking)):
            config["thinkingConfig"] = thinking
        return config

    def _schema(self, schema: JSON, config: JSON) -> None:
        if self._version < 2:
            config["responseSchema"] = subset(schema)
            self.schema = schema
            return
        config["responseJsonSchema"], is_lossy = narrowed(schema)
        if is_lossy:
            self.schema = schema

    def _thinking(self, thinking: Thinking) -> JSON:
        config: JSON = {}
        is_off = thinking.enabled is False or thinking.effort == "none"
        if not self._thinks:
            if not is_off:
                self._lose("thinking")
            return config
        if is_off:
            if self._version >= 3:
                config["thinkingLevel"] = "low" if self._is_pro else "minimal"
            else:
                config["thinkingBudget"] = _LEAST_BUDGET_OF_PRO if self._is_pro else 0
            return config
        if thinking.budget_tokens is not None:
            config["thinkingBudget"] = self._budget(thinking.budget_tokens)
        elif thinking.effort is not None:
            if self._version >= 3:
                config["thinkingLevel"] = _LEVELS.get(thinking.effort, "high")
            else:
                config["thinkingBudget"] = _BUDGETS.get(thinking.effort, 24_576)
        elif thinking.enabled and self._version < 3:
            config["thinkingBudget"] = -1  # as much as the model finds right
        config["includeThoughts"] = thinking.visible is not False
        return config

    def _budget(self, wanted: int) -> int:
        """Within what the model takes; -1 lets it choose."""
        if wanted < 0 or self._version >= _BOTH_SINCE:
            return wanted
        least = _LEAST_BUDGET_OF_PRO if self._is_pro else _LEAST_BUDGET_OF_LITE if self._is_lite else 0
        return max(least, min(wanted, _MOST_BUDGET_OF_PRO if self._is_pro else _MOST_BUDGET))


def _response(text: str, *, is_error: bool) -> JSON:
    """A result that is a JSON object is the response itself; anything else is its `output`."""
    if is_error:
        return {"error": text}
    if text[:1] == "{":
        try:
            decoded = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            decoded = None
        if isinstance(decoded, dict) and not (len(decoded) == 1 and decoded.keys() & _WRAPPERS):
            return decoded
    return {"output": text}


_WRAPPERS = frozenset({"output", "result", "error"})
