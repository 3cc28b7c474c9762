"""penstock run: talk to a model in the terminal."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import options
from penstock.cli.output import err, fail, note, plain, say, say_json, told

if TYPE_CHECKING:
    from penstock.cli.chatting import Door

EXAMPLE = 'Example: penstock run qwen3:0.6b "Why is the sky blue?"'
LEAVE = ("/bye", "/exit", "/quit")


def run(
    model: Annotated[
        str,
        typer.Argument(help="A public name of a running `penstock up`, or a model source such as qwen3:4b."),
    ],
    prompt: Annotated[str | None, typer.Argument(help="Without one, a conversation begins.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Talk to a model: one answer to PROMPT, or a conversation.

    A running `penstock up` is used when it serves the model; else one is started for this model alone and
    ends with the conversation. The model is fetched first if it is not here yet. `-` reads the prompt from
    standard input.
    """
    with told(), _door(_source(model), data_dir) as door:
        first = [{"role": "system", "content": system}] if system else []
        text = sys.stdin.read() if prompt == "-" else prompt
        if text is not None:
            _answer_once(door, [*first, {"role": "user", "content": text}], as_json=as_json)
        elif as_json:
            fail("--json needs a PROMPT.", code=2)
        else:
            _converse(door, first)


def _source(model: str) -> str:
    """A path is a model source, too, when there is something."""
    return f"file:{model}" if Path(model).expanduser().exists() and ":" not in model else model


@contextlib.contextmanager
def _door(model: str, data_dir: Path | None) -> Iterator["Door"]:
    import os

    from penstock.cli import minted
    from penstock.cli.chatting import Door
    from penstock.cli.own_server import own_server
    from penstock.config.load import DEFAULT_DATA_DIR

    folder = data_dir or Path(os.environ.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)
    running = minted.running(folder.expanduser())
    key = minted.read_key(folder.expanduser())
    if running is not None and key is not None:
        door = Door(running.url, key, model)
        if door.knows_model():
            yield door
            return
    with own_server(model) as door:
        yield door


def _answer_once(door: "Door", messages: list[dict[str, str]], *, as_json: bool) -> None:
    from penstock.cli.chatting import ChatFailed

    try:
        if as_json:
            say_json(door.answer(messages))
            return
        for piece in door.stream(messages):
            _show(piece)
        say()
    except ChatFailed as exc:
        say()
        fail(f"error: {plain(str(exc))}")


def _converse(door: "Door", messages: list[dict[str, str]]) -> None:
    """Ctrl-C stops an answer; at the prompt it ends the conversation, as Ctrl-D and /bye do."""
    from penstock.cli.chatting import ChatFailed

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its line editing
    note(f"{door.model}. Ctrl-C stops an answer; /bye or Ctrl-D ends.")
    while True:
        try:
            text = input(">>> ").strip()
        except (EOFError, KeyboardInterrupt):
            err.print()
            return
        if text in LEAVE:
            return
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        said: list[str] = []
        try:
            for piece in door.stream(messages):
                said.append(piece)
                _show(piece)
        except KeyboardInterrupt:
            note("\n(stopped)")
        except ChatFailed as exc:
            note(f"\nerror: {plain(str(exc))}")
            messages.pop()
            continue
        say()
        messages.append({"role": "assistant", "content": "".join(said)})


def _show(piece: str) -> None:
    """A terminal obeys control characters; a file does not."""
    typer.echo(plain(piece) if sys.stdout.isatty() else piece, nl=False)
