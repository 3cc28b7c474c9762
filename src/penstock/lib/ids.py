"""Identifiers: unguessable, short, safe in headers, logs and URLs."""

import re
import secrets

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}", re.ASCII)


def new_id(prefix: str) -> str:
    """`prefix` + 24 hexadecimal digits (96 random bits)."""
    return prefix + secrets.token_hex(12)


def is_sane_id(value: str) -> bool:
    """Whether somebody else's identifier may be echoed in headers and logs: at most 128 plain characters."""
    return _SANE.fullmatch(value) is not None
