"""The chat answer: deltas and messages made legal.

what vendors send                                   what leaves
--------------------------------------------------  ----------------------------------------------------
role in no delta, or in every delta                 in the first delta of each choice, and only there
`reasoning_content` or `reasoning`                  both: clients know one or the other
tool calls: all with index 0; no index; no id;      one index per call, rising from 0; id, type and name
  name or id repeated; a whole call per chunk         in the first piece; only arguments in the later ones
the other kind of call beside it, null                one kind
one call in two kinds                                 refused: upstream_invalid
arguments null, missing, or an object               JSON text; `{}` for a call without any
finish_reason missing                               null
finish_reason stop after tool calls                 tool_calls, unless the client named the function: there
                                                      OpenAI says stop, too
finish_reason tool_calls without any tool call      stop
deltas after the finish_reason                      nothing
"""

from penstock.dialects.openai_calls import ARGUMENTS, ToolCall, ToolCalls, kind_of, text_of
from penstock.protocols.openai_chat_events import Blocks
from penstock.protocols.openai_encoder import JSON, ChoiceState, OpenAIEncoder, merge_logprobs, merge_unknown
from penstock.types.errors import UpstreamInvalid
from penstock.types.events import Chunk, Events

_DELTA_KEYS = frozenset(
    {"role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call"}
)
_CHOICE_KEYS = frozenset({"index", "delta", "finish_reason", "logprobs", "message"})
_PLAIN_KEYS = 3  # role, content, refusal: there in every message


class ChatChoice(ChoiceState):
    __slots__ = (
        "arguments",
        "calls",
        "content",
        "function_call",
        "has_function_call",
        "reasoning",
        "refusal",
    )

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.calls = ToolCalls(index)
        self.has_function_call = False
        # what follows is only filled by fold()
        self.arguments: list[list[str]] = []  # per call
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.function_call: JSON | None = None


