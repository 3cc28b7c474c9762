"""What both sides of OpenAI's Responses dialect know of sealed reasoning.

`encrypted_content` is good only together with the id of its item, and other dialects have no place for that
id: there the two travel as one text. And it is good only where it was made: another account refuses the whole
request (`invalid_encrypted_content`). So it leaves us with a mark of its account, and goes back to no other.
"""

from hashlib import blake2b

from penstock.types.conversation import unseal

_BETWEEN = "|"  # in neither: ids are letters, digits and _, the content is base64
_AT = "@"  # likewise


def bound(item_id: str | None, encrypted: str) -> str:
    return f"{item_id}{_BETWEEN}{encrypted}" if item_id else encrypted


def unbound(text: str) -> tuple[str | None, str]:
    """(id, encrypted_content); the inverse of `bound`."""
    item_id, between, encrypted = text.partition(_BETWEEN)
    return (item_id, encrypted) if between else (None, text)


def account_of(provider: str) -> str:
    """Its mark, which does not tell a client what our providers are called."""
    return blake2b(provider.encode(), digest_size=4).hexdigest()


def marked(encrypted: str, account: str) -> str:
    """What another Penstock has sealed says itself whose it is."""
    if unseal(encrypted, "responses")[0] != "responses":
        return encrypted
    return f"{encrypted}{_AT}{account}"


def unmarked(text: str, account: str) -> str | None:
    """What that account has sealed, or nobody knows who; None: another has."""
    encrypted, at, whose = text.rpartition(_AT)
    if not at:
        return text
    return encrypted if whose == account else None
