"""How long a vendor's 429 asks us to wait, by its headers.

    header                                         value                            sent by
    ---------------------------------------------  -------------------------------  --------------------------
    retry-after-ms                                 milliseconds                     OpenAI, Azure
    retry-after                                    seconds, or a date               nearly all
    x-ratelimit-reset-<what>                       `6m0s`, `20ms`, seconds          OpenAI, Groq, Cerebras ...
    anthropic-ratelimit-<what>-reset               a time of day (RFC 3339)         Anthropic
    x-ratelimit-reset, ratelimit-reset             seconds, or a Unix time in       OpenRouter, IETF's draft
                                                   seconds or milliseconds

The first row that says something wins. Of several resets that of what is used up (`remaining` is 0) counts,
the latest of them; where nothing is known to be used up, only a lone one does. Times of day are taken against
the answer's own `date`.
"""

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime

Headers = Sequence[tuple[bytes, bytes]]

LONGEST_WAIT_S = 24 * 3600.0

_RESET = re.compile(
    r"(?:x-)?ratelimit-reset(?:-(?P<after>[a-z0-9-]+))?|anthropic-ratelimit-(?P<before>[a-z-]+)-reset"
)
_PARTS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIX_S = 1e9  # a number above it is no number of seconds to wait
_UNIX_MS = 1e11


def retry_after_s(headers: Headers) -> float | None:
    """Never more than a day; what is negative or no finite number says nothing."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in headers}
    try:
        if "retry-after-ms" in found:
            return _wait(float(found["retry-after-ms"]) / 1000)
        given = found.get("retry-after")
        if given is None:
            return None
        if given[:1].isdigit():
            return _wait(float(given))
        wait = parsedate_to_datetime(given) - _date(found)
        return _wait(max(0.0, wait.total_seconds()))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def limited_for_s(headers: Headers) -> float | None:
    """Of a 429: until it may go on, by `retry_after_s` or by what is used up."""
    asked_s = retry_after_s(headers)
    if asked_s is not None:
        return asked_s
    found = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in headers}
    resets = [*_resets(found)]
    used_up = [wait_s for wait_s, is_used_up in resets if is_used_up]
    if used_up:
        return max(used_up)
    return resets[0][0] if len(resets) == 1 else None


def _resets(found: Mapping[str, str]) -> Iterator[tuple[float, bool]]:
    """How long each takes, and whether nothing of it remains."""
    for name, value in found.items():
        match = _RESET.fullmatch(name)
        wait_s = _until(value, found) if match else None
        if wait_s is not None:
            remaining = found.get(name.replace("-reset", "-remaining"), "")
            yield wait_s, remaining in ("0", "0.0")


def _until(value: str, found: Mapping[str, str]) -> float | None:
    parts = _PARTS.findall(value)
    try:
        if parts and "".join(number + unit for number, unit in parts) == value:
            return _wait(sum(float(number) * _UNITS[unit] for number, unit in parts))
        if value[:1].isdigit() and "-" not in value:
            number = float(value)
            if number < _UNIX_S:
                return _wait(number)
            unix_s = number / 1000 if number > _UNIX_MS else number
            return _wait(max(0.0, unix_s - _date(found).timestamp()))
        wait = dt.datetime.fromisoformat(value) - _date(found)
        return _wait(max(0.0, wait.total_seconds()))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _date(found: Mapping[str, str]) -> dt.datetime:
    return parsedate_to_datetime(found["date"])


def _wait(seconds: float) -> float | None:
    return min(seconds, LONGEST_WAIT_S) if math.isfinite(seconds) and seconds >= 0 else None