class ChatEncoder(OpenAIEncoder):
    chunk_object = "chat.completion.chunk"
    answer_object = "chat.completion"
    id_prefix = "chatcmpl-"

    _blocks: Blocks | None = None  # of an answer that comes from another dialect

    def _normalise(self, choice: JSON) -> bool:
        index = choice.setdefault("index", 0)
        state: ChatChoice | None = self._states.get(index)
        if state is None:
            state = self._states[index] = ChatChoice(index)
        if state.finish_reason is not None:
            choice.pop("delta", None)  # how the caller knows which choices to leave out
            return False
        delta = choice.get("delta")
        if delta is None:
            delta = choice["delta"] = {}
        if not state.is_open:
            state.is_open = True
            delta["role"] = "assistant"
        elif "role" in delta:
            del delta["role"]
        if "reasoning_content" in delta:
            if "reasoning" not in delta:
                delta["reasoning"] = delta["reasoning_content"]
        elif "reasoning" in delta:
            delta["reasoning_content"] = delta["reasoning"]
        if "tool_calls" in delta:
            self._tool_calls(delta, state)
        if "function_call" in delta:
            if delta["function_call"]:
                state.has_function_call = True
            else:
                del delta["function_call"]
        reason = choice.get("finish_reason")
        if not reason:
            choice["finish_reason"] = None
            return True
        self._finish(choice, delta, state, reason)
        return True

    def _finish(self, choice: JSON, delta: JSON, state: ChatChoice, reason: str) -> None:
        without = state.calls.without_arguments()
        if without and reason != "length":
            pieces = [{"index": call.index, "function": {"arguments": "{}"}} for call in without]
            delta["tool_calls"] = _without_arguments(delta.get("tool_calls", []), pieces)
        has_calls = bool(state.calls.calls)
        choice["finish_reason"] = state.finish_reason = self._reason(
            reason, has_calls=has_calls, has_function_call=state.has_function_call
        )

    def _reason(self, reason: str, *, has_calls: bool, has_function_call: bool) -> str:
        if reason == "stop" and has_calls and not self._is_tool_named():
            return "tool_calls"
        if reason == "stop" and has_function_call and not has_calls:
            return "function_call"
        if reason == "tool_calls" and not has_calls:
            return "function_call" if has_function_call else "stop"
        return reason

    def _is_tool_named(self) -> bool:
        choice = self._request.body.get("tool_choice")
        return isinstance(choice, dict) and choice["type"] != "allowed_tools"

    def _translated(self, events: Events) -> Chunk:
        if self._blocks is None:
            self._blocks = Blocks()
        return self._blocks.chunk(events)

    # -- tool calls

    def _tool_calls(self, delta: JSON, state: ChatChoice) -> None:
        pieces = []
        for given in delta.pop("tool_calls") or ():
            piece = state.calls.feed(given)
            if piece is None:
                continue
            call = piece.call
            key = ARGUMENTS[call.kind]
            if not piece.starts:
                pieces.append({"index": call.index, call.kind: {key: piece.text}})
                continue
            own = {"index": call.index, "id": call.id, "type": call.kind}
            payload = {**piece.payload, "name": call.name, key: piece.text}
            pieces.append({**call.extra, **own, call.kind: payload})
        if pieces:
            delta["tool_calls"] = pieces

    # -- the whole answer

    def _fold_choice(self, choice: JSON) -> None:
        state: ChatChoice = self._states[choice["index"]]
        delta = choice["delta"]
        if delta.get("content"):
            state.content.append(delta["content"])
        if delta.get("reasoning_content"):
            state.reasoning.append(delta["reasoning_content"])
        if delta.get("refusal"):
            state.refusal.append(delta["refusal"])
        for piece in delta.get("tool_calls", ()):
            call = state.calls.calls[piece["index"]]
            if call.index == len(state.arguments):
                state.arguments.append([])
            state.arguments[call.index].append(piece[call.kind][ARGUMENTS[call.kind]])
        if "function_call" in delta:
            state.function_call = _merge_function_call(state.function_call, delta["function_call"])
        if isinstance(choice.get("logprobs"), dict):
            state.logprobs = merge_logprobs(state.logprobs, choice["logprobs"])
        merge_unknown(state.extra.setdefault("message", {}), delta, _DELTA_KEYS)
        if len(choice) > 3:  # more than index, delta, finish_reason
            state.extra.update((k, v) for k, v in choice.items() if k not in _CHOICE_KEYS)

    def _folded(self, state: ChatChoice) -> JSON:
        content: str | None = "".join(state.content)
        message: JSON = {"role": "assistant"}
        message["content"] = content or (
            None if state.calls.calls or state.refusal or state.function_call else ""
        )
        message["refusal"] = "".join(state.refusal) or None
        if state.reasoning:
            message["reasoning_content"] = message["reasoning"] = "".join(state.reasoning)
        if state.calls.calls:
            message["tool_calls"] = [
                _whole_call(call, arguments)
                for call, arguments in zip(state.calls.calls, state.arguments, strict=True)
            ]
        if state.function_call:
            message["function_call"] = state.function_call
        extra = state.extra.pop("message", {})
        return {
            "index": state.index,
            "message": {**message, **extra},
            "logprobs": _with_both_lists(state.logprobs),
            "finish_reason": state.finish_reason,
            **state.extra,
        }

    def _complete(self, choice: JSON) -> None:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise UpstreamInvalid("The upstream's answer has a choice without a message.")
        message["role"] = "assistant"
        if "content" not in message:
            message["content"] = None
        if "refusal" not in message:
            message["refusal"] = None
        if len(message) > _PLAIN_KEYS:
            self._complete_message(message, choice)
        reason = choice.get("finish_reason")
        if not reason:
            raise UpstreamInvalid("The upstream's answer has a choice without a finish_reason.")
        if reason != "length":
            choice["finish_reason"] = self._reason(
                reason, has_calls="tool_calls" in message, has_function_call="function_call" in message
            )
        choice["logprobs"] = _with_both_lists(choice.get("logprobs"))

    def _complete_message(self, message: JSON, choice: JSON) -> None:
        """One that is more than a role, a content and a refusal."""
        _mirror_reasoning(message)
        calls = message.get("tool_calls")
        if calls:
            for position, call in enumerate(calls):
                self._complete_call(call, choice["index"], position)
            message["content"] = message["content"] or None
        else:
            message.pop("tool_calls", None)
        if not message.get("function_call"):
            message.pop("function_call", None)

    def _complete_call(self, call: JSON, choice_index: int, position: int) -> None:
        kind = kind_of(call)
        call.pop("function" if kind == "custom" else "custom", None)
        payload = call.get(kind)
        if not isinstance(payload, dict) or not payload.get("name"):
            raise UpstreamInvalid("The upstream called a tool without naming it.")
        key = ARGUMENTS[kind]
        payload[key] = text_of(payload.get(key)) or ("{}" if kind == "function" else "")
        call["type"] = kind
        call["id"] = call.get("id") or ToolCalls(choice_index).new_id(position)


def _without_arguments(pieces: list[JSON], closing: list[JSON]) -> list[JSON]:
    """`{}` for calls without arguments: inside the piece that is about to leave, else as one of its own."""
    by_index = {piece["index"]: piece for piece in pieces}
    for piece in closing:
        leaving = by_index.get(piece["index"])
        if leaving is None:
            pieces.append(piece)
        else:
            leaving["function"]["arguments"] = "{}"
    return pieces


def _mirror_reasoning(message: JSON) -> None:
    if "reasoning_content" in message:
        message.setdefault("reasoning", message["reasoning_content"])
    elif "reasoning" in message:
        message["reasoning_content"] = message["reasoning"]


def _merge_function_call(into: JSON | None, piece: JSON) -> JSON:
    old = into or {"name": "", "arguments": ""}
    return {
        "name": old["name"] or piece.get("name") or "",
        "arguments": old["arguments"] + text_of(piece.get("arguments")),
    }


def _with_both_lists(logprobs: JSON | None) -> JSON | None:
    """The schema requires `content` and `refusal` inside logprobs."""
    if not isinstance(logprobs, dict):
        return None
    return {"content": None, "refusal": None, **logprobs}


def _whole_call(call: ToolCall, arguments: list[str]) -> JSON:
    return {
        **call.extra,
        "id": call.id,
        "type": call.kind,
        call.kind: {"name": call.name, ARGUMENTS[call.kind]: "".join(arguments)},
    }
