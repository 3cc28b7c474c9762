"""Anthropic's rules for turns: what stands where.

trim                an answer that was begun must not end in blanks
has_lost_thoughts   a turn in the middle of tool use begins with its thinking, if thinking is on by budget
"""

from penstock.types.conversation import JSON

BLANK = " \t\r\n\f\v"


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
