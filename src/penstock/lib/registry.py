"""A plain registry: name -> where to import it from. Nothing is imported before it is asked for.

ROWS = Registry("codec", {"openai": "penstock.providers.openai:OpenAICodec"})
ROWS.load("openai")     the object (or the module, when the row names no attribute)
ROWS.load("opanai")     UnknownName: no codec named 'opanai'; there are: openai; did you mean 'openai'?
"""

import difflib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any


class UnknownName(LookupError):
    """The registry has no such row; the message lists those there are."""


class Registry:
    __slots__ = ("_loaded", "_rows", "kind")

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self._rows = dict(rows)
        self._loaded: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def load(self, name: str) -> Any:
        """Raises UnknownName, and ImportError when the row's module does not import."""
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._rows:
            raise UnknownName(
                f"no {self.kind} named {name!r}; there are: {', '.join(self._rows)}{hint(name, self._rows)}"
            )
        module, _, attribute = self._rows[name].partition(":")
        loaded: Any = import_module(module)
        for part in attribute.split(".") if attribute else ():
            loaded = getattr(loaded, part)
        self._loaded[name] = loaded
        return loaded


def hint(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """`; did you mean 'x'?` when a known name is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
