"""A part of a long list, and where it goes on."""

from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T")

MAX_PAGE: Final = 1000  # rows; who asks for more gets these


class Page(msgspec.Struct, Generic[T], frozen=True):
    rows: tuple[T, ...]
    cursor: str | None = None  # what gives the next page; None: there is none
