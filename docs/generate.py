# ruff: noqa: INP001 - a script beside the documents it writes
"""Writes what the documentation repeats from the code: the JSON schema, and tables between markers.

    <!-- generated: providers -->   ...   <!-- end -->

`make docs` runs it; tests/test_docs.py fails when a document is not what this would write.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect
from typer.main import get_command

from penstock.admin.table import PREFIX, described
from penstock.cli.app import app
from penstock.config import schema
from penstock.config.fields import json_schema
from penstock.config.load import VARIABLES
from penstock.config.units import format_duration, format_size
from penstock.models import catalogue
from penstock.models.store import size
from penstock.providers.profiles import PROFILES
from penstock.testing.upstream import DIRECTIVES
from penstock.types import errors
from penstock.types.identity import ROLES

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def settings() -> str:
    return table(("setting", "default", "meaning"), _settings(schema.Settings, ""))


def _settings(cls: type[msgspec.Struct], path: str) -> Iterator[tuple[str, ...]]:
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)  # noqa: S101 - for the type checker
    for one in kind.fields:
        where = f"{path}.{one.encode_name}" if path else one.encode_name
        inner, described, is_secret = _unwrap(one.type)
        match inner:
            case inspect.StructType():
                yield from _settings(inner.cls, where)
            case inspect.DictType(value_type=inspect.StructType() as value):
                yield f"`{where}.<name>`", "none", (value.cls.__doc__ or "").strip()
                yield from _settings(value.cls, f"{where}.<name>")
            case inspect.DictType(value_type=inspect.UnionType(types=members)) if _structs(members):
                for member in _structs(members):
                    yield f"`{where}.<name>`", "none", (member.cls.__doc__ or "").strip()
                    yield from _settings(member.cls, f"{where}.<name>")
            case inspect.VarTupleType(item_type=inspect.StructType() as item):
                yield f"`{where}`", _default(one), described or "list of:"
                yield from _settings(item.cls, f"{where}[]")
            case _:
                secret = " (never shown)" if is_secret else ""
                yield f"`{where}`", _default(one), described + secret
                for member in _structs(inner.types if isinstance(inner, inspect.UnionType) else ()):
                    yield from _settings(member.cls, where)


def _structs(types: tuple[inspect.Type, ...]) -> list[inspect.StructType]:
    return [one for one in types if isinstance(one, inspect.StructType)]


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, str, bool]:
    described, is_secret = "", False
    while isinstance(kind, inspect.Metadata):
        described = described or str((kind.extra_json_schema or {}).get("description", ""))
        is_secret = is_secret or bool((kind.extra or {}).get("secret"))
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        others = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        if len(others) == 1:
            inner, more, hidden = _unwrap(others[0])
            return inner, described or more, is_secret or hidden
    return kind, described, is_secret


def _default(one: inspect.Field) -> str:
    if one.required:
        return "required"
    value: Any = one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
    unit = {}
    kind = one.type
    while isinstance(kind, inspect.Metadata):
        unit |= kind.extra or {}
        kind = kind.type
    match value:
        case None | () | {}:
            return "none"
        case bool():
            return "`on`" if value else "`off`"
        case (str() | float(), *_):
            return ", ".join(f"`{one}`" for one in value)
        case schema.Parallel():
            return "the engine's"
        case schema.Replicas():
            return "`1`"
    if unit.get("unit") == "duration":
        return f"`{format_duration(value)}`"
    return f"`{format_size(value)}`" if unit.get("unit") == "size" else f"`{value}`"


def later() -> str:
    values = (
        (f"`{path}: {value}`", "another value of this setting")
        for path, names in schema.LATER_VALUES.items()
        for value in names
    )
    rows = [(f"`{path}`", planned) for path, planned in schema.LATER.items()]
    return table(("refused", "what it will be"), iter([*rows, *values]))


def variables() -> str:
    rows = ((f"`{name}`", f"`{what}`" if "." in what else what) for name, what in VARIABLES.items())
    return table(("variable", "sets"), rows)


def providers() -> str:
    rows = (
        (
            f"`{row.kind}`",
            row.title,
            f"`{row.base_url}`" if row.base_url else "you say",
            ", ".join(f"`{name}`" for name in row.env) or "none",
        )
        for row in PROFILES.values()
    )
    return table(("kind", "vendor or server", "base_url", "adopted from"), rows)


def models() -> str:
    rows = (
        (
            f"`{name}`",
            entry.kind,
            f"{entry.parameters_b:g}B",
            str(entry.context),
            ", ".join(f"{label} {size(count * 1_000_000)}" for label, count in entry.sizes_mb.items()),
            entry.licence,
        )
        for name, entry in catalogue.entries().items()
    )
    return table(("name", "kind", "parameters", "context", "sizes", "licence"), rows)


def directives() -> str:
    return table(
        ("directive", "value", "what the upstream does"),
        ((f"`{name}`", row.kind, row.meaning) for name, row in DIRECTIVES.items()),
    )


def codes() -> str:
    found = {one.code: one for one in _subclasses(errors.PenstockError)}.values()
    return table(
        ("code", "HTTP", "worth a retry"),
        ((f"`{one.code}`", str(one.status), "yes" if one.retryable else "no") for one in found),
    )


def _subclasses(cls: type[errors.PenstockError]) -> Iterator[type[errors.PenstockError]]:
    for one in cls.__subclasses__():
        if not any(base is not cls and one.code == base.code for base in one.__bases__):
            yield one
        yield from _subclasses(one)


def cli() -> str:
    return "\n".join(_command(get_command(app), "penstock"))


def _command(command: Any, name: str) -> Iterator[str]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield f"### `{name}`\n"
        yield _plain(command.help) + "\n"
        if command.epilog:
            yield f"    {command.epilog.removeprefix('Example: ')}\n"
        rows = [
            (
                ", ".join(f"`{option}`" for option in (*one.opts, *one.secondary_opts))
                if one.opts[0][0] == "-"
                else f"`{one.opts[0].upper()}`",
                _plain(getattr(one, "help", "") or ""),
            )
            for one in command.params
            if "--help" not in one.opts
        ]
        yield table(("argument or option", "meaning"), iter(rows))
    for child, below in children.items():
        yield from _command(below, f"{name} {child}")


def _plain(text: str) -> str:
    return " ".join(text.replace("\\[", "[").split())


def admin() -> str:
    rows = (
        (
            f"`{row.method} {PREFIX}{row.path}`",
            ", ".join(role for role in ROLES if role in row.who.everywhere),
            ", ".join(role for role in ROLES if role in row.who.over_team),
            row.title,
        )
        for row in described()
    )
    return table(("endpoint", "roles", "roles over a team, for what is its own", ""), rows)


TABLES: dict[str, Callable[[], str]] = {
    table_.__name__: table_
    for table_ in (settings, later, variables, providers, models, directives, codes, cli, admin)
}


def written() -> Iterator[tuple[Path, str]]:
    """Each generated document and what it should hold."""
    yield DOCS / "penstock.schema.json", json.dumps(json_schema(schema.Settings), indent=2) + "\n"
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text("utf-8")
        yield path, BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


if __name__ == "__main__":
    for path, text in written():
        path.write_text(text, "utf-8")
