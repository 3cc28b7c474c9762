"""Durations, sizes and prices are written with units, so that nobody has to guess seconds or milliseconds.

duration   a number and ms, s, m, h or d      500ms  2s  1.5m  15m  180d
size       a number and B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024)   16MiB  1.5GB
amount     a number, with k or M for thousands and millions if you like             500  16k  1.5M
price      USD for one, a thousand (1k) or a million (1M) of something              $3/1M  $0.15/1M  $2/1k
moment     a day, which is the last good one (UTC), or RFC 3339   2026-12-31  2026-12-31T17:00:00+01:00
rate       an amount and s, min, h or day, or a number of them                      60/min  20k/min  5/10s
money      US dollars                                                               25  0.50
percent    with at most two decimals, so that it is whole hundredths (basis points) 2.5  -10  12.75%
"""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from penstock.types.money import format_usd, parse_usd

DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(B|kB|MB|GB|KiB|MiB|GiB)$"
AMOUNT_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(k|M)?$"
PRICE_PATTERN: Final = r"^\$([0-9]+(\.[0-9]+)?) ?/ ?(1|1k|1M)$"
MOMENT_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
)

RATE_PATTERN: Final = r"^([0-9]+(?:\.[0-9]+)?[kM]?)/([0-9]*)(s|min|h|day)$"
USD_PATTERN: Final = r"^[0-9]+(\.[0-9]{1,12})?$"
PERCENT_PATTERN: Final = r"^([+-]?)([0-9]+)(?:\.([0-9]{1,2}))?%?$"

_SECONDS: Final = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BYTES: Final = {
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "B": 1,
}
_LONGEST_S: Final = 366 * 86400
_LARGEST: Final = 1 << 50
_MOST: Final = 10**9
_PER: Final = {"1M": 10**6, "1k": 10**3, "1": 1}
_PICO: Final = 10**12  # of a USD
_DEAREST: Final = 10**15  # pico-USD for one of anything
_DAY: Final = len("2026-12-31")
_WINDOWS: Final = {"day": 86400, "h": 3600, "min": 60, "s": 1}
_MOST_USD: Final = 9_000_000
_MOST_PERCENT: Final = 1_000


class Rate(NamedTuple):
    """So many within any `window_s` seconds."""

    amount: int
    window_s: int


def parse_duration(text: str) -> float:
    """Seconds, above zero. Raises ValueError with a sentence for the user."""
    found = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("a duration is a number and ms, s, m, h or d, such as 500ms, 2s or 15m")
    unit = found[2]
    seconds = float(Decimal(text.removesuffix(unit)) * _SECONDS[unit])
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError("a duration is above zero and at most 366d")
    return seconds


