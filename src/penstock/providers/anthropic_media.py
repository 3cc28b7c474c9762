"""Where Anthropic finds an image or a document: the `source` of its block."""

import base64
import binascii

from penstock.providers.anthropic_turns import BLANK
from penstock.types.conversation import JSON, MediaPart

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def source_of(part: MediaPart) -> JSON | None:
    """None for what Anthropic does not take: sound, film, other files, another vendor's file store."""
    if part.kind not in ("image", "file"):
        return None
    if part.url is not None:
        return {"type": "url", "url": part.url} if part.url.startswith("https://") else None
    if part.data is None:
        return None
    kind = part.media_type
    if kind in IMAGES or (kind == "application/pdf" and part.kind == "file"):
        return {"type": "base64", "media_type": kind, "data": part.data}
    if part.kind == "file" and (kind.startswith("text/") or kind == "application/json"):
        return _text(part.data)
    return None


def _text(data: str) -> JSON | None:
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return {"type": "text", "media_type": "text/plain", "data": text} if text.strip(BLANK) else None
