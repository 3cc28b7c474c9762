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

import secrets
from typing import Any

import msgspec

from penstock.protocols.openai_encoder import JSON, ChoiceState, OpenAIEncoder, merge_logprobs, merge_unknown
from penstock.types.errors import UpstreamInvalid

_DELTA_KEYS = frozenset(
    {"role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call"}
)
_CHOICE_KEYS = frozenset({"index", "delta", "finish_reason", "logprobs", "message"})
_PLAIN_KEYS = 3  # role, content, refusal: there in every message
_ARGUMENTS = {"function": "arguments", "custom": "input"}


class ToolCall:
    """One tool call of one choice while it is streamed."""

    __slots__ = ("arguments", "has_arguments", "held", "id", "index", "is_id_ours", "is_sent", "kind", "name")

    def __init__(self, index: int, call_id: str, kind: str, *, is_id_ours: bool) -> None:
        self.index = index
        self.id = call_id
        self.is_id_ours = is_id_ours
        self.kind = kind
        self.name = ""
        self.is_sent = False  # its first piece, the one with id and name, has left
        self.held = ""  # arguments that came before the name
        self.has_arguments = False
        self.arguments: list[str] = []  # only filled by fold()


class ChatChoice(ChoiceState):
    __slots__ = ("by_index", "calls", "content", "function_call", "has_function_call", "reasoning", "refusal")

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.calls: list[ToolCall] = []
        self.by_index: dict[Any, ToolCall] = {}  # upstream's index -> the latest call under it
        self.has_function_call = False
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.function_call: JSON | None = None


class ChatEncoder(OpenAIEncoder):
    chunk_object = "chat.completion.chunk"
    answer_object = "chat.completion"
    id_prefix = "chatcmpl-"

    _seed = ""

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
        if any(not call.is_sent for call in state.calls):
            raise UpstreamInvalid("The upstream called a tool without naming it.")
        if reason != "length":
            pieces = [
                {"index": call.index, call.kind: {_ARGUMENTS[call.kind]: "{}"}}
                for call in state.calls
                if not call.has_arguments and call.kind == "function"
            ]
            if pieces:
                delta["tool_calls"] = _without_arguments(delta.get("tool_calls", []), pieces)
        has_calls = bool(state.calls)
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

    # -- tool calls

    def _tool_calls(self, delta: JSON, state: ChatChoice) -> None:
        pieces = []
        for piece in delta.pop("tool_calls") or ():
            kind = _kind(piece)
            payload = piece.get(kind) or {}
            key = _ARGUMENTS[kind]
            text = _text(payload.get(key))
            call = self._call_of(piece, payload, kind, text, state)
            if payload and call.kind != kind:
                if call.is_sent or call.held:
                    raise UpstreamInvalid("The upstream changed the kind of a tool call half-way.")
                call.kind = kind
            if text:
                call.has_arguments = True
            if call.is_sent:
                if text:
                    pieces.append({"index": call.index, call.kind: {key: text}})
                continue
            call.held += text
            if not payload.get("name"):
                continue
            call.name = payload["name"]
            call.is_sent = True
            own = {"index": call.index, "id": call.id, "type": call.kind}
            rest = {name: value for name, value in piece.items() if name not in _ARGUMENTS}
            pieces.append({**rest, **own, call.kind: {**payload, "name": call.name, key: call.held}})
        if pieces:
            delta["tool_calls"] = pieces

    def _call_of(self, piece: JSON, payload: JSON, kind: str, text: str, state: ChatChoice) -> ToolCall:
        """The call this piece belongs to. An id says more than an index: many vendors number every call 0."""
        call_id = piece.get("id")
        index = piece.get("index")
        current = state.by_index.get(index) if index is not None else state.calls[-1] if state.calls else None
        if call_id:
            for call in state.calls:
                if call.id == call_id:
                    return call
            if current is not None and current.is_id_ours and not current.is_sent:
                current.id, current.is_id_ours = call_id, False
                return current
        elif current is not None and not _begins_another(current, payload.get("name"), text):
            return current
        position = len(state.calls)
        new_id = call_id or f"call_{self._unique()}{state.index}{position:02d}"
        call = ToolCall(position, new_id, kind, is_id_ours=not call_id)
        state.calls.append(call)
        state.by_index[index] = call
        return call

    def _unique(self) -> str:
        if not self._seed:
            self._seed = secrets.token_hex(10)
        return self._seed

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
            call = state.calls[piece["index"]]
            call.arguments.append(piece[call.kind][_ARGUMENTS[call.kind]])
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
        message["content"] = content or (None if state.calls or state.refusal or state.function_call else "")
        message["refusal"] = "".join(state.refusal) or None
        if state.reasoning:
            message["reasoning_content"] = message["reasoning"] = "".join(state.reasoning)
        if state.calls:
            message["tool_calls"] = [_whole_call(call) for call in state.calls]
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
        kind = _kind(call)
        call.pop("function" if kind == "custom" else "custom", None)
        payload = call.get(kind)
        if not isinstance(payload, dict) or not payload.get("name"):
            raise UpstreamInvalid("The upstream called a tool without naming it.")
        key = _ARGUMENTS[kind]
        payload[key] = _text(payload.get(key)) or ("{}" if kind == "function" else "")
        call["type"] = kind
        call["id"] = call.get("id") or f"call_{self._unique()}{choice_index}{position:02d}"


def _kind(piece: JSON) -> str:
    """Servers write both kinds, one of them null."""
    return "custom" if piece.get("custom") is not None else "function"


def _begins_another(current: ToolCall, name: str | None, text: str) -> bool:
    """A piece without an id: another call when it names another tool, or the same one with new arguments."""
    if not name or not current.is_sent:
        return False
    return name != current.name or (current.has_arguments and text.lstrip().startswith("{"))


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


def _text(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _mirror_reasoning(message: JSON) -> None:
    if "reasoning_content" in message:
        message.setdefault("reasoning", message["reasoning_content"])
    elif "reasoning" in message:
        message["reasoning_content"] = message["reasoning"]


def _merge_function_call(into: JSON | None, piece: JSON) -> JSON:
    old = into or {"name": "", "arguments": ""}
    return {
        "name": old["name"] or piece.get("name") or "",
        "arguments": old["arguments"] + _text(piece.get("arguments")),
    }


def _with_both_lists(logprobs: JSON | None) -> JSON | None:
    """The schema requires `content` and `refusal` inside logprobs."""
    if not isinstance(logprobs, dict):
        return None
    return {"content": None, "refusal": None, **logprobs}


def _whole_call(call: ToolCall) -> JSON:
    return {
        "id": call.id,
        "type": call.kind,
        call.kind: {"name": call.name, _ARGUMENTS[call.kind]: "".join(call.arguments)},
    }
