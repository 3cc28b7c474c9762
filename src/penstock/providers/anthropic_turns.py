"""Anthropic's rules for turns: what stands where.

pair                every call has one result, at the start of the next message, in the order of the calls
hoisted             system turns at the start go to `system`
trim                an answer that was begun must not end in blanks
has_lost_thoughts   a turn in the middle of tool use begins with its thinking, if thinking is on by budget
"""

from penstock.types.conversation import JSON, Turn
from penstock.types.errors import InvalidRequest

BLANK = " \t\r\n\f\v"


def pair(messages: list[JSON]) -> None:
    """Results come first in the message after their calls, in their order; each call has one."""
    calls: list[str] = []
    for message in messages:
        content = message["content"]
        results = {b["tool_use_id"]: b for b in content if b["type"] == "tool_result"}
        given = sum(block["type"] == "tool_result" for block in content)
        lacking = [call for call in calls if call not in results]
        if message["role"] == "system" and not results:
            continue
        if lacking:
            raise InvalidRequest(f"The tool call {lacking[0]!r} has no result after it.", param="messages")
        if len(results) > len(calls) or given > len(results):
            extra = next((one for one in results if one not in calls), next(iter(results)))
            raise InvalidRequest(
                f"The tool result {extra!r} does not follow the one call it belongs to.", param="messages"
            )
        if results:
            rest = [block for block in content if block["type"] != "tool_result"]
            message["content"] = [results[call] for call in calls] + rest
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
    if calls:
        raise InvalidRequest(f"The tool call {calls[0]!r} has no result after it.", param="messages")


def hoisted(turns: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    """The system turns at the start, and the rest."""
    at = next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return turns[:at], turns[at:]


def trim(content: list[JSON]) -> None:
    """Anthropic goes on from an answer that was begun, and refuses one that ends in blanks."""
    last = content[-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip(BLANK)


def has_lost_thoughts(messages: list[JSON]) -> bool:
    """Whether the turn in progress called tools without the thinking that led there."""
    last: str | list[JSON] = messages[-1]["content"]
    if isinstance(last, str) or not any(block["type"] == "tool_result" for block in last):
        return False
    said = (message["content"] for message in reversed(messages) if message["role"] == "assistant")
    calling: str | list[JSON] = next(said, "")
    return isinstance(calling, str) or calling[0]["type"] not in ("thinking", "redacted_thinking")
