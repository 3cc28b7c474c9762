"""The form of an answer, said in words: for vendors that cannot be bound to it.

What is only asked for is checked by the gateway (Outgoing.schema, gateway/structured.py).
"""

import msgspec

from penstock.types.conversation import JSON, TextPart, ToolResultPart, Turn

ANY_OBJECT: JSON = {"type": "object"}
IN_WORDS = "Answer with one JSON object and nothing else."


def in_words(schema: JSON | None) -> str:
    if schema is None:
        return IN_WORDS
    written = msgspec.json.encode(schema).decode()
    said = "Answer with one JSON value and nothing else. It must be valid against this JSON Schema:"
    return f"{said}\n{written}"


def says_json(turns: list[Turn]) -> bool:
    """Whether the word stands in a text: OpenAI refuses json_object in a conversation without it."""
    for turn in turns:
        for part in turn.parts:
            texts = part.content if isinstance(part, ToolResultPart) else [part]
            if any(isinstance(text, TextPart) and "json" in text.text.lower() for text in texts):
                return True
    return False
