"""Who may import whom (docs/architecture.md), read from the source; and no cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "penstock").rglob("*.py"))
}

LEAVES = {"types", "lib"}
PARTS = {  # never each other
    "auth",
    "protocols",
    "providers",
    "engines",
    "routing",
    "limits",
    "telemetry",
    "models",
    "store",
}
ALLOWED: dict[str, set[str]] = {
    "types": {"types"},
    "lib": {"lib"},
    "dialects": {*LEAVES, "dialects"},
    **{part: {*LEAVES, part} for part in PARTS},
    "protocols": {*LEAVES, "protocols", "dialects"},
    "providers": {*LEAVES, "providers", "dialects"},
    "engines": {*LEAVES, "engines", "models.gguf", "models.memory"},  # what a file and this machine say
    "config": {*LEAVES, *PARTS, "config"},
    "gateway": {*LEAVES, *PARTS, "gateway", "config.snapshot"},
    "runtime": {*LEAVES, "engines", "runtime"},
    "workers": {*LEAVES, "routing", "telemetry", "runtime", "workers"},
    "control": {*LEAVES, "auth", "config", "routing", "store", "models", "control"},
    "admin": {*LEAVES, *PARTS, "config", "control", "admin"},
}
ANYTHING = {"serve", "supervisor", "worker", "cli", "testing"}


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports anywhere, but for type checkers only."""
    path = MODULES[module]
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            name = node.module or ""
            below = {f"{name}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else name for one in below}
    return {name for name in found if name in MODULES and name not in {module, "penstock"}}


def part(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("module", [name for name in MODULES if part(name)])
def test_imports_follow_the_directions(module: str) -> None:
    own = part(module)
    if own in ANYTHING:
        wrong = {name for name in imports(module) if part(name) == "testing" and own != "testing"}
    else:
        assert own in ALLOWED, f"{own} is new: say in tests/test_imports.py what it may import"
        short = {name: name.removeprefix("penstock.") for name in imports(module)}
        wrong = {name for name, rest in short.items() if not {rest, part(name)} & ALLOWED[own]}
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_there_are_no_cycles() -> None:
    graph = {
        module: {name for name in imports(module) if not module.startswith(f"{name}.")} for module in MODULES
    }
    TopologicalSorter(graph).prepare()
