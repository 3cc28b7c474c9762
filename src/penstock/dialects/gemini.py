"""What both sides of the Gemini dialect need: its spellings, its signatures, its words for how answers end.

spellings    protobuf's JSON knows each field by two names, inlineData and inline_data: `canonical` gives the
             first. Names inside free-form JSON (arguments, schemas) are nobody's but the user's.
bytes        base64 in either alphabet, padded or not: `standard_base64` gives the one all others read
signatures   bytes, too, so a foreign one travels as base64 of its sealed text: the SDKs decode and encode it
             on the way, and leave it whole
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from penstock.types.conversation import seal, unseal
from penstock.types.events import FinishReason

JSON = dict[str, Any]

# Below these, keys are the user's own. `parameters` and `responseSchema` are schemas (see schema_as_json).
FREE = frozenset(
    {
        *("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"),
        *("labels", "partMetadata", "customMetadata", "_responseJsonSchema"),
    }
)
# Where a list is meant and one object is often written; Google's parser takes it, too.
_LISTS = frozenset({"contents", "parts", "tools", "functionDeclarations", "safetySettings", "requests"})
# Google's generated REST clients write enums as numbers ($alt=json;enum-encoding=int).
ENUMS: dict[str, tuple[str, ...]] = {
    "mode": ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
    "responseModalities": ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO"),
    "thinkingLevel": ("THINKING_LEVEL_UNSPECIFIED", "LOW", "HIGH", "MEDIUM", "MINIMAL"),
    "taskType": (
        *("TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY"),
        *("CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"),
    ),
}
TYPES = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_MIDDLE = re.compile(r"(?<=[a-zA-Z0-9])_([a-z0-9])")
_URLSAFE = str.maketrans("-_", "+/")

CALL = "call"  # the issuer of a signature that is a call's id: ours

FINISHED: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
}
# The answer is broken, not finished. What is in neither table was stopped by a filter or for a reason that
# Google keeps to itself (OTHER): the client must not take it for a whole answer.
BROKEN = frozenset(
    {
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
        *("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"),
    }
)
REASONS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}


def camel(name: str) -> str:
    return _MIDDLE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def canonical(value: Any) -> Any:
    """`value` with every field under its camelCase name, without nulls, and lists where lists are meant."""
    if value.__class__ is dict:
        out: JSON = {}
        for key, inner in value.items():
            if inner is None:
                continue
            name = camel(key) if "_" in key else key
            if inner.__class__ is str or name in FREE:
                out[name] = inner
            elif name in ENUMS:
                out[name] = enum_name(inner, ENUMS[name])
            elif name in _LISTS and inner.__class__ is dict:
                out[name] = [canonical(inner)]
            elif inner.__class__ is dict or inner.__class__ is list:
                out[name] = canonical(inner)
            else:
                out[name] = inner
        return out
    return [canonical(inner) for inner in value] if value.__class__ is list else value


def enum_name(value: Any, names: tuple[str, ...]) -> Any:
    """The name of an enum's number, or of each in a list; what is no such number stays."""
    if value.__class__ is list:
        return [enum_name(inner, names) for inner in value]
    return names[value] if value.__class__ is int and 0 <= value < len(names) else value


def standard_base64(text: str) -> str:
    """Raises ValueError for what is no base64."""
    plain = text.rstrip("=").translate(_URLSAFE)
    padded = plain + "=" * (-len(plain) % 4)
    try:
        binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc
    return padded


def sealed(issuer: str, signature: str) -> str:
    """A thought signature as a Gemini client carries it."""
    if issuer == "gemini":
        return signature
    return base64.b64encode(seal(issuer, signature).encode()).decode()


def opened(signature: str) -> tuple[str, str]:
    """(issuer, signature); the inverse of `sealed`."""
    if signature[:12] == _SEALED:
        try:
            text = base64.b64decode(standard_base64(signature)).decode()
        except ValueError:
            return "gemini", signature
        return unseal(text, "gemini")
    return "gemini", signature


_SEALED = base64.b64encode(seal("", "")[:9].encode()).decode()  # "penstock.": 9 bytes, 12 letters
_MARK = b'"' + _SEALED.encode()
_REDACTED = "redacted:"  # before the data of a block that only its issuer can read; no base64 has a colon


def sealed_redacted(issuer: str, data: str) -> str:
    return sealed(issuer, _REDACTED + data)


def split_redacted(signature: str) -> tuple[str | None, str | None]:
    """(signature, redacted) of an opened one: exactly one is set."""
    if signature.startswith(_REDACTED):
        return None, signature.removeprefix(_REDACTED)
    return signature, None


def without_foreign(contents: list[JSON], encoded: bytes) -> list[JSON] | None:
    """`contents` without what other vendors signed, which Google would refuse; None = there is none.

    `encoded`: the request as JSON, where a look at the bytes tells whether it needs one at the parts.
    """
    if _MARK not in encoded:
        return None
    return [
        {**content, "parts": list(_own_parts(content["parts"]))} if content.get("parts") else content
        for content in contents
    ]


def _own_parts(parts: list[JSON]) -> Iterator[JSON]:
    for part in parts:
        signature = part.get("thoughtSignature")
        if not isinstance(signature, str) or opened(signature)[0] == "gemini":
            yield part
        elif not part.get("thought"):
            yield {key: value for key, value in part.items() if key != "thoughtSignature"}
