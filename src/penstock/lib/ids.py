"""Identifiers: unguessable, short, safe in headers, logs and URLs."""

import re
import secrets

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}", re.ASCII)
_DIGITS = 24
_BLOCK = 256  # identifiers per question to the system: one question each costs four times as much
_unused: list[str] = []


def new_id(prefix: str) -> str:
    """`prefix` + 24 hexadecimal digits (96 random bits)."""
    try:
        return prefix + _unused.pop()
    except IndexError:
        digits = secrets.token_hex(_DIGITS // 2 * _BLOCK)
        _unused.extend(digits[start : start + _DIGITS] for start in range(0, len(digits), _DIGITS))
        return prefix + _unused.pop()


def is_sane_id(value: str) -> bool:
    """Whether somebody else's identifier may be echoed in headers and logs: at most 128 plain characters."""
    return _SANE.fullmatch(value) is not None
