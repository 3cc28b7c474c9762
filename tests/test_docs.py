"""Documentation fails by test: what a user can write, call, read or meet is somewhere in docs/."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from penstock.cli.app import app
from penstock.config import schema
from penstock.config.fields import json_schema
from penstock.config.load import VARIABLES, load_text
from penstock.engines import ENGINES
from penstock.models import catalogue
from penstock.protocols import INBOUND
from penstock.providers import CONNECTORS
from penstock.providers.profiles import PROFILES
from penstock.testing.upstream import DIRECTIVES
from penstock.types import errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))}
ALL = "\n".join(PAGES.values())


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "text"), [*_generator().written()], ids=lambda value: getattr(value, "name", "")
)
def test_generated_parts_are_current(path: Path, text: str) -> None:
    assert path.read_text("utf-8") == text, "run `make docs`"


def _settings(shape: dict[str, Any]) -> Iterator[str]:
    for definition in shape["$defs"].values():
        yield from definition["properties"]


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (one for one in parameter.opts if one.startswith("-"))
    for child in getattr(command, "commands", {}).values():
        yield from _options(child)


def _metrics() -> list[str]:
    source = (ROOT / "src/penstock/telemetry/metrics.py").read_text("utf-8")
    return sorted(set(re.findall(r'"(penstock_[a-z_]+)"', source)))


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("configuration.md", [f".{name}" for name in _settings(json_schema(schema.Settings))]),
        ("configuration.md", [f"`{name}`" for name in (*schema.LATER, *VARIABLES, *PROFILES)]),
        ("cli.md", [f"`{one}`" for one in {*_options(get_command(app))} - {"--help", "-h", "--version"}]),
        ("api.md", [f"`POST {path}`" for path in INBOUND]),
        ("api.md", _metrics()),
        ("models.md", [f"`{name}`" for name in (*ENGINES, *catalogue.entries())]),
        ("errors.md", [f"`{error.code}`" for error in _generator()._subclasses(errors.PenstockError)]),
        ("testing.md", [f"`{name}`" for name in DIRECTIVES]),
    ],
    ids=["settings", "names", "options", "endpoints", "metrics", "models", "errors", "directives"],
)
def test_everything_is_documented(page: str, words: list[str]) -> None:
    assert words
    top = set(schema.Settings.__struct_fields__)
    missing = [word for word in words if word not in PAGES[page] and word.strip(".") not in top]
    assert not missing, f"docs/{page} lacks {missing}"


def test_every_codec_is_some_vendors() -> None:
    assert set(CONNECTORS) == {profile.codec for profile in PROFILES.values()}


def test_links_lead_somewhere() -> None:
    for name, text in {**PAGES, "../README.md": (ROOT / "README.md").read_text("utf-8")}.items():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (DOCS / name).parent.joinpath(target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize(
    ("page", "example"),
    [
        (page, example)
        for page, text in {**PAGES, "README.md": (ROOT / "README.md").read_text("utf-8")}.items()
        for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    ],
)
def test_configurations_in_the_documentation_are_valid(page: str, example: str) -> None:
    del page
    load_text(example, env={"OPENAI_API_KEY": "sk-x", "PENSTOCK_CI_KEY": "sk-y"})
    assert yaml.safe_load(example)


def test_nothing_names_this_machine() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text
