"""What both sides of Anthropic's Messages dialect need: https://platform.claude.com/docs/en/api/messages

usage     Anthropic's input_tokens leaves out what was read from or written to a prompt cache; ours does not
stop      its stop reasons, and ours
thoughts  how a thinking block carries reasoning that another vendor signed, and how to tell such a block
"""

import base64
import binascii
from typing import Any

import msgspec

from penstock.types.conversation import ReasoningPart, seal, unseal
from penstock.types.events import FinishReason
from penstock.types.usage import Usage

JSON = dict[str, Any]

VERSION = "2023-06-01"
VERSIONS = (VERSION, "2026-10-21")

STOP_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
CUT = frozenset(
    {"max_tokens", "model_context_window_exceeded", "refusal"}
)  # a tool call may end in the middle

TOOL_USES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})  # blocks whose input is streamed
THOUGHT_SIGNATURE = "thought_signature"  # our field of a tool_use block: Gemini's signature, sealed

_MOST_TOKENS = 2**53
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_OURS = "~"  # begins an inner signature that is more than the vendor's own text


def count(value: Any) -> int:
    """A number of tokens; 0 for what cannot be one."""
    return value if value.__class__ is int and 0 <= value <= _MOST_TOKENS else 0


def merge_usage(known: JSON, new: JSON) -> None:
    """Adds what a later event says, in place: numbers are cumulative, so the later one counts.

    Some servers repeat a field as 0 or null where the earlier event had the number; that says nothing.
    """
    for key, value in new.items():
        if value is None or (value == 0 and known.get(key)):
            continue
        known[key] = value


def read_usage(raw: JSON) -> Usage:
    fresh, completion, cached, written = (count(raw.get(key)) for key in _COUNTS)
    details = raw.get("output_tokens_details")
    thought = count(details.get("thinking_tokens")) if details.__class__ is dict else 0
    by_ttl = raw.get("cache_creation")
    hour = count(by_ttl.get("ephemeral_1h_input_tokens")) if by_ttl.__class__ is dict else 0
    return Usage(
        fresh + cached + written,
        completion,
        cached,
        thought,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
    )


def usage_body(usage: Usage) -> JSON:
    """All four counts, always: clients add them up."""
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    body: JSON = {
        "input_tokens": max(0, usage.prompt_tokens - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }
    if usage.cache_write_1h_tokens:
        hour = usage.cache_write_1h_tokens
        by_ttl = {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour}
        body["cache_creation"] = by_ttl
    if usage.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body


# -- thoughts of other issuers


def signature_of(issuer: str, signature: str | None, redacted: str | None, part_id: str | None) -> str:
    """The `signature` of a thinking block that stands for this reasoning; `reasoning_of` is its inverse.

    Anthropic's own signatures stay as they are. A block that nobody signed gets one, too: clients keep a
    thinking block only if it has one, and vendors that never sign want their reasoning back in tool use.
    """
    if issuer == "anthropic" and signature and not signature.startswith("penstock."):
        return signature
    inner = signature or ""
    if redacted is not None or part_id is not None or inner.startswith(_OURS):
        fields = {"s": signature, "r": redacted, "i": part_id}
        inner = _OURS + base64.urlsafe_b64encode(msgspec.json.encode(fields)).decode().rstrip("=")
    return seal(issuer, inner)


def reasoning_of(text: str, signature: str) -> ReasoningPart:
    """A thinking block's reasoning. What cannot be read is taken as not signed."""
    issuer, inner = unseal(signature, "anthropic")
    if issuer == "anthropic" and inner == signature:
        return ReasoningPart(text, signature or None, issuer="anthropic" if signature else "")
    if not inner.startswith(_OURS):
        return ReasoningPart(text, inner or None, issuer=issuer)
    packed = inner[len(_OURS) :]
    try:
        fields = msgspec.json.decode(
            base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), type=_Packed
        )
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return ReasoningPart(text)
    return ReasoningPart(text, fields.s, fields.r, issuer, fields.i)


class _Packed(msgspec.Struct):
    s: str | None = None
    r: str | None = None
    i: str | None = None


def redacted_data_of(issuer: str, redacted: str) -> str:
    """The `data` of a redacted_thinking block."""
    return redacted if issuer == "anthropic" else seal(issuer, redacted)


def is_foreign(block: JSON, *, signs: bool) -> bool:
    """Whether a thinking block is none that the target may get: Anthropic refuses a whole request for one.

    signs: the model signs its thinking, as Claude does; those of others do not, and want it back so.
    """
    kind = block.get("type")
    if kind == "thinking":
        signature = block.get("signature")
        if not signature:
            return signs
        return signature.__class__ is str and signature.startswith("penstock.")
    data = block.get("data")
    return kind == "redacted_thinking" and data.__class__ is str and data.startswith("penstock.")
