"""POST /v1/completions: https://platform.openai.com/docs/api-reference/completions

best_of                with n: best_of >= n; not with stream
several prompts        choices are numbered n * prompt + sample, as OpenAI numbers them
chunks                 OpenAI streams `text_completion` objects, the same shape as the whole answer
"""

from typing import Any, cast

from penstock.protocols import openai_errors
from penstock.protocols.checking import Checker
from penstock.protocols.openai_encoder import JSON, ChoiceState, OpenAIEncoder, merge_logprobs
from penstock.protocols.openai_schema import COMPLETION_SHAPE, CompletionBody, drop_nulls
from penstock.types.call import Call
from penstock.types.errors import InvalidRequest, PenstockError, UpstreamInvalid
from penstock.types.requests import CompletionRequest, Operation, Request
from penstock.types.wire import Encoder

operation: Operation = "completion"
forwards: tuple[bytes, ...] = ()
id_header = ""
budget_status = 429

_checker = Checker(CompletionBody)
_CHOICE_KEYS = frozenset({"index", "text", "finish_reason", "logprobs"})


def decode(body: dict[str, Any]) -> CompletionRequest:
    drop_nulls(body, COMPLETION_SHAPE)
    checked = _checker.check(body)
    prompt = checked.prompt
    if isinstance(prompt, list) and len(set(map(type, prompt))) > 1:
        raise InvalidRequest("`prompt` mixes texts and tokens; send one kind.", param="prompt")
    stream = checked.stream is True
    options = checked.stream_options
    if options is not None and not stream:
        raise InvalidRequest("`stream_options` is only allowed with `stream: true`.", param="stream_options")
    n = checked.n or 1
    if checked.best_of is not None:
        if checked.best_of < n:
            raise InvalidRequest(
                f"`best_of` is {checked.best_of}; it must be at least n ({n}).", param="best_of"
            )
        if stream and checked.best_of > n:
            raise InvalidRequest("`best_of` above n cannot be streamed.", param="best_of")
    return CompletionRequest(
        checked.model,
        body,
        stream,
        options is not None and options.include_usage is True,
        n,
        checked.max_tokens,
    )


def encoder(request: Request, call: Call) -> Encoder:
    return CompletionEncoder(cast("CompletionRequest", request), call)


def error_body(error: PenstockError, call_id: str) -> bytes:  # noqa: ARG001 - the id is in x-request-id
    return openai_errors.error_body(error)


class TextChoice(ChoiceState):
    __slots__ = ("text",)

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.text: list[str] = []  # only filled by fold()


class CompletionEncoder(OpenAIEncoder):
    chunk_object = answer_object = "text_completion"
    id_prefix = "cmpl-"

    def _normalise(self, choice: JSON) -> bool:
        index = choice.setdefault("index", 0)
        state: TextChoice | None = self._states.get(index)
        if state is None:
            state = self._states[index] = TextChoice(index)
        if state.finish_reason is not None:
            choice.pop("text", None)  # how the caller knows which choices to leave out
            return False
        if choice.get("text") is None:
            choice["text"] = ""
        choice.setdefault("logprobs", None)
        choice["finish_reason"] = state.finish_reason = choice.get("finish_reason") or None
        return True

    def _fold_choice(self, choice: JSON) -> None:
        state: TextChoice = self._states[choice["index"]]
        state.text.append(choice["text"])
        if isinstance(choice["logprobs"], dict):
            state.logprobs = merge_logprobs(state.logprobs, choice["logprobs"])
        if len(choice) > len(_CHOICE_KEYS):
            state.extra.update((k, v) for k, v in choice.items() if k not in _CHOICE_KEYS)

    def _folded(self, state: TextChoice) -> JSON:
        return {
            "index": state.index,
            "text": "".join(state.text),
            "logprobs": state.logprobs,
            "finish_reason": state.finish_reason,
            **state.extra,
        }

    def _complete(self, choice: JSON) -> None:
        if not isinstance(choice.get("text"), str):
            raise UpstreamInvalid("The upstream's answer has a choice without text.")
        if not choice.get("finish_reason"):
            raise UpstreamInvalid("The upstream's answer has a choice without a finish_reason.")
        choice.setdefault("logprobs", None)
