"""What both sides of OpenAI's Responses dialect know of sealed reasoning.

`encrypted_content` is good only together with the id of its item, and other dialects have no place for that
id: there the two travel as one text.
"""

_BETWEEN = "|"  # in neither: ids are letters, digits and _, the content is base64


def bound(item_id: str | None, encrypted: str) -> str:
    return f"{item_id}{_BETWEEN}{encrypted}" if item_id else encrypted


def unbound(text: str) -> tuple[str | None, str]:
    """(id, encrypted_content); the inverse of `bound`."""
    item_id, between, encrypted = text.partition(_BETWEEN)
    return (item_id, encrypted) if between else (None, text)
