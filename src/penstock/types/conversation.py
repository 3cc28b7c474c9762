"""A chat request in no vendor's words: every inbound dialect lifts to it, every outbound one lowers from it.

Two wire formats never meet: the inbound protocol gives a `Conversation` (its `lift`), the provider writes its
own request from it (its `lower`). A request whose dialect the target speaks is never lifted: it travels as
the client wrote it (types/requests.py).

    Conversation
      turns         Turn(role, parts): system | user | assistant | tool, in the client's order
      tools         what the model may call
      the rest      sampling and wishes; None = the client did not say
      other         what the client's dialect has and this form has not: name -> value

Rules
- A `tool` turn holds only ToolResults. Results of one assistant turn that follow each other share a turn.
- An assistant turn's parts are in the order in which they were said: reasoning before the calls it led to.
- `arguments` of a tool call are JSON text, as the model wrote it; `{}` for none, never an empty text.
- A provider that cannot write a field says so (`Outgoing.dropped`): nothing is left out in silence.
"""

from typing import Any, Literal

import msgspec

Dialect = Literal["openai", "responses", "anthropic", "gemini", "bedrock", "cohere", "ollama", "tei"]
Role = Literal["system", "user", "assistant", "tool"]
JSON = dict[str, Any]


class TextPart(msgspec.Struct):
    text: str
    cache: JSON | None = None  # Anthropic's cache_control at this place: a prompt-cache breakpoint


class MediaPart(msgspec.Struct):
    """An image, sound, film or document: exactly one of `data`, `url` and `file_id` is set."""

    kind: Literal["image", "audio", "video", "file"]
    media_type: str = ""  # "image/png"; empty = unknown (a URL)
    data: str | None = None  # base64, standard alphabet, padded
    url: str | None = None  # http(s), or the target's own scheme (gs://, s3://)
    file_id: str | None = None  # in the file store of `store`
    name: str | None = None
    detail: str | None = None  # OpenAI's low | high | auto
    cache: JSON | None = None
    store: str = ""  # the vendor whose store it is: openai, anthropic


class ReasoningPart(msgspec.Struct):
    """What the model thought, to be given back to it unchanged.

    signature: opaque proof of `issuer`, whose own format it is; redacted: thinking that only the issuer can
    read (then there is no text). An empty text with a signature is legal (Anthropic with display omitted).
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    issuer: str = ""  # the dialect that can read the signature; "" = unknown
    id: str | None = None  # of the Responses API's reasoning item


class ToolCallPart(msgspec.Struct):
    id: str
    name: str
    arguments: str = "{}"  # JSON text; any text for kind `custom`
    kind: Literal["function", "custom"] = "function"
    signature: str | None = None  # Gemini's thought signature on a function call
    cache: JSON | None = None
    is_id_ours: bool = False  # the client's format has no ids, or the client has dropped it


class ToolResultPart(msgspec.Struct):
    call_id: str
    content: list["TextPart | MediaPart"]
    name: str = ""  # of the function, where the client said it or the call is known
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    cache: JSON | None = None


class RefusalPart(msgspec.Struct):
    text: str


class NativePart(msgspec.Struct):
    """A block that only its own dialect knows (a server-side tool's result, a citation's document ...)."""

    dialect: str
    body: JSON


Part = TextPart | MediaPart | ReasoningPart | ToolCallPart | ToolResultPart | RefusalPart | NativePart


class Turn(msgspec.Struct):
    role: Role
    parts: list[Part]
    name: str | None = None  # of the participant (OpenAI)


class Tool(msgspec.Struct):
    """A function. `native` is a vendor's built-in tool (web search ...) as `dialect` writes it, else None."""

    name: str
    description: str | None = None
    parameters: JSON | None = None  # JSON Schema of an object; None = no parameters
    strict: bool | None = None
    kind: Literal["function", "custom", "native"] = "function"
    format: JSON | None = None  # of a custom tool: OpenAI's text | grammar
    native: JSON | None = None
    dialect: str = ""
    cache: JSON | None = None


class ToolChoice(msgspec.Struct):
    """auto, none, required (any tool), named (this tool). `allowed`: only these may be called."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None
    allowed: tuple[str, ...] = ()


class Thinking(msgspec.Struct):
    """How much to reason. `budget_tokens` and `effort` are what the client gave; either, both or neither."""

    enabled: bool | None = None  # None = as the model does by itself
    effort: str | None = None  # none | minimal | low | medium | high | xhigh | max
    budget_tokens: int | None = None
    visible: bool | None = None  # whether the client wants to read it (a summary counts)


class Format(msgspec.Struct):
    """The form of the answer's text: any JSON object, or JSON of a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = "answer"
    schema: JSON | None = None
    strict: bool | None = None
    description: str | None = None


class Conversation(msgspec.Struct):
    turns: list[Turn]
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None  # of the answer, reasoning included
    temperature: float | None = None  # 0 to 2
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: list[str] = []
    seed: int | None = None
    n: int = 1
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: JSON | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    thinking: Thinking | None = None
    format: Format | None = None
    verbosity: str | None = None
    modalities: list[str] = []  # what the answer may hold; empty = text
    user: str | None = (
        None  # the end user's id (OpenAI's user or safety_identifier, Anthropic's metadata.user_id)
    )
    metadata: JSON | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    other: JSON = {}

    def unwritten(self, written: frozenset[str]) -> list[str]:
        """The fields the client set that a target which writes only `written` has no place for, sorted.

        `turns`, `stream` and `n` of 1 are everybody's; so is a field at the value that means nothing.
        """
        lost = [
            name
            for name in _OPTIONAL
            if name not in written
            and (value := getattr(self, name)) is not None
            and value not in _NEUTRAL[name]
        ]
        if self.n != 1 and "n" not in written:
            lost.append("n")
        lost.extend(self.other)
        return sorted(lost)


_ALWAYS = frozenset({"turns", "n", "other"})
_OPTIONAL = tuple(name for name in Conversation.__struct_fields__ if name not in _ALWAYS)
# Values that ask for what happens anyway, beside None and nothing at all.
_NEUTRAL: dict[str, tuple[Any, ...]] = {name: ([], {}) for name in _OPTIONAL} | {
    "parallel_tool_calls": (True,),
    "top_p": (1,),
    "min_p": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logprobs": (False,),
    "modalities": ([], ["text"]),
    "verbosity": ("medium",),
    "service_tier": ("auto", "default"),
    "thinking": (Thinking(),),
    "tool_choice": (ToolChoice("auto"),),
}


_SEAL = "penstock."


def seal(issuer: str, signature: str) -> str:
    """A signature of `issuer` as another dialect's client carries it; `unseal` is its inverse."""
    return f"{_SEAL}{issuer}.{signature}"


def unseal(signature: str, dialect: str) -> tuple[str, str]:
    """(issuer, signature): what has no seal was issued in the client's own `dialect`."""
    if signature.startswith(_SEAL):
        issuer, _, rest = signature[len(_SEAL) :].partition(".")
        return issuer, rest
    return dialect, signature
