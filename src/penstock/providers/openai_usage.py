"""What all readers of the OpenAI dialect share: whole JSON bodies, and the vendors' ways to count tokens."""

from typing import Any

import msgspec

from penstock.types.errors import UpstreamInvalid
from penstock.types.usage import Usage

JSON = dict[str, Any]

_MOST_TOKENS = 2**53

_decode = msgspec.json.Decoder().decode


def decode_object(body: bytes, name: str) -> JSON:
    try:
        decoded = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UpstreamInvalid(f"{name} sent an answer that is not JSON.") from exc
    if not isinstance(decoded, dict):
        raise UpstreamInvalid(f"{name} sent an answer that is not a JSON object.")
    return decoded


def read_usage(raw: JSON) -> Usage:
    """OpenAI's usage, or a vendor's variation of it (DeepSeek counts cache hits beside it)."""
    details = raw.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else raw.get("prompt_cache_hit_tokens")
    out = raw.get("completion_tokens_details")
    reasoning = out.get("reasoning_tokens") if isinstance(out, dict) else None
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    usage = Usage(
        prompt if prompt.__class__ is int and 0 <= prompt <= _MOST_TOKENS else count(prompt),
        completion if completion.__class__ is int and 0 <= completion <= _MOST_TOKENS else count(completion),
        0 if cached is None else count(cached),
        0 if reasoning is None else count(reasoning),
    )
    if details or out:
        return _with_details(usage, details if details.__class__ is dict else {}, out)
    return usage


def _with_details(usage: Usage, details: JSON, out: Any) -> Usage:
    """Anthropic's cache writes as OpenAI and OpenRouter write them, sound, and images."""
    written, heard, seen = (
        details.get(name) for name in ("cache_write_tokens", "audio_tokens", "image_tokens")
    )
    spoken, drawn = (
        (out.get("audio_tokens"), out.get("image_tokens")) if isinstance(out, dict) else (None, None)
    )
    if not (written or heard or seen or spoken or drawn):
        return usage
    return msgspec.structs.replace(
        usage,
        cache_write_tokens=count(written),
        audio_prompt_tokens=count(heard),
        audio_completion_tokens=count(spoken),
        image_prompt_tokens=count(seen),
        image_completion_tokens=count(drawn),
    )


def usage_body(usage: Usage) -> JSON:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def count(value: Any) -> int:
    """A number of tokens; 0 for what cannot be one (metrics and budgets add these up)."""
    if value.__class__ is float and value.is_integer():
        value = int(value)
    return value if value.__class__ is int and 0 <= value <= _MOST_TOKENS else 0