def parse_size(text: str) -> int:
    """Bytes, above zero. Raises ValueError with a sentence for the user."""
    found = re.fullmatch(SIZE_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("a size is a number and B, kB, MB, GB, KiB, MiB or GiB, such as 16MiB")
    unit = found[2]
    count = Decimal(text.removesuffix(unit)) * _BYTES[unit]
    if count != int(count):
        raise ValueError(f"{text} is not a whole number of bytes")
    if not 0 < count <= _LARGEST:
        raise ValueError("a size is above zero and at most 1048576GiB")
    return int(count)


def parse_amount(text: str) -> int:
    """How many, above zero. Raises ValueError with a sentence for the user."""
    found = re.fullmatch(AMOUNT_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("an amount is a number, with k or M if you like, such as 500, 16k or 1.5M")
    amount = Decimal(text.rstrip("kM")) * {"k": 10**3, "M": 10**6}.get(found[2], 1)
    if amount != int(amount):
        raise ValueError(f"{text} is not a whole number")
    if not 0 < amount <= _MOST:
        raise ValueError("an amount is above zero and at most 1000M")
    return int(amount)


def parse_price(text: str) -> int:
    """Pico-USD for one, exactly; zero or more. Raises ValueError with a sentence for the user."""
    found = re.fullmatch(PRICE_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("a price is written as $3/1M or $0.15/1M: USD, and for how many (1, 1k or 1M)")
    whole, _, decimals = found[1].partition(".")
    decimals = decimals.rstrip("0")
    digits: int = 10 ** len(decimals)
    pico, rest = divmod(int(whole + decimals) * _PICO, _PER[found[3]] * digits)
    if rest:
        raise ValueError(f"{text} is finer than a trillionth of a USD for one")
    if pico > _DEAREST:
        raise ValueError("a price is at most $1000 for one")
    return pico


def parse_moment(text: str) -> float:
    """Unix seconds from which on it is over. Raises ValueError with a sentence for the user."""
    what = "a moment is a day such as 2026-12-31, or RFC 3339 such as 2026-12-31T17:00:00Z"
    if not re.fullmatch(MOMENT_PATTERN, text, re.ASCII):
        raise ValueError(what)
    try:
        found = dt.datetime.fromisoformat(text.upper())
        if len(text) == _DAY:
            found = found.replace(tzinfo=dt.UTC) + dt.timedelta(days=1)
        return found.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(what) from None


def parse_rate(text: str) -> Rate:
    """Raises ValueError with a sentence for the user."""
    found = re.fullmatch(RATE_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("a rate is an amount and s, min, h or day, such as 60/min, 20k/min or 5/10s")
    window_s = int(found[2] or 1) * _WINDOWS[found[3]]
    if not 0 < window_s <= _LONGEST_S:
        raise ValueError("a rate is over at least a second and at most 366 days")
    return Rate(parse_amount(found[1]), window_s)


def parse_money(text: str) -> int:
    """Pico-USD, exactly. Raises ValueError with a sentence for the user."""
    pico = parse_usd(text)
    if not 0 <= pico <= _MOST_USD * _PICO:
        raise ValueError(f"money is from 0 to {_MOST_USD} US dollars")
    return pico


def parse_percent(text: str) -> int:
    """Basis points, exactly. Raises ValueError with a sentence for the user."""
    found = re.fullmatch(PERCENT_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("a percentage is a number with at most two decimals, such as 2.5 or -10")
    points = int(found[2]) * 100 + int((found[3] or "").ljust(2, "0"))
    points = -points if found[1] == "-" else points
    if not -100 * 100 <= points <= _MOST_PERCENT * 100:
        raise ValueError(f"a percentage is from -100 to {_MOST_PERCENT}")
    return points


def format_percent(points: int) -> str:
    """250 -> 2.5; -1000 -> -10."""
    return _plain(Decimal(points).scaleb(-2))


def format_rate(rate: Rate) -> str:
    """Rate(20000, 60) -> 20k/min; Rate(5, 10) -> 5/10s."""
    unit, length = next((unit, length) for unit, length in _WINDOWS.items() if rate.window_s % length == 0)
    count = rate.window_s // length
    return f"{format_amount(rate.amount)}/{count if count > 1 else ''}{unit}"


def format_money(pico: int) -> str:
    """US dollars, exactly: 1_500_000_000_000 -> 1.5."""
    whole, part = divmod(pico, _PICO)
    return f"{whole}.{part:012}".rstrip("0").rstrip(".")


def format_duration(seconds: float) -> str:
    """The shortest exact writing in the largest whole unit: 900.0 -> 15m, 0.5 -> 500ms."""
    exact = Decimal(repr(seconds))
    for unit, length in _SECONDS.items():
        if exact % length == 0:
            return f"{int(exact / length)}{unit}"
    return f"{_plain(exact / _SECONDS['ms'])}ms"


def format_moment(unix_s: float) -> str:
    """1798761600.0 -> 2027-01-01T00:00:00Z, whichever way it was written."""
    moment = dt.datetime.fromtimestamp(unix_s, dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def format_size(count: int) -> str:
    """16777216 -> 16MiB; falls back to bytes."""
    for unit, length in _BYTES.items():
        if count % length == 0:
            return f"{count // length}{unit}"
    raise AssertionError("every whole number divides by one")


def format_amount(count: int) -> str:
    """16000 -> 16k; 1500 -> 1500."""
    for unit, length in (("M", 10**6), ("k", 10**3)):
        if count % length == 0:
            return f"{count // length}{unit}"
    return str(count)


def format_price(pico: int) -> str:
    """3000000 -> $3/1M."""
    return f"${_plain(Decimal(pico).scaleb(-6))}/1M"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    "duration": format_duration,
    "size": format_size,
    "amount": format_amount,
    "moment": format_moment,
    "price": format_price,
    "usd": format_usd,
    "percent": format_percent,
}
