"""Bodies and queries of requests -> structs, or an InvalidRequest that names the place."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from penstock.auth.addresses import parse_network
from penstock.config.units import parse_duration
from penstock.lib.registry import hint
from penstock.protocols.checking import Checker
from penstock.types.errors import InvalidRequest

T = TypeVar("T")

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?\Z", re.DOTALL)
_US: Final = 1_000_000
_LATEST_S: Final = 253_402_300_799  # the end of the year 9999


def body_of(kind: type[T], body: bytes) -> T:
    if not body:
        body = b"{}"
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(f"The request body is not valid JSON: {exc}.") from exc
    if not isinstance(decoded, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return _checked(kind, decoded)


def query_of(kind: type[T], pairs: Sequence[tuple[str, str]]) -> T:
    said: dict[str, Any] = {}
    for name, value in pairs:
        if name in said:
            raise InvalidRequest(f"`{name[:100]}` is given twice.", param=name[:100])
        said[name] = (
            int(value) if name in ("limit", "status") and re.fullmatch("[0-9]{1,9}", value) else value
        )
    return _checked(kind, said)


def _checked(kind: type[T], said: dict[str, Any]) -> T:
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as exc:
        if (found := _UNKNOWN.match(str(exc))) is not None:
            name = f"{found[2] or ''}.{found[1]}".lstrip(".")[:200]
            allowed = [] if found[2] else list(getattr(kind, "__struct_fields__", ()))
            there = f"; allowed: {', '.join(allowed)}{hint(found[1], allowed)}" if allowed else ""
            raise InvalidRequest(f"There is no `{name}`{there}.", param=name) from None
    return Checker(kind).check(said)


def moment_us(text: str, now_s: float, param: str) -> int:
    """A time ago, a date, RFC 3339 or Unix seconds -> Unix microseconds."""
    try:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d)", text, re.ASCII):
            return max(0, round((now_s - parse_duration(text)) * _US))
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text, re.ASCII):
            seconds = float(text)
        else:
            parsed = dt.datetime.fromisoformat(text)
            seconds = (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise InvalidRequest(
            f"`{param}` must be a time ago (7d, 12h), a date, RFC 3339 or Unix seconds.", param=param
        ) from exc
    return round(min(max(seconds, 0.0), _LATEST_S) * _US)


def networks_of(written: Sequence[str]) -> tuple[str, ...]:
    """As CIDR ranges."""
    found: list[str] = []
    for index, text in enumerate(written):
        try:
            found.append(str(parse_network(text)))
        except ValueError as exc:
            param = f"networks[{index}]"
            end = "" if str(exc).endswith("?") else "."
            raise InvalidRequest(f"`{param}`: {exc}{end}", param=param) from exc
    return tuple(found)
