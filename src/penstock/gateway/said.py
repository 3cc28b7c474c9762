"""What the deltas of a chat answer add up to, as far as somebody judges it before the client has it.

    typed events, chunks and whole answers of every dialect      become, for each choice
    -----------------------------------------------------------  ------------------------------------------
    text                                                         text
    a refusal, a finish that says it was declined                is_declined
    tool calls                                                   has_calls
    a finish for want of tokens                                  is_cut
    log probabilities of tokens, where there are any             logprobs

An answer of the client's own dialect was only looked over by its reader; what cannot be read here makes the
whole of it unreadable, which nobody holds against it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from penstock.types.conversation import Dialect
from penstock.types.events import (
    Answer,
    Chunk,
    Delta,
    Event,
    Events,
    Finish,
    RefusalText,
    Text,
    ToolStart,
)

JSON = dict[str, Any]

_SHAPES = (AttributeError, TypeError, KeyError, ValueError)
# https://ai.google.dev/api/generate-content#FinishReason
_GEMINI_DECLINES = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"}
)


class Choice:
    """One of the answers that were asked for."""

    __slots__ = ("has_calls", "is_cut", "is_declined", "logprobs", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_declined = False
        self.has_calls = False
        self.is_cut = False
        self.logprobs: list[float] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def is_answer(self) -> bool:
        """A whole text, and nothing else."""
        return not (self.has_calls or self.is_declined or self.is_cut)

    def say(self, text: str, tokens: Any = None) -> None:
        if text.__class__ is not str:
            raise TypeError("a text that is none")
        self.texts.append(text)
        if tokens:
            self.logprobs += [float(token["logprob"]) for token in tokens]


class Said:
    """`dialect` is the request's own: chunks and answers are of no other."""

    def __init__(self, dialect: Dialect) -> None:
        self.choices: dict[int, Choice] = {}
        self.is_readable = True
        self._read = _READ.get(dialect)

    def see(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            try:
                match delta:
                    case Events(events):
                        for event in events:
                            self._event(event)
                    case Chunk(body) | Answer(body):
                        if self._read is None:
                            self.is_readable = False
                        else:
                            self._read(self, body)
                    case _:
                        pass
            except _SHAPES:
                self.is_readable = False

    def of(self, index: int) -> Choice:
        return self.choices.get(index) or self.choices.setdefault(index, Choice())

    def _event(self, event: Event) -> None:
        match event:
            case Text(text, index, logprobs):
                self.of(index).say(text, logprobs and logprobs.get("content"))
            case RefusalText(choice=index) | Finish("content_filter", index):
                self.of(index).is_declined = True
            case ToolStart(choice=index):
                self.of(index).has_calls = True
            case Finish("length", index):
                self.of(index).is_cut = True


def _openai(said: Said, body: JSON) -> None:
    for position, found in enumerate(body["choices"]):
        choice = said.of(found.get("index", position))
        delta = found.get("delta") or found.get("message") or {}
        if delta.get("content"):
            choice.say(delta["content"], (found.get("logprobs") or {}).get("content"))
        choice.has_calls = choice.has_calls or bool(delta.get("tool_calls"))
        choice.is_declined = choice.is_declined or bool(delta.get("refusal"))
        reason = found.get("finish_reason")
        choice.is_declined = choice.is_declined or reason == "content_filter"
        choice.is_cut = choice.is_cut or reason == "length"


def _responses(said: Said, body: JSON) -> None:
    choice = said.of(0)
    match body.get("type"):
        case "response.output_text.delta":
            choice.say(body["delta"], body.get("logprobs"))
        case "response.refusal.delta":
            choice.is_declined = True
        case "response.output_item.added":
            choice.has_calls = choice.has_calls or body["item"]["type"].endswith("_call")
        case "response.incomplete":
            _incomplete(choice, body["response"])
        case None:  # a whole one
            for item in body["output"]:
                choice.has_calls = choice.has_calls or item["type"].endswith("_call")
                for part in item.get("content") or () if item["type"] == "message" else ():
                    if part["type"] == "output_text":
                        choice.say(part["text"], part.get("logprobs"))
                    choice.is_declined = choice.is_declined or part["type"] == "refusal"
            _incomplete(choice, body)


def _incomplete(choice: Choice, response: JSON) -> None:
    reason = (response.get("incomplete_details") or {}).get("reason")
    choice.is_declined = choice.is_declined or reason == "content_filter"
    choice.is_cut = choice.is_cut or reason == "max_output_tokens"


def _anthropic(said: Said, body: JSON) -> None:
    choice = said.of(0)
    match body["type"]:
        case "message":
            for block in body["content"]:
                _block(choice, block)
            _stop(choice, body.get("stop_reason"))
        case "content_block_start":
            _block(choice, body["content_block"])
        case "content_block_delta" if body["delta"]["type"] == "text_delta":
            choice.say(body["delta"]["text"])
        case "message_delta":
            _stop(choice, body["delta"].get("stop_reason"))


def _block(choice: Choice, block: JSON) -> None:
    if block["type"] == "text":
        choice.say(block["text"])
    choice.has_calls = choice.has_calls or block["type"] == "tool_use"


def _stop(choice: Choice, reason: str | None) -> None:
    choice.is_declined = choice.is_declined or reason == "refusal"
    choice.is_cut = choice.is_cut or reason in ("max_tokens", "model_context_window_exceeded")


def _gemini(said: Said, body: JSON) -> None:
    if (body.get("promptFeedback") or {}).get("blockReason"):
        said.of(0).is_declined = True
    for position, found in enumerate(body.get("candidates") or ()):
        choice = said.of(found.get("index", position))
        for part in (found.get("content") or {}).get("parts") or ():
            if part.get("text") and not part.get("thought"):
                choice.say(part["text"])
            choice.has_calls = choice.has_calls or "functionCall" in part
        tokens = (found.get("logprobsResult") or {}).get("chosenCandidates") or ()
        choice.logprobs += [float(token["logProbability"]) for token in tokens]
        reason = found.get("finishReason")
        choice.is_declined = choice.is_declined or reason in _GEMINI_DECLINES
        choice.is_cut = choice.is_cut or reason == "MAX_TOKENS"


def _ollama(said: Said, body: JSON) -> None:
    choice = said.of(0)
    message = body.get("message") or {"content": body.get("response")}
    if message.get("content"):
        choice.say(message["content"], body.get("logprobs"))
    choice.has_calls = choice.has_calls or bool(message.get("tool_calls"))
    choice.is_cut = choice.is_cut or body.get("done_reason") == "length"


_READ: dict[str, Callable[[Said, JSON], None]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
