"""What holds for every command."""

import subprocess
import sys
from typing import Any

import pytest
from penstock_fixture import Penstock
from typer.main import get_command

from penstock import __version__
from penstock.cli.app import app

HEAVY = ("onnxruntime", "xllamacpp", "onnx", "huggingface_hub", "penstock.serve", "uvicorn", "numpy")


def commands(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    if not below:
        return [words]
    found = [path for name, child in below.items() for path in commands(child, (*words, name))]
    return [words, *found] if command.invoke_without_command else found


COMMANDS = commands(get_command(app))


def test_the_commands_of_this_release() -> None:
    assert {" ".join(words) for words in COMMANDS} == {
        "up",
        "serve",
        "run",
        "pull",
        "models list",
        "models show",
        "models rm",
        "check",
        "doctor",
        "prices list",
        "prices update",
        "store migrate",
        "store status",
        "store backup",
        "store restore",
        *(f"keys {word}" for word in ("create", "list", "show", "set", "rotate", "revoke")),
        *(
            f"teams {word}"
            for word in ("create", "list", "set", "delete", "members", "add", "remove", "role")
        ),
        *(f"{noun} {word}" for noun in ("users", "accounts") for word in ("create", "list", "set", "delete")),
        *(f"routes {word}" for word in ("list", "set", "delete")),
        *(f"webhooks {word}" for word in ("create", "list", "delete")),
        "import litellm",
        "usage",
        "usage rerate",
        "limits",
        "statements",
        "statements reconcile",
        "changes",
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...], penstock: Penstock) -> None:
    result = penstock(*words, "--help")
    assert result.exit_code == 0
    assert "Example: penstock " + " ".join(words) in " ".join(result.output.split())


@pytest.mark.parametrize("words", [*COMMANDS, ()], ids=" ".join)
def test_a_wrong_call_exits_2(words: tuple[str, ...], penstock: Penstock) -> None:
    result = penstock(*words, "--no-such-option")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_version(penstock: Penstock) -> None:
    assert penstock("--version").output == f"penstock {__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from penstock.cli.app import app\n"
        "try: app(['up', '--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
