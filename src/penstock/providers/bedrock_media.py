"""Images, films, sound and documents as Converse takes them: by their bytes, or where they are in S3."""

import base64
import binascii
import re

from penstock.types.conversation import JSON, MediaPart

_KINDS = {  # media type -> the block, and the format's name in it
    "image/png": ("image", "png"),
    "image/jpeg": ("image", "jpeg"),
    "image/gif": ("image", "gif"),
    "image/webp": ("image", "webp"),
    "application/pdf": ("document", "pdf"),
    "text/csv": ("document", "csv"),
    "application/msword": ("document", "doc"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("document", "docx"),
    "application/vnd.ms-excel": ("document", "xls"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ("document", "xlsx"),
    "text/html": ("document", "html"),
    "text/plain": ("document", "txt"),
    "text/markdown": ("document", "md"),
    "video/mp4": ("video", "mp4"),
    "video/quicktime": ("video", "mov"),
    "video/webm": ("video", "webm"),
    "video/x-matroska": ("video", "mkv"),
    "audio/mpeg": ("audio", "mp3"),
    "audio/mp3": ("audio", "mp3"),
    "audio/wav": ("audio", "wav"),
    "audio/x-wav": ("audio", "wav"),
    "audio/flac": ("audio", "flac"),
}
_WRONG_TITLE = re.compile(r"[^a-zA-Z0-9()\[\]-]+")  # single blanks are fine
_LONGEST_TITLE = 180


class Media:
    """The media of one request: no two of its documents have the same name."""

    def __init__(self) -> None:
        self._titles: set[str] = set()

    def block(self, part: MediaPart) -> JSON | None:
        """None for what Bedrock does not take."""
        source, kind = _source(part), _KINDS.get(part.media_type)
        if source is None or kind is None:
            return None
        block: JSON = {"format": kind[1], "source": source}
        if kind[0] == "document":
            block["name"] = self._title(part.name or "")
        return {kind[0]: block}

    def _title(self, name: str) -> str:
        plain = _WRONG_TITLE.sub(" ", name).strip()[:_LONGEST_TITLE].rstrip() or "document"
        title, number = plain, 1
        while title in self._titles:
            number += 1
            title = f"{plain} {number}"
        self._titles.add(title)
        return title


def with_words(blocks: list[JSON]) -> None:
    """A document needs a text beside it."""
    first = next((at for at, block in enumerate(blocks) if "document" in block), None)
    if first is not None and not any("text" in block for block in blocks):
        blocks.insert(first, {"text": "(a document)"})  # results of tools stay in front


def _source(part: MediaPart) -> JSON | None:
    if part.url is not None:
        return {"s3Location": {"uri": part.url}} if part.url.startswith("s3://") else None
    if part.data is None:
        return None
    try:
        base64.b64decode(part.data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return {"bytes": part.data}
