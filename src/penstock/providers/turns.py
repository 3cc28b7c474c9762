"""Turns in the order that vendors insist on; clients of some dialects are freer.

settled      the results of an assistant's calls follow its turn at once, in the order of the calls; no two
               calls of a history have one id
paired       the same of messages as a vendor takes them, or the request is refused
rounded      an assistant's turn does not end in thoughts
hoisted      the instructions at the start
instructed   one more instruction
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable

import msgspec

from penstock.types.conversation import JSON, Part, TextPart, ToolCallPart, ToolResultPart, Turn
from penstock.types.errors import InvalidRequest

CallsOf = Callable[[list[JSON]], list[str]]
ResultsOf = Callable[[list[JSON]], list[tuple[str, JSON]]]
_replace = msgspec.structs.replace


def settled(turns: list[Turn]) -> list[Turn]:
    """A result without its call stays where it is.

    Parallel calls are answered in any order, a person may speak before a tool has, and the model call another
    one (Codex); some models number their calls from 0 in each turn (Kimi K3: vllm-project/vllm#50295).
    """
    out: list[Turn] = []
    ids: set[str] = set()  # of all calls so far
    history: _History | None = None
    for at, turn in enumerate(turns):
        if turn.role == "tool":
            left = turn.parts if history is None else history.left(turn)
            if left:
                out.append(turn if len(left) == len(turn.parts) else _replace(turn, parts=left))
        elif turn.role == "assistant" and (calls := _calls(turn)):
            if ids.isdisjoint(calls) and at + 1 < len(turns) and _answers(turns[at + 1]) == calls:
                ids.update(calls)  # as nearly all are
                out.append(turn)
                continue
            history = history or _History(turns)
            said, results = _paired(turn.parts, at, history, ids)
            out.append(_replace(turn, parts=said))
            if results:
                out.append(Turn("tool", results))
        else:
            out.append(turn)
    return out


def _calls(turn: Turn) -> list[str]:
    return [part.id for part in turn.parts if part.__class__ is ToolCallPart]


def _answers(turn: Turn) -> list[str]:
    if turn.role != "tool":
        return []
    return [part.call_id for part in turn.parts]  # type: ignore[union-attr]  # such a turn has nothing else


class _History:
    """Where ids are called, and the results that nobody has taken yet, by id."""

    def __init__(self, turns: list[Turn]) -> None:
        self._called: dict[str, list[int]] = {}
        self._results: dict[str, deque[tuple[int, ToolResultPart]]] = {}
        self._taken: set[int] = set()  # by identity
        for at, turn in enumerate(turns):
            for part in turn.parts:
                if isinstance(part, ToolCallPart):
                    self._called.setdefault(part.id, []).append(at)
                elif isinstance(part, ToolResultPart):
                    self._results.setdefault(part.call_id, deque()).append((at, part))

    def take(self, call_id: str, at: int) -> ToolResultPart | None:
        """The result of a call in turn `at`: the first behind it, if the id is not called again before."""
        results, called = self._results.get(call_id), self._called[call_id]
        while results and results[0][0] < at:
            results.popleft()  # no call's
        again = bisect_right(called, at)
        if not results or (again < len(called) and called[again] < results[0][0]):
            return None
        result = results.popleft()[1]
        self._taken.add(id(result))
        return result

    def left(self, turn: Turn) -> list[Part]:
        return [part for part in turn.parts if id(part) not in self._taken]


def _paired(parts: list[Part], at: int, history: _History, ids: set[str]) -> tuple[list[Part], list[Part]]:
    said: list[Part] = []
    results: list[Part] = []
    for part in parts:
        call = part
        if isinstance(part, ToolCallPart):
            result = history.take(part.id, at)
            own = part.id
            while own in ids:
                own = f"{part.id}_{len(ids)}"
            ids.add(own)
            if own != part.id:
                call = _replace(part, id=own)
            if result is not None:
                results.append(result if own == part.id else _replace(result, call_id=own))
        said.append(call)
    return said, results


def hoisted(turns: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    """The system turns at the start, and the rest."""
    at = next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return turns[:at], turns[at:]


def paired(messages: list[JSON], calls_of: CallsOf, results_of: ResultsOf) -> None:
    """Of written messages: the results come first after their calls, in their order; each call has one.

    calls_of: the ids that blocks call; results_of: the blocks that are results, by the ids of their calls.
    Raises InvalidRequest.
    """
    calls: list[str] = []
    for message in messages:
        content: list[JSON] = message["content"]
        given = results_of(content)
        if given or (calls and message["role"] != "system"):
            results = dict(given)
            lacking = next((call for call in calls if call not in results), None)
            if lacking is not None:
                raise _unanswered(lacking)
            if len(given) > len(calls):
                extra = next((one for one in results if one not in calls), next(iter(results)))
                raise InvalidRequest(
                    f"The tool result {extra!r} does not follow the one call it belongs to.", param="messages"
                )
            placed = set(map(id, results.values()))
            rest = [block for block in content if id(block) not in placed]
            message["content"] = [results[call] for call in calls] + rest
        elif calls:
            continue
        calls = calls_of(content)
    if calls:
        raise _unanswered(calls[0])


def _unanswered(call: str) -> InvalidRequest:
    return InvalidRequest(f"The tool call {call!r} has no result after it.", param="messages")


def rounded(written: list[JSON], is_thought: Callable[[JSON], bool]) -> bool:
    """What was written of an assistant's turn must not end in thoughts; whether any were left out."""
    count = len(written)
    while written and is_thought(written[-1]):
        written.pop()
    return len(written) < count


def instructed(turns: list[Turn], words: str) -> list[Turn]:
    """One more instruction, after those that the conversation begins with."""
    system, rest = hoisted(turns)
    return [*system, Turn("system", [TextPart(words)]), *rest]
