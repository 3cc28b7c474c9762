"""How commands speak: results on stdout, everything else on stderr; no traceback for a user's mistake.

exit code   0 it worked   1 it failed   2 it was called wrongly
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console

FAILED = 1
USAGE = 2
INTERRUPTED = 130
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])
del _CONTROLS[ord("\n")], _CONTROLS[ord("\t")]

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """A line of the result, never wrapped: it may be pasted."""
    typer.echo(text)


def say_json(value: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def note(text: str) -> None:
    """A line for the person watching."""
    typer.echo(text, err=True)


def fail(message: str, *, code: int = FAILED) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turns what a user can repair into a sentence and an exit code."""
    from penstock.config.errors import ConfigError
    from penstock.models.store import PullCancelled
    from penstock.types.errors import PenstockError

    try:
        yield
    except ConfigError as exc:
        lines = exc.lines()
        noun = "problem" if len(lines) == 1 else "problems"
        fail("\n".join([*lines, f"{len(lines)} {noun}. docs/configuration.md lists every setting."]))
    except PenstockError as exc:
        fail(f"error: {exc.message}")
    except (KeyboardInterrupt, PullCancelled):
        note("stopped")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nobody is left to tell
        raise typer.Exit(FAILED) from None
    except OSError as exc:  # a disk that is full, a folder that is not ours
        where = f"{exc.filename}: " if exc.filename is not None else ""
        fail(f"error: {where}{exc.strerror or exc}")


def plain(text: str) -> str:
    """Without control characters other than line ends and tabs: a model's words must not steer a terminal."""
    return text.translate(_CONTROLS)
